//! What was taken before, so that it is not taken twice.

use super::connection::Connection;
use super::query::{query, query_scalar};

use crate::base::time::Timestamp;
use crate::store::{Committed, Error, ReplayEntry};

/// Expired entries that one call clears away; more than it adds, so they cannot pile up.
const EXPIRED_PER_CALL: i64 = 16;

/// Remembers an entry until its time; tells what is remembered already.
pub(super) async fn remember(
    db: &mut Connection,
    entry: ReplayEntry,
    now: Timestamp,
) -> Result<Committed, Error> {
    forget_expired(db, &entry, now).await?;
    let added = query(
        "INSERT INTO replay_entries (entry, digest, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(&entry.key[..])
    .bind(&entry.digest[..])
    .bind(entry.until.0)
    .execute(&mut *db)
    .await?;
    if added.rows_affected() == 1 {
        return Ok(Committed::Stored);
    }
    let digest: Vec<u8> = query_scalar("SELECT digest FROM replay_entries WHERE entry = $1")
        .bind(&entry.key[..])
        .fetch_one(db)
        .await?;
    Ok(match digest == entry.digest {
        true => Committed::Duplicate,
        false => Committed::Conflict,
    })
}

/// This one if it has expired, and a few others.
async fn forget_expired(db: &mut Connection, entry: &ReplayEntry, now: Timestamp) -> Result<(), Error> {
    query(
        "DELETE FROM replay_entries WHERE entry = $1 AND expires_at <= $2 OR entry IN \
         (SELECT entry FROM replay_entries WHERE expires_at <= $2 ORDER BY expires_at LIMIT $3)",
    )
    .bind(&entry.key[..])
    .bind(now.0)
    .bind(EXPIRED_PER_CALL)
    .execute(db)
    .await?;
    Ok(())
}
