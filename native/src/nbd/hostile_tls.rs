//! Who sits between client and server, and lies: in plain while TLS is agreed on, and in what is encrypted.
//! Each conversation must end in an error or in the right bytes, and nothing of it may be said in plain.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVersion};

use crate::device::Role;
use crate::nbd::hostile_server::{Script, TIME_MAX, ask_everything, wanted};
use crate::nbd::protocol::*;
use crate::nbd::tls::{Tls, TlsOptions};
use crate::nbd::volume::NbdVolume;
use crate::nbd::wire::{Wire, is_wait};
use crate::object::tests::Folder;
use crate::seeded::Seeded;
use crate::waiting::lock;

const PLAIN_CONVERSATIONS: u64 = 20_000;
const SEALED_CONVERSATIONS: u64 = 2_000;

const GREETING: &[u8; 18] = b"NBDMAGICIHAVEOPT\0\x03";
const USER: &str = "mover";
const KEY: [u8; 16] = *b"0123456789abcdef";

fn client_tls(folder: &Folder) -> Tls {
    let file = folder.path().join("keys.psk");
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&file, format!("{USER}:{hex}\n")).unwrap();
    Tls::new(TlsOptions::Psk { file, user: None }).unwrap()
}

fn reply_to_starttls(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(OPT_STARTTLS.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend((body.len() as u32).to_be_bytes());
    reply.extend(body);
    reply
}

/// What a server may say in plain that wants to be taken for one with TLS, or for one without.
fn plain_words(seed: u64) -> Vec<u8> {
    let mut seeded = Seeded::new(seed);
    let mut words = GREETING.to_vec();
    let kinds = [
        REP_ACK,
        REP_ERR_UNSUP,
        REP_ERR_POLICY,
        REP_INFO,
        REP_ERR_TLS_REQD,
    ];
    words.extend(match seeded.below(8) {
        kind @ 0..5 => reply_to_starttls(kinds[kind], &seeded.bytes(seed as usize % 7, false)),
        _ => reply_to_starttls(REP_ACK, &[]),
    });
    match seeded.below(4) {
        // The whole of an honest conversation, in plain.
        0 => words.extend(&Script::write(seed, Vec::new()).bytes[GREETING.len()..]),
        1 => words.extend(reply_to_starttls(REP_ACK, &[])),
        2 => {
            // Something like a record of TLS.
            let length = seeded.below(300);
            words.extend([20 + seeded.below(5) as u8, 3, 3]);
            words.extend((length as u16).to_be_bytes());
            words.extend(seeded.bytes(length, false));
        }
        _ => {}
    }
    if seeded.below(3) == 0 {
        let at = seeded.below(words.len());
        words[at] ^= 1 << seeded.below(8);
    }
    words
}

#[test]
fn nothing_that_is_said_in_plain_is_believed_and_nothing_is_told_in_plain() {
    let folder = Folder::new();
    let tls = client_tls(&folder);
    for seed in 0..PLAIN_CONVERSATIONS {
        let (mut server, client) = UnixStream::pair().unwrap();
        server.write_all(&plain_words(seed)).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        let begun = Instant::now();
        let outcome = NbdVolume::on_wire_with(Arc::new(client), &tls, wanted(), Role::Target);
        assert!(outcome.is_err(), "seed {seed}: it was believed");
        assert!(begun.elapsed() < TIME_MAX, "seed {seed}: it hung");
        let mut heard = Vec::new();
        // The client may have gone without reading all.
        let _ = server.read_to_end(&mut heard);
        // Flags, the one option, and then records of TLS and nothing else.
        let option = [
            &OPTION_MAGIC.to_be_bytes()[..],
            &OPT_STARTTLS.to_be_bytes(),
            &[0; 4],
        ];
        let said = heard.get(4..).unwrap_or_default();
        let asked = option.concat();
        assert!(
            asked.starts_with(&said[..said.len().min(asked.len())]),
            "seed {seed}"
        );
        let after = said.get(asked.len()..).unwrap_or_default();
        assert!(
            after.is_empty() || (20..=23).contains(&after[0]),
            "seed {seed}"
        );
    }
}

/// Changes the bytes of a server on their way.
struct Tamper {
    stream: UnixStream,
    state: Mutex<Tampering>,
}

struct Tampering {
    seeded: Seeded,
    received: u64,
    /// The byte that is changed, counted from the first one.
    at: u64,
    has_changed: bool,
    /// Received before and kept back, so that it can be said again.
    last: Vec<u8>,
}

impl Wire for Tamper {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        let got = match self.stream.receive(into) {
            // What was left out is waited for by both sides.
            Err(error) if state.has_changed && is_wait(&error) => return Ok(0),
            outcome => outcome?,
        };
        let here = state.received..state.received + got as u64;
        state.received = here.end;
        if !here.contains(&state.at) {
            state.last = into[..got].to_vec();
            return Ok(got);
        }
        state.has_changed = true;
        let at = (state.at - here.start) as usize;
        match state.seeded.below(3) {
            0 => into[at] ^= 1 << state.seeded.below(8),
            // It is left out.
            1 if got > 1 => {
                into.copy_within(at + 1..got, at);
                return Ok(got - 1);
            }
            // What came before is said again, in the place of this.
            _ if !state.last.is_empty() && state.last[..] != into[..got] => {
                let again = state.last.len().min(got);
                into[..again].copy_from_slice(&state.last[..again]);
                return Ok(again);
            }
            _ => into[at] ^= 1,
        }
        Ok(got)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.send(parts)
    }

    fn close(&self) {
        self.stream.close();
    }
}

