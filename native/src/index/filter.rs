//! A split block Bloom filter, as in Apache Parquet: answers "not here" from one cache line.
//!
//! A digest is uniform already, so that 8 bytes of it serve as the hash: 4 choose the block, 4 the bits.

use crate::digest::Digest;
use crate::fields::u32_at;

const WORDS: usize = 8;
const BLOCK_BYTES: usize = WORDS * size_of::<u32>();
const BLOCK_AT: usize = 8;
const KEY_AT: usize = BLOCK_AT + size_of::<u32>();

/// Odd numbers that spread a key over the eight words of a block.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// Length of the filter of so many entries: 10.5 bits for each, about one false "maybe" in a hundred.
pub fn bytes_for(entries: u64) -> u64 {
    (entries * 21).div_ceil(2 * 8 * BLOCK_BYTES as u64) * BLOCK_BYTES as u64
}

/// Whether a filter of this length can be probed at all: none for no entries, whole blocks otherwise.
pub fn is_length(bytes: u64, entries: u64) -> bool {
    bytes.is_multiple_of(BLOCK_BYTES as u64) && (bytes == 0) == (entries == 0)
}

/// Whether the digest may be among those inserted; if not, it certainly is not.
pub fn may_hold(filter: &[u8], digest: &Digest) -> bool {
    let (blocks, _) = filter.as_chunks::<BLOCK_BYTES>();
    let block = &blocks[block_of(digest, blocks.len())];
    let mut missing = 0;
    for (word, bit) in bits(digest).into_iter().enumerate() {
        missing |= bit & !u32_at(block, word * size_of::<u32>());
    }
    missing == 0
}

pub fn insert(filter: &mut [u8], digest: &Digest) {
    let (blocks, _) = filter.as_chunks_mut::<BLOCK_BYTES>();
    let block = &mut blocks[block_of(digest, blocks.len())];
    let (words, _) = block.as_chunks_mut::<4>();
    for (word, bit) in words.iter_mut().zip(bits(digest)) {
        *word = (u32::from_le_bytes(*word) | bit).to_le_bytes();
    }
}

fn block_of(digest: &Digest, blocks: usize) -> usize {
    ((u64::from(u32_at(digest, BLOCK_AT)) * blocks as u64) >> u32::BITS) as usize
}

fn bits(digest: &Digest) -> [u32; WORDS] {
    let key = u32_at(digest, KEY_AT);
    SALTS.map(|salt| 1 << (key.wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    fn digests(range: std::ops::Range<u32>) -> impl Iterator<Item = Digest> {
        range.map(|number| digest::of_chunk(&number.to_le_bytes()))
    }

    #[test]
    fn holds_what_was_inserted_and_about_a_hundredth_of_the_rest() {
        for entries in [1, 2, 100, 20_000] {
            let mut filter = vec![0; bytes_for(u64::from(entries)) as usize];
            digests(0..entries).for_each(|digest| insert(&mut filter, &digest));
            assert!(digests(0..entries).all(|digest| may_hold(&filter, &digest)));
            let wrong = digests(1_000_000..1_020_000)
                .filter(|digest| may_hold(&filter, digest))
                .count();
            assert!(wrong < 300, "{wrong} of 20,000 with {entries} entries");
        }
    }

    /// One key of Parquet's algorithm, worked out by hand: key 1 takes the top five bits of each salt.
    #[test]
    fn sets_the_bits_that_parquet_sets() {
        let mut digest = [0; 32];
        digest[KEY_AT] = 1;
        let mut filter = vec![0; BLOCK_BYTES];
        insert(&mut filter, &digest);
        let bits: Vec<u32> = (0..WORDS)
            .map(|word| u32_at(&filter, word * 4).trailing_zeros())
            .collect();
        assert_eq!(bits, [8, 8, 17, 20, 14, 5, 19, 11]);
    }

    #[test]
    fn lengths_are_whole_blocks_of_ten_and_a_half_bits_an_entry() {
        assert_eq!(
            [0, 1, 24, 25, 48, 49].map(bytes_for),
            [0, 32, 32, 64, 64, 96]
        );
        assert!(is_length(0, 0) && is_length(32, 1) && is_length(64, 1));
        assert!(!is_length(0, 1) && !is_length(32, 0) && !is_length(33, 1));
    }
}
