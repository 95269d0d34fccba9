//! Signets and private keys.

use std::collections::HashMap;

use super::connection::Connection;
use super::query::{query, query_as, query_scalar, row};
use async_trait::async_trait;

use super::key_sets::add_kem_keys;
use super::readers::Readers;
use super::{SqlStore, exists};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint, IdFingerprint};
use crate::dime::signet::Signet;
use crate::store::kept::signets::CurrentSignet;
use crate::store::{
    Error, HistoricSignet, MasterKey, NewestSignet, Publication, RangeBound, RemoteSignet, Replaces,
    Rollover, SignetStanding, Signets, StoredSignet, Wanted, fold_name,
};

/// The columns of `RemoteRow`, by name: a later schema may have more.
macro_rules! select_remote_signets {
    ($rest:literal) => {
        concat!(
            "SELECT sealed, fetched_at, current_until, expires_at FROM remote_signets ",
            $rest
        )
    };
}

/// The columns of `SignetRow`, by name: a later schema may have more.
macro_rules! select_signets {
    ($rest:literal) => {
        concat!(
            "SELECT name, crypto, complete, identifiable, \
            object, private_keys, published_at, revoked_at, erase_keys_at FROM signets ",
            $rest
        )
    };
}

/// Expired signets dropped with each new one: more than come, so that they get fewer.
const EXPIRED_SIGNETS_PER_CALL: i64 = 16;

/// Signets of others kept at most. Others decide how many there are: a domain can have users without end.
const MAX_REMOTE_SIGNETS: i64 = 10_000;

/// Where a history begins and ends, and how much is in between: sizes are known without reading the objects. Parameters: name,
/// fingerprints of any kind.
const RANGE_SIZE: &str = "WITH ends AS (SELECT \
     (SELECT MIN(seq) FROM signets WHERE name = $1 AND revoked_at IS NULL \
      AND ($2 IS NULL OR crypto = $2 OR complete = $2 OR identifiable = $2)) AS first, \
     (SELECT MAX(seq) FROM signets WHERE name = $1 AND revoked_at IS NULL \
      AND ($3 IS NULL OR crypto = $3 OR complete = $3 OR identifiable = $3)) AS last) \
     SELECT MIN(seq) AS first, MAX(seq) AS last, COUNT(*) AS count, SUM(length(object)) AS octets \
     FROM ends JOIN signets ON name = $1 AND revoked_at IS NULL AND seq BETWEEN first AND last";
/// Parameters: name, first and last place.
const RANGE: &str = "SELECT object FROM signets WHERE name = $1 AND revoked_at IS NULL \
     AND seq BETWEEN $2 AND $3 ORDER BY seq";

/// The current signet, and which one was asked about. Parameters: name, fingerprint of any kind.
const STANDING: &str = "SELECT crypto, complete, identifiable, revoked_at, \
     (SELECT complete FROM signets WHERE name = $1 AND revoked_at IS NULL \
      AND (crypto = $2 OR complete = $2 OR identifiable = $2) ORDER BY seq DESC LIMIT 1) AS asked \
     FROM signets WHERE name = $1 ORDER BY seq DESC LIMIT 1";

/// What is kept in memory of the current signet, with private keys that stand beside the first signet that has them; zeros are
/// being erased. Parameter: name.
const CURRENT: &str = "SELECT crypto, complete, identifiable, object, published_at, revoked_at, \
     (SELECT kept.private_keys FROM signets AS kept WHERE kept.name = newest.name AND kept.crypto = newest.crypto \
      AND kept.private_keys <> zeroblob(length(kept.private_keys)) ORDER BY kept.seq DESC LIMIT 1) AS private_keys \
     FROM signets AS newest WHERE name = $1 ORDER BY seq DESC LIMIT 1";

