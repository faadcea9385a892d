//! The server goes away under a running client, and comes back.
//!
//! The session lives on, requests that had not left wait, and those that had left end with "may
//! have been applied": which they are is not believed but counted, from inside the sockets.

#[macro_use]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use homing::{Client, Error, SessionEnd, SessionState};
use homing_testkit::FakeServer;
use support::states::{connected, next, suspended};
use support::tap::Tap;
use support::victim::{Victim, fake, real, run};
use support::{Backend, bytes_of, poll_once, until};

/// Long enough for a JVM to come back on a busy machine.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// A fake server that never stops listening: only its connections break.
struct Network(FakeServer);

impl Victim for Network {
    fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    fn pause(&mut self) {
        self.0.pause();
    }

    fn resume(&mut self) {
        self.0.resume();
    }

    fn kill(&mut self) {
        self.0.cut_connections();
    }

    fn restart(&mut self) {
        self.0.resume();
    }
}

fn network() -> Option<Box<dyn Victim>> {
    Some(Box::new(Network(FakeServer::start())))
}

on_server! { fake:
    a_session_survives_a_restart
    what_was_handed_over_may_have_been_applied_and_nothing_else
    work_goes_on_over_several_restarts
    a_server_that_stays_away_ends_the_session
}
on_server! { network:
    what_was_handed_over_may_have_been_applied_and_nothing_else
}
on_server! { real:
    a_session_survives_a_restart
    what_was_handed_over_may_have_been_applied_and_nothing_else
    work_goes_on_over_several_restarts
}

