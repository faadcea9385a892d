//! What the integration tests share: backends to run on, deadlines, and servers that misbehave.
#![allow(
    dead_code,
    unreachable_pub,
    unused_macros,
    reason = "every test file has a copy of it and uses a part"
)]

pub mod proxy;
pub mod script;
pub mod states;
pub mod tap;
pub mod victim;
pub mod virtual_time;

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use homing::{Builder, Client};

/// What moves the bytes in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A plain thread asks; there is no async runtime in sight.
    #[cfg(feature = "nio")]
    Nio,
    /// Everything runs in a tokio runtime with several threads.
    #[cfg(feature = "tokio")]
    Tokio,
}

impl Backend {
    /// Those that are compiled in.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "nio")]
        Self::Nio,
        #[cfg(feature = "tokio")]
        Self::Tokio,
    ];

    pub fn builder(self, servers: &str) -> Builder {
        let builder = Client::builder(servers);
        match self {
            #[cfg(feature = "nio")]
            Self::Nio => builder.nio(),
            #[cfg(feature = "tokio")]
            Self::Tokio => builder.tokio(),
        }
    }

    pub fn block_on<F: Future>(self, future: F) -> F::Output {
        match self {
            #[cfg(feature = "nio")]
            Self::Nio => pollster::block_on(future),
            #[cfg(feature = "tokio")]
            Self::Tokio => {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.worker_threads(2).enable_all().build();
                runtime.expect("a runtime").block_on(future)
            }
        }
    }

    /// Whether this thread may call `wait`: any may on nio.
    pub fn may_wait_here(self) -> bool {
        match self {
            #[cfg(feature = "nio")]
            Self::Nio => true,
            #[cfg(feature = "tokio")]
            Self::Tokio => false,
        }
    }
}

/// How long a test may take before it counts as hung. Generous: the machine may be busy.
pub const TEST_MAX: Duration = Duration::from_secs(120);

/// How long [`until`] waits, so that a test which it fails does not count as hung.
const UNTIL_MAX: Duration = Duration::from_secs(60);

/// Runs `body` on a thread of its own, and fails when it takes longer than [`TEST_MAX`]: no
/// wait inside can make the tests hang.
pub fn with_watchdog<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let name = thread::current().name().unwrap_or("test").to_owned();
    let (done, outcome) = mpsc::sync_channel(1);
    let run = move || {
        let _ = done.send(body());
    };
    let thread = thread::Builder::new().name(name).spawn(run);
    let thread = thread.expect("a thread");
    match outcome.recv_timeout(TEST_MAX) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("it hangs: not done within {TEST_MAX:?}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(()) => unreachable!("it sends before it ends"),
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// Runs the body of a test on a backend.
pub fn run(backend: Backend, body: impl AsyncFnOnce(Backend) + Send + 'static) {
    with_watchdog(move || backend.block_on(body(backend)));
}

/// One `#[test]` for each function and each backend that is compiled in.
macro_rules! on_each_backend {
    ($($body:ident)*) => {
        #[cfg(feature = "nio")]
        mod nio {
            $(#[test] fn $body() { crate::support::run(crate::support::Backend::Nio, crate::$body); })*
        }
        #[cfg(feature = "tokio")]
        mod tokio {
            $(#[test] fn $body() { crate::support::run(crate::support::Backend::Tokio, crate::$body); })*
        }
    };
}

/// One `#[test]` for each function and each backend, on a server that the function `$server` starts.
macro_rules! on_server {
    ($server:ident: $($body:ident)*) => {
        mod $server {
            #[cfg(feature = "nio")]
            mod nio {
                $(#[test] fn $body() {
                    crate::run(crate::$server, crate::support::Backend::Nio, crate::$body);
                })*
            }
            #[cfg(feature = "tokio")]
            mod tokio {
                $(#[test] fn $body() {
                    crate::run(crate::$server, crate::support::Backend::Tokio, crate::$body);
                })*
            }
        }
    };
}

/// Waits until something is so, which must come.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + UNTIL_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Polls once, with a waker that wakes nobody.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs `ask` on a plain thread that belongs to no runtime.
pub fn on_plain_thread<T: Send>(ask: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(ask).join() {
        Ok(answer) => answer,
        Err(panic) => resume_unwind(panic),
    })
}

/// Random-looking bytes, each value among them, that differ from one `seed` to the next.
pub fn bytes_of(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(12_345);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}
