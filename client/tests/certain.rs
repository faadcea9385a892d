//! What became of a write: thousands of lives of a connection that is cut at the worst moment,
//! each with a seed, in virtual time. A round that fails says its seed.

mod support;

use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use homing::ops::Resolved;
use homing::{Acl, Client, Error, ErrorCode, Retry, Usage, is_marker, plain_name};
use homing_protocol::op;
use support::virtual_time::{Dice, World};

const ROUNDS: u64 = 1_000;

/// How a write meets its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The server applies it, then cuts.
    Applied,
    /// The server cuts, and applies nothing.
    Lost,
}

struct Round {
    world: World,
    client: Client,
    dice: Dice,
}

impl Round {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let client = world.builder(seed).connect().wait().unwrap();
        for path in ["/d", "/d/n"] {
            client.create(path, b"0").wait().unwrap();
        }
        let dice = Dice::new(!seed);
        let round = Self {
            world,
            client,
            dice,
        };
        round.world.asked();
        round
    }

    fn arm(&self, fault: Fault) {
        self.world.server(|server| match fault {
            Fault::Applied => server.cut_after_apply(1),
            Fault::Lost => server.cut_before_apply(1),
        });
    }

    /// Nothing is on its way any more, and the session has nothing left to do.
    fn settle(&self) {
        self.world.set_cuts(0);
        let client = &self.client;
        self.world.until("all is done", || {
            client.in_flight() == Usage::default() && client.stats().guaranteed == 0
        });
    }

    /// The names of the children of `/d`, but for the one that is always there.
    fn children(&self) -> Vec<String> {
        let mut children = self
            .world
            .server(|server| server.node("/d").unwrap().children);
        children.retain(|name| name != "n");
        children
    }

    fn version(&self) -> i32 {
        self.world
            .server(|server| server.node("/d/n").unwrap().stat.version)
    }

    /// Polls it so many times, with steps in between, and drops it. What came of it by then.
    fn dropped_after<T>(&mut self, polls: u64, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        for _ in 0..polls {
            if let Poll::Ready(output) = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return Some(output);
            }
            for _ in 0..self.dice.below(4) {
                self.world.step();
            }
        }
        None
    }

    /// The end, with nothing left behind.
    fn finish(self) {
        self.settle();
        self.client.close().wait().unwrap();
    }
}

fn rounds(what: &str, mut round: impl FnMut(u64)) {
    for seed in 0..ROUNDS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| round(seed))) {
            eprintln!("{what}: it was seed {seed}");
            resume_unwind(panic);
        }
    }
}

/// Each kind of write, each with both faults.
fn with_each_fault(what: &str, mut round: impl FnMut(Round, Fault)) {
    for fault in [Fault::Applied, Fault::Lost] {
        rounds(&format!("{what}, {fault:?}"), |seed| {
            round(Round::new(seed), fault);
        });
    }
}

/// A plain write is sent once, and its error says that it may have been applied.
fn is_sent_once<T>(round: &Round, code: i32, outcome: Result<T, Error>) {
    let error = outcome.err().expect("its answer is lost");
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert!(error.may_have_been_applied(), "{error}");
    round.settle();
    assert_eq!(round.world.asked(), [code]);
}

#[test]
fn a_plain_create_is_sent_once() {
    with_each_fault("create", |round, fault| {
        round.arm(fault);
        is_sent_once(
            &round,
            op::CREATE2,
            round.client.create("/d/new", b"").wait(),
        );
        assert_eq!(round.children().len(), usize::from(fault == Fault::Applied));
        round.finish();
    });
}

#[test]
fn a_plain_set_is_sent_once() {
    with_each_fault("set", |round, fault| {
        round.arm(fault);
        is_sent_once(&round, op::SET_DATA, round.client.set("/d/n", b"1").wait());
        assert_eq!(round.version(), i32::from(fault == Fault::Applied));
        round.finish();
    });
}

