//! The loop of a backup: read ▸ zero? ▸ hash ▸ known? ▸ compress into the open pack.
//!
//! Readers fill aligned buffers ahead; the calling thread computes in the order of the runs. A buffer holds
//! one long piece of the volume or several short ones, each read by itself.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::batch::{STATE_KNOWN, STATE_STORED, STATE_ZERO, push_slot};
use crate::codec::Encoder;
use crate::device::{ALIGNMENT, AlignedBuf};
use crate::digest;
use crate::encode_job::EncodeJob;
use crate::error::{MoveError, Result};
use crate::geometry::Geometry;
use crate::pack::EntryKind;
use crate::pack_writer::Filling;
use crate::read_ahead::ReadAhead;
use crate::transfer::{ReadAt, read_source};
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
    let source = job.source.as_deref().ok_or_else(|| MoveError::argument("the job has no source"))?;
    let cut = cut(runs, job)?;
    let ahead = ReadAhead {
        pool: &job.buffers,
        cancel: &job.cancel,
        threads: job.options.readers,
        waited_ns: &job.counters.read_wait_ns,
    };
    let mut computing = Computing::begin(job, purpose, cut.slots)?;
    ahead.run(
        cut.units.len(),
        |number, buffer| read_unit(job, source, &cut.pieces[cut.units[number].clone()], buffer),
        |number, (), buffer| {
            job.spool.check()?;
            let pieces = &cut.pieces[cut.units[number].clone()];
            pieces.iter().try_for_each(|piece| computing.piece(piece, buffer))
        },
    )?;
    Ok(computing.end())
}

/// One call's work: pieces, and the units of them that are read into one buffer each.
#[derive(Debug, Default)]
struct Cut {
    pieces: Vec<Piece>,
    units: Vec<Range<usize>>,
    slots: u64,
}

fn cut(runs: &[Run], job: &EncodeJob) -> Result<Cut> {
    let geometry = &job.options.geometry;
    let mut slots = 0_u64;
    for run in runs {
        let end = run.first.checked_add(run.count).filter(|&end| end <= geometry.slot_count());
        if end.is_none() || run.count == 0 {
            let (first, count) = (run.first, run.count);
            return Err(MoveError::argument(format!("slots {first}+{count} are not slots of the volume")));
        }
        slots = slots.saturating_add(run.count);
    }
    if slots > u64::from(u32::MAX) {
        return Err(MoveError::argument(format!("{slots} slots are too many for one call")));
    }
    let unit_bytes = unit_bytes(slots, job);
    Ok(Cut { slots, ..cut_units(runs, geometry, unit_bytes) })
}

/// Units as large as a buffer, or smaller where otherwise some readers would have nothing to do.
fn unit_bytes(slots: u64, job: &EncodeJob) -> usize {
    let chunk = job.options.geometry.chunk_bytes();
    let share = slots.div_ceil(2 * job.options.readers as u64).saturating_mul(chunk as u64);
    let share = usize::try_from(share).unwrap_or(usize::MAX).max(UNIT_BYTES_MIN.max(chunk));
    job.buffers.buffer_bytes().min(share)
}

fn cut_units(runs: &[Run], geometry: &Geometry, unit_bytes: usize) -> Cut {
    let chunk = geometry.chunk_bytes();
    let mut cut = Cut::default();
    let (mut begun, mut used) = (0, 0);
    for run in runs {
        let (mut first, end) = (run.first, run.first + run.count);
        while first < end {
            if unit_bytes - used < chunk {
                cut.units.push(begun..cut.pieces.len());
                (begun, used) = (cut.pieces.len(), 0);
            }
            let count = (end - first).min(((unit_bytes - used) / chunk) as u64);
            let last = first + count - 1;
            let bytes = (geometry.offset(last) - geometry.offset(first)) as usize + geometry.slot_bytes(last);
            cut.pieces.push(Piece { first, count, bytes, at: used });
            used += count as usize * chunk;
            first += count;
        }
    }
    if begun < cut.pieces.len() {
        cut.units.push(begun..cut.pieces.len());
    }
    cut
}

fn read_unit(job: &EncodeJob, source: &dyn ReadAt, pieces: &[Piece], buffer: &mut AlignedBuf) -> Result<()> {
    let Some(last) = pieces.last() else { return Ok(()) };
    buffer.set_len(last.at + last.bytes.next_multiple_of(ALIGNMENT));
    for piece in pieces {
        job.throttle.take(piece.bytes, &job.cancel, &job.counters.rate_wait_ns)?;
        let into = &mut buffer[piece.at..piece.at + piece.bytes.next_multiple_of(ALIGNMENT)];
        read_source(source, job.options.geometry.offset(piece.first), into, piece.bytes)?;
        job.counters.bytes_read.fetch_add(piece.bytes as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// What the calling thread holds while it computes.
struct Computing<'a> {
    job: &'a EncodeJob,
    purpose: Purpose,
    encoder: Encoder,
    filling: Option<Filling<'a>>,
    results: Vec<u8>,
}

impl<'a> Computing<'a> {
    fn begin(job: &'a EncodeJob, purpose: Purpose, slots: u64) -> Result<Self> {
        let results = Vec::with_capacity(slots as usize * crate::batch::SLOT_RESULT_BYTES);
        Ok(Self { job, purpose, encoder: job.lend_encoder()?, filling: None, results })
    }

    fn piece(&mut self, piece: &Piece, buffer: &AlignedBuf) -> Result<()> {
        let bytes = &buffer[piece.at..piece.at + piece.bytes];
        for plain in bytes.chunks(self.job.options.geometry.chunk_bytes()) {
            self.chunk(plain)?;
        }
        self.job.counters.slots_done.fetch_add(piece.count, Ordering::Relaxed);
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
        let name = (EntryKind::Chunk, digest);
        let state = match self.job.store(name, plain, &mut self.filling, &mut self.encoder)? {
            Some(stored) => {
                counters.bytes_stored.fetch_add(bytes, Ordering::Relaxed);
                counters.stored_bytes_out.fetch_add(u64::from(stored), Ordering::Relaxed);
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
