//! The server: connections, frames, time, and what goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{Acl, EventType, ReplyHeader, Stat, frame, permission};

use crate::acl::Identities;
use crate::config::ServerConfig;
use crate::cuts::Cuts;
use crate::journal::{CloseReason, ConnectionEventKind, Journal};
use crate::later::{AGES, later};
use crate::outbox::Outbox;
use crate::replica::Replica;
use crate::reply::{self, Reply};
use crate::sasl::{Exchange, SaslConfig};
use crate::sessions::Sessions;
use crate::traffic::{Totals, Traffic};
use crate::transaction::{Caller, Settings, Transaction};
use crate::tree::{Stamp, Tree};
use crate::watches::{Change, Notice, Watches};
use crate::words;

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
///   every fault, take them until there is none; what is left untaken stays in memory. One
///   input's outputs are bounded by what it asks for: a request costs one reply, a change one
///   notification for each connection that watches.
/// * **Time** is [`poll_timeout`](Self::poll_timeout). Ask again after the outputs are drained,
///   and call `handle_timeout` when the time has come. Calling it early does no harm.
/// * **Faults** and **assertions** are the rest.
///
/// The same inputs give the same outputs, byte for byte: there is no randomness in it.
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

/// What the server keeps of a connection. All of it is lost with the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: IpAddr,
    /// Shared with the requests that wait, and with writes on their way.
    pub(crate) identities: Arc<Identities>,
    pub(crate) stage: Stage,
    pub(crate) sasl: Exchange,
    /// The server at this end of it has no quorum.
    pub(crate) is_read_only: bool,
    pub(crate) traffic: Traffic,
}

/// Who asks for a transaction, and by which rules.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// A connection of this server and its session, by the rules of this server.
    Here(ConnectionId, i64),
    /// A client of a member of the ensemble, by the rules of that one.
    Elsewhere(Caller<'a>, &'a Rules),
}

/// What a write's outcome depends on besides the tree and the one who asks.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) settings: Settings,
    pub(crate) unknown_operations: Vec<i32>,
    pub(crate) multi_keeps_operations: bool,
    pub(crate) multi_holds_no_reads: bool,
    pub(crate) unreadable_writes_are_free: bool,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The handshake must be there by then.
    Fresh(Instant),
    /// The other members of the ensemble are to say what becomes of its handshake.
    Opening,
    /// It speaks for this session.
    Attached(i64),
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
        let due = later(now.instant, self.config.handshake_timeout);
        let mut identities = Identities::new(peer).with_sasl(self.config.sasl.is_some());
        identities.knows_x509 = self.config.x509;
        let identities = Arc::new(identities);
        self.handshakes_due.insert((due, id));
        self.connections.insert(
            id,
            Connection {
                peer,
                identities,
                stage: Stage::Fresh(due),
                sasl: Exchange::default(),
                is_read_only: self.is_read_only,
                traffic: Traffic::new(now, port),
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
        let Some(stage) = self.connections.get(&connection).map(|known| known.stage) else {
            input.clear();
            return false;
        };
        if let (Stage::Fresh(_), Some(word)) =
            (stage, words::find(input, &self.config.unknown_words))
        {
            self.count_received(now, connection, word.len());
            self.answer_word(now, connection, word, input);
            return true;
        }
        match frame::split(input, self.config.request_len_max) {
            Ok(None) => return false,
            Ok(Some(frame)) if !frame.is_empty() => {
                self.count_received(now, connection, frame::LENGTH_LEN + frame.len());
                match stage {
                    Stage::Fresh(_) => self.handshake(now, connection, &frame),
                    Stage::Opening => self.hold_back(connection, frame),
                    Stage::Attached(session) => self.process(now, connection, session, &frame),
                }
            }
            // Nothing is said to somebody whose frames cannot be told apart.
            Ok(Some(_)) | Err(_) => self.close_because(connection, CloseReason::BadFrame),
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
        self.forget(connection, CloseReason::Disconnected);
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
        }
        self.reap(now);
    }

    /// The process has been started again on the same data: all connections are gone, without
    /// an output for each, and every session has its whole time-out before it.
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
        let Some(connection) = self.end_session(now, session) else {
            return false;
        };
        if let Some(connection) = connection {
            self.close_because(connection, CloseReason::Expired);
        }
        true
    }

    /// Closes a connection without a word, as a server does whose session has moved elsewhere.
    pub fn close_connection(&mut self, connection: ConnectionId) {
        self.close_because(connection, CloseReason::Fault);
    }

    /// Applies the `n`th write from now on, then closes its connection without an answer: the
    /// client cannot know what became of it. 1 is the next one. Writes are create and its kin,
    /// delete, setData, setACL and multi. Several such faults count side by side.
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

