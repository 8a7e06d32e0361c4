//! Waiting that can be cancelled: no thread of a job sleeps longer than `POLL` without looking at its flag.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{MoveError, Result};

/// How long a cancelled job may go on without noticing; half of what is promised.
pub const POLL: Duration = Duration::from_millis(50);

/// The flag of one job. Once set it stays set.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails with CANCELLED once the job was told to stop.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(MoveError::Cancelled)
        } else {
            Ok(())
        }
    }
}

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

/// Runs `body` and makes of a panic an error, so that a bug ends one job and not the process.
pub fn contain_panic<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_error(panic.as_ref())))
}

fn panic_error(panic: &(dyn Any + Send)) -> MoveError {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    MoveError::internal(format!("a thread panicked: {message}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error() {
        let outcome: Result<()> = contain_panic(|| panic!("slot {} lost", 7));
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), "INTERNAL");
        assert!(error.to_string().contains("slot 7 lost"));
    }

    #[test]
    fn a_cancelled_flag_stays_cancelled() {
        let cancel = Cancel::default();
        assert!(cancel.check().is_ok());
        cancel.cancel();
        cancel.cancel();
        assert_eq!(cancel.check().unwrap_err().code(), "CANCELLED");
    }
}
