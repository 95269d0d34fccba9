//! `dimed key upload` and `dimed key download`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::unlock::{Unlock, stored};
use crate::base::secret::Secret;
use crate::cli::answer::{Answer, check_output};
use crate::cli::files::{FileName, Outputs, check_inputs};
use crate::cli::refusal::{Refusal, Refused};
use crate::cli::submit::{Account, Error, Session};
use crate::cli::{Exit, Misuse};
use crate::dime::keys::private::{Kind, PrivateKey, Stored};
use crate::dime::keys::wrapped::{self, Work, Wrapped};

/// Leave private keys of a cautious user on the server, under a passphrase that it never sees.
///
/// The keys are wrapped here (Argon2id, ChaCha20-Poly1305), whether the files hold them wrapped or
/// in the clear, and all of them under the one passphrase that is asked for. Name everything that
/// is needed to read mail on another device: the user key and the private keys of key sets. What is
/// stored is replaced as a whole.
///
/// The passphrase must not be the login password, which the server can learn. The session is that
/// of message send, with the command KEYS, which other servers do not have.
///
/// Exit codes: 0 stored; 1 refused, or keys are stored and --force is missing; 2 usage, or the
/// passphrase is the login password; 75 the server cannot be reached, or cannot take them now.
///
/// Examples:
///
///     dimed key upload alice-example.org.key alice-example.org.kem --passphrase-file secret.txt \
///         --submit mx.example.org --user alice@example.org --password-file login.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Upload {
    /// Files with keys of the user; - is standard input.
    #[arg(required = true)]
    files: Vec<FileName>,
    /// File whose first line is the passphrase for the keys; without it, it is asked for on the terminal.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<FileName>,
    /// Memory of Argon2id in KiB.
    #[arg(long, value_name = "KIB", default_value_t = Work::default().memory_kib)]
    memory_kib: u32,
    /// Passes of Argon2id.
    #[arg(long, value_name = "N", default_value_t = Work::default().passes)]
    passes: u32,
    /// Replace the keys that are stored.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    account: Account,
}

/// Fetch the private keys that a cautious user has left on the server.
///
/// They come as they were wrapped, and are written so, with mode 0600; key unwrap opens them with
/// their passphrase.
///
/// Exit codes: 0 written; 1 refused, no keys are stored, or what came is something else; 2 usage, or
/// a file that cannot be written; 75 the server cannot be reached, or no room to write.
///
/// Examples:
///
///     dimed key download --out alice.wrapped \
///         --submit mx.example.org --user alice@example.org --password-file login.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Download {
    /// Where to write the wrapped keys; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    account: Account,
}

/// Something else came than keys under a passphrase.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("what the server stores is not a user's keys under a passphrase")]
pub struct NotWrapped;

impl Refused for NotWrapped {
    fn variant(&self) -> &'static str {
        "deposit.not_wrapped"
    }
}

/// Keys are stored, and may be those of another device.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("keys are stored on the server already; --force replaces them")]
pub struct StoredAlready;

impl Refused for StoredAlready {
    fn variant(&self) -> &'static str {
        "deposit.stored_already"
    }
}

/// Wraps and uploads.
pub async fn upload(arguments: &Upload, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let account = &arguments.account;
    let secrets = [&arguments.passphrase_file, &account.access.password_file];
    check_inputs(arguments.files.iter().chain(secrets.into_iter().flatten()))?;
    let unlock = Unlock {
        passphrase_file: arguments.passphrase_file.clone(),
        master_key_file: None,
    };
    let passphrase = unlock.passphrase(true)?;
    let keys = keys(&arguments.files, &passphrase)?;
    let password = account.access.password()?;
    demand_different(&passphrase, &password)?;
    let text = wrap(&keys, &passphrase, arguments)?;
    match deposit(arguments, &password, text.as_bytes()).await {
        Ok(Some(version)) => told(&keys, version, account, json, out),
        Ok(None) => Err(Refusal::new(&StoredAlready).into()),
        Err(error) => error.conclude(json, out),
    }
}

