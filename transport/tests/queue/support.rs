//! A queue with a session's and a driver's side to it, and a clock that stands still.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use homing_transport::{
    Driver, Fate, Limits, Outbox, Outgoing, Queue, Refused, Request, Ticket, Turn,
};

/// A request's bytes, and its note.
pub(crate) type Text = &'static str;

/// How a request ended, and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Reply(Text),
    Lost(Text),
    Overdue(Text, Fate),
    Ended(Text, Fate),
}

pub(crate) struct Rig {
    pub(crate) queue: Arc<Queue<Text, Answer>>,
    pub(crate) out: Outgoing,
    pub(crate) now: Instant,
    outbox: Outbox<Answer>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_queue(Queue::new(Limits::default()))
    }

    pub(crate) fn with_limits(requests: usize, bytes: usize) -> Self {
        Self::with_queue(Queue::new(Limits { requests, bytes }))
    }

    pub(crate) fn with_queue(queue: Queue<Text, Answer>) -> Self {
        Self {
            queue: Arc::new(queue),
            out: Outgoing::new(),
            now: base(),
            outbox: Outbox::new(),
        }
    }

    // A caller's side.

    pub(crate) fn submit(&self, text: Text) -> Ticket<Answer> {
        self.try_submit(text, None).unwrap()
    }

    pub(crate) fn submit_within(&self, text: Text, ms: u64) -> Ticket<Answer> {
        self.try_submit(text, Some(Duration::from_millis(ms)))
            .unwrap()
    }

    pub(crate) fn try_submit(
        &self,
        text: Text,
        within: Option<Duration>,
    ) -> Result<Ticket<Answer>, Refused> {
        let request = Request {
            len: text.len(),
            within,
            note: text,
        };
        self.queue
            .try_submit(request, |_, out| out.extend_from_slice(text.as_bytes()))
    }

    /// Seals with 5 s for the last request.
    pub(crate) fn seal(&self, text: Text) -> Option<Ticket<Answer>> {
        let request = Request {
            len: text.len(),
            within: None,
            note: text,
        };
        self.queue.seal(Duration::from_secs(5), request, |_, out| {
            out.extend_from_slice(text.as_bytes());
        })
    }

    /// Requests and bytes in use.
    pub(crate) fn used(&self) -> (usize, usize) {
        let usage = self.queue.usage();
        (usage.requests, usage.bytes)
    }

    // A session's side.

    /// A turn, this much later.
    pub(crate) fn turn_after(&mut self, ms: u64) -> Turn {
        self.now += Duration::from_millis(ms);
        self.queue
            .begin_turn(self.now, &mut self.outbox, |note, fate| {
                Answer::Overdue(note, fate)
            })
    }

    pub(crate) fn take(&mut self) {
        self.queue.take_into(&mut self.out);
    }

    pub(crate) fn control(&mut self, text: Text) {
        self.out
            .put_control(|out| out.extend_from_slice(text.as_bytes()));
    }

    /// Answers the head of the line with its own text, and says which one that was.
    pub(crate) fn reply(&mut self) -> Option<Text> {
        self.queue.dispatch(&mut self.outbox, |line| {
            let text = line.head().map(|(_, note)| *note)?;
            line.pop(Answer::Reply(text))
        })
    }

    /// The xid at the head of the line.
    pub(crate) fn head_xid(&mut self) -> Option<i32> {
        self.queue
            .dispatch(&mut self.outbox, |line| line.head().map(|(xid, _)| xid))
    }

    /// The connection is lost, and the next one is not there yet.
    pub(crate) fn lose(&mut self) {
        let unsent = std::mem::take(&mut self.out);
        self.queue
            .give_back(&unsent, &mut self.outbox, |note| Answer::Lost(note));
    }

    pub(crate) fn forget_dropped(&mut self) {
        self.queue.forget_dropped(&mut self.outbox);
    }

    pub(crate) fn end(&mut self) {
        self.queue
            .end(&mut self.outbox, |note, fate| Answer::Ended(note, fate));
    }

    /// Calls the wakers of all that was answered.
    pub(crate) fn wake(&mut self) {
        let mut wakers = Vec::new();
        self.outbox.take_wakers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// When the queue wants its next turn: in milliseconds from now.
    pub(crate) fn timeout_ms(&self) -> Option<u128> {
        let at = self.queue.poll_timeout()?;
        Some(at.saturating_duration_since(self.now).as_millis())
    }

    // A driver's side.

    /// Writes this many bytes.
    pub(crate) fn write(&mut self, count: usize) {
        self.out.advance(count);
    }

    /// Takes everything and writes it.
    pub(crate) fn send(&mut self) {
        self.take();
        self.out.advance(usize::MAX);
    }

    /// What is to be written.
    pub(crate) fn pending(&self) -> String {
        String::from_utf8(self.out.pending().to_vec()).unwrap()
    }
}

/// The one look at a clock: from here on, time is what a test says it is.
#[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
pub(crate) fn base() -> Instant {
    Instant::now()
}

/// A waker, or a driver's doorbell, that counts.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicUsize);

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn rings(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Polls, to be woken by this bell.
    pub(crate) fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Driver for Bell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
