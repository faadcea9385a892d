//! The end of a session that was asked for.

mod common;

use common::*;
use homing_protocol::CreateMode;
use homing_session::{Cause, SessionEnd};
use homing_testkit::sim::Behaviour;
use homing_transport::Fate;

#[test]
fn requests_in_flight_are_answered_first() {
    let mut world = connected();
    let id = world.session_id();
    let before: Vec<_> = (0..100).map(|_| world.get("/")).collect();
    let made = world.create("/e", CreateMode::Ephemeral);
    let closed = world.close(5 * SECOND).unwrap();
    assert!(
        world.close(5 * SECOND).is_none(),
        "closing twice is no error"
    );
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    assert!(before.into_iter().all(|ticket| reply(ticket).err == 0));
    assert_eq!(reply(made).err, 0);
    assert_eq!(reply(closed).err, 0);
    world.settle();
    assert!(world.sim.is_stopped());
    assert!(!world.is_known(id));
}

#[test]
fn before_the_first_connection_there_is_nothing_to_close() {
    let mut world = world();
    world.servers(Behaviour::Hang);
    let waiting = world.get("/");
    world.sim.run_for(SECOND);
    let closed = world.close(5 * SECOND).unwrap();
    assert_eq!(world.run_until_ended(SECOND / 10), SessionEnd::Closed);
    assert_eq!(unanswered(waiting).fate, Fate::NotSent);
    assert!(matches!(
        unanswered(closed).cause,
        Cause::Ended(SessionEnd::Closed)
    ));
    world.settle();
    assert!(world.sim.is_stopped());
}

#[test]
fn a_session_that_a_server_is_about_to_give_is_closed() {
    // The handshake is on its way, and the server makes a session of it.
    let mut world = world();
    world.sim.set_latency(SECOND / 10);
    world.sim.run_for(SECOND / 4);
    assert!(world.state() == homing_session::SessionState::Connecting);
    let closed = world.close(5 * SECOND).unwrap();
    assert_eq!(world.run_until_ended(5 * SECOND), SessionEnd::Closed);
    assert_eq!(reply(closed).err, 0);
    assert!(world.sim.server().sessions().is_empty());
    assert!(world.sim.server().last_zxid() > 0, "there was one");

    // One that says nothing is not waited for as long as it may take.
    let mut world = common::world();
    world.servers(Behaviour::Mute);
    world.sim.run_for(SECOND / 4);
    drop(world.close(5 * SECOND));
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    world.settle();
    assert!(world.sim.is_stopped());
}

#[test]
fn a_suspended_session_is_closed_at_the_next_server() {
    let mut world = connected();
    let id = world.session_id();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    let closed = world.close(5 * SECOND).unwrap();
    world.sim.run_for(SECOND);
    world.servers(Behaviour::Serve);
    assert_eq!(world.run_until_ended(5 * SECOND), SessionEnd::Closed);
    assert_eq!(reply(closed).err, 0);
    assert!(!world.is_known(id));
}

#[test]
fn a_close_that_nobody_waits_for_is_sent_all_the_same() {
    // As when the last handle of a client is dropped: while there is no connection, with requests
    // before it that nobody waits for either.
    let mut world = connected();
    let id = world.session_id();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    drop(world.get("/"));
    drop(world.close(5 * SECOND));
    world.sim.run_for(SECOND);
    world.servers(Behaviour::Serve);
    let before = world.sim.elapsed();
    assert_eq!(world.run_until_ended(5 * SECOND), SessionEnd::Closed);
    assert!(
        world.sim.elapsed() - before < 4 * SECOND,
        "it was closed, not given up"
    );
    let mut sessions = world.sim.server().sessions().into_iter();
    assert!(sessions.all(|session| session.id != id));

    // While the socket takes nothing, and the connection is lost then.
    let mut world = connected();
    let id = world.session_id();
    world.sim.set_window(0);
    drop(world.get("/"));
    world.settle();
    drop(world.close(5 * SECOND));
    world.settle();
    world.sim.cut();
    world.sim.set_window(usize::MAX);
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    let mut sessions = world.sim.server().sessions().into_iter();
    assert!(sessions.all(|session| session.id != id));
}

#[test]
fn it_takes_no_longer_than_it_may() {
    // The server reads the first request, and half of the second.
    let mut world = connected();
    world.sim.set_tamper(|_| Vec::new());
    world.sim.set_window(20 + 10);
    let mut waiting: Vec<_> = ["/n0", "/n1", "/n2"].map(|path| world.get(path)).into();
    let closed = world.close(5 * SECOND).unwrap();
    let since = world.sim.elapsed();
    assert_eq!(world.run_until_ended(T), SessionEnd::Closed);
    assert_eq!(world.sim.elapsed() - since, 5 * SECOND);
    for expected in [Fate::NotSent, Fate::MaybeApplied, Fate::MaybeApplied] {
        let waiting = unanswered(waiting.pop().unwrap());
        assert_eq!(waiting.fate, expected);
        assert!(matches!(waiting.cause, Cause::Ended(SessionEnd::Closed)));
    }
    let closed = unanswered(closed);
    assert_eq!(closed.fate, Fate::NotSent);
    assert!(matches!(closed.cause, Cause::Deadline));
}

#[test]
fn a_close_whose_reply_is_lost_is_not_repeated() {
    let mut world = connected();
    world.sim.set_tamper(|_| Vec::new());
    let closed = world.close(5 * SECOND).unwrap();
    world.settle();
    world.sim.cut();
    assert_eq!(world.end(), Some(SessionEnd::Closed));
    let closed = unanswered(closed);
    assert_eq!(closed.fate, Fate::MaybeApplied);
    assert!(matches!(closed.cause, Cause::Lost(_)));
}
