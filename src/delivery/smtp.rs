//! Mail to other hosts by SMTP: MX by MX, with TLS when the host offers it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::timeout;

use super::body::Body;
use super::{Diagnosis, Outcome, RemoteReply};
use crate::base::machine::TlsInfo;
use crate::domains::{Domains, MailHosts};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::reply::EnhancedStatus;
use crate::net::connect::Outgoing;
use crate::net::connection::{self, Connection};
use crate::net::dns::{Lookup, Resolver};
use crate::net::stream::Stream;
use crate::net::tls::Connector;
use crate::smtp::client::{
    self, Client, Event, Failure, Need, Params, Protocol, Stage, Timeouts, TlsPolicy, Transaction, Verdict,
};

/// MX hosts tried in one attempt.
const MAX_HOSTS: usize = 5;

/// Addresses tried for one host.
const MAX_ADDRESSES: usize = 4;

/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends mail to the hosts of other domains.
pub struct SmtpDelivery {
    /// Where a domain's mail goes.
    pub domains: Arc<Domains>,
    /// Finds the hosts' addresses.
    pub resolver: Arc<dyn Resolver>,
    /// How to connect.
    pub outgoing: Outgoing,
    /// TLS without expectations of the certificate.
    pub connector: Connector,
    /// Our name, for EHLO; mail for a host of that name would come back.
    pub hello: Domain,
    /// 25, but for tests and the demo.
    pub port: u16,
}

/// What is to be sent, to recipients of one domain.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Where failures are reported.
    pub reverse_path: &'a ReversePath,
    /// At least one.
    pub recipients: &'a [Mailbox],
    /// Octets of the body.
    pub size_bytes: u64,
    /// The body has octets above 127.
    pub eight_bit: bool,
    /// The header has UTF-8.
    pub smtputf8: bool,
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
}

impl Report {
    fn same(job: &Job<'_>, outcome: &Outcome) -> Self {
        Self {
            outcomes: vec![outcome.clone(); job.recipients.len()],
            host: None,
            tls: None,
        }
    }
}

/// Why a host gave no verdicts.
struct HostFailure {
    diagnosis: Diagnosis,
    /// Worth trying again without TLS, which is only opportunistic here.
    tls_to_blame: bool,
    /// The host may have the message: another host must not be given a copy now.
    leaves_doubt: bool,
}

impl HostFailure {
    /// One that says nothing about TLS, and before which nothing can have been accepted.
    fn plain(diagnosis: Diagnosis) -> Self {
        Self {
            diagnosis,
            tls_to_blame: false,
            leaves_doubt: false,
        }
    }
}

impl SmtpDelivery {
    /// Tries the domain's hosts in order until one gives verdicts.
    pub async fn deliver(&self, destination: &Domain, job: &Job<'_>, body: &mut Body) -> Report {
        let hosts = match self.hosts(destination).await {
            Ok(hosts) => hosts,
            Err(outcome) => return Report::same(job, &outcome),
        };
        let mut last = Diagnosis::local(EnhancedStatus(4, 4, 1), "no host of the domain answers");
        for host in hosts.iter().take(MAX_HOSTS) {
            match self.try_host(host, job, body).await {
                Ok(report) => return report,
                Err(failure) if failure.leaves_doubt => {
                    return Report::same(job, &Outcome::Deferred(failure.diagnosis));
                }
                Err(failure) => last = failure.diagnosis,
            }
        }
        Report::same(job, &Outcome::Deferred(last))
    }

    async fn hosts(&self, destination: &Domain) -> Result<Vec<Domain>, Outcome> {
        let deferred = |text| Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 3), text));
        let failed = |status, text| Outcome::Failed(Diagnosis::local(status, text));
        match self
            .domains
            .mail_hosts(destination, &mut rand::make_rng::<StdRng>())
            .await
        {
            MailHosts::Hosts { hosts, .. } => self.without_us(hosts),
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

    async fn try_host(&self, host: &Domain, job: &Job<'_>, body: &mut Body) -> Result<Report, HostFailure> {
        let addresses = self.addresses(host).await?;
        match self
            .try_session(host, &addresses, TlsPolicy::Opportunistic, job, body)
            .await
        {
            Err(failure) if failure.tls_to_blame => {
                self.try_session(host, &addresses, TlsPolicy::Never, job, body)
                    .await
            }
            result => result,
        }
    }

    async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, HostFailure> {
        let failure = |what: &str| {
            let text = format!("the address of {host} {what}");
            HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 4, 3), text))
        };
        match self.resolver.addresses(host).await {
            Lookup::Found { value, .. } => Ok(value),
            Lookup::Absent { .. } => Err(failure("does not exist")),
            Lookup::Bogus => Err(failure("fails DNSSEC validation")),
            Lookup::Failed => Err(failure("cannot be looked up")),
        }
    }

    async fn try_session(
        &self,
        host: &Domain,
        addresses: &[IpAddr],
        tls: TlsPolicy,
        job: &Job<'_>,
        body: &mut Body,
    ) -> Result<Report, HostFailure> {
        let unreachable = |_| {
            let text = format!("{host} cannot be reached");
            HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 4, 1), text))
        };
        let tcp = self
            .outgoing
            .connect(addresses, self.port, MAX_ADDRESSES)
            .await
            .map_err(unreachable)?;
        let stream = Stream::new(tcp).map_err(unreachable)?;
        let mut client = Client::new(self.params(tls), None);
        client.start(transaction(job));
        body.rewind();
        let connection = Connection::new(stream, client);
        self.converse(host, connection, job.recipients.len(), body).await
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

    /// Runs the session to its end.
    async fn converse(
        &self,
        host: &Domain,
        mut connection: Connection<Client>,
        count: usize,
        body: &mut Body,
    ) -> Result<Report, HostFailure> {
        loop {
            match connection.next_event().await {
                Ok(Some(Event::StartTls)) => {
                    match connection.connect_tls(&self.connector, host.as_str()).await {
                        Ok(peer) => connection.machine().tls_started(peer.info),
                        Err(_) => connection.machine().tls_failed(),
                    }
                }
                Ok(Some(Event::NeedBody)) => feed(connection.machine(), body).await,
                Ok(Some(Event::Done(outcome))) => {
                    let tls = connection.machine().tls().cloned();
                    connection.machine().quit();
                    say_goodbye(connection).await;
                    return Ok(report(host, tls, outcome, count));
                }
                Ok(Some(Event::Failed { failure, verdicts })) => {
                    let tls = connection.machine().tls().cloned();
                    // The failure is what counts; the farewell is a courtesy.
                    let _ = connection.send().await;
                    return broken(host, tls, &failure, verdicts);
                }
                Ok(Some(Event::Ready)) => {}
                Ok(None | Some(Event::Closed)) => return Err(lost(host)),
                Err(error) => {
                    let leaves_doubt = connection.machine().stage() == Stage::EndOfData;
                    return Err(io_failure(host, &error, leaves_doubt));
                }
            }
        }
    }
}

