//! A server without a quorum: taken if it is allowed, and left for one that takes writes.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use homing_protocol::CreateMode;
use homing_session::{
    Config, Connection, EventType, Failure, OnExpiry, SessionEnd, SessionState, WatchKind,
    WatchTicket,
};
use homing_testkit::sim::{Behaviour, Event, Sim};
use homing_testkit::{Server, ServerConfig};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A world whose servers can be read-only, and are.
fn read_only(configure: impl FnOnce(&mut Config)) -> World {
    let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.read_only = true;
        configure(config);
    });
    let mut config = ServerConfig::default();
    config.read_only_enabled = true;
    *world.sim.server() = Server::new(config);
    world.servers(Behaviour::ReadOnly);
    world
}

fn connection(world: &World) -> Connection {
    match world.state() {
        SessionState::Connected(connection) => connection,
        other => panic!("{other}"),
    }
}

fn asks(world: &World) -> Vec<Duration> {
    let asks = world.sim.trace().iter();
    asks.filter(|(_, event)| matches!(event, Event::Ask(_)))
        .map(|(at, _)| *at)
        .collect()
}

fn last_of(connection: &Connection) -> u8 {
    match connection.server.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        other => panic!("{other}"),
    }
}

fn run_until_writable(world: &mut World, limit: Duration) {
    let shared = Arc::clone(&world.shared);
    let is_writable = |_: &_| match shared.status.state() {
        SessionState::Connected(connection) => !connection.read_only,
        _ => false,
    };
    assert!(world.sim.run_until(limit, is_writable), "{:?}", world.sim);
}

fn watch_root(world: &mut World) -> WatchTicket {
    let (answer, watch) = world.watch(WatchKind::Child, "/");
    world.settle();
    assert_eq!(reply(answer).err, 0);
    watch
}

#[test]
fn a_read_only_server_will_do_if_that_is_allowed() {
    let mut world = read_only(|_| {});
    world.connect();
    assert!(connection(&world).read_only);
    assert_eq!(
        world.shared.status.credentials(),
        None,
        "nobody else knows it"
    );
    let (get, create) = (world.get("/"), world.create("/a", CreateMode::Persistent));
    world.settle();
    assert_eq!(reply(get).err, 0);
    assert_eq!(reply(create).err, -119);
    assert!(world.sim.server().last_zxid() == 0, "no transaction");
}

#[test]
fn it_will_not_do_by_default() {
    let mut world = read_only(|config| config.read_only = false);
    world.sim.run_for(5 * SECOND);
    assert_eq!(world.state(), SessionState::Connecting);
    let failures = world.shared.status.failures();
    let is_closed = |failure: &Failure| *failure == Failure::ClosedInHandshake;
    assert!(failures.iter().all(|attempt| is_closed(&attempt.failure)));
}

#[test]
fn a_server_that_gives_no_sessions_says_so() {
    let mut world = read_only(|_| {});
    let mut config = ServerConfig::default();
    config.local_sessions = false;
    *world.sim.server() = Server::new(config);
    world.sim.run_for(5 * SECOND);
    assert_eq!(world.state(), SessionState::Connecting);
    let failures = world.shared.status.failures();
    assert_eq!(failures.len(), 3);
    assert!(
        failures
            .iter()
            .all(|attempt| attempt.failure == Failure::ReadOnly)
    );
}

#[test]
fn the_others_are_asked_at_growing_intervals() {
    let mut world = read_only(|_| {});
    world.connect();
    let at = world.sim.elapsed();
    world.sim.run_for(MS(1_000));
    // Two others in each round: after 0.1, 0.2, 0.4 s …
    let rounds: Vec<_> = asks(&world)
        .iter()
        .map(|ask| (*ask - at).as_millis())
        .collect();
    let expected = [100, 102, 204, 206, 408, 410, 812, 814];
    let near = rounds
        .iter()
        .zip(expected)
        .all(|(is, should)| is.abs_diff(should) < 10);
    assert!(near && rounds.len() == expected.len(), "{rounds:?}");
    // … and every minute in the end. Nobody is dialled meanwhile.
    world.sim.run_for(600 * SECOND);
    let before = asks(&world).len();
    world.sim.run_for(600 * SECOND);
    assert!(asks(&world).len() - before <= 2 * 11);
    assert_eq!(world.sim.dials().len(), 1);
    assert!(connection(&world).read_only);
}

#[test]
fn it_moves_to_a_server_that_takes_writes() {
    let mut world = read_only(|_| {});
    world.connect();
    let local = connection(&world).session_id;
    let writable = match last_of(&connection(&world)) {
        3 => 1,
        last => last + 1,
    };
    let mut watch = watch_root(&mut world);
    world.sim.set_behaviour(address(writable), Behaviour::Serve);
    run_until_writable(&mut world, 2 * SECOND);
    assert_eq!(last_of(&connection(&world)), writable);
    assert_ne!(connection(&world).session_id, local);
    // The session of the read-only server is presented nowhere, so it has expired nowhere.
    assert_eq!(world.shared.queue.era(), 0);
    assert_eq!(world.shared.status.failures(), []);
    assert_eq!(world.shared.status.stats().lost(), 0);

    // Watches go along.
    let made = world.create("/a", CreateMode::Persistent);
    world.settle();
    assert_eq!(reply(made).err, 0);
    let event = watch.ticket.try_pull().unwrap().unwrap();
    assert_eq!(event.kind, EventType::NodeChildrenChanged);

    // Nobody asks any more.
    let before = asks(&world).len();
    world.sim.run_for(600 * SECOND);
    assert_eq!(asks(&world).len(), before);
}

