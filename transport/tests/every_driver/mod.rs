//! What every driver must do: one list, run by each transport's tests on streams of its own.

pub(crate) mod engine;
pub(crate) mod layer;
pub(crate) mod plan;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use homing_transport::{Action, Asked, Driver, Engine, Question, Signal};

use engine::{Event, Remote, Why};
use layer::{Toy, begin, mask};
use plan::{DialStep, Plan, Step};

/// A transport, over TCP streams that are disturbed as planned.
pub(crate) trait Backend {
    fn start(&self, plan: Plan, engine: Box<dyn Engine>) -> Arc<dyn Driver>;
}

/// Makes a test of everything in the list. What is missing here is unused, which the compiler
/// tells.
macro_rules! every_driver {
    ($backend:expr) => {
        $crate::every_driver::every_driver! { $backend =>
            bytes_go_both_ways,
            short_writes_lose_nothing,
            short_reads_lose_nothing,
            would_block_at_every_position_loses_nothing,
            what_a_stream_does_not_take_is_written_later,
            frames_leave_though_they_come_one_by_one,
            a_frame_may_come_in_pieces,
            a_half_frame_is_forgotten_with_its_connection,
            the_end_of_the_stream_is_told_once,
            data_before_the_end_is_delivered,
            what_is_left_of_an_ended_stream_is_read,
            an_end_that_comes_with_the_connection_is_not_missed,
            a_reset_is_told_once,
            a_failed_read_is_told_once,
            a_failed_write_is_told_once,
            what_follows_a_failed_write_is_done_at_once,
            what_arrived_before_a_write_failed_is_delivered,
            a_write_of_nothing_is_a_failure,
            a_refused_dial_is_told_once,
            a_dial_that_cannot_begin_is_told_once,
            dialling_again_at_once_is_possible_each_time,
            a_dial_can_be_given_up,
            a_connection_can_be_given_up,
            giving_up_what_has_just_ended_is_told_once,
            giving_up_nothing_says_nothing,
            what_was_not_written_is_given_back,
            stop_drops_the_engine,
            a_ring_after_the_end_does_nothing,
            names_are_looked_up,
            a_name_that_does_not_resolve_is_told,
            only_the_last_lookup_is_answered,
            a_question_is_asked_beside_the_stream,
            a_question_is_asked_through_a_layer,
            a_question_that_nobody_answers_is_told,
            the_first_turn_comes_by_itself,
            an_idle_driver_sleeps,
            a_stalled_peer_keeps_nobody_busy,
            a_layers_bytes_go_both_ways,
            a_layer_counts_as_open_when_its_handshake_is_done,
            a_layer_that_cannot_begin_is_told_once,
            a_refused_handshake_is_told_once,
            an_end_in_the_handshake_is_a_failure_of_the_layer,
            what_comes_before_a_layers_error_is_delivered,
            the_end_of_a_layer_is_the_end_of_the_stream,
            a_layer_says_goodbye,
            what_a_layer_has_not_taken_is_given_back,
            a_layer_is_forgotten_with_its_connection,
            a_turn_is_taken_when_it_is_time,
            an_engine_that_refuses_to_sleep_has_another_turn,
            wakers_are_called,
        }
    };
    ($backend:expr => $($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                $crate::every_driver::$name(&$backend);
            }
        )*
    };
}
pub(crate) use every_driver;

/// The other end.
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes a connection that has been made already.
    pub(crate) fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(engine::PATIENCE)).unwrap();
        stream
    }
}

/// A driver with a connection, and the other end of it.
fn connect(backend: &impl Backend, plan: &Plan) -> (Remote, Server, TcpStream) {
    let (remote, server) = (Remote::start(backend, plan), Server::new());
    remote.dial(server.address());
    remote.expect_connected();
    let peer = server.accept();
    (remote, server, peer)
}

#[track_caller]
fn expect_bytes(peer: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exact(&mut bytes).unwrap();
    assert!(bytes == expected, "other bytes than expected");
}

