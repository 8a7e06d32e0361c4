//! Plain bytes to stored bytes and back: LZ4 blocks and zstd frames of the C libraries, by safe wrappers.
//!
//! Nothing that cannot be decoded leaves the encoder: compressors have been wrong before, and the day of the
//! restore is too late to learn it. Decoding fills a buffer whose length the caller knew beforehand, so a
//! lying header costs an error and never memory.

use lz4::block::{compress_to_buffer, decompress_to_buffer};
use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{CCtx, DCtx};

use crate::error::{NativeError, Result};

pub const ZSTD_LEVEL_MIN: i32 = 1;
pub const ZSTD_LEVEL_MAX: i32 = 19;
/// From here up, a level looks so long for what is not in noise (0.4 down to 0.02 GB/s) that level 1 is asked
/// first (2 GB/s and more); that costs what shrinks 7 % of its time, and ever less.
const PROBED_LEVEL_MIN: i32 = 11;

/// How an entry's stored bytes became of its plain ones. The numbers are those of packs and segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    None = 0,
    Lz4 = 1,
    Zstd = 2,
}

impl Codec {
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Encodes chunks, and proves for each that it can be decoded. One a thread.
pub struct Encoder {
    compressor: Compressor,
    decoder: Decoder,
    /// What the stored bytes decode to, to be compared with what they were made of.
    decoded: Vec<u8>,
}

enum Compressor {
    None,
    Lz4,
    Zstd { context: CCtx<'static>, level: i32 },
}

impl Encoder {
    /// `level` is zstd's, 1..=19; the other codecs have none and ignore it.
    pub fn new(codec: Codec, level: i32) -> Result<Self> {
        let compressor = match codec {
            Codec::None => Compressor::None,
            Codec::Lz4 => Compressor::Lz4,
            Codec::Zstd => Compressor::zstd(level)?,
        };
        Ok(Self {
            compressor,
            decoder: Decoder::new()?,
            decoded: Vec::new(),
        })
    }

    /// Writes the stored bytes to the front of `stored`, which is at least as long as `plain`, and says how
    /// many they are: fewer than `plain` has, or `Codec::None` and the plain bytes themselves.
    pub fn encode(&mut self, plain: &[u8], stored: &mut [u8]) -> Result<(Codec, usize)> {
        // One byte less than plain is all the room there is: what does not fit did not shrink.
        let room = &mut stored[..plain.len().saturating_sub(1)];
        let Some(shrunk) = self.compressor.compress(plain, room)? else {
            stored[..plain.len()].copy_from_slice(plain);
            return Ok((Codec::None, plain.len()));
        };
        let codec = self.compressor.codec();
        self.prove(codec, &stored[..shrunk], plain)?;
        Ok((codec, shrunk))
    }

    fn prove(&mut self, codec: Codec, stored: &[u8], plain: &[u8]) -> Result<()> {
        self.decoded.resize(plain.len(), 0);
        self.decoder.decode(codec, stored, &mut self.decoded)?;
        if self.decoded != plain {
            return Err(NativeError::codec(format!(
                "{codec:?} made bytes that decode to others"
            )));
        }
        Ok(())
    }
}

impl Compressor {
    fn zstd(level: i32) -> Result<Self> {
        if !(ZSTD_LEVEL_MIN..=ZSTD_LEVEL_MAX).contains(&level) {
            return Err(NativeError::argument(format!("{level} is no zstd level")));
        }
        let context = CCtx::try_create().ok_or_else(|| NativeError::codec("no memory for zstd"))?;
        Ok(Self::Zstd { context, level })
    }

    fn codec(&self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd { .. } => Codec::Zstd,
        }
    }

