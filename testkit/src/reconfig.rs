//! What a member does itself where others become the members.

use bytes::Bytes;
use homing_protocol::{Reader, RequestHeader, incoming, op, permission};

use crate::ensemble::Membership;
use crate::path;
use crate::processor::Outcome;
use crate::replica::Write;
use crate::reply::Reply;
use crate::server::{Now, Server};
use crate::tree::Stamp;

impl Write {
    /// The change of the members that was asked for, if that is what was.
    pub(crate) fn reconfig(&self) -> Option<incoming::Reconfig<'_>> {
        let mut reader = Reader::new(&self.frame);
        let header = RequestHeader::read(&mut reader).ok()?;
        let is_reconfig = header.op == op::RECONFIG;
        is_reconfig.then(|| incoming::Reconfig::read(&mut reader).ok())?
    }
}

impl Server {
    /// Whether the node of the configuration lets somebody change it.
    pub(crate) fn may_reconfigure(&self, write: &Write) -> bool {
        let node = self.tree.get(path::CONFIG);
        node.is_some_and(|node| write.identities.allowed(&node.acl, permission::WRITE))
    }

    /// Notes who the members are, as from the start.
    pub(crate) fn know_members(&mut self, members: &Membership, at: Stamp) {
        self.config.ensemble = members.to_string();
        if self.tree.get(path::CONFIG).is_some() {
            self.tree.set_config(&self.config.ensemble, at);
        }
    }

    /// Others are the members. The answer is what a read of the node would bring.
    ///
    /// Whoever watches is told twice, as by a real server: it writes the node when it takes up the
    /// configuration, and once more when it comes to the transaction.
    pub(crate) fn apply_reconfig(&mut self, now: Now, members: &Membership) -> Outcome {
        let at = self.next_stamp(now);
        self.config.ensemble = members.to_string();
        let text = Bytes::copy_from_slice(self.config.ensemble.as_bytes());
        let (mut reply, mut changes) = (Reply::new(), Vec::new());
        for _ in 0..2 {
            changes.extend(self.tree.configure(text.clone(), at));
        }
        if let Some(node) = self.tree.get(path::CONFIG) {
            reply.put_buffer(Some(&text));
            reply.put_stat(&node.stat());
        }
        Outcome::success(changes, reply)
    }

    /// Takes over what another member knows, as one does that joins.
    pub(crate) fn learn_from(&mut self, now: Now, other: &Self) {
        self.tree = other.tree.clone();
        self.config.ensemble.clone_from(&other.config.ensemble);
        self.set_last_zxid(other.last_zxid);
        for (id, session) in other.sessions.iter().filter(|(_, it)| !it.is_local) {
            self.sessions.insert(now.instant, id, session.stored, None);
        }
    }
}
