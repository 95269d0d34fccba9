//! The object itself: a header and fields in ascending order (`signet.md` §2–5).

use std::fmt;

use super::Error;
use super::field::{Kind, Level, Shape, id};
use crate::base::bytes::{self, Reader};
use crate::crypto::ed25519::VerifyingKey;
use crate::crypto::suite::secp256k1_aes256::PublicKey;
use crate::dime::armor;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint, IdFingerprint, SsrFingerprint};
use crate::dime::key_set;

/// Largest payload: what three octets of length can say.
pub(super) const MAX_PAYLOAD: usize = 0xff_ffff;

/// Octets before the fields.
const HEADER: usize = 5;

/// First octet of a signing key field (§5.1).
pub(super) const SIGNING_KEY_FORMAT: u8 = 0x40;

/// Labels under which signets and requests are found in armor (D9); the magic number says which they are.
pub const LABELS: &[&str] = &["USER SIGNET", "ORGANIZATIONAL SIGNET", "SIGNET SIGNING REQUEST"];

/// A signet or signing request with rightly laid out fields, complete up to its highest signature. Nothing is verified.
///
/// | Offset | Size | Content |
/// |---|---|---|
/// | 0 | 2 | magic number |
/// | 2 | 3 | length of the rest |
/// | 5 | … | fields in ascending order of their ids |
///
/// Deviation: stricter than libdime, which takes octets after the last known field (D1, D2), keys in any form (D19, D20) and
/// incomplete objects.
#[derive(Clone, PartialEq, Eq)]
pub struct Signet {
    kind: Kind,
    payload: Vec<u8>,
    key_set: key_set::Found,
}

/// A field of a signet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its id; what that means depends on the [`Kind`].
    pub id: u8,
    /// Name of an undefined field (251).
    pub name: Option<&'a [u8]>,
    /// Its content.
    pub data: &'a [u8],
    /// Where it begins in the binary object, the header counted.
    pub offset: usize,
    /// The whole field as it is encoded.
    pub(super) octets: &'a [u8],
}

impl Field<'_> {
    /// Octets of the whole field, its id and lengths included.
    pub fn size(&self) -> usize {
        self.octets.len()
    }

    /// Where its content begins in the binary object.
    pub fn data_offset(&self) -> usize {
        self.offset + self.octets.len() - self.data.len()
    }
}

/// An error, and where the octets go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("octet {offset}: {error}")]
pub struct Misread {
    /// What is wrong.
    pub error: Error,
    /// Octets from the start of the binary object. A missing field is missing where it would stand.
    pub offset: usize,
}

impl Signet {
    /// Reads the binary form, which is the whole of `octets`.
    pub fn decode(octets: &[u8]) -> Result<Self, Error> {
        Self::locate(octets).map_err(|misread| misread.error)
    }

    /// The same as [`decode`](Self::decode), and where an error is.
    pub fn locate(octets: &[u8]) -> Result<Self, Misread> {
        let at = |offset| move |error| Misread { error, offset };
        let mut reader = Reader::new(octets);
        let magic = reader.u16().map_err(|_| at(0)(Error::Length))?;
        let kind = Kind::from_magic(magic).ok_or(at(0)(Error::Magic(magic)))?;
        let length = reader.u24().map_err(|_| at(2)(Error::Length))?;
        match usize::try_from(length) == Ok(reader.remaining()) {
            true => Self::locate_payload(kind, reader.rest().to_vec()),
            false => Err(at(2)(Error::Length)),
        }
    }

    pub(super) fn from_payload(kind: Kind, payload: Vec<u8>) -> Result<Self, Error> {
        Self::locate_payload(kind, payload).map_err(|misread| misread.error)
    }

    fn locate_payload(kind: Kind, payload: Vec<u8>) -> Result<Self, Misread> {
        if payload.len() > MAX_PAYLOAD {
            let (error, offset) = (Error::TooLarge, HEADER);
            return Err(Misread { error, offset });
        }
        check_fields(kind, &payload)?;
        let signet = Self {
            kind,
            payload,
            key_set: key_set::Found::default(),
        };
        signet.check_complete().map_err(|error| {
            let offset = signet.place_of(&error);
            Misread { error, offset }
        })?;
        Ok(signet)
    }

    /// Where in the binary object an error shows that came up while it was checked or verified; 0 if in no single place.
    pub fn place_of(&self, error: &Error) -> usize {
        let place = |id: u8| HEADER + self.below(id).len();
        error.field(self.kind).map_or(0, place)
    }

