//! Domains, mailboxes and paths.

use std::fmt;
use std::str::FromStr;

/// Text that is not an address of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a domain name after IDNA processing.
    #[error("not a domain name")]
    Domain,
    /// Not a local-part.
    #[error("not a local-part")]
    LocalPart,
    /// No `@`, or nothing on one side of it.
    #[error("not a mailbox")]
    Mailbox,
}

/// A domain name as DNS carries it: A-labels, lower case, no trailing dot, at most 253 octets.
///
/// Source: RFC 5321 §4.1.2, RFC 5890. Input may be Unicode; address literals are not domains.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// Reads a domain in ASCII or Unicode form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| Error::Domain)?;
        let labels_fit = ascii.split('.').all(|label| (1..=63).contains(&label.len()));
        let all_numeric = ascii
            .rsplit('.')
            .next()
            .is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit()));
        if ascii.is_empty() || ascii.len() > 253 || !labels_fit || all_numeric {
            return Err(Error::Domain);
        }
        Ok(Self(ascii))
    }

    /// The A-label form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domains above, the closest first, down to the last label.
    pub fn parents(&self) -> impl Iterator<Item = Self> {
        let above = |domain: &Self| domain.0.split_once('.').map(|(_, above)| Self(above.to_owned()));
        std::iter::successors(above(self), above)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// A mailbox: `local-part@domain`.
///
/// The local-part keeps its spelling (RFC 5321 §2.4) without needless quotes; it is 1–64 octets, and may be
/// UTF-8 under SMTPUTF8. `Display` gives the wire form, quoted where needed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    local: String,
    domain: Domain,
}

impl Mailbox {
    /// Reads `local@domain`, with a dot-string or quoted-string local-part.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (local, domain) = text.rsplit_once('@').ok_or(Error::Mailbox)?;
        Ok(Self {
            local: parse_local(local)?,
            domain: Domain::parse(domain)?,
        })
    }

    /// The local-part without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the local-part needs SMTPUTF8 (RFC 6531).
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

/// The local-part's content, from its dot-string or quoted-string form (RFC 5321 §4.1.2).
fn parse_local(text: &str) -> Result<String, Error> {
    let content = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted.strip_suffix('"').ok_or(Error::LocalPart)?)?,
        None if is_dot_string(text) => text.to_owned(),
        None => return Err(Error::LocalPart),
    };
    match content.len() {
        1..=64 => Ok(content),
        _ => Err(Error::LocalPart),
    }
}

fn unquote(text: &str) -> Result<String, Error> {
    let mut content = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        let plain = match next {
            '\\' => chars.next().ok_or(Error::LocalPart)?,
            '"' => return Err(Error::LocalPart),
            other => other,
        };
        if plain.is_control() {
            return Err(Error::LocalPart);
        }
        content.push(plain);
    }
    Ok(content)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            write!(f, "{}@{}", self.local, self.domain)
        } else {
            let quoted = self.local.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "\"{quoted}\"@{}", self.domain)
        }
    }
}

/// Hides the local-part, so that a debug line never names a person.
impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…@{}", self.domain)
    }
}

impl FromStr for Mailbox {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// Where failures are reported: a mailbox, or nowhere (the null reverse-path `<>`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReversePath(pub Option<Mailbox>);

impl ReversePath {
    /// The null reverse-path of bounces, which are never bounced themselves (RFC 5321 §4.5.5).
    pub const NULL: Self = Self(None);

    /// Reads `<mailbox>` or `<>`, angle brackets included. A source route is dropped (RFC 5321 §4.1.2, appendix C).
    pub fn parse(text: &str) -> Result<Self, Error> {
        match inner_path(text)? {
            "" => Ok(Self::NULL),
            mailbox => Mailbox::parse(mailbox).map(|mailbox| Self(Some(mailbox))),
        }
    }

    /// Whether this is `<>`.
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }
}

/// Without angle brackets; empty for the null reverse-path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |mailbox| mailbox.fmt(f))
    }
}

/// Where a message is to go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// A mailbox.
    Mailbox(Mailbox),
    /// `<Postmaster>` without a domain, in any case: whoever looks after this host (RFC 5321 §4.1.1.3).
    Postmaster,
}

