//! A request, from the call that makes it to the answer that is pulled.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use homing_protocol::frame::LENGTH_LEN;
use homing_protocol::{
    DecodeError, ErrorCode, Record, RequestHeader, put_request, request_len, validate_path,
};
use homing_session::{Answer, Cause, Note, Reply};
use homing_transport::{Admission, Permit, Refused, Request as Submission, Ticket, block_on};

use crate::client::Scope;
use crate::error::{Error, Subject};
use crate::ops::Sync;

/// A request that has not been made yet. Run it in one of three ways: `.await`,
/// [`submit`](Self::submit), [`wait`](Self::wait).
///
/// `O` is the operation, which has settings of its own: see the types in [`ops`](crate::ops).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// use std::time::Duration;
/// let root = client.get("/").deadline(Duration::from_secs(1)).await?;
/// # let _ = root;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a request does nothing until it is awaited, submitted or waited for"]
pub struct Request<O> {
    pub(crate) scope: Arc<Scope>,
    pub(crate) op: O,
    deadline: Option<Duration>,
    /// A sync goes in line right before it.
    is_synced: bool,
}

/// What a client can ask of a server: the types in [`ops`](crate::ops), and no others.
///
/// ```
/// use homing::{Error, Operation, Pending};
/// /// Works with any two requests, whatever they ask.
/// async fn both<A: Operation, B: Operation>(
///     a: Pending<A>,
///     b: Pending<B>,
/// ) -> Result<(A::Output, B::Output), Error> {
///     Ok((a.await?, b.await?))
/// }
/// ```
pub trait Operation: sealed::Sealed + Unpin {
    /// What a successful answer is turned into.
    type Output;

    /// The name of the method that makes the request.
    #[doc(hidden)]
    const NAME: &'static str;
    /// Its body on the wire.
    #[doc(hidden)]
    type Body<'b>: Record
    where
        Self: 'b;

    /// The operation's code on the wire.
    #[doc(hidden)]
    fn code(&self) -> i32;

    /// Empty where it is about no path, or about several.
    #[doc(hidden)]
    fn path(&self) -> &str;

    #[doc(hidden)]
    fn subject(&self) -> Subject {
        Subject {
            op: Self::NAME,
            path: self.path().into(),
        }
    }

    #[doc(hidden)]
    fn check_path(&self) -> Result<(), Error> {
        validate_path(self.path()).map_err(|why| Error::bad_path(self.subject(), why))
    }

    /// What is wrong with the settings, if they cannot be had together.
    #[doc(hidden)]
    fn check_settings(&self) -> Result<(), String> {
        Ok(())
    }

    #[doc(hidden)]
    fn body<'b>(&'b self, scope: &'b Scope) -> Self::Body<'b>;

    /// Called right before it is put in line: what the session is to do when the reply comes.
    #[doc(hidden)]
    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        let _ = scope;
        Note::Plain { op: self.code() }
    }

    /// Called with the zxid in a reply, before anything else is made of it.
    #[doc(hidden)]
    fn note_zxid(&mut self, zxid: i64) {
        let _ = zxid;
    }

    /// Called when it takes its place in line, under the queue's lock: what is to be sent where
    /// that depends on the requests before it. It may become shorter, and not longer.
    #[doc(hidden)]
    fn line_up(&mut self, scope: &Scope) {
        let _ = scope;
    }

    /// Turns the body of a successful reply into what the caller asked for.
    #[doc(hidden)]
    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Self::Output, DecodeError>;

    /// What became of a request that the server did not refuse as a whole.
    #[doc(hidden)]
    fn finish(&mut self, scope: &Scope, frame: &Bytes) -> Result<Self::Output, Error> {
        self.decode(scope, frame)
            .map_err(|error| Error::MalformedReply {
                request: self.subject(),
                error,
            })
    }

    /// What an error code means where it is an answer rather than a failure.
    #[doc(hidden)]
    fn recover(&mut self, code: ErrorCode) -> Option<Self::Output> {
        let _ = code;
        None
    }

    /// Whether the server was too old for it, and there is an older operation that does the
    /// same: it becomes that one, and is asked once more.
    #[doc(hidden)]
    fn fall_back(&mut self, refusal: &Reply) -> bool {
        let _ = refusal;
        false
    }

    /// What can be said about a refusal beyond what its code says for every operation.
    #[doc(hidden)]
    fn hint(&self, code: ErrorCode) -> Option<&'static str> {
        let _ = code;
        None
    }
}

