//! A server as a member of an ensemble: what it hands over to the leader, what it does when the
//! history tells it to, and how its clients wait in between.
//!
//! A request that changes the state leaves its member when it arrives, whatever is still ahead of
//! it on its connection, and is answered when the member has come to it in the history. What
//! stands behind it on the connection waits, so that replies keep their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{ErrorCode, Reader, RequestHeader, incoming, op};

use crate::acl::Identities;
use crate::cuts::Cut;
use crate::ensemble::Membership;
use crate::handshake::Greeting;
use crate::journal::CloseReason;
use crate::operation::{DELETE_CONTAINER, is_read, needs_leader};
use crate::processor::{Outcome, malformed};
use crate::reply::Reply;
use crate::server::{Asker, ConnectionId, Now, Rules, Server, Stage};
use crate::transaction::Caller;

/// What a member is to its ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Leading,
    Following,
    /// It follows, and has no vote.
    Observing,
    /// It has no leader, and takes no requests.
    Looking,
}

/// What a server has that is a member of an ensemble.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) role: Role,
    /// What is for the leader.
    errands: VecDeque<Errand>,
    /// And the sessions that were heard of since it was told of any, with the time-outs of the
    /// connections that spoke for them last.
    heard: BTreeMap<i64, Duration>,
    /// What connections wait for, in the order in which it is to be answered.
    waiting: BTreeMap<ConnectionId, VecDeque<Waiting>>,
    /// How many of them there are in all lines.
    waiting_len: usize,
    /// Connections whose sessions are the leader's no more: another member has them.
    left_behind: BTreeSet<ConnectionId>,
}

/// What a member asks of the leader.
#[derive(Debug)]
pub(crate) enum Errand {
    /// To put something into the history. The connection is the one that waits for it.
    Propose(Option<ConnectionId>, Deed),
    /// To say when everything has arrived that is there now.
    Sync(ConnectionId),
    /// To say whether there is such a session, which is this member's from now on.
    Return(ConnectionId, Greeting),
    /// To note that a session was heard of, by a connection with this time-out.
    Touch(i64, Duration),
}

/// What the history consists of. Each takes one transaction number.
#[derive(Debug)]
pub(crate) enum Deed {
    /// A session begins.
    Begin(Greeting),
    /// A session begins that has begun already.
    Again {
        session: i64,
        xid: i32,
        timeout_ms: i32,
    },
    /// A session ends, by itself or by its time.
    End { session: i64, xid: i32 },
    /// A client writes.
    Write(Box<Write>),
    /// Others are the members.
    Reconfig { xid: i32, members: Arc<Membership> },
    /// A write that was refused before it was looked at.
    Refuse { xid: i32, error: ErrorCode },
    /// A node is reaped, if it still can be.
    Reap(String),
}

/// A write with everything that its outcome depends on.
pub(crate) struct Write {
    pub(crate) session: i64,
    pub(crate) identities: Arc<Identities>,
    rules: Rules,
    pub(crate) xid: i32,
    pub(crate) op: i32,
    /// The whole request, its header included.
    pub(crate) frame: Bytes,
}

enum Waiting {
    /// Something is on its way through the history, or to the leader and back.
    History {
        /// Its answer is to be lost.
        cut: bool,
    },
    Sync(Bytes),
    /// It can be answered when everything before it has been, to whoever the client was when it
    /// asked.
    Request(Bytes, Arc<Identities>),
    /// It has not been looked at, since the handshake is not yet answered.
    Unread(Bytes),
}

impl Deed {
    /// Who are the members with this.
    pub(crate) fn members(&self) -> Option<&Arc<Membership>> {
        match self {
            Self::Reconfig { members, .. } => Some(members),
            _ => None,
        }
    }
}

/// Without the request.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("session", &self.session)
            .field("xid", &self.xid)
            .finish_non_exhaustive()
    }
}

/// Without the frames: there may be a password in one that was not looked at.
impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::History { .. } => "History",
            Self::Sync(_) => "Sync",
            Self::Request(..) => "Request",
            Self::Unread(_) => "Unread",
        })
    }
}

