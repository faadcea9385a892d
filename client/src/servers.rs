//! Which servers a client is at, while it runs.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use homing_session::{ConnectString, Connection, Server, SessionEnd};
use homing_transport::{Fate, block_on};

use crate::client::{Client, Core};
use crate::error::{Error, Subject};

impl Client {
    /// The servers that the session knows, in no particular order: those of the connect string,
    /// until it is [given others](Self::set_servers) or [follows](crate::Builder::follow_reconfig)
    /// its ensemble.
    pub fn servers(&self) -> Vec<Server> {
        self.scope.core.shared.status.servers()
    }

    /// Gives the session another list of servers, `host[:port](,host[:port])*`, in place of the
    /// one that it has. The session, its watches and its ephemeral nodes live on.
    ///
    /// Whether it leaves the server that it is at is decided as other ZooKeeper clients do it, so
    /// that all clients that are given the same list end up evenly spread over it, and as few of
    /// them as possible move: none that is at a server which stays, unless the list has become
    /// longer; then some do, by chance.
    ///
    /// A move costs no request. What was sent before is answered first, for up to a third of the
    /// session time-out; what is submitted meanwhile waits for the next server. Only if the old one
    /// does not answer in that time is it left with requests on their way, which then end with
    /// [`Error::ConnectionLost`]. The session is suspended in between.
    ///
    /// This returns at once. [`state_changes`](Self::state_changes) tells of a move.
    ///
    /// # Errors
    /// [`Error::ConnectString`] if it is not a list of servers, [`Error::Misuse`] if it has a
    /// chroot, which cannot be changed; [`Error::Closed`] or [`Error::SessionEnded`] if the
    /// session is over.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let address = server.connect_string();
    /// # let client = homing::Client::connect(&address).await?;
    /// // let address = "zk4:2181,zk5:2181,zk6:2181";
    /// client.set_servers(&address)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_servers(&self, servers: &str) -> Result<(), Error> {
        let servers = parse_servers("set_servers", servers)?;
        let shared = &self.scope.core.shared;
        if let Some(end) = shared.status.end() {
            return Err(ended("set_servers", end));
        }
        shared.set_servers(servers);
        Ok(())
    }

    /// Has the session leave its server for another one, and waits until it is connected again:
    /// to a server that has come back and is idle, say, or away from one that is about to be taken
    /// down. With a single server it connects to that one anew. A session that has no connection
    /// tries all servers at once, without the pause that it may be in.
    ///
    /// It is as gentle as a move of [`set_servers`](Self::set_servers). Where no other server takes
    /// the session, it comes back to the one that it has left.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::SessionEnded`] if the session is over, or ends meanwhile.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let connection = client.reconnect().await?;
    /// println!("now at {}", connection.server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconnect(&self) -> Reconnect {
        Reconnect {
            core: Arc::clone(&self.scope.core),
        }
    }
}

/// Servers without a chroot.
pub(crate) fn parse_servers(op: &str, servers: &str) -> Result<Vec<Server>, Error> {
    let parsed: ConnectString = servers.parse().map_err(Error::ConnectString)?;
    if !parsed.chroot.is_empty() {
        let chroot = parsed.chroot;
        return Err(Error::Misuse {
            what: format!("{op}: {servers:?} has a chroot ({chroot}), and takes servers alone"),
        });
    }
    if parsed.srv.is_some() {
        return Err(Error::Misuse {
            what: format!("{op}: {servers:?} names a list in DNS, and takes servers alone"),
        });
    }
    Ok(parsed.servers)
}

fn ended(op: &'static str, end: SessionEnd) -> Error {
    let path = "/".into();
    Error::session_ended(Subject { op, path }, Fate::NotSent, end)
}

/// A move to another server that has not begun; see [`Client::reconnect`]. `.await` it, or
/// `.wait()` for it on a plain thread. Once begun it goes on when it is dropped.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// let connection = client.reconnect().wait()?;
/// # let _ = connection;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is moved until it is awaited or waited for"]
pub struct Reconnect {
    core: Arc<Core>,
}

impl Reconnect {
    /// Blocks this thread until the session is connected again.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, with the session
    /// left where it was.
    pub fn wait(self) -> Result<Connection, Error> {
        let driver = Arc::clone(&self.core.driver);
        driver.may_block().map_err(Error::must_not_block)?;
        block_on(&*driver, self.into_future()).map_err(Error::must_not_block)?
    }
}

impl IntoFuture for Reconnect {
    type Output = Result<Connection, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let moved = self.core.shared.reconnect().await;
            moved.map_err(|end| ended("reconnect", end))
        })
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect").finish_non_exhaustive()
    }
}
