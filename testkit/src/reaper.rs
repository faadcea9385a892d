//! Containers that have served their purpose, and nodes whose time to live is over.

use crate::replica::Role;
use crate::server::{Now, Server};
use crate::tree::{Kind, Node};

/// How many nodes one look reaps at most: a real server's limit of 10,000 a minute, at its
/// default interval of one minute.
const REAPED_MAX: usize = 10_000;

impl Server {
    /// Reaps what can be reaped, once in each interval.
    pub(crate) fn reap(&mut self, now: Now) {
        if self.next_reaping.is_none_or(|due| due > now.instant) || !self.may_reap() {
            return;
        }
        // Intervals that were slept through are not made up for.
        self.next_reaping = now
            .instant
            .checked_add(self.config.container_check_interval);
        let due = self
            .tree
            .reapable()
            .filter(|(_, node)| self.is_over(node, now));
        let due: Vec<_> = due
            .map(|(path, _)| path.to_owned())
            .take(REAPED_MAX)
            .collect();
        for path in due {
            if self.replica.is_some() {
                self.propose_reaping(path);
            } else {
                self.remove_nodes(now, &[path]);
            }
        }
    }

    /// Whether it is for this server to reap: the leader does it for all.
    pub(crate) fn may_reap(&self) -> bool {
        let replica = self.replica.as_ref();
        !self.is_read_only && replica.is_none_or(|replica| replica.role == Role::Leading)
    }

    fn is_over(&self, node: &Node, now: Now) -> bool {
        if !node.children.is_empty() {
            return false;
        }
        // Only setData moves the time: children that come and go keep nothing alive.
        let idle_ms = now.unix_ms.saturating_sub(node.stat().mtime);
        match node.kind {
            Kind::Container if node.create_counter() > 0 => true,
            Kind::Container => {
                let max = self.config.container_max_never_used.as_millis();
                max > 0 && i128::from(idle_ms) > i128::try_from(max).unwrap_or(i128::MAX)
            }
            Kind::Ttl(ttl_ms) => idle_ms > ttl_ms,
            Kind::Persistent | Kind::Ephemeral(_) => false,
        }
    }
}
