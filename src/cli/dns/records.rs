//! What a domain publishes, as values and as lines of a zone file.

use std::fmt;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::certificate::{Certificate, Certificates};
use crate::base::encoding::hex;
use crate::base::zone_text::character_strings;
use crate::cli::context::Context;
use crate::cli::key::without_keys;
use crate::config::Config;
use crate::crypto::ed25519::SigningKey;
use crate::dime::record::{ManagementRecord, Policy, owner_name, sign_certificate};
use crate::domains::sts;
use crate::mail::address::Domain;
use crate::net::dns::{Mx, Srv, Tlsa};
use crate::signet_service;
use crate::store::{DimeSettings, DkimKey, DkimState, LocalDomain};

/// Seconds that others may keep the records: short enough to change certificates within a day.
pub const TTL: u32 = 3600;

/// Preference of a host that only takes mail while others cannot.
const BACKUP: u16 = 20;

/// Records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Without a final dot.
    pub owner: String,
    /// What they say.
    pub data: Data,
    /// What for.
    pub purpose: &'static str,
    /// Whether mail cannot come in as it should without them.
    pub needed: bool,
}

/// What records say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// One management record.
    Management(Box<ManagementRecord>),
    /// One text.
    Text(String),
    /// Mail hosts.
    Mx(Vec<Mx>),
    /// Where a service is.
    Srv(Vec<Srv>),
    /// Certificates of a host.
    Tlsa(Vec<Tlsa>),
}

/// A line, or a paragraph, of the zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// To be published.
    Record(Wanted),
    /// To be read.
    Comment(String),
}

impl Line {
    /// Whether it is the management record.
    pub fn is_management(&self) -> bool {
        matches!(self, Self::Record(wanted) if matches!(wanted.data, Data::Management(_)))
    }
}

/// The lines for programs: `value` is text as it is for TXT, and as in a zone file for the others.
pub fn object(domain: &Domain, lines: &[Line]) -> Value {
    let (mut records, mut comments) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Comment(text) => comments.push(text.as_str()),
            Line::Record(wanted) => records.extend(wanted.data.items().into_iter().map(|value| {
                json!({
                    "name": wanted.owner,
                    "ttl": TTL,
                    "type": wanted.data.kind(),
                    "value": value,
                    "purpose": wanted.purpose,
                    "needed": wanted.needed,
                })
            })),
        }
    }
    json!({ "domain": domain.as_str(), "records": records, "comments": comments })
}

/// Everything for one domain of ours. What this version cannot do, or belongs elsewhere, is a comment.
pub async fn all(
    context: &Context,
    domain: &LocalDomain,
    certificates: &Certificates,
) -> anyhow::Result<Vec<Line>> {
    let config = &context.config;
    let name = &domain.name;
    let mut lines = vec![mx(name, config)];
    lines.push(match &domain.dime {
        Some(dime) => management(context, name, dime, certificates).await?,
        None => Line::Comment(format!(
            "{name} is served without DIME and has no management record."
        )),
    });
    lines.extend(addresses(config, domain.dime.as_ref()));
    lines.push(tlsa(name, config, certificates));
    lines.extend(submission(name, config));
    let strict = domain
        .dime
        .as_ref()
        .is_some_and(|dime| dime.policy == Policy::Strict);
    lines.push(spf(name, config, strict));
    lines.extend(spf_of_host(name, config));
    lines.extend(dkim(context, name).await?);
    lines.push(dmarc(name, strict));
    lines.extend(mta_sts(name, config));
    lines.push(text(
        format!("_smtp._tls.{name}"),
        format!("v=TLSRPTv1; rua=mailto:postmaster@{name}"),
        "reports of others about TLS (RFC 8460)",
    ));
    Ok(lines)
}

/// What leads mail here for a domain of another host.
pub fn of_relayed(name: &Domain, config: &Config) -> Vec<Line> {
    let host = &config.server.hostname;
    let others = Line::Comment(format!(
        "{name} is another host's, which has all its other records. As a backup, {host} passes mail on to the hosts whose MX \
         records have numbers below {BACKUP}; in front of that host, it is the only one here, and outbound.transports names the \
         next one."
    ));
    let mx = mx_of(
        name,
        config,
        BACKUP,
        "the mail host for when the others cannot be reached",
    );
    vec![others, mx]
}

fn mx(name: &Domain, config: &Config) -> Line {
    mx_of(name, config, 10, "the mail host")
}

fn mx_of(name: &Domain, config: &Config, preference: u16, purpose: &'static str) -> Line {
    let host = Mx {
        preference,
        host: Some(config.server.hostname.clone()),
    };
    Line::Record(Wanted {
        owner: name.to_string(),
        data: Data::Mx(vec![host]),
        purpose,
        needed: true,
    })
}

