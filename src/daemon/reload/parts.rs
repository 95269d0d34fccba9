//! Parts of the services that another configuration can replace, each made of its section.

use std::sync::Arc;

use crate::abuse::{Gate, Sending};
use crate::accounts::{Accounts, HostNames};
use crate::authentication::Srs;
use crate::base::budget::Budget;
use crate::base::time::Clock;
use crate::config::{Config, FilteredMail};
use crate::daemon::Error;
use crate::daemon::callout::Callouts;
use crate::daemon::services::Filters;
use crate::daemon::session::logins::Refusals;
use crate::delivery::smtp::SmtpDelivery;
use crate::mail::address::Domain;
use crate::net::dns::Resolver;
use crate::screening::Screening;
use crate::signet_service::Enumeration;
use crate::store::{self, Store};

/// Messages held whole at the same time, on the way in and again in the queue: this many of the largest allowed.
const MESSAGES_IN_MEMORY: u64 = 4;

/// What the parts are made with, beside the configuration.
pub struct Base<'a> {
    pub store: &'a Arc<dyn Store>,
    pub clock: &'a Arc<dyn Clock>,
}

impl Base<'_> {
    pub fn accounts(&self, config: &Config, host: &Arc<HostNames>) -> Arc<Accounts> {
        let accounts = Accounts::new(Arc::clone(self.store), (&config.accounts).into());
        Arc::new(accounts.with_host(Arc::clone(host)))
    }

    pub fn gate(&self, config: &Config) -> Arc<Gate> {
        let (store, clock) = (Arc::clone(self.store), Arc::clone(self.clock));
        Arc::new(Gate::new(store, clock, (&config.abuse).into()))
    }

    pub fn srs(&self, config: &Config) -> Arc<Srs> {
        let (store, clock) = (Arc::clone(self.store), Arc::clone(self.clock));
        Arc::new(Srs::new(store, clock, config.into()))
    }

    pub fn callouts(&self, config: &Config, smtp: &Arc<SmtpDelivery>) -> Arc<Callouts> {
        let (store, clock) = (Arc::clone(self.store), Arc::clone(self.clock));
        Arc::new(Callouts::new(
            store,
            clock,
            Arc::clone(smtp),
            config.relay.clone(),
        ))
    }

    pub fn screening(&self, config: &Config, resolver: &Arc<dyn Resolver>) -> Arc<Screening> {
        Arc::new(Screening::new(
            config.screening(),
            Arc::clone(resolver),
            Arc::clone(self.store),
            Arc::clone(self.clock),
        ))
    }
}

impl Filters {
    /// Those that are configured.
    ///
    /// Errors: those of [`Config::filters`].
    pub fn of(config: &Config) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            incoming: config.filters(FilteredMail::Incoming)?,
            submission: config.filters(FilteredMail::Submission)?,
        }))
    }
}

pub fn budget(config: &Config) -> Budget {
    let largest = config.limits.message_bytes.get();
    Budget::new(largest.saturating_mul(MESSAGES_IN_MEMORY))
}

pub fn enumeration(config: &Config) -> Arc<Enumeration> {
    Arc::new(Enumeration::new(config.limits.unknown_users_per_hour.get()))
}

pub fn refusals(config: &Config) -> Refusals {
    Refusals::new(config.limits.refused_logins_per_hour.get())
}

/// Of our users.
pub fn sending(config: &Config) -> Sending {
    let submission = &config.submission;
    Sending::new(submission.messages_per_hour, submission.recipients_per_hour)
}

/// Of networks whose hosts need not log in.
pub fn sending_of_networks(config: &Config) -> Sending {
    Sending::new(config.relay.messages_per_hour, config.relay.recipients_per_hour)
}

/// The domains we serve and their delivery hosts.
pub async fn hosts(store: &dyn Store) -> Result<Vec<Domain>, store::Error> {
    let mut hosts = Vec::new();
    for domain in store.list_domains().await? {
        hosts.extend(domain.dime.into_iter().flat_map(|dime| dime.delivery_hosts));
        hosts.push(domain.name);
    }
    Ok(hosts)
}
