//! The headers of requests and replies: "Transmission phase" of the spec.

use std::time::Duration;

use crate::nbd::failure::NbdFailure;
use crate::nbd::protocol::*;
use crate::nbd::receiver::Receiver;

/// Which headers both sides agreed to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderStyle {
    /// One header a reply, its data after it.
    Simple,
    /// Replies in chunks; a reply without data may still be simple.
    Structured,
    /// Replies in chunks only, and lengths of 64 bits both ways.
    Extended,
}

impl HeaderStyle {
    /// The longest length that a request can name.
    pub fn length_max(self) -> u64 {
        match self {
            Self::Extended => u64::MAX,
            _ => u64::from(u32::MAX),
        }
    }
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub command: u16,
    pub flags: u16,
    pub offset: u64,
    pub length: u64,
}

/// A header, ready to be sent.
pub struct RequestBytes {
    bytes: [u8; 32],
    used: usize,
}

impl RequestBytes {
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    fn put(&mut self, field: &[u8]) {
        self.bytes[self.used..self.used + field.len()].copy_from_slice(field);
        self.used += field.len();
    }
}

impl Request {
    /// The header of this request under a cookie; its length must fit the style.
    pub fn encode(&self, cookie: u64, style: HeaderStyle) -> Result<RequestBytes, NbdFailure> {
        let is_extended = style == HeaderStyle::Extended;
        let mut header = RequestBytes {
            bytes: [0; 32],
            used: 0,
        };
        let (magic, payload_flag) = match (is_extended, self.command) {
            (true, CMD_WRITE) => (EXTENDED_REQUEST_MAGIC, CMD_FLAG_PAYLOAD_LEN),
            (true, _) => (EXTENDED_REQUEST_MAGIC, 0),
            (false, _) => (REQUEST_MAGIC, 0),
        };
        header.put(&magic.to_be_bytes());
        header.put(&(self.flags | payload_flag).to_be_bytes());
        header.put(&self.command.to_be_bytes());
        header.put(&cookie.to_be_bytes());
        header.put(&self.offset.to_be_bytes());
        if is_extended {
            header.put(&self.length.to_be_bytes());
        } else {
            let length = u32::try_from(self.length).map_err(|_| {
                NbdFailure::new(libc::EINVAL, "a request is longer than 32 bits can say")
            })?;
            header.put(&length.to_be_bytes());
        }
        Ok(header)
    }
}

/// What introduces a reply or a chunk of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyHeader {
    Simple { error: u32, cookie: u64 },
    Chunk(Chunk),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub is_last: bool,
    pub kind: u16,
    pub cookie: u64,
    /// Of what follows; nothing is believed of it until whoever reads it has looked.
    pub length: u64,
}

impl ReplyHeader {
    pub fn receive(
        receiver: &mut Receiver,
        style: HeaderStyle,
        waiting: Duration,
    ) -> Result<Self, NbdFailure> {
        match (receiver.u32(waiting)?, style) {
            (SIMPLE_REPLY_MAGIC, HeaderStyle::Simple | HeaderStyle::Structured) => {
                Ok(Self::Simple {
                    error: receiver.u32(waiting)?,
                    cookie: receiver.u64(waiting)?,
                })
            }
            (STRUCTURED_REPLY_MAGIC, HeaderStyle::Structured)
            | (EXTENDED_REPLY_MAGIC, HeaderStyle::Extended) => {
                let flags = receiver.u16(waiting)?;
                let kind = receiver.u16(waiting)?;
                let cookie = receiver.u64(waiting)?;
                let length = if style == HeaderStyle::Extended {
                    // The offset of the request, said again for those who want it.
                    receiver.u64(waiting)?;
                    receiver.u64(waiting)?
                } else {
                    u64::from(receiver.u32(waiting)?)
                };
                Ok(Self::Chunk(Chunk {
                    is_last: flags & REPLY_FLAG_DONE != 0,
                    kind,
                    cookie,
                    length,
                }))
            }
            (magic, _) => Err(NbdFailure::protocol(format!(
                "{magic:#010x} begins no reply"
            ))),
        }
    }

    pub fn cookie(&self) -> u64 {
        match self {
            Self::Simple { cookie, .. } | Self::Chunk(Chunk { cookie, .. }) => *cookie,
        }
    }
}
