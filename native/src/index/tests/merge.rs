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
        let kind = [EntryKind::Chunk, EntryKind::Page][random.below(2)];
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
