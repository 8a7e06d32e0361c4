//! What the tests of the loops share: a device in memory that fails on demand, and a small repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::aligned_buf::ALIGNMENT;
use crate::batch::{SLOT_ROW_BYTES, STATE_ZERO, WantedRow};
use crate::codec::Codec;
use crate::decode_job::{DecodeJob, DecodeOptions};
use crate::direct_file::DirectFile;
use crate::encode_job::{EncodeJob, EncodeOptions};
use crate::fields::array_at;
use crate::geometry::Geometry;
use crate::index::ChunkIndex;
use crate::ingest::{Purpose, Run, ingest};
use crate::object::tests::Folder;
use crate::pack_folder::PackFolder;
use crate::pack_writer::{DiskFiles, TempFiles, WrittenPack};
use crate::seeded::Seeded;
use crate::transfer::{ReadAt, WriteAt};
use crate::waiting::lock;

pub(crate) const CHUNK: usize = 16 << 10;

/// A device in memory that is as picky as direct I/O, and fails where it is told to.
#[derive(Default)]
pub(crate) struct FaultyDevice {
    bytes: Mutex<Vec<u8>>,
    pub(crate) faults: Faults,
    calls: AtomicU64,
}

#[derive(Default, Clone, Copy)]
pub(crate) struct Faults {
    /// No call moves more than this; a multiple of the alignment for reads.
    pub(crate) bytes_per_call: Option<usize>,
    /// Every second call is interrupted.
    pub(crate) is_interrupted: bool,
    /// This error for whatever touches this byte.
    pub(crate) error_at: Option<(u64, i32)>,
}

impl FaultyDevice {
    pub(crate) fn new(bytes: Vec<u8>, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(bytes),
            faults,
            calls: AtomicU64::new(0),
        })
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        lock(&self.bytes).clone()
    }

    /// Bytes that a call of `wanted` at `offset` moves, or how it fails.
    fn begin(&self, offset: u64, wanted: usize) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.faults.is_interrupted && call.is_multiple_of(2) {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let moved = wanted.min(self.faults.bytes_per_call.unwrap_or(usize::MAX));
        let Some((at, error)) = self.faults.error_at else {
            return Ok(moved);
        };
        if !(offset..offset + moved as u64).contains(&at) {
            return Ok(moved);
        }
        // As a kernel does: what comes before the bad block still arrives.
        let before = (at - offset) as usize;
        match before - before % ALIGNMENT {
            0 => Err(io::Error::from_raw_os_error(error)),
            moved => Ok(moved),
        }
    }
}

impl ReadAt for FaultyDevice {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let is_aligned = [into.len(), offset as usize, into.as_ptr().addr()]
            .iter()
            .all(|at| at.is_multiple_of(ALIGNMENT));
        if !is_aligned {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let moved = self.begin(offset, into.len())?;
        let bytes = lock(&self.bytes);
        let there = &bytes[bytes.len().min(offset as usize)..];
        let moved = moved.min(there.len());
        into[..moved].copy_from_slice(&there[..moved]);
        Ok(moved)
    }
}

impl WriteAt for FaultyDevice {
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        let moved = self.begin(offset, from.len())?;
        let mut bytes = lock(&self.bytes);
        let end = offset as usize + moved;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(&from[..moved]);
        Ok(moved)
    }
}

/// Temporary files of which one cannot be written, or not be made durable.
pub(crate) struct FailingFiles {
    pub(crate) error: i32,
    /// The file of this number, from 0.
    pub(crate) at: u64,
    pub(crate) fails_in_sync: bool,
    pub(crate) calls: AtomicU64,
}

impl FailingFiles {
    fn fail(&self) -> io::Result<()> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            return Err(io::Error::from_raw_os_error(self.error));
        }
        Ok(())
    }
}

impl TempFiles for FailingFiles {
    fn create(&self, path: &Path) -> io::Result<DirectFile> {
        DiskFiles.create(path)
    }

    fn write(&self, file: &DirectFile, bytes: &[u8]) -> io::Result<()> {
        if !self.fails_in_sync {
            self.fail()?;
        }
        DiskFiles.write(file, bytes)
    }

    fn sync(&self, file: DirectFile) -> io::Result<()> {
        if self.fails_in_sync {
            self.fail()?;
        }
        DiskFiles.sync(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }
}

/// Temporary files that take their time, so that a test can look at what is waiting.
pub(crate) struct SlowFiles(pub(crate) std::time::Duration);

impl TempFiles for SlowFiles {
    fn create(&self, path: &Path) -> io::Result<DirectFile> {
        DiskFiles.create(path)
    }

    fn write(&self, file: &DirectFile, bytes: &[u8]) -> io::Result<()> {
        std::thread::sleep(self.0);
        DiskFiles.write(file, bytes)
    }

    fn sync(&self, file: DirectFile) -> io::Result<()> {
        DiskFiles.sync(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }
}

/// A folder with packs, temporary files and segments, and the index over them.
pub(crate) struct Rig {
    pub(crate) folder: Folder,
    pub(crate) index: Arc<ChunkIndex>,
}

const REPOSITORY_ID: [u8; 16] = [9; 16];

impl Rig {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        for name in ["packs", "tmp", "index"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self {
            folder,
            index: Arc::new(ChunkIndex::new(REPOSITORY_ID)),
        }
    }

