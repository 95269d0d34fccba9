//! Connections to the server.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection, query_as, query_scalar};
use tokio::time::timeout;

use super::IDLE_IN_TRANSACTION;
use super::address::{Address, Host};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::store::Error;

/// How long a host may take to let us in.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a statement waits for others, and how long it may take in all.
const LOCK_PATIENCE: &str = "20s";
const STATEMENT_PATIENCE: &str = "30s";

/// Statements that a connection remembers: more than there are.
const STATEMENTS: usize = 400;

/// How a database of PostgreSQL is reached.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// The password of the role, if the server asks for one.
    pub password: Option<Secret<String>>,
    /// Whom certificates of servers may come from (PEM), beside the authorities that browsers trust.
    pub root_certificates: Option<PathBuf>,
    /// Which of the hosts took writes when it was last asked.
    found_at: AtomicUsize,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
    Migrate,
}

impl Server {
    /// At that address.
    pub fn new(
        address: Address,
        password: Option<Secret<String>>,
        root_certificates: Option<PathBuf>,
    ) -> Self {
        Self {
            address,
            password,
            root_certificates,
            found_at: AtomicUsize::new(0),
        }
    }

    /// The time by the clock of the server.
    pub async fn time(&self) -> Result<Timestamp, Error> {
        let mut connection = self.connect(Purpose::Read).await?;
        Ok(timeout(PATIENCE, time(&mut connection))
            .await
            .map_err(|_| silent())??)
    }

    /// Connects to write: [`Error::NotDurable`] if the server does not sync what is committed.
    pub(in crate::store) async fn connect_to_write(&self) -> Result<PgConnection, Error> {
        let mut connection = self.connect(Purpose::Write).await?;
        demand_durability(&mut connection).await?;
        Ok(connection)
    }

    /// Connects to read.
    pub(in crate::store) async fn connect_to_read(&self) -> Result<PgConnection, sqlx::Error> {
        self.connect(Purpose::Read).await
    }

    /// Connects without a bound to how long statements may take.
    pub(super) async fn connect_to_migrate(&self) -> Result<PgConnection, Error> {
        let mut connection = self.connect(Purpose::Migrate).await?;
        demand_durability(&mut connection).await?;
        Ok(connection)
    }

    /// Where to listen: at the first host that takes writes.
    pub(super) async fn place_to_listen(&self) -> Result<PgConnectOptions, sqlx::Error> {
        self.first_host(Purpose::Read).await.map(|(options, _)| options)
    }

    async fn connect(&self, purpose: Purpose) -> Result<PgConnection, sqlx::Error> {
        self.first_host(purpose).await.map(|(_, connection)| connection)
    }

    /// The host that took writes when it was last asked, or else another that does; else why the last one does not.
    async fn first_host(&self, purpose: Purpose) -> Result<(PgConnectOptions, PgConnection), sqlx::Error> {
        let mut last = silent();
        let hosts = &self.address.hosts;
        let first = self.found_at.load(Ordering::Relaxed);
        for place in (first..hosts.len()).chain(0..first) {
            let options = self.options(&hosts[place], purpose);
            match timeout(PATIENCE, enter(&options)).await {
                Ok(Ok(connection)) => {
                    self.found_at.store(place, Ordering::Relaxed);
                    return Ok((options, connection));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = silent(),
            }
        }
        Err(last)
    }

    fn options(&self, host: &Host, purpose: Purpose) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .username(&self.address.user)
            .database(&self.address.database)
            .application_name("dimed")
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging();
        if let Some(password) = &self.password {
            options = options.password(password.expose());
        }
        options = match host {
            Host::Socket { folder, port } => options.socket(folder).port(*port).ssl_mode(PgSslMode::Disable),
            Host::Tcp { name, port } => options.host(name).port(*port).ssl_mode(PgSslMode::VerifyFull),
        };
        if let Some(path) = &self.root_certificates {
            options = options.ssl_root_cert(path);
        }
        options.options(settings(purpose))
    }
}

/// What our sessions have set, so that it does not change with the configuration of the server.
fn settings(purpose: Purpose) -> Vec<(&'static str, String)> {
    let (lock, statement) = match purpose {
        Purpose::Migrate => ("0", "0"),
        _ => (LOCK_PATIENCE, STATEMENT_PATIENCE),
    };
    let idle = format!("{}s", IDLE_IN_TRANSACTION.as_secs());
    let mut settings = vec![
        ("synchronous_commit", "on".to_owned()),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("idle_in_transaction_session_timeout", idle),
        ("lock_timeout", lock.to_owned()),
        ("statement_timeout", statement.to_owned()),
        // A host that is gone is noticed within half a minute.
        ("tcp_keepalives_idle", "10".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "4".to_owned()),
        ("tcp_user_timeout", "30s".to_owned()),
        ("jit", "off".to_owned()),
    ];
    // Whatever the server, the database or the role has set for sessions that do not say.
    let read_only = match purpose {
        Purpose::Read => "on",
        Purpose::Write | Purpose::Migrate => "off",
    };
    settings.push(("default_transaction_read_only", read_only.to_owned()));
    settings
}

/// Connects to a host that takes writes.
async fn enter(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    let is_standby: bool = query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(&mut connection)
        .await?;
    match is_standby {
        false => Ok(connection),
        true => Err(sqlx::Error::Configuration("it is a standby".into())),
    }
}

async fn demand_durability(connection: &mut PgConnection) -> Result<(), Error> {
    let (fsync, pages, commit): (String, String, String) = query_as(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')",
    )
    .fetch_one(connection)
    .await?;
    match (fsync.as_str(), pages.as_str(), commit.as_str()) {
        ("on", "on", "on") => Ok(()),
        _ => Err(Error::NotDurable(format!(
            "fsync={fsync} full_page_writes={pages} synchronous_commit={commit}, wanted on, on, on"
        ))),
    }
}

/// The time by the clock of the server, half-way between question and answer.
pub(super) async fn time<'c>(db: impl sqlx::PgExecutor<'c>) -> Result<Timestamp, sqlx::Error> {
    let asked = Instant::now();
    let time: i64 = query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT")
        .fetch_one(db)
        .await?;
    Ok(Timestamp(time).after(asked.elapsed() / 2))
}

pub(super) fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
