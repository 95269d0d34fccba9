//! What a user who has logged in may send, under which addresses, and how much; how much hosts send that need not log in.

use std::time::Instant;

use super::{Owner, reply};
use crate::abuse::{Reserved, Sending, TooMuch};
use crate::base::observe;
use crate::config::FromPolicy;
use crate::mail::address::Mailbox;
use crate::mail::mailboxes::Unreadable;
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::smtp::command::MailFrom;
use crate::store::fold;

impl Owner {
    /// Whether the user may begin this message; what it uses of the account's share. Everybody else may.
    ///
    /// Sessions last, so it is looked whether the account still lets its user in.
    pub(super) async fn admit_sender(&self, mail: &MailFrom) -> Result<Reserved, Reply> {
        // Nothing is to be had in this session any more: mail programs that are told so log in again, and show what they hear.
        self.demand_still_in()
            .await
            .map_err(|refused| match refused.code {
                550 => Reply {
                    code: 421,
                    enhanced: Some(EnhancedStatus(4, 7, 0)),
                    ..refused
                },
                _ => refused,
            })?;
        // Reports of mail programs come from nobody (RFC 8098 §2.1).
        if let Some(path) = &mail.reverse_path.0 {
            self.demand_own(path, "MAIL FROM").await?;
        }
        let Some((share, who)) = self.share() else {
            return Ok(Reserved::default());
        };
        share.message(who, Instant::now()).map_err(|error| {
            self.note_limit(error);
            let text = "Too many messages from your account within the hour, try again later";
            reply(450, (4, 7, 1), text)
        })
    }

    /// Of somebody who has logged in. Everybody else may go on.
    pub(super) async fn demand_still_in(&self) -> Result<(), Reply> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        let still_in = self.services.accounts.is_still_in(account).await;
        match still_in.map_err(|error| self.fault(&error))? {
            true => Ok(()),
            false => {
                let text = "Your account or its password has changed: log in again";
                Err(reply(550, (5, 7, 1), text))
            }
        }
    }

    /// Whose share is used up by what is sent here: an account's, or a network's.
    fn share(&self) -> Option<(&Sending, String)> {
        let services = &self.services;
        match (&self.account, self.trusted) {
            (Some(account), _) => Some((&services.sending, fold(&account.address))),
            (None, Some(network)) => Some((&services.sending_of_networks, network.to_string())),
            (None, None) => None,
        }
    }

    /// Another recipient of the message of somebody whose share it uses up.
    pub(super) fn admit_recipient(&mut self) -> Result<(), Reply> {
        let Some(mut open) = self.transaction.take() else {
            return Ok(());
        };
        let room = match self.share() {
            Some((share, who)) => share.recipient(who, &mut open.reserved, Instant::now()),
            None => Ok(()),
        };
        self.transaction = Some(open);
        room.map_err(|error| {
            self.note_limit(error);
            let text = "Too many recipients from your account within the hour, try again later";
            reply(452, (4, 7, 1), text)
        })
    }

    /// Whether the user may write in the name of everybody whom From and Sender, and those of a message sent once more, name.
    pub(super) async fn check_originators(
        &self,
        named: Option<Result<Vec<Mailbox>, Unreadable>>,
    ) -> Result<(), Reply> {
        let Some(named) = named.filter(|_| self.services.config.submission.from == FromPolicy::Strict) else {
            return Ok(());
        };
        let named = named.map_err(|error| {
            let text = format!(
                "{}: write it as in \"Name <you@your.domain>\"",
                super::capitalized(&error)
            );
            reply(550, (5, 6, 0), &text)
        })?;
        for mailbox in &named {
            self.demand_own(mailbox, "From or Sender (or in Resent-From or Resent-Sender)")
                .await?;
        }
        Ok(())
    }

    /// The address is told to the one who sent it, and to nobody else.
    async fn demand_own(&self, sender: &Mailbox, place: &str) -> Result<(), Reply> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        let may = self.services.accounts.may_write_as(account, sender).await;
        match may.map_err(|error| self.fault(&error))? {
            true => Ok(()),
            false => Err(reply(
                550,
                (5, 7, 1),
                &format!(
                    "The address in {place} is not yours: use the one of your account, or ask the postmaster to grant it"
                ),
            )),
        }
    }

    fn note_limit(&self, error: TooMuch) {
        tracing::warn!(
            event = observe::SUBMISSION_LIMITED,
            session.id = %self.id,
            "{error}; its mail is put off"
        );
    }
}
