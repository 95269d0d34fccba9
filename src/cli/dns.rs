//! `dimed dns …`.

use std::io::Write;

use anyhow::Context as _;
use clap::Subcommand;

use super::Exit;
use super::context::Context;
use crate::accounts;
use crate::config::Config;
use crate::dime::record::{ManagementRecord, owner_name, sign_certificate};
use crate::mail::address::Domain;
use crate::signet_service;
use crate::store::{DimeSettings, LocalDomain};

/// Seconds that others may keep the records: short enough to change certificates within a day.
const TTL: u32 = 3600;

/// Commands about DNS.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what to publish for a domain, as lines of a zone file.
    ///
    /// The management record vouches for the certificate that DMTP peers will see.
    Records {
        /// A domain that is served here.
        domain: Domain,
    },
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Command::Records { domain } = command;
    let context = Context::open(config).await?;
    let local = context.store.local_domain(&domain).await?;
    let local = local
        .ok_or(accounts::Error::ForeignDomain)
        .with_context(|| format!("{domain} has no records"))?;
    out.write_all(records(&context, &local).await?.as_bytes())?;
    Ok(Exit::Done)
}

async fn records(context: &Context, domain: &LocalDomain) -> anyhow::Result<String> {
    let name = &domain.name;
    let hostname = &context.config.server.hostname;
    let mut text = format!("{name}. {TTL} IN MX 10 {hostname}.\n");
    if let Some(dime) = &domain.dime {
        let record = management_record(context, name, dime).await?.render_zone_text()?;
        text += &format!("{}. {TTL} IN TXT {record}\n", owner_name(name));
    }
    Ok(text)
}

/// The record of a domain of ours, vouching for the certificate in use.
async fn management_record(
    context: &Context,
    name: &Domain,
    dime: &DimeSettings,
) -> anyhow::Result<ManagementRecord> {
    let organization = context.published().organization(name).await?;
    let keys = organization.ok_or(signet_service::Error::NoOrganization)?.keys;
    let identity = context.config.dmtp_identity()?;
    Ok(ManagementRecord {
        primary_keys: vec![keys.signing.verifying_key()],
        tls_signatures: vec![sign_certificate(&keys.signing, identity.leaf())],
        policy: dime.policy,
        delivery_hosts: dime.delivery_hosts.clone(),
        subdomain_policy: dime.subdomain_policy,
        expiry_days: None,
        syndicates: None,
    })
}
