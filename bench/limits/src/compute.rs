//! Hashing and compressing without any I/O: the data is in memory when the clock starts.

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::buffer::Buffer;
use crate::chunks::{Codec, Worker, is_zero};
use crate::extents::{Block, data_blocks, open_direct};
use crate::read::BLOCK_BYTES;
use crate::{Measured, Outcome};

/// As much is loaded at a time; the clock stands still meanwhile.
const WINDOW_BLOCKS: usize = 256;

pub fn measure(arguments: &Arguments) -> Outcome<Measured> {
    let (codec, threads) = (arguments.codec()?, arguments.threads()?);
    let chunk_bytes = arguments.chunk_bytes()?;
    let (is_hashed, is_proven) = (!arguments.is_set("no-hash"), arguments.is_set("prove"));
    let mut measured = Measured {
        bytes: 0,
        stored: 0,
        seconds: 0.0,
    };
    for_each_window(arguments, |window| {
        let stored = AtomicU64::new(0);
        let started = Instant::now();
        on_chunks(window, (threads, codec, chunk_bytes), |worker, plain| {
            if is_zero(plain) {
                return;
            }
            if is_hashed {
                black_box(blake3::hash(plain));
            }
            let length = worker.compress(plain);
            if is_proven {
                worker.prove(plain, length);
            }
            stored.fetch_add(length as u64, Ordering::Relaxed);
        });
        measured.seconds += started.elapsed().as_secs_f64();
        measured.stored += stored.into_inner();
        measured.bytes += window.len() as u64;
        Ok(())
    })?;
    Ok(measured)
}

/// Calls `work` with one window of the file's data after the other.
pub fn for_each_window(
    arguments: &Arguments,
    mut work: impl FnMut(&[u8]) -> Outcome<()>,
) -> Outcome<()> {
    let file = open_direct(arguments.operand(0)?)?;
    let blocks = data_blocks(&file, BLOCK_BYTES)?;
    let mut buffer = Buffer::new(WINDOW_BLOCKS * BLOCK_BYTES as usize)?;
    for window in blocks.chunks(WINDOW_BLOCKS) {
        let mut filled = 0;
        for &Block { offset, bytes } in window {
            filled += file.read_at(&mut buffer[filled..filled + bytes], offset)?;
        }
        work(&buffer[..filled])?;
    }
    Ok(())
}

/// Cuts a window into chunks, which the threads take one after the other.
pub fn on_chunks(
    window: &[u8],
    (threads, codec, chunk_bytes): (usize, Codec, usize),
    work: impl Fn(&mut Worker, &[u8]) + Sync,
) {
    let chunks: Vec<&[u8]> = window.chunks(chunk_bytes).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut worker = Worker::new(codec, chunk_bytes);
                while let Some(plain) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(&mut worker, plain);
                }
            });
        }
    });
}
