//! The server: connections, frames, time, and what goes out.

mod answers;
mod assertions;
mod connections;
mod transact;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::frame;

use crate::acl::Identities;
use crate::config::ServerConfig;
use crate::cuts::Cuts;
use crate::journal::{CloseReason, ConnectionEventKind, Journal};
use crate::later::{AGES, later};
use crate::outbox::Outbox;
use crate::replica::Replica;
use crate::sasl::{Exchange, SaslConfig};
use crate::sessions::Sessions;
use crate::traffic::{Totals, Traffic};
use crate::tree::Tree;
use crate::watches::Watches;
use crate::words;

pub use assertions::{NodeInfo, SessionInfo};
pub(crate) use connections::{Connection, Stage};
pub(crate) use transact::{Asker, Rules};

/// A point in time, as both clocks show it. Whoever drives a [`Server`] says what time it is;
/// it may be any time at all, as long as it does not run backwards.
///
/// ```
/// let now = homing_testkit::Now { instant: std::time::Instant::now(), unix_ms: 1_000 };
/// let later = now.after(std::time::Duration::from_secs(1));
/// assert_eq!(later.unix_ms, 2_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What sessions expire by.
    pub instant: Instant,
    /// What stats show and nodes with a time to live go by: milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

impl Now {
    /// What time it will be. Whatever is more than a hundred years counts as a hundred.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let duration = duration.min(AGES);
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            instant: later(self.instant, duration),
            unix_ms: self.unix_ms.saturating_add(ms),
        }
    }
}

/// A connection of a [`Server`]. Numbers are never used twice.
///
/// ```
/// use homing_testkit::{Now, Server, ServerConfig};
/// # let now = Now { instant: std::time::Instant::now(), unix_ms: 0 };
/// let mut server = Server::new(ServerConfig::default());
/// let first = server.accept(now, [127, 0, 0, 1].into());
/// let second = server.accept(now, [127, 0, 0, 1].into());
/// assert!(first < second);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a [`Server`] wants done. Outputs are to be carried out in their order.
///
/// ```
/// use homing_testkit::{Now, Output, Server, ServerConfig};
/// # let now = Now { instant: std::time::Instant::now(), unix_ms: 0 };
/// let mut server = Server::new(ServerConfig::default());
/// let connection = server.accept(now, [127, 0, 0, 1].into());
/// server.handle_bytes(now, connection, &mut b"\0\0\0\0"[..].into());
/// assert_eq!(server.poll_output(), Some(Output::Close(connection)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes: one whole frame, its length included, or the answer to a four-letter
    /// word.
    Send(ConnectionId, Bytes),
    /// Close the connection, once what was to be sent before has been sent. The server has
    /// forgotten it already and takes nothing from it any more.
    Close(ConnectionId),
}

