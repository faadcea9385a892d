//! Pings keep a session alive, whatever its callers do or leave undone.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use homing::{Builder, Client, SessionState};
use homing_testkit::FakeServer;
use homing_testkit::real::{ZooKeeper, requirement};
use support::tap::Tap;
use support::{Backend, poll_once, with_watchdog};

const TICK: Duration = Duration::from_millis(200);
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that takes longer than this for an answer, or a machine that takes as long to wake a
/// thread, is too busy for this test to say anything.
const STANDSTILL: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;

enum Server {
    Fake(FakeServer),
    Real(&'static ZooKeeper),
}

#[test]
fn on_the_fake_server() {
    // Each has its own: it serves one client after the other, and ten thousand requests of one
    // take a while.
    on_all_backends(|| Server::Fake(FakeServer::builder().tick_time(TICK).start().unwrap()));
}

#[test]
fn on_a_real_server() {
    /// It ends with the process.
    static SERVER: LazyLock<ZooKeeper> =
        LazyLock::new(|| ZooKeeper::builder().tick_time(TICK).start().unwrap());
    if requirement().is_none() {
        return eprintln!("LEFT OUT: there is no real ZooKeeper here");
    }
    on_all_backends(|| Server::Real(&SERVER));
}

/// All at the same time, for it is long; and each once more if it fails on a machine that stood
/// still meanwhile.
fn on_all_backends(server: fn() -> Server) {
    let run = |backend: Backend, is_asking: bool| {
        for attempt in 1.. {
            let server = server();
            let probe = Probe::start(server.connect_string());
            let test = move || {
                with_watchdog(move || {
                    backend.block_on(async {
                        if is_asking {
                            answers_that_nobody_fetches_cost_no_session(backend, &server).await;
                        } else {
                            an_idle_client_keeps_its_session(backend, &server).await;
                        }
                    });
                });
            };
            let outcome = thread::spawn(test).join();
            let standstill = probe.stop();
            match outcome {
                Ok(()) => return,
                Err(_) if standstill > STANDSTILL && attempt < ATTEMPTS => {
                    eprintln!("{backend:?}: all stood still for {standstill:?}: once more");
                }
                Err(panic) => resume_unwind(panic),
            }
        }
    };
    thread::scope(|scope| {
        for backend in Backend::ALL {
            scope.spawn(move || run(*backend, false));
            scope.spawn(move || run(*backend, true));
        }
    });
}

impl Server {
    fn connect_string(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Real(server) => server.connect_string(),
        }
    }
}

async fn an_idle_client_keeps_its_session(backend: Backend, server: &Server) {
    let tap = Tap::new();
    let builder = tap.builder(backend, &server.connect_string());
    let client = connect(builder).await;
    let path = ephemeral(&client).await;
    let session_id = client.credentials().unwrap().session_id();
    let (before, since) = (tap.writes(), Instant::now());
    idle(&client);
    let (writes, idle) = (tap.writes() - before, since.elapsed());
    eprintln!("{backend:?}, idle for {idle:?}: {writes} pings");
    // One whenever nothing was said for a third of the time-out, and no more.
    let most = 1 + usize::try_from(idle.as_millis() * 3 / SESSION_TIMEOUT.as_millis()).unwrap();
    assert!(
        (most / 2..=most).contains(&writes),
        "{writes} writes, not {most}"
    );
    assert_same_session(&client, session_id, &path).await;
    client.close().await.unwrap();
}

async fn answers_that_nobody_fetches_cost_no_session(backend: Backend, server: &Server) {
    let builder = backend.builder(&server.connect_string());
    let client = connect(builder).await;
    let path = ephemeral(&client).await;
    let session_id = client.credentials().unwrap().session_id();
    let nobody_polls: Vec<_> = (0..10_000)
        .map(|_| client.get(&path).submit().unwrap())
        .collect();
    idle(&client);
    // All that while the answers were waiting in their slots.
    for mut get in nobody_polls {
        let Poll::Ready(answer) = poll_once(&mut get) else {
            panic!("a request from before is not answered");
        };
        assert_eq!(answer.unwrap().data, path);
    }
    assert_same_session(&client, session_id, &path).await;
    assert_eq!(client.in_flight(), homing::Usage::default());
    client.close().await.unwrap();
    eprintln!("{backend:?}: 10,000 answers were there, fetched or not");
}

async fn connect(builder: Builder) -> Client {
    let builder = builder.session_timeout(SESSION_TIMEOUT);
    let client = builder.connect().await.unwrap();
    let SessionState::Connected(connection) = client.state() else {
        panic!("{}", client.state());
    };
    assert_eq!(connection.session_timeout, SESSION_TIMEOUT);
    client
}

/// A node that is there as long as the session is, with its path as its data.
async fn ephemeral(client: &Client) -> String {
    let made = client.create("/idle-", b"").ephemeral().sequential();
    let path = made.await.unwrap().path;
    client.set(&path, &path).await.unwrap();
    path
}

/// Does nothing for ten session time-outs, in which the connection must hold.
fn idle(client: &Client) {
    let mut states = client.state_changes();
    thread::sleep(SESSION_TIMEOUT * 10);
    while let Poll::Ready(change) = poll_once(&mut Box::pin(states.next())) {
        let state = change.expect("no end").state;
        assert!(matches!(state, SessionState::Connected(_)), "{state}");
    }
}

async fn assert_same_session(client: &Client, session_id: i64, path: &str) {
    let node = client.get(path).await.unwrap();
    assert_eq!(node.data, *path);
    assert_eq!(node.stat.ephemeral_owner, session_id);
    assert_eq!(client.credentials().unwrap().session_id(), session_id);
}

/// Asks a server again and again how it is, to learn how long it, or the machine, stood still.
struct Probe {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Duration>,
}

impl Probe {
    fn start(server: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let must_end = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !must_end.load(Ordering::SeqCst) {
                let since = Instant::now();
                // The server of a test that failed is gone.
                let _ = ask(&server);
                thread::sleep(Duration::from_millis(20));
                longest = longest.max(since.elapsed());
            }
            longest
        });
        Self { is_over, thread }
    }

    fn stop(self) -> Duration {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
    }
}

fn ask(server: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(SESSION_TIMEOUT))?;
    stream.write_all(b"srvr")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
