//! Messages made by libdime: read by every actor, signed again by the origin, and made anew by us.

use bytes::Bytes;
use dimed::crypto::ed25519::Signature;
use dimed::crypto::suite::secp256k1_aes256::{SecretKey, decrypt};
use dimed::dime::dmime1::chunk::{Actor, Chunk, ChunkType, Payload};
use dimed::dime::dmime1::keyslot::ContentKey;
use dimed::dime::dmime1::metadata::CommonHeaders;
use dimed::dime::dmime1::open::{EnvelopeView, Opened, open, open_envelope, open_sent, open_sent_envelope};
use dimed::dime::dmime1::padding::Padding;
use dimed::dime::dmime1::seal::{self, Parties, seal};
use dimed::dime::dmime1::signature::tree_input;
use dimed::dime::dmime1::{
    Content, Limits, Message, Refused, destination, inspect, metadata, open as reading, origin,
};
use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::{VerifiedOrg, VerifiedUser, verify_user};
use dimed::mail::address::{Domain, Mailbox};
use rand::SeedableRng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::exceptions::{self, Case};
use super::judge::{Judge, address_of};
use super::{Set, unhex, unhex_array};

const ROLES: [(&str, Actor); 4] = [
    ("author", Actor::Author),
    ("origin", Actor::Origin),
    ("destination", Actor::Destination),
    ("recipient", Actor::Recipient),
];

/// The actors of a message with their keys and signets.
struct Cast {
    author: (Mailbox, UserKeys, VerifiedUser),
    origin: (Domain, OrgKeys, VerifiedOrg),
    destination: (Domain, OrgKeys, VerifiedOrg),
    recipient: (Mailbox, UserKeys, VerifiedUser),
}

impl Cast {
    fn of(set: &Set, actors: &Value) -> Self {
        let org = |role: &str| {
            let actor = &actors[role];
            let keys = OrgKeys::from_armor(&set.text(&actor["key"])).unwrap();
            let signet = organization(set, &actor["signet"]);
            (actor["id"].as_str().unwrap().parse().unwrap(), keys, signet)
        };
        let user = |role: &str, org: &VerifiedOrg| {
            let actor = &actors[role];
            let keys = UserKeys::from_armor(&set.text(&actor["key"])).unwrap();
            let address: Mailbox = actor["id"].as_str().unwrap().parse().unwrap();
            let signet = account(set, &actor["signet"], org, &address);
            (address, keys, signet)
        };
        let (origin, destination) = (org("origin"), org("destination"));
        Self {
            author: user("author", &origin.2),
            recipient: user("recipient", &destination.2),
            origin,
            destination,
        }
    }

    fn key(&self, actor: Actor) -> &SecretKey {
        match actor {
            Actor::Author => &self.author.1.encryption,
            Actor::Origin => &self.origin.1.encryption,
            Actor::Destination => &self.destination.1.encryption,
            Actor::Recipient => &self.recipient.1.encryption,
        }
    }

    fn parties(&self) -> Parties<'_> {
        Parties {
            author: &self.author.0,
            author_keys: &self.author.1,
            author_signet: &self.author.2,
            origin_signet: &self.origin.2,
            destination_signet: &self.destination.2,
            recipient: &self.recipient.0,
            recipient_signet: &self.recipient.2,
        }
    }

    /// Signs as origin after every check.
    fn sign(&self, message: &Message, bounces: origin::Bounces) -> Vec<u8> {
        let expected = origin::Expected {
            submitter: &self.author.0,
            origin: &self.origin.0,
            author: &self.author.2,
            destination: &self.destination.2,
        };
        let checked = origin::open(message, &self.origin.1)
            .unwrap()
            .check(&expected)
            .unwrap();
        origin::sign(&checked, &self.origin.1.signing, bounces).unwrap()
    }
}

fn organization(set: &Set, path: &Value) -> VerifiedOrg {
    Judge::new(set).organization(&json!({ "org": path })).unwrap()
}

