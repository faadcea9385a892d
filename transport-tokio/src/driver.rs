//! The driver: one turn after another, for one session.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_transport::ask::ask;
use homing_transport::{
    Action, Asked, Down, Driver as DriverHandle, Engine, Layer, MustNotBlock, Outgoing, Passage,
    Question, clock, resolve,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::{self, Sleep};

use crate::dial::Dial;

/// Drives one session, a turn at a time. [`Tokio`](crate::Tokio) runs it as a task; it can as
/// well be polled by whoever has a runtime's context.
///
/// ```
/// # use homing_transport::Engine;
/// use homing_transport_tokio::{Driver, TcpDial};
/// async fn drive(engine: Box<dyn Engine>) {
///     let mut driver = Driver::new(TcpDial, engine, false);
///     std::future::poll_fn(|cx| driver.poll_turn(cx)).await
/// }
/// ```
pub struct Driver<D: Dial> {
    dial: D,
    bell: Arc<Bell>,
    session: Session<D::Stream>,
    timer: Option<Pin<Box<Sleep>>>,
    /// For how long the machine had slept at the last turn.
    slept: Duration,
    wakers: Vec<Waker>,
}

/// What reaches the driver from other threads.
struct Bell {
    state: Mutex<BellState>,
    /// Whether the driver's thread is its own, so that blocking any other does no harm.
    is_private: bool,
}

#[derive(Default)]
struct BellState {
    task: Option<Waker>,
    /// The answer to a lookup or a question, and to which.
    found: Option<(u64, Found)>,
}

/// What was found out on another thread.
enum Found {
    Addresses(io::Result<Vec<SocketAddr>>),
    Answer(io::Result<Asked>),
}

/// Where a thread says what it has found out.
struct Finding {
    bell: Arc<Bell>,
    lookup: u64,
}

impl Finding {
    fn is(self, found: Found) {
        self.bell.state().note(self.lookup, found);
        self.bell.ring();
    }
}

/// An engine, and the stream that it has or is about to get.
struct Session<S> {
    engine: Box<dyn Engine>,
    wire: Wire<S>,
    /// How the bytes of the wire get to the engine and back.
    passage: Passage,
    input: BytesMut,
    out: Outgoing,
    /// The number of the last lookup or question: answers to others come too late.
    lookup: u64,
    found: Option<Found>,
    /// There is something to do before anything else happens.
    is_ready: bool,
}

enum Wire<S> {
    None,
    Dialing(Pin<Box<dyn Future<Output = io::Result<S>> + Send>>),
    Open(S),
}

/// How much is read or written before other tasks have their turn.
const READS_MAX: usize = 8;
const WRITES_MAX: usize = 8;

/// Room that is made for a read, in bytes.
const READ_ROOM: usize = 64 << 10;
/// With less room than this, new room is made.
const READ_ROOM_MIN: usize = 4 << 10;

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

impl<D: Dial> Driver<D> {
    /// A driver for this session. `is_private` says that it has a thread of its own.
    pub fn new(dial: D, engine: Box<dyn Engine>, is_private: bool) -> Self {
        Self {
            dial,
            bell: Arc::new(Bell {
                state: Mutex::default(),
                is_private,
            }),
            session: Session {
                engine,
                wire: Wire::None,
                passage: Passage::plain(),
                input: BytesMut::new(),
                out: Outgoing::new(),
                lookup: 0,
                found: None,
                is_ready: false,
            },
            timer: None,
            slept: clock::slept(),
            wakers: Vec::new(),
        }
    }

    /// What wakes this driver.
    pub fn handle(&self) -> Arc<dyn DriverHandle> {
        Arc::clone(&self.bell) as Arc<dyn DriverHandle>
    }

    /// Does what there is to do; ready when the session is over.
    ///
    /// # Panics
    /// Outside a runtime, or in one whose I/O or time driver is not enabled.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.collect(cx);
        // The runtime's own clock, which its tests can stop, and the sleep that it does not count.
        let slept = clock::slept();
        let now = time::Instant::now().into_std() + slept;
        if slept > self.slept {
            self.session.engine.handle_sleep(slept - self.slept);
            self.slept = slept;
        }
        let context = TurnContext {
            dial: &self.dial,
            bell: &self.bell,
        };
        if self
            .session
            .turn(now, &context, cx, &mut self.wakers)
            .is_over()
        {
            self.wake();
            return Poll::Ready(());
        }
        if self.wake() {
            // Whoever was woken is likely to ask the next question at once. One round of the
            // scheduler, and these questions leave in one write.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.park(cx) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Wakes callers, with no lock held; whether there were any.
    fn wake(&mut self) -> bool {
        let any = !self.wakers.is_empty();
        self.wakers.drain(..).for_each(Waker::wake);
        any
    }

    /// Sets the timer. `false` if there is something to do at once. The session is told, so that
    /// submissions ring from now on.
    fn park(&mut self, cx: &mut Context<'_>) -> bool {
        if self.session.is_ready {
            return false;
        }
        if let Some(at) = self.session.engine.poll_timeout() {
            let at = time::Instant::from_std(clock::awake(at));
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_ready() {
                // It must not be polled again before it is set anew.
                self.timer = None;
                return false;
            }
        }
        self.session.engine.park()
    }

    /// Takes what the bell has brought, and listens to it from now on.
    fn collect(&mut self, cx: &Context<'_>) {
        let mut state = self.bell.state();
        if !state
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            state.task = Some(cx.waker().clone());
        }
        if let Some((lookup, found)) = state.found.take()
            && lookup == self.session.lookup
        {
            self.session.found = Some(found);
        }
    }
}

/// What a session's turn needs of its driver.
struct TurnContext<'a, D> {
    dial: &'a D,
    bell: &'a Arc<Bell>,
}

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// One turn, in the steps of [`Engine`]'s page.
    fn turn<D>(
        &mut self,
        now: Instant,
        context: &TurnContext<'_, D>,
        cx: &mut Context<'_>,
        wakers: &mut Vec<Waker>,
    ) -> Next
    where
        D: Dial<Stream = S>,
    {
        self.is_ready = false;
        match self.found.take() {
            Some(Found::Addresses(found)) => self.engine.handle_resolved(now, found),
            Some(Found::Answer(answer)) => self.engine.handle_answer(now, answer),
            None => {}
        }
        self.finish_dial(now, cx);
        self.read(now, cx);
        self.engine.handle_turn(now);
        loop {
            if self.act(now, context).is_over() {
                self.engine.take_wakers(wakers);
                return Next::Over;
            }
            // A stream that breaks here leads to new actions.
            if self.write(now, cx) {
                break;
            }
        }
        self.engine.take_wakers(wakers);
        Next::Again
    }

    fn finish_dial(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Wire::Dialing(dialing) = &mut self.wire else {
            return;
        };
        match dialing.as_mut().poll(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(stream)) => {
                self.wire = Wire::Open(stream);
                self.passage.opened(now, &mut *self.engine);
            }
            Poll::Ready(Err(error)) => self.disconnect(now, Down::Dial(error)),
        }
    }

    /// Reads as long as there is something, within reason.
    fn read(&mut self, now: Instant, cx: &mut Context<'_>) {
        for _ in 0..READS_MAX {
            let Wire::Open(stream) = &mut self.wire else {
                return;
            };
            if self.input.capacity() - self.input.len() < READ_ROOM_MIN {
                self.input.reserve(READ_ROOM);
            }
            match pin!(stream.read_buf(&mut self.input)).poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => return self.disconnect(now, Down::Closed),
                Poll::Ready(Ok(_)) => {
                    let engine = &mut *self.engine;
                    if let Err(why) = self.passage.receive(now, engine, &mut self.input) {
                        return self.disconnect(now, why);
                    }
                }
                Poll::Ready(Err(error)) => return self.disconnect(now, Down::Failed(error)),
            }
        }
        self.is_ready = true;
    }

    fn act<D>(&mut self, now: Instant, context: &TurnContext<'_, D>) -> Next
    where
        D: Dial<Stream = S>,
    {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Resolve { host, port } => self.look_up(host, port, context),
                Action::Dial { address } => self.dial(address, Passage::plain(), context),
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

    fn look_up<D>(&mut self, host: String, port: u16, context: &TurnContext<'_, D>) {
        let finding = self.finding(context);
        resolve::lookup(host, port, move |found| finding.is(Found::Addresses(found)));
    }

    fn ask<D>(&mut self, question: Question, context: &TurnContext<'_, D>) {
        let finding = self.finding(context);
        ask(question, move |answer| finding.is(Found::Answer(answer)));
    }

    /// For the thread that finds something out. What it was before is given up.
    fn finding<D>(&mut self, context: &TurnContext<'_, D>) -> Finding {
        self.lookup += 1;
        Finding {
            bell: Arc::clone(context.bell),
            lookup: self.lookup,
        }
    }

    fn dial_secure<D>(
        &mut self,
        now: Instant,
        address: SocketAddr,
        layer: &Layer,
        context: &TurnContext<'_, D>,
    ) where
        D: Dial<Stream = S>,
    {
        match Passage::secure(layer) {
            Ok(passage) => self.dial(address, passage, context),
            Err(error) => self.disconnect(now, Down::Secure(error)),
        }
    }

    fn dial<D>(&mut self, address: SocketAddr, passage: Passage, context: &TurnContext<'_, D>)
    where
        D: Dial<Stream = S>,
    {
        self.passage = passage;
        self.wire = Wire::Dialing(Box::pin(context.dial.dial(address)));
        // It does nothing before it is polled.
        self.is_ready = true;
    }

    /// Writes what the engine has, as far as the stream takes it. `false` if it broke.
    fn write(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        for _ in 0..WRITES_MAX {
            let Wire::Open(stream) = &mut self.wire else {
                return true;
            };
            let engine = &mut *self.engine;
            let pending = match self.passage.transmit(now, engine, &mut self.out) {
                Ok([]) => return true,
                Ok(pending) => pending,
                Err(why) => {
                    self.disconnect(now, why);
                    return false;
                }
            };
            match Pin::new(stream).poll_write(cx, pending) {
                Poll::Pending => return true,
                Poll::Ready(Ok(0)) => {
                    self.disconnect(now, Down::Failed(io::ErrorKind::WriteZero.into()));
                    return false;
                }
                Poll::Ready(Ok(count)) => self.passage.advance(&mut self.out, count),
                Poll::Ready(Err(error)) => {
                    // What arrived before it broke are answers all the same.
                    self.read(now, cx);
                    if matches!(self.wire, Wire::Open(_)) {
                        self.disconnect(now, Down::Failed(error));
                    }
                    return false;
                }
            }
        }
        self.is_ready = true;
        true
    }

    fn disconnect(&mut self, now: Instant, why: Down) {
        let why = self.passage.why(why);
        if let Wire::Open(stream) = &mut self.wire
            && matches!(why, Down::HungUp | Down::Secure(_) | Down::Closed)
            && let farewell @ [_, ..] = self.passage.farewell()
        {
            // As far as it goes at once: nobody waits for it.
            let cx = &mut Context::from_waker(Waker::noop());
            let _ = Pin::new(stream).poll_write(cx, farewell);
        }
        // Dropping the stream closes it.
        self.wire = Wire::None;
        self.passage = Passage::plain();
        self.input = BytesMut::new();
        let unsent = std::mem::take(&mut self.out);
        self.engine.handle_disconnected(now, unsent, why);
    }
}

impl BellState {
    /// Keeps an answer, unless one to a later lookup is there: the one before was given up.
    fn note(&mut self, lookup: u64, found: Found) {
        if self.found.as_ref().is_none_or(|(other, _)| *other < lookup) {
            self.found = Some((lookup, found));
        }
    }
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, BellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DriverHandle for Bell {
    fn ring(&self) {
        // Cloned, so that the executor's code runs with no lock held.
        let task = self.state().task.clone();
        task.into_iter().for_each(Waker::wake);
    }

    fn may_block(&self) -> Result<(), MustNotBlock> {
        if self.is_private || Handle::try_current().is_err() {
            return Ok(());
        }
        Err(MustNotBlock {
            why: "this thread belongs to a tokio runtime, which could be the one that drives the session: use `.await`, a thread outside the runtime, a private thread for the transport, or the nio transport",
        })
    }
}

impl<D: Dial> fmt::Debug for Driver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.session.engine).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_replace_a_later_one() {
        let mut state = BellState::default();
        for lookup in [2, 1, 3] {
            state.note(lookup, Found::Addresses(Ok(Vec::new())));
        }
        assert!(matches!(state.found, Some((3, _))));
        state.note(2, Found::Addresses(Ok(Vec::new())));
        assert!(matches!(state.found, Some((3, _))));
    }
}
