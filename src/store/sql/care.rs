//! [`Care`]: every row is read, some at a time.

mod names;
pub(super) mod sealed_rows;
mod spool;

use std::path::Path;

use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::claim::refresh_lane;
use super::{SqlStore, message};
use crate::base::id::{QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::store::{Care, Checked, Error, Fault, Mark, Part, Repair, Rescued, RescuedRecipient};

/// Rows read at once.
const ROWS: i64 = 200;

#[async_trait]
impl Care for SqlStore {
    async fn check_file(&self) -> Result<Vec<String>, Error> {
        if self.inner.database.is_shared() {
            return Ok(Vec::new());
        }
        let found: Vec<String> = query_scalar("PRAGMA quick_check(100)")
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    async fn check(&self, part: Part, after: &Mark) -> Result<Checked, Error> {
        match part {
            Part::Messages => spool::messages(&self.inner, after).await,
            Part::Recipients => spool::recipients(&self.inner, after).await,
            Part::Pieces => spool::pieces(&self.inner, after).await,
            Part::Lanes => spool::lanes(&self.inner, after).await,
            Part::Signets => names::signets(&self.inner, after).await,
            Part::Accounts => names::accounts(&self.inner, after).await,
            Part::Aliases => names::aliases(&self.inner, after).await,
            Part::LocalDomains | Part::RelayDomains => names::domains(&self.inner, part, after).await,
            _ => {
                let page = sealed_rows::page(&self.inner.readers, part, after).await?;
                Ok(page.check(part, &self.inner.master))
            }
        }
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
        let column = match fault.part {
            Part::Messages => "message",
            Part::Recipients => "id",
            Part::Lanes => {
                let destination = fault.row.clone();
                let rebuilt = self
                    .inner
                    .write(move |db| Box::pin(async move { refresh_lane(db, &destination).await }));
                rebuilt.await?;
                return Ok(Repair::Rebuilt);
            }
            _ => return Ok(Repair::None),
        };
        let (row, what) = (fault.row.clone(), fault.what);
        let set_aside = self
            .inner
            .write(move |db| Box::pin(async move { spool::set_aside(db, column, &row, what, now).await }));
        Ok(Repair::SetAside(set_aside.await?))
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
            return Err(Error::NotThere);
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
            "SELECT wrapped_key, envelope, content, size_bytes, accepted_at, \
             (SELECT COALESCE(MAX(number) + 1, 0) FROM pieces WHERE message = $1) AS pieces \
             FROM messages WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(readers)
        .await?;
        let Some((wrapped_key, envelope, content, size_bytes, accepted_at, pieces)) = row else {
            return Ok(None);
        };
        let rows: Vec<(String, String, String, Vec<u8>)> = query_as(
            "SELECT id, destination, state, forward_path FROM recipients WHERE message = $1 ORDER BY seq",
        )
        .bind(id.to_string())
        .fetch_all(readers)
        .await?;
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
