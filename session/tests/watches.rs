//! One-shot watches: armed by a reply, fired once, carried over to the next connection.

mod common;

use std::collections::BTreeMap;

use common::*;
use homing_protocol::{SetData, op};
use homing_session::{
    Cause, Config, ConnectString, EventType, Session, SessionEnd, SessionState, WatchEvent,
    WatchKind, WatchTicket,
};
use homing_testkit::sim::Sim;
use homing_testkit::{Server, ServerConfig};

fn event(watch: &mut WatchTicket) -> Option<WatchEvent> {
    watch
        .ticket
        .try_pull()
        .map(|outcome| outcome.expect("an event"))
}

fn kind(watch: &mut WatchTicket) -> Option<EventType> {
    event(watch).map(|event| event.kind)
}

#[test]
fn each_kind_fires_for_its_changes_once() {
    let mut world = connected();
    world.make("/a");
    let mut data = world.armed(WatchKind::Data, "/a");
    let mut exists = world.armed(WatchKind::Exist, "/a");
    let mut missing = world.armed(WatchKind::Exist, "/b");
    let mut child = world.armed(WatchKind::Child, "/a");
    world.set("/a");
    world.settle();
    assert_eq!(kind(&mut data), Some(EventType::NodeDataChanged));
    assert_eq!(kind(&mut exists), Some(EventType::NodeDataChanged));
    assert_eq!((kind(&mut missing), kind(&mut child)), (None, None));
    world.make("/b");
    assert_eq!(kind(&mut missing), Some(EventType::NodeCreated));
    world.make("/a/x");
    assert_eq!(kind(&mut child), Some(EventType::NodeChildrenChanged));
    assert_eq!(world.shared.watches.armed(), 0);
}

#[test]
fn a_deletion_fires_all_kinds_once() {
    let mut world = connected();
    world.make("/a");
    let mut watches =
        [WatchKind::Data, WatchKind::Exist, WatchKind::Child].map(|kind| world.armed(kind, "/a"));
    world.delete("/a");
    world.settle();
    for watch in &mut watches {
        assert_eq!(kind(watch), Some(EventType::NodeDeleted));
    }
    assert_eq!(world.shared.watches.armed(), 0);
}

#[test]
fn a_read_that_fails_arms_nothing() {
    let mut world = connected();
    let (answer, mut watch) = world.watch(WatchKind::Data, "/missing");
    world.settle();
    assert_eq!(reply(answer).err, -101);
    assert_eq!(world.shared.watches.armed(), 0);
    world.make("/missing");
    assert_eq!(kind(&mut watch), None);
}

#[test]
fn an_event_is_there_before_the_reply_that_shows_its_effect() {
    let mut world = connected();
    world.make("/a");
    let mut watch = world.armed(WatchKind::Data, "/a");
    world.set("/a");
    let mut read = world.get("/a");
    while read.try_pull().is_none() {
        assert!(world.sim.step());
    }
    assert!(event(&mut watch).is_some());
}

#[test]
fn a_change_right_behind_the_reply_is_not_missed() {
    // Submitted in one go: the watch is armed and fired by frames of one read.
    let mut world = connected();
    world.make("/a");
    let (answer, mut watch) = world.watch(WatchKind::Data, "/a");
    world.set("/a");
    world.settle();
    assert_eq!(reply(answer).err, 0);
    assert_eq!(kind(&mut watch), Some(EventType::NodeDataChanged));
}

