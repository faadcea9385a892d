//! What a queue is under its lock, and what is done to it there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::line::Outbox;
use super::{Fate, Limits, Refused, Request, Usage};
use crate::outgoing::Outgoing;
use crate::slot::{Slot, Ticket};

pub(super) struct Inner<N, A> {
    pub(super) line: VecDeque<Entry<N, A>>,
    /// `line[..taken]` have left for an [`Outgoing`]; at most `line.len()`.
    pub(super) taken: usize,
    /// `line[..stamped]` have a deadline as an instant; at most `line.len()`.
    pub(super) stamped: usize,
    /// The bytes of `line[taken..]`.
    pub(super) waiting: BytesMut,
    /// How many entries are asides.
    pub(super) asides: usize,
    /// `waiting` holds something that is to be wiped when it was written.
    pub(super) holds_secret: bool,
    pub(super) next_xid: i32,
    pub(super) limits: Limits,
    pub(super) used: Usage,
    /// Who waits for room, in the order of arrival.
    pub(super) admissions: VecDeque<Waiter>,
    /// `admissions[..admissions_stamped]` have a deadline as an instant; at most
    /// `admissions.len()`.
    pub(super) admissions_stamped: usize,
    pub(super) alarms: Vec<(Due, Arc<Slot<()>>)>,
    /// `alarms[..alarms_stamped]` have an instant; at most `alarms.len()`.
    pub(super) alarms_stamped: usize,
    /// No deadline or alarm with an instant is earlier.
    pub(super) earliest: Option<Instant>,
    pub(super) swept_at: Option<Instant>,
    pub(super) gate: Gate,
    pub(super) era: u64,
    /// Something was submitted since the driver's turn began.
    pub(super) rung: bool,
    /// The driver sleeps, or is about to.
    pub(super) parked: bool,
}

pub(super) struct Entry<N, A> {
    pub(super) slot: Arc<Slot<A>>,
    pub(super) note: N,
    pub(super) due: Due,
    pub(super) len: usize,
    pub(super) xid: i32,
    /// Its reply comes outside the order of the line.
    pub(super) aside: bool,
    /// It leaves even if nobody waits for its answer: the last request of all.
    pub(super) is_last: bool,
    /// Of the session's own: it leaves although nobody waits for its answer, unless the
    /// connection is lost first.
    pub(super) is_own: bool,
}

impl<N, A> Entry<N, A> {
    /// Whether it is still to be sent, if it has not been.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_last || self.slot.is_awaited()
    }
}

#[derive(Clone, Copy)]
pub(super) enum Due {
    Never,
    /// Counted from the next turn: whoever submits reads no clock.
    Within(Duration),
    At(Instant),
}

impl From<Option<Duration>> for Due {
    fn from(within: Option<Duration>) -> Self {
        within.map_or(Self::Never, Self::Within)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Sealed { within: Duration },
    Ended,
}

pub(super) struct Waiter {
    pub(super) len: usize,
    pub(super) due: Due,
    /// For the deadline that the request has then.
    pub(super) slot: Arc<Slot<Result<Due, Refused>>>,
}

/// Deadlines are looked through at most this often: they are late by this much at the most.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

impl<N, A> Inner<N, A> {
    pub(super) fn check_open(&self) -> Result<(), Refused> {
        match self.gate {
            Gate::Open => Ok(()),
            Gate::Sealed { .. } => Err(Refused::Sealed),
            Gate::Ended => Err(Refused::Ended),
        }
    }

    pub(super) fn has_room(&self, len: usize) -> bool {
        // A request alone always fits, or one above the limit would wait for ever.
        self.used.requests == 0
            || (self.used.requests < self.limits.requests
                && self.used.bytes + len <= self.limits.bytes)
    }

    pub(super) fn occupy(&mut self, len: usize) {
        self.used.requests += 1;
        self.used.bytes += len;
    }

    /// Gives room back, and to whoever waited longest for it.
    pub(super) fn release(&mut self, len: usize, wakers: &mut Vec<Waker>) {
        self.used.requests = self.used.requests.saturating_sub(1);
        self.used.bytes = self.used.bytes.saturating_sub(len);
        self.admit(wakers);
    }

