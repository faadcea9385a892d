//! How sessions end.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use homing_protocol::{CreateMode, Empty, EventType, op};
use homing_testkit::{Dialect, FakeServer, real};
use support::socket::{Client, grant_more, patiently};
use support::{Peer, Raw, Rig, new_session, path_and_kind, resume};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_silent_session_expires_on_the_tick_after_its_time_out() {
    let mut rig = Rig::new();
    rig.accept();
    rig.advance(SECOND / 2);
    // Ticks are counted from the first accept: 0.5 s + 4 s rounds up to 6 s.
    let peer = rig.session(4000);
    rig.advance(Duration::from_millis(5499));
    assert_eq!(rig.server.sessions().len(), 1);
    rig.advance(Duration::from_millis(1));
    assert_eq!(rig.server.sessions(), []);
    assert!(rig.is_closed(peer.connection));
    assert!(rig.take(peer.connection).is_empty());
}

#[test]
fn pings_and_requests_keep_a_session_alive() {
    let mut rig = Rig::new();
    let peer = rig.session(4000);
    for _ in 0..10 {
        rig.advance(3 * SECOND);
        rig.ping(peer);
        rig.advance(3 * SECOND);
        rig.exists(peer, "/", false);
    }
    assert_eq!(rig.server.sessions().len(), 1);
}

#[test]
fn identities_and_tokens_keep_no_session_alive() {
    for op in [op::AUTH, op::SASL] {
        let mut rig = Rig::new();
        let peer = rig.session(4000);
        for _ in 0..5 {
            rig.advance(SECOND);
            match op {
                op::AUTH => assert_eq!(rig.auth(peer, "digest", "a:b").err(), 0),
                _ => assert_eq!(rig.call(peer, op, &Raw(vec![0; 4])).err(), 0),
            }
        }
        rig.advance(SECOND);
        assert!(rig.is_closed(peer.connection), "{op}");
    }
    // But there they do.
    let mut rig = Rig::with(|config| config.speak(Dialect::ClickHouseKeeper));
    let peer = rig.session(10_000);
    for _ in 0..5 {
        rig.advance(6 * SECOND);
        assert_eq!(rig.auth(peer, "digest", "a:b").err(), 0);
    }
}

#[test]
fn whoever_has_no_say_keeps_no_session_alive() {
    let mut rig = Rig::with(|config| config.required_schemes = vec!["digest".into()]);
    let peer = rig.session(4000);
    rig.advance(3 * SECOND);
    assert_eq!(rig.ping(peer).err(), -124);
    rig.advance(3 * SECOND);
    assert_eq!(rig.server.sessions(), []);
}

#[test]
fn the_end_of_a_connection_overtakes_the_news_of_its_sessions_end() {
    let mut rig = Rig::new();
    let (doomed, other) = (rig.session(4000), rig.peer());
    rig.create(doomed, "/e", CreateMode::Ephemeral);
    for peer in [doomed, other] {
        let body = path_and_kind("/e", 0);
        assert_eq!(rig.call(peer, op::ADD_WATCH, &body).err(), 0);
    }
    rig.advance(6 * SECOND);
    assert!(rig.is_closed(doomed.connection));
    assert!(rig.take(doomed.connection).is_empty());
    let expected = [(EventType::NodeDeleted, "/e".into())];
    assert_eq!(rig.take_events(other.connection), expected);
}

