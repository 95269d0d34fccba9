//! What a configuration rests on: certificates, folders, sockets and domains. None of it keeps the daemon from starting.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::host;
use crate::base::descriptors;
use crate::base::time::{Clock, SystemClock, Timestamp};
use crate::cli::context::Context;
use crate::cli::{key, lost};
use crate::config::Config;
use crate::daemon::health;
use crate::mail::address::Domain;
use crate::net::tls::{Identity, Period};

/// How long a mailbox server may take to say who it is.
const PROBED_FOR: Duration = Duration::from_secs(5);

/// Something that is worth a second look.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// For programs.
    pub code: &'static str,
    /// What is wrong, what follows, and what to do.
    pub message: String,
}

impl From<health::Finding> for Finding {
    fn from(found: health::Finding) -> Self {
        Self {
            code: found.code,
            message: format!("{}; {}: {}", found.what, found.why, found.advice),
        }
    }
}

/// Everything that can be found without the database.
pub async fn findings(config: &Config) -> Vec<Finding> {
    let now = SystemClock.now();
    let mut found: Vec<_> = config
        .tls
        .pairs()
        .flat_map(|(certificate, key)| {
            let of_certificate = certificate_ended(certificate, key, now);
            of_certificate.into_iter().chain(key_is_open(key))
        })
        .collect();
    found.extend(certificate_of_others(config));
    let data = &config.server.data_directory;
    found.extend(folder_is_missing(data));
    found.extend(host::of_another(data, rustix::process::geteuid().as_raw()));
    found.extend(host::one_label(&config.server.hostname));
    found.extend(health::files(config, descriptors::most()).map(Finding::from));
    found.extend(mailbox_server_is_silent(config).await);
    found
}

/// Domains that delivery is said of, and that nobody serves.
pub async fn unserved(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for name in context.config.delivery.domains.keys() {
        if context.store.local_domain(name).await?.is_none() {
            found.push(Finding {
                code: "delivery_domain_not_served",
                message: format!(
                    "delivery.domains has {name}, which is not served here, so that it changes nothing: run `dimed domain \
                     add {name}`, or take it out"
                ),
            });
        }
    }
    Ok(found)
}

/// Domains with DIME whose private keys are gone.
pub async fn without_keys(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for served in context.store.list_domains().await? {
        let name = &served.name;
        if served.dime.is_some()
            && let Err(error) = context.published().organization(name).await
            && lost::is_lost(&error)
        {
            found.push(Finding {
                code: "keys_lost",
                message: format!(
                    "no sealed mail comes or goes for {name}: {}; then publish what `dimed dns records {name}` prints",
                    key::without_keys(name)
                ),
            });
        }
    }
    Ok(found)
}

fn certificate_ended(certificate: &Path, key: &Path, now: Timestamp) -> Option<Finding> {
    let identity = Identity::load(certificate, key).ok()?;
    let name = format!("the certificate in {}", certificate.display());
    health::certificate(&name, Period::of(identity.leaf()), now).map(Finding::from)
}

/// The certificate for SMTP must have our name; that for DMTP is vouched for by the management record.
fn certificate_of_others(config: &Config) -> Option<Finding> {
    let (certificate, key) = config.tls.pairs().last()?;
    let identity = Identity::load(certificate, key).ok()?;
    let (_, leaf) = X509Certificate::from_der(identity.leaf()).ok()?;
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let host = &config.server.hostname;
    let is_ours =
        |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if names_host(name, host));
    (!names.iter().any(is_ours)).then(|| Finding {
        code: "certificate_of_others",
        message: format!(
            "the certificate in {} is not for {host} (server.hostname), so that mail programs and hosts that check names do \
             not go on: get one with that name",
            certificate.display()
        ),
    })
}

/// A wildcard stands for one label (RFC 9525 §6.3).
fn names_host(name: &str, host: &Domain) -> bool {
    let host = host.as_str();
    match name.strip_prefix("*.") {
        Some(above) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(above)),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn key_is_open(key: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| Finding {
        code: "key_readable",
        message: format!(
            "everybody on this machine can use the private key in {0}: run `chmod o= {0}`, and get another one if you do \
             not trust them all",
            key.display()
        ),
    })
}

fn folder_is_missing(folder: &Path) -> Option<Finding> {
    (!folder.is_dir()).then(|| Finding {
        code: "data_directory_missing",
        message: format!(
            "{} (server.data_directory) is not there: mount it, or let `dimed domain add` make it if this is a new \
             installation",
            folder.display()
        ),
    })
}

async fn mailbox_server_is_silent(config: &Config) -> Option<Finding> {
    let server = config.mailboxes(Arc::new(config.maildirs())).lmtp?;
    let why = match timeout(PROBED_FOR, server.probe()).await {
        Ok(Ok(())) => return None,
        Ok(Err(diagnosis)) => diagnosis.text,
        Err(_) => "it does not answer".to_owned(),
    };
    Some(Finding {
        code: "mailbox_server_unreachable",
        message: format!(
            "{} (delivery.lmtp) takes no mail now ({why}), so that mail for its accounts waits: start the mailbox server, or \
             put the place right",
            server.server
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_wildcard_names_hosts_one_label_below() {
        let host = "mx.hermail.test".parse().unwrap();
        for (name, names) in [
            ("mx.hermail.test", true),
            ("MX.Hermail.Test", true),
            ("*.hermail.test", true),
            ("*.test", false),
            ("*.mx.hermail.test", false),
            ("hermail.test", false),
        ] {
            assert_eq!(names_host(name, &host), names, "{name}");
        }
    }
}
