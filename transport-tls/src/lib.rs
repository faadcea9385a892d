//! TLS for Homing's transports: rustls as bytes in, bytes out.
//!
//! [`Tls`] is a client's settings, [`TlsServer`] a server's. Both make layers that any driver
//! puts between its stream and its engine; see [`Secure`] and
//! [`SecureStream`]. There is no socket here and no thread.
//!
//! ```
//! use bytes::BytesMut;
//! use homing_transport::{Secure, SecureAccept};
//! use homing_transport_tls::{Tls, TlsServer};
//! # let key = rcgen::KeyPair::generate()?;
//! # let params = rcgen::CertificateParams::new(["zk1".to_string()])?;
//! # let certificate = params.self_signed(&key)?.pem();
//! # let key = key.serialize_pem();
//!
//! let server = TlsServer::new(&certificate, &key)?;
//! let client = Tls::new().ca_pem(&certificate); // It is signed by itself.
//! let (mut client, mut server) = (client.begin("zk1")?, server.accept()?);
//!
//! // A network in three lines.
//! let mut plain = BytesMut::new();
//! while !(client.is_open() && server.is_open()) {
//!     for (from, to) in [(&mut client, &mut server)] {
//!         to.receive(from.pending(), &mut plain)?;
//!         from.advance(usize::MAX);
//!         from.receive(to.pending(), &mut plain)?;
//!         to.advance(usize::MAX);
//!     }
//! }
//! assert_eq!(client.send(b"ping")?, 4);
//! server.receive(client.pending(), &mut plain)?;
//! assert_eq!(&plain[..], b"ping");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! TLS 1.2 and 1.3, with the primitives of ring. Nothing is installed for the whole process.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod client;
mod explain;
mod pem;
mod server;
mod stream;
mod verify;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::Tls;
pub use homing_transport::{Secure, SecureAccept, SecureError, SecureStream};
pub use server::{ClientAuth, TlsServer};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
