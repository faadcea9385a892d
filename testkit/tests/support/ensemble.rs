//! Drives an ensemble with bytes, in a time of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use homing_protocol::{
    Acl, ConnectRequest, ConnectResponse, CreateMode, EventType, Record, ReplyHeader,
    SessionPassword, op,
};
use homing_testkit::{ConnectionId, Ensemble, Now, Output, ServerConfig};

use super::{
    Answer, create_body, delete_body, event, exists_body, get_body, handshake_frame, new_session,
    path_body, request_frame, set_body,
};

/// An ensemble, the time, and what every connection was sent.
pub struct Rig {
    pub ensemble: Ensemble,
    pub now: Now,
    received: BTreeMap<End, Vec<Bytes>>,
    closed: BTreeSet<End>,
    xid: i32,
}

/// A connection of a member.
pub type End = (usize, ConnectionId);

/// A session and the connection that speaks for it.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub end: End,
    pub session: i64,
    pub password: SessionPassword,
}

impl Rig {
    /// Three members without a lag.
    pub fn new() -> Self {
        Self::with(3, |_| {})
    }

    pub fn with(members: usize, set: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        config.four_letter_words = vec!["*".into()];
        set(&mut config);
        Self::over(Ensemble::new(vec![config; members]))
    }

    pub fn over(ensemble: Ensemble) -> Self {
        Self {
            ensemble,
            now: Now {
                instant: Instant::now(),
                unix_ms: 1_700_000_000_000,
            },
            received: BTreeMap::new(),
            closed: BTreeSet::new(),
            xid: 0,
        }
    }

