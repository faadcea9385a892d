//! What is in a slot when it is full.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::op;
use homing_transport::Fate;

use crate::errands::{ErrandNote, PledgeNote};
use crate::knowledge::is_unknown_operation;
use crate::status::{Attempt, SessionEnd};
use crate::watches::{ComparisonNote, WatchNote};

/// How a request ended: the server replied, or it did not.
pub type Answer = Result<Reply, Unanswered>;

/// What a session notes beside a slot, for when the reply comes.
///
/// ```
/// use homing_session::Note;
/// assert_ne!(Note::Plain { op: homing_protocol::op::GET_DATA }, Note::Close);
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Nothing is to be done but to hand the reply to its slot.
    Plain {
        /// The operation's code: whether the server knows it is remembered.
        op: i32,
    },
    /// The session is over when the reply is there.
    Close,
    /// A watch is armed when the reply says that the server has set it.
    Watch(Box<WatchNote>),
    /// The session has a node that dies with it when the reply says that it was made.
    Ephemeral {
        /// The operation's code.
        op: i32,
    },
    /// The session reads who belongs to the ensemble.
    Config,
    /// The watches on a path are removed that nobody wants any more.
    Unwatch(Box<WatchNote>),
    /// What the server tells right before the reply may be a part of the answer.
    Comparison(Box<ComparisonNote>),
    /// Something is done that the session sees to by itself.
    Errand(ErrandNote),
    /// Something is made that may have to be undone.
    Pledged(PledgeNote),
    /// An identity is added to the connection; the reply comes outside the line.
    Auth {
        /// What kind of identity.
        scheme: String,
    },
}

impl Note {
    /// The code of an operation that not every server knows, or may not.
    pub(crate) fn op(&self) -> Option<i32> {
        match self {
            Self::Plain { op } | Self::Ephemeral { op } => Some(*op),
            Self::Watch(note) => note.op(),
            Self::Unwatch(_) => Some(op::REMOVE_WATCHES),
            Self::Pledged(note) => Some(note.op),
            _ => None,
        }
    }

    /// Whether the request makes a node that dies with the session.
    pub(crate) fn makes_ephemeral(&self) -> bool {
        match self {
            Self::Ephemeral { .. } => true,
            Self::Pledged(note) => note.is_ephemeral,
            _ => false,
        }
    }

    /// Whether the session itself looks at the body of the answer.
    pub(crate) fn reads_answer(&self) -> bool {
        matches!(self, Self::Errand(_) | Self::Pledged(_))
    }

    /// The request was handed over, and its answer will not come.
    pub(crate) fn lost(&self, lost: Option<&Arc<ConnectionLost>>) {
        match self {
            Self::Errand(note) => note.lost(lost),
            Self::Pledged(note) => note.lost(),
            _ => {}
        }
    }
}

/// A server's reply. The body is for the puller to decode.
///
/// ```
/// let reply = homing_session::Reply { zxid: 3, err: -101, frame: bytes::Bytes::new() };
/// assert_eq!(reply.err, -101);
/// assert_eq!(format!("{reply:?}"), "Reply { zxid: 3, err: -101, len: 0, .. }");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The transaction that it reports, or the newest one that the server knew.
    pub zxid: i64,
    /// Zero, or the server's error code.
    pub err: i32,
    /// The whole frame, header included: a slice of the read buffer.
    pub frame: Bytes,
}

impl Reply {
    /// Whether the server says that it does not know the operation. It has not done anything,
    /// and closes the connection.
    pub fn is_unknown_operation(&self) -> bool {
        is_unknown_operation(self.err, self.zxid)
    }
}

/// Without the body: there are hashes in an access control list.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("zxid", &self.zxid)
            .field("err", &self.err)
            .field("len", &self.frame.len())
            .finish_non_exhaustive()
    }
}

