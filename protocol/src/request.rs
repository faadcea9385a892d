//! Request bodies, as a client writes them.

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::codec::{Record, put_buffer};
use crate::data::Acl;
use crate::frame::LENGTH_LEN;
use crate::header::RequestHeader;
use crate::op;

/// The length of a whole frame: its length, the header, and `body`.
pub fn request_len(body: &impl Record) -> usize {
    LENGTH_LEN + RequestHeader::LEN + body.encoded_len()
}

/// Appends a whole frame: its length, `header`, and `body`.
pub fn put_request(out: &mut BytesMut, header: RequestHeader, body: &impl Record) {
    let len = header.encoded_len() + body.encoded_len();
    out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
    header.encode(out);
    body.encode(out);
}

/// A node's path as a server knows it, in two pieces, so that a request under a chroot needs no
/// string of its own.
///
/// ```
/// use homing_protocol::PathRef;
/// assert_eq!(PathRef::new("/app", "/config").to_string(), "/app/config");
/// assert_eq!(PathRef::new("/app", "/").to_string(), "/app");
/// assert_eq!(PathRef::from("/").to_string(), "/");
/// assert_eq!(PathRef::sequential("/app", "/").to_string(), "/app/");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRef<'a> {
    chroot: &'a str,
    path: &'a str,
}

impl<'a> PathRef<'a> {
    /// `path` below `chroot`, which is empty or begins with a slash and does not end with one.
    pub fn new(chroot: &'a str, path: &'a str) -> Self {
        let root_of_chroot = path == "/" && !chroot.is_empty();
        Self {
            chroot,
            path: if root_of_chroot { "" } else { path },
        }
    }

    /// `name` right behind `chroot`, a slash at its end kept: the name of a sequential node can
    /// be nothing but the number that a server appends.
    pub fn sequential(chroot: &'a str, name: &'a str) -> Self {
        Self { chroot, path: name }
    }

    pub(crate) fn encoded_len(self) -> usize {
        4 + self.chroot.len() + self.path.len()
    }

    pub(crate) fn encode(self, out: &mut BytesMut) {
        let len = self.chroot.len() + self.path.len();
        out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
        out.put_slice(self.chroot.as_bytes());
        out.put_slice(self.path.as_bytes());
    }
}

impl<'a> From<&'a str> for PathRef<'a> {
    fn from(path: &'a str) -> Self {
        Self::new("", path)
    }
}

impl fmt::Display for PathRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chroot)?;
        f.write_str(self.path)
    }
}

/// What becomes of a node. An enumeration on the wire too, not a set of bits.
///
/// ```
/// use homing_protocol::{CreateMode, op};
/// let mode = CreateMode::EphemeralSequential;
/// assert!(mode.is_sequential());
/// assert_eq!((mode.flags(), mode.op()), (3, op::CREATE2));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreateMode {
    /// It stays until it is deleted.
    #[default]
    Persistent,
    /// It goes away with the session.
    Ephemeral,
    /// It stays; the server appends a number to its name.
    PersistentSequential,
    /// It goes away with the session; the server appends a number to its name.
    EphemeralSequential,
    /// The server removes it some time after its last child has gone.
    Container,
    /// The server removes it when it has no children and was not set for so long.
    PersistentWithTtl(Ttl),
    /// The same; the server appends a number to its name.
    PersistentSequentialWithTtl(Ttl),
}

impl CreateMode {
    /// Whether the server appends a number to the name.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl(_)
        )
    }

    /// How long the node may stay without being set, where the mode says so.
    pub fn ttl(self) -> Option<Ttl> {
        match self {
            Self::PersistentWithTtl(ttl) | Self::PersistentSequentialWithTtl(ttl) => Some(ttl),
            _ => None,
        }
    }

    /// Its number on the wire.
    pub fn flags(self) -> i32 {
        match self {
            Self::Persistent => 0,
            Self::Ephemeral => 1,
            Self::PersistentSequential => 2,
            Self::EphemeralSequential => 3,
            Self::Container => 4,
            Self::PersistentWithTtl(_) => 5,
            Self::PersistentSequentialWithTtl(_) => 6,
        }
    }

    /// The operation that makes such a node and tells its stat. With another one a server does
    /// something else: create2 makes a plain node of a container, without a word.
    pub fn op(self) -> i32 {
        match self {
            Self::Container => op::CREATE_CONTAINER,
            Self::PersistentWithTtl(_) | Self::PersistentSequentialWithTtl(_) => op::CREATE_TTL,
            _ => op::CREATE2,
        }
    }
}

/// A node's time to live: whole milliseconds, from 1 to 2^40 − 1 (34 years).
///
/// ```
/// use std::time::Duration;
/// use homing_protocol::Ttl;
/// let minute = Ttl::new(Duration::from_secs(60)).unwrap();
/// assert_eq!(minute.as_millis(), 60_000);
/// assert_eq!(Ttl::new(Duration::from_micros(999)), None);
/// assert_eq!(Ttl::new(Duration::MAX), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl {
    /// 1 to [`MAX_MS`](Self::MAX_MS).
    ms: i64,
}

