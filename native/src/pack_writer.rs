//! Open packs on their way to durable temporary files: filled by the computing threads, sealed and written by
//! the job's own writer threads, from a bounded number of buffers that go round.
//!
//! A pack that could not be written fails the whole job and stays failed: after a failed sync the page
//! cache looks clean, so trying again would prove nothing.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use crate::aligned_buf::AlignedBuf;
use crate::cancel::Cancel;
use crate::contain_panic::contain_panic;
use crate::device;
use crate::digest::Digest;
use crate::direct_file::DirectFile;
use crate::error::{NativeError, Result};
use crate::pack::{Entry, EntryType, PackBuilder, REPOSITORY_ID_BYTES, SALT_BYTES, SealedPack};
use crate::transfer::write_run;
use crate::waiting::{lock, timed, wait};

/// How the packs of one job are made.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    pub repository_id: [u8; REPOSITORY_ID_BYTES],
    pub temp_prefix: String,
    pub pack_bytes: usize,
    /// Packs that are open or being written at one time.
    pub buffers_max: usize,
    pub writers: usize,
}

/// A pack that is durable under a temporary name, and that nothing names yet.
#[derive(Debug, Clone)]
pub struct WrittenPack {
    pub id: Digest,
    pub path: PathBuf,
    pub bytes: u64,
    pub kind: EntryType,
    pub entries: Arc<[Entry]>,
}

/// Where sealed packs go; tests have one that fails.
pub trait TempFiles: Send + Sync {
    /// Makes a new file, never over another.
    fn create(&self, path: &Path) -> io::Result<DirectFile>;

