use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::pack_writer::DiskFiles;
use crate::testing::{
    CHUNK, Faults, FaultyDevice, Rig, SlowFiles, ingest_all, mixed_volume, states,
};

#[test]
fn every_slot_has_its_state_and_digest_whatever_the_size() {
    let prime = 1009 * 512;
    for size in [
        0,
        1,
        512,
        CHUNK - 512,
        CHUNK,
        CHUNK + 512,
        prime,
        40 * CHUNK,
        333 * CHUNK + 7,
    ] {
        let volume = mixed_volume(size as u64, size);
        let rig = Rig::new();
        let job = rig.encode(&FaultyDevice::new(volume.clone(), Faults::default()));
        let results = ingest_all(&job);
        assert_eq!(results.len(), size.div_ceil(CHUNK) * SLOT_ROW_BYTES);
        for (plain, result) in volume.chunks(CHUNK).zip(results.chunks(SLOT_ROW_BYTES)) {
            assert_eq!(result[0] == STATE_ZERO, is_zero(plain));
            let digest = if is_zero(plain) {
                [0; 32]
            } else {
                digest::of_chunk(plain)
            };
            assert_eq!(result[1..], digest);
        }
        let counts = job.counter_values();
        assert_eq!(counts[0], size as u64);
        assert_eq!(counts[1] + counts[2] + counts[3], size as u64);
        assert_eq!(counts[10], size.div_ceil(CHUNK) as u64);
    }
}

#[test]
fn scattered_runs_are_read_and_nothing_else() {
    let volume = mixed_volume(3, 200 * CHUNK + 512);
    let rig = Rig::new();
    let job = rig.encode(&FaultyDevice::new(volume.clone(), Faults::default()));
    let runs: Vec<_> = [(200, 1), (0, 3), (7, 1), (9, 64), (199, 1)]
        .map(|(first, count)| Run { first, count })
        .into();
    let slots: Vec<u64> = runs
        .iter()
        .flat_map(|run| run.first..run.first + run.count)
        .collect();
    let results = ingest(&job, &runs, Purpose::Look).unwrap();
    for (&slot, result) in slots.iter().zip(results.chunks(SLOT_ROW_BYTES)) {
        let plain = &volume[slot as usize * CHUNK..volume.len().min((slot as usize + 1) * CHUNK)];
        assert_eq!(result[0], u8::from(!is_zero(plain)));
        assert!(is_zero(plain) || result[1..] == digest::of_chunk(plain));
    }
    job.flush().unwrap();
    assert!(
        job.take_sealed().unwrap().is_empty(),
        "looking stores nothing"
    );
    assert_eq!(job.counter_values()[0], 69 * CHUNK as u64 + 512);
}

#[test]
fn units_fill_buffers_and_cover_each_slot_once() {
    let geometry = Geometry::new(100 * CHUNK as u64 - 100, CHUNK as u64).unwrap();
    let runs = [
        Run {
            first: 0,
            count: 10,
        },
        Run {
            first: 20,
            count: 1,
        },
        Run {
            first: 90,
            count: 10,
        },
    ];
    let cut = cut_units(&runs, &geometry, 4 * CHUNK, 4 * CHUNK);
    let shape: Vec<Vec<_>> = cut
        .units
        .iter()
        .map(|unit| {
            cut.pieces[unit.clone()]
                .iter()
                .map(|piece| (piece.first, piece.count, piece.at / CHUNK))
                .collect()
        })
        .collect();
    let expected: Vec<Vec<(u64, u64, usize)>> = vec![
        vec![(0, 4, 0)],
        vec![(4, 4, 0)],
        vec![(8, 2, 0), (20, 1, 2), (90, 1, 3)],
        vec![(91, 4, 0)],
        vec![(95, 4, 0)],
        vec![(99, 1, 0)],
    ];
    assert_eq!(shape, expected);
    let bytes: usize = cut.pieces.iter().map(|piece| piece.bytes).sum();
    assert_eq!(bytes, 21 * CHUNK - 100);

    let geometry = Geometry::new(1 << 30, 64 << 10).unwrap();
    let cut = cut_units(
        &[Run {
            first: 0,
            count: 150,
        }],
        &geometry,
        3 << 20,
        UNIT_BYTES_MIN,
    );
    let slots: Vec<_> = cut.pieces.iter().map(|piece| piece.count).collect();
    assert_eq!(slots, [4, 8, 16, 32, 48, 42], "the first units are small");
}

