//! Which ZooKeeper a server is like: the switches of [`ServerConfig`] in bundles.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use homing_protocol::op;

use crate::config::ServerConfig;
use crate::operation::{CREATE_SESSION, DELETE_CONTAINER};

/// A ZooKeeper that a server can be like. The default is 3.8.0, byte for byte.
///
/// Each is a bundle of switches of [`ServerConfig`], set as one release has them:
///
/// | dialect | by name | is like | verified against |
/// | --- | --- | --- | --- |
/// | `ZooKeeper3_4` | `3.4` | 3.4.14 | 3.4.14, built from source |
/// | `ZooKeeper3_5` | `3.5` | 3.5.10 | 3.5.10, built from source |
/// | `ZooKeeper3_6` | `3.6` | 3.6.4 | 3.6.4, built from source |
/// | `ZooKeeper3_7` | `3.7` | 3.7.2 | 3.7.2, built from source |
/// | `ZooKeeper3_8` | `3.8` | 3.8.0 | 3.8.0 of Debian's package |
/// | `ZooKeeper3_9` | `3.9` | 3.9.5 | 3.9.5, built from source |
/// | `ClickHouseKeeper` | `clickhouse` | its source, around 24.8 | **nothing: not verified** |
///
/// Verified means two things. 50,000 random operations in sessions, on watches, in transactions
/// and with broken requests showed no difference (`tests/differential`), and the answers to one
/// list of requests are byte for byte those that were recorded (`tests/golden_dialects`).
/// `scripts/build-zookeeper` builds such servers. What was not compared is not switched either:
/// four-letter words have the lines of 3.8.0 in all dialects, and read-only mode, SASL, x509 and
/// an ensemble are those of 3.8.0.
///
/// Other releases of a line are had with [`ServerConfig::speak_version`], which knows when each
/// switch came. Of these, 3.8.6 has been verified in the same way, and 3.8.3 and 3.9.1 with fewer
/// operations; for all others it is the source that tells.
///
/// # What they switch
/// Against 3.8.0, in the words of [`ServerConfig`]:
/// * **3.7**: [`multi_keeps_operations`](ServerConfig::multi_keeps_operations), which 3.8.0 has
///   not yet.
/// * **3.6**: no whoAmI, and [`quotas_are_soft`](ServerConfig::quotas_are_soft).
/// * **3.5**, besides: no addWatch, setWatches2, multiRead, getEphemerals and
///   getAllChildrenNumber, no word `hash`,
///   [`check_watches_own`](ServerConfig::check_watches_own),
///   [`multi_holds_no_reads`](ServerConfig::multi_holds_no_reads),
///   [`null_acl_breaks`](ServerConfig::null_acl_breaks),
///   [`delete_looks_first`](ServerConfig::delete_looks_first),
///   [`sequences_wrap`](ServerConfig::sequences_wrap) and
///   [`whole_latencies`](ServerConfig::whole_latencies).
/// * **3.4**, besides: no create2, containers, times to live, checkWatches, removeWatches and
///   reconfig, no word `dirs`, nearly all words allowed,
///   [`no_config_node`](ServerConfig::no_config_node),
///   [`create_modes_last`](ServerConfig::create_modes_last),
///   [`handshakes_may_wait`](ServerConfig::handshakes_may_wait),
///   [`no_subnets_in_acls`](ServerConfig::no_subnets_in_acls) and
///   [`auth_entries_last`](ServerConfig::auth_entries_last).
/// * **3.9**: [`events_tell_zxid`](ServerConfig::events_tell_zxid),
///   [`watches_side_by_side`](ServerConfig::watches_side_by_side),
///   [`check_watches_own`](ServerConfig::check_watches_own),
///   [`events_need_read`](ServerConfig::events_need_read),
///   [`exists_needs_read`](ServerConfig::exists_needs_read),
///   [`multi_keeps_operations`](ServerConfig::multi_keeps_operations),
///   [`unreadable_writes_are_free`](ServerConfig::unreadable_writes_are_free),
///   [`anybody_may_reap`](ServerConfig::anybody_may_reap),
///   [`check_in_multi_only`](ServerConfig::check_in_multi_only) and
///   [`ipv6_acls`](ServerConfig::ipv6_acls).
/// * **ClickHouse Keeper**: only the operations of 3.4 and multiRead and reconfig, but neither
///   setWatches nor SASL; [`keeper_nodes`](ServerConfig::keeper_nodes),
///   [`lenient_acls`](ServerConfig::lenient_acls),
///   [`sessions_are_not_resumed`](ServerConfig::sessions_are_not_resumed),
///   [`session_ids_from_one`](ServerConfig::session_ids_from_one),
///   [`connect_response_is_bare`](ServerConfig::connect_response_is_bare),
///   [`zxid_seen_is_ignored`](ServerConfig::zxid_seen_is_ignored),
///   [`close_is_not_answered`](ServerConfig::close_is_not_answered),
///   [`unknown_is_not_answered`](ServerConfig::unknown_is_not_answered),
///   [`lone_check_is_answered`](ServerConfig::lone_check_is_answered),
///   [`auth_keeps_alive`](ServerConfig::auth_keeps_alive),
///   [`unlisted_words_are_ignored`](ServerConfig::unlisted_words_are_ignored), time-outs of 10 to
///   100 s, and requests of up to 256 MiB. Left as they are in ZooKeeper: the order in which
///   errors are looked for, the stats of the nodes that are always there, and reconfig. Its own
///   operations are missing.
///
/// ```
/// use homing_testkit::{Dialect, FakeServer};
/// let server = FakeServer::builder().dialect(Dialect::ZooKeeper3_9).start()?;
/// assert!(server.with_server(|server| server.config().events_tell_zxid));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// ZooKeeper 3.4.14.
    ZooKeeper3_4,
    /// ZooKeeper 3.5.10.
    ZooKeeper3_5,
    /// ZooKeeper 3.6.4.
    ZooKeeper3_6,
    /// ZooKeeper 3.7.2.
    ZooKeeper3_7,
    /// ZooKeeper 3.8.0.
    #[default]
    ZooKeeper3_8,
    /// ZooKeeper 3.9.5.
    ZooKeeper3_9,
    /// ClickHouse Keeper.
    ClickHouseKeeper,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ZooKeeper3_4,
        Self::ZooKeeper3_5,
        Self::ZooKeeper3_6,
        Self::ZooKeeper3_7,
        Self::ZooKeeper3_8,
        Self::ZooKeeper3_9,
        Self::ClickHouseKeeper,
    ];

    /// The dialect of a server that tells this version in its answer to `srvr`: `3.9.1` or
    /// `3.9.1-…, built on …`. `None` for a release that there is no dialect for.
    ///
    /// ```
    /// use homing_testkit::Dialect;
    /// assert_eq!(Dialect::of_version("3.9.1"), Some(Dialect::ZooKeeper3_9));
    /// assert_eq!(Dialect::of_version("3.3.6"), None);
    /// ```
    pub fn of_version(version: &str) -> Option<Self> {
        if version.starts_with("v") {
            return Some(Self::ClickHouseKeeper);
        }
        let version = Version::parse(version)?;
        Self::ALL.into_iter().find(|dialect| {
            dialect
                .release()
                .is_some_and(|own| own.minor == version.minor)
        })
    }

    fn release(self) -> Option<Version> {
        let (minor, micro) = match self {
            Self::ZooKeeper3_4 => (4, 14),
            Self::ZooKeeper3_5 => (5, 10),
            Self::ZooKeeper3_6 => (6, 4),
            Self::ZooKeeper3_7 => (7, 2),
            Self::ZooKeeper3_8 => (8, 0),
            Self::ZooKeeper3_9 => (9, 5),
            Self::ClickHouseKeeper => return None,
        };
        Some(Version { minor, micro })
    }

    fn name(self) -> &'static str {
        match self {
            Self::ZooKeeper3_4 => "3.4",
            Self::ZooKeeper3_5 => "3.5",
            Self::ZooKeeper3_6 => "3.6",
            Self::ZooKeeper3_7 => "3.7",
            Self::ZooKeeper3_8 => "3.8",
            Self::ZooKeeper3_9 => "3.9",
            Self::ClickHouseKeeper => "clickhouse",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| UnknownDialect { name: name.into() })
    }
}

