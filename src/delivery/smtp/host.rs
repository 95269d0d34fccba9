//! One host: its way, its TLS, a session with it, and the message.

use std::net::IpAddr;
use std::path::Path;

use tokio::fs;
use tokio::time::{Instant, timeout_at};

use super::{
    Common, Connectors, Job, Key, Protection, Report, SmtpDelivery, Target, Way, elsewhere, find, no_address,
    refusal, to_address, unusable,
};
use crate::base::encoding::hex;
use crate::base::secret::Secret;
use crate::delivery::letter::{Form, Letter};
use crate::delivery::session::{Failure, Session, Tls};
use crate::delivery::windows::{HostAddress, Place};
use crate::delivery::{Contact, Diagnosis, Outcome};
use crate::mail::demand::TlsDemand;
use crate::mail::reply::EnhancedStatus;
use crate::net::pool::Pooled as _;
use crate::net::stream::Stream;
use crate::net::tls::Connector;
use crate::routing::HostTls;
use crate::routing::transport::{Endpoint, Protection as Least, Transport};
use crate::smtp::auth::Credentials;
use crate::smtp::client::{Login, Params, Protocol, Timeouts, TlsPolicy, Transaction};

/// Addresses tried for one host.
const MAX_ADDRESSES: usize = 4;

/// Sessions with one host in one attempt.
const MAX_SESSIONS: usize = 20;

/// A file of credentials that is longer is none.
const MAX_CREDENTIALS: usize = 4096;

/// One way of doing TLS with a host.
struct Handshake<'a> {
    policy: TlsPolicy,
    connector: &'a Connector,
    verified: bool,
}

/// A host and one way of doing TLS with it.
struct Door<'a> {
    way: &'a Way,
    handshake: &'a Handshake<'a>,
    server_name: &'a str,
    transport: Option<&'a Transport>,
    port: u16,
}

impl SmtpDelivery {
    /// Finds the way to a host, and does what it has to about TLS; each handshake but the last asks for more than must be.
    pub(super) async fn try_host(
        &self,
        target: &Target<'_>,
        common: &Common<'_>,
        job: &Job<'_>,
        letter: &mut dyn Letter,
        refused: &mut Vec<(String, Protection)>,
    ) -> Result<Report, Failure> {
        let way = self.way(target, common).await?;
        let way = elsewhere(way, &self.listeners, common.port).map_err(|_| this_host(job))?;
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
        let dane = dane.transpose().map_err(|error| unusable(&way.host, &error))?;
        let mut failure = refusal(&way);
        for handshake in self.connectors.handshakes(&way.decision.tls, dane.as_ref()) {
            let door = Door {
                way: &way,
                handshake: &handshake,
                server_name: base.map_or(way.host.as_str(), |base| base.as_str()),
                transport: common.transport,
                port: common.port,
            };
            if !door.may_log_in() {
                failure = cannot_log_in(&way.host);
                continue;
            }
            if door.has_no_clear_text() {
                continue;
            }
            match self.through(&door, job, letter).await {
                Ok(report) => {
                    let protection = Some(protection(handshake.verified && report.tls.is_some()));
                    return Ok(Report { protection, ..report });
                }
                Err(failed) if failed.tls_to_blame && common.demand == TlsDemand::Required => {
                    failure = failed.under_require_tls(&way.host);
                }
                Err(failed) if failed.tls_to_blame => failure = failed,
                Err(failed) => return Err(failed),
            }
        }
        refused.push((way.host.clone(), protection(false)));
        Err(failure)
    }

    async fn way(&self, target: &Target<'_>, common: &Common<'_>) -> Result<Way, Failure> {
        let host = match target {
            Target::Named(host) => host,
            Target::Operators(transport) => match &transport.host {
                Endpoint::Host(host) => host,
                Endpoint::Address(address) => return Ok(to_address(*address, common)),
            },
        };
        let found = find(self.resolver.as_ref(), host, common).await;
        found.map_err(|why| no_address(host.as_str(), why))
    }

