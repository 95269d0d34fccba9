//! Mail between users of ours of whom the recipient opens it elsewhere: what a trustful author writes is sealed, as if it
//! had left and come back, and delivered in a wrapper. It does not leave, so neither DNS nor a host is asked.

use std::sync::Arc;

use super::attempt::{Mailer, Progress, our_fault};
use super::parties::Sender;
use super::plan::{Error, Planned, Planner, Sealing, dime_form, unknown};
use crate::base::id::QueueId;
use crate::delivery::seal::Author;
use crate::delivery::{Outcome, local, maildir, wrapper};
use crate::dime::selection::{Actor, Choice};
use crate::mail::address::{Mailbox, ReversePath};
use crate::routing::{self, Decision, DmtpFinding, Facts};
use crate::store::blocking::{Appender, Reader};
use crate::store::{self, BodyWriter, Claim, Source, TrustMode};

/// Who can seal for users of ours.
struct Writer {
    author: Arc<Author>,
    sender: Sender,
}

impl Planner {
    /// Decides for every recipient in a domain of ours. What is wrong with one of those who keep their keys holds up that one
    /// alone.
    pub(super) async fn plan_local<'a>(
        &self,
        claim: &'a Claim,
        facts: &Facts,
    ) -> Result<Vec<Planned<'a>>, Error> {
        let mut writer = None;
        let mut planned = Vec::with_capacity(claim.recipients.len());
        for recipient in &claim.recipients {
            let (decision, sealing) = match recipient.forward_path.mailbox().map(dime_form) {
                Some(address) if self.is_at_home(&address).await? => {
                    if writer.is_none() {
                        writer = Some(self.writer(&claim.envelope.source, facts).await);
                    }
                    self.sealed_here(writer.as_ref(), address, facts).await
                }
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
        let address = dime_form(account);
        if !self.is_at_home(&address).await? {
            return Ok(routing::decide(&facts));
        }
        let writer = self.writer(source, &facts).await;
        Ok(self.sealed_here(Some(&writer), address, &facts).await.0)
    }

    /// Whether it is an account in a domain with DIME whose user keeps the keys.
    async fn is_at_home(&self, address: &Mailbox) -> Result<bool, Error> {
        let account = self.store.account(address).await?;
        if account.is_none_or(|account| account.trust_mode == TrustMode::Trustful) {
            return Ok(false);
        }
        let domain = self.store.local_domain(address.domain()).await?;
        Ok(domain.is_some_and(|domain| domain.dime.is_some()))
    }

    /// For somebody who keeps the keys. It waits while it cannot be found out whether it can be sealed.
    async fn sealed_here(
        &self,
        writer: Option<&Result<Option<Writer>, Error>>,
        recipient: Mailbox,
        facts: &Facts,
    ) -> (Decision, Option<Sealing>) {
        let decided = match writer {
            Some(Ok(Some(writer))) => self.local(writer, recipient, facts).await.ok(),
            Some(Ok(None)) => Some((routing::decide(facts), None)),
            Some(Err(_)) | None => None,
        };
        decided.unwrap_or_else(|| (held(facts), None))
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
        recipient: Mailbox,
        facts: &Facts,
    ) -> Result<(Decision, Option<Sealing>), Error> {
        let user = self.published.user(&recipient).await?;
        if user.is_none()
            && !self
                .store
                .signet_history(&store::fold(&recipient))
                .await?
                .is_empty()
        {
            // Somebody who had keys does not lose them because there is no signet now, as elsewhere.
            return Ok((held(facts), None));
        }
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
        progress.add_local(planned, outcome);
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
            named: None,
            copy: maildir::Copy {
                recipient: planned.recipient.id,
                accepted_at: progress.claim.accepted_at,
                sealed_anew: true,
                may_be_there: planned.recipient.attempts > 0,
            },
            // As the destination of a sealed message has it: who wrote is for the recipient alone.
            reverse_path: &ReversePath::NULL,
            term: &progress.term,
        };
        // If the account has just become an alias, that is planned anew.
        self.local.deliver(&job, wrapped).await
    }

    /// The sealed message in its wrapper, in the spool and nobody's.
    async fn wrapped(
        &self,
        progress: &mut Progress<'_>,
        sealing: &Sealing,
    ) -> Result<Box<dyn BodyWriter>, Outcome> {
        let mut object = self.object(progress, sealing).await?;
        let mut writer = self.begin().await?;
        let header = wrapper::header(&self.host, &sealing.recipient, progress.claim.accepted_at);
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

fn held(facts: &Facts) -> Decision {
    routing::decide(&Facts {
        finding: unknown(Actor::Recipient),
        ..facts.clone()
    })
}

fn fault(_: store::Error) -> Outcome {
    Outcome::Deferred(our_fault())
}