    fn write(&self, file: &DirectFile, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file durable and closes it.
    fn sync(&self, file: DirectFile) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// What writing packs has cost so far.
#[derive(Debug, Default)]
pub struct SpoolCounters {
    pub packs_written: AtomicU64,
    pub pack_bytes_written: AtomicU64,
    /// Time that computing threads waited for a free buffer.
    pub waited_ns: AtomicU64,
}

pub struct PackSpool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    options: SpoolOptions,
    files: Box<dyn TempFiles>,
    cancel: Arc<Cancel>,
    counters: SpoolCounters,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Packs with room that no call is filling at the moment.
    open: Vec<OpenPack>,
    free: Vec<AlignedBuf>,
    buffers_made: usize,
    queue: VecDeque<PackBuilder>,
    writing: usize,
    sealed: Vec<WrittenPack>,
    failure: Option<NativeError>,
    is_closing: bool,
}

struct OpenPack {
    kind: EntryType,
    builder: PackBuilder,
}

impl PackSpool {
    /// Starts the writer threads; they end with `close`.
    pub fn start(
        options: SpoolOptions,
        files: Box<dyn TempFiles>,
        cancel: Arc<Cancel>,
    ) -> Result<Self> {
        assert!(
            options.buffers_max > 0 && options.writers > 0,
            "a spool needs a buffer and a writer"
        );
        let writers = options.writers;
        let shared = Arc::new(Shared {
            options,
            files,
            cancel,
            counters: SpoolCounters::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let spool = Self {
            shared,
            threads: Mutex::default(),
        };
        for _ in 0..writers {
            let shared = spool.shared.clone();
            let thread = thread::Builder::new()
                .name("mover-write".to_owned())
                .spawn(move || shared.write_packs())
                // The drop of `spool` ends those that did start.
                .map_err(|error| {
                    NativeError::internal(format!("cannot start a writer thread: {error}"))
                })?;
            lock(&spool.threads).push(thread);
        }
        Ok(spool)
    }

    pub fn counters(&self) -> &SpoolCounters {
        &self.shared.counters
    }

    /// Bytes of the buffers made so far.
    pub fn bytes_made(&self) -> usize {
        lock(&self.shared.state).buffers_made * self.shared.options.pack_bytes
    }

    /// Fails with what made the job fail, or with CANCELLED.
    pub fn check(&self) -> Result<()> {
        self.shared.check(&lock(&self.shared.state))
    }

    /// Fails the job for good: a chunk was claimed and is not going to be stored.
    pub fn poison(&self, error: NativeError) {
        lock(&self.shared.state).poison(error);
        self.shared.changed.notify_all();
    }

    /// A pack of this kind with room for `plain_bytes`, waiting for a free buffer if need be.
    pub fn open(&self, kind: EntryType, plain_bytes: usize) -> Result<Filling<'_>> {
        let mut state = lock(&self.shared.state);
        loop {
            self.shared.check(&state)?;
            // The one put back last is most likely this call's own, which keeps neighbours together.
            if let Some(at) = state.open.iter().rposition(|open| open.kind == kind) {
                let open = state.open.remove(at);
                if open.builder.has_room(plain_bytes) {
                    return Ok(Filling {
                        spool: self,
                        kind,
                        builder: Some(open.builder),
                    });
                }
                self.shared.enqueue(&mut state, open.builder);
                continue;
            }
            if let Some(buffer) = self.shared.free_buffer(&mut state) {
                drop(state);
                let builder = self.shared.begin_pack(kind, buffer)?;
                return Ok(Filling {
                    spool: self,
                    kind,
                    builder: Some(builder),
                });
            }
            // The last buffer may sit idle in a pack of the other kind.
            if let Some(idle) = state.open.pop() {
                self.shared.enqueue(&mut state, idle.builder);
                continue;
            }
            state = timed(&self.shared.counters.waited_ns, || {
                wait(&self.shared.changed, state)
            });
        }
    }

    /// Seals what is open and waits until all of it is durable.
    pub fn flush(&self) -> Result<()> {
        let mut state = lock(&self.shared.state);
        while let Some(open) = state.open.pop() {
            self.shared.enqueue(&mut state, open.builder);
        }
        loop {
            self.shared.check(&state)?;
            if state.queue.is_empty() && state.writing == 0 {
                return Ok(());
            }
            state = wait(&self.shared.changed, state);
        }
    }

    /// The packs that became durable since the last call; their files are the caller's from now on.
    pub fn take_sealed(&self) -> Result<Vec<WrittenPack>> {
        let mut state = lock(&self.shared.state);
        self.shared.check(&state)?;
        Ok(std::mem::take(&mut state.sealed))
    }

    /// Ends the writers, frees the buffers and removes the files that nobody took. May be called again.
    pub fn close(&self) {
        {
            let mut state = lock(&self.shared.state);
            state.is_closing = true;
            state.queue.clear();
            state.open.clear();
            state.free.clear();
        }
        self.shared.changed.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // A writer contains its panics, so there is nothing to be told here.
            let _ = thread.join();
        }
        let mut state = lock(&self.shared.state);
        state.free.clear();
        for pack in state.sealed.drain(..) {
            // What cannot be removed now carries the session's name and goes with the session.
            let _ = self.shared.files.remove(&pack.path);
        }
    }
}

impl Drop for PackSpool {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn poison(&mut self, error: NativeError) {
        self.failure.get_or_insert(error);
        self.queue.clear();
    }
}

impl Shared {
    fn check(&self, state: &State) -> Result<()> {
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if state.is_closing {
            return Err(NativeError::Cancelled);
        }
        self.cancel.check()
    }

    fn free_buffer(&self, state: &mut State) -> Option<AlignedBuf> {
        if let Some(buffer) = state.free.pop() {
            return Some(buffer);
        }
        if state.buffers_made == self.options.buffers_max {
            return None;
        }
        state.buffers_made += 1;
        Some(AlignedBuf::with_capacity(self.options.pack_bytes))
    }

