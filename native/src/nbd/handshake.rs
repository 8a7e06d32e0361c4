//! What client and server agree on before the first request: "Fixed newstyle negotiation" of the spec.

use std::sync::Arc;
use std::time::Duration;

use crate::geometry::VOLUME_BYTES_MAX;
use crate::nbd::failure::{NbdFailure, printable};
use crate::nbd::frames::HeaderStyle;
use crate::nbd::option_reply::{Outcome, ask, push_string};
use crate::nbd::protocol::*;
use crate::nbd::receiver::Receiver;
use crate::nbd::tls::Tls;
use crate::nbd::wire::{Deadline, Wire, send_all};

/// What a client wants of a server.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub export: String,
    /// Metadata contexts, such as `base:allocation`.
    pub contexts: Vec<String>,
}

/// What holds for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    pub style: HeaderStyle,
    pub bytes: u64,
    pub flags: u16,
    /// Offsets and lengths of requests are multiples of it, but at the end of the volume.
    pub block_bytes_min: u32,
    pub block_bytes_max: u32,
    /// Those of the wanted contexts that the server has, and their ids on this connection.
    pub contexts: Vec<(u32, String)>,
}

impl Agreed {
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What an agreement leaves: the wire and its receiving end, which are those inside of TLS where that was
/// wanted.
pub struct Negotiated {
    pub wire: Arc<dyn Wire>,
    pub receiver: Box<Receiver>,
    pub agreed: Agreed,
}

/// Agrees with a server that has just been connected to, in no more time than `limit`.
pub fn negotiate(
    wire: Arc<dyn Wire>,
    tls: Option<&Tls>,
    wanted: &Wanted,
    limit: Duration,
) -> Result<Negotiated, NbdFailure> {
    if wanted.export.len() > STRING_BYTES_MAX {
        let message = format!("an export's name has at most {STRING_BYTES_MAX} bytes");
        return Err(NbdFailure::new(libc::EINVAL, message));
    }
    let deadline = Deadline::after(limit);
    let mut talk = Talk {
        receiver: Box::new(Receiver::new(wire.clone())),
        wire,
        deadline,
    };
    let agreed = match tls {
        None => talk.greet().and_then(|()| talk.agree(wanted)),
        Some(tls) => talk
            .greet()
            .and_then(|()| talk.start_tls(tls))
            .and_then(|()| {
                talk.agree(wanted)
                    .map_err(|failure| tls.explain_end(failure))
            }),
    };
    // However it ran out of time, the whole of it is what took too long.
    let agreed = agreed.map_err(|failure| match failure.errno {
        libc::ETIMEDOUT => deadline.passed(),
        _ => failure,
    })?;
    let Talk { wire, receiver, .. } = talk;
    Ok(Negotiated {
        wire,
        receiver,
        agreed,
    })
}

struct Talk {
    wire: Arc<dyn Wire>,
    receiver: Box<Receiver>,
    deadline: Deadline,
}

/// More dirty bitmaps than anybody keeps of one disk.
const CONTEXTS_LISTED_MAX: usize = 1000;

impl Talk {
    fn greet(&mut self) -> Result<(), NbdFailure> {
        let deadline = self.deadline;
        if self.receiver.u64(deadline.left()?)? != NBD_MAGIC {
            return Err(NbdFailure::protocol("it does not greet as NBD"));
        }
        if self.receiver.u64(deadline.left()?)? != OPTION_MAGIC {
            let message = "the server speaks the oldstyle handshake, which negotiates nothing";
            return Err(NbdFailure::new(libc::EPROTO, message));
        }
        let flags = self.receiver.u16(deadline.left()?)?;
        if flags & FIXED_NEWSTYLE == 0 {
            let message = "the server does not speak the fixed newstyle handshake";
            return Err(NbdFailure::new(libc::EPROTO, message));
        }
        let ours = u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES));
        send_all(&*self.wire, &ours.to_be_bytes(), &[], deadline.left()?)
    }

    fn ask(&mut self, option: u32, data: &[u8]) -> Result<Outcome, NbdFailure> {
        ask(&*self.wire, &mut self.receiver, option, data, self.deadline)
    }

    /// "NBD_OPT_STARTTLS", before anything else is asked, so that nothing said in plain can hold later. From
    /// here on there is no way back: what does not speak TLS is not spoken to.
    fn start_tls(&mut self, tls: &Tls) -> Result<(), NbdFailure> {
        match self.ask(OPT_STARTTLS, &[])? {
            Outcome::Agreed(said) if said.is_empty() => {}
            Outcome::Agreed(_) => {
                return Err(NbdFailure::protocol("more than a yes to TLS"));
            }
            Outcome::Refused { words, .. } => {
                let separator = if words.is_empty() { "" } else { ": " };
                let message = format!("the NBD server offers no TLS{separator}{words}");
                return Err(NbdFailure::new(libc::EPROTONOSUPPORT, message));
            }
        }
        // Whoever stands between could say this, for it to be taken for the server's word inside of TLS.
        if !self.receiver.is_drained() {
            let message = "something is said in plain after a yes to TLS: \
                           somebody between may have put it in";
            return Err(NbdFailure::protocol(message));
        }
        self.wire = Arc::new(tls.shake_hands(self.wire.clone(), self.deadline)?);
        *self.receiver = Receiver::new(self.wire.clone());
        Ok(())
    }

    fn agree(&mut self, wanted: &Wanted) -> Result<Agreed, NbdFailure> {
        let style = self.agree_on_headers()?;
        let contexts = match style {
            HeaderStyle::Simple => Vec::new(),
            _ if wanted.contexts.is_empty() => Vec::new(),
            _ => self.agree_on_contexts(wanted)?,
        };
        self.go(wanted, style, contexts)
    }

    /// The best headers that the server has.
    fn agree_on_headers(&mut self) -> Result<HeaderStyle, NbdFailure> {
        for (option, style) in [
            (OPT_EXTENDED_HEADERS, HeaderStyle::Extended),
            (OPT_STRUCTURED_REPLY, HeaderStyle::Structured),
        ] {
            match self.ask(option, &[])? {
                Outcome::Agreed(_) => return Ok(style),
                // Where TLS is required, an option fails for that and for nothing else.
                Outcome::Refused { kind, words } if kind == REP_ERR_TLS_REQD => {
                    return Err(refused("the headers", kind, &words));
                }
                Outcome::Refused { .. } => {}
            }
        }
        Ok(HeaderStyle::Simple)
    }

    /// "NBD_OPT_SET_META_CONTEXT": the server agrees even where it lacks what was asked for, and only leaves
    /// that out of its list.
    fn agree_on_contexts(&mut self, wanted: &Wanted) -> Result<Vec<(u32, String)>, NbdFailure> {
        let asked_for = self.contexts_to_ask_for(wanted)?;
        let data = context_queries(&wanted.export, &asked_for);
        let said = match self.ask(OPT_SET_META_CONTEXT, &data)? {
            Outcome::Agreed(said) => said,
            Outcome::Refused {
                kind: REP_ERR_UNSUP,
                ..
            } => return Ok(Vec::new()),
            Outcome::Refused { kind, words } => {
                return Err(refused(&name_of(&wanted.export), kind, &words));
            }
        };
        let mut contexts: Vec<(u32, String)> = Vec::new();
        for (kind, payload) in said {
            let Some((id, name)) = context_of(kind, &payload) else {
                return Err(NbdFailure::protocol("a context without a name"));
            };
            let is_new = contexts
                .iter()
                .all(|(known, text)| *known != id && text != name);
            if !is_new || !asked_for.iter().any(|text| text == name) {
                let name = printable(name.as_bytes());
                let message = format!("context {name} was not asked for, or is listed twice");
                return Err(NbdFailure::protocol(message));
            }
            contexts.push((id, name.to_owned()));
        }
        Ok(contexts)
    }

    /// Those that are named, and of what ends in a colon, a namespace, all that the server lists.
    fn contexts_to_ask_for(&mut self, wanted: &Wanted) -> Result<Vec<String>, NbdFailure> {
        let mut names = Vec::new();
        for context in &wanted.contexts {
            if !context.ends_with(':') {
                names.push(context.clone());
                continue;
            }
            let query = context_queries(&wanted.export, std::slice::from_ref(context));
            // Who cannot list has none: it is asked for more than is needed to read.
            let Outcome::Agreed(said) = self.ask(OPT_LIST_META_CONTEXT, &query)? else {
                continue;
            };
            if said.len() > CONTEXTS_LISTED_MAX {
                let message = format!("{} contexts in one namespace", said.len());
                return Err(NbdFailure::protocol(message));
            }
            let listed = said
                .iter()
                .filter_map(|(kind, said)| context_of(*kind, said));
            names.extend(
                listed
                    .filter(|(_, name)| name.starts_with(context.as_str()) && *name != context)
                    .map(|(_, name)| name.to_owned()),
            );
        }
        Ok(names)
    }

    /// "NBD_OPT_GO", which ends the handshake.
    fn go(
        &mut self,
        wanted: &Wanted,
        style: HeaderStyle,
        contexts: Vec<(u32, String)>,
    ) -> Result<Agreed, NbdFailure> {
        let mut data = Vec::new();
        push_string(&mut data, &wanted.export);
        data.extend(1_u16.to_be_bytes());
        data.extend(INFO_BLOCK_SIZE.to_be_bytes());
        let said = match self.ask(OPT_GO, &data)? {
            Outcome::Agreed(said) => said,
            Outcome::Refused { kind, words } => {
                return Err(refused(&name_of(&wanted.export), kind, &words));
            }
        };
        let mut agreed = Agreed {
            style,
            bytes: 0,
            flags: 0,
            block_bytes_min: BLOCK_BYTES_MIN_DEFAULT,
            block_bytes_max: BLOCK_BYTES_MAX_DEFAULT,
            contexts,
        };
        for (kind, payload) in said {
            if kind == REP_INFO {
                take_info(&mut agreed, &payload)?;
            }
        }
        if agreed.flags & HAS_FLAGS == 0 {
            return Err(NbdFailure::protocol("it does not describe its export"));
        }
        Ok(agreed)
    }
}