    /// Gives what room there is to those who wait for it, in their order. Those who do not wait
    /// any more stand in nobody's way.
    pub(super) fn admit(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(front) = self.admissions.front()
            && (self.has_room(front.len) || !front.slot.is_awaited())
        {
            let Some(Waiter { len, due, slot }) = self.admissions.pop_front() else {
                break;
            };
            self.admissions_stamped = self.admissions_stamped.saturating_sub(1);
            if let Ok(waker) = slot.fill(Ok(due)) {
                self.occupy(len);
                wakers.extend(waker);
            }
        }
    }

    /// Returns whether to ring: a deadline begins with the driver's next turn.
    pub(super) fn push_waiter(&mut self, waiter: Waiter) -> bool {
        if self.admissions.len() == self.admissions.capacity() {
            // Before it grows: who has given up behind somebody who waits is still in here.
            self.admissions.retain(|waiter| waiter.slot.is_awaited());
            self.admissions.reserve(self.admissions.len() + 1);
            // Those that are left out were stamped or not; stamping twice does no harm.
            self.admissions_stamped = 0;
        }
        let has_deadline = !matches!(waiter.due, Due::Never);
        self.admissions.push_back(waiter);
        has_deadline && self.note_submission()
    }

    pub(super) fn push_alarm(&mut self, duration: Duration, slot: Arc<Slot<()>>) {
        if self.alarms.len() == self.alarms.capacity() {
            // Before it grows: most timers are dropped long before they are due.
            self.alarms.retain(|(_, slot)| slot.is_awaited());
            self.alarms.reserve(self.alarms.len() + 1);
            // Those that are left out were stamped or not; stamping twice does no harm.
            self.alarms_stamped = 0;
        }
        self.alarms.push((Due::Within(duration), slot));
    }

    pub(super) fn refuse_waiters(&mut self, refused: Refused) -> Vec<Waker> {
        self.admissions_stamped = 0;
        let waiters = self.admissions.drain(..);
        waiters
            .filter_map(|waiter| waiter.slot.fill(Err(refused)).ok().flatten())
            .collect()
    }

