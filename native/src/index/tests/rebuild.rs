//! Packs alone give the index back.

use super::*;
use crate::index::rebuild::{read_pack, rebuild};

/// Real packs on disk: sound ones, one without its table, one cut short, one of another repository.
#[test]
fn an_index_is_rebuilt_from_packs_alone() {
    let folder = Folder::new();
    let mut expected = Oracle::new();
    let mut paths = Vec::new();
    for number in 0..9 {
        let kind = [EntryType::Chunk, EntryType::Page][number % 2];
        let pack = pack_of(
            kind,
            number as u8,
            Codec::Lz4,
            &chunks(number as u64 / 2, 40),
        );
        let path = folder.path().join(hex(&pack.id));
        let mut bytes = pack.buffer.to_vec();
        let mut kept = pack.entries.len();
        match number {
            3 => bytes[pack.entries.last().unwrap().end() as usize..].fill(1),
            5 => {
                kept = 20;
                bytes.truncate(pack.entries[19].end() as usize);
            }
            6 => bytes[20] ^= 1,
            _ => {}
        }
        for entry in &pack.entries[..kept] {
            expected
                .entry((entry.digest, entry.kind))
                .or_default()
                .push((pack.id, *entry));
        }
        fs::write(&path, bytes).unwrap();
        paths.push((path, pack.id));
    }
    for run_rows in [1, 39, 40, 41, 100, 1 << 19] {
        let prefix = folder.prefix();
        let rebuilt = rebuild(&paths, &output(&prefix, &[[9; 32]]), run_rows).unwrap();
        assert_eq!(folder.file_count(), 9 + 1, "runs of {run_rows} are removed");
        let damaged: Vec<Digest> = rebuilt.damaged.iter().map(|pack| pack.id).collect();
        assert_eq!(damaged, [paths[3].1, paths[5].1, paths[6].1]);
        let segments = publish(folder.path(), &rebuilt.segments);
        check_all(&segments);
        let index = index_of(&segments);
        assert_eq!(index.segments()[0].replaces, [[9; 32]]);
        for ((digest, kind), places) in &expected {
            assert_eq!(
                sorted(self::places(&index, *kind, digest)),
                sorted(places.clone())
            );
        }
        assert_eq!(index.segments()[0].entries, 8 * 40 + 20);
        fs::remove_file(&segments[0]).unwrap();
    }
}

#[test]
fn packs_of_another_repository_are_reported_and_packs_that_are_gone_end_a_rebuild() {
    let folder = Folder::new();
    let pack = pack_of(EntryType::Chunk, 1, Codec::None, &chunks(1, 3));
    let path = folder.path().join("pack");
    fs::write(&path, &pack.buffer[..]).unwrap();
    let prefix = folder.prefix();
    let other = Output {
        repository_id: [1; 16],
        ..output(&prefix, &[])
    };
    let rebuilt = write_pack_segments(&[(path.clone(), pack.id)], &other).unwrap();
    assert_eq!((rebuilt.segments.len(), rebuilt.damaged.len()), (0, 1));
    assert!(rebuilt.damaged[0].message.contains("another repository"));

    fs::remove_file(&path).unwrap();
    let gone = write_pack_segments(&[(path, pack.id)], &output(&prefix, &[]));
    assert_eq!(gone.unwrap_err().code(), "OBJECT_NOT_FOUND");
}

/// Files that are no pack at all: empty, short, and full of nothing.
#[test]
fn rubbish_among_the_packs_is_damage_and_no_more() {
    let folder = Folder::new();
    let mut random = Seeded::new(1);
    for length in [0, 1, 127, 128, 4095, 4096, 8192, 100_000] {
        let path = folder.path().join("pack");
        for bytes in [vec![0; length], random.bytes(length, false)] {
            fs::write(&path, bytes).unwrap();
            let rebuilt =
                write_pack_segments(&[(path.clone(), [0; 32])], &output(&folder.prefix(), &[]))
                    .unwrap();
            assert_eq!((rebuilt.segments.len(), rebuilt.damaged.len()), (0, 1));
        }
    }
}

