//! A session and its servers in virtual time: no socket, no thread, no waiting.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_transport::{
    Action, Asked, Down, Engine, Layer, Outgoing, Passage, Question, SecureAccept, SecureStream,
};

use crate::config::ServerConfig;
use crate::later::{AGES, later};
use crate::server::{Now, Output, Server};

mod world;

pub use world::Members;
use world::{End, World};

/// Drives an [`Engine`] against a [`Server`], as a third kind of driver whose clock jumps from
/// one event to the next. The same inputs give the same run, every time.
///
/// All addresses lead to the same server: an ensemble without a lag; or, [if it is to be
/// so](Self::with_ensemble), each to a member of an ensemble. What an address does is its
/// [`Behaviour`].
///
/// ```
/// use std::time::Duration;
/// use homing_session::{Config, ConnectString, Session, SessionState};
/// use homing_testkit::sim::Sim;
///
/// let servers = "10.0.0.1,10.0.0.2".parse::<ConnectString>()?.servers;
/// let (session, shared) = Session::new(Config::new(servers));
/// let mut sim = Sim::new(session);
/// let connected = sim.run_until(Duration::from_secs(1), |_| {
///     matches!(shared.status.state(), SessionState::Connected(_))
/// });
/// assert!(connected);
///
/// // An hour of pings, in no time.
/// sim.run_for(Duration::from_secs(3_600));
/// assert!(matches!(shared.status.state(), SessionState::Connected(_)));
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
pub struct Sim<E, W = Server> {
    engine: Option<E>,
    server: W,
    start: Instant,
    now: Now,
    latency: Duration,
    behaviours: BTreeMap<SocketAddr, Behaviour>,
    names: BTreeMap<String, Lookup>,
    /// Addresses that speak TLS, say, and nothing else.
    layers: BTreeMap<SocketAddr, Arc<dyn SecureAccept>>,
    wire: Wire,
    /// The answer to a question, and when it arrives.
    answer: Option<(Instant, io::Result<Asked>)>,
    passage: Passage,
    /// Bytes are delivered to the client in pieces of at most this length.
    piece_len: usize,
    /// How many bytes the stream takes before it takes no more.
    window: usize,
    tamper: Option<Tamper>,
    out: Outgoing,
    input: BytesMut,
    wakers: Vec<Waker>,
    trace: Vec<(Duration, Event)>,
}

/// Looks at each piece that a server sends, and says what arrives in its place.
pub type Tamper = Box<dyn FnMut(Bytes) -> Vec<Bytes>>;

/// What an address does when a client comes.
///
/// ```
/// assert_eq!(homing_testkit::sim::Behaviour::default(), homing_testkit::sim::Behaviour::Serve);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// The server is there.
    #[default]
    Serve,
    /// Nobody listens.
    Refuse,
    /// Neither accepted nor refused: the packets go nowhere.
    Hang,
    /// Accepted, and closed at once.
    AcceptAndClose,
    /// Accepted, and never a word.
    Mute,
    /// The server is there and has no quorum: it serves reads alone, and knows the same nodes. A
    /// member of an ensemble knows better whether it has one, and serves.
    ReadOnly,
}

/// What became of a name.
///
/// ```
/// let nowhere = homing_testkit::sim::Lookup::Fails;
/// assert_ne!(nowhere, homing_testkit::sim::Lookup::Hangs);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It has these addresses.
    Finds(Vec<IpAddr>),
    /// It has none.
    Fails,
    /// Nobody ever says.
    Hangs,
}