#[test]
fn requests_that_are_on_their_way_are_waited_for_before_it_moves() {
    let mut world = read_only(|_| {});
    world.sim.set_latency(MS(30));
    world.connect();
    for last in 1..=3 {
        if last != last_of(&connection(&world)) {
            world.sim.set_behaviour(address(last), Behaviour::Serve);
        }
    }
    // One in every other millisecond, whatever happens.
    let mut tickets = Vec::new();
    for _ in 0..200 {
        tickets.push(world.get("/"));
        world.sim.run_for(MS(2));
    }
    world.sim.run_for(SECOND);
    assert!(!connection(&world).read_only);
    for ticket in tickets {
        assert_eq!(reply(ticket).err, 0);
    }
}

#[test]
fn a_server_that_never_answers_does_not_hold_the_move_up() {
    let mut world = read_only(|_| {});
    world.connect();
    let here = last_of(&connection(&world));
    let _never = {
        world.sim.set_tamper(|_| Vec::new());
        world.get("/")
    };
    world.sim.run_for(MS(50));
    for last in (1..=3).filter(|last| *last != here) {
        world.sim.set_behaviour(address(last), Behaviour::Serve);
    }
    let shared = Arc::clone(&world.shared);
    let left = |_: &Sim<_>| matches!(shared.status.state(), SessionState::Suspended { .. });
    assert!(world.sim.run_until(3 * SECOND, left), "{:?}", world.sim);
}

#[test]
fn a_session_of_before_outlives_a_time_without_a_quorum() {
    let mut world = read_only(|_| {});
    world.servers(Behaviour::Serve);
    world.connect();
    let made = world.create("/e", CreateMode::Ephemeral);
    world.settle();
    reply(made);
    let id = world.session_id();
    world.servers(Behaviour::ReadOnly);
    world.sim.cut();
    // Such a server turns it away, and its word would not count.
    world.sim.run_for(5 * SECOND);
    assert!(matches!(world.state(), SessionState::Suspended { .. }));
    world.servers(Behaviour::Serve);
    world.connect();
    assert_eq!(world.session_id(), id);
    assert!(!connection(&world).read_only);
}

#[test]
fn what_a_read_only_server_does_not_know_has_not_expired() {
    let mut world = read_only(|_| {});
    world.servers(Behaviour::Serve);
    world.connect();
    let id = world.session_id();
    world.servers(Behaviour::ReadOnly);
    // The server has not been told of the session before it was cut off.
    world
        .sim
        .with_server_now(|server, now| assert!(server.expire_session(now, id)));
    world.sim.run_for(5 * SECOND);
    assert!(
        matches!(world.state(), SessionState::Suspended { .. }),
        "{}",
        world.state()
    );
    let failures = world.shared.status.failures();
    let is_unknown = |failure: &Failure| *failure == Failure::UnknownToReadOnly;
    assert!(failures.iter().all(|attempt| is_unknown(&attempt.failure)));
    // One that has a quorum knows.
    world.sim.set_behaviour(address(1), Behaviour::Serve);
    let end = world.run_until_ended(20 * SECOND);
    assert_eq!(end, SessionEnd::Expired { session_id: id });
}

#[test]
fn a_lost_read_only_connection_is_followed_by_any_other() {
    let mut world = read_only(|_| {});
    world.connect();
    let first = connection(&world).session_id;
    let _watch = watch_root(&mut world);
    world.sim.cut();
    assert!(
        matches!(world.state(), SessionState::Suspended { session_id, .. } if session_id == first)
    );
    assert_eq!(world.shared.status.valid_until(), None);
    let waiting = world.get("/");
    world.connect();
    world.settle();
    assert!(connection(&world).read_only);
    assert_ne!(connection(&world).session_id, first);
    assert_eq!(reply(waiting).err, 0);
    assert_eq!(world.shared.watches.armed(), 1);
}

#[test]
fn a_session_that_is_renewed_may_begin_at_a_read_only_server() {
    let mut world = read_only(|config| config.on_expiry = OnExpiry::Renew);
    world.servers(Behaviour::Serve);
    world.connect();
    let old = world.session_id();
    world.servers(Behaviour::ReadOnly);
    world.sim.cut();
    world.sim.run_for(4 * T);
    assert!(connection(&world).read_only);
    assert_eq!(world.shared.queue.era(), 1);
    world.sim.set_behaviour(address(1), Behaviour::Serve);
    world.sim.set_behaviour(address(2), Behaviour::Serve);
    run_until_writable(&mut world, 120 * SECOND);
    assert_ne!(world.session_id(), old);
    assert_eq!(world.shared.queue.era(), 1);
}

#[test]
fn names_are_asked_too() {
    let mut world = world_with("zk1,zk2", |config| config.read_only = true);
    let mut config = ServerConfig::default();
    config.read_only_enabled = true;
    *world.sim.server() = Server::new(config);
    for (name, last) in [("zk1", 1), ("zk2", 2)] {
        let found = homing_testkit::sim::Lookup::Finds(vec![address(last).ip()]);
        world.sim.set_name(name, found);
        world.sim.set_behaviour(address(last), Behaviour::ReadOnly);
    }
    world.connect();
    let other = 3 - last_of(&connection(&world));
    world.sim.set_behaviour(address(other), Behaviour::Serve);
    run_until_writable(&mut world, 2 * SECOND);
    let asked = Event::Ask(format!("zk{other}"));
    assert!(world.sim.trace().iter().any(|(_, event)| *event == asked));
}

#[test]
fn a_close_ends_it_as_ever() {
    let mut world = read_only(|_| {});
    world.connect();
    assert!(world.sim.has_sessions());
    let close = world.close(SECOND).unwrap();
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    assert_eq!(reply(close).err, 0);
    assert!(!world.sim.has_sessions());
}
