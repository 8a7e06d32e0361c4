//! A bug in one thread ends one job.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{NativeError, Result};

/// Runs `body` and makes of a panic an error, so that a bug ends one job and not the process.
pub fn contain_panic<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_error(panic.as_ref())))
}

fn panic_error(panic: &(dyn Any + Send)) -> NativeError {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    NativeError::internal(format!("a thread panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error() {
        let outcome: Result<()> = contain_panic(|| panic!("slot {} lost", 7));
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), "INTERNAL");
        assert!(error.to_string().contains("slot 7 lost"));
    }
}
