//! TCP streams for mio that are disturbed as planned.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use homing_transport_nio::{Dial, Stream, TcpDial};
use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::every_driver::plan::{DialStep, Plan, Step};

#[derive(Debug, Clone)]
pub(crate) struct DisturbedDial(pub(crate) Plan);

pub(crate) struct DisturbedStream {
    inner: TcpStream,
    plan: Plan,
    /// It never opens.
    hangs: bool,
    registration: Option<(Registry, Token, Interest)>,
}

impl Dial for DisturbedDial {
    type Stream = DisturbedStream;

    fn dial(&self, address: SocketAddr) -> io::Result<DisturbedStream> {
        let step = self.0.next_dial();
        if let DialStep::Fail(kind) = step {
            return Err(kind.into());
        }
        let inner = TcpDial.dial(address)?;
        let hangs = matches!(step, DialStep::Hang);
        if let DialStep::After(run) = step {
            run();
        }
        Ok(DisturbedStream {
            inner,
            plan: self.0.clone(),
            hangs,
            registration: None,
        })
    }
}

impl DisturbedStream {
    /// Lets the poll tell again of what it has told already: a step that holds something back
    /// promises that there will be more.
    fn tell_again(&mut self) -> io::Result<()> {
        match &self.registration {
            Some((registry, token, interest)) => {
                registry.reregister(&mut self.inner, *token, *interest)
            }
            None => Ok(()),
        }
    }
}

impl Stream for DisturbedStream {
    fn is_connected(&self) -> io::Result<bool> {
        if self.hangs {
            return Ok(false);
        }
        self.inner.is_connected()
    }
}

impl Read for DisturbedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.plan.next_read() {
            Step::Pass => self.inner.read(buffer),
            Step::AtMost(max) => {
                let len = buffer.len().min(max);
                let count = self.inner.read(&mut buffer[..len])?;
                self.tell_again()?;
                Ok(count)
            }
            Step::AtMostQuietly(max) => {
                let len = buffer.len().min(max);
                self.inner.read(&mut buffer[..len])
            }
            Step::WouldBlock => {
                self.tell_again()?;
                Err(ErrorKind::WouldBlock.into())
            }
            Step::Zero => Ok(0),
            Step::Give(bytes) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Step::Fail(kind) => Err(kind.into()),
        }
    }
}

impl Write for DisturbedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.plan.next_write() {
            Step::Pass => self.inner.write(bytes),
            Step::AtMost(max) | Step::AtMostQuietly(max) => {
                self.inner.write(&bytes[..bytes.len().min(max)])
            }
            Step::WouldBlock => {
                self.tell_again()?;
                Err(ErrorKind::WouldBlock.into())
            }
            Step::Zero => Ok(0),
            Step::Give(_) => unreachable!("nothing can be given to a write"),
            Step::Fail(kind) => Err(kind.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Source for DisturbedStream {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.registration = Some((registry.try_clone()?, token, interest));
        self.inner.register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.inner.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.inner.deregister(registry)
    }
}
