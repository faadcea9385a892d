//! The engine: connects, keeps the session alive, and says what became of each request.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{
    ConnectRequest, Empty, RequestHeader, SessionPassword, op, put_request, xid,
};
use homing_transport::{Action, Down, Engine, Fate, Outbox, Outgoing, Queue};

use crate::answer::{Answer, Cause, ConnectionLost, Note, Unanswered, WhyLost};
use crate::config::{Config, Credentials};
use crate::connect_string::{Host, Server};
use crate::hosts::Hosts;
use crate::inbound::{self, Handshake, Inbound};
use crate::status::{Attempt, Connection, Failure, SessionEnd, SessionState, Status};
use crate::timeouts;

/// What a session shares with its users.
///
/// ```
/// use homing_session::{Config, ConnectString, Session};
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (_session, shared) = Session::new(Config::new(servers));
/// assert_eq!(shared.queue.usage().requests, 0);
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Debug)]
pub struct Shared {
    /// Requests on their way; sealing it closes the session.
    pub queue: Arc<Queue<Note, Answer>>,
    /// What is known of the session.
    pub status: Status,
}

/// One ZooKeeper session, over as many connections as it takes.
///
/// See [`Engine`] for how to drive it; the crate's page has an example.
///
/// Connecting is a list of steps, each of which waits for the one before: look the name up,
/// dial, shake hands, let requests through. Authentication and the restoration of watches have
/// their places between the last two.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    hosts: Hosts,
    phase: Phase,
    /// The server that is tried, and its addresses that are left.
    server: Option<Server>,
    addresses: VecDeque<SocketAddr>,
    /// How long each of these addresses may take.
    attempt_max: Duration,
    /// When the first attempt began.
    began_at: Option<Instant>,
    /// The session that a server gave, or that is to be resumed.
    credentials: Option<Credentials>,
    /// What the server granted last, or what will be asked for.
    session_timeout: Duration,
    /// The highest zxid in a reply: no server that knows less is ever followed.
    last_zxid: i64,
    /// When a server last answered anything.
    heard_at: Option<Instant>,
    /// The queue is sealed; the session ends at this time whatever happens.
    close_until: Option<Instant>,
    /// Attempts that failed since a connection last settled; paces the log.
    failed_attempts: u64,
    requested_timeout: Duration,
    connect_timeout: Duration,
    presume_expired_after: Option<Duration>,
    reply_len_max: usize,
    actions: VecDeque<Action>,
    outbox: Outbox<Answer>,
    wakers: Vec<Waker>,
    /// Frames of one read; empty between calls, kept for its memory.
    inbound: Vec<Inbound>,
    span: tracing::Span,
}

#[derive(Debug)]
enum Phase {
    /// Nothing to do before this time.
    Pausing {
        until: Instant,
    },
    /// Not begun, or a pause is over.
    Idle,
    Resolving {
        until: Instant,
    },
    Dialing {
        address: SocketAddr,
        until: Instant,
    },
    Handshaking {
        address: SocketAddr,
        until: Instant,
        asked: bool,
    },
    Connected(Link),
    /// The driver was told to hang up, and has not said yet that it has.
    HangingUp {
        address: SocketAddr,
        why: Why,
    },
    Over,
}

/// Why the session hangs up.
#[derive(Debug)]
enum Why {
    /// The attempt to connect has failed.
    Failed(Failure),
    /// The connection is no good any more.
    Lost { why: WhyLost, settled: bool },
    /// The time to close the session is over.
    CloseTimedOut,
}

#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    /// When the server last answered a request or a ping.
    pub(crate) progress_at: Instant,
    /// When something was last given to the driver.
    sent_at: Instant,
    /// Pings that were not answered yet.
    pub(crate) pings: u32,
    /// When it will have lived long enough to be trusted; `None` once it has.
    settles_at: Option<Instant>,
    /// How many bytes are left of a reply that is over the limit and thrown away.
    pub(crate) drain: usize,
}

/// The driver is given no more of the queue while it has this much to write, in bytes: what
/// waits here can still be left out when its caller gives up.
const PENDING_MAX: usize = 64 << 10;

