//! Whose signets they are, and which primary keys count.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::base::encoding::base64_decode_unpadded;
use crate::crypto::ed25519::VerifyingKey;
use crate::mail::address::{Domain, Mailbox};

/// One of the four parties of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Role {
    /// Who wrote it: reads a sent copy.
    Author,
    /// The author's organization: checks what it is asked to sign.
    Origin,
    /// The recipient's organization: checks what arrives.
    Destination,
    /// Who it is for: reads it.
    Recipient,
}

impl Role {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Origin => "origin",
            Self::Destination => "destination",
            Self::Recipient => "recipient",
        }
    }
}

/// A primary organizational key and the domain whose management record lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pok {
    /// The domain.
    pub domain: Domain,
    /// The key.
    pub key: VerifyingKey,
}

impl FromStr for Pok {
    type Err = String;

    /// `DOMAIN=KEY`, the key as in `pok=` of a management record.
    fn from_str(text: &str) -> Result<Self, String> {
        let (domain, key) = text.split_once('=').ok_or("not DOMAIN=KEY")?;
        Ok(Self {
            domain: domain
                .parse()
                .map_err(|error| format!("{domain} is no domain: {error}"))?,
            key: base64_decode_unpadded(key)
                .map(VerifyingKey)
                .map_err(|_| "the key is not 43 characters of base64")?,
        })
    }
}

/// Names that somebody vouches for by giving them.
#[derive(Debug, Clone, Default, Args)]
pub struct Names {
    /// The author: whose signet the author's is, and, as origin, who has submitted the message.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<Mailbox>,
    /// The recipient: whose signet the recipient's is, and, as recipient, the account that reads.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<Mailbox>,
    /// The author's organization: whose signet the origin's is, and, as destination, from whom the message came. By default the domain of --from.
    #[arg(long, value_name = "DOMAIN")]
    pub origin: Option<Domain>,
    /// The recipient's organization: whose signet the destination's is. By default the domain of --to.
    #[arg(long, value_name = "DOMAIN")]
    pub destination: Option<Domain>,
    /// A primary organizational key that counts for a domain; may be given more than once. Without any, the keys in the signet files count.
    #[arg(long, value_name = "DOMAIN=KEY")]
    pub pok: Vec<Pok>,
}

impl Names {
    /// The organization of that side, if it was given.
    pub fn domain(&self, role: Role) -> Option<&Domain> {
        match role {
            Role::Author | Role::Origin => self.origin.as_ref().or(self.from.as_ref().map(Mailbox::domain)),
            Role::Destination | Role::Recipient => self
                .destination
                .as_ref()
                .or(self.to.as_ref().map(Mailbox::domain)),
        }
    }

    /// The user of that side, if it was given.
    pub fn address(&self, role: Role) -> Option<&Mailbox> {
        match role {
            Role::Author | Role::Origin => self.from.as_ref(),
            Role::Destination | Role::Recipient => self.to.as_ref(),
        }
    }

    /// Primary keys that were given for a domain; `None` if none were given at all.
    pub fn primary_keys(&self, domain: &Domain) -> Option<Vec<VerifyingKey>> {
        let of_domain = self.pok.iter().filter(|pok| pok.domain == *domain);
        (!self.pok.is_empty()).then(|| of_domain.map(|pok| pok.key).collect())
    }
}
