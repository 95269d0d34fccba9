//! Aliases.

use super::connection::Connection;
use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::accounts::mailbox;
use super::database::securely;
use super::life_cycle::erase_keys;
use super::{SqlStore, exists};
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{AliasTarget, Aliases, Error, fold};

/// An alias with as many targets is a list, which is read where nobody waits for it.
const FEW: u32 = 64;

#[async_trait]
impl Aliases for SqlStore {
    async fn add_alias(&self, alias: &Mailbox, target: &Mailbox) -> Result<(), Error> {
        let (folded, target) = (fold(alias), target.to_string());
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let is_account: bool =
                        query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE folded = $1)")
                            .bind(&folded)
                            .fetch_one(&mut *db)
                            .await?;
                    if is_account {
                        return Err(Error::Exists);
                    }
                    query("INSERT INTO aliases (folded, target) VALUES ($1, $2)")
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
        let (folded, readers) = (fold(alias), &self.inner.readers);
        let few: Vec<String> =
            query_scalar("SELECT target FROM aliases WHERE folded = $1 ORDER BY target LIMIT $2")
                .bind(folded.clone())
                .bind(FEW)
                .fetch_all(readers.at_once())
                .await?;
        let targets = match few.len() < FEW as usize {
            true => few,
            false => {
                query_scalar("SELECT target FROM aliases WHERE folded = $1 ORDER BY target")
                    .bind(folded)
                    .fetch_all(readers)
                    .await?
            }
        };
        targets.iter().map(|target| mailbox(target)).collect()
    }

    async fn list_aliases(
        &self,
        domain: Option<&Domain>,
        after: Option<&AliasTarget>,
        limit: u32,
    ) -> Result<Vec<AliasTarget>, Error> {
        let (alias, target) = after.map_or_else(Default::default, |after| {
            (fold(&after.alias), after.target.to_string())
        });
        // No domain has a character that LIKE takes for more than itself.
        let rows: Vec<(String, String)> = query_as(
            "SELECT folded, target FROM aliases WHERE (folded, target) > ($1, $2) \
             AND ($3 IS NULL OR folded LIKE '%@' || $3) ORDER BY folded, target LIMIT $4",
        )
        .bind(alias)
        .bind(target)
        .bind(domain.map(Domain::as_str))
        .bind(limit)
        .fetch_all(&self.inner.readers)
        .await?;
        rows.iter().map(open).collect()
    }

    async fn remove_alias(
        &self,
        alias: &Mailbox,
        target: Option<&Mailbox>,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let (alias, target) = (alias.clone(), target.cloned());
        let removed = self
            .inner
            .change_kept(move |db| Box::pin(async move { remove(db, &alias, target.as_ref(), now).await }))
            .await?;
        self.empty_log().await?;
        Ok(removed)
    }
}

fn open((alias, target): &(String, String)) -> Result<AliasTarget, Error> {
    Ok(AliasTarget {
        alias: mailbox(alias)?,
        target: mailbox(target)?,
    })
}

/// Every alias that leads straight to that address, by alias. Targets are stored as they were spelled, and only our own
/// folding knows which of them are the same address.
pub(super) async fn leading_to(db: &mut Connection, folded: &str) -> Result<Vec<AliasTarget>, Error> {
    let rows: Vec<(String, String)> = query_as("SELECT folded, target FROM aliases ORDER BY folded, target")
        .fetch_all(db)
        .await?;
    let leading = rows.iter().map(open).filter(|one| match one {
        Ok(one) => fold(&one.target) == folded,
        Err(_) => true,
    });
    leading.collect()
}

/// Removes targets, and the keys of an alias that is left without any, and what lets accounts write under it: who has the
/// address next never agreed to that. What lets one write under a whole domain is not its catch-all's, and stays.
pub(super) async fn remove(
    db: &mut Connection,
    alias: &Mailbox,
    target: Option<&Mailbox>,
    now: Timestamp,
) -> Result<u64, Error> {
    let folded = fold(alias);
    let rows: Vec<String> = query_scalar("SELECT target FROM aliases WHERE folded = $1")
        .bind(&folded)
        .fetch_all(&mut *db)
        .await?;
    let mut removed = 0;
    for stored in &rows {
        let goes = match target {
            Some(target) => fold(target) == fold(&mailbox(stored)?),
            None => true,
        };
        if !goes {
            continue;
        }
        let done = query("DELETE FROM aliases WHERE folded = $1 AND target = $2")
            .bind(&folded)
            .bind(stored)
            .execute(&mut *db)
            .await?;
        removed += done.rows_affected();
    }
    if removed > 0 && removed == rows.len() as u64 {
        securely(db, |db| {
            Box::pin(async move {
                query("DELETE FROM senders WHERE sender = $1 AND sender NOT LIKE '*@%'")
                    .bind(&folded)
                    .execute(&mut *db)
                    .await?;
                erase_keys(db, &folded, now).await
            })
        })
        .await?;
    }
    Ok(removed)
}
