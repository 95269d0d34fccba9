//! What has no secrets: signets, accounts, aliases, domains.

use super::super::query::query_as;

use super::super::Inner;
use crate::dime::signet::Signet;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Checked, Error, Fault, Mark, Part, fold};

/// Judges rows that a part consists of; each has a place, a name, and what may be wrong with it.
pub(super) fn checked(part: Part, rows: Vec<(Mark, String, Option<&'static str>)>) -> Checked {
    let next = rows.last().map(|(mark, ..)| mark.clone());
    let fault = |(_, row, what): (Mark, String, Option<&'static str>)| {
        Some(Fault {
            part,
            row,
            what: what?,
        })
    };
    Checked {
        rows: rows.len() as u64,
        next,
        faults: rows.into_iter().filter_map(fault).collect(),
    }
}

pub(super) fn named(name: &str, rest: &str) -> Mark {
    Mark {
        name: name.to_owned(),
        rest: rest.as_bytes().to_vec(),
        ..Mark::default()
    }
}

pub(super) async fn signets(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(i64, String, Vec<u8>, Vec<u8>)> =
        query_as("SELECT seq, name, crypto, object FROM signets WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(after.number)
            .bind(limit)
            .fetch_all(&inner.readers)
            .await?;
    let judge = |(number, name, crypto, object): (i64, String, Vec<u8>, Vec<u8>)| {
        let signet = Signet::decode(&object).ok();
        let found = signet.and_then(|signet| signet.crypto_fingerprint());
        let what = match found {
            None => Some("object"),
            Some(found) if found.0[..] != crypto[..] => Some("fingerprint"),
            Some(_) => None,
        };
        let mark = Mark {
            number,
            ..Mark::default()
        };
        (mark, name, what)
    };
    Ok(checked(Part::Signets, rows.into_iter().map(judge).collect()))
}

pub(super) async fn accounts(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(String, String, String)> =
        query_as("SELECT folded, address, domain FROM accounts WHERE folded > $1 ORDER BY folded LIMIT $2")
            .bind(&after.name)
            .bind(limit)
            .fetch_all(&inner.readers)
            .await?;
    let judge = |(folded, address, domain): (String, String, String)| {
        let what = match Mailbox::parse(&address) {
            Err(_) => Some("address"),
            Ok(address) if fold(&address) != folded || address.domain().as_str() != domain => Some("name"),
            Ok(_) => None,
        };
        (named(&folded, ""), folded, what)
    };
    Ok(checked(Part::Accounts, rows.into_iter().map(judge).collect()))
}

pub(super) async fn aliases(inner: &Inner, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let rows: Vec<(String, String)> = query_as(
        "SELECT folded, target FROM aliases WHERE folded > $1 OR (folded = $1 AND target > $2) \
         ORDER BY folded, target LIMIT $3",
    )
    .bind(&after.name)
    .bind(String::from_utf8_lossy(&after.rest).into_owned())
    .bind(limit)
    .fetch_all(&inner.readers)
    .await?;
    let judge = |(folded, target): (String, String)| {
        let what = Mailbox::parse(&target).is_err().then_some("target");
        (named(&folded, &target), folded, what)
    };
    Ok(checked(Part::Aliases, rows.into_iter().map(judge).collect()))
}

pub(super) async fn domains(inner: &Inner, part: Part, after: &Mark, limit: i64) -> Result<Checked, Error> {
    let sql = match part {
        Part::RelayDomains => "SELECT name, '' FROM relay_domains WHERE name > $1 ORDER BY name LIMIT $2",
        _ => {
            "SELECT name, COALESCE(delivery_hosts, '') FROM local_domains WHERE name > $1 ORDER BY name LIMIT $2"
        }
    };
    let rows: Vec<(String, String)> = query_as(sql)
        .bind(&after.name)
        .bind(limit)
        .fetch_all(&inner.readers)
        .await?;
    let judge = |(name, hosts): (String, String)| {
        let is_wrong = |host: &str| Domain::parse(host).is_err();
        let what = match (is_wrong(&name), hosts.split_whitespace().any(is_wrong)) {
            (true, _) => Some("name"),
            (false, true) => Some("delivery hosts"),
            (false, false) => None,
        };
        (named(&name, ""), name, what)
    };
    Ok(checked(part, rows.into_iter().map(judge).collect()))
}
