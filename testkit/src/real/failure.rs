//! Why a real server does not start.

use std::fmt;
use std::io;

use super::{NotInstalled, START_TIMEOUT};

/// Why one launch came to nothing, with what the server logged meanwhile.
pub(super) enum Failure {
    PortTaken(String),
    Exited(String),
    TimedOut(String),
    Io(io::Error),
}

impl Failure {
    pub(super) fn exited(log: String) -> Self {
        if log.contains("java.net.BindException") {
            Self::PortTaken(log)
        } else {
            Self::Exited(log)
        }
    }
}

/// Why a server did not start.
///
/// ```no_run
/// use homing_testkit::real::{StartError, ZooKeeper};
/// match ZooKeeper::start() {
///     Ok(server) => println!("{}", server.connect_string()),
///     Err(StartError::NotInstalled(missing)) => println!("{missing}"),
///     Err(other) => panic!("{other}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// There is none on this machine.
    NotInstalled(NotInstalled),
    /// The JVM ended by itself.
    Exited {
        /// The last lines of the server's log.
        log_tail: String,
    },
    /// The JVM did not answer within a minute.
    TimedOut {
        /// The last lines of the server's log.
        log_tail: String,
    },
    /// A folder, a pipe or a process could not be had.
    Io(io::Error),
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::PortTaken(log) | Failure::Exited(log) => Self::Exited {
                log_tail: tail(&log),
            },
            Failure::TimedOut(log) => Self::TimedOut {
                log_tail: tail(&log),
            },
            Failure::Io(error) => Self::Io(error),
        }
    }
}

fn tail(log: &str) -> String {
    let others = log.lines().count().saturating_sub(LOG_TAIL_LINES);
    log.lines().skip(others).collect::<Vec<_>>().join("\n")
}

const LOG_TAIL_LINES: usize = 40;

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled(missing) => missing.fmt(f),
            Self::Exited { log_tail } => {
                write!(f, "ZooKeeper ended while it started; its log:\n{log_tail}")
            }
            Self::TimedOut { log_tail } => write!(
                f,
                "ZooKeeper did not answer within {START_TIMEOUT:?}; its log:\n{log_tail}"
            ),
            Self::Io(error) => write!(f, "ZooKeeper could not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotInstalled(missing) => Some(missing),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let tail = tail(&log);
        assert!(
            tail.starts_with("line 60\n") && tail.ends_with("\nline 99"),
            "{tail}"
        );
    }
}
