//! The steps about files and the database.

use std::path::Path;

use anyhow::Context as _;

use super::plan::{self, Password, Plan};
use super::progress::Progress;
use crate::accounts::NewAccount;
use crate::base::durable;
use crate::cli::account::add::{self, Trust};
use crate::cli::context::Context;
use crate::cli::{Misuse, audit, check};
use crate::config::{self, Config, Error, Origin};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{self, TrustMode};

/// Writes the configuration file.
pub fn configuration(plan: &Plan, path: &Path, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let Some(text) = &plan.text else {
        return progress.already(
            "configuration",
            &format!("the configuration is {}", path.display()),
        );
    };
    durable::create_folder(durable::folder_of(path))
        .and_then(|()| durable::replace(path, text.as_bytes(), 0o644))
        .map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })
        .context("the configuration cannot be written")?;
    progress.done("configuration", &format!("Wrote {}", path.display()))
}

/// Makes the database and the master key.
pub async fn store(config: Config, progress: &mut Progress<'_>) -> anyhow::Result<Context> {
    let origin = config::find_master_key(&config);
    let missing = match &origin {
        Origin::File(path) if !path.exists() => Some(path.clone()),
        _ => None,
    };
    let context = Context::open_or_create(config).await?;
    match (missing, origin) {
        (Some(path), _) => {
            let path = path.display();
            let text = format!(
                "Made the database, and the master key in {path}: keep a copy where the database is not (`LoadCredential=master.key:{path}` \
                 in the unit hands it over as a credential of systemd)"
            );
            progress.done("keys", &text)?;
        }
        (None, Origin::File(path)) => {
            progress.already("keys", &format!("the master key is in {}", path.display()))?;
        }
        (None, Origin::Credential(_)) => {
            progress.already("keys", "the master key is a credential of systemd")?;
        }
        (None, Origin::Environment) => progress.already("keys", "the master key is in the environment")?,
    }
    Ok(context)
}

/// Serves the domain, with DIME.
pub async fn domain(context: &Context, domain: &Domain, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    if context.store.relay_domain(domain).await?.is_some() {
        return Err(store::Error::Exists).with_context(|| {
            format!("mail for {domain} is passed on to another host, so it cannot be served")
        });
    }
    if context.store.local_domain(domain).await?.is_some() {
        return progress.already("domain", &format!("{domain} is served"));
    }
    let usual = crate::cli::domain::usual(&context.config);
    crate::cli::domain::serve(context, domain, Some(usual)).await?;
    progress.done(
        "domain",
        &format!("{domain} is served, with keys and a signet of its own"),
    )
}

/// Adds the first account.
pub async fn account(
    context: &Context,
    domain: &Domain,
    wanted: Option<Mailbox>,
    password: Password,
    progress: &mut Progress<'_>,
) -> anyhow::Result<()> {
    let oldest = context.store.oldest_account(domain).await?;
    let address = match (wanted, oldest) {
        (None, Some(account)) => {
            return progress.already("account", &format!("{} has an account", account.address));
        }
        (Some(address), _) => address,
        // An earlier run has asked, and was cut off before it came to this.
        (None, None) => progress
            .ask(|questions| plan::asked_account(questions, domain))?
            .ok_or_else(|| {
                Misuse(format!(
                    "nobody has an account in {domain}: say the first one with --account"
                ))
            })?,
    };
    if context.store.account(&address).await?.is_some() {
        progress.already("account", &format!("{address} has an account"))?;
        return check::check_in_charge(context).await;
    }
    let failed = || format!("{address} cannot be added");
    context
        .accounts()
        .demand_free(&address)
        .await
        .with_context(failed)?;
    let local = context.store.local_domain(domain).await?;
    let local = local.ok_or(store::Error::Missing).with_context(failed)?;
    let new = NewAccount {
        password: match password {
            _ if add::is_at_dovecot(context) => add::nobodys_password(),
            Password::Given(password) => password,
            Password::Typed => {
                progress.say(&format!("The password of {address}:\n"))?;
                add::password(None)?
            }
            Password::Unknown => {
                let text = format!("say the password of {address} with --password-file");
                return Err(Misuse(text).into());
            }
        },
        trust_mode: TrustMode::Trustful,
        address: address.clone(),
    };
    add::make(context, &local, new, Trust::Trustful, None)
        .await
        .with_context(failed)?;
    progress.done("account", &format!("{address} has an account and a signet"))?;
    check::check_in_charge(context).await
}

/// Makes keys for DKIM.
pub async fn dkim(context: &Context, domain: &Domain, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let keys = context.dkim_keys()?;
    if !keys.list(domain).await?.is_empty() {
        return progress.already("dkim", "there are keys for DKIM");
    }
    keys.generate(domain)
        .await
        .with_context(|| format!("keys for DKIM cannot be made for {domain}"))?;
    audit::dkim(context, domain, "added");
    progress.done(
        "dkim",
        "Made keys for DKIM, which are put to use once DNS has them",
    )
}
