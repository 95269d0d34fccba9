//! The sections of the configuration file. Every field says what it means, in which unit, and its default.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::plain::without_credentials;
use super::{Acme, Database, Error, MaildirPattern, Schedule, Transport};
use crate::base::network::Network;
use crate::mail::address::{Domain, Mailbox};
use crate::net::service::Service;

/// `[server]`: who we are and where we keep things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Name of this host in greetings, trace fields and certificates. No default.
    #[serde(with = "text")]
    pub hostname: Domain,
    /// Directory of the database and, unless `[delivery]` says otherwise, of the Maildirs.
    /// Default `/var/lib/dimed`.
    #[serde(default = "data_directory")]
    pub data_directory: PathBuf,
    /// File with the master key: 32 octets, raw or in base64, readable by its owner alone. A systemd credential
    /// `master.key` and the environment variable `DIMED_MASTER_KEY` come before it.
    /// Default `/etc/dimed/master.key`.
    #[serde(default = "master_key_file")]
    pub master_key_file: PathBuf,
    /// Time given to running transactions when the daemon is told to stop, and to messages that are coming in when it is told
    /// to take nothing new (`dimed queue drain`). Seconds, default 30.
    #[serde(default = "shutdown_grace_secs")]
    pub shutdown_grace_secs: u64,
    /// Whether other hosts may ask for reports of deliveries, too (DSN, RFC 3461); our users always may. Whoever forges a
    /// sender could have us write to that one for every message. Default `false`.
    #[serde(default)]
    pub dsn_for_other_hosts: bool,
}

impl Server {
    /// The defaults, for a host of that name.
    pub fn for_host(hostname: Domain) -> Self {
        Self {
            hostname,
            data_directory: data_directory(),
            master_key_file: master_key_file(),
            shutdown_grace_secs: shutdown_grace_secs(),
            dsn_for_other_hosts: false,
        }
    }

    /// The SQLite database.
    pub fn database(&self) -> PathBuf {
        self.data_directory.join("dimed.db")
    }

    /// Certificates that are made or fetched here, with their private keys.
    pub fn certificates(&self) -> PathBuf {
        self.data_directory.join("tls")
    }
}

fn data_directory() -> PathBuf {
    "/var/lib/dimed".into()
}

fn master_key_file() -> PathBuf {
    "/etc/dimed/master.key".into()
}

fn shutdown_grace_secs() -> u64 {
    30
}

/// `[listen]`: addresses and ports, `[::]` meaning IPv4 too. An empty list turns a service off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// SMTP and DMTP on one port. Default `["[::]:25"]`.
    pub smtp: Vec<SocketAddr>,
    /// DMTP alone, with TLS from the first octet. Default `["[::]:26"]`.
    pub dmtp: Vec<SocketAddr>,
    /// Submission with STARTTLS, and DMTP for authors who seal at home. Default `["[::]:587"]`.
    pub submission: Vec<SocketAddr>,
    /// Submission with TLS from the first octet. Default `["[::]:465"]`.
    pub submissions: Vec<SocketAddr>,
    /// HTTP in clear text, for a web server before us: the policy of `[mta_sts]`. Default `[]`.
    pub http: Vec<SocketAddr>,
    /// HTTP in clear text for those who watch over this host: `/healthz`, `/readyz`, `/metrics`, and a page. Default
    /// `["127.0.0.1:8525"]`.
    pub operations: Vec<SocketAddr>,
    /// Those of the addresses above, but for HTTP, whose connections all come through a proxy that says whose they are (PROXY
    /// protocol, version 2). Default `[]`.
    pub proxied: Vec<SocketAddr>,
    /// Networks of such proxies, like `192.0.2.0/28`; connections from elsewhere to those addresses are refused.
    /// Default `[]`.
    #[serde(with = "texts")]
    pub proxies: Vec<Network>,
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = |port| vec![SocketAddr::from(([0u16; 8], port))];
        Self {
            smtp: everywhere(25),
            dmtp: everywhere(26),
            submission: everywhere(587),
            submissions: everywhere(465),
            http: Vec::new(),
            operations: vec![SocketAddr::from(([127, 0, 0, 1], 8525))],
            proxied: Vec::new(),
            proxies: Vec::new(),
        }
    }
}

