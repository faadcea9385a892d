//! The floor: a server that does nothing but tell frames apart and answer each with the same
//! bytes. No server that speaks this protocol over loopback, one thread for all connections,
//! can be much faster; if the client were slow, it would show here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};

use homing_protocol::op;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Builder};

/// Starts it; it goes on to the end of the process.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), Token(usize::MAX))?;
    let (accepted, incoming) = mpsc::channel();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            // The handshake, and an answer that the client does not look into.
            let mut request = [0; 49];
            if socket.read_exact(&mut request).is_ok() {
                let _ = socket.write_all(&[0, 0, 0, 1, 0]);
                let _ = socket.set_nodelay(true);
                let _ = accepted.send(socket);
                let _ = waker.wake();
            }
        }
    });
    let serving = Builder::new().name("floor".into());
    serving.spawn(move || serve(poll, &incoming))?;
    Ok(address)
}

struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

fn serve(mut poll: Poll, incoming: &Receiver<std::net::TcpStream>) -> io::Result<()> {
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Events::with_capacity(64);
    let mut scratch = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        while let Ok(socket) = incoming.try_recv() {
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            let both = Interest::READABLE | Interest::WRITABLE;
            let token = Token(connections.len());
            poll.registry().register(&mut socket, token, both)?;
            connections.push(Some(Connection {
                socket,
                input: Vec::new(),
                output: Vec::new(),
            }));
        }
        for event in &events {
            let Some(slot) = connections.get_mut(event.token().0) else {
                continue;
            };
            if let Some(connection) = slot
                && connection.turn(&mut scratch).is_err()
            {
                *slot = None;
            }
        }
    }
}

impl Connection {
    fn turn(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            let len = match self.socket.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.input.extend_from_slice(&scratch[..len]);
            self.answer();
            self.flush()?;
        }
        self.flush()
    }

    fn answer(&mut self) {
        let mut rest = &self.input[..];
        while let Some((len, behind)) = rest.split_first_chunk() {
            let len = u32::from_be_bytes(*len) as usize;
            let Some((frame, next)) = behind.split_at_checked(len) else {
                break;
            };
            let op = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            // Header, then stat, data, path or nothing, as long as the real ones.
            let len: u8 = match op {
                op::GET_DATA => 16 + 4 + 100 + 68,
                op::CREATE => 16 + 4 + 20,
                op::DELETE => 16,
                _ => 16 + 68,
            };
            self.output.extend_from_slice(&[0, 0, 0, len]);
            self.output.resize(self.output.len() + usize::from(len), 0);
            rest = next;
        }
        let kept = self.input.len() - rest.len();
        self.input.drain(..kept);
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        while done < self.output.len() {
            match self.socket.write(&self.output[done..]) {
                Ok(len) => done += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..done);
        Ok(())
    }
}
