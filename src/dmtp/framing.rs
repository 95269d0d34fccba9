//! Where a message object ends on the wire (`dmtp.md` §8).
//!
//! DATA transfers octets without line structure. Their number comes from `SIZE` of MAIL, from the object's own
//! header, or from both, which then must agree.
//!
//! | Octets | Meaning |
//! |---|---|
//! | `07 2D`, length(2), data | tracing, optional, before format 1 only |
//! | `07 37`, size(4) | D/MIME 1, then `size` octets |
//! | `07 C0`, version(1), suite(1), size(4) | D/MIME 2, then `size` octets |
//! | `07 C1`, version(1), suite(1), size(4) | a returned D/MIME 2 message, then `size` octets (`dmime2.md` §12.2) |

use crate::base::bytes::Reader;

/// First two octets of a tracing part.
const TRACING: u16 = 1837;
/// First two octets of a D/MIME 1 message.
const MESSAGE_1: u16 = 1847;
/// First two octets of a D/MIME 2 message.
const MESSAGE_2: u16 = 1984;
/// First two octets of a returned message.
const RETURNED: u16 = 1985;
/// Octets of a tracing part before its data.
const TRACING_HEADER: u64 = 4;

/// Why a transfer cannot be completed. After any of these the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither SIZE nor a header says where the object ends.
    #[error("the object has no known header")]
    Unframed,
    /// The header and SIZE disagree.
    #[error("the object is {actual} octets long, not {announced}")]
    SizeMismatch {
        /// SIZE of MAIL.
        announced: u64,
        /// Length according to the header.
        actual: u64,
    },
    /// The object is larger than the limit.
    #[error("the object is larger than {0} octets")]
    TooLarge(u64),
}

/// Counts the octets of one object as they arrive in pieces.
#[derive(Debug, Clone)]
pub struct Framing {
    announced: Option<u64>,
    limit: u64,
    received: u64,
    header: Header,
}

/// What is known of the object's own length.
#[derive(Debug, Clone)]
enum Header {
    /// `at` is where the header in `octets` started: behind the tracing part or at zero.
    Reading { at: u64, octets: Vec<u8> },
    /// Octets from the first to the last.
    Total(u64),
    /// Not an object we know; SIZE alone counts.
    Foreign,
}

/// What the first octets say.
enum Step {
    Incomplete,
    Traced(u64),
    Length(u64),
    Foreign,
}

impl Framing {
    /// Starts before the first octet. `limit` bounds the object when nothing was announced.
    pub fn new(announced: Option<u64>, limit: u64) -> Self {
        Self {
            announced,
            limit,
            received: 0,
            header: Header::Reading {
                at: 0,
                octets: Vec::new(),
            },
        }
    }

    /// Takes the object's next octets from the front of `input`; returns how many they are.
    ///
    /// Errors: see [`Error`]; nothing of `input` is to be used then.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, Error> {
        let mut used = 0;
        while used < input.len() && !self.is_complete() {
            used += self.step(&input[used..])?;
        }
        Ok(used)
    }

    /// Whether every octet has arrived.
    pub fn is_complete(&self) -> bool {
        self.total().is_some_and(|total| self.received >= total)
    }

    /// Octets that have arrived.
    pub fn received(&self) -> u64 {
        self.received
    }

    fn total(&self) -> Option<u64> {
        match (self.announced, &self.header) {
            (Some(announced), _) => Some(announced),
            (None, Header::Total(total)) => Some(*total),
            (None, _) => None,
        }
    }

    /// One step over a part of the object whose meaning does not change inside.
    fn step(&mut self, input: &[u8]) -> Result<usize, Error> {
        let count = match &mut self.header {
            Header::Reading { at, octets } if self.received >= *at => {
                octets.push(input[0]);
                self.received += 1;
                self.read_header()?;
                return Ok(1);
            }
            Header::Reading { at, .. } => *at - self.received,
            Header::Total(_) | Header::Foreign => u64::MAX,
        };
        let left = self.total().map_or(u64::MAX, |total| total - self.received);
        let count = usize::try_from(count.min(left))
            .unwrap_or(usize::MAX)
            .min(input.len());
        self.received += count as u64;
        Ok(count)
    }

    fn read_header(&mut self) -> Result<(), Error> {
        let Header::Reading { at, octets } = &self.header else {
            return Ok(());
        };
        match read(octets, *at == 0) {
            Step::Incomplete => self.check_announced(self.received),
            Step::Traced(length) => {
                let at = TRACING_HEADER + length;
                self.header = Header::Reading {
                    at,
                    octets: Vec::new(),
                };
                self.check_announced(at)
            }
            Step::Length(length) => {
                let total = at.saturating_add(length);
                self.header = Header::Total(total);
                self.check_total(total)
            }
            Step::Foreign if self.announced.is_some() => {
                self.header = Header::Foreign;
                Ok(())
            }
            Step::Foreign => Err(Error::Unframed),
        }
    }

    /// The object is longer than `at_least`, because its header is not over yet.
    fn check_announced(&self, at_least: u64) -> Result<(), Error> {
        match self.announced {
            Some(announced) if announced <= at_least && at_least > self.received => {
                Err(Error::SizeMismatch {
                    announced,
                    actual: at_least,
                })
            }
            None if at_least > self.limit => Err(Error::TooLarge(self.limit)),
            _ => Ok(()),
        }
    }

    fn check_total(&self, actual: u64) -> Result<(), Error> {
        match self.announced {
            Some(announced) if announced != actual => Err(Error::SizeMismatch { announced, actual }),
            None if actual > self.limit => Err(Error::TooLarge(self.limit)),
            _ => Ok(()),
        }
    }
}

