//! What a fault wants said to the server over a connection of its own.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use homing_protocol::frame::LENGTH_LEN;
use homing_protocol::{
    ConnectRequest, ConnectResponse, Empty, ErrorCode, Record, ReplyHeader, RequestHeader, op,
    put_request,
};
use mio::net::TcpStream;

use crate::faults::{Session, Strike};

/// More than any answer to an errand has.
const ANSWER_MAX: usize = 64 << 10;

/// How long an errand takes at most: the link waits for it, and the server may never answer.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(10);

/// What is to be said to a server over a connection of its own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Errand {
    /// All of it; a password is in there.
    pub(crate) request: Bytes,
    /// Whether the session is to end.
    pub(crate) ends: bool,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand")
            .field("ends", &self.ends)
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
            ends,
        }
    }

    /// What has come of it, as far as that can be told from these bytes.
    fn outcome(&self, answer: &[u8]) -> Option<io::Result<()>> {
        let (greeting, rest) = frame(answer)?;
        if !is_welcome(&greeting) {
            let what = "the server knows the session no more";
            return Some(Err(io::Error::other(what)));
        }
        if !self.ends {
            return Some(Ok(()));
        }
        let (reply, _) = frame(rest)?;
        Some(match ReplyHeader::decode(&reply) {
            Ok(header) if header.err == 0 => Ok(()),
            Ok(header) => {
                let error = ErrorCode::from_code(header.err);
                let what = format!("the server refuses to close the session: {error}");
                Err(io::Error::other(what))
            }
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        })
    }

    /// What has come of it when nothing more comes than these bytes. There are servers that close
    /// a session without a word.
    fn outcome_at_the_end(&self, answer: &[u8]) -> io::Result<()> {
        match frame(answer) {
            Some((greeting, _)) if self.ends && is_welcome(&greeting) => Ok(()),
            _ => {
                let what = "the server closed the connection";
                Err(io::Error::new(ErrorKind::UnexpectedEof, what))
            }
        }
    }
}

/// The first frame in these bytes without its length, if it is whole, and what stands behind it.
fn frame(bytes: &[u8]) -> Option<(Bytes, &[u8])> {
    let len = usize::try_from(homing_protocol::frame::peek_len(bytes)?).ok()?;
    let (frame, rest) = bytes.get(LENGTH_LEN..)?.split_at_checked(len)?;
    Some((Bytes::copy_from_slice(frame), rest))
}

/// Whether a server greets the session that was asked for.
fn is_welcome(greeting: &Bytes) -> bool {
    let response = ConnectResponse::decode(greeting);
    response.is_ok_and(|response| response.timeout_ms > 0)
}

/// A connection on an errand.
pub(crate) struct Runner {
    pub(crate) stream: TcpStream,
    errand: Errand,
    left: Bytes,
    answer: BytesMut,
    /// What it has not been where it is in vain.
    strike: Option<Strike>,
    /// When it is in vain.
    pub(crate) give_up: Instant,
}

impl fmt::Debug for Runner {
    /// Without what is said and answered: passwords are in there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("errand", &self.errand)
            .field("give_up", &self.give_up)
            .finish_non_exhaustive()
    }
}

impl Runner {
    pub(crate) fn new(
        now: Instant,
        stream: TcpStream,
        errand: Errand,
        strike: Option<Strike>,
    ) -> Self {
        Self {
            stream,
            left: errand.request.clone(),
            errand,
            answer: BytesMut::new(),
            strike,
            give_up: now + TIME_MAX,
        }
    }

