//! The bytes of packs and segments, pinned.

use super::*;

/// The formats, pinned: whoever changes a byte of them changes FORMAT.md, the golden files and these names.
/// With MOVER_GOLDEN set to a folder, the objects are written there under their names.
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
    if let Some(golden) = std::env::var_os("MOVER_GOLDEN") {
        let golden = Path::new(&golden);
        packs
            .iter()
            .for_each(|pack| fs::write(golden.join(hex(&pack.id)), &pack.buffer[..]).unwrap());
        fs::copy(&files[0].path, golden.join(hex(&files[0].id))).unwrap();
    }
    assert_eq!(
        [hex(&packs[0].id), hex(&packs[1].id), hex(&files[0].id)],
        [
            "496e4d35cd5b0880e726c757d1ae2ab2a4b56535f4a4ddcde0435750be0b8032",
            "5b64b40eb0a1e7f2a12729f0e3abb087d0bb215536ade4ca149b9e9b37a4fd94",
            "f4253af367a524eb055ebc2238a6966965b6d94d7602fdaa2f41d23b1cf4beae",
        ]
    );
}
