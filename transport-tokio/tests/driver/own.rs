//! What is true of the driver on tokio alone.

use std::thread;

use homing_transport::Transport;
use homing_transport_tokio::Tokio;
use tokio::runtime::{Builder, Runtime};

use crate::disturbed::DisturbedDial;
use crate::every_driver::engine::Remote;
use crate::every_driver::plan::{DialStep, Plan};
use crate::every_driver::{Server, expect_end};

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn start(transport: &impl Transport) -> Remote {
    let (remote, engine) = Remote::new();
    remote.attach(transport.start(engine).unwrap());
    remote
}

/// Whoever waits for an answer is told that nobody drives the session any more.
#[test]
fn a_runtime_that_is_shut_down_drops_the_engine() {
    let (runtime, server) = (runtime(), Server::new());
    let remote = start(&Tokio::on(runtime.handle().clone()));
    remote.dial(server.address());
    remote.expect_connected();
    let mut peer = server.accept();
    drop(runtime);
    remote.expect_dropped();
    expect_end(&mut peer);
    remote.ring(); // nobody is there
}

#[test]
fn a_runtime_that_is_shut_down_while_it_dials_drops_the_engine() {
    let (runtime, server) = (runtime(), Server::new());
    let _here = runtime.enter();
    let plan = Plan::new().dials(|_| DialStep::Hang);
    let remote = start(&Tokio::with_dial(DisturbedDial(plan)));
    remote.dial(server.address());
    remote.settle();
    runtime.shutdown_background();
    remote.expect_dropped();
}

#[test]
fn a_runtime_that_is_gone_drops_the_engine_at_once() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    drop(runtime);
    start(&Tokio::on(handle)).expect_dropped();
}

#[test]
fn outside_a_runtime_it_says_so() {
    let (remote, engine) = Remote::new();
    let Err(error) = Tokio::new().start(engine) else {
        panic!("it starts");
    };
    assert!(error.to_string().contains("the nio transport"), "{error}");
    remote.expect_dropped();
}

#[test]
fn a_private_thread_needs_no_runtime() {
    let (remote, server) = (start(&Tokio::private_thread()), Server::new());
    remote.dial(server.address());
    remote.expect_connected();
    let mut peer = server.accept();
    remote.stop();
    expect_end(&mut peer);
}

#[test]
fn a_thread_of_the_runtime_must_not_be_blocked() {
    let runtime = runtime();
    let (_remote, engine) = Remote::new();
    let driver = Tokio::on(runtime.handle().clone()).start(engine).unwrap();
    assert_eq!(driver.may_block(), Ok(()), "on a plain thread");
    {
        let _here = runtime.enter();
        let error = driver.may_block().unwrap_err();
        assert!(error.to_string().contains("`.await`"), "{error}");
    }
    // On another thread, even one that was started inside.
    let on_thread = thread::spawn(move || driver.may_block());
    assert_eq!(on_thread.join().unwrap(), Ok(()));
}

#[test]
fn with_a_private_thread_any_other_may_be_blocked() {
    let runtime = runtime();
    let (_remote, engine) = Remote::new();
    let driver = Tokio::private_thread().start(engine).unwrap();
    let _here = runtime.enter();
    assert_eq!(driver.may_block(), Ok(()));
}
