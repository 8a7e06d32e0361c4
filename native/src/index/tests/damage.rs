//! Damage gives an error or the right answer, never a wrong one.

use super::*;

#[test]
fn one_damaged_byte_anywhere_gives_an_error_or_the_right_answer() {
    let folder = Folder::new();
    let packs = packs(0..200);
    let files = write_segments(&packs, &output(&folder.prefix(), &[[1; 32]])).unwrap();
    let path = &publish(folder.path(), &files)[0];
    let whole = fs::read(path).unwrap();
    let oracle = oracle(&packs);
    let (mut refused, mut failed) = (0, 0);
    // All bytes of the header and the tables, and some of each row.
    let tables_at = 4096 + 3 * PAGE_BYTES;
    for at in (0..4096)
        .chain((4096..tables_at).step_by(23))
        .chain(tables_at..whole.len())
    {
        damage(path, at, 0x41);
        assert_eq!(
            check_segment(path, &files[0].id).unwrap_err().code(),
            "SEGMENT_CORRUPT"
        );
        let index = ChunkIndex::new(REPOSITORY_ID);
        if index.add_segments(std::slice::from_ref(path)).is_err() {
            refused += 1;
        } else {
            failed += assert_right_or_failed(&index, &oracle);
        }
        fs::write(path, &whole).unwrap();
    }
    // The header is refused whole; a page costs its rows and some beside them, a fan-out row at most all.
    assert_eq!(refused, 4096);
    assert!(failed > 0);
}

/// How many look-ups failed; none of the others may differ from the oracle.
fn assert_right_or_failed(index: &ChunkIndex, oracle: &Oracle) -> usize {
    let mut failed = 0;
    for ((digest, kind), expected) in oracle.iter().step_by(3) {
        match index.find_all(*kind, digest) {
            Ok(found) => {
                let found = found
                    .iter()
                    .map(|located| (located.pack_id, located.entry))
                    .collect();
                assert_eq!(sorted(found), sorted(expected.clone()));
            }
            Err(error) => {
                assert_eq!(error.code(), "SEGMENT_CORRUPT");
                failed += 1;
            }
        }
    }
    for absent in 5000..5040 {
        assert!(!matches!(
            index.knows(EntryType::Chunk, &digest_of(absent)),
            Ok(true)
        ));
        assert!(!matches!(
            index.find(EntryType::Chunk, &digest_of(absent)),
            Ok(Some(_))
        ));
    }
    failed
}

#[test]
fn a_segment_cut_anywhere_or_with_something_behind_it_is_refused() {
    let folder = Folder::new();
    let files = write_segments(&packs(0..100), &output(&folder.prefix(), &[])).unwrap();
    let path = &publish(folder.path(), &files)[0];
    let mut bytes = fs::read(path).unwrap();
    bytes.push(0);
    for length in (0..bytes.len() - 1).step_by(97).chain([bytes.len()]) {
        fs::write(path, &bytes[..length]).unwrap();
        let error = ChunkIndex::new(REPOSITORY_ID)
            .add_segments(std::slice::from_ref(path))
            .unwrap_err();
        assert_eq!(
            (error.code(), error.path()),
            ("SEGMENT_CORRUPT", Some(&**path))
        );
    }
}

/// A damaged segment does not hide what another one knows.
#[test]
fn damage_matters_only_where_no_other_segment_has_the_answer() {
    let folder = Folder::new();
    let packs_of_all = packs(0..80);
    let damaged = publish(
        folder.path(),
        &write_segments(&packs_of_all, &output(&folder.prefix(), &[])).unwrap(),
    );
    damage(&damaged[0], 4100, 1);
    let sound = publish(
        folder.path(),
        &write_segments(&packs_of_all[..1], &output(&folder.prefix(), &[])).unwrap(),
    );
    let index = index_of(&[damaged, sound].concat());
    for number in 0..80 {
        let digest = digest_of(number);
        if number < 50 {
            assert!(index.knows(EntryType::Chunk, &digest).unwrap());
            assert!(index.find(EntryType::Chunk, &digest).unwrap().is_some());
            assert_eq!(index.find_all(EntryType::Chunk, &digest).unwrap().len(), 1);
        } else {
            assert_eq!(
                index.knows(EntryType::Chunk, &digest).unwrap_err().code(),
                "SEGMENT_CORRUPT"
            );
            assert_eq!(
                index.find(EntryType::Chunk, &digest).unwrap_err().code(),
                "SEGMENT_CORRUPT"
            );
            assert_eq!(
                index
                    .find_all(EntryType::Chunk, &digest)
                    .unwrap_err()
                    .code(),
                "SEGMENT_CORRUPT"
            );
        }
    }
}

#[test]
fn a_filter_that_lost_its_bits_costs_space_and_hides_nothing_from_a_restore() {
    let folder = Folder::new();
    let packs = packs(0..300);
    let files = write_segments(&packs, &output(&folder.prefix(), &[])).unwrap();
    let path = publish(folder.path(), &files).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let layout = Layout::of(&Counts::of(300, 6, 0));
    bytes[layout.filter_at as usize..layout.packs_at as usize].fill(0);
    fs::write(&path, bytes).unwrap();
    let index = index_of(&[path]);
    for number in 0..300 {
        assert!(!index.knows(EntryType::Chunk, &digest_of(number)).unwrap());
        assert!(
            index
                .find(EntryType::Chunk, &digest_of(number))
                .unwrap()
                .is_some()
        );
    }
}

