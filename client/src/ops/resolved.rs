//! Finding out what became of a write whose answer was lost.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{ErrorCode, Stat};
use homing_session::{SessionEnd, Unanswered, Undo};
use homing_transport::{Fate, block_on};

use super::delete::Delete;
use super::exists::Exists;
use super::set::Set;
use super::transaction::{Committed, Done, Transaction};
use crate::error::{Error, Subject};
use crate::overall::Overall;
use crate::request::{Operation, Request};
use crate::token::marker;
use crate::watcher::Read;

impl<'a> Request<Set<'a>> {
    /// Finds out what became of it if its answer is lost: the outcome is then either that it was
    /// applied, or [`Error::NotApplied`]. It is not sent a second time; [`Resolving::retry`]
    /// does that.
    ///
    /// It is sent in one transaction with a marker: an ephemeral node without data next to the
    /// node, with a name that nobody else's has, which is there if and only if the transaction
    /// was applied. The session deletes it afterwards. [`protected`](Request::protected) tells
    /// what that costs, and which permissions it takes: here the one to create below the node's
    /// parent comes in addition to that for the write.
    ///
    /// # Why reading the node would not do
    /// After a lost `set` with a version, the node is read:
    ///
    /// | it is | then the write was |
    /// | --- | --- |
    /// | at that version | not applied |
    /// | at the next one, with other data | not applied: somebody else's came first |
    /// | at the next one, with the same data | applied, or somebody else wrote the same |
    /// | at a later one | anything |
    ///
    /// The last two are common (a flag that is set, a lease that is renewed), and neither the
    /// time nor the zxid of the change tells whose it was: any writer's are newer than the
    /// request. Without a version not even the first two hold. With the marker, nothing has to
    /// be guessed.
    ///
    /// # What is certain
    /// [`Resolved::Applied`] and [`Error::NotApplied`] are: the servers are asked over a
    /// connection that was made after the loss, behind a sync. (Whoever deletes markers of
    /// others makes a write look as if it had not been applied.) If they cannot be asked, the
    /// error says that it is not known: [`Error::Deadline`], which bounds all of this together,
    /// [`Error::SessionEnded`], [`Error::Unresolved`]. The session deletes the marker even then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::{Error, ops::Resolved};
    /// client.create("/balance", b"100").await?;
    ///
    /// server.cut_before_apply(1); // the next write is lost on its way
    /// let error = client.set("/balance", b"80").version(0).resolved().await.unwrap_err();
    /// assert!(matches!(error, Error::NotApplied { .. }) && !error.may_have_been_applied());
    ///
    /// server.cut_after_apply(1); // this one is applied, and its answer lost
    /// let done = client.set("/balance", b"90").version(0).resolved().await?;
    /// assert!(matches!(done, Resolved::Applied { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolved(self) -> Resolving<'a, Stat> {
        let subject = self.op.subject();
        let request = self.map(Transaction::of_set);
        Resolving::new(request, subject, |done| match done.results.first() {
            Some(Done::Set(stat)) => Some(*stat),
            _ => None,
        })
    }
}

impl<'a> Request<Delete<'a>> {
    /// Finds out what became of it if its answer is lost, as for a
    /// [`set`](Request::<Set>::resolved).
    ///
    /// A node that is gone proves nothing: somebody else may have deleted it. One that is there
    /// proves little: it may have been made again. So this too goes by a marker.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/job", b"").await?;
    /// server.cut_after_apply(1);
    /// client.delete("/job").version(0).resolved().await?; // it was this very request
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolved(self) -> Resolving<'a, ()> {
        let subject = self.op.subject();
        let request = self.map(Transaction::of_delete);
        Resolving::new(request, subject, |_| Some(()))
    }
}

impl<'a> Request<Transaction<'a>> {
    /// Finds out what became of it if its answer is lost, as for a
    /// [`set`](Request::<Set>::resolved). The marker is made next to the node of the transaction
    /// that is the least deep, whose parent is sure to be there.
    ///
    /// Of a transaction that was applied and whose answer is lost, the zxid is known and nothing
    /// else: not the numbers of sequential nodes, nor stats.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// server.cut_after_apply(1);
    /// let both = client.transaction().create("/a", b"").create("/a/b", b"");
    /// let done = both.resolved().await?;
    /// let stat = client.exists("/a/b").await?;
    /// assert_eq!(stat.map(|stat| stat.czxid), done.zxid());
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolved(self) -> Resolving<'a, Committed> {
        let subject = self.op.subject();
        Resolving::new(self, subject, Some)
    }
}