fn account(set: &Set, path: &Value, org: &VerifiedOrg, address: &Mailbox) -> VerifiedUser {
    verify_user(&Judge::new(set).load(path).unwrap(), org, None, address).unwrap()
}

/// What an actor gets of a message, or the stage at which it is refused, in the words of the set.
struct View {
    result: &'static str,
    envelope: Vec<(&'static str, String)>,
    opened: Option<Opened>,
}

impl View {
    fn refused(result: &'static str) -> Self {
        Self::refused_after(result, Vec::new())
    }

    fn refused_after(result: &'static str, envelope: Vec<(&'static str, String)>) -> Self {
        Self {
            result,
            envelope,
            opened: None,
        }
    }
}

fn view(octets: &[u8], actor: Actor, cast: &Cast) -> View {
    match Message::parse(octets.to_vec(), &Limits::default()) {
        Err(_) => View::refused("parse-fail"),
        Ok(message) => match actor {
            Actor::Origin => origin_view(&message, cast),
            Actor::Destination => destination_view(&message, cast),
            Actor::Author => {
                let view = open_sent_envelope(&message, &cast.author.1);
                reader_view(view, |view| open_sent(view, &cast.author.0, &cast.author.2))
            }
            Actor::Recipient => {
                let expected = reading::Expected {
                    address: &cast.recipient.0,
                    own: &cast.recipient.2,
                    author: &cast.author.2,
                    origin: &cast.origin.2,
                    destination: &cast.destination.2,
                };
                let view = open_envelope(&message, &cast.recipient.1);
                reader_view(view, |view| open(view, &expected))
            }
        },
    }
}

fn origin_view(message: &Message, cast: &Cast) -> View {
    let Ok(view) = origin::open(message, &cast.origin.1) else {
        return View::refused("envelope-fail");
    };
    let envelope = view.envelope();
    let envelope = vec![
        ("author", envelope.author.to_string()),
        ("destination", envelope.destination.to_string()),
    ];
    match view.verify_author(&cast.author.2, &cast.destination.2) {
        Ok(()) => View {
            result: "ok",
            envelope,
            opened: None,
        },
        Err(_) => View::refused_after("decrypt-fail", envelope),
    }
}

fn destination_view(message: &Message, cast: &Cast) -> View {
    let Ok(view) = destination::open(message, &cast.destination.1) else {
        return View::refused("envelope-fail");
    };
    let expected = destination::Expected {
        peer: &cast.origin.0,
        destination: &cast.destination.0,
        origin: &cast.origin.2,
        recipient: &cast.recipient.2,
    };
    let envelope = vec![
        ("recipient", view.envelope().recipient.to_string()),
        ("origin", view.envelope().origin.to_string()),
    ];
    match view.check(&expected) {
        Err(_) => View::refused_after("decrypt-fail", envelope),
        Ok(_) => View {
            result: "ok",
            envelope,
            opened: None,
        },
    }
}

fn reader_view(
    view: Result<EnvelopeView, Refused>,
    open: impl FnOnce(&EnvelopeView) -> Result<Opened, Refused>,
) -> View {
    let Ok(view) = view else {
        return View::refused("envelope-fail");
    };
    let (origin, destination) = (&view.envelope().origin, &view.envelope().destination);
    let envelope = vec![
        ("author", origin.author.to_string()),
        ("destination", origin.destination.to_string()),
        ("recipient", destination.recipient.to_string()),
        ("origin", destination.origin.to_string()),
    ];
    match open(&view) {
        Err(_) => View::refused_after("decrypt-fail", envelope),
        Ok(opened) => View {
            result: "ok",
            envelope,
            opened: Some(opened),
        },
    }
}

/// What an actor is to see.
struct Expectation<'a> {
    /// Vector and role, for people.
    what: String,
    octets: &'a [u8],
    actor: Actor,
    /// Whether the origin has signed.
    is_signed: bool,
    /// libdime's view.
    libdimes: &'a Value,
}

