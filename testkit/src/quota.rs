//! Quotas: how many nodes and bytes there are below a node, and how many there may be.
//!
//! A quota on `/a` is two nodes below `/zookeeper/quota/a`: `zookeeper_limits`, which clients
//! write, and `zookeeper_stats`, which the server keeps up to date with every committed change,
//! without a trace in that node's stat. Limits are enforced only where a server is set so.
//!
//! Some of what clients may write kills a real server, and has no effect here: limits right below
//! `/zookeeper/quota`, their deletion below `/zookeeper` from a path that is shorter, and whatever
//! `setData` makes of stats that is no numbers, with the next change that is counted. And a real
//! server counts anew when it reads a snapshot, which is at its second start; here stats are what
//! was written and counted, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use homing_protocol::{ErrorCode, incoming};

use crate::config::ServerConfig;
use crate::java;
use crate::path;
use crate::tree::Tree;
use crate::watches::{Change, What};

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The nodes that have limits.
#[derive(Debug, Clone)]
pub(crate) struct Quotas {
    /// As [`without_blanks`] has them.
    paths: BTreeSet<String>,
    /// There are no hard limits, and what the server writes names none.
    are_soft: bool,
}

impl Quotas {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        Self {
            paths: BTreeSet::new(),
            are_soft: config.quotas_are_soft,
        }
    }

    /// The nearest node at `path` or above it that has limits. The root never counts.
    fn above(&self, path: &str) -> Option<String> {
        if self.paths.is_empty() {
            return None;
        }
        let mut path = without_blanks(path);
        while !path.is_empty() {
            if self.paths.contains(&path) {
                return Some(path);
            }
            path.truncate(path.rfind('/')?);
        }
        None
    }
}

/// A path as quotas are looked up by it: a component of nothing but spaces is left out, and one
/// that lacks its slash gets it.
fn without_blanks(path: &str) -> String {
    let components = path.split('/');
    let components = components.filter(|name| !name.chars().all(|c| c <= ' '));
    components.flat_map(|name| ["/", name]).collect()
}

impl Tree {
    /// Keeps the books after a change that is there to stay. `later` are those that came behind
    /// it in the same transaction, which are in the tree already and have yet to be counted.
    pub(crate) fn account(&mut self, change: &Change, later: &[Change]) {
        let nodes = nodes_of(change);
        if change.path.starts_with("/zookeeper")
            && let Some((parent, name)) = path::split(&change.path)
        {
            match (name, nodes, parent.strip_prefix(ROOT)) {
                (LIMITS, 1, Some(of)) => drop(self.quotas.paths.insert(without_blanks(of))),
                // Wherever that was, as many characters are taken for the quotas' root.
                (LIMITS, -1, _) => {
                    let of = parent.get(ROOT.len()..).unwrap_or_default();
                    self.quotas.paths.remove(&without_blanks(of));
                }
                (STATS, 1, Some(of)) => {
                    let (mut count, mut bytes) = self.usage(of);
                    for change in later.iter().filter(|later| is_within(&later.path, of)) {
                        count -= nodes_of(change);
                        bytes -= change.bytes;
                    }
                    // Whatever was written there is forgotten.
                    self.write_stats(of, later, |_| Some(Track::new(count, bytes)));
                }
                _ => {}
            }
        }
        if let Some(of) = self.quotas.above(&change.path) {
            self.write_stats(&of, later, |track| {
                let mut track = track?;
                track.count = track.count.wrapping_add(nodes);
                track.bytes = track.bytes.wrapping_add(change.bytes);
                Some(track)
            });
        }
    }

    /// Refuses so many more nodes and bytes at `path` where they are over a hard limit, going by
    /// the data that nodes had before the transaction began. Limits that are no numbers make a
    /// server stumble.
    pub(crate) fn check_quota<'a>(
        &self,
        (path, nodes, bytes): (&str, i64, i64),
        before: impl Fn(&str) -> Option<&'a Option<Bytes>>,
    ) -> Result<(), ErrorCode> {
        let Some(of) = self.quotas.above(path) else {
            return Ok(());
        };
        let track = |name| {
            let data = before(&format!("{ROOT}{of}/{name}"));
            let track = data.map(|data| Track::parse(data.as_ref()));
            track.map(|track| track.ok_or(ErrorCode::MarshallingError))
        };
        let Some(limits) = track(LIMITS).transpose()? else {
            return Ok(());
        };
        let hard = |name| limits.others.get(name).copied().unwrap_or(-1);
        let (count_max, bytes_max) = (hard("countHardLimit"), hard("byteHardLimit"));
        // A soft limit is reason enough to look at the stats.
        let counts_nodes = nodes != 0 && limits.count.max(count_max) > -1;
        let counts_bytes = bytes != 0 && limits.bytes.max(bytes_max) > -1;
        if !counts_nodes && !counts_bytes {
            return Ok(());
        }
        let Some(now) = track(STATS).transpose()? else {
            return Ok(());
        };
        let is_over = |limit, now: i64, more| limit > -1 && now.wrapping_add(more) > limit;
        let is_full = counts_nodes && is_over(count_max, now.count, nodes)
            || counts_bytes && is_over(bytes_max, now.bytes, bytes);
        match is_full {
            true => Err(ErrorCode::QuotaExceeded),
            false => Ok(()),
        }
    }

    /// Writes the stats of a quota, given what they are, if they make sense. What a client has
    /// written into them later in the same transaction stands.
    fn write_stats(
        &mut self,
        of: &str,
        later: &[Change],
        write: impl FnOnce(Option<Track>) -> Option<Track>,
    ) {
        let path = format!("{ROOT}{of}/{STATS}");
        if later.iter().any(|later| *later.path == *path) {
            return;
        }
        let is_soft = self.quotas.are_soft;
        if let Some(data) = self.data_mut(&path)
            && let Some(mut track) = write(Track::parse(data.as_ref()))
        {
            if is_soft {
                track.others.clear();
            }
            *data = Some(track.to_string().into());
        }
    }

    /// How many nodes there are at `path` and below, and how many bytes they hold.
    fn usage(&self, path: &str) -> (i64, i64) {
        let (mut count, mut bytes) = (0, 0);
        let mut rest = vec![path.to_owned()];
        while let Some(path) = rest.pop() {
            let Some(node) = self.get(&path) else {
                continue;
            };
            count += 1;
            bytes += length(node.data.as_ref());
            rest.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        }
        (count, bytes)
    }
}

