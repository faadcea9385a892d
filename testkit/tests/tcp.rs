//! The server on a socket, and the faults that need one.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{Acl, Create, CreateMode, Empty, ReplyHeader, op};
use homing_testkit::{CloseReason, ConnectionEventKind, FakeServer};
use support::socket::{Client, SOON, dial, read_frame};
use support::{create_body, get_body, handshake_frame, new_session, path_and_kind, request_frame};

const PERSISTENT: i32 = 0;
const ANY_VERSION: i32 = -1;

fn connect(server: &FakeServer) -> Client {
    Client::with(server.addr(), &new_session(10_000)).expect("an answer")
}

/// The session of a client, on another connection.
fn resume(client: &Client, server: &FakeServer) -> Option<Client> {
    Client::with(server.addr(), &client.again(0))
}

fn create(client: &mut Client, path: &str) -> Option<i32> {
    send_create(client, path);
    client.receive().map(|answer| answer.err())
}

fn send_create(client: &mut Client, path: &str) {
    client.send(
        op::CREATE,
        &create_body(path, &[Acl::open()], CreateMode::Persistent),
    );
}

/// Whether nothing comes within a moment.
fn is_left_alone(client: &Client) -> bool {
    let moment = Duration::from_millis(50);
    client.socket.set_read_timeout(Some(moment)).unwrap();
    let result = client.socket.peek(&mut [0]);
    client.socket.set_read_timeout(Some(SOON)).unwrap();
    let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
    result.is_err_and(|error| kinds.contains(&error.kind()))
}

/// Asks a four-letter word, and closes the own end first as `nc` does.
fn ask(server: &FakeServer, word: &str) -> String {
    let mut socket = dial(server.addr());
    socket.write_all(word.as_bytes()).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_session_lives_on_a_socket() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    assert_eq!(create(&mut client, "/a").unwrap(), 0);
    assert_eq!(create(&mut client, "/a").unwrap(), -110);
    assert!(server.with_server(|server| server.node_exists("/a")));
    client.send(op::CLOSE_SESSION, &Empty);
    assert_eq!(client.receive().unwrap().err(), 0);
    assert!(client.receive().is_none());
    assert_eq!(server.with_server(|server| server.sessions().len()), 0);
    assert_eq!(
        (server.connections_accepted(), server.requests_received()),
        (1, 3)
    );
}

#[test]
fn requests_may_follow_the_handshake_without_waiting() {
    let server = FakeServer::start();
    let mut socket = dial(server.addr());
    let mut frames = handshake_frame(&new_session(10_000));
    for xid in 1..=1000 {
        frames.unsplit(request_frame(xid, op::GET_DATA, &get_body("/", false)));
    }
    socket.write_all(&frames).unwrap();
    assert_eq!(read_frame(&mut socket).unwrap().len(), 37);
    for xid in 1..=1000 {
        let frame = read_frame(&mut socket).unwrap();
        assert_eq!(ReplyHeader::decode(&frame).unwrap().xid, xid);
    }
}

#[test]
fn a_four_letter_word_is_answered_to_a_half_closed_connection() {
    let server = FakeServer::builder()
        .config(|config| config.four_letter_words = vec!["*".into()])
        .start()
        .unwrap();
    assert_eq!(ask(&server, "ruok"), "imok");
    assert_eq!(ask(&server, "isro"), "rw");
}

#[test]
fn what_is_not_answered_when_somebody_says_no_more_is_lost_and_done() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    assert_eq!(create(&mut client, "/answered"), Some(0));
    // Both are there when the server looks.
    server.pause();
    let acl = [Acl::open()];
    client.send(op::CREATE, &create_body("/a", &acl, CreateMode::Persistent));
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    server.resume();
    assert!(client.receive().is_none());
    assert!(server.with_server(|server| server.node_exists("/a")));
}

#[test]
fn a_stopped_server_refuses_and_a_restarted_one_has_kept_its_state() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    create(&mut client, "/kept").unwrap();

    server.stop();
    assert!(client.receive().is_none());
    let refused = TcpStream::connect(server.addr()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    server.restart().unwrap();
    let mut again = resume(&client, &server).unwrap();
    assert_eq!(again.session.session_id, client.session.session_id);
    assert_eq!(create(&mut again, "/kept").unwrap(), -110);

    // Also without a stop.
    server.restart().unwrap();
    assert!(again.receive().is_none());
    assert!(resume(&again, &server).is_some());
}

#[test]
fn cut_connections_leave_sessions() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    server.cut_connections();
    assert!(client.receive().is_none());
    let again = resume(&client, &server).unwrap();
    assert_eq!(again.session.session_id, client.session.session_id);
}

