//! Memory that direct I/O accepts.

use std::ops::{Deref, DerefMut};

/// Offsets, lengths and addresses of direct I/O are multiples of this, whatever the device's logical block.
pub const ALIGNMENT: usize = 4096;

/// Bytes at a 4096-aligned address with a fixed capacity, used like a `Vec<u8>` that never grows.
///
/// All of the capacity is initialised from the start (by the kernel's zero pages), so that a length can
/// be set without writing. Going past the capacity is a bug and panics.
#[derive(Default)]
pub struct AlignedBuf {
    /// Longer than the capacity by the alignment, and never moved: the buffer begins in its first page.
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
    len: usize,
}

impl AlignedBuf {
    /// Makes an empty buffer of at least `capacity` bytes, rounded up to the alignment.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(ALIGNMENT);
        let memory = vec![0; capacity + ALIGNMENT];
        let start = memory.as_ptr().addr().next_multiple_of(ALIGNMENT) - memory.as_ptr().addr();
        Self {
            memory,
            start,
            capacity,
            len: 0,
        }
    }

    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Shortens to `len` bytes; longer is left as it is.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Sets the length without touching bytes: what lies beyond the old length is whatever was there before.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "buffer length within its capacity");
        self.len = len;
    }

    /// Sets the length; bytes that are new are zero.
    pub fn resize_zeroed(&mut self, len: usize) {
        let old = self.len;
        self.set_len(len);
        if len > old {
            self.as_mut_slice()[old..].fill(0);
        }
    }

    /// Appends bytes, which must fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let old = self.len;
        self.set_len(old + bytes.len());
        self.as_mut_slice()[old..].copy_from_slice(bytes);
    }

    /// The room behind the content, to be written and then taken with `set_len`; its old bytes mean nothing.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start + self.len..self.start + self.capacity]
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The bytes in use, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_keeps_its_bytes() {
        let mut buffer = AlignedBuf::with_capacity(5000);
        assert_eq!((buffer.capacity(), buffer.len()), (8192, 0));
        assert!(buffer.as_slice().as_ptr().addr().is_multiple_of(ALIGNMENT));
        buffer.extend_from_slice(b"abc");
        buffer.resize_zeroed(5);
        assert_eq!(&buffer[..], b"abc\0\0");
        buffer.truncate(1);
        buffer.set_len(3);
        assert_eq!(&buffer[..], b"abc");
        buffer.clear();
        buffer.resize_zeroed(2);
        assert_eq!(&buffer[..], [0, 0]);
        assert_eq!(AlignedBuf::default().capacity(), 0);
    }

    #[test]
    #[should_panic(expected = "within its capacity")]
    fn a_buffer_does_not_grow() {
        AlignedBuf::with_capacity(1).extend_from_slice(&[0; 4097]);
    }
}
