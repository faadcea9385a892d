//! What a test of the facade finds: a server, a backend, and a chroot that is its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use homing::{Builder, Client, Stat};
use homing_testkit::{Dialect, FakeServer, ServerConfig, real};

pub(crate) use crate::support::states::connection;
pub(crate) use crate::support::until;
use crate::support::{Backend, with_watchdog};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fake,
    /// A fake one that does what has changed since 3.8.
    Newer,
    Real,
}

#[derive(Debug)]
enum Server {
    Fake(FakeServer),
    /// The one that all tests of this process share.
    Real(&'static real::ZooKeeper),
}

#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) backend: Backend,
    server: Server,
    chroot: String,
}

/// How long something may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Runs a test with all that it needs.
pub(crate) fn run(kind: Kind, backend: Backend, body: impl AsyncFnOnce(&Env) + Send + 'static) {
    let server = match kind {
        Kind::Fake => Server::Fake(start_fake(false)),
        Kind::Newer => Server::Fake(start_fake(true)),
        Kind::Real => match real::shared() {
            Some(server) => Server::Real(server),
            None => return eprintln!("LEFT OUT: there is no real ZooKeeper here"),
        },
    };
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let env = Env {
        backend,
        server,
        chroot: format!("/test-{number}"),
    };
    with_watchdog(move || {
        backend.block_on(async {
            let root = env.connect_to_root().await;
            root.create(env.chroot(), b"").await.unwrap();
            root.close().await.unwrap();
            body(&env).await;
        });
    });
}

/// With nodes that have a time to live, as the real one has them too.
fn start_fake(is_newer: bool) -> FakeServer {
    let dialect = match is_newer {
        true => Dialect::ZooKeeper3_9,
        false => Dialect::default(),
    };
    let builder = FakeServer::builder().dialect(dialect);
    let builder = builder.config(|config| config.extended_types_enabled = true);
    builder.start().unwrap()
}

impl Env {
    /// `host:port`, without the chroot.
    pub(crate) fn servers(&self) -> String {
        match &self.server {
            Server::Fake(server) => server.connect_string(),
            Server::Real(server) => server.connect_string(),
        }
    }

    /// The path below which this test works, as the server knows it.
    pub(crate) fn chroot(&self) -> &str {
        &self.chroot
    }

    pub(crate) fn connect_string(&self) -> String {
        self.servers() + &self.chroot
    }

    /// A builder of clients of this test's chroot.
    pub(crate) fn builder(&self) -> Builder {
        self.backend.builder(&self.connect_string())
    }

    pub(crate) async fn connect(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// A client without a chroot.
    pub(crate) async fn connect_to_root(&self) -> Client {
        let builder = self.backend.builder(&self.servers());
        builder.connect().await.unwrap()
    }

    pub(crate) fn is_fake(&self) -> bool {
        matches!(self.server, Server::Fake(_))
    }

    /// Whether events tell the transaction that made them.
    pub(crate) fn tells_zxid(&self) -> bool {
        match &self.server {
            Server::Fake(server) => server.with_server(|server| server.config().events_tell_zxid),
            Server::Real(server) => {
                let mut config = ServerConfig::default();
                config.speak_version(server.version()).unwrap();
                config.events_tell_zxid
            }
        }
    }

    /// The fake server of a test that runs on nothing else.
    pub(crate) fn fake(&self) -> &FakeServer {
        match &self.server {
            Server::Fake(server) => server,
            Server::Real(_) => panic!("this test is for the fake server alone"),
        }
    }
}

/// Asks until the node is gone, or it has taken too long.
pub(crate) async fn gone(client: &Client, path: &str) {
    let deadline = Instant::now() + SOON;
    while let Some(stat) = client.exists(path).await.unwrap() {
        assert!(Instant::now() < deadline, "{path} is still there: {stat:?}");
    }
}

/// A node's stat; it must be there.
pub(crate) async fn stat(client: &Client, path: &str) -> Stat {
    let stat = client.exists(path).await.unwrap();
    stat.unwrap_or_else(|| panic!("{path} is not there"))
}
