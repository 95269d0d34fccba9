//! The block list and its audit trail.

use super::connection::Connection;
use super::query::{QueryBuilder, query, query_as, query_scalar, row};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::{
    Block, BlockEvent, Blocks, Deed, Doer, Error, Identity, MAX_BLOCK_EVENTS, MAX_TRAPPED,
    MAX_TRAPPED_OF_ORIGIN, Trapped,
};

/// Milliseconds in which refusals because of one entry are counted together.
const REFUSALS_TOGETHER: i64 = 3_600_000;

/// Entries that end in one call at most: one transaction keeps all others waiting.
const ENDED_PER_CALL: u32 = 1000;

const COLUMNS: &str = "kind, value, doer, reason, origin, since, until";

#[async_trait]
impl Blocks for SqlStore {
    async fn block(&self, entry: Block) -> Result<(), Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    put(db, &entry).await?;
                    record(db, entry.since, Deed::Added, entry.by, &entry).await
                })
            })
            .await
    }

    async fn unblock(&self, identity: &Identity, now: Timestamp) -> Result<bool, Error> {
        let identity = identity.clone();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    end_due(db, now).await?;
                    let Some(entry) = entry(db, &identity).await? else {
                        return Ok(false);
                    };
                    remove(db, &entry, now, Deed::Removed, Doer::Operator).await?;
                    Ok(true)
                })
            })
            .await
    }

    async fn find_block(&self, identities: &[Identity], now: Timestamp) -> Result<Option<Block>, Error> {
        let mut sql = QueryBuilder::new("SELECT ");
        sql.push(COLUMNS)
            .push(" FROM blocks WHERE (kind, value) IN (VALUES ");
        for (number, identity) in identities.iter().enumerate() {
            sql.push(if number == 0 { "(" } else { ", (" })
                .push_bind(identity.kind());
            sql.push(", ").push_bind(identity.value()).push(")");
        }
        sql.push(") AND (until IS NULL OR until > ").push_bind(now.0);
        sql.push(") LIMIT 1");
        let row: Option<BlockRow> = match identities {
            [] => None,
            _ => {
                sql.build_as()
                    .fetch_optional(self.inner.readers.at_once())
                    .await?
            }
        };
        row.map(BlockRow::open).transpose()
    }

    async fn note_refusal(&self, entry: &Block, now: Timestamp) -> Result<(), Error> {
        let entry = entry.clone();
        self.inner
            .write(move |db| Box::pin(async move { count_refusal(db, &entry, now).await }))
            .await
    }

    async fn expire_blocks(&self, now: Timestamp) -> Result<u64, Error> {
        self.inner
            .write(move |db| Box::pin(async move { end_due(db, now).await }))
            .await
    }

    async fn list_blocks(&self, after: Option<&Identity>, limit: u32) -> Result<Vec<Block>, Error> {
        let rows: Vec<BlockRow> = query_as(
            "SELECT kind, value, doer, reason, origin, since, until FROM blocks WHERE (kind, value) > ($1, $2) \
             ORDER BY kind, value LIMIT $3",
        )
        .bind(after.map_or("", Identity::kind))
        .bind(after.map(Identity::value).unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.inner.readers)
        .await?;
        rows.into_iter().map(BlockRow::open).collect()
    }

    async fn block_events(&self, before: Option<i64>, limit: u32) -> Result<Vec<BlockEvent>, Error> {
        let rows: Vec<EventRow> =
            query_as("SELECT seq, at, doer, deed, kind, value, reason, count FROM block_log WHERE seq < $1 ORDER BY seq DESC LIMIT $2")
                .bind(before.unwrap_or(i64::MAX))
                .bind(limit)
                .fetch_all(&self.inner.readers)
                .await?;
        rows.into_iter().map(EventRow::open).collect()
    }
}

