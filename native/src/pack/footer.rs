//! The end of a pack: padding, the table of its entries, and a trailer of fixed length that finds the table.

use crate::codec::Codec;
use crate::device::AlignedBuf;
use crate::digest::{self, CHECKSUM_BYTES, DIGEST_BYTES};
use crate::error::{NativeError, Result};
use crate::fields::{array_at, is_reserved, put, u16_at, u32_at, u64_at};

use super::{
    Entry, EntryType, OBJECT_BYTES_MAX, PACK_ALIGNMENT, PACK_HEADER_BYTES, VERSION, frame,
};

const OFFSET_AT: usize = DIGEST_BYTES;
const STORED_AT: usize = OFFSET_AT + size_of::<u32>();
const PLAIN_AT: usize = STORED_AT + size_of::<u32>();
const KIND_AT: usize = PLAIN_AT + size_of::<u32>();
const CODEC_AT: usize = KIND_AT + 1;
const ROW_RESERVED_AT: usize = CODEC_AT + 1;
const ROW_BYTES: usize = ROW_RESERVED_AT + size_of::<u16>();
const _: () = assert!(ROW_BYTES == 48);

const MAGIC: &[u8; 8] = b"MOVRPEND";
const VERSION_AT: usize = MAGIC.len();
const COUNT_AT: usize = VERSION_AT + 2 * size_of::<u16>();
const TABLE_OFFSET_AT: usize = COUNT_AT + size_of::<u32>();
const FRAMES_END_AT: usize = TABLE_OFFSET_AT + size_of::<u64>();
const RESERVED_AT: usize = FRAMES_END_AT + size_of::<u64>();
const CHECKSUM_AT: usize = RESERVED_AT + 16;
const TRAILER_BYTES: usize = CHECKSUM_AT + CHECKSUM_BYTES;
const _: () = assert!(TRAILER_BYTES == 64);

/// Reads an object's bytes from an offset: as many as the slice holds, or an error.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> Result<()> + 'a;

/// Length of a pack whose frames end here and are so many.
pub(super) fn sealed_bytes(frames_end: usize, entry_count: usize) -> usize {
    (frames_end + entry_count * ROW_BYTES + TRAILER_BYTES).next_multiple_of(PACK_ALIGNMENT)
}

/// Completes a pack whose frames are all in `pack`, which has the room.
pub(super) fn append(pack: &mut AlignedBuf, entries: &[Entry]) {
    let frames_end = pack.len();
    let end = sealed_bytes(frames_end, entries.len());
    let table_at = end - TRAILER_BYTES - entries.len() * ROW_BYTES;
    pack.resize_zeroed(table_at);
    for entry in entries {
        pack.extend_from_slice(&row(entry));
    }
    let trailer = trailer(&pack[table_at..], entries.len(), table_at, frames_end);
    pack.extend_from_slice(&trailer);
}

fn row(entry: &Entry) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    put(&mut row, 0, &entry.digest);
    put(&mut row, OFFSET_AT, &entry.offset.to_le_bytes());
    put(&mut row, STORED_AT, &entry.stored.to_le_bytes());
    put(&mut row, PLAIN_AT, &entry.plain.to_le_bytes());
    row[KIND_AT] = entry.kind as u8;
    row[CODEC_AT] = entry.codec as u8;
    row
}

fn trailer(table: &[u8], count: usize, table_at: usize, frames_end: usize) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    put(&mut trailer, 0, MAGIC);
    put(&mut trailer, VERSION_AT, &VERSION.to_le_bytes());
    put(&mut trailer, COUNT_AT, &(count as u32).to_le_bytes());
    put(
        &mut trailer,
        TABLE_OFFSET_AT,
        &(table_at as u64).to_le_bytes(),
    );
    put(
        &mut trailer,
        FRAMES_END_AT,
        &(frames_end as u64).to_le_bytes(),
    );
    let checksum = digest::checksum16(&[table, &trailer[..CHECKSUM_AT]]);
    put(&mut trailer, CHECKSUM_AT, &checksum);
    trailer
}

/// Reads a pack's table through `read`; PACK_CORRUPT unless all of it holds. The entries come in the order
/// of their frames, which follow one another without a gap.
pub fn read_footer(object_bytes: u64, read: &mut ReadAt<'_>) -> Result<Vec<Entry>> {
    let (trailer, bounds) = read_trailer(object_bytes, read)?;

    let trailer_at = object_bytes - TRAILER_BYTES as u64;
    let mut table = vec![0; (trailer_at - bounds.table_at) as usize];
    read(bounds.table_at, &mut table)?;
    if trailer[CHECKSUM_AT..] != digest::checksum16(&[&table, &trailer[..CHECKSUM_AT]]) {
        return Err(NativeError::pack(bounds.table_at, "its table is damaged"));
    }
    entries(&table, &bounds)
}

