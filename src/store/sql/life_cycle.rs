//! Changes of keys, signing requests, domains that leave DIME, and pinned signing keys.

use super::connection::{Connection, Done};
use super::query::{query, query_as, query_scalar, row};
use async_trait::async_trait;

use super::database::securely;
use super::signets::demand_current;
use super::{SqlStore, exists};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint};
use crate::mail::address::Domain;
use crate::store::{
    CustodyPin, Error, LifeCycle, MAX_AUTHORS, Retirement, RetirementState, Rollover, RolloverState,
    SigningRequest, Witnessed, fold_name,
};

/// The columns of `RolloverRow`, by name: a later schema may have more.
macro_rules! select_rollovers {
    ($rest:literal) => {
        concat!(
            "SELECT name, state, replaces, started_at, since, due_at FROM rollovers ",
            $rest
        )
    };
}

/// The columns of `RequestRow`, by name: a later schema may have more.
macro_rules! select_signing_requests {
    ($rest:literal) => {
        concat!(
            "SELECT name, object, key_set, submitted_at, rejected_at, reason FROM signing_requests ",
            $rest
        )
    };
}

/// The columns of `RetirementRow`, by name: a later schema may have more.
macro_rules! select_retirements {
    ($rest:literal) => {
        concat!("SELECT name, state, since, due_at FROM retirements ", $rest)
    };
}

/// Pins dropped with each new one: more than come, so that they get fewer.
const EXPIRED_PINS_PER_CALL: i64 = 16;

