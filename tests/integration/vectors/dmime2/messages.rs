//! `message/`: accepted messages opened by all four actors and sealed again, refused ones refused by their own rule.

use std::io::Cursor;

use dimed::base::encoding::{base64_decode, hex};
use dimed::crypto::ed25519::VerifyingKey;
use dimed::crypto::suite::hpke::Suite;
use dimed::dime::dmime2::content::Opened;
use dimed::dime::dmime2::seal::{
    self, Author, Content, ContentKeys, Organization, Part, Parties, Recipient, Sizes,
};
use dimed::dime::dmime2::{ChunkType, Error, Limits, Outline, Reason, Seen};
use dimed::dime::fingerprint::FullFingerprint;
use serde_json::Value;
use sha2::{Digest, Sha512};

use super::Set;
use super::actors::{Actors, Cache, Scene, Taken, blanked, octets};
use super::fixed_rng::FixedRng;
use crate::vectors::{unhex, unhex_array};

fn with_outcome(set: &Set, outcome: &str) -> Vec<Value> {
    let mut cases = set.files("message");
    cases.retain(|case| case["outcome"] == outcome);
    assert!(!cases.is_empty(), "no case with outcome {outcome}");
    cases
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The scene of a case that names its role.
fn scene(case: &Value) -> Scene {
    let of = |fields: [&str; 2]| fields.into_iter().find_map(|field| case[field].as_str());
    Scene {
        role: text(&case["role"]),
        own: of(["account", "domain"]).expect("an actor").to_owned(),
        other: of(["submitter", "peer"]).unwrap_or_default().to_owned(),
        now: case["now"].as_u64().expect("a time"),
    }
}

/// The scene of one of the four actors of an accepted case.
fn scene_of(case: &Value, role: &str) -> Scene {
    let actor = |role: &str| text(&case["actors"][role]);
    let other = match role {
        "origin" => actor("author"),
        "destination" => actor("origin"),
        _ => String::new(),
    };
    Scene {
        role: role.to_owned(),
        own: actor(role),
        other,
        now: case["now"].as_u64().expect("a time"),
    }
}

/// Takes what came before, then the case itself.
fn take(set: &Set, actors: &Actors, case: &Value) -> Result<(Taken, Seen), (bool, Error)> {
    let (scene, mut cache) = (scene(case), Cache::default());
    for prior in case["prior"].as_array().into_iter().flatten() {
        let prior = base64_decode(prior.as_str().expect("base64")).expect("base64");
        scene
            .take(actors, &prior, &mut cache)
            .unwrap_or_else(|(_, error)| panic!("{}: prior: {:?}", case["case"], error.rule()));
    }
    scene.take(actors, &octets(set, "message", case, "message"), &mut cache)
}

#[test]
fn refused_messages_are_refused_by_their_own_rule() {
    let set = Set::load();
    let actors = Actors::load(&set);
    for case in with_outcome(&set, "reject") {
        let name = &case["case"];
        let Err((parsing, error)) = take(&set, &actors, &case) else {
            panic!("{name}: accepted");
        };
        let rule = error.rule().unwrap_or_else(|| panic!("{name}: {error}"));
        assert_eq!(case["rule"], rule.name(), "{name}");
        assert_eq!(case["stage"] == "parse", parsing, "{name}");
        let Error::Refused(refused) = error else {
            panic!("{name}: {error}")
        };
        assert_eq!(refused.reason() == Reason::Malformed, parsing, "{name}");
    }
}

#[test]
fn messages_that_open_for_a_role_do() {
    let set = Set::load();
    let actors = Actors::load(&set);
    for case in with_outcome(&set, "opens") {
        let octets = octets(&set, "message", &case, "message");
        let taken = take(&set, &actors, &case);
        let (taken, seen) = taken.unwrap_or_else(|(_, error)| panic!("{}: {:?}", case["case"], error.rule()));
        assert_eq!(seen, Seen::New);
        if let (Taken::Opened(opened), Some(expected)) = (taken, case["body"].as_str()) {
            assert_eq!(body(&opened, &octets), base64_decode(expected).expect("base64"));
        }
    }
}

#[test]
fn the_same_octets_again_are_told_from_new_ones() {
    let set = Set::load();
    let actors = Actors::load(&set);
    for case in with_outcome(&set, "duplicate") {
        let taken = take(&set, &actors, &case);
        let (_, seen) = taken.unwrap_or_else(|(_, error)| panic!("{}: {:?}", case["case"], error.rule()));
        assert_eq!(seen, Seen::Repeated, "{}", case["case"]);
    }
}

#[test]
fn accepted_messages_are_accepted_by_all_four_actors() {
    let set = Set::load();
    let actors = Actors::load(&set);
    for case in with_outcome(&set, "accept") {
        let name = &case["case"];
        let message = octets(&set, "message", &case, "message");
        let take = |role: &str, octets: &[u8]| {
            let taken = scene_of(&case, role).take(&actors, octets, &mut Cache::default());
            taken.map(|(taken, _)| taken)
        };
        check_outline(&case, &message);
        let Ok(Taken::Admissible(admissible)) = take("origin", &blanked(&message)) else {
            panic!("{name}: the origin")
        };
        let key = VerifyingKey(unhex_array(&case["origin_signature"]["key"]));
        let key = actors.organization_key(&text(&case["actors"]["origin"]), &key);
        let signed = admissible.sign(&key);
        assert_eq!(message[signed.offset as usize..], signed.octets, "{name}");
        assert!(
            matches!(take("destination", &message), Ok(Taken::Delivered)),
            "{name}"
        );
        let Ok(Taken::Opened(opened)) = take("recipient", &message) else {
            panic!("{name}: the recipient")
        };
        check_opened(&case, &opened, &message);
        match (case["author_copy"] == true, take("author", &message)) {
            (true, Ok(Taken::Opened(own))) => check_opened(&case, &own, &message),
            (false, Err((_, error))) => assert_eq!(error.rule().expect("a rule").name(), "K1"),
            _ => panic!("{name}: the author"),
        }
        if case["author_copy"] == true {
            let unsigned = take("author", &blanked(&message));
            assert!(matches!(unsigned, Ok(Taken::Opened(_))), "{name}: not signed yet");
        }
    }
}

fn check_outline(case: &Value, message: &[u8]) {
    let outline = Outline::read(message, &Limits::default()).expect("a message");
    assert_eq!(Some(outline.created()), case["created"].as_u64());
    assert_eq!(case["message_id"], hex(&outline.message_id().0));
    assert_eq!(u64::from(outline.suite().id()), case["suite"]);
    let chunks = case["chunks"].as_array().expect("chunks");
    assert_eq!(outline.chunks().len(), chunks.len());
    for (found, expected) in outline.chunks().iter().zip(chunks) {
        assert_eq!(u64::from(found.kind.id()), expected["type"]);
        assert_eq!(Some(found.offset), expected["offset"].as_u64());
        assert_eq!(Some(found.size as u64), expected["size"].as_u64());
    }
}

fn body(opened: &Opened, message: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    opened
        .write_body(Cursor::new(message), &mut body)
        .expect("the body of an opened message");
    assert_eq!(body.len() as u64, opened.body_size());
    body
}

/// The data of a record, head included.
fn records(opened: &Opened, message: &[u8], kind: ChunkType) -> Vec<Vec<u8>> {
    let records = opened.records().iter().filter(|record| record.kind == kind);
    let data = records.map(|record| {
        let mut data = record.head.encode().to_vec();
        let written = opened.write_record(record, Cursor::new(message), &mut data);
        written.expect("a record of an opened message");
        data
    });
    data.collect()
}

fn check_opened(case: &Value, opened: &Opened, message: &[u8]) {
    let name = &case["case"];
    let view = &case["view"]["recipient"];
    let (from, to) = (
        opened.verified().origin_envelope(),
        opened.verified().destination_envelope(),
    );
    assert_eq!(view["author"], from.author.to_string(), "{name}");
    assert_eq!(view["destination"], from.destination.to_string(), "{name}");
    assert_eq!(view["recipient"], to.recipient.to_string(), "{name}");
    assert_eq!(view["origin"], to.origin.to_string(), "{name}");
    let content = &case["content"];
    check_data(name, &content["common"], &opened.common_headers);
    if content["other"].is_null() {
        assert!(opened.other_headers.is_empty(), "{name}");
    } else {
        check_data(name, &content["other"], &opened.other_headers);
    }
    for (field, kind) in [
        ("display", ChunkType::Display),
        ("attachments", ChunkType::Attachment),
    ] {
        let expected = content[field].as_array().expect("records");
        let found = records(opened, message, kind);
        assert_eq!(expected.len(), found.len(), "{name}");
        for (expected, found) in expected.iter().zip(&found) {
            check_data(name, expected, found);
        }
    }
}

/// Compares with octets in base64, or with their hash and size.
pub fn check_data(name: &Value, expected: &Value, found: &[u8]) {
    match expected["base64"].as_str() {
        Some(octets) => assert_eq!(base64_decode(octets).expect("base64"), found, "{name}"),
        None => {
            assert_eq!(expected["size"].as_u64(), Some(found.len() as u64), "{name}");
            assert_eq!(expected["sha512"], hex(&Sha512::digest(found)), "{name}");
        }
    }
}

#[test]
fn accepted_messages_are_sealed_again_octet_for_octet() {
    let set = Set::load();
    let actors = Actors::load(&set);
    for case in with_outcome(&set, "accept") {
        let name = &case["case"];
        let message = octets(&set, "message", &case, "message");
        let taken = scene_of(&case, "recipient").take(&actors, &message, &mut Cache::default());
        let Ok((Taken::Opened(opened), _)) = taken else {
            panic!("{name}: the recipient")
        };
        let (content, sizes) = content_of(&opened);
        let mut rng = FixedRng::new(randomness(&case["randomness"]));
        let mut sealed = Vec::new();
        let result = seal::write_with(
            &parties(&case, &actors),
            &actors.signing_key(&text(&case["actors"]["author"])),
            (&content, &sizes),
            Cursor::new(body(&opened, &message)),
            &mut sealed,
            (&mut rng, ContentKeys::AsDrawn),
        );
        let result = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(sealed == blanked(&message), "{name}: other octets");
        assert_eq!(result.size, message.len() as u64, "{name}");
        assert_eq!(case["message_id"], hex(&result.message_id.0), "{name}");
        assert!(rng.is_empty(), "{name}: randomness is left");
        if !["x25519-wider-buckets", "x25519-padding-chunk"].contains(&name.as_str().expect("a name")) {
            assert_eq!(Sizes::of(&content), sizes, "{name}: default padding");
        }
    }
}

fn randomness(value: &Value) -> Vec<u8> {
    let mut octets = Vec::new();
    if !value["discarded_private"].is_null() {
        octets.extend(unhex(&value["discarded_private"]));
    }
    for actor in ["author", "origin", "destination", "recipient"] {
        octets.extend(unhex(&value["encap"][actor]));
    }
    for key in value["content_keys"].as_array().expect("keys") {
        octets.extend(unhex(key));
    }
    octets
}

fn content_of(opened: &Opened) -> (Content, Sizes) {
    let (mut parts, mut sizes, mut at) = (Vec::new(), Vec::new(), 0);
    let plaintext = |index: u32| {
        let entry = opened.verified().outline().chunks()[index as usize];
        (entry.size - 148) as u64
    };
    for record in opened.records() {
        parts.push(Part {
            kind: record.kind,
            head: record.head,
            body: at..at + record.size,
        });
        at += record.size;
        sizes.push(record.chunks().map(plaintext).sum());
    }
    let sizes = Sizes {
        common_headers: plaintext(3),
        // Without chunk 34 its size has no meaning.
        other_headers: match opened.other_headers.is_empty() {
            true => 256,
            false => plaintext(4),
        },
        parts: sizes,
    };
    let content = Content {
        common_headers: opened.common_headers.clone(),
        other_headers: opened.other_headers.clone(),
        parts,
    };
    (content, sizes)
}

fn parties(case: &Value, actors: &Actors) -> Parties {
    let suite = Suite::from_id(case["suite"].as_u64().expect("a suite") as u8).expect("a suite");
    let name = |role: &str| text(&case["actors"][role]);
    let signet = |role: &str| FullFingerprint(unhex_array(&case["fingerprints"][role]));
    let key = |role: &str| {
        let key = actors.kem_key(&name(role), &signet(role), suite);
        key.expect("a key of the suite").public_key()
    };
    let organization = |role: &str| Organization {
        domain: name(role).parse().expect("a domain"),
        signet: signet(role),
        key: key(role),
    };
    Parties {
        created: case["created"].as_u64().expect("a time"),
        author: Author {
            address: name("author").parse().expect("an address"),
            signet: signet("author"),
            copy: (case["author_copy"] == true).then(|| key("author")),
        },
        origin: organization("origin"),
        destination: organization("destination"),
        recipient: Recipient {
            address: name("recipient").parse().expect("an address"),
            signet: signet("recipient"),
            key: key("recipient"),
        },
    }
}
