//! Reading and replacing a node's access control list.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{Acl, DecodeError, Stat, op, reply};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Reads a node's access control list and stat.
    ///
    /// Whoever may not change the list does not see the hashes in it: see
    /// [`NodeAcl::is_redacted`].
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read or to administer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::Acl;
    /// client.create("/a", b"").await?;
    /// let acl = client.acl("/a").await?;
    /// assert_eq!((acl.entries, acl.stat.aversion), (vec![Acl::open()], 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn acl<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<GetAcl<'a>> {
        Request::new(&self.scope, GetAcl::new(path))
    }

    /// Replaces a node's access control list, and gives the node's stat. One [`Acl`] will do, or
    /// a slice or vector of them. Children have lists of their own and keep them.
    ///
    /// The new list counts for what is asked when this is answered. What is submitted behind it
    /// earlier than that, a server may still check against the old list.
    ///
    /// # Errors
    /// `NoNode` if there is none, `BadVersion` if the list is not at the version that was asked
    /// for, `NoAuth` without the permission to administer, `InvalidAcl` if the list is empty or
    /// the server does not accept an entry.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::{Acl, ErrorCode};
    /// client.create("/a", b"").await?;
    /// let list = [Acl::digest("bob", "secret"), Acl::read_only()];
    /// let stat = client.set_acl("/a", &list).version(0).await?;
    /// assert_eq!(stat.aversion, 1);
    /// // From now on one must be Bob to write.
    /// let error = client.set("/a", b"").await.unwrap_err();
    /// assert_eq!(error.code(), Some(ErrorCode::NoAuth));
    /// client.add_auth("digest", b"bob:secret").await?;
    /// client.set("/a", b"").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_acl<'a>(
        &self,
        path: impl Into<Cow<'a, str>>,
        acl: impl Into<Cow<'a, [Acl]>>,
    ) -> Request<SetAcl<'a>> {
        Request::new(
            &self.scope,
            SetAcl {
                path: path.into(),
                acl: acl.into(),
                version: -1,
            },
        )
    }
}

/// The operation of [`Client::acl`].
///
/// ```
/// fn ask<'a>(client: &homing::Client, path: &'a str) -> homing::Request<homing::ops::GetAcl<'a>> {
///     client.acl(path)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct GetAcl<'a> {
    path: Path<'a>,
}

impl<'a> GetAcl<'a> {
    pub(crate) fn new(path: impl Into<Path<'a>>) -> Self {
        Self { path: path.into() }
    }
}

/// A node's access control list, and its stat.
///
/// ```
/// let acl = homing::NodeAcl::default();
/// assert!(acl.entries.is_empty() && !acl.is_redacted());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeAcl {
    /// Who may do what.
    pub entries: Vec<Acl>,
    /// What the server keeps about the node; its `aversion` is the version of the list.
    pub stat: Stat,
}

impl NodeAcl {
    /// Whether some of the hashes of digest identities are left out, since this client may not
    /// change the list: ZooKeeper then puts an `x` in their place. Set like that, the list would
    /// lock those users out.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::Acl;
    /// let list = [Acl::digest("bob", "secret"), Acl::read_only()];
    /// client.create("/a", b"").acl(&list).await?;
    /// let acl = client.acl("/a").await?;
    /// assert!(acl.is_redacted());
    /// assert_eq!(acl.entries[0].id.id, "bob:x");
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_redacted(&self) -> bool {
        let redacted = |acl: &Acl| acl.id.scheme == "digest" && acl.id.id.ends_with(":x");
        self.entries.iter().any(redacted)
    }
}

/// The operation of [`Client::set_acl`].
///
/// ```
/// fn only_first<'a>(
///     request: homing::Request<homing::ops::SetAcl<'a>>,
/// ) -> homing::Request<homing::ops::SetAcl<'a>> {
///     request.version(0)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct SetAcl<'a> {
    path: Path<'a>,
    acl: Cow<'a, [Acl]>,
    version: i32,
}

impl Request<SetAcl<'_>> {
    /// Only if the list is at this version ([`Stat::aversion`], not `version`); by default at
    /// any.
    pub fn version(mut self, aversion: i32) -> Self {
        self.op.version = aversion;
        self
    }
}

impl sealed::Sealed for GetAcl<'_> {}

impl Operation for GetAcl<'_> {
    type Output = NodeAcl;
    const NAME: &'static str = "acl";
    type Body<'b>
        = homing_protocol::GetAcl<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::GET_ACL
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::GetAcl<'b> {
        homing_protocol::GetAcl {
            path: scope.server_path(&self.path),
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<NodeAcl, DecodeError> {
        let (entries, stat) = reply::get_acl(frame)?;
        Ok(NodeAcl { entries, stat })
    }
}

impl sealed::Sealed for SetAcl<'_> {}

impl Operation for SetAcl<'_> {
    type Output = Stat;
    const NAME: &'static str = "set_acl";
    type Body<'b>
        = homing_protocol::SetAcl<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::SET_ACL
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::SetAcl<'b> {
        homing_protocol::SetAcl {
            path: scope.server_path(&self.path),
            acl: &self.acl,
            version: self.version,
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<Stat, DecodeError> {
        reply::stat(frame)
    }
}
