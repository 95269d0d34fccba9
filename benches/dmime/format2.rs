//! D/MIME 2: objects in memory, read and written as streams.

use std::io::{self, Cursor, Write};

use dimed::crypto::suite::hpke::{PublicKey, SecretKey, Suite};
use dimed::dime::dmime2::destination::Arrival;
use dimed::dime::dmime2::origin::Submission;
use dimed::dime::dmime2::reader::{Reading, Signets, Verified};
use dimed::dime::dmime2::record::RecordHead;
use dimed::dime::dmime2::seal::{self, Author, Content, Organization, Part, Parties, Recipient};
use dimed::dime::dmime2::signets::Known;
use dimed::dime::dmime2::{Candidate, ChunkType, Limits, Outline};
use dimed::dime::fingerprint::FullFingerprint;
use dimed::dime::key_set::KemKeys;

use crate::cast::{COMMON_HEADERS, Cast, OTHER_HEADERS, Org, text};
use crate::measure::{Step, best_of, rate};
use crate::primitives::Bound;

/// When the messages are made and read.
const NOW: u64 = 1_800_000_000;
const LIMITS: Limits = Limits { size: 1 << 30 };

/// The best times of all four steps.
pub fn short(cast: &Cast, suite: Suite, size: usize) -> Vec<Step> {
    let scene = Scene::new(cast, suite, size);
    let (sealed, signed) = scene.objects();
    let mut delivered = Vec::new();
    let step = |name, call: &mut dyn FnMut()| Step {
        name,
        time: best_of(500, 2, call),
    };
    vec![
        step("author seals", &mut || drop(scene.sealed())),
        step("origin checks and signs", &mut || drop(scene.signed(&sealed))),
        step("destination checks", &mut || scene.check(&signed)),
        step("recipient opens", &mut || {
            delivered.clear();
            scene.open(&signed, &mut delivered);
        }),
    ]
}

/// Prints the throughput of sealing, of reading by those who do not decrypt, and of opening.
pub fn long(cast: &Cast, size: usize, bound: &Bound) {
    let scene = Scene::new(cast, Suite::X25519, size);
    let (mut sealed, signed) = scene.objects();
    let print = |name, call: &mut dyn FnMut()| {
        let rate = rate(size, best_of(7, 1, call));
        println!(
            "  {name:32} {rate:9.0} MB/s {:5.0} %",
            100.0 * rate / bound.both()
        );
    };
    print("author seals", &mut || {
        sealed.clear();
        scene.seal(&mut sealed);
    });
    print("destination checks", &mut || scene.check(&signed));
    print("recipient opens", &mut || scene.open(&signed, &mut io::sink()));
    print("  of that, verifying", &mut || drop(scene.verified(&signed)));
    let verify = || scene.verified(&signed);
    let opened = verify().open(Cursor::new(&signed)).unwrap();
    print("  of that, writing the body", &mut || {
        opened.write_body(Cursor::new(&signed), io::sink()).unwrap();
    });
}

/// A message of one text, and the keys of its four actors.
struct Scene<'a> {
    cast: &'a Cast,
    text: Vec<u8>,
    content: Content,
    parties: Parties,
    origin: Candidate,
    destination: Candidate,
    recipient: Candidate,
}

impl<'a> Scene<'a> {
    fn new(cast: &'a Cast, suite: Suite, size: usize) -> Self {
        let origin = candidate(suite, cast.origin.signet.full_fingerprint());
        let destination = candidate(suite, cast.destination.signet.full_fingerprint());
        let recipient = candidate(suite, cast.recipient.signet.full_fingerprint());
        let author = candidate(suite, cast.author.signet.full_fingerprint());
        let organization = |org: &Org, candidate: &Candidate| Organization {
            domain: org.domain.clone(),
            signet: candidate.signet,
            key: public_key(candidate, suite),
        };
        let parties = Parties {
            created: NOW,
            author: Author {
                address: cast.author.address.clone(),
                signet: author.signet,
                copy: Some(public_key(&author, suite)),
            },
            origin: organization(&cast.origin, &origin),
            destination: organization(&cast.destination, &destination),
            recipient: Recipient {
                address: cast.recipient.address.clone(),
                signet: recipient.signet,
                key: public_key(&recipient, suite),
            },
        };
        Self {
            cast,
            text: text(size),
            content: content(size),
            parties,
            origin,
            destination,
            recipient,
        }
    }

