//! `dimed account disable|enable|passwd|quota`.

use std::io::Write;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{Address, account, add, missing};
use crate::cli::answer::{Answer, octets};
use crate::cli::context::Context;
use crate::cli::files::FileName;
use crate::cli::{Exit, audit};
use crate::mail::address::Mailbox;
use crate::store::Account;

/// Whose password.
#[derive(Debug, Args)]
pub struct Passwd {
    /// Address of the user.
    address: Mailbox,
    /// File whose first line is the password; `-` for standard input, for which the shell opens what this user could not read.
    #[arg(long, value_name = "FILE")]
    password_file: Option<FileName>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Whose mailbox, and how much.
#[derive(Debug, Args)]
pub struct Quota {
    /// Address of the user.
    address: Mailbox,
    /// Octets, or KiB, MiB, GiB or TiB (also K, M, G, T), as in `500MiB`; `none` for any number, which 0 is not, `default` for
    /// what the configuration says. Without it, nothing is changed.
    #[arg(value_parser = Limit::parse)]
    limit: Option<Limit>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// How much a mailbox may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// As the configuration says.
    Default,
    /// So many octets; 0 for any.
    Octets(u64),
}

impl Limit {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "neither `none` (for any number), `default`, nor more than 0 octets, as in 500MiB";
        match text {
            "default" => return Ok(Self::Default),
            "none" => return Ok(Self::Octets(0)),
            _ => {}
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" => 0,
            "K" | "KIB" => 10,
            "M" | "MIB" => 20,
            "G" | "GIB" => 30,
            "T" | "TIB" => 40,
            _ => return Err(wrong),
        };
        let number: u64 = digits.parse().map_err(|_| wrong)?;
        let octets = number.checked_mul(1 << shift).ok_or(wrong)?;
        match octets {
            1..=0x0003_FFFF_FFFF_FFFF => Ok(Self::Octets(octets)),
            _ => Err(wrong),
        }
    }
}

/// Keeps a user out, or lets them in again.
pub async fn disable(
    context: &Context,
    Address { address, json }: &Address,
    out_of_service: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let was = account(context, address).await?.disabled_at;
    let since = out_of_service.then(|| was.unwrap_or_else(|| context.now()));
    if !context.store.set_disabled(address, since).await? {
        return Err(missing(address));
    }
    let change = if out_of_service { "disabled" } else { "enabled" };
    audit::account(context, address.domain(), change);
    let text = match out_of_service {
        true => format!("{address} cannot log in, and sends nothing more; its mail still comes.\n"),
        false => format!("{address} can log in.\n"),
    };
    let json_text = json!({
        "result": "done",
        "address": address.to_string(),
        "disabled": out_of_service,
        "changed": was.is_some() != out_of_service,
    });
    Answer {
        text,
        json: json_text,
    }
    .write(*json, out)?;
    Ok(Exit::Done)
}

/// Replaces a password.
pub async fn passwd(context: &Context, passwd: &Passwd, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let address = &passwd.address;
    account(context, address).await?;
    let password = add::password(passwd.password_file.as_ref())?;
    let set = context.accounts().set_password(address, password).await;
    set.with_context(|| format!("the password of {address} cannot be changed"))?;
    audit::account(context, address.domain(), "password");
    let elsewhere = match context.accounts().offers_scram() {
        true => "",
        false => "But Dovecot checks passwords for this server, and has its own.\n",
    };
    let answer = Answer {
        text: format!("{address} has another password.\n{elsewhere}"),
        json: json!({ "result": "done", "address": address.to_string(), "in_use": elsewhere.is_empty() }),
    };
    answer.write(passwd.json, out)?;
    Ok(Exit::Done)
}

/// Shows and sets quotas.
pub async fn quota(context: &Context, quota: &Quota, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let address = &quota.address;
    let mut account = account(context, address).await?;
    if let Some(limit) = quota.limit {
        account.quota_bytes = match limit {
            Limit::Default => None,
            Limit::Octets(octets) => Some(octets),
        };
        if !context.store.set_quota(address, account.quota_bytes).await? {
            return Err(missing(address));
        }
        audit::account(context, address.domain(), "quota");
    }
    if let Some(server) = context.config.delivery.server_of(address.domain()) {
        of_mailbox_server(&account, &server.to_string()).write(quota.json, out)?;
        return Ok(Exit::Done);
    }
    let maildirs = context.config.maildirs();
    let used = maildirs.used(&account).await;
    let used = used.with_context(|| format!("the mailbox of {address} cannot be counted"))?;
    let may = maildirs.quota(&account);
    let limit = match may {
        Some(may) => format!("{} at most", octets(may)),
        None => "as much as comes".to_owned(),
    };
    let whose = match account.quota_bytes {
        Some(_) => "",
        None => ", as the configuration says",
    };
    let answer = Answer {
        text: format!(
            "{address} has {} of mail, and may have {limit}{whose}.\n",
            octets(used)
        ),
        json: json!({
            "result": "done",
            "address": address.to_string(),
            "used_octets": used,
            "quota_octets": may,
            "own": account.quota_bytes.is_some(),
        }),
    };
    answer.write(quota.json, out)?;
    Ok(Exit::Done)
}

/// What is set here is for Maildirs.
fn of_mailbox_server(account: &Account, server: &str) -> Answer {
    let address = &account.address;
    let set = match account.quota_bytes {
        Some(_) => " What is set here is kept, and counts only for a Maildir.",
        None => "",
    };
    Answer {
        text: format!(
            "Mail for {address} goes to the mailbox server {server}, which has quotas of its own: ask and set them there.{set}\n"
        ),
        json: json!({
            "result": "done",
            "address": address.to_string(),
            "mailbox_server": server,
            "used_octets": null,
            "quota_octets": null,
            "own": account.quota_bytes.is_some(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_octets_with_a_unit() {
        for (text, limit) in [
            ("1", Ok(Limit::Octets(1))),
            ("500m", Ok(Limit::Octets(500 << 20))),
            ("500MiB", Ok(Limit::Octets(500 << 20))),
            ("2G", Ok(Limit::Octets(2 << 30))),
            ("1T", Ok(Limit::Octets(1 << 40))),
            ("none", Ok(Limit::Octets(0))),
            ("default", Ok(Limit::Default)),
        ] {
            assert_eq!(Limit::parse(text), limit, "{text}");
        }
        for text in ["", "0", "M", "-1", "1.5G", "5MB", "5 M", "99999999T", "é"] {
            assert!(Limit::parse(text).is_err(), "{text}");
        }
    }
}
