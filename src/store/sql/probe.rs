//! [`Probe`].

use async_trait::async_trait;

use super::SqlStore;
use super::query::{query, query_scalar};
use crate::store::{Error, Probe};

#[async_trait]
impl Probe for SqlStore {
    async fn probe(&self) -> Result<(), Error> {
        self.inner
            .write(|db| {
                Box::pin(async move {
                    // In two steps: SQLite writes no page, and syncs nothing, where everything stays as it is.
                    for sql in [
                        "UPDATE changes SET count = count + 1",
                        "UPDATE changes SET count = count - 1",
                    ] {
                        query(sql).execute(&mut *db).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        let _: i64 = query_scalar("SELECT COUNT(*) FROM clock_record")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(())
    }

    async fn keeps_log(&self) -> bool {
        // The note cannot always be left.
        self.inner.writer.keeps_log() || self.inner.database.keeps_log()
    }
}
