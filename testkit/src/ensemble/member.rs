//! One member: its server, how far it is behind, and whom it can reach.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::replica::Role;
use crate::server::{ConnectionId, Now, Server};

use super::history::{Entry, History};

#[derive(Debug)]
pub(super) struct Member {
    /// Its place among the members.
    index: usize,
    pub(super) server: Server,
    pub(super) lag: Duration,
    /// How much of the history it has applied.
    pub(super) applied: u64,
    pub(super) is_running: bool,
    /// Since when it reaches nobody, though it runs.
    pub(super) isolated: Option<Instant>,
    /// Since when it follows: nothing reaches it earlier than its lag after that.
    pub(super) joined: Option<Instant>,
    /// It takes clients when it has applied so much.
    pub(super) catching_up: Option<u64>,
    /// Connections that wait until so much has been applied, in this order.
    pub(super) syncs: VecDeque<(u64, ConnectionId)>,
}

impl Member {
    pub(super) fn new(index: usize, server: Server) -> Self {
        Self {
            index,
            server,
            lag: Duration::ZERO,
            applied: 0,
            is_running: true,
            isolated: None,
            joined: None,
            catching_up: None,
            syncs: VecDeque::new(),
        }
    }

    /// Whether it can talk to those who can talk.
    pub(super) fn is_reachable(&self) -> bool {
        self.is_running && self.isolated.is_none()
    }

    /// Whether it seems to be there to those who have to find out by its silence, and they to it.
    pub(super) fn seems_reachable(&self, now: Instant, sync_limit: Duration) -> bool {
        self.is_running
            && self
                .is_silent_from(sync_limit)
                .is_none_or(|from| from > now)
    }

    /// When those who cannot be reached are noticed. `None` for never.
    pub(super) fn is_silent_from(&self, sync_limit: Duration) -> Option<Instant> {
        self.isolated?.checked_add(sync_limit)
    }

    pub(super) fn has_role(&self, role: Role) -> bool {
        self.server.role() == Some(role)
    }

    /// Takes part no more, for now: clients are dropped, and nobody is let in.
    pub(super) fn step_down(&mut self) {
        self.server.drop_clients();
        self.server.set_role(Role::Looking);
        self.catching_up = None;
        self.syncs.clear();
    }

    /// Has a leader from now on, and takes clients when it knows all that is certain now; at once
    /// if it may be stale.
    pub(super) fn follow(&mut self, now: Now, history: &History, may_be_stale: bool) {
        self.server.set_read_only(now, false);
        self.joined = Some(now.instant);
        self.catching_up = Some(history.committed()).filter(|_| !may_be_stale);
        if may_be_stale {
            self.server.set_role(Role::Following);
        }
        self.look_up();
    }

    /// Leads from now on, with all that is certain.
    pub(super) fn lead(&mut self, now: Now, history: &History, first_zxid: i64) {
        self.server.set_read_only(now, false);
        while let Some(entry) = history.get(self.applied) {
            self.apply(now, entry);
        }
        self.server.set_last_zxid(first_zxid);
        self.server.set_role(Role::Leading);
        self.catching_up = None;
    }

    /// When it applies an entry. A leader is never behind.
    pub(super) fn due(&self, entry: &Entry) -> Option<Instant> {
        let committed = entry.committed?;
        match self.has_role(Role::Leading) {
            true => Some(committed),
            false => self
                .joined
                .unwrap_or(committed)
                .max(committed)
                .checked_add(self.lag),
        }
    }

    /// Applies the next entry of the history, and answers those who waited for it here.
    pub(super) fn apply(&mut self, now: Now, entry: &Entry) {
        let asker = entry
            .origin
            .and_then(|(member, connection)| (member == self.index).then_some(connection));
        let at = Now {
            unix_ms: entry.unix_ms,
            ..now
        };
        self.server.apply(at, entry.zxid, &entry.deed, asker);
        self.applied += 1;
        while let Some((upto, connection)) = self.syncs.front().copied()
            && upto <= self.applied
        {
            self.syncs.pop_front();
            self.server.finish_sync(now, connection);
        }
        self.look_up();
    }

    /// Takes clients if it has caught up.
    fn look_up(&mut self) {
        if self.catching_up.is_some_and(|upto| upto <= self.applied) {
            self.catching_up = None;
            self.server.set_role(Role::Following);
        }
    }

    /// Calls back when everything has arrived that is certain now.
    pub(super) fn sync(&mut self, now: Now, upto: u64, connection: ConnectionId) {
        if upto <= self.applied {
            self.server.finish_sync(now, connection);
        } else {
            self.syncs.push_back((upto, connection));
        }
    }
}
