//! Bytes in both directions.

use std::io::Write;
use std::time::Duration;

use super::engine::Why;
use super::plan::{Plan, Step};
use super::{Backend, LARGER_THAN_ALL_BUFFERS, connect, exchange, expect_bytes, noise};

pub(crate) fn bytes_go_both_ways(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    for text in ["ping", "another"] {
        remote.send(text);
        expect_bytes(&mut peer, text.as_bytes());
        peer.write_all(text.as_bytes()).unwrap();
        remote.expect_bytes(text.as_bytes());
    }
}

pub(crate) fn short_writes_lose_nothing(backend: &impl Backend) {
    for max in 1..=6 {
        let plan = Plan::new().writes(move |_| Step::AtMost(max));
        exchange(backend, &plan, &format!("{max} bytes for each write"));
    }
}

pub(crate) fn short_reads_lose_nothing(backend: &impl Backend) {
    for max in 1..=6 {
        let plan = Plan::new().reads(move |_| Step::AtMost(max));
        exchange(backend, &plan, &format!("{max} bytes for each read"));
    }
}

pub(crate) fn would_block_at_every_position_loses_nothing(backend: &impl Backend) {
    let step = |at: usize| {
        move |call| match call {
            _ if call == at => Step::WouldBlock,
            _ => Step::AtMost(1),
        }
    };
    for at in 0..26 {
        let plan = Plan::new().reads(step(at)).writes(step(at));
        exchange(backend, &plan, &format!("would block at call {at}"));
    }
    let every_other = |call: usize| match call % 2 {
        0 => Step::WouldBlock,
        _ => Step::AtMost(1),
    };
    let plan = Plan::new().reads(every_other).writes(every_other);
    exchange(backend, &plan, "would block at every other call");
}

pub(crate) fn what_a_stream_does_not_take_is_written_later(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    let frame = noise(LARGER_THAN_ALL_BUFFERS);
    remote.send(frame.clone());
    remote.send("and more");
    remote.settle();
    expect_bytes(&mut peer, &frame);
    expect_bytes(&mut peer, b"and more");
}

/// An engine may have more when all was written, and nothing else happens that would tell.
pub(crate) fn frames_leave_though_they_come_one_by_one(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    let frames: Vec<_> = (0..100_u8).map(|index| vec![index; 3]).collect();
    remote.send_all(frames.clone());
    expect_bytes(&mut peer, &frames.concat());
    let turns = remote.turns_in(Duration::from_millis(20));
    assert!(turns <= 10, "{turns} turns with nothing left to write");
}

pub(crate) fn a_frame_may_come_in_pieces(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    let frame = noise(300_000);
    remote.take_frames_of(frame.len());
    let (first, rest) = frame.split_at(100);
    peer.write_all(first).unwrap();
    remote.settle();
    peer.write_all(rest).unwrap();
    remote.expect_bytes(&frame);
}

pub(crate) fn a_half_frame_is_forgotten_with_its_connection(backend: &impl Backend) {
    let (remote, server, mut peer) = connect(backend, &Plan::new());
    remote.take_frames_of(4);
    peer.write_all(b"whole!").unwrap();
    remote.expect_bytes(b"whol");
    drop(peer);
    assert_eq!(remote.expect_disconnected().0, Why::Closed);
    remote.dial(server.address());
    remote.expect_connected();
    server.accept().write_all(b"another!").unwrap();
    remote.expect_bytes(b"another!");
}
