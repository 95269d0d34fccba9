//! `returned/`: what origins and authors make of returned messages, and the same objects made again.

use std::collections::HashMap;
use std::io::Cursor;

use dimed::base::encoding::{base64_decode, hex};
use dimed::crypto::ed25519::VerifyingKey;
use dimed::dime::dmime2::destination::{Arrival, Authenticated};
use dimed::dime::dmime2::returned::{
    Evidence, Passed, Report, Returned, ReturnedContent, Scope, Status, Ticket,
};
use dimed::dime::dmime2::signets::KnownOrg;
use dimed::dime::dmime2::{ChunkType, Error, Limits, MessageId, Outline, Seen};
use dimed::dime::signet::VerifiedOrg;
use dimed::mail::address::{Domain, Mailbox};
use serde_json::Value;

use super::Set;
use super::actors::{Actors, Owned, known_org, octets};
use super::messages::check_data;
use crate::vectors::unhex_array;

fn domain(value: &Value) -> Domain {
    value.as_str().expect("a domain").parse().expect("a domain")
}

fn now(case: &Value) -> u64 {
    case["now"].as_u64().expect("a time")
}

fn knowns(signets: &[Owned<VerifiedOrg>]) -> Vec<KnownOrg<'_>> {
    signets.iter().map(Owned::known).collect()
}

fn decode(octets: Vec<u8>) -> Result<Returned, Error> {
    Returned::decode(octets, &Limits::default())
}

/// What the origin does with an object; `seen` are the digests of first returns.
fn as_origin(
    actors: &Actors,
    case: &Value,
    octets: Vec<u8>,
    seen: &mut HashMap<MessageId, [u8; 16]>,
) -> Result<(Passed, Seen), Error> {
    let own = domain(&case["domain"]);
    let entry = actors.entry(own.as_str()).expect("an organization");
    let key = |value: &Value| VerifyingKey(unhex_array(value));
    let lists = ["soks", "retired_soks"]
        .into_iter()
        .flat_map(|list| entry[list].as_array().expect("SOKs"));
    let soks = lists.filter(|sok| sok["permissions"].as_u64().expect("bits") & 2 != 0);
    let own_keys: Vec<_> = std::iter::once(key(&entry["signing_key"]))
        .chain(soks.map(|sok| key(&sok["key"])))
        .collect();
    let opened = decode(octets)?.open_as_origin(&actors.candidates(own.as_str()))?;
    let peer = domain(&case["peer"]);
    let signets = actors.organization_signets(&peer);
    let author = opened.envelope().author.to_string();
    let exists = actors
        .entry(&author)
        .is_some_and(|entry| entry["organization"] == own.as_str());
    let passed = opened.check(&own_keys, &peer, &knowns(&signets), exists, now(case))?;
    let replay = passed.returned.replay();
    let outcome = passed.returned.judge(seen.get(&replay.message_id))?;
    seen.insert(replay.message_id, replay.digest);
    Ok((passed, outcome))
}

/// What the client of an author does with it.
fn as_author(actors: &Actors, account: &str, case: &Value, octets: Vec<u8>) -> Result<Report, Error> {
    let address: Mailbox = account.parse().expect("an address");
    let opened = decode(octets)?.open_as_author(&actors.candidates(account))?;
    let id = hex(&opened.message_id().0);
    let sent = case["sent"].as_array().into_iter().flatten();
    let sent_to = sent
        .into_iter()
        .find(|sent| sent["message_id"] == id)
        .map(|sent| domain(&sent["destination"]));
    let (mut own_key, mut origin, mut destination) = (None, None, sent_to.clone());
    if let Some((from, to)) = opened.envelopes() {
        own_key = actors
            .user(&address, &from.author_signet)
            .map(|owned| owned.known().signet.signing_key());
        origin = actors.organization(&to.origin, &to.origin_signet);
        destination = Some(from.destination.clone());
    }
    let signets = destination.map_or(Vec::new(), |domain| actors.organization_signets(&domain));
    let report = opened.check(&Evidence {
        account: &address,
        own_key,
        origin: known_org(&origin),
        destination: &knowns(&signets),
        sent_to: sent_to.as_ref(),
        now: now(case),
    })?;
    Ok(report)
}

#[test]
fn every_returned_message_is_judged_as_the_chapter_says() {
    let set = Set::load();
    let actors = Actors::load(&set);
    for case in set.files("returned") {
        let name = &case["case"];
        let object = octets(&set, "returned", &case, "object");
        let rule = match case["role"].as_str() {
            Some("origin") => judge_as_origin(&actors, &case, object.clone()),
            Some("author") => {
                let account = case["account"].as_str().expect("an account");
                as_author(&actors, account, &case, object.clone())
                    .map(|report| check_report(&case, &report))
                    .err()
            }
            other => panic!("{name}: role {other:?}"),
        };
        let rule = rule.map(|error| error.rule().unwrap_or_else(|| panic!("{name}: {error}")).name());
        assert_eq!(case["rule"].as_str(), rule, "{name}");
        if case["role"] == "origin" && case["outcome"] == "accept" {
            let author = case["view"]["author"].as_str().expect("an address");
            let report = as_author(&actors, author, &case, object);
            let report = report.unwrap_or_else(|error| panic!("{name}: {:?}", error.rule()));
            check_report(&case, &report);
        }
    }
}