#[test]
fn a_session_that_begins_once_more_has_that_time_until_it_is_heard_of() {
    let mut rig = Rig::new();
    let begin_again = |rig: &mut Rig, peer: Peer, timeout_ms: i32| {
        let frame = b"\0\0\0\x0c\0\0\0\x07\xff\xff\xff\xf6";
        rig.give(
            peer.connection,
            &[&frame[..], &timeout_ms.to_be_bytes()].concat(),
        );
        assert_eq!(rig.take(peer.connection).len(), 1);
    };
    let is_alive = |rig: &Rig, peer: Peer| !rig.is_closed(peer.connection);
    let (brief, long, heard) = (rig.session(20_000), rig.session(4000), rig.session(20_000));
    begin_again(&mut rig, brief, 0);
    begin_again(&mut rig, long, 60_000);
    begin_again(&mut rig, heard, 0);
    rig.ping(heard);
    rig.advance(2 * SECOND);
    assert!(!is_alive(&rig, brief) && is_alive(&rig, heard));
    rig.advance(18 * SECOND);
    rig.ping(heard);
    rig.advance(18 * SECOND);
    assert!(is_alive(&rig, long) && is_alive(&rig, heard));
    rig.ping(long);
    rig.ping(heard);
    rig.advance(6 * SECOND);
    assert!(!is_alive(&rig, long));
    // It was over before it began, and nobody looks back.
    begin_again(&mut rig, heard, -10_000);
    rig.advance(3600 * SECOND);
    assert!(is_alive(&rig, heard));
    rig.ping(heard);
    rig.advance(22 * SECOND);
    assert!(!is_alive(&rig, heard));

    // It is what a server goes by that starts again.
    let peer = rig.session(4000);
    begin_again(&mut rig, peer, 60_000);
    rig.server.handle_restart(rig.now);
    assert_eq!(rig.server.sessions()[0].timeout, 60 * SECOND);
}

#[test]
fn a_session_outlives_its_connection_until_it_expires() {
    let mut rig = Rig::new();
    let peer = rig.session(4000);
    rig.create(peer, "/e", CreateMode::Ephemeral);
    rig.server.handle_disconnected(rig.now, peer.connection);
    assert!(rig.server.node_exists("/e"));
    assert_eq!(rig.server.sessions()[0].connection, None);
    rig.advance(6 * SECOND);
    assert!(!rig.server.node_exists("/e"));
    assert_eq!(rig.handshake(&resume(peer, 4000)).1.unwrap().timeout_ms, 0);
}

#[test]
fn expiry_is_one_transaction_for_all_ephemerals() {
    let mut rig = Rig::new();
    let (doomed, other) = (rig.session(4000), rig.session(30_000));
    rig.make(other, &["/p"]);
    for name in ["/p/a", "/p/b"] {
        rig.create(doomed, name, CreateMode::Ephemeral);
    }
    let zxid = rig.server.last_zxid();
    let stat = rig.exists(other, "/p", false).stat();
    assert_eq!((stat.num_children, stat.cversion), (2, 2));
    rig.children(other, "/p", true);
    rig.exists(other, "/p/a", true);
    rig.exists(other, "/p/b", true);

    rig.advance(6 * SECOND);
    assert_eq!(rig.server.last_zxid(), zxid + 1);
    let mut events = rig.take_events(other.connection);
    events.sort_by_key(|(kind, path)| (*kind as i32, path.clone()));
    let expected = [
        (EventType::NodeDeleted, "/p/a".into()),
        (EventType::NodeDeleted, "/p/b".into()),
        // A one-shot watch sees the first of them.
        (EventType::NodeChildrenChanged, "/p".into()),
    ];
    assert_eq!(events, expected);
    let stat = rig.exists(other, "/p", false).stat();
    assert_eq!(
        (stat.num_children, stat.cversion, stat.pzxid),
        (0, 4, zxid + 1)
    );
}

#[test]
fn a_closed_session_takes_its_ephemerals_along() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.create(peer, "/e", CreateMode::Ephemeral);
    rig.exists(peer, "/e", true);
    let zxid = rig.server.last_zxid();
    let answer = rig.call(peer, op::CLOSE_SESSION, &Empty);
    // What happens to the own nodes is told before the reply.
    assert_eq!(answer.events, [(EventType::NodeDeleted, "/e".into())]);
    assert_eq!(
        (answer.header.zxid, answer.err(), answer.body().len()),
        (zxid + 1, 0, 0)
    );
    assert!(rig.is_closed(peer.connection));
    assert!(!rig.server.node_exists("/e"));
}

