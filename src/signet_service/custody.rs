//! Users' signing keys that were seen before: what is seen now must follow from them (`signet.md` §13).
//!
//! | Signet | Its signing key may be |
//! |---|---|
//! | the current one | the one seen before, or a later one of its chain of custody |
//! | the author's, which a message names | the same, or an earlier one: the message may have been under way while keys changed |
//!
//! The key seen last is pinned; an earlier one never takes the place of a later one. Anybody can name anybody in a message, so
//! an author's key is pinned after a signature has shown that the message is the author's. One history is gone along for a
//! signet at most, and what that costs is bounded ([`chains`]).

mod chains;

use std::time::Duration;

pub use self::chains::Chains;
use self::chains::{Goal, Shown};

use super::inquiry::{Error, Inquiry};
use super::verified::question;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::CryptoFingerprint;
use crate::dime::signet::VerifiedUser;
use crate::mail::address::Mailbox;
use crate::store::{self, CustodyPin, Store, Witnessed, fold};

/// How long somebody's signing key is remembered after it was last seen.
const KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 3600);

/// How often a signet is judged anew because others have pinned another one meanwhile.
const TRIES: usize = 4;

/// What is known of one user's signing key.
pub(super) struct Custody<'a> {
    /// Remembers it.
    pub store: &'a dyn Store,
    /// Histories gone along before.
    pub chains: &'a Chains,
    /// The time.
    pub now: Timestamp,
    /// Whose it is.
    pub address: &'a Mailbox,
}

/// The signing key that a user was last seen with.
struct Seen {
    key: VerifyingKey,
    /// The signet that had it; unknown if it was seen before custody was kept.
    signet: Option<CryptoFingerprint>,
}

impl Seen {
    fn pin(&self) -> Option<CustodyPin> {
        self.signet.map(|signet| CustodyPin {
            signing_key: self.key,
            signet,
        })
    }
}

/// An author's signing key, to be pinned once a message has proven to be the author's
/// ([`Directory::remember_author`](super::Directory::remember_author)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    name: String,
    before: Option<CustodyPin>,
    pin: CustodyPin,
}

/// Whether a signet is the current one, or one that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Current,
    Author,
}

/// How a signing key stands to the one seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Same,
    Later,
    Earlier,
}