impl Ttl {
    /// The longest time in milliseconds: servers keep it in 40 bits.
    pub const MAX_MS: i64 = (1 << 40) - 1;

    /// So many whole milliseconds, what is over left out; `None` for less than one and for more
    /// than [`MAX_MS`](Self::MAX_MS).
    pub fn new(ttl: Duration) -> Option<Self> {
        let ms = i64::try_from(ttl.as_millis()).ok()?;
        (1..=Self::MAX_MS).contains(&ms).then_some(Self { ms })
    }

    /// In milliseconds.
    pub fn as_millis(self) -> i64 {
        self.ms
    }
}

/// No body at all: ping and closeSession.
///
/// ```
/// assert_eq!(homing_protocol::request_len(&homing_protocol::Empty), 12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty;

impl Record for Empty {
    fn encoded_len(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut BytesMut) {}
}

/// The body of create, create2, createContainer and createTTL:
/// [`CreateMode::op`] says which of them it is for.
///
/// ```
/// use homing_protocol::{Acl, Create, CreateMode, Record};
/// let acl = [Acl::open()];
/// let create = Create { path: "/a".into(), data: b"hi", acl: &acl, mode: CreateMode::Persistent };
/// assert_eq!(create.encoded_len(), 43);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// The node, or the name to which a number is appended.
    pub path: PathRef<'a>,
    /// Its data.
    pub data: &'a [u8],
    /// Its access control list; an empty one is refused by the server.
    pub acl: &'a [Acl],
    /// What becomes of it.
    pub mode: CreateMode,
}

impl Record for Create<'_> {
    fn encoded_len(&self) -> usize {
        let ttl = if self.mode.ttl().is_some() { 8 } else { 0 };
        self.path.encoded_len() + 4 + self.data.len() + Acl::list_len(self.acl) + 4 + ttl
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        put_buffer(out, Some(self.data));
        Acl::put_list(out, self.acl);
        out.put_i32(self.mode.flags());
        if let Some(ttl) = self.mode.ttl() {
            out.put_i64(ttl.as_millis());
        }
    }
}

/// The body of delete.
///
/// ```
/// use homing_protocol::{Delete, Record};
/// assert_eq!(Delete { path: "/a".into(), version: -1 }.encoded_len(), 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The node.
    pub path: PathRef<'a>,
    /// The version that it must have, or −1 for any.
    pub version: i32,
}

impl Record for Delete<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len() + 4
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        out.put_i32(self.version);
    }
}

/// The body of check, which has its place in a [`Multi`](crate::Multi).
///
/// ```
/// use homing_protocol::{Check, Record};
/// assert_eq!(Check { path: "/a".into(), version: 1 }.encoded_len(), 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check<'a> {
    /// The node.
    pub path: PathRef<'a>,
    /// The version that it must have, or −1 for any.
    pub version: i32,
}

impl Record for Check<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len() + 4
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        out.put_i32(self.version);
    }
}

/// The body of setData.
///
/// ```
/// use homing_protocol::{Record, SetData};
/// assert_eq!(SetData { path: "/a".into(), data: b"yo", version: 0 }.encoded_len(), 16);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetData<'a> {
    /// The node.
    pub path: PathRef<'a>,
    /// Its new data.
    pub data: &'a [u8],
    /// The version that it must have, or −1 for any.
    pub version: i32,
}

impl Record for SetData<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len() + 4 + self.data.len() + 4
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        put_buffer(out, Some(self.data));
        out.put_i32(self.version);
    }
}

/// Which watches of a path are meant. The last two take servers since 3.9.0.
///
/// ```
/// use homing_protocol::WatcherType;
/// assert_eq!(WatcherType::Any as i32, 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatcherType {
    /// Those on its children. Before 3.9.0 half of a persistent one too.
    Children = 1,
    /// Those on its data and existence. Before 3.9.0 half of a persistent one too.
    Data = 2,
    /// All of them.
    Any = 3,
    /// Persistent ones.
    Persistent = 4,
    /// Persistent ones on everything below too.
    PersistentRecursive = 5,
}

/// Bodies that are a path and which of the watches there are meant.
macro_rules! path_and_watcher_type {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a> {
            /// The node.
            pub path: PathRef<'a>,
            /// Which watches.
            pub kind: WatcherType,
        }

        impl Record for $name<'_> {
            fn encoded_len(&self) -> usize {
                self.path.encoded_len() + 4
            }

            fn encode(&self, out: &mut BytesMut) {
                self.path.encode(out);
                out.put_i32(self.kind as i32);
            }
        }
    )+};
}

path_and_watcher_type! {
    /// The body of checkWatches: whether the connection has such a watch.
    ///
    /// ```
    /// use homing_protocol::{CheckWatches, Record, WatcherType};
    /// let check = CheckWatches { path: "/a".into(), kind: WatcherType::Data };
    /// assert_eq!(check.encoded_len(), 10);
    /// ```
    CheckWatches,
    /// The body of removeWatches: such watches that the connection has are removed.
    ///
    /// ```
    /// use homing_protocol::{Record, RemoveWatches, WatcherType};
    /// let remove = RemoveWatches { path: "/a".into(), kind: WatcherType::Any };
    /// assert_eq!(remove.encoded_len(), 10);
    /// ```
    RemoveWatches,
}