#[test]
fn what_follows_a_close_is_dropped() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.give(
        peer.connection,
        b"\0\0\0\x08\0\0\0\x01\xff\xff\xff\xf5\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b",
    );
    assert_eq!(rig.take(peer.connection).len(), 1);
}

#[test]
fn a_resumed_session_lives_by_its_new_time_out() {
    let mut rig = Rig::new();
    let peer = rig.session(4000);
    let (connection, _) = rig.handshake(&resume(peer, 20_000));
    rig.advance(19 * SECOND);
    assert!(!rig.is_closed(connection));
    rig.advance(3 * SECOND);
    assert!(rig.is_closed(connection));
}

#[test]
fn a_restart_gives_every_session_its_time_again() {
    let mut rig = Rig::new();
    let peer = rig.session(4000);
    rig.now = rig.now.after(60 * SECOND);
    rig.server.handle_restart(rig.now);
    rig.advance(4 * SECOND);
    let (_, response) = rig.handshake(&resume(peer, 4000));
    assert_eq!(response.unwrap().session_id, peer.session);
}

#[test]
fn a_server_that_starts_again_goes_by_first_handshakes() {
    let mut rig = Rig::new();
    let peer = rig.session(4000);
    let (_, response) = rig.handshake(&resume(peer, 20_000));
    assert_eq!(response.unwrap().timeout_ms, 20_000);
    let timeout = |rig: &Rig| rig.server.sessions().first().map(|it| it.timeout);
    assert_eq!(timeout(&rig), Some(20 * SECOND));
    rig.server.handle_restart(rig.now);
    assert_eq!(timeout(&rig), Some(4 * SECOND));
    rig.advance(6 * SECOND);
    assert_eq!(timeout(&rig), None);
}

#[test]
fn a_real_server_that_starts_again_goes_by_first_handshakes() {
    let fake = FakeServer::builder()
        .session_timeouts(SECOND, 600 * SECOND)
        .start()
        .unwrap();
    let addr = fake.addr();
    expires_early(addr, || fake.restart().unwrap());
    if real::requirement().is_none() {
        return;
    }
    let builder = real::ZooKeeper::builder();
    let builder = builder.property("maxSessionTimeout", "600000");
    let mut real = builder.start().unwrap();
    expires_early(real.addr(), || real.restart().unwrap());
}

/// Grants a session little and then much, and sees it gone soon after a restart.
fn expires_early(addr: SocketAddr, restart: impl FnOnce()) {
    patiently(|| grant_more(addr, "/e"));
    restart();
    let mut other = patiently(|| Client::with(addr, &new_session(60_000)));
    patiently(|| {
        let answer = other.get("/e", false).unwrap();
        (answer.err() != 0).then_some(())
    });
}

#[test]
fn ephemerals_are_listed_by_the_raw_prefix_of_their_path() {
    let mut rig = Rig::new();
    let (peer, other) = (rig.peer(), rig.peer());
    rig.make(peer, &["/a"]);
    for path in ["/a/1", "/ab", "/b"] {
        rig.create(peer, path, CreateMode::Ephemeral);
    }
    rig.create(other, "/a/2", CreateMode::Ephemeral);
    let mut list = |prefix: &str| {
        rig.call(peer, op::GET_EPHEMERALS, &support::path_body(prefix))
            .names()
    };
    assert_eq!(list("/"), ["/a/1", "/ab", "/b"]);
    assert_eq!(list(" "), ["/a/1", "/ab", "/b"]);
    assert_eq!(list("/a"), ["/a/1", "/ab"]);
    assert_eq!(list("/a/"), ["/a/1"]);
    let null = rig.call(peer, op::GET_EPHEMERALS, &Raw::from("ffffffff"));
    assert_eq!(null.names().len(), 3);
}
