//! A server that stops reading, and producers that do not stop producing: memory is bounded, and
//! nothing is lost or mixed up when the server reads again.
//!
//! The stall lasts 5 s; with `HOMING_LONG=1` in the environment 30 s.

#[macro_use]
mod support;

use std::collections::VecDeque;
use std::env;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error, Stat, Usage};
use homing_testkit::FakeServer;
use support::victim::{self, Start, Victim, real_with};
use support::{Backend, until};

const BUDGET: usize = 32 << 20;
/// What may come on top of the budget.
const SLACK: usize = 16 << 20;
const DATA_LEN: usize = 16 << 10;
/// Of each kind: those that submit, and those that await.
const PRODUCERS: usize = 4;
/// How much each of those that await wants to do at the same time. Together more than fits.
const LANES: usize = 1_000;
/// How many requests are to be answered after the stall.
const AFTERWARDS: u64 = 10_000;
/// No stall here is long enough to end it.
const TICK: Duration = Duration::from_secs(6);
const SESSION_TIMEOUT: Duration = Duration::from_secs(120);

fn fake() -> Option<Box<dyn Victim>> {
    let builder = FakeServer::builder().tick_time(TICK);
    Some(Box::new(builder.start().unwrap()))
}

fn real() -> Option<Box<dyn Victim>> {
    real_with(|builder| builder.tick_time(TICK))
}

/// Each test has a process of its own: what others leave behind must not be counted, nor hide
/// anything.
fn in_a_process_of_its_own(body: impl FnOnce()) {
    const CHILD: &str = "HOMING_BACKPRESSURE_CHILD";
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let name = thread::current().name().expect("the test's").to_owned();
    let mut child = Command::new(env::current_exe().unwrap());
    child
        .args(["--exact", "--nocapture", &name])
        .env(CHILD, "1");
    let status = child.status().unwrap();
    assert!(status.success(), "{name}: {status}");
}

fn run(
    start: Start,
    backend: Backend,
    body: impl AsyncFnOnce(Backend, &mut dyn Victim) + Send + 'static,
) {
    in_a_process_of_its_own(move || victim::run(start, backend, body));
}

on_server! { fake: memory_is_bounded }
on_server! { real: memory_is_bounded }

