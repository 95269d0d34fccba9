//! Accounts, and the addresses that they may write under.

use super::connection::Connection;
use super::query::{query, query_as, query_scalar, row};
use async_trait::async_trait;

use super::database::securely;
use super::life_cycle::erase_keys;
use super::{SqlStore, exists};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Account, Accounts, Error, Removal, TrustMode, fold};

/// The columns of `AccountRow`, by name: a later schema may have more.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT address, password_hash, scram_verifier, trust_mode, \
            created_at, trap_since, disabled_at, quota_bytes FROM accounts ",
            $rest
        )
    };
}

#[async_trait]
impl Accounts for SqlStore {
    async fn add_account(&self, account: Account) -> Result<(), Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let folded = fold(&account.address);
                    let quota = account.quota_bytes.map(stored_octets);
                    let is_alias: bool =
                        query_scalar("SELECT EXISTS (SELECT 1 FROM aliases WHERE folded = $1)")
                            .bind(&folded)
                            .fetch_one(&mut *db)
                            .await?;
                    if is_alias {
                        return Err(Error::Exists);
                    }
                    query(
                        "INSERT INTO accounts (folded, domain, address, password_hash, scram_verifier, \
                         trust_mode, created_at, trap_since, disabled_at, quota_bytes) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                    )
                    .bind(folded)
                    .bind(account.address.domain().as_str())
                    .bind(account.address.to_string())
                    .bind(&account.password_hash)
                    .bind(account.scram_verifier)
                    .bind(trust_mode_text(account.trust_mode))
                    .bind(account.created_at.0)
                    .bind(account.trap_since.map(|since| since.0))
                    .bind(account.disabled_at.map(|since| since.0))
                    .bind(quota)
                    .execute(db)
                    .await
                    .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn account(&self, address: &Mailbox) -> Result<Option<Account>, Error> {
        let row: Option<AccountRow> = query_as(select_accounts!("WHERE folded = $1"))
            .bind(fold(address))
            .fetch_optional(self.inner.readers.at_once())
            .await?;
        row.map(AccountRow::open).transpose()
    }

    async fn oldest_account(&self, domain: &Domain) -> Result<Option<Account>, Error> {
        let row: Option<AccountRow> = query_as(select_accounts!(
            "WHERE domain = $1 AND trap_since IS NULL AND disabled_at IS NULL \
             ORDER BY created_at, folded LIMIT 1"
        ))
        .bind(domain.as_str())
        .fetch_optional(&self.inner.readers)
        .await?;
        row.map(AccountRow::open).transpose()
    }

    async fn set_trap(&self, address: &Mailbox, since: Option<Timestamp>) -> Result<bool, Error> {
        let sql = "UPDATE accounts SET trap_since = $1 WHERE folded = $2";
        self.set_number(sql, since.map(|since| since.0), address).await
    }

    async fn list_traps(&self) -> Result<Vec<Account>, Error> {
        let rows: Vec<AccountRow> =
            query_as(select_accounts!("WHERE trap_since IS NOT NULL ORDER BY folded"))
                .fetch_all(&self.inner.readers)
                .await?;
        rows.into_iter().map(AccountRow::open).collect()
    }

    async fn list_accounts(
        &self,
        domain: Option<&Domain>,
        after: Option<&Mailbox>,
        limit: u32,
    ) -> Result<Vec<Account>, Error> {
        let rows: Vec<AccountRow> = query_as(select_accounts!(
            "WHERE folded > $1 AND ($2 IS NULL OR domain = $2) ORDER BY folded LIMIT $3"
        ))
        .bind(after.map(fold).unwrap_or_default())
        .bind(domain.map(Domain::as_str))
        .bind(limit)
        .fetch_all(&self.inner.readers)
        .await?;
        rows.into_iter().map(AccountRow::open).collect()
    }

    async fn remove_account(
        &self,
        address: &Mailbox,
        with_aliases: bool,
        now: Timestamp,
    ) -> Result<Removal, Error> {
        let address = address.clone();
        let removal = self
            .inner
            .change_kept(move |db| Box::pin(remove(db, address, with_aliases, now)))
            .await?;
        // Also where there is none any more: an earlier call may have left keys in the log.
        if matches!(removal, Removal::Done | Removal::Missing) {
            self.empty_log().await?;
        }
        Ok(removal)
    }

    async fn set_disabled(&self, address: &Mailbox, since: Option<Timestamp>) -> Result<bool, Error> {
        let sql = "UPDATE accounts SET disabled_at = $1 WHERE folded = $2";
        self.set_number(sql, since.map(|since| since.0), address).await
    }

    async fn set_password(
        &self,
        address: &Mailbox,
        password_hash: String,
        scram_verifier: Option<String>,
    ) -> Result<bool, Error> {
        let folded = fold(address);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let changed = query(
                        "UPDATE accounts SET password_hash = $1, scram_verifier = $2 WHERE folded = $3",
                    )
                    .bind(password_hash)
                    .bind(scram_verifier)
                    .bind(folded)
                    .execute(db)
                    .await?;
                    Ok(changed.rows_affected() == 1)
                })
            })
            .await
    }

    async fn set_trust_mode(&self, address: &Mailbox, mode: TrustMode) -> Result<bool, Error> {
        let folded = fold(address);
        let is_changed = self
            .inner
            .write(move |db| Box::pin(set_trust_mode(db, folded, mode)))
            .await?;
        if mode != TrustMode::Cautious {
            self.empty_log().await?;
        }
        Ok(is_changed)
    }

    async fn set_quota(&self, address: &Mailbox, quota_bytes: Option<u64>) -> Result<bool, Error> {
        let sql = "UPDATE accounts SET quota_bytes = $1 WHERE folded = $2";
        self.set_number(sql, quota_bytes.map(stored_octets), address)
            .await
    }

    async fn grant_sender(&self, account: &Mailbox, sender: &Mailbox) -> Result<(), Error> {
        let (folded, sender) = (fold(account), fold(sender));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let is_account: bool =
                        query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE folded = $1)")
                            .bind(&folded)
                            .fetch_one(&mut *db)
                            .await?;
                    if !is_account {
                        return Err(Error::Missing);
                    }
                    query("INSERT INTO senders (folded, sender) VALUES ($1, $2)")
                        .bind(folded)
                        .bind(sender)
                        .execute(db)
                        .await
                        .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn withdraw_sender(&self, account: &Mailbox, sender: &Mailbox) -> Result<bool, Error> {
        let (folded, sender) = (fold(account), fold(sender));
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let done = query("DELETE FROM senders WHERE folded = $1 AND sender = $2")
                        .bind(folded)
                        .bind(sender)
                        .execute(db)
                        .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    async fn granted_senders(&self, account: &Mailbox) -> Result<Vec<Mailbox>, Error> {
        let senders: Vec<String> =
            query_scalar("SELECT sender FROM senders WHERE folded = $1 ORDER BY sender")
                .bind(fold(account))
                .fetch_all(&self.inner.readers)
                .await?;
        senders.iter().map(|sender| mailbox(sender)).collect()
    }

    fn nobody_secret(&self) -> Secret<[u8; 32]> {
        self.inner.master.nobody_secret()
    }

    fn log_key(&self) -> Secret<[u8; 32]> {
        self.inner.master.log_key()
    }
}

