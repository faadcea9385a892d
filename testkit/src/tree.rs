//! The znodes: data, access control lists, and the upkeep of their stats.
//!
//! Nothing is checked here. Whoever changes the tree has looked before whether the operation is
//! allowed; a change that makes no sense (a missing parent) is left undone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use homing_protocol::{Acl, Id, Stat, permission};

use crate::config::ServerConfig;
use crate::path;
use crate::quota::{self, Quotas};
use crate::watches::{Change, What};

/// A map that behaves the same in every run: its hasher has no random keys, and is quick with
/// short strings. Nothing iterates over one where the order could be seen.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It stays until it is deleted.
    Persistent,
    /// It goes away with this session.
    Ephemeral(i64),
    /// It is reaped when its last child is gone.
    Container,
    /// It is reaped when it has no children and was not set for this many milliseconds.
    Ttl(i64),
}

impl Kind {
    /// Whether such nodes go away when nobody needs them any more.
    pub(crate) fn is_reaped(self) -> bool {
        matches!(self, Self::Container | Self::Ttl(_))
    }
}

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Null data is kept apart from empty data.
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) kind: Kind,
    /// Names, not paths. Sorted, so that listings are the same in every run; a real server's
    /// order is that of a hash table.
    pub(crate) children: BTreeSet<Box<str>>,
    /// How many children were ever created: what sequential names are made of, and the hidden
    /// half of `cversion`.
    create_counter: i32,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    aversion: i32,
}

impl Node {
    /// What clients are shown.
    pub(crate) fn stat(&self) -> Stat {
        let num_children = saturating(self.children.len());
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // Creations and deletions: the latter are not counted by themselves.
            cversion: self
                .create_counter
                .wrapping_mul(2)
                .wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: match self.kind {
                Kind::Ephemeral(session) => session,
                // Containers and nodes with a time to live keep theirs to themselves.
                Kind::Persistent | Kind::Container | Kind::Ttl(_) => 0,
            },
            data_length: saturating(self.data.as_ref().map_or(0, Bytes::len)),
            num_children,
            pzxid: self.pzxid,
        }
    }

    /// The number that the next sequential child gets.
    pub(crate) fn create_counter(&self) -> i32 {
        self.create_counter
    }

    /// Where an ensemble keeps its configuration; a server that stands alone has nothing there.
    fn config(ensemble: &str) -> Self {
        let alone = Self::reserved(&[], -1, permission::READ);
        match ensemble {
            "" => alone,
            text => Self {
                data: Some(Bytes::copy_from_slice(text.as_bytes())),
                version: -1,
                ..alone
            },
        }
    }

    fn reserved(children: &[&str], aversion: i32, permissions: i32) -> Self {
        let acl = Acl {
            permissions,
            id: Id {
                scheme: "world".into(),
                id: "anyone".into(),
            },
        };
        Self {
            data: Some(Bytes::new()),
            acl: Arc::new([acl]),
            kind: Kind::Persistent,
            children: children.iter().map(|&name| name.into()).collect(),
            create_counter: 0,
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            aversion,
        }
    }
}

/// All nodes, by path.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// In boxes, so that a table which has grown too large for its nodes has only pointers twice.
    nodes: Map<Arc<str>, Box<Node>>,
    ephemerals: BTreeMap<i64, BTreeSet<Arc<str>>>,
    /// Sessions of which all ephemeral nodes were deleted one by one.
    former_owners: BTreeSet<i64>,
    /// Containers and nodes with a time to live.
    reapable: BTreeSet<Arc<str>>,
    pub(crate) quotas: Quotas,
    /// The list of nearly all nodes, which they share.
    open: Arc<[Acl]>,
}

