//! Recordings that are played to servers, in the place of their clients.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::thread;
use std::time::Duration;

use homing_protocol::{ConnectRequest, CreateMode, Delete, Exists, GetChildren, op, xid};
use homing_testkit::FakeServer;
use homing_testkit::recording::{Recorder, Recording};
use homing_testkit::replay::ReplayClient;

use super::talker::{NEW_SESSION, Talker};
use super::{PATIENCE, clients, everything, fake, real, reattach, record};

/// Plays a recording to a server, and fails with what is different.
fn assert_no_difference(recording: &Recording, server: SocketAddr) {
    let client = ReplayClient::new(recording).unwrap().patience(PATIENCE);
    let differences = client.run(server).unwrap();
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// Records a client on the real server and plays it to a fake one, and the other way round.
///
/// Secrets are kept, or nobody could authenticate.
fn both_ways(talk: impl Fn(SocketAddr)) {
    let Some(server) = real() else { return };
    let recording = record(server.addr(), Recorder::new().with_secrets(), &talk);
    let fresh = fake();
    assert_no_difference(&recording, fresh.addr());

    let server = fake();
    let recording = record(server.addr(), Recorder::new().with_secrets(), &talk);
    assert_no_difference(&recording, real().unwrap().addr());
}

/// The lines of what is different when a recording is played to a server.
fn differences(recording: &Recording, server: SocketAddr) -> Vec<String> {
    let client = ReplayClient::new(recording).unwrap().patience(PATIENCE);
    let differences = client.run(server).unwrap();
    // When it was recorded is another time in each run.
    let line = |line: String| line.split_once(' ').unwrap().1.to_owned();
    differences.iter().map(|it| line(it.to_string())).collect()
}

fn assert_done(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn java_s_command_line() {
    if clients::are_wanted("zkCli.sh", clients::has_zkcli()) {
        let commands = include_str!("../other_clients/zkcli.txt");
        both_ways(|server| assert_done(&clients::zkcli(server, commands)));
    }
}

#[test]
fn kazoo_s_recipes() {
    if clients::are_wanted("kazoo", clients::has_kazoo()) {
        both_ways(|server| assert_done(&clients::kazoo(server)));
    }
}

#[test]
fn sessions_that_are_taken_up_again() {
    // With the passwords masked: they are those of the new sessions. On a server that has come far.
    let server = fake();
    server.with_server(|server| server.set_last_zxid(1_000));
    let recording = record(server.addr(), Recorder::new(), reattach);
    // On others, which have come less far and farther, sessions and transactions have other numbers.
    for zxid in [20, 1_000_000] {
        let other = fake();
        other.with_server(|server| server.set_last_zxid(zxid));
        assert_no_difference(&recording, other.addr());
        assert_eq!(other.connections_accepted(), server.connections_accepted());
    }
}

#[test]
fn sessions_that_are_taken_up_again_on_a_real_server() {
    both_ways(reattach);
}

#[test]
fn all_kinds_of_operations() {
    both_ways(everything);
}

#[test]
fn what_is_different_is_named() {
    let server = fake();
    let recording = record(server.addr(), Recorder::new(), |server| {
        let mut talker = Talker::new(server);
        talker.create("/a", CreateMode::Persistent);
        talker.get("/a", true);
        talker.set("/a", b"one");
        talker.call(
            op::GET_CHILDREN,
            &GetChildren {
                path: "/".into(),
                watch: false,
            },
        );
        talker.close();
    });
    assert_eq!(differences(&recording, fake().addr()), [""; 0]);

    // Once more: now there is such a node already.
    let created = "in xid=1 create2 zxid=0x2 ok \"/a\" \
                   stat={czxid=0x2 mzxid=0x2 pzxid=0x2 dataLength=1}";
    let read = "in xid=2 getData zxid=0x2 ok data[1]=\"x\" \
                stat={czxid=0x2 mzxid=0x2 pzxid=0x2 dataLength=1}";
    let set = "in xid=3 setData zxid=0x3 ok \
               stat={czxid=0x2 mzxid=0x3 pzxid=0x2 version=1 dataLength=3}";
    assert_eq!(
        differences(&recording, server.addr()),
        [
            format!("connection 1: recorded ok, now NodeExists (-110), {created}"),
            format!(
                "connection 1: data from byte 0 on: recorded [1] \"x\", now [3] \"one\", {read}"
            ),
            format!("connection 1: mzxid: recorded 0x2, which is 0x2 elsewhere, now 0x3, {read}"),
            format!("connection 1: version: recorded 0, now 1, {read}"),
            format!("connection 1: dataLength: recorded 1, now 3, {read}"),
            format!("connection 1: version: recorded 1, now 2, {set}"),
        ]
    );

    // Somebody who listens, and closes.
    let closes = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closes.local_addr().unwrap();
    thread::spawn(move || drop(closes.accept()));
    assert_eq!(
        differences(&recording, address),
        [
            "connection 1: recorded connected timeOut=10000 sessionId=0x0 passwd[16]=*** \
             readOnly=false, now the server closed the connection; the rest of this connection is \
             not compared"
        ]
        .map(|line| line.replace("0x0", &session_id(&recording)))
    );
}

/// The session id in the answer to the first handshake.
fn session_id(recording: &Recording) -> String {
    let text = recording.to_string();
    let connected = text
        .lines()
        .find(|line| line.contains("<- connected"))
        .unwrap();
    let id = connected.split_once("sessionId=").unwrap().1;
    id.split(' ').next().unwrap().to_owned()
}

/// A server that answers one connection with these frames, each when another one has come in.
fn scripted(answers: &'static [&'static [&'static [u8]]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut talker = Talker {
            socket: listener.accept().unwrap().0,
            xid: 0,
        };
        for frames in answers {
            talker.read()?;
            for frame in *frames {
                let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
                talker
                    .socket
                    .write_all(&[&len[..], frame].concat())
                    .unwrap();
            }
        }
        talker.read()
    });
    address
}

