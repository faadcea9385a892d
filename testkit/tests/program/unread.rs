//! Where nobody reads what it says, or where it has no room for more connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{iter, thread};

use homing_testkit::FakeServer;

use super::record::on_standard_output;
use super::{Running, SOON, dial};

/// The lines, as they come. All are read: what is said later must have somewhere to go.
fn lines(errors: ChildStderr) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(errors).lines().map(Result::unwrap) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// What the program says on standard error where it may have so many descriptors, and gets more
/// connections: the line that there are none left.
fn shortage(descriptors: usize, arguments: &[&str]) -> String {
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script, env!("CARGO_BIN_EXE_homing-testkit")])
        .args(arguments)
        .args(["-v", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::start(&mut shell);
    let sockets = [(); 32].map(|()| TcpStream::connect(&running.connect).unwrap());
    let lines = lines(running.child.stderr.take().unwrap());
    let mut lines = iter::from_fn(|| lines.recv_timeout(SOON).ok());
    let short = lines.find(|line| line.contains("Too many open files"));
    running.signal("-INT");
    drop(sockets);
    assert_eq!(running.exit_code(), Some(0));
    short.unwrap()
}

#[test]
fn a_proxy_says_that_it_has_no_descriptor_left() {
    let server = FakeServer::start();
    let upstream = server.connect_string();
    // Each connection takes two: with one number the first is missing, with the other the second.
    let proxy = ["proxy", "--upstream", &upstream];
    let mut lines = [24, 25].map(|descriptors| shortage(descriptors, &proxy));
    lines.sort_by_key(|line| line.contains("cannot connect"));
    assert!(lines[0].contains(": cannot accept it yet: "), "{lines:?}");
    let why = format!(": cannot connect to {upstream}: ");
    assert!(lines[1].contains(&why), "{lines:?}");
}

#[test]
fn a_server_says_that_it_has_no_descriptor_left() {
    let line = shortage(24, &["serve"]);
    assert!(line.contains(": cannot accept it yet: "), "{line}");
}

/// More connections than it takes to fill a pipe, and all that waits to be written to it.
const MANY: usize = 3000;

#[test]
fn lines_that_nobody_reads_stop_no_server_and_are_counted() {
    let mut served = Running::serve(&["-v"]);
    for _ in 0..MANY {
        assert!(served.ask("srvr").contains("\nMode: standalone\n"));
    }
    // They are read at last, and what is missing is known where it is missing.
    let receiver = lines(served.child.stderr.take().unwrap());
    let mut lines: Vec<String> = Vec::new();
    let mut connections = MANY;
    while !lines.iter().any(|line| line.ends_with(" left out")) {
        assert_ne!(served.ask("srvr"), "");
        connections += 1;
        lines.extend(receiver.try_iter());
        assert!(
            connections < 10 * MANY,
            "none of {} is missing",
            lines.len()
        );
    }
    served.signal("-TERM");
    assert_eq!(served.exit_code(), Some(0));
    lines.extend(receiver);
    let left_out = lines.iter().filter_map(|line| {
        let number = line.strip_prefix("… ")?.strip_suffix(" lines left out")?;
        Some(number.parse::<usize>().unwrap())
    });
    let left_out: Vec<_> = left_out.collect();
    let said = lines.len() - left_out.len();
    assert_eq!(said + left_out.iter().sum::<usize>(), 2 * connections);
}

#[test]
fn what_nobody_reads_does_not_keep_a_server_from_ending() {
    for name in ["-INT", "-TERM"] {
        let server = FakeServer::start();
        let served = Running::serve(&["-v"]);
        let passed = Running::proxy(&["-v"], &server.connect_string());
        for _ in 0..MANY / 2 {
            assert_ne!(served.ask("srvr"), "");
            assert_ne!(passed.ask("srvr"), "");
        }
        for running in [served, passed] {
            running.end_by(name);
        }
    }
}

/// A recording that nobody reads, with so much in it that it stands still.
fn unread_recording(upstream: &str) -> Running {
    let running = on_standard_output(&["--upstream", upstream]);
    let is_answered = |limit| {
        let mut socket = dial(&running.connect);
        socket.set_read_timeout(Some(limit)).unwrap();
        socket.write_all(b"srvr").unwrap();
        socket.read_to_string(&mut String::new()).is_ok()
    };
    let stuck = iter::repeat_with(|| is_answered(Duration::from_secs(3)));
    assert!(stuck.take(10_000).any(|it| !it), "it goes on");
    running
}

#[test]
fn a_recording_that_nobody_reads_waits_and_can_be_ended() {
    let server = FakeServer::start();
    let mut running = unread_recording(&server.connect_string());
    running.signal("-TERM");
    assert_eq!(running.exit_code(), Some(1));
    let expected =
        "homing-testkit: nobody reads standard output: the end of the recording is missing\n";
    assert_eq!(running.errors(), expected);
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let server = FakeServer::start();
    let mut running = unread_recording(&server.connect_string());
    // Two of the same kind may be taken for one.
    running.signal("-TERM");
    running.signal("-INT");
    assert_eq!(running.exit_code(), Some(130));
}
