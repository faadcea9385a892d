//! The handshake: a session is begun or taken up again.

use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{ConnectRequest, ConnectResponse};

use crate::read_only::Verdict;
use crate::reply;
use crate::server::{ConnectionId, Now, Server};
use crate::sessions;

impl Server {
    /// Handles the first frame of a connection. What cannot be answered is closed silently.
    pub(crate) fn handshake(&mut self, now: Now, connection: ConnectionId, frame: &Bytes) {
        let Ok(request) = ConnectRequest::decode(frame) else {
            return self.close_connection(connection);
        };
        let is_read_only = self.is_read_only_at(connection);
        let verdict = match is_read_only {
            true => self.judge(&request),
            false => Verdict::Admit,
        };
        // A client that has seen more than this server must not be shown the past.
        if request.last_zxid_seen > self.last_zxid || matches!(verdict, Verdict::Close) {
            return self.close_connection(connection);
        }
        if matches!(verdict, Verdict::Refuse) {
            return self.refuse_read_only(connection);
        }
        let wanted = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let timeout = self.config.session_timeout(wanted);
        let session = match request.session_id {
            0 if is_read_only => Some(self.begin_local_session(now, connection, timeout)),
            0 => Some(self.begin_session(now, connection, timeout)),
            // What was begun without a quorum is unknown to those who have one.
            session if self.sessions.is_local(session) != is_read_only => None,
            session => self.take_up(now, session, &request, timeout),
        };
        let Some(session) = session else {
            let gone = ConnectResponse {
                read_only: mirrored(&request, is_read_only),
                ..ConnectResponse::EXPIRED
            };
            self.send(connection, reply::bare(&gone));
            return self.close_connection(connection);
        };
        self.attach(connection, session);
        let response = ConnectResponse {
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: session,
            password: sessions::password(session),
            read_only: mirrored(&request, is_read_only),
        };
        self.send(connection, reply::bare(&response));
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
            self.close_connection(other);
        }
        if request.password != sessions::password(session) {
            return None;
        }
        self.sessions.get_mut(session)?.timeout = timeout;
        self.sessions.touch(session, now.instant);
        Some(session)
    }
}

/// The byte is there if the client sent its own.
fn mirrored(request: &ConnectRequest, is_read_only: bool) -> Option<bool> {
    request.read_only.map(|_| is_read_only)
}
