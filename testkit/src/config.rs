//! What can be set about a server.

use std::fmt;
use std::time::Duration;

use homing_protocol::frame;

use crate::sasl::SaslConfig;
use crate::words::ServerMode;

/// What can be set about a [`Server`](crate::Server). The defaults are those of ZooKeeper 3.8.0
/// with its sample configuration, except where a field says otherwise.
///
/// ```
/// use std::time::Duration;
/// let mut config = homing_testkit::ServerConfig::default();
/// config.tick_time = Duration::from_millis(100);
/// assert_eq!(config.session_timeout(Duration::from_secs(30)), Duration::from_secs(2));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// What the server calls itself in front of its version, in the answers to four-letter words.
    /// `Zookeeper`, as it spells it.
    pub product: String,
    /// The version that the server tells of itself, for clients that look at it. `3.8.0`.
    pub version: String,
    /// Four-letter words that the server does not know: they are read as a frame's length, so
    /// that the connection is closed. None by default.
    pub unknown_words: Vec<String>,
    /// Whether words that are not listed are not answered either, as by ClickHouse Keeper. Off:
    /// the answer says that they are not.
    pub unlisted_words_are_ignored: bool,
    /// Whether the average latency has no decimals, as before 3.6. Off.
    pub whole_latencies: bool,
    /// The unit of the session clock (`tickTime`): sessions expire on its multiples. 2 s; less
    /// than a millisecond counts as one.
    pub tick_time: Duration,
    /// The shortest session time-out that is granted (`minSessionTimeout`). `None`, the default,
    /// is two ticks.
    pub min_session_timeout: Option<Duration>,
    /// The longest session time-out that is granted (`maxSessionTimeout`). `None`, the default,
    /// is twenty ticks. Never less than the shortest.
    pub max_session_timeout: Option<Duration>,
    /// The largest request in bytes, without the frame's own length (`jute.maxbuffer`). 0xFFFFF.
    /// One byte more and the connection is closed without a word.
    pub request_len_max: usize,
    /// How long a connection may be silent that has no session yet
    /// (`zookeeper.nio.sessionlessCnxnTimeout`). 10 s. It is counted from the last byte, and in
    /// steps of itself: silence of 10 to 20 s it takes to be closed. Less than a millisecond
    /// counts as one. Where there is TLS, this is how long its handshake may take, to the
    /// millisecond; there is no limit behind that, as there is none of Netty's.
    pub handshake_timeout: Duration,
    /// Whether a connection may be without a session for ever, as before 3.5. Off.
    pub handshakes_may_wait: bool,
    /// Whether a session counts as heard of when an identity is added, as by ClickHouse Keeper.
    /// Off: a client that does nothing else has to ping.
    pub auth_keeps_alive: bool,
    /// Whether the numbers of sequential nodes go on at −2147483648 behind 2147483647, as before
    /// 3.6. Off: they stay there, but for those of one multi.
    pub sequences_wrap: bool,
    /// How many connections one address may have (`maxClientCnxns`); those above are closed at
    /// once. 0, the default, is no limit: ZooKeeper's own default of 60 is a nuisance where all
    /// clients are on the loopback address.
    pub max_client_connections: usize,
    /// How many connections there may be from everywhere (`maxCnxns`); those above are closed at
    /// once. 0, the default, is no limit.
    pub max_connections: usize,
    /// How many requests may be outstanding, on all connections together
    /// (`zookeeper.globalOutstandingLimit`). While there are more, nothing is read from
    /// connections that have one outstanding. 1000. A request is outstanding until its reply is
    /// sent, so that it takes [latency](crate::FakeServer::latency) to have any.
    pub outstanding_limit: usize,
    /// Which four-letter words are answered (`4lw.commands.whitelist`), `*` for all. None by
    /// default but `srvr`, which always is.
    pub four_letter_words: Vec<String>,
    /// Whether a server without a quorum serves reads (`readonlymode.enabled`), and therefore
    /// answers `isro`. Off, until [`set_read_only`](crate::Server::set_read_only) is called.
    pub read_only_enabled: bool,
    /// Whether a server without a quorum begins sessions, which no other server knows
    /// (`localSessionsEnabled`). On; with a quorum it makes no difference here.
    pub local_sessions: bool,
    /// Whether nodes may have a time to live (`zookeeper.extendedTypesEnabled`). Off.
    pub extended_types_enabled: bool,
    /// Whether hard limits of quotas are enforced (`enforceQuota`, since 3.7). Off.
    pub enforce_quota: bool,
    /// How often containers and nodes with a time to live are looked through for those that can
    /// be reaped (`znode.container.checkIntervalMs`). 60 s.
    pub container_check_interval: Duration,
    /// How long a container may stay that never had a child
    /// (`znode.container.maxNeverUsedIntervalMs`). Zero, the default, is forever.
    pub container_max_never_used: Duration,
    /// Whether events are told only to connections that may read the node, as since 3.8.4 and
    /// 3.9.2 (and in distributions that have taken over that fix). Off.
    pub events_need_read: bool,
    /// Whether exists asks for READ on a node that is there, as since 3.8.4 and 3.9.2. Off.
    pub exists_needs_read: bool,
    /// Whether events tell the transaction that made them, as since 3.9.0; those of setWatches
    /// never do. Off: they say −1.
    pub events_tell_zxid: bool,
    /// Whether a connection's watches of all kinds stand side by side on a path, and each kind can
    /// be asked for and removed by itself, as since 3.9.0. Off: a one-shot watch takes the place
    /// of a persistent one, and of a persistent and a recursive one the last is left.
    pub watches_side_by_side: bool,
    /// Whether checkWatches finds the connection's own watches and no others, as before 3.6 and
    /// since 3.9.0. Off: anybody's will do.
    pub check_watches_own: bool,
    /// Whether a multi takes each create as the operation that it is sent as, as since 3.7.2,
    /// 3.8.2 and 3.9.0: a create2 is answered with a stat, and a mode that is none, or that does
    /// not fit, spoils the whole. Off: the mode decides, and only what is special has a stat.
    pub multi_keeps_operations: bool,
    /// Whether a write that cannot be read is no transaction, as since 3.9.0. Off: it takes a
    /// number.
    pub unreadable_writes_are_free: bool,
    /// Whether the operation with which servers tell themselves to reap a node (20) takes a path
    /// from anybody, and asks for no permission, as since 3.9.0. Off: it does nothing.
    pub anybody_may_reap: bool,
    /// Whether check is an operation in a multi only, as since 3.8.5 and 3.9.3. Off: by itself it
    /// is a transaction that can fail, and is not answered when it does not.
    pub check_in_multi_only: bool,
    /// Whether reads in a multi spoil it, as before 3.6. Off: a list of nothing else is taken in,
    /// and refused all the same.
    pub multi_holds_no_reads: bool,
    /// Whether a check in no multi is answered when there is nothing wrong, as by ClickHouse
    /// Keeper. Off.
    pub lone_check_is_answered: bool,
    /// Whether the scheme `ip` knows addresses of IPv6 in access control lists, as since 3.9.4.
    /// Off: −114.
    pub ipv6_acls: bool,
    /// Whether the scheme `ip` takes whole addresses only in access control lists, as before 3.5:
    /// `10.0.0.0/8` is refused. Off.
    pub no_subnets_in_acls: bool,
    /// Whether an access control list that is null breaks a request down (−5), as before 3.6. Off:
    /// it is as good as an empty one (−114).
    pub null_acl_breaks: bool,
    /// Whether what the scheme `auth` stands for comes last in an access control list, and an
    /// entry without a scheme breaks the request down, as before 3.5. Off.
    pub auth_entries_last: bool,
    /// Whether getACL asks for no permission and keeps nothing back, as before 3.4.14 and 3.5.5.
    /// Off: it asks for READ or ADMIN, and digests are for those who have the latter.
    pub acls_are_public: bool,
    /// Whether a delete finds out that there is no such node before it asks for the permission to
    /// delete it, as before 3.6. Off.
    pub delete_looks_first: bool,
    /// Whether the mode of a create is looked at when everything up to the permission was right,
    /// as before 3.5.3. Off: it comes first of all.
    pub create_modes_last: bool,
    /// Whether quotas have no hard limits, as before 3.7, whatever
    /// [`enforce_quota`](Self::enforce_quota) says. Off.
    pub quotas_are_soft: bool,
    /// Whether there is no `/zookeeper/config`, as before 3.5. Off.
    pub no_config_node: bool,
    /// Whether the server has the nodes of ClickHouse Keeper in place of `/zookeeper`: `/keeper`,
    /// with nothing in it that could be changed. Off.
    pub keeper_nodes: bool,
    /// Whether access control lists are read as by ClickHouse Keeper: none at all is an open one,
    /// and entries of schemes other than `world`, `auth` and `digest` go unheard. Off.
    pub lenient_acls: bool,
    /// Whether a handshake that names a session begins another one, as at ClickHouse Keeper. Off:
    /// the session is taken up, where it is alive.
    pub sessions_are_not_resumed: bool,
    /// Whether the answer to a handshake has no password, and no byte that tells of read-only
    /// mode, as that of ClickHouse Keeper. Off.
    pub connect_response_is_bare: bool,
    /// Whether the answer to a handshake has the byte that tells of read-only mode for every
    /// client, as in 3.9.0 and 3.9.1. Off: for those that have sent theirs, so not for clients of
    /// before 3.4.
    pub read_only_byte_always: bool,
    /// Whether clients are served that have seen later transactions than this server, as by
    /// ClickHouse Keeper. Off.
    pub zxid_seen_is_ignored: bool,
    /// Whether sessions are numbered 1, 2, 3, as by ClickHouse Keeper. Off: see
    /// [`server_id`](Self::server_id).
    pub session_ids_from_one: bool,
    /// Whether a connection ends without an answer when its session is closed, as by ClickHouse
    /// Keeper. Off.
    pub close_is_not_answered: bool,
    /// Whether a connection ends without an answer behind an operation that the server does not
    /// know, as by ClickHouse Keeper. Off: the answer is −6.
    pub unknown_is_not_answered: bool,
    /// Operations that the server does not know, by their codes in
    /// [`op`](homing_protocol::op): they are refused as by an older server, and a
    /// multi that has one of them cannot be read. None by default; a server before 3.5 has none
    /// of 15 to 22 and of 103 to 107.
    pub unknown_operations: Vec<i32>,
    /// Whether it may be asked for another configuration (`reconfigEnabled`). Off. With it on, a
    /// server that stands alone says that it has no ensemble, and an [`Ensemble`] is changed.
    ///
    /// [`Ensemble`]: crate::Ensemble
    pub reconfig_enabled: bool,
    /// Whether a single server stands alone (`standaloneEnabled`), so that an ensemble cannot be
    /// left with one that has a vote. On.
    pub standalone_enabled: bool,
    /// What is in `/zookeeper/config` from the start: empty as of a server that stands alone, or
    /// the text of an ensemble's configuration. It is for clients to read, and has no other
    /// effect.
    pub ensemble: String,
    /// The digest that makes a connection a super user (`superDigest`): `super:` and the hash.
    /// `None`, so nobody is.
    pub super_digest: Option<SuperDigest>,
    /// SASL, which a server has or has not. `None`, the default: it says yes and null to the first
    /// token of whoever tries it, as ZooKeeper does, and knows no ACL scheme `sasl`.
    pub sasl: Option<SaslConfig>,
    /// The schemes of which a client must have an identity before anything else
    /// (`enforce.auth.enabled` and `enforce.auth.schemes`, since 3.7). None by default, so that
    /// nobody has to say who he is.
    pub required_schemes: Vec<String>,
    /// Whether the scheme `x509` is known (`authProvider.x509`): the identities that TLS proves.
    /// Off; [`FakeServerBuilder::tls`](crate::FakeServerBuilder::tls) switches it on.
    pub x509: bool,
    /// What the server says of itself in `srvr`, `stat`, `mntr` and `conf`. It stands alone by
    /// default, and answers all else as one that does. While it has no quorum it says so instead.
    pub mode: ServerMode,
    /// The server's number, which is the top byte of its session ids. 1.
    pub server_id: u8,
    /// The transaction that the server begins behind. 0.
    pub first_zxid: i64,
}

