//! [`Nodes`]: a row for each process that works on a shared queue, and a task that has it beat.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{MissedTickBehavior, interval};

use super::connection::Connection;
use super::operate;
use super::query::{query, query_as, query_scalar};
use super::{Inner, SqlStore};
use crate::base::guarded_clock::boottime;
use crate::base::id::NodeId;
use crate::base::time::Timestamp;
use crate::base::{metrics, observe};
use crate::mail::address::Domain;
use crate::store::postgres::{Beat, Watch};
use crate::store::{Error, Nodes, Tenure};

/// Beats in the time of silence after which a node may be taken for dead.
const BEATS_PER_SILENCE: u32 = 12;

/// A node counts on its leases for so long after a beat: three quarters of that time.
fn tenure_of(silence: Duration) -> Duration {
    silence / 4 * 3
}

#[async_trait]
impl Nodes for SqlStore {
    async fn join(&self, host: &Domain, silence: Duration, now: Timestamp) -> Result<u64, Error> {
        let inner = &self.inner;
        if inner.database.is_shared() {
            let heart = Heart {
                store: Arc::downgrade(inner),
                host: host.to_string(),
                silence,
                watch: Watch::default(),
            };
            heart.enter(inner).await?;
            inner
                .heart
                .get_or_init(|| tokio::spawn(heart.beat()).abort_handle());
            return Ok(0);
        }
        let freed = inner
            .write(move |db| Box::pin(operate::release_leases(db, None, now)))
            .await?;
        inner.changed.notify_one();
        Ok(freed)
    }

    async fn leave(&self) -> Result<(), Error> {
        let Some(heart) = self.inner.heart.get() else {
            // Whoever copies the file now has all of it.
            return match self.empty_log().await {
                Err(Error::LogInUse) => Ok(()),
                emptied => emptied,
            };
        };
        heart.abort();
        let node = self.inner.tenure().node();
        let left = self.inner.write(move |db| Box::pin(leave(db, node)));
        left.await
    }
}

impl Inner {
    /// Under which it claims now.
    pub(super) fn tenure(&self) -> Tenure {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_tenure(&self, tenure: Tenure) {
        *self.tenure.lock().unwrap_or_else(PoisonError::into_inner) = tenure;
    }
}

/// Shows others that this process is at work, and looks whether they are.
struct Heart {
    store: Weak<Inner>,
    host: String,
    silence: Duration,
    watch: Watch,
}

impl Heart {
    /// Has the store claim under a new id.
    async fn enter(&self, store: &Inner) -> Result<(), Error> {
        let tenure = Tenure::until(boottime() + tenure_of(self.silence));
        let (node, host) = (tenure.node(), self.host.clone());
        let silence_ms = i64::try_from(self.silence.as_millis()).unwrap_or(i64::MAX);
        store
            .write(move |db| Box::pin(enter(db, node, host, silence_ms)))
            .await?;
        store.set_tenure(tenure);
        store.changed.notify_one();
        Ok(())
    }

    /// Until it is aborted, or the store is gone.
    async fn beat(mut self) {
        let mut beats = interval(self.silence / BEATS_PER_SILENCE);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_heard = true;
        loop {
            beats.tick().await;
            let Some(store) = self.store.upgrade() else { return };
            // What went wrong is said by whoever needs the store.
            let _ = self.round(&store).await;
            let is_heard = store.tenure().lasts();
            if was_heard && !is_heard {
                tracing::warn!(
                    event = observe::NODE_OUT_OF_TOUCH,
                    "the database has not heard of this node for long: nothing is transmitted until it is known whether its \
                     leases are still its own"
                );
            }
            was_heard = is_heard;
        }
    }

