//! Settings, and how a client comes to be.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use homing_protocol::{Acl, frame};
use homing_session::{
    Ask, Config, ConnectString, Credentials, OnExpiry, Preference, Server, ServerSource, Session,
};
use homing_transport::{Secure, Transport, block_on};

use crate::backend;
use crate::client::{Client, Core, Settings};
use crate::error::Error;
use crate::servers::parse_servers;
use crate::srv::SrvResolver;

/// Settings of a client, each with its default, and three ways to make it.
///
/// | setting | default |
/// | --- | --- |
/// | [`session_timeout`](Self::session_timeout) | 30 s |
/// | [`connect_timeout`](Self::connect_timeout) | 10 s |
/// | [`deadline`](Self::deadline) | 30 s |
/// | [`requests_in_flight`](Self::requests_in_flight) | 65,536 |
/// | [`bytes_in_flight`](Self::bytes_in_flight) | 64 MiB |
/// | [`guaranteed_max`](Self::guaranteed_max) | 4,096 |
/// | [`request_len_max`](Self::request_len_max) | 1,048,575 bytes |
/// | [`reply_len_max`](Self::reply_len_max) | 4 MiB |
/// | [`presume_expired_after`](Self::presume_expired_after) | 4/3 of the session time-out |
/// | [`on_expiry`](Self::on_expiry) | [`OnExpiry::End`] |
/// | [`fail_fast_after`](Self::fail_fast_after) | never |
/// | [`close_idle_after`](Self::close_idle_after) | never |
/// | [`read_only`](Self::read_only) | not allowed |
/// | [`follow_reconfig`](Self::follow_reconfig) | no |
/// | [`prefer`](Self::prefer) | no server |
/// | [`watch_backlog`](Self::watch_backlog) | 1,024 events |
/// | [`watches_warn_above`](Self::watches_warn_above) | 100,000 |
/// | [`default_acl`](Self::default_acl) | [`Acl::open`] |
/// | [`sasl`](Self::sasl) | none |
/// | [`login`](Self::login) | nobody in particular |
/// | [`login_timeout`](Self::login_timeout) | 5 s |
/// | [`resolver`](Self::resolver) | the connect string and the system's names |
/// | [`transport`](Self::transport) | tokio if compiled in, or else nio |
/// | [`secure`](Self::secure), or `tls` | none: `tls://` in the connect string is an error |
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// use std::time::Duration;
///
/// let client = homing::Client::builder(&servers)
///     .own_thread()
///     .session_timeout(Duration::from_secs(10))
///     .connect()
///     .wait()?;
/// # client.close().wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `connect` or `start`"]
pub struct Builder {
    connect_string: String,
    config: Config,
    settings: Settings,
    transport: Option<Arc<dyn Transport>>,
    has_seed: bool,
    server_list: Option<AskServers>,
    /// A preference whose servers are to be parsed, and when to return to them.
    prefer: Option<(String, Duration)>,
}

type AskServers = Ask<(), Result<Option<Vec<Server>>, String>>;

/// A session that tried to return all the time would do nothing else.
const RETURN_AFTER_MIN: Duration = Duration::from_millis(100);

/// Tells the client's random numbers from the session's, which have the same seed.
const DICE: u64 = 0x9e37_79b9_7f4a_7c15;

impl Builder {
    pub(crate) fn new(connect_string: &str) -> Self {
        let config = Config::new(Vec::new());
        Self {
            connect_string: connect_string.into(),
            settings: Settings {
                deadline: Some(Duration::from_secs(30)),
                request_len_max: frame::REQUEST_LEN_MAX,
                reply_len_max: config.reply_len_max,
                acl: [Acl::open()].into(),
            },
            config,
            transport: None,
            has_seed: false,
            server_list: None,
            prefer: None,
        }
    }

