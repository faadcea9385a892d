//! Who a client is on each of its connections: SASL, and credentials that change.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homing_session::{Authentication, DigestMd5, Peer, SaslMechanism, Secret};

use crate::builder::Builder;
use crate::helper::{self, BoxError};

/// How a client proves who it is, before anything else is said on a connection; see
/// [`Builder::sasl`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # use homing_testkit::{FakeServer, SaslConfig};
/// # let server = FakeServer::builder()
/// #     .config(|config| config.sasl = Some(SaslConfig::new().user("bob", "secret")))
/// #     .start().unwrap();
/// # let servers = server.connect_string();
/// use homing::{Acl, Client, Sasl};
/// let builder = Client::builder(&servers).sasl(Sasl::digest_md5("bob", "secret"));
/// let client = builder.connect().await?;
/// client.create("/mine", b"").acl(Acl::creator_all()).await?;
/// assert_eq!(client.acl("/mine").await?.entries, [Acl::new("sasl", "bob")]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sasl(homing_session::Sasl);

impl Sasl {
    /// By a user's name and a password, which is never sent: the mechanism `DIGEST-MD5`, which
    /// ZooKeeper's servers have unless they run in FIPS mode. The server has to prove that it
    /// knows the password too.
    ///
    /// Whoever sees such an exchange can try passwords against it in peace: it takes a good
    /// password, or TLS.
    pub fn digest_md5(user: &str, password: &str) -> Self {
        // The generator of threads is one for secrets.
        Self::mechanism(DigestMd5::new(user, password, rand::random))
    }

    /// By a mechanism of your own, `GSSAPI` for one.
    pub fn mechanism(mechanism: impl SaslMechanism + 'static) -> Self {
        Self(homing_session::Sasl::new(mechanism))
    }

    /// A server that has no SASL, or lets in whom it has not accepted
    /// (`allowSaslFailedClients`), is taken all the same, and the client is nobody there. By
    /// default the session ends with [`SessionEnd::SaslFailed`](crate::SessionEnd).
    ///
    /// Whoever can stand between client and server can make a server look like that.
    pub fn optional(self) -> Self {
        Self(self.0.optional())
    }
}

/// Who a client is on one connection: what a [`LoginProvider`] answers.
///
/// ```
/// let login = homing::Login::new().digest("bob", "secret");
/// assert!(!format!("{login:?}").contains("secret"));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it counts only where it is given to a builder, or answered by a provider"]
pub struct Login(homing_session::Login);

impl Login {
    /// Nobody in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// Proves who it is by SASL, in place of what [`Builder::sasl`] says.
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.0.sasl = Some(sasl.0);
        self
    }

    /// Adds an identity of the scheme `digest`: a user's name and a password, which is sent in
    /// clear.
    pub fn digest(self, user: &str, password: &str) -> Self {
        let mut proof = Vec::with_capacity(user.len() + 1 + password.len());
        for part in [user, ":", password] {
            proof.extend_from_slice(part.as_bytes());
        }
        self.add("digest", proof.into())
    }

    /// Adds an identity of any scheme, as [`Client::add_auth`](crate::Client::add_auth) does.
    pub fn auth(self, scheme: &str, proof: &[u8]) -> Self {
        self.add(scheme, Secret::new(proof))
    }

    fn add(mut self, scheme: &str, proof: Secret) -> Self {
        let scheme = scheme.into();
        let authentication = Authentication { scheme, proof };
        self.0.authentications.push(Arc::new(authentication));
        self
    }
}

/// Knows who a client is, also when that changes: it is asked anew for every connection.
///
/// It is asked when a connection is open, before anything is said on it. Its future is polled on a
/// thread of its own, so it may take its time, up to
/// [`login_timeout`](Builder::login_timeout), and may even block. If the session runs on tokio,
/// the future finds the session's runtime around it: its timers, its sockets and `spawn` work. If
/// it does not, a provider that needs a runtime brings its own (`Handle::spawn`, say).
///
/// A provider that fails, or is late, fails the attempt to connect, and is asked again by the
/// next one. Its error's text is in the [failures](crate::Client::failures) and in the log: no
/// secret should be in it.
///
/// A [`Login`] is a provider too, of what never changes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// # std::fs::write(std::env::temp_dir().join("homing-doc-password"), "secret").unwrap();
/// # let file = std::env::temp_dir().join("homing-doc-password");
/// use homing::{BoxError, Client, Login, LoginProvider, Peer, async_trait};
///
/// /// Somebody else writes a new password there now and then.
/// struct PasswordFile(std::path::PathBuf);
///
/// #[async_trait]
/// impl LoginProvider for PasswordFile {
///     async fn login(&self, _peer: &Peer) -> Result<Login, BoxError> {
///         let password = std::fs::read_to_string(&self.0)?;
///         Ok(Login::new().digest("bob", password.trim_end()))
///     }
/// }
///
/// let client = Client::builder(&servers).login(PasswordFile(file)).connect().await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait LoginProvider: Send + Sync {
    /// Who the client is on a connection to this server.
    ///
    /// # Errors
    /// It is not known now: the attempt to connect fails, for this reason.
    async fn login(&self, peer: &Peer) -> Result<Login, BoxError>;
}

#[async_trait]
impl LoginProvider for Login {
    async fn login(&self, _peer: &Peer) -> Result<Self, BoxError> {
        Ok(self.clone())
    }
}

impl Builder {
    /// Every connection begins with SASL, and requests wait until that is done. A server that
    /// does not accept it ends the session, with [`SessionEnd::SaslFailed`](crate::SessionEnd);
    /// one that does not prove who it is, or makes no sense, is given up, and others are tried.
    ///
    /// By default there is none. See [`Sasl`] for an example.
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.config_mut().sasl = Some(sasl.0);
        self
    }

    /// Who the client is on each connection: a [`Login`], or a [`LoginProvider`] that is asked
    /// anew for every one.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use homing::{Acl, Client, Login};
    /// let bob = Login::new().digest("bob", "secret");
    /// let builder = Client::builder(&servers).own_thread().login(bob);
    /// let client = builder.default_acl(Acl::creator_all()).connect().wait()?;
    /// client.create("/mine", b"").wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn login(mut self, provider: impl LoginProvider + 'static) -> Self {
        let whom: Arc<dyn LoginProvider> = Arc::new(provider);
        let ask = helper::ask(whom, |whom, peer: Peer| async move {
            whom.login(&peer).await.map(|login| login.0)
        });
        self.config_mut().login = Some(ask);
        self
    }

    /// How long a [`LoginProvider`] may take; 5 s by default. Servers close a connection on which
    /// nothing is said for 10 s.
    pub fn login_timeout(mut self, timeout: Duration) -> Self {
        self.config_mut().login_timeout = timeout;
        self
    }
}
