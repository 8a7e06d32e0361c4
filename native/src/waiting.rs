//! Locks and waits that outlive a panic, and counters of the time that was waited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::cancel::POLL;

/// Locks a mutex that a panicking thread may have held: what it guards is changed in single steps only.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a change, at most `POLL`; the caller looks at its condition and its flag again.
pub fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed
        .wait_timeout(guard, POLL)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}

/// Adds the time that `body` takes to a counter of nanoseconds.
pub fn timed<T>(counter: &AtomicU64, body: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = body();
    add_elapsed(counter, started);
    value
}

/// Adds the time since `started` to a counter of nanoseconds.
pub fn add_elapsed(counter: &AtomicU64, started: Instant) {
    let nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(nanoseconds, Ordering::Relaxed);
}