/// A server with TLS that answers by its script and hears nothing.
fn serve_in_tls(mut stream: UnixStream, script: Vec<u8>, version: SslVersion) -> JoinHandle<()> {
    thread::spawn(move || {
        stream.write_all(GREETING).unwrap();
        let mut asked = [0; 4 + 16];
        if stream.read_exact(&mut asked).is_err() {
            return;
        }
        stream.write_all(&reply_to_starttls(REP_ACK, &[])).unwrap();
        let mut builder = SslContext::builder(SslMethod::tls_server()).unwrap();
        builder.set_min_proto_version(Some(version)).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        builder.set_cipher_list("PSK").unwrap();
        builder.set_psk_server_callback(|_, user, key| {
            assert_eq!(user, Some(USER.as_bytes()));
            key[..KEY.len()].copy_from_slice(&KEY);
            Ok(KEY.len())
        });
        let ssl = Ssl::new(&builder.build()).unwrap();
        let mut session = SslStream::new(ssl, stream).unwrap();
        // A client that notices a change goes.
        if session.accept().is_err() || session.write_all(&script).is_err() {
            return;
        }
        let _ = session.read_to_end(&mut Vec::new());
    })
}

#[test]
fn what_is_changed_inside_of_tls_is_noticed() {
    let folder = Folder::new();
    let tls = client_tls(&folder);
    let (mut answered, mut changed) = (0, 0);
    for seed in 0..SEALED_CONVERSATIONS {
        let script = Script::write(seed, Vec::new());
        let (server, stream) = UnixStream::pair().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let version = match seed % 2 {
            0 => SslVersion::TLS1_2,
            _ => SslVersion::TLS1_3,
        };
        let inside = script.bytes[GREETING.len()..].to_vec();
        let mut seeded = Seeded::new(seed ^ 0x7a);
        // The greeting and the yes come before, and every fifth conversation is left as it is.
        let first = GREETING.len() + reply_to_starttls(REP_ACK, &[]).len();
        let at = match seed % 5 {
            0 => u64::MAX,
            _ => (first + seeded.below(inside.len() + 600)) as u64,
        };
        let serving = serve_in_tls(server, inside, version);
        let state = Mutex::new(Tampering {
            seeded,
            received: 0,
            at,
            has_changed: false,
            last: Vec::new(),
        });
        let wire = Arc::new(Tamper { stream, state });
        let begun = Instant::now();
        let is_answered = NbdVolume::on_wire_with(wire.clone(), &tls, wanted(), Role::Target)
            .is_ok_and(|volume| ask_everything(&volume, &script));
        assert!(begun.elapsed() < TIME_MAX, "seed {seed}: it hung");
        let has_changed = lock(&wire.state).has_changed;
        wire.close();
        serving.join().unwrap();
        assert!(
            is_answered || has_changed,
            "seed {seed}: honesty was refused"
        );
        assert!(
            !(is_answered && has_changed),
            "seed {seed}: a change was not noticed"
        );
        answered += u64::from(is_answered);
        changed += u64::from(has_changed);
    }
    assert!(
        answered >= SEALED_CONVERSATIONS / 5,
        "{answered} were answered"
    );
    assert!(
        changed >= SEALED_CONVERSATIONS / 2,
        "{changed} were changed"
    );
}
