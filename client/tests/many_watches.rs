//! Ten thousand watches on long paths, and a connection that is lost: what was changed meanwhile
//! is told once, everything else stays armed, and one reconnect is enough.

#[macro_use]
mod support;

use std::collections::BTreeSet;
use std::task::Poll;
use std::time::{Duration, Instant};

use homing::{Client, EventType, Pending, Watcher, ops};
use support::proxy::Proxy;
use support::states::{connected, suspended};
use support::victim::{Victim, fake, real, run};
use support::{Backend, poll_once};

const WATCHES: usize = 10_000;
const PATH_LEN: usize = 200;
const CHANGED: usize = 500;
/// Long enough for a JVM to come back on a busy machine.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

on_server! { fake: ten_thousand_watches }
on_server! { real: ten_thousand_watches }

async fn ten_thousand_watches(backend: Backend, server: &mut dyn Victim) {
    let proxy = Proxy::start(server.addr());
    let builder = backend.builder(&proxy.connect_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(PATIENCE);
    let client = builder.connect().await.unwrap();
    let builder = backend.builder(&server.addr().to_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(PATIENCE);
    let other = builder.connect().await.unwrap();
    let mut states = client.state_changes();
    connected(&mut states).await;
    let mut others_states = other.state_changes();
    connected(&mut others_states).await;

    let mut field = Field::sown(&client, &other).await;
    assert_eq!(client.stats().watches, WATCHES);
    let quiet = field.told();
    assert_eq!(quiet, BTreeSet::new());

    // 1. The client is cut off while another one changes things.
    let changed: BTreeSet<_> = (0..CHANGED).map(|n| n * 19).collect();
    proxy.cut();
    suspended(&mut states).await;
    field.change(&changed).await;
    assert_eq!(field.told(), BTreeSet::new(), "it cannot know yet");
    proxy.mend();
    let since = Instant::now();
    connected(&mut states).await;
    eprintln!(
        "{backend:?}: {WATCHES} watches restored, {CHANGED} of them fired, in {:?}",
        since.elapsed()
    );
    // All of it before it was said that the session is connected again.
    field.all_told_once(&changed).await;
    assert_eq!(client.stats().session.connections, 2);

    // 2. The server is killed and started again, and things change before the client is back.
    let changed: BTreeSet<_> = (0..CHANGED).map(|n| n * 19 + 7).collect();
    proxy.cut();
    suspended(&mut states).await;
    server.kill();
    // Or what it asks next may be lost with its old connection.
    suspended(&mut others_states).await;
    server.restart();
    connected(&mut others_states).await;
    field.change(&changed).await;
    assert_eq!(field.told(), BTreeSet::new(), "it cannot know yet");
    proxy.mend();
    connected(&mut states).await;
    field.all_told_once(&changed).await;
    assert_eq!(client.stats().session.connections, 3);

    // 3. The server is killed and started again, and the client finds it by itself.
    server.kill();
    suspended(&mut states).await;
    suspended(&mut others_states).await;
    server.restart();
    connected(&mut states).await;
    connected(&mut others_states).await;
    field.all_told_once(&BTreeSet::new()).await;

    // All that time nothing was lost but what was cut, and nothing is left to be told.
    let stats = client.stats();
    let session = &stats.session;
    eprintln!("{backend:?}: {stats:?}");
    assert_eq!((session.connections, session.lost()), (4, 3));
    assert_eq!(session.lost_protocol + session.lost_silent, 0);
    let more = poll_once(&mut Box::pin(states.next()));
    assert!(more.is_pending(), "{more:?}");
    assert_eq!(stats.watches, WATCHES);
    drop(field);
    assert_eq!(client.stats().watches, 0);
    client.close().await.unwrap();
    other.close().await.unwrap();
}

/// Nodes that are watched by one client, and changed by another.
struct Field {
    client: Client,
    other: Client,
    paths: Vec<String>,
    /// One for each path.
    watchers: Vec<Watcher>,
    /// How often each was changed.
    changes: Vec<usize>,
}

/// What is watched at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Exists,
    Missing,
    Children,
}

impl Kind {
    fn of(n: usize) -> Self {
        [Self::Data, Self::Exists, Self::Missing, Self::Children][n % 4]
    }
}

enum Asked<'a> {
    Data(Pending<ops::Watched<ops::Get<'a>>>),
    Exists(Pending<ops::Watched<ops::Exists<'a>>>),
    Children(Pending<ops::Watched<ops::GetChildren<'a>>>),
}

impl Field {
    async fn sown(client: &Client, other: &Client) -> Self {
        other.create("/w", b"").await.unwrap();
        let paths: Vec<_> = (0..WATCHES)
            .map(|n| format!("/w/{n:0width$}", width = PATH_LEN - 3))
            .collect();
        assert!(paths.iter().all(|path| path.len() == PATH_LEN));
        let there = paths.iter().enumerate();
        let there = there.filter(|(n, _)| Kind::of(*n) != Kind::Missing);
        let creates: Vec<_> = there
            .map(|(_, path)| other.create(path, b"").submit().unwrap())
            .collect();
        for create in creates {
            create.await.unwrap();
        }
        let mut field = Self {
            client: client.clone(),
            other: other.clone(),
            paths,
            watchers: Vec::new(),
            changes: vec![0; WATCHES],
        };
        let all = (0..WATCHES).collect();
        field.watchers = field.watch(&all).await;
        field
    }

    async fn watch(&self, which: &BTreeSet<usize>) -> Vec<Watcher> {
        let asked = which.iter().map(|&n| {
            let path = &self.paths[n];
            match Kind::of(n) {
                Kind::Data => Asked::Data(self.client.get(path).watch().submit().unwrap()),
                Kind::Exists | Kind::Missing => {
                    Asked::Exists(self.client.exists(path).watch().submit().unwrap())
                }
                Kind::Children => {
                    Asked::Children(self.client.children(path).watch().submit().unwrap())
                }
            }
        });
        let asked: Vec<_> = asked.collect();
        let mut watchers = Vec::new();
        for asked in asked {
            watchers.push(match asked {
                Asked::Data(pending) => pending.await.unwrap().1,
                Asked::Exists(pending) => pending.await.unwrap().1,
                Asked::Children(pending) => pending.await.unwrap().1,
            });
        }
        watchers
    }

    /// The other client changes what is watched there.
    async fn change(&mut self, which: &BTreeSet<usize>) {
        for &n in which {
            let path = &self.paths[n];
            let before = self.changes[n];
            self.changes[n] += 1;
            match Kind::of(n) {
                Kind::Data | Kind::Exists => {
                    self.other.set(path, b"x").await.unwrap();
                }
                // There, and gone again.
                Kind::Missing if before.is_multiple_of(2) => {
                    self.other.create(path, b"").await.unwrap();
                }
                Kind::Missing => self.other.delete(path).await.unwrap(),
                Kind::Children => {
                    let child = format!("{path}/{before}");
                    self.other.create(child, b"").await.unwrap();
                }
            }
        }
    }

    /// Whose watchers have been told since the last look, by what is proper for them. They must
    /// not be asked again.
    fn told(&mut self) -> BTreeSet<usize> {
        let mut told = BTreeSet::new();
        for (n, watcher) in self.watchers.iter_mut().enumerate() {
            let Poll::Ready(event) = poll_once(watcher) else {
                continue;
            };
            let event = event.unwrap();
            let expected = match Kind::of(n) {
                Kind::Data | Kind::Exists => EventType::NodeDataChanged,
                Kind::Missing if self.changes[n] % 2 == 1 => EventType::NodeCreated,
                Kind::Missing => EventType::NodeDeleted,
                Kind::Children => EventType::NodeChildrenChanged,
            };
            assert_eq!((event.kind, &event.path), (expected, &self.paths[n]));
            told.insert(n);
        }
        told
    }

    /// These have been told, and no others; and all of them go on as they should.
    async fn all_told_once(&mut self, changed: &BTreeSet<usize>) {
        assert_eq!(&self.told(), changed);
        assert_eq!(self.client.stats().watches, WATCHES - changed.len());
        // Watched again: whoever were told a second time of the same change would be told now.
        self.rearm(changed).await;
        self.client.sync("/").await.unwrap();
        assert_eq!(self.told(), BTreeSet::new());
        assert_eq!(self.client.stats().watches, WATCHES);
        // The server knows of all others too: of some that were told, and of some that were not.
        let told = changed.iter().step_by(25).copied();
        let sample: BTreeSet<_> = (0..WATCHES).step_by(97).chain(told).collect();
        self.change(&sample).await;
        self.client.sync("/").await.unwrap();
        assert_eq!(self.told(), sample);
        self.rearm(&sample).await;
        self.client.sync("/").await.unwrap();
        assert_eq!(self.told(), BTreeSet::new());
    }

    async fn rearm(&mut self, which: &BTreeSet<usize>) {
        let watchers = self.watch(which).await;
        for (n, watcher) in which.iter().zip(watchers) {
            self.watchers[*n] = watcher;
        }
    }
}
