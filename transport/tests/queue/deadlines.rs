//! Deadlines and alarms: what passes them, when, and what stays.

use std::task::Poll;
use std::time::Duration;

use homing_transport::{Fate, Ticket};

use crate::support::{Answer, Bell, Rig};

#[test]
fn a_deadline_counts_from_the_next_turn() {
    let mut rig = Rig::new();
    rig.turn_after(0);
    let mut ticket = rig.submit_within("a", 100);
    rig.turn_after(50); // counts from here
    assert_eq!(rig.timeout_ms(), Some(100));
    rig.turn_after(99);
    assert_eq!(ticket.try_pull(), None);
    rig.turn_after(1);
    let expected = Answer::Overdue("a", Fate::NotSent);
    assert_eq!(ticket.try_pull(), Some(expected));
}

#[test]
fn what_was_not_taken_leaves_the_line_with_its_bytes_and_its_permit() {
    let mut rig = Rig::new();
    let _a = rig.submit("a");
    let mut b = rig.submit_within("bb", 100);
    let _c = rig.submit("ccc");
    rig.turn_after(0);
    rig.turn_after(100);
    let expected = Answer::Overdue("bb", Fate::NotSent);
    assert_eq!(b.try_pull(), Some(expected));
    assert_eq!(rig.used(), (2, 4));
    rig.take();
    assert_eq!(rig.pending(), "accc");
    assert_eq!((rig.reply(), rig.reply()), (Some("a"), Some("ccc")));
}

#[test]
fn what_was_taken_keeps_its_place_and_its_permit() {
    let mut rig = Rig::new();
    let mut a = rig.submit_within("a", 100);
    let mut b = rig.submit("bb");
    rig.turn_after(0);
    rig.take();
    rig.turn_after(100);
    let expected = Answer::Overdue("a", Fate::MaybeApplied);
    assert_eq!(a.try_pull(), Some(expected));
    assert_eq!(rig.pending(), "abb");
    assert_eq!(rig.used(), (2, 3));

    // Its reply comes after all, and is thrown away.
    assert_eq!(rig.reply(), Some("a"));
    assert_eq!(a.try_pull(), None);
    assert_eq!(rig.used(), (1, 2));
    assert_eq!(rig.reply(), Some("bb"));
    assert_eq!(b.try_pull(), Some(Answer::Reply("bb")));
}

#[test]
fn a_late_reply_does_not_replace_what_was_said() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit_within("a", 100);
    rig.turn_after(0);
    rig.take();
    rig.turn_after(100);
    rig.reply();
    let expected = Answer::Overdue("a", Fate::MaybeApplied);
    assert_eq!(ticket.try_pull(), Some(expected));
}

#[test]
fn a_reply_that_is_there_counts_before_a_deadline_does() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit_within("a", 100);
    rig.turn_after(0);
    rig.take();
    rig.reply();
    rig.turn_after(1000);
    assert_eq!(ticket.try_pull(), Some(Answer::Reply("a")));
}

#[test]
fn whoever_waits_is_woken_by_a_deadline() {
    let mut rig = Rig::new();
    let (mut waiting, mut taken) = (rig.submit_within("a", 100), rig.submit_within("b", 100));
    let bell = Bell::new();
    assert!(bell.poll(&mut taken).is_pending());
    rig.turn_after(0);
    rig.take();
    let mut other = rig.submit_within("c", 100);
    assert!(bell.poll(&mut other).is_pending());
    rig.turn_after(0);
    rig.turn_after(100);
    rig.wake();
    assert_eq!(bell.rings(), 2);
    assert!(waiting.try_pull().is_some());
}

#[test]
fn without_a_deadline_nothing_passes() {
    let mut rig = Rig::new();
    let mut tickets = [
        rig.submit("a"),
        // Beyond what a clock can tell.
        rig.try_submit("b", Some(Duration::MAX)).unwrap(),
    ];
    rig.turn_after(0);
    assert_eq!(rig.timeout_ms(), None);
    rig.turn_after(1_000_000_000);
    assert_eq!(tickets.each_mut().map(Ticket::try_pull), [None, None]);
}

#[test]
fn one_deadline_does_not_end_the_others() {
    let mut rig = Rig::new();
    let mut tickets = [100, 300, 200].map(|ms| rig.submit_within("a", ms));
    rig.turn_after(0);
    let mut ended = Vec::new();
    for _ in 0..3 {
        let ms = rig.timeout_ms().unwrap();
        rig.turn_after(u64::try_from(ms).unwrap());
        let pulled = tickets.each_mut().map(|ticket| ticket.try_pull().is_some());
        ended.push((ms, pulled.iter().position(|is_there| *is_there).unwrap()));
    }
    assert_eq!(ended, [(100, 0), (100, 2), (100, 1)]);
    assert_eq!(rig.timeout_ms(), None);
}

#[test]
fn a_request_that_was_answered_has_no_deadline() {
    let mut rig = Rig::new();
    let _ticket = rig.submit_within("a", 100);
    rig.turn_after(0);
    rig.send();
    rig.reply();
    rig.turn_after(100); // looks through the line in vain
    assert_eq!(rig.timeout_ms(), None);
}

