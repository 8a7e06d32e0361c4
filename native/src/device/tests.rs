use super::*;
use crate::object::tests::Folder;
use crate::seeded::Seeded;

fn target(path: &Path, create: bool, direct: bool) -> Result<Device> {
    Device::open_target(
        path,
        TargetOptions {
            create,
            exclusive: true,
            direct,
        },
    )
}

#[test]
fn an_image_is_held_unless_somebody_writes_to_it() {
    let folder = Folder::new();
    let path = folder.path().join("image");
    fs::write(&path, [0; 512]).unwrap();
    let open = || Device::open_source(&path, true).unwrap();
    let reader = open();
    assert!(reader.hold_image().unwrap());
    assert!(open().hold_image().unwrap(), "two readers do not mind");

    let writer = File::open(&path).unwrap();
    for at in [101, 103, 200] {
        lock_byte(&writer, at, libc::F_RDLCK).unwrap();
        let late = open();
        assert!(!late.hold_image().unwrap());
        lock_byte(&writer, at, libc::F_UNLCK).unwrap();
        drop(reader.hold_image());
        assert!(late.hold_image().unwrap());
    }
    assert!(is_locked(&writer, 201).unwrap(), "a writer sees the reader");
    drop(reader);
    assert!(!is_locked(&writer, 201).unwrap());
}

#[test]
fn only_files_and_block_devices_are_sources() {
    let folder = Folder::new();
    let fifo = folder.path().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    for path in [
        folder.path(),
        &fifo,
        Path::new("/dev/zero"),
        &folder.path().join("missing"),
    ] {
        let error = Device::open_source(path, true).err().unwrap();
        assert_eq!(
            (error.code(), error.path()),
            ("SOURCE_UNUSABLE", Some(path))
        );
        assert_eq!(
            target(path, false, true).err().unwrap().code(),
            "TARGET_UNUSABLE"
        );
    }
}

#[test]
fn a_new_target_is_made_never_over_something_and_for_its_owner_alone() {
    let folder = Folder::new();
    let path = folder.path().join("volume");
    let device = target(&path, true, true).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(device.facts().unwrap().bytes, 0);
    assert_eq!(
        target(&path, true, true).err().unwrap().code(),
        "TARGET_EXISTS"
    );
    std::os::unix::fs::symlink("elsewhere", folder.path().join("link")).unwrap();
    assert_eq!(
        target(&folder.path().join("link"), true, true)
            .err()
            .unwrap()
            .code(),
        "TARGET_EXISTS"
    );
    assert!(!folder.path().join("elsewhere").exists());
}

/// An unaligned tail was dropped, or made the file longer.
#[test]
fn files_of_any_size_are_written_and_read_back_directly() {
    let folder = Folder::new();
    for (number, size) in [0, 1, 512, 4096, 65_536 - 512, 65_536 + 512, 7919 * 512]
        .into_iter()
        .enumerate()
    {
        for direct in [true, false] {
            let path = folder.path().join(format!("{number}-{direct}"));
            let bytes = Seeded::new(size as u64).bytes(size, false);
            let mut buffer = AlignedBuf::with_capacity(size);
            buffer.extend_from_slice(&bytes);
            let device = target(&path, true, direct).unwrap();
            write_run(&device, 0, &buffer).unwrap();
            device.sync().unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);

            let source = Device::open_source(&path, direct).unwrap();
            assert_eq!(source.bytes().unwrap(), size as u64);
            buffer.set_len(size.next_multiple_of(ALIGNMENT));
            buffer.fill(0xee);
            crate::transfer::read_source(&source, 0, &mut buffer, size).unwrap();
            assert_eq!(&buffer[..size], bytes);
            let error = crate::transfer::read_source(&source, 0, &mut filled(size + 1), size + 1);
            assert_eq!(error.unwrap_err().code(), "SOURCE_SHORT_READ");
        }
    }
}

fn filled(bytes: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::with_capacity(bytes);
    buffer.set_len(buffer.capacity());
    buffer
}

