//! What a real server is set to: its configuration file, its JVM's options, and its users.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::port::free_addr;
use super::{Installation, START_TIMEOUT, Shell, StartError, ZooKeeper, secure};

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
    pub(super) tick_time: Duration,
    pub(super) properties: Vec<(String, String)>,
    pub(super) system_properties: Vec<(String, String)>,
    jvm_options: Vec<String>,
    pub(super) jaas: Option<String>,
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

    pub(super) fn config(&self) -> String {
        let mut config = format!("tickTime={}\n{CONFIG}", self.tick_time.as_millis());
        for (key, value) in &self.properties {
            config += &format!("{key}={value}\n");
        }
        if self.jaas.is_some() {
            config += SASL;
        }
        config
    }

    pub(super) fn write_jaas(&self, folder: &Path) -> io::Result<()> {
        let Some(jaas) = &self.jaas else {
            return Ok(());
        };
        fs::write(folder.join("jaas.conf"), jaas)
    }

    pub(super) fn command_line(&self, installation: &Installation) -> Vec<OsString> {
        let mut line = vec![installation.java().as_os_str().to_owned()];
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
        line.push(format!("{}{more}", installation.class_path()).into());
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
