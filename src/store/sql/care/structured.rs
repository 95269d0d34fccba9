//! What has no secrets and a form of its own: who may write under what, requests, changes under way, the block list.

use super::super::Inner;
use super::super::query::query_as;
use super::names::{checked, named};
use super::values::is_time;
use crate::dime::fingerprint::CryptoFingerprint;
use crate::dime::key_set::SignedKeySet;
use crate::dime::signet::{Kind, Signet};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Checked, Doer, Error, Fault, Identity, Mark, Part, RetirementState, RolloverState};

/// The second half of a place among rows with two names.
fn rest(after: &Mark) -> String {
    String::from_utf8_lossy(&after.rest).into_owned()
}

pub(super) async fn senders(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(String, String, bool)> = query_as(
        "SELECT s.folded, s.sender, EXISTS (SELECT 1 FROM accounts a WHERE a.folded = s.folded) FROM senders s \
         WHERE s.folded > $1 OR (s.folded = $1 AND s.sender > $2) ORDER BY s.folded, s.sender LIMIT $3",
    )
    .bind(&after.name)
    .bind(rest(after))
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(folded, sender, has_account): (String, String, bool)| {
        let what = match (has_account, Mailbox::parse(&sender).is_ok()) {
            (false, _) => Some("account"),
            (true, false) => Some("sender"),
            (true, true) => None,
        };
        (named(&folded, &sender), folded, what)
    };
    Ok(checked(Part::Senders, rows.into_iter().map(judge).collect()))
}

pub(super) async fn relay_recipients(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(String, String)> = query_as(
        "SELECT domain, folded FROM relay_recipients WHERE domain > $1 OR (domain = $1 AND folded > $2) \
         ORDER BY domain, folded LIMIT $3",
    )
    .bind(&after.name)
    .bind(rest(after))
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(domain, folded): (String, String)| {
        let what = match Mailbox::parse(&folded) {
            Err(_) => Some("address"),
            Ok(address) if address.domain().as_str() != domain => Some("domain"),
            Ok(_) => None,
        };
        (named(&domain, &folded), folded, what)
    };
    Ok(checked(
        Part::RelayRecipients,
        rows.into_iter().map(judge).collect(),
    ))
}

type BlockRow = (String, String, String, Option<String>, i64, Option<i64>);

pub(super) async fn blocks(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<BlockRow> = query_as(
        "SELECT kind, value, doer, origin, since, until FROM blocks WHERE kind > $1 OR (kind = $1 AND value > $2) \
         ORDER BY kind, value LIMIT $3",
    )
    .bind(&after.name)
    .bind(rest(after))
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(kind, value, doer, origin, since, until): BlockRow| {
        let what = if Identity::parse(&kind, &value).is_none() {
            Some("identity")
        } else if Doer::parse(&doer).is_none() {
            Some("doer")
        } else if origin.is_some_and(|origin| Domain::parse(&origin).is_err()) {
            Some("origin")
        } else if !is_time(since) || !until.is_none_or(is_time) {
            Some("time")
        } else {
            None
        };
        (named(&kind, &value), value, what)
    };
    Ok(checked(Part::Blocks, rows.into_iter().map(judge).collect()))
}

type RequestRow = (String, Vec<u8>, Option<Vec<u8>>, i64, Option<i64>);

pub(super) async fn signing_requests(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<RequestRow> = query_as(
        "SELECT name, object, key_set, submitted_at, rejected_at FROM signing_requests WHERE name > $1 \
         ORDER BY name LIMIT $2",
    )
    .bind(&after.name)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |row: RequestRow| {
        let what = wrong_request(&row);
        (named(&row.0, ""), row.0, what)
    };
    Ok(checked(
        Part::SigningRequests,
        rows.into_iter().map(judge).collect(),
    ))
}

fn wrong_request((name, object, key_set, submitted, rejected): &RequestRow) -> Option<&'static str> {
    if Mailbox::parse(name).is_err() {
        return Some("name");
    }
    let request = Signet::decode(object)
        .ok()
        .filter(|signet| signet.kind() == Kind::Request);
    let Some(key) = request.and_then(|request| request.signing_key().ok()) else {
        return Some("object");
    };
    let is_signed = |value: &Vec<u8>| SignedKeySet::decode(Kind::User, &key, value).is_ok();
    match key_set.as_ref().is_none_or(is_signed) {
        false => Some("key set"),
        true if !is_time(*submitted) || !rejected.is_none_or(is_time) => Some("time"),
        true => None,
    }
}

pub(super) async fn retirements(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(String, String, i64, Option<i64>)> =
        query_as("SELECT name, state, since, due_at FROM retirements WHERE name > $1 ORDER BY name LIMIT $2")
            .bind(&after.name)
            .bind(limit)
            .fetch_all(&inner.readers)
            .await?;
    let judge = |(name, state, since, due_at): (String, String, i64, Option<i64>)| {
        let what = if Domain::parse(&name).is_err() {
            Some("name")
        } else if RetirementState::parse(&state).is_none() {
            Some("state")
        } else if !is_time(since) || !due_at.is_none_or(is_time) {
            Some("time")
        } else {
            None
        };
        (named(&name, ""), name, what)
    };
    Ok(checked(Part::Retirements, rows.into_iter().map(judge).collect()))
}

type RolloverRow = (String, String, Vec<u8>, i64, i64, Option<i64>);

/// How far changes of keys are; the keys are looked at elsewhere.
pub(super) async fn rollovers(inner: &Inner, after: &Mark, limit: i64) -> Result<Vec<Fault>, Error> {
    let rows: Vec<RolloverRow> = query_as(
        "SELECT name, state, replaces, started_at, since, due_at FROM rollovers WHERE name > $1 ORDER BY name LIMIT $2",
    )
    .bind(&after.name)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(name, state, replaces, started, since, due_at): RolloverRow| {
        let replaced = <[u8; 64]>::try_from(replaces).map(CryptoFingerprint);
        let what = if RolloverState::parse(&state).is_none() {
            Some("state")
        } else if replaced.is_err() {
            Some("fingerprint")
        } else if !is_time(started) || !is_time(since) || !due_at.is_none_or(is_time) {
            Some("time")
        } else {
            None
        };
        (named(&name, ""), name, what)
    };
    Ok(checked(Part::Rollovers, rows.into_iter().map(judge).collect()).faults)
}
