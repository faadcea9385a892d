//! What users tell a session, beside requests.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use homing_transport::{Slot, Ticket};

use crate::connect_string::Server;
use crate::status::{Connection, SessionEnd};

/// How a move to another connection ends: the session is connected again, or it is over.
pub type Moved = Result<Connection, SessionEnd>;

/// A mailbox: users put in, the session takes out at its next turn.
#[derive(Default)]
pub(crate) struct Control {
    /// Looked at in every turn, in place of the lock.
    has_mail: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    mail: Mail,
    /// Nobody empties the mailbox any more.
    end: Option<SessionEnd>,
}

/// What is in the mailbox.
#[derive(Default)]
pub(crate) struct Mail {
    /// The servers from now on.
    pub(crate) servers: Option<Vec<Server>>,
    /// Who asked for another connection, and waits for it.
    pub(crate) reconnects: Vec<Arc<Slot<Moved>>>,
}

impl Control {
    /// The newest list counts.
    pub(crate) fn put_servers(&self, servers: Vec<Server>) {
        self.inner().mail.servers = Some(servers);
        self.has_mail.store(true, Ordering::Release);
    }

    pub(crate) fn put_reconnect(&self) -> Ticket<Moved> {
        let (slot, ticket) = Slot::new();
        let mut inner = self.inner();
        match &inner.end {
            Some(end) => drop(slot.fill(Err(end.clone()))),
            None => {
                inner.mail.reconnects.push(slot);
                self.has_mail.store(true, Ordering::Release);
            }
        }
        ticket
    }

    /// What was put in since the last time.
    pub(crate) fn take(&self) -> Option<Mail> {
        if !self.has_mail.load(Ordering::Acquire) {
            // Whoever puts something in nudges the queue afterwards: it is seen then.
            return None;
        }
        let mut inner = self.inner();
        self.has_mail.store(false, Ordering::Release);
        Some(std::mem::take(&mut inner.mail))
    }

    /// The session is over: whoever waits is told, also later.
    pub(crate) fn close(&self, end: &SessionEnd, wakers: &mut Vec<Waker>) {
        let mut inner = self.inner();
        inner.end = Some(end.clone());
        let mail = std::mem::take(&mut inner.mail);
        drop(inner);
        for slot in mail.reconnects {
            wakers.extend(slot.fill(Err(end.clone())).ok().flatten());
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
