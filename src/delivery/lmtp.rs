//! Mail for accounts of ours to a mailbox server, such as Dovecot's, by LMTP (RFC 2033).
//!
//! The server gives a reply for each recipient, and adds `Return-Path` and what else its mailboxes want. All recipients of a
//! message share one transaction; whoever was named by another address, such as an alias, gets it in another one, with
//! `X-Original-To` and ORCPT. Header fields in UTF-8 go to a server without SMTPUTF8, too: it keeps them, and the mail has
//! arrived.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::letter::{Form, Letter};
use super::session::{Failure, Session};
use super::{Diagnosis, Outcome, RemoteReply};
use crate::mail::address::{Domain, ReversePath};
use crate::mail::notify::MessageRequest;
use crate::mail::reply::EnhancedStatus;
use crate::net::connect::Outgoing;
use crate::net::pool::{Limits, Pool, Pooled};
use crate::net::service::Service;
use crate::net::stream::Stream;
use crate::smtp::client::{Params, Protocol, Recipient, Timeouts, TlsPolicy, Transaction};
use crate::store::Term;

/// How long connecting may take on this machine.
const CONNECT: Duration = Duration::from_secs(30);

/// What it is called.
const SERVER: &str = "the mailbox server";

/// How long it may take to say what it offers, and how long it is believed.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
const BELIEVED_FOR: Duration = Duration::from_secs(600);

/// What the sender is told. The server's own words would name places on this machine.
const UNREACHABLE: &str = "the mailbox server cannot be reached";

