//! Four actors with keys for both formats, and each step of a message's way between them.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::LazyLock;

use dimed::crypto::suite::hpke::{SecretKey, Suite};
use dimed::dime::dmime1;
use dimed::dime::dmime2::content::Opened;
use dimed::dime::dmime2::destination::{Account, Arrival, Authenticated};
use dimed::dime::dmime2::origin::Submission;
use dimed::dime::dmime2::reader::{Reading, Signets};
use dimed::dime::dmime2::seal::{self, Content, ContentKeys, Parties, Sizes};
use dimed::dime::dmime2::signets::{Known, KnownOrg, KnownUser};
use dimed::dime::dmime2::{Candidate, Error, Limits, Outline};
use dimed::dime::key_set::{self, Draft};
use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::{
    Kind, OrgBuilder, Profile, Signer, VerifiedOrg, VerifiedUser, request, verify_org, verify_request,
    verify_user,
};
use dimed::mail::address::{Domain, Mailbox};
use rand_core::{TryCryptoRng, TryRng};

/// When all of this happens.
pub const NOW: u64 = 1_801_743_900;

const DAY: u64 = 86_400;

/// Octets that follow from a seed, however many are asked for at a time; for tests only.
#[derive(Clone)]
pub struct Counter(pub u64);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        for octet in octets {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *octet = (self.0 >> 33) as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// An organization.
pub struct Org {
    pub domain: Domain,
    pub keys: OrgKeys,
    pub kem: Vec<SecretKey>,
    pub signet: VerifiedOrg,
}

/// A user.
pub struct User {
    pub address: Mailbox,
    pub keys: UserKeys,
    pub kem: Vec<SecretKey>,
    pub signet: VerifiedUser,
}

/// One of each actor.
pub struct Correspondents {
    pub author: User,
    pub origin: Org,
    pub destination: Org,
    pub recipient: User,
}

/// Ada writes to Ben.
pub static CORRESPONDENTS: LazyLock<Correspondents> = LazyLock::new(|| {
    let mut rng = Counter(1);
    let origin = Org::new("origin.example", &mut rng);
    let destination = Org::new("destination.example", &mut rng);
    Correspondents {
        author: User::new("ada@origin.example", &origin, &mut rng),
        recipient: User::new("ben@destination.example", &destination, &mut rng),
        origin,
        destination,
    }
});

impl Org {
    fn new(domain: &str, rng: &mut Counter) -> Self {
        let domain: Domain = domain.parse().unwrap();
        let keys = OrgKeys::generate(rng);
        let kem = kem_keys(rng);
        let profile = profile(Kind::Organization, &kem, &keys.signing);
        let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
        let signet = builder.with_profile(profile).identifiable(&domain).unwrap();
        let signet = verify_org(&signet, &[keys.signing.verifying_key()], &domain).unwrap();
        Self {
            domain,
            keys,
            kem,
            signet,
        }
    }

    pub fn candidates(&self) -> Vec<Candidate> {
        candidates(self.signet.full_fingerprint(), &self.kem)
    }

    pub fn known(&self) -> KnownOrg<'_> {
        known(&self.signet)
    }

    fn party(&self, suite: Suite) -> seal::Organization {
        seal::Organization {
            domain: self.domain.clone(),
            signet: self.signet.full_fingerprint().unwrap(),
            key: of_suite(&self.kem, suite).public_key(),
        }
    }
}

impl User {
    fn new(address: &str, org: &Org, rng: &mut Counter) -> Self {
        let address: Mailbox = address.parse().unwrap();
        let keys = UserKeys::generate(rng);
        let kem = kem_keys(rng);
        let asked = verify_request(&request(&keys).unwrap(), None).unwrap();
        let signer = Signer::new(&org.signet, &org.keys.signing).unwrap();
        let builder = signer.sign(&asked).unwrap();
        let profile = profile(Kind::User, &kem, &keys.signing);
        let signet = builder.with_profile(profile).identifiable(&address).unwrap();
        let signet = verify_user(&signet, &org.signet, None, &address).unwrap();
        Self {
            address,
            keys,
            kem,
            signet,
        }
    }

