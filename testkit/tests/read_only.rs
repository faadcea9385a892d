//! A server without a quorum: whom it admits, what it answers, and what becomes of sessions.

mod support;

use std::time::Duration;

use homing_protocol::{ConnectRequest, CreateMode, Empty, GetData, ReplyHeader, op};
use homing_testkit::{ConnectionId, Output};
use support::{Peer, Rig, new_session, path_body, resume};

const NOT_READ_ONLY: i32 = -119;

fn allowing(request: ConnectRequest) -> ConnectRequest {
    ConnectRequest {
        read_only: Some(true),
        ..request
    }
}

impl Rig {
    fn set_read_only(&mut self, read_only: bool) {
        let now = self.now;
        self.server.set_read_only(now, read_only);
        let nobody = self.accept();
        assert!(self.take(nobody).is_empty());
    }

    /// A session of a server without a quorum.
    fn local_peer(&mut self) -> Peer {
        let (connection, response) = self.handshake(&allowing(new_session(30_000)));
        let response = response.unwrap();
        Peer {
            connection,
            session: response.session_id,
            password: response.password,
        }
    }
}

/// What a four-letter word brings.
fn ask(rig: &mut Rig, word: &[u8]) -> String {
    let connection = rig.accept();
    let now = rig.now;
    rig.server.handle_bytes(now, connection, &mut word.into());
    let Some(Output::Send(_, answer)) = rig.server.poll_output() else {
        panic!("no answer to {word:?}");
    };
    assert_eq!(rig.server.poll_output(), Some(Output::Close(connection)));
    String::from_utf8(answer.to_vec()).unwrap()
}

#[test]
fn only_those_who_allow_it_are_admitted() {
    let mut rig = Rig::new();
    rig.set_read_only(true);
    for read_only in [Some(false), None] {
        let request = ConnectRequest {
            read_only,
            ..new_session(10_000)
        };
        let (connection, response) = rig.handshake(&request);
        assert!(response.is_none() && rig.is_closed(connection));
    }
    let (_, response) = rig.handshake(&allowing(new_session(10_000)));
    let response = response.unwrap();
    assert_eq!(response.read_only, Some(true));
    assert_eq!(response.timeout_ms, 10_000);
    assert_ne!(response.session_id, 0);
    assert_eq!(rig.server.last_zxid(), 0, "it is no transaction");
}

#[test]
fn without_local_sessions_the_refusal_is_a_mere_header() {
    let mut rig = Rig::with(|config| config.local_sessions = false);
    rig.set_read_only(true);
    let connection = rig.accept();
    let mut frame = bytes::BytesMut::from(&[0, 0, 0, 45][..]);
    homing_protocol::Record::encode(&allowing(new_session(10_000)), &mut frame);
    rig.give(connection, &frame);
    let frames = rig.take(connection);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].len(), ReplyHeader::LEN);
    let header = ReplyHeader::decode(&frames[0]).unwrap();
    assert_eq!(header.err, NOT_READ_ONLY);
    assert!(rig.is_closed(connection));
}

#[test]
fn reads_are_answered_and_writes_refused_unseen() {
    let mut rig = Rig::new();
    let writer = rig.peer();
    rig.make(writer, &["/a"]);
    let zxid = rig.server.last_zxid();
    rig.set_read_only(true);
    let peer = rig.local_peer();
    let get = GetData {
        path: "/a".into(),
        watch: true,
    };
    assert_eq!(rig.call(peer, op::GET_DATA, &get).err(), 0);
    for (op, body) in [
        (op::CREATE, path_body("not a path")),
        (op::CREATE2, path_body("/b")),
        (op::CREATE_CONTAINER, path_body("/b")),
        (op::CREATE_TTL, path_body("/b")),
        (op::DELETE, path_body("/a")),
        (op::SET_DATA, path_body("/a")),
        (op::SET_ACL, path_body("/a")),
        (op::MULTI, path_body("")),
        (op::RECONFIG, path_body("")),
        (op::SYNC, path_body("/")),
    ] {
        let answer = rig.call(peer, op, &body);
        assert_eq!(
            (answer.err(), answer.header.zxid),
            (NOT_READ_ONLY, zxid),
            "{op}"
        );
    }
    assert_eq!(rig.ping(peer).err(), 0);
    assert_eq!(rig.auth(peer, "digest", "bob:pw").err(), 0);
    assert_eq!(rig.call(peer, op::WHO_AM_I, &Empty).err(), 0);
    assert_eq!(rig.call(peer, op::CLOSE_SESSION, &Empty).err(), 0);
    assert_eq!(rig.server.last_zxid(), zxid);
}

