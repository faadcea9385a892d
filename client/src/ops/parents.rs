//! Making a node together with the parents that it lacks.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use homing_protocol::ErrorCode;
use homing_transport::block_on;

use super::create::{Create, Created};
use crate::error::Error;
use crate::request::{Operation, Request};
use crate::retry::Retry;

impl<'a> Request<Create<'a>> {
    /// Makes the parents too that are missing: persistent nodes without data, with the client's
    /// [default](crate::Builder::default_acl) access control list. The last setting: those of
    /// the node itself stand before it.
    ///
    /// This is several requests, one behind the other, and so it cannot be
    /// [submitted](Self::submit), only awaited or waited for. The node is tried first: where
    /// its parent is there, as mostly it is, one request does it. Each has the deadline that the
    /// request was given. One that fails, or a future that is dropped, leaves the parents that
    /// were made by then.
    ///
    /// A chroot is not made: the highest parent is the one right below it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/app/config/db", b"v1").parents().await?;
    /// client.create("/app/workers/w-", b"").ephemeral().sequential().parents().await?;
    /// assert_eq!(client.children("/app").await?.sorted(), ["config", "workers"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn parents(self) -> CreateWithParents<'a> {
        CreateWithParents {
            node: self,
            containers: false,
            is_protected: false,
        }
    }

    /// As [`parents`](Self::parents), with parents that go away by themselves when their last
    /// child has gone: see [`container`](Self::container). One that goes just before its child
    /// is made is made again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let queue = client.create("/locks/db/l-", b"").ephemeral().sequential();
    /// let mine = queue.container_parents().await?;
    /// assert_eq!(mine.sequence, Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn container_parents(self) -> CreateWithParents<'a> {
        CreateWithParents {
            node: self,
            containers: true,
            is_protected: false,
        }
    }
}

/// A node that is to be made together with its parents; see
/// [`parents`](Request::<Create>::parents).
///
/// # Errors
/// Those of [`Client::create`](crate::Client::create), for the node or for one of its parents,
/// whose path is then in the error. `NoNode` if the chroot does not exist, or if parents are
/// removed as quickly as they are made.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// let made = client.create("/a/b/c", b"").parents().wait()?;
/// assert_eq!(made.path, "/a/b/c");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is made until it is awaited or waited for"]
pub struct CreateWithParents<'a> {
    node: Request<Create<'a>>,
    containers: bool,
    is_protected: bool,
}

impl<'a> CreateWithParents<'a> {
    /// A lost answer is not the end of it, neither for the node, which is
    /// [protected](Request::<Create>::protected), nor for its parents: a parent whose making was
    /// lost is made again, and it is as well if it is there by then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let lock = client.create("/locks/db/lock-", b"").ephemeral().sequential();
    /// let mine = lock.container_parents().protected().await?;
    /// assert_eq!(mine.sequence, Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn protected(mut self) -> Self {
        self.is_protected = true;
        self
    }

    /// Blocks this thread until the node is made.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<Created, Error> {
        let core = Arc::clone(&self.node.scope.core);
        block_on(&*core.driver, self.run()).map_err(Error::must_not_block)?
    }

    async fn run(self) -> Result<Created, Error> {
        // Parents that were found missing, the highest last.
        let mut missing: Vec<&str> = Vec::new();
        // Whether what is made next has a parent, as of a moment ago.
        let mut has_parent = false;
        let mut vanished = 0;
        loop {
            let (path, error) = match missing.last() {
                Some(parent) => match self.make_parent(parent).await {
                    Err(error) if error.code() == Some(ErrorCode::NoNode) => (*parent, error),
                    Err(error) if error.code() != Some(ErrorCode::NodeExists) => return Err(error),
                    // It is there, whoever made it.
                    _ => {
                        missing.pop();
                        has_parent = true;
                        continue;
                    }
                },
                None => match self.make_node().await {
                    Err(error) if error.code() == Some(ErrorCode::NoNode) => {
                        (self.node.op.path(), error)
                    }
                    done => return done,
                },
            };
            vanished += u32::from(has_parent);
            match parent_of(path) {
                Some(parent) if vanished <= VANISHED_MAX => missing.push(parent),
                _ => return Err(error),
            }
            has_parent = false;
        }
    }

    async fn make_node(&self) -> Result<Created, Error> {
        match self.is_protected {
            true => self.node.clone().protected().run().await,
            false => self.node.clone().await,
        }
    }

    async fn make_parent(&self, path: &str) -> Result<Created, Error> {
        let request = self.node.alike(Create::new(path.into(), b""));
        let request = match self.containers {
            true => request.container(),
            false => request,
        };
        match self.is_protected {
            // Whoever has made it: the second time it is there.
            true => request.retry(Retry::new().idempotent()).await,
            false => request.await,
        }
    }
}

/// How often a parent may vanish before its child is made.
const VANISHED_MAX: u32 = 16;

/// `None` where only the root is left, which is always there unless it is a chroot.
fn parent_of(path: &str) -> Option<&str> {
    let (parent, _) = path.rsplit_once('/')?;
    (!parent.is_empty()).then_some(parent)
}

impl<'a> IntoFuture for CreateWithParents<'a> {
    type Output = Result<Created, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for CreateWithParents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateWithParents")
            .field("node", &self.node)
            .field("containers", &self.containers)
            .field("is_protected", &self.is_protected)
            .finish()
    }
}
