//! Which operations the servers know: found out by asking, remembered by server.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use homing_protocol::{ErrorCode, ReplyHeader};

/// What a session has learned of its servers.
///
/// ```
/// use homing_protocol::op;
/// use homing_session::{Config, ConnectString, Session};
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (_session, shared) = Session::new(Config::new(servers));
/// assert_eq!(shared.knowledge.of(op::CREATE2), None);
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Default)]
pub struct Knowledge {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The server that was connected last.
    server: Option<SocketAddr>,
    /// Those of which something is known.
    servers: BTreeMap<SocketAddr, Known>,
}

/// Of so many servers at most something is remembered: names can come to mean ever new addresses.
const SERVERS_MAX: usize = 256;

impl Knowledge {
    /// Whether the server that was connected last knows the operation with this code; `None`
    /// before it has shown that.
    pub fn of(&self, op: i32) -> Option<bool> {
        let inner = self.inner();
        inner.servers.get(&inner.server?)?.of(op)
    }

    /// A server was connected: what is known of it.
    pub(crate) fn connected(&self, server: SocketAddr) -> Known {
        let mut inner = self.inner();
        inner.server = Some(server);
        inner.servers.get(&server).copied().unwrap_or_default()
    }

    pub(crate) fn learn(&self, server: SocketAddr, known: Known) {
        let mut inner = self.inner();
        if inner.servers.len() >= SERVERS_MAX && !inner.servers.contains_key(&server) {
            inner.servers.pop_first();
        }
        inner.servers.insert(server, known);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.inner().servers).finish()
    }
}

/// What is known of one server: one bit for each operation code.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Operations that it has carried out, or refused for a reason of their own.
    answered: u128,
    /// Operations that it did not know.
    refused: u128,
}

impl Known {
    /// Takes in how the server answered to an operation, and says whether that was new.
    pub(crate) fn note(&mut self, op: i32, header: ReplyHeader) -> bool {
        let bit = bit(op);
        if self.answered & bit != 0 {
            return false;
        }
        let before = *self;
        if is_unknown_operation(header.err, header.zxid) {
            self.refused |= bit;
        } else if is_answer(header.err) {
            self.answered |= bit;
            self.refused &= !bit;
        }
        *self != before
    }

    fn of(self, op: i32) -> Option<bool> {
        let bit = bit(op);
        match (self.answered & bit != 0, self.refused & bit != 0) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops = |bits: u128| (0..i128::BITS).filter(move |op| bits >> op & 1 == 1);
        f.debug_struct("Known")
            .field("answered", &ops(self.answered).collect::<Vec<_>>())
            .field("refused", &ops(self.refused).collect::<Vec<_>>())
            .finish()
    }
}

/// No bit for a code that is none of a request.
fn bit(op: i32) -> u128 {
    u32::try_from(op)
        .ok()
        .and_then(|op| 1_u128.checked_shl(op))
        .unwrap_or(0)
}

/// Whether a reply says that the server does not know the operation. It then closes the
/// connection, and tells no zxid: one that has the operation switched off does tell it.
pub(crate) fn is_unknown_operation(err: i32, zxid: i64) -> bool {
    err == ErrorCode::Unimplemented.code() && zxid == -1
}

/// Whether a server that says this has looked at the operation. Other codes come from places
/// that do not know yet what was asked.
fn is_answer(err: i32) -> bool {
    matches!(
        ErrorCode::from_code(err),
        ErrorCode::BadArguments
            | ErrorCode::NoNode
            | ErrorCode::NoAuth
            | ErrorCode::BadVersion
            | ErrorCode::NoChildrenForEphemerals
            | ErrorCode::NodeExists
            | ErrorCode::NotEmpty
            | ErrorCode::InvalidAcl
            | ErrorCode::NoWatcher
            | ErrorCode::ReconfigDisabled
            | ErrorCode::QuotaExceeded
    ) || err == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use homing_protocol::op;

    fn header(err: i32, zxid: i64) -> ReplyHeader {
        ReplyHeader { xid: 1, zxid, err }
    }

    #[test]
    fn what_an_answer_shows() {
        let mut known = Known::default();
        assert_eq!(known.of(op::CREATE2), None);
        // Switched off, overloaded, unreadable: that says nothing of what it knows.
        for (err, zxid) in [(-6, 7), (-127, 7), (-5, 7), (-124, 0), (-112, 7)] {
            known.note(op::CREATE_TTL, header(err, zxid));
            assert_eq!(known.of(op::CREATE_TTL), None, "{err}");
        }
        known.note(op::CREATE2, header(-6, -1));
        assert_eq!(known.of(op::CREATE2), Some(false));
        // The server was replaced by a newer one.
        known.note(op::CREATE2, header(-110, 8));
        assert_eq!(known.of(op::CREATE2), Some(true));
        known.note(op::GET_DATA, header(0, 8));
        assert_eq!(known.of(op::GET_DATA), Some(true));
        assert_eq!(known.of(op::CLOSE_SESSION), None);
        known.note(op::CLOSE_SESSION, header(0, 8));
        known.note(i32::MAX, header(0, 8));
        assert_eq!(known.of(i32::MAX), None);
        assert_eq!(
            format!("{known:?}"),
            "Known { answered: [4, 15], refused: [] }"
        );
    }

    #[test]
    fn each_server_is_remembered_and_not_too_many() {
        let knowledge = Knowledge::default();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut known = knowledge.connected(address(0));
        known.note(op::CREATE2, header(-6, -1));
        knowledge.learn(address(0), known);
        assert_eq!(knowledge.of(op::CREATE2), Some(false));
        assert_eq!(knowledge.connected(address(1)), Known::default());
        assert_eq!(knowledge.of(op::CREATE2), None);
        assert_eq!(knowledge.connected(address(0)), known);
        for port in 1..1_000 {
            knowledge.learn(address(port), known);
        }
        assert_eq!(knowledge.inner().servers.len(), SERVERS_MAX);
    }
}
