//! SASL: proving who one is, token by token, before anything else is said on a connection.

mod digest_md5;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use homing_protocol::ErrorCode;

pub use self::digest_md5::DigestMd5;
use crate::connect_string::Server;
use crate::secret::Secret;

/// Somebody to whom a client proves who it is.
///
/// ```
/// use homing_session::{Host, Peer};
/// fn principal(peer: &Peer) -> String {
///     match &peer.server.host {
///         Host::Name(name) => format!("zookeeper/{name}"),
///         Host::Ip(_) => format!("zookeeper/{}", peer.address.ip()),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The server, as the connect string has it.
    pub server: Server,
    /// Its address, at the other end of this connection.
    pub address: SocketAddr,
}

/// A way to prove who one is: `DIGEST-MD5`, `GSSAPI`.
///
/// It is asked to [`begin`](Self::begin) anew on every connection, so nothing of an exchange is
/// left for the next one.
///
/// **It must not block:** it is called by what drives the session, and pings of other sessions
/// may wait meanwhile. What takes time (a ticket from a KDC) is got beforehand, where the
/// client gets its login.
///
/// ```
/// use homing_session::{Peer, SaslError, SaslExchange, SaslMechanism, SaslStep, Secret};
///
/// /// Whoever knows the word may enter.
/// #[derive(Debug)]
/// struct Password(Secret);
///
/// impl SaslMechanism for Password {
///     fn name(&self) -> &str {
///         "PASSWORD"
///     }
///     fn begin(&self, _peer: &Peer) -> Result<(Secret, Box<dyn SaslExchange>), SaslError> {
///         Ok((self.0.clone(), Box::new(Told)))
///     }
/// }
///
/// #[derive(Debug)]
/// struct Told;
///
/// impl SaslExchange for Told {
///     fn step(&mut self, answer: Option<&[u8]>) -> Result<SaslStep, SaslError> {
///         match answer {
///             Some(b"welcome") => Ok(SaslStep::Done),
///             Some(_) => Err(SaslError::Failed("it did not say welcome".into())),
///             None => Err(SaslError::NoToken),
///         }
///     }
/// }
/// ```
pub trait SaslMechanism: fmt::Debug + Send + Sync {
    /// Its registered name, for messages: the protocol does not tell it.
    fn name(&self) -> &str;

    /// Begins an exchange: the first token, which may be empty, and what goes on from there.
    ///
    /// # Errors
    /// There is nothing to begin with. The attempt to connect fails, and another follows.
    fn begin(&self, peer: &Peer) -> Result<(Secret, Box<dyn SaslExchange>), SaslError>;
}

/// An exchange of tokens on one connection; see [`SaslMechanism`].
pub trait SaslExchange: fmt::Debug + Send {
    /// What to do about the server's answer to the last token. A server answers every token,
    /// also the last of a mechanism in which the client has the last word: with a null token,
    /// and there the exchange is [`Done`](SaslStep::Done). Where a token is due, a null one is
    /// [`SaslError::NoToken`].
    ///
    /// # Errors
    /// The server cannot be trusted, or made no sense. Nothing more is sent to it.
    fn step(&mut self, answer: Option<&[u8]>) -> Result<SaslStep, SaslError>;
}

/// What follows in an exchange.
///
/// ```
/// use homing_session::{SaslStep, Secret};
/// let step = SaslStep::Send(Secret::new(b"a token"));
/// assert_eq!(format!("{step:?}"), "Send([redacted])");
/// ```
#[derive(Debug)]
pub enum SaslStep {
    /// This token goes out, and its answer comes back.
    Send(Secret),
    /// Both sides are satisfied.
    Done,
}

/// Why an exchange cannot go on.
///
/// ```
/// let error = homing_session::SaslError::Unproven;
/// assert_eq!(error.to_string(), "the server did not prove that it knows the password");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslError {
    /// The server said yes without a token where one is due: it has no SASL, or lets in whom it
    /// has not accepted.
    NoToken,
    /// The server accepted, and did not prove that it is who it seems to be.
    Unproven,
    /// Something else, on this side or on the server's.
    Failed(String),
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("the server answered without a token"),
            Self::Unproven => f.write_str("the server did not prove that it knows the password"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SaslError {}

/// How a server turned somebody away.
///
/// ```
/// use homing_protocol::ErrorCode;
/// use homing_session::SaslRefusal;
/// let refused = SaslRefusal::Refused(ErrorCode::AuthFailed);
/// assert_eq!(refused.to_string(), "it refused, with AuthFailed (-115)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslRefusal {
    /// It said no: the user is unknown, or the password is wrong. It does not tell which.
    Refused(ErrorCode),
    /// It has no SASL: it said yes to the first token, and nothing more.
    NotOffered,
    /// It lets in whom it has not accepted, without an identity: it said yes where a proof was
    /// due.
    NotAccepted,
}

impl fmt::Display for SaslRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "it refused, with {code}"),
            Self::NotOffered => f.write_str(
                "it has no SASL, and answered yes without a challenge (a client may be told to go on without)",
            ),
            Self::NotAccepted => f.write_str(
                "it did not accept the identity, and lets in whom it has not accepted (a client may be told to go on without)",
            ),
        }
    }
}

/// How a client proves who it is: a mechanism, and what becomes of servers that do not ask for
/// it.
///
/// ```
/// use homing_session::{DigestMd5, Sasl};
/// let sasl = Sasl::new(DigestMd5::new("bob", "secret", || *b"made for doctest"));
/// assert_eq!(format!("{sasl:?}"), "Sasl { mechanism: DigestMd5 { user: \"bob\", .. }, is_optional: false }");
/// ```
#[derive(Debug, Clone)]
pub struct Sasl {
    pub(crate) mechanism: Arc<dyn SaslMechanism>,
    pub(crate) is_optional: bool,
}

impl Sasl {
    /// By this mechanism, with every server.
    pub fn new(mechanism: impl SaslMechanism + 'static) -> Self {
        Self {
            mechanism: Arc::new(mechanism),
            is_optional: false,
        }
    }

    /// A server that has no SASL, or lets in whom it has not accepted, is taken all the same:
    /// without the identity. Whoever can stand between client and server can make it so.
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }
}
