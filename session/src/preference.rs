//! Servers that a session would rather be at.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::connect_string::Server;

/// Which servers are preferred, and how soon a session that is elsewhere returns to them.
///
/// ```
/// use std::time::Duration;
/// use homing_session::{ConnectString, Preference};
/// let near = "zk1,zk2".parse::<ConnectString>()?.servers;
/// let preference = Preference::new(move |server| near.contains(server), Duration::from_secs(60));
/// assert_eq!(preference.return_after(), Duration::from_secs(60));
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Clone)]
pub struct Preference {
    is_preferred: Arc<dyn Fn(&Server) -> bool + Send + Sync>,
    return_after: Duration,
}

impl Preference {
    /// The servers for which `is_preferred` holds; it is asked once for each server of a list, by
    /// whatever drives the session. A session that is at another one tries to return
    /// `return_after` later, or some time around that.
    pub fn new(
        is_preferred: impl Fn(&Server) -> bool + Send + Sync + 'static,
        return_after: Duration,
    ) -> Self {
        Self {
            is_preferred: Arc::new(is_preferred),
            return_after,
        }
    }

    /// How long a session stays at another server before it tries to return.
    pub fn return_after(&self) -> Duration {
        self.return_after
    }

    pub(crate) fn is_preferred(&self, server: &Server) -> bool {
        (self.is_preferred)(server)
    }
}

impl fmt::Debug for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preference")
            .field("return_after", &self.return_after)
            .finish_non_exhaustive()
    }
}
