//! A client by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, Auth, ConnectRequest, ConnectResponse, Create, CreateMode, Empty, GetData, Record,
    ReplyHeader, RequestHeader, SessionPassword, SetData, op, put_request, xid,
};

use super::PATIENCE;

pub(crate) struct Talker {
    pub(crate) socket: TcpStream,
    pub(crate) xid: i32,
}

impl Talker {
    pub(crate) fn dial(server: SocketAddr) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, xid: 0 }
    }

    /// A connection for a session, new or taken up again.
    pub(crate) fn connect(server: SocketAddr, request: &ConnectRequest) -> (Self, ConnectResponse) {
        let mut talker = Self::dial(server);
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        request.encode(&mut frame);
        talker.socket.write_all(&frame).unwrap();
        let response = ConnectResponse::decode(&talker.read().unwrap()).unwrap();
        (talker, response)
    }

    pub(crate) fn new(server: SocketAddr) -> Self {
        Self::connect(server, &NEW_SESSION).0
    }

    pub(crate) fn say(&mut self, op: i32, body: &impl Record) {
        self.xid += 1;
        self.say_as(self.xid, op, body);
    }

    pub(crate) fn say_as(&mut self, xid: i32, op: i32, body: &impl Record) {
        let mut frame = BytesMut::new();
        put_request(&mut frame, RequestHeader { xid, op }, body);
        // Should the server be gone, the next read tells.
        let _ = self.socket.write_all(&frame);
    }

    /// The next frame, or `None` at the end.
    pub(crate) fn read(&mut self) -> Option<Bytes> {
        let mut len = [0; 4];
        self.socket.read_exact(&mut len).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.socket.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }

    pub(crate) fn read_header(&mut self) -> ReplyHeader {
        ReplyHeader::decode(&self.read().unwrap()).unwrap()
    }

    /// Asks, and reads up to the answer. Says how it ended.
    pub(crate) fn call(&mut self, op: i32, body: &impl Record) -> ReplyHeader {
        self.say(op, body);
        loop {
            let header = self.read_header();
            if header.xid == self.xid {
                return header;
            }
        }
    }

    pub(crate) fn create(&mut self, path: &str, mode: CreateMode) -> i32 {
        let acl = [Acl::open()];
        let create = Create {
            path: path.into(),
            data: b"x",
            acl: &acl,
            mode,
        };
        self.call(op::CREATE2, &create).err
    }

    pub(crate) fn set(&mut self, path: &str, data: &[u8]) -> i32 {
        let set = SetData {
            path: path.into(),
            data,
            version: -1,
        };
        self.call(op::SET_DATA, &set).err
    }

    pub(crate) fn get(&mut self, path: &str, watch: bool) -> i32 {
        let path = path.into();
        self.call(op::GET_DATA, &GetData { path, watch }).err
    }

    pub(crate) fn ping(&mut self) {
        self.say_as(xid::PING, op::PING, &Empty);
        assert_eq!(self.read_header().xid, xid::PING);
    }

    pub(crate) fn auth(&mut self) {
        let auth = Auth {
            scheme: "digest",
            proof: b"bob:pw",
        };
        self.say_as(xid::AUTH, op::AUTH, &auth);
        assert_eq!(self.read_header().xid, xid::AUTH);
    }

    pub(crate) fn close(mut self) {
        assert_eq!(self.call(op::CLOSE_SESSION, &Empty).err, 0);
        assert_eq!(self.read(), None);
    }
}

pub(crate) const NEW_SESSION: ConnectRequest = ConnectRequest {
    last_zxid_seen: 0,
    timeout_ms: 10_000,
    session_id: 0,
    password: SessionPassword::NONE,
    read_only: Some(false),
};
