//! How sessions are chosen, started, replaced and closed.

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error, Fate, OnExpiry, SessionEnd, Transport};
use homing_testkit::FakeServer;
use homing_transport::{Driver, Engine, StartError};

use crate::support::script::{Script, handshake};
use crate::support::{Backend, on_plain_thread};
use crate::{SOON, add_session, connect_string, polled_once, pool_of, until};

pub(crate) async fn nothing_is_started_before_it_is_needed(backend: Backend) {
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

pub(crate) async fn busy_sessions_get_company_up_to_the_capacity(backend: Backend) {
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

pub(crate) async fn the_least_busy_session_is_asked(backend: Backend) {
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

pub(crate) async fn sessions_that_cannot_be_started_are_tried_again_after_a_pause(
    backend: Backend,
) {
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

pub(crate) async fn a_session_that_ends_is_replaced(backend: Backend) {
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
pub(crate) async fn a_pool_whose_sessions_end_at_once(backend: Backend) {
    let server = Script::start(move |index, mut peer| {
        if index % 2 == 0 {
            peer.shake_hands()?;
            peer.read_request()?;
            return Ok(());
        }
        peer.read_frame()?;
        peer.send(&handshake(0, 0))
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

pub(crate) async fn sessions_that_renew_themselves_are_waited_for(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string());
    let builder = builder.on_expiry(OnExpiry::Renew).pool();
    let pool = builder.capacity(1).start().unwrap();
    let user = pool.user();
    for _ in 0..3 {
        user.get("/").await.unwrap();
        let session = server.with_server(|server| server.sessions()[0].id);
        assert!(server.expire_session(session));
        let submitted = user.get("/").submit().unwrap();
        on_plain_thread(|| user.get("/").wait().unwrap());
        submitted.await.unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.started, stats.failed), (1, 0));
}

pub(crate) async fn sessions_that_were_idle_are_woken(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string());
    let builder = builder.close_idle_after(Duration::from_millis(20)).pool();
    let pool = builder.capacity(2).start().unwrap();
    let user = pool.user();
    for _ in 0..3 {
        user.get("/").await.unwrap();
        until("it sleeps", || pool.stats().dormant == 1);
        on_plain_thread(|| pool.user().get("/").wait().unwrap());
        until("it sleeps again", || pool.stats().dormant == 1);
    }
    // One that sleeps is woken before another is started.
    assert_eq!(pool.stats().started, 1);
}

pub(crate) async fn whoever_is_not_to_wait_is_told(backend: Backend) {
    let server = FakeServer::start();
    server.stop();
    let builder = backend.builder(&server.connect_string());
    let pool = builder.fail_fast_after(1).pool().start().unwrap();
    let user = pool.user();
    let error = user.get("/").deadline(None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let error = on_plain_thread(|| user.get("/").deadline(None).wait().unwrap_err());
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    server.restart().unwrap();
    until("it is connected", || pool.stats().connected == 1);
    user.get("/").await.unwrap();
}

pub(crate) async fn what_is_lost_with_its_connection_is_asked_again(backend: Backend) {
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

pub(crate) async fn reads_wait_for_a_connection_until_their_deadline(backend: Backend) {
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

pub(crate) async fn a_full_session_refuses_what_is_submitted(backend: Backend) {
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

pub(crate) async fn dropped_reads_leave_nothing_behind(backend: Backend) {
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

pub(crate) async fn a_close_ends_reads_that_wait(backend: Backend) {
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

pub(crate) async fn a_close_answers_what_was_in_line(backend: Backend) {
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

pub(crate) async fn a_close_that_nobody_confirms(backend: Backend) {
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

pub(crate) async fn the_last_handle_closes(backend: Backend) {
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

pub(crate) async fn settings_that_make_no_sense(backend: Backend) {
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
