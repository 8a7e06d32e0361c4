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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;

    const WAITING: Duration = Duration::from_millis(100);

    /// Chunks as (kind, offset, length); data is its own offset's low byte, over and over.
    fn read(chunks: &[(u16, u64, u64)]) -> Result<[u8; 8], NbdFailure> {
        let (mut server, client) = UnixStream::pair().unwrap();
        let mut receiver = Receiver::new(Arc::new(client));
        let mut into = [0xee; 8];
        let mut answer = ReadAnswer::new(100, &mut into);
        for &(kind, offset, length) in chunks {
            let mut body = offset.to_be_bytes().to_vec();
            match kind {
                REPLY_OFFSET_HOLE => body.extend((length as u32).to_be_bytes()),
                _ => body.extend(vec![offset as u8; length as usize]),
            }
            server.write_all(&body).unwrap();
            let chunk = Chunk {
                is_last: false,
                kind,
                cookie: 1,
                length: body.len() as u64,
            };
            answer.take_chunk(&chunk, &mut receiver, WAITING)?;
        }
        answer.check_whole()?;
        Ok(into)
    }

    #[test]
    fn data_and_holes_in_any_order_are_put_where_they_belong() {
        let (data, hole) = (REPLY_OFFSET_DATA, REPLY_OFFSET_HOLE);
        let bytes = read(&[(data, 106, 2), (hole, 103, 3), (data, 100, 3)]);
        assert_eq!(bytes.unwrap(), [100, 100, 100, 0, 0, 0, 106, 106]);
    }

    #[test]
    fn an_answer_that_is_not_that_of_the_read_is_refused() {
        let (data, hole) = (REPLY_OFFSET_DATA, REPLY_OFFSET_HOLE);
        for chunks in [
            &[][..],
            &[(data, 100, 7)],
            &[(data, 101, 7)],
            &[(data, 100, 9)],
            &[(data, 99, 8)],
            &[(data, 100, 0), (data, 100, 8)],
            &[(hole, 100, 0), (data, 100, 8)],
            &[(data, 100, 8), (hole, 104, 1)],
            &[(data, 100, 5), (data, 104, 4)],
            &[(hole, u64::MAX, 8)],
            &[(hole, 100, u64::from(u32::MAX))],
            &[(REPLY_BLOCK_STATUS, 100, 8)],
        ] {
            let failure = read(chunks).unwrap_err();
            assert_eq!(failure.errno, libc::EPROTO, "{chunks:?}");
        }
    }

    #[test]
    fn a_simple_reply_is_data_only_where_nothing_else_was_agreed() {
        let (mut server, client) = UnixStream::pair().unwrap();
        server.write_all(b"fedcba98").unwrap();
        let mut receiver = Receiver::new(Arc::new(client));
        let mut into = [0; 8];
        let mut answer = ReadAnswer::new(0, &mut into);
        for style in [HeaderStyle::Structured, HeaderStyle::Extended] {
            let failure = answer.take_simple(&mut receiver, style, WAITING);
            assert_eq!(failure.unwrap_err().errno, libc::EPROTO);
        }
        answer
            .take_simple(&mut receiver, HeaderStyle::Simple, WAITING)
            .unwrap();
        answer.check_whole().unwrap();
        assert_eq!(&into, b"fedcba98");
    }
}
