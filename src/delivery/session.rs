//! One session with a host that takes mail by SMTP or LMTP, and the transactions in it.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::body::Octets;
use super::windows::HostAddress;
use super::{Diagnosis, Outcome, RemoteReply};
use crate::base::machine::{Machine as _, TlsInfo};
use crate::mail::reply::EnhancedStatus;
use crate::net::connection::{self, Connection};
use crate::net::pool::Pooled;
use crate::net::stream::Stream;
use crate::net::tls::{self, Connector};
use crate::smtp::client::{
    self, Client, Event, Failure as Broken, Need, Params, Stage, Transaction, Verdict,
};
use crate::smtp::extension::Extensions;
use crate::store::Term;

/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why an attempt ends before its time would be over with the lease.
pub const TOO_LONG: &str = "the attempt took too long";

/// How TLS is done with a host.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// What judges the certificate.
    pub connector: &'a Connector,
    /// The name to ask for.
    pub server_name: &'a str,
    /// Before the first word.
    pub from_start: bool,
}

/// A session that is set up.
#[derive(Debug)]
pub struct Session {
    connection: Connection<Client>,
    host: String,
    address: Option<IpAddr>,
    transactions: u32,
    opened: Instant,
}

/// Why a host gave no verdicts.
#[derive(Debug)]
pub struct Failure {
    /// In words.
    pub diagnosis: Diagnosis,
    /// It is the TLS that failed: worth trying with less of it, if less will do.
    pub tls_to_blame: bool,
    /// The host may have the message: another host must not be given a copy now.
    pub leaves_doubt: bool,
    /// The host spoke, and has no STARTTLS.
    pub offers_no_tls: bool,
    /// It will be no better later.
    pub is_permanent: bool,
    /// The host is not there, or does not speak.
    pub is_unreachable: bool,
    /// The host ends sessions that have begun: it wants fewer of them.
    pub is_busy: bool,
    /// This host has no room for another attempt now, so nothing was tried.
    pub is_crowded: Option<HostAddress>,
}

impl Failure {
    /// One that says nothing about TLS, and before which nothing can have been accepted.
    pub fn plain(diagnosis: Diagnosis) -> Self {
        Self {
            diagnosis,
            tls_to_blame: false,
            leaves_doubt: false,
            offers_no_tls: false,
            is_permanent: false,
            is_unreachable: false,
            is_busy: false,
            is_crowded: None,
        }
    }

    /// There are attempts enough at that host.
    pub fn crowded(host: &dyn Display, address: HostAddress) -> Self {
        let text = format!("{host} is being sent as much as it takes");
        Self {
            is_crowded: Some(address),
            ..Self::plain(Diagnosis::local(EnhancedStatus(4, 4, 5), text))
        }
    }

    /// There was no time left to be spoken to.
    pub fn too_late(host: &dyn Display) -> Self {
        Self {
            is_unreachable: true,
            ..Self::plain(Diagnosis::local(
                EnhancedStatus(4, 4, 7),
                format!("{host}: {TOO_LONG}"),
            ))
        }
    }

    /// Nobody answers there.
    pub fn unreachable(host: &dyn Display) -> Self {
        let text = format!("{host} cannot be reached");
        Self {
            is_unreachable: true,
            ..Self::plain(Diagnosis::local(EnhancedStatus(4, 4, 1), text))
        }
    }

    /// The same of a message whose author demands TLS. A host without any promises nothing either, and a later attempt would
    /// not find more; a certificate may be renewed.
    pub fn under_require_tls(self, host: &str) -> Self {
        if self.offers_no_tls {
            let text = format!("the author's message demands TLS (REQUIRETLS), which {host} does not offer");
            let diagnosis = Diagnosis::local(EnhancedStatus(5, 7, 30), text);
            return Self {
                diagnosis,
                is_permanent: true,
                ..self
            };
        }
        if !self.tls_to_blame {
            return self;
        }
        let text = format!(
            "the author's message demands verified TLS (REQUIRETLS), and {}",
            self.diagnosis.text
        );
        Self {
            diagnosis: Diagnosis {
                text,
                ..self.diagnosis
            },
            ..self
        }
    }
}