/// There is no such dialect.
///
/// ```
/// use homing_testkit::Dialect;
/// let error = "3.3".parse::<Dialect>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "no dialect \"3.3\": there are 3.4, 3.5, 3.6, 3.7, 3.8, 3.9, clickhouse"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDialect {
    name: String,
}

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Dialect::ALL.map(Dialect::name).join(", ");
        write!(f, "no dialect {:?}: there are {known}", self.name)
    }
}

impl std::error::Error for UnknownDialect {}

impl ServerConfig {
    /// The defaults of a dialect.
    ///
    /// ```
    /// use homing_testkit::{Dialect, ServerConfig};
    /// let config = ServerConfig::dialect(Dialect::ZooKeeper3_4);
    /// assert_eq!(config.version, "3.4.14");
    /// ```
    pub fn dialect(dialect: Dialect) -> Self {
        let mut config = Self::default();
        config.speak(dialect);
        config
    }

    /// Sets every switch that differs between dialects as this one has it, and the list of
    /// four-letter words that are answered. What is the same in all of them stays as it is.
    ///
    /// ```
    /// use homing_testkit::{Dialect, ServerConfig};
    /// let mut config = ServerConfig::default();
    /// config.speak(Dialect::ZooKeeper3_6);
    /// assert_eq!(config.version, "3.6.4");
    /// ```
    pub fn speak(&mut self, dialect: Dialect) {
        match dialect.release() {
            Some(release) => self.be_like(release),
            None => self.be_like_clickhouse(),
        }
    }