    /// Returns the ticket, and whether to ring.
    pub(super) fn push(
        &mut self,
        request: Request<N>,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> (Ticket<A>, bool) {
        let due = request.within.into();
        self.push_due(request, due, encode)
    }

    /// As [`push`](Self::push), with a deadline that may have begun before.
    pub(super) fn push_due(
        &mut self,
        request: Request<N>,
        due: Due,
        encode: impl FnOnce(i32, &mut BytesMut),
    ) -> (Ticket<A>, bool) {
        let (slot, ticket) = Slot::new();
        let xid = self.next_xid;
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        let before = self.waiting.len();
        self.waiting.reserve(request.len);
        encode(xid, &mut self.waiting);
        let len = self.waiting.len() - before;
        debug_assert!(len <= request.len, "a request encodes what it announced");
        self.used.bytes = self
            .used
            .bytes
            .saturating_sub(request.len.saturating_sub(len));
        self.line.push_back(Entry {
            slot,
            note: request.note,
            due,
            len,
            xid,
            aside: false,
            is_last: false,
            is_own: false,
        });
        (ticket, self.note_submission())
    }

    /// As [`push`](Self::push), for an entry that takes no xid.
    pub(super) fn push_aside(
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
    pub(super) fn note_submission(&mut self) -> bool {
        self.rung = true;
        std::mem::take(&mut self.parked)
    }

    pub(super) fn stamp(&mut self, now: Instant) {
        let fresh = self.line.range_mut(self.stamped.min(self.line.len())..);
        let dues = fresh.map(|entry| &mut entry.due);
        let fresh = self.alarms.iter_mut().skip(self.alarms_stamped);
        let dues = dues.chain(fresh.map(|(due, _)| due));
        let waiting = self.admissions_stamped.min(self.admissions.len());
        let fresh = self.admissions.range_mut(waiting..);
        for due in dues.chain(fresh.map(|waiter| &mut waiter.due)) {
            if let Due::Within(duration) = *due {
                // An instant beyond what the clock can tell is as good as never.
                *due = now.checked_add(duration).map_or(Due::Never, Due::At);
            }
            if let Due::At(at) = *due {
                self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
            }
        }
        self.stamped = self.line.len();
        self.alarms_stamped = self.alarms.len();
        self.admissions_stamped = self.admissions.len();
    }

    pub(super) fn next_sweep(&self) -> Option<Instant> {
        let earliest = self.earliest?;
        Some(
            self.swept_at
                .map_or(earliest, |at| earliest.max(at + SWEEP_INTERVAL)),
        )
    }

    pub(super) fn sweep(
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
        let waiting = self.admissions.len();
        self.admissions.retain_mut(|waiter| {
            let over = is_over(&mut waiter.due);
            if over {
                let refused = waiter.slot.fill(Err(Refused::Overdue));
                outbox.wakers.extend(refused.ok().flatten());
            }
            !over
        });
        self.admissions_stamped = self.admissions.len();
        self.earliest = earliest;
        if self.admissions.len() < waiting {
            // Those behind may need less than the one that has given up.
            self.admit(&mut outbox.wakers);
        }
        if any_waiting {
            // Filled here, under the lock, because the line is searched for open slots next. It
            // runs no code of a user: a slot that is filled for the first time drops nothing.
            outbox.deliver();
            self.retain_waiting(outbox, |entry| entry.is_own || entry.is_wanted());
        }
    }

    /// Leaves out the waiting entries that are not to be kept, with their bytes.
    pub(super) fn retain_waiting(
        &mut self,
        outbox: &mut Outbox<A>,
        keep: impl Fn(&Entry<N, A>) -> bool,
    ) {
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
        self.drop_bytes(old);
    }

    /// Wiped where something in it may be secret.
    fn drop_bytes(&self, mut bytes: BytesMut) {
        if self.holds_secret {
            bytes.fill(0);
            std::hint::black_box(&mut bytes);
        }
    }

    pub(super) fn give_back(
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
        // An authentication that comes back is as secret as before.
        self.holds_secret |= self.asides > 0;
        bytes.advance(bytes.len().saturating_sub(len - begun_len));
        bytes.extend_from_slice(&self.waiting);
        let old = std::mem::replace(&mut self.waiting, bytes);
        self.drop_bytes(old);
        self.taken = 0;
        self.retain_waiting(outbox, Entry::is_wanted);
    }

    /// Ends each entry, and says how many there were. The room that they took is left as it is.
    pub(super) fn end_line(
        &mut self,
        outbox: &mut Outbox<A>,
        mut answer: impl FnMut(&N, Fate) -> A,
    ) -> usize {
        let taken = std::mem::take(&mut self.taken);
        let line = std::mem::take(&mut self.line);
        let entries = line.len();
        for (index, entry) in line.into_iter().enumerate() {
            let fate = if index < taken {
                Fate::MaybeApplied
            } else {
                Fate::NotSent
            };
            outbox.answers.push((entry.slot, answer(&entry.note, fate)));
        }
        self.asides = 0;
        if std::mem::take(&mut self.holds_secret) {
            self.waiting.fill(0);
            std::hint::black_box(&mut self.waiting);
        }
        self.waiting = BytesMut::new();
        self.stamped = 0;
        entries
    }

    /// How many taken entries have a byte among the first `written`, and how many bytes they
    /// have together.
    pub(super) fn begun(&self, written: usize) -> (usize, usize) {
        let mut len = 0;
        let begun = self.line.range(..self.taken).take_while(|entry| {
            let begun = len < written;
            len += if begun { entry.len } else { 0 };
            begun
        });
        (begun.count(), len)
    }

    pub(super) fn end_front(
        &mut self,
        entries: usize,
        outbox: &mut Outbox<A>,
        lost: &mut dyn FnMut(&N) -> A,
    ) {
        for _ in 0..entries {
            let Some(entry) = self.pop_front(&mut outbox.wakers) else {
                return;
            };
            outbox.answers.push((entry.slot, lost(&entry.note)));
        }
    }

    pub(super) fn pop_front(&mut self, wakers: &mut Vec<Waker>) -> Option<Entry<N, A>> {
        self.remove(0, wakers)
    }

    /// Takes a taken entry out of the line.
    pub(super) fn remove(&mut self, index: usize, wakers: &mut Vec<Waker>) -> Option<Entry<N, A>> {
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

    /// How many of those that wait are asides.
    pub(super) fn waiting_asides(&self) -> usize {
        if self.asides == 0 {
            return 0;
        }
        let waiting = self.line.range(self.taken..);
        waiting.filter(|entry| entry.aside).count()
    }

    /// Where the oldest taken entry of a kind stands.
    pub(super) fn position(&self, aside: bool) -> Option<usize> {
        if self.asides == 0 {
            return (!aside && self.taken > 0).then_some(0);
        }
        self.line
            .range(..self.taken)
            .position(|entry| entry.aside == aside)
    }
}
