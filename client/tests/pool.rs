//! A pool over servers that know more or less, come and go: no user sees time go backwards, and
//! sessions are started, replaced and closed as they should be.

#[macro_use]
mod support;

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use homing::pool::{PoolStats, User};
use homing::{Client, Error, Fate, Pool, SessionEnd, Transport};
use homing_testkit::{FakeServer, real};
use homing_transport::{Driver, Engine, StartError};
use support::script::{Script, data_and_stat, reply};
use support::{Backend, on_plain_thread};

on_each_backend! {
    a_stale_reply_is_read_again_behind_a_sync
    a_stale_error_is_no_answer
    a_session_that_is_up_to_date_is_asked_instead
    a_server_that_tells_no_zxid_is_asked_behind_a_sync
    a_server_that_stays_behind_is_left_alone
    a_user_who_has_seen_nothing_takes_any_answer
    nobody_sees_time_go_backwards
    an_ensemble_shows_what_was_written
    nothing_is_started_before_it_is_needed
    busy_sessions_get_company_up_to_the_capacity
    the_least_busy_session_is_asked
    sessions_that_cannot_be_started_are_tried_again_after_a_pause
    a_session_that_ends_is_replaced
    a_pool_whose_sessions_end_at_once
    what_is_lost_with_its_connection_is_asked_again
    reads_wait_for_a_connection_until_their_deadline
    a_full_session_refuses_what_is_submitted
    dropped_reads_leave_nothing_behind
    a_close_ends_reads_that_wait
    a_close_answers_what_was_in_line
    a_close_that_nobody_confirms
    the_last_handle_closes
    settings_that_make_no_sense
}

/// How long something may take that should happen soon.
const SOON: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        thread::yield_now();
    }
}

fn pool_of(backend: Backend, servers: &str, capacity: usize) -> Pool {
    let builder = backend.builder(servers).pool();
    // Each read starts a session, so that tests have as many as they want.
    builder.capacity(capacity).grow_at(0).start().unwrap()
}

fn connect_string(servers: &[FakeServer]) -> String {
    let each = servers.iter().map(FakeServer::connect_string);
    each.collect::<Vec<_>>().join(",")
}

/// Starts another session of the pool, at this one of the servers.
async fn add_session(pool: &Pool, servers: &[FakeServer], at: usize) {
    for (index, server) in servers.iter().enumerate() {
        server.refuse_connections(index != at);
    }
    let before = pool.stats();
    pool.user().exists("/").await.unwrap();
    until("another session is connected", || {
        pool.stats().connected > before.connected
    });
    assert_eq!(pool.stats().started, before.started + 1);
    for server in servers {
        server.refuse_connections(false);
    }
}

/// Makes `/v` with this data, in a transaction with this zxid.
async fn write(backend: Backend, server: &FakeServer, zxid: i64, data: &str) -> Client {
    let builder = backend.builder(&server.connect_string());
    let client = builder.connect().await.unwrap();
    server.with_server(|server| server.set_last_zxid(zxid - 1));
    client.create("/v", data).await.unwrap();
    assert_eq!(client.last_zxid(), zxid);
    client
}

fn polled_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

const GET: i32 = 4;
const SYNC: i32 = 9;
const NO_NODE: i32 = -101;

