//! Mail for accounts of ours.

use std::sync::Arc;

use super::maildir::{self, Maildirs, Room};
use super::{Diagnosis, Outcome};
use crate::accounts::{Accounts, Resolution, Target};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::reply::EnhancedStatus;
use crate::mail::trace::{delivered_to, deliveries, return_path};
use crate::store::{self, Account, Pieces, fold};

/// Delivers into Maildirs.
pub struct LocalDelivery {
    /// Who an address stands for.
    pub accounts: Arc<Accounts>,
    /// Where their mail lies.
    pub maildirs: Arc<Maildirs>,
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
    Room(Room),
    Spool,
}

impl LocalDelivery {
    /// Delivers to everybody the address stands for.
    pub async fn deliver(&self, job: &Job<'_>, body: &mut dyn Pieces) -> Report {
        match has_been_at(job.address, body).await {
            Ok(false) => {}
            Ok(true) => {
                let text = "the message has been in this mailbox before: it goes in circles";
                return Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 4, 6), text)).into();
            }
            Err(_) => return deferred("the message cannot be read").into(),
        }
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
                Target::Local(account) => match self.write(&account, job, body).await {
                    Ok(()) => {}
                    Err(Failure::Mailbox(error)) => return error.outcome().into(),
                    Err(Failure::Room(room)) => return no_room(room).into(),
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
    async fn write(&self, account: &Account, job: &Job<'_>, body: &mut dyn Pieces) -> Result<(), Failure> {
        // How much it will be is known once it is written.
        self.demand_room(account, 0).await?;
        let mut delivery = self
            .maildirs
            .begin(&account.address, job.copy)
            .await
            .map_err(Failure::Mailbox)?;
        let trace = return_path(job.reverse_path) + &delivered_to(job.address);
        delivery.write(trace.as_bytes()).await.map_err(Failure::Mailbox)?;
        let mut next = 0;
        while let Some(piece) = body.piece(next).await.map_err(|_| Failure::Spool)? {
            delivery.write(&piece).await.map_err(Failure::Mailbox)?;
            next += 1;
        }
        self.demand_room(account, delivery.size_bytes()).await?;
        delivery.commit().await.map_err(Failure::Mailbox)?;
        Ok(())
    }

    async fn demand_room(&self, account: &Account, octets: u64) -> Result<(), Failure> {
        match self.maildirs.room(account, octets).await {
            Ok(Room::Fits) => Ok(()),
            Ok(room) => Err(Failure::Room(room)),
            Err(error) => Err(Failure::Mailbox(error)),
        }
    }
}

/// A full mailbox may be emptied before the message is too old.
fn no_room(room: Room) -> Outcome {
    match room {
        Room::Never => Outcome::Failed(Diagnosis::local(
            EnhancedStatus(5, 2, 2),
            "the message is larger than the whole mailbox",
        )),
        Room::Fits | Room::Full => {
            Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 2, 2), "the mailbox is full"))
        }
    }
}

/// Whether the message was delivered to that address before: somebody who got it there sends it back. What stands behind
/// the first piece of a message is not looked at.
async fn has_been_at(address: &Mailbox, body: &mut dyn Pieces) -> Result<bool, store::Error> {
    let first = body.piece(0).await?.unwrap_or_default();
    let is_here = |before: Mailbox| fold(&before) == fold(address);
    Ok(deliveries(&first).any(is_here))
}

fn deferred(text: &str) -> Outcome {
    Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 3, 0), text))
}
