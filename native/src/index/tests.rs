//! What every index answers. The folder beside has what writers, damage and rebuilding do to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::layout::{Counts, Header, Layout};
use super::row::{PAGE_BYTES, PAGE_CHECKSUM_AT, ROWS_PER_PAGE, page_checksum};
use super::*;
use crate::codec::Codec;
use crate::digest::{self, hex};
use crate::object::tests::Folder;
use crate::pack::tests::{REPOSITORY_ID, chunks, pack_of};
use crate::seeded::Seeded;

mod damage;
mod golden;
mod merge;
mod rebuild;

const PACK_BYTES: u64 = 1 << 20;

/// What an index must answer: every distinct entry and its pack, by kind and digest.
type Oracle = BTreeMap<(Digest, EntryType), Vec<(Digest, Entry)>>;

fn output<'a>(prefix: &'a str, replaces: &'a [Digest]) -> Output<'a> {
    Output {
        repository_id: REPOSITORY_ID,
        temp_prefix: prefix,
        replaces,
        segment_bytes_max: SEGMENT_BYTES_MAX,
    }
}

fn entry(digest: Digest, kind: EntryType, offset: u32) -> Entry {
    Entry {
        digest,
        kind,
        codec: Codec::Lz4,
        offset,
        stored: 50,
        plain: 100,
    }
}

fn digest_of(number: u64) -> Digest {
    digest::of_chunk(&number.to_le_bytes())
}

fn pack(number: u8, entries: Vec<Entry>) -> PackEntries {
    PackEntries {
        id: [number; 32],
        bytes: PACK_BYTES,
        entries: entries.into(),
    }
}

/// Packs of 50 chunks each, which are numbered so.
fn packs(range: std::ops::Range<u64>) -> Vec<PackEntries> {
    let numbers: Vec<u64> = range.collect();
    let describe = |(number, of_pack): (usize, &[u64])| {
        let entries = of_pack
            .iter()
            .map(|&chunk| entry(digest_of(chunk), EntryType::Chunk, 192 + 200 * chunk as u32));
        pack(number as u8, entries.collect())
    };
    numbers.chunks(50).enumerate().map(describe).collect()
}

fn oracle(packs: &[PackEntries]) -> Oracle {
    let mut oracle = Oracle::new();
    for pack in packs {
        for entry in pack.entries.iter() {
            let places = oracle.entry((entry.digest, entry.kind)).or_default();
            if !places.contains(&(pack.id, *entry)) {
                places.push((pack.id, *entry));
            }
        }
    }
    oracle
}

/// Gives segments the names under which an index takes them.
fn publish(folder: &Path, files: &[SegmentFile]) -> Vec<PathBuf> {
    let publish = |file: &SegmentFile| {
        let path = folder.join(hex(&file.id));
        fs::rename(&file.path, &path).unwrap();
        path
    };
    files.iter().map(publish).collect()
}

fn index_of(paths: &[PathBuf]) -> ChunkIndex {
    let index = ChunkIndex::new(REPOSITORY_ID);
    index.add_segments(paths).unwrap();
    index
}

fn places(index: &ChunkIndex, kind: EntryType, digest: &Digest) -> Vec<(Digest, Entry)> {
    let found = index.find_all(kind, digest).unwrap();
    found
        .iter()
        .map(|located| (located.pack_id, located.entry))
        .collect()
}

fn sorted(mut places: Vec<(Digest, Entry)>) -> Vec<(Digest, Entry)> {
    places.sort_by_key(|(pack, entry)| (*pack, entry.offset));
    places
}

/// Every digest of the oracle is found everywhere it is and nowhere else.
fn assert_answers(index: &ChunkIndex, oracle: &Oracle) {
    for ((digest, kind), expected) in oracle {
        assert!(index.knows(*kind, digest).unwrap());
        assert_eq!(
            sorted(places(index, *kind, digest)),
            sorted(expected.clone())
        );
        let located = index.find(*kind, digest).unwrap().unwrap();
        assert_eq!(index.find_likely(*kind, digest).unwrap(), Some(located));
        assert!(expected.contains(&(located.pack_id, located.entry)));
        assert_eq!(located.pack_bytes, PACK_BYTES);
    }
}

fn assert_unknown(index: &ChunkIndex, kind: EntryType, digest: &Digest) {
    assert!(!index.knows(kind, digest).unwrap());
    assert_eq!(index.find(kind, digest).unwrap(), None);
    assert_eq!(index.find_all(kind, digest).unwrap(), []);
}

fn damage(path: &Path, at: usize, bits: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= bits;
    fs::write(path, bytes).unwrap();
}

fn check_all(paths: &[PathBuf]) {
    for path in paths {
        let id = digest::parse_hex(path.file_name().unwrap().to_str().unwrap()).unwrap();
        check_segment(path, &id).unwrap();
    }
}

