//! The handle.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use homing_protocol::{Acl, Empty, RequestHeader, op, put_request, request_len, validate_path};
use homing_session::{
    Answer, Attempt, Credentials, ExpiryReport, NotTaken, Note, Pledge, SessionState, Shared,
    Stats as SessionStats, Undo, WatchedPath,
};
use homing_transport::{Driver, Fate, Refused, Request as Submission, Ticket, Usage, clock};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::builder::{Builder, Connect};
use crate::close::{Close, Detach};
use crate::error::{Error, Subject};
use crate::pinned::Hold;
use crate::state::{StateChanges, WhenConnected};

/// A ZooKeeper client: a handle to one session, cheap to clone, to be used from any thread.
///
/// # Nodes
/// ZooKeeper keeps a tree of small *nodes*, each with a path such as `/app/config`, data, and
/// children. What it is for is agreement: all servers of an ensemble apply all changes in one
/// order, and each change has a number, its *zxid*. A client has a *session*, which outlives its
/// connection: a node that is made [ephemeral](crate::Request#method.ephemeral) goes away with it.
///
/// # Connecting
/// A connect string names the servers of an ensemble and, behind a slash, the *chroot* below
/// which all of this client's paths lie. [`Client::builder`] has the settings, with their
/// defaults in one table; [`chroot`](Self::chroot) gives a handle to the same session for paths
/// further below.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// use homing::Client;
///
/// // let servers = "zk1:2181,zk2:2181,zk3:2181";
/// let client = Client::connect(&servers).await?;
///
/// client.create("/config", b"v1").await?;
/// let node = client.get("/config").await?;
/// assert_eq!(node.data, "v1");
///
/// client.set("/config", b"v2").version(node.stat.version).await?;
/// client.delete("/config").await?;
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// A session is driven by a task of the tokio runtime in which it was started or, with
/// [`own_thread`](Builder::own_thread), by a thread of its own: then no runtime is needed.
///
/// # What can be asked
/// | | reads | | writes |
/// | --- | --- | --- | --- |
/// | [`get`](Self::get) | data and stat | [`create`](Self::create) | a node, of any kind |
/// | [`exists`](Self::exists) | the stat, if there is a node | [`set`](Self::set) | other data |
/// | [`children`](Self::children) | names and stat | [`delete`](Self::delete) | no node |
/// | [`acl`](Self::acl) | who may do what | [`set_acl`](Self::set_acl) | who may do what |
/// | [`sync`](Self::sync) | nothing: it catches up | [`transaction`](Self::transaction) | several at once, all or nothing |
/// | [`read_many`](Self::read_many) | many nodes in few requests | [`set_or_create`](Self::set_or_create) | data, whether there is a node or not |
/// | [`descendant_count`](Self::descendant_count) | how many are below | [`delete(…).recursive()`](crate::Request::recursive) | no tree |
/// | [`ephemerals`](Self::ephemerals) | this session's nodes | [`reconfig`](Self::reconfig) | who belongs to the ensemble |
/// | [`config`](Self::config) | who belongs to the ensemble | | |
/// | [`whoami`](Self::whoami) | who this is, to the server | | |
///
/// Whoever comes from another client finds everything in [`coming_from`](crate::coming_from).
///
/// The page of each has its settings, and the list of methods has more that are made of these. A
/// write that says which
/// [`version`](crate::Stat::version) it expects changes nothing that somebody else has changed
/// meanwhile: that is how to read, think and write. A server may be a little behind the others:
/// a read with [`.synced()`](crate::Request::synced) sees all that was written before, by anybody.
///
/// # Three ways to run a request
/// Each operation gives a [`Request`](crate::Request), which does nothing yet.
/// - `.await` sends it and waits for the answer.
/// - [`.submit()`](crate::Request::submit) puts it in line now and gives a
///   [`Pending`](crate::Pending), a future to be awaited later: any number of requests can be on
///   their way at once, and the server sees them in the order in which they were submitted.
/// - [`.wait()`](crate::Request::wait) does what `.await` does, on a plain thread.
///
/// A request that is awaited takes its place in line when it is first polled, one that is
/// submitted does so right then. Answers come in the same order; whoever awaits them in another
/// one, or drops some, disturbs nobody.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// // On plain threads, without a runtime:
/// let client = homing::Client::builder(&servers).own_thread().connect().wait()?;
/// let first = client.create("/queue", b"").submit()?;
/// let second = client.create("/queue/n-", b"").sequential().submit()?; // it is behind the first
/// first.wait()?;
/// assert_eq!(second.wait()?.path, "/queue/n-0000000000");
/// # client.close().wait()?;
/// # Ok(())
/// # }
/// ```
///
/// Each request has a [deadline](crate::Request::deadline), 30 s unless it is set. When too many
/// are on their way, `.await` and `.wait()` wait for room in the order of arrival, and `.submit()`
/// says [`Error::Busy`].
///
/// # What an error tells
/// [`code`](Error::code) has the answer of a server that refused, and the text says what to do
/// about it where that is known. Every error says what is known of the request's fate:
/// [`may_have_been_applied`](Error::may_have_been_applied). A request of which nothing was sent
/// waits for the next connection, until its deadline; one that was sent and not answered is
/// never repeated by itself.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// use homing::ErrorCode;
/// match client.create("/leader", b"me").ephemeral().await {
///     Ok(_) => println!("it is me"),
///     Err(error) if error.code() == Some(ErrorCode::NodeExists) => println!("somebody else"),
///     Err(error) if error.may_have_been_applied() => println!("look who it is: {error}"),
///     Err(error) => return Err(error), // it was not done, whatever it was
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Certainty
/// Where that is not enough, a request can be told to find out by itself. A create that is
/// [`protected`](crate::Request::protected) ends with exactly one node that is ours, or with
/// none; a write that is [`resolved`](crate::Request::resolved) says whether it was applied; a
/// delete that is [`guaranteed`](crate::Request::guaranteed) is repeated by the session until it
/// is done. [`retry`](crate::Request::retry) repeats what one asks it to repeat, and nothing else.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// client.create("/lock", b"").await?;
/// # server.cut_after_apply(1);
/// let mine = client.create("/lock/n-", b"").ephemeral().sequential().protected().await?;
/// // … even if the answer was lost: there is one node, and it is this one.
/// assert_eq!(client.children("/lock").await?.len(), 1);
/// client.delete(&mine.path).guaranteed().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Watches
/// A read can ask to be told of the next change: [`get`](Self::get),
/// [`exists`](Self::exists) and [`children`](Self::children) have
/// [`.watch()`](crate::Request::watch), which gives a [`Watcher`](crate::Watcher) beside the
/// answer.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// # client.create("/config", b"v1").await?;
/// # let other = client.clone();
/// # tokio::spawn(async move { other.set("/config", b"v2").await });
/// loop {
///     let (node, changed) = client.get("/config").watch().await?;
///     println!("the configuration is {:?}", node.data);
///     # if node.data == "v2" { break; }
///     changed.await?; // then read again
/// }
/// # Ok(())
/// # }
/// ```
///
/// A [`watch`](Self::watch) goes on: a [`PersistentWatcher`](crate::PersistentWatcher) is a stream
/// of all that happens to a node or, with `.recursive()`, to everything below it as well. It says
/// where it has a gap, since servers do not catch up with it after a lost connection, and
/// [`changed_since`](Self::changed_since) asks which nodes have changed meanwhile.
/// [`watches`](Self::watches) lists all that is watched.
///
/// # Who may do what
/// Nodes are open to everybody unless they are created with an access control list: see
/// [`Acl`], `.acl(…)` on a create, [`acl`](Self::acl), [`set_acl`](Self::set_acl),
/// and [`add_auth`](Self::add_auth) to say who one is. [`Builder::sasl`] proves it before anything
/// else on every connection, and requests wait until that is done; [`Builder::login`] takes a
/// [`LoginProvider`](crate::LoginProvider), which is asked anew for every connection. Servers that
/// speak TLS (feature `tls`) have `tls://` before their name in the connect string.
///
/// # Which server
/// The session picks one, and goes to another when it must. [`set_servers`](Self::set_servers)
/// gives it another list, [`reconnect`](Self::reconnect) sends it to another server;
/// [`Builder::prefer`] and [`Builder::follow_reconfig`] leave both to it, and
/// [`Builder::read_only`] takes a server without a quorum where there is none with one. A move
/// waits for the answers that are due, so it costs no request, and the session, its watches and
/// ephemeral nodes go along.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// let client = homing::Client::builder(&servers).follow_reconfig(true).connect().await?;
/// client.set_servers(&servers)?;
/// println!("now at {}", client.reconnect().await?.server);
/// # Ok(())
/// # }
/// ```
///
/// # The session
/// Pings keep it alive. When a connection is lost the session is *suspended*, another server is
/// sought, and all goes on with the same session, if that is in time; see
/// [`state`](Self::state). Until [`valid_until`](Self::valid_until) it is certain to be alive.
/// A session that has ended stays so: make a new client, or have this one begin another session
/// by itself ([`on_expiry`](Builder::on_expiry)); [`expiry_report`](Self::expiry_report) has what
/// is known of why. [`stats`](Self::stats) has figures at any time.
///
/// # More sessions
/// One session is answered strictly in order. Reads that are too many for it go to a
/// [`Pool`](crate::Pool) of several, whose users never see time go backwards; this client's
/// [`last_zxid`](Self::last_zxid) tells them what has been written.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// # let client = homing::Client::connect(&servers).await?;
/// let pool = homing::Client::builder(&servers).pool().start()?;
/// let user = pool.user();
/// client.create("/config", b"v1").await?;
/// user.seen(client.last_zxid());
/// assert_eq!(user.get("/config").await?.data, "v1");
/// # Ok(())
/// # }
/// ```
///
/// # The end
/// [`close`](Self::close) ends the session, and its ephemeral nodes go away with it. Dropping
/// the last handle does the same in the background, within a second: what was submitted and is not
/// answered by then ends with an error. [`detach`](Self::detach) leaves it to another
/// client.
pub struct Client {
    pub(crate) scope: Arc<Scope>,
}

