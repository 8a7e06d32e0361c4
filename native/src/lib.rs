//! The seam: every `#[napi]` item, and nothing that can be tested without Node.
//!
//! Devices, indexes and jobs are numbers in registries of the process, so that its worker threads share them.
//! What an asynchronous call is given is copied before the call returns, and all of its failures,
//! wrong arguments included, reject its promise.

pub mod aligned_buf;
pub mod batch;
pub mod buffer_pool;
pub mod cancel;
pub mod claims;
pub mod codec;
pub mod contain_panic;
pub mod decode_job;
pub mod device;
pub mod digest;
pub mod direct_file;
pub mod emit;
pub mod encode_job;
pub mod error;
pub mod extract;
pub mod extract_plan;
pub mod fields;
pub mod geometry;
pub mod index;
pub mod ingest;
pub mod nbd;
pub mod object;
pub mod outlet;
pub mod pack;
pub mod pack_folder;
pub mod pack_reads;
pub mod pack_writer;
pub mod read_ahead;
pub mod registry;
#[cfg(test)]
mod seeded;
pub mod target_writer;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod transfer;
pub mod volume;
pub mod waiting;
pub mod zero;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use napi::bindgen_prelude::{
    AsyncTask, Buffer, Float64Array, ToNapiValue, TypeName, Uint8Array, Uint32Array,
};
use napi::{Env, Task};
use napi_derive::napi;

use crate::codec::Codec;
use crate::contain_panic::contain_panic;
use crate::decode_job::{DecodeJob, DecodeOptions};
use crate::device::{Device, DeviceKind, Role};
use crate::digest::Digest;
use crate::encode_job::{EncodeJob, EncodeOptions};
use crate::error::{NativeError, Result};
use crate::extract_plan::Order;
use crate::geometry::{Geometry, VOLUME_BYTES_MAX};
use crate::index::{ChunkIndex, SEGMENT_BYTES_MAX};
use crate::ingest::{Purpose, Run};
use crate::nbd::handshake::Wanted;
use crate::nbd::tls::TlsOptions;
use crate::nbd::volume::{NbdOptions, NbdVolume};
use crate::nbd::wire::Endpoint;
use crate::outlet::Outlet;
use crate::pack::{EntryType, REPOSITORY_ID_BYTES};
use crate::pack_writer::DiskFiles;
use crate::registry::Registry;
use crate::volume::Volume;

static VOLUMES: Registry<Volume> = Registry::new("device");
static INDEXES: Registry<ChunkIndex> = Registry::new("index");
static ENCODE_JOBS: Registry<EncodeJob> = Registry::new("encoding job");
static DECODE_JOBS: Registry<DecodeJob> = Registry::new("decoding job");

/// A call that runs on one of libuv's threads.
pub struct Work<T, J> {
    body: Option<Box<dyn FnOnce() -> Result<T> + Send>>,
    into_js: fn(T) -> J,
}

impl<T: Send + 'static, J: ToNapiValue + TypeName> Task for Work<T, J> {
    type Output = T;
    type JsValue = J;

    fn compute(&mut self) -> napi::Result<T> {
        let body = self
            .body
            .take()
            .ok_or_else(|| NativeError::internal("a call ran twice"))?;
        Ok(contain_panic(body)?)
    }

    fn resolve(&mut self, _env: Env, output: T) -> napi::Result<J> {
        Ok((self.into_js)(output))
    }
}

/// A promise of `T`, which becomes JavaScript's on its own thread.
type Promised<T, J = T> = AsyncTask<Work<T, J>>;

fn promise<T: Send + 'static, J: ToNapiValue + TypeName>(
    into_js: fn(T) -> J,
    body: impl FnOnce() -> Result<T> + Send + 'static,
) -> Promised<T, J> {
    AsyncTask::new(Work {
        body: Some(Box::new(body)),
        into_js,
    })
}

/// Runs a synchronous call; a panic is an error here too.
fn call<T>(body: impl FnOnce() -> Result<T>) -> napi::Result<T> {
    Ok(contain_panic(body)?)
}

