//! `homing-testkit`: a fake ZooKeeper server on a port, and tools around real ones.
#![forbid(unsafe_code)]

mod program {
    pub(crate) mod address;
    pub(crate) mod faults;
    pub(crate) mod interrupt;
    pub(crate) mod lines;
    pub(crate) mod proxy;
    pub(crate) mod record;
    pub(crate) mod replay;
    pub(crate) mod serve;
}

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use homing_testkit::faults::REFERENCE;
use program::lines::Lines;
use program::proxy::ProxyArgs;
use program::record::Record;
use program::replay::Replay;
use program::serve::Serve;

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
    #[command(after_long_help = format!("What can go wrong (--faults)\n\n{REFERENCE}"))]
    Serve(Box<Serve>),

    /// Pass connections on to a server, with faults on the way, until it is interrupted (Ctrl-C or
    /// SIGTERM).
    ///
    /// One line on standard output says where it listens, as soon as it does.
    #[command(after_long_help = format!("What can go wrong (--faults)\n\n{REFERENCE}"))]
    Proxy(ProxyArgs),

    /// Stand between clients and a server, and write down what they say, one readable line for
    /// each frame, until it is interrupted.
    ///
    /// A line has the seconds since the first connection, the number of the connection, an arrow (-> for what
    /// the client says, <- for the server, + where a connection begins and ->| and |<- where either
    /// has nothing more to say), what was said, and behind a tab the bytes, for a replay. Session
    /// passwords, credentials and the hashes in access control lists are never in the readable
    /// text, and are masked among the bytes too (**), unless --with-secrets says otherwise. The
    /// data of nodes is recorded as it is. What goes through in TLS cannot be read.
    Record(Record),

    /// Play one side of a recording to the other: the clients' to a server, or the server's to a
    /// client.
    ///
    /// With --server, one line for each difference is printed; the exit code is 0 if there is none.
    /// Compared are errors, data, paths, names, versions, access control lists and events; times
    /// are not, and transactions and sessions may have other numbers, each the same everywhere.
    ///
    /// With --listen, it ends when all has been asked that was recorded, or with exit code 1 and
    /// what was expected, when a client asks something else: as one does that makes up names as it
    /// goes, such as kazoo's Lock, which has a UUID in them. With --server that makes no
    /// difference.
    Replay(Replay),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Proxy(proxy) => proxy.run(),
        Command::Record(record) => record.run(),
        Command::Replay(replay) => replay.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Where nobody reads errors, the exit code still tells.
            if let Ok(lines) = Lines::new() {
                lines.finish([format!("homing-testkit: {message}")]);
            }
            ExitCode::FAILURE
        }
    }
}
