//! The chunk index: (kind, digest) to entry, in immutable sorted segments that are mapped, not read.
//!
//! A lookup that finds something is right, one that fails says so, and only a clear "no" is a no: damage in a
//! segment is reported unless another one has the answer. `find_likely`, asked for every chunk of a backup, trusts
//! the filters; `find`, asked by a restore, does not.

mod check;
mod filter;
mod layout;
mod merge;
mod rebuild;
mod row;
mod search;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::digest::Digest;
use crate::error::{NativeError, Result};
use crate::pack::{Entry, EntryType, REPOSITORY_ID_BYTES};

use row::{PackRecord, Row};
use segment::Segment;
use writer::{PlacedEntry, SegmentWriter, Written};

pub use check::check_segment;
pub use rebuild::{DamagedPack, Rebuilt, write_pack_segments};

/// A writer begins another segment before one gets longer than this ...
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// ... and a reader refuses one that is longer than this.
pub const SEGMENT_BYTES_READ_MAX: u64 = 2 * SEGMENT_BYTES_MAX;
/// Entries of one digest that a segment keeps. More copies serve no one, and memory has a bound.
pub const ROWS_PER_DIGEST_MAX: usize = 1024;

/// Where a digest is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Number of the segment, never given to another one in the life of its `ChunkIndex`.
    pub segment: u32,
    /// Number of the row in the segment: with `segment`, the bit of this entry in a job's bit set.
    pub rank: u64,
    pub pack_id: Digest,
    pub pack_bytes: u64,
    pub entry: Entry,
}

/// What is told of a segment in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    pub id: Digest,
    /// As in `Located`.
    pub segment: u32,
    pub bytes: u64,
    /// Ranks run from 0 to here.
    pub entries: u64,
    pub replaces: Vec<Digest>,
}

/// Where new segments go.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    pub repository_id: [u8; REPOSITORY_ID_BYTES],
    /// Put before the names of temporary files.
    pub temp_prefix: &'a str,
    /// Ids of segments that the new ones replace, all of them together: only the last file names them, so
    /// that files published in their order never replace what is not all there. One that is written again
    /// replaces nothing and is not named.
    pub replaces: &'a [Digest],
    /// `SEGMENT_BYTES_MAX`, except in tests.
    pub segment_bytes_max: u64,
}

/// A new segment, durable under a temporary name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    pub id: Digest,
    pub path: PathBuf,
    pub bytes: u64,
    pub entries: u64,
}

/// A pack and its entries, in any order.
#[derive(Debug, Clone)]
pub struct PackEntries {
    pub id: Digest,
    pub bytes: u64,
    pub entries: Arc<[Entry]>,
}

/// Chunks by digest over any number of segments, shared by all threads of all jobs on a repository.
pub struct ChunkIndex {
    repository_id: [u8; REPOSITORY_ID_BYTES],
    state: RwLock<State>,
}

struct State {
    snapshot: Snapshot,
    next_number: u32,
}

/// The segments at one moment. Lookups in it wait for no one; hold it for a batch of them.
#[derive(Clone, Default)]
pub struct Snapshot {
    members: Arc<[Member]>,
}

#[derive(Clone)]
struct Member {
    number: u32,
    segment: Arc<Segment>,
}

impl ChunkIndex {
    pub fn new(repository_id: [u8; REPOSITORY_ID_BYTES]) -> Self {
        let state = State {
            snapshot: Snapshot::default(),
            next_number: 0,
        };
        Self {
            repository_id,
            state: RwLock::new(state),
        }
    }

    /// Maps segments, whose file names are their ids, and makes them visible together or not at all. One that
    /// is there already is left alone.
    pub fn add_segments(&self, paths: &[PathBuf]) -> Result<()> {
        let segments = paths
            .iter()
            .map(|path| self.open(path))
            .collect::<Result<Vec<_>>>()?;
        let mut state = self.write();
        let mut members = state.snapshot.members.to_vec();
        for segment in segments {
            if members
                .iter()
                .all(|member| member.segment.id() != segment.id())
            {
                members.push(Member {
                    number: state.next_number,
                    segment: Arc::new(segment),
                });
                state.next_number += 1;
            }
        }
        state.snapshot.members = members.into();
        Ok(())
    }

    fn open(&self, path: &std::path::Path) -> Result<Segment> {
        let segment = Segment::open(path)?;
        if segment.header().repository_id != self.repository_id {
            return Err(segment.corrupt(None, "belongs to another repository"));
        }
        Ok(segment)
    }

    /// Forgets segments; lookups under way still see them. Unknown ids are no error.
    pub fn drop_segments(&self, ids: &[Digest]) {
        let mut state = self.write();
        let members = state
            .snapshot
            .members
            .iter()
            .filter(|member| !ids.contains(&member.segment.id()));
        state.snapshot.members = members.cloned().collect();
    }

    pub fn segments(&self) -> Vec<SegmentInfo> {
        let describe = |Member { number, segment }: &Member| SegmentInfo {
            id: segment.id(),
            segment: *number,
            bytes: segment.bytes(),
            entries: segment.header().counts.entries,
            replaces: segment.replaces(),
        };
        self.snapshot().members.iter().map(describe).collect()
    }

    pub fn snapshot(&self) -> Snapshot {
        self.read().snapshot.clone()
    }

    /// See `Snapshot::find_likely`.
    pub fn find_likely(&self, kind: EntryType, digest: &Digest) -> Result<Option<Located>> {
        self.snapshot().find_likely(kind, digest)
    }

