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

/// The store failed while the queue needed it.
pub const QUEUE_STORE_FAILED: &str = "queue.store_failed";
/// A lease ran out while we worked on it.
pub const QUEUE_LEASE_LOST: &str = "queue.lease_lost";
/// What is stored of a message cannot be read; its recipients are set aside.
pub const QUEUE_QUARANTINED: &str = "queue.quarantined";

// domains

/// An unproven management record has none of the keys that are pinned.
pub const DOMAIN_KEYS_CONFLICT: &str = "domain.record.keys_conflict";
/// A management record fails DNSSEC validation.
pub const DOMAIN_BOGUS: &str = "domain.record.bogus";
/// A delivery to an account here was tried.
pub const QUEUE_ATTEMPT_LOCAL: &str = "queue.attempt.local";
/// A delivery by SMTP was tried.
pub const QUEUE_ATTEMPT_SMTP: &str = "queue.attempt.smtp";
/// A delivery by DMTP was tried. Carries an attempt id and no message id.
pub const QUEUE_ATTEMPT_DMTP: &str = "queue.attempt.dmtp";
/// A message was sealed for one recipient.
pub const QUEUE_SEALED: &str = "queue.sealed";
