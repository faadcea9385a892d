//! The server on a socket: a thread that moves bytes between a listener's connections and the
//! core, and knows nothing of ZooKeeper.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_transport::SecureAccept;
use mio::Token;
use mio::net::TcpStream;

use crate::connection::{Connection, Incoming};
use crate::faults::{Action, Filter, Plan, Session};
use crate::journal::{CloseReason, Observer};
use crate::served::{Access, Served, now};
use crate::server::{ConnectionId, Now, Output, Server, Stage};
use crate::worker::{FIRST_TOKEN, Gate, Work};
use crate::{sessions, x509};

/// What one turn does for one connection or listener at most, so that none starves the others.
const READS_PER_TURN: usize = 4;
const ACCEPTS_PER_TURN: usize = 64;

/// How much one read brings in at most.
const READ_LEN: usize = 64 << 10;

/// How many bytes of replies are made before they are handed over: few enough that a client which
/// reads nothing has not much more than its due, and enough that handing over costs little.
const SHARE: usize = 16 << 10;

/// The sockets of one fake server and what is to be done about them.
#[derive(Debug)]
pub(crate) struct Front {
    /// Closed while the server is stopped.
    gate: Gate<Self>,
    served: Served,
    /// TLS, where connections have it.
    secure: Option<Arc<dyn SecureAccept>>,
    connections: BTreeMap<Token, Connection>,
    tokens: BTreeMap<ConnectionId, Token>,
    next_token: usize,
    /// Connections that may have bytes to read, or a frame that was read and not yet served.
    readable: BTreeSet<Token>,
    /// Connections that have something to write, or an end to reach.
    unflushed: BTreeSet<Token>,
    /// Connections that are not read from while the server has too much to answer.
    throttled: BTreeSet<Token>,
    /// Connections that wait for a moment: replies held back, an end to come.
    timed: BTreeSet<Token>,
    scratch: Vec<u8>,
    latency: Duration,
    faults: Arc<Plan>,
    /// Connections whose faults want something done.
    struck: BTreeSet<Token>,
    /// Who is told what becomes of connections.
    observer: Option<Observer>,
    /// Nothing is accepted, read, answered or expired meanwhile.
    pub(crate) paused: bool,
    /// Connections are closed as soon as they are made.
    pub(crate) refusing: bool,
}

impl Front {
    pub(crate) fn new(
        gate: Gate<Self>,
        served: Served,
        secure: Option<Arc<dyn SecureAccept>>,
        faults: Arc<Plan>,
    ) -> Self {
        let port = Some(gate.address().port());
        let mut server = served.access();
        match secure {
            Some(_) => server.about.secure_port = port,
            None => server.about.port = port,
        }
        drop(server);
        Self {
            gate,
            served,
            secure,
            connections: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: FIRST_TOKEN,
            readable: BTreeSet::new(),
            unflushed: BTreeSet::new(),
            throttled: BTreeSet::new(),
            timed: BTreeSet::new(),
            scratch: vec![0; READ_LEN],
            latency: Duration::ZERO,
            faults,
            struck: BTreeSet::new(),
            observer: None,
            paused: false,
            refusing: false,
        }
    }

    /// Tells somebody what becomes of connections.
    pub(crate) fn observe(&mut self, observer: Option<Observer>) {
        if observer.is_some() {
            self.served.access().keep_journal();
        }
        self.observer = observer;
    }

    /// Closes all connections at once; what they were to be sent is lost.
    pub(crate) fn cut(&mut self, why: CloseReason) {
        let served = self.served.clone();
        let mut server = served.access();
        let now = now();
        for connection in std::mem::take(&mut self.connections).into_values() {
            server.close_because(connection.id, why);
        }
        self.tokens.clear();
        self.readable.clear();
        self.unflushed.clear();
        self.throttled.clear();
        self.timed.clear();
        self.struck.clear();
        self.route(&mut server, now);
    }

    /// Expires a session, and sends on what comes of it.
    pub(crate) fn expire_session(&mut self, session: i64) -> bool {
        let served = self.served.clone();
        let mut server = served.access();
        let now = now();
        let was_alive = server.expire_session(now, session);
        self.route(&mut server, now);
        was_alive
    }

    /// Loses the quorum or finds it again, and sends on what comes of it.
    pub(crate) fn set_read_only(&mut self, read_only: bool) {
        let served = self.served.clone();
        let mut server = served.access();
        let now = now();
        server.set_read_only(now, read_only);
        self.route(&mut server, now);
    }

