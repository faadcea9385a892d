//! A session that leaves a server that is well for another one.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use homing_protocol::CreateMode;
use homing_session::{
    Authentication, Cause, ConnectString, Moved, Secret, Server, SessionEnd, SessionState, WhyLost,
};
use homing_testkit::sim::{Behaviour, Event, Lookup};
use homing_transport::{Fate, Ticket};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn servers(list: &str) -> Vec<Server> {
    list.parse::<ConnectString>().unwrap().servers
}

fn at(world: &World) -> SocketAddr {
    match world.state() {
        SessionState::Connected(connection) => connection.server,
        other => panic!("{other}"),
    }
}

/// The servers of `world()` but for the one that is connected.
fn others(world: &World) -> String {
    let others = (1..=3).map(address).filter(|other| *other != at(world));
    let others: Vec<_> = others.map(|other| other.to_string()).collect();
    others.join(",")
}

fn moved(ticket: &mut Ticket<Moved>) -> Moved {
    ticket.try_pull().expect("the move is over")
}

fn hung_up(world: &World) -> Option<Duration> {
    let mut trace = world.sim.trace().iter();
    trace.find_map(|(at, event)| (*event == Event::HungUp).then_some(*at))
}

#[test]
fn a_session_is_moved_to_another_server_on_request() {
    let mut world = connected();
    let (id, before) = (world.session_id(), at(&world));
    let mut seen = BTreeSet::from([before]);
    for moves in 1..=2 {
        let mut ticket = world.shared.reconnect();
        world.settle();
        let connection = moved(&mut ticket).unwrap();
        assert_eq!(connection.server, at(&world));
        assert_eq!(connection.session_id, id);
        assert!(seen.insert(connection.server), "one that was not tried yet");
        let stats = world.shared.status.stats();
        assert_eq!((stats.moved, stats.lost()), (moves, 0));
    }
    assert_eq!(world.shared.status.failures(), [], "nobody is to blame");
    let (_, changes) = world.shared.status.listen();
    assert_eq!(changes, 5, "connected, and twice suspended and connected");
}

#[test]
fn nothing_that_was_sent_is_lost_and_nothing_new_is_sent() {
    let mut world = connected();
    world.sim.set_latency(MS(50));
    let before = at(&world);
    let early: Vec<_> = (0..3)
        .map(|n| world.create(&format!("/early{n}"), CreateMode::Persistent))
        .collect();
    world.sim.run_for(MS(10));
    let mut ticket = world.shared.reconnect();
    let late: Vec<_> = (0..3)
        .map(|n| world.create(&format!("/late{n}"), CreateMode::Persistent))
        .collect();
    world.sim.run_for(MS(80));
    assert_eq!(at(&world), before, "answers are due");
    assert!(ticket.try_pull().is_none());
    world.sim.run_for(MS(400));
    assert_ne!(moved(&mut ticket).unwrap().server, before);
    // Early ones over the first connection, late ones over the second.
    let zxids: Vec<_> = early
        .into_iter()
        .chain(late)
        .map(|t| reply(t).zxid)
        .collect();
    assert!(zxids.is_sorted() && zxids.len() == 6, "{zxids:?}");
    assert_eq!(world.shared.status.stats().lost(), 0);
}

#[test]
fn a_server_that_does_not_answer_is_left_after_a_third_of_the_timeout() {
    let mut world = connected();
    let begun = world.sim.elapsed();
    // Pings are answered, requests are not.
    world.sim.set_tamper(|piece| match piece[4..8] {
        [0xff, 0xff, 0xff, 0xfe] => vec![piece],
        _ => Vec::new(),
    });
    let stuck = world.get("/stuck");
    world.settle();
    let mut ticket = world.shared.reconnect();
    let waiting = world.get("/waiting");
    world.sim.run_for(T / 3 - MS(20));
    assert_eq!(hung_up(&world), None);
    world.sim.set_tamper(|piece| vec![piece]);
    world.sim.run_for(MS(20));
    world.settle();
    assert_eq!(hung_up(&world), Some(begun + T / 3 + MS(10)));
    assert!(moved(&mut ticket).is_ok());
    let stuck = unanswered(stuck);
    assert_eq!(stuck.fate, Fate::MaybeApplied);
    let Cause::Lost(lost) = stuck.cause else {
        panic!("{}", stuck.cause)
    };
    assert_eq!(lost.why, WhyLost::Moved);
    assert_eq!(reply(waiting).err, -101);
}

