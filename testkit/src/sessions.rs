//! Sessions: ids, passwords, and when they expire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use homing_protocol::SessionPassword;

use crate::server::{ConnectionId, Now};

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// What its first handshake was granted: all that is stored of it, and what a server goes by
    /// that has just begun with it.
    pub(crate) stored: Duration,
    /// What was granted to the connection that it was heard of by last.
    pub(crate) timeout: Duration,
    /// Who speaks for it at present.
    pub(crate) connection: Option<ConnectionId>,
    /// Only a server without a quorum knows it.
    pub(crate) is_local: bool,
    /// The tick in which it expires.
    expires: u64,
}

/// All sessions that are alive.
///
/// Expiry goes by ticks: the instant is (⌊(now + time-out) / tick⌋ + 1) × tick, so a session
/// lives between one time-out and one time-out and a tick after it was last heard of.
#[derive(Debug)]
pub(crate) struct Sessions {
    tick: Duration,
    /// Where ticks are counted from: the first instant that the server saw. There are no
    /// sessions before.
    origin: Option<Instant>,
    next_id: i64,
    alive: BTreeMap<i64, Session>,
    expiries: BTreeSet<(u64, i64)>,
}

impl Sessions {
    pub(crate) fn new(tick: Duration) -> Self {
        Self {
            tick: tick.max(Duration::from_millis(1)),
            origin: None,
            next_id: 1,
            alive: BTreeMap::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// Begins to count ticks and sessions. Later calls do nothing.
    pub(crate) fn begin(&mut self, now: Now, server_id: u8) {
        if self.origin.is_none() {
            self.origin = Some(now.instant);
            self.next_id = first_id(server_id, now.unix_ms);
        }
    }

    /// Begins a session.
    pub(crate) fn create(
        &mut self,
        now: Instant,
        timeout: Duration,
        connection: ConnectionId,
    ) -> i64 {
        let id = self.next_id();
        self.insert(now, id, timeout, Some(connection));
        id
    }

    /// The id of a session that is to begin.
    pub(crate) fn next_id(&mut self) -> i64 {
        let id = self.next_id;
        // Zero means "no session" on the wire.
        self.next_id = id.checked_add(1).filter(|next| *next != 0).unwrap_or(1);
        id
    }

    /// A session has begun, here or elsewhere.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        id: i64,
        timeout: Duration,
        connection: Option<ConnectionId>,
    ) {
        self.remove(id);
        let expires = self.tick_of_expiry(now, timeout);
        self.alive.insert(
            id,
            Session {
                stored: timeout,
                timeout,
                connection,
                is_local: false,
                expires,
            },
        );
        self.expiries.insert((expires, id));
    }

    /// Where ticks are counted from.
    pub(crate) fn origin(&self) -> Option<Instant> {
        self.origin
    }

    pub(crate) fn get(&self, id: i64) -> Option<&Session> {
        self.alive.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: i64) -> Option<&mut Session> {
        self.alive.get_mut(&id)
    }

    pub(crate) fn is_local(&self, id: i64) -> bool {
        self.alive.get(&id).is_some_and(|session| session.is_local)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Session)> {
        self.alive.iter().map(|(id, session)| (*id, session))
    }

    /// Notes that a session was heard of, by a connection that was granted this time-out. It may
    /// be another one than before, and let the session expire earlier.
    pub(crate) fn touch(&mut self, id: i64, now: Instant, timeout: Duration) {
        let expires = self.tick_of_expiry(now, timeout);
        let Some(session) = self.alive.get_mut(&id) else {
            return;
        };
        session.timeout = timeout;
        if session.expires != expires {
            self.expiries.remove(&(session.expires, id));
            self.expiries.insert((expires, id));
            session.expires = expires;
        }
    }

    /// Begins a session once more that is there, with whatever time-out: it is stored, and holds
    /// until the next touch. A session that would have been over long ago is never found to be.
    pub(crate) fn begin_again(&mut self, now: Instant, id: i64, timeout_ms: i32) {
        let timeout = Duration::from_millis(timeout_ms.unsigned_abs().into());
        let (stored, expires) = match timeout_ms {
            0.. => (timeout, self.tick_of_expiry(now, timeout)),
            _ => (Duration::ZERO, self.tick_of_old(now, timeout)),
        };
        if let Some(session) = self.alive.get_mut(&id) {
            session.stored = stored;
            self.expiries.remove(&(session.expires, id));
            self.expiries.insert((expires, id));
            session.expires = expires;
        }
    }

    /// When something expires that was over so long ago.
    fn tick_of_old(&self, now: Instant, ago: Duration) -> u64 {
        let then = now.checked_sub(ago).or(self.origin).unwrap_or(now);
        let tick = self.tick_of_expiry(then, Duration::ZERO);
        // Ticks are looked at when they come, and never again.
        match tick < self.tick_of_expiry(now, Duration::ZERO) {
            true => u64::MAX,
            false => tick,
        }
    }

    /// Begins anew with the sessions that are stored: nobody speaks for them, and each has the
    /// whole time of its first handshake, whatever later ones were granted.
    pub(crate) fn restart(&mut self, now: Instant) {
        let stored = self.alive.iter().map(|(id, session)| (*id, session.stored));
        for (id, stored) in stored.collect::<Vec<_>>() {
            self.touch(id, now, stored);
            if let Some(session) = self.alive.get_mut(&id) {
                session.connection = None;
            }
        }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.alive.clear();
        self.expiries.clear();
    }

    /// Notes that sessions of a server without a quorum are gone.
    pub(crate) fn forget_local(&mut self) {
        let local = self.alive.iter().filter(|(_, session)| session.is_local);
        let ids: Vec<i64> = local.map(|(id, _)| *id).collect();
        for id in ids {
            self.remove(id);
        }
    }

    pub(crate) fn remove(&mut self, id: i64) -> Option<Session> {
        let session = self.alive.remove(&id)?;
        self.expiries.remove(&(session.expires, id));
        Some(session)
    }

    /// When the next session expires if nothing is heard of it.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let (tick, _) = self.expiries.first()?;
        self.instant(*tick)
    }

