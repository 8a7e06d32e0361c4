//! Plain bytes on their way to the target: gathered into large buffers, written by writer threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use crate::aligned_buf::ALIGNMENT;
use crate::buffer_pool::{BufferPool, Lease};
use crate::cancel::Cancel;
use crate::contain_panic::contain_panic;
use crate::error::{NativeError, Result};
use crate::transfer::{WriteAt, WriteFailure, write_run};
use crate::waiting::{lock, timed, wait};

/// What the writers of one call share with its computing thread. The pool bounds the queue.
pub struct WriteQueue<'a> {
    pool: &'a BufferPool,
    cancel: &'a Cancel,
    state: Mutex<QueueState<'a>>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState<'a> {
    batches: VecDeque<WriteBatch<'a>>,
    failure: Option<NativeError>,
    is_ended: bool,
}

/// One buffer and the places on the target that its parts belong to.
struct WriteBatch<'a> {
    buffer: Lease<'a>,
    pieces: Vec<WritePiece>,
}

/// `at` is in the buffer and a multiple of the alignment, so that the write can be direct.
#[derive(Debug, Clone, Copy)]
struct WritePiece {
    offset: u64,
    at: usize,
    bytes: usize,
}

impl<'a> WriteQueue<'a> {
    pub fn new(pool: &'a BufferPool, cancel: &'a Cancel) -> Self {
        Self {
            pool,
            cancel,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The life of a writer thread: writes until the queue has ended, or something failed.
    pub fn write_to(&self, target: &dyn WriteAt, written: &AtomicU64) {
        while let Some(batch) = self.next() {
            let outcome = contain_panic(|| self.write_batch(&batch, target, written));
            drop(batch);
            if let Err(error) = outcome {
                self.fail(error);
            }
        }
    }

    fn write_batch(
        &self,
        batch: &WriteBatch<'_>,
        target: &dyn WriteAt,
        written: &AtomicU64,
    ) -> Result<()> {
        for piece in &batch.pieces {
            self.cancel.check()?;
            let bytes = &batch.buffer[piece.at..piece.at + piece.bytes];
            write_run(target, piece.offset, bytes).map_err(WriteFailure::of_target)?;
            written.fetch_add(piece.bytes as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn next(&self) -> Option<WriteBatch<'a>> {
        let mut state = lock(&self.state);
        loop {
            if state.failure.is_some() || self.cancel.check().is_err() {
                return None;
            }
            if let Some(batch) = state.batches.pop_front() {
                return Some(batch);
            }
            if state.is_ended {
                return None;
            }
            state = wait(&self.changed, state);
        }
    }

    fn fail(&self, error: NativeError) {
        lock(&self.state).failure.get_or_insert(error);
        self.changed.notify_all();
    }

    fn check(&self) -> Result<()> {
        if let Some(failure) = &lock(&self.state).failure {
            return Err(failure.clone());
        }
        self.cancel.check()
    }

    /// Lets the writers end when the queue is empty.
    pub fn end(&self) {
        lock(&self.state).is_ended = true;
        self.changed.notify_all();
    }

    /// What failed, when all writers have ended; CANCELLED if that kept something from being written.
    pub fn outcome(&self) -> Result<()> {
        let state = lock(&self.state);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if state.batches.is_empty() => Ok(()),
            None => self
                .cancel
                .check()
                .and_then(|()| Err(NativeError::internal("writers left bytes unwritten"))),
        }
    }
}

/// The computing thread's end of the queue.
pub struct TargetWriter<'q, 'a> {
    queue: &'q WriteQueue<'a>,
    waited_ns: &'q AtomicU64,
    open: Option<WriteBatch<'a>>,
}

impl<'q, 'a> TargetWriter<'q, 'a> {
    pub fn new(queue: &'q WriteQueue<'a>, waited_ns: &'q AtomicU64) -> Self {
        Self {
            queue,
            waited_ns,
            open: None,
        }
    }

    /// Room for `bytes` that belong at `offset`, to be filled and then taken with `commit`.
    pub fn room(&mut self, bytes: usize) -> Result<&mut [u8]> {
        let fits =
            |batch: &WriteBatch<'_>| batch.buffer.room() >= bytes.next_multiple_of(ALIGNMENT);
        if !self.open.as_ref().is_some_and(fits) {
            self.send();
            let queue = self.queue;
            let buffer = timed(self.waited_ns, || queue.pool.take(|| queue.check()))?;
            self.open = Some(WriteBatch {
                buffer,
                pieces: Vec::new(),
            });
        }
        let batch = self
            .open
            .as_mut()
            .ok_or_else(|| NativeError::internal("no buffer to write from"))?;
        Ok(&mut batch.buffer.spare_mut()[..bytes])
    }

    /// Takes what was put into the room for `offset`.
    pub fn commit(&mut self, offset: u64, bytes: usize) -> Result<()> {
        let batch = self
            .open
            .as_mut()
            .ok_or_else(|| NativeError::internal("nothing was put to be written"))?;
        let at = batch.buffer.len();
        match batch.pieces.last_mut() {
            Some(last)
                if last.offset + last.bytes as u64 == offset && last.at + last.bytes == at =>
            {
                last.bytes += bytes
            }
            _ => batch.pieces.push(WritePiece { offset, at, bytes }),
        }
        batch.buffer.set_len(at + bytes.next_multiple_of(ALIGNMENT));
        Ok(())
    }

    /// Hands over what is left, to be called at the end.
    pub fn send(&mut self) {
        if let Some(batch) = self.open.take()
            && !batch.pieces.is_empty()
        {
            lock(&self.queue.state).batches.push_back(batch);
            self.queue.changed.notify_all();
        }
    }
}
