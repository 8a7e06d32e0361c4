//! Where bytes come from and go to: open sources and targets, and mapped objects.
//!
//! Sources, targets and the files of a repository are read and written with direct I/O where
//! the file system has it: a buffered second reading of a device can be stale.

mod system_calls;
#[cfg(test)]
mod tests;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::aligned_buf::ALIGNMENT;
use crate::direct_file::DirectFile;
use crate::error::{NativeError, Result};
use crate::transfer::{ReadAt, WriteAt, write_run};

pub use crate::aligned_buf::AlignedBuf;
use system_calls::{
    allocate, flush_buffers, forget_pages, is_locked, lock_byte, punch_hole, read_only_flag,
    seek_to, zero_out,
};
pub(crate) use system_calls::{close, duplicate, is_writable, set_direct, status_flags};

/// Zeroes are written in pieces of this size where a device cannot zero by itself.
const ZERO_BYTES: usize = 1 << 20;
/// Shorter runs are written as fast as room for them is taken.
const RESERVED_BYTES_MIN: u64 = 1 << 20;

/// QEMU's image locks, from its block/file-posix.c: a shared lock of byte 100 + n says "I use permission n",
/// one of byte 200 + n "nobody else may".
const USES: i64 = 100;
const FORBIDS: i64 = 200;
const READING: i64 = 0;
const WRITING: i64 = 1;
const RESIZING: i64 = 3;

/// Maps an immutable object for reading, never following a symbolic link in its last component.
///
/// The caller knows whether the file is a segment or a pack, and gives the `io::Error` its code.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    system_calls::map(&open_object(path)?)
}

/// Opens an object of a repository for reading, never following a symbolic link in its last component.
pub fn open_object(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

/// What a device is read or written for; it decides whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Source,
    Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    File,
    Block,
}

/// What a fresh look at an open device tells.
#[derive(Debug, Clone)]
pub struct DeviceFacts {
    pub kind: DeviceKind,
    pub bytes: u64,
    pub is_read_only: bool,
    pub is_direct: bool,
    /// "major:minor" of the device itself, or of the file system that holds the file.
    pub device: String,
    pub inode: u64,
    pub mtime_ns: i128,
    pub ctime_ns: i128,
}

/// How a target is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct TargetOptions {
    /// Make a new file, never over something.
    pub create: bool,
    /// Claim a block device for ourselves, which fails while anything else has claimed it.
    pub exclusive: bool,
    pub direct: bool,
}

/// One open source or target, shared by all threads: only positioned reads and writes.
pub struct Device {
    path: PathBuf,
    role: Role,
    kind: DeviceKind,
    main: DirectFile,
    /// For the pieces of a target that direct I/O cannot write; there only when `main` is direct.
    buffered: Option<File>,
}

impl Device {
    /// SOURCE_UNUSABLE unless the path leads to a regular file or a block device that may be read.
    pub fn open_source(path: &Path, direct: bool) -> Result<Self> {
        let unusable = |message: &str, cause: Option<io::Error>| NativeError::SourceUnusable {
            path: path.to_owned(),
            message: message.to_owned(),
            cause: cause.map(Arc::new),
        };
        // Looked at before it is opened, because opening a FIFO waits for its writer.
        let found =
            fs::metadata(path).map_err(|error| unusable("it cannot be found", Some(error)))?;
        kind_of(&found).map_err(|message| unusable(message, None))?;
        let file =
            File::open(path).map_err(|error| unusable("it cannot be opened", Some(error)))?;
        let opened = file
            .metadata()
            .map_err(|error| unusable("it cannot be looked at", Some(error)))?;
        let kind = kind_of(&opened).map_err(|message| unusable(message, None))?;
        let main = if direct {
            DirectFile::new(file)
        } else {
            DirectFile::buffered(file)
        };
        probe_direct(&main);
        Ok(Self {
            path: path.to_owned(),
            role: Role::Source,
            kind,
            main,
            buffered: None,
        })
    }

