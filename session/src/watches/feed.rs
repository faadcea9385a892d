//! What a watch that stays has seen, until its owner asks.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use homing_protocol::ErrorCode;

use super::WatchEvent;
use crate::status::SessionEnd;

/// What a watch tells that stays.
///
/// ```
/// use homing_session::{EventType, WatchEvent, WatchItem};
/// let event = WatchEvent { kind: EventType::NodeCreated, path: "/a".into(), zxid: Some(7) };
/// assert_eq!(WatchItem::Event(event).to_string(), "NodeCreated \"/a\"");
/// assert_eq!(WatchItem::Overflow { missed: 3 }.to_string(), "3 events missed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchItem {
    /// Something has changed.
    Event(WatchEvent),
    /// The connection was lost, and there is another one on which the watch is set again.
    /// Whatever changed in between was not told and will not be: servers do not catch up with
    /// watches that stay. What was told before is complete up to the gap, and what comes after it
    /// is complete from there on. So read again, or ask what has changed since the gap began.
    Gap(Gap),
    /// More events came than the backlog holds before they were asked for. They are lost.
    Overflow {
        /// How many.
        missed: u64,
    },
}

impl fmt::Display for WatchItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => event.fmt(f),
            Self::Gap(gap) => gap.fmt(f),
            Self::Overflow { missed } => write!(f, "{missed} events missed"),
        }
    }
}

/// A time without a connection, as a watch has it that stays; see [`WatchItem::Gap`].
///
/// ```
/// fn since(gap: &homing_session::Gap) -> i64 {
///     gap.last_zxid
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The last transaction that the session had seen by then: of all up to it, everything was
    /// told.
    pub last_zxid: i64,
    /// When the connection was lost.
    pub lost_at: Instant,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a gap since transaction {:#x}", self.last_zxid)
    }
}

/// Why a watch that stays is over.
///
/// ```
/// use homing_session::{SessionEnd, WatchEnd};
/// let end = WatchEnd::Session(SessionEnd::Closed);
/// assert_eq!(end.to_string(), "the session was closed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEnd {
    /// The session is.
    Session(SessionEnd),
    /// The session has moved to a server that does not have watches that stay. The session goes
    /// on.
    Refused {
        /// The server.
        server: SocketAddr,
        /// What it said.
        code: ErrorCode,
    },
}

impl fmt::Display for WatchEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(end) => end.fmt(f),
            Self::Refused { server, code } => write!(
                f,
                "the server at {server}, to which the session has moved, does not take the watch over: {code}; it may be older than 3.6"
            ),
        }
    }
}

/// The backlog of a watch that stays. The session puts in, and is never blocked.
///
/// What is always true: there are at most `capacity` items and one hole behind them; after the
/// end nothing enters.
pub(crate) struct Feed {
    backlog: Mutex<Backlog>,
    capacity: usize,
}

#[derive(Default)]
struct Backlog {
    items: VecDeque<Item>,
    waker: Option<Waker>,
    end: Option<WatchEnd>,
    /// The end was told, or nobody listens any more.
    is_over: bool,
}

enum Item {
    Event(WatchEvent),
    /// Something is not here that there was.
    Hole {
        missed: u64,
        gap: Option<Gap>,
    },
}

