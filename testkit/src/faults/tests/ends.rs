//! What strikes and what does not: behind an end, behind another stall, where nothing changes; and
//! what becomes of that which is held back.

use std::sync::Arc;
use std::time::Duration;

use homing_protocol::op;

use super::super::{Plan, Strikes};
use super::{Rig, SECOND, reply, request};

#[test]
fn nothing_is_struck_or_counted_behind_an_end() {
    for end in ["cut", "reset", "half-close"] {
        for script in [
            "END at getData 2 times; drop at ping",
            "delay 2s; END at getData 2 times",
            "END at getData 2 times; corrupt at byte 90 on connections 1-2",
            "END at getData 1; END at getData 2",
            "END at getData once; END at getData once",
            "END at byte 38 once; END at byte 39 once",
            "END on connection 1; END on connections 1-2",
        ] {
            let script = script.replace("END", end);
            let plan = Arc::new(Plan::new(&script.parse().unwrap()));
            let mut rig = Rig::new("");
            for connection in 1..=3 {
                rig = Rig::of(&plan);
                rig.handshake(0);
                let asked: Vec<_> = (1..4).map(|xid| request(xid, op::GET_DATA)).collect();
                let answers: Vec<_> = (1..4).map(|xid| reply(xid, 1)).collect();
                rig.request(&asked.concat());
                rig.reply(&answers.concat());
                let struck = Strikes(Arc::clone(&plan)).total();
                let expected =
                    connection.min(2) + u64::from(script.starts_with("delay")) * connection;
                assert_eq!(struck, expected, "connection {connection}: {script}");
            }
            rig.advance(SECOND * 2);
            assert!(rig.actions.is_empty() && rig.ended.is_empty(), "{script}");
        }
    }
}

#[test]
fn what_enters_behind_an_end_comes_out_where_that_is_mended() {
    let mut rig = Rig::attached("delay 2s at getData 1; cut at getData 2; drop at getData 3");
    rig.got();
    for xid in 1..4 {
        rig.request(&request(xid, op::GET_DATA));
        rig.reply(&reply(xid, 1));
    }
    assert_eq!((rig.got(), rig.struck(2), rig.struck(3)), (vec![], 1, 0));
    let drop = Arc::new(Plan::new(&"drop at getData 1".parse().unwrap()));
    rig.filter.replace(rig.now, &drop);
    rig.drain();
    assert_eq!(rig.got(), [reply(1, 1), reply(2, 1), reply(3, 1)].concat());
    rig.request(&request(4, op::GET_DATA));
    rig.reply(&reply(4, 1));
    assert_eq!((rig.got(), &rig.actions[..]), (vec![], &[][..]));
}

#[test]
fn of_two_ends_to_a_stall_the_later_one_counts() {
    for (script, passes) in [
        ("stall; hang 1s to server at getData 1", None),
        ("hang 1s to server at getData 1; stall at ping 1", None),
        ("stall 5s; hang 1s to server at getData 1", Some(5)),
        ("stall 1s; hang 5s to server at getData 1", Some(5)),
    ] {
        let mut rig = Rig::new(script);
        rig.handshake(0);
        rig.reply(&reply(-2, 1));
        rig.request(&request(-2, op::PING));
        rig.reply(&reply(-2, 1));
        rig.request(&request(1, op::GET_DATA));
        rig.got();
        rig.reply(&reply(1, 1));
        rig.advance(SECOND * 4);
        assert_eq!(rig.got(), b"", "{script}");
        rig.advance(SECOND * 3_600);
        assert_eq!(passes.is_some(), !rig.got().is_empty(), "{script}");
    }
}

#[test]
fn less_latency_holds_for_what_is_held_back_and_more_does_not() {
    let mut rig = Rig::attached("delay 15s at getData 3");
    rig.got();
    rig.filter.latency(rig.now, SECOND * 10);
    for xid in 1..4 {
        rig.request(&request(xid, op::GET_DATA));
        rig.reply(&reply(xid, 1));
        rig.filter
            .latency(rig.now, SECOND * if xid == 1 { 20 } else { 10 });
    }
    rig.advance(SECOND * 9);
    assert_eq!(rig.got(), b"");
    rig.advance(SECOND);
    assert_eq!(rig.got(), [reply(1, 1), reply(2, 1)].concat());
    rig.filter.latency(rig.now, SECOND * 10);
    rig.request(&request(4, op::PING));
    rig.reply(&reply(4, 1));
    rig.filter.latency(rig.now, Duration::ZERO);
    rig.drain();
    assert_eq!(rig.got(), b"", "that of the fault stays");
    rig.advance(SECOND * 5);
    assert_eq!(rig.got(), [reply(3, 1), reply(4, 1)].concat());
}

#[test]
fn connections_that_were_there_have_dice_of_their_own() {
    let count = |seed: usize| {
        let script = format!("seed {seed}; drop at getData with 50%");
        let plan = Arc::new(Plan::new(&script.parse().unwrap()));
        let mut rig = Rig::new("");
        for _ in 0..40 {
            rig = Rig::attached("");
            rig.plan = Arc::clone(&plan);
            rig.filter.replace(rig.now, &plan);
            rig.request(&request(1, op::GET_DATA));
            rig.reply(&reply(1, 1));
        }
        rig.struck(1)
    };
    for seed in 0..20 {
        let struck = count(seed);
        assert!((4..=36).contains(&struck), "seed {seed}: {struck}");
        assert_eq!(struck, count(seed));
    }
}

#[test]
fn what_changes_nothing_has_not_struck() {
    for script in [
        "truncate 24 at getData",
        "truncate 999 at getData",
        "length 24 at getData",
        "count 4 at getData",
        "xid =1 at getData",
        "zxid =9 at getData",
        "error 0 at getData",
    ] {
        let mut rig = Rig::attached(script);
        rig.got();
        rig.request(&request(1, op::GET_DATA));
        rig.reply(&reply(1, 9));
        assert_eq!((rig.got(), rig.struck(1)), (reply(1, 9), 0), "{script}");
    }
}
