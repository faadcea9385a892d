//! What everybody may know of a session: its state, how it changed, what went wrong on the way.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::answer::{ConnectionLost, Unavailable};
use crate::config::Credentials;
use crate::connect_string::Server;
use crate::sasl::SaslRefusal;
use crate::stats::{ExpiryReport, Stats};

/// Where a session stands.
///
/// ```text
///  Connecting ---> Connected <---> Suspended
///       |              |               |
///       +----------> Ended <-----------+
/// ```
///
/// A client that [renews](crate::OnExpiry) its session goes through `Renewing` from one session
/// to the next, in place of `Ended`; one that closes an idle session stays in `Dormant` until
/// somebody asks for something.
///
/// ```
/// use homing_session::SessionState;
/// assert_eq!(SessionState::Connecting.to_string(), "connecting");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// No server has accepted it yet.
    Connecting,
    /// A server has, and answers.
    Connected(Connection),
    /// The connection was lost and another one is sought. The session lives on at the servers
    /// for a time, with its ephemeral nodes, but nobody can be sure of it.
    Suspended {
        /// The session's id.
        session_id: i64,
        /// How the connection was lost.
        why: Arc<ConnectionLost>,
        /// When it will be presumed to have expired unless a server is reached; `None` if
        /// nothing is presumed.
        presumed_expired_at: Option<Instant>,
    },
    /// It is over, for this reason, with all that belonged to it, and the client seeks another
    /// session. What is asked from now on is for that one.
    Renewing(SessionEnd),
    /// Nobody had used it for a while, and it was closed. The next request opens another one.
    Dormant,
    /// It is over, for this reason. No other state follows.
    Ended(SessionEnd),
}

impl SessionState {
    /// With all its instants in the terms of another clock.
    pub fn map_instants(mut self, map: impl Fn(Instant) -> Instant) -> Self {
        if let Self::Suspended {
            presumed_expired_at,
            ..
        } = &mut self
        {
            *presumed_expired_at = presumed_expired_at.map(map);
        }
        self
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected(connection) => {
                write!(f, "connected to {}", connection.server)?;
                f.write_str(if connection.read_only {
                    ", which is read-only"
                } else {
                    ""
                })
            }
            Self::Suspended { why, .. } => write!(f, "suspended: {why}"),
            Self::Renewing(end) => write!(f, "a new session is sought: {end}"),
            Self::Dormant => {
                f.write_str("dormant: the session was idle and is closed until it is needed")
            }
            Self::Ended(end) => write!(f, "ended: {end}"),
        }
    }
}

/// A session's connection to a server.
///
/// ```
/// use std::time::Duration;
/// use homing_session::Connection;
/// fn two_thirds(connection: &Connection) -> Duration {
///     connection.session_timeout * 2 / 3
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The session's id; servers print it in hexadecimal.
    pub session_id: i64,
    /// The session time-out that the server granted.
    pub session_timeout: Duration,
    /// The server.
    pub server: SocketAddr,
    /// The server has no quorum and serves reads alone, which may be old. Only where that was
    /// [allowed](crate::Config::read_only).
    pub read_only: bool,
}

