//! Is a chunk all zero? Asked of every chunk that is read, so it runs at the speed of memory.

/// Whether every byte is zero; true of no bytes at all. Stops at the first block that is not.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<128>();
    blocks.iter().all(is_zero_block) && rest.iter().all(|&byte| byte == 0)
}

fn is_zero_block(block: &[u8; 128]) -> bool {
    let (words, _) = block.as_chunks::<8>();
    words
        .iter()
        .fold(0, |any, &word| any | u64::from_ne_bytes(word))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_seen() {
        for length in [1, 7, 8, 127, 128, 129, 255, 256, 257, 1000, 4096] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for at in 0..length {
                bytes[at] = 1 << (at % 8);
                assert!(!is_zero(&bytes), "byte {at} of {length}");
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn no_bytes_are_all_zero() {
        assert!(is_zero(&[]));
    }

    #[test]
    fn bytes_of_any_alignment_are_read() {
        let bytes = [0; 300];
        (0..=300).for_each(|start| assert!(is_zero(&bytes[start..])));
    }
}