fn nothing((): ()) {}

/// A number of JavaScript as a count or an offset; ARGUMENT_INVALID unless it is one exactly.
fn whole(value: f64, name: &str) -> Result<u64> {
    if value >= 0.0 && value <= VOLUME_BYTES_MAX as f64 && value.fract() == 0.0 {
        return Ok(value as u64);
    }
    Err(NativeError::argument(format!(
        "{name} {value} is not a whole number up to 2^53 - 1"
    )))
}

fn whole_usize(value: f64, name: &str) -> Result<usize> {
    usize::try_from(whole(value, name)?)
        .map_err(|_| NativeError::argument(format!("{name} {value} is too large")))
}

/// Pairs of numbers: offset and length, or first and count.
fn pairs(values: &[f64], name: &str) -> Result<Vec<(u64, u64)>> {
    let (pairs, []) = values.as_chunks::<2>() else {
        return Err(NativeError::argument(format!("{name} are not pairs")));
    };
    pairs
        .iter()
        .map(|[one, two]| Ok((whole(*one, name)?, whole(*two, name)?)))
        .collect()
}

fn runs(values: &[f64]) -> Result<Vec<Run>> {
    Ok(pairs(values, "runs")?
        .into_iter()
        .map(|(first, count)| Run { first, count })
        .collect())
}

fn repository_id(bytes: &[u8]) -> Result<[u8; REPOSITORY_ID_BYTES]> {
    bytes
        .try_into()
        .map_err(|_| NativeError::argument("a repository id has 16 bytes"))
}

fn entry_type(kind: u32) -> Result<EntryType> {
    let known = u8::try_from(kind).ok().and_then(EntryType::from_byte);
    known.ok_or_else(|| NativeError::argument(format!("{kind} is not a type of entry")))
}

fn ids(hex: &[String]) -> Result<Vec<Digest>> {
    hex.iter().map(|id| digest::parse_hex(id)).collect()
}

fn paths(paths: Vec<String>) -> Vec<PathBuf> {
    paths.into_iter().map(PathBuf::from).collect()
}

fn as_numbers<const COUNT: usize>(values: [u64; COUNT]) -> Float64Array {
    Float64Array::new(values.iter().map(|&value| value as f64).collect())
}

#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

// Devices

#[napi(object, object_from_js = false)]
pub struct DeviceInfo {
    pub handle: u32,
    #[napi(ts_type = "'file' | 'block'")]
    pub kind: &'static str,
    pub bytes: f64,
    pub read_only: bool,
    pub direct: bool,
    pub device: String,
    pub inode: String,
    pub mtime_ns: String,
    pub ctime_ns: String,
}

fn device_info_of(handle: u32, device: &Device) -> Result<DeviceInfo> {
    let facts = device.facts()?;
    Ok(DeviceInfo {
        handle,
        kind: match facts.kind {
            DeviceKind::File => "file",
            DeviceKind::Block => "block",
        },
        bytes: facts.bytes as f64,
        read_only: facts.is_read_only,
        direct: facts.is_direct,
        device: facts.device,
        inode: facts.inode.to_string(),
        mtime_ns: facts.mtime_ns.to_string(),
        ctime_ns: facts.ctime_ns.to_string(),
    })
}

fn add_device(device: Device) -> Result<DeviceInfo> {
    let info = device_info_of(0, &device)?;
    Ok(DeviceInfo {
        handle: VOLUMES.add(Volume::Device(device)),
        ..info
    })
}

#[napi]
pub fn open_source(path: String, direct: bool) -> napi::Result<DeviceInfo> {
    call(|| add_device(Device::open_source(Path::new(&path), direct)?))
}

#[napi(object)]
pub struct TargetOptions {
    pub create: bool,
    pub exclusive: bool,
    pub direct: bool,
}

