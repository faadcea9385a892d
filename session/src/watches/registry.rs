//! What is watched, and what the server knows of it.
//!
//! A server up to 3.8 keeps one mode for a path and a connection: a one-shot watch takes the
//! place of one that stays, and of two that stay the last one is left. So no one-shot watch is
//! set where one is that stays; it is served from that one. And where both a persistent and a
//! recursive watch are wanted, the recursive one is set, and serves the other. What a request is
//! to do about it is decided when it takes its place in the line ([`Registry::plan_once`],
//! [`Registry::plan_lasting`]), by what the requests before it will have done by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use homing_protocol::{AddWatchMode, EventType, WatchedEvent};
use homing_transport::Slot;

use super::comparison::{Purpose, Question};
use super::feed::{Feed, Gap, WatchEnd};
use super::{WatchEvent, WatchKind, WatchOutcome, WatchedPath};

#[derive(Default)]
pub(super) struct Registry {
    /// Ordered, so that a seed fixes the order in which everything happens.
    pub(super) paths: BTreeMap<String, Path>,
    pub(super) armed: usize,
    /// How many of these are recursive. While there are none, ancestors need no look.
    recursive: usize,
    next_id: u64,
    /// Requests in the line that have to do with watches.
    in_line: BTreeMap<u64, InLine>,
    /// Paths on which the server has a watch, and perhaps nobody is left who wants it.
    pub(super) idle: BTreeSet<String>,
    /// Paths with watches that are still to be set.
    pub(super) late: BTreeSet<String>,
    /// How many removals are in the line.
    pub(super) removals: usize,
    /// The node whose children have changed by the newest event, if it was concluded from an
    /// event of a child's: some servers tell both, one right behind the other.
    concluded: Option<String>,
    /// Somebody was told that there are very many.
    pub(super) has_warned: bool,
}

/// Everything about one path.
#[derive(Default)]
pub(super) struct Path {
    pub(super) once: Vec<Once>,
    pub(super) lasting: Vec<Lasting>,
    /// The watch that stays which the server has on this connection, as of the newest reply.
    pub(super) server: Option<AddWatchMode>,
    /// The same, when all requests in the line will have been handled. Only if some of them
    /// change it.
    planned: Option<AddWatchMode>,
    changing: usize,
    /// Requests in the line that will want a watch here.
    pub(super) coming: usize,
    /// The server has a one-shot watch here that nobody has asked for.
    pub(super) stray: bool,
}

pub(super) struct Once {
    pub(super) id: u64,
    pub(super) kind: WatchKind,
    pub(super) slot: Arc<Slot<WatchOutcome>>,
    /// The server does not have it yet: it is to be set, and changes since this transaction are
    /// to be told.
    pub(super) since: Option<i64>,
}

pub(super) struct Lasting {
    pub(super) id: u64,
    pub(super) recursive: bool,
    pub(super) feed: Arc<Feed>,
}

#[derive(Clone, Copy)]
enum InLine {
    /// Wants a one-shot watch: set by itself, or served from one that stays.
    Once { served: bool },
    /// Sets a watch that stays.
    Lasting(AddWatchMode),
    /// Removes all.
    Removal,
}

impl Path {
    /// The watch that stays which the server will have when it comes to a request that is put
    /// in line now.
    pub(super) fn expected(&self) -> Option<AddWatchMode> {
        match self.changing {
            // Without a connection there is none, but the next one begins with all of these.
            0 => self.server.max(self.wanted()),
            _ => self.planned,
        }
    }

    /// The narrowest that serves all watches here that stay.
    pub(super) fn wanted(&self) -> Option<AddWatchMode> {
        let modes = self.lasting.iter().map(|lasting| mode(lasting.recursive));
        modes.max()
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.once.is_empty() || !self.lasting.is_empty()
    }

    fn is_forgotten(&self) -> bool {
        !self.is_wanted()
            && self.coming + self.changing == 0
            && self.server.is_none()
            && !self.stray
    }

    fn is_recursive(&self) -> bool {
        self.server == Some(AddWatchMode::PersistentRecursive)
    }
}

fn mode(recursive: bool) -> AddWatchMode {
    match recursive {
        true => AddWatchMode::PersistentRecursive,
        false => AddWatchMode::Persistent,
    }
}

