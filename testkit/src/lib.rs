//! A fake ZooKeeper for tests, as a library and as a program.
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
mod digest;
mod fake;
mod handshake;
mod multi;
mod path;
mod processor;
mod reaper;
mod reply;
mod server;
mod sessions;
pub mod sim;
mod tcp;
mod transaction;
mod tree;
mod watches;
mod words;

pub mod real;

pub use config::ServerConfig;
pub use fake::{FakeServer, FakeServerBuilder};
pub use server::{ConnectionId, NodeInfo, Now, Output, Server, SessionInfo};
