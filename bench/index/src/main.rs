//! `index-bench make REPOSITORY ID ENTRIES` adds an index of made-up entries to a repository, and sparse files in
//! place of the packs that they name. `index-bench ask REPOSITORY ID ENTRIES LOOKUPS` opens the index and asks it,
//! on one thread; it prints one JSON line. ID is the repository's, in hex.

mod ask;
mod made_up;
mod make;

use std::path::PathBuf;
use std::process::ExitCode;

use mover_native::digest::parse_hex;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub struct Repository {
    pub root: PathBuf,
    pub id: [u8; 16],
    pub entries: u64,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("index-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| {
        words
            .get(at)
            .ok_or("words are missing: see the head of main.rs")
    };
    // An id is half as long as a digest.
    let id = parse_hex(&format!("{0}{0}", word(2)?)).map_err(|error| error.to_string())?;
    let repository = Repository {
        root: word(1)?.into(),
        id: id[..16].try_into()?,
        entries: word(3)?.parse()?,
    };
    match word(0)?.as_str() {
        "make" => make::make(&repository),
        "ask" => ask::ask(&repository, word(4)?.parse()?),
        other => Err(format!("nothing is called {other}").into()),
    }
}
