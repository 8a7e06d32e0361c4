//! Fixed-width little-endian fields at constant offsets. A field outside its slice is our bug and panics;
//! whoever reads foreign bytes has checked their length first.

pub fn array_at<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    let mut field = [0; BYTES];
    field.copy_from_slice(&bytes[at..at + BYTES]);
    field
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Whether a reserved field is as version 1 leaves it.
pub fn is_reserved(bytes: &[u8], at: usize, end: usize) -> bool {
    crate::zero::is_zero(&bytes[at..end])
}
