//! Options of the handshake and their replies: "Option negotiation" of the spec.

use crate::nbd::failure::{NbdFailure, printable};
use crate::nbd::protocol::*;
use crate::nbd::receiver::Receiver;
use crate::nbd::wire::{Deadline, Wire, send_all};

/// A reply's payload: the longest is a name, with a number before it.
const PAYLOAD_BYTES_MAX: u32 = 2 * STRING_BYTES_MAX as u32;

/// Replies to one option; a list of contexts is the longest.
const REPLIES_MAX: usize = 10_000;

/// How an option ended.
pub enum Outcome {
    /// What the server said before it agreed: type and payload of each reply.
    Agreed(Vec<(u32, Vec<u8>)>),
    Refused {
        kind: u32,
        words: String,
    },
}

/// Asks for one option, and hears all that the server has to say to it.
pub fn ask(
    wire: &dyn Wire,
    receiver: &mut Receiver,
    option: u32,
    data: &[u8],
    deadline: Deadline,
) -> Result<Outcome, NbdFailure> {
    let mut head = OPTION_MAGIC.to_be_bytes().to_vec();
    head.extend(option.to_be_bytes());
    head.extend((data.len() as u32).to_be_bytes());
    send_all(wire, &head, data, deadline.left()?)?;
    let mut said = Vec::new();
    for _ in 0..REPLIES_MAX {
        let (kind, payload) = receive_reply(receiver, option, deadline)?;
        if kind == REP_ACK {
            return Ok(Outcome::Agreed(said));
        }
        if kind & REP_IS_ERROR != 0 {
            let words = printable(&payload);
            return Ok(Outcome::Refused { kind, words });
        }
        said.push((kind, payload));
    }
    Err(NbdFailure::protocol("an option is answered without end"))
}

fn receive_reply(
    receiver: &mut Receiver,
    option: u32,
    deadline: Deadline,
) -> Result<(u32, Vec<u8>), NbdFailure> {
    if receiver.u64(deadline.left()?)? != OPTION_REPLY_MAGIC {
        return Err(NbdFailure::protocol("no reply follows an option"));
    }
    if receiver.u32(deadline.left()?)? != option {
        return Err(NbdFailure::protocol("a reply to another option"));
    }
    let kind = receiver.u32(deadline.left()?)?;
    let length = receiver.u32(deadline.left()?)?;
    if length > PAYLOAD_BYTES_MAX {
        let message = format!("{length} bytes of reply to an option");
        return Err(NbdFailure::protocol(message));
    }
    let mut payload = vec![0; length as usize];
    receiver.fill(&mut payload, deadline.left()?)?;
    Ok((kind, payload))
}

/// A name with its length before it, as options have them.
pub fn push_string(data: &mut Vec<u8>, text: &str) {
    data.extend((text.len() as u32).to_be_bytes());
    data.extend(text.as_bytes());
}
