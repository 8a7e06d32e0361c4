//! Slot ↔ offset: a volume of `volume_bytes` has `ceil(volume_bytes / chunk_bytes)` slots, the last may be short.

use crate::error::{NativeError, Result};

pub const CHUNK_BYTES_MIN: u64 = 16 << 10;
pub const CHUNK_BYTES_MAX: u64 = 4 << 20;
/// JavaScript's numbers are exact up to here.
pub const VOLUME_BYTES_MAX: u64 = (1 << 53) - 1;

#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    volume_bytes: u64,
    chunk_bytes: u64,
}

impl Geometry {
    /// ARGUMENT_INVALID unless the chunk size is a power of two in its range and offsets stay exact.
    pub fn new(volume_bytes: u64, chunk_bytes: u64) -> Result<Self> {
        if !chunk_bytes.is_power_of_two()
            || !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
        {
            return Err(NativeError::argument(format!(
                "chunkBytes {chunk_bytes} is not a chunk size"
            )));
        }
        if volume_bytes > VOLUME_BYTES_MAX {
            return Err(NativeError::argument(format!(
                "volumeBytes {volume_bytes} is beyond 2^53 - 1"
            )));
        }
        Ok(Self {
            volume_bytes,
            chunk_bytes,
        })
    }

    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes as usize
    }

    pub fn volume_bytes(&self) -> u64 {
        self.volume_bytes
    }

    pub fn slot_count(&self) -> u64 {
        self.volume_bytes.div_ceil(self.chunk_bytes)
    }

    /// Where a slot begins. The slot must be one of the volume's.
    pub fn offset(&self, slot: u64) -> u64 {
        slot * self.chunk_bytes
    }

    /// Bytes of a slot: the chunk size, or less for the last one. The slot must be one of the volume's.
    pub fn slot_bytes(&self, slot: u64) -> usize {
        (self.volume_bytes - self.offset(slot)).min(self.chunk_bytes) as usize
    }

    /// ARGUMENT_INVALID for a slot that the volume does not have.
    pub fn check_slot(&self, slot: u64) -> Result<()> {
        if slot < self.slot_count() {
            return Ok(());
        }
        Err(NativeError::argument(format!(
            "slot {slot} is beyond the volume's {}",
            self.slot_count()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = CHUNK_BYTES_MIN;

    #[test]
    fn the_last_slot_may_be_short() {
        for (volume, slots, last) in [
            (1, 1, 1),
            (512, 1, 512),
            (CHUNK - 512, 1, CHUNK - 512),
            (CHUNK, 1, CHUNK),
            (CHUNK + 512, 2, 512),
            (CHUNK * 7, 7, CHUNK),
        ] {
            let geometry = Geometry::new(volume, CHUNK).unwrap();
            assert_eq!(geometry.slot_count(), slots, "{volume}");
            assert_eq!(geometry.slot_bytes(slots - 1) as u64, last, "{volume}");
            assert!(geometry.check_slot(slots - 1).is_ok());
            assert!(geometry.check_slot(slots).is_err());
        }
        assert_eq!(Geometry::new(0, CHUNK).unwrap().slot_count(), 0);
    }

    #[test]
    fn odd_sizes_are_refused() {
        for (volume, chunk) in [
            (1, 0),
            (1, 8 << 10),
            (1, 48 << 10),
            (1, 8 << 20),
            (1 << 53, CHUNK),
        ] {
            assert_eq!(
                Geometry::new(volume, chunk).unwrap_err().code(),
                "ARGUMENT_INVALID"
            );
        }
    }
}
