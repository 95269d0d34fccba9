//! `dimed store restore`.

mod places;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use self::places::Places;
use crate::base::durable;
use crate::cli::answer::Answer;
use crate::cli::context::demand_file;
use crate::cli::{Exit, Misuse, audit, traces};
use crate::config::{self, Config, Origin};
use crate::crypto::at_rest::Key;
use crate::store::sqlite::backup::{self, Beside};
use crate::store::{Error, FileWork, MasterKey};

/// From where.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The master key is lost: go on without what was encrypted under it, with a new one. Domains, accounts with their passwords, aliases,
    /// public signets and the block list are kept. Mail in the queue, private keys, and what was pinned of others are lost.
    ///
    /// The backup may be the file of the database itself, where there is no other; nobody may use that meanwhile.
    #[arg(long)]
    without_master_key: bool,
    /// The master key alone is lost: put that of the backup into its place, beside the database that is there.
    #[arg(long, conflicts_with = "without_master_key")]
    only_master_key: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

const LOST: &str = "the backup has no master key, and there is none here: put it back from your copy. If it is lost, so are the mail in the queue, \
     the private keys of domains and users, and what was pinned of others; domains, accounts with their passwords, aliases, \
     public signets and the block list can be kept, with --without-master-key";

/// Makes the data directory. The database gets its name last, so that what was cut off is no installation; the next run takes what it left
/// away. The configuration is at `path`.
pub async fn run(
    arguments: &Restore,
    path: &Path,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    demand_file(&config, FileWork::Restore)?;
    if arguments.only_master_key {
        return only_key(arguments, config, out).await;
    }
    let mut backup = File::open(&arguments.file)
        .with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let places = Places::of(&config);
    places.clear()?;
    places.demand_empty()?;
    let data = &places.data;
    durable::create_folder(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let mut copy = places.begin()?;
    let done = match restore(arguments, &config, &places, (&mut backup, &mut copy)).await {
        Ok(done) => std::fs::rename(&places.copy, &places.database)
            .map(|()| done)
            .map_err(anyhow::Error::from),
        failed => failed,
    };
    let answer = match done {
        Ok(answer) => answer,
        Err(error) => {
            // It has the master key, perhaps. What cannot be removed now, the next run removes.
            let _ = places.remove();
            return Err(error);
        }
    };
    durable::sync_folder(data)?;
    places.remove_staged_key()?;
    audit::restored(&config, !arguments.without_master_key);
    traces::end(path)?;
    answer.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// Does everything but giving the database its name. Returns what is to be said in the end.
async fn restore(
    arguments: &Restore,
    config: &Config,
    places: &Places,
    (backup, copy): (&mut File, &mut File),
) -> anyhow::Result<Answer> {
    let file = &arguments.file;
    io::copy(backup, copy).with_context(|| format!("{} cannot be copied", file.display()))?;
    let beside = match arguments.without_master_key {
        true => {
            backup::copy_beside(file, &places.copy)
                .with_context(|| format!("{} cannot be copied", file.display()))?;
            backup::read_any(&places.copy).await
        }
        false => backup::read(&places.copy).await,
    };
    let beside = beside.map_err(|error| told(error, file))?;
    let (key, answer) = match arguments.without_master_key {
        true => without_key(config, &places.copy, &beside, file).await?,
        false => with_key(config, &places.copy, &beside, file).await?,
    };
    backup::remove_beside(&places.copy)?;
    copy.sync_all()?;
    for (name, octets) in &beside.files {
        places.write_certificate(name, octets)?;
    }
    // Last, so that a backup that cannot be used leaves no key that another one does not fit.
    if let NewKey::In(path, key) = key {
        places.put_key(&path, &key)?;
    }
    Ok(answer)
}

/// Puts the master key of a backup beside the database that it belongs to, which has to be there.
async fn only_key(arguments: &Restore, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let file = &arguments.file;
    let Origin::File(path) = config::find_master_key(&config) else {
        return Err(Misuse("the master key does not come from a file here".into()).into());
    };
    anyhow::ensure!(
        !path.exists(),
        "{} is there: put it away first, if it is not the right one",
        path.display()
    );
    let place = config.place()?;
    place.demand_there()?;
    // Of a file that is not there SQLite says less.
    drop(File::open(file).with_context(|| format!("{} cannot be read", file.display()))?);
    let key = backup::read_master_key(file).await;
    let key = key.map_err(|error| told(error, file))?;
    let key = key.with_context(|| {
        format!(
            "{} has no master key: take a backup that was made with it",
            file.display()
        )
    })?;
    drop(
        place
            .open(MasterKey::new(key.clone()))
            .await
            .with_context(|| format!("the master key of {} does not help here", file.display()))?,
    );
    config::create_master_key(&path, &key).with_context(|| format!("{} cannot be made", path.display()))?;
    audit::master_key(&config, "put_back");
    let answer = Answer {
        text: format!(
            "The master key is back in {}, and opens the database. Nothing else was changed.\n",
            path.display()
        ),
        json: json!({ "result": "done", "keys": true }),
    };
    answer.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// Whether a master key is to be put into its place.
enum NewKey {
    IsThere,
    In(PathBuf, Key),
}

async fn with_key(
    config: &Config,
    copy: &Path,
    beside: &Beside,
    file: &Path,
) -> anyhow::Result<(NewKey, Answer)> {
    let (key, new) = key(config, beside)?;
    let restored = backup::adopt(copy, &MasterKey::new(key))
        .await
        .map_err(|error| told(error, file))?;
    let text = format!(
        "Restored. {} recipients are held, since their mail may have gone out after the backup was made: `dimed queue list --reason \
         \"{}\"` shows it, and `queue release` or `queue delete` with the same option decide about it.\n",
        restored.held,
        backup::RESTORED
    );
    let json = json!({ "result": "done", "held": restored.held, "keys": true });
    Ok((new, Answer { text, json }))
}

async fn without_key(
    config: &Config,
    copy: &Path,
    beside: &Beside,
    file: &Path,
) -> anyhow::Result<(NewKey, Answer)> {
    anyhow::ensure!(
        beside.master_key.is_none(),
        "the backup has the master key: go on without the option"
    );
    let (path, key) = new_key(config)?;
    backup::adopt_without_key(copy, &MasterKey::new(key.clone()))
        .await
        .map_err(|error| told(error, file))?;
    let text = "Restored without the master key. Lost: mail in the queue, private keys, and what was pinned of others.\nNext, for every domain \
         of `dimed domain list`: make new keys with `dimed key rotate DOMAIN --at-once` and `dimed dkim add DOMAIN`, and publish \
         what `dimed dns records DOMAIN` prints.\n";
    let answer = Answer {
        text: text.to_owned(),
        json: json!({ "result": "done", "held": 0, "keys": false }),
    };
    Ok((NewKey::In(path, key), answer))
}

/// What is wrong with the backup.
fn told(error: Error, file: &Path) -> anyhow::Error {
    let file = file.display();
    match error {
        Error::Missing => anyhow::anyhow!("{file} is not a backup"),
        Error::Unreadable(_) => {
            anyhow::anyhow!("{file} is damaged, and nothing was restored: take another backup")
        }
        error => anyhow::Error::new(error).context(format!("{file} cannot be used")),
    }
}

/// That of the backup, which is to be put into its place, or that which is there.
fn key(config: &Config, beside: &Beside) -> anyhow::Result<(Key, NewKey)> {
    let here = match config::load_master_key(config) {
        Ok(key) => Some(key),
        Err(config::Error::NoMasterKey { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match (here, &beside.master_key) {
        (Some(here), Some(kept)) if here.expose() != kept.expose() => {
            anyhow::bail!("the master key that is here is not that of the backup: put it away first")
        }
        (Some(here), _) => Ok((here, NewKey::IsThere)),
        (None, Some(kept)) => {
            let path = config.server.master_key_file.clone();
            Ok((kept.clone(), NewKey::In(path, kept.clone())))
        }
        (None, None) => anyhow::bail!(LOST),
    }
}

fn new_key(config: &Config) -> anyhow::Result<(PathBuf, Key)> {
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
    Ok((path, Key::generate(&mut rand::rng())))
}
