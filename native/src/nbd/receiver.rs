//! The receiving end of a connection: headers through a small buffer, payloads straight to where they belong.

use std::sync::Arc;
use std::time::Duration;

use crate::nbd::failure::NbdFailure;
use crate::nbd::wire::{Patience, Wire, is_wait};

/// Room for a header and what follows it, so that small replies cost one call each or less. No more of a
/// payload than this is copied.
const BUFFER_BYTES: usize = 256;

/// Whoever holds it is the only one that receives.
pub struct Receiver {
    wire: Arc<dyn Wire>,
    buffer: [u8; BUFFER_BYTES],
    begin: usize,
    end: usize,
}

impl Receiver {
    pub fn new(wire: Arc<dyn Wire>) -> Self {
        Self {
            wire,
            buffer: [0; BUFFER_BYTES],
            begin: 0,
            end: 0,
        }
    }

    /// Fills `into`, waiting no longer than `waiting` for its first byte.
    pub fn fill(&mut self, into: &mut [u8], waiting: Duration) -> Result<(), NbdFailure> {
        let mut got = self.drain(into);
        if got == into.len() {
            return Ok(());
        }
        let patience = Patience::begin(waiting, into.len());
        while got < into.len() {
            if into.len() - got >= BUFFER_BYTES {
                got += receive(&*self.wire, &mut into[got..])?;
            } else {
                self.begin = 0;
                self.end = receive(&*self.wire, &mut self.buffer)?;
                got += self.drain(&mut into[got..]);
            }
            if got < into.len() {
                patience.check()?;
            }
        }
        Ok(())
    }

    /// Whether nothing has been received that nobody has asked for yet.
    pub fn is_drained(&self) -> bool {
        self.begin == self.end
    }

    pub fn array<const BYTES: usize>(
        &mut self,
        waiting: Duration,
    ) -> Result<[u8; BYTES], NbdFailure> {
        let mut bytes = [0; BYTES];
        self.fill(&mut bytes, waiting)?;
        Ok(bytes)
    }

    pub fn u16(&mut self, waiting: Duration) -> Result<u16, NbdFailure> {
        self.array(waiting).map(u16::from_be_bytes)
    }

    pub fn u32(&mut self, waiting: Duration) -> Result<u32, NbdFailure> {
        self.array(waiting).map(u32::from_be_bytes)
    }

    pub fn u64(&mut self, waiting: Duration) -> Result<u64, NbdFailure> {
        self.array(waiting).map(u64::from_be_bytes)
    }

    /// Takes what the buffer has.
    fn drain(&mut self, into: &mut [u8]) -> usize {
        let taken = into.len().min(self.end - self.begin);
        into[..taken].copy_from_slice(&self.buffer[self.begin..self.begin + taken]);
        self.begin += taken;
        taken
    }
}

/// Bytes received; 0 when nothing came for a while.
fn receive(wire: &dyn Wire, into: &mut [u8]) -> Result<usize, NbdFailure> {
    match wire.receive(into) {
        Ok(0) => Err(NbdFailure::closed()),
        Ok(bytes) => Ok(bytes),
        Err(error) if is_wait(&error) => Ok(0),
        Err(error) => Err(NbdFailure::lost(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const WAITING: Duration = Duration::from_millis(100);

    #[test]
    fn bytes_arrive_in_order_however_they_are_asked_for() {
        let (mut server, client) = UnixStream::pair().unwrap();
        let sent: Vec<u8> = (0..3000_u32).map(|at| at as u8).collect();
        server.write_all(&sent).unwrap();
        let mut receiver = Receiver::new(Arc::new(client));
        let mut got = Vec::new();
        for length in [1, 20, 8, 1000, 300, 255, 256, 257, 16, 887] {
            let mut piece = vec![0; length];
            receiver.fill(&mut piece, WAITING).unwrap();
            got.extend(piece);
        }
        assert_eq!(got, sent);
        drop(server);
        let end = receiver.array::<1>(WAITING).unwrap_err();
        assert_eq!(end, NbdFailure::closed());
    }

    #[test]
    fn a_silent_server_and_one_that_drips_have_failed() {
        let (mut server, client) = UnixStream::pair().unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let mut receiver = Receiver::new(Arc::new(client));
        let silent = receiver.array::<1>(WAITING).unwrap_err();
        assert_eq!(silent.errno, libc::ETIMEDOUT);
        std::thread::spawn(move || {
            while server.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let dripping = receiver.array::<400>(WAITING).unwrap_err();
        assert_eq!(dripping.errno, libc::ETIMEDOUT);
    }
}