    /// When a session expires if nothing is heard of it.
    pub(crate) fn expiry(&self, session: &Session) -> Option<Instant> {
        self.instant(session.expires)
    }

    /// A session whose time is over.
    pub(crate) fn expired(&self, now: Instant) -> Option<i64> {
        let (tick, id) = self.expiries.first()?;
        (self.instant(*tick)? <= now).then_some(*id)
    }

    fn tick_of_expiry(&self, now: Instant, timeout: Duration) -> u64 {
        let silent_until = self.origin.map_or(Duration::ZERO, |origin| {
            now.saturating_duration_since(origin)
                .saturating_add(timeout)
        });
        // In 64 bits, where a division is cheap: every request comes through here.
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        nanos(silent_until) / nanos(self.tick).max(1) + 1
    }

    /// `None` where the platform's clock has no such instant.
    fn instant(&self, tick: u64) -> Option<Instant> {
        let since = self.tick.as_nanos().saturating_mul(tick.into());
        let since = Duration::from_nanos(u64::try_from(since).unwrap_or(u64::MAX));
        self.origin?.checked_add(since)
    }
}

/// The first session id of a server: its own number in the top byte, the clock's low forty bits
/// below it, then sixteen zeros to count in.
pub(crate) fn first_id(server_id: u8, unix_ms: i64) -> i64 {
    let clock = unix_ms & 0xFF_FFFF_FFFF;
    match i64::from(server_id) << 56 | clock << 16 {
        0 => 1,
        id => id,
    }
}

/// The password of a session, which every server computes in the same way: Java's generator,
/// seeded with the id and a constant, gives sixteen bytes.
pub(crate) fn password(session: i64) -> SessionPassword {
    const SALT: i64 = 0xB341_5C00;
    const MULTIPLIER: i64 = 0x5_DEEC_E66D;
    const MASK: i64 = (1 << 48) - 1;
    let mut state = (session ^ SALT ^ MULTIPLIER) & MASK;
    let mut bytes = [0; 16];
    for four in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        // The upper 32 of 48 bits, the least significant byte first.
        let [_, _, b4, b3, b2, b1, _, _] = state.to_be_bytes();
        four.copy_from_slice(&[b1, b2, b3, b4]);
    }
    SessionPassword::new(&bytes).unwrap_or(SessionPassword::NONE)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Sessions, first_id, password};
    use crate::server::{ConnectionId, Now};

    #[test]
    fn ids_and_passwords_are_those_of_a_real_server() {
        let id = first_id(1, 0x1b_e8c4);
        assert_eq!(id, 0x0100_001b_e8c4_0000);
        let expected = 0xfe2d_1fca_b3fa_5589_0c5c_ddb7_b441_a502_u128;
        assert_eq!(password(id).as_bytes(), expected.to_be_bytes());
        // Only forty bits of the clock have room.
        assert_eq!(first_id(2, 0x1a1_fa35_a312), 0x02a1_fa35_a312_0000);
        assert_eq!(first_id(0, 0), 1);
    }

    #[test]
    fn expiry_is_rounded_up_to_the_next_tick() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        let mut sessions = Sessions::new(Duration::from_secs(2));
        sessions.begin(
            Now {
                instant: origin,
                unix_ms: 0,
            },
            1,
        );
        let id = sessions.create(at(500), Duration::from_secs(4), ConnectionId::first());
        assert_eq!(sessions.next_expiry(), Some(at(6000)));
        assert_eq!(sessions.expired(at(5999)), None);
        sessions.touch(id, at(2000), Duration::from_secs(4));
        assert_eq!(sessions.next_expiry(), Some(at(8000)));
        assert_eq!(sessions.expired(at(8000)), Some(id));
        sessions.remove(id);
        assert_eq!(sessions.next_expiry(), None);
    }
}
