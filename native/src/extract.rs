//! The loop of a restore: read ranges of packs ▸ decompress ▸ compare the digest ▸ write where the slot is.

use std::sync::atomic::Ordering;
use std::thread;

use crate::aligned_buf::AlignedBuf;
use crate::batch::PlannedRow;
use crate::codec::Decoder;
use crate::decode_job::DecodeJob;
use crate::error::{NativeError, Result};
use crate::pack_folder::is_damage;
use crate::pack_reads::{PackRead, check_rows, decode_row, fill, plan_reads, prove_row};
use crate::read_ahead::{Consumer, ReadAhead};
use crate::target_writer::{TargetWriter, WriteQueue};

/// Decodes the chunks of `rows`, in pack order, and writes each to its slot where the job has a target.
///
/// Gives the rows whose chunk has no good copy, if the job is tolerant; else the first is the error.
pub fn extract(job: &DecodeJob, rows: &[PlannedRow]) -> Result<Vec<PlannedRow>> {
    check_rows(job, rows)?;
    let queue = WriteQueue::new(&job.write_buffers, &job.cancel);
    let Some(target) = job.target.as_deref() else {
        return decode(job, rows, Destination::Nowhere);
    };
    let damaged = thread::scope(|scope| {
        let _end = EndOnDrop(&queue);
        for _ in 0..job.options.writers {
            thread::Builder::new()
                .name("mover-write".to_owned())
                .spawn_scoped(scope, || {
                    queue.write_to(target, &job.counters.bytes_written)
                })
                .map_err(|error| {
                    NativeError::internal(format!("cannot start a writer thread: {error}"))
                })?;
        }
        let writer = TargetWriter::new(&queue, &job.counters.write_wait_ns);
        decode(job, rows, Destination::Target(writer))
    });
    // A failed writer is the cause, whatever the computing thread ended with.
    let outcome = queue.outcome();
    match (damaged, outcome) {
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(NativeError::Cancelled)) => Err(error),
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

fn decode(
    job: &DecodeJob,
    rows: &[PlannedRow],
    destination: Destination<'_, '_>,
) -> Result<Vec<PlannedRow>> {
    let reads = plan_reads(rows, job.read_buffers.buffer_bytes());
    let ahead = ReadAhead {
        pool: &job.read_buffers,
        cancel: &job.cancel,
        threads: job.options.readers,
        waited_ns: &job.counters.read_wait_ns,
    };
    let mut decoding = Decoding {
        job,
        rows,
        reads: &reads,
        decoder: job.lend_decoder()?,
        scratch: AlignedBuf::with_capacity(job.options.geometry.chunk_bytes()),
        destination,
        damaged: Vec::new(),
    };
    let fill = |number: usize, buffer: &mut AlignedBuf| fill(job, &reads[number], rows, buffer);
    ahead.run(reads.len(), fill, &mut decoding)?;
    Ok(decoding.end())
}

/// What the calling thread holds while it computes.
struct Decoding<'j, 'q, 'a> {
    job: &'j DecodeJob,
    rows: &'j [PlannedRow],
    reads: &'j [PackRead],
    decoder: Decoder,
    /// For a chunk that several slots hold, or that nobody wants but its proof.
    scratch: AlignedBuf,
    destination: Destination<'q, 'a>,
    damaged: Vec<PlannedRow>,
}

