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
    /// Connections that were left for another one, on purpose.
    pub moved: u64,
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

    /// Connections that were lost, for whatever reason. Those that were left on purpose are not
    /// among them.
    pub fn lost(&self) -> u64 {
        self.lost_closed + self.lost_io + self.lost_silent + self.lost_protocol
    }

    pub(crate) fn count_lost(&mut self, why: &WhyLost) {
        let count = match why {
            WhyLost::Io(_) => &mut self.lost_io,
            WhyLost::Silent { .. } => &mut self.lost_silent,
            WhyLost::Protocol(_) => &mut self.lost_protocol,
            WhyLost::Moved => &mut self.moved,
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
    /// Every server has closed the connection in place of an answer to the handshake, in one
    /// round over all of them at least. Perhaps they are behind this zxid, the newest that this
    /// client has seen, because they have lost their data or are of another ensemble; such
    /// servers say no more than that. Or they have no quorum.
    pub suspects_behind: Option<i64>,
    /// How late this process was at most for what it was to do, since a server last answered.
    pub late_unheard: Duration,
    /// For how long this machine has slept since then.
    pub slept_unheard: Duration,
    /// The client goes on with another session.
    pub is_renewed: bool,
}

impl ExpiryReport {
    /// Who or what is most likely to blame, where there is a reason to think so.
    fn likely_cause(&self) -> Option<String> {
        let expired = match &self.end {
            SessionEnd::Expired { .. } | SessionEnd::Replaced { .. } => true,
            SessionEnd::PresumedExpired { .. } => false,
            _ => return None,
        };
        // A third is left when a connection is given up.
        let much = self.session_timeout / 3;
        let silent_for = self.heard_before.unwrap_or_default();
        Some(if self.slept_unheard >= much {
            format!(
                "this machine slept for {}, and the servers did not wait",
                round(self.slept_unheard)
            )
        } else if self.late_unheard >= much {
            format!(
                "this process: what drives the session was held up for {} (a blocked runtime, a starved or \
                 stopped process)",
                round(self.late_unheard)
            )
        } else if let Some(zxid) = self.suspects_behind {
            format!(
                "the servers: every one closes the connection instead of answering the handshake. They may be \
                 behind zxid {zxid:#x}, which this client has seen (their data were lost, or they are another \
                 ensemble), or have no quorum"
            )
        } else if expired && silent_for < self.session_timeout - much {
            format!(
                "somebody else ended it (a client with its id and password, an administrator), or the servers \
                 forgot it: one had still answered {} before",
                round(silent_for)
            )
        } else if expired {
            format!(
                "no connection for {}, too long for its time-out",
                round(silent_for)
            )
        } else {
            "the network or the servers: none of them accepted a connection, for the reasons below"
                .into()
        })
    }
}

impl fmt::Display for ExpiryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats {
            connections,
            failed_attempts,
            lost_closed,
            lost_io,
            lost_silent,
            lost_protocol,
            ..
        } = self.stats;
        writeln!(f, "{}", self.end)?;
        if let Some(cause) = self.likely_cause() {
            line(f, "likely cause", cause)?;
        }
        let follows = match self.is_renewed {
            true => "a new session of the same client",
            false => "nothing: it takes a new client",
        };
        line(f, "what follows", follows)?;
        line(f, "session time-out", round(self.session_timeout))?;
        before(f, "last answer", self.heard_before)?;
        before(f, "last sent", self.sent_before)?;
        if let (Some(last), Some(max)) = (self.stats.ping_last, self.stats.ping_max) {
            let (last, max) = (round(last), round(max));
            line(f, "pings", format_args!("last {last}, at most {max}"))?;
        }
        let (late, max) = (round(self.late_unheard), round(self.stats.driver_lag_max));
        line(
            f,
            "this process",
            format_args!("was late by {late} at most since the last answer, by {max} ever"),
        )?;
        if !self.stats.slept.is_zero() {
            let (unheard, ever) = (round(self.slept_unheard), round(self.stats.slept));
            line(
                f,
                "this machine",
                format_args!("has slept for {unheard} since the last answer, for {ever} in all"),
            )?;
        }
        line(
            f,
            "connections",
            format_args!(
                "{connections}, of which lost: {lost_closed} closed by the server, {lost_io} by an error, \
                 {lost_silent} silent, {lost_protocol} senseless"
            ),
        )?;
        line(f, "failed attempts", failed_attempts)?;
        for attempt in &self.attempts {
            writeln!(f, "    {attempt}")?;
        }
        for (name, addresses) in &self.resolved {
            write!(f, "  {name} is")?;
            for address in addresses {
                write!(f, " {address}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {what:<18} {text}")
}

fn before(f: &mut fmt::Formatter<'_>, what: &str, time: Option<Duration>) -> fmt::Result {
    match time {
        Some(time) => line(f, what, format_args!("{} before the end", round(time))),
        None => line(f, what, "never"),
    }
}

/// A time to be read by somebody who is tired: as exact as it takes to tell times apart.
fn round(time: Duration) -> String {
    match time.as_secs() {
        // As much as a ping takes on a good network.
        0 if time < Duration::from_millis(1) => format!("{} µs", time.as_micros()),
        0 => format!("{} ms", time.as_millis()),
        1..=99 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 100..=5999 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(end: SessionEnd, heard_before: u64) -> ExpiryReport {
        let seconds = |n| Some(Duration::from_secs(n));
        ExpiryReport {
            end,
            session_timeout: Duration::from_secs(30),
            sent_before: seconds(1),
            heard_before: seconds(heard_before),
            stats: Stats::default(),
            attempts: Vec::new(),
            resolved: BTreeMap::new(),
            suspects_behind: None,
            late_unheard: Duration::ZERO,
            slept_unheard: Duration::ZERO,
            is_renewed: false,
        }
    }

    #[test]
    fn the_cause_comes_first() {
        let session_id = 0x12;
        let expired = || report(SessionEnd::Expired { session_id }, 31);
        let silent_for = Duration::from_secs(40);
        let presumed = || {
            let end = SessionEnd::PresumedExpired {
                session_id,
                silent_for,
            };
            report(end, 40)
        };
        let mut slept = expired();
        slept.slept_unheard = Duration::from_secs(7_300);
        let mut late = presumed();
        late.late_unheard = Duration::from_millis(12_340);
        let mut behind = presumed();
        behind.suspects_behind = Some(0x2a);
        for (report, cause) in [
            (slept, "this machine slept for 2 h 1 min,"),
            (
                late,
                "this process: what drives the session was held up for 12.3 s",
            ),
            (behind, "They may be behind zxid 0x2a"),
            (expired(), "no connection for 31.0 s"),
            (presumed(), "the network or the servers: none of them"),
            (
                report(SessionEnd::Expired { session_id }, 2),
                "had still answered 2.0 s before",
            ),
        ] {
            let text = report.to_string();
            let line = text.lines().nth(1).unwrap();
            assert!(line.starts_with("  likely cause       "), "{text}");
            assert!(line.contains(cause), "{text}");
        }
        let scheme = "digest".into();
        let refused = report(SessionEnd::AuthFailed { scheme }, 0).to_string();
        assert!(!refused.contains("likely"), "{refused}");
    }

    #[test]
    fn times_are_as_exact_as_it_takes() {
        let micros = [
            0,
            999,
            1_000,
            999_999,
            1_000_000,
            99_940_000,
            100_000_000,
            6_000_000_000,
        ];
        let texts = micros.map(|us| round(Duration::from_micros(us)));
        let expected = [
            "0 µs",
            "999 µs",
            "1 ms",
            "999 ms",
            "1.0 s",
            "99.9 s",
            "1 min 40 s",
            "1 h 40 min",
        ];
        assert_eq!(texts, expected);
    }
}
