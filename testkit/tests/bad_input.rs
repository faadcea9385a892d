//! Bad input, to the fake server and to a real one: both say the same, and go on.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use homing_protocol::{ConnectRequest, ConnectResponse, SessionPassword, op};
use homing_testkit::{FakeServer, real};
use support::socket::{dial, read_frame};
use support::{handshake_frame, handshake_with_password, new_session};

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Of each answer its xid, its error, and how long its body is.
    answers: Vec<(i32, i32, usize)>,
    /// The connection is over.
    is_closed: bool,
}

/// A server under comparison, with somebody who is to notice nothing.
struct Server {
    address: SocketAddr,
    bystander: TcpStream,
}

impl Server {
    fn new(address: SocketAddr) -> Self {
        let (bystander, _) = connect(address);
        Self { address, bystander }
    }

    /// Sends something on a connection that has a session, and a ping behind it if it is to
    /// survive that: a real server may answer one more ping on a connection that it closes.
    fn send(&mut self, bytes: &[u8], survives: bool) -> Outcome {
        let (mut socket, _) = connect(self.address);
        let ping = if survives { PING } else { b"" };
        let _ = socket.write_all(&[bytes, ping].concat());
        let outcome = outcome(&mut socket);
        self.goes_on();
        outcome
    }

    /// Sends something in place of a handshake.
    fn greet(&mut self, bytes: &[u8]) -> Option<(i32, bool)> {
        let mut socket = dial(self.address);
        let _ = socket.write_all(bytes);
        let answer = read_frame(&mut socket);
        let answer = answer.map(|frame| ConnectResponse::decode(&frame).unwrap());
        self.goes_on();
        answer.map(|answer| (answer.timeout_ms, answer.session_id == 0))
    }

    fn goes_on(&mut self) {
        self.bystander.write_all(PING).unwrap();
        let pong = read_frame(&mut self.bystander).expect("the server goes on");
        assert_eq!(header(&pong), (-2, 0));
    }
}

const PING: &[u8] = b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b";

fn connect(address: SocketAddr) -> (TcpStream, ConnectResponse) {
    let mut socket = dial(address);
    socket
        .write_all(&handshake_frame(&new_session(30_000)))
        .unwrap();
    let answer = read_frame(&mut socket).expect("a handshake");
    (socket, ConnectResponse::decode(&answer).unwrap())
}

fn header(frame: &[u8]) -> (i32, i32) {
    let number = |at: usize| i32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    (number(0), number(12))
}

/// All answers up to that of the ping, or to the end.
fn outcome(socket: &mut TcpStream) -> Outcome {
    let mut answers = Vec::new();
    while let Some(frame) = read_frame(socket) {
        let (xid, err) = header(&frame);
        if xid == -2 {
            let is_closed = false;
            return Outcome { answers, is_closed };
        }
        answers.push((xid, err, frame.len() - 16));
    }
    Outcome {
        answers,
        is_closed: true,
    }
}

/// A request with this body.
fn request(op: i32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(8 + body.len()).unwrap();
    let head = [len.to_be_bytes(), 7_i32.to_be_bytes(), op.to_be_bytes()];
    [&head.concat(), body].concat()
}

fn text(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&len, text.as_bytes()].concat()
}

