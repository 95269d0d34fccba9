//! What users who keep their keys hand in, and what they are told of it: extensions of ours on the submission port.
//!
//! | Upload | Content |
//! |---|---|
//! | `SSR SIZE=n` | a signing request, and then a key set that it has signed, or none |
//! | `SETS SIZE=n` | 1 to [`MAX_KEY_SETS`] key sets, the values of their fields |
//!
//! Each item stands behind its length, three octets in network order, and is not empty.

use super::reply::{inside_brackets, single, tokens};
use crate::base::bytes::put_u24;
use crate::base::encoding::{base64, base64_decode};
use crate::base::time::Timestamp;
use crate::dime::fingerprint::SsrFingerprint;
use crate::mail::reply::Reply;

/// Octets of a signing request and a key set at most.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Octets of key sets at most.
pub const MAX_KEY_SETS_OCTETS: usize = 1024 * 1024;

/// Key sets at most.
pub const MAX_KEY_SETS: usize = 400;

/// Octets of a reason at most, so that it fits into any reply line.
pub const MAX_REASON: usize = 500;

/// Puts items behind one another.
pub fn pack<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut octets = Vec::new();
    for item in items {
        // Nobody makes items of 16 MiB, and the other side would not take them.
        put_u24(&mut octets, item.len() as u32);
        octets.extend_from_slice(item);
    }
    octets
}

/// Takes items apart; `None` if there are none, more than `most`, an empty one, or one that is cut off.
pub fn unpack(mut octets: &[u8], most: usize) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    while !octets.is_empty() {
        let (length, rest) = octets.split_first_chunk::<3>()?;
        let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        let (item, rest) = rest.split_at_checked(length)?;
        if item.is_empty() || items.len() == most {
            return None;
        }
        items.push(item);
        octets = rest;
    }
    (!items.is_empty()).then_some(items)
}

/// A signing request that no signet in service was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Which.
    pub request: SsrFingerprint,
    /// When it came, or when the signet made from it was published; whole seconds travel.
    pub submitted_at: Timestamp,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a signing request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It waits for an administrator.
    Waiting,
    /// It was rejected then, and why; no more than [`MAX_REASON`] octets travel.
    Rejected(Timestamp, String),
    /// The signet made from it was taken out of service then.
    Revoked(Timestamp),
}

impl Pending {
    /// The answer to SSR: `250 OK [WAITING] [fingerprint] [seconds]`,
    /// `250 OK [REJECTED] [fingerprint] [seconds] [seconds] [reason in base64]`, or
    /// `250 OK [REVOKED] [fingerprint] [seconds] [seconds]`. Times are Unix seconds.
    pub fn reply(&self) -> Reply {
        let (request, submitted) = (self.request, self.submitted_at.unix_secs());
        Reply::plain(
            250,
            match &self.fate {
                Fate::Waiting => format!("OK [WAITING] [{request}] [{submitted}]"),
                Fate::Rejected(at, reason) => {
                    let (at, reason) = (at.unix_secs(), base64(cut(reason).as_bytes()));
                    format!("OK [REJECTED] [{request}] [{submitted}] [{at}] [{reason}]")
                }
                Fate::Revoked(at) => format!("OK [REVOKED] [{request}] [{submitted}] [{}]", at.unix_secs()),
            },
        )
    }

    /// Reads [`reply`](Self::reply).
    pub fn read(reply: &Reply) -> Option<Self> {
        let mut words = tokens(single(reply)?);
        words.next().filter(|word| word.eq_ignore_ascii_case("OK"))?;
        let values: Option<Vec<&str>> = words.map(inside_brackets).collect();
        let (state, values) = values?
            .split_first()
            .map(|(state, rest)| (*state, rest.to_vec()))?;
        let [request, submitted, more @ ..] = values.as_slice() else {
            return None;
        };
        let fate = match (state, more) {
            ("WAITING", []) => Fate::Waiting,
            ("REJECTED", [at, reason]) => {
                let reason = String::from_utf8(base64_decode(reason).ok()?).ok()?;
                Fate::Rejected(seconds(at)?, cut(&reason).to_owned())
            }
            ("REVOKED", [at]) => Fate::Revoked(seconds(at)?),
            _ => return None,
        };
        Some(Self {
            request: SsrFingerprint::parse(request).ok()?,
            submitted_at: seconds(submitted)?,
            fate,
        })
    }
}

fn seconds(text: &str) -> Option<Timestamp> {
    text.parse().ok().and_then(Timestamp::from_unix_secs)
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON)]
}

/// What came of key sets that were handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySetsTaken {
    /// One was due and is published.
    pub published: bool,
    /// So many are due later.
    pub waiting: u32,
}

