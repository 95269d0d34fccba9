//! `dimed signet new-org` and `dimed signet new-request`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::fingerprint;
use super::profile::{self, Settings};
use crate::base::encoding::base64_unpadded;
use crate::base::time::{Clock, SystemClock};
use crate::cli::answer::Answer;
use crate::cli::files::{FileName, Outputs, check_inputs};
use crate::cli::key::{Unlock, private_keys};
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, Misuse};
use crate::crypto::ed25519::SigningKey;
use crate::dime::key_set::{self, Draft, KemKeys, KeySetFile};
use crate::dime::keys::kem::KemFile;
use crate::dime::keys::private::PrivateKey;
use crate::dime::keys::{self, OrgKeys, UserKeys};
use crate::dime::signet::{
    Kind, MAX_SECONDARY_KEYS, OrgBuilder, Permissions, Profile, SecondaryKey, Signet, request,
    rotation_request,
};
use crate::mail::address::{Domain, Mailbox};

/// Make the keys and the signet of an organization.
///
/// Writes DOMAIN.key with the private signing and encryption key as libdime reads them, DOMAIN.kem with
/// the private keys of the key set for D/MIME 2, both with mode 0600, and DOMAIN.signet, which has all
/// signatures and the domain as its identifier. The primary key that is printed goes into the
/// management record (pok=).
///
/// With --sok the signet has secondary keys as well, each for what it may sign: signets (of users),
/// messages (as their origin), tls, software. The first is written to DOMAIN.sok1.key, as an ED25519
/// PRIVATE KEY with mode 0600, the next to DOMAIN.sok2.key, and so on. Whatever takes the key file of
/// an organization to sign with takes one of these instead, so the primary key can stay locked away.
///
/// Examples:
///
///     dimed signet new-org example.org
///     dimed signet new-org example.org --sok signets --sok messages,tls
///     dimed signet new-org example.org --set "Name=Example Inc." --set Contact-Abuse=abuse@example.org
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_long_help = profile::help())]
pub struct NewOrg {
    /// Domain of the organization.
    domain: Domain,
    /// Private keys [default: DOMAIN.key].
    #[arg(long, value_name = "FILE")]
    key: Option<FileName>,
    /// The signet [default: DOMAIN.signet].
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

/// Make the keys of a user and a signing request.
///
/// Writes LOCAL-DOMAIN.key and LOCAL-DOMAIN.kem with the private keys, both with mode 0600,
/// LOCAL-DOMAIN.ssr, which goes to the organization to be signed, and LOCAL-DOMAIN.keyset, which goes
/// with it: a signing request has no room for the key set of D/MIME 2, so `dimed signet sign` takes
/// it with --key-set.
///
/// A request does not say whose it is; the organization gives it a name when it signs. With --rotate
/// the old private key signs the new ones, which proves that the user stayed the same.
///
/// Examples:
///
///     dimed signet new-request alice@example.org
///     dimed signet new-request alice@example.org --rotate alice-example.org.key --key new.key \
///         --kem new.kem --key-set new.keyset --request new.ssr
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct NewRequest {
    /// Address of the user.
    address: Mailbox,
    /// Key file of the user's current signet, which vouches for the new keys.
    #[arg(long, value_name = "OLDKEY")]
    rotate: Option<FileName>,
    #[command(flatten)]
    unlock: Unlock,
    /// Private keys [default: LOCAL-DOMAIN.key].
    #[arg(long, value_name = "FILE")]
    key: Option<FileName>,
    /// The signing request [default: LOCAL-DOMAIN.ssr].
    #[arg(long, value_name = "FILE")]
    request: Option<FileName>,
    /// The signed key set [default: LOCAL-DOMAIN.keyset].
    #[arg(long, value_name = "FILE", conflicts_with = "no_key_set")]
    key_set: Option<FileName>,
    #[command(flatten)]
    kem: Kem,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

/// The key set that comes with new keys.
#[derive(Debug, Clone, Args)]
pub struct Kem {
    /// Private keys of the key set [default: beside the key file, with the suffix .kem].
    #[arg(long, value_name = "FILE", conflicts_with = "no_key_set")]
    kem: Option<FileName>,
    /// Make no key set for D/MIME 2.
    #[arg(long)]
    no_key_set: bool,
    /// Days until the key set expires, at most 400. A new one is due well before.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=400))]
    key_set_days: u64,
}

/// A new key set: its private keys, and itself, signed.
pub struct NewKeySet {
    /// For its owner.
    pub private: KemFile,
    /// For everybody.
    pub signed: KeySetFile,
}

impl Kem {
    /// Makes one for an owner; `None` if none is wanted.
    pub fn generate(&self, kind: Kind, owner: &SigningKey) -> anyhow::Result<Option<NewKeySet>> {
        if self.no_key_set {
            return Ok(None);
        }
        let keys = KemKeys::generate(&mut rand::rng());
        let created = u64::try_from(SystemClock.now().unix_secs()).unwrap_or(0);
        let expires = created + self.key_set_days * 86_400;
        let draft = Draft {
            created,
            expires,
            keys: keys.public_keys(),
        };
        let refused = |error: key_set::Error| Refusal::new(&error);
        let value = draft.sign(kind, owner).map_err(refused)?;
        let owner = owner.verifying_key();
        Ok(Some(NewKeySet {
            private: KemFile {
                kind,
                owner,
                created,
                expires,
                keys,
            },
            signed: KeySetFile::new(kind, owner, value).map_err(refused)?,
        }))
    }

    /// Where its private keys go.
    pub fn file(&self, stem: &str) -> FileName {
        named(&self.kem, stem, "kem")
    }
}

/// Makes an organization.
pub fn run_org(arguments: &NewOrg, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let stem = arguments.domain.to_string();
    let keys = OrgKeys::generate(&mut rand::rng());
    let mut profile = Profile::new();
    arguments.settings.apply(Kind::Organization, &mut profile)?;
    let set = arguments.kem.generate(Kind::Organization, &keys.signing)?;
    if let Some(set) = &set {
        profile.add_undefined(key_set::FIELD, set.signed.value())?;
    }
    let soks = secondary_keys(&arguments.sok)?;
    let signet = OrgBuilder::new(
        &keys.signing,
        &keys.encryption.public_key(),
        &public_halves(&soks),
    )?
    .with_profile(profile)
    .identifiable(&arguments.domain)?;
    let mut made = Made::new(&signet, &keys.signing, arguments.force);
    made.private(
        "key",
        named(&arguments.key, &stem, "key"),
        keys.to_armor().expose(),
    );
    if let Some(set) = &set {
        made.private("kem", arguments.kem.file(&stem), set.private.to_armor().expose());
    }
    for (number, (key, _)) in (1..).zip(&soks) {
        let name = format!("sok{number}");
        let file = named(&None, &stem, &format!("{name}.key"));
        made.private(&name, file, keys::signing_key_to_armor(key).expose());
    }
    made.public(
        "signet",
        named(&arguments.signet, &stem, "signet"),
        &signet.to_armor(),
    );
    made.write(json, out)
}

/// New secondary keys, each with what it may sign.
pub fn secondary_keys(uses: &[Permissions]) -> Result<Vec<(SigningKey, Permissions)>, Misuse> {
    if uses.len() > MAX_SECONDARY_KEYS {
        return Err(Misuse(format!(
            "a signet has at most {MAX_SECONDARY_KEYS} secondary keys"
        )));
    }
    let rng = &mut rand::rng();
    Ok(uses
        .iter()
        .map(|uses| (SigningKey::generate(rng), *uses))
        .collect())
}

/// What stands of them in a signet.
pub fn public_halves(keys: &[(SigningKey, Permissions)]) -> Vec<SecondaryKey> {
    let halves = keys.iter().map(|(key, permissions)| SecondaryKey {
        permissions: *permissions,
        key: key.verifying_key(),
    });
    halves.collect()
}

/// Makes a user's keys and request.
pub fn run_request(arguments: &NewRequest, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_inputs(arguments.rotate.iter().chain(&arguments.unlock.passphrase_file))?;
    let stem = stem_of(&arguments.address);
    let keys = UserKeys::generate(&mut rand::rng());
    let request = match &arguments.rotate {
        None => request(&keys)?,
        Some(file) => rotation_request(&keys, &old_key(file, &arguments.unlock)?)?,
    };
    let set = arguments.kem.generate(Kind::User, &keys.signing)?;
    let mut made = Made::new(&request, &keys.signing, arguments.force);
    made.private(
        "key",
        named(&arguments.key, &stem, "key"),
        keys.to_armor().expose(),
    );
    if let Some(set) = &set {
        made.private("kem", arguments.kem.file(&stem), set.private.to_armor().expose());
        made.public(
            "key_set",
            named(&arguments.key_set, &stem, "keyset"),
            &set.signed.to_armor(),
        );
    }
    made.public(
        "request",
        named(&arguments.request, &stem, "ssr"),
        &request.to_armor(),
    );
    made.write(json, out)
}

/// The signing key of a user's key file.
fn old_key(file: &FileName, unlock: &Unlock) -> anyhow::Result<SigningKey> {
    let old = private_keys(file, unlock)?;
    let users = old
        .iter()
        .filter(|key| !matches!(key, PrivateKey::Organization(_)));
    let refused = || {
        let error = keys::Error::Magic {
            expected: keys::USER_MAGIC,
            found: keys::ORG_MAGIC,
        };
        Refusal::new(&error).of_file(file)
    };
    let key = users.into_iter().find_map(PrivateKey::signing).cloned();
    Ok(key.ok_or_else(refused)?)
}

/// The file given, or one named after what it is about.
pub fn named(given: &Option<FileName>, stem: &str, suffix: &str) -> FileName {
    let default = || std::ffi::OsString::from(format!("{stem}.{suffix}")).into();
    given.clone().unwrap_or_else(default)
}

/// `local-domain`, as libdime's tool names files; what would lead to another folder is replaced.
fn stem_of(address: &Mailbox) -> String {
    let stem = format!("{}-{}", address.local(), address.domain());
    let stem = stem.replace(['/', '\0'], "_");
    match stem.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => stem,
    }
}

/// Files that were made together, and what is said of them.
pub struct Made<'a> {
    signet: &'a Signet,
    owner: &'a SigningKey,
    outputs: Option<Outputs>,
    files: Vec<(String, FileName)>,
}