impl Listen {
    /// Where mail is taken.
    pub fn for_mail(&self) -> Vec<SocketAddr> {
        let services = [&self.smtp, &self.dmtp, &self.submission, &self.submissions];
        services.into_iter().flatten().copied().collect()
    }

    /// Two services never want the same. `v6_takes_v4` says that `[::]` means IPv4 on this host, too, as it mostly does. Port 0 is
    /// another one each time.
    ///
    /// Errors: [`Error::ListenTwice`].
    pub fn check_apart(&self, v6_takes_v4: bool) -> Result<(), Error> {
        let mut wanted = self.for_mail();
        wanted.extend(self.http.iter().chain(&self.operations));
        for (place, one) in wanted.iter().enumerate() {
            let mut before = wanted.iter().take(place);
            if before.any(|other| collide(*one, *other, v6_takes_v4)) {
                return Err(Error::ListenTwice(*one));
            }
        }
        Ok(())
    }

    /// Whether whoever connects to that address of ours is a proxy.
    pub fn is_proxied(&self, local: SocketAddr) -> bool {
        self.proxied.iter().any(|address| {
            let is_everywhere = address.ip().is_unspecified();
            address.port() == local.port()
                && (is_everywhere || address.ip().to_canonical() == local.ip().to_canonical())
        })
    }

    /// Addresses for proxies are among those that are listened on, and there are proxies.
    ///
    /// Errors: [`Error::ProxiedNowhere`], [`Error::NoProxies`].
    pub fn check_proxied(&self) -> Result<(), Error> {
        let services = [&self.smtp, &self.dmtp, &self.submission, &self.submissions];
        let is_bound = |address: &&SocketAddr| services.iter().any(|service| service.contains(address));
        if let Some(nowhere) = self.proxied.iter().find(|address| !is_bound(address)) {
            return Err(Error::ProxiedNowhere(*nowhere));
        }
        match self.proxies.is_empty() && !self.proxied.is_empty() {
            true => Err(Error::NoProxies),
            false => Ok(()),
        }
    }
}

/// Whether only one of the two can be listened on.
fn collide(one: SocketAddr, other: SocketAddr, v6_takes_v4: bool) -> bool {
    let takes = |wide: SocketAddr, narrow: SocketAddr| {
        let is_same_kind = wide.is_ipv4() == narrow.is_ipv4();
        wide.ip().is_unspecified() && (is_same_kind || (v6_takes_v4 && wide.is_ipv6()))
    };
    one.port() == other.port()
        && one.port() != 0
        && (is_same_host(one, other) || takes(one, other) || takes(other, one))
}

/// The same address of this host. One that holds on a link alone (RFC 4291 §2.5.6) is another one on each link.
fn is_same_host(one: SocketAddr, other: SocketAddr) -> bool {
    let link = |address: SocketAddr| match address {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => address.scope_id(),
        _ => 0,
    };
    one.ip() == other.ip() && link(one) == link(other)
}

/// `[tls]`: certificates. Each pair is a PEM file with the chain, leaf first, and one with the private key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawTls")]
pub struct Tls {
    /// Chain for every service. The key is RSA, or DMTP clients of the libdime kind cannot connect. When both are
    /// missing, a self-signed pair is made in the data directory, which DMTP peers accept by the management record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Private key of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Chain that will replace `certificate`. `dimed dns records` has the management record vouch for both, so that the
    /// change can be made once the record's TTL has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_certificate: Option<PathBuf>,
    /// Chain for SMTP and submission alone, for instance from a public authority. Default: `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_certificate: Option<PathBuf>,
    /// Private key of `smtp_certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_key: Option<PathBuf>,
    /// Who issues `smtp_certificate` and renews it, by ACME. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    next_certificate: Option<PathBuf>,
    smtp_certificate: Option<PathBuf>,
    smtp_key: Option<PathBuf>,
    acme: Option<Acme>,
}