async fn a_session_survives_a_restart(backend: Backend, server: &mut dyn Victim) {
    let builder = backend.builder(&server.connect_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(PATIENCE);
    let client = builder.connect().await.unwrap();
    client.create("/e", b"mine").ephemeral().await.unwrap();
    client.create("/q", b"").await.unwrap();
    let mut states = client.state_changes();
    let before = connected(&mut states).await;
    assert_eq!(before.session_timeout, SESSION_TIMEOUT);

    let killed_at = Instant::now();
    server.kill();
    let why = suspended(&mut states).await;
    assert!(why.contains("was lost"), "{why}");

    let mut creates: Vec<_> = (0..100)
        .map(|_| client.create("/q/", b"").sequential().submit().unwrap())
        .collect();
    let dropped = client.create("/dropped", b"").submit().unwrap();
    let awaited = client.set("/e", b"still mine").version(0);
    let read = client.get("/e").submit().unwrap();
    for create in &mut creates {
        assert!(poll_once(create).is_pending());
    }
    assert!(matches!(client.state(), SessionState::Suspended { .. }));
    // Nobody waits for it any more, and it had not left.
    drop(dropped);

    server.restart();
    let after = connected(&mut states).await;
    let away = killed_at.elapsed();
    assert!(
        away < SESSION_TIMEOUT,
        "the session was without a server for {away:?}"
    );
    assert_eq!(after, before);
    for (create, sequence) in creates.into_iter().zip(0..) {
        assert_eq!(create.await.unwrap().sequence, Some(sequence));
    }
    assert_eq!(read.await.unwrap().data, "mine");
    let stat = awaited.await.unwrap();
    assert_eq!(stat.ephemeral_owner, before.session_id);
    assert_eq!(client.exists("/dropped").await.unwrap(), None);

    let other = backend.builder(&server.connect_string());
    let other = other.connect().await.unwrap();
    let node = other.get("/e").await.unwrap();
    assert_eq!(node.data, "still mine");
    assert_eq!(node.stat.ephemeral_owner, before.session_id);
    client.close().await.unwrap();
    assert_eq!(other.exists("/e").await.unwrap(), None);
}

async fn what_was_handed_over_may_have_been_applied_and_nothing_else(
    backend: Backend,
    server: &mut dyn Victim,
) {
    const SMALL: i32 = 200;
    // Together more than the sockets' buffers take.
    const LARGE: i32 = 80;
    let tap = Tap::new();
    let builder = tap.builder(backend, &server.connect_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(PATIENCE);
    let client = builder.connect().await.unwrap();
    let mut states = client.state_changes();
    let session_id = connected(&mut states).await.session_id;
    client.create("/small", b"").await.unwrap();
    client.create("/large", b"").await.unwrap();
    // The xid of the first request of the batch.
    let first = tap.handed_over()[0].last().unwrap() + 1;

    server.pause();
    let data = bytes_of(512 << 10, 1);
    let small: Vec<_> = (0..SMALL)
        .map(|n| client.create(format!("/small/{n}"), b"").submit().unwrap())
        .collect();
    let large: Vec<_> = (0..LARGE)
        .map(|_| client.set("/large", &data).submit().unwrap())
        .collect();
    until("the sockets are full", || {
        let sent = tap.handed_over()[0].len();
        sent > usize::try_from(SMALL).unwrap() + 2
    });
    server.kill();
    let why = suspended(&mut states).await;
    server.restart();
    assert_eq!(connected(&mut states).await.session_id, session_id);

    let mut outcomes = Vec::new();
    for create in small {
        outcomes.push(create.await.map(|_| ()));
    }
    for set in large {
        outcomes.push(set.await.map(|_| ()));
    }
    let sent = tap.handed_over();
    let (mut lost, mut done) = (0, 0);
    for (outcome, xid) in outcomes.into_iter().zip(first..) {
        let was_handed_over = sent[0].contains(&xid);
        match outcome {
            Err(error) => {
                assert!(was_handed_over, "xid {xid}, which had not left: {error}");
                assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
                assert!(error.may_have_been_applied());
                let text = format!("{why}; it may have been applied or not");
                assert!(error.to_string().ends_with(&text), "{error} / {text}");
                // It is not sent again.
                assert!(sent[1..].iter().all(|xids| !xids.contains(&xid)));
                lost += 1;
            }
            Ok(()) => {
                assert!(
                    !was_handed_over,
                    "xid {xid} had left, and no answer could come"
                );
                let times = sent[1..].iter().flatten().filter(|sent| **sent == xid);
                assert_eq!(times.count(), 1, "xid {xid}");
                done += 1;
            }
        }
    }
    eprintln!("{lost} were handed over and lost, {done} were sent afterwards");
    assert!(lost > SMALL, "{lost}");
    assert!(done > 0, "everything fitted into the sockets' buffers");
    // The killed server had read none of them, so that this much was applied, and once.
    let stat = client.exists("/large").await.unwrap().unwrap();
    assert_eq!(stat.version, done);
    assert!(client.children("/small").await.unwrap().is_empty());
}

async fn work_goes_on_over_several_restarts(backend: Backend, server: &mut dyn Victim) {
    const RESTARTS: usize = 3;
    const IN_LINE: usize = 50;
    let builder = backend.builder(&server.connect_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(PATIENCE);
    let client = builder.connect().await.unwrap();
    let session_id = client.credentials().unwrap().session_id();
    client.create("/jobs", b"").await.unwrap();
    let mut states = client.state_changes();
    let answered = AtomicUsize::new(0);
    let names: Vec<_> = (0u32..).take(1 << 20).map(|n| n.to_string()).collect();
    let mut names = names.iter();
    let mut pending = VecDeque::new();
    let mut outcomes = BTreeMap::new();

    std::thread::scope(|scope| {
        // Kills it in the midst of work, again and again.
        let killer = scope.spawn(|| {
            for _ in 0..RESTARTS {
                pollster::block_on(connected(&mut states));
                let enough = answered.load(Ordering::SeqCst) + 2 * IN_LINE;
                until("it works", || answered.load(Ordering::SeqCst) > enough);
                server.kill();
                pollster::block_on(suspended(&mut states));
                server.restart();
            }
            pollster::block_on(connected(&mut states));
        });
        let mut rest = IN_LINE;
        while rest > 0 {
            // When the killer is done, some more, and that was it.
            rest -= usize::from(killer.is_finished());
            let name = names.next().unwrap();
            let create = client.create("/jobs/", name).sequential();
            pending.push_back((name, create.submit().unwrap()));
            if pending.len() == IN_LINE {
                let (name, create) = pending.pop_front().unwrap();
                outcomes.insert(name, pollster::block_on(create));
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for (name, create) in pending {
        outcomes.insert(name, create.await);
    }
    // Every name at most once; and of those that were acknowledged, every one.
    let children = client.children("/jobs").await.unwrap();
    let mut found = BTreeMap::new();
    for child in &children {
        let path = format!("/jobs/{child}");
        let name = client.get(&path).await.unwrap().data;
        let name = String::from_utf8(name.to_vec()).unwrap();
        let twice = found.insert(name, path);
        assert_eq!(twice, None, "it was applied twice");
    }
    let mut lost = 0;
    for (name, outcome) in &outcomes {
        match outcome {
            Ok(made) => assert_eq!(found.get(*name), Some(&made.path)),
            Err(error) => {
                assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
                lost += 1;
            }
        }
    }
    eprintln!(
        "{} requests over {RESTARTS} restarts, {lost} of them lost",
        outcomes.len()
    );
    assert!(outcomes.len() > RESTARTS * IN_LINE);
    assert_eq!(client.credentials().unwrap().session_id(), session_id);
    assert!(matches!(client.state(), SessionState::Connected(_)));
}

async fn a_server_that_stays_away_ends_the_session(backend: Backend, server: &mut dyn Victim) {
    let builder = backend.builder(&server.connect_string());
    let builder = builder.presume_expired_after(Duration::from_millis(300));
    let client: Client = builder.deadline(PATIENCE).connect().await.unwrap();
    let session = client.credentials().unwrap().session_id();
    let mut states = client.state_changes();
    connected(&mut states).await;
    server.kill();
    suspended(&mut states).await;
    let error = client.create("/a", b"").await.unwrap_err();
    let Error::SessionEnded { end, .. } = &error else {
        panic!("{error:?}");
    };
    let SessionEnd::PresumedExpired {
        session_id,
        silent_for,
    } = end
    else {
        panic!("{end:?}");
    };
    assert_eq!(*session_id, session);
    assert!(*silent_for >= Duration::from_millis(300));
    assert!(!error.may_have_been_applied());
    let text = error.to_string();
    assert!(
        text.contains("is presumed to have expired: no server was reached for"),
        "{text}"
    );
    assert!(matches!(next(&mut states).await, SessionState::Ended(_)));
}
