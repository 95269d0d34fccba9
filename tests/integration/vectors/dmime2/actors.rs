//! The four actors of the vectors: who they are, what they know, and what each makes of a message.

use std::collections::HashMap;
use std::io::Cursor;

use dimed::base::encoding::base64_decode;
use dimed::crypto::ed25519::{SigningKey, VerifyingKey};
use dimed::crypto::suite::hpke::{SecretKey, Suite};
use dimed::dime::dmime2::content::Opened;
use dimed::dime::dmime2::destination::{Account, Arrival};
use dimed::dime::dmime2::origin::{Admissible, Submission};
use dimed::dime::dmime2::reader::{Reading, Signets};
use dimed::dime::dmime2::signets::{Known, KnownOrg, KnownUser};
use dimed::dime::dmime2::{Candidate, Error, Limits, MessageId, Outline, Replay, Seen};
use dimed::dime::fingerprint::FullFingerprint;
use dimed::dime::key_set::{KemKeys, SignedKeySet};
use dimed::dime::signet::{VerifiedOrg, VerifiedUser, verify_org, verify_user};
use dimed::mail::address::{Domain, Mailbox};
use serde_json::Value;

use super::{Set, signet};
use crate::vectors::unhex_array;

/// A signet and whether it is its owner's current one.
pub struct Owned<S> {
    signet: S,
    key_set: Option<SignedKeySet>,
    is_current: bool,
}

impl<S> Owned<S> {
    pub fn known(&self) -> Known<'_, S> {
        Known {
            signet: &self.signet,
            key_set: self.key_set.as_ref(),
            is_current: self.is_current,
        }
    }
}

/// All actors of the set.
pub struct Actors(Value);

impl Actors {
    pub fn load(set: &Set) -> Self {
        Self(set.file("actors.json"))
    }

    /// The entry of an organization or a user.
    pub fn entry(&self, name: &str) -> Option<&Value> {
        let entries = |list: &str| self.0[list].as_array().expect("actors").iter();
        entries("organizations")
            .chain(entries("users"))
            .find(|entry| entry["name"] == name)
    }

    /// Own signets with all their private keys, newest first.
    pub fn candidates(&self, name: &str) -> Vec<Candidate> {
        let signets = self.entry(name).expect("a known actor")["signets"].as_array();
        signets.expect("signets").iter().rev().map(candidate).collect()
    }

    /// The key pair of one signet of an actor.
    pub fn kem_key(&self, name: &str, fingerprint: &FullFingerprint, suite: Suite) -> Option<SecretKey> {
        let candidates = self.candidates(name);
        let candidate = candidates
            .iter()
            .find(|candidate| candidate.signet == *fingerprint)?;
        candidate.keys.key(suite).cloned()
    }

    pub fn signing_key(&self, name: &str) -> SigningKey {
        SigningKey::from_seed(&unhex_array(&self.entry(name).expect("an actor")["signing_seed"]))
    }

    /// The key of an organization, POK or SOK, with this public half.
    pub fn organization_key(&self, name: &str, public: &VerifyingKey) -> SigningKey {
        let entry = self.entry(name).expect("an organization");
        let soks = entry["soks"].as_array().expect("SOKs").iter();
        let seeds = soks
            .map(|sok| &sok["seed"])
            .chain(std::iter::once(&entry["signing_seed"]));
        seeds
            .map(|seed| SigningKey::from_seed(&unhex_array(seed)))
            .find(|key| key.verifying_key() == *public)
            .expect("a key of the organization")
    }

    /// Every signet of an organization, oldest first, whose primary key DNS has.
    pub fn organization_signets(&self, domain: &Domain) -> Vec<Owned<VerifiedOrg>> {
        let Some(entry) = self.entry(domain.as_str()) else {
            return Vec::new();
        };
        let key = VerifyingKey(unhex_array(&entry["signing_key"]));
        let signets = entry["signets"].as_array().expect("signets");
        let verified = |(place, value): (usize, &Value)| Owned {
            signet: verify_org(&signet(&value["signet"]), &[key], domain).expect("a valid signet"),
            key_set: key_set(&value["signet"]),
            is_current: place + 1 == signets.len(),
        };
        signets.iter().enumerate().map(verified).collect()
    }