/// Why a session is over.
///
/// ```
/// use homing_session::SessionEnd;
/// assert!(SessionEnd::Expired { session_id: 0x1234 }.to_string().contains("0x1234"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// It was closed from this side.
    Closed,
    /// A server said that it has expired, or was closed by somebody else. Its ephemeral nodes
    /// are gone.
    Expired {
        /// The session's id.
        session_id: i64,
    },
    /// A server gave another session in place of the one that was to be resumed, which is
    /// therefore gone.
    Replaced {
        /// The id of the session that is gone.
        session_id: i64,
        /// The id that the server gave, and that is not used.
        other: i64,
    },
    /// No server was reached for so long that it must have expired. No server has said so.
    PresumedExpired {
        /// The session's id.
        session_id: i64,
        /// How long ago a server was last heard.
        silent_for: Duration,
    },
    /// It was left to its time-out from this side, for another client to resume.
    Detached,
    /// A server refused an identity that was presented to it.
    AuthFailed {
        /// The scheme of the identity.
        scheme: String,
    },
    /// A server did not accept what was to prove who this client is.
    SaslFailed {
        /// The mechanism, such as `DIGEST-MD5`.
        mechanism: String,
        /// What the server said.
        why: SaslRefusal,
    },
    /// A server takes nothing from clients that have not proved who they are, and this one has
    /// not.
    AuthRequired,
    /// What drives it went away: its runtime was shut down, or its thread has failed.
    DriverGone,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the session was closed"),
            Self::Expired { session_id } => {
                write!(
                    f,
                    "session {session_id:#x} has expired; its ephemeral nodes are gone"
                )
            }
            Self::Replaced { session_id, other } => write!(
                f,
                "session {session_id:#x} is gone: the server gave session {other:#x} in its place"
            ),
            Self::PresumedExpired {
                session_id,
                silent_for,
            } => write!(
                f,
                "session {session_id:#x} is presumed to have expired: no server was reached for {silent_for:?}"
            ),
            Self::Detached => {
                f.write_str("the session was detached; it lives on until its time-out")
            }
            Self::AuthFailed { scheme } => {
                write!(f, "a server refused an identity of the scheme {scheme:?}")
            }
            Self::SaslFailed { mechanism, why } => {
                write!(f, "a server did not accept SASL with {mechanism}: {why}")
            }
            Self::AuthRequired => f.write_str(
                "a server takes nothing from clients that have not proved who they are, and this one has not",
            ),
            Self::DriverGone => f.write_str(
                "what drives the session is gone: its runtime was shut down, or its thread failed",
            ),
        }
    }
}

impl std::error::Error for SessionEnd {}

/// An attempt to connect to a server, or a connection to it, that failed.
///
/// ```
/// use homing_session::{Attempt, Failure, Host, Server};
/// let server = Server { host: Host::Name("zk1".into()), port: 2181, tls: false };
/// let attempt = Attempt { server, address: None, failure: Failure::ResolveTimedOut };
/// assert_eq!(attempt.to_string(), "zk1:2181: its name could not be looked up in time");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The server, as the connect string has it.
    pub server: Server,
    /// The address that was tried, where it came to that.
    pub address: Option<SocketAddr>,
    /// What went wrong.
    pub failure: Failure,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.to_string();
        write!(f, "{server}")?;
        match self.address.map(|address| address.to_string()) {
            Some(address) if server.trim_start_matches("tls://") != address => {
                write!(f, " ({address})")?;
            }
            _ => {}
        }
        write!(f, ": {}", self.failure)?;
        if self.failure == Failure::ClosedInHandshake && !self.server.tls {
            f.write_str("; or it speaks TLS only (`tls://`)")?;
        }
        Ok(())
    }
}