#[test]
fn scattered_runs_get_more_readers_and_long_ones_do_not() {
    let rig = Rig::new();
    let slots = 64 * SCATTERED_RUN_BYTES_MAX as usize / CHUNK;
    let job = rig.encode(&FaultyDevice::new(
        vec![1; slots * CHUNK],
        Faults::default(),
    ));
    let scattered: Vec<_> = (0..slots as u64)
        .step_by(2)
        .map(|first| Run { first, count: 1 })
        .collect();
    let long = [Run {
        first: 0,
        count: slots as u64,
    }];
    assert_eq!(cut(&scattered, &job).unwrap().readers, SCATTERED_READERS);
    assert_eq!(cut(&long, &job).unwrap().readers, job.options.readers);
}

#[test]
fn slots_beyond_the_volume_are_refused() {
    let rig = Rig::new();
    let job = rig.encode(&FaultyDevice::new(vec![1; 3 * CHUNK], Faults::default()));
    for (first, count) in [(0, 0), (0, 4), (3, 1), (u64::MAX, 2), (1, u64::MAX)] {
        let error = ingest(&job, &[Run { first, count }], Purpose::Store).unwrap_err();
        assert_eq!(error.code(), "ARGUMENT_INVALID");
    }
}

/// What the source did is told as the source's, with its offset, and never becomes zeroes.
#[test]
fn source_errors_name_the_source_and_the_offset() {
    let at = 77 * CHUNK as u64;
    let rig = Rig::new();
    let faults = Faults {
        error_at: Some((at, libc::EIO)),
        ..Faults::default()
    };
    let job = rig.encode(&FaultyDevice::new(mixed_volume(5, 100 * CHUNK), faults));
    let error = ingest(
        &job,
        &[Run {
            first: 0,
            count: 100,
        }],
        Purpose::Store,
    )
    .unwrap_err();
    assert_eq!(
        (error.code(), error.offset(), error.os()),
        ("SOURCE_FAILED", Some(at), Some("EIO"))
    );

    let options = rig.encode_options(100 * CHUNK);
    let shrunk = FaultyDevice::new(vec![1; 99 * CHUNK + 512], Faults::default());
    let job = rig.encode_with(&shrunk, options, Box::new(DiskFiles));
    let error = ingest(
        &job,
        &[Run {
            first: 0,
            count: 100,
        }],
        Purpose::Store,
    )
    .unwrap_err();
    assert_eq!(error.code(), "SOURCE_SHORT_READ");
}

#[test]
fn a_source_error_leaves_the_job_usable_and_its_claims_true() {
    let mut volume = mixed_volume(6, 64 * CHUNK);
    volume[..CHUNK].fill(7);
    let faults = Faults {
        error_at: Some((63 * CHUNK as u64, libc::EIO)),
        ..Faults::default()
    };
    let rig = Rig::new();
    let job = rig.encode(&FaultyDevice::new(volume, faults));
    assert!(
        ingest(
            &job,
            &[Run {
                first: 0,
                count: 64
            }],
            Purpose::Store
        )
        .is_err()
    );
    let again = ingest(&job, &[Run { first: 0, count: 1 }], Purpose::Store).unwrap();
    let claimed = again[0] == STATE_KNOWN;
    job.flush().unwrap();
    let packs = job.take_sealed().unwrap();
    let holds = |pack: &crate::pack_writer::WrittenPack| {
        pack.entries.iter().any(|entry| entry.digest == again[1..])
    };
    assert!(
        packs.iter().any(holds),
        "known by a claim ({claimed}) means that it is in a pack"
    );
}

#[test]
fn two_threads_that_read_equal_bytes_store_them_once() {
    let half = mixed_volume(8, 300 * CHUNK);
    let rig = Rig::new();
    let job = rig.encode(&FaultyDevice::new(
        [half.clone(), half].concat(),
        Faults::default(),
    ));
    let results = thread::scope(|scope| {
        let calls = [0, 300].map(|first| {
            let job = &job;
            scope.spawn(move || ingest(job, &[Run { first, count: 300 }], Purpose::Store).unwrap())
        });
        calls.map(|call| call.join().unwrap())
    });
    job.flush().unwrap();
    let packs = job.take_sealed().unwrap();
    let mut stored: Vec<_> = packs
        .iter()
        .flat_map(|pack| pack.entries.iter())
        .map(|entry| entry.digest)
        .collect();
    let count = stored.len();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), count, "no digest is stored twice");
    let new = results
        .iter()
        .flat_map(|results| results.chunks(SLOT_ROW_BYTES))
        .filter(|slot| slot[0] == STATE_STORED);
    assert_eq!(new.count(), count);
}

