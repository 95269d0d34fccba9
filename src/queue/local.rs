//! Recipients in domains of ours, and those whom they stand for.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::{Mailer, Progress, our_fault};
use super::letter::Outgoing;
use super::plan::Planned;
use crate::base::id::QueueId;
use crate::delivery::body::Body;
use crate::delivery::local::{Job, Place, Recipients};
use crate::delivery::{Diagnosis, Outcome, maildir};
use crate::mail::address::Mailbox;
use crate::mail::notify::{MessageRequest, OriginalRecipient, RecipientRequest, Ret};
use crate::store::{
    self, Account, Addressee, Content, Envelope, FollowUp, FollowUpBody, NewMessage, Recipient, Source,
    Store, fold,
};

impl Mailer {
    /// To accounts of ours. Those of the mailbox server get the message together, each with a verdict of its own.
    ///
    /// Whoever stands for several others is replaced by them, before any of them gets the message: each then has a fate of
    /// its own, and none gets it twice because another one has to wait.
    pub(super) async fn deliver<'a>(&'a self, progress: &mut Progress<'a>, planned: Vec<Planned<'a>>) {
        let mut by_server = Vec::new();
        for one in planned {
            let outcome = match self.recipients(progress, &one).await {
                Ok(recipients) => match (&recipients.here[..], &recipients.elsewhere[..]) {
                    ([], []) => Outcome::Delivered,
                    ([Place::Maildir(account)], []) => self.write(progress, &one, account).await,
                    ([Place::Server(account)], []) => {
                        by_server.push((one, account.clone()));
                        continue;
                    }
                    _ => self.expand(progress, &one, recipients).await,
                },
                Err(outcome) => outcome,
            };
            progress.add_local(&one, outcome);
        }
        let mut outcomes = BTreeMap::new();
        for Transfer { named, accounts } in transfers(&by_server) {
            let told = self.to_server(progress, &accounts, named.as_ref()).await;
            outcomes.extend(accounts.into_iter().zip(told));
        }
        for (one, account) in by_server {
            let outcome = outcomes.get(&account).cloned();
            progress.add_local(&one, outcome.unwrap_or_else(|| Outcome::Deferred(our_fault())));
        }
    }

    async fn recipients(
        &self,
        progress: &mut Progress<'_>,
        planned: &Planned<'_>,
    ) -> Result<Recipients, Outcome> {
        let fault = || Outcome::Deferred(our_fault());
        let mailbox = planned.recipient.forward_path.mailbox().ok_or_else(fault)?;
        let reverse_path = &progress.claim.envelope.reverse_path;
        self.local
            .recipients(mailbox, reverse_path, &mut progress.body)
            .await
    }

    async fn write(&self, progress: &mut Progress<'_>, planned: &Planned<'_>, account: &Account) -> Outcome {
        let Some(address) = planned.recipient.forward_path.mailbox() else {
            return Outcome::Deferred(our_fault());
        };
        let job = Job {
            address,
            named: planned.recipient.named.as_ref(),
            copy: maildir::Copy {
                recipient: planned.recipient.id,
                accepted_at: progress.claim.accepted_at,
                sealed_anew: false,
                may_be_there: planned.recipient.attempts > 0,
            },
            reverse_path: &progress.claim.envelope.reverse_path,
            term: &progress.term,
        };
        self.local.write(account, &job, &mut progress.body).await
    }

    async fn to_server(
        &self,
        progress: &mut Progress<'_>,
        accounts: &[Mailbox],
        named: Option<&Mailbox>,
    ) -> Vec<Outcome> {
        let claim = progress.claim;
        let mut letter = Outgoing::home(self, claim, &mut progress.body, named);
        let outcomes = self
            .local
            .hand_over(
                &claim.envelope.reverse_path,
                accounts,
                named,
                &mut letter,
                &progress.term,
            )
            .await;
        progress.body.as_stored();
        outcomes
    }

    /// Accounts of ours become recipients of the message, mailboxes elsewhere those of a copy.
    async fn expand(
        &self,
        progress: &mut Progress<'_>,
        planned: &Planned<'_>,
        recipients: Recipients,
    ) -> Outcome {
        let request = expanded_from(planned);
        if !recipients.elsewhere.is_empty() {
            match progress.forward(self, recipients.elsewhere, &request).await {
                Ok(follow_up) => progress.settled.follow_ups.push(follow_up),
                Err(diagnosis) => return Outcome::Deferred(diagnosis),
            }
        }
        progress.put_instead(planned, recipients.here, &request);
        Outcome::Expanded
    }
}

