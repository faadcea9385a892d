//! From a name in the configuration to a connection on which the session is accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_protocol::{ConnectRequest, SessionPassword};
use homing_transport::{Action, Outgoing};

use super::{Phase, Session, Why};
use crate::auth::Authentication;
use crate::config::Credentials;
use crate::connect_string::Host;
use crate::inbound::{self, Handshake};
use crate::link::Link;
use crate::login::Login;
use crate::status::{Attempt, Connection, Failure, SessionEnd, SessionState};
use crate::timeouts;

impl Session {
    /// Tries the next address, the next server, or pauses.
    pub(super) fn try_next(&mut self, now: Instant) {
        if self.close_until.is_some() && self.credentials.is_none() {
            // Nothing exists that could be closed.
            return self.end(SessionEnd::Closed);
        }
        if let Some(address) = self.addresses.pop_front() {
            return self.dial(now, address);
        }
        let Some(server) = self.hosts.next(now) else {
            let until = now + self.hosts.new_pass(now);
            self.ask_for_servers(now);
            self.phase = Phase::Pausing { until };
            return;
        };
        self.attempt_max = self.attempt_max(now);
        match &server.host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, server.port);
                self.server = Some(server);
                self.dial(now, address);
            }
            Host::Name(name) => {
                let name = name.clone();
                self.look_up(now, server, &name);
            }
        }
    }

    /// How long the server may take that is tried now.
    pub(super) fn attempt_max(&mut self, now: Instant) -> Duration {
        if self.lease_from.is_some() {
            let time_left = self.session_timeout - timeouts::silence_max(self.session_timeout);
            return timeouts::attempt_max(time_left, self.hosts.len());
        }
        // What is left of the connect time-out, for what is left of this pass: so the last
        // server has failed before that time is over, and everybody's reason is known.
        let began_at = *self.began_at.get_or_insert(now);
        let spent = now.saturating_duration_since(began_at);
        match self.connect_timeout.saturating_sub(spent) {
            Duration::ZERO => timeouts::attempt_max(self.connect_timeout, self.hosts.len()),
            time_left => timeouts::attempt_max(time_left, self.hosts.left() + 1),
        }
    }

    pub(super) fn dial(&mut self, now: Instant, address: SocketAddr) {
        self.phase = Phase::Dialing {
            address,
            until: now + self.attempt_max,
        };
        self.actions.push_back(Action::Dial { address });
    }

    pub(super) fn put_handshake(&self, out: &mut Outgoing) {
        let request = ConnectRequest {
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.requested_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: self.session_id(),
            password: self
                .credentials
                .map_or(SessionPassword::NONE, |c| c.password),
            read_only: Some(false),
        };
        out.put_control(|bytes| inbound::put_frame(bytes, &request));
        // The session's password.
        out.wipe_when_written();
    }

    pub(super) fn handle_handshake(
        &mut self,
        now: Instant,
        sent_at: Instant,
        address: SocketAddr,
        (answer, until, login): (Handshake, Instant, Login),
    ) {
        let asked_for = self.credentials.map(|credentials| credentials.session_id);
        match (answer, asked_for) {
            (Handshake::Refused(failure), _) => self.hang_up(address, Why::Failed(failure)),
            (Handshake::Gone, Some(session_id)) => self.end(SessionEnd::Expired { session_id }),
            (Handshake::Gone, None) => {
                let what = "it refused a new session".into();
                self.hang_up(address, Why::Failed(Failure::NotZooKeeper(what)));
            }
            (Handshake::Accepted { credentials, .. }, Some(session_id))
                if credentials.session_id != session_id =>
            {
                // Some servers give a new session without a word where they should have said
                // that the old one has expired.
                let other = credentials.session_id;
                self.end(SessionEnd::Replaced { session_id, other });
            }
            (
                Handshake::Accepted {
                    credentials,
                    session_timeout,
                },
                _,
            ) => {
                self.accepted(now, sent_at, credentials, session_timeout);
                self.identify(now, sent_at, address, (until, login));
            }
        }
    }

    /// The session is alive: the server has given it from `sent_at` on, or later.
    fn accepted(
        &mut self,
        now: Instant,
        sent_at: Instant,
        credentials: Credentials,
        session_timeout: Duration,
    ) {
        self.credentials = Some(credentials);
        self.session_timeout = session_timeout;
        self.shared.status.set_credentials(credentials);
        self.shared
            .status
            .update(|stats| stats.heard_at = Some(now));
        self.extend_lease(sent_at);
    }

    /// The server knows who is there, or does not ask: the line may go on.
    pub(super) fn connected(&mut self, mut link: Link, authentications: &[Arc<Authentication>]) {
        self.addresses.clear();
        self.shared.queue.forget_dropped(&mut self.outbox);
        self.shared.status.update(|stats| stats.connections += 1);
        link.known = self.shared.knowledge.connected(link.address);
        self.put_preamble(&mut link, authentications);
        self.phase = Phase::Connected(Box::new(link));
        self.announce();
    }

    /// What a connection is told before any request: the server applies an identity to all that
    /// follows it, and a watch must be set before anything is read that could change.
    pub(super) fn put_preamble(&self, link: &mut Link, first: &[Arc<Authentication>]) {
        for authentication in first.iter().chain(&self.shared.authentications.all()) {
            authentication.put_frame(&mut link.preamble);
            link.auths_due.push_back(authentication.scheme.clone());
        }
        let watches = &self.shared.watches;
        link.restorations_due = watches.put_restoration(self.last_zxid, &mut link.preamble);
    }

    /// Says that the session is connected, once identities and watches are as they were.
    pub(super) fn announce(&mut self) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        if link.is_announced || !link.is_restored() {
            return;
        }
        link.is_announced = true;
        let server = link.address;
        let connection = Connection {
            session_id: self.session_id(),
            session_timeout: self.session_timeout,
            server,
        };
        self.enter(SessionState::Connected(connection));
    }

    pub(super) fn failed(&mut self, address: Option<SocketAddr>, failure: Failure) {
        let Some(server) = self.server.clone() else {
            return;
        };
        self.note_failure(Attempt {
            server,
            address,
            failure,
        });
    }

    pub(super) fn note_failure(&mut self, attempt: Attempt) {
        self.failed_attempts += 1;
        self.shared
            .status
            .update(|stats| stats.failed_attempts += 1);
        // A lasting outage is worth a line now and then, not a line for each attempt.
        if self.failed_attempts.is_power_of_two() {
            let attempts = self.failed_attempts;
            self.span
                .in_scope(|| tracing::warn!(attempts, "cannot connect to {attempt}"));
        }
        self.shared.status.add_failure(attempt);
    }
}
