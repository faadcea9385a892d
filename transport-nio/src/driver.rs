//! The driver: one turn after another over any number of sessions.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use homing_transport::ask::ask;
use homing_transport::{
    Action, Asked, Down, Driver as DriverHandle, Engine, Layer, Outgoing, Passage, Question, clock,
    resolve,
};
use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::buffer::ReadBuffer;
use crate::dial::{Dial, Stream};

/// Drives sessions, a turn at a time. [`Nio`](crate::Nio) runs it in a thread; it can as well be
/// run by whoever has a thread to spare.
///
/// ```
/// use std::time::Duration;
/// use homing_transport_nio::{Driver, TcpDial};
/// let mut driver = Driver::new(TcpDial)?;
/// assert!(!driver.turn(Some(Duration::ZERO))?, "it has no sessions");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Driver<D: Dial> {
    dial: D,
    poll: Poll,
    events: Events,
    bell: Arc<Bell>,
    /// Where a session's events come in: its token is its place here.
    sessions: Vec<Option<Session<D::Stream>>>,
    /// The number of the last lookup or question. One count for all sessions: the place of one that is over
    /// may have been taken by another when its answer comes.
    lookups: Cell<u64>,
    /// For how long the machine had slept at the last turn.
    slept: Duration,
    wakers: Vec<Waker>,
}

/// What reaches the driver from other threads.
struct Bell {
    waker: mio::Waker,
    /// Answers: for which session, to which lookup or question.
    found: Mutex<Vec<(usize, u64, Found)>>,
}

/// What was found out on another thread.
enum Found {
    Addresses(io::Result<Vec<SocketAddr>>),
    Answer(io::Result<Asked>),
}

/// Where a thread says what it has found out.
struct Finding {
    bell: Arc<Bell>,
    index: usize,
    lookup: u64,
}

impl Finding {
    fn is(self, found: Found) {
        let found_before = self.bell.found.lock();
        let mut answers = found_before.unwrap_or_else(PoisonError::into_inner);
        answers.push((self.index, self.lookup, found));
        drop(answers);
        self.bell.ring();
    }
}

/// An engine, and the stream that it has or is about to get.
struct Session<S> {
    engine: Box<dyn Engine>,
    wire: Wire<S>,
    /// How the bytes of the wire get to the engine and back.
    passage: Passage,
    input: ReadBuffer,
    out: Outgoing,
    /// The number of its last lookup or question: answers to others come too late.
    lookup: u64,
    found: Option<Found>,
    /// The engine was not asked for all that it has to write.
    has_more: bool,
}

enum Wire<S> {
    None,
    /// mio may tell of an end (`ended`) at the same time as of the beginning.
    Dialing {
        stream: S,
        writable: bool,
        ended: bool,
    },
    /// What the socket was last known to be ready for. mio tells of changes only, and of an end
    /// once, perhaps before everything was read.
    Open {
        stream: S,
        readable: bool,
        writable: bool,
        ended: bool,
    },
}

/// How much of one session is read or written before the next has its turn.
const READS_MAX: usize = 8;
const WRITES_MAX: usize = 8;

/// The token of the bell; sessions have theirs from 0 on.
const BELL: Token = Token(usize::MAX);

impl<D: Dial> Driver<D> {
    /// A driver without sessions.
    ///
    /// # Errors
    /// The system has no poll for it.
    pub fn new(dial: D) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), BELL)?;
        Ok(Self {
            dial,
            poll,
            events: Events::with_capacity(256),
            bell: Arc::new(Bell {
                waker,
                found: Mutex::default(),
            }),
            sessions: Vec::new(),
            lookups: Cell::new(0),
            slept: clock::slept(),
            wakers: Vec::new(),
        })
    }

    /// What wakes this driver.
    pub fn handle(&self) -> Arc<dyn DriverHandle> {
        Arc::clone(&self.bell) as Arc<dyn DriverHandle>
    }

    /// Takes a session on; it begins with the next turn.
    pub fn add(&mut self, engine: Box<dyn Engine>) {
        let session = Session {
            engine,
            wire: Wire::None,
            passage: Passage::plain(),
            input: ReadBuffer::new(),
            out: Outgoing::new(),
            lookup: 0,
            found: None,
            has_more: false,
        };
        match self.sessions.iter().position(Option::is_none) {
            Some(free) => self.sessions[free] = Some(session),
            None => self.sessions.push(Some(session)),
        }
        // Nothing has happened to it yet that would end the next wait.
        self.bell.ring();
    }

    /// Waits until there is something to do, but no longer than `max_wait`, and does it.
    /// `false` when no session is left.
    ///
    /// # Errors
    /// The system's poll failed.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> io::Result<bool> {
        if self.sessions.iter().all(Option::is_none) {
            return Ok(false);
        }
        let wait = self.park(max_wait);
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            // Nothing blocks between here and the next wait: one reading of the clock will do.
            _ => self.collect(),
        }
        let now = clock::now();
        let slept = clock::slept().saturating_sub(self.slept);
        self.slept += slept;
        for (index, place) in self.sessions.iter_mut().enumerate() {
            let context = Context {
                dial: &self.dial,
                registry: self.poll.registry(),
                bell: &self.bell,
                lookups: &self.lookups,
                index,
            };
            if let Some(session) = place
                && !slept.is_zero()
            {
                session.engine.handle_sleep(slept);
            }
            if let Some(session) = place
                && session.turn(now, &context, &mut self.wakers).is_over()
            {
                *place = None;
            }
        }
        // No lock is held here, and every session has written what it had.
        self.wakers.drain(..).for_each(Waker::wake);
        Ok(true)
    }

    /// How long to wait. The sessions are told, so that submissions ring from now on.
    fn park(&mut self, max_wait: Option<Duration>) -> Option<Duration> {
        let mut wait = max_wait;
        let mut now = None;
        for session in self.sessions.iter_mut().flatten() {
            if session.is_ready() || !session.engine.park() {
                return Some(Duration::ZERO);
            }
            if let Some(at) = session.engine.poll_timeout() {
                let now = *now.get_or_insert_with(clock::now);
                let left = at.saturating_duration_since(now);
                wait = Some(wait.map_or(left, |wait| wait.min(left)));
            }
        }
        wait
    }

    /// Hands out what the poll and the bell have brought.
    fn collect(&mut self) {
        for event in &self.events {
            if let Some(Some(session)) = self.sessions.get_mut(event.token().0) {
                session.wire.note(event);
            }
        }
        let mut found = self
            .bell
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (index, lookup, found) in found.drain(..) {
            if let Some(Some(session)) = self.sessions.get_mut(index)
                && session.lookup == lookup
            {
                session.found = Some(found);
            }
        }
    }
}

