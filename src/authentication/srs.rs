//! Sender rewriting (SRS): mail that an alias leads to another host goes on under a reverse-path of ours, because SPF of the
//! sender's domain does not name this host. Failures come back to that path, and from it to the sender.
//!
//! | Reverse-path before | after, in a domain of ours |
//! |---|---|
//! | `local@domain` | `SRS0=HHHHHHHH=TT=domain=local` |
//! | `SRS0=…@domain`, rewritten by somebody else | `SRS1=HHHHHHHH=domain==…` |
//! | `SRS1=…=domain==…@elsewhere` | `SRS1=HHHHHHHH=domain==…`: the way back leaves `elsewhere` out |
//! | any that would have more than 64 octets | `SRS0=HHHHHHHH=TT=stored=ID`; what it stood for is kept in the store, sealed |
//!
//! `TT` is the day since the Unix epoch modulo 1024, in two digits of base32, and `HHHHHHHH` the first 40 bits, in base32, of
//! HMAC-SHA-256 (HKDF under the master key) over the day, the domain and all that follows, in lower case: hosts on the way may
//! change the case of letters. What was made on one day says nothing of another's, so there is nothing to rotate and nothing to
//! keep; a path counts for 21 days. Whoever has one can send reports, and nothing else, to the sender that it was made for.
//!
//! Source: <https://www.libsrs2.net/srs/srs.pdf>, §3 and §4; longer hashes and HMAC-SHA-256 are ours, and nobody else reads them.

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::base::time::{Clock, Timestamp};
use crate::dime::record::Policy;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::store::{self, LocalDomain, Store};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days for which a rewritten path counts.
const VALID_DAYS: u64 = 21;

/// What days are counted modulo.
const DAYS: u64 = 1024;

/// Characters of base32 of a hash, and of the id of a path that is kept.
const HASH: usize = 8;
const ID: usize = 16;

/// In the place of the sender's domain: the sender is kept in the store. Nobody's domain.
const STORED: &str = "stored";

/// Longest local-part (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL: usize = 64;

/// The alphabet of RFC 4648 §6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether paths are rewritten. Those that were are read in any case.
    pub rewrites: bool,
    /// The domain of rewritten paths, if the operator names it.
    pub domain: Option<Domain>,
    /// This host.
    pub host: Domain,
}

/// Rewrites reverse-paths, and reads those that come back.
pub struct Srs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

/// What an address of ours is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// One like any other.
    Ordinary,
    /// A reverse-path that was rewritten here: failures are for this sender.
    Sender(Mailbox),
    /// It looks like one, and is forged, too old, or not from here.
    Invalid,
}

/// The parts of a local-part like `SRS0=…` or `SRS1=…`, as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form<'a> {
    /// What follows the hash is `TT=domain=local`.
    Once { hash: &'a str, rest: &'a str },
    /// What follows the hash is `domain=` and all that follows `SRS0` in the first forwarder's path.
    Again { hash: &'a str, rest: &'a str },
    /// It begins like one of them.
    Broken,
}

impl<'a> Form<'a> {
    /// `None` for what is none.
    fn of(local: &'a str) -> Option<Self> {
        let (head, rest) = (local.get(..4)?, local.get(4..)?);
        let again = match head.to_ascii_uppercase().as_str() {
            "SRS0" => false,
            "SRS1" => true,
            _ => return None,
        };
        let rest = rest.strip_prefix(['=', '-', '+'])?;
        Some(match rest.split_once('=') {
            Some((hash, rest)) if again => Self::Again { hash, rest },
            Some((hash, rest)) => Self::Once { hash, rest },
            None => Self::Broken,
        })
    }
}

