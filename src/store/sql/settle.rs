//! Ending leases: with results, without, or by setting aside what cannot be read.

use std::collections::BTreeSet;

use super::connection::Connection;
use super::query::{query, query_as, query_scalar};

use super::claim::refresh_lane;
use super::message::{Turn, insert_recipients, seal_recipients};
use crate::base::id::{LeaseToken, QueueId};
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::store::sealed::{MasterKey, MessageKey};
use crate::store::{AHEAD, Addressee, Error, SettledState, Settlement};

/// By how much new mail is due before it comes, at most ([`AHEAD`]). What is given back does not come behind what was accepted after it.
pub(super) const AHEAD_MS: i64 = AHEAD.as_millis() as i64;

/// Attempts of one recipient that are remembered, the last ones. With the usual schedule there are fewer.
const HISTORY: i64 = 50;

/// See [`Spool::settle`](crate::store::Spool::settle); the caller adds the follow-ups in the same transaction.
pub(super) async fn settle(
    db: &mut Connection,
    master: &MasterKey,
    lease: LeaseToken,
    now: Timestamp,
    settlements: &[Settlement],
) -> Result<(), Error> {
    let leased = leased_group(db, lease).await?;
    if leased.is_finished_by(settlements) {
        erase(db, &leased.message).await?;
        return refresh_lane(db, &leased.destination).await;
    }
    let mut attempts = Vec::with_capacity(settlements.len());
    for settlement in settlements {
        let held = is_held(db, settlement).await?;
        if let Some(number) = settle_recipient(db, lease, now, settlement).await? {
            if !matches!(settlement.state, SettledState::Postponed { .. }) {
                attempts.push((settlement, number));
            }
            let due_at = (!held).then_some(now);
            put_instead(db, master, &leased.message, &settlement.instead, due_at).await?;
        }
    }
    if !erase_if_finished(db, &leased.message).await? {
        write_history(db, master, &leased.message, now, attempts.into_iter()).await?;
    }
    refresh_lane(db, &leased.destination).await
}

/// See [`Spool::give_back`](crate::store::Spool::give_back).
pub(super) async fn give_back(db: &mut Connection, lease: LeaseToken, now: Timestamp) -> Result<(), Error> {
    let leased = leased_group(db, lease).await?;
    query(
        "UPDATE recipients SET lease = NULL, leased_until = NULL, attempts = attempts - 1, \
         due_at = CASE state WHEN 'waiting' THEN MIN($1, (SELECT accepted_at FROM messages WHERE id = message) - $3) END \
         WHERE lease = $2",
    )
    .bind(now.0)
    .bind(lease.to_string())
    .bind(AHEAD_MS)
    .execute(&mut *db)
    .await?;
    refresh_lane(db, &leased.destination).await
}

