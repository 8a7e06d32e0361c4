//! Numbers that stand for open things, so that all threads of the process can name the same one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use crate::error::{NativeError, Result};
use crate::waiting::lock;

/// Things of one kind; a number is never given twice in the life of the process.
pub struct Registry<T> {
    what: &'static str,
    open: LazyLock<Mutex<HashMap<u32, Arc<T>>>>,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl<T> Registry<T> {
    /// `what` is the kind's name in errors.
    pub const fn new(what: &'static str) -> Self {
        Self {
            what,
            open: LazyLock::new(Mutex::default),
        }
    }

    pub fn add(&self, thing: T) -> u32 {
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(handle, Arc::new(thing));
        handle
    }

    /// ARGUMENT_INVALID for what is not open.
    pub fn get(&self, handle: u32) -> Result<Arc<T>> {
        let found = lock(&self.open).get(&handle).cloned();
        found.ok_or_else(|| {
            NativeError::argument(format!("no open {} has the number {handle}", self.what))
        })
    }

    /// As `get`, where a negative number stands for none.
    pub fn get_optional(&self, handle: i32) -> Result<Option<Arc<T>>> {
        u32::try_from(handle)
            .ok()
            .map(|handle| self.get(handle))
            .transpose()
    }

    /// Forgets a thing, if it is open; calls under way still hold it.
    pub fn remove(&self, handle: u32) -> Option<Arc<T>> {
        lock(&self.open).remove(&handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_one_thing_until_it_is_removed() {
        static WORDS: Registry<&str> = Registry::new("word");
        let (one, two) = (WORDS.add("one"), WORDS.add("two"));
        assert_eq!(
            (*WORDS.get(one).unwrap(), *WORDS.get(two).unwrap()),
            ("one", "two")
        );
        assert!(WORDS.get_optional(-1).unwrap().is_none());
        assert!(WORDS.remove(one).is_some() && WORDS.remove(one).is_none());
        assert_eq!(
            WORDS.get(one).unwrap_err().to_string(),
            format!("no open word has the number {one}")
        );
    }
}
