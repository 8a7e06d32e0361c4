//! Everything that can go wrong in native code, with the codes that TypeScript branches on.
//!
//! A code says whose fault it is (source, repository, target, integrity), so that a full repository is
//! never reported as a failed source. The words for people are in `Display`; nothing parses them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{self, Digest};
use crate::nbd;

pub type Result<T> = std::result::Result<T, NativeError>;

/// What the operating system answered. Shared, so that one failure can be told to every waiting thread.
pub type Cause = Arc<io::Error>;

/// One failure. Cheap to clone, because a job that failed tells each of its callers the same.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NativeError {
    /// A value that the TypeScript side should never have let through.
    ArgumentInvalid { message: String },
    /// The source cannot be opened, or is not something that has extents.
    SourceUnusable {
        path: PathBuf,
        message: String,
        cause: Option<Cause>,
    },
    /// The source was opened and a read of it failed.
    SourceFailed { offset: u64, cause: Cause },
    /// The source ended before the volume does.
    SourceShortRead { offset: u64, wanted: u64, got: u64 },
    /// The target cannot be opened, or cannot hold what is to be written.
    TargetUnusable {
        path: PathBuf,
        message: String,
        cause: Option<Cause>,
    },
    /// The target was to be created and is there already.
    TargetExists { path: PathBuf },
    /// The target is somebody else's at the moment.
    TargetRefused { path: PathBuf, message: String },
    /// Writing to the target, reading it back or flushing it failed.
    TargetFailed { offset: Option<u64>, cause: Cause },
    /// The target has no space left.
    TargetFull { offset: Option<u64>, cause: Cause },
    /// The backend answered: there is no such object.
    ObjectNotFound { path: PathBuf },
    /// An object of this name is there already, and objects are never overwritten.
    ObjectExists { path: PathBuf },
    /// The repository's file system did not do what it was asked.
    BackendFailed {
        path: PathBuf,
        offset: Option<u64>,
        cause: Cause,
    },
    /// The repository's file system has no space left.
    BackendFull { path: PathBuf, cause: Cause },
    /// No stored copy of this chunk gives the bytes its digest names. `offset` is the volume's.
    ChunkCorrupt {
        digest: Digest,
        offset: Option<u64>,
        path: Option<PathBuf>,
        message: String,
    },
    /// The index knows no copy of this chunk. `offset` is the volume's.
    ChunkMissing { digest: Digest, offset: Option<u64> },
    /// A pack's bytes are not what its header, its footer or its name say. `offset` is the pack's.
    PackCorrupt {
        path: Option<PathBuf>,
        offset: Option<u64>,
        message: String,
    },
    /// An index segment's bytes are not what its checksums or its name say. `offset` is the segment's.
    SegmentCorrupt {
        path: PathBuf,
        offset: Option<u64>,
        message: String,
    },
    /// A codec's output could not be decoded to its input, or stored bytes could not be decoded at all.
    CodecFailed { message: String },
    /// The job was told to stop.
    Cancelled,
    /// Our own bug, found before it could do harm.
    Internal { message: String },
}

