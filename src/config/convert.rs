//! From sections of the file to the parameters that lower modules define.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Accounts, Config, Dns, Error, Limits, Local, Outbound, PasswordsAt, Queue, Storage, Validation};
use crate::accounts;
use crate::base::space::{Floor, Space};
use crate::delivery::lmtp::LmtpDelivery;
use crate::delivery::local::{Mailboxes, Means};
use crate::delivery::maildir::Maildirs;
use crate::mail::address::Domain;
use crate::net::connect::Outgoing;
use crate::net::dns::{
    AdBitResolver, AnchorError, HickoryResolver, NameServers, Resolver, Servers, TrustAnchors,
};
use crate::net::https::HttpsClient;
use crate::net::service::Service;
use crate::net::tls::{self, Connector, Identity, WebPki};
use crate::net::{kept_certificate, self_signed};
use crate::queue::schedule::{Schedule, Schedules};
use crate::routing::Transports;
use crate::{dmtp, smtp};

/// How long the fetch of an MTA-STS policy may take (RFC 8461 §3.3 suggests a minute).
const POLICY_PATIENCE: Duration = Duration::from_secs(60);

impl From<&Storage> for Floor {
    fn from(storage: &Storage) -> Self {
        Self {
            octets: storage.min_free_mib.saturating_mul(1024 * 1024),
            inodes: storage.min_free_inodes,
        }
    }
}

impl From<&Limits> for smtp::server::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            message_bytes: limits.message_bytes.get(),
            recipients: limits.recipients.get(),
            errors: limits.errors.get(),
            command: Duration::from_secs(limits.command_timeout_secs.get()),
            data_block: Duration::from_secs(limits.data_timeout_secs.get()),
            data_total: Duration::from_secs(limits.message_timeout_secs.get()),
            ..Self::default()
        }
    }
}

impl From<&Limits> for dmtp::server::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            message_bytes: limits.message_bytes.get(),
            violations: limits.errors.get(),
            command_timeout: Duration::from_secs(limits.command_timeout_secs.get()),
            data_timeout: Duration::from_secs(limits.data_timeout_secs.get()),
            message_timeout: Duration::from_secs(limits.message_timeout_secs.get()),
            ..Self::default()
        }
    }
}

impl From<&Accounts> for accounts::Settings {
    fn from(accounts: &Accounts) -> Self {
        Self {
            detail_separator: accounts.detail_separator,
            postmaster: accounts.postmaster.clone(),
            cost: accounts::Cost {
                memory_kib: accounts.password_memory_kib.get(),
                passes: accounts.password_passes.get(),
                scram_rounds: accounts.scram_rounds.get(),
            },
            concurrent_checks: accounts.password_checks.get(),
            dovecot: match &accounts.authentication {
                PasswordsAt::Own => None,
                PasswordsAt::Dovecot(socket) => Some(accounts::Dovecot::new(socket.clone())),
            },
        }
    }
}

impl From<&Outbound> for Outgoing {
    fn from(outbound: &Outbound) -> Self {
        Self {
            source: outbound.source_address,
            timeout: Duration::from_secs(outbound.connect_timeout_secs.get()),
        }
    }
}

impl Outbound {
    /// The roots that hosts' certificates must lead to, with the revocation lists; `None` on a machine without any.
    ///
    /// Errors: those of [`WebPki::load`] and [`WebPki::with_revocation_lists`], if files are configured.
    pub fn roots(&self) -> Result<Option<WebPki>, tls::Error> {
        let roots = match &self.root_certificates {
            Some(path) => Some(WebPki::load(path)?),
            None => WebPki::system().ok(),
        };
        match (roots, &self.revocation_lists) {
            (Some(roots), Some(path)) => roots.with_revocation_lists(path).map(Some),
            (roots, _) => Ok(roots),
        }
    }

    /// The web servers of others. Without root certificates none of them is believed.
    ///
    /// Errors: those of [`Connector::pkix`].
    pub fn https(
        &self,
        resolver: &Arc<dyn Resolver>,
        roots: Option<&WebPki>,
    ) -> Result<HttpsClient, tls::Error> {
        Ok(HttpsClient {
            resolver: Arc::clone(resolver),
            outgoing: self.into(),
            connector: roots.map(Connector::pkix).transpose()?,
            port: self.https_port.get(),
            patience: POLICY_PATIENCE,
        })
    }
}

impl Dns {
    /// Who is asked, and whether and how the answers are proven.
    ///
    /// Errors: [`Error::Unreadable`] and [`Error::Invalid`] about the file of trust anchors; [`Error::NotLoopback`], which
    /// a section that was read does not lead to.
    pub fn resolver(&self) -> Result<Arc<dyn Resolver>, Error> {
        let listed = Servers {
            addresses: self.servers.clone(),
            reply_timeout: Duration::from_secs(self.reply_timeout_secs.get()),
            rounds: self.rounds.get(),
            total_timeout: Duration::from_secs(self.total_timeout_secs.get()),
        };
        if self.validation == Validation::AdBit {
            return Ok(Arc::new(AdBitResolver::new(listed)?));
        }
        let servers = match listed.addresses.is_empty() {
            true => NameServers::of_file(&self.resolv_conf, listed),
            false => listed.into(),
        };
        let anchors = match &self.trust_anchors {
            Some(path) => anchors(path)?,
            None => TrustAnchors::root(),
        };
        Ok(Arc::new(HickoryResolver::new(servers, anchors)))
    }
}

