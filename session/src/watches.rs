//! Who is to be told when a node changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::{BufMut, BytesMut};
use homing_protocol::{
    EventType, Record, RequestHeader, WatchedEvent, op, put_count, put_string, xid,
};
use homing_transport::{Slot, Ticket};

use crate::status::SessionEnd;

/// What a watch is on.
///
/// ```
/// use homing_session::WatchKind;
/// assert_ne!(WatchKind::Data, WatchKind::Child);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatchKind {
    /// A node's data: it fires when they are set, and when the node is deleted.
    Data,
    /// A node that does not exist: it fires when it is created.
    Exist,
    /// A node's children: it fires when one is created or deleted, and when the node itself is
    /// deleted.
    Child,
}

/// A change that a watch has told of.
///
/// ```
/// use homing_session::{EventType, WatchEvent};
/// let event = WatchEvent { kind: EventType::NodeCreated, path: "/a".into(), zxid: None };
/// assert_eq!(event.to_string(), "NodeCreated \"/a\"");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventType,
    /// To which node.
    pub path: String,
    /// The transaction that did it; `None` from servers that do not tell (before 3.9), and for
    /// what is caught up with after a reconnect.
    pub zxid: Option<i64>,
}

impl fmt::Display for WatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.path)
    }
}

/// How a one-shot watch ends: it fires, or the session does not live to see it.
pub type WatchOutcome = Result<WatchEvent, SessionEnd>;

/// A watch that a request is to set, on the way to the server.
#[derive(Debug)]
pub struct WatchNote {
    /// [`WatchKind::Exist`] if the node may be missing.
    pub(crate) kind: WatchKind,
    /// The server's path.
    pub(crate) path: String,
    id: u64,
    slot: Arc<Slot<WatchOutcome>>,
}

impl PartialEq for WatchNote {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for WatchNote {}

/// The registry of watches, by server path.
///
/// An entry is here from the reply that confirms the watch until it fires, its owner drops it,
/// or the session ends. It outlives connections: each new one is told of all of them.
///
/// ```
/// use homing_session::{Config, ConnectString, Session};
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (_session, shared) = Session::new(Config::new(servers));
/// assert_eq!(shared.watches.armed(), 0);
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Default)]
pub struct Watches {
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    /// Ordered, so that a seed fixes the order in which everything happens.
    armed: BTreeMap<String, Vec<Entry>>,
    count: usize,
    next_id: u64,
    /// Paths whose last watch was dropped, while the server still has one.
    idle: BTreeSet<String>,
}

impl Registry {
    /// The server has a watch on this path that its owner does not want. `true` if nobody else
    /// does.
    fn decline(&mut self, path: String) -> bool {
        let is_idle = !self.armed.contains_key(&path);
        if is_idle {
            self.idle.insert(path);
        }
        is_idle
    }
}

struct Entry {
    id: u64,
    kind: WatchKind,
    slot: Arc<Slot<WatchOutcome>>,
}

/// The longest frame of restored watches, in bytes; a single longer path goes alone. Servers
/// take a megabyte, but one that is told less may be set to less (ZOOKEEPER-706).
pub(crate) const RESTORE_LEN_MAX: usize = 128 << 10;

impl Watches {
    /// A watch for a request to carry along, and where its event will be.
    pub fn prepare(&self, kind: WatchKind, path: String) -> (WatchNote, WatchTicket) {
        let (slot, ticket) = Slot::new();
        let mut registry = self.registry();
        registry.next_id += 1;
        let id = registry.next_id;
        let ticket = WatchTicket {
            id,
            path: path.clone(),
            ticket,
        };
        (
            WatchNote {
                kind,
                path,
                id,
                slot,
            },
            ticket,
        )
    }

    /// How many watches are armed.
    pub fn armed(&self) -> usize {
        self.registry().count
    }

    /// Takes a watch out that its owner does not want any more. `true` if the session should be
    /// told, because the server's watch is of no more use.
    pub fn forget(&self, ticket: &WatchTicket) -> bool {
        // Before the lock: a reply that arms it right now finds either that nobody waits any
        // more, or has put it where it is found here.
        drop(ticket.ticket.abandon());
        let mut registry = self.registry();
        let Some(entries) = registry.armed.get_mut(&ticket.path) else {
            return false;
        };
        let before = entries.len();
        entries.retain(|entry| entry.id != ticket.id);
        let removed = before - entries.len();
        let is_idle = entries.is_empty();
        registry.count -= removed;
        if is_idle {
            registry.armed.remove(&ticket.path);
            registry.idle.insert(ticket.path.clone());
        }
        is_idle
    }

    /// A server has confirmed the watch. `true` if nobody wants it any more.
    pub(crate) fn arm(&self, note: WatchNote, kind: WatchKind) -> bool {
        let mut registry = self.registry();
        if !note.slot.is_awaited() {
            return registry.decline(note.path);
        }
        registry.count += 1;
        let entry = Entry {
            id: note.id,
            kind,
            slot: note.slot,
        };
        registry.armed.entry(note.path).or_default().push(entry);
        false
    }

    /// A server has set the watch, and its owner is not to have it. `true` if it can be removed
    /// at the server.
    pub(crate) fn decline(&self, note: WatchNote) -> bool {
        self.registry().decline(note.path)
    }

