//! Servers that send what makes no sense: the connection ends with an error that says what it
//! was, the session goes on, and nobody gets a wrong answer.

mod common;

use common::*;
use homing_session::{Cause, SessionState, WhyLost};
use homing_transport::Fate;

/// What is sent in place of the reply to the first of two requests, and what is said of it.
fn check(sent: &'static [u8], what: &str) {
    let mut world = connected();
    let id = world.session_id();
    world.sim.set_tamper(|_| Vec::new());
    let first = world.get("/a");
    let second = world.get("/b");
    world.settle();
    world.sim.set_tamper(|piece| vec![piece]);
    world.sim.inject(sent);
    world.sim.step();
    let SessionState::Suspended { why, .. } = world.state() else {
        panic!("{what}: still {}", world.state())
    };
    assert_eq!(why.why, WhyLost::Protocol(what.into()));
    for ticket in [first, second] {
        let unanswered = unanswered(ticket);
        assert_eq!(unanswered.fate, Fate::MaybeApplied, "{what}");
        assert!(matches!(unanswered.cause, Cause::Lost(_)), "{what}");
    }
    world.connect();
    assert_eq!(world.session_id(), id);
    let root = world.get("/");
    world.settle();
    assert_eq!(reply(root).err, 0);
}

#[test]
fn a_wrong_xid() {
    check(
        b"\0\0\0\x10\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0",
        "a reply with xid 2 where 1 was due",
    );
    check(
        b"\0\0\0\x10\xff\xff\xff\xfc\0\0\0\0\0\0\0\x01\0\0\0\0",
        "a reply with xid -4 where 1 was due",
    );
}

#[test]
fn a_frame_that_is_none() {
    check(b"\xff\xff\xff\xff", "a frame of -1 bytes");
    check(
        b"\0\0\0\x03abc",
        "a malformed frame: xid at byte 0: 4 more bytes announced, 3 left",
    );
    check(
        b"\x7f\xff\xff\xff",
        "a frame of 2147483647 bytes, over the limit of 4194304",
    );
    check(
        b"\0\x50\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\0\0\0",
        "a frame of 5242880 bytes with xid -1, which is no reply",
    );
}

#[test]
fn an_event_that_is_none() {
    check(
        b"\0\0\0\x1e\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x09\0\0\0\x03\0\0\0\x02/b",
        "a malformed frame: type at byte 16: the unknown value 9",
    );
    check(
        b"\0\0\0\x1c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\0\0\x03\x7f\xff\xff\xff",
        "a malformed frame: path at byte 28: 2147483647 more bytes announced, 0 left",
    );
}

#[test]
fn a_zxid_from_the_past() {
    let mut world = connected();
    drop(world.create("/a", homing_protocol::CreateMode::Persistent));
    world.settle();
    world.sim.set_tamper(|_| Vec::new());
    let ticket = world.get("/a");
    world.settle();
    world
        .sim
        .inject(b"\0\0\0\x10\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0");
    world.sim.step();
    let SessionState::Suspended { why, .. } = world.state() else {
        panic!()
    };
    assert_eq!(why.why, WhyLost::Protocol("zxid 0x1 after 0x2".into()));
    assert_eq!(unanswered(ticket).fate, Fate::MaybeApplied);
}

#[test]
fn a_reply_that_nobody_asked_for() {
    let mut world = connected();
    world
        .sim
        .inject(b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0");
    world.sim.step();
    let SessionState::Suspended { why, .. } = world.state() else {
        panic!()
    };
    let what = "a reply with xid 1 that nobody asked for";
    assert_eq!(why.why, WhyLost::Protocol(what.into()));
}

#[test]
fn what_came_before_the_nonsense_is_answered() {
    let mut world = connected();
    world.sim.set_tamper(|_| Vec::new());
    let first = world.get("/a");
    let second = world.get("/b");
    world.settle();
    let mut sent = b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\x01\xff\xff\xff\x9b".to_vec();
    sent.extend_from_slice(b"\xff\xff\xff\xff");
    world.sim.inject(&sent);
    world.sim.step();
    assert_eq!(reply(first).err, -101);
    assert_eq!(unanswered(second).fate, Fate::MaybeApplied);
}

#[test]
fn a_reply_over_the_limit_costs_its_own_request_only() {
    let mut world = connected();
    world.sim.set_tamper(|_| Vec::new());
    let tickets: Vec<_> = (0..3).map(|_| world.get("/a")).collect();
    world.settle();
    let small = |xid: u8| {
        [
            &b"\0\0\0\x10\0\0\0"[..],
            &[xid],
            b"\0\0\0\0\0\0\0\x01\xff\xff\xff\x9b",
        ]
        .concat()
    };
    // 5 MiB where 4 are allowed, in pieces.
    let mut sent = small(1);
    sent.extend_from_slice(b"\0\x50\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0");
    sent.resize(sent.len() + (5 << 20) - 16, 7);
    sent.extend_from_slice(&small(3));
    world.sim.set_piece_len(100_000);
    world.sim.inject(&sent);
    world.sim.step();
    assert!(world.is_connected());
    let mut tickets = tickets.into_iter();
    assert_eq!(reply(tickets.next().unwrap()).err, -101);
    let large = unanswered(tickets.next().unwrap());
    assert!(matches!(
        large.cause,
        Cause::ReplyTooLarge {
            len: 5_242_880,
            limit: 4_194_304
        }
    ));
    assert_eq!(reply(tickets.next().unwrap()).err, -101);
}
