//! Asking again, where that was asked for.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use homing_protocol::ErrorCode;
use homing_transport::{Fate, Ticket, block_on};

use crate::client::Scope;
use crate::error::{Error, is_read};
use crate::ops::Resolving;
use crate::overall::Overall;
use crate::request::{Operation, Request, sealed};

/// When and how often a request is sent again. Nothing is that was not asked for: each request
/// has to be given one.
///
/// | what has happened | a read | a write | a write that is [`idempotent`](Self::idempotent) |
/// | --- | --- | --- | --- |
/// | `ThrottledOp`, [`Error::Busy`], [`Error::Unavailable`], [`Error::NotApplied`] | again | again | again |
/// | [`Error::Deadline`], not sent | again | again | again |
/// | [`Error::ConnectionLost`], [`Error::Deadline`] | again | no | again |
/// | anything else | no | no | no |
///
/// Each time it goes to the end of the line, behind all that was submitted meanwhile. Before it,
/// a pause: something between nothing and [`base`](Self::base), and twice as much from one time
/// to the next, up to [`cap`](Self::cap), so that clients which failed together do not come back
/// in step. The error of the last attempt is the one that is told. A request that has not been
/// sent waits for a connection by itself, and needs no retry for that.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// use homing::Retry;
/// client.create("/a", b"").await?;
/// let node = client.get("/a").retry(Retry::new()).await?;
///
/// server.cut_after_apply(1); // the answer to the next write is lost
/// // The same data, whoever is first: to set them twice does no harm.
/// let stat = client.set("/a", b"on").retry(Retry::new().idempotent()).await?;
/// assert_eq!(stat.version, node.stat.version + 2); // and it was set twice
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a policy does nothing until it is given to a request"]
pub struct Retry {
    base: Duration,
    cap: Duration,
    attempts: u32,
    within: Option<Duration>,
    is_idempotent: bool,
    budget: Option<RetryBudget>,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// Until the request's own deadline, with pauses from 50 ms up to 2 s.
    pub fn new() -> Self {
        Self {
            base: Duration::from_millis(50),
            cap: Duration::from_secs(2),
            attempts: u32::MAX,
            within: None,
            is_idempotent: false,
            budget: None,
        }
    }

