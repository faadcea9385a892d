//! Time that is added to time.

use std::time::{Duration, Instant};

/// As good as for ever, and a time that every platform's clock can add.
pub(crate) const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// When so much time has passed, or [`AGES`] have. The end of time is not passed.
pub(crate) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by.min(AGES)).unwrap_or(at)
}
