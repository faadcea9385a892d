//! A proxy in front of a server, for faults that no real server can be asked for.

mod errand;
mod link;
mod relay;
mod seen;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::faults::{Faults, Plan, Strikes};
use crate::listening::{dialled, leads_to};
use crate::worker::{Work, Worker};
use relay::Relay;
use seen::Observer;
pub use seen::{Closer, Observed, Sight};

/// Passes connections on to a server, with [faults](crate::faults) on the way.
///
/// It has one thread, and holds little of what goes through it: a client that reads slowly is a
/// client that the server sees read slowly. A frame goes on when it is there as a whole, without
/// faults too, unless it has more than 16 MiB. What it cannot read as ZooKeeper's protocol, such as
/// TLS or a four-letter word, it passes on as it is; faults that name frames never strike there.
/// Dropping it closes its connections, frees the port, and ends the thread.
///
/// ```
/// use homing_testkit::{FakeServer, Proxy};
///
/// let server = FakeServer::start(); // Or a real one, anywhere.
/// let proxy = Proxy::start(server.addr());
/// let strikes = proxy.faults("cut on connection 1; delay 20ms to client".parse()?);
/// println!("connect to {}", proxy.connect_string());
/// // … the first connection is closed, and all answers take 20 ms longer …
/// assert_eq!(strikes.total(), 0);
/// # Ok::<(), homing_testkit::faults::FaultsError>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    worker: Worker<Relay>,
}

impl Proxy {
    /// A proxy in front of a server, on a free port of the loopback address, without faults so
    /// far. The server need not be there yet.
    ///
    /// # Panics
    /// The operating system has no port, thread or descriptor left. [`builder`](Self::builder)
    /// leads to a way that returns the error.
    #[allow(
        clippy::expect_used,
        reason = "a test that cannot start its proxy cannot go on"
    )]
    pub fn start(upstream: SocketAddr) -> Self {
        Self::builder()
            .start(upstream)
            .expect("start a proxy on the loopback address")
    }

    /// A proxy that is set up differently.
    pub fn builder() -> ProxyBuilder {
        ProxyBuilder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            faults: Faults::new(),
            observer: None,
        }
    }

    /// Where it listens, or did before it was stopped. The port stays the same.
    pub fn addr(&self) -> SocketAddr {
        self.worker.address()
    }

    /// What to give to a client: `host:port`. A proxy that listens on every address is named by the
    /// loopback address. In front of a server that speaks TLS, the client has to be told so.
    pub fn connect_string(&self) -> String {
        dialled(self.addr()).to_string()
    }

    /// Another script of faults from now on, for the connections that there are too; an empty one
    /// ends all of them. Says how often they strike.
    ///
    /// To end a session or to move it, the proxy speaks for it over a connection of its own. Where
    /// that comes to nothing, as where the server takes no more connections, it counts as no strike,
    /// and [`Sight::InVain`] says why.
    ///
    /// # Panics
    /// A script has ended in which nobody was to listen, and somebody else has taken the port.
    pub fn faults(&self, faults: Faults) -> Strikes {
        self.worker.faults(&faults)
    }

    /// How often the faults in force have struck.
    pub fn strikes(&self) -> Strikes {
        self.worker.strikes()
    }

    /// How many connections have been accepted.
    pub fn connections_accepted(&self) -> u64 {
        self.worker.accepted()
    }

    /// Closes all connections at once, both ends. What they were to be sent is lost.
    pub fn cut_connections(&self) {
        self.worker.run(Relay::cut);
    }

    /// Listens no more, and closes all connections.
    pub fn stop(&self) {
        self.worker.run(Relay::stop);
    }

    /// Starts it again, on the same port; stops it first if it runs.
    ///
    /// # Errors
    /// Somebody else has taken the port, and has not returned it within five seconds.
    pub fn restart(&self) -> io::Result<()> {
        self.worker.restart()
    }
}

/// Sets up a [`Proxy`].
///
/// ```
/// use homing_testkit::{FakeServer, Proxy, Sight};
///
/// let server = FakeServer::start();
/// let proxy = Proxy::builder()
///     .faults("seed 3; corrupt at getData with 1%".parse()?)
///     .observe(|seen| {
///         if let Sight::Frame(way, frame) = &seen.what {
///             println!("connection {}: {} bytes {way}", seen.connection, frame.len());
///         }
///     })
///     .start(server.addr())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct ProxyBuilder {
    listen: SocketAddr,
    faults: Faults,
    observer: Option<Observer>,
}

impl ProxyBuilder {
    /// Where to listen; port 0 is any free one. A free port of 127.0.0.1 by default.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// What goes wrong, from the first connection on; see [`Proxy::faults`].
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Is shown all that comes in from either side, before any fault strikes it. It is called on
    /// the proxy's thread, which does nothing else meanwhile, and must not call the proxy.
    pub fn observe(mut self, observer: impl FnMut(&Observed<'_>) + Send + 'static) -> Self {
        self.observer = Some(Observer(Box::new(observer)));
        self
    }

    /// Starts it in front of a server, which need not be there yet. Where a name has several
    /// addresses, they are tried in their order, for each connection anew.
    ///
    /// # Errors
    /// The server's name has no address; the address to listen on is taken or not this machine's,
    /// or one of the server's addresses leads there, which is
    /// [`InvalidInput`](ErrorKind::InvalidInput); or the operating system has no thread or
    /// descriptor left.
    pub fn start(self, upstream: impl ToSocketAddrs) -> io::Result<Proxy> {
        let upstream: Vec<_> = upstream.to_socket_addrs()?.collect();
        if upstream.is_empty() {
            let what = "the server's name has no address";
            return Err(io::Error::new(ErrorKind::NotFound, what));
        }
        let plan = Arc::new(Plan::new(&self.faults));
        let (mut worker, gate) = Worker::bind(self.listen, &plan)?;
        let leads_back = |address: &&SocketAddr| leads_to(**address, worker.address());
        if let Some(address) = upstream.iter().find(leads_back) {
            let what = format!("the proxy itself would be its server: it listens at {address}");
            return Err(io::Error::new(ErrorKind::InvalidInput, what));
        }
        worker.start("proxy", Relay::new(gate, upstream, plan, self.observer))?;
        Ok(Proxy { worker })
    }
}
