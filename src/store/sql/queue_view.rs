//! [`QueueView`]: pages by key, so that memory is bounded whatever the length of the queue.

use super::query::{query_as, query_scalar, row};
use async_trait::async_trait;

use super::{SqlStore, message};
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

macro_rules! lines {
    ($among:literal) => {
        concat!(
            "SELECT r.seq, r.id, r.message, r.destination, ",
            status!(),
            " AS status, r.state, r.fault, r.forward_path, r.attempts, r.due_at, r.held_until, \
            (SELECT COUNT(*) FROM local_domains WHERE name = r.destination) AS ours, \
            m.wrapped_key, m.envelope, m.content, m.size_bytes, m.accepted_at, a.number, a.note \
            FROM recipients r LEFT JOIN messages m ON m.id = r.message \
            LEFT JOIN attempts a ON a.seq = (SELECT MAX(seq) FROM attempts WHERE recipient = r.id) \
            WHERE r.state IN ('waiting', 'held', 'quarantined') AND r.seq > $2 AND r.seq <= $3 \
            AND ($4 IS NULL OR r.destination = $4) AND ($5 IS NULL OR ",
            status!(),
            " = $5) AND ($6 IS NULL OR m.accepted_at <= $6) AND ($7 IS NULL OR m.accepted_at >= $7) ",
            $among,
            " ORDER BY r.seq LIMIT $8"
        )
    };
}

const LINES: &str = lines!("");
const LINES_OF_MESSAGE: &str = lines!("AND r.message = $9");
const LINES_OF_RECIPIENT: &str = lines!("AND r.id = $9");

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
        let now = self.inner.clock.now();
        let (sql, id) = match filter.among {
            Among::All => (LINES, None),
            Among::Message(id) => (LINES_OF_MESSAGE, Some(id.to_string())),
            Among::Recipient(id) => (LINES_OF_RECIPIENT, Some(id.to_string())),
        };
        let mut query = query_as(sql)
            .bind(now.0)
            .bind(after.map_or(0, |after| after.0))
            .bind(filter.end.map_or(i64::MAX, |end| end.0))
            .bind(filter.destination.as_ref().map(ToString::to_string))
            .bind(filter.status.map(Status::name))
            .bind(filter.accepted_until.map(|time| time.0))
            .bind(filter.accepted_from.map(|time| time.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        if let Some(id) = id {
            query = query.bind(id);
        }
        let rows: Vec<Row> = query.fetch_all(&self.inner.readers).await?;
        let next = rows.last().filter(|_| rows.len() >= limit);
        Ok(QueuePage {
            next: next.map(|row| QueuePosition(row.seq)),
            lines: rows
                .into_iter()
                .map(|row| row.line(&self.inner.master))
                .filter(|line| fits(line, filter))
                .collect(),
        })
    }

    async fn queue_end(&self) -> Result<QueuePosition, Error> {
        let end = query_scalar("SELECT COALESCE(MAX(seq), 0) FROM recipients")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(QueuePosition(end))
    }

    async fn queue_stats(&self, largest: usize) -> Result<QueueStats, Error> {
        let (inner, now) = (&self.inner, self.inner.clock.now().0);
        let (messages, octets, oldest): (i64, i64, Option<i64>) = query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT), MIN(accepted_at) FROM messages",
        )
        .fetch_one(&inner.readers)
        .await?;
        let (destinations, waiting, due, trying, held, quarantined) =
            query_as(STATS).bind(now).fetch_one(&inner.readers).await?;
        let rows: Vec<(String, i64, i64, i64, i64, i64)> = query_as(LARGEST)
            .bind(now)
            .bind(i64::try_from(largest).unwrap_or(i64::MAX))
            .fetch_all(&inner.readers)
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

    async fn queue_depths(&self) -> Result<Vec<QueueDepth>, Error> {
        let rows: Vec<(String, String, i64, Option<i64>)> = query_as(DEPTHS)
            .bind(self.inner.clock.now().0)
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(rows.into_iter().filter_map(depth).collect())
    }
}

fn depth((way, status, recipients, oldest): (String, String, i64, Option<i64>)) -> Option<QueueDepth> {
    Some(QueueDepth {
        way: Way::parse(&way)?,
        status: Status::parse(&status)?,
        recipients: count(recipients),
        oldest: oldest.map(Timestamp),
    })
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
                "held" => QueueState::Held,
                "quarantined" => QueueState::Quarantined,
                _ => QueueState::Waiting,
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
