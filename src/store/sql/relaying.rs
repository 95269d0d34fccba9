//! Relay domains, their recipients, and rewritten reverse-paths.

use super::connection::Connection;
use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::{SqlStore, exists};
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Error, RelayDomain, RelayRemoval, Relaying, Verification, fold_ascii};

/// Recipients remembered as known, at most: hosts that know everybody shall not fill the disk.
const MOST_KNOWN: i64 = 100_000;

/// Rows that are forgotten in one transaction.
const FORGOTTEN_PER_CALL: i64 = 100;

type Row = (String, String, i64);

fn open((name, verification, created_at): Row) -> Result<RelayDomain, Error> {
    Ok(RelayDomain {
        name: Domain::parse(&name).map_err(|_| Error::Unreadable("domain"))?,
        verification: Verification::parse(&verification).ok_or(Error::Unreadable("verification"))?,
        created_at: Timestamp(created_at),
    })
}

#[async_trait]
impl Relaying for SqlStore {
    async fn add_relay_domain(&self, domain: RelayDomain) -> Result<(), Error> {
        self.inner
            .change_kept(move |db| Box::pin(async move { add(db, &domain).await }))
            .await
    }

    async fn relay_domain(&self, name: &Domain) -> Result<Option<RelayDomain>, Error> {
        let read = async {
            let row: Option<Row> =
                query_as("SELECT name, verification, created_at FROM relay_domains WHERE name = $1")
                    .bind(name.as_str())
                    .fetch_optional(&self.inner.readers)
                    .await?;
            row.map(open).transpose()
        };
        self.inner.kept_row(name, read).await
    }

    async fn list_relay_domains(&self) -> Result<Vec<RelayDomain>, Error> {
        let rows: Vec<Row> =
            query_as("SELECT name, verification, created_at FROM relay_domains ORDER BY name")
                .fetch_all(&self.inner.readers)
                .await?;
        rows.into_iter().map(open).collect()
    }

    async fn set_verification(&self, name: &Domain, verification: Verification) -> Result<bool, Error> {
        let name = name.to_string();
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    let done = query("UPDATE relay_domains SET verification = $1 WHERE name = $2")
                        .bind(verification.name())
                        .bind(name)
                        .execute(db)
                        .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    async fn remove_relay_domain(&self, name: &Domain) -> Result<RelayRemoval, Error> {
        let name = name.to_string();
        self.inner
            .change_kept(move |db| Box::pin(async move { remove(db, &name).await }))
            .await
    }

    async fn is_relay_recipient(&self, address: &Mailbox) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM relay_recipients WHERE domain = $1 AND folded = $2)";
        let found = query_scalar(sql)
            .bind(address.domain().as_str())
            .bind(fold_ascii(address))
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(found)
    }

    async fn add_relay_recipients(
        &self,
        domain: &Domain,
        addresses: Vec<Mailbox>,
        replaces: bool,
    ) -> Result<u64, Error> {
        let domain = domain.to_string();
        self.inner
            .write(move |db| Box::pin(async move { list(db, &domain, &addresses, replaces).await }))
            .await
    }

    async fn remove_relay_recipients(&self, addresses: Vec<Mailbox>) -> Result<u64, Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let mut removed = 0;
                    for address in &addresses {
                        let done = query("DELETE FROM relay_recipients WHERE domain = $1 AND folded = $2")
                            .bind(address.domain().as_str())
                            .bind(fold_ascii(address))
                            .execute(&mut *db)
                            .await?;
                        removed += done.rows_affected();
                    }
                    Ok(removed)
                })
            })
            .await
    }

    async fn list_relay_recipients(
        &self,
        domain: &Domain,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let sql =
            "SELECT folded FROM relay_recipients WHERE domain = $1 AND folded > $2 ORDER BY folded LIMIT $3";
        let rows = query_scalar(sql)
            .bind(domain.as_str())
            .bind(after.unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(rows)
    }

    async fn known_since(&self, recipient: &Mailbox) -> Result<Option<Timestamp>, Error> {
        let tag = self.inner.master.callout_tag(&fold_ascii(recipient));
        let at: Option<i64> = query_scalar("SELECT asked_at FROM callouts WHERE tag = $1")
            .bind(tag)
            .fetch_optional(&self.inner.readers)
            .await?;
        Ok(at.map(Timestamp))
    }

    async fn note_known(&self, recipient: &Mailbox, now: Timestamp, expired: Timestamp) -> Result<(), Error> {
        let tag = self.inner.master.callout_tag(&fold_ascii(recipient));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query(
                        "INSERT INTO callouts (tag, asked_at) VALUES ($1, $2) \
                         ON CONFLICT (tag) DO UPDATE SET asked_at = excluded.asked_at",
                    )
                    .bind(tag)
                    .bind(now.0)
                    .execute(&mut *db)
                    .await?;
                    forget_known(db, expired).await
                })
            })
            .await
    }

    async fn note_unknown(&self, recipient: &Mailbox) -> Result<(), Error> {
        let tag = self.inner.master.callout_tag(&fold_ascii(recipient));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query("DELETE FROM callouts WHERE tag = $1")
                        .bind(tag)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    fn srs_mac(&self, day: u64, text: &str) -> [u8; 32] {
        self.inner.master.srs_mac(day, text)
    }

    async fn keep_srs_path(
        &self,
        id: &str,
        path: &Mailbox,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        let (id, sealed) = (id.to_owned(), self.inner.master.seal_srs_path(id, path));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let forgotten = "DELETE FROM srs_paths WHERE id IN \
                                     (SELECT id FROM srs_paths WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
                    query(forgotten)
                        .bind(now.0)
                        .bind(FORGOTTEN_PER_CALL)
                        .execute(&mut *db)
                        .await?;
                    query("INSERT INTO srs_paths (id, sealed, expires_at) VALUES ($1, $2, $3) \
                         ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, expires_at = excluded.expires_at")
                        .bind(id)
                        .bind(sealed)
                        .bind(expires_at.0)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn srs_path(&self, id: &str, now: Timestamp) -> Result<Option<Mailbox>, Error> {
        let sealed: Option<Vec<u8>> =
            query_scalar("SELECT sealed FROM srs_paths WHERE id = $1 AND expires_at >= $2")
                .bind(id)
                .bind(now.0)
                .fetch_optional(&self.inner.readers)
                .await?;
        sealed
            .map(|sealed| self.inner.master.open_srs_path(id, &sealed))
            .transpose()
    }
}

async fn add(db: &mut Connection, domain: &RelayDomain) -> Result<(), Error> {
    let is_served: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM local_domains WHERE name = $1)")
        .bind(domain.name.as_str())
        .fetch_one(&mut *db)
        .await?;
    if is_served {
        return Err(Error::Exists);
    }
    query("INSERT INTO relay_domains (name, verification, created_at) VALUES ($1, $2, $3)")
        .bind(domain.name.as_str())
        .bind(domain.verification.name())
        .bind(domain.created_at.0)
        .execute(db)
        .await
        .map_err(exists)?;
    Ok(())
}

