//! Sessions with the delivery hosts of a domain, whose certificate the domain's record vouches for.

mod session;

pub use session::DxSession;

use std::net::IpAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::session::{Greeted, Key};
use super::sts::MtaSts;
use super::{DeliveryHosts, DxAttempt, Reach, delivery_hosts};
use crate::base::metrics;
use crate::base::time::Clock;
use crate::dime::record::ManagementRecord;
use crate::dmtp::client::{self, Client, Entry, Event, Limits};
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::net::connect::Outgoing;
use crate::net::connection::{self, Connection};
use crate::net::dns::{Lookup, Proof, Resolver};
use crate::net::dx_certificate::{Accepted, Rejected, judge};
use crate::net::pool::{self, Pool, Pooled as _};
use crate::net::stream::Stream;
use crate::net::tls::{Connector, TlsPeer, WebPki};
use crate::store;

/// Delivery hosts tried in one go.
const MAX_ATTEMPTS: usize = 8;

/// Addresses tried for one host.
const MAX_ADDRESSES: usize = 4;

/// Octets of a signet at most. The format allows 16 MiB, which is no way to treat a host that only asks for a key.
const MAX_SIGNET: usize = 4 << 20;

/// Octets of a history at most: what many years of changes come to.
const MAX_HISTORY: usize = 8 << 20;

/// The host ends the session (RFC 5321 §3.8).
const CLOSING: u16 = 421;

/// Why no session could be had, or why it broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The domain says that it takes no mail.
    #[error("the domain takes no mail")]
    NullMx,
    /// The domain's hosts cannot be found out, or none answers.
    #[error("no delivery host can be reached: {0}")]
    Unreachable(String),
    /// A host answered, and its certificate is not the one the domain stands by.
    #[error("the certificate of {host} is not accepted: {source}")]
    Certificate {
        /// Which host.
        host: Domain,
        /// Why not.
        source: Rejected,
    },
    /// The record is not proven, and the MTA-STS policy of the domain covers none of its delivery hosts.
    #[error("the domain's MTA-STS policy covers none of its delivery hosts")]
    NotCovered,
    /// There is no such signet, says the host.
    #[error("there is no such signet")]
    NotFound,
    /// 4xx.
    #[error("{host} cannot do it now: {reply}")]
    Transient {
        /// Which host.
        host: Domain,
        /// What it said.
        reply: Reply,
    },
    /// 5xx.
    #[error("{host} refuses: {reply}")]
    Permanent {
        /// Which host.
        host: Domain,
        /// What it said.
        reply: Reply,
    },
    /// The host has no room for another session of ours now.
    #[error("{host} is being sent as much as it takes")]
    Crowded {
        /// Which host.
        host: Domain,
        /// By which it is counted.
        address: IpAddr,
    },
    /// The message is not ours to send any more.
    #[error("the attempt took too long")]
    TooLate,
    /// The message cannot be read.
    #[error("the message cannot be read")]
    Message(#[from] store::Error),
    /// The session broke.
    #[error("{0}")]
    Session(#[from] client::Error),
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] connection::Error),
}

impl Error {
    /// Whether it is the session that ended, and not a request that was answered, or for whose answer was waited as long as for any.
    fn is_end_of_session(&self) -> bool {
        match self {
            Self::Session(client::Error::Timeout) => false,
            Self::Session(_) | Self::Connection(_) => true,
            Self::Transient { reply, .. } => reply.code == CLOSING,
            _ => false,
        }
    }
}

/// Sessions that may be used again.
pub struct DxSessions(Arc<Pool<Key, DxSession>>);

impl Default for DxSessions {
    fn default() -> Self {
        Self(Arc::new(Pool::new(pool::Limits::default())))
    }
}

impl DxSessions {
    fn keep<P: Send + 'static>(&self, session: DxSession, place: P) {
        if let Some(left_over) = self.0.keep(session.key().clone(), session) {
            tokio::spawn(async move {
                left_over.quit().await;
                drop(place);
            });
        }
    }
}

