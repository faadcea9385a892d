//! Room: how much may be on its way, and who is next when there is some.

use std::task::Poll;
use std::time::Duration;

use homing_transport::{Admission, Fate, Permit, Refused, Request, Ticket};

use crate::deadlines::field;
use crate::support::{Answer, Bell, Rig, Text};

/// Polls an admission that is expected to be granted.
fn granted(admission: &mut Admission<Text, Answer>) -> Permit<Text, Answer> {
    match Bell::new().poll(admission) {
        Poll::Ready(Ok(permit)) => permit,
        other => panic!("not granted: {other:?}"),
    }
}

fn submit(rig: &Rig, permit: Permit<Text, Answer>, text: Text) -> Result<Ticket<Answer>, Refused> {
    let request = Request {
        len: text.len(),
        within: None,
        note: text,
    };
    rig.queue.submit(permit, request, |_, out| {
        out.extend_from_slice(text.as_bytes());
    })
}

fn is_busy(rig: &Rig, text: Text) -> bool {
    match rig.try_submit(text, None) {
        Ok(_) => false,
        Err(refused) => {
            assert_eq!(refused, Refused::Busy);
            true
        }
    }
}

#[test]
fn requests_are_counted_until_they_are_answered() {
    let mut rig = Rig::with_limits(2, 1000);
    let _tickets = [rig.submit("a"), rig.submit("b")];
    assert_eq!(rig.used(), (2, 2));
    assert!(is_busy(&rig, "c"));
    rig.send();
    assert!(is_busy(&rig, "c"), "sent is not answered");
    rig.reply();
    assert!(!is_busy(&rig, "c"));
}

#[test]
fn bytes_are_counted_until_they_are_answered() {
    let mut rig = Rig::with_limits(1000, 10);
    let _tickets = [rig.submit("aaaa"), rig.submit("bbb")];
    assert!(is_busy(&rig, "cccc"));
    assert!(!is_busy(&rig, "ccc"), "exactly what is left");
    assert_eq!(rig.used(), (3, 10));
    rig.send();
    rig.reply();
    assert_eq!(rig.used(), (2, 6));
    assert!(!is_busy(&rig, "cccc"));
}

#[test]
fn nothing_of_a_refused_request_is_left() {
    let mut rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    assert!(is_busy(&rig, "b"));
    rig.take();
    assert_eq!(rig.pending(), "a");
    rig.reply();
    assert_eq!(rig.head_xid(), None);
    let _ticket = rig.submit("c");
    rig.take();
    assert_eq!(rig.head_xid(), Some(2), "it has used up no xid");
}

#[test]
fn a_request_over_the_limit_goes_out_alone() {
    let mut rig = Rig::with_limits(10, 4);
    let _small = rig.submit("a");
    assert!(is_busy(&rig, "too long"));
    rig.send();
    rig.reply();
    let _long = rig.submit("too long");
    assert!(is_busy(&rig, "a"), "and nothing beside it");
}

#[test]
fn a_request_over_the_limit_can_be_waited_for() {
    let mut rig = Rig::with_limits(10, 4);
    let _small = rig.submit("a");
    let mut admission = rig.queue.admission(8, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut admission).is_pending());
    rig.send();
    rig.reply();
    rig.wake();
    assert_eq!(bell.rings(), 1);
    let permit = granted(&mut admission);
    assert_eq!(permit.len(), 8);
    let _ticket = submit(&rig, permit, "too long").unwrap();
    assert_eq!(rig.used(), (1, 8));
}

#[test]
fn where_there_is_room_nobody_waits() {
    let rig = Rig::with_limits(1, 10);
    let permit = granted(&mut rig.queue.admission(3, None));
    assert_eq!(rig.used(), (1, 3), "the room is taken from now on");
    let _ticket = submit(&rig, permit, "abc").unwrap();
    assert_eq!(rig.used(), (1, 3), "and is not taken twice");
}

