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

use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::certificates::{Complaints, Found, Pair, Shown, Stamps, Waiting};
use self::renewed::Fresh;
use super::listener::ConnectionLimits;
use super::services::Filters;
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

/// How long the last look may take, at the end.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Files read at the same time, and how long that may take: one that never comes to an end, such as on a server that is gone,
/// holds up nobody else.
const READERS: usize = 4;
pub(in crate::daemon) const READ_WITHIN: Duration = Duration::from_secs(30);

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
    readers: Arc<Semaphore>,
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
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Reads files where nobody else waits for it.
    ///
    /// Errors: [`Error::Unread`] if that takes too long, or ends by a fault of ours.
    pub async fn aside<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        aside(&self.readers, read).await
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
        let named = config.clone();
        let files = self.aside(move || Ok::<_, Error>((Identities::of(&named)?, Filters::of(&named)?)));
        let (identities, filters) = files.await??;
        let fresh = Fresh::of(config, filters, &services).await?;
        let has_records = !with_records(&services).await?.is_empty();
        state.read = read;
        let found = Found {
            smtp: Some(identities.smtp),
            dmtp: Some((identities.dmtp, has_records)),
        };
        let identities = self.take(&mut state, &services, found);
        self.put(services.renewed(fresh, identities));
        Ok(Reloaded {
            needs_restart,
            certificate_waits: state.waiting.is_some(),
        })
    }

    /// Takes certificates that have changed, each by itself. Returns those that cannot be used.
    async fn renew_certificates(&self) -> Vec<(Pair, Error)> {
        let mut state = self.state.lock().await;
        let services = self.current.get();
        let [smtp, dmtp] = [Pair::Smtp, Pair::Dmtp].map(|pair| {
            let config = services.config.clone();
            async move { Ok::<_, Error>(self.aside(move || pair.load(&config)).await??) }
        });
        let dmtp = async {
            let shown = dmtp.await?;
            Ok::<_, Error>((shown, !with_records(&services).await?.is_empty()))
        };
        let (smtp, dmtp) = tokio::join!(smtp, dmtp);
        let mut failed = Vec::new();
        let found = Found {
            smtp: smtp.map_err(|error| failed.push((Pair::Smtp, error))).ok(),
            dmtp: dmtp.map_err(|error| failed.push((Pair::Dmtp, error))).ok(),
        };
        let identities = self.take(&mut state, &services, found);
        if !identities.are_same(&services.identities) {
            self.put(services.renewed(Fresh::same(&services), identities));
        }
        failed
    }

    /// What is shown from now on.
    fn take(&self, state: &mut State, old: &Services, found: Found) -> Identities {
        let shown = &old.identities;
        let mut identities = shown.clone();
        if let Some(other) = found.smtp {
            if !other.is_same(&shown.smtp) {
                certificates::tell("smtp", &shown.smtp, &other);
            }
            identities.smtp = other;
        }
        if let Some((other, has_records)) = found.dmtp {
            let is_same = other.is_same(&shown.dmtp);
            // It stays until the other's time has come, if there are records that peers go by.
            if !is_same && has_records {
                self.have_wait(state, old, other);
                return identities;
            }
            if !is_same {
                certificates::tell("dmtp", &shown.dmtp, &other);
            }
            state.waiting = None;
            certificates::keep(&old.config, None);
            identities.dmtp = other;
        }
        identities
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
        let services = self.current.get();
        let looked_for = self.state.lock().await.waiting.as_ref()?.shown.clone();
        let domains = match with_records(&services).await {
            Ok(domains) => domains,
            Err(error) => {
                tracing::warn!(event = observe::TLS_CERTIFICATE_FAILED, service = "dmtp", error = %Causes(&error), "our domains cannot be read; the certificate for DMTP stays");
                return Some(RECORDS_SELDOM);
            }
        };
        // DNS may take long, and nobody is kept from another configuration meanwhile.
        let ttl = certificates::vouched_for(services.resolver.as_ref(), &domains, &looked_for).await;
        self.judge(&looked_for, ttl).await
    }

    /// The same, when it is known for how long there may be older records than those that vouch for a certificate.
    async fn judge(&self, looked_for: &Shown, ttl: Option<Duration>) -> Option<Duration> {
        let mut state = self.state.lock().await;
        let services = self.current.get();
        // Whoever has put another one there has said so.
        let certificate = state.waiting.as_mut();
        let certificate = certificate.filter(|now| now.shown.is_same(looked_for))?;
        let now = services.clock.certain(services.clock.now());
        let remaining = match services.identities.dmtp.has_ended(now) {
            // No peer takes the old one any more.
            true => Some(Duration::ZERO),
            false => certificate.note(ttl),
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

    /// Looks at certificates, until `stop`, and then once more.
    pub(in crate::daemon) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch_files() => {}
            () = self.watch_records() => {}
        }
        // Whoever replaces files and then has the daemon restarted leaves it no time to see them, and the next start would not know
        // which certificate peers go by. Those that we make ourselves nobody replaces.
        if self.current.get().config.tls.certificate.is_some() {
            let _ = timeout(LAST_LOOK, self.renew_certificates()).await;
        }
    }

    async fn watch_files(&self) {
        // They may have been replaced since they were read at the start.
        let mut known = None;
        let mut complaints = Complaints::default();
        loop {
            sleep(EVERY).await;
            let now = self.stamps().await;
            if now.is_some() && now == known {
                continue;
            }
            let failed = self.renew_certificates().await;
            // Perhaps a key has not been written yet: it is tried again.
            known = now.clone().filter(|_| failed.is_empty());
            let failed = failed
                .iter()
                .map(|(pair, error)| (*pair, Causes(error).to_string()));
            for (pair, error) in complaints.news(failed.collect(), now.as_ref()) {
                tracing::error!(
                    event = observe::TLS_CERTIFICATE_FAILED,
                    service = pair.name(),
                    error,
                    "another certificate cannot be used; the one from before stays"
                );
            }
        }
    }

    /// `None` if it cannot be found out now.
    async fn stamps(&self) -> Option<Stamps> {
        let services = self.current.get();
        self.aside(move || Stamps::of(&services.config)).await.ok()
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

/// See [`Reloader::aside`].
async fn aside<T: Send + 'static>(
    readers: &Arc<Semaphore>,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let turn = Arc::clone(readers).acquire_owned();
    let reading = async {
        let turn = turn.await;
        let read = move || {
            let done = read();
            drop(turn);
            done
        };
        spawn_blocking(read).await
    };
    // A panic has been told where it was: what is there goes on, and so does whoever looks after it.
    match timeout(READ_WITHIN, reading).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(Error::Unread),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn fault() -> u8 {
        panic!("as this test wants it")
    }

    #[tokio::test]
    async fn a_fault_ends_what_it_is_in_alone_and_takes_nobodys_place() {
        let readers = Arc::new(Semaphore::new(1));
        let failed = aside(&readers, fault).await;
        assert!(matches!(failed, Err(Error::Unread)));
        assert_eq!(aside(&readers, || 1).await.unwrap(), 1);
    }
}
