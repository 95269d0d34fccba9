//! What is kept under hashes: of names, which alone open what is sealed beside them, of attempts, of objects. Nobody here knows the names,
//! so it is looked at whether a row can be one that we have written: sizes, marks and times.

use super::super::Inner;
use super::super::query::query_as;
use super::names::checked;
use super::values::is_time;
use crate::crypto::at_rest::OVERHEAD;
use crate::store::{Checked, Error, Mark, Part};

/// Octets of a hash.
const TAG: usize = 32;
/// Octets of the hash of an object, by which a second one of the same id is noticed.
const DIGEST: usize = 16;
/// Octets of a fingerprint, with which a copy of a signet begins.
const FINGERPRINT: usize = 64;
/// Octets that are sealed of a pinned key set: key, time, mark.
const KEY_SET_PIN: usize = 32 + 8 + 1;
/// Octets that are sealed of the signing key that somebody had, with the fingerprint of the signet.
const CUSTODY_PIN: usize = 32 + FINGERPRINT;

/// The beginning of a hash, which tells a row from others and nothing more.
pub(super) fn shown(tag: &[u8]) -> String {
    tag.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

/// The first thing that is wrong.
fn first_wrong<const N: usize>(judged: [(bool, &'static str); N]) -> Option<&'static str> {
    judged
        .into_iter()
        .find(|(is_right, _)| !is_right)
        .map(|(_, what)| what)
}

fn at(number: i64) -> Mark {
    Mark {
        number,
        ..Mark::default()
    }
}

fn behind(tag: &[u8]) -> Mark {
    Mark {
        rest: tag.to_vec(),
        ..Mark::default()
    }
}

/// Some rows of a part.
pub(super) async fn page(inner: &Inner, part: Part, after: &Mark, limit: i64) -> Result<Checked, Error> {
    match part {
        Part::RemoteSignets => remote_signets(inner, after, limit).await,
        Part::Greylist => greylist(inner, after, limit).await,
        Part::CustodyPins => custody_pins(inner, after, limit).await,
        Part::KeySetPins => key_set_pins(inner, after, limit).await,
        Part::ReplayEntries => replay_entries(inner, after, limit).await,
        Part::Callouts => callouts(inner, after, limit).await,
        _ => Ok(Checked::default()),
    }
}

type RemoteRow = (i64, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, i64, Option<i64>, i64);

async fn remote_signets(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<RemoteRow> = query_as(
        "SELECT rowid, name_tag, signet_tag, crypto_tag, sealed, fetched_at, current_until, expires_at \
         FROM remote_signets WHERE rowid > $1 ORDER BY rowid LIMIT $2",
    )
    .bind(after.number)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |row: RemoteRow| {
        let (number, name, signet, crypto, sealed, fetched, current, expires) = row;
        let has_tags = [&name, &signet, &crypto].iter().all(|tag| tag.len() == TAG);
        let what = first_wrong([
            (has_tags, "hash"),
            (sealed.len() > FINGERPRINT + OVERHEAD, "sealed value"),
            (is_time(fetched) && is_time(expires), "time"),
            (current.is_none_or(is_time), "time"),
        ]);
        (at(number), shown(&name), what)
    };
    Ok(checked(
        Part::RemoteSignets,
        rows.into_iter().map(judge).collect(),
    ))
}

/// Its place, the tag, that of the network, since when, whether it has come back, until when.
type Greylisted = (i64, Vec<u8>, Vec<u8>, i64, i64, i64);

async fn greylist(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<Greylisted> = query_as(
        "SELECT seq, tag, network, since, proven, until FROM greylist WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(after.number)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(number, tag, network, since, proven, until): Greylisted| {
        let what = first_wrong([
            (tag.len() == TAG && network.len() == TAG, "hash"),
            (matches!(proven, 0 | 1), "mark"),
            (is_time(since) && is_time(until), "time"),
        ]);
        (at(number), shown(&tag), what)
    };
    Ok(checked(Part::Greylist, rows.into_iter().map(judge).collect()))
}

async fn custody_pins(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(Vec<u8>, Vec<u8>, i64, i64)> = query_as(
        "SELECT name_tag, sealed, expires_at, written_to FROM custody_pins WHERE name_tag > $1 ORDER BY name_tag LIMIT $2",
    )
    .bind(&after.rest)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(tag, sealed, expires, written_to): (Vec<u8>, Vec<u8>, i64, i64)| {
        let what = first_wrong([
            (tag.len() == TAG, "hash"),
            (sealed.len() == CUSTODY_PIN + OVERHEAD, "sealed value"),
            (matches!(written_to, 0 | 1), "mark"),
            (is_time(expires), "time"),
        ]);
        (behind(&tag), shown(&tag), what)
    };
    Ok(checked(Part::CustodyPins, rows.into_iter().map(judge).collect()))
}

async fn key_set_pins(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(Vec<u8>, Vec<u8>, i64)> = query_as(
        "SELECT name_tag, sealed, expires_at FROM key_set_pins WHERE name_tag > $1 ORDER BY name_tag LIMIT $2",
    )
    .bind(&after.rest)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(tag, sealed, expires): (Vec<u8>, Vec<u8>, i64)| {
        let what = first_wrong([
            (tag.len() == TAG, "hash"),
            (sealed.len() == KEY_SET_PIN + OVERHEAD, "sealed value"),
            (is_time(expires), "time"),
        ]);
        (behind(&tag), shown(&tag), what)
    };
    Ok(checked(Part::KeySetPins, rows.into_iter().map(judge).collect()))
}

async fn replay_entries(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(Vec<u8>, Vec<u8>, i64)> = query_as(
        "SELECT entry, digest, expires_at FROM replay_entries WHERE entry > $1 ORDER BY entry LIMIT $2",
    )
    .bind(&after.rest)
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(entry, digest, expires): (Vec<u8>, Vec<u8>, i64)| {
        let what = first_wrong([
            (entry.len() == TAG, "hash"),
            (digest.len() == DIGEST, "digest"),
            (is_time(expires), "time"),
        ]);
        (behind(&entry), shown(&entry), what)
    };
    Ok(checked(
        Part::ReplayEntries,
        rows.into_iter().map(judge).collect(),
    ))
}

async fn callouts(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(Vec<u8>, i64)> =
        query_as("SELECT tag, asked_at FROM callouts WHERE tag > $1 ORDER BY tag LIMIT $2")
            .bind(&after.rest)
            .bind(limit)
            .fetch_all(&inner.readers)
            .await?;
    let judge = |(tag, asked): (Vec<u8>, i64)| {
        let what = first_wrong([(tag.len() == TAG, "hash"), (is_time(asked), "time")]);
        (behind(&tag), shown(&tag), what)
    };
    Ok(checked(Part::Callouts, rows.into_iter().map(judge).collect()))
}
