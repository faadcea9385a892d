//! A read by means of a pool: from the choice of a session to an answer that is late enough.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use homing_protocol::{DecodeError, ErrorCode};
use homing_session::{Note, Reply, SessionState};
use homing_transport::{Driver, Fate, Signal, Ticket, clock};

use super::members::{Choice, Chosen, Members, Wish};
use super::user::Floor;
use crate::client::Scope;
use crate::error::{Error, Subject};
use crate::ops::{DescendantCount, Exists, Get, GetAcl, GetChildren};
use crate::request::{Operation, Request, Running, sealed};
use crate::state::StateChanges;

/// A read that any session of a [`Pool`](super::Pool) can answer, and answer again. Implemented
/// by the operations that [`User`](super::User) has.
///
/// ```
/// use homing::pool::{PoolRead, PoolRequest};
/// async fn or_default<O: PoolRead>(read: PoolRequest<O>) -> O::Output
/// where
///     O::Output: Default,
/// {
///     read.await.unwrap_or_default()
/// }
/// ```
pub trait PoolRead: Operation + Clone {}

impl PoolRead for Get<'_> {}
impl PoolRead for Exists<'_> {}
impl PoolRead for GetChildren<'_> {}
impl PoolRead for GetAcl<'_> {}
impl PoolRead for DescendantCount<'_> {}

/// A read that has not been made yet. Run it in one of three ways, like a
/// [`Request`]: `.await`, [`submit`](Self::submit), [`wait`](Self::wait).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let pool = homing::Client::builder(&server.connect_string()).pool().start()?;
/// use std::time::Duration;
/// let root = pool.user().get("/").deadline(Duration::from_secs(1)).await?;
/// # let _ = root;
/// # Ok(())
/// # }
/// ```
#[must_use = "a read does nothing until it is awaited, submitted or waited for"]
pub struct PoolRequest<O> {
    members: Arc<Members>,
    floor: Arc<Floor>,
    op: O,
    deadline: Option<Duration>,
    is_synced: bool,
}

impl<O: PoolRead> PoolRequest<O> {
    pub(super) fn new(members: &Arc<Members>, floor: &Arc<Floor>, op: O) -> Self {
        Self {
            deadline: members.default_deadline(),
            members: Arc::clone(members),
            floor: Arc::clone(floor),
            op,
            is_synced: false,
        }
    }

    /// How long an answer is waited for, over all sessions and attempts, in place of the
    /// [setting](crate::Builder::deadline) of the sessions; `None` for as long as it takes. It
    /// counts from when the read is first polled, submitted or waited for.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Puts a sync in line right before it, so that it sees everything that was written, by
    /// anybody, before it was made.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let pool = homing::Client::builder(&server.connect_string()).pool().start()?;
    /// let newest = pool.user().get("/").synced().await?;
    /// # let _ = newest;
    /// # Ok(())
    /// # }
    /// ```
    pub fn synced(mut self) -> Self {
        self.is_synced = true;
        self
    }

    /// Chooses a session and puts the read in line there, now, and returns without waiting for
    /// the answer. If no session is connected it takes its place when one is; until then, and if
    /// it has to be asked again, it goes on only while it is polled or waited for.
    ///
    /// # Errors
    /// [`Error::Busy`] if the limits of the chosen session are reached; [`Error::BadPath`];
    /// [`Error::Closed`]. Nothing was sent.
    pub fn submit(self) -> Result<Reading<O>, Error> {
        let mut reading = self.into_future();
        // Not polled: an answer that is there already is seen when it is pulled, not now.
        let submit = |request: Request<_>| request.submit().map(Running::of);
        reading.stage = reading.choose(None, submit)?;
        Ok(reading)
    }

    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<O::Output, Error> {
        // With no session yet there is none to say whether it may be waited for.
        let started = self.members.choose(Wish::default());
        started.map_err(|why| why.into_error(self.subject(), Fate::NotSent))?;
        self.into_future().wait()
    }

    fn subject(&self) -> Subject {
        self.op.subject()
    }
}

