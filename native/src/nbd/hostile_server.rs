//! 100,000 seeded conversations with a server that lies: a field that is wrong, a frame that is missing, twice
//! or cut, bytes that were flipped on the way. Each must end in an error or in the right bytes, and soon.
//!
//! A conversation is written to a socket before the client begins, and the server's end is closed, so that no
//! thread is needed and nothing can wait. An honest one is written first, to count the places where a lie is
//! possible; then again, with lies at some of them.

use std::io::Write;
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::device::Role;
use crate::nbd::frames::HeaderStyle;
use crate::nbd::handshake::Wanted;
use crate::nbd::protocol::*;
use crate::nbd::volume::NbdVolume;
use crate::seeded::Seeded;
use crate::transfer::{ReadAt, RunRead, WriteAt};

const CONVERSATIONS: u64 = 100_000;

/// None takes longer than this, though a machine of tests may be busy.
pub(super) const TIME_MAX: Duration = Duration::from_secs(5);

const VOLUME_BYTES: u64 = 1300;
const BLOCK_BYTES_MAX: u32 = 128;
const CONTEXT: &str = "base:allocation";
const CONTEXT_ID: u32 = 3;

/// What the server serves; a third of it is zeroes.
fn byte_at(offset: u64) -> u8 {
    if is_zero_at(offset) {
        return 0;
    }
    (offset.wrapping_mul(131) >> 3) as u8 | 1
}

fn is_zero_at(offset: u64) -> bool {
    (offset / 180) % 3 == 1
}

/// What the client asks for, in this order.
const READS: [Range<u64>; 2] = [20..900, 1000..1300];
const WRITE: Range<u64> = 128..460;

/// A server's side of one conversation.
pub(super) struct Script {
    pub seeded: Seeded,
    pub bytes: Vec<u8>,
    /// What no flipped bit may touch, because nobody could notice.
    payloads: Vec<Range<usize>>,
    /// Places where a lie is possible, so far.
    places: usize,
    lies: Vec<usize>,
    /// A hole that is not one, which nobody could notice either.
    has_lied_of_holes: bool,
    /// A simple reply to another request than the client was led to: it does not say where its bytes belong.
    has_misled: bool,
    is_cut: bool,
    cookie: u64,
    /// The reads of the transfer that is being answered, by their cookies.
    asked: Vec<(u64, Range<u64>)>,
}

impl Script {
    /// Only what is said at `lies` differs from the honest conversation of this seed.
    pub fn write(seed: u64, lies: Vec<usize>) -> Self {
        let mut script = Self {
            seeded: Seeded::new(seed),
            bytes: Vec::new(),
            payloads: Vec::new(),
            places: 0,
            lies,
            has_lied_of_holes: false,
            has_misled: false,
            is_cut: false,
            cookie: 0,
            asked: Vec::new(),
        };
        let style = match script.seeded.below(3) {
            0 => HeaderStyle::Simple,
            1 => HeaderStyle::Structured,
            _ => HeaderStyle::Extended,
        };
        script.agree(style);
        script.answer(style);
        script
    }

    fn is_lie(&mut self) -> bool {
        self.places += 1;
        self.lies.contains(&(self.places - 1))
    }

    fn has_lied_in(&self, places: Range<usize>) -> bool {
        self.lies.iter().any(|lie| places.contains(lie))
    }

    /// The bytes of a number, or of another one.
    fn field(&mut self, value: u64, bytes: usize) -> Vec<u8> {
        let said = if self.is_lie() {
            match self.seeded.below(8) {
                0 => 0,
                1 => value.wrapping_add(1),
                2 => value.wrapping_sub(1),
                3 => u64::MAX,
                4 => value ^ (1 << self.seeded.below(bytes * 8)),
                5 => value.wrapping_mul(2),
                6 => self.seeded.below(10_000) as u64,
                _ => self.seeded.next(),
            }
        } else {
            value
        };
        said.to_be_bytes()[8 - bytes..].to_vec()
    }

    /// A frame, or none, two, or a part of it and the end.
    fn frame(&mut self, frame: &[u8], payload: usize) {
        let times = match self.is_lie().then(|| self.seeded.below(3)) {
            None => 1,
            Some(0) => 0,
            Some(1) => 2,
            Some(_) => {
                let kept = self.seeded.below(frame.len());
                self.put(&frame[..kept], 0);
                self.is_cut = true;
                0
            }
        };
        (0..times).for_each(|_| self.put(frame, payload));
    }

