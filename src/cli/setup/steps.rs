//! The steps about files and the database.

use std::io;
use std::path::Path;

use anyhow::Context as _;

use super::lock::{Busy, Lock};
use super::plan::{self, Password, Plan};
use super::progress::Progress;
use crate::accounts::NewAccount;
use crate::base::durable;
use crate::base::secret::Secret;
use crate::cli::account::add::{self, Trust};
use crate::cli::context::Context;
use crate::cli::domain::{Given, why_formless};
use crate::cli::{Misuse, audit, check, traces};
use crate::config::{self, Config, Error, Origin};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{self, TrustMode};

/// Other domains that are warned of, at most.
const MOST_WARNINGS: usize = 10;

/// Writes the configuration file, after a note that there is no database yet. Where that fails, all is as it was.
pub fn configuration(
    plan: &Plan,
    path: &Path,
    lock: &mut Lock,
    progress: &mut Progress<'_>,
) -> anyhow::Result<()> {
    let Some(text) = &plan.text else {
        lock.follow(path)?;
        return progress.already(
            "configuration",
            &format!("the configuration is {}", path.display()),
        );
    };
    let written = |done: io::Result<()>| {
        let named = done.map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        });
        named.context("the configuration cannot be written")
    };
    let folder = durable::folder_of(path);
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.is_dir()).collect();
    written(durable::create_folder(folder))?;
    if lock.follow(path)? && path.exists() {
        return Err(Busy::Quicker(path.to_owned()).into());
    }
    let done = write(&plan.config, text, path);
    if done.is_err() {
        // Those that are not empty stay.
        for made in missing {
            let _ = std::fs::remove_dir(made);
        }
    }
    written(done)?;
    progress.done("configuration", &format!("Wrote {}", path.display()))
}

fn write(config: &Config, text: &str, path: &Path) -> io::Result<()> {
    let begun = traces::begin(config, path)?;
    let done = durable::replace(path, text.as_bytes(), 0o644);
    if let (Err(_), Some(begun)) = (&done, begun) {
        begun.call_off();
    }
    done
}

/// Makes the database and the master key; the configuration is at `path`.
pub async fn store(
    config: Config,
    path: &Path,
    afresh: bool,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Context> {
    let origin = config::find_master_key(&config);
    let missing = match &origin {
        Origin::File(path) if !path.exists() => Some(path.clone()),
        _ => None,
    };
    let context = Context::open_or_create(config, path, afresh).await?;
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
    match context.store.local_domain(domain).await? {
        Some(local) if local.dime.is_some() => {
            return progress.already("domain", &format!("{domain} is served"));
        }
        Some(_) => return join(context, domain, progress).await,
        None => {}
    }
    let usual = crate::cli::domain::usual(&context.config);
    crate::cli::domain::serve(context, domain, Some(usual)).await?;
    progress.done(
        "domain",
        &format!("{domain} is served, with keys and a signet of its own"),
    )
}

/// Gives DIME to a domain that is served without it.
async fn join(context: &Context, domain: &Domain, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let usual = crate::cli::domain::usual(&context.config);
    match crate::cli::domain::give(context, domain, usual).await? {
        Given::Done { .. } => progress.done(
            "domain",
            &format!("{domain}, which was served without DIME, has it now, with keys and signets"),
        ),
        Given::Formless(addresses) => {
            anyhow::bail!("{domain} stays without DIME: {}", why_formless(&addresses))
        }
    }
}

/// Who is to have an account in the domain, with a password if it is to be made. Nothing has been changed in the database where
/// something is wrong with that.
pub async fn newcomer(
    context: &Context,
    domain: &Domain,
    wanted: Option<Mailbox>,
    password: Password,
    progress: &mut Progress<'_>,
) -> anyhow::Result<(Mailbox, Option<Secret<String>>)> {
    let oldest = context.store.oldest_account(domain).await?;
    let address = match (wanted, oldest) {
        (None, Some(account)) => return Ok((account.address, None)),
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
        return Ok((address, None));
    }
    if context.store.local_domain(domain).await?.is_some() {
        let free = context.accounts().demand_free(&address).await;
        free.with_context(|| format!("{address} cannot be added"))?;
    }
    let password = match password {
        _ if add::is_at_dovecot(context) => add::nobodys_password(),
        Password::Given(password) => password,
        Password::Typed => {
            progress.say(&format!("The password of {address}:\n"))?;
            plan::usable(add::password(None)?)?
        }
        Password::Unknown => {
            let text = format!("say the password of {address} with --password-file");
            return Err(Misuse(text).into());
        }
    };
    Ok((address, Some(password)))
}

/// Adds the first account, if there is a password for it.
pub async fn account(
    context: &Context,
    domain: &Domain,
    (address, password): (Mailbox, Option<Secret<String>>),
    progress: &mut Progress<'_>,
) -> anyhow::Result<()> {
    let Some(password) = password else {
        return progress.already("account", &format!("{address} has an account"));
    };
    let failed = || format!("{address} cannot be added");
    let local = context.store.local_domain(domain).await?;
    let local = local.ok_or(store::Error::Missing).with_context(failed)?;
    let new = NewAccount {
        password,
        trust_mode: TrustMode::Trustful,
        address: address.clone(),
    };
    add::make(context, &local, new, Trust::Trustful, None)
        .await
        .with_context(failed)?;
    progress.done("account", &format!("{address} has an account and a signet"))
}

/// Warns of other domains that are not as they should be: that keeps nobody from setting this one up.
pub async fn others(context: &Context, domain: &Domain, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let nobodys = check::nobodys(context).await?;
    let of_others = nobodys.iter().filter(|address| address.domain() != domain);
    for address in of_others.take(MOST_WARNINGS) {
        let text = format!(
            "nobody gets mail for {address}: add an account or alias of that name, or set `postmaster` in [accounts]"
        );
        progress.warn("nobody_in_charge", &text)?;
    }
    Ok(())
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
