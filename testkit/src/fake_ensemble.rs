//! A fake ensemble on loopback ports, to be parted, stopped and maltreated from a test.

use std::io;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use homing_transport::SecureAccept;

use crate::config::ServerConfig;
use crate::dialect::Dialect;
use crate::ensemble::{Ensemble, Fate};
use crate::fake::{FakeServer, FakeServerBuilder, Port};
use crate::faults::Faults;
use crate::initial::InitialTree;
use crate::journal::ConnectionEvent;
use crate::served::{Served, Shared, now};
use crate::server::{Now, Server};

/// How often [`FakeEnsemble::wait_until`] looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A ZooKeeper ensemble in this process, on a TCP port for each member.
///
/// What it does is the work of [`Ensemble`]; this type adds the sockets and the clock. Each member
/// is a [`FakeServer`] as well, with all of its faults: [`member`](Self::member) leads to it, to
/// be stopped, started again, paused, cut and looked at. Dropping the ensemble frees its ports
/// and ends its threads.
///
/// Every method takes effect before it returns, except that elections take their time:
/// [`wait_for_leader`](Self::wait_for_leader) waits for one, and
/// [`wait_until`](Self::wait_until) for anything else.
///
/// With [`reconfig_enabled`](ServerConfig::reconfig_enabled), a client that is a
/// [super user](ServerConfig::super_digest) can change who the members are, as at a real
/// ensemble: who leaves follows and serves until it is stopped, who is to join is started with
/// [`add_server`](Self::add_server), some may [observe](FakeEnsembleBuilder::observers). A member
/// listens where it does, whatever a new configuration says of its ports, and one with groups or
/// weights is refused as malformed. What a follower is asked that cannot be read it refuses, where
/// a real one never answers; and a server that was removed and is stopped can start again, which a
/// real one cannot do whose own file has no address of its own any more.
///
/// ```
/// use std::time::Duration;
/// use homing_testkit::FakeEnsemble;
///
/// let ensemble = FakeEnsemble::start(3);
/// println!("connect to {}", ensemble.connect_string());
/// // … the client writes, and is connected to the member of which a test says: …
/// let cut_off = 0;
/// ensemble.isolate(cut_off); // It drops its clients, and the others go on.
/// let fallen = ensemble.stop_leader();
/// // Two of three are gone.
/// assert_eq!((fallen, ensemble.leader()), (Some(2), None));
/// ensemble.heal(cut_off);
/// assert_eq!(ensemble.wait_for_leader(Duration::from_secs(10)), Some(1));
/// ```
#[derive(Debug)]
pub struct FakeEnsemble {
    members: Vec<FakeServer>,
    shared: Arc<Shared>,
    /// How each of them was set up.
    server: Box<FakeServerBuilder>,
}

