//! Somebody who reads, and never sees time go backwards.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::members::Handle;
use super::read::{PoolRead, PoolRequest};
use crate::ops::{DescendantCount, Exists, Get, GetAcl, GetChildren};

/// Somebody who reads by means of a [`Pool`](super::Pool), and never sees time go backwards: no
/// answer is of an earlier time than one that it has had before.
///
/// It remembers the highest zxid that it has seen. Clones share that: a clone has seen what the
/// original has, and the other way round. Whoever has nothing to do with each other is better
/// off as another [`Pool::user`](super::Pool::user), since for a user who reads much at once,
/// answers that come out of order while others write are asked for again.
///
/// It has the reads of a [`Client`](crate::Client) that are one request about nodes, and no write:
///
/// ```compile_fail
/// # fn example(user: homing::pool::User) {
/// user.set("/config", b"v2");
/// # }
/// ```
///
/// An ensemble that was set back, to a backup for example, counts from an earlier zxid. A user
/// who has seen more than that is never answered again: take a new one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let pool = homing::Client::builder(&server.connect_string()).pool().start()?;
/// let user = pool.user();
/// let root = user.children("/").await?;
/// assert!(user.last_zxid() >= root.stat().pzxid);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct User {
    members: Handle,
    floor: Arc<Floor>,
}

impl User {
    pub(super) fn new(members: &Handle) -> Self {
        Self {
            members: members.clone(),
            floor: Arc::new(Floor(AtomicI64::new(0))),
        }
    }

    /// Reads a node's data and stat: [`Client::get`](crate::Client::get).
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read.
    pub fn get<'a>(&self, path: impl Into<Cow<'a, str>>) -> PoolRequest<Get<'a>> {
        self.read(Get::new(path))
    }

    /// A node's stat, or `None` if there is no such node:
    /// [`Client::exists`](crate::Client::exists).
    pub fn exists<'a>(&self, path: impl Into<Cow<'a, str>>) -> PoolRequest<Exists<'a>> {
        self.read(Exists::new(path))
    }

    /// The names of a node's children: [`Client::children`](crate::Client::children).
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read.
    pub fn children<'a>(&self, path: impl Into<Cow<'a, str>>) -> PoolRequest<GetChildren<'a>> {
        self.read(GetChildren::new(path))
    }

    /// Reads a node's access control list and stat: [`Client::acl`](crate::Client::acl).
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read or to administer.
    pub fn acl<'a>(&self, path: impl Into<Cow<'a, str>>) -> PoolRequest<GetAcl<'a>> {
        self.read(GetAcl::new(path))
    }

    /// How many nodes there are below a node:
    /// [`Client::descendant_count`](crate::Client::descendant_count).
    ///
    /// # Errors
    /// `NoNode` if there is none, `NoAuth` without the permission to read.
    pub fn descendant_count<'a>(
        &self,
        path: impl Into<Cow<'a, str>>,
    ) -> PoolRequest<DescendantCount<'a>> {
        self.read(DescendantCount::new(path))
    }

    /// Tells it that it has seen the time of this zxid: no later answer is of an earlier one.
    /// After a write, with [`Client::last_zxid`](crate::Client::last_zxid), it sees what it
    /// wrote. Also with the zxid in a `Stat`, or of another user.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// # let pool = homing::Client::builder(&server.connect_string()).pool().start()?;
    /// # let user = pool.user();
    /// client.create("/a", b"").await?;
    /// client.delete("/a").await?;
    /// user.seen(client.last_zxid());
    /// assert_eq!(user.exists("/a").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn seen(&self, zxid: i64) {
        self.floor.raise(zxid);
    }

    /// The highest zxid that it has seen; 0 if none.
    pub fn last_zxid(&self) -> i64 {
        self.floor.get()
    }

    fn read<O: PoolRead>(&self, op: O) -> PoolRequest<O> {
        PoolRequest::new(&self.members, &self.floor, op)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("last_zxid", &self.last_zxid())
            .finish_non_exhaustive()
    }
}

/// Below this zxid nothing is to be seen any more. It never falls.
#[derive(Debug)]
pub(super) struct Floor(AtomicI64);

impl Floor {
    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    /// Sees `zxid`, and says in the same step whether something later had been seen before: of
    /// two replies at once, the one that comes second is compared with the first.
    pub(super) fn raise(&self, zxid: i64) -> bool {
        self.0.fetch_max(zxid, Ordering::AcqRel) > zxid
    }
}