impl Progress<'_> {
    /// Whoever is among the recipients at hand already gets the message once.
    fn put_instead(&mut self, planned: &Planned<'_>, here: Vec<Place>, request: &RecipientRequest) {
        let known = self.claim.recipients.iter().map(|known| &known.forward_path);
        let added = self.instead.values().flatten().map(|added| &added.path);
        let known: BTreeSet<String> = known
            .chain(added)
            .filter_map(Recipient::mailbox)
            .map(fold)
            .collect();
        let others = here
            .into_iter()
            .map(Place::into_address)
            .filter(|address| !known.contains(&fold(address)));
        let others = others.map(|address| Addressee {
            named: planned.recipient.named.clone(),
            ..Addressee::new(address, request.clone())
        });
        self.instead.insert(planned.recipient.id, others.collect());
    }

    /// The message once more, for the mailboxes elsewhere that an alias leads to. It goes on by SMTP, so what was opened
    /// here is made safe; the copy is never held whole.
    async fn forward(
        &mut self,
        mailer: &Mailer,
        targets: Vec<Mailbox>,
        request: &RecipientRequest,
    ) -> Result<FollowUp, Diagnosis> {
        let id = QueueId::random(&mut rand::rng());
        let (source, ticket, ret) = self.passed_on(mailer).await?;
        self.safe_size().await?;
        let copied = copy(&mut self.body, mailer.store.as_ref(), id).await;
        self.body.as_stored();
        let message = NewMessage {
            id,
            envelope: Envelope {
                source,
                request: MessageRequest {
                    ret,
                    ..self.claim.envelope.request.clone()
                },
                ..self.claim.envelope.clone()
            },
            content: Content::Mime,
            recipients: targets
                .into_iter()
                .map(|target| Addressee::new(target, request.clone()))
                .collect(),
            accepted_at: self.claim.counted_from,
            due_at: mailer.clock.now(),
            ticket,
        };
        Ok(FollowUp::new(message, copied.map_err(|_| our_fault())?))
    }

    /// Passed on, not written here: nobody of ours is its author. What was opened here stays its origin's, so that its failure is
    /// told as that of sealed mail, with what it takes to return it; and others are asked to return as little as they can.
    async fn passed_on(&self, mailer: &Mailer) -> Result<(Source, Option<Vec<u8>>, Option<Ret>), Diagnosis> {
        match &self.claim.envelope.source {
            Source::Dmtp(origin) => {
                let ticket = mailer.store.ticket(self.claim.message).await;
                let ticket = ticket.map_err(|_| our_fault())?;
                Ok((Source::Dmtp(origin.clone()), ticket, Some(Ret::Headers)))
            }
            _ => Ok((Source::Smtp, None, self.claim.envelope.request.ret)),
        }
    }
}

/// One message for accounts of the mailbox server.
struct Transfer {
    /// The address that all of them were named by, if it is another than theirs.
    named: Option<Mailbox>,
    /// In their order.
    accounts: Vec<Mailbox>,
}

/// Whoever was named by another address is told so by a field, and nobody else is. Each account gets one copy.
fn transfers(by_server: &[(Planned<'_>, Mailbox)]) -> Vec<Transfer> {
    let (mut transfers, mut known) = (Vec::<Transfer>::new(), BTreeSet::new());
    for (one, account) in by_server {
        if !known.insert(account) {
            continue;
        }
        let named = &one.recipient.named;
        match transfers.iter_mut().find(|transfer| transfer.named == *named) {
            Some(transfer) => transfer.accounts.push(account.clone()),
            None => transfers.push(Transfer {
                named: named.clone(),
                accounts: vec![account.clone()],
            }),
        }
    }
    transfers.iter_mut().for_each(|transfer| transfer.accounts.sort());
    transfers
}

/// What is to be told of those whom an address stands for: not that it succeeded, which is told of the address
/// (RFC 3461 §5.2.7.2).
fn expanded_from(planned: &Planned<'_>) -> RecipientRequest {
    let RecipientRequest { notify, original } = &planned.recipient.request;
    let named = planned.recipient.forward_path.mailbox();
    RecipientRequest {
        notify: notify.without_success(),
        original: original.clone().or_else(|| named.map(OriginalRecipient::of)),
    }
}

/// Another body with the same octets.
async fn copy(body: &mut Body, store: &dyn Store, id: QueueId) -> Result<FollowUpBody, store::Error> {
    let mut writer = store.begin(id).await?;
    body.rewind();
    while let Some(piece) = body.next().await? {
        writer.write(&piece).await?;
    }
    Ok(FollowUpBody::Spooled(writer.finish()))
}
