//! `dimed account …` and `dimed alias …`.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::context::Context;
use super::files::FileName;
use super::signet::read::signet_of;
use super::{Exit, Misuse};
use crate::accounts::{self, NewAccount, Resolution, Target};
use crate::base::secret::Secret;
use crate::config::Config;
use crate::dime::keys::UserKeys;
use crate::dime::signet::{Kind, Signet};
use crate::mail::address::Mailbox;
use crate::signet_service;
use crate::store::{self, TrustMode};

/// Most octets of a file with a password in its first line.
const MAX_PASSWORD_FILE: usize = 64 << 10;

/// Commands about users.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a user to a domain that is served here.
    ///
    /// In a domain with DIME a trustful user gets keys and a signet. The password is asked for on a terminal and
    /// otherwise read from standard input.
    Add(Add),
}

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
    /// File whose first line is the password.
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

/// Commands about aliases.
#[derive(Debug, Subcommand)]
pub enum AliasCommand {
    /// Send what comes for an address on to another one; repeat for several.
    ///
    /// In a domain with DIME, an alias of one account has that account's signet. One that leads to several, or elsewhere,
    /// gets a signet of its own: this server opens what is sealed for it, and passes it on.
    Add {
        /// Address in a domain that is served here; `*@DOMAIN` takes all that is for nobody else.
        alias: Mailbox,
        /// Address here or elsewhere.
        target: Mailbox,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Does as the command about users says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Add(add) => self::add(add, config, out).await,
    }
}

/// Does as the command about aliases says.
pub async fn run_alias(command: AliasCommand, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let AliasCommand::Add { alias, target, json } = command;
    let context = Context::open(config).await?;
    let added = context.accounts().create_alias(&alias, &target).await;
    added.with_context(|| format!("{alias} cannot be added"))?;
    let (mut leads, mut own_signet) = (true, false);
    match context.accounts().resolve(&alias).await {
        Ok(Resolution::Unknown) | Err(accounts::Error::AliasLoop) => leads = false,
        Ok(Resolution::Targets(targets)) => {
            let is_one_account = matches!(targets.as_slice(), [Target::Local(_)]);
            own_signet = !is_one_account && publish_alias(&context, &alias).await?;
        }
        Ok(Resolution::NotLocal) => {}
        Err(error) => return Err(error.into()),
    }
    let text = match (leads, own_signet) {
        (false, _) => format!("{alias} leads to {target}, and so far to nobody: mail for it is refused.\n"),
        (true, false) => format!("{alias} leads to {target}.\n"),
        (true, true) => {
            format!("{alias} leads to {target}.\nIt has a signet of its own, whose keys are kept here.\n")
        }
    };
    let answer = Answer {
        text,
        json: json!({
            "result": "done",
            "alias": alias.to_string(),
            "target": target.to_string(),
            "leads_to_somebody": leads,
            "own_signet": own_signet,
        }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

/// Gives an alias a signet, if its domain has DIME and the alias has none; whether it has got one.
async fn publish_alias(context: &Context, alias: &Mailbox) -> anyhow::Result<bool> {
    let domain = context.store.local_domain(alias.domain()).await?;
    let published = context.published();
    let is_catch_all = alias.local() == "*";
    if is_catch_all
        || domain.is_none_or(|domain| domain.dime.is_none())
        || published.user(alias).await?.is_some()
    {
        return Ok(false);
    }
    let keys = UserKeys::generate(&mut rand::rng());
    match published.publish_user(alias, keys).await {
        Ok(_) => Ok(true),
        // What cannot be asked for over DMTP needs none.
        Err(signet_service::Error::NoDmtpForm) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn add(add: Add, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let failed = || format!("{} cannot be added", add.address);
    if add.request.is_some() && add.trust == Trust::Trustful {
        let text = "the keys of a trustful user are made here: leave out --request, or say --trust paranoid";
        return Err(Misuse(text.into()).into());
    }
    if add.request.as_ref().is_some_and(FileName::is_standard) && add.password_file.is_none() {
        return Err(Misuse("with --request -, name a file with --password-file".into()).into());
    }
    let context = Context::open(config).await?;
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
    if accounts.find(&add.address).await?.is_some() {
        return Err(store::Error::Exists).with_context(failed);
    }
    let request = add.request.as_ref();
    let request = request
        .map(|file| signet_of(Kind::Request, file))
        .transpose()
        .with_context(failed)?;
    let new = NewAccount {
        address: add.address.clone(),
        password: password(add.password_file.as_ref())?,
        trust_mode: add.trust.into(),
    };
    accounts::check_password(&new.password).with_context(failed)?;
    // The signet comes first: should this stop in between, the account can be added again.
    let signet = match domain.dime {
        Some(_) => publish(&context, &add, request).await.with_context(failed)?,
        None => false,
    };
    accounts.create(new, context.now()).await.with_context(failed)?;
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

/// Sees to it that the user has a signet, if there is anything to make one from.
async fn publish(context: &Context, add: &Add, request: Option<Signet>) -> anyhow::Result<bool> {
    let published = context.published();
    if let Some(user) = published.user(&add.address).await? {
        // Of an earlier try, or published before there was an account. It must be over the keys that are meant now.
        let fits = match (add.trust, &request) {
            (Trust::Trustful, _) => user.keys.is_some(),
            (_, Some(request)) => user.signet.ssr_fingerprint() == request.ssr_fingerprint(),
            (_, None) => user.keys.is_none(),
        };
        anyhow::ensure!(
            fits,
            "the address has a signet over other keys; `dimed signet revoke {}` takes it out of service",
            add.address
        );
        return Ok(true);
    }
    match (add.trust, request) {
        (Trust::Trustful, _) => {
            let keys = UserKeys::generate(&mut rand::rng());
            published.publish_user(&add.address, keys).await?;
        }
        (_, Some(request)) => {
            published.publish_request(&add.address, &request).await?;
        }
        (_, None) => return Ok(false),
    }
    Ok(true)
}

/// The first line of a file, or what is typed, or the first line of standard input.
fn password(file: Option<&FileName>) -> anyhow::Result<Secret<String>> {
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
    let first = Secret::new(rpassword::prompt_password("Password: ")?);
    let second = Secret::new(rpassword::prompt_password("Again: ")?);
    anyhow::ensure!(first == second, "the two passwords are not the same");
    Ok(first)
}

fn first_line(text: &str) -> Secret<String> {
    Secret::new(text.lines().next().unwrap_or_default().to_owned())
}
