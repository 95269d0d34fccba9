//! Noticing that another process has written: a command that releases mail, or leaves some.

use std::convert::Infallible;
use std::time::Duration;

use rusqlite::types::Value;
use tokio::time::sleep;

use super::connection::{Options, SqliteConnection};

/// How often it is looked.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls `due` when the database has changed, by whomever. Until it is aborted.
pub(super) async fn run(options: Options, due: impl Fn()) {
    loop {
        // Whatever fails shows where mail is claimed; here it is tried again.
        let _failed = watch(&options, &due).await;
        sleep(PAUSE).await;
    }
}

/// Looking is a matter of microseconds, and waits for nobody.
async fn watch(options: &Options, due: impl Fn()) -> Result<Infallible, sqlx::Error> {
    let mut connection = options.open()?;
    let mut seen = None;
    loop {
        let version = version(&mut connection)?;
        // What has happened before this connection, it cannot tell.
        if seen.replace(version.clone()) != Some(version) {
            due();
        }
        sleep(PAUSE).await;
    }
}

/// A number that another one takes the place of whenever another connection has written.
fn version(connection: &mut SqliteConnection) -> Result<Value, sqlx::Error> {
    let rows = connection.fetch("PRAGMA data_version", Vec::new(), 1)?;
    Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.at(0)?.clone())
}
