//! `dimed signet sign`.

use std::io::Write;

use clap::Args;

use super::profile::{self, Settings};
use super::split::write_signet;
use super::{Form, read};
use crate::base::time::{Clock, SystemClock};
use crate::cli::files::{FileName, MAX_OBJECT, check_inputs};
use crate::cli::key::{Unlock, private_keys};
use crate::cli::refusal::{Refusal, Refused};
use crate::cli::{Exit, Misuse};
use crate::crypto::ed25519::{SigningKey, VerifyingKey};
use crate::dime::key_set::{self, FILE_LABEL, KeySetFile};
use crate::dime::keys;
use crate::dime::keys::private::PrivateKey;
use crate::dime::signet::{
    self, Kind, Profile, Signer, Signet, UserBuilder, VerifiedOrg, VerifiedRequest, VerifiedUser, verify_org,
    verify_request, verify_user,
};
use crate::mail::address::{Domain, Mailbox};

/// Sign a user's request: it becomes a user signet.
///
/// The request's own signature is verified first, with --previous also that the predecessor's key
/// signed the new ones; a rotation without --previous is not signed. The key must be the
/// organization's primary key or a secondary key that may sign signets. The result is verified before
/// it is written.
///
/// A request does not say whose it is. With --address the signet gets that identifier (id form);
/// without, it ends with the full signature, unless --previous has an identifier, which is then kept.
/// --key-set adds the user's key set for D/MIME 2, which the key in the request must have signed.
///
/// Exit codes: 0 signed; 1 the request, the organization's signet or the predecessor is not valid, or
/// the key may not sign; 2 usage.
///
/// Examples:
///
///     dimed signet sign alice-example.org.ssr --org-key example.org.key \
///         --org-signet example.org.signet --address alice@example.org \
///         --key-set alice-example.org.keyset --set Name=Alice --out new.signet
///     dimed signet sign next.ssr --org-key example.org.key --org-signet example.org.signet \
///         --previous alice-example.org.signet --keep-profile --out new.signet
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_long_help = profile::help())]
pub struct Sign {
    /// Signing request; - is standard input.
    request: FileName,
    /// Key file of the organization: its own, or of a secondary key that may sign signets.
    #[arg(long, value_name = "FILE")]
    org_key: FileName,
    /// Signet of the organization.
    #[arg(long, value_name = "FILE")]
    org_signet: FileName,
    /// The user's current signet, if the request is a rotation.
    #[arg(long, value_name = "FILE")]
    previous: Option<FileName>,
    /// Address that the signet is for.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Mailbox>,
    /// Signed key set of the user.
    #[arg(long, value_name = "FILE")]
    key_set: Option<FileName>,
    /// Take over the profile of --previous, but its key set, which the new key did not sign.
    #[arg(long, requires = "previous")]
    keep_profile: bool,
    #[command(flatten)]
    settings: Settings,
    /// How far to sign [default: id with an address, else full].
    #[arg(long, value_enum)]
    form: Option<Form>,
    #[command(flatten)]
    unlock: Unlock,
    /// Where to write the signet; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

/// Signs.
pub fn run(arguments: &Sign, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_inputs(arguments.inputs())?;
    let signing = org_key(&arguments.org_key, &arguments.unlock)?;
    let request = read::signet_of(Kind::Request, &arguments.request)?;
    let parties = Parties::read(arguments, &signing.verifying_key())?;
    let refused = |error: signet::Error| Refusal::in_signet(&error, &request).of_file(&arguments.request);
    let verified = verify_request(&request, parties.previous.as_ref()).map_err(refused)?;
    let signer = Signer::new(&parties.org, &signing)
        .map_err(|error| Refusal::in_signet(&error, parties.org.signet()).of_file(&arguments.org_key))?;
    let profile = profile(arguments, &parties, &verified)?;
    parties.check_address(arguments)?;
    let builder = signer.sign(&verified).map_err(refused)?.with_profile(profile);
    let signet = finish(builder, arguments, &parties)?;
    parties.verify(&signet).map_err(refused)?;
    write_signet(&signet, &arguments.out, arguments.force, json, out)
}

impl Sign {
    fn inputs(&self) -> impl Iterator<Item = &FileName> {
        let optional = [&self.previous, &self.key_set, &self.unlock.passphrase_file];
        [&self.request, &self.org_key, &self.org_signet]
            .into_iter()
            .chain(optional.into_iter().flatten())
    }
}

/// The organization, and who the user is and was.
struct Parties {
    org: VerifiedOrg,
    previous: Option<VerifiedUser>,
    address: Option<Mailbox>,
}

impl Parties {
    /// Whoever holds the primary key needs no DNS to trust its signet; with a secondary key, the signet is trusted as given.
    fn read(arguments: &Sign, signer: &VerifyingKey) -> anyhow::Result<Self> {
        let org_signet = read::signet_of(Kind::Organization, &arguments.org_signet)?;
        let previous = arguments.previous.as_ref();
        let previous = previous
            .map(|file| read::signet_of(Kind::User, file))
            .transpose()?;
        let kept = previous.as_ref().and_then(read::identifier::<Mailbox>);
        let address = arguments.address.clone().or(kept);
        let named = read::identifier::<Domain>(&org_signet);
        let domain = named.or_else(|| address.as_ref().map(|it| it.domain().clone()));
        let domain = domain.ok_or_else(|| {
            Misuse(
                "the organization's signet has no identifier: say whose the new signet is with --address"
                    .into(),
            )
        })?;
        let trusted = [*signer, read::own_key(&org_signet).unwrap_or(*signer)];
        let org = verify_org(&org_signet, &trusted, &domain)
            .map_err(|error| Refusal::in_signet(&error, &org_signet).of_file(&arguments.org_signet))?;
        let previous = match (previous, &arguments.previous) {
            (Some(signet), Some(file)) => Some(verified_previous(&signet, file, &org, address.as_ref())?),
            _ => None,
        };
        Ok(Self {
            org,
            previous,
            address,
        })
    }