/// How many nodes there are more than before.
fn nodes_of(change: &Change) -> i64 {
    match change.what {
        What::Created => 1,
        What::Deleted => -1,
        What::DataChanged => 0,
    }
}

/// Whether a path is that of a node or below it.
fn is_within(path: &str, of: &str) -> bool {
    let rest = path.strip_prefix(of);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The length of a node's data in bytes, null being none.
pub(crate) fn length(data: Option<&Bytes>) -> i64 {
    data.map_or(0, |data| i64::try_from(data.len()).unwrap_or(i64::MAX))
}

/// What stands in both nodes: `count=4,bytes=5=;byteHardLimit=10;countHardLimit=10`. What was
/// never set is −1.
#[derive(Debug, PartialEq, Eq)]
struct Track {
    count: i64,
    bytes: i64,
    others: BTreeMap<String, i64>,
}

impl Track {
    fn new(count: i64, bytes: i64) -> Self {
        Self {
            count,
            bytes,
            others: BTreeMap::new(),
        }
    }

    /// `None` for what makes no sense, at which a real server stumbles. Separators at the end
    /// separate nothing, those in front a pair that is none.
    fn parse(data: Option<&Bytes>) -> Option<Self> {
        let text = incoming::text(data?);
        let mut track = Self::new(-1, -1);
        let pairs = text.trim_end_matches(SEPARATORS);
        if pairs.is_empty() {
            return Some(track);
        }
        if pairs.starts_with(SEPARATORS) {
            return None;
        }
        for pair in pairs.split(SEPARATORS).filter(|pair| !pair.is_empty()) {
            // The second `=` behind the bytes is for parsers of old; whatever follows one counts
            // for nothing.
            let mut parts = pair.trim_end_matches('=').split('=');
            let (key, value) = parts.next().zip(parts.next())?;
            let value = if value.is_empty() { "-1" } else { value };
            let value = java::number(value)?;
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => drop(track.others.insert(key.to_owned(), value)),
            }
        }
        Some(track)
    }
}

/// What stands between pairs, one or several of them.
const SEPARATORS: [char; 2] = [',', ';'];

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        if !self.others.is_empty() {
            f.write_str("=")?;
        }
        for (key, value) in &self.others {
            write!(f, ";{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_reads_what_it_writes() {
        for text in [
            "count=4,bytes=5",
            "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=10",
        ] {
            let track = Track::parse(Some(&text.into())).unwrap();
            assert_eq!(track.to_string(), text);
        }
        let track = Track::parse(Some(&"bytes=5,count=2".into())).unwrap();
        assert_eq!(track.to_string(), "count=2,bytes=5");
    }

    #[test]
    fn a_track_is_read_as_java_splits_it() {
        let rows = [
            ("", Some("count=-1,bytes=-1")),
            (";,", Some("count=-1,bytes=-1")),
            ("count=1;,bytes=2,;", Some("count=1,bytes=2")),
            ("count==5", Some("count=-1,bytes=-1")),
            ("count=+5", Some("count=5,bytes=-1")),
            (
                "byteHardLimit=3=9=",
                Some("count=-1,bytes=-1=;byteHardLimit=3"),
            ),
            ("=5", Some("count=-1,bytes=-1=;=5")),
            ("garbage", None),
            ("count", None),
            ("count=", None),
            ("count=x", None),
            (",count=5", None),
            (";;countHardLimit=1", None),
            ("countHardLimit=1;=;", None),
            ("countHardLimit=1 ", None),
            ("countHardLimit=99999999999999999999", None),
            ("countHardLimit=0x1", None),
        ];
        for (text, expected) in rows {
            let track = Track::parse(Some(&text.into())).map(|track| track.to_string());
            assert_eq!(track.as_deref(), expected, "{text:?}");
        }
        assert_eq!(Track::parse(None), None);
        assert_eq!(Track::parse(Some(&Bytes::from_static(b"\xff"))), None);
    }

    #[test]
    fn the_nearest_quota_counts_and_the_root_has_none() {
        let quotas = Quotas {
            paths: ["", "/a", "/a/b"].map(str::to_owned).into(),
            are_soft: false,
        };
        assert_eq!(quotas.above("/a/b/c").as_deref(), Some("/a/b"));
        assert_eq!(quotas.above("/a/bc").as_deref(), Some("/a"));
        assert_eq!(quotas.above("/ab"), None);
        assert_eq!(quotas.above("/ /a/\u{1} /x").as_deref(), Some("/a"));
        assert_eq!(quotas.above("/a/\u{a0}/b").as_deref(), Some("/a"));
        assert_eq!(quotas.above("/ "), None);
    }
}
