//! One server, or an ensemble of several.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use homing_testkit::{FakeEnsemble, FakeServer, FakeServerBuilder};

use super::{MILLIS_MAX, positive};

/// How many servers there are.
#[derive(Debug, Clone, Args)]
pub(super) struct Quorum {
    /// Run so many servers as an ensemble, on consecutive ports from that of --listen on, or on
    /// free ones. The last one that has a vote leads at first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    #[arg(conflicts_with_all = ["read_only", "server_id", "first_zxid"])]
    ensemble: Option<u8>,

    /// Let so many of them, the last ones, observe: they serve clients and have no vote.
    #[arg(long, default_value_t = 0, value_name = "N", requires = "ensemble")]
    observers: u8,

    /// Let a server apply everything so many milliseconds late: its number from 1 on, a colon, and
    /// the milliseconds. Can be given for several, but not for the one that leads.
    #[arg(long, value_name = "SERVER:MS", requires = "ensemble")]
    lag: Vec<Lag>,

    /// How long an election takes, in milliseconds.
    #[arg(long, default_value_t = 100, value_name = "MS", value_parser = positive())]
    #[arg(requires = "ensemble")]
    election_time_ms: u64,
}

/// How far a server is behind.
#[derive(Debug, Clone, Copy)]
struct Lag {
    server: u8,
    by: Duration,
}

impl FromStr for Lag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let form = "it has to be a server's number and milliseconds, such as 2:500";
        let (server, ms) = text.split_once(':').ok_or(form)?;
        let ms = ms.parse().ok().filter(|ms| *ms <= MILLIS_MAX);
        Ok(Self {
            server: server.parse().map_err(|_| form)?,
            by: Duration::from_millis(ms.ok_or(form)?),
        })
    }
}

/// What runs until it is dropped.
pub(super) enum Running {
    Server(FakeServer),
    Ensemble(FakeEnsemble),
}

impl Quorum {
    /// Whether there are the servers that are spoken of, and ports for them.
    pub(super) fn check(&self, listen: SocketAddr) -> Result<(), String> {
        let Some(members) = self.ensemble else {
            return Ok(());
        };
        let ports = u16::MAX - listen.port();
        if listen.port() != 0 && u16::from(members) - 1 > ports {
            return Err(format!(
                "cannot use --listen {listen}: an ensemble of {members} takes as many ports from \
                 there on, and the last port is 65535"
            ));
        }
        let voters = members.saturating_sub(self.observers);
        if voters == 0 {
            return Err(format!(
                "cannot use --observers {}: of {members} servers one at least must have a vote",
                self.observers
            ));
        }
        let mut known = BTreeSet::new();
        let mut numbers = self.lag.iter().map(|lag| lag.server);
        let refused = numbers.find_map(|number| match number {
            _ if !(1..=members).contains(&number) => Some(format!(
                "there is no server {number}, they are 1 to {members}"
            )),
            _ if number == voters => Some(format!("server {number} leads, and has no lag")),
            _ if !known.insert(number) => Some(format!("server {number} has one already")),
            _ => None,
        });
        refused.map_or(Ok(()), |why| Err(format!("cannot use --lag: {why}")))
    }

    pub(super) fn start(self, builder: FakeServerBuilder) -> io::Result<Running> {
        let Some(members) = self.ensemble else {
            return builder.start().map(Running::Server);
        };
        let election_time = Duration::from_millis(self.election_time_ms);
        let mut ensemble = builder
            .ensemble(members.into())
            .observers(self.observers.into())
            .election_time(election_time);
        for Lag { server, by } in self.lag {
            ensemble = ensemble.lag(usize::from(server).saturating_sub(1), by);
        }
        ensemble.start().map(Running::Ensemble)
    }
}

impl Running {
    pub(super) fn addresses(&self) -> String {
        match self {
            Self::Server(server) => server.addr().to_string(),
            Self::Ensemble(ensemble) => {
                let members = ensemble.members().iter();
                let addresses: Vec<_> = members.map(|it| it.addr().to_string()).collect();
                addresses.join(",")
            }
        }
    }

    /// A line for each server that has faults: which, and how often they have struck.
    pub(super) fn strikes(&self) -> Vec<String> {
        let lines = match self {
            Self::Server(server) => vec![strikes("", server)],
            Self::Ensemble(ensemble) => {
                let members = (1..).zip(ensemble.members());
                let lines = members.map(|(n, it)| strikes(&format!("server {n}, "), it));
                lines.collect()
            }
        };
        lines.into_iter().flatten().collect()
    }

    pub(super) fn connect_string(&self) -> String {
        match self {
            Self::Server(server) => server.connect_string(),
            Self::Ensemble(ensemble) => ensemble.connect_string(),
        }
    }
}

fn strikes(whose: &str, server: &FakeServer) -> Option<String> {
    let strikes = server.strikes().to_string();
    (!strikes.is_empty()).then(|| format!("{whose}faults: {strikes}"))
}