    /// Looked up by name and fingerprint together.
    pub fn organization(&self, domain: &Domain, fingerprint: &FullFingerprint) -> Option<Owned<VerifiedOrg>> {
        let signets = self.organization_signets(domain).into_iter();
        signets
            .into_iter()
            .find(|owned| owned.signet.full_fingerprint() == Some(*fingerprint))
    }

    /// Looked up by name and fingerprint together.
    pub fn user(&self, address: &Mailbox, fingerprint: &FullFingerprint) -> Option<Owned<VerifiedUser>> {
        let entry = self.entry(&address.to_string())?;
        let domain: Domain = entry["organization"].as_str()?.parse().ok()?;
        let organization = self
            .organization_signets(&domain)
            .pop()
            .expect("an organization")
            .signet;
        let signets = entry["signets"].as_array().expect("signets");
        let place = signets.iter().position(|value| print_of(value) == *fingerprint)?;
        Some(Owned {
            signet: verify_user(&signet(&signets[place]["signet"]), &organization, None, address)
                .expect("a valid signet"),
            key_set: key_set(&signets[place]["signet"]),
            is_current: place + 1 == signets.len(),
        })
    }
}

/// The key set of a signet, if it obeys N1 to N3.
fn key_set(value: &Value) -> Option<SignedKeySet> {
    SignedKeySet::of(&signet(value)).ok().flatten()
}

fn print_of(value: &Value) -> FullFingerprint {
    FullFingerprint(unhex_array(&value["full_fingerprint"]))
}

fn candidate(value: &Value) -> Candidate {
    let keys = value["kem_private"].as_object().expect("private keys").iter();
    let keys = keys.map(|(suite, octets)| {
        let suite = Suite::from_id(suite.parse().expect("a suite")).expect("a suite");
        SecretKey::from_bytes(suite, &unhex_array(octets)).expect("a private key")
    });
    Candidate {
        signet: print_of(value),
        keys: KemKeys::new(keys.collect()).expect("different suites"),
    }
}

pub fn known_user(owned: &Option<Owned<VerifiedUser>>) -> Option<KnownUser<'_>> {
    owned.as_ref().map(Owned::known)
}

pub fn known_org(owned: &Option<Owned<VerifiedOrg>>) -> Option<KnownOrg<'_>> {
    owned.as_ref().map(Owned::known)
}

/// An actor with its surroundings, as a case gives them.
#[derive(Debug)]
pub struct Scene {
    pub role: String,
    /// Domain of an organization, address of a user.
    pub own: String,
    /// Submitter of an origin, peer of a destination.
    pub other: String,
    pub now: u64,
}

/// What the actor has at the end.
pub enum Taken {
    Admissible(Box<Admissible>),
    Delivered,
    Opened(Box<Opened>),
}

/// What the actor remembers of what it took before.
#[derive(Default)]
pub struct Cache(HashMap<MessageId, [u8; 16]>);

impl Cache {
    fn judge(&mut self, replay: Replay) -> Result<Seen, Error> {
        let seen = replay.judge(self.0.get(&replay.message_id))?;
        self.0.insert(replay.message_id, replay.digest);
        Ok(seen)
    }
}

impl Scene {
    /// All that the actor does with the octets of a message.
    pub fn take(
        &self,
        actors: &Actors,
        octets: &[u8],
        cache: &mut Cache,
    ) -> Result<(Taken, Seen), (bool, Error)> {
        let outline = Outline::read(octets, &Limits::default()).map_err(|error| (true, error))?;
        let taken = match self.role.as_str() {
            "origin" => self.submit(actors, &outline),
            "destination" => self.arrive(actors, &outline),
            "recipient" | "author" => self.read(actors, &outline, octets),
            other => panic!("role {other}"),
        };
        let taken = taken.map_err(|error| (false, error))?;
        let seen = cache.judge(outline.replay()).map_err(|error| (false, error))?;
        Ok((taken, seen))
    }