impl Feed {
    /// A backlog of so many items, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            backlog: Mutex::default(),
            capacity: capacity.max(1),
        }
    }

    pub(crate) fn push(&self, event: WatchEvent, wakers: &mut Vec<Waker>) {
        self.put(wakers, |items, capacity| {
            if items.len() < capacity {
                return items.push_back(Item::Event(event));
            }
            match items.back_mut() {
                Some(Item::Hole { missed, .. }) => *missed += 1,
                _ => items.push_back(Item::Hole {
                    missed: 1,
                    gap: None,
                }),
            }
        });
    }

    /// Notes that something may be missing from here on. What two gaps in a row say, the first
    /// says alone.
    pub(crate) fn push_gap(&self, new: Gap, wakers: &mut Vec<Waker>) {
        self.put(wakers, |items, _| match items.back_mut() {
            Some(Item::Hole { gap, .. }) => {
                gap.get_or_insert(new);
            }
            _ => items.push_back(Item::Hole {
                missed: 0,
                gap: Some(new),
            }),
        });
    }

    fn put(&self, wakers: &mut Vec<Waker>, put: impl FnOnce(&mut VecDeque<Item>, usize)) {
        let mut backlog = self.backlog();
        if backlog.is_over || backlog.end.is_some() {
            return;
        }
        put(&mut backlog.items, self.capacity);
        wakers.extend(backlog.waker.take());
    }

    pub(crate) fn end(&self, end: WatchEnd, wakers: &mut Vec<Waker>) {
        let mut backlog = self.backlog();
        backlog.end.get_or_insert(end);
        wakers.extend(backlog.waker.take());
    }

    /// Whether anybody listens.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.backlog().is_over
    }

    /// Nobody listens any more.
    pub(crate) fn abandon(&self) {
        let mut backlog = self.backlog();
        backlog.is_over = true;
        // Dropped after the lock: dropping a waker can run an executor's code.
        let _former = (std::mem::take(&mut backlog.items), backlog.waker.take());
        drop(backlog);
    }

    /// The oldest item; the end, once, behind the last; then `None`.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchItem, WatchEnd>>> {
        let mut backlog = self.backlog();
        if backlog.is_over {
            return Poll::Ready(None);
        }
        if let Some(item) = backlog.pop() {
            return Poll::Ready(Some(Ok(item)));
        }
        if let Some(end) = backlog.end.take() {
            backlog.is_over = true;
            return Poll::Ready(Some(Err(end)));
        }
        let is_known = backlog.waker.as_ref();
        if !is_known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            let _former = backlog.waker.replace(cx.waker().clone());
            drop(backlog);
        }
        Poll::Pending
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    fn pop(&mut self) -> Option<WatchItem> {
        match self.items.pop_front()? {
            Item::Event(event) => Some(WatchItem::Event(event)),
            Item::Hole {
                missed: 0,
                gap: Some(gap),
            } => Some(WatchItem::Gap(gap)),
            Item::Hole { missed, gap } => {
                if gap.is_some() {
                    self.items.push_front(Item::Hole { missed: 0, gap });
                }
                Some(WatchItem::Overflow { missed })
            }
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("items", &self.backlog().items.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;
    use homing_protocol::EventType;

    fn event(n: usize) -> WatchEvent {
        WatchEvent {
            kind: EventType::NodeCreated,
            path: format!("/{n}"),
            zxid: None,
        }
    }

    fn gap(last_zxid: i64) -> Gap {
        let lost_at = Instant::now();
        Gap { last_zxid, lost_at }
    }

    /// What is there, in short.
    fn told(feed: &Feed) -> Vec<String> {
        let mut told = Vec::new();
        while let Poll::Ready(item) = feed.poll(&mut Context::from_waker(Waker::noop())) {
            told.push(match item {
                None => "over".into(),
                Some(Ok(WatchItem::Event(event))) => event.path,
                Some(Ok(other)) => other.to_string(),
                Some(Err(end)) => end.to_string(),
            });
            if told.last().is_some_and(|last| last == "over") {
                break;
            }
        }
        told
    }

    #[test]
    fn what_is_too_much_is_counted_where_it_is_missing() {
        let (feed, mut wakers) = (Feed::new(2), Vec::new());
        (0..5).for_each(|n| feed.push(event(n), &mut wakers));
        assert_eq!(told(&feed), ["/0", "/1", "3 events missed"]);
        (5..8).for_each(|n| feed.push(event(n), &mut wakers));
        assert_eq!(told(&feed), ["/5", "/6", "1 events missed"]);
    }

    #[test]
    fn what_comes_behind_a_hole_stands_behind_it() {
        let (feed, mut wakers) = (Feed::new(2), Vec::new());
        (0..3).for_each(|n| feed.push(event(n), &mut wakers));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(feed.poll(&mut cx).is_ready());
        feed.push(event(3), &mut wakers);
        assert!(feed.poll(&mut cx).is_ready());
        feed.push(event(4), &mut wakers);
        assert_eq!(told(&feed), ["2 events missed", "/4"]);
    }

    #[test]
    fn gaps_and_misses_take_no_more_room_than_one_item() {
        let (feed, mut wakers) = (Feed::new(2), Vec::new());
        for n in 0..100 {
            feed.push(event(n), &mut wakers);
            feed.push_gap(gap(i64::try_from(n).unwrap()), &mut wakers);
        }
        assert_eq!(feed.backlog().items.len(), 2);
        let expected = ["/0", "99 events missed", "a gap since transaction 0x0"];
        assert_eq!(told(&feed), expected);
    }

    #[test]
    fn the_end_is_told_once_and_behind_everything() {
        let (feed, mut wakers) = (Feed::new(2), Vec::new());
        feed.push(event(0), &mut wakers);
        feed.end(WatchEnd::Session(SessionEnd::Closed), &mut wakers);
        feed.push(event(1), &mut wakers);
        feed.end(WatchEnd::Session(SessionEnd::Detached), &mut wakers);
        assert_eq!(told(&feed), ["/0", "the session was closed", "over"]);
    }

    #[test]
    fn whoever_waits_is_woken() {
        let (feed, mut wakers) = (Feed::new(2), Vec::new());
        assert_eq!(told(&feed), [""; 0]);
        feed.push(event(0), &mut wakers);
        assert_eq!(wakers.len(), 1);
        feed.push(event(1), &mut wakers);
        assert_eq!(wakers.len(), 1, "nobody waits any more");
        feed.abandon();
        assert!(!feed.is_awaited());
    }
}
