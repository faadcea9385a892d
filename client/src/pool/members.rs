//! The sessions of a pool: which to ask, when to start another.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use homing_session::{SessionEnd, SessionState};
use homing_transport::{Driver, Fate, Ticket, clock};

use super::PoolStats;
use crate::builder::Builder;
use crate::client::{Client, Scope};
use crate::error::{Error, Subject};

/// A handle to a pool: the sessions are closed with the last one. Reads that are under way hold
/// none, so that they keep no session alive.
pub(super) struct Handle(Arc<Members>);

pub(super) struct Members {
    builder: Builder,
    capacity: usize,
    grow_at: usize,
    handles: AtomicUsize,
    inner: Mutex<Inner>,
    pub(super) counts: Counts,
}

/// See [`PoolStats`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) discarded: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) repeated: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// At most `capacity`.
    sessions: Vec<Member>,
    /// Where the next look for a session begins, so that each has its turn.
    next: usize,
    started: u64,
    failed: u64,
    is_closed: bool,
    /// How many sessions in a row could not be started, or ended soon.
    failures: u32,
    /// The pause after the last of them.
    not_before: Option<Instant>,
    why: Option<NoSession>,
}

struct Member {
    id: u64,
    client: Client,
    started_at: Instant,
}

/// Why there is no session.
#[derive(Debug, Clone)]
pub(super) enum NoSession {
    /// The pool was closed.
    Closed,
    NotStarted(Error),
    Ended(SessionEnd),
}

/// A session that a read goes to.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) id: u64,
    pub(super) scope: Arc<Scope>,
}

/// What a read is to do next.
pub(super) enum Choice {
    Ask(Chosen),
    /// None is connected: wait for a change of one of these, or until another may be started.
    Wait(Vec<Chosen>, Option<Instant>),
}

/// What a read needs of its session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    /// What its user has seen.
    pub(super) floor: i64,
    /// The session whose reply was older than that.
    pub(super) stale: Option<u64>,
    /// It may start another session although there is one for it: once for each read.
    pub(super) may_grow: bool,
}

