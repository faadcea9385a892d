//! Several servers with one history, a leader, and what parts them.
//!
//! It is a replicated state machine. What changes the state gets its place in one history, at the
//! leader; each member applies it by itself when its lag has passed, and all come to the same
//! state, since a server's outputs depend on nothing but its inputs. What a member does by itself
//! (reads, watches, connections) is the same [`Server`] as one that stands alone.

mod election;
mod history;
mod member;
mod membership;
mod reconfig;
mod server_line;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{ErrorCode, op};

use crate::config::ServerConfig;
use crate::initial::{InitialTree, TreeError};
use crate::journal::CloseReason;
use crate::replica::{Deed, Errand, Role};
use crate::server::{ConnectionId, Now, Output, Server};
use crate::sessions::Sessions;

pub(crate) use membership::Membership;

use election::Reign;
use history::History;
use member::Member;
use membership::Part;

/// What becomes of proposals that a leader could not bring to a majority before it fell.
///
/// ```
/// assert_eq!(homing_testkit::Fate::default(), homing_testkit::Fate::Lost);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// They never happened.
    #[default]
    Lost,
    /// One of the others had them after all, and the next leader has them from it.
    Applied,
}

/// A ZooKeeper ensemble without sockets, clocks or threads.
///
/// Its members are [`Server`]s with one history between them. Each serves its own clients: reads
/// are answered at once with what the member knows, and may be stale; what changes the state goes
/// to the leader, gets its place in the history, and is applied by each member when its
/// [lag](Self::set_lag) has passed. The client is answered when its own member has come so far.
/// `sync` waits until the member has applied everything that there was when it was asked; at the
/// leader, as at a real one, it waits for nothing.
///
/// It is driven as a [`Server`] is: inputs that name the member, then
/// [`poll_output`](Self::poll_output) until there is nothing, then
/// [`poll_timeout`](Self::poll_timeout). Members are counted from 0; the server id of the first
/// is 1. Methods that are given a member which is not there do nothing.
///
/// At first all members run, reach each other, and follow the last one, in epoch 1. Who the
/// members are can change while it runs, if they are [set](ServerConfig::reconfig_enabled) so: a
/// client that may asks for it, as at a real ensemble, and is told what a real one tells. A server
/// that leaves goes on following and serving, without a vote, until it is stopped; one that is to
/// join is [started](Self::add_server) before. Whoever gets a vote, or loses it to
/// [observe](Self::with_observers), drops its clients and comes back at once. A leader that has
/// no vote among the new members falls, and the first of those that have one is elected; what a
/// follower was asked for it has then done and not answered.
///
/// ```
/// use homing_testkit::{Ensemble, Now, ServerConfig};
/// use std::time::{Duration, Instant};
///
/// let now = Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
/// let mut ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
/// assert_eq!((ensemble.leader(), ensemble.epoch()), (Some(2), 1));
///
/// ensemble.set_election_time(Duration::from_millis(200));
/// ensemble.stop(now, 2);
/// assert_eq!(ensemble.leader(), None);
/// ensemble.handle_timeout(now.after(Duration::from_millis(200)));
/// assert_eq!((ensemble.leader(), ensemble.epoch()), (Some(1), 2));
/// ```
#[derive(Debug)]
pub struct Ensemble {
    /// Members, and servers that are none any more or not yet.
    members: Vec<Member>,
    /// How many of them have a vote at first.
    voters: usize,
    /// Who the members are, as the leader knows it.
    membership: Arc<Membership>,
    /// The leader has no place among new members, and falls when it has told of them.
    abdicates: bool,
    history: History,
    /// The sessions of all members, as the leader keeps them: it alone lets them expire.
    sessions: Sessions,
    /// The member where each session is.
    owners: BTreeMap<i64, usize>,
    epoch: u32,
    reign: Reign,
    /// Whose the proposals are that no majority has: the last leader's.
    author: Option<usize>,
    election_time: Duration,
    sync_limit: Duration,
    may_be_stale: bool,
    fate: Fate,
    /// There has been an input.
    has_begun: bool,
}

