//! Users, their passwords, aliases and trust modes; under which addresses they may write.

mod dovecot;
mod host;
mod idle;
mod password;
mod resolve;
mod senders;

use std::sync::Arc;

use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::crypto::scram::Verifier;
use crate::mail::address::Mailbox;
use crate::smtp::auth::Login;
use crate::store::{self, Account, Store, TrustMode};

pub use dovecot::Dovecot;
pub use host::{AliasFile, HostNames, Loaded, Unusable};
pub use idle::in_circles;
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
    /// The file of aliases of this host could not be read in full: who a name is, may stand there.
    #[error("the file of aliases of this host could not be read in full: `newaliases` says why")]
    AliasesUnread,
    /// An alias would lead to the address that it is.
    #[error("an alias leads to another address than its own")]
    AliasToItself,
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
    /// The address is taken by an account.
    #[error("there is an account of that name")]
    IsAccount,
    /// The address is taken by an alias.
    #[error("an alias of that name leads to {0}; `dimed alias remove` makes room")]
    IsAlias(String),
    /// `*` stands for all addresses of a domain that are nobody's.
    #[error("`*` takes what is for nobody else, and can be an alias only")]
    IsCatchAll,
    /// Whoever checks passwords for us does not answer, or not as agreed.
    #[error("passwords cannot be checked now: {0}")]
    Unavailable(&'static str),
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
    /// Who checks passwords; `None` for this server.
    pub dovecot: Option<Dovecot>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            detail_separator: Some('+'),
            postmaster: None,
            cost: Cost::default(),
            concurrent_checks: 2,
            dovecot: None,
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
    host: Option<Arc<HostNames>>,
}

impl Accounts {
    /// Accounts kept in `store`.
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        let passwords = Passwords::new(settings.cost, settings.concurrent_checks);
        Self {
            store,
            settings,
            passwords,
            host: None,
        }
    }

    /// Names of this host are known, too.
    pub fn with_host(self, host: Arc<HostNames>) -> Self {
        Self {
            host: Some(host),
            ..self
        }
    }

    /// Makes an account with a hashed password. Keys and signet are made apart ([`crate::signet_service`]).
    ///
    /// Errors: those of [`demand_free`](Self::demand_free), and [`Error::UnfitPassword`].
    pub async fn create(&self, new: NewAccount, now: Timestamp) -> Result<Account, Error> {
        self.demand_free(&new.address).await?;
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

    /// Whether an account of that name may be made. Errors: [`Error::ForeignDomain`], [`Error::IsCatchAll`], and
    /// [`Error::IsAccount`] or [`Error::IsAlias`] if the address is taken.
    pub async fn demand_free(&self, address: &Mailbox) -> Result<(), Error> {
        self.demand_local(address).await?;
        if address.local() == "*" {
            return Err(Error::IsCatchAll);
        }
        if self.store.account(address).await?.is_some() {
            return Err(Error::IsAccount);
        }
        let targets = self.store.alias_targets(address).await?;
        match targets.is_empty() {
            true => Ok(()),
            false => Err(Error::IsAlias(list(&targets))),
        }
    }

    /// Makes an alias of ours for a mailbox here or elsewhere.
    ///
    /// Errors: [`Error::ForeignDomain`], [`Error::AliasToItself`], [`Error::IsAccount`], and [`store::Error::Exists`] if it
    /// leads there already.
    pub async fn create_alias(&self, alias: &Mailbox, target: &Mailbox) -> Result<(), Error> {
        self.demand_local(alias).await?;
        if store::fold(alias) == store::fold(target) {
            return Err(Error::AliasToItself);
        }
        if self.store.account(alias).await?.is_some() {
            return Err(Error::IsAccount);
        }
        Ok(self.store.add_alias(alias, target).await?)
    }

    /// Gives an account another password. Sessions that were opened with the one before send nothing more.
    ///
    /// Errors: [`Error::UnfitPassword`], and [`store::Error::Missing`] without such an account.
    pub async fn set_password(&self, address: &Mailbox, password: Secret<String>) -> Result<(), Error> {
        let hash = self.passwords.hash(password.clone()).await?;
        let verifier = self.passwords.scram_verifier(password).await?;
        match self.store.set_password(address, hash, verifier).await? {
            true => Ok(()),
            false => Err(store::Error::Missing.into()),
        }
    }

    /// The account that `identity` names, if the password is right.
    ///
    /// An unknown user costs the same work as a wrong password, so the time taken tells nothing. Nobody logs in to a trap, or
    /// to an account that is disabled. Errors: [`Error::Refused`] for all of them; [`Error::Unavailable`].
    pub async fn authenticate(&self, identity: &str, password: &Secret<String>) -> Result<Account, Error> {
        let address = Mailbox::parse(identity).ok();
        let account = match &address {
            Some(address) => self.store.account(address).await?,
            None => None,
        };
        let right = match (&self.settings.dovecot, &address) {
            (None, _) => {
                let hash = account.as_ref().map(|account| account.password_hash.clone());
                self.passwords.verify(password.clone(), hash).await?
            }
            (Some(dovecot), Some(address)) => dovecot.verify(address, password).await?,
            (Some(_), None) => false,
        };
        let account = account.filter(|account| right && may_log_in(account));
        account.ok_or(Error::Refused)
    }

    /// Whether logins by SCRAM can be checked here: not if somebody else has the passwords.
    pub fn offers_scram(&self) -> bool {
        self.settings.dovecot.is_none()
    }

    /// Whether somebody who logged in as that account would still get in, with the same password, and their keys are where they were:
    /// nothing is to be left here by somebody who is cautious no more.
    pub async fn is_still_in(&self, account: &Account) -> Result<bool, Error> {
        let now = self.store.account(&account.address).await?;
        Ok(now.is_some_and(|now| {
            may_log_in(&now)
                && now.password_hash == account.password_hash
                && now.trust_mode == account.trust_mode
                && now.created_at == account.created_at
        }))
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
        let name = address.map_or_else(|| store::fold_name(identity), |address| store::fold(&address));
        let (secret, rounds) = (self.store.nobody_secret(), self.settings.cost.scram_rounds);
        Ok(Verifier::of_nobody(secret.expose(), &name, rounds))
    }

    /// The account of somebody who has proven by SCRAM to be `identity`. Errors: [`Error::Refused`] if it is gone.
    pub async fn proven(&self, identity: &str) -> Result<Account, Error> {
        let address = Mailbox::parse(identity).map_err(|_| Error::Refused)?;
        let account = self.store.account(&address).await?;
        account.filter(may_log_in).ok_or(Error::Refused)
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

fn may_log_in(account: &Account) -> bool {
    account.trap_since.is_none() && account.disabled_at.is_none()
}

fn list(mailboxes: &[Mailbox]) -> String {
    let texts: Vec<String> = mailboxes.iter().map(Mailbox::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests;
