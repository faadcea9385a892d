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

mod secure;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

mod ensemble;
mod shell;

pub use ensemble::{Ensemble, EnsembleBuilder, shared_ensemble};
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

/// Whether tests against a real ZooKeeper are to run, by the environment variable
/// `HOMING_ZOOKEEPER`:
///
/// | value | installed | not installed |
/// | --- | --- | --- |
/// | `required` | they run | a panic |
/// | `optional`, or unset | they run | `None`, and a line on stderr says what is left out |
/// | `off` | `None`, and a line on stderr | `None`, and a line on stderr |
///
/// The line is written past the test harness, which would swallow it, once in a process.
///
/// ```no_run
/// use homing_testkit::real;
/// if real::requirement().is_some() {
///     let server = real::ZooKeeper::start()?;
/// }
/// # Ok::<(), real::StartError>(())
/// ```
///
/// # Panics
/// It is required and not installed, or the variable has another value.
pub fn requirement() -> Option<Installation> {
    static SAID: Once = Once::new();
    let setting = env::var_os("HOMING_ZOOKEEPER").unwrap_or_default();
    match decide(&setting.to_string_lossy(), Installation::find()) {
        Decision::Run(installation) => Some(installation),
        Decision::LeaveOut(why) => {
            SAID.call_once(|| {
                let line = format!("LEFT OUT: tests against a real ZooKeeper: {why}\n");
                // Without a place to say it there is nothing to do about it.
                let _ = io::stderr().write_all(line.as_bytes());
            });
            None
        }
        Decision::Fail(why) => panic!("{why}"),
    }
}

enum Decision {
    Run(Installation),
    LeaveOut(String),
    Fail(String),
}

/// The table of [`requirement`].
fn decide(setting: &str, found: Result<Installation, NotInstalled>) -> Decision {
    match (setting, found) {
        ("off", _) => Decision::LeaveOut("HOMING_ZOOKEEPER=off".into()),
        ("" | "optional" | "required", Ok(installation)) => Decision::Run(installation),
        ("" | "optional", Err(missing)) => Decision::LeaveOut(missing.to_string()),
        ("required", Err(missing)) => {
            Decision::Fail(format!("HOMING_ZOOKEEPER=required: {missing}"))
        }
        (other, _) => Decision::Fail(format!(
            "HOMING_ZOOKEEPER is {other:?}: it can be required, optional or off"
        )),
    }
}

/// What it takes to run a ZooKeeper, found on this machine.
///
/// ```no_run
/// use homing_testkit::real::Installation;
/// match Installation::find() {
///     Ok(installation) => println!("{}", installation.java().display()),
///     Err(missing) => println!("{missing}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    java: PathBuf,
    class_path: String,
}

impl Installation {
    /// Looks for Debian's jars, and for a `java` in `JAVA_HOME` and on the `PATH`.
    ///
    /// Where the environment variable `HOMING_ZOOKEEPER_CLASSPATH` is set, it is the class path of
    /// the server to run, whatever its version: the server, all that it needs, and somewhere to
    /// log to, such as slf4j-simple. `scripts/build-zookeeper` builds a server from its source and
    /// prints such a class path.
    ///
    /// # Errors
    /// Something is missing; the error says what.
    pub fn find() -> Result<Self, NotInstalled> {
        let chosen = env::var(CLASS_PATH).ok();
        let not_installed = |missing| NotInstalled {
            missing,
            is_chosen: chosen.is_some(),
        };
        // The manifest of the first names all that it needs but a place for the log.
        let debian = || format!("{ZOOKEEPER_JAR}:{LOG_JAR}");
        let class_path = chosen.clone().unwrap_or_else(debian);
        if let Some(missing) = missing_in(&class_path) {
            return Err(not_installed(missing));
        }
        let java = find_java().ok_or_else(|| not_installed("java".into()))?;
        Ok(Self { java, class_path })
    }

    /// The Java runtime.
    pub fn java(&self) -> &Path {
        &self.java
    }

    /// The class path that has the server.
    pub fn class_path(&self) -> &str {
        &self.class_path
    }
}

/// The environment variable that has a server of one's own run.
const CLASS_PATH: &str = "HOMING_ZOOKEEPER_CLASSPATH";

/// What a class path names, and is not there.
fn missing_in(class_path: &str) -> Option<String> {
    let there = |entry: &str| entry.is_empty() || Path::new(entry).exists();
    let missing = class_path.split(':').find(|entry| !there(entry))?;
    Some(missing.into())
}

const ZOOKEEPER_JAR: &str = "/usr/share/java/zookeeper.jar";
/// What the server logs through: plain lines on stderr, set up by system properties alone.
const LOG_JAR: &str = "/usr/share/java/slf4j-simple.jar";

