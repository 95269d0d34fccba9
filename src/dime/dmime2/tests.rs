//! Properties of whole messages: what the actors refuse, and that no octets make a reader panic. The values on the way,
//! which no public call shows, are compared with the vectors in [`values`].

#![allow(clippy::unwrap_used)]

mod changed;
mod values;

use std::io::Cursor;
use std::sync::LazyLock;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::content::Opened;
use super::destination::{Arrival, Authenticated};
use super::inspect;
use super::origin::{Admissible, Submission};
use super::reader::{Reading, Signets};
use super::record::RecordHead;
use super::returned::{Returned, Scope, Status, Ticket};
use super::seal::{self, Author, Content, Organization, Part, Parties, Recipient};
use super::signets::Known;
use super::{Candidate, ChunkType, Error, Limits, Outline, Rule};
use crate::crypto::suite::hpke::Suite;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::KemKeys;
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{
    OrgBuilder, Signer, VerifiedOrg, VerifiedUser, request, verify_org, verify_request, verify_user,
};
use crate::mail::address::{Domain, Mailbox};

const CREATED: u64 = 1_800_000_000;
const TEXT: &[u8] = b"This is a test\r\nCan you read this?\r\n";

/// An organization with one user.
struct House {
    domain: Domain,
    address: Mailbox,
    org_keys: OrgKeys,
    user_keys: UserKeys,
    org: VerifiedOrg,
    user: VerifiedUser,
    org_kem: KemKeys,
    user_kem: KemKeys,
}

impl House {
    fn new(address: &str, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let address: Mailbox = address.parse().unwrap();
        let (org_keys, user_keys) = (OrgKeys::generate(&mut rng), UserKeys::generate(&mut rng));
        let public = org_keys.encryption.public_key();
        let signet = OrgBuilder::new(&org_keys.signing, &public, &[]).unwrap();
        let known = [org_keys.signing.verifying_key()];
        let org = verify_org(&signet.full().unwrap(), &known, address.domain()).unwrap();
        let asked = verify_request(&request(&user_keys).unwrap(), None).unwrap();
        let signer = Signer::new(&org, &org_keys.signing).unwrap();
        let signet = signer.sign(&asked).unwrap().full().unwrap();
        Self {
            user: verify_user(&signet, &org, None, &address).unwrap(),
            domain: address.domain().clone(),
            org_kem: KemKeys::generate(&mut rng),
            user_kem: KemKeys::generate(&mut rng),
            address,
            org_keys,
            user_keys,
            org,
        }
    }

    fn organization(&self, suite: Suite) -> Organization {
        Organization {
            domain: self.domain.clone(),
            signet: self.org.full_fingerprint().unwrap(),
            key: self.org_kem.key(suite).unwrap().public_key(),
        }
    }

    fn org_candidates(&self) -> [Candidate; 1] {
        [candidate(self.org.full_fingerprint(), &self.org_kem)]
    }

    fn user_candidates(&self) -> [Candidate; 1] {
        [candidate(self.user.full_fingerprint(), &self.user_kem)]
    }
}

fn candidate(signet: Option<FullFingerprint>, keys: &KemKeys) -> Candidate {
    Candidate {
        signet: signet.unwrap(),
        keys: keys.clone(),
    }
}

fn known<S>(signet: &S) -> Option<Known<'_, S>> {
    Some(Known {
        signet,
        key_set: None,
        is_current: true,
    })
}

/// Alice writes to Bob.
struct Pair {
    from: House,
    to: House,
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair {
    from: House::new("alice@origin.example", 1),
    to: House::new("bob@destination.example", 2),
});

impl Pair {
    fn parties(&self, suite: Suite) -> Parties {
        Parties {
            created: CREATED,
            author: Author {
                address: self.from.address.clone(),
                signet: self.from.user.full_fingerprint().unwrap(),
                copy: Some(self.from.user_kem.key(suite).unwrap().public_key()),
            },
            origin: self.from.organization(suite),
            destination: self.to.organization(suite),
            recipient: Recipient {
                address: self.to.address.clone(),
                signet: self.to.user.full_fingerprint().unwrap(),
                key: self.to.user_kem.key(suite).unwrap().public_key(),
            },
        }
    }

    /// As submitted.
    fn sealed(&self, suite: Suite, body: &[u8], cut: usize) -> Vec<u8> {
        let mut sealed = Vec::new();
        seal::write(
            &self.parties(suite),
            &self.from.user_keys.signing,
            &content(body.len() as u64, cut as u64),
            Cursor::new(body),
            &mut sealed,
            &mut StdRng::seed_from_u64(3),
        )
        .unwrap();
        sealed
    }

