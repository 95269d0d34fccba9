//! Taking work: lanes by turn, those of our domains and those of others each within their share, a few groups from each.
//!
//! While recipients are leased, `due_at` is the end of the lease, so that a lease that runs out makes its rows due
//! again without anybody doing anything.

use std::sync::{Mutex, PoisonError};

use super::connection::Connection;
use super::query::{query, query_as, query_scalar};

use super::dialect::{
    ALL_LANES, DUE_GROUP, EARLIEST_DUE, NEXT_LANE, NEXT_REACHED_LANE, NEXT_REACHED_TURN, NEXT_TURN,
};
use super::misread::{is_misread, unreadable};
use super::{message, settle};
use crate::base::id::{LeaseToken, QueueId, RecipientId};
use crate::base::metrics;
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::sealed::{MasterKey, MessageKey};
use crate::store::{Claim, Claimed, ClaimedRecipient, Error, Rooms, Tenure};

/// Groups that one destination gets before it goes behind the others that are due.
const GROUPS_PER_TURN: usize = 4;

/// Recipients in one group; the rest of a longer list forms further groups. RFC 5321 §4.5.3.1.8 has servers take 100.
pub(super) const GROUP_RECIPIENTS: i64 = 100;

/// For whom a claim is made.
pub(super) struct Claimant {
    pub(super) master: MasterKey,
    pub(super) tenure: Tenure,
    /// What it has drawn so far.
    pub(super) drawn: InDoubt,
}

impl Claimant {
    fn draw(&self) -> LeaseToken {
        let lease = self.tenure.node().lease();
        self.drawn.add([lease]);
        lease
    }
}

/// Leases of which it is not known whether they were committed: if so, they are those of nobody.
#[derive(Default)]
pub(super) struct InDoubt(Mutex<Vec<LeaseToken>>);

/// More run out by themselves.
const MOST_IN_DOUBT: usize = 1_000;

impl InDoubt {
    pub(super) fn add(&self, more: impl IntoIterator<Item = LeaseToken>) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.extend(more);
        leases.truncate(MOST_IN_DOUBT);
    }

    pub(super) fn take(&self) -> Vec<LeaseToken> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// See [`Spool::claim`](crate::store::Spool::claim).
pub(super) async fn claim(
    db: &mut Connection,
    claimant: &Claimant,
    (now, leased_until): (Timestamp, Timestamp),
    limit: usize,
    rooms: Rooms,
) -> Result<Claimed, Error> {
    let mut round = Round {
        db,
        claimant,
        now,
        leased_until,
        rooms,
        claims: Vec::new(),
    };
    let run_out = round.run_out().await?;
    while round.claims.len() < limit {
        let lane = match round.next_lane().await {
            Err(error) if is_misread(&error) => {
                rebuild_lanes(round.db).await?;
                round.next_lane().await?
            }
            lane => lane?,
        };
        let Some(lane) = lane else {
            break;
        };
        // What cannot be read is set aside, and takes no room.
        let name = Domain::parse(&lane.destination).ok();
        let before = round.claims.len();
        let room = match &name {
            Some(name) => round.rooms.among(name, lane.is_ours),
            None => round.rooms.of_kind(lane.is_ours),
        };
        let groups = GROUPS_PER_TURN.min(limit - before).min(room);
        round.serve(&lane, groups).await?;
        let taken = round.claims.len() - before;
        if let Some(name) = &name {
            round.rooms.take_of_kind(name, lane.is_ours, taken);
            round.rooms.take(name, taken);
        }
    }
    if run_out > 0 {
        metrics::leases_taken_over(run_out.saturating_sub(round.run_out().await?));
    }
    round.finish().await
}

/// One call of [`claim`]. Every lane it visits loses a due row or is no longer due, so it ends.
struct Round<'a> {
    db: &'a mut Connection,
    claimant: &'a Claimant,
    now: Timestamp,
    leased_until: Timestamp,
    rooms: Rooms,
    claims: Vec<Claim>,
}

/// A lane that is due.
struct Lane {
    turn: (i64, i64),
    is_ours: bool,
    destination: String,
}

