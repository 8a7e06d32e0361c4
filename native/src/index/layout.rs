//! The header of a segment, and where its sections are: all follows from four counts.

use crate::digest::{self, CHECKSUM_BYTES, DIGEST_BYTES, Digest};
use crate::fields::{array_at, is_reserved, put, u16_at, u32_at, u64_at};
use crate::pack::REPOSITORY_ID_BYTES;

use super::filter;
use super::row::{PACK_RECORD_BYTES, PAGE_BYTES, ROWS_PER_PAGE};

const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"MOVRINDX";
const VERSION_AT: usize = MAGIC.len();
const HEADER_BYTES_AT: usize = VERSION_AT + 2 * size_of::<u16>();
const REPOSITORY_ID_AT: usize = HEADER_BYTES_AT + size_of::<u32>();
const PRUNE_EPOCH_AT: usize = REPOSITORY_ID_AT + REPOSITORY_ID_BYTES;
/// Entries, pages, packs, replaced; then the offsets and lengths that follow from them.
const NUMBERS_AT: usize = PRUNE_EPOCH_AT + size_of::<u64>();
const NUMBER_COUNT: usize = 11;
const FIRST_AT: usize = NUMBERS_AT + NUMBER_COUNT * size_of::<u64>();
const LAST_AT: usize = FIRST_AT + DIGEST_BYTES;
const RESERVED_AT: usize = LAST_AT + DIGEST_BYTES;
const CHECKSUM_AT: usize = HEADER_BYTES - CHECKSUM_BYTES;
pub const HEADER_BYTES: usize = PAGE_BYTES;
const _: () = assert!(FIRST_AT == 128 && RESERVED_AT == 192);

const FAN_OUT_ROW_BYTES: u64 = size_of::<u64>() as u64;

/// Everything that the length of a segment depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub entries: u64,
    pub packs: u64,
    pub replaced: u64,
    pub filter_bytes: u64,
}

impl Counts {
    /// As a writer makes it: with the filter that this many entries get.
    pub fn of(entries: u64, packs: u64, replaced: u64) -> Self {
        Self {
            entries,
            packs,
            replaced,
            filter_bytes: filter::bytes_for(entries),
        }
    }

    pub fn pages(&self) -> u64 {
        self.entries.div_ceil(ROWS_PER_PAGE as u64)
    }

    /// Rows on a page: all pages but the last are full.
    pub fn rows_on(&self, page: u64) -> usize {
        (self.entries - page * ROWS_PER_PAGE as u64).min(ROWS_PER_PAGE as u64) as usize
    }

    /// Whether the sections could be in an object this long, so that no sum of them overflows.
    fn fit(&self, object_bytes: u64) -> bool {
        [self.entries, self.packs, self.replaced, self.filter_bytes]
            .iter()
            .all(|&count| count <= object_bytes)
    }
}

/// Where the sections of a segment are. They follow one another; each is a multiple of 8 bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub fan_out_at: u64,
    pub filter_at: u64,
    pub packs_at: u64,
    pub replaced_at: u64,
    pub total_bytes: u64,
}

impl Layout {
    pub fn of(counts: &Counts) -> Self {
        let fan_out_at = HEADER_BYTES as u64 + counts.pages() * PAGE_BYTES as u64;
        let filter_at = fan_out_at + counts.pages() * FAN_OUT_ROW_BYTES;
        let packs_at = filter_at + counts.filter_bytes;
        let replaced_at = packs_at + counts.packs * PACK_RECORD_BYTES as u64;
        let total_bytes = replaced_at + counts.replaced * DIGEST_BYTES as u64;
        Self {
            fan_out_at,
            filter_at,
            packs_at,
            replaced_at,
            total_bytes,
        }
    }
}

/// What a segment says of itself at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub repository_id: [u8; REPOSITORY_ID_BYTES],
    pub counts: Counts,
    /// Of the rows; zeroes where there are none.
    pub first: Digest,
    pub last: Digest,
}

impl Header {
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        put(&mut header, 0, MAGIC);
        put(&mut header, VERSION_AT, &VERSION.to_le_bytes());
        put(
            &mut header,
            HEADER_BYTES_AT,
            &(HEADER_BYTES as u32).to_le_bytes(),
        );
        put(&mut header, REPOSITORY_ID_AT, &self.repository_id);
        for (number, value) in numbers(&self.counts).iter().enumerate() {
            put(
                &mut header,
                NUMBERS_AT + number * size_of::<u64>(),
                &value.to_le_bytes(),
            );
        }
        put(&mut header, FIRST_AT, &self.first);
        put(&mut header, LAST_AT, &self.last);
        let checksum = digest::checksum16(&[&header[..CHECKSUM_AT]]);
        put(&mut header, CHECKSUM_AT, &checksum);
        header
    }

    /// Reads the header of an object of this length, or says what is wrong with it.
    pub fn from_bytes(
        header: &[u8; HEADER_BYTES],
        object_bytes: u64,
    ) -> Result<Self, &'static str> {
        if header[..VERSION_AT] != *MAGIC {
            return Err("does not begin as an index segment");
        }
        if header[CHECKSUM_AT..] != digest::checksum16(&[&header[..CHECKSUM_AT]]) {
            return Err("its header is damaged");
        }
        if u16_at(header, VERSION_AT) != VERSION
            || u32_at(header, HEADER_BYTES_AT) as usize != HEADER_BYTES
        {
            return Err("is of another version");
        }
        if !is_reserved(header, VERSION_AT + size_of::<u16>(), HEADER_BYTES_AT)
            || !is_reserved(header, PRUNE_EPOCH_AT, NUMBERS_AT)
            || !is_reserved(header, RESERVED_AT, CHECKSUM_AT)
        {
            return Err("uses what this version only reserves");
        }
        Ok(Self {
            repository_id: array_at(header, REPOSITORY_ID_AT),
            counts: counts(header, object_bytes)
                .ok_or("its header contradicts itself or its length")?,
            first: array_at(header, FIRST_AT),
            last: array_at(header, LAST_AT),
        })
    }
}

fn counts(header: &[u8; HEADER_BYTES], object_bytes: u64) -> Option<Counts> {
    let number = |at: usize| u64_at(header, NUMBERS_AT + at * size_of::<u64>());
    let counts = Counts {
        entries: number(0),
        packs: number(2),
        replaced: number(3),
        filter_bytes: number(7),
    };
    let is_consistent = counts.fit(object_bytes)
        && filter::is_length(counts.filter_bytes, counts.entries)
        && (0..NUMBER_COUNT).map(number).eq(numbers(&counts))
        && Layout::of(&counts).total_bytes == object_bytes;
    is_consistent.then_some(counts)
}

/// In the order of the header.
fn numbers(counts: &Counts) -> [u64; NUMBER_COUNT] {
    let layout = Layout::of(counts);
    [
        counts.entries,
        counts.pages(),
        counts.packs,
        counts.replaced,
        HEADER_BYTES as u64,
        layout.fan_out_at,
        layout.filter_at,
        counts.filter_bytes,
        layout.packs_at,
        layout.replaced_at,
        layout.total_bytes,
    ]
}
