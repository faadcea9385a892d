//! The suspicion that the servers are behind what this client has seen.

use std::time::{Duration, Instant};

use crate::status::Failure;

/// Whether every server closes the connection in place of an answer to the handshake.
///
/// That is what servers do that know less than the client has seen, because they have lost their
/// data or are of another ensemble, and they say nothing. Servers without a quorum do the same,
/// so it stays a suspicion.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// Attempts of this pass over the servers, and how many of them ended so.
    attempts: u32,
    closed: u32,
    /// When the first of the passes was over that have ended so, one after the other.
    since: Option<Instant>,
}

impl Suspicion {
    pub(crate) fn note(&mut self, failure: &Failure) {
        self.attempts += 1;
        self.closed += u32::from(*failure == Failure::ClosedInHandshake);
    }

    /// All servers have been tried.
    pub(crate) fn pass_is_over(&mut self, now: Instant) {
        self.since = match self.attempts > 0 && self.attempts == self.closed {
            true => Some(self.since.unwrap_or(now)),
            false => None,
        };
        (self.attempts, self.closed) = (0, 0);
    }

    /// One has accepted the session.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// There is reason for it: in one pass at least, and in this one so far.
    pub(crate) fn is_alive(&self) -> bool {
        self.since.is_some() && self.attempts == self.closed
    }

    /// It is alive and as old as this.
    pub(crate) fn has_lasted(&self, now: Instant, duration: Duration) -> bool {
        let is_so = |since| now.saturating_duration_since(since) >= duration;
        self.is_alive() && self.since.is_some_and(is_so)
    }
}
