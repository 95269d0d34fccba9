//! Signets and signing requests of both dialects (`prime.md` §5, `signet.md` §17).

use std::fmt;

use super::field::{self, ForeignField};
use super::signature::{self, Check, Companions};
use super::{Dialect, Error, body};
use crate::crypto::ed25519::VerifyingKey;
use crate::crypto::suite::secp256k1_aes256::PublicKey;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint, IdFingerprint, SsrFingerprint};
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{
    self, Kind, MAX_SECONDARY_KEYS, OrgBuilder, Permissions, Profile, SecondaryKey, Signet, id,
};

/// A signet or signing request of another dialect. Its own signatures verify; those that need another signet are judged by
/// [`verify`](Self::verify).
#[derive(Clone, PartialEq, Eq)]
pub struct ForeignSignet {
    kind: Kind,
    dialect: Dialect,
    payload: Vec<u8>,
    signing: VerifyingKey,
    encryption: PublicKey,
}

pub(super) fn decode(kind: Kind, octets: &[u8]) -> Result<ForeignSignet, Error> {
    let payload = body(octets, 3)?;
    let dialect = dialect(kind, payload)?;
    field::check(kind, dialect, payload)?;
    required_fields(kind, payload)?;
    secondary_key_count(kind, payload)?;
    let signet = ForeignSignet {
        kind,
        dialect,
        signing: signing_key(dialect, payload)?,
        encryption: encryption_key(kind, payload)?,
        payload: payload.to_vec(),
    };
    signature::check_own(&signet)?;
    Ok(signet)
}

impl ForeignSignet {
    /// What kind of object it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The dialect it is written in.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The signing key: of an organization, its primary key.
    pub fn signing_key(&self) -> VerifyingKey {
        self.signing
    }

    /// The encryption key.
    pub fn encryption_key(&self) -> PublicKey {
        self.encryption
    }

    /// All fields in their order, those too that the dialect's own readers drop.
    pub fn fields(&self) -> impl Iterator<Item = ForeignField<'_>> {
        field::fields(&self.payload)
    }

    /// Whether a signature can cover the field; in PRIME most are dropped by every reader.
    pub fn is_kept(&self, id: u8) -> bool {
        field::is_kept(self.kind, self.dialect, id)
    }

    /// The judgement of every signature in it, in the order of fields.
    ///
    /// [`Error::Kind`] if a companion is of another kind than it has to be.
    pub fn verify(&self, companions: Companions<'_>) -> Result<Vec<Check>, Error> {
        signature::checks(self, companions)
    }

    /// Fingerprint up to the user's own signature; `None` for organizations.
    pub fn ssr_fingerprint(&self) -> Option<SsrFingerprint> {
        match self.kind {
            Kind::Organization => None,
            _ => self
                .closed_by(id::REQUEST_SIGNATURE)
                .map(|octets| SsrFingerprint::of(&octets)),
        }
    }

    /// Fingerprint up to the cryptographic signature; `None` for a request. PRIME knows no other.
    pub fn crypto_fingerprint(&self) -> Option<CryptoFingerprint> {
        let signature = match self.kind {
            Kind::Organization => id::ORG_CRYPTO_SIGNATURE,
            Kind::User => id::USER_CRYPTO_SIGNATURE,
            Kind::Request => return None,
        };
        self.closed_by(signature)
            .map(|octets| CryptoFingerprint::of(&octets))
    }

    /// Fingerprint up to the full signature, if that is there.
    pub fn full_fingerprint(&self) -> Option<FullFingerprint> {
        self.closed_by(id::FULL_SIGNATURE)
            .map(|octets| FullFingerprint::of(&octets))
    }

    /// Fingerprint up to the identifying signature, if that is there.
    pub fn id_fingerprint(&self) -> Option<IdFingerprint> {
        self.closed_by(id::ID_SIGNATURE)
            .map(|octets| IdFingerprint::of(&octets))
    }

    /// The profile below the full signature; empty without one. Empty fields are left out, because ours must not be empty.
    pub fn profile(&self) -> Result<Profile, Error> {
        let mut profile = Profile::new();
        if self.field(id::FULL_SIGNATURE).is_none() || !self.is_kept(id::FULL_SIGNATURE) {
            return Ok(profile);
        }
        let described = id::PROFILE_FIRST..=id::PHOTO;
        for field in self.fields().filter(|field| described.contains(&field.id)) {
            match field.name {
                _ if field.data.is_empty() => {}
                Some(name) => profile.add_undefined(name, field.data)?,
                None => profile.add(field.id, field.data)?,
            }
        }
        Ok(profile)
    }

    /// Starts an organizational signet of ours over the same keys, secondary keys and profile; `keys` sign it again.
    ///
    /// [`Error::Kind`] unless it is one of an organization, [`Error::OtherKeys`] if `keys` are of another.
    pub fn reissue<'a>(&self, keys: &'a OrgKeys) -> Result<OrgBuilder<'a>, Error> {
        self.expect(Kind::Organization)?;
        self.belongs_to(keys.signing.verifying_key(), keys.encryption.public_key())?;
        let encryption = self.encryption;
        let builder = OrgBuilder::new(&keys.signing, &encryption, &self.secondary_keys())?;
        Ok(builder.with_profile(self.profile()?))
    }

    /// A signing request of ours for the same keys. The chain of custody starts anew: the signature of the predecessor covers
    /// octets of the other dialect.
    ///
    /// [`Error::Kind`] for an organization's signet, [`Error::OtherKeys`] if `keys` are another user's.
    pub fn request(&self, keys: &UserKeys) -> Result<Signet, Error> {
        if self.kind != Kind::Request {
            self.expect(Kind::User)?;
        }
        self.belongs_to(keys.signing.verifying_key(), keys.encryption.public_key())?;
        Ok(signet::request(keys)?)
    }

    /// Secondary keys of an organization; PRIME has none that anybody verifies.
    pub fn secondary_keys(&self) -> Vec<SecondaryKey> {
        if self.kind != Kind::Organization || self.dialect != Dialect::Magma {
            return Vec::new();
        }
        let fields = self.fields().filter(|field| field.id == id::SECONDARY_KEY);
        fields.filter_map(|field| secondary_key(field.data)).collect()
    }

    /// Content of the first field with that id.
    pub fn field(&self, id: u8) -> Option<&[u8]> {
        self.fields().find(|field| field.id == id).map(|field| field.data)
    }

    /// What a signature in field `id` covers: all kept fields below it, as they are encoded.
    pub(super) fn below(&self, id: u8) -> Vec<u8> {
        let covered = self
            .fields()
            .filter(|field| field.id < id && self.is_kept(field.id));
        covered.flat_map(|field| field.octets.iter().copied()).collect()
    }

    pub(super) fn expect(&self, expected: Kind) -> Result<(), Error> {
        let found = self.kind;
        match found == expected {
            true => Ok(()),
            false => Err(Error::Kind { expected, found }),
        }
    }

    fn closed_by(&self, id: u8) -> Option<Vec<u8>> {
        let signature = self.fields().find(|field| field.id == id)?;
        self.is_kept(id)
            .then(|| [&self.below(id), signature.octets].concat())
    }

    fn belongs_to(&self, signing: VerifyingKey, encryption: PublicKey) -> Result<(), Error> {
        match (self.signing, self.encryption) == (signing, encryption) {
            true => Ok(()),
            false => Err(Error::OtherKeys),
        }
    }
}

