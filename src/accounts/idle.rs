//! Lines of `/etc/aliases` that get nobody any mail.

use super::{Accounts, Error, Loaded};
use crate::mail::address::Mailbox;

/// The end of what is said of a circle.
const IN_CIRCLES: &str = "leads to nobody but itself or others like it: mail for it comes back";

impl Accounts {
    /// What is said of aliases that an account or alias of the same address comes before, and of those that lead in circles.
    pub async fn idle_aliases(&self, loaded: &Loaded) -> Result<Vec<String>, Error> {
        let mut said = Vec::new();
        let Some(host) = &self.host else {
            return Ok(said);
        };
        for (name, address) in loaded.addresses(&host.origin) {
            if let Some(why) = self.idle(&address, &loaded.entries[name]).await? {
                said.push(format!("the alias `{name}` {why}"));
            }
        }
        Ok(said)
    }

    async fn idle(&self, address: &Mailbox, targets: &[Mailbox]) -> Result<Option<String>, Error> {
        let is_account = self.store.account(address).await?.is_some();
        if is_account || !self.store.alias_targets(address).await?.is_empty() {
            let kind = if is_account {
                "account"
            } else {
                "alias of `dimed alias`"
            };
            let says_the_same = targets == std::slice::from_ref(address);
            let why = format!("is not used: the {kind} {address} comes first");
            return Ok((!says_the_same).then_some(why));
        }
        match self.resolve(address).await {
            Ok(_) => Ok(None),
            Err(Error::AliasLoop) => Ok(Some(IN_CIRCLES.to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// The same of circles, where accounts are not known.
pub fn in_circles(name: &str) -> String {
    format!("the alias `{name}` {IN_CIRCLES}, unless there is an account of that name")
}