/// Inputs.
impl Ensemble {
    /// An ensemble with a member for each configuration, all of them empty. They should be the
    /// same but for what clients are granted: each write follows the rules of the member where it
    /// is asked for.
    ///
    /// [`ServerConfig::server_id`], [`ServerConfig::first_zxid`] and [`ServerConfig::ensemble`]
    /// are not looked at.
    pub fn new(members: Vec<ServerConfig>) -> Self {
        Self::with_observers(members, Vec::new())
    }

    /// The same, and behind those members others that have no vote: observers follow the leader,
    /// serve reads, and hand writes over to it, and neither elect nor are counted.
    ///
    /// ```
    /// use homing_testkit::{Ensemble, ServerConfig};
    /// let [voters, observers] = [3, 2].map(|count| vec![ServerConfig::default(); count]);
    /// let ensemble = Ensemble::with_observers(voters, observers);
    /// assert_eq!((ensemble.len(), ensemble.leader()), (5, Some(2)));
    /// ```
    pub fn with_observers(voters: Vec<ServerConfig>, observers: Vec<ServerConfig>) -> Self {
        let tick = voters.first().map(|config| config.tick_time);
        let voters_len = voters.len();
        let leader = voters_len.saturating_sub(1);
        let member = |(index, mut config): (usize, ServerConfig)| {
            let id = u8::try_from(index + 1).unwrap_or(u8::MAX);
            (config.server_id, config.first_zxid) = (id, 0);
            let mut server = Server::new(config);
            server.join(Role::Following);
            Member::new(index, server, SocketAddr::from(([10, 0, 0, id], 2181)))
        };
        let members = voters.into_iter().chain(observers).enumerate();
        let mut members: Vec<_> = members.map(member).collect();
        if let Some(leader) = members.get_mut(leader) {
            leader.server.set_role(Role::Leading);
            leader
                .server
                .set_last_zxid(election::first_zxid(FIRST_EPOCH));
        }
        for observer in members.iter_mut().skip(voters_len) {
            observer.part = Part::Observes;
            observer.server.set_role(Role::Observing);
        }
        let addresses = members.iter().map(|member| member.address);
        Self {
            voters: voters_len,
            membership: Arc::new(Membership::of(voters_len, addresses)),
            abdicates: false,
            members,
            history: History::new(election::first_zxid(FIRST_EPOCH)),
            sessions: Sessions::new(tick.unwrap_or_default()),
            owners: BTreeMap::new(),
            epoch: FIRST_EPOCH,
            reign: Reign::Of(leader),
            author: Some(leader),
            election_time: ELECTION_TIME,
            sync_limit: Duration::ZERO,
            may_be_stale: false,
            fate: Fate::default(),
            has_begun: false,
        }
    }

    /// Gives all members the same nodes, in one transaction; see [`Server::load`]. To be called
    /// before there is any client.
    ///
    /// ```
    /// use homing_testkit::{Ensemble, InitialTree, Now, ServerConfig};
    /// # let now = Now { instant: std::time::Instant::now(), unix_ms: 0 };
    /// let mut ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
    /// ensemble.load(now, &InitialTree::new().node("/app/config", "v1"))?;
    /// assert!(ensemble.server(0).is_some_and(|server| server.node_exists("/app/config")));
    /// # Ok::<(), homing_testkit::TreeError>(())
    /// ```
    ///
    /// # Errors
    /// One of the nodes cannot be made; then no member has any of them.
    pub fn load(&mut self, now: Now, tree: &InitialTree) -> Result<(), TreeError> {
        self.begin(now);
        if tree.nodes().next().is_none() {
            return Ok(());
        }
        let mut zxid = self.history.last_zxid();
        for member in &mut self.members {
            let before = member.server.last_zxid();
            member.server.set_last_zxid(self.history.last_zxid());
            // They are all alike: what the first one takes, the others do.
            if let Err(error) = member.server.load(now, tree) {
                member.server.set_last_zxid(before);
                return Err(error);
            }
            zxid = member.server.last_zxid();
        }
        self.history.count_from(zxid);
        Ok(())
    }

    /// A connection to a member has been made. A member that is stopped closes it at once.
    pub fn accept(&mut self, now: Now, member: usize, peer: IpAddr) -> Option<ConnectionId> {
        self.begin(now);
        let member = self.members.get_mut(member)?;
        let id = member.server.accept(now, peer);
        if !member.is_running {
            member.server.close_because(id, CloseReason::NoQuorum);
        }
        Some(id)
    }

