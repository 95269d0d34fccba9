//! Import of magma's two dialects of keys and signets: the copy of libdime in it, and PRIME (`prime.md` §2–§6,
//! `signet.md` §17). Nothing is ever written in either.
//!
//! [`read`] takes a file or a database value and gives [`Imported`]. What that may become here:
//!
//! | Object | Verified on reading | Becomes |
//! |---|---|---|
//! | key file | its layout and keys | [`OrgKeys`] or [`UserKeys`], which write a key file of our dialect |
//! | encrypted key file | nothing | [`Keys`], with the realm key ([`EncryptedKeys::open`]) |
//! | organizational signet | every signature | a new signet over the same keys and profile, signed again with the primary key ([`ForeignSignet::reissue`]) |
//! | user signet | the user's own signature | a signing request for the same keys, signed with them ([`ForeignSignet::request`]) |
//! | signing request | the user's own signature | the same |
//!
//! Signatures cover encoded octets, which differ between the dialects, so none survives; and a PRIME signet says nowhere
//! whose it is (`prime.md` W3). Therefore no imported signet ever counts as a
//! [`VerifiedOrg`](crate::dime::signet::VerifiedOrg) or [`VerifiedUser`](crate::dime::signet::VerifiedUser): whoever holds
//! the private keys makes a signet of ours. Messages (1908, 1847) are not imported: whoever can open one chunk of them
//! opens all (W1).
//!
//! # Telling dialects apart
//!
//! | Look at | libdime | magma's copy | PRIME |
//! |---|---|---|---|
//! | length of field 1 in a signet | 33 | 33 | 32 |
//! | octet after the id of the encryption key | 00 | 33 (key files: 32) | 33 (key files: 32) |
//!
//! Key files of magma's copy and of PRIME are the same octets.
//!
//! Deviation: PRIME's own reader takes fields in any order, uses the first of a repeated one, and ignores what follows a
//! field 0 (W11). We refuse all three.

use std::fmt;

use zeroize::Zeroizing;

use crate::base::encoding::base64url_decode;
use crate::base::secret::Secret;
use crate::dime::armor;
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{self, Kind};

mod encrypted;
mod field;
mod keys;
mod signature;
mod signets;
#[cfg(test)]
mod tests;

pub use encrypted::{EncryptedKeys, REALM_KEY_SIZE, RealmKey};
pub use field::ForeignField;
pub use signature::{Check, Companions, Outcome};
pub use signets::ForeignSignet;

/// Octets of the largest object: a short header and what three octets of length can say.
pub const MAX_SIZE: usize = 5 + 0xff_ffff;

/// Labels under which objects are found in armor; the magic number says what they are (`prime.md` §6).
const LABELS: &[&str] = &[
    "USER KEY",
    "USER SIGNET",
    "SIGNET SIGNING REQUEST",
    "ORGANIZATIONAL KEY",
    "ORGANIZATIONAL SIGNET",
    "ENCRYPTED USER KEY",
    "ENCRYPTED ORGANIZATIONAL KEY",
];

/// Which way of writing the same numbers an object follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The copy of libdime in magma: one octet of length for encryption keys.
    Magma,
    /// PRIME: also no format octet before signing keys, and few fields.
    Prime,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magma => "magma's libdime",
            Self::Prime => "PRIME",
        })
    }
}

/// An object of another dialect.
#[derive(Debug, Clone)]
pub enum Imported {
    /// Private keys in the clear; both dialects have this form.
    Keys(Keys),
    /// Private keys under a realm key: PRIME only.
    Encrypted(EncryptedKeys),
    /// A signet or signing request, whose own signatures were verified.
    Signet(ForeignSignet),
}

/// Private keys, ready to be written in our dialect.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Of an organization.
    Organization(OrgKeys),
    /// Of a user.
    User(UserKeys),
}

impl Keys {
    /// The armored key file in our dialect.
    pub fn to_armor(&self) -> Secret<String> {
        match self {
            Self::Organization(keys) => keys.to_armor(),
            Self::User(keys) => keys.to_armor(),
        }
    }
}

