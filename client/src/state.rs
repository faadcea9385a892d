//! A session's states, one after the other.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use homing_session::{Connection, Renewal, SessionEnd, SessionState, StateChange};
use homing_transport::{Fate, Ticket, block_on, clock};

use crate::client::{Core, Scope};
use crate::error::{Error, Subject};

/// The states of a session, beginning with the one at hand; ends after
/// [`SessionState::Ended`]. See [`Client::state_changes`](crate::Client::state_changes).
///
/// A reader that is slow misses states rather than blocking anybody, and is told how many:
/// [`StateChange::missed`]. It does not miss that another session has followed
/// ([`StateChange::renewed`]): that is told with the next [`SessionState::Connected`] that it
/// sees.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let mut changes = client.state_changes();
/// client.close().await?;
/// while let Some(change) = changes.next().await {
///     println!("{}", change.state);
/// }
/// # Ok(())
/// # }
/// ```
pub struct StateChanges {
    core: Arc<Core>,
    key: u64,
    /// How many states were seen or missed.
    seen: u64,
    /// The id of the session that this stream knew last.
    session: Option<i64>,
    done: bool,
}

impl StateChanges {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let (key, seen) = core.shared.status.listen();
        let session = core.shared.status.credentials();
        Self {
            core,
            key,
            seen,
            session: session.map(|credentials| credentials.session_id()),
            done: false,
        }
    }

    /// The next state; `None` after the last.
    pub async fn next(&mut self) -> Option<StateChange> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    /// Blocks this thread until the next state; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait_next(&mut self) -> Result<Option<StateChange>, Error> {
        let driver = Arc::clone(&self.core.driver);
        block_on(&*driver, self.next()).map_err(Error::must_not_block)
    }

    pub(crate) fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<StateChange>> {
        if self.done {
            return Poll::Ready(None);
        }
        let status = &self.core.shared.status;
        let (seen, mut change) = std::task::ready!(status.poll_change(self.key, self.seen, cx));
        self.seen = seen;
        self.done = matches!(change.state, SessionState::Ended(_));
        change.state = change.state.map_instants(clock::awake);
        change.renewed = self.renewed(&change.state);
        Poll::Ready(Some(change))
    }
}

impl StateChanges {
    /// Whether this is the first that is seen of another session.
    fn renewed(&mut self, state: &SessionState) -> Option<Renewal> {
        let connection = match state {
            SessionState::Connected(connection) => connection,
            SessionState::Renewing(SessionEnd::Expired { session_id })
            | SessionState::Renewing(SessionEnd::Replaced { session_id, .. })
            | SessionState::Renewing(SessionEnd::PresumedExpired { session_id, .. }) => {
                // A stream that begins in between has not known it yet.
                self.session.get_or_insert(*session_id);
                return None;
            }
            _ => return None,
        };
        let new = connection.session_id;
        let old = self.session.filter(|old| *old != new);
        // A session that was begun at a read-only server has nothing that could be lost.
        self.session = match connection.read_only && self.session != Some(new) {
            true => None,
            false => Some(new),
        };
        old.map(|old| Renewal { old, new })
    }
}

impl Stream for StateChanges {
    type Item = StateChange;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StateChange>> {
        self.poll_change(cx)
    }
}

impl Drop for StateChanges {
    fn drop(&mut self) {
        self.core.shared.status.unlisten(self.key);
    }
}

impl fmt::Debug for StateChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateChanges")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// Waits for a connection; see [`Client::connected`](crate::Client::connected). `.await` it, or
/// `.wait()` for it on a plain thread.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let servers = server.connect_string();
/// let client = homing::Client::builder(&servers).start()?;
/// let connection = client.connected().await?;
/// # let _ = connection;
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct WhenConnected {
    changes: StateChanges,
    timeout: Option<Ticket<()>>,
    chroot: String,
}

impl WhenConnected {
    pub(crate) fn new(scope: &Arc<Scope>) -> Self {
        Self {
            changes: StateChanges::new(Arc::clone(&scope.core)),
            timeout: None,
            chroot: scope.chroot.clone(),
        }
    }

    /// How long it may take, from now on; by default as long as the session lasts. After that it
    /// ends with [`Error::Deadline`], and the client goes on trying.
    pub fn within(mut self, duration: Duration) -> Self {
        self.timeout = Some(self.changes.core.shared.queue.sleep(duration));
        self
    }

    /// Blocks this thread until the session is connected.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait(self) -> Result<Connection, Error> {
        let driver = Arc::clone(&self.changes.core.driver);
        block_on(&*driver, self).map_err(Error::must_not_block)?
    }

    fn request(&self) -> Subject {
        Subject {
            op: "connect",
            path: self.chroot.clone(),
        }
    }

    fn ended(&self, end: SessionEnd) -> Error {
        Error::session_ended(self.request(), Fate::NotSent, end)
    }
}

impl Future for WhenConnected {
    type Output = Result<Connection, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Poll::Ready(change) = self.changes.poll_change(cx) {
            match change.map(|change| change.state) {
                Some(SessionState::Connected(connection)) => return Poll::Ready(Ok(connection)),
                Some(SessionState::Ended(end)) => return Poll::Ready(Err(self.ended(end))),
                Some(SessionState::Dormant) => self.changes.core.shared.open(),
                Some(_) => {}
                None => return Poll::Ready(Err(self.ended(SessionEnd::Closed))),
            }
        }
        match &mut self.timeout {
            Some(timeout) => Pin::new(timeout).poll(cx).map(|()| {
                let (request, fate) = (self.request(), Fate::NotSent);
                Err(Error::Deadline { request, fate })
            }),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for WhenConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhenConnected").finish_non_exhaustive()
    }
}
