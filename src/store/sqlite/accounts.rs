//! Accounts and aliases.

use async_trait::async_trait;
use sqlx::{query, query_as, query_scalar};

use super::{SqliteStore, exists};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Account, Accounts, Error, TrustMode, fold};

#[async_trait]
impl Accounts for SqliteStore {
    async fn add_account(&self, account: Account) -> Result<(), Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let folded = fold(&account.address);
                    let is_alias: bool =
                        query_scalar("SELECT EXISTS (SELECT 1 FROM aliases WHERE folded = ?)")
                            .bind(&folded)
                            .fetch_one(&mut *db)
                            .await?;
                    if is_alias {
                        return Err(Error::Exists);
                    }
                    query(
                        "INSERT INTO accounts (folded, domain, address, password_hash, scram_verifier, \
                         trust_mode, created_at, trap_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(folded)
                    .bind(account.address.domain().as_str())
                    .bind(account.address.to_string())
                    .bind(&account.password_hash)
                    .bind(&account.scram_verifier)
                    .bind(trust_mode_text(account.trust_mode))
                    .bind(account.created_at.0)
                    .bind(account.trap_since.map(|since| since.0))
                    .execute(db)
                    .await
                    .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn account(&self, address: &Mailbox) -> Result<Option<Account>, Error> {
        let row: Option<AccountRow> = query_as("SELECT * FROM accounts WHERE folded = ?")
            .bind(fold(address))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(AccountRow::open).transpose()
    }

    async fn oldest_account(&self, domain: &Domain) -> Result<Option<Account>, Error> {
        let row: Option<AccountRow> = query_as(
            "SELECT * FROM accounts WHERE domain = ? AND trap_since IS NULL ORDER BY created_at, folded LIMIT 1",
        )
        .bind(domain.as_str())
        .fetch_optional(&self.inner.readers)
        .await?;
        row.map(AccountRow::open).transpose()
    }

    async fn set_trap(&self, address: &Mailbox, since: Option<Timestamp>) -> Result<bool, Error> {
        let folded = fold(address);
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let changed = query("UPDATE accounts SET trap_since = ? WHERE folded = ?")
                        .bind(since.map(|since| since.0))
                        .bind(folded)
                        .execute(db)
                        .await?;
                    Ok(changed.rows_affected() == 1)
                })
            })
            .await
    }

    async fn list_traps(&self) -> Result<Vec<Account>, Error> {
        let rows: Vec<AccountRow> =
            query_as("SELECT * FROM accounts WHERE trap_since IS NOT NULL ORDER BY folded")
                .fetch_all(&self.inner.readers)
                .await?;
        rows.into_iter().map(AccountRow::open).collect()
    }

    async fn add_alias(&self, alias: &Mailbox, target: &Mailbox) -> Result<(), Error> {
        let (folded, target) = (fold(alias), target.to_string());
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let is_account: bool =
                        query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE folded = ?)")
                            .bind(&folded)
                            .fetch_one(&mut *db)
                            .await?;
                    if is_account {
                        return Err(Error::Exists);
                    }
                    query("INSERT INTO aliases (folded, target) VALUES (?, ?)")
                        .bind(folded)
                        .bind(target)
                        .execute(db)
                        .await
                        .map_err(exists)?;
                    Ok(())
                })
            })
            .await
    }

    async fn alias_targets(&self, alias: &Mailbox) -> Result<Vec<Mailbox>, Error> {
        let targets: Vec<String> =
            query_scalar("SELECT target FROM aliases WHERE folded = ? ORDER BY target")
                .bind(fold(alias))
                .fetch_all(&self.inner.readers)
                .await?;
        targets.iter().map(|target| mailbox(target)).collect()
    }

    fn nobody_secret(&self) -> Secret<[u8; 32]> {
        self.inner.master.nobody_secret()
    }
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    address: String,
    password_hash: String,
    scram_verifier: Option<String>,
    trust_mode: String,
    created_at: i64,
    trap_since: Option<i64>,
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
        })
    }
}

fn mailbox(stored: &str) -> Result<Mailbox, Error> {
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
