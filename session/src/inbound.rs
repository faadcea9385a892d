//! What a server sends: told apart by headers, matched with the line.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use homing_protocol::frame::{self, FrameError, LENGTH_LEN};
use homing_protocol::{
    ConnectResponse, DecodeError, ErrorCode, Reader, Record, ReplyHeader, RequestHeader, SaslToken,
    WatchedEvent, op, put_request, xid,
};
use homing_transport::{Fate, Line};

use crate::answer::{Answer, Cause, Note, Reply, Unanswered, WhyLost};
use crate::config::Credentials;
use crate::knowledge::{Knowledge, Known, is_unknown_operation};
use crate::link::Link;
use crate::session::is_config_event;
use crate::status::{Failure, Status};
use crate::watches::{ComparisonNote, Gap, Held, Restored, Watches};

/// A frame that has its place in the order of things.
#[derive(Debug)]
pub(crate) enum Inbound {
    Reply(ReplyHeader, Bytes),
    /// A reply over the limit, with its length in bytes.
    TooLarge(ReplyHeader, usize),
    /// The answer to an authentication of a caller's.
    Auth(ReplyHeader),
    /// A notification, and its zxid where the server tells.
    Event(WatchedEvent, Option<i64>),
    /// The answer to a frame of restored watches.
    Restored(ReplyHeader),
}

/// A server's answer to the handshake.
pub(crate) enum Handshake {
    Accepted(Accepted),
    /// The session that was asked for is not there any more, says a server that may be cut off
    /// from the others.
    Gone {
        read_only: bool,
    },
    Refused(Failure),
}

pub(crate) struct Accepted {
    pub(crate) credentials: Credentials,
    pub(crate) session_timeout: Duration,
    pub(crate) read_only: bool,
}

/// The longest answer to a handshake that is waited for, in bytes. The real one has 37.
const HANDSHAKE_LEN_MAX: usize = 1024;

/// The longest reply that is read to its end only to be thrown away, in bytes. Beyond it, a new
/// connection costs less.
const DRAIN_MAX: usize = 64 << 20;

/// The code with which a read-only server refuses a session, in a frame that is a mere header.
const NOT_READ_ONLY: i32 = -119;