/// The body of getACL.
///
/// ```
/// use homing_protocol::{GetAcl, Record};
/// assert_eq!(GetAcl { path: "/a".into() }.encoded_len(), 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAcl<'a> {
    /// The node.
    pub path: PathRef<'a>,
}

impl Record for GetAcl<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
    }
}

/// The body of setACL.
///
/// ```
/// use homing_protocol::{Acl, Record, SetAcl};
/// let set = SetAcl { path: "/a".into(), acl: &[Acl::open()], version: -1 };
/// assert_eq!(set.encoded_len(), 37);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetAcl<'a> {
    /// The node.
    pub path: PathRef<'a>,
    /// Its new access control list; an empty one is refused by the server.
    pub acl: &'a [Acl],
    /// The version that the list must have ([`Stat::aversion`](crate::Stat)), or −1 for any.
    pub version: i32,
}

impl Record for SetAcl<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len() + Acl::list_len(self.acl) + 4
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        Acl::put_list(out, self.acl);
        out.put_i32(self.version);
    }
}

/// The body of sync.
///
/// ```
/// use homing_protocol::{Record, Sync};
/// assert_eq!(Sync { path: "/".into() }.encoded_len(), 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync<'a> {
    /// Echoed by the server and otherwise without a meaning: all paths are brought up to date.
    pub path: PathRef<'a>,
}

impl Record for Sync<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
    }
}

/// The body of getAllChildrenNumber.
///
/// ```
/// use homing_protocol::{GetAllChildrenNumber, Record};
/// assert_eq!(GetAllChildrenNumber { path: "/".into() }.encoded_len(), 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAllChildrenNumber<'a> {
    /// The node whose descendants are counted.
    pub path: PathRef<'a>,
}

impl Record for GetAllChildrenNumber<'_> {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
    }
}

/// The body of getEphemerals.
///
/// ```
/// use homing_protocol::{GetEphemerals, Record};
/// assert_eq!(GetEphemerals { prefix: "/a".into() }.encoded_len(), 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetEphemerals<'a> {
    /// What the paths begin with, as a mere text: `/a` is the beginning of `/ab`.
    pub prefix: PathRef<'a>,
}

impl Record for GetEphemerals<'_> {
    fn encoded_len(&self) -> usize {
        self.prefix.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.prefix.encode(out);
    }
}

/// The body of reconfig. Either some servers join and leave, or the members are given in full.
///
/// ```
/// use homing_protocol::{Reconfig, Record};
/// let leave = Reconfig { leaving: Some("3"), ..Reconfig::default() };
/// assert_eq!(leave.encoded_len(), 4 + 5 + 4 + 8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconfig<'a> {
    /// Servers that join or change: `server.N=host:port:port:role;host:port`, with commas
    /// between them.
    pub joining: Option<&'a str>,
    /// Numbers of servers that leave, with commas between them.
    pub leaving: Option<&'a str>,
    /// All members, in place of the other two.
    pub members: Option<&'a str>,
    /// The version of the configuration that is to be replaced, or −1 for any.
    pub from_config: i64,
}

impl Default for Reconfig<'_> {
    fn default() -> Self {
        Self {
            joining: None,
            leaving: None,
            members: None,
            from_config: -1,
        }
    }
}

impl Record for Reconfig<'_> {
    fn encoded_len(&self) -> usize {
        let texts = [self.joining, self.leaving, self.members];
        let texts = texts.map(|text| 4 + text.map_or(0, str::len));
        texts.into_iter().sum::<usize>() + 8
    }

    fn encode(&self, out: &mut BytesMut) {
        for text in [self.joining, self.leaving, self.members] {
            put_buffer(out, text.map(str::as_bytes));
        }
        out.put_i64(self.from_config);
    }
}

/// Bodies that are a path and whether to set a watch.
macro_rules! path_and_watch {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a> {
            /// The node.
            pub path: PathRef<'a>,
            /// Whether the connection is to be told once of the next change.
            pub watch: bool,
        }

        impl Record for $name<'_> {
            fn encoded_len(&self) -> usize {
                self.path.encoded_len() + 1
            }

            fn encode(&self, out: &mut BytesMut) {
                self.path.encode(out);
                out.put_u8(self.watch.into());
            }
        }
    )+};
}

path_and_watch! {
    /// The body of exists.
    ///
    /// ```
    /// use homing_protocol::{Exists, Record};
    /// assert_eq!(Exists { path: "/b".into(), watch: true }.encoded_len(), 7);
    /// ```
    Exists,
    /// The body of getData.
    ///
    /// ```
    /// use homing_protocol::{GetData, Record};
    /// assert_eq!(GetData { path: "/a".into(), watch: false }.encoded_len(), 7);
    /// ```
    GetData,
    /// The body of getChildren and getChildren2.
    ///
    /// ```
    /// use homing_protocol::{GetChildren, Record};
    /// assert_eq!(GetChildren { path: "/".into(), watch: false }.encoded_len(), 6);
    /// ```
    GetChildren,
}
