//! Which server is tried next, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::connect_string::Server;
use crate::preference::Preference;
use crate::timeouts;

/// The servers in the order in which they are tried, and the pauses between passes over them.
///
/// A *pass* tries each server once. It begins right after the one that was connected last, so
/// that a lost connection leads to another server at once; those that have failed a short while
/// ago come last, and among both kinds those first that are preferred. Between passes there is a
/// pause that is random: clients that lost the same server do not come back in step.
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
    /// The list was replaced, and the next pass begins with a new server with this probability.
    new_first: Option<f64>,
    /// Which servers come before the others.
    prefer: Option<Preference>,
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct Candidate {
    server: Server,
    /// It came with the last list, and was not in the one before.
    is_new: bool,
    is_preferred: bool,
    /// When it last failed; `None` once it has accepted the session.
    failed_at: Option<Instant>,
}

impl Candidate {
    fn new(server: Server, prefer: Option<&Preference>) -> Self {
        Self {
            is_preferred: prefer.is_some_and(|prefer| prefer.is_preferred(&server)),
            server,
            is_new: true,
            failed_at: None,
        }
    }

    fn has_failed(&self, now: Instant) -> bool {
        self.failed_at
            .is_some_and(|at| now.saturating_duration_since(at) < timeouts::PENALTY)
    }
}

impl Hosts {
    pub(crate) fn new(mut servers: Vec<Server>, prefer: Option<Preference>, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        servers.shuffle(&mut rng);
        let servers = servers.into_iter();
        let servers: VecDeque<_> = servers
            .map(|server| Candidate::new(server, prefer.as_ref()))
            .collect();
        Self {
            left: servers.len(),
            servers,
            passes: 0,
            away_since: None,
            new_first: None,
            prefer,
            rng,
        }
    }

    /// The servers, in no order that means anything.
    pub(crate) fn all(&self) -> Vec<Server> {
        let servers = self.servers.iter();
        servers.map(|candidate| candidate.server.clone()).collect()
    }

    /// Whether these are the servers that there are already.
    pub(crate) fn is_same(&self, servers: &[Server]) -> bool {
        let mut known = self.servers.iter().map(|candidate| &candidate.server);
        servers.iter().all(|server| self.contains(server))
            && known.all(|server| servers.contains(server))
    }

    pub(crate) fn contains(&self, server: &Server) -> bool {
        let mut candidates = self.servers.iter();
        candidates.any(|candidate| candidate.server == *server)
    }

    /// Another list of servers, of which `current` is the one that is connected, or was last.
    /// Whether the session should leave it.
    ///
    /// The choice is the Java client's, so that clients of both kinds together load all servers
    /// alike: as few of them move as possible, each with the right probability, and to the right
    /// part of the new list.
    pub(crate) fn replace(
        &mut self,
        servers: Vec<Server>,
        current: impl Fn(&Server) -> bool,
    ) -> bool {
        let before = self.servers.len();
        let mut former = std::mem::take(&mut self.servers);
        let mut listed: Vec<Candidate> = Vec::with_capacity(servers.len());
        for server in servers {
            let known = former.iter().position(|known| known.server == server);
            match known.and_then(|at| former.remove(at)) {
                Some(kept) => listed.push(Candidate {
                    is_new: false,
                    ..kept
                }),
                None if listed.iter().any(|candidate| candidate.server == server) => {}
                None => listed.push(Candidate::new(server, self.prefer.as_ref())),
            }
        }
        listed.shuffle(&mut self.rng);
        // Where it is connected it need not go next.
        listed.sort_by_key(|candidate| current(&candidate.server));
        let last = listed.last().filter(|last| current(&last.server));
        let (is_listed, is_preferred) =
            (last.is_some(), last.is_some_and(|last| last.is_preferred));
        let change = Change {
            before,
            after: listed.len(),
            kept: listed.iter().filter(|candidate| !candidate.is_new).count(),
            is_listed,
        };
        self.servers = listed.into();
        self.left = self.servers.len();
        let moves = change.moves(self.rng.random());
        self.new_first = moves.filter(|_| !is_preferred);
        self.new_first.is_some()
    }

