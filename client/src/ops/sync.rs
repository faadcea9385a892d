//! Catching up.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, op};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Waits until this client's server has caught up with its leader. A read that is submitted
    /// behind it sees everything that was written, by anybody, before the sync was submitted.
    ///
    /// The path has no influence; servers bring everything up to date.
    ///
    /// # Errors
    /// None of its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let synced = client.sync("/").submit()?;
    /// let children = client.children("/").await?; // in line behind the sync
    /// synced.await?;
    /// # let _ = children;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sync<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<Sync<'a>> {
        Request::new(&self.scope, Sync { path: path.into() })
    }
}

/// The operation of [`Client::sync`].
///
/// ```
/// fn sync(client: &homing::Client) -> homing::Request<homing::ops::Sync<'static>> {
///     client.sync("/")
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Sync<'a> {
    path: Path<'a>,
}

impl Sync<'static> {
    pub(crate) fn root() -> Self {
        Self {
            path: Path::Borrowed("/"),
        }
    }
}

impl sealed::Sealed for Sync<'_> {}

impl Operation for Sync<'_> {
    type Output = ();
    const NAME: &'static str = "sync";
    type Body<'b>
        = homing_protocol::Sync<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::SYNC
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::Sync<'b> {
        homing_protocol::Sync {
            path: scope.server_path(&self.path),
        }
    }

    fn decode(&mut self, _: &Scope, _: &Bytes) -> Result<(), DecodeError> {
        Ok(())
    }
}
