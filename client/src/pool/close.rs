//! The end of a pool.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::members::Members;
use crate::client::{CLOSE_WITHIN, Client};
use crate::close::PendingClose;
use crate::error::Error;

/// A pool's close that has not begun; see [`Pool::close`](super::Pool::close). `.await` it, or
/// `.wait()` for it on a plain thread.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// # let pool = homing::Client::builder(&servers).own_thread().pool().start()?;
/// use std::time::Duration;
/// pool.close().within(Duration::from_secs(2)).wait()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is closed until it is awaited, submitted or waited for"]
pub struct PoolClose {
    members: Arc<Members>,
    within: Duration,
}

impl PoolClose {
    pub(super) fn new(members: Arc<Members>) -> Self {
        Self {
            members,
            within: CLOSE_WITHIN,
        }
    }

    /// How long it may take, requests before it included; 5 s by default. After that the
    /// sessions end here, and at the servers when their time-out passes.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = duration;
        self
    }

    /// Begins now, to be awaited later.
    pub fn submit(self) -> PendingPoolClose {
        let close = |client: &Client| client.close().within(self.within).submit();
        PendingPoolClose {
            closes: self.members.close().iter().map(close).collect(),
            error: None,
        }
    }

    /// Blocks this thread until all sessions are closed.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, with the pool
    /// left as it was.
    pub fn wait(self) -> Result<(), Error> {
        self.members.may_block()?;
        self.submit().wait()
    }
}

impl IntoFuture for PoolClose {
    type Output = Result<(), Error>;
    type IntoFuture = PendingPoolClose;

    fn into_future(self) -> PendingPoolClose {
        self.submit()
    }
}

impl fmt::Debug for PoolClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolClose")
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// A pool's close that is under way. Dropping it does not stop it.
///
/// # Errors
/// The first session that no server confirmed to be closed, with why not. The others are closed
/// all the same.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let pool = homing::Client::builder(&server.connect_string()).pool().start()?;
/// let closing = pool.close().submit();
/// assert!(matches!(pool.user().get("/").await, Err(homing::Error::Closed { .. })));
/// closing.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it goes on when it is dropped, but nobody learns the outcome"]
pub struct PendingPoolClose {
    closes: Vec<PendingClose>,
    error: Option<Error>,
}

impl PendingPoolClose {
    /// Blocks this thread until all sessions are closed.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait(mut self) -> Result<(), Error> {
        // All have begun, so that waiting for one after the other takes no longer.
        for close in self.closes.drain(..) {
            let closed = close.wait();
            self.error = self.error.take().or(closed.err());
        }
        self.error.map_or(Ok(()), Err)
    }
}

impl Future for PendingPoolClose {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { closes, error } = &mut *self;
        closes.retain_mut(|close| match Pin::new(close).poll(cx) {
            Poll::Ready(closed) => {
                *error = error.take().or(closed.err());
                false
            }
            Poll::Pending => true,
        });
        match closes.is_empty() {
            true => Poll::Ready(error.take().map_or(Ok(()), Err)),
            false => Poll::Pending,
        }
    }
}