/// `seq`, message, id, forward-path, attempts before this one, whether a delay was reported, whether it is condemned.
type DueRow = (i64, String, String, Vec<u8>, i64, bool, bool);

impl Round<'_> {
    /// Of the two kinds, that whose turn came first.
    async fn next_lane(&mut self) -> Result<Option<Lane>, Error> {
        let mut next: Option<Lane> = None;
        for is_ours in [true, false] {
            if self.rooms.of_kind(is_ours) == 0 {
                continue;
            }
            let lane: Option<(String, i64, i64)> = match Lanes::of(&self.rooms, is_ours) {
                Lanes::All => query_as(ANY_NEXT_LANE).bind(is_ours).bind(self.now.0),
                Lanes::Reached(names) => query_as(NEXT_REACHED_LANE)
                    .bind(is_ours)
                    .bind(self.now.0)
                    .bind(names),
                Lanes::AllBut(names) => query_as(NEXT_LANE).bind(is_ours).bind(self.now.0).bind(names),
            }
            .fetch_optional(&mut *self.db)
            .await?;
            let lane = lane.map(|(destination, turn_at, turn_no)| Lane {
                turn: (turn_at, turn_no),
                is_ours,
                destination,
            });
            next = match (next, lane) {
                (Some(a), Some(b)) => Some(if a.turn <= b.turn { a } else { b }),
                (a, b) => a.or(b),
            };
        }
        Ok(next)
    }

    /// Recipients whose lease has run out, and whom nobody has taken over. Those that are leased are looked at, and no others.
    async fn run_out(&mut self) -> Result<u64, Error> {
        let found: i64 = query_scalar(RUN_OUT)
            .bind(self.now.0)
            .fetch_one(&mut *self.db)
            .await?;
        Ok(u64::try_from(found).unwrap_or(0))
    }

    /// Looks what is left.
    async fn finish(self) -> Result<Claimed, Error> {
        let has_more = query_scalar(ANY_LANE)
            .bind(self.now.0)
            .fetch_one(&mut *self.db)
            .await?;
        Ok(Claimed {
            claims: self.claims,
            has_more,
            next_due: next_turn(self.db, &self.rooms).await?,
        })
    }

    async fn serve(&mut self, lane: &Lane, groups: usize) -> Result<(), Error> {
        let destination = &lane.destination;
        for _ in 0..groups {
            let lease = self.claimant.draw();
            let rows = self.lease_group(destination, lease).await?;
            let Some((_, message, ..)) = rows.first() else {
                break;
            };
            let message = message.clone();
            self.open_group(lane, lease, &message, rows).await?;
        }
        query(END_TURN)
            .bind(self.now.0)
            .bind(destination)
            .execute(&mut *self.db)
            .await?;
        refresh_lane(self.db, destination).await
    }

    /// Leases the due recipients of the message in this lane that has waited longest. Rows are found first and changed one by one,
    /// since SQLite makes a table for each statement that does both.
    async fn lease_group(&mut self, destination: &str, lease: LeaseToken) -> Result<Vec<DueRow>, Error> {
        let rows: Vec<DueRow> = query_as(DUE_GROUP)
            .bind(destination)
            .bind(self.now.0)
            .bind(GROUP_RECIPIENTS)
            .fetch_all(&mut *self.db)
            .await?;
        let lease = lease.to_string();
        for (seq, ..) in &rows {
            query(LEASE)
                .bind(*seq)
                .bind(&lease)
                .bind(self.leased_until.0)
                .execute(&mut *self.db)
                .await?;
        }
        Ok(rows)
    }

    /// Decrypts a leased group; what cannot be read is set aside, and the round goes on.
    async fn open_group(
        &mut self,
        lane: &Lane,
        lease: LeaseToken,
        message: &str,
        rows: Vec<DueRow>,
    ) -> Result<(), Error> {
        let opened = open_message(self.db, &self.claimant.master, message).await;
        let (key, mut claim) = match opened.and_then(|opened| self.new_claim(lane, lease, opened)) {
            Ok(opened) => opened,
            Err(Error::Unreadable(what)) => return settle::quarantine(self.db, lease, what).await,
            Err(error) => return Err(error),
        };
        for row in rows {
            match open_recipient(&key, &row) {
                Ok(recipient) => claim.recipients.push(recipient),
                Err(Error::Unreadable(what)) => settle::quarantine_recipient(self.db, &row.2, what).await?,
                Err(error) => return Err(error),
            }
        }
        if !claim.recipients.is_empty() {
            self.claims.push(claim);
        }
        Ok(())
    }

    fn new_claim(
        &self,
        lane: &Lane,
        lease: LeaseToken,
        opened: OpenedMessage,
    ) -> Result<(MessageKey, Claim), Error> {
        let claim = Claim {
            message: opened.key.message(),
            lease,
            leased_until: self.leased_until,
            tenure: self.claimant.tenure.clone(),
            envelope: opened.envelope,
            content: opened.beside.content,
            size_bytes: opened.beside.size_bytes,
            accepted_at: opened.beside.accepted_at,
            counted_from: opened.counted_from,
            destination: Domain::parse(&lane.destination).map_err(|_| Error::Unreadable("destination"))?,
            is_ours: lane.is_ours,
            recipients: Vec::new(),
            body: opened.body,
        };
        Ok((opened.key, claim))
    }
}

