//! The nodes that a server begins with.

#[cfg(feature = "tree")]
mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::incoming::{AclEntry, Create};
use homing_protocol::{Acl, ErrorCode, op};

use crate::acl::Identities;
use crate::path;
use crate::server::{Now, Server};
use crate::transaction::{Caller, Settings, Transaction};

/// Nodes for a server to begin with, by path. Parents that are not named are made, plain and open
/// to everybody.
///
/// ```
/// use homing_testkit::{FakeServer, InitialNode, InitialTree};
///
/// let tree = InitialTree::new()
///     .node("/app/config", "v1")
///     .node("/app/workers", InitialNode::new().container());
/// let server = FakeServer::builder().tree(tree).start()?;
/// assert!(server.with_server(|server| server.node_exists("/app/workers")));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With the feature `tree`, which is on by default, it can be read from a file.
///
/// # The file
/// A file in JSON or YAML has an object with paths for its keys. What stands behind a path is the
/// node's data, or an object with any of these:
///
/// | field | what it is | without it |
/// | --- | --- | --- |
/// | `data` | the data, as text | no bytes |
/// | `base64` | the data, in base64, in place of `data` | |
/// | `acl` | `scheme:id:permissions`, as `zkCli.sh` has it, or a list of such | `world:anyone:cdrwa` |
/// | `container` | `true`: it goes when its last child has gone | `false` |
/// | `ttl_ms` | it goes when it has no children and was not set for so long | it stays |
/// | `next_sequence` | the number of its next sequential child | one above all that are there |
///
/// ```yaml
/// /app/config: v1
/// /app/key:
///   base64: AAECAw==
///   acl: [ "world:anyone:r", "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=:cdrwa" ]
/// /app/workers: { container: true }
/// /app/locks: { next_sequence: 42 }
/// ```
///
/// All nodes are made in one transaction, the server's first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitialTree {
    nodes: BTreeMap<String, InitialNode>,
}

impl InitialTree {
    /// No nodes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node, given as its data or as an [`InitialNode`]; replaces the one that was there.
    #[must_use]
    pub fn node(mut self, path: &str, node: impl Into<InitialNode>) -> Self {
        self.nodes.insert(path.to_owned(), node.into());
        self
    }

    /// The nodes that were named, by path.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &InitialNode)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// With all parents, which stand before their children.
    fn with_parents(&self) -> BTreeMap<&str, InitialNode> {
        let mut nodes = BTreeMap::new();
        for (path, node) in &self.nodes {
            let mut above = path::with_ancestors(path);
            above.next();
            for parent in above {
                nodes.entry(parent).or_insert_with(InitialNode::new);
            }
            nodes.insert(path.as_str(), node.clone());
        }
        nodes
    }
}

/// One node of an [`InitialTree`]: empty, open to everybody and there to stay, unless told
/// otherwise.
///
/// ```
/// use homing_protocol::Acl;
/// use homing_testkit::InitialNode;
/// let node = InitialNode::from("v1").acl(vec![Acl::read_only()]);
/// assert_eq!(node.data, "v1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InitialNode {
    /// Its data.
    pub data: Bytes,
    /// Its access control list, as a client would send it.
    pub acl: Vec<Acl>,
    /// Whether it goes when its last child has gone.
    pub container: bool,
    /// It goes when it has no children and was not set for so long.
    pub ttl: Option<Duration>,
    /// The number of its next sequential child. `None` is one above all ten-digit numbers at the
    /// ends of its children's names, and no less than the number of children.
    pub next_sequence: Option<i32>,
}

impl InitialNode {
    /// An empty node that stays.
    pub fn new() -> Self {
        Self {
            data: Bytes::new(),
            acl: vec![Acl::open()],
            container: false,
            ttl: None,
            next_sequence: None,
        }
    }

    /// With this access control list.
    #[must_use]
    pub fn acl(self, acl: Vec<Acl>) -> Self {
        Self { acl, ..self }
    }

    /// As a container.
    #[must_use]
    pub fn container(self) -> Self {
        Self {
            container: true,
            ..self
        }
    }

    /// With a time to live, which takes
    /// [`extended_types_enabled`](crate::ServerConfig::extended_types_enabled).
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    /// With this number for its next sequential child.
    #[must_use]
    pub fn next_sequence(self, number: i32) -> Self {
        Self {
            next_sequence: Some(number),
            ..self
        }
    }

    fn create(&self, path: &str) -> (Create<'static>, i32) {
        let op = match (self.ttl, self.container) {
            (Some(_), _) => op::CREATE_TTL,
            (None, true) => op::CREATE_CONTAINER,
            (None, false) => op::CREATE2,
        };
        let ms = |ttl: Duration| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let create = Create {
            path: Some(path.to_owned().into()),
            data: Some(self.data.clone()),
            acl: Some(self.acl.iter().map(entry).collect()),
            flags: match op {
                op::CREATE_TTL => 5,
                op::CREATE_CONTAINER => 4,
                _ => 0,
            },
            ttl: self.ttl.map(ms),
        };
        (create, op)
    }
}

impl Default for InitialNode {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Into<Bytes>> From<T> for InitialNode {
    fn from(data: T) -> Self {
        Self {
            data: data.into(),
            ..Self::new()
        }
    }
}

fn entry(acl: &Acl) -> AclEntry {
    AclEntry {
        permissions: acl.permissions,
        scheme: Some(acl.id.scheme.clone()),
        id: Some(acl.id.id.clone()),
    }
}

/// Why nodes cannot be loaded. It names the file and the place in it, or the node.
///
/// ```
/// use homing_testkit::{FakeServer, InitialTree};
/// let tree = InitialTree::new().node("app", "v1");
/// let error = FakeServer::builder().tree(tree).start().unwrap_err();
/// assert!(error.to_string().contains("\"app\""), "{error}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeError {
    message: String,
}

