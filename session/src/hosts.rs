//! Which server is tried next, and when.

use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::connect_string::Server;
use crate::timeouts;

/// The servers in the order in which they are tried, and the pauses between passes over them.
///
/// A *pass* tries each server once. It begins right after the one that was connected last, so
/// that a lost connection leads to another server at once. Between passes there is a pause,
/// with full jitter: clients that lost the same server do not come back in step.
#[derive(Debug)]
pub(crate) struct Hosts {
    servers: Vec<Server>,
    /// The server to try next. Less than `servers.len()`.
    next: usize,
    /// How many servers this pass has left.
    left: usize,
    /// Passes since a connection last settled. A server that accepts and then closes does not
    /// end the count.
    passes: u32,
    /// When the last settled connection was lost, or the session began.
    away_since: Option<Instant>,
    rng: ChaCha8Rng,
}

impl Hosts {
    pub(crate) fn new(mut servers: Vec<Server>, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        servers.shuffle(&mut rng);
        let left = servers.len();
        Self {
            servers,
            next: 0,
            left,
            passes: 0,
            away_since: None,
            rng,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// All servers but this one.
    pub(crate) fn others(&self, than: &Server) -> Vec<Server> {
        let others = self.servers.iter().filter(|server| *server != than);
        others.cloned().collect()
    }

    /// How many servers this pass has not tried yet.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The next server of this pass; `None` when it is over.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Server> {
        self.away_since.get_or_insert(now);
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let server = self.servers.get(self.next).cloned();
        self.next = (self.next + 1) % self.servers.len().max(1);
        server
    }

    /// Begins a new pass, and says how long to pause before it.
    pub(crate) fn new_pass(&mut self, now: Instant) -> Duration {
        let away = self
            .away_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let ceiling = timeouts::backoff_ceiling(self.passes, away);
        self.passes = self.passes.saturating_add(1);
        self.left = self.servers.len();
        self.rng.random_range(Duration::ZERO..=ceiling)
    }

    /// A connection has lived long enough: when it is lost, all servers may be tried at once.
    pub(crate) fn settled(&mut self) {
        self.left = self.servers.len();
        self.passes = 0;
        self.away_since = None;
    }

    /// The addresses of a name, in an order of our own: resolvers tend to give everybody the
    /// same one first.
    pub(crate) fn shuffle<T>(&mut self, addresses: &mut [T]) {
        addresses.shuffle(&mut self.rng);
    }
}
