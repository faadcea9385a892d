//! Clients that this project did not write, unchanged, on the fake server and on a real ZooKeeper:
//! what they print is the same, times and ids aside.
//!
//! | client | from Debian's package | what it does |
//! | --- | --- | --- |
//! | Java's `zkCli.sh` | `zookeeper` | the commands of `other_clients/zkcli.txt` and `quota.txt` |
//! | the C client's `cli_mt` | `zookeeper-bin` | those of `other_clients/cli_mt.txt` |
//! | kazoo | `python3-kazoo` | its recipes, in `other_clients/recipes.py` |
//!
//! `other_clients/a_test.py` is the test in Python that the page "Testing your application" shows:
//! it runs on the program alone.
//!
//! `HOMING_CLIENTS` says what becomes of a test whose client is not installed: `required` lets it
//! fail, `off` leaves all of them out, and unset it is left out, loudly.

#[path = "support/clients.rs"]
mod clients;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::iter;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clients::PATIENCE;
use homing_testkit::{FakeServer, real};

/// The transcripts of a client on both servers. `None` where something is not installed.
fn transcripts(
    client: &str,
    is_installed: bool,
    run: impl Fn(SocketAddr) -> String,
) -> Option<(String, String)> {
    if !clients::are_wanted(client, is_installed) {
        return None;
    }
    real::requirement()?;
    let real = real::ZooKeeper::builder()
        .tick_time(Duration::from_secs(2))
        .system_property("zookeeper.enforceQuota", "true")
        .start()
        .unwrap();
    let fake = FakeServer::builder()
        .config(|config| {
            config.extended_types_enabled = true;
            config.enforce_quota = true;
        })
        .start()
        .unwrap();
    Some((run(real.addr()), run(fake.addr())))
}

/// Fails with the first line that differs, and what stands before it.
fn assert_same((real, fake): (String, String), commands: usize) {
    assert!(real.lines().count() > commands, "it did nothing:\n{real}");
    let mut lines = real.lines().zip(fake.lines()).enumerate();
    if let Some((at, (expected, got))) = lines.find(|(_, (real, fake))| real != fake) {
        let before: Vec<_> = real.lines().take(at).collect();
        let from = before.len().saturating_sub(15);
        panic!(
            "line {at}, behind\n{}\nthe real one:\n  {expected}\nthe fake:\n  {got}",
            before[from..].join("\n")
        );
    }
    assert_eq!(real.lines().count(), fake.lines().count());
}

#[test]
fn java_s_command_line_sees_no_difference() {
    java(include_str!("other_clients/zkcli.txt"));
}

#[test]
fn java_s_command_line_runs_into_the_same_quotas() {
    java(include_str!("other_clients/quota.txt"));
}

fn java(commands: &'static str) {
    let run = |server: SocketAddr| {
        let output = clients::zkcli(server, commands);
        let text = String::from_utf8_lossy(&output.stdout);
        let noise = |line: &&str| line.is_empty() || line.starts_with("SLF4J");
        let lines = text.lines().filter(|line| !noise(line));
        // Events are printed by another thread, between any two lines.
        let (events, answers): (Vec<_>, Vec<_>) = lines
            .filter(|line| *line != "WATCHER::")
            .partition(|line| line.starts_with("WatchedEvent"));
        answers.into_iter().chain(events).map(masked).collect()
    };
    if let Some(both) = transcripts("zkCli.sh", clients::has_zkcli(), run) {
        assert_same(both, commands.lines().count());
    }
}

#[test]
fn kazoo_s_recipes_see_no_difference() {
    let run = |server: SocketAddr| {
        let output = clients::kazoo(server);
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(text.ends_with("done\n"), "{server}:\n{text}{error}");
        text
    };
    if let Some(both) = transcripts("kazoo", clients::has_kazoo(), run) {
        assert_same(both, 40);
    }
}

#[test]
fn a_test_in_python_starts_the_program_and_stops_it() {
    if !clients::are_wanted("kazoo", clients::has_kazoo()) {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_homing-testkit"));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = iter::once(program.parent().unwrap().into()).chain(env::split_paths(&path));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/other_clients/a_test.py");
    let output = Command::new("timeout")
        .args(["60", "/usr/bin/python3", script])
        .env("PATH", env::join_paths(folders).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Ran 1 test"), "{text}");
}

#[test]
fn the_c_client_sees_no_difference() {
    let program = "/usr/lib/zookeeper/bin/cli_mt";
    let commands = include_str!("other_clients/cli_mt.txt");
    let run = |server: SocketAddr| converse(program, server, commands);
    if let Some(both) = transcripts("cli_mt", Path::new(program).is_file(), run) {
        assert_same(both, commands.lines().count());
    }
}

/// Gives the C client one command at a time: it loses what it reads ahead. It writes to both
/// streams.
fn converse(program: &str, server: SocketAddr, commands: &str) -> String {
    let mut client = Command::new("sh");
    let both_streams_in_one = format!("exec stdbuf -oL {program} -h {server} 2>&1");
    client.args(["-c", &both_streams_in_one]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Killed(client.spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let stdout = BufReader::new(child.0.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    // Sorted within one answer: events of other threads stand among its lines, and children come
    // in no order.
    let mut transcript = String::new();
    let mut collect = |what: &str, is_last: &dyn Fn(&str) -> bool| {
        let mut answer = vec![];
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let last = is_last(&line);
                    answer.push(masked(&line));
                    if last {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no answer to {what:?}: {answer:?}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        answer.sort();
        transcript.push_str(&format!("> {what}\n{}", answer.concat()));
    };
    collect("connect", &|line| line.contains("session id"));
    for command in commands.lines() {
        writeln!(stdin, "{command}").unwrap();
        if command != "quit" && !command.starts_with("addauth") {
            collect(command, &|line| line.contains("rc = "));
        }
    }
    // What stands behind the last of these lines.
    collect("the rest", &|_| false);
    transcript
}

/// A client that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line without what differs from run to run: times, session ids, ports.
fn masked(line: &str) -> String {
    let hidden = ["ctime", "mtime", "time =", "Connecting to", "session id"];
    if let Some(what) = hidden.iter().find(|what| line.contains(**what)) {
        return format!("{what} …\n");
    }
    let words = line.split(' ').map(|word| match word {
        id if id.starts_with("0x1") && id.len() > 14 => "ID",
        id if id.starts_with("1000") && id.len() > 14 => "ID",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ") + "\n"
}
