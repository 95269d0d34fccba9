//! Time and replay (`dmime2.md` §11). Times are unix seconds; all arithmetic saturates.

use std::fmt;

use super::layout::{CHUNK_HEADER_SIZE, ChunkType, HEADER_SIZE};
use super::rule::{Refused, Rule, demand};

/// Clock allowance into the future, everywhere.
pub const ALLOWANCE_SECS: u64 = 3600;
/// Age at submission.
pub const SUBMISSION_AGE_SECS: u64 = 86_400;
/// Age at the destination, and at arrival for the recipient: 15 days, for everybody.
pub const WINDOW_SECS: u64 = 1_296_000;
/// How long a message stays in an origin's queue, counted from `created`.
pub const QUEUE_LIFE_SECS: u64 = WINDOW_SECS - 86_400;

/// T1: not from the future.
pub(super) fn check_not_future(time: u64, now: u64) -> Result<(), Rule> {
    demand(time <= now.saturating_add(ALLOWANCE_SECS), Rule::T1)
}

/// T1 and T2.
pub(super) fn check_age(created: u64, now: u64, age_secs: u64) -> Result<(), Refused> {
    check_not_future(created, now).map_err(at_created)?;
    demand(created >= now.saturating_sub(age_secs), at_created(Rule::T2))
}

/// The time stands behind the header of chunk 2, which comes first.
fn at_created(rule: Rule) -> Refused {
    rule.at((HEADER_SIZE + CHUNK_HEADER_SIZE) as u64)
        .of_chunk(0)
        .of_type(ChunkType::Keys.id())
}

/// Which message: MID, the hash of chunk 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 64]);

impl fmt::Display for MessageId {
    /// 86 characters of unpadded base64, as in the marker field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::base::encoding::base64_unpadded(&self.0))
    }
}

/// Whoever knows the id of a message can recognize it on both legs, so it is not for logs.
impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageId([private])")
    }
}

/// What a replay cache remembers of an object. It is entered only after every other check of the actor has passed, in
/// one durable step with what the check allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The key of the entry.
    pub message_id: MessageId,
    /// Stands for all octets of the object.
    pub digest: [u8; 16],
    /// When the entry may be forgotten.
    pub expires: u64,
}

impl Replay {
    pub(super) fn new(message_id: MessageId, digest: [u8; 64], created: u64) -> Self {
        let (short, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        Self {
            message_id,
            digest: *short,
            expires: created
                .saturating_add(WINDOW_SECS)
                .saturating_add(2 * ALLOWANCE_SECS),
        }
    }

    /// T3: judges the object by the digest that the cache has under the same id.
    pub fn judge(&self, seen: Option<&[u8; 16]>) -> Result<Seen, Refused> {
        match seen {
            None => Ok(Seen::New),
            Some(digest) if *digest == self.digest => Ok(Seen::Repeated),
            Some(_) => Err(Rule::T3.into()),
        }
    }
}

/// Whether an object came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never.
    New,
    /// The same octets: answered as the first time, and nothing else done.
    Repeated,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_do_not_wrap() {
        let now = 1_800_000_000;
        let check = |created| check_age(created, now, WINDOW_SECS).map_err(|refused| refused.rule());
        assert_eq!(check(now + 3600), Ok(()));
        assert_eq!(check(now + 3601), Err(Rule::T1));
        assert_eq!(check(u64::MAX), Err(Rule::T1));
        assert_eq!(check(now - WINDOW_SECS), Ok(()));
        assert_eq!(check(now - WINDOW_SECS - 1), Err(Rule::T2));
        assert_eq!(check(0), Err(Rule::T2));
        assert_eq!(check_age(0, 5, WINDOW_SECS), Ok(()));
        assert_eq!(check_age(u64::MAX, u64::MAX, WINDOW_SECS), Ok(()));
    }

    #[test]
    fn the_same_id_with_other_octets_is_refused() {
        let replay = Replay::new(MessageId([1; 64]), [2; 64], u64::MAX);
        assert_eq!(replay.expires, u64::MAX);
        assert_eq!(replay.judge(None).unwrap(), Seen::New);
        assert_eq!(replay.judge(Some(&[2; 16])).unwrap(), Seen::Repeated);
        assert_eq!(replay.judge(Some(&[3; 16])).unwrap_err().rule(), Rule::T3);
    }
}
