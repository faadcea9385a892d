//! The ZooKeeper session as a state machine: no I/O, no clock, no threads, no randomness.
//!
//! A [`Session`] is the [`Engine`](homing_transport::Engine) that a driver drives. It connects,
//! shakes hands, pings, notices time-outs, tries other servers, resumes its session, tells
//! replies from notifications, and says what became of each request. Time comes in as an
//! argument and randomness from a seed, so that a whole life of it runs in a test, in
//! microseconds, the same every time.
//!
//! ```text
//!   facade            Shared: queue, status, control           Session          driver
//!     | submit ------------> queue --------------------------> |  poll_transmit -->|
//!     |                                                        |  <-- handle_bytes |
//!     | <---- slot is full <-- queue <------------------------ |                   |
//!     | state() <----------- status <------------------------- |                   |
//! ```
//!
//! What it does not do: it decodes no bodies, knows no chroot, and re-sends nothing that was
//! handed over to a server.
//!
//! ```
//! use std::time::Instant;
//! use homing_session::{Config, ConnectString, Session};
//! use homing_transport::{Action, Engine};
//!
//! let servers: ConnectString = "127.0.0.1:2181".parse()?;
//! let (mut session, shared) = Session::new(Config::new(servers.servers));
//! # #[allow(clippy::disallowed_methods)]
//! let now = Instant::now();
//! session.handle_turn(now);
//! assert_eq!(session.poll_action(), Some(Action::Dial { address: "127.0.0.1:2181".parse()? }));
//! assert_eq!(shared.status.state().to_string(), "connecting");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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

mod answer;
mod auth;
mod behind;
mod config;
mod connect_string;
mod control;
mod errands;
mod hosts;
mod inbound;
mod knowledge;
mod link;
mod login;
mod outside;
mod preference;
mod sasl;
mod secret;
mod session;
mod stats;
mod status;
mod timeouts;
mod watches;

pub use answer::{Answer, Cause, ConnectionLost, Note, Reply, Unanswered, Unavailable, WhyLost};
pub use auth::{Authentication, Authentications};
pub use config::{Config, Credentials, OnExpiry, ServerSource};
pub use connect_string::{ConnectString, ConnectStringError, Host, Server};
pub use control::Moved;
pub use errands::{ErrandEnd, ErrandNote, Errands, NotTaken, Pledge, PledgeNote, Undo};
pub use homing_protocol::{AddWatchMode, EventType};
pub use knowledge::Knowledge;
pub use login::Login;
pub use outside::{Ask, Respondent};
pub use preference::Preference;
pub use sasl::{
    DigestMd5, Peer, Sasl, SaslError, SaslExchange, SaslMechanism, SaslRefusal, SaslStep,
};
pub use secret::Secret;
pub use session::{Session, Shared};
pub use stats::{ExpiryReport, Stats};
pub use status::{
    Attempt, Connection, Failure, Renewal, SessionEnd, SessionState, StateChange, Status,
};
pub use watches::{
    Aspects, Changed, Comparison, ComparisonNote, Gap, LastingWatch, WatchEnd, WatchEvent,
    WatchItem, WatchKind, WatchNote, WatchOutcome, WatchTicket, WatchedPath, Watches,
};
