//! A bounded number of equal aligned buffers, made when first needed and used again: the memory bound of a job.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex};

use crate::aligned_buf::AlignedBuf;
use crate::error::Result;
use crate::waiting::{lock, wait};

pub struct BufferPool {
    buffer_bytes: usize,
    buffers_max: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    free: Vec<AlignedBuf>,
    made: usize,
}

impl BufferPool {
    /// At most `buffers_max` buffers of `buffer_bytes` will ever exist.
    pub fn new(buffer_bytes: usize, buffers_max: usize) -> Self {
        assert!(buffers_max > 0, "a pool of no buffers would wait forever");
        Self {
            buffer_bytes,
            buffers_max,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    pub fn buffers_max(&self) -> usize {
        self.buffers_max
    }

    /// Bytes of each buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Bytes of the buffers made so far.
    pub fn bytes_made(&self) -> usize {
        lock(&self.state).made * self.buffer_bytes
    }

    /// Waits for an empty buffer, as long as `go_on` agrees.
    pub fn take(&self, go_on: impl Fn() -> Result<()>) -> Result<Lease<'_>> {
        let mut state = lock(&self.state);
        loop {
            go_on()?;
            if let Some(mut buffer) = state.free.pop() {
                buffer.clear();
                return Ok(Lease { pool: self, buffer });
            }
            if state.made < self.buffers_max {
                state.made += 1;
                drop(state);
                let buffer = AlignedBuf::with_capacity(self.buffer_bytes);
                return Ok(Lease { pool: self, buffer });
            }
            state = wait(&self.returned, state);
        }
    }
}

/// A buffer on loan; dropping it gives it back.
pub struct Lease<'a> {
    pool: &'a BufferPool,
    buffer: AlignedBuf,
}

impl Deref for Lease<'_> {
    type Target = AlignedBuf;

    fn deref(&self) -> &AlignedBuf {
        &self.buffer
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut AlignedBuf {
        &mut self.buffer
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        lock(&self.pool.state)
            .free
            .push(mem::take(&mut self.buffer));
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::cancel::Cancel;

    #[test]
    fn buffers_come_back_empty_and_are_never_more_than_the_bound() {
        let pool = BufferPool::new(4096, 2);
        let mut first = pool.take(|| Ok(())).unwrap();
        first.extend_from_slice(b"old bytes");
        let second = pool.take(|| Ok(())).unwrap();
        drop(first);
        let third = pool.take(|| Ok(())).unwrap();
        assert!(third.is_empty() && second.is_empty());
        assert_eq!(pool.bytes_made(), 2 * 4096);
    }

    #[test]
    fn waiting_for_a_buffer_ends_with_cancel() {
        let pool = Arc::new(BufferPool::new(4096, 1));
        let cancel = Arc::new(Cancel::default());
        let held = pool.take(|| Ok(())).unwrap();
        let (their_pool, their_cancel) = (pool.clone(), cancel.clone());
        let waiter = thread::spawn(move || their_pool.take(|| their_cancel.check()).map(|_| ()));
        thread::sleep(Duration::from_millis(20));
        cancel.cancel();
        assert_eq!(waiter.join().unwrap().unwrap_err().code(), "CANCELLED");
        drop(held);
    }
}
