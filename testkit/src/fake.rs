//! A fake server on a loopback port, to be started, stopped and maltreated from a test.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use homing_transport::SecureAccept;
use mio::Waker;

use crate::config::ServerConfig;
use crate::dialect::Dialect;
use crate::faults::{Faults, Plan, Strikes};
use crate::initial::InitialTree;
use crate::journal::{CloseReason, Observer};
use crate::listening::dialled;
use crate::served::{Served, now};
use crate::server::Server;
use crate::tcp::Front;
use crate::worker::{Work, Worker};

/// A ZooKeeper server in this process, on a TCP port.
///
/// Each has a thread of its own, which sleeps while there is nothing to do: hundreds of servers
/// are cheap. What it answers is the work of [`Server`]; this type adds the socket, the clock,
/// and faults that need them. Dropping it closes its sockets, frees the port, and ends the
/// thread.
///
/// Every method takes effect before it returns. Do not call one from inside
/// [`with_server`](Self::with_server): it would wait for itself.
///
/// ```
/// use std::io::{Read, Write};
/// use homing_testkit::FakeServer;
///
/// let server = FakeServer::start();
/// let mut socket = std::net::TcpStream::connect(server.addr())?;
/// socket.write_all(b"srvr")?;
/// let mut answer = String::new();
/// socket.read_to_string(&mut answer)?;
/// assert!(answer.contains("Mode: standalone"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FakeServer {
    is_secure: bool,
    served: Served,
    worker: Worker<Front>,
}

impl FakeServer {
    /// A server with the defaults on a free port of the loopback address.
    ///
    /// # Panics
    /// The operating system has no port, thread or descriptor left. [`builder`](Self::builder)
    /// leads to a way that returns the error.
    #[allow(
        clippy::expect_used,
        reason = "a test that cannot start its server cannot go on"
    )]
    pub fn start() -> Self {
        Self::builder()
            .start()
            .expect("start a fake server on the loopback address")
    }

    /// A server that is set up differently.
    pub fn builder() -> FakeServerBuilder {
        FakeServerBuilder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            config: ServerConfig::default(),
            secure: None,
            faults: Faults::new(),
            observer: None,
            tree: InitialTree::new(),
            latency: Duration::ZERO,
            read_only: false,
        }
    }

    /// Where it listens, or did before it was stopped. The port stays the same.
    pub fn addr(&self) -> SocketAddr {
        self.worker.address()
    }

    /// What to give to a client: `host:port`, with `tls://` in front if the server speaks TLS,
    /// as Homing has it. A server that listens on every address is named by the loopback
    /// address.
    pub fn connect_string(&self) -> String {
        let address = dialled(self.addr());
        let scheme = if self.is_secure { "tls://" } else { "" };
        format!("{scheme}{address}")
    }

    /// Looks at the server, or arranges one of its faults. It stands still meanwhile.
    ///
    /// ```
    /// let server = homing_testkit::FakeServer::start();
    /// assert!(server.with_server(|server| server.node_exists("/zookeeper")));
    /// server.with_server(|server| server.set_last_zxid(7));
    /// ```
    pub fn with_server<T>(&self, look: impl FnOnce(&mut Server) -> T) -> T {
        let mut server = self.served.access();
        let result = look(&mut server);
        server.settle(now());
        drop(server);
        // There may be something to send now.
        self.worker.wake();
        result
    }

    /// How many connections have been accepted, those included that were closed at once.
    pub fn connections_accepted(&self) -> u64 {
        self.worker.accepted()
    }

    /// How many requests have been received, pings and refused ones included, handshakes not.
    pub fn requests_received(&self) -> u64 {
        self.served.access().requests_received()
    }

    /// Stops it as if its process were killed: nobody listens any more, and all connections are
    /// gone. What it has stored stays, and its sessions do not age.
    pub fn stop(&self) {
        self.worker.run(Front::stop);
    }

    /// Starts it again, on the same port and with what it had stored; stops it first if it runs.
    /// Every session has a whole time-out before it, as with a real server: that of its first
    /// handshake, until somebody speaks for it again. A [`pause`](Self::pause) is over.
    ///
    /// # Errors
    /// Somebody else has taken the port, and has not returned it within five seconds.
    pub fn restart(&self) -> io::Result<()> {
        self.worker.restart()
    }

    /// Closes all connections at once. What they were to be sent is lost; sessions stay.
    pub fn cut_connections(&self) {
        self.worker.run(|front| front.cut(CloseReason::Fault));
    }

    /// Stalls it: connections stay open, and nothing is accepted, read, answered or expired until
    /// [`resume`](Self::resume).
    pub fn pause(&self) {
        self.worker.run(|front| front.paused = true);
    }

    /// Ends a [`pause`](Self::pause). Sessions whose time ran out meanwhile expire first, then
    /// everything that has arrived is handled.
    pub fn resume(&self) {
        self.worker.run(|front| front.paused = false);
    }

    /// Delays everything that is sent from now on by so much, a day at most, each connection's
    /// frames in their order. Requests take effect at once. What is held back already waits no longer than that:
    /// zero lets it go, and ends it.
    pub fn latency(&self, latency: Duration) {
        self.worker.run(move |front| front.set_latency(latency));
    }

    /// Closes connections as soon as they are made, until told otherwise. Those that are there
    /// stay.
    pub fn refuse_connections(&self, refuse: bool) {
        self.worker.run(move |front| front.refusing = refuse);
    }

    /// Another script of faults from now on, for the connections that there are too; an empty one
    /// ends all of them. Says how often they strike.
    ///
    /// ```
    /// use homing_testkit::FakeServer;
    /// use homing_testkit::faults::Faults;
    ///
    /// let server = FakeServer::start();
    /// let strikes = server.faults("cut to client at create 1".parse()?);
    /// // … the client creates a node: it is there, and the client is not told …
    /// assert_eq!(strikes.of(1), 0);
    /// server.faults(Faults::new());
    /// # Ok::<(), homing_testkit::faults::FaultsError>(())
    /// ```
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

    /// Lets it lose its quorum, or find it again; see [`Server::set_read_only`].
    ///
    /// ```
    /// let server = homing_testkit::FakeServer::start();
    /// server.set_read_only(true);
    /// assert!(server.with_server(|server| server.is_read_only()));
    /// ```
    pub fn set_read_only(&self, read_only: bool) {
        self.worker.run(move |front| front.set_read_only(read_only));
    }

    /// Ends a session as if its time were over; see [`Server::expire_session`]. Says whether
    /// there was such a session.
    pub fn expire_session(&self, session: i64) -> bool {
        self.worker.run(move |front| front.expire_session(session))
    }

    /// Applies the `n`th write from now on, then closes its connection without an answer; see
    /// [`Server::cut_after_apply`], also about writes of which a test knows nothing: those that a
    /// client makes by itself in the background, such as the deletion of a marker behind a write
    /// that is `resolved`. A fault that is armed right behind one may strike that.
    pub fn cut_after_apply(&self, n: u32) {
        self.served.access().cut_after_apply(n);
    }

    /// Closes the connection of the `n`th write from now on without applying it; see
    /// [`Server::cut_before_apply`], and [`cut_after_apply`](Self::cut_after_apply) about writes
    /// that a client makes by itself.
    pub fn cut_before_apply(&self, n: u32) {
        self.served.access().cut_before_apply(n);
    }
}

