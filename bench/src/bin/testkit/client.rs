//! The client: it writes requests that were encoded before, and counts replies. Nothing is
//! decoded but a reply's length and error, so that it is never what is measured.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{ConnectRequest, Record, RequestHeader, SessionPassword, frame, put_request};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How long nothing may come back before a measurement is given up.
const STUCK: Duration = Duration::from_secs(30);

/// Requests, encoded. One who sends more of them than there are begins again.
#[derive(Debug, Default)]
pub struct Load {
    bytes: BytesMut,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Load {
    /// Adds one. All have the same xid: a server gives it back and looks at it no further.
    pub fn push(&mut self, op: i32, body: &impl Record) {
        put_request(&mut self.bytes, RequestHeader { xid: 1, op }, body);
        self.ends.push(self.bytes.len());
    }

    /// Where the first so many requests end, counted through all repetitions.
    pub fn end_of(&self, requests: usize) -> usize {
        let (Some(last), count) = (self.ends.last(), self.ends.len()) else {
            return 0;
        };
        let rest = match requests % count {
            0 => 0,
            rest => self.ends[rest - 1],
        };
        requests / count * last + rest
    }

    /// The bytes from there to there, or those before the load begins again.
    pub fn piece(&self, from: usize, to: usize) -> &[u8] {
        let len = self.bytes.len();
        let start = from % len;
        &self.bytes[start..(start + (to - from)).min(len)]
    }
}

/// What a session begins with.
pub fn handshake() -> BytesMut {
    let request = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 30_000,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    };
    let mut out = BytesMut::from(&b"\0\0\0\x2d"[..]);
    request.encode(&mut out);
    out
}

/// One session, and how far it has come with its load.
struct Session<'a> {
    socket: TcpStream,
    load: &'a Load,
    /// The next byte of the load to be written.
    at: usize,
    /// How many requests may be written; the last one may be so in part.
    admitted: usize,
    answered: usize,
    total: usize,
    input: Vec<u8>,
    /// How much of `input` is the beginning of a reply.
    filled: usize,
}

/// Opens a session for each load, sends `total` requests over each, keeps at most `window` of
/// them unanswered, and tells how long that took. Opening is not counted.
pub fn run(
    server: SocketAddr,
    loads: &[Load],
    total: usize,
    window: usize,
) -> io::Result<Duration> {
    let mut poll = Poll::new()?;
    let mut sessions = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        let mut session = Session::open(server, load, total)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut session.socket, Token(index), both)?;
        sessions.push(session);
    }
    let mut events = Events::with_capacity(sessions.len().max(16));
    let begun = Instant::now();
    for session in &mut sessions {
        session.write(window)?;
    }
    while sessions.iter().any(|session| session.answered < total) {
        poll.poll(&mut events, Some(STUCK))?;
        if events.is_empty() {
            return Err(io::Error::new(ErrorKind::TimedOut, "no reply for 30 s"));
        }
        for event in &events {
            let session = &mut sessions[event.token().0];
            session.read()?;
            session.write(window)?;
        }
    }
    Ok(begun.elapsed())
}

impl<'a> Session<'a> {
    fn open(server: SocketAddr, load: &'a Load, total: usize) -> io::Result<Self> {
        let mut socket = std::net::TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        socket.write_all(&handshake())?;
        let mut len = [0; frame::LENGTH_LEN];
        socket.read_exact(&mut len)?;
        let mut response = vec![0; u32::from_be_bytes(len) as usize];
        socket.read_exact(&mut response)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: TcpStream::from_std(socket),
            load,
            at: 0,
            admitted: 0,
            answered: 0,
            total,
            input: vec![0; 256 << 10],
            filled: 0,
        })
    }

    /// Reads what is there and counts the replies in it.
    fn read(&mut self) -> io::Result<()> {
        loop {
            let room = &mut self.input[self.filled..];
            let wanted = room.len();
            let len = match self.socket.read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.filled += len;
            self.count()?;
            // A short read has emptied the socket; the next bytes are an event of their own.
            if len < wanted {
                return Ok(());
            }
        }
    }

    fn count(&mut self) -> io::Result<()> {
        let mut rest = &self.input[..self.filled];
        while let Some((len, behind)) = rest.split_first_chunk() {
            let len = u32::from_be_bytes(*len) as usize;
            if behind.len() < len {
                break;
            }
            // Behind the xid and the zxid.
            if behind.get(12..16) != Some(&[0; 4]) {
                return Err(io::Error::other("a request has failed"));
            }
            self.answered += 1;
            rest = &behind[len..];
        }
        let kept = rest.len();
        self.input.copy_within(self.filled - kept..self.filled, 0);
        self.filled = kept;
        Ok(())
    }

    /// Writes what the window has room for. It is filled again when it is half empty: few large
    /// writes, as any pipelining client makes them.
    fn write(&mut self, window: usize) -> io::Result<()> {
        if self.admitted - self.answered <= window / 2 {
            self.admitted = (self.answered + window).min(self.total);
        }
        loop {
            let until = self.load.end_of(self.admitted);
            if self.at == until {
                return Ok(());
            }
            match self.socket.write(self.load.piece(self.at, until)) {
                Ok(written) => self.at += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
