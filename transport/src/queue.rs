//! The ordered queue: the one thing that callers, session and driver share.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use crate::driver::Driver;
use crate::outgoing::Outgoing;
use crate::slot::{Slot, Ticket};
use crate::sync::{Mutex, lock};

/// Requests in the order in which they were submitted, from submission until they end.
///
/// `N` is what the session notes beside a slot (what to do when the reply comes), `A` is an
/// answer: a reply, or why there is none.
///
/// ```text
///              line, in the order of submission
///   front [ taken: bytes are in an Outgoing or were written | waiting: bytes are here ] back
/// ```
///
/// What is always true:
/// - an entry is in the line from its submission until it is answered by [`Line::pop`], by a
///   lost connection, or by the end; one whose deadline passed keeps its place if it was taken;
/// - the bytes of the waiting entries stand in `waiting`, in the order of the line, and nothing
///   else does;
/// - every slot is filled once, outside the queue's lock, and wakers are called outside any;
/// - after [`seal`](Self::seal) nothing enters; after [`end`](Self::end) the line is empty.
///
/// A queue is shared by an `Arc`; all methods take `&self` and hold a lock for a short time in
/// which no code of a user runs.
///
/// ```
/// use homing_transport::{Limits, Outbox, Outgoing, Queue, Request};
///
/// let queue: Queue<(), &str> = Queue::new(Limits::default());
/// let request = Request { len: 5, within: None, note: () };
/// let mut ticket = queue.try_submit(request, |_xid, out| out.extend_from_slice(b"hello"))?;
///
/// // The session takes the bytes along to be written …
/// let mut out = Outgoing::new();
/// queue.take_into(&mut out);
/// assert_eq!(out.pending(), b"hello");
///
/// // … and answers whatever stands at the head when a reply comes.
/// let mut outbox = Outbox::new();
/// queue.dispatch(&mut outbox, |line| {
///     assert_eq!(line.head().map(|(xid, ())| xid), Some(1));
///     line.pop("world");
/// });
/// assert_eq!(ticket.try_pull(), Some("world"));
/// # Ok::<(), homing_transport::Refused>(())
/// ```
pub struct Queue<N, A> {
    inner: Mutex<Inner<N, A>>,
    driver: OnceLock<Arc<dyn Driver>>,
}

/// How much may be in the queue at once, from submission until the answer.
///
/// ```
/// let limits = homing_transport::Limits::default();
/// assert_eq!((limits.requests, limits.bytes), (65_536, 64 << 20));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests; 65,536 by default.
    pub requests: usize,
    /// Encoded bytes of these requests; 64 MiB by default. A single request that is larger goes
    /// out alone.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 65_536,
            bytes: 64 << 20,
        }
    }
}

/// What of the [`Limits`] is in use.
///
/// ```
/// assert_eq!(homing_transport::Usage::default().requests, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that were submitted and not answered.
    pub requests: usize,
    /// Their encoded bytes.
    pub bytes: usize,
}

/// What the queue needs to know of a request beside its bytes.
///
/// ```
/// let ping = homing_transport::Request { len: 12, within: None, note: "ping" };
/// assert_eq!(ping.note, "ping");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<N> {
    /// How many bytes it will encode, exactly.
    pub len: usize,
    /// The deadline, counted from the driver's next turn; `None` for no deadline.
    pub within: Option<Duration>,
    /// For the session, when the reply comes.
    pub note: N,
}

/// Why a submission was refused. Nothing of it was sent, and nothing will be.
///
/// ```
/// assert_eq!(homing_transport::Refused::Busy.to_string(), "too much is in flight");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The [`Limits`] are reached, or others already wait for room.
    Busy,
    /// [`Queue::seal`] was called: the session is closing.
    Sealed,
    /// [`Queue::end`] was called: the session is over.
    Ended,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too much is in flight",
            Self::Sealed => "the session is closing",
            Self::Ended => "the session is over",
        })
    }
}

impl std::error::Error for Refused {}

/// What the peer can know of a request that ended without an answer.
///
/// ```
/// use homing_transport::Fate;
/// assert_ne!(Fate::NotSent, Fate::MaybeApplied);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No byte of it was handed over: the peer cannot have seen it.
    NotSent,
    /// It was, in part at least: the peer may have acted on it, or not.
    MaybeApplied,
}