    /// Beats, looks, and takes over.
    async fn round(&mut self, store: &Inner) -> Result<(), Error> {
        let tenure = store.tenure();
        let asked = boottime();
        let (node, silent, now) = (tenure.node(), self.watch.silent(asked), store.clock.now());
        let round = store
            .write(move |db| Box::pin(async move { round(db, node, silent, now).await }))
            .await?;
        let Some(round) = round else {
            if tenure.end() {
                tracing::error!(
                    event = observe::NODE_REPLACED,
                    "this node was silent for so long that others took over what it had leased; it goes on under another id"
                );
            }
            return self.enter(store).await;
        };
        tenure.renew(asked + tenure_of(self.silence));
        for (dead, leases) in round.taken_over {
            metrics::leases_taken_over(leases);
            tracing::error!(
                event = observe::NODE_TAKEN_FOR_DEAD,
                node.host = dead.host,
                leases,
                "another node has been silent for too long, and what it had leased is due again"
            );
            store.changed.notify_one();
        }
        self.watch.look(boottime(), round.others);
        Ok(())
    }
}

/// What one beat has found.
struct Round {
    others: Vec<Beat>,
    /// With the number of recipients that were leased.
    taken_over: Vec<(Beat, u64)>,
}

async fn enter(db: &mut Connection, node: NodeId, host: String, silence_ms: i64) -> Result<(), Error> {
    query("INSERT INTO nodes (id, host, beats, silence_ms) VALUES ($1, $2, 0, $3)")
        .bind(node.to_string())
        .bind(host)
        .bind(silence_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// One beat, in a transaction that nobody else writes beside. `None`, and nothing is changed, if others have taken over.
async fn round(
    db: &mut Connection,
    node: NodeId,
    silent: Vec<Beat>,
    now: Timestamp,
) -> Result<Option<Round>, Error> {
    let beaten = query("UPDATE nodes SET beats = beats + 1 WHERE id = $1")
        .bind(node.to_string())
        .execute(&mut *db)
        .await?;
    if beaten.rows_affected() == 0 {
        return Ok(None);
    }
    let mut taken_over = Vec::new();
    for dead in silent {
        if bury(db, &dead).await? {
            let leases = operate::release_leases(db, Some(dead.node), now).await?;
            taken_over.push((dead, leases));
        }
    }
    let rows: Vec<(String, String, i64, i64)> =
        query_as("SELECT id, host, beats, silence_ms FROM nodes WHERE id <> $1")
            .bind(node.to_string())
            .fetch_all(db)
            .await?;
    Ok(Some(Round {
        others: rows.into_iter().filter_map(read_beat).collect(),
        taken_over,
    }))
}

fn read_beat((id, host, beats, silence_ms): (String, String, i64, i64)) -> Option<Beat> {
    Some(Beat {
        node: NodeId::parse(&id)?,
        host,
        beats,
        silence: Duration::from_millis(u64::try_from(silence_ms).ok()?),
    })
}

/// Whether it has not beaten since.
async fn bury(db: &mut Connection, dead: &Beat) -> Result<bool, Error> {
    let buried = query("DELETE FROM nodes WHERE id = $1 AND beats = $2")
        .bind(dead.node.to_string())
        .bind(dead.beats)
        .execute(db)
        .await?;
    Ok(buried.rows_affected() > 0)
}

async fn leave(db: &mut Connection, node: NodeId) -> Result<(), Error> {
    if operate::has_leases(db, node).await? {
        return Ok(());
    }
    query("DELETE FROM nodes WHERE id = $1")
        .bind(node.to_string())
        .execute(db)
        .await?;
    Ok(())
}

/// Whether others would find out if this process was dead.
pub(super) async fn is_known(db: &mut Connection, tenure: &Tenure) -> Result<bool, Error> {
    if !tenure.is_watched() {
        return Ok(true);
    }
    let is_known = query_scalar("SELECT EXISTS (SELECT 1 FROM nodes WHERE id = $1)")
        .bind(tenure.node().to_string())
        .fetch_one(db)
        .await?;
    Ok(is_known)
}
