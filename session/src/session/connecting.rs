//! From a name in the configuration to a connection on which the session is accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_protocol::{ConnectRequest, SessionPassword};
use homing_transport::{
    Action, Fate, Layer, Outgoing, Question, Secure, SecureError, SecureStream,
};

use super::identifying::Begun;
use super::renewal::Then;
use super::{Phase, Session, Why};
use crate::answer::{Cause, Note, Unanswered, Unavailable};
use crate::auth::Authentication;
use crate::connect_string::{Host, Server};
use crate::inbound::{self, Accepted, Handshake};
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
            self.pass_is_over(now);
            let pause = self.hosts.new_pass(now);
            // A session that lives is not to expire for the sake of a pause.
            let max = match self.credentials {
                Some(_) => timeouts::pause_max(self.session_timeout),
                None => Duration::MAX,
            };
            let until = now + pause.min(max);
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
        let layer = self.server.as_ref().and_then(|it| layer(&self.secure, it));
        let action = match layer {
            None => Action::Dial { address },
            Some(layer) => Action::DialSecure { address, layer },
        };
        self.actions.push_back(action);
    }

    /// The server that is dialled has taken too long.
    pub(super) fn dial_timed_out(&self) -> Failure {
        match &self.server {
            Some(server) if server.tls => Failure::TlsTimedOut,
            _ => Failure::ConnectTimedOut,
        }
    }

    pub(super) fn put_handshake(&mut self, out: &mut Outgoing) {
        let presented = self.presented();
        let request = ConnectRequest {
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.requested_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: presented.map_or(0, |credentials| credentials.session_id),
            password: presented.map_or(SessionPassword::NONE, |c| c.password),
            read_only: Some(self.may_be_read_only),
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
        let Some(answer) = self.handle_farewell(address, answer) else {
            return;
        };
        let asked_for = self.credentials.map(|credentials| credentials.session_id);
        match (answer, asked_for) {
            (Handshake::Refused(failure), _) => self.hang_up(address, Why::Failed(failure)),
            (Handshake::Gone { read_only: true }, Some(_)) => {
                self.hang_up(address, Why::Failed(Failure::UnknownToReadOnly));
            }
            (Handshake::Gone { read_only: false }, Some(session_id)) => {
                self.expire(SessionEnd::Expired { session_id });
                if !matches!(self.phase, Phase::Over) {
                    self.hang_up(address, Why::Finished(Then::Renew));
                }
            }
            (Handshake::Gone { .. }, None) => {
                let what = "it refused a new session".into();
                self.hang_up(address, Why::Failed(Failure::NotZooKeeper(what)));
            }
            (Handshake::Accepted(accepted), _) if accepted.read_only && !self.may_be_read_only => {
                self.hang_up(address, Why::Failed(Failure::ReadOnly));
            }
            (Handshake::Accepted(accepted), asked_for) => {
                let other = accepted.credentials.session_id;
                if let Some(session_id) = asked_for.filter(|id| *id != other) {
                    // Some servers give a new session without a word where they should have said
                    // that the old one has expired. Whoever wanted another one has it then.
                    self.expire(SessionEnd::Replaced { session_id, other });
                }
                if !matches!(self.phase, Phase::Over) {
                    if self.farewell.is_none() {
                        self.accepted(now, sent_at, &accepted);
                    }
                    let begun = Begun {
                        accepted_at: sent_at,
                        read_only: accepted.read_only,
                    };
                    self.identify(now, address, begun, (until, login));
                }
            }
        }
    }

    /// The session is alive: the server has given it from `sent_at` on, or later.
    fn accepted(&mut self, now: Instant, sent_at: Instant, accepted: &Accepted) {
        self.is_of_one_server =
            accepted.read_only && (self.credentials.is_none() || self.is_of_one_server);
        self.credentials = Some(accepted.credentials);
        self.session_timeout = accepted.session_timeout;
        if !self.is_of_one_server {
            self.shared.status.set_credentials(accepted.credentials);
        }
        self.shared
            .status
            .update(|stats| stats.heard_at = Some(now));
        self.extend_lease(sent_at);
    }

    /// The server knows who is there, or does not ask: the line may go on.
    pub(super) fn connected(
        &mut self,
        now: Instant,
        mut link: Link,
        authentications: &[Arc<Authentication>],
    ) {
        self.addresses.clear();
        self.suspicion.clear();
        self.fails_fast = false;
        self.shared.status.set_available();
        if let Some(server) = &self.server {
            self.hosts.accepted(server);
        }
        self.shared.queue.forget_dropped(&mut self.outbox);
        self.shared.status.update(|stats| stats.connections += 1);
        link.known = self.shared.knowledge.connected(link.address);
        self.put_preamble(&mut link, authentications);
        if link.restorations_due.is_empty() {
            // There was nobody to miss anything.
            self.gap = None;
        }
        self.held.clear();
        self.seek_writable(now, link.read_only);
        self.following.ask();
        self.phase = Phase::Connected(Box::new(link));
        self.plan_return(now);
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
        let frames = watches.put_restoration(self.last_zxid, &mut link.preamble);
        link.restorations_due = frames.into();
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
        self.failed_rounds = 0;
        let (server, read_only) = (link.address, link.read_only);
        let connection = Connection {
            session_id: self.session_id(),
            session_timeout: self.session_timeout,
            server,
            read_only,
        };
        self.enter(SessionState::Connected(connection.clone()));
        self.tell_reconnected(&connection);
    }

    /// The server that was tried, or connected, goes to the end of the list for a while.
    pub(super) fn blame_server(&mut self) {
        if let (Some(server), Some(now)) = (&self.server, self.now) {
            self.hosts.failed(server, now);
        }
    }

    pub(super) fn failed(&mut self, address: Option<SocketAddr>, failure: Failure) {
        self.blame_server();
        self.suspicion.note(&failure);
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

    /// Ends what waits for a connection, once there has been none for so many rounds that nobody
    /// is to wait any more. The session itself goes on trying.
    pub(super) fn fail_fast(&mut self) {
        if matches!(self.phase, Phase::Connected(_) | Phase::Over) {
            return;
        }
        let rounds = self.failed_rounds;
        self.fails_fast |= self.fail_fast_after.is_some_and(|max| rounds >= max);
        if !self.fails_fast {
            return;
        }
        let attempts = self.shared.status.failures();
        let unavailable = Arc::new(Unavailable { rounds, attempts });
        // For those who wait for a session and have nothing in the line.
        let status = &self.shared.status;
        status.set_unavailable(Arc::clone(&unavailable), &mut self.wakers);
        self.shared
            .queue
            .refuse_waiting(&mut self.outbox, |note| match note {
                // A close has a deadline of its own, and what the session sees to itself has none.
                Note::Close | Note::Errand(_) => None,
                _ => Some(Err(Unanswered {
                    fate: Fate::NotSent,
                    cause: Cause::Unavailable(Arc::clone(&unavailable)),
                })),
            });
    }
}

/// What a connection to the server has between itself and the protocol.
pub(super) fn layer(secure: &Arc<dyn Secure>, server: &Server) -> Option<Layer> {
    server.tls.then(|| Layer {
        secure: Arc::clone(secure),
        host: server.host.to_string(),
    })
}

/// What a server is asked over a connection of its own, and how long its answer may be in bytes.
pub(super) fn probe(
    secure: &Arc<dyn Secure>,
    server: &Server,
    (question, answer_len_max): (&'static [u8], usize),
) -> Question {
    Question {
        host: server.host.to_string(),
        port: server.port,
        question,
        answer_len_max,
        within: timeouts::PROBE_MAX,
        layer: layer(secure, server),
    }
}

/// What stands in where TLS was not set up: a server that asks for it is not connected to.
#[derive(Debug)]
pub(super) struct NoTls;

impl Secure for NoTls {
    fn begin(&self, _host: &str) -> Result<Box<dyn SecureStream>, SecureError> {
        Err(SecureError::new("it is not set up in this client"))
    }
}
