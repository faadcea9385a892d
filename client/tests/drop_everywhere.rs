//! Every future of the client, dropped at each of its await points in turn, against a server that
//! takes its time: nobody is given a wrong answer, and nothing stays behind.

#[macro_use]
mod support;

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use homing::{Client, Error, SessionEnd, SessionState, Usage};
use homing_testkit::FakeServer;
use support::{Backend, poll_once, until};

on_each_backend! {
    requests
    watchers
    waiting_for_room
    add_auth
    states
    connect
    close
    detach
    watches_dropped_as_they_are_armed
}

const LATENCY: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);
/// No future here takes as many polls.
const POLLS_MAX: usize = 20;

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

fn boxed<T>(future: impl Future<Output = Result<T, Error>> + 'static) -> Boxed {
    Box::pin(async move { drop(future.await.unwrap()) })
}

/// When a future is dropped, behind its last poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// At once.
    Now,
    /// When it was woken: what it waited for is there, and is never fetched.
    Woken,
}

/// Polls the future so many times, each time but the first when it was woken; then drops it.
/// Says whether it was done before.
fn dropped_after(polls: usize, when: When, mut future: Boxed) -> bool {
    let flag = Arc::new(Flag {
        is_woken: AtomicBool::new(false),
        thread: thread::current(),
    });
    let waker = Waker::from(Arc::clone(&flag));
    for poll in 0..polls {
        if poll > 0 {
            flag.wait();
        }
        if let Poll::Ready(()) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return true;
        }
    }
    if polls > 0 && when == When::Woken {
        flag.wait();
    }
    false
}

struct Flag {
    is_woken: AtomicBool,
    thread: Thread,
}

impl Flag {
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_woken.swap(false, Ordering::SeqCst) {
            let left = deadline.checked_duration_since(Instant::now());
            thread::park_timeout(left.expect("nobody wakes it"));
        }
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Calls `drop_it` with ever more polls until its future is done before it is dropped.
fn at_each_point(what: &str, mut drop_it: impl FnMut(usize, When) -> bool) {
    for when in [When::Now, When::Woken] {
        let done = (0..POLLS_MAX).find(|polls| drop_it(*polls, when));
        let polls = done.unwrap_or_else(|| panic!("{what} was never done"));
        assert!(polls > 0);
        eprintln!("{what}: done with {polls} polls, dropped after each ({when:?})");
    }
}

struct World {
    backend: Backend,
    server: FakeServer,
    client: Client,
}

impl World {
    async fn new(backend: Backend) -> Self {
        let server = FakeServer::start();
        let client = backend.builder(&server.connect_string()).connect().await;
        let client = client.unwrap();
        for path in ["/a", "/b", "/s", "/c"] {
            client.create(path, path).await.unwrap();
        }
        server.latency(LATENCY);
        Self {
            backend,
            server,
            client,
        }
    }

    /// Drops a future between others' requests, which are answered as if it had not been there.
    async fn between_others(&self, drop_it: impl FnOnce() -> bool) -> bool {
        let before = self.client.get("/a").submit().unwrap();
        let stat = self.client.exists("/none").submit().unwrap();
        let is_done = drop_it();
        let after = self.client.get("/b").submit().unwrap();
        let children = self.client.children("/a").submit().unwrap();
        assert_eq!(before.await.unwrap().data, "/a");
        assert_eq!(stat.await.unwrap(), None);
        assert_eq!(after.await.unwrap().data, "/b");
        assert!(children.await.unwrap().is_empty());
        is_done
    }

    /// Nothing is left, here or there.
    fn is_clean(&self) {
        self.has_nothing_of(&self.client);
    }

    fn has_nothing_of(&self, client: &Client) {
        let is_calm = || {
            let stats = client.stats();
            (stats.in_flight, stats.watches) == (Usage::default(), 0)
        };
        let armed = || self.server.with_server(|server| server.watch_count());
        // Twice: a watch may just be on its way to be removed.
        until("all is given back", || {
            is_calm() && armed() == 0 && is_calm()
        });
    }