    fn put(&mut self, frame: &[u8], payload: usize) {
        if self.is_cut {
            return;
        }
        self.bytes.extend(frame);
        self.payloads
            .push(self.bytes.len() - payload..self.bytes.len());
    }

    fn agree(&mut self, style: HeaderStyle) {
        let mut greeting = self.field(NBD_MAGIC, 8);
        greeting.extend(self.field(OPTION_MAGIC, 8));
        greeting.extend(self.field(3, 2));
        self.frame(&greeting, 0);
        self.outcome(OPT_EXTENDED_HEADERS, style == HeaderStyle::Extended);
        if style != HeaderStyle::Extended {
            self.outcome(OPT_STRUCTURED_REPLY, style == HeaderStyle::Structured);
        }
        if style != HeaderStyle::Simple {
            let mut context = self.field(CONTEXT_ID.into(), 4);
            context.extend(CONTEXT.as_bytes());
            self.option_reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, &context);
            self.outcome(OPT_SET_META_CONTEXT, true);
        }
        let first = self.places;
        let mut export = self.field(INFO_EXPORT.into(), 2);
        export.extend(self.field(VOLUME_BYTES, 8));
        let flags = HAS_FLAGS | SEND_FLUSH | SEND_WRITE_ZEROES;
        export.extend(self.field(flags.into(), 2));
        self.option_reply(OPT_GO, REP_INFO, &export);
        let mut blocks = self.field(INFO_BLOCK_SIZE.into(), 2);
        for bytes in [1, 64, BLOCK_BYTES_MAX] {
            blocks.extend(self.field(bytes.into(), 4));
        }
        self.option_reply(OPT_GO, REP_INFO, &blocks);
        self.has_misled = style == HeaderStyle::Simple && self.has_lied_in(first..self.places);
        self.outcome(OPT_GO, true);
    }

    fn outcome(&mut self, option: u32, is_agreed: bool) {
        self.option_reply(option, if is_agreed { REP_ACK } else { REP_ERR_UNSUP }, &[]);
    }

    fn option_reply(&mut self, option: u32, kind: u32, body: &[u8]) {
        let mut reply = self.field(OPTION_REPLY_MAGIC, 8);
        reply.extend(self.field(option.into(), 4));
        reply.extend(self.field(kind.into(), 4));
        reply.extend(self.field(body.len() as u64, 4));
        reply.extend(body);
        self.frame(&reply, 0);
    }

    fn answer(&mut self, style: HeaderStyle) {
        for read in READS {
            self.answer_pieces(&read, style, Self::answer_read);
        }
        if style != HeaderStyle::Simple {
            self.cookie += 1;
            self.answer_status(style);
        }
        self.answer_pieces(&WRITE, style, |script, cookie, _, style| {
            script.answer_plainly(cookie, style);
        });
        for _ in ["zeroes", "flush"] {
            self.cookie += 1;
            self.answer_plainly(self.cookie, style);
        }
    }

    /// Answers the requests of which a long transfer is made, in any order.
    fn answer_pieces(
        &mut self,
        range: &Range<u64>,
        style: HeaderStyle,
        answer: fn(&mut Self, u64, Range<u64>, HeaderStyle),
    ) {
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + u64::from(BLOCK_BYTES_MAX));
            self.cookie += 1;
            pieces.push((self.cookie, at..end));
            at = end;
        }
        self.asked = pieces.clone();
        while !pieces.is_empty() {
            let next = self.seeded.below(pieces.len());
            let (cookie, piece) = pieces.swap_remove(next);
            answer(self, cookie, piece, style);
        }
    }

    fn simple_header(&mut self, cookie: u64) -> Vec<u8> {
        let mut header = self.field(SIMPLE_REPLY_MAGIC.into(), 4);
        header.extend(self.field(0, 4));
        header.extend(self.field(cookie, 8));
        header
    }

    fn chunk(
        &mut self,
        cookie: u64,
        (kind, is_last): (u16, bool),
        style: HeaderStyle,
        body: &[u8],
        payload: usize,
    ) {
        let is_extended = style == HeaderStyle::Extended;
        let magic = if is_extended {
            EXTENDED_REPLY_MAGIC
        } else {
            STRUCTURED_REPLY_MAGIC
        };
        let mut chunk = self.field(magic.into(), 4);
        chunk.extend(self.field(is_last.into(), 2));
        chunk.extend(self.field(kind.into(), 2));
        chunk.extend(self.field(cookie, 8));
        if is_extended {
            chunk.extend([0; 8]);
        }
        chunk.extend(self.field(body.len() as u64, if is_extended { 8 } else { 4 }));
        chunk.extend(body);
        self.frame(&chunk, payload);
    }

    fn answer_plainly(&mut self, cookie: u64, style: HeaderStyle) {
        if style == HeaderStyle::Extended
            || style == HeaderStyle::Structured && self.seeded.below(2) == 0
        {
            return self.chunk(cookie, (REPLY_NONE, true), style, &[], 0);
        }
        let header = self.simple_header(cookie);
        self.frame(&header, 0);
    }

    fn answer_read(&mut self, cookie: u64, piece: Range<u64>, style: HeaderStyle) {
        if style == HeaderStyle::Simple {
            let mut reply = self.simple_header(cookie);
            // The bytes are those of the request that it names, be it the right one or not.
            let named = self
                .asked
                .iter()
                .find(|(asked, _)| reply[8..] == asked.to_be_bytes());
            let range = named.map_or(piece, |(_, range)| range.clone());
            reply.extend(range.clone().map(byte_at));
            return self.frame(&reply, (range.end - range.start) as usize);
        }
        let mut runs: Vec<Range<u64>> = Vec::new();
        for at in piece {
            match runs.last_mut() {
                Some(run) if is_zero_at(run.start) == is_zero_at(at) => run.end = at + 1,
                _ => runs.push(at..at + 1),
            }
        }
        while !runs.is_empty() {
            let run = runs.swap_remove(self.seeded.below(runs.len()));
            let is_last = runs.is_empty();
            if is_zero_at(run.start) && self.seeded.below(2) == 0 {
                let first = self.places;
                let mut body = self.field(run.start, 8);
                body.extend(self.field(run.end - run.start, 4));
                self.has_lied_of_holes |= self.has_lied_in(first..self.places);
                self.chunk(cookie, (REPLY_OFFSET_HOLE, is_last), style, &body, 0);
            } else {
                let mut body = self.field(run.start, 8);
                // Of the bytes themselves it never lies: they are those of the place that it names.
                let said = u64::from_be_bytes(body[..].try_into().unwrap());
                let length = run.end - run.start;
                body.extend((0..length).map(|at| byte_at(said.wrapping_add(at))));
                self.chunk(
                    cookie,
                    (REPLY_OFFSET_DATA, is_last),
                    style,
                    &body,
                    length as usize,
                );
            }
        }
    }

    fn answer_status(&mut self, style: HeaderStyle) {
        let is_extended = style == HeaderStyle::Extended;
        let bytes = if is_extended { 8 } else { 4 };
        let lengths = [260, 130, 910];
        let mut body = self.field(CONTEXT_ID.into(), 4);
        if is_extended {
            body.extend(self.field(lengths.len() as u64, 4));
        }
        for (at, length) in lengths.into_iter().enumerate() {
            body.extend(self.field(length, bytes));
            body.extend(self.field(at as u64 % 2, bytes));
        }
        let kind = if is_extended {
            REPLY_BLOCK_STATUS_EXT
        } else {
            REPLY_BLOCK_STATUS
        };
        self.chunk(self.cookie, (kind, true), style, &body, 0);
    }

    /// Bits that were flipped on the way, or bytes that were lost or came twice.
    fn disturb(&mut self) {
        for _ in 0..1 + self.seeded.below(3) {
            let at = self.seeded.below(self.bytes.len().max(1));
            let is_payload = self.payloads.iter().any(|payload| payload.contains(&at));
            if at < self.bytes.len() && !is_payload {
                self.has_lied_of_holes = true;
                self.has_misled = true;
                self.bytes[at] ^= 1 << self.seeded.below(8);
            }
        }
    }
}