/// When it is the turn of the next lane that there is room for.
pub(super) async fn next_turn(db: &mut Connection, rooms: &Rooms) -> Result<Option<Timestamp>, Error> {
    match first_turn(db, rooms).await {
        Err(error) if is_misread(&error) => {
            rebuild_lanes(db).await?;
            first_turn(db, rooms).await
        }
        turn => turn,
    }
}

async fn first_turn(db: &mut Connection, rooms: &Rooms) -> Result<Option<Timestamp>, Error> {
    let mut next: Option<i64> = None;
    for is_ours in [true, false] {
        if rooms.of_kind(is_ours) > 0 {
            let turn: Option<Option<i64>> = match Lanes::of(rooms, is_ours) {
                Lanes::All => query_scalar(ANY_NEXT_TURN).bind(is_ours),
                Lanes::Reached(names) => query_scalar(NEXT_REACHED_TURN).bind(is_ours).bind(names),
                Lanes::AllBut(names) => query_scalar(NEXT_TURN).bind(is_ours).bind(names),
            }
            .fetch_optional(&mut *db)
            .await?;
            next = [next, turn.flatten()].into_iter().flatten().min();
        }
    }
    Ok(next.map(Timestamp))
}

/// The lanes of one kind that there is room for. Names are a list in JSON.
enum Lanes {
    All,
    AllBut(String),
    Reached(String),
}

impl Lanes {
    fn of(rooms: &Rooms, is_ours: bool) -> Self {
        if !is_ours && rooms.only_reached() {
            return Self::Reached(json(rooms.open_and_reached()));
        }
        let mut closed = rooms.closed().peekable();
        match closed.peek() {
            Some(_) => Self::AllBut(json(closed)),
            None => Self::All,
        }
    }
}

fn json<'a>(lanes: impl Iterator<Item = &'a Domain>) -> String {
    let names: Vec<&str> = lanes.map(Domain::as_str).collect();
    serde_json::Value::from(names).to_string()
}

/// Whether a lane is due, with or without room.
const ANY_LANE: &str = "SELECT EXISTS (SELECT 1 FROM lanes WHERE ours = TRUE AND turn_at <= $1) \
    OR EXISTS (SELECT 1 FROM lanes WHERE ours = FALSE AND turn_at <= $1)";

/// The lane of one kind whose turn it is, if there is room for all.
const ANY_NEXT_LANE: &str = "SELECT destination, turn_at, turn_no FROM lanes \
    WHERE ours = $1 AND turn_at <= $2 ORDER BY turn_at, turn_no LIMIT 1";

/// When it is the turn of the next of them.
const ANY_NEXT_TURN: &str = "SELECT turn_at FROM lanes WHERE ours = $1 ORDER BY turn_at LIMIT 1";

const LEASE: &str = "\
    UPDATE recipients SET lease = $2, leased_until = $3, due_at = $3, attempts = attempts + 1 WHERE seq = $1";