    /// Sends the message in a session kept from before, or else in a new one, and in further ones if the host takes so few
    /// recipients in each (RFC 9422). There may be fewer outcomes than recipients: the others have not been named yet.
    async fn through(
        &self,
        door: &Door<'_>,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Result<Report, Failure> {
        let mut place = self.place(door)?;
        let first = self.in_first_session(door, job, letter).await;
        place.contact = match &first {
            Ok(report) if report.wants_less() => Contact::Busy,
            Ok(_) => Contact::Reached,
            Err(failure) if failure.is_unreachable => Contact::Unreachable,
            Err(failure) if failure.is_busy => Contact::Busy,
            Err(_) => Contact::Unknown,
        };
        let mut report = first?;
        report.contact = place.contact;
        for _ in 1..MAX_SESSIONS {
            let rest = job.recipients.get(report.outcomes.len()..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let job = Job {
                recipients: rest,
                ..*job
            };
            match self.in_new_session(door, &job, letter).await {
                Ok(next) => {
                    report.outcomes.extend(next.outcomes);
                    report.transmitting += next.transmitting;
                }
                Err(failure) => {
                    let open = Outcome::Deferred(failure.diagnosis);
                    report.outcomes.extend(vec![open; rest.len()]);
                }
            }
        }
        Ok(report)
    }

    /// At the first address, whichever answers in the end: what a domain's zone says of others takes no place of theirs.
    fn place(&self, door: &Door<'_>) -> Result<Place, Failure> {
        let host = &door.way.host;
        let address = door.way.addresses.first();
        let address = HostAddress::from(*address.ok_or_else(|| Failure::unreachable(host))?);
        Place::take(&self.hosts, address).ok_or_else(|| Failure::crowded(host, address))
    }

    /// A session that the host has given up meanwhile says nothing about the host.
    async fn in_first_session(
        &self,
        door: &Door<'_>,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Result<Report, Failure> {
        let key = door.key();
        if let Some(session) = self.sessions.take(&key, Some(&door.way.addresses)).await {
            match self.send(session, &key, job, letter).await {
                Err(failure) if !failure.leaves_doubt && !failure.is_permanent => {}
                sent => return sent,
            }
        }
        self.in_new_session(door, job, letter).await
    }

    async fn in_new_session(
        &self,
        door: &Door<'_>,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Result<Report, Failure> {
        let opened = timeout_at(job.term.until(), self.open(door)).await;
        let mut session = opened.map_err(|_| Failure::too_late(&door.way.host))??;
        // Routers and proxies lead to us as well. Hosts that the operator names may be called as he likes.
        if door.transport.is_none() && self.is_own_name(&session.offered().host) {
            session.quit().await;
            return Err(this_host(job));
        }
        self.send(session, &door.key(), job, letter).await
    }

    fn is_own_name(&self, name: &str) -> bool {
        let mut ours = self.ours.iter();
        ours.any(|ours| ours.as_str().eq_ignore_ascii_case(name))
    }

    async fn open(&self, door: &Door<'_>) -> Result<Session, Failure> {
        let login = match door.transport.and_then(|transport| transport.login.as_ref()) {
            Some(login) => {
                let credentials = read_credentials(&login.credentials).await;
                let credentials = credentials.map_err(|_| no_credentials(&door.way.host))?;
                Some(Login {
                    credentials,
                    nonce: hex(&rand::random::<[u8; 16]>()),
                    in_clear: login.under == Least::Opportunistic,
                })
            }
            None => None,
        };
        let params = Params {
            hello: self.hello.clone(),
            protocol: Protocol::Smtp,
            tls: door.handshake.policy,
            login,
            timeouts: Timeouts::default(),
        };
        let tls = Tls {
            connector: door.handshake.connector,
            server_name: door.server_name,
            from_start: door.starts_with_tls(),
        };
        let (stream, address) = self.connect(door).await?;
        let host = (door.way.host.clone(), address);
        Session::open(host, stream, params, Some(tls)).await
    }

    async fn connect(&self, door: &Door<'_>) -> Result<(Stream, Option<IpAddr>), Failure> {
        let unreachable = |_| Failure::unreachable(&door.way.host);
        let addresses = &door.way.addresses;
        let tcp = self.outgoing.connect(addresses, door.port, MAX_ADDRESSES).await;
        let tcp = tcp.map_err(unreachable)?;
        let address = tcp.peer_addr().ok().map(|peer| peer.ip());
        Ok((Stream::new(tcp).map_err(unreachable)?, address))
    }

    async fn send(
        &self,
        mut session: Session,
        key: &Key,
        job: &Job<'_>,
        letter: &mut dyn Letter,
    ) -> Result<Report, Failure> {
        let (form, tls) = (Form::from(&session.offered()), session.tls());
        let host = session.host().to_owned();
        let ready = letter.ready(form).await;
        let started = Instant::now();
        let outcomes = match ready {
            Ok(ready) => {
                let transaction = Transaction {
                    reverse_path: job.reverse_path.clone(),
                    recipients: job.recipients.to_vec(),
                    size_bytes: ready.size_bytes,
                    eight_bit: ready.eight_bit,
                    require_tls: job.demand == TlsDemand::Required,
                    smtputf8: ready.smtputf8,
                    request: job.request.clone(),
                };
                match job.only_asks {
                    true => session.ask(transaction, letter, job.term).await,
                    false => session.send(transaction, letter, job.term).await,
                }
            }
            Err(outcome) => Ok(vec![outcome; job.recipients.len()]),
        };
        let transmitting = started.elapsed();
        self.sessions.put(key.clone(), session).await;
        Ok(Report {
            outcomes: outcomes?,
            host: Some(host),
            tls,
            protection: None,
            refused: Vec::new(),
            transmitting,
            contact: Contact::Reached,
            crowded: None,
        })
    }
}

impl Connectors {
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
            connector: &self.any,
            verified: false,
        };
        let pkix = required(self.pkix.as_ref());
        let as_offered = [any(TlsPolicy::Opportunistic), any(TlsPolicy::Never)];
        match tls {
            HostTls::Dane(_) => required(dane).into_iter().collect(),
            HostTls::Pkix => pkix.into_iter().collect(),
            HostTls::Encrypted => vec![any(TlsPolicy::Required)],
            HostTls::PkixOrEncrypted => pkix.into_iter().chain([any(TlsPolicy::Required)]).collect(),
            HostTls::PkixIfPossible => pkix.into_iter().chain(as_offered).collect(),
            HostTls::Opportunistic => as_offered.into(),
            HostTls::Refused => Vec::new(),
        }
    }
}