fn context_queries(export: &str, contexts: &[String]) -> Vec<u8> {
    let mut data = Vec::new();
    push_string(&mut data, export);
    data.extend((contexts.len() as u32).to_be_bytes());
    for context in contexts {
        push_string(&mut data, context);
    }
    data
}

fn context_of(kind: u32, payload: &[u8]) -> Option<(u32, &str)> {
    let (id, name) = payload.split_first_chunk::<4>()?;
    let name = std::str::from_utf8(name).ok()?;
    (kind == REP_META_CONTEXT).then_some((u32::from_be_bytes(*id), name))
}

fn take_info(agreed: &mut Agreed, payload: &[u8]) -> Result<(), NbdFailure> {
    let Some((kind, body)) = payload.split_first_chunk::<2>() else {
        return Err(NbdFailure::protocol("information without a type"));
    };
    match (u16::from_be_bytes(*kind), body) {
        (INFO_EXPORT, &[b0, b1, b2, b3, b4, b5, b6, b7, f0, f1]) => {
            agreed.bytes = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
            agreed.flags = u16::from_be_bytes([f0, f1]);
            if agreed.bytes > VOLUME_BYTES_MAX {
                let message = format!("an export of {} bytes", agreed.bytes);
                return Err(NbdFailure::protocol(message));
            }
        }
        (INFO_BLOCK_SIZE, &[m0, m1, m2, m3, _, _, _, _, x0, x1, x2, x3]) => {
            agreed.block_bytes_min = u32::from_be_bytes([m0, m1, m2, m3]);
            agreed.block_bytes_max = u32::from_be_bytes([x0, x1, x2, x3]);
            check_blocks(agreed)?;
        }
        (INFO_EXPORT | INFO_BLOCK_SIZE, _) => {
            return Err(NbdFailure::protocol("information of the wrong length"));
        }
        // "The client MUST ignore" what it did not ask for.
        _ => {}
    }
    Ok(())
}