#[test]
fn a_paused_server_is_silent_and_then_catches_up() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    server.pause();
    send_create(&mut client, "/a");
    assert!(is_left_alone(&client));
    assert!(!server.with_server(|server| server.node_exists("/a")));
    // It is a stalled process, not a closed port.
    let mut other = dial(server.addr());
    server.resume();
    assert_eq!(client.receive().unwrap().err(), 0);
    other.write_all(b"srvr").unwrap();
    assert!(other.read(&mut [0; 16]).unwrap() > 0);
}

#[test]
fn latency_delays_replies_and_keeps_their_order() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    let latency = Duration::from_millis(30);
    server.latency(latency);
    let start = Instant::now();
    send_create(&mut client, "/a");
    send_create(&mut client, "/b");
    assert_eq!(client.receive().unwrap().err(), 0);
    assert!(start.elapsed() >= latency);
    server.latency(Duration::ZERO);
    send_create(&mut client, "/c");
    assert_eq!(client.receive().unwrap().header.xid, 2);
    assert_eq!(client.receive().unwrap().header.xid, 3);
    // The end of a session is delayed as well, and its reply still comes first.
    server.latency(latency);
    client.send(op::CLOSE_SESSION, &Empty);
    assert_eq!(client.receive().unwrap().err(), 0);
    assert!(client.receive().is_none());
}

#[test]
fn an_expired_session_loses_its_connection_and_cannot_come_back() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    assert!(server.expire_session(client.session.session_id));
    assert!(!server.expire_session(client.session.session_id));
    assert!(client.receive().is_none());
    let again = resume(&client, &server).unwrap();
    assert_eq!((again.session.timeout_ms, again.session.session_id), (0, 0));
}

#[test]
fn refused_connections_are_closed_at_once() {
    let server = FakeServer::start();
    let mut before = connect(&server);
    server.refuse_connections(true);
    assert!(Client::with(server.addr(), &new_session(10_000)).is_none());
    assert_eq!(create(&mut before, "/a").unwrap(), 0);
    server.refuse_connections(false);
    assert!(Client::with(server.addr(), &new_session(10_000)).is_some());
    assert_eq!(server.connections_accepted(), 3);
}

#[test]
fn a_write_can_be_cut_off_before_and_after_it_is_applied() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    server.cut_after_apply(2);
    assert_eq!(create(&mut client, "/a").unwrap(), 0);
    assert_eq!(create(&mut client, "/b"), None);
    assert!(server.with_server(|server| server.node_exists("/b")));

    let mut client = resume(&client, &server).unwrap();
    server.cut_before_apply(1);
    assert_eq!(create(&mut client, "/c"), None);
    assert!(!server.with_server(|server| server.node_exists("/c")));
}

#[test]
fn a_client_that_reads_nothing_is_not_read_from() {
    let server = FakeServer::start();
    let mut client = connect(&server);
    let (acl, data) = ([Acl::open()], vec![7; 1_000_000]);
    let big = Create {
        data: &data,
        ..create_body("/big", &acl, CreateMode::Persistent)
    };
    client.send(op::CREATE, &big);
    assert_eq!(client.receive().unwrap().err(), 0);

    // 400 MB of answers are asked for, in half a second's worth of requests.
    let mut frames = BytesMut::new();
    for xid in 0..400 {
        frames.unsplit(request_frame(xid, op::GET_DATA, &get_body("/big", false)));
    }
    client.socket.write_all(&frames).unwrap();
    assert_eq!(client.receive().unwrap().header.xid, 0);
    let served = server.requests_received();
    assert!(served < 100, "{served} requests were served ahead");

    // Others go on, and so does this one as soon as it reads.
    assert_eq!(create(&mut connect(&server), "/other").unwrap(), 0);
    for xid in 1..400 {
        assert_eq!(client.receive().unwrap().header.xid, xid);
    }
}

#[test]
fn a_client_that_reads_nothing_of_what_others_do_is_dropped() {
    let (tell, told) = mpsc::channel();
    let server = FakeServer::builder()
        .observe(move |event| drop(tell.send(event.kind.clone())))
        .session_timeouts(Duration::from_secs(1), Duration::from_secs(600))
        .start()
        .unwrap();
    let mut busy = connect(&server);
    let parent = format!("/{}", "x".repeat(500_000));
    let child = format!("{parent}/a");
    assert_eq!(create(&mut busy, &parent).unwrap(), 0);
    // Its session is not to expire meanwhile.
    let mut idle = Client::with(server.addr(), &new_session(600_000)).unwrap();
    for path in [&parent, &child] {
        idle.send(op::ADD_WATCH, &path_and_kind(path, PERSISTENT));
        assert_eq!(idle.receive().unwrap().err(), 0);
    }
    let mut len = 0;
    while server.with_server(|server| server.connection_count()) == 2 {
        assert!(len < 200_000_000, "{len} bytes are kept for it");
        assert_eq!(create(&mut busy, &child).unwrap(), 0);
        busy.send(op::DELETE, &path_and_kind(&child, ANY_VERSION));
        assert_eq!(busy.receive().unwrap().err(), 0);
        // It is told of the child, and of its parent's list.
        len += 2 * (child.len() + parent.len());
    }
    assert!(len > 64 << 20, "{len} bytes are not too much");
    let why = CloseReason::Backlog;
    assert!(
        told.try_iter()
            .any(|it| it == ConnectionEventKind::Closed { why })
    );
}

