//! The engine: connects, keeps the session alive, and says what became of each request.

mod connecting;
mod ending;
mod following;
mod identifying;
mod idle;
mod linked;
mod moving;
mod naming;
mod renewal;
mod returning;
mod writable;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{Empty, RequestHeader, op, put_request, xid};
use homing_transport::{
    Action, Asked, Down, Engine, Fate, Outbox, Outgoing, Queue, Secure, Slot, Ticket,
};

use self::connecting::NoTls;
use self::ending::end_answer;
use self::following::Following;
pub(crate) use self::following::is_config_event;
use self::identifying::Identifying;
use self::naming::ServerList;
use self::renewal::{Farewell, Then};
pub(crate) use self::returning::Return;
use self::writable::Search;
use crate::answer::{Answer, Cause, ConnectionLost, Note, Unanswered, WhyLost};
use crate::auth::{Authentication, Authentications};
use crate::behind::Suspicion;
use crate::config::{Addresses, Config, Credentials, OnExpiry};
use crate::connect_string::Server;
use crate::control::{Control, Moved};
use crate::errands::Errands;
use crate::hosts::Hosts;
use crate::inbound::{self, Inbound};
use crate::knowledge::Knowledge;
use crate::link::Link;
use crate::login::Login;
use crate::outside::{Ask, Inquiry};
use crate::sasl::{Peer, Sasl};
use crate::secret;
use crate::status::{Failure, SessionEnd, SessionState, Status};
use crate::timeouts;
use crate::watches::{Gap, Held, Watches};

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
    control: Control,
    /// Which operations the servers know.
    pub knowledge: Knowledge,
    /// What the session sees to by itself, over as many connections as it takes.
    pub errands: Arc<Errands>,
    is_detached: AtomicBool,
    /// How many want the session to stay although nothing is asked of it.
    holds: AtomicUsize,
    /// Somebody wants a session although nothing is asked of it.
    is_wanted: AtomicBool,
}

impl Shared {
    /// Gives the session another list of servers. If it should leave the one that it is
    /// connected to, by the rule of the Java client, it does so as soon as all answers are there
    /// that are due.
    pub fn set_servers(&self, servers: Vec<Server>) {
        self.control.put_servers(servers);
        self.queue.nudge();
    }