fn transaction(job: &Job<'_>) -> Transaction {
    Transaction {
        reverse_path: job.reverse_path.clone(),
        recipients: job.recipients.to_vec(),
        size_bytes: job.size_bytes,
        eight_bit: job.eight_bit,
        smtputf8: job.smtputf8,
    }
}

async fn feed(client: &mut Client, body: &mut Body) {
    match body.next().await {
        Ok(Some(piece)) => client.body(&piece),
        Ok(None) => client.body_end(),
        Err(_) => client.body_abort(),
    }
}

/// The verdicts are known; a peer that does not answer QUIT changes nothing.
async fn say_goodbye(mut connection: Connection<Client>) {
    let farewell = async { while let Ok(Some(_)) = connection.next_event().await {} };
    // The result is known and waits to be recorded; a host that does not answer must not hold it up.
    let _ = timeout(FAREWELL, farewell).await;
}

fn report(host: &Domain, tls: Option<TlsInfo>, outcome: client::Outcome, count: usize) -> Report {
    let outcomes = match outcome {
        client::Outcome::Verdicts(verdicts) => verdicts
            .into_iter()
            .map(|verdict| judged(host, verdict))
            .collect(),
        client::Outcome::Lacking(need) => vec![lacking(host, need); count],
    };
    Report {
        outcomes,
        host: Some(host.clone()),
        tls,
    }
}

fn judged(host: &Domain, verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accepted(reply) => Outcome::Relayed(RemoteReply {
            host: host.to_string(),
            reply: reply.to_string(),
        }),
        Verdict::Rejected(reply) => Outcome::from_refusal(host.as_str(), &reply),
    }
}

fn lacking(host: &Domain, need: Need) -> Outcome {
    let (status, what) = match need {
        Need::EightBitMime => (EnhancedStatus(5, 6, 3), "eight-bit content"),
        Need::SmtpUtf8 => (EnhancedStatus(5, 6, 7), "internationalized addresses or headers"),
    };
    Outcome::Failed(Diagnosis::local(status, format!("{host} does not take {what}")))
}

/// A session that broke. Verdicts given before it did are kept; the others are open, and another host may be tried
/// if nobody has a verdict.
fn broken(
    host: &Domain,
    tls: Option<TlsInfo>,
    failure: &Failure,
    verdicts: Vec<Option<Verdict>>,
) -> Result<Report, HostFailure> {
    let diagnosis = Diagnosis::local(EnhancedStatus(4, 4, 2), format!("{host}: {failure}"));
    if verdicts.iter().all(Option::is_none) {
        return Err(HostFailure {
            diagnosis,
            tls_to_blame: *failure == Failure::TlsHandshake,
            leaves_doubt: failure.leaves_doubt(),
        });
    }
    let open = Outcome::Deferred(diagnosis);
    let outcomes = verdicts
        .into_iter()
        .map(|verdict| verdict.map_or_else(|| open.clone(), |verdict| judged(host, verdict)))
        .collect();
    Ok(Report {
        outcomes,
        host: Some(host.clone()),
        tls,
    })
}

fn lost(host: &Domain) -> HostFailure {
    let text = format!("{host} closed the connection");
    HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 4, 2), text))
}

fn io_failure(host: &Domain, error: &connection::Error, leaves_doubt: bool) -> HostFailure {
    HostFailure {
        diagnosis: Diagnosis::local(EnhancedStatus(4, 4, 2), format!("{host}: {error}")),
        tls_to_blame: false,
        leaves_doubt,
    }
}