    /// The message as submitted and as signed by its origin.
    fn objects(&self) -> (Vec<u8>, Vec<u8>) {
        let sealed = self.sealed();
        let mut signed = sealed.clone();
        let chunk = self.signed(&sealed);
        signed[chunk.0 as usize..].copy_from_slice(&chunk.1);
        (sealed, signed)
    }

    fn sealed(&self) -> Vec<u8> {
        let mut object = Vec::with_capacity(self.text.len() + 8192);
        self.seal(&mut object);
        object
    }

    fn seal(&self, out: impl Write) {
        let (key, body) = (&self.cast.author.keys.signing, Cursor::new(&self.text));
        seal::write(&self.parties, key, &self.content, body, out, &mut rand::rng()).unwrap();
    }

    fn signed(&self, sealed: &[u8]) -> (u64, Vec<u8>) {
        let outline = Outline::read(sealed, &LIMITS).unwrap();
        let submission = Submission::open(&outline, std::slice::from_ref(&self.origin), NOW).unwrap();
        let (author, destination) = (
            current(&self.cast.author.signet),
            current(&self.cast.destination.signet),
        );
        let admissible = submission
            .check(&self.cast.origin.domain, true, Some(author), Some(destination))
            .unwrap();
        let chunk = admissible.sign(&self.cast.origin.keys.signing);
        (chunk.offset, chunk.octets)
    }

    fn check(&self, signed: &[u8]) {
        let outline = Outline::read(signed, &LIMITS).unwrap();
        let arrival = Arrival::open(&outline, std::slice::from_ref(&self.destination), NOW).unwrap();
        let origin = Some(current(&self.cast.origin.signet));
        arrival.check(&self.cast.origin.domain, origin).unwrap();
    }

    fn open(&self, signed: &[u8], body: &mut dyn Write) {
        let opened = self.verified(signed).open(Cursor::new(signed)).unwrap();
        opened.write_body(Cursor::new(signed), body).unwrap();
    }

    fn verified(&self, signed: &[u8]) -> Verified {
        let outline = Outline::read(signed, &LIMITS).unwrap();
        let (own, account) = (
            std::slice::from_ref(&self.recipient),
            &self.cast.recipient.address,
        );
        let reading = Reading::as_recipient(&outline, own, account, NOW, None).unwrap();
        let signets = Signets {
            author: Some(current(&self.cast.author.signet)),
            origin: Some(current(&self.cast.origin.signet)),
            destination: Some(current(&self.cast.destination.signet)),
            recipient: None,
        };
        reading.check(&signets).unwrap()
    }
}

fn candidate(suite: Suite, signet: Option<FullFingerprint>) -> Candidate {
    Candidate {
        signet: signet.unwrap(),
        keys: KemKeys::new(vec![SecretKey::generate(suite, &mut rand::rng())]).unwrap(),
    }
}

/// As read from a key set.
fn public_key(candidate: &Candidate, suite: Suite) -> PublicKey {
    candidate.keys.key(suite).unwrap().public_key()
}

fn current<S>(signet: &S) -> Known<'_, S> {
    Known {
        signet,
        key_set: None,
        is_current: true,
    }
}

fn content(size: usize) -> Content {
    Content {
        common_headers: COMMON_HEADERS.to_vec(),
        other_headers: OTHER_HEADERS.to_vec(),
        parts: vec![Part {
            kind: ChunkType::Display,
            head: RecordHead {
                ordinal: 0,
                count: 1,
                lead: 0,
                tail: 0,
            },
            body: 0..size as u64,
        }],
    }
}
