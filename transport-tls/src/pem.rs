//! Certificates and keys, in memory or in files that are read when they are needed.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use homing_transport::SecureError;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The longest file that is read, in bytes: a bundle of all the world's authorities has a tenth
/// of it.
const FILE_LEN_MAX: u64 = 4 << 20;

/// Where PEM is.
#[derive(Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Memory(Arc<Zeroizing<Vec<u8>>>),
}

impl Source {
    pub(crate) fn memory(pem: &[u8]) -> Self {
        Self::Memory(Arc::new(Zeroizing::new(pem.to_vec())))
    }

    /// All certificates; one at least.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, SecureError> {
        let pem = self.read()?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|error| self.malformed(&error))?;
        if certificates.is_empty() {
            return Err(SecureError::new(format!(
                "{self} has no certificate in PEM format"
            )));
        }
        Ok(certificates)
    }

    /// The first private key.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, SecureError> {
        let pem = self.read()?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
            pem::Error::NoItemsFound => SecureError::new(format!(
                "{self} has no private key in PEM format that is not encrypted"
            )),
            error => self.malformed(&error),
        })
    }

    fn read(&self) -> Result<Arc<Zeroizing<Vec<u8>>>, SecureError> {
        let path = match self {
            Self::Memory(pem) => return Ok(Arc::clone(pem)),
            Self::File(path) => path,
        };
        let unreadable = |error| SecureError::new(format!("cannot read {self}: {error}"));
        let len = fs::metadata(path).map_err(unreadable)?.len();
        if len > FILE_LEN_MAX {
            let text = format!("{self} has {len} bytes, which is too long for certificates");
            return Err(SecureError::new(text));
        }
        let pem = fs::read(path).map_err(unreadable)?;
        Ok(Arc::new(Zeroizing::new(pem)))
    }

    fn malformed(&self, error: &pem::Error) -> SecureError {
        // The error's own text could quote a line.
        let what = match error {
            pem::Error::MissingSectionEnd { .. } => "a section without an end",
            pem::Error::IllegalSectionStart { .. } => "a section that does not begin as one",
            pem::Error::Base64Decode(_) => "a section that is not in base64",
            _ => "something that cannot be read",
        };
        SecureError::new(format!("{self} is not PEM: it has {what}"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Memory(_) => f.write_str("what was given as PEM"),
        }
    }
}

/// Nothing of what is in it.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Memory(_) => f.write_str("(in memory)"),
        }
    }
}
