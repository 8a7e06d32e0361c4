//! Words of the command line: operands, and `--name value` or `--name` alone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;

use crate::Outcome;
use crate::chunks::Codec;

const SWITCHES: [&str; 2] = ["no-hash", "prove"];
const CHUNK_BYTES: u64 = 64 << 10;

pub struct Arguments {
    operands: Vec<PathBuf>,
    options: HashMap<String, String>,
}

impl Arguments {
    pub fn parse(words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut words = words;
        let (mut operands, mut options) = (Vec::new(), HashMap::new());
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                None => operands.push(word.into()),
                Some(name) if SWITCHES.contains(&name) => {
                    options.insert(name.to_owned(), String::new());
                }
                Some(name) => {
                    let value = words.next().ok_or(format!("{word} needs a value"))?;
                    options.insert(name.to_owned(), value);
                }
            }
        }
        Ok(Self { operands, options })
    }

    pub fn operand(&self, number: usize) -> Outcome<&PathBuf> {
        Ok(self.operands.get(number).ok_or("a path is missing")?)
    }

    pub fn path(&self, name: &str) -> Outcome<PathBuf> {
        let value = self
            .options
            .get(name)
            .ok_or(format!("--{name} is missing"))?;
        Ok(value.into())
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    pub fn number(&self, name: &str) -> Outcome<Option<u64>> {
        let value = self.options.get(name).map(|value| value.parse::<u64>());
        value
            .transpose()
            .map_err(|_| format!("--{name} takes a number").into())
    }

    pub fn needed(&self, name: &str) -> Outcome<u64> {
        Ok(self.number(name)?.ok_or(format!("--{name} is missing"))?)
    }

    pub fn chunk_bytes(&self) -> Outcome<usize> {
        Ok(self.number("chunk")?.unwrap_or(CHUNK_BYTES) as usize)
    }

    /// One a core unless told otherwise.
    pub fn threads(&self) -> Outcome<usize> {
        let cores = thread::available_parallelism()?.get() as u64;
        Ok(self.number("threads")?.unwrap_or(cores).max(1) as usize)
    }

    pub fn codec(&self) -> Outcome<Codec> {
        let name = self.options.get("codec").map_or("lz4", String::as_str);
        Codec::parse(name).ok_or(format!("no codec is called {name}").into())
    }
}