struct Inner<N, A> {
    line: VecDeque<Entry<N, A>>,
    /// `line[..taken]` have left for an [`Outgoing`]; at most `line.len()`.
    taken: usize,
    /// `line[..stamped]` have a deadline as an instant; at most `line.len()`.
    stamped: usize,
    /// The bytes of `line[taken..]`.
    waiting: BytesMut,
    /// How many entries are asides.
    asides: usize,
    /// `waiting` holds something that is to be wiped when it was written.
    holds_secret: bool,
    next_xid: i32,
    limits: Limits,
    used: Usage,
    /// Who waits for room, in the order of arrival.
    admissions: VecDeque<Waiter>,
    alarms: Vec<(Due, Arc<Slot<()>>)>,
    /// `alarms[..alarms_stamped]` have an instant; at most `alarms.len()`.
    alarms_stamped: usize,
    /// No deadline or alarm with an instant is earlier.
    earliest: Option<Instant>,
    swept_at: Option<Instant>,
    gate: Gate,
    /// Something was submitted since the driver's turn began.
    rung: bool,
    /// The driver sleeps, or is about to.
    parked: bool,
}

struct Entry<N, A> {
    slot: Arc<Slot<A>>,
    note: N,
    due: Due,
    len: usize,
    xid: i32,
    /// Its reply comes outside the order of the line.
    aside: bool,
    /// It leaves even if nobody waits for its answer: the last request of all.
    is_last: bool,
}

impl<N, A> Entry<N, A> {
    /// Whether it is still to be sent, if it has not been.
    fn is_wanted(&self) -> bool {
        self.is_last || self.slot.is_awaited()
    }
}

#[derive(Clone, Copy)]
enum Due {
    Never,
    /// Counted from the next turn: whoever submits reads no clock.
    Within(Duration),
    At(Instant),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Sealed { within: Duration },
    Ended,
}

struct Waiter {
    len: usize,
    slot: Arc<Slot<Result<(), Refused>>>,
}

/// Deadlines are looked through at most this often: they are late by this much at the most.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

impl<N, A> Queue<N, A> {
    /// An empty queue whose first xid is 1.
    pub fn new(limits: Limits) -> Self {
        Self::with_first_xid(limits, 1)
    }

    /// An empty queue that begins with another xid, so that a test can see it wrap. Xids run
    /// from 1 to `i32::MAX` and begin again; one that is not positive counts as 1.
    pub fn with_first_xid(limits: Limits, first_xid: i32) -> Self {
        let inner = Inner {
            line: VecDeque::new(),
            taken: 0,
            stamped: 0,
            waiting: BytesMut::new(),
            asides: 0,
            holds_secret: false,
            next_xid: first_xid.max(1),
            limits,
            used: Usage::default(),
            admissions: VecDeque::new(),
            alarms: Vec::new(),
            alarms_stamped: 0,
            earliest: None,
            swept_at: None,
            gate: Gate::Open,
            rung: false,
            parked: false,
        };
        Self {
            inner: Mutex::new(inner),
            driver: OnceLock::new(),
        }
    }

    /// Tells the queue whose doorbell to ring. The first call counts. It rings for what was
    /// submitted before.
    pub fn attach(&self, driver: Arc<dyn Driver>) {
        if self.driver.set(driver).is_ok() {
            let inner = lock(&self.inner);
            let missed = inner.rung && !inner.parked;
            drop(inner);
            self.ring(missed);
        }
    }

    /// What was submitted and not answered.
    pub fn usage(&self) -> Usage {
        lock(&self.inner).used
    }

    // For callers.

    /// Puts a request at the end of the line, in one step with its bytes: `encode` gets the xid
    /// and appends exactly `request.len` bytes.
    ///
    /// `encode` runs under the queue's lock, so it must run no code of a user and not block.
    ///
    /// # Errors
    /// There is no room, or the session closes or is over.
    pub fn try_submit(
        &self,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        let mut inner = lock(&self.inner);
        inner.check_open()?;
        if !inner.admissions.is_empty() || !inner.has_room(request.len) {
            return Err(Refused::Busy);
        }
        inner.occupy(request.len);
        let (ticket, ring) = inner.push(request, encode);
        drop(inner);
        self.ring(ring);
        Ok(ticket)
    }

