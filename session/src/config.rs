//! What a session is started with.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::SessionPassword;
use homing_transport::{Limits, Secure};

use crate::connect_string::Server;
use crate::login::Login;
use crate::outside::Ask;
use crate::preference::Preference;
use crate::sasl::{Peer, Sasl};

/// Settings of a session. All have defaults but the servers.
///
/// ```
/// use std::time::Duration;
/// use homing_session::{Config, ConnectString};
/// let config = Config::new("zk1,zk2".parse::<ConnectString>()?.servers);
/// assert_eq!(config.session_timeout, Duration::from_secs(30));
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where to connect to; tried in an order that the seed decides.
    pub servers: Vec<Server>,
    /// The session time-out to ask for; 30 s by default. The server has the last word: it
    /// grants something between 2 and 20 of its ticks.
    pub session_timeout: Duration,
    /// How long the first connection may take, over all servers; 10 s by default. Each server
    /// gets its share. The session itself goes on trying after that.
    pub connect_timeout: Duration,
    /// The largest reply that is handed out, in bytes; 4 MiB by default. A server can send more
    /// than it takes (1 MiB), for example a long list of children.
    pub reply_len_max: usize,
    /// What may be in flight at once.
    pub limits: Limits,
    /// How many things the session may have to see to by itself at once: deletions that are
    /// repeated until they are done, and what is to be undone if its caller goes away. 4,096 by
    /// default.
    pub errands_max: usize,
    /// A session of an earlier client that is to be resumed; `None` by default.
    pub resume: Option<Credentials>,
    /// How long a session that has lost its servers is presumed to live on, counted from the
    /// last time that one was heard. `None`, the default, means 4/3 of the session time-out;
    /// `Some(Duration::MAX)` presumes nothing and waits for a server's word.
    pub presume_expired_after: Option<Duration>,
    /// How every connection proves who is there, before anything else; `None` by default, which
    /// proves nothing.
    pub sasl: Option<Sasl>,
    /// Who is asked, anew for every connection, what identifies the client on it. Why there is
    /// no answer fails that attempt. `None` by default.
    pub login: Option<Ask<Peer, Result<Login, String>>>,
    /// How long that may take; 5 s by default. The stream is open meanwhile, and servers close
    /// one on which nothing is said for 10 s.
    pub login_timeout: Duration,
    /// Who is asked for the addresses of a server that is a name, before the system is; he may
    /// leave it to the system with `None`. `None` by default.
    pub names: Option<Ask<Server, Addresses>>,
    /// Who is asked which servers there are. `None` by default: those above, and no others.
    pub server_list: Option<ServerSource>,
    /// What follows when the session has expired; [`OnExpiry::End`] by default.
    pub on_expiry: OnExpiry,
    /// Whether a server without a quorum will do, which serves reads alone; not by default. While
    /// it has to, the session looks for a server that takes writes, and moves there.
    pub read_only: bool,
    /// After how long without any use the session is closed until somebody asks for something;
    /// `None`, the default, for never. It is in use while a request is on its way, a watch is
    /// armed, it may have an ephemeral node, or somebody [holds on](crate::Shared::hold) to it.
    pub close_idle_after: Option<Duration>,
    /// After how many rounds over all servers without a connection requests end at once, instead
    /// of waiting; `None`, the default, for never. The session itself goes on trying.
    pub fail_fast_after: Option<u32>,
    /// Whether the session reads who belongs to the ensemble (`/zookeeper/config`), and follows
    /// when that changes; `false` by default.
    pub follow_reconfig: bool,
    /// Servers that the session would rather be at; `None` by default.
    pub prefer: Option<Preference>,
    /// How many events a watch that stays keeps until they are asked for; 1,024 by default.
    pub watch_backlog: usize,
    /// How many watches may be armed before a warning goes to the log, once; 100,000 by default.
    pub watches_warn_above: usize,
    /// What makes the TLS of servers that have it in the connect string. `None`, the default,
    /// connects to none of these.
    pub secure: Option<Arc<dyn Secure>>,
    /// Where all randomness of the session comes from: the order of servers, the length of
    /// pauses. Two sessions should not have the same, or they knock at the same doors at the
    /// same times.
    pub seed: u64,
    /// The first xid; 1 by default. Tests set it to see the number wrap.
    pub first_xid: i32,
}

