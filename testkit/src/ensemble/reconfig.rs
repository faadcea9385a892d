//! Other members: who may ask for them, from when on they are it, and what becomes of the rest.
//!
//! A server that is no member follows all the same, as a real one does until somebody stops it:
//! it has no vote, and serves. So does one that has just been started, until it is a member.

use std::net::SocketAddr;
use std::sync::Arc;

use homing_protocol::ErrorCode;

use crate::config::ServerConfig;
use crate::replica::{Deed, Role, Write};
use crate::server::{Now, Server};
use crate::tree::Stamp;

use super::election::first_zxid;
use super::member::Member;
use super::membership::{self, Membership, Part};
use super::server_line::ServerLine;
use super::{Ensemble, FIRST_EPOCH};

/// Members that come and go.
impl Ensemble {
    /// Starts one more server, which clients reach at `address`, and says which one it is. It
    /// knows what the others do, follows, and serves; a member with a vote or without one it
    /// becomes when somebody asks for a [reconfiguration](ServerConfig::reconfig_enabled) with its
    /// [line](Self::server_line). `None` if there are 255 already.
    ///
    /// ```
    /// use homing_testkit::{Ensemble, Now, ServerConfig};
    /// # let now = Now { instant: std::time::Instant::now(), unix_ms: 0 };
    /// let mut ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
    /// let address = "10.0.0.4:2181".parse()?;
    /// let member = ensemble.add_server(now, ServerConfig::default(), address).unwrap();
    /// assert!(ensemble.is_serving(member));
    /// let line = "server.4=10.0.0.4:2891:3891:participant;10.0.0.4:2181";
    /// assert_eq!(ensemble.server_line(member).as_deref(), Some(line));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn add_server(
        &mut self,
        now: Now,
        mut config: ServerConfig,
        address: SocketAddr,
    ) -> Option<usize> {
        self.begin(now);
        let index = self.members.len();
        config.server_id = u8::try_from(index + 1).ok()?;
        let mut server = Server::new(config);
        server.join(Role::Looking);
        server.begin(now);
        let mut member = Member::new(index, server, address);
        // It gets the others' history from whoever has the most of it.
        if let Some(teacher) = self.members.iter().max_by_key(|other| other.applied) {
            member.server.learn_from(now, &teacher.server);
            member.applied = teacher.applied;
        }
        self.members.push(member);
        self.settle(now);
        Some(index)
    }

    /// As if the last server had never been started, of which nobody knows yet.
    pub(crate) fn take_last_back(&mut self) {
        self.members.pop();
    }

    /// How a server is written in a configuration, with a vote:
    /// `server.N=host:port:port:participant;host:port`. The last one is where clients reach it;
    /// nobody listens on the others.
    pub fn server_line(&self, member: usize) -> Option<String> {
        let line = ServerLine::of(member, self.members.get(member)?.address, false);
        Some(format!("server.{}={line}", membership::id(member)))
    }

    /// Says where clients reach a server that is not yet a member.
    pub(crate) fn set_address(&mut self, member: usize, address: SocketAddr) {
        if let Some(member) = self.members.get_mut(member) {
            member.address = address;
        }
    }

    /// Says where clients reach the first members.
    pub(crate) fn set_addresses(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        for (member, address) in self.members.iter_mut().zip(addresses) {
            member.address = address;
        }
        let addresses = self.members.iter().map(|member| member.address);
        self.membership = Arc::new(Membership::of(self.voters, addresses));
    }

    /// The same where there has been an input already.
    pub(crate) fn publish_addresses(
        &mut self,
        now: Now,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) {
        self.set_addresses(addresses);
        self.publish(now);
    }

    /// Tells all members, and their clients, who they are.
    pub(super) fn publish(&mut self, now: Now) {
        let config = self.members.first().map(|member| member.server.config());
        // Where it is never to change it has no version.
        let zxid = match config.is_some_and(|config| config.reconfig_enabled) {
            true => first_zxid(FIRST_EPOCH),
            false => 0,
        };
        let at = Stamp {
            zxid,
            time_ms: now.unix_ms,
        };
        let members = Membership::clone(&self.membership).since(zxid);
        for member in &mut self.members {
            member.server.know_members(&members, at);
        }
        self.membership = Arc::new(members);
    }
}

