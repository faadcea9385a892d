//! `record` and `replay`.

use std::io::Read;

use homing_testkit::FakeServer;

use super::{Running, Scratch, first_line, program, refused, refusing, run};

/// A recording in a file.
fn record(upstream: &str, more: &[&str]) -> Running {
    let listens = ["record", "--listen", "127.0.0.1:0", "--upstream", upstream];
    Running::start(&mut program(&[&listens, more].concat()))
}

/// A recording on standard output, whose one line is on standard error.
pub(crate) fn on_standard_output(arguments: &[&str]) -> Running {
    let listens = ["record", "--listen", "127.0.0.1:0"];
    let mut child = program(&[&listens, arguments].concat()).spawn().unwrap();
    let line = first_line(child.stderr.as_mut().unwrap());
    Running::new(child, line)
}

#[test]
fn what_it_records_it_plays_either_side_of() {
    let file = Scratch::new("played");
    let server = Running::serve(&["--four-letter-words", "ruok,isro"]);
    let upstream = &server.connect;
    let recorder = record(upstream, &["--out", file.path()]);
    let address = &recorder.connect;
    let expected =
        format!("recording ZooKeeper {upstream} on {address}, connect string {address}\n");
    assert_eq!(recorder.line, expected);
    assert_eq!(recorder.ask("isro"), "rw");
    recorder.end_by("-INT");
    let recording = std::fs::read_to_string(file.path()).unwrap();
    assert!(
        recording.starts_with("# homing-testkit recording 1\n"),
        "{recording}"
    );
    for line in ["1 -> word \"isro\"\t6973726f\n", "1 <- text \"rw\"\t7277\n"] {
        assert!(recording.contains(line), "{recording}");
    }

    let output = run(&["replay", file.path(), "--server", upstream]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"no difference\n");

    // Another server, which does not answer that.
    let other = Running::serve(&[]);
    let output = run(&["replay", file.path(), "--server", &other.connect]);
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

    let replay = ["replay", file.path(), "--listen", "127.0.0.1:0"];
    let mut replayed = Running::start(&mut program(&replay));
    assert_eq!(replayed.ask("isro"), "rw");
    assert_eq!(replayed.exit_code(), Some(0));
    let mut replayed = Running::start(&mut program(&replay));
    replayed.ask("ruok");
    assert_eq!(replayed.exit_code(), Some(1));
    let error = replayed.errors();
    let expected = "connection 1: recorded word \"isro\", now word \"ruok\"\n";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn a_recording_without_a_file_is_on_standard_output() {
    let server = Running::serve(&["--four-letter-words", "ruok"]);
    let mut recorder = on_standard_output(&["--upstream", &server.connect, "--no-raw"]);
    assert_eq!(recorder.ask("ruok"), "imok");
    let mut stdout = recorder.child.stdout.take().unwrap();
    recorder.end_by("-TERM");
    let mut recording = String::new();
    stdout.read_to_string(&mut recording).unwrap();
    assert!(
        recording.starts_with("# homing-testkit recording 1\n"),
        "{recording}"
    );
    assert!(recording.contains("1 <- text \"imok\"\n"), "{recording}");
}

#[test]
fn a_recording_with_secrets_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let file = Scratch::new("secret");
    let recorder = record("127.0.0.1:1", &["--with-secrets", "--out", file.path()]);
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    recorder.end_by("-INT");
}

#[test]
fn what_was_recorded_before_is_lost_to_a_recording_and_to_nothing_else() {
    let before = "# homing-testkit recording 1\n0.0 1 +\n0.0 1 ->|\n0.0 1 |<-\n";
    let file = Scratch::with("before", before);
    let out = ["--out", file.path()];
    let content = || std::fs::read_to_string(file.path()).unwrap();
    let other = FakeServer::start();
    let taken = other.connect_string();
    let upstream = ["--upstream", "127.0.0.1:1"];
    let record_there = [&["record", "--listen", &taken], &upstream[..], &out].concat();
    let (_, errors) = refused(&record_there);
    assert!(errors.contains("cannot listen on "), "{errors}");
    assert_eq!(content(), before);
    record("127.0.0.1:1", &out).end_by("-INT");
    assert_eq!(content(), "# homing-testkit recording 1\n");
    // What has no length is written to as well.
    record("127.0.0.1:1", &["--out", "/dev/null"]).end_by("-INT");
}

#[test]
fn what_cannot_be_recorded_or_played_is_named() {
    let file = Scratch::new("broken");
    let path = file.path();
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let (actual, errors) = refused(arguments);
        assert_eq!(actual, code, "{errors}");
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
    check(&replay, 1, "nobody says anything in it: ");
    let said = "# homing-testkit recording 1\n0.0 1 -> word \"ruok\"\t72756f6b";
    std::fs::write(path, said).unwrap();
    check(&replay, 1, "line 2: it is cut off, ");
    let within = [said.as_bytes(), &"…".as_bytes()[..2]].concat();
    std::fs::write(path, within).unwrap();
    check(&replay, 1, "line 2: it is cut off, ");
    std::fs::write(path, format!("{said}\n")).unwrap();
    check(&replay, 1, "cannot connect to 127.0.0.1:1: ");
    for patience in ["0", "86401"] {
        let arguments = [&replay[..], &["--patience", patience]].concat();
        check(&arguments, 2, "--patience");
    }
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
    let server = refusing();
    let upstream = server.connect_string();
    let recorder = record(&upstream, &["--out", file.path()]);
    assert_eq!(recorder.dial().read(&mut [0]).unwrap(), 0);
    let status = recorder.end_by("-INT");
    let why = format!("connection 1: cannot connect to {upstream}: Connection refused");
    assert!(status.starts_with(&why), "{status}");
    let recording = std::fs::read_to_string(file.path()).unwrap();
    assert!(!recording.contains("refused"), "{recording}");
}
