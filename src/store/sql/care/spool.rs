//! The spool: messages, bodies, recipients, lanes.
//!
//! A running daemon erases what is finished meanwhile, so what is wrong with a row is only told if the row is still there.

use super::super::Connection;
use super::super::query::{query_as, query_scalar, row};

use super::super::claim::refresh_lane;
use super::super::misread::{is_misread, unreadable};
use super::super::{Inner, message};
use super::values;
use crate::base::id::{QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::sealed::MessageKey;
use crate::store::{Checked, Error, Fault, Mark, Part};

/// Recipients that are neither finished nor set aside, and not leased at a time ($1). A lease of a wrong kind, or without end, is none.
macro_rules! free {
    ($of:literal) => {
        concat!(
            $of,
            " = $2 AND state NOT IN ('quarantined', 'delivered', 'relayed', 'expanded', 'failed') \
             AND (leased_until IS NULL OR leased_until <= $1 OR leased_until > 253402300799999)"
        )
    };
}

macro_rules! set_aside {
    ($of:literal) => {
        concat!(
            "UPDATE recipients SET state = 'quarantined', fault = $3, due_at = NULL, lease = NULL, leased_until = NULL, \
             held_until = NULL WHERE ",
            free!($of),
            " RETURNING CAST(destination AS TEXT)"
        )
    };
}

macro_rules! would_set_aside {
    ($of:literal) => {
        concat!("SELECT COUNT(*) FROM recipients WHERE ", free!($of))
    };
}

type Verdict = Result<(), Error>;

fn at(number: i64) -> Mark {
    Mark {
        number,
        ..Mark::default()
    }
}

fn named(name: &str) -> Mark {
    Mark {
        name: name.to_owned(),
        ..Mark::default()
    }
}

/// What cannot be read; other errors go on.
fn fault(verdict: Verdict) -> Result<Option<&'static str>, Error> {
    match verdict {
        Ok(()) => Ok(None),
        Err(Error::Unreadable(what)) => Ok(Some(what)),
        Err(error) if is_misread(&error) => Ok(Some(values::VALUE)),
        Err(error) => Err(error),
    }
}

row! {
    struct MessageRow {
        seq: i64,
        id: String,
        wrapped_key: Vec<u8>,
        envelope: Vec<u8>,
        content: i64,
        size_bytes: i64,
        accepted_at: i64,
        recipients: i64,
        ticket: Option<Vec<u8>>,
    }
}

pub(super) async fn messages(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<MessageRow> = query_as(
        "SELECT m.seq, m.id, m.wrapped_key, m.envelope, m.content, m.size_bytes, m.accepted_at, t.sealed AS ticket, \
         (SELECT COUNT(*) FROM recipients WHERE message = m.id) AS recipients \
         FROM messages m LEFT JOIN tickets t ON t.message = m.id WHERE m.seq > $1 ORDER BY m.seq LIMIT $2",
    )
    .bind(after.number)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let mut checked = Checked {
        rows: rows.len() as u64,
        next: rows.last().map(|row| at(row.seq)),
        ..Checked::default()
    };
    for row in &rows {
        let verdict = message(inner, row).await;
        note(inner, &mut checked, (Part::Messages, &row.id), verdict).await?;
    }
    Ok(checked)
}

async fn message(inner: &Inner, row: &MessageRow) -> Verdict {
    let id = QueueId::parse(&row.id).ok_or(Error::Unreadable("message id"))?;
    let key = inner.master.unwrap(id, &row.wrapped_key)?;
    let beside = message::clear_columns(row.content, row.size_bytes, row.accepted_at)?;
    key.open_envelope(&row.envelope, &beside)?;
    values::message(inner, &row.id).await?;
    if let Some(ticket) = &row.ticket {
        key.open_ticket(ticket)?;
    }
    if row.recipients == 0 {
        return Err(Error::Unreadable("recipients"));
    }
    body(inner, &key, row.size_bytes).await
}

/// Piece by piece, so that a large body takes no more memory than a small one.
async fn body(inner: &Inner, key: &MessageKey, size_bytes: i64) -> Verdict {
    let mut octets = 0;
    for number in 0..message::pieces_in(size_bytes) {
        let sealed: Option<Vec<u8>> =
            query_scalar("SELECT sealed FROM pieces WHERE message = $1 AND number = $2")
                .bind(key.message().to_string())
                .bind(number)
                .fetch_optional(&inner.readers)
                .await
                .map_err(unreadable("body piece"))?;
        let sealed = sealed.ok_or(Error::Unreadable("body piece"))?;
        let number = u32::try_from(number).map_err(|_| Error::Unreadable("size"))?;
        octets += key.open_piece(number, &sealed)?.len();
    }
    match u64::try_from(size_bytes) == Ok(octets as u64) {
        true => Ok(()),
        false => Err(Error::Unreadable("size")),
    }
}