    /// Another latency from now on, for the connections that there are too.
    pub(crate) fn set_latency(&mut self, latency: Duration) {
        self.latency = latency;
        let served = self.served.clone();
        let now = now();
        self.refilter(&mut served.access(), now, |filter| {
            filter.latency(now.instant, latency);
        });
    }

    fn refilter(&mut self, server: &mut Access<'_>, now: Now, set: impl Fn(&mut Filter)) {
        let tokens: Vec<_> = self.connections.keys().copied().collect();
        for token in tokens {
            self.filter(server, now, token, false, &set);
        }
        self.route(server, now);
    }

    /// Puts a connection under latency and script, unless it is under none and there is none, or
    /// it only waits for its peer to be gone.
    fn filter(
        &mut self,
        server: &Server,
        now: Now,
        token: Token,
        is_new: bool,
        set: impl Fn(&mut Filter),
    ) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let is_needed = !self.faults.is_empty() || !self.latency.is_zero();
        if connection.is_ending() || !is_needed && !connection.has_filter() {
            return;
        }
        let request_len_max = server.config().request_len_max;
        let id = connection.id;
        let make = || {
            let mut filter = match is_new {
                true => Filter::new(now.instant, &self.faults, Some(request_len_max)),
                false => {
                    let session = speaker(server, id);
                    Filter::amid(now.instant, &self.faults, request_len_max, session)
                }
            };
            filter.latency(now.instant, self.latency);
            filter
        };
        connection.filter(now.instant, make, set);
        // What an old script has held back may be there now.
        self.readable.insert(token);
        self.note(token);
    }

    /// A connection may have something to write, to read, to wait for, or to be done.
    fn note(&mut self, token: Token) {
        let Some(connection) = self.connections.get(&token) else {
            return;
        };
        self.unflushed.insert(token);
        if connection.next_deadline().is_some() {
            self.timed.insert(token);
        }
        if connection.has_struck() {
            self.struck.insert(token);
        }
    }

    fn accept(&mut self, server: &mut Access<'_>, now: Now) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.gate.accept(now.instant) {
                Some(Ok((stream, peer))) => self.admit(server, now, stream, peer),
                Some(Err(error)) => server.not_accepted(error.to_string()),
                None => return,
            }
        }
    }

    fn admit(
        &mut self,
        server: &mut Access<'_>,
        now: Now,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) {
        if self.refusing {
            let id = server.accept_from(now, peer);
            server.close_because(id, CloseReason::Fault);
            return self.route(server, now);
        }
        let Ok(layer) = self.secure.as_ref().map(|it| it.accept()).transpose() else {
            return;
        };
        let token = Token(self.next_token);
        // A socket that cannot be set up is one that its peer has closed.
        if stream.set_nodelay(true).is_err() || self.gate.register(&mut stream, token).is_err() {
            return;
        }
        self.next_token += 1;
        let id = server.accept_from(now, peer);
        if layer.is_some() {
            server.expect_tls(now, id);
        }
        self.tokens.insert(id, token);
        self.connections
            .insert(token, Connection::new(stream, id, layer));
        self.filter(server, now, token, true, |_| {});
        self.route(server, now);
    }

    /// Gives the server what a connection has for it.
    fn serve(&mut self, server: &mut Access<'_>, now: Now, token: Token) {
        for _ in 0..READS_PER_TURN {
            while let Some(connection) = self.connections.get_mut(&token)
                && connection.may_ask()
                && ask(server, now, connection)
            {
                self.route(server, now);
            }
            let Some(connection) = self.connections.get_mut(&token) else {
                return;
            };
            if server.is_throttled(connection.id) {
                // What is left of its requests comes before its end.
                self.throttled.insert(token);
                return;
            }
            if connection.is_heard() {
                return self.hang_up(server, now, token);
            }
            if !connection.may_read() {
                // It has been asked enough, or its faults have: a write or a moment that makes
                // room brings it back.
                return;
            }
            let incoming = connection.read(now.instant, &mut self.scratch);
            if connection.is_opened() {
                server.handle_tls(connection.id);
                if let Some(name) = connection.certificate().and_then(x509::subject) {
                    server.add_identity(connection.id, "x509", &name);
                }
            }
            // The layer below may have an answer of its own.
            self.note(token);
            if self.struck.contains(&token) {
                self.route(server, now);
            }
            let Some(connection) = self.connections.get_mut(&token) else {
                return;
            };
            match incoming {
                Incoming::Some => {}
                Incoming::Refused => {
                    server.close_because(connection.id, CloseReason::TlsFailed);
                    return self.route(server, now);
                }
                Incoming::Nothing if connection.is_heard() => {}
                Incoming::Nothing => return,
                Incoming::End => return self.hang_up(server, now, token),
            }
        }
        self.readable.insert(token);
    }

    /// Tells the server which replies are held back, and brings back whoever waits for that.
    fn count_outstanding(&mut self, server: &mut Server) {
        let mut has_changed = false;
        for token in &self.unflushed {
            if let Some(connection) = self.connections.get(token) {
                has_changed |= server.set_outstanding(connection.id, connection.outstanding());
            }
        }
        if has_changed || !server.has_too_much_to_answer() {
            self.readable.append(&mut self.throttled);
        }
    }

    /// Lets faults go on whose moment has come, and brings back whoever waits for one.
    fn release(&mut self, now: Now) {
        let Self {
            connections, timed, ..
        } = self;
        timed.retain(|token| deadline(connections, token).is_some());
        let due = timed.iter().copied();
        let due: Vec<_> = due
            .filter(|token| deadline(connections, token).is_some_and(|due| due <= now.instant))
            .collect();
        for token in due {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.release(now.instant);
                self.readable.insert(token);
                self.note(token);
            }
        }
    }

    /// Writes what there is to write, and lets go of what is over.
    fn flush(&mut self, now: Now) {
        let mut gone = Vec::new();
        for token in std::mem::take(&mut self.unflushed) {
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            let asked_enough = !connection.may_ask();
            if connection.flush().is_err() || connection.is_over(now.instant) {
                gone.push(token);
            } else if asked_enough && connection.may_ask() {
                self.readable.insert(token);
            }
        }
        if !gone.is_empty() {
            let served = self.served.clone();
            let mut server = served.access();
            gone.into_iter()
                .for_each(|token| self.remove(&mut server, now, token));
        }
    }

    /// The peer has come to its end. It may have closed its own end only, as one does behind a
    /// four-letter word: what ends with the connection still goes out, as far as it goes at once.
    /// All else is lost, since a real server has seen the end before it has an answer.
    fn hang_up(&mut self, server: &mut Access<'_>, now: Now, token: Token) {
        if let Some(connection) = self.connections.get_mut(&token)
            && connection.is_closed()
        {
            let _ = connection.flush();
        }
        self.remove(server, now, token);
    }

    fn remove(&mut self, server: &mut Access<'_>, now: Now, token: Token) {
        if let Some(connection) = self.connections.remove(&token) {
            self.tokens.remove(&connection.id);
            server.handle_disconnected(now, connection.id);
            self.tell(server);
        }
    }

    /// Hands the server's outputs to their connections, and does what faults make of them.
    fn route(&mut self, server: &mut Access<'_>, now: Now) {
        server.settle(now);
        loop {
            while let Some(output) = server.poll_output() {
                self.hand_over(server, now, output);
            }
            let Some(token) = self.struck.pop_first() else {
                break;
            };
            self.obey(server, now, token);
        }
        self.tell(server);
    }

    fn tell(&self, server: &mut Server) {
        // Without one, what is noted is for a test to poll.
        let Some(observer) = &self.observer else {
            return;
        };
        while let Some(event) = server.poll_event() {
            observer.tell(&event);
        }
    }

    fn hand_over(&mut self, server: &mut Access<'_>, now: Now, output: Output) {
        let (Output::Send(id, _) | Output::Close(id)) = &output;
        let Some(token) = self.tokens.get(id).copied() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        match output {
            Output::Send(id, frame) => {
                if !connection.send(now.instant, &frame) {
                    server.close_because(id, CloseReason::Backlog);
                }
                server.set_outstanding(id, connection.outstanding());
            }
            Output::Close(_) => {
                connection.close(now.instant);
                if connection.next_deadline().is_none() {
                    // Its end may be held back for good: it goes with its peer, who may be gone.
                    self.readable.insert(token);
                }
            }
        }
        self.note(token);
    }

    /// Does what the faults of a connection want done.
    fn obey(&mut self, server: &mut Access<'_>, now: Now, token: Token) {
        loop {
            self.hand_in(server, now, token);
            let Some(connection) = self.connections.get_mut(&token) else {
                return;
            };
            let Some(action) = connection.poll_action() else {
                return;
            };
            let id = connection.id;
            match action {
                Action::Cut => {
                    connection.cut(now.instant);
                    server.close_because(id, CloseReason::Fault);
                }
                Action::Reset => {
                    connection.reset();
                    server.close_because(id, CloseReason::Fault);
                    self.remove(server, now, token);
                }
                Action::Expire(session) => {
                    let strike = connection.take_strike();
                    let is_done =
                        is_entitled(server, id, &session) && server.expire_session(now, session.id);
                    if let Some(strike) = strike.filter(|_| !is_done) {
                        strike.take_back();
                    }
                    self.errand_done(now, token);
                }
                Action::Move(session) => {
                    server.close_others(session.id, CloseReason::Superseded);
                    self.errand_done(now, token);
                }
            }
            self.note(token);
        }
    }

    /// Gives the server what has passed before a fault struck: as far as the client goes, it is
    /// there already, whatever the server has to answer.
    fn hand_in(&mut self, server: &mut Access<'_>, now: Now, token: Token) {
        while let Some(connection) = self.connections.get_mut(&token)
            && connection.has_struck()
            && server.handle_frame(now, connection.id, connection.input())
        {
            server.settle(now);
            while let Some(output) = server.poll_output() {
                self.hand_over(server, now, output);
            }
        }
    }

    fn errand_done(&mut self, now: Now, token: Token) {
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.errand_done(now.instant);
            self.readable.insert(token);
        }
    }
}

