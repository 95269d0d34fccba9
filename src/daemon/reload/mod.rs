//! Another configuration, and other certificates, while the daemon runs.
//!
//! A configuration is judged as a whole, as at the start, before anything of it counts; then new sessions and attempts go by it,
//! and those under way keep what they began with. What is made of a section that says the same as before is kept with all that it
//! has counted. What cannot change while everything else goes on (`fixed.rs`) stays as it is, and is named.

mod attempts;
mod certificates;
mod control;
mod current;
mod fixed;
pub(in crate::daemon) mod parts;
mod renewed;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::certificates::{Shown, Stamps, Waiting};
use self::renewed::Fresh;
use super::listener::ConnectionLimits;
use super::{Error, Services};
use crate::base::causes::Causes;
use crate::base::observe;
use crate::config::Config;
use crate::mail::address::Domain;
use crate::store;

pub(in crate::daemon) use attempts::Attempts;
pub use certificates::Identities;
pub use control::{Answer, Control, Request, ask};
pub(in crate::daemon) use current::Current;
pub(in crate::daemon) use parts::Base;

/// Time between two looks at the files of certificates.
const EVERY: Duration = Duration::from_secs(10);

/// Time between two looks at the records that a certificate waits for, as long as they do not vouch for it, and then at most.
const RECORDS_EVERY: Duration = Duration::from_secs(10);
const RECORDS_SELDOM: Duration = Duration::from_secs(60);

/// What came of another configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// Keys that say something else than at the start, and count only after a restart.
    pub needs_restart: Vec<&'static str>,
    /// Another certificate for DMTP waits until DNS vouches for it.
    pub certificate_waits: bool,
}

/// Gives a running daemon another configuration.
pub struct Reloader {
    current: Arc<Current>,
    attempts: Arc<Attempts>,
    limits: ConnectionLimits,
    /// Held while something changes.
    state: Mutex<State>,
    /// There is a certificate that may be ready.
    waits: Notify,
}

struct State {
    /// The configuration as it was read last, with what cannot change as it was at the start.
    read: Config,
    waiting: Option<Waiting>,
}

impl Reloader {
    pub(in crate::daemon) fn new(
        read: Config,
        current: Arc<Current>,
        attempts: Arc<Attempts>,
        limits: ConnectionLimits,
    ) -> Self {
        Self {
            current,
            attempts,
            limits,
            state: Mutex::new(State { read, waiting: None }),
            waits: Notify::new(),
        }
    }

    /// From now on `config` counts, which has been read and checked.
    ///
    /// Errors: those of the start. Then nothing has changed.
    pub async fn reload(&self, mut config: Config) -> Result<Reloaded, Error> {
        let mut state = self.state.lock().await;
        let needs_restart = fixed::keep(&state.read, &mut config);
        let read = config.clone();
        let services = self.current.get();
        // Addresses of sockets that were handed over are in no file.
        config.listen = services.config.listen.clone();
        let identities = Identities::of(&config)?;
        let fresh = Fresh::of(config, &services).await?;
        let has_records = !with_records(&services).await?.is_empty();
        state.read = read;
        self.change(&mut state, &services, fresh, (identities, has_records));
        Ok(Reloaded {
            needs_restart,
            certificate_waits: state.waiting.is_some(),
        })
    }

    /// Takes certificates that have changed.
    async fn renew_certificates(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let services = self.current.get();
        let identities = Identities::of(&services.config)?;
        let has_records = !with_records(&services).await?.is_empty();
        let fresh = Fresh::same(&services);
        self.change(&mut state, &services, fresh, (identities, has_records));
        Ok(())
    }

