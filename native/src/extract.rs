//! The loop of a restore: read ranges of packs ▸ decompress ▸ compare the digest ▸ write where the slot is.

use std::sync::atomic::Ordering;
use std::thread;

use crate::batch::ExtractRow;
use crate::codec::Decoder;
use crate::decode_job::DecodeJob;
use crate::device::AlignedBuf;
use crate::error::{MoveError, Result};
use crate::pack_folder::is_damage;
use crate::pack_reads::{PackRead, check_rows, decode_row, fill, plan_reads};
use crate::read_ahead::ReadAhead;
use crate::target_writer::{TargetWriter, WriteQueue};

/// Decodes the chunks of `rows`, in pack order, and writes each to its slot where the job has a target.
///
/// Gives the rows whose chunk has no good copy, if the job is tolerant; else the first is the error.
pub fn extract(job: &DecodeJob, rows: &[ExtractRow]) -> Result<Vec<ExtractRow>> {
    check_rows(job, rows)?;
    let queue = WriteQueue::new(&job.write_buffers, &job.cancel);
    let Some(target) = job.target.as_deref() else { return decode(job, rows, Destination::Nowhere) };
    let damaged = thread::scope(|scope| {
        let _end = EndOnDrop(&queue);
        for _ in 0..job.options.writers {
            thread::Builder::new()
                .name("mover-write".to_owned())
                .spawn_scoped(scope, || queue.write_to(target, &job.counters.bytes_written))
                .map_err(|error| MoveError::internal(format!("cannot start a writer thread: {error}")))?;
        }
        let writer = TargetWriter::new(&queue, &job.counters.write_wait_ns);
        decode(job, rows, Destination::Target(writer))
    });
    // A failed writer is the cause, whatever the computing thread ended with.
    let outcome = queue.outcome();
    match (damaged, outcome) {
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(MoveError::Cancelled)) => Err(error),
        (_, Err(failure)) => Err(failure),
        (Ok(damaged), Ok(())) => Ok(damaged),
    }
}

/// Lets the writers end whichever way the scope is left, a panic included.
struct EndOnDrop<'q, 'a>(&'q WriteQueue<'a>);

impl Drop for EndOnDrop<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Where proven bytes go.
enum Destination<'q, 'a> {
    Nowhere,
    Target(TargetWriter<'q, 'a>),
}

fn decode(job: &DecodeJob, rows: &[ExtractRow], destination: Destination<'_, '_>) -> Result<Vec<ExtractRow>> {
    let reads = plan_reads(rows, job.read_buffers.buffer_bytes());
    let ahead = ReadAhead {
        pool: &job.read_buffers,
        cancel: &job.cancel,
        threads: job.options.readers,
        waited_ns: &job.counters.read_wait_ns,
    };
    let mut decoding = Decoding {
        job,
        decoder: job.lend_decoder()?,
        scratch: AlignedBuf::with_capacity(job.options.geometry.chunk_bytes()),
        destination,
        damaged: Vec::new(),
    };
    ahead.run(
        reads.len(),
        |number, buffer| fill(job, &reads[number], &rows[reads[number].rows.clone()], buffer),
        |number, outcome, buffer| decoding.read(&reads[number], rows, &outcome, buffer),
    )?;
    Ok(decoding.end())
}

/// What the calling thread holds while it computes.
struct Decoding<'j, 'q, 'a> {
    job: &'j DecodeJob,
    decoder: Decoder,
    /// For a chunk that several slots hold, or that nobody wants but its proof.
    scratch: AlignedBuf,
    destination: Destination<'q, 'a>,
    damaged: Vec<ExtractRow>,
}

impl Decoding<'_, '_, '_> {
    fn read(&mut self, read: &PackRead, rows: &[ExtractRow], outcome: &Result<()>, buffer: &AlignedBuf) -> Result<()> {
        let rows = &rows[read.rows.clone()];
        for same in rows.chunk_by(|one, next| one.offset == next.offset && one.digest == next.digest) {
            self.job.cancel.check()?;
            match self.entry(same, (read, outcome, buffer)) {
                Err(error) if self.job.options.is_tolerant && is_damage(&error) => self.damaged.extend_from_slice(same),
                decoded => decoded?,
            }
            self.job.counters.chunks_done.fetch_add(same.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Decodes one entry, once, for all slots that hold it.
    fn entry(&mut self, same: &[ExtractRow], read: (&PackRead, &Result<()>, &AlignedBuf)) -> Result<()> {
        let geometry = &self.job.options.geometry;
        let first = &same[0];
        let bytes = geometry.slot_bytes(first.slot);
        let Destination::Target(writer) = &mut self.destination else {
            self.scratch.set_len(bytes);
            return decode_row(self.job, first, read, &mut self.decoder, &mut self.scratch);
        };
        if same.len() == 1 {
            decode_row(self.job, first, read, &mut self.decoder, writer.room(bytes)?)?;
            return writer.commit(geometry.offset(first.slot), bytes);
        }
        self.scratch.set_len(bytes);
        decode_row(self.job, first, read, &mut self.decoder, &mut self.scratch)?;
        for row in same {
            if geometry.slot_bytes(row.slot) != bytes {
                return Err(MoveError::codec(format!("slot {} has another length than its chunk", row.slot)));
            }
            writer.room(bytes)?.copy_from_slice(&self.scratch);
            writer.commit(geometry.offset(row.slot), bytes)?;
        }
        Ok(())
    }

    fn end(mut self) -> Vec<ExtractRow> {
        if let Destination::Target(writer) = &mut self.destination {
            writer.send();
        }
        self.job.return_decoder(self.decoder);
        self.damaged
    }
}
