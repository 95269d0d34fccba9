//! The twelve octets in front of a display or attachment part (`dmime2.md` §16.3): rules M1–M3.

use super::rule::{Rule, demand};

/// Octets of a record head.
pub const RECORD_HEAD_SIZE: usize = 12;
/// Most parts of a message.
pub const MAX_PARTS: u16 = 512;

/// Where the octets of a part belong in the body.
///
/// | Offset | Size | Field |
/// |---|---|---|
/// | 0 | 2 | ordinal |
/// | 2 | 2 | count |
/// | 4 | 4 | lead |
/// | 8 | 4 | tail |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// Place of the leaf in the document, from 0.
    pub ordinal: u16,
    /// Number of leaves, 1–512, the same in all records.
    pub count: u16,
    /// How many of the octets stand before the leaf; a hint of the sender.
    pub lead: u32,
    /// How many stand after it; only in the last record. A hint too.
    pub tail: u32,
}

impl RecordHead {
    /// The twelve octets.
    pub fn encode(&self) -> [u8; RECORD_HEAD_SIZE] {
        let mut octets = [0; RECORD_HEAD_SIZE];
        octets[..2].copy_from_slice(&self.ordinal.to_be_bytes());
        octets[2..4].copy_from_slice(&self.count.to_be_bytes());
        octets[4..8].copy_from_slice(&self.lead.to_be_bytes());
        octets[8..].copy_from_slice(&self.tail.to_be_bytes());
        octets
    }

    /// Reads the head at the front of a record's data (M1).
    pub fn decode(data: &[u8]) -> Result<Self, Rule> {
        let octets: &[u8; RECORD_HEAD_SIZE] = data.first_chunk().ok_or(Rule::M1)?;
        let [o0, o1, c0, c1, l0, l1, l2, l3, t0, t1, t2, t3] = *octets;
        Ok(Self {
            ordinal: u16::from_be_bytes([o0, o1]),
            count: u16::from_be_bytes([c0, c1]),
            lead: u32::from_be_bytes([l0, l1, l2, l3]),
            tail: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }

    /// Rule M3, for so many octets behind the head.
    pub(super) fn check_hints(&self, size: u64) -> Result<(), Rule> {
        let fits = u64::from(self.lead) + u64::from(self.tail) <= size;
        let is_last = u32::from(self.ordinal) + 1 == u32::from(self.count);
        demand(fits && (self.tail == 0 || is_last), Rule::M3)
    }
}

/// Rule M2: display and attachment records, each in the order of their chunks, are together 0 … count − 1.
pub(super) fn check_ordinals(display: &[RecordHead], attachments: &[RecordHead]) -> Result<(), Rule> {
    let all = || display.iter().chain(attachments);
    let count = all().next().ok_or(Rule::M2)?.count;
    let expected = display.len() + attachments.len();
    let counted = (1..=MAX_PARTS).contains(&count)
        && usize::from(count) == expected
        && all().all(|head| head.count == count && head.ordinal < count);
    // As many different ordinals below count as there are: all of them.
    let ascends = |heads: &[RecordHead]| heads.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal);
    let disjoint = || {
        let mut ordinals: Vec<_> = all().map(|head| head.ordinal).collect();
        ordinals.sort_unstable();
        ordinals.windows(2).all(|pair| pair[0] != pair[1])
    };
    demand(
        counted && ascends(display) && ascends(attachments) && disjoint(),
        Rule::M2,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(ordinal: u16, count: u16) -> RecordHead {
        RecordHead {
            ordinal,
            count,
            lead: 0,
            tail: 0,
        }
    }

    #[test]
    fn heads_read_back() {
        let head = RecordHead {
            ordinal: 1,
            count: 0x0203,
            lead: 4,
            tail: 0x0500_0000,
        };
        assert_eq!(head.encode(), [0, 1, 2, 3, 0, 0, 0, 4, 5, 0, 0, 0]);
        assert_eq!(RecordHead::decode(&head.encode()), Ok(head));
        assert_eq!(RecordHead::decode(&head.encode()[..11]), Err(Rule::M1));
    }

    #[test]
    fn ordinals_are_all_there_and_ascend_within_a_type() {
        assert_eq!(check_ordinals(&[head(0, 3), head(2, 3)], &[head(1, 3)]), Ok(()));
        assert_eq!(check_ordinals(&[], &[head(0, 1)]), Ok(()));
        let refused = [
            (vec![head(1, 2), head(0, 2)], vec![]),
            (vec![head(0, 2)], vec![head(0, 2)]),
            (vec![head(0, 2)], vec![head(1, 3)]),
            (vec![head(0, 2)], vec![]),
            (vec![head(0, 1)], vec![head(1, 1)]),
            (vec![head(0, 0)], vec![]),
            (vec![], vec![]),
        ];
        for (display, attachments) in refused {
            assert_eq!(check_ordinals(&display, &attachments), Err(Rule::M2));
        }
    }

    #[test]
    fn hints_stay_inside_and_do_not_wrap() {
        let hints = |ordinal, lead, tail| RecordHead {
            ordinal,
            count: 2,
            lead,
            tail,
        };
        assert_eq!(hints(1, 3, 4).check_hints(7), Ok(()));
        assert_eq!(hints(1, 3, 4).check_hints(6), Err(Rule::M3));
        assert_eq!(hints(0, 3, 4).check_hints(7), Err(Rule::M3));
        assert_eq!(hints(1, u32::MAX, u32::MAX).check_hints(7), Err(Rule::M3));
        assert_eq!(hints(u16::MAX, 0, 1).check_hints(7), Err(Rule::M3));
    }
}
