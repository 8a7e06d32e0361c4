//! The answer to a block status request: what one context says of the bytes from an offset on.
//!
//! A reply may cover less than was asked for, or with its last extent more, and its neighbours may be of equal
//! state; each context of a connection has a chunk, and the chunks need not cover the same length. So one
//! context is read here, the others are passed over, and extents come out clipped and joined.

use std::time::Duration;

use crate::nbd::failure::NbdFailure;
use crate::nbd::frames::{Chunk, HeaderStyle};
use crate::nbd::protocol::*;
use crate::nbd::receiver::Receiver;
use crate::nbd::reply::Answer;

/// Bytes of extents that one chunk may hold: twice what any server is known to send.
const EXTENTS_BYTES_MAX: u64 = 32 << 20;

/// Extents that are taken in one read.
const EXTENTS_PER_READ: usize = 256;

/// A run of bytes of one state, by where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRun {
    pub end: u64,
    pub flags: u64,
}

/// Runs without gaps from `offset` on.
pub struct StatusAnswer {
    context: u32,
    /// Contexts of the connection that have not spoken yet.
    silent: Vec<u32>,
    end: u64,
    until: u64,
    runs: Vec<StatusRun>,
}

impl StatusAnswer {
    /// For a request of `length` bytes; `contexts` are the ids of all contexts of the connection.
    pub fn new(offset: u64, length: u64, context: u32, contexts: &[u32]) -> Self {
        Self {
            context,
            silent: contexts.to_vec(),
            end: offset,
            until: offset + length,
            runs: Vec::new(),
        }
    }

    pub fn into_runs(self) -> Vec<StatusRun> {
        self.runs
    }

    fn push(&mut self, length: u64, flags: u64) -> Result<(), NbdFailure> {
        if length == 0 {
            return Err(NbdFailure::protocol("an extent of no bytes"));
        }
        if self.end == self.until {
            // Only the last extent may reach beyond the request; more of them say nothing of it.
            return Err(NbdFailure::protocol("an extent beyond the request"));
        }
        self.end = self.end.saturating_add(length).min(self.until);
        match self.runs.last_mut() {
            Some(last) if last.flags == flags => last.end = self.end,
            _ => self.runs.push(StatusRun {
                end: self.end,
                flags,
            }),
        }
        Ok(())
    }

    /// Takes `count` extents of `BYTES` each, half of them length, half of them flags.
    fn take_extents<const BYTES: usize>(
        &mut self,
        count: u64,
        is_wanted: bool,
        receiver: &mut Receiver,
        waiting: Duration,
    ) -> Result<(), NbdFailure> {
        let mut piece = vec![0; EXTENTS_PER_READ * BYTES];
        let mut left = count;
        while left > 0 {
            let extents = left.min(EXTENTS_PER_READ as u64);
            left -= extents;
            let piece = &mut piece[..extents as usize * BYTES];
            receiver.fill(piece, waiting)?;
            if !is_wanted {
                continue;
            }
            for extent in piece.chunks_exact(BYTES) {
                let (length, flags) = extent.split_at(BYTES / 2);
                self.push(number(length), number(flags))?;
            }
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

impl Answer for StatusAnswer {
    fn take_simple(
        &mut self,
        _: &mut Receiver,
        _: HeaderStyle,
        _: Duration,
    ) -> Result<(), NbdFailure> {
        Err(NbdFailure::protocol("a simple reply to a status request"))
    }

    fn take_chunk(
        &mut self,
        chunk: &Chunk,
        receiver: &mut Receiver,
        waiting: Duration,
    ) -> Result<(), NbdFailure> {
        let (head, extent) = match chunk.kind {
            REPLY_BLOCK_STATUS => (4, 8),
            REPLY_BLOCK_STATUS_EXT => (8, 16),
            kind => {
                let message = format!("a chunk of type {kind} answers a status request");
                return Err(NbdFailure::protocol(message));
            }
        };
        let extents_bytes = chunk.length.saturating_sub(head);
        let is_whole = extents_bytes > 0 && extents_bytes.is_multiple_of(extent);
        if !is_whole || extents_bytes > EXTENTS_BYTES_MAX {
            let message = format!("a block status of {} bytes", chunk.length);
            return Err(NbdFailure::protocol(message));
        }
        let count = extents_bytes / extent;
        let context = receiver.u32(waiting)?;
        let known = self.silent.iter().position(|&silent| silent == context);
        let Some(known) = known else {
            let message = format!("context {context} was not asked for, or speaks twice");
            return Err(NbdFailure::protocol(message));
        };
        self.silent.swap_remove(known);
        let is_wanted = context == self.context;
        if chunk.kind == REPLY_BLOCK_STATUS {
            return self.take_extents::<8>(count, is_wanted, receiver, waiting);
        }
        if u64::from(receiver.u32(waiting)?) != count {
            return Err(NbdFailure::protocol(
                "a count of extents that is not theirs",
            ));
        }
        self.take_extents::<16>(count, is_wanted, receiver, waiting)
    }

    fn check_whole(&self) -> Result<(), NbdFailure> {
        if !self.runs.is_empty() {
            return Ok(());
        }
        Err(NbdFailure::protocol("a context says nothing"))
    }
}
