//! Pure SMTP machines (RFC 5321): bytes and time in, bytes and events out.
//!
//! [`server::Session`] and [`client::Client`] implement [`Machine`](crate::base::machine::Machine). Both leave half
//! a line with their driver, so its buffer of unread octets must hold at least [`MAX_LINE`] octets.

pub mod auth;
pub mod client;
pub mod command;
pub mod data;
pub mod extension;
mod line;
pub mod reply;
pub mod server;

/// Octets of a command or reply line that we read, with its CRLF.
///
/// RFC 5321 §4.5.3.1.4 asks for 512 and lets extensions add to it; AUTH with an initial response is the longest.
pub const MAX_LINE: usize = 2048;