    /// The certificate for DMTP stays until its successor's time has come, if there are records that peers go by.
    fn change(&self, state: &mut State, old: &Services, fresh: Fresh, new: (Identities, bool)) {
        let (mut identities, has_records) = new;
        let shown = &old.identities;
        if !identities.smtp.is_same(&shown.smtp) {
            certificates::tell("smtp", &shown.smtp, &identities.smtp);
        }
        let is_same = identities.dmtp.is_same(&shown.dmtp);
        if is_same || !has_records {
            state.waiting = None;
            certificates::keep(&old.config, None);
            if !is_same {
                certificates::tell("dmtp", &shown.dmtp, &identities.dmtp);
            }
        } else {
            let other = std::mem::replace(&mut identities.dmtp, shown.dmtp.clone());
            self.have_wait(state, old, other);
        }
        self.put(old.renewed(fresh, identities));
    }

    /// One that waits already goes on to.
    fn have_wait(&self, state: &mut State, old: &Services, other: Shown) {
        let waiting = state.waiting.as_ref();
        if waiting.is_none_or(|waiting| !waiting.shown.is_same(&other)) {
            certificates::keep(&old.config, Some(&old.identities.dmtp));
            state.waiting = Some(Waiting::new(other));
            self.waits.notify_one();
        }
    }

    fn put(&self, services: Services) {
        self.limits
            .set_per_address(services.config.limits.connections_per_address.get());
        self.attempts.put(&services);
        self.current.put(services);
    }

    /// Shows the certificate that waits, if its time has come. Returns when to look again; `None` if nothing waits any more.
    async fn look_at_records(&self) -> Option<Duration> {
        let mut state = self.state.lock().await;
        let services = self.current.get();
        let certificate = state.waiting.as_mut()?;
        let domains = match with_records(&services).await {
            Ok(domains) => domains,
            Err(error) => {
                tracing::warn!(event = observe::TLS_CERTIFICATE_FAILED, error = %Causes(&error), "our domains cannot be read; the certificate for DMTP stays");
                return Some(RECORDS_SELDOM);
            }
        };
        let remaining = match services.identities.dmtp.has_ended(services.clock.now()) {
            // No peer takes the old one any more.
            true => Some(Duration::ZERO),
            false => certificate.look(services.resolver.as_ref(), &domains).await,
        };
        if remaining != Some(Duration::ZERO) {
            let wait = remaining.map_or(RECORDS_EVERY, |remaining| remaining.min(RECORDS_SELDOM));
            return Some(wait);
        }
        let mut identities = services.identities.clone();
        certificates::tell("dmtp", &identities.dmtp, &certificate.shown);
        identities.dmtp = certificate.shown.clone();
        state.waiting = None;
        certificates::keep(&services.config, None);
        self.put(services.renewed(Fresh::same(&services), identities));
        None
    }

    /// Looks at certificates, until `stop`.
    pub(in crate::daemon) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch_files() => {}
            () = self.watch_records() => {}
        }
    }

    async fn watch_files(&self) {
        // What was read at the start may have changed before the first look, or have to wait.
        let mut known = None;
        let mut is_told = false;
        loop {
            sleep(EVERY).await;
            let now = self.stamps().await;
            if now == known {
                continue;
            }
            match self.renew_certificates().await {
                Ok(()) => {
                    known = now;
                    is_told = false;
                }
                // Perhaps the key has not been written yet: it is tried again.
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::error!(event = observe::TLS_CERTIFICATE_FAILED, error = %Causes(&error), "other certificates cannot be used; those from before stay");
                }
                Err(_) => {}
            }
        }
    }

    async fn stamps(&self) -> Option<Stamps> {
        let services = self.current.get();
        let looked = tokio::task::spawn_blocking(move || Stamps::of(&services.config));
        looked.await.ok()
    }

    async fn watch_records(&self) {
        loop {
            self.waits.notified().await;
            while let Some(pause) = self.look_at_records().await {
                sleep(pause).await;
            }
        }
    }
}

/// Our domains that have management records.
async fn with_records(services: &Services) -> Result<Vec<Domain>, store::Error> {
    let domains = services.store.list_domains().await?.into_iter();
    Ok(domains
        .filter(|domain| domain.dime.is_some())
        .map(|domain| domain.name)
        .collect())
}
