//! `dimed key show`.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::unlock::{Opener, Unlock, stored};
use crate::base::encoding::{base64, base64_unpadded};
use crate::base::time::Timestamp;
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::files::{FileName, check_inputs};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256::SecretKey;
use crate::dime::keys::kem::KemFile;
use crate::dime::keys::private::{PrivateKey, Stored};
use crate::dime::keys::wrapped::{Protection, Wrapped};
use crate::mail::date::rfc5322;

/// Say what is in a key file, and check it.
///
/// Without flags no key is printed, public or private. With --public the public halves are: signing
/// keys as the 43 characters that pok= has in DNS, encryption keys as base64 of the compressed point.
/// Private halves are printed with --private alone. A wrapped key is opened only if --public or
/// --private asks for what is inside.
///
/// Exit codes: 0 every key in the file is valid; 1 one is not, and the name of the error says why.
///
/// Examples:
///
///     dimed key show example.org.key --public
///     dimed key show alice.wrapped --json
///     dimed key show alice.wrapped --public --passphrase-file secret.txt
///     cat example.org.key | dimed key show -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Show {
    /// Key file; - is standard input.
    file: FileName,
    /// Print the public halves.
    #[arg(long)]
    public: bool,
    /// Print the private halves. Whoever sees them has the keys.
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    under: Unlock,
}

/// Shows.
pub fn run(arguments: &Show, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_inputs(
        [&arguments.file]
            .into_iter()
            .chain(&arguments.under.passphrase_file),
    )?;
    let mut opener = Opener::new(&arguments.file, &arguments.under);
    let keys = stored(&arguments.file)?
        .into_iter()
        .map(|key| view(key, arguments, &mut opener))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let text: String = keys.iter().map(text).collect();
    let text = Zeroizing::new(text);
    let answer = Answer {
        text: text.to_string(),
        json: json!({ "result": "valid", "file": arguments.file.to_string(), "keys": keys }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

fn view(key: Stored, arguments: &Show, opener: &mut Opener<'_>) -> anyhow::Result<Value> {
    let opens = arguments.public || arguments.private;
    let mut view = match &key {
        Stored::Clear(key) => json!({ "type": key.kind().to_string(), "protection": { "by": "none" } }),
        Stored::Wrapped(wrapped) => {
            json!({ "type": wrapped.inside().to_string(), "protection": protection(wrapped) })
        }
    };
    let key = match key {
        Stored::Wrapped(_) if !opens => return Ok(view),
        key => opener.open(key)?,
    };
    if let PrivateKey::KeySet(file) = &key {
        view["key_set"] = key_set(file);
    }
    if arguments.public {
        view["public"] = public(&key);
    }
    if arguments.private {
        view["private"] = private(&key);
    }
    Ok(view)
}

fn protection(wrapped: &Wrapped) -> Value {
    match wrapped.protection() {
        Protection::MasterKey => json!({ "by": "master key" }),
        Protection::Passphrase(work) => json!({
            "by": "passphrase",
            "argon2id": { "memory_kib": work.memory_kib, "passes": work.passes, "lanes": work.lanes },
        }),
    }
}

fn key_set(file: &KemFile) -> Value {
    let keys = file.keys.public_keys();
    json!({
        "owner": base64_unpadded(&file.owner.0),
        "owner_type": file.kind.to_string(),
        "created": file.created,
        "expires": file.expires,
        "suites": keys.iter().map(|key| key.suite().name()).collect::<Vec<_>>(),
    })
}

fn public(key: &PrivateKey) -> Value {
    let signing = |key: &SigningKey| base64_unpadded(&key.verifying_key().0);
    let encryption = |key: &SecretKey| base64(&key.public_key().to_compressed());
    match key {
        PrivateKey::Organization(keys) => {
            json!({ "ed25519": signing(&keys.signing), "secp256k1": encryption(&keys.encryption) })
        }
        PrivateKey::User(keys) => {
            json!({ "ed25519": signing(&keys.signing), "secp256k1": encryption(&keys.encryption) })
        }
        PrivateKey::Signing(key) => json!({ "ed25519": signing(key) }),
        PrivateKey::KeySet(file) => {
            let keys = file.keys.public_keys();
            keys.iter()
                .map(|key| (key.suite().name().to_owned(), json!(base64(key.as_bytes()))))
                .collect()
        }
    }
}

fn private(key: &PrivateKey) -> Value {
    let signing = |key: &SigningKey| base64(key.seed());
    let encryption = |key: &SecretKey| base64(&*Zeroizing::new(key.to_bytes()));
    match key {
        PrivateKey::Organization(keys) => {
            json!({ "ed25519": signing(&keys.signing), "secp256k1": encryption(&keys.encryption) })
        }
        PrivateKey::User(keys) => {
            json!({ "ed25519": signing(&keys.signing), "secp256k1": encryption(&keys.encryption) })
        }
        PrivateKey::Signing(key) => json!({ "ed25519": signing(key) }),
        PrivateKey::KeySet(file) => {
            let suites = crate::crypto::suite::hpke::Suite::ALL.into_iter();
            let keys = suites.filter_map(|suite| file.keys.key(suite));
            keys.map(|key| (key.suite().name().to_owned(), json!(base64(key.expose()))))
                .collect()
        }
    }
}

/// The same for people.
fn text(view: &Value) -> String {
    let mut text = String::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", word(&view["type"]));
    let work = &view["protection"]["argon2id"];
    let _ = match work.is_null() {
        true => writeln!(text, "  under         {}", word(&view["protection"]["by"])),
        false => writeln!(
            text,
            "  under         passphrase (Argon2id, {} KiB, {} passes, {} lanes)",
            work["memory_kib"], work["passes"], work["lanes"]
        ),
    };
    if let Some(set) = view["key_set"].as_object() {
        let time = |name: &str| rfc5322(Timestamp(set[name].as_i64().unwrap_or(0).saturating_mul(1000)));
        let _ = writeln!(
            text,
            "  owner         {} ({})",
            word(&set["owner"]),
            word(&set["owner_type"])
        );
        let _ = writeln!(text, "  created       {}", time("created"));
        let _ = writeln!(text, "  expires       {}", time("expires"));
    }
    for half in ["public", "private"] {
        for (name, key) in view[half].as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {half:<8} {name:<10} {}", word(key));
        }
    }
    text
}