fn anchors(path: &Path) -> Result<TrustAnchors, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Named {
        key: "dns.trust_anchors",
        path: path.to_owned(),
        source,
    })?;
    text.parse().map_err(|error: AnchorError| Error::Invalid {
        path: path.to_owned(),
        line: error.line,
        column: 1,
        message: String::from("not a DNSKEY or DS record that can be used as a trust anchor"),
    })
}

impl From<Local> for Means {
    fn from(local: Local) -> Self {
        match local {
            Local::Maildir => Self::Maildir,
            Local::Lmtp => Self::Lmtp,
        }
    }
}

impl From<&Queue> for Schedule {
    fn from(queue: &Queue) -> Self {
        let warning = Duration::from_secs(queue.delay_warning_secs);
        Self {
            first: Duration::from_secs(queue.retry_first_secs.get()),
            longest: Duration::from_secs(queue.retry_max_secs.get()),
            lifetime: Duration::from_secs(queue.lifetime_secs.get()),
            delay_warning: (!warning.is_zero()).then_some(warning),
        }
    }
}

impl Queue {
    /// When deliveries are tried again, and given up.
    pub fn schedules(&self) -> Schedules {
        Schedules {
            usual: self.into(),
            rules: self.schedules.iter().map(Into::into).collect(),
        }
    }
}

impl Config {
    /// Name we greet others with.
    pub fn helo(&self) -> &Domain {
        self.outbound.helo.as_ref().unwrap_or(&self.server.hostname)
    }

    /// The names under which others know this host: mail for a host of that name would come back.
    pub fn names(&self) -> Vec<Domain> {
        vec![self.helo().clone(), self.server.hostname.clone()]
    }

    /// Certificate and key for DMTP, which management records vouch for.
    ///
    /// Without a configured pair, a self-signed one in the data directory is used, and made if it is not there.
    pub fn dmtp_identity(&self) -> Result<Identity, tls::Error> {
        match (&self.tls.certificate, &self.tls.key) {
            (Some(certificate), Some(key)) => Identity::load(certificate, key),
            _ => self_signed::load_or_make(&self.server.certificates(), &self.server.hostname),
        }
    }

    /// Where that self-signed pair is, whether or not it has been made.
    pub fn self_signed_pair(&self) -> (PathBuf, PathBuf) {
        self_signed::pair(&self.server.certificates())
    }

    /// Where the pair for DMTP is while another one, which the configuration names already, waits for its time.
    pub fn kept_certificate(&self) -> PathBuf {
        self.server.certificates().join("dmtp-kept.pem")
    }

    /// The pair that DMTP peers go by in place of the configured one, which waits for its time; `None` if none waits.
    ///
    /// Errors: those of [`Identity::load`].
    pub fn kept_identity(&self) -> Result<Option<Identity>, tls::Error> {
        kept_certificate::load(&self.kept_certificate())
    }

    /// Certificate and key for SMTP and submission.
    pub fn smtp_identity(&self) -> Result<Identity, tls::Error> {
        match self.tls.smtp_pair() {
            Some((certificate, key)) => Identity::load(certificate, key),
            None => self.dmtp_identity(),
        }
    }

    /// The disk that the database is on.
    pub fn space(&self) -> Space {
        Space::new(&self.server.data_directory, (&self.storage).into())
    }

    /// Files and sockets that one connection may take: its own, and one to each filter.
    pub fn descriptors_of_connection(&self) -> usize {
        1 + self.filtering.filters.len()
    }

    /// The Maildirs of all accounts.
    pub fn maildirs(&self) -> Maildirs {
        let pattern = self.delivery.maildir.in_data(&self.server.data_directory);
        let quota = u64::from(self.delivery.quota_mib) << 20;
        Maildirs::new(pattern, self.server.hostname.clone()).with_quota(quota)
    }

    /// Where the mail of all accounts lies.
    pub fn mailboxes(&self, maildirs: Arc<Maildirs>) -> Mailboxes {
        let delivery = &self.delivery;
        let lmtp = |server: &Service| {
            let outgoing = (&self.outbound).into();
            LmtpDelivery::new(
                server.clone(),
                outgoing,
                self.helo().clone(),
                delivery.lmtp_detail,
            )
        };
        let domains = delivery.domains.iter();
        Mailboxes {
            maildirs,
            lmtp: delivery.lmtp.as_ref().map(lmtp),
            means: delivery.local.into(),
            of_domains: domains
                .map(|(domain, local)| (domain.clone(), (*local).into()))
                .collect(),
        }
    }

    /// The hosts that the operator names.
    pub fn transports(&self) -> Transports {
        Transports::new(self.outbound.transports.iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bad_trust_anchor_is_named_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("anchors");
        std::fs::write(&path, "; comment\n. IN A 192.0.2.1\n").unwrap();
        let dns = Dns {
            servers: vec!["127.0.0.1:53".parse().unwrap()],
            trust_anchors: Some(path.clone()),
            ..Dns::default()
        };
        let error = dns.resolver().err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("{}:2:1: not a DNSKEY", path.display())),
            "{error}"
        );
    }

    #[test]
    fn the_defaults_of_the_file_and_of_the_machines_agree() {
        let limits = Limits::default();
        let smtp = smtp::server::Limits::from(&limits);
        let default = smtp::server::Limits::default();
        assert_eq!(smtp.message_bytes, default.message_bytes);
        assert_eq!(
            (smtp.recipients, smtp.errors),
            (default.recipients, default.errors)
        );
        assert_eq!(
            (smtp.command, smtp.data_block),
            (default.command, default.data_block)
        );
        assert_eq!(
            dmtp::server::Limits::from(&limits),
            dmtp::server::Limits::default()
        );
    }
}