impl Session {
    /// A session that has not begun, and what its users share with it. It begins to connect
    /// with the first [`handle_turn`](Engine::handle_turn).
    pub fn new(config: Config) -> (Self, Arc<Shared>) {
        let queue = Arc::new(Queue::with_first_xid(config.limits, config.first_xid));
        let shared = Arc::new(Shared {
            queue,
            status: Status::new(),
        });
        if let Some(credentials) = config.resume {
            shared.status.set_credentials(credentials);
        }
        let session = Self {
            shared: Arc::clone(&shared),
            hosts: Hosts::new(config.servers, config.seed),
            phase: Phase::Idle,
            server: None,
            addresses: VecDeque::new(),
            attempt_max: Duration::ZERO,
            began_at: None,
            credentials: config.resume,
            session_timeout: config.session_timeout,
            last_zxid: 0,
            heard_at: None,
            close_until: None,
            failed_attempts: 0,
            requested_timeout: config.session_timeout,
            connect_timeout: config.connect_timeout,
            presume_expired_after: config.presume_expired_after,
            reply_len_max: config.reply_len_max,
            actions: VecDeque::new(),
            outbox: Outbox::new(),
            wakers: Vec::new(),
            inbound: Vec::new(),
            span: tracing::info_span!("zookeeper_session"),
        };
        (session, shared)
    }

    // Connecting, step by step.