/// There is no reply.
///
/// ```
/// use homing_session::{Cause, Unanswered};
/// use homing_transport::Fate;
/// let unanswered = Unanswered { fate: Fate::NotSent, cause: Cause::Deadline };
/// assert_eq!(unanswered.cause.to_string(), "the deadline passed");
/// ```
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// Whether the server can have seen the request.
    pub fate: Fate,
    /// Why there is no reply.
    pub cause: Cause,
}

/// Why a request ended without a reply.
///
/// ```
/// use homing_session::{Cause, SessionEnd};
/// let cause = Cause::Ended(SessionEnd::Closed);
/// assert_eq!(cause.to_string(), "the session was closed");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Cause {
    /// Its deadline passed first.
    Deadline,
    /// The connection on which it had left was lost.
    Lost(Arc<ConnectionLost>),
    /// The session is over.
    Ended(SessionEnd),
    /// No server could be connected to in so many rounds that nobody is to wait any more.
    Unavailable(Arc<Unavailable>),
    /// The reply was over the limit. It was read and thrown away.
    ReplyTooLarge {
        /// The length of the reply, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("the deadline passed"),
            Self::Lost(lost) => lost.fmt(f),
            Self::Ended(end) => end.fmt(f),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
            Self::ReplyTooLarge { len, limit } => {
                write!(f, "the reply has {len} bytes, over the limit of {limit}")
            }
        }
    }
}

/// No server can be connected to.
///
/// ```
/// use homing_session::Unavailable;
/// let unavailable = Unavailable { rounds: 3, attempts: Vec::new() };
/// assert_eq!(unavailable.to_string(), "no server could be connected to in 3 rounds");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// How often all servers were tried.
    pub rounds: u32,
    /// What went wrong last with each server.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds;
        write!(f, "no server could be connected to in {rounds} rounds")?;
        self.attempts
            .iter()
            .try_for_each(|attempt| write!(f, "; {attempt}"))
    }
}

/// A connection that was lost.
///
/// ```
/// use homing_session::{ConnectionLost, WhyLost};
/// let lost = ConnectionLost { server: "127.0.0.1:2181".parse()?, why: WhyLost::Closed };
/// assert_eq!(lost.to_string(), "the connection to 127.0.0.1:2181 was lost: the server closed it");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLost {
    /// The server at its other end.
    pub server: SocketAddr,
    /// What happened.
    pub why: WhyLost,
}

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the connection to {} was lost: {}",
            self.server, self.why
        )
    }
}

/// Why a connection was lost.
///
/// ```
/// use std::time::Duration;
/// use homing_session::WhyLost;
/// let why = WhyLost::Silent { for_at_least: Duration::from_secs(20) };
/// assert_eq!(why.to_string(), "the server answered nothing for 20s");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyLost {
    /// The server closed it.
    Closed,
    /// Reading or writing failed, with this error of the system's.
    Io(String),
    /// The server answered neither requests nor pings.
    Silent {
        /// For this long.
        for_at_least: Duration,
    },
    /// The server sent something that makes no sense, and this is what.
    Protocol(String),
    /// The server did not know an operation that somebody had asked for. It closes the
    /// connection after saying so, and was not waited for.
    UnknownOperation,
    /// The session had reason to give it up itself.
    GivenUp,
    /// The session left it for another one: its list of servers has changed, somebody asked for
    /// it, another server is preferred, or this one is read-only and another one is not.
    Moved,
}

impl fmt::Display for WhyLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server closed it"),
            Self::Io(error) => f.write_str(error),
            Self::Silent { for_at_least } => {
                write!(f, "the server answered nothing for {for_at_least:?}")
            }
            Self::Protocol(what) => write!(f, "the server sent {what}"),
            Self::UnknownOperation => f.write_str(
                "the server does not know an operation that was asked for, and closes it then",
            ),
            Self::GivenUp => f.write_str("it was given up"),
            Self::Moved => f.write_str("it was left for another one"),
        }
    }
}