#[test]
fn every_number_of_entries_around_the_border_of_a_page_is_found_again() {
    let folder = Folder::new();
    for count in [1, 2, 84, 85, 86, 169, 170, 171, 1000] {
        let packs = packs(0..count);
        let files = write_segments(&packs, &output(&folder.prefix(), &[])).unwrap();
        assert_eq!(
            files.iter().map(|file| file.entries).collect::<Vec<_>>(),
            [count]
        );
        let paths = publish(folder.path(), &files);
        check_all(&paths);
        let index = index_of(&paths);
        assert_answers(&index, &oracle(&packs));
        (2000..4000)
            .for_each(|absent| assert_unknown(&index, EntryType::Chunk, &digest_of(absent)));
        (0..count).for_each(|other| assert_unknown(&index, EntryType::Page, &digest_of(other)));
        for edge in [[0; 32], [0xff; 32]] {
            assert_unknown(&index, EntryType::Chunk, &edge);
        }
    }
}

#[test]
fn ranks_number_the_rows_of_a_segment_without_a_gap() {
    let folder = Folder::new();
    let packs = packs(0..500);
    let index = index_of(&publish(
        folder.path(),
        &write_segments(&packs, &output(&folder.prefix(), &[])).unwrap(),
    ));
    let mut ranks: Vec<u64> = (0..500)
        .map(|number| {
            index
                .find(EntryType::Chunk, &digest_of(number))
                .unwrap()
                .unwrap()
                .rank
        })
        .collect();
    ranks.sort_unstable();
    assert!(ranks.into_iter().eq(0..500));
}

#[test]
fn nothing_to_write_gives_no_segment_unless_something_is_to_be_replaced() {
    let folder = Folder::new();
    assert_eq!(
        write_segments(&[], &output(&folder.prefix(), &[])).unwrap(),
        []
    );
    assert_eq!(folder.file_count(), 0);

    let replaces = [[7; 32], [8; 32]];
    let files = write_segments(&[pack(1, vec![])], &output(&folder.prefix(), &replaces)).unwrap();
    let paths = publish(folder.path(), &files);
    check_all(&paths);
    let index = index_of(&paths);
    assert_unknown(&index, EntryType::Chunk, &[0; 32]);
    let info = &index.segments()[0];
    assert_eq!((info.entries, &info.replaces[..]), (0, &replaces[..]));
}

#[test]
fn one_digest_may_have_several_entries_and_both_kinds() {
    let folder = Folder::new();
    let (shared, page) = (digest_of(1), digest_of(2));
    let packs = [
        pack(
            9,
            vec![
                entry(shared, EntryType::Chunk, 500),
                entry(shared, EntryType::Page, 900),
            ],
        ),
        pack(
            3,
            vec![
                entry(shared, EntryType::Chunk, 200),
                entry(shared, EntryType::Chunk, 800),
            ],
        ),
        pack(
            3,
            vec![
                entry(shared, EntryType::Chunk, 200),
                entry(page, EntryType::Page, 300),
            ],
        ),
    ];
    let files = write_segments(&packs, &output(&folder.prefix(), &[])).unwrap();
    assert_eq!(files[0].entries, 5);
    let paths = publish(folder.path(), &files);
    check_all(&paths);
    assert_answers(&index_of(&paths), &oracle(&packs));
}

#[test]
fn entries_of_one_digest_over_several_pages_are_all_found_and_their_number_has_a_bound() {
    let folder = Folder::new();
    for (count, kept) in [(85, 85), (200, 200), (1024, 1024), (1500, 1024)] {
        let mut entries: Vec<Entry> = (0..count)
            .map(|number| entry(digest_of(7), EntryType::Chunk, 192 + number))
            .collect();
        entries.extend(
            (0..100)
                .filter(|&n| n != 7)
                .map(|n| entry(digest_of(n), EntryType::Chunk, 192)),
        );
        let files = write_segments(&[pack(1, entries)], &output(&folder.prefix(), &[])).unwrap();
        let paths = publish(folder.path(), &files);
        check_all(&paths);
        let index = index_of(&paths);
        assert_eq!(places(&index, EntryType::Chunk, &digest_of(7)).len(), kept);
        (0..100).for_each(|n| {
            assert!(
                index
                    .find(EntryType::Chunk, &digest_of(n))
                    .unwrap()
                    .is_some()
            )
        });
    }
}

#[test]
fn digests_that_share_what_the_fan_out_holds_are_told_apart() {
    let folder = Folder::new();
    let alike = |number: u16| {
        let mut digest = [0xab; 32];
        digest[30..].copy_from_slice(&number.to_be_bytes());
        digest
    };
    let other = |number: u64| digest_of(number);
    let even = (0..400).map(|number| entry(alike(2 * number), EntryType::Chunk, 192));
    let packs = [pack(
        1,
        even.chain((0..300).map(|n| entry(other(n), EntryType::Chunk, 192)))
            .collect(),
    )];
    let paths = publish(
        folder.path(),
        &write_segments(&packs, &output(&folder.prefix(), &[])).unwrap(),
    );
    check_all(&paths);
    let index = index_of(&paths);
    assert_answers(&index, &oracle(&packs));
    (0..400).for_each(|number| assert_unknown(&index, EntryType::Chunk, &alike(2 * number + 1)));
}

