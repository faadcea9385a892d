//! One session after another over one queue: nothing crosses from one into the next.

use std::time::Duration;

use homing_transport::{Fate, Outbox, Refused, Request, Ticket};

use crate::support::{Answer, Rig, Text};

fn begin_era(rig: &Rig) -> bool {
    let mut outbox = Outbox::new();
    rig.queue
        .begin_era(&mut outbox, |note, fate| Answer::Ended(note, fate))
}

fn submit_in(rig: &Rig, era: u64, text: Text) -> Result<Ticket<Answer>, Refused> {
    rig.queue.try_submit_in(era, request(text), |_, out| {
        out.extend_from_slice(text.as_bytes());
    })
}

fn request(text: Text) -> Request<Text> {
    Request {
        len: text.len(),
        within: None,
        note: text,
    }
}

#[test]
fn what_waits_ends_with_its_era() {
    let mut rig = Rig::new();
    let mut taken = rig.submit("a");
    rig.take();
    let mut waiting = rig.submit("b");
    assert!(begin_era(&rig));
    let expected = Answer::Ended("a", Fate::MaybeApplied);
    assert_eq!(taken.try_pull(), Some(expected));
    let expected = Answer::Ended("b", Fate::NotSent);
    assert_eq!(waiting.try_pull(), Some(expected));
    assert_eq!(rig.used(), (0, 0));

    let mut rig = Rig::new();
    drop(rig.submit("old"));
    assert!(begin_era(&rig));
    let mut fresh = rig.submit("new");
    rig.take();
    assert_eq!(rig.pending(), "new");
    assert_eq!(rig.reply(), Some("new"));
    assert_eq!(fresh.try_pull(), Some(Answer::Reply("new")));
}

#[test]
fn whoever_is_of_another_era_is_refused() {
    let rig = Rig::new();
    assert_eq!(rig.queue.era(), 0);
    assert!(submit_in(&rig, 0, "a").is_ok());
    assert_eq!(submit_in(&rig, 1, "b").err(), Some(Refused::Outdated));
    assert!(begin_era(&rig));
    assert_eq!(rig.queue.era(), 1);
    assert_eq!(submit_in(&rig, 0, "c").err(), Some(Refused::Outdated));
    assert!(submit_in(&rig, 1, "d").is_ok());
    assert_eq!(rig.used(), (1, 1));
}

#[test]
fn whoever_waits_for_room_is_refused_and_room_of_before_is_no_room_now() {
    let rig = Rig::with_limits(2, 100);
    let _full = rig.submit("a");
    let mut has_room = rig.queue.admission_in(0, 1, None);
    let mut waits = rig.queue.admission_in(0, 1, None);
    let permit = crate::support::Bell::new().poll(&mut has_room);
    let std::task::Poll::Ready(Ok(permit)) = permit else {
        panic!()
    };
    assert!(begin_era(&rig));
    let refused = crate::support::Bell::new().poll(&mut waits);
    assert!(matches!(
        refused,
        std::task::Poll::Ready(Err(Refused::Outdated))
    ));
    assert_eq!(rig.used(), (1, 1), "the permit");
    let submitted = rig
        .queue
        .submit_in(0, permit, request("b"), |_, _| panic!());
    assert_eq!(submitted.err(), Some(Refused::Outdated));
    assert_eq!(rig.used(), (0, 0));
    let mut late = rig.queue.admission_in(0, 1, None);
    let refused = crate::support::Bell::new().poll(&mut late);
    assert!(matches!(
        refused,
        std::task::Poll::Ready(Err(Refused::Outdated))
    ));
}

#[test]
fn timers_go_on() {
    let mut rig = Rig::new();
    let mut alarm = rig.queue.sleep(Duration::from_millis(10));
    rig.turn_after(0);
    assert!(begin_era(&rig));
    assert_eq!(alarm.try_pull(), None);
    rig.turn_after(10);
    assert_eq!(alarm.try_pull(), Some(()));
}

#[test]
fn no_era_follows_the_last_request() {
    let mut rig = Rig::new();
    let mut close = rig.seal("close").unwrap();
    assert!(!begin_era(&rig));
    assert_eq!(close.try_pull(), None);
    rig.take();
    assert_eq!(rig.pending(), "close");
    rig.end();
    assert!(!begin_era(&rig));
}

#[test]
fn what_waits_can_be_refused_but_not_what_was_taken() {
    let mut rig = Rig::new();
    let mut taken = rig.submit("a");
    rig.take();
    let mut kept = rig.submit("b");
    let mut refused = rig.submit("c");
    let mut close = rig.seal("close").unwrap();
    let mut outbox = Outbox::new();
    rig.queue.refuse_waiting(&mut outbox, |note| match *note {
        "b" => None,
        text => Some(Answer::Ended(text, Fate::NotSent)),
    });
    let expected = Answer::Ended("c", Fate::NotSent);
    assert_eq!(refused.try_pull(), Some(expected));
    for ticket in [&mut taken, &mut kept, &mut close] {
        assert_eq!(ticket.try_pull(), None);
    }
    rig.take();
    assert_eq!(rig.pending(), "abclose");
    assert_eq!(rig.used(), (3, 7));
}
