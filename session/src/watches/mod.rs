//! Who is to be told when a node changes.

mod batch;
mod comparison;
mod feed;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use homing_protocol::{
    AddWatchMode, ErrorCode, EventType, RemoveWatches, RequestHeader, WatchedEvent, WatcherType,
    op, put_request, request_len, xid,
};
use homing_transport::{Request, Slot, Ticket};

use self::batch::Batch;
pub(crate) use self::comparison::Held;
pub use self::comparison::{Aspects, Changed, Comparison, ComparisonNote};
use self::feed::Feed;
pub use self::feed::{Gap, WatchEnd, WatchItem};
use self::registry::{Fired, Lasting, Once, Registry};
use crate::answer::Note;
use crate::status::SessionEnd;

/// What a one-shot watch is on.
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

impl WatchKind {
    fn is_told(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => self != Self::Child,
            EventType::NodeChildrenChanged => self == Self::Child,
            _ => true,
        }
    }
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

/// What is watched on one path, and by how many.
///
/// ```
/// fn is_leaking(path: &homing_session::WatchedPath) -> bool {
///     path.data + path.exist + path.child > 1_000
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchedPath {
    /// The server's path.
    pub path: String,
    /// One-shot watches on the data of a node that is there.
    pub data: usize,
    /// One-shot watches on a node that is not there.
    pub exist: usize,
    /// One-shot watches on the list of children.
    pub child: usize,
    /// Persistent watches.
    pub persistent: usize,
    /// Persistent watches on everything below too.
    pub recursive: usize,
}

/// The registry of watches, by server path.
///
/// An entry is here from the reply that confirms the watch until it fires, its owner drops it,
/// or the session ends. It outlives connections: each new one is told of all of them.
///
/// Its lock is taken while the queue is locked, and never the other way round.
///
/// ```
/// use homing_session::{Config, ConnectString, Session};
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (_session, shared) = Session::new(Config::new(servers));
/// assert_eq!(shared.watches.armed(), 0);
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
pub struct Watches {
    registry: Arc<Mutex<Registry>>,
    /// Events that a watch which stays keeps for its owner.
    backlog: usize,
    /// More of them are worth a warning.
    warn_above: usize,
}

/// A place in the line that has to do with a path; given up when it is dropped.
struct Place {
    registry: Arc<Mutex<Registry>>,
    id: u64,
    path: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.registry).leave(self.id, &self.path);
    }
}

/// A watch that a request is to set, on the way to the server.
pub struct WatchNote {
    place: Place,
    what: What,
}

enum What {
    Once(WatchKind, Arc<Slot<WatchOutcome>>),
    Lasting {
        recursive: bool,
        feed: Arc<Feed>,
    },
    /// All watches on the path are to be removed.
    Removal,
}

impl WatchNote {
    /// The code of its operation, if not every server knows it.
    pub(crate) fn op(&self) -> Option<i32> {
        matches!(self.what, What::Lasting { .. }).then_some(op::ADD_WATCH)
    }
}

impl PartialEq for WatchNote {
    fn eq(&self, other: &Self) -> bool {
        self.place.id == other.place.id
    }
}

impl Eq for WatchNote {}

impl fmt::Debug for WatchNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchNote").field(&self.place.path).finish()
    }
}

/// How many removals may be in the line at once: there is no hurry, and requests stand behind
/// them.
const REMOVALS_MAX: usize = 256;

/// Connecting and losing: what the next connection is told.
pub(crate) type Restored = Vec<(String, AddWatchMode)>;

/// For callers.
impl Watches {
    pub(crate) fn new(backlog: usize, warn_above: usize) -> Self {
        Self {
            registry: Arc::default(),
            backlog,
            warn_above,
        }
    }

    /// A one-shot watch for a request to carry along, and where its event will be.
    pub fn prepare(&self, kind: WatchKind, path: String) -> (WatchNote, WatchTicket) {
        let (slot, ticket) = Slot::new();
        let place = self.place(&path);
        let ticket = WatchTicket {
            id: place.id,
            kind,
            path,
            ticket,
        };
        let what = What::Once(kind, slot);
        (WatchNote { place, what }, ticket)
    }

