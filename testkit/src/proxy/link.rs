//! One connection through the proxy: a socket at each end, and the filter between them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use mio::net::TcpStream;
use socket2::SockRef;

use crate::faults::{Action, Filter, Passed, Way};
use crate::proxy::errand::Errand;
use crate::proxy::seen::Closer;

/// While so many bytes wait to be written at one end, nothing more is read at the other.
const WAITING_MAX: usize = 256 << 10;

/// How long an end may take to be delivered, and the peer to answer with its own.
const LINGER: Duration = Duration::from_secs(1);

/// How often a link reads in one turn at most, so that none starves the others.
const READS_PER_TURN: usize = 8;

/// A socket.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stream: TcpStream,
    /// What is to be written to it.
    waiting: BytesMut,
    /// It may have something to read.
    pub(crate) is_readable: bool,
    /// The peer has come to its end.
    is_read: bool,
    /// Nothing comes behind what waits.
    is_ending: bool,
    is_shut_down: bool,
    /// It may be written to and read: a connection that is being made may not.
    pub(crate) is_connected: bool,
}

impl End {
    pub(crate) fn new(stream: TcpStream, is_connected: bool) -> Self {
        Self {
            stream,
            waiting: BytesMut::new(),
            is_readable: true,
            is_read: false,
            is_ending: false,
            is_shut_down: false,
            is_connected,
        }
    }