/// Digests are uniform in truth; the search must be right for any.
#[test]
fn digests_that_are_not_uniform_are_found_too() {
    let folder = Folder::new();
    for shift in [0, 20, 40, 56] {
        let skewed = |number: u64| {
            let mut digest = digest_of(number);
            digest[..8].copy_from_slice(&((number * number) << shift).to_be_bytes());
            digest
        };
        let packs = [pack(
            1,
            (0..2000)
                .map(|n| entry(skewed(n), EntryType::Chunk, 192))
                .collect(),
        )];
        let paths = publish(
            folder.path(),
            &write_segments(&packs, &output(&folder.prefix(), &[])).unwrap(),
        );
        assert_answers(&index_of(&paths), &oracle(&packs));
    }
}

#[test]
fn segments_come_and_go_while_a_snapshot_stays() {
    let folder = Folder::new();
    let written = |range| {
        let files = write_segments(&packs(range), &output(&folder.prefix(), &[])).unwrap();
        publish(folder.path(), &files)
    };
    let (first, second) = (written(0..100), written(100..200));
    let index = index_of(&first);
    index.add_segments(&first).unwrap();
    assert_eq!(index.segments().len(), 1);
    index.add_segments(&second).unwrap();

    let snapshot = index.snapshot();
    let found = snapshot
        .find(EntryType::Chunk, &digest_of(150))
        .unwrap()
        .unwrap();
    index.drop_segments(&[index.segments()[1].id, [0; 32]]);
    fs::remove_file(&second[0]).unwrap();
    assert_unknown(&index, EntryType::Chunk, &digest_of(150));
    assert_eq!(
        snapshot.find(EntryType::Chunk, &digest_of(150)).unwrap(),
        Some(found)
    );

    // The number of a segment that went is not given again, or bits of a job's bit set would change owners.
    index.add_segments(&written(100..200)).unwrap();
    let again = index
        .find(EntryType::Chunk, &digest_of(150))
        .unwrap()
        .unwrap();
    assert_eq!((found.segment, again.segment), (1, 2));
}

#[test]
fn files_that_are_no_segments_of_this_repository_are_refused_together_with_the_others() {
    let folder = Folder::new();
    let mut paths = publish(
        folder.path(),
        &write_segments(&packs(0..10), &output(&folder.prefix(), &[])).unwrap(),
    );
    let alien = Output {
        repository_id: [0; 16],
        ..output("", &[])
    };
    let prefix = folder.prefix();
    let alien = write_segments(
        &packs(0..10),
        &Output {
            temp_prefix: &prefix,
            ..alien
        },
    )
    .unwrap();
    let alien = publish(folder.path(), &alien);
    let index = ChunkIndex::new(REPOSITORY_ID);
    let cases = [
        (alien[0].clone(), "SEGMENT_CORRUPT"),
        (folder.path().join("f".repeat(64)), "OBJECT_NOT_FOUND"),
        (folder.path().join("x"), "ARGUMENT_INVALID"),
    ];
    for (path, code) in cases {
        paths.push(path);
        assert_eq!(index.add_segments(&paths).unwrap_err().code(), code);
        assert!(index.segments().is_empty());
        paths.pop();
    }
}

#[test]
fn many_threads_look_up_while_segments_change() {
    let folder = Folder::new();
    let paths = publish(
        folder.path(),
        &write_segments(&packs(0..3000), &output(&folder.prefix(), &[])).unwrap(),
    );
    let index = index_of(&paths);
    let more = publish(
        folder.path(),
        &write_segments(&packs(3000..6000), &output(&folder.prefix(), &[])).unwrap(),
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..3000).for_each(|number| {
                    assert!(index.knows(EntryType::Chunk, &digest_of(number)).unwrap())
                });
            });
        }
        for _ in 0..50 {
            index.add_segments(&more).unwrap();
            let id = index.segments()[1].id;
            index.drop_segments(&[id]);
        }
    });
    assert_eq!(index.segments().len(), 1);
}

#[test]
fn a_page_holds_85_rows_and_a_filter_ten_and_a_half_bits_each() {
    assert_eq!(ROWS_PER_PAGE, 85);
    let counts = Counts::of(5_000_000, 20_000, 3);
    assert_eq!((counts.pages(), counts.rows_on(58_823)), (58_824, 45));
    assert!(Layout::of(&counts).total_bytes < SEGMENT_BYTES_MAX);
}
