//! What real servers of each dialect answered to the same requests, byte for byte, and what the
//! fake one answers in that dialect.
//!
//! A recording is a text of one frame a line: `>` what a client sent, `<` what came back, `x` the
//! end of the connection, behind which a new one begins with a session of its own. `*` stands for
//! a digit that is never the same twice: session ids, passwords and times.
//!
//! The recordings were made by [`record`], with servers that `scripts/build-zookeeper` had built.

mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use homing_protocol::{Record, op, put_string, xid};
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig, real};
use support::{new_session, path_and_kind, path_body, unhex};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_dialects")
}

macro_rules! goldens {
    ($($name:ident $version:literal,)*) => {
        /// The versions of which there are recordings.
        const VERSIONS: &[&str] = &[$($version),*];

        $(
            #[test]
            fn $name() {
                let text = std::fs::read_to_string(folder().join(concat!($version, ".txt")));
                replay($version, &text.unwrap());
            }
        )*
    };
}

goldens! {
    a_3_4_answers_as_recorded "3.4.14",
    a_3_5_answers_as_recorded "3.5.10",
    a_3_6_answers_as_recorded "3.6.4",
    a_3_7_answers_as_recorded "3.7.2",
    a_3_8_answers_as_recorded "3.8.0",
    a_late_3_8_answers_as_recorded "3.8.6",
    a_3_9_answers_as_recorded "3.9.5",
}

#[test]
fn every_recording_is_played() {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let versions: Vec<_> = VERSIONS.iter().map(|it| format!("{it}.txt")).collect();
    assert_eq!(files, versions);
}

/// Plays a recording on a fake server in that dialect.
fn replay(version: &str, recording: &str) {
    let mut config = ServerConfig::default();
    config.speak_version(version).unwrap();
    config.extended_types_enabled = true;
    let mut server = Server::new(config);
    let now = Now {
        instant: Instant::now(),
        unix_ms: 1_700_000_000_000,
    };
    let mut connection: Option<ConnectionId> = None;
    let mut outputs: VecDeque<Output> = VecDeque::new();
    let mut about = "";
    for line in recording.lines() {
        let (mark, rest) = line.split_at(1);
        match mark {
            "#" => about = rest,
            ">" => {
                assert!(outputs.is_empty(), "{about}: more than {outputs:?}");
                let to =
                    *connection.get_or_insert_with(|| server.accept(now, [127, 0, 0, 1].into()));
                let mut input = BytesMut::from(&unhex(rest)[..]);
                server.handle_bytes(now, to, &mut input);
                outputs.extend(std::iter::from_fn(|| server.poll_output()));
            }
            "<" => match outputs.pop_front() {
                Some(Output::Send(to, frame)) if Some(to) == connection => {
                    let got = hex(&frame);
                    assert!(is_like(rest.trim(), &got), "{about}:\n {rest}\n  {got}");
                }
                other => panic!("{about}: {other:?} in place of {rest}"),
            },
            "x" => {
                let end = connection.take().map(Output::Close);
                assert_eq!(outputs.pop_front(), end, "{about}");
            }
            other => panic!("{other}"),
        }
    }
    assert!(outputs.is_empty(), "{about}: more than {outputs:?}");
}