#[test]
fn room_goes_to_those_who_wait_in_the_order_of_arrival() {
    let mut rig = Rig::with_limits(1, 1000);
    let mut tickets = vec![rig.submit("a")];
    let mut waiting = ["b", "c", "d"].map(|text| (text, rig.queue.admission(1, None), Bell::new()));
    for (_, admission, bell) in &mut waiting {
        assert!(bell.poll(admission).is_pending());
    }
    rig.send();
    for index in 0..waiting.len() {
        assert!(rig.reply().is_some());
        rig.wake();
        let rings = waiting.each_ref().map(|(_, _, bell)| bell.rings());
        assert_eq!(rings.iter().sum::<usize>(), index + 1, "one at a time");
        assert_eq!(rings[index], 1, "this one's turn");
        let (text, admission, _) = &mut waiting[index];
        tickets.push(submit(&rig, granted(admission), text).unwrap());
        rig.send();
    }
}

#[test]
fn a_small_request_does_not_overtake_a_large_one() {
    let mut rig = Rig::with_limits(1000, 10);
    let _tickets = [rig.submit("aaaa"), rig.submit("bbbb")];
    let mut large = rig.queue.admission(6, None);
    let mut small = rig.queue.admission(1, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut small).is_pending(), "there would be room");
    assert!(is_busy(&rig, "c"), "there would be room");
    rig.send();
    rig.reply();
    rig.wake();
    assert_eq!(rig.used(), (2, 10));
    let permit = granted(&mut large);
    assert!(bell.poll(&mut small).is_pending());
    drop(permit);
    assert_eq!(bell.rings(), 1);
    drop(granted(&mut small));
}

#[test]
fn one_reply_can_make_room_for_many() {
    let mut rig = Rig::with_limits(1000, 4);
    let _ticket = rig.submit("aaaa");
    let mut waiting = [1, 1, 2, 1].map(|len| rig.queue.admission(len, None));
    rig.send();
    rig.reply();
    assert_eq!(rig.used(), (3, 4));
    let bell = Bell::new();
    let polled = waiting.each_mut().map(|one| bell.poll(one));
    let is_granted = polled.each_ref().map(Poll::is_ready);
    assert_eq!(is_granted, [true, true, true, false]);
}

#[test]
fn a_deadline_makes_room() {
    let mut rig = Rig::with_limits(1, 1000);
    let _overdue = rig.submit_within("a", 10);
    let mut admission = rig.queue.admission(1, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut admission).is_pending());
    rig.turn_after(0);
    rig.turn_after(10);
    rig.wake();
    assert_eq!(bell.rings(), 1);
    drop(granted(&mut admission));
}

#[test]
fn a_lost_connection_makes_room() {
    let mut rig = Rig::with_limits(2, 1000);
    let _lost = rig.submit("a");
    rig.send();
    drop(rig.submit("b")); // will be left out
    let mut waiting = [1, 1].map(|len| rig.queue.admission(len, None));
    let bell = Bell::new();
    for admission in &mut waiting {
        assert!(bell.poll(admission).is_pending());
    }
    rig.lose();
    rig.wake();
    assert_eq!(bell.rings(), 2);
}

#[test]
fn who_gives_up_before_there_is_room_is_passed_over() {
    let mut rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    let first = rig.queue.admission(1, None);
    let mut second = rig.queue.admission(1, None);
    drop(first);
    rig.send();
    rig.reply();
    assert_eq!(rig.used(), (1, 1));
    drop(granted(&mut second));
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn who_gives_up_does_not_keep_others_out() {
    let rig = Rig::with_limits(1000, 10);
    let _ticket = rig.submit("aaaaa");
    let large = rig.queue.admission(10, None);
    let mut small = rig.queue.admission(5, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut small).is_pending());
    drop(large);
    assert_eq!(bell.rings(), 1);
    drop(granted(&mut small));
    assert!(!is_busy(&rig, "b"));
}