/// What happened, for a test to look at.
///
/// ```
/// use homing_testkit::sim::Event;
/// assert_eq!(Event::Sent(44).to_string(), "sent 44 bytes");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The session asked for a name.
    Resolve(String),
    /// The session dialled.
    Dial(SocketAddr),
    /// The session asked this host something beside its stream.
    Ask(String),
    /// The stream opened.
    Connected(SocketAddr),
    /// The session sent this many bytes in one piece.
    Sent(usize),
    /// The session hung up.
    HungUp,
    /// The stream was lost otherwise.
    Down,
    /// The session is over.
    Stopped,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(name) => write!(f, "resolve {name}"),
            Self::Dial(address) => write!(f, "dial {address}"),
            Self::Ask(host) => write!(f, "ask {host}"),
            Self::Connected(address) => write!(f, "connected to {address}"),
            Self::Sent(len) => write!(f, "sent {len} bytes"),
            Self::HungUp => f.write_str("hung up"),
            Self::Down => f.write_str("down"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

enum Wire {
    None,
    Resolving {
        at: Option<Instant>,
        found: Option<Vec<SocketAddr>>,
    },
    Dialing {
        address: SocketAddr,
        at: Option<Instant>,
    },
    Open(Link),
}

struct Link {
    /// The server's end; `None` where the address only plays a server.
    connection: Option<End>,
    /// What the server has received and not taken.
    server_input: BytesMut,
    /// What the server has between itself and the stream.
    layer: Option<Box<dyn SecureStream>>,
    to_server: VecDeque<(Instant, Bytes)>,
    to_client: VecDeque<(Instant, Parcel)>,
}

enum Parcel {
    Bytes(Bytes),
    Close,
}

impl Link {
    /// Makes of the server's bytes what goes over the wire.
    fn wrap(&mut self, bytes: Bytes) -> Bytes {
        let Some(layer) = &mut self.layer else {
            return bytes;
        };
        let (mut wire, mut rest) = (BytesMut::new(), &bytes[..]);
        while let Ok(count @ 1..) = layer.send(rest) {
            rest = rest.get(count..).unwrap_or_default();
            wire.extend_from_slice(&take_pending(&mut **layer));
        }
        wire.freeze()
    }

    /// Takes what has arrived at the server, and answers at its time `at` what the layer itself
    /// answers. `false` if the layer has had enough.
    fn unwrap(&mut self, at: Instant, bytes: &[u8]) -> bool {
        let Some(layer) = &mut self.layer else {
            self.server_input.extend_from_slice(bytes);
            return true;
        };
        let received = layer.receive(bytes, &mut self.server_input);
        let answer = take_pending(&mut **layer);
        if !answer.is_empty() {
            self.to_client.push_back((at, Parcel::Bytes(answer)));
        }
        received.is_ok()
    }
}

fn take_pending(layer: &mut dyn SecureStream) -> Bytes {
    let pending = Bytes::copy_from_slice(layer.pending());
    layer.advance(pending.len());
    pending
}

/// One server.
impl<E: Engine> Sim<E> {
    /// The engine, an empty server with the default configuration, and a millisecond between
    /// them in each direction.
    pub fn new(engine: E) -> Self {
        Self::with_server(engine, Server::new(ServerConfig::default()))
    }

    /// As [`new`](Self::new), with this server.
    pub fn with_server(engine: E, server: Server) -> Self {
        Self::in_world(engine, server)
    }

    /// The server behind all addresses.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Whether the server has any session.
    pub fn has_sessions(&self) -> bool {
        !self.server.sessions().is_empty()
    }

    /// Ends the session's side without a word, and leaves the server.
    pub fn into_server(self) -> Server {
        self.server
    }

    /// Does something to the server at the time that it is, and carries out what follows.
    pub fn with_server_now(&mut self, act: impl FnOnce(&mut Server, Now)) {
        act(&mut self.server, self.now);
        self.take_outputs();
    }
}

#[allow(
    private_bounds,
    reason = "there are two worlds, and no user needs another"
)]
impl<E: Engine, W: World> Sim<E, W> {
    fn in_world(engine: E, server: W) -> Self {
        let start = Instant::now();
        Self {
            engine: Some(engine),
            server,
            start,
            now: Now {
                instant: start,
                unix_ms: 1_700_000_000_000,
            },
            latency: Duration::from_millis(1),
            behaviours: BTreeMap::new(),
            names: BTreeMap::new(),
            layers: BTreeMap::new(),
            wire: Wire::None,
            answer: None,
            passage: Passage::plain(),
            piece_len: usize::MAX,
            window: usize::MAX,
            tamper: None,
            out: Outgoing::new(),
            input: BytesMut::new(),
            wakers: Vec::new(),
            trace: Vec::new(),
        }
    }

