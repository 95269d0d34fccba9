//! Domains of ours, and pins of others.

use super::connection::Connection;
use super::query::{query, query_as, query_scalar, row};
use async_trait::async_trait;

use super::database::securely;
use super::life_cycle::erase_keys;
use super::{SqlStore, exists};
use crate::base::time::Timestamp;
use crate::dime::record::{Policy, SubdomainPolicy};
use crate::mail::address::Domain;
use crate::store::{DimeSettings, DomainRemoval, Domains, Error, LocalDomain, MasterKey, Pin};

/// The columns of `DomainRow`, by name: a later schema may have more.
macro_rules! select_local_domains {
    ($rest:literal) => {
        concat!(
            "SELECT name, policy, subdomain_policy, \
            delivery_hosts, created_at, expiry_days FROM local_domains ",
            $rest
        )
    };
}

/// The columns of `PinRow`, by name: a later schema may have more.
macro_rules! select_pins {
    ($rest:literal) => {
        concat!(
            "SELECT domain, record, secure, first_seen_at, refresh_at, expires_at, seal FROM pins ",
            $rest
        )
    };
}

/// Expired pins dropped in one transaction.
const EXPIRED_PINS_PER_CALL: i64 = 500;

#[async_trait]
impl Domains for SqlStore {
    async fn add_domain(&self, domain: LocalDomain) -> Result<(), Error> {
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    let is_relayed: bool =
                        query_scalar("SELECT EXISTS (SELECT 1 FROM relay_domains WHERE name = $1)")
                            .bind(domain.name.as_str())
                            .fetch_one(&mut *db)
                            .await?;
                    if is_relayed {
                        return Err(Error::Exists);
                    }
                    let dime = domain.dime.as_ref();
                    query(
                        "INSERT INTO local_domains (name, policy, subdomain_policy, delivery_hosts, created_at, \
                         expiry_days) VALUES ($1, $2, $3, $4, $5, $6)",
                    )
                    .bind(domain.name.as_str())
                    .bind(dime.map(|dime| policy_text(dime.policy)))
                    .bind(dime.map(|dime| subdomain_policy_text(dime.subdomain_policy)))
                    .bind(dime.map(|dime| hosts_text(&dime.delivery_hosts)))
                    .bind(domain.created_at.0)
                    .bind(dime.and_then(|dime| dime.expiry_days))
                    .execute(db)
                    .await
                    .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn set_dime(&self, name: &Domain, dime: DimeSettings) -> Result<bool, Error> {
        let name = name.clone();
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    let done = query(
                        "UPDATE local_domains SET policy = $2, subdomain_policy = $3, delivery_hosts = $4, \
                         expiry_days = $5 WHERE name = $1 AND policy IS NULL",
                    )
                    .bind(name.as_str())
                    .bind(policy_text(dime.policy))
                    .bind(subdomain_policy_text(dime.subdomain_policy))
                    .bind(hosts_text(&dime.delivery_hosts))
                    .bind(dime.expiry_days)
                    .execute(db)
                    .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    async fn local_domain(&self, name: &Domain) -> Result<Option<LocalDomain>, Error> {
        let read = async {
            let row: Option<DomainRow> = query_as(select_local_domains!("WHERE name = $1"))
                .bind(name.as_str())
                .fetch_optional(&self.inner.readers)
                .await?;
            row.map(DomainRow::open).transpose()
        };
        self.inner.kept_row(name, read).await
    }

    async fn list_domains(&self) -> Result<Vec<LocalDomain>, Error> {
        let rows: Vec<DomainRow> = query_as(select_local_domains!("ORDER BY name"))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.into_iter().map(DomainRow::open).collect()
    }

    async fn first_domain(&self) -> Result<Option<LocalDomain>, Error> {
        let row: Option<DomainRow> = query_as(select_local_domains!("ORDER BY name LIMIT 1"))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(DomainRow::open).transpose()
    }

    async fn remove_domain(&self, name: &Domain, now: Timestamp) -> Result<DomainRemoval, Error> {
        let name = name.clone();
        let removal = self
            .inner
            .change_kept(move |db| Box::pin(remove(db, name, now)))
            .await?;
        // Also where there is none any more: an earlier call may have left keys in the log.
        if matches!(removal, DomainRemoval::Done | DomainRemoval::Missing) {
            self.empty_log().await?;
        }
        Ok(removal)
    }

    async fn pin(&self, domain: &Domain) -> Result<Option<Pin>, Error> {
        let read = async {
            let row: Option<PinRow> = query_as(select_pins!("WHERE domain = $1"))
                .bind(domain.as_str())
                .fetch_optional(&self.inner.readers)
                .await?;
            row.map(|row| row.open(&self.inner.master)).transpose()
        };
        self.inner.kept_row(domain, read).await
    }

    async fn set_pin(&self, pin: Pin) -> Result<(), Error> {
        let seal = self.inner.master.seal_domain_pin(&pin);
        let done = self
            .inner
            .write(move |db| {
                Box::pin(async move {
                    query(
                        "INSERT INTO pins \
                         (domain, record, secure, first_seen_at, refresh_at, expires_at, seal) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (domain) DO UPDATE SET \
                         record = excluded.record, secure = excluded.secure, \
                         first_seen_at = excluded.first_seen_at, refresh_at = excluded.refresh_at, \
                         expires_at = excluded.expires_at, seal = excluded.seal",
                    )
                    .bind(pin.domain.as_str())
                    .bind(&pin.record)
                    .bind(pin.secure)
                    .bind(pin.first_seen_at.0)
                    .bind(pin.refresh_at.0)
                    .bind(pin.expires_at.0)
                    .bind(seal)
                    .execute(db)
                    .await?;
                    Ok(())
                })
            })
            .await;
        // Others learn of it in their own time: what they keep meanwhile was true when they read it.
        self.inner.kept.forget();
        done
    }

    async fn drop_pin(&self, domain: &Domain) -> Result<bool, Error> {
        let domain = domain.to_string();
        self.inner
            .change_kept(move |db| {
                Box::pin(async move {
                    let done = query("DELETE FROM pins WHERE domain = $1")
                        .bind(domain)
                        .execute(db)
                        .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    async fn drop_expired_pins(&self, before: Timestamp) -> Result<u64, Error> {
        let before = self.inner.certain(before);
        let dropped = self.inner.write(move |db| {
            Box::pin(async move {
                let done = query(
                    "DELETE FROM pins WHERE domain IN \
                     (SELECT domain FROM pins WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
                )
                .bind(before.0)
                .bind(EXPIRED_PINS_PER_CALL)
                .execute(db)
                .await?;
                Ok(done.rows_affected())
            })
        });
        let dropped = dropped.await;
        self.inner.kept.forget();
        dropped
    }

    async fn list_pins(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<(Domain, Option<Pin>)>, Error> {
        let rows: Vec<PinRow> = query_as(select_pins!("WHERE domain > $1 ORDER BY domain LIMIT $2"))
            .bind(after.map_or("", Domain::as_str))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.inner.readers)
            .await?;
        let open = |row: PinRow| {
            let domain = domain(&row.domain)?;
            Ok((domain, row.open(&self.inner.master).ok()))
        };
        rows.into_iter().map(open).collect()
    }
}

/// Removes a domain that nothing stands in the way of.
async fn remove(db: &mut Connection, name: Domain, now: Timestamp) -> Result<DomainRemoval, Error> {
    let count = async |db: &mut Connection, sql: &'static str| -> Result<u64, Error> {
        let count: i64 = query_scalar(sql).bind(name.as_str()).fetch_one(db).await?;
        Ok(count.unsigned_abs())
    };
    if count(db, "SELECT COUNT(*) FROM local_domains WHERE name = $1").await? == 0 {
        return Ok(DomainRemoval::Missing);
    }
    let accounts = count(db, "SELECT COUNT(*) FROM accounts WHERE domain = $1").await?;
    let aliases = "SELECT COUNT(DISTINCT folded) FROM aliases WHERE folded LIKE '%@' || $1";
    let aliases = count(db, aliases).await?;
    if accounts > 0 || aliases > 0 {
        return Ok(DomainRemoval::HasAddresses { accounts, aliases });
    }
    let waits = "SELECT COUNT(*) FROM recipients WHERE destination = $1 AND state IN ('waiting', 'held', 'quarantined')";
    let waits = count(db, waits).await?;
    if waits > 0 {
        return Ok(DomainRemoval::MailWaits(waits));
    }
    let names: Vec<String> =
        query_scalar("SELECT DISTINCT name FROM signets WHERE name = $1 OR name LIKE '%@' || $1")
            .bind(name.as_str())
            .fetch_all(&mut *db)
            .await?;
    securely(db, |db| {
        Box::pin(async move {
            for sql in [
                "DELETE FROM local_domains WHERE name = $1",
                "DELETE FROM retirements WHERE name = $1",
                "DELETE FROM dkim_keys WHERE domain = $1",
                // Who serves the domain next never agreed that others write under it.
                "DELETE FROM senders WHERE sender LIKE '%@' || $1",
            ] {
                query(sql).bind(name.as_str()).execute(&mut *db).await?;
            }
            for name in names {
                erase_keys(db, &name, now).await?;
            }
            Ok(DomainRemoval::Done)
        })
    })
    .await
}

row! {
    struct DomainRow {
        name: String,
        policy: Option<String>,
        subdomain_policy: Option<String>,
        delivery_hosts: Option<String>,
        created_at: i64,
        expiry_days: Option<i64>,
    }
}

impl DomainRow {
    fn open(self) -> Result<LocalDomain, Error> {
        let dime = match (self.policy, self.subdomain_policy, self.delivery_hosts) {
            (Some(policy), Some(subdomains), Some(hosts)) => Some(DimeSettings {
                policy: policy_from(&policy)?,
                subdomain_policy: subdomain_policy_from(&subdomains)?,
                delivery_hosts: hosts_from(&hosts)?,
                expiry_days: self.expiry_days.map(days_from).transpose()?,
            }),
            _ => None,
        };
        Ok(LocalDomain {
            name: domain(&self.name)?,
            dime,
            created_at: Timestamp(self.created_at),
        })
    }
}

row! {
    struct PinRow {
        domain: String,
        record: String,
        secure: bool,
        first_seen_at: i64,
        refresh_at: i64,
        expires_at: i64,
        seal: Vec<u8>,
    }
}

impl PinRow {
    fn open(self, master: &MasterKey) -> Result<Pin, Error> {
        let pin = Pin {
            domain: domain(&self.domain)?,
            record: self.record,
            secure: self.secure,
            first_seen_at: Timestamp(self.first_seen_at),
            refresh_at: Timestamp(self.refresh_at),
            expires_at: Timestamp(self.expires_at),
        };
        master.check_domain_pin(&pin, &self.seal)?;
        Ok(pin)
    }
}

fn domain(stored: &str) -> Result<Domain, Error> {
    Domain::parse(stored).map_err(|_| Error::Unreadable("domain"))
}

fn days_from(stored: i64) -> Result<u16, Error> {
    u16::try_from(stored).map_err(|_| Error::Unreadable("days"))
}

fn hosts_text(hosts: &[Domain]) -> String {
    hosts.iter().map(Domain::as_str).collect::<Vec<_>>().join(" ")
}

fn hosts_from(stored: &str) -> Result<Vec<Domain>, Error> {
    stored.split_whitespace().map(domain).collect()
}

fn policy_text(policy: Policy) -> &'static str {
    match policy {
        Policy::Experimental => "experimental",
        Policy::Mixed => "mixed",
        Policy::Strict => "strict",
    }
}

fn policy_from(stored: &str) -> Result<Policy, Error> {
    match stored {
        "experimental" => Ok(Policy::Experimental),
        "mixed" => Ok(Policy::Mixed),
        "strict" => Ok(Policy::Strict),
        _ => Err(Error::Unreadable("policy")),
    }
}

fn subdomain_policy_text(policy: SubdomainPolicy) -> &'static str {
    match policy {
        SubdomainPolicy::Strict => "strict",
        SubdomainPolicy::Relaxed => "relaxed",
        SubdomainPolicy::Explicit => "explicit",
    }
}

fn subdomain_policy_from(stored: &str) -> Result<SubdomainPolicy, Error> {
    match stored {
        "strict" => Ok(SubdomainPolicy::Strict),
        "relaxed" => Ok(SubdomainPolicy::Relaxed),
        "explicit" => Ok(SubdomainPolicy::Explicit),
        _ => Err(Error::Unreadable("subdomain policy")),
    }
}
