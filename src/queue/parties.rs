//! What is known of the keys of a message's parties, and the format that follows (`dmime2.md` §4).

use super::plan::{self, Planner};
use crate::crypto::ed25519::VerifyingKey;
use crate::crypto::suite::hpke::Suite;
use crate::dime::selection::{Actors, Choice, choose};
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, Mailbox};
use crate::signet_service::{Known, LookupError};

/// The sender's side: the same for all recipients of a message.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The domain of ours in whose name messages go.
    pub domain: Domain,
    /// The primary key that its signet is over, which others look for in its record.
    pub key: VerifyingKey,
    /// The author's organization.
    pub origin: Known,
    /// The author; `None` if it is nobody in particular.
    pub author: Option<Known>,
}

/// What is known of everybody's keys, and how the message goes.
#[derive(Debug, Clone)]
pub struct Parties {
    /// The sender's side.
    pub sender: Sender,
    /// The recipient's organization.
    pub destination: Known,
    /// The recipient.
    pub recipient: Known,
    /// What follows.
    pub choice: Choice,
}

impl Planner {
    /// What is known of the sender's side.
    pub async fn sender(
        &self,
        organization: &VerifiedOrg,
        author: Option<(&Mailbox, &VerifiedUser)>,
    ) -> Result<Sender, plan::Error> {
        Ok(Sender {
            domain: organization.domain().clone(),
            key: organization.primary_key(),
            origin: self.directory.organization_known(organization).await?,
            author: match author {
                Some((address, user)) => Some(self.directory.user_known(address, user).await?),
                None => None,
            },
        })
    }

    /// What is known of everybody, and the choice.
    pub async fn parties(
        &self,
        sender: &Sender,
        destination: &VerifiedOrg,
        recipient: (&Mailbox, &VerifiedUser),
    ) -> Result<Parties, LookupError> {
        let (address, user) = recipient;
        let destination = self.directory.organization_known(destination).await?;
        let recipient = self.directory.user_known(address, user).await?;
        let actors = Actors {
            origin: sender.origin.standing(),
            destination: destination.standing(),
            recipient: recipient.standing(),
        };
        let author_suites: Vec<Suite> = match &sender.author {
            Some(author) => author.capability.suites(),
            None => Vec::new(),
        };
        Ok(Parties {
            sender: sender.clone(),
            destination,
            recipient,
            choice: choose(&actors, &author_suites, self.policy),
        })
    }
}
