//! Whether this host can do its work: what `/readyz` says while the daemon runs. `dimed doctor` looks at the same with the same
//! words, and at more around it.

mod finding;
mod judged;
mod ready;

pub use finding::{Finding, Weight};
pub use judged::{certificate, clock, files, kept_log, name_servers, no_database, room, store};
pub use ready::{REASONS, unready};
