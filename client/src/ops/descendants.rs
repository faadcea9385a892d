//! Counting what is below a node.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, DecodeErrorKind, GetAllChildrenNumber, ReplyHeader, op, reply};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// How many nodes there are below a node: its children, their children, and so on. (How many
    /// children it has alone is in its [stat](crate::Stat::num_children).) Below `/` without a
    /// chroot are ZooKeeper's own nodes too.
    ///
    /// The server goes through all nodes that it has, so it is not for every second.
    ///
    /// It takes servers since 3.6.0; see [`Feature::DescendantCount`](crate::Feature).
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/a/b/c", b"").parents().await?;
    /// assert_eq!(client.descendant_count("/a").await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn descendant_count<'a>(
        &self,
        path: impl Into<Cow<'a, str>>,
    ) -> Request<DescendantCount<'a>> {
        Request::new(&self.scope, DescendantCount::new(path))
    }
}

/// The operation of [`Client::descendant_count`].
///
/// ```
/// use homing::{Client, Request, ops::DescendantCount};
/// fn count<'a>(client: &Client, path: &'a str) -> Request<DescendantCount<'a>> {
///     client.descendant_count(path)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct DescendantCount<'a> {
    path: Path<'a>,
}

impl<'a> DescendantCount<'a> {
    pub(crate) fn new(path: impl Into<Path<'a>>) -> Self {
        Self { path: path.into() }
    }
}

impl sealed::Sealed for DescendantCount<'_> {}

impl Operation for DescendantCount<'_> {
    type Output = usize;
    const NAME: &'static str = "descendant_count";
    type Body<'b>
        = GetAllChildrenNumber<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::GET_ALL_CHILDREN_NUMBER
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> GetAllChildrenNumber<'b> {
        GetAllChildrenNumber {
            path: scope.server_path(&self.path),
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<usize, DecodeError> {
        let count = reply::all_children_number(frame)?;
        usize::try_from(count).map_err(|_| DecodeError {
            field: "totalNumber",
            at: ReplyHeader::LEN,
            kind: DecodeErrorKind::Unknown(count.into()),
        })
    }
}
