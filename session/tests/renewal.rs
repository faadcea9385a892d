//! One session after another: what belonged to the old one ends, and nothing of it enters the
//! new one.

mod common;

use std::sync::Arc;

use common::*;
use homing_protocol::{CreateMode, Record, op};
use homing_session::{Cause, OnExpiry, SessionEnd, SessionState};
use homing_testkit::sim::Behaviour;
use homing_transport::{Fate, Refused, Request};

/// Connected to one of three servers, to be renewed.
fn renewing() -> World {
    let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.on_expiry = OnExpiry::Renew;
    });
    world.connect();
    world
}

fn expire(world: &mut World) -> i64 {
    let id = world.session_id();
    world
        .sim
        .with_server_now(|server, now| assert!(server.expire_session(now, id)));
    id
}

fn run_until_renewing(world: &mut World) -> SessionEnd {
    let shared = Arc::clone(&world.shared);
    let is_renewing = |_: &_| matches!(shared.status.state(), SessionState::Renewing(_));
    assert!(world.sim.run_until(4 * T, is_renewing), "{:?}", world.sim);
    match world.state() {
        SessionState::Renewing(end) => end,
        other => panic!("{other}"),
    }
}

/// Whether a request of that era would be taken.
fn try_in(world: &World, era: u64) -> Result<(), Refused> {
    let body = homing_protocol::GetData {
        path: "/".into(),
        watch: false,
    };
    let request = Request {
        len: homing_protocol::request_len(&body),
        within: None,
        note: homing_session::Note::Plain { op: op::GET_DATA },
    };
    let header = |xid| homing_protocol::RequestHeader {
        xid,
        op: op::GET_DATA,
    };
    let queue = &world.shared.queue;
    let put = |xid, out: &mut _| homing_protocol::put_request(out, header(xid), &body);
    queue.try_submit_in(era, request, put).map(drop)
}

#[test]
fn a_session_that_a_server_calls_expired_is_followed_by_another() {
    let mut world = renewing();
    let made = world.create("/e", CreateMode::Ephemeral);
    world.settle();
    reply(made);
    let waiting = {
        world.sim.set_window(0);
        world.get("/")
    };
    let old = expire(&mut world);
    let shared = Arc::clone(&world.shared);
    assert!(world.sim.run_until(SECOND, |_| !is_connected(&shared)));
    world.sim.set_window(usize::MAX);
    let end = run_until_renewing(&mut world);
    assert_eq!(end, SessionEnd::Expired { session_id: old });

    // What was not even sent ends all the same, and whoever has not heard of it is refused.
    let unanswered = unanswered(waiting);
    assert_eq!(unanswered.fate, Fate::NotSent);
    assert!(matches!(unanswered.cause, Cause::Ended(ended) if ended == end));
    assert_eq!(try_in(&world, 0), Err(Refused::Outdated));
    assert_eq!(world.shared.status.end_of(0), Some(end.clone()));
    assert_eq!(world.shared.status.end_of(1), None);
    let status = &world.shared.status;
    assert!(status.credentials().is_none() && status.valid_until().is_none());
    assert_eq!(status.report().map(|report| report.end.clone()), Some(end));

    // Whoever has waits for the new session.
    let fresh = world.get("/");
    world.connect();
    assert_ne!(world.session_id(), old);
    world.settle();
    assert_eq!(reply(fresh).err, 0);
    let gone = world.get("/e");
    world.settle();
    assert_eq!(reply(gone).err, -101);
    assert_eq!(world.sim.server().sessions().len(), 1);
    assert!(world.shared.status.report().is_some(), "it stays readable");
}

#[test]
fn the_new_session_may_be_the_one_that_a_server_gave_unasked() {
    let mut world = renewing();
    let old = expire(&mut world);
    // A server that begins a new session where it should have said that the old one is gone.
    let mut is_first = true;
    world.sim.set_tamper(move |bytes| {
        if !std::mem::take(&mut is_first) {
            return vec![bytes];
        }
        let other = homing_protocol::ConnectResponse {
            timeout_ms: 30_000,
            session_id: 0x77,
            password: homing_protocol::SessionPassword::NONE,
            read_only: Some(false),
        };
        let mut frame = bytes::BytesMut::from(&b"\0\0\0\x25"[..]);
        other.encode(&mut frame);
        vec![frame.freeze()]
    });
    world.sim.run_for(SECOND);
    let replaced = SessionEnd::Replaced {
        session_id: old,
        other: 0x77,
    };
    assert_eq!(world.shared.status.end_of(0), Some(replaced));
    // The server knows nothing of it, so it does not last.
    let expired = SessionEnd::Expired { session_id: 0x77 };
    assert_eq!(world.shared.status.end_of(1), Some(expired));
    assert!(world.is_connected());
}

#[test]
fn a_presumed_expiry_is_followed_by_another_session_and_the_old_one_is_closed() {
    let mut world = renewing();
    let made = world.create("/e", CreateMode::Ephemeral);
    world.settle();
    reply(made);
    let old = world.session_id();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    let end = run_until_renewing(&mut world);
    assert!(matches!(end, SessionEnd::PresumedExpired { session_id, .. } if session_id == old));
    // The servers were away themselves: the session lives, and would for a while.
    world
        .sim
        .with_server_now(|server, now| server.handle_restart(now));
    world.sim.run_for(SECOND);
    let sessions = world.sim.server().sessions();
    assert!(sessions.iter().any(|session| session.id == old) || sessions.is_empty());

    world.servers(Behaviour::Serve);
    world.connect();
    let new = world.session_id();
    assert_ne!(new, old);
    let sessions: Vec<_> = world.sim.server().sessions();
    assert!(sessions.iter().all(|session| session.id == new));
    assert!(!world.sim.server().node_exists("/e"));
}

