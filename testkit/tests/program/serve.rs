//! `serve`: one server or an ensemble, as it is asked for.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use super::{Running, Scratch, ask, call, dial, err, is_cut, read_frame, run, text};

#[test]
fn it_serves_until_it_is_interrupted() {
    for name in ["-INT", "-TERM"] {
        let served = Running::serve(&[]);
        let answer = served.ask("srvr");
        assert!(answer.contains("\nMode: standalone\n"), "{answer}");
        assert_eq!(served.end_by(name), "", "{name}");
    }
}

#[test]
fn words_can_be_allowed() {
    let served = Running::serve(&["--four-letter-words", "ruok,isro"]);
    assert_eq!(served.ask("ruok"), "imok");
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
        "tickTime",
        "minSessionTimeout",
        "maxClientCnxns",
        "globalOutstandingLimit",
        "jute.maxbuffer",
        "--dialect",
        "clickhouse",
        "--sasl-users",
        "--read-only",
        "cut to client at write 2",
        "scheme:id:cdrwa",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn limits_are_those_that_were_asked_for() {
    let served = Running::serve(&[
        "--tick-time-ms",
        "100",
        "--min-session-timeout-ms",
        "300",
        "--max-session-timeout-ms",
        "7000",
        "--max-connections",
        "2",
        "--max-request",
        "100",
        "--four-letter-words",
        "conf",
    ]);
    let conf = served.ask("conf");
    for line in [
        "tickTime=100\n",
        "minSessionTimeout=300\n",
        "maxSessionTimeout=7000\n",
    ] {
        assert!(conf.contains(line), "{line:?} is missing in {conf}");
    }
    let (mut socket, timeout) = served.session(60_000);
    assert_eq!(timeout, 7000);
    let (_other, timeout) = served.session(1);
    assert_eq!(timeout, 300);
    assert_eq!(served.ask("srvr"), "", "a third connection");
    socket.write_all(&101_u32.to_be_bytes()).unwrap();
    assert_eq!(read_frame(&mut socket), None);
}

#[cfg(feature = "tree")]
#[test]
fn it_begins_with_a_tree_in_either_format() {
    let yaml = Scratch::with("a.yaml", "/app/config: v1\n/app/lease: { ttl_ms: 60000 }\n");
    let json = Scratch::with("a.json", r#"{ "/app/config": "v1", "/app/lease": {} }"#);
    for file in [&yaml, &json] {
        let served = Running::serve(&["--tree", file.path(), "--extended-types"]);
        let (mut socket, _) = served.session(10_000);
        let body = [text("/app/config"), vec![0]].concat();
        let reply = call(&mut socket, 1, 4, &body).unwrap();
        assert_eq!(err(&reply), 0);
        assert_eq!(reply[16..22], *b"\0\0\0\x02v1");
    }
}

#[test]
fn latency_and_faults_strike() {
    let served = Running::serve(&["--latency", "20", "--faults", "cut to client at write 1"]);
    let (mut socket, _) = served.session(10_000);
    let sent = Instant::now();
    let reply = call(&mut socket, 1, 9, &text("/")).unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(20));
    assert_eq!(err(&reply), 0);
    // It is applied, and nobody is told.
    let open = [
        &[0, 0, 0, 1, 0, 0, 0, 31][..],
        &text("world"),
        &text("anyone"),
    ]
    .concat();
    let create = [text("/a"), text(""), open, vec![0; 4]].concat();
    assert_eq!(call(&mut socket, 2, 1, &create), None);
    let (mut socket, _) = served.session(10_000);
    let reply = call(&mut socket, 1, 3, &[text("/a"), vec![0]].concat()).unwrap();
    assert_eq!(err(&reply), 0);
}

#[test]
fn a_dialect_is_spoken() {
    let served = Running::serve(&["--dialect", "3.4"]);
    assert!(served.ask("srvr").contains("version: 3.4.14-"));
    let (mut socket, _) = served.session(10_000);
    // 107, whoAmI, came with 3.7.
    let reply = call(&mut socket, 1, 107, b"").unwrap();
    assert_eq!(err(&reply), -6);
}

#[test]
fn what_is_not_said_stays_as_the_dialect_has_it() {
    let served = Running::serve(&["--dialect", "3.4"]);
    assert_eq!(served.ask("ruok"), "imok");
    let served = Running::serve(&["--dialect", "3.4", "--four-letter-words", "conf"]);
    assert!(!served.ask("ruok").contains("imok"));
    let served = Running::serve(&["--dialect", "clickhouse"]);
    assert_eq!(served.session(1).1, 10_000);
    let served = Running::serve(&["--dialect", "clickhouse", "--min-session-timeout-ms", "1"]);
    assert_eq!(served.session(70_000).1, 70_000);
    assert_eq!(served.session(5).1, 5);
}

#[test]
fn every_word_and_every_scheme_can_be_named() {
    let words = "*,conf,cons,crst,dirs,dump,envi,gtmk,hash,isro,mntr,ruok,srst,srvr,stat,stmk,\
                 wchc,wchp,wchs";
    let users = Scratch::with("users-of-schemes", "bob:secret\n");
    let schemes = [
        "--require-auth",
        "digest, sasl",
        "--sasl-users",
        users.path(),
    ];
    let served = Running::serve(&[&["--four-letter-words", words][..], &schemes].concat());
    assert_eq!(served.ask("ruok"), "imok");
}

#[cfg(feature = "tls")]
#[test]
fn certificates_can_be_required_of_a_server_with_tls() {
    let file = |name| format!("{}/tests/tls_files/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let (certificate, key) = (file("certificate"), file("key"));
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], &tls[..]].concat();
    let scheme = ["--require-auth", "x509"];
    let served = Running::start(&mut super::program(&[&arguments[..], &scheme].concat()));
    let line = &served.line;
    assert!(line.contains("connect string tls://"), "{line}");
    served.end_by("-INT");
}

