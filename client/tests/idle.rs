//! Pings keep a session alive, whatever its callers do or leave undone.

mod support;

use std::sync::OnceLock;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, SessionState};
use homing_testkit::FakeServer;
use homing_testkit::real::{ZooKeeper, requirement};
use support::{Backend, poll_once, with_watchdog};

const TICK: Duration = Duration::from_millis(200);
const SESSION_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(10);

enum Server {
    Fake(FakeServer),
    Real(&'static ZooKeeper),
}

fn fake() -> Option<Server> {
    let server = FakeServer::builder().tick_time(TICK).start().unwrap();
    Some(Server::Fake(server))
}

/// One for all tests here. It ends with the process.
fn real() -> Option<Server> {
    static SERVER: OnceLock<Option<ZooKeeper>> = OnceLock::new();
    let start = || {
        requirement()?;
        Some(ZooKeeper::builder().tick_time(TICK).start().unwrap())
    };
    SERVER.get_or_init(start).as_ref().map(Server::Real)
}

impl Server {
    fn connect_string(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Real(server) => server.connect_string(),
        }
    }
}

fn run(
    start: fn() -> Option<Server>,
    backend: Backend,
    body: impl AsyncFnOnce(Backend, &Server) + Send + 'static,
) {
    let Some(server) = start() else {
        return eprintln!("LEFT OUT: there is no real ZooKeeper here");
    };
    with_watchdog(move || backend.block_on(body(backend, &server)));
}

macro_rules! tests {
    ($server:ident: $($body:ident)*) => {
        mod $server {
            #[cfg(feature = "nio")]
            mod nio {
                $(#[test] fn $body() { crate::run(crate::$server, crate::Backend::Nio, crate::$body); })*
            }
            #[cfg(feature = "tokio")]
            mod tokio {
                $(#[test] fn $body() { crate::run(crate::$server, crate::Backend::Tokio, crate::$body); })*
            }
        }
    };
}

tests! { fake: an_idle_client_keeps_its_session answers_that_nobody_fetches_cost_no_session }
tests! { real: an_idle_client_keeps_its_session answers_that_nobody_fetches_cost_no_session }

async fn an_idle_client_keeps_its_session(backend: Backend, server: &Server) {
    let client = connect(backend, server).await;
    let path = ephemeral(&client).await;
    let session_id = client.credentials().unwrap().session_id();
    let received = || match server {
        Server::Fake(server) => server.requests_received(),
        Server::Real(_) => 0,
    };
    let (before, since) = (received(), Instant::now());
    let interruptions = idle(&client);
    let (pings, idle) = (received() - before, since.elapsed());
    if let Server::Fake(_) = server {
        // One whenever nothing was said for a third of the time-out, and no more. Each
        // interruption is a connection that may ping early.
        let most = u128::from(3 * interruptions + 1) + idle.as_millis() * 3 / 1_000;
        assert!(
            (1..=most).contains(&u128::from(pings)),
            "{pings} pings in {idle:?}"
        );
    }
    eprintln!("{pings} pings were counted in {idle:?}, {interruptions} interruptions");
    assert_same_session(&client, session_id, &path).await;
    client.close().await.unwrap();
}

async fn answers_that_nobody_fetches_cost_no_session(backend: Backend, server: &Server) {
    let client = connect(backend, server).await;
    let path = ephemeral(&client).await;
    let session_id = client.credentials().unwrap().session_id();
    let nobody_polls: Vec<_> = (0..10_000)
        .map(|_| client.get(&path).submit().unwrap())
        .collect();
    let interruptions = idle(&client);
    eprintln!("{interruptions} interruptions");
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

async fn connect(backend: Backend, server: &Server) -> Client {
    let builder = backend.builder(&server.connect_string());
    let client = builder.session_timeout(SESSION_TIMEOUT).connect().await;
    let client = client.unwrap();
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

/// Does nothing for ten session time-outs; tells how often the connection was lost meanwhile, as
/// can happen on a machine that stands still for most of a session time-out.
fn idle(client: &Client) -> u32 {
    let mut states = client.state_changes();
    thread::sleep(IDLE);
    let mut interruptions = 0;
    loop {
        let Poll::Ready(change) = poll_once(&mut Box::pin(states.next())) else {
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