    /// The time, as the engine sees it.
    pub fn now(&self) -> Instant {
        self.now.instant
    }

    /// How much time has passed.
    pub fn elapsed(&self) -> Duration {
        self.now.instant - self.start
    }

    /// What happened so far, and when.
    pub fn trace(&self) -> &[(Duration, Event)] {
        &self.trace
    }

    /// When the session dialled, and whom.
    pub fn dials(&self) -> Vec<(Duration, SocketAddr)> {
        let dials = self.trace.iter().filter_map(|(at, event)| match event {
            Event::Dial(address) => Some((*at, *address)),
            _ => None,
        });
        dials.collect()
    }

    /// Whether the engine has said that it is over, and was dropped.
    pub fn is_stopped(&self) -> bool {
        self.engine.is_none()
    }

    /// How long bytes take in each direction; 1 ms at first.
    pub fn set_latency(&mut self, latency: Duration) {
        self.latency = latency.min(AGES);
    }

    /// What the address does from now on. A connection that is open stays as it is.
    pub fn set_behaviour(&mut self, address: SocketAddr, behaviour: Behaviour) {
        self.behaviours.insert(address, behaviour);
    }

    /// What becomes of a name. Names that were not set fail.
    pub fn set_name(&mut self, name: &str, lookup: Lookup) {
        self.names.insert(name.into(), lookup);
    }

    /// The address speaks through a layer from now on, TLS say, and does not understand who
    /// comes without.
    pub fn set_secure(&mut self, address: SocketAddr, layer: impl SecureAccept + 'static) {
        self.layers.insert(address, Arc::new(layer));
    }

    /// What the server sends arrives in pieces of at most this many bytes.
    pub fn set_piece_len(&mut self, len: usize) {
        self.piece_len = len.max(1);
    }

    /// The stream takes this many more bytes from the session, and then none until it is told
    /// so again, as if the server did not read.
    pub fn set_window(&mut self, len: usize) {
        self.window = len;
        self.turn();
    }

    /// Changes what the server sends on its way to the session.
    pub fn set_tamper(&mut self, tamper: impl FnMut(Bytes) -> Vec<Bytes> + 'static) {
        self.tamper = Some(Box::new(tamper));
    }

    /// Sends bytes to the session that no server has sent.
    pub fn inject(&mut self, bytes: &[u8]) {
        let at = self.now.instant;
        if let Wire::Open(link) = &mut self.wire {
            link.to_client
                .push_back((at, Parcel::Bytes(Bytes::copy_from_slice(bytes))));
        }
    }

    /// Cuts the connection now: both ends see it at once, and what was on its way is lost.
    pub fn cut(&mut self) {
        if let Wire::Open(link) = &self.wire {
            if let Some(connection) = link.connection {
                self.server.handle_disconnected(self.now, connection);
            }
            self.disconnect(Down::Failed(io::ErrorKind::ConnectionReset.into()));
        }
        self.turn();
    }

    /// Goes on to the next event, whatever it is; `false` if there will be none.
    pub fn step(&mut self) -> bool {
        self.turn();
        let Some(at) = self.next_event() else {
            return false;
        };
        self.advance_to(at);
        true
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = later(self.now.instant, duration);
        self.run_until(duration, |_| false);
        self.advance_to(end);
    }

