//! The transports and the TLS that are compiled in: the one file with feature gates.

use std::sync::Arc;

use homing_transport::Transport;

#[cfg(feature = "nio")]
pub use homing_transport_nio::Nio;
#[cfg(feature = "tls")]
pub use homing_transport_tls::Tls;
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

#[cfg(feature = "tls")]
use crate::admin::FourLetter;
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

#[cfg(feature = "tls")]
impl Builder {
    /// How to speak TLS with the servers that have `tls://` in the connect string, and with no
    /// others. See [`Tls`] for what is verified and when files are read. (Feature `tls`.)
    ///
    /// ```no_run
    /// # fn main() -> Result<(), homing::Error> {
    /// use homing::{Client, Tls};
    /// let tls = Tls::new()
    ///     .ca_file("/etc/zookeeper/ca.pem")
    ///     .client_certificate_files("/etc/app/cert.pem", "/etc/app/key.pem");
    /// let client = Client::builder("tls://zk1:2281,tls://zk2:2281/app")
    ///     .own_thread()
    ///     .tls(tls)
    ///     .connect()
    ///     .wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls(self, tls: Tls) -> Self {
        self.secure(tls)
    }
}

#[cfg(feature = "tls")]
impl<T> FourLetter<T> {
    /// How to speak TLS with a server that has `tls://` in front of its name. (Feature `tls`.)
    pub fn tls(self, tls: Tls) -> Self {
        self.secure(tls)
    }
}

/// What to do about a connect string with `tls://` in it and no settings for that.
#[cfg(feature = "tls")]
pub(crate) const HOW_TO_SPEAK_TLS: &str =
    "say whom to trust: `Builder::tls(Tls::new().ca_file(…))`";
#[cfg(not(feature = "tls"))]
pub(crate) const HOW_TO_SPEAK_TLS: &str =
    "switch on the feature `tls` of the crate `homing`, and say whom to trust: `Builder::tls`";
