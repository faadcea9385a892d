//! SetWatches among other requests: to be told what has changed, and to set what was missed.
//!
//! A server tells what has changed right before its reply, with the same notifications as any
//! change. They must not be taken for changes that happen now: watches may be set on these nodes
//! by requests that have seen more. So while the reply to such a request is the next one due,
//! whatever might be such an answer is held, and all that follows it. When the reply is there,
//! the answers are found from the back: they are the last that was told, without anything in
//! between, and in the order of the lists. Nothing else can be in their place: a change that was
//! told after the last reply is newer than what the session has seen, and so newer than what is
//! asked about, and has an answer of its own behind it.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::BytesMut;
use homing_protocol::{AddWatchMode, EventType, Record, WatchedEvent, op};

use super::batch::{self, Batch, FRAME_LEN_MAX};
use super::{WatchEvent, WatchKind};

/// A question to a server: which of these nodes have changed since a transaction? It is the body
/// of one request.
///
/// ```
/// use homing_session::Comparison;
/// let paths = ["/b", "/a", "/b"].map(String::from);
/// let questions = Comparison::split(paths, 7, Default::default(), 1 << 20);
/// assert_eq!(questions.len(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Comparison {
    question: Arc<Question>,
}

/// What to ask of each node, and what becomes of the watches that a server sets while answering.
///
/// ```
/// let aspects = homing_session::Aspects::default();
/// assert!(aspects.data && aspects.children && !aspects.keep_watches);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aspects {
    /// Whether its data was set.
    pub data: bool,
    /// Whether a child was created or deleted.
    pub children: bool,
    /// The one-shot watches that the server sets on what has not changed are left to it.
    pub keep_watches: bool,
}

impl Default for Aspects {
    fn default() -> Self {
        Self {
            data: true,
            children: true,
            keep_watches: false,
        }
    }
}

/// A node that has changed.
///
/// ```
/// fn is_gone(changed: &homing_session::Changed) -> bool {
///     changed.is_missing
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Which.
    pub path: String,
    /// It is not there: it was deleted, or never was.
    pub is_missing: bool,
    /// Its data was set, or it was created.
    pub data: bool,
    /// A child was created or deleted, or it was itself created.
    pub children: bool,
}

#[derive(Debug)]
pub(super) struct Question {
    pub(super) zxid: i64,
    /// Those of data, of existence, of children; each sorted.
    lists: [Arc<[String]>; 3],
    /// Watches that stay on some of these paths: a server up to 3.8 would spoil them, so they
    /// are set again by the same frame. Known once it is in line.
    lasting: OnceLock<Vec<(String, AddWatchMode)>>,
    answer: Mutex<Vec<(WatchKind, EventType, String)>>,
    pub(super) purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody has asked.
    Asked { keep_watches: bool },
    /// Watches are to be set that the session has found to be missing.
    Late,
}

const KINDS: [WatchKind; 3] = [WatchKind::Data, WatchKind::Exist, WatchKind::Child];

impl Comparison {
    /// The questions about these server paths, each short enough for a frame of `len_max` bytes
    /// and of 128 KiB. `None` of them if there are no paths.
    pub fn split(
        paths: impl IntoIterator<Item = String>,
        zxid: i64,
        aspects: Aspects,
        len_max: usize,
    ) -> Vec<Self> {
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort_unstable();
        paths.dedup();
        let lists = usize::from(aspects.data) + usize::from(aspects.children);
        let len_max = len_max.min(FRAME_LEN_MAX);
        let (mut questions, mut these, mut len) = (Vec::new(), Vec::new(), 0);
        for path in paths {
            // Once more than it is asked for, if it has a watch that stays.
            let more = (lists + 1) * (4 + path.len());
            if batch::is_too_long(len + more, len_max) && !these.is_empty() {
                questions.push(Self::new(std::mem::take(&mut these), zxid, aspects));
                len = 0;
            }
            len += more;
            these.push(path);
        }
        if !these.is_empty() {
            questions.push(Self::new(these, zxid, aspects));
        }
        questions
    }