/// Appends `record` as a frame without a header.
pub(crate) fn put_frame(out: &mut BytesMut, record: &impl Record) {
    let len = i32::try_from(record.encoded_len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    record.encode(out);
}

/// Reads the answer to the handshake; `None` while it is incomplete.
pub(crate) fn read_handshake(input: &mut BytesMut) -> Option<Handshake> {
    let not_zookeeper = |what: String| Some(Handshake::Refused(Failure::NotZooKeeper(what)));
    let frame = match frame::split(input, HANDSHAKE_LEN_MAX) {
        Ok(Some(frame)) => frame,
        Ok(None) => return None,
        Err(error) => return not_zookeeper(describe_stranger(input, &error)),
    };
    if frame.len() < ConnectResponse::LEN_MIN {
        return match ReplyHeader::decode(&frame) {
            Ok(header) if header.err == NOT_READ_ONLY => {
                Some(Handshake::Refused(Failure::ReadOnly))
            }
            _ => not_zookeeper(format!("its handshake has {} bytes", frame.len())),
        };
    }
    let response = match ConnectResponse::decode(&frame) {
        Ok(response) => response,
        Err(error) => return not_zookeeper(format!("its handshake is malformed: {error}")),
    };
    let read_only = response.read_only == Some(true);
    let Some(timeout_ms) = u64::try_from(response.timeout_ms).ok().filter(|ms| *ms > 0) else {
        return Some(Handshake::Gone { read_only });
    };
    if response.session_id == 0 {
        return not_zookeeper("it gave a session without an id".into());
    }
    Some(Handshake::Accepted(Accepted {
        credentials: Credentials {
            session_id: response.session_id,
            password: response.password,
        },
        session_timeout: Duration::from_millis(timeout_ms),
        read_only,
    }))
}

/// A server's answer to a SASL token.
pub(crate) enum SaslAnswer {
    /// Yes, and another token or null.
    Token(Option<Bytes>),
    Error(ErrorCode),
}

/// The longest answer to a token that is waited for, in bytes.
const SASL_LEN_MAX: usize = 64 << 10;

/// Appends a SASL token as a frame.
pub(crate) fn put_sasl(out: &mut BytesMut, xid: i32, token: &[u8]) {
    put_request(out, RequestHeader { xid, op: op::SASL }, &SaslToken(token));
}

/// Reads the answer to the token that was sent last, if one is due; `None` while it is
/// incomplete. Nothing else may come before SASL is done.
pub(crate) fn read_sasl(
    input: &mut BytesMut,
    due: Option<i32>,
) -> Result<Option<SaslAnswer>, String> {
    let frame = match frame::split(input, SASL_LEN_MAX) {
        Ok(Some(frame)) => frame,
        Ok(None) => return Ok(None),
        Err(error) => return Err(format!("it sent {error}")),
    };
    let mut reader = Reader::new(&frame);
    let malformed = |error: DecodeError| format!("its answer is malformed: {error}");
    let header = ReplyHeader::decode(&frame).map_err(malformed)?;
    if Some(header.xid) != due {
        return Err(format!("it sent xid {} in between", header.xid));
    }
    if header.err != 0 {
        return Ok(Some(SaslAnswer::Error(ErrorCode::from_code(header.err))));
    }
    reader.skip(ReplyHeader::LEN, "header").map_err(malformed)?;
    let token = reader.buffer("token").map_err(malformed)?;
    Ok(Some(SaslAnswer::Token(token)))
}

/// Says who it may be that answers with something that is not a frame.
fn describe_stranger(input: &[u8], error: &FrameError) -> String {
    if input.starts_with(b"HTTP") {
        return "it answers in HTTP".into();
    }
    // A TLS alert: content type 21, version 3.x.
    if input.starts_with(&[21, 3]) {
        return "it answers in TLS, which `tls://` in front of its name asks for".into();
    }
    format!("its handshake begins with {error}")
}

/// Splits what has arrived into frames, and sorts them. Pings are done with here.
pub(crate) fn read_frames(
    link: &mut Link,
    now: Instant,
    input: &mut BytesMut,
    limit: usize,
    frames: &mut Vec<Inbound>,
) -> Result<(), WhyLost> {
    loop {
        if link.drain > 0 {
            let len = link.drain.min(input.len());
            input.advance(len);
            link.drain -= len;
            link.progress_at = now;
            if link.drain > 0 {
                return Ok(());
            }
        }
        match frame::split(input, limit) {
            Ok(Some(frame)) => {
                if let Some(inbound) = sort(link, now, frame)? {
                    frames.push(inbound);
                }
            }
            Ok(None) => {
                // Part of a long reply is progress too. Part of an event is none.
                if input
                    .get(LENGTH_LEN..LENGTH_LEN * 2)
                    .is_some_and(|x| x != EVENT_XID_BYTES)
                {
                    link.progress_at = now;
                }
                return Ok(());
            }
            Err(FrameError::TooLong { len, .. }) if len <= DRAIN_MAX => {
                let Some(head) = input.get(LENGTH_LEN..LENGTH_LEN + ReplyHeader::LEN) else {
                    return Ok(());
                };
                let header = ReplyHeader::decode(&Bytes::copy_from_slice(head)).map_err(bad)?;
                if header.xid <= 0 {
                    return Err(WhyLost::Protocol(format!(
                        "a frame of {len} bytes with xid {}, which is no reply",
                        header.xid
                    )));
                }
                frames.push(Inbound::TooLarge(header, len));
                input.advance(LENGTH_LEN + ReplyHeader::LEN);
                link.drain = len - ReplyHeader::LEN;
            }
            Err(error) => return Err(WhyLost::Protocol(error.to_string())),
        }
    }
}

/// What a server says to all but authentications of somebody who has not proved who he is, if it
/// insists on that.
const AUTH_REQUIRED: i32 = -124;

const EVENT_XID_BYTES: [u8; 4] = xid::NOTIFICATION.to_be_bytes();

fn sort(link: &mut Link, now: Instant, frame: Bytes) -> Result<Option<Inbound>, WhyLost> {
    let header = ReplyHeader::decode(&frame).map_err(bad)?;
    // Whatever it answers: requests, pings, watches.
    link.asks_for_auth |= header.err == AUTH_REQUIRED && header.xid != xid::NOTIFICATION;
    match header.xid {
        xid::NOTIFICATION => {
            let mut reader = Reader::new(&frame);
            reader.skip(ReplyHeader::LEN, "header").map_err(bad)?;
            let event = WatchedEvent::read(&mut reader).map_err(bad)?;
            let zxid = (header.zxid > 0).then_some(header.zxid);
            return Ok(Some(Inbound::Event(event, zxid)));
        }
        // One that nobody sent for proves nothing about what we sent.
        xid::PING => {
            if let Some(sent_at) = link.pings.pop_front() {
                link.progress_at = now;
                link.answered_frame(sent_at);
                link.ping_took = Some(now.saturating_duration_since(sent_at));
            }
            return Ok(None);
        }
        xid::SET_WATCHES => {
            link.progress_at = now;
            return Ok(Some(Inbound::Restored(header)));
        }
        xid::AUTH if link.auths_due.is_empty() => {
            link.progress_at = now;
            return Ok(Some(Inbound::Auth(header)));
        }
        xid::AUTH => {
            if let Some(scheme) = link.auths_due.pop_front()
                && header.err != 0
            {
                link.refused_auth = Some(scheme);
            }
        }
        _ => {
            link.progress_at = now;
            return Ok(Some(Inbound::Reply(header, frame)));
        }
    }
    link.progress_at = now;
    Ok(None)
}

fn bad(error: DecodeError) -> WhyLost {
    WhyLost::Protocol(format!("a malformed frame: {error}"))
}

/// What [`run`](Self::run) works on beside the line.
pub(crate) struct Dispatch<'a> {
    pub(crate) last_zxid: &'a mut i64,
    pub(crate) server: SocketAddr,
    pub(crate) known: &'a mut Known,
    pub(crate) knowledge: &'a Knowledge,
    pub(crate) reply_len_max: usize,
    pub(crate) status: &'a Status,
    pub(crate) watches: &'a Watches,
    pub(crate) restorations_due: &'a mut VecDeque<Restored>,
    /// Since when watches that stay may have missed something.
    pub(crate) gap: &'a mut Option<Gap>,
    /// What may be a part of the next reply.
    pub(crate) held: &'a mut Vec<Held>,
    pub(crate) wakers: &'a mut Vec<Waker>,
}

