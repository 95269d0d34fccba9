//! Mail to other hosts by SMTP: MX by MX, or to the host that the operator names, with the TLS that routing demands of each.

mod ask;
mod host;
mod way;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;

use super::letter::Letter;
use super::session::{Failure, Session};
use super::windows::{HostAddress, Hosts};
use super::{Contact, Diagnosis, Outcome};
use crate::base::machine::TlsInfo;
use crate::domains::sts::{MtaSts, StsFacts};
use crate::domains::{MailHosts, mail_hosts};
use crate::mail::address::{Domain, ReversePath};
use crate::mail::demand::TlsDemand;
use crate::mail::notify::MessageRequest;
use crate::mail::reply::EnhancedStatus;
use crate::net::connect::Outgoing;
use crate::net::dane::Dane;
use crate::net::dns::{Proof, Resolver};
use crate::net::pool::{self, Pool};
use crate::net::tls::{self, Connector, WebPki};
use crate::routing::transport::{Endpoint, Transport};
use crate::routing::{HostReason, HostTls, SmtpTls};
use crate::smtp::client::TlsPolicy;
use crate::store::Term;

pub use crate::smtp::client::Recipient;
pub use host::{CredentialsError, parse_credentials};
pub use way::{Common, NoAddress, Way, elsewhere, find, to_address};

/// MX hosts tried in one attempt.
pub const MAX_HOSTS: usize = 5;

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
    /// Our name, for EHLO.
    pub hello: Domain,
    /// The names under which others know this host; mail for a host of these names would come back.
    pub ours: Vec<Domain>,
    /// Where this host listens; mail for a host at these addresses would come back.
    pub listeners: Vec<SocketAddr>,
    /// 25, but for tests and the demo.
    pub port: u16,
    /// Sessions that may be used again.
    pub sessions: Arc<Pool<Key, Session>>,
    /// How many attempts hosts have room for.
    pub hosts: Arc<Hosts>,
}

/// Whom a session leads to, and what was demanded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    host: String,
    port: u16,
    policy: TlsPolicy,
    is_verified: bool,
    tls_from_start: bool,
    dane: Option<Dane>,
    /// In whose name.
    login: Option<PathBuf>,
}

/// Where sessions with other hosts are kept.
pub fn sessions() -> Arc<Pool<Key, Session>> {
    Arc::new(Pool::new(pool::Limits::default()))
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
    /// The TLS that the route asks for.
    pub wanted: SmtpTls,
    /// The TLS that the author demands.
    pub demand: TlsDemand,
    /// What the sender wants to be told.
    pub request: &'a MessageRequest,
    /// The host that the route names.
    pub transport: Option<&'a Transport>,
    /// We take mail for the domain, to pass it on: that there is nobody to pass it on to is a mistake, and passes.
    pub is_relayed: bool,
    /// Only whether the host would take mail for the recipients is to be found out.
    pub only_asks: bool,
    /// When sessions are broken off.
    pub term: &'a Term,
}

impl Job<'_> {
    /// A report must not get lost because the next host promises nothing (RFC 8689 §5).
    fn is_report_requiring_tls(&self) -> bool {
        self.demand == TlsDemand::Required && self.reverse_path.0.is_none()
    }

    /// The host that it would go to is this one. Where the operator has to name another, that may pass.
    fn comes_back(&self) -> Diagnosis {
        let (class, text) = match (self.transport, self.is_relayed) {
            (Some(_), _) => (
                4,
                "the host that the configuration names for the domain is this one",
            ),
            (None, true) => (
                4,
                "the domain's mail host is this one: name the next host in outbound.transports",
            ),
            (None, false) => (
                5,
                "the domain's mail host is this one, which does not serve the domain",
            ),
        };
        Diagnosis::local(EnhancedStatus(class, 4, 6), text)
    }
}

/// What an attempt brought.
#[derive(Debug)]
pub struct Report {
    /// One for each recipient, in their order; the last ones have none if a host takes so few in a session, and so few sessions
    /// do, that they are left to another attempt.
    pub outcomes: Vec<Outcome>,
    /// The host that gave the answers, if one did.
    pub host: Option<String>,
    /// TLS towards that host.
    pub tls: Option<TlsInfo>,
    /// What that TLS had to be.
    pub protection: Option<Protection>,
    /// Hosts that were tried before, or were not even tried, because of their TLS.
    pub refused: Vec<(String, Protection)>,
    /// How long the message and its envelope took, from MAIL to the last reply; what came before was the way there.
    pub transmitting: Duration,
    /// Whether anybody answered.
    pub contact: Contact,
    /// The host that has no room for another attempt; then nothing was tried, and there are no outcomes.
    pub crowded: Option<HostAddress>,
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
    /// The same for everybody, and no host has said so.
    pub fn same(count: usize, outcome: &Outcome) -> Self {
        Self {
            outcomes: vec![outcome.clone(); count],
            host: None,
            tls: None,
            protection: None,
            refused: Vec::new(),
            transmitting: Duration::ZERO,
            contact: Contact::Unknown,
            crowded: None,
        }
    }