/// A disk that cannot read some sectors: they cost the frames that touch them. Any other failure of a read
/// says nothing of the pack, and nothing may be left out because of it.
#[test]
fn bad_sectors_cost_what_they_hold_and_other_failures_end_a_rebuild() {
    let pack = pack_of(EntryType::Chunk, 1, Codec::None, &chunks(1, 2000));
    let total = pack.buffer.len() as u64;
    for bad in [
        vec![total - 4096],
        vec![0, total - 4096],
        vec![1 << 20, 1_216_512, total - 4096],
    ] {
        let mut read = |offset: u64, bytes: &mut [u8]| {
            let end = offset + bytes.len() as u64;
            if bad
                .iter()
                .any(|&sector| sector < end && offset < sector + 4096)
            {
                let cause = std::io::Error::from_raw_os_error(libc::EIO);
                return Err(NativeError::backend_read(Path::new("pack"), offset, cause));
            }
            bytes.copy_from_slice(&pack.buffer[offset as usize..end as usize]);
            Ok(())
        };
        let (entries, damage) = read_pack(total, &mut read, &REPOSITORY_ID).unwrap();
        assert_eq!(damage.unwrap().code(), "BACKEND_FAILED");
        let is_readable = |entry: &&Entry| {
            let head_at = u64::from(entry.offset) - 64;
            bad.iter()
                .all(|sector| entry.end() <= *sector || head_at >= sector + 4096)
        };
        assert!(entries.iter().eq(pack.entries.iter().filter(is_readable)));
    }
    let mut denied = |_: u64, _: &mut [u8]| {
        let cause = std::io::Error::from_raw_os_error(libc::ESTALE);
        Err(NativeError::backend_read(Path::new("pack"), 0, cause))
    };
    assert_eq!(
        read_pack(total, &mut denied, &REPOSITORY_ID)
            .unwrap_err()
            .os(),
        Some("ESTALE")
    );
}

/// Sound packs of seeded chunks, and all that an index of them must answer.
fn sound_packs(folder: &Folder, count: u64) -> (Vec<(PathBuf, Digest)>, Oracle) {
    let mut expected = Oracle::new();
    let paths = (0..count).map(|number| {
        let pack = pack_of(EntryType::Chunk, 7, Codec::None, &chunks(number, 60));
        for entry in &pack.entries {
            let places = expected.entry((entry.digest, entry.kind)).or_default();
            places.push((pack.id, *entry));
        }
        let path = folder.path().join(hex(&pack.id));
        fs::write(&path, &pack.buffer[..]).unwrap();
        (path, pack.id)
    });
    (paths.collect(), expected)
}

/// A repository of several segments was rebuilt twice. All but the last came out as they were and were named as
/// replaced by the last: the next reader dropped them, and nothing could be restored.
#[test]
fn a_rebuild_does_not_call_replaced_what_it_makes_again() {
    let folder = Folder::new();
    let (packs, expected) = sound_packs(&folder, 12);
    let mut listed: Vec<Digest> = vec![];
    for round in 0..4 {
        let prefix = folder.prefix();
        let output = Output {
            segment_bytes_max: 16_000,
            ..output(&prefix, &listed)
        };
        let rebuilt = rebuild(&packs, &output, 100).unwrap();
        let made: Vec<Digest> = rebuilt.segments.iter().map(|file| file.id).collect();
        assert!(made.len() > 2);
        let paths = publish(folder.path(), &rebuilt.segments);
        let index = index_of(&paths);
        let replaced: Vec<Digest> = index
            .segments()
            .into_iter()
            .flat_map(|segment| segment.replaces)
            .collect();
        assert!(
            replaced.iter().all(|id| !made.contains(id)),
            "round {round}"
        );
        let gone = listed.iter().filter(|id| !made.contains(id));
        assert!(
            gone.eq(replaced.iter()),
            "round {round}: what is not made again is named"
        );
        // As a reader does that believes it.
        index.drop_segments(&replaced);
        assert_eq!(index.segments().len(), made.len());
        for ((digest, kind), places) in &expected {
            assert_eq!(
                sorted(self::places(&index, *kind, digest)),
                sorted(places.clone())
            );
        }
        listed = made;
    }
}
