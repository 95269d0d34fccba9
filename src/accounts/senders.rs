//! Under which addresses an account may write.

use super::{Accounts, Error, Resolution, Target};
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
