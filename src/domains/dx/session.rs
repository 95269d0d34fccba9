//! One session with a delivery host: questions about signets, and messages, one after the other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{CLOSING, Error};
use crate::base::machine::{Machine as _, TlsInfo};
use crate::dime::fingerprint::AnyFingerprint;
use crate::dime::record::ManagementRecord;
use crate::dmtp::client::{self, Answer, Client, Event, Message, Outcome};
use crate::dmtp::name::Name;
use crate::dmtp::reply::Verdict;
use crate::domains::Reach;
use crate::mail::address::{Domain, Mailbox};
use crate::net::connection::{self, Connection};
use crate::net::dns::Proof;
use crate::net::dx_certificate::Accepted;
use crate::net::pool::Pooled;
use crate::store::{Pieces, Term};

/// Octets of a message handed to the session at a time.
const BODY_PIECE: usize = 64 * 1024;

/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// A session with one delivery host. Its certificate was accepted before anything was asked of it.
#[derive(Debug)]
pub struct DxSession {
    key: Key,
    greeted: Greeted,
    /// Whom the host knows us as.
    hello: Option<Domain>,
    /// A message was refused before its end: the host may wait for more of it.
    is_spoiled: bool,
    uses: u32,
    opened: Instant,
    is_untried: bool,
}

/// What a session is good for: mail to, and questions about, one domain while it publishes this record, so far proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub domain: Domain,
    pub record: ManagementRecord,
    pub proof: Proof,
}

impl Key {
    pub fn new(domain: &Domain, record: &ManagementRecord, proof: Proof) -> Self {
        Self {
            domain: domain.clone(),
            record: record.clone(),
            proof,
        }
    }
}

/// A host that has been found and let in, and has greeted us.
#[derive(Debug)]
pub(super) struct Greeted {
    pub host: Domain,
    pub reach: Reach,
    pub peer: SocketAddr,
    /// Its first address, by which sessions with it are counted.
    pub counted_as: IpAddr,
    pub accepted: Accepted,
    pub tls: TlsInfo,
    pub connection: Connection<Client>,
    /// When it was dialled, before its certificate was judged.
    pub begun: Instant,
}

impl DxSession {
    /// One that has just begun.
    pub(super) fn new(key: Key, greeted: Greeted) -> Self {
        Self {
            key,
            hello: None,
            is_spoiled: false,
            uses: 0,
            opened: greeted.begun,
            greeted,
            is_untried: false,
        }
    }

    /// Taken up again.
    pub(super) fn kept(mut self) -> Self {
        self.is_untried = true;
        self
    }

    /// Whether the host had given the session up while it was kept, as this came of the first request since. That says nothing
    /// of the host, and nothing was left with it.
    pub fn was_given_up(&self, error: &Error) -> bool {
        self.is_untried && error.is_end_of_session()
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn into_key(self) -> Key {
        self.key
    }

    pub(super) fn counted_as(&self) -> IpAddr {
        self.greeted.counted_as
    }

    /// The host.
    pub fn host(&self) -> &Domain {
        &self.greeted.host
    }

    /// How it is spoken to.
    pub fn reach(&self) -> Reach {
        self.greeted.reach
    }

    /// Where it is.
    pub fn peer(&self) -> SocketAddr {
        self.greeted.peer
    }

    /// Why its certificate was accepted.
    pub fn accepted(&self) -> Accepted {
        self.greeted.accepted
    }

    /// The TLS session.
    pub fn tls(&self) -> &TlsInfo {
        &self.greeted.tls
    }

    /// Fetches a signet: that one, or the current one. Nothing about it is verified.
    pub async fn signet(
        &mut self,
        name: &Name,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Vec<u8>, Error> {
        self.greeted.connection.machine().signet(name, fingerprint)?;
        match self.answer(None).await? {
            Answer::Signet(object) => Ok(object),
            _ => Err(client::Error::Malformed("the reply is not a signet").into()),
        }
    }

    /// Whether that signet is the current one of its name. [`Error::NotFound`] if it never was.
    pub async fn is_current(&mut self, name: &Name, fingerprint: AnyFingerprint) -> Result<bool, Error> {
        self.greeted.connection.machine().verify(name, fingerprint)?;
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
        self.greeted.connection.machine().history(address, start, None)?;
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
        // Whatever happens before it is taken leaves the host in the middle of it.
        self.is_spoiled = true;
        if self.hello.as_ref() != Some(sender) {
            self.greeted.connection.machine().ehlo(sender)?;
            self.answer(None).await?;
            self.hello = Some(sender.clone());
        }
        self.greeted.connection.machine().send(message)?;
        match self.answer(Some((object, term))).await? {
            Answer::Committed(id) => {
                self.is_spoiled = false;
                Ok(id.map(|id| id.as_str().to_owned()))
            }
            _ => Err(client::Error::Malformed("the reply does not commit the message").into()),
        }
    }

    /// Waits for the end of a request, giving it the message where it wants one.
    async fn answer(&mut self, object: Option<(&mut dyn Pieces, &Term)>) -> Result<Answer, Error> {
        let mut source = object.map(|(pieces, term)| Source::new(pieces, term));
        self.uses += 1;
        loop {
            let event = match self.greeted.connection.next_event().await {
                Ok(event) => event,
                Err(error) => return self.broken(error),
            };
            match event {
                Some(Event::WantBody) => {
                    self.is_untried = false;
                    let octets = match &mut source {
                        Some(source) => source.next().await?,
                        None => Vec::new(),
                    };
                    self.greeted.connection.machine().body(octets)?;
                }
                Some(Event::Finished(outcome)) => return self.judged(outcome),
                Some(Event::Failed(error)) => return Err(error.into()),
                Some(Event::StartTls | Event::Ready) => {}
                None => return Err(client::Error::Closed.into()),
            }
        }
    }

    /// A host that has refused the first of several commands may hang up without another word, and that may look like a fault: what
    /// it has said counts.
    fn broken(&mut self, error: connection::Error) -> Result<Answer, Error> {
        let elapsed = self.greeted.connection.elapsed();
        let machine = self.greeted.connection.machine();
        machine.end_of_input(elapsed);
        match machine.poll_event() {
            Some(Event::Finished(outcome)) => self.judged(outcome),
            _ => Err(error.into()),
        }
    }

    fn judged(&mut self, outcome: Outcome) -> Result<Answer, Error> {
        let is_closing = matches!(&outcome, Outcome::Transient(reply) if reply.code == CLOSING);
        self.is_spoiled |= is_closing;
        self.is_untried &= is_closing;
        let host = self.greeted.host.clone();
        match outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::NotFound => Err(Error::NotFound),
            Outcome::Transient(reply) => Err(Error::Transient { host, reply }),
            Outcome::Permanent(reply) => Err(Error::Permanent { host, reply }),
            Outcome::Unusable(_) => Err(client::Error::Malformed("the reply makes no sense").into()),
        }
    }
}

impl Pooled for DxSession {
    fn address(&self) -> Option<IpAddr> {
        Some(self.greeted.peer.ip())
    }

