//! The configuration file: TOML, in which unknown keys are errors.
//!
//! `config/dimed.toml` is the annotated sample; a test holds it to the defaults here. Lower modules define the
//! parameters they need, and only this module knows TOML.

mod abuse;
mod acme;
mod authentication;
mod convert;
mod database;
mod dmime;
mod error;
mod filtering;
mod local;
mod log;
mod master_key;
mod mta_sts;
mod paths;
mod plain;
mod relay;
mod routing;
mod schedules;
mod screening;
mod sections;
mod submission;
mod transports;
mod warnings;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use abuse::{Abuse, TrapMail};
pub use acme::{Acme, LETS_ENCRYPT};
pub use authentication::{Authentication, Incoming, OnQuarantine};
pub use database::Database;
pub use dmime::{Dmime, MinimumSuite};
pub use error::Error;
pub use filtering::{Action, Filter, FilterProtocol, FilteredMail, Filtering};
pub use local::LocalMail;
pub use log::{Log, LogAddresses, LogFormat, LogLevel};
pub use master_key::{Origin, create_master_key, find_master_key, load_master_key, read_master_key};
pub use mta_sts::{MtaSts, Publication};
pub use paths::MaildirPattern;
pub use relay::{Forwarding, Relay, WhenUnreachable};
pub use routing::Routing;
pub use schedules::{Schedule, Trouble};
pub use screening::{Consequence, List, ListAction, Listed, Screening};
pub use sections::*;
pub use submission::{FromPolicy, Submission};
pub use transports::{Protection, Transport};
pub use warnings::Warning;

/// Where the configuration file is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/dimed/dimed.toml";

