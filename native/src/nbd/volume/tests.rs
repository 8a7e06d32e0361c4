use std::sync::Arc;
use std::thread;

use super::*;
use crate::nbd::frames::HeaderStyle;
use crate::nbd::shuffling_server::{Serving, serve};
use crate::seeded::Seeded;
use crate::transfer::write_run;

const STYLES: [HeaderStyle; 3] = [
    HeaderStyle::Simple,
    HeaderStyle::Structured,
    HeaderStyle::Extended,
];

fn volume_of(wire: impl Wire + 'static, role: Role) -> NbdVolume {
    let wanted = Wanted {
        export: "x".to_owned(),
        contexts: vec!["base:allocation".to_owned()],
    };
    NbdVolume::on_wire(Arc::new(wire), wanted, role).unwrap()
}

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = Seeded::new(seed).bytes(bytes, false);
    // Holes, some of them at odd places.
    for (at, piece) in content.chunks_mut(10_007).enumerate() {
        if at % 3 == 1 {
            piece.fill(0);
        }
    }
    content
}

#[test]
fn threads_that_share_a_connection_each_get_their_own_bytes() {
    for (seed, style) in (0..).zip(STYLES) {
        let bytes = content(seed, 3_000_001);
        let (client, ended) = serve(
            Serving {
                style,
                ..Serving::default()
            },
            bytes.clone(),
            seed,
        );
        let volume = volume_of(client, Role::Source);
        thread::scope(|scope| {
            for number in 0..6 {
                let (volume, bytes) = (&volume, &bytes);
                scope.spawn(move || {
                    let mut seeded = Seeded::new(number);
                    for _ in 0..40 {
                        let offset = seeded.below(bytes.len());
                        let wanted = 1 + seeded.below((bytes.len() - offset).min(1_300_000));
                        let mut into = vec![0xee; wanted + 100];
                        read_run(volume, offset as u64, &mut into, wanted).unwrap();
                        assert!(into[..wanted] == bytes[offset..offset + wanted]);
                    }
                });
            }
        });
        drop(volume);
        ended.join().unwrap();
    }
}

/// Some of them touch, some begin or end inside of blocks, the last one ends with the volume.
#[test]
fn scattered_runs_that_are_read_at_once_each_get_their_own_bytes() {
    for (seed, (style, block)) in (0..).zip([
        (HeaderStyle::Simple, 1),
        (HeaderStyle::Structured, 512),
        (HeaderStyle::Extended, 4096),
    ]) {
        let bytes = content(seed, 3_000_001);
        let serving = Serving {
            style,
            block_bytes_min: block,
            block_bytes_max: 128 << 10,
            ..Serving::default()
        };
        let (client, ended) = serve(serving, bytes.clone(), seed);
        let volume = volume_of(client, Role::Source);
        let mut seeded = Seeded::new(seed);
        for _ in 0..20 {
            let mut spans = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let length = 1 + seeded.below((bytes.len() - at).min(300_000));
                let length = match seeded.below(3) {
                    0 => length.next_multiple_of(4096).min(bytes.len() - at),
                    _ => length,
                };
                spans.push((at, length));
                let gap = seeded.below(2) * seeded.below(100_000);
                at = (at + length + gap).next_multiple_of(1 + seeded.below(2) * 4095);
            }
            let mut room: Vec<_> = spans
                .iter()
                .map(|(_, length)| vec![0xee; length + 9])
                .collect();
            let mut runs: Vec<_> = std::iter::zip(&spans, &mut room)
                .map(|(&(at, wanted), into)| RunRead {
                    offset: at as u64,
                    into,
                    wanted,
                })
                .collect();
            volume.read_several(&mut runs).unwrap();
            for ((at, wanted), into) in std::iter::zip(spans, room) {
                assert!(into[..wanted] == bytes[at..at + wanted], "{at}+{wanted}");
            }
        }
        drop(volume);
        ended.join().unwrap();
    }
}

#[test]
fn runs_beyond_the_end_are_short_whatever_is_read_beside_them() {
    let (client, _) = serve(Serving::default(), content(3, 10_000), 3);
    let volume = volume_of(client, Role::Source);
    let mut into = [[0; 8192]; 2];
    let mut runs: Vec<_> = std::iter::zip([0, 4096], &mut into)
        .map(|(offset, into)| RunRead {
            offset,
            into,
            wanted: 8192,
        })
        .collect();
    let failure = volume.read_several(&mut runs).unwrap_err();
    let ReadFailure::Short { offset, got, .. } = failure else {
        panic!("{failure:?}");
    };
    assert_eq!((offset, got), (4096, 10_000 - 4096));
}

