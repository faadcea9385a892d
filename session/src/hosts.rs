//! Which server is tried next, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::connect_string::Server;
use crate::timeouts;

/// The servers in the order in which they are tried, and the pauses between passes over them.
///
/// A *pass* tries each server once. It begins right after the one that was connected last, so
/// that a lost connection leads to another server at once; those that have failed a short while
/// ago come last. Between passes there is a pause that is random: clients that lost the same
/// server do not come back in step.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// A ring: the front is tried next, and then goes to the back.
    servers: VecDeque<Candidate>,
    /// How many servers this pass has left; they are the first ones.
    left: usize,
    /// Passes since a connection last settled. A server that accepts and then closes does not
    /// end the count.
    passes: u32,
    /// When the last settled connection was lost, or the session began.
    away_since: Option<Instant>,
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct Candidate {
    server: Server,
    /// When it last failed; `None` once it has accepted the session.
    failed_at: Option<Instant>,
}

impl Candidate {
    fn new(server: Server) -> Self {
        Self {
            server,
            failed_at: None,
        }
    }

    fn has_failed(&self, now: Instant) -> bool {
        self.failed_at
            .is_some_and(|at| now.saturating_duration_since(at) < timeouts::PENALTY)
    }
}

impl Hosts {
    pub(crate) fn new(mut servers: Vec<Server>, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        servers.shuffle(&mut rng);
        Self {
            left: servers.len(),
            servers: servers.into_iter().map(Candidate::new).collect(),
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
        let servers = self.servers.iter().map(|candidate| &candidate.server);
        servers.filter(|server| *server != than).cloned().collect()
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
        if self.left == self.servers.len() {
            self.arrange(now);
        }
        self.left -= 1;
        self.servers.rotate_left(1);
        self.servers.back().map(|last| last.server.clone())
    }

    /// The order of a pass that begins.
    fn arrange(&mut self, now: Instant) {
        let ring = self.servers.make_contiguous();
        // Those that are alike stay in the order of the ring.
        ring.sort_by_key(|candidate| candidate.has_failed(now));
    }

    /// Begins a new pass, and says how long to pause before it.
    pub(crate) fn new_pass(&mut self, now: Instant) -> Duration {
        let away = self
            .away_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let pause = match self.passes {
            0 => timeouts::first_pause(self.rng.random(), self.rng.random()),
            _ => self.rng.random_range(timeouts::pause(away)),
        };
        self.passes = self.passes.saturating_add(1);
        self.left = self.servers.len();
        pause
    }

    /// The server did not accept the session, or the connection to it was lost.
    pub(crate) fn failed(&mut self, server: &Server, now: Instant) {
        self.note(server, Some(now));
    }

    /// The server has accepted the session.
    pub(crate) fn accepted(&mut self, server: &Server) {
        self.note(server, None);
    }

    fn note(&mut self, server: &Server, failed_at: Option<Instant>) {
        let mut candidates = self.servers.iter_mut();
        if let Some(candidate) = candidates.find(|candidate| candidate.server == *server) {
            candidate.failed_at = failed_at;
        }
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
