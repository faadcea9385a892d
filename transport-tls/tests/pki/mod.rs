//! Certificates, made when they are needed.
#![allow(dead_code, reason = "every test file has a copy of it and uses a part")]

use std::net::{IpAddr, Ipv4Addr};

use homing_transport_tls::{ClientAuth, Tls, TlsServer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd,
};

/// An authority that signs what it is given.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Certificate and key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with all that it should have for a server on the loopback address; `change`
    /// changes that.
    pub(crate) fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name = common_name("zk1");
        params
            .subject_alt_names
            .push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        self.sign(&params)
    }

    pub(crate) fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Homing");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    pub(crate) fn acceptor(&self) -> TlsServer {
        TlsServer::new(&self.certificate, &self.key).unwrap()
    }

    pub(crate) fn acceptor_asking(&self, mode: ClientAuth, authority: &Authority) -> TlsServer {
        self.acceptor().client_auth(mode, authority.pem()).unwrap()
    }

    /// Key and certificate, as a key store of ZooKeeper's has them.
    pub(crate) fn key_store(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

pub(crate) fn trusting(authority: &Authority) -> Tls {
    Tls::new().ca_pem(authority.pem())
}

pub(crate) fn with_certificate(tls: Tls, pair: &Pair) -> Tls {
    tls.client_certificate_pem(&pair.certificate, &pair.key)
}

pub(crate) fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Its name, how to make it, and what a client must say.
pub(crate) type Flaw = (&'static str, fn(&mut CertificateParams), &'static str);

/// Ways in which a server's certificate can be wrong for 127.0.0.1, and what a client must say.
pub(crate) const WRONG: &[Flaw] = &[
    (
        "another host",
        |params| params.subject_alt_names = vec![dns("zk2.example")],
        "its certificate does not name the address 127.0.0.1: it is for the name zk2.example",
    ),
    (
        "a common name and no other",
        |params| {
            params.subject_alt_names.clear();
            params.distinguished_name = common_name("127.0.0.1");
        },
        "its certificate does not name the address 127.0.0.1: it has no subject alternative name (a common name does not count)",
    ),
    (
        "an address that is written as a name",
        |params| params.subject_alt_names = vec![dns("127.0.0.1")],
        "its certificate does not name the address 127.0.0.1: it is for the name 127.0.0.1",
    ),
    (
        "another address",
        |params| {
            let other = IpAddr::from([127, 0, 0, 2]);
            params.subject_alt_names = vec![SanType::IpAddress(other)];
        },
        "its certificate does not name the address 127.0.0.1: it is for the address 127.0.0.2",
    ),
    (
        "expired",
        |params| params.not_after = date_time_ymd(2020, 1, 1),
        "its certificate has expired",
    ),
    (
        "not yet valid",
        |params| params.not_before = date_time_ymd(2999, 1, 1),
        "its certificate is not valid yet",
    ),
    (
        "made for clients",
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        "its certificate is not made for servers (extended key usage)",
    ),
];

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// The same certificate with the last bit of its signature turned over.
pub(crate) fn forge(pair: &Pair) -> Pair {
    let mut lines: Vec<String> = pair.certificate.lines().map(str::to_owned).collect();
    let last = lines.len() - 2;
    let mut der: Vec<u8> = decode(&lines[1..=last].concat());
    *der.last_mut().unwrap() ^= 1;
    lines.splice(1..=last, [encode(&der)]);
    Pair {
        certificate: lines.join("\n") + "\n",
        key: pair.key.clone(),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn decode(base64: &str) -> Vec<u8> {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for c in base64.bytes().filter(|c| *c != b'=') {
        let value = ALPHABET.iter().position(|known| *known == c).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for at in 0..4 {
            let index = word >> (18 - 6 * at) & 63;
            text.push(match at <= chunk.len() {
                true => char::from(ALPHABET[usize::try_from(index).unwrap()]),
                false => '=',
            });
        }
    }
    text
}
