//! The doorbell: a driver that sleeps is rung once, one that does not is left in peace.

use std::sync::Arc;
use std::time::Duration;

use homing_transport::Request;

use crate::support::{Bell, Rig};

fn rig() -> (Rig, Arc<Bell>) {
    let (rig, bell) = (Rig::new(), Bell::new());
    rig.queue.attach(Arc::clone(&bell) as _);
    (rig, bell)
}

#[test]
fn a_driver_that_sleeps_is_rung_once() {
    let (mut rig, bell) = rig();
    rig.turn_after(0);
    assert!(rig.queue.park());
    let _ticket = rig.submit("a");
    assert_eq!(bell.rings(), 1);
    let _ticket = rig.submit("b");
    assert_eq!(bell.rings(), 1, "it is awake already");
}

#[test]
fn a_driver_is_rung_each_time_it_sleeps() {
    let (mut rig, bell) = rig();
    for round in 1..=3 {
        rig.turn_after(0);
        assert!(rig.queue.park());
        let _ticket = rig.submit("a");
        assert_eq!(bell.rings(), round);
    }
}

#[test]
fn a_driver_that_is_awake_is_not_rung() {
    let (mut rig, bell) = rig();
    let _ticket = rig.submit("a");
    rig.turn_after(0);
    let _ticket = rig.submit("b");
    assert_eq!(bell.rings(), 0);
}

#[test]
fn a_driver_that_would_miss_something_does_not_sleep() {
    let (mut rig, bell) = rig();
    rig.turn_after(0);
    let _ticket = rig.submit("a");
    assert!(!rig.queue.park());
    let _ticket = rig.submit("b");
    assert_eq!(bell.rings(), 0, "it did not sleep");
    rig.turn_after(0);
    assert!(rig.queue.park(), "it has seen all there is");
}

/// It was woken by something else: the socket, its timer.
#[test]
fn a_driver_that_has_begun_a_turn_is_awake() {
    let (mut rig, bell) = rig();
    rig.turn_after(0);
    assert!(rig.queue.park());
    rig.turn_after(0);
    let _ticket = rig.submit("a");
    assert_eq!(bell.rings(), 0);
    assert!(!rig.queue.park());
}

#[test]
fn a_driver_can_look_again_before_it_sleeps() {
    let (mut rig, bell) = rig();
    rig.turn_after(0);
    assert!(rig.queue.park());
    assert!(rig.queue.park());
    let _ticket = rig.submit("a");
    assert_eq!(bell.rings(), 1);
    assert!(!rig.queue.park());
}

/// Whether this is something for which a driver is rung.
#[track_caller]
fn assert_rings(what: impl FnOnce(&Rig)) {
    let (mut rig, bell) = rig();
    rig.turn_after(0);
    assert!(rig.queue.park());
    what(&rig);
    assert_eq!(bell.rings(), 1);
    assert!(!rig.queue.park());
}

#[test]
fn all_that_concerns_the_driver_rings() {
    assert_rings(|rig| drop(rig.submit("a")));
    assert_rings(|rig| drop(rig.queue.sleep(Duration::from_secs(1))));
    assert_rings(|rig| drop(rig.seal("close")));
    assert_rings(|rig| rig.queue.nudge());
    assert_rings(|rig| {
        let homing_transport::Usage { requests, .. } = rig.queue.usage();
        assert_eq!(requests, 0);
        let permit = homing_transport::block_on(&*Bell::new(), rig.queue.admission(1, None));
        let request = Request {
            len: 1,
            within: None,
            note: "a",
        };
        let permit = permit.unwrap().unwrap();
        let ticket = rig
            .queue
            .submit(permit, request, |_, out| out.extend_from_slice(b"a"));
        drop(ticket.unwrap());
    });
}

#[test]
fn what_does_not_concern_the_driver_does_not_ring() {
    let (rig, bell) = (Rig::with_limits(1, 10), Bell::new());
    rig.queue.attach(Arc::clone(&bell) as _);
    let mut rig = rig;
    let ticket = rig.submit("a");
    rig.turn_after(0);
    assert!(rig.queue.park());
    assert!(rig.try_submit("b", None).is_err());
    drop(rig.queue.admission(1, None));
    drop(ticket);
    assert_eq!(bell.rings(), 0);
    assert!(rig.queue.park());
}

/// The driver may have gone to sleep before the queue knew it.
#[test]
fn what_was_submitted_before_there_was_a_driver_rings_when_there_is_one() {
    let (mut rig, bell) = (Rig::new(), Bell::new());
    rig.turn_after(0);
    assert!(rig.queue.park());
    let _ticket = rig.submit("a");
    rig.queue.attach(Arc::clone(&bell) as _);
    assert_eq!(bell.rings(), 1);
}

#[test]
fn a_driver_is_not_rung_for_nothing_when_it_is_attached() {
    let (mut rig, bell) = (Rig::new(), Bell::new());
    rig.turn_after(0);
    assert!(rig.queue.park());
    rig.queue.attach(Arc::clone(&bell) as _);
    assert_eq!(bell.rings(), 0);
    let _ticket = rig.submit("a");
    assert_eq!(bell.rings(), 1);
}

#[test]
fn the_first_driver_counts() {
    let (mut rig, first) = rig();
    let second = Bell::new();
    rig.queue.attach(Arc::clone(&second) as _);
    rig.turn_after(0);
    assert!(rig.queue.park());
    rig.queue.nudge();
    assert_eq!((first.rings(), second.rings()), (1, 0));
}
