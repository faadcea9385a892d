//! Numbers that are others in another run, and mean the same.

use std::collections::BTreeMap;

/// Which number now stands for which recorded one: each for one at most, in both directions.
#[derive(Debug, Default)]
pub(super) struct Relation {
    now: BTreeMap<i64, i64>,
    recorded: BTreeMap<i64, i64>,
}

impl Relation {
    /// Whether a number is now another, as it is everywhere else. What is not known yet is
    /// believed, and kept. Zero and what is below it means the same in every run.
    pub(super) fn agrees(&mut self, recorded: i64, now: i64) -> bool {
        if recorded <= 0 || now <= 0 {
            return recorded == now;
        }
        match (self.now.get(&recorded), self.recorded.get(&now)) {
            (None, None) => {
                self.now.insert(recorded, now);
                self.recorded.insert(now, recorded);
                true
            }
            (known, _) => known == Some(&now),
        }
    }

    /// What stands for a recorded number now.
    pub(super) fn now(&self, recorded: i64) -> Option<i64> {
        self.now.get(&recorded).copied()
    }
}

/// How far a server had come: zxids of replies as they were recorded, and of the same ones now.
#[derive(Debug, Default)]
pub(super) struct Progress {
    now: BTreeMap<i64, i64>,
}

impl Progress {
    /// A reply had this zxid, and has that one now.
    pub(super) fn saw(&mut self, recorded: i64, now: i64) {
        if recorded > 0 && now > 0 {
            let newest = self.now.entry(recorded).or_default();
            *newest = now.max(*newest);
        }
    }

    /// What a client that had seen a zxid has seen now. One that nobody has seen here is as far
    /// from the last that was as it had been; with nothing seen at all it stays.
    pub(super) fn translated(&self, recorded: i64) -> i64 {
        if recorded <= 0 {
            return recorded;
        }
        match self.now.range(..=recorded).next_back() {
            Some((seen, now)) => now.saturating_add(recorded - seen),
            None => recorded,
        }
    }
}
