//! A client of the Network Block Device protocol: a volume that another process serves is read and written
//! as a device is.
//!
//! The protocol is that of doc/proto.md of the NetworkBlockDevice project, named "the spec" here, with its
//! structured replies and its extension of 64-bit headers. From the wire upwards: `wire` and `receiver` move
//! bytes, `handshake` agrees on what is spoken, `tls` and `tls_wire` hide it, `frames` are the headers of requests and replies,
//! `connection` lets many threads share one connection, `reply` and the answers put replies together, and
//! `volume` is what the loops see.
//!
//! A server is not trusted: every length is bounded before memory is taken for it, a reply must be whole and
//! must answer what was asked, and a server that is silent for too long has failed.

pub mod connection;
pub mod coverage;
pub mod failure;
pub mod frames;
pub mod handshake;
#[cfg(test)]
mod hostile_server;
#[cfg(test)]
mod hostile_tls;
pub mod option_reply;
pub mod protocol;
pub mod psk_file;
pub mod read_answer;
pub mod receiver;
pub mod reply;
#[cfg(test)]
mod shuffling_server;
pub mod status_answer;
pub mod tls;
pub mod tls_wire;
pub mod volume;
pub mod wire;
