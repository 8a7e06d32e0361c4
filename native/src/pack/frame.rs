//! A frame: a head that says what follows, then an entry's stored bytes. Enough to rebuild the index from
//! packs alone, even where a pack's table is lost.

use crate::codec::{Codec, Decoder};
use crate::digest::{self, CHECKSUM_BYTES, DIGEST_BYTES};
use crate::fields::{array_at, put, u16_at, u32_at};

use super::{Entry, EntryType, OBJECT_BYTES_MAX};

const MAGIC: &[u8; 4] = b"MENT";
const KIND_AT: usize = MAGIC.len();
const CODEC_AT: usize = KIND_AT + 1;
const RESERVED_AT: usize = CODEC_AT + 1;
const PLAIN_AT: usize = RESERVED_AT + size_of::<u16>();
const STORED_AT: usize = PLAIN_AT + size_of::<u32>();
const DIGEST_AT: usize = STORED_AT + size_of::<u32>();
const CHECKSUM_AT: usize = DIGEST_AT + DIGEST_BYTES;
pub(super) const HEAD_BYTES: usize = CHECKSUM_AT + CHECKSUM_BYTES;
const _: () = assert!(HEAD_BYTES == 64);

/// The head of an entry's frame.
pub(super) fn head(entry: &Entry) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    put(&mut head, 0, MAGIC);
    head[KIND_AT] = entry.kind as u8;
    head[CODEC_AT] = entry.codec as u8;
    put(&mut head, PLAIN_AT, &entry.plain.to_le_bytes());
    put(&mut head, STORED_AT, &entry.stored.to_le_bytes());
    put(&mut head, DIGEST_AT, &entry.digest);
    let checksum = digest::checksum16(&[&head[..CHECKSUM_AT]]);
    put(&mut head, CHECKSUM_AT, &checksum);
    head
}

/// How many stored bytes a head says that follow it; whether it is sound is not asked.
pub(super) fn stored_bytes(head: &[u8; HEAD_BYTES]) -> u32 {
    u32_at(head, STORED_AT)
}

/// Finds a damaged pack's entries without its table: those whose head, bounds and digest all hold, in the
/// order of their offsets. What is found is true wherever it is found, since its digest was compared.
pub fn scan_frames(object: &[u8], decoder: &mut Decoder) -> Vec<Entry> {
    if object.len() as u64 > OBJECT_BYTES_MAX {
        return Vec::new();
    }
    let mut entries = Vec::new();
    let mut plain = Vec::new();
    // A guest can fill a chunk with heads that are sound and promise 4 MiB each. Past this many bytes of
    // decoding in vain, a frame that proves false is stepped over whole, so that the scan stays linear.
    let mut vain_bytes = 4 * object.len();
    let mut at = 0;
    while let Some(head_at) = next_magic(object, at) {
        at = head_at + 1;
        let Some(entry) = entry_at(object, head_at) else {
            continue;
        };
        let frame_end = entry.end() as usize;
        if is_true(&entry, object, decoder, &mut plain) {
            entries.push(entry);
            at = frame_end;
        } else if let Some(left) = vain_bytes.checked_sub(entry.plain as usize) {
            vain_bytes = left;
        } else {
            at = frame_end;
        }
    }
    entries
}

fn next_magic(object: &[u8], from: usize) -> Option<usize> {
    let rest = object.get(from..)?;
    rest.windows(MAGIC.len())
        .position(|window| window == MAGIC)
        .map(|distance| from + distance)
}

/// The entry of the frame at `head_at`, if its head is sound and its stored bytes are inside the object.
fn entry_at(object: &[u8], head_at: usize) -> Option<Entry> {
    let head = object.get(head_at..head_at + HEAD_BYTES)?;
    if head[CHECKSUM_AT..] != digest::checksum16(&[&head[..CHECKSUM_AT]])
        || u16_at(head, RESERVED_AT) != 0
    {
        return None;
    }
    let entry = Entry {
        digest: array_at(head, DIGEST_AT),
        kind: EntryType::from_byte(head[KIND_AT])?,
        codec: Codec::from_byte(head[CODEC_AT])?,
        offset: (head_at + HEAD_BYTES) as u32,
        stored: u32_at(head, STORED_AT),
        plain: u32_at(head, PLAIN_AT),
    };
    (entry.is_bounded() && entry.end() <= object.len() as u64).then_some(entry)
}

fn is_true(entry: &Entry, object: &[u8], decoder: &mut Decoder, plain: &mut Vec<u8>) -> bool {
    let stored = &object[entry.offset as usize..entry.end() as usize];
    plain.resize(entry.plain as usize, 0);
    decoder.decode(entry.codec, stored, plain).is_ok()
        && entry.kind.digest_of(plain) == entry.digest
}
