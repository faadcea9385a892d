//! Watches: being told once when a node changes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use homing_protocol::{DecodeError, ErrorCode};
use homing_session::{Note, WatchEvent, WatchKind, WatchTicket};
use homing_transport::{Fate, block_on};

use crate::client::Scope;
use crate::error::{Error, Subject};
use crate::request::{Operation, Request, sealed};

/// A read: what can be preceded by a sync. Implemented by the operations of
/// [`Client::get`](crate::Client::get), [`exists`](crate::Client::exists) and
/// [`children`](crate::Client::children), with a watch or without.
///
/// ```
/// use homing::{Read, Request};
/// fn newest<O: Read>(read: Request<O>) -> Request<O> {
///     read.synced()
/// }
/// ```
pub trait Read: Operation {}

/// A read that can be watched. Implemented by the operations of
/// [`Client::get`](crate::Client::get), [`exists`](crate::Client::exists) and
/// [`children`](crate::Client::children).
///
/// ```
/// use homing::{Request, Watchable, ops::Watched};
/// fn watch<O: Watchable>(read: Request<O>) -> Request<Watched<O>> {
///     read.watch().synced()
/// }
/// ```
pub trait Watchable: Read {
    #[doc(hidden)]
    const KIND: WatchKind;

    #[doc(hidden)]
    fn set_watch(&mut self, watch: bool);
}

impl<O: Watchable> Request<O> {
    /// Has the server tell of the next change: the answer comes with a [`Watcher`].
    ///
    /// | request | told of |
    /// | --- | --- |
    /// | `get` | the data being set, the node being deleted |
    /// | `exists` | the same, and the node being created if it does not exist |
    /// | `children` | a child being created or deleted, the node itself being deleted |
    ///
    /// A `get` or `children` that fails watches nothing; an `exists` of a missing node does. The
    /// watcher has the event before any answer of this session that shows the change. A lost
    /// connection loses no event: after the next one the servers are asked what has changed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::EventType;
    /// client.create("/config", b"v1").await?;
    /// let (node, changed) = client.get("/config").watch().await?;
    /// assert_eq!(node.data, "v1");
    ///
    /// client.set("/config", b"v2").await?; // by anybody
    /// let event = changed.await?;
    /// assert_eq!((event.kind, event.path.as_str()), (EventType::NodeDataChanged, "/config"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(self) -> Request<Watched<O>> {
        self.map(|mut op| {
            op.set_watch(true);
            Watched { op, watcher: None }
        })
    }
}

impl<O: Read> Request<O> {
    /// Puts a sync in line right before it, so that it sees everything that was written, by
    /// anybody, before it was submitted. Costs no time of its own on the way; the server waits
    /// for its leader.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/leader", b"host-1").await?;
    /// let node = client.get("/leader").synced().await?;
    /// assert_eq!(node.data, "host-1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn synced(mut self) -> Self {
        self.set_synced();
        self
    }
}

/// A read that also watches; see [`Request::watch`].
///
/// ```
/// use homing::{Client, Request, ops::{Get, Watched}};
/// fn follow<'a>(client: &Client, path: &'a str) -> Request<Watched<Get<'a>>> {
///     client.get(path).watch()
/// }
/// ```
#[derive(Debug)]
pub struct Watched<O> {
    op: O,
    /// From the submission until the answer.
    watcher: Option<Watcher>,
}

impl<O: Clone> Clone for Watched<O> {
    /// The same question; the watcher is another one.
    fn clone(&self) -> Self {
        let op = self.op.clone();
        Self { op, watcher: None }
    }
}

impl<O> sealed::Sealed for Watched<O> {}

impl<O: Watchable> Read for Watched<O> {}

impl<O: Watchable> Operation for Watched<O> {
    type Output = (O::Output, Watcher);
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

    fn check_path(&self) -> Result<(), Error> {
        self.op.check_path()
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> O::Body<'b> {
        self.op.body(scope)
    }

    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        let path = scope.server_path(self.op.path()).to_string();
        let (note, watch) = scope.core.shared.watches.prepare(O::KIND, path);
        self.watcher = Some(Watcher {
            scope: Arc::clone(scope),
            watch,
            era: scope.era(),
            is_done: false,
        });
        Note::Watch(Box::new(note))
    }

    fn line_up(&mut self, scope: &Scope) {
        if let Some(watcher) = &self.watcher {
            let watches = &scope.core.shared.watches;
            self.op.set_watch(watches.line_up(&watcher.watch));
        }
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Self::Output, DecodeError> {
        let output = self.op.decode(scope, frame)?;
        Ok((output, self.take_watcher()))
    }

    fn recover(&mut self, code: ErrorCode) -> Option<Self::Output> {
        let output = self.op.recover(code)?;
        Some((output, self.take_watcher()))
    }
}

