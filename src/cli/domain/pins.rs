//! What is pinned of other domains.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::base::encoding::base64_unpadded;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::serve::start_log;
use crate::config::Config;
use crate::dime::record::ManagementRecord;
use crate::mail::address::Domain;
use crate::mail::date::rfc5322;
use crate::store::Pin;

/// Pins fetched at a time.
const PAGE: usize = 500;

/// Which pins to show.
#[derive(Debug, Args)]
pub struct Pins {
    /// One domain; without it, all.
    domain: Option<Domain>,
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

/// Which pin to forget.
#[derive(Debug, Args)]
pub struct Forget {
    /// The domain.
    domain: Domain,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints pins; ends with 1 if the one asked for is not there.
pub async fn show(pins: Pins, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let now = context.now();
    let (mut after, mut shown) = (None, 0usize);
    loop {
        let page = context.store.list_pins(after.as_ref(), PAGE).await?;
        for (domain, pin) in &page {
            if pins.domain.as_ref().is_none_or(|wanted| wanted == domain) {
                print(domain, pin.as_ref(), now, pins.json, out)?;
                shown += 1;
            }
        }
        after = page.last().map(|(domain, _)| domain.clone());
        if page.len() < PAGE {
            break;
        }
    }
    match (shown, &pins.domain) {
        (0, Some(domain)) => {
            if !pins.json {
                writeln!(out, "Nothing is pinned of {domain}.")?;
            }
            Ok(Exit::No)
        }
        (0, None) if !pins.json => {
            writeln!(out, "Nothing is pinned.")?;
            Ok(Exit::Done)
        }
        _ => Ok(Exit::Done),
    }
}

/// Forgets a pin; ends with 1 if there is none.
pub async fn forget(forget: Forget, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let domain = &forget.domain;
    let forgotten = context.store.drop_pin(domain).await?;
    if forgotten {
        start_log(&context.config);
        tracing::warn!(event = observe::DOMAIN_PIN_FORGOTTEN, domain = %domain,
            "by order of an operator, the pinned management record is forgotten, and what DNS says next is believed");
    }
    let answer = Answer {
        text: match forgotten {
            true => {
                format!("What was pinned of {domain} is forgotten; what its DNS says next is believed.\n")
            }
            false => format!("Nothing is pinned of {domain}.\n"),
        },
        json: json!({ "result": "done", "domain": domain.as_str(), "forgotten": forgotten }),
    };
    answer.write(forget.json, out)?;
    Ok(if forgotten { Exit::Done } else { Exit::No })
}

fn print(
    domain: &Domain,
    pin: Option<&Pin>,
    now: Timestamp,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match json {
        true => writeln!(out, "{}", object(domain, pin, now))?,
        false => out.write_all(text(domain, pin, now).as_bytes())?,
    }
    Ok(())
}

fn text(domain: &Domain, pin: Option<&Pin>, now: Timestamp) -> String {
    let Some(pin) = pin else {
        return format!(
            "{domain}  not as this server wrote it: mail waits; `dimed domain forget-pin {domain}` once you know why\n"
        );
    };
    let proof = match pin.secure {
        true => "proven by DNSSEC",
        false => "not proven",
    };
    let until = match now < pin.expires_at {
        true => "until",
        false => "expired",
    };
    let record = match ManagementRecord::parse_kept(&pin.record) {
        Ok(record) => described(&record),
        Err(error) => format!("    {error}\n"),
    };
    format!(
        "{domain}  {proof}, since {}, {until} {}\n{record}",
        rfc5322(pin.first_seen_at),
        rfc5322(pin.expires_at)
    )
}

fn described(record: &ManagementRecord) -> String {
    let hosts: Vec<&str> = record.delivery_hosts.iter().map(Domain::as_str).collect();
    let hosts = match hosts.is_empty() {
        true => String::from("its MX hosts"),
        false => hosts.join(", "),
    };
    let keys: String = record
        .primary_keys
        .iter()
        .map(|key| format!("    key {}\n", base64_unpadded(&key.0)))
        .collect();
    format!(
        "    policy {}, signed certificates: {}, delivered to {hosts}\n{keys}",
        record.policy,
        record.tls_signatures.len()
    )
}

fn object(domain: &Domain, pin: Option<&Pin>, now: Timestamp) -> Value {
    json!({
        "domain": domain.as_str(),
        "readable": pin.is_some(),
        "record": pin.map(|pin| &pin.record),
        "secure": pin.map(|pin| pin.secure),
        "first_seen_at": pin.map(|pin| pin.first_seen_at.unix_secs()),
        "refresh_at": pin.map(|pin| pin.refresh_at.unix_secs()),
        "expires_at": pin.map(|pin| pin.expires_at.unix_secs()),
        "expired": pin.map(|pin| pin.expires_at <= now),
    })
}
