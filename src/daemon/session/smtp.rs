//! What an SMTP session may do here: log in, name senders and recipients, and leave messages.

mod filtering;
mod relayed;
mod returned;
mod room;
pub(super) mod screening;
mod sending;
mod trusted;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub(super) use self::trusted::network as trusted_network;
use super::logins::{self, Login as LoginGuard};
use super::{fresh_nonce, incoming};
use crate::abuse::Reserved;
use crate::accounts::{self, Resolution, Target};
use crate::base::causes::Causes;
use crate::base::id::{QueueId, SessionId};
use crate::base::network::Network;
use crate::base::{metrics, observe};
use crate::daemon::filtering::Letter;
use crate::daemon::intake::{Complete, Completion, Failure, Intake};
use crate::daemon::{Services, drain_watch};
use crate::dime::record::Policy;
use crate::filters::Chain;
use crate::mail::address::{Domain, ForwardPath, Mailbox};
use crate::mail::demand::Demand;
use crate::mail::mailboxes::Unreadable;
use crate::mail::notify::{OriginalRecipient, RecipientRequest};
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::mail::trace::{Arrival, Received};
use crate::queue::pause::Entered;
use crate::queue::priority::Priority;
use crate::routing::{self, Route};
use crate::screening::{Measured, Visit};
use crate::smtp::command::{MailFrom, RcptTo};
use crate::smtp::server::{Event, Login, Session, replies};
use crate::store::{Account, Addressee, Content, Envelope, NewMessage, Recipient, Source, TrustMode, fold};

/// The owner of one SMTP session.
pub struct Owner {
    services: Arc<Services>,
    peer: SocketAddr,
    id: SessionId,
    account: Option<Account>,
    /// The network by which the host may send without a login.
    trusted: Option<Network>,
    login: LoginGuard,
    transaction: Option<Transaction>,
    accepted: u32,
    /// Of a host that is measured.
    visit: Option<Visit>,
    /// Since the first MAIL of this client.
    filters: Option<Chain>,
    /// From DATA until the message is stored.
    taking: Option<Entered>,
}

/// From MAIL to the end of data.
struct Transaction {
    begun: Instant,
    mail: MailFrom,
    recipients: Vec<Addressee>,
    /// Those whom RCPT named, and whom each of them led to.
    named: Vec<(Mailbox, Vec<Recipient>)>,
    /// Somebody is in a DIME domain, so the message will have to be sealed.
    to_be_sealed: bool,
    intake: Option<Intake>,
    /// Of what its author may send.
    reserved: Reserved,
    screened: Measured,
}

impl Transaction {
    /// RCPT names somebody, who leads to these.
    fn name(&mut self, mailbox: &Mailbox, recipients: &[Mailbox]) {
        let paths = recipients.iter().cloned().chain([mailbox.clone()]);
        let paths = paths.map(Recipient::from).collect();
        self.named.push((mailbox.clone(), paths));
    }

    /// Whoever is named twice, by aliases too, gets the message once.
    fn add(&mut self, addressee: Addressee) {
        let same =
            |known: &&mut Addressee| known.path == addressee.path && known.expanded == addressee.expanded;
        match self.recipients.iter_mut().find(same) {
            Some(known) => known.request.notify = known.request.notify.or(addressee.request.notify),
            None => self.recipients.push(addressee),
        }
    }
}

/// Those whom an address stands for, with what the sender wants to be told (RFC 3461 §5.2.7): of one, the same as of the
/// address; of several, nothing more once it has been told that it was sent on to them.
pub(in crate::daemon) fn addressees(
    named: &Mailbox,
    targets: Vec<Mailbox>,
    request: RecipientRequest,
) -> Vec<Addressee> {
    let is_list = targets.len() > 1;
    let is_told = is_list && request.notify.of_success();
    let original = match request == RecipientRequest::default() || targets.first() == Some(named) {
        true => request.original.clone(),
        false => request
            .original
            .clone()
            .or_else(|| Some(OriginalRecipient::of(named))),
    };
    let passed_on = RecipientRequest {
        notify: match is_list {
            true => request.notify.without_success(),
            false => request.notify,
        },
        original,
    };
    let expanded = is_told.then(|| Addressee {
        expanded: true,
        ..Addressee::new(named.clone(), request)
    });
    let to_target = |target: Mailbox| Addressee {
        named: (fold(&target) != fold(named)).then(|| named.clone()),
        ..Addressee::new(target, passed_on.clone())
    };
    targets.into_iter().map(to_target).chain(expanded).collect()
}

