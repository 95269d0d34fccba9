//! Rows with something sealed under the master key, whatever table they are in.

use aws_lc_rs::signature::RsaKeyPair;

use super::super::query::query_as;

use super::super::readers::Readers;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::crypto::at_rest::Unreadable;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint};
use crate::dime::key_set::KemKeys;
use crate::dime::keys::{OrgKeys, UserKeys, wrapped};
use crate::dime::record::ManagementRecord;
use crate::mail::address::{Domain, Mailbox};
use crate::store::sealed::{MasterKey, Spot};
use crate::store::{Checked, Error, Fault, Mark, Part, Pin, StsEntry};

/// Octets of a private key for Ed25519.
const ED25519_SEED: usize = 32;

/// What a row has sealed, and where.
pub(in crate::store::sql) struct SealedRow {
    pub(in crate::store::sql) mark: Mark,
    name: String,
    /// `None` if what stands beside it cannot be read.
    spot: Option<Spot>,
    sealed: Vec<u8>,
    /// What stands beside it and says what it is, or is vouched for by it.
    beside: String,
}

pub(in crate::store::sql) struct Page(pub(in crate::store::sql) Vec<SealedRow>);

impl SealedRow {
    /// What was erased on purpose is all zeros.
    fn is_erased(&self) -> bool {
        self.sealed.iter().all(|octet| *octet == 0)
    }

    fn what_is_wrong(&self, part: Part, master: &MasterKey) -> Option<&'static str> {
        if self.is_erased() {
            return None;
        }
        let spot = self.spot.as_ref();
        match spot.and_then(|spot| master.open_at(spot, &self.sealed).ok()) {
            None => Some("sealed value"),
            Some(plain) if !self.is_known(part, plain.expose()) => Some("content"),
            Some(_) => None,
        }
    }

    /// Whether what was sealed is what is to be there.
    fn is_known(&self, part: Part, plain: &[u8]) -> bool {
        let text = std::str::from_utf8(plain);
        match part {
            Part::PrivateKeys | Part::Rollovers => text.is_ok_and(|text| match self.name.contains('@') {
                true => UserKeys::from_armor(text).is_ok(),
                false => OrgKeys::from_armor(text).is_ok(),
            }),
            Part::KemKeys => KemKeys::decode(plain).is_ok(),
            Part::KeyDeposits => wrapped::are_user_keys(plain),
            Part::DkimKeys => is_dkim_key(&self.beside, plain),
            // Nothing is sealed but that it was pinned here.
            Part::Pins => ManagementRecord::parse_kept(&self.beside).is_ok(),
            Part::SrsPaths => text.is_ok_and(|text| Mailbox::parse(text).is_ok()),
            _ => true,
        }
    }

    /// What is sealed, under the current key; `None` if there is nothing to do.
    pub(in crate::store::sql) fn rewrapped(&self, master: &MasterKey) -> Result<Option<Vec<u8>>, Unreadable> {
        match &self.spot {
            _ if self.is_erased() => Ok(None),
            Some(spot) => master.rewrapped(spot, &self.sealed),
            None => Err(Unreadable),
        }
    }
}

impl Page {
    /// Where to go on, if there may be more.
    pub(in crate::store::sql) fn next(&self) -> Option<Mark> {
        self.0.last().map(|row| row.mark.clone())
    }

    /// Whether each opens, and has what it is to have.
    pub(in crate::store::sql) fn check(self, part: Part, master: &MasterKey) -> Checked {
        let fault = |row: &SealedRow| {
            let what = row.what_is_wrong(part, master)?;
            let row = row.name.clone();
            Some(Fault { part, row, what })
        };
        Checked {
            rows: self.0.len() as u64,
            next: self.next(),
            faults: self.0.iter().filter_map(fault).collect(),
        }
    }
}

/// Whether that is a private key with which DKIM signs in such a way, as it is kept.
fn is_dkim_key(algorithm: &str, private: &[u8]) -> bool {
    match algorithm {
        "rsa-sha256" => RsaKeyPair::from_pkcs8(private).is_ok(),
        "ed25519-sha256" => private.len() == ED25519_SEED,
        _ => false,
    }
}

fn named(name: &str) -> Mark {
    Mark {
        name: name.to_owned(),
        ..Mark::default()
    }
}

/// Some rows of a part behind a place.
pub(in crate::store::sql) async fn page(
    db: &Readers,
    part: Part,
    after: &Mark,
    limit: i64,
) -> Result<Page, Error> {
    let rows = match part {
        Part::Messages => message_keys(db, after, limit).await?,
        Part::PrivateKeys => private_keys(db, after, limit).await?,
        Part::KemKeys => kem_keys(db, after, limit).await?,
        Part::Rollovers => {
            simple(db, ROLLOVERS, (after, limit), |name, _| {
                Some(Spot::rollover(name))
            })
            .await?
        }
        Part::KeyDeposits => {
            let spot = |name: &str, version: i64| Some(Spot::key_deposit(name, u64::try_from(version).ok()?));
            simple(db, KEY_DEPOSITS, (after, limit), spot).await?
        }
        Part::SrsPaths => simple(db, SRS_PATHS, (after, limit), |id, _| Some(Spot::srs_path(id))).await?,
        Part::DkimKeys => dkim_keys(db, after, limit).await?,
        Part::Pins => pins(db, after, limit).await?,
        Part::StsPolicies => sts_policies(db, after, limit).await?,
        _ => Vec::new(),
    };
    Ok(Page(rows))
}

const ROLLOVERS: &str =
    "SELECT name, CAST(0 AS BIGINT), sealed FROM rollovers WHERE name > $1 ORDER BY name LIMIT $2";
const KEY_DEPOSITS: &str =
    "SELECT folded, version, sealed FROM key_deposits WHERE folded > $1 ORDER BY folded LIMIT $2";
