//! From a recipient's address to those who get the mail.

use std::collections::{HashSet, VecDeque};

use super::{Accounts, Error, HostNames};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Account, fold};

/// Aliases that lead to each other, one behind the other, at most.
const MOST_STEPS: usize = 50;

/// Addresses looked at for one recipient, at most.
const MOST_ADDRESSES: usize = 20_000;

/// What an address stands for.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// Its domain is not served here.
    NotLocal,
    /// The domain is ours and nobody has that address.
    Unknown,
    /// Those who get the mail. More than one, or one that is [`Target::Remote`], is an alias; none is an alias of this host
    /// whose mail goes nowhere.
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

impl Target {
    /// Its address.
    pub fn into_mailbox(self) -> Mailbox {
        match self {
            Self::Local(account) => account.address,
            Self::Remote(mailbox) => mailbox,
        }
    }
}

impl Accounts {
    /// Finds out who gets mail for `recipient`.
    ///
    /// An account or alias of exactly that address (apart from case) comes first, then the one without the detail,
    /// then for `postmaster` (RFC 5321 §4.5.1) and `abuse` (RFC 2142) the one in charge, and then whoever catches all that
    /// comes for the domain: the alias `*@domain`. For names of this host, `/etc/aliases` comes after the first two, `root` is
    /// another name for its postmaster. Errors:
    /// [`Error::AliasLoop`] if that takes too many steps or ends nowhere but in a circle, [`Error::AliasesUnread`] if it cannot be
    /// known now, as `/etc/aliases` could not be read in full.
    pub async fn resolve(&self, recipient: &Mailbox) -> Result<Resolution, Error> {
        self.follow(recipient, Unclaimed::Nobody).await
    }

    /// The same for mail of programs of this host: what is nobody's goes to the fallback, if there is one.
    pub async fn resolve_for_programs(&self, recipient: &Mailbox) -> Result<Resolution, Error> {
        self.follow(recipient, Unclaimed::Fallback).await
    }

    /// The same for mail that cannot come back, such as reports: a name of this host that is nobody's stands for the fallback, or
    /// else the postmaster.
    pub async fn resolve_to_somebody(&self, recipient: &Mailbox) -> Result<Resolution, Error> {
        match self.follow(recipient, Unclaimed::Postmaster).await {
            Ok(Resolution::Unknown) | Err(Error::AliasLoop)
                if self.names_of(recipient.domain()).is_some() =>
            {
                self.last_resort(recipient).await
            }
            found => found,
        }
    }

    /// The one in charge, where aliases of the postmaster lead to nobody.
    async fn last_resort(&self, recipient: &Mailbox) -> Result<Resolution, Error> {
        let in_charge = match self.in_charge(recipient).await? {
            Step::Account(account) => return Ok(Resolution::Targets(vec![Target::Local(account)])),
            Step::Alias(targets) => targets.into_iter().next(),
            Step::Remote | Step::Discard | Step::Nobody => None,
        };
        let Some(in_charge) = in_charge else {
            return Ok(Resolution::Unknown);
        };
        match self.follow(&in_charge, Unclaimed::Nobody).await? {
            Resolution::NotLocal => Ok(Resolution::Targets(vec![Target::Remote(in_charge)])),
            found => Ok(found),
        }
    }

    async fn follow(&self, recipient: &Mailbox, unclaimed: Unclaimed) -> Result<Resolution, Error> {
        if !self.is_local(recipient.domain()).await? {
            return Ok(Resolution::NotLocal);
        }
        let mut found = Found::default();
        let mut open = VecDeque::from([(recipient.clone(), 0)]);
        let mut seen = HashSet::new();
        while let Some((address, steps)) = open.pop_front() {
            if !seen.insert(fold(&address)) {
                found.circle = true;
                continue;
            }
            if seen.len() > MOST_ADDRESSES || steps > MOST_STEPS {
                return Err(Error::AliasLoop);
            }
            match self.step(&address, unclaimed).await? {
                Step::Account(account) => found.add(Target::Local(account)),
                Step::Remote => found.add(Target::Remote(address)),
                Step::Alias(targets) => open.extend(targets.into_iter().map(|target| (target, steps + 1))),
                Step::Discard => found.discard = true,
                Step::Nobody => {}
            }
        }
        found.into_resolution()
    }

    /// Whether `domain` is served here.
    pub async fn is_local(&self, domain: &Domain) -> Result<bool, Error> {
        Ok(self.names_of(domain).is_some() || self.store.local_domain(domain).await?.is_some())
    }

    /// Whether an address that is nobody's is a name of this host whose mail is for programs or files.
    pub fn is_unserved(&self, address: &Mailbox) -> bool {
        self.names_of(address.domain())
            .is_some_and(|host| host.is_unserved(address.local()))
    }

    /// The names of this host, if they are at that domain.
    fn names_of(&self, domain: &Domain) -> Option<&HostNames> {
        self.host.as_deref().filter(|host| host.is_here(domain))
    }

