//! Private KEM keys, key sets signed ahead, and pins of key sets.

use super::connection::Connection;
use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::Pin;
use crate::store::{Error, KeySetAhead, KeySetPin, KeySets, NewKemKeys, StoredKemKeys, fold_name};

/// Pins dropped with each new one: more than come, so that they get fewer.
const EXPIRED_PINS_PER_CALL: i64 = 16;

#[async_trait]
impl KeySets for SqlStore {
    async fn kem_keys(&self, name: &str) -> Result<Vec<StoredKemKeys>, Error> {
        let name = fold_name(name);
        // Rows of zeros are being destroyed.
        let rows: Vec<(Vec<u8>, Vec<u8>, i64, i64, i64)> = query_as(
            "SELECT complete, sealed, created_at, expires_at, destroy_at FROM kem_keys \
             WHERE name = $1 AND sealed <> zeroblob(length(sealed)) ORDER BY created_at DESC, rowid DESC",
        )
        .bind(&name)
        .fetch_all(self.inner.readers.at_once())
        .await?;
        let open =
            |(signet, sealed, created_at, expires_at, destroy_at): (Vec<u8>, Vec<u8>, i64, i64, i64)| {
                let signet = signet.try_into().map_err(|_| Error::Unreadable("fingerprint"))?;
                let signet = FullFingerprint(signet);
                Ok(StoredKemKeys {
                    keys: self.inner.master.open_kem_keys(&name, &signet, &sealed)?,
                    signet,
                    created_at: Timestamp(created_at),
                    expires_at: Timestamp(expires_at),
                    destroy_at: Timestamp(destroy_at),
                })
            };
        rows.into_iter().map(open).collect()
    }

    async fn destroy_kem_keys(&self, now: Timestamp) -> Result<u64, Error> {
        let now = self.inner.certain(now);
        self.erase_due(
            "UPDATE kem_keys SET sealed = zeroblob(length(sealed)) WHERE destroy_at <= $1",
            "DELETE FROM kem_keys WHERE destroy_at <= $1",
            now,
        )
        .await
    }

    async fn keep_key_sets_ahead(&self, name: &str, sets: Vec<KeySetAhead>) -> Result<(), Error> {
        let name = fold_name(name);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM key_sets_ahead WHERE name = $1")
                        .bind(&name)
                        .execute(&mut *db)
                        .await?;
                    for set in sets {
                        query("INSERT INTO key_sets_ahead (name, publish_at, value) VALUES ($1, $2, $3)")
                            .bind(&name)
                            .bind(set.publish_at.0)
                            .bind(set.value)
                            .execute(&mut *db)
                            .await
                            .map_err(super::exists)?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn key_sets_ahead(&self, name: &str) -> Result<Vec<KeySetAhead>, Error> {
        let rows: Vec<(i64, Vec<u8>)> =
            query_as("SELECT publish_at, value FROM key_sets_ahead WHERE name = $1 ORDER BY publish_at")
                .bind(fold_name(name))
                .fetch_all(&self.inner.readers)
                .await?;
        let set = |(publish_at, value)| KeySetAhead {
            publish_at: Timestamp(publish_at),
            value,
        };
        Ok(rows.into_iter().map(set).collect())
    }

    async fn drop_key_sets_ahead(&self, name: &str, sets: Vec<KeySetAhead>) -> Result<(), Error> {
        let name = fold_name(name);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    for set in sets {
                        query(
                            "DELETE FROM key_sets_ahead WHERE name = $1 AND publish_at = $2 AND value = $3",
                        )
                        .bind(&name)
                        .bind(set.publish_at.0)
                        .bind(set.value)
                        .execute(&mut *db)
                        .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn key_set_pin(&self, name: &str, now: Timestamp) -> Result<Option<KeySetPin>, Error> {
        let now = self.inner.certain(now);
        let name = fold_name(name);
        let row: Option<(Vec<u8>, i64)> =
            query_as("SELECT sealed, expires_at FROM key_set_pins WHERE name_tag = $1 AND expires_at > $2")
                .bind(self.inner.master.pin_tag(&name))
                .bind(now.0)
                .fetch_optional(self.inner.readers.at_once())
                .await?;
        let open = |(sealed, expires_at): (Vec<u8>, i64)| {
            Ok(KeySetPin {
                pin: self.inner.master.open_pin(&name, &sealed)?,
                expires_at: Timestamp(expires_at),
            })
        };
        row.map(open).transpose()
    }

    async fn pin_key_set(
        &self,
        name: &str,
        before: Option<Pin>,
        pin: KeySetPin,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let name = fold_name(name);
        let now = self.inner.certain(now);
        let master = self.inner.master.clone();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    forget_expired_pins(db, now).await?;
                    let tag = master.pin_tag(&name);
                    let sealed: Option<Vec<u8>> = query_scalar(
                        "SELECT sealed FROM key_set_pins WHERE name_tag = $1 AND expires_at > $2",
                    )
                    .bind(&tag)
                    .bind(now.0)
                    .fetch_optional(&mut *db)
                    .await?;
                    let there = sealed.map(|sealed| master.open_pin(&name, &sealed)).transpose()?;
                    if there != before {
                        return Ok(false);
                    }
                    query(
                        "INSERT INTO key_set_pins (name_tag, sealed, expires_at) VALUES ($1, $2, $3) \
                         ON CONFLICT (name_tag) DO UPDATE SET sealed = excluded.sealed, \
                         expires_at = excluded.expires_at",
                    )
                    .bind(tag)
                    .bind(master.seal_pin(&name, &pin.pin))
                    .bind(pin.expires_at.0)
                    .execute(db)
                    .await?;
                    Ok(true)
                })
            })
            .await
    }