    /// Bytes written to `room`, or none if they do not fit.
    fn compress(&mut self, plain: &[u8], room: &mut [u8]) -> Result<Option<usize>> {
        match self {
            Self::None => Ok(None),
            // LZ4 has one failure only: no room.
            Self::Lz4 => Ok(compress_to_buffer(plain, None, false, room).ok()),
            Self::Zstd { context, level } => {
                if *level >= PROBED_LEVEL_MIN && compress_zstd(context, 1, plain, room)?.is_none() {
                    return Ok(None);
                }
                compress_zstd(context, *level, plain, room)
            }
        }
    }
}

fn compress_zstd(
    context: &mut CCtx<'static>,
    level: i32,
    plain: &[u8],
    room: &mut [u8],
) -> Result<Option<usize>> {
    match context.compress(room, plain, level) {
        Ok(shrunk) => Ok(Some(shrunk)),
        Err(code) if is_no_room(code) => Ok(None),
        Err(code) => Err(NativeError::codec(format!(
            "zstd: {}",
            zstd_safe::get_error_name(code)
        ))),
    }
}

fn is_no_room(code: zstd_safe::ErrorCode) -> bool {
    zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall)
}

/// Decodes chunks into buffers of exactly their length. One a thread.
pub struct Decoder {
    zstd: DCtx<'static>,
}

impl Decoder {
    pub fn new() -> Result<Self> {
        let zstd = DCtx::try_create().ok_or_else(|| NativeError::codec("no memory for zstd"))?;
        Ok(Self { zstd })
    }

    /// Fills all of `plain`, or fails with CODEC_FAILED; bytes that decode to any other length are refused.
    pub fn decode(&mut self, codec: Codec, stored: &[u8], plain: &mut [u8]) -> Result<()> {
        let decoded = match codec {
            Codec::None => copy(stored, plain),
            Codec::Lz4 => decode_lz4(stored, plain),
            Codec::Zstd => self.decode_zstd(stored, plain),
        };
        if decoded == Some(plain.len()) {
            return Ok(());
        }
        Err(NativeError::codec(format!(
            "{} stored bytes do not decode to {} by {codec:?}",
            stored.len(),
            plain.len()
        )))
    }

    /// One frame and nothing behind it, that says its length. Its window is then the output itself, so that
    /// zstd allocates nothing, whatever window the frame asks for.
    fn decode_zstd(&mut self, stored: &[u8], plain: &mut [u8]) -> Option<usize> {
        let content = zstd_safe::get_frame_content_size(stored).ok()??;
        let frame = zstd_safe::find_frame_compressed_size(stored).ok()?;
        if content != plain.len() as u64 || frame != stored.len() {
            return None;
        }
        self.zstd.decompress(plain, stored).ok()
    }
}

fn copy(stored: &[u8], plain: &mut [u8]) -> Option<usize> {
    if stored.len() != plain.len() {
        return None;
    }
    plain.copy_from_slice(stored);
    Some(plain.len())
}