    pub(crate) fn temp_count(&self) -> usize {
        fs::read_dir(self.folder.path().join("tmp"))
            .unwrap()
            .count()
    }

    pub(crate) fn encode_options(&self, volume_bytes: usize) -> EncodeOptions {
        EncodeOptions {
            geometry: Geometry::new(volume_bytes as u64, CHUNK as u64).unwrap(),
            codec: Codec::Lz4,
            level: 0,
            pack_bytes: 1 << 20,
            packs_root: self.folder.path().join("packs"),
            temp_prefix: format!("{}/tmp/session.", self.folder.path().display()),
            repository_id: REPOSITORY_ID,
            readers: 2,
            writers: 2,
            bytes_in_flight_max: 8 << 20,
            bytes_per_second: 0,
        }
    }

    pub(crate) fn encode(&self, source: &Arc<FaultyDevice>) -> EncodeJob {
        let options = self.encode_options(source.content().len());
        self.encode_with(source, options, Box::new(DiskFiles))
    }

    pub(crate) fn encode_with(
        &self,
        source: &Arc<FaultyDevice>,
        options: EncodeOptions,
        files: Box<dyn TempFiles>,
    ) -> EncodeJob {
        EncodeJob::open(options, Some(source.clone()), self.index.clone(), files).unwrap()
    }

    /// Does what TypeScript does at a commit: links packs and segments under their names.
    pub(crate) fn publish(&self, job: &EncodeJob) -> Vec<WrittenPack> {
        job.flush().unwrap();
        let packs = job.take_sealed().unwrap();
        let places = PackFolder::new(self.folder.path().join("packs"));
        for pack in &packs {
            let place = places.path(&pack.id);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::rename(&pack.path, place).unwrap();
        }
        let ids: Vec<_> = packs.iter().map(|pack| pack.id).collect();
        let segments = job.write_segments(&ids).unwrap();
        let mut paths = Vec::<PathBuf>::new();
        for segment in segments {
            let path = self
                .folder
                .path()
                .join("index")
                .join(crate::digest::hex(&segment.id));
            fs::rename(&segment.path, &path).unwrap();
            paths.push(path);
        }
        job.adopt_segments(&paths).unwrap();
        packs
    }

    pub(crate) fn decode_options(&self, volume_bytes: usize) -> DecodeOptions {
        DecodeOptions {
            geometry: Geometry::new(volume_bytes as u64, CHUNK as u64).unwrap(),
            packs_root: self.folder.path().join("packs"),
            is_tolerant: false,
            is_once: false,
            readers: 2,
            writers: 2,
            bytes_in_flight_max: 4 << 20,
            bytes_per_second: 0,
        }
    }

    pub(crate) fn decode(
        &self,
        options: DecodeOptions,
        target: Option<&Arc<FaultyDevice>>,
    ) -> DecodeJob {
        let target = target.map(|target| target.clone() as Arc<dyn WriteAt>);
        DecodeJob::open(options, target, self.index.clone()).unwrap()
    }

    pub(crate) fn pack_path(&self, pack: &WrittenPack) -> PathBuf {
        PackFolder::new(self.folder.path().join("packs")).path(&pack.id)
    }
}

/// All slots of a job's volume as one run; none for an empty volume.
pub(crate) fn all_slots(job: &EncodeJob) -> Vec<Run> {
    let count = job.options.geometry.slot_count();
    if count == 0 {
        Vec::new()
    } else {
        vec![Run { first: 0, count }]
    }
}

/// Stores a whole volume and gives what became of each slot.
pub(crate) fn ingest_all(job: &EncodeJob) -> Vec<u8> {
    ingest(job, &all_slots(job), Purpose::Store).unwrap()
}

/// The states of slots as text: '0' zero, '1' known, '2' stored.
pub(crate) fn states(results: &[u8]) -> String {
    results
        .chunks(SLOT_ROW_BYTES)
        .map(|slot| char::from(b'0' + slot[0]))
        .collect()
}

/// The slots of a whole volume that hold data, as a restore asks for them.
pub(crate) fn wanted(results: &[u8]) -> Vec<WantedRow> {
    let slots = results.chunks(SLOT_ROW_BYTES).enumerate();
    slots
        .filter(|(_, result)| result[0] != STATE_ZERO)
        .map(|(slot, result)| WantedRow {
            slot: slot as u64,
            digest: array_at(result, 1),
        })
        .collect()
}

/// A volume with zero, noisy, shrinking and repeated chunks.
pub(crate) fn mixed_volume(seed: u64, bytes: usize) -> Vec<u8> {
    let mut seeded = Seeded::new(seed);
    let mut volume = Vec::with_capacity(bytes + CHUNK);
    while volume.len() < bytes {
        match seeded.below(5) {
            0 => volume.resize(volume.len() + CHUNK, 0),
            1 => volume.extend(seeded.bytes(CHUNK, false)),
            2 => volume.resize(volume.len() + CHUNK, 0xff),
            _ => volume.extend(seeded.bytes(CHUNK, true)),
        }
    }
    volume.truncate(bytes);
    volume
}