/// A server that answers each request with what `answer` makes of its operation and of whether
/// it was synced before: a zxid, an error code and data. And what it was asked.
fn scripted(
    answer: impl Fn(bool) -> (i64, i32, &'static str) + Send + Sync + 'static,
) -> (Script, Arc<Mutex<Vec<i32>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let script = Script::start(move |_, mut peer| {
        peer.shake_hands()?;
        let mut is_synced = false;
        loop {
            let request = peer.read_request()?;
            log.lock().unwrap().push(request.op);
            is_synced |= request.op == SYNC;
            let (zxid, err, data) = answer(is_synced);
            let body = match request.op {
                SYNC => support::script::buffer(Some(b"/")),
                _ => data_and_stat(Some(data.as_bytes())),
            };
            match request.op {
                SYNC => peer.send(&reply(request.xid, zxid, 0, &body))?,
                _ if err != 0 => peer.send(&reply(request.xid, zxid, err, &[]))?,
                _ => peer.send(&reply(request.xid, zxid, 0, &body))?,
            }
        }
    });
    (script, asked)
}

async fn a_stale_reply_is_read_again_behind_a_sync(backend: Backend) {
    let behind = |is_synced| match is_synced {
        false => (10, 0, "old"),
        true => (20, 0, "new"),
    };
    let (server, asked) = scripted(behind);
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.seen(20);
    assert_eq!(user.get("/v").await.unwrap().data, "new");
    assert_eq!(*asked.lock().unwrap(), [GET, SYNC, GET]);
    let stats = pool.stats();
    assert_eq!((stats.discarded, stats.syncs, stats.repeated), (1, 1, 0));
    // The same on a plain thread, and for what was submitted.
    let (server, asked) = scripted(behind);
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.seen(20);
    let submitted = user.get("/v");
    let node = on_plain_thread(|| submitted.wait().unwrap());
    assert_eq!(node.data, "new");
    assert_eq!(*asked.lock().unwrap(), [GET, SYNC, GET]);
    assert_eq!(user.last_zxid(), 20);
}

async fn a_stale_error_is_no_answer(backend: Backend) {
    let (server, asked) = scripted(|is_synced| match is_synced {
        false => (10, NO_NODE, ""),
        true => (20, 0, "there"),
    });
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.seen(15);
    // To `exists` such an error would be an answer.
    assert_eq!(user.get("/v").await.unwrap().data, "there");
    assert_eq!(*asked.lock().unwrap(), [GET, SYNC, GET]);

    let (server, _) = scripted(|is_synced| match is_synced {
        false => (10, NO_NODE, ""),
        true => (20, NO_NODE, ""),
    });
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.seen(15);
    assert_eq!(user.exists("/v").await.unwrap(), None);
    assert_eq!(user.last_zxid(), 20);
    assert_eq!(pool.stats().discarded, 1);
    // An error counts as something that was seen.
    let error = user.get("/v").await.unwrap_err();
    assert_eq!(error.to_string(), "get \"/v\": NoNode (-101)");
}

async fn a_session_that_is_up_to_date_is_asked_instead(backend: Backend) {
    let servers = [FakeServer::start(), FakeServer::start()];
    let _writers = [
        write(backend, &servers[0], 2_000, "new").await,
        write(backend, &servers[1], 1_000, "old").await,
    ];
    let pool = pool_of(backend, &connect_string(&servers), 2);
    add_session(&pool, &servers, 0).await;
    add_session(&pool, &servers, 1).await;
    let user = pool.user();
    user.seen(1_500);
    // It must be known that the first is up to date: somebody else reads there.
    until("both have been asked", || {
        let read = on_plain_thread(|| pool.user().get("/v").wait().unwrap());
        read.data == "new"
    });
    // The first is busy, so that the second is asked.
    servers[0].pause();
    let mut busy = pin!(pool.user().get("/v").submit().unwrap());
    while !is_stuck(busy.as_mut()) {
        busy.set(pool.user().get("/v").submit().unwrap());
    }
    let before = pool.stats();
    let reading = user.get("/v").submit().unwrap();
    let mut reading = pin!(reading);
    until("the reply was thrown away", || {
        assert!(polled_once(reading.as_mut()).is_pending());
        pool.stats().discarded == before.discarded + 1
    });
    servers[0].resume();
    assert_eq!(reading.await.unwrap().data, "new");
    assert_eq!(pool.stats().syncs, before.syncs);
    assert!(user.last_zxid() >= 2_000);
}

/// Whether nobody answers.
fn is_stuck<F: Future>(mut reading: Pin<&mut F>) -> bool {
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        if polled_once(reading.as_mut()).is_ready() {
            return false;
        }
        thread::yield_now();
    }
    true
}

async fn a_server_that_tells_no_zxid_is_asked_behind_a_sync(backend: Backend) {
    for nothing in [0, -1] {
        let (server, asked) = scripted(move |_| (nothing, 0, "data"));
        let pool = pool_of(backend, &server.connect_string(), 1);
        let user = pool.user();
        assert_eq!(user.get("/v").await.unwrap().data, "data");
        user.seen(30);
        assert_eq!(user.get("/v").await.unwrap().data, "data");
        assert_eq!(user.last_zxid(), 30);
        assert_eq!(*asked.lock().unwrap(), [GET, SYNC, GET, GET, SYNC, GET]);
    }
}

