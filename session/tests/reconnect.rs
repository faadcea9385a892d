//! Lost connections: what becomes of the session and of each request.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use homing_protocol::{CreateMode, op};
use homing_session::{Cause, Config, ConnectString, Failure, Session, SessionState, WhyLost};
use homing_testkit::sim::{Behaviour, Lookup, Sim};
use homing_testkit::{Server, ServerConfig};
use homing_transport::Fate;

#[test]
fn the_session_is_resumed_at_another_server_at_once() {
    let mut world = connected();
    let id = world.session_id();
    let made = world.create("/e", CreateMode::Ephemeral);
    world.settle();
    reply(made);
    let lost_at = world.sim.elapsed();
    world.sim.cut();
    let SessionState::Suspended {
        session_id,
        why,
        presumed_expired_at,
    } = world.state()
    else {
        panic!("{}", world.state())
    };
    assert_eq!(session_id, id);
    assert!(matches!(why.why, WhyLost::Io(_)));
    assert!(presumed_expired_at.is_some());

    world.connect();
    assert_eq!(world.session_id(), id);
    assert!(world.sim.elapsed() - lost_at < Duration::from_millis(10));
    let dials = world.sim.dials();
    assert_eq!(dials.len(), 2);
    assert_ne!(dials[0].1, dials[1].1, "another server");
    let still_there = world.get("/e");
    world.settle();
    assert_eq!(reply(still_there).err, 0);
}

#[test]
fn only_what_was_handed_over_may_have_been_applied() {
    // Three requests of 20 bytes each; the stream takes any number of their bytes.
    for taken in 0..=60 {
        let mut world = connected();
        world.sim.set_tamper(|_| Vec::new());
        world.sim.set_window(taken);
        let mut tickets: Vec<_> = (0..3).map(|n| world.get(&format!("/n{n}"))).collect();
        world.settle();
        world.sim.cut();
        let handed_over = taken.div_ceil(20);
        for (n, ticket) in tickets.iter_mut().enumerate() {
            match ticket.try_pull() {
                Some(Err(unanswered)) => {
                    assert!(n < handed_over, "{taken} bytes: request {n} was not sent");
                    assert_eq!(unanswered.fate, Fate::MaybeApplied);
                    assert!(matches!(unanswered.cause, Cause::Lost(_)));
                }
                Some(Ok(_)) => panic!("nobody has answered"),
                None => assert!(n >= handed_over, "{taken} bytes: request {n} was lost"),
            }
        }
        // The others go out over the next connection, and are answered in their order.
        world.sim.set_window(usize::MAX);
        world.sim.set_tamper(|piece| vec![piece]);
        world.connect();
        world.settle();
        for ticket in tickets.into_iter().skip(handed_over) {
            assert_eq!(reply(ticket).err, -101);
        }
    }
}

#[test]
fn what_is_dropped_while_there_is_no_connection_is_not_sent() {
    let mut world = connected();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    let kept = world.create("/kept", CreateMode::Persistent);
    drop(world.create("/dropped", CreateMode::Persistent));
    let also_kept = world.get("/dropped");
    world.servers(Behaviour::Serve);
    world.connect();
    world.settle();
    assert_eq!(reply(kept).err, 0);
    assert_eq!(reply(also_kept).err, -101, "/dropped was never made");
    assert_eq!(world.shared.queue.usage().requests, 0);
}

#[test]
fn a_deadline_passes_without_a_connection_too() {
    let mut world = world_with("10.0.0.1", |_| {});
    world.sim.set_behaviour(address(1), Behaviour::Hang);
    let body = homing_protocol::GetData {
        path: "/".into(),
        watch: false,
    };
    let ticket = world.submit(op::GET_DATA, &body, Some(3 * SECOND)).unwrap();
    world.sim.run_for(3 * SECOND + Duration::from_millis(20));
    let unanswered = unanswered(ticket);
    assert_eq!(unanswered.fate, Fate::NotSent);
    assert!(matches!(unanswered.cause, Cause::Deadline));
    assert_eq!(
        world.shared.queue.usage().requests,
        0,
        "its room is free again"
    );
}