#[test]
fn a_plain_set_acl_is_sent_once() {
    with_each_fault("set_acl", |round, fault| {
        round.arm(fault);
        let outcome = round.client.set_acl("/d/n", Acl::open()).wait();
        is_sent_once(&round, op::SET_ACL, outcome);
        let aversion = round
            .world
            .server(|server| server.node("/d/n").unwrap().stat.aversion);
        assert_eq!(aversion, i32::from(fault == Fault::Applied));
        round.finish();
    });
}

#[test]
fn a_plain_delete_is_sent_once() {
    with_each_fault("delete", |round, fault| {
        round.arm(fault);
        is_sent_once(&round, op::DELETE, round.client.delete("/d/n").wait());
        let is_there = round.world.server(|server| server.node_exists("/d/n"));
        assert_eq!(is_there, fault == Fault::Lost);
        round.finish();
    });
}

#[test]
fn a_plain_transaction_is_sent_once() {
    with_each_fault("transaction", |round, fault| {
        round.arm(fault);
        let both = round
            .client
            .transaction()
            .set("/d/n", b"1")
            .create("/d/new", b"");
        is_sent_once(&round, op::MULTI, both.wait());
        assert_eq!(round.version(), i32::from(fault == Fault::Applied));
        assert_eq!(round.children().len(), usize::from(fault == Fault::Applied));
        round.finish();
    });
}

#[test]
fn a_protected_sequential_node_is_there_once() {
    for is_ephemeral in [true, false] {
        with_each_fault("protected sequential", |round, fault| {
            round.arm(fault);
            let node = round.client.create("/d/s-", b"x").sequential();
            let node = if is_ephemeral { node.ephemeral() } else { node };
            let made = node.protected().wait().unwrap();
            round.settle();
            let asked = round.world.asked();
            // It is looked for behind a sync, and made again only if it is not there.
            assert_eq!(asked[..3], [op::CREATE2, op::SYNC, op::GET_CHILDREN2]);
            match fault {
                Fault::Applied => assert_eq!(asked[3..], [op::SYNC, op::EXISTS]),
                Fault::Lost => assert_eq!(asked[3..], [op::CREATE2]),
            }
            let children = round.children();
            assert_eq!(children.len(), 1, "{children:?}");
            assert_eq!(made.path, format!("/d/{}", children[0]));
            assert_eq!(
                plain_name(&made.path),
                format!("s-{:010}", made.sequence.unwrap())
            );
            let stat = round
                .world
                .server(|server| server.node(&made.path).unwrap().stat);
            assert_eq!(made.stat, Some(stat));
            assert_eq!(stat.is_ephemeral(), is_ephemeral);
            round.finish();
        });
    }
}

#[test]
fn a_protected_node_with_a_name_of_its_own_is_there_once() {
    for kind in ["persistent", "ephemeral", "container", "ttl"] {
        with_each_fault(&format!("protected {kind}"), |round, fault| {
            round.arm(fault);
            let node = round.client.create("/d/new", b"x");
            let node = match kind {
                "ephemeral" => node.ephemeral(),
                "container" => node.container(),
                "ttl" => node.ttl(Duration::from_secs(3600)),
                _ => node,
            };
            let made = node.protected().wait().unwrap();
            assert_eq!(made.path, "/d/new");
            round.settle();
            assert_eq!(round.children(), ["new"], "the marker is gone");
            let stat = round
                .world
                .server(|server| server.node("/d/new").unwrap().stat);
            // This server tells no stat in a transaction, except for containers and the like.
            assert!(made.stat.is_none_or(|told| told == stat), "{made:?}");
            round.finish();
        });
    }
}

