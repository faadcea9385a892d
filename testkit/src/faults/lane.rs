//! One direction of a connection behind its faults: what is to come out, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

/// How many times in a second a throttled direction lets something pass, if it lets so many bytes
/// pass at all.
const STEPS_PER_SECOND: u64 = 50;

/// Something that happens in its place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The source has come to its end.
    End,
    HalfClose,
    Cut,
    Reset,
    Stall(Option<Duration>),
    Hang(Option<Duration>),
    Throttle(u64),
    /// Because of this rule.
    Expire(usize),
    /// The same.
    Move(usize),
}

/// What comes out.
#[derive(Debug)]
pub(crate) enum Due {
    Bytes(Bytes),
    Mark(Mark),
}

/// When it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// But for latency.
    pub(crate) due: Instant,
    pub(crate) latency: Duration,
}

impl Moment {
    fn instant(self) -> Instant {
        self.due + self.latency
    }
}

impl From<Instant> for Moment {
    fn from(due: Instant) -> Self {
        let latency = Duration::ZERO;
        Self { due, latency }
    }
}

#[derive(Debug)]
pub(crate) struct Lane {
    queue: VecDeque<(Moment, Due)>,
    /// Bytes in the queue.
    queued: usize,
    /// Bytes that have entered the queue: where the next one stands in the stream.
    pub(crate) entered: u64,
    gate: Gate,
    /// Something is to be done first that takes its time.
    is_held: bool,
    /// Bytes in a second.
    rate: Option<u64>,
    /// When the rate lets the next bytes pass.
    next_at: Option<Instant>,
    /// The end has come out: what enters behind it goes nowhere.
    is_finished: bool,
    /// A fault's end is in the queue: what enters behind it comes out only if that is mended.
    is_doomed: bool,
}

/// Whether anything may come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Stalled, for good without an end.
    Shut(Option<Instant>),
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            queued: 0,
            entered: 0,
            gate: Gate::Open,
            is_held: false,
            rate: None,
            next_at: None,
            is_finished: false,
            is_doomed: false,
        }
    }

    /// Something comes out when it is due, and all that entered before it is out.
    pub(crate) fn put(&mut self, due: impl Into<Moment>, what: Due) {
        if self.is_finished {
            return;
        }
        if let Due::Bytes(bytes) = &what {
            self.queued += bytes.len();
            self.entered += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        self.is_doomed |= matches!(what, Due::Mark(Mark::Cut | Mark::Reset | Mark::HalfClose));
        self.queue.push_back((due.into(), what));
    }

    /// Whether nothing that enters now is to come out.
    pub(crate) fn is_doomed(&self) -> bool {
        self.is_doomed || self.is_finished
    }

    /// What is here waits for this latency at most.
    pub(crate) fn hasten(&mut self, latency: Duration) {
        for (moment, _) in &mut self.queue {
            moment.latency = moment.latency.min(latency);
        }
    }

    /// What comes out now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Due> {
        if self.next_due().is_none_or(|due| due > now) {
            return None;
        }
        self.gate = Gate::Open;
        if let (Some(rate), Some((_, Due::Bytes(bytes)))) = (self.rate, self.queue.front_mut()) {
            let step = rate.div_ceil(STEPS_PER_SECOND);
            let len = usize::try_from(step).unwrap_or(usize::MAX).min(bytes.len());
            let time = Duration::from_secs_f64(len as f64 / rate as f64);
            self.next_at = Some(self.next_at.unwrap_or(now).max(now) + time);
            if len < bytes.len() {
                self.queued -= len;
                return Some(Due::Bytes(bytes.split_to(len)));
            }
        }
        let (_, what) = self.queue.pop_front()?;
        if let Due::Bytes(bytes) = &what {
            self.queued -= bytes.remaining();
        }
        Some(what)
    }

    /// When something comes out next, if nothing else happens.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let (moment, what) = self.queue.front().filter(|_| !self.is_held)?;
        let due = moment.instant();
        let gate = match self.gate {
            Gate::Open => due,
            Gate::Shut(until) => until?,
        };
        let rate = match (what, self.next_at) {
            (Due::Bytes(_), Some(next)) => next,
            _ => due,
        };
        Some(due.max(gate).max(rate))
    }

    pub(crate) fn throttle(&mut self, rate: u64) {
        self.rate = Some(rate.max(1));
    }

    /// Nothing comes out until then. Where it is shut already, the later end counts.
    pub(crate) fn shut(&mut self, until: Option<Instant>) {
        let until = match self.gate {
            Gate::Open => until,
            Gate::Shut(before) => before.zip(until).map(|(before, until)| before.max(until)),
        };
        self.gate = Gate::Shut(until);
    }

    /// Nothing comes out until [`go_on`](Self::go_on), and then what would have without that.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    pub(crate) fn go_on(&mut self) {
        self.is_held = false;
    }

    /// Whether something is to be done first.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Lets everything go that is held back; what was still to happen by a fault does not.
    pub(crate) fn mend(&mut self, now: Instant) {
        self.go_on();
        self.gate = Gate::Open;
        self.is_doomed = false;
        (self.rate, self.next_at) = (None, None);
        self.queue
            .retain(|(_, what)| matches!(what, Due::Bytes(_) | Due::Mark(Mark::End)));
        for (moment, _) in &mut self.queue {
            *moment = now.into();
        }
    }

    /// Nothing comes out any more, and what is there is thrown away.
    pub(crate) fn finish(&mut self) {
        self.is_finished = true;
        self.queue.clear();
        self.queued = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.queued
    }
}