impl KeySetsTaken {
    /// The answer to SETS: `250 OK [published] [waiting]`, the first 1 or 0.
    pub fn reply(self) -> Reply {
        Reply::plain(
            250,
            format!("OK [{}] [{}]", u8::from(self.published), self.waiting),
        )
    }

    /// Reads [`reply`](Self::reply).
    pub fn read(reply: &Reply) -> Option<Self> {
        let mut words = tokens(single(reply)?);
        words.next().filter(|word| word.eq_ignore_ascii_case("OK"))?;
        let published = match inside_brackets(words.next()?)? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some(Self {
            published,
            waiting: inside_brackets(words.next()?)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::dmtp::reply::{MAX_LINE, fits};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs).unwrap()
    }

    #[test]
    fn what_became_of_a_request_reads_back() {
        let waiting = Pending {
            request: SsrFingerprint([7; 64]),
            submitted_at: at(1_800_000_000),
            fate: Fate::Waiting,
        };
        let reply = waiting.reply();
        assert_eq!(
            reply.lines,
            [format!("OK [WAITING] [{}] [1800000000]", waiting.request)]
        );
        assert_eq!(Pending::read(&reply), Some(waiting.clone()));
        for reason in ["", "come by with your passport", "Schlüssel zu alt"] {
            let rejected = Pending {
                fate: Fate::Rejected(at(1_800_000_060), reason.to_owned()),
                ..waiting.clone()
            };
            assert_eq!(Pending::read(&rejected.reply()), Some(rejected));
        }
        let revoked = Pending {
            fate: Fate::Revoked(at(1_800_000_060)),
            ..waiting.clone()
        };
        let reply = revoked.reply();
        let line = format!("OK [REVOKED] [{}] [1800000000] [1800000060]", revoked.request);
        assert_eq!(reply.lines, [line]);
        assert_eq!(Pending::read(&reply), Some(revoked));
    }

    #[test]
    fn a_long_reason_is_cut_and_fits() {
        let rejected = Pending {
            request: SsrFingerprint([7; 64]),
            submitted_at: at(0),
            fate: Fate::Rejected(at(0), "ü".repeat(3000)),
        };
        let reply = rejected.reply();
        assert!(fits(&reply, MAX_LINE));
        let Fate::Rejected(_, reason) = Pending::read(&reply).unwrap().fate else {
            panic!("{reply:?}");
        };
        assert_eq!(reason, "ü".repeat(MAX_REASON / 2));
    }

    #[test]
    fn replies_of_another_form_are_none() {
        let print = SsrFingerprint([7; 64]);
        for text in [
            "OK".to_owned(),
            "OK [WAITING]".to_owned(),
            format!("OK [WAITING] [{print}]"),
            format!("OK [WAITING] [{print}] [x]"),
            format!("OK [WAITING] [{print}] [{}]", i64::MAX),
            format!("OK [WAITING] [{print}] [1] [2]"),
            format!("OK [LOST] [{print}] [1]"),
            format!("OK [REJECTED] [{print}] [1] [2]"),
            format!("OK [REVOKED] [{print}] [1]"),
            format!("OK [REVOKED] [{print}] [1] [2] [3]"),
            format!("OK [REJECTED] [{print}] [1] [2] [%]"),
            format!("[WAITING] [{print}] [1]"),
            "OK [WAITING] [x] [1]".to_owned(),
        ] {
            assert_eq!(Pending::read(&Reply::plain(250, text.clone())), None, "{text}");
        }
        let taken = KeySetsTaken {
            published: true,
            waiting: 11,
        };
        assert_eq!(taken.reply().lines, ["OK [1] [11]"]);
        assert_eq!(KeySetsTaken::read(&taken.reply()), Some(taken));
        for text in ["OK", "OK [1]", "OK [2] [1]", "OK [1] [-1]", "[1] [1]"] {
            assert_eq!(KeySetsTaken::read(&Reply::plain(250, text)), None, "{text}");
        }
    }

    #[test]
    fn items_come_apart_as_they_were_put_together_and_in_no_other_way() {
        let octets = pack([&b"one"[..], b"2"]);
        assert_eq!(octets, b"\0\0\x03one\0\0\x012");
        assert_eq!(unpack(&octets, 2), Some(vec![&b"one"[..], b"2"]));
        assert_eq!(unpack(&octets, 1), None);
        for bad in [&b""[..], b"\0\0\0", b"\0\0", b"\0\0\x02a", b"\0\0\x01a\0"] {
            assert_eq!(unpack(bad, 9), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_apart_goes_together_again(octets: Vec<u8>) {
            if let Some(items) = unpack(&octets, usize::MAX) {
                prop_assert_eq!(pack(items), octets);
            }
        }
    }
}
