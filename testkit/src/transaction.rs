//! Writes: what is checked, in which order, and what is done.
//!
//! A transaction changes the tree as it goes and remembers how to take everything back, so that
//! each operation of a multi sees what the ones before it did. The order of the checks is the
//! order in which a real server makes them; a client can tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use homing_protocol::incoming::AclEntry;
use homing_protocol::{Acl, ErrorCode, Stat, incoming, op, permission};

use crate::acl::{self, Identities};
use crate::config::ServerConfig;
use crate::path;
use crate::quota;
use crate::tree::{Kind, NewNode, Node, Stamp, Tree, Undo};
use crate::watches::{Change, What};

/// Who asks for a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) session: i64,
    pub(crate) identities: &'a Identities,
}

/// What a server lets transactions do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Nodes may have a time to live.
    pub(crate) extended_types: bool,
    /// Hard limits of quotas are more than a word.
    pub(crate) enforce_quota: bool,
    /// How lists of permissions are checked.
    pub(crate) acl: acl::Rules,
    /// The highest mode of create that there is.
    mode_max: i32,
    /// Which of these modes it is comes after the permission to create anything.
    modes_last: bool,
    /// What is reserved is `/keeper`.
    keeper_nodes: bool,
    /// What is reserved elsewhere is a node like any other.
    no_config_node: bool,
    /// Whether a node is there comes before the permission to delete it.
    delete_looks_first: bool,
    /// Behind the last number of sequential nodes comes the first there is.
    sequences_wrap: bool,
}

impl Settings {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let knows = |op| !config.unknown_operations.contains(&op);
        let mode_max = match (knows(op::CREATE_CONTAINER), knows(op::CREATE_TTL)) {
            (_, true) => 6,
            (true, false) => 4,
            (false, false) => 3,
        };
        Self {
            extended_types: config.extended_types_enabled,
            enforce_quota: config.enforce_quota && !config.quotas_are_soft,
            acl: acl::Rules {
                lenient: config.lenient_acls,
                null_breaks: config.null_acl_breaks,
                old: config.auth_entries_last,
                no_subnets: config.no_subnets_in_acls,
                ipv6: config.ipv6_acls,
            },
            mode_max,
            keeper_nodes: config.keeper_nodes,
            no_config_node: config.no_config_node,
            modes_last: config.create_modes_last,
            delete_looks_first: config.delete_looks_first,
            sequences_wrap: config.sequences_wrap,
        }
    }
}