    /// All that is left of a world in which nothing went wrong.
    fn is_unharmed(&self) {
        self.is_clean();
        let stats = self.client.stats().session;
        assert_eq!((stats.connections, stats.lost()), (1, 0));
    }
}

async fn requests(backend: Backend) {
    let world = World::new(backend).await;
    let client = &world.client;
    type Make = fn(&Client) -> Boxed;
    let all: [(&str, Make); 15] = [
        ("get", |c| boxed(c.get("/a").into_future())),
        ("set", |c| boxed(c.set("/s", b"x").into_future())),
        ("create", |c| {
            boxed(c.create("/c/", b"").sequential().into_future())
        }),
        ("exists", |c| boxed(c.exists("/a").into_future())),
        ("children", |c| boxed(c.children("/c").into_future())),
        ("sync", |c| boxed(c.sync("/").into_future())),
        ("synced get", |c| boxed(c.get("/a").synced().into_future())),
        ("get and watch", |c| {
            boxed(c.get("/a").watch().into_future())
        }),
        ("exists and watch", |c| {
            boxed(c.exists("/no").watch().into_future())
        }),
        ("children and watch", |c| {
            boxed(c.children("/a").watch().into_future())
        }),
        ("synced get and watch", |c| {
            boxed(c.get("/a").synced().watch().into_future())
        }),
        ("submitted get", |c| boxed(c.get("/a").submit().unwrap())),
        ("submitted set", |c| {
            boxed(c.set("/s", b"y").submit().unwrap())
        }),
        ("submitted watch", |c| {
            boxed(c.get("/a").watch().submit().unwrap())
        }),
        ("submitted synced get", |c| {
            boxed(c.get("/a").synced().submit().unwrap())
        }),
    ];
    for (what, make) in all {
        let mut cases = Vec::new();
        for when in [When::Now, When::Woken] {
            let mut polls = 0;
            while !world
                .between_others(|| dropped_after(polls, when, make(client)))
                .await
            {
                // A wake-up that nobody needs does no harm either.
                let mut future = make(client);
                world
                    .between_others(|| {
                        (0..polls).any(|_| poll_once(&mut future).is_ready());
                        drop(future);
                        false
                    })
                    .await;
                polls += 1;
                assert!(polls < POLLS_MAX, "{what} is never done");
            }
            cases.push(polls);
        }
        eprintln!("{what}: done with {cases:?} polls");
        world.is_clean();
    }
    // Many at once, of which every other is dropped at some point.
    let numbers: Vec<_> = (0..150).map(|n: usize| n.to_string()).collect();
    for round in 0..3 {
        let mut kept = Vec::new();
        for (n, (_, make)) in all.iter().cycle().take(numbers.len()).enumerate() {
            let mut future = make(client);
            let _ = poll_once(&mut future);
            let node = client.create(format!("/c/{round}-{n}"), &numbers[n]);
            let node = node.submit().unwrap();
            if n.is_multiple_of(2) {
                kept.push((n, node));
            }
        }
        for (n, node) in kept {
            let path = format!("/c/{round}-{n}");
            assert_eq!(node.await.unwrap().path, path);
            assert_eq!(
                client.get(path).submit().unwrap().await.unwrap().data,
                n.to_string()
            );
        }
    }
    world.is_unharmed();
}

async fn watchers(backend: Backend) {
    let world = World::new(backend).await;
    let client = &world.client;
    for polls in 0..4 {
        for is_changed in [false, true] {
            let (_, watcher) = client.get("/s").watch().await.unwrap();
            let (_, other) = client.get("/s").watch().await.unwrap();
            let mut watcher = Some(watcher);
            let is_done = world
                .between_others(|| {
                    let watcher = watcher.as_mut().unwrap();
                    for _ in 0..polls {
                        assert!(poll_once(watcher).is_pending());
                    }
                    false
                })
                .await;
            assert!(!is_done);
            if is_changed {
                client.set("/s", b"x").await.unwrap();
                // It has been told by now, and never looks.
                drop(watcher.take());
                other.await.unwrap();
            } else {
                drop(watcher.take());
                assert_eq!(client.stats().watches, 1);
                // The one that is left is told, whatever the server was told meanwhile.
                client.set("/s", b"x").await.unwrap();
                other.await.unwrap();
            }
            world.is_clean();
        }
    }
    // Dropped while the change is on its way.
    for _ in 0..20 {
        let (_, watcher) = client.get("/s").watch().await.unwrap();
        let set = client.set("/s", b"x").submit().unwrap();
        drop(watcher);
        set.await.unwrap();
        let (_, watcher) = client.get("/s").watch().await.unwrap();
        let set = client.set("/s", b"x").submit().unwrap();
        watcher.await.unwrap();
        drop(set);
    }
    world.is_unharmed();
}

async fn waiting_for_room(backend: Backend) {
    let world = World::new(backend).await;
    let narrow = backend.builder(&world.server.connect_string());
    let narrow = narrow.requests_in_flight(1).connect().await.unwrap();
    type Make = fn(&Client) -> Boxed;
    let all: [(&str, Make); 4] = [
        ("get", |c| boxed(c.get("/b").into_future())),
        ("watch", |c| boxed(c.get("/b").watch().into_future())),
        ("synced get", |c| boxed(c.get("/b").synced().into_future())),
        ("synced watch", |c| {
            boxed(c.get("/b").synced().watch().into_future())
        }),
    ];
    for (what, make) in all {
        at_each_point(what, |polls, when| {
            world.server.pause();
            let first = narrow.get("/a").submit().unwrap();
            let mut waiting = make(&narrow);
            let is_waiting = polls > 0 && poll_once(&mut waiting).is_pending();
            let behind = on_a_thread(narrow.get("/a").into_future());
            assert_eq!(is_waiting, polls > 0);
            assert_eq!(narrow.in_flight().requests, 1, "the others wait for room");
            world.server.resume();
            let is_done = dropped_after(polls, when, waiting);
            // Whoever is behind it gets its room.
            assert_eq!(behind.join().unwrap().unwrap().data, "/a");
            assert_eq!(pollster::block_on(first).unwrap().data, "/a");
            world.has_nothing_of(&narrow);
            is_done
        });
    }
    drop(narrow.get("/a").submit().unwrap());
    world.is_unharmed();
}

/// Has been polled once, and is polled whenever it is woken: room that was given to somebody who
/// never looks is nobody else's.
fn on_a_thread<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Unpin + Send + 'static,
{
    let (polled, is_polled) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut future = future;
        pollster::block_on(poll_fn(|cx| {
            let poll = Pin::new(&mut future).poll(cx);
            let _ = polled.send(());
            poll
        }))
    });
    is_polled.recv_timeout(PATIENCE).expect("it is polled");
    thread
}

