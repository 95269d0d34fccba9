//! PostgreSQL: one database for any number of nodes, when users outgrow one machine.
//!
//! # Durability
//!
//! `COMMIT` returns after the log of the server has been synced, and with `synchronous_standby_names` after a standby has
//! synced it, too. Every transaction that writes asks first whether that still holds (`fsync`, `full_page_writes`,
//! `synchronous_commit`), for the server can be told otherwise while it runs. Who loses a synchronous standby waits; who has none
//! loses with a primary that cannot be brought back what its standbys have not got yet.
//!
//! # A commit whose answer is lost
//!
//! The server may die, or the network, between a commit and its answer: then nobody here knows whether it took place. All jobs in it
//! are answered with [`Error::NotCommitted`], and that is right for each: mail that came in is refused for now (4xx), so whoever
//! sent it keeps it and sends it again, perhaps a second copy (RFC 1047), and by DMTP none, because the first one is
//! remembered. What became of a delivery is recorded again; if it had been recorded, the lease is gone by then
//! ([`Error::LeaseLost`]) and nothing changes, and otherwise it is recorded now, or the lease runs out and the delivery is
//! repeated (RFC 5321 §6.1). What was claimed is given back by the next claim. Nothing acknowledged is lost either way.
//!
//! # Several nodes
//!
//! - **Writing.** Each node has one connection that writes, and groups what waits. A transaction begins with a
//!   lock of the whole store (`pg_advisory_xact_lock`), so that nodes do not wait for each other's rows in circles,
//!   numbers are given in the order of commits, and of two claims the second sees what the first has taken. Distributed engines
//!   without advisory locks cannot be used.
//! - **A node that stands still** in a transaction (SIGSTOP, a host that swaps) has its session ended after [`IDLE_IN_TRANSACTION`],
//!   which undoes the transaction and frees the lock. The server finds out by keepalives that a host is gone.
//! - **Leases** end by the clock of the server, which every node follows ([`FollowedClock`]): what the clocks
//!   of the hosts say does not matter. After a fail-over the clock of the other server counts; the clocks of servers
//!   should differ by less than the sixteenth part of a lease, which is what a node leaves of it unused.
//! - **A node that dies** is found out by the others, who take over its work long before its leases run out; see below. Nobody else's
//!   leases are released at a start, and of bodies that have no message only those are swept that are older than [`ABANDONED`].
//! - **Maildirs that nodes share**: a file has the same name whichever node delivers it, so that who takes over the work of another
//!   finds what that one has delivered already ([`maildir`](crate::delivery::maildir)).
//! - **What nodes say of themselves** is in the table `node_reports`: that they run, and whether they take mail ([`Drains`](super::Drains)).
//! - **Idle nodes** hear of mail that is due by `NOTIFY`, and look by themselves every 30 seconds.
//! - **Fail-over.** Several hosts may be named. The first one that is not in recovery is used. That only one of them takes commits is up
//!   to whoever promotes a standby.
//!
//! # Settings of the server
//!
//! Sessions say what they need, whatever the server, the database or the role has set: so `default_transaction_read_only` does not keep
//! us from writing. A server that is a standby or does not sync is waited for (exit code 75, with which the service manager starts
//! again); a role or database that is not there, or a wrong password, is for the operator (78).
//!
//! # Taking over
//!
//! Each node has a row in `nodes`, under an id that it draws when it starts and with which its leases begin, and counts its beats
//! there, twelve in the time T that it may be silent (`queue.takeover_secs`). With each beat it looks at the rows of the
//! others. Whoever has looked for T, by its own steady clock, without seeing another beat of a node deletes its row and ends its leases, in
//! one transaction under the lock, if its last beat is the same there.
//!
//! A node that is silent may be alive: stopped (SIGSTOP), asleep with its host, or cut off. No message is delivered twice for that:
//!
//! - It cannot settle anything: its leases are not there any more ([`Error::LeaseLost`]). It cannot claim anything: a claim needs its row.
//! - It transmits nothing. Let it have sent off its last beat at t. Nobody has seen that beat before t, so nobody takes over before
//!   t + T. The node lets no attempt go on after t + ¾T, by its own steady clock (`CLOCK_BOOTTIME`, which goes on while a process is
//!   stopped and while the host sleeps): [`Term::during`](super::Term::during) reads it each time before an attempt goes on, which
//!   is whenever it was waiting for anything. So does whoever was stopped for longer, however soon the next host's `354` is
//!   read. ¼T is left for the step that was under way, and for clocks that do not go quite alike. The same clock says when the lease
//!   itself has run out.
//! - It is asked once more ([`Term::is_ours`](super::Term::is_ours)) right before what cannot be taken back: the end of a message by
//!   SMTP or LMTP, the last octets of one by DMTP, and the name of a file in a Maildir. Whoever finds there that it has been stopped for
//!   too long breaks the connection off, and the next host drops what it has.
//! - An attempt that stands still is not given up. If the next beat finds the row, nobody took over until then, nor will for
//!   T from then on, and it goes on: a `250` that has come meanwhile counts. If not, it is dropped, and the node goes on
//!   under another id.
//!
//! What is left: a node that is stopped after the clock was read that last time and before the system call that ends a
//! message or names a file, which are a few microseconds; a message that was ended just before, whose reply was not read or recorded yet;
//! and a virtual machine that is halted together with its
//! clocks. Such a message may arrive twice, as one may whose final reply was on its way when a node died (RFC 5321 §6.1). By DMTP
//! the destination knows it again, and in a Maildir it replaces the first, if both nodes have the same name.
//!
//! **A database that is away** makes nobody look dead. Looks that are more than ¼T apart do not count, so that after a restart or a
//! fail-over everybody has T to be heard of again; meanwhile attempts stand still. The same goes for a node that was
//! stopped itself: it has to look for T before it takes over.
//!
//! # Versions
//!
//! The first node of a new version brings the schema up to date, while nodes of the old one go on and can be started, as long as
//! the migration says that they can live with it (`schema_compatibility`). So far all of them do: every program that can use PostgreSQL
//! can work beside every later one. Nodes from before the table `nodes` (schema 27) are not watched: their leases run out.
//! `tests/integration/cluster/upgrade.rs` replaces nodes of such a version one by one, under load.
//!
//! # What is erased
//!
//! PostgreSQL overwrites nothing: old versions of rows stay in its files until their pages are used again, and in its log and
//! backups. So destroyed keys can be found by who has those, and the master key.