    fn new(paths: Vec<String>, zxid: i64, aspects: Aspects) -> Self {
        let (paths, none): (Arc<[_]>, Arc<[_]>) = (paths.into(), [].into());
        let list = |is_asked| Arc::clone(if is_asked { &paths } else { &none });
        let lists = [list(aspects.data), list(false), list(aspects.children)];
        let purpose = Purpose::Asked {
            keep_watches: aspects.keep_watches,
        };
        Self::with(zxid, lists, purpose)
    }

    /// One that sets watches.
    pub(super) fn late(zxid: i64, lists: [Vec<String>; 3]) -> Self {
        Self::with(zxid, lists.map(Into::into), Purpose::Late)
    }

    fn with(zxid: i64, lists: [Arc<[String]>; 3], purpose: Purpose) -> Self {
        let question = Question {
            zxid,
            lists,
            lasting: OnceLock::new(),
            answer: Mutex::default(),
            purpose,
        };
        Self {
            question: Arc::new(question),
        }
    }

    /// The same question, to be asked once more.
    #[must_use]
    pub fn again(&self) -> Self {
        let question = &self.question;
        Self::with(question.zxid, question.lists.clone(), question.purpose)
    }

    pub(super) fn question(&self) -> Arc<Question> {
        Arc::clone(&self.question)
    }

    /// Its operation: not all servers have the one with watches that stay.
    pub fn op(&self) -> i32 {
        match self.question.lasting.get().is_none_or(Vec::is_empty) {
            true => op::SET_WATCHES,
            false => op::SET_WATCHES2,
        }
    }

    /// What has changed, by server path; once it is answered.
    pub fn answer(&self) -> Vec<Changed> {
        let answer = self.question.answer.lock();
        let answer = std::mem::take(&mut *answer.unwrap_or_else(PoisonError::into_inner));
        let mut changes: Vec<Changed> = Vec::new();
        let mut by_path = answer;
        by_path.sort_by(|one, other| (&one.2, one.0).cmp(&(&other.2, other.0)));
        for (kind, event, path) in by_path {
            if changes.last().is_none_or(|last| last.path != path) {
                let (is_missing, data, children) = (false, false, false);
                changes.push(Changed {
                    path,
                    is_missing,
                    data,
                    children,
                });
            }
            if let Some(last) = changes.last_mut() {
                match (event, kind) {
                    (EventType::NodeDeleted, _) => last.is_missing = true,
                    (_, WatchKind::Child) => last.children = true,
                    _ => last.data = true,
                }
            }
        }
        changes
    }
}

impl Question {
    /// Everything that is asked, in the order in which it is answered.
    pub(super) fn items(&self) -> impl DoubleEndedIterator<Item = (WatchKind, &str)> {
        let lists = KINDS.into_iter().zip(&self.lists);
        lists.flat_map(|(kind, list)| list.iter().map(move |path| (kind, path.as_str())))
    }

    /// It takes its place in the line: says which of its paths have a watch by then that stays.
    pub(super) fn line_up(&self, mut lasting: impl FnMut(&str) -> Option<AddWatchMode>) {
        let mut paths: Vec<_> = self.items().map(|(_, path)| path).collect();
        paths.sort_unstable();
        paths.dedup();
        let found = paths
            .into_iter()
            .filter_map(|path| Some((path.to_owned(), lasting(path)?)));
        // Prepared for one place in the line only.
        let _ = self.lasting.set(found.collect());
    }

