//! The server on a socket, and the faults that need one.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, ConnectRequest, ConnectResponse, Create, CreateMode, Empty, GetData, Record, ReplyHeader,
    RequestHeader, op, put_request,
};
use homing_testkit::{CloseReason, ConnectionEventKind, FakeServer};
use support::{new_session, path_and_kind};

const PERSISTENT: i32 = 0;
const ANY_VERSION: i32 = -1;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);

struct Client {
    socket: TcpStream,
    session: ConnectResponse,
    xid: i32,
}

impl Client {
    fn connect(server: &FakeServer) -> Self {
        Self::with(server, &new_session(10_000)).expect("an answer")
    }

    fn again(&self, server: &FakeServer) -> Option<Self> {
        let request = ConnectRequest {
            session_id: self.session.session_id,
            password: self.session.password,
            ..new_session(10_000)
        };
        Self::with(server, &request)
    }

    fn with(server: &FakeServer, request: &ConnectRequest) -> Option<Self> {
        let mut socket = dial(server.addr());
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
        request.encode(&mut frame);
        // A connection that is refused may be gone before this.
        let _ = socket.write_all(&frame);
        let response = read_frame(&mut socket)?;
        let session = ConnectResponse::decode(&response).unwrap();
        Some(Self {
            socket,
            session,
            xid: 0,
        })
    }

    fn send(&mut self, op: i32, body: &impl Record) {
        self.xid += 1;
        let mut frame = BytesMut::new();
        put_request(&mut frame, RequestHeader { xid: self.xid, op }, body);
        self.socket.write_all(&frame).unwrap();
    }

    /// The next reply, or `None` when the connection is gone.
    fn receive(&mut self) -> Option<ReplyHeader> {
        let frame = read_frame(&mut self.socket)?;
        Some(ReplyHeader::decode(&frame).unwrap())
    }

    fn create(&mut self, path: &str) -> Option<ReplyHeader> {
        self.send_create(path, b"");
        self.receive()
    }

    fn send_create(&mut self, path: &str, data: &[u8]) {
        let acl = [Acl::open()];
        let mode = CreateMode::Persistent;
        self.send(
            op::CREATE,
            &Create {
                path: path.into(),
                data,
                acl: &acl,
                mode,
            },
        );
    }

    /// Whether nothing comes within a moment.
    fn is_left_alone(&mut self) -> bool {
        self.socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let result = self.socket.peek(&mut [0]);
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
        result.is_err_and(|error| kinds.contains(&error.kind()))
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn read_frame(socket: &mut TcpStream) -> Option<Bytes> {
    let mut len = [0; 4];
    match socket.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer"),
        Err(_) => return None,
    }
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut frame).ok()?;
    Some(frame.into())
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
    let mut client = Client::connect(&server);
    assert_eq!(client.create("/a").unwrap().err, 0);
    assert_eq!(client.create("/a").unwrap().err, -110);
    assert!(server.with_server(|server| server.node_exists("/a")));
    client.send(op::CLOSE_SESSION, &Empty);
    assert_eq!(client.receive().unwrap().err, 0);
    assert_eq!(client.receive(), None);
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
    let mut frames = BytesMut::new();
    frames.extend_from_slice(&45_u32.to_be_bytes());
    new_session(10_000).encode(&mut frames);
    for xid in 1..=1000 {
        let body = GetData {
            path: "/".into(),
            watch: false,
        };
        put_request(
            &mut frames,
            RequestHeader {
                xid,
                op: op::GET_DATA,
            },
            &body,
        );
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
fn a_stopped_server_refuses_and_a_restarted_one_has_kept_its_state() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    client.create("/kept").unwrap();

    server.stop();
    assert_eq!(client.receive(), None);
    let refused = TcpStream::connect(server.addr()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    server.restart().unwrap();
    let mut again = client.again(&server).unwrap();
    assert_eq!(again.session.session_id, client.session.session_id);
    assert_eq!(again.create("/kept").unwrap().err, -110);

    // Also without a stop.
    server.restart().unwrap();
    assert_eq!(again.receive(), None);
    assert!(again.again(&server).is_some());
}

#[test]
fn cut_connections_leave_sessions() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    server.cut_connections();
    assert_eq!(client.receive(), None);
    let again = client.again(&server).unwrap();
    assert_eq!(again.session.session_id, client.session.session_id);
}

#[test]
fn a_paused_server_is_silent_and_then_catches_up() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    server.pause();
    client.send_create("/a", b"");
    assert!(client.is_left_alone());
    assert!(!server.with_server(|server| server.node_exists("/a")));
    // It is a stalled process, not a closed port.
    let mut other = dial(server.addr());
    server.resume();
    assert_eq!(client.receive().unwrap().err, 0);
    other.write_all(b"srvr").unwrap();
    assert!(other.read(&mut [0; 16]).unwrap() > 0);
}

#[test]
fn latency_delays_replies_and_keeps_their_order() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    let latency = Duration::from_millis(30);
    server.latency(latency);
    let start = Instant::now();
    client.send_create("/a", b"");
    client.send_create("/b", b"");
    assert_eq!(client.receive().unwrap().xid, 1);
    assert!(start.elapsed() >= latency);
    server.latency(Duration::ZERO);
    client.send_create("/c", b"");
    assert_eq!(client.receive().unwrap().xid, 2);
    assert_eq!(client.receive().unwrap().xid, 3);
    // The end of a session is delayed as well, and its reply still comes first.
    server.latency(latency);
    client.send(op::CLOSE_SESSION, &Empty);
    assert_eq!(client.receive().unwrap().err, 0);
    assert_eq!(client.receive(), None);
}