/// Fetches.
pub async fn download(arguments: &Download, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_output(json, &arguments.out)?;
    check_inputs(&arguments.account.access.password_file)?;
    let password = arguments.account.access.password()?;
    let (octets, version) = match fetch(&arguments.account, &password).await {
        Ok(fetched) => fetched,
        Err(error) => return error.conclude(json, out),
    };
    if !wrapped::are_user_keys(&octets) {
        return Err(Refusal::new(&NotWrapped).into());
    }
    let outputs = Outputs::new(arguments.force).private(&arguments.out, &octets);
    outputs.write(out)?;
    if !arguments.out.is_standard() {
        let file = &arguments.out;
        let answer = Answer {
            text: format!("Wrapped keys, version {version}, are in {file}.\n"),
            json: json!({ "result": "fetched", "file": file.to_string(), "version": version }),
        };
        answer.write(json, out)?;
    }
    Ok(Exit::Done)
}

/// All keys in the clear; wrapped ones must open with the same passphrase.
fn keys(files: &[FileName], passphrase: &Secret<String>) -> anyhow::Result<Vec<PrivateKey>> {
    let mut keys = Vec::new();
    for file in files {
        for stored in stored(file)? {
            let key = match stored {
                Stored::Clear(key) => key,
                Stored::Wrapped(wrapped) => wrapped
                    .open_with_passphrase(passphrase.expose().as_bytes())
                    .map_err(|error| Refusal::new(&error).of_file(file))?,
            };
            if key.kind() == Kind::Organization {
                return Err(Misuse(format!("{file} holds a key of an organization")).into());
            }
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The server learns the login password when it is set, and with some mechanisms at every login.
fn demand_different(passphrase: &Secret<String>, password: &Secret<String>) -> Result<(), Misuse> {
    let prepared = |text: &Secret<String>| {
        let prepared = stringprep::saslprep(text.expose()).map(std::borrow::Cow::into_owned);
        Secret::new(prepared.unwrap_or_else(|_| text.expose().clone()))
    };
    match passphrase == password || prepared(passphrase) == prepared(password) {
        true => Err(Misuse(
            "the passphrase of the keys is the login password, which the server can learn: choose another one".into(),
        )),
        false => Ok(()),
    }
}

fn wrap(keys: &[PrivateKey], passphrase: &Secret<String>, arguments: &Upload) -> anyhow::Result<String> {
    let work = Work {
        memory_kib: arguments.memory_kib,
        passes: arguments.passes,
        ..Work::default()
    };
    let rng = &mut rand::rng();
    let wrapped = keys.iter().map(|key| {
        let wrapped = Wrapped::with_passphrase(key, passphrase.expose().as_bytes(), work, rng);
        wrapped
            .map(|wrapped| wrapped.to_armor())
            .map_err(super::wrap::misused)
    });
    wrapped.collect()
}

/// The new version; `None` if keys are stored and may not be replaced.
async fn deposit(arguments: &Upload, password: &Secret<String>, octets: &[u8]) -> Result<Option<u64>, Error> {
    let mut session = Session::open(&arguments.account, password).await?;
    let replaces = match session.keys().await {
        Ok((_, version)) => version,
        Err(Error::NoKeys) => 0,
        Err(error) => return Err(error),
    };
    let version = match replaces == 0 || arguments.force {
        true => Some(session.deposit(octets, replaces).await?),
        false => None,
    };
    session.quit().await;
    Ok(version)
}

async fn fetch(account: &Account, password: &Secret<String>) -> Result<(Vec<u8>, u64), Error> {
    let mut session = Session::open(account, password).await?;
    let fetched = session.keys().await?;
    session.quit().await;
    Ok(fetched)
}

fn told(
    keys: &[PrivateKey],
    version: u64,
    account: &Account,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let kinds: Vec<String> = keys.iter().map(|key| key.kind().to_string()).collect();
    let host = &account.submit.host;
    let answer = Answer {
        text: format!(
            "{}: wrapped and stored at {host} as version {version}\n",
            kinds.join(", ")
        ),
        json: json!({ "result": "stored", "host": host.to_string(), "version": version, "keys": kinds }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}
