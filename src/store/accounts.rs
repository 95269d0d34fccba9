//! Accounts, and the addresses that they may write under.

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
    /// Since when nobody can log in to it, if so. Its mail still comes.
    pub disabled_at: Option<Timestamp>,
    /// Octets that its mailbox may hold, 0 for any; `None` for what the configuration says.
    pub quota_bytes: Option<u64>,
}

/// What came of removing an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, and all keys that were kept of it.
    Done,
    /// Nothing was changed: these aliases lead to it.
    AliasesLeadHere(Vec<Mailbox>),
    /// There is none.
    Missing,
}

/// Letters whose lower case has letters of ASCII: KELVIN SIGN, and I with a dot above.
const LIKE_ASCII: [char; 2] = ['\u{212a}', '\u{130}'];

/// The form under which an address of ours is looked up: lower case, without needless quotes. Nobody whose name is ASCII is found by
/// one that is not.
pub fn fold(address: &Mailbox) -> String {
    fold_name(&address.to_string())
}

/// The same for the name of a signet, which is a domain or an address.
pub fn fold_name(name: &str) -> String {
    let part = |part: &str| match part.strip_suffix(LIKE_ASCII) {
        Some(text) => text.to_lowercase() + &part[text.len()..],
        None => part.to_lowercase(),
    };
    name.split_inclusive(LIKE_ASCII).map(part).collect()
}

/// The form under which an address of another host is looked up: which letters beyond ASCII it takes for the same, is not known.
pub fn fold_ascii(address: &Mailbox) -> String {
    address.to_string().to_ascii_lowercase()
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
    /// Accounts by address, of one domain or of all, from behind `after` on, `limit` at most.
    async fn list_accounts(
        &self,
        domain: Option<&Domain>,
        after: Option<&Mailbox>,
        limit: u32,
    ) -> Result<Vec<Account>, Error>;
    /// Removes an account with everything that is kept of it, private keys included: what held those is overwritten. Its
    /// signets are taken out of service. [`Error::LogInUse`] if the log of the database may still have the keys; the next
    /// call tries again to empty it.
    ///
    /// Aliases that lead to it lose that target, if `with_aliases` says so; otherwise they are in the way.
    async fn remove_account(
        &self,
        address: &Mailbox,
        with_aliases: bool,
        now: Timestamp,
    ) -> Result<Removal, Error>;
    /// Keeps everybody from logging in to an account, or lets its user in again; whether there is such an account.
    async fn set_disabled(&self, address: &Mailbox, since: Option<Timestamp>) -> Result<bool, Error>;
    /// Replaces what a password is checked against; whether there is such an account.
    async fn set_password(
        &self,
        address: &Mailbox,
        password_hash: String,
        scram_verifier: Option<String>,
    ) -> Result<bool, Error>;
    /// Changes who holds an account's private keys; whether there is such an account. What a user who is cautious no more has left
    /// here under a passphrase is erased, and what held it overwritten; [`Error::LogInUse`] as for `remove_account`.
    async fn set_trust_mode(&self, address: &Mailbox, mode: TrustMode) -> Result<bool, Error>;
    /// Sets the quota of an account; whether there is such an account.
    async fn set_quota(&self, address: &Mailbox, quota_bytes: Option<u64>) -> Result<bool, Error>;

    /// Lets an account write under an address, or `*@domain`; [`Error::Missing`] without such an account, [`Error::Exists`]
    /// if it may already.
    async fn grant_sender(&self, account: &Mailbox, sender: &Mailbox) -> Result<(), Error>;
    /// Takes that back; whether it was so.
    async fn withdraw_sender(&self, account: &Mailbox, sender: &Mailbox) -> Result<bool, Error>;
    /// The addresses that an account was let write under, by address.
    async fn granted_senders(&self, account: &Mailbox) -> Result<Vec<Mailbox>, Error>;

    /// A secret of this installation, from which comes what logins of people without an account are answered with. It is the
    /// same after a restart, as the answers for those who have one are.
    fn nobody_secret(&self) -> Secret<[u8; 32]>;
    /// What addresses in the log are hashed under: the same on all nodes, and after the master key was replaced.
    fn log_key(&self) -> Secret<[u8; 32]>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_other_letter_passes_for_one_of_ascii() {
        let folded = |text: &str| fold(&text.parse().unwrap());
        assert_eq!(folded("Kelly@H.test"), "kelly@h.test");
        assert_eq!(folded("\u{212a}ELLY@h.test"), "\u{212a}elly@h.test");
        assert_eq!(folded("A\u{130}B\u{212a}@h.test"), "a\u{130}b\u{212a}@h.test");
        assert_eq!(folded("J\u{d6}RG@h.test"), "j\u{f6}rg@h.test");
        let theirs = fold_ascii(&"J\u{d6}RG@h.test".parse().unwrap());
        assert_eq!(theirs, "j\u{d6}rg@h.test");
    }
}
