//! The greylist. Reading comes first, so that those who try again too early, or have been proven lately, cost no transaction.

use std::sync::atomic::Ordering;

use super::connection::{Connection, Fetch};
use super::query::{query, query_as, query_scalar};
use async_trait::async_trait;

use super::SqlStore;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::store::greylist::{
    Change, FEW_OF_HOLDER, Good, LEFT_WHEN_FULL, LOOKED_FOR_EVERY, OPEN_FOR, Remembered, Tried,
};
use crate::store::{
    Attempt, Error, Greylist, GreylistCounts, GreylistTerms, Greylisted, MAX_GREYLISTED,
    MAX_WAITING_OF_NETWORK, MasterKey,
};

/// Rows that one call clears away: one transaction keeps all others waiting.
const CLEARED_PER_CALL: u32 = 1000;

/// Octets of a tag that tell holders, or networks of one, apart.
const TAG_OF_HOLDER: usize = 16;

/// Under what an attempt is found, and its network.
#[derive(Debug, Clone)]
struct Tags {
    attempt: Vec<u8>,
    network: Vec<u8>,
    /// The network of an attempt, behind its holder.
    held: Vec<u8>,
}

impl Tags {
    fn of(master: &MasterKey, attempt: &Attempt) -> Self {
        let network = master.greylist_tag(&attempt.network.to_string());
        let holder = master.greylist_tag(&attempt.holder().to_string());
        Self {
            attempt: master.greylist_tag(&attempt.text()),
            held: [&holder[..TAG_OF_HOLDER], &network[..TAG_OF_HOLDER]].concat(),
            network,
        }
    }
}

#[async_trait]
impl Greylist for SqlStore {
    async fn greylist(
        &self,
        attempt: &Attempt,
        terms: &GreylistTerms,
        now: Timestamp,
    ) -> Result<Greylisted, Error> {
        let tags = Tags::of(&self.inner.master, attempt);
        let (told, change) = remembered(&self.inner.readers, &tags).await?.judge(terms, now);
        let is_open = now.0 < self.inner.greylist_open_until.load(Ordering::Relaxed);
        match change {
            None => return Ok(told),
            Some(Change::Begin) if is_open => return Ok(Greylisted::Pass),
            Some(_) => {}
        }
        let terms = terms.clone();
        let (told, is_full) = self
            .inner
            .write(move |db| {
                Box::pin(async move {
                    // Another session may have been faster.
                    let (told, change) = remembered(&mut *db, &tags).await?.judge(&terms, now);
                    let is_full = match change {
                        Some(change) => apply(db, &tags, change, &terms, now).await?,
                        None => false,
                    };
                    Ok((told, is_full))
                })
            })
            .await?;
        if is_full {
            let until = now.after(OPEN_FOR).0;
            self.inner.greylist_open_until.store(until, Ordering::Relaxed);
            tracing::warn!(
                event = observe::GREYLIST_FULL,
                "so many wait that for a minute nobody is asked to come again"
            );
        }
        Ok(told)
    }

    async fn expire_greylist(&self, now: Timestamp) -> Result<u64, Error> {
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    let attempts = query(
                        "DELETE FROM greylist WHERE seq IN \
                         (SELECT seq FROM greylist WHERE proven IN (0, 1) AND until <= $1 LIMIT $2)",
                    )
                    .bind(now.0)
                    .bind(CLEARED_PER_CALL)
                    .execute(&mut *db)
                    .await?;
                    let networks = query(
                        "DELETE FROM greylist_networks WHERE network IN \
                         (SELECT network FROM greylist_networks WHERE until <= $1 LIMIT $2)",
                    )
                    .bind(now.0)
                    .bind(CLEARED_PER_CALL)
                    .execute(db)
                    .await?;
                    Ok(attempts.rows_affected() + networks.rows_affected())
                })
            })
            .await
    }

    async fn greylist_counts(&self, now: Timestamp) -> Result<GreylistCounts, Error> {
        let (waiting, proven, networks): (i64, i64, i64) = query_as(
            "SELECT (SELECT COUNT(*) FROM greylist WHERE proven = 0 AND until > $1), \
             (SELECT COUNT(*) FROM greylist WHERE proven = 1 AND until > $1), \
             (SELECT COUNT(*) FROM greylist_networks WHERE until > $1)",
        )
        .bind(now.0)
        .fetch_one(&self.inner.readers)
        .await?;
        Ok(GreylistCounts {
            waiting: waiting.unsigned_abs(),
            proven: proven.unsigned_abs(),
            networks: networks.unsigned_abs(),
        })
    }

    async fn clear_greylist(&self) -> Result<u64, Error> {
        self.inner
            .write(|db| {
                Box::pin(async move {
                    query("DELETE FROM greylist_networks").execute(&mut *db).await?;
                    let attempts = query("DELETE FROM greylist").execute(db).await?;
                    Ok(attempts.rows_affected())
                })
            })
            .await
    }
}

/// When an attempt was first made, whether it has come again and until when that holds; how many of its network have, and until
/// when that holds.
type Row = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

async fn remembered(db: impl Fetch, tags: &Tags) -> Result<Remembered, Error> {
    let (since, proven, until, count, network_until): Row = query_as(
        "SELECT tried.since, tried.proven, tried.until, good.good, good.until FROM (SELECT 1) AS one \
         LEFT JOIN greylist AS tried ON tried.tag = $1 LEFT JOIN greylist_networks AS good ON good.network = $2",
    )
    .bind(&tags.attempt)
    .bind(&tags.network)
    .fetch_one(db)
    .await?;
    let tried = since.zip(proven).zip(until);
    Ok(Remembered {
        attempt: tried.map(|((since, proven), until)| Tried {
            since: Timestamp(since),
            proven: proven != 0,
            until: Timestamp(until),
        }),
        network: count.zip(network_until).map(|(count, until)| Good {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            until: Timestamp(until),
        }),
    })
}