    /// An organization signs for addresses of its own.
    fn check_address(&self, arguments: &Sign) -> Result<(), Refusal> {
        match &self.address {
            Some(address) if !self.org.governs(address.domain()) => {
                let refusal = Refusal::in_signet(&signet::Error::WrongName, self.org.signet());
                Err(Refusal {
                    message: format!("{address} is no address of {}", self.org.domain()),
                    ..refusal.of_file(&arguments.org_signet)
                })
            }
            _ => Ok(()),
        }
    }

    /// Nothing leaves that its readers would refuse.
    fn verify(&self, signet: &Signet) -> Result<(), signet::Error> {
        let Some(address) = &self.address else {
            return Ok(());
        };
        verify_user(signet, &self.org, self.previous.as_ref(), address).map(drop)
    }
}

fn verified_previous(
    signet: &Signet,
    file: &FileName,
    org: &VerifiedOrg,
    address: Option<&Mailbox>,
) -> anyhow::Result<VerifiedUser> {
    let missing = || {
        Misuse(format!(
            "{file} has no identifier: say whose it is with --address"
        ))
    };
    let address = address.ok_or_else(missing)?;
    let refused = |error: signet::Error| Refusal::in_signet(&error, signet).of_file(file);
    Ok(verify_user(signet, org, None, address).map_err(refused)?)
}

/// The signing key of an organization, primary or secondary.
pub fn org_key(file: &FileName, unlock: &Unlock) -> anyhow::Result<SigningKey> {
    let found = private_keys(file, unlock)?;
    let organization = found.iter().filter(|key| !matches!(key, PrivateKey::User(_)));
    let refused = || {
        let error = keys::Error::Magic {
            expected: keys::ORG_MAGIC,
            found: keys::USER_MAGIC,
        };
        Refusal::new(&error).of_file(file)
    };
    let key = organization.into_iter().find_map(PrivateKey::signing).cloned();
    Ok(key.ok_or_else(refused)?)
}

fn profile(arguments: &Sign, parties: &Parties, request: &VerifiedRequest) -> anyhow::Result<Profile> {
    let mut profile = match &parties.previous {
        Some(previous) if arguments.keep_profile => Profile::of(previous.signet()),
        _ => Profile::new(),
    };
    profile.remove_undefined(key_set::FIELD);
    arguments.settings.apply(Kind::User, &mut profile)?;
    if let Some(file) = &arguments.key_set {
        let value = key_set(file, request)?;
        profile.add_undefined(key_set::FIELD, &value)?;
    }
    Ok(profile)
}

/// The value for the field, if the key in the request signed it and it can be used now.
fn key_set(file: &FileName, request: &VerifiedRequest) -> anyhow::Result<Vec<u8>> {
    fn told<E: Refused>(file: &FileName) -> impl Fn(E) -> Refusal {
        move |error| Refusal::new(&error).of_file(file)
    }
    let octets =
        read::binary(&file.read(MAX_OBJECT)?, &[FILE_LABEL]).map_err(|refusal| refusal.of_file(file))?;
    let set = KeySetFile::decode(&octets).map_err(told(file))?;
    if set.kind() != Kind::User || set.owner() != request.signing_key() {
        return Err(told(file)(key_set::Error::OtherSigner).into());
    }
    let now = u64::try_from(SystemClock.now().unix_secs()).unwrap_or(0);
    set.set().accept(now).map_err(told(file))?;
    Ok(set.value().to_vec())
}

fn finish(builder: UserBuilder<'_>, arguments: &Sign, parties: &Parties) -> anyhow::Result<Signet> {
    let form = arguments.form.unwrap_or(match parties.address {
        Some(_) => Form::Id,
        None => Form::Full,
    });
    Ok(match (form, &parties.address) {
        (Form::Crypto, _) => builder.crypto()?,
        (Form::Full, _) => builder.full()?,
        (Form::Id, Some(address)) => builder.identifiable(address)?,
        (Form::Id, None) => return Err(Misuse("--form id needs --address".into()).into()),
    })
}
