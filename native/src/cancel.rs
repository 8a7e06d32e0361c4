//! The flag by which a job is told to stop: no thread of it sleeps longer than `POLL` without looking at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{NativeError, Result};

/// How long a cancelled job may go on without noticing; half of what is promised.
pub const POLL: Duration = Duration::from_millis(50);

/// The flag of one job. Once set it stays set.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails with CANCELLED once the job was told to stop.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(NativeError::Cancelled)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_flag_stays_cancelled() {
        let cancel = Cancel::default();
        assert!(cancel.check().is_ok());
        cancel.cancel();
        cancel.cancel();
        assert_eq!(cancel.check().unwrap_err().code(), "CANCELLED");
    }
}
