//! TLS.

use std::path::PathBuf;

use clap::Args;
use homing_testkit::{ClientAuth, TlsServer};

/// Speak TLS, and nothing else.
#[derive(Debug, Args)]
pub(super) struct Tls {
    /// Speak TLS with the certificates in this PEM file, the server's own first.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Whether clients have to show a certificate (ssl.clientAuth): none, want or need [default:
    /// need, as ZooKeeper has it, where --tls-client-ca says of whom; none where it does not].
    #[arg(long, value_name = "MODE", requires = "tls_certificate")]
    tls_client_auth: Option<ClientAuth>,

    /// The authorities whose certificates clients may have, in PEM. They then need one, unless
    /// --tls-client-auth says otherwise.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        required_if_eq_any = [("tls_client_auth", "want"), ("tls_client_auth", "need")]
    )]
    tls_client_ca: Option<PathBuf>,
}

impl Tls {
    pub(super) fn server(&self) -> Result<Option<TlsServer>, String> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let refused = |error| format!("cannot speak TLS: {error}");
        let mut server = TlsServer::from_files(certificate, key).map_err(refused)?;
        if let Some(path) = &self.tls_client_ca {
            let name = path.display();
            let pem =
                std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
            let mode = self.tls_client_auth.unwrap_or(ClientAuth::Need);
            server = server
                .client_auth(mode, pem)
                .map_err(|error| format!("cannot use --tls-client-ca {name}: {error}"))?;
        }
        Ok(Some(server))
    }
}