    /// Has the session leave its server for another one, or try all of them now if it has none.
    /// The ticket completes when it is connected again, or over.
    pub fn reconnect(&self) -> Ticket<Moved> {
        let ticket = self.control.put_reconnect();
        self.queue.nudge();
        ticket
    }

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
/// dial, ask what identifies the client, shake hands, do SASL. What follows is sent without
/// waiting, in this order: identities, watches, requests.
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
    /// The session was begun at a read-only server, and no other one knows it.
    is_of_one_server: bool,
    /// The session has a node that dies with it, or may have one.
    may_have_ephemerals: bool,
    /// A session before this one, that is to be closed if it lives.
    farewell: Option<Farewell>,
    /// Whether all servers seem to know less than this client.
    suspicion: Suspicion,
    /// For a server that takes writes.
    search: Search,
    /// Since when nobody has used the session.
    idle_since: Option<Instant>,
    /// Rounds over all servers since a connection was last announced.
    failed_rounds: u32,
    /// They were so many that nobody is to wait for a connection.
    fails_fast: bool,
    /// Since when there may be changes that watches which stay were not told of.
    gap: Option<Gap>,
    /// Events that may be a part of the next reply, which is that to a comparison.
    held: Vec<Held>,
    /// The server has too much to do: errands wait until then.
    errands_after: Option<Instant>,
    /// What names were last found to mean.
    resolved: BTreeMap<String, Vec<IpAddr>>,
    /// The time of the last call, and when the next was wanted.
    now: Option<Instant>,
    wanted_at: Cell<Option<Instant>>,
    /// For how long the machine has slept since then.
    slept: Duration,
    /// How late the driver was at most, and for how long the machine has slept, since a server was
    /// last heard.
    late_unheard: Duration,
    slept_unheard: Duration,
    /// The queue is sealed; the session ends at this time whatever happens.
    close_until: Option<Instant>,
    /// That time has come.
    close_is_late: bool,
    following: Following,
    /// Who waits for the session to be connected again.
    reconnects: Vec<Arc<Slot<Moved>>>,
    /// How often it has left in vain for a preferred server.
    returns: u32,
    /// Attempts that failed since a connection last settled; paces the log.
    failed_attempts: u64,
    requested_timeout: Duration,
    connect_timeout: Duration,
    presume_expired_after: Option<Duration>,
    on_expiry: OnExpiry,
    may_be_read_only: bool,
    close_idle_after: Option<Duration>,
    fail_fast_after: Option<u32>,
    reply_len_max: usize,
    sasl: Option<Sasl>,
    login: Option<Ask<Peer, Result<Login, String>>>,
    login_timeout: Duration,
    names: Option<Ask<Server, Addresses>>,
    list: Option<ServerList>,
    secure: Arc<dyn Secure>,
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
    /// Somebody else is asked what the name means, or else the system.
    Resolving {
        until: Instant,
        inquiry: Option<Inquiry<Addresses>>,
    },
    Dialing {
        address: SocketAddr,
        until: Instant,
    },
    /// The stream is open; somebody was asked what identifies the client on it.
    AskingLogin {
        address: SocketAddr,
        until: Instant,
        inquiry: Inquiry<Result<Login, String>>,
    },
    Handshaking {
        address: SocketAddr,
        until: Instant,
        /// When the handshake was given to the driver.
        asked: Option<Instant>,
        login: Login,
    },
    /// A server has accepted the session, and SASL is to be done.
    Identifying(Box<Identifying>),
    Connected(Box<Link>),
    /// The session is accepted only to be closed, because nobody needs it.
    Closing {
        address: SocketAddr,
        until: Instant,
        /// What is to be sent before the request for it, and the request; `None` once it was.
        request: Option<Vec<Arc<Authentication>>>,
        then: Then,
    },
    /// The session was closed for being idle.
    Dormant,
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
    /// There is nothing more to do on it: the session was closed, or is gone.
    Finished(Then),
    /// The session has ended on this side; what became of each request is left to be told.
    Ended(SessionEnd),
}

/// The driver is given no more of the queue while it has this much to write, in bytes: what
/// waits here can still be left out when its caller gives up.
const PENDING_MAX: usize = 64 << 10;

/// The longest that a close may take.
const CLOSE_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

impl Session {
    /// A session that has not begun, and what its users share with it. It begins to connect
    /// with the first [`handle_turn`](Engine::handle_turn).
    pub fn new(config: Config) -> (Self, Arc<Shared>) {
        let queue = Arc::new(Queue::with_first_xid(config.limits, config.first_xid));
        let shared = Arc::new(Shared {
            queue,
            status: Status::new(),
            watches: Watches::new(config.watch_backlog, config.watches_warn_above),
            authentications: Authentications::default(),
            control: Control::default(),
            knowledge: Knowledge::default(),
            errands: Arc::new(Errands::new(config.errands_max)),
            is_detached: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            is_wanted: AtomicBool::new(false),
        });
        shared.status.set_servers(config.servers.clone());
        if let Some(credentials) = config.resume {
            shared.status.set_credentials(credentials);
        }
        let session = Self {
            shared: Arc::clone(&shared),
            hosts: Hosts::new(config.servers, config.prefer, config.seed),
            phase: Phase::Idle,
            server: None,
            addresses: VecDeque::new(),
            attempt_max: Duration::ZERO,
            began_at: None,
            credentials: config.resume,
            session_timeout: config.session_timeout,
            last_zxid: 0,
            lease_from: None,
            is_of_one_server: false,
            // What an earlier client has left is not known.
            may_have_ephemerals: config.resume.is_some(),
            farewell: None,
            suspicion: Suspicion::default(),
            search: Search::default(),
            idle_since: None,
            failed_rounds: 0,
            fails_fast: false,
            gap: None,
            held: Vec::new(),
            errands_after: None,
            resolved: BTreeMap::new(),
            now: None,
            wanted_at: Cell::new(None),
            slept: Duration::ZERO,
            late_unheard: Duration::ZERO,
            slept_unheard: Duration::ZERO,
            close_until: None,
            close_is_late: false,
            following: Following::new(config.follow_reconfig),
            reconnects: Vec::new(),
            returns: 0,
            failed_attempts: 0,
            requested_timeout: config.session_timeout,
            connect_timeout: config.connect_timeout,
            presume_expired_after: config.presume_expired_after,
            on_expiry: config.on_expiry,
            may_be_read_only: config.read_only,
            close_idle_after: config.close_idle_after,
            fail_fast_after: config.fail_fast_after,
            reply_len_max: config.reply_len_max,
            sasl: config.sasl,
            login: config.login,
            login_timeout: config.login_timeout,
            names: config.names,
            list: config.server_list.map(ServerList::from),
            secure: config.secure.unwrap_or_else(|| Arc::new(NoTls)),
            actions: VecDeque::new(),
            outbox: Outbox::new(),
            wakers: Vec::new(),
            inbound: Vec::new(),
            span: tracing::info_span!("zookeeper_session"),
        };
        (session, shared)
    }

