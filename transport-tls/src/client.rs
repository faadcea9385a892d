//! A client's settings.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use homing_transport::{Secure, SecureError, SecureStream};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use zeroize::Zeroize;

use crate::explain::Side;
use crate::pem::Source;
use crate::provider;
use crate::stream::Stream;
use crate::verify::{AnyHost, OwnCertificate};

/// How a client speaks TLS: whom it trusts, and who it is.
///
/// * A server has to prove that it is the host that the connect string names: by a certificate
///   that is made for servers, is valid now, names that very host or address as a subject
///   alternative name, and is signed by an authority that is trusted. Nothing is trusted that
///   was not added here. Names are never looked up backwards.
/// * TLS 1.2 or 1.3; the host's name is sent along (SNI).
/// * **Files are read anew for every connection**, so that certificates can be replaced under a
///   running client. One that cannot be read fails that attempt to connect, with an error that
///   names it, and the next attempt reads it again. They are read by whatever drives the
///   session: keep them on a local disk.
/// * Revocation is not looked up.
///
/// All is PEM. `Debug` shows where keys are, and never what they are.
///
/// ```
/// use homing_transport_tls::Tls;
/// let tls = Tls::new()
///     .ca_file("/etc/zookeeper/ca.pem")
///     .client_certificate_files("/etc/app/cert.pem", "/etc/app/key.pem");
/// # let _ = tls;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "settings do nothing until they are given to a client"]
pub struct Tls {
    authorities: Vec<Source>,
    #[cfg(feature = "system-roots")]
    system_roots: bool,
    /// The chain and its key.
    own: Option<(Source, Source)>,
    dangerous_any_host: bool,
}

impl Tls {
    /// Trusts nobody yet, and has no certificate to show.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificate authorities in this file: all certificates in it. Can be called
    /// more than once. A certificate that a server has signed by itself counts as its authority.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities.push(Source::File(path.as_ref().into()));
        self
    }

    /// Trusts the certificate authorities in this PEM text.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities.push(Source::memory(pem.as_ref()));
        self
    }

    /// Trusts the certificate authorities that the operating system trusts. (Feature
    /// `system-roots`.)
    #[cfg(feature = "system-roots")]
    pub fn system_roots(mut self) -> Self {
        self.system_roots = true;
        self
    }

    /// Shows the certificate in this file to servers that ask for one: the client's own first,
    /// then those that lead to the authority. The key is in the other file, which may be the
    /// same, and is not encrypted.
    pub fn client_certificate_files(
        mut self,
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Self {
        let [certificates, key] = [certificates.as_ref(), key.as_ref()];
        self.own = Some((Source::File(certificates.into()), Source::File(key.into())));
        self
    }

    /// The same, from PEM texts. The copy of the key that is made here is wiped in the end.
    pub fn client_certificate_pem(
        mut self,
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Self {
        self.own = Some((
            Source::memory(certificates.as_ref()),
            Source::memory(key.as_ref()),
        ));
        self
    }

    /// **Dangerous.** Does not look for which host a server's certificate is: whoever has *any*
    /// certificate of a trusted authority can pose as the server, read everything and change
    /// it. All else is still verified. For servers whose certificates name no host, until they
    /// have better ones.
    pub fn dangerous_accept_certificates_of_other_hosts(mut self) -> Self {
        self.dangerous_any_host = true;
        self
    }

    fn roots(&self) -> Result<RootCertStore, SecureError> {
        let mut roots = RootCertStore::empty();
        for source in &self.authorities {
            for certificate in source.certificates()? {
                roots.add(certificate).map_err(|error| {
                    SecureError::new(format!(
                        "{source} has a certificate of no authority: {error}"
                    ))
                })?;
            }
        }
        #[cfg(feature = "system-roots")]
        if self.system_roots {
            // Some of a system's certificates are too old to be understood, and not missed.
            roots.add_parsable_certificates(system_roots()?.iter().cloned());
        }
        if roots.is_empty() {
            return Err(SecureError::new(
                "no certificate authority is trusted: set one (`ca_file`)",
            ));
        }
        Ok(roots)
    }

    fn own(&self) -> Result<Option<Arc<CertifiedKey>>, SecureError> {
        let Some((certificates, key)) = &self.own else {
            return Ok(None);
        };
        certified_key(certificates, key).map(|own| Some(Arc::new(own)))
    }

    fn config(&self, is_missed: &Arc<AtomicBool>) -> Result<ClientConfig, SecureError> {
        let provider = provider();
        let roots = Arc::new(self.roots()?);
        let own = self.own()?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| SecureError::new(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| SecureError::new(error.to_string()))?;
        let builder = if self.dangerous_any_host {
            let any_host = AnyHost {
                roots,
                provider,
                verifier,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(any_host))
        } else {
            builder.with_webpki_verifier(verifier)
        };
        let mut config = builder.with_client_cert_resolver(Arc::new(OwnCertificate {
            key: own,
            is_missed: Arc::clone(is_missed),
        }));
        // Every connection proves everything.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl Secure for Tls {
    fn begin(&self, host: &str) -> Result<Box<dyn SecureStream>, SecureError> {
        let is_missed = Arc::default();
        let config = self.config(&is_missed)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            SecureError::new(format!("{host:?} is no name that a certificate can be for"))
        })?;
        let connection = ClientConnection::new(Arc::new(config), name)
            .map_err(|error| SecureError::new(error.to_string()))?;
        Ok(Box::new(Stream::new(connection, Side::Client, is_missed)))
    }
}

/// A chain and the key that belongs to it.
pub(crate) fn certified_key(
    certificates: &Source,
    key: &Source,
) -> Result<CertifiedKey, SecureError> {
    let chain = certificates.certificates()?;
    let mut der = key.private_key()?;
    let signing_key = any_supported_type(&der);
    der.zeroize();
    let unusable = |error| SecureError::new(format!("the key in {key} cannot be used: {error}"));
    let own = CertifiedKey::new(chain, signing_key.map_err(unusable)?);
    match own.keys_match() {
        Ok(()) => Ok(own),
        Err(rustls::Error::InconsistentKeys(_)) => Err(SecureError::new(format!(
            "the key in {key} is not that of the certificate in {certificates}"
        ))),
        Err(error) => Err(SecureError::new(format!(
            "the certificate in {certificates} cannot be used: {error}"
        ))),
    }
}

/// What the operating system trusts, read once: it takes a while, and changes with the system.
#[cfg(feature = "system-roots")]
fn system_roots() -> Result<&'static [rustls::pki_types::CertificateDer<'static>], SecureError> {
    use std::sync::OnceLock;
    static ROOTS: OnceLock<Result<Vec<rustls::pki_types::CertificateDer<'static>>, SecureError>> =
        OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        match found.errors.first() {
            Some(error) if found.certs.is_empty() => Err(SecureError::new(format!(
                "the certificate authorities of the system cannot be read: {error}"
            ))),
            _ => Ok(found.certs),
        }
    };
    match ROOTS.get_or_init(load) {
        Ok(roots) => Ok(roots),
        Err(error) => Err(error.clone()),
    }
}
