//! One backup's encoding: what its calls share. Claims, open packs, buffers and counters live here, whatever
//! the number of worker threads; the loop over the volume's bytes is in `ingest`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::aligned_buf::ALIGNMENT;
use crate::buffer_pool::BufferPool;
use crate::cancel::Cancel;
use crate::claims::{Claims, Name};
use crate::codec::{Codec, Encoder};
use crate::digest::{DIGEST_BYTES, Digest};
use crate::error::{NativeError, Result};
use crate::geometry::Geometry;
use crate::index::{
    ChunkIndex, Output, PackEntries, SEGMENT_BYTES_MAX, SegmentFile, write_segments,
};
use crate::pack::{EntryType, PACK_BYTES_MAX, REPOSITORY_ID_BYTES};
use crate::pack_folder::{PackFolder, id_in_name};
use crate::pack_writer::{Filling, PackSpool, SpoolOptions, TempFiles, WrittenPack};
use crate::throttle::Throttle;
use crate::transfer::ReadAt;
use crate::waiting::lock;

/// Large reads keep a device busy; larger ones only take memory.
const UNIT_BYTES_MAX: usize = 4 << 20;
/// Buffers that no device needs more of.
const UNITS_MAX: usize = 64;
/// Open packs beyond one a writer: one a computing thread, as far as memory goes.
const OPEN_PACKS_MAX: usize = 8;
/// Header, table and trailer of a pack that holds one chunk.
const PACK_OVERHEAD_BYTES: usize = 2 * ALIGNMENT;

/// What an encoding job is told, once.
#[derive(Debug, Clone)]
pub struct EncodeOptions {
    pub geometry: Geometry,
    pub codec: Codec,
    /// zstd's, 1..=19; the other codecs have none.
    pub level: i32,
    pub pack_bytes: usize,
    pub packs_root: PathBuf,
    /// Put before the names of temporary files: folder, session, dot.
    pub temp_prefix: String,
    pub repository_id: [u8; REPOSITORY_ID_BYTES],
    /// Reader threads of each `ingest` call.
    pub readers: usize,
    /// Writer threads of the job.
    pub writers: usize,
    /// Read buffers and packs together, of all calls.
    pub bytes_in_flight_max: usize,
    /// Of the source; zero means no limit.
    pub bytes_per_second: u64,
}

/// What became of the volume's bytes so far, and what the computing threads waited for.
#[derive(Debug, Default)]
pub struct EncodeCounters {
    pub bytes_read: AtomicU64,
    pub bytes_zero: AtomicU64,
    pub bytes_known: AtomicU64,
    pub bytes_stored: AtomicU64,
    pub stored_bytes_out: AtomicU64,
    pub read_wait_ns: AtomicU64,
    pub rate_wait_ns: AtomicU64,
    pub slots_done: AtomicU64,
}

pub struct EncodeJob {
    pub(crate) options: EncodeOptions,
    pub(crate) source: Option<Arc<dyn ReadAt>>,
    pub(crate) buffers: BufferPool,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) throttle: Throttle,
    pub(crate) counters: EncodeCounters,
    pub(crate) spool: PackSpool,
    index: Arc<ChunkIndex>,
    packs: PackFolder,
    claims: Claims,
    encoders: Mutex<Vec<Encoder>>,
    /// Packs whose files are the caller's, until their entries are in a segment.
    taken: Mutex<HashMap<Digest, PackEntries>>,
    published: Mutex<Vec<Published>>,
}

/// Names that can be forgotten when all segments that hold them are in the index.
struct Published {
    awaited: HashSet<Digest>,
    names: Vec<Name>,
}

impl EncodeJob {
    /// Starts the job's writers. ARGUMENT_INVALID where the memory does not hold a pack of one chunk twice.
    pub fn open(
        options: EncodeOptions,
        source: Option<Arc<dyn ReadAt>>,
        index: Arc<ChunkIndex>,
        files: Box<dyn TempFiles>,
    ) -> Result<Self> {
        let memory = MemoryPlan::of(&options)?;
        let cancel = Arc::new(Cancel::default());
        let spool_options = SpoolOptions {
            repository_id: options.repository_id,
            temp_prefix: options.temp_prefix.clone(),
            pack_bytes: memory.pack_bytes,
            buffers_max: memory.packs,
            writers: options.writers,
        };
        Ok(Self {
            spool: PackSpool::start(spool_options, files, cancel.clone())?,
            buffers: BufferPool::new(memory.unit_bytes, memory.units),
            packs: PackFolder::new(&options.packs_root),
            throttle: Throttle::new(options.bytes_per_second),
            counters: EncodeCounters::default(),
            claims: Claims::new(),
            encoders: Mutex::default(),
            taken: Mutex::default(),
            published: Mutex::default(),
            source,
            index,
            cancel,
            options,
        })
    }