/// Assertions.
impl Server {
    /// How the server is set.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// All sessions that are alive, by id.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |(id, session): (i64, &crate::sessions::Session)| SessionInfo {
            id,
            timeout: session.timeout,
            connection: session.connection,
            ephemerals: self.tree.ephemerals(id).map(str::to_owned).collect(),
        };
        self.sessions.iter().map(info).collect()
    }

    /// A node, whatever its access control list says.
    pub fn node(&self, path: &str) -> Option<NodeInfo> {
        let node = self.tree.get(path)?;
        Some(NodeInfo {
            data: node.data.clone(),
            stat: node.stat(),
            acl: node.acl.to_vec(),
            children: node.children.iter().map(|name| name.to_string()).collect(),
        })
    }

    /// Whether there is such a node.
    pub fn node_exists(&self, path: &str) -> bool {
        self.tree.get(path).is_some()
    }

    /// How many nodes there are, the four reserved ones included.
    pub fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// The last transaction.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// How many watches are set. A persistent one counts twice: it watches data and children. So
    /// does a recursive one, except where [all kinds stand side by
    /// side](ServerConfig::watches_side_by_side).
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// How many requests have been received, pings and refused ones included, handshakes not.
    pub fn requests_received(&self) -> u64 {
        self.requests_received
    }
}

/// One session of a [`Server`].
///
/// ```
/// let server = homing_testkit::Server::new(homing_testkit::ServerConfig::default());
/// assert_eq!(server.sessions(), []);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: i64,
    /// The time-out that its last handshake was granted.
    pub timeout: Duration,
    /// Who speaks for it, if anybody.
    pub connection: Option<ConnectionId>,
    /// The paths of its ephemeral nodes, sorted.
    pub ephemerals: Vec<String>,
}

/// One node of a [`Server`].
///
/// ```
/// let server = homing_testkit::Server::new(homing_testkit::ServerConfig::default());
/// let root = server.node("/").unwrap();
/// assert_eq!((root.children, root.stat.cversion), (vec!["zookeeper".to_owned()], -1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its data; null is kept apart from empty.
    pub data: Option<Bytes>,
    /// What clients are shown about it.
    pub stat: Stat,
    /// Its access control list, as it is in force.
    pub acl: Vec<Acl>,
    /// The names of its children, sorted.
    pub children: Vec<String>,
}