    async fn step(&self, address: &Mailbox, unclaimed: Unclaimed) -> Result<Step, Error> {
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
            let host = self.names_of(address.domain());
            let alias = host.map(|host| host.alias(candidate.local())).transpose()?;
            match alias.flatten() {
                Some(targets) if targets.is_empty() => return Ok(Step::Discard),
                Some(targets) => return Ok(Step::Alias(targets)),
                None => {}
            }
        }
        let host = self.names_of(address.domain());
        let step = match (address.local().to_ascii_lowercase().as_str(), host) {
            ("postmaster" | "abuse", _) | ("root" | "mailer-daemon", Some(_)) => {
                self.in_charge(address).await?
            }
            _ => self.catch_all(address.domain()).await?,
        };
        let (Step::Nobody, Some(host)) = (&step, host) else {
            return Ok(step);
        };
        match unclaimed.step(address, host) {
            Step::Nobody if host.may_lack_names() => Err(Error::AliasesUnread),
            step => Ok(step),
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

    /// The address of an account with the detail that is in `named`, if that is the same account's. One in UTF-8 is left out of an
    /// address in ASCII.
    pub fn with_detail(&self, account: &Mailbox, named: &Mailbox) -> Option<Mailbox> {
        let separator = self.settings.detail_separator?;
        let (_, detail) = named.local().split_once(separator)?;
        let plain = self.without_detail(named)?;
        if fold(&plain) != fold(account) {
            return None;
        }
        let text = format!("{}{separator}{detail}@{}", account.local(), account.domain());
        let detailed = Mailbox::parse(&text).ok()?;
        (account.needs_utf8() || !detailed.needs_utf8()).then_some(detailed)
    }

    async fn in_charge(&self, address: &Mailbox) -> Result<Step, Error> {
        if let Some(postmaster) = &self.settings.postmaster {
            return Ok(Step::Alias(vec![postmaster.clone()]));
        }
        let oldest = self.store.oldest_account(address.domain()).await?;
        match oldest {
            Some(account) => Ok(Step::Account(Box::new(account))),
            None => self.in_charge_of_host(address).await,
        }
    }

    /// This host's postmaster is that of its first domain (RFC 5321 §4.1.1.3).
    async fn in_charge_of_host(&self, address: &Mailbox) -> Result<Step, Error> {
        if self.names_of(address.domain()).is_none() {
            return Ok(Step::Nobody);
        }
        let first = self.store.first_domain().await?.map(|domain| domain.name);
        let first = first.filter(|first| first != address.domain());
        let postmaster = first.and_then(|first| Mailbox::parse(&format!("postmaster@{first}")).ok());
        Ok(postmaster.map_or(Step::Nobody, |postmaster| Step::Alias(vec![postmaster])))
    }
}

/// Who gets mail for names of this host that are nobody's.
#[derive(Debug, Clone, Copy)]
enum Unclaimed {
    Nobody,
    Fallback,
    /// The fallback, or else the postmaster.
    Postmaster,
}

impl Unclaimed {
    fn step(self, address: &Mailbox, host: &HostNames) -> Step {
        match (self, &host.fallback) {
            (Self::Nobody, _) | (Self::Fallback, None) => Step::Nobody,
            (Self::Fallback | Self::Postmaster, Some(fallback)) => Step::Alias(vec![fallback.clone()]),
            (Self::Postmaster, None) => postmaster_beside(address),
        }
    }
}

/// The postmaster at the same domain; nobody if it is the postmaster who is nobody.
fn postmaster_beside(address: &Mailbox) -> Step {
    if address.local().eq_ignore_ascii_case("postmaster") {
        return Step::Nobody;
    }
    let postmaster = Mailbox::parse(&format!("postmaster@{}", address.domain()));
    postmaster.map_or(Step::Nobody, |postmaster| Step::Alias(vec![postmaster]))
}

/// Where one address leads.
enum Step {
    Account(Box<Account>),
    Remote,
    Alias(Vec<Mailbox>),
    Discard,
    Nobody,
}

#[derive(Default)]
struct Found {
    targets: Vec<Target>,
    /// Their addresses, each with whether it is here.
    known: HashSet<(bool, String)>,
    circle: bool,
    discard: bool,
}

impl Found {
    fn add(&mut self, target: Target) {
        let key = match &target {
            Target::Local(account) => (true, account.address.to_string()),
            Target::Remote(mailbox) => (false, mailbox.to_string()),
        };
        if self.known.insert(key) {
            self.targets.push(target);
        }
    }

    fn into_resolution(self) -> Result<Resolution, Error> {
        match self.targets.is_empty() {
            false => Ok(Resolution::Targets(self.targets)),
            true if self.discard => Ok(Resolution::Targets(Vec::new())),
            true if self.circle => Err(Error::AliasLoop),
            true => Ok(Resolution::Unknown),
        }
    }
}
