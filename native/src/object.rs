//! Objects of a directory repository, as files: read with bounds, named by their bytes, written under
//! temporary names.
//!
//! Whole objects are read, not mapped: a bad sector under a mapping kills the process, a failed read is an error.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::aligned_buf::{ALIGNMENT, AlignedBuf};
use crate::buffer_pool::BufferPool;
use crate::cancel::Cancel;
use crate::device;
use crate::digest::Digest;
use crate::direct_file::DirectFile;
use crate::error::{NativeError, Result};
use crate::read_ahead::ReadAhead;
use crate::transfer::read_run;

/// One huge page, so that a direct read is one piece of memory.
const READ_BYTES: usize = 2 << 20;
/// Threads that read an object while it is hashed: the disk is not to wait for the hash.
const READERS: usize = 2;

/// A stored object, opened for reading.
pub struct Object {
    path: PathBuf,
    file: DirectFile,
    bytes: u64,
}

impl Object {
    /// OBJECT_NOT_FOUND if there is none, BACKEND_FAILED if that cannot be told.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, DirectFile::buffered)
    }

    /// As `open`, to take the digest of what the disk holds, whatever the page cache remembers.
    pub fn open_direct(path: &Path) -> Result<Self> {
        Self::open_as(path, DirectFile::new)
    }

    fn open_as(path: &Path, kind: impl FnOnce(File) -> DirectFile) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let file = device::open_object(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|cause| NativeError::backend(path, cause))?;
        Ok(Self {
            path: path.to_owned(),
            file: kind(file),
            bytes,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened; objects never change.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `bytes` from `offset`, or fails with BACKEND_FAILED. Not for an object opened by `open_direct`.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file
            .file()
            .read_exact_at(bytes, offset)
            .map_err(|cause| NativeError::backend_read(&self.path, offset, cause))
    }

    /// As `read_at`, of a few bytes in one block of an object opened by `open_direct`.
    pub fn read_piece(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let start = offset - offset % ALIGNMENT as u64;
        let skipped = (offset - start) as usize;
        let length = (self.bytes - start).min(ALIGNMENT as u64) as usize;
        let mut block = AlignedBuf::with_capacity(ALIGNMENT);
        block.set_len(ALIGNMENT);
        read_run(&self.file, start, &mut block, length)
            .map_err(|failure| failure.of_object(&self.path))?;
        bytes.copy_from_slice(&block[skipped..skipped + bytes.len()]);
        Ok(())
    }

    /// The digest of all its bytes: what a segment's name has to be.
    pub fn digest(&self) -> Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        self.read_through(|piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(*hasher.finalize().as_bytes())
    }

    /// Gives all its bytes to `take`, in order, and reads on meanwhile.
    pub fn read_through(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let ahead = ReadAhead {
            pool: &BufferPool::new(READ_BYTES, READERS + 2),
            cancel: &Cancel::default(),
            threads: READERS,
            waited_ns: &AtomicU64::new(0),
        };
        let fill = |number: usize, buffer: &mut AlignedBuf| {
            let offset = number as u64 * READ_BYTES as u64;
            let length = (self.bytes - offset).min(READ_BYTES as u64) as usize;
            buffer.set_len(length.next_multiple_of(ALIGNMENT));
            read_run(&self.file, offset, buffer, length)
                .map_err(|failure| failure.of_object(&self.path))?;
            buffer.truncate(length);
            Ok(())
        };
        let mut take = |_, (), buffer: &AlignedBuf| take(buffer);
        let pieces = self.bytes.div_ceil(READ_BYTES as u64) as usize;
        ahead.run(pieces, fill, &mut take)
    }
}

/// Small objects are read together until so many bytes have come.
const TOGETHER_BYTES_MAX: usize = 32 << 20;

/// Reads small objects one after the other: of each its length in four bytes, and its bytes. A length of zero
/// says no more than that this one is to be asked for by itself, which then tells what is wrong with it, or that
/// too much has come together.
pub fn read_together(paths: &[PathBuf], bytes_max: u64) -> Vec<u8> {
    let mut together = Vec::new();
    for path in paths {
        let bytes = if together.len() < TOGETHER_BYTES_MAX {
            read_small(path, bytes_max.min(TOGETHER_BYTES_MAX as u64)).unwrap_or_default()
        } else {
            Vec::new()
        };
        together.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        together.extend_from_slice(&bytes);
    }
    together
}

