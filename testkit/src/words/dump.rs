//! `dump`: sessions and connections by when they expire.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::time::{Duration, Instant};

use super::{Peer, View};
use crate::server::Stage;

/// What connections without a session are given, and the step of all connections' expiry
/// (`zookeeper.nio.sessionlessCnxnTimeout`).
const SESSIONLESS: i64 = 10_000;

impl View<'_> {
    pub(super) fn dump(&self, out: &mut String) -> fmt::Result {
        let server = self.server;
        writeln!(out, "SessionTracker dump:")?;
        write!(out, "Session ")?;
        let sessions = server.sessions.iter().filter_map(|(id, session)| {
            let due = server.sessions.expiry(session)?;
            Some((self.unix_ms(due), format!("{id:#x}")))
        });
        sets(out, sessions)?;

        let ephemerals = server.tree.owners();
        writeln!(out, "ephemeral nodes dump:")?;
        writeln!(out, "Sessions with Ephemerals ({}):", ephemerals.len())?;
        for (session, paths) in ephemerals {
            writeln!(out, "{session:#x}:")?;
            for path in paths {
                writeln!(out, "\t{path}")?;
            }
        }

        writeln!(out, "Connections dump:")?;
        write!(out, "Connections ")?;
        let connections = server.connections.values().map(|connection| {
            let (session, timeout) = match connection.stage {
                Stage::Attached(id) => (id, Some(connection.timeout)),
                Stage::Fresh(_) | Stage::Opening => (0, None),
            };
            let timeout = timeout.map_or(SESSIONLESS, ms);
            let silent_until = connection.traffic.heard.unix_ms.saturating_add(timeout);
            let due = (silent_until / SESSIONLESS + 1) * SESSIONLESS;
            let peer = Peer(connection);
            (due, format!("ip: {peer} sessionId: {session:#x}"))
        });
        sets(out, connections)
    }

    fn unix_ms(&self, due: Instant) -> i64 {
        let from_now = due.saturating_duration_since(self.now.instant);
        self.now.unix_ms.saturating_add(ms(from_now))
    }
}

/// What expires when, the earliest first.
fn sets(out: &mut String, due: impl Iterator<Item = (i64, String)>) -> fmt::Result {
    let mut sets: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (due, name) in due {
        sets.entry(due).or_default().push(name);
    }
    let count: usize = sets.values().map(Vec::len).sum();
    writeln!(out, "Sets ({})/({count}):", sets.len())?;
    for (due, names) in sets {
        writeln!(out, "{} expire at {}:", names.len(), Date(due))?;
        for name in names {
            writeln!(out, "\t{name}")?;
        }
    }
    Ok(())
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the Unix epoch, as Java prints a date in UTC.
struct Date(i64);

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
        ];
        let seconds = self.0.div_euclid(1000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let name = |names: &[&'static str], index: i64| {
            let index = usize::try_from(index).unwrap_or_default();
            names.get(index).copied().unwrap_or_default()
        };
        // Years that begin in March, in eras of 400 that all have the same number of days.
        let since_march = days + 719_468;
        let (era, day) = (
            since_march.div_euclid(146_097),
            since_march.rem_euclid(146_097),
        );
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let year = year + era * 400 + i64::from(month >= 10);
        write!(
            f,
            "{} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}",
            name(&DAYS, days.rem_euclid(7)),
            name(&MONTHS, month)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_read_as_java_writes_them() {
        let rows = [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_735_689_599_999, "Tue Dec 31 23:59:59 UTC 2024"),
            (1_795_709_014_000, "Thu Nov 26 16:03:34 UTC 2026"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ];
        for (ms, text) in rows {
            assert_eq!(Date(ms).to_string(), text);
        }
    }
}