#[async_trait]
impl LifeCycle for SqlStore {
    async fn begin_rollover(
        &self,
        name: &str,
        replaces: CryptoFingerprint,
        keys: Secret<Vec<u8>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let name = fold_name(name);
        let sealed = self.inner.master.seal_rollover(&name, &keys);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query(
                        "INSERT INTO rollovers (name, state, replaces, sealed, started_at, since) \
                         VALUES ($1, 'generated', $2, $3, $4, $5)",
                    )
                    .bind(name)
                    .bind(&replaces.0[..])
                    .bind(sealed)
                    .bind(now.0)
                    .bind(now.0)
                    .execute(db)
                    .await
                    .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn rollover(&self, name: &str) -> Result<Option<Rollover>, Error> {
        let row: Option<RolloverRow> = query_as(select_rollovers!("WHERE name = $1"))
            .bind(fold_name(name))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(RolloverRow::open).transpose()
    }

    async fn rollover_keys(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let name = fold_name(name);
        let sealed: Option<Vec<u8>> = query_scalar("SELECT sealed FROM rollovers WHERE name = $1")
            .bind(&name)
            .fetch_optional(&self.inner.readers)
            .await?;
        let open = |sealed: Vec<u8>| self.inner.master.open_rollover(&name, &sealed);
        sealed.map(open).transpose()
    }

    async fn rollovers(&self) -> Result<Vec<Rollover>, Error> {
        let rows: Vec<RolloverRow> = query_as(select_rollovers!("ORDER BY name"))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.into_iter().map(RolloverRow::open).collect()
    }

    async fn advance_rollover(
        &self,
        name: &str,
        from: RolloverState,
        to: RolloverState,
        since: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        self.step(
            "UPDATE rollovers SET state = $1, since = $2, due_at = $3 WHERE name = $4 AND state = $5",
            (fold_name(name), from.name(), to.name()),
            (since, due_at),
        )
        .await
    }

    async fn end_rollover(&self, name: &str, from: RolloverState) -> Result<(), Error> {
        let name = fold_name(name);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    // The keys in it are those in use, which stay elsewhere.
                    let done = query("DELETE FROM rollovers WHERE name = $1 AND state = $2")
                        .bind(name)
                        .bind(from.name())
                        .execute(db)
                        .await?;
                    demand_one(done)
                })
            })
            .await
    }

    async fn cancel_rollover(
        &self,
        name: &str,
        from: RolloverState,
        current: Option<FullFingerprint>,
        in_record: Option<VerifyingKey>,
    ) -> Result<(), Error> {
        let name = fold_name(name);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    demand_current(db, &name, &current.into()).await?;
                    // In one step, so that there never is a change of keys without its keys.
                    let gone = name.clone();
                    securely(db, |db| {
                        Box::pin(async move {
                            let done = query("DELETE FROM rollovers WHERE name = $1 AND state = $2")
                                .bind(gone)
                                .bind(from.name())
                                .execute(db)
                                .await?;
                            demand_one(done)
                        })
                    })
                    .await?;
                    if let Some(key) = in_record {
                        query(
                            "INSERT INTO withdrawn_keys (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                        )
                        .bind(name)
                        .bind(&key.0[..])
                        .execute(db)
                        .await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.empty_log().await
    }

    async fn withdrawn_keys(&self, name: &Domain) -> Result<Vec<VerifyingKey>, Error> {
        let keys: Vec<Vec<u8>> = query_scalar("SELECT key FROM withdrawn_keys WHERE name = $1")
            .bind(name.as_str())
            .fetch_all(&self.inner.readers)
            .await?;
        let key = |key: Vec<u8>| key.try_into().map(VerifyingKey);
        let keys: Result<_, _> = keys.into_iter().map(key).collect();
        keys.map_err(|_| Error::Unreadable("withdrawn key"))
    }

    async fn finish_erasing(&self) -> Result<(), Error> {
        self.empty_log().await
    }

    async fn revoke_signets(
        &self,
        name: &str,
        signets: &[CryptoFingerprint],
        now: Timestamp,
    ) -> Result<u64, Error> {
        let name = fold_name(name);
        let signets = signets.to_vec();
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    let mut count = 0;
                    for signet in signets {
                        count += revoke(db, &name, &signet, now).await?;
                    }
                    Ok(count)
                })
            })
            .await
    }

    async fn erase_private_keys(&self, now: Timestamp) -> Result<u64, Error> {
        let now = self.inner.certain(now);
        self.erase_due(
            "UPDATE signets SET private_keys = zeroblob(length(private_keys)) \
             WHERE erase_keys_at <= $1 AND private_keys IS NOT NULL",
            "UPDATE signets SET private_keys = NULL WHERE erase_keys_at <= $1",
            now,
        )
        .await
    }

    async fn submit_request(&self, request: SigningRequest) -> Result<(), Error> {
        let name = fold_name(&request.name);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query(
                        "INSERT INTO signing_requests (name, object, key_set, submitted_at) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (name) DO UPDATE SET object = excluded.object, key_set = excluded.key_set, \
                         submitted_at = excluded.submitted_at, rejected_at = NULL, reason = NULL",
                    )
                    .bind(name)
                    .bind(request.object)
                    .bind(request.key_set)
                    .bind(request.submitted_at.0)
                    .execute(db)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn signing_request(&self, name: &str) -> Result<Option<SigningRequest>, Error> {
        let row: Option<RequestRow> = query_as(select_signing_requests!("WHERE name = $1"))
            .bind(fold_name(name))
            .fetch_optional(&self.inner.readers)
            .await?;
        Ok(row.map(RequestRow::open))
    }

    async fn signing_requests(&self) -> Result<Vec<SigningRequest>, Error> {
        let rows: Vec<RequestRow> = query_as(select_signing_requests!("ORDER BY submitted_at, name"))
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(rows.into_iter().map(RequestRow::open).collect())
    }

    async fn reject_request(
        &self,
        request: &SigningRequest,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (name, object) = (fold_name(&request.name), request.object.clone());
        let reason = reason.to_owned();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query(
                        "UPDATE signing_requests SET rejected_at = $1, reason = $2 \
                         WHERE name = $3 AND object = $4 AND rejected_at IS NULL",
                    )
                    .bind(now.0)
                    .bind(reason)
                    .bind(name)
                    .bind(object)
                    .execute(db)
                    .await?;
                    demand_one(done)
                })
            })
            .await
    }

    async fn drop_request(&self, request: &SigningRequest) -> Result<bool, Error> {
        let (name, object) = (fold_name(&request.name), request.object.clone());
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query("DELETE FROM signing_requests WHERE name = $1 AND object = $2")
                        .bind(name)
                        .bind(object)
                        .execute(db)
                        .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    async fn begin_retirement(&self, name: &Domain, now: Timestamp) -> Result<(), Error> {
        let name = name.to_string();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("INSERT INTO retirements (name, state, since) VALUES ($1, 'announced', $2)")
                        .bind(name)
                        .bind(now.0)
                        .execute(db)
                        .await
                        .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn retirement(&self, name: &Domain) -> Result<Option<Retirement>, Error> {
        let row: Option<RetirementRow> = query_as(select_retirements!("WHERE name = $1"))
            .bind(name.as_str())
            .fetch_optional(self.inner.readers.at_once())
            .await?;
        row.map(RetirementRow::open).transpose()
    }

    async fn retirements(&self) -> Result<Vec<Retirement>, Error> {
        let rows: Vec<RetirementRow> = query_as(select_retirements!("ORDER BY name"))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.into_iter().map(RetirementRow::open).collect()
    }

    async fn advance_retirement(
        &self,
        name: &Domain,
        from: RetirementState,
        to: RetirementState,
        since: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        self.step(
            "UPDATE retirements SET state = $1, since = $2, due_at = $3 WHERE name = $4 AND state = $5",
            (name.to_string(), from.name(), to.name()),
            (since, due_at),
        )
        .await
    }

    async fn finish_retirement(&self, name: &Domain) -> Result<(), Error> {
        let name = name.to_string();
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    let done = query("DELETE FROM retirements WHERE name = $1 AND state = 'withdrawn'")
                        .bind(&name)
                        .execute(&mut *db)
                        .await?;
                    demand_one(done)?;
                    query(
                        "UPDATE local_domains SET policy = NULL, subdomain_policy = NULL, \
                         delivery_hosts = NULL, expiry_days = NULL WHERE name = $1",
                    )
                    .bind(&name)
                    .execute(&mut *db)
                    .await?;
                    query("DELETE FROM rollovers WHERE name = $1")
                        .bind(name)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn cancel_retirement(&self, name: &Domain) -> Result<bool, Error> {
        let name = name.to_string();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query("DELETE FROM retirements WHERE name = $1")
                        .bind(name)
                        .execute(db)
                        .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    async fn custody_pin(&self, name: &str, now: Timestamp) -> Result<Option<CustodyPin>, Error> {
        let now = self.inner.certain(now);
        let name = fold_name(name);
        let sealed: Option<Vec<u8>> =
            query_scalar("SELECT sealed FROM custody_pins WHERE name_tag = $1 AND expires_at > $2")
                .bind(self.inner.master.custody_tag(&name))
                .bind(now.0)
                .fetch_optional(self.inner.readers.at_once())
                .await?;
        let open = |sealed: Vec<u8>| self.inner.master.open_custody(&name, &sealed);
        sealed.map(open).transpose()
    }

    async fn pin_custody(
        &self,
        name: &str,
        before: Option<CustodyPin>,
        after: Witnessed,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let name = fold_name(name);
        let now = self.inner.certain(now);
        let master = self.inner.master.clone();
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    forget_expired(db, now).await?;
                    let tag = master.custody_tag(&name);
                    let sealed: Option<Vec<u8>> =
                        query_scalar("SELECT sealed FROM custody_pins WHERE name_tag = $1 AND expires_at > $2")
                            .bind(&tag)
                            .bind(now.0)
                            .fetch_optional(&mut *db)
                            .await?;
                    let there = sealed.map(|sealed| master.open_custody(&name, &sealed));
                    if there.transpose()? != before {
                        return Ok(false);
                    }
                    query(
                        "INSERT INTO custody_pins (name_tag, sealed, expires_at, written_to) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (name_tag) DO UPDATE SET sealed = excluded.sealed, \
                         expires_at = excluded.expires_at, written_to = MAX(custody_pins.written_to, excluded.written_to)",
                    )
                    .bind(tag)
                    .bind(master.seal_custody(&name, &after.pin))
                    .bind(after.expires_at.0)
                    .bind(i64::from(!after.as_author))
                    .execute(&mut *db)
                    .await?;
                    if before.is_none() && after.as_author {
                        forget_oldest_authors(db, MAX_AUTHORS).await?;
                    }
                    Ok(true)
                })
            })
            .await
    }

    async fn forget_custody_pin(&self, name: &str) -> Result<bool, Error> {
        let tag = self.inner.master.custody_tag(&fold_name(name));
        self.forget_tag("DELETE FROM custody_pins WHERE name_tag = $1", tag)
            .await
    }
}

