//! A lost connection: what was handed over may have been applied, the rest waits for the next.

use homing_transport::{Fate, Outgoing, Ticket};

use crate::support::{Answer, Rig, Text};

/// What is written, in this order. Upper case is a control frame.
const WIRE: [Text; 9] = [
    "HELLO", "a", "bb", "PING", "cccc", "d", "eee", "PING", "ffff",
];
/// Submitted, but not taken before the connection is lost.
const WAITING: [Text; 2] = ["gg", "h"];

/// The line of this file: taken in three runs (with "d" and "eee" taken apart from "cccc", which
/// makes no difference on the wire) and followed by what still waits.
struct Line {
    rig: Rig,
    /// Each with where its bytes begin, counted in bytes to be written.
    requests: Vec<(Text, usize, Option<Ticket<Answer>>)>,
}

impl Line {
    fn new() -> Self {
        let mut rig = Rig::new();
        let mut requests = Vec::new();
        let mut start = 0;
        for text in WIRE {
            if text.starts_with(char::is_uppercase) {
                rig.control(text);
            } else {
                requests.push((text, start, Some(rig.submit(text))));
                rig.take();
            }
            start += text.len();
        }
        for text in WAITING {
            requests.push((text, usize::MAX, Some(rig.submit(text))));
        }
        Self { rig, requests }
    }

    /// Answers this many from the front. They are out of the test with that.
    fn reply(&mut self, count: usize) {
        for (text, _, ticket) in self.requests.drain(..count) {
            assert_eq!(self.rig.reply(), Some(text));
            assert_eq!(ticket.unwrap().try_pull(), Some(Answer::Reply(text)));
        }
    }

    /// Loses the connection after so many bytes, and checks everything.
    fn lose_after(mut self, written: usize, context: &str) {
        self.rig.lose();
        let mut living = Vec::new();
        for (text, start, ticket) in &mut self.requests {
            let is_lost = *start < written;
            if let Some(ticket) = ticket {
                let expected = is_lost.then_some(Answer::Lost(text));
                assert_eq!(ticket.try_pull(), expected, "{text}, {context}");
                if !is_lost {
                    living.push(*text);
                }
            }
        }
        let bytes = living.concat();
        assert_eq!(self.rig.used(), (living.len(), bytes.len()), "{context}");
        assert_eq!(self.rig.head_xid(), None, "{context}");

        // The next connection.
        self.rig.control("HELLO");
        self.rig.take();
        assert_eq!(
            self.rig.pending(),
            String::from("HELLO") + &bytes,
            "{context}"
        );
        self.rig.write(usize::MAX);
        for text in living {
            assert_eq!(self.rig.reply(), Some(text), "{context}");
        }
        assert_eq!(self.rig.used(), (0, 0), "{context}");
        for (text, start, ticket) in self.requests {
            if let Some(mut ticket) = ticket
                && start >= written
            {
                assert_eq!(ticket.try_pull(), Some(Answer::Reply(text)), "{context}");
            }
        }
    }
}

fn wire_len() -> usize {
    WIRE.concat().len()
}

#[test]
fn at_every_split_what_was_begun_is_lost_and_the_rest_is_kept() {
    for written in 0..=wire_len() {
        let mut line = Line::new();
        line.rig.write(written);
        line.lose_after(written, &format!("{written} bytes in one write"));
    }
}

#[test]
fn it_does_not_matter_in_how_many_writes() {
    for written in 0..=wire_len() {
        for step in 1..=3 {
            let mut line = Line::new();
            for count in (0..written).step_by(step) {
                line.rig.write(step.min(written - count));
            }
            line.lose_after(written, &format!("{written} bytes, {step} at a time"));
        }
    }
}

/// The server answers what it has while the rest of the same run is still being written.
#[test]
fn at_every_split_it_does_not_matter_how_many_were_answered() {
    let count = Line::new().requests.len() - WAITING.len();
    for written in 0..=wire_len() {
        for answered in 0..=count {
            let mut line = Line::new();
            let whole = |(text, start, _): &(Text, usize, _)| start + text.len() <= written;
            if !line.requests[..answered].iter().all(whole) {
                break;
            }
            line.rig.write(written);
            line.reply(answered);
            line.lose_after(written, &format!("{written} bytes, {answered} answered"));
        }
    }
}

/// A server that lies cannot make us send half a request.
#[test]
fn at_every_split_an_answer_may_come_before_its_request_was_written() {
    let count = Line::new().requests.len() - WAITING.len();
    for written in 0..=wire_len() {
        for answered in 0..=count {
            let mut line = Line::new();
            line.rig.write(written);
            line.reply(answered);
            line.lose_after(written, &format!("{written} bytes, {answered} answered"));
        }
    }
}

