//! What stands behind a port: a server that stands alone, or a member of an ensemble.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use mio::Waker;

use crate::ensemble::Ensemble;
use crate::server::{Now, Server};

/// What a port's thread shares with whoever has a handle.
#[derive(Debug, Clone)]
pub(crate) enum Served {
    Alone(Arc<Mutex<Server>>),
    Member(Arc<Shared>, usize),
}

/// An ensemble, and how to wake the threads of its members.
#[derive(Debug)]
pub(crate) struct Shared {
    ensemble: Mutex<Ensemble>,
    /// In the order of the members.
    wakers: Mutex<Vec<Arc<Waker>>>,
}

/// A server that nobody else touches meanwhile.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    Alone(MutexGuard<'a, Server>),
    Member(Held<'a>, usize),
}

/// The same of an ensemble. Whoever has something to do in consequence is woken when it is let go.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    ensemble: MutexGuard<'a, Ensemble>,
    shared: &'a Shared,
    /// When it was due before.
    due: Option<Instant>,
}

impl Served {
    pub(crate) fn alone(server: Server) -> Self {
        Self::Alone(Arc::new(Mutex::new(server)))
    }

    /// Also behind a test that has panicked while it looked at it.
    pub(crate) fn access(&self) -> Access<'_> {
        match self {
            Self::Alone(server) => {
                Access::Alone(server.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Self::Member(shared, index) => Access::Member(shared.hold(), *index),
        }
    }
}

impl Shared {
    pub(crate) fn new(ensemble: Ensemble) -> Self {
        Self {
            ensemble: Mutex::new(ensemble),
            wakers: Mutex::default(),
        }
    }

    /// One more thread that is to be woken, for the member that comes next.
    pub(crate) fn add_waker(&self, waker: Arc<Waker>) {
        self.wakers().push(waker);
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Arc<Waker>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self) -> Held<'_> {
        let ensemble = self.ensemble.lock();
        let ensemble = ensemble.unwrap_or_else(PoisonError::into_inner);
        Held {
            due: ensemble.poll_timeout(),
            ensemble,
            shared: self,
        }
    }
}

impl Access<'_> {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Alone(server) => server.poll_timeout(),
            Self::Member(held, _) => held.poll_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        match self {
            Self::Alone(server) => server.handle_timeout(now),
            Self::Member(held, _) => held.handle_timeout(now),
        }
    }

    /// Lets the ensemble do what follows from what its member was given.
    pub(crate) fn settle(&mut self, now: Now) {
        if let Self::Member(held, _) = self {
            held.settle(now);
        }
    }

    pub(crate) fn expire_session(&mut self, now: Now, session: i64) -> bool {
        match self {
            Self::Alone(server) => server.expire_session(now, session),
            Self::Member(held, _) => held.expire_session(now, session),
        }
    }

    /// The process is gone. A server that stands alone notices when it is started again.
    pub(crate) fn handle_stop(&mut self, now: Now) {
        if let Self::Member(held, index) = self {
            held.stop(now, *index);
        }
    }

    pub(crate) fn handle_restart(&mut self, now: Now) {
        match self {
            Self::Alone(server) => server.handle_restart(now),
            Self::Member(held, index) => held.restart(now, *index),
        }
    }
}

impl Deref for Access<'_> {
    type Target = Server;

    fn deref(&self) -> &Server {
        match self {
            Self::Alone(server) => server,
            Self::Member(held, index) => held.member(*index),
        }
    }
}

impl DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Server {
        match self {
            Self::Alone(server) => server,
            Self::Member(held, index) => held.member_mut(*index),
        }
    }
}

impl Deref for Held<'_> {
    type Target = Ensemble;

    fn deref(&self) -> &Ensemble {
        &self.ensemble
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Ensemble {
        &mut self.ensemble
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let is_rescheduled = self.ensemble.poll_timeout() != self.due;
        for (index, waker) in self.shared.wakers().iter().enumerate() {
            if is_rescheduled || self.ensemble.member(index).has_output() {
                // A thread that cannot be woken is gone.
                let _ = waker.wake();
            }
        }
    }
}

/// What time it is.
pub(crate) fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix_ms = since_epoch.map_or(0, |since| since.as_millis());
    Now {
        instant: Instant::now(),
        unix_ms: i64::try_from(unix_ms).unwrap_or(i64::MAX),
    }
}
