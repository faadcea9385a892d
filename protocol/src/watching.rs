//! Request bodies that set watches for good, or again.

use bytes::{BufMut, BytesMut};

use crate::codec::{Record, put_count};
use crate::op;
use crate::request::PathRef;

/// How far a watch reaches that stays until it is removed.
///
/// ```
/// use homing_protocol::AddWatchMode;
/// assert!(AddWatchMode::PersistentRecursive > AddWatchMode::Persistent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddWatchMode {
    /// To a node, its data and its list of children.
    Persistent = 0,
    /// To a node and everything below it. Nothing is told of lists of children.
    PersistentRecursive = 1,
}

/// The body of addWatch.
///
/// ```
/// use homing_protocol::{AddWatch, AddWatchMode, Record};
/// let add = AddWatch { path: "/a".into(), mode: AddWatchMode::Persistent };
/// assert_eq!(add.encoded_len(), 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddWatch<'a> {
    /// The node, which need not be there.
    pub path: PathRef<'a>,
    /// How far the watch reaches.
    pub mode: AddWatchMode,
}

impl Record for AddWatch<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len() + 4
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        out.put_i32(self.mode as i32);
    }
}

/// The body of setWatches and, if one of the last two lists is not empty, of setWatches2:
/// [`op`](Self::op) says which of them it is for.
///
/// A server goes through the lists in their order. What has changed since `relative_zxid` is told
/// at once, before the reply; the rest is watched.
///
/// ```
/// use homing_protocol::{Record, SetWatches, op};
/// let (a, root) = (["/a".into()], ["/".into()]);
/// let set = SetWatches { relative_zxid: 2, data: &a, ..SetWatches::default() };
/// assert_eq!((set.op(), set.encoded_len()), (op::SET_WATCHES, 26));
/// let set = SetWatches { persistent_recursive: &root, ..set };
/// assert_eq!((set.op(), set.encoded_len()), (op::SET_WATCHES2, 39));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetWatches<'a> {
    /// The last transaction that is known of.
    pub relative_zxid: i64,
    /// Nodes whose data is watched.
    pub data: &'a [PathRef<'a>],
    /// Nodes that are waited for.
    pub exist: &'a [PathRef<'a>],
    /// Nodes whose children are watched.
    pub child: &'a [PathRef<'a>],
    /// Nodes with a persistent watch, of which nothing that was missed is told.
    pub persistent: &'a [PathRef<'a>],
    /// The same, with all that is below them.
    pub persistent_recursive: &'a [PathRef<'a>],
}

impl<'a> SetWatches<'a> {
    /// Its operation. Servers before 3.6 know only the one without persistent watches.
    pub fn op(&self) -> i32 {
        match self.has_persistent() {
            true => op::SET_WATCHES2,
            false => op::SET_WATCHES,
        }
    }

    fn has_persistent(&self) -> bool {
        !self.persistent.is_empty() || !self.persistent_recursive.is_empty()
    }

    fn lists(&self) -> impl Iterator<Item = &'a [PathRef<'a>]> {
        let persistent = [self.persistent, self.persistent_recursive];
        let persistent = persistent.into_iter().filter(|_| self.has_persistent());
        [self.data, self.exist, self.child]
            .into_iter()
            .chain(persistent)
    }
}

impl Record for SetWatches<'_> {
    fn encoded_len(&self) -> usize {
        let list_len = |list: &[PathRef<'_>]| {
            let paths = list.iter().map(|path| path.encoded_len());
            4 + paths.sum::<usize>()
        };
        8 + self.lists().map(list_len).sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(self.relative_zxid);
        for list in self.lists() {
            put_count(out, list.len());
            list.iter().for_each(|path| path.encode(out));
        }
    }
}
