//! The session, from the connection to QUIT.

use std::io::Read;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::login::Attempt;
use super::{Account, Error, Server};
use crate::base::machine::TlsInfo;
use crate::base::secret::Secret;
use crate::cli::files::{self, FileName};
use crate::dmtp::client::{self, Answer, Client, Entry, Event, Extensions, Limits, Message, Outcome};
use crate::dmtp::handed_in::{KeySetsTaken, Pending};
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::net::connect::Outgoing;
use crate::net::connection::{self, Connection};
use crate::net::stream::Stream;
use crate::net::tls::{Connector, WebPki};

/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Octets handed to the session at a time.
const PIECE: usize = 64 * 1024;

/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// A session in which the user has logged in.
pub struct Session {
    host: Domain,
    connection: Connection<Client>,
}

impl Session {
    /// Connects, checks the certificate, and logs in.
    pub async fn open(account: &Account, password: &Secret<String>) -> Result<Self, Error> {
        let roots = match &account.access.ca_file {
            Some(file) => WebPki::load(file)?,
            None => WebPki::system()?,
        };
        let (mut session, tls) = Self::connect(account, &roots).await?;
        session.expect_ready().await?;
        let offered = session.greet(account.user.domain()).await?;
        let identity = account.user.to_string();
        let attempt = Attempt::new(&identity, password, &offered.auth, &tls);
        let attempt = attempt.ok_or_else(|| Error::NoMechanism(session.host.clone()))?;
        session.log_in(attempt).await?;
        Ok(session)
    }

    /// Submits a message; the server's id for it.
    pub async fn send(
        &mut self,
        message: Message,
        name: &FileName,
        object: &mut (dyn Read + Send),
    ) -> Result<Option<String>, Error> {
        self.ask(|client| client.send(message))?;
        let mut next = || piece(name, object);
        match self.answer(&mut next).await? {
            Answer::Committed(id) => Ok(id.map(|id| id.as_str().to_owned())),
            _ => Err(senseless()),
        }
    }

    /// The wrapped keys that the server stores, and their version.
    pub async fn keys(&mut self) -> Result<(Vec<u8>, u64), Error> {
        self.ask(Client::keys)?;
        match self.found(&mut nothing).await?.ok_or(Error::NoKeys)? {
            Answer::Keys { octets, version } => Ok((octets, version)),
            _ => Err(senseless()),
        }
    }

    /// Leaves wrapped keys in the place of version `replaces`; the new version.
    pub async fn deposit(&mut self, octets: &[u8], replaces: u64) -> Result<u64, Error> {
        self.ask(|client| client.deposit(replaces, octets.len() as u64))?;
        let mut next = || Ok(octets.to_vec());
        match self.answer(&mut next).await? {
            Answer::Deposited(version) => Ok(version),
            _ => Err(senseless()),
        }
    }

    /// What became of the signing request that was handed in; `None` if none is there.
    pub async fn pending(&mut self) -> Result<Option<Pending>, Error> {
        self.ask(Client::pending)?;
        match self.found(&mut nothing).await? {
            None => Ok(None),
            Some(Answer::Pending(pending)) => Ok(Some(pending)),
            Some(_) => Err(senseless()),
        }
    }

    /// Hands in a signing request and a key set, packed.
    pub async fn hand_in(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.ask(|client| client.hand_in(octets.len() as u64))?;
        match self.answer(&mut || Ok(octets.to_vec())).await? {
            Answer::Nothing => Ok(()),
            _ => Err(senseless()),
        }
    }

    /// Hands in key sets, packed.
    pub async fn key_sets(&mut self, octets: &[u8]) -> Result<KeySetsTaken, Error> {
        self.ask(|client| client.key_sets(octets.len() as u64))?;
        match self.answer(&mut || Ok(octets.to_vec())).await? {
            Answer::KeySetsTaken(taken) => Ok(taken),
            _ => Err(senseless()),
        }
    }

    /// A current signet, as the server says; nothing about it is verified.
    pub async fn signet(&mut self, name: &Name) -> Result<Option<Vec<u8>>, Error> {
        self.ask(|client| client.signet(name, None))?;
        match self.found(&mut nothing).await? {
            None => Ok(None),
            Some(Answer::Signet(object)) => Ok(Some(object)),
            Some(_) => Err(senseless()),
        }
    }

    /// A user's signets in service, as the server says; nothing about them is verified.
    pub async fn history(&mut self, address: &Mailbox) -> Result<Vec<Vec<u8>>, Error> {
        self.ask(|client| client.history(address, None, None))?;
        match self.found(&mut nothing).await? {
            None => Ok(Vec::new()),
            Some(Answer::History(objects)) => Ok(objects),
            Some(_) => Err(senseless()),
        }
    }

    /// Ends the session politely; whether the server answers does not matter any more.
    pub async fn quit(mut self) {
        if self.connection.machine().quit().is_ok() {
            let _ = timeout(FAREWELL, self.connection.next_event()).await;
        }
        self.connection.close().await;
    }

