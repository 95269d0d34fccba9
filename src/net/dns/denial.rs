//! What a proven denial says about a zone cut, and whose word it is.
//!
//! hickory checks that NSEC and NSEC3 records deny a name, but not that they come from the zone the name lies in:
//! the owner of any signed zone could sign one that spans somebody else's names. So we check the signer ourselves.

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC3};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What the denial of a DS record means for the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// No zone begins here.
    None,
    /// An unsigned zone begins here, or may begin here (NSEC3 opt-out).
    Unsigned,
}

/// Whether there are proven NSEC or NSEC3 records, and all of them are by the zone `apex`.
pub(super) fn is_by(apex: &Name, authorities: &[Record]) -> bool {
    let mut denials = authorities
        .iter()
        .filter(|record| is_proven_denial(record))
        .peekable();
    denials.peek().is_some() && denials.all(|denial| signed_by(apex, denial, authorities))
}

/// Reads the denial of a DS record at `name`, which has been verified and is by the zone above.
pub(super) fn cut_at(name: &Name, authorities: &[Record]) -> Cut {
    let mut opt_out = false;
    for record in authorities.iter().filter(|record| is_proven_denial(record)) {
        match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) if record.name == *name => {
                return delegation(|kind| nsec.type_set().contains(kind));
            }
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) if matches(nsec3, &record.name, name) => {
                return delegation(|kind| nsec3.type_set().contains(kind));
            }
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => opt_out |= nsec3.opt_out(),
            _ => {}
        }
    }
    match opt_out {
        true => Cut::Unsigned,
        false => Cut::None,
    }
}

fn delegation(has: impl Fn(RecordType) -> bool) -> Cut {
    match has(RecordType::NS) && !has(RecordType::SOA) {
        true => Cut::Unsigned,
        false => Cut::None,
    }
}

fn is_proven_denial(record: &Record) -> bool {
    record.proof == Proof::Secure && matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3)
}

/// Whether every proven signature over `denial` names `apex`, and there is one.
fn signed_by(apex: &Name, denial: &Record, authorities: &[Record]) -> bool {
    signer(denial, authorities).is_some_and(|signer| signer == apex)
}

/// Who signed the record set that `record` belongs to, by the signature that the validator used.
pub(super) fn signer<'a>(record: &Record, section: &'a [Record]) -> Option<&'a Name> {
    section.iter().find_map(|candidate| match &candidate.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig))
            if candidate.proof == Proof::Secure
                && candidate.name == record.name
                && rrsig.input().type_covered == record.record_type() =>
        {
            Some(&rrsig.input().signer_name)
        }
        _ => None,
    })
}

/// Whether `owner` is the hash of `name` (RFC 5155 §5).
fn matches(nsec3: &NSEC3, owner: &Name, name: &Name) -> bool {
    let hash = nsec3
        .hash_algorithm()
        .hash(nsec3.salt(), name, nsec3.iterations());
    let label = owner.iter().next().unwrap_or_default();
    hash.is_ok_and(|hash| label.eq_ignore_ascii_case(base32hex(hash.as_ref()).as_bytes()))
}

/// RFC 4648 §7, lower case, without padding.
fn base32hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let bit = |index: usize| {
        octets
            .get(index / 8)
            .map_or(0, |octet| octet >> (7 - index % 8) & 1)
    };
    let digit = |start: usize| (start..start + 5).fold(0u8, |value, index| value << 1 | bit(index));
    (0..octets.len() * 8)
        .step_by(5)
        .map(|start| char::from(DIGITS[usize::from(digit(start))]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32hex_is_that_of_rfc_4648() {
        for (octets, text) in [
            ("", ""),
            ("f", "co"),
            ("fo", "cpng"),
            ("foo", "cpnmu"),
            ("foobar", "cpnmuoj1e8"),
        ] {
            assert_eq!(base32hex(octets.as_bytes()), text);
        }
    }
}
