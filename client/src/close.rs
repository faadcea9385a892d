//! How a session ends from this side: closed, or left to another client.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing_session::{Answer, Cause, Credentials, SessionEnd, SessionState};
use homing_transport::{Fate, Ticket, block_on};

use crate::client::{CLOSE_WITHIN, Core, Scope};
use crate::error::{Error, Subject};
use crate::state::StateChanges;

/// A session's detachment that has not begun; see [`Client::detach`](crate::Client::detach). `.await` it, or `.wait()`
/// for it on a plain thread.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// let credentials = client.detach().wait()?;
/// # let _ = credentials;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is detached until it is awaited or waited for"]
pub struct Detach {
    core: Arc<Core>,
    /// How the session of a pinned handle has ended before.
    over: Option<SessionEnd>,
}

impl Detach {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            core: Arc::clone(&scope.core),
            over: scope.is_over().then(|| scope.end()),
        }
    }

    /// Blocks this thread until the session is detached.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, with the session
    /// left as it was.
    pub fn wait(self) -> Result<Credentials, Error> {
        let driver = Arc::clone(&self.core.driver);
        block_on(&*driver, self.into_future()).map_err(Error::must_not_block)?
    }
}

impl IntoFuture for Detach {
    type Output = Result<Credentials, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let request = Subject {
                op: "detach",
                path: "/".into(),
            };
            if let Some(end) = self.over {
                return Err(Error::session_ended(request, Fate::NotSent, end));
            }
            let has_ended = self.core.shared.status.end().is_some();
            if !has_ended && self.core.shared.status.credentials().is_none() {
                return Err(Error::Misuse {
                    what: "detach: there is no session yet; the client goes on".into(),
                });
            }
            self.core.shared.detach();
            let mut changes = StateChanges::new(Arc::clone(&self.core));
            let mut end = SessionEnd::Closed;
            while let Some(change) = changes.next().await {
                if let SessionState::Ended(why) = change.state {
                    end = why;
                }
            }
            match (end, self.core.shared.status.credentials()) {
                (SessionEnd::Detached, Some(credentials)) => Ok(credentials),
                (SessionEnd::Detached, None) => Err(Error::Misuse {
                    what: "detach: there is no session at this time".into(),
                }),
                (end, _) => Err(Error::session_ended(request, Fate::NotSent, end)),
            }
        })
    }
}

/// A session's close that has not begun; see [`Client::close`](crate::Client::close). It is run like a
/// [`Request`](crate::Request).
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// use std::time::Duration;
/// client.close().within(Duration::from_secs(2)).wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is closed until it is awaited, submitted or waited for"]
pub struct Close {
    core: Arc<Core>,
    within: Duration,
    /// There is nothing left to close.
    is_over: bool,
}

impl Close {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            core: Arc::clone(&scope.core),
            within: CLOSE_WITHIN,
            is_over: scope.is_over(),
        }
    }

    /// How long it may take, requests before it included; 5 s by default. After that the
    /// session ends here, and at the servers when its time-out passes. The first close counts.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = duration;
        self
    }

    /// Begins now, to be awaited later.
    pub fn submit(self) -> PendingClose {
        // The session of a pinned handle may be over, and another one in its place.
        let ticket = match self.is_over {
            true => None,
            false => self.core.seal(self.within),
        };
        let ended = StateChanges::new(Arc::clone(&self.core));
        PendingClose {
            core: self.core,
            ticket,
            ended,
            is_over: self.is_over,
        }
    }

    /// Blocks this thread until the session is closed.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, with the session
    /// left as it was.
    pub fn wait(self) -> Result<(), Error> {
        self.core
            .driver
            .may_block()
            .map_err(Error::must_not_block)?;
        self.submit().wait()
    }
}

impl IntoFuture for Close {
    type Output = Result<(), Error>;
    type IntoFuture = PendingClose;

    fn into_future(self) -> PendingClose {
        self.submit()
    }
}

/// A session's close that is under way. Dropping it does not stop it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let closing = client.close().submit();
/// // … something else …
/// closing.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it goes on when it is dropped, but nobody learns the outcome"]
pub struct PendingClose {
    core: Arc<Core>,
    /// `None` if somebody else closes the session, or it is over.
    ticket: Option<Ticket<Answer>>,
    ended: StateChanges,
    is_over: bool,
}

impl PendingClose {
    /// Blocks this thread until the session is closed.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait(self) -> Result<(), Error> {
        let driver = Arc::clone(&self.core.driver);
        block_on(&*driver, self).map_err(Error::must_not_block)?
    }
}

impl Future for PendingClose {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(Ok(()));
        }
        let Some(ticket) = &mut this.ticket else {
            // Closed by somebody else: wait for the end, whoever brings it.
            while let Some(change) = std::task::ready!(this.ended.poll_change(cx)) {
                if let SessionState::Ended(_) = change.state {
                    break;
                }
            }
            return Poll::Ready(Ok(()));
        };
        let answer = std::task::ready!(Pin::new(ticket).poll(cx));
        this.ticket = None;
        Poll::Ready(match answer {
            // A session that has ended otherwise is as closed as it can be.
            Ok(_) => Ok(()),
            Err(unanswered) if matches!(unanswered.cause, Cause::Ended(_)) => Ok(()),
            Err(unanswered) => {
                let request = Subject {
                    op: "close",
                    path: "/".into(),
                };
                Err(Error::unanswered(request, unanswered))
            }
        })
    }
}
