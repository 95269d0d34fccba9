//! Mail to other hosts by SMTP: MX by MX, with the TLS that routing demands of each.

mod session;
mod way;

use std::net::IpAddr;
use std::sync::Arc;

use rand::rngs::StdRng;

use self::session::Session;
use super::body::Body;
use super::{Diagnosis, Outcome};
use crate::base::machine::TlsInfo;
use crate::domains::sts::MtaSts;
use crate::domains::{MailHosts, mail_hosts};
use crate::mail::address::{Domain, ReversePath};
use crate::mail::demand::TlsDemand;
use crate::mail::notify::MessageRequest;
use crate::mail::reply::EnhancedStatus;
use crate::net::connect::Outgoing;
use crate::net::connection::Connection;
use crate::net::dns::{Proof, Resolver};
use crate::net::stream::Stream;
use crate::net::tls::{self, Connector, WebPki};
use crate::routing::{HostReason, HostTls, SmtpTls};
use crate::smtp::client::{Client, Params, Protocol, Timeouts, TlsPolicy, Transaction};

pub use crate::smtp::client::Recipient;
pub use way::{Common, NoAddress, Way, find};

/// MX hosts tried in one attempt.
pub const MAX_HOSTS: usize = 5;

/// Addresses tried for one host.
const MAX_ADDRESSES: usize = 4;

/// Sends mail to the hosts of other domains.
pub struct SmtpDelivery {
    /// Finds a domain's hosts, their addresses and TLSA records.
    pub resolver: Arc<dyn Resolver>,
    /// Domains' MTA-STS policies.
    pub sts: Arc<MtaSts>,
    /// How to connect.
    pub outgoing: Outgoing,
    /// How to do TLS.
    pub connectors: Connectors,
    /// Our name, for EHLO; mail for a host of that name would come back.
    pub hello: Domain,
    /// 25, but for tests and the demo.
    pub port: u16,
}

/// How to do TLS; for DANE, the host's records have to be known first.
pub struct Connectors {
    any: Connector,
    /// `None` on a machine without root certificates.
    pkix: Option<Connector>,
}

impl Connectors {
    /// With these root certificates.
    pub fn new(roots: Option<&WebPki>) -> Result<Self, tls::Error> {
        Ok(Self {
            any: Connector::new()?,
            pkix: roots.map(Connector::pkix).transpose()?,
        })
    }
}

/// What is to be sent, to recipients of one domain.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Where failures are reported.
    pub reverse_path: &'a ReversePath,
    /// At least one.
    pub recipients: &'a [Recipient],
    /// Octets of the body.
    pub size_bytes: u64,
    /// The body has octets above 127.
    pub eight_bit: bool,
    /// The header has UTF-8.
    pub smtputf8: bool,
    /// The TLS that the route asks for.
    pub wanted: SmtpTls,
    /// The TLS that the author demands.
    pub demand: TlsDemand,
    /// What the sender wants to be told.
    pub request: &'a MessageRequest,
}

impl Job<'_> {
    /// A report must not get lost because the next host promises nothing (RFC 8689 §5).
    fn is_report_requiring_tls(&self) -> bool {
        self.demand == TlsDemand::Required && self.reverse_path.0.is_none()
    }
}

/// What an attempt brought.
#[derive(Debug)]
pub struct Report {
    /// One for each recipient, in their order.
    pub outcomes: Vec<Outcome>,
    /// The host that gave the answers, if one did.
    pub host: Option<Domain>,
    /// TLS towards that host.
    pub tls: Option<TlsInfo>,
    /// What that TLS had to be.
    pub protection: Option<Protection>,
    /// Hosts that were tried before, or were not even tried, because of their TLS.
    pub refused: Vec<(Domain, Protection)>,
}

/// How the TLS towards a host had to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// [`HostTls::kind`].
    pub kind: &'static str,
    /// Why so.
    pub reason: HostReason,
    /// Whether the certificate was verified.
    pub verified: bool,
}

impl Report {
    fn same(job: &Job<'_>, outcome: &Outcome) -> Self {
        Self {
            outcomes: vec![outcome.clone(); job.recipients.len()],
            host: None,
            tls: None,
            protection: None,
            refused: Vec::new(),
        }
    }

    /// Nobody will ever get the message, and no host was asked.
    fn all_failed(&self) -> bool {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        self.host.is_none() && self.outcomes.iter().all(failed)
    }

    fn by(host: &Domain, tls: Option<TlsInfo>, outcomes: Vec<Outcome>) -> Self {
        Self {
            outcomes,
            host: Some(host.clone()),
            tls,
            protection: None,
            refused: Vec::new(),
        }
    }
}

/// Why a host gave no verdicts.
struct HostFailure {
    diagnosis: Diagnosis,
    /// It is the TLS that failed: worth trying with less of it, if less will do.
    tls_to_blame: bool,
    /// The host may have the message: another host must not be given a copy now.
    leaves_doubt: bool,
    /// It will be no better later.
    is_permanent: bool,
}

