//! Four-letter words: what an administrator sends in place of a handshake.
//!
//! Answers are those of a 3.8.0 server, line by line, with the same names in the same order. What
//! only a JVM, a disk or a quorum could tell is zero, or says that it is not there. Requests are
//! answered at once, so that all latencies are zero too. `dump` leaves out the times at which nothing
//! expires any more, which a real server lists until they are over.

mod dump;
mod metrics;

use std::fmt::{self, Write};

use crate::acl::java_text;
use crate::journal::CloseReason;
use crate::replica::Role;
use crate::server::{Connection, ConnectionId, Now, Server, Stage};

/// All words that a 3.8 server knows. Anything else is read as a frame's length.
const KNOWN: [&[u8; 4]; 18] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr",
    b"ruok", b"srst", b"srvr", b"stat", b"stmk", b"wchc", b"wchp", b"wchs",
];

/// What telnet sends when it is interrupted, and its name among the words.
const TELNET_CLOSE: (&[u8; 4], &str) = (b"\xff\xf4\xff\xfd", "telnet close");

/// How many bytes each of them has.
pub(crate) const LEN: usize = 4;

/// A real server writes its answers in pieces of so many bytes, and counts each.
const PIECE: usize = 8192;

/// What a server without a leader says to most words.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// What a server plays in its ensemble, if there is one: only four-letter words tell.
///
/// ```
/// use homing_testkit::{ServerConfig, ServerMode};
/// let mut config = ServerConfig::default();
/// assert_eq!(config.mode, ServerMode::Standalone);
/// config.mode = ServerMode::Follower;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ServerMode {
    /// There is no ensemble.
    #[default]
    Standalone,
    /// It decides about writes.
    Leader,
    /// It has a vote in who leads.
    Follower,
    /// It has none.
    Observer,
}

/// What only words tell of a server. Nothing else depends on it.
#[derive(Debug)]
pub(crate) struct About {
    /// Where it listens without TLS, and with it.
    pub(crate) port: Option<u16>,
    pub(crate) secure_port: Option<u16>,
    /// The first input.
    pub(crate) started: Option<Now>,
    /// What `stmk` has set. It has no effect.
    trace_mask: i64,
}

impl Default for About {
    fn default() -> Self {
        Self {
            port: None,
            secure_port: None,
            started: None,
            trace_mask: 0b1_0011_0010,
        }
    }
}

/// The word at the front of what a fresh connection sent.
pub(crate) fn find(input: &[u8], unknown: &[String]) -> Option<&'static str> {
    let word: &[u8; LEN] = input.first_chunk()?;
    let known = match KNOWN.iter().find(|known| **known == word) {
        Some(known) => std::str::from_utf8(*known).ok()?,
        None if word == TELNET_CLOSE.0 => TELNET_CLOSE.1,
        None => return None,
    };
    (!unknown.iter().any(|unknown| unknown == known)).then_some(known)
}

impl Server {
    /// Answers a word, which stands at the front of `input`, and closes the connection.
    pub(crate) fn answer_word(
        &mut self,
        now: Now,
        connection: ConnectionId,
        word: &'static str,
        input: &[u8],
    ) {
        let answer = if self.is_listed(word) {
            if self.obey(word, input).is_none() {
                return self.close_because(connection, CloseReason::Word(word));
            }
            View::new(self, now, connection).answer(word)
        } else if self.config.unlisted_words_are_ignored {
            String::new()
        } else {
            format!("{word} is not executed because it is not in the whitelist.\n")
        };
        if !answer.is_empty() {
            let pieces = u64::try_from(answer.len().div_ceil(PIECE)).unwrap_or(1);
            self.send(connection, answer.into());
            self.totals.sent += pieces.saturating_sub(1);
        }
        self.close_because(connection, CloseReason::Word(word));
    }

    /// Two words are what ZooKeeper's own tools live on.
    fn is_listed(&self, word: &str) -> bool {
        let is_needed = match word {
            "srvr" => true,
            "isro" => self.config.read_only_enabled,
            _ => false,
        };
        let mut listed = self.config.four_letter_words.iter();
        is_needed || listed.any(|listed| listed == word || listed == "*")
    }

    /// Does what a word asks for, as three of them do. `None` if a real server stumbles over it.
    fn obey(&mut self, word: &str, input: &[u8]) -> Option<()> {
        match word {
            "srst" => self.totals = Default::default(),
            "crst" => {
                let connections = self.connections.values_mut();
                connections.for_each(|connection| connection.traffic.reset());
            }
            "stmk" => self.about.trace_mask = mask(input)?,
            _ => {}
        }
        Some(())
    }
}

/// What stands behind `stmk`, and has to be there with it.
fn mask(input: &[u8]) -> Option<i64> {
    let bytes = input.get(LEN..)?.first_chunk()?;
    Some(i64::from_be_bytes(*bytes))
}

/// A server as seen by who asks a word of it.
struct View<'a> {
    server: &'a Server,
    now: Now,
    asker: ConnectionId,
    is_read_only: bool,
}