    /// The longest first pause; 50 ms by default. Zero for none.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The longest pause of all; 2 s by default.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How often it is sent at the most, the first time included; by default as often as there is
    /// time for. 0 counts as 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long all of it may take together; by default as long as one request, whose own
    /// [deadline](Request::deadline) then is the end of it. A longer one lets an attempt whose
    /// deadline has passed be followed by another.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = Some(duration);
        self
    }

    /// The write can be applied twice without harm, and you know that: even if others write in
    /// between, and even if the first one is applied long after its answer was given up. A `set`
    /// to a fixed value without a version may be; a `create` is not, since the second one is
    /// refused; nor is a `set` with a version. See [`resolved`](Request::resolved) and
    /// [`protected`](Request::protected) for those.
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Takes each retry out of a budget that others share.
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    fn is_worth_it(&self, error: &Error, is_read: bool) -> bool {
        let can_be_twice = is_read || self.is_idempotent;
        match error {
            Error::Busy { .. } | Error::Unavailable { .. } | Error::NotApplied { .. } => true,
            Error::Deadline { fate, .. } => can_be_twice || *fate == Fate::NotSent,
            Error::ConnectionLost { .. } => can_be_twice,
            error => error.code() == Some(ErrorCode::ThrottledOp),
        }
    }

    fn may_spend(&self) -> bool {
        self.budget.as_ref().is_none_or(RetryBudget::take)
    }

    /// The longest pause after so many attempts.
    fn ceiling(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

/// Bounds how many retries many requests make together, however many of them fail: without it,
/// everybody's retries are what keeps servers down that are overloaded. A bucket of tokens, which
/// clones share. A retry takes one; an answer that is no error puts a tenth of one back.
///
/// ```
/// use homing::{Retry, RetryBudget};
/// let budget = RetryBudget::new(100);
/// let retry = Retry::new().budget(&budget); // for one request after the other
/// assert_eq!(budget.left(), 100);
/// # let _ = retry;
/// ```
#[derive(Debug, Clone)]
pub struct RetryBudget {
    bucket: Arc<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tenths: AtomicU32,
    tenths_max: u32,
}

impl RetryBudget {
    /// A full bucket of so many retries.
    pub fn new(retries: u32) -> Self {
        let tenths_max = retries.saturating_mul(10);
        let tenths = AtomicU32::new(tenths_max);
        Self {
            bucket: Arc::new(Bucket { tenths, tenths_max }),
        }
    }

    /// How many retries there are in it.
    pub fn left(&self) -> u32 {
        self.bucket.tenths.load(Ordering::Relaxed) / 10
    }

    fn take(&self) -> bool {
        self.change(|tenths| tenths.checked_sub(10))
    }

    fn put_back(&self) {
        let max = self.bucket.tenths_max;
        self.change(|tenths| Some(tenths.saturating_add(1).min(max)));
    }

    fn change(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        let tenths = &self.bucket.tenths;
        tenths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .is_ok()
    }
}

/// What can be sent again: a [`Request`] and what [`resolved`](Request::resolved) gives.
///
/// ```
/// use homing::Repeatable;
/// fn is_told<R: Repeatable>(outcome: Result<R::Answer, homing::Error>) -> bool {
///     outcome.is_ok()
/// }
/// ```
pub trait Repeatable:
    sealed::Sealed + Clone + Unpin + IntoFuture<Output = Result<Self::Answer, Error>>
{
    /// What a successful answer is turned into.
    type Answer;

    #[doc(hidden)]
    fn scope(&self) -> &Arc<Scope>;

    #[doc(hidden)]
    fn within(&self) -> Option<Duration>;

    #[doc(hidden)]
    fn set_within(self, within: Option<Duration>) -> Self;

    /// Whether it changes nothing at the server.
    #[doc(hidden)]
    fn is_read(&self) -> bool;
}

impl<O: Operation> Request<O> {
    /// Sends it again where `retry` says so; see [`Retry`] for when that is. The last setting:
    /// those of the request itself stand before it. It cannot be [submitted](Self::submit), only
    /// awaited or waited for.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use std::time::Duration;
    /// use homing::Retry;
    /// let patient = Retry::new().within(Duration::from_secs(60)).attempts(5);
    /// let root = client.get("/").retry(patient).await?;
    /// # let _ = root;
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry(self, retry: Retry) -> Retrying<Self> {
        Retrying {
            request: self,
            retry,
        }
    }
}

impl<O> sealed::Sealed for Request<O> {}

impl<O: Operation + Clone> Repeatable for Request<O> {
    type Answer = O::Output;

    fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    fn within(&self) -> Option<Duration> {
        self.own_deadline()
    }

    fn set_within(self, within: Option<Duration>) -> Self {
        self.deadline(within)
    }

    fn is_read(&self) -> bool {
        is_read(O::NAME)
    }
}

impl<'a, T: 'a> Resolving<'a, T> {
    /// Sends it again where it is found not to have been applied, and where `retry` says so for
    /// any request.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::Retry;
    /// client.create("/a", b"").await?;
    /// server.cut_before_apply(1); // the next write is lost on its way
    /// let done = client.set("/a", b"1").version(0).resolved().retry(Retry::new()).await?;
    /// assert_eq!(done.answer().map(|stat| stat.version), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry(self, retry: Retry) -> Retrying<Self> {
        Retrying {
            request: self,
            retry,
        }
    }
}

impl<T> sealed::Sealed for Resolving<'_, T> {}

impl<'a, T: 'a> Repeatable for Resolving<'a, T> {
    type Answer = crate::ops::Resolved<T>;

    fn scope(&self) -> &Arc<Scope> {
        &self.request.scope
    }

    fn within(&self) -> Option<Duration> {
        self.request.own_deadline()
    }

    fn set_within(mut self, within: Option<Duration>) -> Self {
        self.request = self.request.deadline(within);
        self
    }

    fn is_read(&self) -> bool {
        false
    }
}

/// A request that is sent again if need be; see [`Retry`].
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// use homing::Retry;
/// let root = client.get("/").retry(Retry::new()).wait()?;
/// # let _ = root;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is sent until it is awaited or waited for"]
pub struct Retrying<R> {
    request: R,
    retry: Retry,
}

impl<R: Repeatable> Retrying<R> {
    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<R::Answer, Error> {
        let scope = Arc::clone(self.request.scope());
        block_on(&*scope.core.driver, self.into_future()).map_err(Error::must_not_block)?
    }
}

