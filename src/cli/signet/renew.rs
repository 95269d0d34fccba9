//! `dimed signet renew`.

use std::io::Write;

use clap::Args;

use super::make::{Kem, Made, public_halves, secondary_keys};
use super::profile::{self, Settings};
use super::read;
use super::sign::org_key;
use crate::cli::files::{FileName, check_inputs};
use crate::cli::key::Unlock;
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, Misuse};
use crate::crypto::ed25519::SigningKey;
use crate::dime::key_set;
use crate::dime::keys;
use crate::dime::signet::{
    self, Kind, Level, OrgBuilder, Permissions, Profile, SecondaryKey, VerifiedOrg, verify_org,
};
use crate::mail::address::Domain;

/// Give the signet of an organization a new key set for D/MIME 2.
///
/// The keys of the organization stay as they are, so whatever it has signed stays valid, and so does
/// the management record. --org-key is its primary key. The private keys of the new key set are
/// written with mode 0600; those of the old one still open what is under way, and should be destroyed
/// 16 days after it has expired.
///
/// --sok makes secondary keys as well, beside those that the signet has; --set changes the profile.
/// A signet that a server publishes is renewed there: `dimed key set renew DOMAIN`.
///
/// Exit codes: 0 renewed; 1 the signet is not valid, or the key is not its primary key; 2 usage, or a
/// file that cannot be read or written.
///
/// Examples:
///
///     dimed signet renew example.org.signet --org-key example.org.key --kem next.kem \
///         --signet next.signet
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_long_help = profile::help())]
pub struct Renew {
    /// Signet of the organization; - is standard input.
    old: FileName,
    /// Key file of the organization.
    #[arg(long, value_name = "FILE")]
    org_key: FileName,
    #[command(flatten)]
    unlock: Unlock,
    /// Domain of the organization, if the signet does not name it.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// The new signet [default: DOMAIN-renewed.signet].
    #[arg(long, value_name = "FILE")]
    signet: Option<FileName>,
    /// Make a secondary key that may sign these, separated by commas: signets, messages, tls, software. May be repeated.
    #[arg(long, value_name = "USES")]
    sok: Vec<Permissions>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    kem: Kem,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

/// Renews.
pub fn run(arguments: &Renew, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let files = [&arguments.old, &arguments.org_key].into_iter();
    check_inputs(files.chain(&arguments.unlock.passphrase_file))?;
    let signing = org_key(&arguments.org_key, &arguments.unlock)?;
    let old = old(arguments, &signing)?;
    let mut profile = Profile::of(old.signet());
    arguments.settings.apply(Kind::Organization, &mut profile)?;
    let set = arguments.kem.generate(Kind::Organization, &signing)?;
    profile.remove_undefined(key_set::FIELD);
    if let Some(set) = &set {
        profile.add_undefined(key_set::FIELD, set.signed.value())?;
    }
    let soks = secondary_keys(&arguments.sok)?;
    let builder = builder(&old, &signing, &public_halves(&soks))
        .map_err(|error| Refusal::in_signet(&error, old.signet()).of_file(&arguments.org_key))?
        .with_profile(profile);
    let signet = match read::identifier::<Domain>(old.signet()) {
        Some(_) => builder.identifiable(old.domain())?,
        None => builder.full()?,
    };
    verify_org(&signet, &[signing.verifying_key()], old.domain())
        .map_err(|error| Refusal::in_signet(&error, &signet))?;

    let stem = format!("{}-renewed", old.domain());
    let mut made = Made::new(&signet, &signing, arguments.force);
    if let Some(set) = &set {
        made.private("kem", arguments.kem.file(&stem), set.private.to_armor().expose());
    }
    for (number, (key, _)) in (1 + old.secondary_keys().len()..).zip(&soks) {
        let name = format!("sok{number}");
        let file = super::make::named(&None, &stem, &format!("{name}.key"));
        made.private(&name, file, keys::signing_key_to_armor(key).expose());
    }
    let file = super::make::named(&arguments.signet, &stem, "signet");
    made.public("signet", file, &signet.to_armor());
    made.write(json, out)
}

/// The signet to renew, verified under its own primary key: whoever holds that needs no DNS to trust it.
fn old(arguments: &Renew, signing: &SigningKey) -> anyhow::Result<VerifiedOrg> {
    let signet = read::signet_of(Kind::Organization, &arguments.old)?;
    let named = read::identifier::<Domain>(&signet).or_else(|| arguments.domain.clone());
    let missing = || {
        Misuse(format!(
            "{} names nobody: say whose it is with --domain",
            arguments.old
        ))
    };
    let domain = named.ok_or_else(missing)?;
    let refused = |error: signet::Error| Refusal::in_signet(&error, &signet).of_file(&arguments.old);
    let key = signet.signing_key().map_err(refused)?;
    if key != signing.verifying_key() {
        let error = signet::Error::NotASigner;
        return Err(Refusal::in_signet(&error, &signet)
            .of_file(&arguments.org_key)
            .into());
    }
    let verified = verify_org(&signet, &[key], &domain).map_err(refused)?;
    match verified.level() >= Level::Full {
        true => Ok(verified),
        false => {
            let error = signet::Error::Missing(signet::id::FULL_SIGNATURE);
            Err(Refusal::in_signet(&error, &signet).of_file(&arguments.old).into())
        }
    }
}

/// Keys are signed anew only if there are more of them.
fn builder<'a>(
    old: &VerifiedOrg,
    signing: &'a SigningKey,
    more: &[SecondaryKey],
) -> Result<OrgBuilder<'a>, signet::Error> {
    match more.is_empty() {
        true => OrgBuilder::edit(old, signing),
        false => {
            let all = [old.secondary_keys(), more].concat();
            OrgBuilder::new(signing, &old.encryption_key(), &all)
        }
    }
}