/// Compares a view with libdime's, or with ours where the exceptions say so. A message that is refused may be
/// refused at an earlier stage.
fn compare(view: &View, cast: &Cast, expectation: &Expectation<'_>) {
    let Expectation {
        what,
        octets,
        actor,
        is_signed,
        libdimes: expected,
    } = expectation;
    const STAGES: [&str; 5] = ["parse-fail", "kek-fail", "envelope-fail", "decrypt-fail", "ok"];
    let stage = |result: &str| {
        STAGES
            .iter()
            .position(|stage| *stage == result)
            .expect("a result")
    };
    let reads_flags = Message::parse(octets.to_vec(), &Limits::default())
        .is_ok_and(|message| reads_flags(*actor, &message, cast));
    let exception = exceptions::ours(&Case::View {
        octets,
        actor: *actor,
        is_signed: *is_signed,
        reads_flags,
    });
    let libdimes = expected["result"].as_str().unwrap();
    let wanted = exception.unwrap_or(libdimes);
    assert_eq!(
        view.result == "ok",
        wanted == "ok",
        "{what}: {} but {wanted}",
        view.result
    );
    assert!(
        stage(view.result) <= stage(wanted),
        "{what}: {} but {wanted}",
        view.result
    );
    if let (false, Some(envelope)) = (view.envelope.is_empty(), expected["envelope"].as_object()) {
        assert_eq!(view.envelope.len(), envelope.len(), "{what}");
        for (name, value) in &view.envelope {
            assert_eq!(envelope[*name], *value, "{what}");
        }
    }
    if view.result == "ok" && libdimes == "ok" {
        compare_content(what, view, expected);
    }
}

fn compare_content(what: &str, view: &View, expected: &Value) {
    assert!(expected["envelope"].is_object(), "{what}");
    let Some(opened) = &view.opened else {
        assert!(expected["common_headers"].is_null(), "{what}");
        return;
    };
    let headers = common_headers(&expected["common_headers"], latin1);
    assert_eq!(opened.common_headers(), Ok(headers), "{what}");
    let content = &opened.content;
    assert_eq!(
        content.other_headers,
        latin1(&expected["other_headers"]),
        "{what}"
    );
    compare_chunks(&format!("{what} display"), &content.display, &expected["display"]);
    compare_chunks(
        &format!("{what} attachments"),
        &content.attachments,
        &expected["attachments"],
    );
}

/// Data of display or attachment chunks, given whole or, when long, by size and hash; no list stands for no chunk.
fn compare_chunks(what: &str, data: &[Bytes], expected: &Value) {
    let expected = expected.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(data.len(), expected.len(), "{what}");
    for (data, expected) in data.iter().zip(expected) {
        assert_eq!(expected["flags"], 0, "{what}");
        if expected["data_hex"].is_null() {
            assert_eq!(expected["data_size"], data.len(), "{what}");
            assert_eq!(
                Sha256::digest(data)[..],
                unhex(&expected["data_sha256"]),
                "{what}"
            );
        } else {
            assert_eq!(*data, unhex(&expected["data_hex"]), "{what}");
        }
    }
}

/// Views give octets as one character each.
fn latin1(text: &Value) -> Vec<u8> {
    let octet = |c: char| u8::try_from(u32::from(c)).expect("an octet");
    text.as_str().unwrap().chars().map(octet).collect()
}

/// What went in is given as text.
fn utf8(text: &Value) -> Vec<u8> {
    text.as_str().unwrap().as_bytes().to_vec()
}

fn common_headers(fields: &Value, octets: impl Fn(&Value) -> Vec<u8>) -> CommonHeaders {
    let field = |label: &str| Some(&fields[label]).filter(|value| !value.is_null()).map(&octets);
    CommonHeaders {
        date: field("Date").unwrap(),
        to: field("To").unwrap(),
        cc: field("CC"),
        from_header: field("From").unwrap(),
        organization: field("Organization"),
        subject: field("Subject").unwrap(),
    }
}

