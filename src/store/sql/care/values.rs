//! Values of a wrong kind or out of range.
//!
//! SQLite keeps whatever it is given, and a row with a value of a wrong kind fails to be read with all rows beside it. So rows are read one by
//! one where that happens; the one that fails is told by its key, and stepped over.

use super::super::Inner;
use super::super::claim::LATEST;
use super::super::misread::{is_misread, unreadable, unreadable_column};
use super::super::query::{query_as, query_scalar};
use super::spool;
use crate::base::id::RecipientId;
use crate::store::{Checked, Error, Fault, Mark, Part};

/// What is wrong where nothing more is known.
pub(super) const VALUE: &str = "value of a wrong kind";

/// The name of a row whose own cannot be read.
pub(super) const UNKNOWN: &str = "?";

/// Whether a time can be one.
pub(super) fn is_time(millis: i64) -> bool {
    (0..=LATEST).contains(&millis)
}

fn is_time_or_none(millis: Option<i64>) -> bool {
    millis.is_none_or(is_time)
}

/// Where a recipient can stand.
const STATES: [&str; 7] = [
    "waiting",
    "held",
    "quarantined",
    "delivered",
    "relayed",
    "expanded",
    "failed",
];

type RecipientColumns = (
    String,
    Option<String>,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    bool,
    bool,
);

const RECIPIENT_COLUMNS: &str = "SELECT state, fault, attempts, due_at, leased_until, held_until, delay_reported, condemned \
     FROM recipients WHERE id = $1";

const RECIPIENT_WORDS: &[&str] = &[
    "state",
    "reason",
    "attempts",
    "due time",
    "lease",
    "end of the hold",
    "delay",
    "condemnation",
];

/// What a recipient has in clear. Nothing is wrong with one that is gone.
pub(super) async fn recipient(inner: &Inner, id: &str) -> Result<(), Error> {
    let row: Option<RecipientColumns> = query_as(RECIPIENT_COLUMNS)
        .bind(id)
        .fetch_optional(&inner.readers)
        .await
        .map_err(unreadable_column(RECIPIENT_WORDS))?;
    let Some((state, _, attempts, due_at, leased_until, held_until, ..)) = row else {
        return Ok(());
    };
    let is_due = due_at.is_some() == (state == "waiting") && is_time_or_none(due_at);
    for (is_right, what) in [
        (STATES.contains(&state.as_str()), "state"),
        (u32::try_from(attempts).is_ok(), "attempts"),
        (is_due, "due time"),
        (is_time_or_none(leased_until), "lease"),
        (is_time_or_none(held_until), "end of the hold"),
    ] {
        if !is_right {
            return Err(Error::Unreadable(what));
        }
    }
    Ok(())
}

/// Times of a message. Nothing is wrong with one that is gone.
pub(super) async fn message(inner: &Inner, id: &str) -> Result<(), Error> {
    let row: Option<(i64, Option<i64>)> =
        query_as("SELECT accepted_at, released_at FROM messages WHERE id = $1")
            .bind(id)
            .fetch_optional(&inner.readers)
            .await
            .map_err(unreadable_column(&["time of arrival", "time of release"]))?;
    match row {
        Some((accepted_at, _)) if !is_time(accepted_at) => Err(Error::Unreadable("time of arrival")),
        Some((_, released_at)) if !is_time_or_none(released_at) => Err(Error::Unreadable("time of release")),
        _ => Ok(()),
    }
}

/// Steps over the next row of a part, which cannot be read.
pub(super) async fn skip(inner: &Inner, part: Part, after: &Mark) -> Result<Checked, Error> {
    let next = match next(inner, part, after).await {
        // Its very key is of a wrong kind. Such keys come last.
        Err(error) if is_misread(&error) => None,
        // It is gone.
        Ok(None) if key(part).is_some() => return Ok(Checked::default()),
        next => next?,
    };
    let (next, row) = match next {
        Some((mark, row)) => (Some(mark), row),
        None => (None, UNKNOWN.to_owned()),
    };
    let fault = Fault {
        part,
        row,
        what: VALUE,
    };
    let is_open = next.is_none() || spool::is_open(inner, part, &fault.row).await?;
    Ok(Checked {
        rows: 1,
        faults: is_open.then_some(fault).into_iter().collect(),
        next,
    })
}

