//! A third transport, written from the page of [`Engine`] alone: no socket and no event loop,
//! but a plain thread that hands bytes to a server which is a value in this process. It takes
//! less than a hundred lines of code.

use std::io::ErrorKind;
use std::iter;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing::{Client, Error, ErrorCode, SessionState};
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};
use homing_transport::{Action, Down, Driver, Engine, Outgoing, StartError, Transport};
use homing_transport::{Secure, SecureError, SecureStream};

/// The transport: each session is driven by a thread of its own.
#[derive(Debug)]
struct Memory(Arc<Mutex<Server>>);

impl Transport for Memory {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        let (server, stream) = (Arc::clone(&self.0), None);
        let mut session = Session {
            engine,
            server,
            stream,
        };
        let thread = thread::spawn(move || while session.turn() {});
        Ok(Arc::new(Bell(thread.thread().clone())))
    }
}

/// What wakes the thread. A ring that comes before it sleeps is not lost.
struct Bell(Thread);

impl Driver for Bell {
    fn ring(&self) {
        self.0.unpark();
    }
}

struct Session {
    engine: Box<dyn Engine>,
    server: Arc<Mutex<Server>>,
    stream: Option<Stream>,
}

/// A connection, with what is still to be written and what has come so far, here and there.
struct Stream {
    id: ConnectionId,
    out: Outgoing,
    input: BytesMut,
    server_input: BytesMut,
}

const NO_NAMES: ErrorKind = ErrorKind::Unsupported;

impl Session {
    /// One turn, and the sleep behind it. `false` when it was the last.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        self.read(now);
        self.engine.handle_turn(now);
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Resolve { .. } => self.engine.handle_resolved(now, Err(NO_NAMES.into())),
                Action::Dial { .. } => {
                    self.stream = Some(Stream {
                        id: lock(&self.server).accept(at(now), Ipv4Addr::LOCALHOST.into()),
                        out: Outgoing::new(),
                        input: BytesMut::new(),
                        server_input: BytesMut::new(),
                    });
                    self.engine.handle_connected(now);
                }
                Action::Ask(_) => self.engine.handle_answer(now, Err(NO_NAMES.into())),
                Action::HangUp => self.disconnect(now, Down::HungUp),
                // It has no TLS, and drops whoever wants some.
                Action::DialSecure { .. } | Action::Stop => return false,
            }
        }
        let has_written = self.write(now);
        let mut wakers = Vec::new();
        self.engine.take_wakers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        // To a write this server has something to say at once.
        if !has_written && self.engine.park() {
            match self.engine.poll_timeout() {
                Some(at) => thread::park_timeout(at.saturating_duration_since(now)),
                None => thread::park(),
            }
        }
        true
    }

    fn read(&mut self, now: Instant) {
        let server = Arc::clone(&self.server);
        for output in iter::from_fn(|| lock(&server).poll_output()) {
            match (output, &mut self.stream) {
                (Output::Send(from, bytes), Some(stream)) if stream.id == from => {
                    stream.input.extend_from_slice(&bytes);
                    self.engine.handle_bytes(now, &mut stream.input);
                }
                (Output::Close(from), Some(stream)) if stream.id == from => {
                    self.disconnect(now, Down::Closed);
                }
                _ => {} // of an earlier stream
            }
        }
    }

    /// Writes some bytes, so few that most requests are cut in two. Whether there were any.
    fn write(&mut self, now: Instant) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        self.engine.poll_transmit(now, &mut stream.out);
        let count = stream.out.pending().len().min(20);
        let some = &stream.out.pending()[..count];
        stream.server_input.extend_from_slice(some);
        stream.out.advance(count);
        lock(&self.server).handle_bytes(at(now), stream.id, &mut stream.server_input);
        count > 0
    }

    fn disconnect(&mut self, now: Instant, why: Down) {
        if let Some(stream) = self.stream.take() {
            lock(&self.server).handle_disconnected(at(now), stream.id);
            self.engine.handle_disconnected(now, stream.out, why);
        }
    }
}

// That was the transport.

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap()
}

/// The server's view of the time. Nothing here looks at the date.
fn at(instant: Instant) -> Now {
    let unix_ms = 1_700_000_000_000;
    Now { instant, unix_ms }
}

fn connect() -> (Client, Arc<Mutex<Server>>) {
    let server = Arc::new(Mutex::new(Server::new(ServerConfig::default())));
    let builder = Client::builder("127.0.0.1:2181").transport(Memory(Arc::clone(&server)));
    (builder.connect().wait().unwrap(), server)
}