impl SqlStore {
    /// Sets a column of an account; whether there is such an account.
    async fn set_number(
        &self,
        update: &'static str,
        number: Option<i64>,
        address: &Mailbox,
    ) -> Result<bool, Error> {
        let folded = fold(address);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let changed = query(update).bind(number).bind(folded).execute(db).await?;
                    Ok(changed.rows_affected() == 1)
                })
            })
            .await
    }
}

row! {
    struct AccountRow {
        address: String,
        password_hash: String,
        scram_verifier: Option<String>,
        trust_mode: String,
        created_at: i64,
        trap_since: Option<i64>,
        disabled_at: Option<i64>,
        quota_bytes: Option<i64>,
    }
}

impl AccountRow {
    fn open(self) -> Result<Account, Error> {
        Ok(Account {
            address: mailbox(&self.address)?,
            password_hash: self.password_hash,
            scram_verifier: self.scram_verifier,
            trust_mode: trust_mode_from(&self.trust_mode)?,
            created_at: Timestamp(self.created_at),
            trap_since: self.trap_since.map(Timestamp),
            disabled_at: self.disabled_at.map(Timestamp),
            quota_bytes: self.quota_bytes.map(i64::unsigned_abs),
        })
    }
}

/// Changes a trust mode; only of a cautious user anything is left here under a passphrase.
async fn set_trust_mode(db: &mut Connection, folded: String, mode: TrustMode) -> Result<bool, Error> {
    let changed = query("UPDATE accounts SET trust_mode = $1 WHERE folded = $2")
        .bind(trust_mode_text(mode))
        .bind(&folded)
        .execute(&mut *db)
        .await?;
    if changed.rows_affected() != 1 {
        return Ok(false);
    }
    if mode != TrustMode::Cautious {
        securely(db, |db| {
            Box::pin(async move {
                query("DELETE FROM key_deposits WHERE folded = $1")
                    .bind(&folded)
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await?;
    }
    Ok(true)
}

/// Removes an account and everything that is kept of it.
async fn remove(
    db: &mut Connection,
    address: Mailbox,
    with_aliases: bool,
    now: Timestamp,
) -> Result<Removal, Error> {
    let folded = fold(&address);
    let is_account: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE folded = $1)")
        .bind(&folded)
        .fetch_one(&mut *db)
        .await?;
    if !is_account {
        return Ok(Removal::Missing);
    }
    let leading = super::aliases::leading_to(db, &folded).await?;
    if !with_aliases && !leading.is_empty() {
        let mut aliases: Vec<Mailbox> = leading.into_iter().map(|leading| leading.alias).collect();
        aliases.dedup();
        return Ok(Removal::AliasesLeadHere(aliases));
    }
    for one in leading {
        super::aliases::remove(db, &one.alias, Some(&one.target), now).await?;
    }
    securely(db, |db| {
        Box::pin(async move {
            for sql in [
                "DELETE FROM accounts WHERE folded = $1",
                "DELETE FROM senders WHERE folded = $1",
                // Who has the address next never agreed that others write under it.
                "DELETE FROM senders WHERE sender = $1",
                "DELETE FROM key_deposits WHERE folded = $1",
            ] {
                query(sql).bind(&folded).execute(&mut *db).await?;
            }
            erase_keys(db, &folded, now).await
        })
    })
    .await?;
    Ok(Removal::Done)
}

/// The database has no unsigned numbers; nobody has that much room.
fn stored_octets(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

pub(super) fn mailbox(stored: &str) -> Result<Mailbox, Error> {
    Mailbox::parse(stored).map_err(|_| Error::Unreadable("address"))
}

fn trust_mode_text(mode: TrustMode) -> &'static str {
    match mode {
        TrustMode::Trustful => "trustful",
        TrustMode::Cautious => "cautious",
        TrustMode::Paranoid => "paranoid",
    }
}

fn trust_mode_from(stored: &str) -> Result<TrustMode, Error> {
    match stored {
        "trustful" => Ok(TrustMode::Trustful),
        "cautious" => Ok(TrustMode::Cautious),
        "paranoid" => Ok(TrustMode::Paranoid),
        _ => Err(Error::Unreadable("trust mode")),
    }
}
