//! One member: its server, how far it is behind, and whom it can reach.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::replica::Role;
use crate::server::{ConnectionId, Now, Server};

use super::history::{Entry, History};
use super::membership::Part;

#[derive(Debug)]
pub(super) struct Member {
    /// Its place among the members.
    index: usize,
    pub(super) server: Server,
    /// Where clients reach it.
    pub(super) address: SocketAddr,
    /// What it is to a leader that is somebody else, as far as it knows.
    pub(super) part: Part,
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
    pub(super) fn new(index: usize, server: Server, address: SocketAddr) -> Self {
        Self {
            index,
            server,
            address,
            part: Part::Follows,
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
            self.take_part();
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

    /// Whether an entry has it begin anew as something else.
    pub(super) fn turns_with(&self, entry: &Entry) -> bool {
        let members = entry.deed.members();
        !self.has_role(Role::Leading)
            && members.is_some_and(|members| members.part(self.index) != self.part)
    }

    /// Applies the next entry of the history, and answers those who waited for it here.
    pub(super) fn apply(&mut self, now: Now, entry: &Entry) {
        self.carry_out(now, entry, entry.origin);
    }

    /// The same by a member that is about to drop its clients, and gives no answer any more.
    pub(super) fn apply_in_silence(&mut self, now: Now, entry: &Entry) {
        self.carry_out(now, entry, None);
    }

    fn carry_out(&mut self, now: Now, entry: &Entry, origin: Option<(usize, ConnectionId)>) {
        let asker =
            origin.and_then(|(member, connection)| (member == self.index).then_some(connection));
        if let Some(members) = entry.deed.members() {
            self.part = members.part(self.index);
        }
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
            self.take_part();
        }
    }

    fn take_part(&mut self) {
        self.server.set_role(match self.part {
            Part::Follows => Role::Following,
            Part::Observes => Role::Observing,
        });
    }

    /// Whether somebody else leads it, be it that it has still to learn before it serves.
    pub(super) fn is_led(&self) -> bool {
        let role = self.server.role();
        matches!(role, Some(Role::Following | Role::Observing)) || self.catching_up.is_some()
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