/// The same for several, as far as they are there.
pub(super) async fn give_back_all(
    db: &mut Connection,
    leases: &[LeaseToken],
    now: Timestamp,
) -> Result<(), Error> {
    for lease in leases {
        match give_back(db, *lease, now).await {
            Ok(()) | Err(Error::LeaseLost) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// See [`Spool::quarantine`](crate::store::Spool::quarantine).
pub(super) async fn quarantine(db: &mut Connection, lease: LeaseToken, reason: &str) -> Result<(), Error> {
    let leased = leased_group(db, lease).await?;
    query(
        "UPDATE recipients SET state = 'quarantined', fault = $1, due_at = NULL, lease = NULL, \
         leased_until = NULL WHERE lease = $2",
    )
    .bind(reason)
    .bind(lease.to_string())
    .execute(&mut *db)
    .await?;
    tracing::error!(
        event = observe::QUEUE_QUARANTINED,
        message.id = leased.message,
        reason,
        "stored mail cannot be read and was set aside"
    );
    refresh_lane(db, &leased.destination).await
}

/// Sets one recipient aside. Its lane is refreshed by the caller.
pub(super) async fn quarantine_recipient(
    db: &mut Connection,
    recipient: &str,
    reason: &str,
) -> Result<(), Error> {
    query(
        "UPDATE recipients SET state = 'quarantined', fault = $1, due_at = NULL, lease = NULL, \
         leased_until = NULL WHERE id = $2",
    )
    .bind(reason)
    .bind(recipient)
    .execute(db)
    .await?;
    tracing::error!(
        event = observe::QUEUE_QUARANTINED,
        recipient.id = recipient,
        reason,
        "a stored recipient cannot be read and was set aside"
    );
    Ok(())
}

/// Erases a message, its body and its key if none of its recipients is unfinished. Returns whether it did.
pub(super) async fn erase_if_finished(db: &mut Connection, message: &str) -> Result<bool, Error> {
    let unfinished: bool = query_scalar(
        "SELECT EXISTS (SELECT 1 FROM recipients WHERE message = $1 \
         AND state NOT IN ('delivered', 'relayed', 'expanded', 'failed'))",
    )
    .bind(message)
    .fetch_one(&mut *db)
    .await?;
    if !unfinished {
        erase(db, message).await?;
    }
    Ok(!unfinished)
}

async fn erase(db: &mut Connection, message: &str) -> Result<(), Error> {
    query("DELETE FROM pieces WHERE message = $1")
        .bind(message)
        .execute(&mut *db)
        .await?;
    // Recipients and attempts go with it.
    query("DELETE FROM messages WHERE id = $1")
        .bind(message)
        .execute(db)
        .await?;
    Ok(())
}

/// The rows of one lease.
struct LeasedGroup {
    message: String,
    destination: String,
    recipients: BTreeSet<String>,
    /// Whether the message has recipients beside these who are not finished.
    has_others: bool,
}

impl LeasedGroup {
    /// Whether nothing is left to be done for the message, of which nothing has to be recorded then.
    fn is_finished_by(&self, settlements: &[Settlement]) -> bool {
        let is_final = |one: &Settlement| !one.state.leaves_work() && one.instead.is_empty();
        let settled = settlements.iter().map(|one| one.recipient.to_string());
        !self.has_others
            && settlements.iter().all(is_final)
            && self.recipients == settled.collect::<BTreeSet<_>>()
    }
}

async fn leased_group(db: &mut Connection, lease: LeaseToken) -> Result<LeasedGroup, Error> {
    let rows: Vec<(String, String, String, bool)> = query_as(
        "SELECT message, destination, id, EXISTS (SELECT 1 FROM recipients \
         WHERE message = (SELECT message FROM recipients WHERE lease = $1 LIMIT 1) AND lease IS DISTINCT FROM $1 \
         AND state NOT IN ('delivered', 'relayed', 'expanded', 'failed')) FROM recipients WHERE lease = $1",
    )
    .bind(lease.to_string())
    .fetch_all(db)
    .await?;
    let (message, destination, _, has_others) = rows.first().cloned().ok_or(Error::LeaseLost)?;
    Ok(LeasedGroup {
        message,
        destination,
        recipients: rows.into_iter().map(|(_, _, id, _)| id).collect(),
        has_others,
    })
}

/// Returns the number of the attempt. A recipient held meanwhile stays held when it is deferred, and a condemned one is due at
/// once.
async fn settle_recipient(
    db: &mut Connection,
    lease: LeaseToken,
    now: Timestamp,
    settlement: &Settlement,
) -> Result<Option<i64>, Error> {
    let (state, due_at, delay_reported) = columns(settlement.state);
    let uncounted = matches!(settlement.state, SettledState::Postponed { .. });
    let attempts: Option<i64> = query_scalar("SELECT attempts FROM recipients WHERE id = $1 AND lease = $2")
        .bind(settlement.recipient.to_string())
        .bind(lease.to_string())
        .fetch_optional(&mut *db)
        .await?;
    let Some(attempts) = attempts else {
        return match is_known(db, settlement).await? {
            true => Err(Error::LeaseLost),
            false => Ok(None),
        };
    };
    query(
        "UPDATE recipients SET lease = NULL, leased_until = NULL, delay_reported = delay_reported OR $1, \
         state = CASE $2 WHEN 'waiting' THEN state ELSE $2 END, \
         due_at = CASE state WHEN 'waiting' THEN CASE WHEN condemned THEN MIN($3, $6) ELSE $3 END END, attempts = attempts - $5 \
         WHERE id = $4",
    )
    .bind(delay_reported)
    .bind(state)
    .bind(due_at)
    .bind(settlement.recipient.to_string())
    .bind(i64::from(uncounted))
    .bind(now.0)
    .execute(&mut *db)
    .await?;
    Ok(Some(attempts - i64::from(uncounted)))
}

/// Whether an operator holds a recipient that others take the place of.
async fn is_held(db: &mut Connection, settlement: &Settlement) -> Result<bool, Error> {
    if settlement.instead.is_empty() {
        return Ok(false);
    }
    let held = query_scalar("SELECT EXISTS (SELECT 1 FROM recipients WHERE id = $1 AND state = 'held')")
        .bind(settlement.recipient.to_string())
        .fetch_one(db)
        .await?;
    Ok(held)
}

/// Rows for those whom an expanded recipient stands for.
async fn put_instead(
    db: &mut Connection,
    master: &MasterKey,
    message: &str,
    recipients: &[Addressee],
    due_at: Option<Timestamp>,
) -> Result<(), Error> {
    if recipients.is_empty() {
        return Ok(());
    }
    let key = message_key(db, master, message).await?;
    let sealed = seal_recipients(&key, recipients);
    insert_recipients(db, message, &sealed, due_at.map_or(Turn::Held, Turn::At)).await
}

async fn message_key(db: &mut Connection, master: &MasterKey, message: &str) -> Result<MessageKey, Error> {
    let wrapped_key: Vec<u8> = query_scalar("SELECT wrapped_key FROM messages WHERE id = $1")
        .bind(message)
        .fetch_one(db)
        .await?;
    let id = QueueId::parse(message).ok_or(Error::Unreadable("message id"))?;
    master.unwrap(id, &wrapped_key)
}

async fn is_known(db: &mut Connection, settlement: &Settlement) -> Result<bool, Error> {
    let known = query_scalar("SELECT EXISTS (SELECT 1 FROM recipients WHERE id = $1)")
        .bind(settlement.recipient.to_string())
        .fetch_one(db)
        .await?;
    Ok(known)
}

/// `state`, `due_at`, and whether a delay has now been reported.
fn columns(state: SettledState) -> (&'static str, Option<i64>, bool) {
    match state {
        SettledState::Delivered => ("delivered", None, false),
        SettledState::Relayed => ("relayed", None, false),
        SettledState::Expanded => ("expanded", None, false),
        SettledState::Failed(_) => ("failed", None, false),
        SettledState::Postponed { due_at } => ("waiting", Some(due_at.0), false),
        SettledState::Deferred {
            due_at,
            delay_reported,
        } => ("waiting", Some(due_at.0), delay_reported),
    }
}

async fn write_history<'s>(
    db: &mut Connection,
    master: &MasterKey,
    message: &str,
    now: Timestamp,
    numbered: impl Iterator<Item = (&'s Settlement, i64)>,
) -> Result<(), Error> {
    let key = message_key(db, master, message).await?;
    for (settlement, number) in numbered {
        let attempt = u32::try_from(number).map_err(|_| Error::Unreadable("attempts"))?;
        query("INSERT INTO attempts (recipient, number, ended_at, note) VALUES ($1, $2, $3, $4)")
            .bind(settlement.recipient.to_string())
            .bind(number)
            .bind(now.0)
            .bind(key.seal_note(settlement.recipient, attempt, &settlement.note))
            .execute(&mut *db)
            .await?;
        query(
            "DELETE FROM attempts WHERE recipient = $1 AND seq <= \
             (SELECT seq FROM attempts WHERE recipient = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
        )
        .bind(settlement.recipient.to_string())
        .bind(HISTORY)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
