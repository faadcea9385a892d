//! `homing-testkit serve`: a server until it is interrupted.

mod identity;
mod limits;
mod quorum;
mod storage;
#[cfg(feature = "tls")]
mod tls;

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use homing_testkit::{Dialect, FakeServer, FakeServerBuilder, TreeError};

use super::address;
use super::faults::FaultArgs;
use super::interrupt::interrupted;
use super::lines::Lines;

/// The longest time, for ZooKeeper counts milliseconds in an `int`.
const MILLIS_MAX: u64 = 0x7FFF_FFFF;

/// What can be said of four-letter words.
const WORDS: [&str; 19] = [
    "*", "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok",
    "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

/// The subcommand `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "ADDRESS:PORT")]
    #[arg(value_parser = address::listen)]
    listen: SocketAddr,

    /// Which ZooKeeper to be like: 3.4, 3.5, 3.6, 3.7, 3.8, 3.9 or clickhouse.
    #[arg(long, default_value_t, value_name = "NAME")]
    dialect: Dialect,

    /// Say on standard error what becomes of connections, a line each: where from, which session,
    /// which time-out, why it is over; and at the end, which faults have struck. Lines that are
    /// not read in time are left out and counted.
    #[arg(long, short)]
    verbose: bool,

    /// Delay every reply by so many milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS", value_parser = millis())]
    latency: u64,

    #[command(flatten)]
    faults: FaultArgs,

    #[command(flatten)]
    quorum: quorum::Quorum,

    #[command(flatten)]
    limits: limits::Limits,

    #[command(flatten)]
    storage: storage::Storage,

    #[command(flatten)]
    identity: identity::Identity,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: tls::Tls,

    /// Four-letter words that are answered, or * for all (4lw.commands.whitelist) [default: those
    /// of the dialect]. srvr always is.
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    #[arg(value_parser = PossibleValuesParser::new(WORDS))]
    four_letter_words: Vec<String>,

    /// Serve reads without a quorum, and so answer isro (readonlymode.enabled).
    #[arg(long)]
    read_only_enabled: bool,

    /// Begin without a quorum: read-only, to those clients that allow it.
    #[arg(long)]
    read_only: bool,

    /// Begin no sessions without a quorum (localSessionsEnabled=false).
    #[arg(long)]
    no_local_sessions: bool,

    /// Let an ensemble get other members, for whom it takes a super user; alone, say that there is
    /// no ensemble (reconfigEnabled).
    #[arg(long)]
    reconfig_enabled: bool,

    /// Let an ensemble be left with a single server that has a vote (standaloneEnabled=false).
    #[arg(long)]
    no_standalone: bool,

    /// The server's number, the top byte of its session ids (myid).
    #[arg(long, default_value_t = 1, value_name = "N")]
    server_id: u8,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), String> {
        // Before the line is printed: who reads it may interrupt at once.
        let interrupted = interrupted()?;

        self.quorum.check(self.listen)?;
        let listen = self.listen;
        let tree = self.storage.tree_file();
        let quorum = self.quorum.clone();
        let lines = self.verbose.then(Lines::new).transpose()?;
        let running = quorum
            .start(self.builder(lines.clone())?)
            .map_err(|error| not_started(&error, listen, &tree))?;
        let (address, connect) = (running.addresses(), running.connect_string());
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "serving ZooKeeper on {address}, connect string {connect}"
        )
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot say where it listens: {error}"))?;
        drop(out);

        // The handler keeps its end for as long as the process lives.
        let _ = interrupted.recv();
        let strikes = running.strikes();
        drop(running);
        if let Some(lines) = lines {
            lines.finish(strikes);
        }
        Ok(())
    }

    fn builder(self, lines: Option<Lines>) -> Result<FakeServerBuilder, String> {
        let builder = FakeServer::builder()
            .listen(self.listen)
            .dialect(self.dialect)
            .latency(Duration::from_millis(self.latency))
            .faults(self.faults.script("serve")?)
            .read_only_enabled(self.read_only_enabled || self.read_only)
            .read_only(self.read_only)
            .local_sessions(!self.no_local_sessions)
            .reconfig_enabled(self.reconfig_enabled)
            .standalone_enabled(!self.no_standalone)
            .server_id(self.server_id);
        let builder = match self.four_letter_words.is_empty() {
            true => builder,
            false => builder.four_letter_words(self.four_letter_words),
        };
        let builder = self.limits.apply(builder)?;
        let builder = self.storage.apply(builder)?;
        let has_tls = false;
        #[cfg(feature = "tls")]
        let (builder, has_tls) = match self.tls.server()? {
            Some(tls) => (builder.tls(tls), true),
            None => (builder, has_tls),
        };
        let builder = self.identity.apply(builder, self.faults.seed(), has_tls)?;
        Ok(match lines {
            Some(lines) => builder.observe(move |event| lines.say(event)),
            None => builder,
        })
    }
}

/// What is wrong with a server that does not start, and what to do.
fn not_started(error: &io::Error, listen: SocketAddr, tree: &str) -> String {
    if error.get_ref().is_some_and(|cause| cause.is::<TreeError>()) {
        return format!("cannot load {tree}: {error}");
    }
    let advice = address::advice(listen, error);
    let more = match error.kind() {
        ErrorKind::AddrInUse => " (an ensemble takes the ports behind it too)",
        _ => "",
    };
    format!("{error}{advice}{more}")
}

/// Milliseconds.
fn millis() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(..=MILLIS_MAX)
}

/// Milliseconds, one at least.
fn positive() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=MILLIS_MAX)
}
