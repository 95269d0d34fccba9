//! Private keys of ours that are lost: not there any more, or there and not to be opened. What is known without them is shown all
//! the same.

use super::context::Context;
use super::key::without_keys;
use crate::mail::address::{Domain, Mailbox};
use crate::signet_service::{Error, User};
use crate::store::{self, fold};

/// Whether that is why a signet of ours cannot be used.
pub fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::NoKeys | Error::Keys(_) | Error::Store(store::Error::Unreadable(_))
    )
}

/// A signet of ours, as far as it can be used.
pub struct Known {
    /// Its full fingerprint, if there is one.
    pub fingerprint: Option<String>,
    /// What is lost, and what to do.
    pub lost: Option<String>,
}

/// What is known of a domain's signet.
pub async fn organization(context: &Context, domain: &Domain) -> anyhow::Result<Known> {
    let lost = match context.published().organization(domain).await {
        Ok(_) => None,
        Err(error) if is_lost(&error) => Some(without_keys(domain)),
        Err(error) => return Err(error.into()),
    };
    Ok(Known {
        fingerprint: fingerprint(context, domain.as_str()).await?,
        lost,
    })
}

/// What is known of a user's signet; and the signet itself, if all of it can be used.
pub async fn user(context: &Context, address: &Mailbox) -> anyhow::Result<(Known, Option<User>)> {
    let (user, lost) = match context.published().user(address).await {
        Ok(user) => (user, None),
        Err(error) if is_lost(&error) => (None, Some(whose(context, address).await?)),
        Err(error) => return Err(error.into()),
    };
    let known = Known {
        fingerprint: fingerprint(context, &fold(address)).await?,
        lost,
    };
    Ok((known, user))
}

/// What is lost of a user whose signet cannot be used, and what to do. The keys of the domain vouch for those of the user.
pub async fn whose(context: &Context, address: &Mailbox) -> anyhow::Result<String> {
    let of_domain = organization(context, address.domain()).await?.lost;
    Ok(of_domain.unwrap_or_else(|| {
        format!(
            "the private keys of {address} cannot be opened: restore a backup, or have `dimed signet revoke {address}` and `dimed signet \
             publish {address}` make others"
        )
    }))
}

async fn fingerprint(context: &Context, name: &str) -> anyhow::Result<Option<String>> {
    let stored = context.store.current_signet(name).await?;
    Ok(stored.map(|stored| stored.full.to_string()))
}
