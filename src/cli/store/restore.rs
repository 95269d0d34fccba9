//! `dimed store restore`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::backup::CERTIFICATES;
use crate::base::durable;
use crate::cli::answer::Answer;
use crate::cli::{Exit, Misuse};
use crate::config::{self, Config, Origin};
use crate::crypto::at_rest::Key;
use crate::store::sqlite::backup::{self, Beside};
use crate::store::{Error, MasterKey};

/// From where.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The master key is lost: go on without what was encrypted under it, with a new one. Domains, accounts with their passwords, aliases,
    /// public signets and the block list are kept. Mail in the queue, private keys, and what was pinned of others are lost.
    #[arg(long)]
    without_master_key: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

const LOST: &str = "the backup has no master key, and there is none here: put it back from your copy. If it is lost, so are the mail in the queue, \
     the private keys of domains and users, and what was pinned of others; domains, accounts with their passwords, aliases, \
     public signets and the block list can be kept, with --without-master-key";

/// Makes the data directory. The database gets its name last, so that what was cut off is no installation.
pub async fn run(arguments: &Restore, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let data = config.server.data_directory.clone();
    demand_empty(&data)?;
    durable::create_folder(&data).with_context(|| format!("{} cannot be made", data.display()))?;
    let database = config.server.database();
    let copy = database.with_extension("restored");
    copy_file(&arguments.file, &copy)
        .with_context(|| format!("{} cannot be copied", arguments.file.display()))?;
    let done = restore(arguments, &config, &copy).await;
    let (text, json) = match done {
        Ok(done) => done,
        Err(error) => {
            // It has the master key, perhaps.
            let _ = std::fs::remove_file(&copy);
            return Err(error);
        }
    };
    File::open(&copy)?.sync_all()?;
    std::fs::rename(&copy, &database)?;
    durable::sync_folder(&data)?;
    Answer { text, json }.write(arguments.json, out)?;
    Ok(Exit::Done)
}

async fn restore(
    arguments: &Restore,
    config: &Config,
    copy: &Path,
) -> anyhow::Result<(String, serde_json::Value)> {
    let beside = backup::read(copy).await.map_err(|error| match error {
        Error::Missing => anyhow::anyhow!("{} is not a backup", arguments.file.display()),
        error => anyhow::Error::new(error).context(format!("{} cannot be used", arguments.file.display())),
    })?;
    if arguments.without_master_key {
        anyhow::ensure!(
            beside.master_key.is_none(),
            "the backup has the master key: go on without the option"
        );
        backup::adopt_without_key(copy, &MasterKey::new(new_key(config)?)).await?;
        let text = "Restored without the master key. Lost: mail in the queue, private keys, and what was pinned of others. Make new keys \
             with `dimed domain` and `dimed account`, and publish them.\n";
        return Ok((
            text.to_owned(),
            json!({ "result": "done", "held": 0, "keys": false }),
        ));
    }
    let key = key(config, &beside)?;
    let restored = backup::adopt(copy, &MasterKey::new(key)).await?;
    for (name, octets) in &beside.files {
        write_certificate(&config.server.data_directory.join(CERTIFICATES), name, octets)?;
    }
    let text = format!(
        "Restored. {} recipients are held, since their mail may have gone out after the backup was made: `dimed queue list --reason \
         \"{}\"` shows it, and `queue release` or `queue delete` with the same option decide about it.\n",
        restored.held,
        backup::RESTORED
    );
    Ok((
        text,
        json!({ "result": "done", "held": restored.held, "keys": true }),
    ))
}

/// That of the backup, which is put into its place, or that which is there.
fn key(config: &Config, beside: &Beside) -> anyhow::Result<Key> {
    let here = match config::load_master_key(config) {
        Ok(key) => Some(key),
        Err(config::Error::NoMasterKey { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match (here, &beside.master_key) {
        (Some(here), Some(kept)) if here.expose() != kept.expose() => {
            anyhow::bail!("the master key that is here is not that of the backup: put it away first")
        }
        (Some(here), _) => Ok(here),
        (None, Some(kept)) => {
            config::create_master_key(&config.server.master_key_file, kept)?;
            Ok(kept.clone())
        }
        (None, None) => anyhow::bail!(LOST),
    }
}

fn new_key(config: &Config) -> anyhow::Result<Key> {
    match config::load_master_key(config) {
        Ok(_) => anyhow::bail!(
            "there is a master key: go on without the option, or put it away if it is another one"
        ),
        Err(config::Error::NoMasterKey { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let Origin::File(path) = config::find_master_key(config) else {
        return Err(Misuse("make a new master key first".into()).into());
    };
    let key = Key::generate(&mut rand::rng());
    config::create_master_key(&path, &key)?;
    Ok(key)
}

fn demand_empty(data: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", data.display())),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => anyhow::bail!(
                "{} is not empty: a backup is restored into a new data directory",
                data.display()
            ),
        },
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Names in a backup are of files, not of ways to other folders.
fn write_certificate(folder: &Path, name: &str, octets: &[u8]) -> anyhow::Result<()> {
    anyhow::ensure!(
        !name.contains('/') && name != "." && name != "..",
        "the backup has a file with a wrong name"
    );
    durable::create_folder(folder)?;
    let path = folder.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(octets)?;
    file.sync_all()?;
    durable::sync_folder(folder)?;
    Ok(())
}