impl TryFrom<RawTls> for Tls {
    type Error = &'static str;

    fn try_from(raw: RawTls) -> Result<Self, Self::Error> {
        if raw.certificate.is_some() != raw.key.is_some() {
            return Err("`certificate` and `key` belong together: set both, or neither");
        }
        if raw.smtp_certificate.is_some() != raw.smtp_key.is_some() {
            return Err("`smtp_certificate` and `smtp_key` belong together: set both, or neither");
        }
        if raw.acme.is_some() && raw.smtp_certificate.is_none() {
            return Err("`acme` needs `smtp_certificate` and `smtp_key`, the files that it keeps up to date");
        }
        Ok(Self {
            certificate: raw.certificate,
            key: raw.key,
            next_certificate: raw.next_certificate,
            smtp_certificate: raw.smtp_certificate,
            smtp_key: raw.smtp_key,
            acme: raw.acme,
        })
    }
}

impl Tls {
    /// The pairs of certificate and key that are configured, but for one that has not been issued yet.
    pub fn pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let shared = self.certificate.as_deref().zip(self.key.as_deref());
        shared.into_iter().chain(self.smtp_pair())
    }

    /// Those for SMTP alone, once they have been issued.
    pub fn smtp_pair(&self) -> Option<(&Path, &Path)> {
        let pair = self.smtp_certificate.as_deref().zip(self.smtp_key.as_deref());
        pair.filter(|_| !self.is_awaited())
    }

    /// Whether the certificate for SMTP is still to be issued. Until then, that for DMTP is used.
    pub fn is_awaited(&self) -> bool {
        self.acme.is_some() && self.smtp_certificate.as_ref().is_some_and(|path| !path.exists())
    }
}

/// `[dns]`: who is asked and how far answers are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawDns")]
pub struct Dns {
    /// Resolvers, as address and port. Default: those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// File that lists resolvers where `servers` does not; read again while the daemon runs. Default `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// How DNSSEC is checked. Default `dnssec`.
    pub validation: Validation,
    /// File with DNSKEY or DS records in zone-file form that signatures must chain to. Default: the root's
    /// published anchors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_anchors: Option<PathBuf>,
    /// Longest wait for one reply. Seconds, default 2.
    pub reply_timeout_secs: NonZeroU64,
    /// How often the servers are gone through before a question counts as failed. Default 2.
    pub rounds: NonZeroU32,
    /// Longest time for one question with everything that it entails. Seconds, default 10.
    pub total_timeout_secs: NonZeroU64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDns {
    servers: Vec<SocketAddr>,
    resolv_conf: PathBuf,
    validation: Validation,
    trust_anchors: Option<PathBuf>,
    reply_timeout_secs: NonZeroU64,
    rounds: NonZeroU32,
    total_timeout_secs: NonZeroU64,
}

impl TryFrom<RawDns> for Dns {
    type Error = &'static str;

    fn try_from(raw: RawDns) -> Result<Self, Self::Error> {
        let local = !raw.servers.is_empty() && raw.servers.iter().all(|server| server.ip().is_loopback());
        if raw.validation == Validation::AdBit && !local {
            return Err(
                "`validation = \"ad-bit\"` believes the resolver: name validating ones on loopback in `servers`",
            );
        }
        Ok(Self {
            servers: raw.servers,
            resolv_conf: raw.resolv_conf,
            validation: raw.validation,
            trust_anchors: raw.trust_anchors,
            reply_timeout_secs: raw.reply_timeout_secs,
            rounds: raw.rounds,
            total_timeout_secs: raw.total_timeout_secs,
        })
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            validation: Validation::Dnssec,
            trust_anchors: None,
            reply_timeout_secs: const { NonZeroU64::new(2).unwrap() },
            rounds: const { NonZeroU32::new(2).unwrap() },
            total_timeout_secs: const { NonZeroU64::new(10).unwrap() },
        }
    }
}

