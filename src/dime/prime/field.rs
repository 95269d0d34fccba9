//! Fields of signets in both dialects: one octet of id, a length whose width depends on the id alone, data
//! (`prime.md` §3, `signet.md` §17.1).
//!
//! | Ids | Length octets |
//! |---|---|
//! | 1–3, 16–159, 254 | 1 |
//! | 4–15, 253, 255 | none: 64 octets of signature |
//! | 160–250 | 2 |
//! | 251 | 1 and a name, then 2 |
//! | 252 | 3 |

use super::{Dialect, Error};
use crate::base::bytes::{self, Reader};
use crate::crypto::ed25519::VerifyingKey;
use crate::crypto::suite::secp256k1_aes256::PublicKey;
use crate::dime::signet::{Kind, id};

/// Octets of the header of a signet.
pub(super) const HEADER: usize = 5;

/// First octet of a signing key in magma's copy of libdime; PRIME has none.
const SIGNING_KEY_FORMAT: u8 = 0x40;

/// A field of an imported signet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignField<'a> {
    /// Its id.
    pub id: u8,
    /// Name of an undefined field (251).
    pub name: Option<&'a [u8]>,
    /// Its content.
    pub data: &'a [u8],
    /// Where it starts, counted from the start of the object.
    pub offset: usize,
    /// The whole field as it is encoded.
    pub(super) octets: &'a [u8],
}

/// Fields of a payload that has been checked; ends early on one that has not.
pub(super) fn fields(payload: &[u8]) -> impl Iterator<Item = ForeignField<'_>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || read_field(&mut reader, payload.len()).ok())
}

/// Checks places and keys of all fields.
pub(super) fn check(kind: Kind, dialect: Dialect, payload: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(payload);
    let mut previous = 0;
    while !reader.is_empty() {
        let offset = HEADER + payload.len() - reader.remaining();
        let field = read_field(&mut reader, payload.len()).map_err(|_| Error::Truncated { offset })?;
        check_place(kind, dialect, previous, &field)?;
        check_key(kind, dialect, &field)?;
        previous = field.id;
    }
    Ok(())
}

/// Whether readers of the dialect keep and verify the field. PRIME knows keys and the signatures over them only.
pub(super) fn is_kept(kind: Kind, dialect: Dialect, id: u8) -> bool {
    match (dialect, kind) {
        (Dialect::Magma, _) => true,
        (Dialect::Prime, Kind::Organization) => matches!(id, 1 | 3 | 4),
        (Dialect::Prime, Kind::User) => matches!(id, 1 | 2 | 4 | 5 | 6),
        (Dialect::Prime, Kind::Request) => matches!(id, 1 | 2 | 4 | 5),
    }
}

/// The key in the data of a field 1.
pub(super) fn signing_key(dialect: Dialect, data: &[u8]) -> Option<VerifyingKey> {
    let key = match dialect {
        Dialect::Magma => data.strip_prefix(&[SIGNING_KEY_FORMAT])?,
        Dialect::Prime => data,
    };
    key.try_into().ok().map(VerifyingKey)
}

/// The field of the encryption key.
pub(super) fn encryption_key_id(kind: Kind) -> u8 {
    match kind {
        Kind::Organization => id::ORG_ENCRYPTION_KEY,
        Kind::User | Kind::Request => id::USER_ENCRYPTION_KEY,
    }
}

fn read_field<'a>(reader: &mut Reader<'a>, size: usize) -> Result<ForeignField<'a>, bytes::Error> {
    let whole = *reader;
    let id = reader.u8()?;
    let name = match id {
        id::UNDEFINED => {
            let length = reader.u8()?;
            Some(reader.take(usize::from(length))?)
        }
        _ => None,
    };
    let length = match id {
        // A field 0 has no shape: it ends the object for PRIME, and is refused where fields are checked.
        0 => 0,
        1..=3 | 16..=159 | id::IDENTIFIER => usize::from(reader.u8()?),
        4..=15 | id::FULL_SIGNATURE | id::ID_SIGNATURE => 64,
        160..=id::UNDEFINED => usize::from(reader.u16()?),
        id::PHOTO => reader.u24()? as usize,
    };
    let data = reader.take(length)?;
    let octets = { whole }.take(whole.remaining() - reader.remaining())?;
    Ok(ForeignField {
        id,
        name,
        data,
        offset: HEADER + size - whole.remaining(),
        octets,
    })
}

fn check_place(kind: Kind, dialect: Dialect, previous: u8, field: &ForeignField<'_>) -> Result<(), Error> {
    let (id, offset) = (field.id, field.offset);
    let defined = kind.label(id).is_some();
    // PRIME drops what it does not know, so repeats of that say nothing.
    let repeats = kind.repeats(id) || (dialect == Dialect::Prime && !is_kept(kind, dialect, id));
    match id.cmp(&previous) {
        _ if id == 0 => Err(Error::EndMarker { offset }),
        _ if dialect == Dialect::Magma && !defined => Err(Error::Reserved { field: id, offset }),
        std::cmp::Ordering::Less => Err(Error::Order { field: id, offset }),
        std::cmp::Ordering::Equal if !repeats => Err(Error::Repeated { field: id, offset }),
        _ => Ok(()),
    }
}

fn check_key(kind: Kind, dialect: Dialect, field: &ForeignField<'_>) -> Result<(), Error> {
    let (id, offset) = (field.id, field.offset);
    let good = match id {
        id::SIGNING_KEY => signing_key(dialect, field.data).is_some(),
        id if id == encryption_key_id(kind) => PublicKey::from_compressed(field.data).is_ok(),
        id::SECONDARY_KEY if dialect == Dialect::Magma => {
            let key = field.data.get(1..).and_then(|key| signing_key(dialect, key));
            key.is_some()
        }
        _ => true,
    };
    good.then_some(()).ok_or(Error::Key { field: id, offset })
}