/// Places in the line.
impl Registry {
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A read that wants a one-shot watch takes its place in the line. `true` if it is to have
    /// the server set it.
    pub(super) fn plan_once(&mut self, id: u64, path: &str, kind: WatchKind) -> bool {
        let at = self.path(path);
        at.coming += 1;
        let served = match at.expected() {
            None => false,
            Some(AddWatchMode::Persistent) => true,
            // A recursive watch is not told of lists of children, so that there is nothing to be
            // spoilt.
            Some(AddWatchMode::PersistentRecursive) => kind != WatchKind::Child,
        };
        self.in_line.insert(id, InLine::Once { served });
        !served
    }

    /// A request for a watch that stays takes its place in the line, and is told what to set.
    pub(super) fn plan_lasting(&mut self, id: u64, path: &str, recursive: bool) -> AddWatchMode {
        let at = self.path(path);
        let mode = at
            .expected()
            .map_or(mode(recursive), |former| former.max(mode(recursive)));
        at.coming += 1;
        at.changing += 1;
        at.planned = Some(mode);
        self.in_line.insert(id, InLine::Lasting(mode));
        mode
    }

    pub(super) fn plan_removal(&mut self, path: &str) -> u64 {
        let id = self.next_id();
        let at = self.path(path);
        at.changing += 1;
        at.planned = None;
        self.removals += 1;
        self.in_line.insert(id, InLine::Removal);
        id
    }

    /// It is out of the line, however that came.
    pub(super) fn leave(&mut self, id: u64, path: &str) {
        let Some(in_line) = self.in_line.remove(&id) else {
            return;
        };
        if let Some(at) = self.paths.get_mut(path) {
            let wants = !matches!(in_line, InLine::Removal);
            let changes = !matches!(in_line, InLine::Once { .. });
            at.coming -= usize::from(wants);
            at.changing -= usize::from(changes);
        }
        self.removals -= usize::from(matches!(in_line, InLine::Removal));
        self.tidy(path);
    }

    fn path(&mut self, path: &str) -> &mut Path {
        self.paths.entry(path.to_owned()).or_default()
    }

    fn tidy(&mut self, path: &str) {
        if self.paths.get(path).is_some_and(Path::is_forgotten) {
            self.paths.remove(path);
        }
    }
}

/// Arming.
impl Registry {
    /// A read has come back that set a one-shot watch, or found one that serves it. `zxid` is
    /// that of its reply.
    pub(super) fn arm_once(&mut self, path: &str, once: Once, zxid: i64) {
        let served = matches!(
            self.in_line.get(&once.id),
            Some(InLine::Once { served: true })
        );
        let at = self.path(path);
        let is_late = served && at.server.is_none();
        if !once.slot.is_awaited() {
            if !is_late {
                self.idle.insert(path.to_owned());
            }
            return;
        }
        at.once.push(Once {
            since: is_late.then_some(zxid),
            ..once
        });
        self.armed += 1;
        if is_late {
            self.late.insert(path.to_owned());
        }
    }

    /// The server has set a watch that stays.
    pub(super) fn arm_lasting(&mut self, path: &str, lasting: Lasting) {
        let set = match self.in_line.get(&lasting.id) {
            Some(InLine::Lasting(mode)) => *mode,
            _ => mode(lasting.recursive),
        };
        let at = self.path(path);
        at.server = at.server.max(Some(set));
        if !lasting.feed.is_awaited() {
            self.idle.insert(path.to_owned());
            return;
        }
        self.recursive += usize::from(lasting.recursive);
        self.armed += 1;
        self.path(path).lasting.push(lasting);
    }

    /// All watches on the path are removed at the server.
    pub(super) fn removed(&mut self, path: &str) {
        if let Some(at) = self.paths.get_mut(path) {
            at.server = None;
            at.stray = false;
        }
    }