const SRS_PATHS: &str =
    "SELECT id, CAST(0 AS BIGINT), sealed FROM srs_paths WHERE id > $1 ORDER BY id LIMIT $2";

/// Rows with one name, a number, and what is sealed.
async fn simple(
    db: &Readers,
    sql: &'static str,
    (after, limit): (&Mark, i64),
    spot: impl Fn(&str, i64) -> Option<Spot>,
) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<(String, i64, Vec<u8>)> = query_as(sql).bind(&after.name).bind(limit).fetch_all(db).await?;
    let row = |(name, number, sealed): (String, i64, Vec<u8>)| SealedRow {
        mark: named(&name),
        spot: spot(&name, number),
        name,
        sealed,
        beside: String::new(),
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn message_keys(db: &Readers, after: &Mark, limit: i64) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<(i64, String, Vec<u8>)> =
        query_as("SELECT seq, id, wrapped_key FROM messages WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(after.number)
            .bind(limit)
            .fetch_all(db)
            .await?;
    let row = |(number, name, sealed): (i64, String, Vec<u8>)| SealedRow {
        mark: Mark {
            number,
            ..Mark::default()
        },
        spot: QueueId::parse(&name).map(Spot::message_key),
        name,
        sealed,
        beside: String::new(),
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn private_keys(db: &Readers, after: &Mark, limit: i64) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<(i64, String, Vec<u8>, Vec<u8>)> = query_as(
        "SELECT seq, name, crypto, private_keys FROM signets WHERE seq > $1 AND private_keys IS NOT NULL \
         ORDER BY seq LIMIT $2",
    )
    .bind(after.number)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let row = |(number, name, crypto, sealed): (i64, String, Vec<u8>, Vec<u8>)| SealedRow {
        mark: Mark {
            number,
            ..Mark::default()
        },
        spot: crypto
            .try_into()
            .ok()
            .map(|crypto| Spot::private_keys(&name, &CryptoFingerprint(crypto))),
        name,
        sealed,
        beside: String::new(),
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn kem_keys(db: &Readers, after: &Mark, limit: i64) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<(String, Vec<u8>, Vec<u8>)> = query_as(
        "SELECT name, complete, sealed FROM kem_keys WHERE name > $1 OR (name = $1 AND complete > $2) \
         ORDER BY name, complete LIMIT $3",
    )
    .bind(&after.name)
    .bind(&after.rest)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let row = |(name, complete, sealed): (String, Vec<u8>, Vec<u8>)| SealedRow {
        mark: Mark {
            name: name.clone(),
            rest: complete.clone(),
            ..Mark::default()
        },
        spot: complete
            .try_into()
            .ok()
            .map(|complete| Spot::kem_keys(&name, &FullFingerprint(complete))),
        name,
        sealed,
        beside: String::new(),
    };
    Ok(rows.into_iter().map(row).collect())
}

type DkimRow = (String, String, String, String, Vec<u8>);

async fn dkim_keys(db: &Readers, after: &Mark, limit: i64) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<DkimRow> = query_as(
        "SELECT domain, selector, algorithm, record, sealed FROM dkim_keys WHERE domain > $1 OR (domain = $1 AND selector > $2) \
         ORDER BY domain, selector LIMIT $3",
    )
    .bind(&after.name)
    .bind(String::from_utf8_lossy(&after.rest).into_owned())
    .bind(limit)
    .fetch_all(db)
    .await?;
    let row = |(domain, selector, algorithm, record, sealed): DkimRow| SealedRow {
        mark: Mark {
            name: domain.clone(),
            rest: selector.clone().into_bytes(),
            ..Mark::default()
        },
        spot: Domain::parse(&domain)
            .ok()
            .map(|domain| Spot::dkim_key(&domain, &selector, &record)),
        name: format!("{selector}._domainkey.{domain}"),
        sealed,
        beside: algorithm,
    };
    Ok(rows.into_iter().map(row).collect())
}

type PinRow = (String, String, bool, i64, i64, i64, Vec<u8>);

async fn pins(db: &Readers, after: &Mark, limit: i64) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<PinRow> = query_as(
        "SELECT domain, record, secure, first_seen_at, refresh_at, expires_at, seal FROM pins WHERE domain > $1 \
         ORDER BY domain LIMIT $2",
    )
    .bind(&after.name)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let row = |(name, record, secure, first_seen, refresh, expires, sealed): PinRow| SealedRow {
        mark: named(&name),
        beside: record.clone(),
        spot: Domain::parse(&name).ok().map(|domain| {
            Spot::domain_pin(&Pin {
                domain,
                record,
                secure,
                first_seen_at: Timestamp(first_seen),
                refresh_at: Timestamp(refresh),
                expires_at: Timestamp(expires),
            })
        }),
        name,
        sealed,
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn sts_policies(db: &Readers, after: &Mark, limit: i64) -> Result<Vec<SealedRow>, Error> {
    let rows: Vec<(String, String, String, i64, i64, Vec<u8>)> = query_as(
        "SELECT domain, id, policy, fetched_at, expires_at, seal FROM sts_policies WHERE domain > $1 \
         ORDER BY domain LIMIT $2",
    )
    .bind(&after.name)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let row = |(name, id, policy, fetched, expires, sealed)| {
        let name: String = name;
        SealedRow {
            mark: named(&name),
            spot: Domain::parse(&name).ok().map(|domain| {
                Spot::sts_policy(&StsEntry {
                    domain,
                    id,
                    policy,
                    fetched_at: Timestamp(fetched),
                    expires_at: Timestamp(expires),
                })
            }),
            name,
            sealed,
            beside: String::new(),
        }
    };
    Ok(rows.into_iter().map(row).collect())
}
