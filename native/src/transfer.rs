//! Whole transfers from partial ones: interrupted, short and unaligned reads and writes end here.

use std::io;
use std::path::Path;

use crate::aligned_buf::ALIGNMENT;
use crate::error::{NativeError, Result};

/// Where bytes are read from: a device, a file, or in tests a memory that fails on demand.
pub trait ReadAt: Send + Sync {
    /// As pread(2): may be short, and is zero only at the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Whether `read_several` keeps many reads under way by itself, so that what is scattered needs no
    /// threads for that.
    fn has_depth(&self) -> bool {
        false
    }

    /// Fills all of the runs, each as `read_run` does; the failure is that of one of them.
    fn read_several(&self, runs: &mut [RunRead<'_>]) -> std::result::Result<(), ReadFailure> {
        runs.iter_mut()
            .try_for_each(|run| read_run(self, run.offset, run.into, run.wanted))
    }
}

/// What `read_run` is asked for.
pub struct RunRead<'a> {
    pub offset: u64,
    pub into: &'a mut [u8],
    pub wanted: usize,
}

/// Where bytes are written to.
pub trait WriteAt: Send + Sync {
    /// As pwrite(2): may be short. Aligned pieces are direct where that works, others never are.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
}

/// Why a run of bytes did not arrive; the caller knows whose fault that is.
#[derive(Debug)]
pub enum ReadFailure {
    Failed { offset: u64, cause: io::Error },
    Short { offset: u64, wanted: u64, got: u64 },
}

impl ReadFailure {
    /// The failure of a source (never one of the repository).
    pub fn of_source(self) -> NativeError {
        match self {
            Self::Failed { offset, cause } => NativeError::source(offset, cause),
            Self::Short {
                offset,
                wanted,
                got,
            } => NativeError::SourceShortRead {
                offset,
                wanted,
                got,
            },
        }
    }

    /// The failure of an object that is shorter than it was, or cannot be read.
    pub fn of_object(self, path: &Path) -> NativeError {
        let (offset, cause) = match self {
            Self::Failed { offset, cause } => (offset, cause),
            Self::Short { offset, .. } => (offset, io::ErrorKind::UnexpectedEof.into()),
        };
        NativeError::backend_read(path, offset, cause)
    }

    /// The failure of a pack, which is too short or cannot be read.
    pub fn of_pack(self, path: &Path) -> NativeError {
        match self {
            Self::Failed { offset, cause } => NativeError::backend_read(path, offset, cause),
            Self::Short {
                offset,
                wanted,
                got,
            } => NativeError::pack(offset, format!("it ends after {got} of {wanted} bytes"))
                .in_pack(path),
        }
    }
}

#[derive(Debug)]
pub struct WriteFailure {
    pub offset: u64,
    pub cause: io::Error,
}

impl WriteFailure {
    pub fn of_target(self) -> NativeError {
        NativeError::target(Some(self.offset), self.cause)
    }
}

