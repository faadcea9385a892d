//! Quotas: how many nodes and bytes there are below a node, and how many there may be.
//!
//! A quota on `/a` is two nodes below `/zookeeper/quota/a`: `zookeeper_limits`, which clients
//! write, and `zookeeper_stats`, which the server keeps up to date with every committed change,
//! without a trace in that node's stat. Limits are enforced only where a server is set so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use crate::config::ServerConfig;
use crate::path;
use crate::tree::Tree;
use crate::watches::{Change, What};

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The nodes that have limits.
#[derive(Debug)]
pub(crate) struct Quotas {
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
    fn above<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.paths.is_empty() {
            return None;
        }
        let mut path = path;
        while !path.is_empty() {
            if self.paths.contains(path) {
                return Some(path);
            }
            (path, _) = path.rsplit_once('/')?;
        }
        None
    }
}

impl Tree {
    /// Keeps the books after a change that is there to stay. `later` are those that came behind
    /// it in the same transaction, which are in the tree already and have yet to be counted.
    pub(crate) fn account(&mut self, change: &Change, later: &[Change]) {
        let nodes = nodes_of(change);
        if let Some(of) = change.path.strip_prefix(ROOT)
            && let Some((of, name)) = path::split(of)
        {
            match (name, nodes) {
                (LIMITS, 1) => drop(self.quotas.paths.insert(of.to_owned())),
                (LIMITS, -1) => drop(self.quotas.paths.remove(of)),
                (STATS, 1) => {
                    let (mut count, mut bytes) = self.usage(of);
                    for change in later.iter().filter(|later| is_within(&later.path, of)) {
                        count -= nodes_of(change);
                        bytes -= change.bytes;
                    }
                    // Whatever was written there is forgotten.
                    self.write_stats(of, |track| *track = Track::new(count, bytes));
                }
                _ => {}
            }
        }
        if let Some(of) = self.quotas.above(&change.path) {
            let of = of.to_owned();
            self.write_stats(&of, |track| {
                track.count = track.count.wrapping_add(nodes);
                track.bytes = track.bytes.wrapping_add(change.bytes);
            });
        }
    }

    /// Whether so many more nodes and bytes at `path` are over a hard limit, going by the data
    /// that nodes had before the transaction began.
    pub(crate) fn is_over_quota<'a>(
        &self,
        (path, nodes, bytes): (&str, i64, i64),
        before: impl Fn(&str) -> Option<&'a Bytes>,
    ) -> bool {
        let track = |of: &str, name| Track::parse(before(&format!("{ROOT}{of}/{name}")));
        let Some(of) = self.quotas.above(path) else {
            return false;
        };
        let (Some(limits), Some(now)) = (track(of, LIMITS), track(of, STATS)) else {
            return false;
        };
        let is_over = |limit: Option<&i64>, now: i64, more: i64| {
            more != 0 && limit.is_some_and(|limit| *limit > -1 && now.wrapping_add(more) > *limit)
        };
        is_over(limits.others.get("countHardLimit"), now.count, nodes)
            || is_over(limits.others.get("byteHardLimit"), now.bytes, bytes)
    }

    fn write_stats(&mut self, of: &str, write: impl FnOnce(&mut Track)) {
        let is_soft = self.quotas.are_soft;
        if let Some(data) = self.data_mut(&format!("{ROOT}{of}/{STATS}"))
            && let Some(mut track) = Track::parse(data.as_ref())
        {
            write(&mut track);
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

    /// `None` for what makes no sense, at which a real server stumbles.
    fn parse(data: Option<&Bytes>) -> Option<Self> {
        let text = std::str::from_utf8(data?).ok()?;
        let mut track = Self::new(-1, -1);
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=')?;
            // The second `=` behind the bytes is for parsers of old.
            let value = value.trim_end_matches('=');
            let value = if value.is_empty() { "-1" } else { value };
            let value = value.parse().ok()?;
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => drop(track.others.insert(key.to_owned(), value)),
            }
        }
        Some(track)
    }
}

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
        assert_eq!(Track::parse(Some(&"garbage".into())), None);
        assert_eq!(Track::parse(Some(&"count=x".into())), None);
        let empty = Track::parse(Some(&"".into())).unwrap();
        assert_eq!(empty.to_string(), "count=-1,bytes=-1");
    }

    #[test]
    fn the_nearest_quota_counts_and_the_root_has_none() {
        let quotas = Quotas {
            paths: ["", "/a", "/a/b"].map(str::to_owned).into(),
            are_soft: false,
        };
        assert_eq!(quotas.above("/a/b/c"), Some("/a/b"));
        assert_eq!(quotas.above("/a/bc"), Some("/a"));
        assert_eq!(quotas.above("/ab"), None);
    }
}
