//! Direct I/O for as long as the file system goes along.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::device::{set_direct, status_flags};
use crate::transfer::{ReadAt, WriteAt};

/// A file read and written with direct I/O until the file system says that it cannot.
pub struct DirectFile {
    file: File,
}

impl DirectFile {
    /// Asks for direct I/O; a file system without it leaves the file buffered.
    pub fn new(file: File) -> Self {
        // The only failure is "not supported", and then the flag stays off.
        let _ = set_direct(&file, true);
        Self { file }
    }

    /// Leaves the file buffered.
    pub fn buffered(file: File) -> Self {
        Self { file }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// Whether transfers bypass the page cache at the moment.
    pub fn is_direct(&self) -> bool {
        status_flags(&self.file).is_ok_and(|flags| flags & libc::O_DIRECT != 0)
    }

    /// Runs a transfer again without direct I/O where the first try was refused as invalid.
    fn transfer(&self, call: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
        match call() {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && self.is_direct() => {
                set_direct(&self.file, false)?;
                call()
            }
            outcome => outcome,
        }
    }
}

impl ReadAt for DirectFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let into = RefCell::new(into);
        self.transfer(|| self.file.read_at(&mut into.borrow_mut(), offset))
    }
}

impl WriteAt for DirectFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.transfer(|| self.file.write_at(bytes, offset))
    }
}