/// The lies of one conversation: every tenth is honest.
fn lies_of(seed: u64, places: usize) -> Vec<usize> {
    let mut seeded = Seeded::new(seed ^ 0x11e5);
    let count = [0, 1, 1, 1, 1, 1, 1, 2, 2, 4][(seed % 10) as usize];
    (0..count).map(|_| seeded.below(places)).collect()
}

/// True where all that was asked was answered.
fn converse(seed: u64) -> bool {
    let honest = Script::write(seed, Vec::new());
    let lies = lies_of(seed, honest.places);
    let mut script = Script::write(seed, lies.clone());
    if seed % 10 == 9 {
        script.disturb();
    }
    let (mut server, client) = UnixStream::pair().unwrap();
    server.write_all(&script.bytes).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    let is_answered = NbdVolume::on_wire(Arc::new(client), wanted(), Role::Target)
        .is_ok_and(|volume| ask_everything(&volume, &script));
    assert!(begun.elapsed() < TIME_MAX, "it hung");
    assert!(
        is_answered || !lies.is_empty(),
        "an honest server was refused"
    );
    is_answered
}

pub(super) fn wanted() -> Wanted {
    Wanted {
        export: "x".to_owned(),
        contexts: vec![CONTEXT.to_owned()],
    }
}

/// Asks for all that a script answers; true where all of it was answered. Panics at a wrong byte.
pub(super) fn ask_everything(volume: &NbdVolume, script: &Script) -> bool {
    let mut is_answered = true;
    for (number, read) in READS.into_iter().enumerate() {
        let mut into = vec![0xee; (read.end - read.start) as usize];
        let outcome = if number == 0 {
            read_in_two(volume, read.start, &mut into)
        } else {
            volume.read_at(&mut into, read.start).ok()
        };
        match outcome {
            Some(got) => {
                is_answered &= got == into.len();
                for (at, &byte) in (read.start..).zip(&into[..got]) {
                    let is_false_hole = script.has_lied_of_holes && byte == 0;
                    let is_excused = is_false_hole || script.has_misled;
                    assert!(byte == byte_at(at) || is_excused, "a wrong byte at {at}");
                }
            }
            None => is_answered = false,
        }
    }
    if volume.contexts().next().is_some() {
        match volume.status(CONTEXT, 0) {
            Ok(pairs) => {
                let mut before = 0.0;
                for run in pairs.chunks(2) {
                    let [end, _flags] = run else {
                        panic!("half a run")
                    };
                    assert!(*end > before && *end <= volume.bytes() as f64);
                    before = *end;
                }
                assert!(before > 0.0, "it says nothing");
            }
            Err(_) => is_answered = false,
        }
    }
    let bytes = vec![7; (WRITE.end - WRITE.start) as usize];
    is_answered &= volume
        .write_at(&bytes, WRITE.start)
        .is_ok_and(|put| put == bytes.len());
    is_answered &= volume.zero_runs(&[(260, 260)]).is_ok();
    is_answered & volume.sync().is_ok()
}

