//! What a client needs of a transport: to start it, to wake it, and to wait on it.

use std::fmt;
use std::sync::Arc;

use crate::block::Signal;
use crate::engine::Engine;

/// A way to move bytes: it starts a driver for an engine.
///
/// The two that come with Homing are on mio and on tokio; a test or a user can bring another,
/// by following what [`Engine`] says about drivers. `client/tests/third_driver.rs` has one in
/// under a hundred lines.
///
/// ```
/// use std::sync::Arc;
/// use homing_transport::{Driver, Engine, StartError, Transport};
///
/// /// Refuses to start, and says so.
/// #[derive(Debug)]
/// struct Nowhere;
/// impl Transport for Nowhere {
///     fn start(&self, _engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
///         Err(StartError::new("there is nowhere to go"))
///     }
/// }
/// ```
pub trait Transport: fmt::Debug + Send + Sync {
    /// Starts to drive `engine`, until it says [`Stop`](crate::Action::Stop). It returns without
    /// waiting for a connection.
    ///
    /// # Errors
    /// There is nothing here to run it on: no runtime, no thread to be had.
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError>;

    /// The same transport, tied to where this is called: what it starts runs here, whichever
    /// thread starts it. `None`, the default, is for a transport that runs anywhere. Whoever
    /// starts engines later than it was set up, and from other threads, asks for this.
    ///
    /// # Errors
    /// There is nothing here to run on.
    fn bind_here(&self) -> Result<Option<Arc<dyn Transport>>, StartError> {
        Ok(None)
    }
}

/// The handle to a running driver, as the callers of a session see it.
///
/// ```
/// use homing_transport::Driver;
/// struct Elsewhere;
/// impl Driver for Elsewhere {
///     fn ring(&self) { /* wake the thread that drives */ }
/// }
/// assert!(Elsewhere.may_block().is_ok());
/// ```
pub trait Driver: Send + Sync {
    /// The doorbell: makes the driver take a turn soon. Called by the queue after a submission,
    /// but only while the driver is [parked](Engine::park). It must not block, and does nothing
    /// once the driver has stopped.
    fn ring(&self);

    /// Whether the calling thread may be blocked until this driver has made progress.
    ///
    /// # Errors
    /// If the driver needs this very thread. The default is that it does not.
    fn may_block(&self) -> Result<(), MustNotBlock> {
        Ok(())
    }

    /// Blocks the calling thread until `signal` is on. A driver that has no thread of its own
    /// can do its turns here instead.
    fn block(&self, signal: &Signal) {
        signal.wait();
    }
}

/// Blocking this thread would stop the driver that is waited for.
///
/// ```
/// let error = homing_transport::MustNotBlock { why: "this is its thread" };
/// assert_eq!(error.to_string(), "this is its thread");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MustNotBlock {
    /// What the driver needs the thread for, and what to do instead.
    pub why: &'static str,
}

impl fmt::Display for MustNotBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

impl std::error::Error for MustNotBlock {}

/// A transport could not start.
///
/// ```
/// let error = homing_transport::StartError::new("no runtime here");
/// assert_eq!(error.to_string(), "no runtime here");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    message: String,
}

impl StartError {
    /// With a message that says what is missing and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}
