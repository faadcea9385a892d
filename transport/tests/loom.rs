//! Interleavings of the queue and its slots, explored rather than sampled.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test -p homing-transport --test loom --release
//! ```
//!
//! A wake-up that is lost leaves a thread waiting for ever, which loom reports as a deadlock.
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use homing_transport::{
    Driver, Limits, Outbox, Outgoing, Queue, Refused, Request, Signal, Ticket, block_on,
};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Explores all interleavings of `model` with up to three preemptions.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// The answers are tracked by loom: one that is neither pulled nor dropped is reported.
type Answer = loom::sync::Arc<&'static str>;

fn answer(text: &'static str) -> Answer {
    loom::sync::Arc::new(text)
}

type Notes = Queue<u32, Answer>;

fn queue(requests: usize) -> Arc<Notes> {
    let bytes = 1_000;
    Arc::new(Queue::new(Limits { requests, bytes }))
}

/// Submits a request whose only byte is its xid, with `note`.
fn submit(queue: &Notes, note: u32) -> Result<Ticket<Answer>, Refused> {
    queue.try_submit(request(note), |xid, out| {
        out.extend_from_slice(&[u8::try_from(xid).unwrap()]);
    })
}

fn request(note: u32) -> Request<u32> {
    Request {
        len: 1,
        within: None,
        note,
    }
}

/// A session's side of it, in a thread of its own.
struct Session {
    queue: Arc<Notes>,
    outbox: Outbox<Answer>,
    out: Outgoing,
}

impl Session {
    fn new(queue: &Arc<Notes>) -> Self {
        Self {
            queue: Arc::clone(queue),
            outbox: Outbox::new(),
            out: Outgoing::new(),
        }
    }

    fn send(&mut self) {
        self.queue.take_into(&mut self.out);
        self.out.advance(usize::MAX);
    }

    /// Answers the head of the line.
    fn reply(&mut self) {
        let popped = self
            .queue
            .dispatch(&mut self.outbox, |line| line.pop(answer("reply")));
        assert!(popped.is_some());
        self.wake();
    }

    fn end(&mut self) {
        self.queue.end(&mut self.outbox, |_, _| answer("end"));
        self.wake();
    }

    fn wake(&mut self) {
        let mut wakers = Vec::new();
        self.outbox.take_wakers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A driver that is asleep while its signal is off.
struct Bell {
    signal: Arc<Signal>,
    rings: AtomicUsize,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            signal: Arc::new(Signal::new()),
            rings: AtomicUsize::new(0),
        })
    }
}

impl Driver for Bell {
    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.signal.wake_by_ref();
    }
}

fn poll<F: Future + Unpin>(future: &mut F, signal: &Arc<Signal>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(signal));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// Blocks this thread for a future.
fn wait<F: Future>(future: F) -> F::Output {
    struct Elsewhere;
    impl Driver for Elsewhere {
        fn ring(&self) {}
    }
    block_on(&Elsewhere, future).unwrap()
}

#[test]
fn an_answer_is_pulled_or_dropped() {
    check(|| {
        let queue = queue(10);
        let mut session = Session::new(&queue);
        let mut ticket = submit(&queue, 0).unwrap();
        session.send();
        let filling = thread::spawn(move || session.reply());
        let signal = Arc::new(Signal::new());
        if let Poll::Ready(answer) = poll(&mut ticket, &signal) {
            assert_eq!(*answer, "reply");
            assert!(ticket.try_pull().is_none());
        }
        drop(ticket);
        filling.join().unwrap();
        assert_eq!(queue.usage().requests, 0);
    });
}

#[test]
fn whoever_polled_last_is_woken() {
    check(|| {
        let queue = queue(10);
        let mut session = Session::new(&queue);
        let mut ticket = submit(&queue, 0).unwrap();
        session.send();
        let filling = thread::spawn(move || session.reply());
        let (first, last) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
        if poll(&mut ticket, &first).is_pending() && poll(&mut ticket, &last).is_pending() {
            last.wait();
            assert!(poll(&mut ticket, &last).is_ready());
        }
        filling.join().unwrap();
    });
}

#[test]
fn a_thread_that_waits_is_woken() {
    check(|| {
        let queue = queue(10);
        let mut session = Session::new(&queue);
        let ticket = submit(&queue, 0).unwrap();
        session.send();
        let filling = thread::spawn(move || session.reply());
        assert_eq!(*wait(ticket), "reply");
        filling.join().unwrap();
    });
}

/// A driver's loop that sends two requests of two threads, and sleeps when there is nothing.
#[test]
fn no_submission_is_slept_through() {
    check(|| {
        let (queue, bell) = (queue(10), Bell::new());
        queue.attach(Arc::clone(&bell) as _);
        let submitting: Vec<_> = (0..2)
            .map(|note| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || drop(submit(&queue, note).unwrap()))
            })
            .collect();
        let mut session = Session::new(&queue);
        let (mut sent, mut sleeps) = (0, 0);
        while sent < 2 {
            let now = origin();
            let _ = queue.begin_turn(now, &mut session.outbox, |_, _| answer("overdue"));
            queue.take_into(&mut session.out);
            sent += session.out.pending().len();
            session.out.advance(usize::MAX);
            if sent < 2 && queue.park() {
                sleeps += 1;
                bell.signal.wait();
            }
        }
        for thread in submitting {
            thread.join().unwrap();
        }
        assert_eq!(bell.rings.load(Ordering::Relaxed), sleeps);
    });
}