    /// The binary form; the inverse of [`decode`](Self::decode).
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(5 + self.payload.len());
        octets.extend_from_slice(&self.kind.magic().to_be_bytes());
        // At most MAX_PAYLOAD octets, so that nothing is lost here.
        bytes::put_u24(&mut octets, self.payload.len() as u32);
        octets.extend_from_slice(&self.payload);
        octets
    }

    /// For [`SignedKeySet::of`](key_set::SignedKeySet::of).
    pub(in crate::dime) fn key_set(&self) -> &key_set::Found {
        &self.key_set
    }

    /// Reads the armored form; the label is not looked at beyond finding the block.
    pub fn from_armor(text: &str) -> Result<Self, Error> {
        Self::decode(&armor::decode(text, LABELS)?)
    }

    /// The armored form. Requests carry the label of organizational signets, the only one that libdime finds them under (D9).
    pub fn to_armor(&self) -> String {
        let label = match self.kind {
            Kind::User => "USER SIGNET",
            Kind::Organization | Kind::Request => "ORGANIZATIONAL SIGNET",
        };
        armor::encode(label, &self.encode())
    }

    /// What kind of object this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The highest level whose signature is there, verified or not; `None` for a request.
    pub fn level(&self) -> Option<Level> {
        [Level::Id, Level::Full, Level::Crypto]
            .into_iter()
            .find(|level| self.kind.signature_of(*level).is_some_and(|id| self.has(id)))
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        fields(self.kind, &self.payload)
    }

    /// Content of the first field with that id.
    pub fn field(&self, id: u8) -> Option<&[u8]> {
        self.fields()
            .find(|field| field.id >= id)
            .filter(|field| field.id == id)
            .map(|field| field.data)
    }

    /// Content of the first undefined field (251) with that name; names are compared octet by octet.
    pub fn undefined_field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields()
            .find(|field| field.name == Some(name))
            .map(|field| field.data)
    }

    /// The same object up to the signature of `level`; `None` if that signature is not there.
    pub fn split(&self, level: Level) -> Option<Self> {
        let payload = self.closed_by(self.kind.signature_of(level)?)?.to_vec();
        Some(Self {
            kind: self.kind,
            payload,
            key_set: key_set::Found::default(),
        })
    }

    /// Fingerprint of the user's part; `None` for organizations.
    pub fn ssr_fingerprint(&self) -> Option<SsrFingerprint> {
        match self.kind {
            Kind::Organization => None,
            _ => self.closed_by(id::REQUEST_SIGNATURE).map(SsrFingerprint::of),
        }
    }

    /// Fingerprint up to the cryptographic signature; `None` for a request.
    pub fn crypto_fingerprint(&self) -> Option<CryptoFingerprint> {
        self.level_octets(Level::Crypto).map(CryptoFingerprint::of)
    }

    /// Fingerprint up to the full signature, if that is there.
    pub fn full_fingerprint(&self) -> Option<FullFingerprint> {
        self.level_octets(Level::Full).map(FullFingerprint::of)
    }

    /// Fingerprint up to the identifying signature, if that is there.
    pub fn id_fingerprint(&self) -> Option<IdFingerprint> {
        self.level_octets(Level::Id).map(IdFingerprint::of)
    }

    /// Octets of all fields below `id`: what the signature in that field covers (§6.1).
    pub(super) fn below(&self, id: u8) -> &[u8] {
        let covered = self.fields().take_while(|field| field.id < id);
        let length = covered.map(|field| field.octets.len()).sum();
        self.payload.get(..length).unwrap_or_default()
    }

    /// Octets up to and including the signature `id`, if it is there.
    fn closed_by(&self, id: u8) -> Option<&[u8]> {
        // A signature field is its id and 64 octets.
        let length = self.below(id).len() + 65;
        self.has(id).then(|| self.payload.get(..length)).flatten()
    }

    fn level_octets(&self, level: Level) -> Option<&[u8]> {
        self.closed_by(self.kind.signature_of(level)?)
    }

    pub(super) fn has(&self, id: u8) -> bool {
        self.field(id).is_some()
    }

    /// The signing key (§5.1). Nothing vouches for it yet.
    pub fn signing_key(&self) -> Result<VerifyingKey, Error> {
        let data = self.required(id::SIGNING_KEY)?;
        signing_key(data).ok_or(Error::Key(id::SIGNING_KEY))
    }

    /// The encryption key (§5.3).
    pub(super) fn encryption_key(&self) -> Result<PublicKey, Error> {
        let id = self.kind.encryption_key();
        PublicKey::from_compressed(self.required(id)?).map_err(|_| Error::Key(id))
    }

    pub(super) fn required(&self, id: u8) -> Result<&[u8], Error> {
        self.field(id).ok_or(Error::Missing(id))
    }

    /// Demands the kind that a caller expects.
    pub(super) fn expect(&self, expected: Kind) -> Result<(), Error> {
        let found = self.kind;
        match found == expected {
            true => Ok(()),
            false => Err(Error::Kind { expected, found }),
        }
    }

    /// Every required field up to the highest closing signature, or else up to the lowest (§8.1).
    fn check_complete(&self) -> Result<(), Error> {
        let signatures = self.kind.closing_signatures();
        let highest = signatures.iter().find(|id| self.has(**id)).or(signatures.last());
        self.kind
            .rules()
            .iter()
            .filter(|rule| rule.required && Some(&rule.id) <= highest)
            .try_for_each(|rule| self.required(rule.id).map(drop))
    }
}