pub(crate) mod sealed {
    /// Keeps [`Operation`](super::Operation) to this crate.
    pub trait Sealed {}
}

impl<O: Operation> Request<O> {
    pub(crate) fn new(scope: &Arc<Scope>, op: O) -> Self {
        let deadline = scope.core.settings.deadline;
        Self {
            scope: Arc::clone(scope),
            op,
            deadline,
            is_synced: false,
        }
    }

    /// Another request of the same handle, with the same deadline.
    pub(crate) fn alike<P: Operation>(&self, op: P) -> Request<P> {
        Request::new(&self.scope, op).deadline(self.deadline)
    }

    /// The same request with another operation in it.
    pub(crate) fn map<P>(self, map: impl FnOnce(O) -> P) -> Request<P> {
        Request {
            scope: self.scope,
            op: map(self.op),
            deadline: self.deadline,
            is_synced: self.is_synced,
        }
    }

    /// The same, for the session that it is for now; see [`Scope::pinned`].
    pub(crate) fn pinned(mut self) -> Self {
        self.scope = self.scope.pinned();
        self
    }

    pub(crate) fn own_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    pub(crate) fn set_synced(&mut self) {
        self.is_synced = true;
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// How long an answer is waited for, in place of the client's
    /// [own setting](crate::Builder::deadline); `None` for as long as the session lasts. When it
    /// passes the request ends with [`Error::Deadline`], and nothing else is disturbed.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Puts the request in line now, behind all that were submitted before, and returns without
    /// waiting for the answer.
    ///
    /// # Errors
    /// [`Error::Busy`] if the limits are reached; [`Error::BadPath`], [`Error::RequestTooLarge`];
    /// [`Error::Closed`] or [`Error::SessionEnded`] when the session is over. Nothing was sent.
    pub fn submit(mut self) -> Result<Pending<O>, Error> {
        let len = self.checked_len()?;
        let sync = match self.is_synced {
            true => Some(Box::new(Running {
                era: None,
                stage: Stage::Pending(self.sync().submit()?),
                sync: None,
            })),
            false => None,
        };
        let era = self.scope.era();
        match self.try_submit(era, len) {
            Ok(ticket) => Ok(self.pending(era, sync, ticket)),
            Err(refused) => Err(self.refused(era, refused)),
        }
    }

    /// Blocks this thread until the answer is there.
    ///
    /// On the tokio transport somebody must be driving the runtime meanwhile: one with a single
    /// thread, in which nobody is inside `block_on`, answers nobody and keeps no deadline. A private
    /// thread or the nio transport does not depend on that.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent: one that belongs to a tokio runtime that may be the session's, its blocking threads
    /// included.
    pub fn wait(self) -> Result<O::Output, Error> {
        let scope = Arc::clone(&self.scope);
        block_on(&*scope.core.driver, self.into_future()).map_err(Error::must_not_block)?
    }

    /// What can be seen to be wrong before anything is sent; and the length of the frame.
    pub(crate) fn checked_len(&self) -> Result<usize, Error> {
        self.op.check_path()?;
        self.op.check_settings().map_err(|what| Error::Misuse {
            what: format!("{}: {what}; it was not sent", self.op.subject()),
        })?;
        let len = request_len(&self.op.body(&self.scope));
        let limit = self.scope.core.settings.request_len_max;
        if len - LENGTH_LEN > limit {
            let request = self.op.subject();
            return Err(Error::RequestTooLarge {
                request,
                len: len - LENGTH_LEN,
                limit,
            });
        }
        Ok(len)
    }
}

impl<O: Operation> IntoFuture for Request<O> {
    type Output = Result<O::Output, Error>;
    type IntoFuture = Running<O>;

    fn into_future(self) -> Running<O> {
        Running {
            sync: self.is_synced.then(|| Box::new(self.sync().into_future())),
            stage: Stage::New(self),
            era: None,
        }
    }
}

impl<O: Operation + fmt::Debug> fmt::Debug for Request<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("op", &self.op)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// A request that is awaited: the future behind `.await`.
///
/// It takes its place in line when it is first polled. At the client's limits it waits for room
/// first, in the order of arrival.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let future = client.get("/").into_future();
/// let root = future.await?;
/// # let _ = root;
/// # use std::future::IntoFuture;
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Running<O> {
    stage: Stage<O>,
    /// The era to which it keeps, if it is the rest of an earlier request.
    era: Option<u64>,
    /// The sync that goes before it; handed on to [`Pending`].
    sync: Option<Box<Running<Sync<'static>>>>,
}

enum Stage<O> {
    New(Request<O>),
    /// Waits for room; the deadline counts already.
    Admission {
        request: Request<O>,
        era: u64,
        admission: Admission<Note, Answer>,
    },
    Pending(Pending<O>),
    Done,
}

impl<O: Operation> Future for Running<O> {
    type Output = Result<O::Output, Error>;