#[test]
fn who_gives_up_behind_others_is_passed_over_later() {
    let mut rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    let mut first = rig.queue.admission(1, None);
    let second = rig.queue.admission(1, None);
    let mut third = rig.queue.admission(1, None);
    drop(second);
    rig.send();
    rig.reply();
    drop(granted(&mut first));
    drop(granted(&mut third));
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn those_who_have_given_up_do_not_pile_up() {
    let rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    let mut waiting = rig.queue.admission(1, None);
    for _ in 0..10_000 {
        drop(rig.queue.admission(1, None));
    }
    let admissions = field(&format!("{:?}", rig.queue), "admissions");
    assert!((1..100).contains(&admissions), "{admissions}");
    assert!(Bell::new().poll(&mut waiting).is_pending());
}

#[test]
fn room_that_was_given_and_not_fetched_goes_to_the_next() {
    let mut rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    let first = rig.queue.admission(1, None);
    let mut second = rig.queue.admission(1, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut second).is_pending());
    rig.send();
    rig.reply();
    rig.wake();
    assert_eq!(bell.rings(), 0, "the first one has it");
    drop(first);
    assert_eq!(bell.rings(), 1);
    drop(granted(&mut second));
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn a_permit_that_is_not_used_is_given_back() {
    let rig = Rig::with_limits(1, 1000);
    let permit = granted(&mut rig.queue.admission(7, None));
    let mut next = rig.queue.admission(1, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut next).is_pending());
    drop(permit);
    assert_eq!(bell.rings(), 1);
    drop(granted(&mut next));
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn a_permit_that_comes_too_late_is_given_back() {
    let rig = Rig::with_limits(5, 1000);
    let permit = granted(&mut rig.queue.admission(1, None));
    let _close = rig.seal("close").unwrap();
    assert_eq!(submit(&rig, permit, "a").err(), Some(Refused::Sealed));
    assert_eq!(rig.used(), (1, 5));
}

#[test]
fn a_permit_that_outlives_the_session_gives_nothing_back() {
    let mut rig = Rig::with_limits(5, 1000);
    let (used, dropped) = (
        granted(&mut rig.queue.admission(1, None)),
        granted(&mut rig.queue.admission(1, None)),
    );
    let not_fetched = rig.queue.admission(1, None);
    rig.end();
    assert_eq!(submit(&rig, used, "a").err(), Some(Refused::Ended));
    drop((dropped, not_fetched));
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn who_waits_is_refused_when_the_session_closes() {
    let rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    let mut waiting = [1, 1].map(|len| rig.queue.admission(len, None));
    let bell = Bell::new();
    for admission in &mut waiting {
        assert!(bell.poll(admission).is_pending());
    }
    let _close = rig.seal("close").unwrap();
    assert_eq!(bell.rings(), 2);
    for admission in &mut waiting {
        assert!(matches!(
            bell.poll(admission),
            Poll::Ready(Err(Refused::Sealed))
        ));
    }
    let mut late = rig.queue.admission(1, None);
    assert!(matches!(
        bell.poll(&mut late),
        Poll::Ready(Err(Refused::Sealed))
    ));
}

#[test]
fn who_waits_is_refused_when_the_session_is_over() {
    let mut rig = Rig::with_limits(1, 1000);
    let _ticket = rig.submit("a");
    let mut admission = rig.queue.admission(1, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut admission).is_pending());
    rig.end();
    rig.wake();
    assert_eq!(bell.rings(), 1);
    for admission in [&mut admission, &mut rig.queue.admission(1, None)] {
        assert!(matches!(
            bell.poll(admission),
            Poll::Ready(Err(Refused::Ended))
        ));
    }
    // Refused, not granted: there is nothing to give back.
    drop(admission);
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn the_deadline_of_who_waits_has_begun() {
    let mut rig = Rig::with_limits(1, 1000);
    let _first = rig.submit("a");
    let within = |ms| Some(Duration::from_millis(ms));
    let mut short = rig.queue.admission(1, within(100));
    let mut long = rig.queue.admission(1, within(300));
    let bell = Bell::new();
    assert!(bell.poll(&mut short).is_pending());
    assert!(bell.poll(&mut long).is_pending());
    rig.turn_after(0);
    rig.turn_after(100);
    rig.wake();
    assert!(matches!(
        bell.poll(&mut short),
        Poll::Ready(Err(Refused::Overdue))
    ));
    assert!(bell.poll(&mut long).is_pending());

    // There is room after 200 ms, which leaves the request 100 ms.
    rig.turn_after(100);
    rig.send();
    rig.reply();
    let permit = granted(&mut long);
    let mut request = submit(&rig, permit, "b").unwrap();
    rig.turn_after(90);
    assert_eq!(request.try_pull(), None);
    rig.turn_after(10);
    assert_eq!(
        request.try_pull(),
        Some(Answer::Overdue("b", Fate::NotSent))
    );
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn a_deadline_that_passes_lets_smaller_ones_through() {
    let mut rig = Rig::with_limits(10, 10);
    let _first = rig.submit("12345");
    let mut large = rig.queue.admission(6, Some(Duration::from_millis(10)));
    let mut small = rig.queue.admission(5, None);
    let bell = Bell::new();
    assert!(bell.poll(&mut large).is_pending());
    assert!(bell.poll(&mut small).is_pending());
    rig.turn_after(0);
    rig.turn_after(10);
    drop(granted(&mut small));
    assert!(bell.poll(&mut large).is_ready());
    assert_eq!(rig.used(), (1, 5));
}

#[test]
fn a_deadline_that_waits_for_room_makes_the_driver_look() {
    let rig = Rig::with_limits(1, 1000);
    let _first = rig.submit("a");
    let mut rig = rig;
    rig.turn_after(0);
    assert!(rig.queue.park());
    let _waiting = rig.queue.admission(1, Some(Duration::from_millis(10)));
    assert!(!rig.queue.park(), "it must be stamped");
    rig.turn_after(0);
    assert!(rig.queue.poll_timeout().is_some());
}

#[test]
fn an_alarm_needs_no_room() {
    let mut rig = Rig::with_limits(1, 1);
    let _ticket = rig.submit("a");
    let mut alarm = rig.queue.sleep(Duration::ZERO);
    rig.turn_after(0);
    assert_eq!(alarm.try_pull(), Some(()));
    assert_eq!(rig.used(), (1, 1));
}

#[test]
fn what_a_request_turns_out_not_to_need_is_given_back() {
    let rig = Rig::with_limits(10, 10);
    let request = Request {
        len: 10,
        within: None,
        note: "a",
    };
    let ticket = rig
        .queue
        .try_submit(request, |_, out| out.extend_from_slice(b"1234"));
    let _ticket = ticket.unwrap();
    assert_eq!(rig.queue.usage().bytes, 4);
    let _six = rig.submit("123456");
    assert_eq!(rig.queue.usage().bytes, 10);
    assert_eq!(rig.try_submit("1", None).unwrap_err(), Refused::Busy);
}

#[test]
fn what_has_a_limit_elsewhere_waits_for_no_room() {
    let mut rig = Rig::with_limits(1, 1);
    let _first = rig.submit("a");
    let request = |note: Text| Request {
        len: note.len(),
        within: None,
        note,
    };
    let submit = |rig: &Rig, text: Text| {
        rig.queue.submit_regardless_in(0, request(text), |_, out| {
            out.extend_from_slice(text.as_bytes());
        })
    };
    let mut second = submit(&rig, "bc").unwrap();
    assert_eq!(rig.used(), (2, 3));
    rig.send();
    assert_eq!([rig.reply(), rig.reply()], [Some("a"), Some("bc")]);
    assert_eq!(second.try_pull(), Some(Answer::Reply("bc")));
    assert_eq!(rig.used(), (0, 0));

    let outdated = rig.queue.submit_regardless_in(1, request("d"), |_, _| {});
    assert_eq!(outdated.unwrap_err(), Refused::Outdated);
    let _last = rig.seal("z");
    assert_eq!(submit(&rig, "d").unwrap_err(), Refused::Sealed);
    rig.end();
    assert_eq!(submit(&rig, "d").unwrap_err(), Refused::Ended);
}

#[test]
fn a_request_of_the_sessions_own_is_kept_with_its_ticket() {
    let mut rig = Rig::new();
    let submitted = rig.queue.submit_reserved(
        || vec!["kept", "dropped"],
        |text| Request {
            len: text.len(),
            within: None,
            note: *text,
        },
        |text, _, out| out.extend_from_slice(text.as_bytes()),
    );
    let mut kept: Vec<_> = submitted
        .into_iter()
        .filter(|(text, _)| *text == "kept")
        .collect();
    rig.lose();
    rig.forget_dropped();
    rig.take();
    assert_eq!(rig.pending(), "kept");
    rig.write(4);
    assert_eq!(rig.reply(), Some("kept"));
    assert_eq!(kept[0].1.try_pull(), Some(Answer::Reply("kept")));
}