async fn add_auth(backend: Backend) {
    let world = World::new(backend).await;
    let client = &world.client;
    for when in [When::Now, When::Woken] {
        let mut polls = 0;
        while !world
            .between_others(|| {
                let adding = client.add_auth("digest", b"bob:pw").into_future();
                dropped_after(polls, when, boxed(adding))
            })
            .await
        {
            world.is_clean();
            polls += 1;
            assert!(polls < POLLS_MAX);
        }
    }
    drop(client.add_auth("digest", b"bob:pw").submit().unwrap());
    world.between_others(|| true).await;
    world.is_unharmed();
}

async fn states(backend: Backend) {
    let world = World::new(backend).await;
    // Not connected for a while, so that there is something to wait for.
    world.server.stop();
    let builder = backend.builder(&world.server.connect_string());
    let client = builder.start().unwrap();
    let mut states = client.state_changes();
    let first = states.next().await.unwrap();
    assert_eq!(first.state, SessionState::Connecting);
    for polls in 0..3 {
        let mut next = Box::pin(states.next());
        assert!((0..polls).all(|_| poll_once(&mut next).is_pending()));
        drop(next);
        let mut connected = Box::pin(client.connected());
        assert!((0..polls).all(|_| poll_once(&mut connected).is_pending()));
        drop(connected);
        let mut more = client.state_changes();
        assert!(poll_once(&mut Box::pin(more.next())).is_ready());
        drop(more);
    }
    world.server.restart().unwrap();
    // What was dropped has taken nothing along: the next change is still to come, and comes once.
    let change = states.next().await.unwrap();
    assert!(matches!(change.state, SessionState::Connected(_)));
    assert_eq!(change.missed, 0);
    client.connected().await.unwrap();
    client.close().await.unwrap();
    let change = states.next().await.unwrap();
    assert_eq!(change.state, SessionState::Ended(SessionEnd::Closed));
    assert_eq!(states.next().await, None);
}

