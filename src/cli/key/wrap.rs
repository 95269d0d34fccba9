//! `dimed key wrap` and `dimed key unwrap`.

use std::io::Write;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::unlock::{Opener, Unlock, stored};
use crate::cli::Exit;
use crate::cli::Misuse;
use crate::cli::answer::{Answer, check_output};
use crate::cli::files::{FileName, Outputs, check_inputs};
use crate::cli::refusal::Refusal;
use crate::dime::keys::private::{PrivateKey, Stored};
use crate::dime::keys::wrapped::{self, Work, Wrapped};

/// Put the keys of a file under a passphrase, or under the master key.
///
/// The passphrase is asked for twice on the terminal, or is the first line of --passphrase-file. It
/// becomes a key by Argon2id, whose parameters are stored in the file; the private keys are encrypted
/// with ChaCha20-Poly1305, and the parameters cannot be changed unnoticed. With --master-key-file the
/// keys are under that key instead. Every command that takes a key file takes a wrapped one.
///
/// Examples:
///
///     dimed key wrap alice-example.org.key --passphrase-file secret.txt --out new.wrapped
///     dimed key wrap alice-example.org.kem --passphrase-file secret.txt --memory-kib 19456 --passes 2
///     dimed key wrap example.org.key --master-key-file master.key --out new.wrapped --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Wrap {
    /// Key file; - is standard input.
    file: FileName,
    /// Where to write the wrapped keys; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Memory of Argon2id, in KiB; at most 1048576.
    #[arg(long, value_name = "KIB", default_value_t = Work::default().memory_kib)]
    memory_kib: u32,
    /// Passes of Argon2id over the memory; at most 64, and 4 GiB altogether.
    #[arg(long, value_name = "N", default_value_t = Work::default().passes)]
    passes: u32,
    #[command(flatten)]
    under: Unlock,
}

/// Take wrapped keys out of a file again.
///
/// Without the right passphrase, or from a changed file, nothing is written: exit code 1, wrapped.locked.
///
/// Examples:
///
///     dimed key unwrap alice.wrapped --passphrase-file secret.txt --out new.key
///     dimed key unwrap example.org.wrapped --master-key-file master.key --out -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Unwrap {
    /// File with wrapped keys; - is standard input.
    file: FileName,
    /// Where to write the keys in the clear; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    under: Unlock,
}

/// Wraps.
pub fn run(arguments: &Wrap, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_inputs(
        [&arguments.file]
            .into_iter()
            .chain(&arguments.under.passphrase_file),
    )?;
    check_output(json, &arguments.out)?;
    let clear = stored(&arguments.file)?.into_iter().map(|key| match key {
        Stored::Clear(key) => Ok(key),
        Stored::Wrapped(_) => Err(Misuse(format!("{} is wrapped already", arguments.file)).into()),
    });
    let clear = clear.collect::<anyhow::Result<Vec<_>>>()?;
    let wrapped = wrap_all(&clear, arguments)?;
    let text: String = wrapped.iter().map(Wrapped::to_armor).collect();
    let outputs = Outputs::new(arguments.force).private(&arguments.out, text.as_bytes());
    outputs.write(out)?;
    tell("wrapped", &clear, &arguments.out, json, out)
}

/// Unwraps.
pub fn run_unwrap(arguments: &Unwrap, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_inputs(
        [&arguments.file]
            .into_iter()
            .chain(&arguments.under.passphrase_file),
    )?;
    check_output(json, &arguments.out)?;
    let mut opener = Opener::new(&arguments.file, &arguments.under);
    let keys = stored(&arguments.file)?.into_iter().map(|key| match key {
        Stored::Wrapped(_) => opener.open(key),
        Stored::Clear(_) => Err(Misuse(format!("{} is not wrapped", arguments.file)).into()),
    });
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let mut text = Zeroizing::new(Vec::with_capacity(keys.len() * 512));
    for key in &keys {
        text.extend_from_slice(key.to_armor().expose().as_bytes());
    }
    let outputs = Outputs::new(arguments.force).private(&arguments.out, &text);
    outputs.write(out)?;
    tell("unwrapped", &keys, &arguments.out, json, out)
}

fn wrap_all(keys: &[PrivateKey], arguments: &Wrap) -> anyhow::Result<Vec<Wrapped>> {
    let rng = &mut rand::rng();
    if let Some(master) = arguments.under.master_key()? {
        let wrapped = keys.iter().map(|key| Wrapped::with_master_key(key, &master, rng));
        return Ok(wrapped.collect());
    }
    let work = Work {
        memory_kib: arguments.memory_kib,
        passes: arguments.passes,
        ..Work::default()
    };
    let passphrase = arguments.under.passphrase(true)?;
    let wrapped = keys
        .iter()
        .map(|key| Wrapped::with_passphrase(key, passphrase.expose().as_bytes(), work, rng));
    wrapped.map(|wrapped| wrapped.map_err(misused)).collect()
}

/// What is wrong with parameters of ours is wrong with the arguments.
pub(super) fn misused(error: wrapped::Error) -> anyhow::Error {
    match error {
        wrapped::Error::Work(_) | wrapped::Error::Passphrase(_) => Misuse(error.to_string()).into(),
        other => Refusal::new(&other).into(),
    }
}

fn tell(
    done: &str,
    keys: &[PrivateKey],
    file: &FileName,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    if !file.is_standard() {
        let kinds: Vec<String> = keys.iter().map(|key| key.kind().to_string()).collect();
        let answer = Answer {
            text: format!("{}: {done} into {file}\n", kinds.join(", ")),
            json: json!({ "result": done, "file": file.to_string(), "keys": kinds }),
        };
        answer.write(json, out)?;
    }
    Ok(Exit::Done)
}