    /// Waits for room for a request of `len` bytes, behind all who waited before.
    pub fn admission(self: &Arc<Self>, len: usize) -> Admission<N, A> {
        let mut inner = lock(&self.inner);
        let (slot, ticket) = Slot::new();
        let at_once = match inner.check_open() {
            Err(refused) => Some(Err(refused)),
            Ok(()) if inner.admissions.is_empty() && inner.has_room(len) => {
                inner.occupy(len);
                Some(Ok(()))
            }
            Ok(()) => None,
        };
        match at_once {
            Some(result) => drop(slot.fill(result)),
            None => inner.push_waiter(Waiter { len, slot }),
        }
        drop(inner);
        Admission {
            queue: Arc::clone(self),
            ticket,
            len,
            done: false,
        }
    }

    /// As [`try_submit`](Self::try_submit), with room that was waited for. The permit must be
    /// for exactly `request.len` bytes of this queue.
    ///
    /// # Errors
    /// The session closes or is over.
    pub fn submit(
        &self,
        mut permit: Permit<N, A>,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        debug_assert_eq!(permit.len, request.len, "a permit is for one request");
        let mut inner = lock(&self.inner);
        inner.check_open()?;
        permit.spent = true;
        let (ticket, ring) = inner.push(request, encode);
        drop(inner);
        self.ring(ring);
        Ok(ticket)
    }