    /// The request takes its place in the line. `true` if it is to have the server set the watch;
    /// otherwise there will be one by then that serves it. Called under the queue's lock.
    #[must_use]
    pub fn line_up(&self, watch: &WatchTicket) -> bool {
        self.registry().plan_once(watch.id, &watch.path, watch.kind)
    }

    /// A watch that stays for a request to carry along, and where its events will be.
    pub fn prepare_lasting(&self, path: String, recursive: bool) -> (WatchNote, LastingWatch) {
        let feed = Arc::new(Feed::new(self.backlog));
        let place = self.place(&path);
        let watch = LastingWatch {
            id: place.id,
            path,
            recursive,
            feed: Arc::clone(&feed),
        };
        let what = What::Lasting { recursive, feed };
        (WatchNote { place, what }, watch)
    }

    /// As [`line_up`](Self::line_up): says which watch the server is to set.
    #[must_use]
    pub fn line_up_lasting(&self, watch: &LastingWatch) -> AddWatchMode {
        let mut registry = self.registry();
        registry.plan_lasting(watch.id, &watch.path, watch.recursive)
    }

    /// What a request needs that is a comparison: see [`Comparison`].
    pub fn prepare_comparison(&self, comparison: &Comparison) -> ComparisonNote {
        ComparisonNote {
            question: comparison.question(),
        }
    }

    /// As [`line_up`](Self::line_up).
    pub fn line_up_comparison(&self, comparison: &Comparison) {
        line_up(&self.registry(), comparison);
    }

    /// How many watches are armed.
    pub fn armed(&self) -> usize {
        self.registry().armed
    }

    /// What is armed, path by path.
    pub fn report(&self) -> Vec<WatchedPath> {
        self.registry().report()
    }

    /// Takes a watch out that its owner does not want any more. `true` if the session should be
    /// told, because the server's watch is of no more use.
    pub fn forget(&self, watch: &WatchTicket) -> bool {
        // Before the lock: a reply that arms it right now finds either that nobody waits any
        // more, or has put it where it is found here.
        drop(watch.ticket.abandon());
        self.registry().forget(&watch.path, watch.id)
    }

    /// As [`forget`](Self::forget).
    pub fn forget_lasting(&self, watch: &LastingWatch) -> bool {
        watch.feed.abandon();
        self.registry().forget(&watch.path, watch.id)
    }