    /// Bytes have arrived at a member; see [`Server::handle_bytes`].
    pub fn handle_bytes(
        &mut self,
        now: Now,
        member: usize,
        connection: ConnectionId,
        input: &mut BytesMut,
    ) {
        self.begin(now);
        if let Some(server) = self.server(member) {
            server.handle_bytes(now, connection, input);
        }
        self.settle(now);
    }

    /// A client of a member is gone. Its session goes on without it until it expires.
    pub fn handle_disconnected(&mut self, now: Now, member: usize, connection: ConnectionId) {
        self.begin(now);
        if let Some(server) = self.server(member) {
            server.handle_disconnected(now, connection);
        }
        self.settle(now);
    }

    /// Time has passed: members learn of what has been decided, sessions expire, nodes are
    /// reaped, leaders fall and are elected.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin(now);
        for member in self.members.iter_mut().filter(|member| member.is_running) {
            member.server.handle_timeout(now);
        }
        self.settle(now);
    }
}

/// Outputs and time.
impl Ensemble {
    /// What is to be done next and by which member; `None` until there has been another input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<(usize, Output)> {
        let mut members = self.members.iter_mut().enumerate();
        members.find_map(|(index, member)| Some((index, member.server.poll_output()?)))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while there is nothing to
    /// wait for. Every input may change the answer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let running = self.members.iter().filter(|member| member.is_running);
        let servers = running.filter_map(|member| member.server.poll_timeout());
        let lags = self
            .members
            .iter()
            .filter_map(|member| self.next_due(member));
        let expiry = self.sessions.next_expiry().filter(|_| self.can_commit());
        servers
            .chain(lags)
            .chain(expiry)
            .chain(self.next_turning_point())
            .min()
    }
}

/// What all members are set to.
impl Ensemble {
    /// How far a member is behind: it applies what a majority has decided so much later. Nothing
    /// at first. A leader is never behind, whatever its lag. With [`Duration::MAX`] it learns
    /// nothing more until it is set again.
    pub fn set_lag(&mut self, now: Now, member: usize, lag: Duration) {
        self.begin(now);
        if let Some(member) = self.members.get_mut(member) {
            member.lag = lag;
        }
        self.settle(now);
    }

    /// How long it takes until there is a leader again, once there is a majority to elect it.
    /// 100 ms. Nobody is served meanwhile. An election that has begun takes as long as it was to
    /// take then; with [`Duration::MAX`] it takes until this is set again.
    pub fn set_election_time(&mut self, time: Duration) {
        self.election_time = time;
    }

    /// How long members go on that have lost touch, before they notice (`syncLimit`). Until then
    /// a follower serves what it knows, and a leader takes proposals that it cannot bring to a
    /// majority. Zero, the default, is at once. A member that is stopped is missed at once.
    pub fn set_sync_limit(&mut self, limit: Duration) {
        self.sync_limit = limit;
    }

    /// Whether a member that comes back takes clients before it has caught up. Off: as a real
    /// one it learns what there was first, for which it takes its lag.
    pub fn set_serves_stale(&mut self, stale: bool) {
        self.may_be_stale = stale;
    }

    /// What becomes of proposals of a leader that falls before a majority has them, where
    /// somebody else is elected. If it is elected again itself, they are applied.
    pub fn set_fate(&mut self, fate: Fate) {
        self.fate = fate;
    }
}

