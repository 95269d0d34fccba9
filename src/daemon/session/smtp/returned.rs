//! Reports that come back to a reverse-path of ours that was rewritten (SRS), and go on to the sender.

use std::time::Instant;

use super::{Accepted, Owner, Transaction, reply};
use crate::authentication::srs::Read;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;
use crate::store::fold;

impl Owner {
    /// Who gets what comes for a rewritten reverse-path, if the address is one of ours. Only reports do, which come from nobody:
    /// whoever knows such an address must not send anything else to the sender through us, nor many of them.
    pub(super) async fn returned(&mut self, address: &Mailbox) -> Result<Option<Accepted>, Reply> {
        let Some(mut open) = self.transaction.take() else {
            return Ok(None);
        };
        let answered = self.returned_in(&mut open, address).await;
        self.transaction = Some(open);
        answered
    }

    /// The same in a transaction that is being completed.
    pub(super) async fn returned_in(
        &self,
        open: &mut Transaction,
        address: &Mailbox,
    ) -> Result<Option<Accepted>, Reply> {
        let Some(sender) = self.sender_behind(address).await? else {
            return Ok(None);
        };
        demand_report(open)?;
        // The path may have been rewritten here before, and by another forwarder in between.
        let sender = self.sender_behind(&sender).await?.unwrap_or(sender);
        let accepted = self.returned_to(&sender).await?;
        self.admit_report(open, &sender)?;
        Ok(Some(accepted))
    }

    async fn sender_behind(&self, address: &Mailbox) -> Result<Option<Mailbox>, Reply> {
        if !self.is_here(address.domain()).await? {
            return Ok(None);
        }
        let read = self.services.srs.read(address).await;
        match read.map_err(|error| self.fault(&error))? {
            Read::Ordinary => Ok(None),
            Read::Sender(sender) => Ok(Some(sender)),
            Read::Invalid => {
                let text = "This reverse-path was not rewritten here, or more than three weeks ago";
                Err(reply(550, (5, 1, 1), text))
            }
        }
    }

    /// Senders here, under a name of this host or in a domain that has come since, and those in relay domains are verified as
    /// other recipients are.
    async fn returned_to(&self, sender: &Mailbox) -> Result<Accepted, Reply> {
        if self.is_here(sender.domain()).await? {
            return self.resolved(sender).await;
        }
        let relayed = self.services.store.relay_domain(sender.domain()).await;
        if relayed.map_err(|error| self.fault(&error))?.is_some() {
            return self.relayed(sender.clone()).await;
        }
        Ok(Accepted::of(vec![sender.clone()]))
    }

    /// What is not sent in the end does not count.
    fn admit_report(&self, open: &mut Transaction, sender: &Mailbox) -> Result<(), Reply> {
        let reports = Some(&self.services.reports);
        match open.reserved.take(reports, fold(sender), Instant::now()) {
            true => Ok(()),
            false => {
                let text = "Too many reports for the sender behind this reverse-path, try again later";
                Err(reply(450, (4, 7, 1), text))
            }
        }
    }

    async fn is_here(&self, domain: &Domain) -> Result<bool, Reply> {
        let is_local = self.services.accounts.is_local(domain).await;
        is_local.map_err(|error| self.fault(&error))
    }
}

fn demand_report(open: &Transaction) -> Result<(), Reply> {
    match open.mail.reverse_path.is_null() {
        true => Ok(()),
        false => {
            let text =
                "This address takes reports alone, from the null reverse-path: write to the sender instead";
            Err(reply(550, (5, 7, 1), text))
        }
    }
}