#[test]
fn reads_end_where_the_volume_ends() {
    let bytes = content(9, 10_000);
    let (client, _) = serve(Serving::default(), bytes.clone(), 9);
    let volume = volume_of(client, Role::Source);
    let mut into = [0xee; 8192];
    assert_eq!(volume.read_at(&mut into, 8192).unwrap(), 10_000 - 8192);
    assert_eq!(into[..1808], bytes[8192..]);
    assert_eq!(volume.read_at(&mut into, 10_000).unwrap(), 0);
    assert_eq!(volume.read_at(&mut into, u64::MAX).unwrap(), 0);
}

/// Writes and zeroes that begin and end inside of blocks change nothing beside them.
#[test]
fn any_run_is_written_whatever_the_block_and_with_or_without_zeroing() {
    let size = 700_000;
    let without_zeroes = Serving::default().flags & !SEND_WRITE_ZEROES;
    for (seed, (style, block, flags)) in (0..).zip([
        (HeaderStyle::Simple, 1, Serving::default().flags),
        (HeaderStyle::Structured, 512, Serving::default().flags),
        (HeaderStyle::Extended, 4096, without_zeroes),
        (
            HeaderStyle::Structured,
            65_536,
            without_zeroes & !SEND_FLUSH,
        ),
        (HeaderStyle::Extended, 65_536, Serving::default().flags),
    ]) {
        let mut expected = content(seed, size);
        let serving = Serving {
            style,
            flags,
            block_bytes_min: block,
            block_bytes_max: 128 << 10,
            ..Serving::default()
        };
        let (client, ended) = serve(serving, expected.clone(), seed);
        let volume = volume_of(client, Role::Target);
        let mut seeded = Seeded::new(seed);
        for step in 0..60 {
            let offset = seeded.below(size);
            let length = 1 + seeded.below((size - offset).min(200_000));
            if step % 2 == 0 {
                let bytes = seeded.bytes(length, false);
                write_run(&volume, offset as u64, &bytes).unwrap();
                expected[offset..offset + length].copy_from_slice(&bytes);
            } else {
                volume.zero_runs(&[(offset as u64, length as u64)]).unwrap();
                expected[offset..offset + length].fill(0);
            }
        }
        volume.sync().unwrap();
        drop(volume);
        assert!(ended.join().unwrap() == expected, "blocks of {block}");
    }
}

#[test]
fn nothing_is_written_beyond_the_end() {
    let (client, ended) = serve(Serving::default(), vec![1; 1000], 1);
    let volume = volume_of(client, Role::Target);
    let error = write_run(&volume, 990, &[2; 20]).unwrap_err().of_target();
    assert_eq!(error.code(), "TARGET_FULL");
    assert_eq!(
        volume.zero_runs(&[(990, 20)]).unwrap_err().code(),
        "ARGUMENT_INVALID"
    );
    assert_eq!(
        volume.zero_runs(&[(u64::MAX, 2)]).unwrap_err().code(),
        "ARGUMENT_INVALID"
    );
    drop(volume);
    assert_eq!(ended.join().unwrap(), vec![1; 1000]);
}

#[test]
fn a_call_that_waits_for_a_silent_server_can_be_interrupted() {
    let serving = Serving {
        is_silent: true,
        ..Serving::default()
    };
    let (client, ended) = serve(serving, content(5, 1 << 20), 5);
    let volume = volume_of(client, Role::Source);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut into = vec![0; 4096];
                let outcome = crate::transfer::read_source(&volume, 0, &mut into, 4096);
                assert_eq!(outcome.unwrap_err().code(), "CANCELLED");
            });
        }
        thread::sleep(Duration::from_millis(50));
        volume.interrupt();
    });
    assert_eq!(volume.sync().unwrap_err().code(), "CANCELLED");
    drop(volume);
    ended.join().unwrap();
}

/// One thread of several finds the connection gone; the others must not wait for a reply for ever.
#[test]
fn all_that_share_a_lost_connection_are_told() {
    let (client, ended) = serve(Serving::default(), content(4, 1 << 20), 4);
    let end = client.try_clone().unwrap();
    let volume = volume_of(client, Role::Source);
    thread::scope(|scope| {
        for number in 0..6 {
            let volume = &volume;
            scope.spawn(move || {
                let mut into = vec![0; 300_000];
                for _ in 0..1_000_000 {
                    match volume.read_at(&mut into, number * 1000) {
                        Ok(_) => {}
                        Err(error) => {
                            let errno = crate::nbd::failure::errno_of(&error);
                            assert_eq!(errno, Some(libc::ECONNRESET), "{error}");
                            return;
                        }
                    }
                }
                panic!("a lost connection was not noticed");
            });
        }
        thread::sleep(Duration::from_millis(50));
        end.close();
    });
    drop(volume);
    ended.join().unwrap();
}
