//! Lines on standard error, which nobody has to read.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that may wait for a reader. Behind them, they are left out and counted.
const WAITING_MAX: usize = 1000;

/// How long the end of the program waits for a reader.
const GRACE: Duration = Duration::from_secs(1);

/// Lines that a thread of their own writes to standard error: where they are not read, as from a
/// pipe that is full, whoever says them goes on.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    /// Lines that found no room since the last that did.
    left_out: u64,
    /// Nothing more is said.
    is_over: bool,
    is_all_written: bool,
}

impl Lines {
    pub(crate) fn new() -> Result<Self, String> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("standard-error".into())
            .spawn(move || writer.write())
            .map_err(|error| format!("cannot start a thread for standard error: {error}"))?;
        Ok(Self(shared))
    }

    /// Says a line, if there is room for it.
    pub(crate) fn say(&self, line: impl Display) {
        let line = line.to_string();
        let mut state = self.0.lock();
        if state.waiting.len() >= WAITING_MAX {
            state.left_out += 1;
            return;
        }
        state.own_up();
        state.waiting.push_back(line);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Says the last lines, and waits for a moment until all is written.
    pub(crate) fn finish(self, last: impl IntoIterator<Item = String>) {
        let mut state = self.0.lock();
        state.own_up();
        state.waiting.extend(last);
        state.is_over = true;
        self.0.changed.notify_all();
        let is_at_it = |state: &mut State| !state.is_all_written;
        // Without a reader, they are lost.
        drop(self.0.changed.wait_timeout_while(state, GRACE, is_at_it));
    }
}

impl State {
    /// Says how many lines are missing here, if any are.
    fn own_up(&mut self) {
        match mem::take(&mut self.left_out) {
            0 => {}
            1 => self.waiting.push_back("… 1 line left out".into()),
            many => self.waiting.push_back(format!("… {many} lines left out")),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is said, until nothing more is.
    fn write(&self) {
        while let Some(lines) = self.next() {
            // All at once, for standard error has no buffer. Where it is closed there is nobody
            // to be told.
            let _ = io::stderr().write_all(lines.as_bytes());
        }
        self.lock().is_all_written = true;
        self.changed.notify_all();
    }

    /// Waits for the next lines; there are none at the end.
    fn next(&self) -> Option<String> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_over;
        let state = self.changed.wait_while(self.lock(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let lines = mem::take(&mut state.waiting);
        (!lines.is_empty()).then(|| lines.into_iter().map(|line| line + "\n").collect())
    }
}