    pub(super) fn lasting(&self) -> &[(String, AddWatchMode)] {
        self.lasting.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn set_answer(&self, answer: Vec<(WatchKind, WatchedEvent)>) {
        let answer = answer
            .into_iter()
            .map(|(kind, event)| (kind, event.kind, event.path));
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.collect();
    }

    /// Whether this can be a part of its answer.
    fn may_be_told(&self, event: &WatchedEvent, zxid: Option<i64>) -> bool {
        let has = |kind: WatchKind| {
            let mut lists = KINDS.iter().zip(&self.lists);
            let list = lists.find(|(of, _)| **of == kind);
            list.is_some_and(|(_, list)| list.binary_search(&event.path).is_ok())
        };
        // Of what happens now, the newer servers tell the transaction.
        zxid.is_none() && KINDS.iter().any(|kind| answers(event, *kind) && has(*kind))
    }

    /// Takes the answer out of what was held.
    pub(super) fn take_answer(&self, held: &mut Vec<Held>) -> Vec<(WatchKind, WatchedEvent)> {
        let mut answer = Vec::new();
        for (kind, path) in self.items().rev() {
            let is_answer = |held: &mut Held| {
                held.is_suspect && held.event.path == path && answers(&held.event, kind)
            };
            if let Some(held) = held.pop_if(is_answer) {
                answer.push((kind, held.event));
            }
        }
        answer.reverse();
        answer
    }

    fn batch(&self) -> Batch<'_> {
        let mut batch = Batch::default();
        self.items().for_each(|(kind, path)| batch.add(kind, path));
        for (path, mode) in self.lasting() {
            batch.add_lasting(*mode, path);
        }
        batch
    }
}

/// What a server may say of a node in one of the lists.
fn answers(event: &WatchedEvent, kind: WatchKind) -> bool {
    matches!(
        (kind, event.kind),
        (
            WatchKind::Data,
            EventType::NodeDeleted | EventType::NodeDataChanged
        ) | (WatchKind::Exist, EventType::NodeCreated)
            | (
                WatchKind::Child,
                EventType::NodeDeleted | EventType::NodeChildrenChanged
            )
    )
}

/// Until it is in line, its length is the largest that it can have then.
impl Record for Comparison {
    fn encoded_len(&self) -> usize {
        let batch = self.question.batch();
        let len = batch.record(self.question.zxid).encoded_len();
        match self.question.lasting.get() {
            Some(_) => len,
            // All of the paths, which are the same in each list that is not empty.
            None => {
                let list_len = |list: &Arc<[String]>| {
                    let paths = list.iter().map(|path| 4 + path.len());
                    paths.sum::<usize>()
                };
                let paths = self.question.lists.iter().map(list_len).max();
                len + 2 * 4 + paths.unwrap_or(0)
            }
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        let batch = self.question.batch();
        batch.record(self.question.zxid).encode(out);
    }
}

/// An event of which it is not known yet whether it is an answer, or that came behind such a one.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) event: WatchedEvent,
    pub(super) zxid: Option<i64>,
    is_suspect: bool,
}

impl Held {
    pub(crate) fn into_event(self) -> (WatchedEvent, Option<i64>) {
        (self.event, self.zxid)
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.is_suspect
    }
}

/// What the session does when the reply comes.
pub struct ComparisonNote {
    pub(super) question: Arc<Question>,
}

impl ComparisonNote {
    /// Keeps an event that may be an answer, or that came behind such a one. Gives it back if
    /// it is neither.
    pub(crate) fn hold(
        &self,
        event: WatchedEvent,
        zxid: Option<i64>,
        held: &mut Vec<Held>,
    ) -> Option<(WatchedEvent, Option<i64>)> {
        let is_suspect = self.question.may_be_told(&event, zxid);
        if !is_suspect && held.is_empty() {
            return Some((event, zxid));
        }
        held.push(Held {
            event,
            zxid,
            is_suspect,
        });
        None
    }

    /// Whether the session has asked by itself.
    pub(crate) fn is_late(&self) -> bool {
        self.question.purpose == Purpose::Late
    }
}

impl PartialEq for ComparisonNote {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.question, &other.question)
    }
}

impl Eq for ComparisonNote {}

impl fmt::Debug for ComparisonNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComparisonNote")
            .field("items", &self.question.items().count())
            .finish_non_exhaustive()
    }
}

