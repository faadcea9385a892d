//! Who is told of which change.
//!
//! A server keeps two tables, one for a node's data and existence and one for its children. Up
//! to 3.8 a connection has at most one mode per path in each, so that a one-shot watch on a path
//! takes the place of a persistent one; 3.9 keeps them side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use homing_protocol::{Acl, ErrorCode, EventType};

use crate::config::ServerConfig;
use crate::path;
use crate::server::ConnectionId;
use crate::traffic::Told;
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
    pub(crate) path: Arc<str>,
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

/// Which watches a client means when it asks about them or removes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Children,
    Data,
    Any,
    /// Only where modes stand side by side.
    Persistent,
    /// Only where modes stand side by side.
    Recursive,
}

impl Which {
    /// What it means in the tables of data and of children; `None` for nothing.
    fn modes(self, side_by_side: bool) -> [Option<Modes>; 2] {
        // Where there is one mode only, a kind means whatever stands in its table.
        let once = if side_by_side {
            Modes::of(Mode::OneShot)
        } else {
            Modes::ALL
        };
        match self {
            Self::Children => [None, Some(once)],
            Self::Data => [Some(once), None],
            Self::Any => [Some(Modes::ALL); 2],
            Self::Persistent => [Some(Modes::of(Mode::Persistent)); 2],
            Self::Recursive => [Some(Modes::of(Mode::Recursive)), None],
        }
    }
}

/// A set of modes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Modes(u8);

impl Modes {
    const ALL: Self = Self(7);

    fn of(mode: Mode) -> Self {
        Self(1 << mode as u8)
    }

    fn has(self, mode: Mode) -> bool {
        self.0 & Self::of(mode).0 != 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Both tables.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    data: Table,
    child: Table,
    /// As in 3.9: a path may have all modes at once.
    side_by_side: bool,
    /// Whoever asks for watches is told of his own only.
    checks_own: bool,
}

impl Watches {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        Self {
            side_by_side: config.watches_side_by_side,
            checks_own: config.check_watches_own,
            ..Self::default()
        }
    }

    fn add(&mut self, path: &str, connection: ConnectionId, mode: Mode, is_child: bool) {
        let side_by_side = self.side_by_side;
        let table = if is_child {
            &mut self.child
        } else {
            &mut self.data
        };
        table.change(path, connection, |former| match side_by_side {
            true => former.with(Modes::of(mode)),
            false => Modes::of(mode),
        });
    }

    /// Watches a node's data and existence, once.
    pub(crate) fn add_data(&mut self, path: &str, connection: ConnectionId) {
        self.add(path, connection, Mode::OneShot, false);
    }

    /// Watches a node's list of children, once.
    pub(crate) fn add_child(&mut self, path: &str, connection: ConnectionId) {
        self.add(path, connection, Mode::OneShot, true);
    }

    /// Adds a persistent watch. Up to 3.8 a recursive one stands in the table of children too,
    /// where it keeps quiet about children but not about deletions.
    pub(crate) fn add_lasting(&mut self, path: &str, connection: ConnectionId, recursive: bool) {
        let mode = if recursive {
            Mode::Recursive
        } else {
            Mode::Persistent
        };
        self.add(path, connection, mode, false);
        if !(recursive && self.side_by_side) {
            self.add(path, connection, mode, true);
        }
    }

    /// What checkWatches finds: from 3.6 to 3.8 a watch of anybody's on exactly this path will do,
    /// which was not meant so.
    pub(crate) fn contains(
        &self,
        path: Option<&str>,
        connection: ConnectionId,
        which: Which,
    ) -> Result<bool, ErrorCode> {
        let [data, child] = which.modes(self.side_by_side);
        if self.checks_own {
            let has = |table: &Table, modes: Option<Modes>| {
                path.zip(modes)
                    .is_some_and(|(path, modes)| table.has(path, connection, modes))
            };
            return Ok(has(&self.data, data) || has(&self.child, child));
        }
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let mut is_found = false;
        for (table, modes) in [(&self.data, data), (&self.child, child)] {
            is_found |= modes.is_some() && table.contains(path)?;
        }
        Ok(is_found)
    }

    /// Removes a connection's watches on a path, and says whether there were any.
    pub(crate) fn remove(&mut self, path: &str, connection: ConnectionId, which: Which) -> bool {
        let [data, child] = which.modes(self.side_by_side);
        let remove = |table: &mut Table, modes: Option<Modes>| {
            modes.is_some_and(|modes| table.remove(path, connection, modes))
        };
        // Both, whatever the first one had.
        remove(&mut self.data, data) | remove(&mut self.child, child)
    }