impl Session {
    /// Sets a session up: greeting, TLS and login, as the parameters say. The address is that of the host, if it has one.
    pub async fn open(
        (host, address): (String, Option<IpAddr>),
        stream: Stream,
        params: Params,
        tls: Option<Tls<'_>>,
    ) -> Result<Self, Failure> {
        let opened = Instant::now();
        let (stream, info) = match (tls, stream) {
            (Some(tls), Stream::Tcp(tcp)) if tls.from_start => {
                let shaken = tls.connector.connect(tcp, tls.server_name).await;
                let (stream, peer) = shaken.map_err(|error| handshake_failure(&host, &error))?;
                (stream, Some(peer.info))
            }
            (_, stream) => (stream, None),
        };
        let mut session = Self {
            connection: Connection::new(stream, Client::new(params, info)),
            host,
            address,
            transactions: 0,
            opened,
        };
        session.set_up(tls).await?;
        Ok(session)
    }

    async fn set_up(&mut self, tls: Option<Tls<'_>>) -> Result<(), Failure> {
        let mut handshake = None;
        loop {
            match self.connection.next_event().await {
                Ok(Some(Event::Ready)) => return Ok(()),
                Ok(Some(Event::StartTls)) => handshake = self.start_tls(tls).await,
                Ok(Some(Event::Failed { failure, .. })) => {
                    // The failure is what counts; the farewell is a courtesy.
                    let _ = self.connection.send().await;
                    let is_unreachable = says_nothing(&failure) || wants_nobody(&failure);
                    return Err(Failure {
                        is_unreachable,
                        ..self.broken(&failure, handshake)
                    });
                }
                Ok(Some(Event::NeedBody | Event::Rewind | Event::Done(_))) => {}
                Ok(None | Some(Event::Closed)) => return Err(self.lost()),
                Err(error) => return Err(self.io_failure(&error)),
            }
        }
    }

    /// Why the handshake failed, if it did.
    async fn start_tls(&mut self, tls: Option<Tls<'_>>) -> Option<String> {
        let Some(tls) = tls else {
            self.connection.machine().tls_failed();
            return None;
        };
        match self.connection.connect_tls(tls.connector, tls.server_name).await {
            Ok(peer) => {
                self.connection.machine().tls_started(peer.info);
                None
            }
            Err(error) => {
                self.connection.machine().tls_failed();
                Some(match error {
                    connection::Error::Handshake(why) => tls::in_words(&why),
                    other => other.to_string(),
                })
            }
        }
    }

    /// Sends one message; an outcome for each recipient, in their order. They are fewer if the host takes no more transactions
    /// in this session (RFC 9422): the others are for another one.
    ///
    /// Verdicts given before the session broke, or until the term was over, are kept, and the other recipients deferred. It
    /// is an error if nobody has a verdict.
    pub async fn send(
        &mut self,
        transaction: Transaction,
        body: &mut dyn Octets,
        term: &Term,
    ) -> Result<Vec<Outcome>, Failure> {
        let count = transaction.recipients.len();
        let is_begun = self.connection.machine().start(transaction);
        self.exchange(is_begun, count, body, term).await
    }

    /// The same up to the message, which is not sent: whether the host would take it for each recipient.
    pub async fn ask(
        &mut self,
        transaction: Transaction,
        body: &mut dyn Octets,
        term: &Term,
    ) -> Result<Vec<Outcome>, Failure> {
        let count = transaction.recipients.len();
        let is_begun = self.connection.machine().ask(transaction);
        self.exchange(is_begun, count, body, term).await
    }

