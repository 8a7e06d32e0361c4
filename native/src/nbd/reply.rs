//! One request's reply, put together from its chunks: errors here, data in the answer of its kind.

use std::time::Duration;

use crate::nbd::failure::NbdFailure;
use crate::nbd::frames::{Chunk, HeaderStyle, ReplyHeader};
use crate::nbd::protocol::*;
use crate::nbd::receiver::Receiver;

/// An error chunk is its number, a message of up to `STRING_BYTES_MAX` and perhaps an offset.
const ERROR_BYTES_MAX: u64 = 4 + 2 + STRING_BYTES_MAX as u64 + 8;

/// Errors that one reply may tell.
const ERRORS_MAX: u32 = 64;

/// What a reply carries besides its outcome.
pub trait Answer {
    /// Takes the data that follows a simple reply.
    fn take_simple(
        &mut self,
        receiver: &mut Receiver,
        style: HeaderStyle,
        waiting: Duration,
    ) -> Result<(), NbdFailure>;

    /// Takes all that follows the header of a chunk that is neither empty nor an error.
    fn take_chunk(
        &mut self,
        chunk: &Chunk,
        receiver: &mut Receiver,
        waiting: Duration,
    ) -> Result<(), NbdFailure>;

    /// Fails unless the answer is whole, now that the server says that it is.
    fn check_whole(&self) -> Result<(), NbdFailure>;
}

/// A request under way.
pub struct Reply<A> {
    pub cookie: u64,
    pub answer: A,
    refusal: Option<NbdFailure>,
    errors: u32,
}

impl<A: Answer> Reply<A> {
    pub fn new(cookie: u64, answer: A) -> Self {
        Self {
            cookie,
            answer,
            refusal: None,
            errors: 0,
        }
    }

    /// Takes what a header introduces; true when that was the last of the reply. An error is one of the
    /// connection: nothing that follows can be understood.
    pub fn take(
        &mut self,
        header: &ReplyHeader,
        receiver: &mut Receiver,
        style: HeaderStyle,
        waiting: Duration,
    ) -> Result<bool, NbdFailure> {
        let is_last = match header {
            ReplyHeader::Simple { error: 0, .. } => {
                self.answer.take_simple(receiver, style, waiting)?;
                true
            }
            ReplyHeader::Simple { error, .. } => {
                self.refuse(NbdFailure::refusal(*error, b""))?;
                true
            }
            ReplyHeader::Chunk(chunk) => {
                self.take_chunk(chunk, receiver, waiting)?;
                chunk.is_last
            }
        };
        if is_last && self.refusal.is_none() {
            self.answer.check_whole()?;
        }
        Ok(is_last)
    }

    /// The answer, or why the server gave none.
    pub fn outcome(self) -> Result<A, NbdFailure> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.answer),
        }
    }

    fn take_chunk(
        &mut self,
        chunk: &Chunk,
        receiver: &mut Receiver,
        waiting: Duration,
    ) -> Result<(), NbdFailure> {
        match chunk.kind {
            REPLY_NONE if chunk.length != 0 || !chunk.is_last => {
                Err(NbdFailure::protocol("an empty chunk that is not the end"))
            }
            REPLY_NONE => Ok(()),
            kind if kind & REPLY_IS_ERROR != 0 => {
                let refusal = receive_error(chunk, receiver, waiting)?;
                self.refuse(refusal)
            }
            _ => self.answer.take_chunk(chunk, receiver, waiting),
        }
    }

    fn refuse(&mut self, refusal: NbdFailure) -> Result<(), NbdFailure> {
        self.refusal.get_or_insert(refusal);
        self.errors += 1;
        if self.errors <= ERRORS_MAX {
            return Ok(());
        }
        Err(NbdFailure::protocol("one reply is a stream of errors"))
    }
}

/// "Error chunk types": a type that we do not know is an error all the same.
fn receive_error(
    chunk: &Chunk,
    receiver: &mut Receiver,
    waiting: Duration,
) -> Result<NbdFailure, NbdFailure> {
    if !(6..=ERROR_BYTES_MAX).contains(&chunk.length) {
        let message = format!("an error of {} bytes", chunk.length);
        return Err(NbdFailure::protocol(message));
    }
    let mut body = vec![0; chunk.length as usize];
    receiver.fill(&mut body, waiting)?;
    let [e0, e1, e2, e3, l0, l1, rest @ ..] = &body[..] else {
        return Err(NbdFailure::protocol("an error without a number"));
    };
    let error = u32::from_be_bytes([*e0, *e1, *e2, *e3]);
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    match rest.get(..length) {
        Some(words) if error != 0 => Ok(NbdFailure::refusal(error, words)),
        _ => Err(NbdFailure::protocol("an error that says nothing")),
    }
}

/// The answer to what only succeeds or fails.
pub struct Done;

impl Answer for Done {
    fn take_simple(
        &mut self,
        _: &mut Receiver,
        _: HeaderStyle,
        _: Duration,
    ) -> Result<(), NbdFailure> {
        Ok(())
    }

    fn take_chunk(
        &mut self,
        chunk: &Chunk,
        _: &mut Receiver,
        _: Duration,
    ) -> Result<(), NbdFailure> {
        let message = format!("a chunk of type {} answers no data", chunk.kind);
        Err(NbdFailure::protocol(message))
    }

    fn check_whole(&self) -> Result<(), NbdFailure> {
        Ok(())
    }
}
