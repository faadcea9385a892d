//! Removing a node.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, op};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Removes a node that has no children.
    ///
    /// # Errors
    /// `NoNode` if there is none, `BadVersion` if it is not at the version that was asked for,
    /// `NotEmpty` if it has children, `NoAuth` without the permission to delete (it is checked
    /// on the parent).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/old", b"").await?;
    /// client.delete("/old").await?;
    /// assert!(client.exists("/old").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<Delete<'a>> {
        Request::new(&self.scope, Delete::new(path.into()))
    }
}

/// The operation of [`Client::delete`].
///
/// ```
/// fn only_first<'a>(
///     request: homing::Request<homing::ops::Delete<'a>>,
/// ) -> homing::Request<homing::ops::Delete<'a>> {
///     request.version(0)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Delete<'a> {
    path: Path<'a>,
    pub(super) version: i32,
}

impl<'a> Delete<'a> {
    pub(super) fn new(path: Path<'a>) -> Self {
        Self { path, version: -1 }
    }
}

impl Request<Delete<'_>> {
    /// Only if the node is at this version ([`Stat::version`](crate::Stat)); by default at any.
    pub fn version(mut self, version: i32) -> Self {
        self.op.version = version;
        self
    }
}

impl sealed::Sealed for Delete<'_> {}

impl Operation for Delete<'_> {
    type Output = ();
    const NAME: &'static str = "delete";
    type Body<'b>
        = homing_protocol::Delete<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::DELETE
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::Delete<'b> {
        homing_protocol::Delete {
            path: scope.server_path(&self.path),
            version: self.version,
        }
    }

    fn decode(&mut self, _: &Scope, _: &Bytes) -> Result<(), DecodeError> {
        Ok(())
    }
}
