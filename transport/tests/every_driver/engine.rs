//! An engine that does what a test says, and writes down what its driver does.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use homing_transport::{Action, Asked, Down, Driver, Engine, Outgoing};

use super::Backend;
use super::plan::Plan;

/// What a driver told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Resolved(Result<Vec<SocketAddr>, ErrorKind>),
    Answered(Result<Asked, ErrorKind>),
    Connected,
    /// What the engine took off its input.
    Bytes(Vec<u8>),
    Disconnected {
        why: Why,
        unsent: Vec<u8>,
    },
    /// The engine was dropped.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    Dial(ErrorKind),
    /// What the layer says.
    Secure(String),
    Failed(ErrorKind),
    Closed,
    HungUp,
}

/// A test's side of the engine. When it goes away it complains about all that the driver did
/// and [`Engine`] does not allow.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    driver: OnceLock<Arc<dyn Driver>>,
}

pub(crate) struct Scripted {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    // What the engine does.
    actions: VecDeque<Action>,
    /// One of them is given for each `poll_transmit`.
    frames: VecDeque<Vec<u8>>,
    /// The engine takes a multiple of this off its input; 0 counts as 1.
    frame_len: usize,
    /// What it does at once when something happens.
    react: Option<Reaction>,
    /// When it wants a turn; `None` again when it has had it.
    timeout: Option<Instant>,
    wakers: Vec<Waker>,
    /// How often it still refuses to sleep.
    restless: usize,
    /// Something was asked for since the turn began.
    is_rung: bool,
    is_parked: bool,

    // What the driver has done.
    pub(crate) events: Vec<Event>,
    pub(crate) turns: usize,
    /// How many there were when the last time-out had passed.
    turns_in_time: usize,
    /// The time of the last call.
    now: Option<Instant>,
    link: Link,
    /// What was left of the input.
    rest: Vec<u8>,
    /// Something was read since the last `handle_turn`.
    has_read: bool,
    faults: Vec<String>,
}

type Reaction = Box<dyn FnMut(&Event) -> Vec<Action> + Send>;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Link {
    #[default]
    None,
    Dialing,
    Open {
        /// Nothing was transmitted yet.
        is_fresh: bool,
    },
}

