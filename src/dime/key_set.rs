//! Key sets: how organizations and users advertise their keys for D/MIME 2 (`dmime2.md` §3).
//!
//! A key set is the value of the undefined field (251) [`FIELD`] of a signet:
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 8 | created, unix seconds |
//! | 9 | 8 | expires, unix seconds |
//! | 17 | 1 | count of keys, at most 8; 0 is an opt-out |
//! | 18 | … | keys: suite (1), length (2), octets; suites strictly ascending from 1 |
//! | end − 64 | 64 | Ed25519 by the owner's signing key (a user's, or the primary organizational key) |
//!
//! [`SignedKeySet::of`] reads it (rules N1 to N3), [`SignedKeySet::accept`] judges whether it may be used now (N5, N6), and
//! [`capability`] does all that §3.4 says of a verified signet and what is pinned for its owner (N4, N7). New ones
//! are made with [`Draft::sign`].

mod capability;
mod file;
mod kem_keys;
#[cfg(test)]
mod tests;

pub use capability::{Capability, Change, Owner, Pin, State, capability};
pub use file::{KeySetFile, LABEL as FILE_LABEL, NotKeySetFile};
pub use kem_keys::{KemKeys, NotKemKeys};

use std::sync::Arc;
use std::time::Duration;

use crate::base::bytes::{self, Reader};
use crate::crypto::ed25519::{Signature, SigningKey, VerifyingKey};
use crate::crypto::suite::hpke::{self, PublicKey, Suite};
use crate::dime::once::Once;
use crate::dime::signet::{Kind, Signet};

/// Name of the field.
pub const FIELD: &[u8] = b"dmime2";

/// Most keys in a key set.
pub const MAX_KEYS: usize = 8;

/// Longest time between `created` and `expires`: 400 days. Seconds.
pub const MAX_LIFE: u64 = 34_560_000;

/// How far clocks may be apart: 1 hour. Seconds.
pub const CLOCK_ALLOWANCE: u64 = 3600;

/// How long private keys are kept after their key set has expired: the window in which mail may still come, and a day
/// (`dmime2.md` §3.2, §11).
pub const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(1_296_000 + 86_400);

const VERSION: u8 = 1;
const LABEL: &[u8] = b"D/MIME 2 key set\0";
const SIGNATURE_SIZE: usize = 64;

/// Which rule of `dmime2.md` §3.3 a key set breaks, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// N1.
    #[error("N1: the signet has {0} key sets")]
    Count(usize),
    /// N2.
    #[error("N2: {0}")]
    Layout(Layout),
    /// N3.
    #[error("N3: the owner's signature does not verify")]
    Signature,
    /// N5.
    #[error("N5: {0}")]
    Time(Time),
    /// N6.
    #[error("N6: the {0} key is not acceptable")]
    Key(Suite),
    /// N6.
    #[error("N6: two suites share an X25519 key")]
    SharedPoint,
    /// N7.
    #[error("N7: it was created before one that was seen earlier")]
    Older,
    /// N7.
    #[error("N7: there was a key set, and now there is none")]
    Vanished,
    /// N7.
    #[error("N7: another signing key than the one seen earlier, and nothing proves the change")]
    OtherSigner,
}

impl Error {
    /// The number of the rule.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Count(_) => "N1",
            Self::Layout(_) => "N2",
            Self::Signature => "N3",
            Self::Time(_) => "N5",
            Self::Key(_) | Self::SharedPoint => "N6",
            Self::Older | Self::Vanished | Self::OtherSigner => "N7",
        }
    }
}

/// How the octets of a key set are not those of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Layout {
    /// It ends early.
    #[error("it ends early")]
    Truncated,
    /// That many octets are left over between the keys and the signature.
    #[error("{0} octets are left over")]
    Trailing(usize),
    /// The version is another one.
    #[error("version {0} is not known")]
    Version(u8),
    /// More than [`MAX_KEYS`].
    #[error("{0} keys are too many")]
    Keys(u8),
    /// This suite does not come after the one before it, or is 0.
    #[error("suite {0} is out of order")]
    Order(u8),
    /// The key is not of its suite's size.
    #[error("the {0} key has another size")]
    Size(Suite),
}

