//! The proxy's thread: sockets, and what is to be done about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::faults::{Errand, Filter, Piece, Plan};
use crate::listening::Listening;
use crate::proxy::errand::Runner;
use crate::proxy::link::{End, Link, Turn};
use crate::proxy::seen::{Closer, Observed, Observer, Sight};

/// Something that another thread wants done, on the thread that owns the sockets.
pub(crate) type Job = Box<dyn FnOnce(&mut Relay) + Send>;

/// How much one read brings in at most.
const READ_LEN: usize = 64 << 10;

/// How long to wait when the process has no descriptor left for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// Behind them, each connection has three tokens in a row.
const FIRST: usize = 2;

/// Whose token it is.
#[derive(Debug, Clone, Copy)]
enum Who {
    Client,
    Server,
    Errand,
}

#[derive(Debug)]
pub(crate) struct Relay {
    poll: Poll,
    jobs: Receiver<Job>,
    upstream: Vec<SocketAddr>,
    accepted: Arc<AtomicU64>,
    plan: Arc<Plan>,
    observer: Option<Observer>,
    listening: Listening,
    address: Option<SocketAddr>,
    acceptable: bool,
    /// When to try again to accept.
    accept_after: Option<Instant>,
    /// It has been said that nothing can be accepted.
    is_short: bool,
    /// By their numbers, from 1 since the proxy was made.
    links: BTreeMap<u64, Link>,
    /// On behalf of the link of that number.
    errands: BTreeMap<u64, Runner>,
    /// Links that may have something to do.
    busy: BTreeSet<u64>,
    scratch: Vec<u8>,
    has_ended: bool,
}

impl Relay {
    pub(crate) fn new(
        upstream: Vec<SocketAddr>,
        jobs: Receiver<Job>,
        accepted: Arc<AtomicU64>,
        plan: Arc<Plan>,
        observer: Option<Observer>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let relay = Self {
            poll,
            jobs,
            upstream,
            accepted,
            plan,
            observer,
            listening: Listening::Closed,
            address: None,
            acceptable: false,
            accept_after: None,
            is_short: false,
            links: BTreeMap::new(),
            errands: BTreeMap::new(),
            busy: BTreeSet::new(),
            scratch: vec![0; READ_LEN],
            has_ended: false,
        };
        Ok((relay, waker))
    }