impl Default for RawDns {
    fn default() -> Self {
        let default = Dns::default();
        Self {
            servers: default.servers,
            resolv_conf: default.resolv_conf,
            validation: default.validation,
            trust_anchors: default.trust_anchors,
            reply_timeout_secs: default.reply_timeout_secs,
            rounds: default.rounds,
            total_timeout_secs: default.total_timeout_secs,
        }
    }
}

/// How answers of DNS are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// In this process, up to the trust anchors.
    Dnssec,
    /// By the resolvers, which are on loopback and set the AD bit.
    AdBit,
}

/// `[outbound]`: how we reach others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// Port of mail hosts, where DMTP is asked for too. Default 25.
    pub smtp_port: NonZeroU16,
    /// Port of DX hosts for DMTP alone. Default 26.
    pub dmtp_port: NonZeroU16,
    /// Where mail hosts that cannot be reached on `smtp_port` are asked for DMTP. Default 587.
    pub submission_port: NonZeroU16,
    /// Port of web servers that have MTA-STS policies. Default 443.
    pub https_port: NonZeroU16,
    /// PEM file with the root certificates that hosts' certificates must lead to. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_certificates: Option<PathBuf>,
    /// Certificate revocation lists that hosts' certificates must not be in, for DMTP and wherever SMTP demands a verified
    /// certificate: a file with lists in PEM or one in DER, or a folder of such files, read again when they change. Issuers
    /// without a list are believed; one whose list is out of date is not. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_lists: Option<PathBuf>,
    /// Name we greet with. Default: `server.hostname`.
    #[serde(with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub helo: Option<Domain>,
    /// Address to send from; hosts of the other family are reached from any. Default: the system's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// Longest wait for a connection. Seconds, default 30.
    pub connect_timeout_secs: NonZeroU64,
    /// Hosts for the mail of some domains that goes by SMTP, in the place of those that DNS names. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<Transport>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            smtp_port: const { NonZeroU16::new(25).unwrap() },
            dmtp_port: const { NonZeroU16::new(26).unwrap() },
            submission_port: const { NonZeroU16::new(587).unwrap() },
            https_port: const { NonZeroU16::new(443).unwrap() },
            root_certificates: None,
            revocation_lists: None,
            helo: None,
            source_address: None,
            connect_timeout_secs: const { NonZeroU64::new(30).unwrap() },
            transports: Vec::new(),
        }
    }
}

/// `[queue]`: when deliveries are tried, tried again, and given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Deliveries that run at the same time. Default 20.
    pub runners: NonZeroUsize,
    /// Deliveries to one domain at the same time, and to one host, at most: 5 at first, more while hosts answer, half as many each
    /// time they do not, or want less. Default 20.
    pub per_destination: NonZeroUsize,
    /// Wait after the first failed attempt; it doubles with every further one. Seconds, default 300.
    pub retry_first_secs: NonZeroU64,
    /// Longest wait between two attempts. Seconds, default 14400 (4 hours).
    pub retry_max_secs: NonZeroU64,
    /// Age at which an undelivered message is returned. Seconds, default 432000 (5 days).
    pub lifetime_secs: NonZeroU64,
    /// Age at which the sender is told of the delay, once; 0 for never. Seconds, default 14400 (4 hours).
    pub delay_warning_secs: u64,
    /// Time a runner may take over one delivery before another one may take it up. Seconds, default 1800.
    pub lease_secs: NonZeroU64,
    /// Silence after which the other nodes of a database of PostgreSQL take one for dead, and take up what it had
    /// begun, before `lease_secs` are over. Seconds, default 60.
    pub takeover_secs: NonZeroU64,
    /// What is different for some domains. Default: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            runners: const { NonZeroUsize::new(20).unwrap() },
            per_destination: const { NonZeroUsize::new(20).unwrap() },
            retry_first_secs: const { NonZeroU64::new(300).unwrap() },
            retry_max_secs: const { NonZeroU64::new(14_400).unwrap() },
            lifetime_secs: const { NonZeroU64::new(432_000).unwrap() },
            delay_warning_secs: 14_400,
            lease_secs: const { NonZeroU64::new(1_800).unwrap() },
            takeover_secs: const { NonZeroU64::new(60).unwrap() },
            schedules: Vec::new(),
        }
    }
}

