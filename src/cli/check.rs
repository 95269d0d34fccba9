//! `dimed check`.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::answer::Answer;
use super::{Exit, load};
use crate::config::{self, Config};
use crate::net::tls::{Acceptor, Identity, WebPki};

/// How to answer.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads everything that the configuration at `path` names.
pub fn run(arguments: &Arguments, path: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let config = load(path).and_then(check)?;
    answer(&config).write(arguments.json, out)?;
    Ok(Exit::Done)
}

fn answer(config: &Config) -> Answer {
    let (host, warnings) = (&config.server.hostname, config.warnings());
    let mut text = format!("The configuration of {host} can be used.\n");
    text.extend(warnings.iter().map(|warning| format!("Look again: {warning}.\n")));
    let objects: Vec<Value> = warnings
        .iter()
        .map(|warning| json!({ "code": warning.code(), "message": warning.to_string() }))
        .collect();
    Answer {
        text,
        json: json!({ "result": "done", "hostname": host.as_str(), "warnings": objects }),
    }
}

/// The configuration, if it can be used.
fn check(config: Config) -> anyhow::Result<Config> {
    config::load_master_key(&config).context("the master key cannot be used")?;
    for (certificate, key) in config.tls.pairs() {
        Acceptor::new(&Identity::load(certificate, key)?)
            .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    }
    if let Some(path) = &config.outbound.root_certificates {
        WebPki::load(path).with_context(|| format!("{} has no root certificates", path.display()))?;
    }
    config.outbound.roots()?;
    config.dns.resolver()?;
    Ok(config)
}
