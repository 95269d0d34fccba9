//! Which database: `[storage]`.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use super::master_key::{CREDENTIALS_VARIABLE, check_mode};
use super::{Config, Error};
use crate::base::regular;
use crate::base::secret::Secret;
use crate::store::Place;
use crate::store::postgres::{Address, AddressError, Server};

/// How the file of SQLite in the data directory is written.
const SQLITE: &str = "sqlite";

/// The systemd credential with the password.
const CREDENTIAL: &str = "database.password";

/// No password is longer.
const MOST_OCTETS: u64 = 1024;

/// The value of `storage.database`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Database {
    /// `sqlite`: a file in the data directory.
    #[default]
    Sqlite,
    /// `postgres://…`
    Postgres(Address),
}

impl FromStr for Database {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            SQLITE => Ok(Self::Sqlite),
            address => address.parse().map(Self::Postgres),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite => f.write_str(SQLITE),
            Self::Postgres(address) => address.fmt(f),
        }
    }
}

impl Serialize for Database {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Database {
    /// What is wrong is said without the value: there may be a password in it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse::<Self>()
            .map_err(|error| D::Error::custom(complaint(error)))
    }
}

fn complaint(error: AddressError) -> &'static str {
    match error {
        AddressError::Shape => {
            "`storage.database` must be \"sqlite\", or \"postgres://USER@HOST/DATABASE\" with names in the place of these three"
        }
        AddressError::Password => {
            "`storage.database` has a password in it, which belongs in a file of its own (storage.password_file)"
        }
        AddressError::Host => "`storage.database` names a host that cannot be one",
    }
}

impl Config {
    /// Where everything is kept. Reads the password, if there is one: errors are [`Error::Unreadable`] and
    /// [`Error::Exposed`].
    pub fn place(&self) -> Result<Place, Error> {
        match &self.storage.database {
            Database::Sqlite => Ok(Place::File(self.server.database())),
            Database::Postgres(address) => {
                let password = self.database_password()?;
                let roots = self.storage.root_certificates.clone();
                Ok(Place::Server(Server::new(address.clone(), password, roots)))
            }
        }
    }

    fn database_password(&self) -> Result<Option<Secret<String>>, Error> {
        let folder = std::env::var_os(CREDENTIALS_VARIABLE);
        let credential = folder.map(|folder| Path::new(&folder).join(CREDENTIAL));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return read(&path).map(Some);
        }
        let Some(path) = &self.storage.password_file else {
            return Ok(None);
        };
        let password = read(path)?;
        check_mode(path, "the password of the database")?;
        Ok(Some(password))
    }
}

/// The first line.
fn read(path: &Path) -> Result<Secret<String>, Error> {
    let failed = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = Zeroizing::new(String::with_capacity(MOST_OCTETS as usize + 1));
    let file = regular::open(path).map_err(failed)?;
    file.take(MOST_OCTETS).read_to_string(&mut text).map_err(failed)?;
    Ok(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    fn config(password_file: PathBuf) -> Config {
        let mut config = Config::for_host("mx.example".parse().unwrap());
        config.storage.database = "postgres://dimed@db/mail".parse().unwrap();
        config.storage.password_file = Some(password_file);
        config
    }

    #[test]
    fn the_password_is_the_first_line_of_a_file_that_only_we_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let config = config(path.clone());
        assert!(matches!(config.place(), Err(Error::Unreadable { .. })));
        fs::write(&path, "open sesame\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let exposed = config.place().unwrap_err().to_string();
        let said = format!(
            "{}: others can read the password of the database (mode 640): run `chmod 600` on it",
            path.display()
        );
        assert_eq!(exposed, said);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let Ok(Place::Server(server)) = config.place() else {
            panic!("no server");
        };
        assert_eq!(server.password.unwrap().expose(), "open sesame");
        assert!(!format!("{config:?}").contains("sesame"));
    }

    #[test]
    fn what_is_wrong_with_the_address_is_said_in_one_sentence_without_the_password_in_it() {
        for (address, said) in [
            (
                "mysql://x",
                "must be \"sqlite\", or \"postgres://USER@HOST/DATABASE\" with names",
            ),
            ("mysql://dimed:sesame@db/mail", "must be \"sqlite\", or"),
            ("postgres://dimed:sesame", "must be \"sqlite\", or"),
            ("postgres://dimed:se/sam@e@db/mail?sesame", "has a password in it"),
            (
                "postgres://dimed:sesame@db/mail",
                "has a password in it, which belongs in a file",
            ),
            ("postgres://dimed@sesame!/mail", "names a host that cannot be one"),
        ] {
            let text = format!("[server]\nhostname = \"mx.example\"\n[storage]\ndatabase = \"{address}\"\n");
            let refused = Config::parse(&text, Path::new("x.toml")).unwrap_err().to_string();
            let start = format!("x.toml:4:12: `storage.database` {said}");
            assert!(refused.starts_with(&start), "{address}: {refused}");
            assert!(!refused.contains("sesam"), "{refused}");
        }
        let text = toml::to_string(&config("/x".into())).unwrap();
        assert!(
            text.contains("database = \"postgres://dimed@db:5432/mail\""),
            "{text}"
        );
        assert_eq!(Config::parse(&text, Path::new("x")).unwrap(), config("/x".into()));
    }

    #[test]
    fn without_more_it_is_the_file_in_the_data_directory() {
        let config = Config::for_host("mx.example".parse().unwrap());
        assert_eq!(config.place().unwrap().to_string(), "/var/lib/dimed/dimed.db");
    }
}
