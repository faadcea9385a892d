//! Where clients come in.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

/// Events that are taken at a time.
const EVENTS: usize = 64;

/// A listener that tells clients from those who only want to know whether somebody listens, and
/// close the connection without having said anything.
#[derive(Debug)]
pub(super) struct Door {
    poll: Poll,
    events: Events,
    listener: mio::net::TcpListener,
    /// Connections that have said nothing yet, in the order in which they were made.
    silent: BTreeMap<usize, mio::net::TcpStream>,
    made: usize,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Silent,
    Spoke,
    Gone,
}

impl Door {
    pub(super) fn listen(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = mio::net::TcpListener::bind(address)?;
        let registry = poll.registry();
        registry.register(&mut listener, Token(0), Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listener,
            silent: BTreeMap::new(),
            made: 0,
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for something to happen, but not longer than this, and lets in who has said something,
    /// behind those who came before and are still there.
    pub(super) fn let_in(&mut self, limit: Duration) -> Vec<TcpStream> {
        // It fails if it is interrupted; events only say that it is worth while to look.
        let _ = self.poll.poll(&mut self.events, Some(limit));
        self.accept();
        let signs = self.silent.iter().map(|(made, it)| (*made, sign(it)));
        let signs: Vec<_> = signs.collect();
        let of = |wanted| signs.iter().filter(move |(_, sign)| *sign == wanted);
        for (gone, _) in of(Sign::Gone) {
            self.silent.remove(gone);
        }
        let Some((last, _)) = of(Sign::Spoke).next_back() else {
            return Vec::new();
        };
        let behind = self.silent.split_off(&last.saturating_add(1));
        let let_in = std::mem::replace(&mut self.silent, behind);
        let registry = self.poll.registry();
        let sockets = let_in.into_values().filter_map(|mut socket| {
            registry.deregister(&mut socket).ok()?;
            let socket = TcpStream::from(socket);
            socket.set_nonblocking(false).ok()?;
            Some(socket)
        });
        sockets.collect()
    }

    /// Closes all connections that have said nothing.
    pub(super) fn turn_away(&mut self) {
        self.silent.clear();
    }

    fn accept(&mut self) {
        // Should there be no descriptor left, it is tried again the next time.
        while let Ok((mut socket, _)) = self.listener.accept() {
            self.made = self.made.saturating_add(1);
            let registry = self.poll.registry();
            let token = Token(self.made);
            if registry
                .register(&mut socket, token, Interest::READABLE)
                .is_ok()
            {
                self.silent.insert(self.made, socket);
            }
        }
    }
}

fn sign(socket: &mio::net::TcpStream) -> Sign {
    match socket.peek(&mut [0]) {
        Ok(0) => Sign::Gone,
        Ok(_) => Sign::Spoke,
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Sign::Silent,
            _ => Sign::Gone,
        },
    }
}
