//! One restore or verification's decoding: what its calls share. Planning is in `extract_plan`, the loops
//! are in `extract` and `emit`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::aligned_buf::ALIGNMENT;
use crate::buffer_pool::BufferPool;
use crate::cancel::Cancel;
use crate::codec::Decoder;
use crate::digest::Digest;
use crate::error::{NativeError, Result};
use crate::geometry::Geometry;
use crate::index::{ChunkIndex, Located};
use crate::pack_folder::PackFolder;
use crate::throttle::Throttle;
use crate::transfer::WriteAt;
use crate::waiting::lock;

/// Large transfers keep a device busy; larger ones only take memory.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// Buffers of one kind that no device needs more of.
const BUFFERS_MAX: usize = 64;
/// A range of a pack is rounded outward to the alignment at both ends.
const READ_MARGIN_BYTES: usize = 2 * ALIGNMENT;

/// What a decoding job is told, once.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    pub geometry: Geometry,
    pub packs_root: PathBuf,
    /// Put damaged chunks on a list and go on, as verification does.
    pub is_tolerant: bool,
    /// Plan each entry once in the life of the job.
    pub is_once: bool,
    /// Reader threads of each call.
    pub readers: usize,
    /// Writer threads of each `extract` call.
    pub writers: usize,
    /// Read and write buffers together, of all calls.
    pub bytes_in_flight_max: usize,
    /// Plain bytes; zero means no limit.
    pub bytes_per_second: u64,
}

/// How far the job is, and what its computing threads waited for.
#[derive(Debug, Default)]
pub struct DecodeCounters {
    pub bytes_decoded: AtomicU64,
    pub bytes_written: AtomicU64,
    pub bytes_read_stored: AtomicU64,
    pub read_wait_ns: AtomicU64,
    pub write_wait_ns: AtomicU64,
    pub rate_wait_ns: AtomicU64,
    pub chunks_done: AtomicU64,
}

pub struct DecodeJob {
    pub(crate) options: DecodeOptions,
    pub(crate) target: Option<Arc<dyn WriteAt>>,
    pub(crate) index: Arc<ChunkIndex>,
    pub(crate) packs: PackFolder,
    pub(crate) read_buffers: BufferPool,
    pub(crate) write_buffers: BufferPool,
    pub(crate) cancel: Cancel,
    pub(crate) throttle: Throttle,
    pub(crate) counters: DecodeCounters,
    names: Mutex<PackNames>,
    planned: Mutex<HashMap<u32, Vec<u64>>>,
    decoders: Mutex<Vec<Decoder>>,
}

/// Packs by small numbers, so that a row need not name its pack in full.
#[derive(Default)]
struct PackNames {
    by_id: HashMap<Digest, u32>,
    packs: Vec<PackName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackName {
    pub id: Digest,
    pub bytes: u64,
}

impl DecodeJob {
    /// ARGUMENT_INVALID where the memory does not hold a chunk to read and one to write.
    pub fn open(
        options: DecodeOptions,
        target: Option<Arc<dyn WriteAt>>,
        index: Arc<ChunkIndex>,
    ) -> Result<Self> {
        let chunk = options.geometry.chunk_bytes();
        let half = options.bytes_in_flight_max / 2;
        if half < chunk + READ_MARGIN_BYTES || options.readers == 0 || options.writers == 0 {
            return Err(NativeError::argument(
                "a job needs a reader, a writer and memory for two chunks",
            ));
        }
        let share = |threads: usize| (half / (threads + 2)).min(BUFFER_BYTES_MAX);
        let read_bytes = share(options.readers).max(chunk + READ_MARGIN_BYTES);
        let write_bytes = (share(options.writers) / chunk * chunk).max(chunk);
        let pool = |bytes: usize| BufferPool::new(bytes, (half / bytes).clamp(1, BUFFERS_MAX));
        Ok(Self {
            read_buffers: pool(read_bytes.next_multiple_of(ALIGNMENT)),
            write_buffers: pool(write_bytes),
            packs: PackFolder::new(&options.packs_root),
            cancel: Cancel::default(),
            throttle: Throttle::new(options.bytes_per_second),
            counters: DecodeCounters::default(),
            names: Mutex::default(),
            planned: Mutex::default(),
            decoders: Mutex::default(),
            target,
            index,
            options,
        })
    }

    /// The pack that a row's number stands for; ARGUMENT_INVALID for a number that was never given.
    pub fn pack(&self, number: u32) -> Result<PackName> {
        let names = lock(&self.names);
        let pack = names.packs.get(number as usize).copied();
        pack.ok_or_else(|| NativeError::argument(format!("the job has no pack {number}")))
    }

    pub(crate) fn number_of(&self, located: &Located) -> Result<u32> {
        let mut names = lock(&self.names);
        if let Some(number) = names.by_id.get(&located.pack_id) {
            return Ok(*number);
        }
        let number = u32::try_from(names.packs.len())
            .map_err(|_| NativeError::internal("too many packs for one job"))?;
        names.by_id.insert(located.pack_id, number);
        names.packs.push(PackName {
            id: located.pack_id,
            bytes: located.pack_bytes,
        });
        Ok(number)
    }

    /// Whether this entry is planned for the first time; one bit for each entry of the segments met.
    pub(crate) fn is_first_plan_of(&self, located: &Located) -> bool {
        let mut planned = lock(&self.planned);
        let words = planned.entry(located.segment).or_default();
        let (word, bit) = ((located.rank / 64) as usize, 1_u64 << (located.rank % 64));
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let is_first = words[word] & bit == 0;
        words[word] |= bit;
        is_first
    }

    /// The counters in the order that `src/native/addon.ts` knows.
    pub fn counter_values(&self) -> [u64; 7] {
        let own = &self.counters;
        [
            &own.bytes_decoded,
            &own.bytes_written,
            &own.bytes_read_stored,
            &own.read_wait_ns,
            &own.write_wait_ns,
            &own.rate_wait_ns,
            &own.chunks_done,
        ]
        .map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Makes every call of the job end soon with CANCELLED.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A decoder that no other call uses, to be given back for the next one.
    pub(crate) fn lend_decoder(&self) -> Result<Decoder> {
        match lock(&self.decoders).pop() {
            Some(decoder) => Ok(decoder),
            None => Decoder::new(),
        }
    }

    pub(crate) fn return_decoder(&self, decoder: Decoder) {
        lock(&self.decoders).push(decoder);
    }
}