/// Opens sessions, and keeps them for a while.
pub struct DxConnector {
    /// Which hosts a domain has, and where they are.
    pub resolver: Arc<dyn Resolver>,
    /// The time, for certificates.
    pub clock: Arc<dyn Clock>,
    /// How to connect.
    pub outgoing: Outgoing,
    /// TLS.
    pub connector: Connector,
    /// What domains demand of SMTP, below which an unproven record must not go.
    pub sts: Arc<MtaSts>,
    /// Roots for certificates that DNSSEC does not vouch for.
    pub roots: Option<WebPki>,
    /// Where they listen.
    pub ports: DxPorts,
    /// Those that may be used again.
    pub sessions: DxSessions,
}

/// Says whether a host may be connected to now.
pub trait Admission: Send {
    /// Asked before a host is dialled at the first of its addresses that answers. Errors: [`Error::Crowded`], which ends the
    /// search for a host.
    fn admit(&mut self, host: &Domain, addresses: &[IpAddr]) -> Result<(), Error>;
}

/// Whoever asks a short question need not be counted.
#[derive(Debug, Clone, Copy)]
pub struct Anybody;

impl Admission for Anybody {
    fn admit(&mut self, _host: &Domain, _addresses: &[IpAddr]) -> Result<(), Error> {
        Ok(())
    }
}

/// DxPorts of delivery hosts (`dmtp.md` §3.1, §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DxPorts {
    /// DMTP alone; 26, but for tests and the demo.
    pub single: u16,
    /// SMTP and DMTP; 25, but for tests and the demo.
    pub dual: u16,
    /// The same on a host that takes no connection there; 587.
    pub dual_fallback: u16,
}

impl DxPorts {
    /// In the order to be tried.
    fn of(self, reach: Reach) -> Vec<u16> {
        match reach {
            Reach::Single => vec![self.single],
            Reach::Dual => vec![self.dual, self.dual_fallback],
        }
    }
}

impl DxConnector {
    /// A session with one of the domain's delivery hosts: one that was kept, or a new one.
    pub async fn open(
        &self,
        domain: &Domain,
        record: &ManagementRecord,
        proof: Proof,
    ) -> Result<DxSession, Error> {
        self.open_admitted(domain, record, proof, &mut Anybody).await
    }

    /// The same with a host that `admission` lets in.
    pub async fn open_admitted(
        &self,
        domain: &Domain,
        record: &ManagementRecord,
        proof: Proof,
        admission: &mut dyn Admission,
    ) -> Result<DxSession, Error> {
        let key = Key::new(domain, record, proof);
        let Some(session) = self.sessions.0.take(&key, None).await else {
            return self.open_new(key, admission).await;
        };
        match admission.admit(session.host(), &[session.counted_as()]) {
            Ok(()) => Ok(session.kept()),
            Err(error) => {
                self.keep(session);
                Err(error)
            }
        }
    }

    /// A session in the place of one that the host had given up while it was kept.
    pub async fn open_instead(
        &self,
        ended: DxSession,
        admission: &mut dyn Admission,
    ) -> Result<DxSession, Error> {
        self.open_new(ended.into_key(), admission).await
    }

    /// Keeps a session for another use, if it is good for one. Otherwise it is ended, which nobody waits for: a result is to be
    /// recorded.
    pub fn keep(&self, session: DxSession) {
        self.keep_in(session, ());
    }

