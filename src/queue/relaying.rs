//! What is different about mail that only passes through.

use std::time::Duration;

use super::attempt::Mailer;
use super::conclude::Result as Concluded;
use crate::delivery::Outcome;
use crate::mail::address::{Domain, ReversePath};
use crate::store::{self, Claim, Source};

/// How a message goes on to another host.
pub(super) struct Onward {
    /// Where that host reports failures.
    pub(super) reverse_path: ReversePath,
    /// It is for a domain whose mail we take for others.
    pub(super) is_relayed: bool,
}

impl Mailer {
    /// Mail that others sent to an alias of ours, sealed or not, goes on in our name (SRS). What we report ourselves goes to the sender.
    ///
    /// From others comes nothing for other hosts but that, mail for relay domains, and reports, which come from nobody. A next
    /// host of a relay domain expects us, and is to see who sent it.
    pub(super) async fn onward(&self, claim: &Claim) -> Result<Onward, store::Error> {
        let is_relayed = self.is_relayed(&claim.destination).await?;
        let reverse_path = &claim.envelope.reverse_path;
        Ok(Onward {
            reverse_path: match (&claim.envelope.source, is_relayed) {
                (Source::Smtp | Source::Dmtp(_), false) => self.srs.rewrite(reverse_path).await?,
                _ => reverse_path.clone(),
            },
            is_relayed,
        })
    }

    /// How long mail is kept at least: for relay domains longer than for others, until their own host is back.
    pub(super) async fn kept_for(&self, claim: &Claim, results: &[Concluded<'_>]) -> Duration {
        let waits = |result: &Concluded<'_>| matches!(result.outcome, Outcome::Deferred(_));
        if !results.iter().any(waits) {
            return Duration::ZERO;
        }
        match self.is_relayed(&claim.destination).await {
            Ok(true) => self.relay_lifetime,
            // What cannot be found out now is kept as usual.
            Ok(false) | Err(_) => Duration::ZERO,
        }
    }

    async fn is_relayed(&self, destination: &Domain) -> Result<bool, store::Error> {
        Ok(self.store.relay_domain(destination).await?.is_some())
    }
}