async fn a_server_that_stays_behind_is_left_alone(backend: Backend) {
    let (server, asked) = scripted(|_| (10, 0, "old"));
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.seen(20);
    let within = Duration::from_millis(300);
    let error = user.get("/v").deadline(within).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Deadline {
                fate: Fate::MaybeApplied,
                ..
            }
        ),
        "{error}"
    );
    // Once without a sync, then with pauses of 50 ms.
    let asked = asked.lock().unwrap().len();
    assert!((3..=2 * 7 + 1).contains(&asked), "{asked}");
    // Others are not so particular.
    assert_eq!(pool.user().get("/v").await.unwrap().data, "old");
}

async fn a_user_who_has_seen_nothing_takes_any_answer(backend: Backend) {
    let (server, asked) = scripted(|_| (10, 0, "old"));
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    assert_eq!(user.get("/v").await.unwrap().data, "old");
    assert_eq!(user.last_zxid(), 10);
    // What it has seen is what its clones have seen, and nobody else.
    let clone = user.clone();
    clone.seen(12);
    clone.seen(11);
    assert_eq!((user.last_zxid(), pool.user().last_zxid()), (12, 0));
    // A sync that is asked for is no sign of trouble.
    assert_eq!(pool.user().get("/v").synced().await.unwrap().data, "old");
    assert_eq!(*asked.lock().unwrap(), [GET, SYNC, GET]);
    assert_eq!((pool.stats().syncs, pool.stats().discarded), (0, 0));
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const HISTORY_FROM: i64 = 1_000_000;
const HISTORY_LEN: usize = 150;
/// How many transactions a server may be behind another.
const LAG_MAX: usize = 12;

/// Three servers with one history, which each lives through at its own pace, and answers with a
/// latency of its own; the history is made of sets of `/v` to the number of the set.
async fn nobody_sees_time_go_backwards(backend: Backend) {
    for seed in 1..=3 {
        let servers = [(); 3].map(|()| FakeServer::start());
        let pool = pool_of(backend, &connect_string(&servers), 6);
        for at in [0, 1, 2, 0, 1, 2] {
            add_session(&pool, &servers, at).await;
        }
        // From now on there are no other transactions than those of the history.
        let mut writers = Vec::new();
        for server in &servers {
            writers.push(write(backend, server, HISTORY_FROM, "0").await);
        }
        let is_over = AtomicBool::new(false);
        on_plain_thread(|| {
            thread::scope(|scope| {
                let readers = [
                    scope.spawn(|| read_one_by_one(&pool.user(), &is_over)),
                    scope.spawn(|| read_one_by_one(&pool.user(), &is_over)),
                    scope.spawn(|| read_many_at_once(&pool.user(), seed, &is_over)),
                ];
                live(&servers, &writers, seed);
                is_over.store(true, Ordering::SeqCst);
                for reader in readers {
                    let answers = reader.join().unwrap();
                    assert!(answers > 0, "seed {seed}: nothing was read");
                }
            });
        });
        let PoolStats {
            connected, failed, ..
        } = pool.stats();
        assert_eq!((connected, failed), (6, 0), "seed {seed}");
    }
}

fn live(servers: &[FakeServer], writers: &[Client], seed: u64) {
    let mut dice = Dice(seed);
    let mut done = [0_usize; 3];
    while done.iter().any(|&done| done < HISTORY_LEN) {
        let at = usize::try_from(dice.roll(3)).unwrap();
        let slowest = done.iter().min().unwrap();
        if done[at] == HISTORY_LEN || done[at] >= slowest + LAG_MAX {
            continue;
        }
        servers[at].latency(Duration::from_micros(dice.roll(2_000)));
        done[at] += 1;
        let zxid = HISTORY_FROM + i64::try_from(done[at]).unwrap();
        servers[at].with_server(|server| server.set_last_zxid(zxid - 1));
        let number = done[at].to_string();
        let stat = writers[at].set("/v", &number).wait().unwrap();
        assert_eq!(stat.mzxid, zxid, "seed {seed}: something else was written");
    }
}

fn number(node: &homing::Node) -> u64 {
    std::str::from_utf8(&node.data).unwrap().parse().unwrap()
}

fn read_one_by_one(user: &User, is_over: &AtomicBool) -> usize {
    let (mut last, mut answers) = (0, 0);
    while !is_over.load(Ordering::SeqCst) {
        let node = user.get("/v").wait().unwrap();
        let this = number(&node);
        assert!(this >= last, "{this} after {last}");
        assert!(user.last_zxid() >= node.stat.mzxid);
        last = this;
        answers += 1;
    }
    answers
}

/// Many at once, and their answers pulled in any order.
fn read_many_at_once(user: &User, seed: u64, is_over: &AtomicBool) -> usize {
    let mut dice = Dice(seed + 1_000);
    let (mut last, mut answers) = (0, 0);
    while !is_over.load(Ordering::SeqCst) {
        let mut readings: Vec<_> = (0..8).map(|_| user.get("/v").submit().unwrap()).collect();
        while !readings.is_empty() {
            let at = usize::try_from(dice.roll(readings.len() as u64)).unwrap();
            let this = number(&readings.swap_remove(at).wait().unwrap());
            assert!(this >= last, "{this} after {last}");
            last = this;
            answers += 1;
        }
    }
    answers
}

/// Real servers, each with a session of the pool, and a writer.
#[allow(
    clippy::await_holding_lock,
    reason = "whoever waits for the ensemble waits on a thread of its own"
)]
async fn an_ensemble_shows_what_was_written(backend: Backend) {
    let Some(ensemble) = real::shared_ensemble() else {
        return eprintln!("LEFT OUT: there is no real ZooKeeper here");
    };
    let servers = ensemble.connect_string();
    let writer = backend.builder(&servers).connect().await.unwrap();
    let path = format!("/pool-{backend:?}");
    let created = writer.create(&path, b"0").await;
    if let Err(error) = created {
        assert_eq!(error.code(), Some(homing::ErrorCode::NodeExists));
    }
    let pool = pool_of(backend, &servers, 6);
    for sessions in 1..=6 {
        pool.user().get(&path).await.unwrap();
        until("it is connected", || pool.stats().connected == sessions);
    }
    let user = pool.user();
    for n in 0..200 {
        let stat = writer.set(&path, &n.to_string()).await.unwrap();
        user.seen(writer.last_zxid());
        let node = user.get(&path).await.unwrap();
        assert_eq!((number(&node), node.stat.version), (n, stat.version));
    }
    let PoolStats {
        discarded, syncs, ..
    } = pool.stats();
    eprintln!("{discarded} replies of 200 were stale, {syncs} syncs");
    pool.close().await.unwrap();
}

