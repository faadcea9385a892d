//! Several sessions for reading, beyond what one that keeps everything in order can give.

mod close;
mod members;
mod read;
mod user;

use std::fmt;
use std::sync::Arc;

pub use close::{PendingPoolClose, PoolClose};
pub use read::{PoolRead, PoolRequest, Reading};
pub use user::User;

use self::members::{Handle, Members};
use crate::builder::Builder;
use crate::error::Error;

/// Several sessions to read with.
///
/// What it does **not** promise: that a read sees the newest write of others (nor does a single
/// session; ask for [`synced`](PoolRequest::synced)), that reads are answered or even asked in
/// the order in which they were made, that two reads go to the same server, or that a read
/// happens once. It has no writes, no watches and no ephemeral nodes: those belong to a session,
/// and take a [`Client`](crate::Client) of their own. What it does promise is that none of its
/// [users](User) sees time go backwards.
///
/// A session is answered strictly in order, by one server: a read behind a slow one waits. A
/// pool spreads reads over several sessions, perhaps at different servers, of which one may know
/// less than another. So each [`User`] remembers the highest zxid that it has seen. A reply of
/// an earlier time than that is thrown away, and the node is read again: on another session that
/// is known to be up to date, or else on the same one, behind a sync.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// use homing::Client;
///
/// let pool = Client::builder(&servers).pool().capacity(3).start()?;
/// let client = Client::connect(&servers).await?; // for writes
///
/// let user = pool.user();
/// client.create("/config", b"v1").await?;
/// user.seen(client.last_zxid()); // from now on it sees its own write
/// let node = user.get("/config").await?;
/// assert_eq!(node.data, "v1");
/// pool.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Which session
/// The one with the fewest requests on their way, of those that are connected; where that leaves
/// a choice, one that is up to date for this user; and where that does, each in its turn. A
/// server that is slow or stuck is asked less for that alone.
///
/// The first session is started by the first read. Another one is started, while there is room,
/// when each of those that are connected has [so many](PoolBuilder::grow_at) requests on their way
/// and none is being connected. Nobody waits for it: reads go to the others until it is there. On
/// the nio transport each session is a thread.
///
/// # When sessions fail
/// A session looks for another server by itself. Meanwhile the others are asked, and what was
/// lost with its connection is asked again: reads change nothing at the servers, so they are
/// repeated by themselves, unlike anything that a client is asked. While no session is connected
/// reads wait, each until its deadline, unless [nobody is to](Builder::fail_fast_after).
///
/// A session that has ended is replaced by the next read that could use it. If sessions end soon
/// after they began, or cannot be started at all, there are pauses in between that grow from
/// 100 ms to 5 s. During such a pause, if no other session is left, reads fail at once with the
/// reason why the last one ended.
///
/// # The end
/// A pool is cheap to clone. [`close`](Self::close) closes its sessions; dropping the last
/// handle, users included, does the same in the background.
#[derive(Clone)]
pub struct Pool {
    members: Handle,
}

impl Builder {
    /// Settings of a [`Pool`], whose sessions all have the settings made so far.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// let builder = homing::Client::builder(&servers).own_thread();
    /// let user = builder.pool().start()?.user();
    /// assert!(user.exists("/").wait()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn pool(self) -> PoolBuilder {
        PoolBuilder {
            sessions: self,
            capacity: 4,
            grow_at: 32,
        }
    }
}

/// Settings of a [`Pool`], each with its default.
///
/// | setting | default |
/// | --- | --- |
/// | [`capacity`](Self::capacity) | 4 |
/// | [`grow_at`](Self::grow_at) | 32 |
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// let builder = homing::Client::builder("zk1,zk2,zk3").own_thread();
/// let pool = builder.pool().capacity(8).grow_at(100).start()?;
/// assert_eq!(pool.stats().started, 0); // nobody has asked anything yet
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `start`"]
pub struct PoolBuilder {
    sessions: Builder,
    capacity: usize,
    grow_at: usize,
}

impl PoolBuilder {
    /// How many sessions there are at most; 4 by default.
    pub fn capacity(mut self, sessions: usize) -> Self {
        self.capacity = sessions;
        self
    }

    /// How many requests each session must have on their way before another session is started;
    /// 32 by default. With 0 each read starts one, until there are as many as there may be.
    pub fn grow_at(mut self, requests: usize) -> Self {
        self.grow_at = requests;
        self
    }

    /// Makes the pool and returns at once. It connects to nothing until something is read.
    ///
    /// Its sessions run where this is called, on a transport to which that matters: with tokio,
    /// in this runtime, whichever thread reads.
    ///
    /// # Errors
    /// A malformed connect string, a setting that makes no sense, or a transport that cannot
    /// run here.
    pub fn start(self) -> Result<Pool, Error> {
        let misuse = |what: &str| Err(Error::Misuse { what: what.into() });
        if self.capacity == 0 {
            return misuse("the capacity of a pool is zero");
        }
        if self.sessions.resumes() {
            return misuse("a pool begins sessions of its own: it cannot resume another's");
        }
        self.sessions.validate()?;
        let sessions = self.sessions.bind_here()?;
        let members = Members::new(sessions, self.capacity, self.grow_at);
        Ok(Pool {
            members: Handle::new(Arc::new(members)),
        })
    }
}

impl Pool {
    /// Somebody who reads: it has seen nothing yet, so that the first answer may be of any time.
    /// See [`User`].
    pub fn user(&self) -> User {
        User::new(&self.members)
    }

    /// What is going on, in figures: a cheap snapshot.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// let pool = homing::Client::builder(&servers).pool().start()?;
    /// pool.user().get("/").await?;
    /// let stats = pool.stats();
    /// assert_eq!((stats.connected, stats.started, stats.discarded), (1, 1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> PoolStats {
        self.members.stats()
    }

    /// Closes all sessions. Reads that were made before are answered first, where they are in
    /// line; those that wait for a session, and later ones, fail with [`Error::Closed`]. Closing
    /// twice is no error.
    pub fn close(&self) -> PoolClose {
        PoolClose::new(Arc::clone(&self.members))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.members.fmt(f)
    }
}

/// What is going on in a pool; see [`Pool::stats`]. Counts are since it began.
///
/// ```
/// fn servers_lag(stats: &homing::pool::PoolStats) -> bool {
///     stats.discarded > 0
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// How many sessions there may be.
    pub capacity: usize,
    /// Sessions that are connected.
    pub connected: usize,
    /// Sessions that have not been connected yet, or seek another session in place of one that
    /// has [expired](Builder::on_expiry).
    pub connecting: usize,
    /// Sessions that were closed because they were [idle](Builder::close_idle_after), and will be
    /// opened anew when they are needed.
    pub dormant: usize,
    /// Sessions that have lost their connection and look for another server.
    pub suspended: usize,
    /// Requests that were submitted to a session and not answered.
    pub in_flight: usize,
    /// Sessions that were started.
    pub started: u64,
    /// Sessions that have ended and were, or will be, replaced; and attempts to start one that
    /// failed.
    pub failed: u64,
    /// Replies that were thrown away, because their user had seen a later time.
    pub discarded: u64,
    /// Syncs that went before a read because of that. (Those that were asked for do not count.)
    pub syncs: u64,
    /// Reads that were asked again, because they were lost with a connection or a session.
    pub repeated: u64,
}