impl Config {
    /// The defaults, and these servers.
    pub fn new(servers: Vec<Server>) -> Self {
        Self {
            servers,
            session_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            reply_len_max: 4 << 20,
            limits: Limits::default(),
            errands_max: 4_096,
            resume: None,
            presume_expired_after: None,
            sasl: None,
            login: None,
            login_timeout: Duration::from_secs(5),
            names: None,
            server_list: None,
            on_expiry: OnExpiry::End,
            read_only: false,
            close_idle_after: None,
            fail_fast_after: None,
            follow_reconfig: false,
            prefer: None,
            watch_backlog: 1_024,
            watches_warn_above: 100_000,
            secure: None,
            seed: 0,
            first_xid: 1,
        }
    }
}

/// The addresses that a name has, if they are known, or why they are not.
pub(crate) type Addresses = Result<Option<Vec<SocketAddr>>, String>;

/// The servers, if others than before are known, or why they are not.
pub(crate) type Servers = Result<Option<Vec<Server>>, String>;

/// Somebody who knows which servers there are. He is asked when the session begins, when a
/// connection is lost, and after every fruitless pass over the servers that are known; nothing
/// waits for the answer as long as some are.
///
/// ```
/// use homing_session::{Ask, ConnectString, ServerSource};
/// let names = "zk.example.org".parse::<ConnectString>()?.servers;
/// let source = ServerSource {
///     name: names[0].clone(),
///     ask: Ask::new(|(), respondent| respondent.answer(Err("nobody knows".into()))),
/// };
/// # let _ = source;
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ServerSource {
    /// In whose place a failure to get the list is reported.
    pub name: Server,
    /// Who is asked.
    pub ask: Ask<(), Servers>,
}

/// What follows when a session has expired, told by a server or presumed.
///
/// Whatever is set, nothing crosses from one session into another: every request and every
/// watcher of the old one ends with its [`SessionEnd`](crate::SessionEnd). A refused identity and
/// a close are final in any case.
///
/// ```
/// assert_eq!(homing_session::OnExpiry::default(), homing_session::OnExpiry::End);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnExpiry {
    /// The end: every later request fails too.
    #[default]
    End,
    /// A new session, with the same identities and without watches.
    ///
    /// A session that is presumed to have expired may still live at the servers, with its
    /// ephemeral nodes. So it is first taken up once more, only to be closed: by the first server
    /// that answers, in no more than three attempts for each server, each of which ends in time
    /// as any attempt to connect does, and with a second for the closing. After that it is left
    /// to its time-out.
    Renew,
}

/// What it takes to resume a session: with this, any process can take it over. As secret as a
/// password; `Debug` shows the id alone.
///
/// ```
/// let credentials = homing_session::Credentials::new(0x1234, b"0123456789abcdef")?;
/// assert_eq!(format!("{credentials:?}"), "Credentials(session 0x1234)");
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) session_id: i64,
    pub(crate) password: SessionPassword,
}

impl Credentials {
    /// From what was kept of another client: its [`session_id`](Self::session_id) and
    /// [`password`](Self::password).
    ///
    /// # Errors
    /// The password is longer than 64 bytes.
    pub fn new(session_id: i64, password: &[u8]) -> Result<Self, homing_protocol::DecodeError> {
        Ok(Self {
            session_id,
            password: SessionPassword::new(password)?,
        })
    }

    /// The session's id.
    pub fn session_id(&self) -> i64 {
        self.session_id
    }

    /// The session's password.
    pub fn password(&self) -> &[u8] {
        self.password.as_bytes()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(session {:#x})", self.session_id)
    }
}
