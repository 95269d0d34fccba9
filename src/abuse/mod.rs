//! Who may leave messages by DMTP, and how many, once it is proven who they are: the block list, limits by origin, and
//! traps. How much our own accounts may send ([`Sending`]).
//!
//! | What | Known as soon as |
//! |---|---|
//! | origin domain, POK | the origin's signature over the message is verified, with a signet that the domain's record vouches for |
//! | author's signing key | the author's signature is verified, which takes the recipient's keys: for trustful recipients alone |
//!
//! Nothing is looked up here before that, so nobody learns what is listed but whoever is. For a recipient whose keys are at
//! home the author is sealed, and a blocked author cannot be told from others: only the block of the origin holds there.
//!
//! A key is blocked, and not the person behind it. An author who gets another key is another author; with
//! `trap_origin_after_authors`, both count towards the block of the domain that vouches for them.
//!
//! Returned messages pass: they answer mail of our own authors, once each, and tell them what became of it.

mod sending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::allowance::{Allowance, Use};
use crate::base::observe;
use crate::base::time::Clock;
use crate::crypto::ed25519::VerifyingKey;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{self, Identity, Store, Trapped};

pub use sending::{Reserved, Sending, TooMuch};

/// Time in which a used-up share comes back.
const SPAN: Duration = Duration::from_secs(3600);

/// Octets of a message are counted in KiB.
const KIB: u64 = 1024;

/// How others' origins and authors are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Messages that one origin may leave within an hour; 0 for no limit.
    pub messages_per_hour: u32,
    /// MiB that one origin may leave within an hour; 0 for no limit.
    pub mib_per_hour: u32,
    /// Domains that are never blocked, nor is anybody in them or below them.
    pub never_blocked: Vec<Domain>,
    /// How long somebody who wrote to a trap is blocked.
    pub trapped_for: Duration,
    /// From how many such authors on their domain is blocked, too; 0 for never.
    pub trap_origin_after: u32,
}

/// Why a message is not taken from whom it comes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The origin or the author is on the block list.
    #[error("the sender is on the block list")]
    Blocked,
    /// The origin has left too much within the hour.
    #[error("the origin has sent too much within the hour")]
    TooMuch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Decides about origins and authors who are proven.
pub struct Gate {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    messages: Option<Allowance<Domain>>,
    kib: Option<Allowance<Domain>>,
}

/// What a message has used of its origin's share.
#[derive(Debug)]
#[must_use]
pub struct Admission(Vec<Use<Domain>>);

impl Admission {
    /// It was a copy of what was taken before. Whoever has one can send it again in the origin's name, and must not use up
    /// the origin's share.
    pub fn give_back(self) {
        self.0.into_iter().for_each(Use::give_back);
    }
}

impl Gate {
    /// A gate with the block list in `store`. What origins have used is in memory, and forgotten with it.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let messages = Allowance::within(SPAN, settings.messages_per_hour);
        let kib = Allowance::within(SPAN, settings.mib_per_hour.saturating_mul(1024));
        Self {
            store,
            clock,
            settings,
            messages,
            kib,
        }
    }

    /// Whether a message of that many octets is taken from a proven origin with that POK.
    pub async fn admit(
        &self,
        origin: &Domain,
        primary_key: VerifyingKey,
        octets: u64,
        now: Instant,
    ) -> Result<Admission, Refused> {
        let mut identities: Vec<_> = self_and_parents(origin).map(Identity::Domain).collect();
        identities.push(Identity::PrimaryKey(primary_key));
        self.demand_unlisted(origin, &identities).await?;
        let kib = u32::try_from(octets.div_ceil(KIB)).unwrap_or(u32::MAX);
        let mut used = Admission(Vec::new());
        for (share, amount) in [(&self.messages, 1), (&self.kib, kib)] {
            let Some(share) = share else { continue };
            match share.take_many(origin.clone(), amount, now) {
                Some(taken) => used.0.push(taken),
                None => {
                    used.give_back();
                    tracing::info!(event = observe::ORIGIN_LIMITED, origin = %origin,
                        "an origin has sent too much within the hour; its mail is put off");
                    return Err(Refused::TooMuch);
                }
            }
        }
        Ok(used)
    }

    /// Whether mail is taken from a verified author of that domain.
    pub async fn admit_author(&self, origin: &Domain, author: VerifyingKey) -> Result<(), Refused> {
        self.demand_unlisted(origin, &[Identity::AuthorKey(author)]).await
    }

    /// What follows for the verified author of mail to that address, if it is a trap; `None` also for whom nothing follows.
    pub async fn trapped(
        &self,
        recipient: &Mailbox,
        origin: &Domain,
        author: VerifyingKey,
    ) -> Result<Option<Trapped>, store::Error> {
        let account = self.store.account(recipient).await?;
        if account.is_none_or(|account| account.trap_since.is_none()) || self.is_exempt(origin).await? {
            return Ok(None);
        }
        Ok(Some(Trapped {
            author,
            origin: origin.clone(),
            blocked_for: self.settings.trapped_for,
            origin_after: self.settings.trap_origin_after,
        }))
    }

    /// Whether a domain is never blocked: ours, and those of the configuration.
    pub async fn is_exempt(&self, domain: &Domain) -> Result<bool, store::Error> {
        let is_listed = self_and_parents(domain).any(|one| self.settings.never_blocked.contains(&one));
        Ok(is_listed || self.store.local_domain(domain).await?.is_some())
    }

    async fn demand_unlisted(&self, origin: &Domain, identities: &[Identity]) -> Result<(), Refused> {
        let now = self.clock.now();
        let Some(entry) = self.store.find_block(identities, now).await? else {
            return Ok(());
        };
        if self.is_exempt(origin).await? {
            return Ok(());
        }
        tracing::info!(event = observe::BLOCK_REFUSED, origin = %origin, kind = entry.identity.kind(),
            "a message of somebody on the block list is refused");
        self.store.note_refusal(&entry, now).await?;
        Err(Refused::Blocked)
    }
}

fn self_and_parents(domain: &Domain) -> impl Iterator<Item = Domain> {
    std::iter::once(domain.clone()).chain(domain.parents())
}