/// Why a key set does not count at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Time {
    /// It was created more than [`CLOCK_ALLOWANCE`] from now.
    #[error("it was created in the future")]
    Future,
    /// `expires` is 0, or not later than `created`.
    #[error("it never was in force")]
    Inverted,
    /// It lives longer than [`MAX_LIFE`].
    #[error("it lives longer than 400 days")]
    TooLong,
    /// It has expired.
    #[error("it has expired")]
    Expired,
}

/// A key set that its owner signed (rules N1 to N3). Whether it may be used is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedKeySet {
    created: u64,
    expires: u64,
    count: usize,
    known: Arc<[(Suite, Vec<u8>)]>,
    keys: Once<Result<Arc<[PublicKey]>, Error>>,
}

/// What [`SignedKeySet::of`] has found in a signet.
pub(super) type Found = Once<Result<Option<SignedKeySet>, Error>>;

impl SignedKeySet {
    /// The key set of a signet, whose other signatures are the caller's to verify; `None` without one.
    ///
    /// Errors: [`Error::Count`], [`Error::Layout`], [`Error::Signature`].
    pub fn of(signet: &Signet) -> Result<Option<Self>, Error> {
        signet.key_set().get(|| Self::find(signet)).clone()
    }

    fn find(signet: &Signet) -> Result<Option<Self>, Error> {
        let mut fields = signet.fields().filter(|field| field.name == Some(FIELD));
        let Some(first) = fields.next() else {
            return Ok(None);
        };
        match fields.count() {
            0 => {}
            more => return Err(Error::Count(1 + more)),
        }
        // Without its signing key an object is no signet.
        let key = signet.signing_key().map_err(|_| Error::Signature)?;
        Self::decode(signet.kind(), &key, first.data).map(Some)
    }

    /// Reads a value signed by `signer`, the owner of a signet of that kind.
    ///
    /// Errors: [`Error::Layout`], [`Error::Signature`].
    pub fn decode(kind: Kind, signer: &VerifyingKey, value: &[u8]) -> Result<Self, Error> {
        let length = value.len().checked_sub(SIGNATURE_SIZE);
        let parts = length.and_then(|length| value.split_at_checked(length));
        let (signed, signature) = parts.ok_or(Error::Layout(Layout::Truncated))?;
        let set = Self::read(signed).map_err(Error::Layout)?;
        let signature = signature
            .try_into()
            .map(Signature)
            .map_err(|_| Error::Signature)?;
        signer
            .verify(&signature_input(kind, signer, signed), &signature)
            .map_err(|_| Error::Signature)?;
        Ok(set)
    }

    fn read(signed: &[u8]) -> Result<Self, Layout> {
        let mut reader = Reader::new(signed);
        match reader.u8()? {
            VERSION => {}
            other => return Err(Layout::Version(other)),
        }
        let created = u64::from_be_bytes(reader.array()?);
        let expires = u64::from_be_bytes(reader.array()?);
        let count = reader.u8()?;
        if usize::from(count) > MAX_KEYS {
            return Err(Layout::Keys(count));
        }
        let known = read_known(&mut reader, count)?;
        reader.finish()?;
        Ok(Self {
            created,
            expires,
            count: usize::from(count),
            known: known.into(),
            keys: Once::default(),
        })
    }

    /// When it was made. Unix seconds.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// When it ends. Unix seconds.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The suites that it has and we know, ascending, whether or not their keys are acceptable.
    pub fn suites(&self) -> impl Iterator<Item = Suite> {
        self.known.iter().map(|(suite, _)| *suite)
    }

    /// Whether the owner says with it that there are no keys.
    pub fn is_opt_out(&self) -> bool {
        self.count == 0
    }

    /// Whether a superseded signet with it was in force when a message was created (rule E4). Unix seconds.
    pub fn was_in_force(&self, created: u64) -> bool {
        self.expires != 0 && self.created.saturating_sub(CLOCK_ALLOWANCE) <= created && created < self.expires
    }

    /// The keys, if they may be used at `now` (rules N5, N6). Unix seconds.
    ///
    /// Errors: [`Error::Time`], [`Error::Key`], [`Error::SharedPoint`].
    pub fn accept(&self, now: u64) -> Result<KeySet, Error> {
        self.check_time(now).map_err(Error::Time)?;
        Ok(KeySet {
            created: self.created,
            expires: self.expires,
            keys: self.keys.get(|| self.read_keys()).clone()?,
        })
    }

