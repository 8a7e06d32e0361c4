//! A row of a segment's pages, and a record of its pack table.

use std::cmp::Ordering;

use crate::codec::Codec;
use crate::digest::{self, CHECKSUM_BYTES, DIGEST_BYTES, Digest};
use crate::fields::{array_at, put, u32_at, u64_at};
use crate::pack::{Entry, EntryType, OBJECT_BYTES_MAX, PLAIN_BYTES_MAX};

const PACK_AT: usize = DIGEST_BYTES;
const OFFSET_AT: usize = PACK_AT + size_of::<u32>();
const STORED_AT: usize = OFFSET_AT + size_of::<u32>();
const PLAIN_AT: usize = STORED_AT + size_of::<u32>();
pub const ROW_BYTES: usize = PLAIN_AT + size_of::<u32>();
const _: () = assert!(ROW_BYTES == 48);

/// Lengths need 23 bits; codec and kind sit in the byte above them.
const LENGTH_MASK: u32 = (1 << 24) - 1;
const _: () = assert!(PLAIN_BYTES_MAX <= LENGTH_MASK as usize);

pub const PAGE_BYTES: usize = 4096;
pub const PAGE_CHECKSUM_AT: usize = PAGE_BYTES - CHECKSUM_BYTES;
pub const ROWS_PER_PAGE: usize = PAGE_CHECKSUM_AT / ROW_BYTES;
const _: () = assert!(ROWS_PER_PAGE == 85 && ROWS_PER_PAGE * ROW_BYTES == PAGE_CHECKSUM_AT);

pub type Page = [u8; PAGE_BYTES];
pub type RowBytes = [u8; ROW_BYTES];

const PACK_BYTES_AT: usize = DIGEST_BYTES;
const PACK_CHECKSUM_AT: usize = PACK_BYTES_AT + size_of::<u64>();
const PACK_CHECKSUM_BYTES: usize = 8;
pub const PACK_RECORD_BYTES: usize = PACK_CHECKSUM_AT + PACK_CHECKSUM_BYTES;
const _: () = assert!(PACK_RECORD_BYTES == 48);

/// An entry and the number of its pack, in whatever table the number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub pack: u32,
    pub entry: Entry,
}

impl Row {
    /// The order of rows in a segment: by digest, kind, pack and offset.
    pub fn order(&self, other: &Self) -> Ordering {
        // Nearly always the first 8 bytes decide, which cost no call.
        prefix_of(&self.entry.digest)
            .cmp(&prefix_of(&other.entry.digest))
            .then_with(|| self.key().cmp(&other.key()))
    }

    fn key(&self) -> (&Digest, EntryType, u32, u32) {
        (
            &self.entry.digest,
            self.entry.kind,
            self.pack,
            self.entry.offset,
        )
    }

    pub fn to_bytes(self) -> RowBytes {
        let Self { pack, entry } = self;
        let stored = entry.stored | u32::from(entry.codec as u8) << 24;
        let plain = entry.plain | u32::from(entry.kind as u8) << 24;
        let mut row = [0; ROW_BYTES];
        put(&mut row, 0, &entry.digest);
        put(&mut row, PACK_AT, &pack.to_le_bytes());
        put(&mut row, OFFSET_AT, &entry.offset.to_le_bytes());
        put(&mut row, STORED_AT, &stored.to_le_bytes());
        put(&mut row, PLAIN_AT, &plain.to_le_bytes());
        row
    }

    /// None if no entry can be as the row says.
    pub fn from_bytes(row: &RowBytes) -> Option<Self> {
        let (stored, plain) = (u32_at(row, STORED_AT), u32_at(row, PLAIN_AT));
        let entry = Entry {
            digest: digest_of(row),
            kind: EntryType::from_byte((plain >> 24) as u8)?,
            codec: Codec::from_byte((stored >> 24) as u8)?,
            offset: u32_at(row, OFFSET_AT),
            stored: stored & LENGTH_MASK,
            plain: plain & LENGTH_MASK,
        };
        entry.is_bounded().then(|| Self {
            pack: u32_at(row, PACK_AT),
            entry,
        })
    }
}

/// The digest of a row, without asking whether the rest can be true.
pub fn digest_of(row: &RowBytes) -> Digest {
    array_at(row, 0)
}

/// The part of a digest that the fan-out holds: as a number it sorts as the digest does.
pub fn prefix_of(digest: &Digest) -> u64 {
    u64::from_be_bytes(array_at(digest, 0))
}

/// The rows of a page, those behind its last one included.
pub fn rows_of(page: &Page) -> &[RowBytes] {
    page[..PAGE_CHECKSUM_AT].as_chunks().0
}

pub fn page_checksum(page: &Page) -> [u8; CHECKSUM_BYTES] {
    digest::checksum16(&[&page[..PAGE_CHECKSUM_AT]])
}

/// A pack, as the table of a segment names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRecord {
    pub id: Digest,
    pub bytes: u64,
}

impl PackRecord {
    pub fn to_bytes(self) -> [u8; PACK_RECORD_BYTES] {
        let mut record = [0; PACK_RECORD_BYTES];
        put(&mut record, 0, &self.id);
        put(&mut record, PACK_BYTES_AT, &self.bytes.to_le_bytes());
        let checksum = digest::checksum::<PACK_CHECKSUM_BYTES>(&[&record[..PACK_CHECKSUM_AT]]);
        put(&mut record, PACK_CHECKSUM_AT, &checksum);
        record
    }

    /// What the record says, whether its checksum holds or not.
    pub fn unchecked_from_bytes(record: &[u8; PACK_RECORD_BYTES]) -> Self {
        Self {
            id: array_at(record, 0),
            bytes: u64_at(record, PACK_BYTES_AT),
        }
    }

    /// None if the record is damaged, or longer than any pack.
    pub fn from_bytes(record: &[u8; PACK_RECORD_BYTES]) -> Option<Self> {
        let checksum = digest::checksum::<PACK_CHECKSUM_BYTES>(&[&record[..PACK_CHECKSUM_AT]]);
        let pack = Self::unchecked_from_bytes(record);
        (record[PACK_CHECKSUM_AT..] == checksum && pack.bytes <= OBJECT_BYTES_MAX).then_some(pack)
    }

    /// Whether an entry can be in this pack.
    pub fn holds(&self, entry: &Entry) -> bool {
        entry.end() <= self.bytes
    }
}
