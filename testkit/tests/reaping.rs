//! Containers, and nodes with a time to live.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use homing_protocol::{Acl, Create, CreateMode, EventType, Record, op};
use support::{Answer, Peer, Raw, Rig};

const MINUTE: Duration = Duration::from_secs(60);

fn create(rig: &mut Rig, peer: Peer, op: i32, path: &str, flags: i32, ttl: Option<i64>) -> Answer {
    let mut body = BytesMut::new();
    let (acl, mode) = ([Acl::open()], CreateMode::Persistent);
    Create {
        path: path.into(),
        data: b"",
        acl: &acl,
        mode,
    }
    .encode(&mut body);
    let flags_at = body.len() - 4;
    body[flags_at..].copy_from_slice(&flags.to_be_bytes());
    if let Some(ttl) = ttl {
        body.extend_from_slice(&ttl.to_be_bytes());
    }
    rig.call(peer, op, &Raw(body.into()))
}

fn container(rig: &mut Rig, peer: Peer, path: &str) -> Answer {
    create(rig, peer, op::CREATE_CONTAINER, path, 4, None)
}

fn ttl(rig: &mut Rig, peer: Peer, path: &str, ttl_ms: i64) -> Answer {
    create(rig, peer, op::CREATE_TTL, path, 5, Some(ttl_ms))
}

/// A server with nodes that live for a time, and a session that stays.
fn rig() -> (Rig, Peer) {
    let mut rig = Rig::with(|config| {
        config.extended_types_enabled = true;
        config.max_session_timeout = Some(60 * MINUTE);
    });
    let peer = rig.session(i32::MAX);
    (rig, peer)
}

#[test]
fn a_container_goes_when_its_last_child_is_gone() {
    let (mut rig, peer) = rig();
    let stat = container(&mut rig, peer, "/c").last_stat();
    assert_eq!((stat.ephemeral_owner, stat.num_children), (0, 0));
    rig.advance(3 * MINUTE);
    assert!(rig.server.node_exists("/c"), "it was never used");
    rig.make(peer, &["/c/child"]);
    rig.advance(3 * MINUTE);
    assert!(rig.server.node_exists("/c"), "it is in use");

    rig.delete(peer, "/c/child");
    rig.exists(peer, "/c", true);
    let zxid = rig.server.last_zxid();
    rig.advance(MINUTE);
    assert!(!rig.server.node_exists("/c"));
    assert_eq!(rig.server.last_zxid(), zxid + 1);
    let events = rig.take_events(peer.connection);
    assert_eq!(events, [(EventType::NodeDeleted, "/c".into())]);
    assert_eq!(rig.exists(peer, "/", false).stat().pzxid, zxid + 1);
}

#[test]
fn a_container_that_was_never_used_goes_if_the_server_is_told_so() {
    let mut rig = Rig::with(|config| config.container_max_never_used = 2 * MINUTE);
    let peer = rig.session(40_000);
    container(&mut rig, peer, "/c");
    rig.advance(2 * MINUTE);
    assert!(rig.server.node_exists("/c"));
    rig.advance(MINUTE);
    assert!(!rig.server.node_exists("/c"));
}

#[test]
fn a_time_to_live_begins_anew_when_the_data_is_set() {
    let (mut rig, peer) = rig();
    ttl(&mut rig, peer, "/t", 90_000);
    rig.advance(MINUTE);
    rig.set(peer, "/t", b"");
    rig.advance(MINUTE);
    assert!(rig.server.node_exists("/t"));
    // Children do not count, except that they keep it while they are there.
    rig.make(peer, &["/t/child"]);
    rig.advance(5 * MINUTE);
    assert!(rig.server.node_exists("/t"));
    rig.delete(peer, "/t/child");
    rig.advance(MINUTE);
    assert!(!rig.server.node_exists("/t"));
}

#[test]
fn a_time_to_live_is_checked() {
    let (mut rig, peer) = rig();
    let max = (1_i64 << 40) - 1;
    for (ttl_ms, err) in [(0, -8), (-1, -8), (1, 0), (max, 0), (max + 1, -8)] {
        let path = format!("/t{ttl_ms}");
        assert_eq!(ttl(&mut rig, peer, &path, ttl_ms).err(), err, "{ttl_ms}");
    }
    // A time to live for a node that has none, and none for one that has.
    assert_eq!(
        create(&mut rig, peer, op::CREATE_TTL, "/x", 0, Some(5)).err(),
        -8
    );
    assert_eq!(create(&mut rig, peer, op::CREATE, "/x", 5, None).err(), -8);
    assert_eq!(create(&mut rig, peer, op::CREATE2, "/x", 6, None).err(), -8);
    let sequential = create(&mut rig, peer, op::CREATE_TTL, "/s", 6, Some(5));
    assert!(
        sequential.path().starts_with("/s00000"),
        "{}",
        sequential.path()
    );
}

#[test]
fn nodes_with_a_time_to_live_can_be_switched_off() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(ttl(&mut rig, peer, "/t", 1000).err(), -6);
    assert_eq!(rig.ping(peer).err(), 0, "the connection stays");
    assert_eq!(container(&mut rig, peer, "/c").err(), 0);
}

#[test]
fn there_is_nothing_to_wait_for_without_such_nodes() {
    let (mut rig, peer) = rig();
    let with_session = rig.server.poll_timeout().unwrap();
    container(&mut rig, peer, "/c");
    assert!(rig.server.poll_timeout().unwrap() < with_session);
    rig.delete(peer, "/c");
    assert_eq!(rig.server.poll_timeout().unwrap(), with_session);
}