impl SqlStore {
    /// Deletes what is kept under a tag; whether there was anything.
    pub(super) async fn forget_tag(&self, delete: &'static str, tag: Vec<u8>) -> Result<bool, Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query(delete).bind(tag).execute(db).await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    /// Takes a row from one state to the next by `update`; [`Error::Changed`] if it is in another by now.
    async fn step(
        &self,
        update: &'static str,
        (name, from, to): (String, &'static str, &'static str),
        (since, due_at): (Timestamp, Option<Timestamp>),
    ) -> Result<(), Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query(update)
                        .bind(to)
                        .bind(since.0)
                        .bind(due_at.map(|at| at.0))
                        .bind(name)
                        .bind(from)
                        .execute(db)
                        .await?;
                    demand_one(done)
                })
            })
            .await
    }
}

/// What was to be changed has been changed by somebody else.
fn demand_one(done: Done) -> Result<(), Error> {
    match done.rows_affected() {
        0 => Err(Error::Changed),
        _ => Ok(()),
    }
}

/// Takes all signets of a domain or address, folded, out of service, and erases every private key that is kept of it.
pub(super) async fn erase_keys(db: &mut Connection, name: &str, now: Timestamp) -> Result<(), Error> {
    query("UPDATE signets SET revoked_at = $1 WHERE name = $2 AND revoked_at IS NULL")
        .bind(now.0)
        .bind(name)
        .execute(&mut *db)
        .await?;
    for sql in [
        "UPDATE signets SET private_keys = NULL WHERE name = $1 AND private_keys IS NOT NULL",
        "DELETE FROM kem_keys WHERE name = $1",
        "DELETE FROM key_sets_ahead WHERE name = $1",
        "DELETE FROM rollovers WHERE name = $1",
        "DELETE FROM signing_requests WHERE name = $1",
    ] {
        query(sql).bind(name).execute(&mut *db).await?;
    }
    Ok(())
}

