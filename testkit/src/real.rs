//! A real Apache ZooKeeper on loopback, for the tests that a fake cannot answer for.
//!
//! It runs the server of Debian's package (`apt-get install zookeeper`): one standalone server
//! in a JVM of its own, on a free port, with its data in a temporary folder. Starting takes
//! about a second, so most tests share one:
//!
//! ```no_run
//! let Some(server) = homing_testkit::real::shared() else {
//!     return; // Not installed, and said so.
//! };
//! println!("a ZooKeeper {} at {}", server.version(), server.connect_string());
//! ```
//!
//! Nothing stays behind. The JVM belongs to a small shell that waits at a pipe from this
//! process; when the pipe ends, because the server was dropped, the test panicked or the whole
//! process was killed, the shell kills the JVM and removes the folder:
//!
//! ```text
//! test process ──pipe──▶ sh ──▶ JVM
//!                         └───▶ temporary folder: zoo.cfg, log, data
//! ```
//!
//! The environment variable `HOMING_ZOOKEEPER` says what becomes of such tests where ZooKeeper
//! is not installed; see [`requirement`]. `HOMING_ZOOKEEPER_CLASSPATH` has another version run
//! in its place; see [`Installation::find`].
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a panic is how the test that asks for what cannot be had fails"
)]

mod builder;
mod ensemble;
mod failure;
mod installation;
mod port;
mod secure;
mod shell;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

pub use builder::{Builder, jaas_with_users};
pub use ensemble::{Ensemble, EnsembleBuilder, shared_ensemble};
pub use failure::StartError;
pub use installation::{Installation, NotInstalled, requirement};

use failure::Failure;
use shell::Shell;

/// The server that all tests of this process share, started by the first who asks. `None` where
/// [`requirement`] says so.
///
/// It has the settings of [`ZooKeeper::start`] and ends with the process. Tests that share it
/// keep to nodes of their own. It cannot be killed or paused: start one for that.
///
/// ```no_run
/// if let Some(server) = homing_testkit::real::shared() {
///     assert!(server.ask("srvr")?.contains("Mode: standalone"));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// ZooKeeper is required and not installed, or it is installed and does not start.
pub fn shared() -> Option<&'static ZooKeeper> {
    static SHARED: OnceLock<Option<ZooKeeper>> = OnceLock::new();
    let start = || {
        requirement()?;
        Some(ZooKeeper::start().unwrap_or_else(|error| panic!("{error}")))
    };
    SHARED.get_or_init(start).as_ref()
}

/// A running server. Dropping it kills it and removes its data.
///
/// ```no_run
/// let mut server = homing_testkit::real::ZooKeeper::start()?;
/// let before = server.connect_string();
/// server.kill();
/// server.restart()?;
/// assert_eq!(server.connect_string(), before);
/// # Ok::<(), homing_testkit::real::StartError>(())
/// ```
#[derive(Debug)]
pub struct ZooKeeper {
    shell: Shell,
    /// The lines of `zoo.cfg` that do not depend on the port or the folder. `None` in an
    /// ensemble, whose members rewrite their own files when they are reconfigured.
    config: Option<String>,
    addr: SocketAddr,
    /// Its TLS, and where it speaks that.
    tls: Option<(secure::Tls, SocketAddr)>,
    /// Of the latest JVM, which may be dead by now.
    pid: u32,
    version: String,
}

