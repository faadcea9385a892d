//! Figures of a session, while it lives and when it has ended.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::answer::WhyLost;
use crate::status::{Attempt, SessionEnd};

/// A snapshot of what a session has seen. Counts are since it began.
///
/// ```
/// let stats = homing_session::Stats::default();
/// assert_eq!((stats.connections, stats.lost()), (0, 0));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections on which a server accepted the session.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub failed_attempts: u64,
    /// Connections that the server closed.
    pub lost_closed: u64,
    /// Connections that failed with an error of the system's.
    pub lost_io: u64,
    /// Connections that were given up because the server fell silent.
    pub lost_silent: u64,
    /// Connections that were given up because the server sent what makes no sense.
    pub lost_protocol: u64,
    /// When something was last sent.
    pub sent_at: Option<Instant>,
    /// When a server last answered a request or a ping.
    pub heard_at: Option<Instant>,
    /// How long the last ping took to be answered.
    pub ping_last: Option<Duration>,
    /// How long any ping took at most.
    pub ping_max: Option<Duration>,
    /// How late the driver was at most for what it was to do, while the machine was awake.
    pub driver_lag_max: Duration,
    /// For how long the machine has slept. Servers do not wait for it.
    pub slept: Duration,
}

impl Stats {
    /// With all its instants in the terms of another clock.
    pub fn map_instants(mut self, map: impl Fn(Instant) -> Instant) -> Self {
        self.sent_at = self.sent_at.map(&map);
        self.heard_at = self.heard_at.map(&map);
        self
    }

    /// Connections that were lost, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.lost_closed + self.lost_io + self.lost_silent + self.lost_protocol
    }

    pub(crate) fn count_lost(&mut self, why: &WhyLost) {
        let count = match why {
            WhyLost::Io(_) => &mut self.lost_io,
            WhyLost::Silent { .. } => &mut self.lost_silent,
            WhyLost::Protocol(_) => &mut self.lost_protocol,
            WhyLost::Closed | WhyLost::UnknownOperation | WhyLost::GivenUp => &mut self.lost_closed,
        };
        *count += 1;
    }
}

/// Why a session has ended that was not closed: what there is to know afterwards, for whoever
/// has to find out whether it was the network, the servers, or this process.
///
/// ```
/// fn post_mortem(report: &homing_session::ExpiryReport) {
///     eprintln!("{report}");
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExpiryReport {
    /// How it ended.
    pub end: SessionEnd,
    /// The session time-out that the server had granted.
    pub session_timeout: Duration,
    /// How long before the end something was last sent.
    pub sent_before: Option<Duration>,
    /// How long before the end a server last answered.
    pub heard_before: Option<Duration>,
    /// The figures at the end.
    pub stats: Stats,
    /// For each server the newest reason why it could not be connected to.
    pub attempts: Vec<Attempt>,
    /// What names were last found to mean.
    pub resolved: BTreeMap<String, Vec<IpAddr>>,
}

impl fmt::Display for ExpiryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.end)?;
        writeln!(f, "  session time-out   {:?}", self.session_timeout)?;
        before(f, "last answer", self.heard_before)?;
        before(f, "last sent", self.sent_before)?;
        if let (Some(last), Some(max)) = (self.stats.ping_last, self.stats.ping_max) {
            writeln!(f, "  pings              last {last:?}, at most {max:?}")?;
        }
        writeln!(
            f,
            "  this process       was late by {:?} at most",
            self.stats.driver_lag_max
        )?;
        if !self.stats.slept.is_zero() {
            let slept = self.stats.slept;
            writeln!(f, "  this machine       has slept for {slept:?} in all")?;
        }
        writeln!(
            f,
            "  connections        {}, of which lost: {} closed by the server, {} by an error, {} silent, {} senseless",
            self.stats.connections,
            self.stats.lost_closed,
            self.stats.lost_io,
            self.stats.lost_silent,
            self.stats.lost_protocol
        )?;
        writeln!(f, "  failed attempts    {}", self.stats.failed_attempts)?;
        for attempt in &self.attempts {
            writeln!(f, "    {attempt}")?;
        }
        for (name, addresses) in &self.resolved {
            writeln!(f, "  {name} is {addresses:?}")?;
        }
        Ok(())
    }
}

fn before(f: &mut fmt::Formatter<'_>, what: &str, time: Option<Duration>) -> fmt::Result {
    match time {
        Some(time) => writeln!(f, "  {what:<18} {time:?} before the end"),
        None => writeln!(f, "  {what:<18} never"),
    }
}
