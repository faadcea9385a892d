//! A server that a test has for itself and maltreats.

use std::net::SocketAddr;
use std::time::Duration;

use homing_testkit::FakeServer;
use homing_testkit::real::{Builder, ZooKeeper, requirement};

use super::{Backend, with_watchdog};

pub trait Victim: Send {
    fn addr(&self) -> SocketAddr;

    fn connect_string(&self) -> String {
        self.addr().to_string()
    }

    /// Connections stay open, and nothing is read or answered.
    fn pause(&mut self);

    fn resume(&mut self);

    /// Connections break, and what was sent over them and not read is lost.
    fn kill(&mut self);

    /// It serves again, with all that it had stored.
    fn restart(&mut self);
}

impl Victim for FakeServer {
    fn addr(&self) -> SocketAddr {
        Self::addr(self)
    }

    fn pause(&mut self) {
        Self::pause(self);
    }

    fn resume(&mut self) {
        Self::resume(self);
    }

    fn kill(&mut self) {
        self.stop();
    }

    fn restart(&mut self) {
        Self::restart(self).unwrap();
    }
}

/// SIGSTOP, SIGCONT and SIGKILL.
impl Victim for ZooKeeper {
    fn addr(&self) -> SocketAddr {
        Self::addr(self)
    }

    fn pause(&mut self) {
        Self::pause(self);
    }

    fn resume(&mut self) {
        Self::resume(self);
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn restart(&mut self) {
        Self::restart(self).unwrap();
    }
}

/// Starts one, if there can be one here.
pub type Start = fn() -> Option<Box<dyn Victim>>;

pub fn fake() -> Option<Box<dyn Victim>> {
    Some(Box::new(FakeServer::start()))
}

pub fn real() -> Option<Box<dyn Victim>> {
    real_with(|builder| builder)
}

/// A real one with settings of its own. Unless they say otherwise, sessions last up to 40 s.
pub fn real_with(set: impl FnOnce(Builder) -> Builder) -> Option<Box<dyn Victim>> {
    requirement()?;
    let builder = set(ZooKeeper::builder().tick_time(Duration::from_secs(2)));
    Some(Box::new(builder.start().unwrap()))
}

pub fn run(
    start: Start,
    backend: Backend,
    body: impl AsyncFnOnce(Backend, &mut dyn Victim) + Send + 'static,
) {
    let Some(mut server) = start() else {
        return eprintln!("LEFT OUT: there is no real ZooKeeper here");
    };
    with_watchdog(move || backend.block_on(body(backend, &mut *server)));
}
