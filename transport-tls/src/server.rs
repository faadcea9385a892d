//! A server's settings.

use std::path::Path;
use std::sync::Arc;

use homing_transport::{SecureAccept, SecureError, SecureStream};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::client::certified_key;
use crate::explain::Side;
use crate::pem::Source;
use crate::provider;
use crate::stream::Stream;

/// How a server speaks TLS: who it is, and whom it lets in. For servers that tests run in their
/// own process.
///
/// ```
/// use homing_transport_tls::{ClientAuth, TlsServer};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = std::fs::read("server.pem")?;
/// let key = std::fs::read("server-key.pem")?;
/// let clients = std::fs::read("ca.pem")?;
/// let server = TlsServer::new(certificate, key)?.client_auth(ClientAuth::Need, clients)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TlsServer {
    certificates: Source,
    key: Source,
    config: Arc<ServerConfig>,
}

/// Whether clients have to show a certificate (`ssl.clientAuth`).
///
/// ```
/// use homing_transport_tls::ClientAuth;
/// assert_eq!("need".parse(), Ok(ClientAuth::Need));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and need not have one; if they do, it is verified.
    Want,
    /// Only those with a certificate are let in.
    Need,
}

impl std::str::FromStr for ClientAuth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "want" => Ok(Self::Want),
            "need" => Ok(Self::Need),
            other => Err(format!("{other:?} is not one of none, want and need")),
        }
    }
}

impl TlsServer {
    /// With this certificate (and those behind it that lead to its authority) and its key, in
    /// PEM. Clients are not asked for theirs.
    ///
    /// # Errors
    /// They are not PEM, or do not belong together.
    pub fn new(certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, SecureError> {
        let sources = [
            Source::memory(certificates.as_ref()),
            Source::memory(key.as_ref()),
        ];
        Self::from_sources(sources, ClientAuth::None, RootCertStore::empty())
    }

    /// The same, from files, which are read now.
    ///
    /// # Errors
    /// They cannot be read, are not PEM, or do not belong together.
    pub fn from_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, SecureError> {
        let sources = [
            Source::File(certificates.as_ref().into()),
            Source::File(key.as_ref().into()),
        ];
        Self::from_sources(sources, ClientAuth::None, RootCertStore::empty())
    }

    /// Asks clients for certificates of these authorities, in PEM.
    ///
    /// # Errors
    /// There is no certificate in it.
    pub fn client_auth(
        self,
        mode: ClientAuth,
        authorities: impl AsRef<[u8]>,
    ) -> Result<Self, SecureError> {
        let mut roots = RootCertStore::empty();
        for certificate in Source::memory(authorities.as_ref()).certificates()? {
            roots
                .add(certificate)
                .map_err(|error| SecureError::new(error.to_string()))?;
        }
        Self::from_sources([self.certificates, self.key], mode, roots)
    }

    fn from_sources(
        [certificates, key]: [Source; 2],
        mode: ClientAuth,
        roots: RootCertStore,
    ) -> Result<Self, SecureError> {
        let provider = provider();
        let own = certified_key(&certificates, &key)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| SecureError::new(error.to_string()))?;
        let builder = if mode == ClientAuth::None {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match mode {
                ClientAuth::Want => verifier.allow_unauthenticated(),
                ClientAuth::Need | ClientAuth::None => verifier,
            };
            let verifier = verifier
                .build()
                .map_err(|error| SecureError::new(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        // Every connection proves everything.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            certificates,
            key,
            config: Arc::new(config),
        })
    }
}

impl SecureAccept for TlsServer {
    fn accept(&self) -> Result<Box<dyn SecureStream>, SecureError> {
        let connection = ServerConnection::new(Arc::clone(&self.config))
            .map_err(|error| SecureError::new(error.to_string()))?;
        let nothing_missed = Arc::default();
        Ok(Box::new(Stream::new(
            connection,
            Side::Server,
            nothing_missed,
        )))
    }
}
