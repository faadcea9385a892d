//! Who is told of which change.
//!
//! A server keeps two tables, one for a node's data and existence and one for its children, and
//! a connection has at most one mode per path in each: this is how 3.6 to 3.8 do it, where a
//! one-shot watch on a path takes the place of a persistent one (3.9 keeps them side by side).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use homing_protocol::{Acl, EventType};

use crate::path;
use crate::server::ConnectionId;
use crate::tree::Map;

/// How long a watch lasts and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Until it is triggered.
    OneShot,
    /// Until it is removed.
    Persistent,
    /// Until it is removed, and for everything below the path as well.
    Recursive,
}

/// What a transaction did to one node.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) what: What,
    pub(crate) path: String,
    /// The node's access control list at that time.
    pub(crate) acl: Arc<[Acl]>,
    /// That of its parent, where the list of children has changed.
    pub(crate) parent_acl: Option<Arc<[Acl]>>,
    /// How many bytes of data there are more than before.
    pub(crate) bytes: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Created,
    Deleted,
    DataChanged,
}

/// What a connection is told, if it may read the node.
#[derive(Debug)]
pub(crate) struct Notice<'a> {
    pub(crate) kind: EventType,
    pub(crate) path: &'a str,
    pub(crate) acl: &'a [Acl],
}

/// Which table a client means when it asks about a watch or removes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Children,
    Data,
    Any,
}

/// Both tables.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    data: Table,
    child: Table,
}

impl Watches {
    /// Watches a node's data and existence, once.
    pub(crate) fn add_data(&mut self, path: &str, connection: ConnectionId) {
        self.data.add(path, connection, Mode::OneShot);
    }

    /// Watches a node's list of children, once.
    pub(crate) fn add_child(&mut self, path: &str, connection: ConnectionId) {
        self.child.add(path, connection, Mode::OneShot);
    }

    /// Adds a persistent watch. A recursive one stands in the table of children too, where it
    /// keeps quiet about children but not about deletions.
    pub(crate) fn add_lasting(&mut self, path: &str, connection: ConnectionId, recursive: bool) {
        let mode = if recursive {
            Mode::Recursive
        } else {
            Mode::Persistent
        };
        self.data.add(path, connection, mode);
        self.child.add(path, connection, mode);
    }

    /// What checkWatches finds: to 3.8 a watch of anybody's on exactly this path will do, which
    /// was not meant so (3.9 looks at the connection's own).
    pub(crate) fn contains(&self, path: &str, which: Which) -> bool {
        let found = (which != Which::Children && self.data.contains(path))
            || (which != Which::Data && self.child.contains(path));
        // The root's other name can be watched, but is never found.
        found && !path.is_empty()
    }

    /// Removes a connection's watches on a path, and says whether there were any.
    pub(crate) fn remove(&mut self, path: &str, connection: ConnectionId, which: Which) -> bool {
        let data = which != Which::Children && self.data.remove(path, connection);
        let child = which != Which::Data && self.child.remove(path, connection);
        data || child
    }

    /// Forgets a connection that is gone.
    pub(crate) fn remove_connection(&mut self, connection: ConnectionId) {
        self.data.remove_connection(connection);
        self.child.remove_connection(connection);
    }

    /// How many watches there are, over all connections.
    pub(crate) fn len(&self) -> usize {
        self.data.len() + self.child.len()
    }

    /// Triggers what a change triggers, and calls `notify` once for each notification. A watch is
    /// spent whether or not its connection may be told.
    pub(crate) fn trigger(
        &mut self,
        change: &Change,
        mut notify: impl FnMut(ConnectionId, &Notice<'_>),
    ) {
        let Change {
            what,
            path,
            acl,
            parent_acl,
            ..
        } = change;
        let kind = match what {
            What::Created => EventType::NodeCreated,
            What::Deleted => EventType::NodeDeleted,
            What::DataChanged => EventType::NodeDataChanged,
        };
        let notice = Notice { kind, path, acl };
        let told = self.data.trigger(path, kind);
        let also = match what {
            What::Deleted => self.child.trigger(path, kind),
            What::Created | What::DataChanged => BTreeSet::new(),
        };
        told.iter()
            .chain(also.difference(&told))
            .for_each(|&who| notify(who, &notice));
        if let Some(acl) = parent_acl {
            let (kind, path) = (EventType::NodeChildrenChanged, parent(path));
            let notice = Notice { kind, path, acl };
            self.child
                .trigger(path, kind)
                .into_iter()
                .for_each(|who| notify(who, &notice));
        }
    }
}

/// One table.
#[derive(Debug, Default)]
struct Table {
    paths: Map<String, BTreeMap<ConnectionId, Mode>>,
    /// The same, the other way round.
    connections: Map<ConnectionId, BTreeSet<String>>,
    /// How many entries are recursive. While there are none, ancestors need no look.
    recursive: usize,
}

impl Table {
    fn add(&mut self, path: &str, connection: ConnectionId, mode: Mode) {
        let old = match self.paths.get_mut(path) {
            Some(watchers) => watchers.insert(connection, mode),
            None => {
                self.paths
                    .insert(path.to_owned(), BTreeMap::from([(connection, mode)]));
                None
            }
        };
        if old.is_none() {
            self.connections
                .entry(connection)
                .or_default()
                .insert(path.to_owned());
        }
        self.recursive += usize::from(mode == Mode::Recursive);
        self.recursive -= usize::from(old == Some(Mode::Recursive));
    }

    fn contains(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    fn remove(&mut self, path: &str, connection: ConnectionId) -> bool {
        let Some(paths) = self.connections.get_mut(&connection) else {
            return false;
        };
        let was_there = paths.remove(path);
        if paths.is_empty() {
            self.connections.remove(&connection);
        }
        if was_there {
            self.forget(path, connection);
        }
        was_there
    }

    fn remove_connection(&mut self, connection: ConnectionId) {
        for path in self.connections.remove(&connection).unwrap_or_default() {
            self.forget(&path, connection);
        }
    }

    fn forget(&mut self, path: &str, connection: ConnectionId) {
        let Some(watchers) = self.paths.get_mut(path) else {
            return;
        };
        let mode = watchers.remove(&connection);
        if watchers.is_empty() {
            self.paths.remove(path);
        }
        self.recursive -= usize::from(mode == Some(Mode::Recursive));
    }

    fn len(&self) -> usize {
        self.connections.values().map(BTreeSet::len).sum()
    }

    /// Who is to be told of an event, each connection once. One-shots are gone afterwards.
    fn trigger(&mut self, path: &str, kind: EventType) -> BTreeSet<ConnectionId> {
        let mut told = BTreeSet::new();
        let mut spent = Vec::new();
        if let Some(watchers) = self.paths.get(path) {
            for (&connection, &mode) in watchers {
                if mode == Mode::OneShot {
                    spent.push(connection);
                }
                if mode != Mode::Recursive {
                    told.insert(connection);
                }
            }
        }
        for connection in spent {
            self.remove(path, connection);
        }
        // Whoever watches a subtree sees each child come and go, so it is not told of lists.
        if self.recursive > 0 && kind != EventType::NodeChildrenChanged {
            for path in path::with_ancestors(path) {
                let watchers = self.paths.get(path).into_iter().flatten();
                let recursive = watchers.filter(|(_, mode)| **mode == Mode::Recursive);
                told.extend(recursive.map(|(connection, _)| *connection));
            }
        }
        told
    }
}

/// The parent under the name that events have for it.
fn parent(path: &str) -> &str {
    match path::split(path) {
        Some((parent, _)) if !parent.is_empty() => parent,
        _ => "/",
    }
}