impl<O: PoolRead> IntoFuture for PoolRequest<O> {
    type Output = Result<O::Output, Error>;
    type IntoFuture = Reading<O>;

    fn into_future(self) -> Reading<O> {
        Reading {
            request: self,
            began: None,
            was_sent: false,
            stage: Stage::Choosing(None),
        }
    }
}

impl<O: fmt::Debug> fmt::Debug for PoolRequest<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRequest")
            .field("op", &self.op)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A read that is under way: a future of its answer.
///
/// It holds no session alive, and dropping it is safe at any time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let pool = homing::Client::builder(&server.connect_string()).pool().start()?;
/// let user = pool.user();
/// let a = user.get("/").submit()?;
/// let b = user.children("/").submit()?; // perhaps on another session
/// println!("{:?} {:?}", a.await?, b.await?);
/// # Ok(())
/// # }
/// ```
#[must_use = "it goes on only while it is polled or waited for"]
pub struct Reading<O: PoolRead> {
    request: PoolRequest<O>,
    /// When it was first polled: the deadline counts from here.
    began: Option<Instant>,
    /// A server may have seen it.
    was_sent: bool,
    stage: Stage<O>,
}

enum Stage<O: PoolRead> {
    /// A session is to be chosen; not the stale one that is named, if another is up to date.
    Choosing(Option<u64>),
    /// No session is connected.
    Waiting(Waiting),
    Asked {
        chosen: Chosen,
        is_synced: bool,
        running: Box<Running<Guarded<O>>>,
    },
    Done,
}

/// Waits until a session is connected or has ended, or a time has come.
struct Waiting {
    /// One of those that are waited for.
    driver: Option<Arc<dyn Driver>>,
    changes: Vec<StateChanges>,
    alarm: Option<Ticket<()>>,
    stale: Option<u64>,
}

/// How long a server that is behind even after a sync is left alone: it is cut off from the
/// others, and another sync would only tell so again.
const SYNC_PAUSE: Duration = Duration::from_millis(50);