/// With many deadlines the line is not looked through for each.
#[test]
fn deadlines_are_looked_through_every_10_ms_at_most() {
    let mut rig = Rig::new();
    let mut tickets = [1, 2, 9].map(|ms| rig.submit_within("a", ms));
    rig.turn_after(0);
    assert_eq!(rig.timeout_ms(), Some(1));
    rig.turn_after(1);
    assert!(tickets[0].try_pull().is_some());
    assert_eq!(rig.timeout_ms(), Some(10));
    rig.turn_after(9);
    assert_eq!(tickets[1].try_pull(), None);
    assert_eq!(rig.timeout_ms(), Some(1));
    rig.turn_after(1);
    assert!(tickets[1].try_pull().is_some());
    assert!(tickets[2].try_pull().is_some());
    assert_eq!(rig.timeout_ms(), None);
}

#[test]
fn nobody_is_asked_what_to_say_to_nobody() {
    let mut rig = Rig::new();
    drop(rig.submit_within("a", 10));
    rig.turn_after(0);
    rig.now += Duration::from_millis(10);
    let mut outbox = homing_transport::Outbox::new();
    let turn = rig.queue.begin_turn(rig.now, &mut outbox, |note, fate| {
        panic!("{note:?} is dropped, and overdue ({fate:?})")
    });
    assert_eq!(turn.sealed, None);
}

#[test]
fn an_alarm_rings_when_its_time_has_come() {
    let mut rig = Rig::new();
    let mut alarm = rig.queue.sleep(Duration::from_millis(100));
    let bell = Bell::new();
    assert!(bell.poll(&mut alarm).is_pending());
    rig.turn_after(0);
    assert_eq!(rig.timeout_ms(), Some(100));
    rig.turn_after(99);
    rig.wake();
    assert_eq!(bell.rings(), 0);
    rig.turn_after(1);
    rig.wake();
    assert_eq!(bell.rings(), 1);
    assert_eq!(bell.poll(&mut alarm), Poll::Ready(()));
    assert_eq!(rig.timeout_ms(), None);
}

#[test]
fn alarms_and_deadlines_share_a_clock() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit_within("a", 50);
    rig.turn_after(0);
    // Stamped by a later turn than the first, with others before it.
    let mut late = rig.queue.sleep(Duration::from_millis(200));
    let mut early = rig.queue.sleep(Duration::from_millis(20));
    rig.turn_after(10);
    assert_eq!(rig.timeout_ms(), Some(20));
    rig.turn_after(20);
    assert_eq!(early.try_pull(), Some(()));
    assert_eq!(rig.timeout_ms(), Some(20));
    rig.turn_after(20);
    assert!(ticket.try_pull().is_some());
    assert_eq!(rig.timeout_ms(), Some(160));
    rig.turn_after(160);
    assert_eq!(late.try_pull(), Some(()));
}

#[test]
fn an_alarm_that_was_dropped_is_forgotten() {
    let mut rig = Rig::new();
    let (dropped, _kept) = (
        rig.queue.sleep(Duration::from_millis(10)),
        rig.queue.sleep(Duration::from_millis(50)),
    );
    rig.turn_after(0);
    drop(dropped);
    rig.turn_after(10);
    assert_eq!(rig.timeout_ms(), Some(40));

    // One that is not due yet goes when others are looked through.
    let later = rig.queue.sleep(Duration::from_millis(1_000));
    drop(later);
    rig.turn_after(40);
    assert_eq!(field(&format!("{:?}", rig.queue), "alarms"), 0);
}

/// Whoever waits with a time-out makes an alarm each time, and drops it soon.
#[test]
fn alarms_that_were_dropped_do_not_pile_up() {
    let rig = Rig::new();
    let _kept = rig.queue.sleep(Duration::from_secs(30));
    for _ in 0..10_000 {
        drop(rig.queue.sleep(Duration::from_secs(30)));
    }
    let alarms: usize = field(&format!("{:?}", rig.queue), "alarms");
    assert!((1..100).contains(&alarms), "{alarms}");
}

#[test]
fn alarms_that_are_waited_for_outlast_those_that_were_dropped() {
    let mut rig = Rig::new();
    let mut kept = Vec::new();
    for ms in 0..1_000 {
        kept.push((ms, rig.queue.sleep(Duration::from_millis(ms))));
        drop(rig.queue.sleep(Duration::from_millis(ms)));
        if ms % 7 == 0 {
            rig.turn_after(0);
        }
    }
    rig.turn_after(0);
    rig.turn_after(500);
    for (ms, alarm) in &mut kept {
        assert_eq!(alarm.try_pull().is_some(), *ms <= 500, "{ms} ms");
    }
}

/// A number in a `Debug` text.
pub(crate) fn field(debug: &str, name: &str) -> usize {
    let (_, rest) = debug.split_once(&format!("{name}: ")).unwrap();
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()]
        .parse()
        .unwrap()
}
