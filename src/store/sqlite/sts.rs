//! MTA-STS policies.

use async_trait::async_trait;
use sqlx::{query, query_as};

use super::SqliteStore;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::{Error, StsEntry, StsPolicies};

#[async_trait]
impl StsPolicies for SqliteStore {
    async fn sts_policy(&self, domain: &Domain) -> Result<Option<StsEntry>, Error> {
        let row: Option<(String, String, i64, i64, Vec<u8>)> =
            query_as("SELECT id, policy, fetched_at, expires_at, seal FROM sts_policies WHERE domain = ?")
                .bind(domain.as_str())
                .fetch_optional(&self.inner.readers)
                .await?;
        let entry = row.map(|(id, policy, fetched_at, expires_at, seal)| {
            let entry = StsEntry {
                domain: domain.clone(),
                id,
                policy,
                fetched_at: Timestamp(fetched_at),
                expires_at: Timestamp(expires_at),
            };
            (entry, seal)
        });
        let genuine = entry.filter(|(entry, seal)| self.inner.master.is_sts_policy(entry, seal));
        Ok(genuine.map(|(entry, _)| entry))
    }

    async fn set_sts_policy(&self, entry: StsEntry) -> Result<(), Error> {
        let seal = self.inner.master.seal_sts_policy(&entry);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM sts_policies WHERE expires_at <= ?")
                        .bind(entry.fetched_at.0)
                        .execute(&mut *db)
                        .await?;
                    query(
                        "INSERT OR REPLACE INTO sts_policies (domain, id, policy, fetched_at, expires_at, seal) \
                         VALUES (?, ?, ?, ?, ?, ?)",
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
