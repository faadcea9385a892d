//! What is asked of a server for an errand, and what its answers mean.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Delete, ErrorCode, GetChildren, Reader, RequestHeader, Sync, op, put_request, reply,
    request_len,
};
use homing_transport::Request;

use super::{ErrandNote, Errands};
use crate::answer::Note;

pub(super) enum Task {
    Delete {
        path: String,
        version: i32,
    },
    Sweep {
        parent: String,
        prefix: String,
        /// Paths that are left to be deleted; `None` before the children were looked through.
        found: Option<Vec<String>>,
    },
}

/// What is to be deleted if a caller gives up.
///
/// ```
/// use homing_session::Undo;
/// let undo = Undo::Sweep { parent: "/locks".into(), prefix: "_h_1-2-lock-".into() };
/// assert_ne!(undo, Undo::Delete { path: "/locks".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// The node with this path; it is as well if there is none.
    Delete {
        /// The server's path.
        path: String,
    },
    /// Children whose names begin like this, which nobody else's do.
    Sweep {
        /// Their parent, by the server's path.
        parent: String,
        /// How their names begin.
        prefix: String,
    },
}

/// The children of `parent` whose names begin with `prefix`.
fn children(frame: &Bytes, parent: &str, prefix: &str) -> Option<Vec<String>> {
    let (count, names, _) = reply::get_children2(frame).ok()?;
    let mut reader = Reader::new(&names);
    let mut paths = Vec::new();
    for _ in 0..count {
        let name = reader.string("child").ok()?;
        if name.starts_with(prefix) {
            paths.push(format!("{}/{name}", parent.trim_end_matches('/')));
        }
    }
    Some(paths)
}

/// How an errand goes on after an answer.
pub(super) enum Progress {
    /// There is more to ask, or the same again.
    GoesOn,
    Done,
    /// What is to be deleted is not there.
    NotThere,
    /// The server refuses.
    Stuck,
}

impl Task {
    /// What its paths have, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Delete { path, .. } => path.len(),
            Self::Sweep { parent, prefix, .. } => parent.len() + prefix.len(),
        }
    }

    /// What is to be asked next, for the errand with this id.
    pub(super) fn step(&self, id: u64) -> Step {
        let delete = |path: &String, version| {
            let path = path.clone();
            Step {
                id,
                ask: Ask::Delete { path, version },
            }
        };
        match self {
            Self::Delete { path, version } => delete(path, *version),
            Self::Sweep { parent, found, .. } => match found.as_ref().and_then(|all| all.last()) {
                Some(path) => delete(path, -1),
                None => {
                    let path = parent.clone();
                    Step {
                        id,
                        ask: Ask::Children { path },
                    }
                }
            },
        }
    }

    pub(super) fn answered(&mut self, err: i32, frame: Option<&Bytes>) -> Progress {
        let code = ErrorCode::from_code(err);
        use ErrorCode::{NotReadOnly, SessionMoved, ThrottledOp};
        if matches!(code, ThrottledOp | SessionMoved | NotReadOnly) {
            // Not this server, or not now.
            return Progress::GoesOn;
        }
        match self {
            Self::Delete { .. } if err == 0 => Progress::Done,
            Self::Delete { .. } if code == ErrorCode::NoNode => Progress::NotThere,
            Self::Delete { .. } => Progress::Stuck,
            Self::Sweep {
                parent,
                prefix,
                found: found @ None,
            } if err == 0 => match frame.and_then(|frame| children(frame, parent, prefix)) {
                Some(paths) if paths.is_empty() => Progress::Done,
                Some(paths) => {
                    *found = Some(paths);
                    Progress::GoesOn
                }
                // There were too many of them to be sent.
                None => Progress::Stuck,
            },
            Self::Sweep { found: None, .. } if code == ErrorCode::NoNode => Progress::Done,
            Self::Sweep {
                found: Some(paths), ..
            } if err == 0 || code == ErrorCode::NoNode => {
                paths.pop();
                match paths.is_empty() {
                    true => Progress::Done,
                    false => Progress::GoesOn,
                }
            }
            Self::Sweep { .. } => Progress::Stuck,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete { path, .. } => write!(f, "{path:?}"),
            Self::Sweep { parent, prefix, .. } => write!(f, "{prefix:?} below {parent:?}"),
        }
    }
}

impl From<Undo> for Task {
    fn from(undo: Undo) -> Self {
        match undo {
            Undo::Delete { path } => Self::Delete { path, version: -1 },
            Undo::Sweep { parent, prefix } => Self::Sweep {
                parent,
                prefix,
                found: None,
            },
        }
    }
}

/// A request of an errand's.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: u64,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    Sync,
    Children { path: String },
    Delete { path: String, version: i32 },
}

impl Step {
    /// What stands before it, because the server may know less than the one that made the node.
    pub(super) fn sync(&self) -> Option<Self> {
        let (id, ask) = (self.id, Ask::Sync);
        matches!(self.ask, Ask::Children { .. }).then_some(Self { id, ask })
    }

    pub(crate) fn request(&self, errands: &Arc<Errands>) -> Request<Note> {
        let (len, is_sync) = match &self.ask {
            Ask::Sync => (request_len(&sync()), true),
            Ask::Children { path } => (request_len(&get_children(path)), false),
            Ask::Delete { path, version } => (request_len(&delete(path, *version)), false),
        };
        Request {
            len,
            within: None,
            note: Note::Errand(ErrandNote::new(errands, self.id, is_sync)),
        }
    }

    pub(crate) fn put(&self, xid: i32, out: &mut BytesMut) {
        let header = |op| RequestHeader { xid, op };
        match &self.ask {
            Ask::Sync => put_request(out, header(op::SYNC), &sync()),
            Ask::Children { path } => {
                put_request(out, header(op::GET_CHILDREN2), &get_children(path));
            }
            Ask::Delete { path, version } => {
                put_request(out, header(op::DELETE), &delete(path, *version));
            }
        }
    }
}

fn sync() -> Sync<'static> {
    Sync { path: "/".into() }
}

fn get_children(path: &str) -> GetChildren<'_> {
    GetChildren {
        path: path.into(),
        watch: false,
    }
}

fn delete(path: &str, version: i32) -> Delete<'_> {
    Delete {
        path: path.into(),
        version,
    }
}
