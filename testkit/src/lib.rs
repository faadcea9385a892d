//! A fake ZooKeeper for tests, as a library and as a program.
//!
//! There are three ways to it, and one server behind them, or several with one history:
//!
//! ```text
//!   FakeServer, FakeEnsemble    on loopback ports: any client, in any language
//!   sim::Sim                    no port and no clock: a session in virtual time
//!   Server, Ensemble            bytes and time in, bytes out: to be driven by hand
//! ```
//!
//! A test that uses a client needs one line to have its server, and one for each fault:
//!
//! ```
//! use homing_testkit::FakeServer;
//!
//! let server = FakeServer::start();
//! println!("connect to {}", server.connect_string());
//! // … the client creates /lock …
//! server.cut_after_apply(1); // The next write is applied, and its answer lost.
//! // … the client creates /job, and has to find out what became of it …
//! server.with_server(|server| assert!(!server.node_exists("/job")));
//! ```
//!
//! What else can go wrong with connections, their bytes and their frames is a script: see [`faults`],
//! which a [`Proxy`] brings to real servers too.
//!
//! Three services with their tests, for a lost connection, a lost leadership and an old configuration,
//! are on the page *Testing your application* of the client (`homing::testing_your_application`).
//!
//! # What it answers
//! What a standalone Apache ZooKeeper 3.8.0 answers, or a member of an [`Ensemble`], whose members
//! may come and go: replies, error codes and which of several comes first, stats, transaction
//! numbers, sessions, watches, access control lists of the schemes `world`, `ip`, `digest`, `sasl`
//! and `auth`, SASL with DIGEST-MD5, super users, transactions, containers and nodes with a time to
//! live, quotas, read-only mode, all four-letter words, and limits: of connections, of requests and
//! of how many are outstanding. The same random requests are sent to it and to a real server, and
//! whatever differs is a bug; see `tests/differential`. [`ServerConfig`] has switches for what
//! newer and older servers do differently, a [`Dialect`] is a bundle of them, and
//! [`FakeServerBuilder`] has a method for whatever else clients can notice.
//!
//! Left out, and refused as a real server refuses what it does not know or is not set up for:
//! GSSAPI, and configurations with groups or weights. In the answers to four-letter words, what
//! only a JVM or a disk could tell is zero, `hash` is always empty, and no request takes any time.
//! There is no throttling but at the limit of outstanding requests: no `request_throttle_…`, and so
//! no request is ever refused as throttled. Everything is kept in memory, and what clients store
//! there has no limit but that.
//!
//! # Features
//! `tree`, which is on by default, reads an [`InitialTree`] from JSON or YAML, and adds `--tree` to
//! the program. `tls` adds `TlsServer`, with which a [`FakeServer`] speaks TLS, and the flags
//! `--tls-…` of the program.
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

mod acl;
mod config;
mod connection;
mod cuts;
mod dialect;
mod ensemble;
mod fake;
mod fake_ensemble;
pub mod faults;
mod handshake;
mod initial;
mod java;
mod journal;
mod later;
mod listening;
mod multi;
mod operation;
mod outbox;
mod path;
mod processor;
mod proxy;
mod quota;
mod read_only;
mod reaper;
mod reconfig;
mod replica;
mod reply;
mod sasl;
mod served;
mod server;
mod sessions;
mod settings;
pub mod sim;
mod tcp;
mod traffic;
mod transaction;
mod tree;
mod watches;
mod watching;
mod words;
mod worker;
mod x509;

pub mod decode;
pub mod real;
pub mod recording;
pub mod replay;

pub use config::{ServerConfig, SuperDigest};
pub use dialect::{Dialect, UnknownDialect};
pub use ensemble::{Ensemble, Fate};
pub use fake::{FakeServer, FakeServerBuilder};
pub use fake_ensemble::{FakeEnsemble, FakeEnsembleBuilder};
#[cfg(feature = "tls")]
pub use homing_transport_tls::{ClientAuth, TlsServer};
pub use initial::{InitialNode, InitialTree, TreeError};
pub use journal::{CloseReason, ConnectionEvent, ConnectionEventKind};
pub use proxy::{Closer, Observed, Proxy, ProxyBuilder, Sight};
pub use sasl::SaslConfig;
pub use server::{ConnectionId, NodeInfo, Now, Output, Server, SessionInfo};
pub use words::ServerMode;