    /// As [`speak`](Self::speak), with what changed within a dialect's releases: for a server
    /// that tells this version in its answer to `srvr`, such as `3.8.4`.
    ///
    /// ```
    /// use homing_testkit::ServerConfig;
    /// let mut config = ServerConfig::default();
    /// config.speak_version("3.8.4-93a0a2e, built on 2024-02-12 22:16 UTC")?;
    /// assert!(config.exists_needs_read && !config.events_tell_zxid);
    /// # Ok::<(), homing_testkit::UnknownDialect>(())
    /// ```
    ///
    /// # Errors
    /// There is no dialect for this version.
    pub fn speak_version(&mut self, version: &str) -> Result<(), UnknownDialect> {
        let unknown = || UnknownDialect {
            name: version.into(),
        };
        let dialect = Dialect::of_version(version).ok_or_else(unknown)?;
        match Version::parse(version) {
            Some(release) => self.be_like(release),
            None => self.speak(dialect),
        }
        Ok(())
    }

    fn be_like(&mut self, release: Version) {
        let since = |changes: &[(u8, u8)]| release.is_since(changes);
        self.be_no_clickhouse();
        self.version = release.to_string();
        self.four_letter_words = words(match since(&[(5, 3)]) {
            true => &[],
            false => &WORDS_BEFORE_3_5_3,
        });
        self.unknown_words = words(match (since(&[(5, 1)]), since(&[(6, 0)])) {
            (false, _) => &["dirs", "hash"],
            (true, false) => &["hash"],
            (true, true) => &[],
        });
        self.whole_latencies = !since(&[(6, 0)]);
        self.unknown_operations = unknown_operations(release);
        self.events_need_read = since(&[(8, 4), (9, 2)]);
        self.exists_needs_read = since(&[(8, 4), (9, 2)]);
        self.events_tell_zxid = since(&[(9, 0)]);
        self.watches_side_by_side = since(&[(9, 0)]);
        self.check_watches_own = !since(&[(6, 0)]) || since(&[(9, 0)]);
        self.multi_keeps_operations = since(&[(7, 2), (8, 2), (9, 0)]);
        self.multi_holds_no_reads = !since(&[(6, 0)]);
        self.unreadable_writes_are_free = since(&[(9, 0)]);
        self.anybody_may_reap = since(&[(9, 0)]);
        self.check_in_multi_only = since(&[(8, 5), (9, 3)]);
        self.ipv6_acls = since(&[(9, 4)]);
        self.no_subnets_in_acls = !since(&[(5, 0)]);
        self.null_acl_breaks = !since(&[(6, 0)]);
        self.auth_entries_last = !since(&[(5, 0)]);
        self.acls_are_public = !since(&[(4, 14), (5, 5)]);
        self.delete_looks_first = !since(&[(6, 0)]);
        self.create_modes_last = !since(&[(5, 3)]);
        self.read_only_byte_always = since(&[(9, 0)]) && !since(&[(9, 2)]);
        self.handshakes_may_wait = !since(&[(5, 0)]);
        self.sequences_wrap = !since(&[(6, 0)]);
        self.quotas_are_soft = !since(&[(7, 0)]);
        self.no_config_node = !since(&[(5, 0)]);
    }