impl ForwardPath {
    /// Reads `<mailbox>` or `<Postmaster>`, angle brackets included. A source route is dropped.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let inner = inner_path(text)?;
        if inner.eq_ignore_ascii_case("postmaster") {
            return Ok(Self::Postmaster);
        }
        Mailbox::parse(inner).map(Self::Mailbox)
    }
}

/// As between the angle brackets of RCPT.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Postmaster => f.write_str("Postmaster"),
        }
    }
}

/// What stands between the angle brackets, without a source route `@a,@b:`.
fn inner_path(text: &str) -> Result<&str, Error> {
    let inner = text
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .ok_or(Error::Mailbox)?;
    if !inner.starts_with('@') {
        return Ok(inner);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(Error::Mailbox)?;
    let is_route = route.split(',').all(|hop| {
        hop.strip_prefix('@')
            .is_some_and(|domain| Domain::parse(domain).is_ok())
    });
    if is_route && !mailbox.is_empty() {
        Ok(mailbox)
    } else {
        Err(Error::Mailbox)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn domains_are_folded_to_a_labels() {
        assert_eq!(
            Domain::parse("Bücher.Example").map(|d| d.0),
            Ok("xn--bcher-kva.example".into())
        );
        for bad in [
            "",
            ".",
            "a..b",
            "a.example.",
            "-a.example",
            "[127.0.0.1]",
            "127.0.0.1",
            "a b.example",
        ] {
            assert_eq!(Domain::parse(bad), Err(Error::Domain), "{bad:?}");
        }
    }

    #[test]
    fn local_parts_lose_needless_quotes_and_keep_needed_ones() {
        let plain: Mailbox = "\"bob\"@hismail.test".parse().unwrap();
        assert_eq!(plain.to_string(), "bob@hismail.test");
        let spaced: Mailbox = r#""a \"b"@hismail.test"#.parse().unwrap();
        assert_eq!(spaced.local(), "a \"b");
        assert_eq!(spaced.to_string(), r#""a \"b"@hismail.test"#);
    }

    #[test]
    fn refuses_what_is_not_a_mailbox() {
        for bad in [
            "bob",
            "@a.test",
            ".b@a.test",
            "b..c@a.test",
            "b c@a.test",
            "\"b@a.test",
            "b\r@a.test",
        ] {
            assert!(Mailbox::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Mailbox::parse(&format!("{}@a.test", "x".repeat(65))).is_err());
    }

    #[test]
    fn debug_hides_the_local_part() {
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        assert_eq!(format!("{bob:?}"), "…@hismail.test");
    }

    #[test]
    fn paths_need_their_angle_brackets() {
        assert_eq!(ReversePath::parse("<>"), Ok(ReversePath::NULL));
        let bob = Mailbox::parse("bob@hismail.test").unwrap();
        assert_eq!(
            ReversePath::parse("<bob@hismail.test>"),
            Ok(ReversePath(Some(bob)))
        );
        for bad in [
            "",
            "<",
            ">",
            "bob@hismail.test",
            "<bob@hismail.test",
            "<<bob@hismail.test>>",
            "< >",
        ] {
            assert!(ReversePath::parse(bad).is_err(), "{bad:?}");
            assert!(ForwardPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn source_routes_are_dropped_but_must_be_routes() {
        let bob = Mailbox::parse("bob@hismail.test").unwrap();
        assert_eq!(
            ForwardPath::parse("<@a.test,@b.test:bob@hismail.test>"),
            Ok(ForwardPath::Mailbox(bob))
        );
        for bad in [
            "<@a.test:>",
            "<@a.test,b.test:bob@hismail.test>",
            "<@:bob@hismail.test>",
            "<@a.test>",
            "<@a.test:@b.test:bob@hismail.test>",
        ] {
            assert!(ForwardPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn postmaster_alone_needs_no_domain() {
        assert_eq!(ForwardPath::parse("<PostMaster>"), Ok(ForwardPath::Postmaster));
        assert!(ForwardPath::parse("<>").is_err());
        assert!(ForwardPath::parse("<bob>").is_err());
        assert!(ReversePath::parse("<postmaster>").is_err());
    }
}
