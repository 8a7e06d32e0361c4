//! An extent of a volume as a stream of bytes: proven chunks in order, zeroes where there is none.

use crate::aligned_buf::AlignedBuf;
use crate::batch::PlannedRow;
use crate::cancel::POLL;
use crate::decode_job::DecodeJob;
use crate::error::{NativeError, Result};
use crate::geometry::VOLUME_BYTES_MAX;
use crate::outlet::Outlet;
use crate::pack_reads::{check_rows, decode_row, fill, plan_reads};
use crate::read_ahead::ReadAhead;

static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the bytes of the extent to `outlet`. `rows` are in slot order; a slot without one is zero.
///
/// A chunk without a good copy is an error whatever the job tolerates: a stream has no list of damage.
pub fn emit(
    job: &DecodeJob,
    rows: &[PlannedRow],
    offset: u64,
    length: u64,
    outlet: &Outlet,
) -> Result<()> {
    check_rows(job, rows)?;
    let end = offset
        .checked_add(length)
        .filter(|&end| end <= job.options.geometry.volume_bytes().min(VOLUME_BYTES_MAX));
    let end = end.ok_or_else(|| NativeError::argument("the extent is not one of the volume"))?;
    if !rows.is_sorted_by(|one, next| one.slot < next.slot) {
        return Err(NativeError::argument("the rows are not in slot order"));
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
    let mut stream = Stream {
        job,
        outlet,
        at: offset,
        end,
    };
    let fill = |number: usize, buffer: &mut AlignedBuf| fill(job, &reads[number], rows, buffer);
    let mut consume = |number: usize, outcome: Result<()>, buffer: &AlignedBuf| {
        let read = &reads[number];
        for row in &rows[read.rows.clone()] {
            plain.set_len(job.options.geometry.slot_bytes(row.slot));
            decode_row(job, row, (read, &outcome, buffer), &mut decoder, &mut plain)?;
            stream.chunk(job.options.geometry.offset(row.slot), &plain)?;
        }
        Ok(())
    };
    ahead.run(reads.len(), fill, &mut consume)?;
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
        let (first, last) = (
            offset.max(self.at),
            (offset + plain.len() as u64).min(self.end),
        );
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
            let failed = |error| NativeError::target(Some(self.at), error);
            let written = self.outlet.write_some(bytes, POLL).map_err(failed)?;
            self.at += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{self, Read};
    use std::os::fd::AsRawFd;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::extract_plan::{Order, plan_extract};
    use crate::testing::{CHUNK, Faults, FaultyDevice, Rig, ingest_all, mixed_volume, wanted};

    fn stored(rig: &Rig, volume: &[u8]) -> (DecodeJob, Vec<PlannedRow>) {
        let job = rig.encode(&FaultyDevice::new(volume.to_vec(), Faults::default()));
        let results = ingest_all(&job);
        rig.publish(&job);
        let job = rig.decode(rig.decode_options(volume.len()), None);
        let rows = plan_extract(&job, &wanted(&results), Order::Slot, u64::MAX)
            .unwrap()
            .rows;
        (job, rows)
    }

    #[test]
    fn any_extent_comes_out_in_order_with_its_zeroes() {
        let volume = mixed_volume(30, 90 * CHUNK + 512);
        let rig = Rig::new();
        let (job, rows) = stored(&rig, &volume);
        let path = rig.folder.path().join("out");
        let end = volume.len();
        for (first, last) in [
            (0, end),
            (0, 0),
            (1, 2),
            (CHUNK - 1, CHUNK + 1),
            (5 * CHUNK + 100, 77 * CHUNK + 1),
            (end - 1, end),
        ] {
            let slots = (first / CHUNK) as u64..last.div_ceil(CHUNK) as u64;
            let rows: Vec<_> = rows
                .iter()
                .copied()
                .filter(|row| slots.contains(&row.slot))
                .collect();
            let file = File::create(&path).unwrap();
            let outlet = Outlet::new(file.as_raw_fd()).unwrap();
            emit(&job, &rows, first as u64, (last - first) as u64, &outlet).unwrap();
            assert!(
                fs::read(&path).unwrap() == volume[first..last],
                "{first}..{last}"
            );
        }
    }

    #[test]
    fn a_slow_reader_gets_everything_and_a_gone_one_is_an_error() {
        let volume = mixed_volume(31, 60 * CHUNK);
        let rig = Rig::new();
        let (job, rows) = stored(&rig, &volume);
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer.as_raw_fd()).unwrap();
        drop(writer);
        let read = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        emit(&job, &rows, 0, volume.len() as u64, &outlet).unwrap();
        drop(outlet);
        assert!(read.join().unwrap().unwrap() == volume);

        let (reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer.as_raw_fd()).unwrap();
        drop(reader);
        let error = emit(&job, &rows, 0, volume.len() as u64, &outlet).unwrap_err();
        assert_eq!((error.code(), error.os()), ("TARGET_FAILED", Some("EPIPE")));
    }

    #[test]
    fn a_stream_that_nobody_reads_ends_with_cancel() {
        let volume = mixed_volume(32, 60 * CHUNK);
        let rig = Rig::new();
        let (job, rows) = stored(&rig, &volume);
        let (_reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer.as_raw_fd()).unwrap();
        thread::scope(|scope| {
            let call = scope.spawn(|| emit(&job, &rows, 0, volume.len() as u64, &outlet));
            thread::sleep(Duration::from_millis(100));
            let started = Instant::now();
            job.cancel();
            assert_eq!(call.join().unwrap().unwrap_err().code(), "CANCELLED");
            assert!(started.elapsed() < Duration::from_millis(200));
        });
    }

    #[test]
    fn extents_beyond_the_volume_and_rows_out_of_order_are_refused() {
        let rig = Rig::new();
        let (job, mut rows) = stored(&rig, &mixed_volume(33, 10 * CHUNK));
        let outlet = Outlet::new(
            File::create(rig.folder.path().join("out"))
                .unwrap()
                .as_raw_fd(),
        )
        .unwrap();
        let end = 10 * CHUNK as u64;
        for (offset, length) in [(0, end + 1), (end + 1, 0), (u64::MAX, 2)] {
            assert_eq!(
                emit(&job, &rows, offset, length, &outlet)
                    .unwrap_err()
                    .code(),
                "ARGUMENT_INVALID"
            );
        }
        rows.reverse();
        assert_eq!(
            emit(&job, &rows, 0, end, &outlet).unwrap_err().code(),
            "ARGUMENT_INVALID"
        );
    }
}
