use super::*;
use crate::codec::Decoder;
use crate::seeded::Seeded;

pub(crate) const REPOSITORY_ID: [u8; REPOSITORY_ID_BYTES] = [0x5a; REPOSITORY_ID_BYTES];
const MIB: usize = 1 << 20;

/// A pack of these chunks, the same from the same salt, codec and chunks.
pub(crate) fn pack_of(kind: EntryType, salt: u8, codec: Codec, chunks: &[Vec<u8>]) -> SealedPack {
    let mut builder = PackBuilder::new(
        kind,
        REPOSITORY_ID,
        [salt; SALT_BYTES],
        16 * MIB,
        AlignedBuf::with_capacity(16 * MIB),
    );
    let mut encoder = Encoder::new(codec, 3).unwrap();
    for chunk in chunks {
        builder
            .push(kind.digest_of(chunk), chunk, &mut encoder)
            .unwrap();
    }
    builder.seal()
}

/// Chunks of mixed lengths, half of which shrink.
pub(crate) fn chunks(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = Seeded::new(seed);
    (0..count)
        .map(|number| {
            let length = 1 + random.below(3000);
            random.bytes(length, number % 2 == 0)
        })
        .collect()
}

fn footer_of(object: &[u8]) -> Result<Vec<Entry>> {
    read_footer(object.len() as u64, &mut |offset, bytes| {
        let start = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(
            object
                .get(start..start + bytes.len())
                .expect("reads stay inside the object"),
        );
        Ok(())
    })
}

/// As a reader names what it holds, in pieces of changing lengths.
pub(crate) fn name_of(object: &[u8]) -> Result<Digest> {
    let mut read = |offset, bytes: &mut [u8]| {
        bytes.copy_from_slice(&object[offset as usize..][..bytes.len()]);
        Ok(())
    };
    let mut reader = name::NameReader::new(footer::frames_end(object.len() as u64, &mut read)?);
    let mut rest = object;
    for length in [1, 63, 64, 65, 127, 128, 4096].iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*length));
        reader.take(piece)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    Ok(reader.finish())
}

fn header_of(object: &[u8]) -> Result<PackHeader> {
    PackHeader::from_bytes(object.first_chunk().unwrap())
}

fn scan(object: &[u8]) -> Vec<Entry> {
    scan_frames(object, &mut Decoder::new().unwrap())
}

fn plain_of(object: &[u8], entry: &Entry) -> Option<Vec<u8>> {
    let mut plain = vec![0; entry.plain as usize];
    let stored = object.get(entry.offset as usize..entry.end() as usize)?;
    Decoder::new()
        .unwrap()
        .decode(entry.codec, stored, &mut plain)
        .ok()?;
    (entry.kind.digest_of(&plain) == entry.digest).then_some(plain)
}

#[test]
fn a_pack_gives_back_what_was_put_in_by_its_table_and_by_its_frames() {
    for kind in [EntryType::Chunk, EntryType::Page] {
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
            for count in [0, 1, 2, 84, 85, 86, 300] {
                let chunks = chunks(count as u64, count);
                let pack = pack_of(kind, 1, codec, &chunks);
                assert_eq!(pack.buffer.len() % PACK_ALIGNMENT, 0);
                assert_eq!(pack.id, name_of(&pack.buffer).unwrap());
                assert_eq!(footer_of(&pack.buffer).unwrap(), pack.entries);
                assert_eq!(scan(&pack.buffer), pack.entries);
                let header = PackHeader {
                    kind,
                    salt: [1; SALT_BYTES],
                    repository_id: REPOSITORY_ID,
                };
                assert_eq!(header_of(&pack.buffer).unwrap(), header);
                for (entry, chunk) in pack.entries.iter().zip(&chunks) {
                    assert_eq!(plain_of(&pack.buffer, entry).as_ref(), Some(chunk));
                }
            }
        }
    }
}