#[test]
fn what_changed_while_we_were_away_fires_after_the_reconnect() {
    let mut world = connected();
    for path in [
        "/data",
        "/deleted",
        "/parent",
        "/quiet",
        "/quiet-parent",
        "/there",
    ] {
        world.make(path);
    }
    let mut watches = BTreeMap::from([
        ("/data", world.armed(WatchKind::Data, "/data")),
        ("/deleted", world.armed(WatchKind::Data, "/deleted")),
        ("/made", world.armed(WatchKind::Exist, "/made")),
        ("/parent", world.armed(WatchKind::Child, "/parent")),
        ("/quiet", world.armed(WatchKind::Data, "/quiet")),
        (
            "/quiet-parent",
            world.armed(WatchKind::Child, "/quiet-parent"),
        ),
        ("/never", world.armed(WatchKind::Exist, "/never")),
        // Of a node that is there: at the server this is a watch on its data.
        ("/there", world.armed(WatchKind::Exist, "/there")),
    ]);
    world.away(|other| {
        other.set("/data");
        other.delete("/deleted");
        other.make("/made");
        other.make("/parent/x");
    });
    assert!(watches.values_mut().all(|watch| event(watch).is_none()));
    world.connect();
    let fired: BTreeMap<_, _> = watches
        .iter_mut()
        .filter_map(|(path, watch)| Some((*path, kind(watch)?)))
        .collect();
    let expected = BTreeMap::from([
        ("/data", EventType::NodeDataChanged),
        ("/deleted", EventType::NodeDeleted),
        ("/made", EventType::NodeCreated),
        ("/parent", EventType::NodeChildrenChanged),
    ]);
    assert_eq!(fired, expected, "before `Connected` was announced");
    assert_eq!(world.shared.watches.armed(), 4);

    // The quiet ones are armed at the new connection.
    world.set("/quiet");
    world.make("/quiet-parent/x");
    world.make("/never");
    world.set("/there");
    world.settle();
    for path in ["/quiet", "/quiet-parent", "/never", "/there"] {
        assert!(event(watches.get_mut(path).unwrap()).is_some(), "{path}");
    }
    assert_eq!(world.shared.watches.armed(), 0);
}

#[test]
fn connected_is_announced_when_the_watches_are_restored_and_requests_do_not_wait() {
    let mut world = connected();
    world.make("/a");
    let _watch = world.armed(WatchKind::Data, "/a");
    world.sim.cut();
    // The answer to SetWatches never comes; the one to the request does.
    world.sim.set_tamper(|piece| match &piece[4..8] {
        b"\xff\xff\xff\xf8" => Vec::new(),
        _ => vec![piece],
    });
    let read = world.get("/a");
    world.settle();
    assert!(matches!(world.state(), SessionState::Suspended { .. }));
    assert_eq!(reply(read).err, 0);
}

#[test]
fn an_interrupted_restoration_loses_nothing() {
    // Two batches; the connection is lost when the first was acknowledged. What it said of the
    // server's zxid must not hide changes from the second one.
    let mut world = connected();
    let long = "n".repeat(60_000);
    let paths = ["/a", "/b", "/c"].map(|path| format!("{path}{long}"));
    let mut watches = Vec::new();
    for path in &paths {
        world.make(path);
        watches.push(world.armed(WatchKind::Data, path));
    }
    world.away(|other| {
        for path in &paths {
            other.set(path);
        }
        other.settle();
    });
    let mut acknowledged = 0;
    world.sim.set_tamper(move |piece| {
        let is_ack = piece[4..8] == *b"\xff\xff\xff\xf8";
        acknowledged += usize::from(is_ack);
        // The second batch's events and answer are lost.
        if acknowledged > 1 || (acknowledged == 1 && !is_ack) {
            Vec::new()
        } else {
            vec![piece]
        }
    });
    world.settle();
    world.sim.cut();
    world.sim.set_tamper(|piece| vec![piece]);
    world.connect();
    for watch in &mut watches {
        assert_eq!(kind(watch), Some(EventType::NodeDataChanged));
    }
    assert_eq!(world.shared.watches.armed(), 0);
}

#[test]
fn a_watch_that_is_dropped_is_removed_at_the_server_too() {
    let mut world = connected();
    world.make("/a");
    let first = world.armed(WatchKind::Data, "/a");
    let second = world.armed(WatchKind::Child, "/a");
    assert!(
        !world.shared.watches.forget(&first),
        "another one is left on that path"
    );
    drop(first);
    assert!(world.shared.watches.forget(&second));
    drop(second);
    world.shared.queue.nudge();
    world.settle();
    assert_eq!(world.shared.watches.armed(), 0);
    assert_eq!(world.shared.queue.usage().requests, 0);
    // Nothing is sent to a connection that has no watch.
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let events = std::rc::Rc::clone(&seen);
    world.sim.set_tamper(move |piece| {
        events.set(events.get() + usize::from(piece[4..8] == *b"\xff\xff\xff\xff"));
        vec![piece]
    });
    world.set("/a");
    world.settle();
    assert_eq!(seen.get(), 0);
}

#[test]
fn a_watch_whose_answer_was_too_large_is_removed_at_the_server() {
    let mut world = world_with("10.0.0.1", |config| config.reply_len_max = 500);
    world.connect();
    world.make("/a");
    let large = SetData {
        path: "/a".into(),
        data: &[0; 1_000],
        version: -1,
    };
    drop(world.submit(op::SET_DATA, &large, None).unwrap());
    let (answer, watch) = world.watch(WatchKind::Data, "/a");
    world.settle();
    let cause = unanswered(answer).cause;
    assert!(matches!(cause, Cause::ReplyTooLarge { .. }), "{cause:?}");
    assert_eq!(world.shared.watches.armed(), 0);
    assert_eq!(world.sim.server().watch_count(), 0);
    drop(watch);
}