    /// All servers may be tried now, whatever was tried before.
    pub(crate) fn begin_pass(&mut self) {
        self.left = self.servers.len();
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
        if let Some(probability) = self.new_first.take() {
            self.mix(probability);
        }
        // Those that are alike stay in the order of the ring.
        self.servers
            .make_contiguous()
            .sort_by_key(|candidate| (candidate.has_failed(now), !candidate.is_preferred));
    }

    /// How long the session stays at this server before it tries to return to one that is
    /// preferred, after it has left in vain so often; `None` if it has no reason to. Each of those
    /// has cost a connection, so there are ever fewer of them, down to an eighth.
    pub(crate) fn return_after(&mut self, server: &Server, returns: u32) -> Option<Duration> {
        let prefer = self.prefer.as_ref()?;
        let is_preferred = |candidate: &Candidate| candidate.is_preferred;
        let is_here =
            |candidate: &Candidate| is_preferred(candidate) && candidate.server == *server;
        if !self.servers.iter().any(is_preferred) || self.servers.iter().any(is_here) {
            return None;
        }
        let after = prefer.return_after().saturating_mul(1 << returns.min(3));
        let after = after.min(timeouts::RETURN_MAX);
        // Clients that came here together do not leave together.
        Some(after.mul_f64(self.rng.random_range(0.75..=1.25)))
    }

    /// Those that are preferred, in the order in which they would be tried.
    pub(crate) fn preferred(&self) -> Vec<Server> {
        let preferred = self
            .servers
            .iter()
            .filter(|candidate| candidate.is_preferred);
        preferred
            .map(|candidate| candidate.server.clone())
            .collect()
    }

    /// All servers may be tried now, and this one first: it is preferred, and serves.
    pub(crate) fn go_first(&mut self, server: &Server) {
        self.begin_pass();
        let at = self
            .servers
            .iter()
            .position(|candidate| candidate.server == *server);
        if let Some(mut candidate) = at.and_then(|at| self.servers.remove(at)) {
            candidate.failed_at = None;
            self.servers.push_front(candidate);
        }
    }

