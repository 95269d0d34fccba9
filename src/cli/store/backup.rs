//! `dimed store backup`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::base::durable;
use crate::cli::answer::{Answer, octets};
use crate::cli::context::{Context, demand_file};
use crate::cli::{Exit, Misuse, audit};
use crate::config::{self, Config};
use crate::store::FileWork;
use crate::store::sqlite::backup::{self, Beside};

/// No certificate or key is larger.
const MOST_OCTETS: u64 = 1 << 20;

/// Where to, and with what.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file, which must not be there; it is readable by its owner alone.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Leave out the master key, which has to be kept apart then, and the certificates that were made here.
    #[arg(long)]
    without_keys: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Makes the copy beside its place, and gives it its name once it is complete and synced.
pub async fn run(arguments: &Backup, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    demand_file(&config, FileWork::Backup)?;
    let file = &arguments.file;
    if file.exists() {
        return Err(Misuse(format!("{} exists already", file.display())).into());
    }
    let beside = match arguments.without_keys {
        true => Beside::default(),
        false => Beside {
            master_key: Some(config::load_master_key(&config).context("the store cannot be opened")?),
            files: certificates(&config.server.certificates())?,
        },
    };
    let context = Context::open(config).await?;
    let folder = durable::folder_of(file);
    let failed = || format!("{} cannot be written", file.display());
    let staged = tempfile::Builder::new()
        .prefix(".dimed-")
        .tempfile_in(folder)
        .with_context(failed)?;
    context.store.copy_to(staged.path()).await.with_context(failed)?;
    backup::complete(staged.path(), &beside, context.now())
        .await
        .with_context(failed)?;
    File::open(staged.path())?.sync_all()?;
    let size = staged.path().metadata()?.len();
    staged
        .persist_noclobber(file)
        .map_err(|error| error.error)
        .with_context(failed)?;
    durable::sync_folder(folder).with_context(failed)?;
    audit::backup(&context, !arguments.without_keys);
    let with = match arguments.without_keys {
        true => {
            "It has no master key: keep a copy of that apart, for without it the mail and the private keys in the backup are lost."
        }
        false => "Whoever has it can read everything: keep it as you keep the master key.",
    };
    let text = format!("{} has {}. {with}\n", file.display(), octets(size));
    let json = json!({ "result": "done", "size_bytes": size, "keys": !arguments.without_keys });
    Answer { text, json }.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// The certificates that were made here, with their private keys; DNS may vouch for them.
fn certificates(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(files);
    };
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if metadata.is_file() && metadata.len() <= MOST_OCTETS {
            files.push((name, std::fs::read(entry.path())?));
        }
    }
    Ok(files)
}
