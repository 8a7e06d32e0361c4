//! Random bytes for tests, the same from the same seed.

/// SplitMix64.
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Noise, or words of noise repeated so that they shrink to less than half.
    pub fn bytes(&mut self, length: usize, compressible: bool) -> Vec<u8> {
        let repeats = if compressible { 8 } else { 1 };
        let mut bytes = Vec::with_capacity(length + 64);
        while bytes.len() < length {
            let word = self.next().to_le_bytes();
            (0..repeats).for_each(|_| bytes.extend(word));
        }
        bytes.truncate(length);
        bytes
    }
}