/// Whether too many wait, and nobody can make room.
async fn apply(
    db: &mut Connection,
    tags: &Tags,
    change: Change,
    terms: &GreylistTerms,
    now: Timestamp,
) -> Result<bool, Error> {
    match change {
        Change::Begin => return begin(db, tags, now, now.after(terms.retry_within)).await,
        Change::Prove => {
            prove(db, tags, now.after(terms.proven_for)).await?;
            count_network(db, tags, now, now.after(terms.proven_for)).await?;
        }
        Change::Renew => prove(db, tags, now.after(terms.proven_for)).await?,
        Change::RenewNetwork => {
            query("UPDATE greylist_networks SET until = $1 WHERE network = $2")
                .bind(now.after(terms.proven_for).0)
                .bind(&tags.network)
                .execute(db)
                .await?;
        }
    }
    Ok(false)
}

/// The first try, in the place of one that is over. Whether too many wait, as in [`apply`].
async fn begin(db: &mut Connection, tags: &Tags, now: Timestamp, until: Timestamp) -> Result<bool, Error> {
    query("DELETE FROM greylist WHERE tag = $1")
        .bind(&tags.attempt)
        .execute(&mut *db)
        .await?;
    let seq: i64 = query_scalar(
        "INSERT INTO greylist (tag, network, since, proven, until) VALUES ($1, $2, $3, 0, $4) RETURNING seq",
    )
    .bind(&tags.attempt)
    .bind(&tags.held)
    .bind(now.0)
    .bind(until.0)
    .fetch_one(&mut *db)
    .await?;
    query(
        "DELETE FROM greylist WHERE proven = 0 AND network = $1 AND seq <= \
         (SELECT seq FROM greylist WHERE proven = 0 AND network = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
    )
    .bind(&tags.held)
    .bind(MAX_WAITING_OF_NETWORK)
    .execute(&mut *db)
    .await?;
    match seq % LOOKED_FOR_EVERY {
        0 => make_room(db).await,
        _ => Ok(false),
    }
}

/// Whether too many wait, as in [`apply`].
async fn make_room(db: &mut Connection) -> Result<bool, Error> {
    make_room_among(db, true).await?;
    let waited_too_many = make_room_among(db, false).await?;
    query(
        "DELETE FROM greylist_networks WHERE network IN \
         (SELECT network FROM greylist_networks ORDER BY until DESC LIMIT 1000000000 OFFSET $1)",
    )
    .bind(MAX_GREYLISTED)
    .execute(&mut *db)
    .await?;
    Ok(waited_too_many && largest_holder(db).await? <= i64::from(FEW_OF_HOLDER))
}

/// Whether there were too many. Each holder keeps its first, then each its second, and so on until there are enough; of its
/// networks each in turn, and of a network the last.
async fn make_room_among(db: &mut Connection, proven: bool) -> Result<bool, Error> {
    let count: i64 = query_scalar("SELECT COUNT(*) FROM greylist WHERE proven = $1")
        .bind(i64::from(proven))
        .fetch_one(&mut *db)
        .await?;
    if count <= i64::from(MAX_GREYLISTED) {
        return Ok(false);
    }
    query(
        "DELETE FROM greylist WHERE seq IN (SELECT seq FROM \
         (SELECT seq, until, ROW_NUMBER() OVER (PARTITION BY substr(network, 1, 16) ORDER BY nth, until DESC, seq DESC) AS place \
         FROM (SELECT seq, until, network, \
         ROW_NUMBER() OVER (PARTITION BY network ORDER BY until DESC, seq DESC) AS nth FROM greylist WHERE proven = $1) AS turns) \
         AS places ORDER BY place, until DESC, seq DESC LIMIT 1000000000 OFFSET $2)",
    )
    .bind(i64::from(proven))
    .bind(LEFT_WHEN_FULL)
    .execute(db)
    .await?;
    Ok(true)
}

/// How many of one holder wait at most.
async fn largest_holder(db: &mut Connection) -> Result<i64, Error> {
    let largest = query_scalar(
        "SELECT COALESCE(MAX(held), 0) FROM \
         (SELECT COUNT(*) AS held FROM greylist WHERE proven = 0 GROUP BY substr(network, 1, 16)) AS holders",
    );
    Ok(largest.fetch_one(db).await?)
}

async fn prove(db: &mut Connection, tags: &Tags, until: Timestamp) -> Result<(), Error> {
    query("UPDATE greylist SET proven = 1, until = $1 WHERE tag = $2")
        .bind(until.0)
        .bind(&tags.attempt)
        .execute(db)
        .await?;
    Ok(())
}

async fn count_network(
    db: &mut Connection,
    tags: &Tags,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), Error> {
    query(
        "INSERT INTO greylist_networks (network, good, until) VALUES ($1, 1, $2) ON CONFLICT (network) DO UPDATE SET \
         good = CASE WHEN greylist_networks.until > $3 THEN MIN(greylist_networks.good + 1, 1000000) ELSE 1 END, until = excluded.until",
    )
    .bind(&tags.network)
    .bind(until.0)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}