    /// Goes on, and says what has come of it when it is over.
    pub(crate) fn turn(&mut self, now: Instant, scratch: &mut [u8]) -> Option<io::Result<()>> {
        if now >= self.give_up {
            let what = format!("the server did not answer within {TIME_MAX:?}");
            return Some(Err(io::Error::new(ErrorKind::TimedOut, what)));
        }
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Some(Err(error));
        }
        if self.stream.peer_addr().is_err() {
            // Not connected yet.
            return None;
        }
        if let Err(error) = self.say() {
            return Some(Err(error));
        }
        loop {
            match self.stream.read(scratch) {
                Ok(len) if len > 0 && self.answer.len() < ANSWER_MAX => {
                    let bytes = scratch.get(..len).unwrap_or_default();
                    self.answer.extend_from_slice(bytes);
                    let outcome = self.errand.outcome(&self.answer);
                    if outcome.is_some() {
                        return outcome;
                    }
                }
                Ok(_) => return Some(self.errand.outcome_at_the_end(&self.answer)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// What it has not been, if it was in vain.
    pub(crate) fn strike(self) -> Option<Strike> {
        self.strike
    }

    fn say(&mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            match self.stream.write(&self.left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.left.advance(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bytes::BufMut;
    use homing_protocol::SessionPassword;

    use super::*;

    const SESSION: i64 = 0x77;

    fn session() -> Session {
        Session {
            id: SESSION,
            password: SessionPassword::new(b"0123456789abcdef").unwrap(),
            timeout_ms: 4_000,
        }
    }

    /// What a server says to a handshake.
    fn greeting(response: &ConnectResponse) -> BytesMut {
        let mut answer = BytesMut::new();
        answer.put_u32(u32::try_from(response.encoded_len()).unwrap());
        response.encode(&mut answer);
        answer
    }

    fn welcome() -> BytesMut {
        greeting(&ConnectResponse {
            session_id: SESSION,
            timeout_ms: 4_000,
            ..ConnectResponse::EXPIRED
        })
    }

    /// The same, and what it says to the end of the session.
    fn reply(err: i32) -> BytesMut {
        let mut answers = welcome();
        answers.extend_from_slice(b"\0\0\0\x10");
        let (xid, zxid) = (1, 9);
        ReplyHeader { xid, zxid, err }.encode(&mut answers);
        answers
    }

    #[test]
    fn somebody_else_ends_a_session_or_takes_it_up() {
        let session = session();
        for (errand, ends) in [
            (Errand::expire(&session), true),
            (Errand::take_up(&session), false),
        ] {
            let handshake = ConnectRequest::decode(&errand.request.slice(4..49)).unwrap();
            assert_eq!(
                (handshake.session_id, handshake.timeout_ms),
                (SESSION, 4_000)
            );
            assert_eq!(handshake.password, session.password);
            assert_eq!(errand.request.len() > 49, ends);
            let answer = if ends { reply(0) } else { welcome() };
            let before = &answer[..answer.len() - 1];
            assert!(errand.outcome(before).is_none());
            assert!(errand.outcome(&answer).unwrap().is_ok());
            let shown = format!("{errand:?}");
            assert!(!shown.contains("0123"), "no password is shown");
        }
    }

    #[test]
    fn what_a_server_refuses_was_in_vain() {
        let (ends, takes_up) = (Errand::expire(&session()), Errand::take_up(&session()));
        let gone = greeting(&ConnectResponse::EXPIRED);
        for errand in [&ends, &takes_up] {
            let error = errand.outcome(&gone).unwrap().unwrap_err();
            let expected = "the server knows the session no more";
            assert_eq!(error.to_string(), expected);
            let error = errand.outcome_at_the_end(b"").unwrap_err();
            assert_eq!(error.to_string(), "the server closed the connection");
        }
        let error = ends.outcome(&reply(-115)).unwrap().unwrap_err();
        let expected = "the server refuses to close the session: AuthFailed (-115)";
        assert_eq!(error.to_string(), expected);
        // ClickHouse Keeper says nothing to that, and it is done all the same.
        assert!(ends.outcome_at_the_end(&welcome()).is_ok());
        assert!(takes_up.outcome_at_the_end(&gone[..9]).is_err());
    }

    #[test]
    fn a_server_that_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let now = Instant::now();
        let errand = Errand::take_up(&session());
        let mut runner = Runner::new(now, TcpStream::from_std(stream), errand, None);
        let mut turn = |now| runner.turn(now, &mut [0; 64]);
        assert!(turn(now).is_none());
        assert!(turn(now + TIME_MAX - Duration::from_millis(1)).is_none());
        let error = turn(now + TIME_MAX).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn nobody_is_shown_a_password() {
        let errand = Errand::expire(&session());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut runner = Runner::new(Instant::now(), stream, errand, None);
        runner.answer = welcome();
        let shown = format!("{runner:?}");
        assert!(shown.contains("ends: true"), "{shown}");
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}