/// What a session's turn needs of its driver.
struct Context<'a, D> {
    dial: &'a D,
    registry: &'a Registry,
    bell: &'a Arc<Bell>,
    lookups: &'a Cell<u64>,
    index: usize,
}

/// Whether a session goes on.
enum Next {
    Again,
    Over,
}

impl Next {
    fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

impl<S: Stream> Session<S> {
    /// One turn, in the steps of [`Engine`]'s page.
    fn turn<D>(&mut self, now: Instant, context: &Context<'_, D>, wakers: &mut Vec<Waker>) -> Next
    where
        D: Dial<Stream = S>,
    {
        self.has_more = false;
        match self.found.take() {
            Some(Found::Addresses(found)) => self.engine.handle_resolved(now, found),
            Some(Found::Answer(answer)) => self.engine.handle_answer(now, answer),
            None => {}
        }
        self.finish_dial(now);
        self.read(now);
        self.engine.handle_turn(now);
        loop {
            if self.act(now, context).is_over() {
                self.engine.take_wakers(wakers);
                return Next::Over;
            }
            // A stream that breaks here leads to new actions.
            if self.write(now) {
                break;
            }
        }
        self.engine.take_wakers(wakers);
        Next::Again
    }

    /// Whether there is something to do before the poll says anything.
    fn is_ready(&self) -> bool {
        match &self.wire {
            Wire::None | Wire::Dialing { .. } => false,
            Wire::Open { readable, .. } => *readable || self.has_more,
        }
    }

    fn finish_dial(&mut self, now: Instant) {
        let Wire::Dialing {
            stream, writable, ..
        } = &mut self.wire
        else {
            return;
        };
        if !std::mem::take(writable) {
            return;
        }
        match stream.is_connected() {
            Ok(false) => {}
            Ok(true) => {
                if let Wire::Dialing { stream, ended, .. } =
                    std::mem::replace(&mut self.wire, Wire::None)
                {
                    self.wire = Wire::Open {
                        stream,
                        readable: true,
                        writable: true,
                        ended,
                    };
                }
                self.passage.opened(now, &mut *self.engine);
            }
            Err(error) => self.disconnect(now, Down::Dial(error)),
        }
    }

    /// Reads as long as there is something, within reason.
    fn read(&mut self, now: Instant) {
        for _ in 0..READS_MAX {
            let Wire::Open {
                stream,
                readable: readable @ true,
                ended,
                ..
            } = &mut self.wire
            else {
                return;
            };
            match self.input.read_from(stream) {
                Ok((0, _)) => return self.disconnect(now, Down::Closed),
                Ok((_, filled)) => {
                    // A read that leaves room has emptied the socket: the poll tells of more. On
                    // Windows it does so only after a read that would block.
                    *readable = filled || *ended || cfg!(windows);
                    let (passage, engine) = (&mut self.passage, &mut *self.engine);
                    let received = self
                        .input
                        .offer(|bytes| passage.receive(now, engine, bytes));
                    if let Err(why) = received {
                        return self.disconnect(now, why);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.disconnect(now, Down::Failed(error)),
            }
        }
    }

    fn act<D>(&mut self, now: Instant, context: &Context<'_, D>) -> Next
    where
        D: Dial<Stream = S>,
    {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Resolve { host, port } => self.look_up(host, port, context),
                Action::Dial { address } => self.dial(now, address, Passage::plain(), context),
                Action::DialSecure { address, layer } => {
                    self.dial_secure(now, address, &layer, context);
                }
                Action::Ask(question) => self.ask(question, context),
                Action::HangUp if matches!(self.wire, Wire::None) => {}
                Action::HangUp => self.disconnect(now, Down::HungUp),
                Action::Stop => return Next::Over,
            }
        }
        Next::Again
    }

    fn look_up<D>(&mut self, host: String, port: u16, context: &Context<'_, D>) {
        let finding = self.finding(context);
        resolve::lookup(host, port, move |found| finding.is(Found::Addresses(found)));
    }

    fn ask<D>(&mut self, question: Question, context: &Context<'_, D>) {
        let finding = self.finding(context);
        ask(question, move |answer| finding.is(Found::Answer(answer)));
    }

    /// For the thread that finds something out. What it was before is given up.
    fn finding<D>(&mut self, context: &Context<'_, D>) -> Finding {
        self.lookup = context.lookups.get() + 1;
        context.lookups.set(self.lookup);
        Finding {
            bell: Arc::clone(context.bell),
            index: context.index,
            lookup: self.lookup,
        }
    }

    fn dial_secure<D>(
        &mut self,
        now: Instant,
        address: SocketAddr,
        layer: &Layer,
        context: &Context<'_, D>,
    ) where
        D: Dial<Stream = S>,
    {
        match Passage::secure(layer) {
            Ok(passage) => self.dial(now, address, passage, context),
            Err(error) => self.disconnect(now, Down::Secure(error)),
        }
    }

    fn dial<D>(
        &mut self,
        now: Instant,
        address: SocketAddr,
        passage: Passage,
        context: &Context<'_, D>,
    ) where
        D: Dial<Stream = S>,
    {
        self.passage = passage;
        let dialed = context.dial.dial(address).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            context
                .registry
                .register(&mut stream, Token(context.index), interest)?;
            Ok(stream)
        });
        match dialed {
            Ok(stream) => {
                self.wire = Wire::Dialing {
                    stream,
                    writable: false,
                    ended: false,
                }
            }
            Err(error) => self.disconnect(now, Down::Dial(error)),
        }
    }