impl Tree {
    /// The tree of an empty server.
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let open = permission::ALL;
        let children: &[&str] = match config.no_config_node {
            true => &["quota"],
            false => &["config", "quota"],
        };
        let nodes = [
            ("/", Node::reserved(&["zookeeper"], 0, open)),
            ("/zookeeper", Node::reserved(children, 0, open)),
            ("/zookeeper/quota", Node::reserved(&[], 0, open)),
        ];
        // Of its versions the first has nothing that ZooKeeper has not.
        let keeper_nodes = [
            ("/", Node::reserved(&["keeper"], 0, open)),
            (path::KEEPER, Node::reserved(&["api_version"], 0, open)),
            (
                "/keeper/api_version",
                Node {
                    data: Some(Bytes::from_static(b"0")),
                    ..Node::reserved(&[], 0, open)
                },
            ),
        ];
        let nodes = match config.keeper_nodes {
            true => keeper_nodes,
            false => nodes,
        };
        let config_node = (!config.no_config_node && !config.keeper_nodes)
            .then(|| (path::CONFIG, Node::config(&config.ensemble)));
        Self {
            nodes: nodes
                .into_iter()
                .chain(config_node)
                .map(|(path, node)| (path.into(), Box::new(node)))
                .collect(),
            ephemerals: BTreeMap::new(),
            former_owners: BTreeSet::new(),
            reapable: BTreeSet::new(),
            quotas: Quotas::new(config),
            open: Arc::new([Acl::open()]),
        }
    }

    /// Lets this be the ensemble's configuration, since this transaction.
    pub(crate) fn set_config(&mut self, ensemble: &str, at: Stamp) {
        let config = Node {
            mzxid: at.zxid,
            mtime: at.time_ms,
            ..Node::config(ensemble)
        };
        self.nodes.insert(path::CONFIG.into(), Box::new(config));
    }

    /// The same while the server runs. Who may change it stays.
    pub(crate) fn configure(&mut self, ensemble: Bytes, at: Stamp) -> Option<Change> {
        let node = self.get_mut(path::CONFIG)?;
        let bytes = quota::length(Some(&ensemble)) - quota::length(node.data.as_ref());
        node.data = Some(ensemble);
        (node.mzxid, node.mtime, node.version) = (at.zxid, at.time_ms, -1);
        Some(Change {
            what: What::DataChanged,
            path: path::CONFIG.into(),
            acl: Arc::clone(&node.acl),
            parent_acl: None,
            bytes,
        })
    }

    /// The access control list that lets everybody do everything.
    pub(crate) fn open(&self) -> Arc<[Acl]> {
        Arc::clone(&self.open)
    }

    /// A node; the empty path is the root as well.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(key(path)).map(|node| &**node)
    }

    /// A node's data, to be changed without a trace in its stat.
    pub(crate) fn data_mut(&mut self, path: &str) -> Option<&mut Option<Bytes>> {
        self.get_mut(path).map(|node| &mut node.data)
    }

    fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(key(path)).map(|node| &mut **node)
    }

    /// How many nodes there are, reserved ones included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All ephemeral nodes, by session.
    pub(crate) fn all_ephemerals(&self) -> &BTreeMap<i64, BTreeSet<Arc<str>>> {
        &self.ephemerals
    }

    /// The same with those that have none any more: a real server remembers who had any.
    pub(crate) fn owners(&self) -> BTreeMap<i64, Vec<&str>> {
        let former = self.former_owners.iter();
        let mut owners: BTreeMap<_, Vec<_>> = former.map(|it| (*it, Vec::new())).collect();
        for (session, paths) in &self.ephemerals {
            owners.insert(*session, paths.iter().map(|path| &**path).collect());
        }
        owners
    }

    /// A session is over.
    pub(crate) fn forget_owner(&mut self, session: i64) {
        self.former_owners.remove(&session);
    }

    /// How many bytes paths and data have together.
    pub(crate) fn data_size(&self) -> usize {
        let data = |node: &Node| node.data.as_ref().map_or(0, Bytes::len);
        let nodes = self.nodes.iter();
        nodes.map(|(path, node)| path.len() + data(node)).sum()
    }

    /// The paths of a session's ephemeral nodes.
    pub(crate) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &str> {
        self.ephemerals
            .get(&session)
            .into_iter()
            .flatten()
            .map(|path| &**path)
    }

    /// Whether there are any containers or nodes with a time to live.
    pub(crate) fn has_reapable(&self) -> bool {
        !self.reapable.is_empty()
    }

    /// The paths of all containers and nodes with a time to live.
    pub(crate) fn reapable(&self) -> impl Iterator<Item = (&str, &Node)> {
        let node = |path| self.nodes.get_key_value(path);
        let nodes = self.reapable.iter().filter_map(node);
        nodes.map(|(path, node)| (&**path, &**node))
    }

    /// How many nodes are below a node, at any depth. By its empty name the root is found to be
    /// below itself.
    pub(crate) fn count_descendants(&self, path: &str) -> usize {
        let mut count = usize::from(path.is_empty());
        let mut rest: Vec<String> = vec![if path == "/" {
            String::new()
        } else {
            path.to_owned()
        }];
        while let Some(path) = rest.pop() {
            let Some(node) = self.get(&path) else {
                continue;
            };
            count += node.children.len();
            rest.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        }
        count
    }

    /// Adds a node below a parent that exists.
    pub(crate) fn create(
        &mut self,
        path: &Arc<str>,
        new: NewNode,
        at: Stamp,
    ) -> Option<(Stat, Undo)> {
        let (parent, name) = path::split(path)?;
        let parent = self.get_mut(parent)?;
        let (parent_counter, parent_pzxid) = (parent.create_counter, parent.pzxid);
        if !new.is_uncounted {
            parent.create_counter = parent.create_counter.wrapping_add(1);
            parent.pzxid = at.zxid;
        }
        parent.children.insert(name.into());
        let node = Node {
            data: new.data,
            acl: new.acl,
            kind: new.kind,
            children: BTreeSet::new(),
            create_counter: 0,
            czxid: at.zxid,
            mzxid: at.zxid,
            pzxid: at.zxid,
            ctime: at.time_ms,
            mtime: at.time_ms,
            version: 0,
            aversion: 0,
        };
        let stat = node.stat();
        self.index(path, node.kind);
        self.nodes.insert(Arc::clone(path), Box::new(node));
        let path = Arc::clone(path);
        let undo = Undo::Create {
            path,
            parent_counter,
            parent_pzxid,
        };
        Some((stat, undo))
    }

    /// Removes a node that has no children.
    pub(crate) fn delete(&mut self, path: &str, zxid: i64) -> Option<Undo> {
        let (parent, name) = path::split(path)?;
        let (path, node) = self.nodes.remove_entry(path)?;
        self.unindex(&path, node.kind);
        if let Kind::Ephemeral(session) = node.kind
            && !self.ephemerals.contains_key(&session)
        {
            self.former_owners.insert(session);
        }
        let parent = self.get_mut(parent)?;
        parent.children.remove(name);
        let parent_pzxid = std::mem::replace(&mut parent.pzxid, zxid);
        Some(Undo::Delete {
            path,
            node,
            parent_pzxid,
        })
    }

    /// Replaces a node's data.
    pub(crate) fn set_data(
        &mut self,
        path: &Arc<str>,
        data: Option<Bytes>,
        at: Stamp,
    ) -> Option<(Stat, Undo)> {
        let node = self.get_mut(path)?;
        let undo = Undo::SetData {
            path: Arc::clone(path),
            data: std::mem::replace(&mut node.data, data),
            mzxid: std::mem::replace(&mut node.mzxid, at.zxid),
            mtime: std::mem::replace(&mut node.mtime, at.time_ms),
            version: node.version,
        };
        node.version = node.version.wrapping_add(1);
        Some((node.stat(), undo))
    }

    /// Replaces a node's access control list.
    pub(crate) fn set_acl(&mut self, path: &str, acl: Arc<[Acl]>) -> Option<Stat> {
        let node = self.get_mut(path)?;
        node.acl = acl;
        node.aversion = node.aversion.wrapping_add(1);
        Some(node.stat())
    }

    /// Lets the next sequential child of a node have this number.
    pub(crate) fn set_create_counter(&mut self, path: &str, counter: i32) -> bool {
        let node = self.get_mut(path);
        node.map(|node| node.create_counter = counter).is_some()
    }

    /// Takes a change back. Changes are taken back in the reverse order.
    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Create {
                path,
                parent_counter,
                parent_pzxid,
            } => {
                let Some(node) = self.nodes.remove(&path) else {
                    return;
                };
                self.unindex(&path, node.kind);
                let Some((parent, name)) = path::split(&path) else {
                    return;
                };
                if let Some(parent) = self.get_mut(parent) {
                    parent.children.remove(name);
                    parent.create_counter = parent_counter;
                    parent.pzxid = parent_pzxid;
                }
            }
            Undo::Delete {
                path,
                node,
                parent_pzxid,
            } => {
                self.index(&path, node.kind);
                if let Some((parent, name)) = path::split(&path)
                    && let Some(parent) = self.get_mut(parent)
                {
                    parent.children.insert(name.into());
                    parent.pzxid = parent_pzxid;
                }
                self.nodes.insert(path, node);
            }
            Undo::SetData {
                path,
                data,
                mzxid,
                mtime,
                version,
            } => {
                if let Some(node) = self.get_mut(&path) {
                    (node.data, node.mzxid, node.mtime) = (data, mzxid, mtime);
                    node.version = version;
                }
            }
        }
    }

    fn index(&mut self, path: &Arc<str>, kind: Kind) {
        match kind {
            Kind::Persistent => {}
            Kind::Ephemeral(session) => {
                self.ephemerals
                    .entry(session)
                    .or_default()
                    .insert(Arc::clone(path));
            }
            Kind::Container | Kind::Ttl(_) => {
                self.reapable.insert(Arc::clone(path));
            }
        }
    }

    fn unindex(&mut self, path: &str, kind: Kind) {
        match kind {
            Kind::Persistent => {}
            Kind::Ephemeral(session) => {
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    paths.remove(path);
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Kind::Container | Kind::Ttl(_) => {
                self.reapable.remove(path);
            }
        }
    }
}

