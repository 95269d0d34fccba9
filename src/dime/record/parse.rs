//! Reading a record (`management-record.md` §3.2 and the "Our parser" column of §3.3).

use super::{
    Error, MAX_EXPIRY_DAYS, MAX_KEPT_OCTETS, MAX_RECORD_OCTETS, ManagementRecord, Policy, Published,
    SubdomainPolicy,
};
use crate::base::encoding::base64_decode;
use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::mail::address::Domain;

/// Characters of an unpadded base64 key and signature.
const KEY_CHARACTERS: usize = 43;
const SIGNATURE_CHARACTERS: usize = 86;

/// The fields we know; everything else is ignored.
enum Field {
    Version,
    PrimaryKey,
    TlsSignature,
    Policy,
    Syndicates,
    DeliveryHost,
    Expiry,
    SubdomainPolicy,
}

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"ver" | b"version" => Self::Version,
            b"pok" | b"primary" => Self::PrimaryKey,
            b"tls" => Self::TlsSignature,
            b"pol" | b"policy" => Self::Policy,
            b"syn" | b"syndicates" => Self::Syndicates,
            b"dx" | b"deliver" => Self::DeliveryHost,
            b"exp" | b"expiry" => Self::Expiry,
            b"sub" | b"subdomain" => Self::SubdomainPolicy,
            _ => return None,
        })
    }
}

impl Published {
    /// Reads all texts at the name.
    ///
    /// A wildcard or an alias brings texts of other kinds to every name of a zone, such as those of SPF. Where none of them
    /// has a field of a record, they deny that there is one, as far as they are proven.
    pub fn read(texts: &[Vec<u8>]) -> Self {
        match texts {
            texts if !texts.iter().any(|text| is_meant(text)) => Self::Nothing,
            [text] => {
                ManagementRecord::parse(text).map_or_else(|error| Self::Unusable(Some(error)), Self::Record)
            }
            _ => Self::Unusable(None),
        }
    }
}

/// Whether a text has a field by which it can only be a record, sound or not. `exp` is a field of SPF, too (RFC 7208 §6.2).
fn is_meant(text: &[u8]) -> bool {
    let mut named = fields(text).filter_map(|field| {
        let at = field.iter().position(|octet| *octet == b'=')?;
        Field::named(&field[..at])
    });
    named.any(|field| !matches!(field, Field::Expiry))
}

fn fields(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| matches!(octet, b' ' | b'\t' | b';'))
}

impl ManagementRecord {
    /// Reads a record: the joined character-strings of one TXT record, or a line of a file.
    ///
    /// Fields are separated by SP, TAB or `;`, stand in any order, and are named in any case. Unknown fields,
    /// fields without `=`, and fields without a value are ignored; anything else that is wrong refuses the record.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::parse_within(text.as_ref(), MAX_RECORD_OCTETS)
    }

    /// Reads what [`render_kept`](Self::render_kept) wrote.
    pub fn parse_kept(text: &str) -> Result<Self, Error> {
        Self::parse_within(text.as_bytes(), MAX_KEPT_OCTETS)
    }

    fn parse_within(text: &[u8], max_octets: usize) -> Result<Self, Error> {
        let text = strip_line_end(text);
        if text.len() > max_octets {
            return Err(Error::TooLong);
        }
        if text.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
            return Err(Error::ControlCharacter);
        }
        let mut record = Self::empty();
        for field in fields(text) {
            record.take_field(field)?;
        }
        match record.primary_keys.is_empty() {
            true => Err(Error::NoPrimaryKey),
            false => Ok(record),
        }
    }

    /// What a record says that says nothing.
    fn empty() -> Self {
        Self {
            primary_keys: Vec::new(),
            tls_signatures: Vec::new(),
            policy: Policy::default(),
            delivery_hosts: Vec::new(),
            subdomain_policy: SubdomainPolicy::default(),
            expiry_days: None,
            syndicates: None,
        }
    }

    /// Takes over one `name=value`. The value is everything after the first `=`, so a missing separator shows
    /// as a value of the wrong form (§3.3).
    fn take_field(&mut self, field: &[u8]) -> Result<(), Error> {
        let mut halves = field.splitn(2, |octet| *octet == b'=');
        let name = halves.next().and_then(Field::named);
        let value = halves.next().filter(|value| !value.is_empty());
        let (Some(name), Some(value)) = (name, value) else {
            return Ok(());
        };
        match name {
            Field::Version if value == b"1" => {}
            Field::Version => return Err(Error::Version),
            Field::PrimaryKey => push_new(&mut self.primary_keys, primary_key(value)?),
            Field::TlsSignature => self.tls_signatures.push(tls_signature(value)?),
            Field::Policy => self.policy = text(value).and_then(Policy::parse).ok_or(Error::Policy)?,
            Field::Syndicates => self.syndicates = Some(text(value).ok_or(Error::Syndicates)?.to_owned()),
            Field::DeliveryHost => push_new(&mut self.delivery_hosts, delivery_host(value)?),
            Field::Expiry => self.expiry_days = Some(expiry_days(value)?),
            Field::SubdomainPolicy => {
                let word = text(value).and_then(SubdomainPolicy::parse);
                self.subdomain_policy = word.ok_or(Error::SubdomainPolicy)?;
            }
        }
        Ok(())
    }
}

/// Drops the line end that a text file leaves behind.
fn strip_line_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| !matches!(octet, b'\r' | b'\n'));
    &text[..end.map_or(0, |last| last + 1)]
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

fn primary_key(value: &[u8]) -> Result<VerifyingKey, Error> {
    octets(value, KEY_CHARACTERS)
        .map(VerifyingKey)
        .ok_or(Error::PrimaryKey)
}

fn tls_signature(value: &[u8]) -> Result<Signature, Error> {
    octets(value, SIGNATURE_CHARACTERS)
        .map(Signature)
        .ok_or(Error::TlsSignature)
}

/// Unpadded base64 of the exact length; stray bits in the last character are let pass (§3.3).
fn octets<const N: usize>(value: &[u8], characters: usize) -> Option<[u8; N]> {
    let text = text(value).filter(|text| text.len() == characters)?;
    base64_decode(text).ok()?.try_into().ok()
}

fn delivery_host(value: &[u8]) -> Result<Domain, Error> {
    let name = text(value)
        .filter(|name| name.is_ascii())
        .ok_or(Error::DeliveryHost)?;
    Domain::parse(name).map_err(|_| Error::DeliveryHost)
}

fn expiry_days(value: &[u8]) -> Result<u16, Error> {
    if value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Error::Expiry);
    }
    let days: u32 = text(value)
        .and_then(|digits| digits.parse().ok())
        .ok_or(Error::Expiry)?;
    match u16::try_from(days) {
        Ok(0) => Err(Error::Expiry),
        Ok(days) if days <= MAX_EXPIRY_DAYS => Ok(days),
        // "Cap at 3650" (§7.2): a longer life is shortened, not refused.
        _ => Ok(MAX_EXPIRY_DAYS),
    }
}
