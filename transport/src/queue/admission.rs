//! Waiting for room.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::inner::{Due, Inner};
use super::{Queue, Refused};
use crate::slot::Ticket;

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
/// let permit = block_on(&Elsewhere, queue.admission(2, None)).unwrap()?;
/// let request = Request { len: 2, within: None, note: () };
/// let _ticket = queue.submit(permit, request, |_xid, out| out.extend_from_slice(b"hi"))?;
/// # Ok::<(), homing_transport::Refused>(())
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Admission<N, A> {
    pub(super) queue: Arc<Queue<N, A>>,
    pub(super) ticket: Ticket<Result<Due, Refused>>,
    pub(super) len: usize,
    pub(super) done: bool,
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
        Poll::Ready(result.map(|due| Permit {
            queue,
            len: this.len,
            due,
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
            Some(Ok(_)) => self.queue.release(self.len),
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
    pub(super) queue: Arc<Queue<N, A>>,
    pub(super) len: usize,
    /// The deadline of the request, which has begun with the wait.
    pub(super) due: Due,
    pub(super) spent: bool,
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
