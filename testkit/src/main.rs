//! `homing-testkit`: a fake ZooKeeper server on a port, and a proxy for real ones.
#![forbid(unsafe_code)]

mod program {
    pub(crate) mod faults;
    pub(crate) mod proxy;
    pub(crate) mod serve;
}

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use homing_testkit::faults::REFERENCE;
use program::proxy::ProxyArgs;
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
    Serve(Serve),
    /// Pass connections on to a server, with faults on the way, until it is interrupted (Ctrl-C or
    /// SIGTERM).
    ///
    /// One line on standard output says where it listens, as soon as it does.
    #[command(after_long_help = format!("What can go wrong (--faults)\n\n{REFERENCE}"))]
    Proxy(ProxyArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Proxy(proxy) => proxy.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Where nobody reads errors, the exit code still tells.
            let _ = writeln!(io::stderr(), "homing-testkit: {message}");
            ExitCode::FAILURE
        }
    }
}