impl HostFailure {
    /// One that says nothing about TLS, and before which nothing can have been accepted.
    fn plain(diagnosis: Diagnosis) -> Self {
        Self {
            diagnosis,
            tls_to_blame: false,
            leaves_doubt: false,
            is_permanent: false,
        }
    }
}

/// One way of doing TLS with a host.
struct Handshake<'a> {
    policy: TlsPolicy,
    connector: &'a Connector,
    verified: bool,
}

impl SmtpDelivery {
    /// Tries the domain's hosts in order until one gives verdicts.
    pub async fn deliver(&self, destination: &Domain, job: &Job<'_>, body: &mut Body) -> Report {
        let (hosts, list) = match self.hosts(destination).await {
            Ok(found) => found,
            Err(outcome) => return Report::same(job, &outcome),
        };
        let Ok(sts) = self.sts.facts(destination).await else {
            let text = "the domain's MTA-STS policy cannot be read";
            let fault = Diagnosis::local(EnhancedStatus(4, 3, 0), text);
            return Report::same(job, &Outcome::Deferred(fault));
        };
        let common = Common {
            destination,
            list,
            sts: &sts,
            wanted: job.wanted,
            demand: job.demand,
            port: self.port,
        };
        let report = self.in_turn(&hosts, &common, job, body).await;
        if !(job.is_report_requiring_tls() && report.all_failed()) {
            return report;
        }
        let (demand, common) = (
            TlsDemand::Policy,
            Common {
                demand: TlsDemand::Policy,
                ..common
            },
        );
        self.in_turn(&hosts, &common, &Job { demand, ..*job }, body).await
    }

    /// The message is given up only if no host will ever do.
    async fn in_turn(&self, hosts: &[Domain], common: &Common<'_>, job: &Job<'_>, body: &mut Body) -> Report {
        let mut last = Diagnosis::local(EnhancedStatus(4, 4, 1), "no host of the domain answers");
        let (mut hopeless, mut refused) = (true, Vec::new());
        for host in hosts.iter().take(MAX_HOSTS) {
            let failure = match self.try_host(host, common, job, body, &mut refused).await {
                Ok(report) => return Report { refused, ..report },
                Err(failure) => failure,
            };
            if failure.leaves_doubt {
                let outcome = Outcome::Deferred(failure.diagnosis);
                return Report {
                    refused,
                    ..Report::same(job, &outcome)
                };
            }
            if hopeless || !failure.is_permanent {
                last = failure.diagnosis;
            }
            hopeless &= failure.is_permanent;
        }
        let outcome = match hopeless && last.status.0 == 5 {
            true => Outcome::Failed(last),
            false => Outcome::Deferred(last),
        };
        Report {
            refused,
            ..Report::same(job, &outcome)
        }
    }

