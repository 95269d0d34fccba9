//! A sealed message read once more with its author's own keys: for the report that it could not be handed over, or to be
//! sealed again.

use std::collections::HashSet;
use std::io::Write;

use super::attempt::Mailer;
use super::plan::dime_form;
use crate::delivery::body::Body;
use crate::dime::convert;
use crate::dime::dmime1::open::{EnvelopeView, Opened as Opened1};
use crate::dime::dmime1::{Limits, Message, open};
use crate::dime::dmime2::content::Opened;
use crate::dime::dmime2::reader::{Reading, Signets};
use crate::dime::dmime2::signets::Known;
use crate::dime::dmime2::{self, Candidate, Outline};
use crate::dime::fingerprint::AnyFingerprint;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;
use crate::signet_service::{User, Wanted};
use crate::store::blocking::{Appender, Reader, StoredBody};
use crate::store::{BodyWriter, Claim, Content, Source, fold};

/// A whole message as it was before it was sealed.
pub(super) struct Reopened {
    /// Whom it is for.
    pub recipient: Mailbox,
    /// The signet that it was sealed for.
    pub sealed_for: AnyFingerprint,
    /// The message.
    pub writer: Box<dyn BodyWriter>,
}

/// The signets of a message that we sealed. They were in force when it was sealed, by ourselves.
struct Parties {
    author: VerifiedUser,
    origin: VerifiedOrg,
    destination: VerifiedOrg,
    recipient: VerifiedUser,
}

impl Mailer {
    /// For the report to a trustful author: whom the message was for, and its header, read with the author's own keys.
    pub(super) async fn reopen(&self, claim: &Claim, body: &mut Body) -> Option<(Mailbox, Vec<u8>)> {
        let Source::Submission(author) = &claim.envelope.source else {
            return None;
        };
        match claim.content {
            Content::Dmime1 => {
                let _share = self.budget.wait_for(claim.size_bytes).await;
                let (view, opened) = self.reopen_format1(author, body).await?;
                let recipient = view.envelope().destination.recipient.clone();
                Some((recipient, convert::from_dmime1(&opened.content).mime.to_vec()))
            }
            Content::Dmime2 => {
                let (reading, source) = self.read_format2(author, body.stored()).await?;
                let recipient = reading.destination_envelope().recipient.clone();
                let header = self.open_format2(reading, source).await.map(|(opened, _)| {
                    convert::rebuilt_header(&opened.common_headers, &opened.other_headers)
                });
                Some((recipient, header.unwrap_or_default()))
            }
            Content::Mime | Content::Returned => None,
        }
    }

    /// The message itself, written to `writer`; `None` if the author's keys are not here, or do not open it.
    pub(super) async fn reopen_whole(
        &self,
        claim: &Claim,
        author: &Mailbox,
        body: &mut Body,
        mut writer: Box<dyn BodyWriter>,
    ) -> Option<Reopened> {
        match claim.content {
            Content::Dmime1 => {
                let _share = self.budget.wait_for(claim.size_bytes).await;
                let (view, opened) = self.reopen_format1(author, body).await?;
                let mime = convert::from_dmime1(&opened.content).mime;
                writer.write(&mime).await.ok()?;
                let named = &view.envelope().destination;
                Some(Reopened {
                    recipient: named.recipient.clone(),
                    sealed_for: named.recipient_signet.into(),
                    writer,
                })
            }
            Content::Dmime2 => {
                let (reading, source) = self.read_format2(author, body.stored()).await?;
                let named = reading.destination_envelope().clone();
                let (opened, source) = self.open_format2(reading, source).await?;
                let writer = tokio::task::spawn_blocking(move || write(&opened, source, writer)).await;
                Some(Reopened {
                    recipient: named.recipient,
                    sealed_for: named.recipient_signet.into(),
                    writer: writer.ok()??,
                })
            }
            Content::Mime | Content::Returned => None,
        }
    }

