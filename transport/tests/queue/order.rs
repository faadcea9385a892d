//! One line: requests leave in the order of submission, and replies come in that order.

use std::sync::Arc;
use std::task::Poll;

use homing_transport::{Limits, Outbox, Queue, Request, Ticket};

use crate::support::{Answer, Bell, Rig};

#[test]
fn requests_leave_in_the_order_of_submission() {
    let mut rig = Rig::new();
    let _tickets = [rig.submit("a"), rig.submit("bb"), rig.submit("ccc")];
    rig.take();
    let _later = rig.submit("d");
    rig.take();
    assert_eq!(rig.pending(), "abbcccd");
}

#[test]
fn bytes_are_taken_once() {
    let mut rig = Rig::new();
    let _ticket = rig.submit("a");
    rig.take();
    rig.take();
    assert_eq!(rig.pending(), "a");
}

#[test]
fn what_is_taken_aside_is_not_counted() {
    let mut rig = Rig::new();
    let queue = Arc::clone(&rig.queue);
    let aside = |note| {
        let request = Request {
            len: 1,
            within: None,
            note,
        };
        let ticket = queue.submit_aside(request, |out| out.extend_from_slice(b"."));
        ticket.unwrap()
    };
    let _tickets = [aside("x"), rig.submit("a"), aside("y"), rig.submit("b")];
    assert_eq!(queue.take_into(&mut rig.out), 2);
    assert_eq!(rig.pending(), ".a.b");
    let _tickets = [aside("z"), rig.submit("c")];
    assert_eq!(queue.take_into(&mut rig.out), 1);
    let _ticket = aside("z");
    assert_eq!(queue.take_into(&mut rig.out), 0);
    assert_eq!(rig.pending(), ".a.b.c.");
}

#[test]
fn replies_go_to_the_head_of_the_line() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.submit("a"), rig.submit("b"));
    rig.send();
    assert_eq!(rig.reply(), Some("a"));
    assert_eq!(a.try_pull(), Some(Answer::Reply("a")));
    assert_eq!(b.try_pull(), None);
    assert_eq!(rig.reply(), Some("b"));
    assert_eq!(b.try_pull(), Some(Answer::Reply("b")));
}

#[test]
fn awaiting_in_another_order_changes_nothing() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.submit("a"), rig.submit("b"));
    let bell = Bell::new();
    assert!(bell.poll(&mut b).is_pending());
    rig.send();
    rig.reply();
    rig.wake();
    assert_eq!(bell.rings(), 0, "nobody polled the first one");
    rig.reply();
    rig.wake();
    assert_eq!(bell.rings(), 1);
    assert_eq!(bell.poll(&mut b), Poll::Ready(Answer::Reply("b")));
    assert_eq!(bell.poll(&mut a), Poll::Ready(Answer::Reply("a")));
}

#[test]
fn no_reply_is_due_to_a_request_that_was_not_taken() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    assert_eq!(rig.head_xid(), None);
    assert_eq!(rig.reply(), None);
    let popped = rig
        .queue
        .dispatch(&mut Outbox::new(), |line| line.pop(Answer::Reply("a")));
    assert_eq!(popped, None);
    assert_eq!(ticket.try_pull(), None);
}

#[test]
fn replies_that_come_together_are_matched_in_one_pass() {
    let mut rig = Rig::new();
    let mut tickets = [rig.submit("a"), rig.submit("b"), rig.submit("c")];
    rig.send();
    let notes = rig.queue.dispatch(&mut Outbox::new(), |line| {
        [line.pop(Answer::Reply("1")), line.pop(Answer::Reply("2"))]
    });
    assert_eq!(notes, [Some("a"), Some("b")]);
    let answers = tickets.each_mut().map(Ticket::try_pull);
    assert_eq!(
        answers,
        [Some(Answer::Reply("1")), Some(Answer::Reply("2")), None]
    );
}

#[test]
fn a_request_dropped_in_flight_still_has_its_reply() {
    let mut rig = Rig::new();
    let (a, mut b) = (rig.submit("a"), rig.submit("b"));
    rig.send();
    drop(a);
    assert_eq!(rig.reply(), Some("a"));
    assert_eq!(b.try_pull(), None);
    assert_eq!(rig.reply(), Some("b"));
    assert_eq!(b.try_pull(), Some(Answer::Reply("b")));
    assert_eq!(rig.used(), (0, 0));
}