/// What is sent on a connection that has a session.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let open = [
        &[0, 0, 0, 1, 0, 0, 0, 31][..],
        &text("world"),
        &text("anyone"),
    ]
    .concat();
    let create = |path: &str, acl: &[u8], flags: i32| {
        let body = [&text(path), &text("x"), acl, &flags.to_be_bytes()[..]].concat();
        request(op::CREATE, &body)
    };
    let huge = i32::MAX.to_be_bytes();
    vec![
        ("a frame less than nothing long", vec![0xff; 4]),
        ("a frame as long as can be said", huge.to_vec()),
        ("a frame one too long", 0x10_0000_u32.to_be_bytes().to_vec()),
        (
            "a path longer than its frame",
            request(op::GET_DATA, &[&huge[..], b"/"].concat()),
        ),
        (
            "a path less than null long",
            request(op::GET_DATA, b"\xff\xff\xff\xfe\0"),
        ),
        ("no path", request(op::GET_DATA, b"\xff\xff\xff\xff\0")),
        ("nothing", request(op::GET_DATA, b"")),
        ("a path that is none", create("relative", &open, 0)),
        ("an empty part", create("/a//b", &open, 0)),
        ("a zero byte", create("/a\0b", &open, 0)),
        ("more entries than there are bytes", create("/a", &huge, 0)),
        ("no list at all", create("/a", &[0xff; 4], 0)),
        ("a mode that there is not", create("/a", &open, 77)),
        (
            "a list of operations without an end",
            request(op::MULTI, b"\0\0\0\x01\0\xff\xff\xff\xff"),
        ),
        (
            "data longer than the frame",
            request(op::SET_DATA, &[&text("/")[..], &huge].concat()),
        ),
        (
            "watches without end",
            request(op::SET_WATCHES, &[&[0; 8], &huge[..]].concat()),
        ),
        ("an unknown operation", request(99, b"")),
        (
            "an operation of servers among themselves",
            request(-10, b""),
        ),
        ("a login that cannot be read", request(op::AUTH, b"\0")),
        (
            "a scheme that nobody knows",
            request(
                op::AUTH,
                &[&[0; 4][..], &text("nobody"), &text("")].concat(),
            ),
        ),
        ("a token longer than the frame", request(op::SASL, &huge)),
        (
            "a token for a server without SASL",
            request(op::SASL, &text("x")),
        ),
    ]
}

#[test]
fn requests_that_make_no_sense_are_answered_as_by_a_real_server() {
    let Some(real) = real::shared() else { return };
    let fake = FakeServer::builder().extended_types(true).start().unwrap();
    let (mut fake, mut real) = (Server::new(fake.addr()), Server::new(real.addr()));
    for (what, bytes) in requests() {
        let on_fake = fake.send(&bytes, true);
        let on_real = real.send(&bytes, !on_fake.is_closed);
        assert_eq!(on_fake, on_real, "{what}");
    }
}

#[test]
fn handshakes_that_make_no_sense_are_answered_as_by_a_real_server() {
    let Some(real) = real::shared() else { return };
    let fake = FakeServer::start();
    let (mut fake, mut real) = (Server::new(fake.addr()), Server::new(real.addr()));
    let known = |server: &Server| connect(server.address).1.session_id;
    let both = [known(&fake), known(&real)];
    let with = |session_id: i64| ConnectRequest {
        session_id,
        ..new_session(10_000)
    };
    let rows: [(&str, [Vec<u8>; 2]); 9] = [
        ("no frame", [vec![0; 4], vec![0; 4]]),
        (
            "half of one",
            [b"\0\0\0\x04abcd".to_vec(), b"\0\0\0\x04abcd".to_vec()],
        ),
        (
            "a session that there is not",
            both.map(|_| handshake_frame(&with(77)).to_vec()),
        ),
        (
            "a wrong password",
            both.map(|session| handshake_frame(&with(session)).to_vec()),
        ),
        (
            "no password",
            both.map(|session| {
                let frame = handshake_frame(&ConnectRequest {
                    password: SessionPassword::NONE,
                    ..with(session)
                });
                frame.to_vec()
            }),
        ),
        (
            "a client from the future",
            both.map(|_| {
                let frame = handshake_frame(&ConnectRequest {
                    last_zxid_seen: i64::MAX,
                    ..new_session(10_000)
                });
                frame.to_vec()
            }),
        ),
        (
            "a long password",
            both.map(|_| handshake_with_password(0, 65).to_vec()),
        ),
        (
            "a longer one",
            both.map(|_| handshake_with_password(0, 1000).to_vec()),
        ),
        (
            "a long password of a session that there is not",
            both.map(|_| handshake_with_password(77, 100).to_vec()),
        ),
    ];
    for (what, [to_fake, to_real]) in rows {
        assert_eq!(fake.greet(&to_fake), real.greet(&to_real), "{what}");
    }
}
