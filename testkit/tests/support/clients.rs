//! Clients that this project did not write, as processes.
#![allow(
    unreachable_pub,
    reason = "every test file has a copy of it and uses a part"
)]

use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a client may take over all that it is to do. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Java's command line.
pub const ZKCLI: &str = "/usr/share/zookeeper/bin/zkCli.sh";

const PYTHON: &str = "/usr/bin/python3";

/// Whether a test is to run that needs this client, by `HOMING_CLIENTS`.
pub fn are_wanted(client: &str, is_installed: bool) -> bool {
    let setting = env::var("HOMING_CLIENTS").unwrap_or_default();
    if setting == "off" || (!is_installed && setting != "required") {
        eprintln!("LEFT OUT: {client} is not installed, or HOMING_CLIENTS=off");
        return false;
    }
    assert!(is_installed, "HOMING_CLIENTS=required, and no {client}");
    true
}

pub fn has_zkcli() -> bool {
    Path::new(ZKCLI).is_file()
}

/// Lets Java's command line run these commands. What was done and what was refused is told on
/// stderr, in its order.
pub fn zkcli(server: SocketAddr, commands: &'static str) -> Output {
    let both_streams_in_one = format!("exec bash {ZKCLI} -server {server} 2>&1");
    let mut client = Command::new("bash");
    client.args(["-c", &both_streams_in_one]);
    finish(client, commands)
}

pub fn has_kazoo() -> bool {
    let import = Command::new(PYTHON).args(["-c", "import kazoo"]).output();
    import.is_ok_and(|output| output.status.success())
}

/// Lets kazoo run its recipes.
pub fn kazoo(server: SocketAddr) -> Output {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/other_clients/recipes.py"
    );
    let mut client = Command::new(PYTHON);
    client.args([script, &server.to_string()]);
    finish(client, "")
}

/// Runs a client to its end, with `input` for it to read.
fn finish(mut client: Command, input: &'static str) -> Output {
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let pid = child.id();
    // The pipe holds all of it, or the client reads on: this does not block for good.
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let (done, output) = mpsc::sync_channel(1);
    thread::spawn(move || done.send(child.wait_with_output()));
    match output.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            panic!("it is not done within {PATIENCE:?}");
        }
    }
}
