//! [`ClockRecords`] in SQLite.

use super::query::{query, query_as};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::time::Timestamp;
use crate::store::{ClockRecord, ClockRecords, Error};

#[async_trait]
impl ClockRecords for SqlStore {
    async fn clock_record(&self) -> Result<Option<ClockRecord>, Error> {
        let row: Option<(i64, bool, i64)> =
            query_as("SELECT trusted_at, is_doubted, confirmations FROM clock_record")
                .fetch_optional(&self.inner.readers)
                .await?;
        Ok(row.map(|(trusted_at, is_doubted, confirmations)| ClockRecord {
            trusted_at: Timestamp(trusted_at),
            is_doubted,
            confirmations,
        }))
    }

    async fn note_clock(&self, trusted_at: Timestamp, is_doubted: bool) -> Result<(), Error> {
        let statement = "INSERT INTO clock_record (id, trusted_at, is_doubted, confirmations) VALUES (1, $1, $2, 0) \
             ON CONFLICT (id) DO UPDATE SET trusted_at = excluded.trusted_at, is_doubted = excluded.is_doubted";
        self.write_clock(statement, trusted_at, is_doubted).await
    }

    async fn confirm_clock(&self, now: Timestamp) -> Result<(), Error> {
        let statement = "INSERT INTO clock_record (id, trusted_at, is_doubted, confirmations) VALUES (1, $1, $2, 1) \
             ON CONFLICT (id) DO UPDATE SET trusted_at = excluded.trusted_at, is_doubted = excluded.is_doubted, \
             confirmations = confirmations + 1";
        self.write_clock(statement, now, false).await
    }
}

impl SqlStore {
    async fn write_clock(
        &self,
        statement: &'static str,
        time: Timestamp,
        is_doubted: bool,
    ) -> Result<(), Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    query(statement).bind(time.0).bind(is_doubted).execute(db).await?;
                    Ok(())
                })
            })
            .await
    }
}
