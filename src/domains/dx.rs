//! Sessions with the delivery hosts of a domain, whose certificate the domain's record vouches for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sts::MtaSts;
use super::{DeliveryHosts, DxAttempt, Reach, delivery_hosts};
use crate::base::machine::TlsInfo;
use crate::base::metrics;
use crate::base::time::Clock;
use crate::dime::fingerprint::AnyFingerprint;
use crate::dime::record::ManagementRecord;
use crate::dmtp::client::{self, Answer, Client, Entry, Event, Limits, Message, Outcome};
use crate::dmtp::name::Name;
use crate::dmtp::reply::Verdict;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;
use crate::net::connect::Outgoing;
use crate::net::connection::{self, Connection};
use crate::net::dns::{Lookup, Proof, Resolver};
use crate::net::dx_certificate::{Accepted, Rejected, judge};
use crate::net::stream::Stream;
use crate::net::tls::{Connector, TlsPeer, WebPki};
use crate::store::{self, Pieces, Term};

/// Delivery hosts tried in one go.
const MAX_ATTEMPTS: usize = 8;

/// Addresses tried for one host.
const MAX_ADDRESSES: usize = 4;

/// Octets of a signet at most. The format allows 16 MiB, which is no way to treat a host that only asks for a key.
const MAX_SIGNET: usize = 4 << 20;

/// Octets of a history at most: what many years of changes come to.
const MAX_HISTORY: usize = 8 << 20;

/// Octets of a message handed to the session at a time.
const BODY_PIECE: usize = 64 * 1024;

/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

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

/// Opens sessions.
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
}

/// Says whether a host may be connected to now.
pub trait Admission: Send {
    /// Asked before a host is dialled at the first of its addresses that answers. Errors: [`Error::Crowded`], which ends the
    /// search for a host.
    fn admit(&mut self, host: &Domain, addresses: &[IpAddr]) -> Result<(), Error>;
}