    /// See `Snapshot::knows`.
    pub fn knows(&self, kind: EntryType, digest: &Digest) -> Result<bool> {
        self.snapshot().knows(kind, digest)
    }

    /// See `Snapshot::find`.
    pub fn find(&self, kind: EntryType, digest: &Digest) -> Result<Option<Located>> {
        self.snapshot().find(kind, digest)
    }

    /// See `Snapshot::find_all`.
    pub fn find_all(&self, kind: EntryType, digest: &Digest) -> Result<Vec<Located>> {
        self.snapshot().find_all(kind, digest)
    }

    /// Writes the rows of these segments as new ones that replace them; the index itself stays as it is.
    /// `temp_prefix` is put before the names of the temporary files. Where one of them is no longer in the
    /// index, another merge was faster, and there is nothing to do.
    pub fn merge(
        &self,
        ids: &[Digest],
        temp_prefix: &str,
        segment_bytes_max: u64,
    ) -> Result<Vec<SegmentFile>> {
        let snapshot = self.snapshot();
        let segments: Option<Vec<_>> = ids.iter().map(|id| snapshot.segment(id)).collect();
        let Some(segments) = segments else {
            return Ok(Vec::new());
        };
        let repository_id = self.repository_id;
        let output = Output {
            repository_id,
            temp_prefix,
            replaces: ids,
            segment_bytes_max,
        };
        Ok(keep(merge::merge_segments(&segments, &output)?))
    }

    /// A list of segments is whole at any moment, whatever thread died while it held the lock.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// A place where a chunk is stored, where a filter says that there may be one: what a backup asks of every
    /// chunk that it reads. A new chunk costs a line of memory for each filter and no page, but once in a
    /// hundred. A false "none" costs space, and comes only of a damaged filter.
    pub fn find_likely(&self, kind: EntryType, digest: &Digest) -> Result<Option<Located>> {
        let likely = self
            .members
            .iter()
            .filter(|member| member.segment.may_hold(digest));
        first(likely, kind, digest)
    }

    /// Whether `find_likely` finds it.
    pub fn knows(&self, kind: EntryType, digest: &Digest) -> Result<bool> {
        Ok(self.find_likely(kind, digest)?.is_some())
    }

    /// A place where a chunk is stored. The filters only say where to look first.
    pub fn find(&self, kind: EntryType, digest: &Digest) -> Result<Option<Located>> {
        let (likely, unlikely): (Vec<_>, Vec<_>) = self
            .members
            .iter()
            .partition(|member| member.segment.may_hold(digest));
        first(likely.into_iter().chain(unlikely), kind, digest)
    }

    /// Every place where a chunk is stored, damaged segments left out unless nothing is left.
    pub fn find_all(&self, kind: EntryType, digest: &Digest) -> Result<Vec<Located>> {
        let mut places = Vec::new();
        let mut failure = None;
        for member in self.members.iter() {
            match member.find_all(kind, digest) {
                Ok(found) => places.extend(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if places.is_empty() => Err(error),
            _ => Ok(places),
        }
    }

    fn segment(&self, id: &Digest) -> Option<Arc<Segment>> {
        let member = self
            .members
            .iter()
            .find(|member| member.segment.id() == *id);
        member.map(|member| Arc::clone(&member.segment))
    }
}

/// The first place that any of the segments knows. An error matters only where all others say no.
fn first<'a>(
    members: impl Iterator<Item = &'a Member>,
    kind: EntryType,
    digest: &Digest,
) -> Result<Option<Located>> {
    let mut failure = None;
    for member in members {
        match member.find_all(kind, digest) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => return Ok(found.first().copied()),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(None), Err)
}

impl Member {
    fn find_all(&self, kind: EntryType, digest: &Digest) -> Result<Vec<Located>> {
        let rows = self.segment.rows(kind, digest)?;
        rows.into_iter()
            .map(|row| self.segment.locate(self.number, row))
            .collect()
    }
}

/// Writes the entries of packs as sorted segments. None for no packs, unless there is something to replace.
pub fn write_segments(packs: &[PackEntries], output: &Output<'_>) -> Result<Vec<SegmentFile>> {
    let records: Vec<PackRecord> = packs
        .iter()
        .map(|pack| PackRecord {
            id: pack.id,
            bytes: pack.bytes,
        })
        .collect();
    let mut rows = Vec::with_capacity(packs.iter().map(|pack| pack.entries.len()).sum());
    for (number, pack) in packs.iter().enumerate() {
        let number =
            u32::try_from(number).map_err(|_| NativeError::argument("too many packs at once"))?;
        rows.extend(pack.entries.iter().map(|&entry| Row {
            pack: number,
            entry,
        }));
    }
    Ok(keep(write_rows(&mut rows, &records, output)?))
}

/// Sorts rows, whose packs are numbers of `packs`, and writes them.
fn write_rows(rows: &mut [Row], packs: &[PackRecord], output: &Output<'_>) -> Result<Vec<Written>> {
    rows.sort_unstable_by(Row::order);
    let mut writer = SegmentWriter::new(output);
    let mut group = Vec::new();
    for same in rows.chunk_by(|before, after| before.entry.digest == after.entry.digest) {
        group.clear();
        group.extend(same.iter().map(|row| PlacedEntry {
            entry: row.entry,
            pack: packs[row.pack as usize],
        }));
        writer.push(&group)?;
    }
    writer.finish()
}

fn keep(written: Vec<Written>) -> Vec<SegmentFile> {
    written.into_iter().map(Written::keep).collect()
}
