//! The calls of the operating system that need `unsafe`: one a block, each behind a function that does not.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::time::Duration;

use memmap2::Mmap;

/// From linux/fs.h, which the libc crate does not cover.
const BLKROGET: libc::Ioctl = 0x125e;
const BLKFLSBUF: libc::Ioctl = 0x1261;
const BLKZEROOUT: libc::Ioctl = 0x127f;

/// Maps an object of a repository.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: objects of a repository are written once and never truncated, so the mapping stays valid.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(file) };
    map
}

fn checked(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// A position or length as the kernel takes it; beyond its range is as refused as beyond the device.
fn as_off(bytes: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

/// Closes a file and tells what the file system has to say about it, which dropping would swallow.
pub(crate) fn close(file: File) -> io::Result<()> {
    let descriptor = file.into_raw_fd();
    // SAFETY: the descriptor was ours alone and is used by nobody after this.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::close(descriptor) };
    match checked(returned) {
        // Linux has closed it even so, and nothing was lost: the caller has synced.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

/// The flags a file was opened with, as they are now.
pub(crate) fn status_flags(file: &File) -> io::Result<libc::c_int> {
    // SAFETY: F_GETFL takes no argument and the descriptor is open while `file` lives.
    #[allow(unsafe_code)]
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    checked(flags)
}

/// Turns direct I/O on or off, for everything that shares this opening of the file.
pub(crate) fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let flags = status_flags(file)?;
    let flags = if is_direct {
        flags | libc::O_DIRECT
    } else {
        flags & !libc::O_DIRECT
    };
    // SAFETY: F_SETFL takes an int and the descriptor is open while `file` lives.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) };
    checked(returned).map(|_| ())
}

/// One byte of a lock that belongs to the open file, whoever of the process closes another one.
fn byte_lock(at: i64, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: 1,
        l_pid: 0,
    }
}

pub(super) fn lock_byte(file: &File, at: i64, kind: libc::c_int) -> io::Result<()> {
    let lock = byte_lock(at, kind);
    // SAFETY: F_OFD_SETLK reads one flock, which outlives the call; the descriptor is open.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    checked(returned).map(|_| ())
}

/// Whether another open file has locked the byte, in whatever way.
pub(super) fn is_locked(file: &File, at: i64) -> io::Result<bool> {
    let mut lock = byte_lock(at, libc::F_WRLCK);
    // SAFETY: F_OFD_GETLK writes one flock, which outlives the call; the descriptor is open.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    checked(returned).map(|_| lock.l_type != libc::F_UNLCK as libc::c_short)
}

pub(super) fn seek_to(file: &File, from: u64, whence: libc::c_int) -> io::Result<u64> {
    let from = as_off(from)?;
    // SAFETY: lseek touches no memory of ours; the position it moves is used by nobody.
    #[allow(unsafe_code)]
    let found = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
    u64::try_from(found).map_err(|_| io::Error::last_os_error())
}

pub(super) fn allocate(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (offset, length) = (as_off(offset)?, as_off(length)?);
    let mode = libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate touches no memory of ours.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) };
    checked(returned).map(|_| ())
}

pub(super) fn punch_hole(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (offset, length) = (as_off(offset)?, as_off(length)?);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate touches no memory of ours.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) };
    checked(returned).map(|_| ())
}

pub(super) fn zero_out(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: BLKZEROOUT reads two u64, which outlive the call.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), BLKZEROOUT, range.as_ptr()) };
    checked(returned).map(|_| ())
}

pub(super) fn flush_buffers(file: &File) -> io::Result<()> {
    // SAFETY: BLKFLSBUF uses no argument.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), BLKFLSBUF, 0) };
    checked(returned).map(|_| ())
}

pub(super) fn read_only_flag(file: &File) -> io::Result<bool> {
    let mut flag: libc::c_int = 0;
    // SAFETY: BLKROGET writes one int, which outlives the call.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), BLKROGET, &raw mut flag) };
    checked(returned).map(|_| flag != 0)
}

/// Asks for the file's cached pages to be dropped; it is advice, and a file system may not take it.
pub(super) fn forget_pages(file: &File) -> io::Result<()> {
    // SAFETY: posix_fadvise touches no memory of ours.
    #[allow(unsafe_code)]
    let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    match error {
        0 | libc::EINVAL | libc::ENOSYS => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A descriptor of its own for what a descriptor of the process is open to.
pub(crate) fn duplicate(descriptor: i32) -> io::Result<File> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the borrow ends with this statement; a descriptor that is not open makes the clone fail.
    #[allow(unsafe_code)]
    let owned = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
    Ok(File::from(owned))
}

/// Whether a write would find room or an error, rather than wait.
pub(crate) fn is_writable(file: &File, timeout: Duration) -> io::Result<bool> {
    let mut question = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd is given, which outlives the call.
    #[allow(unsafe_code)]
    let returned = unsafe { libc::poll(&raw mut question, 1, milliseconds) };
    match checked(returned) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        outcome => outcome.map(|ready| ready > 0),
    }
}