impl From<Held> for WatchEvent {
    fn from(held: Held) -> Self {
        Self {
            kind: held.event.kind,
            path: held.event.path,
            zxid: held.zxid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventType::{NodeChildrenChanged, NodeDataChanged, NodeDeleted};

    fn held(list: &[(EventType, &str)], question: &Question) -> Vec<Held> {
        let hold = |(kind, path): &(EventType, &str)| {
            let event = WatchedEvent {
                kind: *kind,
                path: (*path).into(),
            };
            let is_suspect = question.may_be_told(&event, None);
            Held {
                event,
                zxid: None,
                is_suspect,
            }
        };
        list.iter().map(hold).collect()
    }

    fn ask(paths: &[&str]) -> Comparison {
        let paths = paths.iter().map(|path| (*path).to_owned());
        let mut asked = Comparison::split(paths, 7, Aspects::default(), 1 << 20);
        assert_eq!(asked.len(), 1);
        asked.remove(0)
    }

    /// What is left of these events, and how many were an answer.
    fn told(paths: &[&str], events: &[(EventType, &str)]) -> (Vec<(EventType, String)>, usize) {
        let question = ask(paths).question();
        let mut held = held(events, &question);
        let answer = question.take_answer(&mut held);
        let rest = held
            .into_iter()
            .map(|held| (held.event.kind, held.event.path));
        (rest.collect(), answer.len())
    }

    #[test]
    fn an_answer_is_told_from_what_happened_before_it() {
        // Set by somebody, which is told; then the answer says the same.
        let set = (NodeDataChanged, "/a");
        assert_eq!(told(&["/a"], &[set]), (vec![], 1));
        assert_eq!(told(&["/a"], &[set, set]).1, 1);
        assert_eq!(told(&["/a"], &[set, set]).0, [(set.0, set.1.into())]);
        // Nodes that are asked about, and others.
        let events = [
            (NodeDeleted, "/a"),
            (NodeDataChanged, "/x"),
            (NodeDataChanged, "/b"),
            (NodeDeleted, "/a"),
            (NodeDataChanged, "/b"),
            (NodeDeleted, "/a"),
            (NodeChildrenChanged, "/c"),
        ];
        let (rest, answers) = told(&["/a", "/b", "/c"], &events);
        assert_eq!(answers, 4);
        let rest: Vec<_> = rest
            .iter()
            .map(|(kind, path)| (*kind, path.as_str()))
            .collect();
        assert_eq!(rest, events[..3]);
    }

    #[test]
    fn questions_are_split_below_the_limit_and_ask_of_every_path_once() {
        let paths = (0..10_000).map(|n| format!("/{n:0199}"));
        let questions = Comparison::split(paths, 7, Aspects::default(), 1 << 20);
        assert_eq!(questions.len(), 47);
        let mut items = 0;
        for question in &questions {
            assert!(homing_protocol::request_len(question) <= FRAME_LEN_MAX);
            let all = |_: &str| Some(AddWatchMode::Persistent);
            let before = question.encoded_len();
            question.question.line_up(all);
            assert_eq!(question.encoded_len(), before);
            items += question.question.items().count();
        }
        assert_eq!(items, 20_000);
        assert!(Comparison::split([], 7, Aspects::default(), 1 << 20).is_empty());
    }

    #[test]
    fn an_answer_says_what_has_changed() {
        let asked = ask(&["/a", "/b", "/c"]);
        let event = |kind, path: &str| WatchedEvent {
            kind,
            path: path.into(),
        };
        asked.question.set_answer(vec![
            (WatchKind::Data, event(NodeDataChanged, "/a")),
            (WatchKind::Data, event(NodeDeleted, "/b")),
            (WatchKind::Child, event(NodeChildrenChanged, "/a")),
            (WatchKind::Child, event(NodeDeleted, "/b")),
        ]);
        let answer = asked.answer();
        let short: Vec<_> = answer
            .iter()
            .map(|it| (it.path.as_str(), it.is_missing, it.data, it.children))
            .collect();
        assert_eq!(
            short,
            [("/a", false, true, true), ("/b", true, false, false)]
        );
    }
}
