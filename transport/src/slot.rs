//! A place for one answer, made before the question leaves.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, lock};

/// The side of a slot that fills it. One allocation, shared with the [`Ticket`].
///
/// The queue makes one for each request. A session makes them for what is answered outside the
/// line: a watch, say.
///
/// ```
/// let (slot, mut ticket) = homing_transport::Slot::new();
/// let waker = slot.fill("hello").expect("nobody has filled it");
/// assert!(waker.is_none(), "nobody has polled the ticket");
/// assert_eq!(ticket.try_pull(), Some("hello"));
/// assert!(slot.fill("again").is_err());
/// ```
pub struct Slot<A> {
    state: Mutex<State<A>>,
}

enum State<A> {
    /// No answer yet; whoever polled last is to be woken.
    Empty(Option<Waker>),
    Full(A),
    /// The answer was pulled.
    Spent,
    /// The owner went away before the answer came; it will be thrown away.
    Abandoned,
}

impl<A> Slot<A> {
    /// An empty slot, and its owner's side.
    #[allow(clippy::new_ret_no_self, reason = "a slot comes in two halves")]
    pub fn new() -> (Arc<Self>, Ticket<A>) {
        let slot = Arc::new(Self {
            state: Mutex::new(State::Empty(None)),
        });
        (Arc::clone(&slot), Ticket { slot })
    }

    /// Puts the answer in, unless there is one already or nobody is there to pull it. Returns
    /// the waker to call once no lock is held.
    ///
    /// # Errors
    /// The answer, if it was not taken.
    pub fn fill(&self, answer: A) -> Result<Option<Waker>, A> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Empty(waker) => {
                let waker = waker.take();
                *state = State::Full(answer);
                Ok(waker)
            }
            // Dropped by the caller, outside the lock: dropping it can run a user's code.
            State::Full(_) | State::Spent | State::Abandoned => Err(answer),
        }
    }

    /// Whether an answer would still be pulled by somebody: neither answered nor abandoned.
    pub fn is_awaited(&self) -> bool {
        matches!(*lock(&self.state), State::Empty(_))
    }
}

/// The owner's side of a slot: a future of the answer.
///
/// A ticket may be polled from anywhere, by any executor or by [`block_on`](crate::block_on),
/// or not at all. Dropping it is safe at any time: the request keeps its place in the line, and
/// its answer is thrown away when it comes.
///
/// ```
/// use homing_transport::{Limits, Outbox, Queue, Request};
/// let queue: Queue<(), &str> = Queue::new(Limits::default());
/// let request = Request { len: 2, within: None, note: () };
/// let mut ticket = queue.try_submit(request, |_xid, out| out.extend_from_slice(b"hi"))?;
/// assert_eq!(ticket.try_pull(), None);
///
/// let mut outbox = Outbox::new();
/// queue.end(&mut outbox, |(), _fate| "nobody is there");
/// assert_eq!(ticket.try_pull(), Some("nobody is there"));
/// # Ok::<(), homing_transport::Refused>(())
/// ```
#[must_use = "a request whose ticket is dropped goes on, but nobody learns its outcome"]
pub struct Ticket<A> {
    slot: Arc<Slot<A>>,
}

impl<A> Ticket<A> {
    /// Pulls the answer if it is there.
    pub fn try_pull(&mut self) -> Option<A> {
        let mut state = lock(&self.slot.state);
        match mem::replace(&mut *state, State::Spent) {
            State::Full(answer) => Some(answer),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives the slot up, in one step with pulling the answer if it came before: what comes
    /// later is refused by [`Slot::fill`], so that nothing is lost in between. The ticket must
    /// not be polled afterwards.
    pub fn abandon(&self) -> Option<A> {
        // Dropped after the lock: dropping a waker or an answer can run a user's code.
        let former = mem::replace(&mut *lock(&self.slot.state), State::Abandoned);
        match former {
            State::Full(answer) => Some(answer),
            State::Empty(_) | State::Spent | State::Abandoned => None,
        }
    }
}

impl<A> Future for Ticket<A> {
    type Output = A;

    /// # Panics
    /// If it is polled again after it was ready, like most futures.
    #[allow(
        clippy::panic,
        reason = "the caller's mistake; nothing from the wire leads here"
    )]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A> {
        // The former waker is dropped after the lock: dropping it can run an executor's code.
        let _former;
        let mut state = lock(&self.slot.state);
        match &mut *state {
            State::Empty(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            State::Empty(waker) => {
                _former = waker.replace(cx.waker().clone());
                Poll::Pending
            }
            State::Full(_) => match mem::replace(&mut *state, State::Spent) {
                State::Full(answer) => Poll::Ready(answer),
                _ => Poll::Pending,
            },
            State::Spent | State::Abandoned => {
                drop(state);
                panic!("a ticket was polled after its answer had been pulled")
            }
        }
    }
}

impl<A> Drop for Ticket<A> {
    fn drop(&mut self) {
        drop(self.abandon());
    }
}

impl<A> fmt::Debug for Slot<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_awaited() {
            true => "Slot(awaited)",
            false => "Slot(done)",
        })
    }
}

impl<A> fmt::Debug for Ticket<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*lock(&self.slot.state) {
            State::Empty(_) => "no answer yet",
            State::Full(_) => "answered",
            State::Spent | State::Abandoned => "answer pulled",
        };
        write!(f, "Ticket({state})")
    }
}
