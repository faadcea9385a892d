//! A server without a quorum: it serves reads to those who allow it, and nothing else.

use std::net::IpAddr;
use std::time::Duration;

use homing_protocol::{ConnectRequest, ErrorCode, ReplyHeader};

use crate::journal::CloseReason;
use crate::reply;
use crate::server::{ConnectionId, Now, Server};

/// What becomes of a handshake at a read-only server.
pub(crate) enum Verdict {
    /// The connection is closed without a word.
    Close,
    /// The refusal is a mere reply header, where a handshake was due.
    Refuse,
    /// The session begins, is taken up, or is gone, as anywhere.
    Admit,
}

impl Server {
    /// Loses the quorum, or finds it again. All connections are closed in either case, and
    /// sessions that were begun in between are gone with the second. What is stored stays, and
    /// no session expires meanwhile: there is nobody to decide it.
    ///
    /// As a real server that is set to `readonlymode.enabled`: new sessions take
    /// [`local_sessions`](crate::ServerConfig::local_sessions), those of before are turned away,
    /// writes are refused with −119, and `isro` is answered from now on, whatever
    /// [`four_letter_words`](crate::ServerConfig::four_letter_words) say.
    ///
    /// ```
    /// # let now = homing_testkit::Now { instant: std::time::Instant::now(), unix_ms: 0 };
    /// let mut server = homing_testkit::Server::new(homing_testkit::ServerConfig::default());
    /// server.set_read_only(now, true);
    /// assert!(server.is_read_only());
    /// ```
    pub fn set_read_only(&mut self, now: Now, read_only: bool) {
        self.begin(now);
        if self.is_read_only == read_only {
            return;
        }
        self.config.read_only_enabled = true;
        self.is_read_only = read_only;
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for connection in connections {
            self.close_because(connection, CloseReason::QuorumChanged);
        }
        if !read_only {
            self.sessions.forget_local();
            self.sessions.restart(now.instant);
        }
    }

    /// Whether it has lost its quorum.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// As [`accept`](Self::accept), for a client that has reached another server: one of the same
    /// ensemble that has lost the quorum.
    pub fn accept_read_only(&mut self, now: Now, peer: IpAddr) -> ConnectionId {
        let id = self.accept(now, peer);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_read_only = true;
        }
        id
    }

    /// Whether the server at the other end of a connection has no quorum.
    pub(crate) fn is_read_only_at(&self, connection: ConnectionId) -> bool {
        let known = self.connections.get(&connection);
        known.is_some_and(|connection| connection.is_read_only)
    }

    pub(crate) fn judge(&self, request: &ConnectRequest) -> Verdict {
        if request.read_only != Some(true) {
            return Verdict::Close;
        }
        match request.session_id {
            0 if self.config.local_sessions => Verdict::Admit,
            0 => Verdict::Refuse,
            // One of before: the ensemble may have moved it elsewhere.
            id if self
                .sessions
                .get(id)
                .is_some_and(|session| !session.is_local) =>
            {
                Verdict::Close
            }
            _ => Verdict::Admit,
        }
    }

    pub(crate) fn refuse_read_only(&mut self, connection: ConnectionId) {
        let header = ReplyHeader {
            xid: 0,
            zxid: self.last_zxid,
            err: ErrorCode::NotReadOnly.code(),
        };
        self.reply(connection, header, reply::Reply::new());
        self.close_because(connection, CloseReason::NoQuorum);
    }

    /// A session that only this server knows, and that is no transaction.
    pub(crate) fn begin_local_session(
        &mut self,
        now: Now,
        connection: ConnectionId,
        timeout: Duration,
    ) -> i64 {
        let session = self.sessions.create(now.instant, timeout, connection);
        if let Some(session) = self.sessions.get_mut(session) {
            session.is_local = true;
        }
        session
    }
}