const RUN_OUT: &str = "SELECT COUNT(*) FROM recipients WHERE lease IS NOT NULL AND leased_until <= $1";

const END_TURN: &str = "\
    UPDATE lanes SET served_at = $1, turn_no = (SELECT MAX(turn_no) + 1 FROM lanes) WHERE destination = $2";

/// The queries whose plans keep a claim's cost independent of the length of the queue, in the words of SQLite; a test looks at
/// the plans.
pub const CLAIM_QUERIES: [&str; 11] = [
    RUN_OUT,
    ANY_LANE,
    ANY_NEXT_LANE,
    ANY_NEXT_TURN,
    NEXT_LANE.sqlite,
    NEXT_REACHED_LANE.sqlite,
    NEXT_REACHED_TURN.sqlite,
    DUE_GROUP.sqlite,
    LEASE,
    END_TURN,
    EARLIEST_DUE.sqlite,
];

/// A message's row, decrypted.
struct OpenedMessage {
    key: MessageKey,
    envelope: crate::store::Envelope,
    beside: crate::store::sealed::ClearColumns,
    counted_from: Timestamp,
    body: Option<Secret<Vec<u8>>>,
}

/// The end of the year 9999 in milliseconds: no time of ours is later.
pub(super) const LATEST: i64 = 253_402_300_799_999;

/// A clock that differs by less has not been set.
const CLOCK_SET_MS: i64 = 2_000;

/// Bodies up to that size are read with their message.
pub(super) const SMALL_BODY: i64 = 16 * 1024;

type MessageRow = (Vec<u8>, Vec<u8>, i64, i64, i64, Option<i64>, Option<Vec<u8>>);

async fn open_message(db: &mut Connection, master: &MasterKey, id: &str) -> Result<OpenedMessage, Error> {
    let row: MessageRow = query_as(
        "SELECT m.wrapped_key, m.envelope, m.content, m.size_bytes, m.accepted_at, m.released_at, p.sealed \
         FROM messages m LEFT JOIN pieces p ON p.message = m.id AND p.number = 0 AND m.size_bytes <= $2 \
         WHERE m.id = $1",
    )
    .bind(id)
    .bind(SMALL_BODY)
    .fetch_optional(db)
    .await
    .map_err(unreadable("message"))?
    .ok_or(Error::Unreadable("message"))?;
    let (wrapped_key, envelope, content, size_bytes, accepted_at, released_at, body) = row;
    let beside = message::clear_columns(content, size_bytes, accepted_at)?;
    let id = QueueId::parse(id).ok_or(Error::Unreadable("message id"))?;
    let key = master.unwrap(id, &wrapped_key)?;
    Ok(OpenedMessage {
        envelope: key.open_envelope(&envelope, &beside)?,
        // What is damaged is found so when it is asked for.
        body: body
            .and_then(|sealed| key.open_piece(0, &sealed).ok())
            .map(Secret::new),
        key,
        counted_from: released_at.map_or(beside.accepted_at, Timestamp),
        beside,
    })
}

fn open_recipient(key: &MessageKey, row: &DueRow) -> Result<ClaimedRecipient, Error> {
    let (_, _, id, forward_path, attempts, delay_reported, condemned) = row;
    let id = RecipientId::parse(id).ok_or(Error::Unreadable("recipient id"))?;
    let addressee = key.open_addressee(id, forward_path)?;
    Ok(ClaimedRecipient {
        id,
        forward_path: addressee.path,
        request: addressee.request,
        expanded: addressee.expanded,
        named: addressee.named,
        attempts: u32::try_from(*attempts).map_err(|_| Error::Unreadable("attempts"))?,
        delay_reported: *delay_reported,
        condemned: *condemned,
    })
}

