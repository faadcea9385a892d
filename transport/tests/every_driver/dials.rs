//! Dialling and giving up.

use std::io::{ErrorKind, Write};
use std::sync::Arc;

use homing_transport::Action;

use super::engine::{Event, Remote, Why};
use super::plan::{DialStep, Plan, Step};
use super::{Backend, Server, connect, expect_bytes, expect_end, noise, nowhere, writes_and_ends};

pub(crate) fn a_refused_dial_is_told_once(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    remote.dial(nowhere());
    let expected = (Why::Dial(ErrorKind::ConnectionRefused), Vec::new());
    assert_eq!(remote.expect_disconnected(), expected);
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn a_dial_that_cannot_begin_is_told_once(backend: &impl Backend) {
    let plan = Plan::new().dials(|call| match call {
        0 => DialStep::Fail(ErrorKind::AddrNotAvailable),
        _ => DialStep::Pass,
    });
    let (remote, server) = (Remote::start(backend, &plan), Server::new());
    remote.dial(server.address());
    let (why, _) = remote.expect_disconnected();
    assert_eq!(why, Why::Dial(ErrorKind::AddrNotAvailable));
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn dialling_again_at_once_is_possible_each_time(backend: &impl Backend) {
    const TIMES: usize = 50;
    let (remote, address) = (Remote::start(backend, &Plan::new()), nowhere());
    let mut left = TIMES;
    remote.react(move |event| match event {
        Event::Disconnected { .. } if left > 1 => {
            left -= 1;
            vec![Action::Dial { address }]
        }
        _ => Vec::new(),
    });
    remote.dial(address);
    for _ in 0..TIMES {
        let (why, _) = remote.expect_disconnected();
        assert_eq!(why, Why::Dial(ErrorKind::ConnectionRefused));
    }
    remote.stop();
}

pub(crate) fn a_dial_can_be_given_up(backend: &impl Backend) {
    let plan = Plan::new().dials(|call| match call {
        0 => DialStep::Hang,
        _ => DialStep::Pass,
    });
    let (remote, server) = (Remote::start(backend, &plan), Server::new());
    remote.dial(server.address());
    remote.settle();
    remote.act(Action::HangUp);
    assert_eq!(remote.expect_disconnected(), (Why::HungUp, Vec::new()));
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn a_connection_can_be_given_up(backend: &impl Backend) {
    let (remote, server, mut peer) = connect(backend, &Plan::new());
    remote.act(Action::HangUp);
    assert_eq!(remote.expect_disconnected(), (Why::HungUp, Vec::new()));
    expect_end(&mut peer);
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

/// The engine wants to hang up because of what it reads, and reads the end in the same turn.
pub(crate) fn giving_up_what_has_just_ended_is_told_once(backend: &impl Backend) {
    let server = Arc::new(Server::new());
    let address = server.address();
    let plan = Plan::new().dials(writes_and_ends(&server, b"nonsense"));
    let remote = Remote::start(backend, &plan);
    remote.react(move |event| match event {
        Event::Bytes(bytes) if bytes.starts_with(b"nonsense") => vec![Action::HangUp],
        Event::Disconnected { .. } => vec![Action::Dial { address }],
        _ => Vec::new(),
    });
    remote.dial(address);
    remote.expect_connected();
    remote.expect_bytes(b"nonsense");
    let (why, _) = remote.expect_disconnected();
    assert!(matches!(why, Why::HungUp | Why::Closed), "{why:?}");
    remote.expect_connected();
    server.accept().write_all(b"sense").unwrap();
    remote.expect_bytes(b"sense");
}

pub(crate) fn giving_up_nothing_says_nothing(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    remote.act(Action::HangUp);
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn what_was_not_written_is_given_back(backend: &impl Backend) {
    let frame = noise(20);
    for written in 0..=frame.len() {
        let mut left = written;
        let plan = Plan::new().writes(move |_| match left {
            0 => Step::Fail(ErrorKind::BrokenPipe),
            _ => {
                let len = left.min(7);
                left -= len;
                Step::AtMost(len)
            }
        });
        let (remote, _server, mut peer) = connect(backend, &plan);
        remote.send(frame.clone());
        expect_bytes(&mut peer, &frame[..written]);
        if written == frame.len() {
            // There was no write that could fail.
            remote.act(Action::HangUp);
        }
        let (_, unsent) = remote.expect_disconnected();
        assert_eq!(unsent, frame[written..]);
        remote.stop();
    }
}

pub(crate) fn stop_drops_the_engine(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    remote.stop();

    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    remote.stop();
    expect_end(&mut peer);

    let plan = Plan::new().dials(|_| DialStep::Hang);
    let (remote, server) = (Remote::start(backend, &plan), Server::new());
    remote.dial(server.address());
    remote.settle();
    remote.stop();
}

pub(crate) fn a_ring_after_the_end_does_nothing(backend: &impl Backend) {
    let (remote, engine) = Remote::new();
    let driver = backend.start(Plan::new(), engine);
    remote.attach(Arc::clone(&driver));
    remote.stop();
    driver.ring();
    driver.ring();
}
