//! A server for tests that obeys the spec and makes use of every freedom in it: it collects requests, answers
//! them in any order, and sends what was read in pieces of any size, holes as holes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::nbd::frames::HeaderStyle;
use crate::nbd::protocol::*;
use crate::seeded::Seeded;
use crate::zero::is_zero;

/// What the server serves, and how.
pub struct Serving {
    pub style: HeaderStyle,
    pub flags: u16,
    pub block_bytes_min: u32,
    pub block_bytes_max: u32,
    pub contexts: Vec<&'static str>,
    /// Whether answers that are data come in pieces.
    pub cuts: bool,
    /// Agrees, and answers nothing.
    pub is_silent: bool,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            style: HeaderStyle::Structured,
            flags: HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_WRITE_ZEROES,
            block_bytes_min: 1,
            block_bytes_max: 32 << 20,
            contexts: vec!["base:allocation"],
            cuts: true,
            is_silent: false,
        }
    }
}

/// The client's end, and what the server held when its client had gone.
pub fn serve(serving: Serving, volume: Vec<u8>, seed: u64) -> (UnixStream, JoinHandle<Vec<u8>>) {
    let (client, server) = UnixStream::pair().unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(250)))
        .unwrap();
    let mut server = Server {
        serving,
        volume,
        stream: server,
        seeded: Seeded::new(seed),
    };
    let ended = thread::spawn(move || {
        server.agree();
        while server.answer_some() {}
        server.volume
    });
    (client, ended)
}

struct Server {
    serving: Serving,
    volume: Vec<u8>,
    stream: UnixStream,
    seeded: Seeded,
}

struct Asked {
    command: u16,
    cookie: u64,
    offset: u64,
    length: u64,
}