/// The data of display or attachment chunks that went in.
fn chunks(list: &Value) -> Vec<Vec<u8>> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|chunk| unhex(&chunk["data_hex"])).collect()
}

fn content(plaintext: &Value) -> Content {
    let shared = |list: &Value| chunks(list).into_iter().map(Into::into).collect();
    Content {
        common_headers: common_headers(&plaintext["common_headers"], utf8)
            .encode()
            .unwrap()
            .into(),
        other_headers: utf8(&plaintext["other_headers"]).into(),
        display: shared(&plaintext["display"]),
        attachments: shared(&plaintext["attachments"]),
    }
}

/// The file that a view is of, the actor whose view it is, and whether the origin has signed.
fn viewed<'a>(files: &'a Value, view: &str) -> (&'a Value, Actor, bool) {
    let (role, form) = view.split_once(' ').unwrap_or((view, ""));
    let is_signed = !form.contains("author-signed");
    let form = if is_signed {
        "origin_signed"
    } else {
        "author_signed"
    };
    let (_, actor) = ROLES
        .into_iter()
        .find(|(known, _)| *known == role)
        .expect("a role");
    (&files[form], actor, is_signed)
}

#[test]
fn every_actor_reads_what_libdime_reads() {
    let set = Set::load();
    for entry in set.entries("message") {
        let id = entry["id"].as_str().unwrap();
        let cast = Cast::of(&set, &entry["actors"]);
        for (name, expected) in entry["expected"]["views"].as_object().unwrap() {
            let (file, actor, is_signed) = viewed(&entry["files"], name);
            let octets = set.file(file);
            let expectation = Expectation {
                what: format!("{id} {name}"),
                octets: &octets,
                actor,
                is_signed,
                libdimes: expected,
            };
            compare(&view(&octets, actor, &cast), &cast, &expectation);
        }
    }
}

#[test]
fn every_value_in_between_is_libdimes() {
    let set = Set::load();
    for entry in set.entries("message") {
        let cast = Cast::of(&set, &entry["actors"]);
        let details: Value = serde_json::from_slice(&set.file(&entry["files"]["details"])).unwrap();
        for (form, details) in details.as_object().unwrap() {
            let octets = set.file(&entry["files"][form.as_str()]);
            let message = Message::parse(octets.clone(), &Limits::default()).unwrap();
            assert_eq!(message.encode(), octets);
            compare_details(&format!("{} {form}", entry["id"]), &message, &cast, details);
        }
    }
}

fn compare_details(what: &str, message: &Message, cast: &Cast, details: &Value) {
    let ephemeral = message.ephemeral_key().to_compressed();
    assert_eq!(ephemeral[..], unhex(&details["ephemeral_public"]), "{what}");
    let expected = details["chunks"].as_array().unwrap();
    assert_eq!(message.chunks().len(), expected.len(), "{what}");
    for (chunk, expected) in message.chunks().iter().zip(expected) {
        compare_chunk(
            &format!("{what} {}", chunk.kind.id()),
            message,
            chunk,
            cast,
            expected,
        );
    }
    compare_signatures(what, message, cast, &details["signatures"]);
    for (role, actor) in ROLES {
        let expected = &details["actors"][role];
        let kek = cast.key(actor).agree(message.ephemeral_key());
        assert_eq!(kek.iv, unhex_array(&expected["kek_iv"]), "{what} {role}");
        assert_eq!(kek.key, unhex_array(&expected["kek_key"]), "{what} {role}");
        compare_readable(
            &format!("{what} {role}"),
            message,
            actor,
            cast,
            &expected["readable_chunk_types"],
        );
    }
}

