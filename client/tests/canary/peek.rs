//! A look at sessions while they live.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing::{Client, StartError, Transport};
use homing_transport::{Action, Down, Driver, Engine, Outgoing};

use crate::find::Prints;
use crate::support::Backend;

/// Looks at what a transport is given to drive.
#[derive(Debug, Clone)]
struct Peek<T> {
    inner: T,
    prints: Arc<Prints>,
}

impl<T: Transport> Transport for Peek<T> {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        self.prints.debug(&engine);
        self.inner.start(Box::new(Watched {
            engine,
            prints: Arc::clone(&self.prints),
        }))
    }
}

/// Looks at a session while it lives: behind what has arrived, before what leaves.
#[derive(Debug)]
struct Watched {
    engine: Box<dyn Engine>,
    prints: Arc<Prints>,
}

impl Engine for Watched {
    fn handle_turn(&mut self, now: Instant) {
        self.engine.handle_turn(now);
    }

    fn handle_sleep(&mut self, slept: Duration) {
        self.engine.handle_sleep(slept);
    }

    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>) {
        self.engine.handle_resolved(now, addresses);
    }

    fn handle_connected(&mut self, now: Instant) {
        self.engine.handle_connected(now);
    }

    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut) {
        self.engine.handle_bytes(now, input);
        self.prints.add(&format!("{:?}\n", self.engine));
    }

    fn handle_disconnected(&mut self, now: Instant, unsent: Outgoing, why: Down) {
        self.prints.add(&format!("{unsent:?} {why:?}\n"));
        self.engine.handle_disconnected(now, unsent, why);
        self.prints.add(&format!("{:?}\n", self.engine));
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.engine.poll_action()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outgoing) {
        self.engine.poll_transmit(now, out);
        if !out.is_empty() {
            self.prints.add(&format!("{out:?}\n"));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        self.engine.take_wakers(into);
    }

    fn park(&mut self) -> bool {
        self.engine.park()
    }
}

pub(crate) fn peek(backend: Backend, prints: &Arc<Prints>, servers: &str) -> homing::Builder {
    let builder = Client::builder(servers);
    let prints = Arc::clone(prints);
    match backend {
        #[cfg(feature = "nio")]
        Backend::Nio => builder.transport(Peek {
            inner: homing::Nio::new(),
            prints,
        }),
        #[cfg(feature = "tokio")]
        Backend::Tokio => builder.transport(Peek {
            inner: homing::Tokio::new(),
            prints,
        }),
    }
}
