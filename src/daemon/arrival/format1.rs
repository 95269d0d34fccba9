//! D/MIME 1: the object is signed as a whole, so it is held whole (`dmime.md` §13.3, §13.4).

use std::collections::HashSet;
use std::time::Duration;

use super::{Arrival, Refusal, Sender, aside, tried, whole};
use crate::base::id::QueueId;
use crate::crypto::ed25519::VerifyingKey;
use crate::delivery::wrapper;
use crate::dime::convert::{self, marker::Verification};
use crate::dime::dmime1::{Limits, Message, Refused, destination, open};
use crate::dime::keys::UserKeys;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::notify::MessageRequest;
use crate::queue::priority::Priority;
use crate::signet_service::{Organization, Wanted};
use crate::store::{BodyWriter, Content, Envelope, NewMessage, ReplayEntry, Source};

/// How long an object is remembered, so that a copy of it is not delivered again. Longer than any sender's queue.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// A message ready for the recipient's mailbox.
struct Delivery {
    reverse_path: ReversePath,
    mime: Vec<u8>,
    /// The verified author's signing key, if the message was opened.
    author: Option<VerifyingKey>,
}

impl Arrival<'_> {
    /// Checks, opens and commits an object of format 1.
    pub(super) async fn take_format1(&self, mut object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let arrivals = &self.services.arrivals;
        let _share = arrivals.take(object.size_bytes()).ok_or(Refusal::TooBusy)?;
        let octets = whole(object.as_mut()).await?;
        drop(object);
        self.take_whole(octets).await
    }

    async fn take_whole(&self, object: Vec<u8>) -> Result<QueueId, Refusal> {
        let octets = object.len() as u64;
        let limits = Limits {
            size: object.len(),
            ..Limits::default()
        };
        let message = Message::parse(object, &limits)?;
        let (organization, view) = self.open_as_destination(&message).await?;
        let envelope = view.envelope().clone();
        if envelope.origin != *self.origin {
            return Err(Refused.into());
        }
        let wanted = Wanted::Crypto(envelope.origin_signet);
        let leave = self.inquiry(wanted).await?;
        let directory = &self.services.directory;
        let origin = directory.organization(&envelope.origin, wanted).await?;
        let user = self
            .recipient(&envelope.recipient, envelope.recipient_signet)
            .await?;
        let checked = self.check(view, origin.clone(), user.signet.clone()).await?;
        if let Some(leave) = leave {
            leave.give_back();
        }
        let admission = self.admit(&origin, octets).await?;
        let message = checked.message();
        let delivery = match &user.keys {
            Some(keys) => {
                self.open_for_user(
                    message,
                    keys,
                    &envelope.recipient,
                    &user.signet,
                    origin,
                    organization.signet,
                )
                .await?
            }
            None => self.wrap(message, &envelope.recipient)?,
        };
        let sender = Sender {
            admission,
            author: delivery.author,
        };
        self.commit(message, envelope.recipient, delivery, sender).await
    }

    /// Checks the origin's signatures. A peer decides over how many octets and with how many keys.
    async fn check(
        &self,
        view: destination::DestinationView,
        origin: VerifiedOrg,
        recipient: VerifiedUser,
    ) -> Result<destination::CheckedArrival, Refusal> {
        let (peer, destination) = (self.origin.clone(), self.destination.clone());
        let octets = tried(self.size_bytes, &origin);
        let work = move || {
            view.check(&destination::Expected {
                peer: &peer,
                destination: &destination,
                origin: &origin,
                recipient: &recipient,
            })
        };
        Ok(aside(self.services, octets, work).await??)
    }

    /// Chunk 5 does not say which of our signets it was sealed for, so older keys are tried after the current ones.
    async fn open_as_destination(
        &self,
        message: &Message,
    ) -> Result<(Organization, destination::DestinationView), Refusal> {
        let published = &self.services.published;
        let current = published
            .organization(self.destination)
            .await?
            .ok_or(Refusal::Fault)?;
        if let Ok(view) = destination::open(message, &current.keys) {
            return Ok((current, view));
        }
        let history = self
            .services
            .store
            .signet_history(self.destination.as_str())
            .await?;
        // Signets that differ in the key set alone have the same keys for this format.
        let mut tried = HashSet::from([current.signet.crypto_fingerprint()]);
        for past in history
            .iter()
            .rev()
            .filter(|past| past.keys_kept && tried.insert(past.signet.crypto))
        {
            let older = published
                .organization_by(self.destination, past.signet.crypto.into())
                .await;
            if let Ok(Some(older)) = older
                && let Ok(view) = destination::open(message, &older.keys)
            {
                return Ok((older, view));
            }
        }
        Err(Refused.into())
    }

    /// Opens the message with the keys that a trustful user left with us, and marks who wrote it.
    async fn open_for_user(
        &self,
        message: &Message,
        keys: &UserKeys,
        address: &Mailbox,
        own: &VerifiedUser,
        origin: VerifiedOrg,
        destination: VerifiedOrg,
    ) -> Result<Delivery, Refusal> {
        let view = open::open_envelope(message, keys)?;
        let sealed = view.envelope().origin.clone();
        if sealed.author.domain() != self.origin {
            return Err(Refused.into());
        }
        let directory = &self.services.directory;
        let (author, sighting) = directory
            .author_of(&origin, &sealed.author, Wanted::Crypto(sealed.author_signet))
            .await?;
        let (address, own) = (address.clone(), own.clone());
        let author_key = author.signing_key();
        let octets = tried(self.size_bytes, &origin);
        let work = move || {
            let opened = open::open(
                &view,
                &open::Expected {
                    address: &address,
                    own: &own,
                    author: &author,
                    origin: &origin,
                    destination: &destination,
                },
            )?;
            let rebuilt = convert::from_dmime1(&opened.content).mime;
            Ok::<_, Refused>((opened, rebuilt))
        };
        let (opened, rebuilt) = aside(self.services, octets, work).await??;
        self.services.gate.admit_author(self.origin, author_key).await?;
        if let Some(sighting) = sighting {
            directory.remember_author(sighting).await?;
        }
        let marker = Verification::of_format1(&self.services.config.server.hostname, &opened).to_string();
        Ok(Delivery {
            reverse_path: ReversePath(Some(sealed.author)),
            mime: [marker.as_bytes(), &rebuilt].concat(),
            author: Some(author_key),
        })
    }

    /// For a user who keeps the private keys elsewhere: the object as it is, in a wrapper that names no author.
    fn wrap(&self, message: &Message, recipient: &Mailbox) -> Result<Delivery, Refusal> {
        let mut mime = self.wrapper(recipient, self.services.clock.now()).into_bytes();
        let object = message.without_tracing();
        wrapper::body(object.as_ref(), &mut mime).map_err(|_| Refusal::Fault)?;
        Ok(Delivery {
            reverse_path: ReversePath::NULL,
            mime,
            author: None,
        })
    }

    /// Message and replay token become durable together. A copy of what was taken before is answered like the first.
    async fn commit(
        &self,
        message: &Message,
        recipient: Mailbox,
        delivery: Delivery,
        sender: Sender,
    ) -> Result<QueueId, Refusal> {
        let now = self.services.clock.now();
        let id = QueueId::random(&mut rand::rng());
        let mut writer = self.services.store.begin(id).await?;
        writer.write(self.trace(id, now).as_bytes()).await?;
        writer.write(&delivery.mime).await?;
        let priority = Priority::of(&delivery.reverse_path, 1, writer.size_bytes());
        let new = NewMessage {
            id,
            envelope: Envelope {
                reverse_path: delivery.reverse_path,
                source: Source::Dmtp(self.origin.clone()),
                smtputf8: false,
                eight_bit: !delivery.mime.is_ascii(),
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![recipient.clone().into()],
            accepted_at: now,
            due_at: priority.due(now),
            ticket: None,
        };
        let entry = ReplayEntry::of_whole(message.replay_token().0, now.after(REMEMBERED_FOR));
        self.keep_once(writer, (new, &recipient), entry, sender).await?;
        Ok(id)
    }
}