impl Replica {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            errands: VecDeque::new(),
            heard: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_len: 0,
            left_behind: BTreeSet::new(),
        }
    }

    /// Drops all that belongs to a connection. What it has asked of the leader stays asked.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.take_line(connection);
        self.left_behind.remove(&connection);
    }

    /// How many requests wait, on all connections.
    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting_len
    }

    pub(crate) fn is_waiting(&self, connection: ConnectionId) -> bool {
        self.waiting.contains_key(&connection)
    }

    fn wait(&mut self, connection: ConnectionId, for_what: Waiting) {
        let line = self.waiting.entry(connection).or_default();
        line.push_back(for_what);
        self.waiting_len += 1;
    }

    fn take_line(&mut self, connection: ConnectionId) -> VecDeque<Waiting> {
        let line = self.waiting.remove(&connection).unwrap_or_default();
        self.waiting_len -= line.len();
        line
    }

    fn head(&self, connection: ConnectionId) -> Option<&Waiting> {
        self.waiting.get(&connection)?.front()
    }

    /// No line is empty.
    fn pop(&mut self, connection: ConnectionId) -> Option<Waiting> {
        let line = self.waiting.get_mut(&connection)?;
        let head = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&connection);
        }
        self.waiting_len -= 1;
        Some(head)
    }
}

/// What goes to the leader.
impl Server {
    /// Makes it a member of an ensemble.
    pub(crate) fn join(&mut self, role: Role) {
        self.replica = Some(Box::new(Replica::new(role)));
    }

    /// Whether there is somebody else to ask, as there is for all sessions but those that only
    /// this member knows.
    pub(crate) fn has_leader(&self, session: i64) -> bool {
        self.replica.is_some() && !self.sessions.is_local(session)
    }

    /// Whether a request goes to the leader. To a leader a sync is a read, even with proposals that
    /// no majority has: it knows of nobody who could have more.
    pub(crate) fn is_proposed(&self, session: i64, op: i32) -> bool {
        self.has_leader(session) && needs_leader(op) && !self.is_own_sync(op)
    }

    fn is_own_sync(&self, op: i32) -> bool {
        op == op::SYNC && self.role() == Some(Role::Leading)
    }

    /// What it is to its ensemble, if it has one.
    pub(crate) fn role(&self) -> Option<Role> {
        self.replica.as_ref().map(|replica| replica.role)
    }

    pub(crate) fn set_role(&mut self, role: Role) {
        if let Some(replica) = &mut self.replica {
            replica.role = role;
        }
    }

    /// Whether it takes part in anything at all.
    pub(crate) fn is_serving(&self) -> bool {
        self.is_read_only || self.role() != Some(Role::Looking)
    }

    pub(crate) fn poll_errand(&mut self) -> Option<Errand> {
        let replica = self.replica.as_mut()?;
        let errand = replica.errands.pop_front();
        errand.or_else(|| {
            let (session, timeout) = replica.heard.pop_first()?;
            Some(Errand::Touch(session, timeout))
        })
    }

    /// All connections are closed, and what they have asked of a leader is forgotten.
    pub(crate) fn drop_clients(&mut self) {
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for connection in connections {
            self.close_because(connection, CloseReason::QuorumChanged);
        }
        if let Some(replica) = &mut self.replica {
            replica.errands.clear();
            replica.heard.clear();
        }
    }

    fn ask_leader(&mut self, errand: Errand) {
        if let Some(replica) = &mut self.replica {
            replica.errands.push_back(errand);
        }
    }

    /// Notes that a session was heard of, here and at the leader. What counts is what this
    /// connection was granted, also if the session has been elsewhere since.
    pub(crate) fn touch(&mut self, now: Now, connection: ConnectionId, session: i64) {
        let Some(timeout) = self.connections.get(&connection).map(|it| it.timeout) else {
            return;
        };
        self.hear(now, session, timeout);
    }

    fn hear(&mut self, now: Now, session: i64, timeout: Duration) {
        self.sessions.touch(session, now.instant, timeout);
        if let Some(replica) = &mut self.replica {
            // Once is enough, however much arrives while there is nobody to be told.
            replica.heard.insert(session, timeout);
        }
    }

    pub(crate) fn propose_session(&mut self, connection: ConnectionId, greeting: Greeting) {
        let deed = Deed::Begin(greeting);
        self.open(connection, Errand::Propose(Some(connection), deed));
    }

    pub(crate) fn propose_return(&mut self, connection: ConnectionId, greeting: Greeting) {
        self.open(connection, Errand::Return(connection, greeting));
    }

