//! `dimed check`.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::answer::Answer;
use super::exit::told;
use super::{Exit, load};
use crate::config::{self, Config};
use crate::mail::address::Domain;
use crate::net::tls::{Acceptor, Identity, WebPki};

/// How to answer.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object, which also says what is wrong.
    #[arg(long)]
    json: bool,
}

/// Reads everything that the configuration at `path` names.
pub fn run(arguments: &Arguments, path: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match load(path).and_then(|config| check(&config)) {
        Ok(host) => {
            let answer = Answer {
                text: format!("The configuration of {host} can be used.\n"),
                json: json!({ "result": "done", "hostname": host.as_str() }),
            };
            answer.write(arguments.json, out)?;
            Ok(Exit::Done)
        }
        Err(error) if arguments.json => {
            let refused = json!({ "result": "refused", "message": told(&error) });
            writeln!(out, "{refused:#}")?;
            Ok(Exit::of(&error))
        }
        Err(error) => Err(error),
    }
}

/// The host whose configuration it is.
fn check(config: &Config) -> anyhow::Result<Domain> {
    config::load_master_key(config).context("the master key cannot be used")?;
    for (certificate, key) in config.tls.pairs() {
        Acceptor::new(&Identity::load(certificate, key)?)
            .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    }
    if let Some(path) = &config.outbound.root_certificates {
        WebPki::load(path).with_context(|| format!("{} has no root certificates", path.display()))?;
    }
    config.outbound.roots()?;
    config.dns.resolver()?;
    Ok(config.server.hostname.clone())
}
