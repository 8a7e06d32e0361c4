//! The loop of a backup: read ▸ zero? ▸ hash ▸ known? ▸ compress into the open pack.
//!
//! Readers fill aligned buffers ahead; the calling thread computes in the order of the runs. A buffer holds
//! one long piece of the volume or several short ones, each read by itself, or all at once where the source
//! has depth.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::aligned_buf::{ALIGNMENT, AlignedBuf};
use crate::batch::{SLOT_ROW_BYTES, STATE_KNOWN, STATE_STORED, STATE_ZERO, push_slot};
use crate::codec::Encoder;
use crate::digest;
use crate::encode_job::EncodeJob;
use crate::error::{NativeError, Result};
use crate::geometry::Geometry;
use crate::pack::EntryType;
use crate::pack_writer::Filling;
use crate::read_ahead::{Consumer, ReadAhead};
use crate::transfer::{ReadAt, ReadFailure, RunRead, read_source};
use crate::zero::is_zero;

/// Neighbouring slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub first: u64,
    pub count: u64,
}

/// What the caller wants of the bytes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Store what is new.
    Store,
    /// Only tell what is there, as an audit does.
    Look,
}

/// A small job is cut into units no smaller than this, so that its readers share it.
const UNIT_BYTES_MIN: usize = 256 << 10;

/// Runs this short on average are read one by one, so that a device is kept busy by their number only.
const SCATTERED_RUN_BYTES_MAX: u64 = 512 << 10;
const SCATTERED_READERS: usize = 8;

/// Slots that lie together on the volume and so in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    first: u64,
    count: u64,
    bytes: usize,
    /// Where in the unit's buffer; a multiple of the alignment.
    at: usize,
}

/// Reads the slots of `runs` and gives 33 bytes for each, in order: its state and its digest.
pub fn ingest(job: &EncodeJob, runs: &[Run], purpose: Purpose) -> Result<Vec<u8>> {
    job.spool.check()?;
    let source = job
        .source
        .as_deref()
        .ok_or_else(|| NativeError::argument("the job has no source"))?;
    let cut = cut(runs, job)?;
    let ahead = ReadAhead {
        pool: &job.buffers,
        cancel: &job.cancel,
        threads: cut.readers,
        waited_ns: &job.counters.read_wait_ns,
    };
    let mut computing = Computing::begin(job, purpose, &cut)?;
    let fill =
        |number: usize, buffer: &mut AlignedBuf| read_unit(job, source, cut.unit(number), buffer);
    ahead.run(cut.units.len(), fill, &mut computing)?;
    Ok(computing.end())
}

/// One call's work: pieces, and the units of them that are read into one buffer each.
#[derive(Debug, Default)]
struct Cut {
    pieces: Vec<Piece>,
    units: Vec<Range<usize>>,
    slots: u64,
    readers: usize,
}

impl Cut {
    fn unit(&self, number: usize) -> &[Piece] {
        &self.pieces[self.units[number].clone()]
    }
}

fn cut(runs: &[Run], job: &EncodeJob) -> Result<Cut> {
    let geometry = &job.options.geometry;
    let mut slots = 0_u64;
    for run in runs {
        let end = run
            .first
            .checked_add(run.count)
            .filter(|&end| end <= geometry.slot_count());
        if end.is_none() || run.count == 0 {
            let (first, count) = (run.first, run.count);
            return Err(NativeError::argument(format!(
                "slots {first}+{count} are not slots of the volume"
            )));
        }
        slots = slots.saturating_add(run.count);
    }
    if slots > u64::from(u32::MAX) {
        return Err(NativeError::argument(format!(
            "{slots} slots are too many for one call"
        )));
    }
    let is_scattered =
        slots * geometry.chunk_bytes() as u64 / runs.len().max(1) as u64 <= SCATTERED_RUN_BYTES_MAX;
    let has_depth = job.source.as_ref().is_some_and(|it| it.has_depth());
    let readers = if is_scattered && !has_depth {
        job.options.readers.max(SCATTERED_READERS)
    } else {
        job.options.readers
    };
    let unit_bytes = unit_bytes(slots, readers, job);
    Ok(Cut {
        slots,
        readers,
        ..cut_units(
            runs,
            geometry,
            unit_bytes,
            first_unit_bytes(unit_bytes, job),
        )
    })
}

/// Units as large as a buffer, or smaller where otherwise some readers would have nothing to do.
fn unit_bytes(slots: u64, readers: usize, job: &EncodeJob) -> usize {
    let chunk = job.options.geometry.chunk_bytes();
    let share = slots
        .div_ceil(2 * readers as u64)
        .saturating_mul(chunk as u64);
    let share = usize::try_from(share)
        .unwrap_or(usize::MAX)
        .max(UNIT_BYTES_MIN.max(chunk));
    job.buffers.buffer_bytes().min(share)
}

/// Where nothing has been read yet, computing is to begin when little has: all readers start at once, and share
/// what the device gives. Later calls begin while others compute.
fn first_unit_bytes(unit_bytes: usize, job: &EncodeJob) -> usize {
    if job.counters.bytes_read.load(Ordering::Relaxed) > 0 {
        return unit_bytes;
    }
    unit_bytes.min(UNIT_BYTES_MIN.max(job.options.geometry.chunk_bytes()))
}