/// Keys are kept beside the first signet that has them. Parameters: name, limit.
const NEWEST: &str = "SELECT name, object, revoked_at, \
     EXISTS (SELECT 1 FROM signets AS kept WHERE kept.name = newest.name AND kept.crypto = newest.crypto \
      AND kept.private_keys IS NOT NULL) AS keys_kept \
     FROM signets AS newest WHERE seq IN \
     (SELECT MAX(seq) FROM signets WHERE name > $1 GROUP BY name ORDER BY name LIMIT $2) ORDER BY name";

/// Parameters: name, now, tag of what is wanted.
const REMOTE_CURRENT: &str = select_remote_signets!(
    "WHERE name_tag = $1 AND expires_at > $2 AND current_until > $2 AND $3 IS NULL \
     ORDER BY current_until DESC, fetched_at DESC LIMIT 1"
);
/// Parameters: name, now.
const REMOTE_LAST: &str = select_remote_signets!(
    "WHERE name_tag = $1 AND expires_at > $2 AND current_until IS NOT NULL \
     ORDER BY current_until DESC, fetched_at DESC LIMIT 1"
);
const REMOTE_BY_KEYS: &str = select_remote_signets!(
    "WHERE name_tag = $1 AND expires_at > $2 AND crypto_tag = $3 ORDER BY fetched_at DESC LIMIT 1"
);
const REMOTE_BY_SIGNET: &str =
    select_remote_signets!("WHERE name_tag = $1 AND expires_at > $2 AND signet_tag = $3");