#[napi]
pub fn open_target(path: String, options: TargetOptions) -> napi::Result<DeviceInfo> {
    let TargetOptions {
        create,
        exclusive,
        direct,
    } = options;
    let options = device::TargetOptions {
        create,
        exclusive,
        direct,
    };
    call(|| add_device(Device::open_target(Path::new(&path), options)?))
}

#[napi]
pub fn device_info(handle: u32) -> napi::Result<DeviceInfo> {
    call(|| device_info_of(handle, VOLUMES.get(handle)?.device()?))
}

#[napi]
pub fn read_piece(handle: u32, offset: f64, length: u32) -> Promised<Vec<u8>, Buffer> {
    promise(Buffer::from, move || {
        VOLUMES
            .get(handle)?
            .read_piece(whole(offset, "offset")?, length as usize)
    })
}

#[napi]
pub fn hold_image(handle: u32) -> napi::Result<bool> {
    call(|| VOLUMES.get(handle)?.device()?.hold_image())
}

#[napi]
pub fn sync_device(handle: u32) -> Promised<()> {
    promise(nothing, move || VOLUMES.get(handle)?.sync())
}

#[napi]
pub fn holes(handle: u32, within: Float64Array, max: u32) -> Promised<Vec<f64>, Float64Array> {
    let within = within.to_vec();
    promise(Float64Array::new, move || {
        let volume = VOLUMES.get(handle)?;
        let holes = volume
            .device()?
            .holes(&pairs(&within, "within")?, max as usize)?;
        Ok(holes
            .into_iter()
            .flat_map(|(offset, length)| [offset as f64, length as f64])
            .collect())
    })
}

#[napi]
pub fn truncate_device(handle: u32, bytes: f64) -> Promised<()> {
    promise(nothing, move || {
        VOLUMES
            .get(handle)?
            .device()?
            .truncate(whole(bytes, "bytes")?)
    })
}

#[napi]
pub fn zero_runs(handle: u32, runs: Float64Array) -> Promised<()> {
    let runs = runs.to_vec();
    promise(nothing, move || {
        VOLUMES.get(handle)?.zero_runs(&pairs(&runs, "runs")?)
    })
}

#[napi]
pub fn reserve_runs(handle: u32, runs: Float64Array) -> Promised<()> {
    let runs = runs.to_vec();
    promise(nothing, move || {
        VOLUMES.get(handle)?.reserve_runs(&pairs(&runs, "runs")?);
        Ok(())
    })
}

#[napi]
pub fn close_device(handle: u32) {
    VOLUMES.remove(handle);
}

// Volumes on NBD servers

/// A Unix socket, or a host and a port.
#[napi(object)]
pub struct NbdOpenOptions {
    pub name: String,
    #[napi(ts_type = "'source' | 'target'")]
    pub role: String,
    pub socket: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub export: String,
    pub contexts: Vec<String>,
    pub tls: Option<NbdTlsOptions>,
}

/// A file of keys, or else certificates.
#[napi(object)]
pub struct NbdTlsOptions {
    pub psk_file: Option<String>,
    pub user: Option<String>,
    pub certificates: Option<String>,
    pub server: Option<String>,
}

#[napi(object, object_from_js = false)]
pub struct NbdInfo {
    pub handle: u32,
    pub bytes: f64,
    pub read_only: bool,
    pub can_sync: bool,
    pub contexts: Vec<String>,
}

fn nbd_options(options: NbdOpenOptions) -> Result<NbdOptions> {
    let endpoint = match (options.socket, options.host, options.port) {
        (Some(socket), None, None) => Endpoint::Unix(PathBuf::from(socket)),
        (None, Some(host), Some(port)) => Endpoint::Tcp { host, port },
        _ => return Err(NativeError::argument("a server has a socket or a port")),
    };
    let role = match options.role.as_str() {
        "source" => Role::Source,
        "target" => Role::Target,
        role => return Err(NativeError::argument(format!("there is no role {role}"))),
    };
    Ok(NbdOptions {
        name: PathBuf::from(options.name),
        role,
        endpoint,
        tls: options.tls.map(tls_options),
        wanted: Wanted {
            export: options.export,
            contexts: options.contexts,
        },
    })
}

