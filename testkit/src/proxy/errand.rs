//! What a fault wants said to the server over a connection of its own.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use mio::net::TcpStream;

use crate::faults::Errand;

/// More than any answer to an errand has.
const ANSWER_MAX: usize = 64 << 10;

/// How long an errand takes at most: the link waits for it, and the server may never answer.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(10);

/// A connection on an errand.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) stream: TcpStream,
    errand: Errand,
    left: Bytes,
    answer: BytesMut,
    /// When it is in vain.
    pub(crate) give_up: Instant,
}

impl Runner {
    pub(crate) fn new(now: Instant, stream: TcpStream, errand: Errand) -> Self {
        Self {
            stream,
            left: errand.request.clone(),
            errand,
            answer: BytesMut::new(),
            give_up: now + TIME_MAX,
        }
    }

    /// Goes on, and says whether it is done: answered, or in vain.
    pub(crate) fn turn(&mut self, now: Instant, scratch: &mut [u8]) -> bool {
        if now >= self.give_up || matches!(self.stream.take_error(), Ok(Some(_)) | Err(_)) {
            return true;
        }
        if self.stream.peer_addr().is_err() {
            // Not connected yet.
            return false;
        }
        while !self.left.is_empty() {
            match self.stream.write(&self.left) {
                Ok(len) if len > 0 => self.left.advance(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return true,
            }
        }
        loop {
            match self.stream.read(scratch) {
                Ok(len) if len > 0 && self.answer.len() < ANSWER_MAX => {
                    let bytes = scratch.get(..len).unwrap_or_default();
                    self.answer.extend_from_slice(bytes);
                    if self.errand.is_answered(&self.answer) {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let errand = Errand {
            request: Bytes::from_static(b"ruok"),
            answers: 1,
        };
        let now = Instant::now();
        let mut runner = Runner::new(now, TcpStream::from_std(stream), errand);
        let mut turn = |now| runner.turn(now, &mut [0; 64]);
        assert!(!turn(now));
        assert!(!turn(now + TIME_MAX - Duration::from_millis(1)));
        assert!(turn(now + TIME_MAX));
    }
}