    /// Tries the next address, the next server, or pauses.
    fn try_next(&mut self, now: Instant) {
        if self.close_until.is_some() && self.credentials.is_none() {
            // Nothing exists that could be closed.
            return self.end(SessionEnd::Closed);
        }
        if let Some(address) = self.addresses.pop_front() {
            return self.dial(now, address);
        }
        let Some(server) = self.hosts.next(now) else {
            let until = now + self.hosts.new_pass(now);
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
                self.actions.push_back(Action::Resolve {
                    host: name.clone(),
                    port: server.port,
                });
                self.phase = Phase::Resolving {
                    until: now + self.attempt_max,
                };
                self.server = Some(server);
            }
        }
    }

    /// How long the server may take that is tried now.
    fn attempt_max(&mut self, now: Instant) -> Duration {
        if self.heard_at.is_some() {
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

    fn dial(&mut self, now: Instant, address: SocketAddr) {
        self.phase = Phase::Dialing {
            address,
            until: now + self.attempt_max,
        };
        self.actions.push_back(Action::Dial { address });
    }

    fn put_handshake(&self, out: &mut Outgoing) {
        let request = ConnectRequest {
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.requested_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: self
                .credentials
                .map_or(0, |credentials| credentials.session_id),
            password: self
                .credentials
                .map_or(SessionPassword::NONE, |c| c.password),
            read_only: Some(false),
        };
        out.put_control(|bytes| inbound::put_frame(bytes, &request));
    }

    fn handle_handshake(&mut self, now: Instant, address: SocketAddr, answer: Handshake) {
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
                self.connected(now, address, credentials, session_timeout);
            }
        }
    }

    fn connected(
        &mut self,
        now: Instant,
        address: SocketAddr,
        credentials: Credentials,
        session_timeout: Duration,
    ) {
        self.credentials = Some(credentials);
        self.session_timeout = session_timeout;
        self.heard_at = Some(now);
        self.addresses.clear();
        self.shared.queue.forget_dropped(&mut self.outbox);
        self.shared.status.set_credentials(credentials);
        self.phase = Phase::Connected(Link {
            address,
            progress_at: now,
            sent_at: now,
            pings: 0,
            settles_at: Some(now + timeouts::settled_after(session_timeout)),
            drain: 0,
        });
        let session_id = credentials.session_id;
        let connection = Connection {
            session_id,
            session_timeout,
            server: address,
        };
        self.enter(SessionState::Connected(connection));
    }

    /// Why there is no connection, told by the driver or decided here.
    fn disconnected(&mut self, now: Instant, address: SocketAddr, unsent: &Outgoing, why: Why) {
        match why {
            Why::Failed(failure) => self.failed(Some(address), failure),
            Why::Lost { why, settled } => {
                self.lost(
                    unsent,
                    ConnectionLost {
                        server: address,
                        why,
                    },
                    settled,
                );
            }
            Why::CloseTimedOut => {
                // What was handed over is told apart from what was not, as ever.
                self.shared
                    .queue
                    .give_back(unsent, &mut self.outbox, |note| {
                        Err(close_timed_out(note, Fate::MaybeApplied))
                    });
                self.end_with(SessionEnd::Closed, close_timed_out);
            }
        }
        if !matches!(self.phase, Phase::Over) {
            self.try_next(now);
        }
    }

    fn failed(&mut self, address: Option<SocketAddr>, failure: Failure) {
        self.failed_attempts += 1;
        let Some(server) = self.server.clone() else {
            return;
        };
        let attempt = Attempt {
            server,
            address,
            failure,
        };
        // A lasting outage is worth a line now and then, not a line for each attempt.
        if self.failed_attempts.is_power_of_two() {
            let attempts = self.failed_attempts;
            self.span
                .in_scope(|| tracing::warn!(attempts, "cannot connect to {attempt}"));
        }
        self.shared.status.add_failure(attempt);
    }

    fn lost(&mut self, unsent: &Outgoing, lost: ConnectionLost, settled: bool) {
        let lost = Arc::new(lost);
        let mut close_was_lost = false;
        self.shared
            .queue
            .give_back(unsent, &mut self.outbox, |note| {
                close_was_lost |= *note == Note::Close;
                let cause = Cause::Lost(Arc::clone(&lost));
                Err(Unanswered {
                    fate: Fate::MaybeApplied,
                    cause,
                })
            });
        if close_was_lost {
            // The server has closed the session, or lets it expire.
            return self.end(SessionEnd::Closed);
        }
        if !settled {
            self.failed(Some(lost.server), Failure::Lost(Arc::clone(&lost)));
        }
        self.enter(SessionState::Suspended {
            session_id: self
                .credentials
                .map_or(0, |credentials| credentials.session_id),
            why: lost,
            presumed_expired_at: self.presumed_expired_at(),
        });
    }

    fn hang_up(&mut self, address: SocketAddr, why: Why) {
        self.phase = Phase::HangingUp { address, why };
        self.actions.push_back(Action::HangUp);
    }

    // The end.

    fn end(&mut self, end: SessionEnd) {
        let cause = Cause::Ended(end.clone());
        self.end_with(end, |_, fate| Unanswered {
            fate,
            cause: cause.clone(),
        });
    }

    /// Ends the session: once, for everybody.
    fn end_with(&mut self, end: SessionEnd, answer: impl Fn(&Note, Fate) -> Unanswered) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        let has_stream = !matches!(
            self.phase,
            Phase::Idle | Phase::Pausing { .. } | Phase::Resolving { .. } | Phase::HangingUp { .. }
        );
        self.phase = Phase::Over;
        // In this order: whoever finds the queue ended looks here for the reason.
        self.enter(SessionState::Ended(end));
        self.shared
            .queue
            .end(&mut self.outbox, |note, fate| Err(answer(note, fate)));
        if has_stream {
            self.actions.push_back(Action::HangUp);
        }
        self.actions.push_back(Action::Stop);
    }

    fn presumed_expired_at(&self) -> Option<Instant> {
        let life = self
            .presume_expired_after
            .unwrap_or_else(|| timeouts::presumed_life(self.session_timeout));
        self.credentials?;
        self.heard_at?.checked_add(life)
    }

    // What happens as time passes.

    fn check_timers(&mut self, now: Instant) {
        if self.close_until.is_some_and(|at| at <= now) {
            return match &self.phase {
                Phase::Connected(link) => self.hang_up(link.address, Why::CloseTimedOut),
                Phase::HangingUp { .. } => {}
                _ => self.end_with(SessionEnd::Closed, close_timed_out),
            };
        }
        let is_connected = matches!(self.phase, Phase::Connected(_));
        if !is_connected && self.presumed_expired_at().is_some_and(|at| at <= now) {
            let session_id = self
                .credentials
                .map_or(0, |credentials| credentials.session_id);
            let silent_for = self.heard_at.map_or(Duration::ZERO, |at| now - at);
            return self.end(SessionEnd::PresumedExpired {
                session_id,
                silent_for,
            });
        }
        match &mut self.phase {
            Phase::Idle => self.try_next(now),
            Phase::Pausing { until } if *until <= now => self.try_next(now),
            Phase::Resolving { until } if *until <= now => {
                self.failed(None, Failure::ResolveTimedOut);
                self.try_next(now);
            }
            Phase::Dialing { address, until } if *until <= now => {
                let address = *address;
                self.hang_up(address, Why::Failed(Failure::ConnectTimedOut));
            }
            Phase::Handshaking { address, until, .. } if *until <= now => {
                let address = *address;
                self.hang_up(address, Why::Failed(Failure::HandshakeTimedOut));
            }
            Phase::Connected(link) => {
                if link.settles_at.is_some_and(|at| at <= now) {
                    link.settles_at = None;
                    self.failed_attempts = 0;
                    self.hosts.settled();
                    self.shared.status.forget_failures();
                }
                let silence_max = timeouts::silence_max(self.session_timeout);
                if link.progress_at + silence_max <= now {
                    let why = WhyLost::Silent {
                        for_at_least: silence_max,
                    };
                    self.give_up(why);
                }
            }
            Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Dialing { .. }
            | Phase::Handshaking { .. }
            | Phase::HangingUp { .. }
            | Phase::Over => {}
        }
    }

    /// Hangs up on a server that was connected.
    fn give_up(&mut self, why: WhyLost) {
        if let Phase::Connected(link) = &self.phase {
            let settled = link.settles_at.is_none();
            self.hang_up(link.address, Why::Lost { why, settled });
        }
    }

    // What arrives.

    fn handle_frames(&mut self, now: Instant, input: &mut BytesMut) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        let mut frames = std::mem::take(&mut self.inbound);
        let progress_before = link.progress_at;
        // What came before something bad is still answered.
        let read = inbound::read_frames(link, now, input, self.reply_len_max, &mut frames);
        if link.progress_at != progress_before {
            self.heard_at = Some(now);
        }
        let limit = self.reply_len_max;
        let last_zxid = &mut self.last_zxid;
        let dispatched = self.shared.queue.dispatch(&mut self.outbox, |line| {
            inbound::dispatch(line, &mut frames, last_zxid, limit)
        });
        frames.clear();
        self.inbound = frames;
        match (dispatched, read) {
            (Ok(true), _) => self.end(SessionEnd::Closed),
            (Err(why), _) | (Ok(false), Err(why)) => self.give_up(why),
            (Ok(false), Ok(())) => {}
        }
    }

    // What is told.

    /// The one place where the state changes: for the notice board and for the log.
    fn enter(&mut self, state: SessionState) {
        let session = self
            .credentials
            .map_or(0, |credentials| credentials.session_id);
        self.span.in_scope(|| match &state {
            SessionState::Connected(_) | SessionState::Connecting => {
                tracing::info!(session = format_args!("{session:#x}"), "{state}");
            }
            SessionState::Ended(SessionEnd::Closed) => {
                tracing::info!(session = format_args!("{session:#x}"), "{state}");
            }
            SessionState::Suspended { .. } | SessionState::Ended(_) => {
                tracing::warn!(session = format_args!("{session:#x}"), "{state}");
            }
        });
        self.shared.status.enter(state, &mut self.wakers);
    }
}