/// Blocks an author who wrote to a trap, and perhaps the author's domain. What an operator has decided stays.
pub(super) async fn spring(db: &mut Connection, trapped: &Trapped, now: Timestamp) -> Result<(), Error> {
    end_due(db, now).await?;
    let by_trap = |identity, reason: &str, origin| Block {
        identity,
        by: Doer::Trap,
        reason: reason.to_owned(),
        origin,
        since: now,
        until: Some(now.after(trapped.blocked_for)),
    };
    let origin = &trapped.origin;
    let author = by_trap(
        Identity::AuthorKey(trapped.author),
        "wrote to a trap",
        Some(origin.clone()),
    );
    add_or_prolong(db, author).await?;
    let authors: i64 = query_scalar("SELECT COUNT(*) FROM blocks WHERE origin = $1")
        .bind(origin.as_str())
        .fetch_one(&mut *db)
        .await?;
    if trapped.origin_after > 0 && authors >= i64::from(trapped.origin_after) {
        let domain = by_trap(
            Identity::Domain(origin.clone()),
            "several of its authors wrote to traps",
            None,
        );
        add_or_prolong(db, domain).await?;
    }
    make_room(db, trapped, now).await
}

async fn add_or_prolong(db: &mut Connection, new: Block) -> Result<(), Error> {
    match entry(db, &new.identity).await? {
        None => {
            put(db, &new).await?;
            record(db, new.since, Deed::Added, Doer::Trap, &new).await
        }
        Some(there) if there.by == Doer::Trap && there.until < new.until => {
            let longer = Block {
                since: there.since,
                ..new.clone()
            };
            put(db, &longer).await?;
            record(db, new.since, Deed::Prolonged, Doer::Trap, &longer).await
        }
        Some(_) => Ok(()),
    }
}

/// Keeps the entries of traps within their bounds.
async fn make_room(db: &mut Connection, trapped: &Trapped, now: Timestamp) -> Result<(), Error> {
    let of_origin: Vec<BlockRow> = query_as(
        "SELECT kind, value, doer, reason, origin, since, until FROM blocks WHERE origin = $1 \
         ORDER BY since DESC, value LIMIT 1000000000 OFFSET $2",
    )
    .bind(trapped.origin.as_str())
    .bind(MAX_TRAPPED_OF_ORIGIN)
    .fetch_all(&mut *db)
    .await?;
    let in_all: Vec<BlockRow> = query_as(
        "SELECT kind, value, doer, reason, origin, since, until FROM blocks WHERE doer = 'trap' \
         ORDER BY until DESC, value LIMIT 1000000000 OFFSET $1",
    )
    .bind(MAX_TRAPPED)
    .fetch_all(&mut *db)
    .await?;
    for row in of_origin.into_iter().chain(in_all) {
        remove(db, &row.open()?, now, Deed::Removed, Doer::Trap).await?;
    }
    Ok(())
}

/// Takes away what has ended. The trail says when it ended, not when that was noticed.
async fn end_due(db: &mut Connection, now: Timestamp) -> Result<u64, Error> {
    let due: Vec<BlockRow> = query_as(
        "SELECT kind, value, doer, reason, origin, since, until FROM blocks WHERE until <= $1 ORDER BY until LIMIT $2",
    )
    .bind(now.0)
    .bind(ENDED_PER_CALL)
    .fetch_all(&mut *db)
    .await?;
    let count = due.len() as u64;
    for row in due {
        let entry = row.open()?;
        let ended = entry.until.unwrap_or(now);
        remove(db, &entry, ended, Deed::Expired, Doer::Expiry).await?;
    }
    Ok(count)
}

async fn entry(db: &mut Connection, identity: &Identity) -> Result<Option<Block>, Error> {
    let row: Option<BlockRow> = query_as(
        "SELECT kind, value, doer, reason, origin, since, until FROM blocks WHERE kind = $1 AND value = $2",
    )
    .bind(identity.kind())
    .bind(identity.value())
    .fetch_optional(db)
    .await?;
    row.map(BlockRow::open).transpose()
}

