//! Who leads, who can reach whom, and what follows when that changes.

use std::time::Instant;

use crate::replica::Role;
use crate::server::Now;

use super::member::Member;
use super::membership::Membership;
use super::{Ensemble, Fate};

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reign {
    Of(usize),
    Vacant {
        /// Who is to be elected, if it can be.
        candidate: Option<usize>,
        /// When that will be, while there is a majority.
        ends: Option<Instant>,
    },
}

/// The number behind which an epoch counts.
pub(super) fn first_zxid(epoch: u32) -> i64 {
    i64::from(epoch) << 32
}

/// Faults.
impl Ensemble {
    /// Cuts a member off from all others; its clients still reach it. When it notices, it drops
    /// them, and is read-only from then on if it is set to
    /// [`read_only_enabled`](crate::ServerConfig::read_only_enabled). A leader that is cut off is
    /// one no more, and the others elect another. See [`set_sync_limit`](Self::set_sync_limit).
    pub fn isolate(&mut self, now: Now, member: usize) {
        self.begin(now);
        // Who is alone has nobody to be cut off from.
        let has_others = self.members.len() > 1;
        if let Some(member) = self.members.get_mut(member).filter(|_| has_others) {
            member.isolated.get_or_insert(now.instant);
        }
        self.settle(now);
    }

    /// Lets a member reach the others again. Nothing that it has missed arrives earlier than its
    /// lag from now.
    pub fn heal(&mut self, now: Now, member: usize) {
        self.begin(now);
        if let Some(member) = self.members.get_mut(member)
            && member.isolated.take().is_some()
        {
            member.joined = Some(now.instant);
        }
        self.settle(now);
    }

    /// Stops a member as if its process were killed. What it has stored stays, and what is decided
    /// meanwhile is kept for it until it comes back.
    pub fn stop(&mut self, now: Now, member: usize) {
        self.begin(now);
        if let Some(member) = self.members.get_mut(member) {
            member.is_running = false;
            member.step_down();
            member.server.set_read_only(now, false);
        }
        self.settle(now);
    }

    /// Starts a member again, with what it had stored; stops it first if it runs.
    pub fn restart(&mut self, now: Now, member: usize) {
        self.stop(now, member);
        if let Some(member) = self.members.get_mut(member) {
            member.is_running = true;
        }
        self.settle(now);
    }

    /// Lets a member be elected: all connections are closed, and nobody is served until it leads,
    /// after the [election time](Self::set_election_time). Says whether it can be: it runs, is
    /// not cut off, has a vote, and reaches a majority.
    pub fn elect(&mut self, now: Now, member: usize) -> bool {
        self.begin(now);
        self.settle(now);
        let can_be = self.has_majority()
            && self.membership.has_vote(member)
            && self.members.get(member).is_some_and(Member::is_reachable);
        if can_be {
            self.fall(Some(member));
            self.settle(now);
        }
        can_be
    }
}

/// Questions.
impl Ensemble {
    /// Whether those that are so are a majority of those who have a vote among such members.
    fn are_majority(&self, of: &Membership, are_so: impl Fn(&Member) -> bool) -> bool {
        let members = self.members.iter().enumerate();
        let counts = |(index, member): &(usize, &Member)| of.has_vote(*index) && are_so(member);
        of.is_majority(members.filter(counts).count())
    }

    /// Whether so many members reach each other that they can decide.
    fn has_majority(&self) -> bool {
        self.are_majority(&self.membership, Member::is_reachable)
    }

    /// Whether there is a leader that can decide.
    pub(super) fn can_commit(&self) -> bool {
        let leader = self.leader().and_then(|leader| self.members.get(leader));
        leader.is_some_and(Member::is_reachable) && self.has_majority()
    }

    /// Whether a leader has no reason to fall, as far as it has noticed. It needs those as well whom
    /// it has asked to be the members.
    fn leads_on(&self, now: Now, leader: usize) -> bool {
        let limit = self.sync_limit;
        let seems = |member: &Member| member.seems_reachable(now.instant, limit);
        let pending = self.history.pending();
        self.members.get(leader).is_some_and(seems)
            && self.are_majority(&self.membership, seems)
            && pending.is_none_or(|pending| self.are_majority(pending, seems))
    }

    /// Whether a member's requests arrive at the leader, be it one that can decide or not.
    pub(super) fn reaches_leader(&self, index: usize) -> bool {
        self.leader() == Some(index)
            || self.is_in_touch(index)
                && self.members.get(index).is_some_and(|member| {
                    member.has_role(Role::Following) || member.has_role(Role::Observing)
                })
    }

