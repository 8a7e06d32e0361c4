use std::time::{Duration, Instant};

use super::*;
use crate::codec::{Codec, Encoder};
use crate::digest;
use crate::object::tests::Folder;
use crate::pack::tests::name_of;
use crate::seeded::Seeded;
use crate::testing::{FailingFiles, SlowFiles};

const PACK: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

fn spool(
    folder: &Folder,
    buffers_max: usize,
    files: Box<dyn TempFiles>,
) -> (PackSpool, Arc<Cancel>) {
    let options = SpoolOptions {
        repository_id: [1; REPOSITORY_ID_BYTES],
        temp_prefix: folder.prefix(),
        pack_bytes: PACK,
        buffers_max,
        writers: 2,
    };
    let cancel = Arc::new(Cancel::default());
    (
        PackSpool::start(options, files, cancel.clone()).unwrap(),
        cancel,
    )
}

/// Puts `chunks` chunks of noise into packs.
fn put(spool: &PackSpool, kind: EntryType, chunks: usize) -> Result<()> {
    let mut encoder = Encoder::new(Codec::None, 0).unwrap();
    let mut random = Seeded::new(1);
    for _ in 0..chunks {
        let plain = random.bytes(CHUNK, false);
        let mut pack = spool.open(kind, plain.len())?;
        pack.builder()?
            .push(digest::of_chunk(&plain), &plain, &mut encoder)?;
    }
    Ok(())
}

#[test]
fn packs_are_durable_files_named_by_their_bytes() {
    let folder = Folder::new();
    let (spool, _) = spool(&folder, 3, Box::new(DiskFiles));
    put(&spool, EntryType::Chunk, 40).unwrap();
    put(&spool, EntryType::Page, 1).unwrap();
    spool.flush().unwrap();
    let packs = spool.take_sealed().unwrap();
    assert_eq!(
        packs.iter().map(|pack| pack.entries.len()).sum::<usize>(),
        41
    );
    assert_eq!(
        packs
            .iter()
            .filter(|pack| pack.kind == EntryType::Page)
            .count(),
        1
    );
    for pack in &packs {
        let bytes = fs::read(&pack.path).unwrap();
        assert_eq!(
            (bytes.len() as u64, name_of(&bytes).unwrap()),
            (pack.bytes, pack.id)
        );
        assert!(bytes.len() <= PACK && bytes.len().is_multiple_of(4096));
    }
    assert!(spool.take_sealed().unwrap().is_empty());
    assert_eq!(
        spool.counters().packs_written.load(Ordering::Relaxed),
        packs.len() as u64
    );
}

#[test]
fn one_buffer_serves_both_kinds_in_turn() {
    let folder = Folder::new();
    let (spool, _) = spool(&folder, 1, Box::new(DiskFiles));
    for _ in 0..3 {
        put(&spool, EntryType::Chunk, 2).unwrap();
        put(&spool, EntryType::Page, 2).unwrap();
    }
    spool.flush().unwrap();
    assert_eq!(spool.take_sealed().unwrap().len(), 6);
    assert_eq!(lock(&spool.shared.state).buffers_made, 1);
}

#[test]
fn buffers_are_never_more_than_the_bound_though_writing_is_slow() {
    let folder = Folder::new();
    let (spool, _) = spool(&folder, 3, Box::new(SlowFiles(Duration::from_millis(100))));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| put(&spool, EntryType::Chunk, 30).unwrap());
        }
    });
    spool.flush().unwrap();
    assert!(lock(&spool.shared.state).buffers_made <= 3);
    assert!(spool.counters().waited_ns.load(Ordering::Relaxed) > 0);
}

/// A full repository was once reported as a failed source. A failed sync stays failed.
#[test]
fn a_failed_write_fails_every_later_call_with_its_own_code() {
    for (error, fails_in_sync, code) in [
        (libc::ENOSPC, false, "BACKEND_FULL"),
        (libc::EDQUOT, false, "BACKEND_FULL"),
        (libc::EIO, false, "BACKEND_FAILED"),
        (libc::ENOENT, false, "BACKEND_FAILED"),
        (libc::EIO, true, "BACKEND_FAILED"),
        (libc::ENOSPC, true, "BACKEND_FULL"),
    ] {
        let folder = Folder::new();
        let calls = AtomicU64::new(0);
        let files = Box::new(FailingFiles {
            error,
            at: 1,
            fails_in_sync,
            calls,
        });
        let (spool, _) = spool(&folder, 2, files);
        let outcome = put(&spool, EntryType::Chunk, 400);
        assert_eq!(outcome.unwrap_err().code(), code);
        assert_eq!(spool.flush().unwrap_err().code(), code);
        assert_eq!(spool.take_sealed().unwrap_err().code(), code);
        assert_eq!(put(&spool, EntryType::Page, 1).unwrap_err().code(), code);
        spool.close();
        assert_eq!(folder.file_count(), 0, "nothing of it is left");
    }
}

#[test]
fn a_file_in_the_way_is_an_error_and_stays() {
    let folder = Folder::new();
    let (spool, _) = spool(
        &folder,
        2,
        Box::new(TakenNames(folder.path().join("taken"))),
    );
    fs::write(folder.path().join("taken"), "somebody else's").unwrap();
    put(&spool, EntryType::Chunk, 1).unwrap();
    let error = spool.flush().unwrap_err();
    assert_eq!(
        (error.code(), error.os()),
        ("BACKEND_FAILED", Some("EEXIST"))
    );
    spool.close();
    let there = fs::read(folder.path().join("taken")).unwrap();
    assert_eq!(there, b"somebody else's");
}

/// Files that all get a name that is taken.
struct TakenNames(PathBuf);

impl TempFiles for TakenNames {
    fn create(&self, _: &Path) -> io::Result<DirectFile> {
        DiskFiles.create(&self.0)
    }

    fn write(&self, file: &DirectFile, bytes: &[u8]) -> io::Result<()> {
        DiskFiles.write(file, bytes)
    }

    fn sync(&self, file: DirectFile) -> io::Result<()> {
        DiskFiles.sync(file)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        DiskFiles.remove(&self.0)
    }
}

#[test]
fn closing_removes_what_nobody_took_and_keeps_the_rest() {
    let folder = Folder::new();
    let (spool, _) = spool(&folder, 2, Box::new(DiskFiles));
    put(&spool, EntryType::Chunk, 3).unwrap();
    spool.flush().unwrap();
    let taken = spool.take_sealed().unwrap();
    put(&spool, EntryType::Chunk, 3).unwrap();
    spool.flush().unwrap();
    put(&spool, EntryType::Chunk, 3).unwrap();
    assert_eq!(folder.file_count(), 2);
    spool.close();
    spool.close();
    assert_eq!(folder.file_count(), 1);
    assert!(taken[0].path.exists());
    assert_eq!(
        spool.open(EntryType::Chunk, 1).err().unwrap().code(),
        "CANCELLED"
    );
}

#[test]
fn a_call_that_waits_for_a_buffer_ends_with_cancel() {
    let folder = Folder::new();
    let (spool, cancel) = spool(&folder, 1, Box::new(DiskFiles));
    let held = spool.open(EntryType::Chunk, 1).unwrap();
    let started = thread::scope(|scope| {
        let waiter = scope.spawn(|| spool.open(EntryType::Chunk, 1).map(drop));
        thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        cancel.cancel();
        assert_eq!(waiter.join().unwrap().unwrap_err().code(), "CANCELLED");
        started
    });
    assert!(started.elapsed() < Duration::from_millis(200));
    drop(held);
}
