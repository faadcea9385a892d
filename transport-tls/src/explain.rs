//! What went wrong, in words that say what to do about it.

use std::io;

use homing_transport::SecureError;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription as Alert, CertificateError as Bad, Error, PeerIncompatible};

/// Whose connection it is. Texts speak of the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// An error of rustls's. `lacks_certificate`: the peer asked for a certificate that there is
/// none of. `is_first`: it is about the first that the peer has said.
pub(crate) fn error(
    error: &Error,
    side: Side,
    lacks_certificate: bool,
    is_first: bool,
) -> SecureError {
    let text = match error {
        Error::InvalidCertificate(bad) => certificate(bad, side),
        Error::NoCertificatesPresented => "it has shown no certificate".into(),
        Error::AlertReceived(_) if lacks_certificate => NO_CERTIFICATE.into(),
        Error::AlertReceived(alert) => alerted(*alert),
        Error::InvalidMessage(_) if is_first => "it does not answer in TLS".into(),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::DecryptError => "what it sent was changed on its way".into(),
        other => other.to_string(),
    };
    SecureError::new(text)
}

const NO_CERTIFICATE: &str = "it asks for a client certificate, and none is set";

/// The stream has ended before the layer was of use.
pub(crate) fn end(
    error: Option<&io::Error>,
    has_heard: bool,
    lacks_certificate: bool,
) -> SecureError {
    let how = match error {
        Some(error) => format!("broke the connection off ({error})"),
        None => "closed the connection".into(),
    };
    SecureError::new(match (lacks_certificate, has_heard) {
        (true, _) => format!("{NO_CERTIFICATE}: it {how}"),
        (false, true) => format!("it {how} in the middle of the handshake"),
        (false, false) => {
            format!(
                "it {how} without an answer to the handshake: it may not speak TLS on this port"
            )
        }
    })
}

fn certificate(bad: &Bad, side: Side) -> String {
    let role = match side {
        Side::Client => "servers",
        Side::Server => "clients",
    };
    match bad {
        Bad::NotValidForNameContext {
            expected,
            presented,
        } => wrong_host(expected, presented),
        Bad::NotValidForName => "its certificate is for another host".into(),
        Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".into(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "its certificate is not valid yet".into()
        }
        Bad::UnknownIssuer => {
            "its certificate is not signed by an authority that is trusted here".into()
        }
        Bad::BadSignature => "the signature of its certificate is wrong".into(),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            format!("its certificate is not made for {role} (extended key usage)")
        }
        other => format!("its certificate is refused: {other}"),
    }
}

fn wrong_host(expected: &ServerName<'_>, presented: &[String]) -> String {
    let (kind, expected) = match expected {
        ServerName::IpAddress(ip) => ("address", std::net::IpAddr::from(*ip).to_string()),
        other => ("host", other.to_str().into_owned()),
    };
    if presented.is_empty() {
        return format!(
            "its certificate does not name the {kind} {expected}: it has no subject alternative name (a common name does not count)"
        );
    }
    let presented: Vec<_> = presented.iter().map(|name| readable(name)).collect();
    let presented = presented.join(", ");
    format!("its certificate does not name the {kind} {expected}: it is for {presented}")
}

/// rustls writes names as `DnsName("zk1")` and addresses as `IpAddress(127.0.0.1)`.
fn readable(name: &str) -> String {
    let inside = |kind: &str| name.strip_prefix(kind)?.strip_suffix(')');
    match (inside("DnsName("), inside("IpAddress(")) {
        (Some(name), _) => format!("the name {}", name.trim_matches('"')),
        (_, Some(address)) => format!("the address {address}"),
        _ => name.to_owned(),
    }
}

fn alerted(alert: Alert) -> String {
    let ours = match alert {
        Alert::CertificateRequired => "it asks for a client certificate",
        Alert::BadCertificate => "it refuses our certificate",
        Alert::UnsupportedCertificate => "it does not support our certificate",
        Alert::CertificateRevoked => "it says that our certificate was revoked",
        Alert::CertificateExpired => "it says that our certificate has expired",
        Alert::CertificateUnknown => "it refuses our certificate for a reason of its own",
        Alert::UnknownCA => "it does not trust the authority that signed our certificate",
        Alert::AccessDenied => "it does not admit whom our certificate names",
        Alert::UnrecognisedName => "it does not know the host name that we asked for",
        Alert::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3",
        Alert::HandshakeFailure => "it refuses all that we offer",
        other => return format!("it ends the connection with the alert {other:?}"),
    };
    ours.into()
}

fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::ServerSentHelloRetryRequestWithUnknownExtension
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            format!("it speaks neither TLS 1.2 nor 1.3 ({why:?})")
        }
        why => format!("it and we have no way of speaking TLS in common ({why:?})"),
    }
}
