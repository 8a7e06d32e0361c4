//! A limit of bytes per second, shared by all the threads of a job.
//!
//! Each request is given the moment from which it may run, one after the other; so the limit holds whatever
//! the number of threads, and a request larger than the burst is late for the next one instead of refused.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use crate::cancel::{Cancel, POLL};
use crate::error::Result;
use crate::waiting::{add_elapsed, lock};

/// Unused time that may be caught up with after a pause.
const BURST: Duration = Duration::from_millis(100);

pub struct Throttle {
    bytes_per_second: Option<f64>,
    free_at: Mutex<Instant>,
}

impl Throttle {
    /// Zero means no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        let bytes_per_second = (bytes_per_second > 0).then_some(bytes_per_second as f64);
        Self {
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` may be moved, adding the wait to `waited_ns`; CANCELLED within `POLL`.
    pub fn take(&self, bytes: usize, cancel: &Cancel, waited_ns: &AtomicU64) -> Result<()> {
        let Some(bytes_per_second) = self.bytes_per_second else {
            return cancel.check();
        };
        let started = Instant::now();
        let turn = self.turn(started, bytes as f64 / bytes_per_second);
        loop {
            cancel.check()?;
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(POLL));
        }
        add_elapsed(waited_ns, started);
        Ok(())
    }

    /// The moment from which a request that takes `seconds` at the limit may run.
    fn turn(&self, now: Instant, seconds: f64) -> Instant {
        let mut free_at = lock(&self.free_at);
        let turn = (*free_at).max(now.checked_sub(BURST).unwrap_or(now));
        // A year is as good as forever, and cannot overflow.
        *free_at = turn + Duration::from_secs_f64(seconds.min(31_536_000.0));
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn the_limit_holds_for_all_threads_together() {
        let throttle = Throttle::new(1_000_000);
        let (cancel, waited) = (Cancel::default(), AtomicU64::new(0));
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        throttle.take(20_000, &cancel, &waited).unwrap();
                    }
                });
            }
        });
        // 400 kB, of which the burst gives 100 kB and the last request runs when its turn begins.
        assert!(
            started.elapsed() >= Duration::from_millis(270),
            "{:?}",
            started.elapsed()
        );
        assert!(waited.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn no_limit_never_waits() {
        let (cancel, waited) = (Cancel::default(), AtomicU64::new(0));
        Throttle::new(0).take(usize::MAX, &cancel, &waited).unwrap();
        assert_eq!(waited.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_wait_ends_soon_after_cancel() {
        let throttle = Arc::new(Throttle::new(1));
        let (cancel, waited) = (Arc::new(Cancel::default()), AtomicU64::new(0));
        throttle.take(1 << 20, &cancel, &waited).unwrap();
        let (their_throttle, their_cancel) = (throttle.clone(), cancel.clone());
        let waiter =
            thread::spawn(move || their_throttle.take(1, &their_cancel, &AtomicU64::new(0)));
        thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        cancel.cancel();
        assert_eq!(waiter.join().unwrap().unwrap_err().code(), "CANCELLED");
        assert!(started.elapsed() < Duration::from_millis(200));
    }
}