impl Server {
    fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array().unwrap())
    }

    fn put(&mut self, parts: &[&[u8]]) {
        // A client may go at any time.
        let _ = self.stream.write_all(&parts.concat());
    }

    fn reply(&mut self, option: u32, kind: u32, body: &[u8]) {
        self.put(&[
            &OPTION_REPLY_MAGIC.to_be_bytes(),
            &option.to_be_bytes(),
            &kind.to_be_bytes(),
            &(body.len() as u32).to_be_bytes(),
            body,
        ]);
    }

    fn agree(&mut self) {
        self.put(&[b"NBDMAGICIHAVEOPT\0\x03"]);
        self.u32();
        loop {
            assert_eq!(u64::from_be_bytes(self.array().unwrap()), OPTION_MAGIC);
            let (option, length) = (self.u32(), self.u32());
            let mut data = vec![0; length as usize];
            self.stream.read_exact(&mut data).unwrap();
            let style = self.serving.style;
            let is_agreed = match option {
                OPT_EXTENDED_HEADERS => style == HeaderStyle::Extended,
                OPT_STRUCTURED_REPLY => style == HeaderStyle::Structured,
                _ => true,
            };
            match option {
                OPT_SET_META_CONTEXT => {
                    for (id, name) in self.serving.contexts.clone().iter().enumerate() {
                        let body = [&(id as u32 + 7).to_be_bytes(), name.as_bytes()].concat();
                        self.reply(option, REP_META_CONTEXT, &body);
                    }
                }
                OPT_GO => self.describe(),
                _ => {}
            }
            self.reply(option, if is_agreed { REP_ACK } else { REP_ERR_UNSUP }, &[]);
            if option == OPT_GO {
                return;
            }
        }
    }

    fn describe(&mut self) {
        let bytes = self.volume.len() as u64;
        let flags = self.serving.flags;
        let (min, max) = (self.serving.block_bytes_min, self.serving.block_bytes_max);
        let export = [&[0, 0][..], &bytes.to_be_bytes(), &flags.to_be_bytes()].concat();
        self.reply(OPT_GO, REP_INFO, &export);
        let blocks = [
            &INFO_BLOCK_SIZE.to_be_bytes()[..],
            &min.to_be_bytes(),
            &4096_u32.to_be_bytes(),
            &max.to_be_bytes(),
        ];
        self.reply(OPT_GO, REP_INFO, &blocks.concat());
    }

    /// Collects requests for as long as they come, and answers them; false when the client has gone.
    fn answer_some(&mut self) -> bool {
        let mut asked = Vec::new();
        let mut is_there = true;
        while asked.len() < 40 {
            self.stream.set_nonblocking(!asked.is_empty()).unwrap();
            thread::yield_now();
            let mut first = [0];
            match self.stream.read(&mut first) {
                Ok(1) => {}
                Err(_) if !asked.is_empty() => break,
                _ => {
                    is_there = false;
                    break;
                }
            }
            self.stream.set_nonblocking(false).unwrap();
            match self.request() {
                Some(request) => asked.push(request),
                None => return false,
            }
        }
        self.stream.set_nonblocking(false).unwrap();
        while !asked.is_empty() {
            let next = asked.swap_remove(self.seeded.below(asked.len()));
            self.answer(&next);
        }
        is_there
    }

    /// The rest of a request whose first byte was read; none at the goodbye.
    fn request(&mut self) -> Option<Asked> {
        let [_, _, _, _, _, command @ ..] = self.array::<7>()?;
        let command = u16::from_be_bytes(command);
        let cookie = u64::from_be_bytes(self.array()?);
        let offset = u64::from_be_bytes(self.array()?);
        let length = if self.serving.style == HeaderStyle::Extended {
            u64::from_be_bytes(self.array()?)
        } else {
            u64::from(u32::from_be_bytes(self.array()?))
        };
        let (block, end) = (u64::from(self.serving.block_bytes_min), offset + length);
        assert!(
            offset.is_multiple_of(block),
            "{offset} is no multiple of {block}"
        );
        assert!(end.is_multiple_of(block) || end == self.volume.len() as u64);
        let (from, to) = (offset as usize, end as usize);
        match command {
            CMD_DISC => return None,
            CMD_WRITE => {
                assert!(length <= u64::from(self.serving.block_bytes_max));
                self.stream.read_exact(&mut self.volume[from..to]).ok()?;
            }
            CMD_WRITE_ZEROES => self.volume[from..to].fill(0),
            _ => {}
        }
        Some(Asked {
            command,
            cookie,
            offset,
            length,
        })
    }

    fn chunk(&mut self, asked: &Asked, kind: u16, is_last: bool, body: &[&[u8]]) {
        let flags = u16::from(is_last).to_be_bytes();
        let (kind, cookie) = (kind.to_be_bytes(), asked.cookie.to_be_bytes());
        let body = body.concat();
        if self.serving.style == HeaderStyle::Extended {
            let magic = EXTENDED_REPLY_MAGIC.to_be_bytes();
            let (offset, length) = (
                asked.offset.to_be_bytes(),
                (body.len() as u64).to_be_bytes(),
            );
            self.put(&[&magic, &flags, &kind, &cookie, &offset, &length, &body]);
        } else {
            let magic = STRUCTURED_REPLY_MAGIC.to_be_bytes();
            let length = (body.len() as u32).to_be_bytes();
            self.put(&[&magic, &flags, &kind, &cookie, &length, &body]);
        }
    }

    fn answer(&mut self, asked: &Asked) {
        if self.serving.is_silent {
            return;
        }
        let is_plain = match self.serving.style {
            HeaderStyle::Simple => true,
            HeaderStyle::Structured => asked.command != CMD_READ && self.seeded.below(2) == 0,
            HeaderStyle::Extended => false,
        };
        if is_plain {
            let magic = SIMPLE_REPLY_MAGIC.to_be_bytes();
            self.put(&[&magic, &[0; 4], &asked.cookie.to_be_bytes()]);
        }
        match asked.command {
            CMD_READ if is_plain => {
                let range = asked.offset as usize..(asked.offset + asked.length) as usize;
                let bytes = self.volume[range].to_vec();
                self.put(&[&bytes]);
            }
            CMD_READ => self.answer_read(asked),
            _ if is_plain => {}
            _ => self.chunk(asked, REPLY_NONE, true, &[]),
        }
    }

    fn answer_read(&mut self, asked: &Asked) {
        let mut pieces = Vec::new();
        let (mut at, end) = (asked.offset, asked.offset + asked.length);
        while at < end {
            let left = (end - at) as usize;
            let length = if self.serving.cuts {
                1 + self.seeded.below(left)
            } else {
                left
            };
            pieces.push((at, length));
            at += length as u64;
        }
        while !pieces.is_empty() {
            let (at, length) = pieces.swap_remove(self.seeded.below(pieces.len()));
            let is_last = pieces.is_empty() && self.seeded.below(2) == 0;
            let bytes = self.volume[at as usize..at as usize + length].to_vec();
            let offset = at.to_be_bytes();
            if is_zero(&bytes) {
                let length = (length as u32).to_be_bytes();
                self.chunk(asked, REPLY_OFFSET_HOLE, is_last, &[&offset, &length]);
            } else {
                self.chunk(asked, REPLY_OFFSET_DATA, is_last, &[&offset, &bytes]);
            }
            if pieces.is_empty() && !is_last {
                self.chunk(asked, REPLY_NONE, true, &[]);
            }
        }
    }
}
