//! What denials say about zone cuts, and whose word they are.
//!
//! hickory checks that NSEC and NSEC3 records deny a name, but not that they come from the zone the name lies in:
//! the owner of any signed zone could sign one that spans somebody else's names. So we check the signer ourselves.

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC, NSEC3};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A zone whose NSEC3 records are hashed more often than this counts as unsigned (RFC 9276 §3.2).
const MAX_ITERATIONS: u16 = 100;

/// What the denial of a DS record means for the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The name exists, and no zone begins there.
    None,
    /// Nothing exists at the name or below it, so no zone begins there.
    NoName,
    /// An unsigned zone begins here, or may begin here (NSEC3 opt-out).
    Unsigned,
}

/// Whether there are proven NSEC or NSEC3 records, and all of them are by the zone `apex`.
pub(super) fn is_by(apex: &Name, authorities: &[Record]) -> bool {
    let mut denials = authorities
        .iter()
        .filter(|record| is_proven_denial(record))
        .peekable();
    denials.peek().is_some() && denials.all(|denial| signer(denial, authorities) == Some(apex))
}

/// Whether a zone begins at `name`, by proven denials of the zone `apex` above it; `None` if they do not say.
pub(super) fn cut_at(name: &Name, apex: &Name, authorities: &[Record]) -> Option<Cut> {
    authorities
        .iter()
        .filter(|record| is_proven_denial(record) && signer(record, authorities) == Some(apex))
        .find_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) => cut_by_nsec(name, &record.name, nsec),
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => cut_by_nsec3(name, &record.name, nsec3),
            _ => None,
        })
}

/// Whether denials of the zone that signed the answer prove that nothing closer to `name` exists than the wildcard that the
/// answer was made from (RFC 4035 §5.3.4, RFC 5155 §8.8). hickory-net 0.26.3 overlooks the proof if the NSEC record is
/// the wildcard's own.
pub(super) fn proves_wildcard(name: &Name, answers: &[Record], authorities: &[Record]) -> bool {
    let mut used = answers.iter().filter(|record| record.proof == Proof::Secure);
    let found = used.find_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) if rrsig.input().num_labels < name.num_labels() => {
            Some(rrsig.input())
        }
        _ => None,
    });
    let Some(signature) = found else {
        return false;
    };
    let next_closer = name.trim_to(usize::from(signature.num_labels) + 1);
    cut_at(&next_closer, &signature.signer_name, authorities) == Some(Cut::NoName)
}

/// Whether proven denials of the zone `apex` list the types at `name`, and neither `kind` nor an alias is among them
/// (RFC 4035 §5.4, RFC 5155 §8.5). hickory-net 0.26.3 takes no such list with a DNAME in it, though that renames only what is below
/// (RFC 6672 §2.3).
pub(super) fn lacks(name: &Name, kind: RecordType, apex: &Name, authorities: &[Record]) -> bool {
    let lacking = |has: &dyn Fn(RecordType) -> bool| !has(kind) && !has(RecordType::CNAME);
    authorities
        .iter()
        .filter(|record| is_proven_denial(record) && signer(record, authorities) == Some(apex))
        .any(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) => {
                record.name == *name && lacking(&|kind| nsec.type_set().contains(kind))
            }
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => {
                nsec3.iterations() <= MAX_ITERATIONS
                    && hashed(name, nsec3).is_some_and(|hash| first_label(&record.name) == Some(hash))
                    && lacking(&|kind| nsec3.type_set().contains(kind))
            }
            _ => false,
        })
}

/// RFC 4035 §5.4; a record from above a cut or a DNAME says nothing of what is below (RFC 6840 §4.1).
fn cut_by_nsec(name: &Name, owner: &Name, nsec: &NSEC) -> Option<Cut> {
    let has = |kind| nsec.type_set().contains(kind);
    if owner == name {
        return Some(cut_by_types(has));
    }
    let next = nsec.next_domain_name();
    let covered = owner < name && (name < next || next <= owner);
    let silent =
        owner.zone_of(name) && (has(RecordType::DNAME) || (has(RecordType::NS) && !has(RecordType::SOA)));
    match (covered && !silent, name.zone_of(next)) {
        (false, _) => None,
        // Something exists below, so the name does as well, without records of its own.
        (true, true) => Some(Cut::None),
        (true, false) => Some(Cut::NoName),
    }
}

/// RFC 5155 §8.6, §8.9.
fn cut_by_nsec3(name: &Name, owner: &Name, nsec3: &NSEC3) -> Option<Cut> {
    if nsec3.iterations() > MAX_ITERATIONS {
        return Some(Cut::Unsigned);
    }
    let hash = hashed(name, nsec3)?;
    let start = first_label(owner)?;
    let end = base32hex(nsec3.next_hashed_owner_name()).into_bytes();
    if hash == start {
        return Some(cut_by_types(|kind| nsec3.type_set().contains(kind)));
    }
    let covered = match start < end {
        true => start < hash && hash < end,
        false => start < hash || hash < end,
    };
    match (covered, nsec3.opt_out()) {
        (false, _) => None,
        (true, true) => Some(Cut::Unsigned),
        (true, false) => Some(Cut::NoName),
    }
}

