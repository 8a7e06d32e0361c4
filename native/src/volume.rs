//! An open source or target, wherever it is: the loops read and write it at offsets and need not know.

use std::io;

use crate::aligned_buf::{ALIGNMENT, AlignedBuf};
use crate::device::Device;
use crate::error::{NativeError, Result};
use crate::nbd::volume::NbdVolume;
use crate::transfer::{ReadAt, ReadFailure, RunRead, WriteAt, read_source};

/// As much as is read at a time into memory of the caller's: metadata, never a volume.
pub const PIECE_BYTES_MAX: usize = 64 << 20;

pub enum Volume {
    /// A file or a block device of this host.
    Device(Device),
    /// What an NBD server serves.
    Nbd(NbdVolume),
}

impl Volume {
    /// ARGUMENT_INVALID for what is no device of this host.
    pub fn device(&self) -> Result<&Device> {
        match self {
            Self::Device(device) => Ok(device),
            Self::Nbd(_) => Err(NativeError::argument("an NBD volume is no device")),
        }
    }

    /// ARGUMENT_INVALID for what no NBD server serves.
    pub fn nbd(&self) -> Result<&NbdVolume> {
        match self {
            Self::Nbd(volume) => Ok(volume),
            Self::Device(_) => Err(NativeError::argument("a device is no NBD volume")),
        }
    }

    /// Some bytes of what is on the volume, from any offset. ARGUMENT_INVALID for more than a piece.
    pub fn read_piece(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        if length > PIECE_BYTES_MAX {
            return Err(NativeError::argument(format!(
                "{length} bytes are more than a piece"
            )));
        }
        let before = (offset % ALIGNMENT as u64) as usize;
        let wanted = before + length;
        let rounded = wanted.next_multiple_of(ALIGNMENT);
        let mut buffer = AlignedBuf::with_capacity(rounded);
        buffer.resize_zeroed(rounded);
        read_source(self, offset - before as u64, &mut buffer, wanted)?;
        Ok(buffer[before..wanted].to_vec())
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> Result<()> {
        match self {
            Self::Device(device) => device.sync(),
            Self::Nbd(volume) => volume.sync(),
        }
    }

    /// Makes runs of bytes read as zero, durable after `sync`.
    pub fn zero_runs(&self, runs: &[(u64, u64)]) -> Result<()> {
        match self {
            Self::Device(device) => device.zero_runs(runs),
            Self::Nbd(volume) => volume.zero_runs(runs),
        }
    }

    /// Takes room for runs that will be written, where that helps.
    pub fn reserve_runs(&self, runs: &[(u64, u64)]) {
        if let Self::Device(device) = self {
            device.reserve_runs(runs);
        }
    }
}

impl ReadAt for Volume {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Device(device) => device.read_at(into, offset),
            Self::Nbd(volume) => volume.read_at(into, offset),
        }
    }

    fn has_depth(&self) -> bool {
        match self {
            Self::Device(device) => device.has_depth(),
            Self::Nbd(volume) => volume.has_depth(),
        }
    }

    fn read_several(&self, runs: &mut [RunRead<'_>]) -> std::result::Result<(), ReadFailure> {
        match self {
            Self::Device(device) => device.read_several(runs),
            Self::Nbd(volume) => volume.read_several(runs),
        }
    }
}

impl WriteAt for Volume {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Device(device) => device.write_at(bytes, offset),
            Self::Nbd(volume) => volume.write_at(bytes, offset),
        }
    }
}
