//! The service manager, if there is one: what it is told, what it hands over, and how it finds out that nothing goes on here.
//!
//! Everything comes from the environment, as systemd sets it. Without it nobody is told, every address is bound here, and nothing
//! is watched.

mod notify;
mod sockets;
mod watchdog;

pub use notify::Supervisor;
pub use sockets::{Error, NAMES, Service, Sockets};
pub(super) use watchdog::Watchdog;
