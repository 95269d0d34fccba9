//! Key deposits.

use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::mail::address::Mailbox;
use crate::store::{Error, KeyDeposit, KeyDeposits, fold};

#[async_trait]
impl KeyDeposits for SqlStore {
    async fn key_deposit(&self, account: &Mailbox) -> Result<Option<KeyDeposit>, Error> {
        let folded = fold(account);
        let row: Option<(i64, Vec<u8>)> =
            query_as("SELECT version, sealed FROM key_deposits WHERE folded = $1")
                .bind(&folded)
                .fetch_optional(&self.inner.readers)
                .await?;
        let Some((version, sealed)) = row else {
            return Ok(None);
        };
        let version = u64::try_from(version).map_err(|_| Error::Unreadable("key deposit"))?;
        let octets = self.inner.master.open_key_deposit(&folded, version, &sealed)?;
        Ok(Some(KeyDeposit { version, octets }))
    }

    async fn put_key_deposit(
        &self,
        account: &Mailbox,
        octets: Vec<u8>,
        replaces: u64,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let folded = fold(account);
        let version = replaces
            .checked_add(1)
            .filter(|version| i64::try_from(*version).is_ok())
            .ok_or(Error::Conflict)?;
        let sealed = self.inner.master.seal_key_deposit(&folded, version, &octets);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let there: Option<i64> =
                        query_scalar("SELECT version FROM key_deposits WHERE folded = $1")
                            .bind(&folded)
                            .fetch_optional(&mut *db)
                            .await?;
                    if there.unwrap_or(0).unsigned_abs() != replaces {
                        return Err(Error::Conflict);
                    }
                    query(
                        "INSERT INTO key_deposits (folded, version, sealed, stored_at) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (folded) DO UPDATE SET version = excluded.version, \
                         sealed = excluded.sealed, stored_at = excluded.stored_at",
                    )
                    .bind(&folded)
                    .bind(version as i64)
                    .bind(&sealed)
                    .bind(now.0)
                    .execute(db)
                    .await?;
                    Ok(version)
                })
            })
            .await
    }
}
