//! What a node does as long as it has the database open: it listens for mail that is due, and follows the clock of the server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::server::{self, Server, silent};
use crate::base::followed_clock::FollowedClock;
use crate::base::observe;

/// The channel of `migrations/postgres`.
const CHANNEL: &str = "dimed_queue";

/// How often the clock is compared, which shows that the connection is alive, too.
const COMPARED: Duration = Duration::from_secs(10);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before it connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(in crate::store) struct Keeper {
    pub(super) server: Arc<Server>,
    /// Who goes by the clock of the server.
    pub(super) followed: Option<Arc<FollowedClock>>,
}

impl Keeper {
    /// Calls `due` whenever something may be due. Until it is aborted.
    pub(in crate::store) async fn run(self, due: impl Fn()) {
        loop {
            let Err(error) = self.listen(&due).await;
            tracing::warn!(event = observe::STORE_UNHEARD, %error, "the database is not heard of any more");
            sleep(PAUSE).await;
        }
    }

    async fn listen(&self, due: impl Fn()) -> Result<Infallible, sqlx::Error> {
        let mut listener = timeout(PATIENCE, self.connect()).await.map_err(|_| silent())??;
        let mut compared = interval(COMPARED);
        compared.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What came while nobody listened.
        due();
        loop {
            tokio::select! {
                heard = listener.try_recv() => {
                    heard?.ok_or(sqlx::Error::WorkerCrashed)?;
                    due();
                }
                _ = compared.tick() => {
                    let time = server::time(&mut listener);
                    let time = timeout(PATIENCE, time).await.map_err(|_| silent())??;
                    if let Some(followed) = &self.followed {
                        followed.hear(time);
                    }
                }
            }
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        let options = self.server.place_to_listen().await?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_with(options)
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}