    /// Why there is no connection, told by the driver or decided here.
    fn disconnected(&mut self, now: Instant, address: SocketAddr, unsent: &Outgoing, why: Why) {
        match why {
            Why::Failed(failure) => {
                if self.is_of_one_server {
                    // Accepted, and lost before it was of any use. No other server knows it.
                    self.forget_session();
                }
                self.failed(Some(address), failure);
            }
            Why::Lost { why, settled } => {
                self.lost(
                    now,
                    unsent,
                    ConnectionLost {
                        server: address,
                        why,
                    },
                    settled,
                );
                // There may be others by now. The next one is tried without waiting.
                self.ask_for_servers(now);
            }
            Why::Finished(then) => self.finish(address, then),
            Why::Ended(end) => {
                // What was handed over is told apart from what was not, as ever.
                let answer = end_answer(&end, self.close_is_late);
                self.shared
                    .queue
                    .give_back(unsent, &mut self.outbox, |note| {
                        note.lost(None);
                        Err(answer(note, Fate::MaybeApplied))
                    });
                self.end(end);
            }
        }
        if !matches!(self.phase, Phase::Over | Phase::Dormant) {
            self.try_next(now);
        }
    }

    /// The session's id; 0 before there is one.
    fn session_id(&self) -> i64 {
        self.credentials
            .map_or(0, |credentials| credentials.session_id)
    }

    fn hang_up(&mut self, address: SocketAddr, why: Why) {
        self.phase = Phase::HangingUp { address, why };
        self.actions.push_back(Action::HangUp);
    }

    fn check_timers(&mut self, now: Instant) {
        if self.shared.is_detached.load(Ordering::Acquire) {
            // Nobody can take up what is being closed.
            let end = match self.phase {
                Phase::Closing { .. } => SessionEnd::Closed,
                _ => SessionEnd::Detached,
            };
            return self.end_from_here(end);
        }
        if self.close_until.is_some_and(|at| at <= now) {
            self.close_is_late = true;
            return self.end_from_here(SessionEnd::Closed);
        }
        // Whoever hangs up has not been told yet what became of the connection.
        let is_sure = matches!(self.phase, Phase::Connected(_) | Phase::HangingUp { .. });
        if !is_sure && self.presumed_expired_at().is_some_and(|at| at <= now) {
            let session_id = self.session_id();
            let silent_for = self.lease_from.map_or(Duration::ZERO, |at| now - at);
            self.expire(SessionEnd::PresumedExpired {
                session_id,
                silent_for,
            });
        }
        match &mut self.phase {
            Phase::Idle => {
                self.ask_for_servers(now);
                self.try_next(now);
            }
            Phase::Pausing { until } if *until <= now => self.try_next(now),
            Phase::Resolving { .. } => self.check_resolved(now),
            Phase::Dialing { address, until } if *until <= now => {
                let address = *address;
                let failure = self.dial_timed_out();
                self.hang_up(address, Why::Failed(failure));
            }
            Phase::Handshaking { address, until, .. } if *until <= now => {
                let address = *address;
                self.hang_up(address, Why::Failed(Failure::HandshakeTimedOut));
            }
            Phase::AskingLogin { .. } => self.check_login(now),
            Phase::Identifying(identifying) if identifying.until <= now => {
                let address = identifying.address;
                self.hang_up(address, Why::Failed(Failure::SaslTimedOut));
            }
            Phase::Closing {
                address,
                until,
                then,
                ..
            } if *until <= now => {
                let (address, then) = (*address, *then);
                self.hang_up(address, Why::Finished(then));
            }
            Phase::Dormant => self.check_wanted(now),
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
                self.return_if_due(now);
                self.leave_if_due(now);
            }
            Phase::Pausing { .. }
            | Phase::Dialing { .. }
            | Phase::Handshaking { .. }
            | Phase::Identifying(_)
            | Phase::Closing { .. }
            | Phase::HangingUp { .. }
            | Phase::Over => {}
        }
    }

    /// The one place where the state changes: for the notice board and for the log.
    fn enter(&mut self, state: SessionState) {
        let session = self.session_id();
        self.span.in_scope(|| match &state {
            SessionState::Suspended { why, .. } if why.why == WhyLost::Moved => {
                tracing::info!(session = format_args!("{session:#x}"), "{state}");
            }
            SessionState::Connected(_) | SessionState::Connecting | SessionState::Dormant => {
                tracing::info!(session = format_args!("{session:#x}"), "{state}");
            }
            SessionState::Ended(SessionEnd::Closed) => {
                tracing::info!(session = format_args!("{session:#x}"), "{state}");
            }
            SessionState::Suspended { .. } | SessionState::Renewing(_) | SessionState::Ended(_) => {
                tracing::warn!(session = format_args!("{session:#x}"), "{state}");
            }
        });
        self.shared.status.enter(state, &mut self.wakers);
    }
}

