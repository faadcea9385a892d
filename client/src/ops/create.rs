//! Making a node.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{
    CreateMode, DecodeError, PathError, PathRef, Stat, op, reply, validate_path,
};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Makes a node. It is persistent unless told otherwise, and open to everybody.
    ///
    /// # Errors
    /// `NodeExists` if there is one, `NoNode` if its parent does not exist,
    /// `NoChildrenForEphemerals` if its parent is ephemeral, `NoAuth` without the permission to
    /// create (it is checked on the parent).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/workers", b"").await?;
    /// let me = client.create("/workers/w-", b"host:port").ephemeral().sequential().await?;
    /// assert_eq!((me.path.as_str(), me.sequence), ("/workers/w-0000000000", Some(0)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn create<'a, D>(&self, path: impl Into<Cow<'a, str>>, data: &'a D) -> Request<Create<'a>>
    where
        D: AsRef<[u8]> + ?Sized,
    {
        let mode = CreateMode::Persistent;
        Request::new(
            &self.scope,
            Create {
                path: path.into(),
                data: data.as_ref(),
                mode,
            },
        )
    }
}

/// The operation of [`Client::create`].
///
/// ```
/// use homing::{Request, ops::Create};
/// fn lock_node<'a>(request: Request<Create<'a>>) -> Request<Create<'a>> {
///     request.ephemeral().sequential()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Create<'a> {
    path: Path<'a>,
    data: &'a [u8],
    mode: CreateMode,
}

impl Request<Create<'_>> {
    /// The node goes away with the session. It cannot have children.
    pub fn ephemeral(mut self) -> Self {
        self.op.mode = match self.op.mode {
            CreateMode::PersistentSequential | CreateMode::EphemeralSequential => {
                CreateMode::EphemeralSequential
            }
            _ => CreateMode::Ephemeral,
        };
        self
    }

    /// The server appends a number to the name, which grows with every node that is made below
    /// the same parent: at least ten digits, with leading zeros. The path may end with a slash,
    /// and then the name is the number.
    pub fn sequential(mut self) -> Self {
        self.op.mode = match self.op.mode {
            CreateMode::Ephemeral | CreateMode::EphemeralSequential => {
                CreateMode::EphemeralSequential
            }
            _ => CreateMode::PersistentSequential,
        };
        self
    }
}

/// A node that was made.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let made = client.create("/a", b"hi").await?;
/// assert_eq!((made.path.as_str(), made.sequence), ("/a", None));
/// assert_eq!(made.stat.map(|stat| stat.data_length), Some(2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// Its path, with the number that the server appended.
    pub path: String,
    /// That number, for a sequential node. After 2,147,483,647 it turns negative and is of no
    /// more use: no parent survives that many children.
    pub sequence: Option<i32>,
    /// Its stat; `None` from a server that does not tell (before 3.5).
    pub stat: Option<Stat>,
}

impl sealed::Sealed for Create<'_> {}

impl Operation for Create<'_> {
    type Output = Created;
    const NAME: &'static str = "create";
    type Body<'b>
        = homing_protocol::Create<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::CREATE2
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn check_path(&self) -> Result<(), PathError> {
        match self.path.strip_suffix('/') {
            // The number will be the name.
            Some(parent) if self.mode.is_sequential() => match parent {
                "" => Ok(()),
                "/" => Err(PathError::EmptyComponent { at: 1 }),
                _ => validate_path(parent),
            },
            _ => validate_path(&self.path),
        }
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::Create<'b> {
        let path = match self.mode.is_sequential() {
            true => PathRef::sequential(&scope.chroot, &self.path),
            false => scope.server_path(&self.path),
        };
        homing_protocol::Create {
            path,
            data: self.data,
            acl: &scope.core.settings.acl,
            mode: self.mode,
        }
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Created, DecodeError> {
        let (path, stat) = reply::create2(frame)?;
        let path = scope.client_path(&path);
        let sequence = match self.mode.is_sequential() {
            true => path
                .strip_prefix(&*self.path)
                .and_then(|number| number.parse().ok()),
            false => None,
        };
        Ok(Created {
            path,
            sequence,
            stat: Some(stat),
        })
    }
}
