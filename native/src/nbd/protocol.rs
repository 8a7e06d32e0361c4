//! The numbers of the protocol, in the spec's order; everything on the wire is big-endian.

// "Handshake": greeting and options.
pub const NBD_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Of both the server's and the client's handshake flags.
pub const FIXED_NEWSTYLE: u16 = 1;
pub const NO_ZEROES: u16 = 1 << 1;

// "Option types".
pub const OPT_STARTTLS: u32 = 5;
pub const OPT_GO: u32 = 7;
pub const OPT_STRUCTURED_REPLY: u32 = 8;
pub const OPT_LIST_META_CONTEXT: u32 = 9;
pub const OPT_SET_META_CONTEXT: u32 = 10;
pub const OPT_EXTENDED_HEADERS: u32 = 11;

// "Option reply types".
pub const REP_ACK: u32 = 1;
pub const REP_INFO: u32 = 3;
pub const REP_META_CONTEXT: u32 = 4;
pub const REP_IS_ERROR: u32 = 1 << 31;
pub const REP_ERR_UNSUP: u32 = REP_IS_ERROR + 1;
pub const REP_ERR_POLICY: u32 = REP_IS_ERROR + 2;
pub const REP_ERR_INVALID: u32 = REP_IS_ERROR + 3;
pub const REP_ERR_TLS_REQD: u32 = REP_IS_ERROR + 5;
pub const REP_ERR_UNKNOWN: u32 = REP_IS_ERROR + 6;
pub const REP_ERR_SHUTDOWN: u32 = REP_IS_ERROR + 7;

// "NBD_INFO" of NBD_OPT_GO.
pub const INFO_EXPORT: u16 = 0;
pub const INFO_BLOCK_SIZE: u16 = 3;

// "Transmission flags".
pub const HAS_FLAGS: u16 = 1;
pub const READ_ONLY: u16 = 1 << 1;
pub const SEND_FLUSH: u16 = 1 << 2;
pub const SEND_FUA: u16 = 1 << 3;
pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
pub const CAN_MULTI_CONN: u16 = 1 << 8;

// "Request types" and their flags.
pub const CMD_READ: u16 = 0;
pub const CMD_WRITE: u16 = 1;
pub const CMD_DISC: u16 = 2;
pub const CMD_FLUSH: u16 = 3;
pub const CMD_WRITE_ZEROES: u16 = 6;
pub const CMD_BLOCK_STATUS: u16 = 7;
pub const CMD_FLAG_FUA: u16 = 1;
/// With extended headers, and only then: the length counts the bytes that follow.
pub const CMD_FLAG_PAYLOAD_LEN: u16 = 1 << 5;

pub const REQUEST_MAGIC: u32 = 0x2560_9513;
pub const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;

// "Simple reply message", "Structured reply chunk message", "Extended reply chunk message".
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
pub const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

// "Structured reply flags" and "types".
pub const REPLY_FLAG_DONE: u16 = 1;
pub const REPLY_NONE: u16 = 0;
pub const REPLY_OFFSET_DATA: u16 = 1;
pub const REPLY_OFFSET_HOLE: u16 = 2;
pub const REPLY_BLOCK_STATUS: u16 = 5;
pub const REPLY_BLOCK_STATUS_EXT: u16 = 6;
pub const REPLY_IS_ERROR: u16 = 1 << 15;
pub const REPLY_ERROR_OFFSET: u16 = REPLY_IS_ERROR + 2;

/// "String values": no name is longer.
pub const STRING_BYTES_MAX: usize = 4096;

// "Block size constraints".
pub const BLOCK_BYTES_MAX_OF_MIN: u32 = 64 << 10;
/// What a server that does not speak of its block sizes may be expected to take.
pub const BLOCK_BYTES_MIN_DEFAULT: u32 = 512;
pub const BLOCK_BYTES_MAX_DEFAULT: u32 = 32 << 20;