row! {
    struct RecipientRow {
        seq: i64,
        id: String,
        message: String,
        destination: String,
        forward_path: Vec<u8>,
        wrapped_key: Option<Vec<u8>>,
    }
}

pub(super) async fn recipients(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<RecipientRow> = query_as(
        "SELECT r.seq, r.id, r.message, r.destination, r.forward_path, m.wrapped_key \
         FROM recipients r LEFT JOIN messages m ON m.id = r.message WHERE r.seq > $1 ORDER BY r.seq LIMIT $2",
    )
    .bind(after.number)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let mut checked = Checked {
        rows: rows.len() as u64,
        next: rows.last().map(|row| at(row.seq)),
        ..Checked::default()
    };
    for row in &rows {
        let verdict = recipient(inner, row).await;
        note(inner, &mut checked, (Part::Recipients, &row.id), verdict).await?;
    }
    Ok(checked)
}

async fn recipient(inner: &Inner, row: &RecipientRow) -> Verdict {
    let id = RecipientId::parse(&row.id).ok_or(Error::Unreadable("recipient id"))?;
    let message = QueueId::parse(&row.message).ok_or(Error::Unreadable("message id"))?;
    let wrapped_key = row.wrapped_key.as_ref().ok_or(Error::Unreadable("message"))?;
    let destination = Domain::parse(&row.destination).map_err(|_| Error::Unreadable("destination"))?;
    values::recipient(inner, &row.id).await?;
    // That the key does not open is a fault of the message.
    let Ok(key) = inner.master.unwrap(message, wrapped_key) else {
        return Ok(());
    };
    if key.open_addressee(id, &row.forward_path)?.path.domain() != &destination {
        return Err(Error::Unreadable("destination"));
    }
    let notes: Vec<(i64, Vec<u8>)> =
        query_as("SELECT number, note FROM attempts WHERE recipient = $1 ORDER BY seq")
            .bind(&row.id)
            .fetch_all(&inner.readers)
            .await
            .map_err(unreadable("attempt note"))?;
    for (number, note) in notes {
        let number = u32::try_from(number).map_err(|_| Error::Unreadable("attempts"))?;
        key.open_note(id, number, &note)?;
    }
    Ok(())
}

/// Those of neither a message nor a body on its way in. Nothing can read them: their key is gone.
pub(super) async fn pieces(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(String, i64)> = query_as(
        "SELECT p.message, COUNT(*) FROM pieces p WHERE p.message > $1 \
         AND NOT EXISTS (SELECT 1 FROM messages WHERE id = p.message) \
         AND NOT EXISTS (SELECT 1 FROM incoming WHERE message = p.message) \
         GROUP BY p.message ORDER BY p.message LIMIT $2",
    )
    .bind(&after.name)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let fault = |(row, _): &(String, i64)| Fault {
        part: Part::Pieces,
        row: row.clone(),
        what: "message",
    };
    Ok(Checked {
        rows: rows.iter().map(|(_, count)| count.unsigned_abs()).sum(),
        faults: rows.iter().map(fault).collect(),
        next: rows.last().map(|(name, _)| named(name)),
    })
}

/// A destination, when its first recipient is due, and its lane's turn and when it was served.
type LaneRow = (String, Option<i64>, Option<i64>, Option<i64>);

/// Each domain with waiting recipients has a lane, whose turn comes when the first of them is due. Times of a wrong kind are larger than
/// all numbers, and count as missing.
pub(super) async fn lanes(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<LaneRow> = query_as(
        "SELECT d.destination, (SELECT MIN(due_at) FROM recipients r WHERE r.destination = d.destination \
         AND r.due_at <= 253402300799999) AS due, CASE WHEN l.turn_at <= 253402300799999 \
         AND l.turn_no <= 9223372036854775807 THEN l.turn_at END AS turn, \
         CASE WHEN l.served_at <= 253402300799999 THEN l.served_at END AS served FROM (SELECT destination FROM lanes WHERE destination > $1 \
         UNION SELECT destination FROM recipients WHERE due_at IS NOT NULL AND destination > $1 \
         ORDER BY destination LIMIT $2) d LEFT JOIN lanes l ON l.destination = d.destination ORDER BY d.destination",
    )
    .bind(&after.name)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let is_wrong = |row: &&LaneRow| match (row.1, row.2, row.3) {
        (Some(due), Some(turn), Some(served)) => turn > due.max(served),
        _ => true,
    };
    let fault = |row: &LaneRow| Fault {
        part: Part::Lanes,
        row: row.0.clone(),
        what: "turn",
    };
    Ok(Checked {
        rows: rows.len() as u64,
        faults: rows.iter().filter(is_wrong).map(fault).collect(),
        next: rows.last().map(|row| named(&row.0)),
    })
}

