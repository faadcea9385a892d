//! The program speaks TLS.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use homing_testkit::{CloseReason, ConnectionEventKind, FakeEnsemble, FakeServer, TlsServer};
use homing_transport::{Secure, SecureStream};
use homing_transport_tls::Tls;

const CERTIFICATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/tls_files/certificate.pem"
);
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls_files/key.pem");

/// The program; it ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homing-testkit"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts it, and tells its connect string.
fn serve(arguments: &[&str]) -> (Program, String) {
    let mut child = command(arguments).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let connect = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    (Program(child), connect)
}

/// What a server answers to a word in TLS; the error says what the layer says.
fn ask(connect: &str, tls: &Tls) -> Result<String, String> {
    let address = connect.strip_prefix("tls://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut layer = tls.begin("127.0.0.1").unwrap();
    let (mut answer, mut buffer) = (BytesMut::new(), [0; 4096]);
    let mut word = &b"srvr"[..];
    while !layer.is_ended() {
        let taken = layer.send(word).unwrap();
        word = &word[taken..];
        if !layer.pending().is_empty() {
            write(&mut stream, &mut *layer);
            continue;
        }
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return Err(layer.ended(None).unwrap().to_string());
        }
        layer
            .receive(&buffer[..count], &mut answer)
            .map_err(|error| error.to_string())?;
    }
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

fn write(stream: &mut TcpStream, layer: &mut dyn SecureStream) {
    stream.write_all(layer.pending()).unwrap();
    layer.advance(usize::MAX);
}

fn says(arguments: &[&str]) -> String {
    let output = command(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_speaks_tls_with_the_certificate_that_it_is_given() {
    let files = ["--tls-certificate", CERTIFICATE, "--tls-key", KEY];
    let (_program, connect) = serve(&files);
    let tls = Tls::new().ca_file(CERTIFICATE);
    assert!(ask(&connect, &tls).unwrap().contains("Mode: standalone"));
}

#[test]
fn faults_strike_what_is_inside_tls() {
    let files = ["--tls-certificate", CERTIFICATE, "--tls-key", KEY];
    let faults = ["--faults", "cut at byte 9 on connection 1; hang 1ms"];
    let (_program, connect) = serve(&[&files[..], &faults].concat());
    let tls = Tls::new().ca_file(CERTIFICATE);
    assert_eq!(ask(&connect, &tls).unwrap(), "Zookeeper");
    assert!(ask(&connect, &tls).unwrap().contains("Mode: standalone"));
}

#[test]
fn whose_authorities_are_known_are_asked_unless_it_is_said_that_they_are_not() {
    let files = ["--tls-certificate", CERTIFICATE, "--tls-key", KEY];
    let strangers = Tls::new().ca_file(CERTIFICATE);
    let authorities = ["--tls-client-ca", CERTIFICATE];
    for (mode, lets_strangers_in) in [(&[][..], false), (&["--tls-client-auth", "none"], true)] {
        let (_program, connect) = serve(&[&files[..], &authorities, mode].concat());
        assert_eq!(ask(&connect, &strangers).is_ok(), lets_strangers_in);
    }
}

#[test]
fn it_asks_clients_for_theirs() {
    let files = ["--tls-certificate", CERTIFICATE, "--tls-key", KEY];
    let tls = Tls::new().ca_file(CERTIFICATE);
    let known = tls.clone().client_certificate_files(CERTIFICATE, KEY);
    for (mode, lets_strangers_in) in [("want", true), ("need", false)] {
        let asks = ["--tls-client-auth", mode, "--tls-client-ca", CERTIFICATE];
        let (_program, connect) = serve(&[&files[..], &asks].concat());
        ask(&connect, &known).unwrap();
        assert_eq!(ask(&connect, &tls).is_ok(), lets_strangers_in, "{mode}");
    }
}

#[test]
fn whoever_does_not_come_to_terms_with_it_is_told_apart() {
    let (sender, told) = mpsc::channel();
    let server = FakeServer::builder()
        .tls(TlsServer::from_files(CERTIFICATE, KEY).unwrap())
        .observe(move |event| _ = sender.send(event.kind.clone()))
        .start()
        .unwrap();
    let mut plain = TcpStream::connect(server.addr()).unwrap();
    plain.write_all(b"ruok").unwrap();
    let mut told = std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(30)).ok());
    let closed = told.find_map(|kind| match kind {
        ConnectionEventKind::Closed { why } => Some(why),
        _ => None,
    });
    assert_eq!(closed, Some(CloseReason::TlsFailed));
}

#[test]
fn all_members_of_an_ensemble_speak_it() {
    let server = TlsServer::from_files(CERTIFICATE, KEY).unwrap();
    let ensemble = FakeEnsemble::builder().tls(server).start().unwrap();
    let tls = Tls::new().ca_file(CERTIFICATE);
    for (member, mode) in ["follower", "follower", "leader"].iter().enumerate() {
        let answer = ask(&ensemble.member(member).connect_string(), &tls).unwrap();
        assert!(answer.contains(&format!("Mode: {mode}")), "{answer}");
    }
    assert_eq!(ensemble.connect_string().matches("tls://").count(), 3);
}

#[test]
fn tls_has_a_time_and_what_comes_behind_it_has_none() {
    let secure = || TlsServer::from_files(CERTIFICATE, KEY).unwrap();
    let builder = FakeServer::builder().tls(secure());
    let brief = builder.handshake_timeout(Duration::from_millis(20));
    let server = brief.start().unwrap();
    let mut silent = TcpStream::connect(server.addr()).unwrap();
    // The layer may take leave.
    silent.read_to_end(&mut Vec::new()).unwrap();

    let server = FakeServer::builder().tls(secure()).start().unwrap();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let tls = Tls::new().ca_file(CERTIFICATE);
    let mut layer = tls.begin("127.0.0.1").unwrap();
    let (mut above, mut buffer) = (BytesMut::new(), [0; 4096]);
    layer.send(b"\0").unwrap();
    while !layer.is_open() {
        write(&mut stream, &mut *layer);
        let count = stream.read(&mut buffer).unwrap();
        layer.receive(&buffer[..count], &mut above).unwrap();
    }
    // A byte of a handshake, of which the rest never comes.
    layer.send(b"\0").unwrap();
    write(&mut stream, &mut *layer);
    let due = || server.with_server(|server| server.poll_timeout());
    while due().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let text = says(&["--tls-certificate", CERTIFICATE]);
    assert!(text.contains("--tls-key"), "{text}");
    let text = says(&["--tls-certificate", KEY, "--tls-key", KEY]);
    assert!(text.contains("cannot speak TLS: "), "{text}");
    assert!(text.contains("has no certificate"), "{text}");
    let files = ["--tls-certificate", CERTIFICATE, "--tls-key", KEY];
    let text = says(&[&files[..], &["--tls-client-auth", "need"]].concat());
    assert!(text.contains("--tls-client-ca"), "{text}");
    let text = says(&[&files[..], &["--tls-client-ca", KEY]].concat());
    let expected = format!("cannot use --tls-client-ca {KEY}: ");
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("has no certificate"), "{text}");
    let text = says(&[&files[..], &["--tls-client-auth", "maybe"]].concat());
    assert!(text.contains("not one of none, want and need"), "{text}");
}
