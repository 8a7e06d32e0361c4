//! The layouts of what crosses the seam: little-endian rows of fixed width, as in `src/native/batch.ts`.

use crate::codec::Codec;
use crate::digest::{DIGEST_BYTES, Digest};
use crate::error::{NativeError, Result};
use crate::fields::{array_at, put, u32_at, u64_at};
use crate::index::Located;

/// A slot as `ingest` found it: state, digest (zeroes for a zero slot).
pub const SLOT_ROW_BYTES: usize = 1 + DIGEST_BYTES;
pub const STATE_ZERO: u8 = 0;
pub const STATE_KNOWN: u8 = 1;
pub const STATE_STORED: u8 = 2;

/// A slot and the digest of its chunk.
pub const WANTED_ROW_BYTES: usize = size_of::<u64>() + DIGEST_BYTES;

const ROW_DIGEST_AT: usize = size_of::<u64>();
const ROW_PACK_AT: usize = ROW_DIGEST_AT + DIGEST_BYTES;
const ROW_OFFSET_AT: usize = ROW_PACK_AT + size_of::<u32>();
const ROW_STORED_AT: usize = ROW_OFFSET_AT + size_of::<u32>();
const ROW_PLAIN_AT: usize = ROW_STORED_AT + size_of::<u32>();
const ROW_CODEC_AT: usize = ROW_PLAIN_AT + size_of::<u32>();
/// A slot, its digest and where the chunk is stored; padded.
pub const PLANNED_ROW_BYTES: usize = 80;
const _: () = assert!(ROW_CODEC_AT < PLANNED_ROW_BYTES && PLANNED_ROW_BYTES.is_multiple_of(8));

const LOCATED_CODEC_AT: usize = 1;
const LOCATED_OFFSET_AT: usize = 4;
const LOCATED_STORED_AT: usize = 8;
const LOCATED_PLAIN_AT: usize = 12;
const LOCATED_PACK_BYTES_AT: usize = 16;
const LOCATED_PACK_ID_AT: usize = 24;
/// Whether a digest was found, and where.
pub const LOCATED_ROW_BYTES: usize = LOCATED_PACK_ID_AT + DIGEST_BYTES;
const _: () = assert!(LOCATED_ROW_BYTES == 56);

/// Appends the result of one slot.
pub fn push_slot(results: &mut Vec<u8>, state: u8, digest: Option<&Digest>) {
    results.push(state);
    results.extend_from_slice(digest.unwrap_or(&[0; DIGEST_BYTES]));
}

/// A slot whose chunk is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedRow {
    pub slot: u64,
    pub digest: Digest,
}

impl WantedRow {
    pub fn append_to(&self, rows: &mut Vec<u8>) {
        rows.extend_from_slice(&self.slot.to_le_bytes());
        rows.extend_from_slice(&self.digest);
    }

    fn from_bytes(row: &[u8]) -> Self {
        Self {
            slot: u64_at(row, 0),
            digest: array_at(row, ROW_DIGEST_AT),
        }
    }
}

/// A slot and the entry that it is to be taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRow {
    pub slot: u64,
    pub digest: Digest,
    /// Number of the pack in the job that planned this.
    pub pack: u32,
    pub offset: u32,
    pub stored: u32,
    pub plain: u32,
    pub codec: Codec,
}

impl PlannedRow {
    pub fn append_to(&self, rows: &mut Vec<u8>) {
        let at = rows.len();
        rows.resize(at + PLANNED_ROW_BYTES, 0);
        let row = &mut rows[at..];
        put(row, 0, &self.slot.to_le_bytes());
        put(row, ROW_DIGEST_AT, &self.digest);
        put(row, ROW_PACK_AT, &self.pack.to_le_bytes());
        put(row, ROW_OFFSET_AT, &self.offset.to_le_bytes());
        put(row, ROW_STORED_AT, &self.stored.to_le_bytes());
        put(row, ROW_PLAIN_AT, &self.plain.to_le_bytes());
        row[ROW_CODEC_AT] = self.codec as u8;
    }

    fn from_bytes(row: &[u8]) -> Result<Self> {
        let codec = Codec::from_byte(row[ROW_CODEC_AT])
            .ok_or_else(|| NativeError::argument("a row of no codec"))?;
        Ok(Self {
            slot: u64_at(row, 0),
            digest: array_at(row, ROW_DIGEST_AT),
            pack: u32_at(row, ROW_PACK_AT),
            offset: u32_at(row, ROW_OFFSET_AT),
            stored: u32_at(row, ROW_STORED_AT),
            plain: u32_at(row, ROW_PLAIN_AT),
            codec,
        })
    }
}

