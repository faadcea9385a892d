//! `homing-testkit proxy`: faults in front of a server, until it is interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc;

use clap::Args;
use homing_testkit::faults::Way;
use homing_testkit::{Observed, Proxy, Sight};

use super::faults::FaultArgs;

/// The subcommand `proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,

    /// The server behind it, which need not be there yet.
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,

    #[command(flatten)]
    faults: FaultArgs,

    /// Say on standard error when a connection begins and ends, and which faults have struck.
    #[arg(long, short)]
    verbose: bool,
}

impl ProxyArgs {
    pub(crate) fn run(self) -> Result<(), String> {
        let (interrupt, interrupted) = mpsc::channel();
        // Before the line is printed: who reads it may interrupt at once.
        ctrlc::set_handler(move || {
            let _ = interrupt.send(());
        })
        .map_err(|error| format!("cannot wait for an interrupt: {error}"))?;

        let Self {
            listen, upstream, ..
        } = &self;
        let mut builder = Proxy::builder()
            .listen(*listen)
            .faults(self.faults.script()?);
        if self.verbose {
            let mut status = Status::default();
            builder = builder.observe(move |seen| status.see(seen));
        }
        let proxy = builder.start(upstream.as_str()).map_err(|error| {
            format!("cannot listen on {listen} in front of {upstream}: {error}")
        })?;
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
        if self.verbose {
            // What it says of connections that are left comes before the last line.
            proxy.stop();
            say(format_args!("faults: {}", proxy.strikes()));
        }
        Ok(())
    }
}

/// What has gone through each connection.
#[derive(Debug, Default)]
struct Status {
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
    fn see(&mut self, seen: &Observed<'_>) {
        let number = seen.connection;
        let figures = self.connections.entry(number).or_default();
        match &seen.what {
            Sight::Opened(from) => say(format_args!("connection {number}: from {from}")),
            Sight::NotAccepted(error) => {
                say(format_args!(
                    "connection {number}: cannot accept it yet: {error}"
                ));
            }
            Sight::Unreachable(address, error) => say(format_args!(
                "connection {number}: cannot connect to {address}: {error}"
            )),
            Sight::Frame(way, frame) => {
                let count = figures.of(*way);
                count.frames += 1;
                count.bytes += frame.len() + 4;
            }
            Sight::Raw(way, bytes) => figures.of(*way).bytes += bytes.len(),
            Sight::Closed(closer) => {
                say(format_args!(
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

/// A line on standard error. Where nobody reads it, the proxy goes on.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
