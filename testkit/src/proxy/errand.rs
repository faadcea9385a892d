//! What a fault wants said to the server over a connection of its own.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use homing_protocol::frame::LENGTH_LEN;
use homing_protocol::{ConnectRequest, Empty, Record, RequestHeader, op, put_request};
use mio::net::TcpStream;

use crate::faults::Session;

/// More than any answer to an errand has.
const ANSWER_MAX: usize = 64 << 10;

/// How long an errand takes at most: the link waits for it, and the server may never answer.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(10);

/// What is to be said to a server over a connection of its own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Errand {
    /// All of it; a password is in there.
    pub(crate) request: Bytes,
    /// So many frames come back when it is done, or the end.
    pub(crate) answers: usize,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand")
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}

impl Errand {
    /// Ends a session.
    pub(crate) fn expire(session: &Session) -> Self {
        Self::new(session, true)
    }

    /// Takes one up.
    pub(crate) fn take_up(session: &Session) -> Self {
        Self::new(session, false)
    }

    fn new(session: &Session, ends: bool) -> Self {
        let handshake = ConnectRequest {
            last_zxid_seen: 0,
            timeout_ms: session.timeout_ms,
            session_id: session.id,
            password: session.password,
            read_only: Some(false),
        };
        let mut request = BytesMut::new();
        let len = u32::try_from(handshake.encoded_len()).unwrap_or(u32::MAX);
        request.extend_from_slice(&len.to_be_bytes());
        handshake.encode(&mut request);
        if ends {
            let header = RequestHeader {
                xid: 1,
                op: op::CLOSE_SESSION,
            };
            put_request(&mut request, header, &Empty);
        }
        Self {
            request: request.freeze(),
            answers: if ends { 2 } else { 1 },
        }
    }

    /// How many whole frames there are in what has come back.
    fn is_answered(&self, mut answer: &[u8]) -> bool {
        let mut frames = 0;
        while let Some(len) = homing_protocol::frame::peek_len(answer) {
            let len = usize::try_from(len)
                .unwrap_or(usize::MAX)
                .saturating_add(LENGTH_LEN);
            let Some(rest) = answer.get(len..) else { break };
            answer = rest;
            frames += 1;
        }
        frames >= self.answers
    }
}

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

    use homing_protocol::{ConnectResponse, ReplyHeader, SessionPassword};

    use super::*;

    #[test]
    fn somebody_else_ends_a_session_or_takes_it_up() {
        let session = Session {
            id: 0x77,
            password: SessionPassword::new(b"0123456789abcdef").unwrap(),
            timeout_ms: 4_000,
        };
        let mut answers = BytesMut::from(&b"\0\0\0\x24"[..]);
        ConnectResponse::EXPIRED.encode(&mut answers);
        let first = answers.len();
        answers.extend_from_slice(b"\0\0\0\x10");
        let (xid, zxid, err) = (1, 9, 0);
        ReplyHeader { xid, zxid, err }.encode(&mut answers);
        let ends = Errand::expire(&session);
        for (errand, answered) in [(&ends, answers.len()), (&Errand::take_up(&session), first)] {
            let handshake = ConnectRequest::decode(&errand.request.slice(4..49)).unwrap();
            assert_eq!((handshake.session_id, handshake.timeout_ms), (0x77, 4_000));
            assert_eq!(handshake.password, session.password);
            assert_eq!(errand.request.len() > 49, *errand == ends);
            assert!(!errand.is_answered(&answers[..answered - 1]));
            assert!(errand.is_answered(&answers[..answered]));
            let shown = format!("{errand:?}");
            assert!(!shown.contains("0123"), "no password is shown");
        }
    }

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