/// Reads what is there of a header; a tracing part counts only at the very front.
fn read(octets: &[u8], first: bool) -> Step {
    let mut reader = Reader::new(octets);
    let Ok(magic) = reader.u16() else {
        return Step::Incomplete;
    };
    let length = match magic {
        TRACING if first => {
            return reader
                .u16()
                .map_or(Step::Incomplete, |length| Step::Traced(length.into()));
        }
        MESSAGE_1 => reader.u32().map(|size| 6 + u64::from(size)),
        MESSAGE_2 | RETURNED if first => reader
            .take(2)
            .and_then(|_| reader.u32())
            .map(|size| 8 + u64::from(size)),
        _ => return Step::Foreign,
    };
    length.map_or(Step::Incomplete, Step::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message_1(body: &[u8]) -> Vec<u8> {
        let mut object = vec![0x07, 0x37];
        object.extend_from_slice(&(body.len() as u32).to_be_bytes());
        object.extend_from_slice(body);
        object
    }

    fn traced(body: &[u8]) -> Vec<u8> {
        let mut object = vec![0x07, 0x2D, 0, 3, b'a', b'b', b'c'];
        object.extend_from_slice(&message_1(body));
        object
    }

    fn message_2(body: &[u8]) -> Vec<u8> {
        versioned(0xC0, body)
    }

    fn returned(body: &[u8]) -> Vec<u8> {
        versioned(0xC1, body)
    }

    fn versioned(magic: u8, body: &[u8]) -> Vec<u8> {
        let mut object = vec![0x07, magic, 1, 1];
        object.extend_from_slice(&(body.len() as u32).to_be_bytes());
        object.extend_from_slice(body);
        object
    }

    /// Feeds `input` in pieces of `piece` octets; where the object ended, if it did.
    fn run(mut framing: Framing, input: &[u8], piece: usize) -> Result<Option<usize>, Error> {
        let mut used = 0;
        for chunk in input.chunks(piece) {
            used += framing.take(chunk)?;
            if framing.is_complete() {
                return Ok(Some(used));
            }
        }
        Ok(None)
    }

    #[test]
    fn every_object_ends_where_its_header_says() {
        for object in [
            message_1(b"body"),
            message_1(b""),
            traced(b"body"),
            message_2(b"body"),
            message_2(b""),
            returned(b"body"),
        ] {
            let mut input = object.clone();
            input.extend_from_slice(b"\r\nQUIT\r\n");
            for piece in [1, 2, 7, 1000] {
                for announced in [None, Some(object.len() as u64)] {
                    let end = run(Framing::new(announced, 1000), &input, piece);
                    assert_eq!(end, Ok(Some(object.len())), "{object:?} in {piece}");
                }
            }
        }
    }

    #[test]
    fn refuses_a_size_that_differs_from_the_header() {
        for object in [
            message_1(b"body"),
            traced(b"body"),
            message_2(b"body"),
            returned(b"body"),
        ] {
            let actual = object.len() as u64;
            for announced in [actual - 1, actual + 1] {
                let end = run(Framing::new(Some(announced), 1000), &object, 3);
                assert_eq!(end, Err(Error::SizeMismatch { announced, actual }));
            }
        }
    }

    #[test]
    fn refuses_a_tracing_part_that_reaches_past_the_size() {
        let end = run(Framing::new(Some(7), 1000), &traced(b""), 4);
        assert_eq!(
            end,
            Err(Error::SizeMismatch {
                announced: 7,
                actual: 7
            })
        );
    }

    #[test]
    fn counts_an_unknown_object_by_its_size_alone() {
        assert_eq!(run(Framing::new(Some(5), 1000), b"hello\r\n", 2), Ok(Some(5)));
        assert_eq!(run(Framing::new(Some(1), 1000), b"h\r\n", 2), Ok(Some(1)));
        assert_eq!(
            run(Framing::new(None, 1000), b"hello\r\n", 2),
            Err(Error::Unframed)
        );
    }

    #[test]
    fn a_second_tracing_part_and_tracing_before_format_2_are_foreign() {
        let mut twice = vec![0x07, 0x2D, 0, 1, b'x'];
        twice.extend_from_slice(&traced(b""));
        assert_eq!(run(Framing::new(None, 1000), &twice, 5), Err(Error::Unframed));
        let mut mixed = vec![0x07, 0x2D, 0, 1, b'x'];
        mixed.extend_from_slice(&message_2(b""));
        assert_eq!(run(Framing::new(None, 1000), &mixed, 5), Err(Error::Unframed));
    }

    #[test]
    fn refuses_an_unannounced_object_over_the_limit() {
        assert_eq!(
            run(Framing::new(None, 9), &message_1(b"body"), 64),
            Err(Error::TooLarge(9))
        );
        assert_eq!(run(Framing::new(None, 10), &message_1(b"body"), 64), Ok(Some(10)));
        let endless = [0x07, 0x37, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(run(Framing::new(None, 9), &endless, 1), Err(Error::TooLarge(9)));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            start in prop::sample::select(vec![vec![], vec![7, 0x37], vec![7, 0x2D], vec![7, 0xC0], vec![7, 0xC1]]),
            rest in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..64),
            announced in prop::option::of(0u64..70),
            piece in 1usize..20,
        ) {
            let input = [start, rest].concat();
            let whole = run(Framing::new(announced, 50), &input, 1000);
            prop_assert_eq!(run(Framing::new(announced, 50), &input, piece), whole);
        }
    }
}
