//! The rate of large synced writes, in files of the size of a pack.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::OFlags;

use crate::arguments::Arguments;
use crate::buffer::Buffer;
use crate::{Measured, Outcome};

pub const FILE_BYTES: u64 = 16 << 20;
pub const THREADS: usize = 2;
const ALIGNMENT: u64 = 4096;

pub fn measure(arguments: &Arguments) -> Outcome<Measured> {
    let folder = Folder::new(arguments.operand(0)?)?;
    let bytes = arguments.needed("bytes")?;
    let started = Instant::now();
    write_all(folder.path(), bytes, THREADS)?;
    Ok(Measured {
        bytes,
        stored: bytes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Writes files until there are `bytes`, each durable with its name.
pub fn write_all(folder: &Path, bytes: u64, threads: usize) -> Outcome<()> {
    let next = AtomicU64::new(0);
    let writer = || -> Outcome<()> {
        let mut buffer = Buffer::new(FILE_BYTES as usize)?;
        blake3::Hasher::new().finalize_xof().fill(&mut buffer);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let left = bytes.saturating_sub(number * FILE_BYTES).min(FILE_BYTES);
            if left == 0 {
                return Ok(());
            }
            let file = create(&folder.join(number.to_string()))?;
            file.write_all_at(&buffer[..left.next_multiple_of(ALIGNMENT) as usize], 0)?;
            file.sync_data()?;
        }
    };
    thread::scope(|scope| -> Outcome<()> {
        let writers: Vec<_> = (0..threads).map(|_| scope.spawn(writer)).collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| "a writer panicked")?)
    })?;
    Ok(File::open(folder)?.sync_all()?)
}

fn create(path: &Path) -> Outcome<File> {
    let flags = OFlags::DIRECT.bits() as i32;
    Ok(OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(flags)
        .open(path)?)
}

/// A new folder for what is written, removed with it.
pub struct Folder(std::path::PathBuf);

impl Folder {
    pub fn new(parent: &Path) -> Outcome<Self> {
        let path = parent.join(format!("limits-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays lies in the scratch folder of the benchmark, and goes with it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