#[test]
fn while_too_much_is_outstanding_nothing_more_is_taken() {
    let server = FakeServer::builder()
        .outstanding_limit(3)
        .config(|config| config.four_letter_words = vec!["*".into()])
        .start()
        .unwrap();
    let mut client = connect(&server);
    let mut other = connect(&server);
    // Whoever asks a word comes later, and waits for nobody.
    server.faults("stall on connection 0".parse().unwrap());
    for n in 0..10 {
        send_create(&mut client, &format!("/{n}"));
    }
    // The fourth is one more than may be, and the last that is taken.
    let reaches = |count: usize| {
        let deadline = Instant::now() + SOON;
        while server.with_server(|server| server.node_count()) < 4 + count {
            assert!(Instant::now() < deadline, "{count} are not taken");
        }
    };
    reaches(4);
    // Whoever has nothing outstanding is heard, and then waits as well.
    send_create(&mut other, "/other");
    send_create(&mut other, "/another");
    reaches(5);
    let srvr = ask(&server, "srvr");
    assert!(srvr.contains("\nOutstanding: 5\n"), "{srvr}");
    assert_eq!(server.with_server(|server| server.node_count()), 9);
    let stat = ask(&server, "stat");
    for line in ["[0](queued=4,", "[0](queued=1,"] {
        assert!(stat.contains(line), "{line} is missing in {stat}");
    }
}

#[test]
fn what_was_not_taken_is_taken_when_replies_have_left() {
    let server = FakeServer::builder().outstanding_limit(3).start().unwrap();
    let mut client = connect(&server);
    server.latency(Duration::from_millis(5));
    for n in 0..50 {
        send_create(&mut client, &format!("/{n}"));
    }
    for xid in 1..=50 {
        let reply = client.receive().unwrap();
        assert_eq!((reply.header.xid, reply.err()), (xid, 0));
    }
    assert!(server.with_server(|server| server.node_exists("/49")));
}

#[test]
fn what_was_not_taken_yet_comes_before_the_end_behind_it() {
    let server = FakeServer::builder().outstanding_limit(3).start().unwrap();
    let mut client = connect(&server);
    server.latency(Duration::from_millis(5));
    // Requests and end come at once.
    server.faults("delay 200ms to server".parse().unwrap());
    for n in 0..50 {
        send_create(&mut client, &format!("/{n}"));
    }
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    client.wait_for_end();
    assert!(server.with_server(|server| server.node_exists("/49")));
}

#[test]
fn connections_are_counted_from_everywhere() {
    let server = FakeServer::builder().max_connections(2).start().unwrap();
    let mut first = connect(&server);
    let _second = connect(&server);
    assert!(Client::with(server.addr(), &new_session(10_000)).is_none());
    first.send(op::CLOSE_SESSION, &Empty);
    assert_eq!(first.receive().unwrap().err(), 0);
    assert!(first.receive().is_none());
    connect(&server);
}

#[test]
fn a_silent_session_expires_by_the_clock() {
    let server = FakeServer::builder()
        .tick_time(Duration::from_millis(10))
        .start()
        .unwrap();
    let start = Instant::now();
    let mut client = Client::with(server.addr(), &new_session(20)).unwrap();
    assert_eq!(client.session.timeout_ms, 20);
    assert!(client.receive().is_none());
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_taken_port_is_an_error() {
    let first = FakeServer::start();
    let second = FakeServer::builder().listen(first.addr()).start();
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
    let address = first.addr();
    drop(first);
    assert!(FakeServer::builder().listen(address).start().is_ok());
}

#[test]
fn a_panic_while_looking_leaves_the_server_usable() {
    let server = FakeServer::start();
    let look = || server.with_server(|_| panic!("an assertion that failed"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
    assert_eq!(create(&mut connect(&server), "/a").unwrap(), 0);
}

#[test]
fn times_without_an_end_are_long_and_no_more() {
    let server = FakeServer::builder()
        .handshake_timeout(Duration::MAX)
        .start()
        .unwrap();
    let mut client = connect(&server);
    server.latency(Duration::MAX);
    client.send(op::PING, &Empty);
    let end = Instant::now() + SOON;
    while server.requests_received() == 0 && Instant::now() < end {
        std::thread::yield_now();
    }
    // Its thread is there, and serves others. What it has held back is let go.
    server.latency(Duration::ZERO);
    connect(&server);
    assert_eq!(client.receive().unwrap().err(), 0);
}
