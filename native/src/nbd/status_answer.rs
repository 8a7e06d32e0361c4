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

/// Runs without gaps from `offset` on. There may be a million of them: they are put down as they are handed
/// over, and no copy is made.
pub struct StatusAnswer {
    context: u32,
    /// Contexts of the connection that have not spoken yet.
    silent: Vec<u32>,
    end: u64,
    until: u64,
    /// For each run its end and its flags, of which JavaScript gets the lower 32: exact as floats, because
    /// no volume is larger than they are.
    pairs: Vec<f64>,
}

impl StatusAnswer {
    /// For a request of `length` bytes; `contexts` are the ids of all contexts of the connection.
    pub fn new(offset: u64, length: u64, context: u32, contexts: &[u32]) -> Self {
        Self {
            context,
            silent: contexts.to_vec(),
            end: offset,
            until: offset + length,
            pairs: Vec::new(),
        }
    }

    /// Where each run ends, and its flags.
    pub fn into_pairs(self) -> Vec<f64> {
        self.pairs
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
        let (end, flags) = (self.end as f64, f64::from(flags as u32));
        match &mut self.pairs[..] {
            [.., last_end, last_flags] if *last_flags == flags => *last_end = end,
            _ => self.pairs.extend([end, flags]),
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
        if !self.pairs.is_empty() {
            return Ok(());
        }
        Err(NbdFailure::protocol("a context says nothing"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;

    const WAITING: Duration = Duration::from_millis(100);

    /// What one context says, as pairs of end and flags; asked for are 100 bytes from 50 on.
    fn status(chunks: &[(u32, &[(u32, u32)])]) -> Result<Vec<(u64, u64)>, NbdFailure> {
        let (mut server, client) = UnixStream::pair().unwrap();
        let mut receiver = Receiver::new(Arc::new(client));
        let mut answer = StatusAnswer::new(50, 100, 7, &[7, 8]);
        for (context, extents) in chunks {
            let mut body = context.to_be_bytes().to_vec();
            for (length, flags) in *extents {
                body.extend(length.to_be_bytes());
                body.extend(flags.to_be_bytes());
            }
            server.write_all(&body).unwrap();
            let chunk = Chunk {
                is_last: false,
                kind: REPLY_BLOCK_STATUS,
                cookie: 1,
                length: body.len() as u64,
            };
            answer.take_chunk(&chunk, &mut receiver, WAITING)?;
        }
        answer.check_whole()?;
        let pairs = answer.into_pairs();
        Ok(pairs
            .chunks(2)
            .map(|run| (run[0] as u64, run[1] as u64))
            .collect())
    }

    #[test]
    fn runs_are_joined_and_clipped_and_may_end_early() {
        for (extents, runs) in [
            (&[(100, 0)][..], &[(150, 0)][..]),
            (&[(1, 0)], &[(51, 0)]),
            (&[(10, 1), (10, 1), (20, 0)], &[(70, 1), (90, 0)]),
            (&[(99, 1), (u32::MAX, 0)], &[(149, 1), (150, 0)]),
        ] {
            // Another context speaks of another length, before or after.
            let other = (8, &[(3, 2), (500, 3)][..]);
            assert_eq!(status(&[other, (7, extents)]).unwrap(), runs);
            assert_eq!(status(&[(7, extents), other]).unwrap(), runs);
        }
    }

    #[test]
    fn an_answer_that_says_nothing_of_it_or_too_much_is_refused() {
        let one = &[(100, 0)][..];
        for chunks in [
            &[][..],
            &[(8, one)],
            &[(9, one)],
            &[(7, one), (7, one)],
            &[(7, &[])],
            &[(7, &[(0, 0), (100, 0)])],
            &[(7, &[(100, 0), (1, 0)])],
        ] {
            let failure = status(chunks).unwrap_err();
            assert_eq!(failure.errno, libc::EPROTO, "{chunks:?}");
        }
    }

    #[test]
    fn no_chunk_is_longer_than_its_bound() {
        let (_server, client) = UnixStream::pair().unwrap();
        let mut receiver = Receiver::new(Arc::new(client));
        for length in [0, 4, 11, 4 + EXTENTS_BYTES_MAX + 8, u64::MAX, u64::MAX - 3] {
            let chunk = Chunk {
                is_last: true,
                kind: REPLY_BLOCK_STATUS,
                cookie: 1,
                length,
            };
            let mut answer = StatusAnswer::new(0, 100, 7, &[7]);
            let refused = answer.take_chunk(&chunk, &mut receiver, WAITING);
            assert_eq!(refused.unwrap_err().errno, libc::EPROTO, "{length}");
        }
    }
}