    pub fn candidates(&self) -> Vec<Candidate> {
        candidates(self.signet.full_fingerprint(), &self.kem)
    }

    pub fn known(&self) -> KnownUser<'_> {
        known(&self.signet)
    }
}

fn kem_keys(rng: &mut Counter) -> Vec<SecretKey> {
    [Suite::X25519, Suite::XWing]
        .map(|suite| SecretKey::generate(suite, rng))
        .into()
}

fn of_suite(keys: &[SecretKey], suite: Suite) -> &SecretKey {
    keys.iter().find(|key| key.suite() == suite).unwrap()
}

fn profile(kind: Kind, keys: &[SecretKey], owner: &dimed::crypto::ed25519::SigningKey) -> Profile {
    let draft = Draft {
        created: NOW - DAY,
        expires: NOW + 30 * DAY,
        keys: keys.iter().map(SecretKey::public_key).collect(),
    };
    let mut profile = Profile::new();
    profile
        .add_undefined(key_set::FIELD, &draft.sign(kind, owner).unwrap())
        .unwrap();
    profile
}

fn candidates(
    signet: Option<dimed::dime::fingerprint::FullFingerprint>,
    keys: &[SecretKey],
) -> Vec<Candidate> {
    vec![Candidate {
        signet: signet.unwrap(),
        keys: key_set::KemKeys::new(keys.to_vec()).unwrap(),
    }]
}

fn known<S>(signet: &S) -> Known<'_, S> {
    Known {
        signet,
        key_set: None,
        is_current: true,
    }
}

/// Format 2.
impl Correspondents {
    pub fn parties(&self, suite: Suite) -> Parties {
        Parties {
            created: NOW,
            author: seal::Author {
                address: self.author.address.clone(),
                signet: self.author.signet.full_fingerprint().unwrap(),
                copy: Some(of_suite(&self.author.kem, suite).public_key()),
            },
            origin: self.origin.party(suite),
            destination: self.destination.party(suite),
            recipient: seal::Recipient {
                address: self.recipient.address.clone(),
                signet: self.recipient.signet.full_fingerprint().unwrap(),
                key: of_suite(&self.recipient.kem, suite).public_key(),
            },
        }
    }

    /// What the author submits; all randomness follows from the seed.
    pub fn seal(
        &self,
        suite: Suite,
        content: &Content,
        body: &[u8],
        seed: u64,
    ) -> Result<Vec<u8>, seal::Error> {
        self.seal_padded(suite, (content, &Sizes::of(content)), body, seed)
    }

    /// As [`seal`](Self::seal) with padded sizes of the caller's choice.
    pub fn seal_padded(
        &self,
        suite: Suite,
        content: (&Content, &Sizes),
        body: &[u8],
        seed: u64,
    ) -> Result<Vec<u8>, seal::Error> {
        let mut out = Vec::new();
        let randomness = (&mut Counter(seed), ContentKeys::AsDrawn);
        let key = &self.author.keys.signing;
        seal::write_with(
            &self.parties(suite),
            key,
            content,
            Cursor::new(body),
            &mut out,
            randomness,
        )?;
        Ok(out)
    }

    /// What the origin sends on, if it accepts the message.
    pub fn sign(&self, object: &[u8]) -> Result<Vec<u8>, Error> {
        let outline = outline(object)?;
        let submission = Submission::open(&outline, &self.origin.candidates(), NOW)?;
        let (author, destination) = (self.author.known(), self.destination.known());
        let admissible = submission.check(&self.origin.domain, true, Some(author), Some(destination))?;
        let signed = admissible.sign(&self.origin.keys.signing);
        let mut object = object.to_vec();
        object[signed.offset as usize..].copy_from_slice(&signed.octets);
        Ok(object)
    }

    /// Whether the destination takes it.
    pub fn arrive(&self, object: &[u8]) -> Result<Authenticated, Error> {
        let arrival = Arrival::open(&outline(object)?, &self.destination.candidates(), NOW)?;
        let authenticated = arrival.check(&self.origin.domain, Some(self.origin.known()))?;
        authenticated.check_recipient(Account {
            is_served: true,
            exists: true,
            signet: Some(self.recipient.known()),
        })?;
        Ok(authenticated)
    }

