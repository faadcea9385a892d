//! Reading a node.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, GetData, Stat, op, reply};

use homing_session::WatchKind;

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};
use crate::watcher::{Read, Watchable};

impl Client {
    /// Reads a node's data and stat.
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/greeting", b"hello").await?;
    /// let node = client.get("/greeting").await?;
    /// assert_eq!((&node.data[..], node.stat.version), (&b"hello"[..], 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<Get<'a>> {
        Request::new(&self.scope, Get::new(path))
    }
}

/// The operation of [`Client::get`].
///
/// ```
/// fn read<'a>(client: &homing::Client, path: &'a str) -> homing::Request<homing::ops::Get<'a>> {
///     client.get(path)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Get<'a> {
    path: Path<'a>,
    watch: bool,
}

impl<'a> Get<'a> {
    pub(crate) fn new(path: impl Into<Path<'a>>) -> Self {
        Self {
            path: path.into(),
            watch: false,
        }
    }
}

/// A node's data and stat.
///
/// ```
/// let node = homing::Node::default();
/// assert!(node.data.is_empty() && !node.is_null);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The data; empty for null data too.
    pub data: Bytes,
    /// Whether the data is null, which ZooKeeper keeps apart from empty.
    pub is_null: bool,
    /// What the server keeps about the node.
    pub stat: Stat,
}

/// Smaller data than this is copied out of the read buffer, in bytes: keeping a small value
/// must not keep a large buffer. Larger data is a slice of it.
const COPIED_BELOW: usize = 1024;

impl sealed::Sealed for Get<'_> {}

impl Read for Get<'_> {}

impl Watchable for Get<'_> {
    const KIND: WatchKind = WatchKind::Data;

    fn set_watch(&mut self, watch: bool) {
        self.watch = watch;
    }
}

impl Operation for Get<'_> {
    type Output = Node;
    const NAME: &'static str = "get";
    type Body<'b>
        = GetData<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::GET_DATA
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> GetData<'b> {
        GetData {
            path: scope.server_path(&self.path),
            watch: self.watch,
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<Node, DecodeError> {
        let (data, stat) = reply::get_data(frame)?;
        Ok(Node::new(data, stat))
    }
}

impl Node {
    /// With data that is a slice of the read buffer.
    pub(super) fn new(data: Option<Bytes>, stat: Stat) -> Self {
        let is_null = data.is_none();
        let data = match data.unwrap_or_default() {
            small if small.len() < COPIED_BELOW => Bytes::copy_from_slice(&small),
            large => large,
        };
        Self {
            data,
            is_null,
            stat,
        }
    }
}
