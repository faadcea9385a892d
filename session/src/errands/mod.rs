//! What a session sees to by itself, over as many connections as it takes, whoever waits for it
//! or has gone: nodes to be deleted, and nodes to be deleted if they were ever made.

mod pledge;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use homing_protocol::ErrorCode;
use homing_transport::{Fate, Refused, Slot, Ticket};

use self::pledge::Pledged;
pub use self::pledge::{Pledge, PledgeNote};
pub(crate) use self::task::Step;
pub use self::task::Undo;
use self::task::{Progress, Task};
use crate::answer::{Answer, ConnectionLost};
use crate::session::Shared;
use crate::status::SessionEnd;

/// The errands of a session, in the order in which they were begun, which is that in which they
/// are repeated after a lost connection.
///
/// ```text
///   Pledge::new --> Pledged --(given up, and something may have been made)--+
///                   |                                                  v
///                   +--> gone                delete_guaranteed --> InLine <--> Due
///                                                                      |
///                                                                      +--> gone
/// ```
///
/// Its lock is taken under the queue's, never the other way round.
///
/// ```
/// use homing_session::{Config, ConnectString, ErrandEnd, Session, SessionEnd};
/// use homing_transport::Fate;
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (session, shared) = Session::new(Config::new(servers));
/// let era = shared.queue.era();
/// let mut ticket = shared.delete_guaranteed(era, "/a".into(), -1)?;
/// assert_eq!(shared.errands.len(), 1);
/// drop(session);
/// let (end, fate) = (SessionEnd::DriverGone, Fate::NotSent);
/// assert_eq!(ticket.try_pull(), Some(ErrandEnd::Ended { end, fate }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Errands {
    list: Mutex<List>,
}

struct List {
    entries: BTreeMap<u64, Entry>,
    /// Those whose stage is [`Stage::Due`], and perhaps some that are gone.
    due: BTreeSet<u64>,
    next_id: u64,
    /// The lengths of all paths.
    bytes: usize,
    limit: usize,
    is_over: bool,
    /// How many nodes could not be deleted that nobody knows of; paces the log.
    left_over: u64,
}

struct Entry {
    task: Task,
    /// The session that it is for, of those that follow each other.
    era: u64,
    len: usize,
    stage: Stage,
    /// A request of it was handed over, and its answer never came.
    was_lost: bool,
    /// How that was.
    lost: Option<Arc<ConnectionLost>>,
    /// The server has refused the sync before the list of children, which may be an old one.
    is_unsynced: bool,
    /// For whoever waits for it.
    slot: Option<Arc<Slot<ErrandEnd>>>,
    /// Of the requests in the line, which would be left out if nobody seemed to wait for them.
    tickets: Vec<Ticket<Answer>>,
}

enum Stage {
    /// A caller is about to make something, and has not given up.
    Pledged(Pledged),
    /// To be asked of the next server.
    Due,
    InLine,
}

/// How a guaranteed deletion ended.
///
/// ```
/// use homing_session::ErrandEnd;
/// assert_ne!(ErrandEnd::Refused { err: -111, lost: None }, ErrandEnd::Done);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrandEnd {
    /// The node is gone.
    Done,
    /// The server refused, with this error code. If an earlier request for it was lost, that one
    /// may have been applied.
    Refused {
        /// The code.
        err: i32,
        /// How an earlier request was lost.
        lost: Option<Arc<ConnectionLost>>,
    },
    /// The session is over, and with it its errands.
    Ended {
        /// How it ended.
        end: SessionEnd,
        /// Whether the server can have seen a request.
        fate: Fate,
    },
}

/// Why an errand was not taken on. Nothing was sent.
///
/// ```
/// use homing_session::NotTaken;
/// assert!(NotTaken::Full { limit: 7 }.to_string().contains('7'));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// There are so many that more would not be bounded, or their paths have more than 4 MiB.
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The queue takes nothing any more.
    Refused(Refused),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(
                f,
                "{limit} deletions that are repeated until they are done, or 4 MiB of their paths, are under way"
            ),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for NotTaken {}

/// What all paths may have together, in bytes.
const PATHS_MAX: usize = 4 << 20;

