//! Our certificates: what is shown to whom, and when another one takes its place.
//!
//! The one for SMTP and submission is replaced as soon as its file is. For DMTP, peers go by what the management records say: a
//! certificate whose `tls=` value they do not find there is refused. So another one waits until the records of all our domains
//! vouch for it, and then for their TTL, after which nobody has an older record (`management-record.md` §6 step 4). Meanwhile the
//! old one is kept in a file of ours, so that a daemon which is started goes on with it, and the time begins anew. One that is out of
//! date keeps no other waiting.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::base::causes::Causes;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::config::Config;
use crate::domains::{RecordLookup, look_up};
use crate::mail::address::Domain;
use crate::net::dns::Resolver;
use crate::net::kept_certificate;
use crate::net::tls::{Acceptor, Error, Identity};

/// Records looked up at the same time.
const AT_A_TIME: usize = 16;

/// How soon it is said again that a certificate cannot be used.
const TOLD_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A certificate with its key, ready to be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Shakes hands with it.
    pub acceptor: Acceptor,
    identity: Arc<Identity>,
}

impl Shown {
    fn of(identity: Identity) -> Result<Self, Error> {
        Ok(Self {
            acceptor: Acceptor::new(&identity)?,
            identity: Arc::new(identity),
        })
    }

    fn leaf(&self) -> &CertificateDer<'static> {
        self.identity.leaf()
    }

    /// Whether it is the same certificate.
    pub fn is_same(&self, other: &Self) -> bool {
        self.leaf() == other.leaf()
    }

    /// Whether it is out of date.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends() < now.unix_secs()
    }

    /// In hexadecimal, without the zero in front that makes it positive; empty for one that cannot be read.
    fn serial(&self) -> String {
        let Ok((_, parsed)) = X509Certificate::from_der(self.leaf()) else {
            return String::new();
        };
        let serial = parsed.raw_serial_as_string();
        serial.strip_prefix("00:").map(str::to_owned).unwrap_or(serial)
    }

    /// Unix time in seconds; 0 for one that cannot be read.
    fn ends(&self) -> i64 {
        let parsed = X509Certificate::from_der(self.leaf());
        parsed.map_or(0, |(_, parsed)| parsed.validity().not_after.timestamp())
    }
}

/// What is shown, by protocol.
#[derive(Debug, Clone)]
pub struct Identities {
    /// For SMTP and submission.
    pub smtp: Shown,
    /// For DMTP.
    pub dmtp: Shown,
}

impl Identities {
    /// Those that the configuration names.
    ///
    /// Errors: those of [`Identity::load`] and [`Acceptor::new`].
    pub fn of(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            smtp: Shown::of(config.smtp_identity()?)?,
            dmtp: Shown::of(config.dmtp_identity()?)?,
        })
    }

    /// Those to begin with: for DMTP the one that is kept, if there is one.
    ///
    /// Errors: those of [`Self::of`]. A kept one that cannot be used is not used.
    pub fn at_start(config: &Config) -> Result<Self, Error> {
        let configured = Self::of(config)?;
        let kept = config
            .kept_identity()
            .and_then(|kept| kept.map(Shown::of).transpose());
        match kept {
            Ok(kept) => Ok(Self {
                dmtp: kept.unwrap_or(configured.dmtp),
                ..configured
            }),
            Err(error) => {
                tracing::error!(event = observe::TLS_CERTIFICATE_FAILED, service = "dmtp", error = %Causes(&error), "the certificate that DMTP peers went by cannot be used; the configured one is, although it has not waited");
                Ok(configured)
            }
        }
    }

    /// Whether all of them are the same certificates.
    pub fn are_same(&self, other: &Self) -> bool {
        self.smtp.is_same(&other.smtp) && self.dmtp.is_same(&other.dmtp)
    }
}

/// One of the two, with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pair {
    /// For SMTP and submission.
    Smtp,
    /// For DMTP.
    Dmtp,
}

impl Pair {
    /// As it is called in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Dmtp => "dmtp",
        }
    }

    /// The one that the configuration names.
    ///
    /// Errors: those of [`Identity::load`] and [`Acceptor::new`].
    pub fn load(self, config: &Config) -> Result<Shown, Error> {
        let identity = match self {
            Self::Smtp => config.smtp_identity(),
            Self::Dmtp => config.dmtp_identity(),
        };
        Shown::of(identity?)
    }
}

/// Certificates that have been read. What is `None` stays as it is.
pub struct Found {
    /// For SMTP and submission.
    pub smtp: Option<Shown>,
    /// For DMTP, and whether there are records that peers go by.
    pub dmtp: Option<(Shown, bool)>,
}

/// What was said of certificates that cannot be used: of which files, and when.
#[derive(Debug, Default)]
pub struct Complaints(BTreeMap<Pair, Complaint>);

#[derive(Debug)]
struct Complaint {
    error: String,
    files: Option<Stamps>,
    told_at: Instant,
}