/// The whole configuration file, one field per section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`, the one section that must be there.
    pub server: Server,
    /// `[listen]`.
    #[serde(default)]
    pub listen: Listen,
    /// `[tls]`.
    #[serde(default)]
    pub tls: Tls,
    /// `[dns]`.
    #[serde(default)]
    pub dns: Dns,
    /// `[outbound]`.
    #[serde(default)]
    pub outbound: Outbound,
    /// `[routing]`.
    #[serde(default)]
    pub routing: Routing,
    /// `[mta_sts]`.
    #[serde(default)]
    pub mta_sts: MtaSts,
    /// `[queue]`.
    #[serde(default)]
    pub queue: Queue,
    /// `[storage]`.
    #[serde(default)]
    pub storage: Storage,
    /// `[limits]`.
    #[serde(default)]
    pub limits: Limits,
    /// `[abuse]`.
    #[serde(default)]
    pub abuse: Abuse,
    /// `[screening]`.
    #[serde(default)]
    pub screening: Screening,
    /// `[authentication]`.
    #[serde(default)]
    pub authentication: Authentication,
    /// `[filtering]`.
    #[serde(default)]
    pub filtering: Filtering,
    /// `[dmime]`.
    #[serde(default)]
    pub dmime: Dmime,
    /// `[accounts]`.
    #[serde(default)]
    pub accounts: Accounts,
    /// `[submission]`.
    #[serde(default)]
    pub submission: Submission,
    /// `[relay]`.
    #[serde(default)]
    pub relay: Relay,
    /// `[forwarding]`.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// `[delivery]`.
    #[serde(default)]
    pub delivery: Delivery,
    /// `[local]`.
    #[serde(default)]
    pub local: LocalMail,
    /// `[log]`.
    #[serde(default)]
    pub log: Log,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// Errors: [`Error::Unreadable`] if the file cannot be read, [`Error::Invalid`] with the place of the first
    /// mistake.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a configuration file; `path` is only named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| Error::invalid(path, text, &error))?;
        config.listen.check_proxied()?;
        config.listen.check_apart(false)?;
        config.check_own_policy()?;
        config.authentication.check()?;
        config.screening.check()?;
        config.filtering.check()?;
        config.relay.check()?;
        Ok(config)
    }

    /// The defaults, for a host of that name.
    pub fn for_host(hostname: crate::mail::address::Domain) -> Self {
        Self {
            server: Server::for_host(hostname),
            listen: Listen::default(),
            tls: Tls::default(),
            dns: Dns::default(),
            outbound: Outbound::default(),
            routing: Routing::default(),
            mta_sts: MtaSts::default(),
            queue: Queue::default(),
            storage: Storage::default(),
            limits: Limits::default(),
            abuse: Abuse::default(),
            screening: Screening::default(),
            authentication: Authentication::default(),
            filtering: Filtering::default(),
            dmime: Dmime::default(),
            accounts: Accounts::default(),
            submission: Submission::default(),
            relay: Relay::default(),
            forwarding: Forwarding::default(),
            delivery: Delivery::default(),
            local: LocalMail::default(),
            log: Log::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text, Path::new("dimed.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_host_name_is_all_it_takes() {
        let config = Config::parse("[server]\nhostname = \"MX.Example\"\n", Path::new("x")).unwrap();
        assert_eq!(config, Config::for_host("mx.example".parse().unwrap()));
    }

    #[test]
    fn unknown_keys_are_named_with_their_place() {
        let message = refused("[server]\nhostname = \"mx.example\"\nport = 25\n");
        assert!(
            message.starts_with("dimed.toml:3:1: there is no setting `server.port`"),
            "{message}"
        );
        let message = refused("[server]\nhostname = \"mx.example\"\n[servers]\n");
        assert!(
            message.starts_with("dimed.toml:3:2: there is no section `[servers]`"),
            "{message}"
        );
    }

    #[test]
    fn wrong_values_are_named_with_their_place() {
        let message = refused("[server]\nhostname = \"mx..example\"\n");
        assert!(message.starts_with("dimed.toml:2:12: "), "{message}");
        let message = refused("[server]\nhostname = \"mx.example\"\n[queue]\nrunners = 0\n");
        assert!(message.starts_with("dimed.toml:4:11: "), "{message}");
        let message = refused("[server]\nhostname = \"mx.example\"\n[log]\nformat = \"xml\"\n");
        assert!(
            message.starts_with("dimed.toml:4:10: `log.format` is \"xml\""),
            "{message}"
        );
    }

    #[test]
    fn a_missing_host_name_is_an_error() {
        assert!(refused("").contains("`server.hostname` is missing"));
        assert!(refused("[server]\n").contains("`server.hostname` is missing"));
    }

    #[test]
    fn broken_toml_is_named_with_its_place() {
        let message = refused("[server]\nhostname = \"mx.example\n");
        assert!(message.starts_with("dimed.toml:2:"), "{message}");
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let message = refused("[server]\nhostname = \"mx.example\"\n[tls]\ncertificate = \"/a.pem\"\n");
        assert!(
            message.contains("`certificate` and `key` belong together"),
            "{message}"
        );
        assert!(message.starts_with("dimed.toml:3:1: "), "{message}");
    }

    #[test]
    fn addresses_for_proxies_are_listened_on_and_have_proxies() {
        let listen = |text: &str| format!("[server]\nhostname = \"mx.example\"\n[listen]\n{text}\n");
        let proxied = "smtp = [\"[::]:25\", \"[::]:2525\"]\nproxied = [\"[::]:2525\"]\n";
        let config = Config::parse(
            &listen(&format!("{proxied}proxies = [\"192.0.2.0/28\", \"::1\"]")),
            Path::new("x"),
        )
        .unwrap();
        assert_eq!(config.listen.proxies.len(), 2);
        assert!(refused(&listen(proxied)).contains("listen.proxies is empty"));
        let elsewhere = listen("proxied = [\"[::]:2525\"]\nproxies = [\"::1\"]");
        assert!(refused(&elsewhere).starts_with("[::]:2525 is in listen.proxied and in none of"));
        let wrong = refused(&listen("proxies = [\"192.0.2.1/28\"]"));
        assert!(
            wrong.contains("`192.0.2.1/28`: not an address or a network like 192.0.2.0/24"),
            "{wrong}"
        );
    }

    #[test]
    fn two_services_have_no_address_in_common() {
        let listen = |text: &str| format!("[server]\nhostname = \"mx.example\"\n[listen]\n{text}\n");
        for twice in [
            "dmtp = [\"[::]:25\"]",
            "smtp = [\"192.0.2.1:25\", \"192.0.2.1:25\"]",
            "smtp = [\"0.0.0.0:25\"]\nhttp = [\"127.0.0.1:25\"]",
            "operations = [\"[::1]:587\"]",
            "smtp = [\"[fe80::1%2]:25\", \"[fe80::1%2]:25\"]",
            "smtp = [\"[fe80::1%2]:25\", \"[::]:25\"]",
            // Those hold on every link.
            "smtp = [\"[2001:db8::1%2]:25\", \"[2001:db8::1%3]:25\"]",
        ] {
            assert!(refused(&listen(twice)).starts_with("[listen] has "), "{twice}");
        }
        let read = |text: &str| Config::parse(&listen(text), Path::new("x")).unwrap().listen;
        let no_port = read("smtp = [\"192.0.2.1:0\"]\ndmtp = [\"192.0.2.1:0\"]");
        assert!(no_port.check_apart(true).is_ok());
        let links = read("smtp = [\"[fe80::1%2]:2525\", \"[fe80::1%3]:2525\"]");
        assert!(links.check_apart(true).is_ok());
        // Whether `[::]` is in the way of an address of IPv4, the host decides.
        let both = read("smtp = [\"[::]:25\", \"0.0.0.0:25\"]");
        assert!(both.check_apart(false).is_ok());
        assert!(matches!(both.check_apart(true), Err(Error::ListenTwice(_))));
    }

    #[test]
    fn a_policy_of_ours_is_one_that_others_can_read() {
        let read = |text: &str| {
            Config::parse(
                &format!("[server]\nhostname = \"mx.example\"\n[mta_sts]\n{text}"),
                Path::new("x"),
            )
        };
        assert_eq!(read("").unwrap().own_policy(), None);
        let enforced = "mode = \"enforce\"\n[tls]\ncertificate = \"/a.pem\"\nkey = \"/a.key\"\n";
        let policy = read(enforced).unwrap().own_policy().unwrap().to_string();
        assert_eq!(
            policy,
            "version: STSv1\r\nmode: enforce\r\nmx: mx.example\r\nmax_age: 604800\r\n"
        );
        let policy = read("mode = \"testing\"\nmx = [\"*.example\", \"mx.example\"]\nmax_age_secs = 86400\n");
        let policy = policy.unwrap().own_policy().unwrap().to_string();
        assert_eq!(
            policy,
            "version: STSv1\r\nmode: testing\r\nmx: *.example\r\nmx: mx.example\r\nmax_age: 86400\r\n"
        );
        for wrong in [
            "mode = \"on\"\n",
            "mx = [\"a.*.b\"]\n",
            "max_age_secs = 31557601\n",
            "max_age_secs = 0\n",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_policy_of_ours_keeps_mail_out() {
        let head = "[server]\nhostname = \"mx.example\"\n[mta_sts]\nmode = \"enforce\"\n";
        assert!(refused(head).contains("the certificate for SMTP is self-signed"));
        // Others take our mail.
        assert!(Config::parse(&format!("{head}mx = [\"mx.example.net\"]\n"), Path::new("x")).is_ok());
        let testing = head.replace("enforce", "testing");
        assert!(Config::parse(&testing, Path::new("x")).is_ok());
    }

    #[test]
    fn nothing_is_sealed_that_was_not_found_out() {
        let head = "[server]\nhostname = \"mx.example\"\n[authentication]\narc = true\n";
        assert!(
            refused(&format!("{head}incoming = \"off\"\n"))
                .contains("seals what authentication.incoming finds out")
        );
        assert!(Config::parse(head, Path::new("x")).is_ok());
    }

    #[test]
    fn the_ad_bit_is_trusted_from_loopback_only() {
        let head = "[server]\nhostname = \"mx.example\"\n[dns]\nvalidation = \"ad-bit\"\n";
        assert!(refused(head).contains("loopback"));
        assert!(refused(&format!("{head}servers = [\"192.0.2.1:53\"]\n")).contains("loopback"));
        assert!(Config::parse(&format!("{head}servers = [\"[::1]:53\"]\n"), Path::new("x")).is_ok());
    }
}
