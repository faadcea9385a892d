//! Nobody is to wait for servers that cannot be reached, if so set.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use common::*;
use homing_session::{Cause, Failure, SessionEnd, SessionState};
use homing_testkit::sim::Behaviour;
use homing_transport::Fate;

fn failing_fast() -> World {
    let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.fail_fast_after = Some(2);
    });
    world.connect();
    world
}

#[test]
fn after_so_many_rounds_requests_end_at_once() {
    let mut world = failing_fast();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    let mut waiting = world.get("/");
    // The first round goes on behind the server that was connected a moment ago.
    let failed = |sim: &homing_testkit::sim::Sim<_>| sim.dials().len() >= 1 + 2 + 3;
    assert!(world.sim.run_until(60 * SECOND, failed));
    assert!(
        waiting.try_pull().is_none(),
        "not before the last of them has failed"
    );
    world.sim.run_for(2 * SECOND);
    let unanswered = unanswered(waiting);
    assert_eq!(unanswered.fate, Fate::NotSent);
    let Cause::Unavailable(unavailable) = unanswered.cause else {
        panic!("{}", unanswered.cause);
    };
    assert_eq!(unavailable.rounds, 2);
    assert_eq!(unavailable.attempts.len(), 3);
    let is_refused = |failure: &Failure| matches!(failure, Failure::Connect(_));
    assert!(
        unavailable
            .attempts
            .iter()
            .all(|attempt| is_refused(&attempt.failure))
    );

    // Later ones at once, and the session goes on.
    let at = world.sim.elapsed();
    let late = world.get("/");
    world.sim.step();
    assert!(matches!(
        self::unanswered(late).cause,
        Cause::Unavailable(_)
    ));
    assert!(world.sim.elapsed() - at < SECOND * 5);
    assert!(matches!(world.state(), SessionState::Suspended { .. }));
    let id = world.session_id();
    world.servers(Behaviour::Serve);
    world.connect();
    assert_eq!(world.session_id(), id);
    let get = world.get("/");
    world.settle();
    assert_eq!(reply(get).err, 0);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whoever_waits_for_a_session_is_woken_and_told_why_there_is_none() {
    let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.fail_fast_after = Some(2);
    });
    world.servers(Behaviour::Refuse);
    let shared = Arc::clone(&world.shared);
    let (key, seen) = shared.status.listen();
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut cx = Context::from_waker(&waker);
    let next = |cx: &mut _| shared.status.poll_change(key, seen + 1, cx);
    assert!(next(&mut cx).is_pending());
    assert_eq!(shared.status.unavailable(), None);
    let is_woken = |_: &_| woken.0.load(Ordering::Relaxed) == 1;
    assert!(world.sim.run_until(60 * SECOND, is_woken));
    let unavailable = shared.status.unavailable().unwrap();
    assert_eq!((unavailable.rounds, unavailable.attempts.len()), (2, 3));
    // Once is enough: no state was entered.
    assert!(next(&mut cx).is_pending());
    world.sim.run_for(60 * SECOND);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    world.servers(Behaviour::Serve);
    world.connect();
    assert_eq!(shared.status.unavailable(), None);
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
}

#[test]
fn by_default_they_wait() {
    let mut world = connected();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    let mut waiting = world.get("/");
    world.sim.run_for(T);
    assert!(waiting.try_pull().is_none());
}

#[test]
fn a_connection_begins_the_count_anew() {
    let mut world = failing_fast();
    for _ in 0..5 {
        world.servers(Behaviour::Refuse);
        world.sim.cut();
        let mut waiting = world.get("/");
        let before = world.sim.dials().len();
        let failed = |sim: &homing_testkit::sim::Sim<_>| sim.dials().len() >= before + 3;
        assert!(world.sim.run_until(10 * SECOND, failed));
        world.servers(Behaviour::Serve);
        world.connect();
        world.sim.run_for(10 * SECOND);
        assert!(waiting.try_pull().unwrap().is_ok());
    }
}

#[test]
fn a_close_has_its_own_deadline() {
    let mut world = failing_fast();
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    world.sim.run_for(20 * SECOND);
    let mut close = world.close(3 * SECOND).unwrap();
    world.sim.run_for(SECOND);
    assert!(close.try_pull().is_none());
    assert_eq!(world.run_until_ended(3 * SECOND), SessionEnd::Closed);
    assert!(matches!(unanswered(close).cause, Cause::Deadline));
}