/// Assertions.
impl Ensemble {
    /// How many members there are, whether they run or not, and servers that are none.
    #[allow(
        clippy::len_without_is_empty,
        reason = "nobody starts an ensemble of nobody"
    )]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The member that leads; `None` while there is none. A leader that is cut off counts until
    /// it notices.
    pub fn leader(&self) -> Option<usize> {
        match self.reign {
            Reign::Of(leader) if leader < self.members.len() => Some(leader),
            // Of nobody, nobody can lead.
            Reign::Of(_) | Reign::Vacant { .. } => None,
        }
    }

    /// How many leaders there were, the present one included: the upper 32 bits of transaction
    /// numbers.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether a member runs, be it in touch with the others or not.
    pub fn is_running(&self, member: usize) -> bool {
        let member = self.members.get(member);
        member.is_some_and(|member| member.is_running)
    }

    /// Whether a member takes requests: it leads, follows, or is read-only.
    pub fn is_serving(&self, member: usize) -> bool {
        let member = self.members.get(member);
        member.is_some_and(|member| member.is_running && member.server.is_serving())
    }

    /// How many proposals a leader holds that no majority has.
    pub fn uncommitted(&self) -> usize {
        self.history.uncommitted()
    }

    /// How many transactions a member has still to apply.
    pub fn behind(&self, member: usize) -> u64 {
        let applied = self.members.get(member).map(|member| member.applied);
        applied.map_or(0, |applied| {
            self.history.committed().saturating_sub(applied)
        })
    }

    /// The member where a session is, if there is such a session.
    pub fn home(&self, session: i64) -> Option<usize> {
        self.owners.get(&session).copied()
    }

    /// A member's server, to look at it or to arrange one of its faults. Bytes are to go through
    /// the ensemble.
    pub fn server(&mut self, member: usize) -> Option<&mut Server> {
        Some(&mut self.members.get_mut(member)?.server)
    }
}

/// The leader's part.
impl Ensemble {
    /// Ends a session as if its time were over. Says whether there was such a session; without a
    /// majority it is not ended, whoever it was.
    pub fn expire_session(&mut self, now: Now, session: i64) -> bool {
        self.begin(now);
        self.settle(now);
        let is_known = self.can_commit() && self.sessions.get(session).is_some();
        if is_known {
            self.propose(now, None, Deed::End { session, xid: 0 });
            self.settle(now);
        }
        is_known
    }