#[test]
fn a_driver_that_is_attached_late_is_rung() {
    check(|| {
        let (queue, bell) = (queue(10), Bell::new());
        assert!(queue.park());
        let submitting = thread::spawn({
            let queue = Arc::clone(&queue);
            move || drop(submit(&queue, 0).unwrap())
        });
        // The cell in which the driver is kept is not one of loom's: this lets others go first.
        thread::yield_now();
        queue.attach(Arc::clone(&bell) as _);
        bell.signal.wait();
        submitting.join().unwrap();
    });
}

#[test]
fn the_end_leaves_nobody_behind() {
    check(|| {
        let queue = queue(1);
        let mut session = Session::new(&queue);
        let ending = thread::spawn(move || session.end());
        let ticket = submit(&queue, 0);
        let admission = queue.admission(1, None);
        let alarm = queue.sleep(Duration::from_secs(1));
        match ticket {
            Ok(ticket) => assert_eq!(*wait(ticket), "end"),
            Err(refused) => assert_eq!(refused, Refused::Ended),
        }
        assert_eq!(wait(admission).err(), Some(Refused::Ended));
        wait(alarm);
        ending.join().unwrap();
        assert_eq!(queue.usage().requests, 0);
    });
}

#[test]
fn room_given_to_somebody_who_leaves_is_not_lost() {
    check(|| {
        let queue = queue(1);
        let mut session = Session::new(&queue);
        let ticket = submit(&queue, 0).unwrap();
        session.send();
        let mut admission = queue.admission(1, None);
        let replying = thread::spawn(move || session.reply());
        // Polled before it leaves, or granted and never fetched, or fetched.
        drop(poll(&mut admission, &Arc::new(Signal::new())));
        drop(admission);
        replying.join().unwrap();
        drop(ticket);
        assert_eq!(queue.usage().requests, 0);
        assert!(submit(&queue, 1).is_ok());
    });
}

#[test]
fn room_that_somebody_leaves_goes_to_the_next() {
    check(|| {
        let queue = queue(1);
        let mut session = Session::new(&queue);
        let _ticket = submit(&queue, 0).unwrap();
        session.send();
        let (first, second) = (queue.admission(1, None), queue.admission(1, None));
        let replying = thread::spawn(move || session.reply());
        let leaving = thread::spawn(move || drop(first));
        drop(wait(second).unwrap());
        replying.join().unwrap();
        leaving.join().unwrap();
        assert_eq!(queue.usage().requests, 0);
    });
}

#[test]
fn the_order_in_line_is_the_order_of_xids() {
    check(|| {
        let queue = queue(10);
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || [submit(&queue, 1).unwrap(), submit(&queue, 2).unwrap()]
        });
        let mut mine = submit(&queue, 3).unwrap();
        let mut theirs = other.join().unwrap();
        let mut out = Outgoing::new();
        queue.take_into(&mut out);
        assert_eq!(out.pending(), [1, 2, 3], "in the bytes");
        let notes = queue.dispatch(&mut Outbox::new(), |line| {
            [1, 2, 3].map(|due| {
                assert_eq!(line.head().map(|(xid, _)| xid), Some(due), "in the line");
                line.pop(answer("reply")).unwrap()
            })
        });
        let place = |note| notes.iter().position(|other| *other == note);
        assert!(place(1) < place(2), "a thread's own order is kept");
        assert!(theirs.iter_mut().all(|ticket| ticket.try_pull().is_some()));
        assert!(mine.try_pull().is_some());
    });
}

#[test]
fn a_deadline_and_a_drop_end_a_request_once() {
    check(|| {
        let (queue, now) = (queue(10), origin());
        let mut session = Session::new(&queue);
        let deadline = Request {
            within: Some(Duration::ZERO),
            ..request(0)
        };
        let ticket = queue.try_submit(deadline, |_, out| out.extend_from_slice(b"."));
        let other = submit(&queue, 1).unwrap();
        let passing = thread::spawn(move || {
            let overdue = |_: &u32, _| answer("overdue");
            let _ = session.queue.begin_turn(now, &mut session.outbox, overdue);
            session.wake();
            session
        });
        drop(ticket);
        let mut session = passing.join().unwrap();
        // Left out if it was overdue first, sent if it was dropped first; nothing in between.
        session.queue.take_into(&mut session.out);
        let usage = queue.usage();
        assert_eq!(session.out.pending().len(), usage.bytes);
        assert!(matches!(usage.requests, 1 | 2));
        drop(other);
    });
}

#[test]
fn a_signal_is_not_missed() {
    check(|| {
        let signal = Arc::new(Signal::new());
        let waking = thread::spawn({
            let signal = Arc::clone(&signal);
            move || signal.wake()
        });
        signal.wait();
        waking.join().unwrap();
        assert!(!signal.take(), "it is off again");
    });
}

/// The one look at a clock: nothing here depends on what time it is.
#[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}