/// A ZooKeeper server without sockets, clocks or threads: bytes and time in, bytes out.
///
/// It answers as a standalone Apache ZooKeeper 3.8.0 does: replies, error codes and their
/// precedence, stats, transaction numbers, sessions and watches. What it does not have it
/// refuses as that server refuses an operation that it does not know: error −6, transaction −1,
/// and the connection is closed.
///
/// Its methods fall into four families.
/// * **Inputs** are [`accept`](Self::accept), [`handle_bytes`](Self::handle_bytes),
///   [`handle_disconnected`](Self::handle_disconnected),
///   [`handle_timeout`](Self::handle_timeout) and [`handle_restart`](Self::handle_restart).
/// * **Outputs** come from [`poll_output`](Self::poll_output). After every input, and after
///   every fault, take them until there is none; what is left untaken stays in memory, and when
///   that is 64 MiB for one connection, the next change that it watches closes it. One input's
///   outputs are bounded by what it asks for: a request costs one reply, a change one
///   notification for each connection that watches.
/// * **Time** is [`poll_timeout`](Self::poll_timeout). Ask again after the outputs are drained,
///   and call `handle_timeout` when the time has come. Calling it early does no harm.
/// * **Faults** and **assertions** are the rest.
///
/// The same inputs give the same outputs, byte for byte: there is no randomness in it.
///
/// # Which order it keeps
/// A real server hands requests from thread to thread, so that where a connection ends, it is a
/// race what its client still hears. This one serves what a connection says in its order, each
/// request to its end. Where the race has one outcome as good as always, it has that one: a frame
/// that is none ends the connection before anything that came with it is answered, and so does
/// the end of a session by its time before its watches are told. (On a socket, an end that comes
/// with requests is seen before their answers are sent.) Where it has none, requests sent without
/// waiting are answered otherwise than by a real server most of the time:
/// * In front of an operation that it does not know, it answers everything, and then −6. A real
///   one mostly says −6 first, and nothing else.
/// * In front of credentials that it refuses, likewise: a real one mostly says −115 alone.
///   Credentials that it takes are answered in their order; a real one answers them before the
///   writes in front of them.
/// * Behind the end of a session, by its client, it takes nothing. A real one may give numbers to
///   some of the writes that come behind, and may even answer them with −112 behind the answer to
///   the end.
///
/// ```
/// use bytes::BytesMut;
/// use homing_protocol::{ConnectRequest, ConnectResponse, Record, SessionPassword};
/// use homing_testkit::{Now, Output, Server, ServerConfig};
///
/// let now = Now { instant: std::time::Instant::now(), unix_ms: 1_700_000_000_000 };
/// let mut server = Server::new(ServerConfig::default());
/// let connection = server.accept(now, [127, 0, 0, 1].into());
///
/// let request = ConnectRequest {
///     last_zxid_seen: 0,
///     timeout_ms: 10_000,
///     session_id: 0,
///     password: SessionPassword::NONE,
///     read_only: Some(false),
/// };
/// let mut input = BytesMut::from(&b"\0\0\0\x2d"[..]);
/// request.encode(&mut input);
/// server.handle_bytes(now, connection, &mut input);
///
/// let Some(Output::Send(_, frame)) = server.poll_output() else { panic!("no answer") };
/// let response = ConnectResponse::decode(&frame.slice(4..))?;
/// assert_eq!(response.timeout_ms, 10_000);
/// assert_eq!(server.sessions()[0].id, response.session_id);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Server {
    pub(crate) config: ServerConfig,
    pub(crate) tree: Tree,
    pub(crate) watches: Watches,
    pub(crate) sessions: Sessions,
    /// The last transaction, failed ones included: what replies show.
    pub(crate) last_zxid: i64,
    /// The last number that was given out. It runs ahead where a request took one and then was
    /// no transaction.
    pub(crate) zxid_counter: i64,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) cuts: Cuts,
    /// Proofs of this side are wrong.
    pub(crate) lies_in_sasl: bool,
    /// It has lost its quorum; connections know it of themselves.
    pub(crate) is_read_only: bool,
    /// What it has besides as a member of an ensemble.
    pub(crate) replica: Option<Box<Replica>>,
    next_connection: ConnectionId,
    /// Connections that owe a handshake, and until when.
    handshakes_due: BTreeSet<(Instant, ConnectionId)>,
    /// When nodes are to be reaped next. `None` until the first input.
    pub(crate) next_reaping: Option<Instant>,
    outputs: Outbox,
    /// Room for replies.
    spare: BytesMut,
    pub(crate) requests_received: u64,
    pub(crate) totals: Totals,
    pub(crate) about: words::About,
    /// How many requests are outstanding on all connections.
    outstanding: usize,
    pub(crate) journal: Journal,
}

