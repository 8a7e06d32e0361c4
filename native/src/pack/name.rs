//! What names a pack: BLAKE3 of its bytes, in which the hash of each entry's stored bytes stands for these
//! bytes. So every byte counts, and a chunk that is stored as it is was hashed already: its digest serves again.

use std::path::Path;

use crate::digest::Digest;
use crate::error::{NativeError, Result};
use crate::object::Object;

use super::frame::{self, HEAD_BYTES};
use super::{PACK_HEADER_BYTES, footer};

/// A name in the making, from parts in the order of the pack.
pub(super) struct PackName(blake3::Hasher);

impl PackName {
    pub(super) fn begin(header: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(header);
        Self(hasher)
    }

    /// `stored` is the hash of the frame's stored bytes.
    pub(super) fn add_frame(&mut self, head: &[u8; HEAD_BYTES], stored: &Digest) {
        self.0.update(head);
        self.0.update(stored);
    }

    /// `rest` is all that comes behind the frames.
    pub(super) fn finish(mut self, rest: &[u8]) -> Digest {
        self.0.update(rest);
        *self.0.finalize().as_bytes()
    }
}

/// Whether the object's bytes are those that its name names; PACK_CORRUPT if not.
pub fn check_pack(path: &Path, id: &Digest) -> Result<()> {
    let object = Object::open_direct(path)?;
    let name = name_of(&object).map_err(|error| error.in_pack(path))?;
    if name != *id {
        return Err(
            NativeError::pack(None, "its bytes are not those that its name names").in_pack(path),
        );
    }
    Ok(())
}

fn name_of(object: &Object) -> Result<Digest> {
    let frames_end = footer::frames_end(object.bytes(), &mut |offset, bytes| {
        object.read_piece(offset, bytes)
    })?;
    let mut reader = NameReader::new(frames_end);
    object.read_through(|piece| reader.take(piece))?;
    Ok(reader.finish())
}

/// Names a pack whose bytes come in pieces of any length.
pub(super) struct NameReader {
    name: blake3::Hasher,
    stored: blake3::Hasher,
    frames_end: u64,
    /// What has come of the object.
    at: u64,
    part: Part,
}

enum Part {
    /// So many bytes of the header are still to come.
    Header(usize),
    /// So many bytes of a frame's head have come.
    Head(usize, [u8; HEAD_BYTES]),
    /// So many stored bytes are still to come.
    Stored(usize),
    Rest,
}

impl NameReader {
    pub(super) fn new(frames_end: u64) -> Self {
        Self {
            name: blake3::Hasher::new(),
            stored: blake3::Hasher::new(),
            frames_end,
            at: 0,
            part: Part::Header(PACK_HEADER_BYTES),
        }
    }

    /// PACK_CORRUPT where frames do not end where the trailer says.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            let taken = self.take_some(piece)?;
            self.at += taken as u64;
            piece = &piece[taken..];
            self.begin_frame()?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Digest {
        *self.name.finalize().as_bytes()
    }

    /// Takes what of the piece belongs to the part that it begins in.
    fn take_some(&mut self, piece: &[u8]) -> Result<usize> {
        match &mut self.part {
            Part::Header(left) => {
                let taken = piece.len().min(*left);
                self.name.update(&piece[..taken]);
                *left -= taken;
                Ok(taken)
            }
            Part::Head(come, head) => {
                let taken = piece.len().min(HEAD_BYTES - *come);
                head[*come..*come + taken].copy_from_slice(&piece[..taken]);
                *come += taken;
                Ok(taken)
            }
            Part::Stored(left) => {
                let taken = piece.len().min(*left);
                self.stored.update(&piece[..taken]);
                *left -= taken;
                Ok(taken)
            }
            Part::Rest => {
                self.name.update(piece);
                Ok(piece.len())
            }
        }
    }

    /// Goes on to the part that begins here, if one does.
    fn begin_frame(&mut self) -> Result<()> {
        match &mut self.part {
            Part::Head(HEAD_BYTES, head) => {
                let stored = frame::stored_bytes(head);
                if self.at + u64::from(stored) > self.frames_end {
                    return Err(NativeError::pack(
                        self.at,
                        "a frame passes the last one's end",
                    ));
                }
                self.name.update(head);
                self.part = Part::Stored(stored as usize);
                self.begin_frame()
            }
            Part::Stored(0) => {
                self.name.update(self.stored.finalize().as_bytes());
                self.stored.reset();
                self.begin_head()
            }
            Part::Header(0) => self.begin_head(),
            _ => Ok(()),
        }
    }

    fn begin_head(&mut self) -> Result<()> {
        self.part = match self.frames_end.checked_sub(self.at) {
            Some(0) => Part::Rest,
            Some(left) if left >= HEAD_BYTES as u64 => Part::Head(0, [0; HEAD_BYTES]),
            _ => {
                return Err(NativeError::pack(
                    self.at,
                    "its frames do not end where it says",
                ));
            }
        };
        Ok(())
    }
}