async fn connect(backend: Backend) {
    let world = World::new(backend).await;
    let servers = world.server.connect_string();
    let sessions = || world.server.with_server(|server| server.sessions().len());
    let connections = || world.server.with_server(|server| server.connection_count());
    at_each_point("connect", |polls, when| {
        let connecting = world.backend.builder(&servers).connect().into_future();
        let is_done = dropped_after(polls, when, boxed(connecting));
        // A session that began is closed; it is not left to its time-out.
        until("only one is left", || sessions() == 1 && connections() == 1);
        is_done
    });
    world.between_others(|| true).await;
    world.is_unharmed();
}

async fn close(backend: Backend) {
    let world = World::new(backend).await;
    let servers = world.server.connect_string();
    let sessions = || world.server.with_server(|server| server.sessions().len());
    at_each_point("close", |polls, when| {
        let client = pollster::block_on(world.backend.builder(&servers).connect().into_future());
        let client = client.unwrap();
        let pending = client.get("/a").submit().unwrap();
        let is_done = dropped_after(polls, when, boxed(client.close().into_future()));
        // It goes on without whoever asked for it, and what was asked before is answered.
        until("it is closed", || sessions() == 1);
        assert_eq!(pollster::block_on(pending).unwrap().data, "/a");
        until("all know", || {
            client.state() == SessionState::Ended(SessionEnd::Closed)
        });
        assert_eq!(client.in_flight(), Usage::default());
        is_done
    });
    world.is_unharmed();
}

async fn detach(backend: Backend) {
    let world = World::new(backend).await;
    let servers = world.server.connect_string();
    at_each_point("detach", |polls, when| {
        let client = pollster::block_on(world.backend.builder(&servers).connect().into_future());
        let client = client.unwrap();
        let credentials = client.credentials().unwrap();
        let is_done = dropped_after(polls, when, boxed(client.detach().into_future()));
        if polls == 0 {
            // It has not begun.
            assert_eq!(
                pollster::block_on(client.get("/a").into_future())
                    .unwrap()
                    .data,
                "/a"
            );
            pollster::block_on(client.close().into_future()).unwrap();
            return is_done;
        }
        until("all know", || {
            client.state() == SessionState::Ended(SessionEnd::Detached)
        });
        assert_eq!(client.in_flight(), Usage::default());
        // The session is still there.
        let heir = world.backend.builder(&servers).resume(credentials);
        let heir = pollster::block_on(heir.connect().into_future()).unwrap();
        pollster::block_on(heir.close().into_future()).unwrap();
        is_done
    });
    world.is_unharmed();
}

/// The owner goes away in the very moment in which the answer arrives.
async fn watches_dropped_as_they_are_armed(backend: Backend) {
    let world = World::new(backend).await;
    world.server.latency(Duration::ZERO);
    let client = &world.client;
    for round in 0..300 {
        let mut watches = Vec::new();
        for _ in 0..20 {
            watches.push(client.get("/a").watch().submit().unwrap());
        }
        // A different moment each time.
        for _ in 0..round * 50 {
            std::hint::spin_loop();
        }
        drop(watches);
    }
    client.sync("/").await.unwrap();
    world.is_unharmed();
}