/// What a layer below says in place of an answer: a server may look at a client's certificate
/// only when the connection counts as open.
fn refused_below(why: Down) -> Option<Failure> {
    match why {
        Down::Secure(error) => Some(Failure::Tls(error.to_string())),
        _ => None,
    }
}

impl Engine for Session {
    fn handle_turn(&mut self, now: Instant) {
        self.now = Some(now);
        let slept = std::mem::take(&mut self.slept);
        if let Some(late) = self
            .wanted_at
            .take()
            .and_then(|at| now.checked_duration_since(at + slept))
        {
            self.late_unheard = self.late_unheard.max(late);
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
            // As long as anybody can wait for: the clock itself has an end.
            self.close_until = Some(now + within.min(CLOSE_MAX));
            self.close_before_it_began(now);
        }
        self.check_list(now);
        self.read_mail(now);
        self.check_timers(now);
        self.check_search(now);
        self.check_idle(now);
        self.fail_fast();
        self.tend_watches();
        self.read_config_if_due();
        self.run_errands(now);
    }

    fn handle_sleep(&mut self, slept: Duration) {
        self.slept += slept;
        self.slept_unheard += slept;
        self.shared.status.update(|stats| stats.slept += slept);
        self.span
            .in_scope(|| tracing::warn!("this machine has slept for {slept:?}"));
    }

    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>) {
        let Phase::Resolving {
            until,
            inquiry: None,
        } = self.phase
        else {
            return;
        };
        self.resolved(now, until, addresses.map_err(|error| error.to_string()));
    }

    fn handle_answer(&mut self, now: Instant, answer: io::Result<Asked>) {
        if !self.handle_return(now, &answer) {
            self.handle_asked(now, answer);
        }
    }

    fn handle_connected(&mut self, now: Instant) {
        if let Phase::Dialing { address, until } = self.phase {
            self.stream_opened(now, address, until);
        }
    }

    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut) {
        if let Phase::Handshaking {
            address,
            asked,
            until,
            login,
        } = &mut self.phase
        {
            let (address, until) = (*address, *until);
            match inbound::read_handshake(input) {
                Some(answer) => {
                    // Somebody who answers unasked is answered from now on.
                    let sent_at = asked.unwrap_or(now);
                    let login = std::mem::take(login);
                    self.handle_handshake(now, sent_at, address, (answer, until, login));
                }
                None => return,
            }
        }
        self.handle_tokens(now, input);
        match self.phase {
            Phase::Identifying(_) => {}
            Phase::Connected(_) => self.handle_frames(now, input),
            Phase::Closing { .. } => self.handle_closing(input),
            _ => input.clear(),
        }
    }

    fn handle_disconnected(&mut self, now: Instant, unsent: Outgoing, why: Down) {
        let (address, why) = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Dialing { address, .. } => {
                let failure = match why {
                    Down::Dial(error) | Down::Failed(error) => Failure::Connect(error.to_string()),
                    Down::Secure(error) => Failure::Tls(error.to_string()),
                    Down::Closed | Down::HungUp => Failure::Connect(why.to_string()),
                };
                (address, Why::Failed(failure))
            }
            Phase::Identifying(identifying) => {
                let failure = refused_below(why).unwrap_or(Failure::ClosedInSasl);
                (identifying.address, Why::Failed(failure))
            }
            Phase::AskingLogin { address, .. } => {
                // Nothing was said yet that it could have meant.
                let what = "the server closed the connection meanwhile".into();
                let failure = refused_below(why).unwrap_or(Failure::Login(what));
                (address, Why::Failed(failure))
            }
            Phase::Handshaking { address, .. } => {
                // A reset says as little as an orderly end: the server did not answer.
                let failure = refused_below(why).unwrap_or(Failure::ClosedInHandshake);
                (address, Why::Failed(failure))
            }
            Phase::Connected(link) => {
                let why = match why {
                    Down::Closed => WhyLost::Closed,
                    Down::Dial(error) | Down::Failed(error) => WhyLost::Io(error.to_string()),
                    Down::Secure(_) => WhyLost::Io(why.to_string()),
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
            // A server closes behind its answer, if it has not just gone away.
            Phase::Closing { address, then, .. } => (address, Why::Finished(then)),
            Phase::HangingUp { address, why } => (address, why),
            other @ (Phase::Idle
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Dormant
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
            Phase::Identifying(identifying) => identifying.put_token(out),
            Phase::Connected(link) => {
                let pending = out.pending().len();
                if !link.preamble.is_empty() {
                    let preamble = std::mem::take(&mut link.preamble);
                    out.put_control(|bytes| bytes.extend_from_slice(&preamble));
                    out.wipe_when_written();
                    secret::wipe(preamble.0);
                    // Identities are no signs of life to a server, and watches are.
                    if !link.restorations_due.is_empty() {
                        link.sent_at = now;
                    }
                }
                if link.leave_by.is_none() && out.pending().len() < PENDING_MAX {
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
                if out.pending().len() > pending {
                    self.shared.status.update(|stats| stats.sent_at = Some(now));
                }
            }
            Phase::Closing { request, .. } => {
                if let Some(proofs) = request.take() {
                    Self::put_close(&proofs, out);
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
            | Phase::Resolving { until, .. }
            | Phase::Dialing { until, .. }
            | Phase::AskingLogin { until, .. }
            | Phase::Handshaking { until, .. }
            | Phase::Closing { until, .. } => Some(*until),
            Phase::Identifying(identifying) => Some(identifying.until),
            Phase::Connected(link) => {
                let ping_at = link.sent_at + timeouts::ping_interval(self.session_timeout);
                let silent_at = link.progress_at + timeouts::silence_max(self.session_timeout);
                let settles_at = link.settles_at.unwrap_or(silent_at);
                let leave_by = link.leave_by.unwrap_or(silent_at);
                // Whoever is about to leave asks nobody.
                let return_at = link.back.at.filter(|_| link.leave_by.is_none());
                let return_at = return_at.unwrap_or(silent_at);
                let wanted = [ping_at, silent_at, settles_at, leave_by, return_at];
                wanted.into_iter().min()
            }
            Phase::Idle | Phase::Dormant => None,
        };
        let presumption = match self.phase {
            Phase::Connected(_) => None,
            _ => self.presumed_expired_at(),
        };
        let deadline = self.shared.queue.poll_timeout();
        let list = self.list.as_ref().and_then(ServerList::until);
        let errands = match self.phase {
            Phase::Connected(_) => self.errands_after,
            _ => None,
        };
        let wanted = [
            phase,
            presumption,
            list,
            self.close_until,
            self.search_until(),
            self.idle_until(),
            errands,
        ];
        let wanted = wanted.into_iter().flatten().min();
        // What was due before is not the driver's fault.
        let wanted_at = wanted.map(|at| self.now.map_or(at, |now| at.max(now)));
        self.wanted_at.set(wanted_at);
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
