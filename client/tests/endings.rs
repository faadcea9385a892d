//! The ends of a session that somebody has to live with: whoever waits for anything learns of it,
//! once, with the reason, and nothing hangs.
//!
//! Each prints its expiry report, to be read by a human.

#[macro_use]
mod support;

use std::future::{Future, IntoFuture};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use homing::{
    Builder, Client, Error, ErrorCode, Fate, Pending, Running, SessionEnd, SessionState,
    StateChanges, Transport, Usage, Watcher, ops,
};
use homing_transport::{Driver, Engine, StartError};
use support::proxy::Proxy;
use support::script::{self, Script};
use support::tap::Tap;
use support::victim::{Victim, fake, real, run};
use support::{Backend, poll_once};

const PATIENCE: Duration = Duration::from_secs(60);
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How many requests fit.
const IN_FLIGHT: usize = 4;

on_server! { fake:
    it_is_presumed_to_have_expired
    a_server_tells_that_it_has_expired
    another_session_is_given_in_its_place
    an_identity_is_refused
    its_driver_panics
    its_driver_is_dropped
    it_is_detached
    it_is_closed
}
on_server! { real:
    it_is_presumed_to_have_expired
    a_server_tells_that_it_has_expired
    an_identity_is_refused
    it_is_detached
    it_is_closed
}

fn builder(backend: Backend, servers: &str) -> Builder {
    set_up(backend.builder(servers))
}

fn set_up(builder: Builder) -> Builder {
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(PATIENCE);
    builder.requests_in_flight(IN_FLIGHT)
}

async fn it_is_presumed_to_have_expired(backend: Backend, server: &mut dyn Victim) {
    let proxy = Proxy::start(server.addr());
    let builder = builder(backend, &proxy.connect_string());
    let builder = builder.presume_expired_after(Duration::from_secs(2));
    let client = builder.connect().await.unwrap();
    let mut audience = Audience::of(&client).await;
    proxy.cut();
    audience.suspended().await;
    audience.asks();
    let end = audience.learns(Some(Fate::NotSent)).await;
    assert!(matches!(end, SessionEnd::PresumedExpired { .. }), "{end:?}");
}

async fn a_server_tells_that_it_has_expired(backend: Backend, server: &mut dyn Victim) {
    let proxy = Proxy::start(server.addr());
    let client = builder(backend, &proxy.connect_string()).connect().await;
    let client = client.unwrap();
    let mut audience = Audience::of(&client).await;
    proxy.cut();
    audience.suspended().await;
    audience.asks();
    // Somebody else presents its id and password, and closes it.
    let other = builder(backend, &server.addr().to_string());
    let other = other.resume(client.credentials().unwrap());
    other.connect().await.unwrap().close().await.unwrap();
    proxy.mend();
    let session_id = client.credentials().unwrap().session_id();
    let end = audience.learns(Some(Fate::NotSent)).await;
    assert_eq!(end, SessionEnd::Expired { session_id });
}

async fn another_session_is_given_in_its_place(backend: Backend, _: &mut dyn Victim) {
    const EXISTS: i32 = 3;
    const NO_NODE: i32 = -101;
    const OTHER: i64 = 0x77;
    let (ready, is_ready) = mpsc::channel();
    let is_ready = Mutex::new(is_ready);
    let server = Script::start(move |index, mut peer| {
        if index == 0 {
            peer.shake_hands()?;
            loop {
                let asked = peer.read_request()?;
                if asked.op != EXISTS {
                    // It hangs up.
                    return Ok(());
                }
                peer.send(&script::reply(asked.xid, 1, NO_NODE, &[]))?;
            }
        }
        peer.read_frame()?;
        let _ = is_ready.lock().expect("no panic").recv_timeout(PATIENCE);
        peer.send(&script::handshake(30_000, OTHER))?;
        peer.listen_only()
    });
    let client = builder(backend, &server.connect_string()).connect().await;
    let client = client.unwrap();
    let mut audience = Audience::of(&client).await;
    let lost = client.sync("/").await.unwrap_err();
    assert!(matches!(lost, Error::ConnectionLost { .. }), "{lost:?}");
    audience.suspended().await;
    audience.asks();
    ready.send(()).unwrap();
    let end = audience.learns(Some(Fate::NotSent)).await;
    let replaced = SessionEnd::Replaced {
        session_id: script::SESSION_ID,
        other: OTHER,
    };
    assert_eq!(end, replaced);
}

async fn an_identity_is_refused(backend: Backend, server: &mut dyn Victim) {
    let client = builder(backend, &server.addr().to_string()).connect().await;
    let client = client.unwrap();
    let mut audience = Audience::of(&client).await;
    server.pause();
    let auth = client.add_auth("nonsense", b"whatever").submit().unwrap();
    audience.asks();
    server.resume();
    // A server stops reading at an identity that it refuses.
    let end = audience.learns(None).await;
    let scheme = "nonsense".into();
    assert_eq!(end, SessionEnd::AuthFailed { scheme });
    let error = auth.await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::AuthFailed));
    assert_eq!(error.request().unwrap().op, "add_auth");
}