async fn memory_is_bounded(backend: Backend, server: &mut dyn Victim) {
    let is_long = env::var_os("HOMING_LONG").is_some_and(|value| value == "1");
    let stall = Duration::from_secs(if is_long { 30 } else { 5 });
    let builder = backend.builder(&server.connect_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(None);
    let builder = builder.bytes_in_flight(BUDGET);
    let client = builder.connect().await.unwrap();
    assert!(client.stats().session.connections == 1);
    for n in 0..2 * PRODUCERS {
        client.create(node(n), b"").await.unwrap();
    }

    let control = Control::default();
    let control = &control;
    let before = resident();
    server.pause();
    let (most, busy, full) = thread::scope(|scope| {
        let producers: Vec<_> = (0..2 * PRODUCERS)
            .map(|n| {
                let client = client.clone();
                scope.spawn(move || match n < PRODUCERS {
                    true => submits(&client, n, control),
                    false => pollster::block_on(awaits(&client, n, control)),
                })
            })
            .collect();
        // They go on and on, and nothing is read.
        let (since, mut most) = (Instant::now(), before);
        while since.elapsed() < stall {
            most = most.max(resident());
            thread::park_timeout(Duration::from_millis(10));
        }
        let full = client.in_flight();
        let busy = control.busy.load(Ordering::Relaxed);
        assert_eq!(control.answered.load(Ordering::Relaxed), 0);
        server.resume();
        until("it goes on", || {
            control.answered.load(Ordering::Relaxed) > AFTERWARDS
        });
        control.stop.store(true, Ordering::Relaxed);
        for (n, producer) in producers.into_iter().enumerate() {
            let done = producer.join().unwrap();
            is_complete(n, done);
        }
        (most, busy, full)
    });
    let grown = most.saturating_sub(before);
    eprintln!(
        "{backend:?}: stalled for {stall:?} with {} requests and {} KiB in flight; `submit` said Busy {busy} times; memory grew by {} KiB, {} KiB are allowed; {} requests were answered",
        full.requests,
        full.bytes >> 10,
        grown >> 10,
        (BUDGET + SLACK) >> 10,
        control.answered.load(Ordering::Relaxed),
    );
    assert!(
        full.bytes <= BUDGET && full.bytes > BUDGET - 2 * DATA_LEN,
        "{full:?}"
    );
    assert!(busy > 0);
    assert!(grown <= BUDGET + SLACK, "{} KiB", grown >> 10);
    // Over the same connection, and nothing is left.
    assert_eq!(client.stats().session.connections, 1);
    assert_eq!(client.in_flight(), Usage::default());
    for n in 0..2 * PRODUCERS {
        client.delete(node(n)).await.unwrap();
    }
}

#[derive(Debug, Default)]
struct Control {
    stop: AtomicBool,
    busy: AtomicU64,
    answered: AtomicU64,
}

/// The versions that each lane's writes were given, in the order in which it made them.
type Done = Vec<Vec<i32>>;

fn node(n: usize) -> String {
    format!("/node-{n}")
}

/// Submits as fast as it can, and tries again when there is no room.
fn submits(client: &Client, n: usize, control: &Control) -> Done {
    let (path, data) = (node(n), vec![b'x'; DATA_LEN]);
    let (mut pending, mut versions) = (VecDeque::new(), Vec::new());
    let mut pull = |set: Result<Stat, Error>| {
        versions.push(set.unwrap().version);
        control.answered.fetch_add(1, Ordering::Relaxed);
    };
    while !control.stop.load(Ordering::Relaxed) {
        match client.set(&path, &data).submit() {
            Ok(set) => pending.push_back(set),
            Err(Error::Busy { .. }) => {
                control.busy.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
        while let Some(set) = pending.front_mut()
            && let Poll::Ready(set) = support::poll_once(set)
        {
            pending.pop_front();
            pull(set);
        }
    }
    for set in pending {
        pull(pollster::block_on(set));
    }
    vec![versions]
}

/// Many tasks, each of which awaits one request after the other.
async fn awaits(client: &Client, n: usize, control: &Control) -> Done {
    let (path, data) = (node(n), vec![b'x'; DATA_LEN]);
    type Lane<'a> = Pin<Box<dyn Future<Output = Vec<i32>> + 'a>>;
    let lane = || async {
        let mut versions = Vec::new();
        while !control.stop.load(Ordering::Relaxed) {
            let stat = client.set(&path, &data).into_future().await.unwrap();
            versions.push(stat.version);
            control.answered.fetch_add(1, Ordering::Relaxed);
        }
        versions
    };
    let mut lanes: Vec<Lane<'_>> = (0..LANES).map(|_| Box::pin(lane()) as _).collect();
    let mut done = Vec::new();
    poll_fn(|cx| {
        lanes.retain_mut(|lane| match lane.as_mut().poll(cx) {
            Poll::Ready(versions) => {
                done.push(versions);
                false
            }
            Poll::Pending => true,
        });
        match lanes.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    done
}

/// Every write of a producer was applied once, in the order of its lane, and each was given its
/// own answer.
fn is_complete(n: usize, done: Done) {
    for versions in &done {
        assert!(versions.is_sorted(), "producer {n}: {versions:?}");
    }
    let mut all: Vec<_> = done.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(
        (1..).zip(&all).all(|(n, version)| n == *version),
        "producer {n}: {all:?}"
    );
}

/// What of this process is in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    // Where the system does not tell there is nothing to be compared.
    kib.map_or(0, |kib| kib.parse::<usize>().unwrap() << 10)
}
