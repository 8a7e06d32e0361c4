//! Decompressing and hashing without any I/O.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::chunks::{Codec, Worker, is_zero};
use crate::compute::for_each_window;
use crate::{Measured, Outcome};

/// A chunk as it would be stored.
struct Stored {
    bytes: Vec<u8>,
    plain_bytes: usize,
}

pub fn measure(arguments: &Arguments) -> Outcome<Measured> {
    let (codec, threads, chunk_bytes) = (
        arguments.codec()?,
        arguments.threads()?,
        arguments.chunk_bytes()?,
    );
    let mut measured = Measured {
        bytes: 0,
        stored: 0,
        seconds: 0.0,
    };
    for_each_window(arguments, |window| {
        let chunks = compressed(window, (codec, chunk_bytes));
        let started = Instant::now();
        decode_all(&chunks, (threads, codec, chunk_bytes))?;
        measured.seconds += started.elapsed().as_secs_f64();
        measured.bytes += chunks
            .iter()
            .map(|chunk| chunk.plain_bytes as u64)
            .sum::<u64>();
        measured.stored += chunks
            .iter()
            .map(|chunk| chunk.bytes.len() as u64)
            .sum::<u64>();
        Ok(())
    })?;
    Ok(measured)
}

fn compressed(window: &[u8], (codec, chunk_bytes): (Codec, usize)) -> Vec<Stored> {
    let mut worker = Worker::new(codec, chunk_bytes);
    let store = |plain: &[u8]| {
        let length = worker.compress(plain);
        let bytes = if length < plain.len() {
            &worker.room[..length]
        } else {
            plain
        };
        Stored {
            bytes: bytes.to_vec(),
            plain_bytes: plain.len(),
        }
    };
    window
        .chunks(chunk_bytes)
        .filter(|plain| !is_zero(plain))
        .map(store)
        .collect()
}

fn decode_all(
    chunks: &[Stored],
    (threads, codec, chunk_bytes): (usize, Codec, usize),
) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let decoder = || -> Outcome<()> {
        let mut worker = Worker::new(codec, chunk_bytes);
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            black_box(blake3::hash(
                worker.decompress(&chunk.bytes, chunk.plain_bytes)?,
            ));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let decoders: Vec<_> = (0..threads).map(|_| scope.spawn(decoder)).collect();
        decoders
            .into_iter()
            .try_for_each(|decoder| decoder.join().map_err(|_| "a decoder panicked")?)
    })
}