fn find_java() -> Option<PathBuf> {
    let home = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = home.into_iter().chain(env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join("java")).filter(|java| java.is_file()))
}

/// There is no ZooKeeper on this machine.
///
/// ```no_run
/// use homing_testkit::real::Installation;
/// let missing = Installation::find().unwrap_err();
/// assert!(missing.to_string().contains("apt-get install zookeeper"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInstalled {
    missing: String,
    /// By whoever set the class path.
    is_chosen: bool,
}

impl fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = &self.missing;
        match self.is_chosen {
            false => write!(
                f,
                "real ZooKeeper is not installed: apt-get install zookeeper ({missing} is missing)"
            ),
            true => write!(
                f,
                "the ZooKeeper of {CLASS_PATH} cannot be run: {missing} is missing"
            ),
        }
    }
}

impl std::error::Error for NotInstalled {}

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

/// Settings of a server to be started.
///
/// ```no_run
/// use std::time::Duration;
/// let server = homing_testkit::real::ZooKeeper::builder()
///     .tick_time(Duration::from_millis(200)) // Sessions from 400 ms to 4 s,
///     .property("maxSessionTimeout", "60000") // or even longer.
///     .system_property("zookeeper.extendedTypesEnabled", "false")
///     .start()?;
/// # Ok::<(), homing_testkit::real::StartError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    tick_time: Duration,
    properties: Vec<(String, String)>,
    system_properties: Vec<(String, String)>,
    jvm_options: Vec<String>,
    jaas: Option<String>,
    tls: Option<secure::Tls>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tick_time: Duration::from_millis(500),
            properties: Vec::new(),
            system_properties: Vec::new(),
            jvm_options: Vec::new(),
            jaas: None,
            tls: None,
        }
    }
}

impl Builder {
    /// The server's unit of time, in whole milliseconds; 500 ms unless set. Sessions time out
    /// after 2 to 20 ticks, and expire up to one tick late.
    ///
    /// # Panics
    /// It is under a millisecond or over `i32::MAX` of them.
    pub fn tick_time(mut self, tick_time: Duration) -> Self {
        let range = 1..=i32::MAX.unsigned_abs().into();
        assert!(
            range.contains(&tick_time.as_millis()),
            "a tick of {tick_time:?}"
        );
        self.tick_time = tick_time;
        self
    }

    /// A line of `zoo.cfg`; the last one for a key counts. The port, the address and the folder
    /// of the data (`clientPort`, `clientPortAddress`, `dataDir`) are not to be chosen, and the
    /// server has to answer `conf` and `srvr`.
    ///
    /// # Panics
    /// There is a line break in it.
    pub fn property(mut self, key: &str, value: &str) -> Self {
        let breaks = ['\n', '\r'];
        assert!(
            !key.contains(breaks) && !value.contains(breaks),
            "a line break in the property {key:?}"
        );
        self.properties.push((key.into(), value.into()));
        self
    }

    /// A system property of the JVM (`-Dkey=value`); the last one for a key counts.
    ///
    /// Unless set, `zookeeper.extendedTypesEnabled` is `true` (nodes with a time to live) and
    /// `org.slf4j.simpleLogger.defaultLogLevel` is `warn`.
    pub fn system_property(mut self, key: &str, value: &str) -> Self {
        self.system_properties.push((key.into(), value.into()));
        self
    }

    /// An option of the JVM itself, such as `-Xmx2g`, behind those that it has: the last one of a
    /// kind counts. Unless set, it starts quickly and stays small (256 MiB, the first compiler
    /// alone), which is not how it serves fastest.
    pub fn jvm_option(mut self, option: &str) -> Self {
        self.jvm_options.push(option.into());
        self
    }

    /// The server has SASL, with this JAAS file; see [`jaas_with_users`] for one. The file is
    /// `jaas.conf` in the server's folder, and read at every start.
    pub fn jaas(mut self, file: &str) -> Self {
        self.jaas = Some(file.into());
        self
    }

    /// Speaks TLS on a port of its own, beside the plain one; see
    /// [`ZooKeeper::tls_connect_string`]. All is PEM: the key store has the server's key (PKCS#8,
    /// not encrypted) and its certificates, the trust store the authorities of clients.
    /// `client_auth` is ZooKeeper's `ssl.clientAuth`: `none`, `want` or `need`.
    /// The members of an ensemble do without.
    pub fn tls(mut self, key_store: &str, trust_store: &str, client_auth: &str) -> Self {
        self.tls = Some(secure::Tls {
            key_store: key_store.into(),
            trust_store: trust_store.into(),
            client_auth: client_auth.into(),
        });
        self
    }

