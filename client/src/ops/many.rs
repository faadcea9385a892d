//! Several requests at once, for operations that are made of them.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::error::Error;
use crate::request::{Operation, Request, Running};

/// Puts all requests in line before it waits for any of them, and gives their outcomes in the
/// same order. Where there is no room for some, those wait for it in that order.
pub(super) async fn all<O: Operation>(
    requests: impl IntoIterator<Item = Request<O>>,
) -> Vec<Result<O::Output, Error>> {
    let begin = |request: Request<O>| Stage::Running(request.into_future());
    let mut stages: Vec<_> = requests.into_iter().map(begin).collect();
    poll_fn(|cx| {
        for stage in &mut stages {
            if let Stage::Running(running) = stage
                && let Poll::Ready(outcome) = Pin::new(running).poll(cx)
            {
                *stage = Stage::Done(outcome);
            }
        }
        Poll::Ready(())
    })
    .await;
    let mut outcomes = Vec::with_capacity(stages.len());
    for stage in stages {
        outcomes.push(match stage {
            Stage::Running(running) => running.await,
            Stage::Done(outcome) => outcome,
        });
    }
    outcomes
}

enum Stage<O: Operation> {
    Running(Running<O>),
    Done(Result<O::Output, Error>),
}