    fn submit(&self, actors: &Actors, outline: &Outline) -> Result<Taken, Error> {
        let domain: Domain = self.own.parse().expect("a domain");
        let submission = Submission::open(outline, &actors.candidates(&self.own), self.now)?;
        let envelope = submission.envelope().clone();
        let author = actors.user(&envelope.author, &envelope.author_signet);
        let destination = actors.organization(&envelope.destination, &envelope.destination_signet);
        let may_send = envelope.author.to_string() == self.other;
        let admissible = submission.check(&domain, may_send, known_user(&author), known_org(&destination))?;
        Ok(Taken::Admissible(Box::new(admissible)))
    }

    fn arrive(&self, actors: &Actors, outline: &Outline) -> Result<Taken, Error> {
        let peer: Domain = self.other.parse().expect("a domain");
        let arrival = Arrival::open(outline, &actors.candidates(&self.own), self.now)?;
        let envelope = arrival.envelope().clone();
        arrival.check_peer(&peer)?;
        let origin = actors.organization(&envelope.origin, &envelope.origin_signet);
        let authenticated = arrival.check(&peer, known_org(&origin))?;
        let recipient = actors.user(&envelope.recipient, &envelope.recipient_signet);
        authenticated.check_recipient(Account {
            is_served: envelope.recipient.domain().as_str() == self.own,
            exists: actors.entry(&envelope.recipient.to_string()).is_some(),
            signet: known_user(&recipient),
        })?;
        Ok(Taken::Delivered)
    }

    fn read(&self, actors: &Actors, outline: &Outline, octets: &[u8]) -> Result<Taken, Error> {
        let account: Mailbox = self.own.parse().expect("an address");
        let candidates = actors.candidates(&self.own);
        let reading = match self.role.as_str() {
            "author" => Reading::as_author(outline, &candidates, &account)?,
            _ => Reading::as_recipient(outline, &candidates, &account, self.now, None)?,
        };
        let (from, to) = (reading.origin_envelope(), reading.destination_envelope());
        let author = actors.user(&from.author, &from.author_signet);
        let origin = actors.organization(&to.origin, &to.origin_signet);
        let destination = actors.organization(&from.destination, &from.destination_signet);
        let recipient = actors.user(&to.recipient, &to.recipient_signet);
        let verified = reading.check(&Signets {
            author: known_user(&author),
            origin: known_org(&origin),
            destination: known_org(&destination),
            recipient: known_user(&recipient),
        })?;
        Ok(Taken::Opened(Box::new(verified.open(Cursor::new(octets))?)))
    }
}

/// A message with ciphertext and tag of its last chunk zeroed: as it was submitted.
pub fn blanked(message: &[u8]) -> Vec<u8> {
    let mut blank = message.to_vec();
    let start = blank.len() - 4 * 48 - 272;
    blank[start..start + 272].fill(0);
    blank
}

/// The octets of a case: whole, or put together from parts of accepted ones.
pub fn octets(set: &Set, folder: &str, case: &Value, field: &str) -> Vec<u8> {
    if let Some(whole) = case[field].as_str() {
        return base64_decode(whole).expect("base64");
    }
    let mut octets = Vec::new();
    for part in case["parts"].as_array().expect("parts") {
        if let Some(text) = part["base64"].as_str() {
            let piece = base64_decode(text).expect("base64");
            let times = part["repeat"].as_u64().expect("a number");
            (0..times).for_each(|_| octets.extend_from_slice(&piece));
        } else {
            let other = set.file(&format!(
                "{folder}/{}.json",
                part["case"].as_str().expect("a case")
            ));
            let other = base64_decode(other[field].as_str().expect("base64")).expect("base64");
            let place = |end: &str| part[end].as_u64().expect("a place") as usize;
            octets.extend_from_slice(&other[place("from")..place("to")]);
        }
    }
    octets
}