    async fn forget_key_set_pin(&self, name: &str) -> Result<bool, Error> {
        let tag = self.inner.master.pin_tag(&fold_name(name));
        self.forget_tag("DELETE FROM key_set_pins WHERE name_tag = $1", tag)
            .await
    }
}

impl SqlStore {
    /// Overwrites private keys that are due, then removes them; how many were overwritten. Both statements take the time.
    ///
    /// Zeros come first, in a transaction of their own: pages that a deletion frees are not written any more. They stay until
    /// the log is without the keys, too, so that the next call tries again: [`Error::LogInUse`].
    pub(super) async fn erase_due(
        &self,
        overwrite: &'static str,
        remove: &'static str,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let overwritten = self.write_at(overwrite, now).await?;
        if overwritten > 0 {
            self.empty_log().await?;
            self.write_at(remove, now).await?;
        }
        Ok(overwritten)
    }

    async fn write_at(&self, statement: &'static str, now: Timestamp) -> Result<u64, Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query(statement).bind(now.0).execute(db).await?;
                    Ok(done.rows_affected())
                })
            })
            .await
    }
}

/// Adds the private halves of the key set of a signet that is being published.
pub(super) async fn add_kem_keys(
    db: &mut Connection,
    name: &str,
    signet: &FullFingerprint,
    sealed: Vec<u8>,
    kept: &NewKemKeys,
) -> Result<(), Error> {
    query(
        "INSERT INTO kem_keys (name, complete, sealed, created_at, expires_at, destroy_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(name)
    .bind(&signet.0[..])
    .bind(sealed)
    .bind(kept.created_at.0)
    .bind(kept.expires_at.0)
    .bind(kept.destroy_at.0)
    .execute(db)
    .await
    .map_err(super::exists)?;
    Ok(())
}

async fn forget_expired_pins(db: &mut Connection, now: Timestamp) -> Result<(), Error> {
    query(
        "DELETE FROM key_set_pins WHERE name_tag IN \
         (SELECT name_tag FROM key_set_pins WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now.0)
    .bind(EXPIRED_PINS_PER_CALL)
    .execute(db)
    .await?;
    Ok(())
}