    fn place(&self, path: &str) -> Place {
        Place {
            registry: Arc::clone(&self.registry),
            id: self.registry().next_id(),
            path: path.to_owned(),
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

/// For the session: replies and events.
impl Watches {
    /// A request with a watch has been answered, so far as `reply` is there. `last_zxid` is the
    /// newest transaction that the session has seen.
    pub(crate) fn answered(&self, note: WatchNote, reply: Option<i32>, last_zxid: i64) {
        let WatchNote { place, what } = note;
        let mut registry = self.registry();
        match (what, reply) {
            (What::Once(kind, slot), reply) => {
                let kind = match (reply, kind) {
                    // There was one, and the node was there; nobody will learn that.
                    (None, _) => {
                        registry.idle.insert(place.path.clone());
                        return;
                    }
                    (Some(0), WatchKind::Exist) => WatchKind::Data,
                    (Some(0), kind) => kind,
                    (Some(NO_NODE), WatchKind::Exist) => WatchKind::Exist,
                    (Some(_), _) => return,
                };
                let once = Once {
                    id: place.id,
                    kind,
                    slot,
                    since: None,
                };
                registry.arm_once(&place.path, once, last_zxid);
            }
            (What::Lasting { recursive, feed }, Some(0)) => {
                let lasting = Lasting {
                    id: place.id,
                    recursive,
                    feed,
                };
                registry.arm_lasting(&place.path, lasting);
            }
            // That there was none is as good.
            (What::Removal, Some(0 | NO_WATCHER)) => registry.removed(&place.path),
            (What::Lasting { .. } | What::Removal, _) => {}
        }
    }

    /// Whether more watches are armed than there should be, the first time that it is so.
    pub(crate) fn are_too_many(&self) -> bool {
        let mut registry = self.registry();
        // Not once more when they have become fewer and more again.
        registry.armed > self.warn_above && !std::mem::replace(&mut registry.has_warned, true)
    }

    /// Tells everybody whom the event concerns.
    pub(crate) fn fire(&self, event: &WatchedEvent, zxid: Option<i64>, wakers: &mut Vec<Waker>) {
        let mut fired = Fired::new();
        self.registry().fire(event, zxid, &mut fired, wakers);
        deliver(fired, wakers);
    }

    /// A reply came in between events.
    pub(crate) fn separate(&self) {
        self.registry().separate();
    }

    /// A comparison has been answered: tells what was held and is no answer, and keeps what is.
    /// `seen` is the newest transaction that the session had seen before.
    pub(crate) fn compared(
        &self,
        note: &ComparisonNote,
        err: i32,
        seen: i64,
        mut held: Vec<Held>,
        wakers: &mut Vec<Waker>,
    ) {
        let question = &note.question;
        let mut fired = Fired::new();
        let mut registry = self.registry();
        // Asked about what this session has not seen yet, nobody can tell the two apart, so both
        // are served.
        let is_ahead = question.zxid > seen;
        if is_ahead {
            for held in &held {
                registry.fire(&held.event, held.zxid, &mut fired, wakers);
            }
        }
        let answer = match err {
            0 => question.take_answer(&mut held),
            _ => Vec::new(),
        };
        if !is_ahead {
            for held in &held {
                registry.fire(&held.event, held.zxid, &mut fired, wakers);
            }
        }
        if err == 0 {
            registry.compared(question, answer, &mut fired);
        }
        drop(registry);
        deliver(fired, wakers);
    }

    /// The connection is gone. What was held may have been an answer: if it was none, the next
    /// connection will tell it again.
    pub(crate) fn disconnected(&self, held: Vec<Held>, wakers: &mut Vec<Waker>) {
        let mut fired = Fired::new();
        let mut registry = self.registry();
        for held in held.into_iter().filter(|held| !held.is_suspect()) {
            registry.fire(&held.event, held.zxid, &mut fired, wakers);
        }
        registry.disconnected();
        drop(registry);
        deliver(fired, wakers);
    }

    /// The session is over, for this reason, for everybody.
    pub(crate) fn end(&self, end: &SessionEnd, wakers: &mut Vec<Waker>) {
        let mut registry = self.registry();
        registry.end_lasting(&WatchEnd::Session(end.clone()), wakers);
        registry.idle.clear();
        registry.late.clear();
        registry.armed = 0;
        let once = registry
            .paths
            .values_mut()
            .flat_map(|at| std::mem::take(&mut at.once));
        let once: Vec<_> = once.collect();
        registry.disconnected();
        drop(registry);
        for once in once {
            wakers.extend(once.slot.fill(Err(end.clone())).ok().flatten());
        }
    }
}

/// For the session: connections.
impl Watches {
    /// Appends SetWatches frames for all that is armed, each below 128 KiB. For each frame there
    /// is what it sets that stays. What is idle is not restored.
    pub(crate) fn put_restoration(&self, relative_zxid: i64, out: &mut BytesMut) -> Vec<Restored> {
        let registry = self.registry();
        let mut frames = Vec::new();
        // Watches that were not set yet when the connection was lost are behind the others.
        let mut by_zxid: BTreeMap<i64, BTreeSet<(&str, WatchKind)>> = BTreeMap::new();
        for (path, at) in &registry.paths {
            for once in &at.once {
                let since = once.since.unwrap_or(relative_zxid);
                by_zxid.entry(since).or_default().insert((path, once.kind));
            }
        }
        for (since, once) in by_zxid {
            let mut batch = Batch::default();
            for (path, kind) in once {
                if batch.is_full(4 + path.len()) {
                    put_batch(&std::mem::take(&mut batch), since, out);
                    frames.push(Restored::new());
                }
                batch.add(kind, path);
            }
            put_batch(&batch, since, out);
            frames.push(Restored::new());
        }
        // Behind all one-shot watches, since those would take the place of these.
        let (mut batch, mut restored) = (Batch::default(), Restored::new());
        for (path, at) in &registry.paths {
            let Some(mode) = at.wanted() else { continue };
            if batch.is_full(4 + path.len()) {
                put_batch(&std::mem::take(&mut batch), relative_zxid, out);
                frames.push(std::mem::take(&mut restored));
            }
            batch.add_lasting(mode, path);
            restored.push((path.clone(), mode));
        }
        if !batch.is_empty() {
            put_batch(&batch, relative_zxid, out);
            frames.push(restored);
        }
        frames
    }

    /// The server has done what a frame of the restoration says.
    pub(crate) fn restored(
        &self,
        frame: &Restored,
        gap: Option<Gap>,
        is_last: bool,
        wakers: &mut Vec<Waker>,
    ) {
        let mut registry = self.registry();
        for (path, mode) in frame {
            registry.restored(path, *mode, gap, wakers);
        }
        if is_last {
            registry.none_is_late();
        }
    }

    /// The server does not have watches that stay: they are over. One-shot watches are not.
    pub(crate) fn refused(&self, server: SocketAddr, code: ErrorCode, wakers: &mut Vec<Waker>) {
        let end = WatchEnd::Refused { server, code };
        self.registry().end_lasting(&end, wakers);
    }

    /// Whether there is something to be asked of the server.
    pub(crate) fn has_chores(&self) -> bool {
        let registry = self.registry();
        !registry.idle.is_empty() || !registry.late.is_empty()
    }

    /// Whether the server will have a watch on the path that stays, when it comes to a request
    /// that is put in line now. Called under the queue's lock.
    pub(crate) fn has_lasting(&self, path: &str) -> bool {
        let registry = self.registry();
        let at = registry.paths.get(path);
        at.is_some_and(|at| at.expected().is_some())
    }

    /// What is to be asked of the server about watches, put in line now. On the path `own` the
    /// session has a watch that is in no registry.
    pub(crate) fn chores(&self, can_remove: bool, own: Option<&str>) -> Vec<Chore> {
        let mut registry = self.registry();
        let mut chores: Vec<_> = late(&mut registry).into_iter().map(Chore::Set).collect();
        let idle = std::mem::take(&mut registry.idle);
        for path in idle {
            let at = registry.paths.get(&path);
            if at.is_some_and(|at| at.is_wanted()) || own == Some(path.as_str()) {
                continue;
            }
            // A request that is on its way may be about to set a watch again.
            let waits = at.is_some_and(|at| at.coming > 0);
            if waits || (can_remove && registry.removals >= REMOVALS_MAX) {
                registry.idle.insert(path);
            } else if can_remove {
                let id = registry.plan_removal(&path);
                let place = Place {
                    registry: Arc::clone(&self.registry),
                    id,
                    path: path.clone(),
                };
                let what = What::Removal;
                let note = Some(Box::new(WatchNote { place, what }));
                chores.push(Chore::Remove { path, note });
            }
        }
        chores
    }
}

/// Something that the session asks by itself.
pub(crate) enum Chore {
    /// To remove all watches on a path. The note goes along with the request.
    Remove {
        path: String,
        note: Option<Box<WatchNote>>,
    },
    /// To set watches.
    Set(Comparison),
}

impl Chore {
    pub(crate) fn request(&mut self) -> Request<Note> {
        let (len, note) = match self {
            Self::Remove { path, note } => {
                let note = note.take().map_or(
                    Note::Plain {
                        op: op::REMOVE_WATCHES,
                    },
                    Note::Unwatch,
                );
                (request_len(&remove(path)), note)
            }
            Self::Set(comparison) => {
                let question = comparison.question();
                let note = Note::Comparison(Box::new(ComparisonNote { question }));
                (request_len(comparison), note)
            }
        };
        let within = None;
        Request { len, within, note }
    }

    pub(crate) fn encode(&self, xid: i32, out: &mut BytesMut) {
        match self {
            Self::Remove { path, .. } => {
                let op = op::REMOVE_WATCHES;
                put_request(out, RequestHeader { xid, op }, &remove(path));
            }
            Self::Set(comparison) => {
                let op = comparison.op();
                put_request(out, RequestHeader { xid, op }, comparison);
            }
        }
    }
}

fn remove(path: &str) -> RemoveWatches<'_> {
    RemoveWatches {
        path: path.into(),
        kind: WatcherType::Any,
    }
}

/// Questions that set what was found to be missing, and tell what was missed for that reason.
fn late(registry: &mut Registry) -> Vec<Comparison> {
    let mut by_zxid: BTreeMap<i64, BTreeSet<(WatchKind, String)>> = BTreeMap::new();
    for path in std::mem::take(&mut registry.late) {
        let once = registry.paths.get(&path).map(|at| &at.once);
        for once in once.into_iter().flatten() {
            if let Some(since) = once.since {
                let these = by_zxid.entry(since).or_default();
                these.insert((once.kind, path.clone()));
            }
        }
    }
    let mut questions = Vec::new();
    for (since, these) in by_zxid {
        let (mut lists, mut len) = ([const { Vec::new() }; 3], 0);
        for (kind, path) in these {
            // Once more if there is a watch that stays.
            let more = 2 * (4 + path.len());
            if len > 0 && batch::is_too_long(len + more, batch::FRAME_LEN_MAX) {
                questions.push(Comparison::late(since, std::mem::take(&mut lists)));
                len = 0;
            }
            len += more;
            let [data, exist, child] = &mut lists;
            match kind {
                WatchKind::Data => data.push(path),
                WatchKind::Exist => exist.push(path),
                WatchKind::Child => child.push(path),
            }
        }
        questions.push(Comparison::late(since, lists));
    }
    for question in &questions {
        line_up(registry, question);
    }
    questions
}

fn line_up(registry: &Registry, comparison: &Comparison) {
    let expected = |path: &str| registry.paths.get(path)?.expected();
    comparison.question().line_up(expected);
}

fn put_batch(batch: &Batch<'_>, relative_zxid: i64, out: &mut BytesMut) {
    let record = batch.record(relative_zxid);
    let header = RequestHeader {
        xid: xid::SET_WATCHES,
        op: record.op(),
    };
    put_request(out, header, &record);
}

fn deliver(fired: Fired, wakers: &mut Vec<Waker>) {
    for (slot, event) in fired {
        wakers.extend(slot.fill(Ok(event)).ok().flatten());
    }
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches")
            .field("armed", &self.armed())
            .finish()
    }
}

const NO_NODE: i32 = -101;
const NO_WATCHER: i32 = -121;

/// The owner's side of a one-shot watch.
#[derive(Debug)]
pub struct WatchTicket {
    id: u64,
    kind: WatchKind,
    /// The server's path.
    pub path: String,
    /// Where the event will be.
    pub ticket: Ticket<WatchOutcome>,
}

/// The owner's side of a watch that stays.
#[derive(Debug)]
pub struct LastingWatch {
    id: u64,
    /// The server's path.
    pub path: String,
    /// Whether it reaches down to everything below.
    pub recursive: bool,
    feed: Arc<Feed>,
}

impl LastingWatch {
    /// What it tells next: the oldest item that was not told, and behind the last one the end,
    /// once; then `None`.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchItem, WatchEnd>>> {
        self.feed.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restoration_is_split_below_the_limit_and_names_every_path_once() {
        let watches = Watches::new(1, 1);
        let mut tickets = Vec::new();
        for n in 0..10_000 {
            let path = format!("/{n:0199}");
            for _ in 0..2 {
                let (note, ticket) = watches.prepare(WatchKind::Data, path.clone());
                watches.answered(note, Some(0), 1);
                tickets.push(ticket);
            }
        }
        let mut out = BytesMut::new();
        let frames = watches.put_restoration(7, &mut out);
        assert_eq!(frames, vec![Restored::new(); 16]);
        let mut paths = 0;
        for _ in frames {
            let len = u32::from_be_bytes(out[..4].try_into().unwrap()) as usize;
            assert!(len + 4 <= batch::FRAME_LEN_MAX);
            paths += u32::from_be_bytes(out[20..24].try_into().unwrap());
            drop(out.split_to(len + 4));
        }
        assert!(out.is_empty());
        assert_eq!(paths, 10_000);
    }
}