impl Srs {
    /// With domains and keys in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self {
            store,
            clock,
            settings,
        }
    }

    /// The reverse-path under which mail of that one goes on to another host. The same, if that is nobody's or one of ours, if
    /// paths are not rewritten, and if no domain of ours could take what comes back.
    pub async fn rewrite(&self, path: &ReversePath) -> Result<ReversePath, store::Error> {
        let Some(sender) = path.0.as_ref().filter(|_| self.settings.rewrites) else {
            return Ok(path.clone());
        };
        if self.store.local_domain(sender.domain()).await?.is_some() {
            return Ok(path.clone());
        }
        let Some(domain) = self.domain().await? else {
            return Ok(path.clone());
        };
        let short = self.short(sender, &domain);
        let rewritten = match short {
            Some(short) => short,
            None => match self.stored(sender, &domain).await? {
                Some(stored) => stored,
                None => return Ok(path.clone()),
            },
        };
        Ok(ReversePath(Some(rewritten)))
    }

    /// What an address in a domain of ours is.
    pub async fn read(&self, address: &Mailbox) -> Result<Read, store::Error> {
        let Some(form) = Form::of(address.local()) else {
            return Ok(Read::Ordinary);
        };
        let sender = match form {
            Form::Once { hash, rest } => self.once(address.domain(), hash, rest).await?,
            Form::Again { hash, rest } => self.again(address.domain(), hash, rest),
            Form::Broken => None,
        };
        Ok(match sender {
            Some(sender) => Read::Sender(sender),
            None if self.settings.rewrites => Read::Invalid,
            // Then it may be anybody's.
            None => Read::Ordinary,
        })
    }

    /// The domain of rewritten paths. What comes back comes by SMTP, which strict domains do not take.
    pub async fn domain(&self) -> Result<Option<Domain>, store::Error> {
        let will_do = |domain: &LocalDomain| {
            let policy = domain.dime.as_ref().map(|dime| dime.policy);
            policy != Some(Policy::Strict)
        };
        if let Some(named) = &self.settings.domain {
            let served = self.store.local_domain(named).await?;
            return Ok(served.filter(will_do).map(|served| served.name));
        }
        let host = &self.settings.host;
        for around in std::iter::once(host.clone()).chain(host.parents()) {
            if let Some(served) = self.store.local_domain(&around).await?.filter(will_do) {
                return Ok(Some(served.name));
            }
        }
        let all = self.store.list_domains().await?;
        Ok(all.into_iter().find(will_do).map(|served| served.name))
    }

    /// A path from which the sender can be read, if it is short enough.
    fn short(&self, sender: &Mailbox, domain: &Domain) -> Option<Mailbox> {
        let local = sender.local();
        match Form::of(local) {
            Some(Form::Again { rest, .. }) if first_of(rest).is_some() => self.hashed("SRS1", rest, domain),
            Some(Form::Once { .. }) => {
                let rest = format!("{}={}", sender.domain(), local.get(4..)?);
                self.hashed("SRS1", &rest, domain)
            }
            _ if sender.domain().as_str() == STORED => None,
            _ => {
                let rest = format!("{}={}={local}", day_text(self.today()), sender.domain());
                self.hashed("SRS0", &rest, domain)
            }
        }
    }

    /// The same sender on the same day has the same id, so that attempts that are repeated take no more room.
    async fn stored(&self, sender: &Mailbox, domain: &Domain) -> Result<Option<Mailbox>, store::Error> {
        let id = base32(&self.store.srs_mac(self.today(), &format!("path {sender}")), ID);
        let rest = format!("{}={STORED}={id}", day_text(self.today()));
        let Some(path) = self.hashed("SRS0", &rest, domain) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let expires_at = now.after(DAY * (VALID_DAYS as u32 + 1));
        self.store.keep_srs_path(&id, sender, now, expires_at).await?;
        Ok(Some(path))
    }

    fn hashed(&self, head: &str, rest: &str, domain: &Domain) -> Option<Mailbox> {
        let hash = self.hash(self.today(), domain, rest);
        let local = format!("{head}={hash}={rest}");
        (local.len() <= MAX_LOCAL)
            .then(|| mailbox(&local, domain))
            .flatten()
    }

    async fn once(&self, domain: &Domain, hash: &str, rest: &str) -> Result<Option<Mailbox>, store::Error> {
        let mut parts = rest.splitn(3, '=');
        let (Some(day), Some(sender_domain), Some(local)) = (parts.next(), parts.next(), parts.next()) else {
            return Ok(None);
        };
        let Some(day) = day_from(day, self.today()) else {
            return Ok(None);
        };
        if !self.holds(day, domain, hash, rest) {
            return Ok(None);
        }
        if sender_domain.eq_ignore_ascii_case(STORED) {
            let id = local.to_ascii_uppercase();
            return self.store.srs_path(&id, self.clock.now()).await;
        }
        let sender_domain = Domain::parse(sender_domain).ok();
        Ok(sender_domain.and_then(|sender_domain| mailbox(local, &sender_domain)))
    }

    /// The first forwarder's day says nothing of ours, so any of ours that still counts may be the one.
    fn again(&self, domain: &Domain, hash: &str, rest: &str) -> Option<Mailbox> {
        let (first, path) = first_of(rest)?;
        let today = self.today();
        let mut days = today.saturating_sub(VALID_DAYS)..=today.saturating_add(1);
        days.find(|day| self.holds(*day, domain, hash, rest))?;
        mailbox(&format!("SRS0{path}"), &first)
    }

    fn holds(&self, day: u64, domain: &Domain, hash: &str, rest: &str) -> bool {
        let right = self.hash(day, domain, rest);
        let hash = hash.to_ascii_uppercase();
        right.as_bytes().ct_eq(hash.as_bytes()).into()
    }

    fn hash(&self, day: u64, domain: &Domain, rest: &str) -> String {
        let text = format!("{domain}={}", rest.to_lowercase());
        base32(&self.store.srs_mac(day, &text), HASH)
    }

    fn today(&self) -> u64 {
        day_of(self.clock.now())
    }
}