/// Vouches for the certificate in use, which must come first (`dmtp.md` §12.1 no. 4), and for the next one. While keys are
/// being changed, the old and the new one do so.
async fn management(
    context: &Context,
    name: &Domain,
    dime: &DimeSettings,
    certificates: &Certificates,
) -> anyhow::Result<Line> {
    let plan = context.published().record_plan(name, dime).await;
    let is_without_keys = matches!(plan, Err(signet_service::Error::NoKeys));
    let plan = plan.with_context(|| match is_without_keys {
        true => without_keys(name),
        false => format!("the management record of {name} cannot be made"),
    })?;
    let Some(plan) = plan else {
        let text = format!("{name} leaves DIME: remove the record of {}.", owner_name(name));
        return Ok(Line::Comment(text));
    };
    let vouched = [Some(&certificates.dmtp), certificates.next.as_ref()];
    let signed = |certificate: &Certificate| {
        let sign = |key: &SigningKey| sign_certificate(key, &certificate.der);
        plan.signers.iter().map(sign).collect::<Vec<_>>()
    };
    let record = ManagementRecord {
        primary_keys: plan.primary_keys,
        tls_signatures: vouched.into_iter().flatten().flat_map(signed).collect(),
        policy: plan.policy,
        delivery_hosts: dime.delivery_hosts.clone(),
        subdomain_policy: dime.subdomain_policy,
        expiry_days: plan.expiry_days,
        syndicates: None,
    };
    // Shows that it reads back before anybody is told to publish it.
    record.render()?;
    Ok(Line::Record(Wanted {
        owner: owner_name(name),
        data: Data::Management(Box::new(record)),
        purpose: "the DIME management record",
        needed: true,
    }))
}