/// How the rows of a part are told apart, and how the next is found.
enum Key {
    Number(&'static str, &'static str),
    Name(&'static str),
    Names(&'static str),
    NameAndOctets(&'static str),
    Octets(&'static str),
}

macro_rules! by_number {
    ($table:literal, $name:literal) => {
        Key::Number(
            concat!("SELECT seq FROM ", $table, " WHERE seq > $1 ORDER BY seq LIMIT 1"),
            concat!(
                "SELECT CAST(",
                $name,
                " AS TEXT) FROM ",
                $table,
                " WHERE seq = $1"
            ),
        )
    };
}

macro_rules! by_name {
    ($table:literal, $name:literal) => {
        concat!(
            "SELECT ",
            $name,
            " FROM ",
            $table,
            " WHERE ",
            $name,
            " > $1 ORDER BY ",
            $name,
            " LIMIT 1"
        )
    };
}

macro_rules! by_names {
    ($table:literal, $one:literal, $two:literal) => {
        concat!(
            "SELECT ",
            $one,
            ", ",
            $two,
            " FROM ",
            $table,
            " WHERE ",
            $one,
            " > $1 OR (",
            $one,
            " = $1 AND ",
            $two,
            " > $2) ORDER BY ",
            $one,
            ", ",
            $two,
            " LIMIT 1"
        )
    };
}

fn key(part: Part) -> Option<Key> {
    Some(match part {
        Part::Messages => by_number!("messages", "id"),
        Part::Recipients => by_number!("recipients", "id"),
        Part::Signets => by_number!("signets", "name"),
        Part::PrivateKeys => Key::Number(
            "SELECT seq FROM signets WHERE seq > $1 AND private_keys IS NOT NULL ORDER BY seq LIMIT 1",
            "SELECT CAST(name AS TEXT) FROM signets WHERE seq = $1",
        ),
        Part::Greylist => by_number!("greylist", "seq"),
        Part::RemoteSignets => Key::Number(
            "SELECT rowid FROM remote_signets WHERE rowid > $1 ORDER BY rowid LIMIT 1",
            "SELECT CAST(rowid AS TEXT) FROM remote_signets WHERE rowid = $1",
        ),
        Part::Rollovers => Key::Name(by_name!("rollovers", "name")),
        Part::KeyDeposits => Key::Name(by_name!("key_deposits", "folded")),
        Part::SrsPaths => Key::Name(by_name!("srs_paths", "id")),
        Part::Pins => Key::Name(by_name!("pins", "domain")),
        Part::StsPolicies => Key::Name(by_name!("sts_policies", "domain")),
        Part::Accounts => Key::Name(by_name!("accounts", "folded")),
        Part::LocalDomains => Key::Name(by_name!("local_domains", "name")),
        Part::RelayDomains => Key::Name(by_name!("relay_domains", "name")),
        Part::SigningRequests => Key::Name(by_name!("signing_requests", "name")),
        Part::Retirements => Key::Name(by_name!("retirements", "name")),
        Part::Aliases => Key::Names(by_names!("aliases", "folded", "target")),
        Part::Senders => Key::Names(by_names!("senders", "folded", "sender")),
        Part::RelayRecipients => Key::Names(by_names!("relay_recipients", "domain", "folded")),
        Part::Blocks => Key::Names(by_names!("blocks", "kind", "value")),
        Part::DkimKeys => Key::Names(by_names!("dkim_keys", "domain", "selector")),
        Part::KemKeys => Key::NameAndOctets(by_names!("kem_keys", "name", "complete")),
        Part::KeySetPins => Key::Octets(by_name!("key_set_pins", "name_tag")),
        Part::CustodyPins => Key::Octets(by_name!("custody_pins", "name_tag")),
        Part::Callouts => Key::Octets(by_name!("callouts", "tag")),
        Part::ReplayEntries => Key::Octets(by_name!("replay_entries", "entry")),
        Part::Pieces | Part::Lanes => return None,
    })
}

async fn next(inner: &Inner, part: Part, after: &Mark) -> Result<Option<(Mark, String)>, Error> {
    let readers = &inner.readers;
    let (mark, row) = match key(part) {
        None => return Ok(None),
        Some(Key::Number(place, name)) => {
            let number: Option<i64> = query_scalar(place)
                .bind(after.number)
                .fetch_optional(readers)
                .await?;
            let Some(number) = number else {
                return Ok(None);
            };
            let named: Result<Option<String>, _> =
                query_scalar(name).bind(number).fetch_optional(readers).await;
            let name = match named.map_err(unreadable("name")) {
                Err(Error::Unreadable(_)) => None,
                name => name?,
            };
            let is_known = |name: &String| part != Part::Recipients || RecipientId::parse(name).is_some();
            let mark = Mark {
                number,
                ..Mark::default()
            };
            (
                mark,
                name.filter(is_known).unwrap_or_else(|| format!("#{number}")),
            )
        }
        Some(Key::Name(sql)) => {
            let name: Option<String> = query_scalar(sql)
                .bind(&after.name)
                .fetch_optional(readers)
                .await?;
            let Some(name) = name else {
                return Ok(None);
            };
            (named(&name, Vec::new()), name)
        }
        Some(Key::Names(sql)) => {
            let rest = String::from_utf8_lossy(&after.rest).into_owned();
            let names: Option<(String, String)> = query_as(sql)
                .bind(&after.name)
                .bind(rest)
                .fetch_optional(readers)
                .await?;
            let Some((name, rest)) = names else {
                return Ok(None);
            };
            (named(&name, rest.into_bytes()), name)
        }
        Some(Key::NameAndOctets(sql)) => {
            let names: Option<(String, Vec<u8>)> = query_as(sql)
                .bind(&after.name)
                .bind(&after.rest)
                .fetch_optional(readers)
                .await?;
            let Some((name, rest)) = names else {
                return Ok(None);
            };
            (named(&name, rest), name)
        }
        Some(Key::Octets(sql)) => {
            let tag: Option<Vec<u8>> = query_scalar(sql)
                .bind(&after.rest)
                .fetch_optional(readers)
                .await?;
            let Some(tag) = tag else {
                return Ok(None);
            };
            let row = super::hashed::shown(&tag);
            (named("", tag), row)
        }
    };
    Ok(Some((mark, row)))
}

fn named(name: &str, rest: Vec<u8>) -> Mark {
    Mark {
        name: name.to_owned(),
        rest,
        ..Mark::default()
    }
}
