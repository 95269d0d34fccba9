//! `dimed key rotate-master`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::base::durable;
use crate::cli::answer::Answer;
use crate::cli::context::{Context, demand_file};
use crate::cli::{Exit, Misuse, audit};
use crate::config::{self, Config, Origin};
use crate::crypto::at_rest::Key;
use crate::store::{FileWork, KeyChange, Mark, MasterKey, Part};

/// Replace the master key, while the daemon is stopped.
///
/// Keys of messages, private keys and seals are wrapped anew under the new key; bodies are not written again, and public keys stay.
/// Until it is done either key opens the database: after a crash, the daemon can be started, and the same command goes on.
///
/// The new key is put into the place of the old one, which stays beside it with `.old` at the end of its name: backups that were
/// made before need it, and so do key files that were wrapped under it. Where the key comes from a systemd credential or the environment,
/// --out names the file of the new key; put it into its place then, and run the command again.
///
/// Hashes of names, such as those in the greylist, stay what they are.
///
/// It is for SQLite. For an installation that keeps everything in PostgreSQL this is not there yet.
#[derive(Debug, Args)]
pub struct RotateMaster {
    /// Where the new key is written, if the old one is not in `server.master_key_file`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does as far as it can be done.
pub async fn run(
    arguments: &RotateMaster,
    config: &Path,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let config = crate::cli::load(config)?;
    demand_file(&config, FileWork::KeyChange)?;
    let place = Place::of(&config, arguments.out.as_deref())?;
    let mut context = Context::open_alone(config.clone()).await?;
    let mut change = context.store.key_change().await?;
    if change == KeyChange::None {
        let next = place.new_key()?;
        context.store.begin_key_change(MasterKey::new(next)).await?;
        change = KeyChange::HasPrevious;
        drop(context);
        context = Context::open_alone(config).await?;
    }
    let next = context.store.next_key();
    let (mut rows, mut unreadable) = (0, 0);
    for part in Part::ALL {
        let mut mark = Some(Mark::default());
        while let Some(after) = mark.take() {
            let done = context.store.rewrap(part, &after).await?;
            rows += done.rows;
            unreadable += done.unreadable;
            mark = done.next;
        }
    }
    if change == KeyChange::HasPrevious && !place.install(next.current())? {
        let text = format!(
            "{rows} keys are wrapped anew. Put {} into the place of the old key, and run this again: until then both are needed.\n",
            place.new.display()
        );
        let json_text = json!({ "result": "to_be_installed", "rewrapped": rows, "unreadable": unreadable });
        Answer {
            text,
            json: json_text,
        }
        .write(json, out)?;
        return Ok(Exit::Done);
    }
    context.store.finish_key_change().await?;
    audit::master_key(&context.config, "replaced");
    let mut text = format!("{rows} keys are wrapped anew; the old master key opens nothing any more.\n");
    if unreadable > 0 {
        text += &format!(
            "{unreadable} could not be opened under either key and stay as they are: `dimed store verify` names them.\n"
        );
    }
    let said = json!({ "result": "done", "rewrapped": rows, "unreadable": unreadable });
    Answer { text, json: said }.write(json, out)?;
    Ok(Exit::Done)
}

/// Where keys are.
struct Place {
    /// The file that the key comes from, if it is one that can be replaced here.
    current: Option<PathBuf>,
    new: PathBuf,
}

impl Place {
    fn of(config: &Config, out: Option<&Path>) -> anyhow::Result<Self> {
        match (config::find_master_key(config), out) {
            (Origin::File(current), None) => Ok(Self {
                new: beside(&current, ".new"),
                current: Some(current),
            }),
            (Origin::File(_), Some(_)) => {
                Err(Misuse("the key is replaced in its own place: leave --out out".into()).into())
            }
            (_, Some(out)) => Ok(Self {
                current: None,
                new: out.to_owned(),
            }),
            (_, None) => Err(Misuse("name a file for the new key with --out".into()).into()),
        }
    }

    /// A new one, or that which an earlier run has left.
    fn new_key(&self) -> anyhow::Result<Key> {
        if let Some(old) = self.old()
            && old.exists()
        {
            anyhow::bail!(
                "{} is there already: put it away first, if backups still need it",
                old.display()
            );
        }
        if self.new.exists() {
            return Ok(config::read_master_key(&self.new)?);
        }
        let key = Key::generate(&mut rand::rng());
        config::create_master_key(&self.new, &key)
            .with_context(|| format!("{} cannot be written", self.new.display()))?;
        Ok(key)
    }

    /// Puts the new key into the place of the old one. Whether there is such a place.
    fn install(&self, next: &Key) -> anyhow::Result<bool> {
        if !self.new.exists() {
            config::create_master_key(&self.new, next)?;
        }
        anyhow::ensure!(
            config::read_master_key(&self.new)?.expose() == next.expose(),
            "{} has another key: put it away, and run this again",
            self.new.display()
        );
        let (Some(current), Some(old)) = (&self.current, self.old()) else {
            return Ok(false);
        };
        if !old.exists() {
            std::fs::hard_link(current, &old).with_context(|| format!("{} cannot be made", old.display()))?;
        }
        std::fs::rename(&self.new, current)?;
        durable::sync_folder(durable::folder_of(current))?;
        Ok(true)
    }

    fn old(&self) -> Option<PathBuf> {
        self.current.as_ref().map(|current| beside(current, ".old"))
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
