//! How a server, or the way to it, fails: as an `io::Error` that keeps its errno and the server's words.

use std::error::Error;
use std::fmt;
use std::io;

/// A failure that can be told to every thread that waits for the same connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NbdFailure {
    pub errno: i32,
    pub message: String,
}

/// What is repeated of a server's words.
const WORDS_MAX: usize = 200;

impl NbdFailure {
    pub fn new(errno: i32, message: impl Into<String>) -> Self {
        Self {
            errno,
            message: message.into(),
        }
    }

    /// The server broke the protocol: what else it says means nothing.
    pub fn protocol(message: impl fmt::Display) -> Self {
        Self::new(
            libc::EPROTO,
            format!("the NBD server broke the protocol: {message}"),
        )
    }

    /// The server closed the connection.
    pub fn closed() -> Self {
        Self::new(libc::ECONNRESET, "the NBD server closed the connection")
    }

    /// The server did not answer, or did not take what was sent.
    pub fn silent(seconds: u64) -> Self {
        let message = format!("the NBD server was silent for {seconds} s");
        Self::new(libc::ETIMEDOUT, message)
    }

    /// The connection broke: reset, whether it was heard of or run into. EPIPE is what a reader of our own
    /// output leaves, who has what he wanted; a server that is gone must not pass for one.
    pub fn lost(error: &io::Error) -> Self {
        if let Some(failure) = of_io(error) {
            return failure.clone();
        }
        let errno = match error.raw_os_error() {
            None | Some(libc::EPIPE) => libc::ECONNRESET,
            Some(errno) => errno,
        };
        Self::new(
            errno,
            format!("the connection to the NBD server broke: {error}"),
        )
    }

    /// The server answered a request with an error: "Error values" of the spec.
    pub fn refusal(error: u32, words: &[u8]) -> Self {
        let (errno, name) = match error {
            1 => (libc::EPERM, "EPERM"),
            5 => (libc::EIO, "EIO"),
            12 => (libc::ENOMEM, "ENOMEM"),
            22 => (libc::EINVAL, "EINVAL"),
            28 => (libc::ENOSPC, "ENOSPC"),
            75 => (libc::EOVERFLOW, "EOVERFLOW"),
            95 => (libc::EOPNOTSUPP, "ENOTSUP"),
            108 => (libc::ESHUTDOWN, "ESHUTDOWN"),
            // "A client MUST treat an unknown error as EINVAL."
            _ => (libc::EINVAL, "an unknown error"),
        };
        let words = printable(words);
        let separator = if words.is_empty() { "" } else { ": " };
        Self::new(
            errno,
            format!("the NBD server answered {name}{separator}{words}"),
        )
    }

    pub fn into_io(self) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(self.errno).kind(), self)
    }
}

impl fmt::Display for NbdFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for NbdFailure {}

/// The errno of an error that came from a server; none of any other.
pub fn errno_of(error: &io::Error) -> Option<i32> {
    of_io(error).map(|failure| failure.errno)
}

fn of_io(error: &io::Error) -> Option<&NbdFailure> {
    error.get_ref()?.downcast_ref()
}

/// What the server said, without what could confuse a terminal.
pub fn printable(words: &[u8]) -> String {
    String::from_utf8_lossy(words)
        .chars()
        .take(WORDS_MAX)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_error_keeps_its_errno_and_its_words() {
        let error = NbdFailure::refusal(28, b"no \x1b[2Jroom").into_io();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(errno_of(&error), Some(libc::ENOSPC));
        assert_eq!(
            error.to_string(),
            "the NBD server answered ENOSPC: no ?[2Jroom"
        );
        assert_eq!(NbdFailure::refusal(77, b"").errno, libc::EINVAL);
        assert_eq!(errno_of(&io::Error::from_raw_os_error(libc::EIO)), None);
    }

    #[test]
    fn a_server_that_is_gone_is_no_reader_of_ours_that_has_enough() {
        for errno in [libc::EPIPE, libc::ECONNRESET] {
            let lost = NbdFailure::lost(&io::Error::from_raw_os_error(errno));
            assert_eq!(lost.errno, libc::ECONNRESET);
        }
        let lost = NbdFailure::lost(&io::Error::from_raw_os_error(libc::EHOSTUNREACH));
        assert_eq!(lost.errno, libc::EHOSTUNREACH);
    }
}
