//! A client for Apache ZooKeeper: pipelined, with transports to choose from, for async code and
//! for plain threads.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), homing::Error> {
//! # let server = homing_testkit::FakeServer::start();
//! # let servers = server.connect_string();
//! let client = homing::Client::connect(&servers).await?; // "zk1:2181,zk2:2181/app"
//!
//! client.create("/config", b"v1").await?;
//! let node = client.get("/config").await?;
//! client.set("/config", b"v2").version(node.stat.version).await?;
//!
//! let a = client.get("/config").submit()?; // in line now,
//! let b = client.children("/").submit()?; //  and this behind it
//! println!("{:?} {:?}", a.await?.data, b.await?);
//! # Ok(())
//! # }
//! ```
//!
//! The page of [`Client`] teaches it from top to bottom, [`coming_from`] has all that the Java
//! client and Curator's framework have, and [`testing_your_application`] three services with their
//! tests.
//!
//! # Features
//! | feature | what it brings | default |
//! | --- | --- | --- |
//! | `tokio` | sessions as tasks of a tokio runtime | yes |
//! | `nio` | sessions on threads of their own, on mio; no async runtime in the process | no |
//! | `tls` | `tls://` in the connect string, and `Builder::tls`; on rustls with ring | no |
//! | `tls-system-roots` | `Tls::system_roots`: what the operating system trusts | no |
//!
//! Both transports can be on: then `Builder::nio` and `Builder::tokio` choose. One must be.
#![forbid(unsafe_code)]

pub mod admin;
mod auth;
mod backend;
mod builder;
mod client;
mod close;
#[doc = include_str!("../docs/coming_from.md")]
pub mod coming_from {}
mod error;
mod feature;
mod helper;
mod login;
pub mod ops;
mod overall;
mod persistent;
mod pinned;
pub mod pool;
mod request;
mod resolver;
mod retry;
mod servers;
mod srv;
mod state;
#[doc = include_str!("../docs/testing.md")]
pub mod testing_your_application {}
mod token;
mod watcher;

pub use async_trait::async_trait;
pub use auth::{AddAuth, PendingAuth};
pub use backend::*;
pub use builder::{Builder, Connect};
pub use client::{Client, Stats};
pub use close::{Close, Detach, PendingClose};
pub use error::{Error, Subject};
pub use feature::Feature;
pub use helper::BoxError;
pub use homing_protocol::{
    Acl, ClientAddress, EnsembleConfigError, ErrorCode, Id, Identity, Member, MemberAddress,
    PathError, Role, Stat, permission,
};
pub use homing_session::{
    Attempt, Changed, ConnectString, ConnectStringError, Connection, ConnectionLost, Credentials,
    EventType, ExpiryReport, Failure, Gap, Host, OnExpiry, Peer, Renewal, SaslError, SaslExchange,
    SaslMechanism, SaslRefusal, SaslStep, Secret, Server, SessionEnd, SessionState, StateChange,
    Stats as SessionStats, Unavailable, WatchEvent, WatchItem, WatchedPath, WhyLost,
};
pub use homing_transport::{Fate, Secure, StartError, Transport, Usage};
pub use login::{Login, LoginProvider, Sasl};
pub use ops::{
    Changes, Children, Committed, Created, Done, EnsembleConfig, Found, Names, Node, NodeAcl,
    Written,
};
pub use persistent::PersistentWatcher;
pub use pool::Pool;
pub use request::{Operation, Pending, Request, Running};
pub use resolver::Resolver;
pub use retry::{Repeatable, Retry, RetryBudget, Retrying, RetryingFuture};
pub use servers::Reconnect;
pub use srv::SrvResolver;
pub use state::{StateChanges, WhenConnected};
pub use token::{is_marker, plain_name};
pub use watcher::{Read, Watchable, Watcher};
