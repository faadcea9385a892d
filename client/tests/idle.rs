//! Pings keep a session alive, whatever its callers do or leave undone.

mod support;

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use homing::{Builder, Client, SessionState};
use homing_testkit::FakeServer;
use homing_testkit::real::{ZooKeeper, requirement};
use support::tap::Tap;
use support::{Backend, poll_once, with_watchdog};

const TICK: Duration = Duration::from_millis(200);
/// Short, and yet longer than a busy machine makes a server wait for a processor.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

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

/// All at the same time, for it is long.
fn on_all_backends(server: fn() -> Server) {
    let run = |backend: &Backend, is_asking: bool| {
        let (backend, server) = (*backend, server());
        thread::spawn(move || {
            with_watchdog(move || {
                backend.block_on(async {
                    if is_asking {
                        answers_that_nobody_fetches_cost_no_session(backend, &server).await;
                    } else {
                        an_idle_client_keeps_its_session(backend, &server).await;
                    }
                });
            });
        })
    };
    let threads: Vec<_> = Backend::ALL
        .iter()
        .flat_map(|backend| [run(backend, false), run(backend, true)])
        .collect();
    for thread in threads {
        thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
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
    let interruptions = idle(&client);
    let (writes, idle) = (tap.writes() - before, since.elapsed());
    eprintln!("{backend:?}, idle for {idle:?}: {writes} writes, {interruptions} interruptions");
    // A ping whenever nothing was said for a third of the time-out, and no more. Each
    // interruption adds connections that shake hands and ping anew.
    let most = 1 + usize::try_from(idle.as_millis() * 3 / SESSION_TIMEOUT.as_millis()).unwrap();
    let expected = if interruptions == 0 {
        most / 2..=most
    } else {
        1..=2 * most
    };
    assert!(
        expected.contains(&writes),
        "{writes} writes, not {expected:?}"
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
    let interruptions = idle(&client);
    eprintln!("{backend:?}, with 10,000 answers: {interruptions} interruptions");
    assert_same_session(&client, session_id, &path).await;
    // All that while the answers were waiting in their slots.
    let mut answered = 0;
    for mut get in nobody_polls {
        let Poll::Ready(answer) = poll_once(&mut get) else {
            panic!("a request from before is not answered");
        };
        // Only a connection that broke at once would have cost some.
        answered += usize::from(answer.is_ok_and(|node| node.data == path));
    }
    assert!(answered == 10_000 || interruptions > 0, "{answered}");
    assert_eq!(client.in_flight(), homing::Usage::default());
    client.close().await.unwrap();
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

/// Does nothing for ten session time-outs; tells how often the connection was lost meanwhile.
///
/// That is no fault on a machine that stands still for most of a session time-out. A session
/// that is not pinged loses it every time.
fn idle(client: &Client) -> u32 {
    let mut states = client.state_changes();
    thread::sleep(SESSION_TIMEOUT * 10);
    let mut interruptions = 0;
    loop {
        let Poll::Ready(change) = poll_once(&mut Box::pin(states.next())) else {
            assert!(interruptions < 5, "{interruptions} interruptions");
            return interruptions;
        };
        match change.expect("no end").state {
            SessionState::Suspended { .. } => interruptions += 1,
            SessionState::Ended(end) => {
                let failures: Vec<_> = client.failures().iter().map(ToString::to_string).collect();
                panic!("after {interruptions} interruptions: {end}; {failures:?}");
            }
            _ => {}
        }
    }
}

async fn assert_same_session(client: &Client, session_id: i64, path: &str) {
    let node = client.get(path).await.unwrap();
    assert_eq!(node.data, *path);
    assert_eq!(node.stat.ephemeral_owner, session_id);
    assert_eq!(client.credentials().unwrap().session_id(), session_id);
}