    /// What the recipient reads.
    pub fn read(&self, object: &[u8]) -> Result<Opened, Error> {
        let (outline, account) = (outline(object)?, &self.recipient.address);
        let reading = Reading::as_recipient(&outline, &self.recipient.candidates(), account, NOW, Some(NOW))?;
        reading.check(&self.signets())?.open(Cursor::new(object))
    }

    /// What the author reads in a sent copy.
    pub fn read_copy(&self, object: &[u8]) -> Result<Opened, Error> {
        let reading = Reading::as_author(&outline(object)?, &self.author.candidates(), &self.author.address)?;
        reading.check(&self.signets())?.open(Cursor::new(object))
    }

    fn signets(&self) -> Signets<'_> {
        Signets {
            author: Some(self.author.known()),
            origin: Some(self.origin.known()),
            destination: Some(self.destination.known()),
            recipient: Some(self.recipient.known()),
        }
    }
}

fn outline(object: &[u8]) -> Result<Outline, Error> {
    Outline::read(object, &Limits::default())
}

/// The joined body.
pub fn body_of(opened: &Opened, object: &[u8]) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    opened.write_body(Cursor::new(object), &mut body)?;
    Ok(body)
}

/// Format 1.
impl Correspondents {
    /// What the author submits.
    pub fn seal1(&self, content: &dmime1::Content, seed: u64) -> Result<Vec<u8>, dmime1::seal::Error> {
        let parties = dmime1::seal::Parties {
            author: &self.author.address,
            author_keys: &self.author.keys,
            author_signet: &self.author.signet,
            origin_signet: &self.origin.signet,
            destination_signet: &self.destination.signet,
            recipient: &self.recipient.address,
            recipient_signet: &self.recipient.signet,
        };
        let padding = dmime1::padding::Padding::Libdime;
        dmime1::seal::seal(&parties, content, padding, &mut Counter(seed))
    }

    /// What the origin sends on; `None` if it refuses.
    pub fn sign1(&self, object: &[u8]) -> Option<Vec<u8>> {
        let message = message1(object)?;
        let expected = dmime1::origin::Expected {
            submitter: &self.author.address,
            origin: &self.origin.domain,
            author: &self.author.signet,
            destination: &self.destination.signet,
        };
        let view = dmime1::origin::open(&message, &self.origin.keys).ok()?;
        let checked = view.check(&expected).ok()?;
        dmime1::origin::sign(&checked, &self.origin.keys.signing, Default::default()).ok()
    }

    /// Whether the destination takes it.
    pub fn arrive1(&self, object: &[u8]) -> bool {
        let expected = dmime1::destination::Expected {
            peer: &self.origin.domain,
            destination: &self.destination.domain,
            origin: &self.origin.signet,
            recipient: &self.recipient.signet,
        };
        let view = message1(object)
            .and_then(|message| dmime1::destination::open(&message, &self.destination.keys).ok());
        view.is_some_and(|view| view.check(&expected).is_ok())
    }

    /// What the recipient reads.
    pub fn read1(&self, object: &[u8]) -> Option<dmime1::open::Opened> {
        let expected = dmime1::open::Expected {
            address: &self.recipient.address,
            own: &self.recipient.signet,
            author: &self.author.signet,
            origin: &self.origin.signet,
            destination: &self.destination.signet,
        };
        let view = dmime1::open::open_envelope(&message1(object)?, &self.recipient.keys).ok()?;
        dmime1::open::open(&view, &expected).ok()
    }

    /// What the author reads in a sent copy.
    pub fn read_copy1(&self, object: &[u8]) -> Option<dmime1::open::Opened> {
        let view = dmime1::open::open_sent_envelope(&message1(object)?, &self.author.keys).ok()?;
        dmime1::open::open_sent(&view, &self.author.address, &self.author.signet).ok()
    }
}

fn message1(object: &[u8]) -> Option<dmime1::Message> {
    dmime1::Message::parse(object.to_vec(), &Default::default()).ok()
}
