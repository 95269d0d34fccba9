//! Users, their passwords, aliases and trust modes.

mod password;
mod resolve;

use std::sync::Arc;

use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::crypto::scram::Verifier;
use crate::mail::address::Mailbox;
use crate::smtp::auth::Login;
use crate::store::{self, Account, Store, TrustMode};

pub use password::{Cost, Passwords, check_password};
pub use resolve::{Resolution, Target};

/// Why an account cannot be made, used or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Wrong password or unknown user; which of them is not told.
    #[error("the credentials are refused")]
    Refused,
    /// The domain of the address is not served here.
    #[error("the domain is not served here")]
    ForeignDomain,
    /// Passwords are 8 to 1024 octets without control characters.
    #[error("a password has 8 to 1024 octets and no control characters")]
    UnfitPassword,
    /// Aliases lead to each other, too far, or to too many.
    #[error("the aliases lead in a circle, too far, or to too many addresses")]
    AliasLoop,
    /// An alias would lead to the address that it is.
    #[error("an alias leads to another address than its own")]
    AliasToItself,
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
    /// The store failed, or says that the address is taken.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// How accounts are treated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Separates an account's name from a detail of the user's choice; `None` for no such addresses.
    pub detail_separator: Option<char>,
    /// Who gets mail for `postmaster` and `abuse` where a domain has none; `None` for its oldest account.
    pub postmaster: Option<Mailbox>,
    /// Work per password check.
    pub cost: Cost,
    /// Password checks that run at the same time.
    pub concurrent_checks: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            detail_separator: Some('+'),
            postmaster: None,
            cost: Cost::default(),
            concurrent_checks: 2,
        }
    }
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its address, as the user spells it.
    pub address: Mailbox,
    /// 8 to 1024 octets.
    pub password: Secret<String>,
    /// Who holds the keys.
    pub trust_mode: TrustMode,
}

/// The accounts of all domains we serve.
pub struct Accounts {
    store: Arc<dyn Store>,
    settings: Settings,
    passwords: Passwords,
}

impl Accounts {
    /// Accounts kept in `store`.
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        let passwords = Passwords::new(settings.cost, settings.concurrent_checks);
        Self {
            store,
            settings,
            passwords,
        }
    }

    /// Makes an account with a hashed password. Keys and signet are made apart ([`crate::signet_service`]).
    ///
    /// Errors: [`Error::ForeignDomain`], [`Error::UnfitPassword`], and [`store::Error::Exists`] if the address is
    /// taken by an account or alias.
    pub async fn create(&self, new: NewAccount, now: Timestamp) -> Result<Account, Error> {
        self.demand_local(&new.address).await?;
        let account = Account {
            address: new.address,
            password_hash: self.passwords.hash(new.password.clone()).await?,
            scram_verifier: self.passwords.scram_verifier(new.password).await?,
            trust_mode: new.trust_mode,
            created_at: now,
            trap_since: None,
            disabled_at: None,
            quota_bytes: None,
        };
        self.store.add_account(account.clone()).await?;
        Ok(account)
    }

    /// Makes an alias of ours for a mailbox here or elsewhere.
    ///
    /// Errors: [`Error::ForeignDomain`], [`Error::AliasToItself`], and [`store::Error::Exists`] if there is an account of
    /// that name.
    pub async fn create_alias(&self, alias: &Mailbox, target: &Mailbox) -> Result<(), Error> {
        self.demand_local(alias).await?;
        if store::fold(alias) == store::fold(target) {
            return Err(Error::AliasToItself);
        }
        Ok(self.store.add_alias(alias, target).await?)
    }

    /// The account that `identity` names, if the password is right.
    ///
    /// An unknown user costs the same work as a wrong password, so the time taken tells nothing. Nobody logs in to a trap.
    /// Errors: [`Error::Refused`] for both.
    pub async fn authenticate(&self, identity: &str, password: &Secret<String>) -> Result<Account, Error> {
        let account = match Mailbox::parse(identity) {
            Ok(address) => self.store.account(&address).await?,
            Err(_) => None,
        };
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let right = self.passwords.verify(password.clone(), hash).await?;
        let account = account.filter(|account| right && account.trap_since.is_none());
        account.ok_or(Error::Refused)
    }

    /// The account of somebody who logs in, however. Errors: [`Error::Refused`].
    pub async fn log_in(&self, login: &Login) -> Result<Account, Error> {
        match login {
            Login::Password(credentials) => {
                self.authenticate(&credentials.identity, &credentials.password)
                    .await
            }
            Login::Proven { identity } => self.proven(identity).await,
        }
    }

    /// What a SCRAM login as `identity` is checked against. For names without account, and accounts that cannot log in
    /// this way, one that no proof fits: nobody learns which names exist.
    pub async fn scram_verifier(&self, identity: &str) -> Result<Verifier, Error> {
        let address = Mailbox::parse(identity).ok();
        let account = match &address {
            Some(address) => self.store.account(address).await?,
            None => None,
        };
        if let Some(text) = account.and_then(|account| account.scram_verifier) {
            let verifier = Verifier::decode(&text);
            return Ok(verifier.map_err(|_| store::Error::Unreadable("SCRAM verifier"))?);
        }
        // All spellings of an address have one answer, as those of an account do.
        let name = address.map_or_else(|| identity.to_lowercase(), |address| store::fold(&address));
        let (secret, rounds) = (self.store.nobody_secret(), self.settings.cost.scram_rounds);
        Ok(Verifier::of_nobody(secret.expose(), &name, rounds))
    }

    /// The account of somebody who has proven by SCRAM to be `identity`. Errors: [`Error::Refused`] if it is gone.
    pub async fn proven(&self, identity: &str) -> Result<Account, Error> {
        let address = Mailbox::parse(identity).map_err(|_| Error::Refused)?;
        let account = self.store.account(&address).await?;
        let account = account.filter(|account| account.trap_since.is_none());
        account.ok_or(Error::Refused)
    }

    /// The account with exactly that address, apart from case.
    pub async fn find(&self, address: &Mailbox) -> Result<Option<Account>, Error> {
        Ok(self.store.account(address).await?)
    }

    async fn demand_local(&self, address: &Mailbox) -> Result<(), Error> {
        match self.store.local_domain(address.domain()).await? {
            Some(_) => Ok(()),
            None => Err(Error::ForeignDomain),
        }
    }
}

#[cfg(test)]
mod tests;
