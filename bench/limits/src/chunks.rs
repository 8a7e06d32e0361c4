//! What is done with a chunk: hashed, compressed, decompressed, by the libraries alone.

use lz4::block::{compress_to_buffer, decompress_to_buffer};
use zstd_safe::{CCtx, DCtx};

use crate::Outcome;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Lz4,
    Zstd(i32),
}

impl Codec {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "lz4" => Some(Self::Lz4),
            _ => name.strip_prefix("zstd:")?.parse().ok().map(Self::Zstd),
        }
    }
}

/// One a thread: the libraries' states are made once.
pub struct Worker {
    codec: Codec,
    compressor: CCtx<'static>,
    decompressor: DCtx<'static>,
    pub room: Vec<u8>,
    proof: Vec<u8>,
}

impl Worker {
    pub fn new(codec: Codec, chunk_bytes: usize) -> Self {
        Self {
            codec,
            compressor: CCtx::create(),
            decompressor: DCtx::create(),
            room: vec![0; chunk_bytes],
            proof: vec![0; chunk_bytes],
        }
    }

    /// Compresses into `room`; the length, or that of the plain bytes where they do not shrink.
    pub fn compress(&mut self, plain: &[u8]) -> usize {
        let room = &mut self.room[..plain.len() - 1];
        let shrunk = match self.codec {
            Codec::None => None,
            Codec::Lz4 => compress_to_buffer(plain, None, false, room).ok(),
            Codec::Zstd(level) => self.compressor.compress(room, plain, level).ok(),
        };
        shrunk.unwrap_or(plain.len())
    }

    /// Decompresses what `compress` left in `room`, and compares it with what it was made of.
    pub fn prove(&mut self, plain: &[u8], length: usize) {
        if length == plain.len() {
            return;
        }
        let proof = &mut self.proof[..plain.len()];
        let stored = &self.room[..length];
        let bytes = match self.codec {
            Codec::None => None,
            Codec::Lz4 => decompress_to_buffer(stored, Some(plain.len() as i32), proof).ok(),
            Codec::Zstd(_) => self.decompressor.decompress(proof, stored).ok(),
        };
        assert!(
            bytes == Some(plain.len()) && proof == plain,
            "the library is wrong"
        );
    }

    /// Decompresses into `room`.
    pub fn decompress(&mut self, stored: &[u8], plain_bytes: usize) -> Outcome<&[u8]> {
        let room = &mut self.room[..plain_bytes];
        if stored.len() == plain_bytes {
            room.copy_from_slice(stored);
            return Ok(room);
        }
        let bytes = match self.codec {
            Codec::None => return Err("nothing shrank without a codec".into()),
            Codec::Lz4 => decompress_to_buffer(stored, Some(plain_bytes as i32), room)?,
            Codec::Zstd(_) => self
                .decompressor
                .decompress(room, stored)
                .map_err(zstd_safe::get_error_name)?,
        };
        Ok(&room[..bytes])
    }
}

/// Whether there is nothing in the chunk to be stored.
pub fn is_zero(plain: &[u8]) -> bool {
    let (words, rest) = plain.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}
