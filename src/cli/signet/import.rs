//! `dimed signet import`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::fingerprint::type_name;
use super::split::write_signet;
use crate::base::encoding::base64_unpadded;
use crate::cli::answer::{Answer, check_output};
use crate::cli::files::{FileName, MAX_OBJECT, Outputs, check_inputs};
use crate::cli::key::{Unlock, private_keys};
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, Misuse};
use crate::dime::keys::private::PrivateKey;
use crate::dime::prime::{self, Dialect, ForeignSignet, Imported, REALM_KEY_SIZE, RealmKey};
use crate::dime::signet::{Kind, Signet};
use crate::mail::address::Domain;

/// Take over keys and signets of magma: its copy of libdime, and PRIME.
///
/// Signatures cover encoded octets, and those differ, so signets are made again with the private keys
/// that --keys names, a key file of either program or of ours:
///
///   key file               becomes a key file of ours; an encrypted one needs --realm-key
///   organizational signet  becomes one over the same keys and profile, signed again; --domain gives
///                          it its identifier
///   user signet, request   becomes a signing request for the same keys, for the organization
///
/// Without --keys a signet is only read and described, and nothing is written. Messages are not
/// imported.
///
/// Exit codes: 0 done; 1 the object is damaged or of another kind, or the keys are another's; 2 usage.
///
/// Examples:
///
///     dimed signet import magma.key --out new.key
///     dimed signet import magma.signet --keys magma.key --domain example.org --out new.signet
///     dimed signet import magma.signet --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Import {
    /// Key file, signet or signing request; - is standard input.
    file: FileName,
    /// Private keys of the signet, to sign with.
    #[arg(long, value_name = "FILE")]
    keys: Option<FileName>,
    /// Domain of an organizational signet.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// File with the 64 octets that an encrypted key file is under.
    #[arg(long, value_name = "FILE")]
    realm_key: Option<PathBuf>,
    #[command(flatten)]
    unlock: Unlock,
    /// Where to write the result; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

/// Imports.
pub fn run(arguments: &Import, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let optional = [&arguments.keys, &arguments.unlock.passphrase_file];
    check_inputs(
        [&arguments.file]
            .into_iter()
            .chain(optional.into_iter().flatten()),
    )?;
    match read(&arguments.file)? {
        Imported::Keys(keys) => write_keys(&keys, arguments, json, out),
        Imported::Encrypted(encrypted) => {
            let keys = encrypted
                .open(&realm_key(arguments)?)
                .map_err(refused(&arguments.file))?;
            write_keys(&keys, arguments, json, out)
        }
        Imported::Signet(foreign) => match &arguments.keys {
            None => describe(&foreign, json, out),
            Some(file) => {
                let signet = reissue(&foreign, file, arguments)?;
                write_signet(&signet, &arguments.out, arguments.force, json, out)
            }
        },
    }
}

fn read(file: &FileName) -> anyhow::Result<Imported> {
    let octets = file.read(MAX_OBJECT)?;
    let imported = prime::read(&octets).map_err(refused(file))?;
    if matches!(imported, Imported::Keys(_)) {
        file.warn_if_exposed();
    }
    Ok(imported)
}

fn refused(file: &FileName) -> impl Fn(prime::Error) -> Refusal {
    move |error| Refusal::new(&error).of_file(file)
}

fn write_keys(
    keys: &prime::Keys,
    arguments: &Import,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    check_output(json, &arguments.out)?;
    let armored = keys.to_armor();
    Outputs::new(arguments.force)
        .private(&arguments.out, armored.expose().as_bytes())
        .write(out)?;
    if !arguments.out.is_standard() {
        let kind = match keys {
            prime::Keys::Organization(_) => "organizational key",
            prime::Keys::User(_) => "user key",
        };
        let answer = Answer {
            text: format!("{kind} in {}\n", arguments.out),
            json: json!({ "result": "done", "type": kind, "file": arguments.out.to_string() }),
        };
        answer.write(json, out)?;
    }
    Ok(Exit::Done)
}

fn realm_key(arguments: &Import) -> anyhow::Result<RealmKey> {
    let missing = || Misuse("an encrypted key file needs --realm-key".into());
    let path = arguments.realm_key.clone().ok_or_else(missing)?;
    let file = FileName::from(path);
    let octets = file.read_private(REALM_KEY_SIZE)?;
    let octets: &[u8; REALM_KEY_SIZE] = octets
        .as_slice()
        .try_into()
        .map_err(|_| Misuse(format!("{file} does not have {REALM_KEY_SIZE} octets")))?;
    Ok(RealmKey::from_bytes(*octets))
}

fn reissue(foreign: &ForeignSignet, file: &FileName, arguments: &Import) -> anyhow::Result<Signet> {
    let refused_signet = refused(&arguments.file);
    match (foreign.kind(), private(file, &arguments.unlock)?) {
        (Kind::Organization, prime::Keys::Organization(keys)) => {
            let builder = foreign.reissue(&keys).map_err(refused_signet)?;
            Ok(match &arguments.domain {
                Some(domain) => builder.identifiable(domain)?,
                None => builder.full()?,
            })
        }
        (Kind::User | Kind::Request, prime::Keys::User(keys)) => {
            Ok(foreign.request(&keys).map_err(refused_signet)?)
        }
        _ => Err(refused_signet(prime::Error::OtherKeys).into()),
    }
}

/// Private keys of either program, or of ours.
fn private(file: &FileName, unlock: &Unlock) -> anyhow::Result<prime::Keys> {
    let octets = Zeroizing::new(file.read(MAX_OBJECT)?.to_vec());
    if let Ok(Imported::Keys(keys)) = prime::read(&octets) {
        file.warn_if_exposed();
        return Ok(keys);
    }
    let ours = private_keys(file, unlock)?.into_iter().find_map(|key| match key {
        PrivateKey::Organization(keys) => Some(prime::Keys::Organization(keys)),
        PrivateKey::User(keys) => Some(prime::Keys::User(keys)),
        _ => None,
    });
    Ok(ours.ok_or_else(|| refused(file)(prime::Error::OtherKeys))?)
}

fn describe(foreign: &ForeignSignet, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let dialect = match foreign.dialect() {
        Dialect::Magma => "magma's copy of libdime",
        Dialect::Prime => "PRIME",
    };
    let key = base64_unpadded(&foreign.signing_key().0);
    let fields: Vec<_> = foreign
        .fields()
        .map(|field| {
            let name = foreign.kind().label(field.id);
            json!({ "id": field.id, "name": name, "value_size": field.data.len() })
        })
        .collect();
    let fingerprint = foreign.crypto_fingerprint().map(|it| it.to_string());
    let answer = Answer {
        text: format!(
            "{} in the dialect of {dialect}\nsigning key  {key}\nfields       {}\nIts own signatures verify. With --keys it is made again in libdime's dialect.\n",
            foreign.kind(),
            foreign.fields().count()
        ),
        json: json!({
            "result": "done",
            "dialect": match foreign.dialect() { Dialect::Magma => "magma", Dialect::Prime => "prime" },
            "type": type_name(foreign.kind()),
            "signing_key": key,
            "fingerprints": { "crypto": fingerprint },
            "fields": fields,
        }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}