#[test]
fn a_node_of_somebody_else_is_nobody_elses() {
    with_each_fault("protected, taken", |round, fault| {
        let (client, world) = (&round.client, &round.world);
        // Another call of the same session has made it, which its owner cannot tell.
        let other = client
            .create("/d/new", b"other")
            .ephemeral()
            .wait()
            .unwrap();
        round.arm(fault);
        let error = client
            .create("/d/new", b"x")
            .ephemeral()
            .protected()
            .wait()
            .unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NodeExists), "{error:?}");
        assert_eq!(error.request().map(|request| request.op), Some("create"));
        round.settle();
        let stat = world.server(|server| server.node("/d/new").unwrap().stat);
        assert_eq!(other.stat, Some(stat));
        assert_eq!(round.children(), ["new"]);
        round.finish();
    });
}

#[test]
fn two_protected_creates_of_one_session_have_one_winner() {
    rounds("two protected", |seed| {
        let round = Round::new(seed);
        let client = &round.client;
        round.world.set_cuts(20);
        let make = |data| {
            client
                .create("/d/new", data)
                .ephemeral()
                .protected()
                .into_future()
        };
        let (mut one, mut other) = (make(b"1"), make(b"2"));
        let mut outcomes = [None, None];
        while outcomes.iter().any(Option::is_none) {
            for (outcome, future) in outcomes.iter_mut().zip([&mut one, &mut other]) {
                if outcome.is_none()
                    && let Poll::Ready(made) = future
                        .as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                {
                    *outcome = Some(made);
                }
            }
            round.world.step();
        }
        round.settle();
        let data = round
            .world
            .server(|server| server.node("/d/new").unwrap().data.unwrap());
        let [Some(one), Some(other)] = outcomes else {
            unreachable!("both are done");
        };
        assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
        assert_eq!(data[..], if one.is_ok() { *b"1" } else { *b"2" });
        assert_eq!(round.children(), ["new"]);
        round.finish();
    });
}

#[test]
fn cuts_at_random_leave_one_node() {
    rounds("protected, cut at random", |seed| {
        let mut round = Round::new(seed);
        round.world.set_cuts(100);
        let (a, b) = (1 + round.dice.below(3), 1 + round.dice.below(3));
        round.world.server(|server| {
            server.cut_after_apply(u32::try_from(a).unwrap());
            server.cut_before_apply(u32::try_from(b).unwrap());
        });
        let client = &round.client;
        let node = client.create("/d/s-", b"").sequential().ephemeral();
        let sequential = node.protected().wait().unwrap();
        client.create("/d/new", b"").protected().wait().unwrap();
        round.settle();
        let mut names = round.children();
        names.sort();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(format!("/d/{}", names[0]), sequential.path);
        assert_eq!(names[1], "new");
        round.finish();
    });
}

#[test]
fn a_dropped_create_leaves_nothing_behind() {
    for is_ephemeral in [true, false] {
        let (mut done, mut dropped) = (0, 0);
        rounds("protected, dropped", |seed| {
            let mut round = Round::new(seed);
            match round.dice.below(4) {
                0 => round.arm(Fault::Applied),
                1 => round.arm(Fault::Lost),
                2 => round.world.set_cuts(100),
                _ => {}
            }
            let node = round.client.create("/d/s-", b"").sequential();
            let node = if is_ephemeral { node.ephemeral() } else { node };
            let polls = round.dice.below(16);
            let outcome = round.dropped_after(polls, node.protected().into_future());
            round.settle();
            match outcome {
                Some(made) => {
                    done += 1;
                    let name = format!("/d/{}", round.children()[0]);
                    assert_eq!((name, round.children().len()), (made.unwrap().path, 1));
                }
                None => {
                    dropped += 1;
                    assert_eq!(round.children(), [""; 0]);
                }
            }
            round.finish();
        });
        eprintln!("{done} were made, {dropped} were dropped before");
        assert!(done > 100 && dropped > 100);
    }
}

