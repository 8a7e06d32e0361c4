//! A volume on an NBD server, as the loops see it: read and written at offsets, by many threads.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use crate::device::Role;
use crate::error::{NativeError, Result};
use crate::nbd::connection::{Connection, Flow, Question, WAITING, WAITING_LONG};
use crate::nbd::failure::NbdFailure;
use crate::nbd::frames::Request;
use crate::nbd::handshake::{Agreed, Wanted};
use crate::nbd::protocol::*;
use crate::nbd::read_answer::ReadAnswer;
use crate::nbd::reply::{Answer, Done};
use crate::nbd::status_answer::StatusAnswer;
use crate::nbd::tls::{Tls, TlsOptions};
use crate::nbd::wire::{Endpoint, Wire};
use crate::transfer::{ReadAt, ReadFailure, RunRead, WriteAt, read_run};
use crate::waiting::lock;

/// As many as the usual copying tools open.
const CONNECTIONS_MAX: usize = 4;

/// How long a server may take to agree.
const AGREE_TIME: Duration = Duration::from_secs(10);

/// The same for connections beyond the first, without which it goes too. A server may let them wait for ever:
/// qemu-nbd says that it allows several, and serves as many as its `-e` says.
const AGREE_TIME_MORE: Duration = Duration::from_secs(1);

/// A long transfer goes in pieces, so that the server has several to work on.
const PIECE_BYTES: u64 = 256 << 10;

/// Zeroes asked for in one request.
const ZERO_PIECE_BYTES: u64 = 1 << 30;

/// Where a volume is, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct NbdOptions {
    /// As the caller named it, for messages.
    pub name: PathBuf,
    pub role: Role,
    pub endpoint: Endpoint,
    /// Without it, all goes in plain.
    pub tls: Option<TlsOptions>,
    pub wanted: Wanted,
}

/// The way to a server, the same for each connection.
struct Server {
    endpoint: Endpoint,
    tls: Option<Tls>,
}

impl Server {
    fn connect(&self, wanted: &Wanted, limit: Duration) -> io::Result<Connection> {
        let wire: Arc<dyn Wire> = Arc::from(self.endpoint.connect()?);
        Connection::open(wire, self.tls.as_ref(), wanted, limit).map_err(NbdFailure::into_io)
    }
}

pub struct NbdVolume {
    name: PathBuf,
    role: Role,
    agreed: Agreed,
    server: Box<Server>,
    wanted: Wanted,
    /// At least one.
    connections: RwLock<Vec<Arc<Connection>>>,
    /// Whether there may be more of them; held while one is opened.
    may_grow: Mutex<bool>,
    /// Held while a part of a block is changed by reading and writing all of it.
    edges: Mutex<()>,
}

impl NbdVolume {
    /// SOURCE_UNUSABLE or TARGET_UNUSABLE where there is no server, or none that agrees.
    pub fn open(options: NbdOptions) -> Result<Self> {
        let NbdOptions {
            name,
            role,
            endpoint,
            tls,
            wanted,
        } = options;
        let tls = tls
            .map(Tls::new)
            .transpose()
            .map_err(|failure| unusable(role, &name, failure.into_io()))?;
        let server = Box::new(Server { endpoint, tls });
        let first = server
            .connect(&wanted, AGREE_TIME)
            .map_err(|error| unusable(role, &name, error))?;
        let agreed = first.agreed.clone();
        Ok(Self {
            name,
            role,
            server,
            wanted,
            may_grow: Mutex::new(agreed.has(CAN_MULTI_CONN)),
            connections: RwLock::new(vec![Arc::new(first)]),
            agreed,
            edges: Mutex::new(()),
        })
    }

    pub fn name(&self) -> &Path {
        &self.name
    }

    pub fn bytes(&self) -> u64 {
        self.agreed.bytes
    }

    pub fn is_read_only(&self) -> bool {
        self.agreed.has(READ_ONLY)
    }

