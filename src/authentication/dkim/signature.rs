//! The field `DKIM-Signature` as values (RFC 6376 §3.5).

use super::canonical::Canonical;
use crate::authentication::tags::{Tags, trimmed, without_space};
use crate::base::encoding::base64_decode;
use crate::mail::address::Domain;

/// Names of the field.
pub const FIELD: &str = "DKIM-Signature";

/// Fields that one signature may name. Peers choose them, and each is looked for.
const MAX_SIGNED: usize = 256;
/// Octets of a signature: RSA with 4096 bits.
const MAX_SIGNATURE: usize = 512;
/// Octets of a name in DNS.
const MAX_NAME: usize = 253;
/// Octets of a label.
const MAX_LABEL: usize = 63;

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 6376.
    RsaSha256,
    /// RFC 8463.
    Ed25519Sha256,
}

impl Algorithm {
    /// The name in `a=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    /// The name in `k=` of a key record.
    pub fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa",
            Self::Ed25519Sha256 => "ed25519",
        }
    }

    /// Reads the name in `a=`.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::RsaSha256, Self::Ed25519Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// A signature that cannot be checked, whatever the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It is no signature field.
    Syntax,
    /// A version, algorithm or form that is not known, or no longer good enough (RFC 8301).
    Unsupported,
    /// It does not sign From.
    FromUnsigned,
    /// Its identity is not in its domain.
    Identity,
    /// It is too old.
    Expired,
}

impl Flaw {
    /// In few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Syntax => "bad syntax",
            Self::Unsupported => "unsupported algorithm",
            Self::FromUnsigned => "From is not signed",
            Self::Identity => "identity outside the domain",
            Self::Expired => "expired",
        }
    }
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How it is made.
    pub algorithm: Algorithm,
    /// `d=`: who answers for the message.
    pub domain: Domain,
    /// `s=`.
    pub selector: String,
    /// First half of `c=`.
    pub header_form: Canonical,
    /// Second half of `c=`.
    pub body_form: Canonical,
    /// `bh=`.
    pub body_hash: [u8; 32],
    /// `h=`, in lower case.
    pub signed: Vec<String>,
    /// `l=`.
    pub body_length: Option<u64>,
    /// Whether `i=` is the domain itself: a key may demand it.
    pub identity_is_domain: bool,
    /// `b=`.
    pub octets: Vec<u8>,
}

impl Signature {
    /// Reads the value of the field; `now` in unix seconds.
    pub fn parse(value: &[u8], now: u64) -> Result<Self, Flaw> {
        let text = std::str::from_utf8(value).map_err(|_| Flaw::Syntax)?;
        let tags = Tags::parse(text).map_err(|_| Flaw::Syntax)?;
        if required(&tags, "v")? != "1" || tags.value("q").is_some_and(|query| !asks_dns(query)) {
            return Err(Flaw::Unsupported);
        }
        let mut signature = Self::of_message(&tags)?;
        signature.identity_is_domain = identity_is_domain(tags.value("i"), &signature.domain)?;
        check_times(number(tags.value("t"))?, number(tags.value("x"))?, now)?;
        Ok(signature)
    }

    /// Reads the tags of a signature over header and body.
    pub fn of_message(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let (header_form, body_form) = forms(tags.value("c")).ok_or(Flaw::Unsupported)?;
        let body_hash = octets(required(tags, "bh")?)?;
        Ok(Self {
            header_form,
            body_form,
            body_hash: body_hash.try_into().map_err(|_| Flaw::Syntax)?,
            signed: signed(required(tags, "h")?)?,
            body_length: number(tags.value("l"))?,
            ..Self::of_header(tags)?
        })
    }

    /// Reads the tags of a signature over fields that its kind names.
    pub fn of_header(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let signature = Self {
            algorithm: Algorithm::parse(required(tags, "a")?).ok_or(Flaw::Unsupported)?,
            domain: required(tags, "d")?.parse().map_err(|_| Flaw::Syntax)?,
            selector: selector(required(tags, "s")?)?,
            header_form: Canonical::Relaxed,
            body_form: Canonical::Relaxed,
            body_hash: [0; 32],
            signed: Vec::new(),
            body_length: None,
            identity_is_domain: true,
            octets: octets(required(tags, "b")?)?,
        };
        // A name that DNS cannot be asked for is no question that might be answered later.
        match signature.key_name().len() <= MAX_NAME {
            true => Ok(signature),
            false => Err(Flaw::Syntax),
        }
    }