impl Shared {
    /// Deletes a node, by the server's path, and goes on until that is done, refused, or the
    /// session of this [era](homing_transport::Queue::era) is over. It takes its place in the line now, and after a lost connection another
    /// one at its end. The ticket can be dropped.
    ///
    /// # Errors
    /// There are too many, or the session closes or is over.
    pub fn delete_guaranteed(
        &self,
        era: u64,
        path: String,
        version: i32,
    ) -> Result<Ticket<ErrandEnd>, NotTaken> {
        let (slot, ticket) = Slot::new();
        let task = Task::Delete { path, version };
        let step = self.errands.begin(era, task, slot)?;
        let errands = &self.errands;
        let submitted = self
            .queue
            .submit_regardless_in(era, step.request(errands), |xid, out| step.put(xid, out));
        match submitted {
            Ok(in_line) => {
                errands.keep(step.id, in_line);
                Ok(ticket)
            }
            Err(refused) => {
                errands.remove(step.id);
                Err(NotTaken::Refused(refused))
            }
        }
    }
}

impl Errands {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            list: Mutex::new(List {
                entries: BTreeMap::new(),
                due: BTreeSet::new(),
                next_id: 0,
                bytes: 0,
                limit,
                is_over: false,
                left_over: 0,
            }),
        }
    }

    /// How many there are, those included that may never come to be.
    #[allow(clippy::len_without_is_empty, reason = "a figure, not a container")]
    pub fn len(&self) -> usize {
        self.list().entries.len()
    }

    fn begin(&self, era: u64, task: Task, slot: Arc<Slot<ErrandEnd>>) -> Result<Step, NotTaken> {
        let mut list = self.list();
        let step = task.step(list.next_id + 1);
        list.add(era, task, Stage::InLine, Some(slot))?;
        Ok(step)
    }

    /// What is to be asked of the server now, and counts as asked from now on.
    pub(crate) fn take_due(&self) -> Vec<Step> {
        let list = &mut *self.list();
        let mut steps = Vec::new();
        for id in mem::take(&mut list.due) {
            if let Some(entry) = list.entries.get_mut(&id) {
                entry.stage = Stage::InLine;
                let step = entry.task.step(id);
                steps.extend(step.sync());
                steps.push(step);
            }
        }
        steps
    }

    pub(crate) fn has_due(&self) -> bool {
        !self.list().due.is_empty()
    }

    /// Takes charge of the ticket of a request that is in the line.
    pub(crate) fn keep(&self, id: u64, ticket: Ticket<Answer>) {
        let mut list = self.list();
        // It may have been answered meanwhile.
        if let Some(entry) = list.entries.get_mut(&id)
            && matches!(entry.stage, Stage::InLine)
        {
            entry.tickets.push(ticket);
        }
    }

    /// The session of this era is over, for this reason, and another one follows.
    pub(crate) fn end_era(&self, era: u64, end: &SessionEnd, wakers: &mut Vec<Waker>) {
        let mut list = self.list();
        // Those of the next one may have begun.
        let entries = mem::take(&mut list.entries).into_iter();
        let (ended, others): (BTreeMap<_, _>, _) = entries.partition(|(_, entry)| entry.era <= era);
        list.entries = others;
        list.bytes -= ended.values().map(|entry| entry.len).sum::<usize>();
        drop(list);
        for entry in ended.into_values() {
            entry.end(end, wakers);
        }
    }

    /// The session is over, for this reason, and none follows.
    pub(crate) fn end(&self, end: &SessionEnd, wakers: &mut Vec<Waker>) {
        let mut list = self.list();
        list.is_over = true;
        list.bytes = 0;
        let entries = mem::take(&mut list.entries);
        drop(list);
        for entry in entries.into_values() {
            entry.end(end, wakers);
        }
    }

    fn remove(&self, id: u64) -> Option<Entry> {
        self.list().remove(id)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn add(
        &mut self,
        era: u64,
        task: Task,
        stage: Stage,
        slot: Option<Arc<Slot<ErrandEnd>>>,
    ) -> Result<u64, NotTaken> {
        if self.is_over {
            return Err(NotTaken::Refused(Refused::Ended));
        }
        let len = task.len();
        if self.entries.len() >= self.limit || self.bytes + len > PATHS_MAX {
            return Err(NotTaken::Full { limit: self.limit });
        }
        self.bytes += len;
        self.next_id += 1;
        let entry = Entry {
            task,
            era,
            len,
            stage,
            was_lost: false,
            lost: None,
            is_unsynced: false,
            slot,
            tickets: Vec::new(),
        };
        self.entries.insert(self.next_id, entry);
        Ok(self.next_id)
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.len;
        Some(entry)
    }
}

