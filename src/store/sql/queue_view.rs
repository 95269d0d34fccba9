//! [`QueueView`]: pages by key, so that memory is bounded whatever the length of the queue.

use super::misread::is_misread;
use super::query::{FromRow, QueryAs, query_as, query_scalar, row};
use super::readers::Readers;
use async_trait::async_trait;

use super::{Inner, SqlStore, message};
use crate::base::id::{QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::store::sealed::MasterKey;
use crate::store::{
    Among, Amount, Content, Error, QueueDepth, QueueEntry, QueueFilter, QueueLine, QueuePage, QueuePosition,
    QueueState, QueueStats, QueueView, Status, Way,
};

/// A row that somebody works on is `trying`, whatever its state.
macro_rules! status {
    () => {
        "CASE WHEN r.leased_until > $1 THEN 'trying' ELSE r.state END"
    };
}

/// Rows that are not finished and fit a filter. One whose state means nothing is not finished.
macro_rules! unfinished {
    ($among:literal) => {
        concat!(
            " FROM recipients r LEFT JOIN messages m ON m.id = r.message \
            LEFT JOIN attempts a ON a.seq = (SELECT MAX(seq) FROM attempts WHERE recipient = r.id) \
            WHERE r.state NOT IN ('delivered', 'relayed', 'expanded', 'failed') AND r.seq > $2 AND r.seq <= $3 \
            AND ($4 IS NULL OR r.destination = $4) AND ($5 IS NULL OR ",
            status!(),
            " = $5) AND ($6 IS NULL OR m.accepted_at <= $6) AND ($7 IS NULL OR m.accepted_at >= $7) ",
            $among,
            " ORDER BY r.seq LIMIT $8"
        )
    };
}

macro_rules! lines {
    ($among:literal) => {
        concat!(
            "SELECT r.seq, r.id, r.message, r.destination, ",
            status!(),
            " AS status, r.state, r.fault, r.forward_path, r.attempts, r.due_at, r.held_until, \
            (SELECT COUNT(*) FROM local_domains WHERE name = r.destination) AS ours, \
            m.wrapped_key, m.envelope, m.content, m.size_bytes, m.accepted_at, a.number, a.note",
            unfinished!($among)
        )
    };
}

/// What can be read of a row whatever kind its values are of.
macro_rules! bare_lines {
    ($among:literal) => {
        concat!(
            "SELECT r.seq, CAST(r.id AS TEXT), CAST(r.message AS TEXT), CAST(r.destination AS TEXT), CAST(",
            status!(),
            " AS TEXT), CAST(r.fault AS TEXT)",
            unfinished!($among)
        )
    };
}

/// Among all, those of one message, one recipient.
type Statements = [&'static str; 3];

const LINES: Statements = [lines!(""), lines!("AND r.message = $9"), lines!("AND r.id = $9")];
const BARE_LINES: Statements = [
    bare_lines!(""),
    bare_lines!("AND r.message = $9"),
    bare_lines!("AND r.id = $9"),
];

macro_rules! amounts {
    () => {
        "COUNT(CASE WHEN state = 'waiting' AND (leased_until IS NULL OR leased_until <= $1) THEN 1 END), \
         COUNT(CASE WHEN due_at <= $1 THEN 1 END), \
         COUNT(CASE WHEN leased_until > $1 THEN 1 END), \
         COUNT(CASE WHEN state = 'held' AND (leased_until IS NULL OR leased_until <= $1) THEN 1 END), \
         COUNT(CASE WHEN state = 'quarantined' THEN 1 END) \
         FROM recipients WHERE state IN ('waiting', 'held', 'quarantined')"
    };
}

const STATS: &str = concat!("SELECT COUNT(DISTINCT destination), ", amounts!());
const LARGEST: &str = concat!(
    "SELECT destination, ",
    amounts!(),
    " GROUP BY destination ORDER BY COUNT(*) DESC, destination LIMIT $2"
);

/// The first to come of each group is found by its number, so that the table is read once. 1 is MIME.
const DEPTHS: &str = concat!(
    "SELECT g.way, g.status, g.recipients, m.accepted_at FROM (\
     SELECT way, status, COUNT(*) AS recipients, MIN(seq) AS first FROM (\
     SELECT r.seq, CASE WHEN d.name IS NOT NULL THEN 'local' WHEN m.content <> 1 THEN 'dmtp' ELSE 'smtp' END AS way, ",
    status!(),
    " AS status FROM recipients r LEFT JOIN local_domains d ON d.name = r.destination \
     LEFT JOIN messages m ON m.id = r.message WHERE r.state IN ('waiting', 'held', 'quarantined')) s \
     GROUP BY way, status) g \
     LEFT JOIN recipients r ON r.seq = g.first LEFT JOIN messages m ON m.id = r.message"
);

#[async_trait]
impl QueueView for SqlStore {
    async fn queue_page(
        &self,
        filter: &QueueFilter,
        after: Option<QueuePosition>,
        limit: usize,
    ) -> Result<QueuePage, Error> {
        let inner = &self.inner;
        let asked = Asked {
            filter,
            now: inner.clock.now(),
        };
        let after = after.map_or(0, |after| after.0);
        let rows = asked.query::<Row>(LINES, after, limit).fetch_all(&inner.readers);
        let mut lines: Vec<QueueLine> = match rows.await.map_err(Error::from) {
            Err(error) if is_misread(&error) => asked.one_by_one(inner, after, limit).await?,
            rows => rows?.into_iter().map(|row| row.line(&inner.master)).collect(),
        };
        let next = lines.last().filter(|_| lines.len() >= limit);
        let next = next.map(|line| line.position);
        lines.retain(|line| fits(line, filter));
        Ok(QueuePage { lines, next })
    }

    async fn queue_end(&self) -> Result<QueuePosition, Error> {
        let end = query_scalar("SELECT COALESCE(MAX(seq), 0) FROM recipients")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(QueuePosition(end))
    }

    async fn queue_stats(&self, largest: usize) -> Result<QueueStats, Error> {
        stats(&self.inner.readers, self.inner.clock.now(), largest).await
    }

    async fn queue_depths(&self) -> Result<Vec<QueueDepth>, Error> {
        let rows: Vec<(String, String, i64, Option<i64>)> = query_as(DEPTHS)
            .bind(self.inner.clock.now().0)
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(rows.into_iter().filter_map(depth).collect())
    }
}

/// The queue in numbers, for which no key is needed.
pub(super) async fn stats(readers: &Readers, now: Timestamp, largest: usize) -> Result<QueueStats, Error> {
    let (messages, octets, oldest): (i64, i64, Option<i64>) = query_as(
        "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT), MIN(accepted_at) FROM messages",
    )
    .fetch_one(readers)
    .await?;
    let (destinations, waiting, due, trying, held, quarantined) =
        query_as(STATS).bind(now.0).fetch_one(readers).await?;
    let rows: Vec<(String, i64, i64, i64, i64, i64)> = query_as(LARGEST)
        .bind(now.0)
        .bind(i64::try_from(largest).unwrap_or(i64::MAX))
        .fetch_all(readers)
        .await?;
    Ok(QueueStats {
        messages: count(messages),
        octets: count(octets),
        oldest: oldest.map(Timestamp),
        all: amount([waiting, due, trying, held, quarantined]),
        destinations: count(destinations),
        largest: rows
            .into_iter()
            .map(|(name, waiting, due, trying, held, quarantined)| {
                (name, amount([waiting, due, trying, held, quarantined]))
            })
            .collect(),
    })
}

fn depth((way, status, recipients, oldest): (String, String, i64, Option<i64>)) -> Option<QueueDepth> {
    Some(QueueDepth {
        way: Way::parse(&way)?,
        status: Status::parse(&status)?,
        recipients: count(recipients),
        oldest: oldest.map(Timestamp),
    })
}

/// What somebody wants to see.
struct Asked<'a> {
    filter: &'a QueueFilter,
    now: Timestamp,
}

type BareRow = (i64, String, String, String, String, Option<String>);

impl Asked<'_> {
    fn query<T: FromRow>(
        &self,
        [all, message, recipient]: Statements,
        after: i64,
        limit: usize,
    ) -> QueryAs<T> {
        let filter = self.filter;
        let (sql, id) = match filter.among {
            Among::All => (all, None),
            Among::Message(id) => (message, Some(id.to_string())),
            Among::Recipient(id) => (recipient, Some(id.to_string())),
        };
        let query = query_as(sql)
            .bind(self.now.0)
            .bind(after)
            .bind(filter.end.map_or(i64::MAX, |end| end.0))
            .bind(filter.destination.as_ref().map(ToString::to_string))
            .bind(filter.status.map(Status::name))
            .bind(filter.accepted_until.map(|time| time.0))
            .bind(filter.accepted_from.map(|time| time.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        match id {
            Some(id) => query.bind(id),
            None => query,
        }
    }

    /// A row with a value of a wrong kind is shown as one that cannot be read, beside all others.
    async fn one_by_one(&self, inner: &Inner, after: i64, limit: usize) -> Result<Vec<QueueLine>, Error> {
        let (mut lines, mut after) = (Vec::new(), after);
        while lines.len() < limit {
            let Some(line) = self.next_line(inner, after).await? else {
                break;
            };
            after = line.position.0;
            lines.push(line);
        }
        Ok(lines)
    }

    async fn next_line(&self, inner: &Inner, after: i64) -> Result<Option<QueueLine>, Error> {
        let row = self.query::<Row>(LINES, after, 1).fetch_optional(&inner.readers);
        match row.await.map_err(Error::from) {
            Err(error) if is_misread(&error) => {}
            row => return Ok(row?.map(|row| row.line(&inner.master))),
        }
        let row = self
            .query::<BareRow>(BARE_LINES, after, 1)
            .fetch_optional(&inner.readers);
        match row.await.map_err(Error::from) {
            Err(error) if is_misread(&error) => {}
            row => return Ok(row?.map(unreadable)),
        }
        let place: Option<i64> = query_scalar(
            "SELECT seq FROM recipients WHERE seq > $1 AND state NOT IN ('delivered', 'relayed', 'expanded', 'failed') \
             ORDER BY seq LIMIT 1",
        )
        .bind(after)
        .fetch_optional(&inner.readers)
        .await?;
        let unknown = || String::from("?");
        Ok(place.map(|place| unreadable((place, unknown(), unknown(), unknown(), unknown(), None))))
    }
}

/// A row of which no more than this can be read.
fn unreadable((position, recipient, message, destination, status, fault): BareRow) -> QueueLine {
    QueueLine {
        position: QueuePosition(position),
        status: Status::parse(&status).unwrap_or(Status::Quarantined),
        way: None,
        destination,
        message,
        recipient,
        fault,
        entry: Err("row"),
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn amount([waiting, due, trying, held, quarantined]: [i64; 5]) -> Amount {
    Amount {
        waiting: count(waiting),
        due: count(due),
        trying: count(trying),
        held: count(held),
        quarantined: count(quarantined),
    }
}

/// What only shows once a row is open. What cannot be opened is shown unless a way or a reason is asked for that it does not have.
fn fits(line: &QueueLine, filter: &QueueFilter) -> bool {
    let note = line
        .entry
        .as_ref()
        .ok()
        .and_then(|entry| entry.last_note.as_deref());
    let says = |reason: &String| {
        let reason = reason.to_lowercase();
        let texts = [line.fault.as_deref(), note, line.entry.as_ref().err().copied()];
        texts
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(&reason))
    };
    filter.way.is_none_or(|way| line.way == Some(way)) && filter.reason.as_ref().is_none_or(says)
}

row! {
    struct Row {
        seq: i64,
        id: String,
        message: String,
        destination: String,
        status: String,
        state: String,
        fault: Option<String>,
        forward_path: Vec<u8>,
        attempts: i64,
        due_at: Option<i64>,
        held_until: Option<i64>,
        ours: i64,
        wrapped_key: Option<Vec<u8>>,
        envelope: Option<Vec<u8>>,
        content: Option<i64>,
        size_bytes: Option<i64>,
        accepted_at: Option<i64>,
        number: Option<i64>,
        note: Option<Vec<u8>>,
    }
}

impl Row {
    fn line(self, master: &MasterKey) -> QueueLine {
        let entry = self.open(master).map_err(|error| match error {
            Error::Unreadable(what) => what,
            _ => "message",
        });
        QueueLine {
            position: QueuePosition(self.seq),
            status: Status::parse(&self.status).unwrap_or(Status::Quarantined),
            way: self.way(entry.as_ref().ok()),
            destination: self.destination,
            message: self.message,
            recipient: self.id,
            fault: self.fault,
            entry,
        }
    }

    /// Known from the domain or the content, or else from the last attempt.
    fn way(&self, entry: Option<&QueueEntry>) -> Option<Way> {
        if self.ours > 0 {
            return Some(Way::Local);
        }
        let entry = entry?;
        if entry.content != Content::Mime {
            return Some(Way::Dmtp);
        }
        let (way, _) = entry.last_note.as_ref()?.split_once(": ")?;
        Way::parse(way)
    }

    fn open(&self, master: &MasterKey) -> Result<QueueEntry, Error> {
        let message = QueueId::parse(&self.message).ok_or(Error::Unreadable("message id"))?;
        let recipient = RecipientId::parse(&self.id).ok_or(Error::Unreadable("recipient id"))?;
        let (Some(wrapped_key), Some(envelope)) = (&self.wrapped_key, &self.envelope) else {
            return Err(Error::Unreadable("message"));
        };
        let (Some(content), Some(size_bytes), Some(accepted_at)) =
            (self.content, self.size_bytes, self.accepted_at)
        else {
            return Err(Error::Unreadable("message"));
        };
        let key = master.unwrap(message, wrapped_key)?;
        let beside = message::clear_columns(content, size_bytes, accepted_at)?;
        let envelope = key.open_envelope(envelope, &beside)?;
        let number = self.number.map(u32::try_from).transpose();
        let last_note = match (number.map_err(|_| Error::Unreadable("attempts"))?, &self.note) {
            (Some(number), Some(note)) => Some(key.open_note(recipient, number, note)?),
            _ => None,
        };
        Ok(QueueEntry {
            position: QueuePosition(self.seq),
            message,
            recipient,
            state: match self.state.as_str() {
                "waiting" => QueueState::Waiting,
                "held" => QueueState::Held,
                "quarantined" => QueueState::Quarantined,
                _ => return Err(Error::Unreadable("state")),
            },
            accepted_at: beside.accepted_at,
            size_bytes: beside.size_bytes,
            content: beside.content,
            reverse_path: envelope.reverse_path,
            forward_path: key.open_addressee(recipient, &self.forward_path)?.path,
            attempts: u32::try_from(self.attempts).map_err(|_| Error::Unreadable("attempts"))?,
            due_at: self.due_at.map(Timestamp),
            held_until: self.held_until.map(Timestamp),
            in_progress: self.status == "trying",
            last_note,
        })
    }
}
