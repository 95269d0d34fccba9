//! From a recipient's address to those who get the mail.

use std::collections::{HashSet, VecDeque};

use super::{Accounts, Error};
use crate::mail::address::{Domain, Mailbox};
use crate::store::Account;

/// Aliases followed for one recipient, at most.
const MOST_STEPS: usize = 50;

/// What an address stands for.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// Its domain is not served here.
    NotLocal,
    /// The domain is ours and nobody has that address.
    Unknown,
    /// Those who get the mail, at least one. More than one, or one that is [`Target::Remote`], is an alias.
    Targets(Vec<Target>),
}

/// One who gets mail sent to an address of ours.
#[derive(Debug, Clone)]
pub enum Target {
    /// A user of ours.
    Local(Box<Account>),
    /// A mailbox elsewhere.
    Remote(Mailbox),
}

impl Accounts {
    /// Finds out who gets mail for `recipient`.
    ///
    /// An account or alias of exactly that address (apart from case) comes first, then the one without the detail,
    /// then for `postmaster` (RFC 5321 §4.5.1) and `abuse` (RFC 2142) the one in charge, and then whoever catches all that
    /// comes for the domain: the alias `*@domain`. Errors:
    /// [`Error::AliasLoop`] if that takes too many steps or ends nowhere but in a circle.
    pub async fn resolve(&self, recipient: &Mailbox) -> Result<Resolution, Error> {
        if !self.is_local(recipient.domain()).await? {
            return Ok(Resolution::NotLocal);
        }
        let mut found = Found::default();
        let mut open = VecDeque::from([recipient.clone()]);
        let mut seen = HashSet::new();
        while let Some(address) = open.pop_front() {
            if !seen.insert(address.to_string().to_lowercase()) {
                found.circle = true;
                continue;
            }
            if seen.len() > MOST_STEPS {
                return Err(Error::AliasLoop);
            }
            match self.step(&address).await? {
                Step::Account(account) => found.add(Target::Local(account)),
                Step::Remote => found.add(Target::Remote(address)),
                Step::Alias(targets) => open.extend(targets),
                Step::Nobody => {}
            }
        }
        found.into_resolution()
    }

    /// Whether `domain` is served here.
    pub async fn is_local(&self, domain: &Domain) -> Result<bool, Error> {
        Ok(self.store.local_domain(domain).await?.is_some())
    }

    async fn step(&self, address: &Mailbox) -> Result<Step, Error> {
        if !self.is_local(address.domain()).await? {
            return Ok(Step::Remote);
        }
        for candidate in [Some(address.clone()), self.without_detail(address)]
            .into_iter()
            .flatten()
        {
            if let Some(account) = self.store.account(&candidate).await? {
                return Ok(Step::Account(Box::new(account)));
            }
            let targets = self.store.alias_targets(&candidate).await?;
            if !targets.is_empty() {
                return Ok(Step::Alias(targets));
            }
        }
        match address.local().to_ascii_lowercase().as_str() {
            "postmaster" | "abuse" => self.in_charge(address).await,
            _ => self.catch_all(address.domain()).await,
        }
    }

    async fn catch_all(&self, domain: &Domain) -> Result<Step, Error> {
        let Ok(everybody) = Mailbox::parse(&format!("*@{domain}")) else {
            return Ok(Step::Nobody);
        };
        let targets = self.store.alias_targets(&everybody).await?;
        Ok(match targets.is_empty() {
            true => Step::Nobody,
            false => Step::Alias(targets),
        })
    }

    fn without_detail(&self, address: &Mailbox) -> Option<Mailbox> {
        let (name, _) = address.local().split_once(self.settings.detail_separator?)?;
        Mailbox::parse(&format!("{name}@{}", address.domain())).ok()
    }

    async fn in_charge(&self, address: &Mailbox) -> Result<Step, Error> {
        if let Some(postmaster) = &self.settings.postmaster {
            return Ok(Step::Alias(vec![postmaster.clone()]));
        }
        let oldest = self.store.oldest_account(address.domain()).await?;
        Ok(oldest.map_or(Step::Nobody, |account| Step::Account(Box::new(account))))
    }
}

/// Where one address leads.
enum Step {
    Account(Box<Account>),
    Remote,
    Alias(Vec<Mailbox>),
    Nobody,
}

#[derive(Default)]
struct Found {
    targets: Vec<Target>,
    circle: bool,
}

impl Found {
    fn add(&mut self, target: Target) {
        let known = self.targets.iter().any(|other| match (other, &target) {
            (Target::Local(a), Target::Local(b)) => a.address == b.address,
            (Target::Remote(a), Target::Remote(b)) => a == b,
            _ => false,
        });
        if !known {
            self.targets.push(target);
        }
    }

    fn into_resolution(self) -> Result<Resolution, Error> {
        match self.targets.is_empty() {
            false => Ok(Resolution::Targets(self.targets)),
            true if self.circle => Err(Error::AliasLoop),
            true => Ok(Resolution::Unknown),
        }
    }
}