/// As two runs that are under way at once: of an honest server the same requests as of one read. How many bytes
/// arrived, which are all or none.
fn read_in_two(volume: &NbdVolume, offset: u64, into: &mut [u8]) -> Option<usize> {
    let wanted = into.len();
    let (first, second) = into.split_at_mut(3 * BLOCK_BYTES_MAX as usize);
    let mut runs = [(offset, first), (offset, second)].map(|(offset, into)| RunRead {
        offset,
        wanted: into.len(),
        into,
    });
    runs[1].offset += runs[0].wanted as u64;
    volume.read_several(&mut runs).ok().map(|()| wanted)
}

#[test]
fn a_lying_server_gets_an_error_and_never_a_crash_a_hang_or_a_wrong_byte() {
    let threads = thread::available_parallelism().map_or(2, |count| count.get() as u64);
    let answered: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let seeds = (worker..CONVERSATIONS).step_by(threads as usize);
                scope.spawn(move || {
                    seeds
                        .filter(|&seed| {
                            std::panic::catch_unwind(|| converse(seed))
                                .unwrap_or_else(|_| panic!("in the conversation of seed {seed}"))
                        })
                        .count() as u64
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    // Some lies change nothing that matters; most of them have to be noticed.
    assert!(answered >= CONVERSATIONS / 10, "{answered} were answered");
    assert!(answered < CONVERSATIONS / 2, "{answered} were answered");
}