/// Shows what it is and its size; contents may name a person.
impl fmt::Debug for ForeignSignet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ForeignSignet({}, {}, {} octets)",
            self.dialect,
            self.kind,
            field::HEADER + self.payload.len()
        )
    }
}

/// Which dialect the payload is in (`signet.md` §17.2).
fn dialect(kind: Kind, payload: &[u8]) -> Result<Dialect, Error> {
    match payload {
        [1, 0x20, ..] => Ok(Dialect::Prime),
        [1, 0x21, ..] if is_libdime(kind, payload) => Err(Error::Libdime),
        [1, 0x21, ..] => Ok(Dialect::Magma),
        [1, _, ..] => Err(Error::Key {
            field: 1,
            offset: field::HEADER,
        }),
        _ => Err(Error::Missing(id::SIGNING_KEY)),
    }
}

/// Whether the first octet of the encryption key's length is 0, as it is where the length has two.
fn is_libdime(kind: Kind, payload: &[u8]) -> bool {
    let wanted = field::encryption_key_id(kind);
    field::fields(payload)
        .find(|field| field.id == wanted)
        .is_some_and(|field| field.data.is_empty())
}

fn required_fields(kind: Kind, payload: &[u8]) -> Result<(), Error> {
    let has = |wanted: u8| field::fields(payload).any(|field| field.id == wanted);
    let always: &[u8] = match kind {
        Kind::Organization => &[1, 3, 4],
        Kind::User => &[1, 2, 5, 6],
        Kind::Request => &[1, 2, 5],
    };
    let identified: &[u8] = match has(id::ID_SIGNATURE) {
        true => &[id::FULL_SIGNATURE, id::IDENTIFIER],
        false => &[],
    };
    match always.iter().chain(identified).find(|wanted| !has(**wanted)) {
        Some(missing) => Err(Error::Missing(*missing)),
        None => Ok(()),
    }
}

/// Each of them is tried for each signature of a user signet.
fn secondary_key_count(kind: Kind, payload: &[u8]) -> Result<(), Error> {
    let is_secondary = |field: &ForeignField<'_>| field.id == id::SECONDARY_KEY;
    match field::fields(payload).filter(is_secondary).count() {
        count if kind == Kind::Organization && count > MAX_SECONDARY_KEYS => {
            Err(signet::Error::TooManyKeys(count).into())
        }
        _ => Ok(()),
    }
}

fn signing_key(dialect: Dialect, payload: &[u8]) -> Result<VerifyingKey, Error> {
    field::fields(payload)
        .find(|field| field.id == id::SIGNING_KEY)
        .and_then(|field| field::signing_key(dialect, field.data))
        .ok_or(Error::Missing(id::SIGNING_KEY))
}

fn encryption_key(kind: Kind, payload: &[u8]) -> Result<PublicKey, Error> {
    let wanted = field::encryption_key_id(kind);
    field::fields(payload)
        .find(|field| field.id == wanted)
        .and_then(|field| PublicKey::from_compressed(field.data).ok())
        .ok_or(Error::Missing(wanted))
}

fn secondary_key(data: &[u8]) -> Option<SecondaryKey> {
    let (permissions, key) = data.split_first()?;
    Some(SecondaryKey {
        permissions: Permissions(*permissions),
        key: field::signing_key(Dialect::Magma, key)?,
    })
}
