//! `dimed key set --ahead N`: key sets for later, signed where the user's keys are.

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::base::time::{Clock, SystemClock, Timestamp};
use crate::cli::answer::Answer;
use crate::cli::files::{FileName, Outputs, check_inputs};
use crate::cli::key::{Unlock, private_keys};
use crate::cli::refusal::Refusal;
use crate::cli::signet::read;
use crate::cli::{Exit, Misuse};
use crate::crypto::ed25519::SigningKey;
use crate::dime::key_set::{self, Draft, KemKeys, KeySetFile};
use crate::dime::keys::kem::KemFile;
use crate::dime::keys::private::PrivateKey;
use crate::dime::signet::Kind;
use crate::mail::date::rfc5322;

const DAY: u64 = 24 * 3600;

/// How many, when, and where to.
#[derive(Debug, Args)]
pub struct Ahead {
    /// Sign so many key sets: the first for now, or for --start-in days from now.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    ahead: Option<u64>,
    /// The user's key file; - is standard input.
    #[arg(long, value_name = "FILE")]
    key: Option<FileName>,
    /// The user's signet or signing request, which must be of that key.
    #[arg(long, value_name = "FILE")]
    signet: Option<FileName>,
    #[command(flatten)]
    unlock: Unlock,
    /// Days from one key set to the next.
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u64).range(1..=399))]
    every: u64,
    /// Days that each of them lives; more than --every.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=400))]
    life: u64,
    /// Days until the first one is due.
    #[arg(long, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3650))]
    start_in: u64,
    /// Sign that there are no keys, instead of keys.
    #[arg(long)]
    opt_out: bool,
    /// Private keys [default: beside the key file, with the time of the first key set and the suffix .kem].
    #[arg(long, value_name = "FILE")]
    kem: Option<FileName>,
    /// The signed key sets, for the server [default: the same with the suffix .keyset].
    #[arg(long, short, value_name = "FILE")]
    out: Option<FileName>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

/// Signs and writes.
pub fn run(arguments: &Ahead, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (Some(count), Some(key), Some(signet)) = (arguments.ahead, &arguments.key, &arguments.signet) else {
        let missing = "to sign key sets ahead, name --ahead, --key and --signet";
        return Err(Misuse(missing.into()).into());
    };
    check_inputs([key, signet].into_iter().chain(&arguments.unlock.passphrase_file))?;
    if arguments.life <= arguments.every {
        return Err(Misuse("--life must be more than --every, or there are days without keys".into()).into());
    }
    let signing = signing_key(key, signet, &arguments.unlock)?;
    let now = u64::try_from(SystemClock.now().unix_secs()).unwrap_or(0);
    let first = now + arguments.start_in * DAY;
    let sets = (0..count)
        .map(|number| sign(arguments, &signing, first + number * arguments.every * DAY))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Refusal::new(&error))?;
    let files = Files {
        kem: arguments.kem.clone().unwrap_or_else(|| beside(key, first, "kem")),
        bundle: arguments
            .out
            .clone()
            .unwrap_or_else(|| beside(key, first, "keyset")),
    };
    write(arguments, &sets, &files, json, out)
}

/// Where to.
struct Files {
    kem: FileName,
    bundle: FileName,
}

/// The user's key that the signet names.
fn signing_key(key: &FileName, signet: &FileName, unlock: &Unlock) -> anyhow::Result<SigningKey> {
    let object = read::signet(signet)?;
    if object.kind() == Kind::Organization {
        return Err(Misuse(format!("{signet} is not a user's")).into());
    }
    let keys = private_keys(key, unlock)?;
    let owner = read::own_key(&object);
    let is_owner = |key: &&SigningKey| owner == Some(key.verifying_key());
    let found = keys.iter().filter_map(PrivateKey::signing).find(is_owner);
    let other = || Refusal {
        variant: "keys.other",
        message: format!("there is no key here that {signet} names"),
        place: Box::default(),
        file: Some(key.to_string()),
    };
    Ok(found.cloned().ok_or_else(other)?)
}

/// A key set, public and private.
struct Signed {
    public: KeySetFile,
    private: KemFile,
}

fn sign(arguments: &Ahead, owner: &SigningKey, created: u64) -> Result<Signed, key_set::Error> {
    let keys = match arguments.opt_out {
        true => KemKeys::default(),
        false => KemKeys::generate(&mut rand::rng()),
    };
    let draft = Draft {
        created,
        expires: created + arguments.life * DAY,
        keys: keys.public_keys(),
    };
    let value = draft.sign(Kind::User, owner)?;
    Ok(Signed {
        public: KeySetFile::new(Kind::User, owner.verifying_key(), value)?,
        private: KemFile {
            kind: Kind::User,
            owner: owner.verifying_key(),
            created,
            expires: draft.expires,
            keys,
        },
    })
}

fn write(
    arguments: &Ahead,
    sets: &[Signed],
    files: &Files,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let is_told = !files.kem.is_standard() && !files.bundle.is_standard();
    if json && !is_told {
        return Err(Misuse("with --json, name files instead of -".into()).into());
    }
    let public: String = sets.iter().map(|set| set.public.to_armor()).collect();
    let mut outputs = Outputs::new(arguments.force).public(&files.bundle, public.as_bytes());
    if !arguments.opt_out {
        outputs = outputs.private(&files.kem, private(sets).as_bytes());
    }
    outputs.write(out)?;
    if is_told {
        answer(arguments, sets, files).write(json, out)?;
    }
    Ok(Exit::Done)
}

fn private(sets: &[Signed]) -> Zeroizing<String> {
    let armored: Vec<_> = sets.iter().map(|set| set.private.to_armor()).collect();
    let size = armored.iter().map(|text| text.expose().len()).sum();
    // Never moved while it grows, so that no copy stays behind.
    let mut all = Zeroizing::new(String::with_capacity(size));
    for text in &armored {
        all.push_str(text.expose());
    }
    all
}

/// `alice.key` gives `alice-1800000000.kem`, so that the next files do not replace these.
fn beside(key: &FileName, first: u64, suffix: &str) -> FileName {
    let path = match key.is_standard() {
        true => std::path::Path::new("user.key"),
        false => key.path(),
    };
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    name.push(format!("-{first}.{suffix}"));
    path.with_file_name(name).into()
}

fn answer(arguments: &Ahead, sets: &[Signed], files: &Files) -> Answer {
    let Files { kem, bundle } = files;
    let time = |secs: u64| {
        let millis = i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000);
        rfc5322(Timestamp(millis))
    };
    let last = sets.last().map_or(0, |set| set.private.expires);
    let mut text = format!("{:<12} {}\n", "key sets", sets.len());
    for set in sets {
        text += &format!("{:<12} {}\n", "due", time(set.private.created));
    }
    text += &format!("{:<12} {}\n", "until", time(last));
    text += &format!("{:<12} {bundle}\n", "for server");
    if !arguments.opt_out {
        text += &format!("{:<12} {kem}\n", "private keys");
    }
    text +=
        &format!("Next: `dimed key set import ADDRESS {bundle} --submit HOST` hands them to your server.\n");
    let lives = sets
        .iter()
        .map(|set| json!({ "created": set.private.created, "expires": set.private.expires }));
    Answer {
        text,
        json: json!({
            "result": "done",
            "key_sets": lives.collect::<Vec<_>>(),
            "opt_out": arguments.opt_out,
            "files": {
                "key_set": bundle.to_string(),
                "kem": (!arguments.opt_out).then(|| kem.to_string()),
            },
        }),
    }
}
