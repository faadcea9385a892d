//! The program, from the outside.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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

/// Starts a server and returns it with the address from its one line.
fn serve(arguments: &[&str]) -> (Child, String) {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
    let mut child = program(&arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let connect = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(
        line,
        format!("serving ZooKeeper on {connect}, connect string {connect}\n")
    );
    (child, connect)
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn it_serves_until_it_is_interrupted() {
    for name in ["-INT", "-TERM"] {
        let (mut child, connect) = serve(&[]);
        let mut socket = TcpStream::connect(&connect).unwrap();
        socket.write_all(b"srvr").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\nMode: standalone\n"), "{answer}");

        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
        let mut errors = String::new();
        child.stderr.unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(errors, "");
    }
}

#[test]
fn words_can_be_allowed() {
    let (mut child, connect) = serve(&["--four-letter-words", "ruok,isro"]);
    let mut socket = TcpStream::connect(&connect).unwrap();
    socket.write_all(b"ruok").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "imok");
    signal(&child, "-INT");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_taken_port_is_named() {
    let other = FakeServer::start();
    let address = other.connect_string();
    let output = run(&["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with(&format!("homing-testkit: cannot listen on {address}: ")),
        "{errors}"
    );
    assert_eq!(output.stdout, b"");
}

#[test]
fn help_tells_what_it_does() {
    let output = run(&["serve", "--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "--listen",
        "127.0.0.1:2181",
        "--tick-time-ms",
        "interrupted",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn nonsense_is_refused() {
    for arguments in [
        &["serve", "--listen", "nowhere"][..],
        &["serve", "--tick-time-ms", "0"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(!output.stderr.is_empty());
    }
}

/// A proxy and its connect string.
fn proxy(arguments: &[&str], upstream: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_homing-testkit"))
        .args(["proxy", "--listen", "127.0.0.1:0", "--upstream", upstream])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let connect = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    let expected = format!("proxy on {connect} to {upstream}, connect string {connect}\n");
    assert_eq!(line, expected);
    (child, connect)
}

#[test]
fn a_proxy_does_what_its_script_says_and_tells_so() {
    let server = FakeServer::start();
    let faults = ["--faults", "cut on connection 1", "--seed", "7", "-v"];
    let (mut child, connect) = proxy(&faults, &server.connect_string());
    let answers = [(); 2].map(|()| {
        let mut socket = TcpStream::connect(&connect).unwrap();
        let _ = socket.write_all(b"srvr");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer
    });
    assert_eq!(answers[0], "");
    assert!(answers[1].contains("\nMode: standalone\n"), "{answers:?}");
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut status = String::new();
    child.stderr.unwrap().read_to_string(&mut status).unwrap();
    assert!(status.contains("connection 1: from 127.0.0.1:"), "{status}");
    assert!(
        status.contains("connection 1: closed by a fault; "),
        "{status}"
    );
    assert!(
        status.ends_with("faults: 1 × cut on connection 1\n"),
        "{status}"
    );
}

#[test]
fn faults_come_from_a_file_too() {
    let path = std::env::temp_dir().join(format!("homing-faults-{}.txt", std::process::id()));
    std::fs::write(&path, "# all of it\ncut\n").unwrap();
    let server = FakeServer::start();
    let file = path.to_str().unwrap();
    let (mut child, connect) = proxy(&["--faults-file", file], &server.connect_string());
    let mut socket = TcpStream::connect(&connect).unwrap();
    let _ = socket.read(&mut [0]);
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());

    std::fs::write(&path, "cut\nslice").unwrap();
    let upstream = [
        "proxy",
        "--upstream",
        "127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
    ];
    let output = run(&[&upstream[..], &["--faults-file", file]].concat());
    std::fs::remove_file(&path).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let expected =
        format!("homing-testkit: {file}: item 2 of the faults, \"slice\", at \"slice\": ");
    assert!(errors.starts_with(&expected), "{errors}");
    assert_eq!(output.status.code(), Some(1));

    let output = run(&[&upstream[..], &["--faults-file", file]].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with("homing-testkit: cannot read "),
        "{errors}"
    );
}

#[test]
fn a_server_without_an_address_is_named() {
    let output = run(&["proxy", "--upstream", "nowhere", "--listen", "127.0.0.1:0"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    let expected = "homing-testkit: cannot listen on 127.0.0.1:0 in front of nowhere: ";
    assert!(errors.starts_with(expected), "{errors}");
}

#[test]
fn help_has_every_fault() {
    let output = run(&["proxy", "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains(homing_testkit::faults::REFERENCE.trim_end()),
        "{help}"
    );
}
