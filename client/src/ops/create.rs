//! Making a node.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{
    Acl, CreateMode, DecodeError, ErrorCode, PathError, PathRef, Stat, Ttl, op, reply,
    validate_path,
};
use homing_session::{Note, Pledge, Reply};

use super::Path;
use crate::client::{Client, Scope};
use crate::error::Error;
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Makes a node. It is persistent and has the client's
    /// [default](crate::Builder::default_acl) access control list, unless told otherwise.
    ///
    /// | settings | the node goes away |
    /// | --- | --- |
    /// | none | when it is deleted |
    /// | [`ephemeral`](Request::ephemeral) | with the session |
    /// | [`container`](Request::container) | after its last child |
    /// | [`ttl`](Request::ttl) | when it was not set for so long |
    ///
    /// All but containers can be [`sequential`](Request::sequential) too. Other combinations are
    /// an [`Error::Misuse`](crate::Error) when the request is made, before anything is sent.
    ///
    /// A server before 3.5 does not know the operation that tells the stat. It is found out the
    /// first time that a node is made: the server refuses, and closes the connection, so that
    /// requests behind it may end as [lost](crate::Error::ConnectionLost). This one, which has not
    /// been applied, then goes to the end of the line once more, with its deadline anew, as the
    /// older operation; one that was [submitted](Request::submit) does when its answer is
    /// pulled. From then on that server is asked for no stat; see [`supports`](Client::supports).
    ///
    /// # Errors
    /// `NodeExists` if there is one, `NoNode` if its parent does not exist (see
    /// [`parents`](Request::parents)), `NoChildrenForEphemerals` if its parent is ephemeral,
    /// `NoAuth` without the permission to create (it is checked on the parent), `InvalidAcl` if
    /// the server does not accept the access control list, `QuotaExceeded`.
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
        Request::new(&self.scope, Create::new(path.into(), data.as_ref()))
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
    /// `None` for the client's default.
    pub(super) acl: Option<Cow<'a, [Acl]>>,
    pub(super) is_ephemeral: bool,
    pub(super) is_container: bool,
    pub(super) ttl: Option<Duration>,
    pub(super) is_sequential: bool,
    /// The server does not know create2, so it is asked for less.
    pub(super) is_old: bool,
    /// What is to be undone if nobody learns the name of the node.
    pub(super) pledge: Option<Arc<Pledge>>,
}

impl<'a> Request<Create<'a>> {
    /// The node goes away with the session. It cannot have children.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let made = client.create("/here", b"").ephemeral().await?;
    /// assert!(made.stat.is_some_and(|stat| stat.is_ephemeral()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ephemeral(mut self) -> Self {
        self.op.is_ephemeral = true;
        self
    }

    /// The server appends a number to the name, which grows with every node that is made below
    /// the same parent: at least ten digits, with leading zeros. The path may end with a slash,
    /// and then the name is the number.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/queue", b"").await?;
    /// assert_eq!(client.create("/queue/job-", b"").sequential().await?.path, "/queue/job-0000000000");
    /// assert_eq!(client.create("/queue/", b"").sequential().await?.path, "/queue/0000000001");
    /// # Ok(())
    /// # }
    /// ```
    pub fn sequential(mut self) -> Self {
        self.op.is_sequential = true;
        self
    }

    /// The server removes the node some time after its last child has gone; by default it looks
    /// once a minute. One that never had a child stays (before 3.10). Made for parents of nodes
    /// that come and go: whoever makes a child must be ready to find the container gone, which
    /// [`container_parents`](Self::container_parents) is.
    ///
    /// It takes servers since 3.5.1.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/locks", b"").container().await?;
    /// client.create("/locks/l-", b"").ephemeral().sequential().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn container(mut self) -> Self {
        self.op.is_container = true;
        self
    }

    /// The server removes the node when it has no children and was not
    /// [set](Client::set) for so long, which counts whole milliseconds, from one to 2^40 − 1 (34
    /// years); by default it looks once a minute. Coming and going children do not prolong it.
    ///
    /// It takes servers since 3.5.3 that run with `zookeeper.extendedTypesEnabled=true`; others
    /// answer `Unimplemented`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let server = homing_testkit::FakeServer::builder()
    ///     .config(|config| config.extended_types_enabled = true)
    ///     .start()?;
    /// let client = homing::Client::connect(&server.connect_string()).await?;
    /// let hour = Duration::from_secs(3600);
    /// client.create("/token", b"secret").ttl(hour).await?;
    ///
    /// let error = client.create("/other", b"").ttl(hour).ephemeral().await.unwrap_err();
    /// assert!(error.to_string().contains("`ephemeral` and `ttl` exclude each other"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.op.ttl = Some(ttl);
        self
    }

    /// The node's access control list, in place of the client's
    /// [default](crate::Builder::default_acl): one [`Acl`], or a slice or vector of them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::Acl;
    /// client.add_auth("digest", b"bob:secret").await?;
    /// client.create("/mine", b"").acl(Acl::creator_all()).await?;
    /// client.create("/shared", b"").acl(&[Acl::creator_all(), Acl::read_only()]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn acl(mut self, acl: impl Into<Cow<'a, [Acl]>>) -> Self {
        self.op.acl = Some(acl.into());
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
        match self.mode_or_default().op() {
            op::CREATE2 if self.is_old => op::CREATE,
            op => op,
        }
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn check_path(&self) -> Result<(), Error> {
        let checked = match self.path.strip_suffix('/') {
            // The number will be the name.
            Some(parent) if self.is_sequential => match parent {
                "" => Ok(()),
                "/" => Err(PathError::EmptyComponent { at: 1 }),
                _ => validate_path(parent),
            },
            _ => validate_path(&self.path),
        };
        checked.map_err(|why| Error::bad_path(self.subject(), why))
    }

    fn check_settings(&self) -> Result<(), String> {
        self.mode().map(|_| ())
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::Create<'b> {
        let path = match self.is_sequential {
            true => PathRef::sequential(&scope.chroot, &self.path),
            false => scope.server_path(&self.path),
        };
        homing_protocol::Create {
            path,
            data: self.data,
            acl: self.acl.as_deref().unwrap_or(&scope.core.settings.acl),
            mode: self.mode_or_default(),
        }
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Created, DecodeError> {
        if self.code() == op::CREATE {
            return Ok(self.created(scope, &reply::create(frame)?, None));
        }
        let (path, stat) = reply::create2(frame)?;
        Ok(self.created(scope, &path, Some(stat)))
    }

    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        self.suit(scope);
        let op = self.code();
        match &self.pledge {
            Some(pledge) => pledge.note(op, self.is_ephemeral),
            None if self.is_ephemeral => Note::Ephemeral { op },
            None => Note::Plain { op },
        }
    }

    fn fall_back(&mut self, refusal: &Reply) -> bool {
        let falls = refusal.is_unknown_operation() && self.code() == op::CREATE2;
        self.is_old |= falls;
        falls
    }

    fn hint(&self, code: ErrorCode) -> Option<&'static str> {
        match code {
            ErrorCode::NodeExists if self.is_ephemeral => Some(
                "if it is of a former session, it goes away when that expires: see its `ephemeral_owner`",
            ),
            ErrorCode::Unimplemented if self.ttl.is_some() => Some(
                "a time to live takes servers since 3.5.3 with `zookeeper.extendedTypesEnabled=true`",
            ),
            ErrorCode::Unimplemented if self.is_container => {
                Some("containers take servers since 3.5.1")
            }
            _ => None,
        }
    }
}

