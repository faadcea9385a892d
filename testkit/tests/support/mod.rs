//! Drives the server core with bytes, in a time of its own.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file has a copy of it and uses a part"
)]

pub mod ensemble;
pub mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use homing_protocol::{
    Acl, ConnectRequest, ConnectResponse, Create, CreateMode, Delete, Empty, EventType, Exists,
    GetChildren, GetData, PathRef, Reader, Record, ReplyHeader, RequestHeader, SessionPassword,
    SetData, Stat, WatchedEvent, op, put_request, put_string, xid,
};
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};

/// A server, the time, and what every connection was sent.
pub struct Rig {
    pub server: Server,
    pub now: Now,
    received: BTreeMap<ConnectionId, Vec<Bytes>>,
    closed: BTreeSet<ConnectionId>,
    xid: i32,
}

/// A session and the connection that speaks for it.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub connection: ConnectionId,
    pub session: i64,
    pub password: SessionPassword,
}

/// What came back for one request.
#[derive(Debug)]
pub struct Answer {
    pub header: ReplyHeader,
    /// The whole frame, header included.
    pub frame: Bytes,
    /// What was sent before the reply.
    pub events: Vec<(EventType, String)>,
}

impl Answer {
    /// Of these frames the last one, which must be there; the others are events.
    pub fn last(mut frames: Vec<Bytes>) -> Self {
        let frame = frames.pop().expect("a reply");
        Self {
            header: ReplyHeader::decode(&frame).unwrap(),
            frame,
            events: frames.iter().map(event).collect(),
        }
    }

    pub fn err(&self) -> i32 {
        self.header.err
    }

    pub fn body(&self) -> Bytes {
        self.frame.slice(ReplyHeader::LEN..)
    }

    pub fn stat(&self) -> Stat {
        assert_eq!(self.err(), 0);
        Stat::read(&mut Reader::new(&self.body())).unwrap()
    }

    /// The stat at the end of the body.
    pub fn last_stat(&self) -> Stat {
        assert_eq!(self.err(), 0);
        let tail = self.frame.slice(self.frame.len() - Stat::LEN..);
        Stat::read(&mut Reader::new(&tail)).unwrap()
    }

    /// The string at the beginning of the body.
    pub fn path(&self) -> String {
        assert_eq!(self.err(), 0);
        Reader::new(&self.body())
            .string("path")
            .unwrap()
            .into_owned()
    }

