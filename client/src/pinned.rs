//! Which session a request is for, where one follows another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use homing_session::SessionEnd;
use homing_transport::{Fate, Refused};

use crate::client::{Client, Core, Scope};
use crate::error::{Error, Subject};

impl Client {
    /// A handle to the session that there is now, and to no other: once that is over its requests
    /// fail with [`Error::SessionEnded`], whatever session follows. For everything that is only
    /// right while this very session lives: ephemeral nodes, locks, and what is written in their
    /// protection.
    ///
    /// It makes a difference to a client that [renews](crate::Builder::on_expiry) its session.
    /// Other handles to such a client go on with the next session after one of them was told, by
    /// an error, that the last one is over; with several tasks at work, that was perhaps another
    /// task's. While there is a pinned handle, the session is in use, and
    /// [`close_idle_after`](crate::Builder::close_idle_after) does not close it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let servers = server.connect_string();
    /// use homing::{Client, Error, OnExpiry};
    /// let client = Client::builder(&servers).on_expiry(OnExpiry::Renew).connect().await?;
    /// let mut changes = client.state_changes();
    ///
    /// let session = client.pinned();
    /// session.create("/leader", b"me").ephemeral().await?;
    /// # server.expire_session(client.credentials().unwrap().session_id());
    /// while let Some(change) = changes.next().await {
    ///     if change.renewed.is_some() {
    ///         break; // "/leader" is gone; begin anew, with another pinned handle
    ///     }
    /// }
    /// let error = session.set("/leader", b"still me").await.unwrap_err();
    /// assert!(matches!(error, Error::SessionEnded { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn pinned(&self) -> Self {
        let scope = &self.scope;
        let now = || Hold::new(&scope.core, scope.core.shared.queue.era());
        let hold = scope.hold.clone().unwrap_or_else(now);
        Self::with_scope(Scope {
            core: Arc::clone(&scope.core),
            chroot: scope.chroot.clone(),
            hold: Some(hold),
        })
    }
}

/// Holds on to one session.
#[derive(Debug)]
pub(crate) struct Hold {
    core: Arc<Core>,
    era: u64,
}

impl Hold {
    fn new(core: &Arc<Core>, era: u64) -> Arc<Self> {
        core.shared.hold();
        Arc::new(Self {
            core: Arc::clone(core),
            era,
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.core.shared.release();
    }
}

impl Scope {
    /// The era that a request of now is for: the one of which the handle knows.
    pub(crate) fn era(&self) -> u64 {
        match &self.hold {
            Some(hold) => hold.era,
            None => self.core.known_era.load(Ordering::Acquire),
        }
    }

    /// Whether the session that the handle is pinned to has ended, and another one stands in its
    /// place.
    pub(crate) fn is_over(&self) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| hold.era != self.core.shared.queue.era())
    }

    /// How the last session has ended that was followed by another.
    pub(crate) fn end(&self) -> SessionEnd {
        let report = self.core.shared.status.report();
        report.map_or(SessionEnd::Closed, |report| report.end.clone())
    }

    /// Somebody learns by an error that the session of this era is over: what is asked from now
    /// on is for the next one.
    pub(crate) fn knows_the_end_of(&self, era: u64) {
        if self.hold.is_none() {
            let next = (era + 1).min(self.core.shared.queue.era());
            self.core.known_era.fetch_max(next, Ordering::AcqRel);
        }
    }

    /// For several requests that are one: they are for the session that a request of now is for,
    /// and for no other.
    pub(crate) fn pinned(self: &Arc<Self>) -> Arc<Self> {
        if self.hold.is_some() {
            return Arc::clone(self);
        }
        Arc::new(Self {
            core: Arc::clone(&self.core),
            chroot: self.chroot.clone(),
            hold: Some(Hold::new(&self.core, self.era())),
        })
    }

    /// What has become of requests that were [pinned](Self::pinned) is told.
    pub(crate) fn told<T>(&self, pinned: &Self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::SessionEnded { .. }) = outcome {
            self.knows_the_end_of(pinned.era());
        }
        outcome
    }

    /// Why a submission in this era was refused, in the terms of the facade.
    pub(crate) fn refused(&self, request: Subject, era: u64, refused: Refused) -> Error {
        if refused != Refused::Outdated {
            return self.core.refused(request, refused);
        }
        let shared = &self.core.shared;
        // Told once, however many have followed each other meanwhile.
        if self.hold.is_none() {
            let now = shared.queue.era();
            self.core.known_era.fetch_max(now, Ordering::AcqRel);
        }
        let end = shared.status.end_of(era).unwrap_or(SessionEnd::Closed);
        Error::session_ended(request, Fate::NotSent, end)
    }
}