/// `[limits]`: what a peer may ask of us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest message accepted. Octets, default 52428800 (50 MiB).
    pub message_bytes: NonZeroU64,
    /// Most recipients of one message; RFC 5321 §4.5.3.1.8 asks for 100 at least. Default 1000.
    pub recipients: NonZeroUsize,
    /// Most connections at the same time. Fewer, if the limit of open files would leave none to the queue. Default 1000.
    pub connections: NonZeroUsize,
    /// Most connections at the same time from one address (IPv6: one /64). Default 20.
    pub connections_per_address: NonZeroUsize,
    /// Refused commands after which a session is ended. Default 20.
    pub errors: NonZeroU32,
    /// Longest wait for a command. Seconds, default 300 (RFC 5321 §4.5.3.2.7).
    pub command_timeout_secs: NonZeroU64,
    /// Longest wait for more of a message. Seconds, default 180 (RFC 5321 §4.5.3.2.5).
    pub data_timeout_secs: NonZeroU64,
    /// Longest time one whole message may take to come in. Seconds, default 3600.
    pub message_timeout_secs: NonZeroU64,
    /// Users without a signet that one network (IPv4: a /24, IPv6: a /48) may ask for within an hour. Beyond that, all its
    /// questions about signets of users are put off, so that nobody finds out who is here by asking. Default 1000.
    pub unknown_users_per_hour: NonZeroU32,
    /// Refused logins of one address (IPv6: one /64) within an hour. Beyond that no password is checked for it. Default 300.
    pub refused_logins_per_hour: NonZeroU32,
}

/// `[storage]`: the database, and what must be left on the disk of the data directory. Below that no mail is taken in; what is here is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// `sqlite` for a file in the data directory, or a database of PostgreSQL that several nodes may share:
    /// `postgres://USER@HOST[:PORT][,HOST...]/DATABASE`, where a host is a name, an address, or the folder of a socket with `%2F`
    /// for each `/`. Of several hosts the first that takes writes is used. Default `sqlite`.
    pub database: Database,
    /// File whose first line is the password for PostgreSQL, readable by its owner alone. A systemd credential
    /// `database.password` comes before it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// File with authorities (PEM) that certificates of PostgreSQL may come from, beside those that browsers trust; connections by
    /// TCP always use TLS. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_certificates: Option<PathBuf>,
    /// Room. MiB, default 256; 0 for any.
    pub min_free_mib: u64,
    /// Files that can still be made. Default 1000; 0 for any.
    pub min_free_inodes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            database: Database::Sqlite,
            password_file: None,
            root_certificates: None,
            min_free_mib: 256,
            min_free_inodes: 1000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: const { NonZeroU64::new(50 * 1024 * 1024).unwrap() },
            recipients: const { NonZeroUsize::new(1000).unwrap() },
            connections: const { NonZeroUsize::new(1000).unwrap() },
            connections_per_address: const { NonZeroUsize::new(20).unwrap() },
            errors: const { NonZeroU32::new(20).unwrap() },
            command_timeout_secs: const { NonZeroU64::new(300).unwrap() },
            data_timeout_secs: const { NonZeroU64::new(180).unwrap() },
            message_timeout_secs: const { NonZeroU64::new(3600).unwrap() },
            unknown_users_per_hour: const { NonZeroU32::new(1000).unwrap() },
            refused_logins_per_hour: const { NonZeroU32::new(300).unwrap() },
        }
    }
}

