//! Clients that this project did not write, unchanged, on the fake server and on a real ZooKeeper:
//! what they print is the same, times and ids aside.
//!
//! | client | from Debian's package | what it does |
//! | --- | --- | --- |
//! | Java's `zkCli.sh` | `zookeeper` | the commands of `other_clients/zkcli.txt` and `quota.txt`, and a few with SASL |
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
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::iter;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clients::PATIENCE;
use homing_testkit::{FakeServer, SaslConfig, real};

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
        in_order(String::from_utf8_lossy(&output.stdout).lines())
    };
    if let Some(both) = transcripts("zkCli.sh", clients::has_zkcli(), run) {
        assert_same(both, commands.lines().count());
    }
}

/// What Java's command line answered, and then the events: another thread prints them, between any
/// two lines.
fn in_order<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let noise = |line: &&str| line.is_empty() || line.starts_with("SLF4J");
    let (events, answers): (Vec<_>, Vec<_>) = lines
        .filter(|line| !noise(line) && *line != "WATCHER::")
        .partition(|line| line.starts_with("WatchedEvent"));
    answers.into_iter().chain(events).map(masked).collect()
}

/// It says as whom it wants to act, which our own client does not.
#[test]
fn java_s_command_line_logs_in_alike() {
    if !clients::are_wanted("zkCli.sh", clients::has_zkcli()) || real::requirement().is_none() {
        return;
    }
    let file = real::jaas_with_users(&[("bob", "secret"), ("bäb", "gehäim")]);
    let real = real::ZooKeeper::builder().jaas(&file).start().unwrap();
    let sasl = SaslConfig::new()
        .user("bob", "secret")
        .user("bäb", "gehäim");
    let fake = FakeServer::builder()
        .config(|config| config.sasl = Some(sasl))
        .start()
        .unwrap();
    let rows = [
        ("bob", "secret", "Created /of-bob"),
        ("bäb", "gehäim", "state:SaslAuthenticated"),
        ("bob", "wrong", "state:AuthFailed"),
    ];
    for (user, password, expected) in rows {
        let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
        let jaas =
            format!("Client {{\n{module} username=\"{user}\" password=\"{password}\";\n}};\n");
        // This folder goes with the real server.
        fs::write(real.folder().join("client.conf"), jaas).unwrap();
        let run = |server| logged_in(server, real.folder());
        let (of_real, of_fake) = (run(real.addr()), run(fake.addr()));
        assert!(of_real.contains(expected), "{user}, {password}:\n{of_real}");
        assert_same((of_real, of_fake), 4);
    }
}

/// Runs a few commands once Java's command line knows whether it is let in, by the file
/// `client.conf` in this folder.
fn logged_in(server: SocketAddr, folder: &Path) -> String {
    let commands = "whoami\ncreate /of-bob 1 sasl:bob:cdrwa\nget /of-bob\ngetAcl /of-bob\nquit\n";
    let both_streams_in_one = format!("exec bash {} -server {server} 2>&1", clients::ZKCLI);
    let mut client = Command::new("bash");
    client
        .args(["-c", &both_streams_in_one])
        .current_dir(folder);
    client.env("JVMFLAGS", "-Djava.security.auth.login.config=client.conf");
    let (_child, mut stdin, lines) = talk_to(client);
    let mut transcript = vec![];
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let is_settled = ["state:SaslAuthenticated", "state:AuthFailed"];
                if is_settled.iter().any(|state| line.contains(state)) {
                    stdin.write_all(commands.as_bytes()).unwrap();
                }
                transcript.push(line);
            }
            Err(RecvTimeoutError::Timeout) => panic!("it hangs behind {transcript:?}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // Whether the last event is still printed is up to how fast the process ends, and where the
    // address stands among the identities is up to a hash table.
    let varies = |line: &str| line.contains("state:Closed") || line == "ip: 127.0.0.1";
    let lines = transcript.iter().map(String::as_str);
    in_order(lines.filter(|line| !varies(line)))
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
    let (_child, mut stdin, lines) = talk_to(client);
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

/// Starts a client whose lines are read as they come.
fn talk_to(mut client: Command) -> (Killed, ChildStdin, Receiver<String>) {
    client.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Killed(client.spawn().unwrap());
    let stdin = child.0.stdin.take().unwrap();
    let stdout = BufReader::new(child.0.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (child, stdin, lines)
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