    fn be_no_clickhouse(&mut self) {
        let usual = Self::default();
        if self.keeper_nodes {
            self.min_session_timeout = usual.min_session_timeout;
            self.max_session_timeout = usual.max_session_timeout;
            self.request_len_max = usual.request_len_max;
        }
        self.product = usual.product;
        self.unlisted_words_are_ignored = false;
        self.lone_check_is_answered = false;
        self.auth_keeps_alive = false;
        self.keeper_nodes = false;
        self.lenient_acls = false;
        self.sessions_are_not_resumed = false;
        self.connect_response_is_bare = false;
        self.zxid_seen_is_ignored = false;
        self.session_ids_from_one = false;
        self.close_is_not_answered = false;
        self.unknown_is_not_answered = false;
    }

    fn be_like_clickhouse(&mut self) {
        self.speak(Dialect::ZooKeeper3_8);
        self.product = "ClickHouse Keeper".into();
        self.version = "v24.8.1".into();
        self.four_letter_words = words(&WORDS_OF_CLICKHOUSE);
        self.unknown_words = words(&["gtmk", "hash", "stmk"]);
        self.unlisted_words_are_ignored = true;
        self.whole_latencies = true;
        self.min_session_timeout = Some(Duration::from_secs(10));
        self.max_session_timeout = Some(Duration::from_secs(100));
        // How long a string may be is all there is.
        self.request_len_max = 1 << 28;
        self.unknown_operations = UNKNOWN_TO_CLICKHOUSE.into();
        self.lone_check_is_answered = true;
        self.auth_keeps_alive = true;
        self.keeper_nodes = true;
        self.lenient_acls = true;
        self.sessions_are_not_resumed = true;
        self.connect_response_is_bare = true;
        self.zxid_seen_is_ignored = true;
        self.session_ids_from_one = true;
        self.close_is_not_answered = true;
        self.unknown_is_not_answered = true;
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// All but the two that could take long.
const WORDS_BEFORE_3_5_3: [&str; 15] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchs",
];

const WORDS_OF_CLICKHOUSE: [&str; 12] = [
    "conf", "cons", "crst", "dirs", "envi", "isro", "mntr", "ruok", "srst", "srvr", "stat", "wchs",
];

const UNKNOWN_TO_CLICKHOUSE: [i32; 14] = [
    CREATE_SESSION,
    op::CREATE2,
    op::CHECK_WATCHES,
    op::REMOVE_WATCHES,
    op::CREATE_CONTAINER,
    DELETE_CONTAINER,
    op::CREATE_TTL,
    op::SET_WATCHES,
    op::SASL,
    op::GET_EPHEMERALS,
    op::GET_ALL_CHILDREN_NUMBER,
    op::SET_WATCHES2,
    op::ADD_WATCH,
    op::WHO_AM_I,
];

/// What this release does not know yet.
fn unknown_operations(release: Version) -> Vec<i32> {
    let came_with = [
        ((5, 0), op::CREATE2),
        ((5, 0), op::RECONFIG),
        ((5, 0), op::CHECK_WATCHES),
        ((5, 0), op::REMOVE_WATCHES),
        ((5, 1), op::CREATE_CONTAINER),
        ((5, 1), DELETE_CONTAINER),
        ((5, 3), op::CREATE_TTL),
        ((6, 0), op::MULTI_READ),
        ((6, 0), op::GET_EPHEMERALS),
        ((6, 0), op::GET_ALL_CHILDREN_NUMBER),
        ((6, 0), op::SET_WATCHES2),
        ((6, 0), op::ADD_WATCH),
        ((7, 0), op::WHO_AM_I),
    ];
    let unknown = came_with.iter().filter(|(at, _)| !release.is_since(&[*at]));
    unknown.map(|(_, op)| *op).collect()
}

/// A release of ZooKeeper 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    minor: u8,
    micro: u8,
}