/// `[accounts]`: passwords and addresses of our users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accounts {
    /// Character between the name of an account and a detail of the user's choice, as in `bob+shop@…`; empty for
    /// none. Default `+`.
    #[serde(with = "separator")]
    pub detail_separator: Option<char>,
    /// Who gets mail for `postmaster` and `abuse` of a domain that has no such account or alias. Default: the
    /// oldest account of the domain.
    #[serde(with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub postmaster: Option<Mailbox>,
    /// Memory for one password check by Argon2id. KiB, 8 at least, default 19456; new passwords only.
    #[serde(deserialize_with = "memory_kib")]
    pub password_memory_kib: NonZeroU32,
    /// Passes over that memory. Default 2; new passwords only.
    pub password_passes: NonZeroU32,
    /// Rounds of PBKDF2 that a login by SCRAM costs the client, and each guess a thief of the database. 4096 at least,
    /// default 100000; new passwords only.
    #[serde(deserialize_with = "scram_rounds")]
    pub scram_rounds: NonZeroU32,
    /// Password checks that run at the same time. The daemon keeps the memory of each. Default 2.
    pub password_checks: NonZeroUsize,
    /// Who checks passwords. Default `own`.
    #[serde(with = "text")]
    pub authentication: PasswordsAt,
}

/// Who has the passwords of our accounts and checks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordsAt {
    /// `own`: this server.
    Own,
    /// `dovecot:PATH`: Dovecot, at its Unix socket for authentication clients. Accounts are made here all the same. There is
    /// no login by SCRAM then.
    Dovecot(PathBuf),
}

impl Display for PasswordsAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Dovecot(path) => write!(f, "dovecot:{}", path.display()),
        }
    }
}

impl FromStr for PasswordsAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "own" => Ok(Self::Own),
            Some(("dovecot", path)) if path.starts_with('/') => Ok(Self::Dovecot(path.into())),
            _ => Err("neither `own` nor `dovecot:` with the absolute path of a socket"),
        }
    }
}

/// RFC 7677 §4 wants no less than 4096.
fn scram_rounds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let rounds = NonZeroU32::deserialize(deserializer)?;
    match rounds.get() {
        4096.. => Ok(rounds),
        _ => Err(serde::de::Error::custom(format_args!(
            "`{rounds}` is too little: 4096 at least"
        ))),
    }
}

/// Argon2id takes no less than 8 KiB for each lane (RFC 9106 §3.1); we use one lane.
fn memory_kib<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let kib = NonZeroU32::deserialize(deserializer)?;
    match kib.get() {
        8.. => Ok(kib),
        _ => Err(serde::de::Error::custom(format_args!(
            "`{kib}` is too little: 8 at least"
        ))),
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            detail_separator: Some('+'),
            postmaster: None,
            password_memory_kib: const { NonZeroU32::new(19_456).unwrap() },
            password_passes: const { NonZeroU32::new(2).unwrap() },
            scram_rounds: const { NonZeroU32::new(100_000).unwrap() },
            password_checks: const { NonZeroUsize::new(2).unwrap() },
            authentication: PasswordsAt::Own,
        }
    }
}

/// `[delivery]`: where mail for our users ends up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawDelivery")]
pub struct Delivery {
    /// How mail gets into mailboxes. Default `maildir`.
    pub local: Local,
    /// Where a mailbox server takes mail by LMTP: `unix:` and a path, or an IP address and port. Default: none.
    #[serde(with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub lmtp: Option<Service>,
    /// Whether the mailbox server is told the detail of `bob+detail`. One that does not know such addresses is told the account
    /// alone then. Default `true`.
    pub lmtp_detail: bool,
    /// The same as `local` for some of our domains. Default: none.
    #[serde(with = "domains", skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<Domain, Local>,
    /// Maildir of an account; `{data}`, `{domain}` and `{local}` are filled in.
    /// Default `{data}/mail/{domain}/{local}`.
    pub maildir: MaildirPattern,
    /// MiB that a Maildir may hold, all folders together; 0 for any. `dimed account quota` sets others for single accounts.
    /// Default 0.
    pub quota_mib: u32,
}