/// Who gets mail for a forward-path.
struct Accepted {
    recipients: Vec<Mailbox>,
    to_be_sealed: bool,
    /// Somebody of whom a next host is to be asked, which a host that is refused here must not cause.
    to_be_asked: Option<relayed::Question>,
}

impl Accepted {
    /// Without more to be found out.
    fn of(recipients: Vec<Mailbox>) -> Self {
        Self {
            recipients,
            to_be_sealed: false,
            to_be_asked: None,
        }
    }
}

impl Owner {
    /// For a connection from `peer`, which is trusted as one of a network, if it is.
    pub fn new(services: Arc<Services>, trusted: Option<Network>, peer: SocketAddr, id: SessionId) -> Self {
        Self {
            login: LoginGuard::new(services.refused_logins.clone(), peer.ip()),
            visit: match trusted {
                Some(_) => None,
                None => services.screening.visit(peer.ip()),
            },
            trusted,
            services,
            peer,
            id,
            account: None,
            transaction: None,
            accepted: 0,
            filters: None,
            taking: None,
        }
    }

    /// Messages accepted so far.
    pub fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Answers one event. The event of STARTTLS is not for here.
    pub async fn handle(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Hello(hello) => {
                self.greeted(&hello.name);
                self.taking = None;
                self.filters_end().await;
            }
            Event::Reset | Event::DataAborted(_) => {
                self.transaction = None;
                self.taking = None;
                self.filters_reset().await;
            }
            Event::MailFrom(mail) => {
                let answered = self.mail(session, mail).await;
                answer(session, answered);
            }
            Event::RcptTo(rcpt) => {
                let answered = self.rcpt(rcpt).await;
                if let Err(reply) = &answered {
                    self.note_refused_recipient(reply);
                }
                answer(session, answered);
            }
            Event::Verifier { .. } if !self.login.begin() => refuse(session, too_many_logins()),
            Event::Verifier { identity } => match self.services.accounts.scram_verifier(&identity).await {
                Ok(verifier) => session.offer_verifier(verifier, &fresh_nonce()),
                Err(error) => refuse(session, self.fault(&error)),
            },
            Event::Authenticate(login) => match self.log_in(login).await {
                Ok(()) => session.accept_with("Authentication succeeded"),
                Err(reply) => refuse(session, reply),
            },
            Event::LoginRefused => self.note_refused_login(),
            Event::DataStart => {
                let answered = self.start(session).await;
                answer(session, answered);
            }
            Event::Data(piece) => {
                if let Some(intake) = self.transaction.as_mut().and_then(|open| open.intake.as_mut()) {
                    intake.push(&piece).await;
                }
            }
            Event::DataEnd { size_bytes } => match self.commit(size_bytes).await {
                Ok(id) => session.accept_with(&format!("Ok: queued as {id}")),
                Err(reply) => refuse(session, reply),
            },
            Event::Closed(_) => self.filters_end().await,
            Event::StartTls => {}
        }
    }

    async fn log_in(&mut self, login: Login) -> Result<(), Reply> {
        if !self.login.begin() {
            return Err(too_many_logins());
        }
        match self.services.accounts.log_in(&login).await {
            Ok(account) => {
                self.login.succeeded();
                self.filters_end().await;
                self.account = Some(account);
                Ok(())
            }
            Err(accounts::Error::Refused) => {
                self.note_refused_login();
                Err(replies::authentication_failed())
            }
            Err(error) => {
                self.login.undecided();
                logins::note_undecided(&self.id, &error);
                Err(reply(
                    454,
                    (4, 7, 0),
                    "Temporary authentication failure, try again later",
                ))
            }
        }
    }

    fn note_refused_login(&mut self) {
        self.login.refused();
        tracing::info!(
            event = observe::SMTP_AUTH_REFUSED,
            session.id = %self.id,
            peer.ip = %self.peer.ip(),
            "a login was refused"
        );
    }

    /// Without addresses: whom somebody meant to reach is nobody's business.
    fn note_refused_recipient(&self, reply: &Reply) {
        tracing::info!(
            event = observe::SMTP_RCPT_REFUSED,
            session.id = %self.id,
            peer.ip = %self.peer.ip(),
            reply.code = reply.code,
            reply.enhanced = reply.enhanced.map(tracing::field::display),
            "a recipient was refused"
        );
    }

    async fn mail(&mut self, session: &Session, mut mail: MailFrom) -> Result<(), Reply> {
        self.demand_space()?;
        mail.reverse_path.0 = mail.reverse_path.0.map(|sender| self.meant(sender));
        let reserved = self.admit_sender(&mail).await?;
        self.filter_mail(session, &mail).await?;
        self.transaction = Some(Transaction {
            begun: Instant::now(),
            reserved,
            screened: Measured::default(),
            mail,
            recipients: Vec::new(),
            named: Vec::new(),
            to_be_sealed: false,
            intake: None,
        });
        Ok(())
    }

    async fn rcpt(&mut self, rcpt: RcptTo) -> Result<(), Reply> {
        drain_watch::demand_open(&self.services)?;
        let mailbox = match rcpt.forward_path {
            ForwardPath::Mailbox(mailbox) => self.meant(mailbox),
            ForwardPath::Postmaster => self.postmaster().await?,
        };
        let accepted = match self.returned(&mailbox).await? {
            Some(accepted) => accepted,
            None => self.resolved(&mailbox).await?,
        };
        self.screen(&mailbox).await?;
        self.ask_next_host(&accepted).await?;
        self.admit_recipient()?;
        self.filter_rcpt(&mailbox).await?;
        if let Some(open) = &mut self.transaction {
            open.to_be_sealed |= accepted.to_be_sealed;
            open.name(&mailbox, &accepted.recipients);
            for addressee in addressees(&mailbox, accepted.recipients, rcpt.request) {
                open.add(addressee);
            }
        }
        Ok(())
    }

    async fn resolved(&self, mailbox: &Mailbox) -> Result<Accepted, Reply> {
        match self.services.accounts.resolve(mailbox).await {
            // The queue finds out once more that nobody gets it.
            Ok(Resolution::Targets(targets)) if targets.is_empty() => Ok(Accepted::of(vec![mailbox.clone()])),
            Ok(Resolution::Targets(targets)) => self.local(mailbox, targets).await,
            Ok(Resolution::Unknown) => Err(replies::no_such_mailbox()),
            Ok(Resolution::NotLocal) => self.remote(mailbox.clone()).await,
            Err(accounts::Error::AliasLoop) => Err(replies::alias_loop()),
            // It has been told when the file was read.
            Err(accounts::Error::AliasesUnread) => Err(replies::local_error()),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// `<Postmaster>` without a domain is the postmaster of this host (RFC 5321 §4.1.1.3): of its first domain.
    async fn postmaster(&self) -> Result<Mailbox, Reply> {
        let domain = self.services.store.first_domain().await;
        let domain = domain.map_err(|error| self.fault(&error))?;
        let domain = domain.ok_or_else(replies::no_such_mailbox)?;
        Mailbox::parse(&format!("postmaster@{}", domain.name)).map_err(|_| replies::no_such_mailbox())
    }

    /// A strict domain takes no mail by SMTP from elsewhere (`management-record.md` §9.2).
    async fn local(&self, address: &Mailbox, targets: Vec<Target>) -> Result<Accepted, Reply> {
        if !self.is_ours() && self.is_strict(address.domain()).await? {
            return Err(reply(550, (5, 7, 1), "This domain takes mail by DMTP only"));
        }
        if self.must_seal_for(&targets).await? {
            return Err(to_be_sealed_at_home());
        }
        self.demand_utf8(&targets).await?;
        self.demand_room(&targets).await?;
        let mut accepted = Accepted::of(Vec::with_capacity(targets.len()));
        for target in targets {
            match target {
                Target::Local(account) => accepted.recipients.push(account.address),
                // What a user of ours sends on through an alias is submitted for that domain like anything else.
                Target::Remote(mailbox) if self.is_ours() => {
                    let there = self.remote(mailbox).await?;
                    accepted.recipients.extend(there.recipients);
                    accepted.to_be_sealed |= there.to_be_sealed;
                }
                Target::Remote(mailbox) => accepted.recipients.push(mailbox),
            }
        }
        Ok(accepted)
    }

    /// A mailbox server that takes no addresses in UTF-8 could be given the message for nobody, if it is the server of all.
    async fn demand_utf8(&self, targets: &[Target]) -> Result<(), Reply> {
        let open = self.transaction.as_ref();
        let sender = open.and_then(|open| open.mail.reverse_path.0.as_ref());
        let is_of_sender = sender.is_some_and(Mailbox::needs_utf8);
        for target in targets {
            let server = match target {
                Target::Local(account) if is_of_sender || account.address.needs_utf8() => {
                    self.services.mailboxes.server_of(&account.address)
                }
                _ => None,
            };
            let Some(server) = server else {
                return Ok(());
            };
            if server.takes_utf8().await != Some(false) {
                return Ok(());
            }
        }
        let text = "The mailbox server takes no internationalized addresses (SMTPUTF8): use one in ASCII";
        Err(reply(550, (5, 6, 7), text))
    }

    /// Whether the author has keys elsewhere, and somebody here can be sealed for: their mail goes as if it left and came
    /// back.
    async fn must_seal_for(&self, targets: &[Target]) -> Result<bool, Reply> {
        let Some(author) = &self.account else {
            return Ok(false);
        };
        let keeps_keys = author.trust_mode != TrustMode::Trustful;
        let can_seal = keeps_keys && self.policy(author.address.domain()).await?.is_some();
        if !can_seal || !self.has_signet(&author.address).await? {
            return Ok(false);
        }
        for target in targets {
            if let Target::Local(account) = target
                && self.has_signet(&account.address).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_signet(&self, address: &Mailbox) -> Result<bool, Reply> {
        let user = self.services.published.user(address).await;
        user.map(|user| user.is_some())
            .map_err(|error| self.fault(&error))
    }

    /// Not any more once the domain is on its way out of DIME: its record says that SMTP will do, and is gone before the
    /// domain is.
    async fn is_strict(&self, domain: &Domain) -> Result<bool, Reply> {
        if self.policy(domain).await? != Some(Policy::Strict) {
            return Ok(false);
        }
        let leaving = self.services.store.retirement(domain).await;
        Ok(leaving.map_err(|error| self.fault(&error))?.is_none())
    }

    /// The policy of a domain of ours with DIME.
    async fn policy(&self, domain: &Domain) -> Result<Option<Policy>, Reply> {
        let domain = self.services.store.local_domain(domain).await;
        let domain = domain.map_err(|error| self.fault(&error))?;
        Ok(domain.and_then(|domain| domain.dime).map(|dime| dime.policy))
    }

    /// Only our users and hosts send to others, and others to domains whose mail we take for them. Those who keep their keys elsewhere seal before they submit, in a domain with DIME.
    async fn remote(&self, mailbox: Mailbox) -> Result<Accepted, Reply> {
        let account = match &self.account {
            Some(account) => account,
            None if self.trusted.is_some() => return self.remote_of_trusted(mailbox).await,
            None => return self.relayed(mailbox).await,
        };
        let source = Source::Submission(account.address.clone());
        let facts = self.services.planner().facts(mailbox.domain(), &source).await;
        let facts = facts.map_err(|error| self.fault(&error))?;
        let can_seal = facts.sender_policy.is_some();
        let to_be_sealed = can_seal && matches!(routing::decide(&facts).route, Route::Dmtp { .. });
        if to_be_sealed && account.trust_mode != TrustMode::Trustful {
            return Err(to_be_sealed_at_home());
        }
        Ok(Accepted {
            to_be_sealed,
            ..Accepted::of(vec![mailbox])
        })
    }

    async fn start(&mut self, session: &Session) -> Result<(), Reply> {
        let taking = drain_watch::enter(&self.services)?;
        self.screen_data().await?;
        let id = QueueId::random(&mut rand::rng());
        let now = self.services.clock.now();
        let host = &self.services.config.server.hostname;
        let trace = Received {
            arrival: &self.arrival(session),
            host,
            id,
            time: now,
        };
        let author = self.account.as_ref().map(|account| account.address.domain());
        let author = author.or(self.trusted.map(|_| host));
        let completion = author.map(|domain| Completion {
            domain: domain.clone(),
            now,
            names: self.names_of_trusted(),
        });
        let store = self.services.store.as_ref();
        let begun = Intake::begin(store, id, host, &format!("{}{trace}", self.mark()), completion).await;
        let mut intake = begun.map_err(|error| self.fault(&error))?;
        let of_host = self.host_results();
        let is_ours = self.is_ours();
        if let Some(open) = &mut self.transaction {
            if let (false, Some(hello)) = (is_ours, session.hello()) {
                let address = self.peer.ip();
                let path = &open.mail.reverse_path;
                incoming::examination(&self.services, address, &hello.name, path, of_host)
                    .into_iter()
                    .for_each(|examination| intake.examine(examination));
            }
            if open.to_be_sealed && self.account.is_some() {
                intake.demand_sealable();
            }
            if open.mail.require_tls {
                intake.require_tls();
            }
            open.intake = Some(intake);
        }
        self.taking = Some(taking);
        Ok(())
    }

    /// A submitting user's address and device are not in it.
    fn arrival(&self, session: &Session) -> Arrival {
        let utf8 = self.transaction.as_ref().is_some_and(|open| open.mail.smtputf8);
        let tls = session.tls().is_some();
        match (self.is_ours(), session.hello()) {
            (false, Some(hello)) => Arrival::Transfer {
                hello: hello.name.clone(),
                address: self.peer.ip(),
                extended: hello.extended,
                utf8,
                tls,
            },
            _ => Arrival::Submission {
                utf8,
                tls,
                authenticated: self.account.is_some(),
            },
        }
    }

    async fn commit(&mut self, size_bytes: u64) -> Result<QueueId, Reply> {
        let _taking = self.taking.take();
        let Some(mut open) = self.transaction.take() else {
            return Err(replies::local_error());
        };
        let Some(intake) = open.intake.take() else {
            return Err(replies::local_error());
        };
        let id = intake.id();
        let complete = intake.finish().await.map_err(|failure| self.refusal(&failure))?;
        let Complete {
            writer,
            eight_bit,
            demand,
            examined,
            originators,
            deliveries,
        } = complete;
        refuse_circle(&deliveries, &open.recipients)?;
        self.demand_room_for_any(&open.recipients, size_bytes).await?;
        let suspected = incoming::judge(&self.services, &self.id, id, examined)?;
        let source = self.source(&open, originators).await?;
        let letter = Letter { writer, eight_bit };
        let (letter, held) = self.filter(id, &mut open, letter).await?;
        // Text and filters take their time, and the account may have been disabled since MAIL.
        self.demand_still_in().await?;
        let hold = suspected.or(held).map(|reason| self.hold(reason));
        let reserved = std::mem::take(&mut open.reserved);
        let screened = std::mem::take(&mut open.screened);
        let recipients = open.recipients.len();
        let form = (letter.writer.size_bytes(), letter.eight_bit);
        let message = self.message(id, open, source, form, demand);
        let sender = self
            .services
            .names()
            .hidden_sender(&message.envelope.reverse_path);
        let received_in_ms = message.envelope.received_in_ms;
        let is_held = hold.is_some();
        let committed = match hold {
            Some(hold) => letter.writer.commit_held(message, hold, None).await.map(drop),
            None => letter.writer.commit(message).await,
        };
        committed.map_err(|error| self.fault(&error))?;
        reserved.spend();
        screened.spend();
        self.accepted += 1;
        metrics::accepted(self.service());
        tracing::info!(
            event = observe::SMTP_MESSAGE_ACCEPTED,
            session.id = %self.id,
            message.id = %id,
            size_bytes,
            sender,
            recipients,
            held = is_held,
            delay.before_queue_ms = received_in_ms,
            "message accepted"
        );
        Ok(id)
    }

    /// By which service the message came, in one word.
    fn service(&self) -> &'static str {
        match (&self.account, self.trusted) {
            (Some(_), _) => "submission",
            (None, Some(_)) => "relay",
            (None, None) => "smtp",
        }
    }

    /// In whose name the message came; `named` are those whom it says that it is from.
    async fn source(
        &self,
        open: &Transaction,
        named: Option<Result<Vec<Mailbox>, Unreadable>>,
    ) -> Result<Source, Reply> {
        match &self.account {
            Some(account) => {
                self.check_originators(named).await?;
                Ok(Source::Submission(account.address.clone()))
            }
            None if self.trusted.is_some() => self.source_of_trusted(open, named).await,
            None => Ok(Source::Smtp),
        }
    }

    fn message(
        &self,
        id: QueueId,
        open: Transaction,
        source: Source,
        (size_bytes, eight_bit): (u64, bool),
        demand: Demand,
    ) -> NewMessage {
        let now = self.services.clock.now();
        let priority = Priority::of(&open.mail.reverse_path, open.recipients.len(), size_bytes);
        NewMessage {
            id,
            envelope: Envelope {
                reverse_path: open.mail.reverse_path,
                source,
                smtputf8: open.mail.smtputf8,
                eight_bit,
                demand,
                resealed: 0,
                received_in_ms: u32::try_from(open.begun.elapsed().as_millis()).unwrap_or(u32::MAX),
                request: open.mail.request,
            },
            content: Content::Mime,
            recipients: open.recipients,
            accepted_at: now,
            due_at: priority.due(now),
            ticket: None,
        }
    }

    fn refusal(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::Store(error) => self.fault(error),
            Failure::HeaderTooLong => reply(552, (5, 3, 4), "The header block is too long"),
            Failure::TooManyHops => reply(
                554,
                (5, 4, 6),
                "Too many Received fields: the message goes in circles",
            ),
            Failure::Header(error) => reply(550, (5, 6, 0), &capitalized(error)),
            Failure::Demand(error) => reply(550, (5, 6, 0), &capitalized(error)),
            Failure::Unsealable(crate::dime::convert::Error::TooLarge) => reply(
                552,
                (5, 3, 4),
                "A body part is too large for D/MIME 1, which the recipient's domain demands: send less than 16 MB at a time",
            ),
            Failure::Unsealable(crate::dime::convert::Error::HeaderTooLarge) => {
                reply(552, (5, 3, 4), "The header block is too long to be sealed")
            }
            Failure::Unsealable(crate::dime::convert::Error::Source(_)) | Failure::Interrupted => {
                self.fault(failure)
            }
            Failure::Unsealable(error) => {
                reply(550, (5, 6, 0), &format!("The message cannot be sealed: {error}"))
            }
        }
    }

    fn fault(&self, error: &(dyn std::error::Error + 'static)) -> Reply {
        tracing::error!(event = observe::SMTP_FAULT, session.id = %self.id, error = %Causes(error), "a session met a fault of ours");
        replies::local_error()
    }
}

/// Where every recipient has had the message before, the other side is told now, and nobody by mail.
fn refuse_circle(deliveries: &[Mailbox], recipients: &[Addressee]) -> Result<(), Reply> {
    let has_had = |recipient: &Addressee| {
        let mailbox = recipient.path.mailbox();
        // What stands for others has no mailbox.
        recipient.expanded
            || mailbox.is_some_and(|mailbox| deliveries.iter().any(|before| fold(before) == fold(mailbox)))
    };
    match recipients.iter().all(has_had) {
        true => Err(reply(
            554,
            (5, 4, 6),
            "The message has been in that mailbox before: it goes in circles",
        )),
        false => Ok(()),
    }
}

/// The message of an error as a sentence.
fn capitalized(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// For authors whose keys are at home. The server could send what they wrote only in the clear.
fn to_be_sealed_at_home() -> Reply {
    let text = "The recipient takes sealed mail, and your keys are not kept here: seal it at home (dimed message seal) \
                and submit it sealed (dimed message send)";
    reply(550, (5, 7, 1), text)
}

/// RFC 4954 §6: a temporary failure of the server.
fn too_many_logins() -> Reply {
    reply(454, (4, 7, 0), logins::TOO_MANY)
}

fn refuse(session: &mut Session, reply: Reply) {
    metrics::refused("smtp", reply.code);
    session.refuse(reply);
}

fn answer(session: &mut Session, answered: Result<(), Reply>) {
    match answered {
        Ok(()) => session.accept(),
        Err(reply) => refuse(session, reply),
    }
}

fn reply(code: u16, (class, subject, detail): (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, EnhancedStatus(class, subject, detail), text)
}
