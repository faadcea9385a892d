//! What goes by on a connection, as far as faults need to know. It believes nothing and breaks on
//! nothing: whatever makes no sense is a frame of no kind.

use std::collections::VecDeque;

use bytes::Bytes;
use homing_protocol::{ConnectRequest, ConnectResponse, SessionPassword, op, xid};

use crate::faults::rule::{Kind, Way};
use crate::operation::{is_upkeep, is_write};

/// How many requests without an answer are remembered. A client that has more of them has replies
/// of no kind.
const PENDING_MAX: usize = 1 << 17;

/// How far a connection has come.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// What the client said first.
    handshake: Option<Handshake>,
    is_answered: bool,
    /// The session: that which the client wants to take up, and once the server has told, that
    /// which it has.
    pub(crate) session: Option<Session>,
    /// Requests that are to be answered: xids and operations.
    pending: VecDeque<(i32, i32)>,
}

#[derive(Debug, Clone, Copy)]
struct Handshake {
    resumes: bool,
}

/// What it takes to speak for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: i64,
    pub(crate) password: SessionPassword,
    pub(crate) timeout_ms: i32,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Handshake {
        resumes: bool,
    },
    /// A request, or the reply to one.
    Operation(i32),
    Event,
    Unknown,
}

impl Tracker {
    /// A connection whose handshake is over, and was not seen: whoever knows the session has it.
    pub(crate) fn attached(session: i64) -> Self {
        Self {
            handshake: Some(Handshake { resumes: false }),
            is_answered: true,
            session: Some(Session {
                id: session,
                password: SessionPassword::NONE,
                timeout_ms: 0,
            }),
            pending: VecDeque::new(),
        }
    }

    /// Whether the server has said which session it is.
    pub(crate) fn is_attached(&self) -> bool {
        self.is_answered && self.session.is_some()
    }

    /// A frame goes by, with its length in front.
    pub(crate) fn see(&mut self, way: Way, frame: &Bytes) -> Seen {
        let body = frame.slice(homing_protocol::frame::LENGTH_LEN.min(frame.len())..);
        match way {
            Way::ToServer => self.see_request(&body),
            Way::ToClient => self.see_reply(&body),
        }
    }

    fn see_request(&mut self, body: &Bytes) -> Seen {
        if self.handshake.is_none() {
            let request = ConnectRequest::decode(body).ok();
            self.session = request.and_then(Session::wanted);
            let resumes = self.session.is_some();
            self.handshake = Some(Handshake { resumes });
            return Seen::Handshake { resumes };
        }
        let (Some(xid), Some(operation)) = (number(body, 0), number(body, 4)) else {
            return Seen::Unknown;
        };
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back((xid, operation));
        }
        Seen::Operation(operation)
    }

    fn see_reply(&mut self, body: &Bytes) -> Seen {
        if !self.is_answered {
            self.is_answered = true;
            self.session = ConnectResponse::decode(body).ok().and_then(Session::of);
            let resumes = self.handshake.is_some_and(|handshake| handshake.resumes);
            return Seen::Handshake { resumes };
        }
        match number(body, 0) {
            Some(xid::NOTIFICATION) => Seen::Event,
            Some(xid) => {
                let mut pending = self.pending.iter();
                let at = pending.position(|(asked, _)| *asked == xid);
                let operation = at.and_then(|at| self.pending.remove(at));
                operation.map_or(Seen::Unknown, |(_, operation)| Seen::Operation(operation))
            }
            None => Seen::Unknown,
        }
    }
}

impl Session {
    fn wanted(request: ConnectRequest) -> Option<Self> {
        (request.session_id != 0).then_some(Self {
            id: request.session_id,
            password: request.password,
            timeout_ms: request.timeout_ms,
        })
    }

    fn of(response: ConnectResponse) -> Option<Self> {
        (response.timeout_ms > 0).then_some(Self {
            id: response.session_id,
            password: response.password,
            timeout_ms: response.timeout_ms,
        })
    }
}

impl Seen {
    pub(crate) fn is(&self, kind: Kind) -> bool {
        match (self, kind) {
            (_, Kind::Frame) => true,
            (Self::Handshake { .. }, Kind::Handshake) => true,
            (Self::Handshake { resumes }, Kind::Resumption) => *resumes,
            (Self::Event, Kind::Event) => true,
            (Self::Operation(code), Kind::Request) => !is_upkeep(*code),
            (Self::Operation(op::CLOSE_SESSION), Kind::Read) => false,
            (Self::Operation(code), Kind::Read) => !is_upkeep(*code) && !is_write(*code),
            (Self::Operation(code), Kind::Write) => is_write(*code),
            (Self::Operation(code), Kind::Operation(operation)) => operation.codes.contains(code),
            _ => false,
        }
    }
}

/// The number at an offset, if there is one.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    Some(i32::from_be_bytes(*chunk))
}
