//! A session that nobody uses is closed, and another one opened when somebody needs it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::renewal::Then;
use super::{Phase, Session, Shared};
use crate::status::{SessionEnd, SessionState};
use crate::timeouts;

impl Shared {
    /// Keeps the session from being closed for being idle, until [`release`](Self::release) is
    /// called as often as this.
    pub fn hold(&self) {
        self.holds.fetch_add(1, Ordering::AcqRel);
    }

    /// See [`hold`](Self::hold).
    pub fn release(&self) {
        self.holds.fetch_sub(1, Ordering::AcqRel);
        self.queue.nudge();
    }

    /// Opens a session if it was closed for being idle, although nothing is asked of it.
    pub fn open(&self) {
        self.is_wanted.store(true, Ordering::Release);
        self.queue.nudge();
    }
}

impl Session {
    /// Closes the session once it has been idle for long enough.
    pub(super) fn check_idle(&mut self, now: Instant) {
        self.idle_since = match self.is_idle() {
            true => Some(self.idle_since.unwrap_or(now)),
            false => None,
        };
        let Phase::Connected(link) = &self.phase else {
            return;
        };
        if self.idle_until().is_some_and(|at| at <= now) {
            self.idle_since = None;
            self.phase = Phase::Closing {
                address: link.address,
                until: now + timeouts::LAST_REQUEST_MAX,
                request: Some(Vec::new()),
                then: Then::Rest,
            };
        }
    }

    /// When the session will have been idle for long enough.
    pub(super) fn idle_until(&self) -> Option<Instant> {
        self.idle_since?.checked_add(self.close_idle_after?)
    }

    /// Nothing would be lost with it.
    fn is_idle(&self) -> bool {
        let is_announced = match &self.phase {
            Phase::Connected(link) => link.is_announced,
            _ => false,
        };
        self.close_idle_after.is_some()
            && is_announced
            && !self.may_have_ephemerals
            && self.close_until.is_none()
            && self.shared.holds.load(Ordering::Acquire) == 0
            && self.shared.watches.armed() == 0
            && self.shared.queue.usage().requests == 0
            && self.shared.errands.len() == 0
    }

    /// The session is closed, and nobody was waiting for anything.
    pub(super) fn rest(&mut self) {
        self.forget_session();
        if self.close_until.is_some() {
            return self.end(SessionEnd::Closed);
        }
        self.shared.is_wanted.store(false, Ordering::Release);
        self.phase = Phase::Dormant;
        self.enter(SessionState::Dormant);
    }

    /// Opens another session if somebody has asked for something meanwhile.
    pub(super) fn check_wanted(&mut self, now: Instant) {
        let is_wanted = self.shared.is_wanted.load(Ordering::Acquire)
            || self.shared.queue.usage().requests > 0
            || !self.reconnects.is_empty();
        if is_wanted {
            self.phase = Phase::Idle;
            self.enter(SessionState::Connecting);
            self.try_next(now);
        }
    }
}
