//! TCP streams for tokio that are disturbed as planned.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use homing_transport_tokio::{Dial, TcpDial};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::every_driver::plan::{DialStep, Plan, Step};

#[derive(Debug, Clone)]
pub(crate) struct DisturbedDial(pub(crate) Plan);

pub(crate) struct DisturbedStream {
    inner: TcpStream,
    plan: Plan,
}

impl Dial for DisturbedDial {
    type Stream = DisturbedStream;

    fn dial(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<DisturbedStream>> + Send + 'static {
        dial(self.0.clone(), address)
    }
}

async fn dial(plan: Plan, address: SocketAddr) -> io::Result<DisturbedStream> {
    let step = plan.next_dial();
    if let DialStep::Fail(kind) = step {
        return Err(kind.into());
    }
    let inner = TcpDial.dial(address).await?;
    match step {
        DialStep::Hang => pending().await,
        DialStep::After(run) => run(),
        DialStep::Pass | DialStep::Fail(_) => {}
    }
    Ok(DisturbedStream { inner, plan })
}

impl AsyncRead for DisturbedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.plan.next_read() {
            Step::Pass => Pin::new(&mut self.inner).poll_read(cx, buffer),
            Step::AtMost(max) | Step::AtMostQuietly(max) => {
                let mut few = vec![0; max.min(buffer.remaining())];
                let mut few = ReadBuf::new(&mut few);
                ready!(Pin::new(&mut self.inner).poll_read(cx, &mut few))?;
                buffer.put_slice(few.filled());
                Poll::Ready(Ok(()))
            }
            Step::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Zero => Poll::Ready(Ok(())),
            Step::Give(bytes) => {
                buffer.put_slice(bytes);
                Poll::Ready(Ok(()))
            }
            Step::Fail(kind) => Poll::Ready(Err(kind.into())),
        }
    }
}

impl AsyncWrite for DisturbedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.plan.next_write() {
            Step::Pass => Pin::new(&mut self.inner).poll_write(cx, bytes),
            Step::AtMost(max) | Step::AtMostQuietly(max) => {
                let len = bytes.len().min(max);
                Pin::new(&mut self.inner).poll_write(cx, &bytes[..len])
            }
            Step::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Zero => Poll::Ready(Ok(0)),
            Step::Give(_) => unreachable!("nothing can be given to a write"),
            Step::Fail(kind) => Poll::Ready(Err(kind.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
