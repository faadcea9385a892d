//! Faults, as a script: what goes wrong, where in a connection, on which connections, how often.
//!
//! A [`FakeServer`](crate::FakeServer::faults) and a [`Proxy`](crate::Proxy::faults) in front of a
//! real server take the same scripts, and do the same with them: each connection goes through a
//! filter that sees the frames of both directions.
//!
//! A script is written as text, or built:
//!
//! ```
//! use homing_testkit::faults::{Connections, Fault, Faults, Kind, Point};
//!
//! let written: Faults = "seed 7; cut to client at write 2; hang on connection 3".parse()?;
//! let built = Faults::new()
//!     .seed(7)
//!     .with(Fault::Cut.to_client().at(Point::nth(Kind::Write, 2)))?
//!     .with(Fault::Hang(None).on(Connections::nth(3)))?;
//! assert_eq!(written, built);
//! assert_eq!(written.to_string(), "seed 7; cut to client at write 2; hang on connection 3");
//! # Ok::<(), homing_testkit::faults::FaultsError>(())
//! ```
//!
//! The same seed and the same bytes in the same order give the same faults. Whether a fault
//! strikes a connection does not depend on what others do, unless it counts over several of them:
//! requests, or how many times it has struck.
//!
//! What clients make of them is another matter: [`java_under_faults`] has a table of what Java's does.
//!
//! # What can go wrong
//! ```text
#![doc = include_str!("../../docs/faults.txt")]
//! ```

mod filter;
mod frames;
#[doc = include_str!("../../docs/java_under_faults.md")]
pub mod java_under_faults {}
mod lane;
mod plan;
mod rule;
#[cfg(test)]
mod tests;
mod text;
mod tracker;

pub(crate) use filter::{Action, Filter, Passed};
pub(crate) use frames::Piece;
pub use plan::Strikes;
pub(crate) use plan::{Plan, Strike};
pub use rule::{Change, Connections, Fault, Kind, Operation, Point, Rule, Way};
pub use text::FaultsError;
pub(crate) use tracker::Session;

/// The reference of the text form, as it is on this page, for the `--help` of programs.
pub const REFERENCE: &str = include_str!("../../docs/faults.txt");

/// A script: what goes wrong, where, on which connections, and how often.
///
/// ```
/// use homing_testkit::FakeServer;
/// use homing_testkit::faults::{Connections, Fault, Faults};
///
/// let server = FakeServer::start();
/// let strikes = server.faults(Faults::new().with(Fault::Cut.on(Connections::nth(1)))?);
///
/// // It is accepted, and closed without a word.
/// let mut socket = std::net::TcpStream::connect(server.addr())?;
/// assert_eq!(std::io::Read::read(&mut socket, &mut [0; 8])?, 0);
/// assert_eq!(strikes.of(1), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a script does nothing until a server or a proxy is given it"]
pub struct Faults {
    seed: u64,
    rules: Vec<Rule>,
}

impl Faults {
    /// No faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same faults, with dice of their own: for the places that probability decides on, for
    /// delays between two times, and for bytes that are corrupted. 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// One fault more. Where several strike the same place, they do so in the order of the script.
    ///
    /// # Errors
    /// It could not strike where it is to, as a wrong xid without a frame.
    pub fn with(mut self, rule: impl Into<Rule>) -> Result<Self, FaultsError> {
        let rule = rule.into();
        rule.check()?;
        self.rules.push(rule);
        Ok(self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
