//! [`Drains`]: a row for each node that is drained, and one for each that there is.

use super::query::{query, query_as, query_scalar};
use super::readers::Readers;
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::{Drain, Drains, Error, NODE_FORGOTTEN_AFTER, NodeReport};

/// The name that stands for every node.
const EVERY: &str = "";

type ReportRow = (String, i64, Option<i64>, Option<i64>);

/// All of them.
pub(super) async fn drains(readers: &Readers) -> Result<Vec<Drain>, Error> {
    let rows: Vec<(String, i64)> = query_as("SELECT node, since FROM drains ORDER BY node")
        .fetch_all(readers)
        .await?;
    let drain = |(node, since): (String, i64)| Drain {
        node: Domain::parse(&node).ok(),
        since: Timestamp(since),
    };
    Ok(rows.into_iter().map(drain).collect())
}

#[async_trait]
impl Drains for SqlStore {
    async fn drains(&self) -> Result<Vec<Drain>, Error> {
        drains(&self.inner.readers).await
    }

    async fn drained_since(&self, node: &Domain) -> Result<Option<Timestamp>, Error> {
        let since: Option<i64> = query_scalar("SELECT MAX(since) FROM drains WHERE node = $1 OR node = $2")
            .bind(node.to_string())
            .bind(EVERY)
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(since.map(Timestamp))
    }

    async fn begin_drain(&self, node: Option<&Domain>, now: Timestamp) -> Result<Timestamp, Error> {
        let node = node.map_or(EVERY.to_owned(), ToString::to_string);
        let begun = self.inner.write(move |db| {
            Box::pin(async move {
                query("INSERT INTO drains (node, since) VALUES ($1, $2) ON CONFLICT (node) DO NOTHING")
                    .bind(&node)
                    .bind(now.0)
                    .execute(&mut *db)
                    .await?;
                let since: i64 = query_scalar("SELECT since FROM drains WHERE node = $1")
                    .bind(&node)
                    .fetch_one(&mut *db)
                    .await?;
                Ok(Timestamp(since))
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

    async fn report_node(&self, node: &NodeReport) -> Result<(), Error> {
        let node = node.clone();
        let noted = self.inner.write(move |db| {
            Box::pin(async move {
                query(
                    "INSERT INTO node_reports (name, seen_at, stopped_at, drained_since) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, \
                     stopped_at = excluded.stopped_at, drained_since = excluded.drained_since",
                )
                .bind(node.name.to_string())
                .bind(node.seen_at.0)
                .bind(node.stopped_at.map(|time| time.0))
                .bind(node.drained_since.map(|time| time.0))
                .execute(&mut *db)
                .await?;
                query("DELETE FROM node_reports WHERE seen_at < $1")
                    .bind(node.seen_at.before(NODE_FORGOTTEN_AFTER).0)
                    .execute(&mut *db)
                    .await?;
                Ok(())
            })
        });
        noted.await
    }

    async fn node_reports(&self) -> Result<Vec<NodeReport>, Error> {
        let rows: Vec<ReportRow> =
            query_as("SELECT name, seen_at, stopped_at, drained_since FROM node_reports ORDER BY name")
                .fetch_all(&self.inner.readers)
                .await?;
        let node = |(name, seen_at, stopped_at, drained_since): ReportRow| {
            Some(NodeReport {
                name: Domain::parse(&name).ok()?,
                seen_at: Timestamp(seen_at),
                stopped_at: stopped_at.map(Timestamp),
                drained_since: drained_since.map(Timestamp),
            })
        };
        Ok(rows.into_iter().filter_map(node).collect())
    }
}
