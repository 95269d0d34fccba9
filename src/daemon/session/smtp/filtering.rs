//! What filters say of mail while its client waits, and what follows. Sealed mail that comes by DMTP is not filtered.

use std::sync::Arc;

use super::{Accepted, Owner, Transaction, addressees, reply};
use crate::base::id::QueueId;
use crate::base::observe;
use crate::daemon::filtering::Letter;
use crate::filters::{self, Chain, Client, Filtered, Work};
use crate::mail::address::Mailbox;
use crate::mail::notify::RecipientRequest;
use crate::mail::reply::Reply;
use crate::smtp::command::MailFrom;
use crate::smtp::server::{self, Session};
use crate::store::blocking::Pieces as _;
use crate::store::{Hold, Recipient, fold};

impl Owner {
    /// MAIL: whether the filters let it begin.
    pub(super) async fn filter_mail(&mut self, session: &Session, mail: &MailFrom) -> Result<(), Reply> {
        if self.filters.is_none() {
            self.filters = self.chain(session).await;
        }
        let Some(chain) = &mut self.filters else {
            return Ok(());
        };
        let sender = filters::Sender {
            path: mail.reverse_path.clone(),
            size_bytes: mail.size_bytes,
            smtputf8: mail.smtputf8,
        };
        chain.mail(sender).await
    }

    /// RCPT: whether they let the recipient get it.
    pub(super) async fn filter_rcpt(&mut self, recipient: &Mailbox) -> Result<(), Reply> {
        match &mut self.filters {
            Some(chain) => chain.rcpt(recipient).await,
            None => Ok(()),
        }
    }

    /// The transaction is over without a message.
    pub(super) async fn filters_reset(&mut self) {
        if let Some(chain) = &mut self.filters {
            chain.reset().await;
        }
    }

    /// The client is somebody else from now on, or gone.
    pub(super) async fn filters_end(&mut self) {
        if let Some(mut chain) = self.filters.take() {
            chain.quit().await;
        }
    }

    async fn chain(&self, session: &Session) -> Option<Chain> {
        let services = &self.services;
        let filters = match self.is_ours() {
            true => &services.filters.submission,
            false => &services.filters.incoming,
        };
        if filters.is_empty() {
            return None;
        }
        let reverse = match &self.visit {
            Some(visit) if !self.is_ours() => Some(visit.reverse().await.clone()),
            _ => None,
        };
        let client = Client {
            host: services.config.server.hostname.clone(),
            address: self.peer.ip(),
            port: self.peer.port(),
            reverse,
            hello: session
                .hello()
                .map(|hello| hello.name.clone())
                .unwrap_or_default(),
            tls: session.tls().map(|tls| (tls.version.clone(), tls.cipher.clone())),
            login: self.account.as_ref().map(|account| account.address.clone()),
        };
        Some(Chain::new(filters.clone(), client, self.id))
    }

    /// The message: refused, or taken with what the filters changed; and why it is to be held, if it is.
    pub(super) async fn filter(
        &mut self,
        id: QueueId,
        open: &mut Transaction,
        mut letter: Letter,
    ) -> Result<(Letter, Option<String>), Reply> {
        let limits = self.limits_of_bodies();
        let Some(chain) = &mut self.filters else {
            return Ok((letter, None));
        };
        let work = Work {
            id,
            pieces: &mut letter.writer,
            store: Arc::clone(&self.services.store),
            limits,
        };
        let filtered = chain.message(work).await.map_err(|error| self.fault(&error))??;
        let Filtered {
            rewritten,
            added,
            deleted,
            sender,
            hold,
        } = filtered;
        if let Some(sender) = sender {
            open.mail.reverse_path = sender;
        }
        open.delete(&deleted);
        let was_to_be_sealed = open.to_be_sealed;
        for mailbox in &added {
            self.add(open, mailbox, letter.writer.size_bytes()).await?;
        }
        if open.recipients.is_empty() {
            let text = "A filter of this host leaves no recipient of the message";
            return Err(reply(550, (5, 7, 1), text));
        }
        let changed = match rewritten {
            Some(rewritten) => letter.rewrite(rewritten, open.to_be_sealed).await,
            None if open.to_be_sealed && !was_to_be_sealed => letter.checked().await,
            None => Ok(letter),
        };
        Ok((changed.map_err(|failure| self.refusal(&failure))?, hold))
    }

    /// What a client may send.
    fn limits_of_bodies(&self) -> filters::Limits {
        let limits = server::Limits::from(&self.services.config.limits);
        filters::Limits {
            octets: limits.message_bytes,
            line: limits.text_line_bytes,
        }
    }

    /// Somebody whom a filter wants to get the message, too, and who is taken as at RCPT. Who is not is left out, and the operator
    /// told; who is not now puts the message off.
    async fn add(&mut self, open: &mut Transaction, mailbox: &Mailbox, octets: u64) -> Result<(), Reply> {
        match self.added(open, mailbox, octets).await {
            Ok(()) => Ok(()),
            Err(reply) if !reply.is_permanent() => Err(reply),
            Err(reply) => {
                tracing::warn!(
                    event = observe::FILTER_ADDITION_REFUSED,
                    session.id = %self.id,
                    reply.code = reply.code,
                    reply.enhanced = reply.enhanced.map(tracing::field::display),
                    "a filter has added a recipient who cannot get the message"
                );
                Ok(())
            }
        }
    }

    async fn added(&mut self, open: &mut Transaction, mailbox: &Mailbox, octets: u64) -> Result<(), Reply> {
        let accepted = match self.returned_in(open, mailbox).await? {
            Some(accepted) => accepted,
            None => self.found(mailbox).await?,
        };
        let limit = self.services.config.limits.recipients.get();
        if open.recipients.len() + accepted.recipients.len() > limit {
            return Err(reply(550, (5, 5, 3), "There are too many recipients"));
        }
        let all = addressees(mailbox, accepted.recipients, RecipientRequest::default());
        self.demand_room_for_any(&all, octets).await?;
        open.to_be_sealed |= accepted.to_be_sealed;
        all.into_iter().for_each(|addressee| open.add(addressee));
        Ok(())
    }

    /// A filter may name anybody elsewhere, as the operator may.
    async fn found(&self, mailbox: &Mailbox) -> Result<Accepted, Reply> {
        let is_local = self.services.accounts.is_local(mailbox.domain()).await;
        match is_local.map_err(|error| self.fault(&error))? || self.is_ours() {
            true => self.resolved(mailbox).await,
            false => Ok(Accepted::of(vec![mailbox.clone()])),
        }
    }

    /// What holds a message.
    pub(super) fn hold(&self, reason: String) -> Hold {
        let held_for = self.services.config.filtering.held_for();
        let now = self.services.clock.now();
        Hold {
            reason,
            until: held_for.map(|held_for| now.after(held_for)),
        }
    }
}

impl Transaction {
    /// Those whom deleted addresses led to, and no other address, do not get the message.
    fn delete(&mut self, deleted: &[Mailbox]) {
        for mailbox in deleted {
            let is_named = |named: &Mailbox| fold(named) == fold(mailbox);
            let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.named)
                .into_iter()
                .partition(|(named, _)| is_named(named));
            self.named = stay;
            let leads_to = |list: &[(Mailbox, Vec<Recipient>)], path: &Recipient| {
                list.iter().any(|(_, paths)| paths.contains(path))
            };
            let (gone, stay) = (&gone, &self.named);
            self.recipients
                .retain(|recipient| !leads_to(gone, &recipient.path) || leads_to(stay, &recipient.path));
        }
    }
}