/// Forgets turns that lie ahead of `now`: the clock has been set back, and lanes must not wait until it catches up.
pub(super) async fn forget_future_turns(db: &mut Connection, now: Timestamp) -> Result<(), Error> {
    query(
        "UPDATE lanes SET served_at = 0, turn_at = COALESCE((SELECT MIN(due_at) FROM recipients \
         WHERE destination = lanes.destination AND due_at IS NOT NULL), 0) WHERE served_at > $1",
    )
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// By how much the clock was set, if that is more than clocks run apart.
pub(super) fn clock_set_by(ms: i64) -> Option<i64> {
    (ms.abs() >= CLOCK_SET_MS).then_some(ms)
}

/// The clock was set, by so many milliseconds. Leases last as long as before: what is being tried is not begun once more. What waits
/// does not wait until a clock that was set back catches up; it may come early.
pub(super) async fn follow_clock(db: &mut Connection, now: Timestamp, set_by_ms: i64) -> Result<(), Error> {
    query(
        "UPDATE recipients SET leased_until = leased_until + $1, due_at = due_at + $1 WHERE lease IS NOT NULL",
    )
    .bind(set_by_ms)
    .execute(&mut *db)
    .await?;
    if set_by_ms < 0 {
        query("UPDATE recipients SET due_at = due_at + $1 WHERE lease IS NULL AND due_at > $2")
            .bind(set_by_ms)
            .bind(now.0.saturating_sub(set_by_ms))
            .execute(&mut *db)
            .await?;
    }
    query(
        "UPDATE lanes SET served_at = MIN(served_at, $1), turn_at = COALESCE((SELECT MIN(due_at) FROM recipients \
         WHERE destination = lanes.destination AND due_at IS NOT NULL), 0)",
    )
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// See [`Spool::bring_forward`](crate::store::Spool::bring_forward). Goes by lanes, so that of a long queue no more is read than is moved.
pub(super) async fn bring_forward(
    db: &mut Connection,
    now: Timestamp,
    latest: Timestamp,
) -> Result<u64, Error> {
    // Times that are none, which SQLite may have, are left for those who look for them.
    let moved = query(
        "UPDATE recipients SET due_at = $1 WHERE lease IS NULL AND seq IN (\
         SELECT r.seq FROM lanes l CROSS JOIN recipients r \
         WHERE r.destination = l.destination AND r.due_at > $2 AND r.due_at <= $3)",
    )
    .bind(now.0)
    .bind(latest.0)
    .bind(LATEST)
    .execute(&mut *db)
    .await?
    .rows_affected();
    if moved > 0 {
        query(
            "UPDATE lanes SET turn_at = MAX(served_at, COALESCE((SELECT MIN(due_at) FROM recipients \
             WHERE destination = lanes.destination AND due_at IS NOT NULL), 0))",
        )
        .execute(db)
        .await?;
    }
    Ok(moved)
}

/// A recipient of `destination` becomes due at `due_at`: its lane's turn comes no later.
pub(super) async fn bring_lane_forward(
    db: &mut Connection,
    destination: &str,
    due_at: Timestamp,
) -> Result<(), Error> {
    query(
        "INSERT INTO lanes (destination, turn_at) VALUES ($1, $2) ON CONFLICT (destination) \
         DO UPDATE SET turn_at = MAX(lanes.served_at, MIN(lanes.turn_at, excluded.turn_at))",
    )
    .bind(destination)
    .bind(due_at.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Makes all lanes anew from the recipients that wait.
pub(super) async fn rebuild_lanes(db: &mut Connection) -> Result<(), Error> {
    query("DELETE FROM lanes").execute(&mut *db).await?;
    query(ALL_LANES).execute(db).await?;
    Ok(())
}

/// Sets a lane's turn from its recipients, in the transaction that changed their `due_at`.
pub(super) async fn refresh_lane(db: &mut Connection, destination: &str) -> Result<(), Error> {
    let earliest: Option<i64> = query_scalar(EARLIEST_DUE)
        .bind(destination)
        .fetch_one(&mut *db)
        .await?;
    match earliest {
        Some(due_at) => query(
            "INSERT INTO lanes (destination, turn_at) VALUES ($1, $2) ON CONFLICT (destination) \
             DO UPDATE SET turn_at = MAX(lanes.served_at, excluded.turn_at) \
             WHERE lanes.turn_at <> MAX(lanes.served_at, excluded.turn_at)",
        )
        .bind(destination)
        .bind(due_at),
        None => query("DELETE FROM lanes WHERE destination = $1").bind(destination),
    }
    .execute(db)
    .await?;
    Ok(())
}
