//! What was recorded between a client and a server, played again in the place of either.

#[path = "support/clients.rs"]
mod clients;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Output;
use std::sync::mpsc;
use std::time::Duration;

use homing_testkit::recording::{Recorder, Recording, Tap};
use homing_testkit::replay::ReplayClient;
use homing_testkit::{FakeServer, real};

/// How long anything may take. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What goes between a server and whatever `talk` does with the address that it is given.
fn record(server: SocketAddr, recorder: Recorder, talk: impl FnOnce(SocketAddr)) -> Recording {
    let (sender, lines) = mpsc::channel();
    let listen = "127.0.0.1:0".parse().unwrap();
    let sink = move |entry| sender.send(entry).unwrap();
    let tap = Tap::start(listen, server.to_string(), recorder, sink).unwrap();
    talk(tap.addr());
    drop(tap);
    let recording: Recording = lines.iter().collect();
    // As a file it is the same.
    let text = recording.to_string();
    assert_eq!(text.parse::<Recording>().unwrap().to_string(), text);
    recording
}

fn fake() -> FakeServer {
    FakeServer::builder()
        .config(|config| {
            config.extended_types_enabled = true;
            config.enforce_quota = true;
            config.four_letter_words = vec!["*".into()];
        })
        .start()
        .unwrap()
}

fn real() -> Option<real::ZooKeeper> {
    real::requirement()?;
    let real = real::ZooKeeper::builder()
        .tick_time(Duration::from_secs(2))
        .system_property("zookeeper.enforceQuota", "true")
        .start();
    Some(real.unwrap())
}

/// Plays a recording to a server, and fails with what is different.
fn assert_no_difference(recording: &Recording, server: SocketAddr) {
    let client = ReplayClient::new(recording).unwrap().patience(PATIENCE);
    let differences = client.run(server).unwrap();
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// Records a client on the real server and plays it to a fake one, and the other way round.
fn both_ways(talk: impl Fn(SocketAddr)) {
    let Some(server) = real() else { return };
    let recording = record(server.addr(), Recorder::new().with_secrets(), &talk);
    let fresh = fake();
    assert_no_difference(&recording, fresh.addr());

    let server = fake();
    let recording = record(server.addr(), Recorder::new().with_secrets(), &talk);
    assert_no_difference(&recording, real().unwrap().addr());
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
        let commands = include_str!("other_clients/zkcli.txt");
        both_ways(|server| assert_done(&clients::zkcli(server, commands)));
    }
}

#[test]
fn kazoo_s_recipes() {
    if clients::are_wanted("kazoo", clients::has_kazoo()) {
        both_ways(|server| assert_done(&clients::kazoo(server)));
    }
}
