//! `dimed check`.

use std::io::Write;

use anyhow::Context as _;

use super::Exit;
use crate::config::{self, Config};
use crate::net::tls::{Acceptor, Identity, WebPki};

/// Reads everything that the configuration names.
pub fn run(config: &Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    config::load_master_key(config).context("the master key cannot be used")?;
    for (certificate, key) in config.tls.pairs() {
        Acceptor::new(&Identity::load(certificate, key)?)
            .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    }
    if let Some(path) = &config.outbound.root_certificates {
        WebPki::load(path).with_context(|| format!("{} has no root certificates", path.display()))?;
    }
    config.dns.resolver()?;
    writeln!(
        out,
        "The configuration of {} can be used.",
        config.server.hostname
    )?;
    Ok(Exit::Done)
}
