//! Users of an organization whose keys were replaced without the steps that keep users' signets valid.

use super::{Error, Offer, Organization, Published, fold, folded};
use crate::base::secret::Secret;
use crate::dime::keys::UserKeys;
use crate::dime::signet::{Kind, Signer, Signet, VerifiedOrg, VerifiedUser, request, verify_user};
use crate::mail::address::Mailbox;
use crate::store::NewKemKeys;

impl Published {
    /// The current signet of a user for whom an earlier signet of the organization vouches, and the present one does not.
    pub(in crate::signet_service) async fn left_behind(
        &self,
        address: &Mailbox,
        present: &VerifiedOrg,
        past: &[VerifiedOrg],
    ) -> Result<Option<VerifiedUser>, Error> {
        let address = &folded(address)?;
        let Some(stored) = self.store.current_signet(&fold(address)).await? else {
            return Ok(None);
        };
        let signet = Signet::decode(&stored.object)?;
        let vouches = |organization: &VerifiedOrg| verify_user(&signet, organization, None, address).ok();
        match vouches(present) {
            Some(_) => Ok(None),
            None => Ok(past.iter().rev().find_map(vouches)),
        }
    }

    /// Has the organization's primary key vouch for a user's keys. Everything else in the signet stays, and so do the keys
    /// that are kept.
    pub(in crate::signet_service) async fn vouch_for(
        &self,
        address: &Mailbox,
        organization: &Organization,
        user: &VerifiedUser,
    ) -> Result<(), Error> {
        let address = &folded(address)?;
        let signer = Signer::new(&organization.signet, &organization.keys.signing)?;
        let signet = signer.resign(user)?.identifiable(address)?;
        verify_user(&signet, &organization.signet, None, address)?;
        let name = fold(address);
        let private_keys = self.private_keys(&name, user.crypto_fingerprint()).await?;
        let replaces = user.full_fingerprint();
        let stored = self.store.kem_keys(&name).await?;
        let stored = stored.into_iter().find(|kept| Some(kept.signet) == replaces);
        let kem_keys = stored.map(|kept| NewKemKeys {
            keys: kept.keys,
            created_at: kept.created_at,
            expires_at: kept.expires_at,
            destroy_at: kept.destroy_at,
        });
        self.publish(name, &signet, private_keys, kem_keys, replaces)
            .await
    }

    /// Publishes a signet over `keys`, which are kept, for a user of whose signet the keys are lost, so that they cannot sign the
    /// new ones: it has no chain of custody, and others accept it only by hand.
    pub(in crate::signet_service) async fn publish_new_start(
        &self,
        address: &Mailbox,
        keys: UserKeys,
        lost: &VerifiedUser,
    ) -> Result<(), Error> {
        let set = self.new_key_set(Kind::User, &keys.signing, Offer::after(lost.signet()))?;
        let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
        let replaces = lost.full_fingerprint();
        self.sign_after(
            (None, replaces),
            address,
            &request(&keys)?,
            Some(armored),
            Some(set),
        )
        .await?;
        Ok(())
    }
}
