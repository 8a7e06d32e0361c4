//! Packs: objects that hold many stored chunks, each in a frame that describes itself, and a table of them
//! at the end. FORMAT.md has the layout.
//!
//! A reader takes the table; a damaged pack still gives what its frames prove. A pack is named by its bytes,
//! so whoever holds it can check it without a key. Its random salt makes every pack a new one: a chunk that is
//! stored again to heal a damaged pack can never get the damaged pack's name.

mod footer;
mod frame;
mod name;
#[cfg(test)]
pub(crate) mod tests;

use crate::codec::{Codec, Encoder};
use crate::device::AlignedBuf;
use crate::digest::{self, CHECKSUM_BYTES, Digest};
use crate::error::{NativeError, Result};
use crate::fields::{array_at, is_reserved, put, u16_at, u32_at};

use name::PackName;

pub use footer::{ReadAt, read_footer};
pub use frame::scan_frames;
pub use name::check_pack;

/// Packs are written with direct I/O in one piece, so that their length is a multiple of this.
pub const PACK_ALIGNMENT: usize = 4096;
pub const PLAIN_BYTES_MAX: usize = 4 << 20;
/// No pack is longer when it is written ...
pub const PACK_BYTES_MAX: usize = 64 << 20;
/// ... and nothing longer than this is read as one.
pub const OBJECT_BYTES_MAX: u64 = 128 << 20;

pub const SALT_BYTES: usize = 32;
pub const REPOSITORY_ID_BYTES: usize = 16;
const KEY_ID_BYTES: usize = 16;

const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"MOVRPACK";
const VERSION_AT: usize = MAGIC.len();
const KIND_AT: usize = VERSION_AT + size_of::<u16>();
const ENCRYPTION_AT: usize = KIND_AT + 1;
const KEY_BLOCK_BYTES_AT: usize = ENCRYPTION_AT + 1;
const KEY_ID_AT: usize = KEY_BLOCK_BYTES_AT + size_of::<u32>();
const SALT_AT: usize = KEY_ID_AT + KEY_ID_BYTES;
const REPOSITORY_ID_AT: usize = SALT_AT + SALT_BYTES;
const RESERVED_AT: usize = REPOSITORY_ID_AT + REPOSITORY_ID_BYTES;
const CHECKSUM_AT: usize = RESERVED_AT + 32;
pub const PACK_HEADER_BYTES: usize = CHECKSUM_AT + CHECKSUM_BYTES;
const _: () = assert!(PACK_HEADER_BYTES == 128);

/// What an entry's plain bytes are, and so how they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryType {
    Chunk = 0,
    Page = 1,
}

impl EntryType {
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Chunk),
            1 => Some(Self::Page),
            _ => None,
        }
    }

    /// The name of `plain` as an entry of this kind.
    pub fn digest_of(self, plain: &[u8]) -> Digest {
        match self {
            Self::Chunk => digest::of_chunk(plain),
            Self::Page => digest::of_page(plain),
        }
    }
}

/// One chunk's place in a pack; `offset` is that of its stored bytes, behind the head of their frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub digest: Digest,
    pub kind: EntryType,
    pub codec: Codec,
    pub offset: u32,
    pub stored: u32,
    pub plain: u32,
}

impl Entry {
    /// Whether its lengths can be true: nothing is allocated from them before.
    pub fn is_bounded(&self) -> bool {
        let shrank = self.stored < self.plain;
        (1..=PLAIN_BYTES_MAX as u32).contains(&self.plain)
            && (1..=self.plain).contains(&self.stored)
            && shrank == (self.codec != Codec::None)
    }

    /// First byte behind the stored ones.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.stored)
    }
}

/// What a pack says of itself at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    pub kind: EntryType,
    pub salt: [u8; SALT_BYTES],
    pub repository_id: [u8; REPOSITORY_ID_BYTES],
}

impl PackHeader {
    fn to_bytes(self) -> [u8; PACK_HEADER_BYTES] {
        let mut header = [0; PACK_HEADER_BYTES];
        put(&mut header, 0, MAGIC);
        put(&mut header, VERSION_AT, &VERSION.to_le_bytes());
        header[KIND_AT] = self.kind as u8;
        put(&mut header, SALT_AT, &self.salt);
        put(&mut header, REPOSITORY_ID_AT, &self.repository_id);
        let checksum = digest::checksum16(&[&header[..CHECKSUM_AT]]);
        put(&mut header, CHECKSUM_AT, &checksum);
        header
    }