    async fn hosts(&self, destination: &Domain) -> Result<(Vec<Domain>, Proof), Outcome> {
        let deferred = |text| Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 3), text));
        let failed = |status, text| Outcome::Failed(Diagnosis::local(status, text));
        match mail_hosts(
            self.resolver.as_ref(),
            destination,
            &mut rand::make_rng::<StdRng>(),
        )
        .await
        {
            MailHosts::Hosts { hosts, proof } => Ok((self.without_us(hosts)?, proof)),
            MailHosts::NullMx => Err(failed(EnhancedStatus(5, 1, 10), "the domain takes no mail")),
            MailHosts::Nowhere => Err(failed(
                EnhancedStatus(5, 1, 2),
                "the domain has neither a mail host nor an address",
            )),
            MailHosts::Bogus => Err(deferred("the domain's mail hosts fail DNSSEC validation")),
            MailHosts::Failed => Err(deferred("the domain's mail hosts cannot be looked up")),
        }
    }

    /// Hosts before us in the list may take the mail; from us on it would go in a circle (RFC 5321 §5.1).
    fn without_us(&self, mut hosts: Vec<Domain>) -> Result<Vec<Domain>, Outcome> {
        if let Some(ours) = hosts.iter().position(|host| *host == self.hello) {
            hosts.truncate(ours);
        }
        match hosts.is_empty() {
            false => Ok(hosts),
            true => Err(Outcome::Failed(Diagnosis::local(
                EnhancedStatus(5, 4, 6),
                "the domain's mail host is this one, which does not serve the domain",
            ))),
        }
    }

    /// Finds the way to a host, and does what it has to about TLS; each handshake but the last asks for more than must be.
    async fn try_host(
        &self,
        host: &Domain,
        common: &Common<'_>,
        job: &Job<'_>,
        body: &mut Body,
        refused: &mut Vec<(Domain, Protection)>,
    ) -> Result<Report, HostFailure> {
        let way = find(self.resolver.as_ref(), host, common)
            .await
            .map_err(|why| no_address(host, why))?;
        let protection = |verified| Protection {
            kind: way.decision.tls.kind(),
            reason: way.decision.reason,
            verified,
        };
        let dane = match &way.decision.tls {
            HostTls::Dane(dane) => Some((Connector::dane(dane.clone()), dane.base_domain())),
            _ => None,
        };
        let (dane, base) = dane.unzip();
        let dane = dane.transpose().map_err(|error| unusable(host, &error))?;
        let mut failure = refusal(&way);
        for handshake in self.handshakes(&way.decision.tls, dane.as_ref()) {
            match self
                .try_session(&way, &handshake, base.unwrap_or(host), job, body)
                .await
            {
                Ok(report) => {
                    let protection = Some(protection(handshake.verified && report.tls.is_some()));
                    return Ok(Report { protection, ..report });
                }
                Err(failed) if failed.tls_to_blame => failure = failed,
                Err(failed) => return Err(failed),
            }
        }
        refused.push((host.clone(), protection(false)));
        Err(failure)
    }

    /// The handshakes that will do, the best first; none if the host gets no mail.
    fn handshakes<'a>(&'a self, tls: &HostTls, dane: Option<&'a Connector>) -> Vec<Handshake<'a>> {
        let required = |connector: Option<&'a Connector>| {
            connector.map(|connector| Handshake {
                policy: TlsPolicy::Required,
                connector,
                verified: true,
            })
        };
        let any = |policy| Handshake {
            policy,
            connector: &self.connectors.any,
            verified: false,
        };
        let pkix = required(self.connectors.pkix.as_ref());
        let as_offered = [any(TlsPolicy::Opportunistic), any(TlsPolicy::Never)];
        match tls {
            HostTls::Dane(_) => required(dane).into_iter().collect(),
            HostTls::Pkix => pkix.into_iter().collect(),
            HostTls::Encrypted => vec![any(TlsPolicy::Required)],
            HostTls::PkixIfPossible => pkix.into_iter().chain(as_offered).collect(),
            HostTls::Opportunistic => as_offered.into(),
            HostTls::Refused => Vec::new(),
        }
    }

    async fn try_session(
        &self,
        way: &Way,
        handshake: &Handshake<'_>,
        server_name: &Domain,
        job: &Job<'_>,
        body: &mut Body,
    ) -> Result<Report, HostFailure> {
        let stream = self.connect(&way.host, &way.addresses).await?;
        let mut client = Client::new(self.params(handshake.policy), None);
        client.start(transaction(job));
        body.rewind();
        let session = Session {
            host: &way.host,
            connector: handshake.connector,
            server_name,
            count: job.recipients.len(),
        };
        session.run(Connection::new(stream, client), body).await
    }

    async fn connect(&self, host: &Domain, addresses: &[IpAddr]) -> Result<Stream, HostFailure> {
        let unreachable = |_| {
            let text = format!("{host} cannot be reached");
            HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 4, 1), text))
        };
        let tcp = self.outgoing.connect(addresses, self.port, MAX_ADDRESSES).await;
        Stream::new(tcp.map_err(unreachable)?).map_err(unreachable)
    }

    fn params(&self, tls: TlsPolicy) -> Params {
        Params {
            hello: self.hello.clone(),
            protocol: Protocol::Smtp,
            tls,
            credentials: None,
            timeouts: Timeouts::default(),
        }
    }
}

fn transaction(job: &Job<'_>) -> Transaction {
    Transaction {
        reverse_path: job.reverse_path.clone(),
        recipients: job.recipients.to_vec(),
        size_bytes: job.size_bytes,
        eight_bit: job.eight_bit,
        require_tls: job.demand == TlsDemand::Required,
        smtputf8: job.smtputf8,
        request: job.request.clone(),
    }
}

fn no_address(host: &Domain, why: NoAddress) -> HostFailure {
    let text = format!("the address of {host} {why}");
    HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 4, 3), text))
}

fn unusable(host: &Domain, error: &tls::Error) -> HostFailure {
    let text = format!("TLS with {host} cannot be prepared: {error}");
    HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 3, 0), text))
}

/// Why a host gets no mail before it was even connected to. What the author requires cannot come true later.
fn refusal(way: &Way) -> HostFailure {
    let reason = way.decision.reason;
    let status = match (reason, &way.decision.tls) {
        (HostReason::RequiredUnproven, _) => EnhancedStatus(5, 7, 30),
        (HostReason::TlsaFailed, _) => EnhancedStatus(4, 4, 3),
        _ => EnhancedStatus(4, 7, 5),
    };
    let text = match way.decision.tls {
        HostTls::Refused => format!("{}: {reason}", way.host),
        _ => format!("{}: {reason}, and there are no root certificates here", way.host),
    };
    HostFailure {
        is_permanent: reason == HostReason::RequiredUnproven,
        ..HostFailure::plain(Diagnosis::local(status, text))
    }
}
