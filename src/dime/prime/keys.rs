//! Key files in the clear: 73 octets in both dialects (`prime.md` §4).
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 5 | magic 1952 or 2013, length 68 |
//! | 5 | 34 | 01 20, Ed25519 seed |
//! | 39 | 34 | 03 (organization) or 02 (user), 20, secp256k1 scalar |

use zeroize::Zeroizing;

use super::{Error, Keys, body};
use crate::base::bytes::Reader;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256::SecretKey;
use crate::dime::keys::{OrgKeys, UserKeys};

/// Octets of the header of a key file.
const HEADER: usize = 5;

/// Whose keys they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Organization,
    User,
}

pub(super) fn decode(owner: Owner, octets: &[u8]) -> Result<Keys, Error> {
    from_fields(owner, body(octets, 3)?)
}

/// Reads the two fields, which an encrypted key file holds without their header.
pub(super) fn from_fields(owner: Owner, fields: &[u8]) -> Result<Keys, Error> {
    let mut reader = Reader::new(fields);
    let seed = key_field(&mut reader, 1, HEADER)?;
    let second = match owner {
        Owner::Organization => 3,
        Owner::User => 2,
    };
    let offset = HEADER + 34;
    let scalar = key_field(&mut reader, second, offset)?;
    if let Some(field) = reader.rest().first() {
        let (field, offset) = (*field, offset + 34);
        return Err(Error::Reserved { field, offset });
    }
    let signing = SigningKey::from_seed(&seed);
    let encryption = SecretKey::from_bytes(&scalar).map_err(|_| Error::Key {
        field: second,
        offset,
    })?;
    Ok(match owner {
        Owner::Organization => Keys::Organization(OrgKeys { signing, encryption }),
        Owner::User => Keys::User(UserKeys { signing, encryption }),
    })
}

/// A field that has to be `id`, of 32 octets.
fn key_field(reader: &mut Reader<'_>, id: u8, offset: usize) -> Result<Zeroizing<[u8; 32]>, Error> {
    let truncated = |_| Error::Truncated { offset };
    match reader.array().map_err(truncated)? {
        [found, 32] if found == id => reader.array().map(Zeroizing::new).map_err(truncated),
        // Two octets of length: libdime's own width (`signet.md` §17.1).
        [found, 0] if found == id && id != 1 => Err(Error::Libdime),
        [found, _] if found == id => Err(Error::Key { field: id, offset }),
        _ => Err(Error::Missing(id)),
    }
}
