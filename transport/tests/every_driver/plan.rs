//! How a stream is disturbed. It knows no socket: each transport's tests wrap their own.

use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard};

/// What is to happen with each call, by its number from 0 on; shared with whoever counts.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    dials: Calls<DialStep>,
    reads: Calls<Step>,
    writes: Calls<Step>,
}

struct Calls<S> {
    count: usize,
    next: Box<dyn FnMut(usize) -> S + Send>,
}

/// What becomes of one attempt to dial.
pub(crate) enum DialStep {
    Pass,
    /// It cannot even begin.
    Fail(ErrorKind),
    /// It never comes to an end.
    Hang,
    /// The driver hears of it only after this was run, which may block.
    After(Box<dyn FnOnce() + Send>),
}

/// What becomes of one call to read or to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Pass,
    /// No more bytes than these.
    AtMost(usize),
    /// No more bytes than these, and nobody tells that there are more: as it is at the end of a
    /// stream, of which a poll tells once.
    AtMostQuietly(usize),
    /// It would block, and is ready again at once.
    WouldBlock,
    /// Nothing was moved: at the end of the stream, if it is a read.
    Zero,
    /// These bytes were read, whatever the socket has.
    Give(&'static [u8]),
    Fail(ErrorKind),
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn dials(self, next: impl FnMut(usize) -> DialStep + Send + 'static) -> Self {
        self.script().dials.next = Box::new(next);
        self
    }

    pub(crate) fn reads(self, next: impl FnMut(usize) -> Step + Send + 'static) -> Self {
        self.script().reads.next = Box::new(next);
        self
    }

    pub(crate) fn writes(self, next: impl FnMut(usize) -> Step + Send + 'static) -> Self {
        self.script().writes.next = Box::new(next);
        self
    }

    /// How often the stream was written to.
    pub(crate) fn write_count(&self) -> usize {
        self.script().writes.count
    }

    // For the streams.

    pub(crate) fn next_dial(&self) -> DialStep {
        self.script().dials.step()
    }

    pub(crate) fn next_read(&self) -> Step {
        self.script().reads.step()
    }

    pub(crate) fn next_write(&self) -> Step {
        self.script().writes.step()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl<S> Calls<S> {
    fn step(&mut self) -> S {
        self.count += 1;
        (self.next)(self.count - 1)
    }
}

impl Default for Calls<DialStep> {
    fn default() -> Self {
        Self {
            count: 0,
            next: Box::new(|_| DialStep::Pass),
        }
    }
}

impl Default for Calls<Step> {
    fn default() -> Self {
        Self {
            count: 0,
            next: Box::new(|_| Step::Pass),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plan")
    }
}
