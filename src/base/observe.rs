//! Names of log events: an interface, listed once. A name never changes once released.
//!
//! Every log line carries `event = observe::…`; each module's part of the list stands under its heading.

/// The daemon is ready to serve.
pub const DAEMON_STARTED: &str = "daemon.started";
/// The daemon has stopped.
pub const DAEMON_STOPPED: &str = "daemon.stopped";

/// `accept` failed, usually for want of file descriptors.
pub const LISTENER_ACCEPT_FAILED: &str = "listener.accept_failed";
/// A connection was dropped because its address has too many.
pub const LISTENER_REFUSED: &str = "listener.refused";