/// What requests need of their client. It does not keep the session alive.
#[derive(Debug)]
pub struct Scope {
    pub(crate) core: Arc<Core>,
    /// Empty, or a path that does not end with a slash.
    pub(crate) chroot: String,
    /// The session to which its requests keep; `None` for whichever there is.
    pub(crate) hold: Option<Arc<Hold>>,
}

impl Scope {
    /// For paths that are the server's.
    pub(crate) fn without_chroot(&self) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(&self.core),
            chroot: String::new(),
            hold: self.hold.clone(),
        })
    }

    /// Room for what is to be undone if its caller goes away.
    pub(crate) fn pledge(&self, request: &Subject, undo: Undo) -> Result<Arc<Pledge>, Error> {
        let era = self.era();
        match Pledge::new(&self.core.shared, era, undo) {
            Ok(pledge) => Ok(Arc::new(pledge)),
            Err(not_taken) => Err(self.not_taken(request.clone(), era, not_taken)),
        }
    }

    /// Why the session does not see to something that was asked for in this era.
    pub(crate) fn not_taken(&self, request: Subject, era: u64, not_taken: NotTaken) -> Error {
        match not_taken {
            NotTaken::Full { limit } => Error::TooManyGuaranteed { request, limit },
            NotTaken::Refused(refused) => self.refused(request, era, refused),
        }
    }
}

pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) settings: Settings,
    /// The newest era of which somebody knows who uses the client.
    pub(crate) known_era: AtomicU64,
    /// How many [`Client`]s there are; the session is closed with the last.
    handles: AtomicUsize,
    /// For tokens and for pauses.
    dice: Mutex<ChaCha8Rng>,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) deadline: Option<Duration>,
    pub(crate) request_len_max: usize,
    pub(crate) reply_len_max: usize,
    pub(crate) acl: Arc<[Acl]>,
}

/// How long a session may take to close when its last handle was dropped.
const CLOSE_ON_DROP: Duration = Duration::from_secs(1);
/// How long `close` may take if it is not told.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(5);

impl Client {
    /// Connects with the default settings: `host[:port](,host[:port])*[/chroot]`.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// // On a plain thread:
    /// let client = homing::Client::builder(&servers).own_thread().connect().wait()?;
    /// # client.close().wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(connect_string: &str) -> Connect {
        Self::builder(connect_string).connect()
    }

    /// A builder with all settings.
    pub fn builder(connect_string: &str) -> Builder {
        Builder::new(connect_string)
    }

    pub(crate) fn new(core: Arc<Core>, chroot: String) -> Self {
        let hold = None;
        Self::with_scope(Scope { core, chroot, hold })
    }

    pub(crate) fn with_scope(scope: Scope) -> Self {
        scope.core.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            scope: Arc::new(scope),
        }
    }

    /// A handle to the same session whose paths lie below `path`.
    ///
    /// # Errors
    /// `path` is not a path.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/app", b"").await?;
    /// let app = client.chroot("/app")?;
    /// app.create("/config", b"v1").await?;
    /// assert_eq!(client.get("/app/config").await?.data, "v1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn chroot(&self, path: &str) -> Result<Self, Error> {
        let subject = || Subject {
            op: "chroot",
            path: path.into(),
        };
        validate_path(path).map_err(|why| Error::BadPath {
            request: subject(),
            why,
        })?;
        let below = if path == "/" { "" } else { path };
        let chroot = format!("{}{below}", self.scope.chroot);
        Ok(Self::with_scope(Scope {
            core: Arc::clone(&self.scope.core),
            chroot,
            hold: self.scope.hold.clone(),
        }))
    }

    /// Where the session stands now.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::SessionState;
    /// match client.state() {
    ///     SessionState::Connected(connection) => println!("at {}", connection.server),
    ///     other => println!("{other}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn state(&self) -> SessionState {
        if self.scope.is_over() {
            return SessionState::Ended(self.scope.end());
        }
        self.shared().status.state().map_instants(clock::awake)
    }

    /// The states that follow, beginning with the one now, as a stream.
    pub fn state_changes(&self) -> StateChanges {
        StateChanges::new(Arc::clone(&self.scope.core))
    }

    /// Waits until the session is connected; at once if it is. One that was closed for being
    /// [idle](Builder::close_idle_after) is opened for it.
    ///
    /// # Errors
    /// [`Error::SessionEnded`] or [`Error::Closed`] if it is over.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use std::time::Duration;
    /// let client = homing::Client::builder(&servers).own_thread().start()?;
    /// let connection = client.connected().within(Duration::from_secs(10)).wait()?;
    /// println!("at {}", connection.server);
    /// # client.close().wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connected(&self) -> WhenConnected {
        WhenConnected::new(&self.scope)
    }

    /// What another client needs to [resume](Builder::resume) this session; `None` before the
    /// first connection. Keep it secret: whoever has it can take the session over.
    pub fn credentials(&self) -> Option<Credentials> {
        let credentials = self.shared().status.credentials();
        credentials.filter(|_| !self.scope.is_over())
    }

    /// What is on its way: requests that were submitted and not answered, and their bytes.
    pub fn in_flight(&self) -> Usage {
        self.shared().queue.usage()
    }

    /// For each server the newest reason why it could not be connected to, since a connection
    /// last held.
    pub fn failures(&self) -> Vec<Attempt> {
        self.shared().status.failures()
    }

    /// Until when the session is certain to be alive at the servers, whatever happens to the
    /// network: its time-out, counted from when the newest request or ping was *sent* that has
    /// been answered. Who holds a lock by an ephemeral node holds it until then. `None` before
    /// the first connection, and from a [pinned](Self::pinned) handle whose session has ended.
    ///
    /// A machine that is suspended takes its clock along to sleep, and the servers do not wait:
    /// after waking up this tells an earlier time by as much as was slept through. So ask anew
    /// before relying on it, rather than keeping the answer. (On Linux and Android, where the
    /// system tells for how long it has slept.)
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let certain = client.valid_until().expect("it is connected");
    /// assert!(certain > std::time::Instant::now());
    /// # Ok(())
    /// # }
    /// ```
    pub fn valid_until(&self) -> Option<Instant> {
        let valid_until = self.shared().status.valid_until().map(clock::awake);
        valid_until.filter(|_| !self.scope.is_over())
    }

    /// The newest transaction that this session knows of: the highest zxid in any answer that
    /// it has had, of a read or of a write; 0 before the first. After an answer it is at least
    /// the zxid of that answer, so that [`pool::User::seen`](crate::pool::User::seen) can be told.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let created = client.create("/a", b"").await?;
    /// let before = client.last_zxid();
    /// client.delete("/a").await?;
    /// assert!(client.last_zxid() > before);
    /// # let _ = created;
    /// # Ok(())
    /// # }
    /// ```
    pub fn last_zxid(&self) -> i64 {
        self.shared().status.last_zxid()
    }

    /// What is going on, in figures: a cheap snapshot.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let stats = client.stats();
    /// assert_eq!((stats.session.connections, stats.in_flight.requests, stats.watches), (1, 0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        Stats {
            in_flight: shared.queue.usage(),
            watches: shared.watches.armed(),
            guaranteed: shared.errands.len(),
            session: shared.status.stats().map_instants(clock::awake),
        }
    }

    /// All that is watched now at this handle's root and below, by any handle of the session, path
    /// by path in their order. For finding out who forgets to drop watchers.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let (_, _created) = client.exists("/a").watch().await?;
    /// let _changes = client.watch("/a").recursive().await?;
    /// let watches = client.watches();
    /// assert_eq!(watches.len(), 1);
    /// assert_eq!((watches[0].path.as_str(), watches[0].exist, watches[0].recursive), ("/a", 1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn watches(&self) -> Vec<WatchedPath> {
        let mut watches = self.shared().watches.report();
        watches.retain_mut(|watched| match self.scope.path_below(&watched.path) {
            Some(path) => {
                watched.path = path.into();
                true
            }
            None => false,
        });
        watches
    }

    /// Why the session has ended, with all there is to know: when a server was last heard, how
    /// long pings took, whether this process was late, which servers were tried and what they
    /// said. `None` while it lives, and when it was closed or detached. Where another session
    /// has followed, it is about the last one that has expired.
    pub fn expiry_report(&self) -> Option<Arc<ExpiryReport>> {
        self.shared().status.report()
    }

    /// Leaves the session without ending it: its ephemeral nodes and locks stay until its
    /// time-out passes, and another client, in this process or another, can
    /// [resume](Builder::resume) it with the credentials. Requests that are on their way end
    /// with an error; wait for their answers first.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the session never began, [`Error::SessionEnded`] if it has ended.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// # let client = homing::Client::connect(&servers).await?;
    /// client.create("/lock", b"").ephemeral().await?;
    /// let credentials = client.detach().await?;
    ///
    /// let heir = homing::Client::builder(&servers).resume(credentials).connect().await?;
    /// assert!(heir.exists("/lock").await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(&self) -> Detach {
        Detach::new(&self.scope)
    }

    /// Ends the session. Requests that were submitted before are answered first; later ones
    /// fail with [`Error::Closed`]. Ephemeral nodes are gone when it is done.
    ///
    /// Closing twice is no error, nor is closing what has ended: the second close waits for the end
    /// and says no more than that. To the first one, a close that no server confirmed is an error:
    /// the session then lasts until its time-out passes at the servers.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.close().await?;
    /// assert!(matches!(client.get("/").await, Err(homing::Error::Closed { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) -> Close {
        Close::new(&self.scope)
    }

    /// The driver's timer: the only one that there is without an async runtime.
    pub(crate) fn sleep(&self, duration: Duration) -> Ticket<()> {
        self.shared().queue.sleep(duration)
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.scope.core.driver
    }

    fn shared(&self) -> &Shared {
        &self.scope.core.shared
    }
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        driver: Arc<dyn Driver>,
        settings: Settings,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            driver,
            settings,
            known_era: AtomicU64::new(0),
            handles: AtomicUsize::new(0),
            dice: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
        })
    }

    /// A number that nobody has had before.
    pub(crate) fn random(&self) -> u64 {
        self.dice().random()
    }

    /// Anything from nothing to `ceiling`.
    pub(crate) fn jitter(&self, ceiling: Duration) -> Duration {
        self.dice().random_range(Duration::ZERO..=ceiling)
    }

    fn dice(&self) -> MutexGuard<'_, ChaCha8Rng> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a submission was refused, in the terms of the facade.
    pub(crate) fn refused(&self, request: Subject, refused: Refused) -> Error {
        match (refused, self.shared.status.end()) {
            (Refused::Busy, _) => Error::Busy { request },
            (Refused::Overdue, _) => {
                let fate = Fate::NotSent;
                Error::Deadline { request, fate }
            }
            (Refused::Ended, Some(end)) => Error::session_ended(request, Fate::NotSent, end),
            (Refused::Sealed | Refused::Ended | Refused::Outdated, _) => Error::Closed { request },
        }
    }

    pub(crate) fn seal(&self, within: Duration) -> Option<Ticket<Answer>> {
        let submission = Submission {
            len: request_len(&Empty),
            within: None,
            note: Note::Close,
        };
        self.shared.queue.seal(within, submission, |xid, out| {
            put_request(
                out,
                RequestHeader {
                    xid,
                    op: op::CLOSE_SESSION,
                },
                &Empty,
            );
        })
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        self.scope.core.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            scope: Arc::clone(&self.scope),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.scope.core.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The driver goes on until the session is closed. Nobody waits for it.
            drop(self.scope.core.seal(CLOSE_ON_DROP));
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("chroot", &self.scope.chroot)
            .field("state", &self.state())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// What is going on in a client; see [`Client::stats`].
///
/// ```
/// fn is_calm(stats: &homing::Stats) -> bool {
///     stats.in_flight.requests < 1_000 && stats.session.lost() == 0
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that were submitted and not answered, and their bytes.
    pub in_flight: Usage,
    /// Watches that are armed.
    pub watches: usize,
    /// Guaranteed deletions that are not done, and protected creates that are under way.
    pub guaranteed: usize,
    /// What the session has seen since it began.
    pub session: SessionStats,
}
