//! The program, from the outside.
#![cfg(unix)]

mod proxy;
mod record;
mod refused;
mod serve;
mod unread;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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

/// The exit code and the error of something that does not even begin.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"", "{arguments:?}");
    (output.status.code().unwrap(), errors)
}

/// A program that listens, and is ended with the test.
struct Running {
    child: Child,
    /// Its one line.
    line: String,
    /// Where it listens, which is at the end of the line.
    connect: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let line = first_line(child.stdout.as_mut().unwrap());
        Self::new(child, line)
    }

    fn new(child: Child, line: String) -> Self {
        let connect = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        Self {
            child,
            line,
            connect,
        }
    }

    fn serve(arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let served = Self::start(&mut program(&arguments));
        let connect = &served.connect;
        let expected = format!("serving ZooKeeper on {connect}, connect string {connect}\n");
        assert_eq!(served.line, expected);
        served
    }

    fn proxy(arguments: &[&str], upstream: &str) -> Self {
        let listens = ["proxy", "--listen", "127.0.0.1:0", "--upstream", upstream];
        let proxy = Self::start(&mut program(&[&listens, arguments].concat()));
        let connect = &proxy.connect;
        let expected = format!("proxy on {connect} to {upstream}, connect string {connect}\n");
        assert_eq!(proxy.line, expected);
        proxy
    }

    fn dial(&self) -> TcpStream {
        dial(&self.connect)
    }

    fn ask(&self, word: &str) -> String {
        ask(&self.connect, word)
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
        let timeout_ms = response[4..8].try_into().unwrap();
        (socket, i32::from_be_bytes(timeout_ms))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let mut kill = Command::new("kill");
        assert!(kill.args([name, &pid]).status().unwrap().success());
    }

    /// The exit code, which is to come soon.
    fn exit_code(&mut self) -> Option<i32> {
        let give_up = Instant::now() + SOON;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() > give_up => panic!("it goes on"),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// What it has said on standard error; it has ended.
    fn errors(&mut self) -> String {
        let mut errors = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        errors
    }

    /// Ends it with a signal, which is no failure, and returns what it has said on standard error.
    fn end_by(mut self, signal: &str) -> String {
        self.signal(signal);
        assert_eq!(self.exit_code(), Some(0));
        self.errors()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server whose port is kept, and nobody listens there.
fn refusing() -> FakeServer {
    let server = FakeServer::start();
    server.faults("refuse".parse().unwrap());
    // Its thread has to come to it first.
    let give_up = Instant::now() + SOON;
    while TcpStream::connect(server.addr()).is_ok() {
        assert!(Instant::now() < give_up, "somebody listens");
        thread::sleep(Duration::from_millis(1));
    }
    server
}

fn first_line(from: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).unwrap();
    line
}

fn dial(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// What is answered to a four-letter word, until the end; nothing, where the connection is cut.
fn ask(address: &str, word: &str) -> String {
    let mut socket = dial(address);
    let mut answer = String::new();
    // A connection that is one too many may be gone before this.
    let _ = socket.write_all(word.as_bytes());
    let _ = socket.read_to_string(&mut answer);
    answer
}

/// Whether a connection ends without a word.
fn is_cut(mut socket: TcpStream) -> bool {
    match socket.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
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

/// A path for a file of this test, which is removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("homing-testkit-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// The same, with something in it.
    fn with(name: &str, text: &str) -> Self {
        let file = Self::new(name);
        std::fs::write(&file.0, text).unwrap();
        file
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
