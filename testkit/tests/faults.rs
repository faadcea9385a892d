//! Faults of the core: what is applied, and who is told.

mod support;

use homing_protocol::{
    ConnectRequest, CreateMode, Delete, EventType, PathRef, Record, RequestHeader, op, put_request,
};
use support::{Peer, Rig, new_session, resume};

/// Sends a write that may get no answer.
fn write(rig: &mut Rig, peer: Peer, path: &str) {
    let acl = [homing_protocol::Acl::open()];
    let mode = CreateMode::Persistent;
    let create = homing_protocol::Create {
        path: PathRef::from(path),
        data: b"",
        acl: &acl,
        mode,
    };
    send(rig, peer, op::CREATE, &create);
}

fn send(rig: &mut Rig, peer: Peer, op: i32, body: &impl Record) {
    let mut frame = bytes::BytesMut::new();
    put_request(&mut frame, RequestHeader { xid: 9, op }, body);
    rig.give(peer.connection, &frame);
}

#[test]
fn a_write_is_cut_off_before_it_is_applied() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.server.cut_before_apply(2);
    rig.make(peer, &["/a"]);
    let zxid = rig.server.last_zxid();
    // Reads do not count.
    rig.exists(peer, "/a", false);
    write(&mut rig, peer, "/b");
    assert!(rig.is_closed(peer.connection));
    assert!(rig.take(peer.connection).is_empty());
    assert!(!rig.server.node_exists("/b"));
    assert_eq!(rig.server.last_zxid(), zxid);
}

#[test]
fn a_write_is_cut_off_behind_its_effect() {
    let mut rig = Rig::new();
    let (peer, watcher) = (rig.peer(), rig.peer());
    rig.exists(peer, "/a", true);
    rig.exists(watcher, "/a", true);
    rig.server.cut_after_apply(1);
    write(&mut rig, peer, "/a");
    assert!(rig.is_closed(peer.connection));
    assert!(rig.take(peer.connection).is_empty());
    // Others see what happened.
    let events = rig.take_events(watcher.connection);
    assert_eq!(events, [(EventType::NodeCreated, "/a".into())]);
    let (connection, response) = rig.handshake(&resume(peer, 5000));
    assert_eq!(response.unwrap().session_id, peer.session);
    assert_eq!(
        rig.exists(Peer { connection, ..peer }, "/a", false).err(),
        0
    );
}

#[test]
fn a_fault_is_over_once_it_has_struck() {
    let mut rig = Rig::new();
    let (first, second) = (rig.peer(), rig.peer());
    rig.server.cut_before_apply(1);
    send(
        &mut rig,
        first,
        op::DELETE,
        &Delete {
            path: "/nope".into(),
            version: -1,
        },
    );
    assert!(rig.is_closed(first.connection));
    rig.make(second, &["/a"]);
}

#[test]
fn a_server_that_fell_behind_turns_its_clients_away() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/a", "/b"]);
    let seen = rig.server.last_zxid();
    rig.server.set_last_zxid(1);
    let request = ConnectRequest {
        last_zxid_seen: seen,
        ..resume(peer, 5000)
    };
    let (connection, response) = rig.handshake(&request);
    assert_eq!(response, None);
    assert!(rig.is_closed(connection));
    assert!(rig.handshake(&new_session(5000)).1.is_some());
}

#[test]
fn a_session_that_moved_away_loses_its_connection_silently() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.server.close_connection(peer.connection);
    assert!(rig.take(peer.connection).is_empty());
    assert!(rig.is_closed(peer.connection));
    assert_eq!(rig.server.sessions()[0].connection, None);
}