#[async_trait]
impl Signets for SqlStore {
    async fn publish_signet(&self, publication: Publication) -> Result<(), Error> {
        let Publication {
            signet,
            private_keys,
            kem_keys,
            replaces,
            erase_older_at,
            during,
        } = publication;
        let name = fold_name(&signet.name);
        let master = &self.inner.master;
        let sealed = private_keys.map(|keys| master.seal_private_keys(&name, &signet.crypto, &keys));
        let kem_keys = kem_keys.map(|kept| (master.seal_kem_keys(&name, &signet.full, &kept.keys), kept));
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    demand_current(db, &name, &replaces).await?;
                    if let Some(rollover) = during {
                        demand_rollover(db, &name, &rollover).await?;
                    }
                    query(
                        "INSERT INTO signets (name, crypto, complete, identifiable, object, private_keys, \
                         published_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    )
                    .bind(&name)
                    .bind(&signet.crypto.0[..])
                    .bind(&signet.full.0[..])
                    .bind(&signet.id.0[..])
                    .bind(&signet.object)
                    .bind(sealed)
                    .bind(signet.published_at.0)
                    .execute(&mut *db)
                    .await
                    .map_err(exists)?;
                    if let Some(at) = erase_older_at {
                        erase_older(db, &name, &signet.crypto, at).await?;
                    }
                    if let Some((sealed, kept)) = kem_keys {
                        add_kem_keys(db, &name, &signet.full, sealed, &kept).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn current_signet(&self, name: &str) -> Result<Option<StoredSignet>, Error> {
        let name = fold_name(name);
        let current = self.inner.kept_signet(&name).await?;
        Ok(current.map(|current| current.stored(name)))
    }

    async fn signet_by_fingerprint(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<StoredSignet>, Error> {
        let name = fold_name(name);
        if let Some(current) = self.inner.kept_signet(&name).await?
            && current.is(&fingerprint)
        {
            return Ok(Some(current.stored(name)));
        }
        let row: Option<SignetRow> = query_as(select_signets!(
            "WHERE name = $1 AND (crypto = $2 OR complete = $2 OR identifiable = $2) \
             AND revoked_at IS NULL ORDER BY seq DESC LIMIT 1"
        ))
        .bind(name)
        .bind(&fingerprint.0[..])
        .fetch_optional(self.inner.readers.at_once())
        .await?;
        row.map(SignetRow::open).transpose()
    }

    async fn served_signet(
        &self,
        name: &str,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(current) = self.inner.kept_signet(&fold_name(name)).await? else {
            return self.older_signet(name, fingerprint).await;
        };
        match fingerprint.is_none_or(|asked| current.is(&asked)) {
            true => Ok(Some(current.object.clone())),
            false => self.older_signet(name, fingerprint).await,
        }
    }

    async fn signet_standing(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<SignetStanding>, Error> {
        let name = fold_name(name);
        match self.inner.kept_signet(&name).await? {
            None => Ok(None),
            Some(current) if current.is(&fingerprint) => Ok(Some(SignetStanding {
                asked: current.full,
                current: current.full,
            })),
            Some(_) => self.older_standing(&name, fingerprint).await,
        }
    }

    async fn signet_names(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        let names = query_scalar("SELECT DISTINCT name FROM signets WHERE name > $1 ORDER BY name LIMIT $2")
            .bind(after.unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(names)
    }

    async fn newest_signets(&self, after: Option<&str>, limit: u32) -> Result<Vec<NewestSignet>, Error> {
        let rows: Vec<NewestRow> = query_as(NEWEST)
            .bind(after.unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(rows.into_iter().map(NewestRow::open).collect())
    }

    async fn signet_history(&self, name: &str) -> Result<Vec<HistoricSignet>, Error> {
        let rows: Vec<SignetRow> = query_as(select_signets!("WHERE name = $1 ORDER BY seq"))
            .bind(fold_name(name))
            .fetch_all(&self.inner.readers)
            .await?;
        // One row has the private keys of all that differ in the key set alone.
        let kept: HashMap<Vec<u8>, Option<i64>> = rows
            .iter()
            .filter(|row| row.has_private_keys())
            .map(|row| (row.crypto.clone(), row.erase_keys_at))
            .collect();
        let historic = |row: SignetRow| {
            let keys = kept.get(&row.crypto);
            Ok(HistoricSignet {
                revoked_at: row.revoked_at.map(Timestamp),
                keys_kept: keys.is_some(),
                erase_keys_at: keys.copied().unwrap_or(row.erase_keys_at).map(Timestamp),
                signet: row.open()?,
            })
        };
        rows.into_iter().map(historic).collect()
    }

    async fn signet_range(
        &self,
        name: &str,
        start: Option<AnyFingerprint>,
        stop: Option<AnyFingerprint>,
        most: RangeBound,
    ) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let name = fold_name(name);
        let octets_of = |end: Option<AnyFingerprint>| end.map(|end| end.0.to_vec());
        let size: RangeSize = query_as(RANGE_SIZE)
            .bind(&name)
            .bind(octets_of(start))
            .bind(octets_of(stop))
            .fetch_one(&self.inner.readers)
            .await?;
        let (Some(first), Some(last), Some(octets)) = (size.first, size.last, size.octets) else {
            return Ok(None);
        };
        if size.count > most.signets.into() || octets > most.octets.into() {
            return Err(Error::TooLong);
        }
        // What has come since lies behind the last place, so it is no more than that.
        let objects = query_scalar(RANGE)
            .bind(name)
            .bind(first)
            .bind(last)
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(Some(objects))
    }

    async fn private_keys(
        &self,
        name: &str,
        signet: CryptoFingerprint,
    ) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let name = fold_name(name);
        if let Some(current) = self.inner.kept_signet(&name).await?
            && current.crypto == signet
        {
            let sealed = current.private_keys.as_ref();
            let open = |sealed: &Vec<u8>| self.inner.master.open_private_keys(&name, &signet, sealed);
            return sealed.map(open).transpose();
        }
        let sealed: Option<Option<Vec<u8>>> = query_scalar(
            // Zeros are being erased.
            "SELECT NULLIF(private_keys, zeroblob(length(private_keys))) FROM signets \
             WHERE name = $1 AND crypto = $2 ORDER BY NULLIF(private_keys, zeroblob(length(private_keys))) IS NULL, seq DESC LIMIT 1",
        )
        .bind(&name)
        .bind(&signet.0[..])
        .fetch_optional(self.inner.readers.at_once())
        .await?;
        let open = |sealed: Vec<u8>| self.inner.master.open_private_keys(&name, &signet, &sealed);
        sealed.flatten().map(open).transpose()
    }

    async fn remember_remote_signet(&self, signet: RemoteSignet) -> Result<(), Error> {
        let name = fold_name(&signet.name);
        let master = &self.inner.master;
        let name_tag = master.remote_name_tag(&name);
        let crypto_tag = master.remote_signet_tag(&name, &signet.crypto.into());
        let signet_tag = match signet.full {
            Some(full) => master.remote_signet_tag(&name, &full.into()),
            None => crypto_tag.clone(),
        };
        let sealed = master.seal_remote_signet(&name, &signet.crypto, &signet.object);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    forget_expired_signets(db, signet.fetched_at).await?;
                    forget_oldest_signets(db, MAX_REMOTE_SIGNETS).await?;
                    query(
                        "INSERT INTO remote_signets (name_tag, signet_tag, crypto_tag, sealed, fetched_at, \
                         current_until, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                         ON CONFLICT (name_tag, signet_tag) DO UPDATE SET sealed = excluded.sealed, \
                         fetched_at = excluded.fetched_at, \
                         current_until = COALESCE(excluded.current_until, remote_signets.current_until), \
                         expires_at = MAX(excluded.expires_at, remote_signets.expires_at)",
                    )
                    .bind(name_tag)
                    .bind(signet_tag)
                    .bind(crypto_tag)
                    .bind(sealed)
                    .bind(signet.fetched_at.0)
                    .bind(signet.current_until.map(|until| until.0))
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
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Option<RemoteSignet>, Error> {
        let name = fold_name(name);
        let master = &self.inner.master;
        let (sql, tag) = match wanted {
            Wanted::Current => (REMOTE_CURRENT, None),
            Wanted::Crypto(print) => (
                REMOTE_BY_KEYS,
                Some(master.remote_signet_tag(&name, &print.into())),
            ),
            Wanted::Full(print) => (
                REMOTE_BY_SIGNET,
                Some(master.remote_signet_tag(&name, &print.into())),
            ),
        };
        let row: Option<RemoteRow> = query_as(sql)
            .bind(master.remote_name_tag(&name))
            .bind(now.0)
            .bind(tag)
            .fetch_optional(self.inner.readers.at_once())
            .await?;
        row.map(|row| row.open(master, name)).transpose()
    }

    async fn last_current_signet(&self, name: &str, now: Timestamp) -> Result<Option<RemoteSignet>, Error> {
        let name = fold_name(name);
        let master = &self.inner.master;
        let row: Option<RemoteRow> = query_as(REMOTE_LAST)
            .bind(master.remote_name_tag(&name))
            .bind(now.0)
            .fetch_optional(self.inner.readers.at_once())
            .await?;
        row.map(|row| row.open(master, name)).transpose()
    }

    async fn forget_remote_signets(&self, name: &str) -> Result<(), Error> {
        let name_tag = self.inner.master.remote_name_tag(&fold_name(name));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM remote_signets WHERE name_tag = $1")
                        .bind(name_tag)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

impl SqlStore {
    /// The object of a signet that is not the current one.
    async fn older_signet(
        &self,
        name: &str,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(asked) = fingerprint else {
            return Ok(None);
        };
        let found = self.signet_by_fingerprint(name, asked).await?;
        Ok(found.map(|signet| signet.object))
    }

    /// How a signet that is not the current one stands to it.
    async fn older_standing(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<SignetStanding>, Error> {
        let row: Option<StandingRow> = query_as(STANDING)
            .bind(name)
            .bind(&fingerprint.0[..])
            .fetch_optional(self.inner.readers.at_once())
            .await?;
        let in_service = row.filter(|row| row.revoked_at.is_none());
        in_service.map_or(Ok(None), StandingRow::open)
    }
}

/// The current signet of a folded name, if it is in service.
pub(super) async fn read_current(readers: &Readers, name: &str) -> Result<Option<CurrentSignet>, Error> {
    let row: Option<CurrentRow> = query_as(CURRENT)
        .bind(name)
        .fetch_optional(readers.at_once())
        .await?;
    let in_service = row.filter(|row| row.revoked_at.is_none());
    in_service.map(CurrentRow::open).transpose()
}

/// Private keys of signets that this one replaces are needed for what is under way, and not longer.
async fn erase_older(
    db: &mut Connection,
    name: &str,
    keys: &CryptoFingerprint,
    at: Timestamp,
) -> Result<(), Error> {
    query(
        "UPDATE signets SET erase_keys_at = $1 WHERE name = $2 AND crypto <> $3 \
         AND private_keys IS NOT NULL AND erase_keys_at IS NULL",
    )
    .bind(at.0)
    .bind(name)
    .bind(&keys.0[..])
    .execute(db)
    .await?;
    Ok(())
}

/// Others decide how many signets there are and how large, so those that are of no use any more do not stay.
async fn forget_expired_signets(db: &mut Connection, now: Timestamp) -> Result<(), Error> {
    query(
        "DELETE FROM remote_signets WHERE rowid IN \
         (SELECT rowid FROM remote_signets WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now.0)
    .bind(EXPIRED_SIGNETS_PER_CALL)
    .execute(db)
    .await?;
    Ok(())
}

/// Leaves the newest. Row ids grow, so nothing is counted; what was fetched again keeps the age of its first copy.
async fn forget_oldest_signets(db: &mut Connection, most: i64) -> Result<(), Error> {
    query("DELETE FROM remote_signets WHERE rowid <= (SELECT MAX(rowid) FROM remote_signets) - $1")
        .bind(most)
        .execute(db)
        .await?;
    Ok(())
}

/// Whoever made a signet from the current one must not undo what has come since.
pub(super) async fn demand_current(
    db: &mut Connection,
    name: &str,
    expected: &Replaces,
) -> Result<(), Error> {
    let newest: Option<(Vec<u8>, Option<i64>)> =
        query_as("SELECT complete, revoked_at FROM signets WHERE name = $1 ORDER BY seq DESC LIMIT 1")
            .bind(name)
            .fetch_optional(db)
            .await?;
    let current = newest.filter(|(_, revoked_at)| revoked_at.is_none());
    let current = current.map(|(current, _)| current);
    let fits = match expected {
        Replaces::Whatever => true,
        Replaces::Nothing => current.is_none(),
        Replaces::Signet(expected) => current.is_some_and(|current| current == expected.0),
    };
    fits.then_some(()).ok_or(Error::Changed)
}

/// One that was called off, and another one begun since, is not the one.
async fn demand_rollover(db: &mut Connection, name: &str, expected: &Rollover) -> Result<(), Error> {
    let is_there: bool = query_scalar(
        "SELECT EXISTS (SELECT 1 FROM rollovers WHERE name = $1 AND state = $2 AND started_at = $3)",
    )
    .bind(name)
    .bind(expected.state.name())
    .bind(expected.started_at.0)
    .fetch_one(db)
    .await?;
    is_there.then_some(()).ok_or(Error::Changed)
}

row! {
    struct RemoteRow {
        sealed: Vec<u8>,
        fetched_at: i64,
        current_until: Option<i64>,
        expires_at: i64,
    }
}

impl RemoteRow {
    fn open(self, master: &MasterKey, name: String) -> Result<RemoteSignet, Error> {
        let (crypto, object) = master.open_remote_signet(&name, &self.sealed)?;
        Ok(RemoteSignet {
            name,
            crypto,
            full: Signet::decode(&object)
                .ok()
                .and_then(|signet| signet.full_fingerprint()),
            object,
            fetched_at: Timestamp(self.fetched_at),
            current_until: self.current_until.map(Timestamp),
            expires_at: Timestamp(self.expires_at),
        })
    }
}

row! {
    struct StandingRow {
        crypto: Vec<u8>,
        complete: Vec<u8>,
        identifiable: Vec<u8>,
        revoked_at: Option<i64>,
        asked: Option<Vec<u8>>,
    }
}

impl StandingRow {
    /// A row that is damaged might be the one asked about, so it is not said that there is none.
    fn open(self) -> Result<Option<SignetStanding>, Error> {
        fingerprint(&self.crypto)?;
        fingerprint(&self.identifiable)?;
        let current = FullFingerprint(fingerprint(&self.complete)?);
        let asked = self.asked.map(|asked| fingerprint(&asked)).transpose()?;
        Ok(asked.map(|asked| SignetStanding {
            asked: FullFingerprint(asked),
            current,
        }))
    }
}

row! {
    /// All `None` if there is nothing in between.
    struct RangeSize {
        first: Option<i64>,
        last: Option<i64>,
        count: i64,
        octets: Option<i64>,
    }
}

row! {
    struct CurrentRow {
        crypto: Vec<u8>,
        complete: Vec<u8>,
        identifiable: Vec<u8>,
        object: Vec<u8>,
        published_at: i64,
        revoked_at: Option<i64>,
        private_keys: Option<Vec<u8>>,
    }
}

impl CurrentRow {
    fn open(self) -> Result<CurrentSignet, Error> {
        Ok(CurrentSignet {
            crypto: CryptoFingerprint(fingerprint(&self.crypto)?),
            full: FullFingerprint(fingerprint(&self.complete)?),
            id: IdFingerprint(fingerprint(&self.identifiable)?),
            object: self.object,
            published_at: Timestamp(self.published_at),
            private_keys: self.private_keys,
        })
    }
}

impl CurrentSignet {
    /// The signet of that folded name.
    fn stored(&self, name: String) -> StoredSignet {
        StoredSignet {
            name,
            crypto: self.crypto,
            full: self.full,
            id: self.id,
            object: self.object.clone(),
            published_at: self.published_at,
        }
    }
}

row! {
    struct NewestRow {
        name: String,
        object: Vec<u8>,
        revoked_at: Option<i64>,
        keys_kept: bool,
    }
}

impl NewestRow {
    fn open(self) -> NewestSignet {
        NewestSignet {
            name: self.name,
            object: self.object,
            keys_kept: self.keys_kept,
            is_revoked: self.revoked_at.is_some(),
        }
    }
}

row! {
    struct SignetRow {
        name: String,
        crypto: Vec<u8>,
        complete: Vec<u8>,
        identifiable: Vec<u8>,
        object: Vec<u8>,
        private_keys: Option<Vec<u8>>,
        published_at: i64,
        revoked_at: Option<i64>,
        erase_keys_at: Option<i64>,
    }
}

impl SignetRow {
    /// Zeros are being erased.
    fn has_private_keys(&self) -> bool {
        let keys = self.private_keys.as_ref();
        keys.is_some_and(|keys| keys.iter().any(|octet| *octet != 0))
    }

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::time::ManualClock;
    use crate::crypto::at_rest::Key;

    fn remote(number: u8) -> RemoteSignet {
        let fetched_at = Timestamp(1_800_000_000_000 + i64::from(number));
        RemoteSignet {
            name: format!("user{number}@evil.test"),
            crypto: CryptoFingerprint([number; 64]),
            full: None,
            object: vec![number],
            fetched_at,
            current_until: None,
            expires_at: fetched_at.after(Duration::from_secs(3600)),
        }
    }

    #[tokio::test]
    async fn signets_of_others_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
        let master = MasterKey::new(Key::from_bytes([7; 32]));
        let path = folder.path().join("dimed.db");
        let store = SqlStore::open(&path, master, clock).await.unwrap();
        for number in 0..9 {
            store.remember_remote_signet(remote(number)).await.unwrap();
        }
        let forget = store.inner.write(|db| Box::pin(forget_oldest_signets(db, 4)));
        forget.await.unwrap();
        for number in 0..9 {
            let RemoteSignet {
                name,
                crypto,
                fetched_at,
                ..
            } = remote(number);
            let wanted = Wanted::Crypto(crypto);
            let found = store.remote_signet(&name, wanted, fetched_at).await.unwrap();
            assert_eq!(found.is_some(), number >= 5, "{number}");
        }
    }
}