fn tls_options(options: NbdTlsOptions) -> TlsOptions {
    match options.psk_file {
        Some(file) => TlsOptions::Psk {
            file: PathBuf::from(file),
            user: options.user,
        },
        None => TlsOptions::Certificates {
            folder: options.certificates.map(PathBuf::from),
            server: options.server,
        },
    }
}

fn add_nbd(volume: NbdVolume) -> NbdInfo {
    NbdInfo {
        bytes: volume.bytes() as f64,
        read_only: volume.is_read_only(),
        can_sync: volume.can_sync(),
        contexts: volume.contexts().map(str::to_owned).collect(),
        handle: VOLUMES.add(Volume::Nbd(volume)),
    }
}

#[napi]
pub fn open_nbd(options: NbdOpenOptions) -> Promised<NbdVolume, NbdInfo> {
    promise(add_nbd, move || NbdVolume::open(nbd_options(options)?))
}

#[napi]
pub fn connect_nbd_fully(handle: u32) -> Promised<()> {
    promise(nothing, move || {
        VOLUMES.get(handle)?.nbd()?.connect_fully();
        Ok(())
    })
}

#[napi]
pub fn interrupt_nbd(handle: u32) -> napi::Result<()> {
    call(|| {
        VOLUMES.get(handle)?.nbd()?.interrupt();
        Ok(())
    })
}

/// Pairs of where a run of bytes ends and its flags, from `offset` on.
#[napi]
pub fn block_status(handle: u32, context: String, offset: f64) -> Promised<Vec<f64>, Float64Array> {
    promise(Float64Array::new, move || {
        let volume = VOLUMES.get(handle)?;
        volume.nbd()?.status(&context, whole(offset, "offset")?)
    })
}

// The chunk index

#[napi]
pub fn open_index(repository_id: Uint8Array) -> napi::Result<u32> {
    call(|| Ok(INDEXES.add(ChunkIndex::new(self::repository_id(&repository_id)?))))
}

#[napi]
pub fn close_index(index: u32) {
    INDEXES.remove(index);
}

#[napi]
pub fn add_segments(index: u32, paths: Vec<String>) -> Promised<()> {
    promise(nothing, move || {
        INDEXES.get(index)?.add_segments(&self::paths(paths))
    })
}

#[napi(object)]
pub struct SegmentInfo {
    pub id: String,
    pub bytes: f64,
    pub entries: f64,
    pub replaces: Vec<String>,
}

#[napi]
pub fn list_segments(index: u32) -> napi::Result<Vec<SegmentInfo>> {
    call(|| {
        let segments = INDEXES.get(index)?.segments();
        let info = |segment: &index::SegmentInfo| SegmentInfo {
            id: digest::hex(&segment.id),
            bytes: segment.bytes as f64,
            entries: segment.entries as f64,
            replaces: segment.replaces.iter().map(|id| digest::hex(id)).collect(),
        };
        Ok(segments.iter().map(info).collect())
    })
}

#[napi]
pub fn drop_segments(index: u32, ids: Vec<String>) -> napi::Result<()> {
    call(|| {
        INDEXES.get(index)?.drop_segments(&self::ids(&ids)?);
        Ok(())
    })
}

#[napi]
pub fn locate_entries(index: u32, kind: u32, digests: Uint8Array) -> Promised<Vec<u8>, Buffer> {
    let digests = digests.to_vec();
    promise(Buffer::from, move || {
        let (index, kind) = (INDEXES.get(index)?, entry_type(kind)?);
        let digests = batch::digests(&digests)?;
        let mut rows = Vec::with_capacity(digests.len() * batch::LOCATED_ROW_BYTES);
        for digest in &digests {
            batch::push_located(&mut rows, index.find(kind, digest)?.as_ref());
        }
        Ok(rows)
    })
}