impl<'a> Made<'a> {
    /// None yet; with `force`, files that exist are replaced.
    pub fn new(signet: &'a Signet, owner: &'a SigningKey, force: bool) -> Self {
        Self {
            signet,
            owner,
            outputs: Some(Outputs::new(force)),
            files: Vec::new(),
        }
    }

    /// One for its owner alone.
    pub fn private(&mut self, what: &str, file: FileName, text: &str) {
        self.outputs = self
            .outputs
            .take()
            .map(|outputs| outputs.private(&file, text.as_bytes()));
        self.files.push((what.to_owned(), file));
    }

    /// One for everybody.
    pub fn public(&mut self, what: &str, file: FileName, text: &str) {
        self.outputs = self
            .outputs
            .take()
            .map(|outputs| outputs.public(&file, text.as_bytes()));
        self.files.push((what.to_owned(), file));
    }

    /// Writes all of them, and says which.
    pub fn write(self, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
        let is_told = !self.files.iter().any(|(_, file)| file.is_standard());
        if json && !is_told {
            return Err(Misuse("with --json, name files instead of -".into()).into());
        }
        let answer = self.answer();
        self.outputs.unwrap_or_else(|| Outputs::new(false)).write(out)?;
        if is_told {
            answer.write(json, out)?;
        }
        Ok(Exit::Done)
    }

    fn answer(&self) -> Answer {
        let key = base64_unpadded(&self.owner.verifying_key().0);
        let mut text = String::new();
        for (what, file) in &self.files {
            text += &format!("{:<12} {file}\n", what.replace('_', " "));
        }
        text += &match self.signet.kind() {
            Kind::Organization => format!("{:<12} {key}\n", "pok"),
            _ => format!("{:<12} {key}\n", "signing key"),
        };
        let files: Value = self
            .files
            .iter()
            .map(|(what, file)| (what.clone(), json!(file.to_string())))
            .collect();
        Answer {
            text,
            json: json!({
                "result": "done",
                "type": fingerprint::type_name(self.signet.kind()),
                "files": files,
                "signing_key": key,
                "fingerprints": fingerprint::all(self.signet),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_name_never_leads_elsewhere() {
        let stem = |address: &str| stem_of(&address.parse().unwrap());
        assert_eq!(stem("alice@example.org"), "alice-example.org");
        assert_eq!(stem("a/b@example.org"), "a_b-example.org");
        assert_eq!(stem("\"../x\"@example.org"), "_._x-example.org");
    }
}