    /// Puts the last request at the end of the line, whatever the limits say, and lets nothing
    /// in behind it. `None` if that was done before, or the session is over.
    ///
    /// `within` is how long the session may take over it; the engine sees it in [`Turn`]. Unlike
    /// any other request it is sent even when its ticket was dropped.
    pub fn seal(
        &self,
        within: Duration,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Option<Ticket<A>> {
        let mut inner = lock(&self.inner);
        if inner.gate != Gate::Open {
            return None;
        }
        inner.gate = Gate::Sealed { within };
        inner.occupy(request.len);
        let (ticket, ring) = inner.push(request, encode);
        if let Some(entry) = inner.line.back_mut() {
            entry.is_last = true;
        }
        let wakers = inner.refuse_waiters(Refused::Sealed);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        self.ring(ring);
        Some(ticket)
    }

    /// Puts a request at the end of the line whose reply does not keep to the order: it is
    /// popped by [`Line::pop_aside`]. It takes no xid and waits for no room, and its bytes are
    /// wiped once they were written. For the rare frame that has its place among the others on the way out,
    /// but not on the way back.
    ///
    /// # Errors
    /// The session closes or is over.
    pub fn submit_aside(
        &self,
        request: Request<N>,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        let mut inner = lock(&self.inner);
        inner.check_open()?;
        inner.holds_secret = true;
        let (ticket, ring) = inner.push_aside(request, encode);
        drop(inner);
        self.ring(ring);
        Ok(ticket)
    }

    /// A timer of the driver's: completes when `duration` has passed, or at once when the
    /// session is over. On a transport without an async runtime there is no other.
    pub fn sleep(&self, duration: Duration) -> Ticket<()> {
        let (slot, ticket) = Slot::new();
        let mut inner = lock(&self.inner);
        if inner.gate == Gate::Ended {
            drop(slot.fill(()));
            return ticket;
        }
        inner.push_alarm(duration, slot);
        let ring = inner.note_submission();
        drop(inner);
        self.ring(ring);
        ticket
    }

    /// Makes the driver take a turn although nothing was submitted.
    pub fn nudge(&self) {
        let ring = lock(&self.inner).note_submission();
        self.ring(ring);
    }

    // For engines.

    /// Begins a turn: stamps what was submitted since the last one with `now`, and ends what is
    /// overdue with the answer that `overdue` makes of it.
    ///
    /// An overdue entry that was not taken leaves the line, so that "not sent" stays true; one
    /// that was keeps its place until its reply comes, which is then thrown away.
    pub fn begin_turn(
        &self,
        now: Instant,
        outbox: &mut Outbox<A>,
        overdue: impl FnMut(&N, Fate) -> A,
    ) -> Turn {
        let mut inner = lock(&self.inner);
        inner.rung = false;
        inner.parked = false;
        inner.stamp(now);
        if inner.next_sweep().is_some_and(|at| at <= now) {
            inner.sweep(now, outbox, overdue);
        }
        let sealed = match inner.gate {
            Gate::Sealed { within } => Some(within),
            Gate::Open | Gate::Ended => None,
        };
        drop(inner);
        outbox.deliver();
        Turn { sealed }
    }

    /// When [`begin_turn`](Self::begin_turn) should be called for the sake of deadlines.
    pub fn poll_timeout(&self) -> Option<Instant> {
        lock(&self.inner).next_sweep()
    }

    /// Puts requests of the session's own at the end of the line, whatever the limits say, and
    /// throws their answers away. `choose` sees the notes of all requests in the line, and says
    /// which to add; nothing comes in between. Does nothing once the queue is sealed.
    pub fn submit_reserved<T>(
        &self,
        choose: impl FnOnce(&mut dyn Iterator<Item = &N>) -> Vec<T>,
        request: impl Fn(&T) -> Request<N>,
        encode: impl Fn(&T, i32, &mut BytesMut),
    ) {
        let mut inner = lock(&self.inner);
        if inner.gate != Gate::Open {
            return;
        }
        for chosen in choose(&mut inner.line.iter().map(|entry| &entry.note)) {
            let request = request(&chosen);
            inner.occupy(request.len);
            let (ticket, _) = inner.push(request, |xid, out| encode(&chosen, xid, out));
            drop(ticket);
        }
    }

    /// Moves the bytes of all waiting entries to `out`, and says how many entries they are.
    /// They are taken from now on.
    pub fn take_into(&self, out: &mut Outgoing) -> usize {
        let inner = &mut *lock(&self.inner);
        let entries = inner.line.len() - inner.taken;
        if entries > 0 {
            out.take_entries(&mut inner.waiting);
            inner.taken = inner.line.len();
            if std::mem::take(&mut inner.holds_secret) {
                out.wipe_when_written();
            }
        }
        entries
    }

    /// Leaves out of the waiting entries those that nobody waits for any more. A session calls
    /// it before it takes the first ones over a new connection.
    pub fn forget_dropped(&self, outbox: &mut Outbox<A>) {
        lock(&self.inner).retain_waiting(outbox, Entry::is_wanted);
    }

    /// Goes through the head of the line under one lock: `dispatch` looks at it and pops what
    /// was answered. The slots are filled when the lock is gone.
    pub fn dispatch<R>(
        &self,
        outbox: &mut Outbox<A>,
        dispatch: impl FnOnce(&mut Line<'_, N, A>) -> R,
    ) -> R {
        let mut inner = lock(&self.inner);
        let result = dispatch(&mut Line {
            inner: &mut inner,
            outbox,
        });
        drop(inner);
        outbox.deliver();
        result
    }

    /// Takes back what a lost connection did not carry. Entries that were handed over end with
    /// the answer that `lost` makes of their note. The others wait again, with their bytes, in
    /// their places; those whose answer nobody waits for are left out.
    pub fn give_back(
        &self,
        unsent: &Outgoing,
        outbox: &mut Outbox<A>,
        mut lost: impl FnMut(&N) -> A,
    ) {
        let mut inner = lock(&self.inner);
        inner.give_back(unsent, outbox, &mut lost);
        drop(inner);
        outbox.deliver();
    }

    /// Ends everything: each entry with the answer that `answer` makes of it, each alarm, each
    /// admission. An entry that was taken counts as handed over, unless it was
    /// [given back](Self::give_back) before.
    pub fn end(&self, outbox: &mut Outbox<A>, mut answer: impl FnMut(&N, Fate) -> A) {
        let mut inner = lock(&self.inner);
        inner.gate = Gate::Ended;
        let taken = std::mem::take(&mut inner.taken);
        for (index, entry) in inner.line.drain(..).enumerate() {
            let fate = if index < taken {
                Fate::MaybeApplied
            } else {
                Fate::NotSent
            };
            outbox.answers.push((entry.slot, answer(&entry.note, fate)));
        }
        inner.line = VecDeque::new();
        inner.asides = 0;
        if std::mem::take(&mut inner.holds_secret) {
            inner.waiting.fill(0);
            std::hint::black_box(&mut inner.waiting);
        }
        inner.waiting = BytesMut::new();
        inner.stamped = 0;
        inner.used = Usage::default();
        inner.earliest = None;
        for (_, slot) in inner.alarms.drain(..) {
            outbox.wakers.extend(slot.fill(()).ok().flatten());
        }
        inner.alarms_stamped = 0;
        outbox.wakers.extend(inner.refuse_waiters(Refused::Ended));
        drop(inner);
        outbox.deliver();
    }

    /// Declares that the driver is about to sleep; see [`Engine::park`](crate::Engine::park).
    #[must_use]
    pub fn park(&self) -> bool {
        let mut inner = lock(&self.inner);
        inner.parked = !inner.rung;
        inner.parked
    }

    fn ring(&self, ring: bool) {
        if ring && let Some(driver) = self.driver.get() {
            driver.ring();
        }
    }
}

impl<N, A> fmt::Debug for Queue<N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.inner);
        f.debug_struct("Queue")
            .field("line", &inner.line.len())
            .field("taken", &inner.taken)
            .field("used", &inner.used)
            .field("admissions", &inner.admissions.len())
            .field("alarms", &inner.alarms.len())
            .finish_non_exhaustive()
    }
}

