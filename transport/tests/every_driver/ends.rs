//! The end of a connection.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use homing_transport::Action;

use super::engine::{Event, Remote, Why};
use super::plan::{Plan, Step};
use super::{Backend, Server, connect, expect_bytes, expect_end, noise, writes_and_ends};

pub(crate) fn the_end_of_the_stream_is_told_once(backend: &impl Backend) {
    let (remote, server, peer) = connect(backend, &Plan::new());
    drop(peer);
    assert_eq!(remote.expect_disconnected(), (Why::Closed, Vec::new()));
    // Whatever would be told a second time comes before this.
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn data_before_the_end_is_delivered(backend: &impl Backend) {
    // A little; and more than one turn reads.
    for len in [1, 10_000, 8 << 20] {
        let (remote, _server, mut peer) = connect(backend, &Plan::new());
        let data = noise(len);
        peer.write_all(&data).unwrap();
        drop(peer);
        remote.expect_bytes(&data);
        assert_eq!(remote.expect_disconnected().0, Why::Closed);
        remote.stop();
    }
}

/// More than one turn reads, of which nobody tells again.
pub(crate) fn what_is_left_of_an_ended_stream_is_read(backend: &impl Backend) {
    let server = Arc::new(Server::new());
    let address = server.address();
    let data = noise(100);
    let plan = Plan::new()
        .reads(|_| Step::AtMostQuietly(1))
        .dials(writes_and_ends(&server, &data));
    let remote = Remote::start(backend, &plan);
    remote.dial(address);
    remote.expect_connected();
    remote.expect_bytes(&data);
    assert_eq!(remote.expect_disconnected().0, Why::Closed);
}

/// All is over before the driver hears that it has a connection: it is told of everything at
/// once, and of nothing afterwards.
pub(crate) fn an_end_that_comes_with_the_connection_is_not_missed(backend: &impl Backend) {
    for data in ["", "too late"] {
        let server = Arc::new(Server::new());
        let plan = Plan::new().dials(writes_and_ends(&server, data.as_bytes()));
        let remote = Remote::start(backend, &plan);
        remote.dial(server.address());
        remote.expect_connected();
        remote.expect_bytes(data.as_bytes());
        assert_eq!(remote.expect_disconnected().0, Why::Closed);
        remote.stop();
    }
}

pub(crate) fn a_reset_is_told_once(backend: &impl Backend) {
    let (remote, server, peer) = connect(backend, &Plan::new());
    // What a socket has not read when it is closed is answered with a reset.
    remote.send("never read");
    peer.peek(&mut [0]).unwrap();
    drop(peer);
    let (why, unsent) = remote.expect_disconnected();
    assert_eq!(why, Why::Failed(ErrorKind::ConnectionReset));
    assert_eq!(unsent, b"");
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn a_failed_read_is_told_once(backend: &impl Backend) {
    let breaks = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&breaks);
    let plan = Plan::new().reads(move |_| match is_broken.load(Ordering::Relaxed) {
        true => Step::Fail(ErrorKind::TimedOut),
        false => Step::Pass,
    });
    let (remote, _server, mut peer) = connect(backend, &plan);
    remote.settle();
    breaks.store(true, Ordering::Relaxed);
    // Perhaps it is gone already.
    let _ = peer.write_all(b"lost");
    let (why, _) = remote.expect_disconnected();
    assert_eq!(why, Why::Failed(ErrorKind::TimedOut));
    // It is closed by a reset, if there was something in it that was not read.
    match peer.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    remote.stop();
}

pub(crate) fn a_failed_write_is_told_once(backend: &impl Backend) {
    let plan = Plan::new().writes(|call| match call {
        0 => Step::AtMost(3),
        1 => Step::Fail(ErrorKind::BrokenPipe),
        _ => Step::Pass,
    });
    let (remote, _server, mut peer) = connect(backend, &plan);
    remote.send("abcdef");
    let (why, unsent) = remote.expect_disconnected();
    assert_eq!(why, Why::Failed(ErrorKind::BrokenPipe));
    assert_eq!(unsent, b"def");
    expect_bytes(&mut peer, b"abc");
    expect_end(&mut peer);
    remote.stop();
}

/// The engine dials again as soon as it hears of it, and nothing else happens.
pub(crate) fn what_follows_a_failed_write_is_done_at_once(backend: &impl Backend) {
    for fails in [Step::Fail(ErrorKind::BrokenPipe), Step::Zero] {
        let plan = Plan::new().writes(move |call| match call {
            0 => fails,
            _ => Step::Pass,
        });
        let (remote, server, _peer) = connect(backend, &plan);
        let address = server.address();
        remote.react(move |event| match event {
            Event::Disconnected { .. } => vec![Action::Dial { address }],
            _ => Vec::new(),
        });
        remote.settle();
        remote.send("lost");
        remote.expect_disconnected();
        remote.expect_connected();
        remote.react(|_| Vec::new());
        remote.stop();
    }
}

/// A server may answer, close, and have its answer overtaken by our own failure to write.
pub(crate) fn what_arrived_before_a_write_failed_is_delivered(backend: &impl Backend) {
    let failed = Arc::new(AtomicBool::new(false));
    let has_failed = Arc::clone(&failed);
    let mut rest = vec![Step::Zero, Step::Give(b"wer"), Step::Give(b"ans")];
    let plan = Plan::new()
        .writes(move |_| {
            failed.store(true, Ordering::Relaxed);
            Step::Fail(ErrorKind::BrokenPipe)
        })
        .reads(move |_| match has_failed.load(Ordering::Relaxed) {
            true => rest.pop().unwrap(),
            false => Step::Pass,
        });
    let (remote, _server, _peer) = connect(backend, &plan);
    remote.settle();
    remote.send("question");
    remote.expect_bytes(b"answer");
    let (_, unsent) = remote.expect_disconnected();
    assert_eq!(unsent, b"question");
    remote.stop();
}

pub(crate) fn a_write_of_nothing_is_a_failure(backend: &impl Backend) {
    let plan = Plan::new().writes(|_| Step::Zero);
    let (remote, _server, _peer) = connect(backend, &plan);
    remote.send("abc");
    let (why, unsent) = remote.expect_disconnected();
    assert_eq!(why, Why::Failed(ErrorKind::WriteZero));
    assert_eq!(unsent, b"abc");
    remote.stop();
}