    /// New and old servers in turn, the next one each time a new one with this probability.
    fn mix(&mut self, probability: f64) {
        let (mut new, mut old): (VecDeque<_>, VecDeque<_>) = self
            .servers
            .drain(..)
            .partition(|candidate| candidate.is_new);
        while let Some(next) = {
            let takes_new = self.rng.random::<f64>() < probability;
            let (first, second) = if takes_new {
                (&mut new, &mut old)
            } else {
                (&mut old, &mut new)
            };
            first.pop_front().or_else(|| second.pop_front())
        } {
            self.servers.push_back(next);
        }
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

/// How a list of servers was replaced by another.
struct Change {
    before: usize,
    after: usize,
    /// How many servers are in both.
    kept: usize,
    /// Whether the server that is connected is in the new list.
    is_listed: bool,
}

impl Change {
    /// Whether the session leaves its server, by a random number between 0 and 1; and if so,
    /// with which probability it goes to a server that is new in the list.
    #[allow(clippy::cast_precision_loss, reason = "nobody has so many servers")]
    fn moves(&self, roll: f64) -> Option<f64> {
        let (before, after, kept) = (self.before as f64, self.after as f64, self.kept as f64);
        match (self.after > self.before, self.is_listed) {
            // Each of the old servers gives the new ones their share.
            (true, true) => (roll < 1.0 - before / after).then_some(1.0),
            // Its clients are the new servers' first ones.
            (true, false) => Some(1.0),
            (false, true) => None,
            // Those that are kept have their own clients already, and take some of these only as
            // far as the list has become shorter.
            (false, false) => {
                let left = (before - kept).max(1.0);
                Some(1.0 - kept * (before - after) / (after * left))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect_string::ConnectString;

    const CLIENTS: u16 = 6_000;

    fn servers(ports: std::ops::Range<u16>) -> Vec<Server> {
        let list: Vec<_> = ports.map(|port| format!("zk:{port}")).collect();
        list.join(",").parse::<ConnectString>().unwrap().servers
    }

    /// Clients spread over the first list hear of the second. How many each server of it has
    /// then, and how many have moved.
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn rebalance(first: std::ops::Range<u16>, second: std::ops::Range<u16>) -> (Vec<u16>, u16) {
        let now = Instant::now();
        let mut load = vec![0; second.len()];
        let mut moved = 0;
        for seed in 0..CLIENTS {
            let mut hosts = Hosts::new(servers(first.clone()), None, seed.into());
            let mut current = hosts.next(now).unwrap();
            if hosts.replace(servers(second.clone()), |server| *server == current) {
                moved += 1;
                current = hosts.next(now).unwrap();
            }
            load[usize::from(current.port - second.start)] += 1;
        }
        (load, moved)
    }

    fn assert_even(load: &[u16]) {
        let each = f64::from(CLIENTS) / load.len() as f64;
        for clients in load {
            let off = (f64::from(*clients) - each).abs() / each;
            assert!(off < 0.1, "{clients} where {each} are expected: {load:?}");
        }
    }

    #[test]
    fn servers_that_come_are_given_their_share_by_those_that_stay() {
        let (load, moved) = rebalance(1..4, 1..6);
        assert_even(&load);
        // Two fifths, and no more: nobody moves between the old ones.
        assert!((2_200..2_600).contains(&moved), "{moved}");
    }

    #[test]
    fn the_clients_of_servers_that_go_are_shared_by_those_that_stay() {
        let (load, moved) = rebalance(1..6, 1..4);
        assert_even(&load);
        assert!((2_200..2_600).contains(&moved), "{moved}");
    }

    #[test]
    fn the_clients_of_servers_that_are_replaced_go_to_the_new_ones() {
        let (load, moved) = rebalance(1..5, 3..7);
        assert_even(&load);
        assert!((2_800..3_200).contains(&moved), "{moved}");
    }

    #[test]
    fn a_list_that_moves_on_and_grows_or_shrinks_stays_even() {
        assert_even(&rebalance(1..4, 2..7).0);
        assert_even(&rebalance(1..7, 4..8).0);
        assert_even(&rebalance(1..4, 4..7).0);
    }

    #[test]
    fn the_same_list_moves_nobody() {
        assert_eq!(rebalance(1..4, 1..4).1, 0);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn every_server_is_tried_once_whatever_the_probability() {
        let now = Instant::now();
        for seed in 0..100 {
            let mut hosts = Hosts::new(servers(1..5), None, seed);
            let current = hosts.next(now).unwrap();
            hosts.replace(servers(3..8), |server| *server == current);
            let mut tried: Vec<_> = (0..5).map(|_| hosts.next(now).unwrap().port).collect();
            assert_eq!(hosts.next(now), None);
            tried.sort_unstable();
            assert_eq!(tried, [3, 4, 5, 6, 7]);
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_server_that_has_failed_is_tried_last_for_a_while() {
        let start = Instant::now();
        let mut hosts = Hosts::new(servers(1..5), None, 7);
        let bad = hosts.next(start).unwrap();
        hosts.failed(&bad, start);
        // From here on each pass ends with a connection to the first server.
        let mut order = |at: Instant| -> Vec<u16> {
            hosts.settled();
            let first = hosts.next(at).unwrap();
            hosts.accepted(&first);
            let rest = hosts.servers.iter().map(|candidate| candidate.server.port);
            rest.collect()
        };
        // Behind the one that is connected, which stands at the back.
        let ring = order(start + timeouts::PENALTY / 2);
        assert_eq!(ring[2], bad.port);
        let ring = order(start + timeouts::PENALTY / 2);
        assert_eq!(ring[2], bad.port, "others have had their turn, it has not");
        order(start + timeouts::PENALTY);
        order(start + timeouts::PENALTY);
        let ring = order(start + timeouts::PENALTY);
        assert_eq!(ring[3], bad.port, "it had its turn");
    }
}
