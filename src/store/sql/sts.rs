//! MTA-STS policies.

use std::time::Duration;

use super::query::{query, query_as};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::{Error, StsEntry, StsPolicies};

/// Domain, id, text, when it was fetched and expires, and the seal over all of that.
type Row = (String, String, String, i64, i64, Vec<u8>);

impl SqlStore {
    /// `None` for a row that is not as it was written.
    fn genuine(&self, (domain, id, policy, fetched_at, expires_at, seal): Row) -> Option<StsEntry> {
        let entry = StsEntry {
            domain: Domain::parse(&domain).ok()?,
            id,
            policy,
            fetched_at: Timestamp(fetched_at),
            expires_at: Timestamp(expires_at),
        };
        self.inner.master.is_sts_policy(&entry, &seal).then_some(entry)
    }
}

#[async_trait]
impl StsPolicies for SqlStore {
    async fn sts_policy(&self, domain: &Domain) -> Result<Option<StsEntry>, Error> {
        let row = query_as(
            "SELECT domain, id, policy, fetched_at, expires_at, seal FROM sts_policies WHERE domain = $1",
        )
        .bind(domain.as_str())
        .fetch_optional(self.inner.readers.at_once())
        .await?;
        Ok(row.and_then(|row| self.genuine(row)))
    }

    async fn ageing_sts_policies(
        &self,
        now: Timestamp,
        after: Timestamp,
        age: Duration,
        limit: usize,
    ) -> Result<Vec<StsEntry>, Error> {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let rows = query_as(
            "SELECT domain, id, policy, fetched_at, expires_at, seal FROM sts_policies \
             WHERE expires_at > $1 AND $2 - fetched_at >= MIN($3, (expires_at - fetched_at) / 2) \
             ORDER BY expires_at LIMIT $4",
        )
        .bind(after.0)
        .bind(now.0)
        .bind(age_ms)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.inner.readers)
        .await?;
        Ok(rows.into_iter().filter_map(|row| self.genuine(row)).collect())
    }

    async fn set_sts_policy(&self, entry: StsEntry) -> Result<(), Error> {
        let seal = self.inner.master.seal_sts_policy(&entry);
        let now = self.inner.certain(entry.fetched_at);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM sts_policies WHERE expires_at <= $1")
                        .bind(now.0)
                        .execute(&mut *db)
                        .await?;
                    query(
                        "INSERT INTO sts_policies (domain, id, policy, fetched_at, expires_at, seal) \
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (domain) DO UPDATE SET \
                         id = excluded.id, policy = excluded.policy, fetched_at = excluded.fetched_at, \
                         expires_at = excluded.expires_at, seal = excluded.seal",
                    )
                    .bind(entry.domain.as_str())
                    .bind(&entry.id)
                    .bind(&entry.policy)
                    .bind(entry.fetched_at.0)
                    .bind(entry.expires_at.0)
                    .bind(seal)
                    .execute(db)
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}