#[track_caller]
pub(crate) fn expect_end(peer: &mut TcpStream) {
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

/// Bytes of which no two places look alike for long.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

// Bytes.

pub(crate) fn bytes_go_both_ways(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    for text in ["ping", "another"] {
        remote.send(text);
        expect_bytes(&mut peer, text.as_bytes());
        peer.write_all(text.as_bytes()).unwrap();
        remote.expect_bytes(text.as_bytes());
    }
}

/// Both directions at once, piece by piece.
pub(crate) fn exchange(backend: &impl Backend, plan: &Plan, context: &str) {
    let (remote, _server, mut peer) = connect(backend, plan);
    remote.take_frames_of(4);
    let question = noise(24);
    remote.send_all(question.chunks(5).map(<[u8]>::to_vec));
    peer.write_all(b"0123456789abcdef").unwrap();
    expect_bytes(&mut peer, &question);
    remote.expect_bytes(b"0123456789abcdef");
    peer.write_all(b"last").unwrap();
    drop(peer);
    remote.expect_bytes(b"last");
    let expected = (Why::Closed, Vec::new());
    assert_eq!(remote.expect_disconnected(), expected, "{context}");
    remote.stop();
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

/// In bytes. A loopback connection takes a few MiB, for both ends together.
const LARGER_THAN_ALL_BUFFERS: usize = 32 << 20;

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

// The end of a connection.

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

/// A server that has written and closed before its client hears that it is connected.
fn writes_and_ends(
    server: &Arc<Server>,
    data: &[u8],
) -> impl FnMut(usize) -> DialStep + Send + 'static {
    let (server, data) = (Arc::clone(server), data.to_vec());
    move |call| {
        let (server, data) = (Arc::clone(&server), data.clone());
        match call {
            0 => DialStep::After(Box::new(move || {
                server.accept().write_all(&data).unwrap();
            })),
            _ => DialStep::Pass,
        }
    }
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

// Dialling and giving up.

/// An address at which nobody listens.
fn nowhere() -> SocketAddr {
    Server::new().address()
}

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

// Names.

pub(crate) fn names_are_looked_up(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    remote.resolve("localhost", 2181);
    let Event::Resolved(Ok(addresses)) = remote.next() else {
        panic!("localhost does not resolve");
    };
    assert!(!addresses.is_empty());
    for address in addresses {
        assert!(address.ip().is_loopback(), "{address}");
        assert_eq!(address.port(), 2181);
    }
}

pub(crate) fn a_name_that_does_not_resolve_is_told(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    // No part of a name is that long: it is refused before anybody is asked.
    let host = format!("{}.invalid", "x".repeat(64));
    remote.resolve(&host, 2181);
    match remote.next() {
        Event::Resolved(Err(_)) => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) fn only_the_last_lookup_is_answered(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    for port in 1..=20 {
        // The second one is asked for before anything could be done about the first.
        remote.react(move |event| match event {
            Event::Connected => vec![
                Action::Resolve {
                    host: "127.0.0.1".into(),
                    port,
                },
                Action::Resolve {
                    host: "127.0.0.1".into(),
                    port: port + 1_000,
                },
            ],
            _ => Vec::new(),
        });
        let server = Server::new();
        remote.dial(server.address());
        remote.expect_connected();
        match remote.next() {
            Event::Resolved(Ok(addresses)) => assert_eq!(addresses[0].port(), port + 1_000),
            other => panic!("{other:?}"),
        }
        remote.act(Action::HangUp);
        remote.expect_disconnected();
    }
}

fn question(address: SocketAddr) -> Question {
    Question {
        host: address.ip().to_string(),
        port: address.port(),
        question: b"well?",
        answer_len_max: 16,
        within: Duration::from_secs(60),
        layer: None,
    }
}

pub(crate) fn a_question_is_asked_beside_the_stream(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    let other = Server::new();
    for answer in [&b"yes"[..], b""] {
        remote.act(Action::Ask(question(other.address())));
        let mut asker = other.accept();
        expect_bytes(&mut asker, b"well?");
        asker.write_all(answer).unwrap();
        drop(asker);
        let asked = Asked {
            address: other.address(),
            answer: answer.to_vec(),
        };
        assert_eq!(remote.next(), Event::Answered(Ok(asked)));
    }
    // The stream knows nothing of it.
    remote.send(*b"on");
    expect_bytes(&mut peer, b"on");
}

pub(crate) fn a_question_is_asked_through_a_layer(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    // An end that is said, and one that may be a cut.
    for ends in [&b"."[..], b""] {
        let mut question = question(server.address());
        question.layer = Some(layer::layer(Toy::default()));
        remote.act(Action::Ask(question));
        let mut asker = server.accept();
        expect_bytes(&mut asker, b"HELLO");
        asker.write_all(b"WELCOME").unwrap();
        expect_bytes(&mut asker, &mask(b"well?"));
        asker
            .write_all(&[&mask(b"yes")[..], ends].concat())
            .unwrap();
        drop(asker);
        match remote.next() {
            Event::Answered(Ok(asked)) => {
                assert_eq!((&asked.answer[..], ends), (&b"yes"[..], &b"."[..]));
            }
            Event::Answered(Err(_)) => assert_eq!(ends, b""),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn a_question_that_nobody_answers_is_told(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    remote.act(Action::Ask(question(nowhere())));
    match remote.next() {
        Event::Answered(Err(_)) => {}
        other => panic!("{other:?}"),
    }
}

// Layers.

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

// Sleeping and waking.

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