    fn uses(&self) -> u32 {
        self.uses
    }

    fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    fn is_open(&mut self) -> bool {
        !self.greeted.connection.machine().is_closed()
    }

    fn takes_more(&mut self) -> bool {
        !self.is_spoiled && self.greeted.connection.machine().is_idle()
    }

    async fn is_quiet(&mut self) -> bool {
        // Half a reply that nobody asked for is one, too.
        self.is_open()
            && timeout(Duration::ZERO, self.greeted.connection.next_event())
                .await
                .is_err()
            && self.greeted.connection.machine().is_idle()
    }

    /// A host that does not answer must not keep us.
    async fn quit(mut self) {
        let connection = &mut self.greeted.connection;
        if connection.machine().quit().is_ok() {
            let farewell = async {
                while let Ok(Some(Event::WantBody | Event::StartTls | Event::Ready)) =
                    connection.next_event().await
                {}
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
        connection.close().await;
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

    use async_trait::async_trait;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::dmtp::client::{Entry, Limits};
    use crate::dmtp::command::CommitHash;
    use crate::domains::DxSessions;
    use crate::net::stream::Stream;
    use crate::store::{self, Tenure};

    const RECORD: &str = "pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";

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

    /// A host that takes everything of one session, until it has had so many lines; what it was sent.
    async fn host(listener: TcpListener, lines: usize) -> String {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(tcp);
        let banner = b"220 dx.hismail.test DMTPv1 ready\r\n";
        stream.write_all(banner).await.unwrap();
        let mut heard = String::new();
        for _ in 0..lines {
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
        heard
    }

    async fn greeted_by(peer: SocketAddr) -> DxSession {
        let stream = Stream::new(TcpStream::connect(peer).await.unwrap()).unwrap();
        let mut connection = Connection::new(stream, Client::new(Entry::Single, Limits::default()));
        let ready = connection.next_event().await.unwrap();
        assert!(matches!(ready, Some(Event::Ready)), "{ready:?}");
        let record = ManagementRecord::parse(RECORD).unwrap();
        let domain: Domain = "hismail.test".parse().unwrap();
        DxSession::new(
            Key::new(&domain, &record, Proof::Secure),
            Greeted {
                host: "dx.hismail.test".parse().unwrap(),
                reach: Reach::Single,
                peer,
                counted_as: peer.ip(),
                accepted: Accepted::Signed,
                tls: TlsInfo {
                    version: "TLS1.3".to_owned(),
                    cipher: String::new(),
                    exporter: None,
                },
                connection,
                begun: Instant::now(),
            },
        )
    }

    fn message() -> Message {
        Message {
            origin: "hermail.test".parse().unwrap(),
            origin_signet: None,
            destination: "hismail.test".parse().unwrap(),
            destination_signet: None,
            size: 4,
            returning: None,
            commit: CommitHash::parse("c51e").unwrap(),
        }
    }

    /// A session with a host that hangs up after so many lines.
    async fn session_of(lines: usize) -> (DxSession, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peer = listener.local_addr().unwrap();
        let host = tokio::spawn(host(listener, lines));
        (greeted_by(peer).await, host)
    }

    /// Sends a message within a term that lasts until then by the steady clock.
    async fn send(session: &mut DxSession, steady: Duration) -> Result<Option<String>, Error> {
        let origin: Domain = "hermail.test".parse().unwrap();
        let term = Tenure::default().term(Instant::now() + Duration::from_secs(60), steady);
        session.send(&origin, message(), &mut Object, &term).await
    }

    #[tokio::test]
    async fn a_message_is_completed_while_its_term_lasts_and_not_afterwards() {
        let (mut session, host) = session_of(100).await;
        let sent = send(&mut session, Duration::MAX).await;
        drop(session);
        assert_eq!(sent.unwrap().as_deref(), Some("20240611-7f3a9c"));
        let heard = host.await.unwrap();
        assert!(heard.contains("text"), "{heard}");
        let (mut session, host) = session_of(100).await;
        let sent = send(&mut session, Duration::ZERO).await;
        assert!(!session.takes_more(), "the host waits for the message");
        drop(session);
        assert!(matches!(sent, Err(Error::TooLate)), "{sent:?}");
        let heard = host.await.unwrap();
        assert!(heard.contains("DATA") && !heard.contains("text"), "{heard}");
    }

    #[tokio::test]
    async fn a_refusal_counts_though_the_host_breaks_the_connection_after_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peer = listener.local_addr().unwrap();
        let host = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(b"220 dx.hismail.test DMTPv1 ready\r\n")
                .await
                .unwrap();
            let mut heard = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut tcp, &mut heard)
                .await
                .unwrap();
            let hello = b"250-dx.hismail.test\r\n250-PIPELINING\r\n250 OK\r\n";
            tcp.write_all(hello).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            tcp.write_all(b"550 no\r\n").await.unwrap();
            // What is unread has the system send RST.
        });
        let mut session = greeted_by(peer).await;
        let refused = send(&mut session, Duration::MAX).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Permanent { reply, .. } if reply.code == 550),
            "{refused}"
        );
        host.await.unwrap();
    }

    #[tokio::test]
    async fn a_session_takes_one_message_after_the_other_and_greets_once() {
        let (mut session, host) = session_of(100).await;
        for _ in 0..2 {
            send(&mut session, Duration::MAX).await.unwrap();
            assert!(session.takes_more());
        }
        session.quit().await;
        let heard = host.await.unwrap();
        for (word, times) in [("EHLO", 1), ("MAIL", 2), ("text", 2), ("QUIT", 1)] {
            assert_eq!(heard.matches(word).count(), times, "{word} in {heard}");
        }
    }

    /// EHLO, MAIL, RCPT, DATA and the message are five lines.
    #[tokio::test]
    async fn only_a_session_that_was_kept_can_have_been_given_up_and_only_before_the_message() {
        for (lines, was_given_up) in [(5, true), (6, true), (7, true), (8, false)] {
            let (mut session, _host) = session_of(lines).await;
            send(&mut session, Duration::MAX).await.unwrap();
            let mut session = session.kept();
            let error = send(&mut session, Duration::MAX).await.unwrap_err();
            assert_eq!(session.was_given_up(&error), was_given_up, "{lines}: {error}");
        }
        let (mut session, _host) = session_of(0).await;
        let error = send(&mut session, Duration::MAX).await.unwrap_err();
        assert!(!session.was_given_up(&error), "{error}");
    }

    /// Else it would be waited for twice as long.
    #[tokio::test]
    async fn a_host_that_is_silent_has_not_given_the_session_up() {
        let (session, _host) = session_of(100).await;
        let session = session.kept();
        assert!(session.was_given_up(&Error::Session(client::Error::Closed)));
        assert!(!session.was_given_up(&Error::Session(client::Error::Timeout)));
    }

    #[tokio::test]
    async fn the_end_of_a_session_is_not_waited_for_where_a_message_was_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peer = listener.local_addr().unwrap();
        // It does not answer QUIT.
        let host = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(tcp);
            let mut line = String::new();
            for reply in ["220 dx.hismail.test DMTPv1 ready\r\n", "250 OK\r\n", "550 no\r\n"] {
                stream.write_all(reply.as_bytes()).await.unwrap();
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            line
        });
        let mut session = greeted_by(peer).await;
        let refused = send(&mut session, Duration::MAX).await;
        assert!(matches!(refused, Err(Error::Permanent { .. })), "{refused:?}");
        let (sessions, key) = (DxSessions::default(), session.key().clone());
        sessions.keep(session, ());
        assert!(sessions.0.take(&key, None).await.is_none());
        assert_eq!(host.await.unwrap(), "QUIT\r\n");
    }
}
