//! [`Drains`]: a row for each node.

use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::{Drain, Drains, Error};

/// The name that stands for every node.
const EVERY: &str = "";

#[async_trait]
impl Drains for SqlStore {
    async fn drains(&self) -> Result<Vec<Drain>, Error> {
        let rows: Vec<(String, i64)> = query_as("SELECT node, since FROM drains ORDER BY node")
            .fetch_all(&self.inner.readers)
            .await?;
        let drain = |(node, since): (String, i64)| Drain {
            node: Domain::parse(&node).ok(),
            since: Timestamp(since),
        };
        Ok(rows.into_iter().map(drain).collect())
    }

    async fn is_drained(&self, node: &Domain) -> Result<bool, Error> {
        let is_drained = query_scalar("SELECT EXISTS (SELECT 1 FROM drains WHERE node = $1 OR node = $2)")
            .bind(node.to_string())
            .bind(EVERY)
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(is_drained)
    }

    async fn begin_drain(&self, node: Option<&Domain>, now: Timestamp) -> Result<(), Error> {
        let node = node.map_or(EVERY.to_owned(), ToString::to_string);
        let sql = "INSERT INTO drains (node, since) VALUES ($1, $2) ON CONFLICT (node) DO NOTHING";
        let begun = self.inner.write(move |db| {
            Box::pin(async move {
                query(sql).bind(node).bind(now.0).execute(db).await?;
                Ok(())
            })
        });
        begun.await
    }

    async fn end_drain(&self, node: Option<&Domain>) -> Result<u64, Error> {
        let node = node.map(ToString::to_string);
        let sql = "DELETE FROM drains WHERE $1 IS NULL OR node = $1";
        let ended = self.inner.write(move |db| {
            Box::pin(async move { Ok(query(sql).bind(node).execute(db).await?.rows_affected()) })
        });
        ended.await
    }
}
