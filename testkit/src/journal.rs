//! What becomes of connections, told as it happens.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::server::{ConnectionId, Server, Stage};

/// Something that has happened to a connection. `Display` says it in one line.
///
/// ```
/// use homing_testkit::{ConnectionEvent, Now, Server, ServerConfig};
/// # let now = Now { instant: std::time::Instant::now(), unix_ms: 0 };
/// let mut server = Server::new(ServerConfig::default());
/// server.keep_journal();
/// let connection = server.accept_from(now, "127.0.0.1:4242".parse().unwrap());
/// server.handle_bytes(now, connection, &mut b"srvr"[..].into());
/// let lines: Vec<_> = std::iter::from_fn(|| server.poll_event()).map(|it| it.to_string()).collect();
/// assert_eq!(lines, [
///     "connection 1: accepted from 127.0.0.1:4242",
///     "connection 1: closed: it asked the four-letter word srvr",
/// ]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// The number of the server, where it is a member of an ensemble.
    pub server: Option<u8>,
    /// Whose.
    pub connection: ConnectionId,
    /// The session that the connection spoke for, if it did by then.
    pub session: Option<i64>,
    /// What.
    pub kind: ConnectionEventKind,
}

/// What has happened to a connection.
///
/// ```
/// use homing_testkit::{CloseReason, ConnectionEventKind};
/// let closed = ConnectionEventKind::Closed { why: CloseReason::Expired };
/// assert!(closed.to_string().starts_with("closed: "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEventKind {
    /// It cannot be made, as when no descriptor is left, which is tried again: told once until one
    /// can be.
    NotAccepted {
        /// What the system says.
        why: String,
    },
    /// It was made.
    Accepted {
        /// The client's end.
        from: SocketAddr,
    },
    /// Its handshake is over, and it speaks for a session.
    Attached {
        /// The time-out that was granted.
        timeout: Duration,
        /// Whether the session was there before.
        resumed: bool,
    },
    /// It is over.
    Closed {
        /// Why.
        why: CloseReason,
    },
}

/// Why a connection is over.
///
/// ```
/// let why = homing_testkit::CloseReason::UnknownOperation(99);
/// assert_eq!(why.to_string(), "this server does not know operation 99");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client is gone.
    Disconnected,
    /// The client closed its session.
    SessionClosed,
    /// The time of its session is over, or a test ended it.
    Expired,
    /// Another connection has taken up its session.
    Superseded,
    /// There was no handshake in time.
    HandshakeTimeout,
    /// The first frame is no handshake.
    BadHandshake,
    /// The client has seen a later transaction than this server.
    Behind,
    /// There is no such session, or not with this password.
    NoSuchSession,
    /// This server has no quorum, and the client or its session needs one.
    NoQuorum,
    /// The server has lost its quorum, or found it again.
    QuorumChanged,
    /// There are too many connections, from its address or from everywhere.
    TooManyConnections,
    /// A frame has an impossible length.
    BadFrame,
    /// A request cannot be read.
    BadRequest,
    /// This operation is not known here.
    UnknownOperation(i32),
    /// It has not come to terms with TLS, or speaks none where nothing else is spoken.
    TlsFailed,
    /// Credentials were refused.
    AuthFailed,
    /// The client has to say who it is before anything else.
    AuthRequired,
    /// It asked a four-letter word.
    Word(&'static str),
    /// It takes nothing of what it is sent, and 64 MiB wait for it.
    Backlog,
    /// A fault was arranged.
    Fault,
    /// The server was stopped, or is gone.
    Stopped,
    /// The server was started again.
    Restarted,
}

impl fmt::Display for ConnectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = self.server {
            write!(f, "server {server}, ")?;
        }
        write!(f, "connection {}", self.connection)?;
        if let Some(session) = self.session {
            write!(f, ", session {session:#x}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl fmt::Display for ConnectionEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAccepted { why } => write!(f, "cannot accept it yet: {why}"),
            Self::Accepted { from } => write!(f, "accepted from {from}"),
            Self::Attached { timeout, resumed } => {
                let how = if *resumed { "taken up again" } else { "begun" };
                write!(f, "{how}, time-out {} ms", timeout.as_millis())
            }
            Self::Closed { why } => write!(f, "closed: {why}"),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "the client is gone",
            Self::SessionClosed => "the client closed its session",
            Self::Expired => "the session has expired",
            Self::Superseded => "another connection has taken up its session",
            Self::HandshakeTimeout => "there was no handshake in time",
            Self::BadHandshake => "the first frame is no handshake",
            Self::Behind => "the client has seen a later transaction than this server",
            Self::NoSuchSession => "there is no such session, or not with this password",
            Self::NoQuorum => "this server has no quorum, which the client or its session needs",
            Self::QuorumChanged => "the server has lost its quorum or found it again",
            Self::TooManyConnections => "there are too many connections",
            Self::BadFrame => "a frame has an impossible length",
            Self::BadRequest => "a request cannot be read",
            Self::UnknownOperation(op) => {
                return write!(f, "this server does not know operation {op}");
            }
            Self::TlsFailed => "it has not come to terms with TLS, or speaks none",
            Self::AuthFailed => "its credentials were refused",
            Self::AuthRequired => "it has to say who it is before anything else",
            Self::Word(word) => return write!(f, "it asked the four-letter word {word}"),
            Self::Backlog => "it takes nothing of what it is sent",
            Self::Fault => "by a fault that was arranged",
            Self::Stopped => "the server was stopped",
            Self::Restarted => "the server was started again",
        })
    }
}

/// What has happened and was not asked for yet, where anybody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    events: Option<VecDeque<ConnectionEvent>>,
    server: Option<u8>,
}

impl Journal {
    pub(crate) fn note(
        &mut self,
        connection: ConnectionId,
        stage: Option<Stage>,
        kind: ConnectionEventKind,
    ) {
        let Some(events) = &mut self.events else {
            return;
        };
        let session = match stage {
            Some(Stage::Attached(session)) => Some(session),
            Some(Stage::Fresh(_) | Stage::Opening) | None => None,
        };
        events.push_back(ConnectionEvent {
            server: self.server,
            connection,
            session,
            kind,
        });
    }
}

impl Server {
    /// Notes from now on what becomes of connections, for [`poll_event`](Self::poll_event). What
    /// is not taken stays in memory.
    pub fn keep_journal(&mut self) {
        self.journal.events.get_or_insert_default();
        self.journal.server = self.role().map(|_| self.config.server_id);
    }

    /// What has happened next to a connection; see [`keep_journal`](Self::keep_journal).
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.journal.events.as_mut()?.pop_front()
    }
}

/// Who is told of events.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&ConnectionEvent) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observe: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(crate) fn tell(&self, event: &ConnectionEvent) {
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