    /// TARGET_EXISTS where something is in the way of a new file, TARGET_REFUSED where a block device is
    /// claimed by somebody else, TARGET_UNUSABLE for what can be no target. A new file is its owner's alone.
    pub fn open_target(path: &Path, options: TargetOptions) -> Result<Self> {
        let unusable = |message: &str, cause: Option<io::Error>| NativeError::TargetUnusable {
            path: path.to_owned(),
            message: message.to_owned(),
            cause: cause.map(Arc::new),
        };
        let file = open_target_file(path, options, &unusable)?;
        let opened = file
            .metadata()
            .map_err(|error| unusable("it cannot be looked at", Some(error)))?;
        let kind = kind_of(&opened).map_err(|message| unusable(message, None))?;
        let main = if options.direct {
            DirectFile::new(file)
        } else {
            DirectFile::buffered(file)
        };
        probe_direct(&main);
        let buffered = if main.is_direct() {
            Some(
                reopen(path, &opened)
                    .map_err(|error| unusable("it cannot be opened again", Some(error)))?,
            )
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            role: Role::Target,
            kind,
            main,
            buffered,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Looks at the device afresh.
    pub fn facts(&self) -> Result<DeviceFacts> {
        let seen = self
            .file()
            .metadata()
            .map_err(|error| self.failure(None, error))?;
        let number = if self.kind == DeviceKind::Block {
            seen.rdev()
        } else {
            seen.dev()
        };
        Ok(DeviceFacts {
            kind: self.kind,
            bytes: self.bytes()?,
            is_read_only: self
                .is_read_only()
                .map_err(|error| self.failure(None, error))?,
            is_direct: self.main.is_direct(),
            device: format!("{}:{}", libc::major(number), libc::minor(number)),
            inode: seen.ino(),
            mtime_ns: i128::from(seen.mtime()) * 1_000_000_000 + i128::from(seen.mtime_nsec()),
            ctime_ns: i128::from(seen.ctime()) * 1_000_000_000 + i128::from(seen.ctime_nsec()),
        })
    }

    /// The size in bytes, looked at afresh.
    pub fn bytes(&self) -> Result<u64> {
        let bytes = match self.kind {
            DeviceKind::File => self.file().metadata().map(|seen| seen.len()),
            // The shared position is nobody's: all reads and writes say their own offset.
            DeviceKind::Block => self.file().seek(SeekFrom::End(0)),
        };
        bytes.map_err(|error| self.failure(None, error))
    }

    /// Makes what was written durable, then drops it from the page cache so that it is read back from the
    /// device. A block device's own buffers are flushed too.
    pub fn sync(&self) -> Result<()> {
        let whole = |error| self.failure(None, error);
        self.file().sync_all().map_err(whole)?;
        if self.kind == DeviceKind::Block {
            match flush_buffers(self.file()) {
                // Not for users who are not root; the fsync above has made the bytes durable.
                Err(error) if is_denied(&error) => {}
                outcome => outcome.map_err(whole)?,
            }
        }
        forget_pages(self.file()).map_err(whole)
    }

    /// Says with QEMU's own locks that the image is being read and must not be written, until it is closed.
    /// False, and nothing is held, where a program that keeps to these locks has it open for writing.
    pub fn hold_image(&self) -> Result<bool> {
        let failed = |error| self.failure(None, error);
        let ours = [USES + READING, FORBIDS + WRITING, FORBIDS + RESIZING];
        for at in ours {
            lock_byte(self.file(), at, libc::F_RDLCK).map_err(failed)?;
        }
        // Looked at when ours are there, so that of two who begin at once at least one sees the other.
        for at in [FORBIDS + READING, USES + WRITING, USES + RESIZING] {
            if is_locked(self.file(), at).map_err(failed)? {
                for at in ours {
                    lock_byte(self.file(), at, libc::F_UNLCK).map_err(failed)?;
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The holes in `within`, whose extents ascend, each as its offset and length: the first `max` of them,
    /// and the rest is asked for from the end of the last one on. Only of a file that was synced: a hole may
    /// else be data that is not there yet. A block device has none.
    pub fn holes(&self, within: &[(u64, u64)], max: usize) -> Result<Vec<(u64, u64)>> {
        let mut holes = Vec::new();
        if self.kind == DeviceKind::Block {
            return Ok(holes);
        }
        // The data around what was looked at last: what lies between two of its kind need not be asked for.
        let (mut data, mut hole) = (0, 0);
        for &(offset, length) in within {
            let end = offset.saturating_add(length);
            let mut at = offset;
            while at < end {
                if at >= hole {
                    (data, hole) = self
                        .next_data(at)
                        .map_err(|error| self.failure(Some(at), error))?;
                }
                if at < data {
                    holes.push((at, data.min(end) - at));
                    if holes.len() == max {
                        return Ok(holes);
                    }
                }
                at = hole;
            }
        }
        Ok(holes)
    }

    /// The first data at or behind `from`, and where it ends; far behind everything where there is none.
    fn next_data(&self, from: u64) -> io::Result<(u64, u64)> {
        let data = match seek_to(self.file(), from, libc::SEEK_DATA) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                return Ok((u64::MAX, u64::MAX));
            }
            Err(error) if is_unsupported(&error) => return Ok((from, u64::MAX)),
            outcome => outcome?,
        };
        Ok((data, seek_to(self.file(), data, libc::SEEK_HOLE)?))
    }

    /// Makes a file target exactly this long; TARGET_UNUSABLE for a block device of any other size.
    pub fn truncate(&self, bytes: u64) -> Result<()> {
        if self.kind == DeviceKind::File {
            return self
                .file()
                .set_len(bytes)
                .map_err(|error| self.failure(None, error));
        }
        if self.bytes()? == bytes {
            return Ok(());
        }
        let message = "a block device has the size it has".to_owned();
        Err(NativeError::TargetUnusable {
            path: self.path.clone(),
            message,
            cause: None,
        })
    }

    /// Makes runs of bytes read as zero, durable after `sync`. Runs must lie within the target.
    pub fn zero_runs(&self, runs: &[(u64, u64)]) -> Result<()> {
        let bytes = self.bytes()?;
        for &(offset, length) in runs {
            if offset.checked_add(length).is_none_or(|end| end > bytes) {
                return Err(NativeError::argument(format!(
                    "zeroes at {offset}+{length} are beyond the target's {bytes}"
                )));
            }
            match self.kind {
                DeviceKind::File => self.zero_file(offset, length)?,
                DeviceKind::Block => self.zero_block(offset, length)?,
            }
        }
        Ok(())
    }

    /// Takes room for runs of a file that will be written, where one is long enough to gain by it: ext4 lets
    /// direct writes run at a time only where blocks are there already. It is a hint, and fails for nothing:
    /// what is wrong with the target, the writes will tell.
    pub fn reserve_runs(&self, runs: &[(u64, u64)]) {
        let long = runs
            .iter()
            .filter(|(_, length)| *length >= RESERVED_BYTES_MIN);
        for &(offset, length) in long {
            if self.kind != DeviceKind::File || allocate(self.file(), offset, length).is_err() {
                return;
            }
        }
    }

    /// A hole reads as zero whatever its edges: the file system zeroes the parts of blocks.
    fn zero_file(&self, offset: u64, length: u64) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        match punch_hole(self.file(), offset, length) {
            Err(error) if is_unsupported(&error) => self.write_zeroes(offset, length),
            outcome => outcome.map_err(|error| self.failure(Some(offset), error)),
        }
    }

    /// Zeroes whole blocks by the device and writes the edges.
    fn zero_block(&self, offset: u64, length: u64) -> Result<()> {
        let end = offset + length;
        let inner_end = end - end % ALIGNMENT as u64;
        let inner = offset.next_multiple_of(ALIGNMENT as u64);
        if inner >= inner_end {
            return self.write_zeroes(offset, length);
        }
        self.write_zeroes(offset, inner - offset)?;
        match zero_out(self.file(), inner, inner_end - inner) {
            Err(error) if is_unsupported(&error) => self.write_zeroes(inner, inner_end - inner)?,
            outcome => outcome.map_err(|error| self.failure(Some(inner), error))?,
        }
        self.write_zeroes(inner_end, end - inner_end)
    }

    fn write_zeroes(&self, offset: u64, length: u64) -> Result<()> {
        let (mut at, end) = (offset, offset + length);
        let mut zeroes = AlignedBuf::with_capacity(ZERO_BYTES);
        zeroes.resize_zeroed(ZERO_BYTES.min(length as usize));
        while at < end {
            // The first piece ends at a multiple of the piece, so that the others can be direct.
            let piece = (ZERO_BYTES as u64 - at % ZERO_BYTES as u64)
                .min(end - at)
                .min(zeroes.len() as u64);
            write_run(self, at, &zeroes[..piece as usize])
                .map_err(|failure| NativeError::target(Some(failure.offset), failure.cause))?;
            at += piece;
        }
        Ok(())
    }

    fn file(&self) -> &File {
        self.main.file()
    }

    fn is_read_only(&self) -> io::Result<bool> {
        if self.kind == DeviceKind::Block {
            read_only_flag(self.file())
        } else {
            Ok(false)
        }
    }

    /// A failure of this device, with the code of whoever has to answer for it.
    fn failure(&self, offset: Option<u64>, error: io::Error) -> NativeError {
        match self.role {
            Role::Source => NativeError::source(offset.unwrap_or(0), error),
            Role::Target => NativeError::target(offset, error),
        }
    }
}

impl ReadAt for Device {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.main.read_at(into, offset)
    }
}

impl WriteAt for Device {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match &self.buffered {
            Some(buffered) if !is_aligned(bytes, offset) => buffered.write_at(bytes, offset),
            _ => self.main.write_at(bytes, offset),
        }
    }
}

fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    let alignment = ALIGNMENT as u64;
    offset.is_multiple_of(alignment)
        && bytes.len().is_multiple_of(ALIGNMENT)
        && bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
}

