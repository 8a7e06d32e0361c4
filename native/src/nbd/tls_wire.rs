//! A wire inside of TLS. The session's own bytes are kept in memory on both sides of it, so that no lock is
//! held while anybody waits for the network: one thread receives while another sends.

use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::sync::{Arc, Mutex};

use openssl::ssl::{Error, ErrorCode, SslStream};

use crate::nbd::failure::NbdFailure;
use crate::nbd::tls::words_of;
use crate::nbd::wire::{Wire, is_wait};
use crate::waiting::lock;

/// Encrypted bytes taken from the network at a time: some records of up to 16 KiB.
const ARRIVING_BYTES: usize = 256 << 10;

/// Plain bytes that are encrypted at a time; nothing is received meanwhile.
const SEALED_AT_A_TIME: usize = 64 << 10;

/// What the session reads and writes instead of a socket.
#[derive(Default)]
pub struct Pipes {
    arrived: Vec<u8>,
    taken: usize,
    end: usize,
    outgoing: Vec<u8>,
}

impl Pipes {
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        mem::take(&mut self.outgoing)
    }

    /// Room for what arrives next; whoever takes it is the only one that receives.
    fn take_room(&mut self) -> Vec<u8> {
        let mut room = mem::take(&mut self.arrived);
        (self.taken, self.end) = (0, 0);
        room.resize(ARRIVING_BYTES, 0);
        room
    }

    fn give(&mut self, arrived: Vec<u8>, end: usize) {
        self.arrived = arrived;
        (self.taken, self.end) = (0, end);
    }
}

impl Read for Pipes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = &self.arrived[self.taken..self.end];
        if there.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = there.len().min(into.len());
        into[..bytes].copy_from_slice(&there[..bytes]);
        self.taken += bytes;
        Ok(bytes)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what has arrived; false when nothing came for a while.
pub fn fill_pipes(wire: &dyn Wire, pipes: &mut Pipes) -> Result<bool, NbdFailure> {
    let mut room = pipes.take_room();
    let outcome = wire.receive(&mut room);
    pipes.give(room, *outcome.as_ref().unwrap_or(&0));
    match outcome {
        Ok(0) => Err(NbdFailure::closed()),
        Ok(_) => Ok(true),
        Err(error) if is_wait(&error) => Ok(false),
        Err(error) => Err(NbdFailure::lost(&error)),
    }
}

/// A wire on which both sides have shaken hands.
pub struct TlsWire {
    wire: Arc<dyn Wire>,
    session: Mutex<SslStream<Pipes>>,
    sealed: Mutex<Sealed>,
}

/// What is encrypted and not sent yet.
#[derive(Default)]
struct Sealed {
    bytes: Vec<u8>,
    sent: usize,
    /// Plain bytes in it, which the caller will be told when all of it is sent. Until then it is told to come
    /// again with the same bytes.
    owed: usize,
}

impl TlsWire {
    pub fn new(wire: Arc<dyn Wire>, session: SslStream<Pipes>) -> Self {
        Self {
            wire,
            session: Mutex::new(session),
            sealed: Mutex::new(Sealed::default()),
        }
    }

    /// Encrypts the next bytes, and with them whatever the session has to say by itself.
    fn seal(&self, parts: &[IoSlice<'_>], sealed: &mut Sealed) -> io::Result<()> {
        let mut session = lock(&self.session);
        for part in parts {
            let piece = &part[..part.len().min(SEALED_AT_A_TIME - sealed.owed)];
            if !piece.is_empty() {
                sealed.owed += session.ssl_write(piece).map_err(broken)?;
            }
        }
        sealed.bytes.clear();
        sealed.sent = 0;
        mem::swap(&mut sealed.bytes, &mut session.get_mut().outgoing);
        Ok(())
    }

    fn send_sealed(&self, sealed: &mut Sealed) -> io::Result<usize> {
        while sealed.sent < sealed.bytes.len() {
            match self
                .wire
                .send(&[IoSlice::new(&sealed.bytes[sealed.sent..])])?
            {
                0 => return Ok(0),
                bytes => sealed.sent += bytes,
            }
        }
        Ok(mem::take(&mut sealed.owed))
    }
}

impl Wire for TlsWire {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut session = lock(&self.session);
            match session.ssl_read(into) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Ok(0),
                Err(error) => return Err(broken(error)),
            }
            let mut room = session.get_mut().take_room();
            drop(session);
            let outcome = self.wire.receive(&mut room);
            let arrived = *outcome.as_ref().unwrap_or(&0);
            lock(&self.session).get_mut().give(room, arrived);
            // An end without a farewell is an end all the same: whoever still waits for bytes is told.
            if outcome? == 0 {
                return Ok(0);
            }
        }
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sealed = lock(&self.sealed);
        if sealed.owed == 0 {
            self.seal(parts, &mut sealed)?;
        }
        self.send_sealed(&mut sealed)
    }

    fn close(&self) {
        self.wire.close();
    }

    fn farewell(&self) {
        let mut sealed = lock(&self.sealed);
        let is_said = lock(&self.session).shutdown().is_ok();
        if is_said && sealed.owed == 0 && self.seal(&[], &mut sealed).is_ok() {
            // Whether it hears that or not, it sees the end.
            let _ = self.send_sealed(&mut sealed);
        }
    }
}

/// The end of a session for a reason of TLS: bytes that were changed on the way, or what the other side says.
fn broken(error: Error) -> io::Error {
    let message = format!("TLS failed: {}", words_of(error.ssl_error()));
    NbdFailure::new(libc::ECONNRESET, message).into_io()
}