/// Zeroes over a target that holds something else.
#[test]
fn runs_of_zeroes_end_at_their_edges() {
    let folder = Folder::new();
    let path = folder.path().join("volume");
    let size = 300_000_usize;
    for (offset, length) in [
        (0, 300_000),
        (0, 0),
        (1, 1),
        (4095, 2),
        (4096, 8192),
        (5000, 100_000),
        (299_488, 512),
    ] {
        for punch in [true, false] {
            fs::write(&path, vec![0xff; size]).unwrap();
            let device = target(&path, false, true).unwrap();
            let outcome = if punch {
                device.zero_runs(&[(offset, length)])
            } else {
                device.write_zeroes(offset, length)
            };
            outcome.unwrap();
            device.sync().unwrap();
            let mut expected = vec![0xff; size];
            expected[offset as usize..(offset + length) as usize].fill(0);
            assert!(
                fs::read(&path).unwrap() == expected,
                "{offset}+{length} punch {punch}"
            );
        }
    }
    let device = target(&path, false, true).unwrap();
    assert_eq!(
        device.zero_runs(&[(299_999, 2)]).unwrap_err().code(),
        "ARGUMENT_INVALID"
    );
    assert_eq!(
        device.zero_runs(&[(u64::MAX, 2)]).unwrap_err().code(),
        "ARGUMENT_INVALID"
    );
    assert_eq!(device.bytes().unwrap(), size as u64);
}

#[test]
fn room_is_taken_for_long_runs_and_changes_no_byte() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let path = folder.path().join("volume");
    let device = target(&path, true, true).unwrap();
    device.truncate(10 << 20).unwrap();
    write_run(&device, 4 << 20, &[7; 65_536]).unwrap();
    let room = || fs::metadata(&path).unwrap().blocks() * 512;
    let before = room();
    device.reserve_runs(&[(0, RESERVED_BYTES_MIN - 1)]);
    assert_eq!(room(), before, "too short to gain by it");
    device.reserve_runs(&[(3 << 20, 4 << 20), (9 << 20, 1 << 20)]);
    assert!(room() >= 5 << 20);
    // Nor does a target without room, or a run beyond its end, make it longer or fail.
    device.reserve_runs(&[(1 << 62, 1 << 62), (9 << 20, 4 << 20)]);
    let mut expected = vec![0; 10 << 20];
    expected[4 << 20..][..65_536].fill(7);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn holes_are_told_where_they_are_asked_for() {
    const END: u64 = 10 << 20;
    let folder = Folder::new();
    let path = folder.path().join("volume");
    let device = target(&path, true, true).unwrap();
    device.truncate(END).unwrap();
    assert_eq!(device.holes(&[(0, END)], 10).unwrap(), [(0, END)]);
    for at in [1_u64 << 20, 5 << 20, 9 << 20] {
        write_run(&device, at, &[1; 65_536]).unwrap();
    }
    device.sync().unwrap();
    let all = [
        (0, 1 << 20),
        (0x11_0000, 0x3f_0000),
        (0x51_0000, 0x3f_0000),
        (0x91_0000, 0xf_0000),
    ];
    assert_eq!(device.holes(&[(0, END)], 10).unwrap(), all);
    assert_eq!(device.holes(&[(0, END)], 2).unwrap(), all[..2]);
    let rest = all[1].0 + all[1].1;
    assert_eq!(device.holes(&[(rest, END - rest)], 10).unwrap(), all[2..]);
    assert_eq!(device.holes(&[], 10).unwrap(), []);

    // Extents anywhere: each byte of them is in a hole when it is in one of all, and no other byte is.
    let mut random = Seeded::new(3);
    for _ in 0..200 {
        let mut cuts: Vec<u64> = (0..8).map(|_| random.below(END as usize) as u64).collect();
        cuts.sort_unstable();
        let within: Vec<(u64, u64)> = cuts
            .chunks(2)
            .map(|cut| (cut[0], cut[1] - cut[0]))
            .collect();
        let mut expected = Vec::new();
        for &(offset, length) in &within {
            for &(hole, bytes) in &all {
                let (from, until) = (hole.max(offset), (hole + bytes).min(offset + length));
                if from < until {
                    expected.push((from, until - from));
                }
            }
        }
        assert_eq!(device.holes(&within, 100).unwrap(), expected);
    }
}

#[test]
fn a_device_tells_what_it_is() {
    let folder = Folder::new();
    let path = folder.path().join("volume");
    fs::write(&path, [1; 1000]).unwrap();
    let facts = Device::open_source(&path, false).unwrap().facts().unwrap();
    let seen = fs::metadata(&path).unwrap();
    assert_eq!(
        (facts.kind, facts.bytes, facts.is_read_only, facts.is_direct),
        (DeviceKind::File, 1000, false, false)
    );
    assert_eq!(facts.inode, seen.ino());
    assert_eq!(
        facts.mtime_ns,
        i128::from(seen.mtime()) * 1_000_000_000 + i128::from(seen.mtime_nsec())
    );
    assert_eq!(
        facts.device,
        format!("{}:{}", libc::major(seen.dev()), libc::minor(seen.dev()))
    );
}