/// What is wrong with an object to be imported. Offsets count octets of the binary object, its header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The armor around it.
    #[error(transparent)]
    Armor(#[from] armor::Error),
    /// Neither armor, nor a binary object, nor its URL-safe base64.
    #[error("neither armor, nor URL-safe base64, nor a binary object")]
    Text,
    /// The object is in our own dialect and needs no import.
    #[error("the object is in libdime's dialect, which needs no import")]
    Libdime,
    /// A kind of object that is not imported: a message, ticket or binary object.
    #[error("objects with magic number {0} are not imported, only keys, signets and signing requests")]
    NotImported(u16),
    /// A number that no object has.
    #[error("magic number {0} is none that is known")]
    Magic(u16),
    /// The header announces another length than there is.
    #[error("the header announces {announced} octets and {found} follow it")]
    Length {
        /// Octets after the header, as it says.
        announced: usize,
        /// Octets after the header.
        found: usize,
    },
    /// The header, or the field that starts at the offset, ends early.
    #[error("what starts at offset {offset} runs past the end")]
    Truncated {
        /// Where it starts.
        offset: usize,
    },
    /// A field 0, which PRIME takes for the end of the object.
    #[error("a field 0 at offset {offset} hides what follows")]
    EndMarker {
        /// Where it starts.
        offset: usize,
    },
    /// The field has no meaning in this kind of object.
    #[error("field {field} at offset {offset} is not defined for this kind of object")]
    Reserved {
        /// Its id.
        field: u8,
        /// Where it starts.
        offset: usize,
    },
    /// The field stands after one with a higher id.
    #[error("field {field} at offset {offset} is out of order")]
    Order {
        /// Its id.
        field: u8,
        /// Where it starts.
        offset: usize,
    },
    /// The field may be there only once.
    #[error("field {field} at offset {offset} is repeated")]
    Repeated {
        /// Its id.
        field: u8,
        /// Where it starts.
        offset: usize,
    },
    /// The field does not hold a key in the one form of the dialect.
    #[error("field {field} at offset {offset} is not a key")]
    Key {
        /// Its id.
        field: u8,
        /// Where it starts.
        offset: usize,
    },
    /// The field is needed.
    #[error("field {0} is missing")]
    Missing(u8),
    /// The signature in the field was not made by the key that has to make it.
    #[error("the signature in field {0} does not verify")]
    BadSignature(u8),
    /// A companion, or the object itself, is of a kind that does not do here.
    #[error("{found} instead of {expected}")]
    Kind {
        /// The kind needed.
        expected: Kind,
        /// The kind it is.
        found: Kind,
    },
    /// The encrypted object is damaged, or the realm key is another one.
    #[error("the encrypted key does not open with this realm key")]
    RealmKey,
    /// The private keys are not those of the signet.
    #[error("the private keys do not belong to the signet")]
    OtherKeys,
    /// The new signet cannot be made.
    #[error(transparent)]
    Signet(#[from] signet::Error),
}

/// Reads an object in armor, in binary, or in URL-safe base64 without padding as magma's database has it.
///
/// What is verified, the table above says. Errors: every variant but [`Error::RealmKey`], [`Error::OtherKeys`] and
/// [`Error::Kind`]; [`Error::Signet`] for too many secondary keys only.
pub fn read(input: &[u8]) -> Result<Imported, Error> {
    // Magic numbers start with 04, 06 or 07, which no text does.
    match input.first() {
        Some(first) if *first < 8 => decode(input),
        _ => decode(&from_text(input)?),
    }
}

fn from_text(input: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let text = std::str::from_utf8(input).map_err(|_| Error::Text)?;
    let octets = match text.contains("-----BEGIN ") {
        true => armor::decode(text, LABELS)?,
        false => base64url_decode(text.trim_ascii()).map_err(|_| Error::Text)?,
    };
    Ok(Zeroizing::new(octets))
}

/// Reads the binary form by its magic number (`prime.md` §2).
fn decode(octets: &[u8]) -> Result<Imported, Error> {
    let magic = octets.first_chunk().ok_or(Error::Truncated { offset: 0 })?;
    match u16::from_be_bytes(*magic) {
        1215 => signets::decode(Kind::Request, octets).map(Imported::Signet),
        1776 => signets::decode(Kind::Organization, octets).map(Imported::Signet),
        1789 => signets::decode(Kind::User, octets).map(Imported::Signet),
        1952 => keys::decode(keys::Owner::Organization, octets).map(Imported::Keys),
        2013 => keys::decode(keys::Owner::User, octets).map(Imported::Keys),
        1947 => encrypted::decode(keys::Owner::Organization, octets).map(Imported::Encrypted),
        1976 => encrypted::decode(keys::Owner::User, octets).map(Imported::Encrypted),
        magic @ (1837 | 1841 | 1847 | 1851 | 1861 | 1908 | 1931 | 1948 | 2001) => {
            Err(Error::NotImported(magic))
        }
        magic => Err(Error::Magic(magic)),
    }
}

/// What follows a header whose length takes `width` octets; the length must be that of what follows.
fn body(octets: &[u8], width: usize) -> Result<&[u8], Error> {
    let header = octets.get(2..2 + width).ok_or(Error::Truncated { offset: 0 })?;
    let announced = header
        .iter()
        .fold(0, |length, octet| length << 8 | usize::from(*octet));
    let body = octets.get(2 + width..).unwrap_or_default();
    match announced == body.len() {
        true => Ok(body),
        false => Err(Error::Length {
            announced,
            found: body.len(),
        }),
    }
}
