//! A client on a socket, as plain as it gets: one request, one answer.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file has a copy of it and uses a part"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, ConnectRequest, ConnectResponse, Create, CreateMode, EventType, Exists, Reader, Record,
    ReplyHeader, RequestHeader, SessionPassword, WatchedEvent, op, put_request, xid,
};

/// Longer than anything takes, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(60);

pub struct Client {
    socket: TcpStream,
    server: SocketAddr,
    pub session: ConnectResponse,
    /// What it was told since [`take_events`](Self::take_events).
    events: Vec<(EventType, String)>,
    /// How many requests it has sent, over all its connections.
    pub sent: u64,
    /// The last transaction that it was shown.
    pub zxid: i64,
}

impl Client {
    /// Begins a session, which is granted.
    pub fn connect(server: SocketAddr) -> Self {
        let begun = Self::open(server, &new_session());
        begun.expect("an answer to the handshake")
    }

    /// Begins a session, or takes one up; `None` where the server closes the connection.
    pub fn open(server: SocketAddr, request: &ConnectRequest) -> Option<Self> {
        let mut socket = dial(server);
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
        request.encode(&mut frame);
        // Where nobody is let in, the connection may be gone before this.
        let _ = socket.write_all(&frame);
        let response = read_frame(&mut socket)?;
        Some(Self {
            socket,
            server,
            session: ConnectResponse::decode(&response).unwrap(),
            events: Vec::new(),
            sent: 0,
            zxid: 0,
        })
    }

    /// Takes its session up again over another connection.
    pub fn reconnect(&mut self) {
        let request = ConnectRequest {
            session_id: self.session.session_id,
            password: self.session.password,
            ..new_session()
        };
        let again = Self::open(self.server, &request).expect("an answer to the handshake");
        self.socket = again.socket;
        self.session = again.session;
    }

    pub fn send(&mut self, op: i32, body: &impl Record) {
        self.sent += 1;
        let mut frame = BytesMut::new();
        put_request(&mut frame, RequestHeader { xid: 1, op }, body);
        // Whether it could be sent shows when there is no answer.
        let _ = self.socket.write_all(&frame);
    }

    /// The next reply, behind the events that come first; `None` when the connection is gone.
    pub fn receive(&mut self) -> Option<(ReplyHeader, Bytes)> {
        loop {
            let frame = read_frame(&mut self.socket)?;
            let header = ReplyHeader::decode(&frame).unwrap();
            let body = frame.slice(ReplyHeader::LEN..);
            if header.xid != xid::NOTIFICATION {
                self.zxid = header.zxid;
                return Some((header, body));
            }
            let event = WatchedEvent::read(&mut Reader::new(&body)).unwrap();
            self.events.push((event.kind, event.path));
        }
    }

    /// One request and its error code; `None` when the connection is gone.
    pub fn call(&mut self, op: i32, body: &impl Record) -> Option<i32> {
        self.send(op, body);
        self.receive().map(|(header, _)| header.err)
    }

    pub fn create(&mut self, path: &str, data: &[u8], mode: CreateMode) -> Option<i32> {
        let acl = [Acl::open()];
        let path = path.into();
        let create = Create {
            path,
            data,
            acl: &acl,
            mode,
        };
        self.call(op::CREATE, &create)
    }

    pub fn exists(&mut self, path: &str) -> Option<i32> {
        let path = path.into();
        self.call(op::EXISTS, &Exists { path, watch: false })
    }

    /// Everything that it has been told, what is on its way included.
    pub fn take_events(&mut self) -> Vec<(EventType, String)> {
        assert_eq!(self.exists("/"), Some(0));
        std::mem::take(&mut self.events)
    }

    /// Whether nothing comes within a moment.
    pub fn is_left_alone(&self) -> bool {
        let moment = Duration::from_millis(10);
        self.socket.set_read_timeout(Some(moment)).unwrap();
        let result = self.socket.peek(&mut [0]);
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// A session with the longest time-out that there is.
pub fn new_session() -> ConnectRequest {
    ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: i32::MAX,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    }
}

pub fn dial(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.set_write_timeout(Some(SOON)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn read_frame(socket: &mut TcpStream) -> Option<Bytes> {
    let mut len = [0; 4];
    match socket.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer"),
        Err(_) => return None,
    }
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut frame).ok()?;
    Some(frame.into())
}