    /// Takes out the watch of an owner who does not want it any more. `true` if there is
    /// something to be done about it at the server.
    pub(super) fn forget(&mut self, path: &str, id: u64) -> bool {
        let Some(at) = self.paths.get_mut(path) else {
            return false;
        };
        let before = at.once.len() + at.lasting.len();
        at.once.retain(|once| once.id != id);
        let gone: Vec<_> = at.lasting.extract_if(.., |one| one.id == id).collect();
        let removed = before - at.once.len() - at.lasting.len();
        let is_idle = removed > 0 && !at.is_wanted();
        self.recursive -= gone.iter().filter(|one| one.recursive).count();
        self.armed -= removed;
        if is_idle {
            self.idle.insert(path.to_owned());
        }
        self.tidy(path);
        is_idle
    }

    /// The server has set the watch, which is told of nothing that it has missed.
    pub(super) fn restored(
        &mut self,
        path: &str,
        mode: AddWatchMode,
        gap: Option<Gap>,
        wakers: &mut Vec<Waker>,
    ) {
        let at = self.path(path);
        at.server = at.server.max(Some(mode));
        if !at.is_wanted() {
            self.idle.insert(path.to_owned());
            return;
        }
        if let Some(gap) = gap {
            for lasting in &at.lasting {
                lasting.feed.push_gap(gap, wakers);
            }
        }
    }

    /// Every one-shot watch is set.
    pub(super) fn none_is_late(&mut self) {
        for path in std::mem::take(&mut self.late) {
            let once = self.paths.get_mut(&path).map(|at| &mut at.once);
            once.into_iter()
                .flatten()
                .for_each(|once| once.since = None);
        }
    }

    /// The connection is gone, and with it all that the server knew.
    pub(super) fn disconnected(&mut self) {
        self.idle.clear();
        self.concluded = None;
        self.paths.retain(|_, at| {
            at.server = None;
            at.stray = false;
            !at.is_forgotten()
        });
    }

    /// A question has been answered, by which the server has set watches.
    pub(super) fn compared(
        &mut self,
        question: &Question,
        answer: Vec<(WatchKind, WatchedEvent)>,
        fired: &mut Fired,
    ) {
        for (path, mode) in question.lasting() {
            self.restored(path, *mode, None, &mut Vec::new());
        }
        match question.purpose {
            Purpose::Late => {
                for (_, event) in answer {
                    let event = WatchEvent {
                        kind: event.kind,
                        path: event.path,
                        zxid: None,
                    };
                    // Others on the same node may have seen more.
                    self.fire_once(&event, fired, |once| once.since == Some(question.zxid));
                }
                for (_, path) in question.items() {
                    let once = self.paths.get_mut(path).map(|at| &mut at.once);
                    let once = once.into_iter().flatten();
                    let set = once.filter(|once| once.since == Some(question.zxid));
                    set.for_each(|once| once.since = None);
                }
            }
            Purpose::Asked { keep_watches } => {
                let mut told = answer.iter().peekable();
                for (kind, path) in question.items() {
                    let is_told =
                        |told: &&(WatchKind, WatchedEvent)| told.0 == kind && told.1.path == path;
                    if told.next_if(is_told).is_none() && !keep_watches {
                        self.stray(path);
                    }
                }
                question.set_answer(answer);
            }
        }
    }

    /// The server has set a one-shot watch that nobody has asked for.
    fn stray(&mut self, path: &str) {
        match self.paths.get_mut(path).filter(|at| at.is_wanted()) {
            // It cannot be removed without the others, so it goes with the last of them.
            Some(at) => at.stray = true,
            None => {
                self.idle.insert(path.to_owned());
            }
        }
    }

    /// Ends all watches that stay.
    pub(super) fn end_lasting(&mut self, end: &WatchEnd, wakers: &mut Vec<Waker>) {
        for at in self.paths.values_mut() {
            for lasting in at.lasting.drain(..) {
                self.armed -= 1;
                lasting.feed.end(end.clone(), wakers);
            }
        }
        self.recursive = 0;
        self.paths.retain(|_, at| !at.is_forgotten());
    }

    pub(super) fn report(&self) -> Vec<WatchedPath> {
        let paths = self.paths.iter().filter(|(_, at)| at.is_wanted());
        let count = |at: &Path, kind| at.once.iter().filter(|once| once.kind == kind).count();
        let report = paths.map(|(path, at)| {
            let recursive = at.lasting.iter().filter(|one| one.recursive).count();
            WatchedPath {
                path: path.clone(),
                data: count(at, WatchKind::Data),
                exist: count(at, WatchKind::Exist),
                child: count(at, WatchKind::Child),
                persistent: at.lasting.len() - recursive,
                recursive,
            }
        });
        report.collect()
    }
}