/// The first forwarder and what follows `SRS0` in its path, its separator included.
fn first_of(rest: &str) -> Option<(Domain, &str)> {
    let (domain, path) = rest.split_once('=')?;
    let is_path = path.starts_with(['=', '-', '+']);
    Domain::parse(domain)
        .ok()
        .filter(|_| is_path)
        .map(|domain| (domain, path))
}

/// A mailbox with that local-part, quoted if it has to be.
fn mailbox(local: &str, domain: &Domain) -> Option<Mailbox> {
    let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
    Mailbox::parse(&format!("\"{quoted}\"@{domain}")).ok()
}

fn day_of(time: Timestamp) -> u64 {
    u64::try_from(time.unix_secs()).unwrap_or(0) / DAY.as_secs()
}

fn day_text(day: u64) -> String {
    let digit = |value: u64| char::from(BASE32[(value % 32) as usize]);
    [digit(day / 32), digit(day)].iter().collect()
}

/// The day that a text of two digits means, if it still counts. Clocks of other nodes may be a little ahead.
fn day_from(text: &str, today: u64) -> Option<u64> {
    let digit = |c: u8| BASE32.iter().position(|one| *one == c.to_ascii_uppercase());
    let [high, low] = *text.as_bytes() else {
        return None;
    };
    let day = (digit(high)? * 32 + digit(low)?) as u64;
    let tomorrow = today + 1;
    let age = (tomorrow + DAYS - day) % DAYS;
    (age <= VALID_DAYS + 1)
        .then(|| tomorrow.checked_sub(age))
        .flatten()
}

/// The first characters of octets in base32; no more than a fifth of a bit less than there are.
fn base32(octets: &[u8; 32], characters: usize) -> String {
    let bit = |at: usize| (octets[at / 8] >> (7 - at % 8)) & 1;
    let character =
        |at: usize| (0..5).fold(0usize, |value, low| (value << 1) | usize::from(bit(at * 5 + low)));
    (0..characters)
        .map(|at| char::from(BASE32[character(at)]))
        .collect()
}

#[cfg(test)]
mod tests;