impl<O: PoolRead> Reading<O> {
    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait(mut self) -> Result<O::Output, Error> {
        self.request.members.may_block()?;
        let signal = Arc::new(Signal::new());
        let waker = Waker::from(Arc::clone(&signal));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut self).poll(&mut cx) {
                return answer;
            }
            // The session that it waits for is another one from time to time.
            match self.stage.driver() {
                Some(driver) => driver.block(&signal),
                None => signal.wait(),
            }
        }
    }

    /// What is left of the deadline; `None` for no deadline.
    fn left(&mut self) -> Result<Option<Duration>, Error> {
        let now = clock::now();
        let began = *self.began.get_or_insert(now);
        let Some(deadline) = self.request.deadline else {
            return Ok(None);
        };
        match deadline.checked_sub(now.duration_since(began)) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(self.overdue()),
        }
    }

    fn overdue(&self) -> Error {
        Error::Deadline {
            request: self.request.subject(),
            fate: self.fate(),
        }
    }

    fn fate(&self) -> Fate {
        match self.was_sent {
            true => Fate::MaybeApplied,
            false => Fate::NotSent,
        }
    }

    /// Chooses a session, and has `run` ask it.
    fn choose(
        &mut self,
        stale: Option<u64>,
        run: impl FnOnce(Request<Guarded<O>>) -> Result<Running<Guarded<O>>, Error>,
    ) -> Result<Stage<O>, Error> {
        let wish = Wish {
            floor: self.request.floor.get(),
            stale,
            may_grow: self.began.is_none(),
        };
        let left = self.left()?;
        let choice = self.request.members.choose(wish);
        match choice.map_err(|why| why.into_error(self.request.subject(), self.fate()))? {
            Choice::Ask(chosen) => {
                let (is_synced, request) = self.request_to(&chosen, left, wish);
                Ok(match run(request) {
                    Ok(running) => Stage::Asked {
                        chosen,
                        is_synced,
                        running: Box::new(running),
                    },
                    Err(error) => self.after_error(error)?,
                })
            }
            Choice::Wait(sessions, until) => {
                let until = until.map(|at| at.saturating_duration_since(clock::now()));
                let pause = left.into_iter().chain(until).min();
                Ok(Stage::Waiting(Waiting::on(&sessions, pause, stale)))
            }
        }
    }

    /// What to ask the chosen session, and whether that is behind a sync: if that is wanted, or
    /// needed after a stale answer.
    fn request_to(
        &self,
        chosen: &Chosen,
        left: Option<Duration>,
        wish: Wish,
    ) -> (bool, Request<Guarded<O>>) {
        let must_sync = wish.stale.is_some() && !chosen.has_seen(wish.floor);
        if must_sync {
            let syncs = &self.request.members.counts.syncs;
            syncs.fetch_add(1, Ordering::Relaxed);
        }
        let is_synced = must_sync || self.request.is_synced;
        let guarded = Guarded {
            op: self.request.op.clone(),
            floor: Arc::clone(&self.request.floor),
            is_synced,
            is_stale: false,
        };
        let mut request = Request::new(&chosen.scope, guarded).deadline(left);
        if is_synced {
            request.set_synced();
        }
        (is_synced, request)
    }

    /// What to do about a reply of an earlier time than its user has seen.
    fn after_stale(&mut self, chosen: &Chosen, was_synced: bool) -> Result<Stage<O>, Error> {
        let counts = &self.request.members.counts;
        counts.discarded.fetch_add(1, Ordering::Relaxed);
        self.was_sent = true;
        let stale = Some(chosen.id);
        let pause = match self.left()? {
            Some(left) => SYNC_PAUSE.min(left),
            None => SYNC_PAUSE,
        };
        Ok(match was_synced {
            true => Stage::Waiting(Waiting::pause(chosen, pause, stale)),
            false => Stage::Choosing(stale),
        })
    }

    /// What to do about an error: ask again, or give it to the caller.
    fn after_error(&mut self, error: Error) -> Result<Stage<O>, Error> {
        self.was_sent |= error.may_have_been_applied();
        match error {
            // Of a session that the pool has closed; which the next choice will find.
            Error::ConnectionLost { .. } | Error::SessionEnded { .. } | Error::Closed { .. } => {
                let repeated = &self.request.members.counts.repeated;
                repeated.fetch_add(1, Ordering::Relaxed);
                Ok(Stage::Choosing(None))
            }
            Error::Deadline { .. } => Err(self.overdue()),
            other => Err(other),
        }
    }

    fn waits_for_room(&self) -> bool {
        matches!(&self.stage, Stage::Asked { running, .. } if !running.is_in_line())
    }
}

impl<O: PoolRead> Future for Reading<O> {
    type Output = Result<O::Output, Error>;

    /// # Panics
    /// If it is polled again after it was ready, like most futures.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.stage = match mem::replace(&mut this.stage, Stage::Done) {
                Stage::Choosing(stale) => {
                    this.choose(stale, |request| Ok(request.into_future()))?
                }
                Stage::Waiting(mut waiting) => {
                    if waiting.poll(cx).is_pending() {
                        this.stage = Stage::Waiting(waiting);
                        return Poll::Pending;
                    }
                    Stage::Choosing(waiting.stale)
                }
                Stage::Asked {
                    chosen,
                    is_synced,
                    mut running,
                } => match Pin::new(&mut *running).poll(cx) {
                    Poll::Ready(Ok(Some(output))) => return Poll::Ready(Ok(output)),
                    Poll::Ready(Ok(None)) => this.after_stale(&chosen, is_synced)?,
                    Poll::Ready(Err(error)) => this.after_error(error)?,
                    Poll::Pending => {
                        this.stage = Stage::Asked {
                            chosen,
                            is_synced,
                            running,
                        };
                        return Poll::Pending;
                    }
                },
                Stage::Done => panic!("a read was polled after its answer had been pulled"),
            };
        }
    }
}

impl<O: PoolRead> fmt::Debug for Reading<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Choosing(_) => "Reading(not in line yet)",
            Stage::Waiting(_) => "Reading(waits for a session)",
            Stage::Asked { .. } if self.waits_for_room() => "Reading(waits for room)",
            Stage::Asked { .. } => "Reading(in line)",
            Stage::Done => "Reading(done)",
        })
    }
}

