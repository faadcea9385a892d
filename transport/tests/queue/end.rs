//! Closing and ending: nothing enters any more, and everybody hears of it once.

use std::task::Poll;
use std::time::Duration;

use homing_transport::{Fate, Refused};

use crate::support::{Answer, Bell, Rig};

#[test]
fn the_last_request_stands_behind_all_others() {
    let mut rig = Rig::new();
    let (_a, _b) = (rig.submit("a"), rig.submit("b"));
    let mut close = rig.seal("close").unwrap();
    rig.take();
    assert_eq!(rig.pending(), "abclose");
    for text in ["a", "b", "close"] {
        assert_eq!(rig.reply(), Some(text));
    }
    assert_eq!(close.try_pull(), Some(Answer::Reply("close")));
}

#[test]
fn nothing_enters_behind_the_last_request() {
    let mut rig = Rig::new();
    let _close = rig.seal("close").unwrap();
    assert_eq!(rig.try_submit("a", None).err(), Some(Refused::Sealed));
    assert!(rig.seal("again").is_none());
    rig.take();
    assert_eq!(rig.pending(), "close");
    assert_eq!(rig.used(), (1, 5));
}

#[test]
fn the_last_request_needs_no_room() {
    let rig = Rig::with_limits(1, 1);
    let _ticket = rig.submit("a");
    assert!(rig.seal("close").is_some());
    assert_eq!(rig.used(), (2, 6));
}

#[test]
fn a_turn_says_that_the_session_closes() {
    let mut rig = Rig::new();
    assert_eq!(rig.turn_after(0).sealed, None);
    let _close = rig.seal("close").unwrap();
    let within = Some(Duration::from_secs(5));
    assert_eq!(rig.turn_after(0).sealed, within);
    assert_eq!(rig.turn_after(0).sealed, within, "and says it again");
    rig.end();
    assert_eq!(rig.turn_after(0).sealed, None);
}

#[test]
fn a_session_that_closes_still_answers_and_still_sleeps() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit_within("a", 10);
    let _close = rig.seal("close").unwrap();
    let mut alarm = rig.queue.sleep(Duration::from_millis(10));
    assert_eq!(alarm.try_pull(), None);
    rig.turn_after(0);
    rig.turn_after(10);
    assert_eq!(alarm.try_pull(), Some(()));
    let expected = Answer::Overdue("a", Fate::NotSent);
    assert_eq!(ticket.try_pull(), Some(expected));
}

#[test]
fn the_end_says_who_was_handed_over() {
    let mut rig = Rig::new();
    let mut taken = rig.submit("a");
    rig.take();
    let mut waiting = rig.submit("b");
    rig.end();
    let expected = Answer::Ended("a", Fate::MaybeApplied);
    assert_eq!(taken.try_pull(), Some(expected));
    let expected = Answer::Ended("b", Fate::NotSent);
    assert_eq!(waiting.try_pull(), Some(expected));
}

#[test]
fn what_was_given_back_before_the_end_was_not_sent() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    rig.take();
    rig.lose();
    rig.end();
    let expected = Answer::Ended("a", Fate::NotSent);
    assert_eq!(ticket.try_pull(), Some(expected));
}

#[test]
fn everybody_hears_of_the_end() {
    let mut rig = Rig::with_limits(3, 1000);
    let bell = Bell::new();
    let mut tickets = [rig.submit("a"), rig.submit("b")];
    rig.take();
    let mut close = rig.submit("c");
    let mut admission = rig.queue.admission(1, None);
    let mut alarm = rig.queue.sleep(Duration::from_secs(1));
    assert!(bell.poll(&mut tickets[0]).is_pending());
    assert!(bell.poll(&mut tickets[1]).is_pending());
    assert!(bell.poll(&mut close).is_pending());
    assert!(bell.poll(&mut admission).is_pending());
    assert!(bell.poll(&mut alarm).is_pending());
    rig.turn_after(0);
    assert_eq!(rig.timeout_ms(), Some(1_000));
    rig.end();
    assert_eq!(bell.rings(), 0, "wakers are left to whoever holds no lock");
    rig.wake();
    assert_eq!(bell.rings(), 5);
    assert_eq!(bell.poll(&mut alarm), Poll::Ready(()));
    for mut ticket in tickets.into_iter().chain([close]) {
        assert!(matches!(ticket.try_pull(), Some(Answer::Ended(..))));
    }
    assert_eq!(rig.used(), (0, 0));
    assert_eq!(rig.timeout_ms(), None);
}

#[test]
fn what_was_answered_before_the_end_stays_so() {
    let mut rig = Rig::new();
    let mut answered = rig.submit("a");
    let mut overdue = rig.submit_within("b", 10);
    rig.turn_after(0);
    rig.send();
    rig.reply();
    rig.turn_after(10);
    rig.end();
    assert_eq!(answered.try_pull(), Some(Answer::Reply("a")));
    let expected = Answer::Overdue("b", Fate::MaybeApplied);
    assert_eq!(overdue.try_pull(), Some(expected));
}

#[test]
fn after_the_end_nothing_enters() {
    let mut rig = Rig::new();
    let _close = rig.seal("close").unwrap();
    rig.end();
    assert_eq!(rig.try_submit("a", None).err(), Some(Refused::Ended));
    assert!(rig.seal("close").is_none());
    rig.take();
    assert_eq!(rig.pending(), "");
    assert_eq!(rig.head_xid(), None);
}

#[test]
fn after_the_end_nobody_sleeps() {
    let mut rig = Rig::new();
    rig.end();
    let mut alarm = rig.queue.sleep(Duration::from_secs(1_000));
    assert_eq!(alarm.try_pull(), Some(()));
    assert_eq!(rig.timeout_ms(), None);
}

#[test]
fn the_end_comes_once() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit("a");
    rig.end();
    let mut outbox = homing_transport::Outbox::new();
    rig.queue
        .end(&mut outbox, |note, _| panic!("{note:?} ends twice"));
    let expected = Answer::Ended("a", Fate::NotSent);
    assert_eq!(ticket.try_pull(), Some(expected));
}
