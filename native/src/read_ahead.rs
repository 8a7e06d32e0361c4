//! Reader threads that keep buffers full ahead of one computing thread, which takes them in order.
//!
//! A reader first gets a buffer and only then takes the next number, so the buffer that is waited for is
//! always one that somebody fills: however few buffers there are, and whoever shares them, nothing waits
//! for itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use crate::aligned_buf::AlignedBuf;
use crate::buffer_pool::{BufferPool, Lease};
use crate::cancel::Cancel;
use crate::contain_panic::contain_panic;
use crate::error::{NativeError, Result};
use crate::waiting::{add_elapsed, lock, wait};

/// The computing end of a call.
pub trait Consumer<T> {
    /// Takes the buffer of a number; the numbers come in order.
    fn consume(&mut self, number: usize, outcome: T, buffer: &AlignedBuf) -> Result<()>;

    /// Lets go of what others may wait for, because this thread is about to wait itself: else two calls of
    /// a job with few buffers could each hold what the other needs.
    fn before_wait(&mut self) {}
}

impl<T, F: FnMut(usize, T, &AlignedBuf) -> Result<()>> Consumer<T> for F {
    fn consume(&mut self, number: usize, outcome: T, buffer: &AlignedBuf) -> Result<()> {
        self(number, outcome, buffer)
    }
}

/// How the readers of one call run.
pub struct ReadAhead<'a> {
    pub pool: &'a BufferPool,
    pub cancel: &'a Cancel,
    pub threads: usize,
    /// Time that the computing thread waited for readers.
    pub waited_ns: &'a AtomicU64,
}

impl ReadAhead<'_> {
    /// Calls `fill` for 0..count on the readers and the consumer with each result, in order, on this thread.
    /// Ends at the first error of either, when all readers have ended.
    pub fn run<T: Send>(
        &self,
        count: usize,
        fill: impl Fn(usize, &mut AlignedBuf) -> Result<T> + Sync,
        consumer: &mut impl Consumer<T>,
    ) -> Result<()> {
        if count <= 1 || self.threads == 0 {
            return self.run_inline(count, fill, consumer);
        }
        let line = Line::new(count, (self.threads + 2).min(self.pool.buffers_max()));
        thread::scope(|scope| {
            // Ends the readers whichever way this closure is left, a panic included.
            let _stop = StopOnDrop(&line);
            for _ in 0..self.threads.min(count) {
                let reader = thread::Builder::new().name("mover-read".to_owned());
                reader
                    .spawn_scoped(scope, || self.read(&line, &fill))
                    .map_err(|error| {
                        NativeError::internal(format!("cannot start a reader thread: {error}"))
                    })?;
            }
            for number in 0..count {
                let (outcome, buffer) = self.next(&line, number, || consumer.before_wait())?;
                consumer.consume(number, outcome?, &buffer)?;
            }
            Ok(())
        })
    }

    fn run_inline<T>(
        &self,
        count: usize,
        fill: impl Fn(usize, &mut AlignedBuf) -> Result<T>,
        consumer: &mut impl Consumer<T>,
    ) -> Result<()> {
        for number in 0..count {
            consumer.before_wait();
            let mut buffer = self.pool.take(|| self.cancel.check())?;
            let started = Instant::now();
            let outcome = fill(number, &mut buffer)?;
            add_elapsed(self.waited_ns, started);
            consumer.consume(number, outcome, &buffer)?;
        }
        Ok(())
    }

    fn read<'a, T>(
        &'a self,
        line: &Line<'a, T>,
        fill: impl Fn(usize, &mut AlignedBuf) -> Result<T>,
    ) {
        let go_on = || {
            if line.is_stopped.load(Ordering::Relaxed) {
                Err(NativeError::Cancelled)
            } else {
                self.cancel.check()
            }
        };
        while line.reserve(go_on) {
            let Ok(mut buffer) = self.pool.take(go_on) else {
                return;
            };
            let Some(number) = line.claim() else { return };
            let outcome = contain_panic(|| fill(number, &mut buffer));
            line.deliver(number, outcome, buffer);
        }
    }

    fn next<'a, T>(
        &'a self,
        line: &Line<'a, T>,
        number: usize,
        before_wait: impl FnOnce(),
    ) -> Result<Filled<'a, T>> {
        self.cancel.check()?;
        let mut state = lock(&line.state);
        // The buffers before this one have gone back by now.
        state.consumed = number;
        line.consumed.notify_one();
        if !state.ready.contains_key(&number) {
            drop(state);
            before_wait();
            let started = Instant::now();
            state = lock(&line.state);
            while !state.ready.contains_key(&number) {
                self.cancel.check()?;
                state = wait(&line.delivered, state);
            }
            add_elapsed(self.waited_ns, started);
        }
        state
            .ready
            .remove(&number)
            .ok_or_else(|| NativeError::internal("a filled buffer was lost"))
    }
}

type Filled<'a, T> = (Result<T>, Lease<'a>);

/// The numbers of one call on their way from reader to computing thread.
struct Line<'a, T> {
    count: usize,
    /// Buffers that this call holds at most, so that another call of the job finds some too.
    depth: usize,
    is_stopped: AtomicBool,
    state: Mutex<LineState<'a, T>>,
    delivered: Condvar,
    consumed: Condvar,
}

struct LineState<'a, T> {
    reserved: usize,
    claimed: usize,
    consumed: usize,
    ready: HashMap<usize, Filled<'a, T>>,
}