#[test]
fn a_name_is_looked_up_for_every_attempt_and_all_its_addresses_are_tried() {
    let mut world = world_with("zk", |_| {});
    world.sim.set_name(
        "zk",
        Lookup::Finds(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
    );
    world.sim.set_behaviour(address(1), Behaviour::Refuse);
    world.sim.set_behaviour(address(2), Behaviour::Refuse);
    world.sim.run_for(Duration::from_millis(5));
    let tried: BTreeSet<_> = world
        .sim
        .dials()
        .into_iter()
        .map(|(_, address)| address)
        .collect();
    assert_eq!(tried, BTreeSet::from([address(1), address(2)]));

    // The name moves; nothing has to be told so.
    world
        .sim
        .set_name("zk", Lookup::Finds(vec![[10, 0, 0, 9].into()]));
    world.connect();
    assert_eq!(
        world.sim.dials().last().map(|(_, address)| *address),
        Some(address(9))
    );
}

#[test]
fn a_name_that_is_not_found_is_a_failure_of_that_server_alone() {
    for lookup in [Lookup::Fails, Lookup::Hangs] {
        let mut world = world_with("nowhere,10.0.0.1", |config| config.seed = 1);
        world.sim.set_name("nowhere", lookup.clone());
        // Whichever of the two comes first.
        world.connect();
        world.sim.set_behaviour(address(1), Behaviour::Refuse);
        world.sim.cut();
        world.sim.run_for(20 * SECOND);
        let failures = world.shared.status.failures();
        assert!(
            failures
                .iter()
                .any(|attempt| attempt.server.to_string() == "nowhere:2181"
                    && match lookup {
                        Lookup::Hangs => attempt.failure == Failure::ResolveTimedOut,
                        _ => matches!(attempt.failure, Failure::Resolve(_)),
                    })
        );
        world.sim.set_behaviour(address(1), Behaviour::Serve);
        world.connect();
    }
}

#[test]
fn a_server_that_knows_less_than_we_have_seen_is_not_followed() {
    let mut world = connected();
    let made = world.create("/a", CreateMode::Persistent);
    world.settle();
    assert_eq!(reply(made).zxid, 2);
    // All servers have forgotten everything: they close when they see what we have seen.
    *world.sim.server() = Server::new(ServerConfig::default());
    world.sim.cut();
    world.sim.run_for(SECOND);
    assert!(matches!(world.state(), SessionState::Suspended { .. }));
    let failures = world.shared.status.failures();
    assert_eq!(failures.len(), 3);
    assert!(
        failures
            .iter()
            .all(|attempt| attempt.failure == Failure::ClosedInHandshake)
    );
}

/// A server that does not know an operation says so and closes. Nothing is sent in between that
/// would only be lost.
#[test]
fn a_server_that_refuses_an_operation_is_given_up_at_once() {
    let mut config = ServerConfig::default();
    config.unknown_operations = vec![op::CREATE2];
    let servers = "10.0.0.1".parse::<ConnectString>().unwrap().servers;
    let (session, shared) = Session::new(Config::new(servers));
    let sim = Sim::with_server(session, Server::new(config));
    let mut world = World { sim, shared };
    world.connect();
    let id = world.session_id();
    let knowledge = &Arc::clone(&world.shared).knowledge;
    assert_eq!(knowledge.of(op::CREATE2), None);
    let refused = world.create("/a", CreateMode::Persistent);
    let sent = world.get("/");
    let shared = Arc::clone(&world.shared);
    let is_suspended =
        |_: &Sim<Session>| matches!(shared.status.state(), SessionState::Suspended { .. });
    assert!(world.sim.run_until(SECOND, is_suspended));
    let SessionState::Suspended { why, .. } = world.state() else {
        panic!("{}", world.state())
    };
    assert_eq!(why.why, WhyLost::UnknownOperation);
    assert!(reply(refused).is_unknown_operation());
    assert_eq!(knowledge.of(op::CREATE2), Some(false));
    assert_eq!(unanswered(sent).fate, Fate::MaybeApplied);
    let kept = world.get("/");
    world.connect();
    world.settle();
    assert_eq!(world.session_id(), id);
    assert_eq!(reply(kept).err, 0);
    assert_eq!(knowledge.of(op::CREATE2), Some(false));
    assert_eq!(knowledge.of(op::GET_DATA), Some(true));
}