/// A thread or a task that panics takes its session with it, and leaves nobody behind.
async fn its_driver_panics(backend: Backend, server: &mut dyn Victim) {
    let tap = Tap::new();
    let client = set_up(tap.builder(backend, &server.addr().to_string()));
    let client = client.connect().await.unwrap();
    let mut audience = Audience::of(&client).await;
    server.pause();
    audience.asks();
    tap.explode();
    // It must look at its stream for that.
    drop(client.add_auth("digest", b"bob:pw").submit());
    let end = audience.learns(None).await;
    assert_eq!(end, SessionEnd::DriverGone);
    server.resume();
}

/// A transport whose driver does nothing, and can be taken away.
#[derive(Debug, Clone, Default)]
struct Nowhere(Arc<Mutex<Option<Box<dyn Engine>>>>);

impl Transport for Nowhere {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        struct Deaf;
        impl Driver for Deaf {
            fn ring(&self) {}
        }
        *self.0.lock().expect("no panic") = Some(engine);
        Ok(Arc::new(Deaf))
    }
}

async fn its_driver_is_dropped(backend: Backend, _: &mut dyn Victim) {
    let nowhere = Nowhere::default();
    let builder = builder(backend, "127.0.0.1:1").transport(nowhere.clone());
    let client = builder.start().unwrap();
    let mut audience = Audience::without_watchers(&client);
    audience.asks();
    let connecting = thread::spawn({
        let client = client.clone();
        move || pollster::block_on(client.connected())
    });
    let engine = nowhere.0.lock().expect("no panic").take();
    drop(engine);
    let end = audience.learns(Some(Fate::NotSent)).await;
    assert_eq!(end, SessionEnd::DriverGone);
    is_ended(&connecting.join().unwrap().unwrap_err(), &end);
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    #[test]
    fn its_runtime_is_dropped() {
        run(fake, Backend::Tokio, its_runtime_is_gone);
    }

    async fn its_runtime_is_gone(backend: Backend, server: &mut dyn Victim) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let transport = homing::Tokio::on(runtime.handle().clone());
        let builder = builder(backend, &server.addr().to_string());
        let client = builder.transport(transport).connect().await.unwrap();
        let mut audience = Audience::of(&client).await;
        server.pause();
        audience.asks();
        runtime.shutdown_background();
        let end = audience.learns(None).await;
        assert_eq!(end, SessionEnd::DriverGone);
        server.resume();
    }
}

async fn it_is_detached(backend: Backend, server: &mut dyn Victim) {
    let client = builder(backend, &server.addr().to_string()).connect().await;
    let client = client.unwrap();
    let mut audience = Audience::of(&client).await;
    server.pause();
    audience.asks();
    let credentials = client.detach().await.unwrap();
    let end = audience.learns(None).await;
    assert_eq!(end, SessionEnd::Detached);
    server.resume();
    let heir = builder(backend, &server.addr().to_string()).resume(credentials);
    let heir = heir.connect().await.unwrap();
    assert_eq!(heir.credentials(), Some(credentials));
    heir.close().await.unwrap();
}

async fn it_is_closed(backend: Backend, server: &mut dyn Victim) {
    let client = builder(backend, &server.addr().to_string()).connect().await;
    let client = client.unwrap();
    let mut audience = Audience::of(&client).await;
    server.pause();
    audience.asks();
    let closing = client.close().within(Duration::from_millis(50)).submit();
    let error = closing.await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    let end = audience.learns(None).await;
    assert_eq!(end, SessionEnd::Closed);
    server.resume();
}

/// Everybody who can wait for something.
struct Audience {
    client: Client,
    watchers: Vec<Watcher>,
    streams: Vec<StateChanges>,
    requests: Vec<Pending<ops::Get<'static>>>,
    /// It waits for room.
    outside: Option<Running<ops::Get<'static>>>,
    /// Plain threads that block until they have an error.
    threads: Vec<JoinHandle<Error>>,
}

impl Audience {
    async fn of(client: &Client) -> Self {
        let mut audience = Self::without_watchers(client);
        for handle in [client.clone(), client.chroot("/app").unwrap()] {
            let (stat, watcher) = handle.exists("/never").watch().await.unwrap();
            assert_eq!(stat, None);
            audience.watchers.push(watcher);
        }
        let (_, mut watcher) = client.exists("/never").watch().await.unwrap();
        let waiting = thread::spawn(move || watcher.wait(None).unwrap_err());
        audience.threads.push(waiting);
        assert_eq!(client.stats().watches, 3);
        audience
    }

    fn without_watchers(client: &Client) -> Self {
        Self {
            client: client.clone(),
            watchers: Vec::new(),
            streams: vec![client.state_changes(), client.clone().state_changes()],
            requests: Vec::new(),
            outside: None,
            threads: Vec::new(),
        }
    }

    async fn suspended(&self) {
        let mut states = self.client.state_changes();
        while let Some(change) = states.next().await {
            if let SessionState::Suspended { .. } = change.state {
                return;
            }
        }
        panic!("it was over before it was suspended");
    }

