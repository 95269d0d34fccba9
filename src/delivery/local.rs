//! Mail for accounts of ours: into Maildirs, or to a mailbox server.

use std::collections::HashMap;
use std::sync::Arc;

use super::letter::{Letter, Plain};
use super::lmtp::LmtpDelivery;
use super::maildir::{self, Maildirs, Room};
use super::{Diagnosis, Outcome};
use crate::accounts::{self, Accounts, Resolution, Target};
use crate::authentication::{Srs, srs};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::notify::{OriginalRecipient, RecipientRequest};
use crate::mail::reply::EnhancedStatus;
use crate::mail::trace::{delivered_to, deliveries, original_to, return_path};
use crate::smtp::client::Recipient;
use crate::store::{self, Account, Pieces, Term, fold};

/// Delivers to our users.
pub struct LocalDelivery {
    /// Who an address stands for.
    pub accounts: Arc<Accounts>,
    /// Reads reverse-paths that were rewritten here.
    pub srs: Arc<Srs>,
    /// Where their mail lies.
    pub mailboxes: Arc<Mailboxes>,
    /// Whether mail for traps is written, too; else it ends here.
    pub keeps_trap_mail: bool,
}

/// How mail gets into mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// Written by us.
    Maildir,
    /// By a mailbox server.
    Lmtp,
}

/// Where the mail of all accounts lies.
pub struct Mailboxes {
    /// Of those whose mail we write.
    pub maildirs: Arc<Maildirs>,
    /// The mailbox server, if there is one.
    pub lmtp: Option<LmtpDelivery>,
    /// For domains that nothing else is said of.
    pub means: Means,
    /// For others.
    pub of_domains: HashMap<Domain, Means>,
}

impl Mailboxes {
    /// The mailbox server of an account, if it has one.
    pub fn server_of(&self, account: &Mailbox) -> Option<&LmtpDelivery> {
        let means = self.of_domains.get(account.domain()).unwrap_or(&self.means);
        self.lmtp.as_ref().filter(|_| *means == Means::Lmtp)
    }
}

/// Those whom an address stands for.
#[derive(Debug, Default)]
pub struct Recipients {
    /// Accounts of ours.
    pub here: Vec<Place>,
    /// Mailboxes elsewhere.
    pub elsewhere: Vec<Mailbox>,
}

/// Where an account's mail goes.
#[derive(Debug)]
pub enum Place {
    /// Into a Maildir.
    Maildir(Box<Account>),
    /// To the mailbox server.
    Server(Mailbox),
}

impl Place {
    /// The account's address.
    pub fn into_address(self) -> Mailbox {
        match self {
            Self::Maildir(account) => account.address,
            Self::Server(address) => address,
        }
    }
}

/// One copy of a message and whom it is for.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The address it was sent to.
    pub address: &'a Mailbox,
    /// The address by which the sender named it, if that is another.
    pub named: Option<&'a Mailbox>,
    /// Which copy of which message it is.
    pub copy: maildir::Copy,
    /// Where failures are reported.
    pub reverse_path: &'a ReversePath,
    /// When a session with the mailbox server is broken off, and no mailbox is written any more.
    pub term: &'a Term,
}

/// Why one mailbox could not be written.
enum Failure {
    Mailbox(maildir::Error),
    Room(Room),
    Spool,
}

impl LocalDelivery {
    /// Delivers a message of plain lines to the one account that the address is.
    pub async fn deliver(&self, job: &Job<'_>, body: &mut dyn Pieces) -> Outcome {
        let recipients = match self.recipients(job.address, job.reverse_path, body).await {
            Ok(recipients) => recipients,
            Err(outcome) => return outcome,
        };
        match (&recipients.here[..], &recipients.elsewhere[..]) {
            ([], []) => Outcome::Delivered,
            ([Place::Maildir(account)], []) => self.write(account, job, body).await,
            ([Place::Server(account)], []) => {
                let mut letter = Plain::new(body);
                let accounts = [account.clone()];
                let mut outcomes = self
                    .hand_over(job.reverse_path, &accounts, job.named, &mut letter, job.term)
                    .await;
                outcomes
                    .pop()
                    .unwrap_or_else(|| deferred("the mailbox server has not answered"))
            }
            _ => deferred("the account has become an alias"),
        }
    }