#[test]
fn a_request_without_a_connection_ends_the_pause() {
    let mut world = world();
    world.servers(Behaviour::Refuse);
    // Long pauses.
    world.sim.run_for(20 * SECOND);
    world.servers(Behaviour::Serve);
    let mut ticket = world.shared.reconnect();
    world.settle();
    assert_eq!(moved(&mut ticket).unwrap().server, at(&world));
}

#[test]
fn whoever_cannot_move_comes_back() {
    let mut world = connected();
    let before = at(&world);
    for last in (1..=3).filter(|last| address(*last) != before) {
        world.sim.set_behaviour(address(last), Behaviour::Refuse);
    }
    let mut ticket = world.shared.reconnect();
    world.settle();
    assert_eq!(moved(&mut ticket).unwrap().server, before);
    assert_eq!(world.shared.status.failures().len(), 2);
}

#[test]
fn everybody_who_asks_is_told() {
    let mut world = connected();
    let mut tickets: Vec<_> = (0..3).map(|_| world.shared.reconnect()).collect();
    drop(world.shared.reconnect());
    world.settle();
    for ticket in &mut tickets {
        assert!(moved(ticket).is_ok());
    }
    assert_eq!(world.shared.status.stats().moved, 1);
}

#[test]
fn a_close_is_not_kept_waiting_by_a_move() {
    let mut world = connected();
    world.sim.set_latency(MS(50));
    let get = world.get("/");
    world.sim.run_for(MS(10));
    let mut ticket = world.shared.reconnect();
    world.sim.run_for(MS(10));
    let closed = world.close(SECOND).unwrap();
    world.sim.run_for(MS(150));
    assert_eq!(reply(get).err, 0);
    assert_eq!(reply(closed).err, 0);
    assert_eq!(moved(&mut ticket).unwrap_err(), SessionEnd::Closed);
    assert_eq!(world.shared.status.stats().connections, 1);
}

#[test]
fn the_end_is_told_to_whoever_waits_to_be_connected() {
    let mut world = connected();
    let shared = std::sync::Arc::clone(&world.shared);
    world.sim.set_tamper(|_| Vec::new());
    let _stuck = world.get("/");
    world.settle();
    let mut waiting = shared.reconnect();
    world.settle();
    drop(world);
    assert_eq!(moved(&mut waiting).unwrap_err(), SessionEnd::DriverGone);
    let mut late = shared.reconnect();
    assert_eq!(moved(&mut late).unwrap_err(), SessionEnd::DriverGone);
}

#[test]
fn a_server_that_is_not_listed_any_more_is_left() {
    let mut world = connected();
    let (id, before) = (world.session_id(), at(&world));
    let rest = others(&world);
    world.shared.set_servers(servers(&rest));
    world.settle();
    assert_ne!(at(&world), before);
    assert_eq!(world.session_id(), id);
    let list: Vec<_> = world.shared.status.servers();
    assert_eq!(list.len(), 2);
    for server in list {
        assert!(rest.contains(&server.to_string()));
    }
}

#[test]
fn a_server_that_is_still_listed_is_kept_when_the_list_is_no_longer() {
    let mut world = connected();
    let before = at(&world);
    for list in [
        "10.0.0.3,10.0.0.1,10.0.0.2",
        &before.to_string(),
        // Twice is once.
        &format!("{before},{before}"),
    ] {
        world.shared.set_servers(servers(list));
        world.settle();
        assert_eq!(at(&world), before);
    }
    assert_eq!(world.shared.status.stats().moved, 0);
    assert_eq!(world.shared.status.servers().len(), 1);
}