    /// How long the session outlives its connection, and with it locks and ephemeral nodes;
    /// 30 s by default. It is what the client asks for: the server grants something between 2
    /// and 20 of its ticks, see [`Connection::session_timeout`](crate::Connection).
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.session_timeout = timeout;
        self
    }

    /// How long [`connect`](Self::connect) tries before it fails; 10 s by default. All servers
    /// are tried in that time.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// The deadline of every request that sets none itself; 30 s by default, `None` for no
    /// deadline. A deadline that passes ends that one request and disturbs nothing else.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.settings.deadline = deadline.into();
        self
    }

    /// How many requests may be on their way at once; 65,536 by default. At the limit `.await`
    /// and `.wait()` wait in the order of arrival, and `.submit()` says [`Error::Busy`].
    pub fn requests_in_flight(mut self, limit: usize) -> Self {
        self.config.limits.requests = limit;
        self
    }

    /// How many bytes of requests may be on their way at once; 64 MiB by default. See
    /// [`requests_in_flight`](Self::requests_in_flight).
    pub fn bytes_in_flight(mut self, limit: usize) -> Self {
        self.config.limits.bytes = limit;
        self
    }

    /// How many [guaranteed deletions](crate::Request::guaranteed) and
    /// [protected creates](crate::Request::protected) may be under way at once; 4,096 by
    /// default. The session keeps what it takes to go on with each of them, so this bounds its
    /// memory. At the limit another one ends with [`Error::TooManyGuaranteed`].
    pub fn guaranteed_max(mut self, limit: usize) -> Self {
        self.config.errands_max = limit;
        self
    }

    /// The largest request in bytes; 1,048,575 by default, which is a server's own default
    /// (`jute.maxbuffer`). A larger one is refused here, with an error that says so: the server
    /// would drop the connection instead.
    pub fn request_len_max(mut self, limit: usize) -> Self {
        self.settings.request_len_max = limit;
        self
    }

    /// The largest reply in bytes; 4 MiB by default. A larger one fails its own request with
    /// [`Error::ReplyTooLarge`], and nothing else.
    pub fn reply_len_max(mut self, limit: usize) -> Self {
        self.config.reply_len_max = limit;
        self.settings.reply_len_max = limit;
        self
    }

    /// How long a session that has lost its servers is presumed to live on; by default 4/3 of
    /// the session time-out. `Duration::MAX` presumes nothing and waits for a server's word.
    pub fn presume_expired_after(mut self, silence: Duration) -> Self {
        self.config.presume_expired_after = Some(silence);
        self
    }

    /// What follows when the session has expired: the end, which is the default, or a new session.
    ///
    /// Nothing crosses from one session into another. With [`OnExpiry::Renew`], too, every request
    /// and every watcher of the old session ends with [`Error::SessionEnded`], those that were
    /// not sent included. Identities carry over; watches and ephemeral nodes do not.
    ///
    /// Who is told goes on: once a handle has returned that error, requests of this client are
    /// for the new session, and wait for it if it has not begun. Somebody has to be told: where
    /// nothing was on its way that could have failed, the first request after the expiry does,
    /// and was not sent. All handles to a client count as one in this, so a task can miss what
    /// another was told. What must not happen outside of a certain session goes through a
    /// [pinned](Client::pinned) handle.
    ///
    /// The stream of [states](Client::state_changes) has [`SessionState::Renewing`](crate::SessionState::Renewing) with the
    /// reason, and then [`SessionState::Connected`](crate::SessionState::Connected) with
    /// [`renewed`](crate::StateChange::renewed), the ids of both sessions;
    /// [`expiry_report`](Client::expiry_report) keeps what there is to know of the old one. A
    /// close, a refused identity and [`detach`](Client::detach) are final in any case.
    ///
    /// A session that is only *presumed* to have expired may live on at the servers. It is closed
    /// before the new one begins, if that is possible: see [`OnExpiry::Renew`]. What a client has
    /// seen counts across sessions, and no server is followed that is behind it, unless all have seemed
    /// to be for as long as it takes to presume an expiry
    /// ([`suspects_behind`](crate::ExpiryReport::suspects_behind)).
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use homing::{Client, OnExpiry};
    /// let builder = Client::builder(&servers).own_thread().on_expiry(OnExpiry::Renew);
    /// let client = builder.connect().wait()?;
    /// # let id = client.credentials().unwrap().session_id();
    /// # server.expire_session(id);
    /// # let mut changes = client.state_changes();
    /// # while changes.wait_next()?.unwrap().renewed.is_none() {}
    /// // … the session expires …
    /// assert!(client.get("/").wait().is_err()); // told
    /// assert!(client.get("/").wait().is_ok()); // in the new session
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.config.on_expiry = on_expiry;
        self
    }

    /// After how many rounds over all servers, none of which could be connected to, requests end
    /// at once with [`Error::Unavailable`] instead of waiting for their deadline: those that wait
    /// and those that come, none of which was sent. By default never. The client goes on trying,
    /// and the first connection ends it.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// use homing::{Client, Error};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let servers = listener.local_addr().unwrap().to_string();
    /// # drop(listener);
    /// let client = Client::builder(&servers).own_thread().fail_fast_after(1).start()?;
    /// let error = client.get("/").wait().unwrap_err(); // nobody listens there
    /// assert!(matches!(error, Error::Unavailable { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_fast_after(mut self, rounds: impl Into<Option<u32>>) -> Self {
        self.config.fail_fast_after = rounds.into();
        self
    }

    /// After how long without any use the session is closed at the servers, to be opened anew
    /// when somebody asks for something; by default never. It is in use while a request is on its
    /// way or a watcher waits, once it has made an ephemeral node or resumed a session that may
    /// have, and while there is a [pinned](Client::pinned) handle. Meanwhile the state is
    /// [`SessionState::Dormant`](crate::SessionState::Dormant). Nobody loses anything by it, so nobody is told by an error; but
    /// the next session has another id.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use std::time::Duration;
    /// use homing::{Client, SessionState};
    /// let builder = Client::builder(&servers).own_thread();
    /// let client = builder.close_idle_after(Duration::from_millis(10)).connect().wait()?;
    /// let mut changes = client.state_changes();
    /// while changes.wait_next()?.unwrap().state != SessionState::Dormant {}
    /// assert!(client.get("/").wait().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_idle_after(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.config.close_idle_after = idle.into();
        self
    }

    /// Whether a server will do that is cut off from its ensemble and serves reads alone, which
    /// may be old; by default not. [`Connection::read_only`](crate::Connection) tells. Writes are
    /// refused there, with [`NotReadOnly`](crate::ErrorCode::NotReadOnly).
    ///
    /// While it is connected to such a server the client asks the others whether they take
    /// writes, after 100 ms for the first time and every minute in the end, each over a
    /// connection of its own, and moves to the first that does, once what is on its way is
    /// answered, or after a second. A session that was begun at a read-only server is known to
    /// that one alone: the client gets another one then, and watches go along. A session of
    /// before is turned away by read-only servers since 3.7, so a client that has one waits for
    /// its ensemble.
    ///
    /// It takes servers with `readonlymode.enabled` and, since 3.7, `localSessionsEnabled`.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// # server.set_read_only(true);
    /// use homing::{Client, ErrorCode, SessionState};
    /// let client = Client::builder(&servers).own_thread().read_only(true).connect().wait()?;
    /// if let SessionState::Connected(connection) = client.state() {
    ///     assert!(connection.read_only);
    /// }
    /// client.get("/").wait()?;
    /// let error = client.create("/a", b"").wait().unwrap_err();
    /// assert_eq!(error.code(), Some(ErrorCode::NotReadOnly));
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_only(mut self, allowed: bool) -> Self {
        self.config.read_only = allowed;
        self
    }

    /// Follows the ensemble when its members change: the session reads who they are
    /// (`/zookeeper/config`) on each connection and whenever that changes, and takes the addresses
    /// that they tell for clients as its list of servers, as if by
    /// [`set_servers`](Client::set_servers). So the connect string need only have a server that is
    /// reached at the beginning. By default it does not.
    ///
    /// The addresses must be reachable from here: leave it off behind a proxy or a translation of
    /// addresses. Members that do not tell one are left out, and a list in which nobody does is not
    /// followed; nor is one of a server that stands alone, which tells no members at all.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// let client = homing::Client::builder(&servers).follow_reconfig(true).connect().await?;
    /// # client.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_reconfig(mut self, follow: bool) -> Self {
        self.config.follow_reconfig = follow;
        self
    }

    /// Prefers these servers, `host[:port](,host[:port])*`, each written as in the connect string:
    /// those nearby, say. They are tried before the others, but for those that have failed within
    /// the last minute. No server is preferred by default, and one that is not in the list of
    /// servers is not tried.
    ///
    /// A session that is at another one asks the preferred ones every `return_after`, give or take
    /// a quarter, over a connection of its own whether they serve (`srvr`, one of the four-letter
    /// words). To the first that says so it moves, as gently as [`reconnect`](Client::reconnect)
    /// does, and is suspended for that moment. If that server does not take the session after all,
    /// the next question comes after twice the time, and so on up to eight times.
    /// `Duration::MAX` never returns.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let (servers, near) = (server.connect_string(), server.connect_string());
    /// use std::time::Duration;
    /// // let (servers, near) = ("zk1,zk2,zk3", "zk2");
    /// let builder = homing::Client::builder(&servers).prefer(&near, Duration::from_secs(600));
    /// let client = builder.connect().await?;
    /// # client.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefer(mut self, servers: &str, return_after: Duration) -> Self {
        self.prefer = Some((servers.into(), return_after));
        self
    }

    /// As [`prefer`](Self::prefer), for the servers of which `is_preferred` holds. It is called
    /// once for each server of a list, where the client's bytes are moved: it should not block.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use std::time::Duration;
    /// use homing::Server;
    /// let is_near = |server: &Server| server.host.to_string().ends_with(".eu-1.example.org");
    /// let builder = homing::Client::builder(&servers).prefer_if(is_near, Duration::from_secs(600));
    /// let client = builder.connect().await?;
    /// # client.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefer_if(
        mut self,
        is_preferred: impl Fn(&Server) -> bool + Send + Sync + 'static,
        return_after: Duration,
    ) -> Self {
        self.prefer = None;
        self.config.prefer = Some(Preference::new(is_preferred, return_after));
        self
    }

    /// How many events each [`PersistentWatcher`](crate::PersistentWatcher) keeps until they are
    /// asked for; 1,024 by default. What comes then is counted and not kept:
    /// [`WatchItem::Overflow`](crate::WatchItem) stands in its place.
    pub fn watch_backlog(mut self, events: usize) -> Self {
        self.config.watch_backlog = events;
        self
    }

    /// How many watches may be armed at once before a warning goes to the log, which happens
    /// once; 100,000 by default. Watchers that are kept and never dropped cost memory here and at
    /// the servers; [`Client::watches`] shows where they are.
    pub fn watches_warn_above(mut self, watches: usize) -> Self {
        self.config.watches_warn_above = watches;
        self
    }

    /// The access control list of every node that is made without one of its own: one [`Acl`],
    /// or a slice or vector of them. By default [`Acl::open`], and open means open: whoever
    /// reaches the servers can read, change and delete such a node. Access control lists are the
    /// only protection that ZooKeeper has.
    ///
    /// [`Acl::creator_all`] takes an [identity](Client::add_auth) that is added before the first
    /// node is made.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use homing::{Acl, Client};
    /// let builder = Client::builder(&servers).default_acl(Acl::creator_all());
    /// let client = builder.connect().await?;
    /// client.add_auth("digest", b"bob:secret").await?;
    /// client.create("/mine", b"").await?;
    /// assert_eq!(client.acl("/mine").await?.entries, [Acl::digest("bob", "secret")]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn default_acl<'a>(mut self, acl: impl Into<Cow<'a, [Acl]>>) -> Self {
        self.settings.acl = acl.into().into();
        self
    }

    /// Resumes the session of an earlier client, whose ephemeral nodes live on, in place of
    /// beginning a new one. Fails with [`Error::SessionEnded`] if it has expired.
    pub fn resume(mut self, credentials: Credentials) -> Self {
        self.config.resume = Some(credentials);
        self
    }

    /// What moves the bytes: one of the transports that come with this crate, or your own.
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// What makes the TLS of servers that have `tls://` in the connect string: another
    /// implementation than the one that comes with this crate, which `Builder::tls` takes.
    pub fn secure(mut self, secure: impl Secure + 'static) -> Self {
        self.config.secure = Some(Arc::new(secure));
        self
    }

    /// Fixes all randomness of the client: the order of servers, the length of pauses, tokens. For
    /// tests; by default each client has a seed of its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self.has_seed = true;
        self
    }

    /// The number of the first request; 1 by default. For tests, which see it wrap from
    /// `i32::MAX` to 1.
    pub fn first_xid(mut self, xid: i32) -> Self {
        self.config.first_xid = xid;
        self
    }

    /// What [`start`](Self::start) would refuse, without starting anything.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let parsed: Result<ConnectString, _> = self.connect_string.parse();
        parsed.map_err(Error::ConnectString)?;
        self.clone().set_preferred()?;
        self.check()
    }

    /// Whether requests are not to wait for a server that cannot be reached.
    pub(crate) fn fails_fast(&self) -> bool {
        self.config.fail_fast_after.is_some()
    }

    /// Whether it is to resume one certain session.
    pub(crate) fn resumes(&self) -> bool {
        self.config.resume.is_some()
    }

    pub(crate) fn default_deadline(&self) -> Option<Duration> {
        self.settings.deadline
    }

    /// Ties the transport to where this is called, so that clients can be started elsewhere.
    pub(crate) fn bind_here(mut self) -> Result<Self, Error> {
        let transport = self.transport.unwrap_or_else(backend::default_transport);
        let bound = transport.bind_here().map_err(Error::Start)?;
        self.transport = Some(bound.unwrap_or(transport));
        Ok(self)
    }

    /// The builder of the `n`th client of several alike: if the randomness is fixed, it is, but
    /// not to the same.
    pub(crate) fn nth(&self, n: u64) -> Self {
        let mut builder = self.clone();
        builder.config.seed = builder.config.seed.wrapping_add(n);
        builder
    }

    /// Makes a client and waits until it is connected.
    pub fn connect(self) -> Connect {
        Connect { builder: self }
    }

    /// Makes a client and returns at once. It tries to connect until it is dropped or closed;
    /// requests wait for that, each until its deadline.
    ///
    /// # Errors
    /// A malformed connect string, a setting that makes no sense, or a transport that cannot
    /// run here.
    pub fn start(mut self) -> Result<Client, Error> {
        let connect_string: ConnectString =
            self.connect_string.parse().map_err(Error::ConnectString)?;
        self.set_preferred()?;
        let mut name = connect_string.servers.first().cloned();
        if let Some(srv) = connect_string.srv {
            if self.server_list.is_some() {
                let what = "a connect string with dns-srv:// has a resolver already".into();
                return Err(Error::Misuse { what });
            }
            self.set_resolver(Arc::new(SrvResolver::new(&srv)));
            let as_server: ConnectString = srv.parse().map_err(Error::ConnectString)?;
            name = as_server.servers.into_iter().next();
        }
        self.config.servers = connect_string.servers;
        self.check()?;
        self.config.server_list = name
            .zip(self.server_list)
            .map(|(name, ask)| ServerSource { name, ask });
        if !self.has_seed {
            self.config.seed = rand::random();
        }
        let transport = self.transport.unwrap_or_else(backend::default_transport);
        // Another one than the session's own, whose numbers others see in the order of servers.
        let seed = match self.config.resume {
            None => self.config.seed.rotate_left(32) ^ DICE,
            // The same session must not see the same tokens again.
            Some(_) => rand::random(),
        };
        let (session, shared) = Session::new(self.config);
        let driver = transport.start(Box::new(session)).map_err(Error::Start)?;
        shared.queue.attach(Arc::clone(&driver));
        let core = Core::new(shared, driver, self.settings, seed);
        Ok(Client::new(core, connect_string.chroot))
    }

    pub(crate) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    pub(crate) fn set_server_list(&mut self, ask: AskServers) {
        self.server_list = Some(ask);
    }

    fn set_preferred(&mut self) -> Result<(), Error> {
        if let Some((servers, return_after)) = self.prefer.take() {
            let servers = parse_servers("prefer", &servers)?;
            let is_preferred = move |server: &Server| servers.contains(server);
            self.config.prefer = Some(Preference::new(is_preferred, return_after));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let misuse = |what: &str| Err(Error::Misuse { what: what.into() });
        if self.config.session_timeout < Duration::from_millis(1) {
            return misuse("the session time-out is less than a millisecond");
        }
        if i32::try_from(self.config.session_timeout.as_millis()).is_err() {
            return misuse("the session time-out is more than 24 days");
        }
        if self.config.login_timeout.is_zero() {
            return misuse("the time-out of the login provider is zero");
        }
        if self.config.connect_timeout.is_zero() {
            return misuse("the connect time-out is zero");
        }
        if self.config.limits.requests == 0 || self.config.limits.bytes == 0 {
            return misuse("the limit of requests or bytes in flight is zero");
        }
        if self.config.fail_fast_after == Some(0) {
            return misuse("no rounds over the servers (`fail_fast_after`) are too few to connect");
        }
        if self.config.close_idle_after == Some(Duration::ZERO) {
            return misuse("the time until an idle session is closed is zero");
        }
        if let Some(prefer) = &self.config.prefer
            && prefer.return_after() < RETURN_AFTER_MIN
        {
            return misuse("the time to return to preferred servers is less than 100 ms");
        }
        if self.config.watch_backlog == 0 {
            return misuse("the backlog of a watch is zero, which leaves no room for any event");
        }
        let asks_for_tls = self.config.servers.iter().find(|server| server.tls);
        if let Some(server) = asks_for_tls.filter(|_| self.config.secure.is_none()) {
            let how = backend::HOW_TO_SPEAK_TLS;
            return misuse(&format!(
                "the connect string has {server}, and TLS is not set up: {how}"
            ));
        }
        if self.settings.acl.is_empty() {
            return misuse("the default access control list is empty, which no server accepts");
        }
        Ok(())
    }
}