    /// Writes what the engine has, as far as the stream takes it. `false` if it broke.
    fn write(&mut self, now: Instant) -> bool {
        for _ in 0..WRITES_MAX {
            let Wire::Open {
                stream,
                readable,
                writable,
                ended,
            } = &mut self.wire
            else {
                return true;
            };
            let engine = &mut *self.engine;
            let pending = match self.passage.transmit(now, engine, &mut self.out) {
                Ok(pending) if !*writable || pending.is_empty() => return true,
                Ok(pending) => pending,
                Err(why) => {
                    self.disconnect(now, why);
                    return false;
                }
            };
            match stream.write(pending) {
                Ok(0) => {
                    self.disconnect(now, Down::Failed(io::ErrorKind::WriteZero.into()));
                    return false;
                }
                Ok(count) => self.passage.advance(&mut self.out, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // What arrived before it broke are answers all the same, and the poll may
                    // not have told of them yet.
                    (*readable, *ended) = (true, true);
                    self.read(now);
                    if matches!(self.wire, Wire::Open { .. }) {
                        self.disconnect(now, Down::Failed(error));
                    }
                    return false;
                }
            }
        }
        self.has_more = true;
        true
    }

    fn disconnect(&mut self, now: Instant, why: Down) {
        let why = self.passage.why(why);
        if let Wire::Open { stream, .. } = &mut self.wire
            && matches!(why, Down::HungUp | Down::Secure(_) | Down::Closed)
            && let farewell @ [_, ..] = self.passage.farewell()
        {
            // As far as it goes at once: nobody waits for it.
            let _ = stream.write(farewell);
        }
        // Dropping the stream closes it, and takes it out of the poll.
        self.wire = Wire::None;
        self.passage = Passage::plain();
        self.input.clear();
        let unsent = std::mem::take(&mut self.out);
        self.engine.handle_disconnected(now, unsent, why);
    }
}

impl<S> Wire<S> {
    fn note(&mut self, event: &Event) {
        let broken = event.is_error() || event.is_read_closed() || event.is_write_closed();
        match self {
            Self::None => {}
            Self::Dialing {
                writable, ended, ..
            } => {
                *writable |= event.is_writable() || broken;
                *ended |= broken;
            }
            Self::Open {
                readable,
                writable,
                ended,
                ..
            } => {
                *readable |= event.is_readable() || broken;
                *writable |= event.is_writable() || broken;
                *ended |= broken;
            }
        }
    }
}

impl DriverHandle for Bell {
    fn ring(&self) {
        // It fails only if the driver is gone, and then nobody waits for it.
        let _ = self.waker.wake();
    }
}

impl<D: Dial> fmt::Debug for Driver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self
            .sessions
            .iter()
            .flatten()
            .map(|session| &session.engine);
        f.debug_list().entries(sessions).finish()
    }
}
