//! The clock that drivers read: it goes on while the machine sleeps.
//!
//! The system's monotonic clock, which [`Instant`] is, stands still while a machine is suspended;
//! the servers' clocks do not. A session that trusted it would believe, on waking up after an
//! hour, that it was alive and held its locks. So drivers tell engines the time of [`now`], which
//! counts sleep, and whoever shows such an instant to a user turns it into the user's own time
//! with [`awake`].
#![allow(
    clippy::disallowed_methods,
    reason = "the one place that reads a clock, for the drivers"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For how long the machine has slept since this process first asked. It never falls.
static SLEPT_NS: AtomicU64 = AtomicU64::new(0);

/// The time now, sleep included: ahead of [`Instant::now`] by [`slept`].
///
/// ```
/// let now = homing_transport::clock::now();
/// assert!(homing_transport::clock::awake(now) <= std::time::Instant::now());
/// ```
pub fn now() -> Instant {
    let slept = slept();
    Instant::now() + slept
}

/// For how long the machine has slept since this process first asked.
///
/// It is known on Linux and Android, where two clocks of the system differ in just that.
/// Elsewhere it is zero.
pub fn slept() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    system::notice();
    Duration::from_nanos(SLEPT_NS.load(Ordering::Relaxed))
}

/// An instant of [`now`]'s, in the terms of [`Instant::now`]: what a user can compare with it.
pub fn awake(at: Instant) -> Instant {
    at.checked_sub(slept()).unwrap_or(at)
}

/// Lets it look as if the machine had slept for so much longer, to the whole process. For tests.
#[doc(hidden)]
pub fn pretend_to_sleep(duration: Duration) {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    system::PRETENDED_NS.fetch_add(ns, Ordering::Relaxed);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    SLEPT_NS.fetch_add(ns, Ordering::Relaxed);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::SLEPT_NS;

    pub(super) static PRETENDED_NS: AtomicU64 = AtomicU64::new(0);

    /// How far the two clocks were apart when this process first asked, in nanoseconds.
    static APART_AT_FIRST: OnceLock<u64> = OnceLock::new();

    /// Less than this is no sleep, but the time between two readings.
    const SLEEP_MIN: Duration = Duration::from_millis(20);

    /// How often the clocks are read again when this thread lost the processor in between.
    const READINGS_MAX: usize = 4;

    /// Compares the clocks, and keeps what they tell.
    pub(super) fn notice() {
        let apart = apart();
        let slept = apart.saturating_sub(*APART_AT_FIRST.get_or_init(|| apart));
        let slept = slept.saturating_add(PRETENDED_NS.load(Ordering::Relaxed));
        if is_sleep(slept, SLEPT_NS.load(Ordering::Relaxed)) {
            SLEPT_NS.fetch_max(slept, Ordering::Relaxed);
        }
    }

    /// Whether so much is more than what is known, and not just noise.
    pub(super) fn is_sleep(slept: u64, known: u64) -> bool {
        u128::from(slept.saturating_sub(known)) >= SLEEP_MIN.as_nanos()
    }

    /// How far the clock that counts sleep is ahead of the one that does not, in nanoseconds:
    /// too little rather than too much.
    fn apart() -> u64 {
        let mut best = u64::MAX;
        for _ in 0..READINGS_MAX {
            let before = read(ClockId::Monotonic);
            let with_sleep = read(ClockId::Boottime);
            let after = read(ClockId::Monotonic);
            best = best.min(with_sleep.saturating_sub(before));
            if u128::from(after.saturating_sub(before)) < SLEEP_MIN.as_nanos() / 4 {
                break;
            }
        }
        best
    }

    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_counted_once_and_for_all() {
        let before = slept();
        let at = now();
        assert!(awake(at) <= Instant::now());
        pretend_to_sleep(Duration::from_secs(3_600));
        assert_eq!(slept(), before + Duration::from_secs(3_600));
        assert_eq!(slept(), before + Duration::from_secs(3_600));
        // What was an hour ahead is now, and an hour of sleep lies between the two readings.
        assert!(now() >= at + Duration::from_secs(3_600));
        assert!(awake(at) + Duration::from_secs(3_599) <= Instant::now());
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_thread_that_loses_the_processor_has_not_slept() {
        const MS: u64 = 1_000_000;
        assert!(!system::is_sleep(19 * MS, 0));
        assert!(system::is_sleep(20 * MS, 0));
        assert!(!system::is_sleep(70 * MS, 60 * MS));
    }
}
