//! A returned message: mail of one of our authors that its destination took and could not deliver (`dmime2.md` §12.3,
//! §12.4).
//!
//! It is checked as the origin, and passed on to the author: as it is, or, for an author who leaves the keys with us, as a
//! report made of what those keys open. Telling the author and remembering the return are one step.

use super::format2::{known, unix_secs};
use super::opening::wrap;
use super::{Arrival, Refusal, aside, whole};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::convert::rebuilt_header;
use crate::dime::dmime2::envelope::{DestinationEnvelope, OriginEnvelope};
use crate::dime::dmime2::returned::{self, Evidence, Passed, Returned};
use crate::dime::dmime2::{Candidate, Limits, Refused, Rule};
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::signet::VerifiedOrg;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::dsn::{Action, FinalRecipient, Original, RecipientReport, Report};
use crate::mail::notify::MessageRequest;
use crate::mail::reply::EnhancedStatus;
use crate::signet_service::{Named, Wanted};
use crate::store::{BodyWriter, Committed, Content, Envelope, NewMessage, ReplayEntry, Role, Source};

/// Octets of a returned message at most: hashes of 4096 chunks and all the headers there can be. We ask for no more.
const MAX_BYTES: u64 = 1 << 20;

impl Arrival<'_> {
    /// Checks a returned message and tells its author.
    pub(super) async fn take_returned(&self, mut object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        if object.size_bytes() > MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        // It is held once as it came, once for the origin's checks, and once for the author's.
        let _share = self
            .services
            .arrivals
            .take(3 * object.size_bytes())
            .ok_or(Refusal::TooBusy)?;
        let octets = whole(object.as_mut()).await?;
        let now = self.services.clock.now();
        let (passed, destination) = self.check_return(octets.clone(), now).await?;
        let author = passed.envelope.author.clone();
        let id = QueueId::random(&mut rand::rng());
        let entry = ReplayEntry::of(Role::Returned, self.destination, &passed.returned.replay());
        let sent = ReplayEntry::of(Role::Origin, self.destination, &passed.returned.replay());
        if self.services.store.remembers(sent.untold()).await? {
            // The author asked to be told nothing (RFC 3461 §4.1).
            return Ok(id);
        }
        let report = self.report(octets, &author, &destination, (id, now)).await?;
        let mut writer = self.services.store.begin(id).await?;
        writer.write(self.trace(id, now).as_bytes()).await?;
        let writer = match report {
            Some(report) => {
                writer.write(&report).await?;
                writer
            }
            None => {
                writer.write(self.wrapper(&author, now).as_bytes()).await?;
                aside(self.services, self.size_bytes, move || wrap(object, writer))
                    .await??
                    .writer
            }
        };
        let message = self.news(id, author, now);
        match writer.commit_once(message, entry).await? {
            Committed::Stored | Committed::Duplicate => Ok(id),
            Committed::Conflict => Err(Refused::from(Rule::B6).into()),
        }
    }

    /// Rules B1 to B6 but for the memory. Also gives the destination's signets.
    async fn check_return(
        &self,
        octets: Vec<u8>,
        now: Timestamp,
    ) -> Result<(Passed, Vec<Named<VerifiedOrg>>), Refusal> {
        let candidates = self.candidates(self.destination.as_str()).await?;
        let open = move || {
            let returned = Returned::decode(octets, &Limits { size: MAX_BYTES })?;
            let reported = returned.reported();
            Ok::<_, Refusal>((returned.open_as_origin(&candidates)?, reported))
        };
        let (returned, reported) = aside(self.services, self.size_bytes, open).await??;
        let envelope = returned.envelope().clone();
        // Nobody but the peer is asked for a signet.
        if envelope.destination != *self.origin {
            return Err(Refused::from(Rule::B4).into());
        }
        // And not because of what anybody can make up.
        let own_keys = self.own_keys().await?;
        let (returned, own_keys) = aside(self.services, self.size_bytes, move || {
            returned.check_signed_here(&own_keys)?;
            Ok::<_, Refusal>((returned, own_keys))
        })
        .await??;
        let destination = self.signets_of_peer(&envelope, reported).await?;
        let is_ours = envelope.author.domain() == self.destination;
        let author_exists = is_ours && self.has_account(&envelope.author).await?;
        let peer = self.origin.clone();
        let check = move || {
            let known: Vec<_> = destination.iter().map(Named::known).collect();
            let passed = returned.check(&own_keys, &peer, &known, author_exists, unix_secs(now))?;
            Ok((passed, destination))
        };
        aside(self.services, self.size_bytes, check).await?
    }

    /// The destination's signets that may have signed the return: the one that the message was sealed for, its current
    /// one, and the one that the peer named in MAIL, because keys may have changed twice since.
    async fn signets_of_peer(
        &self,
        envelope: &OriginEnvelope,
        reported: u64,
    ) -> Result<Vec<Named<VerifiedOrg>>, Refusal> {
        let directory = &self.services.directory;
        let current = directory.organization(self.origin, Wanted::Current).await;
        let current = known(current.map(|signet| Named {
            signet,
            key_set: None,
            is_current: true,
            sighting: None,
        }))?;
        let mut signets: Vec<_> = current.into_iter().collect();
        let named = self.origin_signet.map(|named| FullFingerprint(named.0));
        for wanted in [Some(envelope.destination_signet), named].into_iter().flatten() {
            let is_new = |one: &Named<VerifiedOrg>| one.signet.full_fingerprint() != Some(wanted);
            if signets.iter().all(is_new) {
                let found = directory.named_organization(self.origin, wanted, reported).await;
                signets.extend(known(found)?);
            }
        }
        Ok(signets)
    }

    /// All POKs and message SOKs that our domain ever had: of some, the private halves are gone.
    async fn own_keys(&self) -> Result<Vec<VerifyingKey>, Refusal> {
        let past = self
            .services
            .published
            .past_organizations(self.destination)
            .await?;
        let mut keys = Vec::new();
        for key in past.iter().flat_map(VerifiedOrg::message_signing_keys) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The report for an author whose keys are here and open the return (rules B7, B8); `None` leaves it to the author.
    async fn report(
        &self,
        octets: Vec<u8>,
        author: &Mailbox,
        destination: &[Named<VerifiedOrg>],
        (id, now): (QueueId, Timestamp),
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(keys) = self.keys_of(author).await? else {
            return Ok(None);
        };
        let Some((returned, created, from, to)) = open_as_author(octets, &keys) else {
            return Ok(None);
        };
        let own = self
            .services
            .published
            .user_by(author, from.author_signet.into())
            .await?;
        let origin = self
            .services
            .directory
            .named_organization(&to.origin, to.origin_signet, created)
            .await;
        let origin = known(origin)?;
        let destination: Vec<_> = destination.iter().map(Named::known).collect();
        let checked = returned.check(&Evidence {
            account: author,
            own_key: own.map(|own| own.signet.signing_key()),
            origin: origin.as_ref().map(Named::known),
            destination: &destination,
            sent_to: None,
            now: unix_secs(now),
        });
        Ok(checked
            .ok()
            .map(|report| self.render(&report, author, created, (id, now))))
    }

    fn render(
        &self,
        report: &returned::Report,
        author: &Mailbox,
        created: u64,
        (id, now): (QueueId, Timestamp),
    ) -> Vec<u8> {
        let recipient = match &report.recipient {
            Some(recipient) => FinalRecipient::Mailbox(recipient.clone()),
            None => FinalRecipient::Sealed(self.origin.clone()),
        };
        let status = &report.status;
        let recipients = [RecipientReport {
            recipient,
            original: None,
            action: Action::Failed,
            status: EnhancedStatus(5, status.subject.into(), status.detail.into()),
            explanation: format!("{} took the message and could not deliver it", self.origin),
            remote: None,
            last_attempt_at: time(report.reported),
            will_retry_until: None,
        }];
        let content = report.content.as_ref();
        let header = content.and_then(|content| {
            let common = content.common_headers.as_ref()?;
            let other = content.other_headers.as_deref().unwrap_or_default();
            Some(rebuilt_header(common, other))
        });
        let report = Report {
            id,
            reporting_host: &self.services.config.server.hostname,
            to: author,
            date: now,
            arrived_at: time(created),
            envelope_id: None,
            recipients: &recipients,
            original: Original::Header(header.as_deref().unwrap_or_default()),
        };
        report.render()
    }

    fn news(&self, id: QueueId, author: Mailbox, now: Timestamp) -> NewMessage {
        NewMessage {
            id,
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Dmtp(self.origin.clone()),
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![author.into()],
            accepted_at: now,
            due_at: now,
            ticket: None,
        }
    }
}

type AuthorsView = (returned::ToAuthor, u64, OriginEnvelope, DestinationEnvelope);

/// With an author copy; without one, only the author's own memory can tell what it was.
fn open_as_author(octets: Vec<u8>, keys: &[Candidate]) -> Option<AuthorsView> {
    let returned = Returned::decode(octets, &Limits { size: MAX_BYTES }).ok()?;
    let created = returned.created();
    let returned = returned.open_as_author(keys).ok()?;
    let (from, to) = returned.envelopes()?;
    let (from, to) = (from.clone(), to.clone());
    Some((returned, created, from, to))
}

fn time(unix_secs: u64) -> Timestamp {
    Timestamp(0).after(std::time::Duration::from_secs(unix_secs))
}
