//! What a session sees to by itself: deletions that are repeated until they are done, and nodes
//! that nobody was told of.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use homing_protocol::{Acl, Create, CreateMode, RequestHeader, op, put_request, request_len};
use homing_session::{
    Answer, Cause, ErrandEnd, NotTaken, OnExpiry, Pledge, SessionEnd, SessionState, Undo,
};
use homing_testkit::sim::Behaviour;
use homing_transport::{Fate, Refused, Request, Ticket};

impl World {
    fn delete_guaranteed(&self, path: &str) -> Ticket<ErrandEnd> {
        self.shared.delete_guaranteed(0, path.into(), -1).unwrap()
    }

    fn is_there(&mut self, path: &str) -> bool {
        self.sim.server().node_exists(path)
    }

    /// Makes `/d/t-…`, which the pledge undoes.
    fn create_pledged(&self, pledge: &Pledge) -> Ticket<Answer> {
        let acl = [Acl::open()];
        let body = Create {
            path: "/d/t-".into(),
            data: b"",
            acl: &acl,
            mode: CreateMode::PersistentSequential,
        };
        let request = Request {
            len: request_len(&body),
            within: None,
            note: pledge.note(op::CREATE2, false),
        };
        let put = |xid, out: &mut _| {
            let op = op::CREATE2;
            put_request(out, RequestHeader { xid, op }, &body);
        };
        self.shared.queue.try_submit(request, put).unwrap()
    }

    fn pledge(&self) -> Pledge {
        let (parent, prefix) = ("/d".into(), "t-".into());
        Pledge::new(&self.shared, 0, Undo::Sweep { parent, prefix }).unwrap()
    }

    fn children(&mut self) -> usize {
        self.sim.server().node("/d").unwrap().children.len()
    }
}

fn with_directory() -> World {
    let mut world = connected();
    world.make("/d");
    world
}

#[test]
fn a_deletion_has_its_place_in_the_line() {
    let mut world = connected();
    let made = world.create("/a", CreateMode::Persistent);
    let mut gone = world.delete_guaranteed("/a");
    let again = world.create("/a", CreateMode::Persistent);
    world.settle();
    assert_eq!(gone.try_pull(), Some(ErrandEnd::Done));
    assert_eq!((reply(made).err, reply(again).err), (0, 0));
    assert_eq!(world.shared.errands.len(), 0);
}

#[test]
fn it_needs_no_room_among_requests() {
    let mut world = world_with("10.0.0.1", |config| config.limits.requests = 1);
    world.connect();
    let made = world.create("/a", CreateMode::Persistent);
    let mut gone = world.delete_guaranteed("/a");
    world.settle();
    assert_eq!(gone.try_pull(), Some(ErrandEnd::Done));
    drop(made);
}

#[test]
fn it_waits_for_the_first_connection_whoever_has_gone() {
    let mut world = world();
    drop(world.delete_guaranteed("/none"));
    let mut refused = world.delete_guaranteed("/none");
    world.connect();
    world.settle();
    let end = refused.try_pull();
    assert_eq!(
        end,
        Some(ErrandEnd::Refused {
            err: -101,
            lost: None
        })
    );
    assert_eq!(world.shared.errands.len(), 0);
}

