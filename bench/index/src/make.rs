//! Writes the segments with the product's own writer, part by part.

use std::fs::{self, File};

use mover_native::digest::hex;
use mover_native::index::{Output, PackEntries, SEGMENT_BYTES_MAX, write_segments};
use mover_native::pack_folder::PackFolder;

use crate::made_up::{PACK_BYTES, PARTS, entry, pack_id, pack_of, packs};
use crate::{Outcome, Repository};

pub fn make(repository: &Repository) -> Outcome<()> {
    let folder = PackFolder::new(repository.root.join("packs"));
    for number in 0..packs(repository.entries) {
        let path = folder.path(&pack_id(number));
        fs::create_dir_all(path.parent().ok_or("a pack lies in a folder")?)?;
        File::create(&path)?.set_len(PACK_BYTES)?;
    }
    (0..PARTS).try_for_each(|part| make_part(repository, part))
}

fn make_part(repository: &Repository, part: u64) -> Outcome<()> {
    let mut packs: Vec<(u64, Vec<_>)> = Vec::new();
    for number in (part..repository.entries).step_by(PARTS as usize) {
        let pack = pack_of(number);
        match packs.last_mut() {
            Some((last, entries)) if *last == pack => entries.push(entry(number)),
            _ => packs.push((pack, vec![entry(number)])),
        }
    }
    let packs: Vec<PackEntries> = packs
        .into_iter()
        .map(|(pack, entries)| PackEntries {
            id: pack_id(pack),
            bytes: PACK_BYTES,
            entries: entries.into(),
        })
        .collect();
    let index = repository.root.join("index");
    let output = Output {
        repository_id: repository.id,
        temp_prefix: &format!("{}/part.", index.display()),
        replaces: &[],
        segment_bytes_max: SEGMENT_BYTES_MAX,
    };
    let segments = write_segments(&packs, &output).map_err(|error| error.to_string())?;
    for segment in segments {
        fs::rename(&segment.path, index.join(hex(&segment.id)))?;
    }
    Ok(())
}
