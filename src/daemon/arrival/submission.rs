//! An object that one of our users sealed at home: checked as origin, signed, and queued for the domain that its envelope
//! for us names (`dmime2.md` §10.2, `dmime.md` §13.2). Who the recipient is stays sealed.

use std::collections::HashSet;

use tokio::time::timeout;

use super::format2::{known, unix_secs};
use super::{DEADLINE, Refusal, aside, whole};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::daemon::Services;
use crate::dime::dmime1::envelope::OriginEnvelope;
use crate::dime::dmime1::origin::{self, Bounces};
use crate::dime::dmime1::{self, Message, Refused as Refused1};
use crate::dime::dmime2::origin::{Admissible, Submission as Submitted};
use crate::dime::dmime2::{Candidate, Limits, Outline, Refused, Rule, layout};
use crate::dime::keys::OrgKeys;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::notify::MessageRequest;
use crate::queue::plan::dime_form;
use crate::signet_service::{LookupError, Named, Organization, Wanted};
use crate::store::blocking::Reader;
use crate::store::{
    Account, BodyWriter, Committed, Content, Envelope, NewMessage, Recipient, ReplayEntry, Role, Source,
};

/// One object, who submits it, and where the transaction says that it goes.
pub struct Submission<'a> {
    /// What it takes to check it.
    pub services: &'a Services,
    /// Who has logged in.
    pub account: &'a Account,
    /// The domain that was named in RCPT.
    pub destination: &'a Domain,
    /// Octets of the object.
    pub size_bytes: u64,
    /// Under which the object lies in the spool.
    pub id: QueueId,
}

