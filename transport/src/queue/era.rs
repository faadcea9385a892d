//! Eras: what one session was asked is not for the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::admission::{Admission, Permit};
use super::inner::{Entry, Gate, Inner};
use super::{Fate, Outbox, Queue, Refused, Request};
use crate::slot::Ticket;
use crate::sync::lock;

impl<N, A> Queue<N, A> {
    /// The number of the era: the time of one session, of those that follow each other over this
    /// queue. The first is 0; each [`begin_era`](Self::begin_era) begins the next.
    pub fn era(&self) -> u64 {
        lock(&self.inner).era
    }

    /// As [`try_submit`](Self::try_submit), in this era and in no other: whoever has not heard
    /// yet that another one has begun is told, rather than taken along.
    ///
    /// # Errors
    /// As there; [`Refused::Outdated`] in any other era.
    pub fn try_submit_in(
        &self,
        era: u64,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        self.try_submit_checked(|inner| inner.check_era(era), request, encode)
    }

    /// As [`admission`](Self::admission), in this era and in no other.
    pub fn admission_in(
        self: &Arc<Self>,
        era: u64,
        len: usize,
        within: Option<Duration>,
    ) -> Admission<N, A> {
        self.admission_checked(|inner| inner.check_era(era), len, within)
    }

    /// As [`submit`](Self::submit), in this era and in no other: the permit may be of an earlier
    /// one.
    ///
    /// # Errors
    /// As there; [`Refused::Outdated`] in any other era.
    pub fn submit_in(
        &self,
        era: u64,
        permit: Permit<N, A>,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        self.submit_checked(|inner| inner.check_era(era), permit, request, encode)
    }

    /// As [`try_submit_in`](Self::try_submit_in), whatever the limits say: for what has a limit of
    /// its own elsewhere.
    ///
    /// # Errors
    /// The session closes or is over; [`Refused::Outdated`] in any other era.
    pub fn submit_regardless_in(
        &self,
        era: u64,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> Result<Ticket<A>, Refused> {
        let mut inner = lock(&self.inner);
        inner.check_open()?;
        inner.check_era(era)?;
        inner.occupy(request.len);
        let (ticket, ring) = inner.push(request, encode);
        drop(inner);
        self.ring(ring);
        Ok(ticket)
    }

    /// Ends each entry with the answer that `answer` makes of it, and whoever waits for room with
    /// [`Refused::Outdated`], and begins the next era; timers go on. An entry that was taken
    /// counts as handed over, unless it was [given back](Self::give_back) before.
    ///
    /// `false`, and nothing is done, once the queue is sealed: no era follows the last request.
    pub fn begin_era(&self, outbox: &mut Outbox<A>, answer: impl FnMut(&N, Fate) -> A) -> bool {
        let mut inner = lock(&self.inner);
        if inner.gate != Gate::Open {
            return false;
        }
        inner.era += 1;
        // Nobody gets the room that becomes free: whoever waits for it is of the old era.
        outbox
            .wakers
            .extend(inner.refuse_waiters(Refused::Outdated));
        let len = inner.line.iter().map(|entry| entry.len).sum();
        let entries = inner.end_line(outbox, answer);
        // Permits of the old era that were not given back yet still count.
        inner.used.requests = inner.used.requests.saturating_sub(entries);
        inner.used.bytes = inner.used.bytes.saturating_sub(len);
        drop(inner);
        outbox.deliver();
        true
    }

    /// Ends the waiting entries for which `answer` has one; the last request of all is not
    /// asked about. For a session that has no connection and is not to let its callers wait.
    pub fn refuse_waiting(&self, outbox: &mut Outbox<A>, mut answer: impl FnMut(&N) -> Option<A>) {
        let mut inner = lock(&self.inner);
        let taken = inner.taken;
        for entry in inner.line.range(taken..).filter(|entry| !entry.is_last) {
            if let Some(answer) = answer(&entry.note) {
                outbox.answers.push((Arc::clone(&entry.slot), answer));
            }
        }
        if !outbox.answers.is_empty() {
            // Filled here, under the lock, because the line is searched for open slots next. It
            // runs no code of a user: a slot that is filled for the first time drops nothing.
            outbox.deliver();
            inner.retain_waiting(outbox, Entry::is_wanted);
        }
    }
}

impl<N, A> Inner<N, A> {
    fn check_era(&self, era: u64) -> Result<(), Refused> {
        match self.era == era {
            true => Ok(()),
            false => Err(Refused::Outdated),
        }
    }
}
