//! A sealed message read once more with its author's own keys, for the report that it could not be handed over.

use super::attempt::Mailer;
use super::plan::dime_form;
use crate::delivery::body::Body;
use crate::dime::convert;
use crate::dime::dmime1::{Limits, Message, open};
use crate::dime::dmime2::reader::{Reading, Signets};
use crate::dime::dmime2::signets::Known;
use crate::dime::dmime2::{self, Candidate, Outline};
use crate::mail::address::Mailbox;
use crate::store::blocking::{Reader, StoredBody};
use crate::store::{Claim, Content, Source, fold};

impl Mailer {
    /// For the report to a trustful author: whom the message was for, and its header, read with the author's own keys.
    pub(super) async fn reopen(&self, claim: &Claim, body: &mut Body) -> Option<(Mailbox, Vec<u8>)> {
        let Source::Submission(author) = &claim.envelope.source else {
            return None;
        };
        match claim.content {
            Content::Dmime1 => self.reopen_format1(claim, author, body).await,
            Content::Dmime2 => self.reopen_format2(author, body.stored()).await,
            Content::Mime | Content::Returned => None,
        }
    }

    async fn reopen_format1(
        &self,
        claim: &Claim,
        author: &Mailbox,
        body: &mut Body,
    ) -> Option<(Mailbox, Vec<u8>)> {
        let _share = self.budget.wait_for(claim.size_bytes).await;
        let object = body.whole().await.ok()?;
        let limits = Limits {
            size: object.len(),
            ..Limits::default()
        };
        let message = Message::parse(object, &limits).ok()?;
        let user = self.planner.published.user(author).await.ok()??;
        let view = open::open_sent_envelope(&message, user.keys.as_ref()?).ok()?;
        let recipient = view.envelope().destination.recipient.clone();
        let address = view.envelope().origin.author.clone();
        let opened = open::open_sent(&view, &address, &user.signet).ok()?;
        Some((recipient, convert::from_dmime1(&opened.content).mime.to_vec()))
    }

    /// With the author copy, if there is one. The header only if the message verifies once more.
    async fn reopen_format2(&self, author: &Mailbox, body: StoredBody) -> Option<(Mailbox, Vec<u8>)> {
        let address = dime_form(author);
        let candidates = self.planner.published.candidates(&fold(&address)).await.ok()?;
        let candidates: Vec<_> = candidates.into_iter().map(Candidate::from).collect();
        let mut source = Reader::new(body);
        let read = move || {
            let limits = dmime2::Limits { size: u64::MAX };
            let outline = Outline::read(&mut source, &limits).ok()?;
            let reading = Reading::as_author(&outline, &candidates, &address).ok()?;
            Some((source, reading))
        };
        let (source, reading) = tokio::task::spawn_blocking(read).await.ok()??;
        let recipient = reading.destination_envelope().recipient.clone();
        let header = self.header(reading, source).await;
        Some((recipient, header.unwrap_or_default()))
    }

    async fn header(&self, reading: Reading, source: Reader<StoredBody>) -> Option<Vec<u8>> {
        let directory = &self.planner.directory;
        let (from, to) = (reading.origin_envelope(), reading.destination_envelope());
        let created = reading.created();
        let own = self
            .planner
            .published
            .user_by(&from.author, from.author_signet.into())
            .await
            .ok()??;
        let origin = directory.named_organization(&to.origin, to.origin_signet, created);
        let origin = origin.await.ok()?;
        let destination = directory.named_organization(&from.destination, from.destination_signet, created);
        let destination = destination.await.ok()?;
        let recipient = directory
            .named_user(&destination.signet, &to.recipient, to.recipient_signet, created)
            .await
            .ok()?;
        let open = move || {
            let own = Known {
                signet: &own.signet,
                key_set: None,
                is_current: true,
            };
            let verified = reading.check(&Signets {
                author: Some(own),
                origin: Some(origin.known()),
                destination: Some(destination.known()),
                recipient: Some(recipient.known()),
            });
            let opened = verified.ok()?.open(source).ok()?;
            Some(convert::rebuilt_header(
                &opened.common_headers,
                &opened.other_headers,
            ))
        };
        tokio::task::spawn_blocking(open).await.ok()?
    }
}