mod address;
mod keeper;
mod server;
mod watch;

pub use address::{Address, Error as AddressError, Host};
use keeper::Keeper;
pub use server::Server;
pub(super) use watch::{Beat, Watch};

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::{PgConnection, query, query_scalar};

use super::sql::{Connection, Database, Opened, SqlStore};
use super::{Error, MasterKey};
use crate::base::followed_clock::FollowedClock;
use crate::base::time::Clock;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Where sqlx notes which of them were applied.
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// Connections that read, at most.
pub(super) const READERS: u32 = 8;

/// How long a session may do nothing in the middle of a transaction.
pub const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// Bodies without a message that are older than this belong to nobody. No session takes that long.
pub const ABANDONED: Duration = Duration::from_secs(24 * 3600);

impl SqlStore {
    /// Opens the database, and brings its schema up to date. `clock` follows `followed`, or stands still in tests.
    ///
    /// Errors: [`Error::Schema`] for a schema that this program cannot live with, [`Error::NotDurable`] if the server does not sync
    /// what is committed, [`Error::WrongMasterKey`] if the database was made with another key.
    pub async fn open_postgres(
        server: Server,
        followed: Option<Arc<FollowedClock>>,
        master: MasterKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let server = Arc::new(server);
        migrate(&mut server.connect_to_migrate().await?).await?;
        let mut writer = server.connect_to_write().await?;
        sweep_abandoned(&mut writer).await?;
        let database = Database::Postgres(Arc::clone(&server));
        let mut connection = Connection::Postgres(writer);
        database.begin(&mut connection).await?;
        let completed = Self::prepare(&mut connection, &master, clock.now(), false).await?;
        super::sql::query("COMMIT").execute(&mut connection).await?;
        let opened = Opened {
            database,
            connection,
            file: None,
            is_doubtful: false,
        };
        let store = Self::start(opened, completed, master, clock)?;
        store.keep(|due| Keeper { server, followed }.run(due));
        Ok(store)
    }
}

/// Brings the schema up to date. Several nodes may try at a time: one does it, the others wait.
async fn migrate(connection: &mut PgConnection) -> Result<(), Error> {
    connection.lock().await.map_err(Error::Schema)?;
    let newest = newest_applied(connection).await.map_err(Error::Schema)?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    let Some(newest) = newest.filter(|newest| known.is_none_or(|known| *newest > known)) else {
        MIGRATIONS
            .run_direct(None, connection, false)
            .await
            .map_err(Error::Schema)?;
        return connection.unlock().await.map_err(Error::Schema);
    };
    let oldest: i64 = query_scalar("SELECT oldest_schema FROM schema_compatibility")
        .fetch_one(&mut *connection)
        .await?;
    match known.is_some_and(|known| known >= oldest) {
        true => connection.unlock().await.map_err(Error::Schema),
        false => Err(Error::Schema(MigrateError::VersionMissing(newest))),
    }
}

async fn newest_applied(connection: &mut PgConnection) -> Result<Option<i64>, MigrateError> {
    connection.ensure_migrations_table(MIGRATIONS_TABLE).await?;
    let applied = connection.list_applied_migrations(MIGRATIONS_TABLE).await?;
    Ok(applied.iter().map(|migration| migration.version).max())
}

async fn sweep_abandoned(connection: &mut PgConnection) -> Result<(), Error> {
    let sql = "WITH abandoned AS (DELETE FROM incoming WHERE begun_at < now() - $1 * interval '1 second' RETURNING message) \
               DELETE FROM pieces WHERE message IN (SELECT message FROM abandoned)";
    query(sql)
        .bind(ABANDONED.as_secs() as f64)
        .execute(connection)
        .await?;
    Ok(())
}
