//! Key sets of ours are replaced before they grow old, and their private keys destroyed when no mail can come for them
//! any more (`dmime2.md` §3.2). That is all the forward secrecy there is.
//!
//! | Whose signet | What happens |
//! |---|---|
//! | an organization's, a trustful user's | a key set older than `renew_after`, none, or one that breaks a rule is replaced; an opt-out by an opt-out |
//! | a user's whose keys are at home | the newest key set signed ahead that is due is published; the user is warned by mail before the last one runs out |
//!
//! Old signets stay in the history.

mod warning;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::warning::Warning;
use super::published::{Offer, Published, Times, seconds};
use super::{Error, User};
use crate::base::observe;
use crate::base::time::{Clock, Timestamp};
use crate::dime::key_set::SignedKeySet;
use crate::dime::signet::Signet;
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{self, NewestSignet, Store};

/// Signets looked at in one query.
const PAGE: u32 = 100;

/// A key set is replaced in any case when it has only that long to live. Seconds.
const LAST_CHANCE: u64 = 24 * 3600;

/// How often a domain is named whose users' key sets run out.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Replaces and destroys what is due.
pub struct Renewal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    published: Arc<Published>,
    times: Times,
    /// Who writes to users.
    host: Domain,
    warned: Mutex<BTreeMap<Domain, Timestamp>>,
}

/// What one pass has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Key sets made anew.
    pub renewed: u64,
    /// Key sets signed ahead that were due.
    pub published: u64,
    /// Users who were told by mail that their key sets run out.
    pub warned: u64,
    /// Signets that could not be given another key set.
    pub failed: u64,
    /// Private keys destroyed: so many signets' mail cannot be opened any more.
    pub destroyed: u64,
    /// Users who use the last key set that they have signed, by domain.
    pub running_out: BTreeMap<Domain, u64>,
}

/// What was done about one name.
enum Step {
    Nothing,
    Renewed,
    Published { last: bool },
    LastInUse,
}

