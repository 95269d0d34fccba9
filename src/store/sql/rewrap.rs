//! [`KeyChanges`].

use super::Connection;
use super::query::query;
use async_trait::async_trait;

use super::care::sealed_rows::{self, Page, SealedRow};
use super::misread::is_misread;
use super::{SqlStore, care, ring};
use crate::store::{Error, KeyChange, KeyChanges, Mark, MasterKey, Part, Rewrapped};

#[async_trait]
impl KeyChanges for SqlStore {
    async fn key_change(&self) -> Result<KeyChange, Error> {
        let master = self.inner.opened_with.clone();
        self.inner
            .write(move |db| Box::pin(async move { ring::change(db, &master).await }))
            .await
    }

    fn next_key(&self) -> MasterKey {
        MasterKey::new(self.inner.master.current().clone())
    }

    async fn begin_key_change(&self, next: MasterKey) -> Result<(), Error> {
        let old = self.inner.master.clone();
        self.inner
            .write(move |db| Box::pin(async move { ring::begin(db, &old, &next).await }))
            .await
    }

    async fn rewrap(&self, part: Part, after: &Mark) -> Result<Rewrapped, Error> {
        let Some(page) = self.readable_page(part, after).await? else {
            return Ok(Rewrapped {
                unreadable: 1,
                next: care::place_behind(&self.inner, part, after).await?,
                ..Rewrapped::default()
            });
        };
        let mut done = Rewrapped {
            next: page.next(),
            ..Rewrapped::default()
        };
        let mut changed = Vec::new();
        for row in page.0 {
            match row.rewrapped(&self.inner.master) {
                Ok(Some(sealed)) => changed.push((row, sealed)),
                Ok(None) => {}
                Err(_) => done.unreadable += 1,
            }
        }
        done.rows = changed.len() as u64;
        if !changed.is_empty() {
            self.inner
                .write(move |db| Box::pin(async move { store(db, part, changed).await }))
                .await?;
        }
        Ok(done)
    }

    async fn finish_key_change(&self) -> Result<(), Error> {
        self.inner
            .write(move |db| Box::pin(async move { ring::finish(db).await }))
            .await?;
        self.empty_log().await
    }
}

impl SqlStore {
    /// Some rows; `None` if the next one has a value of a wrong kind.
    async fn readable_page(&self, part: Part, after: &Mark) -> Result<Option<Page>, Error> {
        for limit in [care::ROWS, 1] {
            match sealed_rows::page(&self.inner.readers, part, after, limit).await {
                Err(error) if is_misread(&error) => {}
                page => return page.map(Some),
            }
        }
        Ok(None)
    }
}

async fn store(db: &mut Connection, part: Part, changed: Vec<(SealedRow, Vec<u8>)>) -> Result<(), Error> {
    for (row, sealed) in changed {
        let Mark { number, name, rest } = row.mark;
        let by_number = |sql: &'static str| query(sql).bind(sealed.clone()).bind(number);
        let by_name = |sql: &'static str| query(sql).bind(sealed.clone()).bind(name.clone());
        let statement = match part {
            Part::Messages => by_number("UPDATE messages SET wrapped_key = $1 WHERE seq = $2"),
            Part::PrivateKeys => by_number("UPDATE signets SET private_keys = $1 WHERE seq = $2"),
            Part::KemKeys => {
                by_name("UPDATE kem_keys SET sealed = $1 WHERE name = $2 AND complete = $3").bind(rest)
            }
            Part::DkimKeys => by_name("UPDATE dkim_keys SET sealed = $1 WHERE domain = $2 AND selector = $3")
                .bind(String::from_utf8_lossy(&rest).into_owned()),
            Part::Rollovers => by_name("UPDATE rollovers SET sealed = $1 WHERE name = $2"),
            Part::KeyDeposits => by_name("UPDATE key_deposits SET sealed = $1 WHERE folded = $2"),
            Part::SrsPaths => by_name("UPDATE srs_paths SET sealed = $1 WHERE id = $2"),
            Part::Pins => by_name("UPDATE pins SET seal = $1 WHERE domain = $2"),
            Part::StsPolicies => by_name("UPDATE sts_policies SET seal = $1 WHERE domain = $2"),
            _ => continue,
        };
        statement.execute(&mut *db).await?;
    }
    Ok(())
}
