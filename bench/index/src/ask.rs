//! Asks an index as a backup does: is this chunk known, and is its pack there?

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use mover_native::digest::Digest;
use mover_native::index::ChunkIndex;
use mover_native::pack::EntryType;
use mover_native::pack_folder::PackFolder;

use crate::made_up::digest;
use crate::{Outcome, Repository};

const WARM_UP_ROUNDS: usize = 2;

pub fn ask(repository: &Repository, lookups: u64) -> Outcome<()> {
    let before = memory()?;
    let started = Instant::now();
    let index = open(repository)?;
    let open_seconds = started.elapsed().as_secs_f64();
    let opened = memory()?;
    let packs = PackFolder::new(repository.root.join("packs"));

    // Odd steps through all entries: every part, every pack, in no order.
    let step = 0x9e37_79b9_7f4a_7c15_u64 | 1;
    let known: Vec<Digest> = (0..lookups)
        .map(|number| digest(number.wrapping_mul(step) % repository.entries))
        .collect();
    let new: Vec<Digest> = (0..lookups)
        .map(|number| digest(repository.entries + number))
        .collect();
    let asked = memory()?;
    let known_rate = rate(&index, &packs, &known, true)?;
    let new_rate = rate(&index, &packs, &new, false)?;
    let after = memory()?;
    println!(
        r#"{{"what":"index","entries":{},"openSeconds":{open_seconds:.4},"openBytes":{},"bytes":{},"newPerSecond":{new_rate:.0},"knownPerSecond":{known_rate:.0}}}"#,
        repository.entries,
        opened - before,
        (opened - before) + (after - asked),
    );
    Ok(())
}

fn open(repository: &Repository) -> Outcome<ChunkIndex> {
    let index = ChunkIndex::new(repository.id);
    let listed = fs::read_dir(repository.root.join("index"))?;
    let paths = listed
        .map(|entry| Ok(entry?.path()))
        .collect::<Outcome<Vec<PathBuf>>>()?;
    index
        .add_segments(&paths)
        .map_err(|error| error.to_string())?;
    Ok(index)
}

/// Answers a second in the last of several rounds, when what is asked for is in memory and checked.
fn rate(
    index: &ChunkIndex,
    packs: &PackFolder,
    digests: &[Digest],
    is_known: bool,
) -> Outcome<f64> {
    let mut seconds = f64::NAN;
    for _ in 0..=WARM_UP_ROUNDS {
        let started = Instant::now();
        for digest in digests {
            let found = index.find_likely(EntryType::Chunk, digest);
            let found = found.map_err(|error| error.to_string())?;
            let is_there = match found {
                Some(place) => packs
                    .is_whole(&place.pack_id, place.pack_bytes)
                    .map_err(|error| error.to_string())?,
                None => false,
            };
            if black_box(is_there) != is_known {
                return Err("the index answered wrongly".into());
            }
        }
        seconds = started.elapsed().as_secs_f64();
    }
    Ok(digests.len() as f64 / seconds)
}

/// RssAnon and RssShmem of this process, in bytes.
fn memory() -> Outcome<i64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse::<i64>()
                    .ok()
            })
            .ok_or(format!("no {name} in the status"))
    };
    Ok((kib("RssAnon:")? + kib("RssShmem:")?) * 1024)
}