impl Renewal {
    /// Looks after everything in `store`, and writes to users as `host`.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        published: Arc<Published>,
        times: Times,
        host: Domain,
    ) -> Self {
        Self {
            store,
            clock,
            published,
            times,
            host,
            warned: Mutex::default(),
        }
    }

    /// Goes once through all signets of ours. What fails for one name is logged and does not stop the others.
    pub async fn pass(&self) -> Result<Report, store::Error> {
        let mut report = Report::default();
        let mut after: Option<String> = None;
        loop {
            let signets = self.store.newest_signets(after.as_deref(), PAGE).await?;
            for signet in signets.iter().filter(|signet| self.may_be_due(signet)) {
                self.look_after(&signet.name, &mut report).await;
            }
            match signets.into_iter().next_back() {
                Some(last) => after = Some(last.name),
                None => break,
            }
        }
        let destroyed = self.store.destroy_kem_keys(self.clock.now()).await;
        report.destroyed = *destroyed.as_ref().unwrap_or(&0);
        self.tell(&report);
        destroyed.map(|_| report)
    }

    /// Of most signets that shows at once, without reading keys or who vouches for them: there may be many.
    fn may_be_due(&self, newest: &NewestSignet) -> bool {
        let is_settled = || match Signet::decode(&newest.object) {
            Ok(signet) => newest.keys_kept && !self.is_due(&signet),
            Err(_) => false,
        };
        !newest.is_revoked && !is_settled()
    }

    async fn look_after(&self, text: &str, report: &mut Report) {
        // What is published under another name can be found by nobody.
        let Ok(name) = Name::parse(text) else { return };
        let done = match &name {
            Name::Organization(domain) => self.organization(domain).await,
            Name::User(address) => self.user(address, report).await,
        };
        match done {
            Ok(Step::Nothing) => {}
            Ok(Step::Renewed) => report.renewed += 1,
            Ok(Step::Published { last }) => {
                report.published += 1;
                if last {
                    *report.running_out.entry(name.domain().clone()).or_default() += 1;
                }
            }
            Ok(Step::LastInUse) => *report.running_out.entry(name.domain().clone()).or_default() += 1,
            // Somebody else has just published: the next pass looks again.
            Err(Error::Store(store::Error::Changed)) => {}
            Err(error) => {
                report.failed += 1;
                tracing::error!(event = observe::KEY_SET_FAILED, domain = %name.domain(), %error,
                    "a key set cannot be replaced; once it has expired, mail waits");
            }
        }
    }

    async fn organization(&self, domain: &Domain) -> Result<Step, Error> {
        let Some(organization) = self.published.organization(domain).await? else {
            return Ok(Step::Nothing);
        };
        let signet = organization.signet;
        if !self.is_due(signet.signet()) {
            return Ok(Step::Nothing);
        }
        let offer = Offer::after(signet.signet());
        self.published.renew_organization(domain, offer).await?;
        Ok(Step::Renewed)
    }

    async fn user(&self, address: &Mailbox, report: &mut Report) -> Result<Step, Error> {
        // Taken out of service.
        let Some(user) = self.published.user(address).await? else {
            return Ok(Step::Nothing);
        };
        match user.keys {
            Some(_) if self.is_due(user.signet.signet()) => {
                let offer = Offer::after(user.signet.signet());
                self.published.renew_user(address, offer).await?;
                Ok(Step::Renewed)
            }
            Some(_) => Ok(Step::Nothing),
            None => self.ahead(address, &user, report).await,
        }
    }

    /// No key set, one that breaks a rule, an old one, or one that is about to expire. One from the future, made before the
    /// clock was set back, can be followed only by a newer one, and is left alone.
    fn is_due(&self, signet: &Signet) -> bool {
        let now = seconds(self.clock.now());
        let set = match SignedKeySet::of(signet) {
            Ok(Some(set)) => set,
            Ok(None) | Err(_) => return true,
        };
        let is_old = set.created().saturating_add(self.times.renew_after.as_secs()) <= now;
        set.created() <= now && (is_old || set.expires() <= now.saturating_add(LAST_CHANCE))
    }

    /// Nobody but the user can sign another one.
    async fn ahead(&self, address: &Mailbox, user: &User, report: &mut Report) -> Result<Step, Error> {
        let due = self.published.publish_due(address).await?;
        let user = match due.published {
            true => &self.published.user(address).await?.ok_or(Error::NoSignet)?,
            false => user,
        };
        let Ok(Some(in_use)) = SignedKeySet::of(user.signet.signet()) else {
            return Ok(Step::Nothing);
        };
        let ahead = self.store.key_sets_ahead(&store::fold(address)).await?;
        if let Some(warning) = Warning::of(&in_use, &ahead, seconds(self.clock.now())) {
            report.warned += u64::from(self.warn(address, warning).await?);
        }
        Ok(match due.published {
            true => Step::Published {
                last: ahead.is_empty(),
            },
            false if ahead.is_empty() => Step::LastInUse,
            false => Step::Nothing,
        })
    }

    fn tell(&self, report: &Report) {
        if report.renewed > 0 {
            tracing::info!(
                event = observe::KEY_SET_RENEWED,
                count = report.renewed,
                "key sets were replaced"
            );
        }
        if report.published > 0 {
            tracing::info!(
                event = observe::KEY_SET_PUBLISHED,
                count = report.published,
                "key sets that users had signed ahead were published"
            );
        }
        if report.warned > 0 {
            tracing::info!(
                event = observe::KEY_SET_WARNED,
                count = report.warned,
                "users were told by mail that their key sets run out"
            );
        }
        if report.destroyed > 0 {
            tracing::info!(
                event = observe::KEY_SET_DESTROYED,
                count = report.destroyed,
                "private keys of expired key sets were destroyed"
            );
        }
        for (domain, count) in &report.running_out {
            if self.is_to_be_warned(domain) {
                tracing::warn!(event = observe::KEY_SET_RUNNING_OUT, domain = %domain, count = *count,
                    "users have no further key set signed ahead: once the present one has expired, their mail waits \
                     (`dimed key set show` lists them)");
            }
        }
    }

    /// Once a day.
    fn is_to_be_warned(&self, domain: &Domain) -> bool {
        let now = self.clock.now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = warned.get(domain).is_some_and(|at| now.since(*at) < WARN_EVERY);
        if !silent {
            warned.insert(domain.clone(), now);
        }
        !silent
    }
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewal")
    }
}

#[cfg(test)]
mod tests;