    pub(crate) fn propose_reaping(&mut self, path: String) {
        self.ask_leader(Errand::Propose(None, Deed::Reap(path)));
    }

    /// Says whether there is such a session, as far as this member knows.
    pub(crate) fn propose_expiry(&mut self, session: i64) -> bool {
        let is_known = self.sessions.get(session).is_some();
        if is_known {
            let deed = Deed::End { session, xid: 0 };
            self.ask_leader(Errand::Propose(None, deed));
        }
        is_known
    }

    /// The handshake is answered by others.
    fn open(&mut self, connection: ConnectionId, errand: Errand) {
        self.stop_handshake_clock(connection);
        if let Some(replica) = &mut self.replica {
            replica.wait(connection, Waiting::History { cut: false });
            replica.errands.push_back(errand);
        }
    }

    /// A frame that arrived before the handshake was answered.
    pub(crate) fn hold_back(&mut self, connection: ConnectionId, frame: Bytes) {
        if let Some(replica) = &mut self.replica {
            replica.wait(connection, Waiting::Unread(frame));
        }
    }

    /// Whether a request may be looked at now. Otherwise it waits in its connection's line, or
    /// has cost the connection.
    pub(crate) fn may_pass(&mut self, connection: ConnectionId, op: i32, frame: &Bytes) -> bool {
        let Some(replica) = &mut self.replica else {
            return true;
        };
        if replica.left_behind.contains(&connection) {
            // The error is the connection's, and is not told.
            self.close_because(connection, CloseReason::Superseded);
            return false;
        }
        if !replica.is_waiting(connection) || !self.is_to_wait(connection, op, frame) {
            return true;
        }
        if let Some(known) = self.connections.get(&connection) {
            let identities = Arc::clone(&known.identities);
            self.wait(connection, Waiting::Request(frame.clone(), identities));
        }
        false
    }

    /// Whether a request has its place in its connection's line. Identities have none, nor has
    /// what is no request at all, or comes from somebody who has no say; and what is for all
    /// leaves at once, as does what takes no more than a number: otherwise the answers to writes
    /// behind it would overtake its own.
    fn is_to_wait(&self, connection: ConnectionId, op: i32, frame: &Bytes) -> bool {
        let mut body = Reader::new(frame);
        (is_local(op) || self.is_own_sync(op))
            && !self.config.unknown_operations.contains(&op)
            && self.is_authenticated(connection)
            && RequestHeader::read(&mut body).is_ok()
            && self.stumbles(op, body).is_none()
    }

    /// Hands a request over to the leader.
    pub(crate) fn propose(
        &mut self,
        connection: ConnectionId,
        session: i64,
        header: RequestHeader,
        frame: &Bytes,
    ) {
        let RequestHeader { xid, op } = header;
        if op == op::SYNC {
            self.ask_leader(Errand::Sync(connection));
            return self.wait(connection, Waiting::Sync(frame.clone()));
        }
        let (deed, cut) = match op {
            op::CLOSE_SESSION => (Deed::End { session, xid }, None),
            _ => {
                let Some(known) = self.connections.get(&connection) else {
                    return;
                };
                let write = Write {
                    session,
                    identities: Arc::clone(&known.identities),
                    rules: self.rules(),
                    xid,
                    op,
                    frame: frame.clone(),
                };
                (Deed::Write(Box::new(write)), self.cuts.next())
            }
        };
        if cut == Some(Cut::Before) {
            return self.close_because(connection, CloseReason::Fault);
        }
        let cut = cut == Some(Cut::After);
        self.wait(connection, Waiting::History { cut });
        self.ask_leader(Errand::Propose(Some(connection), deed));
    }

    /// Answers with an error that takes its place in the history.
    pub(crate) fn propose_refusal(&mut self, connection: ConnectionId, xid: i32, error: ErrorCode) {
        self.wait(connection, Waiting::History { cut: false });
        let deed = Deed::Refuse { xid, error };
        self.ask_leader(Errand::Propose(Some(connection), deed));
    }

    /// Begins a session once more, everywhere.
    pub(crate) fn propose_again(
        &mut self,
        connection: ConnectionId,
        session: i64,
        xid: i32,
        timeout_ms: i32,
    ) {
        self.wait(connection, Waiting::History { cut: false });
        let deed = Deed::Again {
            session,
            xid,
            timeout_ms,
        };
        self.ask_leader(Errand::Propose(Some(connection), deed));
    }

