//! Where a file or device has data, cut into blocks for direct reading.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;

use crate::Outcome;

const ALIGNMENT: u64 = 4096;

/// A block to read: bytes from an aligned offset.
#[derive(Clone, Copy)]
pub struct Block {
    pub offset: u64,
    pub bytes: usize,
}

pub fn open_direct(path: &Path) -> Outcome<File> {
    let flags = OFlags::DIRECT.bits() as i32;
    Ok(OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?)
}

/// The data of a file in blocks of at most `block_bytes`; holes are left out.
pub fn data_blocks(file: &File, block_bytes: u64) -> Outcome<Vec<Block>> {
    let end = seek(file, SeekFrom::End(0))?;
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < end {
        let (data, hole) = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => (data, seek(file, SeekFrom::Hole(data))?.min(end)),
            Err(Errno::NXIO) => break,
            // No holes are told here: all is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => (at, end),
            Err(error) => return Err(error.into()),
        };
        let mut offset = data - data % ALIGNMENT;
        while offset < hole {
            let bytes = block_bytes.min((hole - offset).next_multiple_of(ALIGNMENT));
            blocks.push(Block {
                offset,
                bytes: bytes as usize,
            });
            offset += bytes;
        }
        at = hole;
    }
    Ok(blocks)
}
