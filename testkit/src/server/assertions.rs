//! What a test may look at.

use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{Acl, Stat};

use super::{ConnectionId, Server};
use crate::config::ServerConfig;

/// Assertions.
impl Server {
    /// How the server is set.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// All sessions that are alive, by id.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |(id, session): (i64, &crate::sessions::Session)| SessionInfo {
            id,
            timeout: session.timeout,
            connection: session.connection,
            ephemerals: self.tree.ephemerals(id).map(str::to_owned).collect(),
        };
        self.sessions.iter().map(info).collect()
    }

    /// A node, whatever its access control list says.
    pub fn node(&self, path: &str) -> Option<NodeInfo> {
        let node = self.tree.get(path)?;
        Some(NodeInfo {
            data: node.data.clone(),
            stat: node.stat(),
            acl: node.acl.to_vec(),
            children: node.children.iter().map(|name| name.to_string()).collect(),
        })
    }

    /// Whether there is such a node.
    pub fn node_exists(&self, path: &str) -> bool {
        self.tree.get(path).is_some()
    }

    /// How many nodes there are, the four reserved ones included.
    pub fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// The last transaction.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// How many watches are set. A persistent one counts twice: it watches data and children. So
    /// does a recursive one, except where [all kinds stand side by
    /// side](ServerConfig::watches_side_by_side).
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// How many requests have been received, pings and refused ones included, handshakes not.
    pub fn requests_received(&self) -> u64 {
        self.requests_received
    }
}

/// One session of a [`Server`].
///
/// ```
/// let server = homing_testkit::Server::new(homing_testkit::ServerConfig::default());
/// assert_eq!(server.sessions(), []);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: i64,
    /// The time-out that its last handshake was granted, or its first one if there was none since
    /// the server has started.
    pub timeout: Duration,
    /// Who speaks for it, if anybody.
    pub connection: Option<ConnectionId>,
    /// The paths of its ephemeral nodes, sorted.
    pub ephemerals: Vec<String>,
}

/// One node of a [`Server`].
///
/// ```
/// let server = homing_testkit::Server::new(homing_testkit::ServerConfig::default());
/// let root = server.node("/").unwrap();
/// assert_eq!((root.children, root.stat.cversion), (vec!["zookeeper".to_owned()], -1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its data; null is kept apart from empty.
    pub data: Option<Bytes>,
    /// What clients are shown about it.
    pub stat: Stat,
    /// Its access control list, as it is in force.
    pub acl: Vec<Acl>,
    /// The names of its children, sorted.
    pub children: Vec<String>,
}
