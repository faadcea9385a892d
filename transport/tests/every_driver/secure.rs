//! Connections through a layer.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homing_transport::Action;

use super::engine::{Remote, Why};
use super::layer::{Toy, begin, mask};
use super::plan::{Plan, Step};
use super::{Backend, Server, expect_bytes, expect_end, noise};

/// Bytes that a layer takes.
fn letters(len: usize) -> Vec<u8> {
    noise(len).iter().map(|byte| byte & 0x7f).collect()
}

/// A driver with a connection through a layer, and the other end of it.
fn connect_secure(backend: &impl Backend, plan: &Plan) -> (Remote, Server, TcpStream) {
    let (remote, server) = (Remote::start(backend, plan), Server::new());
    remote.act(begin(server.address(), Toy::default()));
    let mut peer = server.accept();
    expect_bytes(&mut peer, b"HELLO");
    peer.write_all(b"WELCOME").unwrap();
    remote.expect_connected();
    (remote, server, peer)
}

pub(crate) fn a_layers_bytes_go_both_ways(backend: &impl Backend) {
    for max in [1, 2, 5, usize::MAX] {
        let plan = Plan::new()
            .reads(move |_| Step::AtMost(max))
            .writes(move |_| Step::AtMost(max));
        let (remote, _server, mut peer) = connect_secure(backend, &plan);
        for len in [1, 10, 3_000] {
            let text = letters(len);
            remote.send_all(text.chunks(700).map(<[u8]>::to_vec));
            expect_bytes(&mut peer, &mask(&text));
            peer.write_all(&mask(&text)).unwrap();
            remote.expect_bytes(&text);
        }
        let turns = remote.turns_in(Duration::from_millis(20));
        assert!(turns <= 10, "{turns} turns with nothing to do");
        remote.stop();
    }
}

pub(crate) fn a_layer_counts_as_open_when_its_handshake_is_done(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    remote.act(begin(server.address(), Toy::default()));
    remote.send("early");
    let mut peer = server.accept();
    expect_bytes(&mut peer, b"HELLO");
    peer.write_all(b"WELC").unwrap();
    remote.settle();
    remote.turns_in(Duration::from_millis(10));
    assert_eq!(remote.wait_for("nothing", |state| Some(state.next())), None);
    // What comes with its last byte is delivered.
    peer.write_all(&[&b"OME"[..], &mask(b"at once")].concat())
        .unwrap();
    remote.expect_connected();
    remote.expect_bytes(b"at once");
    expect_bytes(&mut peer, &mask(b"early"));
}