impl<O: PoolRead> Stage<O> {
    /// Of the session that is waited for.
    fn driver(&self) -> Option<Arc<dyn Driver>> {
        match self {
            Self::Asked { chosen, .. } => Some(chosen.driver()),
            Self::Waiting(waiting) => waiting.driver.clone(),
            Self::Choosing(_) | Self::Done => None,
        }
    }
}

impl Waiting {
    /// Until one of these is connected or has ended, at most for so long.
    fn on(sessions: &[Chosen], pause: Option<Duration>, stale: Option<u64>) -> Self {
        let changes = |chosen: &Chosen| StateChanges::new(Arc::clone(&chosen.scope.core));
        let first = sessions.first();
        Self {
            driver: first.map(Chosen::driver),
            changes: sessions.iter().map(changes).collect(),
            alarm: first.zip(pause).map(|(first, pause)| first.sleep(pause)),
            stale,
        }
    }

    /// For so long, if the session lives.
    fn pause(chosen: &Chosen, pause: Duration, stale: Option<u64>) -> Self {
        Self {
            driver: Some(chosen.driver()),
            changes: Vec::new(),
            alarm: Some(chosen.sleep(pause)),
            stale,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // All are polled, so that each wakes this task.
        let mut is_over = false;
        for changes in &mut self.changes {
            is_over |= has_settled(changes, cx);
        }
        if let Some(alarm) = &mut self.alarm {
            is_over |= Pin::new(alarm).poll(cx).is_ready();
        }
        match is_over {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// Whether the session can be asked, or is over.
fn has_settled(changes: &mut StateChanges, cx: &mut Context<'_>) -> bool {
    while let Poll::Ready(change) = changes.poll_change(cx) {
        match change.map(|change| change.state) {
            Some(
                SessionState::Connecting
                | SessionState::Suspended { .. }
                | SessionState::Renewing(_),
            ) => {}
            _ => return true,
        }
    }
    false
}

/// A read whose answer counts only if it is not of an earlier time than its user has seen.
/// `None` if it is.
struct Guarded<O> {
    op: O,
    floor: Arc<Floor>,
    /// A sync went before it on the same session.
    is_synced: bool,
    is_stale: bool,
}

impl<O> sealed::Sealed for Guarded<O> {}

impl<O: Operation> Operation for Guarded<O> {
    type Output = Option<O::Output>;
    const NAME: &'static str = O::NAME;
    type Body<'b>
        = O::Body<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        self.op.code()
    }

    fn path(&self) -> &str {
        self.op.path()
    }

    fn subject(&self) -> Subject {
        self.op.subject()
    }

    fn check_path(&self) -> Result<(), Error> {
        self.op.check_path()
    }

    fn check_settings(&self) -> Result<(), String> {
        self.op.check_settings()
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> O::Body<'b> {
        self.op.body(scope)
    }

    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        self.op.prepare(scope)
    }

    fn note_zxid(&mut self, zxid: i64) {
        self.op.note_zxid(zxid);
        self.is_stale = match zxid {
            1.. => self.floor.raise(zxid),
            // The server does not tell. Behind a sync it cannot be stale.
            _ => !self.is_synced,
        };
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Self::Output, DecodeError> {
        match self.is_stale {
            true => Ok(None),
            false => self.op.decode(scope, frame).map(Some),
        }
    }

    fn finish(&mut self, scope: &Scope, frame: &Bytes) -> Result<Self::Output, Error> {
        match self.is_stale {
            true => Ok(None),
            false => self.op.finish(scope, frame).map(Some),
        }
    }

    fn recover(&mut self, code: ErrorCode) -> Option<Self::Output> {
        match self.is_stale {
            true => Some(None),
            false => self.op.recover(code).map(Some),
        }
    }

    fn fall_back(&mut self, refusal: &Reply) -> bool {
        self.op.fall_back(refusal)
    }

    fn hint(&self, code: ErrorCode) -> Option<&'static str> {
        self.op.hint(code)
    }
}
