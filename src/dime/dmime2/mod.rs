//! D/MIME 2 messages (`dmime2.md`): encrypted by HPKE and ChaCha20-Poly1305, signed as a list of hashes.
//!
//! An object is read from `Read` (and `Seek` for its content) and written to `Write`; memory is one chunk and about 80
//! octets per chunk. [`Outline::read`] checks structure and nothing else. What a message says becomes usable step by
//! step, and each step is a type of its own:
//!
//! | Actor | Steps |
//! |---|---|
//! | author | [`seal::write`] |
//! | origin | [`Submission::open`](origin::Submission::open) → `check` → [`Admissible::sign`](origin::Admissible::sign) |
//! | destination | [`Arrival::open`](destination::Arrival::open) → `check` → [`Authenticated`](destination::Authenticated) |
//! | recipient | [`Reading::as_recipient`](reader::Reading::as_recipient) → `check` → [`Verified`](reader::Verified) → `open` → [`Opened`](content::Opened) |
//! | author of a sent copy | [`Reading::as_author`](reader::Reading::as_author), then as the recipient |
//!
//! After the envelope is open the caller looks up the signets that it names; `check` takes them as
//! [`Known`](signets::Known) facts. A refusal is a [`Refused`], which looks the same for every rule that depends on a
//! secret; its [`Rule`] and [`Site`] are for whoever holds the object. Who can check what: origin and destination see chunks 2, 4 or 5, and 255 (the origin 225 too), and every octet
//! as far as it is hashed under a signature that they verify; only author and recipient open the rest.

mod access;
pub mod content;
mod derivation;
pub mod destination;
pub mod envelope;
pub mod headers;
pub mod inspect;
pub mod layout;
pub mod origin;
pub mod outline;
pub mod padding;
mod plan;
pub mod reader;
pub mod record;
pub mod returned;
pub mod rule;
mod runs;
pub mod seal;
pub mod signets;
mod skeleton;
#[cfg(test)]
mod tests;
pub mod time;

pub use self::access::Candidate;
pub use self::layout::{Actor, ChunkType};
pub use self::outline::{Limits, Outline};
pub use self::rule::{Error, Reason, Refused, Rule, Site};
pub use self::runs::Record;
pub use self::time::{MessageId, Replay, Seen};