impl Complaints {
    /// What is to be said of all that have failed now: what differs from before, what is said of other files, and everything once
    /// a day.
    pub fn news(&mut self, failed: Vec<(Pair, String)>, files: Option<&Stamps>) -> Vec<(Pair, String)> {
        let now = Instant::now();
        self.0.retain(|pair, _| failed.iter().any(|(one, _)| one == pair));
        let is_news = |(pair, error): &(Pair, String)| {
            let is_said = |before: &Complaint| {
                before.error == *error
                    && before.files.as_ref() == files
                    && now.duration_since(before.told_at) < TOLD_EVERY
            };
            if self.0.get(pair).is_some_and(is_said) {
                return false;
            }
            let complaint = Complaint {
                error: error.clone(),
                files: files.cloned(),
                told_at: now,
            };
            self.0.insert(*pair, complaint);
            true
        };
        failed.into_iter().filter(is_news).collect()
    }
}

/// Says which certificate took which one's place.
pub fn tell(service: &'static str, old: &Shown, new: &Shown) {
    tracing::info!(
        event = observe::TLS_CERTIFICATE_REPLACED,
        service,
        certificate.serial = new.serial(),
        certificate.ends = new.ends(),
        replaced.serial = old.serial(),
        replaced.ends = old.ends(),
        "another certificate is in use"
    );
}

/// Has a start go on with a certificate for DMTP, or with whatever is configured then.
pub fn keep(config: &Config, shown: Option<&Shown>) {
    let file = config.kept_certificate();
    let kept = match shown {
        Some(shown) => kept_certificate::keep(&file, &shown.identity),
        None => kept_certificate::forget(&file),
    };
    if let Err(error) = kept {
        tracing::error!(event = observe::TLS_CERTIFICATE_FAILED, service = "dmtp", error = %Causes(&error), "after a restart another certificate may be shown to DMTP peers than should be");
    }
}

/// A certificate for DMTP that waits for its time.
pub struct Waiting {
    /// It.
    pub shown: Shown,
    /// When nobody has a record any more that does not vouch for it; `None` as long as there are such records.
    ready_at: Option<Instant>,
}

impl Waiting {
    /// Nothing is known of its records yet.
    pub fn new(shown: Shown) -> Self {
        tracing::warn!(
            event = observe::TLS_CERTIFICATE_WAITS,
            certificate.serial = shown.serial(),
            certificate.ends = shown.ends(),
            "another certificate for DMTP waits until DNS vouches for it, for as long as old records may be kept; publish what \
             `dimed dns records` prints"
        );
        Self {
            shown,
            ready_at: None,
        }
    }

    /// Takes note of what [`vouched_for`] says now. Returns how long it has to wait yet; `None` if nobody can say.
    pub fn note(&mut self, ttl: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        self.ready_at = ttl.map(|ttl| self.ready_at.unwrap_or(now + ttl));
        self.ready_at
            .map(|ready_at| ready_at.saturating_duration_since(now))
    }
}

/// For how long others may go on with older records; `None` if some record does not vouch for the certificate, or cannot be
/// looked up.
pub async fn vouched_for(resolver: &dyn Resolver, domains: &[Domain], shown: &Shown) -> Option<Duration> {
    let mut longest = Duration::ZERO;
    for some in domains.chunks(AT_A_TIME) {
        let mut looks = Vec::new();
        for domain in some {
            looks.push(look_up(resolver, domain));
        }
        for (found, ttl) in join_all(looks).await {
            if !allows(&found, shown.leaf()) {
                return None;
            }
            longest = longest.max(ttl);
        }
    }
    Some(longest)
}

fn allows(found: &RecordLookup, leaf: &[u8]) -> bool {
    match found {
        // A record that signs no certificate leaves it to authorities.
        RecordLookup::Found { record, .. } => {
            record.tls_signatures.is_empty() || record.matches_certificate(leaf)
        }
        // Nobody comes by DMTP.
        RecordLookup::Absent(_) | RecordLookup::Unparsable { .. } => true,
        RecordLookup::Bogus | RecordLookup::Failed => false,
    }
}

/// What shows that a file is another one: its number, size and times.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// The files of our certificates as they were last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps(Vec<(PathBuf, Stamp)>);

impl Stamps {
    /// As they are now.
    pub fn of(config: &Config) -> Self {
        let files = config
            .tls
            .pairs()
            .flat_map(|(certificate, key)| [certificate, key]);
        Self(files.map(|file| (file.to_owned(), stamp(file))).collect())
    }
}