fn compare_chunk(what: &str, message: &Message, chunk: &Chunk, cast: &Cast, expected: &Value) {
    assert_eq!(expected["type"], chunk.kind.id(), "{what}");
    assert_eq!(expected["offset"], chunk.start, "{what}");
    assert_eq!(expected["payload_size"], chunk.payload_size, "{what}");
    assert_eq!(expected["keyslots"], chunk.kind.readers().len(), "{what}");
    assert_eq!(expected["total_size"], chunk.range().len(), "{what}");
    assert_eq!(
        Sha512::digest(message.chunk_octets(chunk))[..],
        unhex(&expected["sha512"]),
        "{what}"
    );
    for actor in chunk.kind.readers() {
        let kek = cast.key(*actor).agree(message.ephemeral_key());
        let key = ContentKey::unlock(&kek, message.keyslot(chunk, *actor).unwrap()).unwrap();
        assert_eq!(key.key, unhex_array(&expected["chunk_key"]), "{what}");
        assert_eq!(key.iv, unhex_array(&expected["chunk_iv"]), "{what}");
    }
    match chunk.kind.payload() {
        Payload::Ephemeral => {}
        Payload::Signature => assert_eq!(
            plaintext(message, chunk, cast),
            unhex(&expected["signature"]),
            "{what}"
        ),
        Payload::Standard => compare_plaintext(what, &plaintext(message, chunk, cast), expected),
    }
}

fn compare_plaintext(what: &str, plain: &[u8], expected: &Value) {
    assert_eq!(plain[..64], unhex(&expected["plaintext_signature"]), "{what}");
    let size = u32::from_be_bytes([0, plain[64], plain[65], plain[66]]) as usize;
    assert_eq!(expected["data_size"], size, "{what}");
    assert_eq!(expected["flags"], plain[67], "{what}");
    assert_eq!(expected["pad_byte"], plain[68], "{what}");
    let (data, padding) = plain[69..].split_at(size);
    assert_eq!(expected["pad_size"], padding.len(), "{what}");
    assert!(padding.iter().all(|octet| *octet == plain[68]), "{what}");
    assert_eq!(
        Sha256::digest(data)[..],
        unhex(&expected["data_sha256"]),
        "{what}"
    );
}

/// A decrypted payload, by the author's keyslot.
fn plaintext(message: &Message, chunk: &Chunk, cast: &Cast) -> Vec<u8> {
    let kek = cast.key(Actor::Author).agree(message.ephemeral_key());
    let key = ContentKey::unlock(&kek, message.keyslot(chunk, Actor::Author).unwrap()).unwrap();
    let mut octets = message.payload(chunk).to_vec();
    decrypt(&key.key, &key.iv, &mut octets).unwrap();
    octets
}

fn compare_signatures(what: &str, message: &Message, cast: &Cast, expected: &Value) {
    let author = cast.author.2.signing_key();
    let origin = cast.origin.2.primary_key();
    for (name, kind, signer, input) in [
        (
            "author_tree",
            ChunkType::TreeSignature,
            author,
            tree_input(message),
        ),
        (
            "author_full",
            ChunkType::AuthorSignature,
            author,
            before(message, ChunkType::AuthorSignature),
        ),
        (
            "origin_meta_bounce",
            ChunkType::MetadataBounce,
            origin,
            before(message, ChunkType::Display),
        ),
        (
            "origin_display_bounce",
            ChunkType::DisplayBounce,
            origin,
            before(message, ChunkType::Attachment),
        ),
        (
            "origin_full",
            ChunkType::OriginSignature,
            origin,
            before(message, ChunkType::OriginSignature),
        ),
    ] {
        let expected = &expected[name];
        let chunk = message.find(kind);
        assert_eq!(chunk.is_none(), expected.is_null(), "{what} {name}");
        let Some(chunk) = chunk else { continue };
        let value = plaintext(message, chunk, cast);
        assert_eq!(value, unhex(&expected["value"]), "{what} {name}");
        if !expected["input_hex"].is_null() {
            assert_eq!(input, unhex(&expected["input_hex"]), "{what} {name}");
        }
        if !expected["input"].is_null() {
            assert_eq!(expected["input"]["size"], input.len(), "{what} {name}");
            assert_eq!(
                Sha512::digest(&input)[..],
                unhex(&expected["input"]["sha512"]),
                "{what} {name}"
            );
        }
        assert_eq!(signer.0, unhex_array(&expected["signer"]), "{what} {name}");
        let valid = signer
            .verify(&input, &Signature(value.try_into().unwrap()))
            .is_ok();
        assert_eq!(
            valid,
            expected["valid"].as_bool().unwrap_or(true),
            "{what} {name}"
        );
    }
}