    /// The strings of a body that is a list.
    pub fn names(&self) -> Vec<String> {
        assert_eq!(self.err(), 0);
        let body = self.body();
        let mut reader = Reader::new(&body);
        let count = reader.count("names", 4).unwrap().unwrap();
        (0..count)
            .map(|_| reader.string("name").unwrap().into_owned())
            .collect()
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(set: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        set(&mut config);
        Self {
            server: Server::new(config),
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
        while let Some(due) = self.server.poll_timeout()
            && due <= end.instant
        {
            self.now = self
                .now
                .after(due.saturating_duration_since(self.now.instant));
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn accept(&mut self) -> ConnectionId {
        self.server.accept(self.now, [127, 0, 0, 1].into())
    }

    /// Gives the server bytes, all of which it must take.
    pub fn give(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.server.handle_bytes(self.now, connection, &mut input);
        assert!(input.is_empty(), "{} bytes were left", input.len());
        self.drain();
    }

    /// Whole frames, without their lengths, that were sent since the last call.
    pub fn take(&mut self, connection: ConnectionId) -> Vec<Bytes> {
        self.drain();
        self.received.remove(&connection).unwrap_or_default()
    }

    /// As [`take`](Self::take), for frames that are all notifications.
    pub fn take_events(&mut self, connection: ConnectionId) -> Vec<(EventType, String)> {
        self.take(connection).iter().map(event).collect()
    }

    pub fn is_closed(&self, connection: ConnectionId) -> bool {
        self.closed.contains(&connection)
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(connection, mut frame) => {
                    assert!(!self.is_closed(connection), "sent after the end");
                    if frame.len() < 4 || frame.clone().get_u32() as usize + 4 != frame.len() {
                        panic!("not a frame: {frame:?}");
                    }
                    frame.advance(4);
                    self.received.entry(connection).or_default().push(frame);
                }
                Output::Close(connection) => {
                    self.closed.insert(connection);
                }
            }
        }
    }

    /// Makes a handshake and says what came back, if anything.
    pub fn handshake(
        &mut self,
        request: &ConnectRequest,
    ) -> (ConnectionId, Option<ConnectResponse>) {
        let connection = self.accept();
        (connection, self.begin(connection, request))
    }

    fn begin(
        &mut self,
        connection: ConnectionId,
        request: &ConnectRequest,
    ) -> Option<ConnectResponse> {
        self.give(connection, &handshake_frame(request));
        let answers = self.take(connection);
        answers
            .first()
            .map(|frame| ConnectResponse::decode(frame).unwrap())
    }

    /// A new session with this time-out in milliseconds.
    pub fn session(&mut self, timeout_ms: i32) -> Peer {
        let connection = self.accept();
        self.session_on(connection, timeout_ms)
    }

    fn session_on(&mut self, connection: ConnectionId, timeout_ms: i32) -> Peer {
        let response = self.begin(connection, &new_session(timeout_ms)).unwrap();
        Peer {
            connection,
            session: response.session_id,
            password: response.password,
        }
    }

    /// A new session with a time-out that no test outlasts by accident.
    pub fn peer(&mut self) -> Peer {
        self.session(30_000)
    }

    /// The same, from another address.
    pub fn peer_at(&mut self, address: std::net::IpAddr) -> Peer {
        let connection = self.server.accept(self.now, address);
        self.session_on(connection, 30_000)
    }

    /// Sends a request and takes everything up to its reply, which must come.
    pub fn call(&mut self, peer: Peer, op: i32, body: &impl Record) -> Answer {
        self.xid += 1;
        let xid = self.xid;
        let answer = self.call_with_xid(peer, xid, op, body);
        assert_eq!(answer.header.xid, xid);
        answer
    }

    pub fn call_with_xid(&mut self, peer: Peer, xid: i32, op: i32, body: &impl Record) -> Answer {
        self.give(peer.connection, &request_frame(xid, op, body));
        Answer::last(self.take(peer.connection))
    }

    pub fn create(&mut self, peer: Peer, path: &str, mode: CreateMode) -> Answer {
        self.call(peer, op::CREATE2, &create_body(path, &[Acl::open()], mode))
    }

    /// Creates plain nodes, which must succeed.
    pub fn make(&mut self, peer: Peer, paths: &[&str]) {
        for path in paths {
            assert_eq!(
                self.create(peer, path, CreateMode::Persistent).err(),
                0,
                "{path}"
            );
        }
    }

    pub fn delete(&mut self, peer: Peer, path: &str) -> Answer {
        self.call(peer, op::DELETE, &delete_body(path))
    }

    pub fn set(&mut self, peer: Peer, path: &str, data: &[u8]) -> Answer {
        self.call(peer, op::SET_DATA, &set_body(path, data))
    }

    pub fn exists(&mut self, peer: Peer, path: &str, watch: bool) -> Answer {
        self.call(peer, op::EXISTS, &exists_body(path, watch))
    }

    pub fn get(&mut self, peer: Peer, path: &str, watch: bool) -> Answer {
        self.call(peer, op::GET_DATA, &get_body(path, watch))
    }

    pub fn children(&mut self, peer: Peer, path: &str, watch: bool) -> Answer {
        self.call(
            peer,
            op::GET_CHILDREN2,
            &GetChildren {
                path: path.into(),
                watch,
            },
        )
    }

    pub fn ping(&mut self, peer: Peer) -> Answer {
        self.call_with_xid(peer, xid::PING, op::PING, &Empty)
    }

    pub fn auth(&mut self, peer: Peer, scheme: &str, credentials: &str) -> Answer {
        let mut body = BytesMut::new();
        body.extend_from_slice(&[0; 4]);
        put_string(&mut body, scheme);
        put_string(&mut body, credentials);
        self.call_with_xid(peer, xid::AUTH, op::AUTH, &Raw(body.into()))
    }
}

/// A body that is written by hand.
pub struct Raw(pub Vec<u8>);

impl Record for Raw {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.0);
    }
}