impl ZooKeeper {
    /// Starts one with the builder's defaults, and returns when it answers.
    ///
    /// # Errors
    /// It is not installed, or it did not start; then the error has the end of its log.
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// A server with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where clients connect to, as `127.0.0.1:port`.
    pub fn connect_string(&self) -> String {
        self.addr.to_string()
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where clients connect to in TLS, as `tls://127.0.0.1:port`; `None` without
    /// [`Builder::tls`].
    pub fn tls_connect_string(&self) -> Option<String> {
        let (_, addr) = self.tls.as_ref()?;
        Some(format!("tls://{addr}"))
    }

    /// The version that the server tells, such as `3.8.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The process id of the JVM, also after its end.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The folder with the configuration, the data and the log, which goes with the server.
    pub fn folder(&self) -> &Path {
        &self.shell.folder
    }

    /// All that the server logged, over all its restarts: warnings and errors, unless
    /// [`Builder::system_property`] says otherwise.
    pub fn log(&self) -> String {
        self.shell.log_from(0)
    }

    /// Sends one of the four-letter words, all of which are allowed, and returns the answer.
    ///
    /// # Errors
    /// There is no connection, or no answer within a second: the server is dead, paused, or not
    /// yet up.
    pub fn ask(&self, word: &str) -> io::Result<String> {
        ask(self.addr, word, Duration::from_secs(1))
    }

    /// Kills the server (SIGKILL) and returns when it is gone. Nothing happens to a dead one.
    ///
    /// # Panics
    /// Somebody ended the shell that the server belongs to.
    pub fn kill(&mut self) {
        self.shell.tell("kill");
    }

    /// Starts the server again, on the same port and with the same data, and returns when it
    /// answers. One that is still alive is killed first.
    ///
    /// # Errors
    /// It did not start; the error has the end of its log.
    pub fn restart(&mut self) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.launch(deadline) {
                // Something holds the port for the moment, such as a connection from it.
                Err(Failure::PortTaken(_)) if Instant::now() < deadline => thread::sleep(PAUSE),
                done => return done.map_err(StartError::from),
            }
        }
    }

    /// Freezes the server (SIGSTOP) and returns when none of its threads runs any more: its
    /// connections stay open and nothing answers. A dead one stays dead.
    ///
    /// # Panics
    /// Somebody ended the shell that the server belongs to.
    pub fn pause(&mut self) {
        self.shell.tell("pause");
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.shell.jvm_exited() && threads_run(self.pid) {
            assert!(Instant::now() < deadline, "ZooKeeper runs on when paused");
            thread::sleep(PAUSE);
        }
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Panics
    /// Somebody ended the shell that the server belongs to.
    pub fn resume(&mut self) {
        self.shell.tell("resume");
    }

    /// Starts a JVM on the port that was chosen and waits until it serves.
    fn launch(&mut self, deadline: Instant) -> Result<(), Failure> {
        let log_start = self.boot()?;
        self.wait_until(serves, log_start, deadline)
    }

    /// Starts a JVM, and says from where on the log is its own.
    fn boot(&mut self) -> Result<u64, Failure> {
        if let Some(config) = &self.config {
            let secure = self.tls.as_ref().map(|(tls, addr)| tls.config(*addr));
            let config = format!(
                "{config}{}dataDir={}\nclientPort={}\nclientPortAddress={}\n",
                secure.unwrap_or_default(),
                self.data_folder().display(),
                self.addr.port(),
                self.addr.ip(),
            );
            fs::write(self.shell.folder.join("zoo.cfg"), config).map_err(Failure::Io)?;
        }
        let log_start = self.shell.log_len();
        self.pid = self.shell.start().map_err(Failure::Io)?;
        Ok(log_start)
    }

    /// Waits until what the server says of itself (`srvr`) is as it should be.
    fn wait_until(
        &mut self,
        is_so: fn(&str) -> bool,
        log_start: u64,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let whose = format!("dataDir={}", self.data_folder().display());
        loop {
            let secure = self.tls.as_ref().map(|(_, addr)| *addr);
            if let Some(state) = own_state(self.addr, &whose).filter(|state| is_so(state))
                && let Some(version) = version(&state)
                && secure.is_none_or(accepts)
            {
                self.version = version;
                return Ok(());
            }
            let failure = if self.shell.jvm_exited() {
                Failure::exited
            } else if Instant::now() >= deadline {
                Failure::TimedOut
            } else {
                thread::sleep(PAUSE);
                continue;
            };
            return Err(failure(self.shell.log_from(log_start)));
        }
    }

    fn data_folder(&self) -> PathBuf {
        self.shell.folder.join("data")
    }
}

/// How long a server may take until it answers. It takes about a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at a server that has no way to call.
const PAUSE: Duration = Duration::from_millis(10);

/// What the server at `addr` says of itself, when it says anything, and when it is the one that
/// was meant: another process may have been faster to take the port.
fn own_state(addr: SocketAddr, whose: &str) -> Option<String> {
    // A connection that comes while the server starts may never be answered, so the next try
    // must not wait long for this one.
    let within = Duration::from_millis(250);
    let config = ask(addr, "conf", within).ok()?;
    if !config.lines().any(|line| line.starts_with(whose)) {
        return None;
    }
    ask(addr, "srvr", within).ok()
}

/// In whatever mode.
fn serves(state: &str) -> bool {
    state.contains("Mode: ")
}

fn version(state: &str) -> Option<String> {
    let version = state.strip_prefix("Zookeeper version: ")?;
    let (number, _) = version.split_once(|c: char| c != '.' && !c.is_ascii_digit())?;
    Some(number.to_owned())
}

/// Whether somebody listens: the port for TLS is opened after the plain one.
fn accepts(addr: SocketAddr) -> bool {
    TcpStream::connect_timeout(&addr, Duration::from_millis(250)).is_ok()
}

fn ask(addr: SocketAddr, word: &str, within: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether a thread of the process is in any state but stopped. Where the system does not tell
/// (no `/proc`), none does.
fn threads_run(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // "pid (name) state …", where the name may hold anything.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with('T'))
    })
}
