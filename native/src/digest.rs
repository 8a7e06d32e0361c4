//! The names of things: BLAKE3 of plain bytes, and the checksums that guard headers.
//!
//! A chunk is named by the plain hash of its bytes. A tree page is named in derive-key mode, so that a
//! guest cannot store bytes that pass for a page.

use std::sync::LazyLock;

use crate::error::{NativeError, Result};

pub const DIGEST_BYTES: usize = 32;
pub const CHECKSUM_BYTES: usize = 16;

pub type Digest = [u8; DIGEST_BYTES];

const PAGE_CONTEXT: &str = "mover 1 tree page";

/// The name of a chunk of a volume.
pub fn of_chunk(plain: &[u8]) -> Digest {
    *blake3::hash(plain).as_bytes()
}

/// The name of a page of a manifest's tree.
pub fn of_page(page: &[u8]) -> Digest {
    // Most pages are small: the key is derived once, and not with every one of them.
    static KEYED: LazyLock<blake3::Hasher> =
        LazyLock::new(|| blake3::Hasher::new_derive_key(PAGE_CONTEXT));
    *KEYED.clone().update(page).finalize().as_bytes()
}

/// The name of an index segment, and what stands for stored bytes in the name of a pack.
pub fn of_object(object: &[u8]) -> Digest {
    *blake3::hash(object).as_bytes()
}

/// Guards a header or a row against damage; names nothing.
pub fn checksum<const BYTES: usize>(parts: &[&[u8]]) -> [u8; BYTES] {
    const { assert!(BYTES <= DIGEST_BYTES) };
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut checksum = [0; BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..BYTES]);
    checksum
}

/// The checksum that most headers end with.
pub fn checksum16(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    checksum(parts)
}

/// Writes a digest, or any other short id, as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads what `hex` wrote and nothing else: upper case would give one object two names.
pub fn parse_hex(text: &str) -> Result<Digest> {
    let malformed =
        || NativeError::argument(format!("{text:?} is not 64 lower-case hexadecimal digits"));
    if text.len() != 2 * DIGEST_BYTES {
        return Err(malformed());
    }
    let mut digest = [0; DIGEST_BYTES];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        *byte = high
            .zip(low)
            .map(|(high, low)| high << 4 | low)
            .ok_or_else(malformed)?;
    }
    Ok(digest)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the test vectors of BLAKE3's authors: the hash of no bytes and of one zero byte.
    #[test]
    fn chunks_are_named_by_plain_blake3() {
        assert_eq!(
            hex(&of_chunk(b"")),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(
            hex(&of_chunk(&[0])),
            "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"
        );
    }

    #[test]
    fn a_page_and_a_chunk_of_the_same_bytes_have_different_names() {
        assert_ne!(of_page(b"page"), of_chunk(b"page"));
        assert_eq!(of_object(b"page"), of_chunk(b"page"));
    }

    #[test]
    fn a_checksum_is_the_head_of_the_hash_of_its_parts_joined() {
        assert_eq!(checksum16(&[b"ab", b"", b"c"]), of_object(b"abc")[..16]);
        assert_eq!(checksum::<8>(&[b"abc"]), of_object(b"abc")[..8]);
    }

    #[test]
    fn hexadecimal_is_read_as_written_and_not_otherwise() {
        let digest = of_chunk(b"x");
        let text = hex(&digest);
        assert_eq!(parse_hex(&text).unwrap(), digest);
        let malformed = [
            String::new(),
            text[1..].to_owned(),
            format!("{text}0"),
            text.to_uppercase(),
            text.replace(&text[..1], "g"),
        ];
        for text in malformed {
            assert_eq!(
                parse_hex(&text).unwrap_err().code(),
                "ARGUMENT_INVALID",
                "{text}"
            );
        }
        // 64 bytes, but not 64 digits.
        assert!(parse_hex(&"é".repeat(32)).is_err());
    }
}
