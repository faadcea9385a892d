//! What users see, of servers that know more or less.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use homing::pool::{PoolStats, User};
use homing::{Client, Error, Fate};
use homing_testkit::{FakeServer, real};

use crate::support::script::{Script, buffer, data_and_stat, reply};
use crate::support::{Backend, on_plain_thread};
use crate::{add_session, connect_string, polled_once, pool_of, until, write};

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
                SYNC => buffer(Some(b"/")),
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

pub(crate) async fn a_stale_reply_is_read_again_behind_a_sync(backend: Backend) {
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

pub(crate) async fn a_stale_error_is_no_answer(backend: Backend) {
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

pub(crate) async fn a_session_that_is_up_to_date_is_asked_instead(backend: Backend) {
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

pub(crate) async fn a_server_that_tells_no_zxid_is_asked_behind_a_sync(backend: Backend) {
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

pub(crate) async fn a_server_that_stays_behind_is_left_alone(backend: Backend) {
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

pub(crate) async fn a_user_who_has_seen_nothing_takes_any_answer(backend: Backend) {
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
pub(crate) async fn nobody_sees_time_go_backwards(backend: Backend) {
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
pub(crate) async fn an_ensemble_shows_what_was_written(backend: Backend) {
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
