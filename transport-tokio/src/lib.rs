//! A transport as one tokio task per session.
//!
//! [`Tokio`] spawns a task on the runtime that it finds or is given, or on a runtime of its own
//! in a private thread; the task is a loop around [`Driver::poll_turn`](Driver).
//!
//! ```
//! # use homing_transport::{Engine, StartError, Transport};
//! # fn example(engine: Box<dyn Engine>) -> Result<(), StartError> {
//! let driver = homing_transport_tokio::Tokio::new().start(engine)?;
//! driver.ring(); // take a turn
//! # Ok(())
//! # }
//! ```
//!
//! It knows nothing of ZooKeeper: it moves bytes between sockets and an
//! [`Engine`]. What it does is what `homing-transport-nio` does, step
//! by step and by the same names; whoever has read one has read the other.
#![forbid(unsafe_code)]

mod dial;
mod driver;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, mpsc};
use std::thread;

use homing_transport::{Driver as DriverHandle, Engine, StartError, Transport};
use tokio::runtime::{self, EnterGuard, Handle};

pub use dial::{Dial, TcpDial};
pub use driver::Driver;

/// Starts sessions as tasks.
///
/// The runtime must have its I/O and time drivers enabled, as `#[tokio::main]` has. Pings are
/// as late as the runtime lets its tasks be: where an application blocks its workers, put the
/// sessions on a [private thread](Self::private_thread).
///
/// ```
/// use homing_transport_tokio::Tokio;
/// assert_eq!(format!("{:?}", Tokio::new()), "Tokio { dial: TcpDial, place: Here }");
/// ```
#[derive(Clone)]
pub struct Tokio<D = TcpDial> {
    dial: D,
    place: Place,
}

/// Which runtime.
#[derive(Debug, Clone)]
enum Place {
    /// The one inside which the session is started.
    Here,
    Given(Handle),
    PrivateThread,
}

impl Tokio {
    /// On the runtime inside which the session is started, over TCP with TCP_NODELAY.
    pub fn new() -> Self {
        Self::with_dial(TcpDial)
    }

    /// On this runtime.
    pub fn on(runtime: Handle) -> Self {
        Self {
            dial: TcpDial,
            place: Place::Given(runtime),
        }
    }

    /// On a runtime of its own, in a thread that nobody else uses.
    pub fn private_thread() -> Self {
        Self {
            dial: TcpDial,
            place: Place::PrivateThread,
        }
    }
}

impl Default for Tokio {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Dial> Tokio<D> {
    /// On the runtime inside which the session is started, over streams of another kind.
    pub fn with_dial(dial: D) -> Self {
        Self {
            dial,
            place: Place::Here,
        }
    }
}

impl<D: Dial + Clone> Transport for Tokio<D> {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn DriverHandle>, StartError> {
        let is_private = matches!(self.place, Place::PrivateThread);
        let mut driver = Driver::new(self.dial.clone(), engine, is_private);
        let handle = driver.handle();
        let task = async move { poll_fn(|cx| driver.poll_turn(cx)).await };
        match &self.place {
            Place::Here => {
                here()?.spawn(task);
            }
            Place::Given(runtime) => {
                runtime.spawn(task);
            }
            Place::PrivateThread => run_in_thread(task)?,
        }
        Ok(handle)
    }

    fn bind_here(&self) -> Result<Option<Arc<dyn Transport>>, StartError> {
        match self.place {
            Place::Here => Ok(Some(Arc::new(Self {
                dial: self.dial.clone(),
                place: Place::Given(here()?),
            }))),
            Place::Given(_) | Place::PrivateThread => Ok(None),
        }
    }
}

/// The runtime that the caller is inside of.
fn here() -> Result<Handle, StartError> {
    Handle::try_current().map_err(|_| {
        StartError::new(
            "the tokio transport was started outside a tokio runtime: start it inside one, give it a handle, put it on a private thread, or use the nio transport",
        )
    })
}

fn run_in_thread(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
    let failed = |error| StartError::new(format!("the tokio transport cannot start: {error}"));
    let (report, started) = mpsc::sync_channel(1);
    let run = move || match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let _ = report.send(Ok(()));
            runtime.block_on(task);
        }
        Err(error) => {
            let _ = report.send(Err(error));
        }
    };
    thread::Builder::new()
        .name("homing-tokio".into())
        .spawn(run)
        .map_err(failed)?;
    match started.recv() {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(StartError::new(
            "the tokio transport's thread ended as it began",
        )),
    }
}

/// The runtime around a piece of code, for code that runs elsewhere and asks for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let context = homing_transport_tokio::Context::current();
/// let elsewhere = std::thread::spawn(move || {
///     let _entered = context.enter();
///     tokio::runtime::Handle::try_current().is_ok()
/// });
/// assert!(elsewhere.join().unwrap());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Context(Option<Handle>);

impl Context {
    /// That of the caller, if there is one.
    pub fn current() -> Self {
        Self(Handle::try_current().ok())
    }

    /// Makes timers, sockets and `spawn` of the runtime work on this thread, until what is
    /// returned is dropped.
    pub fn enter(&self) -> impl Drop + '_ {
        Entered(self.0.as_ref().map(Handle::enter))
    }
}

struct Entered<'a>(#[allow(dead_code, reason = "it is for dropping")] Option<EnterGuard<'a>>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {}
}

impl<D: fmt::Debug> fmt::Debug for Tokio<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokio")
            .field("dial", &self.dial)
            .field("place", &self.place)
            .finish()
    }
}