    /// The thread.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        while !self.has_ended {
            let timeout = self.timeout(Instant::now());
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => self.turn(&events),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Without events there is nothing that a proxy could do.
                Err(_) => return,
            }
        }
    }

    pub(crate) fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        // It may hold the port.
        self.listening = Listening::Closed;
        let registry = self.poll.registry();
        let (listening, address) = Listening::open(registry, LISTENER, address)?;
        self.listening = listening;
        self.address = Some(address);
        if self.plan.refuses() {
            self.listening.refuse(address);
        }
        self.acceptable = true;
        Ok(address)
    }

    pub(crate) fn restart(&mut self, address: SocketAddr) -> io::Result<()> {
        self.stop();
        self.listen(address).map(|_| ())
    }

    pub(crate) fn stop(&mut self) {
        self.listening = Listening::Closed;
        self.cut();
    }

    /// Closes all connections at once.
    pub(crate) fn cut(&mut self) {
        let now = Instant::now();
        self.errands.clear();
        self.busy.clear();
        for number in std::mem::take(&mut self.links).into_keys() {
            self.observe(now, number, Sight::Closed(Closer::Proxy));
        }
    }

    pub(crate) fn end(&mut self) {
        self.stop();
        self.has_ended = true;
    }

    /// Another script from now on.
    pub(crate) fn set_faults(&mut self, plan: Arc<Plan>) -> io::Result<()> {
        let now = Instant::now();
        for (number, link) in &mut self.links {
            link.filter.replace(now, &plan);
            self.busy.insert(*number);
        }
        self.plan = plan;
        match (&self.listening, self.address, self.plan.refuses()) {
            (Listening::Open(_), Some(address), true) => self.listening.refuse(address),
            (Listening::Refusing { .. }, Some(address), false) => {
                if let Err(error) = self.listen(address) {
                    // To be tried again from where it was.
                    self.listening.refuse(address);
                    return Err(error);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Jobs, events, time, connections: in this order, with one look at the clock.
    fn turn(&mut self, events: &Events) {
        while let Ok(job) = self.jobs.try_recv() {
            job(self);
        }
        for event in events {
            match event.token() {
                WAKER => {}
                LISTENER => self.acceptable = true,
                token => self.wake(token),
            }
        }
        let now = Instant::now();
        self.accept(now);
        let due = self.links.iter();
        let due = due.filter(|(_, link)| link.next_deadline().is_some_and(|due| due <= now));
        self.busy.extend(due.map(|(number, _)| *number));
        let late = self.errands.iter();
        let late = late.filter(|(_, runner)| runner.give_up <= now);
        self.busy.extend(late.map(|(number, _)| *number));
        for number in std::mem::take(&mut self.busy) {
            self.serve(now, number);
        }
    }

    fn wake(&mut self, token: Token) {
        let Some((number, who)) = owner(token) else {
            return;
        };
        self.busy.insert(number);
        if let Some(link) = self.links.get_mut(&number) {
            match who {
                Who::Client => link.client.is_readable = true,
                Who::Server => link.server.is_readable = true,
                Who::Errand => {}
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        if !self.acceptable || self.accept_after.is_some_and(|after| after > now) {
            return;
        }
        self.accept_after = None;
        loop {
            match self.listening.accept() {
                Ok((stream, peer)) => self.admit(now, stream, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.acceptable = false;
                    return;
                }
                // A client that has given up already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.accept_after = Some(now + ACCEPT_RETRY);
                    if !std::mem::replace(&mut self.is_short, true) {
                        let next = self.accepted.load(Ordering::Relaxed) + 1;
                        self.observe(now, next, Sight::NotAccepted(&error));
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, now: Instant, mut stream: TcpStream, peer: SocketAddr) {
        self.is_short = false;
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let mut filter = Filter::new(now, &self.plan, None);
        if self.observer.is_some() {
            filter.observe();
        }
        self.observe(now, number, Sight::Opened(peer));
        let server = self.dial(now, number, 0);
        // A socket that cannot be set up is one that its peer has closed.
        let is_ready = stream.set_nodelay(true).is_ok()
            && self
                .register(&mut stream, token(number, Who::Client))
                .is_ok();
        match server {
            Some((dialled, server)) if is_ready => {
                let mut link = Link::new(End::new(stream, true), server, filter);
                link.dialled = dialled;
                self.links.insert(number, link);
                self.busy.insert(number);
            }
            Some(_) => self.observe(now, number, Sight::Closed(Closer::Client)),
            None => self.observe(now, number, Sight::Closed(Closer::NoServer)),
        }
    }

    /// Begins a connection to the server, at the first address from there on where that goes.
    fn dial(&mut self, now: Instant, number: u64, from: usize) -> Option<(usize, End)> {
        let mut at = from;
        while let Some(address) = self.upstream.get(at).copied() {
            match self.begin(address, token(number, Who::Server)) {
                Ok(stream) => return Some((at, End::new(stream, false))),
                Err(error) => self.observe(now, number, Sight::Unreachable(address, &error)),
            }
            at += 1;
        }
        None
    }

    /// Begins a connection, which may fail later too.
    fn begin(&self, address: SocketAddr, token: Token) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn register(&self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, token, both)
    }

    /// Lets a link and its errand go on.
    fn serve(&mut self, now: Instant, number: u64) {
        let is_done = |runner: &mut Runner| runner.turn(now, &mut self.scratch);
        if self.errands.get_mut(&number).is_some_and(is_done) {
            self.errands.remove(&number);
            if let Some(link) = self.links.get_mut(&number) {
                link.filter.errand_done(now);
            }
        }
        if !self.connect(now, number) {
            return;
        }
        loop {
            let Some(link) = self.links.get_mut(&number) else {
                return;
            };
            let turn = link.turn(now, &mut self.scratch);
            self.show(now, number);
            match turn {
                Turn::Waits => return,
                Turn::Goes => {
                    self.busy.insert(number);
                    return;
                }
                Turn::Errand(errand) => self.run_errand(now, number, errand),
                Turn::Over(closer) => return self.close(now, number, closer),
            }
        }
    }

    /// Sees whether the server has been reached. Where it refuses, its next address is dialled;
    /// says whether the link lives.
    fn connect(&mut self, now: Instant, number: u64) -> bool {
        let Some(link) = self.links.get_mut(&number) else {
            return false;
        };
        if link.server.is_connected {
            return true;
        }
        let stream = &link.server.stream;
        let (Ok(Some(error)) | Err(error)) = stream.take_error() else {
            link.server.is_connected = stream.peer_addr().is_ok();
            if link.server.is_connected {
                let _ = stream.set_nodelay(true);
            }
            return true;
        };
        let dialled = link.dialled;
        if let Some(address) = self.upstream.get(dialled).copied() {
            self.observe(now, number, Sight::Unreachable(address, &error));
        }
        let Some((dialled, server)) = self.dial(now, number, dialled + 1) else {
            self.close(now, number, Closer::NoServer);
            return false;
        };
        if let Some(link) = self.links.get_mut(&number) {
            link.redial(dialled, server);
        }
        true
    }

    fn run_errand(&mut self, now: Instant, number: u64, errand: Errand) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        let address = self.upstream.get(link.dialled).copied();
        let begin = |address| self.begin(address, token(number, Who::Errand)).ok();
        if let Some(stream) = address.and_then(begin) {
            self.errands
                .insert(number, Runner::new(now, stream, errand));
        } else if let Some(link) = self.links.get_mut(&number) {
            // In vain: it is over before it began.
            link.filter.errand_done(now);
        }
    }

    fn close(&mut self, now: Instant, number: u64, closer: Closer) {
        // Its errand goes on: the server may have closed the one because of the other.
        self.links.remove(&number);
        self.observe(now, number, Sight::Closed(closer));
    }

    /// Shows what has come in.
    fn show(&mut self, now: Instant, number: u64) {
        while let Some(link) = self.links.get_mut(&number)
            && let Some((way, piece)) = link.filter.poll_seen()
        {
            match piece {
                Some(Piece::Frame(frame)) => {
                    let body = frame.slice(homing_protocol::frame::LENGTH_LEN.min(frame.len())..);
                    self.observe(now, number, Sight::Frame(way, &body));
                }
                Some(Piece::Raw(bytes)) => self.observe(now, number, Sight::Raw(way, &bytes)),
                None => self.observe(now, number, Sight::Ended(way)),
            }
        }
    }

    fn observe(&mut self, at: Instant, connection: u64, what: Sight<'_>) {
        if let Some(Observer(observer)) = &mut self.observer {
            observer(&Observed {
                connection,
                at,
                what,
            });
        }
    }

    /// How long the next wait may take.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let is_acceptable = self.acceptable && self.accept_after.is_none();
        if !self.busy.is_empty() || is_acceptable {
            return Some(Duration::ZERO);
        }
        let links = self.links.values().filter_map(Link::next_deadline);
        let errands = self.errands.values().map(|runner| runner.give_up);
        let due = links.chain(errands).chain(self.accept_after).min()?;
        Some(due.saturating_duration_since(now))
    }
}

fn token(number: u64, who: Who) -> Token {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let place = number.wrapping_mul(3).wrapping_add(FIRST);
    Token(place + who as usize)
}

fn owner(token: Token) -> Option<(u64, Who)> {
    let place = token.0.checked_sub(FIRST)?;
    let who = match place % 3 {
        0 => Who::Client,
        1 => Who::Server,
        _ => Who::Errand,
    };
    Some((u64::try_from(place / 3).ok()?, who))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_errand_in_vain_is_let_go_without_an_event() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (_jobs, queue) = mpsc::channel();
        let plan = Arc::new(Plan::default());
        let accepted = Arc::new(AtomicU64::new(1));
        let (mut relay, _waker) = Relay::new(vec![address], queue, accepted, plan, None).unwrap();
        let now = Instant::now();
        let stream = relay.begin(address, token(1, Who::Errand)).unwrap();
        let errand = Errand {
            request: Bytes::from_static(b"ruok"),
            answers: 1,
        };
        relay.errands.insert(1, Runner::new(now, stream, errand));
        assert_eq!(relay.timeout(now), Some(crate::proxy::errand::TIME_MAX));

        let events = Events::with_capacity(1);
        relay.turn(&events);
        assert_eq!(relay.errands.len(), 1);
        let runner = relay.errands.get_mut(&1).unwrap();
        runner.give_up = now;
        relay.turn(&events);
        assert!(relay.errands.is_empty());
    }
}
