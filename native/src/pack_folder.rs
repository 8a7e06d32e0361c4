//! The packs of a repository on a file system: is one there, whole, and what are its bytes?

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use crate::device::open_object;
use crate::digest::{self, Digest};
use crate::direct_file::DirectFile;
use crate::error::{NativeError, Result};
use crate::waiting::lock;

/// Open packs that are kept for the next read of the same pack.
const OPEN_PACKS_MAX: usize = 16;

pub struct PackFolder {
    root: PathBuf,
    whole: RwLock<HashMap<Digest, bool>>,
    open: Mutex<VecDeque<(Digest, Arc<DirectFile>)>>,
}

impl PackFolder {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            whole: RwLock::default(),
            open: Mutex::default(),
        }
    }

    /// Where a pack is or would be: two levels of folders by the first bytes of its id.
    pub fn path(&self, id: &Digest) -> PathBuf {
        let name = digest::hex(id);
        self.root.join(&name[0..2]).join(&name[2..4]).join(name)
    }

    /// Whether a pack that the index names is there with the size the index recorded; asked once a pack.
    ///
    /// Only a clear "no" is a no: what cannot be looked at is an error, not a missing pack.
    pub fn is_whole(&self, id: &Digest, bytes: u64) -> Result<bool> {
        let known = self
            .whole
            .read()
            .ok()
            .and_then(|whole| whole.get(id).copied());
        if let Some(is_whole) = known {
            return Ok(is_whole);
        }
        let path = self.path(id);
        let is_whole = match fs::symlink_metadata(&path) {
            Ok(seen) => seen.is_file() && seen.len() == bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(NativeError::backend(&path, error)),
        };
        if let Ok(mut whole) = self.whole.write() {
            whole.insert(*id, is_whole);
        }
        Ok(is_whole)
    }

    /// Opens a pack for direct reading; OBJECT_NOT_FOUND where there is none.
    pub fn open(&self, id: &Digest) -> Result<Arc<DirectFile>> {
        if let Some((_, file)) = lock(&self.open).iter().find(|(open, _)| open == id) {
            return Ok(file.clone());
        }
        let path = self.path(id);
        let file = open_object(&path).map_err(|error| NativeError::backend(&path, error))?;
        let file = Arc::new(DirectFile::new(file));
        let mut open = lock(&self.open);
        if open.len() == OPEN_PACKS_MAX {
            open.pop_front();
        }
        open.push_back((*id, file.clone()));
        Ok(file)
    }
}

/// Whether this is about the bytes of one pack rather than about the repository as a whole: another copy of
/// the chunk may still be good, and a tolerant reader goes on.
pub fn is_damage(error: &NativeError) -> bool {
    match error {
        NativeError::ObjectNotFound { .. } | NativeError::PackCorrupt { .. } => true,
        NativeError::ChunkCorrupt { .. } | NativeError::CodecFailed { .. } => true,
        // The medium's own words for "these bytes are lost".
        NativeError::BackendFailed { cause, .. } => matches!(
            cause.raw_os_error(),
            Some(
                libc::EIO
                    | libc::ENODATA
                    | libc::EILSEQ
                    | libc::EUCLEAN
                    | libc::EREMOTEIO
                    | libc::ELOOP
            )
        ),
        _ => false,
    }
}

/// The id in the name of an object's file; ARGUMENT_INVALID where there is none.
pub fn id_in_name(path: &Path) -> Result<Digest> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    digest::parse_hex(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::Folder;

    #[test]
    fn a_pack_is_whole_only_with_the_size_recorded() {
        let folder = Folder::new();
        let packs = PackFolder::new(folder.path());
        let (there, gone) = ([1; 32], [2; 32]);
        fs::create_dir_all(packs.path(&there).parent().unwrap()).unwrap();
        fs::write(packs.path(&there), [0; 100]).unwrap();
        assert!(packs.is_whole(&there, 100).unwrap());
        assert!(
            !PackFolder::new(folder.path())
                .is_whole(&there, 101)
                .unwrap()
        );
        assert!(!packs.is_whole(&gone, 100).unwrap());
        assert_eq!(packs.open(&gone).err().unwrap().code(), "OBJECT_NOT_FOUND");
        assert!(packs.open(&there).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_looked_at_is_an_error_and_not_a_missing_pack() {
        let folder = Folder::new();
        let file = folder.path().join("packs");
        fs::write(&file, "not a folder").unwrap();
        let error = PackFolder::new(&file).is_whole(&[1; 32], 100).unwrap_err();
        assert_eq!(
            (error.code(), error.os()),
            ("BACKEND_FAILED", Some("ENOTDIR"))
        );
    }

    #[test]
    fn few_packs_are_kept_open() {
        let folder = Folder::new();
        let packs = PackFolder::new(folder.path());
        for number in 0..40_u8 {
            let id = [number; 32];
            fs::create_dir_all(packs.path(&id).parent().unwrap()).unwrap();
            fs::write(packs.path(&id), [number; 10]).unwrap();
            packs.open(&id).unwrap();
        }
        assert_eq!(lock(&packs.open).len(), OPEN_PACKS_MAX);
    }
}