impl Door<'_> {
    fn starts_with_tls(&self) -> bool {
        self.transport.is_some_and(|transport| transport.tls_from_start)
    }

    /// A password goes only where it may.
    fn may_log_in(&self) -> bool {
        let login = self.transport.and_then(|transport| transport.login.as_ref());
        login.is_none_or(|login| match login.under {
            Least::Verified => self.handshake.verified,
            // The client sees to it.
            Least::Encrypted | Least::Opportunistic => true,
        })
    }

    /// A port that starts with TLS does not become one without.
    fn has_no_clear_text(&self) -> bool {
        self.starts_with_tls() && self.handshake.policy == TlsPolicy::Never
    }

    fn key(&self) -> Key {
        let login = self.transport.and_then(|transport| transport.login.as_ref());
        Key {
            host: self.way.host.clone(),
            port: self.port,
            policy: self.handshake.policy,
            is_verified: self.handshake.verified,
            tls_from_start: self.starts_with_tls(),
            dane: match &self.way.decision.tls {
                HostTls::Dane(dane) => Some(dane.clone()),
                _ => None,
            },
            login: login.map(|login| login.credentials.clone()),
        }
    }
}

/// A file that holds no name and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[from] std::io::Error),
    /// Not a name on the first line and a password on the second.
    #[error("does not have a name on the first line and a password on the second, and nothing else")]
    Malformed,
}

/// A name on the first line and a password on the second, which is prepared by SASLprep.
pub fn parse_credentials(text: &[u8]) -> Result<Credentials, CredentialsError> {
    if text.len() > MAX_CREDENTIALS {
        return Err(CredentialsError::Malformed);
    }
    let text = std::str::from_utf8(text).map_err(|_| CredentialsError::Malformed)?;
    let mut lines = text.lines();
    match (lines.next(), lines.next(), lines.next()) {
        (Some(name), Some(password), None) if !name.is_empty() && !password.is_empty() => {
            let prepared = stringprep::saslprep(password).map_err(|_| CredentialsError::Malformed)?;
            Ok(Credentials {
                identity: name.to_owned(),
                password: Secret::new(prepared.into_owned()),
            })
        }
        _ => Err(CredentialsError::Malformed),
    }
}

async fn read_credentials(path: &Path) -> Result<Credentials, CredentialsError> {
    let text = Secret::new(fs::read(path).await?);
    parse_credentials(text.expose())
}

fn no_credentials(host: &str) -> Failure {
    let text = format!("name and password for {host} cannot be read");
    Failure::plain(Diagnosis::local(EnhancedStatus(4, 3, 0), text))
}

/// Mail would come back here.
fn this_host(job: &Job<'_>) -> Failure {
    let diagnosis = job.comes_back();
    Failure {
        is_permanent: diagnosis.status.0 == 5,
        ..Failure::plain(diagnosis)
    }
}

fn cannot_log_in(host: &str) -> Failure {
    let text = format!("{host} gets name and password under verified TLS only");
    Failure::plain(Diagnosis::local(EnhancedStatus(4, 7, 8), text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn credentials_are_two_lines() {
        for text in ["user\npass word\n", "user\npass word", "user\r\npass word\r\n"] {
            let credentials = parse_credentials(text.as_bytes()).unwrap();
            assert_eq!(credentials.identity, "user");
            assert_eq!(credentials.password.expose(), "pass word");
        }
        for text in ["", "user", "user\n", "\npassword\n", "user\npassword\nmore\n"] {
            assert!(parse_credentials(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse_credentials(&[b'x'; MAX_CREDENTIALS + 1]).is_err());
    }
}