/// Xids as they are encoded, and as they are matched, for three requests.
fn xids(first: i32) -> [i32; 3] {
    let queue: Queue<(), ()> = Queue::with_first_xid(Limits::default(), first);
    let mut rig = homing_transport::Outgoing::new();
    let mut encoded = [0; 3];
    for place in &mut encoded {
        let request = Request {
            len: 1,
            within: None,
            note: (),
        };
        let ticket = queue.try_submit(request, |xid, out| {
            out.extend_from_slice(b".");
            *place = xid;
        });
        drop(ticket.unwrap());
    }
    queue.take_into(&mut rig);
    let matched = encoded.map(|_| {
        queue.dispatch(&mut Outbox::new(), |line| {
            let xid = line.head().map(|(xid, ())| xid);
            line.pop(());
            xid.unwrap()
        })
    });
    assert_eq!(encoded, matched);
    encoded
}

#[test]
fn xids_begin_with_1_and_count_up() {
    let queue: Queue<(), ()> = Queue::new(Limits::default());
    let request = Request {
        len: 0,
        within: None,
        note: (),
    };
    let mut first = None;
    drop(queue.try_submit(request, |xid, _| first = Some(xid)));
    assert_eq!(first, Some(1));
    assert_eq!(xids(1), [1, 2, 3]);
}

#[test]
fn xids_wrap_from_the_largest_to_1() {
    assert_eq!(xids(i32::MAX - 1), [i32::MAX - 1, i32::MAX, 1]);
}

#[test]
fn a_first_xid_that_is_not_positive_counts_as_1() {
    assert_eq!(xids(0), [1, 2, 3]);
    assert_eq!(xids(i32::MIN), [1, 2, 3]);
}

#[test]
fn an_answer_is_pulled_once() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    rig.send();
    rig.reply();
    assert_eq!(ticket.try_pull(), Some(Answer::Reply("a")));
    assert_eq!(ticket.try_pull(), None);
}

#[test]
#[should_panic(expected = "polled after its answer had been pulled")]
fn a_ticket_that_was_ready_is_not_to_be_polled() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    rig.send();
    rig.reply();
    let _ = ticket.try_pull();
    let _ = Bell::new().poll(&mut ticket);
}

#[test]
fn whoever_polled_last_is_woken() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    let (before, last) = (Bell::new(), Bell::new());
    assert!(before.poll(&mut ticket).is_pending());
    assert!(last.poll(&mut ticket).is_pending());
    rig.send();
    rig.reply();
    rig.wake();
    assert_eq!((before.rings(), last.rings()), (0, 1));
}

#[test]
fn wakers_are_left_to_whoever_holds_no_lock() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    let bell = Bell::new();
    assert!(bell.poll(&mut ticket).is_pending());
    rig.send();
    rig.reply();
    assert_eq!(bell.rings(), 0);
    rig.wake();
    assert_eq!(bell.rings(), 1);
    rig.wake();
    assert_eq!(bell.rings(), 1, "each waker is called once");
}

/// An answer that looks at the queue when it is dropped, as a user's type may.
struct Curious(Arc<Queue<(), Self>>);

impl Drop for Curious {
    fn drop(&mut self) {
        let _ = self.0.usage();
    }
}

#[test]
fn answers_that_nobody_pulls_are_dropped_with_no_lock_held() {
    let queue: Arc<Queue<(), Curious>> = Arc::new(Queue::new(Limits::default()));
    let mut out = homing_transport::Outgoing::new();
    let submit = || {
        let request = Request {
            len: 1,
            within: None,
            note: (),
        };
        queue.try_submit(request, |_, out| out.extend_from_slice(b"."))
    };
    drop(submit().unwrap()); // dropped before the answer comes
    let ticket = submit().unwrap(); // dropped after it came
    queue.take_into(&mut out);
    let mut outbox = Outbox::new();
    queue.dispatch(&mut outbox, |line| {
        line.pop(Curious(Arc::clone(&queue)));
        line.pop(Curious(Arc::clone(&queue)));
    });
    drop(ticket);
    assert_eq!(queue.usage().requests, 0);
}
