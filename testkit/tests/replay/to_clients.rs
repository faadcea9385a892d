//! Recordings that are played to clients, in the place of their servers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use homing_protocol::{Acl, Create, CreateMode, GetData, op, xid};
use homing_testkit::recording::{Recorder, Recording};
use homing_testkit::replay::ReplayServer;

use super::talker::Talker;
use super::{PATIENCE, clients, everything, fake, reattach, record};

/// Plays the server's side of a recording to somebody, and says how that ended.
fn play(recording: &Recording, talk: impl FnOnce(SocketAddr)) -> Result<(), String> {
    let server = ReplayServer::start(recording).unwrap();
    talk(server.addr());
    let outcome = server.wait(PATIENCE).expect("an end");
    // When it was recorded is another time in each run.
    outcome.map_err(|difference| {
        let line = difference.to_string();
        line.split_once(' ').unwrap().1.to_owned()
    })
}

#[test]
fn a_client_is_answered_as_it_was_recorded() {
    let recording = record(fake().addr(), Recorder::new(), reattach);
    assert_eq!(play(&recording, reattach), Ok(()));
    let recording = record(fake().addr(), Recorder::new().with_secrets(), everything);
    assert_eq!(play(&recording, everything), Ok(()));
}

#[test]
fn pings_and_numbers_of_requests_may_be_others() {
    let talk = |first_xid: i32, pings: usize| {
        move |server| {
            let mut talker = Talker::new(server);
            talker.xid = first_xid;
            assert_eq!(talker.create("/a", CreateMode::Persistent), 0);
            (0..pings).for_each(|_| talker.ping());
            assert_eq!(talker.get("/a", false), 0);
            talker.close();
        }
    };
    let recording = record(fake().addr(), Recorder::new(), talk(0, 2));
    for (first_xid, pings) in [(0, 0), (500, 1), (-70, 5)] {
        assert_eq!(play(&recording, talk(first_xid, pings)), Ok(()));
    }
}