impl FakeEnsemble {
    /// So many members with the defaults on free ports of the loopback address. All of them run,
    /// and the last one leads.
    ///
    /// # Panics
    /// The operating system has no port, thread or descriptor left, or there are to be no members.
    /// [`builder`](Self::builder) leads to a way that returns the error.
    #[allow(
        clippy::expect_used,
        reason = "a test that cannot start its servers cannot go on"
    )]
    pub fn start(members: usize) -> Self {
        Self::builder()
            .members(members)
            .start()
            .expect("start a fake ensemble on the loopback address")
    }

    /// An ensemble that is set up differently.
    pub fn builder() -> FakeEnsembleBuilder {
        FakeEnsembleBuilder::of(FakeServer::builder(), 3)
    }

    /// What to give to a client: where all members listen, as `host:port,host:port,…`, with
    /// `tls://` in front of each if they speak TLS.
    pub fn connect_string(&self) -> String {
        let members = self.members.iter().map(FakeServer::connect_string);
        members.collect::<Vec<_>>().join(",")
    }

    /// How many members there are, whether they run or not, and servers that are none.
    #[allow(
        clippy::len_without_is_empty,
        reason = "there is no ensemble of nobody"
    )]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// A member as a server of its own: its address, and its faults. To stop and to start it, to
    /// pause it and to cut its connections is to be done here.
    ///
    /// A member that is [paused](FakeServer::pause) keeps its place among the others, who do not
    /// notice: [`isolate`](Self::isolate) it as well if they are to. What they change is kept for
    /// its clients until it goes on, up to 64 MiB for each: whoever has more coming is dropped.
    ///
    /// # Panics
    /// There are not so many.
    #[allow(clippy::expect_used, reason = "a test that counts wrong cannot go on")]
    pub fn member(&self, index: usize) -> &FakeServer {
        self.members.get(index).expect("there are so many members")
    }

    /// All members, whether they run or not.
    pub fn members(&self) -> &[FakeServer] {
        &self.members
    }

    /// The member that clients reach at this address.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        let mut members = self.members.iter();
        members.position(|member| member.addr() == address)
    }

    /// Looks at a member's server, or arranges one of its faults; see
    /// [`FakeServer::with_server`]. What changes the nodes of one server, as [`Server::load`] and
    /// [`Server::set_create_counter`] do, would part this one from the others for good.
    ///
    /// # Panics
    /// There are not so many members.
    pub fn with_member<T>(&self, index: usize, look: impl FnOnce(&mut Server) -> T) -> T {
        self.member(index).with_server(look)
    }

    /// Looks at the ensemble, or does something to it at the time that is given. It stands still
    /// meanwhile; do not call a method of this type or of a member in there.
    ///
    /// ```
    /// let ensemble = homing_testkit::FakeEnsemble::start(5);
    /// let behind = ensemble.with_ensemble(|ensemble, _| ensemble.behind(0));
    /// assert_eq!(behind, 0);
    /// ```
    pub fn with_ensemble<T>(&self, act: impl FnOnce(&mut Ensemble, Now) -> T) -> T {
        let mut ensemble = self.shared.hold();
        let now = now();
        let result = act(&mut ensemble, now);
        ensemble.settle(now);
        result
    }

    /// Starts one more server on a free port, set up as the others are, and says which one it is.
    /// It follows and serves, and is not counted; a member it becomes by a request for a
    /// reconfiguration with its [line](Self::server_line). What it knows of the others it knows
    /// when this returns.
    ///
    /// ```
    /// let mut ensemble = homing_testkit::FakeEnsemble::start(3);
    /// let joins = ensemble.add_server()?;
    /// // To be asked for by a client that may: "let this one join".
    /// let line = ensemble.server_line(joins);
    /// let address = ensemble.member(joins).addr();
    /// assert!(line.starts_with("server.4="));
    /// assert!(line.ends_with(&format!(":participant;{address}")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are 255 already, which is [`InvalidInput`](io::ErrorKind::InvalidInput), or the
    /// operating system has no port, thread or descriptor left.
    pub fn add_server(&mut self) -> io::Result<usize> {
        let index = self.members.len();
        let config = self.server.config.clone();
        let anywhere = SocketAddr::new(self.member(0).addr().ip(), 0);
        let added = self.with_ensemble(|ensemble, now| ensemble.add_server(now, config, anywhere));
        if added.is_none() {
            let why = "there are 255 servers already, and no more numbers for them";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        match self.serve_at(anywhere, index) {
            Ok(server) => self.members.push(server),
            Err(error) => {
                self.with_ensemble(|ensemble, _| ensemble.take_last_back());
                return Err(error);
            }
        }
        Ok(index)
    }

    /// Lets clients reach a member.
    fn serve_at(&self, address: SocketAddr, index: usize) -> io::Result<FakeServer> {
        let served = Served::Member(Arc::clone(&self.shared), index);
        let port = self.server.bind(address, served)?;
        let (address, waker) = (port.address(), port.waker());
        let server = port.start()?;
        self.shared.add_waker(waker);
        self.with_ensemble(|ensemble, _| ensemble.set_address(index, address));
        Ok(server)
    }

    /// How a server is written in a configuration; see [`Ensemble::server_line`].
    ///
    /// # Panics
    /// There are not so many.
    #[allow(clippy::expect_used, reason = "a test that counts wrong cannot go on")]
    pub fn server_line(&self, index: usize) -> String {
        let line = self.with_ensemble(|ensemble, _| ensemble.server_line(index));
        line.expect("there are so many servers")
    }

    /// How far a member is behind from now on; see [`Ensemble::set_lag`].
    pub fn set_lag(&self, member: usize, lag: Duration) {
        self.with_ensemble(|ensemble, now| ensemble.set_lag(now, member, lag));
    }

    /// Cuts a member off from the others; see [`Ensemble::isolate`].
    pub fn isolate(&self, member: usize) {
        self.with_ensemble(|ensemble, now| ensemble.isolate(now, member));
    }

    /// Lets a member reach the others again; see [`Ensemble::heal`].
    pub fn heal(&self, member: usize) {
        self.with_ensemble(|ensemble, now| ensemble.heal(now, member));
    }

    /// Lets a member be elected; see [`Ensemble::elect`]. Says whether it can be.
    pub fn elect(&self, member: usize) -> bool {
        self.with_ensemble(|ensemble, now| ensemble.elect(now, member))
    }

    /// The member that leads; `None` while there is none.
    pub fn leader(&self) -> Option<usize> {
        self.with_ensemble(|ensemble, _| ensemble.leader())
    }

    /// [Stops](FakeServer::stop) the member that leads, and says which one it was.
    pub fn stop_leader(&self) -> Option<usize> {
        let leader = self.leader();
        if let Some(member) = leader.and_then(|leader| self.members.get(leader)) {
            member.stop();
        }
        leader
    }

    /// What becomes of proposals of a leader that falls; see [`Ensemble::set_fate`].
    pub fn set_fate(&self, fate: Fate) {
        self.with_ensemble(|ensemble, _| ensemble.set_fate(fate));
    }

    /// Ends a session as if its time were over; see [`Ensemble::expire_session`]. Says whether
    /// there was such a session.
    pub fn expire_session(&self, session: i64) -> bool {
        self.with_ensemble(|ensemble, now| ensemble.expire_session(now, session))
    }

    /// Waits until there is a leader, and says who it is; `None` if there was none for so long.
    pub fn wait_for_leader(&self, limit: Duration) -> Option<usize> {
        self.wait_until(limit, |ensemble| ensemble.leader().is_some());
        self.leader()
    }

    /// Waits until something is true of the ensemble, for `limit` at most. Whether it was.
    ///
    /// ```
    /// use std::time::Duration;
    /// let ensemble = homing_testkit::FakeEnsemble::start(3);
    /// ensemble.elect(0);
    /// let all_serve = ensemble.wait_until(Duration::from_secs(10), |ensemble| {
    ///     (0..3).all(|member| ensemble.is_serving(member))
    /// });
    /// assert!(all_serve);
    /// ```
    pub fn wait_until(&self, limit: Duration, is_so: impl Fn(&mut Ensemble) -> bool) -> bool {
        let end = Instant::now().checked_add(limit);
        loop {
            if self.with_ensemble(|ensemble, _| is_so(ensemble)) {
                return true;
            }
            if end.is_some_and(|end| end <= Instant::now()) {
                return false;
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// Sets up a [`FakeEnsemble`].
///
/// ```
/// use std::time::Duration;
/// use homing_testkit::FakeEnsemble;
///
/// let ensemble = FakeEnsemble::builder()
///     .members(5)
///     .lag(0, Duration::from_millis(200))
///     .election_time(Duration::from_millis(50))
///     .config(|config| config.read_only_enabled = true)
///     .start()?;
/// assert_eq!(ensemble.leader(), Some(4));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct FakeEnsembleBuilder {
    members: usize,
    /// How many of them have no vote.
    observers: usize,
    /// Where they listen; from the port of `server` on, unless it is said.
    listen: Option<Vec<SocketAddr>>,
    /// How each of them is set up.
    server: FakeServerBuilder,
    arrangements: Arrangements,
}

/// What is set at an ensemble that is there.
#[derive(Debug, Clone, Default)]
struct Arrangements {
    lags: Vec<(usize, Duration)>,
    election_time: Option<Duration>,
    sync_limit: Duration,
    serves_stale: bool,
    fate: Fate,
}

impl FakeEnsembleBuilder {
    /// Members that are each set up as this server, on consecutive ports from its own on.
    pub(crate) fn of(server: FakeServerBuilder, members: usize) -> Self {
        Self {
            members,
            observers: 0,
            listen: None,
            server,
            arrangements: Arrangements::default(),
        }
    }

    /// How many members. 3.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// How many of the members observe: the last ones have no vote. None.
    ///
    /// ```
    /// use homing_testkit::FakeEnsemble;
    /// let ensemble = FakeEnsemble::builder().members(5).observers(2).start()?;
    /// assert_eq!(ensemble.leader(), Some(2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn observers(mut self, observers: usize) -> Self {
        self.observers = observers;
        self
    }

    /// Where the members listen, in their order; port 0 is any free one. Those for which there is
    /// no address get a free port of 127.0.0.1.
    pub fn listen(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.listen = Some(addresses.into_iter().collect());
        self
    }

    /// Which ZooKeeper they are like; see [`FakeServerBuilder::dialect`].
    ///
    /// [`FakeServerBuilder::dialect`]: crate::FakeServerBuilder::dialect
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.server = self.server.dialect(dialect);
        self
    }

    /// The unit of the session clock; see [`ServerConfig::tick_time`]. 2 s.
    pub fn tick_time(mut self, tick: Duration) -> Self {
        self.server = self.server.tick_time(tick);
        self
    }

    /// The shortest and the longest session time-out that are granted. Two and twenty ticks.
    pub fn session_timeouts(mut self, min: Duration, max: Duration) -> Self {
        self.server = self.server.session_timeouts(min, max);
        self
    }

    /// How far a member is behind; see [`Ensemble::set_lag`]. Nothing.
    pub fn lag(mut self, member: usize, lag: Duration) -> Self {
        self.arrangements.lags.push((member, lag));
        self
    }

    /// How long an election takes; see [`Ensemble::set_election_time`]. 100 ms.
    pub fn election_time(mut self, time: Duration) -> Self {
        self.arrangements.election_time = Some(time);
        self
    }

    /// How long members go on that have lost touch; see [`Ensemble::set_sync_limit`]. Not at all.
    pub fn sync_limit(mut self, limit: Duration) -> Self {
        self.arrangements.sync_limit = limit;
        self
    }

    /// Whether a member that comes back takes clients before it has caught up; see
    /// [`Ensemble::set_serves_stale`]. Off.
    pub fn serves_stale(mut self, stale: bool) -> Self {
        self.arrangements.serves_stale = stale;
        self
    }

    /// What becomes of proposals of a leader that falls; see [`Ensemble::set_fate`]. They are lost.
    pub fn fate(mut self, fate: Fate) -> Self {
        self.arrangements.fate = fate;
        self
    }

    /// Speaks TLS, and nothing else; see [`FakeServerBuilder::tls`].
    ///
    /// [`FakeServerBuilder::tls`]: crate::FakeServerBuilder::tls
    pub fn tls(mut self, tls: impl SecureAccept + 'static) -> Self {
        self.server = self.server.tls(tls);
        self
    }

    /// What goes wrong at each member, from the first connection on; see [`FakeServer::faults`].
    pub fn faults(mut self, faults: Faults) -> Self {
        self.server = self.server.faults(faults);
        self
    }

    /// Delays all replies of all members by so much; see [`FakeServer::latency`]. Zero.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.server = self.server.latency(latency);
        self
    }

    /// The nodes that all members begin with. None but those of every server.
    ///
    /// ```
    /// use homing_testkit::{FakeEnsemble, InitialTree};
    /// let tree = InitialTree::new().node("/app/config", "v1");
    /// let ensemble = FakeEnsemble::builder().tree(tree).start()?;
    /// assert!(ensemble.with_member(0, |server| server.node_exists("/app/config")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tree(mut self, tree: InitialTree) -> Self {
        self.server = self.server.tree(tree);
        self
    }

    /// Calls this with what becomes of each connection of any member; see
    /// [`FakeServerBuilder::observe`].
    ///
    /// [`FakeServerBuilder::observe`]: crate::FakeServerBuilder::observe
    pub fn observe(mut self, observe: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> Self {
        self.server = self.server.observe(observe);
        self
    }

    /// Everything else that can be set, for all members.
    pub fn config(mut self, set: impl FnOnce(&mut ServerConfig)) -> Self {
        self.server = self.server.config(set);
        self
    }

    /// Starts it. All members accept connections when this returns.
    ///
    /// # Errors
    /// There are to be no members, or none with a vote, or there are not so many ports behind that
    /// of the server they are set up as, or the [tree](Self::tree) cannot be loaded, which is
    /// [`InvalidInput`](io::ErrorKind::InvalidInput); an address is taken or not this machine's; or
    /// the operating system has no thread or descriptor left.
    pub fn start(self) -> io::Result<FakeEnsemble> {
        let count = self.members;
        if !(1..=usize::from(u8::MAX)).contains(&count) {
            let why = format!("an ensemble has 1 to 255 members, not {count}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if self.observers >= count {
            let observers = self.observers;
            let why =
                format!("of {count} members {observers} are to observe: one must have a vote");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let addresses = self.addresses()?;
        let each = |count| vec![self.server.config.clone(); count];
        let voters = count.saturating_sub(self.observers);
        let mut ensemble = Ensemble::with_observers(each(voters), each(count - voters));
        ensemble
            .load(now(), &self.server.tree)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let shared = Arc::new(Shared::new(ensemble));
        let mut ports = Vec::new();
        for (index, address) in addresses.into_iter().enumerate() {
            let served = Served::Member(Arc::clone(&shared), index);
            ports.push(self.server.bind(address, served)?);
        }
        let addresses: Vec<_> = ports.iter().map(Port::address).collect();
        ports.iter().for_each(|port| shared.add_waker(port.waker()));
        shared.hold().publish_addresses(now(), addresses);
        self.arrangements.carry_out(&mut shared.hold());
        let members = ports
            .into_iter()
            .map(Port::start)
            .collect::<Result<_, _>>()?;
        Ok(FakeEnsemble {
            members,
            shared,
            server: Box::new(self.server),
        })
    }

    /// Where each member listens.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(listen) = &self.listen {
            let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let addresses = listen.iter().copied().chain(iter::repeat(anywhere));
            return Ok(addresses.take(self.members).collect());
        }
        let first = self.server.listen;
        let ports = (0..).map_while(|offset| match first.port() {
            0 => Some(0),
            port => port.checked_add(offset),
        });
        let addresses = ports.map(|port| SocketAddr::new(first.ip(), port));
        let addresses: Vec<_> = addresses.take(self.members).collect();
        if addresses.len() < self.members {
            let count = self.members;
            let why = format!("there are no {count} ports from that one on: the last is 65535");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(addresses)
    }
}

impl Arrangements {
    fn carry_out(&self, ensemble: &mut Ensemble) {
        for (member, lag) in &self.lags {
            ensemble.set_lag(now(), *member, *lag);
        }
        if let Some(time) = self.election_time {
            ensemble.set_election_time(time);
        }
        ensemble.set_sync_limit(self.sync_limit);
        ensemble.set_serves_stale(self.serves_stale);
        ensemble.set_fate(self.fate);
    }
}
