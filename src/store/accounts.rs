//! Accounts and aliases.

use async_trait::async_trait;

use super::Error;
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};

/// Who holds an account's private keys (DESIGN.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustMode {
    /// The server keeps them and seals and opens for the user.
    Trustful,
    /// The server keeps them encrypted under a password it never sees.
    Cautious,
    /// The server has the signet and nothing else.
    Paranoid,
}

/// A user of ours. Looked up by folded address: local-parts of ours are matched without regard to case.
#[derive(Debug, Clone)]
pub struct Account {
    /// Address as the user spells it.
    pub address: Mailbox,
    /// Argon2id, PHC string.
    pub password_hash: String,
    /// Room for a SCRAM-SHA-256 verifier (RFC 5803), set when the mechanism is enabled.
    pub scram_verifier: Option<String>,
    /// Who holds the keys.
    pub trust_mode: TrustMode,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is a trap, if it is one: an address that only spammers write to.
    pub trap_since: Option<Timestamp>,
}

/// The form under which an address of ours is looked up: lower case, without needless quotes.
pub fn fold(address: &Mailbox) -> String {
    fold_name(&address.to_string())
}

/// The same for the name of a signet, which is a domain or an address.
pub fn fold_name(name: &str) -> String {
    name.to_lowercase()
}

/// Accounts on disk.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Adds an account; [`Error::Exists`] if the address is taken by an account or alias.
    async fn add_account(&self, account: Account) -> Result<(), Error>;
    /// The account with that address.
    async fn account(&self, address: &Mailbox) -> Result<Option<Account>, Error>;
    /// The oldest account of a domain that is no trap.
    async fn oldest_account(&self, domain: &Domain) -> Result<Option<Account>, Error>;
    /// Makes an account a trap, or an ordinary one; whether there is such an account.
    async fn set_trap(&self, address: &Mailbox, since: Option<Timestamp>) -> Result<bool, Error>;
    /// All traps, by address.
    async fn list_traps(&self) -> Result<Vec<Account>, Error>;
    /// Adds a target to an alias; [`Error::Exists`] if the alias has it already, or is an account's address.
    async fn add_alias(&self, alias: &Mailbox, target: &Mailbox) -> Result<(), Error>;
    /// Where an alias leads, by address; empty if there is none.
    async fn alias_targets(&self, alias: &Mailbox) -> Result<Vec<Mailbox>, Error>;
    /// A secret of this installation, from which comes what logins of people without an account are answered with. It is the
    /// same after a restart, as the answers for those who have one are.
    fn nobody_secret(&self) -> Secret<[u8; 32]>;
}
