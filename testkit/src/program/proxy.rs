//! `homing-testkit proxy`: faults in front of a server, until it is interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use clap::Args;
use homing_testkit::faults::Way;
use homing_testkit::{Observed, Proxy, Sight};

use super::address;
use super::faults::FaultArgs;
use super::interrupt::interrupted;
use super::lines::Lines;

/// The subcommand `proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "ADDRESS:PORT")]
    #[arg(value_parser = address::listen)]
    listen: SocketAddr,

    /// The server behind it, which need not be there yet.
    #[arg(long, value_name = "HOST:PORT", value_parser = address::server)]
    upstream: String,

    #[command(flatten)]
    faults: FaultArgs,

    /// Say on standard error when a connection begins and ends, and which faults have struck.
    /// Lines that are not read in time are left out and counted.
    #[arg(long, short)]
    verbose: bool,
}

impl ProxyArgs {
    pub(crate) fn run(self) -> Result<(), String> {
        // Before the line is printed: who reads it may interrupt at once.
        let interrupted = interrupted()?;

        let Self {
            listen, upstream, ..
        } = &self;
        let addresses = address::upstream(upstream)?;
        let mut builder = Proxy::builder()
            .listen(*listen)
            .faults(self.faults.script("proxy")?);
        let lines = self.verbose.then(Lines::new).transpose()?;
        if let Some(lines) = lines.clone() {
            let mut status = Status::new(lines);
            builder = builder.observe(move |seen| status.see(seen));
        }
        let proxy = builder
            .start(&addresses[..])
            .map_err(|error| format!("{error}{}", address::advice(*listen, &error)))?;
        let (address, connect) = (proxy.addr(), proxy.connect_string());
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "proxy on {address} to {upstream}, connect string {connect}"
        )
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot say where it listens: {error}"))?;
        drop(out);

        // The handler keeps its end for as long as the process lives.
        let _ = interrupted.recv();
        // What it says of connections that are left comes before the last line.
        proxy.stop();
        let strikes = proxy.strikes().to_string();
        drop(proxy);
        if let Some(lines) = lines {
            let said = (!strikes.is_empty()).then(|| format!("faults: {strikes}"));
            lines.finish(said);
        }
        Ok(())
    }
}

/// What has gone through each connection.
#[derive(Debug)]
struct Status {
    lines: Lines,
    connections: BTreeMap<u64, Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    to_server: Count,
    to_client: Count,
}

#[derive(Debug, Default)]
struct Count {
    frames: u64,
    bytes: usize,
}

impl Status {
    fn new(lines: Lines) -> Self {
        Self {
            lines,
            connections: BTreeMap::new(),
        }
    }

    fn see(&mut self, seen: &Observed<'_>) {
        let number = seen.connection;
        if let Sight::InVain(rule, error) = &seen.what {
            // Perhaps of a connection that is over.
            let line = format_args!("connection {number}: in vain: {rule}: {error}");
            return self.lines.say(line);
        }
        let figures = self.connections.entry(number).or_default();
        match &seen.what {
            Sight::Opened(from) => {
                let line = format_args!("connection {number}: from {from}");
                self.lines.say(line);
            }
            Sight::NotAccepted(error) => {
                let line = format_args!("connection {number}: cannot accept it yet: {error}");
                self.lines.say(line);
            }
            Sight::Unreachable(address, error) => {
                let line =
                    format_args!("connection {number}: cannot connect to {address}: {error}");
                self.lines.say(line);
            }
            Sight::Frame(way, frame) => {
                let count = figures.of(*way);
                count.frames += 1;
                count.bytes += frame.len() + 4;
            }
            Sight::Raw(way, bytes) => figures.of(*way).bytes += bytes.len(),
            Sight::Closed(closer) => {
                self.lines.say(format_args!(
                    "connection {number}: closed by {closer}; to server {}, to client {}",
                    figures.to_server, figures.to_client
                ));
                self.connections.remove(&number);
            }
            _ => {}
        }
    }
}

impl Figures {
    fn of(&mut self, way: Way) -> &mut Count {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames in {} bytes", self.frames, self.bytes)
    }
}