    /// Whether what was written can be made durable.
    pub fn can_sync(&self) -> bool {
        self.agreed.has(SEND_FLUSH) || self.agreed.has(SEND_FUA)
    }

    /// The contexts of those wanted that the server has.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.agreed.contexts.iter().map(|(_, name)| name.as_str())
    }

    /// Opens as many connections as there may be: the way to the server may be gone afterwards.
    pub fn connect_fully(&self) {
        while self.grow().is_some() {}
    }

    /// Ends every call under way with CANCELLED, and all later ones: the volume has to be opened anew.
    pub fn interrupt(&self) {
        let open = self
            .connections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        open.iter().for_each(|connection| connection.interrupt());
    }

    /// Makes what was written durable: by a flush, which counts for all connections, or because each write
    /// was durable itself.
    pub fn sync(&self) -> Result<()> {
        if self.is_read_only() || !self.agreed.has(SEND_FLUSH) {
            return Ok(());
        }
        self.ask_all(&[request(CMD_FLUSH, 0, 0)])
            .map_err(|(_, error)| self.failure(None, error))
    }

    /// Makes runs of bytes read as zero, durable after `sync`. Holes may come of it.
    pub fn zero_runs(&self, runs: &[(u64, u64)]) -> Result<()> {
        let mut whole = Vec::new();
        for &(offset, length) in runs {
            if offset
                .checked_add(length)
                .is_none_or(|end| end > self.bytes())
            {
                return Err(NativeError::argument(format!(
                    "zeroes at {offset}+{length} are beyond the target's {}",
                    self.bytes()
                )));
            }
            let (inner, inner_end) = self.whole_blocks(offset, offset + length);
            self.write_zeroes(offset, inner)?;
            self.write_zeroes(inner_end, offset + length)?;
            if self.agreed.has(SEND_WRITE_ZEROES) {
                self.push_zero_pieces(&mut whole, inner, inner_end);
            } else {
                self.write_zeroes(inner, inner_end)?;
            }
        }
        self.ask_all(&whole)
            .map_err(|(at, error)| self.failure(whole.get(at).map(|piece| piece.offset), error))
    }

    /// What a context says from `offset` on, as far as the server went: at least one run, and never beyond
    /// the volume. Each is two numbers, where it ends and its flags.
    pub fn status(&self, context: &str, offset: u64) -> Result<Vec<f64>> {
        let connection = self.idlest();
        let agreed = &connection.agreed;
        let Some((id, _)) = agreed.contexts.iter().find(|(_, name)| name == context) else {
            let message = format!("the NBD server has no context {context}");
            return Err(NativeError::argument(message));
        };
        let block = u64::from(agreed.block_bytes_min);
        let longest = agreed.style.length_max() / block * block;
        let length = self.bytes().saturating_sub(offset).min(longest);
        if length == 0 {
            return Err(NativeError::argument(format!("{offset} is no place of it")));
        }
        let ids: Vec<u32> = agreed.contexts.iter().map(|(id, _)| *id).collect();
        let question = Question {
            request: request(CMD_BLOCK_STATUS, offset, length),
            payload: &[],
            answer: StatusAnswer::new(offset, length, *id, &ids),
        };
        let mut answer = None;
        connection
            .ask(std::iter::once(question), WAITING_LONG, |_, outcome| {
                answer = Some(outcome);
                Flow::GoOn
            })
            .map_err(|failure| self.failure(Some(offset), failure))?;
        let answer = answer.ok_or_else(|| NativeError::internal("a status without an answer"))?;
        answer
            .map(StatusAnswer::into_pairs)
            .map_err(|refusal| self.failure(Some(offset), refusal))
    }

    /// The connection with the fewest calls under way: a new one where all are busy and the server allows
    /// it. What needs one connection takes no more, because a server may have few to give.
    fn idlest(&self) -> Arc<Connection> {
        let idlest = self.idlest_open();
        if idlest.callers() == 0 {
            return idlest;
        }
        self.grow().unwrap_or(idlest)
    }

    fn idlest_open(&self) -> Arc<Connection> {
        let open = self
            .connections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let first = &open[0];
        let idlest = open.iter().min_by_key(|connection| connection.callers());
        idlest.unwrap_or(first).clone()
    }

    /// One connection more, unless there are enough or somebody else is about to open one. One that is not
    /// given, or shows another volume, is only not there, and not tried again.
    fn grow(&self) -> Option<Arc<Connection>> {
        let mut may_grow = match self.may_grow.try_lock() {
            Ok(may_grow) => may_grow,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if !*may_grow {
            return None;
        }
        *may_grow = false;
        let more = self.server.connect(&self.wanted, AGREE_TIME_MORE).ok()?;
        if !is_same_volume(&more.agreed, &self.agreed) {
            return None;
        }
        let more = Arc::new(more);
        let mut open = self
            .connections
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        open.push(more.clone());
        *may_grow = open.len() < CONNECTIONS_MAX;
        Some(more)
    }

    /// Asks for what has neither payload nor data; the error names the first that failed.
    fn ask_all(&self, requests: &[Request]) -> std::result::Result<(), (usize, NbdFailure)> {
        let questions = requests.iter().map(|&request| Question {
            request,
            payload: &[],
            answer: Done,
        });
        let (done, failure) = run(&self.idlest(), questions, WAITING_LONG);
        failure.map_or(Ok(()), |failure| Err((done, failure)))
    }

    fn push_zero_pieces(&self, pieces: &mut Vec<Request>, offset: u64, end: u64) {
        let mut at = offset;
        while at < end {
            let length = (end - at).min(ZERO_PIECE_BYTES);
            pieces.push(Request {
                flags: self.write_flags(),
                ..request(CMD_WRITE_ZEROES, at, length)
            });
            at += length;
        }
    }

    fn write_zeroes(&self, offset: u64, end: u64) -> Result<()> {
        let zeroes = vec![0; end.saturating_sub(offset).min(PIECE_BYTES) as usize];
        let mut at = offset;
        while at < end {
            let piece = &zeroes[..(end - at).min(PIECE_BYTES) as usize];
            crate::transfer::write_run(self, at, piece)
                .map_err(|failure| NativeError::target(Some(failure.offset), failure.cause))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Where nothing can be flushed, each write is made durable by itself.
    fn write_flags(&self) -> u16 {
        if self.agreed.has(SEND_FLUSH) || !self.agreed.has(SEND_FUA) {
            0
        } else {
            CMD_FLAG_FUA
        }
    }

    fn block(&self) -> u64 {
        u64::from(self.agreed.block_bytes_min)
    }

    /// A multiple of the block that the server takes at a time.
    fn piece_bytes(&self) -> usize {
        let max = PIECE_BYTES.min(u64::from(self.agreed.block_bytes_max));
        (max - max % self.block()) as usize
    }

    /// The part of `offset..end` that is whole blocks; the end of the volume ends its last one.
    fn whole_blocks(&self, offset: u64, end: u64) -> (u64, u64) {
        let inner_end = if end == self.bytes() {
            end
        } else {
            end - end % self.block()
        };
        let inner = offset.next_multiple_of(self.block());
        if inner <= inner_end {
            (inner, inner_end)
        } else {
            (end, end)
        }
    }

    /// The blocks that `offset..end` touches.
    fn touched_blocks(&self, offset: u64, end: u64) -> (u64, u64) {
        let block = self.block();
        let end = end.next_multiple_of(block).min(self.bytes());
        (offset - offset % block, end)
    }

    /// Whether a run is whole blocks of the volume.
    fn is_whole(&self, run: &RunRead<'_>) -> bool {
        let end = run.offset.saturating_add(run.wanted as u64);
        end <= self.bytes() && self.touched_blocks(run.offset, end) == (run.offset, end)
    }

    fn read_blocks(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece_bytes();
        let questions = into
            .chunks_mut(piece)
            .enumerate()
            .map(|(number, into)| read_question(offset + (number * piece) as u64, into));
        let (done, failure) = run(&self.idlest(), questions, WAITING);
        moved(done, failure, piece)
    }

    fn write_blocks(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let piece = self.piece_bytes();
        let flags = self.write_flags();
        let questions = bytes.chunks(piece).enumerate().map(|(number, payload)| {
            let at = offset + (number * piece) as u64;
            Question {
                request: Request {
                    flags,
                    ..request(CMD_WRITE, at, payload.len() as u64)
                },
                payload,
                answer: Done,
            }
        });
        let (done, failure) = run(&self.idlest(), questions, WAITING);
        moved(done, failure, piece).map(|moved| moved.min(bytes.len()))
    }

    fn failure(&self, offset: Option<u64>, failure: NbdFailure) -> NativeError {
        let error = failure.into_io();
        match self.role {
            Role::Source => NativeError::source(offset.unwrap_or(0), error),
            Role::Target => NativeError::target(offset, error),
        }
    }
}

impl ReadAt for NbdVolume {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = self.bytes().min(offset.saturating_add(into.len() as u64));
        if offset >= end {
            return Ok(0);
        }
        let wanted = (end - offset) as usize;
        let (first, last) = self.touched_blocks(offset, end);
        if (first, last) == (offset, end) {
            return self
                .read_blocks(offset, &mut into[..wanted])
                .map(|moved| moved.min(wanted));
        }
        let mut blocks = vec![0; (last - first) as usize];
        let got = self.read_blocks(first, &mut blocks)?.min(blocks.len());
        let skipped = (offset - first) as usize;
        let there = blocks[..got].get(skipped..).unwrap_or_default();
        let moved = wanted.min(there.len());
        into[..moved].copy_from_slice(&there[..moved]);
        Ok(moved)
    }

    fn has_depth(&self) -> bool {
        true
    }

    /// All of them are under way on one connection, as many at a time as a call may have; but for those with
    /// a part of a block, or beyond the end.
    fn read_several(&self, runs: &mut [RunRead<'_>]) -> std::result::Result<(), ReadFailure> {
        let piece = self.piece_bytes();
        let (mut whole, ragged): (Vec<_>, Vec<_>) =
            runs.iter_mut().partition(|run| self.is_whole(run));
        let mut asked = Vec::new();
        let pieces = whole.iter_mut().flat_map(|run| {
            let begins = (run.offset..).step_by(piece);
            begins.zip(run.into[..run.wanted].chunks_mut(piece))
        });
        let questions = pieces.map(|(offset, into)| {
            asked.push(offset);
            read_question(offset, into)
        });
        let (done, failure) = run(&self.idlest(), questions, WAITING);
        if let Some(failure) = failure {
            return Err(ReadFailure::Failed {
                offset: asked.get(done).copied().unwrap_or(0),
                cause: failure.into_io(),
            });
        }
        ragged
            .into_iter()
            .try_for_each(|run| read_run(self, run.offset, run.into, run.wanted))
    }
}

impl WriteAt for NbdVolume {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.bytes() {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let (first, last) = self.touched_blocks(offset, end);
        if (first, last) == (offset, end) {
            return self.write_blocks(offset, bytes);
        }
        let _held = lock(&self.edges);
        let mut blocks = vec![0; (last - first) as usize];
        read_run(self, first, &mut blocks, (last - first) as usize)
            .map_err(|_| io::Error::other("a block could not be read to change a part of it"))?;
        let skipped = (offset - first) as usize;
        blocks[skipped..skipped + bytes.len()].copy_from_slice(bytes);
        let moved = self.write_blocks(first, &blocks)?;
        Ok(moved.saturating_sub(skipped).min(bytes.len()))
    }
}

fn request(command: u16, offset: u64, length: u64) -> Request {
    Request {
        command,
        flags: 0,
        offset,
        length,
    }
}

fn read_question(offset: u64, into: &mut [u8]) -> Question<'_, ReadAnswer<'_>> {
    Question {
        request: request(CMD_READ, offset, into.len() as u64),
        payload: &[],
        answer: ReadAnswer::new(offset, into),
    }
}

/// Asks for all; how many from the first on succeeded, and the failure of the next one. Where the connection
/// failed, none did: a server that broke the protocol in one answer is not believed in the others.
fn run<'a, A: Answer>(
    connection: &Connection,
    questions: impl Iterator<Item = Question<'a, A>>,
    waiting: Duration,
) -> (usize, Option<NbdFailure>) {
    let mut first: Option<(usize, NbdFailure)> = None;
    let mut asked = 0;
    let counted = questions.inspect(|_| asked += 1);
    let outcome = connection.ask(counted, waiting, |number, outcome| match outcome {
        Ok(_) => Flow::GoOn,
        Err(failure) => {
            if first.as_ref().is_none_or(|(before, _)| number < *before) {
                first = Some((number, failure));
            }
            Flow::Stop
        }
    });
    match (outcome, first) {
        (Err(failure), _) => (0, Some(failure)),
        (Ok(()), Some((number, failure))) => (number, Some(failure)),
        (Ok(()), None) => (asked, None),
    }
}

/// As pread(2) and pwrite(2): what came before a failure counts, and the failure only where nothing did.
fn moved(done: usize, failure: Option<NbdFailure>, piece: usize) -> io::Result<usize> {
    match failure {
        Some(failure) if done == 0 => Err(failure.into_io()),
        _ => Ok(done * piece),
    }
}

fn is_same_volume(one: &Agreed, other: &Agreed) -> bool {
    let names = |agreed: &Agreed| -> Vec<String> {
        agreed
            .contexts
            .iter()
            .map(|(_, name)| name.clone())
            .collect()
    };
    (one.bytes, one.flags, one.style) == (other.bytes, other.flags, other.style)
        && one.block_bytes_min == other.block_bytes_min
        && names(one) == names(other)
}

fn unusable(role: Role, name: &Path, error: io::Error) -> NativeError {
    let path = name.to_owned();
    let message = "there is no agreement with its NBD server".to_owned();
    let cause = Some(Arc::new(error));
    match role {
        Role::Source => NativeError::SourceUnusable {
            path,
            message,
            cause,
        },
        Role::Target => NativeError::TargetUnusable {
            path,
            message,
            cause,
        },
    }
}

#[cfg(test)]
impl NbdVolume {
    /// A volume whose server is at the other end of a wire, on this one connection.
    pub fn on_wire(
        wire: Arc<dyn Wire>,
        wanted: Wanted,
        role: Role,
    ) -> std::result::Result<Self, NbdFailure> {
        Connection::open(wire, None, &wanted, AGREE_TIME)
            .map(|connection| Self::on_connection(connection, wanted, role))
    }

    /// The same inside of TLS.
    pub fn on_wire_with(
        wire: Arc<dyn Wire>,
        tls: &Tls,
        wanted: Wanted,
        role: Role,
    ) -> std::result::Result<Self, NbdFailure> {
        Connection::open(wire, Some(tls), &wanted, AGREE_TIME)
            .map(|connection| Self::on_connection(connection, wanted, role))
    }

    fn on_connection(connection: Connection, wanted: Wanted, role: Role) -> Self {
        Self {
            name: PathBuf::from("nbd://test/x"),
            role,
            server: Box::new(Server {
                endpoint: Endpoint::Unix(PathBuf::from("/nowhere")),
                tls: None,
            }),
            wanted,
            may_grow: Mutex::new(false),
            agreed: connection.agreed.clone(),
            connections: RwLock::new(vec![Arc::new(connection)]),
            edges: Mutex::new(()),
        }
    }
}