    /// Tells everybody whom the event concerns, once.
    pub(crate) fn fire(&self, event: WatchedEvent, zxid: Option<i64>, wakers: &mut Vec<Waker>) {
        let concerns = |kind: WatchKind| match event.kind {
            EventType::NodeCreated | EventType::NodeDataChanged => kind != WatchKind::Child,
            EventType::NodeChildrenChanged => kind == WatchKind::Child,
            _ => true,
        };
        let mut registry = self.registry();
        let Some(entries) = registry.armed.get_mut(&event.path) else {
            return;
        };
        let fired: Vec<_> = entries
            .extract_if(.., |entry| concerns(entry.kind))
            .collect();
        let is_idle = entries.is_empty();
        if is_idle {
            registry.armed.remove(&event.path);
        }
        registry.count -= fired.len();
        drop(registry);
        for entry in fired {
            let event = WatchEvent {
                kind: event.kind,
                path: event.path.clone(),
                zxid,
            };
            wakers.extend(entry.slot.fill(Ok(event)).ok().flatten());
        }
    }

    /// The session is over, for this reason, for everybody.
    pub(crate) fn end(&self, end: &SessionEnd, wakers: &mut Vec<Waker>) {
        let mut registry = self.registry();
        let armed = std::mem::take(&mut registry.armed);
        registry.count = 0;
        registry.idle.clear();
        drop(registry);
        for entry in armed.into_values().flatten() {
            wakers.extend(entry.slot.fill(Err(end.clone())).ok().flatten());
        }
    }

    /// Paths on which the server has a watch and nobody waits for it.
    pub(crate) fn take_idle(&self) -> Vec<String> {
        let mut registry = self.registry();
        let idle = std::mem::take(&mut registry.idle);
        idle.into_iter()
            .filter(|path| !registry.armed.contains_key(path))
            .collect()
    }

    /// Appends SetWatches frames for all that is armed, each below [`RESTORE_LEN_MAX`], and says
    /// how many they are. What is idle is not restored.
    pub(crate) fn put_restoration(&self, relative_zxid: i64, out: &mut BytesMut) -> usize {
        let mut registry = self.registry();
        registry.idle.clear();
        let mut frames = 0;
        let mut batch = Batch::default();
        for (path, entries) in &registry.armed {
            let kinds: BTreeSet<_> = entries.iter().map(|entry| entry.kind).collect();
            for kind in kinds {
                if !batch.is_empty() && batch.len() + 4 + path.len() > RESTORE_LEN_MAX {
                    std::mem::take(&mut batch).put(relative_zxid, out);
                    frames += 1;
                }
                batch.add(kind, path);
            }
        }
        if !batch.is_empty() {
            batch.put(relative_zxid, out);
            frames += 1;
        }
        frames
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches")
            .field("armed", &self.armed())
            .finish()
    }
}

/// The body of one SetWatches.
#[derive(Default)]
struct Batch<'a> {
    data: Vec<&'a str>,
    exist: Vec<&'a str>,
    child: Vec<&'a str>,
    /// What the paths and their lengths take, in bytes.
    paths_len: usize,
}

impl<'a> Batch<'a> {
    fn is_empty(&self) -> bool {
        self.paths_len == 0
    }

    /// The frame's length, its own four bytes included.
    fn len(&self) -> usize {
        4 + RequestHeader::LEN + 8 + 3 * 4 + self.paths_len
    }

    fn add(&mut self, kind: WatchKind, path: &'a str) {
        self.paths_len += 4 + path.len();
        match kind {
            WatchKind::Data => self.data.push(path),
            WatchKind::Exist => self.exist.push(path),
            WatchKind::Child => self.child.push(path),
        }
    }

    fn put(self, relative_zxid: i64, out: &mut BytesMut) {
        out.put_i32(i32::try_from(self.len() - 4).unwrap_or(i32::MAX));
        RequestHeader {
            xid: xid::SET_WATCHES,
            op: op::SET_WATCHES,
        }
        .encode(out);
        out.put_i64(relative_zxid);
        for list in [self.data, self.exist, self.child] {
            put_count(out, list.len());
            list.into_iter().for_each(|path| put_string(out, path));
        }
    }
}

/// The owner's side of a watch.
#[derive(Debug)]
pub struct WatchTicket {
    id: u64,
    /// The server's path.
    pub path: String,
    /// Where the event will be.
    pub ticket: Ticket<WatchOutcome>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restoration_is_split_below_the_limit_and_names_every_path_once() {
        let watches = Watches::default();
        let mut tickets = Vec::new();
        for n in 0..10_000 {
            let path = format!("/{n:0199}");
            for _ in 0..2 {
                let (note, ticket) = watches.prepare(WatchKind::Data, path.clone());
                assert!(!watches.arm(note, WatchKind::Data));
                tickets.push(ticket);
            }
        }
        let mut out = BytesMut::new();
        let frames = watches.put_restoration(7, &mut out);
        assert_eq!(frames, 16);
        let mut paths = 0;
        for _ in 0..frames {
            let len = u32::from_be_bytes(out[..4].try_into().unwrap()) as usize;
            assert!(len + 4 <= RESTORE_LEN_MAX);
            paths += u32::from_be_bytes(out[20..24].try_into().unwrap());
            drop(out.split_to(len + 4));
        }
        assert!(out.is_empty());
        assert_eq!(paths, 10_000);
    }
}