    /// Starts the server and returns when it answers.
    ///
    /// # Errors
    /// It is not installed, or it did not start; then the error has the end of its log.
    pub fn start(self) -> Result<ZooKeeper, StartError> {
        let installation = Installation::find().map_err(StartError::NotInstalled)?;
        let mut server = ZooKeeper {
            shell: Shell::spawn(&self.command_line(&installation)).map_err(StartError::Io)?,
            config: Some(self.config()),
            addr: free_addr().map_err(StartError::Io)?,
            tls: None,
            pid: 0,
            version: String::new(),
        };
        self.write_jaas(server.folder()).map_err(StartError::Io)?;
        if let Some(tls) = &self.tls {
            tls.write(&server.shell.folder).map_err(StartError::Io)?;
            let addr = free_addr().map_err(StartError::Io)?;
            server.tls = Some((tls.clone(), addr));
        }
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match server.launch(deadline) {
                Ok(()) => return Ok(server),
                // Between the choice and the start somebody else took it.
                Err(Failure::PortTaken(_)) if Instant::now() < deadline => {
                    server.addr = free_addr().map_err(StartError::Io)?;
                    if let Some((_, addr)) = &mut server.tls {
                        *addr = free_addr().map_err(StartError::Io)?;
                    }
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn config(&self) -> String {
        let mut config = format!("tickTime={}\n{CONFIG}", self.tick_time.as_millis());
        for (key, value) in &self.properties {
            config += &format!("{key}={value}\n");
        }
        if self.jaas.is_some() {
            config += SASL;
        }
        config
    }

    fn write_jaas(&self, folder: &Path) -> io::Result<()> {
        let Some(jaas) = &self.jaas else {
            return Ok(());
        };
        fs::write(folder.join("jaas.conf"), jaas)
    }

    fn command_line(&self, installation: &Installation) -> Vec<OsString> {
        let mut line = vec![installation.java.clone().into_os_string()];
        line.extend(JVM_OPTIONS.iter().map(OsString::from));
        line.extend(self.jvm_options.iter().map(OsString::from));
        for (key, value) in &self.system_properties {
            line.push(format!("-D{key}={value}").into());
        }
        if self.jaas.is_some() {
            // The JVM runs in the server's folder.
            line.push("-Djava.security.auth.login.config=./jaas.conf".into());
        }
        line.push("-cp".into());
        let more = self.tls.as_ref().map_or("", |_| secure::JARS);
        line.push(format!("{}{more}", installation.class_path).into());
        line.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
        line.push("./zoo.cfg".into());
        line
    }
}

/// A JAAS file for a server that lets these users in by `DIGEST-MD5`, with their passwords.
///
/// ```
/// let file = homing_testkit::real::jaas_with_users(&[("bob", "se\"cret")]);
/// assert!(file.contains(r#"user_bob="se\"cret""#));
/// ```
///
/// # Panics
/// A name has something else in it than letters, digits, `_` and `-`, which the file has no
/// place for.
pub fn jaas_with_users(users: &[(&str, &str)]) -> String {
    let mut file =
        String::from("Server {\n  org.apache.zookeeper.server.auth.DigestLoginModule required");
    for (name, password) in users {
        assert!(
            name.chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')),
            "a user {name:?}"
        );
        let password = password.replace('\\', "\\\\").replace('"', "\\\"");
        file += &format!("\n  user_{name}=\"{password}\"");
    }
    file + ";\n};\n"
}

const SASL: &str =
    "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";

/// No web server, no wait for the disk (the folder dies with the test), no limit on connections
/// from one address, and every four-letter word.
const CONFIG: &str = "admin.enableServer=false
forceSync=no
maxClientCnxns=0
4lw.commands.whitelist=*
";

/// Small and quick to start, with nothing left in `/tmp` when it is killed, and the log on
/// stderr. The transaction log grows by 1 MiB at a time instead of 64.
const JVM_OPTIONS: [&str; 12] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:ErrorFile=jvm-crash.log",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.io.tmpdir=.",
    "-Djava.net.preferIPv4Stack=true",
    "-Dzookeeper.jmx.log4j.disable=true",
    "-Dzookeeper.preAllocSize=1024",
    "-Dzookeeper.extendedTypesEnabled=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// A loopback address on which nothing listens.
///
/// Its port is none of those that the kernel gives to outgoing connections. One of these could
/// be taken by any connection while the server is down; worse, a client that dials a dead
/// server's port again and again gets that very port as its own some day, and is connected to
/// itself.
fn free_addr() -> io::Result<SocketAddr> {
    let outgoing = outgoing_ports();
    let random = || RandomState::new().build_hasher().finish();
    let candidates = (0..1000).map(|_| 10_000 + (random() % 50_000) as u16);
    for port in candidates.filter(|port| !outgoing.contains(port)) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr();
        }
    }
    // All are taken, or the kernel gives all to connections: what it proposes will do.
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn outgoing_ports() -> RangeInclusive<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = range.split_whitespace().map_while(|n| n.parse().ok());
    match (bounds.next(), bounds.next()) {
        (Some(first), Some(last)) => first..=last,
        // The range of the registry of ports, which most systems keep to.
        _ => 49_152..=u16::MAX,
    }
}

/// Why one launch came to nothing, with what the server logged meanwhile.
enum Failure {
    PortTaken(String),
    Exited(String),
    TimedOut(String),
    Io(io::Error),
}

impl Failure {
    fn exited(log: String) -> Self {
        if log.contains("java.net.BindException") {
            Self::PortTaken(log)
        } else {
            Self::Exited(log)
        }
    }
}

/// Why a server did not start.
///
/// ```no_run
/// use homing_testkit::real::{StartError, ZooKeeper};
/// match ZooKeeper::start() {
///     Ok(server) => println!("{}", server.connect_string()),
///     Err(StartError::NotInstalled(missing)) => println!("{missing}"),
///     Err(other) => panic!("{other}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// There is none on this machine.
    NotInstalled(NotInstalled),
    /// The JVM ended by itself.
    Exited {
        /// The last lines of the server's log.
        log_tail: String,
    },
    /// The JVM did not answer within a minute.
    TimedOut {
        /// The last lines of the server's log.
        log_tail: String,
    },
    /// A folder, a pipe or a process could not be had.
    Io(io::Error),
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::PortTaken(log) | Failure::Exited(log) => Self::Exited {
                log_tail: tail(&log),
            },
            Failure::TimedOut(log) => Self::TimedOut {
                log_tail: tail(&log),
            },
            Failure::Io(error) => Self::Io(error),
        }
    }
}