async fn put(db: &mut Connection, entry: &Block) -> Result<(), Error> {
    query(
        "INSERT INTO blocks (kind, value, doer, reason, origin, since, until) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (kind, value) DO UPDATE SET doer = excluded.doer, reason = excluded.reason, \
         origin = excluded.origin, since = excluded.since, until = excluded.until",
    )
    .bind(entry.identity.kind())
    .bind(entry.identity.value())
    .bind(entry.by.name())
    .bind(&entry.reason)
    .bind(entry.origin.as_ref().map(Domain::as_str))
    .bind(entry.since.0)
    .bind(entry.until.map(|until| until.0))
    .execute(db)
    .await?;
    Ok(())
}

async fn remove(
    db: &mut Connection,
    entry: &Block,
    at: Timestamp,
    deed: Deed,
    doer: Doer,
) -> Result<(), Error> {
    query("DELETE FROM blocks WHERE kind = $1 AND value = $2")
        .bind(entry.identity.kind())
        .bind(entry.identity.value())
        .execute(&mut *db)
        .await?;
    record(db, at, deed, doer, entry).await
}

/// Peers decide how often they come, so refusals within an hour share a line.
async fn count_refusal(db: &mut Connection, entry: &Block, now: Timestamp) -> Result<(), Error> {
    let counted = query(
        "UPDATE block_log SET count = count + 1 WHERE at > $3 AND seq = \
         (SELECT MAX(seq) FROM block_log WHERE kind = $1 AND value = $2 AND doer = 'arrival')",
    )
    .bind(entry.identity.kind())
    .bind(entry.identity.value())
    .bind(now.0 - REFUSALS_TOGETHER)
    .execute(&mut *db)
    .await?;
    match counted.rows_affected() {
        0 => record(db, now, Deed::Refused, Doer::Arrival, entry).await,
        _ => Ok(()),
    }
}

/// Adds a line to the trail, and drops the oldest of the same doer beyond the bound.
async fn record(
    db: &mut Connection,
    at: Timestamp,
    deed: Deed,
    doer: Doer,
    entry: &Block,
) -> Result<(), Error> {
    query("INSERT INTO block_log (at, doer, deed, kind, value, reason) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(at.0)
        .bind(doer.name())
        .bind(deed.name())
        .bind(entry.identity.kind())
        .bind(entry.identity.value())
        .bind(&entry.reason)
        .execute(&mut *db)
        .await?;
    query(
        "DELETE FROM block_log WHERE doer = $1 AND seq <= \
         (SELECT seq FROM block_log WHERE doer = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
    )
    .bind(doer.name())
    .bind(MAX_BLOCK_EVENTS)
    .execute(db)
    .await?;
    Ok(())
}

row! {
    struct BlockRow {
        kind: String,
        value: String,
        doer: String,
        reason: String,
        origin: Option<String>,
        since: i64,
        until: Option<i64>,
    }
}

impl BlockRow {
    fn open(self) -> Result<Block, Error> {
        let unreadable = || Error::Unreadable("block list");
        let origin = self.origin.map(|origin| Domain::parse(&origin));
        Ok(Block {
            identity: Identity::parse(&self.kind, &self.value).ok_or_else(unreadable)?,
            by: Doer::parse(&self.doer).ok_or_else(unreadable)?,
            reason: self.reason,
            origin: origin.transpose().map_err(|_| unreadable())?,
            since: Timestamp(self.since),
            until: self.until.map(Timestamp),
        })
    }
}

row! {
    struct EventRow {
        seq: i64,
        at: i64,
        doer: String,
        deed: String,
        kind: String,
        value: String,
        reason: String,
        count: i64,
    }
}

impl EventRow {
    fn open(self) -> Result<BlockEvent, Error> {
        let unreadable = || Error::Unreadable("block list");
        Ok(BlockEvent {
            place: self.seq,
            at: Timestamp(self.at),
            doer: Doer::parse(&self.doer).ok_or_else(unreadable)?,
            deed: Deed::parse(&self.deed).ok_or_else(unreadable)?,
            identity: Identity::parse(&self.kind, &self.value).ok_or_else(unreadable)?,
            reason: self.reason,
            count: self.count.unsigned_abs(),
        })
    }
}
