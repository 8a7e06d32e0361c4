//! Rows to ranges of packs that are read in one go, and those ranges to plain bytes that are proven.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::aligned_buf::{ALIGNMENT, AlignedBuf};
use crate::batch::PlannedRow;
use crate::codec::{Codec, Decoder};
use crate::decode_job::DecodeJob;
use crate::digest;
use crate::error::{NativeError, Result};
use crate::extract_plan::other_places;
use crate::pack::{OBJECT_BYTES_MAX, PACK_ALIGNMENT};
use crate::pack_folder::is_damage;
use crate::transfer::{ReadFailure, read_run};

/// Reading over a gap of this size costs less than another read.
const GAP_BYTES_MAX: u64 = 128 << 10;

/// A range of one pack, and the rows whose entries lie in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRead {
    pub pack: u32,
    /// A multiple of the alignment, as is the length.
    pub start: u64,
    pub bytes: usize,
    pub rows: Range<usize>,
}

/// Where `row`'s stored bytes are: first byte, and first byte behind them.
fn extent(row: &PlannedRow) -> (u64, u64) {
    (
        u64::from(row.offset),
        u64::from(row.offset) + u64::from(row.stored),
    )
}

/// Joins rows that follow each other in one pack into reads of at most `bytes_max`, in the order of the rows.
pub fn plan_reads(rows: &[PlannedRow], bytes_max: usize) -> Vec<PackRead> {
    let alignment = ALIGNMENT as u64;
    let mut reads: Vec<PackRead> = Vec::new();
    let mut last_end = 0;
    for (at, row) in rows.iter().enumerate() {
        let (first, end) = extent(row);
        if let Some(read) = reads.last_mut() {
            let bytes = end
                .max(last_end)
                .next_multiple_of(alignment)
                .saturating_sub(read.start) as usize;
            let follows =
                row.pack == read.pack && first >= read.start && first <= last_end + GAP_BYTES_MAX;
            if follows && bytes <= bytes_max {
                read.bytes = bytes;
                read.rows.end = at + 1;
                last_end = last_end.max(end);
                continue;
            }
        }
        let start = first - first % alignment;
        let bytes = (end.next_multiple_of(alignment) - start) as usize;
        reads.push(PackRead {
            pack: row.pack,
            start,
            bytes,
            rows: at..at + 1,
        });
        last_end = end;
    }
    reads
}

/// ARGUMENT_INVALID for rows that `plan_extract` of this job cannot have made; CHUNK_CORRUPT is for those
/// whose chunk does not fit its slot, and comes later, with the others that are damaged.
pub fn check_rows(job: &DecodeJob, rows: &[PlannedRow]) -> Result<()> {
    for row in rows {
        job.options.geometry.check_slot(row.slot)?;
        job.pack(row.pack)?;
        if row.stored == 0
            || row.stored > row.plain
            || row.plain as usize > job.options.geometry.chunk_bytes()
        {
            return Err(NativeError::argument(format!(
                "the row of slot {} has no lengths of an entry",
                row.slot
            )));
        }
    }
    Ok(())
}

/// Fills `buffer` with a range of a pack, of whose plain bytes the limit is. What is wrong with the pack is told, and no reason to end the call.
pub fn fill(
    job: &DecodeJob,
    read: &PackRead,
    rows: &[PlannedRow],
    buffer: &mut AlignedBuf,
) -> Result<Result<()>> {
    let plain: usize = rows[read.rows.clone()]
        .iter()
        .map(|row| row.plain as usize)
        .sum();
    job.throttle
        .take(plain, &job.cancel, &job.counters.rate_wait_ns)?;
    match fill_range(job, read, buffer) {
        Err(error) if !is_damage(&error) => Err(error),
        outcome => Ok(outcome),
    }
}

fn fill_range(job: &DecodeJob, read: &PackRead, buffer: &mut AlignedBuf) -> Result<()> {
    let pack = job.pack(read.pack)?;
    let path = job.packs.path(&pack.id);
    let end = read.start + read.bytes as u64;
    if end > pack.bytes.next_multiple_of(PACK_ALIGNMENT as u64) || end > OBJECT_BYTES_MAX {
        return Err(NativeError::pack(read.start, "an entry lies beyond its end").in_pack(&path));
    }
    buffer.set_len(read.bytes);
    let file = job.packs.open(&pack.id)?;
    read_run(&*file, read.start, buffer, read.bytes)
        .map_err(|failure: ReadFailure| failure.of_pack(&path))?;
    job.counters
        .bytes_read_stored
        .fetch_add(read.bytes as u64, Ordering::Relaxed);
    Ok(())
}

/// Gives the plain bytes of `row`, from `read` if they are good there, else from any other copy. Only bytes
/// that their digest names come out; without such a copy it is the error of the first.
pub fn decode_row(
    job: &DecodeJob,
    row: &PlannedRow,
    read: (&PackRead, &Result<()>, &AlignedBuf),
    decoder: &mut Decoder,
    plain: &mut [u8],
) -> Result<()> {
    let (read, outcome, buffer) = read;
    let first = match outcome {
        Ok(()) => decode_stored(job, row, &buffer[stored_range(read, row)], decoder, plain),
        // One bad sector fails a whole range; the entry itself may be readable.
        Err(_) => decode_alone(job, row, decoder, plain),
    };
    let Err(error) = first else { return Ok(()) };
    if !is_damage(&error) {
        return Err(error);
    }
    for place in other_places(job, row)?.iter() {
        let entry = &place.entry;
        let other = PlannedRow {
            pack: job.number_of(place)?,
            offset: entry.offset,
            stored: entry.stored,
            plain: entry.plain,
            codec: entry.codec,
            ..*row
        };
        match decode_alone(job, &other, decoder, plain) {
            Ok(()) => return Ok(()),
            Err(other_error) if is_damage(&other_error) => {}
            Err(other_error) => return Err(other_error),
        }
    }
    Err(chunk_error(job, row, error))
}