/// How an attempt to connect failed.
///
/// ```
/// use homing_session::Failure;
/// assert_eq!(Failure::ConnectTimedOut.to_string(), "it did not accept a connection in time");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Its name has no address, says the system, or whoever was asked.
    Resolve(String),
    /// Nobody did say in time what address its name has.
    ResolveTimedOut,
    /// Which servers there are could not be found out: whoever was asked says why.
    Servers(String),
    /// Whoever was asked which servers there are did not say in time.
    ServersTimedOut,
    /// It could not be connected to, says the system.
    Connect(String),
    /// It neither accepted nor refused in time.
    ConnectTimedOut,
    /// It was to speak TLS, and that came to nothing. The text says why: what is wrong with its
    /// certificate, what it found wrong with ours, or that it does not speak TLS at all.
    Tls(String),
    /// It neither refused nor finished the TLS handshake in time.
    TlsTimedOut,
    /// It closed the connection instead of answering the handshake. A server that has no quorum
    /// does that, and one that knows less than this client has seen.
    ClosedInHandshake,
    /// It accepted the connection and did not answer the handshake in time.
    HandshakeTimedOut,
    /// Its answer to the handshake is not ZooKeeper's.
    NotZooKeeper(String),
    /// What identifies this client on the connection could not be had: whoever was asked says
    /// why.
    Login(String),
    /// Whoever was asked what identifies this client did not say in time.
    LoginTimedOut,
    /// It accepted the session, and SASL did not come to an end: this is why. What a server says
    /// that turns the client away is no failure of an attempt, but
    /// [the end](SessionEnd::SaslFailed).
    Sasl(String),
    /// It accepted the session, and closed the connection before SASL was done.
    ClosedInSasl,
    /// It accepted the session, and SASL was not done in time.
    SaslTimedOut,
    /// It is read-only, and that was not asked for.
    /// It is read-only, and that was not asked for, or it gives no sessions as such.
    ReadOnly,
    /// It is read-only and does not know the session. Others may: it is cut off from them.
    UnknownToReadOnly,
    /// There was a connection, and it was lost before it had settled.
    Lost(Arc<ConnectionLost>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "its name could not be looked up: {error}"),
            Self::ResolveTimedOut => f.write_str("its name could not be looked up in time"),
            Self::Servers(error) => write!(f, "the list of servers could not be had: {error}"),
            Self::ServersTimedOut => f.write_str("the list of servers could not be had in time"),
            Self::Connect(error) => write!(f, "it could not be connected to: {error}"),
            Self::ConnectTimedOut => f.write_str("it did not accept a connection in time"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::TlsTimedOut => f.write_str(
                "TLS: it did not accept a connection, or did not finish the handshake, in time",
            ),
            Self::ClosedInHandshake => f.write_str(
                "it accepted the connection and closed it without an answer (no quorum, or it is behind what this client has seen)",
            ),
            Self::HandshakeTimedOut => {
                f.write_str("it accepted the connection and did not answer the handshake in time")
            }
            Self::NotZooKeeper(what) => write!(f, "it does not speak ZooKeeper's protocol: {what}"),
            Self::Login(error) => write!(f, "what identifies this client could not be had: {error}"),
            Self::LoginTimedOut => {
                f.write_str("what identifies this client could not be had in time")
            }
            Self::Sasl(what) => write!(f, "SASL failed: {what}"),
            Self::ClosedInSasl => f.write_str("it closed the connection during SASL"),
            Self::SaslTimedOut => f.write_str("SASL was not done in time"),
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::UnknownToReadOnly => {
                f.write_str("it is read-only and does not know the session, which others may")
            }
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

/// A change of state, as a stream of them has it.
///
/// ```
/// fn report(change: &homing_session::StateChange) -> String {
///     format!("{} ({} missed)", change.state, change.missed)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// The state that was entered.
    pub state: SessionState,
    /// How many changes before this one were missed, because more than 64 came before the
    /// stream was asked again.
    pub missed: u64,
    /// With the first [`SessionState::Connected`] of a session that is not the one that this
    /// stream knew. It is told whatever was missed before it.
    pub renewed: Option<Renewal>,
}

/// One session has followed another: what belonged to the old one (ephemeral nodes, locks,
/// watches) is gone.
///
/// ```
/// let renewal = homing_session::Renewal { old: 0x12, new: 0x34 };
/// assert_eq!(renewal.to_string(), "session 0x34 has followed session 0x12");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The id of the session that is over.
    pub old: i64,
    /// The id of the session that there is now.
    pub new: i64,
}

impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new } = self;
        write!(f, "session {new:#x} has followed session {old:#x}")
    }
}

/// The session's notice board. The session writes, everybody may read.
///
/// ```
/// use homing_session::{Config, ConnectString, Session, SessionState};
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (_session, shared) = Session::new(Config::new(servers));
/// assert_eq!(shared.status.state(), SessionState::Connecting);
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
pub struct Status {
    board: Mutex<Board>,
    /// The newest zxid of a reply.
    last_zxid: AtomicI64,
}

