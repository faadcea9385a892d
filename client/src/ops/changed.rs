//! What has changed since?

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{DecodeError, reply, validate_path};
use homing_session::{Aspects, Changed, Comparison, Note};
use homing_transport::block_on;

use crate::client::{Client, Core, Scope};
use crate::error::{Error, Subject};
use crate::request::{Operation, Pending, Request, sealed};

impl Client {
    /// Asks which of these nodes have changed since a transaction, without reading them: the
    /// server compares. What it takes is each path, once or twice, in frames of less than 128 KiB
    /// that are on their way together; what comes back is only what has changed. Made for whoever
    /// keeps a copy of many nodes and has missed something, like a
    /// [gap](crate::WatchItem::Gap).
    ///
    /// A [`Changed`] says of a node whether its data was set, whether a child came or went, or
    /// that it is not there (be it deleted or never made). What came and went again in between is
    /// seen as far as the node's [`Stat`](crate::Stat) shows it. The answer is the
    /// server's, which may be behind others: a [`sync`](Self::sync) before it helps, and a `zxid`
    /// that comes from elsewhere makes it necessary.
    ///
    /// Servers answer this in the course of setting watches, which has a price. On each node that
    /// has *not* changed a one-shot watch is left, and this client removes it again, unless you
    /// watch the node yourself: one small request for each, which nobody waits for and of which no
    /// more than 256 are on their way at a time. With
    /// [`keep_watches`](ChangedSince::keep_watches) they stay until the node changes or the
    /// connection is lost. Watchers notice nothing of all that. (Only if `zxid` is ahead of
    /// everything that this client has seen may a one-shot watcher be told of a change that is
    /// older than its read.)
    ///
    /// # Errors
    /// [`Error::BadPath`] for the first path that is not one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/a", b"").await?;
    /// let zxid = client.create("/b", b"").await?.stat.unwrap().czxid;
    /// client.set("/b", b"new").await?;
    ///
    /// let changes = client.changed_since(["/a", "/b", "/c"], zxid).await?;
    /// let paths: Vec<_> = changes.nodes.iter().map(|node| node.path.as_str()).collect();
    /// assert_eq!(paths, ["/b", "/c"]);
    /// assert!(changes.nodes[0].data && !changes.nodes[0].children);
    /// assert!(changes.nodes[1].is_missing);
    /// # Ok(())
    /// # }
    /// ```
    pub fn changed_since<P: Into<String>>(
        &self,
        paths: impl IntoIterator<Item = P>,
        zxid: i64,
    ) -> ChangedSince {
        ChangedSince {
            scope: Arc::clone(&self.scope),
            paths: paths.into_iter().map(P::into).collect(),
            zxid,
            aspects: Aspects::default(),
            deadline: self.scope.core.settings.deadline,
        }
    }
}

/// The answer to [`Client::changed_since`].
///
/// ```
/// fn is_up_to_date(changes: &homing::Changes) -> bool {
///     changes.nodes.is_empty()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// The nodes that have changed, each once, in the order of their paths.
    pub nodes: Vec<Changed>,
    /// All transactions up to this one were looked at: what to ask with the next time.
    pub zxid: i64,
}

/// A question that has not been asked yet; see [`Client::changed_since`]. It is run like a
/// [`Request`]: `.await`, `.submit()`, `.wait()`.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// let changes = client.changed_since(["/"], 0).data_only().wait()?;
/// assert_eq!(changes.nodes, []);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is asked until it is awaited, submitted or waited for"]
pub struct ChangedSince {
    scope: Arc<Scope>,
    paths: Vec<String>,
    zxid: i64,
    aspects: Aspects,
    deadline: Option<Duration>,
}

impl ChangedSince {
    /// Does not ask about children: half of the bytes.
    pub fn data_only(mut self) -> Self {
        (self.aspects.data, self.aspects.children) = (true, false);
        self
    }

    /// Does not ask about data: half of the bytes.
    pub fn children_only(mut self) -> Self {
        (self.aspects.data, self.aspects.children) = (false, true);
        self
    }

    /// Leaves the one-shot watches at the server that it sets on what has not changed. Each
    /// costs it some memory and at most one notification, of which nobody is told.
    pub fn keep_watches(mut self) -> Self {
        self.aspects.keep_watches = true;
        self
    }

    /// As for any [request](Request::deadline).
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Puts the question in line now.
    ///
    /// # Errors
    /// As for any [request](Request::submit).
    pub fn submit(self) -> Result<PendingChanges, Error> {
        let frames = self.frames()?.into_iter().map(Request::submit);
        Ok(PendingChanges {
            core: Arc::clone(&self.scope.core),
            answers: Answers::new(frames.collect::<Result<_, _>>()?, self.zxid),
        })
    }

    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<Changes, Error> {
        let core = Arc::clone(&self.scope.core);
        block_on(&*core.driver, self.into_future()).map_err(Error::must_not_block)?
    }

