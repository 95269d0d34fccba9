//! What an author hands in whose private keys are at home: signing requests, and key sets signed ahead.

use super::Owner;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::dime::signet::Signet;
use crate::dmtp::handed_in::{Fate, KeySetsTaken, MAX_KEY_SETS, Pending, unpack};
use crate::mail::reply::Reply;
use crate::signet_service::{self, Due};
use crate::store::{self, Account, SigningRequest, StoredSignet, TrustMode, fold};

impl Owner {
    /// What became of the request that was handed in.
    pub(super) async fn pending(&self) -> Result<Pending, Reply> {
        let account = self.keeps_keys().await?;
        let (name, store) = (fold(&account.address), &self.services.store);
        let stored = store.signing_request(&name).await;
        let pending = match stored.map_err(|error| self.fault(&error))? {
            Some(stored) => told(stored),
            None => {
                let history = store.signet_history(&name).await;
                let last = history.map_err(|error| self.fault(&error))?.pop();
                let revoked = last.and_then(|last| last.revoked_at.map(|at| (last.signet, at)));
                let (signet, at) = revoked.ok_or_else(|| Reply::plain(450, "no request is here"))?;
                told_of_revocation(&signet, at)
            }
        };
        pending.ok_or_else(|| self.fault(&store::Error::Unreadable("signing request")))
    }

    /// Stores a signing request and the key set that came with it, for an administrator to decide.
    pub(super) async fn hand_in(&self, octets: &[u8]) -> Result<(), Reply> {
        let account = self.keeps_keys().await?;
        let items = unpack(octets, 2).ok_or_else(not_packed)?;
        let [request, key_set @ ..] = items.as_slice() else {
            return Err(not_packed());
        };
        let request = Signet::decode(request).map_err(|error| refused(&error))?;
        let key_set = key_set.first().copied();
        let taken = self
            .services
            .published
            .submit_request(&account.address, &request, key_set);
        taken.await.map_err(|error| self.judge(&error))?;
        tracing::info!(
            event = observe::SIGNING_REQUEST_RECEIVED,
            session.id = %self.id,
            domain = %account.address.domain(),
            "a signing request waits for an administrator"
        );
        Ok(())
    }

    /// Stores key sets, and publishes what is due.
    pub(super) async fn take_key_sets(&self, octets: &[u8]) -> Result<KeySetsTaken, Reply> {
        let account = self.keeps_keys().await?;
        let values = unpack(octets, MAX_KEY_SETS).ok_or_else(not_packed)?;
        let kept = self.services.published.keep_key_sets(&account.address, &values);
        let Due { published, left } = kept.await.map_err(|error| self.judge(&error))?;
        tracing::info!(
            event = observe::KEY_SETS_RECEIVED,
            session.id = %self.id,
            count = values.len(),
            "key sets of a user are stored"
        );
        Ok(KeySetsTaken {
            published,
            waiting: u32::try_from(left).unwrap_or(u32::MAX),
        })
    }

    async fn keeps_keys(&self) -> Result<&Account, Reply> {
        let account = self.present_author().await?;
        match account.trust_mode {
            TrustMode::Cautious | TrustMode::Paranoid => Ok(account),
            TrustMode::Trustful => Err(Reply::plain(
                550,
                "your keys are kept here: those who run this server replace them",
            )),
        }
    }

    /// Whose fault it is.
    fn judge(&self, error: &signet_service::Error) -> Reply {
        use signet_service::Error as E;
        match error {
            E::NotServed | E::NoOrganization => Reply::plain(550, "your domain has no keys to sign with"),
            E::NoDmtpForm | E::NoSignet | E::KeptHere | E::Revoked => Reply::plain(550, error.to_string()),
            E::Signet(_) | E::KeySet(_) => refused(error),
            E::Store(store::Error::Exists) => Reply::plain(554, "two key sets are due at the same time"),
            E::Store(store::Error::Changed) => Reply::plain(451, "somebody else has just published"),
            error => self.fault(error),
        }
    }
}

/// What the owner is told of a stored request; `None` if it cannot be read.
fn told(stored: SigningRequest) -> Option<Pending> {
    Some(Pending {
        request: Signet::decode(&stored.object).ok()?.ssr_fingerprint()?,
        submitted_at: stored.submitted_at,
        fate: match stored.rejected {
            None => Fate::Waiting,
            Some((at, reason)) => Fate::Rejected(at, reason),
        },
    })
}

fn told_of_revocation(signet: &StoredSignet, at: Timestamp) -> Option<Pending> {
    Some(Pending {
        request: Signet::decode(&signet.object).ok()?.ssr_fingerprint()?,
        submitted_at: signet.published_at,
        fate: Fate::Revoked(at),
    })
}

fn not_packed() -> Reply {
    Reply::plain(554, "the octets are not packed as they should be")
}

fn refused(error: &dyn std::error::Error) -> Reply {
    Reply::plain(554, error.to_string())
}