#[test]
fn memory_stays_within_the_bound_whatever_the_number_of_calls() {
    let rig = Rig::new();
    let volume = mixed_volume(9, 1200 * CHUNK);
    for bound in [2 * (CHUNK + 8192), 1 << 20, 2 << 20, 3 << 20, 16 << 20] {
        let mut options = rig.encode_options(volume.len());
        options.bytes_in_flight_max = bound;
        let device = FaultyDevice::new(volume.clone(), Faults::default());
        let job = rig.encode_with(
            &device,
            options,
            Box::new(SlowFiles(Duration::from_millis(2))),
        );
        thread::scope(|scope| {
            for call in 0..4 {
                let job = &job;
                scope.spawn(move || {
                    ingest(
                        job,
                        &[Run {
                            first: call * 300,
                            count: 300,
                        }],
                        Purpose::Store,
                    )
                    .unwrap()
                });
            }
        });
        job.flush().unwrap();
        let made = job.buffers.bytes_made() + job.spool.bytes_made();
        assert!(made <= bound, "{made} of {bound}");
        job.close();
    }
    let mut options = rig.encode_options(volume.len());
    options.bytes_in_flight_max = 2 * (CHUNK + 8192) - 1;
    let outcome = EncodeJob::open(options, None, rig.index.clone(), Box::new(DiskFiles));
    assert_eq!(outcome.err().unwrap().code(), "ARGUMENT_INVALID");
}

#[test]
fn a_call_under_a_limit_ends_soon_after_cancel() {
    let rig = Rig::new();
    let mut options = rig.encode_options(400 * CHUNK);
    options.bytes_per_second = 100_000;
    let device = FaultyDevice::new(mixed_volume(11, 400 * CHUNK), Faults::default());
    let job = rig.encode_with(&device, options, Box::new(DiskFiles));
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            ingest(
                &job,
                &[Run {
                    first: 0,
                    count: 400,
                }],
                Purpose::Store,
            )
        });
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
    assert_eq!(job.flush().unwrap_err().code(), "CANCELLED");
    job.close();
    assert_eq!(rig.temp_count(), 0);
}

#[test]
fn what_a_job_stored_is_known_to_it_and_after_publishing_to_others() {
    let volume = FaultyDevice::new(mixed_volume(12, 60 * CHUNK), Faults::default());
    let rig = Rig::new();
    let job = rig.encode(&volume);
    let first = states(&ingest_all(&job));
    assert!(first.contains('2'));
    assert!(!states(&ingest_all(&job)).contains('2'));
    assert!(
        states(&ingest_all(&rig.encode(&volume))).contains('2'),
        "not published yet"
    );
    rig.publish(&job);
    assert!(!states(&ingest_all(&job)).contains('2'));
    assert!(!states(&ingest_all(&rig.encode(&volume))).contains('2'));
}

/// A pack that is missing or short is no reason not to store its chunks again.
#[test]
fn chunks_of_a_missing_or_short_pack_are_stored_again() {
    let volume = FaultyDevice::new(mixed_volume(13, 300 * CHUNK), Faults::default());
    let rig = Rig::new();
    let job = rig.encode(&volume);
    ingest_all(&job);
    let packs = rig.publish(&job);
    assert!(packs.len() >= 2);
    std::fs::remove_file(rig.pack_path(&packs[0])).unwrap();
    let short = std::fs::File::options()
        .write(true)
        .open(rig.pack_path(&packs[1]))
        .unwrap();
    short.set_len(packs[1].bytes - 4096).unwrap();
    let healing = rig.encode(&volume);
    let again = ingest_all(&healing);
    assert_eq!(
        states(&again).matches('2').count(),
        packs[0].entries.len() + packs[1].entries.len()
    );
    rig.publish(&healing);
    assert!(
        !states(&ingest_all(&rig.encode(&volume))).contains('2'),
        "the new copies are found"
    );
}

#[test]
fn pages_are_stored_once_in_packs_of_their_own() {
    let rig = Rig::new();
    let job = rig.encode(&FaultyDevice::new(Vec::new(), Faults::default()));
    let pages: Vec<u8> = [[1; 100].as_slice(), &[2; 200], &[1; 100]].concat();
    let digests = job.store_pages(&pages, &[100, 200, 100]).unwrap();
    assert_eq!(digests[..32], digest::of_page(&[1; 100]));
    assert_eq!(digests[32..64], digest::of_page(&[2; 200]));
    assert_eq!(digests[64..], digests[..32]);
    let packs = rig.publish(&job);
    assert_eq!(
        (packs.len(), packs[0].kind, packs[0].entries.len()),
        (1, EntryType::Page, 2)
    );
    job.store_pages(&pages, &[100, 200, 100]).unwrap();
    assert!(rig.publish(&job).is_empty());
    assert_eq!(
        job.store_pages(&pages, &[100, 200]).unwrap_err().code(),
        "ARGUMENT_INVALID"
    );
    assert_eq!(
        job.store_pages(&pages, &[100, 0, 300]).unwrap_err().code(),
        "ARGUMENT_INVALID"
    );
}
