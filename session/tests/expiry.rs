//! The end of a session that nobody wanted.

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::*;
use homing_protocol::{ConnectResponse, CreateMode, Record};
use homing_session::{
    Cause, Config, ConnectString, Credentials, Session, SessionEnd, SessionState,
};
use homing_testkit::sim::{Behaviour, Sim};
use homing_transport::{Fate, Refused};

#[test]
fn a_server_says_that_it_has_expired() {
    let mut world = connected();
    let id = world.session_id();
    let waiting = {
        world.sim.set_window(0);
        world.get("/")
    };
    world
        .sim
        .with_server_now(|server, now| assert!(server.expire_session(now, id)));
    let shared = std::sync::Arc::clone(&world.shared);
    assert!(world.sim.run_until(SECOND, |_| !is_connected(&shared)));
    world.sim.set_window(usize::MAX);
    let end = world.run_until_ended(SECOND);
    assert_eq!(end, SessionEnd::Expired { session_id: id });

    // Everybody learns of it: who waits, who asks, who submits. It is said once.
    let unanswered = unanswered(waiting);
    assert_eq!(unanswered.fate, Fate::NotSent);
    assert!(matches!(
        unanswered.cause,
        Cause::Ended(SessionEnd::Expired { .. })
    ));
    assert_eq!(world.state(), SessionState::Ended(end));
    let body = homing_protocol::GetData {
        path: "/".into(),
        watch: false,
    };
    assert_eq!(world.submit(4, &body, None).unwrap_err(), Refused::Ended);
    world.settle();
    assert!(world.sim.is_stopped(), "the driver is told to let it go");
}

#[test]
fn another_session_in_its_place_is_an_expiry_too() {
    let mut world = connected();
    let id = world.session_id();
    world.sim.set_tamper(|_| {
        let other = ConnectResponse {
            timeout_ms: 30_000,
            session_id: 0x77,
            password: homing_protocol::SessionPassword::NONE,
            read_only: Some(false),
        };
        let mut frame = BytesMut::from(&b"\0\0\0\x25"[..]);
        other.encode(&mut frame);
        vec![frame.freeze()]
    });
    world.sim.cut();
    let end = world.run_until_ended(SECOND);
    assert_eq!(
        end,
        SessionEnd::Replaced {
            session_id: id,
            other: 0x77
        }
    );
}

#[test]
fn without_a_server_it_is_presumed() {
    let mut world = connected();
    let id = world.session_id();
    // When the handshake was sent.
    let lease_from = world.shared.status.valid_until().unwrap() - T;
    world.servers(Behaviour::Refuse);
    world.sim.run_for(SECOND);
    world.sim.cut();
    let SessionState::Suspended {
        presumed_expired_at: Some(at),
        ..
    } = world.state()
    else {
        panic!()
    };
    let end = world.run_until_ended(2 * T);
    let silent_for = T * 4 / 3;
    assert_eq!(
        end,
        SessionEnd::PresumedExpired {
            session_id: id,
            silent_for
        }
    );
    assert_eq!(world.sim.now() - lease_from, silent_for);
    assert_eq!(world.sim.now(), at, "as it was foretold");
}

#[test]
fn the_presumption_can_be_switched_off() {
    let mut world = world_with("10.0.0.1", |config| {
        config.presume_expired_after = Some(Duration::MAX);
    });
    world.connect();
    world.sim.set_behaviour(address(1), Behaviour::Refuse);
    world.sim.cut();
    world.sim.run_for(20 * T);
    assert!(matches!(
        world.state(),
        SessionState::Suspended {
            presumed_expired_at: None,
            ..
        }
    ));
}

#[test]
fn a_session_that_never_began_does_not_expire() {
    let mut world = world();
    world.servers(Behaviour::Refuse);
    world.sim.run_for(20 * T);
    assert_eq!(world.state(), SessionState::Connecting);
}

#[test]
fn a_session_is_resumed_by_id_and_password() {
    let mut first = connected();
    let made = first.create("/e", CreateMode::Ephemeral);
    first.settle();
    reply(made);
    let credentials = first.shared.status.credentials().unwrap();
    let id = first.session_id();
    // The process ends without a close; the server goes on.
    let server = first.sim.into_server();

    let (session, shared) = Session::new({
        let mut config = Config::new("10.0.0.1".parse::<ConnectString>().unwrap().servers);
        config.resume = Some(credentials);
        config
    });
    let sim = Sim::with_server(session, server);
    let mut second = World { sim, shared };
    second.connect();
    assert_eq!(second.session_id(), id);
    let still_there = second.get("/e");
    second.settle();
    assert_eq!(reply(still_there).err, 0);
}

#[test]
fn a_session_that_is_gone_is_not_resumed() {
    let mut password = *b"0123456789abcdef";
    password[0] = 0;
    let credentials = Credentials::new(0x1234, &password).unwrap();
    let mut world = world_with("10.0.0.1", |config| config.resume = Some(credentials));
    let end = world.run_until_ended(SECOND);
    assert_eq!(end, SessionEnd::Expired { session_id: 0x1234 });
}

#[test]
fn an_engine_that_is_dropped_leaves_nobody_waiting() {
    let mut world = connected();
    let sent = world.get("/");
    world.sim.set_tamper(|_| Vec::new());
    world.sim.step();
    let shared = std::sync::Arc::clone(&world.shared);
    drop(world.sim);
    assert_eq!(shared.status.end(), Some(SessionEnd::DriverGone));
    assert_eq!(unanswered(sent).fate, Fate::MaybeApplied);
}