/// What is asked for.
impl Ensemble {
    /// What becomes of a request for other members.
    pub(super) fn judge_reconfig(&mut self, now: Now, write: &Write, asker: Option<usize>) -> Deed {
        // What stands before it in the history may say who is allowed to ask.
        self.apply_due(now);
        let xid = write.xid;
        match self.reconfigured(now, write, asker) {
            Ok(members) => Deed::Reconfig {
                xid,
                members: Arc::new(members),
            },
            Err(error) => Deed::Refuse { xid, error },
        }
    }

    /// The order of the checks is a real server's.
    fn reconfigured(
        &mut self,
        now: Now,
        write: &Write,
        asker: Option<usize>,
    ) -> Result<Membership, ErrorCode> {
        let leader = self.leader().and_then(|leader| self.members.get(leader));
        let leader = leader.ok_or(ErrorCode::MarshallingError)?;
        let config = leader.server.config();
        let has_standalone = config.standalone_enabled;
        if !config.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        let is_allowed = leader.server.may_reconfigure(write);
        self.check_session(write.session, asker)?;
        let change = write.reconfig().ok_or(ErrorCode::MarshallingError)?;
        if self.history.pending().is_some() {
            return Err(ErrorCode::ReconfigInProgress);
        }
        if ![-1, self.membership.version()].contains(&change.from_config) {
            return Err(ErrorCode::BadVersion);
        }
        let new = match &change.members {
            Some(members) => Membership::read(members, has_standalone)?,
            None => self
                .membership
                .changed(change.leaving.as_deref(), change.joining.as_deref())?,
        };
        new.check(has_standalone)?;
        let limit = self.sync_limit;
        let is_synced = |member: &Member| member.seems_reachable(now.instant, limit);
        if !self.has_quorum(&new, is_synced) {
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        match is_allowed {
            true => Ok(new.since(self.history.last_zxid() + 1)),
            false => Err(ErrorCode::NoAuth),
        }
    }

    /// Whether enough of those who are to have a vote can acknowledge that. Who observes cannot: it
    /// has to follow first.
    fn has_quorum(&self, members: &Membership, is_there: impl Fn(&Member) -> bool) -> bool {
        let counts = |(index, member): &(usize, &Member)| {
            members.has_vote(*index)
                && is_there(member)
                && self.membership.part(*index) == Part::Follows
                && (self.leader() == Some(*index) || member.is_led())
        };
        members.is_majority(self.members.iter().enumerate().filter(counts).count())
    }
}

/// What follows.
impl Ensemble {
    /// Makes certain what a majority has. A change of the members takes one of both sides.
    pub(super) fn commit(&mut self, now: Now) {
        while self.can_commit() && !self.abdicates {
            self.history.commit_writes(now.instant);
            let Some(members) = self.history.pending().cloned() else {
                return;
            };
            if !self.has_quorum(&members, Member::is_reachable) {
                return;
            }
            self.activate(now, members);
        }
    }

    /// The same of all that there is, as by a leader that has found it in its log.
    pub(super) fn commit_all(&mut self, now: Now) {
        self.history.commit_writes(now.instant);
        while let Some(members) = self.history.pending().cloned() {
            self.activate(now, members);
            self.history.commit_writes(now.instant);
        }
    }

    /// These are the members from now on. A leader that has no vote among them, or that they would
    /// not find where it is, leads no more.
    fn activate(&mut self, now: Now, members: Arc<Membership>) {
        self.history.commit_next(now.instant);
        let former = std::mem::replace(&mut self.membership, members);
        let goes_on = self.leader().is_some_and(|leader| {
            self.membership.has_vote(leader) && self.membership.is_found_alike(&former, leader)
        });
        self.abdicates |= !goes_on;
    }

    /// Whoever is to lead in the place of the one that does: of those with a vote the first that
    /// follows.
    pub(super) fn successor(&self) -> Option<usize> {
        let leader = self.leader();
        let mut members = self.members.iter().enumerate();
        members.find_map(|(index, member)| {
            let can_lead = self.membership.has_vote(index) && leader != Some(index);
            (can_lead && member.is_led() && member.is_reachable()).then_some(index)
        })
    }
}