    /// Nothing was tried.
    fn crowded(host: HostAddress) -> Self {
        Self {
            outcomes: Vec::new(),
            crowded: Some(host),
            ..Self::same(0, &Outcome::Expanded)
        }
    }

    /// Whether everybody is put off because we send too much: the host is shutting down or overloaded (421, 4.3.2), or limits what it
    /// takes of us (4.7.x; 4.7.1 is greylisting as a rule).
    fn wants_less(&self) -> bool {
        let is_too_much = |outcome: &Outcome| match outcome {
            Outcome::Deferred(Diagnosis {
                status,
                remote: Some(remote),
                ..
            }) => {
                remote.reply.starts_with("421")
                    || matches!(status, EnhancedStatus(4, 3, 2))
                    || matches!(status, EnhancedStatus(4, 7, detail) if *detail != 1)
            }
            _ => false,
        };
        !self.outcomes.is_empty() && self.outcomes.iter().all(is_too_much)
    }

    /// Nobody will ever get the message, and no host was asked.
    fn all_failed(&self) -> bool {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        self.host.is_none() && self.crowded.is_none() && self.outcomes.iter().all(failed)
    }
}

/// A host that may be tried.
enum Target<'a> {
    Named(&'a Domain),
    Operators(&'a Transport),
}

impl SmtpDelivery {
    /// Sends to the host that the job names, or tries the domain's hosts in order until one gives verdicts.
    pub async fn deliver(&self, destination: &Domain, job: &Job<'_>, letter: &mut dyn Letter) -> Report {
        let report = match job.transport {
            Some(transport) => self.by_transport(transport, job, letter).await,
            None => self.by_mx(destination, job, letter).await,
        };
        report.unwrap_or_else(|outcome| Report::same(job.recipients.len(), &outcome))
    }

    async fn by_mx(
        &self,
        destination: &Domain,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Result<Report, Outcome> {
        let (hosts, list) = self.hosts(destination, job).await?;
        let sts = self.sts.facts(destination).await.map_err(|_| {
            let text = "the domain's MTA-STS policy cannot be read";
            Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 3, 0), text))
        })?;
        let common = Common {
            destination,
            list,
            sts: &sts,
            wanted: job.wanted,
            demand: job.demand,
            port: self.port,
            transport: None,
        };
        let targets: Vec<Target<'_>> = hosts.iter().take(MAX_HOSTS).map(Target::Named).collect();
        Ok(self.as_demanded(&targets, common, job, letter).await)
    }

    async fn by_transport(
        &self,
        transport: &Transport,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Result<Report, Outcome> {
        if matches!(&transport.host, Endpoint::Host(host) if self.ours.contains(host)) {
            return Err(Outcome::Deferred(job.comes_back()));
        }
        let sts = StsFacts::none();
        let common = Common {
            destination: &self.hello,
            list: Proof::Secure,
            sts: &sts,
            wanted: job.wanted,
            demand: job.demand,
            port: transport.port,
            transport: Some(transport),
        };
        let targets = [Target::Operators(transport)];
        Ok(self.as_demanded(&targets, common, job, letter).await)
    }

    /// A report that nobody would take under its demand goes without it.
    async fn as_demanded(
        &self,
        targets: &[Target<'_>],
        common: Common<'_>,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Report {
        let report = self.in_turn(targets, &common, job, letter).await;
        if !(job.is_report_requiring_tls() && report.all_failed()) {
            return report;
        }
        let demand = TlsDemand::Policy;
        let (common, job) = (Common { demand, ..common }, Job { demand, ..*job });
        self.in_turn(targets, &common, &job, letter).await
    }

    /// The message is given up only if no host will ever do.
    async fn in_turn(
        &self,
        targets: &[Target<'_>],
        common: &Common<'_>,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Report {
        let mut last = Diagnosis::local(EnhancedStatus(4, 4, 1), "no host of the domain answers");
        let (mut hopeless, mut refused, mut unreachable) = (true, Vec::new(), true);
        for target in targets {
            let failure = match self.try_host(target, common, job, letter, &mut refused).await {
                Ok(report) => return Report { refused, ..report },
                Err(failure) => failure,
            };
            if let Some(host) = failure.is_crowded {
                return Report::crowded(host);
            }
            unreachable &= failure.is_unreachable;
            let is_ours = is_circle(&failure.diagnosis);
            if failure.leaves_doubt {
                let outcome = Outcome::Deferred(failure.diagnosis);
                return Report {
                    refused,
                    ..Report::same(job.recipients.len(), &outcome)
                };
            }
            if hopeless || !failure.is_permanent {
                last = failure.diagnosis;
            }
            hopeless &= failure.is_permanent;
            // From those that the domain likes less it would come back as well (RFC 5321 §5.1).
            if is_ours {
                break;
            }
        }
        let outcome = match hopeless && last.status.0 == 5 {
            true => Outcome::Failed(last),
            false => Outcome::Deferred(last),
        };
        Report {
            refused,
            contact: match unreachable {
                true => Contact::Unreachable,
                false => Contact::Unknown,
            },
            ..Report::same(job.recipients.len(), &outcome)
        }
    }

    async fn hosts(&self, destination: &Domain, job: &Job<'_>) -> Result<(Vec<Domain>, Proof), Outcome> {
        let deferred = |text| Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 3), text));
        let failed = |status, text| Outcome::Failed(Diagnosis::local(status, text));
        match mail_hosts(
            self.resolver.as_ref(),
            destination,
            &self.ours,
            &mut rand::make_rng::<StdRng>(),
        )
        .await
        {
            MailHosts::Hosts { hosts, proof } => Ok((hosts, proof)),
            MailHosts::OnlyOurs if job.is_relayed => Err(Outcome::Deferred(job.comes_back())),
            MailHosts::OnlyOurs => Err(Outcome::Failed(job.comes_back())),
            MailHosts::NullMx => Err(failed(EnhancedStatus(5, 1, 10), "the domain takes no mail")),
            MailHosts::Nowhere => Err(failed(
                EnhancedStatus(5, 1, 2),
                "the domain has neither a mail host nor an address",
            )),
            MailHosts::Bogus => Err(deferred("the domain's mail hosts fail DNSSEC validation")),
            MailHosts::Failed => Err(deferred("the domain's mail hosts cannot be looked up")),
        }
    }
}