impl From<&str> for Raw {
    /// Hexadecimal digits; spaces do not count.
    fn from(hex: &str) -> Self {
        Self(unhex(hex))
    }
}

/// A handshake as it is sent, with its length.
pub fn handshake_frame(request: &ConnectRequest) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
    request.encode(&mut frame);
    frame
}

/// A handshake with a password that is no session's, however long it is.
pub fn handshake_with_password(session: i64, len: u32) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32(29 + len);
    frame.put_bytes(0, 12);
    frame.put_i32(10_000);
    frame.put_i64(session);
    frame.put_u32(len);
    frame.put_bytes(7, len as usize);
    frame.put_u8(0);
    frame
}

/// A request as it is sent, with its length.
pub fn request_frame(xid: i32, op: i32, body: &impl Record) -> BytesMut {
    let mut frame = BytesMut::new();
    put_request(&mut frame, RequestHeader { xid, op }, body);
    frame
}

pub fn create_body<'a>(path: &'a str, acl: &'a [Acl], mode: CreateMode) -> Create<'a> {
    Create {
        path: path.into(),
        data: b"",
        acl,
        mode,
    }
}

pub fn delete_body(path: &str) -> Delete<'_> {
    Delete {
        path: path.into(),
        version: -1,
    }
}

pub fn set_body<'a>(path: &'a str, data: &'a [u8]) -> SetData<'a> {
    SetData {
        path: path.into(),
        data,
        version: -1,
    }
}

pub fn exists_body(path: &str, watch: bool) -> Exists<'_> {
    Exists {
        path: path.into(),
        watch,
    }
}

pub fn get_body(path: &str, watch: bool) -> GetData<'_> {
    GetData {
        path: path.into(),
        watch,
    }
}

pub fn path_body(path: &str) -> Raw {
    let mut body = BytesMut::new();
    homing_protocol::Sync {
        path: PathRef::from(path),
    }
    .encode(&mut body);
    Raw(body.into())
}

/// A path and a number: addWatch, checkWatches, removeWatches.
pub fn path_and_kind(path: &str, kind: i32) -> Raw {
    let mut body = path_body(path).0;
    body.extend_from_slice(&kind.to_be_bytes());
    Raw(body)
}

pub fn new_session(timeout_ms: i32) -> ConnectRequest {
    ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    }
}

pub fn resume(peer: Peer, timeout_ms: i32) -> ConnectRequest {
    ConnectRequest {
        session_id: peer.session,
        password: peer.password,
        ..new_session(timeout_ms)
    }
}

pub fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

pub fn event(frame: &Bytes) -> (EventType, String) {
    let header = ReplyHeader::decode(frame).unwrap();
    assert_eq!((header.xid, header.zxid, header.err), (-1, -1, 0));
    let body = frame.slice(ReplyHeader::LEN..);
    let event = WatchedEvent::read(&mut Reader::new(&body)).unwrap();
    (event.kind, event.path)
}

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Numbers as they do harm: lengths that are a little off, and limits.
    pub fn number(&mut self) -> i32 {
        let extremes = [0, 1, 2, -1, -2, i32::MAX, i32::MIN, 0xF_FFFF];
        match self.below(3) {
            0 => extremes[self.below(8) as usize],
            1 => self.below(20) as i32,
            _ => self.next() as i32,
        }
    }
}
