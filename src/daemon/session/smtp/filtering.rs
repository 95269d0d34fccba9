//! What filters say of mail while its client waits, and what follows. Sealed mail that comes by DMTP is not filtered.

use std::sync::Arc;

use super::{Owner, Transaction, reply};
use crate::accounts::{Resolution, Target};
use crate::base::id::QueueId;
use crate::base::observe;
use crate::daemon::intake;
use crate::filters::{self, Chain, Client, Filtered, Rewritten, Work};
use crate::mail::address::Mailbox;
use crate::mail::reply::Reply;
use crate::smtp::command::MailFrom;
use crate::smtp::server::Session;
use crate::store::blocking::Pieces;
use crate::store::{Addressee, BodyWriter, Hold, Recipient, fold};

/// A message that is complete in the spool, and not committed.
pub(super) struct Letter {
    pub(super) writer: Box<dyn BodyWriter>,
    pub(super) eight_bit: bool,
}

impl Owner {
    /// MAIL: whether the filters let it begin.
    pub(super) async fn filter_mail(&mut self, session: &Session, mail: &MailFrom) -> Result<(), Reply> {
        if self.filters.is_none() {
            self.filters = self.chain(session);
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

    fn chain(&self, session: &Session) -> Option<Chain> {
        let services = &self.services;
        let filters = match self.is_ours() {
            true => &services.filters.submission,
            false => &services.filters.incoming,
        };
        let client = Client {
            host: services.config.server.hostname.clone(),
            address: self.peer.ip(),
            port: self.peer.port(),
            hello: session
                .hello()
                .map(|hello| hello.name.clone())
                .unwrap_or_default(),
            tls: session.tls().map(|tls| (tls.version.clone(), tls.cipher.clone())),
            login: self.account.as_ref().map(|account| account.address.clone()),
        };
        (!filters.is_empty()).then(|| Chain::new(filters.clone(), client, self.id))
    }

    /// The message: refused, or taken with what the filters changed; and why it is to be held, if it is.
    pub(super) async fn filter(
        &mut self,
        id: QueueId,
        open: &mut Transaction,
        mut letter: Letter,
    ) -> Result<(Letter, Option<String>), Reply> {
        let Some(chain) = &mut self.filters else {
            return Ok((letter, None));
        };
        let work = Work {
            id,
            pieces: &mut letter.writer,
            store: Arc::clone(&self.services.store),
            limit: self.services.config.limits.message_bytes.get(),
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
        for mailbox in &added {
            self.add(open, mailbox).await?;
        }
        if open.recipients.is_empty() {
            let text = "A filter of this host leaves no recipient of the message";
            return Err(reply(550, (5, 7, 1), text));
        }
        match rewritten {
            Some(rewritten) => Ok((self.rewrite(open, letter, rewritten).await?, hold)),
            None => Ok((letter, hold)),
        }
    }

    async fn rewrite(
        &self,
        open: &Transaction,
        mut letter: Letter,
        rewritten: Rewritten,
    ) -> Result<Letter, Reply> {
        let Rewritten { front, start, body } = rewritten;
        let (mut body, eight_bit) = match body {
            Some(body) => (Some(body.writer), body.eight_bit),
            None => (None, letter.eight_bit),
        };
        let pieces = body.as_mut().map(|body| body as &mut dyn Pieces);
        let written = filters::rewrite(&mut letter.writer, start, &front, pieces).await;
        written.map_err(|error| self.fault(&error))?;
        letter.eight_bit = eight_bit || !front.is_ascii();
        if open.to_be_sealed {
            let checked = intake::check(letter.writer).await;
            letter.writer = checked.map_err(|failure| self.refusal(&failure))?;
        }
        Ok(letter)
    }

    /// Somebody whom a filter wants to get the message, too. Whom nobody here knows, or who would be too many, is left out.
    async fn add(&self, open: &mut Transaction, mailbox: &Mailbox) -> Result<(), Reply> {
        let targets = match self.services.accounts.resolve(mailbox).await {
            Ok(Resolution::Targets(targets)) => targets.into_iter().map(Target::into_mailbox).collect(),
            Ok(Resolution::NotLocal) => vec![mailbox.clone()],
            Ok(Resolution::Unknown) | Err(crate::accounts::Error::AliasLoop) => Vec::new(),
            Err(error) => return Err(self.fault(&error)),
        };
        let room = open.recipients.len() + targets.len() <= self.services.config.limits.recipients.get();
        if targets.is_empty() || !room {
            tracing::warn!(
                event = observe::FILTER_FAILED,
                session.id = %self.id,
                "a filter has added a recipient who cannot get the message"
            );
            return Ok(());
        }
        targets
            .into_iter()
            .for_each(|target| open.add(Addressee::from(target)));
        Ok(())
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