/// Sets up a [`FakeServer`].
///
/// ```
/// use std::time::Duration;
/// let server = homing_testkit::FakeServer::builder()
///     .tick_time(Duration::from_millis(100))
///     .config(|config| config.extended_types_enabled = true)
///     .start()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct FakeServerBuilder {
    pub(crate) listen: SocketAddr,
    pub(crate) config: ServerConfig,
    secure: Option<Arc<dyn SecureAccept>>,
    faults: Faults,
    pub(crate) observer: Option<Observer>,
    pub(crate) tree: InitialTree,
    pub(crate) latency: Duration,
    pub(crate) read_only: bool,
}

impl FakeServerBuilder {
    /// Where to listen; port 0 is any free one. A free port of 127.0.0.1 by default.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Which ZooKeeper it is like; 3.8.0 unless set. What else is set is to be set behind it: see
    /// [`ServerConfig::speak`].
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.config.speak(dialect);
        self
    }

    /// The unit of the session clock; see [`ServerConfig::tick_time`]. 2 s.
    pub fn tick_time(mut self, tick: Duration) -> Self {
        self.config.tick_time = tick;
        self
    }

    /// The shortest and the longest session time-out that are granted. Two and twenty ticks.
    pub fn session_timeouts(mut self, min: Duration, max: Duration) -> Self {
        self.config.min_session_timeout = Some(min);
        self.config.max_session_timeout = Some(max);
        self
    }

    /// Speaks TLS, and nothing else: with `homing_transport_tls::TlsServer`, which is
    /// `homing_testkit::TlsServer` with the feature `tls`. Whoever shows a certificate there has
    /// the identity that it names, of the scheme `x509`.
    pub fn tls(mut self, tls: impl SecureAccept + 'static) -> Self {
        self.config.x509 = true;
        self.secure = Some(Arc::new(tls));
        self
    }

    /// What goes wrong, from the first connection on; see [`FakeServer::faults`].
    ///
    /// ```
    /// let server = homing_testkit::FakeServer::builder()
    ///     .faults("cut on connection 1".parse()?)
    ///     .start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Everything else that can be set.
    pub fn config(mut self, set: impl FnOnce(&mut ServerConfig)) -> Self {
        set(&mut self.config);
        self
    }

    /// Starts it. It accepts connections when this returns.
    ///
    /// # Errors
    /// The address is taken or not this machine's, or the operating system has no thread or
    /// descriptor left. Or the [tree](Self::tree) cannot be loaded, which is
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn start(self) -> io::Result<FakeServer> {
        let mut server = Server::new(self.config.clone());
        let now = now();
        server
            .load(now, &self.tree)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        server.set_read_only(now, self.read_only);
        self.bind(self.listen, Served::alone(server))?.start()
    }

    /// Takes a port for what stands behind it.
    pub(crate) fn bind(&self, listen: SocketAddr, served: Served) -> io::Result<Port> {
        let plan = Arc::new(Plan::new(&self.faults));
        let (worker, gate) = Worker::bind(listen, &plan)?;
        let mut front = Front::new(gate, served.clone(), self.secure.clone(), plan);
        front.set_latency(self.latency);
        front.observe(self.observer.clone());
        let is_secure = self.secure.is_some();
        let server = FakeServer {
            is_secure,
            served,
            worker,
        };
        Ok(Port { front, server })
    }
}

/// A port that is taken, and nobody yet behind it.
#[derive(Debug)]
pub(crate) struct Port {
    front: Front,
    server: FakeServer,
}

impl Port {
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(self.server.worker.waker())
    }

    /// Serves it, in a thread of its own.
    pub(crate) fn start(self) -> io::Result<FakeServer> {
        let Self { front, mut server } = self;
        server.worker.start("fake-zookeeper", front)?;
        Ok(server)
    }
}