impl Version {
    /// Of what a server tells: what stands behind the numbers does not matter.
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| c != '.' && !c.is_ascii_digit());
        let mut numbers = text.get(..end.unwrap_or(text.len()))?.split('.');
        if numbers.next()? != "3" {
            return None;
        }
        let mut number = || numbers.next()?.parse().ok();
        let (minor, micro) = (number()?, number()?);
        Some(Self { minor, micro })
    }

    /// Whether a change is in it that came with each of these, in the order of releases: with
    /// 3.8.4 and 3.9.2, say, and so not with 3.9.1.
    fn is_since(self, changes: &[(u8, u8)]) -> bool {
        let came = changes.iter().rev().find(|(minor, _)| *minor <= self.minor);
        came.is_some_and(|&(minor, micro)| minor < self.minor || micro <= self.micro)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}.{}", self.minor, self.micro)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Version};
    use crate::config::ServerConfig;

    #[test]
    fn names_are_read_as_they_are_written() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.to_string().parse(), Ok(dialect));
        }
        assert_eq!(Dialect::default().to_string(), "3.8");
    }

    #[test]
    fn the_dialect_of_a_server_is_told_by_its_version() {
        let of = Dialect::of_version;
        assert_eq!(
            of("3.4.6-1569965, built on 02/20/2014 09:09 GMT"),
            Some(Dialect::ZooKeeper3_4)
        );
        assert_eq!(of("3.10.0-SNAPSHOT"), None);
        assert_eq!(of("4.8.0"), None);
        assert_eq!(of("3.8"), None);
        assert_eq!(of(""), None);
        assert_eq!(
            of("v24.3.1.2672-2c5c589a882ceec35439650337b92db3e76f0081"),
            Some(Dialect::ClickHouseKeeper)
        );
    }

    #[test]
    fn a_change_can_come_with_several_releases() {
        let is_since = |text| Version::parse(text).unwrap().is_since(&[(8, 4), (9, 2)]);
        for (text, expected) in [
            ("3.7.9", false),
            ("3.8.3", false),
            ("3.8.4", true),
            ("3.9.1", false),
            ("3.9.2", true),
            ("3.10.0", true),
        ] {
            assert_eq!(is_since(text), expected, "{text}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_3_8() {
        let default = format!("{:?}", ServerConfig::default());
        assert_eq!(
            format!("{:?}", ServerConfig::dialect(Dialect::default())),
            default
        );
        for dialect in Dialect::ALL {
            let mut config = ServerConfig::dialect(dialect);
            config.speak(Dialect::default());
            assert_eq!(format!("{config:?}"), default, "{dialect}");
        }
    }
}
