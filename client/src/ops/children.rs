//! Listing a node's children.

use std::borrow::Cow;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use homing_protocol::{DecodeError, Reader, Stat, op, put_string, reply};

use homing_session::WatchKind;

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};
use crate::watcher::{Read, Watchable};

impl Client {
    /// The names of a node's children, in no particular order, and the node's stat.
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/a", b"").await?;
    /// client.create("/a/x", b"").await?;
    /// client.create("/a/y", b"").await?;
    /// let children = client.children("/a").await?;
    /// assert_eq!(children.sorted(), ["x", "y"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn children<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<GetChildren<'a>> {
        Request::new(&self.scope, GetChildren::new(path))
    }
}

/// The operation of [`Client::children`].
///
/// ```
/// use homing::{Client, Request, ops::GetChildren};
/// fn list<'a>(client: &Client, path: &'a str) -> Request<GetChildren<'a>> {
///     client.children(path)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct GetChildren<'a> {
    path: Path<'a>,
    watch: bool,
}

impl<'a> GetChildren<'a> {
    pub(crate) fn new(path: impl Into<Path<'a>>) -> Self {
        Self {
            path: path.into(),
            watch: false,
        }
    }
}

/// The names of a node's children, and its stat: [`Names`] with a stat.
///
/// ```
/// let none = homing::Children::default();
/// assert_eq!((none.len(), none.iter().next()), (0, None));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Children {
    names: Names,
    stat: Stat,
}

impl Children {
    /// The stat of their parent.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Their names, in the order in which the server sent them, which means nothing.
    pub fn iter(&self) -> ChildNames<'_> {
        self.names.iter()
    }

    /// Their names in alphabetical order, which for the names of sequential nodes with one
    /// prefix is the order of their creation.
    pub fn sorted(&self) -> Vec<&str> {
        self.names.sorted()
    }
}

impl<'a> IntoIterator for &'a Children {
    type Item = &'a str;
    type IntoIter = ChildNames<'a>;

    fn into_iter(self) -> ChildNames<'a> {
        self.iter()
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.fmt(f)
    }
}

/// Names of children. They stay the bytes that arrived: going through them allocates nothing.
///
/// ```
/// let none = homing::Names::default();
/// assert!(none.is_empty() && none.sorted().is_empty());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    count: usize,
    /// `count` names, each behind its length; all are UTF-8.
    names: Bytes,
}

impl Names {
    /// So many names, each behind its length, that lie inside these bytes.
    pub(super) fn new(count: usize, names: Bytes) -> Result<Self, DecodeError> {
        let mut all = Self { count, names };
        if all.iter().count() < count {
            // Some name is not UTF-8. Rare, so it may cost a copy.
            let mut reader = Reader::new(&all.names);
            let mut names = BytesMut::with_capacity(all.names.len());
            for _ in 0..count {
                put_string(&mut names, &reader.string("child")?);
            }
            all.names = names.freeze();
        }
        Ok(all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names, in the order in which the server sent them, which means nothing.
    pub fn iter(&self) -> ChildNames<'_> {
        ChildNames {
            left: self.count,
            rest: &self.names,
        }
    }

    /// The names in alphabetical order, which for those of sequential nodes with one prefix is
    /// the order of their creation.
    pub fn sorted(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.iter().collect();
        names.sort_unstable();
        names
    }
}

impl<'a> IntoIterator for &'a Names {
    type Item = &'a str;
    type IntoIter = ChildNames<'a>;

    fn into_iter(self) -> ChildNames<'a> {
        self.iter()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// Without the stat.
impl From<Children> for Names {
    fn from(children: Children) -> Self {
        children.names
    }
}

/// The names in [`Children`] and in [`Names`].
///
/// ```
/// fn longest<'a>(names: homing::ops::ChildNames<'a>) -> Option<&'a str> {
///     names.max_by_key(|name| name.len())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ChildNames<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for ChildNames<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let len = usize::try_from(self.rest.try_get_i32().ok()?).ok()?;
        let (name, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        std::str::from_utf8(name).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ChildNames<'_> {}

impl sealed::Sealed for GetChildren<'_> {}

impl Read for GetChildren<'_> {}

impl Watchable for GetChildren<'_> {
    const KIND: WatchKind = WatchKind::Child;

    fn set_watch(&mut self, watch: bool) {
        self.watch = watch;
    }
}

impl Operation for GetChildren<'_> {
    type Output = Children;
    const NAME: &'static str = "children";
    type Body<'b>
        = homing_protocol::GetChildren<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::GET_CHILDREN2
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::GetChildren<'b> {
        homing_protocol::GetChildren {
            path: scope.server_path(&self.path),
            watch: self.watch,
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<Children, DecodeError> {
        let (count, names, stat) = reply::get_children2(frame)?;
        Ok(Children {
            names: Names::new(count, names)?,
            stat,
        })
    }
}