fn judge_as_origin(actors: &Actors, case: &Value, object: Vec<u8>) -> Option<Error> {
    let mut seen = HashMap::new();
    for prior in case["prior"].as_array().into_iter().flatten() {
        let prior = base64_decode(prior.as_str().expect("base64")).expect("base64");
        as_origin(actors, case, prior, &mut seen).expect("the first return");
    }
    let (passed, outcome) = match as_origin(actors, case, object.clone(), &mut seen) {
        Ok(taken) => taken,
        Err(error) => return Some(error),
    };
    let repeated = case["outcome"] == "duplicate";
    assert_eq!(outcome == Seen::Repeated, repeated, "{}", case["case"]);
    check_view(&case["view"], &passed);
    assert_eq!(passed.returned.octets(), object);
    None
}

fn check_view(view: &Value, passed: &Passed) {
    let returned = &passed.returned;
    assert_eq!(view["author"], passed.envelope.author.to_string());
    assert_eq!(view["destination"], passed.envelope.destination.to_string());
    assert_eq!(view["scope"], returned.scope() as u8);
    assert_eq!(view["status"], returned.status().to_string());
    assert_eq!(view["reported"].as_u64(), Some(returned.reported()));
    assert_eq!(view["message_id"], hex(&returned.message_id().0));
    let types: Vec<_> = returned.chunks().map(|(_, chunk)| chunk.kind.id()).collect();
    assert_eq!(view["returned_types"], serde_json::json!(types));
}

fn check_report(case: &Value, report: &Report) {
    let (name, view) = (&case["case"], &case["author_view"]);
    assert_eq!(view["status"], report.status.to_string(), "{name}");
    assert_eq!(view["message_id"], hex(&report.message_id.0), "{name}");
    let recipient = report.recipient.as_ref().map(Mailbox::to_string);
    assert_eq!(view["recipient"].as_str(), recipient.as_deref(), "{name}");
    if let Some(content) = &report.content {
        check_content(name, view, content);
    }
}

fn check_content(name: &Value, view: &Value, content: &ReturnedContent) {
    for (field, found) in [
        ("common", &content.common_headers),
        ("other", &content.other_headers),
    ] {
        match found {
            Some(found) => check_data(name, &view[field], found),
            None => assert!(view[field].is_null(), "{name}: {field}"),
        }
    }
    for (field, kind) in [
        ("display", ChunkType::Display),
        ("attachments", ChunkType::Attachment),
    ] {
        let found: Vec<_> = content
            .records
            .iter()
            .filter(|record| record.kind == kind)
            .collect();
        let expected = view[field].as_array().expect("records");
        assert_eq!(expected.len(), found.len(), "{name}: {field}");
        for (expected, found) in expected.iter().zip(found) {
            check_data(name, expected, &[&found.head.encode()[..], &found.data].concat());
        }
    }
}

/// The message that came back in full: its header, then the chunks.
fn original(object: &[u8]) -> Vec<u8> {
    let returned = decode(object.to_vec()).expect("a returned message");
    assert_eq!(returned.scope(), Scope::Full);
    let mut chunks = Vec::new();
    let mut rest = &object[24..object.len() - 64];
    while let [1, chunk @ ..] = rest {
        let kind = ChunkType::from_id(chunk[0]).expect("a type");
        let payload = u32::from_be_bytes([0, chunk[1], chunk[2], chunk[3]]);
        let (chunk, after) = chunk.split_at(kind.chunk_size(payload as usize));
        chunks.extend_from_slice(chunk);
        rest = after;
    }
    assert!(rest.is_empty());
    let size = (chunks.len() as u32).to_be_bytes();
    [&[0x07, 0xc0, 1, object[3]], &size[..], &chunks].concat()
}

fn accepted(actors: &Actors, case: &Value, message: &[u8]) -> Authenticated {
    let outline = Outline::read(message, &Limits::default()).expect("a message");
    let candidates = actors.candidates(case["peer"].as_str().expect("a domain"));
    let arrival = Arrival::open(&outline, &candidates, outline.created()).expect("an arrival");
    let envelope = arrival.envelope().clone();
    let origin = actors.organization(&envelope.origin, &envelope.origin_signet);
    arrival
        .check(&envelope.origin, known_org(&origin))
        .expect("an authentic message")
}

#[test]
fn tickets_make_the_same_objects() {
    let set = Set::load();
    let actors = Actors::load(&set);
    let full = set.file("returned/b-full.json");
    let message = original(&octets(&set, "returned", &full, "object"));
    let authenticated = accepted(&actors, &full, &message);
    let key = actors.signing_key("destination.example");
    let cases = ["b-envelope", "b-headers", "b-display", "b-full"];
    for (name, scope) in cases.into_iter().zip(Scope::ALL) {
        let case = set.file(&format!("returned/{name}.json"));
        let expected = octets(&set, "returned", &case, "object");
        let take = |limit| Ticket::take(&authenticated, scope, Cursor::new(&message), limit);
        let ticket = take(expected.len() as u64).expect("a ticket");
        let status = Status {
            subject: 1,
            detail: 1,
        };
        let reported = case["view"]["reported"].as_u64().expect("a time");
        assert_eq!(ticket.report(reported, status, &key), expected, "{name}");
        assert_eq!(Ticket::decode(&ticket.encode()).expect("a ticket"), ticket);
        let smaller = take(expected.len() as u64 - 1).expect("a ticket").scope();
        assert!(smaller < scope || scope == Scope::Envelope, "{name}");
    }
}
