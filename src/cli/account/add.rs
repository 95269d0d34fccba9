//! `dimed account add`, and passwords.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rand::RngExt as _;
use serde_json::json;
use zeroize::Zeroizing;

use crate::accounts::{self, NewAccount};
use crate::base::encoding::hex;
use crate::base::secret::Secret;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::files::FileName;
use crate::cli::signet::read::signet_of;
use crate::cli::{Exit, Misuse, audit, terminal};
use crate::config::PasswordsAt;
use crate::dime::keys::UserKeys;
use crate::dime::signet::{Kind, Signet};
use crate::mail::address::Mailbox;
use crate::store::{LocalDomain, TrustMode};

/// Most octets of a file with a password in its first line.
const MAX_PASSWORD_FILE: usize = 64 << 10;

/// Whom to add.
#[derive(Debug, Args)]
pub struct Add {
    /// Address of the user.
    address: Mailbox,
    /// Who holds the user's private keys.
    #[arg(long, value_enum, default_value_t = Trust::Trustful)]
    trust: Trust,
    /// Signing request (SSR) of a user who keeps their own keys; it is signed and published as their signet. Their keys for D/MIME 2
    /// come after that, with `dimed key set import`.
    #[arg(long, value_name = "FILE")]
    request: Option<FileName>,
    /// File whose first line is the password; `-` for standard input, for which the shell opens what this user could not read.
    #[arg(long, value_name = "FILE")]
    password_file: Option<FileName>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// The trust modes, as they are spelled here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Trust {
    /// The server keeps them, and seals and opens for the user.
    Trustful,
    /// The server keeps them encrypted under a password it never sees.
    Cautious,
    /// The user alone.
    Paranoid,
}

impl From<Trust> for TrustMode {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Trustful => Self::Trustful,
            Trust::Cautious => Self::Cautious,
            Trust::Paranoid => Self::Paranoid,
        }
    }
}

/// Adds a user.
pub async fn add(context: &Context, add: Add, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let failed = || format!("{} cannot be added", add.address);
    if add.request.is_some() && add.trust == Trust::Trustful {
        let text = "the keys of a trustful user are made here: leave out --request, or say --trust paranoid";
        return Err(Misuse(text.into()).into());
    }
    let is_asked_for = add.password_file.is_none() && !is_at_dovecot(context);
    if add.request.as_ref().is_some_and(FileName::is_standard) && is_asked_for {
        return Err(Misuse("with --request -, name a file with --password-file".into()).into());
    }
    let accounts = context.accounts();
    let domain = context.store.local_domain(add.address.domain()).await?;
    let domain = domain
        .ok_or(accounts::Error::ForeignDomain)
        .with_context(failed)?;
    anyhow::ensure!(
        add.request.is_none() || domain.dime.is_some(),
        "{} has no DIME, so there are no signets in it: leave out --request",
        domain.name
    );
    accounts.demand_free(&add.address).await.with_context(failed)?;
    let request = add.request.as_ref();
    let request = request
        .map(|file| signet_of(Kind::Request, file))
        .transpose()
        .with_context(failed)?;
    let new = NewAccount {
        address: add.address.clone(),
        password: match &add.password_file {
            None if is_at_dovecot(context) => nobodys_password(),
            file => password(file.as_ref())?,
        },
        trust_mode: add.trust.into(),
    };
    let signet = make(context, &domain, new, add.trust, request)
        .await
        .with_context(failed)?;
    let maildir = context.config.maildirs().folder(&add.address);
    if maildir.exists() {
        eprintln!(
            "dimed: there is mail in {} already, perhaps of whoever had the address before",
            maildir.display()
        );
    }
    let has = match signet {
        true => "an account and a signet",
        false => "an account, and no signet",
    };
    let answer = Answer {
        text: format!("{} has {has}.\n", add.address),
        json: json!({
            "result": "done",
            "address": add.address.to_string(),
            "trust": add.trust.to_possible_value().map(|value| value.get_name().to_owned()),
            "signet": signet,
        }),
    };
    answer.write(add.json, out)?;
    Ok(Exit::Done)
}

