//! `dimed acme …`: the account with the authority that issues the certificate for SMTP.

use std::io::Write;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::answer::Answer;
use super::{Exit, Misuse, audit};
use crate::config::Config;

/// Commands about the authority of `tls.acme`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take the account with the authority out of service: somebody else may have its key.
    ///
    /// The authority takes no more orders from it; its file is removed, and another account is made when the next certificate is due.
    Deactivate(Deactivate),
}

/// How.
#[derive(Debug, Args)]
pub struct Deactivate {
    /// Before that, have the authority revoke the certificate, whose private key somebody else may have, too. Then put both of their
    /// files away: the daemon makes another key, and asks for a certificate, at its next start.
    #[arg(long)]
    revoke: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Deactivate(arguments) => deactivate(&arguments, &config, out).await,
    }
}

async fn deactivate(arguments: &Deactivate, config: &Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(issuer) = config.issuer(&config.dns.resolver()?)? else {
        return Err(Misuse("`tls.acme` is not configured, so there is no account".into()).into());
    };
    if arguments.revoke {
        let revoked = issuer.revoke().await;
        revoked.context(
            "the certificate is not revoked, and the account is as it was; if that is out of service already, say this without --revoke",
        )?;
        audit::authority(config, "revoked");
    }
    let directory = &issuer.directory;
    let deactivated = issuer.deactivate().await;
    deactivated.context("the account cannot be taken out of service")?;
    audit::authority(config, "deactivated");
    let (certificate, key) = (issuer.certificate.display(), issuer.key.display());
    let revoked = match arguments.revoke {
        true => format!(
            "The certificate is revoked.\nNext: move {certificate} and {key} away, and start the daemon again; it asks for another \
             certificate, for another key.\n"
        ),
        false => String::new(),
    };
    let answer = Answer {
        text: format!("The account with {directory} is out of service, and its file is removed.\n{revoked}"),
        json: json!({ "result": "done", "directory": directory, "revoked": arguments.revoke }),
    };
    answer.write(arguments.json, out)?;
    Ok(Exit::Done)
}
