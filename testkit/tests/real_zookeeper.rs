//! The launcher of a real ZooKeeper: it serves, it can be killed, restarted and paused, and it
//! leaves nothing behind, however the process that started it ends.
//!
//! What is waited for here (the end of processes that are not this one's children) has no way to
//! call, so it is looked at again and again, up to a deadline.

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, ConnectRequest, ConnectResponse, Create, CreateMode, GetData, Record, ReplyHeader,
    RequestHeader, SessionPassword, op, put_request, reply,
};
use homing_testkit::real::{self, StartError, ZooKeeper};

#[test]
fn a_session_survives_the_kill_of_its_server() {
    let Some(mut server) = start() else { return };
    let (mut connection, session) = Connection::open(server.addr(), None);
    assert_ne!(session.session_id, 0);
    assert_eq!(session.timeout_ms, 10_000, "20 ticks of 500 ms");
    assert_eq!(session.password.as_bytes().len(), 16);
    connection.create("/kept", b"yes");

    server.kill();
    assert!(server.ask("ruok").is_err());
    assert!(connection.is_closed());
    server.restart().unwrap();

    let (mut connection, resumed) = Connection::open(server.addr(), Some(&session));
    assert_eq!(resumed.session_id, session.session_id);
    assert_eq!(connection.get("/kept"), "yes");

    // The password is looked at: with another one the same session is refused.
    let forged = ConnectResponse {
        password: SessionPassword::new(&[7; 16]).unwrap(),
        ..session
    };
    let (_, refused) = Connection::open(server.addr(), Some(&forged));
    assert_eq!((refused.timeout_ms, refused.session_id), (0, 0));
}

#[test]
fn a_paused_server_keeps_its_connections_and_says_nothing() {
    let Some(mut server) = start() else { return };
    let (mut connection, _) = Connection::open(server.addr(), None);
    connection.create("/a", b"1");

    server.pause();
    connection.send(op::GET_DATA, &get("/a"));
    let within = Some(Duration::from_millis(200));
    connection.stream.set_read_timeout(within).unwrap();
    let silence = connection.stream.peek(&mut [0]).unwrap_err().kind();
    assert!(
        matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silence:?}"
    );

    server.resume();
    connection.stream.set_read_timeout(PATIENCE).unwrap();
    let (data, _) = reply::get_data(&connection.receive()).unwrap();
    assert_eq!(data.as_deref(), Some(&b"1"[..]));
}

#[test]
fn settings_reach_the_server() {
    if real::requirement().is_none() {
        return;
    }
    let server = ZooKeeper::builder()
        .tick_time(Duration::from_millis(300))
        .property("maxSessionTimeout", "60000")
        .system_property("org.slf4j.simpleLogger.defaultLogLevel", "info")
        .jvm_option("-Duser.name=somebody")
        .start()
        .unwrap();
    let settings = server.ask("conf").unwrap();
    for line in [
        "tickTime=300",
        "minSessionTimeout=600",
        "maxSessionTimeout=60000",
    ] {
        assert!(settings.lines().any(|l| l == line), "{line}: {settings}");
    }
    assert!(server.log().contains("INFO"), "{}", server.log());
    let environment = server.ask("envi").unwrap();
    assert!(environment.contains("user.name=somebody"), "{environment}");
    assert_eq!(server.connect_string(), server.addr().to_string());
    assert!(server.version().starts_with("3."), "{}", server.version());
}

#[test]
fn a_server_that_cannot_start_says_why() {
    if real::requirement().is_none() {
        return;
    }
    let error = ZooKeeper::builder()
        .property("maxClientCnxns", "many")
        .start()
        .unwrap_err();
    assert!(matches!(error, StartError::Exited { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("NumberFormatException") && text.contains("many"),
        "{text}"
    );
}

#[test]
fn a_dead_server_takes_any_command() {
    let Some(mut server) = start() else { return };
    server.kill();
    server.kill();
    server.pause();
    server.resume();
    server.restart().unwrap();
    let first = server.pid();
    server.restart().unwrap();
    assert!(!is_alive(first), "the one before was killed");
    assert!(server.ask("srvr").unwrap().contains("Mode: standalone"));
}

#[test]
fn a_port_that_is_taken_for_a_while_is_waited_for() {
    let Some(mut server) = start() else { return };
    server.kill();
    let squatter = std::net::TcpListener::bind(server.addr()).unwrap();
    let folder = server.folder().to_owned();
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first JVM fails on the port, and only then is it free again.
            let log = folder.join("log");
            let failed = || {
                std::fs::read_to_string(&log)
                    .unwrap()
                    .contains("BindException")
            };
            until(failed, "a failure to bind");
            drop(squatter);
        });
        server.restart().unwrap();
    });
}

#[test]
fn a_dropped_server_is_gone() {
    let Some(server) = start() else { return };
    let left = Left::of(&server);
    assert!(is_alive(left.jvm) && left.folder.join("data").exists());
    drop(server);
    assert!(!is_alive(left.jvm), "the JVM");
    assert!(!left.folder.exists(), "{}", left.folder.display());
}

#[test]
fn a_panic_takes_the_server_along() {
    let Some(server) = start() else { return };
    let left = Left::of(&server);
    let panicked = thread::spawn(move || {
        let _server = server;
        std::panic::resume_unwind(Box::new("a test that fails"));
    });
    assert!(panicked.join().is_err());
    assert!(!is_alive(left.jvm) && !left.folder.exists());
}

#[test]
fn a_killed_process_leaves_no_running_server() {
    a_killed_process_leaves_nothing_of("running");
}

#[test]
fn a_killed_process_leaves_no_paused_server() {
    a_killed_process_leaves_nothing_of("paused");
}

