//! Under which addresses an account may write.

use super::{Accounts, Error, Resolution, Target, may_log_in};
use crate::mail::address::Mailbox;
use crate::store::{Account, fold};

impl Accounts {
    /// Whether an account may write under an address: its own, one that leads to it and to nobody else (with a detail, or by
    /// aliases), or one that an operator has granted.
    pub async fn may_write_as(&self, account: &Account, sender: &Mailbox) -> Result<bool, Error> {
        if fold(sender) == fold(&account.address) {
            return Ok(true);
        }
        let granted = self.store.granted_senders(&account.address).await?;
        if granted.iter().any(|granted| covers(granted, sender)) {
            return Ok(true);
        }
        match self.resolve(sender).await {
            Ok(Resolution::Targets(targets)) => Ok(leads_to(&targets, account)),
            Ok(Resolution::Unknown | Resolution::NotLocal) | Err(Error::AliasLoop) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Accounts {
    /// The account that writes under an address, if that leads to it and to nobody else, and it may send.
    pub async fn author(&self, sender: &Mailbox) -> Result<Option<Account>, Error> {
        match self.resolve(sender).await {
            Ok(Resolution::Targets(targets)) => Ok(match <[Target; 1]>::try_from(targets) {
                Ok([Target::Local(account)]) if may_log_in(&account) => Some(*account),
                _ => None,
            }),
            Ok(Resolution::Unknown | Resolution::NotLocal) | Err(Error::AliasLoop) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn leads_to(targets: &[Target], account: &Account) -> bool {
    match targets {
        [Target::Local(only)] => fold(&only.address) == fold(&account.address),
        _ => false,
    }
}

fn covers(granted: &Mailbox, sender: &Mailbox) -> bool {
    match granted.local() {
        "*" => granted.domain() == sender.domain(),
        _ => fold(granted) == fold(sender),
    }
}