/// The hosts that must have addresses; which ones, only their owner knows.
pub fn hosts(config: &Config, dime: Option<&DimeSettings>) -> Vec<Domain> {
    let mut hosts = vec![config.server.hostname.clone()];
    for host in dime.into_iter().flat_map(|dime| &dime.delivery_hosts) {
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    hosts
}

fn addresses(config: &Config, dime: Option<&DimeSettings>) -> Vec<Line> {
    let remark = |host: Domain| {
        Line::Comment(format!(
            "{host} needs A and AAAA records with the addresses at which others reach it."
        ))
    };
    hosts(config, dime).into_iter().map(remark).collect()
}

/// DANE, for the certificates in use and to come (RFC 7672 §3.1).
fn tlsa(name: &Domain, config: &Config, certificates: &Certificates) -> Line {
    let host = &config.server.hostname;
    let mut keys: Vec<Tlsa> = Vec::new();
    for certificate in [Some(&certificates.smtp), certificates.next_smtp()]
        .into_iter()
        .flatten()
    {
        push_new(&mut keys, certificate);
    }
    let wanted = Wanted {
        owner: format!("_25._tcp.{host}"),
        data: Data::Tlsa(keys),
        purpose: "the mail host's certificate, if the zone is signed (DANE)",
        needed: false,
    };
    match is_in(host, name) {
        true => Line::Record(wanted),
        false => Line::Comment(format!("For the zone of {host}, if it is signed:\n{wanted}")),
    }
}

fn push_new(keys: &mut Vec<Tlsa>, certificate: &Certificate) {
    let tlsa = certificate.tlsa();
    if !keys.contains(&tlsa) {
        keys.push(tlsa);
    }
}

/// How mail programs find where to hand mail in (RFC 6186 §3.1, RFC 8314 §5.1).
fn submission(name: &Domain, config: &Config) -> Vec<Line> {
    let services = [
        ("_submissions", &config.listen.submissions),
        ("_submission", &config.listen.submission),
    ];
    let line = |(service, addresses): (&str, &Vec<std::net::SocketAddr>)| {
        let owner = format!("{service}._tcp.{name}");
        let target = |port| Srv {
            priority: 0,
            weight: 1,
            port,
            target: Some(config.server.hostname.clone()),
        };
        match addresses.first() {
            Some(address) => Line::Record(Wanted {
                owner,
                data: Data::Srv(vec![target(address.port())]),
                purpose: "where mail programs hand mail in",
                needed: false,
            }),
            None => Line::Comment(format!("{owner}: the service is off.")),
        }
    };
    let mut lines: Vec<Line> = services.into_iter().map(line).collect();
    lines.push(Line::Comment(
        "_imaps._tcp and _imap._tcp are for whoever serves the mailboxes; this daemon does not.".into(),
    ));
    lines
}

/// A strict domain sends nothing by SMTP.
fn spf(name: &Domain, config: &Config, strict: bool) -> Line {
    let policy = match strict {
        true => String::from("v=spf1 -all"),
        false => format!("v=spf1 mx{} -all", source(config)),
    };
    text(
        name.to_string(),
        policy,
        "who sends mail of the domain; add whoever else does (SPF)",
    )
}

/// Reports are from nobody, and others judge them by the name in EHLO (RFC 7208 §2.4).
fn spf_of_host(name: &Domain, config: &Config) -> Option<Line> {
    let host = config.helo();
    (host != name && is_in(host, name)).then(|| {
        text(
            host.to_string(),
            format!("v=spf1 a{} -all", source(config)),
            "who may call itself by that name in EHLO, as reports are judged by it (SPF)",
        )
    })
}

/// The address that mail leaves from, if it is set.
fn source(config: &Config) -> String {
    let source = config.outbound.source_address;
    let source = source.filter(|address| !address.is_loopback() && !address.is_unspecified());
    let source = source.map(|address| match address.is_ipv4() {
        true => format!(" ip4:{address}"),
        false => format!(" ip6:{address}"),
    });
    source.unwrap_or_default()
}

/// Every key that signs, that will, or that signed what may still be under way.
async fn dkim(context: &Context, name: &Domain) -> anyhow::Result<Vec<Line>> {
    let keys = context.store.dkim_keys(name).await?;
    if keys.is_empty() {
        let text =
            format!("DKIM: there are no keys, and mail is not signed; `dimed dkim add {name}` makes them.");
        return Ok(vec![Line::Comment(text)]);
    }
    let line = |key: DkimKey| {
        Line::Record(Wanted {
            owner: format!("{}._domainkey.{name}", key.selector),
            purpose: match key.state {
                DkimState::Generated => "a key that will sign the domain's mail (DKIM)",
                DkimState::Active => "a key that signs the domain's mail (DKIM)",
                DkimState::Replaced => "a key that signed mail which may still be under way (DKIM)",
            },
            needed: key.state == DkimState::Active,
            data: Data::Text(key.record),
        })
    };
    Ok(keys.into_iter().map(line).collect())
}

fn dmarc(name: &Domain, strict: bool) -> Line {
    let policy = if strict { "reject" } else { "none" };
    text(
        format!("_dmarc.{name}"),
        format!("v=DMARC1; p={policy}; rua=mailto:postmaster@{name}"),
        "what others do with mail that is not the domain's (DMARC)",
    )
}

/// RFC 8461: the record announces a policy, which web servers have.
fn mta_sts(name: &Domain, config: &Config) -> Vec<Line> {
    let Some(policy) = config.own_policy() else {
        return vec![Line::Comment(
            "MTA-STS: mta_sts.mode is off, so there is nothing to publish.".into(),
        )];
    };
    let host = format!("mta-sts.{name}");
    let web_server = format!(
        "{host} needs A and AAAA records of a web server that has, at https://{host}{},\n\
         what the daemon serves on listen.http:\n{policy}",
        sts::PATH
    );
    vec![
        text(
            format!("_mta-sts.{name}"),
            policy.announcement(),
            "the policy for certificates of the mail hosts (MTA-STS)",
        ),
        Line::Comment(web_server),
    ]
}

fn text(owner: String, text: String, purpose: &'static str) -> Line {
    Line::Record(Wanted {
        owner,
        data: Data::Text(text),
        purpose,
        needed: false,
    })
}

fn is_in(host: &Domain, zone: &Domain) -> bool {
    host == zone || host.as_str().ends_with(&format!(".{zone}"))
}

impl Data {
    /// The type's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Management(_) | Self::Text(_) => "TXT",
            Self::Mx(_) => "MX",
            Self::Srv(_) => "SRV",
            Self::Tlsa(_) => "TLSA",
        }
    }

    /// One text for each record: of TXT as it is, of others as a zone file has it.
    pub fn items(&self) -> Vec<String> {
        match self {
            // It has been rendered before.
            Self::Management(record) => record.render().into_iter().collect(),
            Self::Text(text) => vec![text.clone()],
            Self::Mx(hosts) => hosts.iter().map(mx_item).collect(),
            Self::Srv(services) => services.iter().map(srv_item).collect(),
            Self::Tlsa(keys) => keys.iter().map(tlsa_item).collect(),
        }
    }
}

/// As a zone file has it.
pub fn mx_item(mx: &Mx) -> String {
    format!("{} {}", mx.preference, absolute(mx.host.as_ref()))
}

/// As a zone file has it.
pub fn srv_item(srv: &Srv) -> String {
    let target = absolute(srv.target.as_ref());
    format!("{} {} {} {target}", srv.priority, srv.weight, srv.port)
}

/// As a zone file has it.
pub fn tlsa_item(tlsa: &Tlsa) -> String {
    let data = hex(&tlsa.data);
    format!("{} {} {} {data}", tlsa.usage, tlsa.selector, tlsa.matching)
}

fn absolute(host: Option<&Domain>) -> String {
    host.map_or_else(|| String::from("."), |host| format!("{host}."))
}

/// Lines of a zone file, without the last line end.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.data.kind();
        let data = |item: String| match kind {
            "TXT" => character_strings(item),
            _ => item,
        };
        let line = |item| format!("{}. {TTL} IN {kind} {}", self.owner, data(item));
        let lines: Vec<String> = self.data.items().into_iter().map(line).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Lines of a zone file, without the last line end; each record under what it is for.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(wanted) => write!(f, "; {}\n{wanted}", wanted.purpose),
            Self::Comment(text) => {
                let lines: Vec<String> = text.lines().map(|line| format!("; {line}")).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}
