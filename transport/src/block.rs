//! Pulling from a plain thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::driver::{Driver, MustNotBlock};
use crate::sync::{Condvar, Mutex, lock, wait};

/// Runs `future` on this thread and blocks until it is done.
///
/// There is no time-out here: requests have deadlines of their own, which the engine keeps, and
/// so does everything else that waits.
///
/// # Errors
/// At once, with the future not polled, if the driver says that blocking this thread would stop
/// the driver itself.
///
/// ```
/// use homing_transport::{Driver, block_on};
/// struct Elsewhere;
/// impl Driver for Elsewhere {
///     fn ring(&self) {}
/// }
/// assert_eq!(block_on(&Elsewhere, async { 7 }), Ok(7));
/// ```
pub fn block_on<F: Future>(driver: &dyn Driver, future: F) -> Result<F::Output, MustNotBlock> {
    driver.may_block()?;
    let mut future = pin!(future);
    let signal = Arc::new(Signal::new());
    let waker = Waker::from(Arc::clone(&signal));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        driver.block(&signal);
    }
}

/// A waker that a thread can wait on.
///
/// ```
/// use std::{sync::Arc, task::Waker};
/// let signal = Arc::new(homing_transport::Signal::new());
/// Waker::from(Arc::clone(&signal)).wake();
/// signal.wait(); // returns at once, and the signal is off again
/// assert!(!signal.take());
/// ```
#[derive(Debug)]
pub struct Signal {
    on: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// A signal that is off.
    #[allow(
        clippy::new_without_default,
        reason = "a default signal would be of no use"
    )]
    pub fn new() -> Self {
        Self {
            on: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// Whether it was on. It is off afterwards.
    pub fn take(&self) -> bool {
        std::mem::take(&mut *lock(&self.on))
    }

    /// Blocks until the signal is on, and turns it off.
    pub fn wait(&self) {
        let mut on = lock(&self.on);
        while !*on {
            on = wait(&self.changed, on);
        }
        *on = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.on) = true;
        self.changed.notify_one();
    }
}
