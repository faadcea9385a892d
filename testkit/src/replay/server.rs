//! The server's side of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{Record, ReplyHeader, frame, xid};

use super::compare::Comparison;
use super::door::Door;
use super::peer::Peer;
use super::steps::{self, Action, Step, is_ping};
use super::{Difference, ReplayError};
use crate::decode::{Piece, Way, What};
use crate::recording::Recording;

/// How often a connection looks whether something has happened on the others, or it is to end.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// A write that a client takes nothing of for so long ends its connection.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// How long a client may take to read what it was sent last.
const LINGER: Duration = Duration::from_secs(1);

/// A server that knows nothing but a recording: it expects that a client connects and asks as
/// often and in the same order as it was recorded, and gives the recorded answers. Numbers of
/// requests may be others; pings are answered whenever they come. Whoever connects and closes without
/// a word, as a probe does, is no client. Events are told when everything
/// that was asked before them has been asked, on whichever connection.
///
/// The first request that differs ends all of it, and [`wait`](Self::wait) says what was expected.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use homing_testkit::{recording::Recording, replay::ReplayServer};
///
/// let recording: Recording = "# homing-testkit recording 1\n\
///     0.000000 1 +\n\
///     0.000514 1 -> word \"ruok\"\t72756f6b\n\
///     0.000702 1 <- text \"imok\"\t696d6f6b\n\
///     0.000702 1 |<-\n".parse()?;
/// let server = ReplayServer::start(&recording)?;
/// let mut client = TcpStream::connect(server.addr())?;
/// client.write_all(b"ruok")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "imok");
/// assert_eq!(server.wait(Duration::from_secs(30)), Some(Ok(())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReplayServer {
    address: SocketAddr,
    play: Arc<Play>,
    thread: Option<JoinHandle<()>>,
}