/// How a write has ended whose fate was found out.
///
/// ```
/// use homing::ops::Resolved;
/// assert_eq!(Resolved::Answered(7).answer(), Some(7));
/// assert_eq!(Resolved::<()>::Applied { zxid: 3 }.zxid(), Some(3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<T> {
    /// The server's answer has come.
    Answered(T),
    /// It has not; but the write was applied, by this transaction.
    Applied {
        /// The zxid of the transaction.
        zxid: i64,
    },
}

impl<T> Resolved<T> {
    /// The answer, if it has come.
    pub fn answer(self) -> Option<T> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::Applied { .. } => None,
        }
    }

    /// The transaction that was found to have been applied; an answer that came tells its own.
    pub fn zxid(&self) -> Option<i64> {
        match self {
            Self::Answered(_) => None,
            Self::Applied { zxid } => Some(*zxid),
        }
    }
}

/// A write whose fate is found out if its answer is lost; see
/// [`resolved`](Request::<Set>::resolved). It is several requests if need be, so it cannot be
/// [submitted](Request::submit), only awaited or waited for.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// client.create("/a", b"").wait()?;
/// let done = client.set("/a", b"1").resolved().wait()?;
/// assert_eq!(done.answer().map(|stat| stat.version), Some(1));
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is sent until it is awaited or waited for"]
pub struct Resolving<'a, T> {
    pub(crate) request: Request<Transaction<'a>>,
    subject: Subject,
    answer: fn(Committed) -> Option<T>,
}

impl<'a, T: 'a> Resolving<'a, T> {
    fn new(
        request: Request<Transaction<'a>>,
        subject: Subject,
        answer: fn(Committed) -> Option<T>,
    ) -> Self {
        Self {
            request,
            subject,
            answer,
        }
    }

    /// Blocks this thread until it is known.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<Resolved<T>, Error> {
        let core = Arc::clone(&self.request.scope.core);
        block_on(&*core.driver, self.run()).map_err(Error::must_not_block)?
    }

    async fn run(self) -> Result<Resolved<T>, Error> {
        // All of it is for one session, as a single request is.
        let request = self.request.clone().pinned();
        let mut ask = Ask::begin(&request, &self.subject);
        let ended = run_marked(&request, &mut ask).await;
        let ended = self.request.scope.told(&request.scope, ended);
        Ok(match ended.map_err(|error| error.about(&self.subject))? {
            Resolved::Applied { zxid } => Resolved::Applied { zxid },
            Resolved::Answered(done) => {
                let zxid = done.zxid;
                match (self.answer)(done) {
                    Some(answer) => Resolved::Answered(answer),
                    None => Resolved::Applied { zxid },
                }
            }
        })
    }
}

impl<T> Clone for Resolving<'_, T> {
    fn clone(&self) -> Self {
        Self {
            request: self.request.clone(),
            subject: self.subject.clone(),
            answer: self.answer,
        }
    }
}

impl<'a, T: 'a> IntoFuture for Resolving<'a, T> {
    type Output = Result<Resolved<T>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<T> fmt::Debug for Resolving<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolving")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// Runs it once, with a marker, and finds out what became of it.
