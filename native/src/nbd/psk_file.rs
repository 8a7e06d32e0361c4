//! Files of pre-shared keys as GnuTLS' `psktool` writes them: a line `USER:KEY` each, the key in hex.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No file of keys is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What TLS libraries take for a name and for a key.
const USER_BYTES_MAX: usize = 127;
const KEY_BYTES_MAX: usize = 256;

/// A name and the key that goes with it. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PskKey {
    pub user: String,
    pub key: Vec<u8>,
}

/// The key of `user`; without one, the only key that there is. The error says what is wrong with the file,
/// and nothing of what it holds but names.
pub fn read_psk_file(path: &Path, user: Option<&str>) -> Result<PskKey, String> {
    let text = read_bounded(path).map_err(|error| format!("cannot be read: {error}"))?;
    choose(&text, user)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(text)
}

fn choose(text: &str, user: Option<&str>) -> Result<PskKey, String> {
    let mut chosen = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        // A name may have colons, a key has none.
        let Some((name, hex)) = line.rsplit_once(':') else {
            return Err(format!("has no USER:KEY in line {}", at + 1));
        };
        match (user, &chosen) {
            (Some(user), _) if user != name => continue,
            (None, Some(_)) => {
                return Err("has several users: name one, USER@ before the host".to_owned());
            }
            (Some(_), Some(_)) => return Err(format!("has the user {name} twice")),
            (_, None) => {}
        }
        if name.is_empty() || name.len() > USER_BYTES_MAX || name.contains('\0') {
            return Err(format!("has a user's name that is none in line {}", at + 1));
        }
        let key = from_hex(hex);
        let Some(key) = key.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())) else {
            return Err(format!("has a key that is none in line {}", at + 1));
        };
        let user = name.to_owned();
        chosen = Some(PskKey { user, key });
    }
    chosen.ok_or_else(|| match user {
        Some(user) => format!("has no key of the user {user}"),
        None => "has no key".to_owned(),
    })
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_the_user_or_the_only_one() {
        let two = "mover:00ff\n\nother:A1b2\n";
        for (text, user, expected) in [
            (two, Some("mover"), Ok(("mover", vec![0, 255]))),
            (two, Some("other"), Ok(("other", vec![0xa1, 0xb2]))),
            ("a:b:01", None, Ok(("a:b", vec![1]))),
            (two, None, Err("several users")),
            (two, Some("third"), Err("no key of the user third")),
            ("", None, Err("no key")),
            ("mover", None, Err("no USER:KEY in line 1")),
            ("mover:0", None, Err("key that is none in line 1")),
            ("mover:", None, Err("key that is none in line 1")),
            ("\nmover:0g", None, Err("key that is none in line 2")),
            (":00", None, Err("name that is none")),
            ("a:00\na:01", Some("a"), Err("twice")),
        ] {
            match (choose(text, user), expected) {
                (Ok(found), Ok((user, key))) => {
                    assert_eq!((&found.user[..], found.key), (user, key));
                }
                (Err(found), Err(words)) => assert!(found.contains(words), "{found}"),
                (found, _) => panic!("{text:?}: {:?}", found.map(|found| found.user)),
            }
        }
    }

    #[test]
    fn no_error_tells_a_key() {
        for text in [
            "mover:0123456g",
            "mover:01234567\nmover:01234567",
            "01234567",
        ] {
            let error = choose(text, Some("mover")).map(|found| found.user);
            assert!(!error.unwrap_err().contains("0123456"), "{text}");
        }
    }
}
