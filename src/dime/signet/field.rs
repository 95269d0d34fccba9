//! Which fields there are: the tables of `signet.md` §3.

use std::fmt;

/// Field ids that the code speaks of. The profile fields have names in the tables only.
pub mod id {
    /// Signing key, in every kind of object.
    pub const SIGNING_KEY: u8 = 1;
    /// Secondary organizational key.
    pub const SECONDARY_KEY: u8 = 2;
    /// Encryption key of an organization.
    pub const ORG_ENCRYPTION_KEY: u8 = 3;
    /// Encryption key of a user.
    pub const USER_ENCRYPTION_KEY: u8 = 2;
    /// Alternate encryption key of a user; never emitted (D8).
    pub const ALTERNATE_KEY: u8 = 3;
    /// Chain of custody: the previous signing key's signature.
    pub const CUSTODY: u8 = 4;
    /// The user's own signature.
    pub const REQUEST_SIGNATURE: u8 = 5;
    /// Cryptographic signature in an organizational signet.
    pub const ORG_CRYPTO_SIGNATURE: u8 = 4;
    /// Cryptographic signature in a user signet.
    pub const USER_CRYPTO_SIGNATURE: u8 = 6;
    /// First field of a profile.
    pub const PROFILE_FIRST: u8 = 16;
    /// Name of the person or organization.
    pub const NAME: u8 = 16;
    /// Field that carries its own name.
    pub const UNDEFINED: u8 = 251;
    /// Last field of a profile: a picture.
    pub const PHOTO: u8 = 252;
    /// Full signature.
    pub const FULL_SIGNATURE: u8 = 253;
    /// Domain or address.
    pub const IDENTIFIER: u8 = 254;
    /// Identifying signature.
    pub const ID_SIGNATURE: u8 = 255;
}

/// Kind of object, by its magic number (§2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Signet of an organization, 1776.
    Organization,
    /// Signet of a user, 1789.
    User,
    /// Signing request (SSR), 1215.
    Request,
}

impl Kind {
    /// The magic number.
    pub fn magic(self) -> u16 {
        match self {
            Self::Organization => 1776,
            Self::User => 1789,
            Self::Request => 1215,
        }
    }

    /// The kind with that magic number.
    pub fn from_magic(magic: u16) -> Option<Self> {
        [Self::Organization, Self::User, Self::Request]
            .into_iter()
            .find(|kind| kind.magic() == magic)
    }

    /// The specification's name of a field, such as `Contact-Abuse`; `None` for a reserved id.
    pub fn label(self, id: u8) -> Option<&'static str> {
        self.rule(id).map(|rule| rule.label)
    }

    /// Whether a field may be there more than once.
    pub fn repeats(self, id: u8) -> bool {
        self.rule(id).is_some_and(|rule| rule.repeats)
    }

    /// The fields that describe the owner, in their order; the undefined field, which carries its own name, is one.
    pub fn profile_fields(self) -> impl Iterator<Item = ProfileField> {
        let described = self
            .rules()
            .iter()
            .filter(|rule| (id::PROFILE_FIRST..=id::PHOTO).contains(&rule.id));
        described.map(|rule| ProfileField {
            id: rule.id,
            name: rule.label,
            most_octets: rule.shape.limit(),
            repeats: rule.repeats,
        })
    }

    pub(super) fn rule(self, id: u8) -> Option<&'static Rule> {
        let rules = self.rules();
        let place = rules.binary_search_by_key(&id, |rule| rule.id).ok()?;
        rules.get(place)
    }

    pub(super) fn rules(self) -> &'static [Rule] {
        match self {
            Self::Organization => ORGANIZATION,
            Self::User => USER,
            Self::Request => REQUEST,
        }
    }

    /// The signatures that close a form of this kind, highest first.
    pub(super) fn closing_signatures(self) -> &'static [u8] {
        match self {
            Self::Organization => &[id::ID_SIGNATURE, id::FULL_SIGNATURE, id::ORG_CRYPTO_SIGNATURE],
            Self::User => &[id::ID_SIGNATURE, id::FULL_SIGNATURE, id::USER_CRYPTO_SIGNATURE],
            Self::Request => &[id::REQUEST_SIGNATURE],
        }
    }

    /// The field of the signature that makes a level; requests have none.
    pub fn signature_of(self, level: Level) -> Option<u8> {
        match (self, level) {
            (Self::Request, _) => None,
            (Self::Organization, Level::Crypto) => Some(id::ORG_CRYPTO_SIGNATURE),
            (Self::User, Level::Crypto) => Some(id::USER_CRYPTO_SIGNATURE),
            (_, Level::Full) => Some(id::FULL_SIGNATURE),
            (_, Level::Id) => Some(id::ID_SIGNATURE),
        }
    }

    pub(super) fn encryption_key(self) -> u8 {
        match self {
            Self::Organization => id::ORG_ENCRYPTION_KEY,
            Self::User | Self::Request => id::USER_ENCRYPTION_KEY,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "organizational signet",
            Self::User => "user signet",
            Self::Request => "signing request",
        })
    }
}