    async fn exchange(
        &mut self,
        is_begun: bool,
        count: usize,
        body: &mut dyn Octets,
        term: &Term,
    ) -> Result<Vec<Outcome>, Failure> {
        self.transactions += 1;
        if !is_begun {
            return Err(self.lost());
        }
        loop {
            let Ok(event) = timeout_at(term.until(), self.connection.next_event()).await else {
                return self.cut_off(&TOO_LONG);
            };
            match event {
                Ok(Some(Event::NeedBody)) => {
                    if !self.feed(body, term).await {
                        return self.cut_off(&TOO_LONG);
                    }
                }
                Ok(Some(Event::Rewind)) => body.rewind(),
                Ok(Some(Event::Done(outcome))) => return self.done(outcome, count),
                Ok(Some(Event::Failed { failure, verdicts })) => {
                    // The failure is what counts; the farewell is a courtesy.
                    let _ = self.connection.send().await;
                    let failure = self.broken(&failure, None);
                    return self.broken_off(failure, verdicts);
                }
                Ok(Some(Event::Ready | Event::StartTls)) => {}
                Ok(None | Some(Event::Closed)) => return Err(self.lost()),
                Err(error) => return self.cut_off(&error),
            }
        }
    }

    /// False, and nothing is said, if the message is not ours any more when all that is left is to say that it is complete:
    /// others may have sent it meanwhile.
    async fn feed(&mut self, body: &mut dyn Octets, term: &Term) -> bool {
        let piece = body.next().await;
        // The end goes with the last piece, in one packet.
        let is_end = matches!(piece, Ok(None)) || body.is_over();
        if is_end && !term.is_ours().await {
            return false;
        }
        let client = self.connection.machine();
        match piece {
            Ok(Some(piece)) => client.body(&piece),
            Ok(None) => {}
            Err(_) => client.body_abort(),
        }
        if is_end {
            client.body_end();
        }
        true
    }

    fn done(&mut self, outcome: client::Outcome, count: usize) -> Result<Vec<Outcome>, Failure> {
        let reports = self.offered().dsn;
        match outcome {
            client::Outcome::Lacking(Need::RequireTls) => Err(promises_nothing(&self.host)),
            client::Outcome::Verdicts(verdicts) => Ok(verdicts
                .into_iter()
                .map(|verdict| self.judged(verdict, reports))
                .collect()),
            client::Outcome::Lacking(need) => Ok(vec![lacking(&self.host, need); count]),
        }
    }

    /// The connection failed under the session, or there is no more time. The machine still knows what was answered.
    fn cut_off(&mut self, error: &dyn Display) -> Result<Vec<Outcome>, Failure> {
        let failure = self.io_failure(error);
        let elapsed = self.connection.elapsed();
        let machine = self.connection.machine();
        machine.end_of_input(elapsed);
        let told = std::iter::from_fn(|| machine.poll_event());
        let verdicts = told.into_iter().find_map(|event| match event {
            Event::Failed { verdicts, .. } => Some(verdicts),
            _ => None,
        });
        self.broken_off(failure, verdicts.unwrap_or_default())
    }

    fn broken_off(
        &mut self,
        failure: Failure,
        verdicts: Vec<Option<Verdict>>,
    ) -> Result<Vec<Outcome>, Failure> {
        if verdicts.iter().all(Option::is_none) {
            return Err(failure);
        }
        let reports = self.offered().dsn;
        let open = Outcome::Deferred(failure.diagnosis);
        let outcome = |verdict: Option<Verdict>| match verdict {
            Some(verdict) => self.judged(verdict, reports),
            None => open.clone(),
        };
        Ok(verdicts.into_iter().map(outcome).collect())
    }

    fn broken(&self, failure: &Broken, handshake: Option<String>) -> Failure {
        let tls_to_blame = matches!(failure, Broken::TlsHandshake | Broken::TlsUnavailable(_));
        let status = match failure {
            _ if tls_to_blame => EnhancedStatus(4, 7, 5),
            Broken::AuthUnavailable | Broken::AuthRefused(_) | Broken::AuthUntrue => EnhancedStatus(4, 7, 8),
            _ => EnhancedStatus(4, 4, 2),
        };
        let why = handshake.map_or_else(String::new, |why| format!(": {why}"));
        Failure {
            tls_to_blame,
            offers_no_tls: matches!(failure, Broken::TlsUnavailable(None)),
            leaves_doubt: failure.leaves_doubt(),
            is_busy: matches!(failure, Broken::Closing(_)),
            ..Failure::plain(Diagnosis::local(status, format!("{}: {failure}{why}", self.host)))
        }
    }