fn before(message: &Message, kind: ChunkType) -> Vec<u8> {
    message.octets_before(kind).to_vec()
}

/// The table of keyslots says who reads what, and decrypting agrees.
fn compare_readable(what: &str, message: &Message, actor: Actor, cast: &Cast, expected: &Value) {
    let readable = message
        .chunks()
        .iter()
        .filter(|chunk| chunk.kind.readers().contains(&actor));
    let kinds: Vec<_> = readable.map(|chunk| chunk.kind).collect();
    let ids: Vec<_> = kinds.iter().map(|kind| json!(kind.id())).collect();
    assert_eq!(ids, *expected.as_array().unwrap(), "{what}");

    // Who is two actors at once opens the chunks of both; a chunk with flags opens for nobody.
    let same_key = |other: Actor| cast.key(other).to_bytes() == cast.key(actor).to_bytes();
    if ROLES.into_iter().filter(|(_, other)| same_key(*other)).count() > 1 {
        return;
    }
    let opened: Vec<_> = inspect::readable(message, cast.key(actor)).chunks().collect();
    let standard = |chunk: &&Chunk| chunk.kind.payload() == Payload::Standard;
    let plain = |chunk: &&Chunk| plaintext(message, chunk, cast)[67] == 0;
    let expected = message
        .chunks()
        .iter()
        .filter(standard)
        .filter(plain)
        .map(|chunk| chunk.kind);
    assert_eq!(
        opened,
        expected.filter(|kind| kinds.contains(kind)).collect::<Vec<_>>(),
        "{what}"
    );
}

#[test]
fn the_origin_signs_as_libdime_does() {
    let set = Set::load();
    for entry in set.entries("message") {
        let id = entry["id"].as_str().unwrap();
        let cast = Cast::of(&set, &entry["actors"]);
        let message = Message::parse(set.file(&entry["files"]["author_signed"]), &Limits::default()).unwrap();
        let flags = entry["origin_bounce_flags"].as_u64().unwrap();
        let bounces = origin::Bounces {
            metadata: flags & 1 != 0,
            display: flags & 2 != 0,
        };
        let signed = cast.sign(&message, bounces);
        let reproducible = entry["expected"]["origin_signed_reproducible"] == true;
        let theirs = &entry["files"]["origin_signed"];
        if !theirs.is_null() && exceptions::ours(&Case::OriginSigning { flags }).is_none() {
            assert_eq!(signed == set.file(theirs), reproducible, "{id}");
        }
        for (role, actor) in ROLES {
            let view = view(&signed, actor, &cast);
            let expected = if reads_flags(actor, &message, &cast) {
                "decrypt-fail"
            } else {
                "ok"
            };
            assert_eq!(view.result, expected, "{id} {role}");
        }
    }
}

/// Whether the actor reads a chunk with flags, which we refuse (`dmime.md` §9).
fn reads_flags(actor: Actor, message: &Message, cast: &Cast) -> bool {
    let standard = message
        .chunks()
        .iter()
        .filter(|chunk| chunk.kind.payload() == Payload::Standard);
    let read = standard.filter(|chunk| chunk.kind.readers().contains(&actor));
    read.into_iter()
        .any(|chunk| plaintext(message, chunk, cast)[67] != 0)
}

