//! A session that nobody uses is closed, and another one opened when it is needed.

mod common;

use std::time::Duration;

use common::*;
use homing_protocol::{CreateMode, op, put_request, request_len};
use homing_session::{Note, SessionEnd, SessionState, WatchKind};
use homing_transport::Request;

const IDLE: Duration = Duration::from_secs(60);

fn idle() -> World {
    let mut world = world_with("10.0.0.1,10.0.0.2", |config| {
        config.close_idle_after = Some(IDLE);
    });
    world.connect();
    world
}

#[test]
fn an_idle_session_is_closed_and_opened_again_on_use() {
    let mut world = idle();
    let first = world.session_id();
    world.sim.run_for(IDLE - SECOND);
    assert!(world.is_connected());
    world.sim.run_for(2 * SECOND);
    assert_eq!(world.state(), SessionState::Dormant);
    assert!(
        world.sim.server().sessions().is_empty(),
        "closed at the server"
    );
    assert_eq!(world.sim.server().connection_count(), 0);
    let status = &world.shared.status;
    assert!(status.credentials().is_none() && status.valid_until().is_none());
    assert!(status.report().is_none(), "nothing has gone wrong");

    // Nothing at all happens until somebody wants something.
    let dials = world.sim.dials().len();
    world.sim.run_for(100 * IDLE);
    assert_eq!(world.sim.dials().len(), dials);
    let get = world.get("/");
    world.sim.step();
    world.connect();
    world.settle();
    assert_eq!(reply(get).err, 0);
    assert_ne!(world.session_id(), first);
    assert_eq!(world.shared.queue.era(), 0, "nobody has lost anything");
    world.sim.run_for(2 * IDLE);
    assert_eq!(world.state(), SessionState::Dormant);
}

#[test]
fn use_begins_the_time_anew() {
    let mut world = idle();
    let first = world.session_id();
    for _ in 0..10 {
        world.sim.run_for(IDLE - SECOND);
        let get = world.get("/");
        world.settle();
        assert_eq!(reply(get).err, 0);
    }
    assert_eq!(world.session_id(), first);
}

#[test]
fn a_request_that_comes_while_it_is_closed_is_for_the_next_session() {
    let mut world = idle();
    world.sim.run_for(IDLE - SECOND);
    let shared = std::sync::Arc::clone(&world.shared);
    let closing = |sim: &homing_testkit::sim::Sim<_>| !sim.has_sessions();
    assert!(world.sim.run_until(2 * SECOND, closing));
    assert!(is_connected(&shared), "the answer is on its way");
    let get = world.get("/");
    world.sim.run_for(SECOND);
    assert_eq!(reply(get).err, 0);
    assert!(world.is_connected());
}

#[test]
fn a_server_that_does_not_answer_the_close_is_left() {
    let mut world = idle();
    world.sim.run_for(IDLE - SECOND);
    world.sim.set_tamper(|_| Vec::new());
    world.sim.run_for(3 * SECOND);
    assert_eq!(world.state(), SessionState::Dormant);
}

#[test]
fn ephemeral_nodes_keep_it() {
    let mut world = idle();
    let acl = [homing_protocol::Acl::open()];
    let body = homing_protocol::Create {
        path: "/e".into(),
        data: b"",
        acl: &acl,
        mode: CreateMode::Ephemeral,
    };
    let request = Request {
        len: request_len(&body),
        within: None,
        note: Note::Ephemeral { op: op::CREATE2 },
    };
    let put = |xid, out: &mut _| {
        let header = homing_protocol::RequestHeader {
            xid,
            op: op::CREATE2,
        };
        put_request(out, header, &body);
    };
    let made = world.shared.queue.try_submit(request, put).unwrap();
    world.settle();
    assert_eq!(reply(made).err, 0);
    world.sim.run_for(10 * IDLE);
    assert!(world.is_connected());
    assert!(world.sim.server().node_exists("/e"));
}

#[test]
fn watches_keep_it() {
    let mut world = idle();
    let (get, watch) = world.watch(WatchKind::Data, "/");
    world.settle();
    reply(get);
    world.sim.run_for(10 * IDLE);
    assert!(world.is_connected());
    assert!(world.shared.watches.forget(&watch));
    world.shared.queue.nudge();
    world.sim.run_for(2 * IDLE);
    assert_eq!(world.state(), SessionState::Dormant);
}

#[test]
fn whoever_holds_on_to_it_keeps_it() {
    let mut world = idle();
    world.shared.hold();
    world.sim.run_for(10 * IDLE);
    assert!(world.is_connected());
    world.shared.release();
    world.sim.run_for(2 * IDLE);
    assert_eq!(world.state(), SessionState::Dormant);
    world.shared.open();
    world.connect();
}

#[test]
fn a_dormant_session_can_be_closed_and_detached() {
    let mut world = idle();
    world.sim.run_for(2 * IDLE);
    let close = world.close(SECOND);
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    assert!(close.unwrap().try_pull().is_some());
    assert!(world.sim.server().sessions().is_empty());

    let mut world = idle();
    world.sim.run_for(2 * IDLE);
    world.shared.detach();
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Detached);
}

#[test]
fn a_session_that_was_resumed_may_have_nodes() {
    let mut first = connected();
    let credentials = first.shared.status.credentials().unwrap();
    first.settle();
    let server = first.sim.into_server();
    let mut config = homing_session::Config::new(
        "10.0.0.1"
            .parse::<homing_session::ConnectString>()
            .unwrap()
            .servers,
    );
    config.resume = Some(credentials);
    config.close_idle_after = Some(IDLE);
    let (session, shared) = homing_session::Session::new(config);
    let sim = homing_testkit::sim::Sim::with_server(session, server);
    let mut world = World { sim, shared };
    world.connect();
    world.sim.run_for(10 * IDLE);
    assert!(world.is_connected());
}