    /// The same of a member that is there.
    #[allow(
        clippy::expect_used,
        reason = "handles are made for members that are there"
    )]
    pub(crate) fn member(&self, member: usize) -> &Server {
        let member = self.members.get(member);
        &member.expect("there is such a member").server
    }

    /// The same, to be changed.
    #[allow(
        clippy::expect_used,
        reason = "handles are made for members that are there"
    )]
    pub(crate) fn member_mut(&mut self, member: usize) -> &mut Server {
        self.server(member).expect("there is such a member")
    }

    /// Does everything that can be done now.
    pub(crate) fn settle(&mut self, now: Now) {
        self.begin(now);
        self.go_on(now);
        while std::mem::take(&mut self.abdicates) {
            self.fall(self.successor());
            self.go_on(now);
        }
        let applied = self.members.iter().map(|member| member.applied);
        self.history.forget_before(applied.min().unwrap_or(0));
    }

    fn go_on(&mut self, now: Now) {
        self.regard(now);
        while self.can_commit()
            && let Some(session) = self.sessions.expired(now.instant)
        {
            self.propose(now, None, Deed::End { session, xid: 0 });
        }
        // What is applied may let requests through that waited for it.
        while self.run_errands(now) | self.apply_due(now) {}
    }

    /// The first input sets the clocks.
    fn begin(&mut self, now: Now) {
        if !std::mem::replace(&mut self.has_begun, true) {
            // Its ids are never used.
            self.sessions.begin(now, 0);
            let members = self.members.iter_mut();
            members.for_each(|member| member.server.begin(now));
            self.publish(now);
        }
    }

    fn run_errands(&mut self, now: Now) -> bool {
        let mut any = false;
        for index in 0..self.members.len() {
            while self.reaches_leader(index)
                && let Some(errand) = self.server(index).and_then(Server::poll_errand)
            {
                self.run_errand(now, index, errand);
                any = true;
            }
        }
        any
    }

    fn run_errand(&mut self, now: Now, index: usize, errand: Errand) {
        match errand {
            Errand::Propose(connection, deed) => {
                let origin = connection.map(|connection| (index, connection));
                self.propose(now, origin, deed);
            }
            Errand::Sync(connection) => {
                // What is still uncertain counts: the client may have asked for it itself.
                let end = self.history.end();
                if let Some(member) = self.members.get_mut(index) {
                    member.sync(now, end, connection);
                }
            }
            Errand::Return(connection, greeting) => {
                let session = greeting.session;
                let is_valid = self.take_over(now, index, session, greeting.timeout);
                if let Some(server) = self.server(index) {
                    server.finish_return(now, connection, greeting, is_valid);
                }
            }
            Errand::Touch(session, timeout) => self.sessions.touch(session, now.instant, timeout),
        }
    }

    /// A session is at another member, or at the same one again.
    fn take_over(&mut self, now: Now, index: usize, session: i64, timeout: Duration) -> bool {
        if self.sessions.get(session).is_none() {
            return false;
        }
        self.sessions.touch(session, now.instant, timeout);
        let former = self.owners.insert(session, index);
        if former == self.leader()
            && let Some(former) = former.filter(|former| *former != index)
            && let Some(server) = self.server(former)
        {
            server.leave_behind(session);
        }
        true
    }

    /// Puts something into the history, and with a majority that makes it certain.
    fn propose(&mut self, now: Now, origin: Option<(usize, ConnectionId)>, deed: Deed) {
        let deed = self.judge(now, origin, deed);
        self.history.propose(now, deed, origin);
        self.commit(now);
    }

    /// What the leader notes of a proposal, and what it makes of one that it does not accept.
    fn judge(&mut self, now: Now, origin: Option<(usize, ConnectionId)>, deed: Deed) -> Deed {
        match &deed {
            Deed::Begin(greeting) => {
                let (session, timeout) = (greeting.session, greeting.timeout);
                self.sessions.insert(now.instant, session, timeout, None);
                if let Some((member, _)) = origin {
                    self.owners.insert(session, member);
                }
            }
            Deed::Again {
                session,
                timeout_ms,
                ..
            } => {
                let sessions = &mut self.sessions;
                sessions.begin_again(now.instant, *session, *timeout_ms);
            }
            Deed::End { session, .. } => {
                self.sessions.remove(*session);
                self.owners.remove(session);
            }
            Deed::Write(write) => {
                let member = origin.map(|(member, _)| member);
                if write.op == op::RECONFIG {
                    return self.judge_reconfig(now, write, member);
                }
                if let Err(error) = self.check_session(write.session, member) {
                    let xid = write.xid;
                    return Deed::Refuse { xid, error };
                }
            }
            Deed::Refuse { .. } | Deed::Reap(_) | Deed::Reconfig { .. } => {}
        }
        deed
    }

    /// Whether a session may write from here. After an election it is wherever it writes first.
    fn check_session(&mut self, session: i64, member: Option<usize>) -> Result<(), ErrorCode> {
        if self.sessions.get(session).is_none() {
            return Err(ErrorCode::SessionExpired);
        }
        let Some(member) = member else { return Ok(()) };
        match *self.owners.entry(session).or_insert(member) {
            owner if owner == member => Ok(()),
            _ => Err(ErrorCode::SessionMoved),
        }
    }

    /// Lets members apply what they may know by now.
    fn apply_due(&mut self, now: Now) -> bool {
        let mut any = false;
        for index in 0..self.members.len() {
            let is_in_touch = self.is_in_touch(index);
            let is_left = self.abdicates && self.leader() != Some(index);
            let Self {
                members, history, ..
            } = self;
            let Some(member) = members.get_mut(index).filter(|_| is_in_touch) else {
                continue;
            };
            while let Some(entry) = history.get(member.applied)
                && member.due(entry).is_some_and(|due| due <= now.instant)
            {
                any = true;
                if is_left && entry.deed.members().is_some() {
                    // It hangs up with all the others.
                    member.apply_in_silence(now, entry);
                } else if member.turns_with(entry) {
                    member.apply_in_silence(now, entry);
                    member.step_down();
                    member.follow(now, history, self.may_be_stale);
                } else {
                    member.apply(now, entry);
                }
            }
        }
        any
    }

    /// When a member learns of the next thing.
    fn next_due(&self, member: &Member) -> Option<Instant> {
        let entry = self.history.get(member.applied)?;
        member.due(entry).filter(|_| self.is_taught(member))
    }
}

/// The epoch of the first leader.
const FIRST_EPOCH: u32 = 1;

/// Short, since tests wait for it, and long enough that clients are turned away meanwhile.
const ELECTION_TIME: Duration = Duration::from_millis(100);