#[test]
fn a_server_can_begin_without_a_quorum() {
    let served = Running::serve(&["--read-only"]);
    assert_eq!(served.ask("isro"), "ro");
    assert!(served.ask("srvr").contains("\nMode: read-only\n"));
}

/// The first challenge of SASL.
fn challenge(served: &Running) -> Vec<u8> {
    let (mut socket, _) = served.session(10_000);
    call(&mut socket, 1, 102, &[0; 4]).unwrap()
}

#[test]
fn users_come_from_a_file_and_a_seed_makes_the_same_challenge() {
    let users = Scratch::with("users", "# of this test\n\nbob:secret\neve:pass:word\n");
    let seeded = |seed| Running::serve(&["--sasl-users", users.path(), "--seed", seed]);
    let (one, same, other) = (seeded("7"), seeded("7"), seeded("8"));
    let first = challenge(&one);
    assert_eq!(err(&first), 0);
    assert!(first.len() > 20, "a challenge");
    assert_eq!(challenge(&same), first);
    assert_ne!(challenge(&other), first);
}

#[test]
fn a_super_user_comes_from_the_command_line_or_a_file() {
    let digest = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
    let file = Scratch::with("digest", &format!("{digest}\n"));
    for arguments in [
        ["--super-digest", digest],
        ["--super-digest-file", file.path()],
    ] {
        let served = Running::serve(&arguments);
        let (mut socket, _) = served.session(10_000);
        let auth = [vec![0; 4], text("digest"), text("super:admin")].concat();
        assert_eq!(err(&call(&mut socket, -4, 100, &auth).unwrap()), 0);
        let who = call(&mut socket, 1, 107, b"").unwrap();
        let names = String::from_utf8_lossy(&who);
        assert!(
            names.contains("digest") && names.ends_with("super\0\0\0\0"),
            "{names:?}"
        );
    }
}

#[test]
fn an_ensemble_is_served_and_each_member_says_what_it_is() {
    let mut served = Running::serve(&["--ensemble", "3", "--lag", "1:60000", "-v"]);
    let modes = served.connect.split(',').map(|member| {
        let answer = ask(member, "srvr");
        let mode = answer.lines().find(|line| line.starts_with("Mode: "));
        mode.map(str::to_owned).unwrap()
    });
    let modes: Vec<_> = modes.collect();
    assert_eq!(modes, ["Mode: follower", "Mode: follower", "Mode: leader"]);
    let errors = served.child.stderr.take().unwrap();
    let lines = BufReader::new(errors).lines().map(Result::unwrap);
    let lines: Vec<_> = lines.take(6).collect();
    for server in 1..=3 {
        let word =
            format!("server {server}, connection 1: closed: it asked the four-letter word srvr");
        assert!(lines.contains(&word), "{word} is missing in {lines:?}");
    }
}

#[test]
fn each_connection_has_its_lines_when_they_are_asked_for() {
    let mut served = Running::serve(&["-v", "--four-letter-words", "ruok"]);
    let errors = served.child.stderr.take().unwrap();
    let mut lines = BufReader::new(errors).lines().map(Result::unwrap);
    assert_eq!(served.ask("ruok"), "imok");
    let from = lines.next().unwrap();
    assert!(
        from.starts_with("connection 1: accepted from 127.0.0.1:"),
        "{from}"
    );
    assert_eq!(
        lines.next().unwrap(),
        "connection 1: closed: it asked the four-letter word ruok"
    );
    let (mut socket, _) = served.session(60_000);
    let from = lines.next().unwrap();
    let port = socket.local_addr().unwrap().port();
    assert_eq!(
        from,
        format!("connection 2: accepted from 127.0.0.1:{port}")
    );
    let begun = lines.next().unwrap();
    assert!(begun.starts_with("connection 2, session 0x1"), "{begun}");
    assert!(begun.ends_with(": begun, time-out 40000 ms"), "{begun}");
    assert_eq!(err(&call(&mut socket, 1, -11, b"").unwrap()), 0);
    let closed = lines.next().unwrap();
    assert!(
        closed.ends_with(": closed: the client closed its session"),
        "{closed}"
    );
}

#[test]
fn a_server_tells_at_its_end_which_faults_have_struck() {
    let faults = [
        "-v",
        "--faults",
        "cut on connection 1; hang on connection 9",
    ];
    let struck = "faults: 1 × cut on connection 1; 0 × hang on connection 9";
    let served = Running::serve(&faults);
    assert!(is_cut(served.dial()));
    // What is there at the end is over too.
    let _open = served.session(60_000);
    let errors = served.end_by("-INT");
    let end = format!(": closed: the server was stopped\n{struck}\n");
    assert!(errors.ends_with(&end), "{errors}");

    let served = Running::serve(&[&faults[..], &["--ensemble", "2"]].concat());
    let first = served.connect.split(',').next().unwrap();
    assert!(is_cut(dial(first)));
    let errors = served.end_by("-INT");
    let other = struck.replace("1 ×", "0 ×");
    let expected = format!("\nserver 1, {struck}\nserver 2, {other}\n");
    assert!(errors.ends_with(&expected), "{errors}");
}