async fn nothing_is_started_before_it_is_needed(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string()).pool();
    let pool = builder.start().unwrap();
    let users = [pool.user(), pool.user()];
    let made = users[0].get("/");
    assert_eq!(
        (server.connections_accepted(), pool.stats().started),
        (0, 0)
    );
    made.await.unwrap();
    for _ in 0..50 {
        users[1].get("/").await.unwrap();
    }
    // One at a time needs no second session.
    assert_eq!(
        (server.connections_accepted(), pool.stats().started),
        (1, 1)
    );
}

async fn busy_sessions_get_company_up_to_the_capacity(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string()).pool();
    let pool = builder.capacity(3).grow_at(4).start().unwrap();
    let user = pool.user();
    user.get("/").await.unwrap();
    server.pause();
    let mut readings = Vec::new();
    let mut read = |times| {
        for _ in 0..times {
            readings.push(user.get("/").submit().unwrap());
        }
        pool.stats()
    };
    let stats = read(4);
    assert_eq!((stats.started, stats.in_flight), (1, 4));
    // The fifth finds the session busy. Nobody waits for the new one, and while it is being
    // connected there is no third.
    let stats = read(5);
    assert_eq!(
        (stats.started, stats.connecting, stats.in_flight),
        (2, 1, 9)
    );
    server.resume();
    for reading in readings.drain(..) {
        reading.await.unwrap();
    }
    until("it is connected", || pool.stats().connected == 2);
    server.pause();
    let mut readings = Vec::new();
    for _ in 0..100 {
        readings.push(user.get("/").submit().unwrap());
    }
    assert_eq!(pool.stats().started, 3);
    server.resume();
    until("it is connected", || pool.stats().connected == 3);
    server.pause();
    for _ in 0..100 {
        readings.push(user.get("/").submit().unwrap());
    }
    server.resume();
    for reading in readings {
        reading.await.unwrap();
    }
    // There is no fourth.
    let stats = pool.stats();
    assert_eq!((stats.started, stats.connected, stats.in_flight), (3, 3, 0));
    assert_eq!(server.connections_accepted(), 3);
}