fn session_id(client: &Client) -> i64 {
    match client.state() {
        SessionState::Connected(connection) => connection.session_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_does_what_it_does_over_any_transport() {
    let (client, server) = connect();
    let started = Instant::now();
    assert_eq!(client.create("/a", b"one").wait().unwrap().path, "/a");
    let node = client.get("/a").wait().unwrap();
    assert_eq!((&node.data[..], node.stat.version), (&b"one"[..], 0));
    let stat = client.set("/a", b"two").version(0).wait().unwrap();
    assert_eq!(stat.version, 1);
    let error = client.delete("/a").version(0).wait().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::BadVersion));
    client.delete("/a").version(1).wait().unwrap();
    assert!(!lock(&server).node_exists("/a"));
    // Each of them would have left with a ping, every 10 s, if nobody rang.
    assert!(started.elapsed() < Duration::from_secs(10));
    client.close().wait().unwrap();
}

#[test]
fn requests_are_pipelined() {
    let (client, server) = connect();
    client.create("/n", b"").wait().unwrap();
    let values: Vec<_> = (1..=100_u8).map(|value| [value]).collect();
    let writes: Vec<_> = values
        .iter()
        .map(|value| client.set("/n", value).submit().unwrap())
        .collect();
    let last = client.get("/n").submit().unwrap();
    assert_eq!(last.wait().unwrap().data[..], [100]);
    for (version, write) in (1..).zip(writes) {
        assert_eq!(write.wait().unwrap().version, version);
    }
    assert_eq!(lock(&server).node("/n").unwrap().stat.version, 100);
    client.close().wait().unwrap();
}

#[test]
fn a_cut_link_ends_what_was_sent_and_the_session_goes_on() {
    let (client, server) = connect();
    let session = session_id(&client);
    client.create("/n", b"").ephemeral().wait().unwrap();

    // The third write from now on is applied, and its answer lost with the connection.
    lock(&server).cut_after_apply(3);
    let writes = [[1], [2], [3], [4], [5]];
    let writes = writes
        .each_ref()
        .map(|value| client.set("/n", value).submit().unwrap());
    let [first, second, third, fourth, fifth] = writes.map(|write| write.wait());
    assert_eq!(first.unwrap().version, 1);
    assert_eq!(second.unwrap().version, 2);
    let error = third.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert!(error.may_have_been_applied(), "{error}");
    // The fourth may have been written in part. The fifth was not, and has waited.
    let version = 4 + i32::from(fourth.is_ok());
    assert_eq!(fifth.unwrap().version, version);

    // The same session on another connection: its ephemeral node is still there.
    let node = client.get("/n").wait().unwrap();
    assert_eq!((&node.data[..], node.stat.version), (&[5][..], version));
    assert_eq!(session_id(&client), session);
    client.close().wait().unwrap();
    assert!(!lock(&server).node_exists("/n"));
}

#[test]
fn what_was_not_sent_waits_for_the_next_connection() {
    let (client, server) = connect();
    let session = session_id(&client);
    for round in 0..3 {
        {
            let mut server = lock(&server);
            let connection = server.sessions()[0].connection.unwrap();
            server.close_connection(connection);
        }
        // The driver sleeps, and learns of both at once: the end comes first.
        let path = format!("/n{round}");
        client.create(&path, b"").wait().unwrap();
        assert_eq!(session_id(&client), session);
    }
    client.close().wait().unwrap();
}

/// Nothing that was to be secret leaves in plain text over a transport that has no TLS.
#[test]
fn what_is_to_be_secret_is_not_sent() {
    let server = Arc::new(Mutex::new(Server::new(ServerConfig::default())));
    let builder = Client::builder("tls://127.0.0.1:2281").transport(Memory(Arc::clone(&server)));
    let error = builder.secure(Unused).connect().wait().unwrap_err();
    assert!(matches!(error, Error::SessionEnded { .. }), "{error:?}");
    assert_eq!(lock(&server).connection_count(), 0);
}

#[derive(Debug)]
struct Unused;

impl Secure for Unused {
    fn begin(&self, _host: &str) -> Result<Box<dyn SecureStream>, SecureError> {
        unreachable!("the transport has no layers")
    }
}

#[test]
fn a_closed_client_says_so() {
    let (client, server) = connect();
    let session = session_id(&client);
    assert!(lock(&server).sessions().iter().any(|one| one.id == session));
    client.close().wait().unwrap();
    assert!(lock(&server).sessions().is_empty());
    let error = client.get("/").wait().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}