    /// As the origin sends it.
    fn signed(&self, mut sealed: Vec<u8>) -> Vec<u8> {
        let signed = self.submit(&sealed).unwrap().sign(&self.from.org_keys.signing);
        sealed.truncate(signed.offset as usize);
        sealed.extend_from_slice(&signed.octets);
        sealed
    }

    fn submit(&self, message: &[u8]) -> Result<Admissible, Error> {
        let outline = Outline::read(message, &Limits::default())?;
        let submission = Submission::open(&outline, &self.from.org_candidates(), CREATED)?;
        let may_send = submission.envelope().author == self.from.address;
        let (author, destination) = (known(&self.from.user), known(&self.to.org));
        Ok(submission.check(&self.from.domain, may_send, author, destination)?)
    }

    fn arrive(&self, message: &[u8]) -> Result<Authenticated, Error> {
        let outline = Outline::read(message, &Limits::default())?;
        let arrival = Arrival::open(&outline, &self.to.org_candidates(), CREATED)?;
        Ok(arrival.check(&self.from.domain, known(&self.from.org))?)
    }

    fn read(&self, message: &[u8]) -> Result<Opened, Error> {
        let outline = Outline::read(message, &Limits::default())?;
        let candidates = self.to.user_candidates();
        let reading = Reading::as_recipient(&outline, &candidates, &self.to.address, CREATED, None)?;
        let verified = reading.check(&Signets {
            author: known(&self.from.user),
            origin: known(&self.from.org),
            destination: known(&self.to.org),
            recipient: None,
        })?;
        verified.open(Cursor::new(message))
    }
}

/// Two parts, cut at a place of the body.
fn content(size: u64, cut: u64) -> Content {
    let part = |kind, ordinal, body| Part {
        kind,
        head: RecordHead {
            ordinal,
            count: 2,
            lead: 0,
            tail: 0,
        },
        body,
    };
    Content {
        common_headers: b"Date: d\r\nTo: t\r\nFrom: f\r\nSubject: s\r\n".to_vec(),
        other_headers: b"MIME-Version: 1.0\r\n".to_vec(),
        // The text stands behind the attachment.
        parts: vec![
            part(ChunkType::Attachment, 0, 0..cut),
            part(ChunkType::Display, 1, cut..size),
        ],
    }
}

fn body_of(opened: &Opened, message: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    opened.write_body(Cursor::new(message), &mut body).unwrap();
    body
}

#[test]
fn bodies_of_any_size_come_back_in_the_order_of_ordinals() {
    let body: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let places = [
        (0, 0),
        (1, 0),
        (36, 30),
        (65_519, 0),
        (65_520, 0),
        (131_050, 65_520),
        (200_000, 66_000),
    ];
    for suite in Suite::ALL {
        for (size, cut) in places {
            let message = PAIR.signed(PAIR.sealed(suite, &body[..size], cut));
            let opened = PAIR.read(&message).unwrap();
            assert!(body_of(&opened, &message) == body[..size], "{suite} {size} {cut}");
            assert_eq!(opened.other_headers, b"MIME-Version: 1.0\r\n");
            assert!(PAIR.arrive(&message).is_ok());
        }
    }
}

/// The table of §18, for the holders of the keys of each actor.
#[test]
fn each_actor_can_read_what_is_meant_for_it() {
    let text: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let message = PAIR.signed(PAIR.sealed(Suite::X25519, &text, 70_000));
    let read = |keys: &[Candidate]| {
        let readable = inspect::readable(&message, keys).unwrap();
        [
            readable
                .origin_envelope()
                .is_some_and(|envelope| envelope.author == PAIR.from.address),
            readable
                .destination_envelope()
                .is_some_and(|envelope| envelope.recipient == PAIR.to.address),
            readable.common_headers() == Some(b"Date: d\r\nTo: t\r\nFrom: f\r\nSubject: s\r\n"),
            readable.body().is_some_and(|body| body == text),
        ]
    };
    assert_eq!(read(&[]), [false; 4]);
    assert_eq!(read(&PAIR.from.org_candidates()), [true, false, false, false]);
    assert_eq!(read(&PAIR.to.org_candidates()), [false, true, false, false]);
    assert_eq!(read(&PAIR.to.user_candidates()), [true; 4]);
    assert_eq!(read(&PAIR.from.user_candidates()), [true; 4]);
    assert!(inspect::readable(&message[1..], &[]).is_err());
}