#[test]
fn a_dropped_create_leaves_no_marker_behind() {
    rounds("protected by a marker, dropped", |seed| {
        let mut round = Round::new(seed);
        match round.dice.below(4) {
            0 => round.arm(Fault::Applied),
            1 => round.arm(Fault::Lost),
            2 => round.world.set_cuts(100),
            _ => {}
        }
        let node = round.client.create("/d/new", b"").ephemeral();
        let polls = round.dice.below(16);
        let outcome = round.dropped_after(polls, node.protected().into_future());
        round.settle();
        let children = round.children();
        assert!(!children.iter().any(|name| is_marker(name)), "{children:?}");
        assert!(outcome.is_none() || children == ["new"]);
        round.finish();
    });
}

#[test]
fn a_deadline_leaves_nothing_behind() {
    rounds("protected, late", |seed| {
        let mut round = Round::new(seed);
        round.world.set_mute(true);
        let node = round.client.create("/d/s-", b"").sequential().ephemeral();
        let deadline = Duration::from_millis(10 + round.dice.below(15_000));
        let error = node.deadline(deadline).protected().wait().unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
        assert!(error.may_have_been_applied(), "{error}");
        assert_eq!(
            error.request().map(|request| request.path.as_str()),
            Some("/d/s-")
        );
        round.world.set_mute(false);
        round.world.cut();
        round.world.asked();
        round.settle();
        // Looked for behind a sync, which the next server may need.
        let asked = round.world.asked();
        let look = [op::SYNC, op::GET_CHILDREN2];
        assert!(asked.windows(2).any(|two| two == look), "{asked:?}");
        assert_eq!(round.children(), [""; 0]);
        round.finish();
    });
}

#[test]
fn what_became_of_a_set_is_found_out() {
    with_each_fault("set, resolved", |round, fault| {
        round.arm(fault);
        // Another call does the same, as soon as the answer to this one is lost.
        let (client, world) = (&round.client, &round.world);
        let mut set = pin!(client.set("/d/n", b"1").version(0).resolved().into_future());
        let (mut other, mut outcome) = (None, None);
        while outcome.is_none() {
            match set.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => outcome = Some(done),
                Poll::Pending => world.step(),
            }
            if client.stats().session.lost() > 0 {
                let submit = || client.set("/d/n", b"1").version(0).submit().unwrap();
                other.get_or_insert_with(submit);
            }
        }
        let other = other.unwrap().wait();
        assert_eq!(other.is_ok(), fault == Fault::Lost, "{other:?}");
        assert_eq!(round.version(), 1);
        match (outcome.unwrap(), fault) {
            (Ok(Resolved::Applied { zxid }), Fault::Applied) => {
                let stat = world.server(|server| server.node("/d/n").unwrap().stat);
                assert_eq!(stat.mzxid, zxid);
            }
            (Err(error @ Error::NotApplied { .. }), Fault::Lost) => {
                assert!(!error.may_have_been_applied());
                assert!(error.to_string().ends_with("it was not applied"), "{error}");
            }
            (other, _) => panic!("{other:?}"),
        }
        round.settle();
        assert_eq!(round.children(), [""; 0]);
        round.finish();
    });
}

#[test]
fn what_became_of_a_delete_is_found_out() {
    with_each_fault("delete, resolved", |round, fault| {
        round.arm(fault);
        let outcome = round.client.delete("/d/n").version(0).resolved().wait();
        match (outcome, fault) {
            (Ok(Resolved::Applied { .. }), Fault::Applied)
            | (Err(Error::NotApplied { .. }), Fault::Lost) => {}
            (other, _) => panic!("{other:?}"),
        }
        let is_there = round.world.server(|server| server.node_exists("/d/n"));
        assert_eq!(is_there, fault == Fault::Lost);
        round.settle();
        assert_eq!(round.children(), [""; 0]);
        round.finish();
    });
}