    /// Whether a member hears from a leader.
    pub(super) fn is_in_touch(&self, index: usize) -> bool {
        let member = self.members.get(index);
        self.leader() == Some(index) || member.is_some_and(|member| self.is_taught(member))
    }

    /// The same of a member that does not lead, or that leads and is not cut off.
    pub(super) fn is_taught(&self, member: &Member) -> bool {
        let leader = self.leader().and_then(|leader| self.members.get(leader));
        leader.is_some_and(Member::is_reachable) && member.is_reachable()
    }

    /// When something comes to an end: an election, or somebody's patience.
    pub(super) fn next_turning_point(&self) -> Option<Instant> {
        if let Reign::Vacant { ends, .. } = self.reign {
            return ends;
        }
        let in_the_dark = self
            .members
            .iter()
            .filter(|member| member.is_running && !member.has_role(Role::Looking));
        in_the_dark
            .filter_map(|member| member.is_silent_from(self.sync_limit))
            .min()
    }
}

/// What follows.
impl Ensemble {
    /// Looks at who reaches whom, and lets follow from it what is to follow by now.
    pub(super) fn regard(&mut self, now: Now) {
        if let Reign::Of(leader) = self.reign
            && !self.leads_on(now, leader)
        {
            self.fall(None);
        }
        if let Reign::Vacant { .. } = self.reign {
            self.hold_election(now);
        }
        self.commit(now);
        self.arrange_members(now);
    }

    /// There is no leader any more. All clients are dropped.
    pub(super) fn fall(&mut self, candidate: Option<usize>) {
        // Whoever has no quorum is in nobody's realm, unless a test has only said so.
        let members = self.members.iter_mut();
        members
            .filter(|member| !member.server.is_read_only() || !member.has_role(Role::Looking))
            .for_each(Member::step_down);
        self.reign = Reign::Vacant {
            candidate,
            ends: None,
        };
    }

    /// Goes on with an election while there is a majority, and ends it when its time has come.
    fn hold_election(&mut self, now: Now) {
        let Reign::Vacant { candidate, ends } = self.reign else {
            return;
        };
        let ends = match self.has_majority() {
            true => ends.or_else(|| now.instant.checked_add(self.election_time)),
            false => None,
        };
        self.reign = Reign::Vacant { candidate, ends };
        if ends.is_some_and(|ends| ends <= now.instant)
            && let Some(leader) = self.elected(candidate)
        {
            self.enthrone(now, leader);
        }
    }

    /// Whoever was chosen, or else whoever has the most in its log, or else the last one.
    fn elected(&self, candidate: Option<usize>) -> Option<usize> {
        let can_be = |index: &usize| {
            let member = self.members.get(*index);
            member.is_some_and(Member::is_reachable) && self.membership.has_vote(*index)
        };
        let author = self.author.filter(|_| self.history.uncommitted() > 0);
        let known = candidate.filter(can_be).or(author.filter(can_be));
        known.or_else(|| (0..self.members.len()).rev().find(can_be))
    }

    fn enthrone(&mut self, now: Now, leader: usize) {
        self.reign = Reign::Of(leader);
        if self.fate == Fate::Applied || self.author == Some(leader) {
            self.commit_all(now);
        } else {
            self.history.drop_uncommitted();
        }
        self.author = Some(leader);
        self.epoch = self.epoch.saturating_add(1);
        let zxid = first_zxid(self.epoch);
        self.history.count_from(zxid);
        let Some(leader) = self.members.get_mut(leader) else {
            return;
        };
        leader.lead(now, &self.history, zxid);
        // It begins with the sessions that it knows of, and gives them the whole time of their
        // first handshakes: no history tells of later ones.
        self.owners.clear();
        self.sessions.clear();
        for (id, session) in leader.server.sessions.iter() {
            self.sessions.insert(now.instant, id, session.stored, None);
        }
    }

    /// Lets members follow that can, and step down that cannot.
    fn arrange_members(&mut self, now: Now) {
        let is_led = self.can_commit();
        let will_be_led = self.has_majority();
        let limit = self.sync_limit;
        for member in self.members.iter_mut().filter(|member| member.is_running) {
            if member.is_reachable() && is_led {
                if member.has_role(Role::Looking) && member.catching_up.is_none() {
                    member.follow(now, &self.history, self.may_be_stale);
                }
                continue;
            }
            if !member.has_role(Role::Looking) && member.seems_reachable(now.instant, limit) {
                // It has not noticed yet.
                continue;
            }
            if !member.has_role(Role::Looking) || member.catching_up.is_some() {
                member.step_down();
            }
            let has_quorum = member.is_reachable() && will_be_led;
            if member.server.config().read_only_enabled {
                member.server.set_read_only(now, !has_quorum);
            }
        }
    }
}
