//! [`Care`]: every row is read, some at a time.

mod hashed;
mod names;
pub(super) mod sealed_rows;
mod spool;
mod structured;
mod values;

use std::path::Path;

use super::connection::Connection;
use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::claim::{rebuild_lanes, refresh_lane};
use super::misread::is_misread;
use super::readers::Readers;
use super::{Inner, SqlStore, message};
use crate::base::id::{QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::store::{Care, Checked, Error, Fault, FileWork, Mark, Part, Repair, Rescued, RescuedRecipient};

/// Rows read at once.
pub(super) const ROWS: i64 = 200;

/// Some rows of a part, at most `limit`.
async fn page(inner: &Inner, part: Part, after: &Mark, limit: i64) -> Result<Checked, Error> {
    match part {
        Part::Messages => spool::messages(inner, after, limit).await,
        Part::Recipients => spool::recipients(inner, after, limit).await,
        Part::Pieces => spool::pieces(inner, after, limit).await,
        Part::Lanes => spool::lanes(inner, after, limit).await,
        Part::Signets => names::signets(inner, after, limit).await,
        Part::Accounts => names::accounts(inner, after, limit).await,
        Part::Aliases => names::aliases(inner, after, limit).await,
        Part::LocalDomains | Part::RelayDomains => names::domains(inner, part, after, limit).await,
        Part::Senders => structured::senders(inner, after, limit).await,
        Part::RelayRecipients => structured::relay_recipients(inner, after, limit).await,
        Part::Blocks => structured::blocks(inner, after, limit).await,
        Part::SigningRequests => structured::signing_requests(inner, after, limit).await,
        Part::Retirements => structured::retirements(inner, after, limit).await,
        Part::RemoteSignets
        | Part::KeySetPins
        | Part::CustodyPins
        | Part::ReplayEntries
        | Part::Greylist
        | Part::Callouts => hashed::page(inner, part, after, limit).await,
        Part::Rollovers => {
            let mut checked = sealed(inner, part, after, limit).await?;
            checked
                .faults
                .extend(structured::rollovers(inner, after, limit).await?);
            Ok(checked)
        }
        Part::PrivateKeys
        | Part::KemKeys
        | Part::KeyDeposits
        | Part::DkimKeys
        | Part::SrsPaths
        | Part::Pins
        | Part::StsPolicies => sealed(inner, part, after, limit).await,
    }
}

/// Where to go on behind a row that cannot be read, if there may be more.
pub(super) async fn place_behind(inner: &Inner, part: Part, after: &Mark) -> Result<Option<Mark>, Error> {
    Ok(values::skip(inner, part, after).await?.next)
}

async fn sealed(inner: &Inner, part: Part, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let page = sealed_rows::page(&inner.readers, part, after, limit).await?;
    Ok(page.check(part, &inner.master))
}

/// Makes a lane anew, or all of them if it is not known which is wrong.
async fn rebuild(db: &mut Connection, destination: &str) -> Result<(), Error> {
    if destination == values::UNKNOWN {
        return rebuild_lanes(db).await;
    }
    query("DELETE FROM lanes WHERE destination = $1")
        .bind(destination)
        .execute(&mut *db)
        .await?;
    refresh_lane(db, destination).await
}

/// Of a row that has values of a wrong kind, nothing is rescued.
fn nothing_readable<T>(error: sqlx::Error) -> Result<Option<T>, Error> {
    let error = Error::from(error);
    is_misread(&error).then_some(None).ok_or(error)
}

/// Id, destination, state and sealed forward-path.
type RecipientRow = (String, String, String, Vec<u8>);

/// The recipients of a message; forward-paths are left out where one is of a wrong kind.
async fn recipients(readers: &Readers, message: QueueId) -> Result<Vec<RecipientRow>, Error> {
    let rows: Result<Vec<RecipientRow>, sqlx::Error> = query_as(
        "SELECT CAST(id AS TEXT), CAST(destination AS TEXT), CAST(state AS TEXT), forward_path FROM recipients \
         WHERE message = $1 ORDER BY seq",
    )
    .bind(message.to_string())
    .fetch_all(readers)
    .await;
    match rows.map_err(Error::from) {
        Err(error) if is_misread(&error) => {}
        rows => return rows,
    }
    let rows: Vec<(String, String, String)> = query_as(
        "SELECT CAST(id AS TEXT), CAST(destination AS TEXT), CAST(state AS TEXT) FROM recipients \
         WHERE message = $1 ORDER BY seq",
    )
    .bind(message.to_string())
    .fetch_all(readers)
    .await?;
    let bare = |(id, destination, state)| (id, destination, state, Vec::new());
    Ok(rows.into_iter().map(bare).collect())
}

fn repaired(set_aside: u64) -> Repair {
    match set_aside {
        0 => Repair::None,
        count => Repair::SetAside(count),
    }
}

#[async_trait]
impl Care for SqlStore {
    async fn check_file(&self) -> Result<Vec<String>, Error> {
        if self.inner.database.is_shared() {
            return Ok(Vec::new());
        }
        // A connection that can only read knows no rules of tables, and finds none broken.
        let mut db = self.inner.database.open_writer().await?;
        let found: Vec<String> = query_scalar("PRAGMA integrity_check(100)")
            .fetch_all(&mut db)
            .await?;
        db.close().await?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    async fn check(&self, part: Part, after: &Mark) -> Result<Checked, Error> {
        for limit in [ROWS, 1] {
            match page(&self.inner, part, after, limit).await {
                // Nobody knows which row it is, until they are read one by one.
                Err(error) if is_misread(&error) => {}
                checked => return checked,
            }
        }
        values::skip(&self.inner, part, after).await
    }

    async fn rebuild_indexes(&self) -> Result<(), Error> {
        if self.inner.database.is_shared() {
            return Ok(());
        }
        let done = self.inner.write(move |db| {
            Box::pin(async move {
                query("REINDEX").execute(db).await?;
                Ok(())
            })
        });
        done.await
    }

    async fn repair(&self, fault: &Fault, now: Timestamp) -> Result<Repair, Error> {
        if fault.part == Part::Lanes {
            let destination = fault.row.clone();
            let rebuilt = self
                .inner
                .write(move |db| Box::pin(async move { rebuild(db, &destination).await }));
            rebuilt.await?;
            return Ok(Repair::Rebuilt);
        }
        let Some(whose) = spool::Whose::of(fault) else {
            return Ok(Repair::None);
        };
        let what = fault.what;
        let set_aside = self
            .inner
            .write(move |db| Box::pin(async move { spool::set_aside(db, whose, what, now).await }));
        Ok(repaired(set_aside.await?))
    }

    async fn foresee_repair(&self, fault: &Fault, now: Timestamp) -> Result<Repair, Error> {
        match (fault.part, spool::Whose::of(fault)) {
            (Part::Lanes, _) => Ok(Repair::Rebuilt),
            (_, Some(whose)) => Ok(repaired(spool::would_set_aside(&self.inner, whose, now).await?)),
            (_, None) => Ok(Repair::None),
        }
    }

    async fn count_set_aside(&self) -> Result<u64, Error> {
        let count: i64 = query_scalar("SELECT COUNT(*) FROM recipients WHERE state = 'quarantined'")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(count.unsigned_abs())
    }

    async fn spooled(
        &self,
        after: &Mark,
        quarantined: bool,
        limit: usize,
    ) -> Result<(Vec<String>, Option<Mark>), Error> {
        let rows: Vec<(i64, String)> = query_as(
            "SELECT seq, id FROM messages m WHERE seq > $1 AND ($2 = 0 OR EXISTS \
             (SELECT 1 FROM recipients r WHERE r.message = m.id AND r.state = 'quarantined')) \
             ORDER BY seq LIMIT $3",
        )
        .bind(after.number)
        .bind(i64::from(quarantined))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.inner.readers)
        .await?;
        let next = rows.last().map(|(number, _)| Mark {
            number: *number,
            ..Mark::default()
        });
        Ok((rows.into_iter().map(|(_, id)| id).collect(), next))
    }

    async fn copy_to(&self, file: &Path) -> Result<(), Error> {
        let file = file.to_string_lossy().into_owned();
        if self.inner.database.is_shared() {
            return Err(Error::NotThere(FileWork::Backup));
        }
        query_scalar::<String>("VACUUM INTO $1")
            .bind(file)
            .fetch_optional(&self.inner.readers)
            .await?;
        Ok(())
    }

    async fn rescue(&self, id: QueueId) -> Result<Option<Rescued>, Error> {
        let readers = &self.inner.readers;
        let row: Option<(Vec<u8>, Vec<u8>, i64, i64, i64, i64)> = query_as(
            "SELECT wrapped_key, envelope, CAST(content AS BIGINT), CAST(size_bytes AS BIGINT), CAST(accepted_at AS BIGINT), \
             (SELECT COALESCE(MAX(number) + 1, 0) FROM pieces WHERE message = $1) AS pieces \
             FROM messages WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(readers)
        .await
        .or_else(nothing_readable)?;
        let Some((wrapped_key, envelope, content, size_bytes, accepted_at, pieces)) = row else {
            return Ok(None);
        };
        let rows = recipients(readers, id).await?;
        let key = self.inner.master.unwrap(id, &wrapped_key).ok();
        let beside = message::clear_columns(content, size_bytes, accepted_at).ok();
        let opening = key.as_ref().zip(beside.as_ref());
        let path = |id: &str, sealed: &[u8]| {
            let addressee = key.as_ref()?.open_addressee(RecipientId::parse(id)?, sealed);
            addressee.ok().map(|addressee| addressee.path.to_string())
        };
        Ok(Some(Rescued {
            has_key: key.is_some(),
            content: beside.map(|beside| beside.content),
            accepted_at: Timestamp(accepted_at),
            size_bytes,
            pieces: u32::try_from(pieces).unwrap_or(0),
            envelope: opening.and_then(|(key, beside)| key.open_envelope(&envelope, beside).ok()),
            recipients: rows
                .into_iter()
                .map(|(id, destination, state, sealed)| RescuedRecipient {
                    path: path(&id, &sealed),
                    id,
                    destination,
                    state,
                })
                .collect(),
        }))
    }
}