    /// One read. `None` where there is nothing; nothing at all is the end.
    fn read<'a>(&mut self, scratch: &'a mut [u8]) -> Option<&'a [u8]> {
        if !self.is_connected || self.is_read || !self.is_readable {
            return None;
        }
        loop {
            match self.stream.read(scratch) {
                Ok(0) => break,
                Ok(len) => return scratch.get(..len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.is_read = true;
        Some(&[])
    }

    /// Writes what the socket takes. An error means that the peer is gone.
    fn write(&mut self) -> io::Result<()> {
        if !self.is_connected {
            return Ok(());
        }
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.waiting.advance(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.is_ending && !self.is_shut_down {
            self.is_shut_down = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.is_read && self.is_shut_down
    }
}

/// Both ends of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) filter: Filter,
    /// Which of the server's addresses was dialled.
    pub(crate) dialled: usize,
    /// A fault has closed it, or lets none of its ends through: until then, what was to be
    /// delivered may be.
    over_by: Option<Instant>,
    /// Who ended it first.
    closer: Option<Closer>,
}

/// How a link goes on.
#[derive(Debug)]
pub(crate) enum Turn {
    /// When something happens.
    Waits,
    /// It has more to do at once.
    Goes,
    /// An action of its filter is to be carried out, then it has more to do.
    Errand(Errand),
    Over(Closer),
}

impl Link {
    pub(crate) fn new(client: End, server: End, filter: Filter) -> Self {
        Self {
            client,
            server,
            filter,
            dialled: 0,
            over_by: None,
            closer: None,
        }
    }

    /// Another connection to the server takes the place of one that could not be made.
    pub(crate) fn redial(&mut self, dialled: usize, mut server: End) {
        self.dialled = dialled;
        server.waiting = self.server.waiting.split();
        server.is_ending = self.server.is_ending;
        self.server = server;
    }

    /// Moves what can be moved.
    pub(crate) fn turn(&mut self, now: Instant, scratch: &mut [u8]) -> Turn {
        self.filter.handle_timeout(now);
        for _ in 0..READS_PER_TURN {
            let from_client = self.read(now, Way::ToServer, scratch);
            let from_server = self.read(now, Way::ToClient, scratch);
            self.let_through();
            while let Some(action) = self.filter.poll_action() {
                match action {
                    Action::Cut => self.cut(now),
                    Action::Reset => return self.reset(),
                    Action::Expire(session) => return Turn::Errand(Errand::expire(&session)),
                    Action::Move(session) => return Turn::Errand(Errand::take_up(&session)),
                }
            }
            let waiting = self.waiting();
            if let Some(closer) = self.write(now) {
                return Turn::Over(closer);
            }
            // Room that was made is room to be read into.
            let has_room = self.waiting() < waiting;
            if !from_client && !from_server && !has_room {
                return Turn::Waits;
            }
        }
        Turn::Goes
    }

    /// When something is to be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let dues = [self.filter.poll_timeout(), self.over_by];
        dues.into_iter().flatten().min()
    }

    /// Reads at one end, and says whether there was something.
    fn read(&mut self, now: Instant, way: Way, scratch: &mut [u8]) -> bool {
        let is_over = self.over_by.is_some();
        let (from, to) = match way {
            Way::ToServer => (&mut self.client, &self.server),
            Way::ToClient => (&mut self.server, &self.client),
        };
        let is_full = to.waiting.len() >= WAITING_MAX || self.filter.is_full(way);
        // What is held back for good goes nowhere when the server is gone.
        let is_lost = way == Way::ToServer && to.is_read && self.filter.is_stuck();
        if is_full && !is_over && !is_lost {
            return false;
        }
        let Some(bytes) = from.read(scratch) else {
            return false;
        };
        match bytes {
            _ if is_over => {}
            [] => {
                self.closer.get_or_insert(match way {
                    Way::ToServer => Closer::Client,
                    Way::ToClient => Closer::Server,
                });
                self.filter.end(now, way);
            }
            _ if is_full => {}
            bytes => self.filter.give(now, way, bytes),
        }
        true
    }

    fn let_through(&mut self) {
        for (way, end) in [
            (Way::ToServer, &mut self.server),
            (Way::ToClient, &mut self.client),
        ] {
            while let Some(passed) = self.filter.poll(way) {
                match passed {
                    Passed::Bytes(bytes) => end.waiting.extend_from_slice(&bytes),
                    Passed::End => end.is_ending = true,
                }
            }
        }
    }

    /// How many bytes wait to be written.
    fn waiting(&self) -> usize {
        self.client.waiting.len() + self.server.waiting.len()
    }

    /// Writes at both ends, and says who has closed it if it is over.
    fn write(&mut self, now: Instant) -> Option<Closer> {
        let gone = self.deliver();
        if self.is_stuck() {
            self.over_by.get_or_insert(now + LINGER);
        }
        let is_over = self.client.is_over() && self.server.is_over();
        let is_late = self.over_by.is_some_and(|by| by <= now);
        let closer = self.closer.or(gone);
        (gone.is_some() || is_over || is_late).then(|| closer.unwrap_or(Closer::Client))
    }

    /// Whether both peers have come to their ends, as far as they can be heard, and one of them is
    /// never told so.
    fn is_stuck(&self) -> bool {
        let is_heard = self.server.is_read || self.filter.is_full(Way::ToClient);
        let is_told = self.client.is_ending && self.server.is_ending;
        self.client.is_read && is_heard && !is_told && self.waiting() == 0 && self.filter.is_stuck()
    }

    /// Writes at both ends, and says which peer is gone.
    fn deliver(&mut self) -> Option<Closer> {
        if self.client.write().is_err() {
            return Some(Closer::Client);
        }
        let is_gone = self.server.write().is_err();
        is_gone.then_some(Closer::Server)
    }

    fn cut(&mut self, now: Instant) {
        self.closer = Some(Closer::Fault);
        self.over_by = Some(now + LINGER);
        for end in [&mut self.client, &mut self.server] {
            end.is_ending = true;
        }
    }

    fn reset(&mut self) -> Turn {
        for end in [&mut self.client, &mut self.server] {
            let _ = end.write();
            // Where that cannot be set, it is a plain end.
            let _ = SockRef::from(&end.stream).set_linger(Some(Duration::ZERO));
        }
        Turn::Over(Closer::Fault)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::faults::Plan;

    /// An end, and what is at the other side of it.
    fn end() -> (End, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let (far, _) = listener.accept().unwrap();
        (End::new(TcpStream::from_std(near), true), far)
    }

    #[test]
    fn whoever_cannot_be_written_to_has_closed_it() {
        for whose in [Closer::Client, Closer::Server] {
            let ((client, far_client), (server, far_server)) = (end(), end());
            let now = Instant::now();
            let filter = Filter::new(now, &Arc::new(Plan::default()), None);
            let mut link = Link::new(client, server, filter);
            let (end, mut speaker) = match whose {
                Closer::Client => (&link.client, &far_server),
                _ => (&link.server, &far_client),
            };
            end.stream.shutdown(Shutdown::Write).unwrap();
            speaker.write_all(b"ruok").unwrap();
            let over = loop {
                match link.turn(now, &mut [0; 64]) {
                    Turn::Over(closer) => break closer,
                    _ => (link.client.is_readable, link.server.is_readable) = (true, true),
                }
            };
            assert_eq!(over, whose);
        }
    }
}