impl<O> Watched<O> {
    fn take_watcher(&mut self) -> Watcher {
        self.watcher
            .take()
            .expect("a request is prepared before it is in line, and answered once")
    }
}

/// Waits for one change of one node: a future of its event. See [`Request::watch`]. As a stream
/// it has that event, and ends; [`PersistentWatcher`](crate::PersistentWatcher) goes on.
///
/// It stays pending while the session is suspended. Dropping it ends the watch, at the server too
/// once no other watcher of this client is left on that path.
///
/// # Errors
/// [`Error::SessionEnded`] or [`Error::Closed`] when the session is over.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let (stat, created) = client.exists("/flag").watch().await?;
/// assert!(stat.is_none());
/// client.create("/flag", b"").await?;
/// assert_eq!(created.await?.to_string(), "NodeCreated \"/flag\"");
/// # Ok(())
/// # }
/// ```
#[must_use = "a watcher that is dropped watches nothing"]
pub struct Watcher {
    scope: Arc<Scope>,
    watch: WatchTicket,
    /// The era in which it was asked for.
    era: u64,
    is_done: bool,
}

impl Watcher {
    /// Blocks this thread until the event is there, or `timeout` has passed: then it is `None`,
    /// and the watcher goes on. `None` for no time-out.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
    /// use std::time::Duration;
    /// let (_, mut created) = client.exists("/flag").watch().wait()?;
    /// assert_eq!(created.wait(Duration::from_millis(1))?, None);
    /// client.create("/flag", b"").wait()?;
    /// assert!(created.wait(None)?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(
        &mut self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<WatchEvent>, Error> {
        let core = Arc::clone(&self.scope.core);
        let mut timeout = timeout
            .into()
            .map(|timeout| core.shared.queue.sleep(timeout));
        let waiting = poll_fn(|cx| {
            if let Poll::Ready(event) = self.poll_event(cx) {
                return Poll::Ready(event.map(Some));
            }
            match &mut timeout {
                Some(timeout) => Pin::new(timeout).poll(cx).map(|()| Ok(None)),
                None => Poll::Pending,
            }
        });
        block_on(&*core.driver, waiting).map_err(Error::must_not_block)?
    }

    /// Its event, or that the session is over; then `None`. A watcher that is a future can be
    /// awaited as often as it takes, in a `select` say, and is not used up.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let (_, mut created) = client.exists("/flag").watch().await?;
    /// client.create("/flag", b"").await?;
    /// assert!(matches!(created.next().await, Some(Ok(_))));
    /// assert!(created.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<WatchEvent, Error>> {
        poll_fn(|cx| self.poll_next_event(cx)).await
    }

    /// The node that is watched, as the handle knows it.
    pub fn path(&self) -> String {
        self.scope.client_path(&self.watch.path)
    }

    fn poll_next_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, Error>>> {
        match self.is_done {
            true => Poll::Ready(None),
            false => self.poll_event(cx).map(Some),
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchEvent, Error>> {
        let outcome = ready!(Pin::new(&mut self.watch.ticket).poll(cx));
        self.is_done = true;
        Poll::Ready(match outcome {
            Ok(event) => Ok(WatchEvent {
                path: self.scope.client_path(&event.path),
                ..event
            }),
            Err(end) => {
                self.scope.knows_the_end_of(self.era);
                let request = Subject {
                    op: "watch",
                    path: self.path(),
                };
                Err(Error::session_ended(request, Fate::NotSent, end))
            }
        })
    }
}

impl Future for Watcher {
    type Output = Result<WatchEvent, Error>;

    /// # Panics
    /// If it is polled again after it was ready, like most futures.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_event(cx)
    }
}

impl Stream for Watcher {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_event(cx)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The session does the rest: no task is spawned, nothing is waited for.
        let shared = &self.scope.core.shared;
        if !self.is_done && shared.watches.forget(&self.watch) {
            shared.queue.nudge();
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("path", &self.path())
            .field("is_done", &self.is_done)
            .finish()
    }
}
