//! `dimed account list|show`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::{Address, account};
use crate::cli::Exit;
use crate::cli::answer::{Answer, octets, printable};
use crate::cli::context::Context;
use crate::cli::lost::{self, Known};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;
use crate::store::{Account, TrustMode, fold};

/// Accounts and aliases read at a time.
const PAGE: u32 = 500;

/// Which users to list.
#[derive(Debug, Args)]
pub struct List {
    /// Those of one domain.
    #[arg(long)]
    domain: Option<Domain>,
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

/// Lists users, by address.
pub async fn list(context: &Context, list: List, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (mut after, mut count) = (None, 0usize);
    loop {
        let page = context
            .store
            .list_accounts(list.domain.as_ref(), after.as_ref(), PAGE)
            .await?;
        for account in &page {
            match list.json {
                true => writeln!(out, "{}", brief(account))?,
                false => writeln!(
                    out,
                    "{}  {}, {}",
                    printable(&account.address.to_string()),
                    trust(account.trust_mode),
                    state(account)
                )?,
            }
        }
        count += page.len();
        after = page.last().map(|account| account.address.clone());
        if page.len() < PAGE as usize {
            break;
        }
    }
    if count == 0 && !list.json {
        writeln!(out, "There are no accounts.")?;
    }
    Ok(Exit::Done)
}

/// Shows a user.
pub async fn show(
    context: &Context,
    Address { address, json }: &Address,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let account = account(context, address).await?;
    let maildirs = context.config.maildirs();
    let (Known { fingerprint, lost }, signet) = lost::user(context, &account.address).await?;
    let keys_here = signet.is_some_and(|user| user.keys.is_some());
    let aliases = texts(&aliases_of(context, &account).await?);
    let senders = texts(&context.store.granted_senders(&account.address).await?);
    let server = context.config.delivery.server_of(account.address.domain());
    let server = server.map(ToString::to_string);
    let folder = maildirs.folder(&account.address).display().to_string();
    // The mailbox server knows of both, and nobody else does.
    let folder = server.is_none().then_some(folder);
    let quota = maildirs.quota(&account).filter(|_| server.is_none());

    let mut object = brief(&account);
    if let Value::Object(fields) = &mut object {
        let more = [
            ("aliases", json!(aliases)),
            ("may_write_as", json!(senders)),
            ("quota_octets", json!(quota)),
            ("maildir", json!(folder)),
            ("mailbox_server", json!(server)),
            ("signet", json!(fingerprint)),
            ("private_keys", json!(keys_here)),
            ("lost", json!(lost)),
        ];
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    let signet = match (&fingerprint, keys_here) {
        (None, _) => "none".to_owned(),
        (Some(print), true) => format!("{print}, private keys here"),
        (Some(print), false) => print.clone(),
    };
    let mut text = format!(
        "{}\n  trust mode    {}\n  state         {}\n  since         {}\n  aliases       {}\n  may write as  {}\n  \
         quota         {}\n  mailbox       {}\n  signet        {signet}\n",
        printable(&account.address.to_string()),
        trust(account.trust_mode),
        state(&account),
        rfc5322(account.created_at),
        or_none(&aliases),
        or_none(&senders),
        match (&server, quota) {
            (Some(_), _) => "as the mailbox server has it".to_owned(),
            (None, Some(quota)) => octets(quota),
            (None, None) => "none".to_owned(),
        },
        printable(
            &folder
                .or(server.map(|server| format!("{server} (mailbox server)")))
                .unwrap_or_default()
        ),
    );
    if let Some(lost) = &lost {
        text += &format!("  lost          {lost}\n");
    }
    Answer { text, json: object }.write(*json, out)?;
    Ok(match lost {
        Some(_) => Exit::No,
        None => Exit::Done,
    })
}

fn brief(account: &Account) -> Value {
    json!({
        "address": account.address.to_string(),
        "trust": trust(account.trust_mode),
        "created": account.created_at.unix_secs(),
        "disabled": account.disabled_at.map(|at| at.unix_secs()),
        "trap": account.trap_since.map(|at| at.unix_secs()),
        "quota_own": account.quota_bytes,
    })
}

/// The name of a trust mode.
pub(super) fn trust(mode: TrustMode) -> &'static str {
    match mode {
        TrustMode::Trustful => "trustful",
        TrustMode::Cautious => "cautious",
        TrustMode::Paranoid => "paranoid",
    }
}

fn state(account: &Account) -> String {
    match (account.trap_since, account.disabled_at) {
        (Some(since), _) => format!("a trap since {}", rfc5322(since)),
        (None, Some(since)) => format!("disabled since {}", rfc5322(since)),
        (None, None) => "in service".to_owned(),
    }
}

/// Every alias that leads straight to an account.
async fn aliases_of(context: &Context, account: &Account) -> anyhow::Result<Vec<Mailbox>> {
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = context.store.list_aliases(None, after.as_ref(), PAGE).await?;
        let leading = page
            .iter()
            .filter(|one| fold(&one.target) == fold(&account.address));
        found.extend(leading.map(|one| one.alias.clone()));
        let is_last = page.len() < PAGE as usize;
        after = page.into_iter().next_back();
        if is_last {
            return Ok(found);
        }
    }
}

fn texts(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(Mailbox::to_string).collect()
}

fn or_none(texts: &[String]) -> String {
    match texts.is_empty() {
        true => "none".to_owned(),
        false => printable(&texts.join(", ")),
    }
}