#[test]
fn at_every_split_what_was_dropped_is_left_out() {
    let count = Line::new().requests.len();
    for written in 0..=wire_len() {
        for dropped in 0..1_u32 << count {
            let mut line = Line::new();
            line.rig.write(written);
            for (index, (_, _, ticket)) in line.requests.iter_mut().enumerate() {
                if dropped & (1 << index) != 0 {
                    *ticket = None;
                }
            }
            line.lose_after(written, &format!("{written} bytes, dropped {dropped:#b}"));
        }
    }
}

#[test]
fn what_is_kept_keeps_its_xid() {
    let mut rig = Rig::new();
    let _tickets = [rig.submit("a"), rig.submit("b"), rig.submit("c")];
    rig.take();
    rig.write(1);
    rig.lose();
    rig.send();
    assert_eq!(rig.head_xid(), Some(2));
    assert_eq!(rig.reply(), Some("b"));
    assert_eq!(rig.head_xid(), Some(3));
}

#[test]
fn what_comes_later_stands_behind_what_was_given_back() {
    let mut rig = Rig::new();
    let _taken = rig.submit("a");
    rig.take();
    let _waiting = rig.submit("b");
    rig.lose();
    let _later = rig.submit("c");
    rig.take();
    assert_eq!(rig.pending(), "abc");
}

#[test]
fn one_connection_after_the_other_may_be_lost() {
    let mut rig = Rig::new();
    let mut tickets = [rig.submit("aa"), rig.submit("bb"), rig.submit("cc")];
    for (count, pending) in [(0, "aabbcc"), (1, "aabbcc"), (3, "bbcc"), (0, "")] {
        rig.take();
        assert_eq!(rig.pending(), pending);
        rig.write(count);
        rig.lose();
    }
    let answers = tickets.each_mut().map(Ticket::try_pull);
    assert_eq!(
        answers,
        ["aa", "bb", "cc"].map(|text| Some(Answer::Lost(text)))
    );
}

#[test]
fn a_driver_that_gives_nothing_back_has_handed_everything_over() {
    let mut rig = Rig::new();
    let (mut taken, _) = (rig.submit("a"), rig.take());
    let mut waiting = rig.submit("b");
    rig.out = Outgoing::new();
    rig.lose();
    assert_eq!(taken.try_pull(), Some(Answer::Lost("a")));
    assert_eq!(waiting.try_pull(), None);
    rig.take();
    assert_eq!(rig.pending(), "b");
}

#[test]
fn without_a_connection_what_was_dropped_is_not_sent() {
    let mut rig = Rig::new();
    let (_a, b, mut c) = (rig.submit("a"), rig.submit("bb"), rig.submit("ccc"));
    drop(b);
    rig.forget_dropped();
    assert_eq!(rig.used(), (2, 4));
    rig.send();
    assert_eq!((rig.reply(), rig.reply()), (Some("a"), Some("ccc")));
    assert_eq!(c.try_pull(), Some(Answer::Reply("ccc")));
}

#[test]
fn forgetting_what_was_dropped_leaves_what_was_taken_alone() {
    let mut rig = Rig::new();
    drop(rig.submit("a"));
    rig.take();
    drop(rig.submit("b"));
    let _c = rig.submit("c");
    rig.forget_dropped();
    rig.take();
    assert_eq!(rig.pending(), "ac");
    assert_eq!((rig.reply(), rig.reply()), (Some("a"), Some("c")));
}

#[test]
fn what_is_kept_keeps_its_deadline() {
    let mut rig = Rig::new();
    let mut ticket = rig.submit_within("a", 100);
    rig.turn_after(0);
    rig.take();
    rig.turn_after(60);
    rig.lose();
    rig.turn_after(39);
    assert_eq!(ticket.try_pull(), None);
    rig.turn_after(1);
    let expected = Answer::Overdue("a", Fate::NotSent);
    assert_eq!(ticket.try_pull(), Some(expected));
}

#[test]
fn what_was_overdue_is_not_sent_again() {
    let mut rig = Rig::new();
    let _overdue = rig.submit_within("a", 10);
    let _other = rig.submit("b");
    rig.turn_after(0);
    rig.take();
    rig.turn_after(10);
    rig.lose();
    rig.take();
    assert_eq!(rig.pending(), "b");
    assert_eq!(rig.used(), (1, 1));
}