    /// The same; `place` is what the session takes at its host, until it is idle or its end is over.
    pub fn keep_in<P: Send + 'static>(&self, session: DxSession, place: P) {
        self.sessions.keep(session, place);
    }

    /// Ends all sessions that are kept; those that are being used are not kept afterwards.
    pub async fn end(&self) {
        self.sessions.0.close().await;
    }

    /// Sets a session up with one of the domain's delivery hosts, in their order.
    ///
    /// A rejected certificate is reported only if no other host's is accepted.
    async fn open_new(&self, key: Key, admission: &mut dyn Admission) -> Result<DxSession, Error> {
        let Key {
            domain,
            record,
            proof,
        } = &key;
        let mut rng = rand::make_rng::<StdRng>();
        let attempts = match delivery_hosts(self.resolver.as_ref(), record, domain, &mut rng).await {
            DeliveryHosts::Attempts(attempts) => attempts,
            DeliveryHosts::NullMx => return Err(Error::NullMx),
            DeliveryHosts::Bogus => return Err(unreachable("the MX records fail DNSSEC validation")),
            DeliveryHosts::Failed => return Err(unreachable("the MX records cannot be looked up")),
        };
        let attempts = match proof {
            Proof::Secure => attempts,
            Proof::Insecure => self.covered(domain, attempts).await?,
        };
        let mut failure = unreachable("there is no host to try");
        for attempt in attempts.iter().take(MAX_ATTEMPTS) {
            match self.try_host(attempt, record, *proof, admission).await {
                Ok(greeted) => return Ok(DxSession::new(key, greeted)),
                Err(error @ Error::Crowded { .. }) => return Err(error),
                Err(error) if matches!(failure, Error::Certificate { .. }) => drop(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Anybody could have forged an unproven record. It leads nowhere that the domain's MTA-STS policy keeps mail from.
    /// DANE needs no such rule: it counts in signed zones alone, where a record is proven or not believed.
    async fn covered(&self, domain: &Domain, attempts: Vec<DxAttempt>) -> Result<Vec<DxAttempt>, Error> {
        let unreadable = |_| unreachable("the domain's MTA-STS policy cannot be read");
        let sts = self.sts.facts(domain).await.map_err(unreadable)?;
        let covered = |attempt: &DxAttempt| {
            sts.policy
                .as_ref()
                .is_none_or(|policy| policy.lets_through(&attempt.host))
        };
        let attempts: Vec<DxAttempt> = attempts.into_iter().filter(covered).collect();
        match attempts.is_empty() {
            true => Err(Error::NotCovered),
            false => Ok(attempts),
        }
    }

    async fn try_host(
        &self,
        attempt: &DxAttempt,
        record: &ManagementRecord,
        proof: Proof,
        admission: &mut dyn Admission,
    ) -> Result<Greeted, Error> {
        let host = &attempt.host;
        let addresses = self.addresses(host).await?;
        admission.admit(host, &addresses)?;
        if let Some(address) = addresses.first() {
            self.sessions.0.make_room(*address).await;
        }
        let begun = Instant::now();
        let connected = dial(&self.outgoing, &addresses, &self.ports.of(attempt.reach)).await;
        let tcp = connected.ok_or_else(|| unreachable(format!("{host} does not answer")))?;
        let address = tcp.peer_addr().map_err(connection::Error::Io)?;
        let shaken = self.shake_hands(attempt, tcp, record, proof).await;
        metrics::shook_hands("out", shaken.is_ok());
        let (mut connection, peer, accepted) = shaken?;
        expect_ready(&mut connection).await?;
        Ok(Greeted {
            host: host.clone(),
            reach: attempt.reach,
            peer: address,
            counted_as: addresses.first().copied().unwrap_or(address.ip()),
            accepted,
            tls: peer.info,
            connection,
            begun,
        })
    }

    /// TLS, with a certificate that the domain's record stands by.
    async fn shake_hands(
        &self,
        attempt: &DxAttempt,
        tcp: TcpStream,
        record: &ManagementRecord,
        proof: Proof,
    ) -> Result<(Connection<Client>, TlsPeer, Accepted), Error> {
        let host = &attempt.host;
        let (connection, peer) = match attempt.reach {
            Reach::Single => self.single(host, tcp).await?,
            Reach::Dual => self.dual(host, tcp).await?,
        };
        let (shown, now) = (&peer.certificates, self.clock.now());
        let judged = judge(record, proof, shown, host, self.roots.as_ref(), now);
        let accepted = judged.map_err(|source| Error::Certificate {
            host: host.clone(),
            source,
        })?;
        Ok((connection, peer, accepted))
    }

    async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, Error> {
        match self.resolver.addresses(host).await {
            Lookup::Found { value, .. } => Ok(value),
            Lookup::Absent { .. } => Err(unreachable(format!("{host} has no address"))),
            Lookup::Bogus => Err(unreachable(format!(
                "the address of {host} fails DNSSEC validation"
            ))),
            Lookup::Failed => Err(unreachable(format!("the address of {host} cannot be looked up"))),
        }
    }

    /// TLS from the first octet (`dmtp.md` §5.2).
    async fn single(&self, host: &Domain, tcp: TcpStream) -> Result<(Connection<Client>, TlsPeer), Error> {
        let shaken = self.connector.connect(tcp, host.as_str()).await;
        let (stream, peer) = shaken.map_err(connection::Error::Handshake)?;
        let client = Client::new(Entry::Single, limits());
        Ok((Connection::new(stream, client), peer))
    }

    /// Clear text first (`dmtp.md` §5.3).
    async fn dual(&self, host: &Domain, tcp: TcpStream) -> Result<(Connection<Client>, TlsPeer), Error> {
        let stream = Stream::new(tcp).map_err(connection::Error::Io)?;
        let client = Client::new(Entry::Dual(host.clone()), limits());
        let mut connection = Connection::new(stream, client);
        match connection.next_event().await? {
            Some(Event::StartTls) => {}
            Some(Event::Failed(error)) => return Err(error.into()),
            _ => return Err(client::Error::Closed.into()),
        }
        let peer = connection.connect_tls(&self.connector, host.as_str()).await?;
        connection.machine().tls_established();
        Ok((connection, peer))
    }
}

/// A connection to the first port that takes one. What is said there does not send us on to the next.
async fn dial(outgoing: &Outgoing, addresses: &[IpAddr], ports: &[u16]) -> Option<TcpStream> {
    for port in ports {
        if let Ok(tcp) = outgoing.connect(addresses, *port, MAX_ADDRESSES).await {
            return Some(tcp);
        }
    }
    None
}

async fn expect_ready(connection: &mut Connection<Client>) -> Result<(), Error> {
    match connection.next_event().await? {
        Some(Event::Ready) => Ok(()),
        Some(Event::Failed(error)) => Err(error.into()),
        _ => Err(client::Error::Closed.into()),
    }
}

fn limits() -> Limits {
    Limits {
        signet_bytes: MAX_SIGNET,
        history_bytes: MAX_HISTORY,
        ..Limits::default()
    }
}

fn unreachable(text: impl Into<String>) -> Error {
    Error::Unreachable(text.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_dual_mode_has_a_second_port() {
        let ports = DxPorts {
            single: 26,
            dual: 25,
            dual_fallback: 587,
        };
        assert_eq!(ports.of(Reach::Single), [26]);
        assert_eq!(ports.of(Reach::Dual), [25, 587]);
    }

    #[tokio::test]
    async fn the_next_port_is_tried_where_nobody_listens() {
        let outgoing = Outgoing {
            source: None,
            timeout: Duration::from_secs(5),
        };
        let here = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let open = TcpListener::bind((here[0], 0)).await.unwrap();
        let open_port = open.local_addr().unwrap().port();
        let closed = TcpListener::bind((here[0], 0)).await.unwrap();
        let closed_port = closed.local_addr().unwrap().port();
        drop(closed);
        let tcp = dial(&outgoing, &here, &[closed_port, open_port]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap().port(), open_port);
        assert!(dial(&outgoing, &here, &[closed_port]).await.is_none());
    }
}