impl Work for Front {
    fn gate(&mut self) -> &mut Gate<Self> {
        &mut self.gate
    }

    fn wake(&mut self, token: Token) {
        self.readable.insert(token);
        self.unflushed.insert(token);
    }

    /// Time, connections, writes: in this order, with one look at the clock.
    fn turn(&mut self) {
        if self.paused || self.gate.is_closed() {
            return;
        }
        let served = self.served.clone();
        let mut server = served.access();
        let now = now();
        if server.poll_timeout().is_some_and(|due| due <= now.instant) {
            server.handle_timeout(now);
        }
        self.release(now);
        self.route(&mut server, now);
        self.accept(&mut server, now);
        self.count_outstanding(&mut server);
        for token in std::mem::take(&mut self.readable) {
            self.serve(&mut server, now, token);
        }
        drop(server);
        self.flush(now);
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.paused || self.gate.is_closed() {
            return None;
        }
        if !self.readable.is_empty() || !self.unflushed.is_empty() {
            return Some(Duration::ZERO);
        }
        let server = self.served.access().poll_timeout();
        let connections = self
            .timed
            .iter()
            .filter_map(|token| deadline(&self.connections, token));
        let connections = connections.min();
        let due = [server, connections, self.gate.next_deadline(now)]
            .into_iter()
            .flatten()
            .min()?;
        Some(due.saturating_duration_since(now))
    }

