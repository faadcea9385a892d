//! The program's `record` and `replay`, from the outside.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use homing_testkit::FakeServer;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homing-testkit"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

/// Starts something that says where it listens at the end of its first line, and returns it with
/// both.
fn start(arguments: &[&str]) -> (Child, String, String) {
    let mut child = program(arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let connect = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    (child, line, connect)
}

/// Starts a server and returns it with the address from its one line.
fn serve(arguments: &[&str]) -> (Child, String) {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
    let (child, _, connect) = start(&arguments);
    (child, connect)
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let mut kill = Command::new("kill");
    assert!(kill.args([name, &pid]).status().unwrap().success());
}

/// Sends one of the words, and returns the answer.
fn ask(address: &str, word: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A path for a file of this test, which is removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("homing-testkit-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_it_records_it_plays_either_side_of() {
    let file = Scratch::new("played");
    let (mut server, upstream) = serve(&["--four-letter-words", "ruok,isro"]);
    let record = ["record", "--listen", "127.0.0.1:0", "--upstream", &upstream];
    let (mut child, line, address) = start(&[&record[..], &["--out", file.path()]].concat());
    assert_eq!(
        line,
        format!("recording ZooKeeper {upstream} on {address}, connect string {address}\n")
    );
    assert_eq!(ask(&address, "isro"), "rw");
    signal(&child, "-INT");
    assert!(child.wait().unwrap().success());
    let recording = std::fs::read_to_string(file.path()).unwrap();
    assert!(
        recording.starts_with("# homing-testkit recording 1\n"),
        "{recording}"
    );
    assert!(
        recording.contains("1 -> word \"isro\"\t6973726f\n"),
        "{recording}"
    );
    assert!(
        recording.contains("1 <- text \"rw\"\t7277\n"),
        "{recording}"
    );

    let replay = ["replay", file.path(), "--server", &upstream];
    let output = run(&replay);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"no difference\n");
    signal(&server, "-INT");
    assert!(server.wait().unwrap().success());

    // Another server, which does not answer that.
    let (mut server, upstream) = serve(&[]);
    let output = run(&["replay", file.path(), "--server", &upstream]);
    assert_eq!(output.status.code(), Some(1));
    let difference = String::from_utf8(output.stdout).unwrap();
    assert!(
        difference.ends_with(
            "connection 1: recorded text \"rw\", now text \
             \"isro is not executed because it is not in the whitelist.\\n\"\n"
        ),
        "{difference}"
    );
    assert_eq!(output.stderr, b"homing-testkit: 1 difference\n");
    signal(&server, "-INT");
    assert!(server.wait().unwrap().success());

    let replay = ["replay", file.path(), "--listen", "127.0.0.1:0"];
    let (mut child, _, address) = start(&replay);
    assert_eq!(ask(&address, "isro"), "rw");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (child, _, address) = start(&replay);
    ask(&address, "ruok");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = "connection 1: recorded word \"isro\", now word \"ruok\"\n";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn a_recording_without_a_file_is_on_standard_output() {
    let (mut server, upstream) = serve(&["--four-letter-words", "ruok"]);
    let arguments = [
        "record",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        &upstream,
        "--no-raw",
    ];
    let mut child = program(&arguments).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(ask(address, "ruok"), "imok");
    signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let recording = String::from_utf8(output.stdout).unwrap();
    assert!(
        recording.starts_with("# homing-testkit recording 1\n"),
        "{recording}"
    );
    assert!(recording.contains("1 <- text \"imok\"\n"), "{recording}");
    signal(&server, "-INT");
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_recording_with_secrets_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let file = Scratch::new("secret");
    let record = [
        "record",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "127.0.0.1:1",
    ];
    let more = ["--with-secrets", "--out", file.path()];
    let (mut child, ..) = start(&[&record[..], &more].concat());
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    signal(&child, "-INT");
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_recorded_or_played_is_named() {
    let file = Scratch::new("broken");
    let path = file.path();
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let output = run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    };
    let server = ["--server", "127.0.0.1:1"];
    let replay = [&["replay", path][..], &server].concat();
    check(&replay, 1, &format!("homing-testkit: cannot read {path}: "));
    std::fs::write(path, "# homing-testkit recording 1\n0.0 1 +\n0.1 1 ping\n").unwrap();
    let error = format!("cannot replay {path}: line 3: \"ping\" is none of the arrows");
    check(&replay, 1, &error);
    std::fs::write(
        path,
        "# homing-testkit recording 1\n0.0 1 +\n0.1 1 -> ping\n",
    )
    .unwrap();
    let error = "\"0.100000 1 -> ping\" is recorded without its bytes: record it again without";
    check(&replay, 1, error);
    std::fs::write(path, "# homing-testkit recording 1\n0.0 1 +\n").unwrap();
    check(&replay, 1, "cannot connect to 127.0.0.1:1: ");
    let either = "<--server <HOST:PORT>|--listen <ADDRESS:PORT>>";
    check(&["replay", path], 2, either);
    let patience = ["--listen", "127.0.0.1:0", "--patience", "5"];
    check(
        &[&["replay", path], &patience[..]].concat(),
        2,
        "--patience",
    );
    check(
        &[&replay[..], &["--listen", "127.0.0.1:0"]].concat(),
        2,
        "--listen",
    );
    let other = FakeServer::start();
    let taken = other.connect_string();
    let error = format!("cannot listen on {taken}: ");
    check(&["replay", path, "--listen", &taken], 1, &error);
    let record = [
        "record",
        "--upstream",
        "127.0.0.1:1",
        "--out",
        "/nowhere/at/all",
    ];
    check(&record, 1, "cannot write /nowhere/at/all: ");
    let record = ["record", "--upstream", "127.0.0.1:1", "--listen", &taken];
    let error = format!("cannot listen on {taken} in front of 127.0.0.1:1: ");
    check(&record, 1, &error);
    check(&["record"], 2, "--upstream");
}

#[test]
fn help_tells_what_becomes_of_secrets() {
    let output = run(&["record", "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "--with-secrets",
        "--no-raw",
        "masked",
        "data of nodes is recorded as it is",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
    let output = run(&["replay", "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "<--server <HOST:PORT>|--listen <ADDRESS:PORT>> <FILE>",
        "With --server: how long",
        "--keep-pauses",
        "exit code",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn a_recorder_says_why_it_cannot_connect() {
    let file = Scratch::new("unreachable");
    let server = FakeServer::start();
    // Its port is kept, and nobody listens there.
    server.faults("refuse".parse().unwrap());
    let upstream = server.connect_string();
    let record = ["record", "--listen", "127.0.0.1:0", "--upstream", &upstream];
    let (mut child, _, address) = start(&[&record[..], &["--out", file.path()]].concat());
    let mut socket = TcpStream::connect(&address).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    signal(&child, "-INT");
    assert!(child.wait().unwrap().success());
    let mut status = String::new();
    child.stderr.unwrap().read_to_string(&mut status).unwrap();
    let why = format!("connection 1: cannot connect to {upstream}: Connection refused");
    assert!(status.starts_with(&why), "{status}");
    let recording = std::fs::read_to_string(file.path()).unwrap();
    assert!(!recording.contains("refused"), "{recording}");
}
