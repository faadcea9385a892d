//! What an observer is shown of a proxy's connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::faults::{Rule, Way};

/// Something that a proxy has seen on a connection.
///
/// ```
/// use homing_testkit::{Observed, Sight};
/// fn line(seen: &Observed<'_>) -> Option<String> {
///     match &seen.what {
///         Sight::Opened(from) => Some(format!("{} opened from {from}", seen.connection)),
///         Sight::Closed(by) => Some(format!("{} closed by {by}", seen.connection)),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Observed<'a> {
    /// Which connection, counted from 1 since the proxy was made.
    pub connection: u64,
    /// When.
    pub at: Instant,
    /// What.
    pub what: Sight<'a>,
}

/// What can be seen.
///
/// ```
/// use homing_testkit::Sight;
/// use homing_testkit::faults::Way;
/// let frame = bytes::Bytes::from_static(b"\0\0\0\x01\0\0\0\x0b");
/// assert!(matches!(Sight::Frame(Way::ToServer, &frame), Sight::Frame(..)));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Sight<'a> {
    /// It was accepted from this address.
    Opened(SocketAddr),
    /// No connection can be accepted, which is tried again: shown once until one can be. Its number
    /// is that of the one to come.
    NotAccepted(&'a io::Error),
    /// The server cannot be reached at this address. Its next one is tried, if it has any.
    Unreachable(SocketAddr, &'a io::Error),
    /// A session could not be ended or taken up by somebody else, as this rule of the script has
    /// it, and it does not count as a strike. The connection may be over by then.
    InVain(&'a Rule, &'a io::Error),
    /// A whole frame has come in, shown without its length. The first one each way is the
    /// handshake's.
    Frame(Way, &'a Bytes),
    /// Bytes have come in that belong to no frame.
    Raw(Way, &'a Bytes),
    /// One side will say no more. The other may, until it has come to its end too.
    Ended(Way),
    /// It is over.
    Closed(Closer),
}

/// Who closed a connection.
///
/// ```
/// assert_eq!(homing_testkit::Closer::Fault.to_string(), "a fault");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closer {
    /// Its client.
    Client,
    /// The server behind the proxy.
    Server,
    /// The proxy, since it cannot reach the server: [`Sight::Unreachable`] said why.
    NoServer,
    /// A fault of the script.
    Fault,
    /// The proxy, since somebody has told it to.
    Proxy,
}

impl fmt::Display for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "the client",
            Self::Server => "the server",
            Self::NoServer => "the proxy, which reaches no server",
            Self::Fault => "a fault",
            Self::Proxy => "the proxy",
        })
    }
}

/// Whoever wants to see it.
pub(crate) struct Observer(pub(crate) Box<dyn FnMut(&Observed<'_>) + Send>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