#[test]
fn an_event_is_told_when_what_brings_it_about_was_asked() {
    let talk = |server| {
        let mut watcher = Talker::new(server);
        watcher.create("/a", CreateMode::Persistent);
        watcher.get("/a", true);
        let mut writer = Talker::new(server);
        // Nothing is there to be read so far.
        watcher.socket.set_nonblocking(true).unwrap();
        let nothing = watcher.socket.peek(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        watcher.socket.set_nonblocking(false).unwrap();
        writer.set("/a", b"");
        assert_eq!(watcher.read_header().xid, xid::NOTIFICATION);
    };
    let recording = record(fake().addr(), Recorder::new(), talk);
    assert_eq!(play(&recording, talk), Ok(()));
}

#[test]
fn a_client_that_asks_something_else_is_told_what_was_expected() {
    let recording = record(fake().addr(), Recorder::new(), |server| {
        let mut talker = Talker::new(server);
        talker.create("/a", CreateMode::Persistent);
        talker.close();
    });
    let create = |path: &str, mode: &str| {
        format!("create2 \"{path}\" data[1]=\"x\" acl=[world:anyone:cdrwa] flags={mode}")
    };
    let expected = create("/a", "PERSISTENT");
    for (path, mode, shown) in [
        ("/b", CreateMode::Persistent, create("/b", "PERSISTENT")),
        ("/a", CreateMode::Ephemeral, create("/a", "EPHEMERAL")),
    ] {
        let outcome = play(&recording, |server| {
            Talker::new(server).say(
                op::CREATE2,
                &Create {
                    path: path.into(),
                    data: b"x",
                    acl: &[Acl::open()],
                    mode,
                },
            );
        });
        let line = format!("connection 1: recorded xid=1 {expected}, now xid=1 {shown}");
        assert_eq!(outcome, Err(line));
    }
    let outcome = play(&recording, |server| {
        let mut talker = Talker::new(server);
        talker.say(
            op::GET_DATA,
            &GetData {
                path: "/a".into(),
                watch: false,
            },
        );
    });
    let asked = "xid=1 getData \"/a\" watch=false";
    let line = format!("connection 1: recorded xid=1 {expected}, now {asked}");
    assert_eq!(outcome, Err(line));
    let line =
        format!("connection 1: recorded xid=1 {expected}, now the client closed the connection");
    assert_eq!(
        play(&recording, |server| drop(Talker::new(server))),
        Err(line)
    );
    let outcome = play(&recording, |server| {
        let (first, mut second) = (Talker::new(server), Talker::dial(server));
        second.socket.write_all(b"srvr").unwrap();
        let _ = (first, second).1.socket.read(&mut [0]);
    });
    let line = "connection 2: recorded no such connection, now there is one";
    assert_eq!(outcome, Err(line.into()));
}

#[test]
fn who_only_looks_whether_somebody_listens_is_no_client() {
    let look = |server| drop(Talker::dial(server));
    let talk = |server| {
        let mut talker = Talker::new(server);
        talker.create("/a", CreateMode::Persistent);
        talker.close();
    };
    let plain = record(fake().addr(), Recorder::new(), talk);
    let looked_at = record(fake().addr(), Recorder::new(), |server| {
        look(server);
        talk(server);
    });
    for recording in [&plain, &looked_at] {
        let outcome = play(recording, |server| {
            look(server);
            look(server);
            talk(server);
            look(server);
        });
        assert_eq!(outcome, Ok(()));
        assert_eq!(play(recording, talk), Ok(()));
    }
}

#[test]
fn a_server_that_nobody_talks_to_ends_at_once() {
    let recording = record(fake().addr(), Recorder::new(), |server| {
        Talker::new(server).close();
    });
    let server = ReplayServer::start(&recording).unwrap();
    let address = server.addr();
    assert_eq!(server.wait(Duration::from_millis(1)), None);
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_server_whose_client_does_not_read_ends_at_once() {
    // More than any socket holds.
    const GETS: i32 = 16;
    let get = GetData {
        path: "/big".into(),
        watch: false,
    };
    let recording = record(fake().addr(), Recorder::new(), |server| {
        let mut talker = Talker::new(server);
        talker.create("/big", CreateMode::Persistent);
        talker.set("/big", &[7; 1_000_000]);
        (0..GETS).for_each(|_| assert_eq!(talker.call(op::GET_DATA, &get).err, 0));
        talker.close();
    });
    let server = ReplayServer::start(&recording).unwrap();
    let mut talker = Talker::new(server.addr());
    talker.create("/big", CreateMode::Persistent);
    talker.set("/big", &[7; 1_000_000]);
    (0..GETS).for_each(|_| talker.say(op::GET_DATA, &get));
    // It answers, until it is stuck in that: nothing more comes for a while.
    let mut come = vec![0; 16_000_000];
    let (mut len, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        let now = talker.socket.peek(&mut come).unwrap();
        if now != len {
            (len, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    drop(server);
    // A write has half a minute.
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn java_s_command_line_is_answered_as_it_was_recorded() {
    if !clients::are_wanted("zkCli.sh", clients::has_zkcli()) {
        return;
    }
    let commands = include_str!("../other_clients/zkcli.txt");
    let mut transcripts = Vec::new();
    let mut talk = |server| {
        let output = clients::zkcli(server, commands);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Events are printed by another thread, which need not come to it before the end, and so is
        // what its logger says.
        let noise = ["Connecting to", "SLF4J", "WATCHER::", "WatchedEvent"];
        let is_noise = |line: &&str| noise.iter().any(|noise| line.contains(noise));
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !is_noise(line));
        let lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
        transcripts.push(lines);
    };
    let recording = record(fake().addr(), Recorder::new().with_secrets(), &mut talk);
    assert_eq!(play(&recording, &mut talk), Ok(()));
    let [recorded, played] = &transcripts[..] else {
        panic!("two transcripts");
    };
    assert_eq!(recorded, played);
}
