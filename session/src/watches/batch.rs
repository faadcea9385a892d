//! SetWatches frames of a size that servers take.

use homing_protocol::{AddWatchMode, PathRef, RequestHeader, SetWatches};

use super::WatchKind;

/// The longest frame of SetWatches, in bytes; a single longer path goes alone. Servers take a
/// megabyte, but one that is told less may be set to less (ZOOKEEPER-706).
pub(crate) const FRAME_LEN_MAX: usize = 128 << 10;

/// The body of one SetWatches.
#[derive(Default)]
pub(super) struct Batch<'a> {
    data: Vec<PathRef<'a>>,
    exist: Vec<PathRef<'a>>,
    child: Vec<PathRef<'a>>,
    persistent: Vec<PathRef<'a>>,
    recursive: Vec<PathRef<'a>>,
    /// What the paths and their lengths take, in bytes.
    paths_len: usize,
}

/// What a frame takes without any path, in bytes, if it has all five lists.
const EMPTY_LEN: usize = 4 + RequestHeader::LEN + 8 + 5 * 4;

/// Whether paths that take so many bytes, their lengths included, make a frame too long.
pub(super) fn is_too_long(paths_len: usize, frame_len_max: usize) -> bool {
    EMPTY_LEN + paths_len > frame_len_max
}

impl<'a> Batch<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.paths_len == 0
    }

    /// Whether paths that take so many more bytes belong into the next one.
    pub(super) fn is_full(&self, paths_len: usize) -> bool {
        !self.is_empty() && is_too_long(self.paths_len + paths_len, FRAME_LEN_MAX)
    }

    pub(super) fn add(&mut self, kind: WatchKind, path: &'a str) {
        self.paths_len += 4 + path.len();
        let list = match kind {
            WatchKind::Data => &mut self.data,
            WatchKind::Exist => &mut self.exist,
            WatchKind::Child => &mut self.child,
        };
        list.push(path.into());
    }

    pub(super) fn add_lasting(&mut self, mode: AddWatchMode, path: &'a str) {
        self.paths_len += 4 + path.len();
        let list = match mode {
            AddWatchMode::Persistent => &mut self.persistent,
            AddWatchMode::PersistentRecursive => &mut self.recursive,
        };
        list.push(path.into());
    }

    pub(super) fn record(&self, relative_zxid: i64) -> SetWatches<'_> {
        SetWatches {
            relative_zxid,
            data: &self.data,
            exist: &self.exist,
            child: &self.child,
            persistent: &self.persistent,
            persistent_recursive: &self.recursive,
        }
    }
}