struct Board {
    state: SessionState,
    credentials: Option<Credentials>,
    servers: Vec<Server>,
    /// The newest failure of each server since a connection last settled.
    failures: Vec<Attempt>,
    /// Why nobody is to wait for a connection; `None` while there is one, or may be soon.
    unavailable: Option<Arc<Unavailable>>,
    /// The newest states, oldest first; the last is `state`.
    recent: VecDeque<SessionState>,
    /// How many states there were, `recent` included.
    count: u64,
    /// Who waits for the next state.
    listeners: BTreeMap<u64, Waker>,
    next_listener: u64,
    /// Until when the session is certain to live, by what was answered.
    valid_until: Option<Instant>,
    stats: Stats,
    report: Option<Arc<ExpiryReport>>,
    /// How the newest of the sessions before this one have ended, and how many there were.
    former_ends: VecDeque<SessionEnd>,
    former_count: u64,
}

/// How many changes a stream may be behind before it misses some.
const RECENT_MAX: usize = 64;

impl Status {
    pub(crate) fn new() -> Self {
        let state = SessionState::Connecting;
        Self {
            board: Mutex::new(Board {
                recent: VecDeque::from([state.clone()]),
                state,
                credentials: None,
                servers: Vec::new(),
                failures: Vec::new(),
                unavailable: None,
                count: 1,
                listeners: BTreeMap::new(),
                next_listener: 0,
                valid_until: None,
                stats: Stats::default(),
                report: None,
                former_ends: VecDeque::new(),
                former_count: 0,
            }),
            last_zxid: AtomicI64::new(0),
        }
    }

    /// The state now.
    pub fn state(&self) -> SessionState {
        self.board().state.clone()
    }

    /// Why the session is over, if it is.
    pub fn end(&self) -> Option<SessionEnd> {
        match &self.board().state {
            SessionState::Ended(end) => Some(end.clone()),
            _ => None,
        }
    }

    /// How the session of an earlier [era](homing_transport::Queue::era) has ended; of one long
    /// ago, how the oldest has that is still known.
    pub fn end_of(&self, era: u64) -> Option<SessionEnd> {
        let board = self.board();
        let oldest = board.former_count - board.former_ends.len() as u64;
        let index = usize::try_from(era.saturating_sub(oldest)).ok()?;
        board.former_ends.get(index).cloned()
    }

    /// What it takes to resume the session; `None` before it began.
    pub fn credentials(&self) -> Option<Credentials> {
        self.board().credentials
    }

    /// The servers that are tried, in no particular order.
    pub fn servers(&self) -> Vec<Server> {
        self.board().servers.clone()
    }

    /// For each server its newest failure since a connection last settled.
    pub fn failures(&self) -> Vec<Attempt> {
        self.board().failures.clone()
    }

    /// Why nobody is to wait for a connection, where that was asked for
    /// ([`Config::fail_fast_after`](crate::Config::fail_fast_after)) and there was none for long
    /// enough.
    pub fn unavailable(&self) -> Option<Arc<Unavailable>> {
        self.board().unavailable.clone()
    }

    /// Until when the session is certain to be alive at the servers: the session time-out, counted
    /// from when the newest frame was sent that has been answered. `None` before the first
    /// connection. Whoever holds a lock by this session holds it until then, whatever happens to
    /// the network.
    pub fn valid_until(&self) -> Option<Instant> {
        self.board().valid_until
    }