#[test]
fn a_pack_is_never_longer_than_it_may_be_whatever_the_chunks() {
    let noise = Seeded::new(9).bytes(MIB, false);
    let mut encoder = Encoder::new(Codec::Lz4, 0).unwrap();
    // Chunk lengths that let frames, table and padding meet the end in every way.
    for chunk_bytes in (3900..4200).chain([16384, 65536, 262_144, MIB - 4096]) {
        let mut builder = PackBuilder::new(
            EntryType::Chunk,
            REPOSITORY_ID,
            [0; SALT_BYTES],
            MIB,
            AlignedBuf::with_capacity(MIB),
        );
        while builder.has_room(chunk_bytes) {
            builder
                .push([1; 32], &noise[..chunk_bytes], &mut encoder)
                .unwrap();
        }
        let expected = builder.sealed_bytes();
        assert!(!builder.is_empty());
        assert_eq!(
            builder
                .push([1; 32], &noise[..chunk_bytes], &mut encoder)
                .unwrap_err()
                .code(),
            "INTERNAL"
        );
        let pack = builder.seal();
        assert_eq!(pack.buffer.len(), expected);
        assert!(pack.buffer.len() <= MIB && pack.buffer.len() + chunk_bytes + 2 * 4096 > MIB);
        assert_eq!(footer_of(&pack.buffer).unwrap(), pack.entries);
    }
}

#[test]
fn chunks_of_no_bytes_and_of_too_many_are_refused_and_leave_the_pack_as_it_was() {
    let mut builder = PackBuilder::new(
        EntryType::Chunk,
        REPOSITORY_ID,
        [0; 32],
        16 * MIB,
        AlignedBuf::with_capacity(16 * MIB),
    );
    let mut encoder = Encoder::new(Codec::Lz4, 0).unwrap();
    for plain_bytes in [0, PLAIN_BYTES_MAX + 1] {
        assert!(
            builder
                .push([0; 32], &vec![1; plain_bytes], &mut encoder)
                .is_err()
        );
    }
    builder
        .push([0; 32], &vec![1; PLAIN_BYTES_MAX], &mut encoder)
        .unwrap();
    assert_eq!(builder.seal().entries.len(), 1);
}

#[test]
fn packs_of_the_same_chunks_have_different_names_because_of_their_salt() {
    let chunks = chunks(5, 3);
    let ids = [1, 2].map(|salt| pack_of(EntryType::Chunk, salt, Codec::Lz4, &chunks).id);
    assert_ne!(ids[0], ids[1]);
}

/// A buffer is used again and again; nothing of the pack before may get into the padding.
#[test]
fn padding_is_zero_in_a_used_buffer() {
    let mut buffer = AlignedBuf::with_capacity(MIB);
    buffer.resize_zeroed(MIB);
    buffer.as_mut_slice().fill(0xff);
    let mut builder = PackBuilder::new(EntryType::Chunk, REPOSITORY_ID, [3; 32], MIB, buffer);
    let chunk = vec![8; 100];
    builder
        .push(
            digest::of_chunk(&chunk),
            &chunk,
            &mut Encoder::new(Codec::Lz4, 0).unwrap(),
        )
        .unwrap();
    assert_eq!(
        builder.seal().id,
        pack_of(EntryType::Chunk, 3, Codec::Lz4, &[chunk]).id
    );
}

#[test]
fn one_damaged_byte_never_gives_a_wrong_entry() {
    let pack = pack_of(EntryType::Chunk, 7, Codec::Lz4, &chunks(7, 6));
    let mut object = pack.buffer.to_vec();
    for at in 0..object.len() {
        object[at] ^= 0x41;
        assert_ne!(name_of(&object).ok(), Some(pack.id), "byte {at}");
        if let Ok(header) = header_of(&object) {
            assert_eq!(header, header_of(&pack.buffer).unwrap());
        }
        let found = footer_of(&object).unwrap_or_else(|error| {
            assert_eq!(error.code(), "PACK_CORRUPT");
            scan(&object)
        });
        assert!(
            found.iter().all(|entry| pack.entries.contains(entry)),
            "byte {at}"
        );
        let lost = pack.entries.len() - found.len();
        assert!(lost <= 1, "byte {at} cost {lost} entries");
        object[at] ^= 0x41;
    }
}