impl<'a, T> Line<'a, T> {
    fn new(count: usize, depth: usize) -> Self {
        let state = LineState {
            reserved: 0,
            claimed: 0,
            consumed: 0,
            ready: HashMap::new(),
        };
        Self {
            count,
            depth,
            is_stopped: AtomicBool::new(false),
            state: Mutex::new(state),
            delivered: Condvar::new(),
            consumed: Condvar::new(),
        }
    }

    /// Waits until one more buffer may be held; false when there is nothing left to read.
    fn reserve(&self, go_on: impl Fn() -> Result<()>) -> bool {
        loop {
            if go_on().is_err() {
                return false;
            }
            let mut state = lock(&self.state);
            if state.reserved >= self.count {
                return false;
            }
            if state.reserved < state.consumed + self.depth {
                state.reserved += 1;
                return true;
            }
            drop(wait(&self.consumed, state));
        }
    }

    fn claim(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        let number = state.claimed;
        state.claimed += 1;
        (number < self.count).then_some(number)
    }

    fn deliver(&self, number: usize, outcome: Result<T>, buffer: Lease<'a>) {
        lock(&self.state).ready.insert(number, (outcome, buffer));
        self.delivered.notify_one();
    }
}

struct StopOnDrop<'a, 'b, T>(&'b Line<'a, T>);

impl<T> Drop for StopOnDrop<'_, '_, T> {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
        self.0.consumed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    fn run(
        pool: &BufferPool,
        threads: usize,
        count: usize,
        fail_at: Option<usize>,
    ) -> Result<Vec<u64>> {
        let (cancel, waited) = (Cancel::default(), AtomicU64::new(0));
        let ahead = ReadAhead {
            pool,
            cancel: &cancel,
            threads,
            waited_ns: &waited,
        };
        let mut seen = Vec::new();
        let fill = |number: usize, buffer: &mut AlignedBuf| {
            // Later numbers are ready first.
            thread::sleep(Duration::from_micros(if number.is_multiple_of(3) {
                900
            } else {
                0
            }));
            if fail_at == Some(number) {
                return Err(NativeError::argument("told to fail"));
            }
            buffer.extend_from_slice(&(number as u64).to_le_bytes());
            Ok(number)
        };
        ahead.run(
            count,
            fill,
            &mut |number: usize, outcome: usize, buffer: &AlignedBuf| {
                assert_eq!(number, outcome);
                seen.push(u64::from_le_bytes(buffer[..8].try_into().unwrap()));
                Ok(())
            },
        )?;
        Ok(seen)
    }

    #[test]
    fn buffers_arrive_in_order_whatever_the_number_of_threads_and_buffers() {
        for (threads, buffers) in [(0, 1), (1, 1), (4, 1), (4, 2), (2, 8), (8, 8)] {
            for count in [0, 1, 2, 40] {
                let pool = BufferPool::new(4096, buffers);
                let seen = run(&pool, threads, count, None).unwrap();
                assert_eq!(seen, (0..count as u64).collect::<Vec<_>>());
                assert!(pool.bytes_made() <= buffers * 4096);
            }
        }
    }

    #[test]
    fn calls_that_share_one_buffer_all_finish() {
        let pool = BufferPool::new(4096, 1);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(run(&pool, 3, 30, None).unwrap().len(), 30));
            }
        });
    }

    #[test]
    fn the_first_error_ends_the_call_and_gives_all_buffers_back() {
        let pool = BufferPool::new(4096, 4);
        assert_eq!(
            run(&pool, 3, 40, Some(17)).unwrap_err().code(),
            "ARGUMENT_INVALID"
        );
        assert_eq!(run(&pool, 3, 40, None).unwrap().len(), 40);
        let held: Vec<_> = (0..4).map(|_| pool.take(|| Ok(())).unwrap()).collect();
        assert_eq!(held.len(), 4);
    }

    #[test]
    fn a_panic_in_a_reader_is_an_error_of_the_call() {
        let pool = BufferPool::new(4096, 4);
        let (cancel, waited) = (Cancel::default(), AtomicU64::new(0));
        let ahead = ReadAhead {
            pool: &pool,
            cancel: &cancel,
            threads: 2,
            waited_ns: &waited,
        };
        let fill = |number: usize, _: &mut AlignedBuf| {
            if number == 5 {
                panic!("reader lost")
            } else {
                Ok(())
            }
        };
        let error = ahead
            .run(9, fill, &mut |_: usize, (): (), _: &AlignedBuf| Ok(()))
            .unwrap_err();
        assert_eq!(error.code(), "INTERNAL");
    }

    #[test]
    fn a_cancelled_call_ends_though_a_reader_is_slow() {
        let pool = BufferPool::new(4096, 4);
        let (cancel, waited) = (Arc::new(Cancel::default()), AtomicU64::new(0));
        let ahead = ReadAhead {
            pool: &pool,
            cancel: &cancel,
            threads: 2,
            waited_ns: &waited,
        };
        let filled = AtomicUsize::new(0);
        let fill = |_: usize, _: &mut AlignedBuf| {
            filled.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
            cancel.cancel();
            Ok(())
        };
        let error = ahead
            .run(1000, fill, &mut |_: usize, (): (), _: &AlignedBuf| Ok(()))
            .unwrap_err();
        assert_eq!(error.code(), "CANCELLED");
        assert!(filled.load(Ordering::Relaxed) < 10);
    }
}