/// Inputs.
impl Server {
    /// A server with an empty tree.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            tree: Tree::new(&config),
            watches: Watches::new(&config),
            sessions: Sessions::new(config.tick_time),
            last_zxid: config.first_zxid,
            zxid_counter: config.first_zxid,
            connections: BTreeMap::new(),
            cuts: Cuts::default(),
            lies_in_sasl: false,
            is_read_only: false,
            replica: None,
            next_connection: ConnectionId(1),
            handshakes_due: BTreeSet::new(),
            next_reaping: None,
            outputs: Outbox::default(),
            spare: BytesMut::new(),
            requests_received: 0,
            totals: Totals::default(),
            about: words::About::default(),
            outstanding: 0,
            journal: Journal::default(),
            config,
        }
    }

    /// A connection has been made. One too many, from its address or from everywhere, is closed
    /// at once.
    pub fn accept(&mut self, now: Now, peer: IpAddr) -> ConnectionId {
        self.accept_from(now, SocketAddr::new(peer, 0))
    }

    /// Notes that the next connection cannot be accepted so far.
    pub(crate) fn not_accepted(&mut self, why: String) {
        let id = self.next_connection;
        self.note(id, None, ConnectionEventKind::NotAccepted { why });
    }

    /// As [`accept`](Self::accept), for a peer whose port is known: `cons` shows it.
    pub fn accept_from(&mut self, now: Now, peer: SocketAddr) -> ConnectionId {
        self.begin(now);
        let (from, peer, port) = (peer, peer.ip(), peer.port());
        let id = self.next_connection;
        self.next_connection = ConnectionId(id.0 + 1);
        let max = self.config.max_client_connections;
        let from_peer = || {
            self.connections
                .values()
                .filter(|other| other.peer == peer)
                .count()
        };
        let max_in_all = self.config.max_connections;
        if max > 0 && from_peer() >= max || max_in_all > 0 && self.connections.len() >= max_in_all {
            self.totals.rejected += 1;
            let why = CloseReason::TooManyConnections;
            self.note(id, None, ConnectionEventKind::Accepted { from });
            self.note(id, None, ConnectionEventKind::Closed { why });
            self.outputs.push(Output::Close(id));
            return id;
        }
        self.note(id, None, ConnectionEventKind::Accepted { from });
        let due = self.handshake_due(now.instant);
        let mut identities = Identities::new(peer).with_sasl(self.config.sasl.is_some());
        identities.knows_x509 = self.config.x509;
        let identities = Arc::new(identities);
        self.handshakes_due.extend(due.map(|due| (due, id)));
        self.connections.insert(
            id,
            Connection {
                peer,
                identities,
                stage: Stage::Fresh(due),
                greeting: None,
                is_secure: false,
                unread: 0,
                timeout: Duration::ZERO,
                sasl: Exchange::default(),
                is_read_only: self.is_read_only,
                traffic: Traffic::new(now, port),
                unfetched: 0,
            },
        );
        id
    }

    /// Bytes have arrived. Whole frames are taken off the front of `input`, and a frame that is
    /// not complete stays there: append to it and call again. `input` is emptied when the
    /// connection has been closed meanwhile.
    pub fn handle_bytes(&mut self, now: Now, connection: ConnectionId, input: &mut BytesMut) {
        while self.handle_frame(now, connection, input) {}
    }

    /// The same for the first frame alone. Says whether there may be another one.
    pub(crate) fn handle_frame(
        &mut self,
        now: Now,
        connection: ConnectionId,
        input: &mut BytesMut,
    ) -> bool {
        self.begin(now);
        let known = self.connections.get(&connection);
        let Some((stage, is_secure)) = known.map(|known| (known.stage, known.is_secure)) else {
            input.clear();
            return false;
        };
        if is_secure && **input == [0; frame::LENGTH_LEN] {
            // Netty, which real servers have TLS from, sees that a frame is there when another byte
            // is to be read.
            return false;
        }
        if matches!(stage, Stage::Fresh(_)) {
            self.note_unread(now.instant, connection, input.len());
        }
        if let (Stage::Fresh(_), Some(word)) =
            (stage, words::find(input, &self.config.unknown_words))
        {
            self.count_received(now, connection, words::LEN);
            self.answer_word(now, connection, word, input);
            return true;
        }
        match frame::split(input, self.config.request_len_max) {
            Ok(None) => return false,
            Ok(Some(frame)) => {
                self.count_received(now, connection, frame::LENGTH_LEN + frame.len());
                match stage {
                    _ if frame.is_empty() => {
                        self.close_because(connection, CloseReason::BadFrame);
                    }
                    Stage::Fresh(_) => self.handshake(now, connection, &frame),
                    Stage::Opening => self.hold_back(connection, frame),
                    Stage::Attached(session) => self.process(now, connection, session, &frame),
                }
            }
            // Nothing is said to somebody whose frames cannot be told apart.
            Err(_) => self.close_because(connection, CloseReason::BadFrame),
        }
        true
    }

    /// A connection has proved below the protocol who it is: `x509`, and the name in its
    /// certificate.
    pub fn add_identity(&mut self, connection: ConnectionId, scheme: &str, name: &str) {
        if let Some(known) = self.connections.get_mut(&connection) {
            Arc::make_mut(&mut known.identities).add_proved(scheme, name);
        }
    }

    /// The peer is gone. Its session goes on without it until it expires.
    pub fn handle_disconnected(&mut self, now: Now, connection: ConnectionId) {
        self.begin(now);
        let is_known = self.forget(connection, CloseReason::Disconnected);
        self.totals.dropped += u64::from(is_known);
    }

    /// Time has passed: sessions expire, nodes are reaped, and connections without a handshake
    /// are closed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin(now);
        while let Some((due, connection)) = self.handshakes_due.first().copied()
            && due <= now.instant
        {
            self.close_because(connection, CloseReason::HandshakeTimeout);
        }
        while let Some(session) = self.next_expired(now) {
            self.expire_session(now, session);
            self.totals.expired += 1;
        }
        self.reap(now);
    }

    /// The process has been started again on the same data: all connections are gone, without
    /// an output for each, and every session has a whole time-out before it: that of its first
    /// handshake, which is all that is stored.
    pub fn handle_restart(&mut self, now: Now) {
        self.begin(now);
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for connection in connections {
            self.forget(connection, CloseReason::Restarted);
        }
        self.outputs.clear();
        self.sessions.restart(now.instant);
        self.next_reaping = now
            .instant
            .checked_add(self.config.container_check_interval);
    }
}