    fn lost(&self) -> Failure {
        let text = format!("{} closed the connection", self.host);
        Failure::plain(Diagnosis::local(EnhancedStatus(4, 4, 2), text))
    }

    fn io_failure(&mut self, error: &dyn Display) -> Failure {
        let leaves_doubt = self.connection.machine().stage() == Stage::EndOfData;
        let text = format!("{}: {error}", self.host);
        Failure {
            leaves_doubt,
            ..Failure::plain(Diagnosis::local(EnhancedStatus(4, 4, 2), text))
        }
    }

    fn judged(&self, verdict: Verdict, reports: bool) -> Outcome {
        match verdict {
            Verdict::Accepted(reply) => Outcome::Relayed {
                remote: RemoteReply {
                    host: self.host.clone(),
                    reply: reply.to_string(),
                },
                reports,
            },
            Verdict::Rejected(reply) => Outcome::from_refusal(&self.host, &reply),
        }
    }

    /// What the host offers.
    pub fn offered(&mut self) -> Extensions {
        self.connection.machine().offered().clone()
    }

    /// The TLS of the session.
    pub fn tls(&mut self) -> Option<TlsInfo> {
        self.connection.machine().tls().cloned()
    }

    /// Whom it is with.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Pooled for Session {
    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn uses(&self) -> u32 {
        self.transactions
    }

    fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    fn is_open(&mut self) -> bool {
        !self.connection.machine().is_closed()
    }

    /// RFC 9422.
    fn takes_more(&mut self) -> bool {
        self.connection.machine().takes_more()
    }

    async fn is_quiet(&mut self) -> bool {
        self.is_open()
            && timeout(Duration::ZERO, self.connection.next_event())
                .await
                .is_err()
    }

    /// All results are known and wait to be recorded: a host that does not answer must not hold them up.
    async fn quit(mut self) {
        self.connection.machine().quit();
        let farewell = async { while let Ok(Some(_)) = self.connection.next_event().await {} };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

/// Failures of hosts that do not even greet us: tarpits, and machines that are overloaded.
fn says_nothing(failure: &Broken) -> bool {
    matches!(
        failure,
        // One that falls silent over a message may be fine with the next.
        Broken::TimedOut(Stage::Banner | Stage::Hello | Stage::StartTls | Stage::Auth)
            | Broken::ConnectionLost(Stage::Banner | Stage::Hello)
    )
}

/// Before the first message: the host has too many sessions, does not want any now, or does not let us in. More of them would
/// not help.
fn wants_nobody(failure: &Broken) -> bool {
    match failure {
        Broken::Closing(_) | Broken::AuthRefused(_) => true,
        Broken::BannerRefused(reply) => !reply.is_permanent(),
        _ => false,
    }
}

fn handshake_failure(host: &str, error: &std::io::Error) -> Failure {
    let text = format!("{host}: the TLS handshake failed: {}", tls::in_words(error));
    Failure {
        tls_to_blame: true,
        ..Failure::plain(Diagnosis::local(EnhancedStatus(4, 7, 5), text))
    }
}

fn lacking(host: &str, need: Need) -> Outcome {
    let (status, what) = match need {
        Need::EightBitMime => (EnhancedStatus(5, 6, 3), "eight-bit content"),
        Need::SmtpUtf8 => (EnhancedStatus(5, 6, 7), "internationalized addresses or headers"),
        Need::RequireTls => (EnhancedStatus(5, 7, 30), "messages that demand TLS (REQUIRETLS)"),
    };
    Outcome::Failed(Diagnosis::local(status, format!("{host} does not take {what}")))
}

/// Another host may promise it (RFC 8689 §4.2.1).
fn promises_nothing(host: &str) -> Failure {
    let text =
        format!("the author's message demands TLS all the way (REQUIRETLS), which {host} does not promise");
    Failure {
        is_permanent: true,
        ..Failure::plain(Diagnosis::local(EnhancedStatus(5, 7, 30), text))
    }
}

#[cfg(test)]
mod tests;
