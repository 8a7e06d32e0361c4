//! What disk and cores can do, measured without mover and without its code.
//!
//! `limits WHAT ...` prints one JSON line with the bytes moved and the seconds that moving them took; making
//! data and loading it into memory is not in the seconds. Emptying the page cache is the caller's business.

mod arguments;
mod buffer;
mod chunks;
mod compute;
mod copy;
mod decode;
mod extents;
mod read;
mod scattered;
mod write;

use std::process::ExitCode;

use arguments::Arguments;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What was moved, and how long it took.
pub struct Measured {
    pub bytes: u64,
    pub stored: u64,
    pub seconds: f64,
}

const USAGE: &str = "usage:
  limits read FILE [--threads N] [--block BYTES]
  limits write FOLDER --bytes N
  limits copy FILE FOLDER --write-bytes N [--read-bytes N]
  limits compute FILE --codec none|lz4|zstd:LEVEL [--chunk BYTES] [--threads N] [--no-hash] [--prove]
  limits decode FILE --codec lz4|zstd:LEVEL [--chunk BYTES] [--threads N]
  limits scattered FILE [FOLDER] --bitmap FILE --granularity BYTES [--codec ...] [--threads N] [--write-bytes N]";

fn main() -> ExitCode {
    match run() {
        Ok((
            what,
            Measured {
                bytes,
                stored,
                seconds,
            },
        )) => {
            println!(
                r#"{{"what":"{what}","bytes":{bytes},"stored":{stored},"seconds":{seconds:.6}}}"#
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("limits: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<(String, Measured)> {
    let mut words = std::env::args().skip(1);
    let what = words.next().ok_or("nothing to measure was named")?;
    let arguments = Arguments::parse(words)?;
    let measured = match what.as_str() {
        "read" => read::measure(&arguments),
        "write" => write::measure(&arguments),
        "copy" => copy::measure(&arguments),
        "compute" => compute::measure(&arguments),
        "decode" => decode::measure(&arguments),
        "scattered" => scattered::measure(&arguments),
        _ => Err(format!("nothing is called {what}").into()),
    }?;
    Ok((what, measured))
}
