//! What the examples share: a server to talk to.
//!
//! Each program in `src/bin` takes a connect string as its only argument. Without one it starts
//! a fake ZooKeeper in its own process, so that it runs anywhere.
//!
//! ```
//! let server = homing_examples::Servers::from_args();
//! assert!(server.connect_string().starts_with("127.0.0.1:"));
//! ```
#![forbid(unsafe_code)]

use homing_testkit::FakeServer;

/// The servers that an example talks to.
#[derive(Debug)]
pub enum Servers {
    /// The ones that were named on the command line.
    Given(String),
    /// A fake one, which lives as long as this value.
    Fake(FakeServer),
}

impl Servers {
    /// The servers that the first argument names, or a fake one.
    pub fn from_args() -> Self {
        match std::env::args().nth(1) {
            Some(servers) if !servers.starts_with('-') => Self::Given(servers),
            _ => Self::Fake(FakeServer::start()),
        }
    }

    /// What a client needs to find them.
    pub fn connect_string(&self) -> String {
        match self {
            Self::Given(servers) => servers.clone(),
            Self::Fake(server) => server.connect_string(),
        }
    }

    /// Who they are, for a reader.
    pub fn describe(&self) -> String {
        match self {
            Self::Given(servers) => format!("the servers at {servers}"),
            Self::Fake(server) => {
                format!(
                    "a fake ZooKeeper in this process, at {}",
                    server.connect_string()
                )
            }
        }
    }
}