/// What a node is created with.
#[derive(Debug)]
pub(crate) struct NewNode {
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) kind: Kind,
    /// The counter of its parent has run over: its stat stays as it is.
    pub(crate) is_uncounted: bool,
}

/// Which transaction makes a change, and when: all operations of a multi carry the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) zxid: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) time_ms: i64,
}

/// How to take one change back.
#[derive(Debug)]
pub(crate) enum Undo {
    Create {
        path: Arc<str>,
        parent_counter: i32,
        parent_pzxid: i64,
    },
    Delete {
        path: Arc<str>,
        node: Box<Node>,
        parent_pzxid: i64,
    },
    SetData {
        path: Arc<str>,
        data: Option<Bytes>,
        mzxid: i64,
        mtime: i64,
        version: i32,
    },
}

impl Undo {
    /// The node that was changed.
    pub(crate) fn path(&self) -> &Arc<str> {
        match self {
            Self::Create { path, .. } | Self::Delete { path, .. } | Self::SetData { path, .. } => {
                path
            }
        }
    }
}

fn key(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn saturating(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homing_protocol::Acl;

    use crate::config::ServerConfig;

    use super::{Kind, NewNode, Stamp, Tree};

    fn new_node(kind: Kind) -> NewNode {
        NewNode {
            data: None,
            acl: Arc::new([Acl::open()]),
            kind,
            is_uncounted: false,
        }
    }

    fn at(zxid: i64) -> Stamp {
        Stamp {
            zxid,
            time_ms: 1000 + zxid,
        }
    }

    fn cversion(tree: &Tree, path: &str) -> i32 {
        tree.get(path).unwrap().stat().cversion
    }

    #[test]
    fn an_empty_tree_has_the_stats_of_an_empty_server() {
        let tree = Tree::new(&ServerConfig::default());
        let stat = |path| {
            let stat = tree.get(path).unwrap().stat();
            (
                stat.version,
                stat.cversion,
                stat.aversion,
                stat.num_children,
            )
        };
        assert_eq!(stat("/"), (0, -1, 0, 1));
        assert_eq!(stat(""), stat("/"));
        assert_eq!(stat("/zookeeper"), (0, -2, 0, 2));
        assert_eq!(stat("/zookeeper/quota"), (0, 0, 0, 0));
        assert_eq!(stat("/zookeeper/config"), (0, 0, -1, 0));
        assert_eq!(tree.count_descendants("/"), 3);
    }

    #[test]
    fn cversion_counts_creations_and_deletions() {
        let mut tree = Tree::new(&ServerConfig::default());
        tree.create(&"/p".into(), new_node(Kind::Persistent), at(1))
            .unwrap();
        tree.create(&"/p/a".into(), new_node(Kind::Persistent), at(2))
            .unwrap();
        tree.create(&"/p/b".into(), new_node(Kind::Persistent), at(3))
            .unwrap();
        assert_eq!(cversion(&tree, "/p"), 2);
        tree.delete("/p/a", 4).unwrap();
        assert_eq!(cversion(&tree, "/p"), 3);
        assert_eq!(tree.get("/p").unwrap().create_counter(), 2);
        tree.create(&"/p/c".into(), new_node(Kind::Persistent), at(5))
            .unwrap();
        let stat = tree.get("/p").unwrap().stat();
        assert_eq!(
            (stat.cversion, stat.pzxid, stat.mzxid, stat.num_children),
            (4, 5, 1, 2)
        );
    }

    #[test]
    fn everything_can_be_taken_back() {
        let mut tree = Tree::new(&ServerConfig::default());
        tree.create(&"/p".into(), new_node(Kind::Persistent), at(1))
            .unwrap();
        tree.create(&"/p/e".into(), new_node(Kind::Ephemeral(7)), at(2))
            .unwrap();
        let before = tree.get("/p").unwrap().stat();
        let child = tree.get("/p/e").unwrap().stat();

        let undo = [
            tree.set_data(&"/p".into(), Some("x".into()), at(3))
                .unwrap()
                .1,
            tree.delete("/p/e", 3).unwrap(),
            tree.create(&"/p/e".into(), new_node(Kind::Container), at(3))
                .unwrap()
                .1,
            tree.create(&"/p/f".into(), new_node(Kind::Persistent), at(3))
                .unwrap()
                .1,
        ];
        assert_eq!(tree.ephemerals(7).count(), 0);
        for undo in undo.into_iter().rev() {
            tree.undo(undo);
        }

        assert_eq!(tree.get("/p").unwrap().stat(), before);
        assert_eq!(tree.get("/p").unwrap().create_counter(), 1);
        assert_eq!(tree.get("/p/e").unwrap().stat(), child);
        assert_eq!(tree.ephemerals(7).collect::<Vec<_>>(), ["/p/e"]);
        assert_eq!(tree.reapable().count(), 0);
        assert!(tree.get("/p/f").is_none());
    }
}
