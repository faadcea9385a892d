//! A recording, played again: the client's side of it to a server, or the server's side of it to
//! a client.
//!
//! [`ReplayClient`] says to a server what the clients of a recording said, and compares what the
//! server answers with what was recorded: a session of a real ZooKeeper is a test of a fake one,
//! and the other way round. [`ReplayServer`] answers a client as it was recorded, and says where
//! the client asks for something else.
//!
//! # What is compared
//! Errors, data, paths, names, versions, access control lists and events, and what belongs
//! together: transactions and sessions have other numbers in another run, but the same number has
//! to stand for the same one everywhere. Times are not compared, nor passwords, nor the order of
//! names in a list. Answers to pings and authentications, events and all other replies are each
//! compared in their own order, since servers give the first two out of turn, and another
//! connection's writes can come between; an event that was recorded before the answer to a write
//! has to come before it where one connection alone is open.
//!
//! What several connections asked at the same time is asked one after the other, in the order in
//! which the server came to it: its replies tell.
//!
//! # What cannot be played
//! A recording without bytes; one with masked credentials, in which a client authenticates or sets
//! access control lists with hashes ([`Recorder::with_secrets`](crate::recording::Recorder) keeps
//! them); SASL, whose proofs hold for one exchange. One in which nobody says anything.
//!
//! [`ReplayServer`] has no answer for a client that makes up names as it goes, as kazoo's Lock does,
//! whose nodes have a UUID in their names: it asks for others in each run. [`ReplayClient`] asks a
//! server for those that were recorded, and can play such a client.

mod client;
mod compare;
mod door;
mod order;
mod peer;
mod relation;
mod server;
mod steps;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::recording::Entry;

pub use client::ReplayClient;
pub use server::ReplayServer;

/// Something is not as it was recorded. `Display` is one line.
///
/// ```
/// use homing_testkit::{FakeServer, recording::Recording, replay::ReplayClient};
/// let recording: Recording = "# homing-testkit recording 1\n\
///     0.000000 1 +\n\
///     0.000514 1 -> word \"isro\"\t6973726f\n\
///     0.000702 1 <- text \"ro\"\t726f\n\
///     0.000702 1 |<-\n".parse()?;
/// let server = FakeServer::builder().config(|it| it.four_letter_words = vec!["*".into()]).start()?;
/// let differences = ReplayClient::new(&recording)?.run(server.addr())?;
/// assert_eq!(
///     differences[0].to_string(),
///     r#"0.000702 connection 1: recorded text "ro", now text "rw""#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// When it was recorded.
    pub at: Duration,
    /// On which connection.
    pub connection: u64,
    /// What was recorded and what is there now.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at.as_secs(), self.at.subsec_micros());
        let Self {
            connection, what, ..
        } = self;
        write!(f, "{seconds}.{micros:06} connection {connection}: {what}")
    }
}

impl std::error::Error for Difference {}

/// A recording cannot be played.
///
/// ```
/// use homing_testkit::{recording::Recording, replay::ReplayClient};
/// let recording: Recording = "# homing-testkit recording 1\n\
///     0.000514 1 -> auth scheme=\"digest\" auth[6]=***\n".parse()?;
/// let error = ReplayClient::new(&recording).unwrap_err();
/// assert!(error.to_string().ends_with("without its bytes: record it again without --no-raw"));
/// # Ok::<(), homing_testkit::recording::RecordingError>(())
/// ```
#[derive(Debug)]
pub struct ReplayError {
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    /// The recording itself: what was said, and why it cannot be said again.
    Entry(String, &'static str),
    /// There is nothing that could be played.
    Silent,
    Connect(SocketAddr, io::Error),
    Listen(SocketAddr, io::Error),
    Resolve(io::Error),
}

impl ReplayError {
    fn no_bytes(entry: &Entry) -> Self {
        Self::entry(
            entry,
            "is recorded without its bytes: record it again without --no-raw",
        )
    }

    fn masked(entry: &Entry) -> Self {
        Self::entry(
            entry,
            "is recorded with its secrets masked: record it again with --with-secrets",
        )
    }

    fn sasl(entry: &Entry) -> Self {
        Self::entry(
            entry,
            "is SASL, whose proofs hold for one exchange: record a client that does without",
        )
    }

    fn entry(entry: &Entry, why: &'static str) -> Self {
        let mut line = entry.to_string();
        line.truncate(line.find('\t').unwrap_or(line.len()));
        let problem = Problem::Entry(line, why);
        Self { problem }
    }

    fn silent() -> Self {
        let problem = Problem::Silent;
        Self { problem }
    }

    fn connect(server: SocketAddr, error: io::Error) -> Self {
        let problem = Problem::Connect(server, error);
        Self { problem }
    }

    fn listen(address: SocketAddr, error: io::Error) -> Self {
        let problem = Problem::Listen(address, error);
        Self { problem }
    }

    fn resolve(error: io::Error) -> Self {
        let problem = Problem::Resolve(error);
        Self { problem }
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Entry(line, why) => write!(f, "\"{line}\" {why}"),
            Problem::Silent => f.write_str(
                "nobody says anything in it: record it again, and have a client connect",
            ),
            Problem::Connect(server, error) => write!(f, "cannot connect to {server}: {error}"),
            Problem::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Problem::Resolve(error) => write!(f, "cannot find the server's address: {error}"),
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Entry(..) | Problem::Silent => None,
            Problem::Connect(_, error) | Problem::Listen(_, error) | Problem::Resolve(error) => {
                Some(error)
            }
        }
    }
}
