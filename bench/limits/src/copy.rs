//! Reading and writing at the same time, as a source and a repository on one disk are.

use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::extents::{data_blocks, open_direct};
use crate::read::{self, read_all};
use crate::write::{self, Folder, write_all};
use crate::{Measured, Outcome};

/// The time until both are done: all data of FILE, or its first `--read-bytes`, and `--write-bytes`.
pub fn measure(arguments: &Arguments) -> Outcome<Measured> {
    let file = open_direct(arguments.operand(0)?)?;
    let mut blocks = data_blocks(&file, read::BLOCK_BYTES)?;
    if let Some(bytes) = arguments.number("read-bytes")? {
        blocks.truncate(bytes.div_ceil(read::BLOCK_BYTES) as usize);
    }
    let folder = Folder::new(arguments.operand(1)?)?;
    let stored = arguments.needed("write-bytes")?;
    let started = Instant::now();
    let bytes = thread::scope(|scope| -> Outcome<u64> {
        let writing = scope.spawn(|| write_all(folder.path(), stored, write::THREADS));
        let bytes = read_all(&file, &blocks, read::THREADS as usize)?;
        writing.join().map_err(|_| "a writer panicked")??;
        Ok(bytes)
    })?;
    Ok(Measured {
        bytes,
        stored,
        seconds: started.elapsed().as_secs_f64(),
    })
}
