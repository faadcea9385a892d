//! The transports that are compiled in: the one file with feature gates.

use std::sync::Arc;

use homing_transport::Transport;

#[cfg(feature = "nio")]
pub use homing_transport_nio::Nio;
#[cfg(feature = "tokio")]
pub use homing_transport_tokio::Tokio;

/// The runtime around what drives a session, where code of a user's may rely on it.
#[cfg(feature = "tokio")]
pub(crate) use homing_transport_tokio::Context;

/// There is no runtime around anything.
#[cfg(not(feature = "tokio"))]
#[derive(Debug)]
pub(crate) struct Context;

#[cfg(not(feature = "tokio"))]
impl Context {
    pub(crate) fn current() -> Self {
        Self
    }

    pub(crate) fn enter(&self) -> Self {
        Self
    }
}

#[cfg(any(feature = "nio", feature = "tokio"))]
use crate::builder::Builder;

#[cfg(not(any(feature = "nio", feature = "tokio")))]
compile_error!(
    "homing needs a transport: switch on the feature `tokio` (the default) or the feature `nio`, or both"
);

/// The transport of a builder that names none: tokio if it is compiled in, or else nio.
pub(crate) fn default_transport() -> Arc<dyn Transport> {
    #[cfg(feature = "tokio")]
    return Arc::new(Tokio::new());
    #[cfg(all(feature = "nio", not(feature = "tokio")))]
    return Arc::new(Nio::new());
    #[cfg(not(any(feature = "nio", feature = "tokio")))]
    loop {}
}

#[cfg(any(feature = "nio", feature = "tokio"))]
impl Builder {
    /// The session runs on a thread of its own, whichever transport is compiled in: nio if it
    /// is, or else tokio on a private thread.
    /// For plain threads, and for code that does not know with which features it is built.
    pub fn own_thread(self) -> Self {
        #[cfg(feature = "nio")]
        return self.transport(Nio::new());
        #[cfg(not(feature = "nio"))]
        self.transport(Tokio::private_thread())
    }
}

#[cfg(feature = "nio")]
impl Builder {
    /// The session runs on a thread of its own, on mio. It works with any async runtime and
    /// without one, and pings leave on time whatever the application does. (Feature `nio`.)
    pub fn nio(self) -> Self {
        self.transport(Nio::new())
    }
}

#[cfg(feature = "tokio")]
impl Builder {
    /// The session runs as a task of the tokio runtime inside which it is started. The default
    /// if the feature `tokio` is on.
    pub fn tokio(self) -> Self {
        self.transport(Tokio::new())
    }
}
