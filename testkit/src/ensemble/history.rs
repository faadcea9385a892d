//! The history that all members share: what was proposed, and how much of it is certain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::replica::Deed;
use crate::server::{ConnectionId, Now};

use super::membership::Membership;

/// Something that has its place in the history.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) zxid: i64,
    pub(super) unix_ms: i64,
    pub(super) deed: Deed,
    /// The member and the connection of it that wait for this.
    pub(super) origin: Option<(usize, ConnectionId)>,
    /// When a majority had it.
    pub(super) committed: Option<Instant>,
}

/// Entries in their order, and no more of them than some member has still to apply.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    /// The position of the first of them.
    start: u64,
    /// The position behind the last one that is certain. Behind it are a leader's proposals that
    /// no majority has.
    committed: u64,
    last_zxid: i64,
}

impl History {
    pub(super) fn new(last_zxid: i64) -> Self {
        Self {
            entries: VecDeque::new(),
            start: 0,
            committed: 0,
            last_zxid,
        }
    }

    /// The last number that was given out.
    pub(super) fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// The position behind all that is certain.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// How much is uncertain.
    pub(super) fn uncommitted(&self) -> usize {
        let first = self.position(self.committed);
        first.map_or(0, |first| self.entries.len().saturating_sub(first))
    }

    /// The position behind everything.
    pub(super) fn end(&self) -> u64 {
        self.committed + self.uncommitted() as u64
    }

    /// Takes the next number for something that no majority has yet.
    pub(super) fn propose(&mut self, now: Now, deed: Deed, origin: Option<(usize, ConnectionId)>) {
        self.last_zxid += 1;
        self.entries.push_back(Entry {
            zxid: self.last_zxid,
            unix_ms: now.unix_ms,
            deed,
            origin,
            committed: None,
        });
    }

    /// A majority has everything up to the next change of the members.
    pub(super) fn commit_writes(&mut self, now: Instant) {
        let is_write = |entry: &Entry| entry.deed.members().is_none();
        while self.next_uncertain().is_some_and(is_write) {
            self.commit_next(now);
        }
    }

    /// A majority has the first thing that was uncertain.
    pub(super) fn commit_next(&mut self, now: Instant) {
        let next = self.position(self.committed);
        if let Some(entry) = next.and_then(|next| self.entries.get_mut(next)) {
            entry.committed = Some(now);
            self.committed += 1;
        }
    }

    /// Who are to be the members, where that is uncertain.
    pub(super) fn pending(&self) -> Option<&Arc<Membership>> {
        let first = self.position(self.committed)?;
        let mut uncertain = self.entries.iter().skip(first);
        uncertain.find_map(|entry| entry.deed.members())
    }

    fn next_uncertain(&self) -> Option<&Entry> {
        self.entries.get(self.position(self.committed)?)
    }

    /// What no majority has never happened.
    pub(super) fn drop_uncommitted(&mut self) {
        if let Some(first) = self.position(self.committed) {
            self.entries.truncate(first);
        }
    }

    /// Counts on from here, as a new leader does.
    pub(super) fn count_from(&mut self, zxid: i64) {
        self.last_zxid = zxid;
    }

    /// What stands at a position, if it is certain.
    pub(super) fn get(&self, position: u64) -> Option<&Entry> {
        (position < self.committed)
            .then(|| self.entries.get(self.position(position)?))
            .flatten()
    }

    /// Forgets what stands before a position.
    pub(super) fn forget_before(&mut self, position: u64) {
        while self.start < position && self.entries.pop_front().is_some() {
            self.start += 1;
        }
    }

    fn position(&self, position: u64) -> Option<usize> {
        usize::try_from(position.checked_sub(self.start)?).ok()
    }
}