    /// PACK_CORRUPT unless it is a header of this version, whole, with nothing in what is reserved.
    pub fn from_bytes(header: &[u8; PACK_HEADER_BYTES]) -> Result<Self> {
        let refused = |message: &str| Err(NativeError::pack(0, message));
        if header[..VERSION_AT] != *MAGIC {
            return refused("does not begin as a pack");
        }
        if header[CHECKSUM_AT..] != digest::checksum16(&[&header[..CHECKSUM_AT]]) {
            return refused("its header is damaged");
        }
        if u16_at(header, VERSION_AT) != VERSION {
            return refused("is of another version");
        }
        if header[ENCRYPTION_AT] != 0
            || u32_at(header, KEY_BLOCK_BYTES_AT) != 0
            || !is_reserved(header, KEY_ID_AT, SALT_AT)
            || !is_reserved(header, RESERVED_AT, CHECKSUM_AT)
        {
            return refused("uses what this version only reserves");
        }
        let Some(kind) = EntryType::from_byte(header[KIND_AT]) else {
            return refused("is of an unknown kind");
        };
        Ok(Self {
            kind,
            salt: array_at(header, SALT_AT),
            repository_id: array_at(header, REPOSITORY_ID_AT),
        })
    }
}

/// A pack under construction, in the buffer from which it will be written with direct I/O in one piece.
pub struct PackBuilder {
    kind: EntryType,
    pack_bytes: usize,
    buffer: AlignedBuf,
    entries: Vec<Entry>,
    name: PackName,
}

/// A finished pack: nothing of it changes any more.
pub struct SealedPack {
    pub id: Digest,
    pub kind: EntryType,
    /// The object's bytes; their number is a multiple of `PACK_ALIGNMENT`.
    pub buffer: AlignedBuf,
    /// In the order of their offsets.
    pub entries: Vec<Entry>,
}

impl PackBuilder {
    /// Begins a pack of at most `pack_bytes`, which `buffer` (emptied first) must be able to hold. The salt
    /// comes from the system's random numbers, except in tests.
    pub fn new(
        kind: EntryType,
        repository_id: [u8; REPOSITORY_ID_BYTES],
        salt: [u8; SALT_BYTES],
        pack_bytes: usize,
        mut buffer: AlignedBuf,
    ) -> Self {
        let pack_bytes = pack_bytes.min(PACK_BYTES_MAX).min(buffer.capacity());
        let header = PackHeader {
            kind,
            salt,
            repository_id,
        };
        buffer.clear();
        buffer.extend_from_slice(&header.to_bytes());
        Self {
            kind,
            pack_bytes,
            name: PackName::begin(&buffer),
            buffer,
            entries: Vec::new(),
        }
    }

    /// Whether a chunk of this many plain bytes fits even if it does not shrink.
    pub fn has_room(&self, plain_bytes: usize) -> bool {
        let frames_end = self.buffer.len() + frame::HEAD_BYTES + plain_bytes;
        footer::sealed_bytes(frames_end, self.entries.len() + 1) <= self.pack_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How long the pack would be if it were sealed now.
    pub fn sealed_bytes(&self) -> usize {
        footer::sealed_bytes(self.buffer.len(), self.entries.len())
    }

    /// Encodes a chunk of 1 byte to 4 MiB and adds it; `digest` is that of `plain`. After an error the pack is
    /// as before.
    pub fn push(&mut self, digest: Digest, plain: &[u8], encoder: &mut Encoder) -> Result<Entry> {
        if !(1..=PLAIN_BYTES_MAX).contains(&plain.len()) || !self.has_room(plain.len()) {
            return Err(NativeError::internal(format!(
                "a pack was given {} bytes too many",
                plain.len()
            )));
        }
        let head_at = self.buffer.len();
        let stored_at = head_at + frame::HEAD_BYTES;
        self.buffer.resize_zeroed(stored_at);
        let encoded = encoder.encode(plain, self.buffer.spare_mut());
        let (codec, stored) = encoded.inspect_err(|_| self.buffer.truncate(head_at))?;
        self.buffer.set_len(stored_at + stored);

        // A pack is at most 64 MiB long, so that nothing here needs more than 32 bits.
        let entry = Entry {
            digest,
            kind: self.kind,
            codec,
            offset: stored_at as u32,
            stored: stored as u32,
            plain: plain.len() as u32,
        };
        let head = frame::head(&entry);
        put(self.buffer.as_mut_slice(), head_at, &head);
        self.name.add_frame(&head, &self.stored_hash(&entry));
        self.entries.push(entry);
        Ok(entry)
    }

    /// What the name takes for an entry's stored bytes: a chunk that is stored as it is was hashed already.
    fn stored_hash(&self, entry: &Entry) -> Digest {
        match (entry.kind, entry.codec) {
            (EntryType::Chunk, Codec::None) => entry.digest,
            _ => digest::of_object(&self.buffer[entry.offset as usize..]),
        }
    }

    /// Adds the table and the trailer, and names the whole.
    pub fn seal(mut self) -> SealedPack {
        let frames_end = self.buffer.len();
        footer::append(&mut self.buffer, &self.entries);
        let id = self.name.finish(&self.buffer[frames_end..]);
        SealedPack {
            id,
            kind: self.kind,
            buffer: self.buffer,
            entries: self.entries,
        }
    }
}
