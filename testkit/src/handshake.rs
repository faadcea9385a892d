//! The handshake: a session is begun or taken up again.

use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{ConnectRequest, ConnectResponse, Reader, SessionPassword};

use crate::journal::{CloseReason, ConnectionEventKind};
use crate::read_only::Verdict;
use crate::reply;
use crate::server::{ConnectionId, Now, Server, Stage};
use crate::sessions;

impl Server {
    /// Handles the first frame of a connection. What cannot be answered is closed silently.
    pub(crate) fn handshake(&mut self, now: Now, connection: ConnectionId, frame: &Bytes) {
        let Ok(request) = ConnectRequest::decode(frame) else {
            return self.close_because(connection, CloseReason::BadHandshake);
        };
        if !self.is_serving() {
            return self.close_because(connection, CloseReason::NoQuorum);
        }
        self.totals.handshakes += 1;
        let is_read_only = self.is_read_only_at(connection);
        let verdict = match is_read_only {
            true => self.judge(&request),
            false => Verdict::Admit,
        };
        // A client that has seen more than this server must not be shown the past.
        let is_ahead = request.last_zxid_seen > self.last_zxid && !self.config.zxid_seen_is_ignored;
        if is_ahead || matches!(verdict, Verdict::Close) {
            let why = match verdict {
                Verdict::Close => CloseReason::NoQuorum,
                Verdict::Refuse | Verdict::Admit => CloseReason::Behind,
            };
            return self.close_because(connection, why);
        }
        if matches!(verdict, Verdict::Refuse) {
            return self.refuse_read_only(connection);
        }
        let wanted = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let timeout = self.config.session_timeout(wanted);
        let session_id = match self.config.sessions_are_not_resumed {
            true => 0,
            false => request.session_id,
        };
        let is_new = session_id == 0;
        self.totals.returns += u64::from(!is_new);
        let session = match session_id {
            0 if is_read_only => Some(self.begin_local_session(now, connection, timeout)),
            0 if self.replica.is_some() => {
                let greeting = Greeting::new(self.sessions.next_id(), timeout, true, &request);
                return self.propose_session(connection, greeting);
            }
            0 => Some(self.begin_session(now, connection, timeout)),
            // What was begun without a quorum is unknown to those who have one.
            session if self.sessions.is_local(session) != is_read_only => None,
            session if self.replica.is_some() && !is_read_only => {
                self.close_others(session, CloseReason::Superseded);
                if request.password == sessions::password(session) {
                    let greeting = Greeting::new(session, timeout, false, &request);
                    return self.propose_return(connection, greeting);
                }
                None
            }
            session => self.take_up(now, session, &request, timeout),
        };
        let greeting = Greeting::new(session.unwrap_or(0), timeout, is_new, &request);
        match session {
            Some(_) => self.welcome(connection, greeting),
            None => self.turn_away(connection, greeting),
        }
    }

    /// The session begins or goes on.
    pub(crate) fn welcome(&mut self, connection: ConnectionId, greeting: Greeting) {
        self.attach(connection, greeting);
        self.note_begun(connection, greeting);
        self.confirm(connection, greeting);
    }

    /// Tells a client which session it has.
    fn confirm(&mut self, connection: ConnectionId, greeting: Greeting) {
        let Greeting {
            session, timeout, ..
        } = greeting;
        let password = match self.config.connect_response_is_bare {
            true => SessionPassword::NONE,
            false => sessions::password(session),
        };
        let response = ConnectResponse {
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: session,
            password,
            read_only: self.mirrored(connection, greeting),
        };
        self.send(connection, reply::bare(&response));
    }

    /// The handshake's own operation, from somebody who has a session: a server begins that
    /// session once more, and takes the time-out as it stands there, until the next request.
    pub(crate) fn begin_again(
        &mut self,
        now: Now,
        caller: (ConnectionId, i64),
        xid: i32,
        mut reader: Reader<'_>,
    ) {
        let (connection, session) = caller;
        let timeout_ms = reader.i32("timeOut").unwrap_or(0);
        if self.has_leader(session) {
            return self.propose_again(connection, session, xid, timeout_ms);
        }
        if !self.sessions.is_local(session) {
            self.next_stamp(now);
            self.sessions.begin_again(now.instant, session, timeout_ms);
        }
        self.confirm_again(connection, xid);
    }

    /// Answers what is no handshake as if it were one.
    pub(crate) fn confirm_again(&mut self, connection: ConnectionId, xid: i32) {
        let zxid = self.last_zxid;
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some(greeting) = known.greeting else {
            return;
        };
        known.traffic.session_begun(xid, zxid);
        self.totals.writes += 1;
        self.confirm(connection, greeting);
    }

    /// There is no such session any more.
    pub(crate) fn turn_away(&mut self, connection: ConnectionId, greeting: Greeting) {
        let gone = ConnectResponse {
            read_only: self.mirrored(connection, greeting),
            ..ConnectResponse::EXPIRED
        };
        self.send(connection, reply::bare(&gone));
        self.close_because(connection, CloseReason::NoSuchSession);
    }

    /// The byte is there if the client sent its own.
    fn mirrored(&self, connection: ConnectionId, greeting: Greeting) -> Option<bool> {
        let is_read_only = self.is_read_only_at(connection);
        let is_known = greeting.knows_read_only || self.config.read_only_byte_always;
        (is_known && !self.config.connect_response_is_bare).then_some(is_read_only)
    }

    /// A session's beginning is a request like any other, taking it up again is none.
    fn note_begun(&mut self, connection: ConnectionId, greeting: Greeting) {
        let Greeting {
            session,
            timeout,
            is_new,
            ..
        } = greeting;
        let resumed = !is_new;
        let kind = ConnectionEventKind::Attached { timeout, resumed };
        self.journal
            .note(connection, Some(Stage::Attached(session)), kind);
        if let Some(known) = self.connections.get_mut(&connection)
            && is_new
        {
            known.traffic.session_begun(0, self.last_zxid);
            self.totals.writes += 1;
        }
    }

    /// A new session is a transaction of its own.
    fn begin_session(&mut self, now: Now, connection: ConnectionId, timeout: Duration) -> i64 {
        self.next_stamp(now);
        self.sessions.create(now.instant, timeout, connection)
    }

    /// Takes up a session again, which is no transaction.
    fn take_up(
        &mut self,
        now: Now,
        session: i64,
        request: &ConnectRequest,
        timeout: Duration,
    ) -> Option<i64> {
        // Whoever spoke for it is cut off, and this before the password is looked at: a stranger
        // can interrupt a session, but not take it over.
        if let Some(other) = self.sessions.get(session)?.connection {
            self.close_because(other, CloseReason::Superseded);
        }
        if request.password != sessions::password(session) {
            return None;
        }
        self.sessions.touch(session, now.instant, timeout);
        Some(session)
    }
}

/// What is to be answered to a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Greeting {
    pub(crate) session: i64,
    pub(crate) timeout: Duration,
    /// The client has sent the byte that older ones do not know.
    knows_read_only: bool,
    /// The session is to begin.
    is_new: bool,
}

impl Greeting {
    fn new(session: i64, timeout: Duration, is_new: bool, request: &ConnectRequest) -> Self {
        Self {
            session,
            timeout,
            knows_read_only: request.read_only.is_some(),
            is_new,
        }
    }
}