/// Where the last frame ends, by the trailer; PACK_CORRUPT where that cannot be.
pub(super) fn frames_end(object_bytes: u64, read: &mut ReadAt<'_>) -> Result<u64> {
    Ok(read_trailer(object_bytes, read)?.1.frames_end)
}

fn read_trailer(object_bytes: u64, read: &mut ReadAt<'_>) -> Result<([u8; TRAILER_BYTES], Bounds)> {
    let shortest = sealed_bytes(PACK_HEADER_BYTES, 0) as u64;
    if !(shortest..=OBJECT_BYTES_MAX).contains(&object_bytes)
        || !object_bytes.is_multiple_of(PACK_ALIGNMENT as u64)
    {
        return Err(NativeError::pack(
            None,
            format!("has {object_bytes} bytes, as no pack has"),
        ));
    }
    let trailer_at = object_bytes - TRAILER_BYTES as u64;
    let mut trailer = [0; TRAILER_BYTES];
    read(trailer_at, &mut trailer)?;
    let bounds = bounds(&trailer, trailer_at)?;
    Ok((trailer, bounds))
}

/// Where a pack's parts are; held against one another and the length of the object.
struct Bounds {
    frames_end: u64,
    table_at: u64,
}

fn bounds(trailer: &[u8; TRAILER_BYTES], trailer_at: u64) -> Result<Bounds> {
    let refused = |message: &str| Err(NativeError::pack(trailer_at, message));
    if trailer[..VERSION_AT] != *MAGIC {
        return refused("does not end as a pack");
    }
    let is_plain_version =
        u16_at(trailer, VERSION_AT) == VERSION && u16_at(trailer, VERSION_AT + 2) == 0;
    if !is_plain_version || !is_reserved(trailer, RESERVED_AT, CHECKSUM_AT) {
        return refused("its trailer uses what this version only reserves");
    }
    let table_bytes = u64::from(u32_at(trailer, COUNT_AT)) * ROW_BYTES as u64;
    let table_at = u64_at(trailer, TABLE_OFFSET_AT);
    let frames_end = u64_at(trailer, FRAMES_END_AT);
    let is_table_in_place = trailer_at.checked_sub(table_bytes) == Some(table_at);
    let is_padding_short = table_at
        .checked_sub(frames_end)
        .is_some_and(|padding| padding < PACK_ALIGNMENT as u64);
    if !is_table_in_place || !is_padding_short || frames_end < PACK_HEADER_BYTES as u64 {
        return refused("its trailer contradicts itself");
    }
    Ok(Bounds {
        frames_end,
        table_at,
    })
}

fn entries(table: &[u8], bounds: &Bounds) -> Result<Vec<Entry>> {
    let (rows, _) = table.as_chunks::<ROW_BYTES>();
    let mut entries = Vec::with_capacity(rows.len());
    let mut frame_at = PACK_HEADER_BYTES as u64;
    for (number, row) in rows.iter().enumerate() {
        let entry = entry(row)
            .filter(|entry| u64::from(entry.offset) == frame_at + frame::HEAD_BYTES as u64);
        let Some(entry) = entry else {
            let row_at = bounds.table_at + (number * ROW_BYTES) as u64;
            return Err(NativeError::pack(
                row_at,
                format!("row {number} of its table cannot be true"),
            ));
        };
        frame_at = entry.end();
        entries.push(entry);
    }
    if frame_at != bounds.frames_end {
        return Err(NativeError::pack(
            bounds.table_at,
            "its table does not cover its frames",
        ));
    }
    Ok(entries)
}

fn entry(row: &[u8; ROW_BYTES]) -> Option<Entry> {
    let entry = Entry {
        digest: array_at(row, 0),
        kind: EntryType::from_byte(row[KIND_AT])?,
        codec: Codec::from_byte(row[CODEC_AT])?,
        offset: u32_at(row, OFFSET_AT),
        stored: u32_at(row, STORED_AT),
        plain: u32_at(row, PLAIN_AT),
    };
    (entry.is_bounded() && u16_at(row, ROW_RESERVED_AT) == 0).then_some(entry)
}