#[test]
fn repeated_randomness_does_not_repeat_content_keys() {
    // The last chunks before the signatures have the same place; only the text differs.
    let (one, other) = (
        PAIR.sealed(Suite::X25519, b"one text", 0),
        PAIR.sealed(Suite::X25519, b"two text", 0),
    );
    assert_eq!(one[..148], other[..148], "the same chunk 2");
    let display = |message: &[u8]| message[2884 + 4..2884 + 36].to_vec();
    assert_ne!(display(&one), display(&other), "the commitments");
}

/// Every actor verifies a signature over the hashes of all chunks, so no bit can change unseen by any of them.
#[test]
fn any_flipped_bit_is_refused_by_the_recipient() {
    let message = PAIR.signed(PAIR.sealed(Suite::X25519, TEXT, 4));
    assert!(PAIR.read(&message).is_ok());
    let mut changed = message.clone();
    for place in 0..message.len() {
        for bit in 0..8 {
            changed[place] ^= 1 << bit;
            assert!(PAIR.read(&changed).is_err(), "bit {bit} of octet {place}");
            changed[place] ^= 1 << bit;
        }
    }
}

#[test]
fn a_flipped_bit_in_any_octet_is_refused_by_origin_and_destination() {
    let sealed = PAIR.sealed(Suite::X25519, TEXT, 4);
    let message = PAIR.signed(sealed.clone());
    let (mut submitted, mut sent) = (sealed.clone(), message.clone());
    for place in 0..message.len() {
        let bit = 1 << (place % 8);
        submitted[place] ^= bit;
        assert!(PAIR.submit(&submitted).is_err(), "octet {place} at the origin");
        submitted[place] ^= bit;
        sent[place] ^= bit;
        assert!(PAIR.arrive(&sent).is_err(), "octet {place} at the destination");
        sent[place] ^= bit;
    }
}

#[test]
fn no_beginning_of_a_message_is_a_message() {
    let message = PAIR.signed(PAIR.sealed(Suite::X25519, TEXT, 4));
    for end in 0..message.len() {
        let error = Outline::read(&message[..end], &Limits::default()).unwrap_err();
        let rule = if end < 8 { Rule::P1 } else { Rule::P4 };
        assert_eq!(error.rule(), Some(rule), "{end}");
    }
    let longer = [&message[..], &[0]].concat();
    let error = Outline::read(&longer[..], &Limits::default()).unwrap_err();
    assert_eq!(error.rule(), Some(Rule::P4));
}

#[test]
fn limits_hold_before_anything_is_read() {
    /// Gives the header and fails the test if more is asked for.
    struct HeaderOnly(Cursor<[u8; 8]>);
    impl std::io::Read for HeaderOnly {
        fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(target)?;
            assert!(count > 0, "read on behind the header");
            Ok(count)
        }
    }
    let header = [0x07, 0xc0, 1, 1, 0xff, 0xff, 0xff, 0xff];
    let read = Outline::read(HeaderOnly(Cursor::new(header)), &Limits::default());
    assert!(matches!(read, Err(Error::TooLarge)));
}

#[test]
fn an_author_reads_its_copy_before_and_after_the_origin_signed() {
    let sealed = PAIR.sealed(Suite::XWing, TEXT, 4);
    for message in [sealed.clone(), PAIR.signed(sealed)] {
        let outline = Outline::read(&message[..], &Limits::default()).unwrap();
        let candidates = PAIR.from.user_candidates();
        let reading = Reading::as_author(&outline, &candidates, &PAIR.from.address).unwrap();
        let verified = reading.check(&Signets {
            author: known(&PAIR.from.user),
            origin: known(&PAIR.from.org),
            destination: known(&PAIR.to.org),
            recipient: known(&PAIR.to.user),
        });
        let opened = verified.unwrap().open(Cursor::new(&message)).unwrap();
        assert_eq!(body_of(&opened, &message), TEXT);
    }
}

#[test]
fn arrival_times_from_the_future_are_refused_by_a_reader_with_a_clock() {
    let message = PAIR.signed(PAIR.sealed(Suite::X25519, TEXT, 4));
    let outline = Outline::read(&message[..], &Limits::default()).unwrap();
    let candidates = PAIR.to.user_candidates();
    let read = |now| Reading::as_recipient(&outline, &candidates, &PAIR.to.address, CREATED, Some(now));
    assert!(read(CREATED - 3600).is_ok());
    assert_eq!(read(CREATED - 3601).unwrap_err().rule(), Rule::T1);
}

