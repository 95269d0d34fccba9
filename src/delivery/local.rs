//! Mail for accounts of ours.

use std::sync::Arc;

use super::maildir::{self, Maildirs};
use super::{Diagnosis, Outcome};
use crate::accounts::{Accounts, Resolution, Target};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::reply::EnhancedStatus;
use crate::mail::trace::return_path;
use crate::store::Pieces;

/// Delivers into Maildirs.
pub struct LocalDelivery {
    /// Who an address stands for.
    pub accounts: Arc<Accounts>,
    /// Where their mail lies.
    pub maildirs: Maildirs,
    /// Whether mail for traps is written, too; else it ends here.
    pub keeps_trap_mail: bool,
}

/// One copy of a message and whom it is for.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The address it was sent to.
    pub address: &'a Mailbox,
    /// Which copy of which message it is.
    pub copy: maildir::Copy,
    /// Where failures are reported.
    pub reverse_path: &'a ReversePath,
}

/// What became of one address.
#[derive(Debug)]
pub struct Report {
    /// Delivered, also when everything was forwarded; deferred or failed otherwise.
    pub outcome: Outcome,
    /// Mailboxes elsewhere that an alias leads to; the message is to be sent there.
    pub forward_to: Vec<Mailbox>,
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            forward_to: Vec::new(),
        }
    }
}

/// Why one mailbox could not be written.
enum Failure {
    Mailbox(maildir::Error),
    Spool,
}

impl LocalDelivery {
    /// Delivers to everybody the address stands for.
    pub async fn deliver(&self, job: &Job<'_>, body: &mut dyn Pieces) -> Report {
        let targets = match self.accounts.resolve(job.address).await {
            Ok(Resolution::Targets(targets)) => targets,
            Ok(Resolution::Unknown | Resolution::NotLocal) => {
                let diagnosis = Diagnosis::local(EnhancedStatus(5, 1, 1), "there is no such mailbox here");
                return Outcome::Failed(diagnosis).into();
            }
            Err(_) => return deferred("the address cannot be looked up").into(),
        };
        let mut forward_to = Vec::new();
        for target in targets {
            match target {
                Target::Remote(mailbox) => forward_to.push(mailbox),
                Target::Local(account) if account.trap_since.is_some() && !self.keeps_trap_mail => {}
                Target::Local(account) => match self.write(&account.address, job, body).await {
                    Ok(()) => {}
                    Err(Failure::Mailbox(error)) => return error.outcome().into(),
                    Err(Failure::Spool) => return deferred("the message cannot be read").into(),
                },
            }
        }
        Report {
            outcome: Outcome::Delivered,
            forward_to,
        }
    }

    /// Trace fields of this delivery, then the message, made durable.
    async fn write(&self, account: &Mailbox, job: &Job<'_>, body: &mut dyn Pieces) -> Result<(), Failure> {
        let mut delivery = self
            .maildirs
            .begin(account, job.copy)
            .await
            .map_err(Failure::Mailbox)?;
        let trace = format!(
            "{}Delivered-To: {}\r\n",
            return_path(job.reverse_path),
            job.address
        );
        delivery.write(trace.as_bytes()).await.map_err(Failure::Mailbox)?;
        let mut next = 0;
        while let Some(piece) = body.piece(next).await.map_err(|_| Failure::Spool)? {
            delivery.write(&piece).await.map_err(Failure::Mailbox)?;
            next += 1;
        }
        delivery.commit().await.map_err(Failure::Mailbox)?;
        Ok(())
    }
}

fn deferred(text: &str) -> Outcome {
    Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 3, 0), text))
}
