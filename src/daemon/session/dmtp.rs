//! What a DMTP session may do here: ask for signets, and leave sealed messages. On the submission port an author leaves
//! them, who has logged in.

mod author;
mod home;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::Purpose;
use super::logins::Login;
use crate::base::allowance::Use;
use crate::base::id::{QueueId, SessionId};
use crate::base::{metrics, observe};
use crate::daemon::Services;
use crate::daemon::arrival::{self, Arrival};
use crate::dime::fingerprint::AnyFingerprint;
use crate::dmtp::command::Return;
use crate::dmtp::name::Name;
use crate::dmtp::reply::TransactionId;
use crate::dmtp::server::{Event, Session};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;
use crate::queue::pause::Entered;
use crate::signet_service::{self, Status};
use crate::store::{Account, BodyWriter};

/// Leave to ask for a user; domains need none.
type Leave = Option<Use<IpAddr>>;

/// The owner of one DMTP session.
pub struct Owner {
    services: Arc<Services>,
    purpose: Purpose,
    peer: SocketAddr,
    id: SessionId,
    account: Option<Account>,
    login: Login,
    transaction: Transaction,
    accepted: u32,
    /// The log says that the peer asks for too many users.
    has_warned: bool,
}

/// From MAIL to the final reply.
#[derive(Default)]
struct Transaction {
    origin: Option<Domain>,
    origin_signet: Option<AnyFingerprint>,
    returning: Option<Return>,
    destination: Option<Domain>,
    /// The object as far as it has come, and under which id; none if it could not be stored.
    object: Option<(QueueId, Box<dyn BodyWriter>)>,
    /// From DATA on.
    taking: Option<Entered>,
}

impl Owner {
    /// For a connection from `peer`.
    pub fn new(services: Arc<Services>, purpose: Purpose, peer: SocketAddr, id: SessionId) -> Self {
        Self {
            login: Login::new(services.refused_logins.clone(), peer.ip()),
            services,
            purpose,
            peer,
            id,
            account: None,
            transaction: Transaction::default(),
            accepted: 0,
            has_warned: false,
        }
    }