    /// # Panics
    /// If it is polled again after it was ready, like most futures.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::New(mut request) => {
                    let len = request.checked_len()?;
                    if let Some(sync) = &mut self.sync
                        && !sync.is_in_line()
                    {
                        // Not to be awaited yet, only put in line.
                        match Pin::new(&mut **sync).poll(cx) {
                            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                            Poll::Ready(Ok(())) => self.sync = None,
                            Poll::Pending => {}
                        }
                        if self.sync.as_ref().is_some_and(|sync| !sync.is_in_line()) {
                            self.stage = Stage::New(request);
                            return Poll::Pending;
                        }
                    }
                    let era = self.era.unwrap_or_else(|| request.scope.era());
                    self.stage = match request.try_submit(era, len) {
                        Ok(ticket) => {
                            Stage::Pending(request.pending(era, self.sync.take(), ticket))
                        }
                        Err(Refused::Busy) => request.wait_for_room(era, len),
                        Err(refused) => return Poll::Ready(Err(request.refused(era, refused))),
                    };
                }
                Stage::Admission {
                    mut request,
                    era,
                    mut admission,
                } => {
                    let Poll::Ready(permit) = Pin::new(&mut admission).poll(cx) else {
                        self.stage = Stage::Admission {
                            request,
                            era,
                            admission,
                        };
                        return Poll::Pending;
                    };
                    match permit.and_then(|permit| request.submit_with(era, permit)) {
                        Ok(ticket) => {
                            let pending = request.pending(era, self.sync.take(), ticket);
                            self.stage = Stage::Pending(pending);
                        }
                        Err(refused) => return Poll::Ready(Err(request.refused(era, refused))),
                    }
                }
                Stage::Pending(mut pending) => {
                    let polled = Pin::new(&mut pending).poll(cx);
                    if polled.is_pending() {
                        self.stage = Stage::Pending(pending);
                    }
                    return polled;
                }
                Stage::Done => panic!("{PULLED}"),
            }
        }
    }
}

impl<O> Running<O> {
    /// One that is in line already.
    pub(crate) fn of(pending: Pending<O>) -> Self {
        Self {
            era: None,
            stage: Stage::Pending(pending),
            sync: None,
        }
    }

    pub(crate) fn is_in_line(&self) -> bool {
        matches!(self.stage, Stage::Pending(_))
    }

    fn scope(&self) -> Option<&Arc<Scope>> {
        match &self.stage {
            Stage::New(request) | Stage::Admission { request, .. } => Some(&request.scope),
            Stage::Pending(pending) => pending.scope(),
            Stage::Done => None,
        }
    }
}

impl<O> fmt::Debug for Running<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::New(_) => "Running(not in line yet)",
            Stage::Admission { .. } => "Running(waits for room)",
            Stage::Pending(_) => "Running(in line)",
            Stage::Done => "Running(done)",
        })
    }
}

/// A request that is in line: a future of its answer.
///
/// Dropping it is safe at any time and disturbs no other request. If nothing of it was sent by
/// then and there is no connection, it is not sent at all.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let write = client.create("/a", b"1").submit()?;
/// let read = client.get("/a").submit()?; // the server sees it after the write
/// assert_eq!(read.await?.data, "1");
/// write.await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the request goes on, but nobody learns its outcome"]
pub struct Pending<O> {
    /// Taken when the answer is there.
    request: Option<Request<O>>,
    /// The era in which it was submitted.
    era: u64,
    /// The sync that went before it.
    sync: Option<Box<Running<Sync<'static>>>>,
    ticket: Ticket<Answer>,
    /// The request once more, as an older operation, when the server did not know the first.
    older: Option<Box<Running<O>>>,
}

impl<O: Operation> Pending<O> {
    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked. The request has
    /// been submitted all the same.
    pub fn wait(self) -> Result<O::Output, Error> {
        let scope = Arc::clone(self.scope().expect(PULLED));
        block_on(&*scope.core.driver, self).map_err(Error::must_not_block)?
    }
}