    /// Stores pages that are not known yet, and gives the digests of all, 32 bytes each, in order.
    pub fn store_pages(&self, pages: &[u8], lengths: &[u32]) -> Result<Vec<u8>> {
        let total: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
        if total != pages.len() as u64 || lengths.contains(&0) {
            return Err(NativeError::argument(format!(
                "{} bytes are not pages of {total} in all",
                pages.len()
            )));
        }
        let mut encoder = Encoder::new(Codec::None, 0)?;
        let mut filling = None;
        let mut digests = Vec::with_capacity(lengths.len() * DIGEST_BYTES);
        let mut rest = pages;
        for &length in lengths {
            self.spool.check()?;
            let (page, behind) = rest.split_at(length as usize);
            rest = behind;
            let digest = EntryType::Page.digest_of(page);
            self.store((EntryType::Page, digest), page, &mut filling, &mut encoder)?;
            digests.extend_from_slice(&digest);
        }
        Ok(digests)
    }

    /// Stores what nobody has stored or claimed; the stored bytes it took, or None where it was known.
    pub(crate) fn store<'a>(
        &'a self,
        name: Name,
        plain: &[u8],
        filling: &mut Option<Filling<'a>>,
        encoder: &mut Encoder,
    ) -> Result<Option<u32>> {
        if self.is_known(&name)? || !self.claims.claim(name) {
            return Ok(None);
        }
        // From here on others take this chunk for stored, so failing to store it fails the job.
        let stored = self.put(name, plain, filling, encoder);
        stored
            .map(Some)
            .inspect_err(|error| self.spool.poison(error.clone()))
    }

    fn put<'a>(
        &'a self,
        (kind, digest): Name,
        plain: &[u8],
        filling: &mut Option<Filling<'a>>,
        encoder: &mut Encoder,
    ) -> Result<u32> {
        if !filling
            .as_ref()
            .is_some_and(|pack| pack.has_room(plain.len()))
        {
            filling.take().into_iter().for_each(Filling::seal);
        }
        let pack = match filling {
            Some(pack) => pack,
            None => filling.insert(self.spool.open(kind, plain.len())?),
        };
        Ok(pack.builder()?.push(digest, plain, encoder)?.stored)
    }

    /// Known is what this job stores, or what a pack holds that is there and whole: an entry of any other
    /// pack is no reason not to store the chunk again.
    fn is_known(&self, name: &Name) -> Result<bool> {
        if self.claims.holds(name) {
            return Ok(true);
        }
        let (kind, digest) = name;
        let Some(first) = self.index.find_likely(*kind, digest)? else {
            return Ok(false);
        };
        if self.packs.is_whole(&first.pack_id, first.pack_bytes)? {
            return Ok(true);
        }
        for other in self.index.find_all(*kind, digest)? {
            if self.packs.is_whole(&other.pack_id, other.pack_bytes)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Seals what is open and waits until all packs are durable. Not while a call is storing.
    pub fn flush(&self) -> Result<()> {
        self.spool.flush()
    }

    /// The packs that became durable since the last call, to be linked under their names by the caller.
    pub fn take_sealed(&self) -> Result<Vec<WrittenPack>> {
        let packs = self.spool.take_sealed()?;
        let mut taken = lock(&self.taken);
        for pack in &packs {
            let entries = PackEntries {
                id: pack.id,
                bytes: pack.bytes,
                entries: pack.entries.clone(),
            };
            taken.insert(pack.id, entries);
        }
        Ok(packs)
    }

    /// Writes the entries of taken packs as segments, durable under temporary names.
    pub fn write_segments(&self, ids: &[Digest]) -> Result<Vec<SegmentFile>> {
        self.spool.check()?;
        let packs = self.entries_of(ids)?;
        let output = Output {
            repository_id: self.options.repository_id,
            temp_prefix: &self.options.temp_prefix,
            replaces: &[],
            segment_bytes_max: SEGMENT_BYTES_MAX,
        };
        let segments = write_segments(&packs, &output)?;
        let entries = packs.iter().flat_map(|pack| pack.entries.iter());
        lock(&self.published).push(Published {
            awaited: segments.iter().map(|segment| segment.id).collect(),
            names: entries.map(|entry| (entry.kind, entry.digest)).collect(),
        });
        lock(&self.taken).retain(|id, _| !ids.contains(id));
        Ok(segments)
    }

    fn entries_of(&self, ids: &[Digest]) -> Result<Vec<PackEntries>> {
        let taken = lock(&self.taken);
        let entries = ids.iter().map(|id| taken.get(id).cloned());
        entries
            .collect::<Option<_>>()
            .ok_or_else(|| NativeError::argument("a pack is not one that was taken"))
    }

    /// Adds published segments to the index and forgets the claims that they make unnecessary.
    pub fn adopt_segments(&self, paths: &[PathBuf]) -> Result<()> {
        self.index.add_segments(paths)?;
        let mut published = lock(&self.published);
        for path in paths {
            let id = id_in_name(path)?;
            for group in published.iter_mut() {
                group.awaited.remove(&id);
            }
        }
        for group in published.extract_if(.., |group| group.awaited.is_empty()) {
            self.claims.forget(&group.names);
        }
        Ok(())
    }

    /// The counters in the order that `src/native/addon.ts` knows.
    pub fn counter_values(&self) -> [u64; 11] {
        let (own, spool) = (&self.counters, self.spool.counters());
        [
            &own.bytes_read,
            &own.bytes_zero,
            &own.bytes_known,
            &own.bytes_stored,
            &own.stored_bytes_out,
            &spool.packs_written,
            &spool.pack_bytes_written,
            &own.read_wait_ns,
            &spool.waited_ns,
            &own.rate_wait_ns,
            &own.slots_done,
        ]
        .map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Makes every call of the job end soon with CANCELLED.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Ends the job's threads and removes the files that nobody took. May be called again.
    pub fn close(&self) {
        self.cancel.cancel();
        self.spool.close();
    }

    /// An encoder that no other call uses, to be given back for the next one.
    pub(crate) fn lend_encoder(&self) -> Result<Encoder> {
        match lock(&self.encoders).pop() {
            Some(encoder) => Ok(encoder),
            None => Encoder::new(self.options.codec, self.options.level),
        }
    }

    pub(crate) fn return_encoder(&self, encoder: Encoder) {
        lock(&self.encoders).push(encoder);
    }
}

/// How the bytes in flight are divided: two thirds for packs, the rest for reading. With little memory,
/// packs are smaller than they might be.
#[derive(Debug, PartialEq, Eq)]
struct MemoryPlan {
    packs: usize,
    pack_bytes: usize,
    unit_bytes: usize,
    units: usize,
}

impl MemoryPlan {
    fn of(options: &EncodeOptions) -> Result<Self> {
        let chunk = options.geometry.chunk_bytes();
        let all = options.bytes_in_flight_max;
        if options.readers == 0 || options.writers == 0 {
            return Err(NativeError::argument("a job needs a reader and a writer"));
        }
        let pack = options.pack_bytes.min(all / 2);
        let pack_bytes = pack - pack % ALIGNMENT;
        if !(chunk + PACK_OVERHEAD_BYTES..=PACK_BYTES_MAX).contains(&pack_bytes) {
            let message = format!("packs of {pack_bytes} bytes are not for chunks of {chunk}");
            return Err(NativeError::argument(message));
        }
        let packs = (all / 3 * 2 / pack_bytes).clamp(1, options.writers + OPEN_PACKS_MAX);
        let left = all - packs * pack_bytes;
        let most = UNIT_BYTES_MAX
            .max(chunk)
            .min(paced_bytes(options.bytes_per_second));
        let unit = (left / (options.readers + 2)).min(most);
        let unit_bytes = (unit - unit % chunk).max(chunk);
        let units = (left / unit_bytes).min(UNITS_MAX);
        Ok(Self {
            packs,
            pack_bytes,
            unit_bytes,
            units,
        })
    }
}

/// Under a limit, reads of a tenth of a second keep the flow even.
fn paced_bytes(bytes_per_second: u64) -> usize {
    if bytes_per_second == 0 {
        usize::MAX
    } else {
        usize::try_from(bytes_per_second / 10).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rig;

    #[test]
    fn memory_is_divided_within_its_bound_or_refused() {
        const MIB: usize = 1 << 20;
        let rig = Rig::new();
        for (chunk, pack, all, rate, expected) in [
            // packs, bytes of each, units, bytes of each; sizes in KiB
            (64, 16 * MIB, 192 * MIB, 0, Some((8, 16 << 10, 16, 4 << 10))),
            (64, 64 * MIB, 192 * MIB, 0, Some((2, 64 << 10, 16, 4 << 10))),
            (64, 16 * MIB, 16 * MIB, 0, Some((1, 8 << 10, 4, 2 << 10))),
            (4096, 16 * MIB, 16 * MIB, 0, Some((1, 8 << 10, 2, 4 << 10))),
            (16, 64 << 10, 192 * MIB, 0, Some((10, 64, 47, 4 << 10))),
            (
                64,
                16 * MIB,
                192 * MIB,
                5_000_000,
                Some((8, 16 << 10, 64, 448)),
            ),
            (64, 16 * MIB, 192 * MIB, 1, Some((8, 16 << 10, 64, 64))),
            (4096, 4 * MIB, 192 * MIB, 0, None),
            (4096, 16 * MIB, 8 * MIB, 0, None),
            (64, 128 * MIB, 512 * MIB, 0, None),
        ] {
            let options = EncodeOptions {
                geometry: Geometry::new(1 << 30, chunk << 10).unwrap(),
                pack_bytes: pack,
                bytes_in_flight_max: all,
                bytes_per_second: rate,
                ..rig.encode_options(0)
            };
            let plan = MemoryPlan::of(&options);
            let shape = plan.map(|plan| {
                assert!(plan.packs * plan.pack_bytes + plan.units * plan.unit_bytes <= all);
                assert!(plan.units > 0);
                (
                    plan.packs,
                    plan.pack_bytes >> 10,
                    plan.units,
                    plan.unit_bytes >> 10,
                )
            });
            assert_eq!(shape.ok(), expected, "{chunk} {pack} {all} {rate}");
        }
    }
}