impl<'a> Create<'a> {
    pub(super) fn new(path: Path<'a>, data: &'a [u8]) -> Self {
        Self {
            path,
            data,
            acl: None,
            is_ephemeral: false,
            is_container: false,
            ttl: None,
            is_sequential: false,
            is_old: false,
            pledge: None,
        }
    }

    /// Asks for no more than this session's server is known to know.
    pub(super) fn suit(&mut self, scope: &Scope) {
        self.is_old |= scope.core.shared.knowledge.of(op::CREATE2) == Some(false);
    }

    /// The same node under another name.
    pub(super) fn named(&self, path: String, pledge: &Arc<Pledge>) -> Self {
        let mut named = self.clone();
        named.path = path.into();
        named.pledge = Some(Arc::clone(pledge));
        named
    }

    /// What a server says was made, in the terms of the handle.
    pub(super) fn created(&self, scope: &Scope, path: &str, stat: Option<Stat>) -> Created {
        self.created_as(scope.client_path(path), stat)
    }

    /// As [`created`](Self::created), with the path as the handle knows it.
    pub(super) fn created_as(&self, path: String, stat: Option<Stat>) -> Created {
        let sequence = match self.is_sequential {
            true => path
                .strip_prefix(&*self.path)
                .and_then(|number| number.parse().ok()),
            false => None,
        };
        Created {
            path,
            sequence,
            stat,
        }
    }

    /// What all the settings come to, or why they cannot be had together.
    fn mode(&self) -> Result<CreateMode, String> {
        let given = [
            (self.is_ephemeral, "ephemeral"),
            (self.is_container, "container"),
            (self.ttl.is_some(), "ttl"),
            // A container has no number: servers have no such mode.
            (self.is_sequential && self.is_container, "sequential"),
        ];
        let mut given = given.iter().filter(|(is_set, _)| *is_set);
        if let (Some((_, one)), Some((_, other))) = (given.next(), given.next()) {
            return Err(format!("`{one}` and `{other}` exclude each other"));
        }
        let checked = |ttl| {
            Ttl::new(ttl).ok_or_else(|| {
                let max = Ttl::MAX_MS;
                format!("a time to live of {ttl:?} is not within 1 to {max} milliseconds")
            })
        };
        let ttl = self.ttl.map(checked).transpose()?;
        Ok(match (ttl, self.is_sequential) {
            (Some(ttl), false) => CreateMode::PersistentWithTtl(ttl),
            (Some(ttl), true) => CreateMode::PersistentSequentialWithTtl(ttl),
            (None, _) if self.is_container => CreateMode::Container,
            (None, false) if self.is_ephemeral => CreateMode::Ephemeral,
            (None, true) if self.is_ephemeral => CreateMode::EphemeralSequential,
            (None, false) => CreateMode::Persistent,
            (None, true) => CreateMode::PersistentSequential,
        })
    }

    /// The mode of a request whose settings were checked, which comes before all else.
    fn mode_or_default(&self) -> CreateMode {
        self.mode().unwrap_or_default()
    }
}
