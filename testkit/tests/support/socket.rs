//! A client on a socket that knows no more than a test tells it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, ConnectRequest, ConnectResponse, CreateMode, Empty, Record, ReplyHeader, op,
};

use super::{
    Answer, create_body, event, get_body, handshake_frame, new_session, path_body, request_frame,
    set_body,
};

/// Longer than anything here takes.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Client {
    pub socket: TcpStream,
    pub session: ConnectResponse,
    xid: i32,
}

impl Client {
    /// `None` if the connection is closed in place of an answer.
    pub fn with(addr: SocketAddr, request: &ConnectRequest) -> Option<Self> {
        let mut socket = try_to_dial(addr)?;
        // A connection that is refused may be gone before this.
        let _ = socket.write_all(&handshake_frame(request));
        let response = read_frame(&mut socket)?;
        let session = ConnectResponse::decode(&response).unwrap();
        Some(Self {
            socket,
            session,
            xid: 0,
        })
    }

    /// The same session, from somewhere else or from there again.
    pub fn again(&self, last_zxid_seen: i64) -> ConnectRequest {
        ConnectRequest {
            session_id: self.session.session_id,
            password: self.session.password,
            last_zxid_seen,
            ..new_session(self.session.timeout_ms)
        }
    }

    /// Whether the connection still stood when this was sent.
    pub fn send(&mut self, op: i32, body: &impl Record) -> bool {
        let frame = self.frame(op, body);
        self.socket.write_all(&frame).is_ok()
    }

    /// Two requests in one write: the second is there before the first has been answered.
    pub fn send_both(
        &mut self,
        (op, body): (i32, &impl Record),
        second: (i32, &impl Record),
    ) -> bool {
        let mut frames = self.frame(op, body);
        let (op, body) = second;
        frames.unsplit(self.frame(op, body));
        self.socket.write_all(&frames).is_ok()
    }

    fn frame(&mut self, op: i32, body: &impl Record) -> BytesMut {
        self.xid += 1;
        request_frame(self.xid, op, body)
    }

    /// Everything up to the answer to what was sent last; `None` when the connection is gone.
    pub fn receive(&mut self) -> Option<Answer> {
        let mut events = Vec::new();
        loop {
            let frame = read_frame(&mut self.socket)?;
            let header = ReplyHeader::decode(&frame).unwrap();
            if header.xid == -1 {
                events.push(event(&frame));
            } else {
                return Some(Answer {
                    header,
                    frame,
                    events,
                });
            }
        }
    }

    pub fn call(&mut self, op: i32, body: &impl Record) -> Option<Answer> {
        self.send(op, body);
        self.receive()
    }

    pub fn create(&mut self, path: &str, mode: CreateMode) -> Option<Answer> {
        self.call(op::CREATE2, &create_body(path, &[Acl::open()], mode))
    }

    pub fn set(&mut self, path: &str, data: &[u8]) -> Option<Answer> {
        self.call(op::SET_DATA, &set_body(path, data))
    }

    pub fn get(&mut self, path: &str, watch: bool) -> Option<Answer> {
        self.call(op::GET_DATA, &get_body(path, watch))
    }

    pub fn sync(&mut self, path: &str) -> Option<Answer> {
        self.call(op::SYNC, &path_body(path))
    }

    pub fn ping(&mut self) -> Option<Answer> {
        self.call(op::PING, &Empty)
    }

    /// Waits until the server hangs up, whatever it sends before.
    pub fn wait_for_end(&mut self) {
        while read_frame(&mut self.socket).is_some() {}
    }
}

pub fn dial(addr: SocketAddr) -> TcpStream {
    try_to_dial(addr).expect("a connection")
}

fn try_to_dial(addr: SocketAddr) -> Option<TcpStream> {
    let socket = TcpStream::connect(addr).ok()?;
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.set_nodelay(true).unwrap();
    Some(socket)
}

/// A frame without its length; `None` when the connection is gone.
pub fn read_frame(socket: &mut TcpStream) -> Option<Bytes> {
    let mut len = [0; 4];
    read_exact(socket, &mut len)?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    read_exact(socket, &mut frame)?;
    Some(frame.into())
}

fn read_exact(socket: &mut TcpStream, into: &mut [u8]) -> Option<()> {
    let begin = Instant::now();
    let result = socket.read_exact(into);
    assert!(
        result.is_ok() || begin.elapsed() < SOON,
        "nothing came for so long"
    );
    result.ok()
}

/// What a four-letter word brings; empty if nobody answers.
pub fn ask(addr: SocketAddr, word: impl AsRef<[u8]>) -> String {
    let mut answer = String::new();
    if let Some(mut socket) = try_to_dial(addr) {
        let _ = socket.write_all(word.as_ref());
        let _ = socket.read_to_string(&mut answer);
    }
    answer
}

/// What `srvr` says on one of its lines.
pub fn line(addr: SocketAddr, name: &str) -> String {
    let answer = ask(addr, "srvr");
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or("none").to_owned()
}

/// A session with an ephemeral node that was granted 4 s at first and ten minutes when it was taken
/// up again. `None` if it took too long over that, or nobody answers.
pub fn grant_more(addr: SocketAddr, node: &str) -> Option<Client> {
    let mut brief = Client::with(addr, &new_session(4000))?;
    let answer = brief.create(node, CreateMode::Ephemeral)?;
    let mut request = brief.again(0);
    request.timeout_ms = 600_000;
    let long = Client::with(addr, &request).filter(|_| answer.err() == 0)?;
    (long.session.timeout_ms == 600_000).then_some(long)
}

/// Tries until there is something, which must come.
pub fn patiently<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + 3 * SOON;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < end, "it has not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}
