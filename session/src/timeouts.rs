//! The arithmetic of time: every fraction, with its reason, in one place.

use std::ops::RangeInclusive;
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

/// How long whoever knows which servers there are may take to say so.
pub(crate) const SERVER_LIST_MAX: Duration = Duration::from_secs(5);

/// How long a pause may be while there is a session to be kept alive: so short that there are several
/// in the third of the time-out that is left to find another server in.
pub(crate) fn pause_max(session_timeout: Duration) -> Duration {
    session_timeout / 6
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
/// How long a server is left alone by what the session does by itself, when it says that it has
/// too much to do.
pub(crate) const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// A connection has settled, and its server is no longer suspected of accepting and then
/// closing, when it has lived this long: a round of pings, but no more than 5 s.
pub(crate) fn settled_after(session_timeout: Duration) -> Duration {
    ping_interval(session_timeout).min(Duration::from_secs(5))
}

/// How long a connection that is to be left waits for the answers that are due, while nothing new
/// is sent: a third of the session time-out, so that as much is left of it as when a connection
/// is given up. A server that has answered nothing for so long may never do.
pub(crate) fn leave_max(session_timeout: Duration) -> Duration {
    session_timeout / 3
}

/// How long a server that has failed is tried after all others. After that it may be back, and
/// should not be the last choice of everybody.
pub(crate) const PENALTY: Duration = Duration::from_secs(60);

/// The longest that a session stays at another server than the preferred ones: as good as for
/// ever, and far from what time is counted in.
pub(crate) const RETURN_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Between which bounds the pause before another pass over all servers is drawn, when none was
/// reached for `away`: 0.3 s to 1 s, and 1.5 s to 5 s after 10 s. The floor is what bounds the
/// number of passes whatever is drawn. A higher one would make the typical recovery slower: a
/// client that waits for an ensemble should be back about a third of a second after it.
pub(crate) fn pause(away: Duration) -> RangeInclusive<Duration> {
    let longest = if away >= Duration::from_secs(10) {
        Duration::from_secs(5)
    } else {
        PAUSE_MAX
    };
    longest.mul_f64(PAUSE_MIN_PART)..=longest
}

/// The first pause of all, from two random numbers between 0 and 1: what is left of a [`pause`]
/// at a random moment. Clients that have lost their servers together begin as if they had been
/// pausing for ever, each in its own rhythm, so that there is no second wave: the share of them
/// that comes back in each tenth of a second is the same from the first one on. It also makes a
/// short outage no dearer than a long one.
pub(crate) fn first_pause(u: f64, v: f64) -> Duration {
    // A random moment is more likely to lie in a long pause than in a short one.
    let min = PAUSE_MIN_PART * PAUSE_MIN_PART;
    let whole = (min + u * (1.0 - min)).sqrt();
    PAUSE_MAX.mul_f64(whole * v)
}

const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest pause, as a part of the longest.
const PAUSE_MIN_PART: f64 = 0.3;

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
    fn pauses_have_a_floor_and_grow_after_a_while() {
        assert_eq!(pause(MS(0)), MS(300)..=MS(1_000));
        assert_eq!(pause(MS(9_999)), MS(300)..=MS(1_000));
        assert_eq!(pause(MS(10_000)), MS(1_500)..=MS(5_000));
    }

    #[test]
    fn the_first_pause_is_the_rest_of_one() {
        assert_eq!(first_pause(0.0, 1.0), MS(300));
        assert_eq!(first_pause(1.0, 1.0), MS(1_000));
        assert_eq!(first_pause(0.5, 0.0), MS(0));
        // The mean rest of a pause of 0.3 s to 1 s: half of the mean square over the mean.
        let steps: Vec<f64> = (0..1_000).map(|n| (f64::from(n) + 0.5) / 1_000.0).collect();
        let sum: f64 = steps
            .iter()
            .map(|u| first_pause(*u, 0.5).as_secs_f64())
            .sum();
        let mean_square = (1.0 - 0.027) / 3.0 / 0.7;
        assert!((sum / 1_000.0 - mean_square / 0.65 / 2.0).abs() < 0.001);
    }
}