    fn wait(&mut self, connection: ConnectionId, for_what: Waiting) {
        if let Some(replica) = &mut self.replica {
            replica.wait(connection, for_what);
        }
    }
}

/// What comes back.
impl Server {
    /// Does what the history says, and answers the connection that has waited for it, if there is
    /// one here.
    pub(crate) fn apply(&mut self, now: Now, zxid: i64, deed: &Deed, asker: Option<ConnectionId>) {
        let asker = asker.filter(|asker| self.connections.contains_key(asker));
        self.zxid_counter = zxid.wrapping_sub(1);
        let lost = asker.is_some_and(|asker| self.end_wait(asker));
        match deed {
            Deed::Begin(greeting) => {
                self.next_stamp(now);
                let Greeting {
                    session, timeout, ..
                } = *greeting;
                self.sessions.insert(now.instant, session, timeout, None);
                match asker {
                    Some(asker) => self.admit(now, asker, *greeting),
                    None => self.meet_again(now, session),
                }
            }
            Deed::Again {
                session,
                xid,
                timeout_ms,
            } => {
                self.next_stamp(now);
                let sessions = &mut self.sessions;
                sessions.begin_again(now.instant, *session, *timeout_ms);
                if let Some(asker) = asker {
                    self.confirm_again(asker, *xid);
                }
            }
            Deed::End { session, xid } => self.apply_end(now, *session, *xid, asker),
            Deed::Write(write) => self.apply_write(now, write, asker, lost),
            Deed::Reconfig { xid, members } => {
                let outcome = self.apply_reconfig(now, members);
                self.tell(asker, *xid, outcome, lost);
            }
            Deed::Refuse { xid, error } => {
                self.next_stamp(now);
                match asker {
                    // The error is the connection's, and is not told.
                    Some(asker) if lost || *error == ErrorCode::SessionMoved => {
                        let why = match lost {
                            true => CloseReason::Fault,
                            false => CloseReason::Superseded,
                        };
                        self.close_because(asker, why);
                    }
                    _ => self.tell(asker, *xid, Outcome::failure(*error), false),
                }
            }
            Deed::Reap(path) => self.apply_reaping(now, path),
        }
        if let Some(asker) = asker {
            self.go_on(now, asker);
        }
    }

    /// Everything has arrived that a sync has waited for.
    pub(crate) fn finish_sync(&mut self, now: Now, connection: ConnectionId) {
        let Some(replica) = &mut self.replica else {
            return;
        };
        if let Some(Waiting::Sync(_)) = replica.head(connection)
            && let Some(Waiting::Sync(frame)) = replica.pop(connection)
        {
            self.answer_sync(connection, &frame);
            self.go_on(now, connection);
        }
    }

    /// The leader knows the session, which is this member's now, or it does not.
    pub(crate) fn finish_return(
        &mut self,
        now: Now,
        connection: ConnectionId,
        greeting: Greeting,
        is_valid: bool,
    ) {
        if !self.connections.contains_key(&connection) {
            return;
        }
        self.end_wait(connection);
        if is_valid {
            self.hear(now, greeting.session, greeting.timeout);
            self.admit(now, connection, greeting);
        } else {
            self.turn_away(connection, greeting);
        }
    }

    /// A session has begun of which a connection may be here already: it came from another member,
    /// and has overtaken the history.
    fn meet_again(&mut self, now: Now, session: i64) {
        for connection in self.connections_of(session) {
            if let Some(timeout) = self.connections.get(&connection).map(|it| it.timeout) {
                self.sessions.touch(session, now.instant, timeout);
            }
            if let Some(session) = self.sessions.get_mut(session) {
                session.connection = Some(connection);
            }
        }
    }

    /// Another member has the session. Only the leader finds out by itself, with the next request;
    /// a follower hears of it from the history, when it is asked to write.
    pub(crate) fn leave_behind(&mut self, session: i64) {
        let connections = self.connections_of(session);
        if let Some(replica) = &mut self.replica {
            replica.left_behind.extend(connections);
        }
    }

    /// Closes all connections that speak for a session.
    pub(crate) fn close_others(&mut self, session: i64, why: CloseReason) {
        for connection in self.connections_of(session) {
            self.close_because(connection, why);
        }
    }