/// "Block size constraints".
fn check_blocks(agreed: &Agreed) -> Result<(), NbdFailure> {
    let (min, max) = (agreed.block_bytes_min, agreed.block_bytes_max);
    let is_min = min.is_power_of_two() && min <= BLOCK_BYTES_MAX_OF_MIN;
    if is_min && max >= min && (max == u32::MAX || max.is_multiple_of(min)) {
        return Ok(());
    }
    Err(NbdFailure::protocol(format!(
        "blocks of {min} to {max} bytes"
    )))
}

fn name_of(export: &str) -> String {
    if export.is_empty() {
        return "the default export".to_owned();
    }
    format!("the export '{}'", printable(export.as_bytes()))
}

fn refused(what: &str, kind: u32, words: &str) -> NbdFailure {
    let (errno, why) = match kind {
        REP_ERR_UNSUP => (libc::EOPNOTSUPP, "does not know this way to open"),
        REP_ERR_POLICY => (libc::EACCES, "does not allow"),
        REP_ERR_INVALID => (libc::EINVAL, "finds our request invalid for"),
        REP_ERR_TLS_REQD => (libc::ENOTCONN, "requires TLS for"),
        REP_ERR_UNKNOWN => (libc::ENOENT, "does not have"),
        REP_ERR_SHUTDOWN => (libc::ESHUTDOWN, "is shutting down and does not give"),
        _ => (libc::EPROTO, "refuses"),
    };
    let separator = if words.is_empty() { "" } else { ": " };
    NbdFailure::new(
        errno,
        format!("the NBD server {why} {what}{separator}{words}"),
    )
}
