//! A transport on mio: its own thread, its own buffers, no async runtime.
//!
//! [`Nio`] starts a thread for each session; the thread is a loop around
//! [`Driver::turn`](Driver). Pings leave on time whatever an application does with its own
//! threads.
//!
//! ```
//! # use homing_transport::{Engine, StartError, Transport};
//! # fn example(engine: Box<dyn Engine>) -> Result<(), StartError> {
//! let driver = homing_transport_nio::Nio::new().start(engine)?;
//! driver.ring(); // take a turn
//! # Ok(())
//! # }
//! ```
//!
//! It knows nothing of ZooKeeper: it moves bytes between sockets and an
//! [`Engine`]. What it does is what `homing-transport-tokio` does, step
//! by step and by the same names; whoever has read one has read the other.
#![forbid(unsafe_code)]

mod buffer;
mod dial;
mod driver;

use std::fmt;
use std::sync::Arc;
use std::thread;

use homing_transport::{Driver as DriverHandle, Engine, StartError, Transport};

pub use dial::{Dial, Stream, TcpDial};
pub use driver::Driver;

/// Starts sessions on threads of their own.
///
/// ```
/// use homing_transport_nio::Nio;
/// assert_eq!(format!("{:?}", Nio::new()), "Nio { dial: TcpDial }");
/// ```
#[derive(Clone, Default)]
pub struct Nio<D = TcpDial> {
    dial: D,
}

impl Nio {
    /// Over TCP, with TCP_NODELAY.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<D: Dial> Nio<D> {
    /// Over streams of another kind.
    pub fn with_dial(dial: D) -> Self {
        Self { dial }
    }
}

impl<D: Dial + Clone> Transport for Nio<D> {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn DriverHandle>, StartError> {
        let failed = |error| StartError::new(format!("the nio transport cannot start: {error}"));
        let mut driver = Driver::new(self.dial.clone()).map_err(failed)?;
        let handle = driver.handle();
        driver.add(engine);
        let run = move || {
            // An error of the poll itself leaves nothing to go on with. The engines are
            // dropped, which completes every slot.
            while driver.turn(None).unwrap_or(false) {}
        };
        thread::Builder::new()
            .name("homing-nio".into())
            .spawn(run)
            .map_err(failed)?;
        Ok(handle)
    }
}

impl<D: fmt::Debug> fmt::Debug for Nio<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nio").field("dial", &self.dial).finish()
    }
}
