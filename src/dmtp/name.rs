//! What a signet is asked for by: an organization's domain or a user's address.

use std::fmt;
use std::str::FromStr;

use crate::mail::address::{Domain, Mailbox};

/// Text that names neither an organization nor a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a domain nor an address")]
pub struct Error;

/// The name of a signet, folded to lower case so that equal names are equal values.
///
/// Shape: `domain`, or `local-part "@" domain` with a dot-string local-part in ASCII (`dmtp.md` §6.1); quoted
/// and internationalized local-parts have no DMTP form. `Display` gives the wire form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// An organizational signet.
    Organization(Domain),
    /// A user signet.
    User(Mailbox),
}

impl Name {
    /// Reads a domain, or with an `@` an address.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if !text.bytes().all(is_name_octet) {
            return Err(Error);
        }
        let folded = text.to_ascii_lowercase();
        if folded.contains('@') {
            Mailbox::parse(&folded).map(Self::User).map_err(|_| Error)
        } else {
            Domain::parse(&folded).map(Self::Organization).map_err(|_| Error)
        }
    }

    /// The organization that the name belongs to.
    pub fn domain(&self) -> &Domain {
        match self {
            Self::Organization(domain) => domain,
            Self::User(address) => address.domain(),
        }
    }

    /// The address, if this names a user.
    pub fn address(&self) -> Option<&Mailbox> {
        match self {
            Self::Organization(_) => None,
            Self::User(address) => Some(address),
        }
    }
}

/// Characters of a dot-string, `@` and `.`; quotes, brackets, white space and control characters are not among them.
fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@".contains(&octet)
}

impl From<Domain> for Name {
    fn from(domain: Domain) -> Self {
        Self::Organization(domain)
    }
}

/// Fails for local-parts that DMTP cannot carry.
impl TryFrom<&Mailbox> for Name {
    type Error = Error;
    fn try_from(address: &Mailbox) -> Result<Self, Error> {
        Self::parse(&address.to_string())
    }
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(domain) => domain.fmt(f),
            Self::User(address) => address.fmt(f),
        }
    }
}

/// Hides the local-part, as [`Mailbox`] does.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(domain) => fmt::Display::fmt(domain, f),
            Self::User(address) => fmt::Debug::fmt(address, f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folds_case_and_tells_users_from_organizations() {
        let user = Name::parse("Ada.L@Alpha.Example").unwrap();
        assert_eq!(user.to_string(), "ada.l@alpha.example");
        assert!(user.address().is_some());
        let organization = Name::parse("Alpha.EXAMPLE").unwrap();
        assert_eq!(organization.to_string(), "alpha.example");
        assert_eq!(organization.domain(), user.domain());
        assert!(organization.address().is_none());
    }

    #[test]
    fn refuses_what_has_no_dmtp_form() {
        for bad in [
            "",
            "@",
            "ada@",
            "@alpha.example",
            ".ada@alpha.example",
            "a..b@alpha.example",
            "\"ada\"@alpha.example",
            "a da@alpha.example",
            "ada>@alpha.example",
            "ada]@alpha.example",
            "ädä@alpha.example",
            "ada@b@alpha.example",
            "ada@alpha.example\r",
            "bücher.example",
        ] {
            assert_eq!(Name::parse(bad), Err(Error), "{bad:?}");
        }
        let quoted: Mailbox = r#""a b"@alpha.example"#.parse().unwrap();
        assert_eq!(Name::try_from(&quoted), Err(Error));
    }

    #[test]
    fn debug_hides_the_local_part() {
        assert_eq!(
            format!("{:?}", Name::parse("ada@alpha.example").unwrap()),
            "…@alpha.example"
        );
    }
}