#[test]
fn what_was_lost_is_asked_again_and_may_have_been_done() {
    let mut world = with_directory();
    for applied in [true, false] {
        world.make("/a");
        world.sim.with_server_now(|server, _| match applied {
            true => server.cut_after_apply(1),
            false => server.cut_before_apply(1),
        });
        let mut gone = world.delete_guaranteed("/a");
        world.sim.run_for(SECOND);
        assert_eq!(gone.try_pull(), Some(ErrandEnd::Done));
        assert!(!world.is_there("/a"));
    }
    // What is refused the second time may have been done the first time.
    world.make("/d/child");
    world
        .sim
        .with_server_now(|server, _| server.cut_before_apply(1));
    let mut refused = world.delete_guaranteed("/d");
    world.sim.run_for(SECOND);
    match refused.try_pull() {
        Some(ErrandEnd::Refused {
            err: -111,
            lost: Some(_),
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_busy_server_is_left_alone_for_a_second() {
    let mut world = with_directory();
    let asked = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&asked);
    // The next three answers to writes say that the server has too much to do.
    world.sim.set_tamper(move |bytes: Bytes| {
        let mut bytes = bytes.to_vec();
        let is_refusal = bytes.len() == 20 && bytes[16..20] == (-101_i32).to_be_bytes();
        if is_refusal && *seen.borrow() < 3 {
            *seen.borrow_mut() += 1;
            bytes[16..20].copy_from_slice(&(-127_i32).to_be_bytes());
        }
        vec![bytes.into()]
    });
    let start = world.sim.elapsed();
    let mut gone = world.delete_guaranteed("/none");
    let shared = std::sync::Arc::clone(&world.shared);
    assert!(
        world
            .sim
            .run_until(60 * SECOND, |_| shared.errands.len() == 0)
    );
    assert_eq!(*asked.borrow(), 3);
    let took = world.sim.elapsed() - start;
    assert!(took >= 3 * SECOND && took < 4 * SECOND, "{took:?}");
    let end = gone.try_pull();
    assert_eq!(
        end,
        Some(ErrandEnd::Refused {
            err: -101,
            lost: None
        })
    );
}

#[test]
fn the_end_of_the_session_is_told_with_what_is_known() {
    let mut world = connected();
    let mut sent = world.delete_guaranteed("/a");
    world
        .sim
        .with_server_now(|server, _| server.cut_before_apply(1));
    world.servers(Behaviour::Refuse);
    world.sim.run_for(SECOND);
    let mut unsent = world.delete_guaranteed("/b");
    let end = world.run_until_ended(600 * SECOND);
    let ended = |fate| {
        let end = end.clone();
        Some(ErrandEnd::Ended { end, fate })
    };
    assert_eq!(sent.try_pull(), ended(Fate::MaybeApplied));
    assert_eq!(unsent.try_pull(), ended(Fate::NotSent));
    let error = world
        .shared
        .delete_guaranteed(0, "/c".into(), -1)
        .unwrap_err();
    assert_eq!(error, NotTaken::Refused(Refused::Ended));
    assert_eq!(world.shared.errands.len(), 0);
}

#[test]
fn an_end_on_the_way_leaves_it_open() {
    let fate = Fate::MaybeApplied;
    let mut world = connected();
    let mut sent = world.delete_guaranteed("/a");
    world.sim.run_for(Duration::from_micros(500));
    world.shared.detach();
    world.settle();
    let end = SessionEnd::Detached;
    assert_eq!(sent.try_pull(), Some(ErrandEnd::Ended { end, fate }));

    let mut world = connected();
    let mut sent = world.delete_guaranteed("/a");
    world.sim.run_for(Duration::from_micros(500));
    drop(world.sim);
    let end = SessionEnd::DriverGone;
    assert_eq!(sent.try_pull(), Some(ErrandEnd::Ended { end, fate }));
}

#[test]
fn a_close_comes_behind_what_stands_before_it() {
    let mut world = connected();
    world.make("/a");
    let mut gone = world.delete_guaranteed("/a");
    drop(world.close(SECOND));
    assert_eq!(
        world
            .shared
            .delete_guaranteed(0, "/b".into(), -1)
            .unwrap_err(),
        NotTaken::Refused(Refused::Sealed)
    );
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    assert_eq!(gone.try_pull(), Some(ErrandEnd::Done));
}

#[test]
fn there_are_only_so_many_and_their_paths_only_so_long() {
    let world = world_with("10.0.0.1", |config| config.errands_max = 3);
    let full = Err(NotTaken::Full { limit: 3 });
    let delete = |path: String| world.shared.delete_guaranteed(0, path, -1).map(drop);
    assert_eq!(delete("/".repeat(3 << 20)), Ok(()));
    assert_eq!(delete("/".repeat((1 << 20) + 1)), full);
    assert_eq!(delete("/a".into()), Ok(()));
    let pledge = world.pledge();
    assert_eq!(delete("/b".into()), full);
    drop(pledge);
    assert_eq!(delete("/b".into()), Ok(()));
}

#[test]
fn what_is_pledged_stays_until_it_is_given_up() {
    let mut world = with_directory();
    let pledge = world.pledge();
    let made = world.create_pledged(&pledge);
    world.settle();
    assert_eq!(reply(made).err, 0);
    world.sim.run_for(SECOND);
    assert_eq!(world.children(), 1);
    drop(pledge);
    world.sim.run_for(SECOND);
    assert_eq!((world.children(), world.shared.errands.len()), (0, 0));
}

#[test]
fn what_is_released_stays_for_good() {
    let mut world = with_directory();
    let pledge = world.pledge();
    let made = world.create_pledged(&pledge);
    world.settle();
    pledge.release();
    drop((made, pledge));
    world.sim.run_for(SECOND);
    assert_eq!((world.children(), world.shared.errands.len()), (1, 0));
}

#[test]
fn what_is_given_up_on_its_way_is_undone_when_it_arrives() {
    for applied in [None, Some(true), Some(false)] {
        let mut world = with_directory();
        let pledge = world.pledge();
        let made = world.create_pledged(&pledge);
        world.sim.with_server_now(|server, _| match applied {
            None => {}
            Some(true) => server.cut_after_apply(1),
            Some(false) => server.cut_before_apply(1),
        });
        // It is handed over, and not there yet.
        world.sim.run_for(Duration::from_micros(500));
        drop((made, pledge));
        assert_eq!(world.shared.errands.len(), 1);
        world.sim.run_for(SECOND);
        assert_eq!((world.children(), world.shared.errands.len()), (0, 0));
    }
}

#[test]
fn what_was_never_sent_is_not_looked_for() {
    let mut world = world();
    let pledge = world.pledge();
    let made = world.create_pledged(&pledge);
    drop((made, pledge));
    world.connect();
    world.settle();
    assert_eq!(world.shared.errands.len(), 0);
    assert_eq!(world.sim.server().requests_received(), 0);
}

#[test]
fn what_was_found_not_to_be_there_is_not_looked_for() {
    let mut world = with_directory();
    let pledge = world.pledge();
    let made = world.create_pledged(&pledge);
    world
        .sim
        .with_server_now(|server, _| server.cut_before_apply(1));
    world.sim.run_for(SECOND);
    drop(made);
    pledge.not_applied();
    let before = world.sim.server().requests_received();
    drop(pledge);
    world.settle();
    assert_eq!(world.sim.server().requests_received(), before);
}

#[test]
fn nodes_of_others_are_left_alone() {
    let mut world = with_directory();
    world.make("/d/other");
    let pledge = world.pledge();
    let made = world.create_pledged(&pledge);
    world
        .sim
        .with_server_now(|server, _| server.cut_after_apply(1));
    world.sim.run_for(Duration::from_micros(500));
    drop((made, pledge));
    world.sim.run_for(SECOND);
    assert!(world.is_there("/d/other"));
    assert_eq!(world.children(), 1);
}

#[test]
fn what_one_session_was_asked_is_not_for_the_next() {
    let mut world = world_with("10.0.0.1", |config| config.on_expiry = OnExpiry::Renew);
    world.connect();
    let session_id = world.session_id();
    let mut sent = world.delete_guaranteed("/a");
    world.sim.run_for(Duration::from_micros(500));
    let pledge = world.pledge();
    let made = world.create_pledged(&pledge);
    world.sim.with_server_now(|server, now| {
        assert!(server.expire_session(now, session_id));
    });
    let shared = std::sync::Arc::clone(&world.shared);
    let renewed = |_: &_| {
        shared
            .status
            .credentials()
            .is_some_and(|to| to.session_id() != session_id)
    };
    assert!(world.sim.run_until(60 * SECOND, renewed));
    let (end, fate) = (SessionEnd::Expired { session_id }, Fate::MaybeApplied);
    assert_eq!(sent.try_pull(), Some(ErrandEnd::Ended { end, fate }));
    assert_eq!(world.shared.errands.len(), 0);
    drop((made, pledge));

    let outdated = world.shared.delete_guaranteed(0, "/b".into(), -1);
    assert_eq!(outdated.unwrap_err(), NotTaken::Refused(Refused::Outdated));
    let mut next = world.shared.delete_guaranteed(1, "/b".into(), -1).unwrap();
    world.sim.run_for(SECOND);
    assert_eq!(
        next.try_pull(),
        Some(ErrandEnd::Refused {
            err: -101,
            lost: None
        })
    );
}

#[test]
fn a_session_that_has_something_to_see_to_is_not_idle() {
    let mut world = world_with("10.0.0.1", |config| config.close_idle_after = Some(SECOND));
    world.connect();
    let pledge = world.pledge();
    world.sim.run_for(10 * SECOND);
    assert!(world.is_connected());
    drop(pledge);
    world.sim.run_for(10 * SECOND);
    assert_eq!(world.state(), SessionState::Dormant);
    let mut gone = world.delete_guaranteed("/a");
    world.sim.run_for(SECOND);
    assert_eq!(
        gone.try_pull(),
        Some(ErrandEnd::Refused {
            err: -101,
            lost: None
        })
    );
}

#[test]
fn whoever_is_not_to_wait_does_not_stop_it() {
    let mut world = world_with("10.0.0.1", |config| config.fail_fast_after = Some(1));
    world.connect();
    world.sim.set_behaviour(address(1), Behaviour::Refuse);
    world.sim.cut();
    let mut gone = world.delete_guaranteed("/a");
    let refused = world.get("/a");
    world.sim.run_for(10 * SECOND);
    assert!(matches!(unanswered(refused).cause, Cause::Unavailable(_)));
    assert_eq!(gone.try_pull(), None);
    world.sim.set_behaviour(address(1), Behaviour::Serve);
    world.sim.run_for(10 * SECOND);
    assert_eq!(
        gone.try_pull(),
        Some(ErrandEnd::Refused {
            err: -101,
            lost: None
        })
    );
}

/// What a server says that knows less than the one that made the node: to the sync that it is
/// not the time for it, and then that the directory is empty, or not there.
fn out_of_date(bytes: &Bytes, refusal: i32, has_parent: bool) -> Bytes {
    let mut header = bytes.slice(..20).to_vec();
    let mut refused = |code: i32| {
        header[..4].copy_from_slice(&16_i32.to_be_bytes());
        header[16..].copy_from_slice(&code.to_be_bytes());
        header.clone().into()
    };
    // The answer to a sync is the path `/`.
    if bytes.len() == 20 + 5 {
        return refused(refusal);
    }
    if !has_parent {
        return refused(-101);
    }
    let (none, stat) = (0_i32.to_be_bytes(), &bytes[bytes.len() - STAT_LEN..]);
    let len = (16 + none.len() + stat.len()) as i32;
    header[..4].copy_from_slice(&len.to_be_bytes());
    [&*header, &none, stat].concat().into()
}

const STAT_LEN: usize = 68;

#[test]
fn a_list_behind_a_sync_that_was_refused_counts_for_nothing() {
    // The server has too much to do, or no quorum.
    for (refusal, has_parent) in [(-127, true), (-127, false), (-119, true), (-119, false)] {
        let mut world = with_directory();
        let pledge = world.pledge();
        let made = world.create_pledged(&pledge);
        world
            .sim
            .with_server_now(|server, _| server.cut_after_apply(1));
        world.sim.run_for(Duration::from_micros(500));
        drop((made, pledge));
        // Three lists, each with the sync before it.
        let told = Rc::new(RefCell::new(0));
        let seen = Rc::clone(&told);
        world.sim.set_tamper(move |bytes: Bytes| {
            let is_sync = bytes.len() == 20 + 5;
            let is_list = bytes.len() > 20 + 4 + STAT_LEN;
            if (!is_sync && !is_list) || *seen.borrow() == 6 {
                return vec![bytes];
            }
            *seen.borrow_mut() += 1;
            vec![out_of_date(&bytes, refusal, has_parent)]
        });
        let start = world.sim.elapsed();
        let shared = std::sync::Arc::clone(&world.shared);
        let is_done = |_: &_| shared.errands.len() == 0;
        assert!(world.sim.run_until(60 * SECOND, is_done));
        assert_eq!((world.children(), *told.borrow()), (0, 6));
        // It is left alone for a while each time.
        let took = world.sim.elapsed() - start;
        assert!(took >= 3 * SECOND && took < 5 * SECOND, "{took:?}");
    }
}
