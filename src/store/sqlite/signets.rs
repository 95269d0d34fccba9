//! Signets and private keys.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as, query_scalar};

use super::{SqliteStore, exists};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint, IdFingerprint};
use crate::store::{Error, RemoteSignet, Signets, StoredSignet, fold_name};

/// Expired signets dropped with each new one: more than come, so that they get fewer.
const EXPIRED_SIGNETS_PER_CALL: i64 = 16;

#[async_trait]
impl Signets for SqliteStore {
    async fn publish_signet(
        &self,
        signet: StoredSignet,
        private_keys: Option<Secret<Vec<u8>>>,
    ) -> Result<(), Error> {
        let name = fold_name(&signet.name);
        let master = &self.inner.master;
        let sealed = private_keys.map(|keys| master.seal_private_keys(&name, &signet.crypto, &keys));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query(
                        "INSERT INTO signets (name, crypto, complete, identifiable, object, private_keys, \
                         published_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(name)
                    .bind(&signet.crypto.0[..])
                    .bind(&signet.full.0[..])
                    .bind(&signet.id.0[..])
                    .bind(&signet.object)
                    .bind(sealed)
                    .bind(signet.published_at.0)
                    .execute(db)
                    .await
                    .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn current_signet(&self, name: &str) -> Result<Option<StoredSignet>, Error> {
        let row: Option<SignetRow> =
            query_as("SELECT * FROM signets WHERE name = ? ORDER BY published_at DESC, seq DESC LIMIT 1")
                .bind(fold_name(name))
                .fetch_optional(&self.inner.readers)
                .await?;
        row.map(SignetRow::open).transpose()
    }

    async fn signet_by_fingerprint(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<StoredSignet>, Error> {
        let row: Option<SignetRow> = query_as(
            "SELECT * FROM signets WHERE name = ?1 AND (crypto = ?2 OR complete = ?2 OR identifiable = ?2) \
             ORDER BY published_at DESC, seq DESC LIMIT 1",
        )
        .bind(fold_name(name))
        .bind(&fingerprint.0[..])
        .fetch_optional(&self.inner.readers)
        .await?;
        row.map(SignetRow::open).transpose()
    }

    async fn signet_history(&self, name: &str) -> Result<Vec<StoredSignet>, Error> {
        let rows: Vec<SignetRow> =
            query_as("SELECT * FROM signets WHERE name = ? ORDER BY published_at, seq")
                .bind(fold_name(name))
                .fetch_all(&self.inner.readers)
                .await?;
        rows.into_iter().map(SignetRow::open).collect()
    }

    async fn private_keys(
        &self,
        name: &str,
        signet: CryptoFingerprint,
    ) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let name = fold_name(name);
        let sealed: Option<Option<Vec<u8>>> = query_scalar(
            "SELECT private_keys FROM signets WHERE name = ? AND crypto = ? \
             ORDER BY private_keys IS NULL, seq DESC LIMIT 1",
        )
        .bind(&name)
        .bind(&signet.0[..])
        .fetch_optional(&self.inner.readers)
        .await?;
        let open = |sealed: Vec<u8>| self.inner.master.open_private_keys(&name, &signet, &sealed);
        sealed.flatten().map(open).transpose()
    }

    async fn remember_remote_signet(&self, signet: RemoteSignet) -> Result<(), Error> {
        let name = fold_name(&signet.name);
        let master = &self.inner.master;
        let name_tag = master.remote_name_tag(&name);
        let signet_tag = master.remote_signet_tag(&name, &signet.crypto);
        let sealed = master.seal_remote_signet(&name, &signet.crypto, &signet.object);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    forget_expired_signets(db, signet.fetched_at).await?;
                    query(
                        "INSERT INTO remote_signets (name_tag, signet_tag, sealed, fetched_at, expires_at) \
                         VALUES (?, ?, ?, ?, ?) ON CONFLICT (name_tag, signet_tag) DO UPDATE SET \
                         sealed = excluded.sealed, fetched_at = excluded.fetched_at, \
                         expires_at = excluded.expires_at",
                    )
                    .bind(name_tag)
                    .bind(signet_tag)
                    .bind(sealed)
                    .bind(signet.fetched_at.0)
                    .bind(signet.expires_at.0)
                    .execute(&mut *db)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn remote_signet(
        &self,
        name: &str,
        crypto: Option<CryptoFingerprint>,
        now: Timestamp,
    ) -> Result<Option<RemoteSignet>, Error> {
        let name = fold_name(name);
        let master = &self.inner.master;
        let row: Option<(Vec<u8>, i64, i64)> = query_as(
            "SELECT sealed, fetched_at, expires_at FROM remote_signets \
             WHERE name_tag = ? AND signet_tag = COALESCE(?, signet_tag) AND expires_at > ? \
             ORDER BY fetched_at DESC LIMIT 1",
        )
        .bind(master.remote_name_tag(&name))
        .bind(crypto.map(|crypto| master.remote_signet_tag(&name, &crypto)))
        .bind(now.0)
        .fetch_optional(&self.inner.readers)
        .await?;
        let Some((sealed, fetched_at, expires_at)) = row else {
            return Ok(None);
        };
        let (crypto, object) = master.open_remote_signet(&name, &sealed)?;
        Ok(Some(RemoteSignet {
            name,
            crypto,
            object,
            fetched_at: Timestamp(fetched_at),
            expires_at: Timestamp(expires_at),
        }))
    }

    async fn forget_remote_signets(&self, name: &str) -> Result<(), Error> {
        let name_tag = self.inner.master.remote_name_tag(&fold_name(name));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM remote_signets WHERE name_tag = ?")
                        .bind(name_tag)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Others decide how many signets there are and how large, so those that are of no use any more do not stay.
async fn forget_expired_signets(db: &mut SqliteConnection, now: Timestamp) -> Result<(), Error> {
    query(
        "DELETE FROM remote_signets WHERE rowid IN \
         (SELECT rowid FROM remote_signets WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
    )
    .bind(now.0)
    .bind(EXPIRED_SIGNETS_PER_CALL)
    .execute(db)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct SignetRow {
    name: String,
    crypto: Vec<u8>,
    complete: Vec<u8>,
    identifiable: Vec<u8>,
    object: Vec<u8>,
    published_at: i64,
}

impl SignetRow {
    fn open(self) -> Result<StoredSignet, Error> {
        Ok(StoredSignet {
            name: self.name,
            crypto: CryptoFingerprint(fingerprint(&self.crypto)?),
            full: FullFingerprint(fingerprint(&self.complete)?),
            id: IdFingerprint(fingerprint(&self.identifiable)?),
            object: self.object,
            published_at: Timestamp(self.published_at),
        })
    }
}

fn fingerprint(stored: &[u8]) -> Result<[u8; 64], Error> {
    stored.try_into().map_err(|_| Error::Unreadable("fingerprint"))
}
