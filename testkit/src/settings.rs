//! What can be set about a server that clients notice: a method for each, by ZooKeeper's name.

use std::time::Duration;

use crate::config::SuperDigest;
use crate::fake::FakeServerBuilder;
use crate::fake_ensemble::FakeEnsembleBuilder;
use crate::initial::InitialTree;
use crate::journal::{ConnectionEvent, Observer};
use crate::sasl::SaslConfig;

/// Limits.
impl FakeServerBuilder {
    /// The largest request in bytes (`jute.maxbuffer`). 0xFFFFF.
    pub fn max_request(mut self, bytes: usize) -> Self {
        self.config.request_len_max = bytes;
        self
    }

    /// How many connections one address may have (`maxClientCnxns`); 0 is no limit, and the
    /// default here, where ZooKeeper's is 60.
    pub fn max_client_connections(mut self, max: usize) -> Self {
        self.config.max_client_connections = max;
        self
    }

    /// How many connections there may be from everywhere (`maxCnxns`). 0, the default, is no
    /// limit.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.config.max_connections = max;
        self
    }

    /// How many requests may be outstanding before reading stops
    /// (`zookeeper.globalOutstandingLimit`); see
    /// [`outstanding_limit`](crate::ServerConfig::outstanding_limit). 1000.
    pub fn outstanding_limit(mut self, limit: usize) -> Self {
        self.config.outstanding_limit = limit;
        self
    }

    /// How long a connection may be silent that has no session yet
    /// (`zookeeper.nio.sessionlessCnxnTimeout`); see
    /// [`handshake_timeout`](crate::ServerConfig::handshake_timeout). 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// Delays all replies by so much from the start; see
    /// [`FakeServer::latency`](crate::FakeServer::latency). Zero.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

/// What is stored.
impl FakeServerBuilder {
    /// The nodes that it begins with. None but those of every server.
    ///
    /// ```
    /// use homing_testkit::{FakeServer, InitialTree};
    /// let tree = InitialTree::new().node("/app/config", "v1");
    /// let server = FakeServer::builder().tree(tree).start()?;
    /// assert!(server.with_server(|server| server.node_exists("/app/config")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tree(mut self, tree: InitialTree) -> Self {
        self.tree = tree;
        self
    }

    /// Nodes may have a time to live (`zookeeper.extendedTypesEnabled`). They may not.
    pub fn extended_types(mut self, enabled: bool) -> Self {
        self.config.extended_types_enabled = enabled;
        self
    }

    /// How often containers and nodes with a time to live are looked through for those that can
    /// be reaped (`znode.container.checkIntervalMs`). 60 s.
    pub fn container_check_interval(mut self, interval: Duration) -> Self {
        self.config.container_check_interval = interval;
        self
    }

    /// How long a container may stay that never had a child
    /// (`znode.container.maxNeverUsedIntervalMs`). Zero, the default, is forever.
    pub fn container_max_never_used(mut self, max: Duration) -> Self {
        self.config.container_max_never_used = max;
        self
    }

    /// Hard limits of quotas are enforced (`enforceQuota`). They are not.
    pub fn enforce_quota(mut self, enforced: bool) -> Self {
        self.config.enforce_quota = enforced;
        self
    }

    /// The transaction that it begins behind. 0.
    pub fn first_zxid(mut self, zxid: i64) -> Self {
        self.config.first_zxid = zxid;
        self
    }
}

/// Who is who.
impl FakeServerBuilder {
    /// The digest that makes a connection a super user
    /// (`zookeeper.DigestAuthenticationProvider.superDigest`): `super:` and the hash, which
    /// [`homing_protocol::digest::id`] makes. Nobody is one.
    pub fn super_digest(mut self, digest: impl Into<String>) -> Self {
        self.config.super_digest = Some(SuperDigest::from(digest));
        self
    }

    /// SASL, and whom it lets in: what a JAAS file says of a `Server`. There is none.
    pub fn sasl(mut self, sasl: SaslConfig) -> Self {
        self.config.sasl = Some(sasl);
        self
    }

    /// The schemes of which a client must have an identity before anything else
    /// (`enforce.auth.enabled` and `enforce.auth.schemes`). None.
    pub fn required_schemes<S: Into<String>>(
        mut self,
        schemes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.config.required_schemes = schemes.into_iter().map(Into::into).collect();
        self
    }
}

/// What it says of itself, and its place in an ensemble.
impl FakeServerBuilder {
    /// Tells what becomes of connections, as it happens. The server stands still meanwhile, and is
    /// not to be asked anything there.
    ///
    /// ```
    /// let server = homing_testkit::FakeServer::builder()
    ///     .observe(|event| eprintln!("{event}"))
    ///     .start()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn observe(mut self, observe: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observe));
        self
    }

    /// Which four-letter words are answered (`4lw.commands.whitelist`), `*` for all. Only `srvr`,
    /// which always is.
    pub fn four_letter_words<S: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Self {
        self.config.four_letter_words = words.into_iter().map(Into::into).collect();
        self
    }

    /// So many servers in an ensemble, each set up like this one: on consecutive ports from this
    /// one's on, or on free ones. Only [`server_id`](Self::server_id),
    /// [`first_zxid`](Self::first_zxid) and [`read_only`](Self::read_only) are not looked at.
    ///
    /// ```
    /// use homing_testkit::{FakeServer, InitialTree};
    /// let tree = InitialTree::new().node("/app/config", "v1");
    /// let ensemble = FakeServer::builder().tree(tree).ensemble(3).start()?;
    /// let is_there = |server: &mut homing_testkit::Server| server.node_exists("/app/config");
    /// assert!(ensemble.members().iter().all(|member| member.with_server(is_there)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ensemble(self, members: usize) -> FakeEnsembleBuilder {
        FakeEnsembleBuilder::of(self, members)
    }

    /// It serves reads without a quorum (`readonlymode.enabled`), and therefore answers `isro`.
    /// It does not.
    pub fn read_only_enabled(mut self, enabled: bool) -> Self {
        self.config.read_only_enabled = enabled;
        self
    }

    /// It begins without a quorum, in read-only mode; see
    /// [`FakeServer::set_read_only`](crate::FakeServer::set_read_only). It has one.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// It begins sessions without a quorum (`localSessionsEnabled`). It does.
    pub fn local_sessions(mut self, enabled: bool) -> Self {
        self.config.local_sessions = enabled;
        self
    }

    /// It may be asked for another configuration (`reconfigEnabled`): alone it says that it has no
    /// ensemble, and an ensemble gets other members. It may not.
    pub fn reconfig_enabled(mut self, enabled: bool) -> Self {
        self.config.reconfig_enabled = enabled;
        self
    }

    /// A single server stands alone (`standaloneEnabled`), so that an ensemble is never left with
    /// one that has a vote. It does.
    pub fn standalone_enabled(mut self, enabled: bool) -> Self {
        self.config.standalone_enabled = enabled;
        self
    }

    /// The server's number (`myid`), which is the top byte of its session ids. 1.
    pub fn server_id(mut self, id: u8) -> Self {
        self.config.server_id = id;
        self
    }
}