#[test]
fn a_pack_cut_anywhere_is_refused() {
    let pack = pack_of(EntryType::Chunk, 8, Codec::Lz4, &chunks(8, 10));
    for length in (0..pack.buffer.len())
        .step_by(61)
        .chain((0..pack.buffer.len()).step_by(4096))
    {
        assert!(footer_of(&pack.buffer[..length]).is_err());
        assert!(
            scan(&pack.buffer[..length])
                .iter()
                .all(|entry| pack.entries.contains(entry))
        );
    }
}

#[test]
fn frames_are_found_where_the_table_and_some_heads_are_lost() {
    let chunks = chunks(10, 50);
    let pack = pack_of(EntryType::Chunk, 9, Codec::Zstd, &chunks);
    let mut object = pack.buffer.to_vec();
    let table_at = pack.entries.last().unwrap().end() as usize;
    object[table_at..].fill(0x77);
    assert!(footer_of(&object).is_err());
    assert_eq!(scan(&object), pack.entries);

    // A lost head costs its own frame, lost stored bytes theirs, lost bytes over a border both.
    for number in [0, 10, 49] {
        object[pack.entries[number].offset as usize - 60] ^= 1;
    }
    object[pack.entries[20].offset as usize] ^= 1;
    let end = pack.entries[30].end() as usize;
    object[end - 1..end + 10].fill(0);
    let survivors: Vec<Entry> = (0..50)
        .filter(|n| ![0, 10, 20, 30, 31, 49].contains(n))
        .map(|n| pack.entries[n])
        .collect();
    assert_eq!(scan(&object), survivors);
}

#[test]
fn a_scan_of_heads_that_lie_stays_linear() {
    // Each head is sound, promises 4 MiB that are there, and gives a digest that is not theirs.
    let entry = Entry {
        digest: [0; 32],
        kind: EntryType::Chunk,
        codec: Codec::None,
        offset: 0,
        stored: PLAIN_BYTES_MAX as u32,
        plain: PLAIN_BYTES_MAX as u32,
    };
    let object = frame::head(&entry).repeat(2 * PLAIN_BYTES_MAX / frame::HEAD_BYTES);
    assert_eq!(scan(&object), []);
}

/// Writes a trailer and table that are sound but lie, and sees that they are refused before they cost anything.
#[test]
fn sound_tables_that_lie_are_refused() {
    let chunk = vec![3; 5000];
    let pack = pack_of(EntryType::Chunk, 2, Codec::None, &[chunk.clone(), chunk]);
    let lies: [fn(&mut Entry); 12] = [
        |entry| entry.offset = u32::MAX,
        |entry| entry.offset -= 1,
        |entry| entry.offset += 1,
        |entry| entry.offset = 0,
        |entry| entry.stored = 0,
        |entry| entry.stored = u32::MAX,
        |entry| entry.stored -= 1,
        |entry| entry.plain = 0,
        |entry| entry.plain = u32::MAX,
        |entry| (entry.stored, entry.plain) = (u32::MAX, u32::MAX),
        |entry| entry.plain -= 1,
        |entry| entry.codec = Codec::Lz4,
    ];
    for (lie, number) in lies.iter().flat_map(|lie| [(lie, 0), (lie, 1)]) {
        let mut entries = pack.entries.clone();
        lie(&mut entries[number]);
        let mut object = AlignedBuf::with_capacity(MIB);
        object.extend_from_slice(&pack.buffer[..pack.entries[1].end() as usize]);
        footer::append(&mut object, &entries);
        assert_eq!(
            footer_of(&object).unwrap_err().code(),
            "PACK_CORRUPT",
            "{entries:?}"
        );
    }
}

