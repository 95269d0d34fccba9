//! What an operator does with the queue: look, hold, release, retry, delete.

use std::collections::BTreeSet;

use super::connection::Connection;
use super::misread::is_misread;
use super::query::{QueryBuilder, query_as, query_scalar, row};

use super::claim::refresh_lane;
use super::settle::{AHEAD_MS, erase_if_finished};
use super::{Inner, message};
use crate::base::id::{NodeId, QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::sealed::MasterKey;
use crate::store::{
    AttemptEntry, Changed, Error, QuarantinedEntry, QueueEntry, QueuePosition, QueueState, Selection,
};

/// The columns of [`ListedRow`], of recipients that take part in the queue.
macro_rules! listed {
    () => {
        "SELECT r.seq, r.id, r.message, r.state, r.forward_path, r.attempts, r.due_at, r.held_until, \
            r.leased_until, m.wrapped_key, m.envelope, m.content, m.size_bytes, m.accepted_at, a.number, a.note \
        FROM recipients r JOIN messages m ON m.id = r.message \
        LEFT JOIN attempts a ON a.seq = (SELECT MAX(seq) FROM attempts WHERE recipient = r.id) \
        WHERE r.state IN ('waiting', 'held') "
    };
}

/// See [`Spool::list`](crate::store::Spool::list).
pub(super) async fn list(
    inner: &Inner,
    after: Option<QueuePosition>,
    limit: usize,
) -> Result<Vec<QueueEntry>, Error> {
    let now = inner.clock.now();
    let mut entries = Vec::new();
    let mut position = after.map_or(0, |position| position.0);
    let mut most = i64::MAX;
    while entries.len() < limit {
        let wanted = i64::try_from(limit - entries.len()).map_or(most, |wanted| wanted.min(most));
        let rows: Result<Vec<ListedRow>, sqlx::Error> =
            query_as(concat!(listed!(), "AND r.seq > $1 ORDER BY r.seq LIMIT $2"))
                .bind(position)
                .bind(wanted)
                .fetch_all(&inner.readers)
                .await;
        let rows = match rows.map_err(Error::from) {
            // Nobody knows which row it is, until they are read one by one.
            Err(error) if is_misread(&error) && most > 1 => {
                most = 1;
                continue;
            }
            Err(error) if is_misread(&error) => {
                let Some(next) = next_place(inner, position).await? else {
                    break;
                };
                position = next;
                continue;
            }
            rows => rows?,
        };
        let Some(last) = rows.last() else { break };
        position = last.seq;
        // What cannot be read is left out, so that one bad row does not hide the rest.
        entries.extend(rows.iter().filter_map(|row| row.open(&inner.master, now).ok()));
    }
    Ok(entries)
}

/// Where the next row is that takes part in the queue.
async fn next_place(inner: &Inner, after: i64) -> Result<Option<i64>, Error> {
    let sql =
        "SELECT seq FROM recipients WHERE state IN ('waiting', 'held') AND seq > $1 ORDER BY seq LIMIT 1";
    Ok(query_scalar(sql)
        .bind(after)
        .fetch_optional(&inner.readers)
        .await?)
}

/// See [`Spool::entries`](crate::store::Spool::entries).
pub(super) async fn entries(inner: &Inner, message: QueueId) -> Result<Vec<QueueEntry>, Error> {
    let now = inner.clock.now();
    let rows: Vec<ListedRow> = query_as(concat!(listed!(), "AND r.message = $1 ORDER BY r.seq"))
        .bind(message.to_string())
        .fetch_all(&inner.readers)
        .await?;
    rows.iter().map(|row| row.open(&inner.master, now)).collect()
}

row! {
    struct ListedRow {
        seq: i64,
        id: String,
        message: String,
        state: String,
        forward_path: Vec<u8>,
        attempts: i64,
        due_at: Option<i64>,
        held_until: Option<i64>,
        leased_until: Option<i64>,
        wrapped_key: Vec<u8>,
        envelope: Vec<u8>,
        content: i64,
        size_bytes: i64,
        accepted_at: i64,
        number: Option<i64>,
        note: Option<Vec<u8>>,
    }
}

impl ListedRow {
    fn open(&self, master: &MasterKey, now: Timestamp) -> Result<QueueEntry, Error> {
        let message = QueueId::parse(&self.message).ok_or(Error::Unreadable("message id"))?;
        let recipient = RecipientId::parse(&self.id).ok_or(Error::Unreadable("recipient id"))?;
        let key = master.unwrap(message, &self.wrapped_key)?;
        let beside = message::clear_columns(self.content, self.size_bytes, self.accepted_at)?;
        let envelope = key.open_envelope(&self.envelope, &beside)?;
        let last_note = match (self.number, &self.note) {
            (Some(number), Some(note)) => Some(key.open_note(recipient, attempts_from(number)?, note)?),
            _ => None,
        };
        Ok(QueueEntry {
            position: QueuePosition(self.seq),
            message,
            recipient,
            state: match self.state.as_str() {
                "held" => QueueState::Held,
                _ => QueueState::Waiting,
            },
            accepted_at: beside.accepted_at,
            size_bytes: beside.size_bytes,
            content: beside.content,
            reverse_path: envelope.reverse_path,
            forward_path: key.open_addressee(recipient, &self.forward_path)?.path,
            attempts: attempts_from(self.attempts)?,
            due_at: self.due_at.map(Timestamp),
            held_until: self.held_until.map(Timestamp),
            in_progress: self.leased_until.is_some_and(|end| end > now.0),
            last_note,
        })
    }
}

/// See [`Spool::quarantined`](crate::store::Spool::quarantined).
pub(super) async fn quarantined(inner: &Inner, limit: usize) -> Result<Vec<QuarantinedEntry>, Error> {
    let rows: Vec<(String, String, String, String)> = query_as(
        "SELECT message, id, destination, fault FROM recipients WHERE state = 'quarantined' \
         ORDER BY seq LIMIT $1",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&inner.readers)
    .await?;
    rows.into_iter()
        .map(|(message, recipient, destination, reason)| {
            Ok(QuarantinedEntry {
                message: QueueId::parse(&message).ok_or(Error::Unreadable("message id"))?,
                recipient: RecipientId::parse(&recipient).ok_or(Error::Unreadable("recipient id"))?,
                destination: Domain::parse(&destination).map_err(|_| Error::Unreadable("destination"))?,
                reason,
            })
        })
        .collect()
}

/// See [`Spool::attempts`](crate::store::Spool::attempts).
pub(super) async fn attempts(inner: &Inner, recipient: RecipientId) -> Result<Vec<AttemptEntry>, Error> {
    let rows: Vec<AttemptRow> = query_as(
        "SELECT m.id AS message, m.wrapped_key, a.number, a.ended_at, a.note FROM attempts a \
         JOIN recipients r ON r.id = a.recipient JOIN messages m ON m.id = r.message \
         WHERE a.recipient = $1 ORDER BY a.seq",
    )
    .bind(recipient.to_string())
    .fetch_all(&inner.readers)
    .await?;
    rows.iter()
        .map(|row| row.open(&inner.master, recipient))
        .collect()
}

row! {
    struct AttemptRow {
        message: String,
        wrapped_key: Vec<u8>,
        number: i64,
        ended_at: i64,
        note: Vec<u8>,
    }
}

impl AttemptRow {
    fn open(&self, master: &MasterKey, recipient: RecipientId) -> Result<AttemptEntry, Error> {
        let message = QueueId::parse(&self.message).ok_or(Error::Unreadable("message id"))?;
        let key = master.unwrap(message, &self.wrapped_key)?;
        let number = attempts_from(self.number)?;
        Ok(AttemptEntry {
            number,
            ended_at: Timestamp(self.ended_at),
            note: key.open_note(recipient, number, &self.note)?,
        })
    }
}

fn attempts_from(stored: i64) -> Result<u32, Error> {
    u32::try_from(stored).map_err(|_| Error::Unreadable("attempts"))
}

/// See [`Spool::hold`](crate::store::Spool::hold). A lease stays, so that the attempt under way can be settled.
pub(super) async fn hold(
    db: &mut Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<Changed, Error> {
    let mut sql =
        QueryBuilder::new("UPDATE recipients SET state = 'held', due_at = NULL, held_until = NULL WHERE ");
    sql.push("(state = 'waiting' OR held_until IS NOT NULL)");
    apply(db, sql, selection, now).await
}

/// See [`Spool::release`](crate::store::Spool::release).
pub(super) async fn release(
    db: &mut Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<u64, Error> {
    note_release(db, selection, now).await?;
    let mut sql = QueryBuilder::new(
        "UPDATE recipients SET state = 'waiting', fault = NULL, held_until = NULL, due_at = ",
    );
    // A lease that outlived the hold still stands.
    sql.push("MAX(COALESCE(leased_until, 0), ")
        .push_bind(now.0)
        .push(") WHERE state IN ('held', 'quarantined')");
    Ok(apply(db, sql, selection, now).await?.recipients)
}

/// How long the mail is tried counts from now on.
async fn note_release(db: &mut Connection, selection: &Selection, now: Timestamp) -> Result<(), Error> {
    let mut sql = QueryBuilder::new("UPDATE messages SET released_at = ");
    sql.push_bind(now.0)
        .push(" WHERE id IN (SELECT message FROM recipients WHERE state IN ('held', 'quarantined')");
    narrow(&mut sql, selection);
    sql.push(")");
    sql.build().execute(db).await?;
    Ok(())
}

/// See [`Spool::retry`](crate::store::Spool::retry).
pub(super) async fn retry(db: &mut Connection, selection: &Selection, now: Timestamp) -> Result<u64, Error> {
    // What is due already keeps its place.
    let mut sql = QueryBuilder::new("UPDATE recipients SET due_at = MIN(due_at, ");
    sql.push_bind(now.0)
        .push(") WHERE state = 'waiting' AND (leased_until IS NULL OR leased_until <= ")
        .push_bind(now.0)
        .push(")");
    Ok(apply(db, sql, selection, now).await?.recipients)
}

/// Ends every lease, or those of a node; their recipients are due at `now`. Returns how many recipients.
pub(super) async fn release_leases(
    db: &mut Connection,
    node: Option<NodeId>,
    now: Timestamp,
) -> Result<u64, Error> {
    let mut sql =
        QueryBuilder::new("UPDATE recipients SET lease = NULL, leased_until = NULL, due_at = CASE state ");
    sql.push("WHEN 'waiting' THEN MIN(")
        .push_bind(now.0)
        .push(", (SELECT accepted_at FROM messages WHERE id = message) - ")
        .push_bind(AHEAD_MS)
        .push(") END WHERE lease IS NOT NULL");
    if let Some(node) = node {
        let (from, to) = leases_of(node);
        sql.push(" AND lease > ")
            .push_bind(from)
            .push(" AND lease < ")
            .push_bind(to);
    }
    Ok(apply(db, sql, &Selection::All, now).await?.recipients)
}

/// Whether anything is leased by that node.
pub(super) async fn has_leases(db: &mut Connection, node: NodeId) -> Result<bool, Error> {
    let (from, to) = leases_of(node);
    let found = query_scalar("SELECT EXISTS (SELECT 1 FROM recipients WHERE lease > $1 AND lease < $2)")
        .bind(from)
        .bind(to)
        .fetch_one(db)
        .await?;
    Ok(found)
}

/// Between which texts its leases are.
fn leases_of(node: NodeId) -> (String, String) {
    // It comes after every digit.
    (node.to_string(), format!("{node}~"))
}

/// See [`Spool::delete`](crate::store::Spool::delete).
pub(super) async fn delete(
    db: &mut Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<Changed, Error> {
    let sql = QueryBuilder::new("DELETE FROM recipients WHERE state IN ('waiting', 'held', 'quarantined')");
    apply(db, sql, selection, now).await
}

/// See [`Spool::condemn`](crate::store::Spool::condemn).
pub(super) async fn condemn(
    db: &mut Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<Changed, Error> {
    let mut sql = QueryBuilder::new("UPDATE recipients SET condemned = TRUE, state = 'waiting', ");
    sql.push("held_until = NULL, due_at = MAX(COALESCE(leased_until, 0), ")
        .push_bind(now.0)
        .push(") WHERE state IN ('waiting', 'held')");
    apply(db, sql, selection, now).await
}

/// See [`Spool::expire_held`](crate::store::Spool::expire_held).
pub(super) async fn expire_held(db: &mut Connection, now: Timestamp, limit: usize) -> Result<u64, Error> {
    let mut sql = QueryBuilder::new("DELETE FROM recipients WHERE state = 'held' AND seq IN (SELECT seq ");
    sql.push("FROM recipients WHERE held_until <= ")
        .push_bind(now.0)
        .push(" LIMIT ")
        .push_bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .push(")");
    Ok(apply(db, sql, &Selection::All, now).await?.recipients)
}

/// Completes and runs a statement, then brings lanes and messages in line with what it changed.
async fn apply(
    db: &mut Connection,
    mut sql: QueryBuilder,
    selection: &Selection,
    now: Timestamp,
) -> Result<Changed, Error> {
    narrow(&mut sql, selection);
    // Whatever kind the values are of: one row shall not be in the way of all others.
    sql.push(" RETURNING CAST(message AS TEXT), CAST(destination AS TEXT), CAST(leased_until AS BIGINT)");
    let changed: Vec<(String, String, Option<i64>)> = sql.build_as().fetch_all(&mut *db).await?;
    let is_leased = |leased_until: &Option<i64>| leased_until.is_some_and(|end| end > now.0);
    let count = Changed {
        recipients: changed.len() as u64,
        being_tried: changed.iter().filter(|(.., leased)| is_leased(leased)).count() as u64,
    };
    let both = changed
        .into_iter()
        .map(|(message, destination, _)| (message, destination));
    let (messages, destinations): (BTreeSet<_>, BTreeSet<_>) = both.unzip();
    for message in &messages {
        erase_if_finished(db, message).await?;
    }
    for destination in &destinations {
        refresh_lane(db, destination).await?;
    }
    Ok(count)
}

/// Adds a condition on recipients to those that a statement ends with.
fn narrow(sql: &mut QueryBuilder, selection: &Selection) {
    match selection {
        Selection::Message(id) => sql.push(" AND message = ").push_bind(id.to_string()),
        Selection::Recipient(id) => sql.push(" AND id = ").push_bind(id.to_string()),
        Selection::Destination(domain) => sql.push(" AND destination = ").push_bind(domain.to_string()),
        Selection::Rows(rows) => {
            sql.push(" AND seq IN (");
            for (place, row) in rows.iter().enumerate() {
                sql.push(if place == 0 { "" } else { ", " }).push_bind(row.0);
            }
            sql.push(")")
        }
        Selection::All => sql,
    };
}
