//! An extent of a volume as a stream of bytes: proven chunks in order, zeroes where there is none.

use crate::batch::ExtractRow;
use crate::decode_job::DecodeJob;
use crate::device::{AlignedBuf, Outlet};
use crate::error::{MoveError, Result};
use crate::geometry::VOLUME_BYTES_MAX;
use crate::pack_reads::{check_rows, decode_row, fill, plan_reads};
use crate::read_ahead::ReadAhead;
use crate::waiting::POLL;

static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the bytes of the extent to `outlet`. `rows` are in slot order; a slot without one is zero.
///
/// A chunk without a good copy is an error whatever the job tolerates: a stream has no list of damage.
pub fn emit(job: &DecodeJob, rows: &[ExtractRow], offset: u64, length: u64, outlet: &Outlet) -> Result<()> {
    check_rows(job, rows)?;
    let end = offset.checked_add(length).filter(|&end| end <= job.options.geometry.volume_bytes().min(VOLUME_BYTES_MAX));
    let end = end.ok_or_else(|| MoveError::argument("the extent is not one of the volume"))?;
    if !rows.is_sorted_by(|one, next| one.slot < next.slot) {
        return Err(MoveError::argument("the rows are not in slot order"));
    }
    let reads = plan_reads(rows, job.read_buffers.buffer_bytes());
    let ahead = ReadAhead {
        pool: &job.read_buffers,
        cancel: &job.cancel,
        threads: job.options.readers,
        waited_ns: &job.counters.read_wait_ns,
    };
    let mut decoder = job.lend_decoder()?;
    let mut plain = AlignedBuf::with_capacity(job.options.geometry.chunk_bytes());
    let mut stream = Stream { job, outlet, at: offset, end };
    ahead.run(
        reads.len(),
        |number, buffer| fill(job, &reads[number], &rows[reads[number].rows.clone()], buffer),
        |number, outcome, buffer| {
            let read = &reads[number];
            for row in &rows[read.rows.clone()] {
                plain.set_len(job.options.geometry.slot_bytes(row.slot));
                decode_row(job, row, (read, &outcome, buffer), &mut decoder, &mut plain)?;
                stream.chunk(job.options.geometry.offset(row.slot), &plain)?;
            }
            Ok(())
        },
    )?;
    stream.zeroes_until(end)?;
    job.return_decoder(decoder);
    Ok(())
}

struct Stream<'a> {
    job: &'a DecodeJob,
    outlet: &'a Outlet,
    at: u64,
    end: u64,
}

impl Stream<'_> {
    /// The part of a chunk that is in the extent, after the zeroes before it.
    fn chunk(&mut self, offset: u64, plain: &[u8]) -> Result<()> {
        let (first, last) = (offset.max(self.at), (offset + plain.len() as u64).min(self.end));
        if first >= last {
            return Ok(());
        }
        self.zeroes_until(first)?;
        self.put(&plain[(first - offset) as usize..(last - offset) as usize])
    }

    fn zeroes_until(&mut self, offset: u64) -> Result<()> {
        while self.at < offset {
            self.put(&ZEROES[..(offset - self.at).min(ZEROES.len() as u64) as usize])?;
        }
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.job.cancel.check()?;
            let failed = |error| MoveError::target(Some(self.at), error);
            let written = self.outlet.write_some(bytes, POLL).map_err(failed)?;
            self.at += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}