#[test]
fn an_expired_session_loses_its_connection_and_cannot_come_back() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    assert!(server.expire_session(client.session.session_id));
    assert!(!server.expire_session(client.session.session_id));
    assert_eq!(client.receive(), None);
    let again = client.again(&server).unwrap();
    assert_eq!((again.session.timeout_ms, again.session.session_id), (0, 0));
}

#[test]
fn refused_connections_are_closed_at_once() {
    let server = FakeServer::start();
    let mut before = Client::connect(&server);
    server.refuse_connections(true);
    assert!(Client::with(&server, &new_session(10_000)).is_none());
    assert_eq!(before.create("/a").unwrap().err, 0);
    server.refuse_connections(false);
    assert!(Client::with(&server, &new_session(10_000)).is_some());
    assert_eq!(server.connections_accepted(), 3);
}

#[test]
fn a_write_can_be_cut_off_before_and_after_it_is_applied() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    server.cut_after_apply(2);
    assert_eq!(client.create("/a").unwrap().err, 0);
    assert_eq!(client.create("/b"), None);
    assert!(server.with_server(|server| server.node_exists("/b")));

    let mut client = client.again(&server).unwrap();
    server.cut_before_apply(1);
    assert_eq!(client.create("/c"), None);
    assert!(!server.with_server(|server| server.node_exists("/c")));
}

#[test]
fn a_client_that_reads_nothing_is_not_read_from() {
    let server = FakeServer::start();
    let mut client = Client::connect(&server);
    client.send_create("/big", &vec![7; 1_000_000]);
    assert_eq!(client.receive().unwrap().err, 0);

    // 400 MB of answers are asked for, in half a second's worth of requests.
    let mut frames = BytesMut::new();
    for xid in 0..400 {
        let body = GetData {
            path: "/big".into(),
            watch: false,
        };
        put_request(
            &mut frames,
            RequestHeader {
                xid,
                op: op::GET_DATA,
            },
            &body,
        );
    }
    client.socket.write_all(&frames).unwrap();
    assert_eq!(client.receive().unwrap().xid, 0);
    let served = server.requests_received();
    assert!(served < 100, "{served} requests were served ahead");

    // Others go on, and so does this one as soon as it reads.
    assert_eq!(Client::connect(&server).create("/other").unwrap().err, 0);
    for xid in 1..400 {
        assert_eq!(client.receive().unwrap().xid, xid);
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
    let mut busy = Client::connect(&server);
    let parent = format!("/{}", "x".repeat(500_000));
    let child = format!("{parent}/a");
    assert_eq!(busy.create(&parent).unwrap().err, 0);
    // Its session is not to expire meanwhile.
    let mut idle = Client::with(&server, &new_session(600_000)).unwrap();
    for path in [&parent, &child] {
        idle.send(op::ADD_WATCH, &path_and_kind(path, PERSISTENT));
        assert_eq!(idle.receive().unwrap().err, 0);
    }
    let mut len = 0;
    while server.with_server(|server| server.connection_count()) == 2 {
        assert!(len < 200_000_000, "{len} bytes are kept for it");
        assert_eq!(busy.create(&child).unwrap().err, 0);
        busy.send(op::DELETE, &path_and_kind(&child, ANY_VERSION));
        assert_eq!(busy.receive().unwrap().err, 0);
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
    let mut client = Client::connect(&server);
    let mut other = Client::connect(&server);
    // Longer than this part takes.
    server.latency(SOON * 60);
    for n in 0..10 {
        client.send_create(&format!("/{n}"), b"");
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
    other.send_create("/other", b"");
    other.send_create("/another", b"");
    reaches(5);
    // What is said about it waits for nobody.
    server.latency(Duration::ZERO);
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
    let mut client = Client::connect(&server);
    server.latency(Duration::from_millis(5));
    for n in 0..50 {
        client.send_create(&format!("/{n}"), b"");
    }
    for xid in 1..=50 {
        let reply = client.receive().unwrap();
        assert_eq!((reply.xid, reply.err), (xid, 0));
    }
    assert!(server.with_server(|server| server.node_exists("/49")));
}

#[test]
fn connections_are_counted_from_everywhere() {
    let server = FakeServer::builder().max_connections(2).start().unwrap();
    let mut first = Client::connect(&server);
    let _second = Client::connect(&server);
    assert!(Client::with(&server, &new_session(10_000)).is_none());
    first.send(op::CLOSE_SESSION, &Empty);
    assert_eq!(first.receive().unwrap().err, 0);
    assert_eq!(first.receive(), None);
    Client::connect(&server);
}

#[test]
fn a_silent_session_expires_by_the_clock() {
    let server = FakeServer::builder()
        .tick_time(Duration::from_millis(10))
        .start()
        .unwrap();
    let start = Instant::now();
    let mut client = Client::with(&server, &new_session(20)).unwrap();
    assert_eq!(client.session.timeout_ms, 20);
    assert_eq!(client.receive(), None);
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
    assert_eq!(Client::connect(&server).create("/a").unwrap().err, 0);
}

#[test]
fn times_without_an_end_are_long_and_no_more() {
    let server = FakeServer::builder()
        .handshake_timeout(Duration::MAX)
        .start()
        .unwrap();
    let mut client = Client::connect(&server);
    server.latency(Duration::MAX);
    client.send(op::PING, &Empty);
    let end = Instant::now() + SOON;
    while server.requests_received() == 0 && Instant::now() < end {
        std::thread::yield_now();
    }
    // Its thread is there, and serves others.
    server.latency(Duration::ZERO);
    Client::connect(&server);
}
