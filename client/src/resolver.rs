//! Names, and lists of servers, from somewhere else than the system and the connect string.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use homing_session::{Host, Server};

use crate::builder::Builder;
use crate::helper::{self, BoxError};

/// Knows where servers are: in place of the system's names, and of the list in the connect
/// string.
///
/// Each method may leave its question alone, with `None`. Futures are polled as those of a
/// [`LoginProvider`](crate::LoginProvider) are: on a thread of their own, with a time-out. What
/// fails is a failure of that server alone, or of the list, in the
/// [failures](crate::Client::failures).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let addr = server.addr();
/// use std::net::SocketAddr;
/// use homing::{BoxError, Client, Resolver, async_trait};
///
/// /// Everything is behind one tunnel.
/// struct Tunnel(SocketAddr);
///
/// #[async_trait]
/// impl Resolver for Tunnel {
///     async fn addresses(&self, _: &str, _: u16) -> Result<Option<Vec<SocketAddr>>, BoxError> {
///         Ok(Some(vec![self.0]))
///     }
/// }
///
/// let client = Client::builder("zk1,zk2").resolver(Tunnel(addr)).connect().await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a server that is a name; asked anew for every attempt to connect. `None`,
    /// the default, leaves it to the system.
    ///
    /// # Errors
    /// They are not known now.
    async fn addresses(&self, host: &str, port: u16) -> Result<Option<Vec<SocketAddr>>, BoxError> {
        let _ = (host, port);
        Ok(None)
    }

    /// The servers, in place of those that were known. Asked at the beginning, whenever a
    /// connection is lost, and after each fruitless pass over the servers; nothing waits for the
    /// answer as long as some are known. A list that differs is taken as by
    /// [`Client::set_servers`](crate::Client::set_servers). `None`, the default, leaves it at
    /// those that are known.
    ///
    /// # Errors
    /// They are not known now.
    async fn servers(&self) -> Result<Option<Vec<Server>>, BoxError> {
        Ok(None)
    }
}

impl Builder {
    /// Asks this resolver for servers and their addresses. By default the connect string has the
    /// servers, and the system knows their addresses.
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.set_resolver(Arc::new(resolver));
        self
    }

    pub(crate) fn set_resolver(&mut self, resolver: Arc<dyn Resolver>) {
        let names = helper::ask(
            Arc::clone(&resolver),
            |resolver, server: Server| async move {
                match server.host {
                    Host::Name(name) => resolver.addresses(&name, server.port).await,
                    Host::Ip(_) => Ok(None),
                }
            },
        );
        self.config_mut().names = Some(names);
        let list = helper::ask(
            resolver,
            |resolver, ()| async move { resolver.servers().await },
        );
        self.set_server_list(list);
    }
}
