//! Removing a node, and not giving up.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use homing_protocol::ErrorCode;
use homing_session::ErrandEnd;
use homing_transport::{Fate, Ticket, block_on};

use super::delete::Delete;
use crate::client::Scope;
use crate::error::{Error, Subject};
use crate::request::{Operation, Request};

impl<'a> Request<Delete<'a>> {
    /// The session sees to it that the node goes: a deletion whose answer is lost with its
    /// connection is repeated on the next one, at the end of the line, until a server has said
    /// that it is done, or refuses it, or the session ends. That goes on whoever waits for it:
    /// the future can be dropped, and needs no runtime to be dropped in. For what has to go
    /// whatever happens: the node of a lock.
    ///
    /// - Those that were lost are repeated in their order. One of which nothing was sent keeps its
    ///   place in the line, as any request does, and so comes before them then.
    /// - A node that is not there when a lost deletion is repeated counts as deleted. (One that
    ///   is not there at first is `NoNode`, as ever.)
    /// - **Somebody may make a node of the same name in between, and that is deleted then.** So
    ///   this is for names that are not used again, as those of sequential nodes are not.
    ///   [`version`](Self::version) helps as far as the new node has another one; a new node has
    ///   0. Where it has to be this node or none, see [`resolved`](Self::resolved).
    /// - A server that has too much to do is asked again a second later.
    /// - The session's end is the end of it, by a [`close`](crate::Client::close) too: a deletion
    ///   that stands before the close in the line is done, one that was lost and not repeated is
    ///   not.
    /// - There may be [so many](crate::Builder::guaranteed_max) of them at once; they have room
    ///   of their own, and never wait for that of requests.
    ///
    /// # Errors
    /// Those of a [delete](crate::Client::delete), and:
    /// - [`Error::Deadline`] when the deadline has passed. The session goes on with it.
    /// - [`Error::Unresolved`] if a repeated deletion is refused: the lost one may have been
    ///   applied before.
    /// - [`Error::TooManyGuaranteed`]: nothing was sent.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/lock", b"").await?;
    /// server.cut_before_apply(1); // the next write is lost on its way
    /// client.delete("/lock").guaranteed().await?;
    /// assert!(client.exists("/lock").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn guaranteed(self) -> GuaranteedDelete<'a> {
        GuaranteedDelete { request: self }
    }
}

/// A deletion that the session sees to; see [`guaranteed`](Request::<Delete>::guaranteed).
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// client.create("/lock", b"").wait()?;
/// client.delete("/lock").guaranteed().wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is deleted until it is awaited, submitted or waited for"]
pub struct GuaranteedDelete<'a> {
    request: Request<Delete<'a>>,
}

impl GuaranteedDelete<'_> {
    /// Puts it in line now, behind all that were submitted before. From now on the session sees
    /// to it; what this returns can be dropped.
    ///
    /// # Errors
    /// [`Error::TooManyGuaranteed`], [`Error::BadPath`], [`Error::RequestTooLarge`];
    /// [`Error::Closed`] or [`Error::SessionEnded`] when the session is over. Nothing was sent.
    pub fn submit(self) -> Result<GuaranteedPending, Error> {
        self.request.checked_len()?;
        let (scope, op) = (&self.request.scope, &self.request.op);
        let shared = &scope.core.shared;
        let path = scope.server_path(op.path()).to_string();
        let era = scope.era();
        let submitted = shared.delete_guaranteed(era, path, op.version);
        let ticket = submitted.map_err(|why| scope.not_taken(op.subject(), era, why))?;
        let deadline = self.request.own_deadline();
        Ok(GuaranteedPending {
            subject: op.subject(),
            alarm: deadline.map(|within| shared.queue.sleep(within)),
            scope: self.request.scope,
            era,
            ticket,
        })
    }

    /// Blocks this thread until the node is gone.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<(), Error> {
        let driver = Arc::clone(&self.request.scope.core.driver);
        driver.may_block().map_err(Error::must_not_block)?;
        self.submit()?.wait()
    }
}

impl<'a> IntoFuture for GuaranteedDelete<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.submit()?.await })
    }
}

impl fmt::Debug for GuaranteedDelete<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuaranteedDelete")
            .field("request", &self.request)
            .finish()
    }
}

/// A guaranteed deletion that is under way: a future of its outcome. Dropping it stops nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// client.create("/lock", b"").await?;
/// drop(client.delete("/lock").guaranteed().submit()?);
/// assert!(client.exists("/lock").await?.is_none());
/// # Ok(())
/// # }
/// ```
#[must_use = "it goes on when it is dropped, but nobody learns the outcome"]
pub struct GuaranteedPending {
    scope: Arc<Scope>,
    /// The era in which it was submitted.
    era: u64,
    subject: Subject,
    ticket: Ticket<ErrandEnd>,
    alarm: Option<Ticket<()>>,
}

impl GuaranteedPending {
    /// Blocks this thread until the node is gone.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked. The session sees
    /// to it all the same.
    pub fn wait(self) -> Result<(), Error> {
        let driver = Arc::clone(&self.scope.core.driver);
        block_on(&*driver, self).map_err(Error::must_not_block)?
    }

    fn finish(&self, end: ErrandEnd) -> Result<(), Error> {
        let request = self.subject.clone();
        let (err, lost) = match end {
            ErrandEnd::Done => return Ok(()),
            ErrandEnd::Ended { end, fate } => {
                self.scope.knows_the_end_of(self.era);
                return Err(Error::session_ended(request, fate, end));
            }
            ErrandEnd::Refused { err, lost } => (err, lost),
        };
        let refused = Error::Server {
            request: request.clone(),
            code: ErrorCode::from_code(err),
            chroot: self.scope.chroot.clone(),
            hint: None,
        };
        Err(match lost {
            None => refused,
            Some(lost) => Error::Unresolved {
                cause: Box::new(Error::ConnectionLost {
                    request: request.clone(),
                    lost,
                }),
                why: Box::new(refused),
                request,
            },
        })
    }
}

impl Future for GuaranteedPending {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(end) = Pin::new(&mut this.ticket).poll(cx) {
            return Poll::Ready(this.finish(end));
        }
        let alarm = this.alarm.as_mut();
        if !alarm.is_some_and(|alarm| Pin::new(alarm).poll(cx).is_ready()) {
            return Poll::Pending;
        }
        this.alarm = None;
        if this.scope.core.shared.status.end().is_some() {
            // It rings at the end of the session too, which is about to be told.
            return Poll::Pending;
        }
        // It may just have been done.
        if let Poll::Ready(end) = Pin::new(&mut this.ticket).poll(cx) {
            return Poll::Ready(this.finish(end));
        }
        Poll::Ready(Err(Error::Deadline {
            request: this.subject.clone(),
            fate: Fate::MaybeApplied,
        }))
    }
}

impl fmt::Debug for GuaranteedPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuaranteedPending({})", self.subject)
    }
}
