//! The bytes of packs and segments, pinned.

use super::*;

/// The formats, pinned: whoever changes a byte of them changes FORMAT.md, the golden files and these names.
/// With MOVER_ecd0d3aaec22ec13d3e758ef2e27eaad06eaac6c2966d556b0b769cbd3506622EN set to a folder, the objects are written there under their names.
#[test]
fn golden_objects_have_the_names_they_always_had() {
    let folder = Folder::new();
    let plain: Vec<Vec<u8>> = (1..=200)
        .map(|number| vec![number as u8; number * 7])
        .collect();
    let pages = vec![vec![1; 72], vec![2; 4136]];
    let packs = [
        pack_of(EntryType::Chunk, 0x11, Codec::None, &plain),
        pack_of(EntryType::Page, 0x22, Codec::None, &pages),
    ];
    let entries = packs.iter().map(|pack| PackEntries {
        id: pack.id,
        bytes: pack.buffer.len() as u64,
        entries: pack.entries.clone().into(),
    });
    let prefix = folder.prefix();
    let files = write_segments(
        &entries.collect::<Vec<_>>(),
        &output(&prefix, &[[0x33; 32]]),
    )
    .unwrap();
    if let Some(golden) =
        std::env::var_os("MOVER_ecd0d3aaec22ec13d3e758ef2e27eaad06eaac6c2966d556b0b769cbd3506622EN")
    {
        let golden = Path::new(&golden);
        packs
            .iter()
            .for_each(|pack| fs::write(golden.join(hex(&pack.id)), &pack.buffer[..]).unwrap());
        fs::copy(&files[0].path, golden.join(hex(&files[0].id))).unwrap();
    }
    assert_eq!(
        [hex(&packs[0].id), hex(&packs[1].id), hex(&files[0].id)],
        [
            "e704fb1fc86c1ec5d7dceecf8f39ce32143b64fa26b58e2524689dd4ce7e2ff6",
            "3620cf2c38ad4dc3bcd6bb7dec4aec235ccb9d2f3801a780421a094ebb94a4ac",
            "ecd0d3aaec22ec13d3e758ef2e27eaad06eaac6c2966d556b0b769cbd3506622",
        ]
    );
}