#[test]
fn a_server_that_cannot_remove_watches_is_asked_once() {
    let mut config = ServerConfig::default();
    config.unknown_operations = vec![op::REMOVE_WATCHES];
    let (session, shared) = Session::new(Config::new(
        "10.0.0.1".parse::<ConnectString>().unwrap().servers,
    ));
    let sim = Sim::with_server(session, Server::new(config));
    let mut world = World { sim, shared };
    world.connect();
    for path in ["/a", "/b", "/c"] {
        world.make(path);
        let watch = world.armed(WatchKind::Data, path);
        assert!(world.shared.watches.forget(&watch));
        world.shared.queue.nudge();
        // It hangs up at what it does not know.
        world.settle();
        world.connect();
    }
    let stats = world.shared.status.stats();
    assert_eq!((stats.connections, stats.lost()), (2, 1));
}

#[test]
fn a_server_that_does_not_restore_watches_is_given_up() {
    let mut world = connected();
    world.make("/a");
    let mut watch = world.armed(WatchKind::Data, "/a");
    let mut refusals = 0;
    world.sim.set_tamper(move |piece| {
        let is_ack = piece[4..8] == *b"\xff\xff\xff\xf8";
        refusals += usize::from(is_ack);
        if !is_ack || refusals > 1 {
            return vec![piece];
        }
        let mut refused = piece.to_vec();
        refused[16..20].copy_from_slice(&(-5_i32).to_be_bytes());
        vec![refused.into()]
    });
    world.sim.cut();
    world.connect();
    // Not by the first that was asked.
    let stats = world.shared.status.stats();
    assert_eq!((stats.connections, stats.lost_protocol), (3, 1));
    assert_eq!(world.shared.watches.armed(), 1);
    world.set("/a");
    world.settle();
    assert_eq!(kind(&mut watch), Some(EventType::NodeDataChanged));
}

#[test]
fn an_event_is_not_told_to_a_watch_that_was_set_behind_it() {
    // The event, the answer to the change, and the answer that arms the new watch: in one read.
    let mut world = connected();
    world.make("/a");
    let mut old = world.armed(WatchKind::Data, "/a");
    let mut held = Vec::new();
    world.sim.set_tamper(move |piece| {
        held.push(piece);
        match held.len() {
            3 => vec![held.concat().into()],
            _ => Vec::new(),
        }
    });
    world.set("/a");
    let (answer, mut new) = world.watch(WatchKind::Data, "/a");
    world.settle();
    assert_eq!(reply(answer).err, 0);
    assert_eq!(kind(&mut old), Some(EventType::NodeDataChanged));
    assert_eq!(kind(&mut new), None);
    assert_eq!(world.shared.watches.armed(), 1);
}

#[test]
fn a_request_that_is_on_its_way_keeps_the_servers_watch() {
    let mut world = connected();
    world.make("/a");
    let old = world.armed(WatchKind::Data, "/a");
    world.shared.watches.forget(&old);
    drop(old);
    let (answer, mut new) = world.watch(WatchKind::Data, "/a");
    world.settle();
    assert_eq!(reply(answer).err, 0);
    world.set("/a");
    world.settle();
    assert_eq!(kind(&mut new), Some(EventType::NodeDataChanged));
}

#[test]
fn a_watch_whose_owner_went_away_before_the_reply_is_not_armed() {
    let mut world = connected();
    world.make("/a");
    let (answer, watch) = world.watch(WatchKind::Data, "/a");
    drop((answer, watch));
    world.settle();
    world.settle();
    assert_eq!(world.shared.watches.armed(), 0);
    assert_eq!(world.shared.queue.usage().requests, 0);
}

#[test]
fn the_end_of_the_session_is_told_to_every_watch() {
    let mut world = connected();
    world.make("/a");
    let id = world.session_id();
    let mut watch = world.armed(WatchKind::Data, "/a");
    world
        .sim
        .with_server_now(|server, now| assert!(server.expire_session(now, id)));
    let end = world.run_until_ended(SECOND);
    assert_eq!(end, SessionEnd::Expired { session_id: id });
    assert_eq!(watch.ticket.try_pull(), Some(Err(end)));
    assert_eq!(world.shared.watches.armed(), 0);
}