    /// Goes on until `condition` holds, for `limit` at most. Whether it held.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end = later(self.now.instant, limit);
        self.turn();
        loop {
            if condition(self) {
                return true;
            }
            match self.next_event() {
                Some(at) if at <= end => self.advance_to(at),
                _ => return false,
            }
        }
    }

    /// The session's machine sleeps for so long. The server's does not: what it sends waits, and
    /// what time brings about there happens.
    pub fn sleep(&mut self, duration: Duration) {
        let end = later(self.now.instant, duration);
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= end) {
            self.now = self
                .now
                .after(at.saturating_duration_since(self.now.instant));
            self.server.handle_timeout(self.now);
            self.take_outputs();
        }
        self.now = self.now.after(end - self.now.instant);
        self.tell(|engine, _| engine.handle_sleep(duration.min(AGES)));
        self.advance_to(end);
    }

    fn next_event(&self) -> Option<Instant> {
        let wire = match &self.wire {
            Wire::None => None,
            Wire::Resolving { at, .. } | Wire::Dialing { at, .. } => *at,
            Wire::Open(link) => {
                let down = link.to_client.front().map(|(at, _)| *at);
                let up = link.to_server.front().map(|(at, _)| *at);
                down.into_iter().chain(up).min()
            }
        };
        let engine = self.engine.as_ref().and_then(Engine::poll_timeout);
        let answer = self.answer.as_ref().map(|(at, _)| *at);
        let next = [wire, answer, engine, self.server.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        next.map(|at| at.max(self.now.instant))
    }

    fn advance_to(&mut self, at: Instant) {
        self.now = self
            .now
            .after(at.saturating_duration_since(self.now.instant));
        self.server.handle_timeout(self.now);
        self.take_outputs();
        self.deliver();
        self.turn();
    }

    /// Carries out what is due on the wire.
    fn deliver(&mut self) {
        let now = self.now.instant;
        if let Some((_, answer)) = self.answer.take_if(|(at, _)| *at <= now) {
            self.tell(|engine, now| engine.handle_answer(now, answer));
        }
        match &mut self.wire {
            Wire::Resolving {
                at: Some(at),
                found,
            } if *at <= now => {
                let nowhere = || io::Error::new(io::ErrorKind::NotFound, "no such name");
                let found = found.take().ok_or_else(nowhere);
                self.wire = Wire::None;
                self.tell(|engine, _| engine.handle_resolved(now, found));
            }
            Wire::Dialing {
                address,
                at: Some(at),
            } if *at <= now => {
                let address = *address;
                self.finish_dial(address);
            }
            Wire::Open(_) => self.deliver_bytes(),
            _ => {}
        }
    }

    fn finish_dial(&mut self, address: SocketAddr) {
        let behaviour = self.behaviours.get(&address).copied().unwrap_or_default();
        if behaviour == Behaviour::Refuse {
            return self.disconnect(Down::Dial(io::ErrorKind::ConnectionRefused.into()));
        }
        let serves = matches!(behaviour, Behaviour::Serve | Behaviour::ReadOnly);
        let connection = match serves {
            true => self.accept(address, behaviour),
            false => None,
        };
        if serves && connection.is_none() {
            return self.disconnect(Down::Dial(io::ErrorKind::ConnectionRefused.into()));
        }
        let layer = self.layers.get(&address);
        let mut link = Link {
            connection,
            server_input: BytesMut::new(),
            layer: layer.and_then(|layer| layer.accept().ok()),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        };
        if behaviour == Behaviour::AcceptAndClose {
            link.to_client
                .push_back((self.now.instant + self.latency, Parcel::Close));
        }
        self.wire = Wire::Open(link);
        self.note(Event::Connected(address));
        let mut passage = std::mem::take(&mut self.passage);
        self.tell(|engine, now| passage.opened(now, engine));
        self.passage = passage;
        self.take_outputs();
    }

    fn accept(&mut self, address: SocketAddr, behaviour: Behaviour) -> Option<End> {
        let is_read_only = behaviour == Behaviour::ReadOnly;
        self.server.accept(self.now, address, is_read_only)
    }

    fn deliver_bytes(&mut self) {
        let now = self.now.instant;
        while let Wire::Open(link) = &mut self.wire {
            let up = link
                .to_server
                .front()
                .map(|(at, _)| *at)
                .filter(|at| *at <= now);
            let down = link
                .to_client
                .front()
                .map(|(at, _)| *at)
                .filter(|at| *at <= now);
            if up.is_some() && (down.is_none() || up <= down) {
                let Some((_, bytes)) = link.to_server.pop_front() else {
                    return;
                };
                if let Some(connection) = link.connection {
                    if !link.unwrap(now + self.latency, &bytes) {
                        self.server.close(connection);
                    } else if !link.server_input.is_empty() {
                        self.server
                            .handle_bytes(self.now, connection, &mut link.server_input);
                    }
                    self.take_outputs();
                }
            } else if down.is_some() {
                match link.to_client.pop_front() {
                    Some((_, Parcel::Bytes(bytes))) => self.receive(bytes),
                    _ => self.disconnect(Down::Closed),
                }
            } else {
                return;
            }
        }
    }

    fn receive(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() && matches!(self.wire, Wire::Open(_)) {
            let piece = bytes.split_to(bytes.len().min(self.piece_len));
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(&piece);
            let mut passage = std::mem::take(&mut self.passage);
            let mut received = Ok(());
            self.tell(|engine, now| received = passage.receive(now, engine, &mut input));
            (self.passage, self.input) = (passage, input);
            if let Err(why) = received {
                self.disconnect(why);
            }
            self.turn();
        }
    }

    /// Puts what the server sends on its way.
    fn take_outputs(&mut self) {
        while let Some((index, output)) = self.server.poll_output() {
            self.take_output(index, output);
        }
    }

    fn take_output(&mut self, index: usize, output: Output) {
        let at = self.now.instant + self.latency;
        let Wire::Open(link) = &mut self.wire else {
            return;
        };
        match output {
            Output::Send(to, bytes) if link.connection == Some((index, to)) => {
                let bytes = link.wrap(bytes);
                let pieces = match &mut self.tamper {
                    Some(tamper) => tamper(bytes),
                    None => vec![bytes],
                };
                link.to_client
                    .extend(pieces.into_iter().map(|p| (at, Parcel::Bytes(p))));
            }
            Output::Close(to) if link.connection == Some((index, to)) => {
                link.connection = None;
                if let Some(layer) = &mut link.layer {
                    layer.close();
                    let bytes = take_pending(&mut **layer);
                    link.to_client.push_back((at, Parcel::Bytes(bytes)));
                }
                link.to_client.push_back((at, Parcel::Close));
            }
            _ => {}
        }
    }

    /// A driver's turn, from `handle_turn` on; see [`Engine`].
    fn turn(&mut self) {
        self.tell(|engine, now| engine.handle_turn(now));
        while let Some(action) = self.engine.as_mut().and_then(Engine::poll_action) {
            match action {
                Action::Resolve { host, port } => self.resolve(&host, port),
                Action::Dial { address } => self.dial(address, Passage::plain()),
                Action::DialSecure { address, layer } => self.dial_secure(address, &layer),
                Action::Ask(question) => self.ask(&question),
                Action::HangUp => {
                    self.note(Event::HungUp);
                    if let Wire::Open(Link {
                        connection: Some(connection),
                        ..
                    }) = self.wire
                    {
                        self.server.handle_disconnected(self.now, connection);
                    }
                    self.disconnect(Down::HungUp);
                }
                Action::Stop => {
                    self.note(Event::Stopped);
                    self.engine = None;
                }
            }
        }
        self.transmit();
        let mut wakers = std::mem::take(&mut self.wakers);
        self.tell(|engine, _| engine.take_wakers(&mut wakers));
        wakers.drain(..).for_each(Waker::wake);
        self.wakers = wakers;
    }

    fn transmit(&mut self) {
        let arrival = self.now.instant + self.latency;
        while matches!(self.wire, Wire::Open(_)) {
            let (mut out, mut passage) = (
                std::mem::take(&mut self.out),
                std::mem::take(&mut self.passage),
            );
            let (mut sent, window) = (Bytes::new(), self.window);
            self.tell(|engine, now| {
                let pending = passage.transmit(now, engine, &mut out);
                let pending = pending.unwrap_or_default();
                sent = Bytes::copy_from_slice(pending.get(..window).unwrap_or(pending));
            });
            let len = sent.len();
            passage.advance(&mut out, len);
            (self.out, self.passage) = (out, passage);
            if sent.is_empty() {
                return;
            }
            if self.window != usize::MAX {
                self.window -= len;
            }
            self.note(Event::Sent(len));
            if let Wire::Open(link) = &mut self.wire {
                link.to_server.push_back((arrival, sent));
            }
        }
    }

    fn resolve(&mut self, host: &str, port: u16) {
        self.note(Event::Resolve(host.into()));
        let soon = Some(self.now.instant + self.latency);
        let (at, found) = match self.names.get(host) {
            Some(Lookup::Finds(ips)) => (
                soon,
                Some(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            ),
            Some(Lookup::Hangs) => (None, None),
            Some(Lookup::Fails) | None => (soon, None),
        };
        self.wire = Wire::Resolving { at, found };
    }

    fn dial_secure(&mut self, address: SocketAddr, layer: &Layer) {
        match Passage::secure(layer) {
            Ok(passage) => self.dial(address, passage),
            Err(error) => {
                self.dial(address, Passage::plain());
                self.disconnect(Down::Secure(error));
            }
        }
    }

    fn dial(&mut self, address: SocketAddr, passage: Passage) {
        self.passage = passage;
        self.note(Event::Dial(address));
        let hangs = self.behaviours.get(&address) == Some(&Behaviour::Hang);
        let at = (!hangs).then(|| self.now.instant + self.latency);
        self.wire = Wire::Dialing { address, at };
    }

    fn ask(&mut self, question: &Question) {
        self.note(Event::Ask(question.host.clone()));
        let at = self.now.instant + 2 * self.latency;
        let ip = match (question.host.parse(), self.names.get(&question.host)) {
            (Ok(ip), _) => Some(ip),
            (_, Some(Lookup::Finds(ips))) => ips.first().copied(),
            _ => None,
        };
        let answer = match ip {
            Some(ip) => self.answer(SocketAddr::new(ip, question.port), question),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        self.answer = Some((at, answer));
    }

    /// What an address says over a connection that is closed behind it.
    fn answer(&mut self, address: SocketAddr, question: &Question) -> io::Result<Asked> {
        if question.layer.is_some() != self.layers.contains_key(&address) {
            // They do not understand each other.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let behaviour = self.behaviours.get(&address).copied().unwrap_or_default();
        let connection = match behaviour {
            Behaviour::Serve | Behaviour::ReadOnly => self.accept(address, behaviour),
            Behaviour::Refuse => None,
            _ => return Err(io::ErrorKind::TimedOut.into()),
        };
        let connection = connection.ok_or(io::ErrorKind::ConnectionRefused)?;
        self.server
            .handle_bytes(self.now, connection, &mut question.question.into());
        let mut answer = Vec::new();
        while let Some((index, output)) = self.server.poll_output() {
            match output {
                Output::Send(to, bytes) if (index, to) == connection => {
                    answer.extend_from_slice(&bytes);
                }
                other => self.take_output(index, other),
            }
        }
        self.server.handle_disconnected(self.now, connection);
        Ok(Asked { address, answer })
    }

    fn disconnect(&mut self, why: Down) {
        let why = self.passage.why(why);
        if !matches!(why, Down::HungUp) {
            self.note(Event::Down);
        }
        let had_stream = matches!(self.wire, Wire::Dialing { .. } | Wire::Open(_));
        self.wire = Wire::None;
        self.passage = Passage::plain();
        self.input = BytesMut::new();
        let unsent = std::mem::take(&mut self.out);
        if had_stream {
            self.tell(|engine, now| engine.handle_disconnected(now, unsent, why));
        }
    }

    fn tell(&mut self, tell: impl FnOnce(&mut E, Instant)) {
        if let Some(engine) = &mut self.engine {
            tell(engine, self.now.instant);
        }
    }

    fn note(&mut self, event: Event) {
        self.trace.push((self.now.instant - self.start, event));
    }
}

impl<E, W> fmt::Debug for Sim<E, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("elapsed", &(self.now.instant - self.start))
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}