    /// Where its key is.
    pub fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

fn required<'a>(tags: &Tags<'a>, name: &str) -> Result<&'a str, Flaw> {
    tags.value(name)
        .filter(|value| !value.is_empty())
        .ok_or(Flaw::Syntax)
}

fn asks_dns(query: &str) -> bool {
    query.split(':').any(|method| trimmed(method) == "dns/txt")
}

fn forms(value: Option<&str>) -> Option<(Canonical, Canonical)> {
    let value = value.unwrap_or("simple/simple");
    let (header, body) = value.split_once('/').unwrap_or((value, "simple"));
    Some((
        Canonical::parse(trimmed(header))?,
        Canonical::parse(trimmed(body))?,
    ))
}

fn octets(value: &str) -> Result<Vec<u8>, Flaw> {
    let octets = base64_decode(&without_space(value)).map_err(|_| Flaw::Syntax)?;
    match octets.len() {
        1..=MAX_SIGNATURE => Ok(octets),
        _ => Err(Flaw::Syntax),
    }
}

/// Labels of letters, digits, hyphens and underscores.
fn selector(value: &str) -> Result<String, Flaw> {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    match value.split('.').all(is_label) {
        true => Ok(value.to_ascii_lowercase()),
        false => Err(Flaw::Syntax),
    }
}

fn signed(value: &str) -> Result<Vec<String>, Flaw> {
    let names: Vec<String> = value
        .split(':')
        .take(MAX_SIGNED + 1)
        .map(|name| trimmed(name).to_ascii_lowercase())
        .collect();
    if names.len() > MAX_SIGNED || names.iter().any(String::is_empty) {
        return Err(Flaw::Syntax);
    }
    match names.iter().any(|name| name == "from") {
        true => Ok(names),
        false => Err(Flaw::FromUnsigned),
    }
}

/// At most 12 digits, which are enough for times and lengths.
fn number(value: Option<&str>) -> Result<Option<u64>, Flaw> {
    let number = |text: &str| {
        let is_number = (1..=12).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
        let value = is_number.then(|| text.parse().ok()).flatten();
        value.ok_or(Flaw::Syntax)
    };
    value.map(number).transpose()
}

fn identity_is_domain(identity: Option<&str>, domain: &Domain) -> Result<bool, Flaw> {
    let Some(identity) = identity else {
        return Ok(true);
    };
    let (_, host) = identity.rsplit_once('@').ok_or(Flaw::Syntax)?;
    let host: Domain = host.parse().map_err(|_| Flaw::Identity)?;
    match host == *domain {
        true => Ok(true),
        false if host.parents().any(|parent| parent == *domain) => Ok(false),
        false => Err(Flaw::Identity),
    }
}

fn check_times(made: Option<u64>, expires: Option<u64>, now: u64) -> Result<(), Flaw> {
    match (made, expires) {
        (Some(made), Some(expires)) if expires <= made => Err(Flaw::Syntax),
        (_, Some(expires)) if expires < now => Err(Flaw::Expired),
        _ => Ok(()),
    }
}

