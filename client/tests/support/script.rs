//! Servers written by hand, on the standard library's sockets: each does what its test says,
//! right or wrong.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A listener on the loopback address that serves each connection on a thread of its own.
///
/// It listens until the process ends: were its port free again, another test could be given it
/// while a client of this one is still knocking. Connections end when their peers do.
#[derive(Debug)]
pub struct Script {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Script {
    /// `serve` gets the connection, and how many there were before. An error in it, such as a
    /// peer that has gone, ends the connection.
    pub fn start(serve: impl Fn(usize, Peer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let script = Self {
            addr: listener.local_addr().expect("its address"),
            accepted: Arc::default(),
        };
        let accepted = Arc::clone(&script.accepted);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let index = accepted.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(index, Peer::new(stream)));
            }
        });
        script
    }

    pub fn connect_string(&self) -> String {
        self.addr.to_string()
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// The session that [`Peer::shake_hands`] gives.
pub const SESSION_ID: i64 = 0x1234_5678;
pub const PASSWORD: [u8; 16] = *b"0123456789abcdef";

/// The server's end of a connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

/// A request, as far as a script cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub xid: i32,
    pub op: i32,
    pub body: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        // A script that answers in two writes must not wait for the peer in between.
        let _ = stream.set_nodelay(true);
        Self { stream }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A frame without its length.
    pub fn read_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let len = usize::try_from(i32::from_be_bytes(len)).map_err(io::Error::other)?;
        let mut frame = vec![0; len];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// Answers the handshake as a server does, with [`SESSION_ID`] and a long time-out.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        self.read_frame()?;
        self.send(&handshake(30_000, SESSION_ID))
    }

    /// The next request. Pings are answered on the way, and so is the end of the session.
    pub fn read_request(&mut self) -> io::Result<Asked> {
        loop {
            let frame = self.read_frame()?;
            let (header, body) = frame.split_at(8);
            let asked = Asked {
                xid: i32::from_be_bytes(header[..4].try_into().expect("four bytes")),
                op: i32::from_be_bytes(header[4..].try_into().expect("four bytes")),
                body: body.to_vec(),
            };
            match asked.op {
                PING => self.send(&reply(-2, 0, 0, &[]))?,
                CLOSE_SESSION => {
                    self.send(&reply(asked.xid, 0, 0, &[]))?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => return Ok(asked),
            }
        }
    }

    /// Answers everything with `data`, until the peer is gone.
    pub fn serve_data(&mut self, data: &[u8]) -> io::Result<()> {
        loop {
            let asked = self.read_request()?;
            self.send(&reply(asked.xid, 0, 0, &data_and_stat(Some(data))))?;
        }
    }

    /// Takes what comes, and says nothing, until the peer is gone.
    pub fn listen_only(&mut self) -> io::Result<()> {
        let mut sink = [0; 4096];
        while self.stream.read(&mut sink)? > 0 {}
        Ok(())
    }
}

const PING: i32 = 11;
const CLOSE_SESSION: i32 = -11;

/// Bytes behind their length.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let len = i32::try_from(payload.len()).expect("a small frame");
    [&len.to_be_bytes(), payload].concat()
}

/// A server's answer to the handshake.
pub fn handshake(timeout_ms: i32, session_id: i64) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(0i32.to_be_bytes());
    payload.extend(timeout_ms.to_be_bytes());
    payload.extend(session_id.to_be_bytes());
    payload.extend(16i32.to_be_bytes());
    payload.extend(PASSWORD);
    payload.push(0);
    frame(&payload)
}

pub fn reply(xid: i32, zxid: i64, err: i32, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(xid.to_be_bytes());
    payload.extend(zxid.to_be_bytes());
    payload.extend(err.to_be_bytes());
    payload.extend(body);
    frame(&payload)
}

/// The body of a reply to `get`.
pub fn data_and_stat(data: Option<&[u8]>) -> Vec<u8> {
    let mut body = buffer(data);
    body.extend(stat(data.map_or(0, <[u8]>::len)));
    body
}

/// A buffer or a string, behind its length.
pub fn buffer(bytes: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = bytes else {
        return (-1i32).to_be_bytes().to_vec();
    };
    frame(bytes)
}

/// A stat in which only the length of the data is not zero.
pub fn stat(data_length: usize) -> [u8; 68] {
    let mut stat = [0; 68];
    let len = i32::try_from(data_length).expect("little data");
    stat[52..56].copy_from_slice(&len.to_be_bytes());
    stat
}