impl NativeError {
    pub fn argument(message: impl Into<String>) -> Self {
        Self::ArgumentInvalid {
            message: message.into(),
        }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
        }
    }

    pub fn codec(message: impl Into<String>) -> Self {
        Self::CodecFailed {
            message: message.into(),
        }
    }

    /// A failed call on an object of the repository: not found, exists, full and failed are four codes.
    pub fn backend(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => Self::ObjectNotFound { path },
            io::ErrorKind::AlreadyExists => Self::ObjectExists { path },
            _ if is_full(&cause) => Self::BackendFull {
                path,
                cause: Arc::new(cause),
            },
            _ => Self::BackendFailed {
                path,
                offset: None,
                cause: Arc::new(cause),
            },
        }
    }

    /// A failed read inside an object of the repository.
    pub fn backend_read(path: &Path, offset: u64, cause: io::Error) -> Self {
        Self::BackendFailed {
            path: path.to_owned(),
            offset: Some(offset),
            cause: Arc::new(cause),
        }
    }

    /// CANCELLED where a transfer was interrupted.
    pub fn source(offset: u64, cause: io::Error) -> Self {
        if is_interrupted(&cause) {
            return Self::Cancelled;
        }
        Self::SourceFailed {
            offset,
            cause: Arc::new(cause),
        }
    }

    pub fn target(offset: Option<u64>, cause: io::Error) -> Self {
        if is_interrupted(&cause) {
            return Self::Cancelled;
        }
        let cause_is_full = is_full(&cause);
        let cause = Arc::new(cause);
        if cause_is_full {
            Self::TargetFull { offset, cause }
        } else {
            Self::TargetFailed { offset, cause }
        }
    }

    pub fn pack(offset: impl Into<Option<u64>>, message: impl Into<String>) -> Self {
        Self::PackCorrupt {
            path: None,
            offset: offset.into(),
            message: message.into(),
        }
    }

    pub fn segment(
        path: &Path,
        offset: impl Into<Option<u64>>,
        message: impl Into<String>,
    ) -> Self {
        Self::SegmentCorrupt {
            path: path.to_owned(),
            offset: offset.into(),
            message: message.into(),
        }
    }

    /// Names the pack in an error that was made where only its bytes were known.
    pub fn in_pack(self, pack: &Path) -> Self {
        match self {
            Self::PackCorrupt {
                path: None,
                offset,
                message,
            } => Self::PackCorrupt {
                path: Some(pack.to_owned()),
                offset,
                message,
            },
            other => other,
        }
    }

    /// Stable across releases: `src/native/addon.ts` turns it into a `MoverError`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ArgumentInvalid { .. } => "ARGUMENT_INVALID",
            Self::SourceUnusable { .. } => "SOURCE_UNUSABLE",
            Self::SourceFailed { .. } => "SOURCE_FAILED",
            Self::SourceShortRead { .. } => "SOURCE_SHORT_READ",
            Self::TargetUnusable { .. } => "TARGET_UNUSABLE",
            Self::TargetExists { .. } => "TARGET_EXISTS",
            Self::TargetRefused { .. } => "TARGET_REFUSED",
            Self::TargetFailed { .. } => "TARGET_FAILED",
            Self::TargetFull { .. } => "TARGET_FULL",
            Self::ObjectNotFound { .. } => "OBJECT_NOT_FOUND",
            Self::ObjectExists { .. } => "OBJECT_EXISTS",
            Self::BackendFailed { .. } => "BACKEND_FAILED",
            Self::BackendFull { .. } => "BACKEND_FULL",
            Self::ChunkCorrupt { .. } => "CHUNK_CORRUPT",
            Self::ChunkMissing { .. } => "CHUNK_MISSING",
            Self::PackCorrupt { .. } => "PACK_CORRUPT",
            Self::SegmentCorrupt { .. } => "SEGMENT_CORRUPT",
            Self::CodecFailed { .. } => "CODEC_FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Internal { .. } => "INTERNAL",
        }
    }

    /// Where it happened, in bytes of whatever the code speaks of: source, target, volume, pack or segment.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::SourceFailed { offset, .. } | Self::SourceShortRead { offset, .. } => {
                Some(*offset)
            }
            Self::TargetFailed { offset, .. }
            | Self::TargetFull { offset, .. }
            | Self::BackendFailed { offset, .. }
            | Self::ChunkCorrupt { offset, .. }
            | Self::ChunkMissing { offset, .. }
            | Self::PackCorrupt { offset, .. }
            | Self::SegmentCorrupt { offset, .. } => *offset,
            _ => None,
        }
    }

    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::SourceUnusable { path, .. }
            | Self::TargetUnusable { path, .. }
            | Self::TargetExists { path }
            | Self::TargetRefused { path, .. }
            | Self::ObjectNotFound { path }
            | Self::ObjectExists { path }
            | Self::BackendFailed { path, .. }
            | Self::BackendFull { path, .. }
            | Self::SegmentCorrupt { path, .. } => Some(path),
            Self::ChunkCorrupt { path, .. } | Self::PackCorrupt { path, .. } => path.as_deref(),
            _ => None,
        }
    }

    /// The operating system's name for the failure, such as `EIO`, where it or an NBD server had one.
    pub fn os(&self) -> Option<&'static str> {
        self.cause()
            .and_then(|cause| {
                cause
                    .raw_os_error()
                    .or_else(|| nbd::failure::errno_of(cause))
            })
            .and_then(errno_name)
    }

    fn cause(&self) -> Option<&Cause> {
        match self {
            Self::SourceUnusable { cause, .. } | Self::TargetUnusable { cause, .. } => {
                cause.as_ref()
            }
            Self::SourceFailed { cause, .. }
            | Self::TargetFailed { cause, .. }
            | Self::TargetFull { cause, .. }
            | Self::BackendFailed { cause, .. }
            | Self::BackendFull { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArgumentInvalid { message }
            | Self::CodecFailed { message }
            | Self::Internal { message } => f.write_str(message),
            Self::SourceUnusable {
                path,
                message,
                cause,
            } => {
                write!(f, "cannot use source {}: {message}", path.display())?;
                write_cause(f, cause.as_ref())
            }
            Self::SourceFailed { offset, cause } => {
                write!(f, "cannot read the source at {offset}: {cause}")
            }
            Self::SourceShortRead {
                offset,
                wanted,
                got,
            } => {
                write!(f, "the source gave {got} of {wanted} bytes at {offset}")
            }
            Self::TargetUnusable {
                path,
                message,
                cause,
            } => {
                write!(f, "cannot use target {}: {message}", path.display())?;
                write_cause(f, cause.as_ref())
            }
            Self::TargetExists { path } => write!(f, "target {} exists", path.display()),
            Self::TargetRefused { path, message } => {
                write!(f, "target {} {message}", path.display())
            }
            Self::TargetFailed {
                offset: Some(offset),
                cause,
            } => write!(f, "the target failed at {offset}: {cause}"),
            Self::TargetFailed {
                offset: None,
                cause,
            } => write!(f, "the target failed: {cause}"),
            Self::TargetFull { cause, .. } => write!(f, "the target is full: {cause}"),
            Self::ObjectNotFound { path } => write!(f, "no object at {}", path.display()),
            Self::ObjectExists { path } => write!(
                f,
                "{} exists and objects are never overwritten",
                path.display()
            ),
            Self::BackendFailed { path, cause, .. } => {
                write!(f, "the repository failed at {}: {cause}", path.display())
            }
            Self::BackendFull { path, cause } => {
                write!(f, "the repository is full at {}: {cause}", path.display())
            }
            Self::ChunkCorrupt {
                digest, message, ..
            } => {
                write!(f, "chunk {} is damaged: {message}", digest::hex(digest))
            }
            Self::ChunkMissing { digest, .. } => {
                write!(f, "chunk {} is not in the index", digest::hex(digest))
            }
            Self::PackCorrupt {
                path: Some(path),
                message,
                ..
            } => write!(f, "pack {}: {message}", path.display()),
            Self::PackCorrupt {
                path: None,
                message,
                ..
            } => write!(f, "pack: {message}"),
            Self::SegmentCorrupt { path, message, .. } => {
                write!(f, "index segment {}: {message}", path.display())
            }
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for NativeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause()
            .map(|cause| cause.as_ref() as &(dyn std::error::Error + 'static))
    }
}

/// The message is `MOVER:` and a JSON object, since an error of Node-API carries nothing but words.
impl From<NativeError> for napi::Error {
    fn from(error: NativeError) -> Self {
        napi::Error::from_reason(seam_message(&error))
    }
}

fn seam_message(error: &NativeError) -> String {
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
    format!(
        r#"MOVER:{{"code":{},"message":{},"offset":{},"path":{},"os":{}}}"#,
        json_string(error.code()),
        json_string(&error.to_string()),
        or_null(error.offset().map(|offset| offset.to_string())),
        or_null(
            error
                .path()
                .map(|path| json_string(&path.to_string_lossy()))
        ),
        or_null(error.os().map(json_string)),
    )
}

fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", control as u32)),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

fn write_cause(f: &mut fmt::Formatter<'_>, cause: Option<&Cause>) -> fmt::Result {
    match cause {
        Some(cause) => write!(f, ": {cause}"),
        None => Ok(()),
    }
}

/// Whether it was we who ended the transfer, because its job was cancelled.
fn is_interrupted(cause: &io::Error) -> bool {
    nbd::failure::errno_of(cause) == Some(libc::ECANCELED)
}

/// A full quota is a full disk to whoever has to act on it.
fn is_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn errno_name(errno: i32) -> Option<&'static str> {
    macro_rules! name {
        ($($name:ident)*) => {
            match errno {
                $(libc::$name => Some(stringify!($name)),)*
                _ => None,
            }
        };
    }
    name! {
        EACCES EAGAIN EBADF EBUSY ECONNREFUSED ECONNRESET EDQUOT EEXIST EFBIG EHOSTDOWN
        EHOSTUNREACH EINTR EINVAL EIO EISDIR ELOOP EMFILE ENAMETOOLONG ENETUNREACH ENFILE ENODATA
        ENODEV ENOENT ENOKEY ENOLINK ENOMEDIUM ENOMEM ENOSPC ENOTCONN ENOTDIR ENXIO EKEYREJECTED
        EOPNOTSUPP EOVERFLOW EPERM EPIPE EPROTO EPROTONOSUPPORT EREMOTEIO EROFS ESHUTDOWN ESTALE ETIMEDOUT ETXTBSY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os_error(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn a_backend_says_missing_existing_full_and_failed_apart() {
        let path = Path::new("packs/x");
        for (errno, code, os) in [
            (libc::ENOENT, "OBJECT_NOT_FOUND", None),
            (libc::EEXIST, "OBJECT_EXISTS", None),
            (libc::ENOSPC, "BACKEND_FULL", Some("ENOSPC")),
            (libc::EDQUOT, "BACKEND_FULL", Some("EDQUOT")),
            (libc::EIO, "BACKEND_FAILED", Some("EIO")),
            (libc::EACCES, "BACKEND_FAILED", Some("EACCES")),
        ] {
            let error = NativeError::backend(path, os_error(errno));
            assert_eq!(
                (error.code(), error.os(), error.path()),
                (code, os, Some(path))
            );
        }
    }

    #[test]
    fn a_target_says_full_and_failed_apart() {
        assert_eq!(
            NativeError::target(Some(1), os_error(libc::ENOSPC)).code(),
            "TARGET_FULL"
        );
        let error = NativeError::target(Some(1), os_error(libc::EIO));
        assert_eq!((error.code(), error.offset()), ("TARGET_FAILED", Some(1)));
    }

    #[test]
    fn crosses_the_seam_as_json() {
        let error = NativeError::segment(Path::new("a\"\\\u{1}é"), 7, "bad");
        assert_eq!(
            seam_message(&error),
            r#"MOVER:{"code":"SEGMENT_CORRUPT","message":"index segment a\"\\\u0001é: bad","offset":7,"path":"a\"\\\u0001é","os":null}"#
        );
        let error = NativeError::source(4096, os_error(libc::EIO));
        assert_eq!(
            seam_message(&error),
            r#"MOVER:{"code":"SOURCE_FAILED","message":"cannot read the source at 4096: Input/output error (os error 5)","offset":4096,"path":null,"os":"EIO"}"#
        );
    }

    #[test]
    fn a_pack_without_a_name_gets_one_and_keeps_it() {
        let error = NativeError::pack(3, "short")
            .in_pack(Path::new("a"))
            .in_pack(Path::new("b"));
        assert_eq!(
            (error.path(), error.offset()),
            (Some(Path::new("a")), Some(3))
        );
    }
}
