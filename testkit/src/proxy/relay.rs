//! The proxy's thread: sockets, and what is to be done about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;
use mio::net::TcpStream;

use crate::faults::{Filter, Piece, Plan, Strike};
use crate::proxy::errand::{Errand, Runner};
use crate::proxy::link::{End, Link, Turn};
use crate::proxy::seen::{Closer, Observed, Observer, Sight};
use crate::worker::{FIRST_TOKEN, Gate, Work};

/// How much one read brings in at most.
const READ_LEN: usize = 64 << 10;

/// Whose token it is. Each connection has three in a row.
#[derive(Debug, Clone, Copy)]
enum Who {
    Client,
    Server,
    Errand,
}

#[derive(Debug)]
pub(crate) struct Relay {
    gate: Gate<Self>,
    upstream: Vec<SocketAddr>,
    plan: Arc<Plan>,
    observer: Option<Observer>,
    /// By their numbers, from 1 since the proxy was made.
    links: BTreeMap<u64, Link>,
    /// On behalf of the link of that number.
    errands: BTreeMap<u64, Runner>,
    /// Links that may have something to do.
    busy: BTreeSet<u64>,
    scratch: Vec<u8>,
}

impl Relay {
    pub(crate) fn new(
        gate: Gate<Self>,
        upstream: Vec<SocketAddr>,
        plan: Arc<Plan>,
        observer: Option<Observer>,
    ) -> Self {
        Self {
            gate,
            upstream,
            plan,
            observer,
            links: BTreeMap::new(),
            errands: BTreeMap::new(),
            busy: BTreeSet::new(),
            scratch: vec![0; READ_LEN],
        }
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

    fn accept(&mut self, now: Instant) {
        while let Some(next) = self.gate.accept(now) {
            match next {
                Ok((stream, peer)) => self.admit(now, stream, peer),
                Err(error) => {
                    let next = self.gate.accepted() + 1;
                    self.observe(now, next, Sight::NotAccepted(&error));
                }
            }
        }
    }

    fn admit(&mut self, now: Instant, mut stream: TcpStream, peer: SocketAddr) {
        let number = self.gate.accepted();
        let mut filter = Filter::new(now, &self.plan, None);
        if self.observer.is_some() {
            filter.observe();
        }
        self.observe(now, number, Sight::Opened(peer));
        let server = self.dial(now, number, 0);
        // A socket that cannot be set up is one that its peer has closed.
        let is_ready = stream.set_nodelay(true).is_ok()
            && self
                .gate
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
        self.gate.register(&mut stream, token)?;
        Ok(stream)
    }

    /// Lets a link and its errand go on.
    fn serve(&mut self, now: Instant, number: u64) {
        let turn = |runner: &mut Runner| runner.turn(now, &mut self.scratch);
        if let Some(outcome) = self.errands.get_mut(&number).and_then(turn) {
            let runner = self.errands.remove(&number);
            self.finish_errand(now, number, outcome, runner.and_then(Runner::strike));
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
        let (dialled, strike) = (link.dialled, link.filter.take_strike());
        let token = token(number, Who::Errand);
        let address = self.upstream.get(dialled).copied();
        let address = address.ok_or(ErrorKind::AddrNotAvailable.into());
        match address.and_then(|address| self.begin(address, token)) {
            Ok(stream) => {
                let runner = Runner::new(now, stream, errand, strike);
                self.errands.insert(number, runner);
            }
            // It is over before it began.
            Err(error) => self.finish_errand(now, number, Err(error), strike),
        }
    }

    /// An errand is over, whether its link still is or not.
    fn finish_errand(
        &mut self,
        now: Instant,
        number: u64,
        outcome: io::Result<()>,
        strike: Option<Strike>,
    ) {
        if let (Err(error), Some(strike)) = (outcome, strike) {
            strike.take_back();
            if let Some(rule) = strike.rule() {
                self.observe(now, number, Sight::InVain(rule, &error));
            }
        }
        if let Some(link) = self.links.get_mut(&number) {
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
}

impl Work for Relay {
    fn gate(&mut self) -> &mut Gate<Self> {
        &mut self.gate
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

    /// Connections that are new, and those that have something to do: with one look at the clock.
    fn turn(&mut self) {
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

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.busy.is_empty() {
            return Some(Duration::ZERO);
        }
        let links = self.links.values().filter_map(Link::next_deadline);
        let errands = self.errands.values().map(|runner| runner.give_up);
        let due = links.chain(errands);
        let due = due.chain(self.gate.next_deadline(now)).min()?;
        Some(due.saturating_duration_since(now))
    }

    fn set_faults(&mut self, plan: Arc<Plan>) {
        let now = Instant::now();
        for (number, link) in &mut self.links {
            link.filter.replace(now, &plan);
            self.busy.insert(*number);
        }
        self.plan = plan;
    }

    fn stop(&mut self) {
        self.gate.close();
        self.cut();
    }

    /// Says of what is left that it is over.
    fn end(&mut self) {
        self.cut();
    }
}

fn token(number: u64, who: Who) -> Token {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let place = number.wrapping_mul(3).wrapping_add(FIRST_TOKEN);
    Token(place + who as usize)
}

fn owner(token: Token) -> Option<(u64, Who)> {
    let place = token.0.checked_sub(FIRST_TOKEN)?;
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

    use bytes::Bytes;

    use super::*;
    use crate::worker::Worker;

    #[test]
    fn an_errand_in_vain_is_let_go_without_an_event() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let plan = Arc::new(Plan::default());
        let (_worker, gate) = Worker::bind("127.0.0.1:0".parse().unwrap(), &plan).unwrap();
        let mut relay = Relay::new(gate, vec![address], plan, None);
        relay.turn();
        let now = Instant::now();
        let stream = relay.begin(address, token(1, Who::Errand)).unwrap();
        let errand = Errand {
            request: Bytes::from_static(b"ruok"),
            ends: false,
        };
        relay
            .errands
            .insert(1, Runner::new(now, stream, errand, None));
        assert_eq!(relay.timeout(now), Some(crate::proxy::errand::TIME_MAX));

        relay.turn();
        assert_eq!(relay.errands.len(), 1);
        let runner = relay.errands.get_mut(&1).unwrap();
        runner.give_up = now;
        relay.turn();
        assert!(relay.errands.is_empty());
    }
}