/// Every place of one digest, for when the first one is lost.
#[napi]
pub fn locate_copies(index: u32, kind: u32, digest: Uint8Array) -> Promised<Vec<u8>, Buffer> {
    let digest = digest.to_vec();
    promise(Buffer::from, move || {
        let (index, kind) = (INDEXES.get(index)?, entry_type(kind)?);
        let mut rows = Vec::new();
        for digest in &batch::digests(&digest)? {
            for place in &index.find_all(kind, digest)? {
                batch::push_located(&mut rows, Some(place));
            }
        }
        Ok(rows)
    })
}

#[napi(object)]
pub struct SegmentFile {
    pub id: String,
    pub temp_path: String,
    pub bytes: f64,
    pub entries: f64,
}

fn segment_files(files: Vec<index::SegmentFile>) -> Vec<SegmentFile> {
    let seam = |file: index::SegmentFile| SegmentFile {
        id: digest::hex(&file.id),
        temp_path: file.path.to_string_lossy().into_owned(),
        bytes: file.bytes as f64,
        entries: file.entries as f64,
    };
    files.into_iter().map(seam).collect()
}

#[napi]
pub fn merge_segments(
    index: u32,
    ids: Vec<String>,
    temp_prefix: String,
    segment_bytes_max: f64,
) -> Promised<Vec<index::SegmentFile>, Vec<SegmentFile>> {
    promise(segment_files, move || {
        let index = INDEXES.get(index)?;
        let bytes_max = segment_limit(segment_bytes_max)?;
        index.merge(&self::ids(&ids)?, &temp_prefix, bytes_max)
    })
}

/// What a writer may be told: no more than readers are sure to take.
fn segment_limit(bytes: f64) -> Result<u64> {
    Ok(whole(bytes, "segmentBytesMax")?.min(SEGMENT_BYTES_MAX))
}

#[napi(object)]
pub struct PackObject {
    pub path: String,
    pub id: String,
}

#[napi(object)]
pub struct DamagedPack {
    pub path: String,
    pub id: String,
    pub message: String,
}

#[napi(object)]
pub struct RebuiltSegments {
    pub segments: Vec<SegmentFile>,
    pub damaged: Vec<DamagedPack>,
}

fn rebuilt_segments(rebuilt: index::Rebuilt) -> RebuiltSegments {
    let seam = |pack: index::DamagedPack| DamagedPack {
        path: pack.path.to_string_lossy().into_owned(),
        id: digest::hex(&pack.id),
        message: pack.message,
    };
    RebuiltSegments {
        segments: segment_files(rebuilt.segments),
        damaged: rebuilt.damaged.into_iter().map(seam).collect(),
    }
}

#[napi]
pub fn write_pack_segments(
    repository_id: Uint8Array,
    packs: Vec<PackObject>,
    temp_prefix: String,
    replaces: Vec<String>,
    segment_bytes_max: f64,
) -> Promised<index::Rebuilt, RebuiltSegments> {
    let repository_id = repository_id.to_vec();
    promise(rebuilt_segments, move || {
        let replaces = ids(&replaces)?;
        let output = index::Output {
            repository_id: self::repository_id(&repository_id)?,
            temp_prefix: &temp_prefix,
            replaces: &replaces,
            segment_bytes_max: segment_limit(segment_bytes_max)?,
        };
        let named = |pack: PackObject| Ok((PathBuf::from(pack.path), digest::parse_hex(&pack.id)?));
        let packs = packs.into_iter().map(named).collect::<Result<Vec<_>>>()?;
        index::write_pack_segments(&packs, &output)
    })
}

#[napi]
pub fn check_segment(path: String, id: String) -> Promised<()> {
    promise(nothing, move || {
        index::check_segment(Path::new(&path), &digest::parse_hex(&id)?)
    })
}

#[napi]
pub fn read_together(paths: Vec<String>, bytes_max: f64) -> Promised<Vec<u8>, Buffer> {
    promise(Buffer::from, move || {
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        Ok(object::read_together(&paths, bytes_max as u64))
    })
}