/// Shows the kind and size; contents may name a person.
impl fmt::Debug for Signet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signet({}, {} octets)", self.kind, 5 + self.payload.len())
    }
}

/// The key in the data of a signing key field.
pub(super) fn signing_key(data: &[u8]) -> Option<VerifyingKey> {
    let key = data.strip_prefix(&[SIGNING_KEY_FORMAT])?;
    key.try_into().ok().map(VerifyingKey)
}

/// Fields of a payload that has been checked; ends early on one that has not.
fn fields(kind: Kind, payload: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        let offset = HEADER + payload.len() - reader.remaining();
        let field = read_field(kind, &mut reader).ok()?;
        Some(Field { offset, ..field })
    })
}

fn check_fields(kind: Kind, payload: &[u8]) -> Result<(), Misread> {
    let mut reader = Reader::new(payload);
    let mut previous = 0;
    while !reader.is_empty() {
        let offset = HEADER + payload.len() - reader.remaining();
        previous = check_field(kind, previous, &mut reader).map_err(|error| Misread { error, offset })?;
    }
    Ok(())
}

/// Checks the next field, and gives its id.
fn check_field(kind: Kind, previous: u8, reader: &mut Reader<'_>) -> Result<u8, Error> {
    let field = read_field(kind, reader)?;
    check_place(kind, previous, &field)?;
    check_key(kind, &field)?;
    match field.data.is_empty() && reader.is_empty() {
        true => Err(Error::EmptyLast(field.id)),
        false => Ok(field.id),
    }
}

fn read_field<'a>(kind: Kind, reader: &mut Reader<'a>) -> Result<Field<'a>, Error> {
    let whole = *reader;
    let id = reader.u8()?;
    let shape = kind.rule(id).ok_or(Error::Reserved(id))?.shape;
    let name = match shape {
        Shape::Named => Some(read_short(reader)?),
        _ => None,
    };
    let length = match shape {
        Shape::Signature => 64,
        Shape::Short => usize::from(reader.u8()?),
        Shape::Medium | Shape::Named => usize::from(reader.u16()?),
        Shape::Long => reader.u24()? as usize,
    };
    let data = reader.take(length)?;
    let octets = { whole }.take(whole.remaining() - reader.remaining())?;
    Ok(Field {
        id,
        name,
        data,
        offset: 0,
        octets,
    })
}

fn read_short<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let length = reader.u8()?;
    Ok(reader.take(usize::from(length))?)
}

fn check_place(kind: Kind, previous: u8, field: &Field<'_>) -> Result<(), Error> {
    match field.id.cmp(&previous) {
        std::cmp::Ordering::Less => Err(Error::Order(field.id)),
        std::cmp::Ordering::Equal if !kind.repeats(field.id) => Err(Error::Repeated(field.id)),
        _ => Ok(()),
    }
}

/// Keys have one form each (§5); alternate encryption keys have none that is known (§19).
fn check_key(kind: Kind, field: &Field<'_>) -> Result<(), Error> {
    let good = match field.id {
        id::SIGNING_KEY => signing_key(field.data).is_some(),
        id if id == kind.encryption_key() => PublicKey::from_compressed(field.data).is_ok(),
        id::SECONDARY_KEY => field.data.get(1..).and_then(signing_key).is_some(),
        _ => true,
    };
    good.then_some(()).ok_or(Error::Key(field.id))
}

impl From<bytes::Error> for Error {
    fn from(_: bytes::Error) -> Self {
        Self::Truncated
    }
}
