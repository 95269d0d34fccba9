//! Mail between users of ours of whom the recipient opens it elsewhere: what a trustful author writes is sealed, as if it
//! had left and come back, and delivered in a wrapper. It does not leave, so neither DNS nor a host is asked.

use std::sync::Arc;

use super::attempt::{Mailer, Progress, our_fault};
use super::log;
use super::parties::Sender;
use super::plan::{Error, Planned, Planner, Sealing, dime_form};
use crate::base::id::QueueId;
use crate::delivery::seal::Author;
use crate::delivery::{Outcome, local, maildir, wrapper};
use crate::dime::selection::Choice;
use crate::mail::address::{Mailbox, ReversePath};
use crate::routing::{self, Decision, DmtpFinding, Facts};
use crate::store::blocking::{Appender, Reader};
use crate::store::{self, BodyWriter, Claim, Source};

/// Who can seal for users of ours.
struct Writer {
    author: Arc<Author>,
    sender: Sender,
}

impl Planner {
    /// Decides for every recipient in a domain of ours.
    pub(super) async fn plan_local<'a>(
        &self,
        claim: &'a Claim,
        facts: &Facts,
    ) -> Result<Vec<Planned<'a>>, Error> {
        let writer = self.writer(&claim.envelope.source, facts).await?;
        let mut planned = Vec::with_capacity(claim.recipients.len());
        for recipient in &claim.recipients {
            let (decision, sealing) = match (&writer, recipient.forward_path.mailbox()) {
                (Some(writer), Some(mailbox)) => self.local(writer, mailbox, facts).await?,
                _ => (routing::decide(facts), None),
            };
            planned.push(Planned {
                recipient,
                decision,
                sealing,
            });
        }
        Ok(planned)
    }

    /// What would be decided for mail of `source` to an account of ours.
    pub async fn explain_local(&self, account: &Mailbox, source: &Source) -> Result<Decision, Error> {
        let facts = self.facts(account.domain(), source).await?;
        Ok(match self.writer(source, &facts).await? {
            Some(writer) => self.local(&writer, account, &facts).await?.0,
            None => routing::decide(&facts),
        })
    }

    async fn writer(&self, source: &Source, facts: &Facts) -> Result<Option<Writer>, Error> {
        let Ok(author) = self.author(source, facts).await? else {
            return Ok(None);
        };
        let signets = (author.address(), author.signet());
        let sender = self.sender(author.organization(), Some(signets)).await?;
        Ok(Some(Writer { author, sender }))
    }

    async fn local(
        &self,
        writer: &Writer,
        mailbox: &Mailbox,
        facts: &Facts,
    ) -> Result<(Decision, Option<Sealing>), Error> {
        let recipient = dime_form(mailbox);
        let user = self.published.user(&recipient).await?;
        let organization = self.published.organization(recipient.domain()).await?;
        let (Some(user), Some(organization)) = (user.filter(|user| user.keys.is_none()), organization) else {
            return Ok((routing::decide(facts), None));
        };
        let destination = organization.signet;
        let parties = self
            .parties(&writer.sender, &destination, (&recipient, &user.signet))
            .await?;
        let finding = match parties.choice {
            Choice::Hold(hold) => DmtpFinding::Held(hold),
            _ => DmtpFinding::SignetValid,
        };
        let decision = routing::decide(&Facts {
            finding,
            ..facts.clone()
        });
        let sealing = Sealing {
            author: Arc::clone(&writer.author),
            recipient,
            destination,
            signet: user.signet,
            choice: parties.choice,
        };
        let can_be_sealed = !matches!(parties.choice, Choice::Hold(_));
        Ok((decision, can_be_sealed.then_some(sealing)))
    }
}

impl Mailer {
    /// Seals for an account of ours and delivers that. The message stays as it is until the mailbox has it.
    pub(super) async fn deliver_sealed<'a>(
        &'a self,
        progress: &mut Progress<'a>,
        planned: &Planned<'a>,
        sealing: &Sealing,
    ) {
        let outcome = match self.wrapped(progress, sealing).await {
            Ok(mut wrapped) => self.deliver_wrapped(progress, planned, &mut wrapped).await,
            Err(outcome) => outcome,
        };
        log::local(progress.claim, &outcome, progress.elapsed());
        progress.add(planned, outcome);
    }

    async fn deliver_wrapped(
        &self,
        progress: &Progress<'_>,
        planned: &Planned<'_>,
        wrapped: &mut Box<dyn BodyWriter>,
    ) -> Outcome {
        let Some(address) = planned.recipient.forward_path.mailbox() else {
            return Outcome::Deferred(our_fault());
        };
        let job = local::Job {
            address,
            copy: maildir::Copy {
                recipient: planned.recipient.id,
                accepted_at: progress.claim.accepted_at,
            },
            // As the destination of a sealed message has it: who wrote is for the recipient alone.
            reverse_path: &ReversePath::NULL,
        };
        let report = self.local.deliver(&job, wrapped).await;
        match report.forward_to.is_empty() {
            true => report.outcome,
            // The account has just become an alias: that is planned anew.
            false => Outcome::Deferred(our_fault()),
        }
    }

    /// The sealed message in its wrapper, in the spool and nobody's.
    async fn wrapped(
        &self,
        progress: &mut Progress<'_>,
        sealing: &Sealing,
    ) -> Result<Box<dyn BodyWriter>, Outcome> {
        let mut object = self.object(progress, sealing).await?;
        let mut writer = self.begin().await?;
        let header = wrapper::header(&self.host, &sealing.recipient, self.clock.now());
        writer.write(header.as_bytes()).await.map_err(fault)?;
        let work = move || {
            let done = wrapper::body(Reader::new(&mut object), Appender::new(&mut *writer));
            done.map(|()| writer)
        };
        let written = tokio::task::spawn_blocking(work).await;
        written
            .map_err(|_| Outcome::Deferred(our_fault()))?
            .map_err(|_| Outcome::Deferred(our_fault()))
    }

    async fn object(
        &self,
        progress: &mut Progress<'_>,
        sealing: &Sealing,
    ) -> Result<Box<dyn BodyWriter>, Outcome> {
        match sealing.choice {
            Choice::Format2 { suite, author_copy } => {
                let sealed = self.seal_format2(progress, sealing, (suite, author_copy)).await?;
                Ok(sealed.writer)
            }
            Choice::Format1 => {
                let object = self.seal_format1(progress, sealing).await?;
                let mut writer = self.begin().await?;
                writer.write(&object).await.map_err(fault)?;
                Ok(writer)
            }
            Choice::Hold(_) => Err(Outcome::Deferred(our_fault())),
        }
    }

    async fn begin(&self) -> Result<Box<dyn BodyWriter>, Outcome> {
        let id = QueueId::random(&mut rand::rng());
        self.store.begin(id).await.map_err(fault)
    }
}

fn fault(_: store::Error) -> Outcome {
    Outcome::Deferred(our_fault())
}
