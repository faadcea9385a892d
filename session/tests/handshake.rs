//! The first frame in each direction.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::*;
use homing_session::{Failure, SessionState};
use homing_testkit::sim::Behaviour;

#[test]
fn the_answer_may_arrive_in_pieces_of_any_length() {
    for len in 1..=41 {
        let mut world = world();
        world.sim.set_piece_len(len);
        world.connect();
        // What follows may come in such pieces, too.
        let root = world.get("/");
        world.settle();
        assert_eq!(reply(root).err, 0, "pieces of {len} bytes");
    }
}

#[test]
fn the_answer_and_the_first_reply_may_arrive_in_one_piece() {
    let mut world = world();
    let mut held = Vec::new();
    world.sim.set_tamper(move |piece| {
        held.extend_from_slice(&piece);
        // The handshake has 41 bytes with its length; an event follows it at once.
        let event = b"\0\0\0\x1e\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0\x02/b";
        if held.len() == 41 {
            held.extend_from_slice(event);
        }
        vec![Bytes::from(std::mem::take(&mut held))]
    });
    world.connect();
    assert_eq!(world.shared.status.failures(), []);
}

#[test]
fn the_server_decides_the_session_timeout() {
    let check = |wanted: Duration, granted: Duration| {
        let mut world = world_with("10.0.0.1", |config| config.session_timeout = wanted);
        world.connect();
        let SessionState::Connected(connection) = world.state() else {
            panic!()
        };
        assert_eq!(connection.session_timeout, granted);
    };
    // Two to twenty ticks of two seconds.
    check(Duration::from_secs(10), Duration::from_secs(10));
    check(Duration::from_millis(1), Duration::from_secs(4));
    check(Duration::from_secs(3_600), Duration::from_secs(40));
}

#[test]
fn who_does_not_speak_zookeeper_is_told_apart() {
    let check = |answer: &'static [u8], expected: Failure| {
        let mut world = world_with("10.0.0.1", |_| {});
        world
            .sim
            .set_tamper(move |_| vec![Bytes::from_static(answer)]);
        world.sim.run_for(Duration::from_millis(50));
        let failures = world.shared.status.failures();
        assert_eq!(failures.len(), 1, "{answer:?}");
        assert_eq!(failures[0].failure, expected);
        assert_eq!(world.state(), SessionState::Connecting);
    };
    let stranger = |what: &str| Failure::NotZooKeeper(what.into());
    check(
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        stranger("it answers in HTTP"),
    );
    check(
        b"\x15\x03\x01\x00\x02\x02\x50",
        stranger("it answers in TLS, which `tls://` in front of its name asks for"),
    );
    check(
        b"\x7f\xff\xff\xff",
        stranger("its handshake begins with a frame of 2147483647 bytes, over the limit of 1024"),
    );
    check(
        b"\xff\xff\xff\xfb",
        stranger("its handshake begins with a frame of -5 bytes"),
    );
    check(b"\0\0\0\0", stranger("its handshake has 0 bytes"));
    check(
        b"\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\x89",
        // A read-only server of 3.7 and later, which has no local sessions.
        Failure::ReadOnly,
    );
    check(
        b"\0\0\0\x25\0\0\0\0\0\0\x75\x30\x01\0\0\x1b\xe8\xc4\0\0\0\0\0\x100123456789abcdef\x01",
        Failure::ReadOnly,
    );
    check(
        b"\0\0\0\x25\0\0\0\0\0\0\x75\x30\x01\0\0\x1b\xe8\xc4\0\0\x7f\xff\xff\xff0123456789abcdef\0",
        stranger(
            "its handshake is malformed: passwd at byte 20: 2147483647 more bytes announced, 17 left",
        ),
    );
    check(
        b"\0\0\0\x25\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x100123456789abcdef\0",
        stranger("it gave a session without an id"),
    );
    check(
        b"\0\0\0\x25\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x100123456789abcdef\0",
        stranger("it refused a new session"),
    );
}

#[test]
fn a_server_that_is_not_there_is_told_apart() {
    let check = |behaviour, expected: Failure| {
        let mut world = world_with("10.0.0.1", |_| {});
        world.sim.set_behaviour(address(1), behaviour);
        world.sim.run_for(11 * SECOND);
        let failures = world.shared.status.failures();
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].failure, expected);
    };
    check(Behaviour::Hang, Failure::ConnectTimedOut);
    check(Behaviour::Mute, Failure::HandshakeTimedOut);
    check(Behaviour::AcceptAndClose, Failure::ClosedInHandshake);
    check(
        Behaviour::Refuse,
        Failure::Connect("connection refused".into()),
    );
}