/// A client in the making; see [`Client::connect`](crate::Client::connect). `.await` it, or
/// `.wait()` for it on a plain thread.
///
/// # Errors
/// What [`Builder::start`] fails with; [`Error::Connect`] if no server accepted the session
/// within the connect time-out, with each server's reason; [`Error::SessionEnded`] if a session
/// that was to be resumed is gone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// let client = homing::Client::connect(&servers).await?;
/// # client.close().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is connected until it is awaited or waited for"]
pub struct Connect {
    builder: Builder,
}

impl Connect {
    /// Blocks this thread until the client is connected.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait(self) -> Result<Client, Error> {
        let after = self.builder.config.connect_timeout;
        let client = self.builder.start()?;
        let driver = Arc::clone(client.driver());
        block_on(&*driver, connected(client, after)).map_err(Error::must_not_block)?
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let after = self.builder.config.connect_timeout;
            let client = self.builder.start()?;
            connected(client, after).await
        })
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connect")
            .field(&self.builder.connect_string)
            .finish()
    }
}

async fn connected(client: Client, after: Duration) -> Result<Client, Error> {
    let outcome = {
        let mut connected = pin!(client.connected());
        let mut timeout = client.sleep(after);
        poll_fn(|cx| match connected.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Pin::new(&mut timeout).poll(cx).map(|()| None),
        })
        .await
    };
    match outcome {
        Some(Ok(_)) => Ok(client),
        Some(Err(error)) => Err(error),
        None => Err(Error::Connect {
            after,
            attempts: client.failures(),
        }),
    }
}
