//! A third transport, written from the page of [`Engine`] alone: no socket and no event loop,
//! but a plain thread that hands bytes to a server which is a value in this process. It takes
//! less than a hundred lines.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::thread::{self, Thread};
use std::time::Instant;

use bytes::BytesMut;
use homing::{Client, Error, ErrorCode, SessionState};
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};
use homing_transport::{Action, Down, Driver, Engine, Outgoing, StartError, Transport};

/// The transport: each session is driven by a thread of its own.
#[derive(Debug, Clone)]
struct Memory {
    server: Arc<Mutex<Server>>,
}

/// What wakes the thread. A ring that comes before it sleeps is not lost.
struct Bell(Thread);

/// What the thread turns.
struct Session {
    engine: Box<dyn Engine>,
    server: Arc<Mutex<Server>>,
    /// The stream, if there is one.
    connection: Option<ConnectionId>,
    out: Outgoing,
    /// What is on its way here, and what has come so far.
    arriving: VecDeque<Output>,
    input: BytesMut,
    /// What has come to the server.
    sent: BytesMut,
    wakers: Vec<Waker>,
}

/// How many bytes the link takes with one write: so few that most requests are cut in two.
const WRITE_MAX: usize = 20;

impl Transport for Memory {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        let mut session = Session {
            engine,
            server: Arc::clone(&self.server),
            connection: None,
            out: Outgoing::new(),
            arriving: VecDeque::new(),
            input: BytesMut::new(),
            sent: BytesMut::new(),
            wakers: Vec::new(),
        };
        let thread = thread::spawn(move || while session.turn() {});
        Ok(Arc::new(Bell(thread.thread().clone())))
    }
}

impl Driver for Bell {
    fn ring(&self) {
        self.0.unpark();
    }
}

impl Session {
    /// One turn, and the sleep behind it. `false` when it was the last.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        self.receive(now);
        self.engine.handle_turn(now);
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Resolve { .. } => {
                    let error = io::Error::other("there are no names here");
                    self.engine.handle_resolved(now, Err(error));
                }
                Action::Dial { .. } => {
                    let peer = Ipv4Addr::LOCALHOST.into();
                    self.connection = Some(lock(&self.server).accept(at(now), peer));
                    self.engine.handle_connected(now);
                }
                Action::HangUp => self.disconnect(now, Down::HungUp),
                Action::Stop => return false,
            }
        }
        self.transmit(now);
        self.engine.take_wakers(&mut self.wakers);
        self.wakers.drain(..).for_each(Waker::wake);
        if self.arriving.is_empty() && self.engine.park() {
            match self.engine.poll_timeout() {
                Some(at) => thread::park_timeout(at.saturating_duration_since(now)),
                None => thread::park(),
            }
        }
        true
    }

    fn receive(&mut self, now: Instant) {
        lock(&self.server).handle_timeout(at(now));
        self.arrive();
        while let Some(output) = self.arriving.pop_front() {
            match output {
                Output::Send(from, bytes) if self.connection == Some(from) => {
                    self.input.extend_from_slice(&bytes);
                    self.engine.handle_bytes(now, &mut self.input);
                }
                Output::Close(from) if self.connection == Some(from) => {
                    self.disconnect(now, Down::Closed);
                }
                Output::Send(..) | Output::Close(..) => {} // of an earlier stream
            }
        }
    }

    fn transmit(&mut self, now: Instant) {
        let Some(connection) = self.connection else {
            return;
        };
        loop {
            self.engine.poll_transmit(now, &mut self.out);
            let len = self.out.pending().len().min(WRITE_MAX);
            if len == 0 {
                return self.arrive();
            }
            self.sent.extend_from_slice(&self.out.pending()[..len]);
            self.out.advance(len);
            lock(&self.server).handle_bytes(at(now), connection, &mut self.sent);
        }
    }

    fn arrive(&mut self) {
        let mut server = lock(&self.server);
        self.arriving
            .extend(std::iter::from_fn(|| server.poll_output()));
    }

    fn disconnect(&mut self, now: Instant, why: Down) {
        if let Some(connection) = self.connection.take() {
            lock(&self.server).handle_disconnected(at(now), connection);
            (self.input, self.sent) = (BytesMut::new(), BytesMut::new());
            let unsent = std::mem::take(&mut self.out);
            self.engine.handle_disconnected(now, unsent, why);
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
    let transport = Memory {
        server: Arc::clone(&server),
    };
    let builder = Client::builder("127.0.0.1:2181").transport(transport);
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
    assert_eq!(client.create("/a", b"one").wait().unwrap().path, "/a");
    let node = client.get("/a").wait().unwrap();
    assert_eq!((&node.data[..], node.stat.version), (&b"one"[..], 0));
    let stat = client.set("/a", b"two").version(0).wait().unwrap();
    assert_eq!(stat.version, 1);
    let error = client.delete("/a").version(0).wait().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::BadVersion));
    client.delete("/a").version(1).wait().unwrap();
    assert!(!lock(&server).node_exists("/a"));
    client.close().wait().unwrap();
}

#[test]
fn requests_are_pipelined() {
    let (client, server) = connect();
    client.create("/n", b"").wait().unwrap();
    let writes: Vec<_> = (1..=100_u8)
        .map(|value| client.set("/n", [value]).submit().unwrap())
        .collect();
    let last = client.get("/n").submit().unwrap();
    assert_eq!(last.wait().unwrap().data, [100]);
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
    let writes: Vec<_> = (1..=5_u8)
        .map(|value| client.set("/n", [value]).submit().unwrap())
        .collect();
    let outcomes: Vec<_> = writes.into_iter().map(|write| write.wait()).collect();
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(stat) => assert!(index < 2, "{stat:?}"),
            Err(error) => {
                assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
                assert!(index >= 2 && error.may_have_been_applied(), "{error}");
            }
        }
    }

    // The same session on another connection: its ephemeral node is still there.
    let node = client.get("/n").wait().unwrap();
    assert_eq!((&node.data[..], node.stat.version), (&[3][..], 3));
    assert_eq!(session_id(&client), session);
    client.close().wait().unwrap();
    assert!(!lock(&server).node_exists("/n"));
}

#[test]
fn what_was_not_sent_waits_for_the_next_connection() {
    let (client, server) = connect();
    let session = session_id(&client);
    for round in 0..10 {
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
