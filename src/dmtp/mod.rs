//! Pure DMTP machines (`dmtp.md`): bytes and time in, bytes and events out.
//!
//! | Module | What it is |
//! |---|---|
//! | [`name`] | what signets are asked for by: a domain or an address |
//! | [`command`] | commands as values; reading and writing them in both grammars |
//! | [`framing`] | where a counted binary message object ends |
//! | [`reply`] | reply lines, the forms answers take, and reading them back |
//! | [`handed_in`] | extensions of ours: what users who keep their keys hand in |
//! | [`server`] | the server's side of a session |
//! | [`client`] | the client's side of a session |

pub mod client;
pub mod command;
pub mod framing;
pub mod handed_in;
pub(crate) mod line;
pub mod name;
pub mod reply;
pub mod server;