/// Everything here happens in far less. It is a limit for what never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Remote {
    pub(crate) fn start(backend: &impl Backend, plan: &Plan) -> Self {
        let (remote, engine) = Self::new();
        remote.attach(backend.start(plan.clone(), engine));
        remote
    }

    pub(crate) fn new() -> (Self, Box<dyn Engine>) {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let engine = Scripted {
            shared: Arc::clone(&shared),
        };
        let remote = Self {
            shared,
            driver: OnceLock::new(),
        };
        (remote, Box::new(engine))
    }

    /// Tells whose doorbell to ring.
    pub(crate) fn attach(&self, driver: Arc<dyn Driver>) {
        assert!(self.driver.set(driver).is_ok());
        self.tell(|_| {});
    }

    // What the engine is to do.

    pub(crate) fn act(&self, action: Action) {
        self.tell(|state| state.actions.push_back(action));
    }

    pub(crate) fn dial(&self, address: SocketAddr) {
        self.act(Action::Dial { address });
    }

    pub(crate) fn resolve(&self, host: &str, port: u16) {
        let host = host.into();
        self.act(Action::Resolve { host, port });
    }

    pub(crate) fn send(&self, frame: impl Into<Vec<u8>>) {
        let frame = frame.into();
        self.tell(|state| state.frames.push_back(frame));
    }

    pub(crate) fn send_all(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.tell(|state| state.frames.extend(frames));
    }

    pub(crate) fn take_frames_of(&self, len: usize) {
        self.tell(|state| state.frame_len = len);
    }

    pub(crate) fn react(&self, react: impl FnMut(&Event) -> Vec<Action> + Send + 'static) {
        self.tell(|state| state.react = Some(Box::new(react)));
    }

    /// Hands a waker to the driver, with the next turn.
    pub(crate) fn wake(&self, waker: Waker) {
        self.tell(|state| state.wakers.push(waker));
    }

    /// Refuses to sleep so often.
    pub(crate) fn refuse_to_sleep(&self, times: usize) {
        self.tell(|state| state.restless = times);
    }

    pub(crate) fn ring(&self) {
        self.tell(|_| {});
    }

    /// Changes something, and rings as a queue does: if the driver sleeps.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.state();
        change(&mut state);
        state.is_rung = true;
        let ring = mem::take(&mut state.is_parked);
        drop(state);
        if ring && let Some(driver) = self.driver.get() {
            driver.ring();
        }
    }

    // What has happened.

    /// Waits until there is something to see.
    #[track_caller]
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        let started = Instant::now();
        let mut state = self.shared.state();
        loop {
            if let Some(seen) = look(&mut state) {
                return seen;
            }
            let Some(left) = PATIENCE.checked_sub(started.elapsed()) else {
                let (turns, events) = (state.turns, mem::take(&mut state.events));
                drop(state);
                panic!("waited in vain for {what}; {turns} turns, {events:?}");
            };
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for the event that comes next.
    #[track_caller]
    pub(crate) fn next(&self) -> Event {
        self.wait_for("an event", State::next)
    }

    #[track_caller]
    pub(crate) fn expect_connected(&self) {
        assert_eq!(self.next(), Event::Connected);
    }

    /// Collects so many bytes.
    #[track_caller]
    pub(crate) fn expect_bytes(&self, expected: &[u8]) {
        let mut bytes = Vec::new();
        while bytes.len() < expected.len() {
            match self.next() {
                Event::Bytes(more) => bytes.extend(more),
                other => panic!("{other:?} after {} bytes", bytes.len()),
            }
        }
        assert!(bytes == expected, "other bytes than expected");
    }

    /// Waits for the connection to go, and gives the reason and what was not written.
    #[track_caller]
    pub(crate) fn expect_disconnected(&self) -> (Why, Vec<u8>) {
        match self.next() {
            Event::Disconnected { why, unsent } => (why, unsent),
            other => panic!("{other:?}"),
        }
    }

    /// Wants a turn after this time, and not before for this reason.
    pub(crate) fn want_turn_in(&self, time: Duration) {
        let at = Instant::now() + time;
        self.tell(|state| state.timeout = Some(at));
    }

    /// Lets real time pass, and counts the turns that are taken meanwhile: one to begin with,
    /// one at the end, and what there is between.
    #[track_caller]
    pub(crate) fn turns_in(&self, time: Duration) -> usize {
        let before = self.turns();
        self.want_turn_in(time);
        self.wait_for("the time to pass", |state| {
            state.timeout.is_none().then_some(state.turns_in_time)
        }) - before
    }

    /// How many turns were taken.
    pub(crate) fn turns(&self) -> usize {
        self.shared.state().turns
    }

    /// Waits until the driver has taken a turn and sleeps.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.ring();
        self.wait_for("the driver to sleep", |state| state.is_parked.then_some(()));
    }

    /// Stops the driver, and waits until the engine is gone.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.act(Action::Stop);
        self.expect_dropped();
    }

    #[track_caller]
    pub(crate) fn expect_dropped(&self) {
        assert_eq!(self.next(), Event::Dropped);
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Lets the driver end, if the test has failed.
        self.tell(|state| state.actions.push_back(Action::Stop));
        if !std::thread::panicking() {
            let faults = mem::take(&mut self.shared.state().faults);
            assert!(faults.is_empty(), "{faults:#?}");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// The event that comes next, if it is there.
    pub(crate) fn next(&mut self) -> Option<Event> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn happened(&mut self, event: Event) {
        if let Some(mut react) = self.react.take() {
            self.actions.extend(react(&event));
            self.react = Some(react);
        }
        self.events.push(event);
    }

    fn expect(&mut self, is_right: bool, fault: &str) {
        if !is_right {
            let (link, events) = (self.link, &self.events);
            self.faults
                .push(format!("{fault}: {link:?} after {events:?}"));
        }
    }

    fn time(&mut self, now: Instant) {
        let is_right = self.now.is_none_or(|before| before <= now);
        self.expect(is_right, "time went back");
        self.now = Some(now);
    }
}

impl Scripted {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        let result = run(&mut self.shared.state());
        self.shared.changed.notify_all();
        result
    }
}