impl<O> Pending<O> {
    fn scope(&self) -> Option<&Arc<Scope>> {
        match (&self.request, &self.older) {
            (Some(request), _) => Some(&request.scope),
            (None, Some(older)) => older.scope(),
            (None, None) => None,
        }
    }
}

const PULLED: &str = "a request was polled after its answer had been pulled";

impl<O: Operation> Future for Pending<O> {
    type Output = Result<O::Output, Error>;

    /// # Panics
    /// If it is polled again after it was ready, like most futures.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(older) = &mut self.older {
            return Pin::new(&mut **older).poll(cx);
        }
        if let Some(sync) = &mut self.sync {
            // A read behind a sync that failed may be stale, so it counts for nothing.
            ready!(Pin::new(&mut **sync).poll(cx))?;
            self.sync = None;
        }
        let answer = ready!(Pin::new(&mut self.ticket).poll(cx));
        let mut request = self.request.take().expect(PULLED);
        match &answer {
            Ok(reply) if reply.err != 0 && request.op.fall_back(reply) => {
                let mut older = request.into_future();
                // It must not end up in another session than it was made for.
                older.era = Some(self.era);
                let older = self.older.insert(Box::new(older));
                Pin::new(&mut **older).poll(cx)
            }
            _ => Poll::Ready(request.finish(self.era, answer)),
        }
    }
}

impl<O> fmt::Debug for Pending<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.ticket).finish()
    }
}

impl<O: Operation> Request<O> {
    fn try_submit(&mut self, era: u64, len: usize) -> Result<Ticket<Answer>, Refused> {
        let submission = self.submission(len);
        let Self { scope, op, .. } = self;
        let queue = &scope.core.shared.queue;
        queue.try_submit_in(era, submission, |xid, out| encode(scope, op, xid, out))
    }

    fn submit_with(
        &mut self,
        era: u64,
        permit: Permit<Note, Answer>,
    ) -> Result<Ticket<Answer>, Refused> {
        let submission = self.submission(permit.len());
        let Self { scope, op, .. } = self;
        let queue = &scope.core.shared.queue;
        queue.submit_in(era, permit, submission, |xid, out| {
            encode(scope, op, xid, out);
        })
    }

    /// The sync that goes before this request, with the same deadline.
    fn sync(&self) -> Request<Sync<'static>> {
        self.alike(Sync::root())
    }

    fn wait_for_room(self, era: u64, len: usize) -> Stage<O> {
        let queue = &self.scope.core.shared.queue;
        Stage::Admission {
            admission: queue.admission_in(era, len, self.deadline),
            era,
            request: self,
        }
    }

    fn submission(&mut self, len: usize) -> Submission<Note> {
        Submission {
            len,
            within: self.deadline,
            note: self.op.prepare(&self.scope),
        }
    }

    fn pending(
        self,
        era: u64,
        sync: Option<Box<Running<Sync<'static>>>>,
        ticket: Ticket<Answer>,
    ) -> Pending<O> {
        Pending {
            request: Some(self),
            era,
            sync,
            ticket,
            older: None,
        }
    }

    /// Decodes, on the thread that pulls.
    fn finish(&mut self, era: u64, answer: Answer) -> Result<O::Output, Error> {
        let reply = match answer {
            Ok(reply) => reply,
            Err(unanswered) => {
                if matches!(unanswered.cause, Cause::Ended(_)) {
                    self.scope.knows_the_end_of(era);
                }
                return Err(Error::unanswered(self.op.subject(), unanswered));
            }
        };
        self.op.note_zxid(reply.zxid);
        if reply.err != 0 {
            let code = ErrorCode::from_code(reply.err);
            return self.op.recover(code).ok_or_else(|| {
                let chroot = self.scope.chroot.clone();
                Error::Server {
                    request: self.op.subject(),
                    code,
                    chroot,
                    hint: self.op.hint(code),
                }
            });
        }
        self.op.finish(&self.scope, &reply.frame)
    }

    fn refused(&self, era: u64, refused: Refused) -> Error {
        self.scope.refused(self.op.subject(), era, refused)
    }
}

/// Runs under the queue's lock.
fn encode<O: Operation>(scope: &Scope, op: &mut O, xid: i32, out: &mut BytesMut) {
    op.line_up(scope);
    let header = RequestHeader { xid, op: op.code() };
    put_request(out, header, &op.body(scope));
}