#[test]
fn sessions_of_before_are_turned_away_and_live_on() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(rig.create(peer, "/e", CreateMode::Ephemeral).err(), 0);
    rig.set_read_only(true);
    assert!(rig.is_closed(peer.connection), "everybody is disconnected");
    let (connection, response) = rig.handshake(&allowing(resume(peer, 10_000)));
    assert!(response.is_none() && rig.is_closed(connection));
    // Nobody decides that it has expired.
    rig.advance(Duration::from_secs(3_600));
    rig.set_read_only(false);
    let (_, response) = rig.handshake(&resume(peer, 10_000));
    assert_eq!(response.unwrap().session_id, peer.session);
    assert!(rig.server.node_exists("/e"));
}

#[test]
fn sessions_of_a_server_without_a_quorum_are_known_nowhere_else() {
    let mut rig = Rig::new();
    rig.set_read_only(true);
    let peer = rig.local_peer();
    let (_, response) = rig.handshake(&allowing(resume(peer, 10_000)));
    assert_eq!(response.unwrap().session_id, peer.session, "here it is");
    // At one that is not cut off from the others.
    rig.set_read_only(false);
    let (connection, response) = rig.handshake(&allowing(resume(peer, 10_000)));
    let response = response.unwrap();
    assert_eq!((response.timeout_ms, response.session_id), (0, 0));
    assert_eq!(response.read_only, Some(false));
    assert!(rig.is_closed(connection));
    assert_eq!(rig.server.sessions(), []);
}

#[test]
fn whoever_is_unknown_has_expired_as_far_as_it_knows() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let now = rig.now;
    assert!(rig.server.expire_session(now, peer.session));
    rig.set_read_only(true);
    let (connection, response) = rig.handshake(&allowing(resume(peer, 10_000)));
    let response = response.unwrap();
    assert_eq!((response.timeout_ms, response.read_only), (0, Some(true)));
    assert!(rig.is_closed(connection));
}

#[test]
fn it_says_so_when_it_is_asked() {
    let mut rig = Rig::new();
    assert!(ask(&mut rig, b"isro").contains("not in the whitelist"));
    rig.set_read_only(true);
    assert_eq!(ask(&mut rig, b"isro"), "ro");
    assert!(ask(&mut rig, b"srvr").contains("Mode: read-only\n"));
    rig.set_read_only(false);
    assert_eq!(ask(&mut rig, b"isro"), "rw");
    assert!(ask(&mut rig, b"srvr").contains("Mode: standalone\n"));
}

#[test]
fn one_connection_of_several_may_be_to_a_server_without_a_quorum() {
    let mut rig = Rig::new();
    let writer = rig.peer();
    let now = rig.now;
    let reader: ConnectionId = rig.server.accept_read_only(now, [127, 0, 0, 1].into());
    let mut frame = bytes::BytesMut::from(&[0, 0, 0, 45][..]);
    homing_protocol::Record::encode(&allowing(new_session(10_000)), &mut frame);
    rig.give(reader, &frame);
    assert_eq!(rig.take(reader).len(), 1);
    assert_eq!(rig.create(writer, "/a", CreateMode::Persistent).err(), 0);
    assert!(!rig.server.is_read_only());
    assert_eq!(rig.server.sessions().len(), 2);
}