const WELCOME: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 16, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 0,
];
const DELETED: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\
                         \0\0\0\x02\0\0\0\x03\0\0\0\x02/a";
const DONE: &[u8] = b"\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0\0";

/// Deletes a node that it watches, and reads two frames.
fn watch_and_delete(server: SocketAddr) {
    let mut talker = Talker::new(server);
    let delete = Delete {
        path: "/a".into(),
        version: -1,
    };
    talker.say(op::DELETE, &delete);
    talker.read().unwrap();
    talker.read().unwrap();
}

#[test]
fn an_event_comes_before_the_answer_that_shows_it() {
    let right = || scripted(&[&[WELCOME], &[DELETED, DONE]]);
    let recording = record(right(), Recorder::new(), watch_and_delete);
    assert_eq!(differences(&recording, right()), [""; 0]);
    let wrong = scripted(&[&[WELCOME], &[DONE, DELETED]]);
    assert_eq!(
        differences(&recording, wrong),
        [
            "connection 1: recorded event zxid=-1 NodeDeleted \"/a\" before, now behind \
             xid=1 delete zxid=0x9 ok"
        ]
    );
}

#[test]
fn what_a_server_says_to_a_client_that_has_gone_it_need_not_say() {
    let right = || scripted(&[&[WELCOME], &[DELETED, DONE]]);
    let recording = record(right(), Recorder::new(), watch_and_delete).to_string();
    let frame: String = DELETED.iter().map(|byte| format!("{byte:02x}")).collect();
    // How it ended need not have been seen. This is how it may have been.
    let said = recording
        .lines()
        .filter(|line| !line.ends_with('|') && !line.contains("|<-"));
    let said: String = said.map(|line| format!("{line}\n")).collect();
    let late = format!("9.0 1 <- event\t{:08x}{frame}", DELETED.len());
    let recording = format!("{said}9.0 1 ->|\n{late}\n9.0 1 |<-\n");
    assert_eq!(differences(&recording.parse().unwrap(), right()), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_closes_connections() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let recording = record(nobody, Recorder::new(), |server| {
        assert_eq!(Talker::dial(server).read(), None);
    });
    let text = recording.to_string();
    let arrows = text
        .lines()
        .skip(1)
        .map(|line| line.rsplit(' ').next().unwrap());
    let arrows: Vec<_> = arrows.collect();
    assert!(arrows.starts_with(&["+", "|<-"]), "{text}");
}

#[test]
fn what_was_not_recorded_and_what_is_missing_is_different() {
    let recording = record(
        scripted(&[&[WELCOME], &[DELETED, DONE]]),
        Recorder::new(),
        watch_and_delete,
    );
    let too_much = scripted(&[&[WELCOME], &[DELETED, DONE, DONE]]);
    assert_eq!(
        differences(&recording, too_much),
        ["connection 1: recorded nothing more, now xid=1 reply to nothing zxid=0x9 ok"]
    );
    let too_little = scripted(&[&[WELCOME], &[DELETED]]);
    let client = ReplayClient::new(&recording).unwrap();
    let client = client.patience(Duration::from_millis(200));
    let differences = client.run(too_little).unwrap();
    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let [difference] = &differences[..] else {
        panic!("{differences:?}");
    };
    let line = "recorded xid=1 delete zxid=0x9 ok, now nothing came within 200ms; \
                the rest of this connection is not compared";
    assert!(difference.ends_with(line), "{difference}");
}

#[test]
fn no_patience_at_all_is_a_little() {
    let recording = record(fake().addr(), Recorder::new(), |server| {
        Talker::new(server).close();
    });
    let client = ReplayClient::new(&recording).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    match client.patience(Duration::ZERO).run(address) {
        Ok(differences) => {
            let first = differences[0].to_string();
            assert!(first.contains("now nothing came within 1ms"), "{first}");
        }
        // It may take longer than that to find a place on the machine.
        Err(error) => assert!(
            error.to_string().ends_with(": connection timed out"),
            "{error}"
        ),
    }
}

#[test]
fn what_happens_by_itself_happens_again_in_its_time() {
    let impatient = || {
        FakeServer::builder()
            .tick_time(Duration::from_millis(50))
            .session_timeouts(Duration::from_millis(200), Duration::from_secs(30))
            .start()
            .unwrap()
    };
    let server = impatient();
    let recording = record(server.addr(), Recorder::new(), |server| {
        let brief = ConnectRequest {
            timeout_ms: 200,
            ..NEW_SESSION
        };
        let (mut owner, _) = Talker::connect(server, &brief);
        assert_eq!(owner.create("/brief", CreateMode::Ephemeral), 0);
        let mut other = Talker::new(server);
        other.call(
            op::EXISTS,
            &Exists {
                path: "/brief".into(),
                watch: true,
            },
        );
        // The owner says nothing more, until it is over.
        assert_eq!(other.read_header().xid, xid::NOTIFICATION);
        assert_eq!(owner.read(), None);
        let again = other.call(
            op::EXISTS,
            &Exists {
                path: "/brief".into(),
                watch: false,
            },
        );
        assert_eq!(again.err, -101);
    });
    let client = ReplayClient::new(&recording).unwrap().patience(PATIENCE);
    let differences = client
        .clone()
        .keep_pauses()
        .run(impatient().addr())
        .unwrap();
    assert_eq!(differences, []);
    // Without pauses too: it waits for what is to come.
    assert_eq!(client.run(impatient().addr()).unwrap(), []);
}