/// What the rest of the crate builds on.
impl Server {
    /// Takes the next transaction and carries it out. Its changes are still to be announced.
    pub(crate) fn transact<T>(
        &mut self,
        now: Now,
        asker: Asker<'_>,
        run: impl FnOnce(Transaction<'_>) -> T,
    ) -> T {
        let stamp = self.next_stamp(now);
        let nobody = Identities::nobody();
        let (caller, settings) = match asker {
            Asker::Here(connection, session) => {
                let identities = self.connections.get(&connection);
                let identities = identities.map_or(&nobody, |connection| &*connection.identities);
                let caller = Caller {
                    session,
                    identities,
                };
                (caller, self.settings())
            }
            Asker::Elsewhere(caller, rules) => (caller, rules.settings),
        };
        run(Transaction::new(&mut self.tree, caller, stamp, settings))
    }

    /// By which rules this server's clients write, for other servers to keep.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            settings: self.settings(),
            unknown_operations: self.config.unknown_operations.clone(),
            multi_keeps_operations: self.config.multi_keeps_operations,
            multi_holds_no_reads: self.config.multi_holds_no_reads,
            unreadable_writes_are_free: self.config.unreadable_writes_are_free,
        }
    }

    fn settings(&self) -> Settings {
        Settings::new(&self.config)
    }

    /// The next transaction without an asker: it removes nodes, and tells whoever watches.
    pub(crate) fn remove_nodes(&mut self, now: Now, paths: &[String]) {
        let stamp = self.next_stamp(now);
        let nobody = Identities::nobody();
        let caller = Caller {
            session: 0,
            identities: &nobody,
        };
        let mut transaction = Transaction::new(&mut self.tree, caller, stamp, Settings::default());
        paths.iter().for_each(|path| transaction.remove(path));
        let changes = transaction.commit();
        self.announce(&changes, None);
    }

    /// Takes a number for what turns out to be no transaction.
    pub(crate) fn waste_zxid(&mut self) {
        self.zxid_counter = self.zxid_counter.wrapping_add(1);
    }

    pub(crate) fn next_stamp(&mut self, now: Now) -> Stamp {
        self.waste_zxid();
        self.last_zxid = self.zxid_counter;
        Stamp {
            zxid: self.last_zxid,
            time_ms: now.unix_ms,
        }
    }

    /// Sends notifications of what a transaction has done, except to one connection.
    pub(crate) fn announce(&mut self, changes: &[Change], except: Option<ConnectionId>) {
        let Self {
            watches,
            connections,
            outputs,
            config,
            last_zxid,
            ..
        } = self;
        let may_know = |who, notice: &Notice<'_>| {
            !config.events_need_read
                || connections
                    .get(&who)
                    .is_some_and(|connection: &Connection| {
                        connection.identities.allowed(notice.acl, permission::READ)
                    })
        };
        let zxid = if config.events_tell_zxid {
            *last_zxid
        } else {
            -1
        };
        for change in changes {
            watches.trigger(change, |who, notice| {
                if Some(who) != except && may_know(who, notice) {
                    let frame = reply::notification(zxid, notice.kind, notice.path);
                    outputs.push(Output::Send(who, frame));
                }
            });
        }
    }

    pub(crate) fn notify(&mut self, connection: ConnectionId, kind: EventType, path: &str) {
        self.send(connection, reply::notification(-1, kind, path));
    }

    pub(crate) fn reply(&mut self, connection: ConnectionId, header: ReplyHeader, reply: Reply) {
        self.send_and_keep(connection, reply.finish(header));
    }

    /// The same, with the body even behind an error.
    pub(crate) fn reply_whole(
        &mut self,
        connection: ConnectionId,
        header: ReplyHeader,
        reply: Reply,
    ) {
        self.send_and_keep(connection, reply.finish_whole(header));
    }

    fn send_and_keep(&mut self, connection: ConnectionId, (frame, room): (Bytes, BytesMut)) {
        if room.capacity() > self.spare.capacity() {
            self.spare = room;
        }
        self.send(connection, frame);
    }

    /// A reply to be written behind those that were written before, in the same buffer.
    pub(crate) fn blank(&mut self) -> Reply {
        Reply::within(std::mem::take(&mut self.spare))
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        self.outputs.push(Output::Send(connection, frame));
    }

    /// So many replies of a connection are held back. Says whether that is another number than
    /// before.
    pub(crate) fn set_outstanding(&mut self, connection: ConnectionId, outstanding: usize) -> bool {
        let Some(known) = self.connections.get_mut(&connection) else {
            return false;
        };
        let before = std::mem::replace(&mut known.traffic.outstanding, outstanding);
        self.outstanding -= before;
        self.outstanding += outstanding;
        before != outstanding
    }

    /// Whether nothing is to be read from a connection at present.
    pub(crate) fn is_throttled(&self, connection: ConnectionId) -> bool {
        let has_any = |known: &Connection| known.traffic.outstanding > 0;
        let replica = self.replica.as_ref();
        self.has_too_much_to_answer()
            && (self.connections.get(&connection).is_some_and(has_any)
                || replica.is_some_and(|replica| replica.is_waiting(connection)))
    }

    /// Whether more requests are outstanding than are allowed.
    pub(crate) fn has_too_much_to_answer(&self) -> bool {
        self.outstanding() > self.config.outstanding_limit
    }

    /// How many requests were taken and not answered, on all connections.
    pub(crate) fn outstanding(&self) -> usize {
        let replica = self.replica.as_ref();
        self.outstanding + replica.map_or(0, |replica| replica.waiting_len())
    }

    /// Ends a session in one transaction. `None` if there was none; otherwise its connection,
    /// which the caller is to close.
    pub(crate) fn end_session(&mut self, now: Now, session: i64) -> Option<Option<ConnectionId>> {
        let ended = self.sessions.remove(session)?;
        if ended.is_local {
            // It had no nodes, and its end is no transaction.
            return Some(ended.connection);
        }
        let paths: Vec<_> = self.tree.ephemerals(session).map(str::to_owned).collect();
        self.remove_nodes(now, &paths);
        Some(ended.connection)
    }

    /// A connection has made its handshake.
    pub(crate) fn attach(&mut self, connection: ConnectionId, session: i64) {
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        if let Stage::Fresh(due) = known.stage {
            self.handshakes_due.remove(&(due, connection));
        }
        known.stage = Stage::Attached(session);
        if let Some(session) = self.sessions.get_mut(session) {
            session.connection = Some(connection);
        }
    }

    /// The handshake has come, and others are to answer it.
    pub(crate) fn stop_handshake_clock(&mut self, connection: ConnectionId) {
        if let Some(known) = self.connections.get_mut(&connection)
            && let Stage::Fresh(due) = std::mem::replace(&mut known.stage, Stage::Opening)
        {
            self.handshakes_due.remove(&(due, connection));
        }
    }

    /// Closes a connection, and says why where that is asked for.
    pub(crate) fn close_because(&mut self, connection: ConnectionId, why: CloseReason) {
        if self.forget(connection, why) {
            self.outputs.push(Output::Close(connection));
        }
    }

    fn note(&mut self, connection: ConnectionId, stage: Option<Stage>, kind: ConnectionEventKind) {
        self.journal.note(connection, stage, kind);
    }

    /// Drops all that belongs to a connection, and says whether it was there.
    pub(crate) fn forget(&mut self, connection: ConnectionId, why: CloseReason) -> bool {
        let Some(known) = self.connections.remove(&connection) else {
            return false;
        };
        let kind = ConnectionEventKind::Closed { why };
        self.note(connection, Some(known.stage), kind);
        self.watches.remove_connection(connection);
        if let Some(replica) = &mut self.replica {
            replica.forget(connection);
        }
        self.outstanding -= known.traffic.outstanding;
        match known.stage {
            Stage::Opening => {}
            Stage::Fresh(due) => {
                self.handshakes_due.remove(&(due, connection));
            }
            Stage::Attached(session) => {
                if let Some(session) = self.sessions.get_mut(session)
                    && session.connection == Some(connection)
                {
                    session.connection = None;
                }
            }
        }
        true
    }

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

    /// A frame or a word has arrived, which so many bytes were spent on.
    fn count_received(&mut self, now: Now, connection: ConnectionId, bytes: usize) {
        self.totals.count_received(bytes);
        if let Some(known) = self.connections.get_mut(&connection) {
            known.traffic.received += 1;
            known.traffic.heard = now;
        }
    }
}

#[cfg(test)]
impl ConnectionId {
    pub(crate) fn first() -> Self {
        Self(1)
    }
}
