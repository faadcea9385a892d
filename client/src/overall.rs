//! One deadline over several requests.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use homing_session::{Cause, SessionEnd, SessionState, Shared};
use homing_transport::Ticket;

use crate::client::Core;
use crate::state::StateChanges;

/// A deadline that the driver's timer keeps, as it keeps those of single requests.
pub(crate) struct Overall {
    core: Arc<Core>,
    within: Option<Duration>,
    began_at: Instant,
    alarm: Option<Ticket<()>>,
    is_over: bool,
}

impl Overall {
    /// It counts from now on.
    pub(crate) fn begin(core: &Arc<Core>, within: Option<Duration>) -> Self {
        Self {
            core: Arc::clone(core),
            within,
            began_at: Instant::now(),
            alarm: within.map(|within| core.shared.queue.sleep(within)),
            is_over: false,
        }
    }

    /// What is left, for a request that knows better than anybody what became of it by then.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.within
            .map(|within| within.saturating_sub(self.began_at.elapsed()))
    }

    /// What comes of the future in time; `None` if nothing does.
    pub(crate) async fn bound<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| self.poll_bound(future.as_mut(), cx)).await
    }

    /// As [`bound`](Self::bound), polled by hand.
    pub(crate) fn poll_bound<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let alarm = self.alarm.as_mut();
        if alarm.is_some_and(|alarm| Pin::new(alarm).poll(cx).is_ready()) {
            self.alarm = None;
            // It also rings when the session ends, and then every request says so itself.
            self.is_over = self.core.shared.status.end().is_none();
        }
        if !self.is_over {
            return Poll::Pending;
        }
        // What has ended at the same time may be there by now.
        Poll::Ready(match future.poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    }

    /// Lets time pass. `false` if the deadline comes first.
    pub(crate) async fn sleep(&mut self, duration: Duration) -> bool {
        let pause = self.core.shared.queue.sleep(duration);
        self.bound(pause).await.is_some()
    }

    /// The id of the session of this era, as soon as there is one, or why there is none; `None` if
    /// the deadline comes first.
    pub(crate) async fn session_id(&mut self, era: u64) -> Option<Result<i64, Cause>> {
        let core = Arc::clone(&self.core);
        let mut changes = StateChanges::new(Arc::clone(&core));
        let known = poll_fn(|cx| {
            // The waker is there before anything is looked at, so that nothing is missed.
            while let Poll::Ready(Some(change)) = changes.poll_change(cx) {
                if change.state == SessionState::Dormant {
                    core.shared.open();
                }
            }
            session_id(&core.shared, era).map_or(Poll::Pending, Poll::Ready)
        });
        self.bound(known).await
    }
}

/// The id of the session of this era, or why there will be none; `None` while it takes waiting.
fn session_id(shared: &Shared, era: u64) -> Option<Result<i64, Cause>> {
    let status = &shared.status;
    if let Some(end) = status.end() {
        return Some(Err(Cause::Ended(end)));
    }
    if shared.queue.era() != era {
        let end = status.end_of(era).unwrap_or(SessionEnd::Closed);
        return Some(Err(Cause::Ended(end)));
    }
    if let Some(credentials) = status.credentials() {
        return Some(Ok(credentials.session_id()));
    }
    match status.state() {
        // It was begun at a read-only server, which says itself that it takes no writes.
        SessionState::Connected(connection) if connection.read_only => {
            Some(Ok(connection.session_id))
        }
        _ => status
            .unavailable()
            .map(|unavailable| Err(Cause::Unavailable(unavailable))),
    }
}