impl<R: Repeatable> IntoFuture for Retrying<R> {
    type Output = Result<R::Answer, Error>;
    type IntoFuture = RetryingFuture<R>;

    fn into_future(self) -> RetryingFuture<R> {
        let Self { request, retry } = self;
        let within = retry.within.or(request.within());
        RetryingFuture {
            overall: Overall::begin(&request.scope().core, within),
            stage: Stage::Due,
            attempts: 0,
            request,
            retry,
        }
    }
}

/// A request that is awaited and sent again if need be: the future behind `.await`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// # use std::future::IntoFuture;
/// let future = client.get("/").retry(homing::Retry::new()).into_future();
/// let root = future.await?;
/// # let _ = root;
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct RetryingFuture<R: Repeatable> {
    request: R,
    retry: Retry,
    /// Begins with the future, not with its first poll.
    overall: Overall,
    /// How many have begun.
    attempts: u32,
    stage: Stage<R::IntoFuture>,
}

enum Stage<F> {
    /// It is to be sent.
    Due,
    Attempt(Pin<Box<F>>),
    /// And what is told if there is no time for another attempt.
    Pause(Ticket<()>, Error),
    Done,
}

impl<R: Repeatable> RetryingFuture<R> {
    fn attempt(&mut self) -> Stage<R::IntoFuture> {
        self.attempts += 1;
        // It has a deadline of its own, and knows best what became of it by then.
        let within = self.request.within().into_iter().chain(self.overall.left());
        let attempt = self.request.clone().set_within(within.min());
        Stage::Attempt(Box::pin(attempt.into_future()))
    }

    fn is_last(&self, error: &Error) -> bool {
        self.attempts >= self.retry.attempts
            || !self.retry.is_worth_it(error, self.request.is_read())
            || !self.retry.may_spend()
    }

    fn pause(&self, error: Error) -> Stage<R::IntoFuture> {
        let core = &self.request.scope().core;
        let pause = core.jitter(self.retry.ceiling(self.attempts));
        Stage::Pause(core.shared.queue.sleep(pause), error)
    }
}

impl<R: Repeatable> Future for RetryingFuture<R> {
    type Output = Result<R::Answer, Error>;

    /// # Panics
    /// If it is polled again after it was ready, like most futures.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.stage = match mem::replace(&mut this.stage, Stage::Done) {
                Stage::Due => this.attempt(),
                Stage::Attempt(mut attempt) => match attempt.as_mut().poll(cx) {
                    Poll::Pending => {
                        this.stage = Stage::Attempt(attempt);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(answer)) => {
                        this.retry.budget.iter().for_each(RetryBudget::put_back);
                        return Poll::Ready(Ok(answer));
                    }
                    Poll::Ready(Err(error)) if this.is_last(&error) => {
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(Err(error)) => this.pause(error),
                },
                Stage::Pause(mut pause, error) => {
                    match this.overall.poll_bound(Pin::new(&mut pause), cx) {
                        Poll::Pending => {
                            this.stage = Stage::Pause(pause, error);
                            return Poll::Pending;
                        }
                        Poll::Ready(Some(())) => Stage::Due,
                        Poll::Ready(None) => return Poll::Ready(Err(error)),
                    }
                }
                Stage::Done => panic!("a request was polled after its answer had been pulled"),
            };
        }
    }
}

impl<R: Repeatable + fmt::Debug> fmt::Debug for RetryingFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryingFuture")
            .field("request", &self.request)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl<R: fmt::Debug> fmt::Debug for Retrying<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("request", &self.request)
            .field("retry", &self.retry)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap() {
        let retry = Retry::new();
        let ceilings = [1, 2, 3, 6, 7, u32::MAX].map(|n| retry.ceiling(n).as_millis());
        assert_eq!(ceilings, [50, 100, 200, 1600, 2000, 2000]);
    }

    #[test]
    fn a_budget_runs_out_and_is_earned_again() {
        let budget = RetryBudget::new(2);
        assert!(budget.take() && budget.clone().take());
        assert!(!budget.take());
        (0..9).for_each(|_| budget.put_back());
        assert!(!budget.take());
        budget.put_back();
        assert!(budget.take());
        (0..99).for_each(|_| budget.put_back());
        assert_eq!(budget.left(), 2);
    }
}