async fn is_there(inner: &Inner, sql: &'static str, id: &str) -> Result<bool, Error> {
    let count: i64 = query_scalar(sql).bind(id).fetch_one(&inner.readers).await?;
    Ok(count > 0)
}

/// Notes what is wrong with a row that nobody has erased or set aside meanwhile.
async fn note(
    inner: &Inner,
    checked: &mut Checked,
    (part, row): (Part, &str),
    verdict: Verdict,
) -> Result<(), Error> {
    if let Some(what) = fault(verdict)?
        && is_open(inner, part, row).await?
    {
        let row = row.to_owned();
        checked.faults.push(Fault { part, row, what });
    }
    Ok(())
}

/// Messages that are there and not set aside: somebody is still to get them.
const OPEN_MESSAGE: &str = "SELECT COUNT(*) FROM messages m WHERE m.id = $1 AND (NOT EXISTS \
    (SELECT 1 FROM recipients WHERE message = m.id AND state = 'quarantined') OR EXISTS (SELECT 1 FROM recipients \
    WHERE message = m.id AND state NOT IN ('quarantined', 'delivered', 'relayed', 'expanded', 'failed')))";

/// Recipients that are there and not set aside.
const OPEN_RECIPIENT: &str = "SELECT COUNT(*) FROM recipients WHERE id = $1 AND state <> 'quarantined'";

/// Whether something is wrong with a row about which nobody knows yet.
pub(super) async fn is_open(inner: &Inner, part: Part, row: &str) -> Result<bool, Error> {
    match (part, row.strip_prefix('#')) {
        (Part::Messages, _) => is_there(inner, OPEN_MESSAGE, row).await,
        (Part::Recipients, None) => is_there(inner, OPEN_RECIPIENT, row).await,
        (Part::Recipients, Some(number)) => {
            let sql = "SELECT COUNT(*) FROM recipients WHERE seq = $1 AND state <> 'quarantined'";
            let number: i64 = number.parse().unwrap_or(0);
            let count: i64 = query_scalar(sql).bind(number).fetch_one(&inner.readers).await?;
            Ok(count > 0)
        }
        _ => Ok(true),
    }
}

/// Whose recipients are to be set aside.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    Message(String),
    Recipient(String),
    /// A row that has no readable id, by its place.
    Row(i64),
}

impl Whose {
    /// Those that a fault is about, if it is about any.
    pub(super) fn of(fault: &Fault) -> Option<Self> {
        match (fault.part, fault.row.strip_prefix('#')) {
            (Part::Messages, _) => Some(Self::Message(fault.row.clone())),
            (Part::Recipients, None) => Some(Self::Recipient(fault.row.clone())),
            (Part::Recipients, Some(place)) => place.parse().ok().map(Self::Row),
            _ => None,
        }
    }
}

/// Sets recipients aside that nobody works on; a runner that does finds out by itself.
pub(super) async fn set_aside(
    db: &mut Connection,
    whose: Whose,
    what: &str,
    now: Timestamp,
) -> Result<u64, Error> {
    let update = |sql: &'static str| query_scalar::<String>(sql).bind(now.0);
    let update = match whose {
        Whose::Message(id) => update(set_aside!("message")).bind(id),
        Whose::Recipient(id) => update(set_aside!("id")).bind(id),
        Whose::Row(place) => update(set_aside!("seq")).bind(place),
    };
    let destinations = update.bind(what).fetch_all(&mut *db).await?;
    for destination in &destinations {
        refresh_lane(db, destination).await?;
    }
    Ok(destinations.len() as u64)
}

/// How many that would be.
pub(super) async fn would_set_aside(inner: &Inner, whose: Whose, now: Timestamp) -> Result<u64, Error> {
    let count = |sql: &'static str| query_scalar::<i64>(sql).bind(now.0);
    let count = match whose {
        Whose::Message(id) => count(would_set_aside!("message")).bind(id),
        Whose::Recipient(id) => count(would_set_aside!("id")).bind(id),
        Whose::Row(place) => count(would_set_aside!("seq")).bind(place),
    };
    Ok(count.fetch_one(&inner.readers).await?.unsigned_abs())
}