impl Custody<'_> {
    /// Checks the current signet, and pins its signing key.
    pub async fn keep(&self, inquiry: &mut Inquiry<'_>, user: &VerifiedUser) -> Result<(), Error> {
        for _ in 0..TRIES {
            let seen = self.seen().await?;
            let standing = self.standing(inquiry, user, seen.as_ref(), Role::Current);
            if standing.await?.is_none() {
                return Err(broken(self.address));
            }
            let sighting = self.sighting(user, seen.as_ref());
            if pin(self.store, sighting, false, self.now).await? {
                return Ok(());
            }
        }
        Err(store::Error::Changed.into())
    }

    /// Checks a signet that a message names as its author's. What is to be pinned: its signing key if it is a new one, or
    /// `refresh`.
    pub async fn judge_author(
        &self,
        inquiry: &mut Inquiry<'_>,
        user: &VerifiedUser,
        refresh: bool,
    ) -> Result<Option<Sighting>, Error> {
        let seen = self.seen().await?;
        let standing = self.standing(inquiry, user, seen.as_ref(), Role::Author);
        match standing.await? {
            Some(Standing::New | Standing::Later) => Ok(Some(self.sighting(user, seen.as_ref()))),
            Some(Standing::Same) if refresh => Ok(Some(self.sighting(user, seen.as_ref()))),
            Some(Standing::Same | Standing::Earlier) => Ok(None),
            None => Err(broken(self.address)),
        }
    }

    fn sighting(&self, user: &VerifiedUser, seen: Option<&Seen>) -> Sighting {
        Sighting {
            name: fold(self.address),
            before: seen.and_then(Seen::pin),
            pin: CustodyPin {
                signing_key: user.signing_key(),
                signet: user.crypto_fingerprint(),
            },
        }
    }

    async fn seen(&self) -> Result<Option<Seen>, Error> {
        let name = fold(self.address);
        if let Some(pin) = self.store.custody_pin(&name, self.now).await? {
            return Ok(Some(Seen {
                key: pin.signing_key,
                signet: Some(pin.signet),
            }));
        }
        let key_set = self.store.key_set_pin(&name, self.now).await?;
        Ok(key_set.map(|seen| Seen {
            key: seen.pin.signing_key,
            signet: None,
        }))
    }

    /// How the signing key stands to the one seen before; `None` if nothing shows that either has signed the other. A
    /// history is asked for only where that is not seen at once, and was not found out before.
    async fn standing(
        &self,
        inquiry: &mut Inquiry<'_>,
        user: &VerifiedUser,
        seen: Option<&Seen>,
        role: Role,
    ) -> Result<Option<Standing>, Error> {
        let Some(seen) = seen else {
            return Ok(Some(Standing::New));
        };
        if user.signing_key() == seen.key {
            return Ok(Some(Standing::Same));
        }
        if user.succeeds(&seen.key) {
            return Ok(Some(Standing::Later));
        }
        let question = self.question(user, seen, role);
        if let Some(standing) = self.chains.outcome(&question, self.now) {
            return Ok(standing);
        }
        let standing = self.look(inquiry, user, seen, role).await?;
        self.chains.remember(question, standing, self.now);
        Ok(standing)
    }

    /// Asks for the history from the key seen before on, and for one from an author's key on only if the signet is not in
    /// that: one that has it and is broken is not made up for by another one.
    ///
    /// Only its holder can have taken the earlier key's signature into the signet that has the later one.
    async fn look(
        &self,
        inquiry: &mut Inquiry<'_>,
        user: &VerifiedUser,
        seen: &Seen,
        role: Role,
    ) -> Result<Option<Standing>, Error> {
        if let (Some(start), Some(request)) = (seen.signet, user.ssr_fingerprint()) {
            let history = self.history(inquiry, start).await?;
            let goal = Goal::Request(request);
            match self.chains.follow(history, seen.key, goal).await {
                Shown::Proven => return Ok(Some(Standing::Later)),
                Shown::Broken => return Ok(None),
                Shown::Nothing => {}
            }
        }
        if role == Role::Current {
            return Ok(None);
        }
        let history = self.history(inquiry, user.crypto_fingerprint()).await?;
        let goal = Goal::Key(seen.key);
        let shown = self.chains.follow(history, user.signing_key(), goal).await;
        Ok((shown == Shown::Proven).then_some(Standing::Earlier))
    }

    /// The user's signets from that one on, as their host shows them; none if it has no such history.
    async fn history(
        &self,
        inquiry: &mut Inquiry<'_>,
        start: CryptoFingerprint,
    ) -> Result<Vec<Vec<u8>>, Error> {
        match inquiry.history_objects(self.address, Some(start.into())).await {
            Err(Error::NotFound) => Ok(Vec::new()),
            history => history,
        }
    }

    fn question(&self, user: &VerifiedUser, seen: &Seen, role: Role) -> [u8; 64] {
        let start = seen.signet.map(|signet| signet.0);
        question(&[
            fold(self.address).as_bytes(),
            &seen.key.0,
            start.as_ref().map_or(&[], |start| start.as_slice()),
            user.object(),
            &[u8::from(role == Role::Author)],
        ])
    }
}

/// Pins the key of an author whose message it has proven to be. Errors: [`Changed`](store::Error::Changed) if another key has
/// been pinned since it was judged.
pub(super) async fn pin_author(store: &dyn Store, sighting: Sighting, now: Timestamp) -> Result<(), Error> {
    let (name, key) = (sighting.name.clone(), sighting.pin.signing_key);
    if pin(store, sighting, true, now).await? {
        return Ok(());
    }
    match store.custody_pin(&name, now).await? {
        Some(pin) if pin.signing_key == key => Ok(()),
        _ => Err(store::Error::Changed.into()),
    }
}

/// Whether what was seen before is still what is pinned.
async fn pin(store: &dyn Store, sighting: Sighting, author: bool, now: Timestamp) -> Result<bool, Error> {
    let after = Witnessed {
        pin: sighting.pin,
        expires_at: now.after(KEPT_FOR),
        as_author: author,
    };
    Ok(store
        .pin_custody(&sighting.name, sighting.before, after, now)
        .await?)
}

/// A key that may be somebody else's is for a person to look at.
fn broken(address: &Mailbox) -> Error {
    tracing::error!(event = observe::SIGNET_CUSTODY_BROKEN, domain = %address.domain(),
        "the signing key of a user elsewhere has changed, and no chain of custody leads to the new one: mail to and from \
         the user waits (`dimed key set accept` takes it once the other side has been asked)");
    Error::CustodyBroken
}