fn read_small(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let object = Object::open(path)?;
    if object.bytes() > bytes_max {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; object.bytes() as usize];
    object.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// A new file under a temporary name.
#[derive(Debug)]
pub struct TempFile {
    name: TempName,
    file: File,
}

/// The name of a temporary file, which is removed when this is dropped, unless it was kept. One that a killed
/// process leaves behind carries its session's prefix, and is removed with the session.
#[derive(Debug)]
pub struct TempName {
    path: PathBuf,
    is_kept: bool,
}

impl TempFile {
    /// Creates `<prefix><number>.<extension>`, which did not exist.
    pub fn create(prefix: &str, extension: &str) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("{prefix}{number}.{extension}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path)
            .map_err(|cause| NativeError::backend(&path, cause))?;
        let name = TempName {
            path,
            is_kept: false,
        };
        Ok(Self { name, file })
    }

    pub fn path(&self) -> &Path {
        self.name.path()
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives a failed call on this file its code.
    pub fn failed(&self, cause: io::Error) -> NativeError {
        NativeError::backend(self.path(), cause)
    }

    /// Closes the file, so that many finished ones cost no descriptors.
    pub fn close(self) -> TempName {
        self.name
    }
}

impl TempName {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, which is the caller's from now on.
    pub fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        std::mem::take(&mut self.path)
    }
}

impl io::Write for &TempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.file).flush()
    }
}

impl Drop for TempName {
    fn drop(&mut self) {
        if !self.is_kept {
            // A leftover is ignorable by its name, so failing to remove it is no failure.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// A folder that is removed when the test ends.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("mover-test-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        /// For temporary files in this folder.
        pub(crate) fn prefix(&self) -> String {
            format!("{}/session.", self.0.display())
        }

        pub(crate) fn file_count(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn an_object_is_read_and_named_by_its_bytes() {
        let folder = Folder::new();
        let path = folder.path().join("object");
        for length in [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1] {
            let bytes = crate::seeded::Seeded::new(1).bytes(length, false);
            fs::write(&path, &bytes).unwrap();
            let object = Object::open(&path).unwrap();
            assert_eq!(object.bytes(), length as u64);
            assert_eq!(object.digest().unwrap(), crate::digest::of_object(&bytes));
            let direct = Object::open_direct(&path).unwrap();
            assert_eq!(direct.digest().unwrap(), crate::digest::of_object(&bytes));
            let mut beyond = vec![0; length + 1];
            assert_eq!(
                object.read_at(0, &mut beyond).unwrap_err().code(),
                "BACKEND_FAILED"
            );
        }
    }

    #[test]
    fn small_objects_are_read_together_and_the_others_left_out() {
        let folder = Folder::new();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("one"), b"abc").unwrap();
        fs::write(path("empty"), b"").unwrap();
        fs::write(path("large"), b"abcde").unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("one", path("link")).unwrap();
        let names = ["one", "empty", "large", "folder", "link", "gone", "one"].map(path);
        let expected = b"\x03\0\0\0abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0abc";
        assert_eq!(read_together(&names, 4), expected);
    }

    #[test]
    fn no_more_is_read_together_than_memory_may_take() {
        let folder = Folder::new();
        let path = folder.path().join("large");
        fs::write(&path, vec![7; TOGETHER_BYTES_MAX / 2 + 1]).unwrap();
        let together = read_together(&vec![path; 4], u64::MAX);
        assert_eq!(together.len(), 2 * (TOGETHER_BYTES_MAX / 2 + 1) + 4 * 4);
        assert_eq!(together[together.len() - 8..], [0; 8]);
    }

    #[test]
    fn a_symbolic_link_is_no_object() {
        let folder = Folder::new();
        fs::write(folder.path().join("real"), b"x").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        assert_eq!(
            Object::open(&folder.path().join("link"))
                .err()
                .unwrap()
                .os(),
            Some("ELOOP")
        );
    }

    #[test]
    fn a_temporary_file_goes_unless_it_is_kept() {
        let folder = Folder::new();
        drop(TempFile::create(&folder.prefix(), "x").unwrap());
        assert_eq!(folder.file_count(), 0);
        let mut file = &TempFile::create(&folder.prefix(), "x").unwrap();
        file.write_all(b"abc").unwrap();
        let path = TempFile::create(&folder.prefix(), "x")
            .unwrap()
            .close()
            .keep();
        assert!(path.exists());
    }
}