/// Gives the user a signet, where the domain has DIME and there is something to make one from, and an account, which is logged.
/// Whether there is a signet.
pub async fn make(
    context: &Context,
    domain: &LocalDomain,
    new: NewAccount,
    trust: Trust,
    request: Option<Signet>,
) -> anyhow::Result<bool> {
    accounts::check_password(&new.password)?;
    // The signet comes first: should this stop in between, the account can be added again.
    let signet = match domain.dime {
        Some(_) => publish(context, &new.address, trust, request).await?,
        None => false,
    };
    context.accounts().create(new, context.now()).await?;
    audit::account(context, &domain.name, "added");
    Ok(signet)
}

/// Adds a trustful user who has no password yet.
pub async fn add_without_password(context: &Context, address: &Mailbox) -> anyhow::Result<()> {
    let domain = context.store.local_domain(address.domain()).await?;
    let domain = domain.ok_or(accounts::Error::ForeignDomain)?;
    let new = NewAccount {
        address: address.clone(),
        password: nobodys_password(),
        trust_mode: TrustMode::Trustful,
    };
    make(context, &domain, new, Trust::Trustful, None).await?;
    Ok(())
}

/// Whether passwords are checked by Dovecot, so that there need not be any here.
pub fn is_at_dovecot(context: &Context) -> bool {
    matches!(context.config.accounts.authentication, PasswordsAt::Dovecot(_))
}

/// One that nobody knows.
pub fn nobodys_password() -> Secret<String> {
    let octets: [u8; 32] = rand::rng().random();
    Secret::new(hex(&octets))
}

/// Sees to it that the user has a signet, if there is anything to make one from.
pub(super) async fn publish(
    context: &Context,
    address: &Mailbox,
    trust: Trust,
    request: Option<Signet>,
) -> anyhow::Result<bool> {
    let published = context.published();
    if let Some(user) = published.user(address).await? {
        // Of an earlier try, or published before there was an account. It must be over the keys that are meant now.
        let fits = match (trust, &request) {
            (Trust::Trustful, _) => user.keys.is_some(),
            (_, Some(request)) => user.signet.ssr_fingerprint() == request.ssr_fingerprint(),
            (_, None) => user.keys.is_none(),
        };
        anyhow::ensure!(
            fits,
            "the address has a signet over other keys; `dimed signet revoke {address}` takes it out of service"
        );
        return Ok(true);
    }
    match (trust, request) {
        (Trust::Trustful, _) => {
            let keys = UserKeys::generate(&mut rand::rng());
            published.publish_user(address, keys).await?;
        }
        (_, Some(request)) => {
            published.publish_request(address, &request).await?;
        }
        (_, None) => return Ok(false),
    }
    Ok(true)
}

/// The first line of a file, or what is typed, or the first line of standard input.
pub fn password(file: Option<&FileName>) -> anyhow::Result<Secret<String>> {
    if let Some(file) = file {
        let octets = file.read_private(MAX_PASSWORD_FILE)?;
        let not_text = |_| Misuse(format!("the password in {file} is not UTF-8"));
        return Ok(first_line(std::str::from_utf8(&octets).map_err(not_text)?));
    }
    if std::io::stdin().is_terminal() {
        return typed_twice();
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut text)?;
    Ok(first_line(&text))
}

fn typed_twice() -> anyhow::Result<Secret<String>> {
    let first = terminal::typed("Password: ")?;
    // Nobody types twice what cannot be used.
    accounts::check_password(&first)?;
    let second = terminal::typed("Again: ")?;
    anyhow::ensure!(first == second, "the two passwords are not the same");
    Ok(first)
}

fn first_line(text: &str) -> Secret<String> {
    Secret::new(text.lines().next().unwrap_or_default().to_owned())
}