impl<N, A> Inner<N, A> {
    fn check_open(&self) -> Result<(), Refused> {
        match self.gate {
            Gate::Open => Ok(()),
            Gate::Sealed { .. } => Err(Refused::Sealed),
            Gate::Ended => Err(Refused::Ended),
        }
    }

    fn has_room(&self, len: usize) -> bool {
        // A request alone always fits, or one above the limit would wait for ever.
        self.used.requests == 0
            || (self.used.requests < self.limits.requests
                && self.used.bytes + len <= self.limits.bytes)
    }

    fn occupy(&mut self, len: usize) {
        self.used.requests += 1;
        self.used.bytes += len;
    }

    /// Gives room back, and to whoever waited longest for it.
    fn release(&mut self, len: usize, wakers: &mut Vec<Waker>) {
        self.used.requests = self.used.requests.saturating_sub(1);
        self.used.bytes = self.used.bytes.saturating_sub(len);
        self.admit(wakers);
    }

    /// Gives what room there is to those who wait for it, in their order. Those who do not wait
    /// any more stand in nobody's way.
    fn admit(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(front) = self.admissions.front()
            && (self.has_room(front.len) || !front.slot.is_awaited())
        {
            let Some(Waiter { len, slot }) = self.admissions.pop_front() else {
                break;
            };
            if let Ok(waker) = slot.fill(Ok(())) {
                self.occupy(len);
                wakers.extend(waker);
            }
        }
    }

    fn push_waiter(&mut self, waiter: Waiter) {
        if self.admissions.len() == self.admissions.capacity() {
            // Before it grows: who has given up behind somebody who waits is still in here.
            self.admissions.retain(|waiter| waiter.slot.is_awaited());
            self.admissions.reserve(self.admissions.len() + 1);
        }
        self.admissions.push_back(waiter);
    }

    fn push_alarm(&mut self, duration: Duration, slot: Arc<Slot<()>>) {
        if self.alarms.len() == self.alarms.capacity() {
            // Before it grows: most timers are dropped long before they are due.
            self.alarms.retain(|(_, slot)| slot.is_awaited());
            self.alarms.reserve(self.alarms.len() + 1);
            // Those that are left out were stamped or not; stamping twice does no harm.
            self.alarms_stamped = 0;
        }
        self.alarms.push((Due::Within(duration), slot));
    }

    fn refuse_waiters(&mut self, refused: Refused) -> Vec<Waker> {
        let waiters = self.admissions.drain(..);
        waiters
            .filter_map(|waiter| waiter.slot.fill(Err(refused)).ok().flatten())
            .collect()
    }