    fn set_faults(&mut self, faults: Arc<Plan>) {
        let served = self.served.clone();
        let now = now();
        let plan = Arc::clone(&faults);
        self.faults = faults;
        self.refilter(&mut served.access(), now, |filter| {
            filter.replace(now.instant, &plan);
        });
    }

    fn stop(&mut self) {
        self.gate.close();
        self.cut(CloseReason::Stopped);
        self.served.access().handle_stop(now());
    }

    /// Goes on with the state of before, as a process that was started again.
    fn restarted(&mut self) {
        self.paused = false;
        self.served.access().handle_restart(now());
    }

    /// Says of what is left that it is over, if anybody wants to know.
    fn end(&mut self) {
        if self.observer.is_some() {
            self.cut(CloseReason::Stopped);
        }
    }
}

/// Gives the server frames until it owes a share of replies, which are to be looked at before it
/// is given more, or the first one alone where a fault may look at each. None while there is too
/// much to answer. Says whether there was any.
fn ask(server: &mut Access<'_>, now: Now, connection: &mut Connection) -> bool {
    let (id, one_by_one) = (connection.id, connection.has_filter());
    let mut any = false;
    while !server.is_throttled(id) && server.handle_frame(now, id, connection.input()) {
        any = true;
        if one_by_one || server.output_len() >= SHARE {
            break;
        }
    }
    any
}

/// The session that a connection speaks for, once its handshake is over.
fn speaker(server: &Server, id: ConnectionId) -> Option<i64> {
    match server.connections.get(&id)?.stage {
        Stage::Attached(session) => Some(session),
        Stage::Fresh(_) | Stage::Opening => None,
    }
}

/// Whether a connection speaks for a session, or knows its password.
fn is_entitled(server: &Server, id: ConnectionId, session: &Session) -> bool {
    speaker(server, id) == Some(session.id) || session.password == sessions::password(session.id)
}

fn deadline(connections: &BTreeMap<Token, Connection>, token: &Token) -> Option<Instant> {
    connections.get(token)?.next_deadline()
}