fn is_like(pattern: &str, text: &str) -> bool {
    let fits = |(pattern, digit): (char, char)| pattern == '*' || pattern == digit;
    pattern.len() == text.len() && pattern.chars().zip(text.chars()).all(fits)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// ---- what is asked -----------------------------------------------------------------------------

const OPEN: &[(i32, &str, &str)] = &[(31, "world", "anyone")];

fn acl(out: &mut BytesMut, entries: &[(i32, &str, &str)]) {
    out.put_i32(entries.len() as i32);
    for (permissions, scheme, id) in entries {
        out.put_i32(*permissions);
        put_string(out, scheme);
        put_string(out, id);
    }
}

fn create(path: &str, entries: &[(i32, &str, &str)], flags: i32) -> Vec<u8> {
    let mut body = BytesMut::from(&path_body(path).0[..]);
    put_string(&mut body, "hi");
    acl(&mut body, entries);
    body.put_i32(flags);
    body.into()
}

fn with_version(path: &str, version: i32) -> Vec<u8> {
    path_and_kind(path, version).0
}

fn watched(path: &str) -> Vec<u8> {
    [path_body(path).0, vec![1]].concat()
}

fn unwatched(path: &str) -> Vec<u8> {
    [path_body(path).0, vec![0]].concat()
}

fn multi(ops: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut body = BytesMut::new();
    let mut header = |op: i32, done: u8, rest: &[u8]| {
        body.put_i32(op);
        body.put_u8(done);
        body.put_i32(-1);
        body.put_slice(rest);
    };
    for (op, rest) in ops {
        header(*op, 0, rest);
    }
    header(-1, 1, &[]);
    body.into()
}

fn auth(credentials: &str) -> Vec<u8> {
    let mut body = BytesMut::from(&[0; 4][..]);
    put_string(&mut body, "digest");
    put_string(&mut body, credentials);
    body.into()
}

/// What to ask for, each with a word about it. Whatever is unknown costs the connection.
fn script() -> Vec<(&'static str, i32, Vec<u8>)> {
    let no_acl = [&create("/none", &[], 0)[..14], &[0xff; 4], &[0; 4]].concat();
    let secret: &[_] = &[(31, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")];
    let read_only: &[_] = &[(1, "world", "anyone")];
    let ttl = |path, flags: i32, ttl: i64| {
        [create(path, OPEN, flags), ttl.to_be_bytes().to_vec()].concat()
    };
    vec![
        (
            "the nodes of an empty server",
            op::GET_CHILDREN2,
            unwatched("/zookeeper"),
        ),
        (
            "its configuration",
            op::GET_DATA,
            unwatched("/zookeeper/config"),
        ),
        ("create", op::CREATE, create("/a", OPEN, 0)),
        ("its stat", op::EXISTS, unwatched("/a")),
        ("create2", op::CREATE2, create("/b", OPEN, 0)),
        ("a container", op::CREATE_CONTAINER, create("/c", OPEN, 4)),
        ("a time to live", op::CREATE_TTL, ttl("/t", 5, 100_000)),
        (
            "a mode that is none, and no list",
            op::CREATE,
            create("/x", &[], 7),
        ),
        ("a list that is null", op::CREATE, no_acl.clone()),
        (
            "a subnet",
            op::CREATE,
            create("/n", &[(31, "ip", "10.0.0.0/8")], 0),
        ),
        (
            "an address of IPv6",
            op::CREATE,
            create("/6", &[(31, "ip", "::1")], 0),
        ),
        ("a node for reading", op::CREATE, create("/r", read_only, 0)),
        (
            "nothing below it may be deleted",
            op::DELETE,
            with_version("/r/x", -1),
        ),
        ("a node for bob", op::CREATE, create("/s", secret, 0)),
        ("whether it is there", op::EXISTS, unwatched("/s")),
        ("its list", op::GET_ACL, path_body("/s").0),
        (
            "check alone, of no node",
            op::CHECK,
            with_version("/nope", 0),
        ),
        (
            "check alone, of another version",
            op::CHECK,
            with_version("/a", 7),
        ),
        ("a create that cannot be read", op::CREATE, vec![0, 0]),
        ("the number behind it", op::SYNC, path_body("/").0),
        (
            "a multi of creates of all kinds",
            op::MULTI,
            multi(&[
                (op::CREATE, create("/m", OPEN, 0)),
                (op::CREATE2, create("/m/2", OPEN, 0)),
                (op::CREATE_CONTAINER, create("/m/c", OPEN, 0)),
                (op::CREATE, create("/m/4", OPEN, 4)),
                (op::CREATE_TTL, ttl("/m/t", 0, 1000)),
            ]),
        ),
        (
            "a multi of plain ones",
            op::MULTI,
            multi(&[
                (op::CREATE, create("/m1", OPEN, 0)),
                (op::CHECK, with_version("/a", 0)),
            ]),
        ),
        (
            "one with a mode that is none",
            op::MULTI,
            multi(&[(op::CREATE, create("/m7", OPEN, 7))]),
        ),
        (
            "one with a list that is null",
            op::MULTI,
            multi(&[(op::CREATE, no_acl)]),
        ),
        (
            "one with reads",
            op::MULTI,
            multi(&[(op::GET_DATA, unwatched("/a"))]),
        ),
        (
            "one that fails",
            op::MULTI,
            multi(&[
                (op::DELETE, with_version("/a", -1)),
                (op::CHECK, with_version("/a", 7)),
            ]),
        ),
        (
            "reads of several",
            op::MULTI_READ,
            multi(&[(op::GET_DATA, unwatched("/a"))]),
        ),
        ("a watch", op::EXISTS, watched("/w")),
        ("what it sees", op::CREATE, create("/w", OPEN, 0)),
        ("a watch for good", op::ADD_WATCH, path_and_kind("/a", 0).0),
        ("and one for once", op::GET_DATA, watched("/a")),
        ("those of data", op::CHECK_WATCHES, path_and_kind("/a", 2).0),
        (
            "those that stay",
            op::CHECK_WATCHES,
            path_and_kind("/a", 4).0,
        ),
        (
            "those of another path",
            op::CHECK_WATCHES,
            path_and_kind("a", 3).0,
        ),
        (
            "a change",
            op::SET_DATA,
            [path_body("/a").0, vec![0, 0, 0, 1, 33], vec![0xff; 4]].concat(),
        ),
        (
            "and another one",
            op::SET_DATA,
            [path_body("/a").0, vec![0, 0, 0, 1, 34], vec![0xff; 4]].concat(),
        ),
        (
            "no more watches",
            op::REMOVE_WATCHES,
            path_and_kind("/a", 3).0,
        ),
        (
            "watches of before",
            op::SET_WATCHES2,
            [vec![0; 8], vec![0; 20]].concat(),
        ),
        ("one's own nodes", op::GET_EPHEMERALS, path_body("/").0),
        (
            "all nodes",
            op::GET_ALL_CHILDREN_NUMBER,
            path_body("/zookeeper").0,
        ),
        ("an identity", op::AUTH, auth("bob:pw")),
        ("who one is", op::WHO_AM_I, Vec::new()),
        ("another configuration", op::RECONFIG, vec![0xff; 20]),
        ("no operation at all", 99, Vec::new()),
        ("the end", op::CLOSE_SESSION, Vec::new()),
    ]
}

// ---- recording ---------------------------------------------------------------------------------

/// Asks a real server, and writes down what it says. Run it with
/// `cargo test -p homing-testkit --test golden_dialects record -- --ignored` for each version.
#[test]
#[ignore = "it makes the recordings"]
fn record() {
    let Some(_) = real::requirement() else {
        return;
    };
    let builder = real::ZooKeeper::builder().tick_time(Duration::from_secs(2));
    let server = builder.start().unwrap();
    let mut recording = String::new();
    let mut connection = None;
    for (number, (about, op, body)) in (1..).zip(script()) {
        let (socket, session) = connection.get_or_insert_with(|| begin(&server, &mut recording));
        let xid = if op == op::AUTH { xid::AUTH } else { number };
        let mut frame = BytesMut::new();
        frame.put_i32(8 + body.len() as i32);
        frame.put_i32(xid);
        frame.put_i32(op);
        frame.put_slice(&body);
        writeln!(recording, "# {about}\n> {}", hex(&frame)).unwrap();
        socket.write_all(&frame).unwrap();
        let mut is_over = false;
        while !is_over {
            let Some(answer) = read(socket) else { break };
            writeln!(recording, "< {}", masked(&answer, session)).unwrap();
            is_over = answer[4..8] == xid.to_be_bytes();
        }
        if !is_over || has_ended(socket) {
            recording.push_str("x\n");
            connection = None;
        }
    }
    let name = format!("{}.txt", server.version());
    std::fs::write(folder().join(name), recording).unwrap();
}

fn begin(server: &real::ZooKeeper, recording: &mut String) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(server.addr()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = new_session(30_000);
    let mut frame = BytesMut::new();
    frame.put_i32(request.encoded_len() as i32);
    request.encode(&mut frame);
    socket.write_all(&frame).unwrap();
    let answer = read(&mut socket).unwrap();
    let session = hex(&answer[12..20]);
    let mut told = hex(&answer);
    told.replace_range(24..40, &"*".repeat(16));
    told.replace_range(48..80, &"*".repeat(32));
    writeln!(recording, "# a session\n> {}\n< {told}", hex(&frame)).unwrap();
    (socket, session)
}

/// A whole frame, or `None` for the end.
fn read(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    socket.read_exact(&mut frame).ok()?;
    let len = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(4 + len, 0);
    socket.read_exact(&mut frame[4..]).unwrap();
    Some(frame)
}

/// Whether the server has hung up: it does so right behind its answer.
fn has_ended(socket: &mut TcpStream) -> bool {
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let read = socket.read(&mut [0]);
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    match read {
        Ok(0) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        Ok(_) => panic!("more than one answer"),
    }
}

/// Without the session's id, and without what is a time of this day.
fn masked(frame: &[u8], session: &str) -> String {
    let mut text = hex(frame).replace(session, &"*".repeat(16));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let day = hex(&(now.as_millis() as u64).to_be_bytes())[..8].to_owned();
    while let Some(at) = text.find(&day) {
        text.replace_range(at..at + 16, &"*".repeat(16));
    }
    text
}
