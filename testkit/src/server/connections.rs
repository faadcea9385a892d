//! What a server keeps of its connections, from their handshakes to their ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ConnectionId, Now, Output, Server};
use crate::acl::Identities;
use crate::handshake::Greeting;
use crate::journal::{CloseReason, ConnectionEventKind};
use crate::later::{AGES, later};
use crate::sasl::Exchange;
use crate::traffic::Traffic;

/// What the server keeps of a connection. All of it is lost with the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: IpAddr,
    /// Shared with the requests that wait, and with writes on their way.
    pub(crate) identities: Arc<Identities>,
    pub(crate) stage: Stage,
    /// What it was told in answer to its handshake.
    pub(crate) greeting: Option<Greeting>,
    /// There is TLS below it.
    pub(super) is_secure: bool,
    /// How many bytes of its handshake are there.
    pub(super) unread: usize,
    /// What its handshake was granted. Zero before that.
    pub(crate) timeout: Duration,
    pub(crate) sasl: Exchange,
    /// The server at this end of it has no quorum.
    pub(crate) is_read_only: bool,
    pub(crate) traffic: Traffic,
    /// How many bytes there are to be sent to it that nobody has fetched yet.
    pub(super) unfetched: usize,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The handshake must be there by then, or more of it; `None` for whenever it comes.
    Fresh(Option<Instant>),
    /// The other members of the ensemble are to say what becomes of its handshake.
    Opening,
    /// It speaks for this session.
    Attached(i64),
}

impl Server {
    /// A connection has made its handshake.
    pub(crate) fn attach(&mut self, connection: ConnectionId, greeting: Greeting) {
        self.stop_handshake_clock(connection);
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        let session = greeting.session;
        known.stage = Stage::Attached(session);
        known.timeout = greeting.timeout;
        known.greeting = Some(greeting);
        if let Some(session) = self.sessions.get_mut(session) {
            session.connection = Some(connection);
        }
    }

    /// The handshake has come, and others are to answer it.
    pub(crate) fn stop_handshake_clock(&mut self, connection: ConnectionId) {
        if let Some(known) = self.connections.get_mut(&connection)
            && let Stage::Fresh(Some(due)) = std::mem::replace(&mut known.stage, Stage::Opening)
        {
            self.handshakes_due.remove(&(due, connection));
        }
    }

    /// When a connection ends that was heard of now and has no session: connections expire as
    /// sessions do, in steps of the time that they are given, and late rather than early.
    pub(super) fn handshake_due(&self, now: Instant) -> Option<Instant> {
        let step = self.config.handshake_timeout;
        let step = step.clamp(Duration::from_millis(1), AGES);
        let origin = self.sessions.origin().unwrap_or(now);
        let steps = now.saturating_duration_since(origin).as_nanos() / step.as_nanos() + 2;
        let since = u64::try_from(step.as_nanos().saturating_mul(steps)).unwrap_or(u64::MAX);
        (!self.config.handshakes_may_wait).then(|| later(origin, Duration::from_nanos(since)))
    }

    /// So many bytes have arrived of a handshake. More than before begin its time anew; behind
    /// TLS there is none.
    pub(super) fn note_unread(&mut self, now: Instant, connection: ConnectionId, len: usize) {
        let due = self.handshake_due(now);
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        if std::mem::replace(&mut known.unread, len) < len && !known.is_secure {
            self.set_handshake_due(connection, due);
        }
    }

    fn set_handshake_due(&mut self, connection: ConnectionId, due: Option<Instant>) {
        if let Some(known) = self.connections.get_mut(&connection)
            && let Stage::Fresh(before) = &mut known.stage
        {
            if let Some(before) = std::mem::replace(before, due) {
                self.handshakes_due.remove(&(before, connection));
            }
            self.handshakes_due.extend(due.map(|due| (due, connection)));
        }
    }

    /// A connection begins with TLS, for which it has a time of its own that nothing prolongs.
    pub(crate) fn expect_tls(&mut self, now: Now, connection: ConnectionId) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.is_secure = true;
        }
        let due = later(now.instant, self.config.handshake_timeout);
        self.set_handshake_due(connection, Some(due));
    }

    /// It speaks TLS. What serves such connections waits for the handshake that comes next.
    pub(crate) fn handle_tls(&mut self, connection: ConnectionId) {
        self.set_handshake_due(connection, None);
    }

    /// A frame or a word has arrived, which so many bytes were spent on.
    pub(super) fn count_received(&mut self, now: Now, connection: ConnectionId, bytes: usize) {
        self.totals.count_received(bytes);
        if let Some(known) = self.connections.get_mut(&connection) {
            known.traffic.received += 1;
            known.traffic.heard = now;
        }
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

    /// Closes a connection, and says why where that is asked for.
    pub(crate) fn close_because(&mut self, connection: ConnectionId, why: CloseReason) {
        if self.forget(connection, why) {
            if matches!(why, CloseReason::BadFrame | CloseReason::BadRequest) {
                // That is found out before what came with it is answered.
                self.outputs.drop_sends(connection);
            }
            self.outputs.push(Output::Close(connection));
        }
    }

    pub(super) fn note(
        &mut self,
        connection: ConnectionId,
        stage: Option<Stage>,
        kind: ConnectionEventKind,
    ) {
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
            Stage::Opening | Stage::Fresh(None) => {}
            Stage::Fresh(Some(due)) => {
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
}