    fn begin_pack(&self, kind: EntryType, buffer: AlignedBuf) -> Result<PackBuilder> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| NativeError::internal(format!("no random numbers: {error}")))?;
        Ok(PackBuilder::new(
            kind,
            self.options.repository_id,
            salt,
            self.options.pack_bytes,
            buffer,
        ))
    }

    fn enqueue(&self, state: &mut State, builder: PackBuilder) {
        if state.failure.is_none() && !state.is_closing && !builder.is_empty() {
            state.queue.push_back(builder);
            self.changed.notify_all();
        }
    }

    /// The life of a writer thread.
    fn write_packs(&self) {
        while let Some(builder) = self.next_pack() {
            let outcome = contain_panic(|| self.write_pack(builder));
            let mut state = lock(&self.state);
            state.writing -= 1;
            match outcome {
                Ok(pack) => state.sealed.push(pack),
                Err(error) => state.poison(error),
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn next_pack(&self) -> Option<PackBuilder> {
        let mut state = lock(&self.state);
        loop {
            if state.is_closing {
                return None;
            }
            // A cancelled job commits nothing, so its packs need not be written any more.
            if self.cancel.check().is_ok()
                && let Some(builder) = state.queue.pop_front()
            {
                state.writing += 1;
                return Some(builder);
            }
            state = self.wait_for_work(state);
        }
    }

    fn wait_for_work<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_pack(&self, builder: PackBuilder) -> Result<WrittenPack> {
        let SealedPack {
            id,
            kind,
            buffer,
            entries,
        } = builder.seal();
        let (path, bytes) = (self.temp_path(), buffer.len() as u64);
        let file = self
            .files
            .create(&path)
            .map_err(|error| write_error(&path, error))?;
        let written = self.files.write(&file, &buffer);
        // The next pack is filled while this one becomes durable: should that fail, the job is over, and
        // nobody writes the pack again.
        self.give_back(buffer);
        if let Err(error) = written.and_then(|()| self.files.sync(file)) {
            // What is left must not be taken for a pack. It is ours: a file in the way stays where it is.
            let _ = self.files.remove(&path);
            return Err(write_error(&path, error));
        }
        self.counters.packs_written.fetch_add(1, Ordering::Relaxed);
        self.counters
            .pack_bytes_written
            .fetch_add(bytes, Ordering::Relaxed);
        Ok(WrittenPack {
            id,
            path,
            bytes,
            kind,
            entries: entries.into(),
        })
    }

    fn give_back(&self, buffer: AlignedBuf) {
        lock(&self.state).free.push(buffer);
        self.changed.notify_all();
    }

    /// Several jobs of a process may write under one session's prefix.
    fn temp_path(&self) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        PathBuf::from(format!("{}{number}.pack", self.options.temp_prefix))
    }
}

/// A missing folder is not a missing object, and a file in the way not an object that exists.
fn write_error(path: &Path, cause: io::Error) -> NativeError {
    match NativeError::backend(
        path,
        io::Error::from_raw_os_error(cause.raw_os_error().unwrap_or(libc::EIO)),
    ) {
        full @ NativeError::BackendFull { .. } => full,
        _ => NativeError::BackendFailed {
            path: path.to_owned(),
            offset: None,
            cause: Arc::new(cause),
        },
    }
}

/// A pack that one call fills. Dropping it leaves it open for the next call, whatever ended this one:
/// others have already been told that its chunks are known.
pub struct Filling<'a> {
    spool: &'a PackSpool,
    kind: EntryType,
    builder: Option<PackBuilder>,
}

impl Filling<'_> {
    /// Whether a chunk of this many plain bytes fits.
    pub fn has_room(&self, plain_bytes: usize) -> bool {
        self.builder
            .as_ref()
            .is_some_and(|builder| builder.has_room(plain_bytes))
    }

    pub fn builder(&mut self) -> Result<&mut PackBuilder> {
        self.builder
            .as_mut()
            .ok_or_else(|| NativeError::internal("a sealed pack was filled"))
    }

    /// Hands the pack to the writers.
    pub fn seal(mut self) {
        if let Some(builder) = self.builder.take() {
            self.spool
                .shared
                .enqueue(&mut lock(&self.spool.shared.state), builder);
        }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let Some(builder) = self.builder.take() else {
            return;
        };
        let mut state = lock(&self.spool.shared.state);
        if thread::panicking() {
            state.poison(NativeError::internal(
                "a computing thread panicked over an open pack",
            ));
        } else if !state.is_closing {
            state.open.push(OpenPack {
                kind: self.kind,
                builder,
            });
        }
        drop(state);
        self.spool.shared.changed.notify_all();
    }
}

/// Temporary files of the repository's file system, written past the page cache where it can be.
pub struct DiskFiles;

impl TempFiles for DiskFiles {
    fn create(&self, path: &Path) -> io::Result<DirectFile> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        options.open(path).map(DirectFile::new)
    }

    fn write(&self, file: &DirectFile, bytes: &[u8]) -> io::Result<()> {
        write_run(file, 0, bytes).map_err(|failure| failure.cause)
    }

    fn sync(&self, file: DirectFile) -> io::Result<()> {
        file.file().sync_data()?;
        device::close(file.into_file())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