/// The field's text with nothing in its tag `b=`, which is what it signs of itself.
pub fn without_own_octets(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let colon = raw.iter().position(|octet| *octet == b':').map_or(0, |at| at + 1);
    out.extend_from_slice(&raw[..colon]);
    for part in raw[colon..].split_inclusive(|octet| *octet == b';') {
        let equals = part.iter().position(|octet| *octet == b'=');
        match equals.filter(|at| part[..*at].trim_ascii() == b"b") {
            None => out.extend_from_slice(part),
            Some(at) => {
                out.extend_from_slice(&part[..=at]);
                if part.ends_with(b";") {
                    out.push(b';');
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn value(change: &str) -> String {
        let hash = "A".repeat(43);
        let mut tags = vec![
            ("v".to_owned(), "1".to_owned()),
            ("a".to_owned(), "ed25519-sha256".to_owned()),
            ("d".to_owned(), "example.org".to_owned()),
            ("s".to_owned(), "a.b-1".to_owned()),
            ("h".to_owned(), "From : to:To".to_owned()),
            ("bh".to_owned(), hash),
            ("b".to_owned(), "QUJD".to_owned()),
        ];
        if let Some((name, value)) = change.split_once('=') {
            tags.retain(|(other, _)| other != name);
            if !value.is_empty() {
                tags.push((name.to_owned(), value.to_owned()));
            }
        }
        let tags: Vec<String> = tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        tags.join(";\r\n\t")
    }

    fn read(change: &str) -> Result<Signature, Flaw> {
        Signature::parse(value(change).as_bytes(), NOW)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let signature = read("").unwrap();
        assert_eq!(signature.key_name(), "a.b-1._domainkey.example.org");
        assert_eq!(signature.signed, ["from", "to", "to"]);
        assert_eq!(
            (signature.header_form, signature.body_form),
            (Canonical::Simple, Canonical::Simple)
        );
        assert!(signature.identity_is_domain && signature.body_length.is_none());
        let relaxed = read("c=relaxed").unwrap();
        assert_eq!(
            (relaxed.header_form, relaxed.body_form),
            (Canonical::Relaxed, Canonical::Simple)
        );
        assert!(!read("i=x@sub.example.org").unwrap().identity_is_domain);
        assert_eq!(read("l=10").unwrap().body_length, Some(10));
        assert!(read("t=999999999999").is_ok() && read("x=999999999999").is_ok());
        let longest = read(&format!("s={}a", "a.".repeat(114))).unwrap();
        assert_eq!(longest.key_name().len(), 252);
    }

    #[test]
    fn what_cannot_be_checked_is_refused_with_the_reason() {
        let long = format!("h=from{}", ":x".repeat(256));
        let large = format!("b={}", "AAAA".repeat(200));
        let label = format!("s={}", "a".repeat(64));
        let name = format!("s={}a", "a.".repeat(115));
        let cases: [(&str, Flaw); 25] = [
            (&label, Flaw::Syntax),
            (&name, Flaw::Syntax),
            ("h=\u{a0}from", Flaw::FromUnsigned),
            ("l=1234567890123", Flaw::Syntax),
            ("t=2000\u{a0}", Flaw::Syntax),
            ("v=2", Flaw::Unsupported),
            ("v=", Flaw::Syntax),
            ("a=rsa-sha1", Flaw::Unsupported),
            ("a=rsa-sha512", Flaw::Unsupported),
            ("c=nofws", Flaw::Unsupported),
            ("q=http", Flaw::Unsupported),
            ("d=", Flaw::Syntax),
            ("d=a..b", Flaw::Syntax),
            ("s=a b", Flaw::Syntax),
            ("s=a..b", Flaw::Syntax),
            ("s=a;b", Flaw::Syntax),
            ("h=to:subject", Flaw::FromUnsigned),
            ("h=from::to", Flaw::Syntax),
            (&long, Flaw::Syntax),
            ("bh=QUJD", Flaw::Syntax),
            (&large, Flaw::Syntax),
            ("i=x@other.org", Flaw::Identity),
            ("i=x@notexample.org", Flaw::Identity),
            ("l=-1", Flaw::Syntax),
            ("x=1000", Flaw::Expired),
        ];
        for (change, flaw) in cases {
            assert_eq!(read(change), Err(flaw), "{change}");
        }
    }

    #[test]
    fn a_field_signs_itself_without_its_octets() {
        for (raw, signed) in [
            (
                "DKIM-Signature: b=abc;h=From\r\n",
                "DKIM-Signature: b=;h=From\r\n",
            ),
            ("X: bh=B64b=; b = a\r\n c\r\n", "X: bh=B64b=; b ="),
            ("X: b=\r\n a; b=\r\n", "X: b=; b="),
            ("X: xb=1; h=b=c", "X: xb=1; h=b=c"),
        ] {
            assert_eq!(
                String::from_utf8(without_own_octets(raw.as_bytes())).unwrap(),
                signed
            );
        }
    }
}