#[test]
fn a_killed_process_leaves_no_dead_server() {
    a_killed_process_leaves_nothing_of("dead");
}

#[test]
fn a_killed_process_leaves_no_server_that_was_just_starting() {
    a_killed_process_leaves_nothing_of("starting");
}

#[test]
fn the_shared_server_ends_with_the_process() {
    let Some((mut holder, left)) = hold("shared") else {
        return;
    };
    // Its end of the test is ours.
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    left.is_gone();
}

fn a_killed_process_leaves_nothing_of(state: &str) {
    let Some((mut holder, left)) = hold(state) else {
        return;
    };
    assert_eq!(is_alive(left.jvm), state != "dead");
    holder.kill().unwrap();
    holder.wait().unwrap();
    left.is_gone();
}

/// Not a test but the other process of those above: it brings a server into a state, says so,
/// and waits until it is killed or its input ends.
#[test]
fn holds_a_server() {
    let Ok(state) = env::var(HOLD) else { return };
    let mut own;
    let server = if state == "shared" {
        real::shared().unwrap()
    } else {
        own = start().unwrap();
        match state.as_str() {
            "running" => {}
            "paused" => own.pause(),
            "dead" => own.kill(),
            "starting" => return restart_and_be_killed(own),
            other => unreachable!("{other}"),
        }
        &own
    };
    say(server.pid(), server.folder());
    let _ = io::stdin().read(&mut [0]);
    if state != "shared" {
        unreachable!("a process that is to be killed was not");
    }
}

/// Says which JVM it is as soon as the file with its number is there, which is before it serves.
fn restart_and_be_killed(mut server: ZooKeeper) {
    server.kill();
    let folder = server.folder().to_owned();
    std::fs::remove_file(folder.join("pid")).unwrap();
    thread::spawn(move || {
        let pid = || std::fs::read_to_string(folder.join("pid")).unwrap_or_default();
        until(|| pid().ends_with('\n'), "the JVM");
        say(pid().trim().parse().unwrap(), &folder);
    });
    server.restart().unwrap();
    let _ = io::stdin().read(&mut [0]);
}

fn say(pid: u32, folder: &Path) {
    let line = format!("\nholding {pid} {}\n", folder.display());
    // Past the harness, which keeps what tests print.
    io::stdout().write_all(line.as_bytes()).unwrap();
}

/// The state in which `holds_a_server` is to hold one.
const HOLD: &str = "HOMING_TEST_HOLD";

/// A process that holds a server in `state`.
fn hold(state: &str) -> Option<(Child, Left)> {
    real::requirement()?;
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "holds_a_server"])
        .env(HOLD, state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(holder.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    let held = lines.find_map(|line| line.strip_prefix("holding ").map(str::to_owned));
    // Nobody reads on, but the end of the process must still find its output open.
    thread::spawn(move || lines.for_each(drop));
    let held = held.unwrap();
    let (jvm, folder) = held.split_once(' ').unwrap();
    let left = Left {
        jvm: jvm.parse().unwrap(),
        folder: folder.into(),
    };
    Some((holder, left))
}

/// What a server could leave behind.
struct Left {
    jvm: u32,
    folder: PathBuf,
}

impl Left {
    fn of(server: &ZooKeeper) -> Self {
        Self {
            jvm: server.pid(),
            folder: server.folder().to_owned(),
        }
    }

    fn is_gone(&self) {
        until(|| !is_alive(self.jvm), "the end of the JVM");
        until(|| !self.folder.exists(), "the end of the folder");
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn until(condition: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn start() -> Option<ZooKeeper> {
    real::requirement()?;
    Some(ZooKeeper::start().unwrap_or_else(|error| panic!("{error}")))
}

struct Connection {
    stream: TcpStream,
    xid: i32,
}

/// How long an answer may take that must come.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

impl Connection {
    /// A new session, or the one that `resume` was the answer to.
    fn open(addr: SocketAddr, resume: Option<&ConnectResponse>) -> (Self, ConnectResponse) {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        let mut connection = Self { stream, xid: 0 };
        let request = ConnectRequest {
            last_zxid_seen: 0,
            timeout_ms: 30_000,
            session_id: resume.map_or(0, |session| session.session_id),
            password: resume.map_or(SessionPassword::NONE, |session| session.password),
            read_only: Some(false),
        };
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        request.encode(&mut frame);
        connection.stream.write_all(&frame).unwrap();
        let response = ConnectResponse::decode(&connection.receive()).unwrap();
        (connection, response)
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        let create = Create {
            path: path.into(),
            data,
            acl: &[Acl::open()],
            mode: CreateMode::Persistent,
        };
        self.send(op::CREATE2, &create);
        assert_eq!(reply::create2(&self.receive()).unwrap().0, path);
    }

    fn get(&mut self, path: &str) -> Bytes {
        self.send(op::GET_DATA, &get(path));
        reply::get_data(&self.receive()).unwrap().0.unwrap()
    }

    fn send(&mut self, op: i32, body: &impl Record) {
        self.xid += 1;
        let mut frame = BytesMut::new();
        put_request(&mut frame, RequestHeader { xid: self.xid, op }, body);
        self.stream.write_all(&frame).unwrap();
    }

    /// The next frame; behind the handshake it must be the reply to what was sent last.
    fn receive(&mut self) -> Bytes {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).unwrap();
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
        self.stream.read_exact(&mut frame).unwrap();
        let frame = Bytes::from(frame);
        if self.xid > 0 {
            let header = ReplyHeader::decode(&frame).unwrap();
            assert_eq!((header.xid, header.err), (self.xid, 0));
        }
        frame
    }

    fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn get(path: &str) -> GetData<'_> {
    GetData {
        path: path.into(),
        watch: false,
    }
}
