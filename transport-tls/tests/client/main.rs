//! Clients that speak TLS, on nio and on tokio, with the fake server and a real ZooKeeper.
//!
//! Where no real ZooKeeper is installed, its half is left out, and says so.

mod files;
#[path = "../pki/mod.rs"]
mod pki;
#[path = "../../../client/tests/support/proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod proxy;
mod rejected;
mod server;
mod words;
mod working;

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use homing::{Builder, Client};

/// What moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Nio,
    Tokio,
}

impl Backend {
    pub(crate) fn builder(self, servers: &str) -> Builder {
        // A JVM that has just begun is slow in its first handshake.
        let builder = Client::builder(servers).connect_timeout(SOON);
        match self {
            Self::Nio => builder.nio(),
            Self::Tokio => builder.tokio(),
        }
    }

    fn block_on(self, future: impl Future<Output = ()>) {
        match self {
            Self::Nio => pollster::block_on(future),
            Self::Tokio => {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.worker_threads(2).enable_all().build();
                runtime.unwrap().block_on(future);
            }
        }
    }
}

/// How long a test may take before it counts as hung.
const TEST_MAX: Duration = Duration::from_secs(120);

/// How long something may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(60);

fn run(backend: Backend, body: impl AsyncFnOnce(Backend) + Send + 'static) {
    let (done, outcome) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        backend.block_on(body(backend));
        let _ = done.send(());
    });
    match outcome.recv_timeout(TEST_MAX) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => panic!("it hangs: not done within {TEST_MAX:?}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(()) => unreachable!("it sends before it ends"),
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// Waits until it is so.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// One `#[test]` for each function and each backend.
macro_rules! on_each_backend {
    ($($body:ident)*) => {
        mod nio {
            $(#[test] fn $body() { crate::run(crate::Backend::Nio, super::$body); })*
        }
        mod tokio {
            $(#[test] fn $body() { crate::run(crate::Backend::Tokio, super::$body); })*
        }
    };
}
pub(crate) use on_each_backend;

/// One `#[test]` for each function, each backend and each kind of server.
macro_rules! everywhere {
    ($($body:ident)*) => {
        crate::everywhere! { @ fake Fake nio Nio; $($body)* }
        crate::everywhere! { @ fake_tokio Fake tokio Tokio; $($body)* }
        crate::everywhere! { @ real Real nio Nio; $($body)* }
        crate::everywhere! { @ real_tokio Real tokio Tokio; $($body)* }
    };
    (@ $module:ident $kind:ident $name:ident $backend:ident; $($body:ident)*) => {
        mod $module {
            $(#[test] fn $body() {
                crate::run(crate::Backend::$backend, async |backend| {
                    if crate::server::Kind::$kind.is_there() {
                        super::$body(backend, crate::server::Kind::$kind).await;
                    }
                });
            })*
        }
    };
}
pub(crate) use everywhere;