#[test]
fn what_cannot_be_sealed_is_said_before_anything_is_written() {
    let seal = |parties: &Parties, content: &Content| {
        let mut out = Vec::new();
        let mut rng = StdRng::seed_from_u64(3);
        let key = &PAIR.from.user_keys.signing;
        let error = seal::write(parties, key, content, Cursor::new(TEXT), &mut out, &mut rng).unwrap_err();
        assert!(out.is_empty());
        error
    };
    let good = content(TEXT.len() as u64, 4);
    let mut mixed = PAIR.parties(Suite::X25519);
    mixed.origin = PAIR.from.organization(Suite::XWing);
    assert!(matches!(seal(&mixed, &good), seal::Error::Suites));
    let mut misplaced = PAIR.parties(Suite::X25519);
    misplaced.destination.domain = "other.example".parse().unwrap();
    assert!(matches!(seal(&misplaced, &good), seal::Error::Names));
    let parties = PAIR.parties(Suite::X25519);
    let mut reserved = good.clone();
    reserved.other_headers = b"DIME-Verification: x\r\n".to_vec();
    assert!(matches!(
        seal(&parties, &reserved),
        seal::Error::Content(Rule::H3)
    ));
    let mut incomplete = good.clone();
    incomplete.parts.pop();
    assert!(matches!(
        seal(&parties, &incomplete),
        seal::Error::Content(Rule::M2)
    ));
    let mut huge = good.clone();
    huge.parts[1].body = 4..1 << 33;
    assert!(matches!(seal(&parties, &huge), seal::Error::TooLarge));
    let mut long = good;
    long.other_headers = [b"A: ", &b"b".repeat(65_531)[..], b"\r\n"].concat();
    assert!(matches!(seal(&parties, &long), seal::Error::TooLarge));
}

/// A returned message of the pair.
fn returned() -> Vec<u8> {
    let message = PAIR.signed(PAIR.sealed(Suite::X25519, TEXT, 4));
    let accepted = PAIR.arrive(&message).unwrap();
    let ticket = Ticket::take(&accepted, Scope::Headers, Cursor::new(&message), 1 << 20).unwrap();
    let status = Status {
        subject: 2,
        detail: 2,
    };
    ticket.report(CREATED + 5, status, &PAIR.to.org_keys.signing)
}

fn take_back(object: Vec<u8>) -> Result<(), Error> {
    let opened = Returned::decode(object, &Limits::default())?.open_as_origin(&PAIR.from.org_candidates())?;
    let own = [PAIR.from.org_keys.signing.verifying_key()];
    let there = [known(&PAIR.to.org).unwrap()];
    opened.check(&own, &PAIR.to.domain, &there, true, CREATED + 9)?;
    Ok(())
}

#[test]
fn a_flipped_bit_in_any_octet_of_a_returned_message_is_refused() {
    let mut object = returned();
    assert!(take_back(object.clone()).is_ok());
    for place in 0..object.len() {
        object[place] ^= 1 << (place % 8);
        assert!(take_back(object.clone()).is_err(), "octet {place}");
        object[place] ^= 1 << (place % 8);
    }
    for end in 0..object.len() {
        let error = Returned::decode(object[..end].to_vec(), &Limits::default()).unwrap_err();
        assert_eq!(error.rule(), Some(Rule::B1), "{end}");
    }
}

/// Chunk headers with any sizes, so that the parsers get far.
fn chunk_like() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![2u8, 4, 5, 33, 34, 67, 131, 225, 255, 7]);
    let sizes = prop::sample::select(vec![0u32, 47, 48, 136, 304, 816, 4488, 65_584, 0xff_ffff]);
    (kinds, sizes, any::<bool>()).prop_map(|(kind, size, whole)| {
        let mut chunk = vec![kind];
        chunk.extend_from_slice(&size.to_be_bytes()[1..]);
        chunk.resize(
            if whole {
                4 + size.min(70_000) as usize + 144
            } else {
                9
            },
            9,
        );
        chunk
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_octets_never_panic(
        suite in 0u8..4,
        chunks in prop::collection::vec(chunk_like(), 0..12),
        junk in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let body = [chunks.concat(), junk].concat();
        let size = (body.len() as u32).to_be_bytes();
        let message = [&[7, 0xc0, 1, suite][..], &size, &body].concat();
        if let Ok(outline) = Outline::read(&message[..], &Limits::default()) {
            let _ = Submission::open(&outline, &PAIR.from.org_candidates(), CREATED);
        }
        let object = [&[7, 0xc1, 1, suite][..], &size, &body].concat();
        let _ = Returned::decode(object, &Limits::default());
        let _ = (Outline::read(&body[..], &Limits::default()), Ticket::decode(&body));
    }
}