fn tail(log: &str) -> String {
    let others = log.lines().count().saturating_sub(LOG_TAIL_LINES);
    log.lines().skip(others).collect::<Vec<_>>().join("\n")
}

const LOG_TAIL_LINES: usize = 40;

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled(missing) => missing.fmt(f),
            Self::Exited { log_tail } => {
                write!(f, "ZooKeeper ended while it started; its log:\n{log_tail}")
            }
            Self::TimedOut { log_tail } => write!(
                f,
                "ZooKeeper did not answer within {START_TIMEOUT:?}; its log:\n{log_tail}"
            ),
            Self::Io(error) => write!(f, "ZooKeeper could not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotInstalled(missing) => Some(missing),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> Result<Installation, NotInstalled> {
        Ok(Installation {
            java: "/usr/bin/java".into(),
            class_path: ZOOKEEPER_JAR.into(),
        })
    }

    fn missing() -> Result<Installation, NotInstalled> {
        Err(NotInstalled {
            missing: "java".into(),
            is_chosen: false,
        })
    }

    #[test]
    fn the_environment_decides() {
        for setting in ["", "optional", "required"] {
            assert!(
                matches!(decide(setting, installed()), Decision::Run(_)),
                "{setting}"
            );
        }
        for setting in ["", "optional"] {
            let Decision::LeaveOut(why) = decide(setting, missing()) else {
                panic!("{setting}");
            };
            assert_eq!(
                why,
                "real ZooKeeper is not installed: apt-get install zookeeper (java is missing)"
            );
        }
        assert!(matches!(decide("off", installed()), Decision::LeaveOut(_)));
        assert!(matches!(decide("off", missing()), Decision::LeaveOut(_)));
        assert!(matches!(decide("required", missing()), Decision::Fail(_)));
        assert!(matches!(decide("yes", installed()), Decision::Fail(_)));
    }

    #[test]
    fn a_class_path_names_what_is_there() {
        assert_eq!(missing_in("/usr::/dev/null"), None);
        let missing = missing_in("/usr:/no/such.jar:/nor/this").unwrap();
        assert_eq!(missing, "/no/such.jar");
        let error = NotInstalled {
            missing,
            is_chosen: true,
        };
        assert_eq!(
            error.to_string(),
            "the ZooKeeper of HOMING_ZOOKEEPER_CLASSPATH cannot be run: /no/such.jar is missing"
        );
    }

    #[test]
    fn ports_are_free_and_not_for_outgoing_connections() {
        for _ in 0..100 {
            let addr = free_addr().unwrap();
            assert!(!outgoing_ports().contains(&addr.port()), "{addr}");
            TcpListener::bind(addr).unwrap();
        }
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let tail = tail(&log);
        assert!(
            tail.starts_with("line 60\n") && tail.ends_with("\nline 99"),
            "{tail}"
        );
    }
}