/// As `decode_row`, for who wants the proof and not the bytes: those stored plain are hashed where they lie.
pub fn prove_row(
    job: &DecodeJob,
    row: &PlannedRow,
    read: (&PackRead, &Result<()>, &AlignedBuf),
    decoder: &mut Decoder,
    scratch: &mut [u8],
) -> Result<()> {
    let (range, outcome, buffer) = read;
    if outcome.is_ok() && row.codec == Codec::None && row.stored as usize == scratch.len() {
        let plain = &buffer[stored_range(range, row)];
        if digest::of_chunk(plain) == row.digest {
            job.counters
                .bytes_decoded
                .fetch_add(plain.len() as u64, Ordering::Relaxed);
            return Ok(());
        }
    }
    decode_row(job, row, read, decoder, scratch)
}

fn stored_range(read: &PackRead, row: &PlannedRow) -> Range<usize> {
    let (first, end) = extent(row);
    (first - read.start) as usize..(end - read.start) as usize
}

/// Reads an entry by itself, in a buffer beyond the job's bound, which damage may cost.
fn decode_alone(
    job: &DecodeJob,
    row: &PlannedRow,
    decoder: &mut Decoder,
    plain: &mut [u8],
) -> Result<()> {
    job.cancel.check()?;
    let reads = plan_reads(std::slice::from_ref(row), usize::MAX);
    let [read] = reads.as_slice() else {
        return Err(NativeError::internal("one row is one read"));
    };
    if row.stored as usize > job.options.geometry.chunk_bytes() {
        return Err(NativeError::pack(
            u64::from(row.offset),
            "an entry is longer than a chunk",
        ));
    }
    let mut buffer = AlignedBuf::with_capacity(read.bytes);
    fill_range(job, read, &mut buffer)?;
    decode_stored(job, row, &buffer[stored_range(read, row)], decoder, plain)
}

/// Decodes into exactly the slot's length and compares the digest (nothing is sized by stored data).
fn decode_stored(
    job: &DecodeJob,
    row: &PlannedRow,
    stored: &[u8],
    decoder: &mut Decoder,
    plain: &mut [u8],
) -> Result<()> {
    if plain.len() != row.plain as usize {
        return Err(NativeError::codec(format!(
            "{} bytes do not fit a slot of {}",
            row.plain,
            plain.len()
        )));
    }
    decoder.decode(row.codec, stored, plain)?;
    if digest::of_chunk(plain) != row.digest {
        return Err(NativeError::codec("the decoded bytes have another digest"));
    }
    job.counters
        .bytes_decoded
        .fetch_add(plain.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The failure of a chunk of which no copy is good, naming slot, digest and pack.
fn chunk_error(job: &DecodeJob, row: &PlannedRow, error: NativeError) -> NativeError {
    // A medium that cannot be read at all is the repository's failure, not a proof of wrong bytes.
    if matches!(error, NativeError::BackendFailed { .. }) {
        return error;
    }
    let path = job.pack(row.pack).ok().map(|pack| job.packs.path(&pack.id));
    let name = path
        .as_ref()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let message = format!(
        "slot {}, {} bytes at {} of pack {name}: {error}",
        row.slot, row.stored, row.offset
    );
    let offset = Some(job.options.geometry.offset(row.slot));
    NativeError::ChunkCorrupt {
        digest: row.digest,
        offset,
        path,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    fn row(pack: u32, offset: u32, stored: u32) -> PlannedRow {
        PlannedRow {
            slot: 0,
            digest: [0; 32],
            pack,
            offset,
            stored,
            plain: stored,
            codec: Codec::None,
        }
    }

    fn reads(rows: &[(u32, u32, u32)]) -> Vec<(u32, u64, usize, Range<usize>)> {
        let rows: Vec<_> = rows
            .iter()
            .map(|&(pack, offset, stored)| row(pack, offset, stored))
            .collect();
        plan_reads(&rows, 1 << 20)
            .into_iter()
            .map(|read| (read.pack, read.start, read.bytes, read.rows))
            .collect()
    }

    #[test]
    fn near_entries_are_read_in_one_go() {
        assert_eq!(reads(&[]), []);
        assert_eq!(reads(&[(0, 192, 100)]), [(0, 0, 4096, 0..1)]);
        assert_eq!(
            reads(&[(0, 192, 100), (0, 356, 5000), (0, 356, 5000)]),
            [(0, 0, 8192, 0..3)]
        );
        assert_eq!(
            reads(&[(0, 4095, 2), (1, 4095, 2)]),
            [(0, 0, 8192, 0..1), (1, 0, 8192, 1..2)]
        );
    }

    #[test]
    fn far_entries_backward_steps_and_full_buffers_begin_a_new_read() {
        let far = 100 + GAP_BYTES_MAX as u32;
        assert_eq!(reads(&[(0, 0, 100), (0, far, 1)]).len(), 1);
        assert_eq!(reads(&[(0, 0, 100), (0, far + 1, 1)]).len(), 2);
        assert_eq!(
            reads(&[(0, 8192, 1), (0, 0, 1)]),
            [(0, 8192, 4096, 0..1), (0, 0, 4096, 1..2)]
        );
        let half = 1 << 19;
        assert_eq!(
            reads(&[(0, 0, half), (0, half, half), (0, 2 * half, 1)]).len(),
            2
        );
    }
}