impl Engine for Scripted {
    fn handle_turn(&mut self, now: Instant) {
        self.with(|state| {
            state.time(now);
            state.turns += 1;
            state.has_read = false;
            state.is_rung = false;
            state.is_parked = false;
            if state.timeout.is_some_and(|at| at <= now) {
                state.timeout = None;
                state.turns_in_time = state.turns;
            }
        });
    }

    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>) {
        self.with(|state| {
            state.time(now);
            state.happened(Event::Resolved(addresses.map_err(|error| error.kind())));
        });
    }

    fn handle_answer(&mut self, now: Instant, answer: io::Result<Asked>) {
        self.with(|state| {
            state.time(now);
            state.happened(Event::Answered(answer.map_err(|error| error.kind())));
        });
    }

    fn handle_connected(&mut self, now: Instant) {
        self.with(|state| {
            state.time(now);
            state.expect(state.link == Link::Dialing, "connected without a dial");
            state.link = Link::Open { is_fresh: true };
            state.happened(Event::Connected);
        });
    }

    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut) {
        self.with(|state| {
            state.time(now);
            let is_open = matches!(state.link, Link::Open { .. });
            state.expect(is_open, "bytes without a stream");
            let is_longer = input.starts_with(&state.rest) && input.len() > state.rest.len();
            state.expect(is_longer, "an input that does not go on where it ended");
            state.has_read = true;
            let len = input.len() - input.len() % state.frame_len.max(1);
            if len > 0 {
                state.happened(Event::Bytes(input[..len].to_vec()));
                input.advance(len);
            }
            state.rest = input.to_vec();
        });
    }

    fn handle_disconnected(&mut self, now: Instant, unsent: Outgoing, why: Down) {
        self.with(|state| {
            state.time(now);
            state.expect(state.link != Link::None, "disconnected twice");
            let is_dialing = state.link == Link::Dialing;
            let is_right = match &why {
                Down::Dial(_) => is_dialing,
                Down::Failed(_) | Down::Closed => !is_dialing,
                Down::HungUp | Down::Secure(_) => true,
            };
            state.expect(is_right, "the wrong reason");
            state.link = Link::None;
            state.rest.clear();
            let why = match why {
                Down::Dial(error) => Why::Dial(error.kind()),
                Down::Secure(error) => Why::Secure(error.to_string()),
                Down::Failed(error) => Why::Failed(error.kind()),
                Down::Closed => Why::Closed,
                Down::HungUp => Why::HungUp,
            };
            let unsent = unsent.pending().to_vec();
            state.happened(Event::Disconnected { why, unsent });
        });
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.with(|state| {
            let action = state.actions.pop_front()?;
            if let Action::Dial { .. } | Action::DialSecure { .. } = action {
                state.link = Link::Dialing;
            }
            Some(action)
        })
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outgoing) {
        self.with(|state| {
            state.time(now);
            match &mut state.link {
                Link::Open { is_fresh } => {
                    let was_fresh = mem::take(is_fresh);
                    state.expect(
                        !was_fresh || out.is_empty(),
                        "a stream that begins with old bytes",
                    );
                }
                Link::None | Link::Dialing => state.expect(false, "transmits without a stream"),
            }
            state.expect(!state.has_read, "no turn between reading and writing");
            if let Some(frame) = state.frames.pop_front() {
                out.put_control(|bytes| bytes.extend_from_slice(&frame));
            }
        });
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.shared.state().timeout
    }

    fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        self.with(|state| into.append(&mut state.wakers));
    }

    fn park(&mut self) -> bool {
        self.with(|state| {
            let is_rung = state.is_rung;
            state.expect(is_rung || state.wakers.is_empty(), "sleeps on wakers");
            if state.restless > 0 {
                state.restless -= 1;
                return false;
            }
            state.is_parked = !is_rung;
            !is_rung
        })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.with(|state| state.events.push(Event::Dropped));
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}
