//! One session with one host, to its end.

use std::time::Duration;

use tokio::time::timeout;

use super::{HostFailure, Report};
use crate::base::machine::TlsInfo;
use crate::delivery::body::Body;
use crate::delivery::{Diagnosis, Outcome, RemoteReply};
use crate::mail::address::Domain;
use crate::mail::reply::EnhancedStatus;
use crate::net::connection::{self, Connection};
use crate::net::tls::Connector;
use crate::smtp::client::{self, Client, Event, Failure, Need, Stage, Verdict};

/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection on which a transaction waits to be sent.
pub(super) struct Session<'a> {
    /// The host.
    pub(super) host: &'a Domain,
    /// How TLS is done.
    pub(super) connector: &'a Connector,
    /// The name to ask for in the handshake.
    pub(super) server_name: &'a Domain,
    /// Recipients of the transaction.
    pub(super) count: usize,
}

impl Session<'_> {
    /// Runs the session to its end.
    pub(super) async fn run(
        &self,
        mut connection: Connection<Client>,
        body: &mut Body,
    ) -> Result<Report, HostFailure> {
        let mut handshake = None;
        loop {
            match connection.next_event().await {
                Ok(Some(Event::StartTls)) => handshake = self.start_tls(&mut connection).await,
                Ok(Some(Event::NeedBody)) => feed(connection.machine(), body).await,
                Ok(Some(Event::Done(outcome))) => {
                    let tls = connection.machine().tls().cloned();
                    let reports = connection.machine().offered().dsn;
                    connection.machine().quit();
                    say_goodbye(connection).await;
                    return self.done(tls, outcome, reports);
                }
                Ok(Some(Event::Failed { failure, verdicts })) => {
                    let tls = connection.machine().tls().cloned();
                    let reports = connection.machine().offered().dsn;
                    // The failure is what counts; the farewell is a courtesy.
                    let _ = connection.send().await;
                    return self.broken(tls, &failure, handshake, verdicts, reports);
                }
                Ok(Some(Event::Rewind)) => body.rewind(),
                Ok(Some(Event::Ready)) => {}
                Ok(None | Some(Event::Closed)) => return Err(lost(self.host)),
                Err(error) => {
                    let leaves_doubt = connection.machine().stage() == Stage::EndOfData;
                    return Err(io_failure(self.host, &error, leaves_doubt));
                }
            }
        }
    }

    /// Why the handshake failed, if it did.
    async fn start_tls(&self, connection: &mut Connection<Client>) -> Option<String> {
        match connection
            .connect_tls(self.connector, self.server_name.as_str())
            .await
        {
            Ok(peer) => {
                connection.machine().tls_started(peer.info);
                None
            }
            Err(error) => {
                connection.machine().tls_failed();
                Some(match error {
                    connection::Error::Handshake(why) => why.to_string(),
                    other => other.to_string(),
                })
            }
        }
    }

    fn done(
        &self,
        tls: Option<TlsInfo>,
        outcome: client::Outcome,
        reports: bool,
    ) -> Result<Report, HostFailure> {
        let outcomes = match outcome {
            client::Outcome::Lacking(Need::RequireTls) => return Err(promises_nothing(self.host)),
            client::Outcome::Verdicts(verdicts) => verdicts
                .into_iter()
                .map(|verdict| judged(self.host, verdict, reports))
                .collect(),
            client::Outcome::Lacking(need) => vec![lacking(self.host, need); self.count],
        };
        Ok(Report::by(self.host, tls, outcomes))
    }

    /// A session that broke. Verdicts given before it did are kept; the others are open, and another host may be tried
    /// if nobody has a verdict.
    fn broken(
        &self,
        tls: Option<TlsInfo>,
        failure: &Failure,
        handshake: Option<String>,
        verdicts: Vec<Option<Verdict>>,
        reports: bool,
    ) -> Result<Report, HostFailure> {
        let tls_to_blame = matches!(failure, Failure::TlsHandshake | Failure::TlsUnavailable(_));
        let status = match tls_to_blame {
            true => EnhancedStatus(4, 7, 5),
            false => EnhancedStatus(4, 4, 2),
        };
        let why = handshake.map_or_else(String::new, |why| format!(": {why}"));
        let diagnosis = Diagnosis::local(status, format!("{}: {failure}{why}", self.host));
        if verdicts.iter().all(Option::is_none) {
            return Err(HostFailure {
                tls_to_blame,
                leaves_doubt: failure.leaves_doubt(),
                ..HostFailure::plain(diagnosis)
            });
        }
        let open = Outcome::Deferred(diagnosis);
        let outcomes = verdicts
            .into_iter()
            .map(|verdict| {
                verdict.map_or_else(|| open.clone(), |verdict| judged(self.host, verdict, reports))
            })
            .collect();
        Ok(Report::by(self.host, tls, outcomes))
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

/// `reports`: the host has DSN.
fn judged(host: &Domain, verdict: Verdict, reports: bool) -> Outcome {
    match verdict {
        Verdict::Accepted(reply) => Outcome::Relayed {
            remote: RemoteReply {
                host: host.to_string(),
                reply: reply.to_string(),
            },
            reports,
        },
        Verdict::Rejected(reply) => Outcome::from_refusal(host.as_str(), &reply),
    }
}

fn lacking(host: &Domain, need: Need) -> Outcome {
    let (status, what) = match need {
        Need::EightBitMime => (EnhancedStatus(5, 6, 3), "eight-bit content"),
        Need::SmtpUtf8 => (EnhancedStatus(5, 6, 7), "internationalized addresses or headers"),
        Need::RequireTls => (EnhancedStatus(5, 7, 30), "messages that require TLS (REQUIRETLS)"),
    };
    Outcome::Failed(Diagnosis::local(status, format!("{host} does not take {what}")))
}

/// Another host may promise it (RFC 8689 §4.2.1).
fn promises_nothing(host: &Domain) -> HostFailure {
    let text = format!("{host} does not take messages that require TLS (REQUIRETLS)");
    HostFailure {
        is_permanent: true,
        ..HostFailure::plain(Diagnosis::local(EnhancedStatus(5, 7, 30), text))
    }
}

fn lost(host: &Domain) -> HostFailure {
    let text = format!("{host} closed the connection");
    HostFailure::plain(Diagnosis::local(EnhancedStatus(4, 4, 2), text))
}

fn io_failure(host: &Domain, error: &connection::Error, leaves_doubt: bool) -> HostFailure {
    HostFailure {
        leaves_doubt,
        ..HostFailure::plain(Diagnosis::local(
            EnhancedStatus(4, 4, 2),
            format!("{host}: {error}"),
        ))
    }
}