/// A field that describes the owner of a signet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileField {
    /// Its id.
    pub id: u8,
    /// The specification's name.
    pub name: &'static str,
    /// Longest content.
    pub most_octets: usize,
    /// Whether it may be there more than once.
    pub repeats: bool,
}

/// How far a signet reaches (§7); each level is a prefix of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Keys, up to the cryptographic signature.
    Crypto,
    /// Keys and profile, up to the full signature: what libdime's resolver takes (D7).
    Full,
    /// Everything, with the identifier.
    Id,
}

/// Which signature of a signet (§6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// By the user over their own keys.
    Request,
    /// By the organization over the keys.
    Crypto,
    /// By the organization over keys and profile.
    Full,
    /// By the organization over everything.
    Id,
}

impl fmt::Display for SignatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "user's own",
            Self::Crypto => "cryptographic",
            Self::Full => "full",
            Self::Id => "identifying",
        })
    }
}

/// Octets of a field after its id (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// 64 octets without a length.
    Signature,
    /// A length of one octet, and data.
    Short,
    /// A length of two octets, and data.
    Medium,
    /// A length of three octets, and data.
    Long,
    /// A one-octet length and a name, a two-octet length and data.
    Named,
}

impl Shape {
    /// Largest data.
    pub(super) fn limit(self) -> usize {
        match self {
            Self::Signature => 64,
            Self::Short => 0xff,
            Self::Medium | Self::Named => 0xffff,
            Self::Long => 0xff_ffff,
        }
    }
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) id: u8,
    pub(super) label: &'static str,
    pub(super) shape: Shape,
    /// Must be there below any higher signature.
    pub(super) required: bool,
    /// May be there more than once.
    pub(super) repeats: bool,
}

const fn required(id: u8, label: &'static str, shape: Shape) -> Rule {
    Rule {
        required: true,
        ..optional(id, label, shape)
    }
}

const fn optional(id: u8, label: &'static str, shape: Shape) -> Rule {
    Rule {
        id,
        label,
        shape,
        required: false,
        repeats: false,
    }
}

const fn repeated(id: u8, label: &'static str, shape: Shape) -> Rule {
    Rule {
        repeats: true,
        ..optional(id, label, shape)
    }
}

use Shape::{Long, Medium, Named, Short, Signature};

/// §3.1, ascending.
const ORGANIZATION: &[Rule] = &[
    required(1, "Primary-Organizational-Key", Short),
    repeated(2, "Secondary-Organizational-Key", Short),
    required(3, "Encryption-Key", Medium),
    required(4, "Organizational-Signature", Signature),
    optional(16, "Name", Short),
    optional(17, "Address", Short),
    optional(18, "Province", Short),
    optional(19, "Country", Short),
    optional(20, "Postal-Code", Short),
    repeated(21, "Phone-Number", Short),
    optional(22, "Language", Short),
    optional(23, "Currency", Short),
    optional(24, "Cryptocurrency", Short),
    optional(25, "Motto", Short),
    optional(26, "Extensions", Short),
    optional(27, "Message-Size-Limit", Short),
    optional(160, "Website", Medium),
    optional(200, "Contact-Abuse", Medium),
    optional(201, "Contact-Admin", Medium),
    optional(202, "Contact-Support", Medium),
    optional(203, "Web-Access-Host", Medium),
    optional(204, "Web-Access-Location", Medium),
    optional(205, "Web-Access-Certificate", Medium),
    optional(206, "Mail-Access-Host", Medium),
    optional(207, "Mail-Access-Certificate", Medium),
    optional(208, "Onion-Access-Host", Medium),
    optional(209, "Onion-Access-Certificate", Medium),
    optional(210, "Onion-Delivery-Host", Medium),
    optional(211, "Onion-Delivery-Certificate", Medium),
    repeated(251, "Undefined-Field", Named),
    optional(252, "Photo", Long),
    required(253, "Organizational-Signature", Signature),
    required(254, "Signet-Identifier", Short),
    required(255, "Organizational-Signature", Signature),
];