    /// Returns the ticket, and whether to ring.
    fn push(
        &mut self,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> (Ticket<A>, bool) {
        let (slot, ticket) = Slot::new();
        let xid = self.next_xid;
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        let before = self.waiting.len();
        self.waiting.reserve(request.len);
        encode(xid, &mut self.waiting);
        let len = self.waiting.len() - before;
        debug_assert_eq!(len, request.len, "a request encodes what it announced");
        let due = request.within.map_or(Due::Never, Due::Within);
        self.line.push_back(Entry {
            slot,
            note: request.note,
            due,
            len,
            xid,
            aside: false,
            is_last: false,
        });
        (ticket, self.note_submission())
    }

    /// As [`push`](Self::push), for an entry that takes no xid.
    fn push_aside(
        &mut self,
        request: Request<N>,
        encode: impl FnOnce(&mut BytesMut),
    ) -> (Ticket<A>, bool) {
        let next_xid = self.next_xid;
        self.occupy(request.len);
        let pushed = self.push(request, |_, out| encode(out));
        self.next_xid = next_xid;
        self.asides += 1;
        if let Some(entry) = self.line.back_mut() {
            entry.aside = true;
        }
        pushed
    }

    /// Whether the driver sleeps and must be rung.
    fn note_submission(&mut self) -> bool {
        self.rung = true;
        std::mem::take(&mut self.parked)
    }

    fn stamp(&mut self, now: Instant) {
        let fresh = self.line.range_mut(self.stamped.min(self.line.len())..);
        let dues = fresh.map(|entry| &mut entry.due);
        let fresh = self.alarms.iter_mut().skip(self.alarms_stamped);
        for due in dues.chain(fresh.map(|(due, _)| due)) {
            if let Due::Within(duration) = *due {
                // An instant beyond what the clock can tell is as good as never.
                *due = now.checked_add(duration).map_or(Due::Never, Due::At);
                if let Due::At(at) = *due {
                    self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
                }
            }
        }
        self.stamped = self.line.len();
        self.alarms_stamped = self.alarms.len();
    }

    fn next_sweep(&self) -> Option<Instant> {
        let earliest = self.earliest?;
        Some(
            self.swept_at
                .map_or(earliest, |at| earliest.max(at + SWEEP_INTERVAL)),
        )
    }

    fn sweep(
        &mut self,
        now: Instant,
        outbox: &mut Outbox<A>,
        mut overdue: impl FnMut(&N, Fate) -> A,
    ) {
        self.swept_at = Some(now);
        let mut earliest: Option<Instant> = None;
        let mut is_over = |due: &mut Due| match *due {
            Due::At(at) if at <= now => {
                *due = Due::Never;
                true
            }
            Due::At(at) => {
                earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
                false
            }
            Due::Never | Due::Within(_) => false,
        };
        let mut any_waiting = false;
        let taken = self.taken;
        for (index, entry) in self.line.iter_mut().enumerate() {
            if is_over(&mut entry.due) && entry.slot.is_awaited() {
                // Taken, but perhaps not handed over: only the driver knows.
                let fate = if index < taken {
                    Fate::MaybeApplied
                } else {
                    Fate::NotSent
                };
                any_waiting |= fate == Fate::NotSent;
                outbox
                    .answers
                    .push((Arc::clone(&entry.slot), overdue(&entry.note, fate)));
            }
        }
        self.alarms.retain_mut(|(due, slot)| {
            let over = is_over(due);
            if over {
                outbox.wakers.extend(slot.fill(()).ok().flatten());
            }
            !over && slot.is_awaited()
        });
        self.alarms_stamped = self.alarms.len();
        self.earliest = earliest;
        if any_waiting {
            // Filled here, under the lock, because the line is searched for open slots next. It
            // runs no code of a user: a slot that is filled for the first time drops nothing.
            outbox.deliver();
            self.retain_waiting(outbox, Entry::is_wanted);
        }
    }

    /// Leaves out the waiting entries that are not to be kept, with their bytes.
    fn retain_waiting(&mut self, outbox: &mut Outbox<A>, keep: impl Fn(&Entry<N, A>) -> bool) {
        if self.line.range(self.taken..).all(&keep) {
            return;
        }
        let old = std::mem::take(&mut self.waiting);
        let mut rest = &old[..];
        for entry in self.line.split_off(self.taken) {
            let (bytes, tail) = rest.split_at_checked(entry.len).unwrap_or((rest, &[]));
            rest = tail;
            if keep(&entry) {
                self.waiting.extend_from_slice(bytes);
                self.line.push_back(entry);
            } else {
                self.asides -= usize::from(entry.aside);
                self.release(entry.len, &mut outbox.wakers);
            }
        }
        // Those that are left out were stamped or not; stamping twice does no harm.
        self.stamped = self.stamped.min(self.taken);
    }

    fn give_back(
        &mut self,
        unsent: &Outgoing,
        outbox: &mut Outbox<A>,
        lost: &mut dyn FnMut(&N) -> A,
    ) {
        let mut bytes = BytesMut::new();
        unsent
            .unsent_entries()
            .for_each(|run| bytes.extend_from_slice(run));
        // They are the last ones of the taken entries. Counted from the back: entries that were
        // answered are gone from the front of the line.
        let len: usize = self.line.range(..self.taken).map(|entry| entry.len).sum();
        let written = len.saturating_sub(bytes.len());
        let (begun, begun_len) = self.begun(written);
        self.end_front(begun, outbox, lost);
        bytes.advance(bytes.len().saturating_sub(len - begun_len));
        bytes.extend_from_slice(&self.waiting);
        self.waiting = bytes;
        self.taken = 0;
        self.retain_waiting(outbox, Entry::is_wanted);
    }

    /// How many taken entries have a byte among the first `written`, and how many bytes they
    /// have together.
    fn begun(&self, written: usize) -> (usize, usize) {
        let mut len = 0;
        let begun = self.line.range(..self.taken).take_while(|entry| {
            let begun = len < written;
            len += if begun { entry.len } else { 0 };
            begun
        });
        (begun.count(), len)
    }

    fn end_front(&mut self, entries: usize, outbox: &mut Outbox<A>, lost: &mut dyn FnMut(&N) -> A) {
        for _ in 0..entries {
            let Some(entry) = self.pop_front(&mut outbox.wakers) else {
                return;
            };
            outbox.answers.push((entry.slot, lost(&entry.note)));
        }
    }

    fn pop_front(&mut self, wakers: &mut Vec<Waker>) -> Option<Entry<N, A>> {
        self.remove(0, wakers)
    }

    /// Takes a taken entry out of the line.
    fn remove(&mut self, index: usize, wakers: &mut Vec<Waker>) -> Option<Entry<N, A>> {
        // From the front this costs nothing: no other entry moves.
        let entry = self.line.remove(index)?;
        self.taken = self.taken.saturating_sub(1);
        self.stamped = self
            .stamped
            .saturating_sub(usize::from(index < self.stamped));
        self.asides -= usize::from(entry.aside);
        self.release(entry.len, wakers);
        Some(entry)
    }

    /// Where the oldest taken entry of a kind stands.
    fn position(&self, aside: bool) -> Option<usize> {
        if self.asides == 0 {
            return (!aside && self.taken > 0).then_some(0);
        }
        self.line
            .range(..self.taken)
            .position(|entry| entry.aside == aside)
    }
}

/// What an engine learns at the beginning of a turn.
///
/// ```
/// let turn = homing_transport::Turn { sealed: None };
/// assert!(turn.sealed.is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The queue was sealed, with this much time for its last request.
    pub sealed: Option<Duration>,
}