pub(super) async fn run_marked(
    request: &Request<Transaction<'_>>,
    ask: &mut Ask,
) -> Result<Resolved<Committed>, Error> {
    let session_id = ask.session_id().await?;
    let (scope, core) = (&request.scope, &request.scope.core);
    let parent = request.op.marker_parent(scope);
    let name = marker(session_id, core.random());
    let path = format!("{}/{name}", parent.trim_end_matches('/'));
    let undo = Undo::Delete { path: path.clone() };
    // Whichever way this is left, the session deletes a marker that may be there.
    let pledge = scope.pledge(&ask.subject, undo)?;
    let marked = request.op.clone().marked(path.clone(), &pledge);
    let attempt = request.alike(marked).deadline(ask.overall.left());
    let error = match ask.overall.bound(attempt.into_future()).await {
        Some(Ok(done)) => return Ok(Resolved::Answered(done)),
        Some(Err(error)) if error.is_open() => error,
        Some(Err(error)) => {
            // A refusal of a transaction looks like success to a session that reads no bodies.
            pledge.not_applied();
            return Err(alone(error, &ask.subject));
        }
        None => return Err(ask.late(Fate::MaybeApplied)),
    };
    let root = scope.without_chroot();
    let exists = Request::new(&root, Exists::new(path));
    match ask.read(&exists).await {
        Ok(Some(stat)) => Ok(Resolved::Applied { zxid: stat.czxid }),
        Ok(None) => {
            pledge.not_applied();
            Err(Error::NotApplied {
                request: ask.subject.clone(),
                cause: Box::new(error),
            })
        }
        Err(why) => Err(ask.unresolved(error, why)),
    }
}

/// The refusal of what was asked for alone and was sent in a transaction.
fn alone(error: Error, subject: &Subject) -> Error {
    match error {
        Error::Transaction {
            request,
            code,
            chroot,
            hint,
            ..
        } if subject.op != Transaction::NAME => Error::Server {
            request,
            code,
            chroot,
            hint,
        },
        error => error,
    }
}

/// Asks the servers what became of a request, until its deadline.
pub(super) struct Ask {
    pub(super) overall: Overall,
    /// The session that is asked.
    era: u64,
    subject: Subject,
}

/// How long a server is left alone that says that it has too much to do.
const THROTTLED_PAUSE: Duration = Duration::from_millis(200);

impl Ask {
    pub(super) fn begin<O: Operation>(request: &Request<O>, subject: &Subject) -> Self {
        Self {
            overall: Overall::begin(&request.scope.core, request.own_deadline()),
            era: request.scope.era(),
            subject: subject.clone(),
        }
    }

    /// The id that goes into a token.
    pub(super) async fn session_id(&mut self) -> Result<i64, Error> {
        let fate = Fate::NotSent;
        match self.overall.session_id(self.era).await {
            Some(Ok(session_id)) => Ok(session_id),
            Some(Err(cause)) => {
                let unanswered = Unanswered { fate, cause };
                Err(Error::unanswered(self.subject.clone(), unanswered))
            }
            None => Err(self.late(fate)),
        }
    }

    /// Reads behind a sync. A read that was lost can be repeated.
    pub(super) async fn read<O: Read + Clone>(
        &mut self,
        request: &Request<O>,
    ) -> Result<O::Output, Error> {
        loop {
            let read = request.clone().synced().deadline(self.overall.left());
            match self.overall.bound(read.into_future()).await {
                None => return Err(self.late(Fate::MaybeApplied)),
                Some(Err(Error::ConnectionLost { .. })) => {}
                Some(Err(error)) if error.code() == Some(ErrorCode::ThrottledOp) => {
                    if !self.overall.sleep(THROTTLED_PAUSE).await {
                        return Err(self.late(Fate::MaybeApplied));
                    }
                }
                Some(read) => return read,
            }
        }
    }

    pub(super) fn late(&self, fate: Fate) -> Error {
        let request = self.subject.clone();
        Error::Deadline { request, fate }
    }

    /// What was asked for got the error `cause`, and asking what became of it the error `why`.
    pub(super) fn unresolved(&self, cause: Error, why: Error) -> Error {
        let (request, fate) = (self.subject.clone(), Fate::MaybeApplied);
        match why {
            Error::Deadline { .. } => Error::Deadline { request, fate },
            Error::SessionEnded { end, .. } => Error::SessionEnded { request, fate, end },
            Error::Closed { .. } => {
                let end = SessionEnd::Closed;
                Error::SessionEnded { request, fate, end }
            }
            why => {
                let (cause, why) = (Box::new(cause), Box::new(why));
                Error::Unresolved {
                    request,
                    cause,
                    why,
                }
            }
        }
    }
}
