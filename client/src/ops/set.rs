//! Replacing a node's data.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, SetData, Stat, op, reply};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Replaces a node's data, and gives its new stat.
    ///
    /// # Errors
    /// `NoNode` if there is none, `BadVersion` if it is not at the version that was asked for,
    /// `NoAuth` without the permission to write.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::ErrorCode;
    /// client.create("/counter", b"1").await?;
    /// let stat = client.set("/counter", b"2").version(0).await?;
    /// assert_eq!(stat.version, 1);
    /// let late = client.set("/counter", b"2").version(0).await;
    /// assert_eq!(late.unwrap_err().code(), Some(ErrorCode::BadVersion));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set<'a, D>(&self, path: impl Into<Cow<'a, str>>, data: &'a D) -> Request<Set<'a>>
    where
        D: AsRef<[u8]> + ?Sized,
    {
        Request::new(&self.scope, Set::new(path.into(), data.as_ref()))
    }
}

/// The operation of [`Client::set`].
///
/// ```
/// fn only_first<'a>(
///     request: homing::Request<homing::ops::Set<'a>>,
/// ) -> homing::Request<homing::ops::Set<'a>> {
///     request.version(0)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Set<'a> {
    path: Path<'a>,
    data: &'a [u8],
    pub(super) version: i32,
}

impl<'a> Set<'a> {
    pub(super) fn new(path: Path<'a>, data: &'a [u8]) -> Self {
        Self {
            path,
            data,
            version: -1,
        }
    }
}

impl Request<Set<'_>> {
    /// Only if the node is at this version ([`Stat::version`]); by default at any.
    pub fn version(mut self, version: i32) -> Self {
        self.op.version = version;
        self
    }
}

impl sealed::Sealed for Set<'_> {}

impl Operation for Set<'_> {
    type Output = Stat;
    const NAME: &'static str = "set";
    type Body<'b>
        = SetData<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::SET_DATA
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> SetData<'b> {
        SetData {
            path: scope.server_path(&self.path),
            data: self.data,
            version: self.version,
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<Stat, DecodeError> {
        reply::stat(frame)
    }
}
