//! The engine: connects, keeps the session alive, and says what became of each request.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{
    ConnectRequest, Empty, RemoveWatches, RequestHeader, SessionPassword, op, put_request,
    request_len, xid,
};
use homing_transport::{Action, Down, Engine, Fate, Outbox, Outgoing, Queue, Request};

use crate::answer::{Answer, Cause, ConnectionLost, Note, Unanswered, WhyLost};
use crate::auth::Authentications;
use crate::config::{Config, Credentials};
use crate::connect_string::{Host, Server};
use crate::hosts::Hosts;
use crate::inbound::{self, Dispatch, Dispatched, Handshake, Inbound};
use crate::link::Link;
use crate::secret;
use crate::stats::ExpiryReport;
use crate::status::{Attempt, Connection, Failure, SessionEnd, SessionState, Status};
use crate::timeouts;
use crate::watches::Watches;

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
    /// Who is to be told when a node changes.
    pub watches: Watches,
    /// The identities that every connection has.
    pub authentications: Authentications,
    is_detached: AtomicBool,
}

impl Shared {
    /// Ends the session here and leaves it to its time-out at the servers.
    pub fn detach(&self) {
        self.is_detached.store(true, Ordering::Release);
        self.queue.nudge();
    }
}

/// One ZooKeeper session, over as many connections as it takes.
///
/// See [`Engine`] for how to drive it; the crate's page has an example.
///
/// Connecting is a list of steps, each of which waits for the one before: look the name up,
/// dial, shake hands. What follows is sent without waiting, in this order: identities, watches,
/// requests. A SASL exchange will have its place between the two parts.
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
    /// When the newest frame was sent that a server has answered.
    lease_from: Option<Instant>,
    /// The server does not know how to remove a watch, so it is not asked again.
    cannot_unwatch: bool,
    /// What names were last found to mean.
    resolved: BTreeMap<String, Vec<IpAddr>>,
    /// The time of the last call, and when the next was wanted.
    now: Option<Instant>,
    wanted_at: Cell<Option<Instant>>,
    /// The queue is sealed; the session ends at this time whatever happens.
    close_until: Option<Instant>,
    /// That time has come.
    close_is_late: bool,
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
        /// When the handshake was given to the driver.
        asked: Option<Instant>,
    },
    Connected(Box<Link>),
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
    /// The session has ended on this side; what became of each request is left to be told.
    Ended(SessionEnd),
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
            watches: Watches::default(),
            authentications: Authentications::default(),
            is_detached: AtomicBool::new(false),
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
            lease_from: None,
            cannot_unwatch: false,
            resolved: BTreeMap::new(),
            now: None,
            wanted_at: Cell::new(None),
            close_until: None,
            close_is_late: false,
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
        // The session's password.
        out.wipe_when_written();
    }

    fn handle_handshake(
        &mut self,
        now: Instant,
        sent_at: Instant,
        address: SocketAddr,
        answer: Handshake,
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
                let mut link = Link::new(now, address, session_timeout);
                // The server has given it from then on, or later.
                link.lease_from = sent_at;
                self.connected(now, link, credentials, session_timeout);
            }
        }
    }

    fn connected(
        &mut self,
        now: Instant,
        mut link: Link,
        credentials: Credentials,
        session_timeout: Duration,
    ) {
        self.credentials = Some(credentials);
        self.session_timeout = session_timeout;
        self.addresses.clear();
        self.shared.queue.forget_dropped(&mut self.outbox);
        self.shared.status.set_credentials(credentials);
        self.shared.status.update(|stats| {
            stats.connections += 1;
            stats.heard_at = Some(now);
        });
        self.extend_lease(link.lease_from);
        self.put_preamble(&mut link);
        self.phase = Phase::Connected(Box::new(link));
        self.announce();
    }

    /// What a connection is told before any request: the server applies an identity to all that
    /// follows it, and a watch must be set before anything is read that could change.
    fn put_preamble(&self, link: &mut Link) {
        for authentication in self.shared.authentications.all() {
            authentication.put_frame(&mut link.preamble);
            link.auths_due.push_back(authentication.scheme.clone());
        }
        let watches = &self.shared.watches;
        link.restorations_due = watches.put_restoration(self.last_zxid, &mut link.preamble);
    }

    /// Says that the session is connected, once identities and watches are as they were.
    fn announce(&mut self) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        if link.is_announced || !link.is_restored() {
            return;
        }
        link.is_announced = true;
        let connection = Connection {
            session_id: self
                .credentials
                .map_or(0, |credentials| credentials.session_id),
            session_timeout: self.session_timeout,
            server: link.address,
        };
        self.enter(SessionState::Connected(connection));
    }

    fn extend_lease(&mut self, from: Instant) {
        let from = self.lease_from.map_or(from, |lease| lease.max(from));
        self.lease_from = Some(from);
        self.shared
            .status
            .set_valid_until(from + self.session_timeout);
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
            Why::Ended(end) => {
                // What was handed over is told apart from what was not, as ever.
                let answer = end_answer(&end, self.close_is_late);
                self.shared
                    .queue
                    .give_back(unsent, &mut self.outbox, |note| {
                        Err(answer(note, Fate::MaybeApplied))
                    });
                self.end(end);
            }
        }
        if !matches!(self.phase, Phase::Over) {
            self.try_next(now);
        }
    }

    fn failed(&mut self, address: Option<SocketAddr>, failure: Failure) {
        self.failed_attempts += 1;
        self.shared
            .status
            .update(|stats| stats.failed_attempts += 1);
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
        self.shared
            .status
            .update(|stats| stats.count_lost(&lost.why));
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

    /// What to do about a close while no server has given a session.
    fn close_before_it_began(&mut self, now: Instant) {
        if self.credentials.is_some() {
            return;
        }
        match &mut self.phase {
            // A server that was asked may have made one, which nobody else could close.
            Phase::Handshaking {
                asked: Some(_),
                until,
                ..
            } => *until = (*until).min(now + timeouts::LAST_HANDSHAKE_MAX),
            Phase::Over => {}
            _ => self.end(SessionEnd::Closed),
        }
    }

    /// Ends the session where there may be a stream: it is hung up first, so that the driver's
    /// buffer tells which requests were handed over.
    fn end_from_here(&mut self, end: SessionEnd) {
        match &self.phase {
            Phase::Connected(link) => self.hang_up(link.address, Why::Ended(end)),
            Phase::HangingUp { .. } => {}
            _ => self.end(end),
        }
    }

    /// Ends the session: once, for everybody.
    fn end(&mut self, end: SessionEnd) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        let has_stream = !matches!(
            self.phase,
            Phase::Idle | Phase::Pausing { .. } | Phase::Resolving { .. } | Phase::HangingUp { .. }
        );
        self.phase = Phase::Over;
        if !matches!(end, SessionEnd::Closed | SessionEnd::Detached) {
            self.report(&end);
        }
        // In this order: whoever finds the queue ended looks here for the reason.
        self.enter(SessionState::Ended(end.clone()));
        self.shared.watches.end(&end, &mut self.wakers);
        let answer = end_answer(&end, self.close_is_late);
        self.shared
            .queue
            .end(&mut self.outbox, |note, fate| Err(answer(note, fate)));
        if has_stream {
            self.actions.push_back(Action::HangUp);
        }
        self.actions.push_back(Action::Stop);
    }

    fn report(&self, end: &SessionEnd) {
        let stats = self.shared.status.stats();
        let before = |at: Option<Instant>| Some(self.now?.saturating_duration_since(at?));
        let report = ExpiryReport {
            end: end.clone(),
            session_timeout: self.session_timeout,
            sent_before: before(stats.sent_at),
            heard_before: before(stats.heard_at),
            stats,
            attempts: self.shared.status.failures(),
            resolved: self.resolved.clone(),
        };
        self.span.in_scope(|| tracing::warn!("{report}"));
        self.shared.status.set_report(Arc::new(report));
    }

    fn presumed_expired_at(&self) -> Option<Instant> {
        let life = self
            .presume_expired_after
            .unwrap_or_else(|| timeouts::presumed_life(self.session_timeout));
        self.credentials?;
        self.lease_from?.checked_add(life)
    }

    // What happens as time passes.

    fn check_timers(&mut self, now: Instant) {
        if self.shared.is_detached.load(Ordering::Acquire) {
            return self.end_from_here(SessionEnd::Detached);
        }
        if self.close_until.is_some_and(|at| at <= now) {
            self.close_is_late = true;
            return self.end_from_here(SessionEnd::Closed);
        }
        let is_connected = matches!(self.phase, Phase::Connected(_));
        if !is_connected && self.presumed_expired_at().is_some_and(|at| at <= now) {
            let session_id = self
                .credentials
                .map_or(0, |credentials| credentials.session_id);
            let silent_for = self.lease_from.map_or(Duration::ZERO, |at| now - at);
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
            let settled = link.is_settled();
            self.hang_up(link.address, Why::Lost { why, settled });
        }
    }

    // What arrives.

    fn handle_frames(&mut self, now: Instant, input: &mut BytesMut) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        let mut frames = std::mem::take(&mut self.inbound);
        // What came before something bad is still answered.
        let read = inbound::read_frames(link, now, input, self.reply_len_max, &mut frames);
        let mut done = Dispatched::default();
        let dispatch = Dispatch {
            last_zxid: &mut self.last_zxid,
            reply_len_max: self.reply_len_max,
            watches: &self.shared.watches,
            wakers: &mut self.wakers,
        };
        let dispatched = self.shared.queue.dispatch(&mut self.outbox, |line| {
            dispatch.run(line, &mut frames, &mut done)
        });
        frames.clear();
        self.inbound = frames;
        link.answered_requests(done.answered);
        if link.progress_at == now {
            let (lease_from, ping) = (link.lease_from, link.ping_took.take());
            self.shared.status.update(|stats| {
                stats.heard_at = Some(now);
                if ping.is_some() {
                    stats.ping_last = ping;
                    stats.ping_max = stats.ping_max.max(ping);
                }
            });
            self.extend_lease(lease_from);
        }
        self.cannot_unwatch |= done.cannot_unwatch;
        if done.closed {
            return self.end(SessionEnd::Closed);
        }
        if let Some(scheme) = self.refused_auth(&mut done) {
            return self.end_from_here(SessionEnd::AuthFailed { scheme });
        }
        if let Err(why) = dispatched.and(read) {
            return self.give_up(why);
        }
        self.announce();
    }

    /// The scheme of an identity that the server has refused.
    fn refused_auth(&mut self, done: &mut Dispatched) -> Option<String> {
        let Phase::Connected(link) = &mut self.phase else {
            return None;
        };
        done.refused_auth
            .take()
            .or_else(|| link.refused_auth.take())
    }

    /// Asks the server to remove watches that nobody wants any more.
    fn unwatch(&mut self) {
        let idle = self.shared.watches.take_idle();
        if idle.is_empty() || self.cannot_unwatch || !matches!(self.phase, Phase::Connected(_)) {
            // Without a connection the server has none either.
            return;
        }
        self.shared.queue.submit_reserved(
            |notes| {
                // A request that is on its way may be about to set the watch again.
                let coming: BTreeSet<&str> = notes.filter_map(Note::watched_path).collect();
                idle.into_iter()
                    .filter(|path| !coming.contains(path.as_str()))
                    .collect()
            },
            |path| {
                let body = RemoveWatches {
                    path: path.as_str().into(),
                };
                Request {
                    len: request_len(&body),
                    within: None,
                    note: Note::Unwatch,
                }
            },
            |path, xid, out| {
                let body = RemoveWatches {
                    path: path.as_str().into(),
                };
                put_request(
                    out,
                    RequestHeader {
                        xid,
                        op: op::REMOVE_WATCHES,
                    },
                    &body,
                );
            },
        );
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

/// What requests are told when the session ends. A close that no server has confirmed in time is
/// told just that.
fn end_answer(end: &SessionEnd, close_is_late: bool) -> impl Fn(&Note, Fate) -> Unanswered + use<> {
    let end = end.clone();
    move |note, fate| {
        let cause = match note {
            Note::Close if close_is_late => Cause::Deadline,
            _ => Cause::Ended(end.clone()),
        };
        Unanswered { fate, cause }
    }
}

impl Engine for Session {
    fn handle_turn(&mut self, now: Instant) {
        self.now = Some(now);
        if let Some(late) = self
            .wanted_at
            .take()
            .and_then(|at| now.checked_duration_since(at))
        {
            self.shared
                .status
                .update(|stats| stats.driver_lag_max = stats.driver_lag_max.max(late));
        }
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
            self.close_before_it_began(now);
        }
        self.check_timers(now);
        self.unwatch();
    }

    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>) {
        let Phase::Resolving { until } = self.phase else {
            return;
        };
        match addresses {
            Ok(mut addresses) if !addresses.is_empty() => {
                if let Some(Server {
                    host: Host::Name(name),
                    ..
                }) = &self.server
                {
                    let ips = addresses.iter().map(SocketAddr::ip).collect();
                    self.resolved.insert(name.clone(), ips);
                }
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
                asked: None,
            };
        }
    }

    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut) {
        if let Phase::Handshaking { address, asked, .. } = self.phase {
            match inbound::read_handshake(input) {
                Some(answer) => {
                    // Somebody who answers unasked is answered from now on.
                    let sent_at = asked.unwrap_or(now);
                    self.handle_handshake(now, sent_at, address, answer);
                }
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
                        settled: link.is_settled(),
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
            Phase::Handshaking { asked, .. } if asked.is_none() => {
                *asked = Some(now);
                self.put_handshake(out);
            }
            Phase::Connected(link) => {
                if !link.preamble.is_empty() {
                    let preamble = std::mem::take(&mut link.preamble);
                    out.put_control(|bytes| bytes.extend_from_slice(&preamble));
                    out.wipe_when_written();
                    secret::wipe(preamble);
                    link.sent_at = now;
                }
                if out.pending().len() < PENDING_MAX {
                    let requests = self.shared.queue.take_into(out);
                    if requests > 0 {
                        link.gave(now, requests);
                        link.sent_at = now;
                    }
                }
                if link.sent_at + timeouts::ping_interval(self.session_timeout) <= now {
                    out.put_control(|bytes| {
                        let header = RequestHeader {
                            xid: xid::PING,
                            op: op::PING,
                        };
                        put_request(bytes, header, &Empty);
                    });
                    link.sent_at = now;
                    link.pings.push_back(now);
                }
                if link.sent_at == now {
                    self.shared.status.update(|stats| stats.sent_at = Some(now));
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
        let wanted = [phase, presumption, self.close_until]
            .into_iter()
            .flatten()
            .min();
        self.wanted_at.set(wanted);
        wanted.into_iter().chain(deadline).min()
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