impl Delivery {
    /// The mailbox server of accounts in a domain, if their mail goes to one.
    pub fn server_of(&self, domain: &Domain) -> Option<&Service> {
        let local = self.domains.get(domain).unwrap_or(&self.local);
        self.lmtp.as_ref().filter(|_| *local == Local::Lmtp)
    }
}

/// How mail gets into mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Local {
    /// We write it into Maildirs.
    Maildir,
    /// The mailbox server of `lmtp` gets it.
    Lmtp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDelivery {
    local: Local,
    #[serde(with = "optional_text")]
    lmtp: Option<Service>,
    lmtp_detail: bool,
    #[serde(with = "domains")]
    domains: BTreeMap<Domain, Local>,
    maildir: MaildirPattern,
    quota_mib: u32,
}

impl Default for RawDelivery {
    fn default() -> Self {
        let Delivery {
            local,
            lmtp,
            lmtp_detail,
            domains,
            maildir,
            quota_mib,
        } = Delivery::default();
        Self {
            local,
            lmtp,
            lmtp_detail,
            domains,
            maildir,
            quota_mib,
        }
    }
}

impl TryFrom<RawDelivery> for Delivery {
    type Error = &'static str;

    fn try_from(raw: RawDelivery) -> Result<Self, Self::Error> {
        let by_lmtp = raw.local == Local::Lmtp || raw.domains.values().any(|local| *local == Local::Lmtp);
        if by_lmtp && raw.lmtp.is_none() {
            return Err("mail is to go by LMTP, and `lmtp` does not say where");
        }
        Ok(Self {
            local: raw.local,
            lmtp: raw.lmtp,
            lmtp_detail: raw.lmtp_detail,
            domains: raw.domains,
            maildir: raw.maildir,
            quota_mib: raw.quota_mib,
        })
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            local: Local::Maildir,
            lmtp: None,
            lmtp_detail: true,
            domains: BTreeMap::new(),
            maildir: MaildirPattern::under_data(),
            quota_mib: 0,
        }
    }
}

/// Values that have a text form of their own.
pub(super) mod text {
    use super::*;

    pub(in crate::config) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| D::Error::custom(format_args!("`{}` is {error}", without_credentials(&text))))
    }
}

/// The same, of a list.
pub(super) mod texts {
    use super::*;

    pub(in crate::config) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(T::to_string))
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let value = |text: String| {
            text.parse()
                .map_err(|error| D::Error::custom(format_args!("`{}`: {error}", without_credentials(&text))))
        };
        texts.into_iter().map(value).collect()
    }
}

/// The same, where the key may be missing.
pub(super) mod optional_text {
    use super::*;

    pub(in crate::config) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        text::deserialize(deserializer).map(Some)
    }
}

/// A table whose keys are domains.
mod domains {
    use super::*;

    pub fn serialize<S: Serializer>(
        values: &BTreeMap<Domain, Local>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().map(|(domain, local)| (domain.as_str(), local)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Domain, Local>, D::Error> {
        let named = BTreeMap::<String, Local>::deserialize(deserializer)?;
        let entry = |(name, local): (String, Local)| match Domain::parse(&name) {
            Ok(domain) => Ok((domain, local)),
            Err(error) => Err(D::Error::custom(format_args!("`{name}` is {error}"))),
        };
        named.into_iter().map(entry).collect()
    }
}

/// One punctuation mark, or none.
mod separator {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<char>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&value.map(String::from).unwrap_or_default())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<char>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => Ok(None),
            (Some(one), None) if one.is_ascii_punctuation() && one != '@' => Ok(Some(one)),
            _ => Err(D::Error::custom(format_args!(
                "`{text}` is not one punctuation mark"
            ))),
        }
    }
}