/// One transaction, single or multi.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    tree: &'a mut Tree,
    caller: Caller<'a>,
    stamp: Stamp,
    settings: Settings,
    /// Nodes whose counters have run over in it. What a multi counts goes round; what is less than
    /// before is not stored.
    run_over: BTreeMap<Box<str>, i32>,
    undo: Vec<Undo>,
    changes: Vec<Change>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(
        tree: &'a mut Tree,
        caller: Caller<'a>,
        stamp: Stamp,
        settings: Settings,
    ) -> Self {
        Self {
            tree,
            caller,
            stamp,
            settings,
            run_over: BTreeMap::new(),
            // Most have one operation.
            undo: Vec::with_capacity(1),
            changes: Vec::with_capacity(1),
        }
    }

    /// Ends it; what is returned triggers watches.
    pub(crate) fn commit(self) -> Vec<Change> {
        let mut rest = self.changes.as_slice();
        while let [change, later @ ..] = rest {
            self.tree.account(change, later);
            rest = later;
        }
        self.changes
    }

    /// Ends it as if it had never begun.
    pub(crate) fn roll_back(self) {
        for undo in self.undo.into_iter().rev() {
            self.tree.undo(undo);
        }
    }

    /// Makes a node and tells its path.
    ///
    /// `op` is create, create2, createContainer or createTTL, and says more than the flags do: a
    /// create that is flagged as a container makes a plain node.
    pub(crate) fn create(
        &mut self,
        create: &incoming::Create<'_>,
        op: i32,
    ) -> Result<(Arc<str>, Stat), ErrorCode> {
        let mut mode = None;
        if !self.settings.modes_last {
            mode = Some(self.judge_mode(create, op)?);
        }
        let path = create.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        if !path::has_parent(path) {
            return Err(ErrorCode::BadArguments);
        }
        let (above, _) = path::split(path).ok_or(ErrorCode::BadArguments)?;
        let acl = self.resolve(create.acl.as_deref())?;
        let parent = self.node(above)?;
        self.check_allowed(parent, permission::CREATE)?;
        let (sequential, kind) = match mode {
            Some(mode) => mode,
            None => self.judge_mode(create, op)?,
        };
        let number = self.run_over.get(above).copied();
        let number = number.unwrap_or(parent.create_counter());
        let path: Arc<str> = match sequential {
            true => format!("{path}{number:010}").into(),
            false => path.into(),
        };
        if !path::is_valid(&path) || self.is_keeper(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.tree.get(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let bytes = quota::length(create.data.as_ref());
        self.check_quota(&path, 1, bytes)?;
        // Here a real server has no objection left, and dies of it.
        if op == op::CREATE_TTL && !matches!(kind, Kind::Ttl(_)) {
            return Err(ErrorCode::BadArguments);
        }
        let next = number.wrapping_add(1);
        let is_uncounted = next <= parent.create_counter() && !self.settings.sequences_wrap;
        let (own_acl, parent_acl) = (Arc::clone(&acl), Arc::clone(&parent.acl));
        let new = NewNode {
            data: owned(create.data.as_ref()),
            acl,
            kind,
            is_uncounted,
        };
        let (stat, undo) = self
            .tree
            .create(&path, new, self.stamp)
            .ok_or(ErrorCode::NoNode)?;
        if is_uncounted {
            self.run_over.insert(above.into(), next);
        }
        self.undo.push(undo);
        self.changes.push(Change {
            what: What::Created,
            path: Arc::clone(&path),
            acl: own_acl,
            parent_acl: Some(parent_acl),
            bytes,
        });
        Ok((path, stat))
    }

    /// Removes a node. Its path is not checked beyond having a parent.
    pub(crate) fn delete(
        &mut self,
        path: &incoming::NullablePath<'_>,
        version: i32,
    ) -> Result<(), ErrorCode> {
        let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        if !path::has_parent(path) || self.is_reserved(path) {
            return Err(ErrorCode::BadArguments);
        }
        let (parent, _) = path::split(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.node(parent)?;
        if self.settings.delete_looks_first {
            self.node(path)?;
        }
        self.check_allowed(parent, permission::DELETE)?;
        let node = self.node(path)?;
        check_version(node.stat().version, version)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(path);
        Ok(())
    }

    /// Removes a node as servers tell themselves to, which asks for no permission.
    pub(crate) fn reap(&mut self, path: &str) -> Result<(), ErrorCode> {
        if !path::has_parent(path) || self.is_reserved(path) {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.node(path)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        if matches!(node.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::BadVersion);
        }
        self.remove(path);
        Ok(())
    }

    /// Removes a node that nobody needs to be asked about: a session has ended, or it is reaped.
    pub(crate) fn remove(&mut self, path: &str) {
        let Some(node) = self.tree.get(path) else {
            return;
        };
        let acl = Arc::clone(&node.acl);
        let bytes = -quota::length(node.data.as_ref());
        let parent = path::split(path).and_then(|(parent, _)| self.tree.get(parent));
        let parent_acl = parent.map(|parent| Arc::clone(&parent.acl));
        if let Some(undo) = self.tree.delete(path, self.stamp.zxid) {
            self.changes.push(Change {
                what: What::Deleted,
                path: Arc::clone(undo.path()),
                acl,
                parent_acl,
                bytes,
            });
            self.undo.push(undo);
        }
    }

    /// Replaces a node's data.
    pub(crate) fn set_data(&mut self, set: &incoming::SetData<'_>) -> Result<Stat, ErrorCode> {
        let path = checked(set.path.as_deref())?;
        if self.is_keeper(path) {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.node(path)?;
        self.check_allowed(node, permission::WRITE)?;
        let bytes = quota::length(set.data.as_ref()) - quota::length(node.data.as_ref());
        self.check_quota(path, 0, bytes)?;
        check_version(node.stat().version, set.version)?;
        let acl = Arc::clone(&node.acl);
        let data = owned(set.data.as_ref());
        let path = path.into();
        let (stat, undo) = self
            .tree
            .set_data(&path, data, self.stamp)
            .ok_or(ErrorCode::NoNode)?;
        self.undo.push(undo);
        self.changes.push(Change {
            what: What::DataChanged,
            path,
            acl,
            parent_acl: None,
            bytes,
        });
        Ok(stat)
    }

    /// Replaces a node's access control list. No watch sees it, and no multi may hold it.
    pub(crate) fn set_acl(&mut self, set: &incoming::SetAcl<'_>) -> Result<Stat, ErrorCode> {
        let path = checked(set.path.as_deref())?;
        let acl = self.resolve(set.acl.as_deref())?;
        let node = self.node(path)?;
        self.check_allowed(node, permission::ADMIN)?;
        check_version(node.stat().aversion, set.version)?;
        self.tree.set_acl(path, acl).ok_or(ErrorCode::NoNode)
    }

    /// Compares a version and changes nothing.
    pub(crate) fn check(
        &self,
        path: &incoming::NullablePath<'_>,
        version: i32,
    ) -> Result<(), ErrorCode> {
        let node = self.node(checked(path.as_deref())?)?;
        self.check_allowed(node, permission::READ)?;
        check_version(node.stat().version, version)
    }

    /// Whether a number is appended, and what becomes of the node.
    fn judge_mode(
        &self,
        create: &incoming::Create<'_>,
        op: i32,
    ) -> Result<(bool, Kind), ErrorCode> {
        let ttl = create.ttl.unwrap_or(-1);
        let (sequential, kind) = match create.flags {
            flags if flags > self.settings.mode_max => return Err(ErrorCode::BadArguments),
            0 | 4 => (false, Kind::Persistent),
            1 => (false, Kind::Ephemeral(self.caller.session)),
            2 => (true, Kind::Persistent),
            3 => (true, Kind::Ephemeral(self.caller.session)),
            5 | 6 if !self.settings.extended_types => return Err(ErrorCode::Unimplemented),
            flags @ (5 | 6) if (1..=TTL_MAX).contains(&ttl) => (flags == 6, Kind::Ttl(ttl)),
            _ => return Err(ErrorCode::BadArguments),
        };
        match (op, kind) {
            (op::CREATE_CONTAINER, _) => Ok((sequential, Kind::Container)),
            // Below zero it goes with every mode, as far as this check can tell.
            (op::CREATE_TTL, Kind::Persistent | Kind::Ephemeral(_)) if ttl >= 0 => {
                Err(ErrorCode::BadArguments)
            }
            _ => Ok((sequential, kind)),
        }
    }

    /// Whether a node may not be deleted.
    fn is_reserved(&self, path: &str) -> bool {
        let is_config = path == path::CONFIG;
        match self.settings.keeper_nodes {
            true => path == "/" || path::is_keeper(path),
            false => path::RESERVED.contains(&path) && !(is_config && self.settings.no_config_node),
        }
    }

    /// Whether a path is one of those that are the server's own.
    fn is_keeper(&self, path: &str) -> bool {
        self.settings.keeper_nodes && path::is_keeper(path)
    }

    /// The list as it will be in force. That of nearly all nodes is there already: to write it down
    /// once more would be much of what a small node takes.
    fn resolve(&self, list: Option<&[AclEntry]>) -> Result<Arc<[Acl]>, ErrorCode> {
        if let Some([only]) = list
            && only.permissions == permission::ALL
            && only.scheme.as_deref() == Some("world")
            && only.id.as_deref() == Some("anyone")
        {
            return Ok(self.tree.open());
        }
        let identities = self.caller.identities;
        identities.resolve(list, self.settings.acl)
    }

    /// Against what there was before this transaction: what a multi adds counts when it is done.
    fn check_quota(&self, path: &str, nodes: i64, bytes: i64) -> Result<(), ErrorCode> {
        if !self.settings.enforce_quota {
            return Ok(());
        }
        let before = |path: &str| self.data_before(path);
        self.tree.check_quota((path, nodes, bytes), before)
    }

    /// What a node had for data before this transaction. `None` for a node that was not there.
    fn data_before(&self, path: &str) -> Option<&Option<Bytes>> {
        let changed = self.undo.iter().find(|undo| **undo.path() == *path);
        match changed {
            None => self.tree.get(path).map(|node| &node.data),
            Some(Undo::Create { .. }) => None,
            Some(Undo::Delete { node, .. }) => Some(&node.data),
            Some(Undo::SetData { data, .. }) => Some(data),
        }
    }

    fn node(&self, path: &str) -> Result<&Node, ErrorCode> {
        self.tree.get(path).ok_or(ErrorCode::NoNode)
    }

    fn check_allowed(&self, node: &Node, needed: i32) -> Result<(), ErrorCode> {
        if self.caller.identities.allowed(&node.acl, needed) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }
}

/// The largest time to live, in milliseconds: forty bits.
const TTL_MAX: i64 = (1 << 40) - 1;

/// The full check, which a null path does not pass either.
fn checked(path: Option<&str>) -> Result<&str, ErrorCode> {
    path.filter(|path| path::is_valid(path))
        .ok_or(ErrorCode::BadArguments)
}

/// −1 is any version; everything else is compared as it stands.
fn check_version(version: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == version {
        Ok(())
    } else {
        Err(ErrorCode::BadVersion)
    }
}

/// A copy of the data: a slice would keep the whole buffer alive that it was read into.
fn owned(data: Option<&Bytes>) -> Option<Bytes> {
    data.map(|data| Bytes::copy_from_slice(data))
}
