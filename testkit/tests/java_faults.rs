//! The table of `docs/java_under_faults.md` is complete and true: Java's client meets every fault,
//! on the fake server and through a proxy in front of a real ZooKeeper, and what it was told is what
//! the table says.
//!
//! Java's client is that of Debian's package; `java_faults/FaultyClient.java` drives it.
//! `HOMING_CLIENTS` and `HOMING_ZOOKEEPER` say what becomes of the test where it is not installed.

#[path = "faulty/peer.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod peer;

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use homing_testkit::faults::{Faults, REFERENCE};
use homing_testkit::{FakeServer, Proxy, real};
use peer::Peer;

/// The page of the documentation.
const PAGE: &str = include_str!("../docs/java_under_faults.md");

const SESSION_TIMEOUT_MS: u32 = 20_000;
const ROUNDS: u32 = 8;
/// Longer than a client takes over its rounds that hears nothing for a session time-out.
const HUNG_MS: u32 = 60_000;
/// Longer than two pings are apart.
const IDLE_MS: u32 = 16_000;

/// One line of the table.
#[derive(Debug)]
struct Row {
    script: &'static str,
    /// What Java's client was told on the fake server, and in front of the real one.
    java: [&'static str; 2],
}

fn rows() -> Vec<Row> {
    let lines = PAGE.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &'static str| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [script, _, _, java] = cells[..] else {
            panic!("four cells in {line}");
        };
        let java = match java.split_once("; proxy: ") {
            Some((fake, proxy)) => [fake.trim_start_matches("fake: "), proxy],
            None => [java, java],
        };
        Row {
            script: script.trim_matches('`'),
            java,
        }
    };
    lines.map(row).collect()
}

/// What has faults, and where to look past them.
enum Ground {
    Fake(FakeServer),
    Proxy(Proxy, SocketAddr),
}

impl Ground {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Fake(server) => server.addr(),
            Self::Proxy(proxy, _) => proxy.addr(),
        }
    }

    fn faults(&self, script: &str) {
        let faults: Faults = script.parse().unwrap();
        match self {
            Self::Fake(server) => drop(server.faults(faults)),
            Self::Proxy(proxy, _) => drop(proxy.faults(faults)),
        }
    }

    fn struck(&self) -> u64 {
        match self {
            Self::Fake(server) => server.strikes().total(),
            Self::Proxy(proxy, _) => proxy.strikes().total(),
        }
    }

    /// What the server has, whatever its faults.
    fn value(&self, node: &str) -> Option<u32> {
        let direct = match self {
            Self::Fake(server) => server.addr(),
            Self::Proxy(_, server) => *server,
        };
        let data = Peer::connect(direct).data(node)?;
        String::from_utf8(data).ok()?.parse().ok()
    }
}

#[test]
fn every_fault_has_a_row() {
    let rows = rows();
    let names = |script: &'static str| script.split(';').map(|item| item.split_whitespace().next());
    let met: BTreeSet<_> = rows
        .iter()
        .flat_map(|row| names(row.script))
        .flatten()
        .collect();
    let examples = REFERENCE.split_once("connection on.\n").unwrap().1;
    let examples = examples.split_once("\n\nWay:").unwrap().0;
    for line in examples.lines() {
        let fault = line.split_whitespace().next().unwrap();
        assert!(met.contains(fault), "{fault} has no row in the table");
    }
}

#[test]
fn java_s_client_is_told_what_the_table_says() {
    let setting = env::var("HOMING_CLIENTS").unwrap_or_default();
    let Some(installation) = real::requirement().filter(|_| setting != "off") else {
        return eprintln!("LEFT OUT: Java's client is not installed, or HOMING_CLIENTS=off");
    };
    let server = real::shared().unwrap().addr();
    let rows = rows();
    let fake = rows.iter().map(|_| Ground::Fake(FakeServer::start()));
    let proxy = rows
        .iter()
        .map(|_| Ground::Proxy(Proxy::start(server), server));
    let told = run(&installation, fake.chain(proxy).collect(), &rows);
    let (on_fake, on_proxy) = told.split_at(rows.len());
    let mut wrong = Vec::new();
    for (row, (fake, proxy)) in rows.iter().zip(on_fake.iter().zip(on_proxy)) {
        let [on_fake, on_proxy] = row.java;
        if !agrees(on_fake, fake) || !agrees(on_proxy, proxy) {
            wrong.push(format!("{}\n  fake: {fake}; proxy: {proxy}", row.script));
        }
    }
    assert!(
        wrong.is_empty(),
        "the table is not true:\n{}",
        wrong.join("\n")
    );
}

/// Whether what was told is what a cell says: the same outcome, with all errors that it is sure of,
/// and none besides those that it thinks possible.
fn agrees(cell: &str, told: &str) -> bool {
    let (expected, errors) = cell.split_once(": ").unwrap_or((cell, ""));
    let (outcome, met) = told.split_once(": ").unwrap_or((told, ""));
    let met: Vec<_> = met.split(", ").filter(|error| !error.is_empty()).collect();
    let errors = errors.split(", ").filter(|error| !error.is_empty());
    let (perhaps, sure): (Vec<_>, Vec<_>) = errors.partition(|error| error.starts_with("perhaps "));
    let is_possible =
        |error: &&str| sure.contains(error) || perhaps.iter().any(|other| other.ends_with(*error));
    outcome == expected && met.iter().all(is_possible) && sure.iter().all(|it| met.contains(it))
}

/// What the client was told on each ground; the rows are gone through as often as it takes.
fn run(installation: &real::Installation, grounds: Vec<Ground>, rows: &[Row]) -> Vec<String> {
    let scripts = || rows.iter().map(|row| row.script).cycle();
    let nodes: Vec<_> = (0..grounds.len()).map(|at| format!("/java-{at}")).collect();
    let numbers = [SESSION_TIMEOUT_MS, ROUNDS, HUNG_MS];
    let mut client = Command::new(installation.java());
    client.args(["-Xmx256m", "-Dzookeeper.request.timeout=0", "-cp"]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java_faults");
    client.arg(format!("{folder}:{}", installation.class_path()));
    client
        .arg("FaultyClient")
        .args(numbers.map(|number| number.to_string()));
    for ((ground, script), node) in grounds.iter().zip(scripts()).zip(&nodes) {
        Peer::connect(ground.addr()).make(node, b"0");
        ground.faults(script);
        let idle = if script.contains("ping") { IDLE_MS } else { 0 };
        client.args([&ground.addr().to_string(), node, &idle.to_string()]);
    }
    let client = client.stdout(Stdio::piped()).stderr(Stdio::null());
    let child = client.spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    for (ground, script) in grounds.iter().zip(scripts()) {
        if script == "refuse" {
            ground.faults("");
        }
    }
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), grounds.len(), "{lines:#?}");
    let mut told = Vec::new();
    for ((ground, script), line) in grounds.iter().zip(scripts()).zip(lines) {
        let [node, outcome, errors, written, _done, _unsure, wrong] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("seven fields in {line:?}");
        };
        assert!(
            ground.struck() > 0 || script == "refuse",
            "{script} never struck"
        );
        ground.faults("");
        let mut cell = outcome.to_owned();
        if !errors.is_empty() {
            cell += &format!(": {}", errors.replace(',', ", "));
        }
        let is_lost = ground
            .value(node)
            .is_none_or(|value| value < written.parse().unwrap());
        if wrong != "0" || is_lost {
            cell += "; WRONG";
        }
        told.push(cell);
    }
    told
}
