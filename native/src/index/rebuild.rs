//! The index from packs alone: from their tables, or from their frames where a table is damaged.
//!
//! Entries are sorted in runs of a bounded length, which are segments themselves in temporary files; merging
//! the runs gives the segments that are wanted.

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::Decoder;
use crate::digest::Digest;
use crate::error::{NativeError, Result};
use crate::object::Object;
use crate::pack::{
    Entry, OBJECT_BYTES_MAX, PACK_HEADER_BYTES, PackHeader, REPOSITORY_ID_BYTES, ReadAt,
    read_footer, scan_frames,
};

use super::merge::merge_segments;
use super::row::{PackRecord, Row};
use super::segment::Segment;
use super::writer::Written;
use super::{Output, SEGMENT_BYTES_MAX, SegmentFile, keep, write_rows};

/// Rows sorted in memory at a time: 26 MiB.
const RUN_ROWS: usize = 1 << 19;
/// A bad sector costs this much of a pack, and the frames that touch it.
const SECTOR_BYTES: usize = 4096;
const READ_BYTES: usize = 1 << 20;

/// What rebuilding the index from packs gave.
#[derive(Debug)]
pub struct Rebuilt {
    pub segments: Vec<SegmentFile>,
    pub damaged: Vec<DamagedPack>,
}

/// A pack that is not as it was written; what its frames still prove is in the segments.
#[derive(Debug)]
pub struct DamagedPack {
    pub path: PathBuf,
    pub id: Digest,
    pub message: String,
}

/// Writes segments from the packs alone. A damaged pack is reported and gives what it still proves; any other
/// failure ends the rebuild, since entries left out of an index look like entries lost.
pub fn write_pack_segments(packs: &[(PathBuf, Digest)], output: &Output<'_>) -> Result<Rebuilt> {
    rebuild(packs, output, RUN_ROWS)
}

pub(super) fn rebuild(
    packs: &[(PathBuf, Digest)],
    output: &Output<'_>,
    run_rows: usize,
) -> Result<Rebuilt> {
    let mut runs = Runs::new(output, run_rows);
    let mut damaged = Vec::new();
    for (path, id) in packs {
        let object = Object::open(path)?;
        let mut read = |offset, bytes: &mut [u8]| object.read_at(offset, bytes);
        let (entries, damage) = read_pack(object.bytes(), &mut read, &output.repository_id)?;
        damaged.extend(damage.map(|error| DamagedPack {
            path: path.clone(),
            id: *id,
            message: error.in_pack(path).to_string(),
        }));
        runs.push(
            PackRecord {
                id: *id,
                bytes: object.bytes(),
            },
            &entries,
        )?;
    }
    Ok(Rebuilt {
        segments: keep(runs.finish()?),
        damaged,
    })
}

/// A pack's entries, and what is wrong with it.
pub(super) fn read_pack(
    pack_bytes: u64,
    read: &mut ReadAt<'_>,
    repository_id: &[u8; REPOSITORY_ID_BYTES],
) -> Result<(Vec<Entry>, Option<NativeError>)> {
    let header = damage(read_header(pack_bytes, read))?;
    if header
        .as_ref()
        .is_ok_and(|header| header.repository_id != *repository_id)
    {
        return Ok((
            Vec::new(),
            Some(NativeError::pack(0, "belongs to another repository")),
        ));
    }
    Ok(match damage(read_footer(pack_bytes, read))? {
        Ok(entries) => (entries, header.err()),
        Err(_) if pack_bytes > OBJECT_BYTES_MAX => (
            Vec::new(),
            Some(NativeError::pack(None, "is longer than any pack")),
        ),
        Err(error) => {
            let bytes = read_whole(pack_bytes as usize, read)?;
            (scan_frames(&bytes, &mut Decoder::new()?), Some(error))
        }
    })
}

fn read_header(pack_bytes: u64, read: &mut ReadAt<'_>) -> Result<PackHeader> {
    if pack_bytes < PACK_HEADER_BYTES as u64 {
        return Err(NativeError::pack(0, "is shorter than its header"));
    }
    let mut header = [0; PACK_HEADER_BYTES];
    read(0, &mut header)?;
    PackHeader::from_bytes(&header)
}

/// Tells the pack's own damage, bad sectors included (inner result), from failures that say nothing of it.
fn damage<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(error) if error.code() == "PACK_CORRUPT" || is_bad_sector(&error) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}

fn is_bad_sector(error: &NativeError) -> bool {
    error.os() == Some("EIO")
}

/// The pack's bytes with zeroes for bad sectors. Nothing is believed of them: a frame must prove its digest.
fn read_whole(pack_bytes: usize, read: &mut ReadAt<'_>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; pack_bytes];
    for (number, block) in bytes.chunks_mut(READ_BYTES).enumerate() {
        let block_at = (number * READ_BYTES) as u64;
        match read(block_at, block) {
            Err(error) if is_bad_sector(&error) => read_good_sectors(block_at, block, read)?,
            outcome => outcome?,
        }
    }
    Ok(bytes)
}

fn read_good_sectors(block_at: u64, block: &mut [u8], read: &mut ReadAt<'_>) -> Result<()> {
    for (number, sector) in block.chunks_mut(SECTOR_BYTES).enumerate() {
        match read(block_at + (number * SECTOR_BYTES) as u64, sector) {
            Err(error) if is_bad_sector(&error) => sector.fill(0),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Rows on their way to sorted runs.
struct Runs<'a> {
    output: &'a Output<'a>,
    run_rows: usize,
    rows: Vec<Row>,
    packs: Vec<PackRecord>,
    spilled: Vec<Written>,
}

impl<'a> Runs<'a> {
    fn new(output: &'a Output<'a>, run_rows: usize) -> Self {
        Self {
            output,
            run_rows,
            rows: Vec::new(),
            packs: Vec::new(),
            spilled: Vec::new(),
        }
    }

    fn push(&mut self, pack: PackRecord, entries: &[Entry]) -> Result<()> {
        if !self.rows.is_empty() && self.rows.len() + entries.len() > self.run_rows {
            self.spill()?;
        }
        // A run is short, so that its packs are few.
        let number = self.packs.len() as u32;
        self.packs.push(pack);
        self.rows.extend(entries.iter().map(|&entry| Row {
            pack: number,
            entry,
        }));
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let run = Output {
            replaces: &[],
            segment_bytes_max: SEGMENT_BYTES_MAX,
            ..*self.output
        };
        self.spilled
            .extend(write_rows(&mut self.rows, &self.packs, &run)?);
        self.rows.clear();
        self.packs.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Written>> {
        if self.spilled.is_empty() {
            return write_rows(&mut self.rows, &self.packs, self.output);
        }
        self.spill()?;
        // The last run takes as much memory as the merge itself, which begins now.
        self.rows = Vec::new();
        let open = |run: &Written| Segment::open_as(run.path(), run.id()).map(Arc::new);
        let segments = self.spilled.iter().map(open).collect::<Result<Vec<_>>>()?;
        merge_segments(&segments, self.output)
    }
}
