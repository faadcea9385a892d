//! `proxy`: a real server, or another, through faults.

use std::io::Read;

use homing_protocol::op;
use homing_testkit::FakeServer;

use super::{Running, Scratch, call, err, is_cut, program, refused, refusing, run, text};

#[test]
fn a_proxy_does_what_its_script_says_and_tells_so() {
    let server = FakeServer::start();
    let faults = ["--faults", "cut on connection 1", "--seed", "7", "-v"];
    let proxy = Running::proxy(&faults, &server.connect_string());
    assert_eq!(proxy.ask("srvr"), "");
    let answer = proxy.ask("srvr");
    assert!(answer.contains("\nMode: standalone\n"), "{answer}");
    let status = proxy.end_by("-INT");
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
fn a_proxy_says_why_it_cannot_connect() {
    let server = refusing();
    let upstream = server.connect_string();
    let proxy = Running::proxy(&["-v"], &upstream);
    assert_eq!(proxy.dial().read(&mut [0]).unwrap(), 0);
    let status = proxy.end_by("-INT");
    let why = format!("connection 1: cannot connect to {upstream}: Connection refused");
    assert!(status.contains(&why), "{status}");
    let over = "connection 1: closed by the proxy, which reaches no server; ";
    assert!(status.contains(over), "{status}");
}

#[test]
fn a_proxy_is_not_its_own_server() {
    let server = refusing();
    let listen = server.connect_string();
    let upstream = format!("localhost:{}", server.addr().port());
    for subcommand in ["proxy", "record"] {
        let arguments = ["--listen", &listen, "--upstream", &upstream];
        let arguments = [&[subcommand], &arguments[..]].concat();
        let mut running = Running::start(&mut program(&arguments));
        assert_eq!(running.line, "");
        assert_eq!(running.exit_code(), Some(1));
        let expected = format!(
            "homing-testkit: the proxy itself would be its server: it listens at {listen}; \
             choose another port with --listen, or 0 for a free one\n"
        );
        assert_eq!(running.errors(), expected);
    }
}

#[test]
fn a_proxy_says_what_was_in_vain() {
    let server = FakeServer::builder().max_client_connections(1);
    let server = server.start().unwrap();
    let faults = ["--faults", "expire at getData 1", "-v"];
    let proxy = Running::proxy(&faults, &server.connect_string());
    let (mut session, _) = proxy.session(10_000);
    let get = [text("/zookeeper"), vec![0]].concat();
    assert_eq!(err(&call(&mut session, 1, op::GET_DATA, &get).unwrap()), 0);
    let status = proxy.end_by("-INT");
    let line = "connection 1: in vain: expire at getData 1: the server closed the connection\n";
    assert!(status.contains(line), "{status}");
    let last = "faults: 0 × expire at getData 1\n";
    assert!(status.ends_with(last), "{status}");
}

#[test]
fn faults_come_from_a_file_too() {
    let file = Scratch::with("faults.txt", "# all of it\ncut\n");
    let faults = ["--faults-file", file.path()];
    let server = FakeServer::start();
    let proxy = Running::proxy(&faults, &server.connect_string());
    assert!(is_cut(proxy.dial()));
    proxy.end_by("-TERM");

    std::fs::write(file.path(), "cut\nslice").unwrap();
    let proxy = ["proxy", "--upstream", "127.0.0.1:1"];
    let arguments = [&proxy[..], &["--listen", "127.0.0.1:0"], &faults].concat();
    let (code, errors) = refused(&arguments);
    let path = file.path();
    let expected =
        format!("homing-testkit: {path}: item 2 of the faults, \"slice\", at \"slice\": ");
    assert!(errors.starts_with(&expected), "{errors}");
    assert_eq!(code, 1);

    std::fs::remove_file(path).unwrap();
    let (_, errors) = refused(&arguments);
    let expected = format!("homing-testkit: cannot read {path}: ");
    assert!(errors.starts_with(&expected), "{errors}");
}

#[test]
fn help_has_every_fault() {
    let output = run(&["proxy", "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    let faults = homing_testkit::faults::REFERENCE.trim_end();
    assert!(help.contains(faults), "{help}");
}

#[test]
fn where_there_are_no_faults_nothing_is_said_of_them() {
    let server = FakeServer::start();
    let served = Running::serve(&["-v"]);
    let passed = Running::proxy(&["-v"], &server.connect_string());
    for running in [served, passed] {
        assert_eq!(running.end_by("-INT"), "");
    }
}
