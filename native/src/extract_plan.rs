//! Slots and digests to rows that say where each chunk is, in an order that reads well, cut into batches.

use std::sync::Arc;

use crate::batch::{PlannedRow, WantedRow};
use crate::decode_job::DecodeJob;
use crate::digest::Digest;
use crate::error::{NativeError, Result};
use crate::index::Located;
use crate::pack::EntryType;

/// In which order the chunks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they lie in packs, so that packs are read once and forward.
    Pack,
    /// As they lie on the volume.
    Slot,
}

#[derive(Debug, Default)]
pub struct ExtractPlan {
    pub rows: Vec<PlannedRow>,
    /// Batch n is the rows from bound n up to bound n + 1.
    pub bounds: Vec<u32>,
    /// What the index does not know; only of a tolerant job.
    pub missing: Vec<WantedRow>,
}

/// How often looking up many digests looks at the cancel flag.
const LOOKUPS_PER_CHECK: usize = 1024;

/// Looks up each slot's chunk. CHUNK_MISSING for one that no segment knows, unless the job is tolerant.
pub fn plan_extract(
    job: &DecodeJob,
    slots: &[WantedRow],
    order: Order,
    batch_bytes: u64,
) -> Result<ExtractPlan> {
    let mut plan = ExtractPlan {
        rows: Vec::with_capacity(slots.len()),
        ..ExtractPlan::default()
    };
    for slot in slots {
        job.options.geometry.check_slot(slot.slot)?;
    }
    find_rows(job, slots, &mut plan)?;
    match order {
        Order::Pack => plan
            .rows
            .sort_unstable_by_key(|row| (row.pack, row.offset, row.slot)),
        Order::Slot => plan.rows.sort_unstable_by_key(|row| row.slot),
    }
    plan.missing.sort_unstable_by_key(|row| row.slot);
    plan.bounds = cut(&plan.rows, order, batch_bytes);
    Ok(plan)
}

/// In the order of digests, in which the index's pages lie, and each digest once.
fn find_rows(job: &DecodeJob, slots: &[WantedRow], plan: &mut ExtractPlan) -> Result<()> {
    let mut by_digest: Vec<&WantedRow> = slots.iter().collect();
    by_digest.sort_unstable_by_key(|row| (row.digest, row.slot));
    for (number, same) in by_digest
        .chunk_by(|one, next| one.digest == next.digest)
        .enumerate()
    {
        if number.is_multiple_of(LOOKUPS_PER_CHECK) {
            job.cancel.check()?;
        }
        let digest = same[0].digest;
        match job.index.find(EntryType::Chunk, &digest)? {
            Some(located) => push_rows(job, &located, same, plan)?,
            None if job.options.is_tolerant => plan.missing.extend(same.iter().copied()),
            None => return Err(missing(job, &digest, same[0].slot)),
        }
    }
    Ok(())
}

fn push_rows(
    job: &DecodeJob,
    located: &Located,
    same: &[&WantedRow],
    plan: &mut ExtractPlan,
) -> Result<()> {
    if job.options.is_once && !job.is_first_plan_of(located) {
        return Ok(());
    }
    let pack = job.number_of(located)?;
    let entry = &located.entry;
    // Whoever checks each entry once has no use for its other slots.
    let same = if job.options.is_once {
        &same[..1]
    } else {
        same
    };
    plan.rows.extend(same.iter().map(|row| PlannedRow {
        slot: row.slot,
        digest: row.digest,
        pack,
        offset: entry.offset,
        stored: entry.stored,
        plain: entry.plain,
        codec: entry.codec,
    }));
    Ok(())
}

fn missing(job: &DecodeJob, digest: &Digest, slot: u64) -> NativeError {
    NativeError::ChunkMissing {
        digest: *digest,
        offset: Some(job.options.geometry.offset(slot)),
    }
}

/// Bounds of batches of about `batch_bytes`: a pack that still fits is not cut, and neither are the slots of
/// one entry, which is decoded once for all of them.
fn cut(rows: &[PlannedRow], order: Order, batch_bytes: u64) -> Vec<u32> {
    let mut bounds = vec![0];
    let (mut begun, mut bytes) = (0_usize, 0_u64);
    for group in rows.chunk_by(|one, next| order == Order::Pack && one.pack == next.pack) {
        let group_bytes: u64 = group.iter().map(|row| u64::from(row.plain)).sum();
        if bytes > 0 && bytes + group_bytes > batch_bytes {
            bounds.push(begun as u32);
            bytes = 0;
        }
        for same in group.chunk_by(|one, next| order == Order::Pack && one.offset == next.offset) {
            if bytes >= batch_bytes {
                bounds.push(begun as u32);
                bytes = 0;
            }
            begun += same.len();
            bytes += same.iter().map(|row| u64::from(row.plain)).sum::<u64>();
        }
    }
    if begun > 0 {
        bounds.push(begun as u32);
    }
    bounds
}

/// Every place of a chunk but the one that turned out bad.
pub fn other_places(job: &DecodeJob, row: &PlannedRow) -> Result<Arc<[Located]>> {
    let bad = job.pack(row.pack)?.id;
    let all = job.index.find_all(EntryType::Chunk, &row.digest)?;
    Ok(all
        .into_iter()
        .filter(|place| place.pack_id != bad || place.entry.offset != row.offset)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    fn row(slot: u64, pack: u32, offset: u32) -> PlannedRow {
        PlannedRow {
            slot,
            digest: [0; 32],
            pack,
            offset,
            stored: 10,
            plain: 10,
            codec: Codec::None,
        }
    }

    #[test]
    fn batches_end_where_packs_do_if_they_can() {
        for (picture, batch_bytes, expected) in [
            // Each character is a row of 10 bytes in the pack of that name.
            ("", 30, vec![0]),
            ("aaabbb", 30, vec![0, 3, 6]),
            ("aabbcc", 40, vec![0, 4, 6]),
            ("aaaaaaa", 30, vec![0, 3, 6, 7]),
            ("abbb", 30, vec![0, 1, 4]),
            ("abc", 1, vec![0, 1, 2, 3]),
        ] {
            let packs = picture.bytes().enumerate();
            let rows: Vec<_> = packs
                .map(|(at, pack)| row(at as u64, u32::from(pack), at as u32))
                .collect();
            assert_eq!(cut(&rows, Order::Pack, batch_bytes), expected, "{picture}");
        }
    }

    #[test]
    fn the_slots_of_one_entry_stay_in_one_batch() {
        let rows: Vec<_> = [0, 0, 0, 0, 1, 1]
            .iter()
            .enumerate()
            .map(|(at, &offset)| row(at as u64, 0, offset))
            .collect();
        assert_eq!(cut(&rows, Order::Pack, 20), [0, 4, 6]);
    }
}
