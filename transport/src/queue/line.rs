//! What an engine works with: the head of the line, and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::inner::Inner;
use crate::slot::Slot;

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

/// The head of the line, while the queue is locked; see [`Queue::dispatch`](super::Queue::dispatch).
pub struct Line<'a, N, A> {
    pub(super) inner: &'a mut Inner<N, A>,
    pub(super) outbox: &'a mut Outbox<A>,
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

    /// Ends the oldest request that was submitted [aside](super::Queue::submit_aside).
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
    pub(super) answers: Vec<(Arc<Slot<A>>, A)>,
    pub(super) wakers: Vec<Waker>,
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
    pub(super) fn deliver(&mut self) {
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
