//! DNAME: one record that renames everything below its owner (RFC 6672).
//!
//! What a server makes of it for one name, a CNAME record, is unsigned. We make it ourselves, from the record that is proven.

use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// A DNAME record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirection {
    owner: Name,
    target: Name,
    ttl_secs: u32,
}

impl Redirection {
    /// `None` for another record, or one that is not a single name without compression.
    pub(super) fn read(record: &Record) -> Option<Self> {
        let RData::Unknown { code, rdata } = &record.data else {
            return None;
        };
        let mut decoder = BinDecoder::new(&rdata.anything);
        let target = Name::read(&mut decoder).ok()?;
        (*code == RecordType::DNAME && decoder.is_empty()).then(|| Self {
            owner: record.name.clone(),
            target,
            ttl_secs: record.ttl,
        })
    }

    /// The alias that follows for a name below the owner (§2.2); `None` for another name, or if it would be too long.
    pub(super) fn alias(&self, name: &Name) -> Option<Record> {
        let below = name.num_labels().checked_sub(self.owner.num_labels())?;
        if below == 0 || !self.owner.zone_of(name) {
            return None;
        }
        let labels = Name::from_labels(name.iter().take(usize::from(below))).ok()?;
        let target = labels.append_domain(&self.target).ok()?;
        Some(Record::from_rdata(
            name.clone(),
            self.ttl_secs,
            RData::CNAME(CNAME(target)),
        ))
    }
}

/// Signatures are over the target in lower case (RFC 4034 §6.2), which hickory does not know of this type. No length of a
/// label is a letter, so that all octets can be treated alike.
pub(super) fn in_canonical_form(record: &mut Record) {
    if let RData::Unknown { code, rdata } = &mut record.data
        && *code == RecordType::DNAME
    {
        rdata.anything.make_ascii_lowercase();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hickory_proto::rr::rdata::NULL;

    use super::*;

    fn name(text: &str) -> Name {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    }

    fn record(owner: &str, octets: &[u8]) -> Record {
        let data = RData::Unknown {
            code: RecordType::DNAME,
            rdata: NULL::with(octets.to_vec()),
        };
        Record::from_rdata(name(owner), 60, data)
    }

    fn alias(of: &str) -> Option<String> {
        let dname = Redirection::read(&record("old.test", b"\x03new\x07example\x00")).unwrap();
        let made = dname.alias(&name(of))?;
        assert_eq!((made.name.to_ascii(), made.ttl), (format!("{of}."), 60));
        match made.data {
            RData::CNAME(target) => Some(target.0.to_ascii()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_below_the_owner_is_renamed_and_nothing_else() {
        assert_eq!(alias("_dx.old.test").unwrap(), "_dx.new.example.");
        assert_eq!(alias("a.b.old.test").unwrap(), "a.b.new.example.");
        for other in ["old.test", "test", "x.bold.test", "x.test"] {
            assert_eq!(alias(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_becomes_too_long_has_no_alias() {
        let long = [[b"\x3f".as_slice(), &[b'x'; 63]].concat().repeat(3), vec![0]].concat();
        let dname = Redirection::read(&record("o.test", &long)).unwrap();
        let label = |octets: usize| name(&format!("{}.o.test", "y".repeat(octets)));
        assert!(dname.alias(&label(61)).is_some(), "255 octets");
        assert!(dname.alias(&label(62)).is_none(), "256 octets");
    }

    #[test]
    fn only_a_whole_name_is_read() {
        assert!(Redirection::read(&record("old.test", b"\x03new\x00")).is_some());
        for octets in [b"\x03ne".as_slice(), b"\x03new", b"\x03new\x00x", b"\xc0\x00"] {
            assert!(
                Redirection::read(&record("old.test", octets)).is_none(),
                "{octets:?}"
            );
        }
        let cname = Record::from_rdata(name("old.test"), 60, RData::CNAME(CNAME(name("new.test"))));
        assert!(Redirection::read(&cname).is_none());
    }

    #[test]
    fn the_canonical_form_is_in_lower_case() {
        let mut dname = record("old.test", b"\x03New\x07eXample\x00");
        in_canonical_form(&mut dname);
        assert_eq!(dname, record("old.test", b"\x03new\x07example\x00"));
    }
}