/// Header numbers near their limits, with checksums that hold.
#[test]
fn sound_headers_that_lie_are_refused() {
    let folder = Folder::new();
    let files = write_segments(&packs(0..100), &output(&folder.prefix(), &[])).unwrap();
    let path = &publish(folder.path(), &files)[0];
    let whole = fs::read(path).unwrap();
    let values = [
        0,
        1,
        85,
        1 << 20,
        u64::from(u32::MAX),
        1 << 53,
        u64::MAX / 4096,
        u64::MAX - 1,
        u64::MAX,
    ];
    for at in (32..128).step_by(8) {
        for value in values {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
            if bytes == whole {
                continue;
            }
            let checksum = digest::checksum16(&[&bytes[..4080]]);
            bytes[4080..4096].copy_from_slice(&checksum);
            fs::write(path, bytes).unwrap();
            let error = ChunkIndex::new(REPOSITORY_ID)
                .add_segments(std::slice::from_ref(path))
                .unwrap_err();
            assert_eq!(error.code(), "SEGMENT_CORRUPT", "{value} at {at}");
        }
    }
}

/// Pages that a broken writer made: the checksum holds, the rows cannot be true.
#[test]
fn sound_pages_that_lie_are_refused() {
    let folder = Folder::new();
    let files = write_segments(&packs(0..2), &output(&folder.prefix(), &[])).unwrap();
    let path = &publish(folder.path(), &files)[0];
    let whole = fs::read(path).unwrap();
    // Field of the first row, and what it is set to.
    let lies: [(usize, u32); 11] = [
        (32, 1),                 // pack
        (32, u32::MAX),          // pack
        (36, u32::MAX),          // offset
        (36, PACK_BYTES as u32), // offset
        (40, 0),                 // stored
        (40, 101 | 1 << 24),     // stored
        (40, 50),                // codec none, and yet shorter
        (40, 50 | 3 << 24),      // unknown codec
        (44, u32::MAX),          // kind and plain
        (44, 100 | 2 << 24),     // unknown kind
        (44, (4 << 20) + 1),     // plain
    ];
    for (field, value) in lies {
        let mut bytes = whole.clone();
        bytes[4096 + field..][..4].copy_from_slice(&value.to_le_bytes());
        reseal_page(&mut bytes);
        fs::write(path, &bytes).unwrap();
        let index = index_of(std::slice::from_ref(path));
        let first = digest_of_first_row(&whole);
        assert_eq!(
            index.find(EntryType::Chunk, &first).unwrap_err().code(),
            "SEGMENT_CORRUPT",
            "{value} at {field}"
        );
        assert_eq!(
            index.knows(EntryType::Chunk, &first).unwrap_err().code(),
            "SEGMENT_CORRUPT"
        );
        let id = index.segments()[0].id;
        let merged = index.merge(&[id], &folder.prefix(), SEGMENT_BYTES_MAX);
        assert_eq!(merged.unwrap_err().code(), "SEGMENT_CORRUPT");
        assert_eq!(
            check_segment(path, &digest::of_object(&bytes))
                .unwrap_err()
                .code(),
            "SEGMENT_CORRUPT"
        );
    }
}

fn digest_of_first_row(segment: &[u8]) -> Digest {
    *segment[4096..].first_chunk().unwrap()
}

fn reseal_page(segment: &mut [u8]) {
    let page = segment[4096..].first_chunk_mut::<PAGE_BYTES>().unwrap();
    let checksum = page_checksum(page);
    page[PAGE_CHECKSUM_AT..].copy_from_slice(&checksum);
}

/// Segments whose name and checksums hold, but which no writer of ours makes: only a check of all sees it.
#[test]
fn a_check_sees_what_checksums_do_not() {
    let folder = Folder::new();
    let files = write_segments(&packs(0..100), &output(&folder.prefix(), &[])).unwrap();
    let path = &publish(folder.path(), &files)[0];
    let whole = fs::read(path).unwrap();
    let layout = Layout::of(&Counts::of(100, 2, 0));
    let second_page_row = 4096 + PAGE_BYTES + 15 * 48;
    type Lie = fn(&mut [u8], usize);
    let lies: [(&str, Lie); 5] = [
        ("out of order", |bytes, _| {
            let rows = &mut bytes[4096..4096 + 96];
            rows.rotate_left(48);
        }),
        ("behind its rows", |bytes, at| bytes[at] = 1),
        ("fan-out", |bytes, at| bytes[at] ^= 1),
        ("filter", |bytes, at| bytes[at..at + 32].fill(0)),
        ("header", |bytes, _| {
            let mut header =
                Header::from_bytes(bytes.first_chunk().unwrap(), bytes.len() as u64).unwrap();
            header.last = [0xff; 32];
            bytes[..4096].copy_from_slice(&header.to_bytes());
        }),
    ];
    let places = [
        0,
        second_page_row,
        layout.fan_out_at as usize,
        layout.filter_at as usize,
        0,
    ];
    for ((message, lie), at) in lies.into_iter().zip(places) {
        let mut bytes = whole.clone();
        lie(&mut bytes, at);
        reseal_page(&mut bytes);
        let page = bytes[4096 + PAGE_BYTES..]
            .first_chunk_mut::<PAGE_BYTES>()
            .unwrap();
        let checksum = page_checksum(page);
        page[PAGE_CHECKSUM_AT..].copy_from_slice(&checksum);
        fs::write(path, &bytes).unwrap();
        let error = check_segment(path, &digest::of_object(&bytes)).unwrap_err();
        assert_eq!(error.code(), "SEGMENT_CORRUPT");
        assert!(
            error.to_string().contains(message),
            "{error} instead of {message}"
        );
    }
}