fn close_timed_out(note: &Note, fate: Fate) -> Unanswered {
    let cause = match note {
        Note::Close => Cause::Deadline,
        Note::Plain => Cause::Ended(SessionEnd::Closed),
    };
    Unanswered { fate, cause }
}

impl Engine for Session {
    fn handle_turn(&mut self, now: Instant) {
        let turn = self
            .shared
            .queue
            .begin_turn(now, &mut self.outbox, |_, fate| {
                Err(Unanswered {
                    fate,
                    cause: Cause::Deadline,
                })
            });
        if let Some(within) = turn.sealed
            && self.close_until.is_none()
        {
            self.close_until = Some(now + within);
            if self.credentials.is_none() && !matches!(self.phase, Phase::Over) {
                // Nothing exists yet that would have to be closed.
                self.end(SessionEnd::Closed);
            }
        }
        self.check_timers(now);
    }

    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>) {
        let Phase::Resolving { until } = self.phase else {
            return;
        };
        match addresses {
            Ok(mut addresses) if !addresses.is_empty() => {
                self.hosts.shuffle(&mut addresses);
                // The lookup has taken its part.
                let time_left = until.saturating_duration_since(now);
                self.attempt_max = timeouts::attempt_max(time_left, addresses.len());
                self.addresses = addresses.into();
            }
            Ok(_) => self.failed(None, Failure::Resolve("the name has no address".into())),
            Err(error) => self.failed(None, Failure::Resolve(error.to_string())),
        }
        self.try_next(now);
    }

    fn handle_connected(&mut self, _now: Instant) {
        if let Phase::Dialing { address, until } = self.phase {
            self.phase = Phase::Handshaking {
                address,
                until,
                asked: false,
            };
        }
    }

    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut) {
        if let Phase::Handshaking { address, .. } = self.phase {
            match inbound::read_handshake(input) {
                Some(answer) => self.handle_handshake(now, address, answer),
                None => return,
            }
        }
        if matches!(self.phase, Phase::Connected(_)) {
            self.handle_frames(now, input);
        } else {
            input.clear();
        }
    }

    fn handle_disconnected(&mut self, now: Instant, unsent: Outgoing, why: Down) {
        let (address, why) = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Dialing { address, .. } => {
                let failure = match why {
                    Down::Dial(error) | Down::Failed(error) => Failure::Connect(error.to_string()),
                    Down::Closed | Down::HungUp => Failure::Connect(why.to_string()),
                };
                (address, Why::Failed(failure))
            }
            Phase::Handshaking { address, .. } => {
                // A reset says as little as an orderly end: the server did not answer.
                (address, Why::Failed(Failure::ClosedInHandshake))
            }
            Phase::Connected(link) => {
                let why = match why {
                    Down::Closed => WhyLost::Closed,
                    Down::Dial(error) | Down::Failed(error) => WhyLost::Io(error.to_string()),
                    Down::HungUp => WhyLost::GivenUp,
                };
                (
                    link.address,
                    Why::Lost {
                        why,
                        settled: link.settles_at.is_none(),
                    },
                )
            }
            Phase::HangingUp { address, why } => (address, why),
            other @ (Phase::Idle
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Over) => {
                self.phase = other;
                return;
            }
        };
        self.disconnected(now, address, &unsent, why);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outgoing) {
        match &mut self.phase {
            Phase::Handshaking { asked, .. } if !*asked => {
                *asked = true;
                self.put_handshake(out);
            }
            Phase::Connected(link) => {
                let before = out.pending().len();
                if before < PENDING_MAX {
                    self.shared.queue.take_into(out);
                }
                if out.pending().len() > before {
                    link.sent_at = now;
                } else if link.sent_at + timeouts::ping_interval(self.session_timeout) <= now {
                    out.put_control(|bytes| {
                        let header = RequestHeader {
                            xid: xid::PING,
                            op: op::PING,
                        };
                        put_request(bytes, header, &Empty);
                    });
                    link.sent_at = now;
                    link.pings += 1;
                }
            }
            _ => {}
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            // The driver is about to answer, or never will.
            Phase::Over | Phase::HangingUp { .. } => return None,
            Phase::Pausing { until }
            | Phase::Resolving { until }
            | Phase::Dialing { until, .. }
            | Phase::Handshaking { until, .. } => Some(*until),
            Phase::Connected(link) => {
                let ping_at = link.sent_at + timeouts::ping_interval(self.session_timeout);
                let silent_at = link.progress_at + timeouts::silence_max(self.session_timeout);
                let settles_at = link.settles_at.unwrap_or(silent_at);
                Some(ping_at.min(silent_at).min(settles_at))
            }
            Phase::Idle => None,
        };
        let presumption = match self.phase {
            Phase::Connected(_) => None,
            _ => self.presumed_expired_at(),
        };
        let deadline = self.shared.queue.poll_timeout();
        [phase, presumption, self.close_until, deadline]
            .into_iter()
            .flatten()
            .min()
    }

    fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        self.outbox.take_wakers(into);
        into.append(&mut self.wakers);
    }

    fn park(&mut self) -> bool {
        self.shared.queue.park()
    }
}

impl Drop for Session {
    /// Nobody is left hanging, whatever became of the driver.
    fn drop(&mut self) {
        self.end(SessionEnd::DriverGone);
        let mut wakers = Vec::new();
        self.take_wakers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}