impl Submission<'_> {
    /// Checks, signs and commits. When this returns, the one final reply may be sent.
    pub async fn take(&self, object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let taken = timeout(DEADLINE, self.take_in_time(object)).await;
        taken.unwrap_or(Err(Refusal::DestinationUnavailable))
    }

    async fn take_in_time(&self, mut object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let first = object.read_piece(0).await?.unwrap_or_default();
        match first.first_chunk().copied().map(u16::from_be_bytes) {
            Some(layout::MAGIC) => self.take_format2(object).await,
            _ => self.take_format1(object).await,
        }
    }

    fn origin(&self) -> &Domain {
        self.account.address.domain()
    }

    /// An account writes under its own address only (rule E6).
    fn is_author(&self, author: &Mailbox) -> bool {
        *author == dime_form(&self.account.address)
    }

    async fn take_format2(&self, object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let now = self.services.clock.now();
        let (mut object, submitted) = self.open_format2(object, now).await?;
        let admissible = self.check_format2(submitted).await?;
        self.demand_destination(&admissible.envelope().destination)?;
        let own = self
            .services
            .published
            .organization_by(self.origin(), admissible.own_signet().into())
            .await?
            .ok_or(Refusal::Fault)?;
        let entry = ReplayEntry::of(Role::Origin, self.origin(), &admissible.replay());
        let signed = aside(self.services, self.size_bytes, move || {
            admissible.sign(&own.keys.signing)
        })
        .await?;
        object.overwrite(signed.offset, &signed.octets).await?;
        self.keep(object, Content::Dmime2, entry, (self.id, now)).await
    }

    /// Steps 1 to 4.
    async fn open_format2(
        &self,
        mut object: Box<dyn BodyWriter>,
        now: Timestamp,
    ) -> Result<(Box<dyn BodyWriter>, Submitted), Refusal> {
        let published = &self.services.published;
        let candidates = published.candidates(self.origin().as_str()).await?;
        let candidates: Vec<Candidate> = candidates.into_iter().map(Candidate::from).collect();
        let limits = Limits {
            size: self.services.config.limits.message_bytes.get(),
        };
        let work = move || {
            let outline = Outline::read(Reader::new(&mut object), &limits)?;
            let submitted = Submitted::open(&outline, &candidates, unix_secs(now))?;
            Ok((object, submitted))
        };
        aside(self.services, self.size_bytes, work).await?
    }

    /// Steps 5 to 8. Nobody is asked for a signet before the author is known to be the submitter.
    async fn check_format2(&self, submitted: Submitted) -> Result<Admissible, Refusal> {
        let envelope = submitted.envelope().clone();
        if !self.is_author(&envelope.author) {
            return Err(Refused::from(Rule::E6).into());
        }
        let created = submitted.created();
        let organization = self.organization().await?.signet;
        let directory = &self.services.directory;
        let author = directory
            .named_author(&organization, &envelope.author, envelope.author_signet, created)
            .await;
        let author = named(author)?;
        let destination = directory
            .named_organization(&envelope.destination, envelope.destination_signet, created)
            .await;
        let destination = named(destination)?;
        let origin = self.origin().clone();
        let work = move || {
            let author = author.as_ref().map(Named::known);
            let destination = destination.as_ref().map(Named::known);
            submitted.check(&origin, true, author, destination)
        };
        Ok(aside(self.services, self.size_bytes, work).await??)
    }

    async fn take_format1(&self, mut object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let now = self.services.clock.now();
        let arrivals = &self.services.arrivals;
        let _share = arrivals.take(object.size_bytes()).ok_or(Refusal::TooBusy)?;
        let octets = whole(object.as_mut()).await?;
        drop(object);
        let limits = dmime1::Limits {
            size: octets.len(),
            ..dmime1::Limits::default()
        };
        let message = Message::parse(octets, &limits)?;
        let entry = ReplayEntry::of_submission(
            message.replay_token().0,
            self.origin(),
            now.after(super::format1::REMEMBERED_FOR),
        );
        let signed = self.sign_format1(message).await?;
        let id = QueueId::random(&mut rand::rng());
        let mut object = self.services.store.begin(id).await?;
        object.write(&signed).await?;
        self.keep(object, Content::Dmime1, entry, (id, now)).await
    }

    /// Every check of `dmime.md` §13.2, and the origin's signatures.
    async fn sign_format1(&self, message: Message) -> Result<Vec<u8>, Refusal> {
        let (view, keys) = self.open_format1(&message).await?;
        let envelope = view.envelope().clone();
        if !self.is_author(&envelope.author) {
            return Err(Refused1.into());
        }
        let (author, destination) = self.parties_format1(&envelope).await?;
        let (submitter, origin) = (envelope.author.clone(), self.origin().clone());
        let work = move || {
            let checked = view.check(&origin::Expected {
                submitter: &submitter,
                origin: &origin,
                author: &author,
                destination: &destination,
            })?;
            origin::sign(&checked, &keys.signing, Bounces::default())
        };
        let signed = aside(self.services, self.size_bytes, work).await??;
        self.demand_destination(&envelope.destination)?;
        Ok(signed)
    }

    /// Chunk 4 does not say which of our signets it was sealed for, so older keys are tried after the current ones.
    async fn open_format1(&self, message: &Message) -> Result<(origin::OriginView, OrgKeys), Refusal> {
        let current = self.organization().await?;
        let mut tried = HashSet::from([current.signet.crypto_fingerprint()]);
        if let Ok(view) = origin::open(message, &current.keys) {
            return Ok((view, current.keys));
        }
        let services = self.services;
        let history = services.store.signet_history(self.origin().as_str()).await?;
        for past in history
            .iter()
            .rev()
            .filter(|past| past.keys_kept && tried.insert(past.signet.crypto))
        {
            let older = services
                .published
                .organization_by(self.origin(), past.signet.crypto.into())
                .await;
            if let Ok(Some(older)) = older
                && let Ok(view) = origin::open(message, &older.keys)
            {
                return Ok((view, older.keys));
            }
        }
        Err(Refused1.into())
    }

    /// The author's current signet, for the format has no dates, and the destination's that the envelope names.
    async fn parties_format1(
        &self,
        envelope: &OriginEnvelope,
    ) -> Result<(VerifiedUser, VerifiedOrg), Refusal> {
        let services = self.services;
        let author = services.published.user(&envelope.author).await?;
        let author = author.ok_or(Refused1)?.signet;
        if author.crypto_fingerprint() != envelope.author_signet {
            return Err(Refused1.into());
        }
        let destination = services
            .directory
            .organization(&envelope.destination, Wanted::Crypto(envelope.destination_signet))
            .await;
        Ok((author, destination.map_err(of_destination)?))
    }

    async fn organization(&self) -> Result<Organization, Refusal> {
        let organization = self.services.published.organization(self.origin()).await?;
        organization.ok_or(Refusal::Fault)
    }

    fn demand_destination(&self, sealed_for: &Domain) -> Result<(), Refusal> {
        match sealed_for == self.destination {
            true => Ok(()),
            false => Err(Refusal::OtherDestination),
        }
    }

    /// The signed object and the memory of it become durable together. A copy is answered like the first.
    async fn keep(
        &self,
        object: Box<dyn BodyWriter>,
        content: Content,
        entry: ReplayEntry,
        (id, now): (QueueId, Timestamp),
    ) -> Result<QueueId, Refusal> {
        let address = &self.account.address;
        let message = NewMessage {
            id,
            envelope: Envelope {
                reverse_path: ReversePath(Some(address.clone())),
                source: Source::Submission(address.clone()),
                smtputf8: false,
                eight_bit: true,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content,
            recipients: vec![Recipient::Sealed(self.destination.clone()).into()],
            accepted_at: now,
            due_at: now,
            ticket: None,
        };
        match object.commit_once(message, entry).await? {
            Committed::Stored | Committed::Duplicate => Ok(id),
            Committed::Conflict => Err(Refused::from(Rule::T3).into()),
        }
    }
}

/// A signet that there is, `None` for one that there is not.
fn named<S>(found: Result<Named<S>, LookupError>) -> Result<Option<Named<S>>, Refusal> {
    known(found).map_err(|refusal| match refusal {
        Refusal::SignetUnavailable => Refusal::DestinationUnavailable,
        other => other,
    })
}

fn of_destination(error: LookupError) -> Refusal {
    match Refusal::from(error) {
        Refusal::SignetUnavailable => Refusal::DestinationUnavailable,
        other => other,
    }
}