    fn read_keys(&self) -> Result<Arc<[PublicKey]>, Error> {
        let keys = self.known.iter().map(|(suite, octets)| {
            PublicKey::from_bytes(*suite, octets).map_err(|_: hpke::Error| Error::Key(*suite))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match shares_point(&keys) {
            true => Err(Error::SharedPoint),
            false => Ok(keys.into()),
        }
    }

    fn check_time(&self, now: u64) -> Result<(), Time> {
        if self.created > now.saturating_add(CLOCK_ALLOWANCE) {
            return Err(Time::Future);
        }
        // Also when `expires` is 0.
        if self.expires <= self.created {
            return Err(Time::Inverted);
        }
        if self.expires - self.created > MAX_LIFE {
            return Err(Time::TooLong);
        }
        match now < self.expires {
            true => Ok(()),
            false => Err(Time::Expired),
        }
    }
}

/// A key set that may be used: signed by its owner, in time, with acceptable keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    created: u64,
    expires: u64,
    keys: Arc<[PublicKey]>,
}

impl KeySet {
    /// When it was made. Unix seconds.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// When it ends. Unix seconds.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The key of a suite.
    pub fn key(&self, suite: Suite) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.suite() == suite)
    }

    /// The suites that it has and we know, ascending. There may be none: a set of newer suites alone.
    pub fn suites(&self) -> impl Iterator<Item = Suite> {
        self.keys.iter().map(PublicKey::suite)
    }
}

/// What a new key set says.
#[derive(Debug, Clone)]
pub struct Draft {
    /// From when on. Unix seconds.
    pub created: u64,
    /// Until when. Unix seconds.
    pub expires: u64,
    /// The keys, of one suite each; none for an opt-out.
    pub keys: Vec<PublicKey>,
}

impl Draft {
    /// The value of the field for a signet of that kind, signed by its owner.
    ///
    /// Errors: what a reader would find wrong with it, the present left aside.
    pub fn sign(&self, kind: Kind, owner: &SigningKey) -> Result<Vec<u8>, Error> {
        let mut keys = self.keys.clone();
        keys.sort_by_key(PublicKey::suite);
        let mut value = vec![VERSION];
        value.extend_from_slice(&self.created.to_be_bytes());
        value.extend_from_slice(&self.expires.to_be_bytes());
        // Reading it back, below, refuses more keys than there are suites.
        value.push(u8::try_from(keys.len()).unwrap_or(u8::MAX));
        for key in &keys {
            value.push(key.suite().id());
            value.extend_from_slice(&(key.as_bytes().len() as u16).to_be_bytes());
            value.extend_from_slice(key.as_bytes());
        }
        let signature = owner.sign(&signature_input(kind, &owner.verifying_key(), &value));
        value.extend_from_slice(&signature.0);
        SignedKeySet::decode(kind, &owner.verifying_key(), &value)?.accept(self.created)?;
        Ok(value)
    }
}

fn read_known(reader: &mut Reader<'_>, count: u8) -> Result<Vec<(Suite, Vec<u8>)>, Layout> {
    let mut known = Vec::new();
    let mut previous = 0;
    for _ in 0..count {
        let suite = reader.u8()?;
        if suite <= previous {
            return Err(Layout::Order(suite));
        }
        previous = suite;
        let length = usize::from(reader.u16()?);
        let octets = reader.take(length)?;
        match Suite::from_id(suite) {
            Some(suite) if suite.public_key_size() != length => return Err(Layout::Size(suite)),
            Some(suite) => known.push((suite, octets.to_vec())),
            None => {}
        }
    }
    Ok(known)
}

/// An X-Wing key must not contain the X25519 key of suite 1.
fn shares_point(keys: &[PublicKey]) -> bool {
    let pairs = keys.iter().zip(keys.iter().skip(1));
    // There are two suites, so neighbours are all pairs.
    pairs.into_iter().any(|(one, other)| one.point() == other.point())
}

fn signature_input(kind: Kind, signer: &VerifyingKey, signed: &[u8]) -> Vec<u8> {
    [LABEL, &kind.magic().to_be_bytes(), &signer.0, signed].concat()
}

impl From<bytes::Error> for Layout {
    fn from(error: bytes::Error) -> Self {
        match error {
            bytes::Error::Truncated => Self::Truncated,
            bytes::Error::Trailing(left) => Self::Trailing(left),
        }
    }
}
