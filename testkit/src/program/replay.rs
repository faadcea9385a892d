//! `homing-testkit replay`: one side of a recording, played to the other.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use homing_testkit::recording::Recording;
use homing_testkit::replay::{ReplayClient, ReplayServer};

use super::address;

/// The most patience that one can have, in seconds: a day, as for whatever a fault takes.
const PATIENCE_MAX: u64 = 24 * 60 * 60;

/// The subcommand `replay`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("side").required(true).args(["server", "listen"])))]
pub(crate) struct Replay {
    /// A recording, as `homing-testkit record` writes it.
    #[arg(value_name = "FILE")]
    recording: PathBuf,

    /// Say to this server what the clients said, and compare its answers with the recorded ones.
    #[arg(long, value_name = "HOST:PORT", value_parser = address::server)]
    server: Option<String>,

    /// Wait here for a client, and give it the recorded answers as long as it asks what was asked.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address::listen)]
    listen: Option<SocketAddr>,

    /// With --server: how long to wait for a recorded answer before it counts as missing, in
    /// seconds.
    #[arg(
        long,
        default_value_t = 30,
        value_name = "SECONDS",
        conflicts_with = "listen",
        value_parser = clap::value_parser!(u64).range(1..=PATIENCE_MAX)
    )]
    patience: u64,

    /// With --server: say everything when it was said, not as soon as possible, for a recording in
    /// which something happens by itself, as when a session expires.
    #[arg(long, conflicts_with = "listen")]
    keep_pauses: bool,
}

impl Replay {
    pub(crate) fn run(self) -> Result<(), String> {
        let path = self.recording.display();
        let text = std::fs::read(&self.recording)
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        // One that is cut off may be so in the middle of a character.
        let recording = String::from_utf8_lossy(&text)
            .parse()
            .map_err(|error| format!("cannot replay {path}: {error}"))?;
        match (&self.server, self.listen) {
            (Some(server), _) => self.play_client(&recording, server),
            (None, Some(address)) => self.play_server(&recording, address),
            (None, None) => Err("either --server or --listen is needed".into()),
        }
    }

    fn play_client(&self, recording: &Recording, server: &str) -> Result<(), String> {
        let path = self.recording.display();
        let cannot = |error| format!("cannot replay {path}: {error}");
        let mut client = ReplayClient::new(recording)
            .map_err(cannot)?
            .patience(Duration::from_secs(self.patience));
        if self.keep_pauses {
            client = client.keep_pauses();
        }
        let differences = client.run(server).map_err(cannot)?;
        for difference in &differences {
            say(&format!("{difference}"))?;
        }
        match differences.len() {
            0 => say("no difference"),
            1 => Err("1 difference".into()),
            many => Err(format!("{many} differences")),
        }
    }

    fn play_server(&self, recording: &Recording, listen: SocketAddr) -> Result<(), String> {
        let path = self.recording.display();
        let server = ReplayServer::listen(recording, listen).map_err(|error| {
            let cause = error.source().and_then(<dyn Error>::downcast_ref);
            let advice = cause.map_or("", |cause| address::advice(listen, cause));
            format!("cannot replay {path}: {error}{advice}")
        })?;
        let address = server.addr();
        say(&format!(
            "playing {path} on {address}, connect string {address}"
        ))?;
        loop {
            match server.wait(Duration::from_secs(3600)) {
                None => {}
                Some(Ok(())) => return say("all was asked as it was recorded"),
                Some(Err(difference)) => return Err(difference.to_string()),
            }
        }
    }
}

fn say(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}
