//! SQL storage: spool, signets and keys, accounts, domains. SQL lives only here.
//!
//! Everything private is encrypted before it reaches the database: envelopes and bodies under a per-message key
//! wrapped by the master key, private DIME keys under the master key itself ([`crate::crypto::at_rest`]). The
//! database alone gives away neither a key nor, for any message, more than one domain.
//!
//! # The order of syncs
//!
//! Nothing that was acknowledged may be lost by a power cut (RFC 5321 §6.1), so this is done in this order and in no other;
//! `tests/integration/durability` watches the system calls of the binary, and cuts the power at every sync.
//!
//! | Before | this is synced |
//! |---|---|
//! | the database of SQLite is made | the data directory, and the master key, each in its folder |
//! | `250` to DATA and to the last BDAT, `250 OK [id]` to an object of DMTP | the pieces of the body, then, by the sync after `COMMIT` (with PostgreSQL: that ends it), the message with all its recipients |
//! | a file gets its name in a Maildir's `new` | its octets, and every folder that was made for it, in the one above |
//! | the transaction that settles what was delivered into a Maildir | `new`, after the rename |
//! | the transaction that settles what a mailbox server or the next host took | nothing: their `250` says that they have it. A kill between the two repeats the delivery (RFC 1047) |
//! | the next delivery | nothing: what leases and settles, and leads to nothing else, is committed within 10 ms, with what is written meanwhile, and synced 100 ms later (`sql/writer/task.rs`), so that no kill undoes what is committed, and a kill or a power cut before repeats the delivery |
//! | anything that follows from an outcome, such as sending the report of it | the transaction that settles, which brought it into the spool; but whatever else is claimed while that sync is under way may find it, so that a power cut within it brings back the attempt, and what followed goes out twice |
//!
//! So a message is in the spool until it is durable elsewhere, and may be in both places, never in none.
//!
//! Who reads sees what is committed, which may be a sync ahead of what is durable. That is harmless where nobody is told that we have
//! something because of what was read: who finds as he writes that we have it already is told so after a sync that comes after that of what
//! he found, or not at all if that one fails.
//!
//! Where a sync has failed, the log of SQLite is written again, checked and synced, and only then are those answered who waited. Should that
//! fail, too, they hear that their mail was not taken, though it may be found in the log later: it is delivered then, and again if
//! it is sent again.
//!
//! Nothing is brought from the log into the database that is not on the disk in the log. Where a sync of the database itself has failed, the
//! log is kept until all that has the database open is ended, and brought over again at the next start; who may do so when is in [`sqlite`].

mod accounts;
mod aliases;
pub mod blocking;
mod blocks;
mod body;
mod care;
mod clock;
mod deposits;
mod desk;
mod dkim;
mod domains;
mod drain;
mod greylist;
mod kept;
mod key_change;
mod key_sets;
mod life_cycle;
mod nodes;
mod passing;
mod place;
pub mod postgres;
mod probe;
mod queue_view;
mod relaying;
mod sealed;
mod signets;
mod spool;
mod sql;
pub mod sqlite;
mod sts;
mod tenure;

pub use accounts::*;
pub use aliases::*;
pub use blocking::Pieces;
pub use blocks::*;
pub use body::*;
pub use care::*;
pub use clock::*;
pub use deposits::*;
pub use desk::{Desk, Seat};
pub use dkim::*;
pub use domains::*;
pub use drain::*;
pub use greylist::*;
pub use key_change::*;
pub use key_sets::*;
pub use life_cycle::*;
pub use nodes::Nodes;
pub use place::{FileWork, Place};
pub use probe::*;
pub use queue_view::*;
pub use relaying::*;
pub use sealed::MasterKey;
pub use signets::*;
pub use spool::*;
pub use sql::{CLAIM_QUERIES, Numbers, SqlStore, WriterStats};
pub use sts::*;
pub use tenure::{Tenure, Term};

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::migrate::MigrateError;

/// Why the store could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed; trying again later may help.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A transaction that carried this and other work did not become durable, as far as anybody here knows: nothing was changed,
    /// unless the answer of a server was lost (see [`postgres`]).
    #[error("the transaction was not committed")]
    NotCommitted(#[source] Arc<sqlx::Error>),
    /// The file cannot be created, locked or protected.
    #[error("the database file cannot be used")]
    File(#[source] std::io::Error),
    /// Another process uses the database, and this has to be done alone.
    #[error("another process uses the database: stop the daemon and its sockets first")]
    InUse,
    /// It is done with the file of SQLite alone.
    #[error("{0}")]
    NotThere(FileWork),
    /// There is nothing to look after.
    #[error(
        "there is no database: {} is not there, or empty: mount its disk, or restore a backup; on a new host, `dimed setup` or \
         `dimed domain add` makes one",
        .0.display()
    )]
    NoDatabase(PathBuf),
    /// There is no installation yet.
    #[error("a restore was not finished: run `dimed store restore` again, or remove {}", .0.display())]
    Unfinished(PathBuf),
    /// The database was made with another master key.
    #[error("the master key does not belong to this database")]
    WrongMasterKey,
    /// What is stored does not open or cannot be parsed.
    #[error("stored data cannot be read: {0}")]
    Unreadable(&'static str),
    /// The lease is no longer ours; nothing was changed.
    #[error("the lease was lost")]
    LeaseLost,
    /// Another object of that id was stored before; nothing was changed.
    #[error("another object of that id was stored before")]
    Conflict,
    /// There is already one of that name.
    #[error("it exists already")]
    Exists,
    /// It is more than may be read at once.
    #[error("it is too long to be read at once")]
    TooLong,
    /// There is none of that name.
    #[error("there is none")]
    Missing,
    /// What was to be replaced has been replaced meanwhile; nothing was changed.
    #[error("it has changed meanwhile")]
    Changed,
    /// Something was erased from the database, and its log, which others are using, may still hold it.
    #[error("the log of the database is in use, and may still hold what was to be erased")]
    LogInUse,
    /// The schema is newer than this program, or a migration failed.
    #[error("{}", schema(.0))]
    Schema(#[source] MigrateError),
    /// The database does not promise durability.
    #[error("the database is not durable: {0}")]
    NotDurable(String),
}

/// What is wrong with a schema, and what to do about one that is newer.
fn schema(error: &MigrateError) -> String {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            "a later version of dimed has changed the schema of the database: install that version again, or restore a backup that \
             was made before the upgrade"
                .to_owned()
        }
        error => format!("the database schema cannot be used: {error}"),
    }
}

/// Everything the daemon keeps.
pub trait Store:
    Spool
    + QueueView
    + Care
    + KeyChanges
    + Drains
    + Nodes
    + Signets
    + KeySets
    + LifeCycle
    + Accounts
    + Aliases
    + KeyDeposits
    + Domains
    + StsPolicies
    + Blocks
    + DkimKeys
    + Greylist
    + Relaying
    + ClockRecords
    + Probe
{
}

impl<T> Store for T where
    T: Spool
        + QueueView
        + Care
        + KeyChanges
        + Drains
        + Nodes
        + Signets
        + KeySets
        + LifeCycle
        + Accounts
        + Aliases
        + KeyDeposits
        + Domains
        + StsPolicies
        + Blocks
        + DkimKeys
        + Greylist
        + Relaying
        + ClockRecords
        + Probe
{
}
