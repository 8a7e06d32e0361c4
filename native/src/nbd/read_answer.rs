//! The answer to a read: its bytes go straight to where the caller wants them.

use std::time::Duration;

use crate::nbd::coverage::Coverage;
use crate::nbd::failure::NbdFailure;
use crate::nbd::frames::{Chunk, HeaderStyle};
use crate::nbd::protocol::*;
use crate::nbd::receiver::Receiver;
use crate::nbd::reply::Answer;

/// Bytes of a volume from `offset`, as far as they have arrived.
pub struct ReadAnswer<'a> {
    offset: u64,
    into: &'a mut [u8],
    arrived: Coverage,
}

impl<'a> ReadAnswer<'a> {
    pub fn new(offset: u64, into: &'a mut [u8]) -> Self {
        Self {
            offset,
            into,
            arrived: Coverage::default(),
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.into.len() as u64
    }

    /// The place of `length` bytes at `offset`: inside of what was asked for, and not said before.
    fn claim(&mut self, offset: u64, length: u64) -> Result<&mut [u8], NbdFailure> {
        let is_inside = offset >= self.offset && length <= self.end().saturating_sub(offset);
        if !is_inside || !self.arrived.add(offset, offset + length) {
            return Err(NbdFailure::protocol(format!(
                "data at {offset}+{length} in the answer for {}+{}",
                self.offset,
                self.into.len()
            )));
        }
        let at = (offset - self.offset) as usize;
        Ok(&mut self.into[at..at + length as usize])
    }
}

impl Answer for ReadAnswer<'_> {
    fn take_simple(
        &mut self,
        receiver: &mut Receiver,
        style: HeaderStyle,
        waiting: Duration,
    ) -> Result<(), NbdFailure> {
        // "The server MUST NOT use a simple reply for NBD_CMD_READ" then, and its payload is not told apart.
        if style != HeaderStyle::Simple {
            return Err(NbdFailure::protocol("a simple reply to a read"));
        }
        let (offset, length) = (self.offset, self.into.len() as u64);
        receiver.fill(self.claim(offset, length)?, waiting)
    }

    fn take_chunk(
        &mut self,
        chunk: &Chunk,
        receiver: &mut Receiver,
        waiting: Duration,
    ) -> Result<(), NbdFailure> {
        match (chunk.kind, chunk.length) {
            (REPLY_OFFSET_DATA, 9..) => {
                let offset = receiver.u64(waiting)?;
                receiver.fill(self.claim(offset, chunk.length - 8)?, waiting)
            }
            (REPLY_OFFSET_HOLE, 12) => {
                let offset = receiver.u64(waiting)?;
                let length = u64::from(receiver.u32(waiting)?);
                self.claim(offset, length)?.fill(0);
                Ok(())
            }
            (kind, length) => Err(NbdFailure::protocol(format!(
                "a chunk of type {kind} with {length} bytes answers a read"
            ))),
        }
    }

    fn check_whole(&self) -> Result<(), NbdFailure> {
        if self.arrived.is_exactly(self.offset, self.end()) {
            return Ok(());
        }
        Err(NbdFailure::protocol(format!(
            "the answer for {}+{} leaves bytes out",
            self.offset,
            self.into.len()
        )))
    }
}
