//! Reading signets in any of their forms.

use std::str::FromStr;

use crate::base::encoding::base64_decode;
use crate::cli::files::{FileName, MAX_OBJECT};
use crate::cli::refusal::{Place, Refusal, in_field};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::armor;
use crate::dime::signet::{self, Kind, LABELS, Signet, id};

/// The signet or signing request in a file: armored, binary, or base64 (as DMTP replies carry it, in square brackets or without).
///
/// A [`Refusal`] names the octet of the binary object, or the line of the armor, where it goes wrong.
pub fn signet(file: &FileName) -> anyhow::Result<Signet> {
    let octets = file.read(MAX_OBJECT)?;
    decode(&octets).map_err(|refusal| refusal.of_file(file).into())
}

/// The same from octets at hand.
pub fn decode(octets: &[u8]) -> Result<Signet, Refusal> {
    let object = binary(octets, LABELS)?;
    Signet::locate(&object).map_err(|misread| {
        let kind = object
            .first_chunk()
            .and_then(|magic| Kind::from_magic(u16::from_be_bytes(*magic)));
        let place = Place {
            offset: Some(misread.offset),
            ..kind.map_or(Place::default(), |kind| in_field(&misread.error, kind, None))
        };
        Refusal::at(&misread.error, place)
    })
}

/// The binary object in octets of any form; armor is looked for under `labels`.
pub fn binary(octets: &[u8], labels: &[&str]) -> Result<Vec<u8>, Refusal> {
    match text(octets) {
        None => Ok(octets.to_vec()),
        Some(text) if is_base64(text) => from_base64(text),
        Some(text) => armor::locate(text, labels).map_err(|misread| Refusal::new(&misread)),
    }
}

/// Text, unless it begins as binary objects do: with an octet below 9, which no text has, or not at all.
fn text(octets: &[u8]) -> Option<&str> {
    let first = octets.first()?;
    (*first >= 9).then(|| std::str::from_utf8(octets).ok()).flatten()
}

fn is_base64(text: &str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=[]".contains(c) || c.is_ascii_whitespace();
    text.chars().all(of_base64)
}

fn from_base64(text: &str) -> Result<Vec<u8>, Refusal> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let joined: String = inner.unwrap_or(trimmed).split_ascii_whitespace().collect();
    base64_decode(&joined).map_err(|error| Refusal::new(&error))
}

/// The key that the signet itself names as its owner's.
pub fn own_key(signet: &Signet) -> Option<VerifyingKey> {
    let key = signet.field(id::SIGNING_KEY)?.get(1..)?;
    key.try_into().ok().map(VerifyingKey)
}

/// The identifier, if it is a name of that kind.
pub fn identifier<Name: FromStr>(signet: &Signet) -> Option<Name> {
    let text = std::str::from_utf8(signet.field(id::IDENTIFIER)?).ok()?;
    text.parse().ok()
}

/// The signet in a file, which must be of that kind.
pub fn signet_of(kind: Kind, file: &FileName) -> anyhow::Result<Signet> {
    let signet = signet(file)?;
    match signet.kind() == kind {
        true => Ok(signet),
        false => {
            let error = signet::Error::Kind {
                expected: kind,
                found: signet.kind(),
            };
            Err(Refusal::new(&error).of_file(file).into())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::encoding::base64;
    use crate::dime::keys::UserKeys;
    use crate::dime::signet::request;

    #[test]
    fn every_form_is_the_same_object() {
        let signet = request(&UserKeys::generate(&mut rand::rng())).unwrap();
        let octets = signet.encode();
        let line = base64(&octets);
        let (a, b) = line.split_at(60);
        for form in [
            octets.clone(),
            signet.to_armor().into_bytes(),
            line.clone().into_bytes(),
            format!("[{line}]\r\n").into_bytes(),
            format!("{a}\n{b}\n").into_bytes(),
        ] {
            assert_eq!(decode(&form).unwrap(), signet);
        }
    }

    #[test]
    fn a_refusal_says_where() {
        let signet = request(&UserKeys::generate(&mut rand::rng())).unwrap();
        let place = |octets: &[u8]| {
            let refusal = decode(octets).unwrap_err();
            (
                refusal.variant,
                refusal.place.offset,
                refusal.place.field,
                refusal.place.line,
            )
        };
        let mut octets = signet.encode();
        assert_eq!(place(b""), ("signet.length", Some(0), None, None));
        assert_eq!(place(&octets[..100]), ("signet.length", Some(2), None, None));
        assert_eq!(place(b"\x07\x37\0\0\0\0"), ("signet.magic", Some(0), None, None));
        octets[40] = 9;
        assert_eq!(place(&octets), ("signet.reserved", Some(40), Some(9), None));
        octets[40] = 2;
        octets[43] = 7;
        assert_eq!(place(&octets), ("signet.key", Some(40), Some(2), None));
        assert_eq!(place(b"some text: \n"), ("armor.no_block", None, None, Some(1)));
        assert_eq!(place(b"A"), ("base64.not_base64", None, None, None));
    }
}