async fn remove(db: &mut Connection, name: &str) -> Result<RelayRemoval, Error> {
    let waits = "SELECT COUNT(*) FROM recipients WHERE destination = $1 AND state IN ('waiting', 'held', 'quarantined')";
    let waits: i64 = query_scalar(waits).bind(name).fetch_one(&mut *db).await?;
    if waits > 0 {
        return Ok(RelayRemoval::MailWaits(waits.unsigned_abs()));
    }
    let done = query("DELETE FROM relay_domains WHERE name = $1")
        .bind(name)
        .execute(db)
        .await?;
    Ok(match done.rows_affected() {
        0 => RelayRemoval::Missing,
        _ => RelayRemoval::Done,
    })
}

async fn list(
    db: &mut Connection,
    domain: &str,
    addresses: &[Mailbox],
    replaces: bool,
) -> Result<u64, Error> {
    let is_relayed: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM relay_domains WHERE name = $1)")
        .bind(domain)
        .fetch_one(&mut *db)
        .await?;
    if !is_relayed {
        return Err(Error::Missing);
    }
    if replaces {
        query("DELETE FROM relay_recipients WHERE domain = $1")
            .bind(domain)
            .execute(&mut *db)
            .await?;
    }
    let mut added = 0;
    for address in addresses {
        let done =
            query("INSERT INTO relay_recipients (domain, folded) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(domain)
                .bind(fold_ascii(address))
                .execute(&mut *db)
                .await?;
        added += done.rows_affected();
    }
    Ok(added)
}

/// Forgets what is too old, and the oldest of what is too much: a few at a time.
async fn forget_known(db: &mut Connection, expired: Timestamp) -> Result<(), Error> {
    let old = "DELETE FROM callouts WHERE tag IN \
               (SELECT tag FROM callouts WHERE asked_at < $1 ORDER BY asked_at LIMIT $2)";
    query(old)
        .bind(expired.0)
        .bind(FORGOTTEN_PER_CALL)
        .execute(&mut *db)
        .await?;
    let too_many = "DELETE FROM callouts WHERE tag IN (SELECT tag FROM callouts ORDER BY asked_at \
                    LIMIT MAX(0, (SELECT COUNT(*) FROM callouts) - $1))";
    query(too_many).bind(MOST_KNOWN).execute(db).await?;
    Ok(())
}