/// ARGUMENT_INVALID unless the bytes are whole rows.
pub fn slot_rows(bytes: &[u8]) -> Result<Vec<WantedRow>> {
    Ok(rows_of(bytes, WANTED_ROW_BYTES)?
        .map(WantedRow::from_bytes)
        .collect())
}

/// ARGUMENT_INVALID unless the bytes are whole rows of known codecs.
pub fn extract_rows(bytes: &[u8]) -> Result<Vec<PlannedRow>> {
    rows_of(bytes, PLANNED_ROW_BYTES)?
        .map(PlannedRow::from_bytes)
        .collect()
}

/// ARGUMENT_INVALID unless the bytes are whole digests.
pub fn digests(bytes: &[u8]) -> Result<Vec<Digest>> {
    Ok(rows_of(bytes, DIGEST_BYTES)?
        .map(|row| array_at(row, 0))
        .collect())
}

/// Appends where a digest was found, or zeroes.
pub fn push_located(rows: &mut Vec<u8>, located: Option<&Located>) {
    let at = rows.len();
    rows.resize(at + LOCATED_ROW_BYTES, 0);
    let row = &mut rows[at..];
    if let Some(Located {
        pack_id,
        pack_bytes,
        entry,
        ..
    }) = located
    {
        row[0] = 1;
        row[LOCATED_CODEC_AT] = entry.codec as u8;
        put(row, LOCATED_OFFSET_AT, &entry.offset.to_le_bytes());
        put(row, LOCATED_STORED_AT, &entry.stored.to_le_bytes());
        put(row, LOCATED_PLAIN_AT, &entry.plain.to_le_bytes());
        put(row, LOCATED_PACK_BYTES_AT, &pack_bytes.to_le_bytes());
        put(row, LOCATED_PACK_ID_AT, pack_id);
    }
}

fn rows_of(bytes: &[u8], row_bytes: usize) -> Result<std::slice::ChunksExact<'_, u8>> {
    if bytes.len().is_multiple_of(row_bytes) {
        return Ok(bytes.chunks_exact(row_bytes));
    }
    Err(NativeError::argument(format!(
        "{} bytes are not whole rows of {row_bytes}",
        bytes.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Entry, EntryType};

    #[test]
    fn rows_come_back_as_they_went() {
        let slot = WantedRow {
            slot: 1 << 40,
            digest: [7; 32],
        };
        let extract = PlannedRow {
            slot: 3,
            digest: [9; 32],
            pack: 1,
            offset: u32::MAX,
            stored: 12,
            plain: 65_536,
            codec: Codec::Zstd,
        };
        let (mut slots, mut extracts) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            slot.append_to(&mut slots);
            extract.append_to(&mut extracts);
        }
        assert_eq!((slots.len(), extracts.len()), (120, 240));
        assert_eq!(slot_rows(&slots).unwrap(), [slot; 3]);
        assert_eq!(extract_rows(&extracts).unwrap(), [extract; 3]);
    }

    #[test]
    fn parts_of_rows_and_unknown_codecs_are_refused() {
        for bytes in [39, 41, 80 + 39] {
            assert_eq!(
                slot_rows(&vec![0; bytes]).unwrap_err().code(),
                "ARGUMENT_INVALID"
            );
        }
        let mut row = vec![0; PLANNED_ROW_BYTES];
        assert!(extract_rows(&row).is_ok());
        row[ROW_CODEC_AT] = 9;
        assert_eq!(extract_rows(&row).unwrap_err().code(), "ARGUMENT_INVALID");
        assert!(digests(&[0; 33]).is_err());
    }

    #[test]
    fn a_place_is_told_in_56_bytes() {
        let entry = Entry {
            digest: [1; 32],
            kind: EntryType::Chunk,
            codec: Codec::Lz4,
            offset: 0x0102_0304,
            stored: 5,
            plain: 6,
        };
        let located = Located {
            segment: 0,
            rank: 0,
            pack_id: [8; 32],
            pack_bytes: 1 << 33,
            entry,
        };
        let mut rows = Vec::new();
        push_located(&mut rows, Some(&located));
        push_located(&mut rows, None);
        let mut expected = vec![
            1, 1, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
        ];
        expected.extend([8; 32]);
        expected.extend([0; 56]);
        assert_eq!(rows, expected);
    }
}