impl Entry {
    /// The session is over.
    fn end(self, end: &SessionEnd, wakers: &mut Vec<Waker>) {
        let end = end.clone();
        let fate = match self.was_lost {
            true => Fate::MaybeApplied,
            false => Fate::NotSent,
        };
        self.finish(ErrandEnd::Ended { end, fate }, wakers);
    }

    fn finish(self, end: ErrandEnd, wakers: &mut Vec<Waker>) {
        if let Some(slot) = self.slot {
            wakers.extend(slot.fill(end).ok().flatten());
        }
    }

    /// What an answer means for it: its end, or that it goes on.
    fn answered(&mut self, err: i32, frame: Option<&Bytes>) -> Option<ErrandEnd> {
        self.tickets.clear();
        if self.is_unsynced {
            // Whether the node is there or not, this answer does not tell.
            self.stage = Stage::Due;
            return None;
        }
        let is_asked_for = self.slot.is_some();
        match self.task.answered(err, frame) {
            Progress::GoesOn => {
                self.stage = Stage::Due;
                return None;
            }
            Progress::Done => return Some(ErrandEnd::Done),
            // What was lost has done it, or what is to be undone was never done.
            Progress::NotThere if self.was_lost || !is_asked_for => return Some(ErrandEnd::Done),
            Progress::NotThere | Progress::Stuck => {}
        }
        let lost = self.lost.take();
        Some(ErrandEnd::Refused { err, lost })
    }
}

/// What a session notes beside a request of an errand's.
///
/// ```
/// fn is_errand(note: &homing_session::Note) -> bool {
///     matches!(note, homing_session::Note::Errand(_))
/// }
/// ```
pub struct ErrandNote {
    errands: Arc<Errands>,
    id: u64,
    /// It only stands before another one.
    is_sync: bool,
}

impl ErrandNote {
    fn new(errands: &Arc<Errands>, id: u64, is_sync: bool) -> Self {
        Self {
            errands: Arc::clone(errands),
            id,
            is_sync,
        }
    }

    /// The server has answered. `true` if it wants to be left alone for a while.
    pub(crate) fn answered(
        &self,
        err: i32,
        frame: Option<&Bytes>,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let mut list = self.errands.list();
        let Some(entry) = list.entries.get_mut(&self.id) else {
            return false;
        };
        if self.is_sync {
            entry.is_unsynced = err != 0;
            return false;
        }
        let is_unsynced = entry.is_unsynced;
        let end = entry.answered(err, frame);
        if end.is_none() {
            list.due.insert(self.id);
        }
        let ended = end.and_then(|end| Some((list.remove(self.id)?, end)));
        if let Some((entry, ErrandEnd::Refused { .. })) = &ended
            && entry.slot.is_none()
        {
            list.left_over += 1;
            // Whoever may make nodes and not delete them has this with every one.
            if list.left_over.is_power_of_two() {
                let (count, code) = (list.left_over, ErrorCode::from_code(err));
                tracing::warn!(count, "a node may be left over: {}: {code}", entry.task);
            }
        }
        drop(list);
        if let Some((entry, end)) = ended {
            entry.finish(end, wakers);
        }
        let code = ErrorCode::from_code(err);
        is_unsynced || matches!(code, ErrorCode::ThrottledOp | ErrorCode::NotReadOnly)
    }

    /// It was handed over, and its answer will not come.
    pub(crate) fn lost(&self, lost: Option<&Arc<ConnectionLost>>) {
        let list = &mut *self.errands.list();
        if let Some(entry) = list.entries.get_mut(&self.id) {
            entry.was_lost = true;
            entry.lost = lost.cloned().or(entry.lost.take());
            entry.stage = Stage::Due;
            entry.tickets.clear();
            list.due.insert(self.id);
        }
    }
}

impl PartialEq for ErrandNote {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for ErrandNote {}

impl fmt::Debug for ErrandNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrandNote({})", self.id)
    }
}

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errands").field("len", &self.len()).finish()
    }
}