/// A session that lived for so long has not failed, whatever ended it.
const LIVES_WELL_AFTER: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Members {
    pub(super) fn new(builder: Builder, capacity: usize, grow_at: usize) -> Self {
        Self {
            builder,
            capacity,
            grow_at,
            handles: AtomicUsize::new(0),
            inner: Mutex::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn default_deadline(&self) -> Option<Duration> {
        self.builder.default_deadline()
    }

    /// Which session a read is to go to. Starts another one if it takes that.
    ///
    /// # Errors
    /// The pool is closed; or there is no session, and it was not possible to start one, or is
    /// too early to try again.
    pub(super) fn choose(&self, wish: Wish) -> Result<Choice, NoSession> {
        let mut inner = self.inner();
        let ended = inner.take_ended();
        let choice = self.choose_from(&mut inner, wish);
        drop(inner);
        // Now that the lock is gone: dropping a client can run a driver's code.
        drop(ended);
        choice
    }

    fn choose_from(&self, inner: &mut Inner, wish: Wish) -> Result<Choice, NoSession> {
        if inner.is_closed {
            return Err(NoSession::Closed);
        }
        let best = inner.best(wish, self.grow_at.max(1));
        let is_busy = |best| wish.may_grow && inner.in_flight(best) >= self.grow_at;
        if best.is_none_or(is_busy) {
            self.grow(inner);
        }
        if let Some(best) = best {
            inner.next = best + 1;
            return Ok(Choice::Ask(inner.sessions[best].chosen()));
        }
        match &inner.why {
            Some(why) if inner.sessions.is_empty() => Err(why.clone()),
            // Whoever is not to wait is told so by a session.
            _ if self.builder.fails_fast() => {
                inner.next = (inner.next + 1) % inner.sessions.len().max(1);
                let chosen = inner.sessions.get(inner.next).map(Member::chosen);
                Ok(chosen.map_or(Choice::Wait(Vec::new(), None), Choice::Ask))
            }
            _ => {
                let chosen = inner.sessions.iter().map(Member::chosen);
                let may_grow = inner.sessions.len() < self.capacity;
                let until = inner.not_before.filter(|at| may_grow && clock::now() < *at);
                Ok(Choice::Wait(chosen.collect(), until))
            }
        }
    }

    /// Starts another session, if there is room, the last failure is long enough ago, and none
    /// is being connected already.
    ///
    /// The lock is held meanwhile: whoever needs a session now would have to wait for this one.
    fn grow(&self, inner: &mut Inner) {
        let now = clock::now();
        let is_early = inner.not_before.is_some_and(|at| now < at);
        let is_full = inner.sessions.len() >= self.capacity;
        if is_early || is_full || inner.sessions.iter().any(Member::is_connecting) {
            return;
        }
        match self.builder.nth(inner.started).start() {
            Ok(client) => {
                inner.sessions.push(Member {
                    id: inner.started,
                    client,
                    started_at: now,
                });
                inner.started += 1;
            }
            Err(error) => inner.has_failed(now, NoSession::NotStarted(error), 0),
        }
    }

    /// Whether this thread may be blocked until a read is answered.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it must not.
    pub(super) fn may_block(&self) -> Result<(), Error> {
        // All have the same transport.
        let driver = match self.inner().sessions.first() {
            Some(member) => member.chosen().driver(),
            None => return Ok(()),
        };
        driver.may_block().map_err(Error::must_not_block)
    }

    /// The sessions that are to be closed. There are no others from now on.
    pub(super) fn close(&self) -> Vec<Client> {
        let mut inner = self.inner();
        inner.is_closed = true;
        let clients = inner.sessions.iter().map(|member| member.client.clone());
        clients.collect()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let inner = self.inner();
        let mut stats = PoolStats {
            capacity: self.capacity,
            started: inner.started,
            failed: inner.failed,
            discarded: self.counts.discarded.load(Ordering::Relaxed),
            syncs: self.counts.syncs.load(Ordering::Relaxed),
            repeated: self.counts.repeated.load(Ordering::Relaxed),
            ..PoolStats::default()
        };
        for member in &inner.sessions {
            stats.in_flight += member.client.in_flight().requests;
            match member.client.state() {
                SessionState::Connecting | SessionState::Renewing(_) => stats.connecting += 1,
                SessionState::Dormant => stats.dormant += 1,
                SessionState::Connected(_) => stats.connected += 1,
                SessionState::Suspended { .. } => stats.suspended += 1,
                SessionState::Ended(_) if !inner.is_closed => stats.failed += 1,
                _ => {}
            }
        }
        stats
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes out the sessions that are over.
    fn take_ended(&mut self) -> Vec<Member> {
        let now = clock::now();
        let is_over = |member: &mut Member| member.end().is_some();
        let ended: Vec<_> = match self.is_closed {
            // They are to be found by whoever closes the pool again.
            true => Vec::new(),
            false => self.sessions.extract_if(.., is_over).collect(),
        };
        for member in &ended {
            let Some(end) = member.end() else { continue };
            let was_connected = member.client.stats().session.connections > 0;
            if was_connected && now.duration_since(member.started_at) >= LIVES_WELL_AFTER {
                self.failures = 0;
            }
            // The first that ends is replaced at once: sessions do expire.
            self.has_failed(now, NoSession::Ended(end), u32::from(was_connected));
        }
        ended
    }

    /// Notes a failure, of which the first `free` ones in a row cost no pause.
    fn has_failed(&mut self, now: Instant, why: NoSession, free: u32) {
        self.failed += 1;
        self.failures = self.failures.saturating_add(1);
        self.not_before = match self.failures.saturating_sub(free) {
            0 => None,
            n => Some(now + pause_after(n)),
        };
        self.why = Some(why);
    }

    /// The place of the best session, of those that are connected or will be once they are asked.
    fn best(&self, wish: Wish, grow_at: usize) -> Option<usize> {
        let ready = || {
            let all = self.sessions.iter().enumerate();
            all.filter(|(_, member)| member.is_ready())
        };
        if wish.stale.is_some() {
            let up_to_date = ready().filter(|(_, member)| member.chosen().has_seen(wish.floor));
            let best = self.least_busy(up_to_date, wish, grow_at);
            // A session that is behind is brought up to date by a sync: the same one, so that
            // the others need none.
            let same = || ready().find(|(_, member)| Some(member.id) == wish.stale);
            if let Some(best) = best.or_else(|| same().map(|(at, _)| at)) {
                return Some(best);
            }
        }
        self.least_busy(ready(), wish, grow_at)
    }

    fn least_busy<'a>(
        &self,
        members: impl Iterator<Item = (usize, &'a Member)>,
        wish: Wish,
        grow_at: usize,
    ) -> Option<usize> {
        let len = self.sessions.len();
        let start = self.next % len.max(1);
        let rank = |&(at, member): &(usize, &Member)| {
            let turn = (at + len - start) % len;
            // One that sleeps is woken when another would have to be started.
            let asleep = if member.is_dormant() { grow_at } else { 0 };
            let requests = asleep + member.client.in_flight().requests;
            (requests, member.is_behind(wish.floor), turn)
        };
        members.min_by_key(rank).map(|(at, _)| at)
    }

    fn in_flight(&self, at: usize) -> usize {
        self.sessions[at].client.in_flight().requests
    }
}

/// The pause after so many failures in a row: it doubles, and is of any length between half of
/// that and all of it, so that many pools do not come back together.
fn pause_after(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1));
    let whole = doubled.map_or(PAUSE_MAX, |times| PAUSE_MIN.saturating_mul(times));
    whole
        .min(PAUSE_MAX)
        .mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

impl NoSession {
    /// What it is to a read of which this has become so far.
    pub(super) fn into_error(self, request: Subject, fate: Fate) -> Error {
        match self {
            Self::Closed => Error::session_ended(request, fate, SessionEnd::Closed),
            Self::NotStarted(error) => error,
            Self::Ended(end) => Error::session_ended(request, fate, end),
        }
    }
}

impl Member {
    fn chosen(&self) -> Chosen {
        Chosen {
            id: self.id,
            scope: Arc::clone(&self.client.scope),
        }
    }

    fn is_ready(&self) -> bool {
        let state = self.client.state();
        matches!(state, SessionState::Connected(_) | SessionState::Dormant)
    }

    fn is_dormant(&self) -> bool {
        matches!(self.client.state(), SessionState::Dormant)
    }

    fn is_connecting(&self) -> bool {
        let state = self.client.state();
        matches!(state, SessionState::Connecting | SessionState::Renewing(_))
    }

    fn end(&self) -> Option<SessionEnd> {
        self.client.scope.core.shared.status.end()
    }

    /// Whether its server may know less than a user has seen.
    fn is_behind(&self, floor: i64) -> bool {
        self.client.last_zxid() < floor
    }
}

impl Chosen {
    pub(super) fn driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.scope.core.driver)
    }

    /// A timer of this session's driver; it goes off at once when the session is over.
    pub(super) fn sleep(&self, duration: Duration) -> Ticket<()> {
        self.scope.core.shared.queue.sleep(duration)
    }

    /// Whether its server is known to be up to date for a user who has seen so much. One whose
    /// replies have told so much never tells less: the session would give its connection up.
    pub(super) fn has_seen(&self, floor: i64) -> bool {
        // Of one that tells nothing, nothing is known.
        self.scope.core.shared.status.last_zxid() >= floor.max(1)
    }
}

impl Handle {
    pub(super) fn new(members: Arc<Members>) -> Self {
        members.handles.fetch_add(1, Ordering::Relaxed);
        Self(members)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Deref for Handle {
    type Target = Arc<Members>;

    fn deref(&self) -> &Arc<Members> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut inner = self.0.inner();
            inner.is_closed = true;
            let sessions = std::mem::take(&mut inner.sessions);
            drop(inner);
            // Each is closed in the background.
            drop(sessions);
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_closed = self.inner().is_closed;
        f.debug_struct("Pool")
            .field("stats", &self.stats())
            .field("is_closed", &is_closed)
            .finish_non_exhaustive()
    }
}
