//! The services under another configuration.

use std::sync::Arc;

use super::certificates::Identities;
use super::parts::{self, Base};
use crate::config::Config;
use crate::daemon::services::Filters;
use crate::daemon::{Error, Services};
use crate::mail::address::Domain;
use crate::signet_service::Desk;

/// A configuration, and what is made of it that can fail.
pub struct Fresh {
    /// Checked, and with what cannot change as it was.
    config: Config,
    filters: Arc<Filters>,
    hosts: Vec<Domain>,
}

impl Fresh {
    /// With what was made of files that the configuration names.
    ///
    /// Errors: those of the start.
    pub async fn of(config: Config, filters: Arc<Filters>, services: &Services) -> Result<Self, Error> {
        Ok(Self {
            filters,
            hosts: parts::hosts(services.store.as_ref()).await?,
            config,
        })
    }

    /// The same configuration, of which nothing is read again.
    pub fn same(services: &Services) -> Self {
        Self {
            config: services.config.clone(),
            filters: Arc::clone(&services.filters),
            hosts: services.hosts.clone(),
        }
    }
}

/// The old one with all that it remembers, where the configuration says nothing else of it, and else a new one.
fn kept<T: Clone>(is_same: bool, old: &T, new: impl FnOnce() -> T) -> T {
    match is_same {
        true => old.clone(),
        false => new(),
    }
}

impl Services {
    /// These under another configuration, over the same store, caches, pools and counts. What is counted is forgotten only where
    /// its limit is another.
    pub fn renewed(&self, fresh: Fresh, identities: Identities) -> Self {
        let Fresh {
            config: new,
            filters,
            hosts,
        } = fresh;
        let old = &self.config;
        let base = Base {
            store: &self.store,
            clock: &self.clock,
        };
        let accounts = kept(old.accounts == new.accounts, &self.accounts, || {
            base.accounts(&new, &self.host)
        });
        let is_as_large = old.limits.message_bytes == new.limits.message_bytes;
        let may_ask_as_often = old.limits.unknown_users_per_hour == new.limits.unknown_users_per_hour;
        let may_guess_as_often = old.limits.refused_logins_per_hour == new.limits.refused_logins_per_hour;
        let of_users = |config: &Config| {
            let limits = &config.submission;
            (limits.messages_per_hour, limits.recipients_per_hour)
        };
        let of_networks = |config: &Config| {
            let limits = &config.relay;
            (limits.messages_per_hour, limits.recipients_per_hour)
        };
        Self {
            filters,
            hosts,
            smtp_tls: identities.smtp.acceptor.clone(),
            dmtp_tls: identities.dmtp.acceptor.clone(),
            identities,
            desk: Desk {
                published: Arc::clone(&self.published),
                accounts: Arc::clone(&accounts),
            },
            accounts,
            gate: kept(old.abuse == new.abuse, &self.gate, || base.gate(&new)),
            srs: kept(old.forwarding == new.forwarding, &self.srs, || base.srs(&new)),
            callouts: kept(old.relay == new.relay, &self.callouts, || {
                base.callouts(&new, &self.smtp)
            }),
            screening: kept(old.screening == new.screening, &self.screening, || {
                base.screening(&new, &self.resolver)
            }),
            arrivals: kept(is_as_large, &self.arrivals, || parts::budget(&new)),
            budget: kept(is_as_large, &self.budget, || parts::budget(&new)),
            enumeration: kept(may_ask_as_often, &self.enumeration, || parts::enumeration(&new)),
            refused_logins: kept(may_guess_as_often, &self.refused_logins, || parts::refusals(&new)),
            sending: kept(of_users(old) == of_users(&new), &self.sending, || {
                parts::sending(&new)
            }),
            sending_of_networks: kept(
                of_networks(old) == of_networks(&new),
                &self.sending_of_networks,
                || parts::sending_of_networks(&new),
            ),
            config: new,
            ..self.clone()
        }
    }
}