    /// Lets time pass, with every timeout at its own instant.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(due) = self.ensemble.poll_timeout()
            && due <= end.instant
        {
            let wait = due.saturating_duration_since(self.now.instant);
            self.now = self.now.after(wait);
            self.ensemble.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Does something to the ensemble, at the time that it is.
    pub fn act<T>(&mut self, act: impl FnOnce(&mut Ensemble, Now) -> T) -> T {
        let result = act(&mut self.ensemble, self.now);
        self.drain();
        result
    }

    pub fn accept(&mut self, member: usize) -> End {
        let peer = [127, 0, 0, 1].into();
        let connection = self.ensemble.accept(self.now, member, peer);
        let end = (member, connection.expect("there is such a member"));
        self.drain();
        end
    }

    pub fn give(&mut self, (member, connection): End, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.ensemble
            .handle_bytes(self.now, member, connection, &mut input);
        assert!(input.is_empty(), "{} bytes were left", input.len());
        self.drain();
    }

    /// Whole frames, without their lengths, that were sent since the last call.
    pub fn take(&mut self, end: End) -> Vec<Bytes> {
        self.drain();
        self.received.remove(&end).unwrap_or_default()
    }

    /// As [`take`](Self::take), for frames that are all notifications.
    pub fn take_events(&mut self, end: End) -> Vec<(EventType, String)> {
        self.take(end).iter().map(event).collect()
    }

    pub fn is_closed(&self, end: End) -> bool {
        self.closed.contains(&end)
    }

    fn drain(&mut self) {
        while let Some((member, output)) = self.ensemble.poll_output() {
            match output {
                Output::Send(connection, mut frame) => {
                    let end = (member, connection);
                    assert!(!self.is_closed(end), "sent after the end");
                    if frame.len() >= 4 && frame.clone().get_u32() as usize + 4 == frame.len() {
                        frame.advance(4);
                    }
                    self.received.entry(end).or_default().push(frame);
                }
                Output::Close(connection) => {
                    self.closed.insert((member, connection));
                }
            }
        }
    }

    /// What a four-letter word brings.
    pub fn ask(&mut self, member: usize, word: &str) -> String {
        let end = self.accept(member);
        self.give(end, word.as_bytes());
        let answer = self.take(end).pop().expect("an answer");
        String::from_utf8(answer.to_vec()).unwrap()
    }

    /// What `srvr` says that a member is.
    pub fn mode(&mut self, member: usize) -> String {
        let answer = self.ask(member, "srvr");
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
        mode.unwrap_or("not serving").to_owned()
    }

    /// Sends a handshake.
    pub fn knock(&mut self, member: usize, request: &ConnectRequest) -> End {
        let end = self.accept(member);
        self.give(end, &handshake_frame(request));
        end
    }

    /// The answer to a handshake, if it has come.
    pub fn response(&mut self, end: End) -> Option<ConnectResponse> {
        let mut frames = self.take(end).into_iter();
        let response = frames.next()?;
        let rest: Vec<_> = frames.collect();
        if !rest.is_empty() {
            self.received.insert(end, rest);
        }
        Some(ConnectResponse::decode(&response).unwrap())
    }

    /// A new session, which is to begin at once.
    pub fn peer(&mut self, member: usize) -> Peer {
        self.session(member, 30_000)
    }

    pub fn session(&mut self, member: usize, timeout_ms: i32) -> Peer {
        let end = self.knock(member, &new_session(timeout_ms));
        self.established(end)
    }

    /// The session whose handshake was answered.
    pub fn established(&mut self, end: End) -> Peer {
        let response = self.response(end).expect("an answer");
        assert_ne!(response.timeout_ms, 0, "the session has expired");
        Peer {
            end,
            session: response.session_id,
            password: response.password,
        }
    }

    /// Sends a request, and says by which number its answer is to be known.
    pub fn send(&mut self, peer: Peer, op: i32, body: &impl Record) -> i32 {
        self.xid += 1;
        let xid = self.xid;
        self.give(peer.end, &request_frame(xid, op, body));
        xid
    }

    pub fn send_create(&mut self, peer: Peer, path: &str, mode: CreateMode) -> i32 {
        let op = match mode {
            CreateMode::Container => op::CREATE_CONTAINER,
            _ => op::CREATE2,
        };
        self.send(peer, op, &create_body(path, &[Acl::open()], mode))
    }

    pub fn send_get(&mut self, peer: Peer, path: &str, watch: bool) -> i32 {
        self.send(peer, op::GET_DATA, &get_body(path, watch))
    }

    pub fn send_set(&mut self, peer: Peer, path: &str, data: &[u8]) -> i32 {
        self.send(peer, op::SET_DATA, &set_body(path, data))
    }

    pub fn send_sync(&mut self, peer: Peer, path: &str) -> i32 {
        self.send(peer, op::SYNC, &path_body(path))
    }

    /// The headers of all replies that have come.
    pub fn headers(&mut self, peer: Peer) -> Vec<ReplyHeader> {
        let frames = self.take(peer.end);
        let headers = frames.iter().map(|it| ReplyHeader::decode(it).unwrap());
        headers.collect()
    }

    /// The numbers of the replies that have come, −1 for a notification.
    pub fn xids(&mut self, peer: Peer) -> Vec<i32> {
        let headers = self.headers(peer);
        headers.iter().map(|header| header.xid).collect()
    }

    /// The answer to what was sent last, which has come.
    pub fn answer(&mut self, peer: Peer) -> Answer {
        Answer::last(self.take(peer.end))
    }

    pub fn create(&mut self, peer: Peer, path: &str, mode: CreateMode) -> Answer {
        self.send_create(peer, path, mode);
        self.answer(peer)
    }

    /// Creates plain nodes, which must succeed at once.
    pub fn make(&mut self, peer: Peer, paths: &[&str]) {
        for path in paths {
            let answer = self.create(peer, path, CreateMode::Persistent);
            assert_eq!(answer.err(), 0, "{path}");
        }
    }

    pub fn delete(&mut self, peer: Peer, path: &str) -> Answer {
        self.send(peer, op::DELETE, &delete_body(path));
        self.answer(peer)
    }

    pub fn set(&mut self, peer: Peer, path: &str, data: &[u8]) -> Answer {
        self.send_set(peer, path, data);
        self.answer(peer)
    }

    pub fn get(&mut self, peer: Peer, path: &str, watch: bool) -> Answer {
        self.send_get(peer, path, watch);
        self.answer(peer)
    }

    pub fn exists(&mut self, peer: Peer, path: &str, watch: bool) -> Answer {
        self.send(peer, op::EXISTS, &exists_body(path, watch));
        self.answer(peer)
    }

    /// Whether a member's server has a node.
    pub fn has(&mut self, member: usize, path: &str) -> bool {
        let server = self
            .ensemble
            .server(member)
            .expect("there is such a member");
        server.node_exists(path)
    }

    pub fn last_zxid(&mut self, member: usize) -> i64 {
        let server = self
            .ensemble
            .server(member)
            .expect("there is such a member");
        server.last_zxid()
    }
}

/// A handshake of somebody who has a session and has seen so much.
pub fn resume(peer: Peer, last_zxid_seen: i64) -> ConnectRequest {
    ConnectRequest {
        session_id: peer.session,
        password: peer.password,
        last_zxid_seen,
        ..new_session(30_000)
    }
}
