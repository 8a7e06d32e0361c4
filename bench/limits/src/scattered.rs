//! Only reading, hashing and compressing the chunks that a dirty bitmap names; while the disk writes, where that is
//! asked for.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::buffer::Buffer;
use crate::chunks::{Worker, is_zero};
use crate::extents::open_direct;
use crate::write::{self, Folder, write_all};
use crate::{Measured, Outcome};

/// Threads a core: reads wait for each other otherwise.
const THREADS_PER_CORE: usize = 8;

/// `--bitmap` has one bit for each `--granularity` bytes, the least significant one first. With `--write-bytes`,
/// the time until both are done: so many bytes are written to FOLDER meanwhile.
pub fn measure(arguments: &Arguments) -> Outcome<Measured> {
    let file = open_direct(arguments.operand(0)?)?;
    let chunk_bytes = arguments.needed("granularity")? as usize;
    let (codec, threads) = (arguments.codec()?, arguments.threads()? * THREADS_PER_CORE);
    let slots = dirty(&fs::read(arguments.path("bitmap")?)?);
    let (next, stored) = (AtomicUsize::new(0), AtomicU64::new(0));
    let worker = || -> Outcome<u64> {
        let mut buffer = Buffer::new(chunk_bytes)?;
        let mut worker = Worker::new(codec, chunk_bytes);
        let mut bytes = 0;
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let read = file.read_at(&mut buffer[..chunk_bytes], slot * chunk_bytes as u64)?;
            let plain = &buffer[..read];
            bytes += read as u64;
            if !is_zero(plain) {
                std::hint::black_box(blake3::hash(plain));
                stored.fetch_add(worker.compress(plain) as u64, Ordering::Relaxed);
            }
        }
        Ok(bytes)
    };
    let beside = match arguments.number("write-bytes")? {
        Some(bytes) => Some((Folder::new(arguments.operand(1)?)?, bytes)),
        None => None,
    };
    let started = Instant::now();
    let bytes = thread::scope(|scope| -> Outcome<u64> {
        let writing = beside.as_ref().map(|(folder, bytes)| {
            scope.spawn(|| write_all(folder.path(), *bytes, write::THREADS))
        });
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let bytes = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| "a worker panicked")?)
            .sum();
        if let Some(writing) = writing {
            writing.join().map_err(|_| "a writer panicked")??;
        }
        bytes
    })?;
    Ok(Measured {
        bytes,
        stored: stored.into_inner(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn dirty(bitmap: &[u8]) -> Vec<u64> {
    let is_dirty = |bit: &u64| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
    (0..bitmap.len() as u64 * 8).filter(is_dirty).collect()
}