/// Outputs and time.
impl Server {
    /// What is to be done next; `None` until there has been another input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop()?;
        if let Output::Send(connection, frame) = &output {
            self.totals.count_sent(frame);
            if let Some(known) = self.connections.get_mut(connection) {
                known.traffic.sent += 1;
                known.unfetched = known.unfetched.saturating_sub(frame.len());
            }
        }
        Some(output)
    }

    /// How many bytes are to be sent that nobody has fetched yet.
    pub(crate) fn output_len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether there is something to be done.
    pub(crate) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while there is nothing to
    /// wait for. Every input may change the answer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let handshake = self.handshakes_due.first().map(|(due, _)| *due);
        let reaping = self
            .next_reaping
            .filter(|_| self.may_reap() && self.tree.has_reapable());
        let expiry = self.sessions.next_expiry().filter(|_| self.may_expire());
        [handshake, expiry, reaping].into_iter().flatten().min()
    }
}

/// Faults.
impl Server {
    /// Ends a session as if its time were over: one transaction, in which its ephemeral nodes go,
    /// and a closed connection if it has one. Says whether there was such a session.
    pub fn expire_session(&mut self, now: Now, session: i64) -> bool {
        self.begin(now);
        if self.replica.is_some() {
            return self.propose_expiry(session);
        }
        let Some(known) = self.sessions.get(session) else {
            return false;
        };
        // The end of the connection overtakes what it would be told of the end of its session.
        if let Some(connection) = known.connection {
            self.close_because(connection, CloseReason::Expired);
        }
        self.end_session(now, session);
        true
    }

    /// Closes a connection without a word, as a server does whose session has moved elsewhere.
    pub fn close_connection(&mut self, connection: ConnectionId) {
        self.close_because(connection, CloseReason::Fault);
    }

