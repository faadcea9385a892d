//! A session that would rather be at some servers than at others.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use homing_session::{ConnectString, Preference, Server, SessionState};
use homing_testkit::sim::{Behaviour, Event};

const MS: fn(u64) -> Duration = Duration::from_millis;
const RETURN_AFTER: Duration = Duration::from_secs(100);

fn servers(list: &str) -> Vec<Server> {
    list.parse::<ConnectString>().unwrap().servers
}

/// A session with three servers that prefers some of them, and is not connected.
fn prefers(list: &str, seed: u64) -> World {
    let list = servers(list);
    world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.seed = seed;
        let preference = Preference::new(move |server| list.contains(server), RETURN_AFTER);
        config.prefer = Some(preference);
    })
}

fn at(world: &World) -> SocketAddr {
    match world.state() {
        SessionState::Connected(connection) => connection.server,
        other => panic!("{other}"),
    }
}

/// It prefers the second server, and is at another one because that was away.
fn elsewhere(seed: u64) -> World {
    let mut world = prefers("10.0.0.2", seed);
    world.sim.set_behaviour(address(2), Behaviour::Refuse);
    world.connect();
    assert_ne!(at(&world), address(2));
    world
}

#[test]
fn preferred_servers_are_tried_first() {
    for seed in 0..50 {
        let mut world = prefers("10.0.0.1,10.0.0.2", seed);
        world.sim.set_behaviour(address(2), Behaviour::Refuse);
        world.connect();
        assert_eq!(at(&world), address(1));
        // A rebalancing among more servers is no reason to leave it.
        let list = "10.0.0.1,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8";
        world.shared.set_servers(servers(list));
        world.sim.run_for(10 * RETURN_AFTER);
        assert_eq!(at(&world), address(1));
        assert_eq!(world.shared.status.stats().moved, 0);
    }
}

#[test]
fn a_session_returns_some_time_later() {
    let mut times = Vec::new();
    for seed in 0..20 {
        let mut world = elsewhere(seed);
        let id = world.session_id();
        let here = world.sim.elapsed();
        world.sim.set_behaviour(address(2), Behaviour::Serve);
        world.sim.run_for(RETURN_AFTER * 3 / 4 - MS(20));
        assert_ne!(at(&world), address(2), "too soon");
        let shared = std::sync::Arc::clone(&world.shared);
        let has_moved = world
            .sim
            .run_until(RETURN_AFTER, |_| shared.status.stats().moved == 1);
        assert!(has_moved);
        world.connect();
        times.push(world.sim.elapsed() - here);
        assert_eq!((at(&world), world.session_id()), (address(2), id));
        // There it stays.
        world.sim.run_for(10 * RETURN_AFTER);
        assert_eq!(at(&world), address(2));
        assert_eq!(world.shared.status.stats().moved, 1);
    }
    times.sort();
    assert!(times[19] <= RETURN_AFTER * 5 / 4 + MS(20));
    assert!(times[19] - times[0] > RETURN_AFTER / 5, "not all at once");
}

#[test]
fn a_server_that_stays_away_costs_no_connection() {
    for behaviour in [
        Behaviour::Refuse,
        Behaviour::Hang,
        Behaviour::AcceptAndClose,
    ] {
        let mut world = elsewhere(7);
        world.sim.set_behaviour(address(2), behaviour);
        world.sim.run_for(100 * RETURN_AFTER);
        let asked = |event: &(Duration, Event)| event.1 == Event::Ask("10.0.0.2".into());
        let asked = world
            .sim
            .trace()
            .iter()
            .filter(|event| asked(event))
            .count();
        assert!((80..=134).contains(&asked), "{asked} times in 100");
        assert_eq!(world.shared.status.stats().moved, 0);
        world.sim.set_behaviour(address(2), Behaviour::Serve);
        world.sim.run_for(RETURN_AFTER * 3 / 2);
        assert_eq!(at(&world), address(2));
    }
}

