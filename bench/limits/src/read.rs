//! The rate of large direct reads with several in flight.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::buffer::Buffer;
use crate::extents::{Block, data_blocks, open_direct};
use crate::{Measured, Outcome};

pub const BLOCK_BYTES: u64 = 4 << 20;
pub const THREADS: u64 = 4;

/// `--write-bytes` is not of this; see `copy`.
pub fn measure(arguments: &Arguments) -> Outcome<Measured> {
    let file = open_direct(arguments.operand(0)?)?;
    let blocks = data_blocks(&file, arguments.number("block")?.unwrap_or(BLOCK_BYTES))?;
    let threads = arguments.number("threads")?.unwrap_or(THREADS);
    let started = Instant::now();
    let bytes = read_all(&file, &blocks, threads as usize)?;
    Ok(Measured {
        bytes,
        stored: 0,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Reads each block once, and gives the bytes that came.
pub fn read_all(file: &File, blocks: &[Block], threads: usize) -> Outcome<u64> {
    let next = AtomicUsize::new(0);
    let longest = blocks.iter().map(|block| block.bytes).max().unwrap_or(0);
    let reader = || -> Outcome<u64> {
        let mut buffer = Buffer::new(longest)?;
        let mut bytes = 0;
        while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes += file.read_at(&mut buffer[..block.bytes], block.offset)? as u64;
        }
        Ok(bytes)
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
        readers
            .into_iter()
            .map(|reader| reader.join().map_err(|_| "a reader panicked")?)
            .sum()
    })
}