#[test]
fn what_we_make_from_the_same_plaintext_every_actor_reads() {
    let set = Set::load();
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    for entry in set.entries("message") {
        let cast = Cast::of(&set, &entry["actors"]);
        let content = content(&entry["expected"]["plaintext"]);
        for (role, _) in ROLES {
            let id = &entry["actors"][role]["id"];
            assert_eq!(entry["expected"]["plaintext"][role], *id, "{}", entry["id"]);
        }
        let theirs = set.file(&entry["files"]["author_signed"]);
        if let Some(opened) = view(&theirs, Actor::Author, &cast).opened {
            assert_eq!(opened.content, content, "{}", entry["id"]);
        }
        for padding in [Padding::Libdime, Padding::Buckets] {
            let sealed = seal(&cast.parties(), &content, padding, &mut rng).unwrap();
            let message = Message::parse(sealed, &Limits::default()).unwrap();
            let signed = cast.sign(&message, origin::Bounces::default());
            for (role, actor) in ROLES {
                let view = view(&signed, actor, &cast);
                assert_eq!(view.result, "ok", "{} {role}", entry["id"]);
                if let Some(opened) = view.opened {
                    assert_eq!(opened.content, content, "{} {role}", entry["id"]);
                }
            }
        }
    }
}

#[test]
fn damaged_messages_are_refused_by_those_who_can_tell() {
    let set = Set::load();
    for entry in set.entries("message-mutated") {
        let id = entry["id"].as_str().unwrap();
        let octets = mutated(&set, entry);
        let cast = mutated_cast(&set, entry);
        for (name, expected) in entry["expected"]["libdime_views"].as_object().unwrap() {
            let (_, actor, is_signed) = viewed(&entry["files"], name);
            let expectation = Expectation {
                what: format!("{id} {name}"),
                octets: &octets,
                actor,
                is_signed,
                libdimes: expected,
            };
            compare(&view(&octets, actor, &cast), &cast, &expectation);
        }
    }
}

fn mutated(set: &Set, entry: &Value) -> Vec<u8> {
    let mutation = &entry["mutation"];
    let octets = if entry["files"]["message"].is_null() {
        assert_eq!(mutation["op"], "xor", "{}", entry["id"]);
        let mut octets = set.file(&entry["files"]["base"]);
        let place = usize::try_from(mutation["offset"].as_u64().unwrap()).unwrap();
        octets[place] ^= u8::try_from(mutation["mask"].as_u64().unwrap()).unwrap();
        octets
    } else {
        set.file(&entry["files"]["message"])
    };
    assert_eq!(
        Sha256::digest(&octets)[..],
        unhex(&mutation["result_sha256"]),
        "{}",
        entry["id"]
    );
    octets
}

/// The actors of the message that was changed, with the keys and signets that the entry puts in their place.
fn mutated_cast(set: &Set, entry: &Value) -> Cast {
    let base = set
        .entries("message")
        .into_iter()
        .find(|message| message["files"]["origin_signed"] == entry["files"]["base"])
        .expect("a message of the set");
    let mut cast = Cast::of(set, &base["actors"]);
    for (role, path) in entry["keys_used"].as_object().into_iter().flatten() {
        let text = set.text(path);
        match role.as_str() {
            "author" => cast.author.1 = UserKeys::from_armor(&text).unwrap(),
            "recipient" => cast.recipient.1 = UserKeys::from_armor(&text).unwrap(),
            "origin" => cast.origin.1 = OrgKeys::from_armor(&text).unwrap(),
            "destination" => cast.destination.1 = OrgKeys::from_armor(&text).unwrap(),
            other => panic!("no role {other}"),
        }
    }
    for (role, path) in entry["signets_replaced"].as_object().into_iter().flatten() {
        let stranger = |org: &VerifiedOrg| {
            let signet = Judge::new(set).load(path).unwrap();
            verify_user(&signet, org, None, &address_of(&signet, org)).unwrap()
        };
        match role.as_str() {
            "author" => cast.author.2 = stranger(&cast.origin.2),
            "recipient" => cast.recipient.2 = stranger(&cast.destination.2),
            "origin" => cast.origin.2 = organization(set, path),
            "destination" => cast.destination.2 = organization(set, path),
            other => panic!("no role {other}"),
        }
    }
    cast
}