#[test]
fn a_server_that_is_read_only_is_not_returned_to() {
    let mut world = elsewhere(7);
    world.sim.set_behaviour(address(2), Behaviour::ReadOnly);
    world.sim.run_for(10 * RETURN_AFTER);
    assert_eq!(world.shared.status.stats().moved, 0);
}

#[test]
fn a_server_that_answers_and_does_not_take_the_session_is_tried_less_and_less() {
    let mut world = elsewhere(7);
    let mut pauses = Vec::new();
    for moves in 1..=6 {
        let since = world.sim.elapsed();
        world.sim.set_behaviour(address(2), Behaviour::Serve);
        let shared = std::sync::Arc::clone(&world.shared);
        let has_moved = world
            .sim
            .run_until(11 * RETURN_AFTER, |_| shared.status.stats().moved == moves);
        assert!(has_moved);
        pauses.push(world.sim.elapsed() - since);
        // It has just been dialled.
        world.sim.set_behaviour(address(2), Behaviour::Refuse);
        world.connect();
        assert_ne!(at(&world), address(2));
    }
    for (pause, times) in pauses.into_iter().zip([1, 2, 4, 8, 8, 8]) {
        let around = times * RETURN_AFTER * 3 / 4..=times * RETURN_AFTER * 5 / 4 + SECOND;
        assert!(around.contains(&pause), "{pause:?} for {times}");
    }
}

#[test]
fn several_preferred_servers_are_asked_one_after_the_other() {
    let mut world = prefers("10.0.0.1,10.0.0.2", 7);
    world.sim.set_behaviour(address(1), Behaviour::Refuse);
    world.sim.set_behaviour(address(2), Behaviour::Refuse);
    world.connect();
    assert_eq!(at(&world), address(3));
    let mut lost = world.shared.reconnect();
    world.settle();
    assert!(lost.try_pull().is_some() && at(&world) == address(3));
    // One of them falls silent, the other one comes back.
    world.sim.set_behaviour(address(1), Behaviour::Hang);
    world.sim.set_behaviour(address(2), Behaviour::Serve);
    world.sim.run_for(RETURN_AFTER * 5 / 4 + 20 * SECOND);
    assert_eq!(at(&world), address(2));
}

#[test]
fn a_preferred_server_that_is_lost_does_not_delay_the_session() {
    let mut world = prefers("10.0.0.2", 7);
    world.connect();
    assert_eq!(at(&world), address(2));
    world.sim.run_for(10 * SECOND);
    // It would take a while to find out that it does not even refuse.
    world.sim.set_behaviour(address(2), Behaviour::Hang);
    world.sim.cut();
    world.sim.run_for(MS(20));
    assert_ne!(at(&world), address(2));
}

#[test]
fn a_new_list_may_have_the_first_one_that_is_preferred() {
    let mut world = prefers("10.0.0.9", 7);
    world.connect();
    let before = at(&world);
    world.sim.run_for(10 * RETURN_AFTER);
    assert_eq!(at(&world), before, "none of these is");
    world
        .shared
        .set_servers(servers(&format!("{before},10.0.0.9")));
    world.settle();
    assert_eq!(at(&world), before);
    world.sim.run_for(RETURN_AFTER * 5 / 4 + MS(20));
    assert_eq!(at(&world), address(9));
}

#[test]
fn a_return_loses_no_request() {
    let mut world = elsewhere(7);
    world.sim.set_behaviour(address(2), Behaviour::Serve);
    world.sim.set_latency(MS(20));
    let mut tickets = std::collections::VecDeque::new();
    while at_or_none(&world) != Some(address(2)) {
        tickets.push_back(world.get("/"));
        world.sim.run_for(MS(7));
        while tickets.len() > 100 {
            let ticket = tickets.pop_front().unwrap();
            assert_eq!(reply(ticket).err, 0);
        }
    }
    world.sim.run_for(SECOND);
    tickets
        .into_iter()
        .for_each(|ticket| assert_eq!(reply(ticket).err, 0));
}

fn at_or_none(world: &World) -> Option<SocketAddr> {
    world.is_connected().then(|| at(world))
}
