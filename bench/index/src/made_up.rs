//! Entry number n, the same in every run: its digest, the pack it is in and its place there.

use mover_native::codec::Codec;
use mover_native::digest::Digest;
use mover_native::pack::{Entry, EntryType};

/// Entries are made in parts, each with a range of digests of its own, so that a part can be sorted in memory.
pub const PARTS: u64 = 32;
/// More than a real pack has, so that ten thousand files stand for a million.
const ENTRIES_PER_PACK: u64 = 10_000;
const STORED_BYTES: u32 = 4000;
const PLAIN_BYTES: u32 = 65_536;
const FIRST_OFFSET: u32 = 4096;

/// As long as its entries, rounded up.
pub const PACK_BYTES: u64 = 48 << 20;

pub fn packs(entries: u64) -> u64 {
    entries.div_ceil(ENTRIES_PER_PACK)
}

pub fn pack_id(number: u64) -> Digest {
    *blake3::keyed_hash(&[1; 32], &number.to_le_bytes()).as_bytes()
}

/// Part n % PARTS has the digests that begin with that number, in five bits.
pub fn digest(number: u64) -> Digest {
    let mut digest = *blake3::hash(&number.to_le_bytes()).as_bytes();
    digest[0] = (digest[0] >> 5) | (((number % PARTS) as u8) << 3);
    digest
}

/// Neighbours in a pack are spread over all parts, as digests are.
pub fn pack_of(number: u64) -> u64 {
    number / ENTRIES_PER_PACK
}

pub fn entry(number: u64) -> Entry {
    let place = (number % ENTRIES_PER_PACK) as u32;
    Entry {
        digest: digest(number),
        kind: EntryType::Chunk,
        codec: Codec::Lz4,
        offset: FIRST_OFFSET + place * STORED_BYTES,
        stored: STORED_BYTES,
        plain: PLAIN_BYTES,
    }
}
