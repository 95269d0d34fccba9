//! Signets and signing requests in libdime's dialect (`signet.md`).
//!
//! [`Signet`] is an object that is laid out rightly and proves nothing. [`verify_org`], [`verify_user`] and
//! [`verify_request`] turn it into [`VerifiedOrg`], [`VerifiedUser`] and [`VerifiedRequest`], which exist in no other
//! way. New ones are made with [`OrgBuilder`], [`request`] and [`Signer`].
//!
//! | Step | By whom | Call |
//! |---|---|---|
//! | organizational signet | organization | [`OrgBuilder::new`], then a level |
//! | signing request | user | [`request`] or [`rotation_request`] |
//! | check of the request | organization | [`verify_request`] |
//! | user signet | organization | [`Signer::sign`], then a level |

use crate::dime::armor;

mod builder;
mod check;
mod custody;
mod field;
mod object;
mod org;
mod profile;
mod ssr;
#[cfg(test)]
mod tests;
mod user;
mod verify;

pub use builder::Builder;
pub use check::{Checked, check_org, check_request, check_user};
pub use custody::{Broken, Link, MAX_HISTORY, follow, self_signed_key, walk};
pub use field::{Kind, Level, ProfileField, SignatureKind, id};
pub use object::{Field, LABELS, Misread, Signet};
pub use org::{
    MAX_SECONDARY_KEYS, OrgBuilder, Permissions, SecondaryKey, UnknownPermission, VerifiedOrg, verify_org,
};
pub use profile::Profile;
pub use ssr::{VerifiedRequest, request, rotation_request, verify_request};
pub use user::{Custody, Signer, UserBuilder, VerifiedUser, verify_user};

/// What is wrong with a signet, or with the wish to make one.
///
/// A number in a variant is a field id, unless the variant says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The magic number is not one of a signet or signing request.
    #[error("magic number {0} is not one of a signet")]
    Magic(u16),
    /// The length in the header is not that of what follows.
    #[error("the header announces another length")]
    Length,
    /// A field runs past the end.
    #[error("a field runs past the end")]
    Truncated,
    /// The field has no meaning in this kind of object.
    #[error("field {0} is not defined for this kind of object")]
    Reserved(u8),
    /// The field stands after one with a higher id.
    #[error("field {0} is out of order")]
    Order(u8),
    /// The field may be there only once.
    #[error("field {0} is repeated")]
    Repeated(u8),
    /// The last field is empty, which libdime cannot read.
    #[error("field {0} is empty and the last one")]
    EmptyLast(u8),
    /// The field does not hold a key in its one form.
    #[error("field {0} is not a key")]
    Key(u8),
    /// The field is needed below the highest signature, or is the first signature.
    #[error("field {0} is missing")]
    Missing(u8),
    /// The object is of another kind.
    #[error("{found} instead of {expected}")]
    Kind {
        /// The kind asked for.
        expected: Kind,
        /// The kind of the object.
        found: Kind,
    },
    /// The primary organizational key is not one that DNS lists.
    #[error("the primary organizational key is not in the management record")]
    UnknownPrimaryKey,
    /// A signature was not made by a key that may make it.
    #[error("the {0} signature does not verify")]
    BadSignature(SignatureKind),
    /// There is a custody signature, but the predecessor did not make it.
    #[error("the chain of custody is broken")]
    CustodyBroken,
    /// A predecessor was given, but there is no custody signature.
    #[error("the predecessor did not sign")]
    CustodyMissing,
    /// The signed identifier is another one than asked for, or the organization is not that of the address.
    #[error("the signet belongs to another name")]
    WrongName,
    /// The organization has that many secondary keys, more than [`MAX_SECONDARY_KEYS`].
    #[error("{0} secondary keys are too many")]
    TooManyKeys(usize),
    /// A request with a custody signature cannot be signed without its predecessor.
    #[error("the predecessor of the request is not known")]
    PredecessorUnknown,
    /// The request has an alternate encryption key, which no user signet can carry (D8).
    #[error("a request with an alternate encryption key cannot be signed")]
    AlternateKey,
    /// The key is neither the primary key nor a secondary key that may sign signets.
    #[error("the key may not sign signets of this organization")]
    NotASigner,
    /// The content is empty or too long for the field, or the field is not one of a profile.
    #[error("field {0} cannot be set so")]
    Content(u8),
    /// The object would be larger than 16 777 220 octets.
    #[error("the signet is too large")]
    TooLarge,
    /// The armor around it.
    #[error(transparent)]
    Armor(#[from] armor::Error),
}

impl Error {
    /// The field of an object of that kind that an error is about, if it is about one.
    pub fn field(&self, kind: Kind) -> Option<u8> {
        match self {
            Self::Reserved(id)
            | Self::Order(id)
            | Self::Repeated(id)
            | Self::EmptyLast(id)
            | Self::Key(id)
            | Self::Missing(id)
            | Self::Content(id) => Some(*id),
            Self::BadSignature(SignatureKind::Request) => Some(id::REQUEST_SIGNATURE),
            Self::BadSignature(SignatureKind::Crypto) => kind.signature_of(Level::Crypto),
            Self::BadSignature(SignatureKind::Full) => Some(id::FULL_SIGNATURE),
            Self::BadSignature(SignatureKind::Id) => Some(id::ID_SIGNATURE),
            Self::CustodyBroken | Self::CustodyMissing | Self::PredecessorUnknown => Some(id::CUSTODY),
            Self::WrongName => Some(id::IDENTIFIER),
            Self::UnknownPrimaryKey | Self::NotASigner => Some(id::SIGNING_KEY),
            Self::TooManyKeys(_) => Some(id::SECONDARY_KEY),
            Self::AlternateKey => Some(id::ALTERNATE_KEY),
            Self::Magic(_)
            | Self::Length
            | Self::Truncated
            | Self::Kind { .. }
            | Self::TooLarge
            | Self::Armor(_) => None,
        }
    }
}
