//! What most commands need: the open store, and the services over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::traces;
use crate::abuse::Gate;
use crate::accounts::Accounts;
use crate::authentication::{Keys, Srs};
use crate::base::durable;
use crate::base::time::{Clock, Timestamp};
use crate::config::{self, Config, Database, Origin};
use crate::crypto::at_rest::Key;
use crate::signet_service::{Published, Retiring, Rotation};
use crate::store::{Error, FileWork, MasterKey, Numbers, Place, Store};

/// [`Error::NotThere`] if everything is kept in PostgreSQL.
pub fn demand_file(config: &Config, work: FileWork) -> Result<(), Error> {
    match config.storage.database {
        Database::Sqlite => Ok(()),
        Database::Postgres(_) => Err(Error::NotThere(work)),
    }
}

/// A database whose master key is not in its file.
#[derive(Debug, thiserror::Error)]
#[error("{} is missing, but there is a database already: put the key back from your copy", .0.display())]
pub struct KeyGone(PathBuf);

/// That there is a database, if it is a file.
fn demand_there(config: &Config) -> anyhow::Result<()> {
    let place = config.place().context("the store cannot be opened")?;
    Ok(place.demand_there()?)
}

/// The database to be read for its numbers alone: without the master key, beside everybody who writes into it, and without changing
/// anything. `None` where it has to be opened for that.
pub async fn numbers(config: &Config) -> anyhow::Result<Option<Numbers>> {
    demand_there(config)?;
    let place = config.place().context("the store cannot be opened")?;
    Ok(place.numbers().await)
}

/// What keeps a new database from being made, with the way out where that is the log of another.
fn log_is_left(error: Error) -> anyhow::Error {
    let Error::NoDatabase(path) = &error else {
        return error.into();
    };
    let told = format!(
        "{}-wal is left of a database, and making another would remove it: move it away if nobody needs it",
        path.display()
    );
    anyhow::Error::new(error).context(told)
}

/// Makes the master key if it is in a file and that is not there; says where it was made. [`KeyGone`] where it belongs to a database.
fn make_master_key(config: &Config) -> anyhow::Result<Option<PathBuf>> {
    let Origin::File(path) = config::find_master_key(config) else {
        return Ok(None);
    };
    if path.exists() {
        return Ok(None);
    }
    if config.server.database().exists() {
        return Err(KeyGone(path).into());
    }
    config::create_master_key(&path, &Key::generate(&mut rand::rng()))?;
    Ok(Some(path))
}

fn has_another_key(error: &anyhow::Error) -> bool {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    matches!(cause, Some(Error::WrongMasterKey))
}

/// An installation, opened.
pub struct Context {
    /// Its configuration.
    pub config: Config,
    /// Its store.
    pub store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Context {
    /// Opens an installation that has been used before. Nothing is made: where a database is missing, its disk may be.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        demand_there(&config)?;
        Self::open_as(config, false).await
    }

    /// The same, alone: nobody else gets in until this is dropped.
    pub async fn open_alone(config: Config) -> anyhow::Result<Self> {
        demand_there(&config)?;
        Self::open_as(config, true).await
    }

    async fn open_as(config: Config, alone: bool) -> anyhow::Result<Self> {
        let place = config.place().context("the store cannot be opened")?;
        // First: the master key may be in the backup.
        place.demand_finished()?;
        let key = config::load_master_key(&config).context("the store cannot be opened")?;
        let name = place.to_string();
        let opened = match alone {
            true => place.open_alone(MasterKey::new(key)).await,
            false => place.open(MasterKey::new(key)).await,
        };
        let (store, clock) = opened.with_context(|| format!("{name} cannot be opened"))?;
        Ok(Self {
            config,
            store: Arc::new(store),
            clock,
        })
    }

    /// Opens an installation, making what is missing: data directory, master key, database. What was made is said
    /// on standard error. Nothing is made where the configuration, which is at `path`, or the master key are those of an installation
    /// whose database is gone, unless it is begun `afresh`: [`traces::Gone`].
    pub async fn open_or_create(config: Config, path: &Path, afresh: bool) -> anyhow::Result<Self> {
        if config.storage.database == Database::Sqlite {
            // Before there is a master key: it may be in the backup.
            Place::File(config.server.database())
                .demand_room()
                .map_err(log_is_left)?;
        }
        if !afresh {
            traces::demand_whole(&config, path, true)?;
        }
        // Where somebody else keeps the configuration, nothing may be written beside it, and whoever is cut off before there is a database
        // has to begin afresh.
        let begun = traces::begin(&config, path).unwrap_or_default();
        let opened = Self::open_or_make(config).await;
        match (&opened, begun) {
            (Ok(_), _) => traces::end(path)?,
            (Err(_), Some(begun)) => begun.call_off(),
            (Err(_), None) => {}
        }
        opened
    }

    async fn open_or_make(config: Config) -> anyhow::Result<Self> {
        let folder = &config.server.data_directory;
        durable::create_folder(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let Some(path) = make_master_key(&config)? else {
            return Self::open_as(config, false).await;
        };
        let opened = Self::open_as(config, false).await;
        if opened.as_ref().is_err_and(has_another_key) {
            // On a server that other nodes have used before.
            std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
            return opened
                .with_context(|| format!("{} is missing: copy it from another node", path.display()));
        }
        eprintln!(
            "dimed: made a master key in {}; keep a copy of it apart from the database",
            path.display()
        );
        opened
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Users and aliases.
    pub fn accounts(&self) -> Accounts {
        let host = self.config.host_names();
        // A file that cannot be used is for `dimed check` and `newaliases` to tell.
        let _ = host.reload();
        let accounts = Accounts::new(Arc::clone(&self.store), (&self.config.accounts).into());
        accounts.with_host(Arc::new(host))
    }

    /// What rewrites reverse-paths.
    pub fn srs(&self) -> Srs {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Srs::new(store, clock, (&self.config).into())
    }

    /// Who may leave messages by DMTP.
    pub fn gate(&self) -> Gate {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Gate::new(store, clock, (&self.config.abuse).into())
    }

    /// Signets of ours.
    pub fn published(&self) -> Published {
        Published::new(Arc::clone(&self.store), Arc::clone(&self.clock))
            .with_times((&self.config.dmime).into())
    }

    /// What replaces keys of ours.
    pub fn rotation(&self) -> Result<Rotation, config::Error> {
        Ok(Rotation {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            published: Arc::new(self.published()),
            resolver: self.config.dns.resolver()?,
        })
    }

    /// Keys for DKIM.
    pub fn dkim_keys(&self) -> Result<Keys, config::Error> {
        let resolver = self.config.dns.resolver()?;
        Ok(Keys::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            resolver,
        ))
    }

    /// What takes domains out of DIME.
    pub fn retiring(&self) -> Result<Retiring, config::Error> {
        Ok(Retiring {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            resolver: self.config.dns.resolver()?,
        })
    }
}