fn decode_lz4(stored: &[u8], plain: &mut [u8]) -> Option<usize> {
    let length = i32::try_from(plain.len()).ok()?;
    decompress_to_buffer(stored, Some(length), plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd];

    fn encode(codec: Codec, plain: &[u8]) -> (Codec, Vec<u8>) {
        let mut stored = vec![0xaa; plain.len()];
        let (used, length) = Encoder::new(codec, 3)
            .unwrap()
            .encode(plain, &mut stored)
            .unwrap();
        stored.truncate(length);
        (used, stored)
    }

    fn decode(codec: Codec, stored: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut plain = vec![0x55; length];
        Decoder::new()
            .unwrap()
            .decode(codec, stored, &mut plain)
            .ok()
            .map(|()| plain)
    }

    #[test]
    fn what_is_encoded_decodes_to_itself_at_every_boundary_length() {
        let mut random = Seeded::new(1);
        for codec in CODECS {
            for length in [
                1,
                2,
                3,
                12,
                13,
                14,
                64,
                65,
                4095,
                4096,
                65535,
                65536,
                65537,
                4 << 20,
            ] {
                for compressible in [false, true] {
                    let plain = random.bytes(length, compressible);
                    let (used, stored) = encode(codec, &plain);
                    assert!(used == Codec::None || used == codec);
                    assert_eq!(used == Codec::None, stored.len() == plain.len());
                    assert!(stored.len() <= plain.len());
                    assert_eq!(decode(used, &stored, length).as_ref(), Some(&plain));
                }
            }
        }
    }

    #[test]
    fn random_bytes_are_stored_plain_and_repeated_ones_shrink() {
        let mut random = Seeded::new(2);
        let (noise, text) = (random.bytes(65536, false), random.bytes(65536, true));
        for codec in [Codec::Lz4, Codec::Zstd] {
            assert_eq!(encode(codec, &noise), (Codec::None, noise.clone()));
            let (used, stored) = encode(codec, &text);
            assert_eq!(used, codec);
            assert!(stored.len() < text.len() / 2);
        }
        assert_eq!(encode(Codec::None, &text), (Codec::None, text));
    }

    #[test]
    fn any_other_length_is_refused() {
        let plain = Seeded::new(3).bytes(1000, true);
        for codec in CODECS {
            let (used, stored) = encode(codec, &plain);
            for length in [0, 1, 999, 1001, 4096, 1 << 20] {
                assert_eq!(decode(used, &stored, length), None, "{codec:?} to {length}");
            }
            assert_eq!(decode(used, &[], 1000), None);
        }
    }

    #[test]
    fn a_zstd_frame_with_something_behind_it_is_refused() {
        let (codec, stored) = encode(Codec::Zstd, &[7; 1000]);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        assert_eq!(
            decode(codec, &[&stored[..], &skippable].concat(), 1000),
            None
        );
        assert_eq!(
            decode(codec, &[&skippable, &stored[..]].concat(), 1000),
            None
        );
        assert_eq!(
            decode(codec, &[&stored[..], &stored[..]].concat(), 2000),
            None
        );
    }

    #[test]
    fn a_zstd_frame_that_does_not_say_its_length_is_refused() {
        // Magic, no content size and a window of 1 KiB, one raw block of a byte: 0x21.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, 0x09, 0x00, 0x00, 0x21];
        let mut plain = [0; 1];
        assert_eq!(DCtx::create().decompress(&mut plain[..], &frame), Ok(1));
        assert_eq!(decode(Codec::Zstd, &frame, 1), None);
    }

    #[test]
    fn damaged_bytes_give_an_error_or_a_full_buffer_and_never_a_panic() {
        let mut random = Seeded::new(4);
        let plain = random.bytes(5000, true);
        for codec in [Codec::Lz4, Codec::Zstd] {
            let (_, stored) = encode(codec, &plain);
            for _ in 0..5000 {
                let mut damaged = stored.clone();
                damaged[random.below(stored.len())] ^= 1 << random.below(8);
                damaged.truncate(stored.len() - random.below(3));
                if let Some(decoded) = decode(codec, &damaged, plain.len()) {
                    assert_eq!(decoded.len(), plain.len());
                }
            }
            for length in 0..200 {
                decode(codec, &random.bytes(length, false), plain.len());
            }
        }
    }

    #[test]
    fn a_compressor_that_is_wrong_is_caught() {
        let mut encoder = Encoder::new(Codec::Lz4, 0).unwrap();
        let (codec, stored) = encode(Codec::Lz4, &[1; 4096]);
        assert!(encoder.prove(codec, &stored, &[1; 4096]).is_ok());
        for wrong in [vec![2; 4096], vec![1; 4095], vec![1; 4097]] {
            assert_eq!(
                encoder.prove(codec, &stored, &wrong).unwrap_err().code(),
                "CODEC_FAILED"
            );
        }
    }

    #[test]
    fn a_level_that_zstd_has_not_is_refused() {
        for level in [i32::MIN, -1, 0, 20, 22, i32::MAX] {
            let error = Encoder::new(Codec::Zstd, level).err().unwrap();
            assert_eq!(error.code(), "ARGUMENT_INVALID");
        }
        assert!(Encoder::new(Codec::Zstd, 1).is_ok() && Encoder::new(Codec::Zstd, 19).is_ok());
    }
}
