//! Transactions and their numbers.

use crate::acl::Identities;
use crate::transaction::{Caller, Settings, Transaction};
use crate::tree::Stamp;

use super::{ConnectionId, Now, Server};

/// Who asks for a transaction, and by which rules.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// A connection of this server and its session, by the rules of this server.
    Here(ConnectionId, i64),
    /// A client of a member of the ensemble, by the rules of that one.
    Elsewhere(Caller<'a>, &'a Rules),
}

/// What a write's outcome depends on besides the tree and the one who asks.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) settings: Settings,
    pub(crate) unknown_operations: Vec<i32>,
    pub(crate) multi_keeps_operations: bool,
    pub(crate) multi_holds_no_reads: bool,
    pub(crate) unreadable_writes_are_free: bool,
}

impl Server {
    /// Takes the next transaction and carries it out. Its changes are still to be announced.
    pub(crate) fn transact<T>(
        &mut self,
        now: Now,
        asker: Asker<'_>,
        run: impl FnOnce(Transaction<'_>) -> T,
    ) -> T {
        let stamp = self.next_stamp(now);
        let nobody = Identities::nobody();
        let (caller, settings) = match asker {
            Asker::Here(connection, session) => {
                let identities = self.connections.get(&connection);
                let identities = identities.map_or(&nobody, |connection| &*connection.identities);
                let caller = Caller {
                    session,
                    identities,
                };
                (caller, self.settings())
            }
            Asker::Elsewhere(caller, rules) => (caller, rules.settings),
        };
        run(Transaction::new(&mut self.tree, caller, stamp, settings))
    }

    /// By which rules this server's clients write, for other servers to keep.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            settings: self.settings(),
            unknown_operations: self.config.unknown_operations.clone(),
            multi_keeps_operations: self.config.multi_keeps_operations,
            multi_holds_no_reads: self.config.multi_holds_no_reads,
            unreadable_writes_are_free: self.config.unreadable_writes_are_free,
        }
    }

    fn settings(&self) -> Settings {
        Settings::new(&self.config)
    }

    /// The next transaction without an asker: it removes nodes, and tells whoever watches.
    pub(crate) fn remove_nodes(&mut self, now: Now, paths: &[String]) {
        let stamp = self.next_stamp(now);
        let nobody = Identities::nobody();
        let caller = Caller {
            session: 0,
            identities: &nobody,
        };
        let mut transaction = Transaction::new(&mut self.tree, caller, stamp, Settings::default());
        paths.iter().for_each(|path| transaction.remove(path));
        let changes = transaction.commit();
        self.announce(&changes, None);
    }

    /// Ends a session in one transaction. `None` if there was none; otherwise its connection,
    /// which the caller is to close.
    pub(crate) fn end_session(&mut self, now: Now, session: i64) -> Option<Option<ConnectionId>> {
        let ended = self.sessions.remove(session)?;
        if ended.is_local {
            // It had no nodes, and its end is no transaction.
            return Some(ended.connection);
        }
        let paths: Vec<_> = self.tree.ephemerals(session).map(str::to_owned).collect();
        self.remove_nodes(now, &paths);
        self.tree.forget_owner(session);
        Some(ended.connection)
    }

    /// Takes a number for what turns out to be no transaction.
    pub(crate) fn waste_zxid(&mut self) {
        self.zxid_counter = self.zxid_counter.wrapping_add(1);
    }

    pub(crate) fn next_stamp(&mut self, now: Now) -> Stamp {
        self.waste_zxid();
        self.last_zxid = self.zxid_counter;
        Stamp {
            zxid: self.last_zxid,
            time_ms: now.unix_ms,
        }
    }
}