#[napi]
pub fn check_pack(path: String, id: String) -> Promised<()> {
    promise(nothing, move || {
        pack::check_pack(Path::new(&path), &digest::parse_hex(&id)?)
    })
}

// Encoding

#[napi(object)]
pub struct EncodeJobOptions {
    pub source: i32,
    pub index: u32,
    pub chunk_bytes: f64,
    pub volume_bytes: f64,
    pub codec: u32,
    pub level: i32,
    pub pack_bytes: f64,
    pub packs_root: String,
    pub temp_prefix: String,
    pub repository_id: Uint8Array,
    pub readers: u32,
    pub writers: u32,
    pub bytes_in_flight_max: f64,
    pub bytes_per_second: f64,
}

fn encode_options(options: &EncodeJobOptions) -> Result<EncodeOptions> {
    let codec = u8::try_from(options.codec).ok().and_then(Codec::from_byte);
    Ok(EncodeOptions {
        geometry: geometry(options.volume_bytes, options.chunk_bytes)?,
        codec: codec
            .ok_or_else(|| NativeError::argument(format!("there is no codec {}", options.codec)))?,
        level: options.level,
        pack_bytes: whole_usize(options.pack_bytes, "packBytes")?,
        packs_root: PathBuf::from(&options.packs_root),
        temp_prefix: options.temp_prefix.clone(),
        repository_id: repository_id(&options.repository_id)?,
        readers: options.readers as usize,
        writers: options.writers as usize,
        bytes_in_flight_max: whole_usize(options.bytes_in_flight_max, "bytesInFlightMax")?,
        bytes_per_second: whole(options.bytes_per_second, "bytesPerSecond")?,
    })
}

fn geometry(volume_bytes: f64, chunk_bytes: f64) -> Result<Geometry> {
    Geometry::new(
        whole(volume_bytes, "volumeBytes")?,
        whole(chunk_bytes, "chunkBytes")?,
    )
}

#[napi]
pub fn open_encode_job(options: EncodeJobOptions) -> napi::Result<u32> {
    call(|| {
        let source = VOLUMES
            .get_optional(options.source)?
            .map(|device| device as Arc<dyn transfer::ReadAt>);
        let index = INDEXES.get(options.index)?;
        Ok(ENCODE_JOBS.add(EncodeJob::open(
            encode_options(&options)?,
            source,
            index,
            Box::new(DiskFiles),
        )?))
    })
}

fn ingest_runs(job: u32, runs: &[f64], store: bool) -> Result<Vec<u8>> {
    let purpose = if store { Purpose::Store } else { Purpose::Look };
    ingest::ingest(&*ENCODE_JOBS.get(job)?, &self::runs(runs)?, purpose)
}

/// Blocks the thread that calls it: for workers only.
#[napi]
pub fn ingest(job: u32, runs: Float64Array, store: bool) -> napi::Result<Buffer> {
    call(|| Ok(ingest_runs(job, &runs, store)?.into()))
}

#[napi]
pub fn ingest_async(job: u32, runs: Float64Array, store: bool) -> Promised<Vec<u8>, Buffer> {
    let runs = runs.to_vec();
    promise(Buffer::from, move || ingest_runs(job, &runs, store))
}

#[napi]
pub fn store_pages(job: u32, pages: Uint8Array, lengths: Uint32Array) -> Promised<Vec<u8>, Buffer> {
    let (pages, lengths) = (pages.to_vec(), lengths.to_vec());
    promise(Buffer::from, move || {
        ENCODE_JOBS.get(job)?.store_pages(&pages, &lengths)
    })
}

/// The digests of tree pages, each given by offset and length in `bytes`.
#[napi]
pub fn page_digests(bytes: Uint8Array, spans: Uint32Array) -> napi::Result<Buffer> {
    call(|| {
        let (spans, []) = spans.as_chunks::<2>() else {
            return Err(NativeError::argument("spans are not pairs"));
        };
        let mut digests = Vec::with_capacity(spans.len() * digest::DIGEST_BYTES);
        for &[offset, length] in spans {
            let (offset, length) = (offset as usize, length as usize);
            let page = bytes
                .get(offset..offset + length)
                .ok_or_else(|| NativeError::argument("a page lies behind the bytes given"))?;
            digests.extend_from_slice(&digest::of_page(page));
        }
        Ok(digests.into())
    })
}