/// Of our own findings only that a host is this one is told so.
fn is_circle(diagnosis: &Diagnosis) -> bool {
    diagnosis.remote.is_none() && (diagnosis.status.1, diagnosis.status.2) == (4, 6)
}

fn no_address(host: &str, why: NoAddress) -> Failure {
    let text = format!("the address of {host} {why}");
    Failure::plain(Diagnosis::local(EnhancedStatus(4, 4, 3), text))
}

fn unusable(host: &str, error: &tls::Error) -> Failure {
    let text = format!("TLS with {host} cannot be prepared: {error}");
    Failure::plain(Diagnosis::local(EnhancedStatus(4, 3, 0), text))
}

/// Why a host gets no mail before it was even connected to. What the author requires cannot come true later.
fn refusal(way: &Way) -> Failure {
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
    Failure {
        is_permanent: reason == HostReason::RequiredUnproven,
        ..Failure::plain(Diagnosis::local(status, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::reply::Reply;

    #[test]
    fn a_host_that_limits_what_it_takes_wants_less_and_one_that_greylists_does_not() {
        let report = |replies: &[(u16, EnhancedStatus)]| {
            let outcome = |(code, status): &(u16, EnhancedStatus)| {
                Outcome::from_refusal("mx.plain.test", &Reply::new(*code, *status, "no"))
            };
            Report {
                outcomes: replies.iter().map(outcome).collect(),
                ..Report::same(0, &Outcome::Delivered)
            }
        };
        for (code, status, expected) in [
            (421, EnhancedStatus(4, 2, 0), true),
            (451, EnhancedStatus(4, 7, 28), true),
            (450, EnhancedStatus(4, 3, 2), true),
            (450, EnhancedStatus(4, 7, 1), false),
            (452, EnhancedStatus(4, 2, 2), false),
            (550, EnhancedStatus(5, 7, 28), false),
        ] {
            assert_eq!(
                report(&[(code, status)]).wants_less(),
                expected,
                "{code} {status}"
            );
        }
        let one_of_two = [(421, EnhancedStatus(4, 7, 0)), (450, EnhancedStatus(4, 2, 1))];
        assert!(!report(&one_of_two).wants_less());
        assert!(!report(&[]).wants_less());
    }
}
