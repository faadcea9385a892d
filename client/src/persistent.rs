//! Watches that stay: a stream of what happens.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use homing_session::{LastingWatch, WatchEnd, WatchEvent, WatchItem};
use homing_transport::{Fate, block_on, clock};

use crate::client::Scope;
use crate::error::{Error, Subject};

/// Watches a node, or a node and all below it, until it is dropped: a stream of what happens. See
/// [`Client::watch`](crate::Client::watch).
///
/// An item is one of three things, and when there is nothing to tell, nothing is missing:
/// - [`WatchItem::Event`]: a change, told before any answer of this session that shows it.
/// - [`WatchItem::Gap`]: the connection was lost, and the watch is set again on another one.
///   Changes in between were not told, and will not be. Read again what matters, or ask
///   [`changed_since`](crate::Client::changed_since) the gap began.
/// - [`WatchItem::Overflow`]: more came than the
///   [backlog](crate::Builder::watch_backlog) holds while nobody asked. Nobody else is slowed
///   down by a watcher that is slow.
///
/// It says nothing while the session is suspended. It ends with an error, once, when the session
/// does; and if the session moves to a server that is too old for such watches. Dropping it ends
/// the watch, at the server too once no other watcher of this client is left on that path.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// use homing::WatchItem;
/// let mut changes = client.watch("/app").recursive().await?;
/// # client.create("/app", b"").await?;
/// # client.close().await?;
/// while let Some(item) = changes.next().await {
///     match item {
///         Ok(WatchItem::Event(event)) => println!("{:?} {}", event.kind, event.path),
///         Ok(item) => println!("{item}: read everything again"),
///         Err(end) => println!("{end}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a watcher that is dropped watches nothing"]
pub struct PersistentWatcher {
    scope: Arc<Scope>,
    watch: LastingWatch,
    /// The era in which it was asked for.
    era: u64,
    end: Option<Error>,
}

impl PersistentWatcher {
    pub(crate) fn new(scope: &Arc<Scope>, watch: LastingWatch) -> Self {
        Self {
            scope: Arc::clone(scope),
            watch,
            era: scope.era(),
            end: None,
        }
    }

    pub(crate) fn watch(&self) -> &LastingWatch {
        &self.watch
    }

    /// What it tells next; behind everything else the error with which it ends, and then `None`.
    pub async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// Blocks this thread until there is something to tell, or `timeout` has passed: then it is
    /// `None`, and the watcher goes on. `None` for no time-out.
    ///
    /// # Errors
    /// How it has ended, behind everything else and from then on whenever it is asked;
    /// [`Error::Misuse`] on a thread that must not be blocked.
    ///
    /// ```
    /// # fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
    /// use std::time::Duration;
    /// let mut changes = client.watch("/a").wait()?;
    /// assert_eq!(changes.wait(Duration::from_millis(1))?, None);
    /// client.create("/a", b"").wait()?;
    /// assert_eq!(changes.wait(None)?.unwrap().to_string(), "NodeCreated \"/a\"");
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(
        &mut self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<WatchItem>, Error> {
        let core = Arc::clone(&self.scope.core);
        let mut timeout = timeout
            .into()
            .map(|timeout| core.shared.queue.sleep(timeout));
        let waiting = poll_fn(|cx| {
            if let Poll::Ready(item) = self.poll_item(cx) {
                return Poll::Ready(match (item, &self.end) {
                    (Some(item), _) => item.map(Some),
                    (None, Some(end)) => Err(end.clone()),
                    (None, None) => Ok(None),
                });
            }
            match &mut timeout {
                Some(timeout) => Pin::new(timeout).poll(cx).map(|()| Ok(None)),
                None => Poll::Pending,
            }
        });
        block_on(&*core.driver, waiting).map_err(Error::must_not_block)?
    }

    /// The node that is watched, as the handle knows it.
    pub fn path(&self) -> String {
        self.scope.client_path(&self.watch.path)
    }

    /// Whether everything below the node is watched too.
    pub fn is_recursive(&self) -> bool {
        self.watch.recursive
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchItem, Error>>> {
        let item = match ready!(self.watch.poll(cx)) {
            Some(Ok(item)) => Ok(self.as_seen_here(item)),
            Some(Err(end)) => {
                let end = self.ended(end);
                self.end = Some(end.clone());
                Err(end)
            }
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(item))
    }

    fn as_seen_here(&self, item: WatchItem) -> WatchItem {
        match item {
            WatchItem::Event(event) => WatchItem::Event(WatchEvent {
                path: self.scope.client_path(&event.path),
                ..event
            }),
            WatchItem::Gap(mut gap) => {
                gap.lost_at = clock::awake(gap.lost_at);
                WatchItem::Gap(gap)
            }
            other => other,
        }
    }

    fn ended(&self, end: WatchEnd) -> Error {
        let request = Subject {
            op: "watch",
            path: self.path(),
        };
        match end {
            WatchEnd::Session(end) => {
                self.scope.knows_the_end_of(self.era);
                Error::session_ended(request, Fate::NotSent, end)
            }
            end => Error::WatchEnded { request, end },
        }
    }
}

impl Stream for PersistentWatcher {
    type Item = Result<WatchItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl Drop for PersistentWatcher {
    fn drop(&mut self) {
        // The session does the rest: no task is spawned, nothing is waited for.
        let shared = &self.scope.core.shared;
        if shared.watches.forget_lasting(&self.watch) {
            shared.queue.nudge();
        }
    }
}

impl fmt::Debug for PersistentWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistentWatcher")
            .field("path", &self.path())
            .field("is_recursive", &self.is_recursive())
            .finish_non_exhaustive()
    }
}