async fn the_least_busy_session_is_asked(backend: Backend) {
    let servers = [FakeServer::start(), FakeServer::start()];
    let pool = pool_of(backend, &connect_string(&servers), 2);
    add_session(&pool, &servers, 0).await;
    add_session(&pool, &servers, 1).await;
    // The first server is stuck: it gets one request or two, and the other all the rest.
    servers[0].pause();
    let user = pool.user();
    let stuck = [
        user.get("/").submit().unwrap(),
        user.get("/").submit().unwrap(),
    ];
    let before = servers[1].requests_received();
    for _ in 0..20 {
        pool.user().get("/").deadline(SOON).await.unwrap();
    }
    assert!(servers[1].requests_received() >= before + 20);
    servers[0].resume();
    for reading in stuck {
        reading.await.unwrap();
    }
}

/// Refuses to start as long as it is told to, and counts.
#[derive(Debug)]
struct Moody {
    transport: Arc<dyn Transport>,
    asked: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
}

impl Transport for Moody {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(StartError::new("not in the mood")),
            false => self.transport.start(engine),
        }
    }
}

fn transport(backend: Backend) -> Arc<dyn Transport> {
    match backend {
        #[cfg(feature = "nio")]
        Backend::Nio => Arc::new(homing::Nio::new()),
        #[cfg(feature = "tokio")]
        Backend::Tokio => Arc::new(homing::Tokio::new()),
    }
}

async fn sessions_that_cannot_be_started_are_tried_again_after_a_pause(backend: Backend) {
    let server = FakeServer::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let refuses = Arc::new(AtomicBool::new(true));
    let moody = Moody {
        transport: transport(backend),
        asked: Arc::clone(&asked),
        refuses: Arc::clone(&refuses),
    };
    let builder = Client::builder(&server.connect_string()).transport(moody);
    let pool = builder.pool().start().unwrap();
    let user = pool.user();
    let began = Instant::now();
    for reads in 1..=10_000 {
        let error = user.get("/").await.unwrap_err();
        assert_eq!(error.to_string(), "not in the mood");
        // The first pause is at least 50 ms, and the following are no shorter.
        let pauses = began.elapsed().as_millis() / 50;
        let asked = asked.load(Ordering::SeqCst);
        assert!(asked as u128 <= 1 + pauses, "{asked} after {reads} reads");
    }
    assert_eq!(pool.stats().failed, asked.load(Ordering::SeqCst) as u64);
    refuses.store(false, Ordering::SeqCst);
    let mut answer = user.get("/").await;
    let deadline = Instant::now() + SOON;
    while answer.is_err() {
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::yield_now();
        answer = user.get("/").await;
    }
    assert_eq!(pool.stats().started, 1);
}

async fn a_session_that_ends_is_replaced(backend: Backend) {
    let server = FakeServer::start();
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.get("/").await.unwrap();
    let seen = user.last_zxid();
    let session = server.with_server(|server| server.sessions()[0].id);
    assert!(server.expire_session(session));
    // Nobody notices: neither whoever comes afterwards nor whoever was waiting.
    user.get("/").await.unwrap();
    until("it is replaced", || pool.stats().started == 2);
    assert_eq!((pool.stats().failed, pool.stats().connected), (1, 1));
    assert!(user.last_zxid() > seen);
}