#[test]
fn objects_of_lengths_that_no_pack_has_are_refused_unread() {
    for object_bytes in [
        0,
        1,
        64,
        4095,
        4097,
        OBJECT_BYTES_MAX + 4096,
        u64::MAX - 4095,
        u64::MAX,
    ] {
        let error = read_footer(object_bytes, &mut |_, _| panic!("read")).unwrap_err();
        assert_eq!(error.code(), "PACK_CORRUPT");
    }
}

#[test]
fn trailers_with_counts_and_offsets_near_their_limits_are_refused() {
    let pack = pack_of(EntryType::Chunk, 4, Codec::Lz4, &chunks(4, 3));
    let trailer_at = pack.buffer.len() - 64;
    for (at, width) in [(12, 4), (16, 8), (24, 8)] {
        for value in [
            0,
            1,
            127,
            128,
            4096,
            u64::from(u32::MAX) - 1,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut object = pack.buffer.to_vec();
            let field = value.to_le_bytes();
            if object[trailer_at + at..][..width] == field[..width] {
                continue;
            }
            object[trailer_at + at..][..width].copy_from_slice(&field[..width]);
            assert_eq!(footer_of(&object).unwrap_err().code(), "PACK_CORRUPT");
        }
    }
}

/// By FORMAT.md, from the parts.
#[test]
fn a_pack_is_named_by_its_bytes_with_the_hash_of_stored_bytes_in_their_place() {
    for kind in [EntryType::Chunk, EntryType::Page] {
        let pack = pack_of(kind, 6, Codec::Lz4, &chunks(6, 9));
        let object = &pack.buffer[..];
        let mut parts = object[..PACK_HEADER_BYTES].to_vec();
        for entry in &pack.entries {
            let (stored_at, end) = (entry.offset as usize, entry.end() as usize);
            parts.extend_from_slice(&object[stored_at - frame::HEAD_BYTES..stored_at]);
            parts.extend_from_slice(&digest::of_object(&object[stored_at..end]));
        }
        parts.extend_from_slice(&object[pack.entries[8].end() as usize..]);
        assert_eq!(pack.id, digest::of_object(&parts));
    }
}

/// Frames that do not fit what the trailer says are told, and never read past.
#[test]
fn a_name_is_not_taken_from_frames_that_pass_their_end() {
    let pack = pack_of(EntryType::Chunk, 6, Codec::None, &chunks(6, 3));
    for stored in [0, 1, 2900, u32::MAX] {
        let mut object = pack.buffer.to_vec();
        let at = pack.entries[1].offset as usize - frame::HEAD_BYTES + 12;
        if object[at..at + 4] == stored.to_le_bytes() {
            continue;
        }
        object[at..at + 4].copy_from_slice(&stored.to_le_bytes());
        assert_ne!(name_of(&object).ok(), Some(pack.id));
    }
    let frames_end = pack.entries[2].end();
    for wrong in [frames_end - 1, frames_end - 64, frames_end + 1, 128, 129] {
        let mut reader = name::NameReader::new(wrong);
        let outcome = reader.take(&pack.buffer).map(|()| reader.finish());
        assert_ne!(outcome.ok(), Some(pack.id));
    }
}

#[test]
fn a_failed_read_stays_what_it_is() {
    let error = read_footer(4096, &mut |_, _| Err(NativeError::Cancelled)).unwrap_err();
    assert_eq!(error.code(), "CANCELLED");
}

#[test]
fn the_name_of_a_pack_is_checked_against_its_bytes() {
    let pack = pack_of(EntryType::Chunk, 4, Codec::Lz4, &chunks(4, 3));
    let folder = crate::object::tests::Folder::new();
    let path = folder.path().join("pack");
    std::fs::write(&path, &pack.buffer[..]).unwrap();
    check_pack(&path, &pack.id).unwrap();
    let error = check_pack(&path, &[0; 32]).unwrap_err();
    assert_eq!((error.code(), error.path()), ("PACK_CORRUPT", Some(&*path)));
    assert_eq!(
        check_pack(&folder.path().join("none"), &pack.id)
            .unwrap_err()
            .code(),
        "OBJECT_NOT_FOUND"
    );
}
