//! Sleeping and waking.

use std::io::Write;
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use homing_transport::{Action, Signal};

use super::engine::Remote;
use super::plan::Plan;
use super::{Backend, LARGER_THAN_ALL_BUFFERS, connect, engine, expect_bytes, noise};

pub(crate) fn the_first_turn_comes_by_itself(backend: &impl Backend) {
    let (remote, engine) = Remote::new();
    let driver = backend.start(Plan::new(), engine);
    remote.wait_for("a turn", |state| (state.turns > 0).then_some(()));
    remote.attach(driver);
}

pub(crate) fn an_idle_driver_sleeps(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    let turns = remote.turns_in(Duration::from_millis(50));
    assert!(turns <= 5, "{turns} turns with a connection");
    peer.write_all(b"a").unwrap();
    remote.expect_bytes(b"a");
    drop(peer);
    remote.expect_disconnected();
    let turns = remote.turns_in(Duration::from_millis(50));
    assert!(turns <= 5, "{turns} turns without one");
}

pub(crate) fn a_stalled_peer_keeps_nobody_busy(backend: &impl Backend) {
    let plan = Plan::new();
    let (remote, _server, mut peer) = connect(backend, &plan);
    let frame = noise(LARGER_THAN_ALL_BUFFERS);
    remote.send(frame.clone());
    // Until the socket takes no more. Its buffers may grow for a while.
    let mut writes = 0;
    while writes != plan.write_count() {
        writes = plan.write_count();
        remote.turns_in(Duration::from_millis(20));
    }
    let turns = remote.turns_in(Duration::from_millis(100));
    let writes = plan.write_count() - writes;
    assert!(
        turns <= 10 && writes <= 10,
        "{turns} turns, {writes} writes"
    );
    // Whatever else happens goes on.
    peer.write_all(b"not stalled").unwrap();
    remote.expect_bytes(b"not stalled");
    expect_bytes(&mut peer, &frame);
}

pub(crate) fn a_turn_is_taken_when_it_is_time(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    for ms in [0, 1, 5, 30, 2] {
        // The engine may change its mind.
        remote.want_turn_in(Duration::from_secs(3_600));
        remote.settle();
        let turns = remote.turns_in(Duration::from_millis(ms));
        // A timer may wake its driver a little early.
        assert!((1..=10).contains(&turns), "{turns} turns in {ms} ms");
    }
}

pub(crate) fn an_engine_that_refuses_to_sleep_has_another_turn(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    remote.settle();
    let before = remote.turns();
    remote.refuse_to_sleep(10);
    remote.wait_for("ten more turns", |state| {
        (state.turns >= before + 10).then_some(())
    });
}

pub(crate) fn wakers_are_called(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    let signal = Arc::new(Signal::new());
    remote.wake(Waker::from(Arc::clone(&signal)));
    wait(&signal);
    // Those of the last turn are not forgotten.
    remote.react(|_| Vec::new());
    remote.wake(Waker::from(Arc::clone(&signal)));
    remote.act(Action::Stop);
    wait(&signal);
    remote.expect_dropped();
}

/// Waits for a signal, but not for ever.
fn wait(signal: &Arc<Signal>) {
    let (done, is_done) = mpsc::channel();
    let signal = Arc::clone(signal);
    thread::spawn(move || {
        signal.wait();
        let _ = done.send(());
    });
    is_done.recv_timeout(engine::PATIENCE).unwrap();
}