/// Hands mail over to a mailbox server.
pub struct LmtpDelivery {
    /// Where it listens.
    pub server: Service,
    /// How to connect.
    pub outgoing: Outgoing,
    /// Our name, for LHLO.
    pub hello: Domain,
    /// Whether it is told by which detail an account was named (`bob+detail`).
    pub tells_details: bool,
    sessions: Arc<Pool<(), Session>>,
    /// Whether it takes addresses in UTF-8, and when it was heard or could not be asked.
    utf8: Mutex<Option<(Option<bool>, Instant)>>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

impl LmtpDelivery {
    /// To one server.
    pub fn new(server: Service, outgoing: Outgoing, hello: Domain, tells_details: bool) -> Self {
        Self {
            server,
            outgoing,
            hello,
            tells_details,
            sessions: Arc::new(Pool::new(Limits::default())),
            utf8: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Hands over one message for several accounts; an outcome for each, in their order. Sessions are broken off when the term ends.
    pub async fn deliver(
        &self,
        reverse_path: &ReversePath,
        accounts: &[Recipient],
        letter: &mut dyn Letter,
        term: &Term,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(accounts.len());
        // A server may take so few in a session (RFC 9422) that there have to be several.
        while let Some(rest @ [_, ..]) = accounts.get(outcomes.len()..) {
            match self.attempt(reverse_path, rest, letter, term).await {
                Ok(some) if !some.is_empty() => {
                    outcomes.extend(some.into_iter().map(|outcome| self.in_the_mailbox(outcome)));
                }
                Ok(_) => outcomes.resize(accounts.len(), Outcome::Deferred(nobody_named())),
                Err(failure) => outcomes.resize(accounts.len(), Outcome::Deferred(failure.diagnosis)),
            }
        }
        outcomes
    }

    /// Whether the server is there and ready to take mail.
    pub async fn probe(&self) -> Result<(), Diagnosis> {
        let session = self.open().await.map_err(|failure| failure.diagnosis)?;
        session.quit().await;
        Ok(())
    }

    /// Whether the server takes addresses in UTF-8 (SMTPUTF8), as it said last; `None` if that cannot be found out now. Strangers
    /// can have it asked once in a while, however many they are.
    pub async fn takes_utf8(&self) -> Option<bool> {
        let _turn = self.asking.lock().await;
        let known = *self.utf8.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((said, at)) = known {
            let good_for = if said.is_some() {
                BELIEVED_FOR
            } else {
                ASKED_WITHIN
            };
            if at.elapsed() < good_for {
                return said;
            }
        }
        let said = match timeout(ASKED_WITHIN, self.open()).await {
            Ok(Ok(mut session)) => {
                let said = session.offered().smtputf8;
                self.sessions.put((), session).await;
                Some(said)
            }
            Ok(Err(_)) | Err(_) => None,
        };
        self.note_utf8(said);
        said
    }

    fn note_utf8(&self, said: Option<bool>) {
        *self.utf8.lock().unwrap_or_else(PoisonError::into_inner) = Some((said, Instant::now()));
    }

    /// In a session kept from before, or else in a new one.
    async fn attempt(
        &self,
        reverse_path: &ReversePath,
        accounts: &[Recipient],
        letter: &mut dyn Letter,
        term: &Term,
    ) -> Result<Vec<Outcome>, Failure> {
        if let Some(session) = self.sessions.take(&(), None).await {
            match self.send(session, reverse_path, accounts, letter, term).await {
                Err(failure) if !failure.leaves_doubt => {}
                sent => return sent,
            }
        }
        let opened = timeout_at(term.until(), self.open()).await;
        let session = opened.map_err(|_| Failure::too_late(&SERVER))??;
        self.send(session, reverse_path, accounts, letter, term).await
    }

    async fn open(&self) -> Result<Session, Failure> {
        let stream = self.connect().await.map_err(|_| {
            let diagnosis = Diagnosis::local(EnhancedStatus(4, 4, 1), UNREACHABLE);
            Failure::plain(diagnosis)
        })?;
        let params = Params {
            hello: self.hello.clone(),
            protocol: Protocol::Lmtp,
            tls: TlsPolicy::Never,
            login: None,
            timeouts: Timeouts::default(),
        };
        Session::open((SERVER.to_owned(), None), stream, params, None).await
    }

    async fn connect(&self) -> io::Result<Stream> {
        match &self.server {
            Service::Unix(path) => Ok(Stream::Unix(timeout(CONNECT, UnixStream::connect(path)).await??)),
            Service::Tcp(address) => {
                let addresses = [address.ip()];
                Stream::new(self.outgoing.connect(&addresses, address.port(), 1).await?)
            }
        }
    }

    async fn send(
        &self,
        mut session: Session,
        reverse_path: &ReversePath,
        accounts: &[Recipient],
        letter: &mut dyn Letter,
        term: &Term,
    ) -> Result<Vec<Outcome>, Failure> {
        let offered = session.offered();
        self.note_utf8(Some(offered.smtputf8));
        let form = Form {
            smtputf8: true,
            ..Form::from(&offered)
        };
        let sent = match letter.ready(form).await {
            Ok(ready) => {
                let transaction = Transaction {
                    reverse_path: reverse_path.clone(),
                    recipients: accounts.to_vec(),
                    size_bytes: ready.size_bytes,
                    eight_bit: ready.eight_bit,
                    require_tls: false,
                    smtputf8: ready.smtputf8 && offered.smtputf8,
                    // It arrives here: whoever asked to be told is told by us.
                    request: MessageRequest::default(),
                };
                session.send(transaction, letter, term).await
            }
            Err(outcome) => Ok(vec![outcome; accounts.len()]),
        };
        self.sessions.put((), session).await;
        sent
    }

    fn in_the_mailbox(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Delivered | Outcome::Relayed { .. } | Outcome::Expanded => Outcome::Delivered,
            Outcome::Deferred(diagnosis) => Outcome::Deferred(self.ours(diagnosis)),
            Outcome::Failed(diagnosis) => Outcome::Failed(self.ours(diagnosis)),
        }
    }

    /// The mailbox server is a part of this host: what it says, this host says, and no other name gets into reports.
    fn ours(&self, diagnosis: Diagnosis) -> Diagnosis {
        let remote = diagnosis.remote.map(|remote| RemoteReply {
            host: self.hello.to_string(),
            ..remote
        });
        Diagnosis { remote, ..diagnosis }
    }

    /// Ends the sessions that wait for mail.
    pub async fn close(&self) {
        self.sessions.close().await;
    }
}

fn nobody_named() -> Diagnosis {
    Diagnosis::local(EnhancedStatus(4, 3, 0), "the mailbox server takes nobody")
}
