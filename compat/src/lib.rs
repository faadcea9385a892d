//! Published Rust clients that this project did not write, unchanged, on the fake server and on a
//! real ZooKeeper: the same test body on both, and what it notes is the same.
//!
//! | client | what it is |
//! | --- | --- |
//! | [`zookeeper-client`](https://docs.rs/zookeeper-client) | async, with locks, persistent watches, SASL and TLS |
//! | [`zookeeper`](https://docs.rs/zookeeper) | on threads, with a latch, a queue and a cache |
//! | [`zookeeper-async`](https://docs.rs/zookeeper-async) | what became of that on tokio |
//! | [`tokio-zookeeper`](https://docs.rs/tokio-zookeeper) | async, and small |
//!
//! ```sh
//! CARGO_TARGET_DIR=target cargo test --locked --manifest-path compat/Cargo.toml
//! ```
//!
//! Where no ZooKeeper is installed, the bodies run on the fake server alone, and say so. See
//! [`real::requirement`].

use std::fmt::{Debug, Write};
use std::time::Duration;

use homing_testkit::{FakeServer, FakeServerBuilder, real};
use tokio::runtime::Runtime;

/// How long one body may take on one server. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Sessions end on its multiples.
const TICK: Duration = Duration::from_millis(100);
/// The session time-outs that are granted.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60);

/// A session time-out that no test outlasts by accident.
pub const LONG: Duration = Duration::from_secs(40);

/// Defines `plain`, which makes a stat the same wherever the same was done: without times, and the
/// owner's id a 1. Each client has a type of its own for it, with the same fields.
#[macro_export]
macro_rules! plain {
    ($stat:ident) => {
        fn plain(stat: $stat) -> $stat {
            $stat {
                ctime: 0,
                mtime: 0,
                ephemeral_owner: stat.ephemeral_owner.signum(),
                ..stat
            }
        }
    };
}

/// A fake server and a real one that are set up alike.
#[must_use]
pub struct Servers {
    fake: FakeServerBuilder,
    real: real::Builder,
}

impl Servers {
    /// Sessions of 200 ms to 60 s, nodes with a time to live, and defaults otherwise.
    pub fn alike() -> Self {
        let fake = FakeServer::builder()
            .tick_time(TICK)
            .session_timeouts(SHORTEST, LONGEST)
            .config(|config| config.extended_types_enabled = true);
        let real = real::ZooKeeper::builder()
            .tick_time(TICK)
            .property("minSessionTimeout", &SHORTEST.as_millis().to_string())
            .property("maxSessionTimeout", &LONGEST.as_millis().to_string());
        Self { fake, real }
    }

    /// Sets both up differently.
    pub fn and(
        mut self,
        fake: impl FnOnce(FakeServerBuilder) -> FakeServerBuilder,
        real: impl FnOnce(real::Builder) -> real::Builder,
    ) -> Self {
        self.fake = fake(self.fake);
        self.real = real(self.real);
        self
    }

    /// Runs the body on both, and fails with the first note that differs.
    pub fn agree(self, body: impl AsyncFn(&mut Server, &mut Notes)) {
        self.compare(|mut server| {
            let mut notes = Notes::default();
            within_patience(body(&mut server, &mut notes));
            notes
        });
    }

    /// The same for a client that blocks its thread.
    pub fn agree_on_threads(self, body: fn(&mut Server, &mut Notes)) {
        self.compare(|mut server| {
            let body = move || {
                let mut notes = Notes::default();
                body(&mut server, &mut notes);
                notes
            };
            within_patience(async { tokio::task::spawn_blocking(body).await.unwrap() })
        });
    }

    fn compare(self, run: impl Fn(Server) -> Notes) {
        let fake = run(Server::Fake(self.fake.start().unwrap()));
        assert!(!fake.0.is_empty(), "it did nothing");
        if real::requirement().is_some() {
            let real = run(Server::Real(Box::new(self.real.start().unwrap())));
            assert_same(&real.0, &fake.0);
        }
    }
}

/// Runs the body on a fake server alone, for what a real one cannot be asked for.
pub fn on_the_fake(body: impl AsyncFn(&FakeServer)) {
    let server = FakeServer::builder()
        .tick_time(TICK)
        .session_timeouts(SHORTEST, LONGEST)
        .start()
        .unwrap();
    within_patience(body(&server));
}

/// One of the two.
pub enum Server {
    /// The one in this process.
    Fake(FakeServer),
    /// The one in a JVM.
    Real(Box<real::ZooKeeper>),
}

impl Server {
    /// `host:port`
    pub fn connect_string(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Real(server) => server.connect_string(),
        }
    }

    /// `host:port` of where it speaks TLS, if it does.
    pub fn secure_connect_string(&self) -> String {
        let with_scheme = match self {
            Self::Fake(server) => server.connect_string(),
            Self::Real(server) => server.tls_connect_string().unwrap(),
        };
        with_scheme.trim_start_matches("tls://").to_owned()
    }

    /// Kills it: nobody listens any more. What it has stored stays.
    pub fn stop(&mut self) {
        match self {
            Self::Fake(server) => server.stop(),
            Self::Real(server) => server.kill(),
        }
    }

    /// Starts it again at the same address.
    pub fn restart(&mut self) {
        match self {
            Self::Fake(server) => server.restart().unwrap(),
            Self::Real(server) => server.restart().unwrap(),
        }
    }
}

/// What a body has seen, in its order: without times and session ids, so that it can be compared.
#[derive(Default)]
pub struct Notes(Vec<String>);

impl Notes {
    /// Notes what came of something.
    pub fn note(&mut self, what: &str, came: impl Debug) {
        let mut line = String::new();
        write!(line, "{what}: {came:?}").unwrap();
        self.0.push(line);
    }
}

fn within_patience<T>(body: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, body).await });
    // A client may have a thread in a call that nobody answers.
    runtime.shutdown_background();
    done.expect("it is done within two minutes")
}

fn assert_same(real: &[String], fake: &[String]) {
    let mut pairs = real.iter().zip(fake);
    if let Some((real, fake)) = pairs.find(|(real, fake)| real != fake) {
        panic!("the real one:\n  {real}\nthe fake:\n  {fake}");
    }
    assert_eq!(real.len(), fake.len(), "one has more to tell: {real:#?}");
}