    async fn connect(account: &Account, roots: &WebPki) -> Result<(Self, TlsInfo), Error> {
        let Server { host, port } = &account.submit;
        let unreachable = |error| Error::Unreachable(host.clone(), error);
        let addresses = match account.access.ip {
            Some(address) => vec![address],
            None => lookup_host((host.as_str(), *port))
                .await
                .map_err(unreachable)?
                .map(|found| found.ip())
                .collect(),
        };
        let outgoing = Outgoing {
            source: None,
            timeout: CONNECT_TIMEOUT,
        };
        let tcp = outgoing.connect(&addresses, *port, MAX_ADDRESSES).await;
        let stream = Stream::new(tcp.map_err(unreachable)?).map_err(connection::Error::Io)?;
        let client = Client::new(Entry::Dual(host.clone()), Limits::default());
        let mut session = Self {
            host: host.clone(),
            connection: Connection::new(stream, client),
        };
        let tls = session.start_tls(roots).await?;
        Ok((session, tls))
    }

    /// Nothing is said inside TLS before the certificate is known to be the host's.
    async fn start_tls(&mut self, roots: &WebPki) -> Result<TlsInfo, Error> {
        match self.connection.next_event().await? {
            Some(Event::StartTls) => {}
            Some(Event::Failed(error)) => return Err(self.broken(error)),
            _ => return Err(Error::Session(client::Error::Closed)),
        }
        let connector = Connector::new()?;
        let host = self.host.as_str().to_owned();
        let peer = self.connection.connect_tls(&connector, &host).await?;
        if roots.judge(&peer.certificates, &host).is_err() {
            self.connection.close().await;
            return Err(Error::Certificate(self.host.clone()));
        }
        self.connection.machine().tls_established();
        Ok(peer.info)
    }

    async fn expect_ready(&mut self) -> Result<(), Error> {
        match self.connection.next_event().await? {
            Some(Event::Ready) => Ok(()),
            Some(Event::Failed(error)) => Err(self.broken(error)),
            _ => Err(Error::Session(client::Error::Closed)),
        }
    }

    async fn greet(&mut self, domain: &Domain) -> Result<Extensions, Error> {
        self.ask(|client| client.ehlo(domain))?;
        match self.answer(&mut nothing).await? {
            Answer::Extensions(offered) => Ok(offered),
            _ => Err(senseless()),
        }
    }

    async fn log_in(&mut self, mut attempt: Attempt<'_>) -> Result<(), Error> {
        let mechanism = attempt.mechanism();
        self.ask(|client| client.authenticate(mechanism))?;
        loop {
            match self.answer(&mut nothing).await {
                Ok(Answer::Challenge(challenge)) => {
                    let response = attempt.respond(&challenge);
                    let response = response.map_err(|_| Error::Impostor(self.host.clone()))?;
                    self.ask(|client| client.respond(&response))?;
                }
                Ok(Answer::Nothing) if attempt.is_complete() => return Ok(()),
                Ok(_) => return Err(Error::Impostor(self.host.clone())),
                Err(Error::Permanent(reply)) => return Err(Error::Login(reply)),
                Err(error) => return Err(error),
            }
        }
    }

    fn ask(&mut self, request: impl FnOnce(&mut Client) -> Result<(), client::Error>) -> Result<(), Error> {
        request(self.connection.machine()).map_err(Error::Session)
    }

    async fn answer(
        &mut self,
        next: &mut (dyn FnMut() -> Result<Vec<u8>, Error> + Send),
    ) -> Result<Answer, Error> {
        self.found(next).await?.ok_or_else(senseless)
    }

    /// Waits for the end of a request, giving it octets where it wants some. `None` if the answer is that there is nothing.
    async fn found(
        &mut self,
        next: &mut (dyn FnMut() -> Result<Vec<u8>, Error> + Send),
    ) -> Result<Option<Answer>, Error> {
        loop {
            match self.connection.next_event().await? {
                Some(Event::WantBody) => {
                    let octets = next()?;
                    self.ask(|client| client.body(octets))?;
                }
                Some(Event::Finished(outcome)) => return judged(outcome),
                Some(Event::Failed(error)) => return Err(self.broken(error)),
                Some(Event::StartTls | Event::Ready) => {}
                None => return Err(Error::Session(client::Error::Closed)),
            }
        }
    }

    fn broken(&self, error: client::Error) -> Error {
        match error {
            client::Error::NotDmtp => Error::NotDmtp(self.host.clone()),
            client::Error::Refused(reply) if reply.is_permanent() => Error::Permanent(reply),
            client::Error::Refused(reply) => Error::Transient(reply),
            other => Error::Session(other),
        }
    }
}

fn judged(outcome: Outcome) -> Result<Option<Answer>, Error> {
    match outcome {
        Outcome::Done(answer) => Ok(Some(answer)),
        Outcome::NotFound => Ok(None),
        Outcome::Transient(reply) => Err(Error::Transient(reply)),
        Outcome::Permanent(reply) => Err(Error::Permanent(reply)),
        Outcome::Unusable(_) => Err(senseless()),
    }
}

fn senseless() -> Error {
    Error::Session(client::Error::Malformed("the reply makes no sense"))
}

fn nothing() -> Result<Vec<u8>, Error> {
    Ok(Vec::new())
}

fn piece(name: &FileName, object: &mut (dyn Read + Send)) -> Result<Vec<u8>, Error> {
    let mut octets = Vec::with_capacity(PIECE);
    let read = object.take(PIECE as u64).read_to_end(&mut octets);
    let unreadable = |source| files::Error::Read {
        file: name.clone(),
        source,
    };
    read.map_err(unreadable)?;
    Ok(octets)
}