/// What makes a connection a super user; see [`ServerConfig::super_digest`]. It is shown nowhere.
///
/// ```
/// let mut config = homing_testkit::ServerConfig::default();
/// config.super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into());
/// assert!(!format!("{config:?}").contains("D/InI"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SuperDigest(String);

impl SuperDigest {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Into<String>> From<S> for SuperDigest {
    fn from(digest: S) -> Self {
        Self(digest.into())
    }
}

impl fmt::Debug for SuperDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuperDigest([redacted])")
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            product: "Zookeeper".into(),
            version: "3.8.0".into(),
            unknown_words: Vec::new(),
            unlisted_words_are_ignored: false,
            whole_latencies: false,
            tick_time: Duration::from_secs(2),
            min_session_timeout: None,
            max_session_timeout: None,
            request_len_max: frame::REQUEST_LEN_MAX,
            handshake_timeout: Duration::from_secs(10),
            handshakes_may_wait: false,
            auth_keeps_alive: false,
            sequences_wrap: false,
            max_client_connections: 0,
            max_connections: 0,
            outstanding_limit: 1000,
            four_letter_words: Vec::new(),
            read_only_enabled: false,
            local_sessions: true,
            extended_types_enabled: false,
            enforce_quota: false,
            container_check_interval: Duration::from_secs(60),
            container_max_never_used: Duration::ZERO,
            events_need_read: false,
            exists_needs_read: false,
            events_tell_zxid: false,
            watches_side_by_side: false,
            check_watches_own: false,
            multi_keeps_operations: false,
            unreadable_writes_are_free: false,
            anybody_may_reap: false,
            check_in_multi_only: false,
            lone_check_is_answered: false,
            multi_holds_no_reads: false,
            ipv6_acls: false,
            no_subnets_in_acls: false,
            null_acl_breaks: false,
            auth_entries_last: false,
            acls_are_public: false,
            delete_looks_first: false,
            create_modes_last: false,
            quotas_are_soft: false,
            no_config_node: false,
            keeper_nodes: false,
            lenient_acls: false,
            sessions_are_not_resumed: false,
            connect_response_is_bare: false,
            read_only_byte_always: false,
            zxid_seen_is_ignored: false,
            session_ids_from_one: false,
            close_is_not_answered: false,
            unknown_is_not_answered: false,
            unknown_operations: Vec::new(),
            reconfig_enabled: false,
            standalone_enabled: true,
            ensemble: String::new(),
            super_digest: None,
            sasl: None,
            required_schemes: Vec::new(),
            x509: false,
            mode: ServerMode::Standalone,
            server_id: 1,
            first_zxid: 0,
        }
    }
}

impl ServerConfig {
    /// What a client is granted that asks for a session time-out of `wanted`.
    pub fn session_timeout(&self, wanted: Duration) -> Duration {
        let [min, max] = self.session_timeouts();
        wanted.min(max).max(min)
    }

    /// The unit of the session clock as it is in force.
    pub(crate) fn tick(&self) -> Duration {
        self.tick_time.max(Duration::from_millis(1))
    }

    /// The shortest and the longest session time-out that are granted.
    pub(crate) fn session_timeouts(&self) -> [Duration; 2] {
        let ticks = |ticks| self.tick().saturating_mul(ticks);
        [
            self.min_session_timeout.unwrap_or(ticks(2)),
            self.max_session_timeout.unwrap_or(ticks(20)),
        ]
    }
}
