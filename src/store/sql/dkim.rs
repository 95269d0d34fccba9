//! Keys that sign mail of our domains.

use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::{SqlStore, exists};
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::{DkimKey, DkimKeys, DkimState, Error};

#[async_trait]
impl DkimKeys for SqlStore {
    async fn dkim_keys(&self, domain: &Domain) -> Result<Vec<DkimKey>, Error> {
        type Row = (String, String, String, Vec<u8>, String, i64, i64);
        let rows: Vec<Row> = query_as(
            "SELECT selector, algorithm, record, sealed, state, created_at, since FROM dkim_keys WHERE domain = $1 \
             ORDER BY created_at, selector",
        )
        .bind(domain.as_str())
        .fetch_all(self.inner.readers.at_once())
        .await?;
        let key = |(selector, algorithm, record, sealed, state, created_at, since): Row| {
            let is_erased = sealed.iter().all(|octet| *octet == 0);
            let private = (!is_erased)
                .then(|| {
                    self.inner
                        .master
                        .open_dkim_key(domain, &selector, &record, &sealed)
                })
                .transpose()?;
            Ok(DkimKey {
                domain: domain.clone(),
                private,
                selector,
                algorithm,
                record,
                state: DkimState::parse(&state).ok_or(Error::Unreadable("state of a DKIM key"))?,
                created_at: Timestamp(created_at),
                since: Timestamp(since),
            })
        };
        rows.into_iter().map(key).collect()
    }

    async fn add_dkim_keys(&self, keys: Vec<DkimKey>) -> Result<(), Error> {
        let master = self.inner.master.clone();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    for key in keys {
                        let private = key.private.as_ref().ok_or(Error::Missing)?;
                        let sealed = master.seal_dkim_key(&key.domain, &key.selector, &key.record, private);
                        query(
                            "INSERT INTO dkim_keys (domain, selector, algorithm, record, sealed, state, created_at, since) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                        )
                        .bind(key.domain.as_str())
                        .bind(&key.selector)
                        .bind(&key.algorithm)
                        .bind(&key.record)
                        .bind(sealed)
                        .bind(key.state.name())
                        .bind(key.created_at.0)
                        .bind(key.since.0)
                        .execute(&mut *db)
                        .await
                        .map_err(exists)?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn activate_dkim_key(&self, domain: &Domain, selector: &str, now: Timestamp) -> Result<(), Error> {
        let (domain, selector) = (domain.clone(), selector.to_owned());
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let algorithm: Option<String> = query_scalar(
                        "SELECT algorithm FROM dkim_keys WHERE domain = $1 AND selector = $2 AND state = 'generated'",
                    )
                    .bind(domain.as_str())
                    .bind(&selector)
                    .fetch_optional(&mut *db)
                    .await?;
                    let algorithm = algorithm.ok_or(Error::Missing)?;
                    query(
                        "UPDATE dkim_keys SET state = 'replaced', since = $1, sealed = zeroblob(length(sealed)) \
                         WHERE domain = $2 AND algorithm = $3 AND state = 'active'",
                    )
                    .bind(now.0)
                    .bind(domain.as_str())
                    .bind(algorithm)
                    .execute(&mut *db)
                    .await?;
                    query("UPDATE dkim_keys SET state = 'active', since = $1 WHERE domain = $2 AND selector = $3")
                        .bind(now.0)
                        .bind(domain.as_str())
                        .bind(&selector)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        self.empty_log().await
    }

    async fn remove_dkim_key(&self, domain: &Domain, selector: &str) -> Result<(), Error> {
        let (domain, selector) = (domain.clone(), selector.to_owned());
        let erase = {
            let (domain, selector) = (domain.clone(), selector.clone());
            self.inner.write(move |db| {
                Box::pin(async move {
                    // Zeros come first, in a transaction of their own: pages that a deletion frees are not written any more.
                    let sql = "UPDATE dkim_keys SET sealed = zeroblob(length(sealed)) WHERE domain = $1 AND selector = $2";
                    let done = query(sql).bind(domain.as_str()).bind(selector).execute(db).await?;
                    match done.rows_affected() {
                        0 => Err(Error::Missing),
                        _ => Ok(()),
                    }
                })
            })
        };
        erase.await?;
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM dkim_keys WHERE domain = $1 AND selector = $2")
                        .bind(domain.as_str())
                        .bind(selector)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        self.empty_log().await
    }
}
