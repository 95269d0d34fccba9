//! The step about certificates.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::ports::{authority, held};
use super::progress::Progress;
use crate::cli::context::Context;
use crate::config::Config;
use crate::daemon;
use crate::net::acme;
use crate::net::tls::{Acceptor, Identity, WebPki};

/// Demands that files which are named can be used.
pub fn demand_usable(config: &Config) -> anyhow::Result<()> {
    for (certificate, key) in config.tls.pairs() {
        Identity::load(certificate, key)
            .and_then(|identity| Acceptor::new(&identity))
            .with_context(|| format!("{} and {} cannot be used", certificate.display(), key.display()))?;
    }
    if let Some(path) = config
        .tls
        .acme
        .as_ref()
        .and_then(|acme| acme.root_certificates.as_ref())
    {
        WebPki::load(path).context("the roots for the authority cannot be used")?;
    }
    Ok(())
}

/// Has a certificate in place for DMTP, and for every service for which there is no other.
pub fn own(context: &Context, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let config = &context.config;
    let host = &config.server.hostname;
    let (made, _) = config.self_signed_pair();
    let is_new = config.tls.certificate.is_none() && !made.exists();
    config
        .dmtp_identity()
        .context("there is no certificate for DMTP")?;
    match (is_new, &config.tls.certificate) {
        (true, _) => progress.done(
            "certificate",
            &format!("Made a self-signed certificate for {host}, which the management record vouches for"),
        )?,
        (false, Some(path)) => {
            progress.already(
                "certificate",
                &format!("the certificate is in {}", path.display()),
            )?;
        }
        (false, None) => progress.already("certificate", "there is a self-signed certificate")?,
    }
    Ok(())
}

/// Has the authority issue a certificate, if one is to, and it is time.
pub async fn issued(context: &Context, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let config = &context.config;
    let host = &config.server.hostname;
    let Some(issuer) = config.issuer(&config.dns.resolver()?)? else {
        return Ok(());
    };
    if !acme::is_due(&issuer.certificate, host, context.now().unix_secs()) {
        let path = issuer.certificate.display();
        return progress.already("acme", &format!("the authority's certificate is in {path}"));
    }
    progress.say(&format!("Asking {} for a certificate ...\n", issuer.directory))?;
    if let Err(error) = issuer.issue(host, None).await {
        let why = match &error {
            acme::Error::Listen(address, _) if held::ports().contains(&address.port()) => format!(
                "there is no certificate for {host} yet; systemd has the port for the daemon, which asks when it starts: run `systemctl \
                 restart dimed`, and then this again"
            ),
            _ => {
                format!(
                    "there is no certificate for {host} yet; once this is mended, the same command goes on"
                )
            }
        };
        return Err(error).context(why);
    }
    let path = issuer.certificate.display();
    let condition = condition(&issuer.listen, daemon::is_running(&config.server.data_directory));
    progress.done(
        "acme",
        &format!(
            "The authority has issued a certificate for {host}, in {path}; the daemon renews it{condition}"
        ),
    )
}

/// On which the daemon can renew it, as far as anything is left to be done for that.
fn condition(listen: &[SocketAddr], is_running: bool) -> String {
    let ports: Vec<u16> = listen.iter().map(SocketAddr::port).collect();
    let unit = authority::UNIT;
    match (authority::is_opened(&ports), is_running) {
        (Some(true), _) => String::new(),
        (Some(false), true) => format!(
            " if systemd opens the port for that, which `systemctl enable {unit} && systemctl restart dimed` has it do"
        ),
        (Some(false), false) => format!(
            " if systemd opens the port for that, which `systemctl enable {unit}` has it do when the daemon starts"
        ),
        (None, _) => format!(
            ", and must be able to listen on {} then (`dimed config reference` says at tls.acme what its unit needs for that)",
            addresses(listen)
        ),
    }
}

fn addresses(all: &[SocketAddr]) -> String {
    let texts: Vec<String> = all.iter().map(SocketAddr::to_string).collect();
    texts.join(" and ")
}