    /// The session may be unknown here still, so that nobody but the connections knows of them.
    fn connections_of(&self, session: i64) -> Vec<ConnectionId> {
        let speaks = |known: &crate::server::Connection| known.stage == Stage::Attached(session);
        let connections = self.connections.iter();
        connections
            .filter(|(_, known)| speaks(known))
            .map(|(connection, _)| *connection)
            .collect()
    }

    /// Takes a connection's wait for the history off its line, and says whether its answer is to
    /// be lost.
    fn end_wait(&mut self, connection: ConnectionId) -> bool {
        let Some(replica) = &mut self.replica else {
            return false;
        };
        match replica.head(connection) {
            Some(&Waiting::History { cut }) => {
                replica.pop(connection);
                cut
            }
            _ => false,
        }
    }

    /// Answers a handshake, and takes up what has arrived since.
    fn admit(&mut self, now: Now, connection: ConnectionId, greeting: Greeting) {
        self.welcome(connection, greeting);
        let replica = self.replica.as_mut();
        let unread = replica.map(|replica| replica.take_line(connection));
        for waiting in unread.into_iter().flatten() {
            if let Waiting::Unread(frame) = waiting
                && self.connections.contains_key(&connection)
            {
                self.process(now, connection, greeting.session, &frame);
            }
        }
    }

    /// Serves what has become the first in a connection's line.
    fn go_on(&mut self, now: Now, connection: ConnectionId) {
        while let Some(replica) = &mut self.replica
            && let Some(Waiting::Request(..)) = replica.head(connection)
            && let Some(Waiting::Request(frame, identities)) = replica.pop(connection)
        {
            let Some(known) = self.connections.get_mut(&connection) else {
                return;
            };
            let Stage::Attached(session) = known.stage else {
                return;
            };
            let newest = mem::replace(&mut known.identities, identities);
            self.serve(now, (connection, session), &frame);
            // No request that waits gives it another identity.
            if let Some(known) = self.connections.get_mut(&connection) {
                known.identities = newest;
            }
        }
    }

    fn apply_end(&mut self, now: Now, session: i64, xid: i32, asker: Option<ConnectionId>) {
        // The end of a connection overtakes what it would be told of the end of its session.
        let others = self.connections_of(session);
        for other in others.into_iter().filter(|other| Some(*other) != asker) {
            self.close_because(other, CloseReason::Expired);
        }
        if self.end_session(now, session).is_none() {
            self.next_stamp(now);
        }
        if let Some(asker) = asker {
            if !self.config.close_is_not_answered {
                self.answer(asker, xid, Ok(()), Reply::new());
            }
            self.close_because(asker, CloseReason::SessionClosed);
        }
    }

    fn apply_write(&mut self, now: Now, write: &Write, asker: Option<ConnectionId>, lost: bool) {
        let mut reader = Reader::new(&write.frame);
        let Ok(RequestHeader { xid, op }) = RequestHeader::read(&mut reader) else {
            return;
        };
        let caller = Caller {
            session: write.session,
            identities: &write.identities,
        };
        let by = Asker::Elsewhere(caller, &write.rules);
        let outcome = self.carry_out(now, by, op, reader);
        self.tell(asker, xid, outcome, lost);
    }

    /// What the leader found to be over may have changed before its turn came.
    fn apply_reaping(&mut self, now: Now, path: &str) {
        let node = self.tree.get(path);
        if node.is_some_and(|node| node.children.is_empty() && node.kind.is_reaped()) {
            self.remove_nodes(now, &[path.to_owned()]);
        } else {
            self.next_stamp(now);
        }
    }

    fn answer_sync(&mut self, connection: ConnectionId, frame: &Bytes) {
        let mut reader = Reader::new(frame);
        if let Ok(RequestHeader { xid, .. }) = RequestHeader::read(&mut reader) {
            let mut reply = Reply::new();
            let result = sync(&mut reader, &mut reply);
            self.answer(connection, xid, result, reply);
        }
    }
}

/// Answers with the path, null included.
pub(crate) fn sync(reader: &mut Reader<'_>, reply: &mut Reply) -> Result<(), ErrorCode> {
    match malformed(incoming::path(reader))? {
        Some(path) => reply.put_string(&path),
        None => reply.put_buffer(None),
    }
    Ok(())
}

/// What a member does by itself, when its turn has come.
fn is_local(op: i32) -> bool {
    is_read(op) || matches!(op, op::PING | op::RECONFIG | DELETE_CONTAINER)
}
