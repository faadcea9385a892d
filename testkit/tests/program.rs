//! The program, from the outside.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{iter, thread};

use homing_testkit::FakeServer;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

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
    let (child, connect) = serve_several(arguments);
    assert!(!connect.contains(','), "{connect}");
    (child, connect)
}

/// The same, for one server or several.
fn serve_several(arguments: &[&str]) -> (Child, String) {
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

/// The exit code of a program that is to end soon.
fn exit_code(child: &mut Child) -> Option<i32> {
    let give_up = Instant::now() + SOON;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None if Instant::now() > give_up => {
                let _ = child.kill();
                panic!("it goes on");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The answer to a four-letter word.
fn word(address: &str, word: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A server that is interrupted at the end of the test.
struct Served {
    child: Child,
    connect: String,
}

impl Served {
    fn new(arguments: &[&str]) -> Self {
        let (child, connect) = serve(arguments);
        Self { child, connect }
    }

    fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.connect).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }

    /// What is answered to these bytes, until the end.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut socket = self.dial();
        let mut answer = String::new();
        // A connection that is one too many may be gone before this.
        let _ = socket.write_all(bytes);
        let _ = socket.read_to_string(&mut answer);
        answer
    }

    /// A new session, and the time-out that it was granted.
    fn session(&self, timeout_ms: i32) -> (TcpStream, i32) {
        let mut socket = self.dial();
        let mut frame = vec![0, 0, 0, 45];
        frame.extend([0; 12]);
        frame.extend(timeout_ms.to_be_bytes());
        frame.extend([0; 8]);
        frame.extend([0, 0, 0, 16]);
        frame.extend([0; 17]);
        socket.write_all(&frame).unwrap();
        let response = read_frame(&mut socket).expect("a handshake");
        (
            socket,
            i32::from_be_bytes(response[4..8].try_into().unwrap()),
        )
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_frame(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    socket.read_exact(&mut len).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// Sends a request, and returns the whole reply.
fn call(socket: &mut TcpStream, xid: i32, op: i32, body: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(8 + body.len()).unwrap();
    let head = [len.to_be_bytes(), xid.to_be_bytes(), op.to_be_bytes()].concat();
    socket.write_all(&[&head, body].concat()).unwrap();
    read_frame(socket)
}

/// The error code in a reply.
fn err(reply: &[u8]) -> i32 {
    i32::from_be_bytes(reply[12..16].try_into().unwrap())
}

fn text(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&len, text.as_bytes()].concat()
}

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("homing-testkit-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
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
    let served = Served::new(&[
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
    let conf = served.ask(b"conf");
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
    assert_eq!(served.ask(b"srvr"), "", "a third connection");
    socket.write_all(&101_u32.to_be_bytes()).unwrap();
    assert_eq!(read_frame(&mut socket), None);
}

#[cfg(feature = "tree")]
#[test]
fn it_begins_with_a_tree_in_either_format() {
    let yaml = File::new("a.yaml", "/app/config: v1\n/app/lease: { ttl_ms: 60000 }\n");
    let json = File::new("a.json", r#"{ "/app/config": "v1", "/app/lease": {} }"#);
    for file in [&yaml, &json] {
        let served = Served::new(&["--tree", file.path(), "--extended-types"]);
        let (mut socket, _) = served.session(10_000);
        let body = [text("/app/config"), vec![0]].concat();
        let reply = call(&mut socket, 1, 4, &body).unwrap();
        assert_eq!(err(&reply), 0);
        assert_eq!(reply[16..22], *b"\0\0\0\x02v1");
    }
}

#[cfg(feature = "tree")]
#[test]
fn a_tree_that_cannot_be_loaded_is_named_with_the_place() {
    let broken = File::new("broken.yaml", "/a: v1\n/b: {\n");
    let relative = File::new("relative.json", r#"{ "a": "" }"#);
    let ttl = File::new("ttl.yaml", "/a: { ttl_ms: 5 }");
    let other = File::new("tree.txt", "");
    let rows = [
        (broken.path(), "line 3"),
        (relative.path(), "\"a\": this is no path"),
        (ttl.path(), "--extended-types"),
        (other.path(), ".json, .yaml or .yml"),
        ("/nonexistent/tree.yaml", "cannot read "),
    ];
    for (path, expected) in rows {
        let output = run(&["serve", "--listen", "127.0.0.1:0", "--tree", path]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(path), "{path} is missing in {errors}");
        assert!(
            errors.contains(expected),
            "{expected} is missing in {errors}"
        );
        assert_eq!(output.stdout, b"", "it does not serve");
    }
}

#[test]
fn latency_and_faults_strike() {
    let served = Served::new(&["--latency", "20", "--faults", "cut to client at write 1"]);
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
    let served = Served::new(&["--dialect", "3.4"]);
    assert!(served.ask(b"srvr").contains("version: 3.4.14-"));
    let (mut socket, _) = served.session(10_000);
    // 107, whoAmI, came with 3.7.
    let reply = call(&mut socket, 1, 107, b"").unwrap();
    assert_eq!(err(&reply), -6);
}

#[test]
fn what_is_not_said_stays_as_the_dialect_has_it() {
    let served = Served::new(&["--dialect", "3.4"]);
    assert_eq!(served.ask(b"ruok"), "imok");
    let served = Served::new(&["--dialect", "3.4", "--four-letter-words", "conf"]);
    assert!(!served.ask(b"ruok").contains("imok"));
    let served = Served::new(&["--dialect", "clickhouse"]);
    assert_eq!(served.session(1).1, 10_000);
    let served = Served::new(&["--dialect", "clickhouse", "--min-session-timeout-ms", "1"]);
    assert_eq!(served.session(70_000).1, 70_000);
    assert_eq!(served.session(5).1, 5);
}

#[test]
fn every_word_and_every_scheme_can_be_named() {
    let words = "*,conf,cons,crst,dirs,dump,envi,gtmk,hash,isro,mntr,ruok,srst,srvr,stat,stmk,\
                 wchc,wchp,wchs";
    let users = File::new("users-of-schemes", "bob:secret\n");
    let schemes = [
        "--require-auth",
        "digest, sasl",
        "--sasl-users",
        users.path(),
    ];
    let served = Served::new(&[&["--four-letter-words", words][..], &schemes].concat());
    assert_eq!(served.ask(b"ruok"), "imok");
}

#[cfg(feature = "tls")]
#[test]
fn certificates_can_be_required_of_a_server_with_tls() {
    let file = |name| format!("{}/tests/tls_files/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let (certificate, key) = (file("certificate"), file("key"));
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], &tls[..]].concat();
    let scheme = ["--require-auth", "x509"];
    let mut child = program(&[&arguments[..], &scheme].concat())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("connect string tls://"), "{line}");
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn a_server_can_begin_without_a_quorum() {
    let served = Served::new(&["--read-only"]);
    assert_eq!(served.ask(b"isro"), "ro");
    assert!(served.ask(b"srvr").contains("\nMode: read-only\n"));
}

/// The first challenge of SASL.
fn challenge(served: &Served) -> Vec<u8> {
    let (mut socket, _) = served.session(10_000);
    call(&mut socket, 1, 102, &[0; 4]).unwrap()
}

#[test]
fn users_come_from_a_file_and_a_seed_makes_the_same_challenge() {
    let users = File::new("users", "# of this test\n\nbob:secret\neve:pass:word\n");
    let seeded = |seed| Served::new(&["--sasl-users", users.path(), "--seed", seed]);
    let (one, same, other) = (seeded("7"), seeded("7"), seeded("8"));
    let first = challenge(&one);
    assert_eq!(err(&first), 0);
    assert!(first.len() > 20, "a challenge");
    assert_eq!(challenge(&same), first);
    assert_ne!(challenge(&other), first);

    let broken = File::new("broken-users", "bob:secret\nhunter2\n");
    let output = run(&["serve", "--sasl-users", broken.path()]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("line 2 has to be user:password"),
        "{errors}"
    );
    assert!(!errors.contains("hunter2"), "{errors}");
    let twice = File::new("users-twice", "bob:secret\neve:secret\nbob:hunter2\n");
    let nobody = File::new("nobody", "# bob:secret\n");
    for (path, expected) in [
        (twice.path(), "line 3 has the user bob again"),
        (nobody.path(), "it has no user"),
        (users.path(), "has no user alice"),
    ] {
        let output = run(&["serve", "--sasl-users", path, "--sasl-super-user", "alice"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(path), "{errors}");
        assert!(errors.contains(expected), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    let output = run(&["serve", "--sasl-users", "/nonexistent"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("cannot read /nonexistent: "), "{errors}");
}

#[test]
fn a_super_user_comes_from_the_command_line_or_a_file() {
    let digest = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
    let file = File::new("digest", &format!("{digest}\n"));
    for arguments in [
        ["--super-digest", digest],
        ["--super-digest-file", file.path()],
    ] {
        let served = Served::new(&arguments);
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
    for bad in [
        "super:admin",
        "bob:xQJmxLMiHGwaqBvst5y6rkB6HQs=",
        "nonsense",
    ] {
        let output = run(&["serve", "--super-digest", bad]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(errors.contains("openssl sha1"), "{errors}");
        assert!(!errors.contains(bad), "{errors}");
    }
}

#[test]
fn an_ensemble_is_served_and_each_member_says_what_it_is() {
    let (mut child, connect) = serve_several(&["--ensemble", "3", "--lag", "1:60000", "-v"]);
    let members: Vec<&str> = connect.split(',').collect();
    assert_eq!(members.len(), 3);
    let modes = members.iter().map(|member| {
        let mut socket = TcpStream::connect(member).unwrap();
        socket.write_all(b"srvr").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let mode = answer.lines().find(|line| line.starts_with("Mode: "));
        mode.map(str::to_owned).unwrap()
    });
    let modes: Vec<_> = modes.collect();
    assert_eq!(modes, ["Mode: follower", "Mode: follower", "Mode: leader"]);
    let errors = child.stderr.take().unwrap();
    let lines = BufReader::new(errors).lines().map(Result::unwrap);
    let lines: Vec<_> = lines.take(6).collect();
    for server in 1..=3 {
        let word =
            format!("server {server}, connection 1: closed: it asked the four-letter word srvr");
        assert!(lines.contains(&word), "{word} is missing in {lines:?}");
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_taken_port_says_what_to_do() {
    let other = FakeServer::start();
    let output = run(&["serve", "--listen", &other.connect_string()]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("choose another port with --listen"),
        "{errors}"
    );
}

#[test]
fn each_connection_has_its_lines_when_they_are_asked_for() {
    let mut served = Served::new(&["-v", "--four-letter-words", "ruok"]);
    let errors = served.child.stderr.take().unwrap();
    let mut lines = BufReader::new(errors).lines().map(Result::unwrap);
    assert_eq!(served.ask(b"ruok"), "imok");
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
fn nonsense_is_refused_and_named() {
    for (arguments, expected) in [
        (&["--listen", "nowhere"][..], "nowhere"),
        (
            &["--listen", "localhost:2181"],
            "an address and a port, such as 127.0.0.1:2181",
        ),
        (&["--tick-time-ms", "0"], "--tick-time-ms"),
        (&["--dialect", "3.3"], "there are 3.4, 3.5"),
        (&["--sasl-super-user", "bob"], "--sasl-users"),
        (&["--server-id", "256"], "--server-id"),
        (&["--ensemble", "0"], "--ensemble"),
        (&["--ensemble", "3", "--lag", "500"], "such as 2:500"),
        (&["--ensemble", "3", "--lag", "4:500"], "no server 4"),
        (&["--lag", "1:500"], "--ensemble"),
        (&["--ensemble", "3", "--read-only"], "--read-only"),
        (&["--ensemble", "3", "--lag", "3:500"], "server 3 leads"),
        (
            &["--ensemble", "3", "--lag", "1:5", "--lag", "1:6"],
            "server 1 has one already",
        ),
        (
            &["--ensemble", "3", "--lag", "1:2147483648"],
            "such as 2:500",
        ),
        (
            &["--ensemble", "2", "--listen", "127.0.0.1:65535"],
            "the last port is 65535",
        ),
        (
            &["--require-auth", "foo"],
            "no scheme \"foo\", they are digest",
        ),
        (&["--require-auth", "digest,"], "no scheme \"\""),
        (&["--require-auth", "Digest"], "no scheme \"Digest\""),
        (&["--require-auth", "sasl"], "--sasl-users"),
        (&["--require-auth", "x509"], "x509 takes TLS"),
        (&["--tick-time-ms", "2147483648"], "--tick-time-ms"),
        (&["--tick-time-ms", "107374183"], "--tick-time-ms"),
        (
            &["--min-session-timeout-ms", "2147483648"],
            "--min-session-timeout-ms",
        ),
        (
            &["--max-session-timeout-ms", "2147483648"],
            "--max-session-timeout-ms",
        ),
        (
            &["--max-session-timeout-ms", "3999"],
            "from 4000 to 3999 ms",
        ),
        (
            &["--min-session-timeout-ms", "40001"],
            "from 40001 to 40000 ms",
        ),
        (&["--latency", "2147483648"], "--latency"),
        (&["--first-zxid", "-1"], "--first-zxid"),
        (&["--first-zxid", "9223372036854775807"], "--first-zxid"),
        (&["--max-request", "0"], "--max-request"),
        (&["--max-request", "2147483648"], "--max-request"),
        (&["--four-letter-words", "ruok,rouk"], "rouk"),
        (&["--faults", "explode"], "explode"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let output = run(&[&["serve"], arguments].concat());
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.contains(expected),
            "{expected} is missing in {errors}"
        );
        assert_eq!(output.stdout, b"");
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
fn a_proxy_says_why_it_cannot_connect() {
    let server = FakeServer::start();
    // Its port is kept, and nobody listens there.
    server.faults("refuse".parse().unwrap());
    let upstream = server.connect_string();
    let (mut child, connect) = proxy(&["-v"], &upstream);
    let mut socket = TcpStream::connect(&connect).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut status = String::new();
    child.stderr.unwrap().read_to_string(&mut status).unwrap();
    let why = format!("connection 1: cannot connect to {upstream}: Connection refused");
    assert!(status.contains(&why), "{status}");
    let over = "connection 1: closed by the proxy, which reaches no server; ";
    assert!(status.contains(over), "{status}");
}

/// What the program says on standard error where it may have so many descriptors, and gets more
/// connections: the line that there are none left.
fn shortage(descriptors: usize, arguments: &[&str]) -> String {
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_homing-testkit")])
        .args(arguments)
        .args(["-v", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let connect = line.trim_end().rsplit(' ').next().unwrap();
    let sockets = [(); 32].map(|()| TcpStream::connect(connect).unwrap());
    let stderr = child.stderr.take().unwrap();
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        // All of them: what it says later must have somewhere to go.
        for line in BufReader::new(stderr).lines().map(Result::unwrap) {
            let _ = sender.send(line);
        }
    });
    let mut lines = iter::from_fn(|| lines.recv_timeout(SOON).ok());
    let short = lines.find(|line| line.contains("Too many open files"));
    signal(&child, "-INT");
    drop(sockets);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    reader.join().unwrap();
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
    let host = "such as localhost:2181";
    for (upstream, expected) in [
        ("nowhere", host),
        ("", host),
        (":2181", host),
        ("::1", host),
        ("a:2181/app", host),
        ("a:65536", host),
        ("a:1,b:2", "one server, such as localhost:2181"),
        ("127.0.0.1:0", "nobody listens on port 0"),
        (
            "no.such.invalid:1",
            "cannot use --upstream no.such.invalid:1: ",
        ),
    ] {
        for subcommand in ["proxy", "record"] {
            let arguments = ["--upstream", upstream, "--listen", "127.0.0.1:0"];
            let output = run(&[&[subcommand][..], &arguments].concat());
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(matches!(output.status.code(), Some(1 | 2)), "{errors}");
            assert!(errors.contains("--upstream"), "{errors}");
            assert!(errors.contains(expected), "{upstream}: {errors}");
            assert!(!errors.contains("cannot listen"), "{errors}");
        }
    }
    let server = FakeServer::start();
    let port = server.addr().port();
    let (mut child, connect) = proxy(&[], &format!("localhost:{port}"));
    assert!(word(&connect, "srvr").contains("\nMode: standalone\n"));
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(0));
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

/// More connections than it takes to fill a pipe, and all that waits to be written to it.
const MANY: usize = 3000;

#[test]
fn lines_that_nobody_reads_stop_no_server_and_are_counted() {
    let (mut child, connect) = serve(&["-v"]);
    for _ in 0..MANY {
        assert!(word(&connect, "srvr").contains("\nMode: standalone\n"));
    }
    // They are read at last, and what is missing is known where it is missing.
    let errors = child.stderr.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(errors).lines().map(Result::unwrap);
        lines.for_each(|line| sender.send(line).unwrap());
    });
    let mut lines: Vec<String> = Vec::new();
    let mut connections = MANY;
    while !lines.iter().any(|line| line.ends_with(" left out")) {
        assert_ne!(word(&connect, "srvr"), "");
        connections += 1;
        lines.extend(receiver.try_iter());
        assert!(
            connections < 10 * MANY,
            "none of {} is missing",
            lines.len()
        );
    }
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(0));
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
        let (mut served, address) = serve(&["-v"]);
        let (mut passed, through) = proxy(&["-v"], &server.connect_string());
        for _ in 0..MANY / 2 {
            assert_ne!(word(&address, "srvr"), "");
            assert_ne!(word(&through, "srvr"), "");
        }
        for child in [&mut served, &mut passed] {
            signal(child, name);
            assert_eq!(exit_code(child), Some(0), "{name}");
        }
    }
}

/// A recording that nobody reads, with so much in it that it stands still.
fn unread_recording(upstream: &str) -> (Child, String) {
    let arguments = ["--listen", "127.0.0.1:0", "--upstream", upstream];
    let mut child = program(&["record"]).args(arguments).spawn().unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    child.stderr = Some(errors.into_inner());
    let address = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    let is_answered = |limit| {
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.set_read_timeout(Some(limit)).unwrap();
        socket.write_all(b"srvr").unwrap();
        socket.read_to_string(&mut String::new()).is_ok()
    };
    let stuck = iter::repeat_with(|| is_answered(Duration::from_secs(3)));
    assert!(stuck.take(10_000).any(|it| !it), "it goes on");
    (child, address)
}

#[test]
fn a_recording_that_nobody_reads_waits_and_can_be_ended() {
    let server = FakeServer::start();
    let (mut child, _) = unread_recording(&server.connect_string());
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(1));
    let mut errors = String::new();
    child.stderr.unwrap().read_to_string(&mut errors).unwrap();
    let expected =
        "homing-testkit: nobody reads standard output: the end of the recording is missing\n";
    assert_eq!(errors, expected);
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let server = FakeServer::start();
    let (mut child, _) = unread_recording(&server.connect_string());
    // Two of the same kind may be taken for one.
    signal(&child, "-TERM");
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(130));
}

#[test]
fn a_server_tells_at_its_end_which_faults_have_struck() {
    let faults = [
        "-v",
        "--faults",
        "cut on connection 1; hang on connection 9",
    ];
    let struck = "faults: 1 × cut on connection 1; 0 × hang on connection 9";
    let (mut child, connect) = serve(&faults);
    let mut socket = TcpStream::connect(&connect).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0);
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(0));
    let mut errors = String::new();
    child.stderr.unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.ends_with(&format!("\n{struck}\n")), "{errors}");

    let (mut child, connect) = serve_several(&[&faults[..], &["--ensemble", "2"]].concat());
    let mut socket = TcpStream::connect(connect.split(',').next().unwrap()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0);
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(0));
    let mut errors = String::new();
    child.stderr.unwrap().read_to_string(&mut errors).unwrap();
    let other = struck.replace("1 ×", "0 ×");
    let expected = format!("\nserver 1, {struck}\nserver 2, {other}\n");
    assert!(errors.ends_with(&expected), "{errors}");
}

#[test]
fn where_there_are_no_faults_nothing_is_said_of_them() {
    let server = FakeServer::start();
    let (served, _) = serve(&["-v"]);
    let (passed, _) = proxy(&["-v"], &server.connect_string());
    for mut child in [served, passed] {
        signal(&child, "-INT");
        assert_eq!(exit_code(&mut child), Some(0));
        let mut errors = String::new();
        child.stderr.unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(errors, "");
    }
}

#[test]
fn a_script_that_is_wrong_has_its_examples_in_the_help_of_its_subcommand() {
    let wrong = ["--listen", "127.0.0.1:0", "--faults", "explode"];
    let upstream = ["--upstream", "127.0.0.1:1"];
    for (subcommand, others) in [("serve", &[][..]), ("proxy", &upstream)] {
        let output = run(&[&[subcommand], &wrong[..], others].concat());
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        let advice = format!("\"homing-testkit {subcommand} --help\" has an example of each\n");
        assert!(errors.ends_with(&advice), "{errors}");
    }
}
