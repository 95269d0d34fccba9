//! Reading key files, with what wrapped keys are under.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use crate::base::secret::Secret;
use crate::cli::files::{FileName, MAX_OBJECT};
use crate::cli::refusal::Refusal;
use crate::cli::{Misuse, terminal};
use crate::config;
use crate::crypto::at_rest::Key;
use crate::dime::armor;
use crate::dime::keys::private::{ALL_LABELS, PrivateKey, Stored};
use crate::dime::keys::wrapped::{MAX_PASSPHRASE, Protection, Wrapped};

/// Most blocks of a key file: each wrapped one costs the work of a passphrase.
const MAX_BLOCKS: usize = 64;

/// What opens wrapped keys.
#[derive(Debug, Clone, Args, Default)]
pub struct Unlock {
    /// File whose first line is the passphrase of wrapped keys; without it, it is asked for on the terminal.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<FileName>,
    /// File with the master key, for keys that are wrapped under it.
    #[arg(long, value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
}

impl Unlock {
    /// The passphrase from the file, or from the terminal; `again` to have it typed twice.
    pub fn passphrase(&self, again: bool) -> anyhow::Result<Secret<String>> {
        if let Some(file) = &self.passphrase_file {
            return first_line(file);
        }
        if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
            return Err(Misuse(
                "there is no terminal to ask for a passphrase: name --passphrase-file".into(),
            )
            .into());
        }
        let first = terminal::typed("Passphrase: ")?;
        if again && first != terminal::typed("Again: ")? {
            return Err(Misuse("the two passphrases are not the same".into()).into());
        }
        Ok(first)
    }

    /// The master key, if its file is named.
    pub fn master_key(&self) -> anyhow::Result<Option<Key>> {
        let path = self.master_key_file.as_ref();
        Ok(path.map(|path| config::read_master_key(path)).transpose()?)
    }
}

/// All private keys in a file, wrapped ones opened.
pub fn private_keys(file: &FileName, unlock: &Unlock) -> anyhow::Result<Vec<PrivateKey>> {
    let mut opener = Opener::new(file, unlock);
    stored(file)?.into_iter().map(|key| opener.open(key)).collect()
}

/// All blocks of a key file as they are.
pub fn stored(file: &FileName) -> anyhow::Result<Vec<Stored>> {
    let octets = file.read_private(MAX_OBJECT)?;
    let refused = |refusal: Refusal| refusal.of_file(file);
    // Magic numbers of key files start with 07, which no text does.
    if octets.first() == Some(&7) {
        let key = PrivateKey::decode(&octets).map_err(|error| refused(Refusal::new(&error)))?;
        return Ok(vec![Stored::Clear(key)]);
    }
    let text = std::str::from_utf8(&octets).unwrap_or_default();
    let blocks = armor::decode_all(text, ALL_LABELS).map_err(|error| refused(Refusal::new(&error)))?;
    if blocks.len() > MAX_BLOCKS {
        return Err(Misuse(format!("{file} has more than {MAX_BLOCKS} keys")).into());
    }
    let keys = blocks.iter().map(Stored::from_block);
    keys.map(|key| Ok(key.map_err(|error| refused(Refusal::new(&error)))?))
        .collect()
}

/// Opens the keys of one file; the passphrase is asked for once, when it is needed.
pub struct Opener<'a> {
    file: &'a FileName,
    unlock: &'a Unlock,
    passphrase: Option<Secret<String>>,
}

impl<'a> Opener<'a> {
    /// For the keys of `file`.
    pub fn new(file: &'a FileName, unlock: &'a Unlock) -> Self {
        Self {
            file,
            unlock,
            passphrase: None,
        }
    }

    /// The key in the clear.
    pub fn open(&mut self, key: Stored) -> anyhow::Result<PrivateKey> {
        match key {
            Stored::Clear(key) => Ok(key),
            Stored::Wrapped(wrapped) => self.unwrap(&wrapped),
        }
    }

    fn unwrap(&mut self, wrapped: &Wrapped) -> anyhow::Result<PrivateKey> {
        let opened = match wrapped.protection() {
            Protection::MasterKey => {
                let missing = || {
                    Misuse(format!(
                        "{} is under a master key: name --master-key-file",
                        self.file
                    ))
                };
                wrapped.open_with_master_key(&self.unlock.master_key()?.ok_or_else(missing)?)
            }
            Protection::Passphrase(_) => {
                let passphrase = match self.passphrase.take() {
                    Some(passphrase) => passphrase,
                    None => self.unlock.passphrase(false)?,
                };
                let opened = wrapped.open_with_passphrase(passphrase.expose().as_bytes());
                self.passphrase = Some(passphrase);
                opened
            }
        };
        opened.map_err(|error| Refusal::new(&error).of_file(self.file).into())
    }
}

fn first_line(file: &FileName) -> anyhow::Result<Secret<String>> {
    let octets = file.read_private(MAX_PASSPHRASE + 2)?;
    let not_text = |_| Misuse(format!("the passphrase in {file} is not UTF-8"));
    let text = Zeroizing::new(std::str::from_utf8(&octets).map_err(not_text)?.to_owned());
    Ok(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
}