#[test]
fn an_old_session_that_lives_is_closed_before_the_new_one_begins() {
    let mut world = world_with("10.0.0.1", |config| {
        config.on_expiry = OnExpiry::Renew;
        // Long before the servers would say so.
        config.presume_expired_after = Some(T / 2);
    });
    world.connect();
    let made = world.create("/e", CreateMode::Ephemeral);
    world.settle();
    reply(made);
    let old = world.session_id();
    world.sim.set_behaviour(address(1), Behaviour::Refuse);
    world.sim.cut();
    run_until_renewing(&mut world);
    assert!(world.sim.server().node_exists("/e"), "it lives");
    world.sim.set_behaviour(address(1), Behaviour::Serve);
    world.connect();
    assert_ne!(world.session_id(), old);
    let sessions: Vec<_> = world.sim.server().sessions().iter().map(|s| s.id).collect();
    assert_eq!(sessions, [world.session_id()]);
    assert!(!world.sim.server().node_exists("/e"));
}

#[test]
fn the_attempts_to_close_the_old_session_are_bounded() {
    let mut world = renewing();
    world.servers(Behaviour::AcceptAndClose);
    world.sim.cut();
    run_until_renewing(&mut world);
    // Each of the three is asked to take it up three times, and then for a new one.
    let presented = world.sim.dials().len();
    let enough = |sim: &homing_testkit::sim::Sim<_>| sim.dials().len() >= presented + 12;
    assert!(world.sim.run_until(4 * T, enough));
    world.servers(Behaviour::Serve);
    world.connect();
    assert!(world.sim.server().sessions().len() <= 2);
}

#[test]
fn it_is_renewed_again_and_again() {
    let mut world = renewing();
    let mut ids = vec![world.session_id()];
    for era in 0..100 {
        let old = expire(&mut world);
        let end = run_until_renewing(&mut world);
        assert_eq!(end, SessionEnd::Expired { session_id: old });
        assert_eq!(world.shared.status.end_of(era), Some(end));
        world.connect();
        let get = world.get("/");
        world.settle();
        assert_eq!(reply(get).err, 0);
        ids.push(world.session_id());
    }
    ids.dedup();
    assert_eq!(ids.len(), 101);
    // What is too long ago to be known is told as the oldest that is.
    let oldest = world.shared.status.end_of(0);
    assert_eq!(
        oldest,
        Some(SessionEnd::Expired {
            session_id: ids[36]
        })
    );
}

#[test]
fn a_close_is_final() {
    let mut world = renewing();
    expire(&mut world);
    run_until_renewing(&mut world);
    let close = world.close(SECOND);
    let end = world.run_until_ended(2 * SECOND);
    assert_eq!(end, SessionEnd::Closed);
    assert!(close.unwrap().try_pull().is_some());
    world.settle();
    assert!(world.sim.is_stopped());

    // And one that is on its way when the expiry is told.
    let mut world = renewing();
    world.sim.set_window(0);
    let mut close = world.close(5 * SECOND).unwrap();
    world.sim.step();
    let old = expire(&mut world);
    let end = world.run_until_ended(10 * SECOND);
    assert!(
        matches!(end, SessionEnd::Closed | SessionEnd::Expired { .. }),
        "{end} of {old:#x}"
    );
    assert!(close.try_pull().is_some());
}

#[test]
fn a_refused_identity_is_final() {
    let mut world = renewing();
    world
        .shared
        .authentications
        .add(Arc::new(homing_session::Authentication {
            scheme: "nonsense".into(),
            proof: homing_session::Secret::new(b"?"),
        }));
    world.sim.cut();
    let end = world.run_until_ended(SECOND);
    assert!(matches!(end, SessionEnd::AuthFailed { .. }), "{end}");
}

#[test]
fn identities_carry_over() {
    let mut world = renewing();
    world
        .shared
        .authentications
        .add(Arc::new(homing_session::Authentication {
            scheme: "digest".into(),
            proof: homing_session::Secret::new(b"bob:pw"),
        }));
    expire(&mut world);
    run_until_renewing(&mut world);
    world.connect();
    let who = world
        .submit(op::WHO_AM_I, &homing_protocol::Empty, None)
        .unwrap();
    world.settle();
    let frame = reply(who).frame;
    assert!(frame.windows(3).any(|text| text == b"bob"), "{frame:?}");
}

#[test]
fn by_default_it_is_the_end() {
    let mut world = connected();
    let session_id = expire(&mut world);
    let end = world.run_until_ended(SECOND);
    assert_eq!(end, SessionEnd::Expired { session_id });
    assert_eq!(try_in(&world, 0), Err(Refused::Ended));
}

#[test]
fn watches_that_stay_end_with_their_session_and_the_next_one_has_no_gap() {
    let mut world = renewing();
    world.make("/a");
    let old = world.lasting("/a", true);
    expire(&mut world);
    let end = run_until_renewing(&mut world);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let told_end = std::task::Poll::Ready(Some(Err(homing_session::WatchEnd::Session(end))));
    assert_eq!(old.poll(&mut cx), told_end);
    assert_eq!(world.shared.watches.report(), []);
    world.connect();
    let new = world.lasting("/a", true);
    world.set("/a");
    world.settle();
    assert_eq!(told(&new), ["NodeDataChanged \"/a\""]);
    assert_eq!(old.poll(&mut cx), std::task::Poll::Ready(None));
}