fn kind_of(seen: &Metadata) -> std::result::Result<DeviceKind, &'static str> {
    let kind = seen.file_type();
    if kind.is_file() {
        Ok(DeviceKind::File)
    } else if kind.is_block_device() {
        Ok(DeviceKind::Block)
    } else {
        Err("it is neither a regular file nor a block device")
    }
}

fn open_target_file(
    path: &Path,
    options: TargetOptions,
    unusable: &dyn Fn(&str, Option<io::Error>) -> NativeError,
) -> Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true);
    if options.create {
        open.create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
    } else {
        // Looked at before it is opened, because opening a FIFO waits, and claiming is for block devices only.
        let found =
            fs::metadata(path).map_err(|error| unusable("it cannot be found", Some(error)))?;
        let kind = kind_of(&found).map_err(|message| unusable(message, None))?;
        if kind == DeviceKind::Block && options.exclusive {
            open.custom_flags(libc::O_EXCL);
        }
    }
    open.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::EEXIST) => NativeError::TargetExists {
            path: path.to_owned(),
        },
        Some(libc::EBUSY) => NativeError::TargetRefused {
            path: path.to_owned(),
            message: "is in use".to_owned(),
        },
        _ => unusable("it cannot be opened", Some(error)),
    })
}

/// Opens what was opened before once more, without direct I/O and without a claim of its own.
fn reopen(path: &Path, opened: &Metadata) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let again = file.metadata()?;
    if (again.dev(), again.ino(), again.rdev()) != (opened.dev(), opened.ino(), opened.rdev()) {
        return Err(io::Error::other("something else is there now"));
    }
    Ok(file)
}

/// Finds out by reading whether direct I/O works; a failure other than "invalid" is left to the first use.
fn probe_direct(file: &DirectFile) {
    if file.is_direct() {
        let mut block = AlignedBuf::with_capacity(ALIGNMENT);
        block.resize_zeroed(ALIGNMENT);
        let _ = file.read_at(&mut block, 0);
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY | libc::EINVAL)
    )
}

fn is_denied(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EPERM | libc::ENOTTY)
    )
}