    /// The newest zxid that a reply has told; 0 before the first. It is there before the reply
    /// is, and it never falls, but where [`OnExpiry::Renew`](crate::OnExpiry::Renew) has begun a
    /// new session at servers that all seem to have lost their data.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid.load(Ordering::Acquire)
    }

    /// The figures now.
    pub fn stats(&self) -> Stats {
        self.board().stats.clone()
    }

    /// Why the session has ended, in full; `None` while it lives, and when it was closed.
    pub fn report(&self) -> Option<Arc<ExpiryReport>> {
        self.board().report.clone()
    }

    /// A key for [`poll_change`](Self::poll_change), to be given back with
    /// [`unlisten`](Self::unlisten), and how many states there were before the one now.
    pub fn listen(&self) -> (u64, u64) {
        let mut board = self.board();
        board.next_listener += 1;
        (board.next_listener, board.count - 1)
    }

    /// The state after the first `seen` ones, and how many were missed in between. Pending, and
    /// the waker kept under `key`, while there is none. It is also woken when there is nobody to
    /// wait for any more: see [`unavailable`](Self::unavailable).
    pub fn poll_change(
        &self,
        key: u64,
        seen: u64,
        cx: &mut Context<'_>,
    ) -> Poll<(u64, StateChange)> {
        let mut board = self.board();
        if board.count <= seen {
            // The former waker is dropped after the lock.
            let _former = board.listeners.insert(key, cx.waker().clone());
            drop(board);
            return Poll::Pending;
        }
        let oldest = board.count - board.recent.len() as u64;
        let index = seen.max(oldest);
        let state = usize::try_from(index - oldest)
            .ok()
            .and_then(|at| board.recent.get(at));
        let state = state.unwrap_or(&board.state).clone();
        Poll::Ready((
            index + 1,
            StateChange {
                state,
                missed: index - seen,
                renewed: None,
            },
        ))
    }

    /// Forgets the waker that is kept under `key`.
    pub fn unlisten(&self, key: u64) {
        let _former = self.board().listeners.remove(&key);
    }

    pub(crate) fn enter(&self, state: SessionState, wakers: &mut Vec<Waker>) {
        let mut board = self.board();
        board.state = state.clone();
        if board.recent.len() == RECENT_MAX {
            board.recent.pop_front();
        }
        board.recent.push_back(state);
        board.count += 1;
        wakers.extend(std::mem::take(&mut board.listeners).into_values());
    }

    pub(crate) fn update(&self, update: impl FnOnce(&mut Stats)) {
        update(&mut self.board().stats);
    }

    pub(crate) fn set_last_zxid(&self, zxid: i64) {
        self.last_zxid.store(zxid, Ordering::Release);
    }

    pub(crate) fn set_valid_until(&self, at: Instant) {
        self.board().valid_until = Some(at);
    }

    /// The session of this era has ended so, and another one follows.
    pub(crate) fn add_former_end(&self, end: SessionEnd) {
        let mut board = self.board();
        if board.former_ends.len() == RECENT_MAX {
            board.former_ends.pop_front();
        }
        board.former_ends.push_back(end);
        board.former_count += 1;
    }

    /// There is no session at present.
    pub(crate) fn forget_session(&self) {
        let mut board = self.board();
        board.credentials = None;
        board.valid_until = None;
    }

    pub(crate) fn set_report(&self, report: Arc<ExpiryReport>) {
        self.board().report = Some(report);
    }

    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        self.board().credentials = Some(credentials);
    }

    /// Failures of servers that are not among them are of no interest any more.
    pub(crate) fn set_servers(&self, servers: Vec<Server>) {
        let mut board = self.board();
        board
            .failures
            .retain(|attempt| servers.contains(&attempt.server));
        board.servers = servers;
    }

    pub(crate) fn add_failure(&self, attempt: Attempt) {
        let mut board = self.board();
        board
            .failures
            .retain(|earlier| earlier.server != attempt.server);
        board.failures.push(attempt);
    }

    /// Nobody is to wait for a connection, for this reason.
    pub(crate) fn set_unavailable(&self, why: Arc<Unavailable>, wakers: &mut Vec<Waker>) {
        let mut board = self.board();
        if board.unavailable.replace(why).is_none() {
            wakers.extend(std::mem::take(&mut board.listeners).into_values());
        }
    }

    pub(crate) fn set_available(&self) {
        self.board().unavailable = None;
    }

    pub(crate) fn forget_failures(&self) {
        self.board().failures.clear();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
