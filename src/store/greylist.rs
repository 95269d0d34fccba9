//! Greylisting: hosts that were asked to come again, and those that did.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, fold};
use crate::base::network::Network;
use crate::base::time::Timestamp;
use crate::mail::address::{Mailbox, ReversePath};

/// Tries of one network that may wait for their second at a time. Beyond that its oldest makes room: whoever tries any number of
/// addresses pushes out nobody else's.
pub const MAX_WAITING_OF_NETWORK: u32 = 1000;

/// Tries that wait and are remembered at a time, those that have come again, and networks; each so many. Beyond that those make
/// room first who hold the most (IPv4 networks of 16 bits, IPv6 ones of 48), and of each the networks that tried most: whoever has
/// many networks pushes out his own. It is looked for every so many new ones, and room is made for more than one.
pub const MAX_GREYLISTED: u32 = 100_000;
pub(super) const LOOKED_FOR_EVERY: i64 = 256;
pub(super) const LEFT_WHEN_FULL: u32 = MAX_GREYLISTED - MAX_GREYLISTED / 16;

/// If no holder has more than so many that wait and there are too many all the same, nobody is left who could make room: then
/// whoever comes is taken, for so long at a time.
pub(super) const FEW_OF_HOLDER: u32 = 8;
pub(super) const OPEN_FOR: Duration = Duration::from_secs(60);

/// What one party may well hold: leading bits of IPv4 and IPv6 addresses.
const HOLDER_BITS: (u8, u8) = (16, 48);

/// How long what is asked for and remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreylistTerms {
    /// From the first try to the second, at least.
    pub wait: Duration,
    /// From the first try to the second, at most; less than `wait` makes no sense.
    pub retry_within: Duration,
    /// From the last message of one that has come again.
    pub proven_for: Duration,
    /// After how many that have come again a whole network has no more to wait; 0 for never.
    pub network_after: u32,
}

/// Somebody who wants to leave a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where it comes from: large senders try again from another host nearby.
    pub network: Network,
    /// From whom.
    pub reverse_path: ReversePath,
    /// For whom.
    pub recipient: Mailbox,
}

impl Attempt {
    /// The largest network that is easy to come by, around the attempt's own.
    pub(super) fn holder(&self) -> Network {
        self.network.within(HOLDER_BITS.0, HOLDER_BITS.1)
    }

    /// Equal for what counts as the same attempt. Mailing lists write a number into each reverse-path, or another detail, so
    /// neither counts.
    pub(super) fn text(&self) -> String {
        let sender = match &self.reverse_path.0 {
            None => String::new(),
            Some(mailbox) => {
                let local = mailbox.local().to_lowercase();
                let name = local.split_once('+').map_or(local.as_str(), |(name, _)| name);
                format!("{}@{}", without_numbers(name), mailbox.domain())
            }
        };
        format!("{}\n{sender}\n{}", self.network, fold(&self.recipient))
    }
}

/// With `#` in the place of each number.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(char),
        }
    }
    out
}

/// What an attempt is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greylisted {
    /// It is taken.
    Pass,
    /// It is asked to come again, after so long.
    Wait(Duration),
}

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GreylistCounts {
    /// Attempts that wait for their second.
    pub waiting: u64,
    /// Attempts that have come again.
    pub proven: u64,
    /// Networks from which some have.
    pub networks: u64,
}

/// The greylist on disk.
#[async_trait]
pub trait Greylist: Send + Sync {
    /// What an attempt at `now` is told; it is remembered.
    async fn greylist(
        &self,
        attempt: &Attempt,
        terms: &GreylistTerms,
        now: Timestamp,
    ) -> Result<Greylisted, Error>;

    /// Forgets some of what has ended by `now`; how much. Until it is none, there may be more.
    async fn expire_greylist(&self, now: Timestamp) -> Result<u64, Error>;

    /// How much holds at `now`.
    async fn greylist_counts(&self, now: Timestamp) -> Result<GreylistCounts, Error>;

    /// Forgets everything; how many attempts there were.
    async fn clear_greylist(&self) -> Result<u64, Error>;
}

/// What is remembered of an attempt and its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Remembered {
    pub(super) attempt: Option<Tried>,
    pub(super) network: Option<Good>,
}

/// An attempt that was made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) since: Timestamp,
    pub(super) proven: bool,
    pub(super) until: Timestamp,
}

/// A network from which some have come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Good {
    pub(super) count: u32,
    pub(super) until: Timestamp,
}

/// What is to be remembered from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The first try.
    Begin,
    /// It has come again.
    Prove,
    /// It has been proven before, and is remembered longer.
    Renew,
    /// The same of the network.
    RenewNetwork,
}

impl Remembered {
    /// What is told, and what changes.
    pub(super) fn judge(&self, terms: &GreylistTerms, now: Timestamp) -> (Greylisted, Option<Change>) {
        let fades = |until: Timestamp| now.after(terms.proven_for - terms.proven_for / 16) > until;
        let good = self.network.filter(|network| now < network.until);
        if let Some(network) = good
            && terms.network_after > 0
            && network.count >= terms.network_after
        {
            return (
                Greylisted::Pass,
                fades(network.until).then_some(Change::RenewNetwork),
            );
        }
        // A clock that was ahead once must not have anybody wait until then.
        let tried = self
            .attempt
            .filter(|tried| tried.since <= now && now < tried.until);
        match tried {
            None => (Greylisted::Wait(terms.wait), Some(Change::Begin)),
            Some(tried) if tried.proven => (Greylisted::Pass, fades(tried.until).then_some(Change::Renew)),
            Some(tried) => match terms.wait.saturating_sub(now.since(tried.since)) {
                Duration::ZERO => (Greylisted::Pass, Some(Change::Prove)),
                rest => (Greylisted::Wait(rest), None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_details_and_letters_of_a_sender_do_not_tell_attempts_apart() {
        let text = |from: &str, to: &str| {
            let attempt = Attempt {
                network: "192.0.2.0/24".parse().unwrap(),
                reverse_path: ReversePath::parse(from).unwrap(),
                recipient: to.parse().unwrap(),
            };
            attempt.text()
        };
        let first = text("<list-1234-x99@a.test>", "bob@b.test");
        assert_eq!(first, "192.0.2.0/24\nlist-#-x#@a.test\nbob@b.test");
        assert_eq!(first, text("<List-1-x2@A.test>", "BOB@b.test"));
        assert_eq!(first, text("<list-5-x2+bob=b.test@a.test>", "bob@b.test"));
        assert_ne!(first, text("<list-x2@a.test>", "bob@b.test"));
        assert_ne!(first, text("<list-1-x2@a.test>", "bob2@b.test"));
        assert_eq!(text("<>", "bob@b.test"), "192.0.2.0/24\n\nbob@b.test");
    }
}