fn stamp(file: &Path) -> Stamp {
    let of = |data: Metadata| {
        let changed = (data.ctime(), data.ctime_nsec());
        (
            data.ino(),
            data.size(),
            data.mtime(),
            data.mtime_nsec(),
            changed.0,
            changed.1,
        )
    };
    std::fs::metadata(file).ok().map(of)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use super::*;
    use crate::crypto::ed25519::SigningKey;
    use crate::dime::record::{self, ManagementRecord, Policy, SubdomainPolicy};
    use crate::net::dns::scripted::Script;
    use crate::net::dns::{Lookup, Proof};
    use crate::net::self_signed;

    const TTL: Duration = Duration::from_secs(3600);

    /// What DNS says of every domain now.
    struct Zone(Mutex<Lookup<Vec<Vec<u8>>>>);

    impl Script for Zone {
        fn texts(&self, _: &str) -> Lookup<Vec<Vec<u8>>> {
            self.0.lock().unwrap().clone()
        }
    }

    fn signing(leaves: &[&[u8]]) -> Lookup<Vec<Vec<u8>>> {
        let key = SigningKey::from_seed(&[1; 32]);
        let record = ManagementRecord {
            primary_keys: vec![key.verifying_key()],
            tls_signatures: leaves
                .iter()
                .map(|leaf| record::sign_certificate(&key, leaf))
                .collect(),
            policy: Policy::Mixed,
            delivery_hosts: Vec::new(),
            subdomain_policy: SubdomainPolicy::Strict,
            expiry_days: None,
            syndicates: None,
        };
        Lookup::Found {
            value: vec![record.render().unwrap().into_bytes()],
            ttl: TTL,
            proof: Proof::Secure,
        }
    }

    fn shown() -> Shown {
        let home = tempfile::tempdir().unwrap();
        let host: Domain = "mx.hismail.test".parse().unwrap();
        Shown::of(self_signed::load_or_make(home.path(), &host).unwrap()).unwrap()
    }

    fn leaf(shown: &Shown) -> &[u8] {
        shown.leaf()
    }

    async fn look(waiting: &mut Waiting, zone: &Zone, domains: &[Domain]) -> Option<Duration> {
        let ttl = vouched_for(zone, domains, &waiting.shown).await;
        waiting.note(ttl)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_said_again_when_it_is_something_else_or_of_other_files_and_once_a_day() {
        let mut complaints = Complaints::default();
        let files = |size| Stamps(vec![("key.pem".into(), Some((1, size, 0, 0, 0, 0)))]);
        let mut news = |failed: &[(Pair, &str)], size| {
            let failed = failed.iter().map(|(pair, error)| (*pair, (*error).to_owned()));
            let told = complaints.news(failed.collect(), Some(&files(size)));
            told.into_iter().map(|(pair, _)| pair).collect::<Vec<_>>()
        };
        let both = [(Pair::Smtp, "no key"), (Pair::Dmtp, "no key")];
        assert_eq!(news(&both, 1), [Pair::Smtp, Pair::Dmtp]);
        assert_eq!(news(&both, 1), []);
        assert_eq!(news(&[both[0], (Pair::Dmtp, "another's key")], 1), [Pair::Dmtp]);
        assert_eq!(news(&both[..1], 2), [Pair::Smtp]);
        // The other one was right in between.
        assert_eq!(news(&both, 2), [Pair::Dmtp]);
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(news(&both, 2), [Pair::Smtp, Pair::Dmtp]);
        assert_eq!(news(&both, 2), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_waits_until_nobody_can_have_an_older_record() {
        let (old, new) = (shown(), shown());
        assert!(!old.is_same(&new));
        let zone = Zone(Mutex::new(signing(&[leaf(&old)])));
        let set = |answer: Lookup<Vec<Vec<u8>>>| *zone.0.lock().unwrap() = answer;
        let domains: [Domain; 2] = ["hismail.test".parse().unwrap(), "hers.test".parse().unwrap()];
        let mut waiting = Waiting::new(new.clone());
        assert_eq!(look(&mut waiting, &zone, &domains).await, None);
        tokio::time::advance(TTL * 2).await;
        assert_eq!(look(&mut waiting, &zone, &domains).await, None);

        set(signing(&[leaf(&old), leaf(&new)]));
        assert_eq!(look(&mut waiting, &zone, &domains).await, Some(TTL));
        let second = Duration::from_secs(1);
        tokio::time::advance(TTL - second).await;
        assert_eq!(look(&mut waiting, &zone, &domains).await, Some(second));
        // The time begins anew when the value was gone, or nobody knows.
        for gone in [signing(&[leaf(&old)]), Lookup::Failed, Lookup::Bogus] {
            set(gone);
            tokio::time::advance(TTL).await;
            assert_eq!(look(&mut waiting, &zone, &domains).await, None);
        }
        set(signing(&[leaf(&new)]));
        assert_eq!(look(&mut waiting, &zone, &domains).await, Some(TTL));
        tokio::time::advance(TTL).await;
        assert_eq!(look(&mut waiting, &zone, &domains).await, Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_record_signs_a_certificate_nothing_is_waited_for() {
        let proof = Proof::Secure;
        let zone = Zone(Mutex::new(Lookup::Absent { proof }));
        let mut waiting = Waiting::new(shown());
        let domain: Domain = "hismail.test".parse().unwrap();
        assert_eq!(look(&mut waiting, &zone, &[domain]).await, Some(Duration::ZERO));
        *zone.0.lock().unwrap() = Lookup::Failed;
        let mut waiting = Waiting::new(shown());
        assert_eq!(look(&mut waiting, &zone, &[]).await, Some(Duration::ZERO));
    }
}