async fn revoke(
    db: &mut Connection,
    name: &str,
    signet: &CryptoFingerprint,
    now: Timestamp,
) -> Result<u64, Error> {
    let done =
        query("UPDATE signets SET revoked_at = $1 WHERE name = $2 AND crypto = $3 AND revoked_at IS NULL")
            .bind(now.0)
            .bind(name)
            .bind(&signet.0[..])
            .execute(db)
            .await?;
    Ok(done.rows_affected())
}

async fn forget_expired(db: &mut Connection, now: Timestamp) -> Result<(), Error> {
    query(
        "DELETE FROM custody_pins WHERE name_tag IN \
         (SELECT name_tag FROM custody_pins WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now.0)
    .bind(EXPIRED_PINS_PER_CALL)
    .execute(db)
    .await?;
    Ok(())
}

/// Leaves those seen last. More go than come, so that they get fewer.
async fn forget_oldest_authors(db: &mut Connection, most: u32) -> Result<(), Error> {
    query(
        "DELETE FROM custody_pins WHERE name_tag IN (SELECT name_tag FROM custody_pins WHERE written_to = 0 \
         ORDER BY expires_at DESC LIMIT $1 OFFSET $2)",
    )
    .bind(EXPIRED_PINS_PER_CALL)
    .bind(most)
    .execute(db)
    .await?;
    Ok(())
}

row! {
    struct RolloverRow {
        name: String,
        state: String,
        replaces: Vec<u8>,
        started_at: i64,
        since: i64,
        due_at: Option<i64>,
    }
}

impl RolloverRow {
    fn open(self) -> Result<Rollover, Error> {
        let unreadable = || Error::Unreadable("rollover");
        Ok(Rollover {
            state: RolloverState::parse(&self.state).ok_or_else(unreadable)?,
            replaces: CryptoFingerprint(self.replaces.try_into().map_err(|_| unreadable())?),
            name: self.name,
            started_at: Timestamp(self.started_at),
            since: Timestamp(self.since),
            due_at: self.due_at.map(Timestamp),
        })
    }
}

row! {
    struct RequestRow {
        name: String,
        object: Vec<u8>,
        key_set: Option<Vec<u8>>,
        submitted_at: i64,
        rejected_at: Option<i64>,
        reason: Option<String>,
    }
}

impl RequestRow {
    fn open(self) -> SigningRequest {
        SigningRequest {
            name: self.name,
            object: self.object,
            key_set: self.key_set,
            submitted_at: Timestamp(self.submitted_at),
            rejected: self.rejected_at.map(Timestamp).zip(self.reason),
        }
    }
}

row! {
    struct RetirementRow {
        name: String,
        state: String,
        since: i64,
        due_at: Option<i64>,
    }
}

impl RetirementRow {
    fn open(self) -> Result<Retirement, Error> {
        let unreadable = || Error::Unreadable("retirement");
        Ok(Retirement {
            name: Domain::parse(&self.name).map_err(|_| unreadable())?,
            state: RetirementState::parse(&self.state).ok_or_else(unreadable)?,
            since: Timestamp(self.since),
            due_at: self.due_at.map(Timestamp),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;
    use crate::base::time::ManualClock;
    use crate::crypto::at_rest::Key;
    use crate::store::MasterKey;

    /// Of seven authors the last four stay, and so does whoever was written to, however long ago.
    #[tokio::test]
    async fn keys_of_authors_do_not_pile_up_and_push_out_nobody_who_was_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp(1_800_000_000_000);
        let master = MasterKey::new(Key::from_bytes([7; 32]));
        let path = folder.path().join("dimed.db");
        let store = SqlStore::open(&path, master, Arc::new(ManualClock::new(now)));
        let store = store.await.unwrap();
        let name = |number: u8| format!("user{number}@evil.test");
        for number in 0..9 {
            let after = Witnessed {
                pin: CustodyPin {
                    signing_key: VerifyingKey([number; 32]),
                    signet: CryptoFingerprint([number; 64]),
                },
                expires_at: Timestamp(now.0 + 1000 + i64::from(number)),
                as_author: number > 1,
            };
            assert!(store.pin_custody(&name(number), None, after, now).await.unwrap());
        }
        let forget = store.inner.write(|db| Box::pin(forget_oldest_authors(db, 4)));
        forget.await.unwrap();
        for number in 0..9 {
            let found = store.custody_pin(&name(number), now).await.unwrap();
            assert_eq!(found.is_some(), !(2..5).contains(&number), "{number}");
        }
    }
}