/// A name as it is hashed in the zone of the record, in the form of a label.
fn hashed(name: &Name, nsec3: &NSEC3) -> Option<Vec<u8>> {
    let hash = nsec3
        .hash_algorithm()
        .hash(nsec3.salt(), name, nsec3.iterations())
        .ok()?;
    Some(base32hex(hash.as_ref()).into_bytes())
}

fn first_label(name: &Name) -> Option<Vec<u8>> {
    name.iter().next().map(<[u8]>::to_ascii_lowercase)
}

/// Reads the types at the name itself, of which DS is not one.
fn cut_by_types(has: impl Fn(RecordType) -> bool) -> Cut {
    match has(RecordType::NS) && !has(RecordType::SOA) {
        true => Cut::Unsigned,
        false => Cut::None,
    }
}

fn is_proven_denial(record: &Record) -> bool {
    record.proof == Proof::Secure && matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3)
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
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use hickory_proto::dnssec::Nsec3HashAlgorithm;

    fn name(text: &str) -> Name {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    }

    fn nsec(at: &str, owner: &str, next: &str, types: &[RecordType]) -> Option<Cut> {
        cut_by_nsec(&name(at), &name(owner), &NSEC::new(name(next), types.to_vec()))
    }

    /// The record at hash `start` that reaches to hash `end`, both as the first octet of twenty.
    fn nsec3(at: &str, start: u8, end: u8, opt_out: bool, iterations: u16) -> Option<Cut> {
        let hashed = |first: u8| [vec![first], vec![0; 19]].concat();
        let owner = name(&base32hex(&hashed(start)))
            .append_domain(&name("test"))
            .unwrap();
        let data = NSEC3::new(
            Nsec3HashAlgorithm::SHA1,
            opt_out,
            iterations,
            vec![],
            hashed(end),
            [RecordType::A],
        );
        cut_by_nsec3(&name(at), &owner, &data)
    }

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

    #[test]
    fn nsec_at_the_name_tells_a_delegation_by_its_types() {
        use RecordType::{A, NS, SOA};
        assert_eq!(nsec("b.test", "b.test", "c.test", &[NS]), Some(Cut::Unsigned));
        assert_eq!(nsec("b.test", "b.test", "c.test", &[A]), Some(Cut::None));
        assert_eq!(nsec("b.test", "b.test", "c.test", &[NS, SOA]), Some(Cut::None));
    }

    #[test]
    fn nsec_around_the_name_denies_it_but_not_from_above_a_cut() {
        use RecordType::{A, DNAME, NS, SOA};
        assert_eq!(nsec("b.test", "a.test", "c.test", &[A]), Some(Cut::NoName));
        assert_eq!(nsec("c.test", "a.test", "c.test", &[A]), None);
        assert_eq!(nsec("d.test", "a.test", "c.test", &[A]), None);
        assert_eq!(nsec("z.test", "y.test", "test", &[A]), Some(Cut::NoName));
        assert_eq!(nsec("b.test", "a.test", "x.b.test", &[A]), Some(Cut::None));
        assert_eq!(nsec("x.a.test", "a.test", "c.test", &[NS]), None);
        assert_eq!(nsec("x.a.test", "a.test", "c.test", &[DNAME]), None);
        assert_eq!(
            nsec("x.a.test", "a.test", "c.test", &[NS, SOA]),
            Some(Cut::NoName)
        );
    }

    #[test]
    fn nsec3_covers_by_hash_and_opt_out_leaves_room_for_an_unsigned_zone() {
        // SHA-1 of the wire form of "b.test" begins with FIRST.
        let digest = Nsec3HashAlgorithm::SHA1.hash(&[], &name("b.test"), 0).unwrap();
        let first = digest.as_ref()[0];
        let (before, after) = (first - 1, first + 1);
        assert_eq!(nsec3("b.test", before, after, false, 0), Some(Cut::NoName));
        assert_eq!(nsec3("b.test", before, after, true, 0), Some(Cut::Unsigned));
        assert_eq!(nsec3("b.test", after, before, false, 0), None);
        assert_eq!(nsec3("b.test", after, after + 1, false, 0), None);
        assert_eq!(nsec3("b.test", before, before - 1, false, 0), Some(Cut::NoName));
        assert_eq!(nsec3("b.test", after, after + 1, false, 101), Some(Cut::Unsigned));
    }
}
