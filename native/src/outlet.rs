//! Where a stream of bytes goes: a descriptor that somebody else opened, and whose reader may be slow.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use crate::device::{duplicate, is_writable};

/// A descriptor of the process (standard output, say) that takes bytes in order.
pub struct Outlet {
    file: File,
    /// A write into a full pipe would wait beyond every cancel, so only as much is written as `poll` promises.
    is_patient: bool,
}

/// What a pipe takes without waiting once it is writable at all.
const PIPE_BYTES: usize = libc::PIPE_BUF;

impl Outlet {
    /// Uses a duplicate, so that the descriptor stays the caller's to close.
    pub fn new(descriptor: i32) -> io::Result<Self> {
        let file = duplicate(descriptor)?;
        let kind = file.metadata()?.file_type();
        Ok(Self {
            file,
            is_patient: !(kind.is_file() || kind.is_block_device()),
        })
    }

    /// Writes some of `bytes`, or none where the other side takes nothing within `timeout`.
    pub fn write_some(&self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        if self.is_patient && !is_writable(&self.file, timeout)? {
            return Ok(0);
        }
        let piece = if self.is_patient {
            bytes.len().min(PIPE_BYTES)
        } else {
            bytes.len()
        };
        match (&self.file).write(&bytes[..piece]) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_full_pipe_waits_no_longer_than_it_may() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer.as_raw_fd()).unwrap();
        let piece = [7; 65_536];
        let mut written = 0;
        loop {
            let some = outlet
                .write_some(&piece, Duration::from_millis(10))
                .unwrap();
            written += some;
            if some == 0 {
                break;
            }
        }
        let mut back = vec![0; written];
        reader.read_exact(&mut back).unwrap();
        assert!(back.iter().all(|&byte| byte == 7));
        assert!(
            outlet
                .write_some(&piece, Duration::from_millis(10))
                .unwrap()
                > 0
        );
        drop(reader);
        assert_eq!(
            outlet
                .write_some(&piece, Duration::from_millis(10))
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EPIPE)
        );
        assert!(Outlet::new(-1).is_err() && Outlet::new(999_999).is_err());
    }
}