    /// Messages accepted so far.
    pub fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Answers one event.
    pub async fn handle(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Ehlo { .. } | Event::Reset => self.transaction = Transaction::default(),
            Event::MailFrom {
                origin,
                fingerprint,
                returning,
                ..
            } => {
                let answered = self.mail(origin, fingerprint, returning).await;
                answer(session, answered);
            }
            Event::RcptTo { destination, .. } => {
                let answered = self.rcpt(destination).await;
                answer(session, answered);
            }
            Event::Data { .. } => {
                let answered = self.start().await;
                answer(session, answered);
            }
            Event::DataChunk(octets) => self.append(&octets).await,
            Event::DataEnd => match self.take().await {
                Ok(id) => session.committed(&id),
                Err(reply) => refuse(session, &reply),
            },
            Event::Verifier { identity } => self.offer_verifier(session, &identity).await,
            Event::Authenticate(login) => {
                let answered = self.log_in(&login).await;
                answer(session, answered);
            }
            Event::LoginRefused => self.note_refused_login(),
            Event::Keys => self.keys(session).await,
            Event::Deposit { octets, replaces } => match self.deposit_keys(octets, replaces).await {
                Ok(version) => session.deposited(version),
                Err(reply) => refuse(session, &reply),
            },
            Event::Pending => match self.pending().await {
                Ok(pending) => session.pending(&pending),
                Err(reply) => refuse(session, &reply),
            },
            Event::HandIn(octets) => match self.hand_in(&octets).await {
                Ok(()) => session.handed_in(),
                Err(reply) => refuse(session, &reply),
            },
            Event::KeySets(octets) => match self.take_key_sets(&octets).await {
                Ok(taken) => session.key_sets_taken(taken),
                Err(reply) => refuse(session, &reply),
            },
            Event::Signet { name, fingerprint } => self.signet(session, &name, fingerprint).await,
            Event::Verify { name, fingerprint } => self.verify(session, &name, fingerprint).await,
            Event::History { name, start, stop } => self.history(session, name, start, stop).await,
        }
    }

    async fn mail(
        &mut self,
        origin: Domain,
        origin_signet: Option<AnyFingerprint>,
        returning: Option<Return>,
    ) -> Result<(), Reply> {
        if self.services.pause.is_set() {
            return Err(not_accepting());
        }
        if !self.services.has_space() {
            return Err(Reply::plain(452, "out of storage, try again later"));
        }
        if self.purpose == Purpose::Submission {
            self.may_submit_from(&origin).await?;
        }
        self.transaction = Transaction {
            origin: Some(origin),
            origin_signet,
            returning,
            ..Transaction::default()
        };
        Ok(())
    }

    async fn rcpt(&mut self, destination: Domain) -> Result<(), Reply> {
        if self.services.pause.is_set() {
            return Err(not_accepting());
        }
        if self.purpose == Purpose::Submission {
            self.may_submit_to(&destination).await?;
            self.transaction.destination = Some(destination);
            return Ok(());
        }
        match self.services.store.local_domain(&destination).await {
            Ok(Some(domain)) if domain.dime.is_some() => {
                self.transaction.destination = Some(destination);
                Ok(())
            }
            Ok(_) => Err(Reply::plain(510, "that domain takes no sealed mail here")),
            Err(error) => Err(self.fault(&error)),
        }
    }

    async fn start(&mut self) -> Result<(), Reply> {
        let taking = self.services.pause.enter().ok_or_else(not_accepting)?;
        let id = QueueId::random(&mut rand::rng());
        let begun = self.services.store.begin(id).await;
        self.transaction.object = Some((id, begun.map_err(|error| self.fault(&error))?));
        self.transaction.taking = Some(taking);
        Ok(())
    }

    /// The object goes to the spool as it comes. Should that fail, the peer hears of it at the end.
    async fn append(&mut self, octets: &[u8]) {
        let Some((_, object)) = &mut self.transaction.object else {
            return;
        };
        if let Err(error) = object.write(octets).await {
            self.transaction.object = None;
            self.fault(&error);
        }
    }

    async fn take(&mut self) -> Result<TransactionId, Reply> {
        let Transaction {
            origin: Some(origin),
            origin_signet,
            returning,
            destination: Some(destination),
            object: Some((id, mut object)),
            taking: _taking,
        } = std::mem::take(&mut self.transaction)
        else {
            return Err(Reply::plain(451, "local error, try again later"));
        };
        if self.purpose == Purpose::Submission {
            return self
                .submit((id, object), &destination)
                .await
                .map(TransactionId::from);
        }
        self.show(object.as_mut()).await;
        let size_bytes = object.size_bytes();
        let arrival = Arrival {
            services: &self.services,
            peer: self.peer.ip(),
            origin: &origin,
            origin_signet,
            destination: &destination,
            size_bytes,
            returning,
        };
        match arrival.take(object).await {
            Ok(id) => {
                self.accepted += 1;
                metrics::accepted("dmtp");
                tracing::info!(
                    event = observe::DMTP_MESSAGE_ACCEPTED,
                    session.id = %self.id,
                    message.id = %id,
                    origin = %origin,
                    size_bytes,
                    "sealed message accepted"
                );
                TransactionId::parse(&id.to_string()).ok_or_else(|| Reply::plain(451, "local error"))
            }
            Err(refusal) => {
                let reply = refusal.reply();
                if let Some(rule) = refusal.rule() {
                    tracing::debug!(event = observe::DMTP_MESSAGE_RULE, session.id = %self.id, %rule, "a rule is broken");
                }
                tracing::info!(
                    event = observe::DMTP_MESSAGE_REFUSED,
                    session.id = %self.id,
                    peer.ip = %self.peer.ip(),
                    reply.code = reply.code,
                    reason = %refusal,
                    size_bytes,
                    "sealed message refused"
                );
                Err(reply)
            }
        }
    }

    /// For those who look over our shoulder.
    async fn show(&self, object: &mut dyn BodyWriter) {
        let observer = &self.services.observer;
        if observer.watches_objects()
            && let Ok(octets) = arrival::whole(object).await
        {
            observer.object_arrived(&octets);
        }
    }

    async fn signet(&mut self, session: &mut Session, name: &Name, fingerprint: Option<AnyFingerprint>) {
        let Some(leave) = self.leave_to_ask(name) else {
            return refuse(session, &too_many());
        };
        let found = self.services.desk.signet(name, fingerprint).await;
        match self.settled(leave, found) {
            Ok(Some(object)) => session.signet(&object),
            Ok(None) => session.not_found(),
            Err(reply) => refuse(session, &reply),
        }
    }

    async fn verify(&mut self, session: &mut Session, name: &Name, fingerprint: AnyFingerprint) {
        let Some(leave) = self.leave_to_ask(name) else {
            return refuse(session, &too_many());
        };
        let found = self.services.desk.status(name, fingerprint).await;
        match self.settled(leave, found) {
            Ok(Some(Status::Current)) => session.current(),
            Ok(Some(Status::Superseded(current))) => session.update(current),
            Ok(None) => session.not_found(),
            Err(reply) => refuse(session, &reply),
        }
    }

    async fn history(
        &mut self,
        session: &mut Session,
        address: Mailbox,
        start: Option<AnyFingerprint>,
        stop: Option<AnyFingerprint>,
    ) {
        let Some(leave) = self.leave_to_ask(&Name::User(address.clone())) else {
            return refuse(session, &too_many());
        };
        let found = self.services.desk.history(&address, start, stop).await;
        match self.settled(leave, found) {
            Ok(Some(signets)) => session.history(&signets),
            Ok(None) => session.not_found(),
            Err(reply) => refuse(session, &reply),
        }
    }

    /// Whoever asks for many users who have no signet is looking for those who have. Then every question about users is
    /// refused alike, before anything is looked up.
    fn leave_to_ask(&mut self, name: &Name) -> Option<Leave> {
        if matches!(name, Name::Organization(_)) {
            return Some(None);
        }
        let leave = self.services.enumeration.ask(self.peer.ip(), Instant::now());
        if leave.is_none() && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(event = observe::DMTP_ENUMERATION, session.id = %self.id, peer.ip = %self.peer.ip(),
                "a network asked for too many users without signets; its questions about users are put off");
        }
        leave.map(Some)
    }

    /// Only an answer of "no such signet" costs anything.
    fn settled<T>(
        &self,
        leave: Leave,
        found: Result<Option<T>, signet_service::Error>,
    ) -> Result<Option<T>, Reply> {
        let is_missing = matches!(found, Ok(None));
        if let Some(leave) = leave.filter(|_| !is_missing) {
            leave.give_back();
        }
        found.map_err(|error| match error {
            signet_service::Error::TooLong => Reply::plain(451, "the history is too long"),
            error => self.unavailable(&error),
        })
    }

    /// Never 450: that would mean that there is no signet, and the peer might use SMTP.
    fn unavailable(&self, error: &(dyn std::error::Error + 'static)) -> Reply {
        self.fault(error);
        Reply::plain(476, "signets are not available now")
    }

    fn fault(&self, error: &(dyn std::error::Error + 'static)) -> Reply {
        tracing::error!(event = observe::DMTP_FAULT, session.id = %self.id, error, "a session met a fault of ours");
        Reply::plain(451, "local error, try again later")
    }
}

fn not_accepting() -> Reply {
    Reply::plain(451, "no mail is taken for now, try again later")
}

/// Not 450, which would say that there is no signet.
fn too_many() -> Reply {
    Reply::plain(451, "too many unknown users asked for, try again later")
}

fn refuse(session: &mut Session, reply: &Reply) {
    metrics::refused("dmtp", reply.code);
    session.refuse(reply);
}

fn answer(session: &mut Session, answered: Result<(), Reply>) {
    match answered {
        Ok(()) => session.accept(),
        Err(reply) => refuse(session, &reply),
    }
}