#[test]
fn a_server_that_is_listed_by_its_address_is_kept() {
    let mut world = world_with("zk", |_| {});
    let found = Lookup::Finds(vec![[10, 0, 0, 1].into()]);
    world.sim.set_name("zk", found);
    world.connect();
    world.shared.set_servers(servers("10.0.0.1"));
    world.settle();
    assert_eq!(world.shared.status.stats().moved, 0);
    world.shared.set_servers(servers("10.0.0.1:2182"));
    world.settle();
    assert_eq!(at(&world).port(), 2182);
}

#[test]
fn a_list_that_grows_is_shared_by_its_clients() {
    let moved = (0..300).filter(|seed| {
        let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| config.seed = *seed);
        world.connect();
        let before = at(&world);
        let list = "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6";
        world.shared.set_servers(servers(list));
        world.settle();
        let is_new = (4..=6).map(address).any(|new| new == at(&world));
        assert_eq!(
            is_new,
            at(&world) != before,
            "nobody moves between the old ones"
        );
        is_new
    });
    let moved = moved.count();
    assert!((120..180).contains(&moved), "half of 300: {moved}");
}

#[test]
fn a_list_is_changed_while_no_server_is_reached() {
    let mut world = world();
    world.servers(Behaviour::Refuse);
    world.sim.run_for(20 * SECOND);
    assert_eq!(world.shared.status.failures().len(), 3);
    world.shared.set_servers(servers("10.0.0.8,10.0.0.9"));
    world.settle();
    assert!([address(8), address(9)].contains(&at(&world)));
    assert_eq!(
        world.shared.status.failures(),
        [],
        "of servers that are gone"
    );
}

#[test]
fn the_newest_list_counts() {
    let mut world = connected();
    world.shared.set_servers(servers("10.0.0.7"));
    world.shared.set_servers(servers("10.0.0.8"));
    world.settle();
    assert_eq!(at(&world), address(8));
    world.shared.set_servers(Vec::new());
    world.settle();
    assert_eq!(at(&world), address(8), "an empty list is none");
}

#[test]
fn a_connection_that_is_left_before_it_was_announced_is_not_the_one_that_was_asked_for() {
    let mut world = connected();
    // Restoring an identity takes as long as answering a request.
    world
        .shared
        .authentications
        .add(std::sync::Arc::new(Authentication {
            scheme: "digest".into(),
            proof: Secret::new(b"bob:pw"),
        }));
    world.sim.set_latency(MS(50));
    world.sim.cut();
    let get = world.get("/");
    // Dialled, and the handshake answered.
    world.sim.run_for(MS(160));
    assert!(!world.is_connected());
    let left = world.sim.dials().last().map(|(_, address)| *address);
    let mut ticket = world.shared.reconnect();
    world.sim.run_for(SECOND);
    let connection = moved(&mut ticket).unwrap();
    assert_ne!(Some(connection.server), left);
    assert_eq!(connection.server, at(&world));
    assert_eq!(reply(get).err, 0);
}

#[test]
fn a_session_that_was_closed_for_being_idle_is_opened_by_a_reconnect() {
    let mut world = world_with("10.0.0.1,10.0.0.2", |config| {
        config.close_idle_after = Some(SECOND);
    });
    world.connect();
    world.sim.run_for(10 * SECOND);
    assert_eq!(world.state(), SessionState::Dormant);
    // A list of servers is no reason.
    world.shared.set_servers(servers("10.0.0.8"));
    world.sim.run_for(10 * SECOND);
    assert_eq!(world.state(), SessionState::Dormant);
    let mut ticket = world.shared.reconnect();
    world.settle();
    assert_eq!(moved(&mut ticket).unwrap().server, address(8));
}