/// Whoever asks a short question need not be counted.
struct Anybody;

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
    /// Opens a session with one of the domain's delivery hosts, in their order.
    ///
    /// A rejected certificate is reported only if no other host's is accepted.
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
            match self.try_host(attempt, record, proof, admission).await {
                Ok(session) => return Ok(session),
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
    ) -> Result<DxSession, Error> {
        let host = &attempt.host;
        let addresses = self.addresses(host).await?;
        admission.admit(host, &addresses)?;
        let connected = dial(&self.outgoing, &addresses, &self.ports.of(attempt.reach)).await;
        let tcp = connected.ok_or_else(|| unreachable(format!("{host} does not answer")))?;
        let address = tcp.peer_addr().map_err(connection::Error::Io)?;
        let shaken = self.shake_hands(attempt, tcp, record, proof).await;
        metrics::shook_hands("out", shaken.is_ok());
        let (mut connection, peer, accepted) = shaken?;
        expect_ready(&mut connection).await?;
        Ok(DxSession {
            host: host.clone(),
            reach: attempt.reach,
            peer: address,
            accepted,
            tls: peer.info,
            connection,
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

/// A session with one delivery host. Its certificate was accepted before anything was asked of it.
pub struct DxSession {
    host: Domain,
    reach: Reach,
    peer: SocketAddr,
    accepted: Accepted,
    tls: TlsInfo,
    connection: Connection<Client>,
}

impl DxSession {
    /// The host.
    pub fn host(&self) -> &Domain {
        &self.host
    }

    /// How it is spoken to.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Where it is.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Why its certificate was accepted.
    pub fn accepted(&self) -> Accepted {
        self.accepted
    }

    /// The TLS session.
    pub fn tls(&self) -> &TlsInfo {
        &self.tls
    }

    /// Fetches a signet: that one, or the current one. Nothing about it is verified.
    pub async fn signet(
        &mut self,
        name: &Name,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Vec<u8>, Error> {
        self.connection.machine().signet(name, fingerprint)?;
        match self.answer(None).await? {
            Answer::Signet(object) => Ok(object),
            _ => Err(client::Error::Malformed("the reply is not a signet").into()),
        }
    }

    /// Whether that signet is the current one of its name. [`Error::NotFound`] if it never was.
    pub async fn is_current(&mut self, name: &Name, fingerprint: AnyFingerprint) -> Result<bool, Error> {
        self.connection.machine().verify(name, fingerprint)?;
        match self.answer(None).await? {
            Answer::Verdict(verdict) => Ok(verdict == Verdict::Current),
            _ => Err(client::Error::Malformed("the reply is no verdict").into()),
        }
    }

    /// Fetches a user's signets from `start`, or the first, to the newest, both included, oldest first. Nothing about them
    /// is verified.
    pub async fn history(
        &mut self,
        address: &Mailbox,
        start: Option<AnyFingerprint>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        self.connection.machine().history(address, start, None)?;
        match self.answer(None).await? {
            Answer::History(objects) => Ok(objects),
            _ => Err(client::Error::Malformed("the reply is not a history").into()),
        }
    }

    /// Transfers a message; returns the host's transaction id, if it gave one. [`Error::TooLate`] if it ceases to be ours before
    /// the last of it is sent.
    pub async fn send(
        &mut self,
        sender: &Domain,
        message: Message,
        object: &mut dyn Pieces,
        term: &Term,
    ) -> Result<Option<String>, Error> {
        self.connection.machine().ehlo(sender)?;
        self.answer(None).await?;
        self.connection.machine().send(message)?;
        match self.answer(Some((object, term))).await? {
            Answer::Committed(id) => Ok(id.map(|id| id.as_str().to_owned())),
            _ => Err(client::Error::Malformed("the reply does not commit the message").into()),
        }
    }

    /// Ends the session politely; whether the host answers does not matter any more.
    pub async fn quit(mut self) {
        if self.connection.machine().quit().is_ok() {
            let farewell = async {
                while let Ok(Some(Event::WantBody | Event::StartTls | Event::Ready)) =
                    self.connection.next_event().await
                {}
            };
            // The result is known and waits to be recorded; a host that does not answer must not hold it up.
            let _ = timeout(FAREWELL, farewell).await;
        }
        self.connection.close().await;
    }

    /// Waits for the end of a request, giving it the message where it wants one.
    async fn answer(&mut self, object: Option<(&mut dyn Pieces, &Term)>) -> Result<Answer, Error> {
        let mut source = object.map(|(pieces, term)| Source::new(pieces, term));
        loop {
            match self.connection.next_event().await? {
                Some(Event::WantBody) => {
                    let octets = match &mut source {
                        Some(source) => source.next().await?,
                        None => Vec::new(),
                    };
                    self.connection.machine().body(octets)?;
                }
                Some(Event::Finished(outcome)) => return self.judged(outcome),
                Some(Event::Failed(error)) => return Err(error.into()),
                Some(Event::StartTls | Event::Ready) => {}
                None => return Err(client::Error::Closed.into()),
            }
        }
    }

    fn judged(&self, outcome: Outcome) -> Result<Answer, Error> {
        let host = self.host.clone();
        match outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::NotFound => Err(Error::NotFound),
            Outcome::Transient(reply) => Err(Error::Transient { host, reply }),
            Outcome::Permanent(reply) => Err(Error::Permanent { host, reply }),
            Outcome::Unusable(_) => Err(client::Error::Malformed("the reply makes no sense").into()),
        }
    }
}

/// An object on its way out: a piece of the spool at a time, of which the session gets a part at a time.
struct Source<'a> {
    pieces: &'a mut dyn Pieces,
    term: &'a Term,
    next: u32,
    piece: Vec<u8>,
    used: usize,
}

impl<'a> Source<'a> {
    fn new(pieces: &'a mut dyn Pieces, term: &'a Term) -> Self {
        Self {
            pieces,
            term,
            next: 0,
            piece: Vec::new(),
            used: 0,
        }
    }

    /// The next octets; none behind the last.
    async fn next(&mut self) -> Result<Vec<u8>, Error> {
        if self.used == self.piece.len() {
            self.piece = self.pieces.piece(self.next).await?.unwrap_or_default();
            (self.next, self.used) = (self.next + 1, 0);
        }
        let rest = &self.piece[self.used..];
        let octets = rest[..rest.len().min(BODY_PIECE)].to_vec();
        self.used += octets.len();
        // The last ones complete the message, which others may have sent meanwhile.
        match self.term.is_ours().await {
            true => Ok(octets),
            false => Err(Error::TooLate),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::dmtp::command::CommitHash;
    use crate::store::Tenure;

    struct Object;

    #[async_trait]
    impl Pieces for Object {
        fn size_bytes(&self) -> u64 {
            4
        }

        async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, store::Error> {
            Ok((index == 0).then(|| b"text".to_vec()))
        }
    }

    /// A host that takes everything of one session; what it was sent.
    async fn host(listener: TcpListener) -> String {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(tcp);
        let banner = b"220 dx.hismail.test DMTPv1 ready\r\n";
        stream.write_all(banner).await.unwrap();
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
                return heard;
            }
            heard += &line;
            let reply = match line.split_whitespace().next() {
                Some("DATA") => "354 CONTINUE [c51e]\r\n",
                Some("text") => "250 OK [20240611-7f3a9c]\r\n",
                _ => "250 OK\r\n",
            };
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    }

    /// Sends a message within a term that lasts until then by the steady clock.
    async fn send(steady: Duration) -> (Result<Option<String>, Error>, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peer = listener.local_addr().unwrap();
        let host = tokio::spawn(host(listener));
        let stream = Stream::new(TcpStream::connect(peer).await.unwrap()).unwrap();
        let mut connection = Connection::new(stream, Client::new(Entry::Single, limits()));
        expect_ready(&mut connection).await.unwrap();
        let mut session = DxSession {
            host: "dx.hismail.test".parse().unwrap(),
            reach: Reach::Single,
            peer,
            accepted: Accepted::Signed,
            tls: TlsInfo {
                version: "TLS1.3".to_owned(),
                cipher: String::new(),
                exporter: None,
            },
            connection,
        };
        let origin: Domain = "hermail.test".parse().unwrap();
        let message = Message {
            origin: origin.clone(),
            origin_signet: None,
            destination: "hismail.test".parse().unwrap(),
            destination_signet: None,
            size: 4,
            returning: None,
            commit: CommitHash::parse("c51e").unwrap(),
        };
        let term = Tenure::default().term(Instant::now() + Duration::from_secs(60), steady);
        let sent = session.send(&origin, message, &mut Object, &term).await;
        drop(session);
        (sent, host.await.unwrap())
    }

    #[tokio::test]
    async fn a_message_is_completed_while_its_term_lasts_and_not_afterwards() {
        let (sent, heard) = send(Duration::MAX).await;
        assert_eq!(sent.unwrap().as_deref(), Some("20240611-7f3a9c"));
        assert!(heard.contains("text"), "{heard}");
        let (sent, heard) = send(Duration::ZERO).await;
        assert!(matches!(sent, Err(Error::TooLate)), "{sent:?}");
        assert!(heard.contains("DATA") && !heard.contains("text"), "{heard}");
    }

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
