//! Returned messages (`dmime2.md` §12): what a destination sends back when it gives up after its 250.
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 2 | magic 1985 |
//! | 2 | 1 | version = 1 |
//! | 3 | 1 | suite of the original |
//! | 4 | 4 | size: everything after this field |
//! | 8 | 8 | reported, unix seconds |
//! | 16 | 1 | scope |
//! | 17 | 3 | status |
//! | 20 | 4 | n, chunk count of the original |
//! | 24 | … | n entries: `00` and H(i), or `01` and chunk i |
//! | end − 64 | 64 | signature of the destination |
//!
//! A destination keeps a [`Ticket`] with the mail and makes the object of it. The origin checks it in two steps
//! ([`ToOrigin`], [`Passed`]), the author in two ([`ToAuthor`], [`Report`]).

mod author;
mod object;
mod origin;
mod ticket;

pub use self::author::{Evidence, Report, ReturnedContent, ReturnedRecord, ToAuthor};
pub use self::object::{Returned, Scope, Status};
pub use self::origin::{Passed, ToOrigin};
pub use self::ticket::Ticket;

use super::rule::{Refused, Rule, demand};
use super::signets::{KnownOrg, is_signed_by};
use super::time::{ALLOWANCE_SECS, WINDOW_SECS};
use crate::dime::signet::VerifiedOrg;
use crate::mail::address::Domain;

/// First two octets of a returned message.
pub const MAGIC: u16 = 1985;
/// How long after the window a message may still come back.
pub const RETURN_SECS: u64 = 1_296_000;
const VERSION: u8 = 1;
/// Everything in front of the entries.
const HEADER_SIZE: usize = 24;
/// Where the size field ends.
const SIZE_END: usize = 8;
/// Where it stands when the destination gave up.
const REPORTED_OFFSET: u64 = 8;
const SIGNATURE_SIZE: usize = 64;
const LABEL: &[u8] = b"D/MIME 2 returned message\0";
/// Entry that is a hash.
const HASHED: u8 = 0;
/// Entry that is a chunk.
const WHOLE: u8 = 1;

/// The times of rule B6: not reported before the message was made or in the future, and not too late.
fn check_times(returned: &Returned, now: u64, rule: Rule) -> Result<(), Refused> {
    let fits = are_times(returned.created(), returned.reported(), now);
    demand(fits, rule.at(REPORTED_OFFSET))
}

fn are_times(created: u64, reported: u64, now: u64) -> bool {
    let after_made = created.saturating_sub(ALLOWANCE_SECS) <= reported;
    let not_future = reported <= now.saturating_add(ALLOWANCE_SECS);
    let in_time = now <= created.saturating_add(WINDOW_SECS).saturating_add(RETURN_SECS);
    after_made && not_future && in_time
}

impl Returned {
    /// Whether a key of that signet signed the object; says nothing about who may have signed it.
    pub fn is_signed_by(&self, organization: &VerifiedOrg) -> bool {
        let (input, signature) = self.signed();
        is_signed_by(organization, &input, &signature)
    }
}

/// Whether a signet of `domain` that was in force when the object was made signed it.
fn is_from(returned: &Returned, domain: &Domain, signets: &[KnownOrg<'_>]) -> bool {
    signets
        .iter()
        .filter(|known| known.counts_for(domain, returned.reported()))
        .any(|known| returned.is_signed_by(known.signet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_have_their_time() {
        let check = |created, reported, now| are_times(created, reported, now);
        let made = 1_800_000_000;
        let last = made + WINDOW_SECS + RETURN_SECS;
        assert!(check(made, made - 3600, made));
        assert!(!check(made, made - 3601, made));
        assert!(check(made, made + 3600, made));
        assert!(!check(made, made + 3601, made));
        assert!(check(made, made, last));
        assert!(!check(made, made, last + 1));
        assert!(check(u64::MAX, u64::MAX, u64::MAX));
        assert!(check(0, 0, 0));
    }
}
