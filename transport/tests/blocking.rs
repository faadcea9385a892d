//! Pulling from a plain thread: when it may block, and on whom.
#![cfg(not(loom))]

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use homing_transport::{Driver, MustNotBlock, Signal, block_on};

/// A driver that runs on the thread of whoever waits.
#[derive(Default)]
struct Here {
    turns: AtomicUsize,
}

impl Driver for Here {
    fn ring(&self) {}

    fn block(&self, _signal: &Signal) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_driver_can_work_on_the_thread_that_waits_for_it() {
    let driver = Here::default();
    let is_done = poll_fn(|_| match driver.turns.load(Ordering::Relaxed) {
        3 => Poll::Ready("done"),
        _ => Poll::Pending,
    });
    assert_eq!(block_on(&driver, is_done), Ok("done"));
}

/// A driver on this very thread.
struct Stuck;

impl Driver for Stuck {
    fn ring(&self) {}

    fn may_block(&self) -> Result<(), MustNotBlock> {
        Err(MustNotBlock {
            why: "it runs here",
        })
    }
}

#[test]
fn a_thread_that_must_not_be_blocked_is_told_at_once() {
    let error = block_on(&Stuck, pending::<()>()).unwrap_err();
    assert_eq!(error.why, "it runs here");
    let never = poll_fn(|_| -> Poll<()> { panic!("it was polled") });
    assert!(block_on(&Stuck, never).is_err());
}

struct Elsewhere;

impl Driver for Elsewhere {
    fn ring(&self) {}
}

#[test]
fn a_thread_that_is_woken_looks_again() {
    let mut polls = 0;
    let future = poll_fn(|cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        match polls {
            5 => Poll::Ready(polls),
            _ => Poll::Pending,
        }
    });
    assert_eq!(block_on(&Elsewhere, future), Ok(5));
}

#[test]
fn a_signal_is_on_or_off_and_nothing_more() {
    let signal = Arc::new(Signal::new());
    assert!(!signal.take());
    let waker = Waker::from(Arc::clone(&signal));
    waker.wake_by_ref();
    waker.wake();
    assert!(signal.take());
    assert!(!signal.take());
}