/// A server that makes sessions which it does not know at the next request.
async fn a_pool_whose_sessions_end_at_once(backend: Backend) {
    let server = Script::start(move |index, mut peer| {
        if index % 2 == 0 {
            peer.shake_hands()?;
            peer.read_request()?;
            return Ok(());
        }
        peer.read_frame()?;
        peer.send(&support::script::handshake(0, 0))
    });
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    let error = user.get("/").await.unwrap_err();
    let Error::SessionEnded {
        end: SessionEnd::Expired { .. },
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(error.request().unwrap().path, "/");
    // The first was replaced at once, and the second is not before a pause is over.
    assert_eq!((pool.stats().started, pool.stats().failed), (2, 2));
    let again = on_plain_thread(|| user.get("/").wait().unwrap_err());
    assert!(matches!(again, Error::SessionEnded { .. }), "{again:?}");
}

async fn what_is_lost_with_its_connection_is_asked_again(backend: Backend) {
    let server = FakeServer::start();
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.get("/").await.unwrap();
    for _ in 0..3 {
        server.pause();
        let received = server.requests_received();
        let lost = user.get("/").submit().unwrap();
        let waited = user.children("/").submit().unwrap();
        until("they were sent", || pool.stats().in_flight == 2);
        assert_eq!(server.requests_received(), received);
        server.cut_connections();
        server.resume();
        lost.await.unwrap();
        on_plain_thread(|| {
            if backend.may_wait_here() {
                waited.wait().unwrap();
            }
        });
    }
    assert_eq!(pool.stats().started, 1);
}

async fn reads_wait_for_a_connection_until_their_deadline(backend: Backend) {
    let server = FakeServer::start();
    server.stop();
    let pool = pool_of(backend, &server.connect_string(), 2);
    let user = pool.user();
    let moment = Duration::from_millis(50);
    let error = user.get("/").deadline(moment).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Deadline {
                fate: Fate::NotSent,
                ..
            }
        ),
        "{error:?}"
    );
    let error = on_plain_thread(|| user.get("/").deadline(moment).wait().unwrap_err());
    assert!(
        matches!(
            error,
            Error::Deadline {
                fate: Fate::NotSent,
                ..
            }
        ),
        "{error:?}"
    );
    // One that is being connected is enough.
    assert_eq!((pool.stats().started, pool.stats().connecting), (1, 1));
    let patient = user.get("/").deadline(None).submit().unwrap();
    let on_thread = user.children("/").deadline(SOON);
    server.restart().unwrap();
    on_plain_thread(|| on_thread.wait().unwrap());
    patient.await.unwrap();
}

async fn a_full_session_refuses_what_is_submitted(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend
        .builder(&server.connect_string())
        .requests_in_flight(2);
    let pool = builder.pool().capacity(1).start().unwrap();
    let user = pool.user();
    user.get("/").await.unwrap();
    server.pause();
    let readings = [
        user.get("/").submit().unwrap(),
        user.get("/").submit().unwrap(),
    ];
    let error = user.get("/").submit().unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    // Whoever awaits waits for room.
    let awaited = user.children("/").into_future();
    let mut awaited = pin!(awaited);
    assert!(polled_once(awaited.as_mut()).is_pending());
    assert_eq!(format!("{:?}", *awaited), "Reading(waits for room)");
    server.resume();
    awaited.await.unwrap();
    for reading in readings {
        reading.await.unwrap();
    }
    let error = user.get("not a path").submit().unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error:?}");
}

async fn dropped_reads_leave_nothing_behind(backend: Backend) {
    let server = FakeServer::start();
    server.stop();
    let pool = pool_of(backend, &server.connect_string(), 1);
    let user = pool.user();
    user.seen(1_000);
    // Never polled; waiting for a session; asked; after a stale answer, and so on.
    drop(user.get("/"));
    let mut waits = Box::pin(user.get("/").into_future());
    assert!(polled_once(waits.as_mut()).is_pending());
    assert_eq!(format!("{waits:?}"), "Reading(waits for a session)");
    drop(waits);
    server.restart().unwrap();
    until("it is connected", || pool.stats().connected == 1);
    server.pause();
    let mut asked = Box::pin(user.get("/").into_future());
    assert!(polled_once(asked.as_mut()).is_pending());
    assert_eq!(format!("{asked:?}"), "Reading(in line)");
    drop(asked);
    server.resume();
    for times in 1..200 {
        let mut reading = Box::pin(user.get("/").into_future());
        for _ in 0..times {
            assert!(polled_once(reading.as_mut()).is_pending());
            thread::yield_now();
        }
    }
    until("all were answered", || pool.stats().in_flight == 0);
    // The server catches up, and the pool is as good as new.
    server.with_server(|server| server.set_last_zxid(1_000));
    user.get("/").await.unwrap();
    assert_eq!(pool.stats().started, 1);
}

