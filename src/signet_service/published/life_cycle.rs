//! Signets of ours later in their lives: requests, other signatures over the same keys, the end; and what the
//! management record says meanwhile.

use super::{Error, Published, User, fold, folded};
use crate::base::secret::Secret;
use crate::crypto::ed25519::{SigningKey, VerifyingKey};
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, SsrFingerprint};
use crate::dime::key_set::SignedKeySet;
use crate::dime::keys::OrgKeys;
use crate::dime::record::Policy;
use crate::dime::signet::{Kind, Level, Signet, VerifiedUser, verify_request, verify_user};
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{DimeSettings, RetirementState, RolloverState, SigningRequest};

/// What the management record of a domain of ours says at this point of its keys' lives.
#[derive(Debug, Clone)]
pub struct RecordPlan {
    /// The primary keys, in the order of the record.
    pub primary_keys: Vec<VerifyingKey>,
    /// Those that vouch for the certificates: all of which the private half still exists.
    pub signers: Vec<SigningKey>,
    /// The policy.
    pub policy: Policy,
    /// Days after which the record must be forgotten.
    pub expiry_days: Option<u16>,
}

impl Published {
    /// What the management record of a domain of ours is to say now; `None` for none, because the domain leaves DIME.
    ///
    /// While keys are being changed it has the old and the new ones, so that whoever knows only one of them finds it.
    pub async fn record_plan(
        &self,
        domain: &Domain,
        settings: &DimeSettings,
    ) -> Result<Option<RecordPlan>, Error> {
        let leaving = self.store.retirement(domain).await?;
        let (policy, expiry_days) = match leaving.map(|leaving| leaving.state) {
            None => (settings.policy, settings.expiry_days),
            Some(RetirementState::Announced | RetirementState::Expiring) => (Policy::Experimental, Some(1)),
            Some(RetirementState::Withdrawn) => return Ok(None),
        };
        let (primary_keys, signers) = self.primary_keys(domain).await?;
        Ok(Some(RecordPlan {
            primary_keys,
            signers,
            policy,
            expiry_days,
        }))
    }