    fn frames(&self) -> Result<Vec<Request<Frame>>, Error> {
        for path in &self.paths {
            let request = || Subject {
                op: Frame::NAME,
                path: path.clone(),
            };
            validate_path(path).map_err(|why| Error::bad_path(request(), why))?;
        }
        let paths = self.paths.iter();
        let paths = paths.map(|path| self.scope.server_path(path).to_string());
        let len_max = self.scope.core.settings.request_len_max;
        let comparisons = Comparison::split(paths, self.zxid, self.aspects, len_max);
        let frames = comparisons.into_iter().map(|comparison| {
            Request::new(&self.scope, Frame { comparison }).deadline(self.deadline)
        });
        Ok(frames.collect())
    }
}

impl IntoFuture for ChangedSince {
    type Output = Result<Changes, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let frames = self.frames()?.into_iter().map(Request::into_future);
            let mut answers = Answers::new(frames.collect(), self.zxid);
            poll_fn(|cx| answers.poll(cx)).await
        })
    }
}

impl fmt::Debug for ChangedSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedSince")
            .field("paths", &self.paths.len())
            .field("zxid", &self.zxid)
            .finish_non_exhaustive()
    }
}

/// A question that is in line: a future of its answer.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let pending = client.changed_since(["/"], 0).submit()?;
/// assert_eq!(pending.await?.nodes, []);
/// # Ok(())
/// # }
/// ```
#[must_use = "the request goes on, but nobody learns its outcome"]
pub struct PendingChanges {
    core: Arc<Core>,
    answers: Answers<Pending<Frame>>,
}

impl PendingChanges {
    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked. The request has
    /// been submitted all the same.
    pub fn wait(self) -> Result<Changes, Error> {
        let core = Arc::clone(&self.core);
        block_on(&*core.driver, self).map_err(Error::must_not_block)?
    }
}

impl Future for PendingChanges {
    type Output = Result<Changes, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answers.poll(cx)
    }
}

impl fmt::Debug for PendingChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingChanges")
            .field("frames", &self.answers.frames.len())
            .finish()
    }
}

/// The answers to several frames, in one.
struct Answers<F> {
    frames: Vec<Asked<F>>,
    /// What was asked with.
    zxid: i64,
}

enum Asked<F> {
    Pending(F),
    Answered(Changes),
}

impl<F: Future<Output = Result<Changes, Error>> + Unpin> Answers<F> {
    fn new(frames: Vec<F>, zxid: i64) -> Self {
        let frames = frames.into_iter().map(Asked::Pending).collect();
        Self { frames, zxid }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Changes, Error>> {
        let mut is_complete = true;
        for frame in &mut self.frames {
            let Asked::Pending(pending) = frame else {
                continue;
            };
            // All of them are polled, so that all of them are in line.
            match Pin::new(pending).poll(cx) {
                Poll::Ready(answer) => *frame = Asked::Answered(answer?),
                Poll::Pending => is_complete = false,
            }
        }
        match is_complete {
            true => Poll::Ready(Ok(self.take())),
            false => Poll::Pending,
        }
    }

    /// All of them together. What the first knew, all know.
    fn take(&mut self) -> Changes {
        let mut nodes = Vec::new();
        let mut zxid = None;
        for frame in self.frames.drain(..) {
            if let Asked::Answered(changes) = frame {
                zxid.get_or_insert(changes.zxid);
                nodes.extend(changes.nodes);
            }
        }
        let zxid = zxid.unwrap_or(self.zxid);
        Changes { nodes, zxid }
    }
}

/// One frame of a question.
#[derive(Debug)]
pub(crate) struct Frame {
    comparison: Comparison,
}

impl sealed::Sealed for Frame {}

impl Operation for Frame {
    type Output = Changes;
    const NAME: &'static str = "changed_since";
    type Body<'b> = Comparison;

    fn code(&self) -> i32 {
        self.comparison.op()
    }

    fn path(&self) -> &str {
        ""
    }

    fn check_path(&self) -> Result<(), Error> {
        // Before they were split.
        Ok(())
    }

    fn body<'b>(&'b self, _: &'b Scope) -> Comparison {
        self.comparison.clone()
    }

    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        self.comparison = self.comparison.again();
        let watches = &scope.core.shared.watches;
        Note::Comparison(Box::new(watches.prepare_comparison(&self.comparison)))
    }

    fn line_up(&mut self, scope: &Scope) {
        let watches = &scope.core.shared.watches;
        watches.line_up_comparison(&self.comparison);
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Changes, DecodeError> {
        let zxid = reply::zxid(frame)?;
        let nodes = self.comparison.answer().into_iter().map(|node| {
            let mut node = node;
            node.path = scope.client_path(&node.path);
            node
        });
        Ok(Changes {
            nodes: nodes.collect(),
            zxid,
        })
    }
}
