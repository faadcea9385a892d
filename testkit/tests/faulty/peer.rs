//! A client of frames, which shows what it got and expects nothing.
#![allow(unreachable_pub, reason = "it is a module of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, Auth, ConnectRequest, ConnectResponse, Create, CreateMode, Empty, GetData, Record,
    ReplyHeader, RequestHeader, SessionPassword, SetData, op, put_request, xid,
};

/// Longer than anything takes that comes at all.
pub const SOON: Duration = Duration::from_secs(20);

/// Silence is believed after this long.
const SILENCE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct Peer {
    socket: TcpStream,
    pub session: i64,
    pub password: SessionPassword,
    /// Granted; 0 where the session that was asked for is gone.
    pub timeout_ms: i32,
    xid: i32,
    /// Requests that are to go out in one piece.
    held: Option<BytesMut>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A frame, without its length.
    Frame(Bytes),
    End,
    Reset,
    /// Nothing, for as long as is believed.
    Silence,
}

impl Heard {
    pub fn frame(self) -> Bytes {
        match self {
            Self::Frame(frame) => frame,
            other => panic!("{other:?} in place of a frame"),
        }
    }

    pub fn header(self) -> ReplyHeader {
        ReplyHeader::decode(&self.frame()).unwrap()
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Self::End | Self::Reset)
    }
}

impl Peer {
    /// A socket without a word.
    pub fn dial(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            session: 0,
            password: SessionPassword::NONE,
            timeout_ms: 0,
            xid: 0,
            held: None,
        }
    }

    /// A new session.
    pub fn connect(addr: SocketAddr) -> Self {
        let mut peer = Self::dial(addr);
        peer.greet(0, SessionPassword::NONE);
        let response = peer.hear();
        peer.accept(response);
        peer
    }

    /// The same session over another connection.
    pub fn again(&self, addr: SocketAddr) -> Self {
        let mut peer = Self::dial(addr);
        peer.greet(self.session, self.password);
        let response = peer.hear();
        peer.accept(response);
        peer
    }

    pub fn greet(&mut self, session_id: i64, password: SessionPassword) {
        let request = ConnectRequest {
            last_zxid_seen: 0,
            timeout_ms: 10_000,
            session_id,
            password,
            read_only: Some(false),
        };
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
        request.encode(&mut frame);
        // It may be gone before this.
        let _ = self.socket.write_all(&frame);
    }

    fn accept(&mut self, response: Heard) {
        let response = ConnectResponse::decode(&response.frame()).unwrap();
        self.session = response.session_id;
        self.password = response.password;
        self.timeout_ms = response.timeout_ms;
    }

    pub fn send(&mut self, op: i32, body: &impl Record) -> i32 {
        self.xid += 1;
        let xid = self.xid;
        self.send_as(xid, op, body);
        xid
    }

    fn send_as(&mut self, xid: i32, op: i32, body: &impl Record) {
        let mut frame = BytesMut::new();
        put_request(&mut frame, RequestHeader { xid, op }, body);
        if let Some(held) = &mut self.held {
            return held.extend_from_slice(&frame);
        }
        // It may be gone before this.
        let _ = self.socket.write_all(&frame);
    }

    /// Sends several requests in one piece.
    pub fn at_once(&mut self, ask: impl FnOnce(&mut Self)) {
        self.held = Some(BytesMut::new());
        ask(self);
        let all = self.held.take().unwrap();
        // It may be gone before this.
        let _ = self.socket.write_all(&all);
    }

    /// Says no more.
    pub fn finish(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Says who it is.
    pub fn auth(&mut self) {
        let auth = Auth {
            scheme: "digest",
            proof: b"bob:secret",
        };
        self.send_as(xid::AUTH, op::AUTH, &auth);
    }

    pub fn ping(&mut self) {
        self.send_as(xid::PING, op::PING, &Empty);
    }

    pub fn create(&mut self, path: &str, mode: CreateMode) -> i32 {
        let acl = [Acl::open()];
        let create = Create {
            path: path.into(),
            data: b"",
            acl: &acl,
            mode,
        };
        self.send(op::CREATE, &create)
    }

    pub fn get(&mut self, path: &str) -> i32 {
        let get = GetData {
            path: path.into(),
            watch: false,
        };
        self.send(op::GET_DATA, &get)
    }

    pub fn set(&mut self, path: &str, data: &[u8]) -> i32 {
        let set = SetData {
            path: path.into(),
            data,
            version: -1,
        };
        self.send(op::SET_DATA, &set)
    }

    /// Makes a node with these data, which must succeed.
    pub fn make(&mut self, path: &str, data: &[u8]) {
        self.create(path, CreateMode::Persistent);
        assert_eq!(self.hear().header().err, 0);
        self.set(path, data);
        assert_eq!(self.hear().header().err, 0);
    }

    /// What a node has; `None` where there is none.
    pub fn data(&mut self, path: &str) -> Option<Vec<u8>> {
        self.get(path);
        let frame = self.hear().frame();
        let header = ReplyHeader::decode(&frame).unwrap();
        (header.err == 0).then(|| {
            let body = &frame[ReplyHeader::LEN..];
            let len = u32::from_be_bytes(*body.first_chunk().unwrap());
            body[4..4 + len as usize].to_vec()
        })
    }

    /// What comes next, which must be something.
    pub fn hear(&mut self) -> Heard {
        let heard = self.listen(SOON);
        assert_ne!(heard, Heard::Silence, "nothing came");
        heard
    }

    /// Whether nothing comes.
    pub fn is_silent(&mut self) -> bool {
        self.listen(SILENCE) == Heard::Silence
    }

    /// The next bytes as they are, until the end or so many.
    pub fn raw(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        let limit = Read::by_ref(&mut self.socket).take(len as u64);
        // A reset is an end as well.
        let _ = { limit }.read_to_end(&mut bytes);
        bytes
    }

    fn listen(&mut self, patience: Duration) -> Heard {
        let mut length = [0; 4];
        match self.fill(&mut length, patience) {
            Ok(()) => {}
            Err(other) => return other,
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        match self.fill(&mut frame, SOON) {
            Ok(()) => Heard::Frame(frame.into()),
            Err(other) => other,
        }
    }

    fn fill(&mut self, buffer: &mut [u8], patience: Duration) -> Result<(), Heard> {
        let give_up = Instant::now() + patience;
        let mut filled = 0;
        while filled < buffer.len() {
            let left = give_up.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Heard::End),
                Ok(len) => filled += len,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(Heard::Reset);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() >= give_up {
                        return Err(Heard::Silence);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
        Ok(())
    }
}