    /// Finds out whom an address stands for. Errors: what becomes of the message, if that is nobody, cannot be found out, or was
    /// the case before. What cannot come back reaches somebody where it is for a name of this host.
    pub async fn recipients(
        &self,
        address: &Mailbox,
        reverse_path: &ReversePath,
        body: &mut dyn Pieces,
    ) -> Result<Recipients, Outcome> {
        match has_been_at(address, body).await {
            Ok(false) => {}
            Ok(true) => {
                let text = "the message has been in this mailbox before: it goes in circles";
                return Err(Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 4, 6), text)));
            }
            Err(_) => return Err(deferred("the message cannot be read")),
        }
        match self.srs.read(address).await {
            Ok(srs::Read::Ordinary | srs::Read::Invalid) => {}
            // A report of ours on mail that came back to us under a path that we had rewritten.
            Ok(srs::Read::Sender(sender)) => {
                return Ok(Recipients {
                    elsewhere: vec![sender],
                    ..Recipients::default()
                });
            }
            Err(_) => return Err(deferred("the address cannot be looked up")),
        }
        let resolved = match reverse_path.is_null() {
            true => self.accounts.resolve_to_somebody(address).await,
            false => self.accounts.resolve(address).await,
        };
        let targets = match resolved {
            Ok(Resolution::Targets(targets)) => targets,
            Ok(Resolution::Unknown | Resolution::NotLocal) => {
                return Err(Outcome::Failed(self.nobody(address)));
            }
            Err(accounts::Error::AliasLoop) => {
                let text = "its aliases lead to nobody but each other";
                return Err(Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 4, 6), text)));
            }
            Err(_) => return Err(deferred("the address cannot be looked up")),
        };
        let mut recipients = Recipients::default();
        for target in targets {
            match target {
                Target::Remote(mailbox) => recipients.elsewhere.push(mailbox),
                Target::Local(account) if account.trap_since.is_some() && !self.keeps_trap_mail => {}
                Target::Local(account) => {
                    recipients
                        .here
                        .push(match self.mailboxes.server_of(&account.address) {
                            Some(_) => Place::Server(account.address),
                            None => Place::Maildir(account),
                        })
                }
            }
        }
        Ok(recipients)
    }

    fn nobody(&self, address: &Mailbox) -> Diagnosis {
        let text = match self.accounts.is_unserved(address) {
            true => "its alias is a program or a file, and mail is neither given nor written to those here",
            false => "there is no such mailbox here",
        };
        Diagnosis::local(EnhancedStatus(5, 1, 1), text)
    }

    /// Writes a message of plain lines into the account's Maildir.
    pub async fn write(&self, account: &Account, job: &Job<'_>, body: &mut dyn Pieces) -> Outcome {
        match self.try_to_write(account, job, body).await {
            Ok(()) => Outcome::Delivered,
            Err(Failure::Mailbox(error)) => error.outcome(),
            Err(Failure::Room(room)) => no_room(room),
            Err(Failure::Spool) => deferred("the message cannot be read"),
        }
    }

    /// Hands a message over to the mailbox server of these accounts, once; an outcome for each, in their order. `named` is the
    /// address that they were all named by, if it is another. A server that knows no details gets the account alone.
    pub async fn hand_over(
        &self,
        reverse_path: &ReversePath,
        accounts: &[Mailbox],
        named: Option<&Mailbox>,
        letter: &mut dyn Letter,
        term: &Term,
    ) -> Vec<Outcome> {
        let Some(server) = &self.mailboxes.lmtp else {
            return vec![deferred("there is no mailbox server"); accounts.len()];
        };
        let recipients = accounts.iter().map(|account| self.told(server, account, named));
        let recipients: Vec<_> = recipients.collect();
        let mut outcomes = server.deliver(reverse_path, &recipients, letter, term).await;
        for ((account, recipient), outcome) in accounts.iter().zip(recipients).zip(&mut outcomes) {
            if recipient.mailbox == *account || !is_nobody(outcome) {
                continue;
            }
            let plain = [Recipient {
                mailbox: account.clone(),
                ..recipient
            }];
            if let Some(again) = server.deliver(reverse_path, &plain, letter, term).await.pop() {
                *outcome = again;
            }
        }
        outcomes
    }

    /// An account as the mailbox server is told of it: with the detail by which it was named, if it was.
    fn told(&self, server: &LmtpDelivery, account: &Mailbox, named: Option<&Mailbox>) -> Recipient {
        let detailed = named
            .filter(|_| server.tells_details)
            .and_then(|named| self.accounts.with_detail(account, named));
        Recipient {
            mailbox: detailed.unwrap_or_else(|| account.clone()),
            request: RecipientRequest {
                original: named.map(OriginalRecipient::of),
                ..RecipientRequest::default()
            },
        }
    }

    /// Ends what is kept open for more mail.
    pub async fn close(&self) {
        if let Some(server) = &self.mailboxes.lmtp {
            server.close().await;
        }
    }

    /// Trace fields of this delivery, then the message, made durable.
    async fn try_to_write(
        &self,
        account: &Account,
        job: &Job<'_>,
        body: &mut dyn Pieces,
    ) -> Result<(), Failure> {
        let maildirs = &self.mailboxes.maildirs;
        if job.copy.may_be_there {
            let earlier = maildirs.earlier(&account.address, &job.copy).await;
            if earlier.map_err(Failure::Mailbox)?.is_some() {
                return Ok(());
            }
        }
        // How much it will be is known once it is written.
        demand_fit(maildirs.room(account, 0).await)?;
        let mut delivery = maildirs.begin(&account.address, job.copy);
        let named = job.named.map(original_to).unwrap_or_default();
        let trace = return_path(job.reverse_path) + &delivered_to(job.address) + &named;
        delivery.write(trace.as_bytes()).await.map_err(Failure::Mailbox)?;
        let mut next = 0;
        while let Some(piece) = body.piece(next).await.map_err(|_| Failure::Spool)? {
            delivery.write(&piece).await.map_err(Failure::Mailbox)?;
            next += 1;
        }
        demand_fit(maildirs.reserve(account, &mut delivery).await)?;
        delivery.commit(job.term).await.map_err(Failure::Mailbox)?;
        Ok(())
    }
}

fn demand_fit(room: Result<Room, maildir::Error>) -> Result<(), Failure> {
    match room {
        Ok(Room::Fits) => Ok(()),
        Ok(room) => Err(Failure::Room(room)),
        Err(error) => Err(Failure::Mailbox(error)),
    }
}

/// Whether the mailbox server has said that it has nobody of that address, or nothing but no.
fn is_nobody(outcome: &Outcome) -> bool {
    let is_of_address = |diagnosis: &Diagnosis| matches!(diagnosis.status, EnhancedStatus(_, 0 | 1, _));
    matches!(outcome, Outcome::Failed(diagnosis) if is_of_address(diagnosis))
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