#[napi]
pub fn flush_job(job: u32) -> Promised<()> {
    promise(nothing, move || ENCODE_JOBS.get(job)?.flush())
}

#[napi(object)]
pub struct SealedPack {
    pub id: String,
    pub temp_path: String,
    pub bytes: f64,
    pub entries: u32,
    #[napi(js_name = "type")]
    pub kind: u32,
}

#[napi]
pub fn take_sealed(job: u32) -> napi::Result<Vec<SealedPack>> {
    let seam = |pack: pack_writer::WrittenPack| SealedPack {
        id: digest::hex(&pack.id),
        temp_path: pack.path.to_string_lossy().into_owned(),
        bytes: pack.bytes as f64,
        entries: pack.entries.len() as u32,
        kind: pack.kind as u32,
    };
    call(|| {
        Ok(ENCODE_JOBS
            .get(job)?
            .take_sealed()?
            .into_iter()
            .map(seam)
            .collect())
    })
}

#[napi]
pub fn write_segments(
    job: u32,
    ids: Vec<String>,
) -> Promised<Vec<index::SegmentFile>, Vec<SegmentFile>> {
    promise(segment_files, move || {
        ENCODE_JOBS.get(job)?.write_segments(&self::ids(&ids)?)
    })
}

#[napi]
pub fn adopt_segments(job: u32, paths: Vec<String>) -> Promised<()> {
    promise(nothing, move || {
        ENCODE_JOBS.get(job)?.adopt_segments(&self::paths(paths))
    })
}

#[napi]
pub fn job_counters(job: u32) -> napi::Result<Float64Array> {
    call(|| Ok(as_numbers(ENCODE_JOBS.get(job)?.counter_values())))
}

#[napi]
pub fn cancel_job(job: u32) {
    // A job that has ended needs no cancelling.
    if let Ok(job) = ENCODE_JOBS.get(job) {
        job.cancel();
    }
}

#[napi]
pub fn close_job(job: u32) -> Promised<()> {
    promise(nothing, move || {
        if let Some(job) = ENCODE_JOBS.remove(job) {
            job.close();
        }
        Ok(())
    })
}

// Decoding

#[napi(object)]
pub struct DecodeJobOptions {
    pub index: u32,
    pub target: i32,
    pub packs_root: String,
    pub chunk_bytes: f64,
    pub volume_bytes: f64,
    pub tolerant: bool,
    pub once: bool,
    pub readers: u32,
    pub writers: u32,
    pub bytes_in_flight_max: f64,
    pub bytes_per_second: f64,
}

#[napi]
pub fn open_decode_job(options: DecodeJobOptions) -> napi::Result<u32> {
    call(|| {
        let target = VOLUMES
            .get_optional(options.target)?
            .map(|device| device as Arc<dyn transfer::WriteAt>);
        let index = INDEXES.get(options.index)?;
        let options = DecodeOptions {
            geometry: geometry(options.volume_bytes, options.chunk_bytes)?,
            packs_root: PathBuf::from(&options.packs_root),
            is_tolerant: options.tolerant,
            is_once: options.once,
            readers: options.readers as usize,
            writers: options.writers as usize,
            bytes_in_flight_max: whole_usize(options.bytes_in_flight_max, "bytesInFlightMax")?,
            bytes_per_second: whole(options.bytes_per_second, "bytesPerSecond")?,
        };
        Ok(DECODE_JOBS.add(DecodeJob::open(options, target, index)?))
    })
}

#[napi(object)]
pub struct ExtractPlan {
    pub rows: Uint8Array,
    pub batches: Uint32Array,
    pub missing: Uint8Array,
}