/// §3.2, ascending.
const USER: &[Rule] = &[
    required(1, "Signing-Key", Short),
    required(2, "Encryption-Key", Medium),
    repeated(3, "Alternate-Encryption-Key", Medium),
    optional(4, "Custody", Signature),
    required(5, "User-Signature", Signature),
    required(6, "Organizational-Signature", Signature),
    optional(16, "Name", Short),
    optional(17, "Address", Short),
    optional(18, "Province", Short),
    optional(19, "Country", Short),
    optional(20, "Postal-Code", Short),
    repeated(21, "Phone-Number", Short),
    optional(22, "Language", Short),
    optional(23, "Currency", Short),
    optional(24, "Cryptocurrency", Short),
    optional(25, "Motto", Short),
    optional(26, "Extensions", Short),
    optional(27, "Message-Size-Limit", Short),
    optional(93, "Supported-Codecs", Short),
    optional(94, "Title", Short),
    optional(95, "Employer", Short),
    optional(96, "Gender", Short),
    optional(97, "Alma-Mater", Short),
    optional(98, "Supervisor", Short),
    optional(99, "Political-Party", Short),
    optional(160, "Website", Medium),
    optional(200, "Alternate-Address", Medium),
    optional(201, "Resume", Medium),
    repeated(202, "Endorsements", Medium),
    repeated(251, "Undefined-Field", Named),
    optional(252, "Photo", Long),
    required(253, "Organizational-Signature", Signature),
    required(254, "Signet-Identifier", Short),
    required(255, "Organizational-Signature", Signature),
];

/// §3.3, ascending. Field 3 is narrower than in a user signet (D8).
const REQUEST: &[Rule] = &[
    required(1, "User-Signing-Key", Short),
    required(2, "User-Encryption-Key", Medium),
    repeated(3, "Alternate-Encryption-Key", Short),
    optional(4, "Chain-Of-Custody-Signature", Signature),
    required(5, "User-Ssr-Signature", Signature),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_ascend_so_that_a_search_finds_every_row() {
        for kind in [Kind::Organization, Kind::User, Kind::Request] {
            assert!(kind.rules().is_sorted_by(|a, b| a.id < b.id), "{kind}");
            assert_eq!(Kind::from_magic(kind.magic()), Some(kind));
        }
        assert_eq!(Kind::Organization.label(200), Some("Contact-Abuse"));
        assert_eq!(Kind::User.label(200), Some("Alternate-Address"));
        assert_eq!(Kind::from_magic(1790), None);
    }

    #[test]
    fn reserved_ids_are_those_of_the_specification() {
        let reserved = |kind: Kind| {
            (0..=255)
                .filter(|id| kind.rule(*id).is_none())
                .collect::<Vec<u8>>()
        };
        let ranges =
            |ranges: &[std::ops::RangeInclusive<u8>]| ranges.iter().cloned().flatten().collect::<Vec<u8>>();
        assert_eq!(
            reserved(Kind::Organization),
            ranges(&[0..=0, 5..=15, 28..=159, 161..=199, 212..=250])
        );
        assert_eq!(
            reserved(Kind::User),
            ranges(&[0..=0, 7..=15, 28..=92, 100..=159, 161..=199, 203..=250])
        );
        assert_eq!(reserved(Kind::Request), ranges(&[0..=0, 6..=255]));
    }
}