impl ReplayServer {
    /// Plays a recording on a free port of the loopback address.
    ///
    /// # Errors
    /// It cannot be played (see the [module](super)), or there is no port left.
    pub fn start(recording: &Recording) -> Result<Self, ReplayError> {
        Self::listen(recording, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Plays a recording on this address; port 0 is any free one.
    ///
    /// # Errors
    /// It cannot be played (see the [module](super)), or the address is taken or not this
    /// machine's.
    pub fn listen(recording: &Recording, address: SocketAddr) -> Result<Self, ReplayError> {
        let play = Arc::new(Play::new(steps::of(recording)?));
        let failed = |error| ReplayError::listen(address, error);
        let door = Door::listen(address).map_err(failed)?;
        let address = door.address().map_err(failed)?;
        let shared = Arc::clone(&play);
        let thread = thread::Builder::new()
            .name(format!("replay-{}", address.port()))
            .spawn(move || accept(door, &shared))
            .map_err(failed)?;
        Ok(Self {
            address,
            play,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until all that was recorded has been played, or a client did something else: then
    /// the difference says what was expected. `None` when neither has happened within `limit`.
    pub fn wait(&self, limit: Duration) -> Option<Result<(), Difference>> {
        let until = Instant::now().checked_add(limit);
        let mut state = self.play.lock();
        loop {
            if state.outcome.is_some() {
                return state.outcome.clone();
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            state = self.play.look_again(state, left.unwrap_or(LOOK_AROUND));
        }
    }
}

impl Drop for ReplayServer {
    fn drop(&mut self) {
        self.play.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A recording, and how far it has been played.
#[derive(Debug)]
struct Play {
    steps: Vec<Step>,
    state: Mutex<State>,
    changed: Condvar,
    /// The server is dropped.
    is_over: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The places of steps that are still to be taken, pings left out.
    left: BTreeSet<usize>,
    /// Those among them in which a client says something.
    unsaid: BTreeSet<usize>,
    outcome: Option<Result<(), Difference>>,
}

impl Play {
    fn new(mut steps: Vec<Step>) -> Self {
        // What was only opened and closed need not be so again.
        let is_heard = |step: &&Step| !matches!(step.action, Action::Open | Action::End(_));
        let heard = steps.iter().filter(is_heard).map(|step| step.connection);
        let heard: BTreeSet<_> = heard.collect();
        steps.retain(|step| heard.contains(&step.connection));
        let left = steps.iter().enumerate().filter(|(_, step)| !step.is_ping());
        let said = left.clone().filter(|(_, step)| step.is_said_by_client());
        let state = State {
            left: left.clone().map(|(at, _)| at).collect(),
            unsaid: said.map(|(at, _)| at).collect(),
            outcome: steps.is_empty().then_some(Ok(())),
        };
        Self {
            state: Mutex::new(state),
            steps,
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_again<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        let result = self.changed.wait_timeout(state, limit);
        result.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The recorded connections, in the order in which they were opened.
    fn connections(&self) -> Vec<u64> {
        let mut known = BTreeSet::new();
        let connections = self.steps.iter().map(|step| step.connection);
        connections.filter(|it| known.insert(*it)).collect()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn is_done(&self) -> bool {
        self.is_over() || self.lock().outcome.is_some()
    }

    fn did(&self, step: usize) {
        let mut state = self.lock();
        state.left.remove(&step);
        state.unsaid.remove(&step);
        if state.left.is_empty() {
            state.outcome.get_or_insert(Ok(()));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether all has been said that clients said before a step.
    fn is_all_said_before(&self, step: usize) -> bool {
        let first = self.lock().unsaid.first().copied();
        first.is_none_or(|first| first > step)
    }

    fn fail(&self, at: Duration, connection: u64, what: String) {
        let difference = Difference {
            at,
            connection,
            what,
        };
        self.lock().outcome.get_or_insert(Err(difference));
        self.changed.notify_all();
    }
}

/// Gives each connection that is made to a thread that plays the next recorded one.
fn accept(mut door: Door, play: &Arc<Play>) {
    let mut threads = Vec::new();
    let mut recorded = play.connections().into_iter();
    let sockets = (1..).zip(std::iter::from_fn(|| next(&mut door, play)).flatten());
    for (number, socket) in sockets {
        let Some(connection) = recorded.next().filter(|_| !play.is_done()) else {
            let what = "recorded no such connection, now there is one".to_owned();
            play.fail(last_moment(play), number, what);
            continue;
        };
        let shared = Arc::clone(play);
        let socket = Arc::new(socket);
        let handle = Arc::downgrade(&socket);
        let run = move || Connection::run(&shared, connection, socket);
        match thread::Builder::new()
            .name("replay-connection".into())
            .spawn(run)
        {
            Ok(thread) => threads.push((thread, handle)),
            Err(error) => {
                let what = format!("no thread for the connection: {error}");
                play.fail(last_moment(play), connection, what);
            }
        }
    }
    for (thread, socket) in threads {
        // It may be in the middle of a write that the client does not read.
        if let Some(socket) = socket.upgrade() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        let _ = thread.join();
    }
}

/// Clients that have come in meanwhile, until the end.
fn next(door: &mut Door, play: &Play) -> Option<Vec<TcpStream>> {
    if play.is_done() {
        door.turn_away();
    }
    (!play.is_over()).then(|| door.let_in(LOOK_AROUND))
}

fn last_moment(play: &Play) -> Duration {
    play.steps.last().map_or(Duration::ZERO, |step| step.at)
}

/// A connection that plays a recorded one.
struct Connection<'a> {
    play: &'a Play,
    peer: Peer,
    comparison: Comparison,
    /// Recorded xids, and those of the same requests now.
    xids: BTreeMap<i32, i32>,
}

/// It is over, for this connection or for all.
struct Over;

impl<'a> Connection<'a> {
    fn run(play: &'a Play, number: u64, socket: Arc<TcpStream>) {
        let Ok(peer) = Peer::new(socket, Way::ToServer, WRITE_MAX) else {
            // The client is gone already, which the recorded one was not.
            return play.fail(Duration::ZERO, number, "the client has gone".into());
        };
        let mut connection = Self {
            play,
            peer,
            comparison: Comparison::default(),
            xids: BTreeMap::new(),
        };
        let steps = play.steps.iter().enumerate();
        for (at, step) in steps.filter(|(_, step)| step.connection == number) {
            if connection.take(at, step).is_err() {
                return;
            }
            play.did(at);
        }
        connection.linger(number);
    }

    fn take(&mut self, at: usize, step: &Step) -> Result<(), Over> {
        match &step.action {
            _ if self.play.is_over() => return Err(Over),
            _ if step.is_ping() => {}
            Action::Open => {}
            Action::Say(Way::ToServer, recorded) => self.expect(step, recorded)?,
            Action::Say(Way::ToClient, recorded) => {
                let is_event = recorded
                    .decoded()
                    .is_some_and(|decoded| matches!(decoded.what, What::Event { .. }));
                while is_event && !self.play.is_all_said_before(at) {
                    self.receive()?;
                }
                let bytes = self.answer(recorded);
                self.peer.send(&bytes);
            }
            Action::End(Way::ToServer) => self.expect_end(step)?,
            Action::End(Way::ToClient) => self.peer.end(),
        }
        Ok(())
    }

    /// Takes in what comes for a moment, and answers pings.
    fn receive(&mut self) -> Result<(), Over> {
        if self.play.is_done() {
            return Err(Over);
        }
        self.peer.receive(Instant::now() + LOOK_AROUND);
        let pings = self
            .peer
            .pieces
            .iter()
            .filter(|piece| is_ping(piece))
            .count();
        self.peer.pieces.retain(|piece| !is_ping(piece));
        for _ in 0..pings {
            self.peer.send(&pong());
        }
        Ok(())
    }

    fn expect(&mut self, step: &Step, recorded: &Piece) -> Result<(), Over> {
        let asked = loop {
            if let Some(piece) = self.peer.pieces.pop_front() {
                break piece;
            }
            if self.peer.has_ended {
                let what = format!("recorded {recorded}, now the client closed the connection");
                return self.fail(step, what);
            }
            self.receive()?;
        };
        let (Some(old), Some(new)) = (recorded.decoded(), asked.decoded()) else {
            return match recorded.bytes() == asked.bytes() {
                true => Ok(()),
                false => self.fail(step, format!("recorded {recorded}, now {asked}")),
            };
        };
        let differences = self.comparison.differences(old, new);
        if !differences.is_empty() {
            return self.fail(step, format!("recorded {recorded}, now {asked}"));
        }
        if let (What::Request { xid, .. }, What::Request { xid: now, .. }) = (old.what, new.what) {
            self.xids.insert(xid, now);
        }
        Ok(())
    }

    fn expect_end(&mut self, step: &Step) -> Result<(), Over> {
        loop {
            if let Some(piece) = self.peer.pieces.pop_front() {
                let what = format!("recorded that the client closed it, now {piece}");
                return self.fail(step, what);
            }
            if self.peer.has_ended {
                return Ok(());
            }
            self.receive()?;
        }
    }

    fn fail(&self, step: &Step, what: String) -> Result<(), Over> {
        self.play.fail(step.at, step.connection, what);
        Err(Over)
    }

    /// The recorded answer, with the xid of the request as it is now.
    fn answer(&self, recorded: &Piece) -> Bytes {
        let bytes = recorded.bytes();
        let what = recorded.decoded().map(|decoded| decoded.what);
        let Some(What::Reply { xid, .. }) = what else {
            return bytes.clone();
        };
        let mut bytes = BytesMut::from(&bytes[..]);
        let place = bytes.get_mut(frame::LENGTH_LEN..);
        let place = place.and_then(<[u8]>::first_chunk_mut::<4>);
        if let (Some(place), Some(now)) = (place, self.xids.get(&xid)) {
            *place = now.to_be_bytes();
        }
        bytes.freeze()
    }

    /// Stays for as long as the client or the others have something to do, and then until the
    /// client has had what was sent last.
    fn linger(&mut self, number: u64) {
        while !self.peer.has_ended && self.receive().is_ok() {
            if let Some(piece) = self.peer.pieces.pop_front() {
                let what = format!("recorded nothing more, now {piece}");
                return self.play.fail(last_moment(self.play), number, what);
            }
        }
        self.peer.end();
        let until = Instant::now() + LINGER;
        while !self.peer.has_ended && Instant::now() < until && !self.play.is_over() {
            self.peer.receive(Instant::now() + LOOK_AROUND);
        }
    }
}

/// The answer to a ping, of a server without transactions.
fn pong() -> Bytes {
    let header = ReplyHeader {
        xid: xid::PING,
        zxid: 0,
        err: 0,
    };
    let mut frame = BytesMut::new();
    frame.put_u32(16);
    header.encode(&mut frame);
    frame.freeze()
}
