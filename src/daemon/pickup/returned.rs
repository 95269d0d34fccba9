//! Reports to senders whose message is whole and cannot be taken. `sendmail` would have told them; whoever else leaves files here
//! hears of it in no other way.

use super::{Failure, Pickup, Refused};
use crate::base::id::QueueId;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::dropped::Dropped;
use crate::mail::dsn::{Action, FinalRecipient, Original, RecipientReport, Report};
use crate::mail::notify::MessageRequest;
use crate::mail::reply::EnhancedStatus;
use crate::store::{self, Content, Envelope, NewMessage, ReplayEntry, Source};

/// What is wrong with a message.
pub(super) struct Fault {
    status: EnhancedStatus,
    text: String,
}

impl Fault {
    /// `None` if it is not the message's own.
    pub(super) fn of(refused: &Refused) -> Option<Self> {
        let Refused::Message(failure) = refused else {
            return None;
        };
        let status = match failure {
            Failure::Store(_) | Failure::Interrupted => return None,
            Failure::TooManyHops => EnhancedStatus(5, 4, 6),
            Failure::HeaderTooLong => EnhancedStatus(5, 3, 4),
            Failure::Header(_) | Failure::Demand(_) | Failure::Unsealable(_) => EnhancedStatus(5, 6, 0),
        };
        Some(Self {
            status,
            text: failure.to_string(),
        })
    }
}

impl Pickup {
    /// Tells the sender, if that is somebody who wants to know. `entry` is that of the file, so that it is told once; `front` is the
    /// start of the message.
    pub(super) async fn tell_sender(
        &self,
        sender: Option<&Mailbox>,
        envelope: &Dropped,
        (fault, front): (&Fault, &[u8]),
        entry: ReplayEntry,
    ) -> Result<(), store::Error> {
        let recipients = self.reports(envelope, fault);
        let Some(to) = sender.filter(|_| envelope.notify.of_failure() && !recipients.is_empty()) else {
            return Ok(());
        };
        let (id, now) = (QueueId::random(&mut rand::rng()), self.services.clock.now());
        let report = Report {
            id,
            reporting_host: &self.services.config.server.hostname,
            to,
            date: now,
            arrived_at: now,
            envelope_id: envelope.request.envelope_id.as_ref(),
            recipients: &recipients,
            original: Original::Header(front),
        };
        let octets = report.render();
        let message = NewMessage {
            id,
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Local,
                smtputf8: to.needs_utf8(),
                eight_bit: !octets.is_ascii(),
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![to.clone().into()],
            accepted_at: now,
            due_at: now,
            ticket: None,
        };
        let mut writer = self.services.store.begin(id).await?;
        writer.write(&octets).await?;
        writer.commit_once(message, entry).await?;
        Ok(())
    }

    fn reports(&self, envelope: &Dropped, fault: &Fault) -> Vec<RecipientReport> {
        let now = self.services.clock.now();
        let named = envelope.recipients.iter();
        let named = named.filter_map(|name| self.services.host.named(name));
        let report = |mailbox| RecipientReport {
            recipient: FinalRecipient::Mailbox(mailbox),
            original: None,
            action: Action::Failed,
            status: fault.status,
            explanation: fault.text.clone(),
            remote: None,
            last_attempt_at: now,
            will_retry_until: None,
        };
        named.map(report).collect()
    }
}
