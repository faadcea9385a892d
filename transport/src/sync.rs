//! Locks, in the two kinds that this crate is compiled with: the standard library's, and loom's
//! for the models in `tests/loom.rs`.

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

use std::sync::PoisonError;

pub(crate) use imp::{Condvar, Mutex, MutexGuard};

/// Locks without regard to poisoning: no code of a user runs under any lock of this crate, and
/// what a panic of ours leaves behind is still a queue whose every slot can be completed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a notification, with the same view of poisoning as [`lock`].
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}
