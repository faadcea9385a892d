//! `homing-testkit`: a fake ZooKeeper server on a port.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use homing_testkit::FakeServer;

/// A fake ZooKeeper for tests: it answers as Apache ZooKeeper 3.8 does, keeps everything in
/// memory, and starts in a millisecond.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server until it is interrupted (Ctrl-C or SIGTERM).
    ///
    /// One line on standard output says where it listens, as soon as it does. Nothing is stored:
    /// its nodes and sessions end with it.
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,

    /// Unit of the session clock, in milliseconds: sessions expire on its multiples.
    #[arg(long, default_value_t = 2000, value_name = "MS", value_parser = positive())]
    tick_time_ms: u64,

    /// Shortest session time-out that is granted, in milliseconds [default: 2 ticks].
    #[arg(long, value_name = "MS")]
    min_session_timeout_ms: Option<u64>,

    /// Longest session time-out that is granted, in milliseconds [default: 20 ticks].
    #[arg(long, value_name = "MS")]
    max_session_timeout_ms: Option<u64>,

    /// Largest request in bytes (jute.maxbuffer).
    #[arg(long, default_value_t = 0xF_FFFF, value_name = "BYTES")]
    max_request: usize,

    /// Connections that one address may have (maxClientCnxns); 0 is no limit.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_client_connections: usize,

    /// Four-letter words that are answered: ruok, srvr, isro, or * for all of them.
    #[arg(
        long,
        default_value = "srvr",
        value_delimiter = ',',
        value_name = "WORDS"
    )]
    four_letter_words: Vec<String>,

    /// Allow nodes with a time to live (zookeeper.extendedTypesEnabled).
    #[arg(long)]
    extended_types: bool,

    /// How often containers and nodes with a time to live are reaped, in milliseconds.
    #[arg(long, default_value_t = 60_000, value_name = "MS", value_parser = positive())]
    container_check_interval_ms: u64,

    /// Digest that makes a connection a super user: `super:` and the hash (superDigest).
    #[arg(long, value_name = "DIGEST")]
    super_digest: Option<String>,
}

fn positive() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

fn main() -> ExitCode {
    let Cli {
        command: Command::Serve(serve),
    } = Cli::parse();
    match serve.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Where nobody reads errors, the exit code still tells.
            let _ = writeln!(io::stderr(), "homing-testkit: {message}");
            ExitCode::FAILURE
        }
    }
}

impl Serve {
    fn run(self) -> Result<(), String> {
        let (interrupt, interrupted) = mpsc::channel();
        // Before the line is printed: who reads it may interrupt at once.
        ctrlc::set_handler(move || {
            let _ = interrupt.send(());
        })
        .map_err(|error| format!("cannot wait for an interrupt: {error}"))?;

        let listen = self.listen;
        let server = self
            .start()
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let (address, connect) = (server.addr(), server.connect_string());
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
        Ok(())
    }

    fn start(self) -> io::Result<FakeServer> {
        let builder = FakeServer::builder().listen(self.listen);
        let builder = builder.tick_time(Duration::from_millis(self.tick_time_ms));
        let builder = builder.config(|config| {
            config.min_session_timeout = self.min_session_timeout_ms.map(Duration::from_millis);
            config.max_session_timeout = self.max_session_timeout_ms.map(Duration::from_millis);
            config.request_len_max = self.max_request;
            config.max_client_connections = self.max_client_connections;
            config.four_letter_words = self.four_letter_words;
            config.extended_types_enabled = self.extended_types;
            config.container_check_interval =
                Duration::from_millis(self.container_check_interval_ms);
            config.super_digest = self.super_digest;
        });
        builder.start()
    }
}