impl<'a> View<'a> {
    fn new(server: &'a Server, now: Now, asker: ConnectionId) -> Self {
        Self {
            server,
            now,
            asker,
            is_read_only: server.is_read_only_at(asker),
        }
    }

    fn answer(&self, word: &str) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        let _ = match word {
            "ruok" => write!(text, "imok"),
            "envi" => self.envi(&mut text),
            "gtmk" | "stmk" => write!(text, "{}", self.server.about.trace_mask),
            // It is closed, as a frame of such a length is.
            "telnet close" => Ok(()),
            "isro" if !self.server.is_serving() => write!(text, "null"),
            _ if !self.server.is_serving() => writeln!(text, "{NOT_SERVING}"),
            "isro" => write!(text, "{}", if self.is_read_only { "ro" } else { "rw" }),
            "srvr" => self.srvr(&mut text, false),
            "stat" => self.srvr(&mut text, true),
            "mntr" => self.mntr(&mut text),
            "cons" => self.clients(&mut text, false),
            "wchs" => self.watch_summary(&mut text),
            "wchc" => self.watches_by_session(&mut text),
            "wchp" => self.watches_by_path(&mut text),
            "conf" => self.conf(&mut text),
            "dump" => self.dump(&mut text),
            "dirs" => write!(text, "datadir_size: 0\nlogdir_size: 0\n"),
            "crst" => writeln!(text, "Connection stats reset."),
            "srst" => writeln!(text, "Server stats reset."),
            // `hash`: every 128th transaction has one, which this server does not work out.
            _ => Ok(()),
        };
        text
    }

    /// Clients that look for a version find the one whose answers these are.
    fn version(&self) -> String {
        let version = &self.server.config.version;
        format!("{version}-homing-testkit, built on 1970-01-01 00:00 UTC")
    }

    /// Of latencies, all of which are zero.
    fn average(&self) -> &'static str {
        match self.server.config.whole_latencies {
            true => "0",
            false => "0.0",
        }
    }

    fn mode(&self) -> &'static str {
        match self.place() {
            _ if self.is_read_only => "read-only",
            ServerMode::Standalone => "standalone",
            ServerMode::Leader => "leader",
            ServerMode::Follower => "follower",
            ServerMode::Observer => "observer",
        }
    }

    /// What it is to its ensemble, or is said to be.
    fn place(&self) -> ServerMode {
        match self.server.role() {
            Some(Role::Leading) => ServerMode::Leader,
            Some(Role::Following | Role::Looking) => ServerMode::Follower,
            Some(Role::Observing) => ServerMode::Observer,
            None => self.server.config.mode,
        }
    }

    /// A real server has the root in its table twice, and counts it so.
    fn node_count(&self) -> usize {
        self.server.tree.len() + 1
    }

    fn srvr(&self, out: &mut String, with_clients: bool) -> fmt::Result {
        let server = self.server;
        let product = &server.config.product;
        writeln!(out, "{product} version: {}", self.version())?;
        if self.is_read_only {
            writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
        }
        if with_clients {
            writeln!(out, "Clients:")?;
            self.clients(out, true)?;
        }
        writeln!(out, "Latency min/avg/max: 0/{}/0", self.average())?;
        writeln!(out, "Received: {}", server.totals.received)?;
        writeln!(out, "Sent: {}", server.totals.sent)?;
        writeln!(out, "Connections: {}", server.connections.len())?;
        writeln!(out, "Outstanding: {}", server.outstanding())?;
        writeln!(out, "Zxid: {:#x}", server.last_zxid)?;
        writeln!(out, "Mode: {}", self.mode())?;
        writeln!(out, "Node count: {}", self.node_count())?;
        if self.mode() == "leader" {
            writeln!(out, "Proposal sizes last/min/max: -1/-1/-1")?;
        }
        Ok(())
    }

    /// A line for each connection, and an empty one.
    fn clients(&self, out: &mut String, is_brief: bool) -> fmt::Result {
        for (id, connection) in &self.server.connections {
            self.client(out, *id, connection, is_brief)?;
        }
        writeln!(out)
    }

    fn client(
        &self,
        out: &mut String,
        id: ConnectionId,
        connection: &Connection,
        is_brief: bool,
    ) -> fmt::Result {
        let traffic = &connection.traffic;
        // 1: it is read from. Who asks a word is not, and who has asked too much.
        let interest = u8::from(id != self.asker && !self.server.is_throttled(id));
        write!(
            out,
            " {}[{interest}](queued={},recved={},sent={}",
            Peer(connection),
            traffic.outstanding,
            traffic.received,
            traffic.sent
        )?;
        if let (false, Stage::Attached(session)) = (is_brief, connection.stage) {
            let timeout = connection.timeout.as_millis();
            let last = traffic.last();
            let (operation, established) = (last.operation, traffic.established_ms);
            write!(
                out,
                ",sid={session:#x},lop={operation},est={established},to={timeout}"
            )?;
            if last.xid >= 0 {
                write!(out, ",lcxid={:#x}", last.xid)?;
            }
            let answered = last.answered.map_or(0, |at| self.elapsed_ms(at));
            write!(
                out,
                ",lzxid={:#x},lresp={answered},llat=0,minlat=0,avglat=0,maxlat=0",
                last.zxid
            )?;
        }
        writeln!(out, ")")
    }

    /// How long the server had been up, where a JVM has the clock of its machine.
    fn elapsed_ms(&self, at: Now) -> u128 {
        let started = self.server.about.started.unwrap_or(at).instant;
        at.instant.saturating_duration_since(started).as_millis()
    }

    fn watch_summary(&self, out: &mut String) -> fmt::Result {
        let by_connection = self.server.watches.data_by_connection();
        let paths = self.server.watches.data_by_path().len();
        let watches: usize = by_connection.values().map(|paths| paths.len()).sum();
        let connections = by_connection.len();
        writeln!(out, "{connections} connections watching {paths} paths")?;
        writeln!(out, "Total watches:{watches}")
    }

    fn watches_by_session(&self, out: &mut String) -> fmt::Result {
        for (connection, paths) in self.server.watches.data_by_connection() {
            writeln!(out, "{:#x}", self.session(connection))?;
            for path in paths {
                writeln!(out, "\t{path}")?;
            }
        }
        writeln!(out)
    }

    fn watches_by_path(&self, out: &mut String) -> fmt::Result {
        for (path, connections) in self.server.watches.data_by_path() {
            writeln!(out, "{path}")?;
            for connection in connections {
                writeln!(out, "\t{:#x}", self.session(connection))?;
            }
        }
        writeln!(out)
    }

    /// The session that a connection speaks for; 0 for none.
    fn session(&self, connection: ConnectionId) -> i64 {
        match self.server.connections.get(&connection).map(|it| it.stage) {
            Some(Stage::Attached(session)) => session,
            Some(Stage::Fresh(_) | Stage::Opening) | None => 0,
        }
    }

    fn conf(&self, out: &mut String) -> fmt::Result {
        let (config, about) = (&self.server.config, &self.server.about);
        let port = |port: Option<u16>| port.map_or(-1, i32::from);
        let [min, max] = config.session_timeouts().map(|it| it.as_millis());
        writeln!(out, "clientPort={}", port(about.port))?;
        writeln!(out, "secureClientPort={}", port(about.secure_port))?;
        for folder in ["data", "dataLog"] {
            // There is none: everything is in memory.
            writeln!(out, "{folder}Dir=/dev/null/version-2")?;
            let size = if folder == "data" {
                "dataDirSize"
            } else {
                "dataLogSize"
            };
            writeln!(out, "{size}=0")?;
        }
        writeln!(out, "tickTime={}", config.tick().as_millis())?;
        writeln!(out, "maxClientCnxns={}", config.max_client_connections)?;
        writeln!(out, "minSessionTimeout={min}")?;
        writeln!(out, "maxSessionTimeout={max}")?;
        writeln!(out, "clientPortListenBacklog=-1")?;
        if self.place() == ServerMode::Standalone {
            return writeln!(out, "serverId=0");
        }
        writeln!(out, "serverId={}", config.server_id)?;
        writeln!(out, "initLimit=10")?;
        writeln!(out, "syncLimit=5")?;
        writeln!(out, "electionAlg=3")?;
        writeln!(out, "electionPort=-1")?;
        writeln!(out, "quorumPort=-1")?;
        writeln!(
            out,
            "peerType={}",
            u8::from(self.place() == ServerMode::Observer)
        )?;
        write!(out, "membership: \n{}", config.ensemble)
    }

    fn envi(&self, out: &mut String) -> fmt::Result {
        let none = "none (homing-testkit runs without a JVM)";
        writeln!(out, "Environment:")?;
        writeln!(out, "zookeeper.version={}", self.version())?;
        writeln!(out, "host.name=localhost")?;
        for name in [
            "java.version",
            "java.vendor",
            "java.home",
            "java.class.path",
            "java.library.path",
            "java.io.tmpdir",
            "java.compiler",
        ] {
            writeln!(out, "{name}={none}")?;
        }
        writeln!(out, "os.name={}", std::env::consts::OS)?;
        writeln!(out, "os.arch={}", std::env::consts::ARCH)?;
        for name in ["os.version", "user.name", "user.home", "user.dir"] {
            writeln!(out, "{name}=unknown")?;
        }
        for name in ["free", "max", "total"] {
            writeln!(out, "os.memory.{name}=0MB")?;
        }
        Ok(())
    }
}

/// A peer as Java writes it.
struct Peer<'a>(&'a Connection);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (java_text(self.0.peer), self.0.traffic.port);
        match address.contains(':') {
            true => write!(f, "/[{address}]:{port}"),
            false => write!(f, "/{address}:{port}"),
        }
    }
}