/// The first unit has the length asked for, and each is up to twice the one before.
fn cut_units(runs: &[Run], geometry: &Geometry, unit_bytes: usize, first_bytes: usize) -> Cut {
    let chunk = geometry.chunk_bytes();
    let mut cut = Cut::default();
    let mut room = first_bytes;
    let (mut begun, mut used) = (0, 0);
    for run in runs {
        let (mut first, end) = (run.first, run.first + run.count);
        while first < end {
            if room - used < chunk {
                cut.units.push(begun..cut.pieces.len());
                (begun, used) = (cut.pieces.len(), 0);
                room = unit_bytes.min(room * 2);
            }
            let count = (end - first).min(((room - used) / chunk) as u64);
            let last = first + count - 1;
            let bytes = (geometry.offset(last) - geometry.offset(first)) as usize
                + geometry.slot_bytes(last);
            cut.pieces.push(Piece {
                first,
                count,
                bytes,
                at: used,
            });
            used += count as usize * chunk;
            first += count;
        }
    }
    if begun < cut.pieces.len() {
        cut.units.push(begun..cut.pieces.len());
    }
    cut
}

fn read_unit(
    job: &EncodeJob,
    source: &dyn ReadAt,
    pieces: &[Piece],
    buffer: &mut AlignedBuf,
) -> Result<()> {
    let Some(last) = pieces.last() else {
        return Ok(());
    };
    buffer.set_len(last.at + last.bytes.next_multiple_of(ALIGNMENT));
    if source.has_depth() {
        return read_at_once(job, source, pieces, buffer);
    }
    for piece in pieces {
        job.throttle
            .take(piece.bytes, &job.cancel, &job.counters.rate_wait_ns)?;
        let into = &mut buffer[piece.at..piece.at + piece.bytes.next_multiple_of(ALIGNMENT)];
        read_source(
            source,
            job.options.geometry.offset(piece.first),
            into,
            piece.bytes,
        )?;
        job.counters
            .bytes_read
            .fetch_add(piece.bytes as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn read_at_once(
    job: &EncodeJob,
    source: &dyn ReadAt,
    pieces: &[Piece],
    buffer: &mut AlignedBuf,
) -> Result<()> {
    let mut runs = Vec::with_capacity(pieces.len());
    let (mut rest, mut begin) = (&mut buffer[..], 0);
    for piece in pieces {
        job.throttle
            .take(piece.bytes, &job.cancel, &job.counters.rate_wait_ns)?;
        let end = piece.at + piece.bytes.next_multiple_of(ALIGNMENT);
        let (before, after) = rest.split_at_mut(end - begin);
        runs.push(RunRead {
            offset: job.options.geometry.offset(piece.first),
            into: &mut before[piece.at - begin..],
            wanted: piece.bytes,
        });
        (rest, begin) = (after, end);
    }
    source
        .read_several(&mut runs)
        .map_err(ReadFailure::of_source)?;
    let bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
    job.counters
        .bytes_read
        .fetch_add(bytes as u64, Ordering::Relaxed);
    Ok(())
}

/// What the calling thread holds while it computes.
struct Computing<'a> {
    job: &'a EncodeJob,
    cut: &'a Cut,
    purpose: Purpose,
    encoder: Encoder,
    filling: Option<Filling<'a>>,
    results: Vec<u8>,
}

impl Consumer<()> for Computing<'_> {
    fn consume(&mut self, number: usize, (): (), buffer: &AlignedBuf) -> Result<()> {
        self.job.spool.check()?;
        self.cut
            .unit(number)
            .iter()
            .try_for_each(|piece| self.piece(piece, buffer))
    }

    fn before_wait(&mut self) {
        self.filling = None;
    }
}

impl<'a> Computing<'a> {
    fn begin(job: &'a EncodeJob, purpose: Purpose, cut: &'a Cut) -> Result<Self> {
        let results = Vec::with_capacity(cut.slots as usize * SLOT_ROW_BYTES);
        Ok(Self {
            job,
            cut,
            purpose,
            encoder: job.lend_encoder()?,
            filling: None,
            results,
        })
    }

    fn piece(&mut self, piece: &Piece, buffer: &AlignedBuf) -> Result<()> {
        let bytes = &buffer[piece.at..piece.at + piece.bytes];
        for plain in bytes.chunks(self.job.options.geometry.chunk_bytes()) {
            self.chunk(plain)?;
        }
        self.job
            .counters
            .slots_done
            .fetch_add(piece.count, Ordering::Relaxed);
        Ok(())
    }

    fn chunk(&mut self, plain: &[u8]) -> Result<()> {
        let counters = &self.job.counters;
        let bytes = plain.len() as u64;
        if is_zero(plain) {
            counters.bytes_zero.fetch_add(bytes, Ordering::Relaxed);
            push_slot(&mut self.results, STATE_ZERO, None);
            return Ok(());
        }
        let digest = digest::of_chunk(plain);
        if self.purpose == Purpose::Look {
            push_slot(&mut self.results, STATE_KNOWN, Some(&digest));
            return Ok(());
        }
        let name = (EntryType::Chunk, digest);
        let state = match self
            .job
            .store(name, plain, &mut self.filling, &mut self.encoder)?
        {
            Some(stored) => {
                counters.bytes_stored.fetch_add(bytes, Ordering::Relaxed);
                counters
                    .stored_bytes_out
                    .fetch_add(u64::from(stored), Ordering::Relaxed);
                STATE_STORED
            }
            None => {
                counters.bytes_known.fetch_add(bytes, Ordering::Relaxed);
                STATE_KNOWN
            }
        };
        push_slot(&mut self.results, state, Some(&digest));
        Ok(())
    }

    fn end(self) -> Vec<u8> {
        self.job.return_encoder(self.encoder);
        self.results
    }
}
