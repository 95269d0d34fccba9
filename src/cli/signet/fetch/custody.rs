//! Whether what is served follows from what was known.

use super::Error;
use crate::cli::files::FileName;
use crate::cli::refusal::Refusal;
use crate::cli::signet::read;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::signet::{
    self, Kind, Link, Signet, VerifiedOrg, VerifiedUser, check_org, follow, id, self_signed_key, walk,
};
use crate::dmtp::name::Name;
use crate::mail::address::Mailbox;
use crate::net::dns::Proof;
use crate::signet_service::{Inquiry, LookupError};

/// A signet of the same name that was known before.
pub struct Before {
    signet: Signet,
    key: VerifyingKey,
}

/// How the present signet follows from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// By the same signing key.
    SameKey,
    /// Over that many changes of it, each signed by the key before.
    Signed(usize),
    /// By another primary key, which a proven record has.
    ProvenRecord,
}

/// What is known of the way to the present signet.
pub struct Custody {
    /// `None` if there was nothing before, or it does not follow from that.
    pub follows: Option<Follows>,
    /// The history, if it was asked for, with the link of each signet as far as they hold.
    pub history: Vec<(Signet, Option<Link>)>,
}

impl Before {
    /// Reads a signet, whose own signatures must verify.
    pub fn read(file: &FileName, name: &Name) -> anyhow::Result<Self> {
        let kind = match name {
            Name::Organization(_) => Kind::Organization,
            Name::User(_) => Kind::User,
        };
        let signet = read::signet_of(kind, file)?;
        let refused = |error| Refusal::in_signet(&error, &signet).of_file(file);
        let key = match kind {
            Kind::Organization => own_primary_key(&signet),
            _ => self_signed_key(&signet),
        };
        let key = key.map_err(refused)?;
        match is_of_another(&signet, name) {
            true => Err(refused(signet::Error::WrongName).into()),
            false => Ok(Self { signet, key }),
        }
    }

    /// Primary keys leave no chain of custody: another one is taken from a record that DNSSEC proves.
    pub fn check_organization(&self, organization: &VerifiedOrg, proof: Proof) -> Result<Custody, Error> {
        let follows = match (organization.primary_key() == self.key, proof) {
            (true, _) => Follows::SameKey,
            (false, Proof::Secure) => Follows::ProvenRecord,
            (false, Proof::Insecure) => return Err(Error::KeyUnproven),
        };
        Ok(Custody {
            follows: Some(follows),
            history: Vec::new(),
        })
    }

    /// Whether the present signet follows at a glance, without its history.
    fn leads_to(&self, user: &VerifiedUser) -> Option<Follows> {
        if user.signing_key() == self.key {
            return Some(Follows::SameKey);
        }
        user.succeeds(&self.key).then_some(Follows::Signed(1))
    }
}

impl Custody {
    /// Asks for the history, if it is wanted or needed, and goes along. The inner error is about the chain.
    pub async fn of(
        user: &VerifiedUser,
        inquiry: &mut Inquiry<'_>,
        address: &Mailbox,
        (history, before): (bool, Option<&Before>),
    ) -> Result<(Self, Result<(), Error>), Error> {
        let at_once = before.and_then(|before| before.leads_to(user));
        if at_once.is_some() && !history {
            return Ok((Self::without_history(at_once), Ok(())));
        }
        let start = before.and_then(|before| before.signet.crypto_fingerprint());
        match inquiry.history(address, start.map(Into::into)).await {
            Ok(history) => Ok(Self::along(history, before, user)),
            Err(LookupError::NotFound) if before.is_some() => {
                let followed = at_once.map(drop).ok_or(Error::Forgotten);
                Ok((Self::without_history(at_once), followed))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn along(
        history: Vec<Signet>,
        before: Option<&Before>,
        user: &VerifiedUser,
    ) -> (Self, Result<(), Error>) {
        let first = history.first().and_then(read::own_key);
        let known = before.map_or(first.unwrap_or(user.signing_key()), |before| before.key);
        let (links, _) = walk(&known, &history);
        let followed = follow(&known, &history, user);
        let follows = followed.ok().map(|changes| match changes {
            0 => Follows::SameKey,
            changes => Follows::Signed(changes),
        });
        let links = links.into_iter().map(Some).chain(std::iter::repeat(None));
        let custody = Self {
            follows: follows.filter(|_| before.is_some()),
            history: history.into_iter().zip(links).collect(),
        };
        (custody, followed.map(drop).map_err(Error::from))
    }

    fn without_history(follows: Option<Follows>) -> Self {
        Self {
            follows,
            history: Vec::new(),
        }
    }
}

/// The primary key of an organizational signet that it has signed itself.
fn own_primary_key(signet: &Signet) -> Result<VerifyingKey, signet::Error> {
    let key = read::own_key(signet).ok_or(signet::Error::Missing(id::SIGNING_KEY))?;
    check_org(signet, &[key]).map(|_| key)
}

fn is_of_another(signet: &Signet, name: &Name) -> bool {
    let Some(identifier) = signet.field(id::IDENTIFIER) else {
        return false;
    };
    let text = std::str::from_utf8(identifier).unwrap_or_default();
    Name::parse(text).is_ok_and(|own| own != *name)
}
