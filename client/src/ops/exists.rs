//! Asking for a node.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, ErrorCode, Stat, op, reply};

use homing_session::WatchKind;

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};
use crate::watcher::{Read, Watchable};

impl Client {
    /// A node's stat, or `None` if there is no such node.
    ///
    /// # Errors
    /// None of its own; that there is no node is an answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// assert!(client.exists("/a").await?.is_none());
    /// client.create("/a", b"").await?;
    /// assert_eq!(client.exists("/a").await?.map(|stat| stat.version), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn exists<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<Exists<'a>> {
        Request::new(&self.scope, Exists::new(path))
    }
}

/// The operation of [`Client::exists`].
///
/// ```
/// fn ask<'a>(client: &homing::Client, path: &'a str) -> homing::Request<homing::ops::Exists<'a>> {
///     client.exists(path)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Exists<'a> {
    path: Path<'a>,
    watch: bool,
}

impl<'a> Exists<'a> {
    pub(crate) fn new(path: impl Into<Path<'a>>) -> Self {
        Self {
            path: path.into(),
            watch: false,
        }
    }
}

impl sealed::Sealed for Exists<'_> {}

impl Read for Exists<'_> {}

impl Watchable for Exists<'_> {
    const KIND: WatchKind = WatchKind::Exist;

    fn set_watch(&mut self, watch: bool) {
        self.watch = watch;
    }
}

impl Operation for Exists<'_> {
    type Output = Option<Stat>;
    const NAME: &'static str = "exists";
    type Body<'b>
        = homing_protocol::Exists<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::EXISTS
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::Exists<'b> {
        homing_protocol::Exists {
            path: scope.server_path(&self.path),
            watch: self.watch,
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<Option<Stat>, DecodeError> {
        reply::stat(frame).map(Some)
    }

    fn recover(&mut self, code: ErrorCode) -> Option<Option<Stat>> {
        (code == ErrorCode::NoNode).then_some(None)
    }
}
