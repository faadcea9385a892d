//! Replacing a node's data, or making the node with it.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{Acl, ErrorCode, Stat};
use homing_transport::block_on;

use super::create::Create;
use super::set::Set;
use crate::client::Client;
use crate::error::Error;
use crate::request::Request;

impl Client {
    /// Replaces a node's data at any version, or makes a persistent node with it if there is
    /// none. Its parent must be there.
    ///
    /// This is one request where the node is there, as it mostly is, and two where it is not.
    /// (And a few more if others make and delete it at the same time.) So it cannot be submitted,
    /// only awaited or waited for. Each request has the deadline.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// assert!(client.set_or_create("/status", b"starting").await?.created);
    /// assert!(!client.set_or_create("/status", b"running").await?.created);
    /// assert_eq!(client.get("/status").await?.data, "running");
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_or_create<'a, D>(
        &self,
        path: impl Into<Cow<'a, str>>,
        data: &'a D,
    ) -> SetOrCreate<'a>
    where
        D: AsRef<[u8]> + ?Sized,
    {
        let (path, data) = (path.into(), data.as_ref());
        SetOrCreate {
            create: Create::new(path.clone(), data),
            set: Request::new(&self.scope, Set::new(path, data)),
        }
    }
}

/// Data that is to be written, whether the node is there or not; see [`Client::set_or_create`].
///
/// # Errors
/// Those of [`Client::set`] and [`Client::create`], with the name of the one that failed.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// use homing::Acl;
/// let written = client.set_or_create("/a", b"v1").acl(Acl::open()).wait()?;
/// assert_eq!(written.stat.map(|stat| stat.version), Some(0));
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is written until it is awaited or waited for"]
pub struct SetOrCreate<'a> {
    set: Request<Set<'a>>,
    create: Create<'a>,
}

impl<'a> SetOrCreate<'a> {
    /// The access control list of the node if it is made, in place of the client's
    /// [default](crate::Builder::default_acl). One that is there keeps its own.
    pub fn acl(mut self, acl: impl Into<Cow<'a, [Acl]>>) -> Self {
        self.create.acl = Some(acl.into());
        self
    }

    /// How long an answer is waited for, to each of the requests; see [`Request::deadline`].
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.set = self.set.deadline(deadline);
        self
    }

    /// Blocks this thread until it is written.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<Written, Error> {
        let core = Arc::clone(&self.set.scope.core);
        block_on(&*core.driver, self.run()).map_err(Error::must_not_block)?
    }

    async fn run(self) -> Result<Written, Error> {
        let mut rounds = 0;
        loop {
            match self.set.clone().await {
                Err(error) if error.code() == Some(ErrorCode::NoNode) => {}
                done => {
                    return done.map(|stat| Written {
                        created: false,
                        stat: Some(stat),
                    });
                }
            }
            rounds += 1;
            match self.set.alike(self.create.clone()).await {
                // Somebody else was faster.
                Err(error)
                    if error.code() == Some(ErrorCode::NodeExists) && rounds < ROUNDS_MAX => {}
                done => {
                    return done.map(|node| Written {
                        created: true,
                        stat: node.stat,
                    });
                }
            }
        }
    }
}

/// How often a node may be gone when it is set and there when it is made.
const ROUNDS_MAX: u32 = 16;

/// Data that was written.
///
/// ```
/// fn version(written: &homing::Written) -> Option<i32> {
///     written.stat.map(|stat| stat.version)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Whether the node was made for it.
    pub created: bool,
    /// The node's stat; `None` where the server does not tell it of a node that is made (before
    /// 3.5).
    pub stat: Option<Stat>,
}

impl<'a> IntoFuture for SetOrCreate<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for SetOrCreate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetOrCreate")
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}