/// The head of the line, while the queue is locked; see [`Queue::dispatch`].
pub struct Line<'a, N, A> {
    inner: &'a mut Inner<N, A>,
    outbox: &'a mut Outbox<A>,
}

impl<N, A> Line<'_, N, A> {
    /// The xid and the note of the request whose reply is due next: the oldest one that was
    /// taken. `None` if no reply is due.
    pub fn head(&self) -> Option<(i32, &N)> {
        let entry = self.inner.line.get(self.inner.position(false)?)?;
        Some((entry.xid, &entry.note))
    }

    /// Ends the request at the head with `answer`, and gives its note.
    pub fn pop(&mut self, answer: A) -> Option<N> {
        self.pop_at(self.inner.position(false)?, answer)
    }

    /// Ends the oldest request that was submitted [aside](Queue::submit_aside).
    pub fn pop_aside(&mut self, answer: A) -> Option<N> {
        self.pop_at(self.inner.position(true)?, answer)
    }

    fn pop_at(&mut self, index: usize, answer: A) -> Option<N> {
        let entry = self.inner.remove(index, &mut self.outbox.wakers)?;
        self.outbox.answers.push((entry.slot, answer));
        Some(entry.note)
    }
}

impl<N, A> fmt::Debug for Line<'_, N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("head", &self.head().map(|(xid, _)| xid))
            .finish()
    }
}