async fn a_close_ends_reads_that_wait(backend: Backend) {
    let server = FakeServer::start();
    server.stop();
    let pool = pool_of(backend, &server.connect_string(), 2);
    let user = pool.user();
    let waits = user.get("/").submit().unwrap();
    pool.close().await.unwrap();
    let error = waits.await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "get \"/\": the client was closed; it was not sent"
    );
    let error = user.get("/").submit().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    let error = on_plain_thread(|| user.get("/").wait().unwrap_err());
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    pool.close().await.unwrap();
    on_plain_thread(|| pool.close().wait().unwrap());
}

async fn a_close_answers_what_was_in_line(backend: Backend) {
    let server = FakeServer::start();
    let pool = pool_of(backend, &server.connect_string(), 2);
    let user = pool.user();
    for sessions in 1..=2 {
        user.get("/").await.unwrap();
        until("it is connected", || pool.stats().connected == sessions);
    }
    server.pause();
    // Each by a user of its own: one session is closed in a transaction that only the other sees.
    let ask = |_| pool.user().get("/").submit().unwrap();
    let asked: Vec<_> = (0..10).map(ask).collect();
    let closing = pool.close().submit();
    let again = pool.close().submit();
    server.resume();
    on_plain_thread(|| closing.wait().unwrap());
    again.await.unwrap();
    for reading in asked {
        reading.await.unwrap();
    }
    assert_eq!(server.with_server(|server| server.sessions().len()), 0);
}

async fn a_close_that_nobody_confirms(backend: Backend) {
    let server = FakeServer::start();
    let pool = pool_of(backend, &server.connect_string(), 2);
    for sessions in 1..=2 {
        pool.user().get("/").await.unwrap();
        until("it is connected", || pool.stats().connected == sessions);
    }
    server.pause();
    let stuck = pool.user().get("/").submit().unwrap();
    let error = pool
        .close()
        .within(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    let error = stuck.await.unwrap_err();
    assert!(matches!(error, Error::SessionEnded { .. }), "{error:?}");
    assert!(error.may_have_been_applied());
    server.resume();
}

async fn the_last_handle_closes(backend: Backend) {
    let server = FakeServer::start();
    let pool = pool_of(backend, &server.connect_string(), 2);
    let user = pool.user();
    user.get("/").await.unwrap();
    let clone = user.clone();
    drop((pool, user));
    clone.get("/").await.unwrap();
    server.pause();
    // What is under way keeps no session alive, but is answered.
    let asked = clone.get("/").submit().unwrap();
    let made = clone.get("/");
    drop(clone);
    server.resume();
    asked.await.unwrap();
    let error = made.await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    until("the sessions are closed", || {
        server.with_server(|server| server.sessions().is_empty())
    });
}

async fn settings_that_make_no_sense(backend: Backend) {
    let server = FakeServer::start();
    let builder = || backend.builder(&server.connect_string());
    let error = builder().pool().capacity(0).start().unwrap_err();
    assert_eq!(error.to_string(), "the capacity of a pool is zero");
    let client = builder().connect().await.unwrap();
    let credentials = client.credentials().unwrap();
    let error = builder().resume(credentials).pool().start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error:?}");
    let error = builder().session_timeout(Duration::ZERO).pool().start();
    assert!(matches!(error, Err(Error::Misuse { .. })), "{error:?}");
    let error = backend.builder("a:b:c").pool().start();
    assert!(matches!(error, Err(Error::ConnectString(_))), "{error:?}");
    // With no room for a request, none is ever sent.
    if !backend.may_wait_here() {
        let pool = builder().pool().start().unwrap();
        let error = pool.user().get("/").wait().unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error:?}");
        let error = pool.close().wait().unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error:?}");
        on_plain_thread(|| pool.user().get("/").wait().unwrap());
    }
}