/// libdime refuses such signatures for their key; we would take them, but this message also names another signet of its
/// origin than the one with the secondary keys, so it stays refused.
#[test]
fn a_secondary_key_with_permission_signs_messages() {
    let set = Set::load();
    for entry in set.entries("message-quirk") {
        let id = entry["id"].as_str().unwrap();
        let mut cast = quirk_cast(&set, entry);
        cast.origin.2 = organization(&set, &entry["files"]["org"]);
        let octets = set.file(&entry["files"]["message"]);
        for (name, expected) in entry["expected"]["views"].as_object().unwrap() {
            let (_, actor, is_signed) = viewed(&entry["files"], name);
            let expectation = Expectation {
                what: format!("{id} {name}"),
                octets: &octets,
                actor,
                is_signed,
                libdimes: expected,
            };
            compare(&view(&octets, actor, &cast), &cast, &expectation);
        }
        let signer = OrgKeys::from_armor(&set.text(&entry["files"]["origin_key"])).unwrap();
        let signer = signer.signing.verifying_key();
        assert_ne!(signer, cast.origin.2.primary_key(), "{id}");
        assert!(cast.origin.2.message_signing_keys().contains(&signer), "{id}");
        let message = Message::parse(octets, &Limits::default()).unwrap();
        let chunk = message.find(ChunkType::OriginSignature).unwrap();
        let signature = Signature(plaintext(&message, chunk, &cast).try_into().unwrap());
        let input = before(&message, ChunkType::OriginSignature);
        assert_eq!(signer.verify(&input, &signature), Ok(()), "{id}");
    }
}

/// The actors whom the views of an entry name, as another message of the set has them.
fn quirk_cast(set: &Set, entry: &Value) -> Cast {
    let named = &entry["expected"]["views"]["author"]["envelope"];
    let same = set.entries("message").into_iter().find(|message| {
        ROLES
            .into_iter()
            .all(|(role, _)| message["actors"][role]["id"] == named[role])
    });
    Cast::of(set, &same.expect("a message between the same actors")["actors"])
}

#[test]
fn incomplete_content_is_not_sealed() {
    let set = Set::load();
    let basic = set.entries("message")[0];
    let cast = Cast::of(&set, &basic["actors"]);
    let good = &basic["expected"]["plaintext"];
    for entry in set.entries("message-refused") {
        let id = entry["id"].as_str().unwrap();
        let mut bad = content(good);
        // Such an entry has no files and no values: that something is missing, and what, only its name says.
        let (_, what) = id.rsplit_once("refused-").expect("a refusal");
        let expected = match what.split_once('-').expect("what is missing").1 {
            "other-headers" | "headers" => {
                bad.other_headers.clear();
                seal::Error::Empty(ChunkType::OtherHeaders)
            }
            "display" => {
                bad.display.clear();
                seal::Error::Empty(ChunkType::Display)
            }
            label => seal::Error::CommonHeaders(metadata::Error::Missing(without(&mut bad, label))),
        };
        assert_eq!(entry["expected"]["libdime"]["encrypt"], "fail", "{id}");
        let sealed = seal(&cast.parties(), &bad, Padding::default(), &mut rand::rng());
        assert_eq!(sealed, Err(expected), "{id}");
    }
}

/// Takes the line of a label out of the common headers; gives the label as it is spelled there.
fn without(content: &mut Content, label: &str) -> &'static str {
    let labels = ["Date", "To", "From", "Subject"];
    let known = labels.into_iter().find(|known| known.eq_ignore_ascii_case(label));
    let label = known.unwrap_or_else(|| panic!("nothing is known of {label}"));
    let text = String::from_utf8(content.common_headers.to_vec()).unwrap();
    let start = format!("{label}: ");
    let kept: String = text
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with(&start))
        .collect();
    assert_ne!(kept, text);
    content.common_headers = kept.into();
    label
}