#[test]
fn what_became_of_a_transaction_is_found_out() {
    with_each_fault("transaction, resolved", |round, fault| {
        round.arm(fault);
        let all = round.client.transaction().delete("/d/n").delete("/d");
        match (all.resolved().wait(), fault) {
            (Ok(Resolved::Applied { .. }), Fault::Applied)
            | (Err(Error::NotApplied { .. }), Fault::Lost) => {}
            (other, _) => panic!("{other:?}"),
        }
        round.settle();
        let root = round
            .world
            .server(|server| server.node("/").unwrap().children);
        assert_eq!(root.contains(&"d".into()), fault == Fault::Lost, "{root:?}");
        assert!(!root.iter().any(|name| is_marker(name)), "{root:?}");
        round.finish();
    });
}

#[test]
fn what_was_not_applied_is_sent_again_if_that_was_asked_for() {
    with_each_fault("set, resolved and retried", |round, fault| {
        round.arm(fault);
        let set = round.client.set("/d/n", b"1").version(0).resolved();
        let done = set.retry(Retry::new()).wait().unwrap();
        assert_eq!(done.zxid().is_some(), fault == Fault::Applied);
        assert_eq!(round.version(), 1);
        round.finish();
    });
}

#[test]
fn a_guaranteed_deletion_is_done() {
    with_each_fault("delete, guaranteed", |round, fault| {
        round.arm(fault);
        round.client.delete("/d/n").guaranteed().wait().unwrap();
        assert!(!round.world.server(|server| server.node_exists("/d/n")));
        assert_eq!(round.world.asked(), [op::DELETE; 2]);
        // With no answer lost, a node that is not there is an error as ever.
        let error = round.client.delete("/d/n").guaranteed().wait().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NoNode));
        round.finish();
    });
}

#[test]
fn guaranteed_deletions_are_repeated_in_their_order() {
    let round = Round::new(1);
    let paths: Vec<_> = (0..9).map(|n| format!("/d/{n}")).collect();
    for path in &paths {
        round.client.create(path, b"").wait().unwrap();
    }
    round.world.server(|server| server.cut_before_apply(3));
    let submit = |path| round.client.delete(path).guaranteed().submit().unwrap();
    let all: Vec<_> = paths.iter().map(submit).collect();
    for deletion in all {
        deletion.wait().unwrap();
    }
    // What stood behind the third was handed over with it, or waited.
    let asked = round.world.deleted();
    assert_eq!(asked[..3], paths[..3]);
    let repeated = asked.iter().rposition(|path| *path == paths[2]).unwrap();
    let tail: Vec<_> = asked[repeated..].to_vec();
    assert_eq!(tail, paths[2..]);
    assert_eq!(round.children(), [""; 0]);
    round.finish();
}

#[test]
fn guaranteed_deletions_are_done_whoever_waits() {
    rounds("delete, guaranteed and dropped", |seed| {
        let mut round = Round::new(seed);
        let paths: Vec<_> = (0..10).map(|n| format!("/d/{n}")).collect();
        for path in &paths {
            round.client.create(path, b"").wait().unwrap();
        }
        round.world.set_cuts(150);
        for path in &paths {
            for _ in 0..round.dice.below(4) {
                round.world.step();
            }
            drop(round.client.delete(path).guaranteed().submit().unwrap());
        }
        round
            .world
            .until("all is done", || round.client.stats().guaranteed == 0);
        assert_eq!(round.children(), [""; 0]);
        round.finish();
    });
}

#[test]
fn a_write_is_retried_if_it_was_asked_for_and_is_idempotent() {
    with_each_fault("set, retried", |round, fault| {
        round.arm(fault);
        let careful = round.client.set("/d/n", b"1").retry(Retry::new()).wait();
        is_sent_once(&round, op::SET_DATA, careful);
        let before = round.version();
        round.arm(fault);
        let set = round
            .client
            .set("/d/n", b"2")
            .retry(Retry::new().idempotent());
        let stat = set.wait().unwrap();
        assert_eq!(
            stat.version,
            before + 1 + i32::from(fault == Fault::Applied)
        );
        round.finish();
    });
}
