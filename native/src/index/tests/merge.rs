//! Merging is a union.

use super::*;

#[test]
fn a_merge_is_the_union_whatever_its_sources_and_its_splits() {
    for seed in 0..12 {
        let folder = Folder::new();
        let mut random = Seeded::new(seed);
        let index = ChunkIndex::new(REPOSITORY_ID);
        let mut all = Vec::new();
        for source in 0..1 + random.below(6) {
            let packs: Vec<PackEntries> = (0..random.below(5))
                .map(|_| random_pack(&mut random))
                .collect();
            // An empty source is one that only says what it replaced.
            let replaces = [[source as u8; 32]];
            let files = write_segments(&packs, &output(&folder.prefix(), &replaces)).unwrap();
            index.add_segments(&publish(folder.path(), &files)).unwrap();
            all.extend(packs);
        }
        let ids: Vec<Digest> = index.segments().iter().map(|info| info.id).collect();
        let bytes_max = [9_000, 20_000, 100_000, SEGMENT_BYTES_MAX][random.below(4)];
        let files = index.merge(&ids, &folder.prefix(), bytes_max).unwrap();

        let expected = oracle(&all);
        let entries = expected.values().map(Vec::len).sum::<usize>() as u64;
        assert_eq!(
            files.iter().map(|file| file.entries).sum::<u64>(),
            entries,
            "seed {seed}"
        );
        assert!(
            files.iter().all(|file| file.bytes <= bytes_max),
            "seed {seed}"
        );
        let paths = publish(folder.path(), &files);
        check_all(&paths);
        let merged = index_of(&paths);
        assert_answers(&merged, &expected);
        let replaced: Vec<_> = merged
            .segments()
            .into_iter()
            .map(|info| info.replaces)
            .collect();
        let (last, before) = replaced.split_last().unwrap();
        assert_eq!(*last, ids);
        assert!(before.iter().all(Vec::is_empty));
    }
}

/// Few digests and packs, so that sources share both.
fn random_pack(random: &mut Seeded) -> PackEntries {
    let id = random.below(6) as u8;
    let entries = (0..random.below(300)).map(|_| {
        let kind = [EntryType::Chunk, EntryType::Page][random.below(2)];
        entry(
            digest_of(random.below(200) as u64),
            kind,
            192 + random.below(3) as u32,
        )
    });
    pack(id, entries.collect())
}

#[test]
fn a_failed_write_leaves_no_file_behind() {
    let folder = Folder::new();
    let paths = publish(
        folder.path(),
        &write_segments(&packs(0..2000), &output(&folder.prefix(), &[])).unwrap(),
    );
    damage(&paths[0], 4096 + 15 * PAGE_BYTES, 1);
    let index = index_of(&paths);
    let id = index.segments()[0].id;
    let error = index.merge(&[id], &folder.prefix(), 20_000).unwrap_err();
    assert_eq!(
        (error.code(), error.path()),
        ("SEGMENT_CORRUPT", Some(&*paths[0]))
    );
    assert_eq!(folder.file_count(), 1);
    let error = write_segments(&packs(0..10), &output("/nowhere/x", &[])).unwrap_err();
    assert_eq!(error.code(), "OBJECT_NOT_FOUND");
}

/// Segments that lie apart and do not fit into one come out of a merge as they went in.
#[test]
fn a_merge_does_not_call_replaced_what_it_makes_again() {
    let folder = Folder::new();
    let sorted_chunks = |range: std::ops::Range<u8>| {
        let digest = |number: u8| {
            let mut digest = digest_of(number.into());
            digest[0] = number;
            digest
        };
        let entries = range.map(|number| entry(digest(number), EntryType::Chunk, 192));
        vec![pack(1, entries.collect())]
    };
    let all = [sorted_chunks(0..85), sorted_chunks(85..170)];
    let index = ChunkIndex::new(REPOSITORY_ID);
    for packs in &all {
        let files = write_segments(packs, &output(&folder.prefix(), &[])).unwrap();
        index.add_segments(&publish(folder.path(), &files)).unwrap();
    }
    let ids: Vec<Digest> = index.segments().iter().map(|info| info.id).collect();
    let files = index.merge(&ids, &folder.prefix(), 8_600).unwrap();
    assert_eq!(files[0].id, ids[0]);
    let merged = index_of(&publish(folder.path(), &files));
    assert_eq!(merged.segments().last().unwrap().replaces, [ids[1]]);
    assert_answers(&merged, &oracle(&all.concat()));
}

#[test]
fn a_merge_of_what_another_has_merged_already_makes_nothing() {
    let folder = Folder::new();
    let files = write_segments(&packs(0..10), &output(&folder.prefix(), &[])).unwrap();
    let index = index_of(&publish(folder.path(), &files));
    let ids = [files[0].id, [1; 32]];
    let merged = index.merge(&ids, &folder.prefix(), SEGMENT_BYTES_MAX);
    assert_eq!(merged.unwrap(), []);
    assert_eq!(folder.file_count(), 1);
}