    /// Asks as much as can be on its way, and more.
    fn asks(&mut self) {
        loop {
            match self.client.get("/").submit() {
                Ok(get) => self.requests.push(get),
                Err(Error::Busy { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut outside = self.client.get("/").into_future();
        assert!(poll_once(&mut outside).is_pending());
        self.outside = Some(outside);
        let client = self.client.clone();
        let waiting = thread::spawn(move || client.get("/").wait().unwrap_err());
        self.threads.push(waiting);
    }

    /// The session ends, and all learn why. `fate` is what is said of requests in line; `None` if
    /// that depends on how far the driver was with them.
    async fn learns(self, fate: Option<Fate>) -> SessionEnd {
        let mut ends = Vec::new();
        for mut stream in self.streams {
            while let Some(change) = stream.next().await {
                assert_eq!(change.missed, 0);
                if let SessionState::Ended(end) = change.state {
                    ends.push(end);
                }
            }
            assert_eq!(stream.next().await, None);
        }
        let end = ends[0].clone();
        assert_eq!(ends, [end.clone(), end.clone()], "each is told once");

        for request in self.requests {
            let error = request.await.unwrap_err();
            match &error {
                Error::SessionEnded { end: why, .. } => assert_eq!(*why, end),
                Error::Closed { .. } => assert_eq!(end, SessionEnd::Closed),
                other => panic!("{other:?}"),
            }
            let found = match error.may_have_been_applied() {
                true => Fate::MaybeApplied,
                false => Fate::NotSent,
            };
            assert!(fate.is_none_or(|fate| fate == found), "{error}");
        }
        for watcher in self.watchers {
            let error = watcher.await.unwrap_err();
            assert_eq!(error.request().unwrap().to_string(), "watch \"/never\"");
            is_ended(&error, &end);
        }
        if let Some(outside) = self.outside {
            is_ended(&outside.await.unwrap_err(), &end);
        }
        for thread in self.threads {
            is_ended(&thread.join().unwrap(), &end);
        }
        everything_fails_at_once(&self.client, &end);
        everything_fails_at_once(&self.client.chroot("/app").unwrap(), &end);

        let stats = self.client.stats();
        assert_eq!((stats.in_flight, stats.watches), (Usage::default(), 0));
        prints_the_report(&self.client, &end);
        end
    }
}

/// A request that was not sent, or a watcher, ended with its session.
fn is_ended(error: &Error, end: &SessionEnd) {
    match error {
        Error::Closed { .. } => assert_eq!(*end, SessionEnd::Closed),
        Error::SessionEnded { end: why, .. } => assert_eq!(why, end),
        other => panic!("{other:?}"),
    }
    assert!(!error.may_have_been_applied(), "{error:?}");
}

/// Prints the report, if there is to be one; the same whatever handle is asked.
fn prints_the_report(client: &Client, end: &SessionEnd) {
    let report = client.expiry_report();
    if matches!(end, SessionEnd::Closed | SessionEnd::Detached) {
        assert!(report.is_none(), "{report:?}");
        return;
    }
    let report = report.expect("a report");
    assert_eq!(report.end, *end);
    let other = client.clone().expiry_report().expect("the same");
    assert!(Arc::ptr_eq(&report, &other));
    let text = report.to_string();
    assert!(text.starts_with(&end.to_string()), "{text}");
    eprintln!("{text}");
}

fn everything_fails_at_once(client: &Client, end: &SessionEnd) {
    fn at_once<F: Future>(future: F) -> F::Output {
        match poll_once(&mut Box::pin(future)) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it hangs although the session is over"),
        }
    }
    for error in [
        client.get("/").submit().map(|_| ()).unwrap_err(),
        at_once(client.get("/").into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.get("/").synced().into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.get("/").watch().into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.set("/", b"").into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.create("/a", b"").into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.delete("/a").into_future()).unwrap_err(),
        at_once(client.exists("/").watch().into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.children("/").into_future())
            .map(|_| ())
            .unwrap_err(),
        at_once(client.sync("/").into_future()).unwrap_err(),
        at_once(client.add_auth("digest", b"bob:pw").into_future()).unwrap_err(),
        at_once(client.connected()).map(|_| ()).unwrap_err(),
        thread::scope(|scope| {
            let wait = scope.spawn(|| client.get("/").wait());
            wait.join().unwrap().map(|_| ()).unwrap_err()
        }),
    ] {
        is_ended(&error, end);
    }
    if *end != SessionEnd::Detached {
        let error = at_once(client.detach().into_future()).unwrap_err();
        is_ended(&error, end);
    }
    // It is as closed as it can be.
    at_once(client.close().into_future()).unwrap();
    assert_eq!(client.state(), SessionState::Ended(end.clone()));
    // Whoever listens only now is told, and that is all.
    let mut states = client.state_changes();
    let change = at_once(states.next()).expect("the end");
    assert_eq!(change.state, SessionState::Ended(end.clone()));
    assert_eq!(at_once(states.next()), None);
}