/// One-shot watches that have fired, to be filled when no lock is held.
pub(super) type Fired = Vec<(Arc<Slot<WatchOutcome>>, WatchEvent)>;

/// Events.
impl Registry {
    /// Tells everybody whom the event concerns.
    pub(super) fn fire(
        &mut self,
        event: &WatchedEvent,
        zxid: Option<i64>,
        fired: &mut Fired,
        wakers: &mut Vec<Waker>,
    ) {
        let concluded = self.concluded.take();
        let event = WatchEvent {
            kind: event.kind,
            path: event.path.clone(),
            zxid,
        };
        if event.kind == EventType::NodeChildrenChanged {
            // The other half of a pair says nothing new.
            if concluded.as_ref() != Some(&event.path) {
                self.fire_here(&event, fired, wakers);
            }
            return;
        }
        self.fire_here(&event, fired, wakers);
        self.fire_above(&event, wakers);
        if event.kind != EventType::NodeDataChanged {
            self.conclude(event, fired, wakers);
        }
    }

    /// A reply came: what is told next belongs to something else.
    pub(super) fn separate(&mut self) {
        self.concluded = None;
    }

    /// Tells the watches on the node itself.
    fn fire_here(&mut self, event: &WatchEvent, fired: &mut Fired, wakers: &mut Vec<Waker>) {
        self.fire_once(event, fired, |_| true);
        let Some(at) = self.paths.get(&event.path) else {
            return;
        };
        if at.server.is_none() {
            // It is not from these: they are still to be set again.
            return;
        }
        let is_list = event.kind == EventType::NodeChildrenChanged;
        let told = at.lasting.iter().filter(|one| !(one.recursive && is_list));
        told.for_each(|one| one.feed.push(event.clone(), wakers));
    }

    /// Tells the one-shot watches on the node that it concerns and that are chosen.
    pub(super) fn fire_once(
        &mut self,
        event: &WatchEvent,
        fired: &mut Fired,
        chosen: impl Fn(&Once) -> bool,
    ) {
        let Some(at) = self.paths.get_mut(&event.path) else {
            return;
        };
        let concerned = |once: &mut Once| once.kind.is_told(event.kind) && chosen(once);
        let before = fired.len();
        let once = at.once.extract_if(.., concerned);
        fired.extend(once.map(|once| (once.slot, event.clone())));
        self.armed -= fired.len() - before;
        if fired.len() > before && !at.is_wanted() && (at.server.is_some() || at.stray) {
            self.idle.insert(event.path.clone());
        }
        self.tidy(&event.path);
    }

    /// Tells the watches above that reach down to the node.
    fn fire_above(&self, event: &WatchEvent, wakers: &mut Vec<Waker>) {
        if self.recursive == 0 {
            return;
        }
        let above = std::iter::successors(parent(&event.path), |path| parent(path));
        for at in above.filter_map(|path| self.paths.get(path)) {
            if at.is_recursive() {
                let told = at.lasting.iter().filter(|one| one.recursive);
                told.for_each(|one| one.feed.push(event.clone(), wakers));
            }
        }
    }

    /// A child has come or gone: where a recursive watch is all that the server has, it will not
    /// tell those who watch the list.
    fn conclude(&mut self, event: WatchEvent, fired: &mut Fired, wakers: &mut Vec<Waker>) {
        let Some(parent) = parent(&event.path) else {
            return;
        };
        if !self.paths.get(parent).is_some_and(Path::is_recursive) {
            return;
        }
        let event = WatchEvent {
            kind: EventType::NodeChildrenChanged,
            path: parent.to_owned(),
            zxid: event.zxid,
        };
        self.fire_here(&event, fired, wakers);
        self.concluded = Some(event.path);
    }
}

/// `None` for the root, and for what is no path.
fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn parents_end_with_the_root() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!((parent("/"), parent(""), parent("a")), (None, None, None));
    }
}