impl Consumer<Result<()>> for Decoding<'_, '_, '_> {
    fn consume(&mut self, number: usize, outcome: Result<()>, buffer: &AlignedBuf) -> Result<()> {
        let read = &self.reads[number];
        let bytes = |row: &PlannedRow| self.job.options.geometry.slot_bytes(row.slot);
        let is_same = |one: &PlannedRow, next: &PlannedRow| {
            one.offset == next.offset && one.digest == next.digest && bytes(one) == bytes(next)
        };
        for same in self.rows[read.rows.clone()].chunk_by(is_same) {
            self.job.cancel.check()?;
            match self.entry(same, (read, &outcome, buffer)) {
                Err(error) if self.job.options.is_tolerant && is_damage(&error) => {
                    self.damaged.extend_from_slice(same)
                }
                decoded => decoded?,
            }
            self.job
                .counters
                .chunks_done
                .fetch_add(same.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn before_wait(&mut self) {
        if let Destination::Target(writer) = &mut self.destination {
            writer.send();
        }
    }
}

impl Decoding<'_, '_, '_> {
    /// Decodes one entry, once, for all slots that hold it.
    fn entry(
        &mut self,
        same: &[PlannedRow],
        read: (&PackRead, &Result<()>, &AlignedBuf),
    ) -> Result<()> {
        let geometry = &self.job.options.geometry;
        let first = &same[0];
        let bytes = geometry.slot_bytes(first.slot);
        let Destination::Target(writer) = &mut self.destination else {
            self.scratch.set_len(bytes);
            return prove_row(self.job, first, read, &mut self.decoder, &mut self.scratch);
        };
        if same.len() == 1 {
            decode_row(
                self.job,
                first,
                read,
                &mut self.decoder,
                writer.room(bytes)?,
            )?;
            return writer.commit(geometry.offset(first.slot), bytes);
        }
        self.scratch.set_len(bytes);
        decode_row(self.job, first, read, &mut self.decoder, &mut self.scratch)?;
        for row in same {
            writer.room(bytes)?.copy_from_slice(&self.scratch);
            writer.commit(geometry.offset(row.slot), bytes)?;
        }
        Ok(())
    }

    fn end(mut self) -> Vec<PlannedRow> {
        self.before_wait();
        self.job.return_decoder(self.decoder);
        self.damaged
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::extract_plan::{ExtractPlan, Order, plan_extract};
    use crate::testing::{CHUNK, Faults, FaultyDevice, Rig, ingest_all, mixed_volume, wanted};

    /// Stores a volume, publishes it, and gives what a restore of it is asked for.
    fn stored(rig: &Rig, volume: &[u8]) -> (Vec<u8>, Vec<crate::pack_writer::WrittenPack>) {
        let job = rig.encode(&FaultyDevice::new(volume.to_vec(), Faults::default()));
        let results = ingest_all(&job);
        (results, rig.publish(&job))
    }

    fn plan(job: &DecodeJob, results: &[u8], order: Order) -> ExtractPlan {
        plan_extract(job, &wanted(results), order, 1 << 20).unwrap()
    }

    fn extract_all(job: &DecodeJob, plan: &ExtractPlan) -> Result<Vec<PlannedRow>> {
        let mut damaged = Vec::new();
        for bounds in plan.bounds.windows(2) {
            damaged.extend(extract(
                job,
                &plan.rows[bounds[0] as usize..bounds[1] as usize],
            )?);
        }
        Ok(damaged)
    }

    fn zeroes(bytes: usize, faults: Faults) -> Arc<FaultyDevice> {
        FaultyDevice::new(vec![0; bytes], faults)
    }

    #[test]
    fn volumes_of_any_size_come_back_byte_for_byte() {
        for size in [
            0,
            1,
            512,
            CHUNK - 512,
            CHUNK + 512,
            1009 * 512,
            500 * CHUNK,
            700 * CHUNK + 513,
        ] {
            let volume = mixed_volume(size as u64, size);
            let rig = Rig::new();
            let (results, _) = stored(&rig, &volume);
            for order in [Order::Pack, Order::Slot] {
                let faults = Faults {
                    bytes_per_call: Some(3 * 4096),
                    is_interrupted: true,
                    ..Faults::default()
                };
                let target = zeroes(size, faults);
                let job = rig.decode(rig.decode_options(size), Some(&target));
                assert!(
                    extract_all(&job, &plan(&job, &results, order))
                        .unwrap()
                        .is_empty()
                );
                assert!(target.content() == volume, "{size}");
                assert_eq!(job.counter_values()[6], wanted(&results).len() as u64);
            }
        }
    }

    #[test]
    fn memory_stays_within_the_bound() {
        let volume = mixed_volume(20, 600 * CHUNK);
        let rig = Rig::new();
        let (results, _) = stored(&rig, &volume);
        for bound in [2 * (CHUNK + 8192), 1 << 20, 8 << 20] {
            let target = zeroes(volume.len(), Faults::default());
            let mut options = rig.decode_options(volume.len());
            options.bytes_in_flight_max = bound;
            let job = rig.decode(options, Some(&target));
            extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap();
            assert!(target.content() == volume);
            assert!(job.read_buffers.bytes_made() + job.write_buffers.bytes_made() <= bound);
        }
        let mut options = rig.decode_options(volume.len());
        options.bytes_in_flight_max = CHUNK;
        assert!(DecodeJob::open(options, None, rig.index.clone()).is_err());
    }

    #[test]
    fn calls_that_share_the_fewest_buffers_all_finish() {
        let volume = mixed_volume(29, 400 * CHUNK);
        let rig = Rig::new();
        let (results, _) = stored(&rig, &volume);
        let target = zeroes(volume.len(), Faults::default());
        let mut options = rig.decode_options(volume.len());
        options.bytes_in_flight_max = 2 * (CHUNK + 8192);
        let job = rig.decode(options, Some(&target));
        let rows = plan(&job, &results, Order::Slot).rows;
        thread::scope(|scope| {
            for part in rows.chunks(rows.len().div_ceil(4)) {
                let job = &job;
                scope.spawn(move || extract(job, part).unwrap());
            }
        });
        assert!(target.content() == volume);
    }

    #[test]
    fn an_entry_of_many_slots_is_decoded_once() {
        let volume = vec![0xff; 50 * CHUNK];
        let rig = Rig::new();
        let (results, _) = stored(&rig, &volume);
        let target = zeroes(volume.len(), Faults::default());
        let job = rig.decode(rig.decode_options(volume.len()), Some(&target));
        extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap();
        assert!(target.content() == volume);
        assert_eq!(job.counter_values()[0], CHUNK as u64);
    }

    #[test]
    fn a_verification_plans_each_entry_once() {
        let volume = mixed_volume(21, 200 * CHUNK);
        let rig = Rig::new();
        let (results, packs) = stored(&rig, &volume);
        let mut options = rig.decode_options(volume.len());
        (options.is_once, options.is_tolerant) = (true, true);
        let job = rig.decode(options, None);
        let first = plan(&job, &results, Order::Pack);
        assert_eq!(
            first.rows.len(),
            packs.iter().map(|pack| pack.entries.len()).sum::<usize>()
        );
        assert!(extract_all(&job, &first).unwrap().is_empty());
        assert!(plan(&job, &results, Order::Pack).rows.is_empty());
    }

    /// Overwrites the stored bytes of an entry.
    fn damage(
        rig: &Rig,
        pack: &crate::pack_writer::WrittenPack,
        entry: usize,
    ) -> crate::digest::Digest {
        let file = fs::File::options()
            .write(true)
            .open(rig.pack_path(pack))
            .unwrap();
        let entry = &pack.entries[entry];
        file.write_all_at(&vec![0x5a; entry.stored as usize], u64::from(entry.offset))
            .unwrap();
        entry.digest
    }

    #[test]
    fn a_damaged_chunk_is_an_error_that_names_it_or_a_row_of_the_damaged() {
        let volume = mixed_volume(22, 200 * CHUNK);
        let rig = Rig::new();
        let (results, packs) = stored(&rig, &volume);
        let bad = damage(&rig, &packs[0], 5);
        let target = zeroes(volume.len(), Faults::default());
        let job = rig.decode(rig.decode_options(volume.len()), Some(&target));
        let strict = plan(&job, &results, Order::Pack);
        let error = extract_all(&job, &strict).unwrap_err();
        let row = strict.rows.iter().find(|row| row.digest == bad).unwrap();
        assert_eq!(
            (error.code(), error.offset()),
            ("CHUNK_CORRUPT", Some(row.slot * CHUNK as u64))
        );
        assert_eq!(error.path(), Some(rig.pack_path(&packs[0]).as_path()));
        assert!(
            error.to_string().contains(&format!("slot {}", row.slot)),
            "{error}"
        );

        let mut options = rig.decode_options(volume.len());
        options.is_tolerant = true;
        let job = rig.decode(options, None);
        let damaged = extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap();
        assert!(!damaged.is_empty() && damaged.iter().all(|row| row.digest == bad));
    }

    #[test]
    fn a_missing_or_short_pack_damages_its_chunks_and_no_others() {
        for cut in [None, Some(4096)] {
            let volume = mixed_volume(23, 400 * CHUNK);
            let rig = Rig::new();
            let (results, packs) = stored(&rig, &volume);
            assert!(packs.len() > 1);
            match cut {
                None => fs::remove_file(rig.pack_path(&packs[0])).unwrap(),
                Some(bytes) => fs::File::options()
                    .write(true)
                    .open(rig.pack_path(&packs[0]))
                    .unwrap()
                    .set_len(bytes)
                    .unwrap(),
            }
            let mut options = rig.decode_options(volume.len());
            (options.is_tolerant, options.is_once) = (true, true);
            let job = rig.decode(options, None);
            let damaged = extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap();
            // Which chunk comes first is the workers' race: a small one can lie before the cut.
            let lost = packs[0].entries.iter().filter(|entry| {
                cut.is_none_or(|bytes| u64::from(entry.offset + entry.stored) > bytes)
            });
            assert_eq!(damaged.len(), lost.count());

            let job = rig.decode(rig.decode_options(volume.len()), None);
            let error = extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap_err();
            assert_eq!(error.code(), "CHUNK_CORRUPT");
        }
    }

    #[test]
    fn another_copy_is_used_where_one_is_damaged() {
        let volume = mixed_volume(24, 200 * CHUNK);
        let rig = Rig::new();
        let (results, packs) = stored(&rig, &volume);
        // The packs are away while the same bytes are stored again, and come back damaged.
        let away: Vec<_> = packs
            .iter()
            .map(|pack| {
                (
                    rig.pack_path(pack),
                    rig.folder.path().join(crate::digest::hex(&pack.id)),
                )
            })
            .collect();
        away.iter()
            .for_each(|(place, aside)| fs::rename(place, aside).unwrap());
        let (_, copies) = stored(&rig, &volume);
        assert!(!copies.is_empty());
        away.iter()
            .for_each(|(place, aside)| fs::rename(aside, place).unwrap());
        for (one, other) in packs.iter().zip(&copies) {
            (0..one.entries.len())
                .step_by(2)
                .for_each(|at| _ = damage(&rig, one, at));
            (1..other.entries.len())
                .step_by(2)
                .for_each(|at| _ = damage(&rig, other, at));
        }
        let target = zeroes(volume.len(), Faults::default());
        let mut options = rig.decode_options(volume.len());
        options.is_tolerant = true;
        let job = rig.decode(options, Some(&target));
        let damaged = extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap();
        // Two jobs may have filled their packs in the same order or not; each entry has one good copy.
        assert_eq!(damaged, []);
        assert!(target.content() == volume);
    }

    #[test]
    fn an_unknown_chunk_is_missing_and_never_zeroes() {
        let rig = Rig::new();
        let (mut results, _) = stored(&rig, &mixed_volume(25, 50 * CHUNK));
        let at = results.chunks(33).position(|slot| slot[0] != 0).unwrap();
        results[at * 33 + 1] ^= 1;
        let job = rig.decode(rig.decode_options(50 * CHUNK), None);
        let error = plan_extract(&job, &wanted(&results), Order::Pack, 1).unwrap_err();
        assert_eq!(
            (error.code(), error.offset()),
            ("CHUNK_MISSING", Some((at * CHUNK) as u64))
        );
        let mut options = rig.decode_options(50 * CHUNK);
        options.is_tolerant = true;
        let plan = plan_extract(
            &rig.decode(options, None),
            &wanted(&results),
            Order::Pack,
            1,
        )
        .unwrap();
        assert_eq!(plan.missing.len(), 1);
        assert_eq!(plan.missing[0].slot, at as u64);
    }

    #[test]
    fn target_errors_name_the_target_and_the_offset() {
        let volume = mixed_volume(26, 300 * CHUNK);
        let rig = Rig::new();
        let (results, _) = stored(&rig, &volume);
        let slot = wanted(&results)[60].slot;
        for (error, code) in [(libc::EIO, "TARGET_FAILED"), (libc::ENOSPC, "TARGET_FULL")] {
            let at = slot * CHUNK as u64;
            let target = zeroes(
                volume.len(),
                Faults {
                    error_at: Some((at, error)),
                    ..Faults::default()
                },
            );
            let job = rig.decode(rig.decode_options(volume.len()), Some(&target));
            let error = extract_all(&job, &plan(&job, &results, Order::Pack)).unwrap_err();
            assert_eq!((error.code(), error.offset()), (code, Some(at)));
        }
    }

    #[test]
    fn a_call_under_a_limit_ends_soon_after_cancel() {
        let volume = mixed_volume(27, 300 * CHUNK);
        let rig = Rig::new();
        let (results, _) = stored(&rig, &volume);
        let target = zeroes(volume.len(), Faults::default());
        let mut options = rig.decode_options(volume.len());
        options.bytes_per_second = 1000;
        let job = rig.decode(options, Some(&target));
        let plan = plan(&job, &results, Order::Pack);
        thread::scope(|scope| {
            let call = scope.spawn(|| extract(&job, &plan.rows));
            thread::sleep(Duration::from_millis(100));
            let started = Instant::now();
            job.cancel();
            assert_eq!(call.join().unwrap().unwrap_err().code(), "CANCELLED");
            assert!(
                started.elapsed() < Duration::from_millis(200),
                "{:?}",
                started.elapsed()
            );
        });
    }

    #[test]
    fn rows_that_no_plan_made_are_refused() {
        let rig = Rig::new();
        let (results, _) = stored(&rig, &mixed_volume(28, 20 * CHUNK));
        let job = rig.decode(rig.decode_options(20 * CHUNK), None);
        let good = plan(&job, &results, Order::Pack).rows[0];
        for bad in [
            PlannedRow { slot: 20, ..good },
            PlannedRow { pack: 99, ..good },
            PlannedRow { stored: 0, ..good },
            PlannedRow {
                plain: CHUNK as u32 + 1,
                ..good
            },
            PlannedRow {
                stored: good.plain + 1,
                ..good
            },
        ] {
            assert_eq!(
                extract(&job, &[bad]).unwrap_err().code(),
                "ARGUMENT_INVALID"
            );
        }
        let beyond = PlannedRow {
            offset: u32::MAX,
            ..good
        };
        assert!(
            extract(&job, &[beyond]).is_ok(),
            "the index still knows where it is"
        );
    }
}
