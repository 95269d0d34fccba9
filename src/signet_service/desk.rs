//! What anybody may ask of us over DMTP: SGNT, VRFY and HIST, for every address that takes mail here.
//!
//! | Asked for | Answered with |
//! |---|---|
//! | a domain | the organization's signets |
//! | an account | its own signets |
//! | any other address that leads to one account here: an alias, one with a detail (`bob+shop@…`), `postmaster`, `abuse`, whatever a catch-all takes | that account's signets |
//! | an address that leads to several, or elsewhere | its own signets if it has some; else nothing |
//! | an address whose aliases lead in a circle or too far | that there is a fault, which must not be taken for an absence |
//! | anything else | nothing |
//!
//! What is served ends with the full signature, which names nobody, so an account's signet is as good under its other
//! addresses. That two addresses have the same signet shows whoever asks that they lead to the same person.

use std::sync::Arc;

use super::Error;
use super::published::{Published, Status};
use crate::accounts::{self, Accounts, Resolution, Target};
use crate::dime::fingerprint::AnyFingerprint;
use crate::dmtp::name::Name;
use crate::mail::address::Mailbox;
use crate::store::fold;

/// Answers for our domains and users.
#[derive(Clone)]
pub struct Desk {
    /// Their signets.
    pub published: Arc<Published>,
    /// Who is behind an address.
    pub accounts: Arc<Accounts>,
}

impl Desk {
    /// What `SGNT` answers (`dmtp.md` §6.7): see [`Published::signet`].
    pub async fn signet(
        &self,
        name: &Name,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let own = self.published.signet(&name.to_string(), fingerprint).await?;
        if own.is_some() {
            return Ok(own);
        }
        match self.holder(name).await? {
            Some(holder) => self.published.signet(&fold(&holder), fingerprint).await,
            None => Ok(None),
        }
    }

    /// What `VRFY` answers (§6.8): see [`Published::status`].
    pub async fn status(&self, name: &Name, fingerprint: AnyFingerprint) -> Result<Option<Status>, Error> {
        let own = self.published.status(&name.to_string(), fingerprint).await?;
        if own.is_some() {
            return Ok(own);
        }
        match self.holder(name).await? {
            Some(holder) => self.published.status(&fold(&holder), fingerprint).await,
            None => Ok(None),
        }
    }

    /// What `HIST` answers (§6.9): see [`Published::history`].
    pub async fn history(
        &self,
        address: &Mailbox,
        start: Option<AnyFingerprint>,
        stop: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let own = self.published.history(address, start, stop).await?;
        if own.is_some() {
            return Ok(own);
        }
        match self.holder(&Name::User(address.clone())).await? {
            Some(holder) => self.published.history(&holder, start, stop).await,
            None => Ok(None),
        }
    }

    /// Whose signets mail for an address of ours is sealed for: the address itself, or the account behind it; `None` if it
    /// takes no sealed mail.
    pub async fn addressee(&self, address: &Mailbox) -> Result<Option<Mailbox>, Error> {
        let reaches_somebody = match self.accounts.resolve(address).await {
            Ok(resolution) => matches!(resolution, Resolution::Targets(_)),
            Err(accounts::Error::AliasLoop) => false,
            Err(error) => return Err(error.into()),
        };
        if !reaches_somebody {
            return Ok(None);
        }
        let has_own = self.published.signet(&fold(address), None).await?.is_some();
        let account = self.accounts.find(address).await?;
        match has_own || account.is_some() {
            true => Ok(Some(address.clone())),
            false => self.holder(&Name::User(address.clone())).await,
        }
    }

    /// The account behind another address, if it is a single one here.
    pub async fn holder(&self, name: &Name) -> Result<Option<Mailbox>, Error> {
        let Name::User(address) = name else {
            return Ok(None);
        };
        let targets = match self.accounts.resolve(address).await {
            Ok(Resolution::Targets(targets)) => targets,
            Ok(Resolution::Unknown | Resolution::NotLocal) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(match <[Target; 1]>::try_from(targets) {
            Ok([Target::Local(account)]) if fold(&account.address) != fold(address) => Some(account.address),
            _ => None,
        })
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}
