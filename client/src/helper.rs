//! Asking a user's own code, on a thread where it disturbs nobody.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use homing_session::{Ask, Respondent};

use crate::backend;

/// What a user's code fails with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// How many questions may be under way in one process. A session gives up on one that is not
/// answered in time, but nobody can interrupt code that blocks: the next ones fail at once instead
/// of piling up threads.
const QUESTIONS_MAX: usize = 64;

/// How much longer a future is polled than somebody waits for it, who says then that it was late.
const GRACE: Duration = Duration::from_secs(1);

static QUESTIONS: AtomicUsize = AtomicUsize::new(0);

/// A question to somebody, answered by a future that is polled on a thread of its own. Neither
/// the driver of a session nor a runtime is ever blocked by it.
pub(crate) fn ask<W, Q, A, F>(
    whom: Arc<W>,
    run: impl Fn(Arc<W>, Q) -> F + Copy + Send + Sync + 'static,
) -> Ask<Q, Result<A, String>>
where
    W: Send + Sync + ?Sized + 'static,
    Q: Send + 'static,
    A: Send + 'static,
    F: Future<Output = Result<A, BoxError>>,
{
    Ask::new(move |question, respondent| {
        let whom = Arc::clone(&whom);
        start(move || run(whom, question), respondent);
    })
}

fn start<A, F>(run: impl FnOnce() -> F + Send + 'static, respondent: Respondent<Result<A, String>>)
where
    A: Send + 'static,
    F: Future<Output = Result<A, BoxError>>,
{
    if QUESTIONS.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX {
        QUESTIONS.fetch_sub(1, Ordering::Relaxed);
        let error = format!("{QUESTIONS_MAX} earlier questions have not been answered yet");
        return respondent.answer(Err(error));
    }
    let counted = Counted;
    let context = backend::Context::current();
    let answer = move || {
        let _counted = counted;
        // What a runtime has (timers, sockets) works as if the future ran inside.
        let _entered = context.enter();
        if let Some(answer) = poll_for(respondent.within() + GRACE, run()) {
            respondent.answer(answer.map_err(|error| with_causes(&*error)));
        }
    };
    // Without a thread nobody will answer, which dropping the respondent says.
    let _ = thread::Builder::new()
        .name("homing-helper".into())
        .spawn(answer);
}

struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        QUESTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Polls on this thread until it is done, or the time is over.
fn poll_for<F: Future>(within: Duration, future: F) -> Option<F::Output> {
    let deadline = Instant::now() + within;
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn a_future_is_polled_until_it_is_done_or_late() {
        assert_eq!(poll_for(Duration::from_secs(60), ready(7)), Some(7));
        assert_eq!(poll_for(Duration::from_millis(1), pending::<u8>()), None);
        let mut polls = 0;
        let future = std::future::poll_fn(|cx| {
            polls += 1;
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            if polls < 3 {
                Poll::Pending
            } else {
                Poll::Ready(polls)
            }
        });
        assert_eq!(poll_for(Duration::from_secs(60), future), Some(3));
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug)]
        struct Sealed(std::fmt::Error);
        impl std::fmt::Display for Sealed {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the vault is sealed")
            }
        }
        impl Error for Sealed {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let text = with_causes(&Sealed(std::fmt::Error));
        assert!(
            text.starts_with("the vault is sealed: an error occurred"),
            "{text}"
        );
    }
}
