//! The ordered queue: the one thing that callers, session and driver share.

mod admission;
mod era;
mod inner;
mod line;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;

pub use self::admission::{Admission, Permit};
use self::inner::{Due, Entry, Gate, Inner, Waiter};
pub use self::line::{Line, Outbox, Turn};
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
/// - every slot is filled once, and wakers are called outside any lock;
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
    /// How many bytes it will encode at most, and as a rule exactly.
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
    /// [`Queue::begin_era`] was called: it is for a session that another one has followed.
    Outdated,
    /// [`Queue::end`] was called: the session is over.
    Ended,
    /// The deadline passed before there was room.
    Overdue,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too much is in flight",
            Self::Sealed => "the session is closing",
            Self::Outdated => "the session is over, and another one has followed it",
            Self::Ended => "the session is over",
            Self::Overdue => "the deadline passed before there was room",
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
            admissions_stamped: 0,
            alarms: Vec::new(),
            alarms_stamped: 0,
            earliest: None,
            swept_at: None,
            gate: Gate::Open,
            era: 0,
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
    /// and appends `request.len` bytes, or fewer where the length depends on what stands in line
    /// before it.
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
        self.try_submit_checked(|_| Ok(()), request, encode)
    }

    fn try_submit_checked(
        &self,
        check: impl FnOnce(&Inner<N, A>) -> Result<(), Refused>,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        let mut inner = lock(&self.inner);
        inner.check_open()?;
        check(&inner)?;
        if !inner.admissions.is_empty() || !inner.has_room(request.len) {
            return Err(Refused::Busy);
        }
        inner.occupy(request.len);
        let (ticket, ring) = inner.push(request, encode);
        drop(inner);
        self.ring(ring);
        Ok(ticket)
    }

    /// Waits for room for a request of `len` bytes, behind all who waited before. The deadline
    /// `within` counts from the driver's next turn, the waiting included: it is that of the
    /// request too, once that is submitted.
    pub fn admission(self: &Arc<Self>, len: usize, within: Option<Duration>) -> Admission<N, A> {
        self.admission_checked(|_| Ok(()), len, within)
    }

    fn admission_checked(
        self: &Arc<Self>,
        check: impl FnOnce(&Inner<N, A>) -> Result<(), Refused>,
        len: usize,
        within: Option<Duration>,
    ) -> Admission<N, A> {
        let mut inner = lock(&self.inner);
        let (slot, ticket) = Slot::new();
        let at_once = match inner.check_open().and_then(|()| check(&inner)) {
            Err(refused) => Some(Err(refused)),
            Ok(()) if inner.admissions.is_empty() && inner.has_room(len) => {
                inner.occupy(len);
                Some(Ok(Due::from(within)))
            }
            Ok(()) => None,
        };
        let due = within.into();
        let ring = match at_once {
            Some(result) => {
                drop(slot.fill(result));
                false
            }
            None => inner.push_waiter(Waiter { len, due, slot }),
        };
        drop(inner);
        self.ring(ring);
        Admission {
            queue: Arc::clone(self),
            ticket,
            len,
            done: false,
        }
    }

    /// As [`try_submit`](Self::try_submit), with room that was waited for. The permit must be
    /// for exactly `request.len` bytes of this queue; it has the deadline, and `request.within`
    /// counts for nothing.
    ///
    /// # Errors
    /// The session closes or is over.
    pub fn submit(
        &self,
        permit: Permit<N, A>,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        self.submit_checked(|_| Ok(()), permit, request, encode)
    }

    fn submit_checked(
        &self,
        check: impl FnOnce(&Inner<N, A>) -> Result<(), Refused>,
        mut permit: Permit<N, A>,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        debug_assert_eq!(permit.len, request.len, "a permit is for one request");
        let mut inner = lock(&self.inner);
        inner.check_open()?;
        check(&inner)?;
        permit.spent = true;
        let (ticket, ring) = inner.push_due(request, permit.due, encode);
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

    /// Puts requests of the session's own at the end of the line, whatever the limits say.
    /// `choose` says which; nothing comes in between. Gives what was chosen, each with its ticket:
    /// one that is dropped is a request that no later connection sends. Does nothing once the
    /// queue is sealed.
    pub fn submit_reserved<T>(
        &self,
        choose: impl FnOnce() -> Vec<T>,
        request: impl Fn(&mut T) -> Request<N>,
        encode: impl Fn(&T, i32, &mut BytesMut),
    ) -> Vec<(T, Ticket<A>)> {
        let mut inner = lock(&self.inner);
        if inner.gate != Gate::Open {
            return Vec::new();
        }
        let submit = |mut chosen| {
            let request = request(&mut chosen);
            inner.occupy(request.len);
            let (ticket, _) = inner.push(request, |xid, out| encode(&chosen, xid, out));
            if let Some(entry) = inner.line.back_mut() {
                entry.is_own = true;
            }
            (chosen, ticket)
        };
        choose().into_iter().map(submit).collect()
    }

    /// How many requests were [taken](Self::take_into) and have not ended: their answers are due.
    /// Those whose callers have given up count as well.
    pub fn taken(&self) -> usize {
        lock(&self.inner).taken
    }

    /// Moves the bytes of all waiting entries to `out`, and says how many entries they are whose
    /// replies keep to the order: those submitted [aside](Self::submit_aside) are not counted. All
    /// are taken from now on.
    pub fn take_into(&self, out: &mut Outgoing) -> usize {
        let inner = &mut *lock(&self.inner);
        let entries = inner.line.len() - inner.taken;
        let asides = inner.waiting_asides();
        if entries > 0 {
            out.take_entries(&mut inner.waiting);
            inner.taken = inner.line.len();
            if std::mem::take(&mut inner.holds_secret) {
                out.wipe_when_written();
            }
        }
        entries - asides
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
    pub fn end(&self, outbox: &mut Outbox<A>, answer: impl FnMut(&N, Fate) -> A) {
        let mut inner = lock(&self.inner);
        inner.gate = Gate::Ended;
        inner.end_line(outbox, answer);
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