    /// The signet of an account of ours, current or that one, as it is served under another address that leads to the
    /// account: up to the full signature, which names nobody. With the keys, if they are kept.
    pub async fn user_as(
        &self,
        holder: &Mailbox,
        alias: &Mailbox,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Option<User>, Error> {
        let user = match fingerprint {
            Some(wanted) => self.user_by(holder, wanted).await?,
            None => self.user(holder).await?,
        };
        let Some(user) = user else { return Ok(None) };
        let signet = self.signet_as(user.signet, holder, alias).await?;
        Ok(signet.map(|signet| User {
            signet,
            keys: user.keys,
        }))
    }

    /// The same without the keys, of that signet.
    pub async fn user_signet_as(
        &self,
        holder: &Mailbox,
        alias: &Mailbox,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<VerifiedUser>, Error> {
        match self.user_signet_by(holder, fingerprint).await? {
            Some(signet) => self.signet_as(signet, holder, alias).await,
            None => Ok(None),
        }
    }

    async fn signet_as(
        &self,
        signet: VerifiedUser,
        holder: &Mailbox,
        alias: &Mailbox,
    ) -> Result<Option<VerifiedUser>, Error> {
        if fold(holder) == fold(alias) {
            return Ok(Some(signet));
        }
        let Some(organization) = self.organization(holder.domain()).await? else {
            return Ok(None);
        };
        let full = signet.signet().split(Level::Full).ok_or(Error::Incomplete)?;
        let verified = self.verified.user(&full.encode(), &organization.signet, alias)?;
        Ok(Some(verified))
    }

    /// While keys are being changed, the old one and the new one; and the private halves that exist.
    async fn primary_keys(&self, domain: &Domain) -> Result<(Vec<VerifyingKey>, Vec<SigningKey>), Error> {
        let name = domain.as_str();
        let under_way = self.store.rollover(name).await?;
        let Some(rollover) = under_way.filter(|rollover| rollover.state < RolloverState::Retired) else {
            let organization = self.organization(domain).await?.ok_or(Error::NoOrganization)?;
            let key = organization.keys.signing;
            return Ok((vec![key.verifying_key()], vec![key]));
        };
        let before = self.store.signet_by_fingerprint(name, rollover.replaces.into());
        let before = before.await?.ok_or(Error::NoSignet)?;
        let old = self.store.private_keys(name, rollover.replaces).await?;
        let new = self.store.rollover_keys(name).await?.ok_or(Error::NoKeys)?;
        let new = signing_key(&new)?;
        let primary_keys = vec![
            Signet::decode(&before.object)?.signing_key()?,
            new.verifying_key(),
        ];
        let mut signers = Vec::from_iter(old.as_ref().map(signing_key).transpose()?);
        signers.push(new);
        Ok((primary_keys, signers))
    }

    /// Keeps the request of a user who has the keys, with a key set if there is one, until an administrator decides. It takes
    /// the place of an earlier one.
    ///
    /// Errors: [`Error::NotServed`], [`Error::NoDmtpForm`], [`Error::Revoked`], and why the request or the key set cannot
    /// be used.
    pub async fn submit_request(
        &self,
        address: &Mailbox,
        request: &Signet,
        key_set: Option<&[u8]>,
    ) -> Result<(), Error> {
        let address = folded(address)?;
        Name::parse(&address.to_string()).map_err(|_| Error::NoDmtpForm)?;
        let domain = self.store.local_domain(address.domain()).await?;
        if domain.is_none_or(|domain| domain.dime.is_none()) {
            return Err(Error::NotServed);
        }
        let predecessor = self.user(&address).await?.map(|user| user.signet);
        let request = verify_request(request, predecessor.as_ref())?;
        self.refuse_revoked(&address, request.signing_key()).await?;
        if let Some(value) = key_set {
            let set = SignedKeySet::decode(Kind::User, &request.signing_key(), value)?;
            set.accept(super::seconds(self.clock.now()))?;
        }
        let waiting = SigningRequest {
            name: address.to_string(),
            object: request.signet().encode(),
            key_set: key_set.map(<[u8]>::to_vec),
            submitted_at: self.clock.now(),
            rejected: None,
        };
        Ok(self.store.submit_request(waiting).await?)
    }

    /// Signs and publishes what a user has asked for; with a fingerprint, that request alone.
    ///
    /// Errors: [`Error::NoRequest`], also for one that was rejected; [`Error::OtherRequest`]; and as for
    /// [`publish_request`](Self::publish_request).
    pub async fn approve(
        &self,
        address: &Mailbox,
        wanted: Option<SsrFingerprint>,
    ) -> Result<VerifiedUser, Error> {
        let waiting = self.waiting(address).await?;
        let request = Signet::decode(&waiting.object)?;
        if wanted.is_some() && wanted != request.ssr_fingerprint() {
            return Err(Error::OtherRequest);
        }
        let current = self.user(address).await?.map(|user| user.signet);
        let published = current.filter(|current| current.ssr_fingerprint() == request.ssr_fingerprint());
        let signet = match (published, &waiting.key_set) {
            // Published by a try that was cut off.
            (Some(signet), _) => signet,
            (None, Some(value)) => self.publish_request_with(address, &request, value).await?,
            (None, None) => self.publish_request(address, &request).await?,
        };
        self.store.drop_request(&waiting).await?;
        Ok(signet)
    }

    /// Rejects what a user has asked for, with a reason for the user.
    ///
    /// Errors: [`Error::NoRequest`].
    pub async fn reject(&self, address: &Mailbox, reason: &str) -> Result<(), Error> {
        let waiting = self.waiting(address).await?;
        Ok(self
            .store
            .reject_request(&waiting, reason, self.clock.now())
            .await?)
    }

    async fn waiting(&self, address: &Mailbox) -> Result<SigningRequest, Error> {
        let waiting = self.store.signing_request(&fold(address)).await?;
        waiting
            .filter(|waiting| waiting.rejected.is_none())
            .ok_or(Error::NoRequest)
    }

    /// Publishes a signet that was signed elsewhere with a key of the organization: the primary one, or one for signets.
    ///
    /// Errors: [`Error::NoOrganization`], and why the signet does not verify, chain of custody from the current signet
    /// included.
    pub async fn publish_signed(&self, address: &Mailbox, signet: &Signet) -> Result<VerifiedUser, Error> {
        let address = folded(address)?;
        Name::parse(&address.to_string()).map_err(|_| Error::NoDmtpForm)?;
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let current = self.user(&address).await?.map(|user| user.signet);
        // Another signet over the same keys needs no custody from the one before it.
        let kept = current
            .as_ref()
            .is_some_and(|current| current.ssr_fingerprint() == signet.ssr_fingerprint());
        let predecessor = current.as_ref().filter(|_| !kept);
        let verified = verify_user(signet, &organization.signet, predecessor, &address)?;
        self.refuse_revoked(&address, verified.signing_key()).await?;
        let replaces = current.as_ref().and_then(VerifiedUser::full_fingerprint);
        self.publish(address.to_string(), verified.signet(), None, None, replaces)
            .await?;
        self.drop_foreign_key_sets(&address, &verified.signing_key())
            .await?;
        Ok(verified)
    }

    /// Has the organization's present primary key vouch for a user's keys, if it does not yet; whether it did not. Everything
    /// else in the signet stays, and so do the keys that are kept.
    pub async fn resign(&self, address: &Mailbox) -> Result<bool, Error> {
        let address = &folded(address)?;
        let Some(user) = self.user(address).await? else {
            return Ok(false);
        };
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        if user.signet.is_signed_by(&organization.signet.primary_key()) {
            return Ok(false);
        }
        self.vouch_for(address, &organization, &user.signet).await?;
        Ok(true)
    }

    /// Takes the current signet of a user of ours out of service, with all others of the same signing key: nobody is
    /// told of them any more. How many there were.
    ///
    /// The private keys stay for mail that is under way. The next signet of the user is a new start without chain of
    /// custody, which others accept only by hand. Errors: [`Error::NoSignet`].
    pub async fn revoke(&self, address: &Mailbox) -> Result<u64, Error> {
        let name = fold(address);
        let current = self.store.current_signet(&name).await?.ok_or(Error::NoSignet)?;
        let key = Signet::decode(&current.object)?.signing_key()?;
        let mut revoked: Vec<CryptoFingerprint> = Vec::new();
        for past in self.store.signet_history(&name).await? {
            let signet = Signet::decode(&past.signet.object)?;
            if signet.signing_key()? == key && !revoked.contains(&past.signet.crypto) {
                revoked.push(past.signet.crypto);
            }
        }
        Ok(self
            .store
            .revoke_signets(&name, &revoked, self.clock.now())
            .await?)
    }
}

fn signing_key(armored: &Secret<Vec<u8>>) -> Result<SigningKey, Error> {
    Ok(OrgKeys::from_armor(super::text(armored)?)?.signing)
}
