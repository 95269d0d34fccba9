//! What a signet and a pin together say of its owner's keys (`dmime2.md` §3.4).

use std::fmt;

use super::{Error, KeySet, SignedKeySet};
use crate::crypto::ed25519::VerifyingKey;
use crate::crypto::suite::hpke::Suite;
use crate::dime::signet::{Level, Signet, VerifiedOrg, VerifiedUser};

/// What was remembered of an owner's key sets, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The signing key that the owner had.
    pub signing_key: VerifyingKey,
    /// When the newest key set under that key was created. Unix seconds.
    pub created: u64,
    /// Whether there ever was one with keys under this name, whatever the signing key.
    pub ever_usable: bool,
}

impl Pin {
    /// The pin that replaces `before` once `capability` has been found under `signing_key`; `None` leaves it as it was.
    ///
    /// Only usable and opted-out key sets are remembered.
    pub fn after(before: Option<&Self>, signing_key: VerifyingKey, capability: &Capability) -> Option<Self> {
        let (set, usable) = match capability {
            Capability::Usable(set) => (set, true),
            Capability::OptedOut(set) => (set, false),
            _ => return None,
        };
        Some(Self {
            signing_key,
            created: set.created(),
            ever_usable: usable || before.is_some_and(|pin| pin.ever_usable),
        })
    }
}

/// Whether anything vouches for another signing key than the pinned one: chain of custody, a validated management
/// record, or the user's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Something does.
    Accepted,
    /// Nothing does.
    Unproven,
}

/// A verified signet, seen as somebody's who may have a key set.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    signet: &'a Signet,
    level: Level,
    signing_key: VerifyingKey,
}

impl Owner<'_> {
    /// The key that signs the owner's key sets.
    pub fn signing_key(&self) -> VerifyingKey {
        self.signing_key
    }

    /// Whether a superseded signet was in force when a message was created: it has a full signature, and a key set that
    /// obeys N1 to N3 and lived then (rule E4). Unix seconds.
    pub fn was_in_force(&self, created: u64) -> bool {
        let set = || SignedKeySet::of(self.signet).ok().flatten();
        self.level >= Level::Full && set().is_some_and(|set| set.was_in_force(created))
    }
}

impl<'a> From<&'a VerifiedOrg> for Owner<'a> {
    fn from(organization: &'a VerifiedOrg) -> Self {
        Self {
            signet: organization.signet(),
            level: organization.level(),
            signing_key: organization.primary_key(),
        }
    }
}

impl<'a> From<&'a VerifiedUser> for Owner<'a> {
    fn from(user: &'a VerifiedUser) -> Self {
        Self {
            signet: user.signet(),
            level: user.level(),
            signing_key: user.signing_key(),
        }
    }
}

/// What is known of an owner's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// No valid signet with a full signature could be had (N4).
    Unknown,
    /// There is no key set, and none is missing.
    Absent,
    /// The owner has signed that there are no keys.
    OptedOut(KeySet),
    /// There are keys, perhaps of suites that we do not know.
    Usable(KeySet),
    /// There is, or should be, a key set, and it breaks a rule.
    Unusable(Error),
}

/// A [`Capability`] in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// See [`Capability::Unknown`].
    Unknown,
    /// See [`Capability::Absent`].
    Absent,
    /// See [`Capability::OptedOut`].
    OptedOut,
    /// See [`Capability::Usable`].
    Usable,
    /// See [`Capability::Unusable`].
    Unusable,
}

impl State {
    /// The word, for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::OptedOut => "opted-out",
            Self::Usable => "usable",
            Self::Unusable => "unusable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Capability {
    /// In one word.
    pub fn state(&self) -> State {
        match self {
            Self::Unknown => State::Unknown,
            Self::Absent => State::Absent,
            Self::OptedOut(_) => State::OptedOut,
            Self::Usable(_) => State::Usable,
            Self::Unusable(_) => State::Unusable,
        }
    }

    /// The number of the rule that is broken, if one is.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Unknown => Some("N4"),
            Self::Unusable(error) => Some(error.rule()),
            _ => None,
        }
    }

    /// The keys, if there are any.
    pub fn keys(&self) -> Option<&KeySet> {
        match self {
            Self::Usable(set) => Some(set),
            _ => None,
        }
    }

    /// The suites that can be used, ascending.
    pub fn suites(&self) -> Vec<Suite> {
        self.keys().map(|set| set.suites().collect()).unwrap_or_default()
    }
}

/// What can be said at `now` of the owner of a verified signet, given what is pinned under the owner's name. Unix seconds.
///
/// `owner` is `None` when no valid signet could be had. `change` matters only if the signing key is not the pinned one.
pub fn capability(owner: Option<Owner<'_>>, pin: Option<&Pin>, change: Change, now: u64) -> Capability {
    let Some(owner) = owner.filter(|owner| owner.level >= Level::Full) else {
        return Capability::Unknown;
    };
    let same_key = pin.filter(|pin| pin.signing_key == owner.signing_key);
    if pin.is_some() && same_key.is_none() && change == Change::Unproven {
        return Capability::Unusable(Error::OtherSigner);
    }
    let found = SignedKeySet::of(owner.signet).and_then(|set| judge(set, same_key, now));
    found.unwrap_or_else(Capability::Unusable)
}

/// Rules N5 to N7, with what is pinned under the same signing key.
fn judge(set: Option<SignedKeySet>, pin: Option<&Pin>, now: u64) -> Result<Capability, Error> {
    let Some(signed) = set else {
        return match pin {
            Some(_) => Err(Error::Vanished),
            None => Ok(Capability::Absent),
        };
    };
    let set = signed.accept(now)?;
    if pin.is_some_and(|pin| set.created() < pin.created) {
        return Err(Error::Older);
    }
    Ok(match signed.is_opt_out() {
        true => Capability::OptedOut(set),
        false => Capability::Usable(set),
    })
}