/// A plan as bytes, made on the thread that planned.
pub struct PlanBytes {
    rows: Vec<u8>,
    bounds: Vec<u32>,
    missing: Vec<u8>,
}

#[napi]
pub fn plan_extract(
    job: u32,
    slots: Uint8Array,
    #[napi(ts_arg_type = "'pack' | 'slot'")] order: String,
    batch_bytes: f64,
) -> Promised<PlanBytes, ExtractPlan> {
    let slots = slots.to_vec();
    let into_js = |plan: PlanBytes| ExtractPlan {
        rows: plan.rows.into(),
        batches: Uint32Array::new(plan.bounds),
        missing: plan.missing.into(),
    };
    promise(into_js, move || {
        let order = match order.as_str() {
            "pack" => Order::Pack,
            "slot" => Order::Slot,
            _ => return Err(NativeError::argument(format!("there is no order {order}"))),
        };
        let slots = batch::slot_rows(&slots)?;
        let batch_bytes = whole(batch_bytes, "batchBytes")?;
        let plan = extract_plan::plan_extract(&*DECODE_JOBS.get(job)?, &slots, order, batch_bytes)?;
        let mut missing = Vec::with_capacity(plan.missing.len() * batch::WANTED_ROW_BYTES);
        plan.missing
            .iter()
            .for_each(|row| row.append_to(&mut missing));
        Ok(PlanBytes {
            rows: row_bytes(&plan.rows),
            bounds: plan.bounds,
            missing,
        })
    })
}

fn row_bytes(rows: &[batch::PlannedRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * batch::PLANNED_ROW_BYTES);
    rows.iter().for_each(|row| row.append_to(&mut bytes));
    bytes
}

#[napi(object)]
pub struct Extracted {
    pub damaged: Uint8Array,
}

fn extracted(damaged: Vec<u8>) -> Extracted {
    Extracted {
        damaged: damaged.into(),
    }
}

fn extract_bytes(job: u32, rows: &[u8]) -> Result<Vec<u8>> {
    let damaged = extract::extract(&*DECODE_JOBS.get(job)?, &batch::extract_rows(rows)?)?;
    Ok(row_bytes(&damaged))
}

/// Blocks the thread that calls it: for workers only.
#[napi]
pub fn extract(job: u32, rows: Uint8Array) -> napi::Result<Extracted> {
    call(|| Ok(extracted(extract_bytes(job, &rows)?)))
}

#[napi]
pub fn extract_async(job: u32, rows: Uint8Array) -> Promised<Vec<u8>, Extracted> {
    let rows = rows.to_vec();
    promise(extracted, move || extract_bytes(job, &rows))
}

#[napi]
pub fn emit(job: u32, rows: Uint8Array, offset: f64, length: f64, fd: i32) -> Promised<()> {
    let rows = rows.to_vec();
    promise(nothing, move || {
        let job = DECODE_JOBS.get(job)?;
        let outlet = Outlet::new(fd).map_err(|error| NativeError::target(None, error))?;
        let (offset, length) = (whole(offset, "offset")?, whole(length, "length")?);
        emit::emit(&job, &batch::extract_rows(&rows)?, offset, length, &outlet)
    })
}

#[napi]
pub fn pack_name(job: u32, number: u32) -> napi::Result<String> {
    call(|| Ok(digest::hex(&DECODE_JOBS.get(job)?.pack(number)?.id)))
}

#[napi]
pub fn decode_counters(job: u32) -> napi::Result<Float64Array> {
    call(|| Ok(as_numbers(DECODE_JOBS.get(job)?.counter_values())))
}

#[napi]
pub fn cancel_decode_job(job: u32) {
    // A job that has ended needs no cancelling.
    if let Ok(job) = DECODE_JOBS.get(job) {
        job.cancel();
    }
}

#[napi]
pub fn close_decode_job(job: u32) -> Promised<()> {
    promise(nothing, move || {
        if let Some(job) = DECODE_JOBS.remove(job) {
            job.cancel();
        }
        Ok(())
    })
}