impl TreeError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    fn at(path: &str, why: &str) -> Self {
        Self::new(format!("node {path:?}: {why}"))
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TreeError {}

impl Server {
    /// Makes nodes in one transaction, the next one, as somebody who may do everything.
    ///
    /// ```
    /// use homing_testkit::{InitialTree, Now, Server, ServerConfig};
    /// # let now = Now { instant: std::time::Instant::now(), unix_ms: 0 };
    /// let mut server = Server::new(ServerConfig::default());
    /// server.load(now, &InitialTree::new().node("/app/config", "v1"))?;
    /// assert_eq!(server.node("/app/config").unwrap().stat.czxid, 1);
    /// # Ok::<(), homing_testkit::TreeError>(())
    /// ```
    ///
    /// # Errors
    /// One of the nodes cannot be made, or is there already; the error names it. Then nothing has
    /// been made.
    pub fn load(&mut self, now: Now, tree: &InitialTree) -> Result<(), TreeError> {
        self.begin(now);
        if tree.nodes.is_empty() {
            return Ok(());
        }
        for (path, node) in &tree.nodes {
            self.check_loadable(path, node)?;
        }
        let nodes = tree.with_parents();
        let mut identities = Identities::nobody().with_sasl(self.config.sasl.is_some());
        identities.knows_x509 = self.config.x509;
        identities.add_proved("super", "");
        let mut settings = Settings::new(&self.config);
        settings.enforce_quota = false;
        let root = tree.nodes.get("/").map(|root| {
            let acl = root.acl.iter().map(entry).collect::<Vec<_>>();
            let acl = identities.resolve(Some(&acl), settings.acl);
            Ok((
                root,
                acl.map_err(|error| TreeError::at("/", refusal(error)))?,
            ))
        });
        let root = root.transpose()?;
        let before = self.last_zxid();
        let stamp = self.next_stamp(now);
        let caller = Caller {
            session: 0,
            identities: &identities,
        };
        let mut transaction = Transaction::new(&mut self.tree, caller, stamp, settings);
        let mut create_all = || {
            for (path, node) in nodes.iter().filter(|(path, _)| **path != "/") {
                let is_named = tree.nodes.contains_key(*path);
                let (create, op) = node.create(path);
                match transaction.create(&create, op) {
                    Ok(_) => {}
                    Err(ErrorCode::NodeExists) if !is_named => {}
                    Err(error) => return Err(TreeError::at(path, refusal(error))),
                }
            }
            Ok(())
        };
        if let Err(error) = create_all() {
            transaction.roll_back();
            self.set_last_zxid(before);
            return Err(error);
        }
        let changes = transaction.commit();
        if let Some((root, acl)) = root {
            self.tree
                .set_data(&"/".into(), Some(root.data.clone()), stamp);
            self.tree.set_acl("/", acl);
        }
        for (path, node) in &nodes {
            self.set_next_sequence(path, node);
        }
        self.announce(&changes, None);
        Ok(())
    }

    /// Says of a node what can be said better than a server does.
    fn check_loadable(&self, path: &str, node: &InitialNode) -> Result<(), TreeError> {
        let refuse = |why: &str| Err(TreeError::at(path, why));
        if !path::is_valid(path) {
            return refuse(INVALID_PATH);
        }
        if node.container
            && self
                .config
                .unknown_operations
                .contains(&op::CREATE_CONTAINER)
        {
            return refuse("this dialect has no containers");
        }
        if node.container && node.ttl.is_some() {
            return refuse("it can be a container or have a time to live, not both");
        }
        if node.ttl.is_some() && !self.config.extended_types_enabled {
            return refuse(
                "a time to live takes extended types: switch them on (extended_types, or \
                 --extended-types)",
            );
        }
        if path == "/" && (node.container || node.ttl.is_some()) {
            return refuse("the root stays");
        }
        if node.next_sequence.is_some_and(|number| number < 0) {
            return refuse("the number of the next sequential child is negative");
        }
        Ok(())
    }

    /// Lets the next sequential child of a loaded node have a number that is free.
    fn set_next_sequence(&mut self, path: &str, node: &InitialNode) {
        let Some(known) = self.tree.get(path) else {
            return;
        };
        let children = known.children.iter();
        let above = children.filter_map(|name| Some(sequence(name)?.saturating_add(1)));
        let free = above.max().unwrap_or(0).max(known.create_counter());
        let number = node.next_sequence.unwrap_or(free);
        self.tree.set_create_counter(path, number);
    }
}

const INVALID_PATH: &str = "this is no path: it begins with a slash, does not end with one, and \
                            has no empty or dotted parts";

/// The number at the end of a sequential node's name.
fn sequence(name: &str) -> Option<i32> {
    let digits = name.get(name.len().checked_sub(10)?..)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// A server's refusal, for who cannot look it up.
fn refusal(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::NodeExists => "it is there already",
        ErrorCode::InvalidAcl => {
            "a server refuses its access control list: the list is empty, or has a scheme that the \
             server is not set up for (world, digest and ip always are; sasl and x509 take SASL \
             and TLS), or an identity that the scheme does not know (digest takes user:hash)"
        }
        ErrorCode::NoNode => "its parent is not there",
        ErrorCode::BadArguments => "its time to live is zero or longer than 2^40 ms",
        _ => "a server refuses it",
    }
}