/// What a pass over the line has found out.
#[derive(Debug, Default)]
pub(crate) struct Dispatched {
    /// How many requests were answered.
    pub(crate) answered: u64,
    /// The session was closed by a reply.
    pub(crate) closed: bool,
    /// The scheme of an identity of a caller's that was refused.
    pub(crate) refused_auth: Option<String>,
    /// The session has a node that dies with it.
    pub(crate) made_ephemeral: bool,
    /// The node that tells who belongs to the ensemble has changed.
    pub(crate) config_changed: bool,
    /// It was read by the session itself.
    pub(crate) config: Option<Reply>,
    /// The server does not know some operation, and is about to close the connection.
    pub(crate) is_unknown_operation: bool,
    /// The server has too much to do for what the session does by itself.
    pub(crate) is_throttled: bool,
}

impl Dispatch<'_> {
    /// Matches replies with the line, in one pass and in the order of the wire: a watch is armed
    /// by its reply, and told of the events behind it.
    pub(crate) fn run(
        mut self,
        line: &mut Line<'_, Note, Answer>,
        frames: &mut Vec<Inbound>,
        done: &mut Dispatched,
    ) -> Result<(), WhyLost> {
        for frame in frames.drain(..) {
            let (header, answer) = match frame {
                Inbound::Reply(header, frame) => {
                    let (zxid, err) = (header.zxid, header.err);
                    (header, Ok(Reply { zxid, err, frame }))
                }
                Inbound::TooLarge(header, len) => {
                    let cause = Cause::ReplyTooLarge {
                        len,
                        limit: self.reply_len_max,
                    };
                    (
                        header,
                        Err(Unanswered {
                            fate: Fate::MaybeApplied,
                            cause,
                        }),
                    )
                }
                Inbound::Event(event, zxid) => {
                    done.config_changed |= is_config_event(&event.path, event.kind);
                    tracing::trace!(path = event.path, kind = ?event.kind, "watch event");
                    self.event(line, event, zxid);
                    continue;
                }
                Inbound::Restored(header) => {
                    self.restored(line, header, done)?;
                    continue;
                }
                Inbound::Auth(header) => {
                    pop_auth(line, header, done)?;
                    continue;
                }
            };
            check_xid(line, header)?;
            let seen = *self.last_zxid;
            self.check_zxid(header)?;
            let reply = answer.is_ok().then_some(header.err);
            let reads_answer = line.head().is_some_and(|(_, note)| note.reads_answer());
            let kept = match &answer {
                Ok(reply) if reads_answer => Some(reply.frame.clone()),
                _ => None,
            };
            done.answered += 1;
            if let (Some((_, Note::Config)), Ok(reply)) = (line.head(), &answer) {
                done.config = Some(reply.clone());
            }
            done.is_unknown_operation |= is_unknown_operation(header.err, header.zxid);
            self.watches.separate();
            let note = line.pop(answer);
            if let Some(op) = note.as_ref().and_then(Note::op)
                && reply.is_some()
                && self.known.note(op, header)
            {
                // Before anybody can see the reply that has shown it.
                self.knowledge.learn(self.server, *self.known);
            }
            match note {
                Some(Note::Close) => done.closed = true,
                Some(Note::Watch(note) | Note::Unwatch(note)) => {
                    self.watches.answered(*note, reply, *self.last_zxid);
                }
                Some(Note::Ephemeral { .. }) => {
                    done.made_ephemeral |= reply.is_none_or(|err| err == 0);
                }
                Some(Note::Comparison(note)) => self.compared(&note, header.err, seen)?,
                Some(Note::Errand(note)) => {
                    done.is_throttled |= note.answered(header.err, kept.as_ref(), self.wakers);
                }
                Some(Note::Pledged(note)) => {
                    done.made_ephemeral |= note.is_ephemeral && reply.is_none_or(|err| err == 0);
                    note.answered(header.err, kept.as_ref());
                }
                _ => {}
            }
            if done.closed {
                break;
            }
        }
        Ok(())
    }

    /// Tells whom it concerns, unless it may be a part of the next reply.
    fn event(&mut self, line: &Line<'_, Note, Answer>, event: WatchedEvent, zxid: Option<i64>) {
        let event = match line.head() {
            Some((_, Note::Comparison(note))) => note.hold(event, zxid, self.held),
            _ => Some((event, zxid)),
        };
        if let Some((event, zxid)) = event {
            self.watches.fire(&event, zxid, self.wakers);
        }
    }

    fn compared(&mut self, note: &ComparisonNote, err: i32, seen: i64) -> Result<(), WhyLost> {
        let held = std::mem::take(self.held);
        self.watches.compared(note, err, seen, held, self.wakers);
        if err != 0 && err != AUTH_REQUIRED && note.is_late() {
            let code = ErrorCode::from_code(err);
            return Err(WhyLost::Protocol(format!("{code} when watches were set")));
        }
        Ok(())
    }

    /// A frame of watches is set again. The zxid of its answer counts for nothing: another frame
    /// may not have been caught up with yet.
    fn restored(
        &mut self,
        line: &Line<'_, Note, Answer>,
        header: ReplyHeader,
        done: &mut Dispatched,
    ) -> Result<(), WhyLost> {
        let Some(frame) = self.restorations_due.pop_front() else {
            return check_xid(line, header);
        };
        // What came before this answer belongs to it, and to no comparison behind.
        for held in std::mem::take(self.held) {
            let (event, zxid) = held.into_event();
            self.watches.fire(&event, zxid, self.wakers);
        }
        let is_last = self.restorations_due.is_empty();
        let code = ErrorCode::from_code(header.err);
        match code {
            // What comes of that is decided elsewhere.
            _ if header.err == AUTH_REQUIRED => return Ok(()),
            _ if header.err == 0 => {
                self.watches
                    .restored(&frame, *self.gap, is_last, self.wakers);
            }
            // It does not have watches that stay. Nothing else was in that frame.
            ErrorCode::Unimplemented | ErrorCode::MarshallingError if !frame.is_empty() => {
                self.watches.refused(self.server, code, self.wakers);
                // It hangs up on what it does not know.
                done.is_unknown_operation |= is_unknown_operation(header.err, header.zxid);
            }
            _ => {
                let what = format!("{code} when watches were restored");
                return Err(WhyLost::Protocol(what));
            }
        }
        if is_last {
            *self.gap = None;
        }
        Ok(())
    }

    fn check_zxid(&mut self, header: ReplyHeader) -> Result<(), WhyLost> {
        // Zero and −1 stand where a server does not tell.
        if header.zxid > 0 {
            if header.zxid < *self.last_zxid {
                let what = format!("zxid {:#x} after {:#x}", header.zxid, self.last_zxid);
                return Err(WhyLost::Protocol(what));
            }
            *self.last_zxid = header.zxid;
            self.status.set_last_zxid(header.zxid);
        }
        Ok(())
    }
}

fn check_xid(line: &Line<'_, Note, Answer>, header: ReplyHeader) -> Result<(), WhyLost> {
    match line.head() {
        Some((due, _)) if due == header.xid => Ok(()),
        Some((due, _)) => {
            let what = format!("a reply with xid {} where {due} was due", header.xid);
            Err(WhyLost::Protocol(what))
        }
        None => {
            let what = format!("a reply with xid {} that nobody asked for", header.xid);
            Err(WhyLost::Protocol(what))
        }
    }
}

fn pop_auth(
    line: &mut Line<'_, Note, Answer>,
    header: ReplyHeader,
    done: &mut Dispatched,
) -> Result<(), WhyLost> {
    let reply = Reply {
        zxid: header.zxid,
        err: header.err,
        frame: Bytes::new(),
    };
    match line.pop_aside(Ok(reply)) {
        None => return check_xid(line, header),
        Some(Note::Auth { scheme }) if header.err != 0 => done.refused_auth = Some(scheme),
        Some(_) => {}
    }
    Ok(())
}