    /// Applies the `n`th write from now on, then closes its connection without an answer: the
    /// client cannot know what became of it. 1 is the next one. Writes are create and its kin,
    /// delete, setData, setACL, multi and, in an ensemble, reconfig. Several such faults count side
    /// by side.
    ///
    /// Writes that a client makes by itself in the background count too, such as Homing's deletion
    /// of a marker behind a write that is `resolved`: a fault that is armed right behind one may
    /// strike that.
    pub fn cut_after_apply(&mut self, n: u32) {
        self.cuts.add(n, true);
    }

    /// Closes the connection of the `n`th write from now on without applying or answering it.
    /// 1 is the next one. What counts as a write, and whose, is said at
    /// [`cut_after_apply`](Self::cut_after_apply).
    pub fn cut_before_apply(&mut self, n: u32) {
        self.cuts.add(n, false);
    }

    /// Changes whom SASL lets in, for exchanges that begin from now on; see
    /// [`ServerConfig::sasl`].
    pub fn set_sasl(&mut self, sasl: Option<SaslConfig>) {
        self.config.sasl = sasl;
    }

    /// Gives wrong proofs that this server knows the passwords of SASL, as somebody does who only
    /// plays a server; or right ones again.
    pub fn lie_in_sasl(&mut self, lies: bool) {
        self.lies_in_sasl = lies;
    }

    /// Goes on behind another transaction: forwards as after an election, or backwards as a
    /// server that has lost its disk, to which clients of the old one do not come back.
    pub fn set_last_zxid(&mut self, zxid: i64) {
        (self.last_zxid, self.zxid_counter) = (zxid, zxid);
    }

    /// Does not know an operation from now on: as if an older server had taken its place.
    pub fn forget_operation(&mut self, op: i32) {
        self.config.unknown_operations.push(op);
    }

    /// Lets the next sequential child of a node have this number. Says whether there is such a
    /// node.
    pub fn set_create_counter(&mut self, path: &str, counter: i32) -> bool {
        self.tree.set_create_counter(path, counter)
    }
}

/// What the rest of the crate builds on.
impl Server {
    /// Every input comes through here: the first one sets the clocks.
    pub(crate) fn begin(&mut self, now: Now) {
        if self.next_reaping.is_none() {
            self.about.started = Some(now);
            match self.config.session_ids_from_one {
                true => self.sessions.begin(Now { unix_ms: 0, ..now }, 0),
                false => self.sessions.begin(now, self.config.server_id),
            }
            self.next_reaping = now
                .instant
                .checked_add(self.config.container_check_interval);
        }
    }

    /// A session whose time is over, where there is a quorum to say so.
    fn next_expired(&self, now: Now) -> Option<i64> {
        self.sessions
            .expired(now.instant)
            .filter(|_| self.may_expire())
    }

    /// Whether it is for this server to say that a session's time is over.
    fn may_expire(&self) -> bool {
        !self.is_read_only && self.replica.is_none()
    }
}

#[cfg(test)]
impl ConnectionId {
    pub(crate) fn first() -> Self {
        Self(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_tls_an_empty_frame_is_seen_when_something_follows_it() {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 0,
        };
        for is_secure in [false, true] {
            let mut server = Server::new(ServerConfig::default());
            let connection = server.accept(now, [127, 0, 0, 1].into());
            if is_secure {
                server.expect_tls(now, connection);
            }
            let mut input = BytesMut::zeroed(frame::LENGTH_LEN);
            server.handle_bytes(now, connection, &mut input);
            assert_eq!(server.has_output(), !is_secure);
            assert_eq!(server.totals.received, u64::from(!is_secure));
            input.extend_from_slice(b"x");
            server.handle_bytes(now, connection, &mut input);
            assert_eq!(server.poll_output(), Some(Output::Close(connection)));
            assert_eq!(server.totals.received, 1);
        }
    }
}