pub(crate) fn a_layer_that_cannot_begin_is_told_once(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    let toy = Toy { cannot_begin: true };
    for _ in 0..3 {
        remote.act(begin(server.address(), toy));
        let expected = (Why::Secure("no toys today".into()), Vec::new());
        assert_eq!(remote.expect_disconnected(), expected);
        remote.settle();
    }
    // Without one it works.
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn a_refused_handshake_is_told_once(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    remote.act(begin(server.address(), Toy::default()));
    let mut peer = server.accept();
    expect_bytes(&mut peer, b"HELLO");
    peer.write_all(b"GO AWAY").unwrap();
    let expected = (Why::Secure("it is not a toy".into()), Vec::new());
    assert_eq!(remote.expect_disconnected(), expected);
    // The peer is told why.
    expect_bytes(&mut peer, b"?");
    remote.settle();
    remote.dial(server.address());
    remote.expect_connected();
}

pub(crate) fn an_end_in_the_handshake_is_a_failure_of_the_layer(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    for answer in ["", "WELC"] {
        remote.act(begin(server.address(), Toy::default()));
        let mut peer = server.accept();
        expect_bytes(&mut peer, b"HELLO");
        peer.write_all(answer.as_bytes()).unwrap();
        drop(peer);
        let expected = (Why::Secure("it ended early".into()), Vec::new());
        assert_eq!(remote.expect_disconnected(), expected);
    }
    // A dial that is refused, and one that is given up, are what they were.
    let address = server.address();
    remote.act(begin(address, Toy::default()));
    let mut peer = server.accept();
    expect_bytes(&mut peer, b"HELLO");
    remote.act(Action::HangUp);
    assert_eq!(remote.expect_disconnected().0, Why::HungUp);
    drop(server);
    remote.act(begin(address, Toy::default()));
    let (why, _) = remote.expect_disconnected();
    assert_eq!(why, Why::Dial(ErrorKind::ConnectionRefused));
}

pub(crate) fn what_comes_before_a_layers_error_is_delivered(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect_secure(backend, &Plan::new());
    peer.write_all(&[&mask(b"so far")[..], b"!"].concat())
        .unwrap();
    remote.expect_bytes(b"so far");
    let expected = (Why::Secure("it broke the rules".into()), Vec::new());
    assert_eq!(remote.expect_disconnected(), expected);
    expect_bytes(&mut peer, b"?");
}

pub(crate) fn the_end_of_a_layer_is_the_end_of_the_stream(backend: &impl Backend) {
    for ends in [&b"."[..], b""] {
        let (remote, _server, mut peer) = connect_secure(backend, &Plan::new());
        peer.write_all(&[&mask(b"last")[..], ends].concat())
            .unwrap();
        if ends.is_empty() {
            // Cut, and not ended: it is the end all the same.
            drop(peer);
        }
        remote.expect_bytes(b"last");
        assert_eq!(remote.expect_disconnected(), (Why::Closed, Vec::new()));
        remote.stop();
    }
}

pub(crate) fn a_layer_says_goodbye(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect_secure(backend, &Plan::new());
    remote.send("bye");
    expect_bytes(&mut peer, &mask(b"bye"));
    remote.act(Action::HangUp);
    assert_eq!(remote.expect_disconnected().0, Why::HungUp);
    expect_bytes(&mut peer, b".");
    expect_end(&mut peer);
}

/// Of a frame that a stream takes in part, the rest is given back, less what the layer holds.
pub(crate) fn what_a_layer_has_not_taken_is_given_back(backend: &impl Backend) {
    let may_write = Arc::new(AtomicBool::new(true));
    let may = Arc::clone(&may_write);
    let plan = Plan::new().writes(move |_| match may.load(Ordering::Relaxed) {
        true => Step::AtMost(5),
        false => Step::Fail(ErrorKind::BrokenPipe),
    });
    let (remote, _server, mut peer) = connect_secure(backend, &plan);
    remote.settle();
    may_write.store(false, Ordering::Relaxed);
    // The layer takes ten bytes at a time.
    let frame = letters(35);
    remote.send(frame.clone());
    let (why, unsent) = remote.expect_disconnected();
    assert_eq!(why, Why::Failed(ErrorKind::BrokenPipe));
    assert!(unsent == frame[10..], "{} bytes given back", unsent.len());
    expect_end(&mut peer);

    // The first ten leave in two writes, of the next ten five.
    let plan = Plan::new().writes(|call| match call {
        0..4 => Step::AtMost(5),
        _ => Step::Fail(ErrorKind::BrokenPipe),
    });
    let (remote, _server, mut peer) = connect_secure(backend, &plan);
    remote.send(frame.clone());
    let (_, unsent) = remote.expect_disconnected();
    expect_bytes(&mut peer, &mask(&frame[..15]));
    expect_end(&mut peer);
    assert!(unsent == frame[20..], "{} bytes given back", unsent.len());
}

pub(crate) fn a_layer_is_forgotten_with_its_connection(backend: &impl Backend) {
    let (remote, server, mut peer) = connect_secure(backend, &Plan::new());
    remote.take_frames_of(4);
    peer.write_all(&mask(b"whole!")).unwrap();
    remote.expect_bytes(b"whol");
    drop(peer);
    assert_eq!(remote.expect_disconnected().0, Why::Closed);
    remote.dial(server.address());
    remote.expect_connected();
    server.accept().write_all(b"another!").unwrap();
    remote.expect_bytes(b"another!");
}
