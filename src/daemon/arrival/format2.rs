//! D/MIME 2 as its destination: the origin is authenticated, the recipient found, and what comes of the object is
//! committed with its replay entry (`dmime2.md` §10.3).
//!
//! The object is read from the spool chunk by chunk, and what is delivered is written to the spool as it is read, so that
//! memory does not grow with the message.

use super::opening::{Mail, Opening, wrap};
use super::{Arrival, Refusal, Sender, aside};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::dime::dmime2::destination::{Account, Arrival as Arriving, Authenticated};
use crate::dime::dmime2::returned::{Scope, Ticket};
use crate::dime::dmime2::{Candidate, Limits, Outline, Refused, Rule};
use crate::dime::key_set::SignedKeySet;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;
use crate::mail::demand::Demand;
use crate::mail::notify::MessageRequest;
use crate::queue::priority::Priority;
use crate::signet_service::{LookupError, Named, Status, Wanted};
use crate::store::blocking::Reader;
use crate::store::{BodyWriter, Committed, Content, Envelope, NewMessage, ReplayEntry, Role, Source, fold};

/// Octets of a returned message that headers may be part of; above that the envelope alone goes back.
const MAX_RETURN: u64 = 256 << 10;

impl Arrival<'_> {
    /// Checks, opens and commits an object of format 2.
    pub(super) async fn take_format2(&self, object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let now = self.services.clock.now();
        let (object, arriving) = self.open_envelope(object, now).await?;
        let (authenticated, origin) = self.authenticate(arriving).await?;
        let admission = self.admit(&origin.signet, object.size_bytes()).await?;
        let keys = self.addressee(&authenticated).await?;
        let (object, authenticated, ticket) = self.ticket(object, authenticated).await?;
        let id = QueueId::random(&mut rand::rng());
        let mut writer = self.services.store.begin(id).await?;
        writer.write(self.trace(id, now).as_bytes()).await?;
        let mail = match keys {
            Some(keys) => {
                let opening = Opening {
                    arrival: self,
                    authenticated: &authenticated,
                    origin,
                    keys,
                    now,
                };
                opening.write(object, writer).await?
            }
            None => {
                let recipient = &authenticated.envelope().recipient;
                writer.write(self.wrapper(recipient, now).as_bytes()).await?;
                aside(self.services, self.size_bytes, move || wrap(object, writer)).await??
            }
        };
        let sender = Sender {
            admission,
            author: mail.author,
        };
        self.keep(&authenticated, (mail, sender), ticket, (id, now)).await
    }

    /// Steps 1 to 4.
    async fn open_envelope(
        &self,
        mut object: Box<dyn BodyWriter>,
        now: Timestamp,
    ) -> Result<(Box<dyn BodyWriter>, Arriving), Refusal> {
        let candidates = self.candidates(self.destination.as_str()).await?;
        let limits = Limits {
            size: self.services.config.limits.message_bytes.get(),
        };
        let work = move || {
            let outline = Outline::read(Reader::new(&mut object), &limits)?;
            let arriving = Arriving::open(&outline, &candidates, unix_secs(now))?;
            Ok((object, arriving))
        };
        aside(self.services, self.size_bytes, work).await?
    }

    /// Steps 5 to 7. No other domain is asked than that of MAIL.
    async fn authenticate(&self, arriving: Arriving) -> Result<(Authenticated, Named<VerifiedOrg>), Refusal> {
        arriving.check_peer(self.origin)?;
        let envelope = arriving.envelope();
        let leave = self.inquiry(Wanted::Full(envelope.origin_signet)).await?;
        let found = self
            .services
            .directory
            .named_organization(&envelope.origin, envelope.origin_signet, arriving.created())
            .await;
        let origin = known(found)?.ok_or(Refused::from(Rule::E4))?;
        let peer = self.origin.clone();
        let work = move || {
            let authenticated = arriving.check(&peer, Some(origin.known()))?;
            Ok::<_, Refusal>((authenticated, origin))
        };
        let authenticated = aside(self.services, self.size_bytes, work).await??;
        if let Some(leave) = leave {
            leave.give_back();
        }
        Ok(authenticated)
    }

    /// Steps 8 and 9: the keys that the recipient left with us, or none if the recipient keeps them.
    async fn addressee(&self, authenticated: &Authenticated) -> Result<Option<Vec<Candidate>>, Refusal> {
        let envelope = authenticated.envelope();
        let recipient = &envelope.recipient;
        let is_served = recipient.domain() == self.destination;
        let holder = match is_served {
            true => self.holder_of(recipient).await?,
            false => None,
        };
        let exists = holder.is_some();
        let keys = match &holder {
            Some(holder) => self.keys_of(holder).await?,
            None => None,
        };
        // What was sealed for a key that is gone can be opened by nobody here.
        let opens = |keys: &Vec<Candidate>| keys.iter().any(|key| key.signet == envelope.recipient_signet);
        let signet = match holder.filter(|_| keys.as_ref().is_none_or(opens)) {
            Some(holder) => self.signet_of(&holder, authenticated).await?,
            None => None,
        };
        let account = Account {
            is_served,
            exists,
            signet: signet.as_ref().map(Named::known),
        };
        authenticated.check_recipient(account).map_err(unreachable)?;
        Ok(keys)
    }

    pub(super) async fn has_account(&self, address: &Mailbox) -> Result<bool, Refusal> {
        let account = self.services.accounts.find(address).await;
        account
            .map(|account| account.is_some())
            .map_err(|_| Refusal::Fault)
    }

    /// All private KEM keys of a user who leaves them with us.
    pub(super) async fn keys_of(&self, address: &Mailbox) -> Result<Option<Vec<Candidate>>, Refusal> {
        match self.services.published.keeps_keys(address).await? {
            true => self.candidates(&fold(address)).await.map(Some),
            false => Ok(None),
        }
    }

    /// The signet of ours that the message was sealed for.
    async fn signet_of(
        &self,
        holder: &Mailbox,
        authenticated: &Authenticated,
    ) -> Result<Option<Named<VerifiedUser>>, Refusal> {
        let envelope = authenticated.envelope();
        let (address, wanted) = (&envelope.recipient, envelope.recipient_signet);
        let published = &self.services.published;
        let signet = published.user_signet_as(holder, address, wanted.into());
        let Some(signet) = signet.await? else {
            return Ok(None);
        };
        let current = published.status(&fold(holder), wanted.into()).await?;
        Ok(Some(Named {
            key_set: SignedKeySet::of(signet.signet()).ok().flatten(),
            is_current: current == Some(Status::Current),
            signet,
            sighting: None,
        }))
    }

    /// The own signets of a domain or address whose private KEM keys still exist.
    pub(super) async fn candidates(&self, name: &str) -> Result<Vec<Candidate>, Refusal> {
        let stored = self.services.published.candidates(name).await?;
        Ok(stored.into_iter().map(Candidate::from).collect())
    }

    /// What it will take to return the message, should it fail after our 250: never more than asked for, and never its text.
    async fn ticket(
        &self,
        mut object: Box<dyn BodyWriter>,
        authenticated: Authenticated,
    ) -> Result<(Box<dyn BodyWriter>, Authenticated, Ticket), Refusal> {
        let wanted = match self.returning {
            Some(_) => Scope::Headers,
            None => Scope::Envelope,
        };
        let work = move || {
            let source = Reader::new(&mut object);
            let ticket = Ticket::take(&authenticated, wanted, source, MAX_RETURN)?;
            Ok((object, authenticated, ticket))
        };
        aside(self.services, self.size_bytes, work).await?
    }

    /// Steps 10 and 11. A copy of what was taken before is answered like the first.
    async fn keep(
        &self,
        authenticated: &Authenticated,
        (mail, sender): (Mail, Sender),
        ticket: Ticket,
        (id, now): (QueueId, Timestamp),
    ) -> Result<QueueId, Refusal> {
        let recipient = &authenticated.envelope().recipient;
        let priority = Priority::of(&mail.reverse_path, 1, mail.writer.size_bytes());
        let message = NewMessage {
            id,
            envelope: Envelope {
                reverse_path: mail.reverse_path,
                source: Source::Dmtp(self.origin.clone()),
                smtputf8: false,
                eight_bit: mail.eight_bit,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![recipient.clone().into()],
            accepted_at: now,
            due_at: priority.due(now),
            ticket: Some(ticket.encode()),
        };
        let entry = ReplayEntry::of(Role::Destination, self.destination, &authenticated.replay());
        let kept = self
            .keep_once(mail.writer, (message, recipient), entry, sender)
            .await?;
        match kept {
            Committed::Stored | Committed::Duplicate => Ok(id),
            Committed::Conflict => Err(Refused::from(Rule::T3).into()),
        }
    }
}

/// A signet that there is, `None` for one that there is not; an error if that cannot be found out now.
pub(super) fn known<S>(found: Result<Named<S>, LookupError>) -> Result<Option<Named<S>>, Refusal> {
    match found.map_err(Refusal::from) {
        Ok(named) => Ok(Some(named)),
        Err(Refusal::SignetInvalid) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The origin may know why the recipient cannot be reached (§14).
fn unreachable(refused: Refused) -> Refusal {
    match refused.rule() {
        Rule::E4 => Refusal::Recipient,
        _ => Refusal::NoRecipient,
    }
}

pub(super) fn unix_secs(time: Timestamp) -> u64 {
    u64::try_from(time.unix_secs()).unwrap_or(0)
}
