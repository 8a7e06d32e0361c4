//! Digests that a job is storing and that no published segment holds yet.
//!
//! Who claims a digest stores it; everybody else calls it known. A claim that could not be kept fails the
//! whole job, so nothing is ever recorded on the word of a chunk that was not written.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::pack::EntryType;
use crate::waiting::lock;

/// A name in the repository: pages and chunks never stand for each other.
pub type Name = (EntryType, Digest);

const SHARDS: usize = 64;

pub struct Claims {
    shards: [Mutex<HashSet<Name>>; SHARDS],
}

impl Claims {
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Whether somebody stores this already.
    pub fn holds(&self, name: &Name) -> bool {
        lock(self.shard(name)).contains(name)
    }

    /// True for the one caller who is to store it.
    pub fn claim(&self, name: Name) -> bool {
        lock(self.shard(&name)).insert(name)
    }

    /// Forgets names that a published segment holds now.
    pub fn forget<'a>(&self, names: impl IntoIterator<Item = &'a Name>) {
        for name in names {
            lock(self.shard(name)).remove(name);
        }
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, (_, digest): &Name) -> &Mutex<HashSet<Name>> {
        &self.shards[usize::from(digest[0]) % SHARDS]
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::digest;

    #[test]
    fn a_name_is_claimed_once_by_all_threads_together() {
        let (claims, won) = (Claims::new(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..500_u32 {
                        let name = (EntryType::Chunk, digest::of_chunk(&number.to_le_bytes()));
                        won.fetch_add(usize::from(claims.claim(name)), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((won.into_inner(), claims.len()), (500, 500));
    }

    #[test]
    fn a_page_and_a_chunk_of_one_digest_are_two_names() {
        let claims = Claims::new();
        let (chunk, page) = ((EntryType::Chunk, [7; 32]), (EntryType::Page, [7; 32]));
        assert!(claims.claim(chunk) && claims.claim(page));
        claims.forget([&chunk]);
        assert!(!claims.holds(&chunk) && claims.holds(&page));
    }
}
