//! The way to a server: a Unix socket or TCP, read by one thread while others write.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::nbd::failure::NbdFailure;

/// A call that moves nothing returns after this long, so that its caller can look at the time.
const POLL: Duration = Duration::from_millis(250);

/// How long a server may take to take a call.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A socket whose queue of calls is full is tried again after this long.
const CALL_AGAIN: Duration = Duration::from_millis(20);

/// A connection on which nothing moves, as that of a change map during its backup, is asked this often
/// whether it is still there: firewalls forget those that say nothing for an hour.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A transfer that has begun is slower than this only if something is wrong.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// A connection as bytes. Receiving and sending do not wait for each other.
pub trait Wire: Send + Sync {
    /// As read(2); `WouldBlock` when nothing came for a while.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;
    /// As writev(2); `WouldBlock` when nothing was taken for a while.
    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Ends both directions, whoever is waiting in them.
    fn close(&self);
    /// Says that nothing more will be sent, where there is a way to say so.
    fn farewell(&self) {}
}

impl Wire for UnixStream {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(parts)
    }

    fn close(&self) {
        // It fails only where the other end has closed it already.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Wire for TcpStream {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(parts)
    }

    fn close(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

impl Endpoint {
    pub fn connect(&self) -> io::Result<Box<dyn Wire>> {
        match self {
            Self::Unix(path) => {
                let stream = connect_unix(path, CONNECT_TIME)?;
                stream.set_read_timeout(Some(POLL))?;
                stream.set_write_timeout(Some(POLL))?;
                Ok(Box::new(stream))
            }
            Self::Tcp { host, port } => {
                let stream = connect_tcp(host, *port)?;
                stream.set_read_timeout(Some(POLL))?;
                stream.set_write_timeout(Some(POLL))?;
                // Requests are small, and each is waited for.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// A server that takes no calls has a full queue, in which connect(2) waits for ever unless it may not wait.
fn connect_unix(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let address = SockAddr::unix(path)?;
    let begun = Instant::now();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    loop {
        match socket.connect(&address) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if begun.elapsed() > limit {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        thread::sleep(CALL_AGAIN);
    }
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket).into())
}

/// Tries every address of the host; the last failure is told.
fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIME) {
            Ok(stream) => {
                let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
                SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// How long a transfer may take: waiting for its first byte, and a slow but steady rest.
pub struct Patience {
    begun: Instant,
    limit: Duration,
}

impl Patience {
    pub fn begin(waiting: Duration, bytes: usize) -> Self {
        let moving = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN);
        Self {
            begun: Instant::now(),
            limit: waiting + moving,
        }
    }

    pub fn check(&self) -> Result<(), NbdFailure> {
        if self.begun.elapsed() <= self.limit {
            return Ok(());
        }
        Err(NbdFailure::silent(self.limit.as_secs()))
    }
}

/// How long all of an agreement may take, however many pieces it comes in.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    begun: Instant,
    limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        Self {
            begun: Instant::now(),
            limit,
        }
    }

    pub fn left(&self) -> Result<Duration, NbdFailure> {
        let left = self.limit.checked_sub(self.begun.elapsed());
        left.ok_or_else(|| self.passed())
    }

    pub fn passed(&self) -> NbdFailure {
        let seconds = self.limit.as_secs();
        let message = format!("the NBD server did not agree within {seconds} s");
        NbdFailure::new(libc::ETIMEDOUT, message)
    }
}

/// Sends head and body whole.
pub fn send_all(
    wire: &dyn Wire,
    head: &[u8],
    body: &[u8],
    waiting: Duration,
) -> Result<(), NbdFailure> {
    let patience = Patience::begin(waiting, body.len());
    let mut parts = [IoSlice::new(head), IoSlice::new(body)];
    let mut left = &mut parts[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match wire.send(left) {
            Ok(0) => return Err(NbdFailure::closed()),
            Ok(sent) => IoSlice::advance_slices(&mut left, sent),
            Err(error) if is_wait(&error) => {}
            Err(error) => return Err(NbdFailure::lost(&error)),
        }
        if !left.is_empty() {
            patience.check()?;
        }
    }
    Ok(())
}

/// Whether a call only has to be made again.
pub fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_connection_that_only_waits_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect_tcp("127.0.0.1", port).unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }

    #[test]
    fn a_socket_that_takes_no_calls_is_waited_for_no_longer_than_said() {
        let folder = crate::object::tests::Folder::new();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let limit = Duration::from_millis(100);
        let mut calls = Vec::new();
        let refused = loop {
            match connect_unix(&path, limit) {
                Ok(call) => calls.push(call),
                Err(error) => break error,
            }
            assert!(calls.len() < 100_000, "its queue has no end");
        };
        assert_eq!(refused.raw_os_error(), Some(libc::ETIMEDOUT));
        // It is only full: with room in the queue the same call is taken.
        let taker = thread::spawn(move || listener.accept().map(|_| listener));
        assert!(connect_unix(&path, Duration::from_secs(10)).is_ok());
        taker.join().unwrap().unwrap();
    }
}