/// Fills the first `wanted` bytes of `into` from `offset`, or says how far it came.
///
/// `into` is rounded up to the alignment, so that the tail of an unaligned volume can be read directly: an
/// exact read of it is refused, a rounded-up one is short. What lies beyond `wanted` means nothing.
pub fn read_run<Source: ReadAt + ?Sized>(
    device: &Source,
    offset: u64,
    into: &mut [u8],
    wanted: usize,
) -> std::result::Result<(), ReadFailure> {
    let mut got = 0;
    while got < wanted {
        // Direct I/O goes on from aligned places only, so the bytes after the last one are read again.
        let resumed = got - got % ALIGNMENT;
        match device.read_at(&mut into[resumed..], offset + resumed as u64) {
            Ok(read) if resumed + read > got => got = resumed + read,
            Ok(_) => {
                return Err(ReadFailure::Short {
                    offset,
                    wanted: wanted as u64,
                    got: got as u64,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => {
                return Err(ReadFailure::Failed {
                    offset: offset + resumed as u64,
                    cause,
                });
            }
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`. A tail shorter than the alignment goes as a piece of its own, because
/// rounded up it would make the file longer.
pub fn write_run(
    device: &dyn WriteAt,
    offset: u64,
    bytes: &[u8],
) -> std::result::Result<(), WriteFailure> {
    let (body, tail) = bytes.split_at(bytes.len() - bytes.len() % ALIGNMENT);
    write_pieces(device, offset, body, ALIGNMENT)?;
    write_pieces(device, offset + body.len() as u64, tail, 1)
}

fn write_pieces(
    device: &dyn WriteAt,
    offset: u64,
    bytes: &[u8],
    step: usize,
) -> std::result::Result<(), WriteFailure> {
    let mut put = 0;
    while put < bytes.len() {
        let resumed = put - put % step;
        let at = offset + resumed as u64;
        match device.write_at(&bytes[resumed..], at) {
            Ok(written) if resumed + written > put => put = resumed + written,
            Ok(_) => {
                return Err(WriteFailure {
                    offset: at,
                    cause: io::Error::from(io::ErrorKind::WriteZero),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(WriteFailure { offset: at, cause }),
        }
    }
    Ok(())
}

/// Reads a run of a source, whose failures are never mistaken for those of the repository.
pub fn read_source(source: &dyn ReadAt, offset: u64, into: &mut [u8], wanted: usize) -> Result<()> {
    read_run(source, offset, into, wanted).map_err(ReadFailure::of_source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligned_buf::AlignedBuf;
    use crate::seeded::Seeded;
    use crate::testing::{Faults, FaultyDevice};

    const DIRTY: u8 = 0xee;

    fn read(
        bytes: &[u8],
        offset: u64,
        wanted: usize,
        faults: Faults,
    ) -> std::result::Result<Vec<u8>, ReadFailure> {
        let device = FaultyDevice::new(bytes.to_vec(), faults);
        let mut buffer = AlignedBuf::with_capacity(wanted);
        buffer.set_len(wanted.next_multiple_of(ALIGNMENT));
        buffer.fill(DIRTY);
        read_run(&*device, offset, &mut buffer, wanted)?;
        Ok(buffer[..wanted].to_vec())
    }

    /// Last partial blocks were dropped, or read as an error.
    #[test]
    fn runs_of_any_size_arrive_whole_though_calls_are_short_and_interrupted() {
        for size in [
            1,
            511,
            512,
            4095,
            4096,
            4097,
            8192 + 512,
            3 * 65_536 - 512,
            100_003,
        ] {
            let bytes = Seeded::new(size as u64).bytes(size, false);
            for faults in [
                Faults::default(),
                Faults {
                    bytes_per_call: Some(ALIGNMENT),
                    ..Faults::default()
                },
                Faults {
                    bytes_per_call: Some(3 * ALIGNMENT),
                    is_interrupted: true,
                    ..Faults::default()
                },
            ] {
                assert_eq!(read(&bytes, 0, size, faults).unwrap(), bytes);
                let device = FaultyDevice::new(Vec::new(), faults);
                write_run(&*device, 0, &bytes).unwrap();
                assert_eq!(device.content(), bytes);
            }
        }
    }

    #[test]
    fn a_source_that_shrank_is_a_short_read_and_never_stale_bytes() {
        for (there, wanted, got) in [
            (0, 512, 0),
            (4096, 8192, 4096),
            (5000, 8192, 5000),
            (4096 + 511, 4096 + 512, 4607),
        ] {
            let failure = read(&vec![1; there], 0, wanted, Faults::default()).unwrap_err();
            assert!(
                matches!(failure, ReadFailure::Short { got: at, .. } if at == got),
                "{failure:?}"
            );
            let error = failure.of_source();
            assert_eq!(
                (error.code(), error.offset()),
                ("SOURCE_SHORT_READ", Some(0))
            );
        }
    }

    #[test]
    fn a_bad_sector_is_named_by_its_offset() {
        let faults = Faults {
            error_at: Some((3 * 4096, libc::EIO)),
            ..Faults::default()
        };
        let error = read(&[1; 65_536], 4096, 32_768, faults)
            .unwrap_err()
            .of_source();
        assert_eq!(
            (error.code(), error.offset(), error.os()),
            ("SOURCE_FAILED", Some(3 * 4096), Some("EIO"))
        );

        let device = FaultyDevice::new(
            vec![0; 65_536],
            Faults {
                error_at: Some((8192, libc::ENOSPC)),
                ..Faults::default()
            },
        );
        let error = write_run(&*device, 0, &[1; 16_384])
            .unwrap_err()
            .of_target();
        assert_eq!(
            (error.code(), error.offset(), error.os()),
            ("TARGET_FULL", Some(8192), Some("ENOSPC"))
        );
    }

    #[test]
    fn a_write_that_takes_nothing_is_an_error() {
        let device = FaultyDevice::new(
            Vec::new(),
            Faults {
                bytes_per_call: Some(0),
                ..Faults::default()
            },
        );
        let error = write_run(&*device, 0, &[1; 4096]).unwrap_err().of_target();
        assert_eq!(error.code(), "TARGET_FAILED");
    }
}