/// Answers and wakers on their way out of the queue: kept by an engine, so that a turn needs no
/// memory of its own.
///
/// ```
/// let mut outbox = homing_transport::Outbox::<()>::new();
/// let mut wakers = Vec::new();
/// outbox.take_wakers(&mut wakers);
/// assert!(wakers.is_empty());
/// ```
pub struct Outbox<A> {
    answers: Vec<(Arc<Slot<A>>, A)>,
    wakers: Vec<Waker>,
}

impl<A> Outbox<A> {
    /// An empty one.
    #[allow(
        clippy::new_without_default,
        reason = "a default outbox would say nothing"
    )]
    pub fn new() -> Self {
        Self {
            answers: Vec::new(),
            wakers: Vec::new(),
        }
    }

    /// The wakers of all slots that were filled, to be called with no lock held.
    pub fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.wakers);
    }

    /// Fills the slots; what nobody waits for is dropped.
    fn deliver(&mut self) {
        for (slot, answer) in self.answers.drain(..) {
            self.wakers.extend(slot.fill(answer).ok().flatten());
        }
    }
}

impl<A> fmt::Debug for Outbox<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("wakers", &self.wakers.len())
            .finish_non_exhaustive()
    }
}

/// A place among those who wait for room in the queue; see [`Queue::admission`].
///
/// A future of a [`Permit`]. Dropping it gives the place up.
///
/// ```
/// use std::sync::Arc;
/// use homing_transport::{Driver, Limits, Queue, Request, block_on};
/// # struct Elsewhere;
/// # impl Driver for Elsewhere { fn ring(&self) {} }
/// let queue: Arc<Queue<(), ()>> = Arc::new(Queue::new(Limits::default()));
/// let permit = block_on(&Elsewhere, queue.admission(2)).unwrap()?;
/// let request = Request { len: 2, within: None, note: () };
/// let _ticket = queue.submit(permit, request, |_xid, out| out.extend_from_slice(b"hi"))?;
/// # Ok::<(), homing_transport::Refused>(())
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Admission<N, A> {
    queue: Arc<Queue<N, A>>,
    ticket: Ticket<Result<(), Refused>>,
    len: usize,
    done: bool,
}

impl<N, A> Future for Admission<N, A> {
    type Output = Result<Permit<N, A>, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Poll::Ready(result) = Pin::new(&mut this.ticket).poll(cx) else {
            return Poll::Pending;
        };
        this.done = true;
        let queue = Arc::clone(&this.queue);
        Poll::Ready(result.map(|()| Permit {
            queue,
            len: this.len,
            spent: false,
        }))
    }
}

impl<N, A> Drop for Admission<N, A> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        match self.ticket.abandon() {
            // Room that was given and not fetched goes to the next.
            Some(Ok(())) => self.queue.release(self.len),
            Some(Err(_)) => {}
            // Those behind it may need less than it did.
            None => self.queue.give_room(Inner::admit),
        }
    }
}

impl<N, A> fmt::Debug for Admission<N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Room for one request; see [`Admission`]. Dropping it gives the room back.
#[must_use = "room that is not used is given back"]
pub struct Permit<N, A> {
    queue: Arc<Queue<N, A>>,
    len: usize,
    spent: bool,
}

impl<N, A> Permit<N, A> {
    /// For how many bytes it is.
    #[allow(clippy::len_without_is_empty, reason = "a permit is no container")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<N, A> Drop for Permit<N, A> {
    fn drop(&mut self) {
        if !self.spent {
            self.queue.release(self.len);
        }
    }
}

impl<N, A> fmt::Debug for Permit<N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<N, A> Queue<N, A> {
    /// Gives room back that was never used.
    fn release(&self, len: usize) {
        self.give_room(|inner, wakers| inner.release(len, wakers));
    }

    fn give_room(&self, give: impl FnOnce(&mut Inner<N, A>, &mut Vec<Waker>)) {
        let mut wakers = Vec::new();
        let mut inner = lock(&self.inner);
        if inner.gate != Gate::Ended {
            give(&mut inner, &mut wakers);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}
