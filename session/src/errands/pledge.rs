//! What is to be undone if its caller goes away.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use homing_protocol::reply;

use super::{Entry, Errands, List, NotTaken, Stage, Task, Undo};
use crate::answer::Note;
use crate::session::Shared;

pub(super) struct Pledged {
    /// How many of the caller's requests are in the line.
    in_line: usize,
    is_given_up: bool,
    made: Made,
}

/// What is known of the caller's request to make something.
enum Made {
    /// It was not applied, or there is none.
    Nothing,
    Perhaps,
    /// It was applied, and has made the node with this path.
    Node(Option<String>),
}

/// What a session notes beside a request that makes something which may have to be undone.
///
/// ```
/// fn is_pledged(note: &homing_session::Note) -> bool {
///     matches!(note, homing_session::Note::Pledged(_))
/// }
/// ```
pub struct PledgeNote {
    errands: Arc<Errands>,
    id: u64,
    /// The operation's code.
    pub(crate) op: i32,
    /// What is made goes away with the session, which is therefore not idle.
    pub(crate) is_ephemeral: bool,
}

impl PledgeNote {
    /// The server has answered.
    pub(crate) fn answered(&self, err: i32, frame: Option<&Bytes>) {
        self.errands.with_pledged(self.id, |pledged| {
            if err == 0 {
                pledged.made = Made::Node(frame.and_then(|frame| reply::create(frame).ok()));
            }
        });
    }

    /// It was handed over, and its answer will not come.
    pub(crate) fn lost(&self) {
        self.errands
            .with_pledged(self.id, |pledged| pledged.made = Made::Perhaps);
    }
}

impl Drop for PledgeNote {
    /// The request has left the line. If nothing was said of it, it was never handed over.
    fn drop(&mut self) {
        let errands = &self.errands;
        errands.with_pledged(self.id, |pledged| {
            pledged.in_line = pledged.in_line.saturating_sub(1);
        });
    }
}

/// A promise to undo: if it is dropped, the session deletes what the request behind its
/// [`note`](Self::note) has made, as soon as it can be known and over as many connections as it
/// takes. For a caller whose future may be dropped at any time.
///
/// ```
/// use homing_session::{Config, ConnectString, Pledge, Session, Undo};
/// let servers = "127.0.0.1".parse::<ConnectString>()?.servers;
/// let (_session, shared) = Session::new(Config::new(servers));
/// let era = shared.queue.era();
/// let pledge = Pledge::new(&shared, era, Undo::Delete { path: "/a".into() })?;
/// assert_eq!(shared.errands.len(), 1);
/// drop(pledge); // nothing was ever asked for
/// assert_eq!(shared.errands.len(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it undoes what was made"]
pub struct Pledge {
    shared: Arc<Shared>,
    id: u64,
}

impl Pledge {
    /// Room for the errand, so that giving up cannot fail. It is for the session of this
    /// [era](homing_transport::Queue::era), in which the request has to be submitted too.
    ///
    /// # Errors
    /// There are too many, or the session is over.
    pub fn new(shared: &Arc<Shared>, era: u64, undo: Undo) -> Result<Self, NotTaken> {
        let pledged = Stage::Pledged(Pledged {
            in_line: 0,
            is_given_up: false,
            made: Made::Nothing,
        });
        let id = shared.errands.list().add(era, undo.into(), pledged, None)?;
        let shared = Arc::clone(shared);
        Ok(Self { shared, id })
    }

    /// For the request that makes it, which has this operation's code: one at a time.
    /// `is_ephemeral` if it makes something that goes away with the session and is to stay until
    /// then.
    pub fn note(&self, op: i32, is_ephemeral: bool) -> Note {
        let errands = &self.shared.errands;
        errands.with_pledged(self.id, |pledged| pledged.in_line += 1);
        Note::Pledged(PledgeNote {
            errands: Arc::clone(errands),
            id: self.id,
            op,
            is_ephemeral,
        })
    }

    /// The caller has found out that the request was not applied, and never will be.
    pub fn not_applied(&self) {
        let errands = &self.shared.errands;
        errands.with_pledged(self.id, |pledged| pledged.made = Made::Nothing);
    }

    /// What was made stays, and nothing is left to be undone.
    pub fn release(&self) {
        drop(self.shared.errands.remove(self.id));
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        let errands = &self.shared.errands;
        errands.with_pledged(self.id, |pledged| pledged.is_given_up = true);
        if errands.has_due() {
            self.shared.queue.nudge();
        }
    }
}

impl PartialEq for PledgeNote {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for PledgeNote {}

impl fmt::Debug for PledgeNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PledgeNote({})", self.id)
    }
}

impl fmt::Debug for Pledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pledge({})", self.id)
    }
}

impl Errands {
    /// A pledge is to be looked at.
    fn with_pledged(&self, id: u64, change: impl FnOnce(&mut Pledged)) {
        let mut list = self.list();
        if let Some(Entry {
            stage: Stage::Pledged(pledged),
            ..
        }) = list.entries.get_mut(&id)
        {
            change(pledged);
        }
        let former = list.settle(id);
        drop(list);
        drop(former);
    }
}

/// The name of a child of `parent`.
fn name_in<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let (dir, name) = path.rsplit_once('/')?;
    (dir == parent.trim_end_matches('/')).then_some(name)
}

impl List {
    /// What becomes of a pledge that was given up, once its request is out of the line.
    fn settle(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.get_mut(&id)?;
        let Stage::Pledged(pledged) = &mut entry.stage else {
            return None;
        };
        if pledged.in_line > 0 || !pledged.is_given_up {
            return None;
        }
        match (
            mem::replace(&mut pledged.made, Made::Nothing),
            &mut entry.task,
        ) {
            (Made::Nothing, _) => return self.remove(id),
            (
                Made::Node(Some(path)),
                Task::Sweep {
                    parent,
                    prefix,
                    found,
                },
            ) if name_in(&path, parent).is_some_and(|name| name.starts_with(&**prefix)) => {
                *found = Some(vec![path]);
            }
            (Made::Perhaps | Made::Node(_), _) => {}
        }
        entry.stage = Stage::Due;
        self.due.insert(id);
        None
    }
}