    /// Whether it knows kinds of watches that came with modes side by side.
    pub(crate) fn is_side_by_side(&self) -> bool {
        self.side_by_side
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

    /// Watches of data and existence by path, sorted. Those of children are not among what
    /// four-letter words list.
    pub(crate) fn data_by_path(&self) -> BTreeMap<&str, Vec<ConnectionId>> {
        let paths = self.data.paths.iter();
        paths
            .map(|(path, watchers)| (path.as_str(), watchers.keys().copied().collect()))
            .collect()
    }

    /// The same by connection.
    pub(crate) fn data_by_connection(&self) -> BTreeMap<ConnectionId, &BTreeSet<String>> {
        let connections = self.data.connections.iter();
        connections.map(|(id, paths)| (*id, paths)).collect()
    }

    /// Triggers what a change triggers, counts who is told, and calls `notify` once for each
    /// notification. A watch is spent whether or not its connection may be told.
    pub(crate) fn trigger(
        &mut self,
        change: &Change,
        count: &mut Told,
        mut notify: impl FnMut(ConnectionId, &Notice<'_>),
    ) {
        if self.data.paths.is_empty() && self.child.paths.is_empty() {
            return;
        }
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
        count.count(kind, told.len());
        let also = match what {
            What::Deleted => self.child.trigger(path, kind),
            What::Created | What::DataChanged => BTreeSet::new(),
        };
        // Whoever is in both tables counts twice, and is told once.
        count.count(kind, also.len());
        told.iter()
            .chain(also.difference(&told))
            .for_each(|&who| notify(who, &notice));
        if let Some(acl) = parent_acl {
            let (kind, path) = (EventType::NodeChildrenChanged, parent(path));
            let notice = Notice { kind, path, acl };
            let told = self.child.trigger(path, kind);
            count.count(kind, told.len());
            told.into_iter().for_each(|who| notify(who, &notice));
        }
    }
}

/// One table.
#[derive(Debug, Default)]
struct Table {
    /// No set of modes is empty.
    paths: Map<String, BTreeMap<ConnectionId, Modes>>,
    /// The same, the other way round. Whoever had any stays here until it is gone, though its set
    /// be empty: four-letter words show it.
    connections: Map<ConnectionId, BTreeSet<String>>,
    /// How many entries are recursive. While there are none, ancestors need no look.
    recursive: usize,
}

impl Table {
    /// Changes what a connection has on a path, and says whether that is something else now.
    fn change(
        &mut self,
        path: &str,
        connection: ConnectionId,
        change: impl FnOnce(Modes) -> Modes,
    ) -> bool {
        let former = self.modes(path, connection);
        let modes = change(former);
        match (former.is_empty(), modes.is_empty()) {
            (true, true) => return false,
            (_, false) => {
                let watchers = self.paths.entry(path.to_owned()).or_default();
                watchers.insert(connection, modes);
                let paths = self.connections.entry(connection).or_default();
                paths.insert(path.to_owned());
            }
            (false, true) => self.forget(path, connection),
        }
        self.recursive += usize::from(modes.has(Mode::Recursive));
        self.recursive -= usize::from(former.has(Mode::Recursive));
        modes != former
    }

    fn modes(&self, path: &str, connection: ConnectionId) -> Modes {
        let watchers = self.paths.get(path);
        let modes = watchers.and_then(|watchers| watchers.get(&connection));
        modes.copied().unwrap_or_default()
    }

    /// Whether anybody has a watch on exactly this path. A real server walks up the path to see,
    /// further than it has to where anybody has a recursive one, and stumbles if it ends before
    /// the root. The root's other name can be watched, but is never found.
    fn contains(&self, path: &str) -> Result<bool, ErrorCode> {
        let is_found = self.paths.contains_key(path) && !path.is_empty();
        let goes_on = self.recursive > 0 && !is_found;
        match path.split('/').next() {
            Some(first) if !first.is_empty() && (goes_on || first == path) => {
                Err(ErrorCode::MarshallingError)
            }
            _ => Ok(is_found),
        }
    }

    fn has(&self, path: &str, connection: ConnectionId, modes: Modes) -> bool {
        self.modes(path, connection).0 & modes.0 != 0
    }

    fn remove(&mut self, path: &str, connection: ConnectionId, modes: Modes) -> bool {
        self.change(path, connection, |former| former.without(modes))
    }

    fn remove_connection(&mut self, connection: ConnectionId) {
        for path in self.connections.remove(&connection).unwrap_or_default() {
            self.remove(&path, connection, Modes::ALL);
        }
    }

    fn forget(&mut self, path: &str, connection: ConnectionId) {
        if let Some(watchers) = self.paths.get_mut(path) {
            watchers.remove(&connection);
            if watchers.is_empty() {
                self.paths.remove(path);
            }
        }
        if let Some(paths) = self.connections.get_mut(&connection) {
            paths.remove(path);
        }
    }

    fn len(&self) -> usize {
        let modes = self.paths.values().flat_map(BTreeMap::values);
        modes.map(|modes| modes.0.count_ones() as usize).sum()
    }

    /// Who is to be told of an event, each connection once. One-shots are gone afterwards.
    fn trigger(&mut self, path: &str, kind: EventType) -> BTreeSet<ConnectionId> {
        let mut told = BTreeSet::new();
        let mut spent = Vec::new();
        if let Some(watchers) = self.paths.get(path) {
            for (&connection, &modes) in watchers {
                if modes.has(Mode::OneShot) {
                    spent.push(connection);
                }
                if modes != Modes::of(Mode::Recursive) {
                    told.insert(connection);
                }
            }
        }
        for connection in spent {
            self.remove(path, connection, Modes::of(Mode::OneShot));
        }
        // Whoever watches a subtree sees each child come and go, so it is not told of lists.
        if self.recursive > 0 && kind != EventType::NodeChildrenChanged {
            for path in path::with_ancestors(path) {
                let watchers = self.paths.get(path).into_iter().flatten();
                let recursive = watchers.filter(|(_, modes)| modes.has(Mode::Recursive));
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
