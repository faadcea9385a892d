//! The arithmetic of time: every fraction, with its reason, in one place.

use std::time::Duration;

/// How often something is sent at least. A third, so that two pings in a row can be lost in
/// the time that a server gives a session.
pub(crate) fn ping_interval(session_timeout: Duration) -> Duration {
    session_timeout / 3
}

/// After how long without an answer a connection is given up: two thirds, so that the last
/// third is left to find another server before the session expires. The Java client does the
/// same.
pub(crate) fn silence_max(session_timeout: Duration) -> Duration {
    session_timeout * 2 / 3
}

/// How long a session is presumed to live on without a server: an expiry is decided in whole
/// ticks of the server, so it comes late rather than early; ZOOKEEPER-4508 settled on 4/3.
pub(crate) fn presumed_life(session_timeout: Duration) -> Duration {
    session_timeout * 4 / 3
}

/// How long one server may take, from the name lookup to the handshake. Before there is a
/// session, each has its share of the connect time-out; afterwards, of what
/// [`silence_max`] leaves. Never so short that a slow network has no chance, nor so long that
/// one dead server keeps the others waiting.
pub(crate) fn attempt_max(time_left: Duration, servers: usize) -> Duration {
    let share = time_left / u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    share.clamp(Duration::from_millis(200), Duration::from_secs(10))
}

/// How long a close waits for the answer to the first handshake when it comes in between: whoever
/// closes what has not begun should not wait for a server that is stuck.
pub(crate) const LAST_HANDSHAKE_MAX: Duration = Duration::from_secs(1);

/// How long a session that nobody needs any more may take to be closed. It ends by its time-out
/// in any case.
pub(crate) const LAST_REQUEST_MAX: Duration = Duration::from_secs(1);

/// The first pause before a server is sought that takes writes, and the longest: it doubles, and
/// begins anew with each connection. The Java client has the same.
pub(crate) const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
pub(crate) const PROBE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to say whether it takes writes.
pub(crate) const PROBE_MAX: Duration = Duration::from_secs(5);
/// How long requests that are on their way may take to be answered before they are left behind
/// at a read-only server.
pub(crate) const MOVE_MAX: Duration = Duration::from_secs(1);

/// A connection has settled, and its server is no longer suspected of accepting and then
/// closing, when it has lived this long: a round of pings, but no more than 5 s.
pub(crate) fn settled_after(session_timeout: Duration) -> Duration {
    ping_interval(session_timeout).min(Duration::from_secs(5))
}

/// The longest pause after `passes` fruitless passes over all servers, when none was reached
/// for `away`: 100 ms, doubled up to 1 s; 5 s after 10 s. Short at first, because an ensemble
/// elects a leader in a fraction of a second.
pub(crate) fn backoff_ceiling(passes: u32, away: Duration) -> Duration {
    if away >= Duration::from_secs(10) {
        return Duration::from_secs(5);
    }
    let doubled = Duration::from_millis(100).saturating_mul(1 << passes.min(10));
    doubled.min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_connection_is_given_up_in_time_for_another_one() {
        for timeout in [MS(400), MS(4_000), MS(30_000)] {
            let given_up = silence_max(timeout);
            assert!(ping_interval(timeout) * 2 <= given_up);
            assert!(given_up + attempt_max(timeout / 3, 3) <= timeout.max(MS(600)));
        }
    }

    #[test]
    fn pauses_grow_and_stop_growing() {
        let ceilings: Vec<_> = (0..6)
            .map(|n| backoff_ceiling(n, MS(0)).as_millis())
            .collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff_ceiling(u32::MAX, MS(10_000)), MS(5_000));
    }
}