    async fn reopen_format1(&self, author: &Mailbox, body: &mut Body) -> Option<(EnvelopeView, Opened1)> {
        let object = body.whole().await.ok()?;
        let limits = Limits {
            size: object.len(),
            ..Limits::default()
        };
        let message = Message::parse(object, &limits).ok()?;
        let (user, view) = self.sealed_by(author, &message).await?;
        let address = view.envelope().origin.author.clone();
        let opened = open::open_sent(&view, &address, &user.signet).ok()?;
        Some((view, opened))
    }

    /// The keys that the author sealed with: the current ones, or earlier ones that are still kept. The message tells only
    /// who can open it.
    async fn sealed_by(&self, author: &Mailbox, message: &Message) -> Option<(User, EnvelopeView)> {
        let address = dime_form(author);
        let history = self.store.signet_history(&fold(&address)).await.ok()?;
        // Signets that differ in the key set alone have the same keys for this format.
        let mut tried = HashSet::new();
        let newest_first = history.into_iter().rev();
        for past in newest_first.filter(|past| tried.insert(past.signet.crypto)) {
            let user = self
                .planner
                .published
                .user_by(&address, past.signet.crypto.into())
                .await;
            if let Ok(Some(user)) = user
                && let Some(keys) = &user.keys
                && let Ok(view) = open::open_sent_envelope(message, keys)
            {
                return Some((user, view));
            }
        }
        None
    }

    /// With the author copy, if there is one.
    async fn read_format2(
        &self,
        author: &Mailbox,
        body: StoredBody,
    ) -> Option<(Reading, Reader<StoredBody>)> {
        let address = dime_form(author);
        let candidates = self.planner.published.candidates(&fold(&address)).await.ok()?;
        let candidates: Vec<_> = candidates.into_iter().map(Candidate::from).collect();
        let mut source = Reader::new(body);
        let read = move || {
            let limits = dmime2::Limits { size: u64::MAX };
            let outline = Outline::read(&mut source, &limits).ok()?;
            let reading = Reading::as_author(&outline, &candidates, &address).ok()?;
            Some((reading, source))
        };
        tokio::task::spawn_blocking(read).await.ok()?
    }

    /// Only if the message verifies once more.
    async fn open_format2(
        &self,
        reading: Reading,
        mut source: Reader<StoredBody>,
    ) -> Option<(Opened, Reader<StoredBody>)> {
        let parties = self.parties_of_sent(&reading).await?;
        let open = move || {
            let verified = reading.check(&Signets {
                author: Some(as_sealed(&parties.author)),
                origin: Some(as_sealed(&parties.origin)),
                destination: Some(as_sealed(&parties.destination)),
                recipient: Some(as_sealed(&parties.recipient)),
            });
            let opened = verified.ok()?.open(&mut source).ok()?;
            Some((opened, source))
        };
        tokio::task::spawn_blocking(open).await.ok()?
    }

    async fn parties_of_sent(&self, reading: &Reading) -> Option<Parties> {
        let directory = &self.planner.directory;
        let (from, to) = (reading.origin_envelope(), reading.destination_envelope());
        let published = &self.planner.published;
        let author = published.user_by(&from.author, from.author_signet.into()).await;
        let origin = directory.organization(&to.origin, Wanted::Full(to.origin_signet));
        let origin = origin.await.ok()?;
        let destination = directory
            .organization(&from.destination, Wanted::Full(from.destination_signet))
            .await
            .ok()?;
        let recipient = directory
            .user_of(&destination, &to.recipient, Wanted::Full(to.recipient_signet))
            .await
            .ok()?;
        Some(Parties {
            author: author.ok()??.signet,
            origin,
            destination,
            recipient,
        })
    }
}

/// Header and body, on a thread that may wait.
fn write(
    opened: &Opened,
    source: Reader<StoredBody>,
    mut writer: Box<dyn BodyWriter>,
) -> Option<Box<dyn BodyWriter>> {
    let mut out = Appender::new(&mut *writer);
    let header = convert::rebuilt_header(&opened.common_headers, &opened.other_headers);
    out.write_all(&header).ok()?;
    opened.write_body(source, &mut out).ok()?;
    Some(writer)
}

fn as_sealed<S>(signet: &S) -> Known<'_, S> {
    Known {
        signet,
        key_set: None,
        is_current: true,
    }
}
